# SPDX-License-Identifier: BSD-2-Clause
"""What a client says, case by case. compat.py says it to both servers and compares the answers.

GROUPS: name -> (main.cf lines beside compat.py's common ones, cases). A case is (name, step, step, ...):
    'text'       sent with CRLF, one reply is read
    b'bytes'     sent as they are, one reply is read
    (b'...', n)  sent as they are, n replies are read (pipelining; 0: goes on at once)
    SRC(net)     first step only: connect from this network (else 127.1, a stranger's); each case has an address of its
                 own there, by which its log lines are found
After the last step the client says QUIT and reads to the end of the connection.
"""

from collections import namedtuple

SRC = namedtuple('SRC', 'net third', defaults=[0])
TRUSTED = SRC('127.2')  # in mynetworks

EHLO = 'EHLO client.example'
MAIL = 'MAIL FROM:<a@sender.example>'
RCPT = 'RCPT TO:<known@example.org>'
OTHER = 'RCPT TO:<known2@example.org>'
MSG = b'From: a@sender.example\r\nSubject: t\r\n\r\ntext\r\n.\r\n'


def each(prefix, before, commands, after=()):
    """One case per command line."""
    return [(f'{prefix} {c!r}' if isinstance(c, bytes) else f'{prefix} {c}', *before, c, *after) for c in commands]


def recipients(names, before=(EHLO, MAIL)):
    return each('rcpt', before, [f'RCPT TO:{n}' for n in names])


def senders(names, before=(EHLO,)):
    return each('mail', before, [f'MAIL FROM:{n}' for n in names])


HELO = each('helo', (), [
    'HELO', 'EHLO', 'HELO a b', 'EHLO a b', 'HELO [127.0.0.1]', 'EHLO [IPv6:::1]', 'helo client.example',
    'EHLO client.example ', 'HELO\tclient.example', 'HELO -', 'HELO <script>', 'HELO a_b', 'HELO 1.2.3.4', 'EHLO .', 'HELO =?x?=',
]) + [
    ('banner',),
    ('helo twice', 'HELO a.example', 'HELO b.example'),
    ('helo ends the transaction', EHLO, MAIL, RCPT, EHLO, 'DATA'),
    ('mail before helo', MAIL, RCPT),
]

COMMANDS = each('command', (EHLO,), [
    'FOO', 'FOO bar', '', ' ', '.', 'EXPN list', 'SEND FROM:<a@b.c>', 'SAML', 'TURN', 'HELLO', 'QUIT now', 'RSET x', 'NOOP', 'NOOP x y',
    'VRFY', 'VRFY known@example.org', 'VRFY <known@example.org>', 'VRFY nobody@example.org', 'VRFY x@elsewhere.example', 'VRFY a b',
    'STARTTLS', 'STARTTLS x', 'AUTH', 'AUTH PLAIN', 'AUTH PLAIN AGEAYg==', 'XCLIENT NAME=x', 'XFORWARD NAME=x', 'XCLIENT', 'ETRN',
    'CONNECT 127.0.0.1:25', 'GET / HTTP/1.0', 'POST / HTTP/1.0', 'Host: x', '\x16\x03\x01', '<xml>',
    'DATA', 'DATA x', 'BDAT', 'rset', 'quit', 'MAILFROM:<a@b.c>', 'RCPT', 'NOOP' + ' x' * 250,
]) + each('raw', (EHLO,), [
    b'NOOP\n', b'NOOP\r\r\n', b'NO\x00OP\r\n', b'NOOP \xff\xfe\r\n', b'\xc3\xa9\r\n', b'NOOP \x00\r\n', b'  NOOP\r\n', b'NOOP\t\r\n',
    b'MAIL FROM:<a@b.c>\n', b'MAIL FROM:<a\rb@c.d>\r\n', b'MAIL FROM:<a@b.c>\x00\r\n', b'MAIL FROM:<\x00a@b.c>\r\n',
    b'VRFY ' + b'x' * 1000 + b'\r\n', b'NOOP ' + b'x' * 2100 + b'\r\n', b'x' * 5000 + b'\r\n',
])

MAILS = senders([
    '<a@sender.example>', ' <a@sender.example>', 'a@sender.example', '<>', '', ' ', '<a@sender.example', 'a@sender.example>', '<a b@sender.example>',
    '<@x.example:a@sender.example>', '<@x.example,@y.example:a@sender.example>', '<"a b"@sender.example>', '<"a\\"b"@sender.example>',
    '<""@sender.example>', '<a@[127.0.0.1]>', '<a@[300.0.0.1]>', '<a@[IPv6:::1]>', '<a@[x>', '<a@b@c.example>', '<a>', '<postmaster>', '<a@>', '<@b.example>',
    '<a@b..example>', '<.a@b.example>', '<a.@b.example>', '<a@.example>', '<a@example.>', '<a@-b.example>', '<a@b_c.example>', '<a@sender.example> ',
    '<a@sender.example> (c)', '<a(c)@sender.example>', 'A <a@sender.example>', '<<a@sender.example>>', '< a@sender.example >', '<a;b@sender.example>',
    '<a,b@sender.example>', '<a@b.example,c@d.example>', '<a\\b@sender.example>', '<a:b@sender.example>', '<a"b"c@sender.example>', '<"a@sender.example>',
    '<a%b@sender.example>', '<b!a@sender.example>', '<b!a>', '<' + 'l' * 64 + '@sender.example>', '<' + 'l' * 300 + '@sender.example>',
    '<a@' + 'd' * 63 + '.example>', '<a@' + 'd' * 64 + '.example>', '<a@' + 'd.' * 120 + 'example>', '<a@' + 'd.' * 150 + 'example>',
    '<é@sender.example>', '<a@é.example>', '<a@xn--9ca.example>', '<é@sender.example> SMTPUTF8', '<a@sender.example> SMTPUTF8',
    '<a@sender.example> SMTPUTF8=1',
]) + senders([f'<a@sender.example> {p}' for p in (
    'SIZE=100', 'SIZE=0', 'SIZE=', 'SIZE=abc', 'SIZE=-1', 'SIZE=20000', 'SIZE=20001', 'SIZE=99999999', 'SIZE=99999999999999999999', 'SIZE', 'size=100', 'SIZE=1 SIZE=2',
    'BODY=7BIT', 'BODY=8BITMIME', 'body=8bitmime', 'BODY=BINARYMIME', 'BODY=x', 'BODY=', 'RET=FULL', 'RET=HDRS', 'ret=hdrs', 'RET=x', 'RET=', 'RET=FULL RET=HDRS',
    'ENVID=abc', 'ENVID=a+2Bb', 'ENVID=', 'ENVID=a+zz', 'ENVID=a=b', 'ENVID=x ENVID=y', 'ENVID=' + 'x' * 100, 'ENVID=' + 'x' * 101, 'FOO=bar', 'FOO', 'AUTH=<>', 'AUTH=x', '<b@c.example>',
    'XVERP', 'XVERP=+=', 'NOTIFY=NEVER', 'SIZE=100 BODY=8BITMIME RET=HDRS ENVID=x', 'HOLDFOR=1', 'MT-PRIORITY=1', 'REQUIRETLS', 'BY=1;R',
)]) + each('mail', (EHLO,), [
    'MAIL', 'MAIL FROM', 'MAIL TO:<a@b.c>', 'MAIL FROM <a@b.c>', 'MAIL  FROM:<a@b.c>', 'mail from:<a@b.c>', 'MAIL FROM:<a@b.c>\t', 'MAIL\tFROM:<a@b.c>', 'MAIL FROM :<a@b.c>',
    'MAIL <a@b.c>', 'MAIL FROM: a b', 'MAIL a b c',
]) + [
    ('nested mail', EHLO, MAIL, MAIL),
    ('mail after rset', EHLO, MAIL, 'RSET', MAIL),
    ('mail after helo with parameters', 'HELO client.example', 'MAIL FROM:<a@b.c> SIZE=100'),
    ('mail after helo with smtputf8', 'HELO client.example', 'MAIL FROM:<a@b.c> SMTPUTF8'),
    ('mail after a refused mail', EHLO, 'MAIL FROM:<a@b.c> FOO', MAIL),
    ('size over the limit, then mail', EHLO, 'MAIL FROM:<a@b.c> SIZE=99999999', MAIL, RCPT),
]

RCPTS = recipients([
    '<known@example.org>', ' <known@example.org>', 'known@example.org', '<>', '', '<known@example.org', '<KNOWN@EXAMPLE.ORG>', '<Known@example.org>',
    '<nobody@example.org>', '<x@elsewhere.example>', '<x@sub.example.org>', '<x@any.example>', '<x@sub.any.example>', '<x@dot.example>', '<x@sub.dot.example>',
    '<postmaster>', '<POSTMASTER>', '<postmaster@mx.example.com>', '<x@mx.example.com>', '<postmaster@example.org>', '<nobody>', '<x@[127.0.0.1]>', '<x@[192.0.2.9]>', '<x@127.0.0.1>',
    '<x%elsewhere.example@example.org>', '<known%example.org@elsewhere.example>', '<elsewhere.example!x@example.org>', '<@example.org:x@elsewhere.example>', '<@elsewhere.example:known@example.org>',
    '<x@elsewhere.example@example.org>', '<x%any.example>', '<any.example!x>', '<known+ext@example.org>', '<"known"@example.org>', '<"nobody x"@example.org>', '<kno\\wn@example.org>', '<x@any.example.>',
    '<x@any.example..>', '<known@@example.org>', '<@example.org>', '<known@>', '<known@example.org> (c)', '<known @example.org>', '<x@example.org,known@example.org>',
    '<é@any.example>', '<x@é.example>', '<listed@any2.example>', '<x@all.example>', '<' + 'l' * 100 + '@any.example>', '<x@' + 'd.' * 150 + 'example>', '<x@' + 'd' * 64 + '.any.example>',
]) + recipients([f'<known@example.org> {p}' for p in (
    'NOTIFY=NEVER', 'NOTIFY=SUCCESS', 'NOTIFY=SUCCESS,FAILURE,DELAY', 'notify=never', 'NOTIFY=', 'NOTIFY=x', 'NOTIFY=NEVER,SUCCESS', 'NOTIFY=SUCCESS,SUCCESS', 'NOTIFY', 'NOTIFY=DELAY NOTIFY=DELAY',
    'ORCPT=rfc822;a@b.example', 'ORCPT=rfc822;a+2Bb@c.example', 'ORCPT=rfc822;a+zz', 'ORCPT=', 'ORCPT=x', 'ORCPT=rfc822;', 'orcpt=RFC822;x', 'ORCPT=utf-8;x@y', 'ORCPT=rfc822;a ORCPT=rfc822;b',
    'ORCPT=rfc822;' + 'x' * 600, 'ORCPT=;x', 'FOO=bar', 'FOO', 'SIZE=1', 'NOTIFY=FAILURE ORCPT=rfc822;a@b.example',
)]) + each('rcpt', (EHLO, MAIL), [
    'RCPT', 'RCPT TO', 'RCPT FROM:<known@example.org>', 'RCPT TO <known@example.org>', 'rcpt to:<known@example.org>', 'RCPT  TO:<known@example.org>', 'RCPT TO:<known@example.org>\t', 'RCPT x y z',
]) + [
    ('rcpt before mail', EHLO, RCPT),
    ('rcpt twice', EHLO, MAIL, RCPT, RCPT),
    ('rcpt after rset', EHLO, MAIL, 'RSET', RCPT),
    ('rcpt of the null sender', EHLO, 'MAIL FROM:<>', RCPT),
    ('rcpt with smtputf8', EHLO, 'MAIL FROM:<a@b.c> SMTPUTF8', 'RCPT TO:<é@any.example>'),
    ('trusted rcpt elsewhere', TRUSTED, EHLO, MAIL, 'RCPT TO:<x@[192.0.2.9]>'),
    ('trusted rcpt nobody', TRUSTED, EHLO, MAIL, 'RCPT TO:<nobody@example.org>'),
    ('trusted rcpt percent', TRUSTED, EHLO, MAIL, 'RCPT TO:<x%elsewhere.example@example.org>'),
    ('trusted rcpt source route', TRUSTED, EHLO, MAIL, 'RCPT TO:<@elsewhere.example:known@example.org>'),
    ('untrusted neighbour', SRC('127.3'), EHLO, MAIL, 'RCPT TO:<x@elsewhere.example>'),
    ('trusted by prefix', SRC('127.4', 128), EHLO, MAIL, 'RCPT TO:<x@elsewhere.example>'),
    ('excluded from the prefix', SRC('127.4'), EHLO, MAIL, 'RCPT TO:<x@elsewhere.example>'),
    ('too many recipients', EHLO, MAIL, *['RCPT TO:<r%d@any.example>' % i for i in range(7)], 'DATA', MSG),
]

CONTENT = [
    ('data', EHLO, MAIL, RCPT, 'DATA', MSG),
    ('data by helo', 'HELO client.example', MAIL, RCPT, 'DATA', MSG),
    ('data twice', EHLO, MAIL, RCPT, 'DATA', MSG, MAIL, OTHER, 'DATA', MSG),
    ('data before rcpt', EHLO, MAIL, 'DATA'),
    ('data before mail', EHLO, 'DATA'),
    ('data after refused rcpt', EHLO, MAIL, 'RCPT TO:<nobody@example.org>', 'DATA'),
    ('data with one refused rcpt', EHLO, MAIL, RCPT, 'RCPT TO:<nobody@example.org>', 'DATA', MSG),
    ('data after end of data', EHLO, MAIL, RCPT, 'DATA', MSG, 'DATA'),
    ('data with an argument', EHLO, MAIL, RCPT, 'DATA x'),
    ('empty message', EHLO, MAIL, RCPT, 'DATA', b'.\r\n'),
    ('only a body', EHLO, MAIL, RCPT, 'DATA', b'\r\nbody\r\n.\r\n'),
    ('too big', EHLO, MAIL, RCPT, 'DATA', b'Subject: t\r\n\r\n' + b'x' * 70 + b'\r\n' + (b'y' * 78 + b'\r\n') * 300 + b'.\r\n', MAIL),
    ('too big, one long line', EHLO, MAIL, RCPT, 'DATA', b'Subject: t\r\n\r\n' + b'x' * 30000 + b'\r\n.\r\n'),
    ('just the limit declared', EHLO, MAIL + ' SIZE=20000', RCPT, 'DATA', MSG),
    ('too many hops', EHLO, MAIL, RCPT, 'DATA', b'Received: x\r\n' * 60 + MSG),
    ('hops just under the limit', EHLO, MAIL, RCPT, 'DATA', b'Received: x\r\n' * 48 + MSG),
    ('delivered-to loop', EHLO, MAIL, RCPT, 'DATA', b'Delivered-To: known@example.org\r\n' + MSG),
    ('dots', EHLO, MAIL, RCPT, 'DATA', b'Subject: t\r\n\r\n..\r\n...x\r\n. \r\n.\r\n'),
    ('bare newline end of data is none', EHLO, MAIL, RCPT, 'DATA', b'Subject: t\r\n\r\nx\n.\nMAIL FROM:<b@b.example>\r\n.\r\n'),
    ('lf dot crlf is no end', EHLO, MAIL, RCPT, 'DATA', b'Subject: t\r\n\r\nx\n.\r\nmore\r\n.\r\n'),
    ('cr dot cr is no end', EHLO, MAIL, RCPT, 'DATA', b'Subject: t\r\n\r\nx\r.\rmore\r\n.\r\n'),
    ('nul in content', EHLO, MAIL, RCPT, 'DATA', b'Subject: t\x00u\r\n\r\nx\x00y\r\n.\r\n'),
    ('8-bit content without body=', EHLO, MAIL, RCPT, 'DATA', 'Subject: é\r\n\r\né\r\n.\r\n'.encode()),
    ('rset in a transaction', EHLO, MAIL, RCPT, 'RSET', 'DATA'),
    ('quit in a transaction', EHLO, MAIL, RCPT),
    ('vrfy in a transaction', EHLO, MAIL, 'VRFY known@example.org', RCPT),
    ('noop in a transaction', EHLO, MAIL, RCPT, 'NOOP', 'DATA', MSG),
]

BDAT = [
    ('bdat last', EHLO, MAIL, RCPT, b'BDAT 16 LAST\r\nSubject: t\r\n\r\nx\n'),
    ('bdat two', EHLO, MAIL, RCPT, b'BDAT 14\r\nSubject: t\r\n\r\n', b'BDAT 3 LAST\r\nx\r\n'),
    ('bdat then zero last', EHLO, MAIL, RCPT, b'BDAT 14\r\nSubject: t\r\n\r\n', 'BDAT 0 LAST'),
    ('bdat zero last only', EHLO, MAIL, RCPT, 'BDAT 0 LAST'),
    ('bdat lower case', EHLO, MAIL, RCPT, b'bdat 3 last\r\nx\r\n'),
    ('bdat without rcpt', EHLO, MAIL, b'BDAT 3 LAST\r\nx\r\n', 'NOOP'),
    ('bdat without mail', EHLO, b'BDAT 3 LAST\r\nx\r\n', 'NOOP'),
    ('bdat refused rcpt', EHLO, MAIL, 'RCPT TO:<nobody@example.org>', b'BDAT 3 LAST\r\nx\r\n', 'NOOP'),
    ('bdat no number', EHLO, MAIL, RCPT, 'BDAT'),
    ('bdat letters', EHLO, MAIL, RCPT, 'BDAT x'),
    ('bdat negative', EHLO, MAIL, RCPT, 'BDAT -1'),
    ('bdat huge number', EHLO, MAIL, RCPT, 'BDAT 99999999999999999999999'),
    ('bdat bad second argument', EHLO, MAIL, RCPT, 'BDAT 3 FOO'),
    ('bdat third argument', EHLO, MAIL, RCPT, 'BDAT 3 LAST X'),
    ('bdat too big', EHLO, MAIL, RCPT, b'BDAT 30000 LAST\r\n' + b'x' * 30000, 'NOOP'),
    ('bdat too big in parts', EHLO, MAIL, RCPT, b'BDAT 15000\r\n' + b'x' * 15000, b'BDAT 15000 LAST\r\n' + b'x' * 15000, 'NOOP'),
    ('mail after bdat', EHLO, MAIL, RCPT, b'BDAT 3\r\nx\r\n', MAIL),
    ('rcpt after bdat', EHLO, MAIL, RCPT, b'BDAT 3\r\nx\r\n', OTHER),
    ('data after bdat', EHLO, MAIL, RCPT, b'BDAT 3\r\nx\r\n', 'DATA'),
    ('rset after bdat', EHLO, MAIL, RCPT, b'BDAT 3\r\nx\r\n', 'RSET', MAIL),
    ('helo after bdat', EHLO, MAIL, RCPT, b'BDAT 3\r\nx\r\n', EHLO, MAIL),
    ('noop after bdat', EHLO, MAIL, RCPT, b'BDAT 3\r\nx\r\n', 'NOOP', b'BDAT 3 LAST\r\ny\r\n'),
    ('vrfy after bdat', EHLO, MAIL, RCPT, b'BDAT 3\r\nx\r\n', 'VRFY known@example.org'),
    ('bdat after last', EHLO, MAIL, RCPT, b'BDAT 3 LAST\r\nx\r\n', b'BDAT 3 LAST\r\nx\r\n'),
    ('bdat line split by chunks', EHLO, MAIL, RCPT, b'BDAT 9\r\nSubject: ', b'BDAT 7 LAST\r\nt\r\n\r\nx\n'),
    ('bdat pipelined', EHLO, (b'MAIL FROM:<a@sender.example>\r\nRCPT TO:<known@example.org>\r\nBDAT 3\r\nx\r\nBDAT 3 LAST\r\ny\r\n', 4)),
    ('bdat after helo', 'HELO client.example', MAIL, RCPT, b'BDAT 3 LAST\r\nx\r\n'),
]

PIPELINING = [
    ('pipelined group', EHLO, (b'MAIL FROM:<a@sender.example>\r\nRCPT TO:<known@example.org>\r\nDATA\r\n', 3), MSG),
    ('pipelined refused group', EHLO, (b'MAIL FROM:<a@sender.example>\r\nRCPT TO:<nobody@example.org>\r\nDATA\r\n', 3)),
    ('pipelined bad mail', EHLO, (b'MAIL FROM:<a@sender.example> FOO\r\nRCPT TO:<known@example.org>\r\nDATA\r\n', 3)),
    ('pipelined rset mail', EHLO, (b'RSET\r\nMAIL FROM:<a@sender.example>\r\nRCPT TO:<known@example.org>\r\n', 3)),
    ('pipelined end and mail', EHLO, MAIL, RCPT, 'DATA', (MSG + b'MAIL FROM:<a@sender.example>\r\nRCPT TO:<known@example.org>\r\n', 3)),
    ('pipelined after ehlo', (b'EHLO client.example\r\nMAIL FROM:<a@sender.example>\r\n', 2)),
    ('pipelined after helo', (b'HELO client.example\r\nMAIL FROM:<a@sender.example>\r\n', 2)),
    ('pipelined in helo session', 'HELO client.example', (b'MAIL FROM:<a@sender.example>\r\nRCPT TO:<known@example.org>\r\n', 2)),
    ('pipelined content after data', EHLO, MAIL, RCPT, (b'DATA\r\n' + MSG, 2)),
    ('pipelined after noop', EHLO, (b'NOOP\r\nMAIL FROM:<a@sender.example>\r\n', 2)),
    ('pipelined after vrfy', EHLO, (b'VRFY known@example.org\r\nNOOP\r\n', 2)),
    ('pipelined after unknown', EHLO, (b'FOO\r\nNOOP\r\n', 2)),
    ('pipelined after quit', EHLO, (b'QUIT\r\nNOOP\r\n', 1)),
    ('first bytes before the banner are read', (b'NOOP\r\n', 1)),
]

STRICT = [
    ('mail before helo', MAIL, RCPT, 'DATA'),
    ('rcpt before helo', RCPT),
    ('rset before helo', 'RSET', 'NOOP'),
    ('vrfy before helo', 'VRFY known@example.org'),
] + each('command', (EHLO,), ['VRFY known@example.org', 'VRFY', 'ETRN example.org']) + senders([
    'a@sender.example', ' <a@sender.example>', '<a@sender.example>', '<@x.example:a@sender.example>', '<a@b@c.example>', '<a b@sender.example>', '<>', '<a@sender.example>x',
    '<a(c)@sender.example>', '<a@sender.example> (c)', 'A <a@sender.example>',
    '<é@sender.example>', '<é@sender.example> SMTPUTF8', '<a@é.example>', '<a@é.example> SMTPUTF8',
]) + recipients(['known@example.org', ' <known@example.org>', '<known@example.org>', '<nobody@example.org>', '<x@elsewhere.example>', '<>', '<postmaster>']) + [
    ('errors: hard limit', EHLO, 'FOO', 'FOO', 'FOO', 'FOO', 'FOO', 'FOO', 'FOO'),
    ('errors: refused recipients count', EHLO, MAIL, *['RCPT TO:<nobody%d@example.org>' % i for i in range(7)]),
    ('errors: a message forgives', EHLO, 'FOO', 'FOO', 'FOO', MAIL, RCPT, 'DATA', MSG, 'FOO', 'FOO', 'FOO'),
    ('junk commands', EHLO, *['NOOP'] * 8),
    ('junk commands: rset', EHLO, *['RSET'] * 8),
]

RELAY_REJECT = recipients(['<known@example.org>', '<x@elsewhere.example>', '<nobody@example.org>', '<x%elsewhere.example@example.org>', '<x@any.example>']) + [
    ('trusted', TRUSTED, EHLO, MAIL, 'RCPT TO:<x@[192.0.2.9]>'),
    ('unknown in a trusted client\'s relay domain', TRUSTED, EHLO, MAIL, 'RCPT TO:<nobody@example.org>'),
    ('data after relay denied', EHLO, MAIL, 'RCPT TO:<x@elsewhere.example>', 'DATA'),
]

GROUPS = {
    'plain': ('', HELO + COMMANDS + MAILS + RCPTS + CONTENT + BDAT + PIPELINING),
    'strict': ('smtpd_helo_required = yes\ndisable_vrfy_command = yes\nstrict_rfc821_envelopes = yes\n'
               'strict_smtputf8 = yes\nsmtpd_soft_error_limit = 3\nsmtpd_hard_error_limit = 5\nsmtpd_junk_command_limit = 4\n', STRICT),
    'reject relaying': ('smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination\n'
                        'unknown_relay_recipient_reject_code = 450\nrelay_domains_reject_code = 554\n', RELAY_REJECT),
    'recipient restrictions': ('smtpd_relay_restrictions =\n'
                               'smtpd_recipient_restrictions = permit_mynetworks, reject_unauth_destination, permit\n', RELAY_REJECT),
    'reject all': ('smtpd_recipient_restrictions = reject\n', RELAY_REJECT),
}
