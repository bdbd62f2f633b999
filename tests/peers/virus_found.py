# SPDX-License-Identifier: BSD-2-Clause
"""What the virus filter has to find, wherever it hides, and what it must not find."""

import base64
import bz2
import gzip
import io
import lzma
import os
import pathlib
import re
import struct
import threading
import time
import zipfile
import zlib

import mails
from cases import PEERS, Skip, case
from milterdriver import quarantined
from rig import wait_for
from virus_world import EICAR, FOUND, Filter, TEXT, attached, b64, clean, encrypted_zip, expect, mail, multipart, part, qp, reason_of, uu, zipped


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
