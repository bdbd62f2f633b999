# SPDX-License-Identifier: BSD-2-Clause
"""Headers and configurations for headers.py, and where we differ from Postfix on purpose."""

import re

MAPS = ('canonical_maps = inline:{{user@host.example.com=User.Name@example.com}, {old@old.example=new@new.example}, '
        '{odd@old.example="odd one"@new.example}, {@whole.example=@entire.example}}\n'
        'sender_canonical_maps = inline:{{s@map.example=sender@mapped.example}}\n'
        'recipient_canonical_maps = inline:{{r@map.example=rcpt@mapped.example}}\n')

# name: (client, lines of main.cf)
CONFIGS = {
    'remote': ('remote', ''),
    'local': ('local', 'undisclosed_recipients_header = To: undisclosed-recipients:;\n'),
    'local dots': ('local', 'append_dot_mydomain = yes\n'),
    'canonical': ('local', MAPS),
    'masquerade': ('local', 'masquerade_domains = !keep.example.com example.com\nmasquerade_exceptions = root\n'),
    'canonical remote': ('remote', MAPS),
    'remote domain': ('remote', 'remote_header_rewrite_domain = domain.invalid\n' + MAPS),
    'missing remote': ('remote', 'always_add_missing_headers = yes\nundisclosed_recipients_header = To: undisclosed-recipients:;\n'),
    'keep all': ('local', 'message_drop_headers =\n' + MAPS),
    'drop more': ('remote', 'message_drop_headers = x-secret, subject received\n'),
    'generic': ('remote', 'smtp_generic_maps = inline:{{user@host.example.com=User.Name@example.com}, {old@old.example=new@new.example}, '
                '{@whole.example=@entire.example}}\n'),
    'hub without 8BITMIME': ('remote', ''),
    'hub without 8BITMIME, off': ('remote', 'disable_mime_output_conversion = yes\n'),
    'no mappings': ('local', 'receive_override_options = no_address_mappings\n' + MAPS),
}

LONG = b', '.join(b'someone-%03d@somewhere.example' % i for i in range(40))

_ADDRESSES = [
    b'a', b'a@b', b'a@b.example', b'<a>', b'<a@b>', b'Some One <a>', b'a, b, c', b'a,b,c@d.example', b'"a b" <c>', b'"a, b" <c>, d',
    b'a (comment)', b'(comment) a', b'a(comment)@b(other)', b'a @ b', b'a . b @ c . example', b'"quoted local"@x.example', b'"quoted"', b'"a\\"b"@x',
    b'group: a, b;', b'group: a, b@c; , d', b'group:;', b'undisclosed-recipients:;', b'group: Some <a>, "x, y" <b>;', b'g: a, h: b; ;',
    b'<>', b'', b',', b',,a,,b,', b'a;b', b'a; b; c@d', b'a b', b'a b c@d', b'a <b> c', b'a <b', b'a> b', b'a <b> <c>', b'<a> <b>', b'"unfinished',
    b'(unfinished', b'a (b (c) d) e', b'a@[192.0.2.1]', b'a@[not closed', b'a@b@c', b'@', b'a@', b'@b', b'@a,@b:c@d', b'<@a,@b:c@d.example>',
    b'<@a:c>', b'host!user', b'user%host', b'user%host@x.example', b'a@b.', b'a@b.example.', b'a.@b', b'.a@b', b'a..b@c', b'a@.b',
    b'<a@b.example>, <c@d.example>', b'A <a@b.example> , B <c>', b'A.B.C <x>', b'=?utf-8?q?J=C3=BCrgen?= <j>', b'"J\xc3\xbcrgen" <j>', b'J\xfcrgen <j>',
    b'\xfc@x', b'user@host.example.com', b'U <user@host.example.com>', b'USER@HOST.example.com', b'user@host.example.com, a@b.example',
    b'old@old.example', b'"old"@old.example', b'odd@old.example', b'Mr. Odd <odd@old.example> (yes)', b'x@whole.example', b'"x y"@whole.example',
    b's@map.example, r@map.example', b'user@sub.example.com', b'user@a.b.example.com', b'user@keep.example.com', b'root@sub.example.com',
    b'x@\r\n y.example', b'a,\r\n b,\r\n\tc', b'A\r\n <a>,\r\n B\r\n <b>', b'a\r\n', LONG, LONG.replace(b'.example', b''), b'a,' * 30 + b'z',
    b'Name ' * 40 + b'<a>, b', b'"' + b'long ' * 40 + b'" <a>', b'a (' + b'comment ' * 30 + b')', b'\\a@b', b'a\\ b@c.example', b'"a"b@c', b'a"b"@c',
    b'a.\"b\".c@d', b'<a@b> trailing words', b'first <a@b.example> last, b', b'a@b (c) , d', b'a@b ,c', b'\ta', b'  a  ', b'a/b=c+d@e', b"o'brien", b'a:b',
    b'mailto:a@b.example', b'http://x.example/y', b'<"a b"@c>', b'<"a@b">', b'"a@b"', b'a@b <c@d>', b'a(b', b'a)b', b'a]b', b'a[b]', b'[a]', b'<[a]>',
    b'\x01a', b'a\x7fb', b'a:b;c', b'a:b,c', b'g:a;,h:b;', b'g : a ;', b'a@b (x), (y) c', b'(only comment)', b'"only quoted string" <>', b'< a >', b'<a@b >',
    b'user@host.example.com (a), <user@host.example.com>, g: user@host.example.com;', b'<user>, <user@host>, <user@host.example.com.>',
]

NAMES = [b'From', b'Sender', b'Reply-To', b'Errors-To', b'Return-Receipt-To', b'Disposition-Notification-To', b'Mail-Followup-To', b'To', b'Cc', b'Bcc',
         b'Apparently-To', b'Resent-From', b'Resent-Sender', b'Resent-Reply-To', b'Resent-To', b'Resent-Cc', b'Resent-Bcc', b'Return-Path', b'Delivered-To',
         b'X-To', b'Subject', b'Comments', b'Message-ID', b'References', b'List-Post', b'X-Original-To', b'Received', b'Date', b'Resent-Date', b'Resent-Message-Id',
         b'Content-Length', b'X-Secret', b'Full-Name', b'Encrypted', b'Status']

_ALL = b''.join(n + b': a, s@map.example, r@map.example, user@host.example.com, <u@sub.example.com>\r\n' for n in NAMES)

HEADERS = [(f'To {a[:60]!r}'[:70], b'To: ' + a.rstrip(b'\r\n') + b'\r\n') for a in _ADDRESSES]
HEADERS += [(f'From {a[:60]!r}'[:70], b'From: ' + a.rstrip(b'\r\n') + b'\r\nTo: x\r\n') for a in _ADDRESSES[:60]]
HEADERS += [
    ('every name', _ALL),
    ('every name in capitals', b''.join(n.upper() + b': a\r\n' for n in NAMES)),
    ('every name, empty', b''.join(n + b':\r\n' for n in NAMES)),
    ('nothing', b''),
    ('only Subject', b'Subject: x\r\n'),
    ('only Resent', b'Resent-To: a\r\n'),
    ('Resent-From only', b'Resent-From: a\r\nFrom: b\r\nDate: x\r\n'),
    ('Resent, nothing missing', b'Resent-From: a\r\nResent-To: b\r\nResent-Date: x\r\nResent-Message-Id: <y>\r\n'),
    ('only Cc', b'Cc: a\r\n'),
    ('only Bcc', b'Bcc: a\r\n'),
    ('only Apparently-To', b'Apparently-To: a\r\n'),
    ('two From', b'From: a\r\nFrom: b@c.example\r\n'),
    ('two Message-ID', b'Message-ID: <a@b>\r\nMessage-ID: <c@d>\r\n'),
    ('empty Message-ID', b'Message-ID:\r\n'),
    ('space before colon', b'To : a\r\nSubject \t: b\r\nFrom:c\r\nBcc : d\r\nX-Y  : z\r\n'),
    ('no space after colon', b'To:a\r\nFrom:b\r\nBcc:c\r\n'),
    ('tab after colon', b'To:\ta\r\nFrom:\t<b>\r\n'),
    ('folded at once', b'To:\r\n a,\r\n b\r\nBcc:\r\n x,\r\n y\r\nSubject: z\r\n'),
    ('blank continuation', b'To: a,\r\n \r\n b\r\nSubject: z\r\n'),
    ('spaces at line ends', b'To: a,  \r\n\tb \r\nSubject: z  \r\n'),
    ('mbox', b'From x Mon Jan 1 00:00:00 2024\r\nTo: a\r\n'),
    ('mbox quoted', b'>From x Mon Jan 1 00:00:00 2024\r\nTo: a\r\n'),
    ('no header', b'just text\r\n\r\ntext\r\n'),
    ('text among headers', b'To: a\r\nno colon here\r\nFrom: b\r\n'),
    ('continuation first', b' x\r\nTo: a\r\n'),
    ('no name', b': x\r\nTo: a\r\n'),
    ('8-bit name', b'T\xf6: x\r\nTo: a\r\n'),
    ('control in name', b'T\x01o: x\r\nTo: a\r\n'),
    ('Received at the end', b'To: a\r\nReceived: from x by y; now\r\nFrom: b\r\n'),
    ('dropped in every place', b'Bcc: a\r\nTo: b\r\nBcc: c,\r\n d,\r\n e\r\nFrom: f\r\nReturn-Path: <g>\r\n'),
    ('dropped alone', b'Bcc: a\r\nContent-Length: 7\r\n'),
    ('dropped in capitals', b'BCC: a\r\ncontent-LENGTH: 3\r\nReturn-path: <>\r\nX: y\r\n'),
    ('1000 to', b'To: a\r\n' * 1000),
    ('bare cr', b'To: a,\r b\r\nSubject: x\ry\r\n'),
    ('8-bit', b'From: J\xfcrgen <j>\r\nTo: "\xe9" <u@x.example>\r\nSubject: \xff\r\n'),
    ('utf-8', 'From: Jürgen <j>\r\nTo: "é" <u@x.example>\r\nSubject: ü\r\n'.encode()),
    ('encoded newline', b'Subject: =?utf-8?B?QQ0KQmNjOiB4QHk=?=\r\nTo: =?utf-8?B?QQ0KQmNjOiB4QHk=?= <a>\r\n'),
]

# What becomes of 8-bit content for a hub that does not take it.
_CTE = b'Content-Transfer-Encoding: 8bit\r\n'
_MULTI = b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b 1"\r\n'
_TEXT = b'Content-Type: text/plain; charset=utf-8\r\n'
HEADERS += [
    ('8-bit, no MIME', b'Subject: x\r\n\r\nGr\xc3\xbc\xc3\x9fe\r\n'),
    ('8-bit, no CTE', _TEXT + b'\r\nGr\xc3\xbc\xc3\x9fe\r\n'),
    ('8-bit, says 7bit', _TEXT + b'Content-Transfer-Encoding: 7bit\r\n\r\nGr\xc3\xbc\xc3\x9fe\r\n'),
    ('8-bit text', _CTE + _TEXT + b'\r\nGr\xc3\xbc\xc3\x9fe = \t\r\na\tb\r\n' + b'long ' + b'\xc3\xbc' * 90 + b'\r\n' + b'x' * 75 + b'\r\n' + b'x' * 76 +
     b'\r\n' + b'y' * 74 + b' \r\n.dot\r\nFrom x\r\nend \r\n'),
    ('8-bit binary', b'Content-Transfer-Encoding: BINARY\r\n\r\n' + bytes(range(128, 256)) + b'\x7f\x01\r\n'),
    ('8-bit parts', _MULTI + _CTE + b'\r\npre\xc3\xa9\r\n--b 1\r\n' + _TEXT + _CTE + b'X-A: b\r\n\r\n\xc3\xa9\r\n--b 1\r\n\r\nascii=\r\n--b 1\r\n'
     b'Content-Transfer-Encoding: base64\r\n\r\nAAAA\r\n--b 1--\r\nepi\xc3\xa9\r\n'),
    ('8-bit part, CTE only there', _MULTI + b'\r\n--b 1\r\n' + _TEXT + _CTE + b'\r\n\xc3\xa9\r\n--b 1--\r\n'),
    ('8-bit nested', _MULTI + b'\r\n--b 1\r\nContent-Type: multipart/alternative; boundary=bb\r\n' + _CTE + b'\r\n--bb\r\n' + _CTE + b'\r\n\xc3\xa9\r\n'
     b'--bb--\r\n\r\n--b 1\r\nContent-Type: message/rfc822\r\n' + _CTE + b'\r\nSubject: in\r\n' + _CTE + b'\r\n\xc3\xa9\r\n--b 1--\r\n'),
    ('8-bit digest', b'Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\nSubject: in\r\n' + _CTE + b'\r\n\xc3\xa9\r\n--b--\r\n'),
    ('8-bit header, too', b'Subject: \xc3\xbc\r\n' + _CTE + b'\r\n\xc3\xbc\r\n'),
    ('8-bit, two CTE', _CTE + _CTE + _TEXT + b'\r\n\xc3\xbc\r\n'),
    ('8-bit message/partial', b'Content-Type: message/partial; id=x; number=1\r\n' + _CTE + b'\r\n\xc3\xbc\r\n'),
]


def made_up(rnd):
    """An address header as people and programs write them: well-formed, in any layout."""
    word = ['a', 'bob', 'x-y', 'Some', 'One', '=?utf-8?q?J=C3=BCrgen?=', 'J\xfcrgen', 'AT&T', "O'Neil"]
    local = ['a', 'user', 'old', 'odd', 'x', 's', 'r', 'first.last', 'a+b', 'root', '"quoted local"', "o'brien", 'a/b=c']
    domain = ['host.example.com', 'old.example', 'whole.example', 'map.example', 'sub.example.com', 'a.b.example.com', 'keep.example.com',
              'example.com', 'x.example', 'short', '[192.0.2.1]']
    blank = ['', '', ' ', ' ', ' ', '\r\n ', '\r\n\t', '  ']

    def address():
        return rnd.choice(local) + (rnd.choice(['@', '@', '@', ' @ ']) + rnd.choice(domain) if rnd.random() < 0.8 else '')

    def mailbox():
        kind = rnd.random()
        if kind < 0.4:
            return address() + (' (comment)' if rnd.random() < 0.2 else '')
        if kind < 0.5:
            return f'<{address()}>'
        name = ' '.join(rnd.choice(word) for _ in range(rnd.randint(1, 3))) if rnd.random() < 0.6 else '"Quoted, Name <a@b>"'
        return name + rnd.choice([' ', ' ', '\r\n ', '']) + f'<{address()}>'

    def members(least):
        return (rnd.choice([',', ', ', ' ,', ',\r\n '])).join(rnd.choice(blank) + mailbox() for _ in range(rnd.randint(least, 8)))
    value = rnd.choice(['', ' ', '\t', '  ', '\r\n ']) + members(1)
    if rnd.random() < 0.15:
        value += ', friends: ' + members(1).strip() + ';'
    name = rnd.choice(['To', 'From', 'Cc', 'Reply-To', 'Resent-To', 'sender', 'TO'])
    return f'{name}:{value}\r\n'.encode('latin-1') + (b'' if name.lower() == 'to' else b'To: x\r\n')


# Elements, or lists, that are no addresses: Postfix makes some out of them.
_NO_ADDRESS = [
    b'g: a, h: b; ;', b'a;b', b'a; b; c@d', b'a b', b'a b c@d', b'a <b> c', b'a <b', b'a> b', b'a <b> <c>', b'<a> <b>', b'"unfinished', b'a (b (c) d) e',
    b'a@b@c', b'@', b'@b', b'@a,@b:c@d', b'"a"b@c', b'a"b"@c', b'<a@b> trailing words', b'first <a@b.example> last, b', b'a:b', b'mailto:a@b.example',
    b'http://x.example/y', b'<"a@b">', b'"a@b"', b'a(b', b'a)b', b'a]b', b'a[b]', b'[a]', b'<[a]>', b'\x01a', b'a\x7fb', b'a:b;c', b'a:b,c', b'\\a@b',
]
_ONLY_QUOTES = [b'a.@b', b'.a@b', b'a..b@c', b'"old"@old.example', b'a."b".c@d']
_COMMENTS = [b'(comment) a', b'a@b (x), (y) c', b'Mr. Odd <odd@old.example> (yes)']


def _names(values):
    return '.*: (To|From) (' + '|'.join(re.escape(f'{v[:60]!r}') for v in values) + ')'


# (pattern of "configuration: case", why)
DIFFERENCES = [
    (_names(_NO_ADDRESS), 'what is no address stays as it was written; Postfix completes, splits or quotes it'),
    (_names(_ONLY_QUOTES), 'quotes come and go only with the address: an address that stays is not written anew'),
    (_names(_COMMENTS), 'comments and blanks stay where they were'),
    (_names([b',,a,,b,']), 'no blank at the end of the line'),
    (_names([b'<user>, <user@host>, <user@host.example.com.>']), 'generic: a dot at the end of the domain does not hide an address from the table'),
    ('hub without 8BITMIME: 8-bit message/partial', 'must not be encoded (RFC 2046 5.2.2): Postfix does, and says 7bit'),
    (r'.*: corpus spam/(0095|0132|0158|0197|0295|0296)\.eml', 'what is no address, or needs quotes, stays as it was written'),
]
