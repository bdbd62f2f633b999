#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Every restriction that asks the DNS, Debian's Postfix and Dogana beside each other with the same DNS server, which can
fail in all the ways there are. Replies to RCPT are compared, what the log says of the client, and the warnings.

    dns.py [-v] [-k TEXT]

Runs in a network and mount namespace of its own (port 53, resolv.conf). Exit status 1 if there was a difference that
DIFFERENCES does not have, 77 where Postfix or namespaces cannot be had.
"""

import argparse
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
mydestination = here.test
local_recipient_maps =
local_transport = smtp:[10.0.0.1]
alias_maps =
mynetworks = 192.0.2.250
inet_interfaces = 127.0.0.1
proxy_interfaces = 192.0.2.200
inet_protocols = all
relay_domains = relayed.test, mx.test
relay_recipient_maps =
virtual_alias_domains = alias.here.test
smtpd_banner = $myhostname ESMTP
smtpd_client_connection_count_limit = 0
smtpd_error_sleep_time = 0
smtpd_hard_error_limit = 1000
smtpd_soft_error_limit = 1000
smtpd_authorized_xclient_hosts = 127.0.0.1
smtpd_relay_restrictions = reject_unauth_destination
enable_long_queue_ids = yes
syslog_name = postfix
'''
LONG = '.'.join(['a' * 63] * 3)
DNS = r'''
host.test A 192.0.2.1
six.test AAAA 2001:db8::1
mx.test MX 10 10.mx.test
mx.test MX 20 20.mx.test
10.mx.test A 192.0.2.10
20.mx.test A 192.0.2.20
20.mx.test AAAA 2001:db8::20
null.test MX 0 .
null2.test MX 10 10.mx.test
null2.test MX 20 .
txt.test TXT hello
later.test SERVFAIL
refused.test REFUSED
garbage.test GARBAGE
badmx.test MX 10 not\x20a\x20host.test
halfbad.test MX 10 not\x20a\x20host.test
halfbad.test MX 20 10.mx.test
wild.test MX 10 *.mx.test
numeric.test MX 10 192.0.2.99
deadmx.test MX 10 gone.test
latermx.test MX 10 later.test
two.test MX 10 gone.test
two.test MX 20 20.mx.test
zone.test NS ns.zone.test
ns.zone.test A 192.0.2.53
a.b.zone.test A 192.0.2.7
latezone.test SERVFAIL
badns.test NS not\x20a\x20host
backup.test MX 10 10.mx.test
backup.test MX 20 ours.test
ours.test A 192.0.2.200
backname.test MX 10 10.mx.test
backname.test MX 20 here.test
primary.test MX 10 ours.test
primary.test MX 20 20.mx.test
other.test MX 10 10.mx.test
other.test MX 20 20.mx.test
unsure.test MX 10 later.test
unsure.test MX 20 ours.test
dead2.test MX 10 gone.test
dead2.test MX 20 txt.test
far.test MX 10 20.mx.test
far.test MX 20 ours.test
dead1.test MX 10 gone.test
dead1.test MX 20 ours.test
xn--mller-kva.test MX 10 10.mx.test
2.0.0.127.in-addr.arpa PTR mail.good.test
mail.good.test A 127.0.0.2
3.0.0.127.in-addr.arpa PTR forged.test
2.0.0.127.lists.test A 127.0.0.2
forged.test A 192.0.2.1
5.0.0.127.in-addr.arpa SERVFAIL
6.0.0.127.in-addr.arpa PTR bad\r\nname.test
7.0.0.127.in-addr.arpa PTR later.test
8.0.0.127.in-addr.arpa PTR 1.2.3.4
10.0.0.127.in-addr.arpa PTR gone.test
11.0.0.127.in-addr.arpa PTR nodata.test
nodata.test MX 10 x.test
12.0.0.127.in-addr.arpa PTR -x.test
13.0.0.127.in-addr.arpa PTR under_score.test
under_score.test A 127.0.0.13
14.0.0.127.in-addr.arpa PTR Mixed.CASE.test
mixed.case.test A 127.0.0.14
15.0.0.127.in-addr.arpa GARBAGE
16.0.0.127.in-addr.arpa CNAME 16.sub.test
''' + f'17.0.0.127.in-addr.arpa PTR {LONG}.test\n{LONG}.test A 127.0.0.17\n'
for n in range(20):
    DNS += f'many.test MX 10 h{n}.many.test\n' + ''.join(f'h{n}.many.test A 198.51.100.{6 * n + k}\n' for k in range(1, 7))

HELO = 'smtpd_helo_restrictions = reject_unknown_helo_hostname'
SND = 'smtpd_sender_restrictions = reject_unknown_sender_domain'
RCP = 'smtpd_relay_restrictions = reject_unknown_recipient_domain, reject_unauth_destination'
BACKUP = 'smtpd_relay_restrictions = permit_mx_backup, reject_unauth_destination'
NAMES = ['host.test', 'six.test', 'mx.test', 'null.test', 'null2.test', 'txt.test', 'later.test', 'refused.test', 'badmx.test', 'halfbad.test', 'wild.test',
         'numeric.test', 'deadmx.test', 'gone.test', 'Host.TEST', 'zone.test', 'a.b.zone.test']
ODD = ['192.0.2.1', 'a..b', '-x.test', 'x', '[192.0.2.1]', '[192.0.2]', 'host.test.', 'a_b.test', '[IPv6:2001:db8::1]', 'garbage.test', '2001:db8::1']
TABLE = '{192.0.2=REJECT net}, {20.mx.test=REJECT mx20}, {2001:db8=REJECT six}, {ns.zone.test=REJECT ns}, {gone.test=REJECT gone}, {198.51.100.99=REJECT n99}, ' \
        '{198.51.100.101=REJECT n101}, {198.51.100.130=REJECT n130}'
# (settings of a service, [(client: XCLIENT attributes or an address to connect from, helo, sender, recipient)])
CASES = []


def case(settings, *sessions):
    CASES.append((settings, sessions))


case(HELO, *[('', h, '', 'x@mx.test') for h in NAMES + ODD], ('', 'later.test', '', 'x@elsewhere.test'))
case(HELO + '\nunknown_hostname_reject_code = 550\nunknown_helo_hostname_tempfail_action = defer', *[('', h, '', 'x@mx.test') for h in ('gone.test', 'later.test')],
     ('', 'later.test', '', 'x@elsewhere.test'))
case('smtpd_helo_restrictions = warn_if_reject reject_unknown_hostname, reject_unknown_hostname', ('', 'gone.test', '', 'x@mx.test'), ('', 'later.test', '', 'x@mx.test'))
case(SND, *[('', 'h', f'a@{d}', 'x@mx.test') for d in NAMES + ODD[:9] + ['here.test', 'alias.here.test', 'relayed.test', 'latermx.test']], ('', 'h', 'a', 'x@mx.test'),
     ('', 'h', '', 'x@mx.test'), ('', 'h', 'a%gone.test@here.test', 'x@mx.test'), ('', 'h', 'a@later.test', 'x@elsewhere.test'))
case(SND, ('', 'h', 'a@müller.test', 'x@mx.test'), ('', 'h', 'a@MÜLLER.test', 'x@mx.test'), ('', 'h', 'a@möller.test', 'x@mx.test'))
case(SND + '\nunknown_address_reject_code = 550\nunknown_address_tempfail_action = defer', *[('', 'h', f'a@{d}', 'x@mx.test') for d in ('gone.test', 'later.test', 'badmx.test')],
     ('', 'h', 'a@later.test', 'x@elsewhere.test'))
case(RCP, *[('', 'h', '', f'x@{d}') for d in NAMES + ['here.test', 'relayed.test', 'alias.here.test', '[192.0.2.1]']], ('', 'h', '', 'postmaster'), ('', 'h', '', 'x'))
case('soft_bounce = yes\n' + SND, ('', 'h', 'a@null.test', 'x@mx.test'))
for kind in ('a', 'mx', 'ns'):
    case(f'smtpd_helo_restrictions = check_helo_{kind}_access inline:{{{TABLE}}}', *[('', h, '', 'x@mx.test') for h in NAMES + ODD + ['two.test', 'latermx.test', 'latezone.test',
         'badns.test', 'x.latezone.test', 'ns.zone.test', 'x.y.zone.test', 'many.test', '20.mx.test']])
    case(f'smtpd_sender_restrictions = check_sender_{kind}_access inline:{{{TABLE}}}', *[('', 'h', f'a@{h}', 'x@mx.test') for h in NAMES + ['[192.0.2.1]', '[192.0.2]', '[IPv6:2001:db8::1]',
         'two.test', 'latermx.test', 'later.test']], ('', 'h', '', 'x@mx.test'), ('', 'h', 'a', 'x@mx.test'), ('', 'h', 'host.test', 'x@mx.test'))
    case(f'smtpd_relay_restrictions = check_recipient_{kind}_access inline:{{{TABLE}}}, reject_unauth_destination', *[('', 'h', '', f'a@{h}') for h in ('mx.test', 'host.test', 'zone.test',
         '[192.0.2.1]', 'gone.test')], ('', 'h', '', 'postmaster'))
    case(f'smtpd_client_restrictions = check_client_{kind}_access inline:{{{TABLE}}}', *[(f'NAME={h} ADDR=192.0.2.77', 'h', '', 'x@mx.test') for h in ('mx.test', 'host.test',
         'a.b.zone.test', 'gone.test', '[UNAVAILABLE]', '[TEMPUNAVAIL]')])
    case(f'smtpd_client_restrictions = check_reverse_client_hostname_{kind}_access inline:{{{TABLE}}}', *[(f'NAME=[UNAVAILABLE] REVERSE_NAME={h} ADDR=192.0.2.77', 'h', '', 'x@mx.test')
         for h in ('mx.test', 'host.test', 'a.b.zone.test', 'gone.test', '[UNAVAILABLE]')])
    case(f'smtpd_helo_restrictions = check_helo_{kind}_access inline:{{{{192.0.2=OK}}, {{ns.zone.test=OK}}}}', ('', 'mx.test', '', 'x@mx.test'), ('', 'host.test', '', 'x@mx.test'), ('', 'a.b.zone.test', '', 'x@mx.test'))
    case(f'smtpd_helo_restrictions = check_helo_{kind}_access inline:{{{{192.0.2.10=DUNNO}}, {{192.0.2=REJECT}}}}', ('', 'mx.test', '', 'x@mx.test'))
for n in (60, 99, 100, 101, 102, 120):
    case(f'smtpd_sender_restrictions = check_sender_mx_access inline:{{{{198.51.100.{n}=REJECT}}}}', ('', 'h', 'a@many.test', 'x@mx.test'))
case(BACKUP, *[('', 'h', '', f'x@{d}') for d in ('backup.test', 'backname.test', 'primary.test', 'other.test', 'gone.test', 'null.test', 'badmx.test', 'later.test', 'latermx.test',
     'unsure.test', 'host.test', 'relayed.test', 'here.test', '[192.0.2.200]', '[192.0.2.9]', 'dead1.test', 'dead2.test', 'txt.test')], ('', 'h', '', 'a%backup.test@here.test'), ('', 'h', '', 'a%backup.test@relayed.test'),
     ('', 'h', '', 'a@backup.test@relayed.test'))
for nets in ('192.0.2.10', '192.0.2.11', '192.0.2.20', '192.0.2.20, [2001:db8::]/32', '10.mx.test', 'mx.test'):
    case(BACKUP + f'\npermit_mx_backup_networks = {nets}', *[('', 'h', '', f'x@{d}') for d in ('backup.test', 'far.test', 'unsure.test', 'dead1.test', 'dead2.test', 'txt.test')])
ADDRESSES = [f'127.0.0.{n}' for n in (1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 15, 16, 17)]
case('smtpd_client_restrictions = reject_unknown_client_hostname', *[(a, 'h', '', 'x@mx.test') for a in ADDRESSES])
case('smtpd_client_restrictions = reject_unknown_reverse_client_hostname', *[(a, 'h', '', 'x@mx.test') for a in ADDRESSES])
case('smtpd_client_restrictions = check_client_access inline:{{test=REJECT name}, {unknown=REJECT unknown}}', *[(a, 'h', '', 'x@mx.test') for a in ADDRESSES])
case('smtpd_client_restrictions = check_reverse_client_hostname_access inline:{{test=REJECT name}, {unknown=REJECT unknown}}', *[(a, 'h', '', 'x@mx.test') for a in ADDRESSES])
case('smtpd_client_restrictions = reject_unknown_client_hostname\nunknown_client_reject_code = 550\nsmtpd_delay_reject = no', *[(a, 'h', '', 'x@mx.test') for a in ADDRESSES[:6]])
case('smtpd_peername_lookup = no\nsmtpd_client_restrictions = reject_unknown_client_hostname', ('127.0.0.2', 'h', '', 'x@mx.test'))
PORTS = 'smtpd_client_port_logging = yes\nsmtpd_client_restrictions = '
case(PORTS + 'check_client_access inline:{{test=REJECT name}, {unknown=REJECT unknown}}', *[(a, 'h', '', 'x@mx.test') for a in ADDRESSES[:4]],
     ('NAME=a.test ADDR=192.0.2.7 PORT=4711', 'h', '', 'x@mx.test'), ('NAME=a.test ADDR=192.0.2.7 PORT=[UNAVAILABLE]', 'h', '', 'x@mx.test'))
case(PORTS + 'reject_rbl_client lists.test\ndefault_rbl_reply = $rbl_code by $rbl_domain: $client $client_address $client_name $rbl_what', ('127.0.0.2', 'h', '', 'x@mx.test'))
case(PORTS + 'reject_unknown_client_hostname', *[(a, 'h', '', 'x@mx.test') for a in ADDRESSES[:4]])
case('smtpd_peername_lookup = no\nsmtpd_client_restrictions = check_client_access inline:{{test=REJECT name}, {unknown=REJECT unknown}}', *[(a, 'h', '', 'x@mx.test') for a in ADDRESSES[:3]])
case('smtpd_peername_lookup = no\nsmtpd_client_restrictions = reject_unknown_reverse_client_hostname', *[(a, 'h', '', 'x@mx.test') for a in ADDRESSES[:3]])
case('smtpd_peername_lookup = no\nsmtpd_client_restrictions = check_reverse_client_hostname_access inline:{{test=REJECT name}, {unknown=REJECT unknown}}', *[(a, 'h', '', 'x@mx.test') for a in ADDRESSES[:3]])
case('smtpd_peername_lookup = no\nmynetworks = 127.0.0.2, mail.good.test\nsmtpd_client_restrictions = permit_mynetworks, reject', *[(a, 'h', '', 'x@mx.test') for a in ADDRESSES[:3]])

# (part of the settings, HELO name): why
DIFFERENCES = {
    ('check_helo_a_access', '20.mx.test'): 'the C library sorts IPv6 first on this machine; we ask the table for IPv4 addresses first, on any',
}


class Dns(rig.Dns):
    address = '127.0.0.53'

    def bind(self):
        self.sock.bind((self.address, 53))


def session(port, client, helo, sender, rcpt):
    source = client if client[:1].isdigit() else '127.0.0.1'
    s = socket.create_connection(('127.0.0.1', port), 60, (source, 0))
    said = []
    mine = f']:{s.getsockname()[1]}'
    with s, s.makefile('rb') as f:
        def reply():
            while True:
                line = f.readline().decode('latin-1').rstrip('\r\n')
                if line[3:4] != '-':
                    said.append(line.replace(mine, ']:PORT'))
                    return line.startswith(('2', '3'))
        def ask(text):
            s.sendall(text.encode() + b'\r\n')
            return reply()
        if not reply():
            return said
        if client and not client[:1].isdigit() and not ask(f'XCLIENT {client}'):
            return said
        _ = ask(f'EHLO {helo}') and ask(f'MAIL FROM:<{sender}>{"" if sender.isascii() else " SMTPUTF8"}') and ask(f'RCPT TO:<{rcpt}>')
        s.sendall(b'QUIT\r\n')
        f.read()
    return said[-1:]


def services(ports):
    out = ''
    for port, (settings, _) in zip(ports, CASES):
        out += f'127.0.0.1:{port} inet n - n - - smtpd\n' + ''.join(f'  -o {{ {line} }}\n' for line in settings.splitlines())
    return out


WARNING = re.compile(r'warning: ((?:Unable to look up|hostname|restriction) .*)')
CONNECT = re.compile(r'(connect from .*)')


def notable(log):
    """What the log says of names and lookups."""
    out = []
    for line in log.splitlines():
        m = WARNING.search(line) or CONNECT.search(line)
        if m and 'disconnect' not in line:
            out.append(m.group(1))
    return sorted(set(out))


def follows_resolv_conf(scratch, ours):
    """Other name servers in resolv.conf are in force by themselves."""
    port = ours[next(i for i, (settings, _) in enumerate(CASES) if settings == SND)]
    other = Dns.__new__(Dns)
    other.address = '127.0.0.54'
    Dns.__init__(other)
    other.add('elsewhere.test', 'MX', '10 10.mx.test')
    who = ('', 'h', 'a@elsewhere.test', 'x@mx.test')
    before = session(port, *who)
    (scratch / 'resolv.conf').write_text('nameserver 127.0.0.54\n')
    try:
        rig.wait_for('the new name server to be asked', lambda: session(port, *who)[0].startswith('250'))
    except rig.Broken as e:
        print(f'  + {e}')
        return 1
    finally:
        other.stop()
    if not before[0].startswith('450'):
        print(f'  + {before}')
        return 1
    return 0


def inside(args):
    scratch = rig.workdir('dns')
    rig.own_network(scratch)
    dns = Dns()
    for line in DNS.strip().splitlines():
        name, kind, *data = line.split(None, 2)
        dns.add(name, kind, (data[0] if data else '').encode().decode('unicode_escape'))
    chosen = [i for i, (settings, _) in enumerate(CASES) if args.k in settings]
    ports = rig.free_ports(2 * len(CASES) + 2)
    theirs, ours = ports[:len(CASES)], ports[len(CASES):2 * len(CASES)]
    peer = scratch / 'postfix'
    peer.mkdir(mode=0o755)
    (peer / 'extra.cf').write_text(COMMON)
    (peer / 'extra-master.cf').write_text(services(theirs))
    if subprocess.run([PEER, 'start', peer, str(ports[-1]), 'discard']).returncode != 0:
        sys.exit(77)
    gateway = rig.Gateway(scratch / 'dogana', COMMON + 'default_transport = discard:x\nmaillog_file = /dev/stdout\nedge_workers = 1\nrelay_workers = 1\ndnsbl_probe_interval = 0\n'
                          f'queue_directory = {scratch}/q\ndata_directory = {scratch}/d\n', f'127.0.0.1:{ports[-2]} inet n - n - - smtpd\n' + services(ours))
    gateway.start(ports[-2])
    bad = count = 0
    try:
        for i in chosen:
            for who in CASES[i][1]:
                count += 1
                a, b = session(theirs[i], *who), session(ours[i], *who)
                why = next((w for (part, helo), w in DIFFERENCES.items() if part in CASES[i][0] and helo == who[1]), None)
                if args.v or (a != b and not why):
                    print(f'{CASES[i][0]!r} {who}' + (f' ({why})' if why else ''))
                    print(f'  - {a}\n  + {b}' if a != b else f'  = {a}')
                bad += a != b and not why
        a, b = notable((peer / 'log').read_text(errors='replace')), notable(gateway.log_text())
        for line in sorted(set(a) ^ set(b)) if args.v else ():  # some are worded otherwise
            print(f'  {"-" if line in a else "+"} {line}')
        if not args.k:
            bad += follows_resolv_conf(scratch, ours)
    finally:
        gateway.stop()
        subprocess.run([PEER, 'stop', peer], check=False)
        dns.stop()
        shutil.rmtree(scratch, ignore_errors=True)
    print(f'dns: {count} sessions, {bad} differences')
    sys.exit(1 if bad else 0)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('-v', action='store_true')
    parser.add_argument('-k', default='')
    parser.add_argument('--inside', action='store_true')
    args = parser.parse_args()
    if args.inside:
        inside(args)
    rig.again_in_namespaces('dns', __file__)


if __name__ == '__main__':
    main()
