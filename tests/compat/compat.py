#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""make compat: the same configuration, the same client, Debian's Postfix and Dogana; every reply compared.

    compat.py              both live (Postfix needs root and make peers)
    compat.py --recorded   Dogana against Postfix's replies as kept in postfix-3.7.txt
    compat.py --record     write that file
    compat.py -k TEXT      only cases with TEXT in their name; -v prints the replies of all cases

Debian's Postfix is 3.7; where a later one says something else on purpose, DIFFERENCES has the case and the reason.
Exit status: 1 if a case differs that is not listed there, or a listed one does not differ any more.
"""

import argparse
import concurrent.futures
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from dialogues import GROUPS, SRC  # noqa: E402
from differences import DIFFERENCES  # noqa: E402

TOP = pathlib.Path(__file__).resolve().parents[2]
RECORDED = pathlib.Path(__file__).with_name('postfix-3.7.txt')
PATIENCE = 4  # seconds to wait for a reply before there is none

COMMON = '''compatibility_level = 3.6
myhostname = mx.example.com
mydestination =
mynetworks = 127.0.0.2, !127.0.1.9, 127.0.1.0/24
relay_domains = example.org any.example any2.example .dot.example all.example
relay_recipient_maps = inline:{{known@example.org=x}, {known2@example.org=x}, {listed@any2.example=x}, {@any.example=x}, {@all.example=x},
  {@sub.any.example=x}, {@.dot.example=x}, {@sub.dot.example=x}}
smtpd_banner = $myhostname ESMTP
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
smtpd_error_sleep_time = 0
smtpd_forbid_unauth_pipelining = yes
smtpd_forbid_bare_newline = normalize
smtpd_recipient_limit = 5
message_size_limit = 20000
inet_protocols = ipv4
'''


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


class Postfix:
    script = TOP / 'tests/tools/postfix-peer.sh'

    def __init__(self, scratch, extra):
        self.dir, self.port = scratch / 'postfix', free_port()
        self.dir.mkdir()
        (self.dir / 'extra.cf').write_text(COMMON + extra)
        subprocess.run([self.script, 'start', self.dir, str(self.port), 'discard'], check=True)

    def close(self):
        subprocess.run([self.script, 'stop', self.dir], check=True)


class Dogana:
    """Its hub is a port where nobody listens: what becomes of the mail is not the question here."""

    def __init__(self, scratch, extra):
        self.dir, self.port = scratch / 'dogana', free_port()
        etc = self.dir / 'etc'
        etc.mkdir(parents=True)
        (etc / 'main.cf').write_text(COMMON + extra + f'relayhost = [127.0.0.1]:{free_port()}\n'
                                     f'queue_directory = {self.dir}/queue\ndata_directory = {self.dir}/data\n'
                                     f'maillog_file = {self.dir}/log\nmaillog_file_prefixes = {self.dir}\n')
        (etc / 'master.cf').write_text(f'127.0.0.1:{self.port} inet n - n - - smtpd\n')
        with open(self.dir / 'out', 'wb') as out:
            self.process = subprocess.Popen([program(), '-c', etc, 'run'], stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        end = time.monotonic() + 20
        while True:
            try:
                if socket.create_connection(('127.0.0.1', self.port), 1).recv(1):
                    return
            except OSError:
                pass
            if self.process.poll() is not None or time.monotonic() > end:
                self.close()
                sys.exit('compat: Dogana does not start:\n' + (self.dir / 'out').read_text()[-3000:])
            time.sleep(0.02)

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def program():
    for p in (os.environ.get('DOGANA'), TOP / 'build/release/dogana', TOP / 'build/dogana'):
        if p and pathlib.Path(p).exists():
            return str(p)
    sys.exit('compat: no build/dogana; run make first')


class Client:
    def __init__(self, port, source):
        self.sock = socket.create_connection(('127.0.0.1', port), 10, source_address=(source, 0))
        self.sock.settimeout(PATIENCE)
        self.buffer = b''

    def line(self):
        """A line without its end; None: no more will come."""
        while b'\n' not in self.buffer:
            try:
                more = self.sock.recv(65536)
            except socket.timeout:
                return '(silence)'
            except OSError:
                more = b''
            if not more:
                return None
            self.buffer += more
        first, _, self.buffer = self.buffer.partition(b'\n')
        return first.decode('utf-8', 'backslashreplace').removesuffix('\r')

    def reply(self):
        """All lines of one reply."""
        lines = []
        while True:
            text = self.line()
            if text is None:
                return lines + ['(closed)']
            lines.append(text)
            if text[3:4] != '-':
                return lines

    def send(self, data):
        try:
            self.sock.sendall(data)
        except OSError:
            pass


def normal(lines):
    return [re.sub(r'queued as \S+', 'queued as QID', text) for text in lines]


def play(port, case):
    """The transcript of one case: a list of (what was said, reply lines)."""
    steps = list(case[1:])
    source = steps.pop(0).addr if steps and isinstance(steps[0], SRC) else '127.0.0.1'
    c = Client(port, source)
    said = [('', c.reply())]
    for step in steps + ['QUIT']:
        data, n = step if isinstance(step, tuple) else (step, 1)
        if isinstance(data, str):
            data = data.encode() + b'\r\n'
        c.send(data)
        short = data if len(data) < 90 else data[:60] + b'...' + data[-10:]
        lines = []
        for _ in range(n):
            lines += c.reply()
            if lines[-1] in ('(closed)', '(silence)'):
                break
        said.append((repr(short)[2:-1], normal(lines)))
        if lines[-1:] == ['(closed)']:
            return said
    rest = []
    while (text := c.line()) not in (None, '(silence)'):
        rest.append(text)
    said.append(('', normal(rest) + (['(closed)'] if text is None else ['(still open)'])))
    return said


def transcript(said):
    return ''.join(f'C: {text}\n' * bool(text) + ''.join(f'S: {r}\n' for r in lines) for text, lines in said)


def run(kind, scratch, extra, cases):
    """{case name: transcript}"""
    server = kind(scratch, extra)
    try:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            done = pool.map(lambda c: (c[0], transcript(play(server.port, c))), cases)
            return dict(done)
    finally:
        server.close()


def load_recorded():
    found = {}
    for part in RECORDED.read_text().split('\n== ')[1:]:
        name, _, text = part.partition('\n')
        found[tuple(name.split(' :: ', 1))] = text.rstrip('\n') + '\n'
    return found


def save_recorded(answers):
    with open(RECORDED, 'w') as f:
        f.write('What Postfix 3.7 (Debian) answers to the cases of dialogues.py; written by compat.py --record.\n')
        for (group, name), text in answers.items():
            f.write(f'\n== {group} :: {name}\n{text}')


def compare(postfix, dogana, verbose):
    same = listed = 0
    wrong, stale = [], []
    for key, theirs in postfix.items():
        ours = dogana[key]
        known = next((why for group, pattern, why in DIFFERENCES
                      if group in ('*', key[0]) and re.fullmatch(pattern, key[1])), None)
        if verbose:
            print(f'== {" :: ".join(key)}\n{ours}')
        if theirs == ours and known:
            stale.append(key)
        elif theirs == ours:
            same += 1
        elif known:
            listed += 1
        else:
            wrong.append(key)
            a, b = theirs.splitlines(), ours.splitlines()
            print(f'{" :: ".join(key)}')
            for i in range(max(len(a), len(b))):
                x, y = a[i] if i < len(a) else '', b[i] if i < len(b) else ''
                print(f'    {x}' if x == y else f'  - {x}\n  + {y}')
    for key in stale:
        print(f'{" :: ".join(key)}: is in differences.py, but there is no difference')
    print(f'compat: {same} the same, {listed} different on purpose, {len(wrong)} different, {len(stale)} wrongly listed '
          f'(- Postfix, + Dogana)')
    return 1 if wrong or stale else 0


def main():
    p = argparse.ArgumentParser()
    p.add_argument('--record', action='store_true')
    p.add_argument('--recorded', action='store_true')
    p.add_argument('-k', default='')
    p.add_argument('-v', action='store_true')
    args = p.parse_args()
    (TOP / 'build/tmp').mkdir(parents=True, exist_ok=True)
    postfix, dogana = {}, {}
    recorded = load_recorded() if args.recorded else None
    if not args.recorded and os.getuid() != 0:
        print('compat: Postfix needs root; comparing with its recorded replies')
        recorded = load_recorded()
    for group, (extra, cases) in GROUPS.items():
        cases = [c for c in cases if args.k in c[0]]
        if not cases:
            continue
        scratch = pathlib.Path(tempfile.mkdtemp(prefix='compat-', dir=TOP / 'build/tmp'))
        scratch.chmod(0o755)
        if recorded is None:
            replies = run(Postfix, scratch, extra, cases)
        else:
            replies = {c[0]: recorded[group, c[0]] for c in cases}
        postfix.update({(group, name): text for name, text in replies.items()})
        if not args.record:
            dogana.update({(group, name): text for name, text in run(Dogana, scratch, extra, cases).items()})
        shutil.rmtree(scratch)
    if args.record:
        save_recorded(postfix)
        print(f'compat: {len(postfix)} cases recorded')
        return 0
    return compare(postfix, dogana, args.v)


if __name__ == '__main__':
    sys.exit(main())
