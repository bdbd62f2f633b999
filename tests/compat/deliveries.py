# SPDX-License-Identifier: BSD-2-Clause
"""Messages sent through both gateways; compat.py compares what a hub behind them gets, byte by byte.

A case is (name, step, step, ...) as in dialogues.py. ~ in an address stands for a tag of the case's own, by which
the hub's transactions are found again: <~@any.example> becomes <t017@any.example>.
"""

from dialogues import SRC

LOCAL = SRC('127.0.0.1')     # one of inet_interfaces: its headers are completed and rewritten
REMOTE = SRC('127.1')        # a stranger: its headers stay as they are

EHLO = 'EHLO client.example'
MAIL = 'MAIL FROM:<~@sender.example>'
RCPT = 'RCPT TO:<~@any.example>'
HEAD = b'From: <a@sender.example>\r\nTo: <b@any.example>\r\nSubject: t\r\nMessage-ID: <1@x>\r\nDate: Thu, 01 Jan 2026 00:00:00 +0000\r\n'
BODY = b'\r\ntext\r\n'


def content(name, data, source=REMOTE):
    return (name, source, EHLO, MAIL, RCPT, 'DATA', data + b'.\r\n')


def envelope(name, mail, *rcpts, data=HEAD + BODY, hello=EHLO):
    return (name, REMOTE, hello, f'MAIL FROM:{mail}', *(f'RCPT TO:{r}' for r in rcpts), 'DATA', data + b'.\r\n')


def chunks(name, *parts):
    last = len(parts) - 1
    return (name, REMOTE, EHLO, MAIL, RCPT,
            *(b'BDAT %d%s\r\n' % (len(p), b' LAST' * (i == last)) + p for i, p in enumerate(parts)))


CONTENT = [
    content('plain', HEAD + BODY),
    content('plain by a local client', HEAD + BODY, LOCAL),
    content('no headers at all', b'\r\ntext\r\n'),
    content('no headers, local client', b'\r\ntext\r\n', LOCAL),
    content('no blank line', b'text only\r\n'),
    content('empty', b''),
    content('empty, local client', b'', LOCAL),
    content('one empty line', b'\r\n'),
    content('headers only', HEAD),
    content('header and end without blank line', b'Subject: x\r\n'),
    content('body starts with a blank', b'Subject: x\r\n\r\n\r\n\r\ntext\r\n'),
    content('text among headers', b'Subject: x\r\nnot a header\r\nTo: y\r\n\r\ntext\r\n'),
    content('space before colon', b'Subject : x\r\nTo: y\r\n\r\ntext\r\n'),
    content('continuation first', b' folded\r\nTo: y\r\n\r\ntext\r\n'),
    content('folded header', b'Subject: a\r\n b\r\n\tc\r\nTo: y\r\n\r\ntext\r\n'),
    content('blank continuation', b'Subject: a\r\n \r\nTo: y\r\n\r\ntext\r\n'),
    content('empty header value', b'Subject:\r\nTo:\r\n\r\ntext\r\n'),
    content('mbox from line', b'From x Mon Jan 1\r\n' + HEAD + BODY),
    content('quoted mbox from line', b'>From x Mon Jan 1\r\n' + HEAD + BODY),
    content('dropped headers', b'Bcc: x@y.example\r\nbCC: x\r\n z\r\nContent-Length: 7\r\nReturn-Path: <x>\r\nResent-Bcc: y\r\n' + HEAD + BODY),
    content('dropped headers in the body stay', HEAD + b'\r\nBcc: x\r\nReturn-Path: <x>\r\n'),
    content('kept headers', b'Delivered-To: x\r\nReceived: from a by b; now\r\nX-A: b\r\nStatus: O\r\n' + HEAD + BODY),
    content('8-bit body', HEAD + '\r\nGrüße\r\n'.encode()),
    content('8-bit header', 'Subject: Grüße\r\n'.encode() + HEAD + BODY),
    content('invalid utf-8', HEAD + b'\r\n\xff\xfe\r\n'),
    content('dots', HEAD + b'\r\n..\r\n...\r\n..x\r\n. x\r\nx.\r\n'),
    content('bare lf', HEAD + b'\r\na\nb\r\n'),
    content('bare lf in headers', b'Subject: t\nTo: x\n\ntext\n\r\n'),
    content('bare cr', HEAD + b'\r\na\rb\r\n'),
    content('bare cr in headers', b'Subject: a\rb\r\nTo: x\r\n\r\ntext\r\n'),
    content('cr at the end', HEAD + b'\r\na\r\r\n\r\r\r\n'),
    content('lf dot lf', HEAD + b'\r\na\n.\nb\r\n'),
    content('lf dot crlf', HEAD + b'\r\na\n.\r\nb\r\n'),
    content('crlf dot lf', HEAD + b'\r\na\r\n.\nb\r\n'),
    content('cr dot crlf', HEAD + b'\r\na\r.\r\nb\r\n'),
    content('nul', HEAD + b'\r\na\x00b\r\n'),
    content('nul in a header', b'Subject: a\x00b\r\n' + HEAD + BODY),
    content('white space at line ends', HEAD + b'\r\na \t\r\n \r\n'),
    content('line of 998', HEAD + b'\r\n' + b'x' * 998 + b'\r\n'),
    content('line of 999', HEAD + b'\r\n' + b'x' * 999 + b'\r\n'),
    content('line of 5000', HEAD + b'\r\n' + b'0123456789' * 500 + b'\r\n'),
    content('header of 1500', b'X-Long: ' + b'0123456789' * 150 + b'\r\n' + HEAD + BODY),
    content('header of 5000 folded', b'X-Long: ' + (b'0123456789' * 20 + b'\r\n ') * 25 + b'\r\n' + HEAD + BODY),
    content('line of 998 with a dot in front', HEAD + b'\r\n..' + b'x' * 996 + b'\r\n'),
    content('form feed and escapes', HEAD + b'\r\n\x0c\x1b[0m\x7f\x01\r\n'),
    content('addresses in headers, local client', b'From: a\r\nTo: b, c@d.example\r\nCc: "x y" <z>\r\n' + BODY, LOCAL),
    content('addresses in headers', b'From: a\r\nTo: b, c@d.example\r\n' + BODY),
    content('multipart', b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n' + HEAD +
            b'\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\xc3\xa9\r\n--b--\r\n'),
]

CHUNKS = [
    chunks('chunk', HEAD + BODY),
    chunks('chunk without newline at the end', HEAD + b'\r\ntext'),
    chunks('chunks split in a line end', HEAD + b'\r\ntext\r', b'\nmore\r\n'),
    chunks('chunk with dots', HEAD + b'\r\n.\r\n..\r\n.x\r\n'),
    chunks('chunk ends in cr', HEAD + b'\r\ntext\r'),
    chunks('chunk with bare lf', HEAD + b'\r\na\nb\n.\nc\r\n'),
    chunks('chunk with bare cr', HEAD + b'\r\na\rb\r\n'),
    chunks('chunk with nul', HEAD + b'\r\na\x00b\r\n'),
    chunks('empty chunk', b''),
    chunks('chunk, then an empty last', HEAD + BODY, b''),
    chunks('chunk with a long line', HEAD + b'\r\n' + b'x' * 3000 + b'\r\n'),
]

ENVELOPE = [
    envelope('helo', '<~@sender.example>', '<~@any.example>', hello='HELO client.example'),
    envelope('helo with odd characters', '<~@sender.example>', '<~@any.example>', hello='HELO a b(c)\\d'),
    envelope('null sender', '<>', '<~@any.example>'),
    envelope('three recipients', '<~@sender.example>', '<~1@any.example>', '<~2@any.example>', '<~3@any.example>'),
    envelope('the same recipient twice', '<~@sender.example>', '<~@any.example>', '<~@any.example>'),
    envelope('case kept', '<A.~@Sender.Example>', '<B.~@Any.Example>'),
    envelope('quoted local part', '<"a b-~"@sender.example>', '<"b c-~"@any.example>'),
    envelope('needless quotes', '<"~"@sender.example>', '<"~"@any.example>'),
    envelope('source route', '<@x.example:~@sender.example>', '<@y.example:~@any.example>'),
    envelope('trailing dot', '<~@sender.example.>', '<~@any.example.>'),
    envelope('percent', '<a%b-~@sender.example>', '<~%any.example>'),
    envelope('bang', '<b!a-~@sender.example>', '<any.example!~>'),
    envelope('no brackets', '~@sender.example', '~@any.example'),
    envelope('unqualified sender', '<~>', '<~@any.example>'),
    envelope('address literal sender', '<~@[192.0.2.1]>', '<~@any.example>'),
    envelope('utf-8 sender', '<é-~@sender.example> SMTPUTF8', '<~@any.example>'),
    envelope('smtputf8 without need', '<~@sender.example> SMTPUTF8', '<~@any.example>'),
    envelope('body=8bitmime declared', '<~@sender.example> BODY=8BITMIME', '<~@any.example>'),
    envelope('body=8bitmime used', '<~@sender.example> BODY=8BITMIME', '<~@any.example>', data=HEAD + '\r\né\r\n'.encode()),
    envelope('body=7bit declared, 8-bit sent', '<~@sender.example> BODY=7BIT', '<~@any.example>', data=HEAD + '\r\né\r\n'.encode()),
    envelope('dsn parameters', '<~@sender.example> RET=HDRS ENVID=e+2Bid', '<~@any.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;o+2Bo@x.example'),
    envelope('notify never', '<~@sender.example>', '<~@any.example> NOTIFY=NEVER'),
    envelope('different notify', '<~@sender.example> RET=FULL', '<~1@any.example> NOTIFY=NEVER', '<~2@any.example> NOTIFY=FAILURE', '<~3@any.example>'),
    envelope('auth parameter', '<~@sender.example> AUTH=<>', '<~@any.example>'),
    envelope('size declared', '<~@sender.example> SIZE=1000', '<~@any.example>'),
]

DELIVERIES = CONTENT + CHUNKS + ENVELOPE
