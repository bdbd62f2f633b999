#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Mail that came from no client beside Debian's Postfix: non-delivery reports, and a scripted milter (tests/tools/milter.py) that changes them.

Compared: what the milter hears (macros included), what the hub gets of the report: envelope, the headers that milters made, a body that they
made; whether the report is held, and what is left in the queue. What differs on purpose is DIFFERENCES. Needs root, as Postfix's master does.

    own_mail.py [-k TEXT] [-v]
"""

import argparse
import importlib.util
import pathlib
import re
import socket
import sys
import threading

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import pair  # noqa: E402
import rig  # noqa: E402

spec = importlib.util.spec_from_file_location('milter', HERE.parent / 'tools/milter.py')
milter = importlib.util.module_from_spec(spec)
spec.loader.exec_module(milter)

MAIN = '''relay_domains = local.test, there.test
relay_recipient_maps =
smtpd_recipient_restrictions =
non_smtpd_milters = { inet:127.0.0.1:%d, default_action=tempfail, command_timeout=2s, content_timeout=2s }
internal_mail_filter_classes = bounce
virtual_alias_maps = inline:{{ list@there.test = one@there.test, two@there.test }, { alias@there.test = three@there.test }}
virtual_alias_domains =
sender_canonical_maps = inline:{{ old@there.test = new@there.test }}
sender_canonical_classes = envelope_sender
myhostname = mx.example.com
mydestination =
smtpd_milters =
soft_bounce = no
header_checks =
'''
# What the milter does with the report to NAME@there.test.
CASES = {
    'nothing': [],
    'header added': ['addheader:X-A:added'],
    'header folded': ['addheader:X-A:one\\n\ttwo'],
    'header inserted': ['insheader:0:X-A:first', 'insheader:1:X-B:second'],
    'header changed': ['chgheader:1:Subject:changed'],
    'header deleted': ['chgheader:1:Subject:'],
    'body': ['body:new\\r\\n.dot\\r\\nlast\\r\\n'],
    'body without line end': ['body:new'],
    'body bare lf': ['body:one\\ntwo\\n'],
    'body empty': ['body:'],
    'body in two': ['body:one\\r\\ntw', 'body:o\\r\\n'],
    'body large': ['body*20000:line\\r\\n'],
    'body and header': ['body:new\\r\\n', 'addheader:X-A:added', 'chgheader:1:Subject:changed'],
    'sender': ['from:<who@there.test>'],
    'sender canonical': ['from:old@there.test'],
    'sender bare': ['from:who'],
    'sender bad': ['from:a~b@@c'],
    'rcpt added': ['addrcpt:<more@there.test>'],
    'rcpt added alias': ['addrcpt:list@there.test'],
    'rcpt added bare': ['addrcpt:more'],
    'rcpt added with args': ['addrcpt:more@there.test:NOTIFY=NEVER'],
    'rcpt added null': ['addrcpt:<>'],
    'rcpt deleted': ['delrcpt:{me}@there.test', 'addrcpt:more@there.test'],
    'rcpt deleted other case': ['delrcpt:{ME}@there.test'],
    'rcpt added and deleted': ['addrcpt:more@there.test', 'delrcpt:more@there.test'],
    'rcpt deleted unknown': ['delrcpt:stranger@there.test'],
    'all deleted': ['delrcpt:{me}@there.test'],
    'hold': ['quarantine:odd', 'addheader:X-A:added'],
    'discard': ['discard'],
    'reject': ['reject'],
    'reply': ['reply:550~5.7.9~not~this'],
    'tempfail': ['tempfail'],
    'reply 4': ['reply:451~4.7.9~not~now'],
    'close': ['close'],
}
DIFFERENCES = {
    'sender bad': 'what is no address is no sender; Postfix takes what it can read of it',
    'all deleted': 'a report without recipients is not sent; Postfix keeps the message it is about',
    'reject': 'the report is not sent; Postfix tries again until the message it is about expires',
    'reply': 'the report is not sent; Postfix tries again until the message it is about expires',
}


class ByRecipient(milter.Rules):
    """Rules of the recipient: mail of this kind has no sender. A connection is a message here."""

    def find(self, stage, sender, text):
        if stage != 'eom':
            return []
        return self.cases[self.recipient[threading.current_thread()]]

    def say(self, line):
        number, stage, *rest = line.split(' ', 2)
        rest = rest[0] if rest else ''
        me = threading.current_thread()
        if stage == 'rcpt':
            self.recipient[me] = re.match(r'<?(\w+)@', rest).group(1)
        self.lines.setdefault(me, []).append((stage, rest))


class Milter:
    def __init__(self, cases):
        self.rules = ByRecipient([])
        self.rules.cases, self.rules.recipient, self.rules.lines = cases, {}, {}
        self.sock = socket.socket()
        self.sock.bind(('127.0.0.1', 0))
        self.sock.listen(16)
        self.port = self.sock.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        number = 0
        while True:
            sock = self.sock.accept()[0]
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            number += 1
            threading.Thread(target=milter.serve, args=(self.rules, sock, number), daemon=True).start()

    def heard(self, tag):
        """Of the first report to this one; without what differs each time."""
        for thread, lines in list(self.rules.lines.items()):
            if self.rules.recipient.get(thread) != tag:
                continue
            out = []
            for stage, rest in lines:
                if stage in ('negotiate', 'closed', 'quit', 'abort') or stage == 'header' and not rest.startswith('Subject '):
                    continue
                rest = re.sub(r'\{i=\w+\}', '{i=ID}', rest)
                rest = re.sub(r'\{v=[^}]*\}', '{v=V}', rest)
                out.append(f'{stage} {rest}' if stage != 'body' else 'body')
                if stage == 'eom':
                    break
            return [re.sub(r' \{i=ID\}$', '', line) if line.startswith(('header', 'body')) else line for line in out]
        return ['nothing']


def play(port, tag):
    """A message from this one that nobody takes. Its queue id."""
    sock = socket.create_connection(('127.0.0.1', port), 10)
    with sock, sock.makefile('rb') as replies:
        def reply():
            while True:
                line = replies.readline()
                if line[3:4] != b'-':
                    return line
        reply()
        for command in ('EHLO client.test', f'MAIL FROM:<{tag}@there.test>', 'RCPT TO:<nobody@local.test>', 'DATA', 'Subject: x\r\n\r\nhello\r\n.'):
            sock.sendall(command.encode() + b'\r\n')
            said = reply()
        return re.search(rb'queued as (\w+)', said).group(1).decode()


def settled(log, qid):
    """What became of the report, or None: not known yet."""
    report = re.search(rf' {qid}: sender non-delivery notification: (\w+)', log)
    if report and re.search(rf' {report.group(1)}: removed', log) and re.search(rf' {qid}: removed', log):
        return 'sent'
    if report and f' {report.group(1)}: milter-hold: END-OF-MESSAGE from localhost' in log:
        return 'held'
    if re.search(r'milter-discard: END-OF-MESSAGE from localhost', log) and re.search(rf' {qid}: removed', log):
        return 'discarded'
    if report:
        return None
    if re.search(r'mail of our own is not sent', log) and re.search(rf' {qid}: removed', log):
        return 'nothing sent'
    if 'mail of our own has to wait' in log or re.search(rf' {qid}: .*status=deferred', log):
        return 'later'
    return None


def one(side, port, name, tag, ear):
    before, start = len(side.hub.messages()), side.log.stat().st_size
    qid = play(port, tag)

    def log():
        return side.log.read_bytes()[start:].decode(errors='replace')
    try:
        fate = rig.wait_for('the report', lambda: settled(log(), qid), 8)
    except rig.Broken:
        print(log())
        raise
    out = [f'fate: {fate}'] + [f'heard: {line}' for line in ear.heard(tag)]
    for record in side.hub.messages()[before:]:
        header, _, body = side.hub.content(record).partition(b'\r\n\r\n')
        out.append('mail: ' + re.sub(r' (SIZE|BODY)=\S+', '', record['mail']))
        out += sorted('rcpt: ' + ' '.join(sorted(w for w in r.split(' ') if w != 'NOTIFY=NEVER' or tag not in r)) for r in record['rcpt'])
        out += [f'header: {h.decode()}' for h in re.findall(rb'^(?:X-A|X-B|Subject):.*(?:\r\n[ \t].*)*', header, re.M)]
        out.append('body: the report' if b'This is the mail system at host' in body else f'body: {len(body)} {body[:60]!r}')
    return [line.replace(tag, 'TAG').replace(tag.upper(), 'TAG') for line in out]


def main():
    args = pair.arguments(argparse.ArgumentParser()).parse_args()
    tags = {name: f'tag{number:02}x' for number, name in enumerate(CASES)}
    rules = {tags[name]: [r.replace('{me}', tags[name]).replace('{ME}', tags[name].upper()) for r in rules] for name, rules in CASES.items()}
    scratch, ports, results = rig.workdir('compat-own_mail'), rig.free_ports(2), []
    tally = pair.Tally('own_mail', args.v)
    for kind, port in ((pair.Postfix, ports[0]), (pair.Dogana, ports[1])):
        ear = Milter(rules)
        side = kind(scratch / kind.__name__.lower(), [port], {'smtp': ''}, MAIN % ear.port)
        try:
            side.hub.order('rule rcpt=nobody@ reply 550 5.1.1 no such user')
            results.append({name: one(side, port, name, tags[name], ear) for name in CASES if args.k in name})
        finally:
            side.stop()
    for name in results[0]:
        tally.compare(name, results[0][name], results[1][name], DIFFERENCES.get(name))
    status = tally.end()
    if status == 0:
        rig.remove_work()
    return status


if __name__ == '__main__':
    sys.exit(main())
