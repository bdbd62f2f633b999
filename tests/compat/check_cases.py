# SPDX-License-Identifier: BSD-2-Clause
"""Tables and messages for checks.py, and where we differ from Postfix on purpose."""

import re

HEADER = r'''/^Subject: .*forbidden/ REJECT
/^Subject: .*worded/ REJECT 5.7.9 not here, please
/^Subject: .*later/ REJECT 4.7.9 come again
/^Subject: .*odd status/ REJECT 2.1.5 fine
/^Subject: .*number/ REJECT 550 5.1.1 no
/^Subject: .*warned/ WARN look at this
/^Subject: .*informed/ INFO
/^Subject: .*gone/ DISCARD nobody wants it
/^Subject: .*replaced (.*)$/ REPLACE Subject: other $1
/^X-Strip:/ STRIP no such thing
/^X-Ignore:/ IGNORE
/^X-Prepend: (.*)$/ PREPEND X-Before: $1
/^X-Prepend2: (.*)$/ PREPEND no header
/^X-Replace: (.*)/ REPLACE X-Replaced: <$1>
/^X-Replace2: (.*)/ REPLACE bad
/^X-Empty:/ REPLACE
/^X-Empty2:/ PREPEND
/^X-Pass:/ PASS enough
/^X-Late:/ WARN late
/^X-To:/ REDIRECT other@any.example
/^X-To2:/ REDIRECT nowhere
/^X-Bcc:/ BCC copy@any.example
/^X-Bcc2:/ BCC nobody
/^X-Odd:/ EXPLODE now
/^X-Ok:/ OK or what
/^X-Dunno:/ DUNNO
/^X-Filter2:/ FILTER nothing
/^X-Filter3:/ FILTER
/^Bcc:/ WARN was there
/^From: (.*)/ PREPEND X-From: $1
/^Received: from client/ WARN ours
/^Date:/ IGNORE
/deadbeef/ WARN dead
'''

MIME = r'''/^Content-Type: .*name="?(.*\.exe)/ REJECT no programs: $1
/^Content-Disposition: (.*)/ REPLACE Content-Disposition: seen; $1
/^Content-Description:/ IGNORE
/^Content-ID:/ STRIP id
/^X-Part: (.*)/ PREPEND X-In-Part: $1
/^Content-Transfer-Encoding: (.*)/ WARN $1
/^MIME-Version:/ INFO
/^Content-Type: message/ WARN message
/./ DUNNO
'''

NESTED = r'''/^Subject: (.*)/ WARN nested $1
/^X-Ignore:/ IGNORE
/^X-Prepend: (.*)/ PREPEND X-Nested: $1
/^From:/ INFO nested from
/^X-Replace: (.*)/ REPLACE X-Nested: $1
'''

BODY = r'''/^refuse this/ REJECT bad words
/^refuse$/ REJECT
/^ignore this/ IGNORE
/^strip this/ STRIP stripped
/^replace (.*)$/ REPLACE [$1]
/^prepend (.*)$/ PREPEND {$1}
/^prepend$/ PREPEND
/^warn/ WARN
/^info (.*)/ INFO $1
/^pass/ PASS
/^--/ WARN boundary
/^x{2000,}/ WARN long
/^$/ WARN empty
/odd/ DO
'''

ALL = {'h': HEADER, 'm': MIME, 'n': NESTED, 'b': BODY}
USE = ('header_checks = pcre:$TABLES/h\nmime_header_checks = pcre:$TABLES/m\nnested_header_checks = pcre:$TABLES/n\nbody_checks = pcre:$TABLES/b\n')
OUT_HEADER = '\n'.join(line for line in HEADER.splitlines() if not any(w in line for w in ('REJECT', 'DISCARD', 'PASS', 'REDIRECT', 'BCC c', 'FILTER'))) + '\n'
OUT_BODY = '\n'.join(line for line in BODY.splitlines() if not any(w in line for w in ('REJECT', 'PASS'))) + '\n'

# name: (tables, lines of main.cf)
CONFIGS = {
    'all': (ALL, USE),
    'regexp': ({'h': HEADER, 'b': BODY}, 'header_checks = regexp:$TABLES/h\nbody_checks = regexp:$TABLES/b\n'),
    'small': (ALL, USE + 'body_checks_size_limit = 30\n'),
    'no mime': (ALL, USE + 'disable_mime_input_processing = yes\n'),
    'nesting': (ALL, USE + 'mime_nesting_limit = 2\nmime_boundary_length_limit = 5\n'),
    'short lines': (ALL, USE + 'line_length_limit = 512\n'),
    'strict': ({}, 'strict_8bitmime = yes\nstrict_mime_encoding_domain = yes\n'),
    'strict headers': ({}, 'strict_7bit_headers = yes\n'),
    'strict body': ({}, 'strict_8bitmime_body = yes\n'),
    'strict domain': ({}, 'strict_mime_encoding_domain = yes\n'),
    'characters': ({}, 'message_reject_characters = \\0\\001\nmessage_strip_characters = \\002x\n'),
    'out': ({'h': OUT_HEADER, 'm': MIME.replace('REJECT', 'WARN'), 'n': NESTED, 'b': OUT_BODY},
            'smtp_header_checks = pcre:$TABLES/h\nsmtp_mime_header_checks = pcre:$TABLES/m\nsmtp_nested_header_checks = pcre:$TABLES/n\nsmtp_body_checks = pcre:$TABLES/b\n'),
    'none': (ALL, USE + 'receive_override_options = no_header_body_checks\n'),
}

S = b'Subject: %s\r\nX-Late: x\r\n\r\nbody\r\n'
_SUBJECTS = [b'forbidden', b'worded', b'later', b'odd status', b'number', b'warned', b'informed', b'gone', b'replaced a b', b'\xc3\xbc warned', b'\xff warned',
             b'folded\r\n warned', b'folded\r\n\tforbidden', b'w' * 300 + b' warned', b'forbidden' + b'\r\n x' * 3000]
_HEADERS = [b'X-Strip: a', b'X-Ignore: b\r\n c', b'X-Prepend: me', b'X-Prepend2: me', b'X-Replace: a\r\n\tb\r\n c', b'X-Replace2: a', b'X-Empty: a', b'X-Empty2: a',
            b'X-Pass: a', b'X-To: a', b'X-To2: a', b'X-Bcc: a', b'X-Bcc2: a', b'X-Odd: a', b'X-Ok: a', b'X-Dunno: a', b'X-Filter2: a', b'X-Filter3: a', b'Bcc: a@b.example',
            b'From: a@b.example', b'Date: then', b'X-Strip : spaced', b'X-Replace\t: spaced', b'Content-Type: text/plain; name=a.exe', b'Content-Disposition: attachment',
            b'MIME-Version: 1.0', b'X-Part: main', b'X-Ignore: a\r\nX-Ignore: b\r\nX-Strip: c', b'X-Prepend: ', b'X-Prepend: a\r\nX-Strip: b']
_BODIES = [b'refuse this', b'refuse', b'ignore this', b'strip this', b'replace a b', b'replace ', b'prepend it', b'prepend', b'warn', b'info x', b'pass\r\nwarn', b'--', b'odd',
           b'x' * 1999, b'x' * 2048, b'x' * 2049, b'x' * 5000, b'.replace x', b'replace ' + b'y' * 3000, b'ignore this' + b'y' * 3000, b'12345678901234567890\r\n1234567890\r\nwarn',
           b'1234567890123456789012345678\r\nwarn', b'prepend ' + b'z' * 4100, b'line\r\nreplace x\r\nline\r\nignore this\r\nline\r\nprepend y', b'\x01', b'a\x02xb', b'nul \0 x',
           b'replace \xc3\xbc', b'warn \xff', b'']

M = b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b1"\r\n'
_MIME = [
    M + b'\r\npreamble\r\nwarn\r\n--b1\r\nContent-Type: text/plain\r\nX-Part: a\r\n\r\nreplace a\r\n--b1\r\nContent-Disposition: attachment;\r\n filename=x\r\nContent-ID: <x>\r\n\r\nwarn\r\n--b1--\r\nwarn\r\n',
    M + b'\r\n--b1\r\nContent-Type: application/x; name="a.exe"\r\n\r\nx\r\n--b1--\r\n',
    M + b'\r\n--b1\r\nContent-Type: message/rfc822\r\n\r\nSubject: in\r\nX-Ignore: a\r\nX-Prepend: b\r\nContent-Description: c\r\nX-Part: d\r\n\r\nwarn\r\n--b1--\r\n',
    b'Content-Type: message/rfc822\r\n\r\nSubject: one\r\nContent-Type: message/rfc822\r\n\r\nSubject: two\r\nX-Replace: c\r\n\r\nwarn\r\n',
    b'Content-Type: multipart/digest; boundary=b1\r\n\r\n--b1\r\n\r\nSubject: in\r\n\r\nwarn\r\n--b1\r\nContent-Type: text/plain\r\n\r\nwarn\r\n--b1--\r\n',
    b'Content-Type: message/partial; id=x\r\n\r\nSubject: in\r\n\r\nwarn\r\n',
    M + b'\r\n--b1\r\nnot a header\r\nX-Part: a\r\n\r\nwarn\r\n--b1\r\nX-Part: b\r\n--b1\r\n--b1--\r\n',
    M + b'\r\n--b1\r\nX-Part: a\r\n\r\nwarn\r\n',
    M + b'Content-Transfer-Encoding: base64\r\n\r\n--b1\r\n\r\nwarn\r\n--b1--\r\n',
    M + b'Content-Transfer-Encoding: 8bit\r\n\r\n--b1\r\nContent-Transfer-Encoding: 8bit\r\n\r\nwarn \xff\r\n--b1\r\n\r\nwarn \xff\r\n--b1--\r\n',
    b'Content-Type: message/rfc822\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nSubject: x\r\n\r\nx\r\n',
    b'Content-Type: message/partial\r\nContent-Transfer-Encoding: binary\r\n\r\nSubject: x\r\n\r\nx\r\n',
    b'Content-Type: text/plain\r\nContent-Transfer-Encoding: 7bit\r\n\r\n\xff\r\n',
    b'Content-Type: multipart/mixed; boundary=a; boundary=b\r\n\r\n--a\r\nX-Part: a\r\n\r\nx\r\n--b\r\nX-Part: b\r\n\r\nx\r\n--b--\r\n--a\r\nX-Part: c\r\n\r\nx\r\n',
    b'Content-Type: multipart/mixed; boundary=a\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--a\r\nX-Part: a\r\n\r\nx\r\n--b\r\nX-Part: b\r\n\r\nx\r\n',
    b'Content-Type: multipart/mixed; boundary=long-boundary\r\n\r\n--long-xyz\r\nX-Part: a\r\n\r\nx\r\n--long-boundary--\r\nX-Part: c\r\n',
    M + b'\r\n--b1\r\nX-Part: ' + b'a' * 3000 + b'\r\n\r\nwarn\r\n--b1\r\nX-Part: ' + b'\r\n fold' * 500 + b'\r\n\r\nwarn\r\n--b1--\r\n',
    M + b'\r\n--b1 ' + b'p' * 3000 + b'\r\nX-Part: a\r\n\r\nwarn\r\n--b1--' + b'q' * 3000 + b'\r\nwarn\r\n',
    b''.join(b'Content-Type: multipart/mixed; boundary=n%d\r\n\r\n--n%d\r\n' % (i, i) for i in range(110)) + b'X-Part: deep\r\n\r\nwarn\r\n',
    b''.join(b'Content-Type: message/rfc822\r\n\r\n' for i in range(200)) + b'Subject: deep\r\n\r\nwarn\r\n',
    b'Content-Type: multipart/mixed;\r\n boundary=\r\n  "b1"\r\n\r\n--b1\r\nX-Part: a\r\n\r\n--b1--\r\n',
    b'Content-Type: multipart/mixed; (boundary=x) boundary="b\\1"\r\n\r\n--b1\r\nX-Part: a\r\n\r\n--b1--\r\n',
    b'Content-Type: multipart/mixed; boundary\r\n\r\n--\r\nX-Part: a\r\n\r\n',
    b'Content-Type: multipart/mixed; boundary=""\r\n\r\n--\r\nX-Part: a\r\n\r\n--x\r\nX-Part: b\r\n\r\n',
    b'Content-Type: multipart\r\n\r\n--b1\r\nX-Part: a\r\n\r\n',
    b'Content-Type: TEXT/HTML\r\nContent-Transfer-Encoding: QUOTED-PRINTABLE\r\n\r\n=41\r\nwarn\r\n',
]

MESSAGES = ([(f'subject {s[:40]!r}', S % s) for s in _SUBJECTS] + [(f'header {h[:40]!r}', h + b'\r\nX-Late: x\r\n\r\nbody\r\n') for h in _HEADERS] +
            [(f'body {b[:30]!r} {len(b)}', b'X-Late: x\r\n\r\n' + b + b'\r\nwarn last\r\n') for b in _BODIES] + [(f'mime {i}', m) for i, m in enumerate(_MIME)] +
            [('no header', b'\r\nwarn\r\n'), ('no body', b'X-Ignore: a\r\n'), ('no blank', b'X-Prepend: a\r\nwarn\r\nX-Ignore: b\r\n'), ('empty', b'\r\n'),
             ('only ignored', b'X-Ignore: a\r\n\r\nignore this\r\n')])

_BOUNDARIES = [b'a', b'b', b'ab', b'"a b"', b'b1', b'"x;y"', b'long-long-boundary']


def made_up(rnd):
    """A message out of pieces that mean something to a MIME parser."""
    pieces = [b'\r\n', b'\r\n', b'Content-Type: multipart/mixed; boundary=%b\r\n', b'Content-Type: multipart/digest;\r\n\tboundary=%b\r\n', b'Content-Type: message/rfc822\r\n',
              b'Content-Type: text/plain\r\n', b'Content-Transfer-Encoding: 8bit\r\n', b'Content-Transfer-Encoding: base64\r\n', b'Content-Transfer-Encoding: 7bit (x)\r\n',
              b'X-Part: p\r\n', b'X-Ignore: i\r\n x\r\n', b'X-Prepend: p\r\n', b'X-Replace: r\r\n\ts\r\n', b'Subject: s\r\n', b'From: f@g.example\r\n', b'Content-ID: <c>\r\n',
              b'Content-Disposition: inline\r\n', b'text\r\n', b'warn\r\n', b'replace me\r\n', b'ignore this\r\n', b'prepend me\r\n', b'\xc3\xa9\r\n', b' blank\r\n', b'no colon\r\n',
              b'x' * rnd.choice((10, 100, 2046, 2047, 2048, 2050, 4096)) + b'\r\n', b'--%b\r\n', b'--%b\r\n', b'--%b\r\n', b'--%b--\r\n', b'--%b junk\r\n', b'--\r\n', b'---\r\n']
    out = b'X-Made: up\r\n'
    for _ in range(rnd.randrange(1, 40)):
        out += rnd.choice(pieces).replace(b'%b', rnd.choice(_BOUNDARIES))
    return out.replace(b'--"a b"', b'--a b').replace(b'--"x;y"', b'--x;y')


def unended(data):
    """Its header ends with a line that is no header, or with the message."""
    for line in data.split(b'\r\n'):
        if not re.match(rb'[!-9;-~]+[ \t]*:|[ \t]', line):
            return line != b''
    return True


# What a message is to the next hop: (name, what MAIL says, content).
ENVELOPES = [
    ('declared', ' BODY=8BITMIME', b'Subject: x\r\n\r\nx\r\n'),
    ('declared 7', ' BODY=7BIT', b'Subject: x\r\n\r\nx\r\n'),
    ('nothing', '', b'Subject: x\r\n\r\nx\r\n'),
    ('octets', '', b'Subject: x\r\n\r\n\xc3\xa9\r\n'),
    ('octets in the header', '', b'Subject: \xc3\xa9\r\n\r\nx\r\n'),
    ('says 8bit', '', b'Subject: x\r\nContent-Transfer-Encoding: 8bit\r\n\r\nx=\r\n'),
    ('says 8bit, octets', '', b'Subject: x\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\xc3\xa9\r\n'),
    ('says 8bit, declared 7', ' BODY=7BIT', b'Subject: x\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\xc3\xa9\r\n'),
    ('says 8bit late', '', b'Subject: x\r\nContent-Transfer-Encoding:\r\n 8BIT\r\n\r\nx\r\n'),
    ('says 8bit (c)', '', b'Subject: x\r\nContent-Transfer-Encoding: 8bit (c)\r\n\r\nx\r\n'),
    ('says binary', '', b'Subject: x\r\nContent-Transfer-Encoding: Binary\r\n\r\nx\r\n'),
    ('says 7bit, declared', ' BODY=8BITMIME', b'Subject: x\r\nContent-Transfer-Encoding: 7bit\r\n\r\nx\r\n'),
    ('says qp', '', b'Subject: x\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nx\r\n'),
    ('says both', '', b'Subject: x\r\nContent-Transfer-Encoding: 8bit\r\nContent-Transfer-Encoding: 7bit\r\n\r\nx\r\n'),
    ('part says 8bit', '', b'Subject: x\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Transfer-Encoding: 8bit\r\n\r\nx\r\n--b--\r\n'),
    ('part says 8bit, octets', '',
     b'Subject: x\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\xc3\xa9\r\n--b--\r\n'),
    ('bcc', '', b'Subject: x\r\nX-Bcc: a\r\n\r\nx\r\n'),
    ('bcc of a line', '', b'Subject: x\r\n\r\ncopy me\r\n'),
    ('redirect', '', b'Subject: x\r\nX-To: a\r\n\r\nx\r\n'),
]
ENVELOPE_TABLES = {'h': HEADER, 'b': '/^copy me/ BCC copy@any.example\n'}
ENVELOPE_USE = ('header_checks = pcre:$TABLES/h\nbody_checks = pcre:$TABLES/b\n'
                'recipient_bcc_maps = inline:{copy@any.example=third@any.example, other@any.example=fourth@any.example}\n')
ENVELOPE_CONFIGS = {'hub': '', 'hub, not detected': 'detect_8bit_encoding_header = no\n', 'old hub': '', 'old hub, not detected': 'detect_8bit_encoding_header = no\n'}


DIFFERENCES = [
    ('(small|strict|strict body): random .* unended', 'an empty line is put behind a header that has none; it is read as it then stands, as by the next hop'),
    ('hub.*: declared 7', '7BIT is what is meant anyway'),
    ('hub.*: (octets.*|says 8bit, octets|says 8bit, declared 7|part says 8bit, octets)', 'octets over 127 are declared, whoever forgot it (RFC 6152 3)'),
    ('hub: (part says 8bit|says 8bit .c.)', 'plain ASCII whose parts, or whose header in other words, say that it is 8-bit'),
    ('old hub.*: says (8bit|8bit late|8bit .c.|binary)|old hub.*: part says 8bit', 'plain ASCII needs no conversion, whatever it says'),
    ('old hub.*: says both', 'what says two things is not touched'),
    ('old hub, not detected: says 8bit, declared 7', 'what is 8-bit is converted, whatever was declared'),
    ('.*: mime 17', 'the end of a line with a boundary that is longer than line_length_limit: for Postfix a header may begin there, for nobody else'),
    (r'(all|small|nesting|regexp|no mime|short lines|out): (body .*(3008|4108)|mime 16)', 'a text of more than 512 octets is cut in our log'),
    (r'.*: corpus spam/0251.eml|strict.*: corpus spam/(0071|0242|0262).eml', 'octets that only look like UTF-8 are ? in our log'),
    (r'.*: body b.nul .*', 'NUL becomes a blank, unless message_reject_characters or message_strip_characters have it'),
]
