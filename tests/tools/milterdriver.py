# SPDX-License-Identifier: BSD-2-Clause
"""The MTA's side of the milter protocol, version 6, for tests of milters: one connection, whole messages, what came back."""

import collections
import socket
import struct
import threading

Answer = collections.namedtuple('Answer', 'verdict text edits')  # verdict: one letter of mfdef.h; edits: [(letter, bytes)]


NR_HDR, NR_BODY = 0x80, 0x80000


class Driver:
    def __init__(self, path, timeout=60, actions=0x1ff, steps=0x1fffff, body_with_end=True):
        self.body_with_end, self.replies_before = body_with_end, 0
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(timeout)
        self.sock.connect(str(path))
        self.send(b'O', struct.pack('>III', 6, actions, steps))
        letter, data = self.recv()
        if letter != b'O':
            raise EOFError('no negotiation')
        self.version, self.actions, self.steps = struct.unpack('>III', data[:12])

    @staticmethod
    def frame(letter, data=b''):
        return struct.pack('>I', len(data) + 1) + letter + data

    def send(self, letter, data=b''):
        self.sock.sendall(self.frame(letter, data))

    def take(self, n):
        got = b''
        while len(got) < n:
            piece = self.sock.recv(n - len(got))
            if not piece:
                raise EOFError('the milter hung up')
            got += piece
        return got

    def recv(self):
        data = self.take(struct.unpack('>I', self.take(4))[0])
        return data[:1], data[1:]

    def frames(self, raw, qid=b'4TEST'):
        """A message of header and body, CRLF lines, as frames up to the end of the body."""
        head, _, body = raw.partition(b'\r\n\r\n')
        fields = []
        for line in head.split(b'\r\n'):
            if line[:1] in (b' ', b'\t') and fields:
                fields[-1] += b'\n' + line
            else:
                fields.append(line)
        out = []
        for field in fields:
            name, _, value = field.partition(b':')
            out.append(self.frame(b'L', name + b'\0' + value + b'\0'))
        pieces = [body[i:i + 65535] for i in range(0, len(body), 65535)] or [b'']
        last = pieces.pop() if self.body_with_end else b''
        out += [self.frame(b'B', p) for p in pieces if p]
        out.append(self.frame(b'D', b'Ei\0' + qid + b'\0'))
        out.append(self.frame(b'E', last))
        self.replies_before = 0 if self.steps & NR_BODY else len([p for p in pieces if p])
        if not self.steps & NR_HDR:
            self.replies_before += len(fields)
        return b''.join(out)

    def answer(self):
        edits = []
        while True:
            letter, data = self.recv()
            if letter == b'p':
                continue
            if letter == b'c' and self.replies_before > 0:
                self.replies_before -= 1
                continue
            if letter in (b'c', b'a', b'r', b'd', b't', b'y'):
                return Answer(letter.decode(), data.rstrip(b'\0').decode('latin-1'), edits)
            edits.append((letter.decode(), data))

    def message(self, raw, qid=b'4TEST'):
        # who answers each piece of a body waits for somebody to read that: not behind the last piece
        sender = threading.Thread(target=self.send_quietly, args=(self.frames(raw, qid),), daemon=True)
        sender.start()
        answer = self.answer()
        sender.join()
        return answer

    def send_quietly(self, data):
        try:
            self.sock.sendall(data)
        except OSError:
            pass  # recv() says so

    def close(self):
        self.sock.close()


def quarantined(answer):
    """The reason of a quarantine request, or ''."""
    return ''.join(data.rstrip(b'\0').decode('latin-1') for letter, data in answer.edits if letter == 'q')


def headers(answer, name):
    """What became of the header NAME: [(index or None, value)]."""
    out = []
    for letter, data in answer.edits:
        if letter == 'h':
            n, v = data.split(b'\0')[:2]
            index = None
        elif letter in ('m', 'i'):
            index = struct.unpack('>I', data[:4])[0]
            n, v = data[4:].split(b'\0')[:2]
        else:
            continue
        if n.decode('latin-1').lower() == name.lower():
            out.append((index, v.decode('latin-1').removeprefix(' ')))
    return out
