#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Triage: the same sessions with Debian's postscreen and with ours, the same DNS server behind both. What the client is told
and what the log says of it must be equal, but for DIFFERENCES.

    triage.py [-v] [-k TEXT]

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
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parents[1]
sys.path.insert(0, str(TOP / 'tests/tools'))
import pair  # noqa: E402
import rig  # noqa: E402

PEER = TOP / 'tests/tools/postfix-peer.sh'
COMMON = '''compatibility_level = 3.6
myhostname = gw.unit.test
mydestination =
local_recipient_maps =
mynetworks = 127.9.0.0/16
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
relay_domains = relayed.test
relay_recipient_maps =
smtpd_banner = $myhostname ESMTP
smtpd_relay_restrictions = reject_unauth_destination
smtpd_client_connection_count_limit = 0
default_process_limit = 400
smtpd_peername_lookup = no
smtpd_forbid_bare_newline = normalize
smtpd_forbid_unauth_pipelining = no
smtpd_forbidden_commands = CONNECT GET POST
enable_long_queue_ids = yes
syslog_name = postfix
postscreen_greet_wait = 2s
postscreen_client_connection_count_limit = 50
'''
DENY = ['postscreen_access_list=static:reject', 'postscreen_denylist_action=enforce']
MAIL = ['>EHLO a.test', '>MAIL FROM:<s@x.test>', '>RCPT TO:<r@relayed.test>']
ALL = ['postscreen_pipelining_enable=yes', 'postscreen_non_smtp_command_enable=yes', 'postscreen_bare_newline_enable=yes']

# (settings of the listener, [session, ...]); a session: steps of one client. Sessions in a list within are one client, one after the other.
CASES = []
# Zones: bl1 lists 127.1/16's odd addresses, see zone().


def case(settings, *sessions):
    CASES.append((settings.split('\n') if isinstance(settings, str) and settings else list(settings), sessions))


EARLY = ['>>EHLO early.test\r\n', '<', '<', '>QUIT']
for action in ('ignore', 'enforce', 'drop'):
    case(f'postscreen_greet_action={action}', EARLY, ['<', *MAIL, '>QUIT'], ['>>x', '<', '>QUIT'], ['>>EHLO early.test\r\nMAIL FROM:<x@y>\r\nRCPT TO:<z@relayed.test>\r\nDATA\r\n', '<', '<'],
         ['>>\x00\x01\xff\r\n\t"\\', '<'], ['>>' + 'a' * 2000 + '\r\n', '<'], ['>>' + 'EHLO \xe9' * 30 + '\r\n', '<', '>QUIT'])
    case(f'postscreen_greet_action={action}\npostscreen_greet_banner=', EARLY, ['<', *MAIL, '>QUIT'])
    case(f'postscreen_access_list=permit_mynetworks,static:reject\npostscreen_denylist_action={action}', ['<', *MAIL, '>QUIT'], EARLY)
    for site in ('bl1.test', 'bl1.test*2', 'bl1.test=127.0.0.[2..4]*2', 'bl1.test*-3'):
        case(f'postscreen_dnsbl_sites={site}, bl2.test\npostscreen_dnsbl_threshold=2\npostscreen_dnsbl_action={action}', ['<', *MAIL, '>QUIT'])
    for deep in ('pipelining', 'non_smtp_command', 'bare_newline'):
        case(f'postscreen_{deep}_enable=yes\npostscreen_{deep}_action={action}', ['<', '>>EHLO a.test\r\nMAIL FROM:<s@x.test>\r\nRCPT TO:<r@relayed.test>\r\n', '<', '<', '<', '>QUIT'],
             ['<', '>GET / HTTP/1.0', *MAIL, '>QUIT'], ['<', '>>EHLO a.test\n', '<', '>MAIL FROM:<s@x.test>', '>RCPT TO:<r@relayed.test>', '>QUIT'], ['<', *MAIL, '>QUIT'],
             ['<', '>EHLO a.test', '>Received: by me', '>QUIT'], ['<', '>EHLO a.test', '>QUIT'], ['<', '>EHLO a.test', 'fin'])
case('postscreen_dnsbl_sites=bl1.test*2\npostscreen_dnsbl_threshold=2\npostscreen_dnsbl_action=enforce\npostscreen_dnsbl_reply_map=inline:{bl1.test=shown.test}', ['<', *MAIL, '>QUIT'])
case('postscreen_dnsbl_sites=wl.test*-5, bl1.test\npostscreen_dnsbl_allowlist_threshold=-1\npostscreen_greet_action=drop', ['<', *MAIL, '>QUIT'], EARLY)
case('postscreen_dnsbl_sites=dead.test, bl1.test*3\npostscreen_dnsbl_threshold=2\npostscreen_dnsbl_action=drop', ['<', *MAIL, '>QUIT'])
case('', [['<', *MAIL, '>QUIT'], ['<', *MAIL, '>QUIT']], [['>>x', '<', '>QUIT'], ['<', '>QUIT']])
case(ALL, [['<', *MAIL, '>QUIT'], ['<', *MAIL, '>QUIT']])
case('postscreen_access_list=permit', ['<', *MAIL, '>QUIT'], EARLY)
case('postscreen_access_list=dunno, permit', ['<', '>QUIT'])
case('postscreen_access_list=inline:{{127.1=reject}}, cidr:{{127.1.0.0/16 permit}}', ['<', '>QUIT'])
for word in ('OK', 'REJECT', 'Permit', 'dunno', 'permit_mynetworks', 'dunno, reject', 'x:y'):
    case(['postscreen_access_list=static:{%s}, permit' % word, 'postscreen_denylist_action=drop'], ['<', '>QUIT'])
case('postscreen_allowlist_interfaces=!127.0.0.1, static:all', ['<', *MAIL, '>QUIT'], EARLY)
case('postscreen_allowlist_interfaces=!127.0.0.1, static:all\npostscreen_greet_action=enforce', EARLY)
case('respectful_logging=no\npostscreen_access_list=static:reject\npostscreen_allowlist_interfaces=!127.0.0.1', ['<', '>QUIT'])
case('respectful_logging=no\npostscreen_access_list=static:permit', ['<', '>QUIT'])
ENGINE = [
    ['>HELO'], ['>EHLO'], ['>HELO a b', '>MAIL FROM:<a@b>', '>RCPT TO:<c@d>'], ['>MAIL FROM:<a@b>', '>RCPT TO:<c@d>'], ['>EHLO a', '>MAIL'], ['>EHLO a', '>MAIL FROM'], ['>EHLO a', '>MAIL FROM:'],
    ['>EHLO a', '>MAIL FROM:<>', '>RCPT TO:<>'], ['>EHLO a', '>MAIL FROM:a@b', '>RCPT TO:c@d x'], ['>EHLO a', '>MAIL FROM:<@x,@y:a@b>', '>RCPT TO:<@x:c@d>'],
    ['>EHLO a', '>MAIL FROM:<"a b"@c>', '>RCPT TO:<"x\\"y"@d>'], ['>EHLO a', '>MAIL FROM:<a@b> SIZE=99999999999', '>MAIL FROM:<c@d>'], ['>RCPT TO:<a@b>'], ['>EHLO a', '>MAIL FROM:<a@b>', '>RCPT'],
    ['>EHLO a', '>MAIL FROM:<a@b>', '>RSET', '>RCPT TO:<c@d>'], ['>EHLO a', '>MAIL FROM:<a@b>', '>EHLO b', '>RCPT TO:<c@d>'], ['>DATA'], ['>EHLO a', '>MAIL FROM:<a@b>', '>DATA'], ['>DATA x'],
    ['>BDAT'], ['>BDAT 3'], ['>EHLO a', '>MAIL FROM:<a@b>', '>BDAT 3 LAST'], ['>VRFY'], ['>VRFY a'], ['>ETRN'], ['>ETRN a'], ['>AUTH PLAIN x'], ['>XCLIENT ADDR=1.2.3.4'], ['>XFORWARD ADDR=1.2.3.4'], ['>HELP'],
    ['>NOOP'], ['>NOOP x'], ['>FOO'], [''], ['>'], ['> NOOP'], ['>noop'], ['>QUIT x'], ['>EHLO \xe9'], ['>MAIL FROM:<a@b>', '>RCPT TO:<\x07\x1b[2J@d>'], ['>\xff\xfe'],
    ['>Subject: x'], ['>GET / HTTP/1.1'], ['>>EHLO a\nMAIL FROM:<a@b>\n', '<', '<'], ['>>EHLO a\r\nNOOP\r\nNOOP\r\n', '<', '<', '<'], ['>>EH', 'w0.1', '>LO a'], ['>>' + 'x' * 3000 + '\r\n'], ['>STARTTLS x'],
    ['>EHLO ' + 'a' * 300, '>MAIL FROM:<a@b>', '>RCPT TO:<c@d>'], ['>>EHLO a\r\nBDAT 3\r\nabc', '<'], ['>>NOOP\rNOOP\r\n', '<'], ['>NO\x00OP'],
]
case(DENY, *[['<', *steps, '>QUIT'] for steps in ENGINE], ['<', *['>NOOP'] * 25], ['<', *['>NOOP'] * 20, '>QUIT'], ['<', 'fin'], ['fin'], ['<', '>EHLO a', 'fin'])
case(DENY + ['postscreen_command_count_limit=2'], ['<', '>NOOP', '>RSET', '>FOO', '>QUIT'])
case(DENY + ['postscreen_command_time_limit=1s'], ['<', '>EHLO a', '>>NO', '<'])
case(DENY + ['postscreen_helo_required=yes'], ['<', '>MAIL FROM:<a@b>', '>ETRN a', '>QUIT'])
case(DENY + ['postscreen_disable_vrfy_command=yes'], ['<', '>EHLO a', '>VRFY x', '>QUIT'])
case(DENY + ['postscreen_discard_ehlo_keywords=chunking,size,dsn', 'message_size_limit=0'], ['<', '>EHLO a', '>BDAT 3', '>QUIT'])
case(DENY + ['postscreen_discard_ehlo_keyword_address_maps=static:{etrn, silent-discard}'], ['<', '>EHLO a', '>QUIT'])
case(DENY + ['postscreen_reject_footer=call us about $client_address'], ['<', '>EHLO a', '>MAIL FROM:<a@b>', '>RCPT TO:<c@d>', '>FOO', '>DATA'])
case(DENY + ['postscreen_command_filter=inline:{{hello=NOOP}}'], ['<', '>HELLO', '>hello', '>QUIT'])
case(DENY + ['soft_bounce=yes'], ['<', '>EHLO a', '>MAIL FROM:<a@b>', '>RCPT TO:<c@d>', '>QUIT'])
case(DENY + ['postscreen_non_smtp_command_action=ignore', 'postscreen_pipelining_action=ignore', 'postscreen_bare_newline_action=enforce'],
     *[['<', *steps, '>QUIT'] for steps in ENGINE[-14:]])

# (part of the settings, part of the steps): why
DIFFERENCES = [
    ('dnsbl_allowlist_threshold', 'early', 'a client that is dropped takes its questions along: the lists are not asked any more'),
    ('static:\{x:y\}', '', 'a table in the result of a table: the rest of the list does not count; Postfix tries to open it'),
    ('', 'STARTTLS x', 'later releases of Postfix say this, 3.7 says something about EHLO'),
    ('', 'a{300}', 'names are cut at 256 octets in the log'),
    ('postscreen_disable_vrfy_command', '', 'VRFY is not announced when the engine does not do it'),
    ('greet_action=(enforce|ignore)', '\x00\x01', 'a word that is no UTF-8 is of another protocol here, as in later releases; a NUL does not end a line'),
]


FAULT = re.compile(r'COMMAND PIPELINING|NON-SMTP|BARE NEWLINE')
SENT_AWAY = re.compile(r'reject: RCPT from \S+ 450 |DISCONNECT|HANGUP after T from \S+ in tests after')


def comparable(settings, steps, said, log, theirs):
    """A client that passes the deep tests goes on here; Postfix sends it away with 450, to come again (HACKING). What they say
    of it is compared, and the dialogue of clients that fail."""
    if '_enable=yes' not in ' '.join(settings):
        return said, log
    if 'GET' in ' '.join(steps) and 'non_smtp' not in ' '.join(settings):
        return [], []  # smtpd_forbidden_commands, in the real session
    said = [line for line in said if line != '250-PIPELINING']  # offered unless that test is due
    failed = any(FAULT.search(line) for line in theirs[1]) and re.search('action=(drop|enforce)', ' '.join(settings))
    return (said, log) if failed else ([], [line for line in log if not SENT_AWAY.search(line)])


def differs_because(settings, steps):
    text, said = '\n'.join(settings), '\n'.join(steps)
    for part, step, why in DIFFERENCES:
        if re.search(part, text) and re.search(step, said):
            return why
    return None


class Dns(rig.Dns):
    address = '127.0.0.53'

    def bind(self):
        self.sock.bind((self.address, 53))


class Client(threading.Thread):
    def __init__(self, port, source, sessions):
        super().__init__(daemon=True)
        self.port, self.source, self.sessions = port, source, sessions
        self.said = []

    def run(self):
        for steps in self.sessions:
            self.play(steps)
            time.sleep(0.3)

    def play(self, steps):
        try:
            s = socket.create_connection(('127.0.0.1', self.port), 30, (self.source, 0))
            s.settimeout(8)
            with s, s.makefile('rb') as f:
                self.dialogue(s, f, steps)
        except OSError as e:
            self.said.append('(closed)' if isinstance(e, ConnectionError) else type(e).__name__)

    def dialogue(self, s, f, steps):
        def reply():
            while True:
                line = f.readline().decode('latin-1')
                if not line:
                    return False
                self.said.append(line.rstrip('\r\n'))
                if line[3:4] != '-':
                    return True
        for step in steps:
            if step.startswith('>>'):
                s.sendall(step[2:].encode('latin-1'))
            elif step.startswith('>'):
                s.sendall(step[1:].encode('latin-1') + b'\r\n')
                if not reply():
                    break
            elif step == '<':
                if not reply():
                    break
            elif step == 'fin':
                s.shutdown(socket.SHUT_WR)
            elif step.startswith('w'):
                time.sleep(float(step[1:]))
        s.settimeout(2)
        try:
            while reply():
                pass
            self.said.append('(closed)')
        except TimeoutError:
            self.said.append('(open)')


def services(ports, where):
    out = 'smtpd pass - - n - - smtpd\ndnsblog unix - - n - 0 dnsblog\ntlsproxy unix - - n - 0 tlsproxy\n'
    for port, (settings, _) in zip(ports, CASES):
        out += f'127.0.0.1:{port} inet n - n - 1 postscreen\n  -o postscreen_cache_map=btree:{where}/cache{port}\n' + ''.join(f'  -o {{ {line} }}\n' for line in settings)
    return out


NOTED = re.compile(r'postfix/(postscreen|dnsblog)\[\d+\]: (.*)')


def notable(log, source):
    out, listed = [], []
    for line in log.splitlines():
        m = NOTED.search(line)
        if not m or not re.search(r'\b%s\b' % re.escape(source), line):
            continue
        text = re.sub(r'(\[127\.[\d.]+\]):\d+', r'\1:P', m.group(2))
        text = re.sub(r'(PREGREET \d+|HANGUP) after [\d.]+', r'\1 after T', text)
        (listed if m.group(1) == 'dnsblog' else out).append(text.replace(source, 'CLIENT'))
    return out + sorted(listed)


def play(ports):
    clients = []
    for number, (port, (_, sessions)) in enumerate(zip(ports, CASES)):
        for k, steps in enumerate(sessions):
            clients.append(Client(port, source(number, k), steps if isinstance(steps[0], list) else [steps]))
    for c in clients:
        c.start()
        time.sleep(0.02)
    for c in clients:
        c.join()
    return clients


def source(number, k):
    return f'127.1.{number + 1}.{2 * k + 1}'


def inside(args):
    scratch = rig.workdir('tri')
    rig.own_network(scratch)
    dns = Dns()
    chosen = [(settings, sessions) for settings, sessions in CASES if args.k in '\n'.join(settings)]
    CASES[:] = chosen
    for zone in ('bl1.test', 'bl2.test', 'wl.test'):
        dns.add(f'2.0.0.127.{zone}', 'A', '127.0.0.2')
    for number, (_, sessions) in enumerate(CASES):
        for k in range(len(sessions)):
            reverse = '.'.join(reversed(source(number, k).split('.')))
            dns.add(f'{reverse}.bl1.test', 'A', '127.0.0.3')
            dns.add(f'{reverse}.wl.test', 'A', '127.0.0.9')
            dns.add(f'{reverse}.dead.test', 'SERVFAIL', '')
    ports = rig.free_ports(2 * len(CASES) + 2)
    theirs, ours = ports[:len(CASES)], ports[len(CASES):2 * len(CASES)]
    peer = scratch / 'postfix'
    peer.mkdir(mode=0o755)
    (peer / 'extra.cf').write_text(COMMON)
    (peer / 'extra-master.cf').write_text(services(theirs, peer / 'data'))
    if subprocess.run([PEER, 'start', peer, str(ports[-1]), 'discard']).returncode != 0:
        sys.exit(77)
    gateway = rig.Gateway(scratch / 'dogana', COMMON + 'default_transport = discard:x\nmaillog_file = /dev/stdout\nedge_workers = 1\nrelay_workers = 1\ndnsbl_probe_interval = 1h\n'
                          f'queue_directory = {scratch}/q\ndata_directory = {scratch}/d\n', f'127.0.0.1:{ports[-2]} inet n - n - - smtpd\n' + services(ours, scratch / 'd'))
    gateway.start(ports[-2])
    tally = pair.Tally('triage', args.v)
    try:
        played = []
        for side in (theirs, ours):
            played.append((side is ours, play(side)))
        played.sort(key=lambda p: p[0])
        time.sleep(0.5)
        their_log, our_log = (peer / 'log').read_text(errors='replace'), gateway.log_text()
        for a, b in zip(played[0][1], played[1][1]):
            number, k = int(a.source.split('.')[2]) - 1, (int(a.source.split('.')[3]) - 1) // 2
            settings = CASES[number][0]
            steps = [x for s in a.sessions for x in s]
            x, y = (a.said, notable(their_log, a.source)), (b.said, notable(our_log, b.source))
            x, y = comparable(settings, steps, *x, x), comparable(settings, steps, *y, x)
            why = differs_because(settings, steps)
            tally.compare(f'{" ".join(settings)} | {" ".join(steps)[:300]!r}', *([f'said: {line}' for line in z[0]] + [f'log: {line}' for line in z[1]] for z in (x, y)),
                          why, always=False)
    finally:
        gateway.stop()
        subprocess.run([PEER, 'stop', peer], check=False)
        dns.stop()
        shutil.rmtree(scratch, ignore_errors=True)
    sys.exit(tally.end())


def main():
    parser = pair.arguments(argparse.ArgumentParser())
    parser.add_argument('--inside', action='store_true')
    args = parser.parse_args()
    if args.inside:
        inside(args)
    rig.again_in_namespaces('triage', __file__)


if __name__ == '__main__':
    main()
