#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Real milters beside the gateway, one message through each, the effect seen at the hub: programs on Debian's python3-milter (libmilter),
opendkim, opendmarc, rspamd's proxy worker, clamav-milter with clamd, spamass-milter. What `make peers' has not fetched is skipped and
counted. Last line: N passed, N failed, N skipped.

    milters.py [-v] [NAME...]          environment: DOGANA, PEERS, TOOLS as for the other tests
    milters.py --milter KIND SOCKET    is one of the python3-milter programs
"""

import base64
import os
import pathlib
import shutil
import smtplib
import socket
import subprocess
import sys
import threading

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / 'tests/tools'))
import rig  # noqa: E402
from cases import PEERS, Skip, case, peer, run_cases  # noqa: E402
from installed import installed, why_not  # noqa: E402
from programs import EICAR, GTUBE, Programs, listens  # noqa: E402
from rig import wait_for  # noqa: E402

ROOT = PEERS / 'root'
KINDS = ['modify', 'hostile', 'early', 'quiet']


# ---- programs on libmilter ----

def milter_program(kind, where):
    sys.path.remove(str(TOP / 'tests/tools'))  # has a milter.py of its own
    import Milter

    class Base(Milter.Base):
        def eom(self):
            return Milter.CONTINUE

    class Modify(Base):
        def eom(self):
            self.chgheader('Subject', 1, 'changed')
            self.chgheader('X-Twice', 2, '')
            self.addheader('X-Last', 'one\n\ttwo')
            self.addheader('X-Behind-Ours', '2', 1)
            self.addheader('X-First', '1', 0)
            self.chgfrom('<other@client.test>')
            self.addrcpt('<added@hub.test>')
            self.delrcpt('<gone@hub.test>')
            self.replacebody(b'replaced\r\nsecond')
            return Milter.CONTINUE

    class Hostile(Base):
        def eom(self):
            self.addheader('X-Split', 'a\nBcc: victim@hub.test\n\nbody')
            self.replacebody(b'one\n.\n.\r\nMAIL FROM:<x@y>\n\n..\r\nlast\r')
            return Milter.CONTINUE

    class Early(Base):
        def envrcpt(self, to, *rest):
            if 'refused' in to:
                self.setreply('550', '5.7.1', 'first 100%%', 'second')
                return Milter.REJECT
            return Milter.CONTINUE

        def eoh(self):
            return Milter.ACCEPT

    class Quiet(Base):
        pass

    Milter.factory = {'modify': Modify, 'hostile': Hostile, 'early': Early, 'quiet': Quiet}[kind]
    Milter.set_flags(Milter.ADDHDRS | Milter.CHGHDRS | Milter.CHGBODY | Milter.ADDRCPT | Milter.DELRCPT | Milter.CHGFROM | Milter.QUARANTINE)
    Milter.runmilter(f'test-{kind}', where, 60)


USER_ID = 'UserID root\n' if os.geteuid() == 0 else ''  # who is not cannot become anybody


# ---- the world ----

class World:
    """A gateway with a listener for each milter; a milter is started by the case that needs it."""

    NAMES = KINDS + ['chain', 'dkim', 'dmarc', 'rspamd', 'clamav', 'spamass']

    def __init__(self):
        self.dir = rig.workdir('milters')
        self.programs = Programs(self.dir)
        self.servers = []
        self.hub = rig.Hub(self.dir / 'hub', ['0'])
        n = len(self.NAMES)
        ports = rig.free_ports(2 * n)
        self.port = dict(zip(self.NAMES, ports))
        self.milter = dict(zip(self.NAMES, ports[n:]))
        lines = ''
        for name in self.NAMES:
            uses = ['modify', 'quiet'] if name == 'chain' else [name]
            where = ','.join(f'inet:127.0.0.1:{self.milter[u]}' for u in uses)
            lines += f'127.0.0.1:{self.port[name]} inet n - n - - smtpd -o smtpd_milters={where}\n'
        gw = self.dir / 'gw'
        self.gateway = rig.Gateway(gw, f'''compatibility_level = 3.6
myhostname = gw.test
mydestination =
local_recipient_maps =
mynetworks = 127.0.0.0/8
inet_protocols = ipv4
relay_domains = hub.test
transport_maps = inline:{{ hub.test=smtp:[127.0.0.1]:{self.hub.ports[0]} }}
smtpd_peername_lookup = no
milter_default_action = tempfail
milter_connect_timeout = 5s
milter_breaker_failures = 0
queue_directory = {gw}/queue
data_directory = {gw}/data
maillog_file = /dev/stdout
''', lines)
        self.gateway.start(self.port['quiet'])

    def start(self, name, words, ready=None, **more):
        self.programs.start(name, words, ready or (lambda: listens(self.milter[name])), **more)

    def program(self, kind):
        if not (ROOT / 'usr/lib/python3/dist-packages/Milter').exists():
            raise Skip(f'python3-milter is not in {PEERS}: tests/tools/peers.sh')
        if listens(self.milter[kind]):
            return
        env = dict(os.environ, PYTHONPATH=str(ROOT / 'usr/lib/python3/dist-packages'),
                   LD_LIBRARY_PATH=':'.join(str(p) for p in (ROOT / 'usr/lib').glob('*-linux-gnu*')))
        self.start(kind, ['/usr/bin/python3', __file__, '--milter', kind, f'inet:{self.milter[kind]}@127.0.0.1'], env=env)

    def send(self, name, text, to=('to@hub.test',), sender='from@client.test'):
        """Returns the refused recipients; raises as smtplib does."""
        with smtplib.SMTP('127.0.0.1', self.port[name], local_hostname='client.test', timeout=30) as s:
            return s.sendmail(sender, list(to), text.replace('\n', '\r\n').encode())

    def get(self, name, text, **more):
        """What arrives at the hub: (record, header lines unfolded, body)."""
        before = len(self.hub.messages())
        self.send(name, text, **more)
        wait_for('the message at the hub', lambda: len(self.hub.messages()) > before)
        record = self.hub.messages()[before]
        raw = self.hub.content(record)
        head, _, body = raw.partition(b'\r\n\r\n')
        return record, head.decode('utf-8', 'backslashreplace').split('\r\n'), body

    def close(self):
        try:
            self.gateway.stop()
        finally:
            self.programs.stop()
            for s in self.servers:
                s.close()
            self.hub.stop()


def message(subject, body='Hello\n.\n', more=''):
    return f'From: from@client.test\nTo: to@hub.test\nSubject: {subject}\nDate: Mon, 23 Nov 2026 00:00:00 +0000\nMessage-ID: <{subject}@client.test>\n{more}\n{body}'


def rcpts(record):
    return sorted(r.partition('<')[2].partition('>')[0] for r in record['rcpt'])


def starts(lines, prefix):
    return [line for line in lines if line.lower().startswith(prefix.lower())]


# ---- cases ----

@case
def pymilter_modifies(w):
    w.program('modify')
    record, head, body = w.get('modify', message('m1', more='X-Twice: 1\nX-Twice: 2\n'), to=['to@hub.test', 'gone@hub.test'])
    assert record['mail'].startswith('FROM:<other@client.test>'), record
    assert rcpts(record) == ['added@hub.test', 'to@hub.test'], record
    assert body == b'replaced\r\nsecond\r\n', body
    assert starts(head, 'Subject:') == ['Subject: changed'] and starts(head, 'X-Twice:') == ['X-Twice: 1'], head
    first = head.index('X-First: 1')
    ours = next(i for i, line in enumerate(head) if line.startswith('Received:') and 'client.test' in line)
    assert first < ours < head.index('X-Behind-Ours: 2') < head.index('From: from@client.test'), head
    at = head.index('X-Last: one')
    assert head[at + 1] == '\ttwo', head


@case
def pymilter_hostile(w):
    w.program('hostile')
    record, head, body = w.get('hostile', message('m2'))
    assert rcpts(record) == ['to@hub.test'], record
    at = head.index('X-Split: a')
    assert head[at + 1:at + 3] == ['\tBcc: victim@hub.test', '\tbody'], head
    assert body == b'one\r\n.\r\n.\r\nMAIL FROM:<x@y>\r\n\r\n..\r\nlast\r\n', body


@case
def pymilter_early(w):
    """A recipient refused with two lines; a message accepted in the middle of it, several times in one session."""
    w.program('early')
    before = len(w.hub.messages())
    with smtplib.SMTP('127.0.0.1', w.port['early'], local_hostname='client.test', timeout=30) as s:
        for i in range(4):
            refused = s.sendmail('from@client.test', ['to@hub.test', 'refused@hub.test'], message(f'm3{i}'))
            assert list(refused) == ['refused@hub.test'], refused
            code, text = refused['refused@hub.test']
            assert code == 550 and text == b'5.7.1 first 100%\n5.7.1 second', text
    wait_for('the messages', lambda: len(w.hub.messages()) == before + 4)


@case
def pymilter_chain(w):
    w.program('modify')
    w.program('quiet')
    for i in range(3):
        _, head, body = w.get('chain', message(f'm4{i}', body='x' * 70 + '\n' + 'line\n' * 30000))
        assert body == b'replaced\r\nsecond\r\n' and starts(head, 'Subject:') == ['Subject: changed']


@case
def pymilter_dies(w):
    """Killed in the middle of a session: what milter_default_action says; back again: mail flows."""
    w.program('quiet')
    with smtplib.SMTP('127.0.0.1', w.port['quiet'], local_hostname='client.test', timeout=30) as s:
        s.sendmail('from@client.test', ['to@hub.test'], message('m5'))
        proc = next(p for p in w.programs.running if 'quiet' in p.args)
        proc.kill()
        proc.wait()
        try:
            s.sendmail('from@client.test', ['to@hub.test'], message('m6'))
            raise AssertionError('accepted without its milter')
        except (smtplib.SMTPRecipientsRefused, smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as e:
            assert '4.7.1' in str(e), e
    w.program('quiet')
    w.get('quiet', message('m7'))


@case
def opendkim(w):
    """Signs with the messages of the first milter changed; the signature verifies behind the relay, and not when a header was touched."""
    program = peer('opendkim')
    d = w.dir / 'dkim'
    d.mkdir()
    key = d / 'key.pem'
    subprocess.run(['openssl', 'genrsa', '-out', key, '2048'], check=True, stderr=subprocess.DEVNULL)
    public = subprocess.run(['openssl', 'rsa', '-in', key, '-pubout'], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    p = ''.join(line for line in public.splitlines() if '-' not in line[:1])
    (d / 'dns').write_text(f'sel._domainkey.client.test v=DKIM1; k=rsa; p={p}\n')
    common = f'Syslog no\n{USER_ID}RequireSafeKeys false\nTestDNSData file:{d}/dns\n'
    (d / 'sign.conf').write_text(common + f'Mode s\nDomain client.test\nSelector sel\nKeyFile {key}\nCanonicalization relaxed/simple\n'
                                 f'Socket inet:{w.milter["dkim"]}@127.0.0.1\nInternalHosts 127.0.0.0/8\nBackground no\nOversignHeaders From\n')
    (d / 'verify.conf').write_text(common + 'Mode v\n')
    w.start('dkim', [program, '-f', '-x', d / 'sign.conf'])
    for i in range(2):
        record, head, body = w.get('dkim', message(f'dkim{i}', body='Hello\n.\n..\n\ntrailing \n\n\n', more='X-Folded: one\n two\n\tthree\n'))
        raw = w.hub.content(record)
        assert starts(head, 'DKIM-Signature:'), head
        (d / 'ok.eml').write_bytes(raw)
        (d / 'bad.eml').write_bytes(raw.replace(b'Subject: dkim', b'Subject: dkin'))
        def verify(name):
            done = subprocess.run([program, '-x', d / 'verify.conf', '-t', d / name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            return done.stdout
        assert 'verification (s=sel, d=client.test, 2048-bit key) succeeded' in verify('ok.eml'), verify('ok.eml')
        assert 'succeeded' not in verify('bad.eml'), verify('bad.eml')


@case
def opendmarc(w):
    """A message with two From lines is none; one with them in order passes."""
    program = peer('opendmarc')
    d = w.dir / 'dmarc'
    d.mkdir()
    (d / 'hosts').write_text('192.0.2.1\n')
    (d / 'conf').write_text(f'Socket inet:{w.milter["dmarc"]}@127.0.0.1\nSyslog false\n{USER_ID}RequiredHeaders true\nRejectFailures true\n'
                            f'IgnoreHosts {d}/hosts\nBackground false\n')
    w.start('dmarc', [program, '-f', '-c', d / 'conf'])
    try:
        w.send('dmarc', message('dmarc1', more='From: second@client.test\n'))
        raise AssertionError('two From lines were accepted')
    except smtplib.SMTPDataError as e:
        assert e.smtp_code == 550, e
    assert 'milter-reject: END-OF-MESSAGE' in w.gateway.log_text()


@case
def clamav(w):
    clamd, milter = peer('clamd'), peer('clamav-milter')
    d = w.dir / 'clamav'
    (d / 'db').mkdir(parents=True)
    shutil.copy(TOP / 'tests/peers/viruses.hdb', d / 'db/test.hdb')
    sock = rig.workdir('peer') / 's'
    try:
        (d / 'clamd.conf').write_text(f'LocalSocket {sock}\nDatabaseDirectory {d}/db\nForeground yes\nUser root\nTemporaryDirectory {d}\nLogFile {d}/clamd.log\n')
        (d / 'milter.conf').write_text(f'MilterSocket inet:{w.milter["clamav"]}@127.0.0.1\nClamdSocket unix:{sock}\nForeground yes\nUser root\nOnInfected Reject\n'
                                       f'RejectMsg found %v\nAddHeader Replace\nTemporaryDirectory {d}\nLogFile {d}/milter.log\n')
        w.start('clamd', [clamd, '-c', d / 'clamd.conf'], lambda: rig.listens_at(sock))
        w.start('clamav', [milter, '-c', d / 'milter.conf'])
        _, head, _ = w.get('clamav', message('clean', more='X-Virus-Status: forged\n'))
        assert starts(head, 'X-Virus-Status:') == ['X-Virus-Status: Clean'], head
        more = 'MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n'
        attached = base64.b64encode(EICAR.encode()).decode()
        body = f'--b\nContent-Type: text/plain\n\nhello\n--b\nContent-Type: application/octet-stream; name=x.com\nContent-Transfer-Encoding: base64\n\n{attached}\n--b--\n'
        try:
            w.send('clamav', message('eicar', body, more))
            raise AssertionError('EICAR was accepted')
        except smtplib.SMTPDataError as e:
            assert e.smtp_code == 550 and b'Eicar-Test-Signature' in e.smtp_error, e
    finally:
        shutil.rmtree(sock.parent)


@case
def rspamd(w):
    """The proxy worker scans by itself: GTUBE is refused, ordinary mail gets a header."""
    program = peer('rspamd')
    d = w.dir / 'rspamd'
    for sub in ('run', 'db', 'log'):
        (d / sub).mkdir(parents=True)
    share = ROOT / 'usr/share/rspamd'
    (d / 'tld').write_text('test\ncom\n')  # the whole list takes half a minute to compile
    (d / 'conf').write_text(f'''
options {{ pidfile = "{d}/run/pid"; dns {{ nameserver = ["127.0.0.1:1"]; timeout = 0.1s; retransmits = 1; }} filters = ""; url_tld = "{d}/tld"; }}
logging {{ type = "file"; filename = "{d}/log/rspamd.log"; level = "info"; }}
worker "rspamd_proxy" {{ bind_socket = "127.0.0.1:{w.milter['rspamd']}"; milter = yes; timeout = 10s; count = 1; quarantine_on_reject = false;
  upstream "local" {{ default = yes; self_scan = yes; }} }}
actions {{ reject = 15; add_header = 6; }}
metric {{ actions {{ reject = 15; add_header = 6; }} }}
''')
    w.start('rspamd', [program, '-f', '-i', '-c', d / 'conf'], lambda: listens(w.milter['rspamd']) and (d / 'log/rspamd.log').exists(),
            env=dict(os.environ, DBDIR=str(d / 'db'), RUNDIR=str(d / 'run'), LOGDIR=str(d / 'log'), SHAREDIR=str(share), RULESDIR=str(share / 'rules'),
                     LUALIBDIR=str(share / 'lualib'), PLUGINSDIR=str(share / 'plugins')))
    for i in range(3):
        w.get('rspamd', message(f'ham{i}'))
    try:
        w.send('rspamd', message('gtube', GTUBE + '\n'))
        raise AssertionError('GTUBE was accepted')
    except smtplib.SMTPDataError as e:
        assert e.smtp_code == 554 and b'Gtube' in e.smtp_error, e


class FakeSpamd(threading.Thread):
    """Enough of spamd for spamc: everything is spam."""

    def __init__(self):
        super().__init__(daemon=True)
        self.heard, self.score = [], 15
        self.sock = socket.create_server(('127.0.0.1', 0))
        self.port = self.sock.getsockname()[1]
        self.start()

    def close(self):
        self.sock.close()

    def run(self):
        while True:
            try:
                c, _ = self.sock.accept()
            except OSError:
                return
            with c, c.makefile('rb') as f:
                lines = []
                while (line := f.readline().strip()):
                    lines.append(line)
                size = next((int(x.split(b':')[1]) for x in lines if x.lower().startswith(b'content-length:')), 0)
                text = f.read(size)
                self.heard.append(text)
                text = b'X-Spam-Flag: YES\nX-Spam-Status: Yes, score=%d.0 required=5.0\n' % self.score + text
                c.sendall(b'SPAMD/1.1 0 EX_OK\r\nContent-length: %d\r\nSpam: True ; %d.0 / 5.0\r\n\r\n' % (len(text), self.score) + text)


@case
def spamass(w):
    """spamass-milter runs /usr/bin/spamc, which is there in a mount namespace of its own."""
    peer('spamass-milter')
    if not (ROOT / 'usr/bin/spamc').exists():
        raise Skip('spamc is not there')
    if why_not(ROOT):
        raise Skip(why_not(ROOT))
    spamd = FakeSpamd()
    w.servers.append(spamd)
    w.start('spamass', installed(ROOT, ['spamass-milter', '-r', '20', '-p', f'inet:{w.milter["spamass"]}@127.0.0.1', '--', '-p', spamd.port, '-d', '127.0.0.1']))
    _, head, _ = w.get('spamass', message('spam'))
    assert starts(head, 'X-Spam-Flag:') == ['X-Spam-Flag: YES'], head
    assert len(spamd.heard) == 1 and b'Subject: spam\r\n' in spamd.heard[0] and spamd.heard[0].endswith(b'\r\n\r\nHello\r\n.\r\n'), spamd.heard
    spamd.score = 25
    try:
        w.send('spamass', message('more spam'))
        raise AssertionError('spam was accepted')
    except smtplib.SMTPDataError as e:
        assert e.smtp_code == 550 and b'Blocked by SpamAssassin' in e.smtp_error, e


def main():
    if sys.argv[1:2] == ['--milter']:
        milter_program(*sys.argv[2:])
        return 0
    w = World()
    return run_cases(sys.argv[1:], w, after=lambda: w.gateway.tail(8), close=w.close, troubles=w.gateway.troubles)


if __name__ == '__main__':
    sys.exit(main())
