#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Random canonical, masquerade, BCC, virtual and alias tables, and messages through them: Debian's Postfix and us.

    rewrite.py [--seed N] [--runs N] [--services N] [--messages N] [-v] [-k TEXT]

Each run is one Postfix and one gateway with the same main.cf and --services smtpd services, each with rewriting of its own
(Postfix: a cleanup service each), and a recording hub behind them. --messages messages go through each. Compared are the
replies to RCPT and to the final dot, and the envelope the hub gets: sender, recipients, what was given originally (ORCPT) and
NOTIFY, and success reports. A difference is printed with the seed that finds it again. Exit status 1 if there was one that
DIFFERENCES does not explain, 77 where Postfix cannot run.

Not compared: the order of recipients.
"""

import argparse
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from compat import ROLE_USERS, Client, Hub, program  # noqa: E402
import rig  # noqa: E402
from rig import free_ports  # noqa: E402

TOP = pathlib.Path(__file__).resolve().parents[2]
PEER = TOP / 'tests/tools/postfix-peer.sh'

COMMON = '''compatibility_level = 3.6
myhostname = mx.example.com
mydomain = example.com
myorigin = %(myorigin)s
append_dot_mydomain = %(dot)s
mydestination = here.example, localhost
local_recipient_maps =
local_transport = %(local)s
alias_maps = %(aliases)s
alias_database =
propagate_unmatched_extensions = %(propagate)s
recipient_delimiter = %(delimiter)s
owner_request_special = %(owner)s
virtual_alias_domains =
smtpd_reject_unlisted_recipient = no
smtpd_relay_restrictions = permit_mynetworks, reject
mynetworks = 127.0.0.0/8
smtpd_banner = $myhostname ESMTP
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
smtpd_error_sleep_time = 0
smtpd_hard_error_limit = 1000
default_destination_recipient_limit = 5000
smtp_destination_recipient_limit = 5000
local_destination_recipient_limit = 1
inet_protocols = ipv4
mail_name = Mail
default_privs = nobody
biff = no
notify_classes =
'''

USERS = ['user', 'User', 'user+ext', 'user+ext+two', 'user-ext', 'other', 'other+x', 'third', 'postmaster', 'MAILER-DAEMON', 'owner-list', 'list-request', 'list',
         '"a b"', '"a b+ext"', 'root', 'a.b', '"a..b"', 'anna', 'bob']
DOMAINS = ['here.example', 'Here.Example', 'b.example', 'B.example', 'd.example', 'masq.example', 'x.masq.example', 'y.x.masq.example', 'z.keep.masq.example',
           'keep.masq.example', 'notmasq.example', 'mx.example.com', 'example.com', '[127.0.0.1]', '[192.0.2.1]', 'localhost']
ODD_RESULTS = ['Some One <one@d.example>', 'one@d.example (comment)', '"x y"@d.example', '<two@d.example>', 'two@d.example.', 'x@host', '@d.example',
               '@Other.Example', 'plain', 'p%d.example', 'd.example!q', '<>', '@here.example', 'more@d.example, @masq.example', '@localhost', '(nothing)', '\\"odd\\"@d.example',
               'a@b@d.example', 'root', 'x+y@d.example']
ALIAS_ODD = ['Some One <one@d.example>', '"x y"@d.example', 'root', 'user', 'bob', 'list', 'anna@here.example', 'postmaster']
NOTIFIES = ['', '', '', ' NOTIFY=NEVER', ' NOTIFY=SUCCESS', ' NOTIFY=SUCCESS,FAILURE', ' NOTIFY=FAILURE,DELAY', ' ORCPT=rfc822;orig@first.example',
            ' NOTIFY=SUCCESS ORCPT=rfc822;o+2Bx@first.example']

# A pattern of what is printed for a difference, and why it is so.
DIFFERENCES = [
    (r'^  - .*rfc822; (list|postmaster|MAILER-DAEMON)@.*delivered|^  [+] .*rfc822; (list|postmaster|MAILER-DAEMON)@.*failed',
     'a mailbox of this machine, or none: Postfix throws mail to a MAILER-DAEMON or postmaster without alias away'),
    (r'^  - .*TO:<"\\"|^  - .*ORCPT=rfc822;"\\"', 'the quotes of an address in a BCC table are taken off; Postfix quotes them again'),
    (r'^  - (MAIL FROM:\S+ RCPT TO:<[^>]*> NOTIFY=NEVER ORCPT=\S+)\n  - \1$(?!(?s:.*)^  [+] \1\n  [+] \1$)',
     'a recipient with NOTIFY=NEVER who is the automatic copy, too, gets one; Postfix compares an ORCPT the copy does not have'),
    (r'^  [+] MAIL FROM:<>: ', 'the null sender is in no table: a pattern or static: would make bounces of bounces; Postfix looks for ""'),
]


class Maker:
    def __init__(self, seed):
        self.r = random.Random(seed)

    def address(self, bare=.12):
        r = self.r
        user = r.choice(USERS)
        return user if r.random() < bare else f'{user}@{r.choice(DOMAINS)}'

    def key(self):
        r = self.r
        k = r.random()
        if k < .2:
            return '@' + r.choice(DOMAINS).lower()
        if k < .4:
            return r.choice(USERS).lower()
        return self.address(.05).lower()

    def value(self, many, odd):
        r = self.r
        if odd and r.random() < .25:
            return r.choice(ODD_RESULTS)
        n = r.choice([1, 1, 1, 2, 3]) if many else 1
        return r.choice([', ', ',', ' ']).join(self.address() for _ in range(n))

    def table(self, many=False, odd=True):
        r = self.r
        k = r.random()
        if k < .02:
            return 'static:{%s}' % self.address(0)
        if k < .04:
            return 'fail:broken'
        rows = {self.key(): self.value(many, odd) for _ in range(r.randint(1, 7))}
        t = 'inline:{%s}' % ', '.join('{%s=%s}' % (k, v) for k, v in rows.items())
        return t + (', ' + self.table(many, odd) if r.random() < .2 else '')

    def main(self, with_aliases):
        r = self.r
        self.has_aliases = with_aliases
        aliases = ''
        if with_aliases:
            names = ['root', 'postmaster'] + r.sample([ 'user', 'user+ext', 'other', 'list', 'owner-x', 'anna', 'bob', 'a.b', 'third'], r.randint(4, 9))
            rows = []
            for name in names:
                n = r.choice([1, 1, 2, 3])
                rows.append('{%s = %s}' % (name, 'boss@d.example' if name == 'root' else ', '.join(r.choice(ALIAS_ODD) if r.random() < .4 else f'{r.choice(USERS)}@{r.choice(["b.example", "d.example"])}'
                                                           for _ in range(n))))
            aliases = 'inline:{%s}' % ', '.join(rows)
        return COMMON % {
            'myorigin': r.choice(['$myhostname', 'here.example', 'd.example']), 'dot': r.choice(['no', 'yes']), 'aliases': aliases,
            'local': 'local' if with_aliases else 'smtp:[127.0.0.1]:@HUB@', 'propagate': r.choice(['canonical, virtual'] * 3 + ['', 'virtual', 'canonical, alias, virtual']),
            'delimiter': r.choice(['+', '+', '', '-', '+-']), 'owner': r.choice(['yes', 'yes', 'no'])}

    def service(self):
        r, c = self.r, {}
        for name, share, many in (
                ('canonical_maps', .35, False), ('sender_canonical_maps', .3, False), ('recipient_canonical_maps', .3, False), ('virtual_alias_maps', .6, True),
                ('sender_bcc_maps', .2, False), ('recipient_bcc_maps', .25, False)):
            if r.random() < share:
                c[name] = self.table(many, 'bcc' not in name)
        classes = ['envelope_sender', 'envelope_recipient', 'header_sender', 'header_recipient']
        for name, of in (('canonical_classes', classes), ('sender_canonical_classes', classes[::2]), ('recipient_canonical_classes', classes[1::2])):
            if r.random() < .15:
                c[name] = ', '.join(r.sample(of, r.randint(1, len(of))))
        if r.random() < .35:
            c['masquerade_domains'] = ' '.join(r.sample(['masq.example', '!keep.masq.example', 'x.masq.example', 'example.com', '!!keep.masq.example', 'Masq.Example',
                                                         'b.example'], r.randint(1, 3)))
            if r.random() < .5:
                c['masquerade_exceptions'] = r.choice(['root', 'user other', 'root, User', 'user+ext'])
            if r.random() < .5:
                c['masquerade_classes'] = ', '.join(r.sample(classes, r.randint(1, 4)))
        for name, values, share in (
                ('always_bcc', ['archive@d.example', 'archive', 'user@here.example'], .15), ('virtual_alias_expansion_limit', ['3', '5'], .1),
                ('virtual_alias_recursion_limit', ['2', '3', '4'], .1), ('virtual_alias_address_length_limit', ['18', '25'], .1),
                ('enable_original_recipient', ['no'], .15), ('empty_address_recipient', ['nobody@d.example'], .05)):
            if r.random() < share:
                c[name] = r.choice(values)
        if r.random() < .06:
            c['receive_override_options'] = 'no_address_mappings'
        return c

    def message(self):
        r = self.r
        sender = '' if r.random() < .1 else self.address()
        rcpts = [self.address() for _ in range(r.choice([1, 1, 2, 3, 4]))]
        if self.has_aliases and r.random() < .7:
            rcpts[0] = r.choice(USERS) + '@here.example'
        if r.random() < .15:
            rcpts.append(r.choice(rcpts))
        return sender, [(a, r.choice(NOTIFIES)) for a in rcpts]


def postfix(scratch, main, services, ports, hub):
    peer = scratch / 'postfix'
    peer.mkdir()
    (peer / 'extra.cf').write_text(main.replace('@HUB@', str(hub)))
    lines = ['local unix - n n - - local\n']
    for i, (port, service) in enumerate(zip(ports, services)):
        override = service.get('receive_override_options')
        settings = ''.join(f'  -o {{ {k} = {v} }}\n' for k, v in service.items() if k != 'receive_override_options')
        lines.append(f'127.0.0.1:{port} inet n - n - - smtpd\n  -o cleanup_service_name=cleanup{i}\n' + (f'  -o receive_override_options={override}\n' if override else ''))
        lines.append(f'cleanup{i} unix n - n - 0 cleanup\n{settings}')
    (peer / 'extra-master.cf').write_text(''.join(lines))
    started = subprocess.run([PEER, 'start', peer, str(free_ports(1)[0]), f'[127.0.0.1]:{hub}'])
    if started.returncode != 0:
        sys.exit(started.returncode)
    return lambda: subprocess.run([PEER, 'stop', peer], check=False)


def dogana(scratch, main, services, ports, hub):
    etc = scratch / 'dogana/etc'
    etc.mkdir(parents=True)
    top = scratch / 'dogana'
    (etc / 'main.cf').write_text(main.replace('@HUB@', str(hub)) + f'relayhost = [127.0.0.1]:{hub}\nqueue_directory = {top}/queue\ndata_directory = {top}/data\n'
                                 f'maillog_file = {top}/log\nmaillog_file_prefixes = {top}\nedge_workers = 1\nrelay_workers = 1\n' + ROLE_USERS)
    (etc / 'master.cf').write_text(''.join(
        f'127.0.0.1:{port} inet n - n - - smtpd\n' + ''.join(f'  -o {{ {k} = {v} }}\n' for k, v in service.items()) for port, service in zip(ports, services)))
    with open(top / 'out', 'wb') as out:
        process = subprocess.Popen([program(), '-c', etc, 'run'], stdin=subprocess.DEVNULL, stdout=out, stderr=out)

    def stop():
        process.terminate()
        process.wait(20)
    for port in ports:
        end = time.monotonic() + 20
        while True:
            try:
                if Client(port, '127.0.0.1').line():
                    break
            except OSError:
                pass
            if process.poll() is not None or time.monotonic() > end:
                stop()
                sys.exit('rewrite: the gateway does not start:\n' + (top / 'out').read_text()[-3000:])
            time.sleep(.02)
    return stop


def send(port, tag, message):
    """The replies, without queue ids."""
    sender, rcpts = message
    c = Client(port, '127.0.0.1')
    replies = []

    def say(text):
        c.send(text.encode() + b'\r\n')
        replies.append(re.sub(r'queued as \S+', 'queued', ' | '.join(c.reply())))
        return replies[-1][0] in '23'
    c.reply()
    say('EHLO client.example')
    replies.clear()
    if say(f'MAIL FROM:<{sender}>') and any([say(f'RCPT TO:<{a}>{o}') for a, o in rcpts]) and say('DATA'):
        say(f'X-Tag: {tag}\r\nSubject: x\r\n\r\ntext\r\n.')
    c.send(b'QUIT\r\n')
    c.reply()
    c.sock.close()
    return replies


def envelopes(hub, tag):
    """{sender: sorted recipients}, and what success reports say."""
    mails, reports = {}, []
    for envelope, content in list(hub.transactions):
        text = b''.join(content)
        if f'X-Tag: {tag}\r\n'.encode() not in text:
            continue
        sender = re.sub(r'>.*', '>', envelope[0])
        if b'multipart/report' in text:
            for line in envelope[1:]:  # in one transaction or several
                to = re.sub(r'>.*', '>', line)
                for m in re.finditer(rb'^(?:Final|Original)-Recipient: .*\r\n(?:(?:Original|Final)-Recipient: .*\r\n)?Action: .*\r\nStatus: .*\r\n', text, re.M):
                    reports.append(to + ' ' + m[0].decode('latin-1').replace('\r\n', ' '))
            continue
        for line in envelope[1:]:  # the order of parameters means nothing
            command, end, rest = line.rpartition('>')
            mails.setdefault(sender, []).append(command + end + ''.join(f' {w}' for w in sorted(rest.split())))
    return [f'{s}: {r}' for s, rs in sorted(mails.items()) for r in sorted(rs)] + sorted(reports)


def queue_is_empty(kind, scratch):
    if kind is postfix:
        return not any(p.is_file() for q in ('incoming', 'active', 'deferred', 'maildrop') for p in (scratch / f'postfix/queue/{q}').rglob('*'))
    out = subprocess.run([program(), '-c', scratch / 'dogana/etc', 'queue', 'list', '--json'], stdout=subprocess.PIPE, text=True).stdout
    return not out.strip()


def play(kind, scratch, main, services, messages):
    ports = free_ports(len(services))
    hub = Hub()
    stop = kind(scratch, main, services, ports, hub.port)
    try:
        replies = [[send(port, f'{s}-{i}', m) for i, m in enumerate(ms)] for s, (port, ms) in enumerate(zip(ports, messages))]
        end = time.monotonic() + 30
        calm = 0
        while calm < 3 and time.monotonic() < end:
            calm = calm + 1 if queue_is_empty(kind, scratch) else 0
            time.sleep(.1)
        if calm < 3:
            print(f'{kind.__name__}: the queue does not become empty')
        return [[(r, envelopes(hub, f'{s}-{i}')) for i, r in enumerate(rs)] for s, rs in enumerate(replies)]
    finally:
        stop()
        hub.shutdown()
        hub.server_close()
        if kind is postfix:
            print(''.join(sorted({re.sub(r'.*?(postfix/\S+)\[\d+\]: ', r'\1: ', t) + '\n' for t in (scratch / 'postfix/log').read_text().splitlines()
                                  if re.search('fatal|status=deferred', t)})), end='')


def run(seed, args, scratch, with_aliases):
    make = Maker(seed)
    main = make.main(with_aliases)
    if with_aliases:  # what local(8) sends on goes through main.cf's cleanup, so there is one; it forgets what a BCC was given as
        main += ''.join(f'{k} = {v}\n' for k, v in make.service().items() if k != 'receive_override_options' and 'bcc' not in k)
    services = [{}] if with_aliases else [make.service() for _ in range(args.services)]
    args = argparse.Namespace(messages=args.messages * (5 if with_aliases else 1), verbose=args.verbose)
    messages = [[make.message() for _ in range(args.messages)] for _ in services]
    theirs = play(postfix, scratch, main, services, messages)
    ours = play(dogana, scratch, main, services, messages)
    same = known = different = 0
    for s, service in enumerate(services):
        shown = False
        for i, message in enumerate(messages[s]):
            (their_replies, their_mail), (our_replies, our_mail) = theirs[s][i], ours[s][i]
            if theirs[s][i] == ours[s][i]:
                same += 1
                if args.verbose:
                    print(f'seed {seed}, {s}-{i}, {message}:\n    ' + '\n    '.join(our_mail))
                continue
            lines = [f'  - {x}' for x in [*their_replies, *their_mail] if x not in our_replies + our_mail] + \
                    [f'  + {x}' for x in [*our_replies, *our_mail] if x not in their_replies + their_mail]
            if not lines:
                lines = [f'  - {x}' for x in their_mail] + [f'  + {x}' for x in our_mail]
            text = '\n'.join(lines)
            # canonical maps without an end: Postfix says "message not accepted" and accepts it
            loops = '451 4.3.0' in text and 'unreasonable map nesting' in (scratch / 'dogana/log').read_text()
            # a report whose recipient has aliases without an end: ours goes to the recipient itself, Postfix tries for ever
            loops |= lines[0].startswith('  + RCPT') and bool(re.search('(bounce|trace) failed', (scratch / 'postfix/log').read_text()))
            if loops or any(re.search(pattern, text, re.M) for pattern, _ in DIFFERENCES):
                known += 1
                continue
            different += 1
            print(f'seed {seed}, service {s}, {message}:\n{text}')
            if not shown:
                print(''.join(f'      {k} = {v}\n' for k, v in service.items()), end='')
            shown = True
    if different:
        print(''.join(f'   {line}\n' for line in main.splitlines() if line not in COMMON), end='')
    return same, known, different


def main():
    p = argparse.ArgumentParser()
    p.add_argument('--seed', type=int, default=1)
    p.add_argument('--runs', type=int, default=2)
    p.add_argument('--services', type=int, default=20)
    p.add_argument('--messages', type=int, default=12)
    p.add_argument('-v', '--verbose', action='store_true')
    args = p.parse_args()
    if os.geteuid() != 0:
        print('rewrite.py: skipped: Postfix needs root')
        sys.exit(77)
    total = [0, 0, 0]
    for seed in range(args.seed, args.seed + args.runs):
        scratch = rig.workdir('rewrite')
        scratch.chmod(0o755)
        total = [a + b for a, b in zip(total, run(seed, args, scratch, seed % 2 == 0))]
        shutil.rmtree(scratch)
    print(f'rewrite: {total[0]} messages the same, {total[1]} different on purpose, {total[2]} different (- Postfix, + Dogana)')
    sys.exit(1 if total[2] else 0)


if __name__ == '__main__':
    main()
