#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Other people's programs in front of, behind and after the gateway.

Clients: swaks, smtp-source, Python's smtplib. Hubs: smtp-sink in several moods, Postfix, aiosmtpd. Log readers:
pflogsumm, fail2ban-regex. Every message to a hub carries a token; each must arrive once per recipient with the body it
was sent with. What `make peers' has not fetched, or needs root, is skipped and counted. Last line: N passed, N failed,
N skipped.

    run.py [-v] [NAME...]      environment: DOGANA, PEERS, TOOLS as for the other tests
"""

import collections
import os
import pathlib
import pwd
import re
import smtplib
import socket
import subprocess
import sys
import threading

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / 'tests/tools'))
import rig  # noqa: E402
from cases import PEERS, Skip, case, peer, run_cases  # noqa: E402
from rig import wait_for  # noqa: E402

HUBS = ['hub', 'sink', 'plain', 'nopipe', 'no8bit', 'lmtp', 'slow', 'postfix', 'aiosmtpd']
SEVEN_BIT = ['plain', 'no8bit']  # do not announce 8BITMIME


def root():
    if os.getuid() != 0:
        raise Skip('needs root')


class World:
    """A gateway with a domain NAME.test for each hub, and the recording hub behind hub.test."""

    def __init__(self):
        self.dir = rig.workdir('interop')
        self.dir.chmod(0o755)
        self.hub = rig.Hub(self.dir / 'hub', ['0'])
        self.port, self.grey_port, self.greyed, self.spf_checked, *ports = rig.free_ports(len(HUBS) + 3)
        self.spf_socket = self.dir / 'spf.sock'
        self.hub_port = dict(zip(HUBS[1:], ports), hub=self.hub.ports[0])
        rows = ''.join(f'{n}.test {"lmtp" if n == "lmtp" else "smtp"}:[127.0.0.1]:{p}\n' for n, p in self.hub_port.items())
        gw = self.dir / 'gw'
        self.gateway = rig.Gateway(gw, f'''compatibility_level = 3.6
myhostname = gw.test
mydestination =
local_recipient_maps =
mynetworks = 127.0.0.9/32
inet_protocols = ipv4
relay_domains = {" ".join(n + ".test" for n in HUBS)}
transport_maps = texthash:{gw}/etc/transport
minimal_backoff_time = 1s
maximal_backoff_time = 2s
queue_run_delay = 1s
queue_directory = {gw}/queue
data_directory = {gw}/data
maillog_file = /dev/stdout
syslog_name = postfix
''', f'127.0.0.1:{self.port} inet n - n - - smtpd\n'
                                   f'127.0.0.1:{self.greyed} inet n - n - - smtpd\n  -o {{ smtpd_recipient_restrictions = check_policy_service inet:127.0.0.1:{self.grey_port} }}\n'
                                   f'127.0.0.1:{self.spf_checked} inet n - n - - smtpd\n  -o {{ smtpd_recipient_restrictions = check_policy_service unix:{self.spf_socket} }}\n'
                                   'smtp unix - - n - - smtp\nrelay unix - - n - - smtp\nlmtp unix - - n - - lmtp\n',
                                   {'transport': rows})
        self.gateway.start(self.port)

    def drained(self, seconds=30):
        wait_for('the queue to become empty', lambda: not self.gateway.queue(), seconds, 0.1)

    def close(self):
        try:
            self.gateway.stop()
        finally:
            self.hub.stop()


BODY = 'A line.\n.\n..two dots\n.one dot\n\n%s\n' + 'x' * 900 + '\n\ttab and trailing blanks  \n'


def body(domain):
    """8-bit text where the hub takes it: what becomes of it elsewhere is another question."""
    return BODY % ('Gruesse' if domain in SEVEN_BIT else 'Grüße')


def message(token, domain):
    return (f'From: <a@sender.test>\nTo: <r@{domain}.test>\nSubject: token {token}\nMIME-Version: 1.0\n'
            f'Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: {7 if domain in SEVEN_BIT else 8}bit\n\n'
            f'{body(domain)}').encode()


def send_batch(w, domain, n=20):
    """By smtplib, in sessions of five, every fourth to three recipients; what must arrive: {token: copies}."""
    due = collections.Counter()
    for start in range(0, n, 5):
        with smtplib.SMTP('127.0.0.1', w.port, timeout=30) as s:
            for i in range(start, start + 5):
                to = [f'r{k}@{domain}.test' for k in range(3 if i % 4 == 0 else 1)]
                token = f'{domain}-{i}'
                s.sendmail('a@sender.test', to, message(token, domain))
                due[token] = len(to)
    return due


def tokens(texts):
    return collections.Counter(t for text in texts for t in re.findall(r'^Subject: token (\S+)', text, re.M))


def same_bodies(texts, domain):
    """Every line of the body in every message, dots and blanks included."""
    want = body(domain).split('\n')
    for text in texts:
        lines = text.replace('\r\n', '\n').split('\n')
        at = lines.index('') + 1
        for sent, got in zip(want, lines[at:at + len(want)]):
            assert sent == got, f'{sent[:60]!r} became {got[:60]!r}'


def arrived(w, domain, look, copies=True):
    """Sends a batch, waits until `look()`, the texts the hub has, holds all of it; then the queue must be empty."""
    due = send_batch(w, domain)
    want = due if copies else collections.Counter(due.keys())
    wait_for(f'{sum(want.values())} messages', lambda: sum(tokens(look()).values()) >= sum(want.values()), 40, 0.1)
    w.drained()
    got = tokens(look())
    assert got == want, f'missing {dict(want - got)}, too many {dict(got - want)}'
    same_bodies(look(), domain)


# ---- clients ----

@case
def client_swaks(w):
    before = len(w.hub.messages())
    for extra in ([], ['--pipeline'], ['--protocol', 'SMTP'], ['--attach', f'@{__file__}']):
        r = subprocess.run([peer('swaks'), '--server', '127.0.0.1', '--port', str(w.port), '--from', 'a@sender.test',
                            '--to', 'b@hub.test,c@hub.test', '--helo', 'swaks.test', *extra], stdout=subprocess.PIPE, text=True)
        assert r.returncode == 0, r.stdout[-600:]
        assert '250 2.0.0 Ok: queued as ' in r.stdout, r.stdout[-600:]
    wait_for('swaks\' messages', lambda: len(w.hub.messages()) == before + 4)
    r = subprocess.run([peer('swaks'), '--server', '127.0.0.1', '--port', str(w.port), '--from', 'a@sender.test', '--to', '<>',
                        '--quit-after', 'RCPT'], stdout=subprocess.PIPE, text=True)
    assert r.returncode == 24 and '501 5.1.3' in r.stdout, f'{r.returncode}: {r.stdout[-400:]}'


@case
def client_smtp_source(w):
    for i, extra in enumerate(([], ['-d'], ['-o'], ['-r', '4'], ['-S', 'hello', '-l', '300000'])):
        before = len(w.hub.messages())
        r = subprocess.run([peer('smtp-source'), '-s', '10', '-m', '60', '-f', 'a@sender.test', '-t', f'b{i}@hub.test', *extra,
                            f'127.0.0.1:{w.port}'], stderr=subprocess.PIPE, text=True)
        assert r.returncode == 0 and not r.stderr, r.stderr
        wait_for(f'smtp-source {extra}', lambda: len(w.hub.messages()) == before + 60, 30)
    w.drained()


@case
def client_smtplib(w):
    before = len(w.hub.messages())
    with smtplib.SMTP('127.0.0.1', w.port, timeout=30) as s:
        s.ehlo('py.test')
        for name in ('size', 'pipelining', '8bitmime', 'smtputf8', 'dsn', 'enhancedstatuscodes', 'chunking'):
            assert s.has_extn(name), f'EHLO does not offer {name}'
        s.sendmail('a@sender.test', 'b@hub.test', message('smtplib', 'hub'))
        s.sendmail('ü@sender.test', ['b@hub.test'], message('utf8', 'hub'), mail_options=['SMTPUTF8', 'BODY=8BITMIME'])
        refused = s.sendmail('a@sender.test', ['b@hub.test', '@@@'], b'Subject: one refused\r\n\r\nx\r\n')
        assert list(refused) == ['@@@'] and refused['@@@'][0] == 501, refused
        try:
            s.sendmail('a@sender.test', ['@@@'], b'x')
            raise AssertionError('all recipients refused, but no error')
        except smtplib.SMTPRecipientsRefused:
            pass
        try:
            s.sendmail('a@sender.test', ['b@hub.test'], b'x' * 100, mail_options=['SIZE=999999999999'])
            raise AssertionError('SIZE far over the limit, but no error')
        except smtplib.SMTPSenderRefused as e:
            assert e.smtp_code in (501, 552), e  # smtplib adds a size= of its own: given twice is bad syntax
        assert s.verify('b@hub.test')[0] == 252
    wait_for('smtplib\'s messages', lambda: len(w.hub.messages()) == before + 3)


# ---- hubs ----

def smtp_sink(w, name, *options, copies=False):
    dump = w.dir / f'sink-{name}'
    dump.mkdir()
    file = dump / 'mail'
    args = [peer('smtp-sink'), '-D', str(file), *options]
    if os.getuid() == 0:
        nobody = pwd.getpwnam('nobody')
        os.chown(dump, nobody.pw_uid, nobody.pw_gid)
        args += ['-u', 'nobody']
    proc = subprocess.Popen(args + [f'127.0.0.1:{w.hub_port[name]}', '100'])
    try:
        def look():
            text = file.read_text('utf-8', 'replace') if file.exists() else ''
            return [t.partition('Received: ')[1] + t.partition('Received: ')[2] for t in text.split('X-Client-Addr: ')[1:]]
        arrived(w, name, look, copies)
    finally:
        proc.terminate()
        proc.wait()


@case
def hub_smtp_sink(w):
    smtp_sink(w, 'sink')


@case
def hub_smtp_sink_helo_only(w):
    smtp_sink(w, 'plain', '-e')


@case
def hub_smtp_sink_without_pipelining(w):
    smtp_sink(w, 'nopipe', '-p', '-E', '-N')


@case
def hub_smtp_sink_without_8bitmime(w):
    smtp_sink(w, 'no8bit', '-8')


@case
def hub_smtp_sink_slow(w):
    smtp_sink(w, 'slow', '-w', '1')


@case
def hub_smtp_sink_lmtp(w):
    smtp_sink(w, 'lmtp', '-L')


def maildir(path):
    return [f.read_text('utf-8', 'replace') for f in pathlib.Path(path).glob('**/new/*')]


def smuggle(w, domain):
    """One message of which a server that takes bare newlines for line ends would make two."""
    evil = (b'Subject: outer\r\n\r\nx\n.\nMAIL FROM:<evil@x.test>\r\nRCPT TO:<v@%s.test>\r\nDATA\r\nSubject: evil\r\n\r\nx\r\n.\r\n' %
            domain.encode())
    with socket.create_connection(('127.0.0.1', w.port)) as s:
        f = s.makefile('rb')
        for line in (b'', b'EHLO x\r\n', b'MAIL FROM:<a@sender.test>\r\n', b'RCPT TO:<v@%s.test>\r\n' % domain.encode(), b'DATA\r\n', evil):
            s.sendall(line)
            while f.readline()[3:4] == b'-':
                pass


@case
def hub_postfix(w):
    root()
    peer('postfix')
    script, where = TOP / 'tests/tools/postfix-peer.sh', w.dir / 'postfix'
    where.mkdir()
    (where / 'extra.cf').write_text('smtpd_forbid_bare_newline = no\n')
    subprocess.run([script, 'start', where, str(w.hub_port['postfix']), 'maildir'], check=True)
    try:
        arrived(w, 'postfix', lambda: maildir(where / 'mail'))
        smuggle(w, 'postfix')
        wait_for('the outer message', lambda: any('Subject: outer' in t for t in maildir(where / 'mail')))
        w.drained()
        assert not any(re.search(r'^Return-Path: <evil@', t, re.M) for t in maildir(where / 'mail')), 'a second message was smuggled in'
    finally:
        subprocess.run([script, 'stop', where], check=True)


@case
def hub_aiosmtpd(w):
    where = w.dir / 'aiosmtpd'
    proc = subprocess.Popen([peer('aiosmtpd'), '-n', '-u', '-c', 'aiosmtpd.handlers.Mailbox', '-l', f'127.0.0.1:{w.hub_port["aiosmtpd"]}', str(where)])
    try:
        arrived(w, 'aiosmtpd', lambda: maildir(w.dir / 'aiosmtpd'), copies=False)
    finally:
        proc.terminate()
        proc.wait()


# ---- policy servers ----

def listening(port):
    try:
        socket.create_connection(('127.0.0.1', port), 1).close()
        return True
    except OSError:
        return False


@case
def policy_postgrey(w):
    program = peer('postgrey')
    root()
    db = w.dir / 'postgrey'
    db.mkdir()
    db.chmod(0o777)
    server = subprocess.Popen([program, f'--inet=127.0.0.1:{w.grey_port}', f'--dbdir={db}', '--delay=1', '--user=nobody', '--group=nogroup',
                               '--whitelist-clients=/dev/null', '--whitelist-recipients=/dev/null'], stderr=subprocess.DEVNULL)
    try:
        wait_for('postgrey', lambda: listening(w.grey_port), 20, 0.1)
        before = len(w.hub.messages())

        def attempt():
            with smtplib.SMTP('127.0.0.1', w.greyed, timeout=30) as s:
                try:
                    s.sendmail('a@sender.test', ['b@hub.test'], message('grey', 'hub'))
                    return None
                except smtplib.SMTPRecipientsRefused as e:
                    return e.recipients['b@hub.test']
        code, text = attempt()
        assert code == 450 and b'rejected: Greylisted, see' in text, (code, text)
        wait_for('the delay to be over', lambda: attempt() is None, 20, 0.3)
        wait_for('the message', lambda: len(w.hub.messages()) == before + 1)
        head = w.hub.content(w.hub.messages()[before]).decode('latin-1').split('\nReceived:')[0]
        assert re.match(r'X-Greylist: delayed \d+ seconds by postgrey', head), head
    finally:
        server.terminate()
        server.wait(20)


@case
def policy_spf(w):
    """policyd-spf talks on its standard input, as spawn(8) runs it; the socket is the gateway's business."""
    program = peer('policyd-spf')
    conf = PEERS / 'root/etc/postfix-policyd-spf-python/policyd-spf.conf'
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(w.spf_socket))
    w.spf_socket.chmod(0o666)
    listener.listen(5)
    programs = []

    def spawn():
        while True:
            try:
                conn = listener.accept()[0]
            except OSError:
                return
            with conn:
                programs.append(subprocess.Popen([program, str(conf)], stdin=conn, stdout=conn, stderr=subprocess.DEVNULL))
    threading.Thread(target=spawn, daemon=True).start()
    try:
        before = len(w.hub.messages())
        with smtplib.SMTP('127.0.0.1', w.spf_checked, timeout=30) as s:
            for i in range(3):
                s.sendmail('a@sender.test', ['b@hub.test', 'c@hub.test'], message(f'spf{i}', 'hub'))
        wait_for('the messages', lambda: len(w.hub.messages()) == before + 3)
        for i in range(3):
            head = w.hub.content(w.hub.messages()[before + i]).decode('latin-1').split('\nReceived:')[0]
            assert head.startswith('X-Comment: SPF '), head
            # one header a message, although both recipients were asked about: instance is the same
            assert head.count('X-Comment:') == 1, head
        assert len(programs) == 1, 'one connection is enough'
    finally:
        listener.close()
        for p in programs:
            p.terminate()
            p.wait(20)


# ---- readers of the log ----

def log_file(w):
    with smtplib.SMTP('127.0.0.1', w.port, timeout=30) as s:
        for address in ("no@where.example", "@@@"):
            s.mail('a@sender.test')
            assert s.rcpt(address)[0] >= 400
            s.rset()
    wait_for('the refusal in the log', lambda: 'reject: RCPT' in w.gateway.log_text())
    path = w.dir / 'mail.log'
    path.write_text(w.gateway.log_text())
    return path


@case
def log_pflogsumm(w):
    out = subprocess.run([peer('pflogsumm'), log_file(w)], stdout=subprocess.PIPE, text=True).stdout
    log = w.gateway.log_text()
    for what, count in (('received', len(re.findall(r': client=', log))), ('delivered', log.count('status=sent')),
                        ('rejected', log.count(': reject: '))):
        m = re.search(rf'^ *(\d+) +{what}\b', out, re.M)
        assert m and int(m[1]) == count > 0, f'{what}: the log has {count}, pflogsumm says {m and m[1]}'


@case
def log_fail2ban(w):
    out = subprocess.run([peer('fail2ban-regex'), log_file(w), 'postfix[mode=aggressive]'], stdout=subprocess.PIPE, text=True).stdout
    m = re.search(r'Lines: \d+ lines, \d+ ignored, (\d+) matched', out)
    assert m and int(m[1]) >= 1, out[-500:]


def main():
    w = World()
    return run_cases(sys.argv[1:], w, after=lambda: w.gateway.tail(8), close=w.close, troubles=w.gateway.troubles)


if __name__ == '__main__':
    sys.exit(main())
