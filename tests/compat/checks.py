#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""header_checks, body_checks and their kin through Debian's Postfix and through Dogana: the same tables, the same messages. Compared are the
replies, what arrives at a hub behind them, octet for octet, and what cleanup and smtp log about a message.

    checks.py [-k CONFIG] [--corpus DIR] [--random N] [--seed N] [--show NAME]

Sent are the messages of check_cases.py, --random made-up ones (MIME of all sorts, sound and broken), and every *.eml below --corpus
($CORPUS, default ../shared/corpora/mail). check_cases.py lists what differs on purpose. Exit status 1 if anything else differs or
a listed difference is gone; 77 where Postfix cannot run.
"""

import argparse
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
import headers  # noqa: E402
import rig  # noqa: E402
from check_cases import (CONFIGS, DIFFERENCES, ENVELOPE_CONFIGS, ENVELOPE_TABLES, ENVELOPE_USE, ENVELOPES, MESSAGES,  # noqa: E402
                         made_up, unended)

TOP = pathlib.Path(__file__).resolve().parents[2]
ACTIONS = r'(?:reject|warning|info|filter|pass|discard|hold|prepend|replace|redirect|bcc|strip)'
LINE = re.compile(r' postfix/(?:\w+/)?(cleanup|smtp|lmtp)\[\d+\]: (?:(\w{10,20}): (' + ACTIONS + r': (?:header|body|content|mime-error) .*)|(warning: .*(?:map|action|command).*))')


def logged(path):
    """{queue id: [line]}, warnings under ''."""
    found = {}
    for line in path.read_text('utf-8', 'backslashreplace').splitlines():
        m = LINE.search(line)
        if m:
            text = m[3] or m[4]
            # our own Received header: when and where
            text = re.sub(r'(?:by|id) \S+ \(Mail\).*?from ', 'HERE from ', text)
            text = re.sub(r'\w{3}, +\d+ \w{3} 20\d\d.*?from ', 'NOW from ', text)
            found.setdefault(m[2] or '', []).append(f'{m[1]}: {text}')
    return found


class Kept:
    """The server's log, read before it goes."""

    def __init__(self, kind):
        self.kind, self.log, self.ids = kind, {}, {}

    def __call__(self, *args):
        server = self.kind(*args)
        close = server.close

        def closing():
            time.sleep(0.3)
            log = server.dir / 'log'
            self.log = logged(log)
            for m in re.finditer(r' (\w{10,20}): (?:.* )?to=<t(\d{5})@', log.read_text('utf-8', 'backslashreplace')):
                self.ids[int(m[2])] = m[1]
            for m in re.finditer(r' postfix/cleanup\[\d+\]: (\w{10,20}): .*? from=<[^>]*> to=<t(\d{5})@', log.read_text('utf-8', 'backslashreplace')):
                self.ids[int(m[2])] = m[1]
            close()
        server.close = closing
        return server

    def of(self, number):
        return self.log.get(self.ids.get(number), [])


def both(scratch, extra, messages):
    """[{number: text}] of Postfix and Dogana"""
    results = []
    for kind in (compat.Postfix, compat.Dogana):
        kept = Kept(kind)
        came = headers.through(kept, scratch, extra, headers.REMOTE, messages)
        results.append({n: ''.join(f'L: {line}\n' for line in kept.of(n)) + came[n] for n in came})
        results[-1][-1] = ''.join(f'{line}\n' for line in sorted(set(kept.log.get('', []))))
    return results


def envelopes(kind, hub_kind, scratch, extra):
    """{name: MAIL and RCPT lines, content}"""
    hub = hub_kind()
    server = kind(scratch, extra, hub.port)
    try:
        c = compat.Client(server.port, headers.REMOTE)
        c.reply()
        wanted = 0
        for number, (_, declared, content) in enumerate(ENVELOPES):
            for said in (b'EHLO client.example\r\n', b'MAIL FROM:<s%03d@host.example.com>%s\r\n' % (number, declared.encode()),
                         b'RCPT TO:<rcpt@any.example>\r\n', b'DATA\r\n', content + b'.\r\n'):
                c.send(said)
                reply = c.reply()[-1]
            wanted += reply.startswith('250')
        end = time.monotonic() + 30
        while len(hub.transactions) < wanted and time.monotonic() < end:
            time.sleep(0.05)
        out = {}
        for envelope, content in list(hub.transactions):
            words = sorted(' '.join(sorted(re.sub(r'SIZE=\d+', '', line).split())) for line in envelope)
            body = re.sub(r'(?m)^(Date|Message-Id|From):.*\n', '', headers.plain(content))
            out[ENVELOPES[int(re.search(r's(\d{3})@', envelope[0])[1])][0]] = '\n'.join(words) + '\n' + body
        return out
    finally:
        server.close()
        hub.shutdown()
        hub.server_close()


class Tally:
    """What was compared."""

    def __init__(self, show):
        self.show, self.same, self.listed, self.bad, self.used = show, 0, 0, [], set()

    def compare(self, key, theirs, ours):
        if self.show and self.show in key:
            print(f'== {key}', *headers.shown(theirs), '-- ours', *headers.shown(ours), sep='\n    ')
        row = next((i for i, (pattern, _) in enumerate(DIFFERENCES) if re.fullmatch(pattern, key)), None)
        if theirs == ours:
            self.same += 1
        elif row is not None:
            self.listed += 1
            self.used.add(row)
        else:
            self.bad.append(key)
            print(key)
            for line in list(difflib.unified_diff(headers.shown(theirs), headers.shown(ours), lineterm='', n=0))[:30]:
                if line[:2] not in ('--', '++', '@@'):
                    print(f'    {line[:400]}', flush=True)


def with_tables(tables, extra):
    """(scratch directory, settings)"""
    scratch = rig.workdir('checks')
    scratch.chmod(0o755)
    for name, text in tables.items():
        (scratch / name).write_text(text)
    return scratch, extra.replace('$TABLES', str(scratch))


def main():
    p = argparse.ArgumentParser()
    p.add_argument('-k', default='')
    p.add_argument('--corpus', default=os.environ.get('CORPUS') or TOP.parent / 'shared/corpora/mail')
    p.add_argument('--random', type=int, default=200)
    p.add_argument('--seed', type=int, default=1)
    p.add_argument('--show', default='')
    args = p.parse_args()
    if os.getuid() != 0:
        print('checks: skipped: Postfix needs root')
        return 77
    contents = list(MESSAGES)
    rnd = random.Random(args.seed)
    contents += [(f'random {args.seed}/{i}' + ' unended' * unended(data), data) for i, data in enumerate([made_up(rnd) for _ in range(args.random)])]
    contents += headers.corpus(args.corpus)
    messages = list(enumerate(data for _, data in contents))
    names = [name for name, _ in contents]
    tally = Tally(args.show)
    for config, (tables, extra) in CONFIGS.items():
        if args.k not in config:
            continue
        scratch, settings = with_tables(tables, 'message_size_limit = 50000000\nhopcount_limit = 100\nsmtp_line_length_limit = 0\n' + extra)
        theirs, ours = both(scratch, settings, messages)
        shutil.rmtree(scratch)
        for number in theirs:
            tally.compare(f'{config}: {names[number] if number >= 0 else "warnings"}', theirs[number], ours[number])
    for config, extra in ENVELOPE_CONFIGS.items():
        if args.k not in config:
            continue
        scratch, settings = with_tables(ENVELOPE_TABLES, ENVELOPE_USE + extra)
        theirs, ours = [envelopes(kind, headers.OldHub if 'old' in config else compat.Hub, scratch, settings) for kind in (compat.Postfix, compat.Dogana)]
        shutil.rmtree(scratch)
        for name, _, _ in ENVELOPES:
            tally.compare(f'{config}: {name}', theirs.get(name, '(nothing)'), ours.get(name, '(nothing)'))
    stale = [] if args.k or args.random < 200 else [row for i, (row, _) in enumerate(DIFFERENCES) if i not in tally.used and 'corpus' not in row]
    for row in stale:
        print(f'{row}: is listed as different, and is not')
    print(f'checks: {tally.same} the same, {tally.listed} different on purpose, {len(tally.bad)} different, {len(stale)} wrongly listed (- Postfix, + Dogana)')
    return 1 if tally.bad or stale else 0


if __name__ == '__main__':
    sys.exit(main())
