#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The virus filter with the files of Debian's clamav-testfiles, evasions, bombs, failing workers, and a clamd that lies.

The program is started by itself and spoken to as an MTA does (tests/tools/milterdriver.py). What `make peers' has not fetched is
skipped and counted. Last line: N passed, N failed, N skipped.

    virus.py [-v] [NAME...]      environment: DOGANA, PEERS as for the other tests
"""

import base64
import binascii
import bz2
import gzip
import io
import lzma
import os
import pathlib
import re
import shutil
import signal
import smtplib
import socket
import struct
import subprocess
import sys
import threading
import time
import zipfile
import zlib

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / 'tests/tools'))
sys.path.insert(0, str(TOP / 'tests/attachments'))
import mails  # noqa: E402
import rig  # noqa: E402
from cases import Skip, case, run_cases  # noqa: E402
from milterdriver import Driver, headers, quarantined  # noqa: E402
from rig import wait_for  # noqa: E402

PEERS = pathlib.Path(os.environ.get('PEERS') or TOP / 'build/peers')
DATABASE = TOP / 'tests/peers/viruses.hdb'
# In two pieces, so that no scanner finds it here.
EICAR = b'X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR-STANDARD-' + b'ANTIVIRUS-TEST-FILE!$H+H*'
FOUND = 'virus: Eicar-Test-Signature'


def program():
    path = pathlib.Path(rig.program()).with_name('dogana-virus')
    if not path.exists():
        raise Skip(f'{path} is not there')
    return str(path)


def children(pid):
    """[(pid, name)] of all below a process."""
    out = []
    for task in pathlib.Path(f'/proc/{pid}/task').glob('*/children'):
        try:
            pids = [int(p) for p in task.read_text().split()]
        except OSError:
            continue
        for p in pids:
            try:
                out.append((p, pathlib.Path(f'/proc/{p}/comm').read_text().strip()))
            except OSError:
                continue
            out += children(p)
    return out


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
        return [p for p, name in children(self.proc.pid) if name == 'virus-worker']

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
        return [p for p, name in children(self.proc.pid) if name == 'virus-engine']

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


# ---- messages

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


# ---- what has to be found

def testfiles():
    found = sorted(p for p in (PEERS / 'root/usr/share/clamav-testfiles').glob('clam*') if p.is_file())
    if not found:
        raise Skip('clamav-testfiles is not there: tests/tools/peers.sh clamav-testfiles')
    return found


@case
def clamav_testfiles():
    """Each file of the package, in four wrappings. The signatures are two: archives have to be opened, programs unpacked."""
    files = testfiles()
    assert len(files) >= 44, len(files)
    missed = []
    with Filter('virus_cache_size = 0\nvirus_encrypted_action = tag\nvirus_macro_action = tag\nvirus_limits_action = tag') as f:
        d = f.driver()
        for path in files:
            data = path.read_bytes()
            inner = attached(data, path.name)
            ways = {
                'base64': inner,
                'quoted-printable': multipart(TEXT, part(qp(data), b'Content-Type: application/octet-stream\nContent-Transfer-Encoding: quoted-printable')),
                'uuencode': mail(b'see below\r\n\r\n' + uu(data, path.name)),
                'nested': multipart(TEXT, part(inner, b'Content-Type: message/rfc822')),
            }
            for way, raw in ways.items():
                answer = d.message(raw)
                if not quarantined(answer).startswith('virus: '):
                    missed.append(f'{path.name} {way}: {quarantined(answer) or answer}')
        d.close()
    assert not missed, '\n'.join(missed[:20]) + f'\n{len(missed)} in all'


@case
def eicar_in_every_encoding():
    octet = b'Content-Type: application/octet-stream\n'
    ways = {
        'base64': attached(EICAR, 'eicar.com'),
        'text/plain base64': mail(b64(EICAR), extra=b'Content-Transfer-Encoding: base64\r\n'),
        'qp': multipart(TEXT, part(qp(EICAR), octet + b'Content-Transfer-Encoding: quoted-printable')),
        '7bit attachment': multipart(TEXT, part(EICAR, octet + b'Content-Transfer-Encoding: 7bit')),
        '8bit attachment': multipart(TEXT, part(EICAR, octet + b'Content-Transfer-Encoding: 8bit')),
        'text/plain': mail(EICAR + b'\r\n'),
        'text/plain part': multipart(TEXT, part(EICAR, b'Content-Type: text/plain')),
        'text/html part, 8bit': multipart(TEXT, part(EICAR, b'Content-Type: text/html\nContent-Transfer-Encoding: 8bit')),
        'text/plain part, qp': multipart(TEXT, part(qp(EICAR), b'Content-Type: text/plain\nContent-Transfer-Encoding: quoted-printable')),
        'part without headers': multipart(TEXT, b'\r\n' + EICAR),
        'plain preamble': mail(EICAR + b'\r\n--=_b\r\n' + TEXT + b'\r\n--=_b--\r\n', 'multipart/mixed; boundary="=_b"'),
        'plain epilogue': mail(b'--=_b\r\n' + TEXT + b'\r\n--=_b--\r\n' + EICAR + b'\r\n', 'multipart/mixed; boundary="=_b"'),
        'uuencode': mail(uu(EICAR)),
        'uuencode part': multipart(TEXT, part(uu(EICAR), b'Content-Type: text/plain')),
        'x-uuencode': multipart(TEXT, part(uu(EICAR), octet + b'Content-Transfer-Encoding: x-uuencode')),
        'no header': multipart(TEXT, b'\r\n' + uu(EICAR)),
        'preamble': mail(b64(EICAR) + b'\r\n--=_b\r\n' + TEXT + b'\r\n--=_b--\r\n', 'multipart/mixed; boundary="=_b"'),
        'epilogue': mail(b'--=_b\r\n' + TEXT + b'\r\n--=_b--\r\n\r\n' + b64(EICAR), 'multipart/mixed; boundary="=_b"'),
        'base64 that is called 7bit': multipart(TEXT, part(b64(EICAR), octet + b'Content-Transfer-Encoding: 7bit')),
        'base64 that is called nothing': multipart(TEXT, part(b64(EICAR), octet.rstrip())),
        'base64 with padding inside': multipart(TEXT, part(base64.b64encode(EICAR[:1]) + base64.b64encode(EICAR[1:]), octet + b'Content-Transfer-Encoding: base64')),
        'base64 with padding at a line end': multipart(TEXT, part(base64.b64encode(EICAR[:10]) + b'\r\n' + base64.b64encode(EICAR[10:]),
                                                                  octet + b'Content-Transfer-Encoding: base64')),
        'base64 with junk': multipart(TEXT, part(b'\r\n'.join(bytes([c]) + b'!' for c in base64.b64encode(EICAR)), octet + b'Content-Transfer-Encoding: base64')),
        'binhex': mail(mails.binhex(EICAR, b'eicar.com')),
        'yEnc': mail(mails.yenc(EICAR, b'eicar.com')),
        'yEnc part': multipart(TEXT, part(mails.yenc(EICAR, b'eicar.com'), b'Content-Type: text/plain')),
        'yEnc preamble': mail(mails.yenc(EICAR, b'a.com') + b'\r\n--=_b\r\n' + TEXT + b'\r\n--=_b--\r\n', 'multipart/mixed; boundary="=_b"'),
        'uuencode epilogue': mail(b'--=_b\r\n' + TEXT + b'\r\n--=_b--\r\n' + uu(EICAR), 'multipart/mixed; boundary="=_b"'),
        'winmail.dat': attached(mails.tnef('a.com', EICAR), 'winmail.dat'),
        'zip in winmail.dat': attached(mails.tnef('a.zip', zipped(EICAR)), 'winmail.dat'),
        'appledouble': mail(b'--=_b\r\nContent-Type: application/applefile\r\n\r\nx\r\n--=_b\r\n' +
                            part(b64(EICAR), octet + b'Content-Transfer-Encoding: base64') + b'\r\n--=_b--\r\n', 'multipart/appledouble; boundary="=_b"'),
        'digest': mail(b'--=_b\r\n\r\n' + attached(EICAR) + b'\r\n--=_b--\r\n', 'multipart/digest; boundary="=_b"'),
        'boundary of the parent inside': mail(b'--A\r\nContent-Type: multipart/mixed; boundary=A\r\n\r\n--A\r\n' +
                                              part(b64(EICAR), octet + b'Content-Transfer-Encoding: base64') + b'\r\n--A--\r\n--A--\r\n', 'multipart/mixed; boundary=A'),
        'boundary that begins as the parent\'s': mail(b'--A\r\nContent-Type: multipart/mixed; boundary=AA\r\n\r\n--AA\r\n' +
                                                     part(b64(EICAR), octet + b'Content-Transfer-Encoding: base64') + b'\r\n--AA--\r\n--A--\r\n', 'multipart/mixed; boundary=A'),
        'no boundary named': mail(b'--A\r\n' + part(b64(EICAR), octet + b'Content-Transfer-Encoding: base64') + b'\r\n--A--\r\n', 'multipart/mixed'),
        'no last boundary': attached(EICAR)[:-10],
        'two encodings': multipart(TEXT, part(b64(EICAR), octet + b'Content-Transfer-Encoding: base64\nContent-Transfer-Encoding: 7bit')),
        'two encodings, the other way': multipart(TEXT, part(b64(EICAR), octet + b'Content-Transfer-Encoding: 7bit\nContent-Transfer-Encoding: base64')),
        'two types': multipart(TEXT, part(b64(EICAR), b'Content-Type: text/plain\nContent-Type: application/zip\nContent-Transfer-Encoding: base64')),
        'base64 on multipart': mail(b'--=_b\r\n' + part(b64(EICAR), octet.rstrip()) + b'\r\n--=_b--\r\n', 'multipart/mixed; boundary="=_b"',
                                    b'Content-Transfer-Encoding: base64\r\n'),
        'base64 on message/rfc822': multipart(TEXT, part(b64(attached(EICAR)), b'Content-Type: message/rfc822\nContent-Transfer-Encoding: base64')),
    }
    for cte in (b'BASE64', b'base64 (x)', b'base64;', b'"base64"', b'=?utf-8?Q?base64?=', b'x-unknown', b' base64', b'base64 7bit', b'b a s e 6 4'):
        ways[f'encoding {cte.decode()}'] = multipart(TEXT, part(b64(EICAR), octet + b'Content-Transfer-Encoding: ' + cte))
    for first in (b'A', b'B'):
        kind = 'multipart/mixed; boundary="A"; boundary="B"'
        body = b''.join(b'--' + b + b'\r\n' + (part(b64(EICAR), octet + b'Content-Transfer-Encoding: base64') if b == first else TEXT) + b'\r\n--' + b + b'--\r\n'
                        for b in (b'A', b'B'))
        ways[f'two boundaries, {first.decode()}'] = mail(body, kind)
    missed = []
    with Filter() as f:
        d = f.driver()
        for way, raw in ways.items():
            answer = d.message(raw)
            if reason_of(answer) != FOUND:
                missed.append(f'{way}: {quarantined(answer) or answer}')
        strange = b'Foo: bar\r\nMIME-Version: 1.0\r\nContent-Type: application/zip\r\nContent-Transfer-Encoding: base64\r\n\r\n' + b64(zipped(EICAR))
        expect(d.message(strange), FOUND, 'a first header nobody knows')
        clean(d.message(mail(b'just words\r\n' * 200)), 'words')
        clean(d.message(attached(os.urandom(5000))), 'noise')
        d.close()
    assert not missed, '\n'.join(missed)


@case
def inside_signatures():
    """S/MIME with the message inside the signature, in one piece and in many; a file signed so."""
    kind, extra = 'application/pkcs7-mime; smime-type=signed-data; name=smime.p7m', b'Content-Transfer-Encoding: base64\r\n'
    with Filter() as f:
        d = f.driver()
        for piece in (None, 4096, 50, 1):
            expect(d.message(mail(b64(mails.signed(attached(EICAR), piece)), kind, extra)), FOUND, f'message in pieces of {piece}')
            expect(d.message(attached(mails.signed(EICAR, piece), 'a.com.p7m')), FOUND, f'file in pieces of {piece}')
            expect(d.message(attached(zipped(mails.signed(EICAR, piece)), 'a.zip')), FOUND, f'in a zip, pieces of {piece}')
        deep = EICAR
        for _ in range(6):
            deep = mails.signed(deep, 20)
        answer = d.message(attached(deep))
        assert reason_of(answer).startswith(('virus: ', 'unscanned: limits exceeded')), answer
        clean(d.message(mail(b64(mails.signed(mail(b'hello\r\n'), 4096)), kind, extra)), 'words')
        d.close()


@case
def archives_that_contradict_themselves():
    """What one program unpacks and libclamav does not is never clean."""
    crooked = {what: mails.odd_zip(b'e.com', EICAR, mails.deflated(EICAR), local=says) for what, says in (
        ('size', {'packed': 3, 'size': 3}), ('method', {'method': 99}), ('stored', {'method': 0}), ('name', {'name': b'other'}))}
    crooked['size, behind junk'] = b'junk' * 200 + mails.odd_zip(b'e.com', EICAR, mails.deflated(EICAR), local={'packed': 3, 'size': 3})
    crooked['no directory'] = (lambda z: z[:z.index(b'PK\1\2')])(zipped(EICAR))
    crooked['LZMA'] = mails.zipped(('e.com', EICAR), method=zipfile.ZIP_LZMA)
    one = zipped(EICAR)
    crooked['members no directory has'] = one[:one.index(b'PK\1\2')] + mails.zipped(('a.txt', b'hello'))
    with Filter() as f:
        d = f.driver()
        for what, data in crooked.items():
            for raw in (attached(data, 'a.zip'), attached(zipped(data, 'b.zip'), 'a.zip')):
                got = reason_of(d.message(raw))
                assert got == FOUND or got.startswith('unscanned: limits exceeded: '), f'{what}: {got}'
        docx = mails.zipped(('[Content_Types].xml', b'<?xml?>'), ('word/document.xml', b'<?xml?>' * 500))
        for what, data in (('plain', docx), ('stored', mails.zipped(('a.docx', docx), ('b.txt', b'x'), method=zipfile.ZIP_STORED)), ('behind junk', b'junk' + docx),
                           ('sizes behind', mails.odd_zip(b'b.txt', docx, mails.deflated(docx), local={'flags': 8, 'packed': 0, 'size': 0})), ('empty', mails.zipped()),
                           ('folder', mails.zipped(('a/', b''), ('a/b.txt', b'hello')))):
            clean(d.message(attached(data, 'a.zip')), what)
        d.close()


@case
def nested_deep():
    """The stack does not grow with the message; what is too deep is not clean."""
    leaf = part(b64(EICAR), b'Content-Type: application/octet-stream\nContent-Transfer-Encoding: base64')
    with Filter() as f:
        d = f.driver()
        for n in (10, 20, 100, 101, 1000, 10000):
            inside = b''.join(b'Content-Type: multipart/mixed; boundary=L%d\r\n\r\n--L%d\r\n' % (i, i) for i in range(n))
            parts = b'From: a\r\nMIME-Version: 1.0\r\n' + inside + leaf + b''.join(b'\r\n--L%d--\r\n' % i for i in reversed(range(n)))
            messages = b'From: a\r\nMIME-Version: 1.0\r\n' + b'Content-Type: message/rfc822\r\n\r\nSubject: y\r\n' * n + leaf
            for raw in (parts, messages):
                got = reason_of(d.message(raw))
                assert got == FOUND or (n > 10 and got.startswith('unscanned: limits exceeded')), f'{n}: {got}'
        clean(d.message(mail(b'hello\r\n')), 'afterwards')
        d.close()


@case
def names_are_only_names():
    """Names of attachments and members reach no shell, no path and no second line."""
    token = f'dogana-{os.getpid()}'
    with Filter() as f:
        d = f.driver()
        for name in (f'`touch /tmp/{token}`', f'$(touch /tmp/{token})', f';touch /tmp/{token};', f'a";touch /tmp/{token};".zip', '-rf', '../../../../tmp/' + token, 'a\nSCAN /etc'):
            plain = re.sub('["\n]', '', name)
            expect(d.message(attached(zipped(EICAR, name), plain)), FOUND, name)
            expect(d.message(attached(mails.tar_gz(name, EICAR), plain)), FOUND, name)
            clean(d.message(attached(zipped(b'hello', name), plain)), name)
        d.close()
    assert not pathlib.Path(f'/tmp/{token}').exists()


@case
def archives_within_archives():
    with Filter() as f:
        d = f.driver()
        for depth in range(1, 22):
            answer = d.message(attached(zipped(EICAR, depth=depth), 'a.zip'))
            got = reason_of(answer)
            assert got == FOUND or (depth > 16 and got.startswith('unscanned: limits exceeded')), f'depth {depth}: {answer}'
        d.close()


@case
def kinds_of_signatures():
    """Beside hashes of files: fixed strings, and links that pretend. What a database does not have is not looked for."""
    link = b'<html><body><a href="http://evil.example.net/login">http://www.bank.example.com/</a></body></html>\r\n'
    html = multipart(TEXT, part(link, b'Content-Type: text/html'))
    word = mail(b'some words, and an unlikely sentence of a test among them\r\n')
    with Filter() as f:
        expect(f.one(attached(EICAR)), FOUND, 'hashes')
        clean(f.one(html), 'nothing is known of links')
        clean(f.one(word), 'nothing is known of words')
        (f.db / 'words.ndb').write_text('Words.Test:0:*:' + b'unlikely sentence of a test'.hex() + '\n')
        wait_for('the new signature', lambda: reason_of(f.one(word)) == 'virus: Words.Test', 15)
        expect(f.one(attached(b'x' * 300 + b'unlikely sentence of a test' + b'y' * 300)), 'virus: Words.Test', 'in a part')
        clean(f.one(html), 'nothing is known of links')
        (f.db / 'links.pdb').write_text('H:www.bank.example.com\n')
        wait_for('the new list', lambda: 'Phishing' in reason_of(f.one(html)), 15)
        expect(f.one(attached(EICAR)), FOUND, 'hashes')
        expect(f.one(word), 'virus: Words.Test', 'words')


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


@case
def encrypted_archive():
    raw = attached(encrypted_zip(EICAR), 'secret.zip')
    with Filter() as f:
        answer = f.one(raw)
        assert quarantined(answer).startswith('attachment: encrypted content: Heuristics.Encrypted.Zip'), answer
        aes = mails.odd_zip(b'eicar.com', EICAR, os.urandom(90), method=99, flags=1)
        answer = f.one(attached(aes, 'secret.zip'))
        assert quarantined(answer).startswith('attachment: encrypted content: Heuristics.Encrypted.Zip'), answer
        answer = f.one(attached(zipped(aes, 'a.zip'), 'b.zip'))
        assert quarantined(answer).startswith('attachment: encrypted content: Heuristics.Encrypted.Zip'), answer
        pdf = b'%PDF-1.4\n1 0 obj\n<< /Type /Catalog /Pages 2 0 R >>\nendobj\n2 0 obj\n<< /Type /Pages /Kids [] /Count 0 >>\nendobj\n3 0 obj\n<< /Filter /Standard /V 2 /R 3 /Length 128 /P -4 /O <' + \
            b'41' * 32 + b'> /U <' + b'42' * 32 + b'> >>\nendobj\ntrailer\n<< /Root 1 0 R /Encrypt 3 0 R /ID [<00112233445566778899aabbccddeeff> <00112233445566778899aabbccddeeff>] /Size 4 >>\nstartxref\n9\n%%EOF\n'
        answer = f.one(attached(pdf, 'secret.pdf'))
        assert quarantined(answer).startswith('attachment: encrypted content: Heuristics.Encrypted.PDF'), answer
    with Filter('virus_encrypted_action = reject') as f:
        answer = f.one(raw)
        assert answer.verdict == 'y' and answer.text.startswith('554 5.7.1 '), answer
    with Filter('virus_encrypted_action = accept') as f:
        clean(f.one(raw), 'accepted')


@case
def bombs():
    """None of them keeps other mail waiting, none is clean."""
    zero = bytes(1 << 20)
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode='wb', compresslevel=9) as z:
        for _ in range(80):
            z.write(zero)
    many = io.BytesIO()
    with zipfile.ZipFile(many, 'w') as z:
        for i in range(3000):
            z.writestr(f'{i}', b'x')
    packed = mails.deflated(zero)
    head = b'PK\3\4' + struct.pack('<HHHHHIIIHH', 20, 0, 8, 0, 0, zlib.crc32(zero), len(packed), len(zero), 4, 0) + b'0000'
    entries = b''.join(b'PK\1\2' + struct.pack('<HHHHHHIIIHHHHHII', 20, 20, 0, 8, 0, 0, zlib.crc32(zero), len(packed), len(zero), 4, 0, 0, 0, 0, 0, 0) + b'%04d' % i
                       for i in range(5000))
    overlap = head + packed + entries + struct.pack('<IHHHHIIH', 0x06054b50, 0, 0, 5000, 5000, len(entries), len(head) + len(packed), 0)
    tar = b'end'
    for i in range(30):
        tar = gzip.decompress(mails.tar_gz(f'{i}.tar', tar))
    bomb = {'xz': lzma.compress(zero * 80, preset=1), 'overlap': overlap, 'tar of tar': tar, 'gzip': out.getvalue(), 'bzip2': bz2.compress(zero * 80), 'zip of zip of zeros': zipped(zero * 80, depth=3), 'members': many.getvalue()}
    with Filter('virus_max_scan_size = 20000000\nvirus_max_file_size = 10000000\nvirus_max_files = 500\nvirus_max_scan_time = 10s') as f:
        slow = {}

        def run(name):
            slow[name] = f.one(attached(bomb[name], 'bomb'))

        threads = [threading.Thread(target=run, args=(n,)) for n in bomb]
        for t in threads:
            t.start()
        for t in threads:
            t.join(60)
        for name in bomb:
            got = slow.get(name)
            assert got and quarantined(got).startswith('unscanned: limits exceeded'), f'{name}: {got}'
        clean(f.one(mail(b'hello\r\n')), 'afterwards')


@case
def ten_thousand_parts():
    raw = multipart(*[part(b'%d\r\n' % i, b'Content-Type: text/plain') for i in range(10000)])
    last = multipart(*[part(b'%d\r\n' % i, b'Content-Type: text/plain') for i in range(5000)],
                     part(b64(EICAR), b'Content-Type: application/octet-stream\nContent-Transfer-Encoding: base64'))
    with Filter() as f:
        start = time.monotonic()
        answer = f.one(raw)
        assert answer.verdict == 'c' and not quarantined(answer).startswith('virus'), answer
        answer = f.one(last)
        assert reason_of(answer) == FOUND or quarantined(answer).startswith('unscanned: limits'), answer
        assert time.monotonic() - start < 30


# ---- headers, actions

@case
def status_header():
    with Filter() as f:
        d = f.driver()
        answer = d.message(b'X-Virus-Status: Clean\r\nFrom: a@example.com\r\nx-virus-STATUS: very clean\r\nX-Virus-Status:\r\n Clean\r\n\r\nhello\r\n')
        status = headers(answer, 'X-Virus-Status')
        assert sorted(i for i, v in status) == [1, 2, 3] and [v for i, v in status if v] == [v for i, v in status if i == 1], status
        clean(d.message(mail(b'hello\r\n')), 'none before')
        d.close()
    with Filter('virus_header =') as f:
        answer = f.one(b'X-Virus-Status: Clean\r\nFrom: a@example.com\r\n\r\nhello\r\n')
        assert headers(answer, 'X-Virus-Status') == [(1, '')], answer
    with Filter('virus_header = $status by $engine/$signatures at home\nvirus_action = tag') as f:
        answer = f.one(attached(EICAR))
        text = headers(answer, 'X-Virus-Status')[0][1]
        assert re.fullmatch(r'Infected: Eicar-Test-Signature.UNOFFICIAL by ClamAV [0-9.]+/[0-9a-f]+ at home', text) and not quarantined(answer), answer


@case
def actions():
    for action, verdict, text in (('reject', 'y', '554 5.7.1 Message refused: virus: Eicar-Test-Signature.UNOFFICIAL'), ('discard', 'd', '')):
        with Filter(f'virus_action = {action}') as f:
            answer = f.one(attached(EICAR))
            assert (answer.verdict, answer.text) == (verdict, text), answer
            assert 'verdict=Infected, signature=Eicar-Test-Signature.UNOFFICIAL, action=' + action in f.log_text()
    with Filter('virus_max_file_size = 5000\nvirus_limits_action = tag') as f:
        answer = f.one(mail(b'x' * 70 + b'\r\n' * 5000))
        assert headers(answer, 'X-Virus-Status')[0][1].startswith('Limits-Exceeded: larger than virus_max_file_size'), answer


@case
def older_mta():
    """Body in frames of its own, a reply to everything, values without their blank."""
    with Filter() as f:
        for kw in ({'body_with_end': False}, {'steps': 0x1f}, {'steps': 0x1f, 'body_with_end': False}):
            d = f.driver(**kw)
            expect(d.message(attached(EICAR)), FOUND, kw)
            clean(d.message(mail(b'words\r\n' * 20000)), kw)
            d.close()


@case
def mta_that_does_not_keep_to_the_protocol():
    """Its connection ends, and nobody else's. One that goes away in the middle of a scan leaves nothing behind."""
    frame = Driver.frame
    bad = {'no options': frame(b'L', b'a\0b\0'), 'no length': bytes(4), 'long length': b'\x7f\xff\xff\xff', 'unknown': frame(b'z'),
           'short options': frame(b'O', b'\0\0\0\6'), 'options twice': frame(b'O', struct.pack('>III', 6, 0x1ff, 0x1fffff)) * 2,
           'version 1': frame(b'O', struct.pack('>III', 1, 0x1ff, 0x1fffff)), 'no quarantine': frame(b'O', struct.pack('>III', 6, 1, 0x1fffff))}
    begun = {'header without an end': frame(b'L', b'name'), 'header of three': frame(b'L', b'a\0b\0c\0'), 'negotiation again': frame(b'O', bytes(12)),
             'more behind the end': frame(b'E') + frame(b'L', b'a\0b\0')}

    def hangs_up(sock):
        try:
            while sock.recv(1000):
                pass
        except ConnectionResetError:
            pass

    with Filter('virus_workers = 1') as f:
        other = f.driver()
        clean(other.message(mail(b'before\r\n')), 'before')
        for what, data in bad.items():
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(10)
                s.connect(str(f.socket))
                s.sendall(data)
                hangs_up(s)
        for what, data in begun.items():
            d = f.driver(timeout=10)
            d.sock.sendall(data)
            hangs_up(d.sock)
            d.close()
        for cut in range(0, 600, 7):
            d = f.driver()
            d.sock.sendall(b''.join([d.frames(mail(b'cut\r\n' * 100))])[:cut])
            d.close()
        slow = slow_mail()
        before = sorted(f.workers())
        for ending in (b'', frame(b'A'), frame(b'K'), frame(b'Q')):
            d = f.driver()
            d.sock.sendall(d.frames(slow))
            wait_for('the scan to run', f.busy, 10, 0.001)
            d.sock.sendall(ending)
            if ending in (frame(b'A'), frame(b'K')):
                clean(d.message(mail(b'the next\r\n')), 'the next')
            d.close()
            clean(other.message(mail(b'others\r\n' + ending)), 'others')
        assert sorted(f.workers()) == before
        other.close()


@case
def busy_clients_and_newcomers():
    """Who sends one message after the other must not keep others out."""
    with Filter() as f:
        stop = threading.Event()

        def busy():
            d = f.driver()
            while not stop.is_set():
                d.message(mail(b'busy\r\n'))
            d.close()

        threads = [threading.Thread(target=busy) for _ in range(6)]
        for t in threads:
            t.start()
        idle = [f.driver() for _ in range(5)]
        slowest = 0
        for n in range(10):
            start = time.monotonic()
            clean(f.one(mail(b'new %d\r\n' % n), timeout=10), n)
            clean(idle[n % 5].message(mail(b'idle %d\r\n' % n)), n)
            slowest = max(slowest, time.monotonic() - start)
        stop.set()
        for t in threads:
            t.join(10)
        assert slowest < 5, slowest


@case
def same_content_again():
    with Filter() as f:
        d = f.driver()
        raw = attached(EICAR)
        expect(d.message(raw), FOUND, 'first')
        expect(d.message(raw), FOUND, 'second')
        clean(d.message(mail(b'a\r\n')), 'a')
        clean(d.message(mail(b'b\r\n')), 'b')
        d.close()


# ---- when things break

def slow_mail(tag=b''):
    """Something that takes a worker a while: an archive of much text."""
    text = b''.join(b'<p>line %d of many that are all different %d</p>\n' % (i, i * 7919 % 100003) for i in range(400000))
    return attached(zipped(text + tag, 'page.html'), 'page.zip')


@case
def killed_worker():
    raw = slow_mail()
    with Filter('virus_workers = 1') as f:
        wait_for('a worker', f.workers)
        for n in range(3):
            got = []
            t = threading.Thread(target=lambda: got.append(f.one(raw)))
            t.start()
            os.kill(wait_for('the scan to run', f.busy, 10, 0.001), signal.SIGKILL)
            t.join(30)
            assert got, 'no answer'
            if n < 2:
                assert got[0].verdict == 'y' and got[0].text.startswith('451 4.7.1 '), got
            else:
                assert quarantined(got[0]).startswith('unscanned: not scanned: the worker ended during the scan'), got
        answer = f.one(raw)
        assert quarantined(answer).startswith('unscanned: not scanned: '), answer
        clean(f.one(mail(b'others are scanned\r\n')), 'others')
        expect(f.one(attached(EICAR)), FOUND, 'others')


@case
def slow_messages_do_not_keep_others_waiting():
    """One scan at a time, and two that take long: the next message is scanned beside them."""
    block = b''.join(b'%d of many lines %d\n' % (i, i * 7919 % 100003) for i in range(20000))
    slow = [attached(zipped(b'%d\n' % k + block * 60, 'page.html'), 'page.zip') for k in range(2)]
    with Filter('virus_workers = 1\nvirus_wait_time = 3s') as f:
        wait_for('workers', lambda: len(f.workers()) == 3)
        got = []
        threads = [threading.Thread(target=lambda raw=raw: got.append((f.one(raw), time.monotonic()))) for raw in slow]
        for t in threads:
            t.start()
        wait_for('the first scan to run', f.busy, 10, 0.001)
        clean(f.one(mail(b'beside\r\n')), 'beside')
        done = time.monotonic()
        for t in threads:
            t.join(60)
        assert len(got) == 2 and all(a.verdict == 'c' for a, _ in got), got
        assert all(when > done for _, when in got), 'they were not slow enough to show anything'


@case
def killed_engine():
    with Filter() as f:
        clean(f.one(mail(b'before\r\n')), 'before')
        old = f.engines()
        os.kill(old[0], signal.SIGKILL)
        wait_for('the workers to go', lambda: not set(f.engines()) & set(old))
        expect(f.one(attached(EICAR)), FOUND, 'waits for the new one')
        assert f.engines() and f.engines() != old


@case
def engine_that_ends_again():
    """In the middle of a message, and of the next one on the same connection: each is scanned once more."""
    with Filter('virus_workers = 1\nvirus_cache_size = 0') as f:
        d = f.driver()
        for n in range(2):
            got = []
            raw = slow_mail(b'%d' % n)
            t = threading.Thread(target=lambda raw=raw: got.append(d.message(raw)))
            t.start()
            wait_for('the scan to run', f.busy, 10, 0.001)
            for pid in f.engines():
                os.kill(pid, signal.SIGKILL)
            t.join(40)
            assert got, 'no answer'
            clean(got[0], f'message {n}')
        d.close()


@case
def no_engine():
    settings = 'virus_wait_time = 0s\nvirus_database = /nonexistent/db\nvirus_unavailable = '
    raw = attached(EICAR)
    with Filter(settings + 'tempfail') as f:
        answer = f.one(raw)
        assert answer.verdict == 'y' and answer.text.startswith('451 4.7.1 '), answer
        wait_for('the log to say so', lambda: 'signatures cannot be loaded: there is no database' in f.log_text())
    with Filter(settings + 'accept-and-tag') as f:
        answer = f.one(raw)
        assert answer.verdict == 'c' and headers(answer, 'X-Virus-Status')[0][1].startswith('Unchecked: the engine is not there'), answer
    with Filter(settings + 'hold-and-rescan') as f:
        answer = f.one(raw)
        assert quarantined(answer) == 'unscanned: not scanned: the engine is not there', answer


@case
def database_that_comes_later():
    where = rig.workdir('virus')
    with Filter(f'virus_wait_time = 0s\nvirus_database = {where}/later') as f:
        wait_for('the log to say so', lambda: 'signatures cannot be loaded: there is no database' in f.log_text(), 10)
        f.db.rename(where / 'later')
        wait_for('the engine', lambda: reason_of(f.one(attached(EICAR))) == FOUND, 20, 0.2)


@case
def database_that_comes_and_goes():
    with Filter('virus_wait_time = 0s') as f:
        wait_for('the engine', lambda: reason_of(f.one(attached(EICAR))) == FOUND, 10)
        away = f.dir / 'away'
        f.db.rename(away)
        wait_for('the log to say that it is gone', lambda: 'those from before stay in use: there is no database' in f.log_text(), 10)
        expect(f.one(attached(EICAR)), FOUND, 'without')
        away.rename(f.db)
        wait_for('the log to say that it is back', lambda: 'is again what is in use' in f.log_text(), 10)
        f.db.rename(away)
        for pid in f.engines():
            os.kill(pid, signal.SIGKILL)
        wait_for('the log to say that there is no engine', lambda: 'cannot be loaded: there is no database' in f.log_text(), 10)
        assert f.one(attached(EICAR)).text.startswith('451 4.7.1 ')
        away.rename(f.db)
        wait_for('another engine', f.workers, 10)
        wait_for('its verdict', lambda: reason_of(f.one(attached(EICAR))) == FOUND, 10)
        assert f.log_text().count('there is no database') <= 3, f.log_text()


@case
def signatures_change_under_load():
    word = b'a harmless text that a new signature knows'
    line = f'{__import__("hashlib").md5(word).hexdigest()}:{len(word)}:New.Signature\n'
    raw = attached(word)
    with Filter() as f:
        done, errors, stop = [0], [], threading.Event()

        def load(k):
            d = f.driver()
            while not stop.is_set():
                answer = d.message(mail(b'mail %d of %d\r\n' % (done[0], k)))
                if answer.verdict != 'c' or quarantined(answer):
                    errors.append(answer)
                done[0] += 1
            d.close()

        threads = [threading.Thread(target=load, args=(k,)) for k in range(3)]
        for t in threads:
            t.start()
        clean(f.one(raw), 'before')
        (f.db / 'new').write_text(DATABASE.read_text() + line)
        (f.db / 'new').rename(f.db / 'viruses.hdb')
        wait_for('the new signature', lambda: reason_of(f.one(raw)) == 'virus: New.Signature', 15)
        wait_for('the old engine to end', lambda: len(f.engines()) == 1)
        (f.db / 'viruses.hdb').write_text('this is no database\n')
        wait_for('the log to say so', lambda: 'signatures cannot be loaded, those from before stay in use' in f.log_text(), 15)
        assert quarantined(f.one(raw)).startswith('virus: New.Signature'), 'the old ones are in use'
        stop.set()
        for t in threads:
            t.join(20)
        assert not errors and done[0] > 50, (errors[:3], done)


@case
def nothing_is_left_on_disk():
    with Filter('virus_workers = 1') as f:
        pid = wait_for('a worker', f.workers)[0]
        def there():
            return {n for d in ('/tmp', '/dev/shm') for n in os.listdir(d) if 'scantemp' in n or 'clamav' in n}
        before = there()
        expect(f.one(attached(zipped(EICAR))), FOUND, 'zip')
        left = there() - before
        # somebody else's clamd may be at work: its files go, what is left stays
        wait_for(f'{left} to be somebody else\'s', lambda: not left & there())
        status = pathlib.Path(f'/proc/{pid}/status').read_text()
        if 'asan' not in program():
            assert re.search(r'^Seccomp:\s+2$', status, re.M) and re.search(r'^NoNewPrivs:\s+1$', status, re.M), status
            # a file is out of reach, a socket, another process
            import ctypes  # noqa: F401


# ---- clamd that lies

class Clamd:
    """A fake clamd: serve(conn) gets each connection; VERSION is answered unless it says otherwise."""

    def __init__(self, path, serve, version=b'ClamAV 1.0.0/27000/Mon Jan  1 00:00:00 2024\0'):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.bind(str(path))
        self.sock.listen(50)
        self.serve, self.version, self.scans = serve, version, 0
        self.path = path
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                conn, _ = self.sock.accept()
            except OSError:
                return
            threading.Thread(target=self.one, args=(conn,), daemon=True).start()

    def one(self, conn):
        try:
            conn.settimeout(30)
            word = b''
            while not word.endswith(b'\0'):
                word += conn.recv(1)
            if word == b'zVERSION\0':
                conn.sendall(self.version)
            else:
                self.scans += 1
                self.serve(conn)
        except OSError:
            pass
        finally:
            conn.close()

    def close(self):
        self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
        os.unlink(self.path)


def take_stream(conn):
    data = b''
    while True:
        head = b''
        while len(head) < 4:
            piece = conn.recv(4 - len(head))
            if not piece:
                raise OSError('short')
            head += piece
        n = struct.unpack('>I', head)[0]
        if n == 0:
            return data
        while n > 0:
            piece = conn.recv(n)
            if not piece:
                raise OSError('short')
            n -= len(piece)
            data += piece


def says(reply):
    def serve(conn):
        take_stream(conn)
        conn.sendall(reply)
    return serve


def trickles(conn):
    take_stream(conn)
    for c in b'stream: OK\0':
        conn.sendall(bytes([c]))
        time.sleep(1)


def half(conn):
    conn.recv(100)


def hangs(conn):
    take_stream(conn)
    time.sleep(20)


def early(conn):
    conn.sendall(b'stream: OK\0')
    take_stream(conn)


@case
def clamd_that_lies():
    where = rig.workdir('clamd')
    path = where / 'clamd'
    tempfail, large = '451 4.7.1 ', attached(os.urandom(3000000))
    settings = f'virus_engine = clamd:unix:{path}\nvirus_max_scan_time = 2s\nvirus_connect_timeout = 1s\nvirus_cache_size = 0'
    rows = [(says(b'stream: \0'), tempfail), (says(b'stream: OK'), tempfail), (says(b'OK\0'), tempfail), (says(b'stream: OKAY\0'), tempfail),
            (says(b'stream: OK\0stream: OK\0'), tempfail), (says(b'\xff\xfe garbage \r\n\0'), tempfail), (says(b'stream: scan ERROR\0'), tempfail),
            (says(b''), tempfail), (says(b'x' * 100000), tempfail), (trickles, tempfail), (half, tempfail), (hangs, tempfail), (early, tempfail),
            (says(b'INSTREAM size limit exceeded. ERROR\0'), 'unscanned: limits exceeded: larger than the StreamMaxLength of clamd'),
            (says(b'stream: Bad\r\nX: y FOUND\0'), 'virus: Bad__X:_y'), (says(b'stream: X\nY: z FOUND\0'), 'virus: X_Y:_z'),
            (says(b'stream: Heuristics.Encrypted.PDF FOUND\0'), 'attachment: encrypted content: Heuristics.Encrypted.PDF'),
            (says(b'stream: Heuristics.Limits.Exceeded.MaxFileSize FOUND\0'), 'unscanned: limits exceeded: Heuristics.Limits.Exceeded.MaxFileSize'),
            (says(b'stream: Eicar-Test-Signature FOUND\0'), FOUND)]
    try:
        for serve, wanted in rows:
            clamd = Clamd(path, serve)
            with Filter(settings) as f:
                for raw in (mail(b'hello\r\n'), large):
                    if serve is early and raw is not large:
                        continue  # it is all sent before anybody can know that the answer came before
                    answer = f.one(raw)
                    if wanted is tempfail:
                        assert answer.verdict == 'y' and answer.text.startswith(tempfail), (serve, answer)
                    else:
                        expect(answer, wanted, serve)
            clamd.close()
        clamd = Clamd(path, says(b'stream: OK\0'))
        with Filter(settings + '\nvirus_max_file_size = 5000') as f:  # clamd says OK of what is larger than its MaxFileSize, and has not scanned it
            expect(f.one(large), 'unscanned: limits exceeded: larger than virus_max_file_size', 'what clamd may not have scanned')
            clean(f.one(mail(b'small\r\n')), 'small')
        clamd.close()
        clamd = Clamd(path, says(b'stream: OK\0'))
        with Filter(settings) as f:
            answer = f.one(mail(b'hello\r\n'))
            clean(answer, 'OK')
            wait_for('its version', lambda: '27000' in headers(f.one(mail(b'hello\r\n')), 'X-Virus-Status')[0][1])
            clamd.close()
            for _ in range(8):
                answer = f.one(mail(b'nobody there\r\n'))
                assert answer.text.startswith(tempfail), answer
            assert 'virus_unavailable applies until it answers' in f.log_text()
            clamd = Clamd(path, says(b'stream: OK\0'))
            wait_for('it to come back', lambda: f.one(mail(b'again\r\n')).verdict == 'c', 10)
            assert 'clamd answers again' in f.log_text()
        clamd.close()
    finally:
        shutil.rmtree(where, ignore_errors=True)


@case
def clamd_is_not_overrun():
    """Sixty messages at once: some connections, the rest in line. All are scanned, and the clients of a clamd that is too slow are not kept for ever."""
    where = rig.workdir('clamd')
    path = where / 'clamd'
    settings = f'virus_engine = clamd:unix:{path}\nvirus_cache_size = 0\nvirus_wait_time = '
    now, most, gate, lock = [0], [0], threading.Event(), threading.Lock()

    def serve(conn):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        gate.wait(20)
        with lock:
            now[0] -= 1
        take_stream(conn)
        conn.sendall(b'stream: OK\0')

    def many(f, n):
        got = []
        threads = [threading.Thread(target=lambda k=k: got.append(f.one(mail(b'%d\r\n' % k)))) for k in range(n)]
        for t in threads:
            t.start()
        return got, threads

    clamd = Clamd(path, serve)
    try:
        with Filter(settings + '20s') as f:
            got, threads = many(f, 60)
            wait_for('as many connections as there may be', lambda: now[0] == 32)
            gate.set()
            for t in threads:
                t.join(20)
            assert len(got) == 60 and all(a.verdict == 'c' for a in got), got
            assert most[0] == 32, most
        gate.clear()
        with Filter(settings + '0s') as f:
            got, threads = many(f, 40)
            wait_for('who came too late', lambda: len(got) == 8)
            assert all(a.text.startswith('451 4.7.1 ') for a in got), got
            gate.set()
            for t in threads:
                t.join(20)
            assert len(got) == 40, got
    finally:
        gate.set()
        clamd.close()
        shutil.rmtree(where, ignore_errors=True)


# ---- behind another MTA

@case
def behind_postfix():
    """smtpd_milters of Postfix: what goes through, what is held, refused; several messages in a session, RSET in the middle, all of its commands."""
    script = TOP / 'tests/tools/postfix-peer.sh'
    port, milter = rig.free_ports(2)
    where = rig.workdir('virus-postfix')
    (where / 'extra.cf').write_text(f'smtpd_milters = inet:127.0.0.1:{milter}\nmilter_default_action = tempfail\n')
    hub = rig.Hub(where / 'hub', ['0'])
    lines = {}

    def text(name, size=0, extra=b''):
        lines[name] = b'line of %s\r\n' % name.encode() + (b'0123456789' * 7 + b'\r\n') * (size // 72)
        return extra + mail(lines[name]).replace(b'Subject: test', b'Subject: ' + name.encode())

    try:
        with Filter('virus_encrypted_action = reject\nvirus_max_file_size = 3000000\nvirus_limits_action = tag', listen=f'inet:{milter}@127.0.0.1') as f:
            wait_for('the engine', f.workers, 20)
            done = subprocess.run([script, 'start', where, str(port), f'[127.0.0.1]:{hub.ports[0]}'])
            if done.returncode == 77:
                raise Skip('Postfix needs root')
            assert done.returncode == 0
            s = smtplib.SMTP('127.0.0.1', port, timeout=30)
            s.ehlo('client.test')

            def one(raw, sender='a@example.com', to=('b@example.net',)):
                s.mail(sender)
                for r in to:
                    s.rcpt(r)
                return s.data(raw)

            assert one(text('first'))[0] == 250
            s.mail('a@example.com')
            s.rcpt('b@example.net')
            assert s.rset()[0] == 250
            for verb in ('NOOP', 'VRFY b@example.net', 'HELP', 'NONSENSE'):
                s.docmd(verb)
            s.mail('<>')
            s.ehlo('client.test')
            assert one(text('second', extra=b'X-Virus-Status: Clean, believe me\r\nx-virus-status:\r\n\tforged\r\n'), to=['b@example.net', 'c@example.net'])[0] == 250
            assert one(text('long', 1000000))[0] == 250
            assert one(text('larger', 4000000))[0] == 250
            code, said = one(attached(encrypted_zip(EICAR), 'secret.zip'))
            assert code == 554 and said.startswith(b'5.7.1 Message refused: encrypted content'), (code, said)
            assert one(attached(EICAR))[0] == 250  # held
            assert one(text('third'))[0] == 250
            code, said = one(b'X-Virus-Status: x\r\n' * 20000 + text('flood'))
            assert code == 554 and b'5.6.0' in said, (code, said)
            # CHUNKING: as binary as it likes
            s.docmd('MAIL', 'FROM:<a@example.com>')
            s.docmd('RCPT', 'TO:<b@example.net>')
            raw = text('chunks', 200000)
            for at in range(0, len(raw), 50001):
                piece, last = raw[at:at + 50001], at + 50001 >= len(raw)
                s.sock.sendall(b'BDAT %d%s\r\n' % (len(piece), b' LAST' if last else b'') + piece)
                assert s.getreply()[0] == 250
            # half a message, and the client is gone
            s.docmd('MAIL', 'FROM:<a@example.com>')
            s.docmd('RCPT', 'TO:<b@example.net>')
            s.docmd('DATA')
            s.sock.sendall(text('half', 100000))
            s.sock.close()
            subjects = ['chunks', 'first', 'larger', 'long', 'second', 'third']
            wait_for('what goes through', lambda: len(hub.messages()) >= len(subjects), 20)
            got = {}
            for r in hub.messages():
                content = hub.content(r).replace(b'\r\n', b'\n')
                head, _, rest = content.partition(b'\n\n')
                name = re.search(rb'^Subject: (\w+)$', head, re.M)[1].decode()
                status = re.findall(rb'^X-Virus-Status: ?(.*)$', head, re.M | re.I)
                want = b'Limits-Exceeded' if name == 'larger' else b'Clean'
                assert len(status) == 1 and status[0].startswith(want), (name, status)
                assert rest == lines[name].replace(b'\r\n', b'\n'), name
                got[name] = True
            assert sorted(got) == subjects, got
            held = subprocess.run([script, 'run', where, 'postqueue', '-p'], stdout=subprocess.PIPE, text=True).stdout
            assert re.search(r'^\w+!', held, re.M) and len(re.findall(r'^\w+!', held, re.M)) == 1, held
            log = (where / 'log').read_text(errors='replace')
            assert not re.search(r'warning: .*milter', log), log[-2000:]
            assert log.count('milter triggers HOLD action') == 1, log[-2000:]
            # the queue id of Postfix in our log
            qids = re.findall(r'cleanup\[\d+\]: (\w+): message-id=', log)
            assert qids and all(q in f.log_text() for q in qids[:2]), (qids, f.log_text()[-1500:])
    finally:
        subprocess.run([script, 'stop', where], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        hub.stop()
        shutil.rmtree(where, ignore_errors=True)


def main():
    sys.exit(run_cases(sys.argv[1:]))


if __name__ == '__main__':
    main()
