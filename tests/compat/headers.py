#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The header of a message through Debian's Postfix and through Dogana with the same configuration: what arrives
at a hub behind them is compared byte by byte.

    headers.py [-k CONFIG] [--corpus DIR] [--random N] [--seed N] [--show] [--postfix]
    headers.py --alone [--corpus DIR]

Sent are the headers of header_cases.py, --random made-up address headers, and every *.eml below --corpus ($CORPUS, default
../shared/corpora/mail). --show prints what arrived; --postfix asks only Postfix. header_cases.py lists what differs on purpose.
--alone: without Postfix; real mail from a stranger must arrive octet for octet, but for our Received and message_drop_headers.
Exit status 1 if anything else differs or a listed difference is gone; 77 where Postfix cannot run.
"""

import argparse
import concurrent.futures
import difflib
import os
import pathlib
import random
import re
import shutil
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import compat  # noqa: E402
import rig  # noqa: E402
from header_cases import CONFIGS, DIFFERENCES, HEADERS, made_up  # noqa: E402

TOP = pathlib.Path(__file__).resolve().parents[2]
LOCAL, REMOTE = '127.0.0.1', '127.1.2.3'


def session(port, source, messages):
    """Sends [(number, content)] in one session; {number: reply to the final dot}."""
    c = compat.Client(port, source)
    c.sock.settimeout(30)
    c.reply()
    replies = {}

    def say(data):
        c.send(data)
        return c.reply()[-1]
    say(b'EHLO client.example\r\n')
    for number, content in messages:
        said = [say(b'MAIL FROM:<user@host.example.com> BODY=8BITMIME\r\n'), say(b'RCPT TO:<t%05d@any.example>\r\n' % number), say(b'DATA\r\n')]
        if not said[-1].startswith('354'):
            replies[number] = ' / '.join(said)
            say(b'RSET\r\n')
            continue
        lines = re.sub(rb'(?m)^\.', b'..', content)
        reply = say(lines + b'.\r\n')
        replies[number] = re.sub(r'queued as \S+', 'queued as QID', reply)
    say(b'QUIT\r\n')
    return replies


class OldHub(compat.Hub):
    """Offers no 8BITMIME."""

    class Handler(compat.Hub.Handler):
        def handle(self):
            write = self.wfile.write
            self.wfile.write = lambda data: write(data.replace(b'250-8BITMIME\r\n250-SMTPUTF8\r\n', b''))
            super().handle()


def through(kind, scratch, extra, source, messages, hub=None):
    """{number: what became of it}"""
    hub = hub or compat.Hub()
    hub.request_queue_size = 100
    server = kind(scratch, extra, hub.port)
    try:
        parts = [messages[i::4] for i in range(4)]
        replies = {}
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            for part in pool.map(lambda p: session(server.port, source, p), parts):
                replies.update(part)
        wanted = sum(r.startswith('250') for r in replies.values())
        end = time.monotonic() + 60
        while len(hub.transactions) < wanted and time.monotonic() < end:
            time.sleep(0.05)
        arrived = {}
        for envelope, content in list(hub.transactions):
            rcpt = next((re.search(r't(\d{5})', line) for line in envelope if re.search(r't(\d{5})', line)), None)
            mail = next((line for line in envelope if line.upper().startswith('MAIL')), '')
            if rcpt:
                arrived[int(rcpt[1])] = re.sub(r' .*', '', mail[5:]) + '\n' + plain(content)
        return {n: arrived.get(n, '(nothing)\n') if r.startswith('250') else r + '\n' for n, r in replies.items()}
    finally:
        server.close()
        hub.shutdown()
        hub.server_close()


def plain(content):
    """As text, without our Received header and what changes from run to run; bodies are only compared."""
    text = re.sub(rb'(?m)^\.\.', b'.', b''.join(content))
    text = re.sub(rb'\AReceived: .*\r\n(?:[ \t].*\r\n)*', b'', text)
    text = re.sub(rb'(?m)^((?:Resent-)?Date: )\w{3}, +\d+ \w{3} 20[2-9]\d [\d:]{8} [-+]\d{4} \(\w+\)(?=\r$)', rb'\1NOW', text)
    text = re.sub(rb'(?m)^((?:Resent-)?Message-Id: )<[\w.]+@mx\.', rb'\1<NEW@mx.', text)
    return text.decode('latin-1').replace('\r\n', '\n')


def corpus(folder):
    """[(name, content with CRLF)] of the *.eml below it."""
    found = []
    for f in sorted(pathlib.Path(folder).rglob('*.eml')):
        data = re.sub(rb'\r?\n', b'\r\n', f.read_bytes())
        found.append((f'corpus {f.parent.name}/{f.name}', data if data.endswith(b'\r\n') else data + b'\r\n'))
    return found


DROPPED = re.compile(rb'(bcc|content-length|resent-bcc|return-path)[ \t]*:', re.I)


def untouched(data):
    """What must arrive of a message from a stranger."""
    if not re.match(rb'[!-9;-~]+[ \t]*:', data):
        return b'\r\n' + data  # it has no header
    head, blank, body = data.partition(b'\r\n\r\n')
    fields = re.split(rb'(?<=\r\n)(?![ \t])', head + b'\r\n')
    kept = b''.join(re.sub(rb'\A([!-9;-~]+)[ \t]+:', rb'\1:', f) for f in fields if not DROPPED.match(f))
    return (kept + (b'\r\n' if blank else b'') + body).replace(b'\0', b' ')


def alone(folder):
    contents = corpus(folder) + corpus(TOP / 'tests/demo/mail')
    scratch = rig.workdir('headers')
    scratch.chmod(0o755)
    extra = 'message_size_limit = 50000000\nhopcount_limit = 100\nsmtp_line_length_limit = 0\nlocal_header_rewrite_clients =\n'
    arrived = through(compat.Dogana, scratch, extra, REMOTE, list(enumerate(data for _, data in contents)))
    shutil.rmtree(scratch)
    bad = 0
    for number, (name, data) in enumerate(contents):
        want = 'FROM:<user@host.example.com>\n' + plain([b'Received: x\r\n', re.sub(rb'(?m)^\.', b'..', untouched(data))])
        if arrived[number] != want:
            bad += 1
            print(name)
            for line in list(difflib.unified_diff(shown(want), shown(arrived[number]), lineterm='', n=0))[:20]:
                print(f'    {line[:300]}')
    print(f'headers: {len(contents) - bad} arrived as they were sent, {bad} did not')
    return 1 if bad else 0


def shown(text):
    return [repr(line)[1:-1] for line in text.split('\n')]


def main():
    p = argparse.ArgumentParser()
    p.add_argument('-k', default='')
    p.add_argument('--corpus', default=os.environ.get('CORPUS') or TOP.parent / 'shared/corpora/mail')
    p.add_argument('--random', type=int, default=300)
    p.add_argument('--seed', type=int, default=1)
    p.add_argument('--show', action='store_true')
    p.add_argument('--postfix', action='store_true')
    p.add_argument('--alone', action='store_true')
    args = p.parse_args()
    if args.alone:
        return alone(args.corpus)
    if os.getuid() != 0:
        print('headers: skipped: Postfix needs root')
        return 77
    contents = [(name, head + b'\r\ntext\r\n' if b'\r\n\r\n' not in head else head) for name, head in HEADERS]
    rnd = random.Random(args.seed)
    contents += [(f'random {args.seed}/{i}', made_up(rnd) + b'\r\ntext\r\n') for i in range(args.random)]
    contents += corpus(args.corpus)
    messages = list(enumerate(data for _, data in contents))
    same = listed = 0
    bad, used = [], set()
    for config, (where, extra) in CONFIGS.items():
        if args.k not in config:
            continue
        scratch = rig.workdir('headers')
        scratch.chmod(0o755)
        extra = 'message_size_limit = 50000000\nhopcount_limit = 100\nsmtpd_recipient_limit = 100\n' + extra
        source = LOCAL if where == 'local' else REMOTE
        is_old = config.startswith('hub without')
        theirs = through(compat.Postfix, scratch, extra, source, messages, OldHub() if is_old else None)
        ours = theirs if args.postfix else through(compat.Dogana, scratch, extra, source, messages, OldHub() if is_old else None)
        shutil.rmtree(scratch)
        for number, (name, data) in enumerate(contents):
            if is_old and data.isascii():
                continue  # ours stays as it is, whatever it says
            key = f'{config}: {name}'
            if args.show and not name.startswith('corpus'):
                print(f'== {key}', *shown(ours[number].rpartition('\ntext')[0]), sep='\n    ')
            row = next((i for i, (pattern, _) in enumerate(DIFFERENCES) if re.fullmatch(pattern, key)), None)
            if theirs[number] == ours[number]:
                same += 1
            elif row is not None:
                listed += 1
                used.add(row)
            else:
                bad.append(key)
                print(key)
                for line in difflib.unified_diff(shown(theirs[number]), shown(ours[number]), lineterm='', n=0):
                    if line[:2] not in ('--', '++', '@@'):
                        print(f'    {line[:400]}')
    stale = [] if args.k or args.postfix else [row for i, (row, _) in enumerate(DIFFERENCES) if i not in used and 'corpus' not in row]
    for row in stale:
        print(f'{row}: is listed as different, and is not')
    print(f'headers: {same} the same, {listed} different on purpose, {len(bad)} different, {len(stale)} wrongly listed (- Postfix, + Dogana)')
    return 1 if bad or stale else 0


if __name__ == '__main__':
    sys.exit(main())
