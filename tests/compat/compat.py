#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""make compat: the same configuration, the same client, Debian's Postfix and Dogana; every reply compared, what a hub
behind them gets of accepted messages, and the log: line by line, and as pflogsumm and fail2ban understand it.

    compat.py              both live (Postfix needs root and make peers)
    compat.py --recorded   Dogana against Postfix's replies as kept in postfix-3.7.txt
    compat.py --record     write that file
    compat.py -k TEXT      only cases with TEXT in their name; -v prints the replies of all cases

Debian's Postfix is 3.7; where a later one says something else on purpose, DIFFERENCES has the case and the reason.
Exit status: 1 if a case differs that is not listed there, or a listed one does not differ any more.
"""

import argparse
import collections
import concurrent.futures
import difflib
import os
import pathlib
import re
import shutil
import socket
import socketserver
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'tools'))
from deliveries import DELIVERIES  # noqa: E402
from dialogues import GROUPS, SRC  # noqa: E402
from differences import DIFFERENCES, LINES, NOT_YET  # noqa: E402
import rig  # noqa: E402
from rig import ROLE_USERS  # noqa: E402

TOP = pathlib.Path(__file__).resolve().parents[2]
RECORDED = pathlib.Path(__file__).with_name('postfix-3.7.txt')
PATIENCE = 4  # seconds to wait for a reply before there is none

COMMON = '''compatibility_level = 3.6
myhostname = mx.example.com
mydestination =
mynetworks = 127.2.0.0/16, !127.4.0.0/17, 127.4.0.0/16
alias_maps =
relay_domains = example.org any.example any2.example .dot.example all.example
relay_recipient_maps = inline:{{known@example.org=x}, {known2@example.org=x}, {listed@any2.example=x}, {@any.example=x}, {@all.example=x},
  {@sub.any.example=x}, {@.dot.example=x}, {@sub.dot.example=x}}
mail_name = Mail
syslog_name = postfix
enable_long_queue_ids = yes
smtpd_banner = $myhostname ESMTP
smtpd_peername_lookup = no
smtpd_discard_ehlo_keywords = etrn
smtpd_client_connection_count_limit = 0
smtpd_error_sleep_time = 0
smtpd_forbid_unauth_pipelining = yes
smtpd_forbid_bare_newline = normalize
smtpd_recipient_limit = 5
message_size_limit = 20000
inet_protocols = ipv4
'''


class Postfix:
    script = TOP / 'tests/tools/postfix-peer.sh'

    def __init__(self, scratch, extra, hub):
        self.dir, self.port = scratch / 'postfix', rig.free_ports(1)[0]
        self.dir.mkdir()
        (self.dir / 'extra.cf').write_text(COMMON + extra)
        subprocess.run([self.script, 'start', self.dir, str(self.port), f'[127.0.0.1]:{hub}'], check=True)

    def close(self):
        subprocess.run([self.script, 'stop', self.dir], check=True)


class Dogana:
    def __init__(self, scratch, extra, hub):
        self.dir, self.port = scratch / 'dogana', rig.free_ports(1)[0]
        etc = self.dir / 'etc'
        etc.mkdir(parents=True)
        (etc / 'main.cf').write_text(COMMON + extra + f'relayhost = [127.0.0.1]:{hub}\n'
                                     f'queue_directory = {self.dir}/queue\ndata_directory = {self.dir}/data\n'
                                     f'maillog_file = {self.dir}/log\nmaillog_file_prefixes = {self.dir}\n' + ROLE_USERS)
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
            lines = []
            for e in envelope:  # the order of parameters means nothing
                command, end, rest = re.sub(r'SIZE=\d+', 'SIZE=n', e).rpartition('>')
                lines.append(command + end + ''.join(f' {word}' for word in sorted(rest.split())))
            for raw in content:
                text = repr(raw)[2:-1]
                text = re.sub(r'(?<= id )[0-9A-Za-z]+', 'ID', text)
                text = re.sub(r'\w{3}, +\d+ \w{3} 20\d\d [\d:]{8} [-+]\d{4} \(\w+\)', 'DATE', text)
                lines.append('| ' + re.sub(r'Message-Id: <[\w.]+@mx\.', 'Message-Id: <NEW@mx.', text))
            found.append('\n'.join(f'H: {line}'.replace(tag, '~') for line in lines) + '\n')
        return ''.join(sorted(found))


def normal(lines):
    return [re.sub(r'queued as \S+', 'queued as QID', text) for text in lines]


def play(port, number, case):
    """One case: a list of (what was said, reply lines), the queue ids that were given, the client's address."""
    steps = list(case[1:])
    src = steps.pop(0) if steps and isinstance(steps[0], SRC) else SRC('127.1')
    address = src.net if src.net.count('.') == 3 else f'{src.net}.{src.third + number // 250}.{1 + number % 250}'
    c = Client(port, address)
    said, ids = [('', c.reply())], []
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
        ids += re.findall(r'queued as (\S+)', ' '.join(lines))
        said.append((repr(short)[2:-1], normal(lines)))
        if lines[-1:] == ['(closed)']:
            return said, ids, address
    rest = []
    while (text := c.line()) not in (None, '(silence)'):
        rest.append(text)
    said.append(('', normal(rest) + (['(closed)'] if text is None else ['(still open)'])))
    return said, ids, address


def transcript(said):
    """As text; a reply of several lines becomes one."""
    out = ''
    for text, lines in said:
        out += f'C: {text}\n' if text else ''
        for i, line in enumerate(lines):
            goes_on = line[3:4] == '-'
            out += ('S: ' + line if i == 0 or lines[i - 1][3:4] != '-' else ' | ' + line[4:]) + '\n' * (not goes_on)
    return out


def with_tag(case, tag):
    return tuple(s.replace('~', tag) if isinstance(s, str) else s for s in case)


class Log:
    """What a server logged, without what changes from run to run."""

    def __init__(self, path):
        self.path = path
        self.text = ''

    def read(self):
        self.text = self.path.read_text('utf-8', 'backslashreplace') if self.path.exists() else ''
        return self.text

    def wait(self, addresses, ids):
        """Until the sessions are over and the accepted messages are gone."""
        end = time.monotonic() + 15
        while time.monotonic() < end:
            text = self.read()
            if all(f' disconnect from unknown[{a}]' in text for a in addresses if a != '127.0.0.1') and \
                    all(f' {i}: removed' in text for i in ids):
                return
            time.sleep(0.1)

    def index(self):
        """{address or queue id: [line, ...]}, each without date and process id."""
        self.by = collections.defaultdict(list)
        for line in self.text.splitlines():
            m = re.match(r'\w{3} [ \d]\d [\d:]{8} \S+ postfix/(\S+?)\[\d+\]: (.*)', line)
            text = f'{m[1]}: {m[2]}' if m else f'(not a log line) {line}'
            for key in {*re.findall(r'unknown\[([\d.]+)\]', text), *re.findall(r'^[\w/]+: (\w{8,20}): ', text)}:
                self.by[key].append(text)

    PLAIN = (  # the first row: Postfix 3.10 names the message where 3.7 does not
        (r'(?:NOQUEUE|\w{10,20}): (too many errors|lost connection|timeout) after', r'\1 after'),
        (r'^([\w/]+:(?: warning:)?) \w{8,20}: ', r'\1 QID: '), (r'delay=[\d.]+, delays=[\d./]+', 'delay=N'), (r'size=\d+', 'size=N'),
        (r'conn_use=\d+, ', ''), (r'(\[127\.0\.0\.1\]):\d+', r'\1:PORT'), (r'message-id=<[\w.]+@mx\.', 'message-id=<NEW@mx.'))

    def of(self, address, ids):
        """What concerns one case: the server's lines, then those about its messages, program by program."""
        found = list(self.by[address]) if address != '127.0.0.1' else []
        for i in ids or [m[1] for m in (re.search(r': (\w{8,20}): client=', t) for t in found) if m]:
            found += [t for t in self.by[i] if t not in found]
        order = ('smtpd', 'cleanup', 'qmgr')
        found.sort(key=lambda t: order.index(t.split(':')[0]) if t.split(':')[0] in order else len(order))
        for pattern, to in self.PLAIN:
            found = [re.sub(pattern, to, t) for t in found]
        return ''.join(f'L: {t.replace(address, "CLIENT")}\n' for t in found)


def run(kind, scratch, extra, cases, with_hub):
    """({case name: transcript, with what came to the hub and what was logged about it}, the whole log)"""
    hub = Hub()
    server = kind(scratch, extra, hub.port)
    log = Log(server.dir / 'log')
    tags = {case[0]: f't{i:03}' for i, case in enumerate(cases)}
    try:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            done = dict(pool.map(lambda n, c: (c[0], play(server.port, n, with_tag(c, tags[c[0]]))), range(len(cases)), cases))
        log.wait([address for _, _, address in done.values()], [i for _, ids, _ in done.values() for i in ids])
        log.index()
        answers = {}
        for name, (said, ids, address) in done.items():
            text = transcript(said)
            if with_hub:
                text += hub.of(tags[name]).replace(address, 'CLIENT') or 'H: nothing\n'
            answers[name] = (text + log.of(address, ids)).replace(tags[name], '~')
        return answers, log.text
    finally:
        server.close()
        hub.shutdown()
        hub.server_close()


def understood(log, scratch):
    """What the log's readers make of it; empty without them."""
    peers = pathlib.Path(os.environ.get('PEERS') or TOP / 'build/peers') / 'bin'
    file = scratch / 'mail.log'
    file.write_text(''.join(t for t in log.splitlines(True) if 'after CONNECT' not in t and 'commands=0/0' not in t))
    found = {}
    if (peers / 'pflogsumm').exists():
        out = subprocess.run([peers / 'pflogsumm', '--detail', '0', file], stdout=subprocess.PIPE, text=True).stdout
        found['pflogsumm'] = ''.join(f'{line}\n' for line in 
                                     re.findall(r'^ +\d+ +(?:received|delivered|forwarded|deferred|bounced|rejected|held|discarded|send|recip).*', out, re.M))
    if (peers / 'fail2ban-regex').exists():
        out = subprocess.run([peers / 'fail2ban-regex', file, 'postfix[mode=aggressive]'], stdout=subprocess.PIPE, text=True).stdout
        found['fail2ban'] = ''.join(f'{n} matched\n' for n in re.findall(r'(\d+) matched', out))
    return found


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


def listed(rows, key):
    return any(group in ('*', key[0]) and re.fullmatch(pattern, key[1]) for group, pattern, _ in rows)


def compare(postfix, dogana, verbose):
    """Prints what differs and is not listed; the exit status."""
    count = collections.Counter()
    for key, theirs in postfix.items():
        ours = dogana.get(key, '(nothing)\n')
        if verbose:
            print(f'== {" :: ".join(key)}\n{ours}')
        for pattern, to, _ in LINES:
            theirs, ours = re.sub(pattern, to, theirs), re.sub(pattern, to, ours)
        known = listed(DIFFERENCES, key) and 'on purpose' or listed(NOT_YET, key) and 'not yet'
        if theirs == ours:
            count['stale' if known else 'same'] += 1
            if known:
                print(f'{" :: ".join(key)}: is listed as different {known}, and is not')
        elif known:
            count[known] += 1
        else:
            count['different'] += 1
            print(" :: ".join(key))
            for line in difflib.ndiff(theirs.splitlines(), ours.splitlines()):
                if line[0] in '+- ':
                    print(f'    {line}')
    print(f'compat: {count["same"]} the same, {count["on purpose"]} different on purpose, {count["not yet"]} not yet, '
          f'{count["different"]} different, {count["stale"]} wrongly listed (- Postfix, + Dogana)')
    return 1 if count['different'] or count['stale'] else 0


def main():
    p = argparse.ArgumentParser()
    p.add_argument('--record', action='store_true')
    p.add_argument('--recorded', action='store_true')
    p.add_argument('-k', default='')
    p.add_argument('-v', action='store_true')
    args = p.parse_args()
    postfix, dogana = {}, {}
    recorded = load_recorded() if args.recorded else None
    if not args.recorded and os.getuid() != 0:
        print('compat: Postfix needs root; comparing with its recorded replies')
        recorded = load_recorded()
    logs = {Postfix: '', Dogana: ''}
    scratch = rig.workdir('compat')
    scratch.chmod(0o755)
    deliveries = 'smtpd_recipient_limit = 100\nmessage_size_limit = 200000\n', DELIVERIES
    for number, (group, (extra, cases)) in enumerate([*GROUPS.items(), ('delivered', deliveries)]):
        cases = [c for c in cases if args.k in c[0]]
        (scratch / str(number)).mkdir()
        for kind, answers in ((Postfix, postfix), (Dogana, dogana)):
            if not cases or kind is Dogana and args.record:
                continue
            if kind is Postfix and recorded is not None:
                replies = {c[0]: recorded[group, c[0]] for c in cases}
            else:
                replies, log = run(kind, scratch / str(number), extra, cases, group == 'delivered')
                if group != 'plain':  # there too much is different on purpose
                    logs[kind] += log
            answers.update({(group, name): text for name, text in replies.items()})
    if not args.k:
        for kind, answers in ((Postfix, postfix), (Dogana, dogana)):
            reports = understood(logs[kind], scratch) if logs[kind] else {}
            answers.update({('reports', name): text for name, text in reports.items()})
        if recorded is not None:
            postfix.update({key: text for key, text in recorded.items() if key in dogana and key[0] == 'reports'})
    shutil.rmtree(scratch)
    if args.record:
        save_recorded(postfix)
        print(f'compat: {len(postfix)} cases recorded')
        return 0
    return compare(postfix, dogana, args.v)


if __name__ == '__main__':
    sys.exit(main())
