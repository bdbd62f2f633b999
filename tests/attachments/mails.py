# SPDX-License-Identifier: BSD-2-Clause
"""Messages with a file that must be found, however it is hidden (attacks M03 to M07, M15), and others that must pass.

`hidden()` and `clean()` yield (name, content). The file is evil.exe: a program by its name, by its octets, or both.
"""

import base64
import binascii
import gzip
import io
import quopri
import struct
import tarfile
import zipfile
import zlib

PROGRAM = b'MZ\x90\x00\x03\x00\x00\x00\x04\x00\x00\x00\xff\xff\x00\x00' + bytes(range(256)) * 4
TEXT = b'hello\r\n'


def lines(data, width=76):
    text = base64.b64encode(data)
    return b''.join(text[i:i + width] + b'\r\n' for i in range(0, len(text), width))


def part(header, body=None):
    return header.replace(b'\n', b'\r\n') + b'\r\n\r\n' + (lines(PROGRAM) if body is None else body)


def multi(*parts, boundary=b'BB', kind=b'mixed', top=b'', preamble=b'', epilogue=b'', declared=None):
    declared = b'; boundary="' + boundary + b'"' if declared is None else declared
    out = b'From: a@example.net\r\nTo: b@example.com\r\nSubject: x\r\nMIME-Version: 1.0\r\n' + top
    out += b'Content-Type: multipart/' + kind + declared + b'\r\n\r\n' + preamble
    for p in parts:
        out += b'--' + boundary + b'\r\n' + p
        if not p.endswith(b'\r\n'):
            out += b'\r\n'
    return out + b'--' + boundary + b'--\r\n' + epilogue


TEXTPART = part(b'Content-Type: text/plain', TEXT)


def attached(field, body=None):
    """A message with a text and one part with that header field (and base64)."""
    return multi(TEXTPART, part(field + b'\nContent-Transfer-Encoding: base64', body))


def uuencode(data, name, mode=b'644'):
    out = b'begin ' + mode + b' ' + name + b'\r\n'
    for i in range(0, len(data), 45):
        out += binascii.b2a_uu(data[i:i + 45]).rstrip(b'\n') + b'\r\n'
    return out + b'`\r\nend\r\n'


def yenc(data, name):
    body = bytearray()
    for c in data:
        c = (c + 42) & 255
        if c in (0, 10, 13, 61):
            body += b'=' + bytes([(c + 64) & 255])
        else:
            body.append(c)
    out = b'=ybegin line=128 size=%d name=%s\r\n' % (len(data), name)
    return out + bytes(body) + b'\r\n=yend size=%d\r\n' % len(data)


def binhex(data, name):
    alphabet = b'!"#$%&\'()*+,-012345689@ABCDEFGHIJKLMNPQRSTUVXYZ[`abcdefhijklmpqr'
    fork = bytes([len(name)]) + name + b'\0' + b'APPLdosx' + b'\0\0' + struct.pack('>II', len(data), 0) + b'\0\0' + data + b'\0\0\0\0'
    fork = fork.replace(b'\x90', b'\x90\x00')
    bits = ''.join(f'{c:08b}' for c in fork)
    bits += '0' * (-len(bits) % 6)
    text = bytes(alphabet[int(bits[i:i + 6], 2)] for i in range(0, len(bits), 6))
    text = b':' + text + b':'
    return b'(This file must be converted with BinHex 4.0)\r\n\r\n' + b''.join(text[i:i + 64] + b'\r\n' for i in range(0, len(text), 64))


def zipped(*members, flag=0, method=zipfile.ZIP_DEFLATED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, 'w', method) as z:
        for name, data in members:
            z.writestr(name, data)
    data = bytearray(out.getvalue())
    if flag:
        for signature, at in ((b'PK\3\4', 6), (b'PK\1\2', 8)):
            pos = data.find(signature)
            while pos >= 0:
                data[pos + at] |= flag
                pos = data.find(signature, pos + 4)
    return bytes(data)


def tar_gz(name, data):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode='w:gz') as t:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        t.addfile(info, io.BytesIO(data))
    return out.getvalue()


def tnef(name, data):
    def attribute(level, ident, value):
        return bytes([level]) + struct.pack('<II', ident, len(value)) + value + struct.pack('<H', sum(value) & 0xffff)
    out = struct.pack('<IH', 0x223e9f78, 1)
    out += attribute(1, 0x00089006, struct.pack('<I', 0x10000))
    out += attribute(2, 0x00069002, b'\0' * 14)
    out += attribute(2, 0x00018010, b'short.txt\0')
    out += attribute(2, 0x0006800f, data)
    wide = name.encode('utf-16-le') + b'\0\0'
    props = struct.pack('<I', 1) + struct.pack('<HHII', 0x1f, 0x3707, 1, len(wide)) + wide + b'\0' * (-len(wide) % 4)
    return out + attribute(2, 0x00069005, props)


def deflated(data):
    z = zlib.compressobj(9, zlib.DEFLATED, -15)
    return z.compress(data) + z.flush()


def odd_zip(name, data, packed, *, method=8, flags=0, prefix=b'', local=None, signature=b'PK\3\4'):
    """One member; `local` changes what its local header says: name, method, flags, packed, size."""
    says = {'name': name, 'method': method, 'flags': flags, 'packed': len(packed), 'size': len(data), **(local or {})}
    head = signature + struct.pack('<HHHHHIIIHH', 20, says['flags'], says['method'], 0, 0, zlib.crc32(data), says['packed'], says['size'], len(says['name']), 0)
    body = head + says['name'] + packed
    if says['flags'] & 8:
        body += struct.pack('<IIII', 0x08074b50, zlib.crc32(data), len(packed), len(data))
    entry = b'PK\1\2' + struct.pack('<HHHHHHIIIHHHHHII', 20, 20, flags, method, 0, 0, zlib.crc32(data), len(packed), len(data), len(name), 0, 0, 0, 0, 0, 0)
    return prefix + body + entry + name + struct.pack('<IHHHHIIH', 0x06054b50, 0, 0, 1, 1, len(entry) + len(name), len(body), 0)


def der(tag, data):
    n = len(data)
    size = bytes([n]) if n < 128 else bytes([0x80 | (n.bit_length() + 7) // 8]) + n.to_bytes((n.bit_length() + 7) // 8, 'big')
    return bytes([tag]) + size + data


SIGNED_OID, DATA_OID = bytes.fromhex('06092a864886f70d010702'), bytes.fromhex('06092a864886f70d010701')


def signed(data, piece=None):
    """SignedData without a signature; in pieces of unknown length as `openssl smime -stream' makes them, or in one."""
    front = b'\2\1\1' + der(0x31, b'')
    if piece is None:
        return der(0x30, SIGNED_OID + der(0xa0, der(0x30, front + der(0x30, DATA_OID + der(0xa0, der(4, data))) + der(0x31, b''))))
    pieces = b''.join(der(4, data[i:i + piece]) for i in range(0, len(data), piece))
    return (b'\x30\x80' + SIGNED_OID + b'\xa0\x80\x30\x80' + front + b'\x30\x80' + DATA_OID + b'\xa0\x80\x24\x80' + pieces + b'\0\0\0\0\0\0' +
            der(0x31, b'') + b'\0\0\0\0\0\0')


def nested_zip(depth, name, data):
    for i in range(depth):
        data = zipped((name, data))
        name = f'level{i}.zip'
    return data


def names():
    """Header fields that call a part evil.exe for somebody."""
    d = b'Content-Disposition: attachment; '
    yield 'plain', d + b'filename="evil.exe"'
    yield 'no quotes', d + b'filename=evil.exe'
    yield 'single quotes', d + b"filename='evil.exe'"
    yield 'open quote', d + b'filename="evil.exe'
    yield 'upper case', d + b'FILENAME="EVIL.EXE"'
    yield 'blank before =', d + b'filename = "evil.exe"'
    yield 'no semicolon', b'Content-Disposition: attachment filename=evil.exe'
    yield 'blank before colon', b'Content-Disposition : attachment; filename=evil.exe'
    yield 'only a name', b'Content-Type: application/octet-stream; name="evil.exe"'
    yield 'type and disposition', b'Content-Type: image/png; name="a.png"\nContent-Disposition: attachment; filename="evil.exe"'
    yield 'disposition and type', b'Content-Type: application/x; name="evil.exe"\nContent-Disposition: attachment; filename="a.png"'
    yield 'twice, first', d + b'filename="evil.exe"; filename="a.txt"'
    yield 'twice, second', d + b'filename="a.txt"; filename="evil.exe"'
    yield 'header twice, first', d + b'filename="evil.exe"\n' + d + b'filename="a.txt"'
    yield 'header twice, second', d + b'filename="a.txt"\n' + d + b'filename="evil.exe"'
    yield 'type twice', b'Content-Type: text/plain\nContent-Type: application/x; name="evil.exe"'
    yield '2231', d + b"filename*=utf-8''evil%2Eexe"
    yield '2231 without quotes', d + b'filename*=evil%2Eexe'
    yield '2231 quoted', d + b"filename*=\"utf-8''evil%2Eexe\""
    yield '2231 pieces', d + b'filename*0="ev"; filename*1="il.e"; filename*2="xe"'
    yield '2231 pieces, encoded', d + b"filename*0*=utf-8''ev%69; filename*1=\"l.exe\""
    yield '2231 pieces, shuffled', d + b'filename*2="xe"; filename*0="ev"; filename*1="il.e"'
    yield '2231 pieces, folded', d + b'filename*0="ev";\n filename*1="il.e";\n\tfilename*2="xe"'
    yield '2231 pieces, one missing', d + b'filename*0="evil"; filename*2=".exe"'
    yield '2231 pieces, zeros', d + b'filename*00="evil"; filename*01=".exe"'
    yield '2231 pieces of name', b'Content-Type: application/x; name*0="evil"; name*1=".exe"'
    yield '2231 beside plain', d + b"filename=\"a.txt\"; filename*=utf-8''evil.exe"
    yield '2231 utf-16', d + b"filename*=utf-16le''e%00v%00i%00l%00.%00e%00x%00e%00"
    yield '2231 utf-7', d + b"filename*=utf-7''evil%2BAC4-exe"
    yield '2231 unknown set', d + b"filename*=x-none''evil%2eexe"
    yield 'encoded word B', d + b'filename="=?utf-8?B?' + base64.b64encode(b'evil.exe') + b'?="'
    yield 'encoded word Q', d + b'filename="=?us-ascii?Q?evil=2Eexe?="'
    yield 'encoded words', d + b'filename="=?utf-8?Q?evil?= =?utf-8?B?' + base64.b64encode(b'.exe') + b'?="'
    yield 'encoded words, folded', d + b'filename="=?utf-8?Q?evil?=\n =?utf-8?Q?=2Eexe?="'
    yield 'encoded word, no end', d + b'filename="=?utf-8?Q?evil.exe'
    yield 'encoded word, no quotes', d + b'filename==?utf-8?Q?evil.exe?='
    yield 'encoded word, utf-16', d + b'filename="=?utf-16be?B?' + base64.b64encode('evil.exe'.encode('utf-16-be')) + b'?="'
    yield 'encoded word in 2231', d + b"filename*0=\"=?utf-8?Q?evil\"; filename*1=\"=2Eexe?=\""
    yield 'folded in quotes', d + b'filename="evil.\n exe"'
    yield 'backslash', d + b'filename="evil\\.e\\xe"'
    yield 'quote in quotes', d + b'filename="a\\".txt"; filename="evil.exe"'
    yield 'path', d + b'filename="..\\..\\evil.exe"'
    yield 'path of Unix', d + b'filename="/tmp/evil.exe"'
    yield 'drive', d + b'filename="C:evil.exe"'
    yield 'stream', d + b'filename="evil.exe::$DATA"'
    yield 'dots behind', d + b'filename="evil.exe..."'
    yield 'blanks behind', d + b'filename="evil.exe   "'
    yield 'dots and blanks', d + b'filename="evil.exe. . ."'
    yield 'no-break space', d + 'filename="evil.exe\u00a0"'.encode()
    yield 'zero width', d + 'filename="evil.e\u200bxe"'.encode()
    yield 'byte order mark', d + 'filename="evil.exe\ufeff"'.encode()
    yield 'right to left', d + 'filename="evil\u202egpj.exe"'.encode()
    yield 'right to left, isolate', d + 'filename="evil\u2067txt.\u2069exe"'.encode()
    yield 'full width', d + 'filename="evil\uff0e\uff45\uff58\uff45"'.encode()
    yield 'soft hyphen', d + 'filename="evil.ex\u00ade"'.encode()
    yield 'two extensions', d + b'filename="invoice.pdf.exe"'
    yield 'many blanks', d + b'filename="invoice.pdf' + b' ' * 100 + b'.exe"'
    yield 'comment', d + b'filename=evil.exe(a.txt)'
    yield 'comment before', d + b'filename=(a.txt)evil.exe'
    yield 'comment within', b'Content-Disposition: attachment (a; filename="a.txt"); filename=evil.exe'
    yield 'percent', d + b'filename="evil%2Eexe"'
    yield 'tab', d + b'filename="evil.exe\t"'
    yield 'behind junk', d + b'x="y; filename=evil.exe'
    yield 'description', b'Content-Type: application/octet-stream\nContent-Description: evil.exe'
    yield 'location', b'Content-Type: application/octet-stream\nContent-Location: http://example.net/a/evil.exe?x=y.txt'
    yield 'empty, then name', b'Content-Type: application/x; name="evil.exe"\nContent-Disposition: attachment; filename=""'
    yield 'junk line before', b'X\nContent-Disposition: attachment; filename="evil.exe"'
    yield 'line of blanks before', b'Content-Type: application/x\n \t\nContent-Disposition: attachment; filename="evil.exe"'
    yield 'type without slash', b'Content-Type: foo; name=evil.exe'


def structures():
    exe = part(b'Content-Type: application/octet-stream; name="evil.exe"\nContent-Transfer-Encoding: base64')
    yield 'two boundaries, the first', multi(TEXTPART, exe, boundary=b'A', declared=b'; boundary="A"; boundary="B"')
    yield 'two boundaries, the second', multi(TEXTPART, exe, boundary=b'B', declared=b'; boundary="A"; boundary="B"')
    yield 'other boundary', multi(TEXTPART, exe, boundary=b'B', declared=b'; boundary="A"')
    yield 'no boundary', multi(TEXTPART, exe, declared=b'')
    yield 'empty boundary', multi(TEXTPART, exe, boundary=b'', declared=b'; boundary=""')
    yield 'boundary with blanks', multi(TEXTPART, exe, boundary=b'B B', declared=b'; boundary="B B "')
    yield 'boundary of 2231', multi(TEXTPART, exe, boundary=b'BB', declared=b"; boundary*=utf-8''%42%42")
    yield 'boundary of pieces', multi(TEXTPART, exe, boundary=b'BBCC', declared=b'; boundary*0=BB; boundary*1=CC')
    yield 'boundary in a comment', multi(TEXTPART, exe, declared=b'; (boundary=A) boundary=BB')
    yield 'boundary cut', multi(TEXTPART, exe, boundary=b'B' * 200, declared=b'; boundary="' + b'B' * 70 + b'"')
    yield 'preamble', multi(TEXTPART, preamble=b'--XX\r\n' + exe + b'\r\n')
    yield 'epilogue', multi(TEXTPART, epilogue=b'--BB\r\n' + exe)
    yield 'behind the end', multi(TEXTPART) + b'\r\n--BB\r\n' + exe
    yield 'not ended', multi(TEXTPART, exe)[:-8]
    yield 'blank behind the boundary', multi(TEXTPART, exe).replace(b'--BB\r\n', b'--BB \t\r\n')
    yield 'LF only', multi(TEXTPART, exe).replace(b'\r\n', b'\n').replace(b'\n\n', b'\r\n\r\n', 1)
    yield 'multipart twice', multi(TEXTPART, exe, top=b'Content-Type: text/plain\r\n')
    yield 'text first, then multipart', multi(TEXTPART, exe).replace(b'MIME-Version: 1.0\r\n', b'MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n')
    yield 'without MIME-Version', multi(TEXTPART, exe).replace(b'MIME-Version: 1.0\r\n', b'')
    yield 'type without subtype', multi(TEXTPART, exe).replace(b'multipart/mixed', b'multipart')
    yield 'alternative', multi(TEXTPART, exe, kind=b'alternative')
    yield 'related', multi(TEXTPART, exe, kind=b'related')
    yield 'unknown multipart', multi(TEXTPART, exe, kind=b'x-foo')
    yield 'only part', multi(exe)
    yield 'the message itself', b'From: a@example.net\r\n' + exe
    yield 'the message itself, disposition', b'From: a@example.net\r\nContent-Disposition: attachment; filename=evil.exe\r\n\r\nhello\r\n'
    inner = multi(TEXTPART, exe, boundary=b'CC')
    yield 'multipart in multipart', multi(TEXTPART, inner[inner.index(b'Content-Type'):])
    yield 'same boundary inside', multi(TEXTPART, multi(TEXTPART, exe)[len(b'From: a@example.net\r\nTo: b@example.com\r\nSubject: x\r\nMIME-Version: 1.0\r\n'):])
    yield 'message', multi(TEXTPART, part(b'Content-Type: message/rfc822', inner))
    yield 'message, base64', multi(TEXTPART, part(b'Content-Type: message/rfc822\nContent-Transfer-Encoding: base64', lines(inner)))
    yield 'message, quoted-printable', multi(TEXTPART, part(b'Content-Type: message/rfc822\nContent-Transfer-Encoding: quoted-printable',
                                                            quopri.encodestring(inner).replace(b'\n', b'\r\n')))
    yield 'message as a file', multi(TEXTPART, part(b'Content-Type: application/octet-stream; name=a.eml\nContent-Transfer-Encoding: base64', lines(inner)))
    yield 'multipart, base64', multi(TEXTPART, part(b'Content-Type: multipart/mixed; boundary=CC\nContent-Transfer-Encoding: base64',
                                                    lines(inner[inner.index(b'\r\n\r\n') + 4:])))
    yield 'digest', multi(part(b'', inner)[2:], kind=b'digest')
    yield 'message at the top', b'From: a@example.net\r\nContent-Type: message/rfc822\r\n\r\n' + inner
    deep = inner
    for _ in range(20):
        deep = b'Subject: y\r\nContent-Type: message/rfc822\r\n\r\n' + deep
    yield 'message in message, 20 times', deep
    deep = exe
    for i in range(20):
        b = b'L%d' % i
        deep = b'Content-Type: multipart/mixed; boundary=' + b + b'\r\n\r\n--' + b + b'\r\n' + deep + b'\r\n--' + b + b'--\r\n'
    yield 'multipart in multipart, 20 times', b'From: a@example.net\r\n' + deep
    yield 'blank before the first field', multi(TEXTPART, b' Content-Type: application/x; name=evil.exe\r\n\r\nx')
    yield 'header without a body', multi(TEXTPART, b'Content-Type: application/x; name=evil.exe\r\n')
    yield 'appledouble', multi(TEXTPART, part(b'Content-Type: application/applefile; name="evil.exe"\nContent-Transfer-Encoding: base64'), exe, kind=b'appledouble')
    yield 'partial', b'From: a@example.net\r\nContent-Type: message/partial; id="x"; number=1; total=2\r\n\r\n' + inner
    yield 'external body', multi(TEXTPART, part(b'Content-Type: message/external-body; access-type=URL; URL="http://example.net/x"', b'Content-Type: image/png\r\n\r\n'))
    yield 'partial in lower parts', multi(TEXTPART, part(b'Content-Type: Message/Partial ; id="x"; number=1', b'x\r\n'))


def real_types():
    """The name is harmless, the octets are a program."""
    f = b'Content-Type: image/png; name="a.png"'
    yield 'base64', attached(f)
    for i, cte in enumerate((b'BASE64', b'base64 (x)', b'base64;', b'"base64"', b'=?utf-8?Q?base64?=', b' base64 , 7bit', b'x-base64', b'foo', b'')):
        yield f'encoding {cte.decode()!r}', multi(TEXTPART, part(f + b'\nContent-Transfer-Encoding: ' + cte))
    yield 'two encodings, base64 first', multi(TEXTPART, part(f + b'\nContent-Transfer-Encoding: base64\nContent-Transfer-Encoding: 7bit'))
    yield 'two encodings, base64 second', multi(TEXTPART, part(f + b'\nContent-Transfer-Encoding: 7bit\nContent-Transfer-Encoding: base64'))
    qp = b'=\r\n'.join(b'=%02X' % c for c in PROGRAM)
    for first, second in ((b'quoted-printable', b'7bit'), (b'7bit', b'quoted-printable'), (b'quoted-printable', b'base64'), (b'base64', b'quoted-printable')):
        yield f'two encodings, {first.decode()} and {second.decode()}', multi(TEXTPART, part(f + b'\nContent-Transfer-Encoding: ' + first + b'\nContent-Transfer-Encoding: ' + second, qp))
    yield 'unknown encoding, junk before', multi(TEXTPART, part(f + b'\nContent-Transfer-Encoding: foo', b'!!!\r\n' + lines(PROGRAM)))
    yield 'no encoding said', multi(TEXTPART, part(f))
    yield 'binary', multi(TEXTPART, part(f + b'\nContent-Transfer-Encoding: binary', PROGRAM.replace(b'\r', b'').replace(b'\n', b'')))
    yield 'quoted-printable', multi(TEXTPART, part(f + b'\nContent-Transfer-Encoding: quoted-printable', quopri.encodestring(PROGRAM).replace(b'\n', b'\r\n')))
    yield 'uuencode', multi(TEXTPART, part(f + b'\nContent-Transfer-Encoding: x-uuencode', uuencode(PROGRAM, b'a.png')))
    yield 'base64 with junk', attached(f, b'!!!\r\n' + lines(PROGRAM).replace(b'A', b'A!*'))
    yield 'base64 of single characters', attached(f, b''.join(bytes([c]) + b'\r\n' for c in lines(PROGRAM) if c not in b'\r\n'))
    yield 'base64 with padding inside', attached(f, base64.b64encode(PROGRAM[:1]) + base64.b64encode(PROGRAM[1:]) + b'\r\n')
    yield 'text/plain', attached(b'Content-Type: text/plain')
    yield 'body of the message', b'From: a@example.net\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\n' + lines(PROGRAM)
    yield 'false boundary in the middle', attached(f, lines(PROGRAM)[:10] + b'\r\n--XX\r\n' + lines(PROGRAM)[10:])


def archives():
    f = b'Content-Type: application/octet-stream; name="%s"'
    yield 'zip', attached(f % b'a.zip', lines(zipped(('evil.exe', PROGRAM))))
    yield 'zip, harmless name', attached(f % b'a.zip', lines(zipped(('a.png', PROGRAM))))
    yield 'zip, stored', attached(f % b'a.zip', lines(zipped(('evil.exe', PROGRAM), method=zipfile.ZIP_STORED)))
    yield 'zip, folder', attached(f % b'a.zip', lines(zipped(('a/b/evil.exe', PROGRAM))))
    yield 'zip, other name', attached(f % b'a.png', lines(zipped(('evil.exe', b'x'))))
    yield 'zip, encrypted', attached(f % b'a.zip', lines(zipped(('evil.exe', PROGRAM), flag=1)))
    yield 'zip behind junk', attached(f % b'a.zip', lines(b'junk' * 100 + zipped(('evil.exe', b'x'))))
    plain = zipped(('evil.exe', b'x'))
    yield 'zip, only local headers', attached(f % b'a.zip', lines(plain[:plain.index(b'PK\1\2')]))
    yield 'zip, names differ, directory', attached(f % b'a.zip', lines(plain.replace(b'evil.exe', b'good.txt', 1)))
    yield 'zip, names differ, local', attached(f % b'a.zip', lines(plain[::-1].replace(b'exe.live', b'txt.doog', 1)[::-1]))
    yield 'zip, two directories', attached(f % b'a.zip', lines(plain + zipped(('good.txt', b'x'))))
    yield 'zip in zip', attached(f % b'a.zip', lines(nested_zip(2, 'evil.exe', PROGRAM)))
    yield 'zip in zip in zip in zip', attached(f % b'a.zip', lines(nested_zip(4, 'evil.exe', PROGRAM)))
    yield 'zip deeper than the limit', attached(f % b'a.zip', lines(nested_zip(9, 'evil.exe', PROGRAM)))
    # header and directory differ about what the member is
    inner = zipped(('evil.exe', b'x'))
    for what, says in (('size', {'packed': 3, 'size': 3}), ('method', {'method': 99}), ('method, stored', {'method': 0}), ('encryption', {'flags': 1}),
                       ('folder', {'name': b'x/', 'size': 0}), ('sizes behind, method', {'flags': 8, 'method': 0, 'packed': 0, 'size': 0})):
        yield f'zip, header lies: {what}', attached(f % b'a.zip', lines(odd_zip(b'b.zip', inner, deflated(inner), local=says)))
        yield f'zip, header lies: {what}, behind junk', attached(f % b'a.zip', lines(odd_zip(b'b.png', PROGRAM, deflated(PROGRAM), local=says, prefix=b'junk' * 9)))
    yield 'zip, header lies: size of what is stored', attached(f % b'a.zip', lines(odd_zip(b'b.png', PROGRAM, PROGRAM, method=0, local={'packed': 1, 'size': 1})))
    yield 'zip, no signature of the header', attached(f % b'a.zip', lines(odd_zip(b'b.png', PROGRAM, deflated(PROGRAM), signature=b'XXXX')))
    yield 'zip, no signature of the header, behind junk', attached(f % b'a.zip', lines(odd_zip(b'b.zip', inner, deflated(inner), signature=b'XXXX', prefix=b'junk')))
    yield 'zip, empty blocks first', attached(f % b'a.zip', lines(odd_zip(b'b.zip', inner, b'\0\0\0\xff\xff' * 20000 + deflated(inner))))
    yield 'zip, empty blocks first, program', attached(f % b'a.zip', lines(odd_zip(b'b.png', PROGRAM, b'\0\0\0\xff\xff' * 20000 + deflated(PROGRAM))))
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        yield f'zip, method {method}', attached(f % b'a.zip', lines(zipped(('b.zip', inner), method=method)))
        yield f'zip, method {method}, program', attached(f % b'a.zip', lines(zipped(('b.png', PROGRAM), method=method)))
    yield 'zip, method nobody knows', attached(f % b'a.zip', lines(odd_zip(b'b.png', PROGRAM, PROGRAM, method=200)))
    yield 'zip, much behind it', attached(f % b'a.zip', lines(b'junk' + inner + b'y' * 70000))
    yield 'tar.gz', attached(f % b'a.tar.gz', lines(tar_gz('evil.exe', PROGRAM)))
    yield 'gz', attached(f % b'evil.exe.gz', lines(gzip.compress(PROGRAM)))
    yield 'gz, harmless name', attached(f % b'a.gz', lines(gzip.compress(PROGRAM)))
    yield 'winmail.dat, long name', attached(f % b'winmail.dat', lines(tnef('evil.exe', b'x')))
    yield 'winmail.dat, octets', attached(f % b'winmail.dat', lines(tnef('a.txt', PROGRAM)))
    yield 'winmail.dat in zip', attached(f % b'a.zip', lines(zipped(('winmail.dat', tnef('evil.exe', b'x')))))
    yield 'message in zip', attached(f % b'a.zip', lines(zipped(('a.eml', attached(b'Content-Type: application/x; name=evil.exe')))))
    yield 'zip bomb', attached(f % b'a.zip', lines(zipped(('a.zip', zipped(('zeros', b'\0' * (120 << 20)), method=zipfile.ZIP_STORED)))))
    yield 'tar.gz bomb', attached(f % b'a.tgz', lines(tar_gz('zeros', b'\0' * (120 << 20))))
    yield 'gzip, name in its header', attached(f % b'a.gz', lines(b'\x1f\x8b\x08\x08\0\0\0\0\0\3evil.exe\0' + gzip.compress(b'\0' * 2000)[10:]))
    yield 'many members', attached(f % b'a.zip', lines(zipped(*((f'{i}.txt', b'') for i in range(12000)))))


def signed_ones():
    exe = part(b'Content-Type: application/octet-stream; name="evil.exe"\nContent-Transfer-Encoding: base64', lines(b'x'))
    whole = multi(TEXTPART, exe)
    entity = whole[whole.index(b'Content-Type'):]
    top = b'From: a@example.net\r\nMIME-Version: 1.0\r\n'
    field = b'Content-Type: application/pkcs7-mime; smime-type=signed-data; name=smime.p7m\nContent-Transfer-Encoding: base64'
    for what, piece in (('one piece', None), ('pieces', 100), ('pieces of one octet', 1)):
        yield f'part, {what}', top + part(field, lines(signed(exe, piece)))
        yield f'multipart, {what}', top + part(field, lines(signed(entity, piece)))
        yield f'message, {what}', top + part(field, lines(signed(whole, piece)))
    yield 'twice', top + part(field, lines(signed(part(field, lines(signed(entity))))))
    yield 'program', attached(b'Content-Type: application/x; name="a.pdf.p7m"', lines(signed(PROGRAM)))
    yield 'name', attached(b'Content-Type: application/x; name="evil.exe.p7m"', lines(signed(b'x')))
    yield 'zip', attached(b'Content-Type: application/x; name="a.zip.p7m"', lines(signed(zipped(('evil.exe', b'x')))))
    yield 'cut before its content', attached(b'Content-Type: application/x; name="a.p7m"', lines(signed(entity)[:25]))


def texts():
    head = b'From: a@example.net\r\nSubject: x\r\n'
    yield 'uuencode', head + b'\r\nhello\r\n\r\n' + uuencode(PROGRAM, b'evil.exe')
    yield 'uuencode, first line', head + b'\r\n' + uuencode(PROGRAM, b'evil.exe')
    yield 'uuencode, harmless name', head + b'\r\n' + uuencode(PROGRAM, b'a.png')
    yield 'uuencode, no mode', head + b'\r\n' + uuencode(PROGRAM, b'evil.exe', b'').replace(b'begin  ', b'begin  ')
    yield 'uuencode, not ended', head + b'\r\n' + uuencode(PROGRAM, b'evil.exe')[:-8]
    yield 'uuencode, blanks in the name', head + b'\r\n' + uuencode(PROGRAM, b'my evil.exe')
    yield 'begin-base64', head + b'\r\nbegin-base64 644 evil.exe\r\n' + lines(PROGRAM) + b'====\r\n'
    yield 'yenc', head + b'\r\n' + yenc(PROGRAM, b'evil.exe')
    yield 'yenc, harmless name', head + b'\r\n' + yenc(PROGRAM, b'a.png')
    yield 'binhex', head + b'\r\n' + binhex(PROGRAM, b'evil.exe')
    yield 'binhex, harmless name', head + b'\r\n' + binhex(PROGRAM, b'a.png')
    yield 'uuencode in a part', multi(part(b'Content-Type: text/plain', uuencode(PROGRAM, b'evil.exe')))
    yield 'uuencode in base64', multi(part(b'Content-Type: text/plain\nContent-Transfer-Encoding: base64', lines(uuencode(PROGRAM, b'evil.exe'))))
    yield 'uuencode in a message', multi(part(b'Content-Type: message/rfc822', head + b'\r\n' + uuencode(PROGRAM, b'evil.exe')))
    yield 'uuencode in the preamble', multi(TEXTPART, preamble=uuencode(PROGRAM, b'evil.exe'))


def limits():
    yield 'many parts', multi(*[TEXTPART] * 10000)
    deep = TEXT
    for i in range(1000):
        b = b'L%d' % i
        deep = b'Content-Type: multipart/mixed; boundary=' + b + b'\r\n\r\n--' + b + b'\r\n' + deep + b'\r\n--' + b + b'--\r\n'
    yield 'deep multiparts', b'From: a@example.net\r\n' + deep
    deep = multi(TEXTPART)
    for _ in range(1000):
        deep = b'Subject: y\r\nContent-Type: message/rfc822\r\n\r\n' + deep
    yield 'deep messages', deep
    yield 'many names', attached(b'Content-Disposition: attachment; ' + b'; '.join(b'filename="a%d.txt"' % i for i in range(300)))
    yield 'long name', attached(b'Content-Disposition: attachment; filename="' + b'a' * 50000 + b'.txt"')


def hidden():
    for name, field in names():
        yield 'name: ' + name, attached(field, lines(b'x'))
    for name, content in structures():
        yield 'structure: ' + name, content
    for name, content in real_types():
        yield 'octets: ' + name, content
    for name, content in archives():
        yield 'archive: ' + name, content
    for name, content in texts():
        yield 'text: ' + name, content
    for name, content in signed_ones():
        yield 'signed: ' + name, content
    for name, content in limits():
        yield 'limit: ' + name, content


def clean():
    head = b'From: a@example.net\r\nSubject: x\r\n'
    yield 'text', head + b'\r\nhello\r\n'
    yield 'empty', head + b'\r\n'
    yield 'no header', b'\r\nhello\r\n'
    yield 'text with dashes', head + b'\r\n-- \r\nA. Sender\r\nevil.exe is not attached\r\n'
    yield 'about begin', head + b'\r\nbegin to read\r\nend\r\n'
    yield 'multipart', multi(TEXTPART, part(b'Content-Type: text/html', b'<p>hello</p>\r\n'), kind=b'alternative')
    yield 'picture', attached(b'Content-Type: image/png; name="a.png"', lines(b'\x89PNG\r\n\x1a\n' + bytes(3000)))
    yield 'pdf', attached(b'Content-Type: application/pdf; name="exe.pdf"', lines(b'%PDF-1.4\n' + bytes(3000)))
    yield 'zip', attached(b'Content-Type: application/zip; name="a.zip"', lines(zipped(('a.txt', b'hello'), ('b/c.pdf', b'%PDF-1.4'))))
    docx = zipped(('[Content_Types].xml', b'<?xml?>'), ('word/document.xml', b'<?xml?>' * 2000))
    yield 'zip of documents, stored', attached(b'Content-Type: application/zip; name="a.zip"', lines(zipped(*((f'{i}/a{i}.docx', docx) for i in range(50)), method=zipfile.ZIP_STORED)))
    yield 'zip, sizes behind the data', attached(b'Content-Type: application/zip; name="a.zip"', lines(odd_zip(b'b.docx', docx, deflated(docx), local={'flags': 8, 'packed': 0, 'size': 0})))
    yield 'zip, LZMA', attached(b'Content-Type: application/zip; name="a.zip"', lines(zipped(('a.docx', docx), ('b.txt', b'hello'), method=zipfile.ZIP_LZMA)))
    yield 'signature', multi(TEXTPART, part(b'Content-Type: application/pkcs7-signature; name=smime.p7s\nContent-Transfer-Encoding: base64',
                                            lines(der(0x30, SIGNED_OID + der(0xa0, der(0x30, b'\2\1\1' + der(0x31, b'') + der(0x30, DATA_OID) + der(0x31, b'')))))), kind=b'signed')
    yield 'signed invoice', attached(b'Content-Type: application/x; name="a.xml.p7m"', lines(signed(b'<?xml version="1.0"?><a/>')))
    yield 'signed message', b'From: a@example.net\r\n' + part(b'Content-Type: application/pkcs7-mime; name=smime.p7m\nContent-Transfer-Encoding: base64', lines(signed(TEXTPART, 7)))
    yield 'docx', attached(b'Content-Type: application/x; name="a.docx"', lines(zipped(('[Content_Types].xml', b'<?xml?>'), ('word/document.xml', b'<?xml?>'))))
    yield 'tar.gz', attached(b'Content-Type: application/x; name="a.tar.gz"', lines(tar_gz('a/b.txt', b'hello')))
    yield 'message', multi(TEXTPART, part(b'Content-Type: message/rfc822', multi(TEXTPART, boundary=b'CC')))
    yield 'umlauts', attached(b"Content-Disposition: attachment; filename*=utf-8''M%C3%BCller.txt", lines(b'x'))
    yield 'japanese', attached(b'Content-Disposition: attachment; filename="=?ISO-2022-JP?B?' + base64.b64encode('日本語.txt'.encode('iso-2022-jp')) + b'?="', lines(b'x'))
    yield 'raw octets', attached('Content-Disposition: attachment; filename="Привет.txt"'.encode('koi8-r'), lines(b'x'))
    yield 'mz text', attached(b'Content-Type: text/plain; name="a.txt"', lines(b'MZ is the name of a station. ' * 10))
    yield '8 bit', head + b'Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\xe4\xf6\xfc\r\n'
