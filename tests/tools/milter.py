#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""A milter that does what it is told, for the dialogues and for comparisons. It speaks the wire protocol itself, so that it can also
speak it wrongly.

    milter.py PORT|PATH [log=FILE] [version=N] [actions=HEX] [steps=HEX] [symlist=STAGE:NAMES] [STAGE[@SENDER][:PART]=ACTION]...

A rule applies to an event of STAGE (negotiate connect helo mail rcpt data unknown header eoh body eom abort quit), when its text
contains PART and the sender's local part is SENDER. All rules that apply are done in order; without an answer among them it is
`continue'. In PART and ACTION `~' is a blank, and \\n, \\r, \\0, \\xNN, \\: are what they are in C. ACTION:

    continue accept reject tempfail discard skip connfail shutdown progress reply:TEXT
    addheader:NAME:VALUE insheader:N:NAME:VALUE chgheader:N:NAME:VALUE addrcpt:ADDR[:ARGS] delrcpt:ADDR from:ADDR[:ARGS]
    body:TEXT body*N:TEXT quarantine:TEXT; addrcpt, delrcpt and quarantine also with *N, %d is the number then
    none (no answer) hang close rst code:X (an answer nobody knows) length:N (a frame of that announced length) twice
    slow (the answer octet by octet) wait:MS

What it heard goes to FILE, one line per event: number of the connection, stage, text, macros in {}. Says "ready" when it listens.
"""

import functools
import re
import socket
import struct
import sys
import threading
import time

from serving import serve_for_ever

STAGES = {'C': 'connect', 'H': 'helo', 'M': 'mail', 'R': 'rcpt', 'T': 'data', 'L': 'header', 'N': 'eoh', 'B': 'body', 'E': 'eom',
          'A': 'abort', 'Q': 'quit', 'K': 'quit', 'U': 'unknown', 'O': 'negotiate'}
ANSWERS = {'continue': b'c', 'accept': b'a', 'reject': b'r', 'tempfail': b't', 'discard': b'd', 'skip': b's', 'connfail': b'f', 'shutdown': b'4'}
ALL_ACTIONS = 0x1ff
NO_ANSWER = {'header': 1 << 7, 'connect': 1 << 12, 'helo': 1 << 13, 'mail': 1 << 14, 'rcpt': 1 << 15, 'data': 1 << 16, 'unknown': 1 << 17,
             'eoh': 1 << 18, 'body': 1 << 19}


def unescape(text):
    text = text.replace('~', ' ').encode('utf-8')
    table = {b'n': b'\n', b'r': b'\r', b't': b'\t', b'0': b'\0', b'\\': b'\\', b':': b':'}
    return re.sub(rb'\\(x[0-9a-fA-F]{2}|.)', lambda m: bytes([int(m.group(1)[1:], 16)]) if m.group(1)[:1] == b'x' and len(m.group(1)) == 3
                  else table.get(m.group(1), m.group(1)), text)


def parts(text, n):
    """Cut at unescaped colons, into at most n."""
    return [unescape(p) for p in re.split(r'(?<!\\):', text, maxsplit=n - 1)]


class Rules:
    def __init__(self, words):
        self.options = {'version': '6', 'actions': None, 'steps': '0'}
        self.rules = []
        self.symlists = []
        self.log = None
        for word in words:
            name, _, value = word.partition('=')
            if name == 'log':
                self.log = open(value, 'a', buffering=1, encoding='utf-8', errors='backslashreplace')
            elif name == 'symlist':
                self.symlists.append(value)
            elif name in self.options:
                self.options[name] = value
            else:
                m = re.match(r'(\w+)(?:@([^:=]*))?(?::((?:\\=|[^=])*))?=(.*)$', word, re.S)
                self.rules.append((m.group(1), m.group(2), unescape(m.group(3) or ''), m.group(4)))
        self.lock = threading.Lock()

    def say(self, line):
        if self.log:
            with self.lock:
                self.log.write(line + '\n')

    def find(self, stage, sender, text):
        return [a for s, who, part, a in self.rules if s == stage and (who is None or who == sender) and part in text]


class Gone(Exception):
    pass


class Connection:
    def __init__(self, rules, sock, number):
        self.rules, self.sock, self.number = rules, sock, number
        self.sender, self.macros, self.steps = '', '', 0
        self.slow = False

    def take(self, n):
        data = b''
        while len(data) < n:
            got = self.sock.recv(n - len(data))
            if not got:
                raise Gone
            data += got
        return data

    def put(self, code, data=b''):
        raw = struct.pack('>I', len(data) + 1) + code + data
        if self.slow:
            for i in range(len(raw)):
                self.sock.sendall(raw[i:i + 1])
                time.sleep(0.002)
        else:
            self.sock.sendall(raw)

    def text(self, code, data):
        if code == 'C':
            name, _, rest = data.partition(b'\0')
            if rest[:1] in (b'4', b'6', b'L'):
                return b'%s %s %d %s' % (name, rest[:1], struct.unpack('>H', rest[1:3])[0], rest[3:].rstrip(b'\0'))
            return name + b' ' + rest
        if code == 'B':
            return b'%d %s' % (len(data), data[:60])
        return data.rstrip(b'\0').replace(b'\0', b' ')

    def modify(self, verb, rest):
        name, _, times = verb.partition('*')
        if name == 'body':
            data = unescape(rest) * int(times or 1)
            for i in range(0, max(len(data), 1), 65535):
                self.put(b'b', data[i:i + 65535])
        elif name == 'addheader':
            self.put(b'h', b'\0'.join(parts(rest, 2)) + b'\0')
        elif name in ('insheader', 'chgheader'):
            n, header, value = parts(rest, 3)
            self.put(b'i' if name == 'insheader' else b'm', struct.pack('>I', int(n) & 0xffffffff) + header + b'\0' + value + b'\0')
        elif times and name in ('addrcpt', 'delrcpt', 'quarantine'):
            code = {'addrcpt': b'+', 'delrcpt': b'-', 'quarantine': b'q'}[name]
            text = unescape(rest)
            self.sock.sendall(b''.join(struct.pack('>I', len(d) + 1) + code + d for d in (text.replace(b'%d', b'%d' % i) + b'\0' for i in range(int(times)))))
        elif name == 'addrcpt':
            p = parts(rest, 2)
            self.put(b'+' if len(p) == 1 else b'2', b'\0'.join(p) + b'\0')
        elif name == 'delrcpt':
            self.put(b'-', unescape(rest) + b'\0')
        elif name == 'from':
            self.put(b'e', b'\0'.join(parts(rest, 2)) + b'\0')
        elif name == 'quarantine':
            self.put(b'q', unescape(rest) + b'\0')
        else:
            return False
        return True

    def act(self, action):
        """True: that was an answer."""
        verb, _, rest = action.partition(':')
        if verb in ANSWERS:
            self.put(ANSWERS[verb])
            return True
        if verb == 'reply':
            self.put(b'y', unescape(rest) + b'\0')
            return True
        if self.modify(verb, rest):
            return False
        if verb == 'progress':
            self.put(b'p')
        elif verb == 'slow':
            self.slow = True
        elif verb == 'wait':
            time.sleep(int(rest) / 1000)
        elif verb == 'none':
            return True
        elif verb == 'hang':
            time.sleep(3600)
        elif verb == 'close':
            raise Gone
        elif verb == 'rst':
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
            raise Gone
        elif verb == 'code':
            self.put(unescape(rest))
            return True
        elif verb == 'length':
            self.sock.sendall(struct.pack('>I', int(rest) & 0xffffffff) + b'c')
            return True
        elif verb == 'twice':
            self.put(b'c')
            self.put(b'c')
            return True
        else:
            raise SystemExit(f'milter.py: what is {action}?')
        return False

    def negotiate(self, data):
        version, actions, steps = struct.unpack('>III', data[:12])
        o = self.rules.options
        self.rules.say(f'{self.number} negotiate {version} {actions:x} {steps:x}')
        for action in self.rules.find('negotiate', '', b''):
            if self.act(action):
                return
        self.steps = int(o['steps'], 16)
        symlists = b''
        for s in self.rules.symlists:
            stage, _, names = s.partition(':')
            symlists += struct.pack('>I', int(stage)) + unescape(names) + b'\0'
        wanted = int(o['actions'], 16) if o['actions'] else ALL_ACTIONS & actions
        self.put(b'O', struct.pack('>III', int(o['version']), wanted, self.steps) + symlists)

    def event(self, code, data, silent=False):
        if code == 'E' and data:  # as libmilter reads the last piece of a body
            macros, self.macros = self.macros, ''
            if self.event('B', data, silent=True):
                return True
            data, self.macros = b'', macros
        stage, text = STAGES[code], self.text(code, data)
        if code == 'M':
            self.sender = data.partition(b'\0')[0].strip(b'<>').partition(b'@')[0].decode('utf-8', 'replace')
        self.rules.say(f'{self.number} {stage} {text.decode("utf-8", "backslashreplace")}{self.macros}'.replace('\n', '\\n').replace('\r', '\\r'))
        self.macros = ''
        answered = False
        for action in self.rules.find(stage, self.sender, text):
            answered = self.act(action) or answered
        silent = silent or code in 'AQK' or self.steps & NO_ANSWER.get(stage, 0)
        if not answered and not silent:
            self.put(b'c')
        if code == 'Q':
            raise Gone
        return answered

    def serve(self):
        while True:
            n = struct.unpack('>I', self.take(4))[0]
            code = self.take(1).decode('latin-1')
            data = self.take(n - 1)
            if code == 'O':
                self.negotiate(data)
            elif code == 'D':
                words = data[1:].split(b'\0')[:-1]
                self.macros += ''.join(f' {{{k.decode("latin-1")}={v.decode("utf-8", "backslashreplace")}}}' for k, v in zip(words[::2], words[1::2]))
            else:
                self.event(code, data)


def serve(rules, sock, number):
    try:
        Connection(rules, sock, number).serve()
    except (Gone, OSError):
        pass
    rules.say(f'{number} closed')
    sock.close()


def main():
    place, rules = sys.argv[1], Rules(sys.argv[2:])
    serve_for_ever(place, functools.partial(serve, rules))


if __name__ == '__main__':
    main()
