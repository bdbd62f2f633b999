#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Logins: Debian's Dovecot and libsasl2's own database behind the gateway, swaks and Python's smtplib in front of it.

Dovecot runs programs by fixed paths below /usr, so it runs in a mount namespace of its own, with its package laid over /usr; that
needs root, and is skipped and counted when it is not possible. Last line: N passed, N failed, N skipped.

    sasl.py [-v] [NAME...]
"""

import base64
import hashlib
import hmac
import os
import pathlib
import re
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / 'tests/tools'))
import rig  # noqa: E402
from cases import PEERS, Skip, case, peer, run_cases  # noqa: E402
from rig import wait_for  # noqa: E402

USERS = {'anna': 'secret', 'bert@x.test': 'bert pass', 'ümlaut': 'geheim'}
COMMON = '''compatibility_level = 3.6
myhostname = gw.test
mydestination =
local_recipient_maps =
mynetworks = 127.0.0.9/32
inet_protocols = ipv4
relay_domains = hub.test
relayhost = [127.0.0.1]:{hub}
queue_directory = {dir}/queue
data_directory = {dir}/data
maillog_file = /dev/stdout
default_privs = root
edge_workers = 1
relay_workers = 1
smtpd_tls_security_level = may
smtpd_tls_cert_file = {certs}/good.pem
smtpd_tls_key_file = {certs}/good.key
smtpd_sasl_auth_enable = yes
smtpd_sasl_authenticated_header = yes
smtpd_sasl_failure_delay = 0s
smtpd_relay_restrictions = permit_sasl_authenticated, reject_unauth_destination
smtpd_error_sleep_time = 0
smtpd_soft_error_limit = 1001
smtpd_hard_error_limit = 1000
smtpd_sasl_lockout_limit = 0
smtpd_sasl_lockout_client_limit = 0
'''
# master.cf as Debian has it in its comments, on ports of ours
MASTER = '''127.0.0.1:{smtp} inet n - n - - smtpd
127.0.0.1:{submission} inet n - y - - smtpd
  -o syslog_name=postfix/submission
  -o smtpd_tls_security_level=encrypt
  -o smtpd_sasl_auth_enable=yes
  -o smtpd_tls_auth_only=yes
  -o smtpd_reject_unlisted_recipient=no
  -o smtpd_client_restrictions=permit_sasl_authenticated,reject
  -o smtpd_sender_login_maps=inline:{{{{anna@x.test=anna,anna@gw.test}},{{@x.test=bert@x.test}}}}
  -o smtpd_sender_restrictions=reject_sender_login_mismatch
  -o smtpd_relay_restrictions=permit_sasl_authenticated,reject
  -o milter_macro_daemon_name=ORIGINATING
127.0.0.1:{smtps} inet n - y - - smtpd
  -o syslog_name=postfix/smtps
  -o smtpd_tls_wrappermode=yes
  -o smtpd_sasl_auth_enable=yes
  -o smtpd_client_restrictions=permit_sasl_authenticated,reject
  -o smtpd_relay_restrictions=permit_sasl_authenticated,reject
'''


class Dovecot:
    """An auth server with its socket below a queue directory."""

    def __init__(self, where, sock):
        if os.getuid() != 0:
            raise Skip('needs root')
        if not (PEERS / 'root/usr/sbin/dovecot').exists():
            raise Skip('no dovecot: tests/tools/peers.sh dovecot')
        self.dir = pathlib.Path(where)
        (self.dir / 'run').mkdir(parents=True)
        sock.parent.mkdir(parents=True, exist_ok=True)
        (self.dir / 'users').write_text(''.join(f'{u}:{{PLAIN}}{p}::::::\n' for u, p in USERS.items()))
        (self.dir / 'conf').write_text(f'''base_dir = {self.dir}/run
state_dir = {self.dir}/run
log_path = {self.dir}/log
auth_mechanisms = plain login cram-md5 scram-sha-256
auth_username_chars =
default_internal_user = nobody
default_login_user = nobody
default_internal_group = nogroup
protocols =
ssl = no
auth_failure_delay = 0
passdb {{
  driver = passwd-file
  args = scheme=PLAIN {self.dir}/users
}}
userdb {{
  driver = static
  args = uid=nobody gid=nogroup home=/tmp
}}
service auth {{
  unix_listener {sock} {{
    mode = 0666
  }}
}}
service anvil {{
  chroot =
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
''')
        self.sock = sock
        self.start()

    def start(self):
        script = f'mount -t overlay overlay -o lowerdir={PEERS.resolve()}/root/usr:/usr /usr || exit 77; exec /usr/sbin/dovecot -F -c {self.dir}/conf'
        self.proc = subprocess.Popen(['unshare', '-m', 'sh', '-c', script], stdout=open(self.dir / 'out', 'ab'), stderr=subprocess.STDOUT,
                                     start_new_session=True)

        def up():
            if self.proc.poll() is not None:
                raise Skip(f'dovecot does not run here: {(self.dir / "out").read_text()[-200:]}')
            try:
                with socket.socket(socket.AF_UNIX) as s:
                    s.connect(str(self.sock))
                    return True
            except OSError:
                return False
        wait_for('Dovecot', up, 10, 0.05)

    def stop(self):
        if self.proc.poll() is None:
            os.killpg(self.proc.pid, signal.SIGTERM)  # its auth process outlives the master otherwise, for the sake of its clients
            self.proc.wait(10)


class World:
    def __init__(self, main):
        self.dir = rig.workdir('sasl')
        self.hub = rig.Hub(self.dir / 'hub', ['0'])
        self.smtp, self.submission, self.smtps = rig.free_ports(3)
        self.certs = rig.certificates()
        text = (COMMON + main).format(hub=self.hub.ports[0], dir=self.dir, certs=self.certs)
        master = MASTER.format(smtp=self.smtp, submission=self.submission, smtps=self.smtps)
        self.gateway = rig.Gateway(self.dir / 'gw', text, master)

    def start(self):
        self.gateway.start(self.smtp)

    def close(self):
        self.gateway.stop()
        self.hub.stop()
        problems = self.gateway.troubles()
        if problems:
            raise rig.Broken('; '.join(problems))
        if not pathlib.Path(self.gateway.log).exists():
            return  # it was never started
        left = [p for p in USERS.values() if p in self.gateway.log_text() or base64.b64encode(p.encode()).decode().rstrip('=')[:-1] in self.gateway.log_text()]
        assert not left, f'in the log: {left}'


def swaks(w, port, mech, user, password, *extra, to='b@hub.test', sender='anna@x.test'):
    r = subprocess.run([peer('swaks'), '--server', '127.0.0.1', '--port', str(port), '--from', sender, '--to', to, '--helo', 'swaks.test',
                        '--auth', mech, '--auth-user', user, '--auth-password', password, *extra], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return r.returncode, r.stdout


def scram(s, user, password):
    """RFC 5802, as a client of smtplib's connection."""
    nonce = base64.b64encode(os.urandom(12)).decode()
    bare = f'n={user},r={nonce}'
    code, text = s.docmd('AUTH', 'SCRAM-SHA-256 ' + base64.b64encode(f'n,,{bare}'.encode()).decode())
    if code != 334:
        return code
    first = base64.b64decode(text).decode()
    f = dict(p.split('=', 1) for p in first.split(','))
    salted = hashlib.pbkdf2_hmac('sha256', password.encode(), base64.b64decode(f['s']), int(f['i']))
    key = hmac.new(salted, b'Client Key', hashlib.sha256).digest()
    final = f'c=biws,r={f["r"]}'
    said = f'{bare},{first},{final}'.encode()
    sign = hmac.new(hashlib.sha256(key).digest(), said, hashlib.sha256).digest()
    proof = base64.b64encode(bytes(a ^ b for a, b in zip(key, sign))).decode()
    code, text = s.docmd(base64.b64encode(f'{final},p={proof}'.encode()).decode())
    if code == 334:
        server = hmac.new(salted, b'Server Key', hashlib.sha256).digest()
        want = base64.b64encode(hmac.new(server, said, hashlib.sha256).digest()).decode()
        assert base64.b64decode(text).decode() == f'v={want}', text
        code, text = s.docmd('')
    return code


def logins(w, names):
    """Every mechanism with the right and a wrong password, in the clear and with TLS."""
    for mech in ('PLAIN', 'LOGIN', 'CRAM-MD5'):
        code, text = swaks(w, w.smtp, mech, 'anna', 'secret', to='b@elsewhere.test' if mech == 'PLAIN' else 'b@hub.test', sender='a@sender.test')
        assert '235 2.7.0 Authentication successful' in text, text
        code, text = swaks(w, w.smtp, mech, 'anna', 'wrong')
        assert code == 28 and '535 5.7.8 Error: authentication failed' in text, text
        assert re.search(rf'SASL {mech} authentication failed: .*, sasl_username=anna', w.gateway.log_text())
        code, text = swaks(w, w.submission, mech, 'anna', 'secret', '--tls')
        assert code == 0, text
    wait_for('the client line', lambda: f'sasl_method=CRAM-MD5, sasl_username={names["anna"]}' in w.gateway.log_text())
    for mech in ('cram_md5', 'plain', 'login'):
        with smtplib.SMTP('127.0.0.1', w.smtp) as s:
            s.ehlo()
            s.user, s.password = 'anna', 'secret'
            assert s.auth(mech.upper().replace('_', '-'), getattr(s, f'auth_{mech}'))[0] == 235
    with smtplib.SMTP('127.0.0.1', w.smtp) as s:
        s.ehlo()
        assert scram(s, 'anna', 'wrong') == 535
        assert scram(s, 'anna', 'secret') == 235
    context = ssl.create_default_context(cafile=w.certs / 'ca.pem')
    context.check_hostname = False
    with smtplib.SMTP_SSL('127.0.0.1', w.smtps, context=context) as s:
        s.login('anna', 'secret')
        s.sendmail('anna@x.test', 'b@hub.test', 'Subject: wrapped\n\nx\n')
    with smtplib.SMTP('127.0.0.1', w.submission) as s:
        s.ehlo()
        assert not s.has_extn('auth')
        assert s.docmd('AUTH', 'PLAIN AGFubmEAc2VjcmV0')[0] == 530
        s.starttls(context=context)
        s.ehlo()
        assert s.has_extn('auth')
        s.login('anna', 'secret')
        code, text = s.mail('bert@x.test')
        code, text = s.rcpt('b@hub.test')
        assert code == 553 and text == f'5.7.1 <bert@x.test>: Sender address rejected: not owned by user {names["anna"]}'.encode(), text
        s.rset()
        s.sendmail('anna@x.test', 'b@hub.test', 'Subject: owned\n\nx\n')
    with smtplib.SMTP('127.0.0.1', w.submission) as s:
        s.starttls(context=context)
        s.ehlo()
        s.mail('anna@x.test')
        code, text = s.rcpt('b@hub.test')
        assert code == 554 and b'Client host rejected: Access denied' in text, text
    owned = wait_for('the message', lambda: [t for t in (w.hub.content(m).decode() for m in w.hub.messages()) if 'Subject: owned' in t], 20)
    assert f'(Authenticated sender: {names["anna"]})' in owned[0] and ' with ESMTPSA id ' in owned[0], owned[0]
    log = w.gateway.log_text()
    assert re.search(r'postfix/submission/smtpd\[\d+\]: \w+: client=.*sasl_username', log), 'syslog_name of submission'
    assert re.search(r'postfix/smtps/smtpd\[\d+\]: \w+: client=.*sasl_username', log), 'syslog_name of smtps'


@case
def dovecot():
    w = World('smtpd_sasl_type = dovecot\nsmtpd_sasl_path = private/auth\n')
    d = Dovecot(w.dir / 'dovecot', w.dir / 'queue/private/auth')
    try:
        w.start()
        logins(w, {'anna': 'anna'})
        for user in ('bert@x.test', 'ümlaut'):
            with smtplib.SMTP('127.0.0.1', w.smtp) as s:
                s.ehlo()
                plain = base64.b64encode(f'\0{user}\0{USERS[user]}'.encode()).decode()
                assert s.docmd('AUTH', 'PLAIN ' + plain)[0] == 235, user
        # half a login that is given up, and many at a time, on the connection they share
        many = []
        for i in range(24):  # fewer than one client network may have
            s = smtplib.SMTP('127.0.0.1', w.smtp)
            s.ehlo()
            assert s.docmd('AUTH', 'LOGIN')[0] == 334
            many.append(s)
        for i, s in enumerate(many):
            if i % 4 == 0:
                s.sock.close()
            elif i % 4 == 1:
                assert s.docmd('*')[0] == 501
            else:
                s.docmd('YW5uYQ==')
                s.putcmd('c2VjcmV0' if i % 4 == 2 else 'eA==')
        for i, s in enumerate(many):
            if i % 4 > 1:
                assert s.getreply()[0] == (235 if i % 4 == 2 else 535), i
                s.close()
        # the longest response a client may send does not disturb the others
        with smtplib.SMTP('127.0.0.1', w.smtp) as s:
            s.ehlo()
            assert s.docmd('AUTH', 'PLAIN')[0] == 334
            assert s.docmd(base64.b64encode(b'\0anna\0' + b'x' * 9200).decode())[0] == 535
            assert s.docmd('AUTH', 'PLAIN AGFubmEAc2VjcmV0')[0] == 235
        assert 'sent us more than' not in (w.dir / 'dovecot/log').read_text()
        # it is restarted
        d.stop()
        wait_for('the end of Dovecot', lambda: 'SASL: Talking to Dovecot' in w.gateway.log_text(), 10)
        with smtplib.SMTP('127.0.0.1', w.smtp) as s:
            s.ehlo()
            assert s.docmd('AUTH', 'PLAIN AGFubmEAc2VjcmV0') == (454, b"4.7.0 Temporary authentication failure: Can't connect to authentication server")
            d.start()
            assert s.docmd('AUTH', 'PLAIN AGFubmEAc2VjcmV0')[0] == 235
    finally:
        d.stop()
        w.close()


@case
def sasldb():
    w = World(f'smtpd_sasl_local_domain = gw.test\ncyrus_sasl_config_path = {{dir}}/sasl\n')
    try:
        (w.dir / 'sasl').mkdir()
        db = w.dir / 'sasl/sasldb2'
        for user in ('anna',):
            subprocess.run([peer('saslpasswd2'), '-p', '-c', '-f', db, '-u', 'gw.test', user], input=USERS[user].encode(), check=True)
        db.chmod(0o644)
        (w.dir / 'sasl/smtpd.conf').write_text(f'pwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: {db}\n'
                                               'mech_list: PLAIN LOGIN CRAM-MD5 SCRAM-SHA-256\n')
        w.start()
        logins(w, {'anna': 'anna@gw.test'})
    finally:
        w.close()


PASSWD = 'root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\ndogana-auth:x:61006:61006::/:/bin/false\n'
# a gateway whose machine has a user dogana-auth
OTHER_USERS = '''#!/bin/sh
exec unshare -m --propagation private sh -c 'mount --bind {dir}/passwd /etc/passwd && mount --bind {dir}/group /etc/group || exit 77; exec "$@"' - {program} "$@"
'''


@case
def group_of_database():
    """/etc/sasldb2 as Debian makes it, root:sasl 0640: the auth process reads it as an ordinary user who is in that group, and not otherwise."""
    if os.getuid() != 0:
        raise Skip('needs root')
    w = World('smtpd_sasl_local_domain = gw.test\ncyrus_sasl_config_path = {dir}/sasl\n')
    try:
        db = w.dir / 'sasl/sasldb2'
        db.parent.mkdir()
        subprocess.run([rig.tool('saslpass'), db, 'gw.test', 'anna', USERS['anna']], check=True)
        os.chown(db, 0, 61045)
        db.chmod(0o640)
        (w.dir / 'sasl/smtpd.conf').write_text(f'pwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: {db}\nmech_list: PLAIN LOGIN CRAM-MD5 SCRAM-SHA-256\n')
        (w.dir / 'passwd').write_text(PASSWD)
        script = w.dir / 'other-users'
        script.write_text(OTHER_USERS.format(dir=w.dir, program=rig.program()))
        script.chmod(0o755)
        w.gateway.binary = str(script)
        main = w.gateway.etc / 'main.cf'
        main.write_text(main.read_text().replace('auth_user = 61006', 'auth_user = dogana-auth'))
        # before "adduser dogana-auth sasl"
        (w.dir / 'group').write_text('root:x:0:\nsasl:x:61045:\ndogana-auth:x:61006:\n')
        code, text = w.gateway.run('check')
        if code == 77:
            raise Skip('no mount namespaces here')
        assert f'sasldb_path {db}: Permission denied for auth_user dogana-auth: nobody can log in with it' in text, text
        w.start()
        with smtplib.SMTP('127.0.0.1', w.smtp) as s:
            s.ehlo()
            assert s.docmd('AUTH', 'PLAIN AGFubmEAc2VjcmV0')[0] != 235
        w.gateway.stop()
        # and behind it
        (w.dir / 'group').write_text('root:x:0:\nsasl:x:61045:dogana-auth\ndogana-auth:x:61006:\n')
        code, text = w.gateway.run('check')
        assert code == 0 and 'sasldb_path' not in text, text
        w.start()
        status = pathlib.Path(f'/proc/{pids(w)["auth"]}/status').read_text()
        assert re.search(r'^Uid:\t61006\t61006\t61006\t61006$', status, re.M), status
        assert '61045' in re.search(r'^Groups:(.*)$', status, re.M)[1].split(), status
        with smtplib.SMTP('127.0.0.1', w.smtp) as s:
            s.ehlo()
            assert s.docmd('AUTH', 'PLAIN AGFubmEAd3Jvbmc=')[0] == 535
            assert scram(s, 'anna', 'secret') == 235
    finally:
        w.close()


def pids(w):
    """{role: pid}, of the edges the last."""
    return dict(rig.status_roles(w.gateway.status()))


def begin_login(w):
    s = smtplib.SMTP('127.0.0.1', w.smtp)
    s.ehlo()
    assert s.docmd('AUTH', 'LOGIN')[0] == 334
    return s


@case
def reloaded():
    """libsasl2's configuration changes: the auth process starts anew, and only it. Logins under way end with 454, the next ones work."""
    w = World('smtpd_sasl_local_domain = gw.test\ncyrus_sasl_config_path = {dir}/sasl\n')
    db, conf = w.dir / 'sasl/sasldb2', w.dir / 'sasl/smtpd.conf'
    try:
        conf.parent.mkdir()
        subprocess.run([rig.tool('saslpass'), db, 'gw.test', 'anna', USERS['anna']], check=True)
        db.chmod(0o644)
        lines = f'pwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: {db}\nmech_list: PLAIN LOGIN'
        conf.write_text(lines + '\n')
        w.start()
        before = pids(w)
        # a session in the middle of a message, and one that has logged in
        busy = smtplib.SMTP('127.0.0.1', w.smtp)
        busy.ehlo()
        assert (busy.mail('a@sender.test')[0], busy.rcpt('b@hub.test')[0], busy.docmd('DATA')[0]) == (250, 250, 354)
        user = smtplib.SMTP('127.0.0.1', w.smtp)
        user.ehlo()
        assert user.docmd('AUTH', 'PLAIN AGFubmEAc2VjcmV0')[0] == 235
        # a reload that has nothing to do with it: a login goes on
        main = w.gateway.etc / 'main.cf'
        s = begin_login(w)
        main.write_text(main.read_text() + 'smtpd_recipient_limit = 900\n')
        code, text = w.gateway.run('reload')
        assert code == 0, text
        assert s.docmd('YW5uYQ==')[0] == 334
        time.sleep(0.3)  # longer than the process would take to end
        assert s.docmd('c2VjcmV0')[0] == 235
        s.close()
        assert pids(w) == before
        # three that have: no waiting time that grows
        for mechs in ('PLAIN LOGIN CRAM-MD5', 'PLAIN LOGIN NOSUCH', 'PLAIN LOGIN SCRAM-SHA-256'):
            old = pids(w)
            s = begin_login(w)
            conf.write_text(lines.replace('PLAIN LOGIN', mechs) + '\n')
            code, text = w.gateway.run('reload')
            assert code == 0, text
            lost = []

            def logs_in():
                with smtplib.SMTP('127.0.0.1', w.smtp) as s:
                    s.ehlo()
                    code, text = s.docmd('AUTH', 'PLAIN AGFubmEAc2VjcmV0')
                    assert code == 235 or b'Connection lost' in text, (code, text)  # the one it had in its hands when it ended
                    lost.append(code == 454)
                return pids(w).get('auth') not in (old['auth'], None)
            # those that begin while there is none wait for the next one
            wait_for('the new auth process', logs_in, 4, 0)
            logs_in()
            assert sum(lost) <= 1 and not lost[-1], lost
            assert s.docmd('YW5uYQ==') == (454, b'4.7.0 Temporary authentication failure: Connection lost to authentication server')
            assert s.docmd('AUTH', 'PLAIN AGFubmEAc2VjcmV0')[0] == 235
            s.close()

            def offered():
                with smtplib.SMTP('127.0.0.1', w.smtp) as s:
                    s.ehlo()
                    return sorted(s.esmtp_features['auth'].split()) == sorted(mechs.replace('NOSUCH', '').split())
            wait_for('the new mechanisms', offered, 4)
            assert {r: p for r, p in pids(w).items() if r != 'auth'} == {r: p for r, p in old.items() if r != 'auth'}
        log = w.gateway.log_text()
        assert f'{conf}: mech_list: no plugin of libsasl2 provides NOSUCH: it is not offered' in log
        assert log.count('the configuration of SASL has changed: starting anew') == 3
        # one that libsasl2 would not start with is refused, and the process that runs goes on
        old = pids(w)
        conf.write_text('pwcheck_method auxprop\n')
        code, text = w.gateway.run('reload')
        assert code != 0 and f'{conf}: line 1 is not "key: value"' in text, (code, text)
        s = begin_login(w)
        assert s.docmd('YW5uYQ==')[0] == 334
        assert s.docmd('c2VjcmV0')[0] == 235
        s.close()
        assert pids(w) == old
        # they did not notice
        assert (busy.send('Subject: busy\r\n\r\nx\r\n.\r\n'), busy.getreply()[0])[1] == 250
        user.sendmail('a@sender.test', 'b@elsewhere.test', 'Subject: user\n\nx\n')
        wait_for('both messages', lambda: len(w.hub.messages()) == 2)
        busy.close()
        user.close()
    finally:
        w.close()


@case
def saslauthd_hangs():
    """saslauthd takes the question and never answers: 454 in time, and the gateway goes on."""
    w = World(f'smtpd_sasl_backend_timeout = 1s\ncyrus_sasl_config_path = {{dir}}/sasl\n')
    mute = socket.socket(socket.AF_UNIX)
    try:
        (w.dir / 'sasl').mkdir()
        path = w.dir / 'sasl/mux'
        mute.bind(str(path))
        path.chmod(0o777)
        mute.listen(64)
        (w.dir / 'sasl/smtpd.conf').write_text(f'pwcheck_method: saslauthd\nsaslauthd_path: {path}\nmech_list: PLAIN LOGIN\n')
        w.start()
        begun = time.monotonic()
        socks = []
        for i in range(8):
            s = smtplib.SMTP('127.0.0.1', w.smtp)
            s.ehlo()
            s.putcmd('AUTH', 'PLAIN AGFubmEAc2VjcmV0')
            socks.append(s)
        for s in socks:
            assert s.getreply()[0] == 454
            s.quit()
        assert time.monotonic() - begun < 5
        with smtplib.SMTP('127.0.0.1', w.smtp) as s:
            s.sendmail('a@sender.test', 'b@hub.test', 'Subject: x\n\nx\n')
    finally:
        mute.close()
        w.close()


def traces(pid, needles):
    """Where in the memory of a process one of them is."""
    found = []
    with open(f'/proc/{pid}/mem', 'rb', 0) as mem:
        for line in pathlib.Path(f'/proc/{pid}/maps').read_text().splitlines():
            words = line.split()
            begin, end = (int(x, 16) for x in words[0].split('-'))
            if 'r' not in words[1] or end - begin > 200 << 20:
                continue
            try:
                mem.seek(begin)
                data = mem.read(end - begin)
            except (OSError, ValueError):
                continue
            found += [f'{words[-1]} {begin + data.index(n):x}' for n in needles if n in data]
    return found


@case
def memory():
    """No password stays in the memory of the process that talks to clients, raw or in base64, however it came."""
    if os.getuid() != 0:
        raise Skip('needs root')
    secret = 'Zx9' + 'QvTr7Lm2Kp4'
    w = World('smtpd_sasl_type = dovecot\nsmtpd_sasl_path = private/auth\n')
    tool = subprocess.Popen([TOP / 'tests/tools/authserver.py', w.dir / 'queue/private/auth', f'anna={secret}'], stdout=subprocess.PIPE)
    try:
        tool.stdout.readline()
        w.start()
        context = ssl._create_unverified_context()
        plain = base64.b64encode(f'\0anna\0{secret}'.encode()).decode()
        wrong = base64.b64encode(f'\0anna\0{secret}x'.encode()).decode()
        for tls in (False, True):
            for dialogue in ([f'AUTH PLAIN {plain}'], ['AUTH LOGIN', 'YW5uYQ==', base64.b64encode(secret.encode()).decode()], ['AUTH PLAIN', wrong]):
                with smtplib.SMTP('127.0.0.1', w.smtp) as s:
                    if tls:
                        s.starttls(context=context)
                    s.ehlo()
                    for i, line in enumerate(dialogue):
                        data = line.encode() + b'\r\n'
                        for k in range(0, len(data), 7 if i > 0 else len(data)):
                            s.sock.sendall(data[k:k + 7 if i > 0 else len(data)])
                            time.sleep(0.002)
                        code = s.getreply()[0]
                    assert code == (535 if dialogue[-1] == wrong else 235), code
        wait_for('the sessions to end', lambda: w.gateway.metrics()['smtpd_sessions'] == 0)
        needles = [secret.encode()] + [base64.b64encode(b'x' * k + secret.encode())[4 * (k > 0):-4] for k in range(3)]
        for pid in set(map(int, re.findall(r'"pid":\s*(\d+)', w.gateway.run('status', '--json')[1]))):
            found = traces(pid, needles)
            assert not found, (pathlib.Path(f'/proc/{pid}/comm').read_text(), found)
        for path in (w.dir / 'gw').rglob('*'):
            if path.is_file():
                assert not any(n in path.read_bytes() for n in needles), path
    finally:
        tool.kill()
        tool.wait()
        w.close()


@case
def fail2ban():
    w = World('smtpd_sasl_type = dovecot\nsmtpd_sasl_path = private/auth\nsyslog_name = postfix\n')
    tool = subprocess.Popen([TOP / 'tests/tools/authserver.py', w.dir / 'queue/private/auth', 'anna=secret'], stdout=subprocess.PIPE)
    try:
        program = peer('fail2ban-regex')
        tool.stdout.readline()
        w.start()
        with smtplib.SMTP('127.0.0.1', w.smtp) as s:
            s.ehlo()
            for method in ('PLAIN AGFubmEAeA==', 'LOGIN', 'CRAM-MD5'):
                if s.docmd('AUTH', method)[0] == 334:
                    s.docmd('YW5uYQ==')
                    s.docmd('eA==')
        r = subprocess.run([program, str(w.gateway.log), 'postfix[mode=auth]'], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        m = re.search(r'(\d+) matched', r.stdout)
        assert m and int(m.group(1)) >= 3, r.stdout[-1500:]
    finally:
        tool.kill()
        tool.wait()
        w.close()


if __name__ == '__main__':
    sys.exit(run_cases(sys.argv[1:]))
