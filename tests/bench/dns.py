#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The part of bench.py about DNS lists: eight of them, each answer 50 ms late, asked by Postfix and by Dogana in one run.

    unshare -mn dns.py --inside PROGRAM PEERS|- RUNS      prints rows of the table as JSON; bench.py calls it

In a network and mount namespace of its own, because Postfix asks whom resolv.conf names, on port 53. Clients come from
ever new addresses of 127/8 unless said otherwise; nobody is listed, so that every list has to be waited for. "Does not
wait" sends each command when the reply to the last is there; "slow" thinks for as long as the lists take.
"""

import json
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / 'tests/tools'))
LISTS = [f'l{i}.lists.test' for i in range(1, 9)]
DEAD = LISTS[:7] + ['dead.test']
LATE_MS = 50
TIMEOUT = 2  # seconds that a list may take, in both
COMMON = '''compatibility_level = 3.6
myhostname = gw.unit.test
mydestination =
local_recipient_maps =
alias_maps =
mynetworks = 192.0.2.250
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
relay_domains = here.test
relay_recipient_maps =
smtpd_client_connection_count_limit = 0
smtpd_error_sleep_time = 0
smtpd_relay_restrictions = reject_unauth_destination
'''


def rules(lists):
    return 'smtpd_recipient_restrictions = ' + ', '.join(f'reject_rbl_client {d}' for d in lists) + ', permit'


SERVICES = ['smtpd_recipient_restrictions = permit', rules(LISTS), rules(DEAD), rules(DEAD[::-1])]
number = 0


def client():
    """An address nobody had before."""
    global number
    number += 1
    return f'127.{10 + number // 60000}.{number // 250 % 240 + 1}.{number % 250 + 2}'


def session(port, address, think=0.0, wants=b'250'):
    """(milliseconds from connect to the reply to RCPT, milliseconds of that after RCPT was sent)"""
    with socket.socket() as s:
        s.settimeout(60)
        s.bind((address, 0))
        begin = time.monotonic()
        s.connect(('127.0.0.1', port))
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with s.makefile('rb') as f:
            sent = begin
            for text in (None, 'EHLO client.test', 'MAIL FROM:<a@sender.test>', 'RCPT TO:<b@here.test>'):
                if text:
                    time.sleep(think)
                    sent = time.monotonic()
                    s.sendall(text.encode() + b'\r\n')
                while (line := f.readline())[3:4] == b'-':
                    pass
            now = time.monotonic()
            if not line.startswith(wants):
                sys.exit(f'bench: dns: {line!r}')
            s.sendall(b'QUIT\r\n')
            f.read()
    return (now - begin) * 1000, (now - sent) * 1000


def out(*row):
    print(json.dumps(row), flush=True)


def median(values):
    return statistics.median(values)


def shown(values):
    v = sorted(values)
    return f'{median(v):.0f} ({v[0]:.0f}-{v[-1]:.0f})'


def measure(name, ports, dns, runs):
    plain, eight, dead_last, dead_first = ports
    for _ in range(3):
        session(plain, client())
        session(eight, client())
    r = {'fast': [session(eight, client())[0] for _ in range(runs)]}
    base = [session(plain, client(), 2 * LATE_MS / 1000 / 3)[1] for _ in range(runs)]
    slow = [session(eight, client(), 2 * LATE_MS / 1000 / 3)[1] for _ in range(runs)]
    r['extra'] = [max(s - median(base), 0) for s in slow]
    again = client()
    session(eight, again)
    before = dns.questions
    r['cached'] = [session(eight, again)[0] for _ in range(runs)]
    r['packets'] = dns.questions - before
    listed = client()
    dns.add('.'.join(reversed(listed.split('.'))) + '.' + LISTS[2], 'A', '127.0.0.2')
    dns.add('.'.join(reversed(listed.split('.'))) + '.' + LISTS[2], 'DELAY', str(LATE_MS))
    r['others'] = session(dead_last, listed, wants=b'554')[0]
    r['first'] = session(dead_first, client())[0]
    r['next'] = [session(dead_first, client())[0] for _ in range(5)]
    r['later'] = [session(dead_first, client())[0] for _ in range(5 if name == 'postfix' else runs)]
    print(f'  {name:8}connect to RCPT reply {shown(r["fast"])} ms; slow client waits {shown(r["extra"])} ms more than without lists; '
          f'dead list: first {r["first"]:.0f} ms, next {" ".join(f"{x:.0f}" for x in r["next"])} ms, then {shown(r["later"])} ms', file=sys.stderr)
    return r


def inside(program, peers, runs):
    import rig
    scratch = rig.workdir('bench-dns')
    rig.own_network(scratch, f'timeout:1 attempts:{TIMEOUT}')

    class Dns(rig.Dns):
        address = '127.0.0.53'

        def bind(self):
            self.sock.bind((self.address, 53))

    dns = Dns()
    dns.add('*', 'NEGTTL', '300')
    for d in LISTS:
        dns.add(f'*.{d}', 'DELAY', str(LATE_MS))
        dns.add(f'2.0.0.127.{d}', 'A', '127.0.0.2')
        dns.add(f'2.0.0.127.{d}', 'DELAY', str(LATE_MS))
    dns.add('*.dead.test', 'DROP')
    ports = rig.free_ports(2 * len(SERVICES) + 2)
    theirs, ours = ports[:len(SERVICES)], ports[len(SERVICES):2 * len(SERVICES)]

    def services(ports):
        return ''.join(f'127.0.0.1:{p} inet n - n - - smtpd\n  -o {{ {settings} }}\n' for p, settings in zip(ports, SERVICES))
    results = {}
    gateway = rig.Gateway(scratch / 'dogana', COMMON + f'default_transport = discard:x\nmaillog_file = {scratch}/log\nmaillog_file_prefixes = {scratch}\n'
                          f'dnsbl_timeout = {TIMEOUT}s\nqueue_directory = {scratch}/q\ndata_directory = {scratch}/d\n',
                          f'127.0.0.1:{ports[-2]} inet n - n - - smtpd\n' + services(ours), binary=program)
    peer = scratch / 'postfix'
    script = TOP / 'tests/tools/postfix-peer.sh'
    try:
        if peers != '-':
            peer.mkdir(mode=0o755)
            (peer / 'extra.cf').write_text(COMMON)
            (peer / 'extra-master.cf').write_text(services(theirs))
            subprocess.run([script, 'start', peer, str(ports[-1]), 'discard'], check=True, stdout=sys.stderr, env=dict(os.environ, PEERS=peers))
            results['Postfix'] = measure('postfix', theirs, dns, runs)
        gateway.start(ports[-2])
        results['Dogana'] = measure('dogana', ours, dns, runs)
        gateway.stop()
    finally:
        gateway.kill()
        if peers != '-':
            subprocess.run([script, 'stop', peer], check=False)
        dns.stop()
    p, d = results.get('Postfix'), results['Dogana']

    def row(what, key, goal, fmt=shown, over=median):
        met = None if goal is None else over(d[key]) <= goal
        ratio = f'1/{over(p[key]) / over(d[key]):.1f}' if p and over(d[key]) >= 1 else ''
        out(what, fmt(p[key]) if p else '', fmt(d[key]), ratio, '' if goal is None else f'<= {goal}', met)
    row('8 lists of 50 ms: ms from connect to RCPT reply', 'fast', 60)
    row('  ms more than without lists, client slower than its DNS', 'extra', 1)
    row('  ms from connect to RCPT reply, client known', 'cached', None)
    row('  questions to the DNS for that', 'packets', 0, str, int)
    row('one of them dead: ms, client that another lists, with its reason', 'others', 2 * LATE_MS + 20, lambda v: f'{v:.0f}', float)
    row(f'  ms, first client that waits for it (time-out {TIMEOUT} s)', 'first', TIMEOUT * 1000 + 100, lambda v: f'{v:.0f}', float)
    row('  ms, once it is paused', 'later', 60)
    shutil.rmtree(scratch, ignore_errors=True)


def run(opponents, program, row, say, runs):
    """Called by bench.py."""
    say('DNS lists, 8 that answer after 50 ms:')
    import rig
    if not rig.has_namespaces():
        say('bench: dns: left out: needs root and namespaces')
        return
    peers = os.environ.get('PEERS') or str(TOP / 'build/peers')
    done = subprocess.run([*rig.IN_NAMESPACES, __file__, '--inside', str(program),
                           peers if 'Postfix' in opponents else '-', str(max(runs, 3) * 5)], stdout=subprocess.PIPE, text=True)
    for line in done.stdout.splitlines():
        row(*json.loads(line))
    if done.returncode != 0:
        say('bench: dns: not finished')


if __name__ == '__main__':
    inside(sys.argv[2], sys.argv[3], int(sys.argv[4]))
