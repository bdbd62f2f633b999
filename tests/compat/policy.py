#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Random restriction lists, tables and sessions, decided by Debian's Postfix and by our policy; every reply compared.

    policy.py [--seed N] [--runs N] [--lists N] [--sessions N] [-v]

Each run is one Postfix with --lists smtpd services, each with lists of its own, and --sessions sessions with each,
under the identities XCLIENT gives. Ours is asked through tests/tools/policy_say, which needs no gateway. A
difference is printed with the seed that finds it again. Exit status 1 if there was one, 77 where Postfix cannot run.

Not compared, because Postfix is not the oracle there: permit_inet_interfaces (XCLIENT does not change what it looks
at); reject_unlisted_sender in the client and HELO lists (a flag of the session before, in the same process, makes
Postfix skip it); settings of trivial-rewrite, which -o of a smtpd service does not reach; lists that we refuse at
check because they look at what is not there yet.
"""

import argparse
import contextlib
import os
import pathlib
import random
import shutil
import socket
import subprocess
import sys
import tempfile

TOP = pathlib.Path(__file__).resolve().parents[2]
PEER = TOP / 'tests/tools/postfix-peer.sh'
SAY = pathlib.Path(os.environ.get('TOOLS') or TOP / 'build/release/tools') / 'policy_say'

COMMON = '''compatibility_level = 3.6
myhostname = mx.example.com
mydestination = here.example, gw.example
local_recipient_maps = inline:{ {luser=x}, {ext+x@here.example=x}, {full@here.example=x} }
local_transport = smtp:[10.0.0.2]
alias_maps =
recipient_delimiter = +
mynetworks = 127.0.0.2, !127.0.1.9, 127.0.1.0/24, [2001:db8:5::]/48, trusted.example
relay_domains = example.org any.example !no.any2.example any2.example .dot.example
relay_recipient_maps = inline:{{known@example.org=x}, {known2@example.org=x}, {listed@any2.example=x}, {@any.example=x},
  {@sub.any.example=x}, {dis@example.org=x}, {later@example.org=x}}
virtual_mailbox_domains = box.example
virtual_mailbox_maps = inline:{{user@box.example=x}, {@sub.box.example=x}}
virtual_alias_domains = alias.example
virtual_alias_maps = inline:{{user@alias.example=u@any.example}, {aliased@example.org=x@any.example}}
transport_maps = inline:{{dis@example.org = error:5.2.1 mailbox disabled}, {later@example.org=retry:4.2.0 wait},
  {closed.any.example=error:closed}, {.deep.any.example=error:5.7.9 deep}}
virtual_transport = smtp:[10.0.0.1]
inet_protocols = all
inet_interfaces = 127.0.0.1
smtpd_banner = $myhostname ESMTP
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
smtpd_error_sleep_time = 0
smtpd_hard_error_limit = 1000
smtpd_soft_error_limit = 1000
smtpd_authorized_xclient_hosts = 127.0.0.0/8
smtpd_restriction_classes = cls1, cls2, cls3
cls1 = permit_mynetworks, reject_non_fqdn_sender
cls2 = check_sender_access inline:{{spam.example=REJECT cls2 spam}, {ok.example=OK}}, warn_if_reject reject
cls3 = defer_if_permit, cls1
'''
ACTIONS = [
    'OK', 'RELAY', 'DUNNO', 'REJECT', 'REJECT no thanks', 'REJECT 5.1.1 nobody', 'REJECT 5.1.8 dom', 'reject 4.7.9 odd', 'DEFER', 'DEFER wait a bit',
    'DEFER 4.2.2 full', '450 try', '550 5.1.3 x', '451 5.1.7 y', '550 5.7.1 gone', 'DEFER_IF_PERMIT', 'DEFER_IF_PERMIT 4.2.1 dip', 'DEFER_IF_REJECT',
    'DEFER_IF_REJECT hmm', 'HOLD', 'HOLD it', 'DISCARD', 'INFO x', 'WARN w', '123456', 'cls1', 'cls2', 'cls3', 'permit_mynetworks, reject', 'reject', 'defer', 'permit',
    'warn_if_reject reject, defer', 'reject_non_fqdn_sender reject_unauth_destination', 'nonsense', 'reject_unlisted_recipient', '5.1.1 what', '599 5.1.6 m',
    '450 4.1.2 z', 'REJECT 5.1.4', 'REJECT 5.2.4 z', 'defer_if_permit',
]
SENDERS = [
    '', 'a@sender.example', 'x@spam.example', 'x@sub.spam.example', 'y@ok.example', 'a', 'a@b', 'nobody@here.example', 'luser@here.example',
    'nobody@example.org', 'known@example.org', 'bulk@x.example', 'bulk+e@x.example', 'a@[192.0.2.1]', 'a%b@sender.example', 'user@box.example',
    'no@box.example', 'no@alias.example', 'luser', 'b!a@c.example',
]
RECIPIENTS = [
    'known@example.org', 'KNOWN@Example.ORG', 'known+e@example.org', 'nobody@example.org', 'x@elsewhere.example', 'x@any.example', 'y@sub.any.example',
    'x@no.any2.example', 'listed@any2.example', 'x@any2.example', 'x@dot.example', 'x@sub.dot.example', 'postmaster', 'postmaster@here.example',
    'postmaster@example.org', 'luser@here.example', 'luser+ext@here.example', 'ext+x@here.example', 'ext+y@here.example', 'full@here.example',
    'full@gw.example', 'nobody@here.example', 'user@box.example', 'no@box.example', 'x@sub.box.example', 'user@alias.example', 'no@alias.example',
    'aliased@example.org', 'dis@example.org', 'later@example.org', 'x@closed.any.example', 'x@a.deep.any.example', 'x%elsewhere.example@example.org',
    'x%elsewhere.example@here.example', 'x%any.example@here.example', 'known%example.org@here.example', 'elsewhere.example!x@here.example',
    'example.org!known@gw.example', 'a!b!c@here.example', 'x@elsewhere.example@here.example', 'luser', 'nouser', 'x%any.example', 'any.example!x',
    'x@[127.0.0.1]', 'luser@[127.0.0.1]', 'x@[192.0.2.9]', 'mailer-daemon@here.example', 'double-bounce@here.example', 'double-bounce@example.org',
    'x@any.example.', '@example.org', 'a%@here.example', '%a@here.example', '!a@here.example', 'a!@here.example', 'x%example.org%here.example',
    'bulk@any.example', 'bulk+q@any.example', 'x@here.example@any.example', 'x@spam.example', '-x@example.org', 'x%-y@here.example',
]
WORDS = [
    'luser', 'known', 'v', 'a+b', 'luser+x', '-d', 'here.example', 'gw.example', 'example.org', 'any.example', 'elsewhere.example', 'here.example',
    'mx.example.com', 'HERE.example', 'box.example', 'alias.example', 'x.y',
]
HELOS = ['c.example', 'a', '[192.0.2.1]', '[192.0.2]', 'a..example', '192.0.2.1', 'mail.spam.example', 'spam.example.', '-x.example', 'x_y.example']
CLIENTS = [
    ('127.0.0.2', None), ('192.0.2.7', None), ('192.0.2.8', 'mail.spam.example'), ('127.0.1.9', None), ('127.0.1.77', None), ('2001:db8:5::9', None),
    ('2001:db8:6::9', 'host.trusted.example'), ('198.51.100.1', 'ok.example'), ('127.0.0.1', None),
]
KEYS = {
    'client': ['mail.spam.example', 'spam.example', 'example', '.example', '192.0.2.7', '192.0.2', '192', 'unknown', '127.0', '2001:db8:5::9', '2001:db8',
               'ok.example', '198.51.100.1', '198.51'],
    'helo': ['c.example', 'example', 'spam.example', 'a', '[192.0.2.1]', '192.0.2.1', '192.0.2'],
    'address': ['a@sender.example', 'sender.example', 'spam.example', 'x@', 'bulk@', 'bulk+e@x.example', 'bulk+e@', 'example', '<>', 'ok.example', 'b',
                'here.example', 'known@example.org', 'known@', 'example.org', 'org', 'nobody@', 'any.example', 'x@any.example', 'box.example',
                'mx.example.com', 'luser@', 'luser@here.example', 'postmaster@', 'elsewhere.example', 'bulk@any.example', 'alias.example', 'dis@',
                'x@elsewhere.example'],
}
NETS = ['192.0.2.0/24', '!192.0.2.0/25', '127.0.0.0/8', '2001:db8:5::/48', '198.51.100.1', '0.0.0.0/0']
PLAIN = [
    'permit_mynetworks', 'permit_mynetworks', 'reject_unauth_destination', 'defer_unauth_destination', 'permit_auth_destination',
    'reject_unlisted_recipient', 'reject_non_fqdn_sender', 'reject_non_fqdn_recipient', 'reject_non_fqdn_helo_hostname', 'reject_invalid_helo_hostname',
    'warn_if_reject', 'warn_if_reject', 'defer_if_permit', 'defer_if_reject', 'permit_sasl_authenticated', 'permit_tls_clientcerts',
    'permit_tls_all_clientcerts', 'cls1', 'cls2', 'cls3', 'reject', 'defer', 'reject_plaintext_session', 'reject_unauth_pipelining',
    'reject_unknown_client_hostname', 'reject_unknown_reverse_client_hostname',
]


class Maker:
    def __init__(self, seed):
        self.r = random.Random(seed)

    def table(self, kind):
        r, action = self.r, lambda: self.r.choice(ACTIONS)
        form = r.choice(['inline', 'inline', 'inline', 'static', 'cidr' if kind == 'client' else 'inline'])
        if form == 'static':
            return 'static:{%s}' % action()
        if form == 'cidr':
            return 'cidr:{%s}' % ', '.join('{%s %s}' % (r.choice(NETS), action()) for _ in range(r.randint(1, 3)))
        return 'inline:{%s}' % ', '.join('{%s = %s}' % (k, action()) for k in r.sample(KEYS[kind], r.randint(1, 4)))

    def item(self, place):
        r = self.r
        k = r.random()
        if k < .35:
            c = r.choice(['client', 'helo', 'sender', 'recipient'])
            return f'check_{c}_access ' + self.table(c if c in KEYS else 'address')
        if k < .40 and place != 'data':
            return self.table(place if place in KEYS else 'address')
        if k < .43:
            return 'check_reverse_client_hostname_access ' + self.table('client')
        if k < .44:
            return f'check_{r.choice(["client", "helo", "sender", "recipient"])}_access fail:x'
        if k < .48 and place in ('sender', 'recipient'):
            return 'reject_unlisted_sender'
        return r.choice(PLAIN)

    def service(self):
        r, c = self.r, {}
        for place, share in (('client', .3), ('helo', .3), ('sender', .4), ('recipient', .7), ('data', .15)):
            n = r.randint(1, 4) if r.random() < share else 0
            c[f'smtpd_{place}_restrictions'] = ', '.join(self.item(place) for _ in range(n))
        c['smtpd_relay_restrictions'] = r.choice([
            'permit_mynetworks, reject_unauth_destination', 'permit_mynetworks, permit_sasl_authenticated, defer_unauth_destination',
            f'permit_mynetworks, {self.item("recipient")}, reject_unauth_destination', 'defer_if_permit', 'reject_unauth_destination'])
        for name, value, share in (
                ('smtpd_delay_reject', 'no', .2), ('soft_bounce', 'yes', .2), ('smtpd_reject_unlisted_recipient', 'no', .2),
                ('smtpd_reject_unlisted_sender', 'yes', .3), ('smtpd_relay_before_recipient_restrictions', 'no', .2), ('access_map_reject_code', '553', .15),
                ('unknown_relay_recipient_reject_code', '450', .15), ('relay_domains_reject_code', '550', .1), ('smtpd_null_access_lookup_key', 'null', .1)):
            if r.random() < share:
                c[name] = value
        return c

    def address(self):
        """Words and domains with every operator between them."""
        r = self.r
        words = [r.choice(WORDS) for _ in range(r.randint(2, 5))]
        return words[0] + ''.join(r.choice('@%!@') + w for w in words[1:])

    def session(self):
        r = self.r
        rcpt = self.address() if r.random() < .4 else r.choice(RECIPIENTS)
        sender = self.address() if r.random() < .1 else r.choice(SENDERS)
        return (*r.choice(CLIENTS), r.choice(HELOS), sender, rcpt)


def free_ports(n):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for s in sockets:
            s.bind(('127.0.0.1', 0))
        return [s.getsockname()[1] for s in sockets]


def ask_postfix(port, session):
    """What the first refused command is (0 connect ... 4 DATA) and the reply; "OK" when none is."""
    addr, name, helo, sender, rcpt = session
    name = name or '[UNAVAILABLE]'
    with socket.create_connection(('127.0.0.1', port), 20) as s:
        replies = s.makefile('rb')

        def reply():
            while (line := replies.readline())[3:4] == b'-':
                pass
            return line.decode('latin-1').rstrip() or 'closed'
        if not reply().startswith('2'):
            return None  # its own address is refused, before XCLIENT could say another
        address = f'IPV6:{addr}' if ':' in addr else addr
        for i, command in enumerate((f'XCLIENT NAME={name} ADDR={address} REVERSE_NAME={name}', f'EHLO {helo}', f'MAIL FROM:<{sender}>',
                                     f'RCPT TO:<{rcpt}>', 'DATA')):
            s.sendall(command.encode() + b'\r\n')
            if (line := reply())[0] not in '23':
                return f'{i} {line}'
    return 'OK'


def ask_us(directory, service, sessions):
    """A list of answers, or the text of why the configuration is refused."""
    directory.mkdir()
    lines = ''.join(f'{k} = {v}\n' for k, v in service.items())
    (directory / 'main.cf').write_text(f'{COMMON}{lines}data_directory = {directory}/data\nqueue_directory = {directory}/queue\n')
    text = ''.join('\t'.join((s[0], s[1] or 'unknown', *s[2:])) + '\n' for s in sessions)
    done = subprocess.run([SAY, directory], input=text, stdout=subprocess.PIPE, text=True)
    if done.returncode == 2:
        return done.stdout
    if done.returncode != 0:
        sys.exit(f'policy_say: exit status {done.returncode}')
    return done.stdout.splitlines()


def run(seed, args, scratch):
    make = Maker(seed)
    services = [make.service() for _ in range(args.lists)]
    main_port, *ports = free_ports(len(services) + 1)
    peer = scratch / f'postfix-{seed}'
    peer.mkdir()
    (peer / 'extra.cf').write_text(COMMON)
    (peer / 'extra-master.cf').write_text(''.join(
        f'127.0.0.1:{port} inet n - n - - smtpd\n' + ''.join(f'  -o {{ {k} = {v} }}\n' for k, v in service.items())
        for port, service in zip(ports, services)))
    started = subprocess.run([PEER, 'start', peer, str(main_port), 'discard'])
    if started.returncode != 0:
        sys.exit(started.returncode)
    same = different = refused = 0
    try:
        for i, (port, service) in enumerate(zip(ports, services)):
            sessions = [make.session() for _ in range(args.sessions)]
            ours = ask_us(scratch / f'ours-{seed}-{i}', service, sessions)
            if isinstance(ours, str):
                refused += 1
                if args.verbose:
                    print(ours, end='')
                continue
            for session, our in zip(sessions, ours):
                theirs = ask_postfix(port, session)
                if theirs is None:
                    continue
                same += theirs == our
                if theirs != our:
                    different += 1
                    print(f'seed {seed}, {session}:\n  - {theirs}\n  + {our}')
                    print(''.join(f'      {k} = {v}\n' for k, v in service.items() if v), end='')
    finally:
        subprocess.run([PEER, 'stop', peer], check=False)
    return same, different, refused


def main():
    p = argparse.ArgumentParser()
    p.add_argument('--seed', type=int, default=1)
    p.add_argument('--runs', type=int, default=1)
    p.add_argument('--lists', type=int, default=40)
    p.add_argument('--sessions', type=int, default=20)
    p.add_argument('-v', '--verbose', action='store_true')
    args = p.parse_args()
    if not SAY.exists():
        sys.exit(f'policy.py: {SAY} is missing: make tools')
    if os.geteuid() != 0:
        print('policy.py: skipped: Postfix needs root')
        sys.exit(77)
    (TOP / 'build/tmp').mkdir(parents=True, exist_ok=True)
    scratch = pathlib.Path(tempfile.mkdtemp(prefix='policy-', dir=TOP / 'build/tmp'))
    scratch.chmod(0o755)
    total = [0, 0, 0]
    try:
        for seed in range(args.seed, args.seed + args.runs):
            total = [a + b for a, b in zip(total, run(seed, args, scratch))]
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    print(f'policy: {total[0]} decisions the same, {total[1]} different, {total[2]} configurations refused by us (- Postfix, + Dogana)')
    sys.exit(total[1] > 0)


main()
