#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""DNS block and allow lists, Debian's Postfix and Dogana beside each other with the same DNS server: the replies of every restriction that
asks one (filters, templates, reply maps, reasons), and the scores of postscreen against those of `dogana dnsbl check`.

    lists.py [-v] [-k TEXT]

Runs in a network and mount namespace of its own (port 53, resolv.conf). Exit status 1 if there was a difference that
DIFFERENCES does not have, or one of those is gone; 77 where Postfix or namespaces cannot be had.
"""

import argparse
import concurrent.futures
import json
import pathlib
import re
import shutil
import socket
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parents[1]
sys.path.insert(0, str(TOP / 'tests/tools'))
import rig  # noqa: E402

PEER = TOP / 'tests/tools/postfix-peer.sh'
COMMON = '''compatibility_level = 3.6
myhostname = gw.unit.test
mydestination =
local_recipient_maps =
alias_maps =
mynetworks = 192.0.2.250
inet_interfaces = 127.0.0.1
inet_protocols = all
relay_domains = relayed.test
relay_recipient_maps =
smtpd_banner = $myhostname ESMTP
smtpd_client_connection_count_limit = 0
smtpd_error_sleep_time = 0
smtpd_hard_error_limit = 1000
smtpd_soft_error_limit = 1000
smtpd_authorized_xclient_hosts = 127.0.0.1
smtpd_relay_restrictions = reject_unauth_destination
smtpd_peername_lookup = no
enable_long_queue_ids = yes
syslog_name = postfix
'''
NIBBLES = '1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2'
DNS = r'''
7.2.0.192.bl.test A 127.0.0.2
7.2.0.192.bl.test TXT https://bl.test/7
8.2.0.192.bl.test A 127.0.0.4
8.2.0.192.bl.test A 127.0.0.9
8.2.0.192.bl.test A 127.0.3.10
8.2.0.192.bl.test TXT one
8.2.0.192.bl.test TXT two
9.2.0.192.bl.test A 127.0.0.2
9.2.0.192.bl.test TXT/SERVFAIL
10.2.0.192.bl.test A 127.0.0.2
10.2.0.192.bl.test TXT $rbl_what ${sender} %s "x"
11.2.0.192.bl.test A 203.0.113.1
12.2.0.192.bl.test A 127.255.255.254
13.2.0.192.bl.test A 10.1.2.3
14.2.0.192.bl.test A 127.0.0.2
14.2.0.192.bl.test TXT \195\164 \228 \027[1m
15.2.0.192.bl.test CNAME other.bl.test
other.bl.test A 127.0.0.2
16.2.0.192.bl.test SERVFAIL
17.2.0.192.bl.test REFUSED
18.2.0.192.bl.test TXT only a reason
7.2.0.192.wl.test A 127.0.5.2
16.2.0.192.wl.test SERVFAIL
11.2.0.192.wl.test A 203.0.113.1
''' + f'{NIBBLES}.bl.test A 127.0.0.2\n' + r'''
spam.test.names.test A 127.0.1.2
spam.test.names.test TXT bad name
later.test.names.test SERVFAIL
far.test.names.test A 203.0.113.1
relayed.test.names.test A 127.0.1.9
ok.test.names.test A 127.0.0.2
7.0.0.127.a.test A 127.0.0.2
7.0.0.127.a.test A 127.0.0.4
7.0.0.127.a.test A 127.0.0.10
7.0.0.127.b.test A 127.0.0.3
7.0.0.127.white.test A 127.0.5.2
7.0.0.127.far.test A 203.0.113.1
7.0.0.127.over.test A 127.255.255.254
7.0.0.127.fail.test SERVFAIL
*.base.test A 127.0.0.2
'''

# what Postfix says matches, what we say matches: why
DIFFERENCES = [
    (r'ADDR=192\.0\.2\.1[13] ', r'^(554 .* blocked using|250)', r'^(250|554 5\.7\.1 .*denied)', 'an answer outside 127.0.0.0/8 is no listing unless a filter names it: a parked domain, a name server that lies'),
    ('a@far.test', r'^554 .* blocked using names\.test', r'^250', 'the same for names'),
    (r'ADDR=192\.0\.2\.12 ', r'^554 .* blocked using', r'^250', '127.255.255.0/24 is a list that refuses to answer, never a listing'),
    (r'^far\.test\*5', r'score 5', r'score 0', 'an answer outside 127.0.0.0/8 adds nothing unless a filter names it'),
    (r'^over\.test\*5', r'score 5', r'score 0', '127.255.255.0/24 adds nothing'),
    (r'^over\.test=127\.255\.255\.254\*5', r'score 5', r'score 0', '127.255.255.0/24 adds nothing'),
]
CASES = []
SITES = ['a.test', 'a.test*3, b.test', 'a.test, b.test*2', 'a.test=127.0.0.2*2, a.test=127.0.0.[3..10]*4', 'a.test=127.0.0.[2;4;10]*4',
         'a.test*2, a.test*2', 'a.test=127.0.0.2, a.test=127.0.0.2', 'a.test*2, white.test=127.[0..255].[0..255].2*-5', 'white.test*-5, b.test', 'b.test*0', 'b.test*+7', 'gone.test*4', 'fail.test*4, a.test',
         'a.test=127.0.0.9', 'far.test*5', 'far.test=203.0.113.[0..5]*6', 'over.test*5', 'over.test=127.255.255.254*5', 'A.test*2, a.test*3']
REPLY_MAP = 'postscreen_dnsbl_reply_map = inline:{a.test=hidden.example}\n'


def case(settings, *sessions):
    CASES.append((settings, sessions))


def client(n, name='h.test'):
    return f'NAME={name} ADDR={"IPV6:2001:db8::1" if n == 6 else f"192.0.2.{n}"}', 'h.test', 'a@ok.test', 'x@relayed.test'


R = 'smtpd_recipient_restrictions = '
EVERYBODY = [client(n) for n in list(range(6, 20))]
for rule in ('reject_rbl_client bl.test', 'reject_rbl_client bl.test=127.0.0.[2..4;9]', 'reject_rbl_client bl.test=127.0.[0..255].10', 'reject_rbl_client bl.test=127.0.0.3',
             'reject_rbl_client bl.test=[0..127].[0..255].[0..255].[0..255]', 'warn_if_reject reject_rbl_client bl.test', 'permit_dnswl_client wl.test, reject',
             'permit_dnswl_client wl.test, reject_rbl_client bl.test', 'permit_dnswl_client wl.test=127.0.5.[2..3], reject'):
    case(R + rule, *EVERYBODY)
case(R + 'reject_rbl_client bl.test=10.1.2.3, reject_rbl_client bl.test=203.0.113.1', *[client(n) for n in (7, 13)])
for family in ('client', 'reverse_client', 'helo', 'sender', 'recipient'):
    case(R + f'reject_rhsbl_{family} names.test', *[(f'NAME={n} REVERSE_NAME={n} ADDR=192.0.2.99', n, f'a@{n}', 'x@relayed.test') for n in ('spam.test', 'later.test', 'fine.test')],
         ('ADDR=192.0.2.99', '[192.0.2.99]', '', 'x@relayed.test'), ('ADDR=192.0.2.99', 'h', 'a@[192.0.2.1]', 'x@relayed.test'), ('ADDR=192.0.2.99', '12345', 'a@x.12345', 'x@relayed.test'))
case(R + 'reject_rhsbl_sender names.test', ('ADDR=192.0.2.99', 'h', 'a@far.test', 'x@relayed.test'))
case(R + 'reject_rhsbl_sender names.test=127.0.1.3', ('ADDR=192.0.2.99', 'h', 'a@spam.test', 'x@relayed.test'))
case(R + 'permit_rhswl_client names.test, reject', *[(f'NAME={n} ADDR=192.0.2.99', 'h', 'a@b.test', 'x@relayed.test') for n in ('ok.test', 'fine.test', 'later.test')])
for template in ('$rbl_code 5.7.9 $rbl_class|$rbl_what|$rbl_domain|$rbl_reason|$rbl_txt|$client|$client_name|$client_address', '550 $helo_name $sender $sender_name $sender_domain',
                 '450 4.7.7 $recipient $recipient_name $recipient_domain $reverse_client_name', '554 ${rbl_reason?yes: $rbl_reason}${rbl_reason:no}', 'no code', '554',         '521 closed', '5540 x', '$rbl_code $$money'):
    case(R + 'reject_rbl_client bl.test\ndefault_rbl_reply = ' + template, *[client(n) for n in (7, 9, 10)])
case(R + 'reject_rbl_client bl.test=127.0.0.2, reject_rbl_client bl.test\nrbl_reply_maps = inline:{{bl.test=554 whole $$rbl_domain}, {bl.test=127.0.0.2=554 5.1.1 filtered $$rbl_what}}', *[client(n) for n in (7, 8)])
case(R + 'reject_rbl_client bl.test\nrbl_reply_maps = fail:x', client(7))
case(R + 'reject_rbl_client bl.test\nmaps_rbl_reject_code = 450', client(7))
case('smtpd_client_restrictions = reject_rbl_client bl.test\nsmtpd_delay_reject = no', client(7))


class Dns(rig.Dns):
    address = '127.0.0.53'

    def bind(self):
        self.sock.bind((self.address, 53))


class Talk:
    def __init__(self, port, source='127.0.0.1'):
        self.sock = socket.create_connection(('127.0.0.1', port), 60, (source, 0))
        self.file = self.sock.makefile('rb')

    def reply(self):
        while True:
            line = self.file.readline().decode('latin-1').rstrip('\r\n')
            if line[3:4] != '-':
                return line

    def ask(self, text):
        self.sock.sendall(text.encode() + b'\r\n')
        return self.reply()

    def close(self):
        self.file.close()
        self.sock.close()


def session(port, who):
    xclient, helo, sender, rcpt = who
    t = Talk(port)
    try:
        for line in (None, f'XCLIENT {xclient}', f'EHLO {helo}', f'MAIL FROM:<{sender}>', f'RCPT TO:<{rcpt}>'):
            said = t.ask(line) if line else t.reply()
            if not said.startswith('2'):
                break
        return said
    finally:
        t.close()


def services(ports):
    out = ''
    for port, (settings, _) in zip(ports, CASES):
        out += f'127.0.0.1:{port} inet n - n - - smtpd\n' + ''.join(f'  -o {{ {line} }}\n' for line in settings.splitlines())
    return out


def screens(ports):
    """Two postscreens for each list of sites: one whose score is always in the log, one for the name."""
    out = 'dnsblog unix - - n - 0 dnsblog\ntlsproxy unix - - n - 0 tlsproxy\nsmtpd pass - - n - - smtpd\n'
    for i, sites in enumerate(SITES):
        for port, add in ((ports[2 * i], ', base.test*1000'), (ports[2 * i + 1], '')):
            out += (f'127.0.0.1:{port} inet n - n - 1 postscreen\n  -o {{ postscreen_dnsbl_sites = {sites}{add} }}\n  -o postscreen_dnsbl_action=enforce\n'
                    f'  -o postscreen_greet_wait=2s\n  -o postscreen_cache_map=\n  -o syslog_name=screen{port}\n  -o {{ {REPLY_MAP.strip()} }}\n')
    return out


def screened(port):
    t = Talk(port, '127.0.0.7')
    try:
        for line in (None, 'EHLO h', 'MAIL FROM:<>', 'RCPT TO:<x@relayed.test>'):
            said = t.ask(line) if line else t.reply()
        return said
    finally:
        t.close()


def theirs_of_sites(ports, log_file):
    """[(score, name or None)]"""
    with concurrent.futures.ThreadPoolExecutor(2 * len(SITES)) as pool:
        said = list(pool.map(screened, ports))
    out = []
    for i in range(len(SITES)):
        rank = re.compile(rf'screen{ports[2 * i]}/postscreen\[\d+\]: DNSBL rank (-?\d+) for \[127\.0\.0\.7\]')
        rig.wait_for('postscreen to say the score', lambda: rank.search(log_file.read_text(errors='replace')))
        name = re.search(r'blocked using (\S+)', said[2 * i + 1])
        score = int(rank.search(log_file.read_text(errors='replace'))[1]) - 1000
        out.append(f'score {score}' + (f' by {name[1]}' if score > 0 and name else ''))
    return out


def ours_of_sites(scratch, gateway):
    def one(i):
        d = scratch / f'sites{i}'
        d.mkdir()
        (d / 'main.cf').write_text(COMMON + f'queue_directory = {d}/q\npostscreen_dnsbl_sites = {SITES[i]}\ndnsbl_probe_interval = 0\n{REPLY_MAP}')
        (d / 'master.cf').write_text('127.0.0.1:31025 inet n - n - - smtpd\n  -o smtpd_triage=yes\n')
        done = subprocess.run([gateway.binary, '-c', d, 'dnsbl', 'check', '--json', '127.0.0.7'], stdout=subprocess.PIPE, text=True)
        score = json.loads(done.stdout)['scores'][0]
        return f'score {score["score"]}' + (f' by {score["shown"]}' if score['score'] > 0 else '')
    return [one(i) for i in range(len(SITES))]


class Compare:
    def __init__(self, verbose):
        self.verbose, self.count, self.bad, self.seen = verbose, 0, 0, set()

    def look(self, what, who, theirs, ours):
        self.count += 1
        rows = [i for i, (part, a, b, _) in enumerate(DIFFERENCES) if re.search(part, who) and re.search(a, theirs) and re.search(b, ours)] if theirs != ours else []
        self.seen.update(rows)
        if theirs != ours and not rows:
            self.bad += 1
        if self.verbose or (theirs != ours and not rows):
            print(f'{what!r} {who}' + (f' ({DIFFERENCES[rows[0]][3]})' if rows else ''))
            print(f'  - {theirs}\n  + {ours}' if theirs != ours else f'  = {theirs}')


def listed_by(log):
    return sorted(set(re.findall(r'dnsblog\[\d+\]: (addr 127\.0\.0\.7 listed by domain .*)', log)))


def inside(args):
    scratch = rig.workdir('lists')
    rig.own_network(scratch)
    dns = Dns()
    for line in filter(None, DNS.splitlines()):
        name, kind, *data = line.split(None, 2)
        dns.add(name, kind, data[0] if data else '')
    chosen = [i for i, (settings, _) in enumerate(CASES) if args.k in settings]
    ports = rig.free_ports(2 * len(CASES) + 2 * len(SITES) + 2)
    theirs, ours, screen = ports[:len(CASES)], ports[len(CASES):2 * len(CASES)], ports[2 * len(CASES):-2]
    peer = scratch / 'postfix'
    peer.mkdir(mode=0o755)
    (peer / 'extra.cf').write_text(COMMON)
    (peer / 'extra-master.cf').write_text(services(theirs) + screens(screen))
    if subprocess.run([PEER, 'start', peer, str(ports[-1]), 'discard']).returncode != 0:
        sys.exit(77)
    gateway = rig.Gateway(scratch / 'dogana', COMMON + 'default_transport = discard:x\nmaillog_file = /dev/stdout\nedge_workers = 1\nrelay_workers = 1\n'
                          f'dnsbl_probe_interval = 0\nqueue_directory = {scratch}/q\ndata_directory = {scratch}/d\n', f'127.0.0.1:{ports[-2]} inet n - n - - smtpd\n' + services(ours))
    compare = Compare(args.v)
    try:
        gateway.start(ports[-2])
        for i in chosen:
            for who in CASES[i][1]:
                compare.look(CASES[i][0], ' '.join(who), session(theirs[i], who), session(ours[i], who))
        for sites, a, b in zip(SITES, theirs_of_sites(screen, peer / 'log'), ours_of_sites(scratch, gateway)) if not args.k else ():
            compare.look('postscreen_dnsbl_sites', sites, a, b)
        if args.v:
            print('\n'.join(listed_by((peer / 'log').read_text(errors='replace'))))
        for i, row in enumerate(DIFFERENCES):
            if i not in compare.seen and not args.k:
                print(f'a listed difference is gone: {row}')
                compare.bad += 1
    finally:
        gateway.stop()
        subprocess.run([PEER, 'stop', peer], check=False)
        dns.stop()
        shutil.rmtree(scratch, ignore_errors=True)
    print(f'lists: {compare.count} compared, {compare.bad} differences')
    sys.exit(1 if compare.bad else 0)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('-v', action='store_true')
    parser.add_argument('-k', default='')
    parser.add_argument('--inside', action='store_true')
    args = parser.parse_args()
    if args.inside:
        inside(args)
    rig.again_in_namespaces('lists', __file__)


if __name__ == '__main__':
    main()
