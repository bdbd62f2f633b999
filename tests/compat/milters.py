#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Milters beside Debian's Postfix: the same scripted milters (tests/tools/milter.py) behind both, the same clients.

Compared: every reply, everything the milters hear (macros included), the log lines about milters, envelope and content at the hub.
What differs on purpose is DIFFERENCES, with the reason. Needs root, as Postfix's master does.

    milters.py [-k TEXT] [-v]
"""

import argparse
import difflib
import importlib.util
import pathlib
import re
import socket
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import compat  # noqa: E402

spec = importlib.util.spec_from_file_location('milter', HERE.parent / 'tools/milter.py')
milter = importlib.util.module_from_spec(spec)
spec.loader.exec_module(milter)

EXTRA = '''relay_recipient_maps =
smtpd_milter_maps = texthash:{dir}/milters
smtpd_recipient_restrictions = check_recipient_access inline:{refused@example.org=reject, held@example.org=hold, gone@example.org=discard}
smtpd_authorized_xclient_hosts = 127.7.0.0/16
virtual_alias_maps = inline:{{alias@example.org=known@example.org}, {two@example.org=known@example.org known2@example.org}}
virtual_alias_domains =
recipient_bcc_maps = inline:{{copied@example.org=known2@example.org}}
sender_dependent_relayhost_maps = inline:{{@routed.example=[relay.test]:2525}, {routed@x.example=[single.test]}}
sender_dependent_default_transport_maps = inline:{{@other.example=lmtp:[other.test]:24}}
message_size_limit = 300000
smtpd_soft_error_limit = 1001
smtpd_hard_error_limit = 1000
milter_command_timeout = 2s
milter_content_timeout = 2s
milter_connect_timeout = 2s
milter_default_action = tempfail
milter_unknown_command_macros = j
local_header_rewrite_clients =
'''
OURS = 'milter_quarantine_queue = hold\nmilter_breaker_failures = 0\nenable_original_recipient = yes\n'

HELLO = ['EHLO client.test']
ENVELOPE = ['MAIL FROM:<{tag}@x.example>', 'RCPT TO:<known@example.org>']
TEXT = b'Received: from elsewhere by there; Mon, 1 Jan 2024 00:00:00 +0000\r\nSubject: x\r\nX-A: one\r\nX-A: two\r\n folded\r\nX-B:three\r\n\r\nfirst line\r\n..dot\r\nlast line\r\n.\r\n'
MESSAGE = HELLO + ENVELOPE + ['DATA', TEXT]
CHUNKS = HELLO + ENVELOPE + [b'BDAT 18\r\nSubject: x\r\n\r\nab\r\n', b'BDAT 6 LAST\r\ncd\r\nef']

def edits(*rules):
    return [('eom=' + r) for r in rules]


# name: (milters, steps). A milter: a list of rules, or (rules, settings). None as a milter: nobody listens there.
CASES = {
    'hears': ([[]], MESSAGE),
    'hears helo': ([[]], ['HELO old', 'MAIL FROM:<{tag}@x.example>', 'RCPT TO:<known@example.org>', 'DATA', TEXT, 'RSET']),
    'hears parameters': ([[]], HELLO + ['MAIL FROM:<{tag}@x.example> SIZE=100 BODY=8BITMIME RET=HDRS', 'RCPT TO:<known@example.org> NOTIFY=FAILURE', 'RSET']),
    'hears null sender': ([[]], HELLO + ['MAIL FROM:<>', 'RCPT TO:<known@example.org>', 'RSET']),
    'hears no brackets': ([[]], HELLO + ['MAIL FROM: {tag}@x.example', 'RCPT TO: known@example.org', 'RSET']),
    'hears quotes': ([[]], HELLO + ['MAIL FROM:<"{tag} q"@x.example>', 'RCPT TO:<"known"@example.org>', 'RSET']),
    'hears two': ([[]], MESSAGE + ENVELOPE + ['DATA', b'Subject: second\r\n\r\nx\r\n.\r\n']),
    'hears several recipients': ([[]], HELLO + ['MAIL FROM:<{tag}@x.example>', 'RCPT TO:<known@example.org>', 'RCPT TO:<alias@example.org>', 'RCPT TO:<nobody@elsewhere.test>',
                                                'DATA', b'Subject: s\r\n\r\nx\r\n.\r\n']),
    'hears refused': ([['steps=800']], HELLO + ['MAIL FROM:<{tag}@x.example>', 'RCPT TO:<refused@example.org>', 'RCPT TO:<a@elsewhere.test>',
                                                                                         'RCPT TO:<bad address@x>', 'RCPT TO:<known@example.org>', 'DATA', TEXT]),
    'hears no refused': ([[]], HELLO + ['MAIL FROM:<{tag}@x.example>', 'RCPT TO:<refused@example.org>', 'RSET']),
    'hears chunks': ([[]], CHUNKS),
    'hears no body': ([[]], HELLO + ENVELOPE + ['DATA', b'Subject: only\r\n.\r\n']),
    'hears no header': ([[]], HELLO + ENVELOPE + ['DATA', b'\r\nbody\r\n.\r\n']),
    'hears nothing': ([[]], HELLO + ENVELOPE + ['DATA', b'.\r\n']),
    'hears no blank line': ([[]], HELLO + ENVELOPE + ['DATA', b'Subject: x\r\nthis is body\r\n.\r\n']),
    'hears leading space': ([['steps=100000']], HELLO + ENVELOPE + ['DATA', b'Subject:x\r\nX-T:\ttab\r\nX-S:  two\r\nX-E:\r\nX-F: a\r\n\tb\r\n\r\nx\r\n.\r\n']),
    'hears blanks': ([[]], HELLO + ENVELOPE + ['DATA', b'Subject:x\r\nX-T:\ttab\r\nX-S:  two\r\nX-E:\r\nX-F: a\r\n\tb\r\nX-G : c\r\n\r\nx\r\n.\r\n']),
    'hears large': ([[]], HELLO + ENVELOPE + ['DATA', b'Subject: large\r\n\r\n' + b'0123456789abcdef0123456789abcde\r\n' * 5000 + b'.\r\n']),
    'hears long line': ([[]], HELLO + ENVELOPE + ['DATA', b'Subject: large\r\n\r\n' + b'x' * 1500 + b'\r\n.\r\n']),
    'hears rset': ([[]], HELLO + ENVELOPE + ['RSET', 'RSET'] + ENVELOPE + ['EHLO again.test', 'MAIL FROM:<{tag}@x.example>']),
    'hears unknown': ([[]], HELLO + ['FOO bar baz', 'foo', 'NOOP']),
    'hears no steps': ([['steps=3ff']], MESSAGE),
    'hears no replies': ([['steps=ff080']], MESSAGE),
    'hears macros': ([['symlist=0:{client_addr}~{client_name}~{client_port}~{client_ptr}~{client_resolve}~{client_connections}~j~nothing', 'symlist=3:{mail_addr}~{rcpt_addr}~i',
                       'symlist=5:{rcpt_addr}~{mail_addr}~i~{auth_type}']], MESSAGE),
    'old version': ([['version=2', 'actions=1f']], MESSAGE),
    'old version edits': ([['version=2', 'actions=1f'] + edits('addheader:X-N:v')], MESSAGE),
    # answers
    'connect reject': ([['connect=reject']], HELLO + ['MAIL FROM:<{tag}@x.example>', 'VRFY a@example.org', 'ETRN x.example', 'NOOP', 'RSET', 'FOO', 'HELO x']),
    'connect tempfail': ([['connect=tempfail']], HELLO + ['MAIL FROM:<{tag}@x.example>', 'VRFY a@example.org', 'DATA', 'RSET']),
    'connect reply': ([['connect=reply:550~5.7.1~not~you']], HELLO + ['MAIL FROM:<{tag}@x.example>']),
    'connect reply 4': ([['connect=reply:450~4.7.1~not~now']], HELLO + ['MAIL FROM:<{tag}@x.example>', 'VRFY b']),
    'connect 421': ([['connect=reply:421~4.7.0~go']], []),
    'connect accept': ([['connect=accept']], MESSAGE),
    'connect discard': ([['connect=discard']], HELLO + ENVELOPE),
    'helo reject': ([['helo:bad=reject']], ['EHLO good', 'EHLO bad', 'MAIL FROM:<{tag}@x.example>', 'EHLO good', 'MAIL FROM:<{tag}@x.example>']),
    'helo tempfail': ([['helo=tempfail']], HELLO + ['MAIL FROM:<{tag}@x.example>', 'RSET']),
    'helo 421': ([['helo=reply:421~4.7.0~go']], HELLO),
    'helo accept': ([['helo=accept']], MESSAGE),
    'helo reply': ([['helo=reply:554~5.7.1~no']], ['HELO x', 'MAIL FROM:<{tag}@x.example>']),
    'mail reject': ([['mail=reject']], HELLO + ENVELOPE + ['NOOP']),
    'mail tempfail': ([['mail=tempfail']], HELLO + ENVELOPE),
    'mail reply': ([['mail=reply:551~5.7.1~own~text']], HELLO + ENVELOPE),
    'mail lines': ([['mail=reply:550-5.7.1~one\\r\\n550-5.7.1~two\\r\\n550~5.7.1~three']], HELLO + ENVELOPE),
    'mail no dsn': ([['mail=reply:550~no~code']], HELLO + ENVELOPE),
    'mail bad dsn': ([['mail=reply:550~4.7.1~other~class']], HELLO + ENVELOPE),
    'mail bad reply': ([['mail=reply:250~2.0.0~fine']], HELLO + ENVELOPE),
    'mail short reply': ([['mail=reply:5']], HELLO + ENVELOPE),
    'mail empty reply': ([['mail=reply:550']], HELLO + ENVELOPE),
    'mail percent': ([['mail=reply:550~5.7.1~1%~2%%~3%%%~%s%n']], HELLO + ENVELOPE),
    'mail controls': ([['mail=reply:550~5.7.1~a\\x07b\\xc3\\xa4']], HELLO + ENVELOPE),
    'mail 421': ([['mail=reply:421~4.7.0~go']], HELLO + ['MAIL FROM:<{tag}@x.example>']),
    'mail 521': ([['mail=reply:521~5.7.0~go']], HELLO + ['MAIL FROM:<{tag}@x.example>']),
    'mail accept': ([['mail=accept']], MESSAGE),
    'mail discard': ([['mail=discard']], MESSAGE),
    'mail shutdown': ([['mail=shutdown']], HELLO + ['MAIL FROM:<{tag}@x.example>']),
    'mail connfail': ([['mail=connfail']], HELLO + ['MAIL FROM:<{tag}@x.example>']),
    'mail skip': ([['mail=skip']], HELLO + ENVELOPE),
    'rcpt reject': ([['rcpt:known2=reject']], HELLO + ['MAIL FROM:<{tag}@x.example>', 'RCPT TO:<known2@example.org>', 'RCPT TO:<known@example.org>', 'DATA', TEXT]),
    'rcpt tempfail': ([['rcpt=tempfail']], HELLO + ENVELOPE + ['DATA']),
    'rcpt accept': ([['rcpt=accept']], MESSAGE),
    'rcpt discard': ([['rcpt=discard']], MESSAGE),
    'rcpt 421': ([['rcpt=reply:421~4.7.0~go']], HELLO + ENVELOPE),
    'data reject': ([['data=reject']], HELLO + ENVELOPE + ['DATA', 'RSET'] + ENVELOPE),
    'data tempfail': ([['data=tempfail']], HELLO + ENVELOPE + ['DATA']),
    'data discard': ([['data=discard']], MESSAGE),
    'data accept': ([['data=accept']], MESSAGE),
    'data reject chunks': ([['data=reject']], HELLO + ENVELOPE + [b'BDAT 6 LAST\r\nabcdef', 'NOOP']),
    'header reject': ([['header:X-A=reject']], MESSAGE),
    'header accept': ([['header:X-A=accept'] + edits('addheader:X-N:v')], MESSAGE),
    'header discard': ([['header:X-A=discard']], MESSAGE),
    'header tempfail': ([['header=tempfail']], MESSAGE),
    'eoh reject': ([['eoh=reject']], MESSAGE),
    'eoh reply': ([['eoh=reply:550~5.6.0~at~eoh']], MESSAGE),
    'body reject': ([['body=reject']], MESSAGE),
    'body skip': ([['steps=400', 'body=skip']], HELLO + ENVELOPE + ['DATA', b'Subject: large\r\n\r\n' + b'0123456789abcdef0123456789abcde\r\n' * 5000 + b'.\r\n']),
    'body discard': ([['body=discard']], MESSAGE),
    'eom reject': ([['eom=reject']], MESSAGE + ENVELOPE),
    'eom tempfail': ([['eom=tempfail']], MESSAGE),
    'eom reply': ([['eom=reply:550~5.7.9~own~text']], MESSAGE),
    'eom lines': ([['eom=reply:550-5.7.9~one\\r\\n550~5.7.9~two']], MESSAGE),
    'eom 421': ([['eom=reply:421~4.7.0~go']], MESSAGE),
    'eom discard': ([['eom=discard']], MESSAGE),
    'eom accept': ([['eom=accept']], MESSAGE),
    'eom reject chunks': ([['eom=reject']], CHUNKS),
    'eom two recipients': ([['eom=reject']], HELLO + ['MAIL FROM:<{tag}@x.example>', 'RCPT TO:<known2@example.org>', 'RCPT TO:<known@example.org>', 'DATA', TEXT]),
    'eom progress': ([['eom=progress', 'eom=wait:1500', 'eom=progress', 'eom=wait:1500', 'eom=continue']], MESSAGE),
    'unknown reject': ([['unknown=reject']], HELLO + ['FOO bar', 'NOOP']),
    'unknown reply': ([['unknown=reply:502~5.5.1~own']], ['FOO bar']),
    'unknown 421': ([['unknown=reply:421~4.7.0~go']], ['FOO bar']),
    # restrictions and milters
    'access hold': ([[]], HELLO + ['MAIL FROM:<{tag}@x.example>', 'RCPT TO:<held@example.org>', 'DATA', TEXT]),
    'access discard': ([['eom=reject']], HELLO + ['MAIL FROM:<{tag}@x.example>', 'RCPT TO:<gone@example.org>', 'RCPT TO:<known@example.org>', 'DATA', TEXT]),
    # headers
    'add header': ([edits('addheader:X-N:v')], MESSAGE),
    'add folded': ([edits('addheader:X-N:v\\n\\tw\\n x')], MESSAGE),
    'add crlf': ([edits('addheader:X-N:v\\r\\n\\tw')], MESSAGE),
    'add injected': ([edits('addheader:X-N:v\\nX-Injected\\: w')], MESSAGE),
    'add empty': ([edits('addheader:X-N:')], MESSAGE),
    'add long': ([edits('addheader:X-N:' + 'long' * 600)], MESSAGE),
    'add no name': ([edits('addheader::v')], MESSAGE),
    'add two': ([edits('addheader:X-N:1', 'addheader:X-M:2', 'addheader:X-N:3')], MESSAGE),
    'insert 0': ([edits('insheader:0:X-N:v')], MESSAGE),
    'insert 1': ([edits('insheader:1:X-N:v')], MESSAGE),
    'insert 2': ([edits('insheader:2:X-N:v')], MESSAGE),
    'insert 3': ([edits('insheader:3:X-N:v')], MESSAGE),
    'insert last': ([edits('insheader:6:X-N:v')], MESSAGE),
    'insert far': ([edits('insheader:99:X-N:v')], MESSAGE),
    'insert twice': ([edits('insheader:0:X-N:1', 'insheader:0:X-N:2', 'insheader:1:X-N:3', 'insheader:2:X-N:4')], MESSAGE),
    'insert huge': ([edits('insheader:2147483647:X-N:v')], MESSAGE),
    'change 1': ([edits('chgheader:1:X-A:new')], MESSAGE),
    'change 2': ([edits('chgheader:2:X-A:new')], MESSAGE),
    'change 3': ([edits('chgheader:3:X-A:new')], MESSAGE),
    'change 0': ([edits('chgheader:0:X-A:new')], MESSAGE),
    'change case': ([edits('chgheader:1:x-a:new')], MESSAGE),
    'change received': ([edits('chgheader:1:Received:new')], MESSAGE),
    'change missing': ([edits('chgheader:1:X-C:new')], MESSAGE),
    'delete 1': ([edits('chgheader:1:X-A:')], MESSAGE),
    'delete 2': ([edits('chgheader:2:X-A:')], MESSAGE),
    'delete both': ([edits('chgheader:2:X-A:', 'chgheader:1:X-A:')], MESSAGE),
    'delete both up': ([edits('chgheader:1:X-A:', 'chgheader:2:X-A:')], MESSAGE),
    'delete missing': ([edits('chgheader:1:X-C:')], MESSAGE),
    'delete received': ([edits('chgheader:1:Received:')], MESSAGE),
    'delete received 2': ([edits('chgheader:2:Received:')], MESSAGE),
    'insert, then change': ([edits('insheader:0:X-A:zero', 'chgheader:1:X-A:new')], MESSAGE),
    'insert 1, then change': ([edits('insheader:1:X-A:zero', 'chgheader:1:X-A:new')], MESSAGE),
    'insert received, then change': ([edits('insheader:0:Received:zero', 'chgheader:1:Received:new')], MESSAGE),
    'insert received, then change 2': ([edits('insheader:0:Received:zero', 'chgheader:2:Received:new')], MESSAGE),
    'insert two received': ([edits('insheader:0:Received:zero', 'insheader:2:Received:two', 'chgheader:2:Received:')], MESSAGE),
    'add, then change': ([edits('addheader:X-N:1', 'chgheader:1:X-N:2')], MESSAGE),
    'change, then delete': ([edits('chgheader:1:X-A:new', 'chgheader:1:X-A:')], MESSAGE),
    'no header add': ([edits('addheader:X-N:v')], HELLO + ENVELOPE + ['DATA', b'\r\nbody\r\n.\r\n']),
    'no body add': ([edits('addheader:X-N:v')], HELLO + ENVELOPE + ['DATA', b'Subject: only\r\n.\r\n']),
    'space kept': ([['steps=100000'] + edits('addheader:X-N: v', 'addheader:X-M:w', 'chgheader:1:X-B:new')], MESSAGE),
    # body
    'body': ([edits('body:new\\r\\nbody\\r\\n')], MESSAGE),
    'body no end': ([edits('body:new\\r\\nbody')], MESSAGE),
    'body bare lf': ([edits('body:new\\nbody\\n.\\nend\\n')], MESSAGE),
    'body dots': ([edits('body:.\\r\\n..\\r\\n.x\\r\\n')], MESSAGE),
    'body empty': ([edits('body:')], MESSAGE),
    'body pieces': ([edits('body:one\\r', 'body:\\ntwo', 'body:three\\r\\n')], MESSAGE),
    'body large': ([edits('body*3000:0123456789abcdef0123456789abcde\\r\\n')], MESSAGE),
    'body and header': ([edits('body:new\\r\\n', 'addheader:X-N:v', 'chgheader:1:X-A:')], MESSAGE),
    'body nul': ([edits('body:a\\0b\\rc\\r\\n')], MESSAGE),
    # envelope
    'add rcpt': ([edits('addrcpt:<known2@example.org>')], MESSAGE),
    'add rcpt bare': ([edits('addrcpt:known2@example.org')], MESSAGE),
    'add rcpt alias': ([edits('addrcpt:<two@example.org>')], MESSAGE),
    'add rcpt again': ([edits('addrcpt:<known@example.org>')], MESSAGE),
    'add rcpt with a copy': ([edits('addrcpt:<copied@example.org>')], MESSAGE),
    'rcpt with a copy': ([[]], HELLO + ['MAIL FROM:<{tag}@x.example>', 'RCPT TO:<copied@example.org>', 'DATA', TEXT]),
    'add rcpt args': ([edits('addrcpt:<known2@example.org>:NOTIFY=NEVER')], MESSAGE),
    'add rcpt null': ([edits('addrcpt:<>')], MESSAGE),
    'add rcpt elsewhere': ([edits('addrcpt:<x@elsewhere.test>')], MESSAGE),
    'delete rcpt': ([edits('delrcpt:<known2@example.org>')], HELLO + ['MAIL FROM:<{tag}@x.example>', 'RCPT TO:<known2@example.org>', 'RCPT TO:<known@example.org>', 'DATA', TEXT]),
    'delete rcpt case': ([edits('delrcpt:<KNOWN@example.org>')], MESSAGE),
    'delete rcpt alias': ([edits('delrcpt:<alias@example.org>')], HELLO + ['MAIL FROM:<{tag}@x.example>', 'RCPT TO:<alias@example.org>', 'RCPT TO:<known2@example.org>', 'DATA', TEXT]),
    'delete rcpt target': ([edits('delrcpt:<known@example.org>')], HELLO + ['MAIL FROM:<{tag}@x.example>', 'RCPT TO:<alias@example.org>', 'DATA', TEXT]),
    'replace rcpt': ([edits('delrcpt:<known@example.org>', 'addrcpt:<known2@example.org>')], MESSAGE),
    'delete and add': ([edits('addrcpt:<known2@example.org>', 'delrcpt:<known2@example.org>')], MESSAGE),
    'delete all': ([edits('delrcpt:<known@example.org>')], MESSAGE),
    'from': ([edits('from:<{tag}-new@x.example>')], MESSAGE),
    'from bare': ([edits('from:{tag}-new@x.example')], MESSAGE),
    'from null': ([edits('from:<>', 'addheader:X-Tag:{tag}')], HELLO + ['MAIL FROM:<{tag}@x.example>', 'RCPT TO:<{tag}@example.org>', 'DATA', TEXT]),
    'from args': ([edits('from:<{tag}-new@x.example>:RET=FULL')], MESSAGE),
    # quarantine
    'quarantine': ([edits('quarantine:because')], MESSAGE),
    'quarantine, reject': ([edits('quarantine:because', 'reject')], MESSAGE),
    # several
    'two': ([edits('addheader:X-One:1'), edits('addheader:X-Two:2')], MESSAGE),
    'two: sees edits': ([edits('addheader:X-One:1', 'chgheader:1:X-A:', 'body:new\\r\\n'), []], MESSAGE),
    'two: sees inserted': ([edits('insheader:0:X-Zero:0', 'insheader:1:X-One:1'), []], MESSAGE),
    'two: first refuses': ([['mail=reject'], []], HELLO + ENVELOPE),
    'two: second refuses': ([[], ['rcpt=reject']], HELLO + ENVELOPE + ['RSET']),
    'two: first refuses at end': ([['eom=reject'], []], MESSAGE + ENVELOPE),
    'two: second refuses at end': ([edits('addheader:X-One:1'), ['eom=reject']], MESSAGE),
    'two: first accepts': ([['mail=accept'], ['eom=reject']], MESSAGE),
    'two: first discards': ([['rcpt=discard'], []], MESSAGE),
    'two: first dies': ([(['rcpt=close'], 'default_action=accept'), edits('addheader:X-Two:2')], MESSAGE),
}
for action in ('accept', 'reject', 'tempfail', 'quarantine'):
    d = f'default_action={action}'
    CASES[f'{action}: nobody there'] = ([(None, d)], MESSAGE)
    for stage in ('negotiate', 'connect', 'helo', 'mail', 'rcpt', 'data', 'header', 'eoh', 'eom', 'unknown'):
        steps = ['FOO'] + MESSAGE if stage == 'unknown' else MESSAGE
        CASES[f'{action}: closes at {stage}'] = ([([f'{stage}=close'], d)], steps)
    CASES[f'{action}: hangs at mail'] = ([(['mail=hang'], d + ', command_timeout=1s')], MESSAGE)
    CASES[f'{action}: hangs at end'] = ([(['eom=hang'], d + ', content_timeout=1s')], MESSAGE)
    CASES[f'{action}: garbage at rcpt'] = ([(['rcpt=code:Z'], d)], MESSAGE)
    CASES[f'{action}: garbage at end'] = ([(['eom=code:Z'], d)], MESSAGE)
    CASES[f'{action}: length 0'] = ([(['mail=length:0'], d)], MESSAGE)
    CASES[f'{action}: edits at mail'] = ([(['mail=addheader:X-N:v'], d)], MESSAGE)
for sender in ('a@routed.example', 'A@ROUTED.example', 'routed@x.example', 'routed+x@x.example', 'a@other.example', 'a@example.org', 'a@elsewhere.test', ''):
    for rcpt in ('known@example.org', 'x@routed.example', 'y@elsewhere.test'):
        CASES[f'route {sender} {rcpt}'] = ([[]], HELLO + [f'MAIL FROM:<{sender}>', f'RCPT TO:<{rcpt}>', 'RSET'])
CASES['accept: slow'] = ([['connect=slow'] + edits('addheader:X-N:v')], MESSAGE)

DIFFERENCES = {
    'hears macros': 'those of the envelope are known at the end of the message, too',
    'mail controls': 'what a milter says is made printable',
    'add crlf': 'a line end in a header is CRLF, not CR CR LF',
    'add no name': 'a header without a name is a fault of the milter',
    'body nul': 'content has no NUL and no stray CR, whoever wrote it',
    'add rcpt again': 'a recipient gets a message once',
    'delete all': 'what becomes of a message without recipients is logged',
}


class Listener:
    """A milter in a thread of its own."""

    def __init__(self, rules, where, hub):
        self.hub = hub
        self.sock = socket.socket()
        self.sock.bind(('127.0.0.1', 0))
        self.port = self.sock.getsockname()[1]
        self.path = where / f'heard.{self.port}'
        if rules is None:
            self.sock.close()  # nobody is there
            return
        self.rules = milter.Rules([f'log={self.path}'] + rules)
        self.sock.listen(16)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        number = 0
        while True:
            sock = self.sock.accept()[0]
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            number += 1
            threading.Thread(target=milter.serve, args=(self.rules, sock, number), daemon=True).start()

    def heard(self):
        if not self.path.exists():
            return []
        out = []
        for line in self.path.read_text().splitlines():
            number, stage, *rest = line.split(' ', 2)
            rest = rest[0] if rest else ''
            if stage in ('closed', 'quit', 'abort', 'negotiate'):
                continue
            rest = re.sub(r'\{i=\w+\}', '{i=ID}', rest)
            rest = re.sub(r'\{v=[^}]*\}', '{v=V}', rest)
            rest = re.sub(r'(^\S+ 4 |client_port\}=)\d+', r'\1PORT', rest)
            rest = re.sub(r'\{daemon_port\}=\d+', '{daemon_port}=PORT', rest)
            if stage in ('header', 'body'):  # Postfix repeats them each time
                rest = re.sub(r' \{i=ID\}$', '', rest)
            out.append(f'{stage} {rest}')
        return [re.sub(rf'\]:({self.hub})\}}', ']:HUB}', line) for line in out]


class Side:
    def __init__(self, kind, scratch, cases):
        self.scratch, self.hub, self.cases = scratch / kind.__name__.lower(), compat.Hub(), cases
        self.scratch.mkdir()
        self.milters, rows = {}, []
        for number, (name, (milters, _)) in enumerate(cases.items()):
            values = []
            for m in milters:
                rules, settings = m if isinstance(m, tuple) else (m, '')
                listener = Listener(rules and [r.replace('{tag}', tag_of(number)) for r in rules], self.scratch, self.hub.port)
                self.milters.setdefault(name, []).append(listener)
                values.append(f'{{ inet:127.0.0.1:{listener.port}, {settings} }}' if settings else f'inet:127.0.0.1:{listener.port}')
            rows.append(f'{address_of(number)} {", ".join(values)}\n')
        (self.scratch / 'milters').write_text(''.join(rows))
        extra = EXTRA.replace('{dir}', str(self.scratch))
        self.gateway = kind(self.scratch, extra + (OURS if kind is compat.Dogana else ''), self.hub.port)

    def play(self, name, number, steps):
        steps = [s.replace('{tag}', tag_of(number)) if isinstance(s, str) else s for s in steps]
        said, ids, _ = compat.play(self.gateway.port, 0, (name, compat.SRC(address_of(number)), *steps))
        return said, ids

    def result(self, name, number, said, log):
        ports = [m.port for m in self.milters[name]]
        lines = []
        for line in log:
            m = re.match(r'.*? \S+ \w+/([\w/-]+)\[\d+\]: (.*)', line)
            text = m.group(2) if m else line
            if not (f'[{address_of(number)}]' in text and 'milter-' in text or any(f':{p}' in text and 'milter' in text for p in ports)):
                continue
            text = re.sub(r'^[0-9A-Za-z]{10,}:', 'ID:', text)
            text = re.sub(r'packet header: (Application error|connection closed|Connection reset by peer)', 'packet header: CLOSED', text)
            if 'read error in initial handshake' in text:
                continue  # that has just been said
            for i, p in enumerate(ports):
                text = text.replace(f'127.0.0.1:{p}', f'MILTER{i}')
            lines.append(f'L: {text}')
        holds = [i for i, line in enumerate(lines) if 'milter-hold' in line]
        if holds:  # Postfix says so of each command, we of the message
            lines = [line for i, line in enumerate(lines) if i not in holds] + ['L: milter-hold']
        out = ''.join(f'{line}\n' for line in compat.transcript(said).splitlines())
        for i, m in enumerate(self.milters[name]):
            out += ''.join(f'M{i}: {line}\n' for line in m.heard())
        return (out + '\n'.join(lines) + '\n' + sorted_rcpts(self.hub.of(tag_of(number)))).replace(tag_of(number), 'TAG').replace(address_of(number), 'CLIENT')


def sorted_rcpts(text):
    """Their order means nothing."""
    lines = text.splitlines()
    places = [i for i, line in enumerate(lines) if line.startswith('H: RCPT')]
    for i, line in zip(places, sorted(lines[i] for i in places)):
        lines[i] = line
    return '\n'.join(lines) + '\n'


def without_content(name, text):
    """Content goes ahead of the replies of a milter here: what it hears behind its last word is a matter of moments."""
    if not name.startswith(('header ', 'eoh ', 'body reject', 'body discard')):
        return text
    return re.sub(r'^M0: (header|eoh|body|eom) .*\n', '', text, flags=re.M)


def tag_of(number):
    return f'tag{number:03}x'


def address_of(number):
    return f'127.1.{1 + number // 200}.{1 + number % 200}'


def run(kind, scratch, cases):
    side = Side(kind, scratch, cases)
    told = {}
    try:
        threads = []
        items = list(enumerate(cases.items()))
        lock = threading.Lock()

        def work():
            while True:
                with lock:
                    if not items:
                        return
                    number, (name, (_, steps)) = items.pop(0)
                told[name] = (number, side.play(name, number, steps)[0])
        threads = [threading.Thread(target=work) for _ in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        time.sleep(2)  # what is on its way to the hub, and to the log
        log = (side.gateway.dir / 'log').read_text(errors='backslashreplace').splitlines()
        return {name: side.result(name, number, said, log) for name, (number, said) in told.items()}, log
    finally:
        side.gateway.close()


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument('-k', default='')
    ap.add_argument('-v', action='store_true')
    args = ap.parse_args()
    cases = {name: case for name, case in CASES.items() if args.k in name}
    compat.PATIENCE = 8
    with tempfile.TemporaryDirectory(prefix='dogana-milters-') as name:
        where = pathlib.Path(name)
        where.chmod(0o755)
        theirs, _ = run(compat.Postfix, where, cases)
        ours, _ = run(compat.Dogana, where, cases)
    failed = 0
    for case in cases:
        if args.v:
            print(f'==== {case}\n{ours[case]}')
        same = without_content(case, theirs[case]) == without_content(case, ours[case])
        if same == (case not in DIFFERENCES):
            continue
        failed += 1
        if same:
            print(f'{case}: does not differ any more: {DIFFERENCES[case]}')
        else:
            print(f'==== {case}: Postfix -, Dogana +')
            print('\n'.join(l for l in difflib.unified_diff(theirs[case].splitlines(), ours[case].splitlines(), lineterm='', n=2) if not l.startswith(('---', '+++'))))
    print(f'milters: {len(cases)} dialogues, {failed} differ')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
