#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Random domains, tables and transports; where each recipient goes, as Debian's Postfix logs it and as our router says.

    routing.py [--seed N] [--runs N] [--mails N] [-v]

A run is one configuration and --mails senders with all recipients. Transports are discard services with names of
their own, whose log lines say the next hop; ours is asked through tests/tools/route_say. A difference is printed with
the seed that finds it again. Exit status 1 if there was one, 77 where Postfix cannot run.
"""

import argparse
import os
import pathlib
import random
import re
import shutil
import socket
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'tools'))
import rig  # noqa: E402

TOP = pathlib.Path(__file__).resolve().parents[2]
PEER = TOP / 'tests/tools/postfix-peer.sh'
SAY = pathlib.Path(os.environ.get('TOOLS') or TOP / 'build/release/tools') / 'route_say'

SERVICES = ['ta', 'tb', 'tc', 'td']
MASTER = ''.join(f'{t} unix - - n - - discard -o syslog_name=by-{t}\n' for t in SERVICES)
COMMON = '''compatibility_level = 3.6
myhostname = mx.example.com
mydomain = example.com
local_recipient_maps =
alias_maps =
virtual_alias_maps =
relay_recipient_maps =
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_reject_unlisted_recipient = no
smtpd_recipient_limit = 1000
smtpd_error_sleep_time = 0
mynetworks = 127.0.0.0/8
notify_classes =
'''
DOMAINS = ['one.example', 'sub.one.example', 'deep.sub.one.example', 'two.example', 'a.two.example', 'three.example', 'x.internal', 'internal',
           'four.example', 'mail.four.example', 'five.example', 'other.test']
USERS = ['u', 'u+ext', 'v', 'U', 'v-x', 'bulk', 'moved', 'postmaster', 'double-bounce']
HOPS = ['', '', '[hub.example]', '[hub.example]:2525', 'hub.example', '[10.0.0.1]', 'hub.example, [b.example]:26', 'Hub.Example:submission']
SENDERS = ['s@one.example', 's@sender.test', 's+x@sender.test', 't@sender.test', '', 'S@Sender.Test', 'q@sub.one.example']


class Maker:
    def __init__(self, seed):
        self.r = random.Random(seed)

    def some(self, pool, low, high):
        return self.r.sample(pool, min(self.r.randint(low, high), len(pool)))

    def transport(self):
        r = self.r
        k = r.random()
        if k < .70:
            return f'{r.choice(SERVICES)}:{r.choice(HOPS)}'
        if k < .76:
            return f':{r.choice(HOPS)}'
        if k < .80:
            return ':'
        if k < .85:
            return r.choice(['error:closed', 'error:5.2.1 disabled', 'error:', 'error:4.2.2 full'])
        if k < .89:
            return r.choice(['retry:wait', 'retry:4.3.2 holiday', 'retry:'])
        if k < .93:
            return 'nosuch:[hub.example]'
        return r.choice(SERVICES)

    def key(self):
        r = self.r
        d = r.choice(DOMAINS)
        k = r.random()
        if k < .35:
            return d
        if k < .55:
            return '.' + r.choice([d, 'example', 'one.example', 'internal', 'test'])
        if k < .85:
            return f'{r.choice(USERS)}@{d}'
        if k < .92:
            return '*'
        return r.choice(['example', 'internal', 'u@', '@' + d, 'u'])

    def table(self):
        r = self.r
        if r.random() < .15:
            rules = '\n'.join('/%s/ %s' % (re.escape(self.key()).replace('\\*', '.*'), self.transport()) for _ in range(r.randint(1, 3)))
            return 'regexp', rules + '\n'
        rows = {}
        for _ in range(r.randint(1, 8)):
            rows[self.key().lower()] = self.transport()
        return 'texthash', ''.join(f'{k}\t{v}\n' for k, v in rows.items())

    def by_sender(self, value):
        r = self.r
        keys = ['s@sender.test', '@sender.test', 's@one.example', '@one.example', '<>', 's+x@sender.test', 't@sender.test', 'sender.test', 'q']
        return ''.join(f'{k}\t{r.choice([value(), value(), "DUNNO"])}\n' for k in self.some(keys, 1, 4))

    def configuration(self):
        r, pool = self.r, list(DOMAINS)
        r.shuffle(pool)
        conf, files = {}, {}

        def take(n):
            return [pool.pop() for _ in range(min(n, len(pool)))]
        conf['mydestination'] = ', '.join(['mx.example.com'] + take(r.randint(0, 2)))
        conf['virtual_alias_domains'] = ', '.join(take(r.randint(0, 1)))
        conf['virtual_mailbox_domains'] = ', '.join(take(r.randint(0, 1)))
        relay = take(r.randint(0, 3))
        conf['relay_domains'] = ', '.join(r.choice(['', '', '.']) + d for d in relay)
        conf['virtual_mailbox_maps'] = ''
        for name in ('local', 'virtual', 'relay', 'default'):
            conf[f'{name}_transport'] = f'{r.choice(SERVICES)}' + r.choice(['', '', ':[class.example]', ':'])
        if r.random() < .2:
            conf['local_transport'] = 'error:local mail delivery is disabled'
        if r.random() < .8:
            maps = []
            for i in range(r.randint(1, 2)):
                kind, text = self.table()
                files[f'transport{i}'] = text
                maps.append(f'{kind}:@DIR@/transport{i}')
            conf['transport_maps'] = ' '.join(maps)
        if r.random() < .5:
            conf['relayhost'] = r.choice([h for h in HOPS if h])
        if r.random() < .3:
            files['sender_transport'] = self.by_sender(lambda: r.choice(SERVICES) + r.choice(['', ':', ':[st.example]']))
            conf['sender_dependent_default_transport_maps'] = 'texthash:@DIR@/sender_transport'
        if r.random() < .3:
            files['sender_relay'] = self.by_sender(lambda: r.choice(['[sr.example]', 'sr.example:26']))
            conf['sender_dependent_relayhost_maps'] = 'texthash:@DIR@/sender_relay'
        if r.random() < .3:
            files['relocated'] = ''.join(f'{k}\tnew@else.test\n' for k in self.some([f'moved@{d}' for d in DOMAINS] + ['moved', '@three.example'], 1, 4))
            conf['relocated_maps'] = 'texthash:@DIR@/relocated'
        if r.random() < .3:
            conf['parent_domain_matches_subdomains'] = r.choice(['', 'transport_maps', 'relay_domains', 'transport_maps, relay_domains'])
        if r.random() < .6:
            conf['recipient_delimiter'] = r.choice(['+', '-', '+-'])
        if r.random() < .1:
            conf['empty_address_relayhost_maps_lookup_key'] = 'null'
        return conf, files

    def recipients(self):
        r = self.r
        out = {f'{r.choice(USERS)}@{r.choice(DOMAINS)}' for _ in range(14)}
        out |= {r.choice(['u%two.example@one.example', 'two.example!u@three.example', 'u@[127.0.0.1]', 'u@[10.9.9.9]', 'u@One.Example', 'u@two.example.',
                          'moved@three.example', 'u@mx.example.com', 'moved@mx.example.com', 'u'])}
        return sorted({r.lower(): r for r in sorted(out)}.values())  # cleanup drops what differs only in the case of letters


def text_of(conf, directory):
    return COMMON + ''.join(f'{k} = {v}\n' for k, v in conf.items()).replace('@DIR@', str(directory))


def send(port, sender, rcpts):
    with socket.create_connection(('127.0.0.1', port), 30) as s:
        replies = s.makefile('rb')

        def ask(line):
            s.sendall(line)
            while (got := replies.readline())[3:4] == b'-':
                pass
            return got.decode('latin-1').rstrip()
        ask(b'')
        ask(b'EHLO c.example\r\n')
        ask(f'MAIL FROM:<{sender}>\r\n'.encode())
        taken = [r for r in rcpts if ask(f'RCPT TO:<{r}>\r\n'.encode()).startswith('2')]
        if not taken:
            return None, []
        ask(b'DATA\r\n')
        got = ask(b'Subject: x\r\n\r\nx\r\n.\r\n')
        return got.split()[-1], taken


LINE = re.compile(r' (\S+?)/(\w+)\[\d+\]: (\S+): to=<([^>]*)>,(?: orig_to=<([^>]*)>,)?.* dsn=(\S+), status=(\w+) \((.*)\)$')


def log_of(path, qid, n):
    """{recipient as sent: result}"""
    end = time.monotonic() + 30
    while True:
        found = {}
        for line in path.read_text(errors='replace').splitlines():
            m = LINE.search(line)
            if m is None or m[3] != qid:
                continue
            tag, program, _, to, orig, dsn, status, text = m.groups()
            if program == 'discard' and tag.startswith('by-'):
                found[orig or to] = (tag[3:], text)
            elif status == 'sent':
                found[orig or to] = ('drop', '')
            else:
                found[orig or to] = ('fail' if status == 'bounced' else 'wait', f'{dsn} {text}')
        if len(found) >= n or time.monotonic() > end:
            return found
        time.sleep(.05)


def ours_as_logged(answer):
    """What a queue would make of a route: error, retry and missing transports are decided there."""
    transport, _, hop = answer.partition('\t')
    if transport in SERVICES or transport in ('fail', 'wait', 'drop'):
        return transport, hop
    if transport in ('error', 'retry'):
        m = re.match(r'([45]\.\d+\.\d+) +(.*)|(.*)', hop) if transport == 'error' else re.match(r'(4\.\d+\.\d+) +(.*)|(.*)', hop)
        code, text = (m[1], m[2]) if m[1] else ('5.0.0' if transport == 'error' else '4.0.0', m[3])
        return 'fail' if transport == 'error' else 'wait', f'{code} {text}'
    return 'wait', '4.3.0 mail transport unavailable'


def run(seed, args, scratch):
    make = Maker(seed)
    conf, files = make.configuration()
    mails = [(sender, make.recipients()) for sender in make.some(SENDERS, args.mails, args.mails)]
    tables = scratch / f'tables-{seed}'
    tables.mkdir()
    for name, text in files.items():
        (tables / name).write_text(text)
    ours_dir = scratch / f'ours-{seed}'
    ours_dir.mkdir()
    (ours_dir / 'main.cf').write_text(text_of(conf, tables) + f'data_directory = {ours_dir}/data\nqueue_directory = {ours_dir}/queue\n')
    (ours_dir / 'master.cf').write_text(MASTER)
    port, = rig.free_ports(1)
    peer = scratch / f'postfix-{seed}'
    peer.mkdir()
    (peer / 'extra.cf').write_text(text_of(conf, tables))
    (peer / 'extra-master.cf').write_text(MASTER)
    started = subprocess.run([PEER, 'start', peer, str(port), 'discard'])
    if started.returncode != 0:
        sys.exit(started.returncode)
    same = different = 0
    try:
        for sender, rcpts in mails:
            qid, taken = send(port, sender, rcpts)
            if qid is None:
                continue
            done = subprocess.run([SAY, ours_dir], input=''.join(f'{sender}\t{r}\n' for r in taken), stdout=subprocess.PIPE, text=True)
            if done.returncode != 0:
                print(f'seed {seed}: refused by us: {done.stdout.strip()}')
                return same, different, 1
            theirs = log_of(peer / 'log', qid, len(taken))
            for rcpt, answer in zip(taken, done.stdout.splitlines()):
                got = ours_as_logged(answer)
                want = theirs.get(rcpt)
                if want and got[0] in SERVICES:  # a recipient's domain as next hop: Postfix keeps its letters, the host is the same
                    want, got = (want[0], want[1].lower()), (got[0], got[1].lower())
                same += want == got
                if want != got:
                    different += 1
                    print(f'seed {seed}, from=<{sender}> to=<{rcpt}>:\n  - {want}\n  + {got}')
                    if args.verbose:
                        print(''.join(f'      {k} = {v}\n' for k, v in conf.items() if v) +
                              ''.join(f'      {n}: {t!r}\n' for n, t in files.items()), end='')
    finally:
        subprocess.run([PEER, 'stop', peer], check=False)
    return same, different, 0


def main():
    p = argparse.ArgumentParser()
    p.add_argument('--seed', type=int, default=1)
    p.add_argument('--runs', type=int, default=5)
    p.add_argument('--mails', type=int, default=3)
    p.add_argument('-v', '--verbose', action='store_true')
    args = p.parse_args()
    if not SAY.exists():
        sys.exit(f'routing.py: {SAY} is missing: make tools')
    if os.geteuid() != 0:
        print('routing.py: skipped: Postfix needs root')
        sys.exit(77)
    scratch = rig.workdir('routing')
    scratch.chmod(0o755)
    total = [0, 0, 0]
    try:
        for seed in range(args.seed, args.seed + args.runs):
            total = [a + b for a, b in zip(total, run(seed, args, scratch))]
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    print(f'routing: {total[0]} routes the same, {total[1]} different, {total[2]} configurations refused by us (- Postfix, + Dogana)')
    sys.exit(total[1] > 0)


main()
