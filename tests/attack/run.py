#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Attacks on resources. Each starts a gateway of its own, does its worst, and then a canary message must pass within
two seconds, and memory and descriptors must be back near where they were. Last line: N passed, N failed, N skipped.

    run.py [NAME...]
"""

import json
import os
import pathlib
import random
import re
import resource
import select
import shutil
import socket
import ssl
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / 'tools'))
import rig  # noqa: E402
from rig import Broken, wait_for  # noqa: E402

# Freed memory that the sanitizer keeps for a while is not memory the gateway holds.
os.environ['ASAN_OPTIONS'] = 'quarantine_size_mb=8:' + os.environ.get('ASAN_OPTIONS', '')

MAIN = '''\
compatibility_level = 3.6
myhostname = gw.test
mydestination =
local_recipient_maps =
local_transport = error:local mail delivery is disabled
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.9/32
relay_domains = local.test
transport_maps = inline:{{ local.test=smtp:[127.0.0.1]:{hub} }}
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
smtpd_error_sleep_time = 0
queue_directory = {work}/queue
data_directory = {work}/data
maillog_file = /dev/stdout
edge_workers = 1
relay_workers = 1
'''


class Skipped(Exception):
    pass


class Peer:
    """A client without manners."""

    def __init__(self, t, source='127.0.0.2', seconds=30):
        self.s = socket.socket()
        self.s.settimeout(seconds)
        self.s.bind((source, 0))
        self.s.connect(('127.0.0.1', t.port))
        self.f = self.s.makefile('rb')

    def reply(self):
        while True:
            line = self.f.readline()
            if not line:
                return 0
            if line[3:4] != b'-':
                return int(line[:3])

    def ask(self, text):
        self.s.sendall(text.encode() + b'\r\n')
        return self.reply()

    def envelope(self, mail='a@remote.test', rcpt='b@local.test'):
        for text, want in ((None, 220), ('EHLO x.test', 250), (f'MAIL FROM:<{mail}>', 250), (f'RCPT TO:<{rcpt}>', 250), ('DATA', 354)):
            got = self.ask(text) if text else self.reply()
            if got != want:
                raise Broken(f'{text}: {got}')

    def close(self):
        self.f.close()
        self.s.close()


class Setting:
    def __init__(self, extra='', work=None, limit=None, dns=False):
        self.dir = work or rig.workdir('attack')
        self.dns = None
        if dns:
            self.dns = rig.Dns()
            extra += f'dns_servers = 127.0.0.1:{self.dns.port}\n'
        self.hub = rig.Hub(self.dir / 'hub', ['0'], quiet=True)
        self.port = rig.free_ports(1)[0]
        self.gw = rig.Gateway(self.dir, MAIN.format(hub=self.hub.ports[0], work=self.dir) + extra,
                              f'127.0.0.1:{self.port} inet n - n - - smtpd\n')
        old = resource.getrlimit(resource.RLIMIT_NOFILE)
        if limit:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, old[1]))
        try:
            self.gw.start(self.port)
        except Broken:
            self.gw.kill()
            self.hub.stop()
            raise
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, old)

    def pids(self):
        return dict((role, pid) for role, pid in rig.status_roles(self.gw.status()))

    def memory(self, role='edge'):
        text = pathlib.Path(f'/proc/{self.pids()[role]}/status').read_text()
        return int(re.search(r'VmRSS:\s+(\d+) kB', text).group(1)) // 1024

    def cpu(self, role='edge'):
        fields = pathlib.Path(f'/proc/{self.pids()[role]}/stat').read_text().rsplit(')', 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')

    def canary(self, seconds=2.0):
        begin = time.monotonic()
        before = self.hub.order('stats')['messages']
        p = Peer(self, '127.0.0.9')
        p.envelope('canary@local.test', 'canary@local.test')
        if p.ask('Subject: canary\r\n\r\ntweet\r\n.') != 250:
            raise Broken('the canary was not taken')
        p.close()
        wait_for('the canary', lambda: self.hub.order('stats')['messages'] > before, 10, 0.01)
        took = time.monotonic() - begin
        if took > seconds:
            raise Broken(f'the canary took {took:.1f} s')

    def level(self):
        wait_for('sessions to end', lambda: self.gw.metrics().get('smtpd_sessions') == 0, 20, 0.1)

    def end(self, ok):
        problems = []
        try:
            self.gw.stop()
        except Broken as e:
            problems.append(str(e))
        problems += self.gw.troubles()
        self.hub.stop()
        if self.dns:
            self.dns.stop()
        if ok and not problems:
            self.gw.remove()
        if problems:
            raise Broken('; '.join(problems))


TLS = (f'smtpd_tls_security_level = may\nsmtpd_tls_chain_files = {rig.certificates()}/good.chain\nsmtpd_client_connection_count_limit = 0\n'
       'smtpd_tls_loglevel = 1\nsmtpd_peername_lookup = no\n')


def hello():
    """A ClientHello as Python's ssl writes it."""
    out = ssl.MemoryBIO()
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ctx.check_hostname = False
    ctx.verify_mode = ssl.CERT_NONE
    try:
        ctx.wrap_bio(ssl.MemoryBIO(), out, server_hostname='gateway.test').do_handshake()
    except ssl.SSLWantReadError:
        pass
    return out.read()


def tls_stalls(t):
    """T: 400 clients that stop in the middle of a handshake: bounded in memory and time"""
    before = t.memory()
    held = []
    for i in range(400):
        p = Peer(t, f'127.1.2.{i % 250 + 1}')
        p.reply()
        p.ask('EHLO x')
        if p.ask('STARTTLS') != 220:
            raise Broken('no STARTTLS')
        p.s.sendall((b'\x16\x03\x01\x3f\xff\x01' + b'a' * 9000, hello(), hello()[:60], b'')[i % 4])
        held.append(p)
    t.canary()
    grown = (t.memory() - before) * 1024 / len(held)
    if grown > 200: # under the sanitizer; a release build takes a fifth
        raise Broken(f'{grown:.0f} kB for each')
    wait_for('the time limit', lambda: t.gw.metrics().get('smtpd_sessions') <= 1, 15, 0.1)
    for p in held:
        p.close()


def tls_flood(t):
    """T: 1500 full handshakes as fast as they come: others are served between"""
    load = subprocess.Popen([rig.tool('load'), 'send', '-F', '-s', '100', '-m', '1500', '-l', '100', '-t', 'b@local.test', str(t.port)], stdout=subprocess.PIPE, text=True)
    worst = 0
    while load.poll() is None:
        begin = time.monotonic()
        p = Peer(t, '127.0.0.9')
        if p.reply() != 220 or p.ask('EHLO x') != 250 or p.ask('NOOP') != 250:
            raise Broken('not served')
        p.close()
        worst = max(worst, time.monotonic() - begin)
        time.sleep(0.05)
    said = json.loads(load.stdout.read())
    if said['accepted'] != 1500 or worst > 2:
        raise Broken(f'{said}, three replies took {worst:.2f} s')


def tls_garbage(t):
    """T: a thousand hellos with an octet changed, left out, or cut: an alert or the end, and nothing else"""
    rng = random.Random(7)
    whole = hello()
    for i in range(1000):
        data = bytearray(whole)
        at = rng.randrange(len(data))
        if i % 3 == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif i % 3 == 1:
            del data[at:at + rng.randrange(1, 9)]
        else:
            data = data[:at]
        p = Peer(t, f'127.1.3.{i % 250 + 1}', 5)
        p.reply()
        p.ask('EHLO x')
        p.ask('STARTTLS')
        p.s.sendall(data)
        if i % 2:
            p.s.shutdown(socket.SHUT_WR)
            try:
                p.s.recv(65536)
            except OSError:
                pass
        p.close()
    t.canary()


def flood_one_address(t):
    """R02: 2000 connections from one address: all but the limit hear 421"""
    held, refused = [], 0
    for _ in range(2000):
        p = Peer(t)
        if p.reply() == 421:
            refused += 1
            p.close()
        else:
            held.append(p)
    t.canary()
    if refused < 1900 or len(held) > 60:
        raise Broken(f'{refused} refused, {len(held)} held')
    for p in held:
        p.close()


def flood_many_addresses(t):
    """R02: 800 clients at once from 800 addresses: all are greeted, the canary too"""
    held = []
    for i in range(800):
        held.append(Peer(t, f'127.1.{i // 250}.{i % 250 + 1}'))
    for p in held:
        if p.reply() not in (220, 421):
            raise Broken('no greeting')
    t.canary()
    for p in held:
        p.close()


def slow_clients(t):
    """R01: 200 clients that send an octet now and then, in commands and in data"""
    slow = [Peer(t, f'127.1.1.{i + 1}') for i in range(200)]
    for i, p in enumerate(slow):
        if i % 2:
            p.envelope()
        else:
            p.reply()
    for _ in range(5):
        for p in slow:
            p.s.sendall(b'N')
        t.canary()
        time.sleep(0.3)
    for p in slow:
        p.close()


def refused_recipients(t):
    """R04: 100,000 recipients that are refused: the error limit ends the session"""
    p = Peer(t)
    p.reply()
    p.ask('EHLO x')
    p.ask('MAIL FROM:<a@remote.test>')
    try:
        p.s.sendall(b''.join(b'RCPT TO:<u%d@foreign.test>\r\n' % i for i in range(100000)))
    except OSError:
        pass
    codes = []
    try:
        while True:
            code = p.reply()
            if not code:
                break
            codes.append(code)
    except OSError:
        pass
    if len(codes) > 25:
        raise Broken(f'{len(codes)} replies before the session ended')
    p.close()


def idle_commands(t):
    """P36: 100,000 RSET in one go: the junk limit ends it, others are served meanwhile"""
    p = Peer(t)
    p.reply()
    p.ask('EHLO x')
    try:
        p.s.sendall(b'RSET\r\n' * 100000)
    except OSError:
        pass
    t.canary()
    p.close()


def big_mail(t):
    """R05: 20 sessions with 20 MB each: memory grows by buffers, not by content"""
    before = t.memory()
    peers = [Peer(t, f'127.1.2.{i + 1}', 120) for i in range(20)]
    for p in peers:
        p.envelope()
        p.s.setblocking(False)
    block = (b'x' * 76 + b'\r\n') * 840
    left = {p.s: 20_000_000 // len(block) for p in peers}
    pending = {p.s: b'' for p in peers}
    most = before
    looked = time.monotonic()
    while left:
        for s in select.select([], list(left), [], 30)[1]:
            data = pending[s] or block
            n = s.send(data)
            pending[s] = data[n:]
            if not pending[s]:
                left[s] -= 1
                if left[s] <= 0:
                    del left[s]
        if time.monotonic() - looked > 1:
            looked = time.monotonic()
            most = max(most, t.memory())
    for p in peers:
        p.s.setblocking(True)
        p.s.settimeout(60)
        p.s.sendall(b'\r\n.\r\n')
    codes = [p.reply() for p in peers]
    for p in peers:
        p.close()
    if set(codes) != {250}:
        raise Broken(f'replies {sorted(set(codes))}')
    if most - before > 120:
        raise Broken(f'memory of edge grew from {before} to {most} MB for 400 MB of mail')


def long_line(t):
    """P07: a line of 50 MB in the content"""
    before = t.memory()
    p = Peer(t, seconds=60)
    p.envelope()
    p.s.sendall(b'Subject: x\r\n\r\n')
    for _ in range(500):
        p.s.sendall(b'a' * 100000)
    p.s.sendall(b'\r\n.\r\n')
    code = p.reply()
    p.close()
    if code not in (250, 552, 554):
        raise Broken(f'reply {code}')
    if t.memory() - before > 100:
        raise Broken(f'memory grew from {before} to {t.memory()} MB')


def timed_headers(t, lines):
    p = Peer(t, seconds=120)
    p.envelope()
    before = t.cpu()
    try:
        p.s.sendall(b'To: a@b.test\r\n' * lines + b'\r\nx\r\n.\r\n')
    except OSError:
        pass
    code = p.reply()
    p.close()
    return t.cpu() - before, code


def many_headers(t):
    """E04, I10: twice the headers, at most 2.5 times the processor time"""
    once, _ = timed_headers(t, 100000)
    twice, _ = timed_headers(t, 200000)
    if twice > 2.5 * once + 0.3:
        raise Broken(f'{once:.2f} s for 100,000 headers, {twice:.2f} s for 200,000')


def few_descriptors(t):
    """R08: a small descriptor limit and a flood: no spinning, then service again"""
    held = []
    try:
        for i in range(300):
            p = Peer(t, f'127.1.3.{i % 250 + 1}', 1)
            held.append(p)
    except OSError:
        pass
    before = t.cpu()
    time.sleep(2)
    if t.cpu() - before > 1.0:
        raise Broken(f'{t.cpu() - before:.1f} s of processor in 2 s of nothing')
    for p in held:
        p.close()
    t.level()


def full_disk(t):
    """R06: the spool's file system fills up: 4xx, nothing lost, works again afterwards"""
    t.hub.order('rule any close')
    taken = codes = 0
    seen = set()
    for i in range(400):
        p = Peer(t, seconds=30)
        try:
            p.envelope()
            code = p.ask('Subject: x\r\n\r\n' + ('x' * 70 + '\r\n') * 2000 + '.')
        except Broken as e:
            code = int(re.search(r'(\d{3})$', str(e)).group(1))
        p.close()
        seen.add(code)
        taken += code == 250
        codes += code in (451, 452)
        if codes > 20:
            break
    if not codes or seen - {250, 451, 452}:
        raise Broken(f'replies {seen}, {taken} taken')
    t.hub.order('clear')
    t.gw.run('queue', 'flush')
    wait_for(f'the {taken} messages that were taken', lambda: t.gw.run('queue', 'flush') and t.hub.order('stats')['messages'] >= taken, 60, 0.5)



def greylist_flood(t):
    """R05: 10,000 invented senders from 2,000 networks: what is remembered stays bounded, who came again stays known"""
    def deliveries(p, net, senders, rcpt):
        p.ask(f'XCLIENT ADDR=198.{18 + net // 65536}.{net // 256 % 256}.{net % 256} NAME=[UNAVAILABLE] PROTO=ESMTP')
        p.s.sendall(b''.join(f'MAIL FROM:<{s}>\r\nRCPT TO:<{rcpt}>\r\nRSET\r\n'.encode() for s in senders))
        return [[p.reply() for _ in range(3)][1] for _ in senders]

    p = Peer(t, '127.0.0.1', 60)
    p.reply()
    known = 2 * 65536 - 1
    if deliveries(p, known, ['good@remote.test'] * 2, 'b@local.test') != [450, 250]:
        raise Broken('a sender that came again was not let in')
    memory = t.memory('queue')
    for net in range(2000):  # a network is 256 of them
        said = deliveries(p, net * 64, [f'{net}-{i}x@{os.urandom(4).hex()}.test' for i in range(5)], 'b@local.test')
        if said != [450] * 5:
            raise Broken(f'network {net}: {said}')
    rows = t.gw.metrics()['greylist_new']
    size = sum(f.stat().st_size for f in (t.dir / 'queue' / 'spool').glob('greylist*'))
    if rows < 2000 or not 0 < size <= 16 * 1024 * 1024:
        raise Broken(f'{rows} were new, {size} octets on disk')
    if t.memory('queue') > memory + 64:
        raise Broken(f'the queue grew from {memory} to {t.memory("queue")} MB')
    if deliveries(p, known, ['good@remote.test'], 'b@local.test') != [250]:
        raise Broken('who had come again was forgotten')
    p.close()


def dns_flood(t):
    """N12/R: 400 sessions that ask for 20,000 names of a server that never answers: others are "not now" at worst, memory is bounded, and it is over when it is over"""
    t.dns.add('*.flood.test', 'DROP')
    t.dns.add('*.good.test', 'MX', '10 mail.good.test')
    t.dns.add('*.good.test', 'A', '192.0.2.1')
    number = 0

    def good(want, seconds):
        nonlocal number
        number += 1
        begin = time.monotonic()
        p = Peer(t, '127.0.0.3')
        p.reply()
        said = [p.ask(text) for text in (f'EHLO h{number}.good.test', f'MAIL FROM:<a@s{number}.good.test>', 'RCPT TO:<b@local.test>')][-1]
        p.close()
        took = time.monotonic() - begin
        if said not in want or took > seconds:
            raise Broken(f'an honest client heard {said} after {took:.1f} s')
        return said
    good([250], 3)
    memory = t.memory()
    held = []
    heard = []
    for i in range(400):
        p = Peer(t, f'127.1.{i % 200}.2')
        p.reply()
        p.ask(f'EHLO h{i}.flood.test')
        p.s.sendall(b''.join(f'MAIL FROM:<a@s{i}x{k}.flood.test>\r\nRSET\r\n'.encode() for k in range(50)) +
                    f'MAIL FROM:<a@last{i}.flood.test>\r\nRCPT TO:<b@local.test>\r\n'.encode())
        held.append(p)
        if i % 40 == 39:
            heard.append(good([250, 450], 8))
            t.canary(3)
    m = t.gw.metrics()
    if m['dns_flying'] > 8192 or t.memory() > memory + 150:
        raise Broken(f'{m["dns_flying"]} questions on their way, memory grew from {memory} to {t.memory()} MB')
    if heard.count(250) < len(heard) // 2:
        raise Broken(f'honest clients heard {heard}')
    for p in held:
        codes = [p.reply() for _ in range(102)]
        if codes[-1] != 450 or set(codes[:-1]) != {250}:
            raise Broken(f'the flood heard {set(codes[:-1])}, {codes[-1]}')
        p.close()
    good([250], 3)
    wait_for('questions to end', lambda: not any(t.gw.metrics()[k] for k in ('dns_flying', 'dns_waiting')), 60, 0.5)
    if t.memory() > memory + 150:
        raise Broken(f'memory grew from {memory} to {t.memory()} MB')


ATTACKS = {
    'flood_one_address': (flood_one_address, {}),
    'flood_many_addresses': (flood_many_addresses, {}),
    'slow_clients': (slow_clients, {}),
    'refused_recipients': (refused_recipients, {}),
    'idle_commands': (idle_commands, {}),
    'big_mail': (big_mail, {'extra': 'message_size_limit = 60000000\n'}),
    'long_line': (long_line, {'extra': 'message_size_limit = 60000000\n'}),
    'many_headers': (many_headers, {}),
    'greylist_flood': (greylist_flood, {'extra': 'smtpd_authorized_xclient_hosts = 127.0.0.1, 198.18.0.0/15\nsmtpd_peername_lookup = no\n'
                                        'smtpd_recipient_restrictions = check_greylist\ngreylist_delay = 0s\ngreylist_allow_after = 0\n'
                                        'greylist_size_limit = 1048576\nsmtpd_hard_error_limit = 1000000\nsmtpd_soft_error_limit = 1000000\n'
                                        'smtpd_junk_command_limit = 1000000\n'}),
    'dns_flood': (dns_flood, {'dns': True, 'extra': 'smtpd_helo_restrictions = permit_mynetworks, reject_unknown_helo_hostname\n'
                              'smtpd_sender_restrictions = permit_mynetworks, reject_unknown_sender_domain, reject_rhsbl_sender names.good.test\n'
                              'smtpd_client_connection_count_limit = 0\ndnsbl_probe_interval = 0\ndns_timeout = 5s\n'}),
    'tls_stalls': (tls_stalls, {'extra': TLS + 'smtpd_starttls_timeout = 4s\n'}),
    'tls_flood': (tls_flood, {'extra': TLS}),
    'tls_garbage': (tls_garbage, {'extra': TLS}),
    'few_descriptors': (few_descriptors, {'limit': 80}),
    'full_disk': (full_disk, {'extra': 'message_size_limit = 1000000\nspool_segment_size = 4194304\nspool_segments_min = 2\n', 'small': True}),
}


def perform(name):
    attack, how = ATTACKS[name]
    how = dict(how)
    mounted = None
    if how.pop('small', False):
        if os.geteuid() != 0:
            raise Skipped('needs root for a small file system')
        work = rig.workdir('attack')
        mounted = work / 'queue'
        mounted.mkdir()
        if subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=24m,mode=755', 'tmpfs', str(mounted)], stderr=subprocess.DEVNULL).returncode:
            shutil.rmtree(work, ignore_errors=True)
            raise Skipped('cannot mount a small file system')
        how['work'] = work
    t = Setting(**how)
    ok = False
    try:
        t.canary(10)
        before = t.gw.metrics().get('fds', 0)
        attack(t)
        t.level()
        t.canary()
        wait_for(f'descriptors to come down to {before} or so (connections to the hub rest for a while)',
                 lambda: t.gw.metrics().get('fds', 0) <= before + 6, 15, 0.2)
        ok = True
    finally:
        try:
            t.end(ok)
        finally:
            if mounted:
                subprocess.run(['umount', str(mounted)], check=False)
                if ok:
                    shutil.rmtree(t.dir, ignore_errors=True)


def main():
    passed = failed = skipped = 0
    for name in sys.argv[1:] or ATTACKS:
        begin = time.monotonic()
        try:
            perform(name)
            passed += 1
            print(f'ok       {name:22} {time.monotonic() - begin:6.1f} s  {ATTACKS[name][0].__doc__}', flush=True)
        except Skipped as e:
            skipped += 1
            print(f'skipped: {name}: {e}', flush=True)
        except (Broken, OSError, KeyError, subprocess.TimeoutExpired) as e:
            failed += 1
            print(f'FAIL     {name:22} {ATTACKS[name][0].__doc__}: {e if isinstance(e, Broken) else repr(e)}', flush=True)
    print(f'{passed} passed, {failed} failed, {skipped} skipped')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
