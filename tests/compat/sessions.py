#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Random configurations and sessions, played to Debian's Postfix and to Dogana side by side; every reply compared,
and what arrives at a hub behind each of them: envelope and headers.

    sessions.py [--seed N] [--seeds N] [--sessions N] [--batch N] [-v] [--keep]

A seed is one smtpd service with restriction lists, access tables of several types, policy service and settings of its
own, and some sessions with it under the identities XCLIENT gives. --batch services share one gateway, whose main.cf
is made from the first seed of the batch. Both have the same DNS: Debian's nsd with zones made here, in a network and
mount namespace of the test's own. A difference is printed with the seed that finds it again, unless
session_differences.py lists it. Exit status 1 if there was one, 77 where Postfix, nsd or namespaces cannot be had.
"""

import argparse
import collections
import json
import os
import pathlib
import re
import shutil
import socket
import socketserver
import subprocess
import sys
import threading

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parents[1]
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(TOP / 'tests/tools'))
import rig  # noqa: E402
from session_differences import DIFFERENCES  # noqa: E402
from session_maker import Maker, COMMON, TABLES, ZONES, policy_action  # noqa: E402

PEER = TOP / 'tests/tools/postfix-peer.sh'
PATIENCE = 30


# ---- a world of its own

class Nsd:
    def __init__(self, where):
        program = TOP / 'build/peers/bin/nsd'
        if not program.exists():
            print(f'sessions: skipped: nsd is not in {TOP}/build/peers: tests/tools/peers.sh nsd')
            sys.exit(77)
        where.mkdir()
        conf = f'''server:
  ip-address: 127.0.0.53
  port: 53
  username: ""
  chroot: ""
  database: ""
  pidfile: "{where}/pid"
  zonesdir: "{where}"
  zonelistfile: "{where}/zones"
  xfrdfile: "{where}/xfrd"
  logfile: "{where}/log"
  server-count: 1
  rrl-ratelimit: 0
remote-control:
  control-enable: no
'''
        for name, text in ZONES.items():
            path = where / (name.strip('.') or 'root')
            if text is not None:
                path.write_text(f'$ORIGIN {name}\n$TTL 300\n{text}')
            conf += f'zone:\n  name: "{name}"\n  zonefile: "{path}"\n'
        (where / 'nsd.conf').write_text(conf)
        self.proc = subprocess.Popen([program, '-d', '-c', where / 'nsd.conf'], stdin=subprocess.DEVNULL)
        rig.wait_for('nsd', self.answers, pause=.2)

    @staticmethod
    def answers():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(.2)
            s.sendto(b'\0\1\1\0\0\1\0\0\0\0\0\0\0\0\2\0\1', ('127.0.0.53', 53))
            try:
                return s.recv(512)[3] & 15 == 0
            except OSError:
                return False

    def stop(self):
        self.proc.terminate()
        self.proc.wait(10)


class PolicyServer(socketserver.ThreadingTCPServer):
    """Answers by a fixed function of what it is asked (session_maker.policy_action), and keeps the questions."""
    allow_reuse_address = daemon_threads = True

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            asked = {}
            for line in self.rfile:
                line = line.decode('latin-1').rstrip('\n')
                if line:
                    name, _, value = line.partition('=')
                    asked[name] = value
                    continue
                self.server.asked.append(asked)
                self.wfile.write(f'action={policy_action(asked)}\n\n'.encode())
                asked = {}

    def __init__(self, port):
        self.asked = []
        super().__init__(('127.0.0.1', port), self.Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


# ---- one session

class Talk:
    def __init__(self, port):
        self.sock = socket.create_connection(('127.0.0.1', port), PATIENCE)
        self.file = self.sock.makefile('rb')
        self.said = []

    def reply(self, to):
        lines = []
        while True:
            try:
                line = self.file.readline()
            except ConnectionError:
                line = b''
            if not line:
                lines.append('closed')
                break
            lines.append(line.decode('latin-1').rstrip('\r\n'))
            if line[3:4] != b'-':
                break
        self.said.append((to, '\n'.join(lines)))
        return lines[-1]

    def ask(self, command):
        try:
            self.sock.sendall(command + b'\r\n')
        except OSError:
            pass
        return self.reply(command.decode('latin-1'))


def play(port, session):
    """[(command, reply)] until it ends or all is said."""
    talk = Talk(port)
    with talk.sock:
        if not talk.reply('connect').startswith('2'):
            return talk.said  # its own address is refused, before XCLIENT could say another
        if session['xclient']:
            talk.ask(('XCLIENT ' + session['xclient']).encode())
        if talk.said[-1][1].startswith('2'):
            talk.ask(f'EHLO {session["helo"]}'.encode())
        for mail in session['mails']:
            if 'closed' in talk.said[-1][1] or talk.said[-1][1][:3] in ('421', '521'):
                break
            if not talk.ask(f'MAIL FROM:<{mail["sender"]}>{mail["options"]}'.encode()).startswith('2'):
                continue
            taken = [talk.ask(f'RCPT TO:<{r}>'.encode()).startswith('2') for r in mail['rcpts']]
            if not any(taken) or not talk.ask(b'DATA').startswith('3'):
                talk.ask(b'RSET')
                continue
            talk.ask(mail['content'] + b'.')
    return talk.said


QUEUED = re.compile(r'(queued as )(\S+)')


def comparable(said):
    out = []
    for command, reply in said:
        if command.startswith('EHLO') and reply.startswith('250'):
            reply = '250'
        out.append((command if len(command) < 200 else 'content', QUEUED.sub(r'\1ID', reply)))
    return out


# ---- what arrives

RECEIVED = re.compile(r'^Received: .*(?:\r?\n[ \t].*)*\r?\n', re.M)


def arrivals(hub):
    """{tag: (sender, all recipients, texts)}, however it was divided; our own Received is cut to what is compared. A report
    counts without its text."""
    found = collections.defaultdict(lambda: (set(), collections.Counter(), set()))
    for record in hub.messages():
        text = hub.content(record).decode('latin-1')
        tag = re.search(r'^X-Tag: (\S+)', text, re.M)
        first = RECEIVED.search(text)
        if first:
            kept = re.sub(r'\s+', ' ', first.group())
            kept = re.sub(r'\b(id|port) \S+', r'\1 ID', re.sub(r';.*', '', kept))
            kept = re.sub(r'\.>', '>', kept)  # a trailing dot is gone on arrival
            kept = re.sub(r'\([^()]*Postfix\)|\(Dogana\)|with E?SMTP', '', kept)
            text = text[:first.start()] + kept + '\n' + text[first.end():]
        text = re.sub(r'^(Message-Id|Date): .*', r'\1', text, flags=re.M | re.I)
        sender = record['mail'].split()[0].partition(':')[2]
        if sender == '<>' and 'multipart/report' in text:
            text = 'report'
        senders, rcpts, texts = found[(tag.group(1) if tag else 'untagged') + (' report' if text == 'report' else '')]
        senders.add(sender)
        rcpts.update(r.split()[0].partition(':')[2] for r, ok in zip(record['rcpt'], record['taken']) if ok)
        texts.add(text)
    return {k: (sorted(a), sorted(b.items()), sorted(c)) for k, (a, b, c) in found.items()}


# ---- both sides

class Side:
    """A gateway with a hub behind it."""

    def __init__(self, scratch, ports, policy_port):
        self.scratch = scratch
        scratch.mkdir(mode=0o755)
        self.ports = ports
        self.policy = PolicyServer(policy_port)
        self.hub = rig.Hub(scratch / 'hub', ['0'])
        self.hub_port = self.hub.ports[0]

    def configuration(self, maker, services):
        tables = self.scratch / 'tables'
        tables.mkdir()
        for name, text in {**TABLES, **maker.files}.items():
            (tables / name).write_text(text)
        main = COMMON + maker.main
        master = ''.join(f'127.0.0.1:{port} inet n - n - - smtpd\n' + ''.join(f'  -o {{ {k} = {v} }}\n' for k, v in s.items())
                         for port, s in zip(self.ports[1:], services))
        change = lambda text: text.replace('@TABLES@', str(tables)).replace('@HUB@', f'[127.0.0.1]:{self.hub_port}') \
            .replace('@POLICY@', f'inet:127.0.0.1:{self.policy.server_address[1]}')
        return change(main), change(master), tables


class Postfix(Side):
    name = '-'

    def start(self, maker, services):
        main, master, tables = self.configuration(maker, services)
        where = self.scratch / 'postfix'
        where.mkdir(mode=0o755)
        (where / 'extra.cf').write_text(main)
        (where / 'extra-master.cf').write_text(master)
        self.where = where
        done = subprocess.run([PEER, 'start', where, str(self.ports[0]), f'[127.0.0.1]:{self.hub_port}'])
        if done.returncode != 0:
            sys.exit(done.returncode)
        for p in tables.glob('hash-*'):
            subprocess.run([PEER, 'run', where, 'postmap', f'hash:{p}'], check=True)

    def queue_is_empty(self):
        """Nothing on its way; what was deferred will be so for longer than we wait."""
        return not any(p.is_file() for d in ('incoming', 'active', 'maildrop') for p in (self.where / 'queue' / d).rglob('*'))

    def log(self):
        return (self.where / 'log').read_text(errors='replace')

    def stop(self):
        subprocess.run([PEER, 'stop', self.where], check=False)
        self.hub.stop()
        self.policy.shutdown()
        self.policy.server_close()


class Dogana(Side):
    name = '+'

    def start(self, maker, services):
        main, master, _ = self.configuration(maker, services)
        d = self.scratch / 'dogana'
        main += (f'queue_directory = {d}/queue\ndata_directory = {d}/data\nmaillog_file = /dev/stdout\nsyslog_name = postfix\n'
                 'edge_workers = 1\nrelay_workers = 1\ndnsbl_probe_interval = 0\ndnsbl_pause_after = 1000\n')
        master = f'127.0.0.1:{self.ports[0]} inet n - n - - smtpd\n' + master
        self.gateway = rig.Gateway(d, main, master)
        self.refused = self.leave_out(master)
        self.gateway.start(self.ports[0])

    def leave_out(self, master):
        """Services that `check' refuses are taken out: {index: why}."""
        why = {}
        code, text = self.gateway.run('check')
        if code == 0:
            return why
        lines = master.splitlines()
        for m in re.finditer(r'master\.cf:(\d+): error: (.*)', text):
            at = int(m[1]) - 1
            while lines[at].startswith(' '):
                at -= 1
            why[self.ports.index(int(re.match(r'127\.0\.0\.1:(\d+)', lines[at])[1])) - 1] = m[2]
        if re.search(r'main\.cf:\d+: error: cls', text):  # a class that a service uses too early
            for at, line in enumerate(lines):
                if line.strip() == '-o { smtpd_delay_reject = no }':
                    while lines[at].startswith(' '):
                        at -= 1
                    why.setdefault(self.ports.index(int(re.match(r'127\.0\.0\.1:(\d+)', lines[at])[1])) - 1, 'class used too early')
        kept, keep = [], True
        for line in lines:
            if not line.startswith(' '):
                keep = self.ports.index(int(re.match(r'127\.0\.0\.1:(\d+)', line)[1])) - 1 not in why
            kept += [line] * keep
        self.gateway.write('master.cf', '\n'.join(kept) + '\n')
        return why

    def queue_is_empty(self):
        return all(row['queue_name'] in ('deferred', 'hold') for row in self.gateway.queue())

    def log(self):
        return self.gateway.log_text()

    def stop(self):
        self.gateway.stop()
        self.hub.stop()
        self.policy.shutdown()
        self.policy.server_close()
        for line in self.gateway.troubles():
            print(f'  + {line}')
            self.trouble = True

    trouble = False


# ---- comparing

def listed(session, command, theirs, ours, service):
    text = '\n'.join(f'{k} = {v}' for k, v in service.items())
    for row in DIFFERENCES:
        if re.search(row['command'], command) and re.search(row['theirs'], theirs) and re.search(row['ours'], ours) and \
                ('settings' not in row or re.search(row['settings'], text)):
            row['used'] = row.get('used', 0) + 1
            return True
    return False


class Batch:
    def __init__(self, args, first, n, scratch):
        self.args, self.scratch = args, scratch
        self.seeds = range(first, first + n)
        self.main = Maker(first, is_batch=True)
        self.makers = [Maker(seed) for seed in self.seeds]
        self.services = [m.service(self.main) for m in self.makers]
        self.sessions = [[m.session(f's{seed}-{i}') for i in range(args.sessions)] for seed, m in zip(self.seeds, self.makers)]
        for m in self.makers:
            self.main.files.update(m.files)
        self.count = collections.Counter()

    def differ(self, seed, session, what, theirs, ours, service):
        if listed(session, what, theirs, ours, service):
            self.count['listed'] += 1
            return
        self.count['different'] += 1
        print(f'seed {seed}: {what}\n  - {theirs}\n  + {ours}')
        print('    ' + json.dumps({k: v for k, v in session.items()}, default=repr)[:1500])
        print(''.join(f'      {k} = {v}\n' for k, v in service.items() if v), end='', flush=True)

    def run(self):
        ports = range(10000, 10000 + 2 * (len(self.services) + 1) + 2)  # nobody else is in this namespace, and no client gets one of these
        half = len(self.services) + 1
        sides = [Postfix(self.scratch / 'postfix', ports[:half], ports[-1]), Dogana(self.scratch / 'dogana', ports[half:2 * half], ports[-2])]
        started = []
        try:
            for side in sides:
                side.start(self.main, self.services)
                started.append(side)
            for i, why in sides[1].refused.items():
                self.count['refused'] += 1
                if self.args.verbose:
                    print(f'seed {self.seeds[i]}: refused: {why}')
            said = [[None] * len(self.services) for _ in sides]

            def one(k):
                for i, sessions in enumerate(self.sessions):
                    if i in sides[1].refused:
                        continue
                    said[k][i] = [play(sides[k].ports[i + 1], s) for s in sessions]
            threads = [threading.Thread(target=one, args=(k,)) for k in (0, 1)]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            self.compare_replies(said)
            for side in sides:
                try:
                    rig.wait_for('an empty queue', side.queue_is_empty, 20, .2)
                except rig.Broken:
                    pass
            self.compare_arrivals(said, *(arrivals(s.hub) for s in sides))
            self.compare_questions(*(s.policy.asked for s in sides))
        finally:
            for side in started:
                side.stop()
        if sides[1].trouble:
            self.count['different'] += 1
        return self.count

    def compare_replies(self, said):
        self.agree = set()
        for i, seed in enumerate(self.seeds):
            for n, session in enumerate(self.sessions[i] if said[0][i] else ()):
                theirs, ours = comparable(said[0][i][n]), comparable(said[1][i][n])
                same = True
                for (command, their), (_, our) in zip(theirs, ours):
                    if their != our:
                        self.differ(seed, session, command, their, our, self.services[i])
                        same = False
                        break
                    self.count['replies'] += 1
                if same and len(theirs) == len(ours):
                    self.agree.add(session['tag'])

    def compare_arrivals(self, said, theirs, ours):
        for i, seed in enumerate(self.seeds):
            for session in self.sessions[i]:
                if session['tag'] not in self.agree:
                    continue
                for k in range(len(session['mails'])):
                    tag = f'{session["tag"]}-{k}'
                    if theirs.get(tag) != ours.get(tag):
                        self.differ(seed, session, f'arrival {tag}', repr(theirs.get(tag)), repr(ours.get(tag)), self.services[i])
                    elif tag in theirs:
                        self.count['arrivals'] += 1

    def compare_questions(self, theirs, ours):
        """What the policy server was asked, but for what cannot be the same."""
        own = {'instance', 'client_port', 'server_port', 'queue_id', 'mail_version', 'compatibility_level'}
        rows = [collections.Counter(json.dumps({k: v.rstrip('.') for k, v in q.items() if k not in own}) for q in asked
                                    if q.get('client_address') != '127.0.0.1') for asked in (theirs, ours)]
        if os.environ.get('QUESTIONS') or (not self.count['different'] and not self.count['listed'] and rows[0] != rows[1]):
            for text, n in (rows[0] - rows[1]).items():
                self.count['different'] += 1
                print(f'policy question, {n} times only by Postfix: {text}')
            for text, n in (rows[1] - rows[0]).items():
                self.count['different'] += 1
                print(f'policy question, {n} times only by us: {text}')
        self.count['questions'] += sum((rows[0] & rows[1]).values())


def main():
    p = argparse.ArgumentParser()
    p.add_argument('--seed', type=int, default=1)
    p.add_argument('--seeds', type=int, default=40)
    p.add_argument('--sessions', type=int, default=8)
    p.add_argument('--batch', type=int, default=40)
    p.add_argument('-v', '--verbose', action='store_true')
    p.add_argument('--keep', action='store_true')
    p.add_argument('--inside', action='store_true')
    args = p.parse_args()
    if not args.inside:
        if not (TOP / 'build/peers/root/usr/lib/postfix/sbin/master').exists():
            print(f'sessions: skipped: Postfix is not in {TOP}/build/peers: tests/tools/peers.sh postfix nsd')
            sys.exit(77)
        rig.again_in_namespaces('sessions', __file__)
    scratch = rig.workdir('sessions')
    rig.own_network(scratch, 'timeout:2 attempts:1')
    nsd = Nsd(scratch / 'nsd')
    total = collections.Counter()
    try:
        for at in range(args.seed, args.seed + args.seeds, args.batch):
            where = scratch / f'{at}'
            where.mkdir(mode=0o755)
            total += Batch(args, at, min(args.batch, args.seed + args.seeds - at), where).run()
            if not args.keep:
                shutil.rmtree(where, ignore_errors=True)
            if args.verbose:
                print(f'{at}: {dict(total)}', flush=True)
    finally:
        nsd.stop()
        if not args.keep:
            shutil.rmtree(scratch, ignore_errors=True)
    print(f'sessions: {args.seeds} seeds, {total["replies"]} replies, {total["arrivals"]} messages and {total["questions"]} policy questions the same, '
          f'{total["different"]} different, {total["listed"]} different on purpose, {total["refused"]} configurations refused by us (- Postfix, + Dogana)')
    sys.exit(total['different'] > 0)


main()
