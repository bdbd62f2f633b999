# SPDX-License-Identifier: BSD-2-Clause
"""One pass of one script: what each of its steps does."""

import concurrent.futures
import copy
import json
import os
import pathlib
import re
import signal
import socket
import ssl
import time

import rig
import script
from client import Client, reply_fits
from place import canary
from rig import Broken, wait_for


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
            self.clock, self.stolen = time.monotonic(), self.place.stolen()
            return
        how, limit = words.split()
        took = (time.monotonic() - self.clock) * 1000
        if how == 'under':
            took -= (self.place.stolen() - self.stolen) * 1000
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
