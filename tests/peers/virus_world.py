# SPDX-License-Identifier: BSD-2-Clause
"""The virus filter by itself, spoken to as an MTA does, and the messages that are given to it."""

import base64
import binascii
import io
import os
import pathlib
import shutil
import signal
import struct
import subprocess
import sys
import zipfile
import zlib

import programs
import rig
from cases import Skip
from milterdriver import Driver, headers, quarantined
from rig import wait_for

DATABASE = pathlib.Path(__file__).with_name('viruses.hdb')
EICAR = programs.EICAR.encode()
FOUND = 'virus: Eicar-Test-Signature'


def program():
    path = pathlib.Path(rig.program()).with_name('dogana-virus')
    if not path.exists():
        raise Skip(f'{path} is not there')
    return str(path)


class Filter:
    """dogana-virus with a configuration of its own."""

    def __init__(self, settings='', database=None, listen=None):
        self.dir = rig.workdir('virus')
        self.db = self.dir / 'db'
        self.db.mkdir()
        shutil.copy(database or DATABASE, self.db / 'viruses.hdb')
        lines = {'compatibility_level': '3.6', 'queue_directory': f'{self.dir}/q', 'virus_engine': 'embedded', 'virus_database': f'{self.db}',
                 'virus_workers': '2'}
        lines.update([w.strip() for w in line.split('=', 1)] for line in settings.splitlines() if line.strip())
        (self.dir / 'etc').mkdir()
        (self.dir / 'asan').mkdir()
        (self.dir / 'etc/main.cf').write_text(''.join(f'{k} = {v}\n' for k, v in lines.items()))
        self.socket = self.dir / 's'
        self.log = self.dir / 'log'
        env = dict(os.environ, ASAN_OPTIONS=f'log_path={self.dir}/asan/a:exitcode=99:detect_leaks=0', UBSAN_OPTIONS=f'log_path={self.dir}/asan/u')
        self.proc = subprocess.Popen([program(), '-c', str(self.dir / 'etc'), '-p', listen or f'unix:{self.socket}'], stdin=subprocess.DEVNULL,
                                     stdout=subprocess.DEVNULL, stderr=open(self.log, 'ab'), env=env)
        wait_for('the socket', lambda: listen or self.socket.exists() or self.proc.poll() is not None)
        if self.proc.poll() is not None:
            raise rig.Broken(f'dogana-virus ended with {self.proc.returncode}: {self.log_text()}')

    def log_text(self):
        return self.log.read_text(errors='replace')

    def driver(self, **kw):
        return Driver(self.socket, **kw)

    def one(self, raw, **kw):
        d = self.driver(**kw)
        try:
            return d.message(raw)
        finally:
            d.close()

    def workers(self):
        return [p for p, name in rig.named_children(self.proc.pid) if name == 'virus-worker']

    def busy(self):
        """The worker that is at something."""
        for pid in self.workers():
            try:
                if pathlib.Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] == 'R':
                    return pid
            except OSError:
                pass
        return None

    def engines(self):
        return [p for p, name in rig.named_children(self.proc.pid) if name == 'virus-engine']

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        try:
            if self.proc.poll() is None:
                self.proc.send_signal(signal.SIGTERM)
            try:
                code = self.proc.wait(10)
            except subprocess.TimeoutExpired:
                self.proc.kill()
                code = 'nothing: it does not stop'
                self.proc.wait()
            if kind is None and code != 0:
                raise rig.Broken(f'dogana-virus ended with {code}: {self.log_text()[-2000:]}')
            reports = [p.read_text(errors='replace')[:3000] for p in sorted((self.dir / 'asan').iterdir())]
            if reports:
                raise rig.Broken('\n'.join(reports))
        finally:
            if kind is not None:
                sys.stderr.write(self.log_text()[-3000:])
            shutil.rmtree(self.dir, ignore_errors=True)


def mail(body, kind='text/plain', extra=b''):
    return b'From: a@example.com\r\nTo: b@example.net\r\nSubject: test\r\nMIME-Version: 1.0\r\nContent-Type: ' + kind.encode() + b'\r\n' + extra + b'\r\n' + body


def multipart(*parts):
    body = b''.join(b'--=_b\r\n' + p + b'\r\n' for p in parts) + b'--=_b--\r\n'
    return mail(b'preamble\r\n' + body, 'multipart/mixed; boundary="=_b"')


def part(body, head):
    return head.replace(b'\n', b'\r\n') + b'\r\n\r\n' + body


TEXT = part(b'some words\r\n', b'Content-Type: text/plain')


def b64(data):
    return base64.encodebytes(data).replace(b'\n', b'\r\n')


def attached(data, name='file.bin'):
    return multipart(TEXT, part(b64(data), f'Content-Type: application/octet-stream; name="{name}"\nContent-Transfer-Encoding: base64'.encode()))


def qp(data):
    return b''.join(b'=%02X' % c + (b'=\r\n' if i % 24 == 23 else b'') for i, c in enumerate(data))


def uu(data, name='file.bin'):
    lines = [binascii.b2a_uu(data[i:i + 45]).rstrip(b'\n') for i in range(0, len(data), 45)]
    return b'begin 644 ' + name.encode() + b'\r\n' + b'\r\n'.join(lines) + b'\r\n`\r\nend\r\n'


def zipped(data, name='file.bin', depth=1):
    for i in range(depth):
        out = io.BytesIO()
        with zipfile.ZipFile(out, 'w', zipfile.ZIP_DEFLATED) as z:
            z.writestr(name if i == 0 else f'{i}.zip', data)
        data = out.getvalue()
    return data


def reason_of(answer):
    """Signatures of one's own have a mark at the end of their names."""
    return quarantined(answer).replace('.UNOFFICIAL', '')


def expect(answer, reason, what):
    got = reason_of(answer)
    assert answer.verdict == 'c' and got == reason, f'{what}: {answer.verdict} {answer.text!r} quarantine {got!r}, wanted {reason!r}'


def clean(answer, what):
    status = headers(answer, 'X-Virus-Status')
    assert answer.verdict == 'c' and not quarantined(answer) and len(status) == 1 and status[0][1].startswith('Clean'), f'{what}: {answer}'


def encrypted_zip(data):
    """ZipCrypto, by hand: Python's zipfile cannot write it."""
    table = [zlib.crc32(bytes([i])) ^ 0xff000000 for i in range(256)]
    crc_table = []
    for i in range(256):
        c = i
        for _ in range(8):
            c = (c >> 1) ^ (0xedb88320 if c & 1 else 0)
        crc_table.append(c)
    del table
    keys = [0x12345678, 0x23456789, 0x34567890]

    def step(c):
        keys[0] = crc_table[(keys[0] ^ c) & 0xff] ^ (keys[0] >> 8)
        keys[1] = ((keys[1] + (keys[0] & 0xff)) * 134775813 + 1) & 0xffffffff
        keys[2] = crc_table[(keys[2] ^ (keys[1] >> 24)) & 0xff] ^ (keys[2] >> 8)

    for c in b'secret':
        step(c)
    crc = zlib.crc32(data)
    plain = bytes(11) + bytes([crc >> 24]) + data
    out = bytearray()
    for c in plain:
        t = (keys[2] | 2) & 0xffff
        out.append(c ^ (((t * (t ^ 1)) >> 8) & 0xff))
        step(c)
    name = b'eicar.com'
    common = struct.pack('<HHHHHIIIHH', 20, 1, 0, 0, 0x5821, crc, len(out), len(data), len(name), 0)
    local = b'PK\3\4' + common + name + bytes(out)
    central = b'PK\1\2' + struct.pack('<H', 20) + common + struct.pack('<HHHII', 0, 0, 0, 0, 0) + name
    return local + central + b'PK\5\6' + struct.pack('<HHHHIIH', 0, 0, 1, 1, len(central), len(local), 0)


def slow_mail(tag=b''):
    """Something that takes a worker a while: an archive of much text."""
    text = b''.join(b'<p>line %d of many that are all different %d</p>\n' % (i, i * 7919 % 100003) for i in range(400000))
    return attached(zipped(text + tag, 'page.html'), 'page.zip')
