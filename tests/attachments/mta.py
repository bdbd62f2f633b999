# SPDX-License-Identifier: BSD-2-Clause
"""The MTA's side of the milter protocol, version 6, for one message at a time: what a filter did to it."""

import re
import socket
import struct

ALL_ACTIONS = 0x1ff
ALL_STEPS = 0x1fffff


class Result:
    def __init__(self):
        self.verdict = None      # 'accept', 'continue', 'reject', 'tempfail', 'discard', or the reply's text
        self.quarantine = None
        self.added = []          # (name, value)
        self.changed = []        # (index, name, value)
        self.body = None         # replaced

    def __str__(self):
        return f'{self.verdict} quarantine={self.quarantine} added={self.added} changed={self.changed} body={self.body}'


class Mta:
    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(path)
        self.send(b'O', struct.pack('!III', 6, ALL_ACTIONS, ALL_STEPS))
        code, data = self.read()
        if code != b'O':
            raise RuntimeError(f'negotiation: {code}')
        _, self.actions, self.steps = struct.unpack('!III', data[:12])

    def close(self):
        try:
            self.send(b'Q')
        except OSError:
            pass
        self.sock.close()

    def send(self, code, data=b''):
        self.sock.sendall(struct.pack('!I', len(data) + 1) + code + data)

    def read(self):
        def take(n):
            data = b''
            while len(data) < n:
                more = self.sock.recv(n - len(data))
                if not more:
                    raise EOFError('the filter has closed the connection')
                data += more
            return data
        size = struct.unpack('!I', take(4))[0]
        packet = take(size)
        return packet[:1], packet[1:]

    def ask(self, code, data, no_reply):
        """Sends; reads the answer unless it was agreed that there is none."""
        self.send(code, data)
        if self.steps & no_reply:
            return b'c'
        return self.read()[0]

    def macros(self, stage, **values):
        data = stage
        for name, value in values.items():
            name = name if len(name) == 1 else '{' + name + '}'
            data += name.encode() + b'\0' + value.encode() + b'\0'
        self.send(b'D', data)

    def connect(self, address='192.0.2.1'):
        family = b'6' if ':' in address else b'4'
        self.ask(b'C', b'client.example.net\0' + family + struct.pack('!H', 25) + address.encode() + b'\0', 0x1000)

    def message(self, content, sender='a@example.net', rcpts=('b@example.com',), login=None, queue_id='4ABC'):
        """content: bytes, CRLF lines. Returns a Result."""
        if login:
            self.macros(b'M', auth_type='PLAIN', auth_authen=login)
        self.ask(b'M', b'<' + sender.encode() + b'>\0', 0x4000)
        for rcpt in rcpts:
            self.ask(b'R', b'<' + rcpt.encode() + b'>\0', 0x8000)
        if not self.steps & 0x200:
            self.ask(b'T', b'', 0x10000)
        self.macros(b'N', i=queue_id)
        end = 0 if content.startswith(b'\r\n') else content.find(b'\r\n\r\n')
        header, body = (content, b'') if end < 0 else (content[:end], content[end + (2 if end == 0 else 4):])
        for field in re.split(rb'\r\n(?![ \t])', header) if header else []:
            name, _, value = field.partition(b':')
            if not self.steps & 0x100000:
                value = value[1:] if value[:1] == b' ' else value
            self.ask(b'L', name + b'\0' + value.replace(b'\r\n', b'\n') + b'\0', 0x80)
        self.ask(b'N', b'', 0x40000)
        pieces = [body[at:at + 65535] for at in range(0, len(body), 65535)]
        last = pieces.pop() if pieces and len(body) % 2 else b''  # with the end, or before it: both are right
        for piece in pieces:
            self.ask(b'B', piece, 0x80000)
        self.macros(b'E', i=queue_id)
        self.send(b'E', last)
        result = Result()
        while result.verdict is None:
            code, data = self.read()
            if code == b'h':
                name, value = data.split(b'\0')[:2]
                result.added.append((name.decode(), value.decode()))
            elif code == b'm':
                index = struct.unpack('!I', data[:4])[0]
                name, value = data[4:].split(b'\0')[:2]
                result.changed.append((index, name.decode(), value.decode()))
            elif code == b'b':
                result.body = (result.body or b'') + data
            elif code == b'q':
                result.quarantine = data.rstrip(b'\0').decode()
            elif code == b'p':
                continue
            elif code == b'y':
                result.verdict = data.rstrip(b'\0').decode()
            else:
                result.verdict = {b'a': 'accept', b'c': 'continue', b'r': 'reject', b't': 'tempfail', b'd': 'discard'}.get(code, repr(code))
        return result


def applied(content, result):
    """The message as it goes on: header edits (our filter adds at the end and changes by name and index) and the body."""
    end = content.find(b'\r\n\r\n')
    fields = re.split(rb'\r\n(?![ \t])', content[:end])
    body = content[end + 4:] if result.body is None else result.body
    for index, name, value in result.changed:
        count = 0
        for i, field in enumerate(fields):
            if field is not None and field.partition(b':')[0].lower() == name.lower().encode():
                count += 1
                if count == index:
                    fields[i] = None if value == '' else name.encode() + b':' + value.encode()
                    break
        fields = [f for f in fields if f is not None]
    fields += [name.encode() + b':' + value.encode() for name, value in result.added]
    return b'\r\n'.join(fields) + b'\r\n\r\n' + body
