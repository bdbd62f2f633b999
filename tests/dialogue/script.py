# SPDX-License-Identifier: BSD-2-Clause
"""Reading *.dlg files. The grammar stands in README.md beside this file."""

import re


class Bad(Exception):
    pass


class Step:
    """One line of a script. kind: send raw expect eof close rst fin connect, or the first word of a check."""

    def __init__(self, line, kind, client=None, **more):
        self.line, self.kind, self.client = line, kind, client
        self.data = more.get('data', b'')
        self.want = more.get('want')      # for expect: [(codes, text or None, regex or None)]
        self.words = more.get('words', '')
        self.final = False                # sending this completes a message

    def __repr__(self):
        return f'line {self.line}: {self.kind} {self.data[:60]!r}{self.words}'


ESCAPE = re.compile(rb'\\(x[0-9A-Fa-f]{2}|[rnt0\\])')
REPEAT = re.compile(r'\{\{(.*?)\*(\d+)\}\}')


def unescape(text):
    """C escapes and {{text*N}} repetition; the rest is UTF-8."""
    text = REPEAT.sub(lambda m: m.group(1) * int(m.group(2)), text)
    table = {b'r': b'\r', b'n': b'\n', b't': b'\t', b'0': b'\0', b'\\': b'\\'}
    return ESCAPE.sub(lambda m: table.get(m.group(1)) or bytes([int(m.group(1)[1:], 16)]), text.encode())


def parse_expect(text, line):
    """`250 2.1.5 Ok | 354`: each: code or code|code... a text to be equal, with ... at the end a beginning, or /regex/."""
    out = []
    for part in re.split(r' \| ', text.strip()):
        m = re.match(r'(\d[\dx]{2}(?:/\d[\dx]{2})*)(?: +(.*))?$', part.strip())
        if not m:
            raise Bad(f'line {line}: not an expectation: {part}')
        codes, rest = m.group(1).split('/'), m.group(2)
        regex = None
        if rest and rest.startswith('/') and rest.endswith('/') and len(rest) > 1:
            regex, rest = re.compile(rest[1:-1]), None
        out.append((codes, rest, regex))
    return out


HEAD = ('conf', 'master', 'file', 'dns', 'group', 'modes', 'tool', 'sql', 'certs', 'slow', 'together')
CHECKS = ('hub', 'msg', 'queue', 'log', 'nolog', 'metric', 'run', 'together', 'as', 'out', 'write', 'inplace', 'touch', 'remove', 'canary', 'kill', 'restart', 'idle', 'clock', 'sql', 'tool',
          'heard', 'asked', 'answer', 'forget', 'resolver', 'copy')


class Script:
    def __init__(self, path):
        self.path = path
        self.name = path.stem
        self.title = ''
        self.conf, self.master, self.files, self.dns = [], [], {}, []
        self.tools, self.sql, self.slow = [], [], []
        self.group = ''
        self.modes = None                 # None: all that fit
        self.certs = self.together = False
        self.steps = []
        self.clients = set()
        for number, line in enumerate(path.read_text().splitlines(), 1):
            try:
                self.read(number, line.rstrip())
            except (ValueError, IndexError) as e:
                raise Bad(f'{path.name}:{number}: {e}')

    def read(self, n, line):
        if not line.strip():
            return
        if line.startswith('#'):
            if not self.title:
                self.title = line.lstrip('# ')
            return
        word, _, rest = line.strip().partition(' ')
        rest = rest.strip()
        if word in HEAD and not (self.steps and word in CHECKS):
            self.head(n, word, rest)
            return
        client = 'c'
        m = re.match(r'(c\d+)\s+(.*)$', line.strip())
        if m:
            client, line = m.group(1), m.group(2)
            word, _, rest = line.strip().partition(' ')
        self.step(n, client, word, rest if word not in ('>', '>>') else line.strip()[len(word) + 1:])

    def head(self, n, word, rest):
        if self.steps and word != 'dns':
            raise Bad(f'{self.path.name}:{n}: `{word}\' must stand before the first step')
        if word == 'conf':
            self.conf.append(rest)
        elif word == 'master':
            self.master.append(rest)
        elif word == 'file':
            name, _, text = rest.partition(' ')
            self.files.setdefault(name, []).append(REPEAT.sub(lambda m: m.group(1) * int(m.group(2)), text))
        elif word == 'dns':
            self.dns.append(REPEAT.sub(lambda m: m.group(1) * int(m.group(2)), rest).split(None, 2))
        elif word == 'tool':              # tool NAME PROGRAM ARGS: tests/tools/PROGRAM beside the gateway, $NAME is a free port
            self.tools.append(rest.split(None, 2))
        elif word == 'sql':               # sql FILE STATEMENT: an SQLite database $WORK/FILE
            self.sql.append(rest.split(None, 1))
        elif word == 'slow':              # slow NAME SECONDS: the bundled filter NAME begins so much later
            self.slow.append(rest.split())
        elif word == 'certs':             # $CERTS: what tests/tools/certs.sh makes
            self.certs = True
        elif word == 'together':          # its cut points wait, and have nothing to do with each other: many at the same time
            self.together = True
        elif word == 'group':
            self.group = rest
        elif word == 'modes':
            self.modes = rest.split()

    def add(self, n, kind, client=None, **more):
        if client and client not in self.clients and kind != 'connect':
            self.steps.append(Step(n, 'connect', client))
            self.steps.append(Step(n, 'expect', client, want=parse_expect('220', n)))
            self.clients.add(client)
        if client:
            self.clients.add(client)
        step = Step(n, kind, client, **more)
        if kind == 'expect' and any(r and 'queued as' in r.pattern or t and 'queued as' in t for c, r, t in
                                    [(c, rx, tx or '') for c, tx, rx in step.want]):
            for s in reversed(self.steps):
                if s.client == client and s.kind in ('send', 'raw'):
                    s.final = True
                    break
        self.steps.append(step)

    def step(self, n, client, word, rest):
        if word in ('>', '>>'):
            text, arrow, want = rest.partition(' => ')
            self.add(n, 'send' if word == '>' else 'raw', client, data=unescape(text) + (b'\r\n' if word == '>' else b''))
            if arrow:
                self.add(n, 'expect', client, want=parse_expect(want, n))
        elif word == '<':
            self.add(n, 'expect', client, want=parse_expect(rest, n))
        elif word == '<eof':
            self.add(n, 'eof', client)
        elif word in ('close', 'rst', 'fin'):
            self.add(n, word, client)
        elif word == 'connect':
            self.add(n, 'connect', client, words=rest)
        elif word == 'tls':               # tls [sni=N] [cert=N] [max=V] [alpn=A] [resume=CLIENT] [=> fails [/RE/] | name=value...]
            self.add(n, 'tls', client, words=rest)
        elif word == 'pour':              # pour 20000000 a: until the gateway has had enough, then it closes
            self.add(n, 'pour', client, words=rest)
        elif word == 'do':                # do 20 NOOP => 250
            count, _, rest = rest.partition(' ')
            text, _, want = rest.partition(' => ')
            for i in range(int(count)):
                self.add(n, 'send', client, data=unescape(text.replace('{i}', str(i))) + b'\r\n')
                self.add(n, 'expect', client, want=parse_expect(want, n))
        elif word == 'send':              # send [from=A] [to=B,C] [via=IP] [body=TEXT] [=> EXPECT]
            self.message(n, client, rest)
        elif word == 'rcpt':              # rcpt [from=A] [to=B] [via=IP] [helo=H] => EXPECT
            self.recipient(n, client, rest)
        elif word in CHECKS:
            self.add(n, word, words=rest)
        else:
            raise Bad(f'{self.path.name}:{n}: what is `{word}\'?')

    def message(self, n, client, rest):
        rest, _, want = rest.partition(' => ')
        opts = dict(re.findall(r'(\w+)=(\S*)', rest))
        client = f'{client}s{n}'
        self.add(n, 'connect', client, words=f'from {opts["via"]}' if 'via' in opts else '')
        for text, expect in [(None, '220'), ('EHLO client.test', '250'), (f'MAIL FROM:<{opts.get("from", "a@local.test")}>', '250')] + \
                [(f'RCPT TO:<{to}>', '250') for to in opts.get('to', 'b@local.test').split(',')] + [('DATA', '354')]:
            if text:
                self.add(n, 'send', client, data=unescape(text) + b'\r\n')
            self.add(n, 'expect', client, want=parse_expect(expect, n))
        body = unescape(opts.get('body', f'Subject:\\x20{self.name}\\r\\n\\r\\nline\\x20{n}'))
        self.add(n, 'raw', client, data=body + b'\r\n.\r\n')
        self.add(n, 'expect', client, want=parse_expect(want or '250 /queued as/', n))
        self.add(n, 'send', client, data=b'QUIT\r\n')
        self.add(n, 'expect', client, want=parse_expect('221', n))
        self.add(n, 'close', client)

    def recipient(self, n, client, rest):
        """A session as far as RCPT: what does the policy say?"""
        rest, _, want = rest.partition(' => ')
        opts = dict(re.findall(r'(\w+)=(\S*)', rest))
        client = f'{client}s{n}'
        self.add(n, 'connect', client, words=f'from {opts["via"]}' if 'via' in opts else '')
        for text, expect in [(None, '220'), (f'EHLO {opts.get("helo", "client.test")}', '250'), (f'MAIL FROM:<{opts.get("from", "a@local.test")}>', '250'),
                             (f'RCPT TO:<{opts.get("to", "b@local.test")}>', want), ('QUIT', '221')]:
            if text:
                self.add(n, 'send', client, data=unescape(text) + b'\r\n')
            self.add(n, 'expect', client, want=parse_expect(expect, n))
        self.add(n, 'close', client)

    def key(self):
        """Scripts with the same key can share a gateway."""
        return (self.group, tuple(self.conf), tuple(self.master), tuple((k, tuple(v)) for k, v in self.files.items()),
                tuple(map(tuple, self.tools)), tuple(map(tuple, self.sql)))

    def variant_whole(self):
        """The steps with what may be pipelined sent in one write; None when nothing is."""
        out, joined, i, esmtp = [], False, 0, set()
        steps = self.steps
        while i < len(steps):
            s = steps[i]
            if s.kind == 'send' and s.data[:5].upper() == b'EHLO ':
                esmtp.add(s.client)
            group, j = [], i
            while j + 1 < len(steps) and steps[j].kind == 'send' and steps[j].client == s.client in esmtp and \
                    steps[j + 1].kind == 'expect' and len(steps[j + 1].want) == 1:
                verb = steps[j].data[:5].upper().rstrip()
                if verb not in (b'MAIL', b'RCPT', b'RSET', b'DATA') or len(steps[j].data) > 400 or b'\n' in steps[j].data[:-1]:
                    break
                group.append((steps[j], steps[j + 1]))
                j += 2
                if verb == b'DATA':
                    break
            if len(group) > 1:
                merged = Step(s.line, 'raw', s.client, data=b''.join(a.data for a, _ in group))
                out.append(merged)
                out += [b for _, b in group]
                joined = True
                i = j
            else:
                out.append(s)
                i += 1
        return out if joined else None
