#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Other people's TLS against ours, on 25 (may), 587 (encrypt) and 465 (implicit): openssl s_client, swaks, posttls-finger, gnutls-cli and smtplib
as clients; sslscan and testssl as judges, with the settings that conf.d ships. No finding may be above low.

    tls.py [-v] [--full] [NAME...]     --full: all that testssl has, on all three (minutes; make attack)

What is missing is skipped and counted. Last line: N passed, N failed, N skipped.
"""

import json
import os
import pathlib
import re
import smtplib
import ssl
import subprocess
import sys
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / 'tests/tools'))
import rig  # noqa: E402
from cases import PEERS, Skip, case, peer, run_cases  # noqa: E402

FULL = '--full' in sys.argv


class World:
    def __init__(self):
        self.dir = rig.workdir('peers-tls')
        self.certs = rig.certificates()
        self.hub = rig.Hub(self.dir / 'hub', ['0'])
        self.mx, self.submission, self.smtps = rig.free_ports(3)
        d = self.dir / 'gw'
        shipped = (TOP / 'conf.d/25-tls.cf').read_text()
        self.gateway = rig.Gateway(d, f'''compatibility_level = 3.6
myhostname = gateway.test
mydestination =
inet_protocols = ipv4
relayhost = [127.0.0.1]:{self.hub.ports[0]}
mynetworks = 127.0.0.0/8
queue_directory = {d}/queue
data_directory = {d}/data
maillog_file = /dev/stdout
smtpd_tls_security_level = may
smtpd_tls_chain_files = {self.certs}/good.chain, {self.certs}/good-ec.chain
smtpd_tls_loglevel = 1
smtpd_error_sleep_time = 0
smtpd_client_connection_count_limit = 0
''' + shipped, f'127.0.0.1:{self.mx} inet n - n - - smtpd\n'
                                   f'127.0.0.1:{self.submission} inet n - n - - smtpd -o smtpd_tls_security_level=encrypt\n'
                                   f'127.0.0.1:{self.smtps} inet n - n - - smtpd -o smtpd_tls_wrappermode=yes\n')
        self.gateway.start(self.mx)

    def ports(self):
        return [(self.mx, True), (self.submission, True), (self.smtps, False)]

    def arrived(self, count):
        rig.wait_for(f'{count} messages', lambda: len(self.hub.messages()) >= count, 15)

    def close(self):
        self.gateway.stop()
        self.hub.stop()


def run(*args, text=None, seconds=60):
    return subprocess.run([str(a) for a in args], input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds).stdout.decode(errors='replace')


@case
def openssl(w):
    for port, starttls in w.ports():
        for version in ('-tls1_2', '-tls1_3'):
            out = run('openssl', 's_client', *(['-starttls', 'smtp'] if starttls else []), '-connect', f'127.0.0.1:{port}', '-CAfile', w.certs / 'ca.pem',
                      '-verify_return_error', '-verify_hostname', 'gateway.test', '-crlf', '-ign_eof', version, text=b'QUIT\n')
            assert 'Verification: OK' in out and '221 2.0.0 Bye' in out, out[-800:]
            if not starttls or version == '-tls1_3':
                assert 'read:errno' not in out, out[-300:]  # it ends with close_notify
    for old in ('-tls1', '-tls1_1'):
        out = run('openssl', 's_client', '-connect', f'127.0.0.1:{w.smtps}', old, '-cipher', 'ALL:@SECLEVEL=0', text=b'')
        assert 'Cipher is (NONE)' in out, out[-500:]


@case
def openssl_renegotiation(w):
    p = subprocess.Popen(['openssl', 's_client', '-connect', f'127.0.0.1:{w.smtps}', '-tls1_2', '-crlf'], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT)
    out = b''
    while b'\n220 gateway' not in out:
        got = os.read(p.stdout.fileno(), 4096)
        assert got, out[-500:]
        out += got
    p.stdin.write(b'R\n')
    p.stdin.flush()
    out += p.communicate(timeout=30)[0]
    assert b'Secure Renegotiation IS supported' in out and b'no renegotiation' in out, out[-500:]


@case
def openssl_names_that_are_none(w):
    for name in ('../../etc/passwd', 'x' * 250, 'a\\\\', '192.0.2.1', '-.-', '..'):
        out = run('openssl', 's_client', '-connect', f'127.0.0.1:{w.smtps}', '-servername', name, '-crlf', '-ign_eof', text=b'QUIT\n')
        assert '221 2.0.0 Bye' in out and 'subject=CN = gateway.test' in out, out[-500:]


@case
def openssl_resumption(w):
    """A ticket of one edge process is good in the others."""
    sess = w.dir / 'session'
    run('openssl', 's_client', '-connect', f'127.0.0.1:{w.smtps}', '-sess_out', sess, '-crlf', '-ign_eof', text=b'QUIT\n')
    for _ in range(6):
        out = run('openssl', 's_client', '-connect', f'127.0.0.1:{w.smtps}', '-sess_in', sess, '-crlf', '-ign_eof', text=b'QUIT\n')
        assert 'Reused, TLSv1.3' in out, out[-500:]


@case
def smtplib_(w):
    before = len(w.hub.messages())
    ctx = ssl.create_default_context(cafile=w.certs / 'ca.pem')
    ctx.check_hostname = False
    for port, starttls in w.ports():
        with (smtplib.SMTP('127.0.0.1', port, timeout=20) if starttls else smtplib.SMTP_SSL('127.0.0.1', port, timeout=20, context=ctx)) as s:
            if starttls:
                s.starttls(context=ctx)
            s.ehlo()
            assert not s.has_extn('starttls')
            s.sendmail('a@sender.test', ['b@hub.test'], b'Subject: x\r\n\r\n' + b'line\r\n' * 40000)
    w.arrived(before + 3)


@case
def swaks(w):
    before = len(w.hub.messages())
    for port, how in ((w.mx, '--tls'), (w.submission, '--tls'), (w.smtps, '--tls-on-connect')):
        out = run(peer('swaks'), '--server', '127.0.0.1', '--port', port, how, '--from', 'a@sender.test', '--to', 'b@hub.test')
        if 'not available' in out and 'TLS' in out and 'started' not in out:
            raise Skip('swaks has no Net::SSLeay')
        assert 'queued as' in out, out[-600:]
    w.arrived(before + 3)


@case
def posttls_finger(w):
    etc = w.dir / 'finger'
    etc.mkdir()
    (etc / 'main.cf').write_text('compatibility_level = 3.6\nmail_owner = mail\nsetgid_group = uucp\ninet_protocols = ipv4\n')
    os.environ['MAIL_CONFIG'] = str(etc)
    out = run(peer('posttls-finger'), '-c', '-l', 'secure', '-F', w.certs / 'ca.pem', '-L', 'summary,certmatch', f'[127.0.0.1]:{w.mx}', 'gateway.test')
    assert 'Verified TLS connection established to 127.0.0.1' in out, out[-600:]
    out = run(peer('posttls-finger'), '-c', '-w', '-l', 'encrypt', f'[127.0.0.1]:{w.smtps}')
    assert 'TLS connection established to 127.0.0.1' in out, out[-600:]


@case
def gnutls(w):
    out = run(peer('gnutls-cli'), '--starttls-proto=smtp', '-p', w.mx, '--x509cafile', w.certs / 'ca.pem', '--verify-hostname', 'gateway.test', '127.0.0.1', text=b'QUIT\r\n')
    assert 'The certificate is trusted' in out and 'Handshake was completed' in out, out[-600:]


@case
def sslscan(w):
    for port, starttls in w.ports():
        out = run(peer('sslscan'), '--no-colour', *(['--starttls-smtp'] if starttls else []), f'127.0.0.1:{port}')
        for old in ('SSLv2', 'SSLv3', 'TLSv1.0', 'TLSv1.1'):
            assert re.search(rf'{re.escape(old)}\s+disabled', out), f'{port}: {old}: {out[:600]}'
        weak = [line for line in re.findall(r'^(?:Preferred|Accepted).*', out, re.M) if re.search(r'\b(RC4|DES|NULL|EXP|ADH|AECDH|MD5|IDEA|SEED)\b|\s(40|56|112) bits', line)]
        assert not weak and 'Accepted' in out, f'{port}: {weak} {out[:400]}'


def testssl_at(w, port, starttls, *what):
    where = PEERS / 'root/etc/testssl'
    report = w.dir / f'testssl-{port}-{time.monotonic_ns()}.json'
    env = dict(os.environ, PATH=f'{PEERS}/bin:' + os.environ['PATH'], TESTSSL_INSTALL_DIR=str(where), MAX_SOCKET_FAIL='5')
    subprocess.run([peer('testssl'), '--quiet', '--color', '0', '--warnings', 'batch', '--jsonfile', report, '--add-ca', str(w.certs / 'ca.pem'), *what,
                    *(['-t', 'smtp'] if starttls else []), f'127.0.0.1:{port}'], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                   env=env, timeout=900 if FULL else 180)
    rows = json.loads(report.read_text())
    assert len(rows) > 5, rows
    # what concerns the certificate of this test (its CA is nobody's, its name no host's) or testssl's own program
    ours = ('cert_', 'engine_problem', 'scanTime', 'DNS_CAArecord', 'OCSP', 'cert')
    bad = [f'{r["severity"]} {r["id"]}: {r["finding"][:120]}' for r in rows if r['severity'] in ('MEDIUM', 'HIGH', 'CRITICAL', 'FATAL') and not r['id'].startswith(ours)]
    assert not bad, bad
    return rows


@case
def testssl(w):
    if FULL:
        for port, starttls in w.ports():
            testssl_at(w, port, starttls, '-p', '-f', '-s', '-P', '-S', '-U')
        return
    rows = testssl_at(w, w.smtps, False, '-p')
    assert any(r['id'] == 'TLS1_3' and r['severity'] in ('OK', 'INFO') for r in rows), rows


def main():
    w = World()
    return run_cases(sys.argv[1:], w, after=lambda: w.gateway.tail(8), close=w.close, troubles=w.gateway.troubles)


if __name__ == '__main__':
    sys.exit(main())
