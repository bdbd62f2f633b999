#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Other people's programs in front of, behind and after the gateway.

Clients: Python's smtplib, swaks, smtp-source. Hubs: smtp-sink, Postfix, aiosmtpd. Log readers: pflogsumm,
fail2ban-regex. What `make peers' has not fetched is skipped and counted. Last line: N passed, N failed, N skipped.
"""

import os
import pathlib
import re
import signal
import smtplib
import socket
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / 'tools'))
import rig  # noqa: E402
from rig import Broken, wait_for  # noqa: E402

PEERS = pathlib.Path(os.environ.get('PEERS') or rig.BUILD / 'peers')
MAIN = '''\
compatibility_level = 3.6
myhostname = gw.test
mydestination =
local_transport = error:local mail delivery is disabled
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.9/32
relay_domains = local.test, sink.test, postfix.test, aiosmtpd.test
relay_recipient_maps = inline:{{ user@local.test=x, @sink.test=x, @postfix.test=x, @aiosmtpd.test=x }}
transport_maps = inline:{{ local.test=smtp:[127.0.0.1]:{hub}, sink.test=smtp:[127.0.0.1]:{sink},
 postfix.test=smtp:[127.0.0.1]:{postfix}, aiosmtpd.test=smtp:[127.0.0.1]:{aiosmtpd} }}
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
smtpd_client_connection_count_limit = 0
queue_directory = {work}/queue
data_directory = {work}/data
maillog_file = /dev/stdout
'''


class Skipped(Exception):
    pass


def peer(name):
    path = PEERS / 'bin' / name
    if not path.exists():
        raise Skipped(f'{name} is not there (make peers)')
    return str(path)


def run(args, seconds=60, ok=(0,), **more):
    done = subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, timeout=seconds,
                          text=True, errors='replace', **more)
    if done.returncode not in ok:
        raise Broken(f'{args[0]}: exit status {done.returncode}: {done.stdout[-1000:]}')
    return done.stdout


class Setting:
    def __init__(self):
        self.dir = rig.workdir('peers')
        self.hub = rig.Hub(self.dir / 'hub', ['0'])
        self.port, self.sink, self.postfix, self.aiosmtpd = rig.free_ports(4)
        self.gw = rig.Gateway(self.dir, MAIN.format(hub=self.hub.ports[0], sink=self.sink, postfix=self.postfix,
                                                    aiosmtpd=self.aiosmtpd, work=self.dir),
                              f'127.0.0.1:{self.port} inet n - n - - smtpd\n')
        self.gw.start(self.port)

    def sent(self, domain, count, since=0):
        """Waits until the log says that so many recipients of a domain were delivered."""
        regex = re.compile(rf'to=<[^>]*@{domain}>.*status=sent')
        wait_for(f'{count} deliveries to {domain}', lambda: len(regex.findall(self.gw.log_text(since))) >= count, 30)


def client_smtplib(t):
    before = len(t.hub.messages())
    with smtplib.SMTP('127.0.0.1', t.port) as s:
        s.sendmail('a@remote.test', ['user@local.test'], 'Subject: smtplib\r\n\r\n.dot\r\n..two\r\n')
        try:
            s.sendmail('a@remote.test', ['user@foreign.test'], 'Subject: x\r\n\r\nx\r\n')
            raise Broken('relayed for a stranger')
        except smtplib.SMTPRecipientsRefused as e:
            if e.recipients['user@foreign.test'][0] != 554:
                raise Broken(str(e))
    wait_for('the message', lambda: len(t.hub.messages()) == before + 1)
    body = t.hub.content(t.hub.messages()[-1]).partition(b'\r\n\r\n')[2]
    if body != b'.dot\r\n..two\r\n':
        raise Broken(f'arrived as {body!r}')


def client_swaks(t):
    swaks = peer('swaks')
    before = len(t.hub.messages())
    out = run([swaks, '--server', f'127.0.0.1:{t.port}', '--from', 'a@remote.test', '--to', 'user@local.test', '--pipeline',
               '--h-Subject', 'swaks', '--body', 'hello'])
    if 'queued as' not in out:
        raise Broken(out[-500:])
    run([swaks, '--server', f'127.0.0.1:{t.port}', '--from', 'a@remote.test', '--to', 'nobody@local.test'], ok=(24,))
    wait_for('the message', lambda: len(t.hub.messages()) == before + 1)


def client_smtp_source(t):
    source = peer('smtp-source')
    before = len(t.hub.messages())
    run([source, '-s', '10', '-m', '200', '-l', '5000', '-f', 'a@remote.test', '-t', 'user@local.test', f'127.0.0.1:{t.port}'])
    run([source, '-d', '-s', '5', '-m', '50', '-l', '200000', '-f', 'a@remote.test', '-t', 'user@local.test', f'127.0.0.1:{t.port}'])
    wait_for('250 messages', lambda: len(t.hub.messages()) >= before + 250, 60)
    if len(t.hub.messages()) != before + 250:
        raise Broken(f'{len(t.hub.messages()) - before} messages arrived, not 250')


def submit(t, domain, count):
    with smtplib.SMTP('127.0.0.1', t.port) as s:
        for i in range(count):
            s.sendmail('a@remote.test', [f'u{i}@{domain}', f'v{i}@{domain}'], f'Subject: {i}\r\n\r\n.dot\r\ntext\r\n')


def hub_smtp_sink(t):
    sink = subprocess.Popen([peer('smtp-sink'), f'127.0.0.1:{t.sink}', '100'], stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        wait_port(t.sink)
        submit(t, 'sink.test', 20)
        t.sent('sink.test', 40)
    finally:
        end(sink)


def hub_aiosmtpd(t):
    sink = subprocess.Popen([peer('aiosmtpd'), '-n', '-c', 'aiosmtpd.handlers.Sink', '-l', f'127.0.0.1:{t.aiosmtpd}'],
                            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        wait_port(t.aiosmtpd)
        submit(t, 'aiosmtpd.test', 10)
        t.sent('aiosmtpd.test', 20)
    finally:
        end(sink)


def hub_postfix(t):
    peer('postfix')
    where = t.dir / 'postfix'
    script = str(HERE.parent / 'tools/postfix-peer.sh')
    env = dict(os.environ, PEERS=str(PEERS))
    where.mkdir()
    (where / 'extra.cf').write_text('smtpd_forbid_bare_newline = no\n')
    done = subprocess.run([script, 'start', str(where), str(t.postfix), 'maildir'], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, timeout=60, env=env)
    if done.returncode == 77:
        raise Skipped('Postfix needs root')
    if done.returncode:
        raise Broken(f'postfix-peer.sh: {done.stdout[-500:]}')
    try:
        submit(t, 'postfix.test', 10)
        t.sent('postfix.test', 20)
        # P02: a victim that takes bare newlines stores one message
        since = t.gw.log_size()
        evil = b'Subject: smuggle\r\n\r\nx\n.\nMAIL FROM:<evil@x.test>\r\nRCPT TO:<v@postfix.test>\r\nDATA\r\nSubject: evil\r\n\r\nx\r\n.\r\n'
        with socket.create_connection(('127.0.0.1', t.port)) as s:
            f = s.makefile('rb')
            for line in (b'', b'EHLO x\r\n', b'MAIL FROM:<a@remote.test>\r\n', b'RCPT TO:<smuggle@postfix.test>\r\n', b'DATA\r\n', evil):
                s.sendall(line)
                while f.readline()[3:4] == b'-':
                    pass
        t.sent('postfix.test', 1, since)
        inbox = where / 'mail/inbox/new'
        wait_for('21 files in the mailbox', lambda: inbox.is_dir() and len(list(inbox.iterdir())) >= 21, 20)
        texts = [p.read_bytes() for p in inbox.iterdir()]
        if any(re.search(rb'^Return-Path: <evil@x\.test>', x, re.M) for x in texts):
            raise Broken('a second message was smuggled to Postfix')
    finally:
        subprocess.run([script, 'stop', str(where)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env, timeout=60)


def log_pflogsumm(t):
    tool = peer('pflogsumm')
    out = run([tool, '--syslog_name=dogana', str(t.gw.log)])
    for what, least in (('received', 3), ('delivered', 3), ('rejected', 1)):
        m = re.search(rf'^\s*(\d+)\s+{what}\b', out, re.M)
        if not m or int(m.group(1)) < least:
            raise Broken(f'pflogsumm found no {what}: {out[:800]}')


def log_fail2ban(t):
    tool = peer('fail2ban-regex')
    log = t.dir / 'fail2ban.log'
    # the filter knows postfix's tag; ours is a setting (syslog_name)
    log.write_text(t.gw.log_text().replace('dogana/', 'postfix/'))
    out = run([tool, str(log), 'postfix'], ok=(0, 1))
    m = re.search(r'Lines: \d+ lines, \d+ ignored, (\d+) matched', out)
    if not m or int(m.group(1)) < 2:
        raise Broken(f'fail2ban-regex matched nothing: {out[-800:]}')


def wait_port(port):
    def up():
        try:
            socket.create_connection(('127.0.0.1', port), 1).close()
            return True
        except OSError:
            return False
    wait_for(f'port {port}', up, 15, 0.05)


def end(proc):
    try:
        os.killpg(proc.pid, signal.SIGTERM)
    except ProcessLookupError:
        pass
    proc.wait(10)


TESTS = (client_smtplib, client_swaks, client_smtp_source, hub_smtp_sink, hub_aiosmtpd, hub_postfix, log_pflogsumm, log_fail2ban)


def main():
    passed = failed = skipped = 0
    t = Setting()
    try:
        for test in TESTS:
            begin = time.monotonic()
            try:
                test(t)
                passed += 1
                print(f'ok      {test.__name__:20} {time.monotonic() - begin:5.1f} s')
            except Skipped as e:
                skipped += 1
                print(f'skipped: {test.__name__}: {e}')
            except (Broken, OSError, smtplib.SMTPException, subprocess.TimeoutExpired) as e:
                failed += 1
                print(f'FAIL    {test.__name__}: {e}')
        try:
            t.gw.stop()
        except Broken as e:
            failed += 1
            print(f'FAIL    {e}')
        for line in t.gw.troubles():
            failed += 1
            print('FAIL    ' + line)
    finally:
        t.gw.kill()
        t.hub.stop()
        if not failed:
            t.gw.remove()
    print(f'{passed} passed, {failed} failed, {skipped} skipped')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
