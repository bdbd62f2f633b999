#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The whole chain of filters in one running gateway: a milter, header and body checks, the virus filter, the attachment filter.

    chain.py [-v] [NAME...]      last line: N passed, N failed, N skipped

Real mail (CORPUS, a folder; default tests/demo/mail) must arrive with the body it was sent with, octet for octet, in memory and in
drafts, through DATA and BDAT. Then what the filters must hold, what they change, and the same under kills and reloads.
"""

import base64
import collections
import email
import email.policy
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parents[1]
sys.path.insert(0, str(TOP / 'tests/tools'))
import programs  # noqa: E402
import rig  # noqa: E402
from cases import Skip, case, run_cases  # noqa: E402
from rig import wait_for  # noqa: E402

CORPUS = pathlib.Path(os.environ.get('CORPUS') or TOP / 'tests/demo/mail')
EICAR = programs.EICAR.encode()


class Client:
    """A plain SMTP client that sends octets as they are."""

    def __init__(self, port, helo='client.test'):
        self.sock = socket.create_connection(('127.0.0.1', port), 30)
        self.sock.settimeout(60)
        self.rest = self.sock.makefile('rb')
        self.reply()
        self.say(f'EHLO {helo}')

    def reply(self):
        lines = []
        while True:
            line = self.rest.readline()
            if not line:
                raise OSError('the connection ended')
            lines.append(line.rstrip(b'\r\n').decode('latin-1'))
            if line[3:4] != b'-':
                return '\n'.join(lines)

    def say(self, line):
        self.sock.sendall(line.encode() + b'\r\n')
        return self.reply()

    def send(self, content, sender='a@sender.test', rcpts=('b@local.test',), bdat=0, options=''):
        """The reply to the content; BDAT in chunks of so many octets."""
        answer = self.say(f'MAIL FROM:<{sender}> BODY=8BITMIME{options}')
        for r in rcpts:
            answer = self.say(f'RCPT TO:<{r}>') if answer[0] == '2' else answer
        if answer[0] != '2':
            return answer
        if bdat:
            for at in range(0, max(len(content), 1), bdat):
                piece = content[at:at + bdat]
                self.sock.sendall(b'BDAT %d%s\r\n' % (len(piece), b' LAST' if at + bdat >= len(content) else b'') + piece)
                answer = self.reply()
                if answer[0] != '2':
                    self.say('RSET')
                    break
            return answer
        answer = self.say('DATA')
        if answer[0] != '3':
            return answer
        stuffed = re.sub(rb'(?m)^\.', b'..', content)
        self.sock.sendall(stuffed + b'.\r\n')
        return self.reply()

    def close(self):
        try:
            self.sock.sendall(b'QUIT\r\n')
        except OSError:
            pass
        self.sock.close()


class Chain:
    """A gateway with filters, a milter (`rules' of milter.py) and the recording hub."""

    def __init__(self, more='', rules=(), virus=True, attachments=True, milter=True, rules_of_attachments=None):
        binary = pathlib.Path(rig.program())
        for name in ('dogana-virus', 'dogana-attachments'):
            if not (binary.parent / name).exists():
                raise Skip(f'{name} has not been built')
        self.dir = rig.workdir('chain')
        self.port, milt = rig.free_ports(2)
        self.hub = rig.Hub(self.dir / 'hub', ['0'])
        self.tool, self.virus = None, virus
        if milter:
            self.tool = subprocess.Popen([sys.executable, TOP / 'tests/tools/milter.py', str(milt), *rules], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            self.tool.stdout.readline()
        (self.dir / 'signatures').mkdir()
        shutil.copy(HERE / 'viruses.hdb', self.dir / 'signatures')
        etc = self.dir / 'gw/etc'
        main = f'''compatibility_level = 3.6
myhostname = gw.test
mydestination =
local_recipient_maps =
relay_domains = local.test
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
queue_directory = {self.dir}/gw/queue
data_directory = {self.dir}/gw/data
maillog_file = /dev/stdout
smtp_tls_security_level = none
smtpd_error_sleep_time = 0s
smtpd_soft_error_limit = 1000
smtpd_hard_error_limit = 1000
relayhost = [127.0.0.1]:{self.hub.ports[0]}
edge_workers = 1
relay_workers = 1
spool_inline_limit = 20000
header_checks = pcre:{etc}/header-checks
body_checks = pcre:{etc}/body-checks
'''
        if virus:
            main += f'virus_engine = embedded\nvirus_database = {self.dir}/signatures\nvirus_workers = 2\n'
        if attachments:
            main += f'attachment_rules = {etc}/attachment-rules\nattachment_extensions = texthash:{etc}/attachment-extensions\n'
        if milter:
            main += f'smtpd_milters = inet:127.0.0.1:{milt}\n'
        files = {'header-checks': '/^X-Never-There:/ REJECT\n', 'body-checks': '/^never there$/ REJECT\n',
                 'attachment-rules': rules_of_attachments or (TOP / 'conf.d/attachment-rules').read_text(),
                 'attachment-extensions': (TOP / 'conf.d/attachment-extensions').read_text()}
        self.gw = rig.Gateway(self.dir / 'gw', main + more, f'127.0.0.1:{self.port} inet n - n - - smtpd\n', files)

    def __enter__(self):
        try:
            self.gw.start(self.port)
            if self.virus:
                wait_for('the signatures', lambda: 'signatures' in self.gw.log_text(), 30)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind, why, trace):
        try:
            if self.gw.proc:
                self.gw.stop()
            found = self.gw.troubles()
            if found and kind is None:
                raise AssertionError('\n'.join(found))
        finally:
            if kind is not None:
                print(self.gw.tail(30))
            self.gw.kill()
            self.hub.stop()
            if self.tool:
                self.tool.kill()
                self.tool.wait()
            if not os.environ.get('KEEP'):
                shutil.rmtree(self.dir, ignore_errors=True)

    def took(self, n, seconds=30):
        wait_for(f'{n} messages at the hub', lambda: len(self.hub.messages()) >= n, seconds)
        return self.hub.messages()

    def processes(self, name):
        """Processes of a bundled filter, by what they are called."""
        out = []
        for p in pathlib.Path('/proc').iterdir():
            if p.name.isdigit():
                try:
                    line = (p / 'cmdline').read_bytes()
                    if os.getsid(int(p.name)) == self.gw.proc.pid and name.encode() in line:
                        out.append((int(p.name), line.replace(b'\0', b' ').decode(errors='replace')))
                except OSError:
                    pass
        return out


def body_of(content):
    return content.partition(b'\r\n\r\n')[2]


def headers_of(content):
    return content.partition(b'\r\n\r\n')[0] + b'\r\n'


def wire(raw):
    """A file as a client sends it: lines end with CR LF, no line of mbox."""
    raw = re.sub(rb'\r?\n', b'\r\n', raw)
    raw = re.sub(rb'\AFrom .*\r\n', b'', raw)
    return raw if raw.endswith(b'\r\n') else raw + b'\r\n'


def multipart(*parts):
    """text, then attachments: (headers, body)"""
    out = b'From: a@sender.test\r\nSubject: parts\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="=_b"\r\n\r\n'
    for head, body in ((b'Content-Type: text/plain\r\n', b'see below\r\n'), *parts):
        out += b'--=_b\r\n' + head + b'\r\n' + body
    return out + b'--=_b--\r\n'


@case
def real_mail_is_not_touched():
    files = sorted(p for p in CORPUS.rglob('*') if p.is_file())
    assert files, CORPUS
    rules = 'allow name=*\n'  # looks at everything, holds nothing
    with Chain('virus_header =\nvirus_limits_action = accept\nvirus_encrypted_action = accept\nvirus_macro_action = accept\n'
               'attachment_unreadable_action = allow\nmessage_drop_headers =\nsmtp_line_length_limit = 0\nmessage_size_limit = 20000000\n', rules_of_attachments=rules) as c:
        sent, client = {}, Client(c.port)
        for i, path in enumerate(files):
            content = wire(path.read_bytes())
            for way, bdat in (('data', 0), ('bdat', 5000)):
                sender = f'{way}{i}@sender.test'
                answer = client.send(content, sender, bdat=bdat)
                assert answer.startswith('250'), f'{path} {way}: {answer}'
                sent[sender] = (path, content)
        client.close()
        for m in c.took(len(sent), 120):
            path, content = sent.pop(re.search(r'<(.*?)>', m['mail']).group(1))
            got = c.hub.content(m)
            assert got.endswith(b'\r\n' + content), f'{path}: {m["mail"]}: what came is not what was sent: {got[:1000]!r}'
            added = got[:-len(content)]
            assert re.fullmatch(rb'Received: .*\r\n(?:\t.*\r\n)*(?:(?:Message-Id|Date|From): .*\r\n)*(?:\r\n)?', added), f'{path}: added: {added!r}'
        assert not sent, list(sent.values())[:1]


@case
def what_must_be_held_is_held():
    b64 = base64.encodebytes(EICAR).replace(b'\n', b'\r\n')
    plain = [(b'Content-Type: application/octet-stream\r\n', EICAR + b'\r\n'),
             (b'Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n', b64),
             (b'Content-Transfer-Encoding: BASE64 (x)\r\n', b64),
             (b'Content-Transfer-Encoding: "base64"\r\n', b64),
             (b'Content-Transfer-Encoding: 7bit\r\nContent-Transfer-Encoding: base64\r\n', b64),
             (b'Content-Transfer-Encoding: base64\r\nContent-Transfer-Encoding: 7bit\r\n', b64),
             (b'Content-Transfer-Encoding:\r\n base64\r\n', b64),
             (b'Content-Transfer-Encoding: base64\r\n', b''.join(b'%c\r\n' % c for c in base64.b64encode(EICAR))),
             (b'Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: quoted-printable\r\n', b''.join(b'=%02X' % c + (b'=\r\n' if i % 20 == 19 else b'') for i, c in enumerate(EICAR)) + b'\r\n'),
             (b'Content-Type: message/rfc822\r\n', b'Subject: in\r\nContent-Transfer-Encoding: base64\r\n\r\n' + b64)]
    with Chain('virus_action = reject\n') as c:
        client = Client(c.port)
        for part in plain:
            for content in (multipart(part), multipart((b'', b'0123456789abcdef\r\n' * 3000), part)):
                for bdat in (0, 777):
                    answer = client.send(content, bdat=bdat)
                    assert re.match(r'55\d 5\.7\.1 ', answer), (answer, part)
        assert client.send(b'Subject: fine\r\n\r\nfine\r\n').startswith('250')
        client.close()
        assert len(c.took(1)) == 1
        assert not c.gw.queue()


@case
def stripped_mail_is_well_formed():
    exe = b'MZ' + bytes(range(256)) * 300
    b64 = base64.encodebytes(exe).replace(b'\n', b'\r\n')
    pdf = b'%PDF-1.4\r\nharmless\r\n'
    with Chain('attachment_note_templates =\n', ('eom=addheader:X-Milter:was~here',), rules_of_attachments='strip extension=exe\n') as c:
        client = Client(c.port)
        rcpts = ('b@local.test', 'c@local.test')
        for pad, bdat in ((0, 0), (4000, 0), (0, 999), (4000, 5000)):
            content = multipart((b'', b'.dots\r\n..\r\n' + b'a line of text\r\n' * pad),
                                (b'Content-Type: application/octet-stream; name="tool.exe"\r\nContent-Transfer-Encoding: base64\r\n', b64),
                                (b'Content-Type: application/pdf; name="a.pdf"\r\n', pdf))
            assert client.send(content, rcpts=rcpts, bdat=bdat).startswith('250')
        client.close()
        for m in c.took(4):
            got = c.hub.content(m)
            assert len(m['rcpt']) == 2, m
            assert b64[:60] not in got and pdf in got and b'\r\n.dots\r\n..\r\n' in got, got[:3000]
            assert b'\n' not in got.replace(b'\r\n', b'') and b'\r' not in got.replace(b'\r\n', b'')
            parts = list(email.message_from_bytes(got, policy=email.policy.default).iter_parts())
            assert [p.get_content_type() for p in parts][-1] == 'application/pdf' and len(parts) == 4, parts
            assert 'tool.exe' in parts[2].get_content(), parts[2]
            assert got.count(b'\r\nX-Milter: was here\r\n') == 1
        code, text = c.gw.run('quarantine', 'list', '--json')
        rows = [json.loads(line) for line in text.splitlines() if line.startswith('{')]
        assert code == 0 and len(rows) == 4, text
        code, text = c.gw.run('quarantine', 'list')
        assert code == 0 and 'tool.exe' in text, text


@case
def edits_of_everybody_together():
    rules = ('eom@edit=chgheader:1:Subject:edited', 'eom@edit=insheader:0:X-Top:t', 'eom@edit=addrcpt:<d@local.test>', 'eom@edit=delrcpt:<c@local.test>')
    with Chain('', rules) as c:
        c.gw.write('header-checks', '/^X-Drop:/ IGNORE\n/^X-Old: (.*)/ REPLACE X-New: $1\n/^Subject:/ PREPEND X-Before: subject\n')
        time.sleep(1.5)
        client = Client(c.port)
        for big in (10, 5000):
            for bdat in (0, 1234):
                body = b'\xfcml\xe4ut .\r\n.\r\n' * big
                content = b'X-Drop: 1\r\nX-Old: value\r\nSubject: s\r\nX-Stay: \xe4\r\n\r\n' + body
                answer = client.send(content, 'edit@sender.test', ('b@local.test', 'c@local.test'), bdat, ' RET=HDRS ENVID=e1')
                assert answer.startswith('250'), answer
        client.close()
        for m in c.took(4):
            got = c.hub.content(m)
            head = headers_of(got)
            assert len(m['rcpt']) == 2 and 'd@local.test' in str(m['rcpt']) and 'c@local.test' not in str(m['rcpt']), m['rcpt']
            assert 'RET=HDRS' in m['mail'] and 'ENVID=e1' in m['mail'], m['mail']
            assert body_of(got) in (b'\xfcml\xe4ut .\r\n.\r\n' * 10, b'\xfcml\xe4ut .\r\n.\r\n' * 5000)
            assert head.startswith(b'X-Top: t\r\n') and b'X-Drop' not in head and b'X-Old' not in head and b'\r\nX-Stay: \xe4\r\n' in head, head
            assert head.count(b'\r\nX-New: value\r\n') == 1 and head.count(b'\r\nX-Before: subject\r\nSubject: edited\r\n') == 1, head


def load(c, seconds, stop, threads=4):
    """Senders that send and try again; what got 250 must arrive once. Returns {sender: content}."""
    taken, lock = {}, threading.Lock()

    def one(k):
        n, client = 0, None
        while not stop.is_set():
            n += 1
            sender = f'k{k}n{n}@sender.test'
            content = b'Subject: load\r\n\r\n' + b'%s\r\n' % sender.encode() * (2000 if n % 5 == 0 else 3)
            if n % 7 == 0:
                content = multipart((b'Content-Type: application/octet-stream\r\n', EICAR + b'\r\n'))
            try:
                client = client or Client(c.port)
                answer = client.send(content, sender, bdat=700 if n % 3 == 0 else 0)
                if answer.startswith('250'):
                    assert n % 7 != 0, 'a virus was let through'
                    with lock:
                        taken[sender] = content
                elif n % 7 != 0:
                    with lock:
                        taken.setdefault('refused', []).append(answer)
                    if answer.startswith('421'):
                        raise OSError(answer)
            except OSError:
                client = None
                time.sleep(0.05)
            except AssertionError as e:
                with lock:
                    taken['failed'] = e
    all_ = [threading.Thread(target=one, args=(k,)) for k in range(threads)]
    for t in all_:
        t.start()
    end = time.monotonic() + seconds
    yield taken
    while time.monotonic() < end:
        yield None
        time.sleep(0.2)
    stop.set()
    for t in all_:
        t.join()


def under_load(c, seconds, disturb):
    """Sends for so long and calls disturb() all the while; what was taken has arrived once, whole, and nothing else. Returns the refusals."""
    stop, taken = threading.Event(), None
    for got in load(c, seconds, stop):
        if got is None:
            disturb()
        else:
            taken = got
    refused = taken.pop('refused', [])
    assert 'failed' not in taken, taken['failed']
    assert len(taken) > 20, len(taken)

    def passes():
        client = Client(c.port)
        try:
            return client.send(b'Subject: x\r\n\r\nx\r\n', 'last@sender.test').startswith('250')
        finally:
            client.close()
    wait_for('the filters to be back', passes, 30, 0.5)
    c.took(len(taken) + 1, 30)
    seen = collections.Counter(re.search(r'<(.*?)>', m['mail']).group(1) for m in c.hub.messages())
    assert all(seen[s] == 1 for s in taken), [s for s in taken if seen[s] != 1]
    assert set(seen) <= set(taken) | {'last@sender.test'}, set(seen) - set(taken)
    for m in c.hub.messages():
        sender = re.search(r'<(.*?)>', m['mail']).group(1)
        assert sender not in taken or body_of(c.hub.content(m)) == body_of(taken[sender]), sender
    return refused


@case
def killed_filters_let_nothing_through():
    with Chain('virus_action = reject\nmilter_breaker_probe_time = 1s\n') as c:
        c.gw.expect_deaths = True

        def disturb():
            victims = c.processes('dogana-virus') + c.processes('dogana-attachments')
            if victims:
                os.kill(random.choice(victims)[0], signal.SIGKILL)
                time.sleep(1.5)
        under_load(c, float(os.environ.get('SECONDS') or 6), disturb)


@case
def a_killed_keeper_is_noticed():
    """The process that makes the workers of the attachment filter dies while no message is there: the filter ends with it, and there is a new one."""
    with Chain('virus_action = reject\nmilter_breaker_probe_time = 1s\n') as c:
        c.gw.expect_deaths = True
        keepers = []

        def has_keeper():
            pids = [pid for pid, _ in c.processes('dogana-attachments')]
            parents = {pid: int(pathlib.Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[1]) for pid in pids}
            keepers[:] = [pid for pid in pids if parents[pid] in parents and pid in parents.values()]
            return len(keepers) == 1
        wait_for('the keeper and its workers', has_keeper, 10)
        os.kill(keepers[0], signal.SIGKILL)

        def is_back():
            client = Client(c.port)
            answer = client.send(b'Subject: fine\r\n\r\nfine\r\n')
            client.close()
            return answer.startswith('250')
        wait_for('the filter to be back', is_back, 10)


@case
def a_reload_disturbs_nobody():
    with Chain('virus_action = reject\n') as c:
        numbers = iter(range(1000))

        def disturb():
            c.gw.write('attachment-rules', f'reject name=nothing{next(numbers)}\n')
            time.sleep(1)
        refused = under_load(c, float(os.environ.get('SECONDS') or 8), disturb)
        assert not refused, f'{len(refused)}: {refused[:5]}'
        assert c.gw.log_text().count('the attachments filter with the new parameters has taken over') > 1, c.gw.tail()


def main():
    sys.exit(run_cases(sys.argv[1:]))


if __name__ == '__main__':
    main()
