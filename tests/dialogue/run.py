#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Runs the dialogues (*.dlg, grammar in README.md) against real gateways with the recording hub behind them.

    run.py [-v] [-j N] [--cut | --all [--bytes N] [--points N]] [--keep] [--list] [SCRIPT...]

Each script runs as written, with all pipelinable commands in one write, and with one byte per write. --cut
runs every script over and over instead: the client gone after each step and (scripts of at most N bytes, default 200) after each byte, the hub gone at each
of its steps; afterwards no session, transaction, draft, job or operation may be left. --all: both, with the same gateways. Last line: N passed, N failed.
"""

import argparse
import concurrent.futures
import copy
import functools
import json
import os
import pathlib
import re
import select
import shutil
import signal
import socket
import sqlite3
import ssl
import struct
import subprocess
import sys
import time
import traceback
import warnings

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / 'tools'))
sys.path.insert(0, str(HERE))
import rig  # noqa: E402
from rig import Broken, wait_for  # noqa: E402
import script  # noqa: E402

warnings.simplefilter('ignore', DeprecationWarning)  # old TLS is what we want to see refused

# The hub's listeners, by the name a script uses; $NAME is the port.
LISTENERS = [('HUB', '0'), ('SECOND', '0'), ('PLAIN', '0,noesmtp'), ('LMTP', 'lmtp:0,nochunk'), ('NOCHUNK', '0,nochunk'),
             ('CANARY', '0'), ('BARE', '0,nopipe,nochunk,no8bit,nosize,nodsn,noutf8,noenh'), ('SMALL', '0,size=2000')]

BASE = '''\
compatibility_level = 3.6
myhostname = gw.test
mydomain = gw.test
mydestination =
local_recipient_maps =
local_transport = error:local mail delivery is disabled
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.9/32
local_header_rewrite_clients =
relay_domains = local.test, second.test, plain.test, lmtp.test, nochunk.test, bare.test, small.test, down.test,
 two.test, mx.test, nullmx.test, nxdomain.test, servfail.test, canary.test
relay_recipient_maps =
transport_maps = texthash:$DIR/transport
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
smtpd_recipient_restrictions =
smtpd_error_sleep_time = 0
smtpd_soft_error_limit = 1001
smtpd_hard_error_limit = 1000
smtpd_junk_command_limit = 10000
smtpd_client_connection_count_limit = 200
queue_directory = $WORK/queue
data_directory = $WORK/data
maillog_file = /dev/stdout
dns_servers = 127.0.0.1:$DNS
dnsbl_probe_interval = 0
default_privs = root
edge_workers = 1
relay_workers = 1
'''
TRANSPORT = '''\
local.test   smtp:[127.0.0.1]:$HUB
canary.test  smtp:[127.0.0.1]:$CANARY
second.test  smtp:[127.0.0.1]:$SECOND
plain.test   smtp:[127.0.0.1]:$PLAIN
lmtp.test    lmtp:inet:127.0.0.1:$LMTP
nochunk.test smtp:[127.0.0.1]:$NOCHUNK
bare.test    smtp:[127.0.0.1]:$BARE
small.test   smtp:[127.0.0.1]:$SMALL
down.test    smtp:[127.0.0.1]:$DOWN
two.test     smtp:[127.0.0.1]:$DOWN, [127.0.0.1]:$SECOND
mx.test      smtp:mx.test:$HUB
nullmx.test  smtp:nullmx.test:$HUB
nxdomain.test smtp:nxdomain.test:$HUB
servfail.test smtp:servfail.test:$HUB
'''
DNS = [('mx.test', 'MX', '10 h1.mx.test'), ('mx.test', 'MX', '20 h2.mx.test'), ('h1.mx.test', 'A', '127.0.0.66'),
       ('h2.mx.test', 'A', '127.0.0.1'), ('nullmx.test', 'MX', '0 .'), ('servfail.test', 'SERVFAIL', ''),
       ('1.0.0.127.in-addr.arpa', 'PTR', 'localhost')]
MASTER = '127.0.0.1:$SMTP inet n - n - - smtpd\n'
SHARED_MAX = 24  # scripts of one gateway
AT_ONCE = 16     # cut points of a script that says `together'
GAUGES = ('smtpd_sessions', 'smtpd_transactions', 'smtpd_drafts', 'queue_drafts', 'queue_jobs', 'relay_jobs')


class Client:
    """One connection to the gateway; every reply line is checked for form."""

    def __init__(self, port, source=None, trickle=False):
        self.trickle = trickle
        self.buf = b''
        self.sock = socket.socket()
        self.sock.settimeout(rig.WAIT)
        if source:
            self.sock.bind((source, 0))
        self.sock.connect(('127.0.0.1', port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data, tolerant=False):
        try:
            if self.trickle and len(data) <= 4000:
                for i in range(len(data)):
                    self.sock.sendall(data[i:i + 1])
                    if i % 16 == 0:
                        time.sleep(0.0005)
            else:
                self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            if not tolerant:
                raise Broken('the gateway closed the connection while we sent')
        except socket.timeout:
            raise Broken('the gateway does not read')

    def line(self):
        while b'\n' not in self.buf:
            try:
                got = self.sock.recv(65536)
            except socket.timeout:
                raise Broken(f'no reply in {rig.WAIT:.0f} s' + (f', only {self.buf!r}' if self.buf else ''))
            except ConnectionResetError:
                got = b''
            if not got:
                raise Broken('the gateway closed the connection' + (f' after {self.buf!r}' if self.buf else ''))
            self.buf += got
        line, _, self.buf = self.buf.partition(b'\n')
        if not line.endswith(b'\r') or re.search(rb'[\x00-\x08\x0b-\x1f\x7f]', line[:-1]) or len(line) > 511:
            raise Broken(f'malformed reply line ({len(line) + 1} octets): {line[:120]!r}')
        return line[:-1].decode('utf-8', 'backslashreplace')

    def reply(self):
        lines = []
        while True:
            lines.append(self.line())
            if not re.match(r'[2-5]\d\d[ -]|[2-5]\d\d$', lines[-1]) or (lines[-1][:3] != lines[0][:3] and not lines[0].startswith('220-')):
                raise Broken(f'malformed reply: {lines}')
            if lines[-1][3:4] != '-':
                return lines

    def at_eof(self):
        end = time.monotonic() + rig.WAIT
        try:
            while time.monotonic() < end:
                got = self.sock.recv(65536)
                if not got:
                    return
                self.buf += got
        except ConnectionResetError:
            return
        except ssl.SSLEOFError:
            raise Broken('the gateway ends TLS without close_notify')
        except socket.timeout:
            pass
        raise Broken('the gateway does not close the connection')

    def stray(self):
        """What came without having been asked for."""
        if isinstance(self.sock, ssl.SSLSocket):
            if self.sock.version() is None:
                return b''  # after fin: what comes is sealed
            self.sock.settimeout(0)
        if select.select([self.sock], [], [], 0)[0]:
            try:
                self.buf += self.sock.recv(65536)
            except OSError:
                pass
        return self.buf

    def secure(self, certs, opts, session=None):
        """TLS from here on; what it came to, as name: value."""
        ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        ctx.check_hostname = False
        ctx.verify_mode = ssl.CERT_NONE
        if certs:
            ctx.load_verify_locations(certs / 'ca.pem')
            ctx.verify_mode = ssl.CERT_REQUIRED if opts.get('verify') == 'yes' else ssl.CERT_NONE
        if opts.get('low'):
            ctx.set_ciphers('ALL:@SECLEVEL=0')
        versions = {v.replace('_', '.').replace('TLSv1.0', 'TLSv1'): getattr(ssl.TLSVersion, v) for v in ('TLSv1', 'TLSv1_1', 'TLSv1_2', 'TLSv1_3')}
        ctx.minimum_version = versions[opts.get('min', opts.get('max', 'TLSv1.2'))]
        if 'max' in opts:
            ctx.maximum_version = versions[opts['max']]
        if 'cert' in opts:
            ctx.load_cert_chain(certs / (opts['cert'] + '.pem'), certs / (opts['cert'] + '.key'))
        if 'alpn' in opts:
            ctx.set_alpn_protocols(opts['alpn'].split(','))
        if session:
            ctx = session.context
        self.context = ctx
        self.sock = ctx.wrap_socket(self.sock, server_hostname=opts.get('sni'), session=session.sock.session if session else None, suppress_ragged_eofs=False)
        return {'version': self.sock.version(), 'cipher': self.sock.cipher()[0], 'subject': subject_of(self.sock.getpeercert(True)), 'alpn': self.sock.selected_alpn_protocol() or '',
                'resumed': 'yes' if self.sock.session_reused else 'no'}

    def close(self, rst=False):
        if rst:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        self.sock.close()


@functools.lru_cache
def subject_of(der):
    """The common name in a certificate."""
    if not der:
        return ''
    return subprocess.run(['openssl', 'x509', '-inform', 'DER', '-noout', '-subject', '-nameopt', 'sep_multiline'], input=der,
                          stdout=subprocess.PIPE).stdout.decode().split('CN=')[-1].strip()


def reply_fits(want, lines):
    codes, text, regex = want
    if not any(re.fullmatch(c.replace('x', r'\d'), lines[-1][:3]) for c in codes):
        return False
    rest = lines[-1][4:]
    if regex:
        return bool(regex.search('\n'.join(lines)))
    if text and text.endswith('...'):
        return rest.startswith(text[:-3])
    return not text or rest == text


class Place:
    """A gateway, a hub and a DNS server for the scripts of one configuration."""

    def __init__(self, example, scripts):
        self.dir = rig.workdir('dlg')
        self.certs = rig.certificates() if any(s.certs for s in scripts) else None
        self.hub = rig.Hub(self.dir / 'hub', [spec for _, spec in LISTENERS])
        self.dns = rig.Dns()
        smtp, down, back = rig.free_ports(3)
        self.vars = dict(zip([name for name, _ in LISTENERS], self.hub.ports), SMTP=smtp, DOWN=down, BACK=back, DNS=self.dns.port,
                         DIR=self.dir / 'etc', WORK=self.dir, CERTS=self.certs or '')
        for row in DNS:
            self.dns.add(*row)
        for s in scripts:
            for row in s.dns:
                self.dns.add(row[0], row[1], self.fill(row[2]) if len(row) > 2 else '')
        self.dns_table = copy.deepcopy(self.dns.table)
        self.tools = {}
        for (name, program, words), port in zip(example.tools, rig.free_ports(len(example.tools)) if example.tools else []):
            self.vars[name] = port
        for name, statement in example.sql:
            self.sql(name, statement)
        for name, program, words in example.tools:
            self.tool(name, program, self.fill(words))
        files = {'transport': self.fill(TRANSPORT)}
        for name, lines in example.files.items():
            files[name] = self.fill('\n'.join(lines) + '\n')
        master = MASTER + ''.join(line + '\n' for line in example.master)
        self.gateway = rig.Gateway(self.dir, self.fill(BASE + '\n'.join(example.conf) + '\n'), self.fill(master), files, self.slow_filters(example.slow))
        try:
            self.gateway.start(smtp)
        except Broken:
            self.gateway.kill()
            for tool, _, _ in self.tools.values():
                tool.kill()
                tool.wait()
            self.hub.stop()
            self.dns.stop()
            raise

    def slow_filters(self, slow):
        """A copy of the program with other filters beside it, or None."""
        if not slow:
            return None
        program = pathlib.Path(rig.program())
        copy = self.dir / 'program' / program.name
        copy.parent.mkdir()
        shutil.copy2(program, copy)
        for name, seconds in slow:
            wrapper = copy.with_name(f'dogana-{name}')
            wrapper.write_text(f'#!/bin/sh\nsleep {seconds}\nexec {program.with_name(wrapper.name)} "$@"\n')
            wrapper.chmod(0o755)
        return str(copy)

    def waited_for_cpu(self):
        """Seconds that this program, the gateway, the hub and the tools were ready to run and did not."""
        tools = [tool.pid for tool, _, _ in self.tools.values()]
        return rig.waited_for_cpu([os.getpid(), self.gateway.proc.pid, *rig.children(self.gateway.proc.pid), self.hub.proc.pid, *tools])

    def fill(self, text):
        for name, value in sorted(self.vars.items(), key=lambda kv: -len(kv[0])):
            text = re.sub(r'\$%s\b' % name, str(value), text)
        return text

    def sql(self, name, statement):
        with sqlite3.connect(self.dir / name) as db:
            db.execute(self.fill(statement))
        db.close()
        os.chmod(self.dir / name, 0o644)

    def tool(self, name, program, words):
        tool = subprocess.Popen(['/usr/bin/python3', HERE.parent / 'tools' / program, *words.split()], stdout=subprocess.PIPE)
        if tool.stdout.readline() != b'ready\n':
            raise Broken(f'{program} does not start')
        self.tools[name] = (tool, program, words)

    def end(self, keep):
        problems = []
        try:
            self.gateway.stop()
        except Broken as e:
            problems.append(str(e))
        problems += self.gateway.troubles()
        for tool, _, _ in self.tools.values():
            tool.kill()
            tool.wait()
        self.hub.stop()
        self.dns.stop()
        if not keep and not problems:
            self.gateway.remove()
        return problems


class Run:
    """One pass of one script."""

    def __init__(self, place, scr, mode):
        self.place, self.scr, self.mode = place, scr, mode
        self.gw, self.hub = place.gateway, place.hub
        self.clients = {}
        self.output = ''
        self.log_from = self.gw.log_size()
        self.hub_from = len(self.hub.messages())
        self.hub_refused_from = len(self.hub.records()) - self.hub_from
        self.asked_before = place.dns.asked.copy()
        self.heard_from = {f: f.stat().st_size for f in place.dir.glob('*.heard')}
        self.before = None
        if any(s.kind == 'metric' for s in scr.steps) or mode.startswith('cut'):
            self.before = self.gw.metrics()

    def beside(self):
        """The same with clients of its own."""
        other = copy.copy(self)
        other.clients = {}
        return other

    # -- what a step does

    def do(self, s):
        if s.kind == 'connect':
            source = None
            port = self.place.vars['SMTP']
            m = re.search(r'from (\S+)', s.words)
            if m:
                source = m.group(1)
            m = re.search(r'to (\S+)', s.words)
            if m:
                port = int(self.place.fill(m.group(1)))
            self.clients[s.client] = Client(port, source, trickle=self.mode == 'bytes')
        elif s.kind in ('send', 'raw'):
            self.clients[s.client].send(s.data)
        elif s.kind == 'tls':
            self.do_tls(self.clients[s.client], s.words)
        elif s.kind == 'expect':
            for want in s.want:
                lines = self.clients[s.client].reply()
                if not reply_fits(want, lines):
                    codes, text, regex = want
                    raise Broken(f'expected {"/".join(codes)} {text or (regex and "/" + regex.pattern + "/") or ""}, got: ' + '\\n'.join(lines))
        elif s.kind == 'eof':
            self.clients[s.client].at_eof()
        elif s.kind == 'pour':
            self.do_pour(self.clients[s.client], *s.words.split())
        elif s.kind == 'fin':
            self.clients[s.client].sock.shutdown(socket.SHUT_WR)
        elif s.kind in ('close', 'rst'):
            c = self.clients.pop(s.client)
            left = b'' if s.kind == 'rst' else c.stray()
            c.close(s.kind == 'rst')
            if left:
                raise Broken(f'unasked for: {left[:300]!r}')
        else:
            getattr(self, 'do_' + s.kind)(s.words)

    def do_tls(self, client, words):
        how, _, want = words.partition('=>')
        opts = dict(re.findall(r'(\w+)=(\S*)', how))
        m = re.match(r'\s*fails(?:\s+/(.*)/)?\s*$', want)
        try:
            got = client.secure(self.place.certs, opts, self.clients[opts['resume']] if 'resume' in opts else None)
        except (ssl.SSLError, OSError) as e:
            if not m or not re.search(m.group(1) or '', str(e)):
                raise Broken(f'TLS: {e!r}')
            client.close()
            self.clients = {k: c for k, c in self.clients.items() if c is not client}
            return
        if m:
            raise Broken(f'TLS works: {got}')
        for name, value in re.findall(r'(\w+)=(\S*)', want):
            if got[name] != value:
                raise Broken(f'TLS: {name} is {got[name]!r}, not {value!r}')

    def do_copy(self, words):
        source, target = self.place.fill(words).split()
        data = pathlib.Path(source).read_bytes()
        for path in (pathlib.Path(target + '.new'),):
            path.write_bytes(data)
            path.chmod(0o600)
            path.rename(target)

    @staticmethod
    def do_pour(client, size, text):
        block = text.encode() * (65536 // len(text))
        try:
            for _ in range(int(size) // len(block)):
                client.sock.sendall(block)
        except OSError:
            pass
        client.at_eof()
        client.buf = b''

    def do_hub(self, words):
        verb, _, rest = words.partition(' ')
        if verb == 'got':
            n = int(rest)
            wait_for(f'{n} messages at the hub', lambda: len(self.mine()) >= n)
            self.do_idle('')
            if len(self.mine()) != n:
                raise Broken(f'the hub has {len(self.mine())} messages, not {n}: {[m["rcpt"] for m in self.mine()]}')
        elif verb == 'refused':
            n = int(rest)
            wait_for(f'{n} refused messages at the hub',
                     lambda: len(self.hub.records()) - len(self.hub.messages()) - self.hub_refused_from >= n)
        elif verb == 'applied':
            wait_for('the last rule to apply at the hub', lambda: self.hub.order('stats')['hits'][-1] > 0)
        elif verb == 'none':
            self.do_idle('')
            if self.mine():
                raise Broken(f'the hub has {len(self.mine())} messages: {[(m["mail"], m["rcpt"]) for m in self.mine()]}')
        else:
            self.hub.order(self.place.fill(words))

    def mine(self):
        return self.hub.messages()[self.hub_from:]

    def do_msg(self, words):
        """msg N|last FIELD OP VALUE; OP: /re/, !/re/, == text, != text"""
        which, field, rest = words.split(None, 2)
        rows = self.mine()
        if not rows or (which != 'last' and int(which) > len(rows)):
            raise Broken(f'the hub has only {len(rows)} messages')
        row = rows[-1 if which == 'last' else int(which) - 1]
        raw = self.hub.content(row)
        if field == 'content':
            got = raw
        elif field == 'body':
            got = raw.partition(b'\r\n\r\n')[2]
        elif field == 'rest':     # without our Received header
            got = re.sub(rb'\AReceived:.*\r\n(?:[ \t].*\r\n)*', b'', raw)
        else:
            value = row[field]
            got = (', '.join(value) if isinstance(value, list) else str(value)).encode('latin-1')
        compare(f'message {which} {field}', rest, got)

    def do_out(self, words):
        compare('output', words, self.output.encode())

    def do_queue(self, words):
        verb, _, rest = words.partition(' ')
        if verb == 'empty':
            wait_for('an empty queue', lambda: not self.gw.queue())
        elif verb.startswith('/'):
            regex = re.compile(words[1:-1])
            wait_for(f'{words} in the queue', lambda: regex.search('\n'.join(json.dumps(r) for r in self.gw.queue())))
        else:
            try:
                wait_for(f'{rest} messages in {verb}',
                         lambda: sum(r.get('queue_name') == verb for r in self.gw.queue()) == int(rest))
            except Broken as e:
                raise Broken(f'{e}; there are: {json.dumps(self.gw.queue())}\n{self.gw.log_text(self.log_from)[-2000:]}')

    def do_log(self, words):
        words = self.place.fill(words)
        regex = re.compile(words.strip()[1:-1], re.M)
        try:
            wait_for(f'the log line {words}', lambda: regex.search(self.gw.log_text(self.log_from)))
        except Broken:
            raise Broken(f'no log line {words} among:\n' + self.gw.log_text(self.log_from)[-3000:])

    def do_nolog(self, words):
        m = re.search(words.strip()[1:-1], self.gw.log_text(self.log_from), re.M)
        if m:
            raise Broken(f'log line {m.group(0)!r} must not be there')

    def do_metric(self, words):
        m = re.match(r'(\w+)\s*(==|>=|\+)\s*(\d+)$', words)
        name, op, number = m.group(1), m.group(2), int(m.group(3))
        base = self.before.get(name, 0) if op == '+' else 0

        def fits():
            value = self.gw.metrics().get(name)
            if value is None:
                raise Broken(f'no metric {name}')
            return value - base >= number if op == '>=' else value - base == number
        wait_for(f'metric {words} (now {self.gw.metrics().get(name)}, before {self.before.get(name)})', fits)

    def do_run(self, words, argv0=None):
        text, _, status = words.partition(' => ')
        code, self.output = self.gw.run(*self.ids(text).split(), argv0=argv0)
        if code != int(status or 0):
            raise Broken(f'`{text}\' ended with {code}: {self.output[:500]}')

    def do_together(self, words):
        """Two at once; what they said, one behind the other, the first to succeed before the other."""
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            words = self.ids(words).split()
            done = [f.result() for f in [pool.submit(self.gw.run, *words) for _ in range(2)]]
        self.output = ''.join(text for _, text in sorted(done, key=lambda d: d[0]))

    def do_as(self, words):
        name, _, rest = words.partition(' ')
        self.do_run(rest, argv0=name)

    def ids(self, text):
        """QID stands for the id of the first message in the queue, HELDID for that of the newest one in the quarantine."""
        if 'HELDID' in text:
            def held():
                code, out = self.gw.run('quarantine', 'list', '--json', '--limit', '1')
                return [json.loads(line)['queue_id'] for line in out.splitlines() if '"queue_id"' in line] if code == 0 else []
            text = text.replace('HELDID', wait_for('a message in the quarantine', held, pause=0.1)[0])
        if 'QID' in text:
            rows = wait_for('a message in the queue', self.gw.queue)
            text = text.replace('QID', rows[0]['queue_id'])
        return self.place.fill(text)

    def do_write(self, words):
        name, _, text = words.partition(' ')
        self.gw.write(name, self.place.fill(script.unescape(text).decode()) + '\n')

    def do_inplace(self, words):
        name, _, text = words.partition(' ')
        (self.gw.dir / 'etc' / name).write_text(self.place.fill(script.unescape(text).decode()) + '\n')

    def do_touch(self, words):
        os.utime(self.gw.dir / 'etc' / words)

    def do_remove(self, words):
        (self.gw.dir / 'etc' / words).unlink()

    def do_sql(self, words):
        self.place.sql(*words.split(None, 1))

    def do_tool(self, words):
        """tool NAME stop | start"""
        name, verb = words.split()
        tool, program, args = self.place.tools[name]
        tool.kill()
        tool.wait()
        if verb == 'start':
            self.place.tool(name, program, args)

    def do_heard(self, words):
        """heard NAME [!] /re/: what tests/tools/milter.py wrote to $WORK/NAME.heard since the script began."""
        name, _, rest = words.partition(' ')
        path = self.place.dir / f'{name}.heard'
        m = re.match(r'(!?)\s*/(.*)/$', self.place.fill(rest.strip()))

        def text():
            data = path.read_bytes()[self.heard_from.get(path, 0):] if path.exists() else b''
            return data.decode('utf-8', 'backslashreplace')
        if m.group(1):
            self.do_idle('')
            if re.search(m.group(2), text(), re.M):
                raise Broken(f'{name} heard {m.group(2)}:\n{text()[-3000:]}')
            return
        try:
            wait_for('', lambda: re.search(m.group(2), text(), re.M))
        except Broken:
            raise Broken(f'{name} did not hear {m.group(2)}:\n{text()[-3000:]}')

    def do_asked(self, words):
        """asked NAME TYPE N: how often, since the script began; TYPE *: any."""
        name, kind, number = words.split()

        def count():
            now = self.place.dns.asked
            return sum(n - self.asked_before[key] for key, n in list(now.items()) if key[0] == name and kind in ('*', key[1]))
        try:
            wait_for('', lambda: count() == int(number))
        except Broken:
            raise Broken(f'{name} {kind} was asked {count()} times, not {number}')

    def do_answer(self, words):
        """answer NAME TYPE DATA: from now on, to the end of the script."""
        name, kind, *data = words.split(None, 2)
        self.place.dns.add(name, kind, self.place.fill(data[0]) if data else '')

    def do_forget(self, words):
        self.place.dns.remove(words)

    def do_resolver(self, words):
        """resolver up, or what it does to every question from now on: DROP, REFUSED, SERVFAIL, ..."""
        self.place.dns.mode = None if words == 'up' else words

    def do_canary(self, words):
        canary(self.place)

    def do_kill(self, words):
        self.gw.expect_deaths = True
        for role, pid in rig.status_roles(self.gw.status()):
            if role == words:
                os.kill(pid, signal.SIGKILL)
                # until the master knows: what is asked of a process that is dying is lost with it
                wait_for(f'{role} to be gone', lambda: not pathlib.Path(f'/proc/{pid}').exists(), pause=0.01)
                if role == 'keys':  # STARTTLS is 454 until it is back
                    wait_for('keys to be back', lambda: any(r['role'] == role and r['state'] == 'ready' and r['pid'] != pid for r in self.gw.status()['roles']))

    def do_restart(self, words):
        """restart [hard]: the gateway is stopped (or killed) and started again."""
        port = self.gw.port
        if words == 'hard':
            self.gw.kill()
        else:
            self.gw.stop()
        self.gw.start(port)

    def do_clock(self, words):
        """clock start; later: clock under MS, clock over MS. What `under' measures is without the time that others had our processors."""
        if words == 'start':
            self.clock, self.stolen = time.monotonic(), self.place.waited_for_cpu()
            return
        how, limit = words.split()
        took = (time.monotonic() - self.clock) * 1000
        if how == 'under':
            took -= (self.place.waited_for_cpu() - self.stolen) * 1000
        if (took < int(limit)) != (how == 'under'):
            raise Broken(f'it took {took:.0f} ms')

    def do_idle(self, words):
        """Nothing is being delivered any more."""
        def idle():
            m = self.gw.metrics()
            return m.get('queue_active', 0) == 0 and m.get('queue_jobs', 0) == 0 and m.get('relay_jobs', 0) == 0
        wait_for('deliveries to end', idle)

    # -- the whole

    def steps(self, steps):
        for s in steps:
            try:
                self.do(s)
            except (Broken, OSError, KeyError, IndexError, ValueError) as e:
                raise Broken(f'{self.scr.path.name}:{s.line} ({self.mode}): {s.kind} {s.data[:60] or s.words!r}: '
                             f'{e if isinstance(e, Broken) else repr(e)}')

    def finish(self):
        for name in list(self.clients):
            c = self.clients.pop(name)
            left = c.stray()
            c.close()
            if left:
                raise Broken(f'{self.scr.name} ({self.mode}): unasked for: {left[:300]!r}')

    def abandon(self, rst=False):
        for c in self.clients.values():
            c.close(rst)
        self.clients = {}


def compare(what, rest, got):
    rest = rest.strip()
    m = re.match(r'(!?)\s*/(.*)/$', rest, re.S)
    if m:
        found = re.search(m.group(2).encode(), got, re.S | re.M)
        if bool(found) == bool(m.group(1)):
            raise Broken(f'{what}: {"there is" if found else "no"} {m.group(2)} in {got[:1500]!r}')
        return
    op, _, text = rest.partition(' ')
    want = script.unescape(text)
    if (got == want) != (op == '=='):
        raise Broken(f'{what}: {got[:600]!r} {"is not" if op == "==" else "is"} {want[:600]!r}')


def canary(place):
    """I6: an ordinary message passes, soon."""
    hub_before = len(place.hub.messages())
    c = Client(place.vars['SMTP'], '127.0.0.9')
    try:
        canary_sings(c)
    finally:
        c.close()
    wait_for('the canary at the hub',
             lambda: any('canary@canary.test' in ''.join(m['rcpt']) for m in place.hub.messages()[hub_before:]), pause=0.005)


def canary_sings(c):
    for text, want in [(b'', '220'), (b'EHLO canary.test\r\n', '250'), (b'MAIL FROM:<canary@local.test>\r\n', '250'),
                       (b'RCPT TO:<canary@canary.test>\r\n', '250'), (b'DATA\r\n', '354'),
                       (b'Subject: canary\r\n\r\ntweet\r\n.\r\n', '250'), (b'QUIT\r\n', '221')]:
        if text:
            c.send(text)
        got = c.reply()
        if got[-1][:3] != want:
            raise Broken(f'canary: {text!r} was answered {got}')


def settle(place):
    """Clean for the next script; Broken when something is left over."""
    place.hub.order('clear')
    place.hub.order('drop')
    place.dns.mode = None
    place.dns.table = copy.deepcopy(place.dns_table)
    left = {}

    def quiet():
        nonlocal left
        m = place.gateway.metrics()
        left = {k: m.get(k) for k in GAUGES if m.get(k)}
        rows = place.gateway.queue()
        if rows:  # also reports that were being written meanwhile
            left['queue'] = rows[:3]
            place.gateway.ask('queue delete ALL')
        return not left
    if place.gateway.queue():
        place.gateway.ask('queue delete ALL')
    place.gateway.ask('queue flush')  # forget which destinations are dead
    try:
        wait_for('quiet', quiet)
    except Broken:
        raise Broken(f'left over: {left}')


def check_wire(place):
    stats = place.hub.order('stats')
    if stats['violations']:
        raise Broken(f'the hub saw {stats["violations"]} times what no line may hold, first: {stats["first_violation"]}')


# ---- plain passes

def passes(scr):
    yield 'plain', scr.steps
    if scr.modes is None or 'bytes' in scr.modes:
        if any(s.kind in ('send', 'raw') for s in scr.steps) and sum(len(s.data) for s in scr.steps) < 20000:
            yield 'bytes', scr.steps
    if scr.modes is None or 'whole' in scr.modes:
        whole = scr.variant_whole()
        if whole:
            yield 'whole', whole


def run_script(place, scr):
    failures = []
    for mode, steps in passes(scr):
        run = None
        try:
            run = Run(place, scr, mode)
            run.steps(steps)
            run.finish()
            settle(place)
            check_wire(place)
            if not scr.modes or 'nocanary' not in scr.modes:
                canary(place)
        except Broken as e:
            failures.append(str(e) if scr.name in str(e) else f'{scr.name} ({mode}): {e}')
            if run:
                run.abandon()
            try:
                settle(place)
            except Broken as e2:
                failures.append(f'{scr.name} ({mode}): afterwards: {e2}')
                return failures
    return failures


# ---- cut passes

def spread(items, most):
    """At most so many of them, evenly, the first and the last included; 0: all."""
    n = len(items)
    return items if not most or n <= most else [items[j * (n - 1) // (most - 1)] for j in range(most)]


def cut_client(place, scr, limit, most):
    """The client goes away after each step (of a long script: at `most' of them, since each needs all before it), and in scripts
    of at most `limit' bytes after each byte."""
    acting = [i for i, s in enumerate(scr.steps) if s.client]
    points = [(i, None) for i in spread(acting, most)]
    size = sum(len(s.data) for s in scr.steps)
    if size <= limit:
        points += [(i, k) for i in acting for k in range(1, len(scr.steps[i].data))]
    run = Run(place, scr, 'cut client')
    ruled = any(s.kind == 'hub' and s.words.split()[0] == 'rule' for s in scr.steps)

    def play(number, stop, byte):
        """(messages that were complete, and those that were confirmed)"""
        if ruled:
            place.hub.order('clear')
        sent, finals, confirmed = {}, 0, 0
        alone = run.beside()
        try:
            for i, s in enumerate(scr.steps[:stop + 1]):
                if not s.client and not (s.kind == 'hub' and s.words.split()[0] in ('rule', 'clear')):
                    continue
                if i == stop and byte is not None:
                    sent[s.client] = sent.get(s.client, b'') + s.data[:byte]
                    alone.clients[s.client].send(s.data[:byte])
                    break
                sent[s.client] = sent.get(s.client, b'') + s.data
                finals += s.final
                alone.do(s)
                confirmed += s.kind == 'expect' and any((t or '') and 'queued as' in t or r and 'queued as' in r.pattern for _, t, r in s.want)
        except (Broken, OSError, KeyError) as e:
            alone.abandon()
            raise Broken(f'{scr.path.name}:{s.line} (cut client at step {stop}, byte {byte}): {e}')
        alone.abandon(rst=bool(number & 1))
        return max(finals, sum(data.count(b'\r\n.\r\n') for data in sent.values())), confirmed
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE if scr.together and not ruled else 1) as pool:
        counts = list(pool.map(lambda n: play(n, *points[n]), range(len(points))))
    complete, confirmed = (sum(c[k] for c in counts) for k in (0, 1))
    place.hub.order('clear')
    wait_for('sessions to end', lambda: place.gateway.metrics().get('smtpd_sessions') == 0)
    took = place.gateway.metrics().get('smtpd_messages', 0) - run.before.get('smtpd_messages', 0)
    if not confirmed <= took <= complete:
        raise Broken(f'{scr.name} (cut client): {took} messages taken, but {complete} were complete and {confirmed} confirmed')
    settle(place)
    return len(points)


def cut_hub(place, scr):
    """The hub goes away at each step it is asked to do; then everything must still get through or bounce."""
    if not any(s.kind == 'hub' and s.words.split()[0] == 'got' for s in scr.steps):
        return 0
    done = 0
    for k in range(40):
        run = Run(place, scr, f'cut hub at {k}')
        place.hub.order('clear')
        for how in ['close'] if k % 2 else ['rst']:
            place.hub.order(f'rule any skip={k} times=1 {how}')
        for s in scr.steps:
            if s.client or (s.kind == 'hub' and s.words.split()[0] == 'rule'):
                try:
                    run.do(s)
                except (Broken, OSError, KeyError) as e:
                    run.abandon()
                    raise Broken(f'{scr.path.name}:{s.line} (cut hub at {k}): {e}')
        run.abandon()
        run.do_idle('')
        hit = place.hub.order('stats')['hits'][0]
        place.hub.order('clear')
        if place.gateway.queue():
            place.gateway.ask('queue flush')
            if not scr.modes or 'nodrain' not in scr.modes:
                wait_for(f'the queue to empty after the hub was cut at {k} in {scr.name}', lambda: not place.gateway.queue())
        done += 1
        if not hit:
            break
    settle(place)
    return done


def can_cut(scr):
    return scr.modes is None or 'cut' in scr.modes


def run_cut(place, scr, limit, most):
    try:
        cut_client(place, scr, limit, most)
        cut_hub(place, scr)
        check_wire(place)
        canary(place)
        settle(place)
        return []
    except Broken as e:
        try:
            settle(place)
        except Broken as e2:
            return [str(e), f'{scr.name}: afterwards: {e2}']
        return [str(e)]


# ---- all of it

def run_group(scripts, args):
    """(results: [(script, whether cut, [failure], seconds)], problems of the gateway as a whole)"""
    results, place = [], None
    due = [] if args.cut else [(scr, False) for scr in scripts]
    if args.cut or args.all:
        due += [(scr, True) for scr in scripts if can_cut(scr)]
    try:
        place = Place(scripts[0], scripts)
        for scr, is_cut in due:
            begin = time.monotonic()
            if place.gateway.proc.poll() is not None:
                raise Broken(f'the gateway ended with {place.gateway.proc.returncode}')
            failures = run_cut(place, scr, args.bytes, args.points) if is_cut else run_script(place, scr)
            results.append((scr, is_cut, failures, time.monotonic() - begin))
    except (Broken, OSError, ValueError, KeyError) as e:
        why = str(e) if isinstance(e, Broken) else traceback.format_exc()
        results += [(scr, is_cut, [f'{scr.name}: {why}'], 0) for scr, is_cut in due[len(results):]]
    problems = place.end(args.keep) if place else []
    return results, problems


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument('-v', action='store_true')
    ap.add_argument('-j', type=int, default=2)
    ap.add_argument('--cut', action='store_true')
    ap.add_argument('--all', action='store_true')
    ap.add_argument('--bytes', type=int, default=200)
    ap.add_argument('--points', type=int, default=0)
    ap.add_argument('--keep', action='store_true')
    ap.add_argument('--list', action='store_true')
    ap.add_argument('scripts', nargs='*')
    args = ap.parse_args()
    if args.scripts:
        paths = [pathlib.Path(p) if p.endswith('.dlg') else q for p in args.scripts for q in ([p] if p.endswith('.dlg') else sorted(HERE.glob(f'{p}*.dlg')))]
    else:
        paths = sorted(HERE.glob('*.dlg'))
    groups = {}
    for path in paths:
        scr = script.Script(path)
        if args.cut and not can_cut(scr):
            continue
        groups.setdefault(scr.key(), []).append(scr)
        if args.list:
            print(f'{scr.name:32} {scr.title}')
    if args.list:
        return 0
    # the large ones first, so that none of them is what all others are waited with
    chunks = sorted((g[i:i + SHARED_MAX] for g in groups.values() for i in range(0, len(g), SHARED_MAX)), key=len, reverse=True)
    passed = failed = 0
    with concurrent.futures.ThreadPoolExecutor(args.j) as pool:
        for results, problems in pool.map(lambda g: run_group(g, args), chunks):
            for scr, is_cut, failures, seconds in results:
                passed += not failures
                failed += bool(failures)
                if args.v or failures:
                    print(f'{"FAIL" if failures else "ok  "} {scr.name:30} {seconds:5.1f} s  {"cut: " if is_cut else ""}{scr.title}', flush=True)
                for text in failures:
                    print('     ' + text.replace('\n', '\n     '), flush=True)
            if problems:
                failed += 1
                print(f'FAIL gateway of {", ".join(r[0].name for r in results[:4])}{"..." if len(results) > 4 else ""}:', flush=True)
                for text in problems:
                    print('     ' + text.replace('\n', '\n     '), flush=True)
    print(f'{passed} passed, {failed} failed')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
