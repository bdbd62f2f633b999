#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""make compat: the same configuration, the same client, Debian's Postfix and Dogana; every reply compared, and for
accepted messages what a hub behind them gets.

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
import socketserver
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from deliveries import DELIVERIES  # noqa: E402
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
mail_name = Mail
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

    def __init__(self, scratch, extra, hub=None):
        self.dir, self.port = scratch / 'postfix', free_port()
        self.dir.mkdir()
        (self.dir / 'extra.cf').write_text(COMMON + extra)
        nexthop = f'[127.0.0.1]:{hub}' if hub else 'discard'
        subprocess.run([self.script, 'start', self.dir, str(self.port), nexthop], check=True)

    def close(self):
        subprocess.run([self.script, 'stop', self.dir], check=True)


class Dogana:
    """Without a hub, mail goes where nobody listens."""

    def __init__(self, scratch, extra, hub=None):
        self.dir, self.port = scratch / 'dogana', free_port()
        etc = self.dir / 'etc'
        etc.mkdir(parents=True)
        (etc / 'main.cf').write_text(COMMON + extra + f'relayhost = [127.0.0.1]:{hub or free_port()}\n'
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


class Hub(socketserver.ThreadingTCPServer):
    """Takes everything and keeps transactions: (MAIL and RCPT lines, content lines with their ends)."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            self.wfile.write(b'220 hub.example ESMTP\r\n')
            envelope = []
            for line in self.rfile:
                verb = line[:4].upper()
                if verb == b'EHLO':
                    self.wfile.write(b'250-hub.example\r\n250-PIPELINING\r\n250-SIZE 50000000\r\n250-DSN\r\n'
                                     b'250-8BITMIME\r\n250-SMTPUTF8\r\n250 ENHANCEDSTATUSCODES\r\n')
                    continue
                if verb in (b'MAIL', b'RCPT'):
                    envelope.append(line.strip().decode('utf-8', 'backslashreplace'))
                elif verb == b'DATA':
                    self.wfile.write(b'354 go ahead\r\n')
                    content = []
                    while (line := self.rfile.readline()) not in (b'.\r\n', b''):
                        content.append(line)
                    self.server.transactions.append((envelope, content))
                    envelope = []
                elif verb in (b'RSET', b'HELO'):
                    envelope = []
                self.wfile.write(b'221 2.0.0 bye\r\n' if verb == b'QUIT' else b'250 2.0.0 ok\r\n')
                if verb == b'QUIT':
                    return

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self):
        super().__init__(('127.0.0.1', 0), self.Handler)
        self.transactions = []
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def of(self, tag):
        """The transactions whose envelope has the tag, in a form without what changes from run to run."""
        found = []
        for envelope, content in list(self.transactions):
            if not any(tag in line for line in envelope):
                continue
            lines = [re.sub(r'SIZE=\d+', 'SIZE=n', e) for e in envelope]
            for raw in content:
                text = repr(raw)[2:-1]
                text = re.sub(r'( id |Message-Id: <\d+\.)[0-9A-Za-z]+', r'\1ID', text)
                text = re.sub(r'\w{3}, +\d+ \w{3} 20\d\d [\d:]{8} [-+]\d{4} \(\w+\)', 'DATE', text)
                lines.append('| ' + re.sub(r'Message-Id: <\d+', 'Message-Id: <NOW', text))
            found.append('\n'.join(f'H: {line}'.replace(tag, '~') for line in lines) + '\n')
        return ''.join(sorted(found))


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
    """As text; a reply of several lines becomes one."""
    out = ''
    for text, lines in said:
        out += f'C: {text}\n' if text else ''
        for i, line in enumerate(lines):
            goes_on = line[3:4] == '-'
            out += ('S: ' + line if i == 0 or lines[i - 1][3:4] != '-' else ' | ' + line[4:]) + '\n' * (not goes_on)
    return out


def run(kind, scratch, extra, cases):
    """{case name: transcript}"""
    server = kind(scratch, extra)
    try:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            done = pool.map(lambda c: (c[0], transcript(play(server.port, c))), cases)
            return dict(done)
    finally:
        server.close()


def with_tag(case, tag):
    return tuple(s.replace('~', tag) if isinstance(s, str) else s for s in case)


def run_deliveries(kind, scratch, cases):
    """{case name: transcript of the client, then what came to the hub}"""
    hub = Hub()
    server = kind(scratch, 'smtpd_recipient_limit = 100\nmessage_size_limit = 200000\n', hub.port)
    tags = {case[0]: f't{i:03}' for i, case in enumerate(cases)}
    try:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            said = dict(pool.map(lambda c: (c[0], transcript(play(server.port, with_tag(c, tags[c[0]])))), cases))
        end = time.monotonic() + 15
        while time.monotonic() < end and not all(hub.of(tags[n]) for n, t in said.items() if 'queued as' in t):
            time.sleep(0.05)
        time.sleep(0.3)  # a second transaction of the same message
        return {name: text.replace(tags[name], '~') + (hub.of(tags[name]) or 'H: nothing\n') for name, text in said.items()}
    finally:
        server.close()
        hub.shutdown()
        hub.server_close()


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
    for group, extra, cases in [(g, *v) for g, v in GROUPS.items()] + [('delivered', None, DELIVERIES)]:
        cases = [c for c in cases if args.k in c[0]]
        if not cases:
            continue
        scratch = pathlib.Path(tempfile.mkdtemp(prefix='compat-', dir=TOP / 'build/tmp'))
        scratch.chmod(0o755)
        for kind, answers in ((Postfix, postfix), (Dogana, dogana)):
            if kind is Postfix and recorded is not None:
                replies = {c[0]: recorded[group, c[0]] for c in cases}
            elif kind is Dogana and args.record:
                continue
            elif extra is None:
                replies = run_deliveries(kind, scratch, cases)
            else:
                replies = run(kind, scratch, extra, cases)
            answers.update({(group, name): text for name, text in replies.items()})
        shutil.rmtree(scratch)
    if args.record:
        save_recorded(postfix)
        print(f'compat: {len(postfix)} cases recorded')
        return 0
    return compare(postfix, dogana, args.v)


if __name__ == '__main__':
    sys.exit(main())
