#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Debian's Postfix as the provider behind us: STARTTLS, TLS from the first octet, AUTH with Cyrus' sasldb.

    provider.py [-v]       last line: N passed, N failed, N skipped

Each mechanism the machine has, right and wrong passwords, a client certificate, sessions resumed, the level its policy demands. No password may
be in any file that the gateway wrote, as it is, in base64 or in hexadecimal.
"""

import base64
import os
import pathlib
import re
import shutil
import smtplib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parents[1]
sys.path.insert(0, str(TOP / 'tests/tools'))
import rig  # noqa: E402

PEERS = pathlib.Path(os.environ.get('PEERS') or TOP / 'build/peers')
PEER = TOP / 'tests/tools/postfix-peer.sh'
RIGHT, WRONG = 'Right-pass=w0rd', 'Wrong-pass=w0rd'
MECHS = ['plain', 'login', 'cram-md5', 'digest-md5', 'scram-sha-1', 'scram-sha-256']

MASTER = '''127.0.0.1:@STARTTLS@ inet n - n - - smtpd
127.0.0.1:@WRAPPED@ inet n - n - - smtpd
  -o { smtpd_tls_wrappermode = yes }
127.0.0.1:@CCERT@ inet n - n - - smtpd
  -o { smtpd_tls_req_ccert = yes } -o { smtpd_recipient_restrictions = permit_tls_all_clientcerts, reject }
'''
MAIN = '''smtpd_tls_security_level = encrypt
smtpd_tls_cert_file = @CERTS@/good.pem
smtpd_tls_key_file = @CERTS@/good.key
smtpd_tls_CAfile = @CERTS@/ca.pem
smtpd_tls_loglevel = 1
smtpd_tls_session_cache_database = btree:$data_directory/smtpd_scache
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = cyrus
smtpd_sasl_local_domain = $myhostname
mynetworks = 192.0.2.1
smtpd_relay_restrictions = permit_sasl_authenticated, permit_tls_all_clientcerts, reject
default_transport = discard:
'''


def skip(why):
    print(f'skip provider: {why}\n0 passed, 0 failed, 1 skipped')
    sys.exit(0)


class Peer:
    def __init__(self, where):
        self.dir = where / 'provider'
        self.certs = where / 'certs'
        self.main, self.starttls, self.wrapped, self.ccert = rig.free_ports(4)
        (self.dir / 'etc/sasl').mkdir(parents=True)  # where Debian's looks
        subprocess.run([TOP / 'tests/tools/certs.sh', self.certs], check=True, stdout=subprocess.DEVNULL)
        (self.dir / 'etc/sasl/smtpd.conf').write_text(f'pwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: {self.dir}/etc/sasl/sasldb2\n'
                                                  f'mech_list: {" ".join(MECHS)}\n')
        subprocess.run([rig.tool('saslpass'), self.dir / 'etc/sasl/sasldb2', 'mx.example.com', 'relay', RIGHT], check=True)
        (self.dir / 'etc/sasl/sasldb2').chmod(0o644)
        self.fill(MAIN, 'extra.cf')
        self.fill(MASTER, 'extra-master.cf')
        started = subprocess.run([PEER, 'start', self.dir, str(self.main), 'discard'])
        if started.returncode == 77:
            skip('Postfix cannot run here')
        if started.returncode != 0:
            raise rig.Broken('the provider does not start')

    def fill(self, text, name):
        for key, value in (('STARTTLS', self.starttls), ('WRAPPED', self.wrapped), ('CCERT', self.ccert), ('DIR', self.dir), ('CERTS', self.certs)):
            text = text.replace(f'@{key}@', str(value))
        (self.dir / name).write_text(text)

    def log(self):
        return (self.dir / 'log').read_text(errors='replace')

    def stop(self):
        subprocess.run([PEER, 'stop', self.dir], check=False)


def gateway(where, peer):
    etc = where / 'gw/etc'
    port = rig.free_ports(1)[0]
    services = {m: (peer.starttls, [f'smtp_sasl_mechanism_filter={m}']) for m in MECHS}
    services['any'] = (peer.starttls, [])
    services['wrapped'] = (peer.wrapped, ['smtp_tls_wrappermode=yes'])
    services['wrong'] = (peer.starttls, [f'smtp_sasl_password_maps=texthash:{etc}/wrong'])
    services['stranger'] = (peer.starttls, ['smtp_sasl_auth_enable=no'])
    services['clear'] = (peer.starttls, ['smtp_tls_security_level=none'])
    services['ccert'] = (peer.ccert, ['smtp_sasl_auth_enable=no', f'smtp_tls_cert_file={peer.certs}/client.pem', f'smtp_tls_key_file={peer.certs}/client.key'])
    services['noccert'] = (peer.ccert, ['smtp_sasl_auth_enable=no'])
    master = ''.join(f'{name} unix - - n - - smtp\n' + ''.join('  -o { %s }\n' % o.replace('=', ' = ', 1) for o in options)
                     for name, (_, options) in services.items())
    g = rig.Gateway(where / 'gw', f'''compatibility_level = 3.6
myhostname = gw.test
mydestination =
local_recipient_maps =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
queue_directory = {where}/gw/queue
data_directory = {where}/gw/data
maillog_file = /dev/stdout
smtp_tls_security_level = verify
smtp_tls_verify_cert_match = gateway.test
smtp_tls_CAfile = {peer.certs}/ca.pem
smtp_tls_loglevel = 1
smtp_tls_session_cache_database = btree:x
smtp_sasl_auth_enable = yes
smtp_sasl_security_options = noanonymous
smtp_sasl_password_maps = texthash:{etc}/right
transport_maps = inline:{{{', '.join('{%s.test=%s:[127.0.0.1]:%d}' % (n, n, p) for n, (p, _) in services.items())}}}
edge_workers = 1
relay_workers = 1
''', f'127.0.0.1:{port} inet n - n - - smtpd\n' + master, {})
    rows = ''.join(f'[127.0.0.1]:{p} relay:%s\n' for p in (peer.starttls, peer.wrapped, peer.ccert))
    for name, password in (('right', RIGHT), ('wrong', WRONG)):
        (etc / name).write_text(rows.replace('%s', password))
        (etc / name).chmod(0o600)
    g.start(port)
    return g


def deliver(g, service):
    since = g.log_size()
    with smtplib.SMTP('127.0.0.1', g.port, timeout=30) as s:
        s.sendmail('a@sender.test', [f'r@{service}.test'], b'Subject: x\r\n\r\nhello\r\n')
    pattern = re.compile(rf'to=<r@{service}\.test>, .*status=(\w+) \((.*)\)$', re.M)
    return rig.wait_for(f'what became of {service}', lambda: pattern.search(g.log_text(since))).groups()


def check(name, got, status, text=''):
    if got[0] != status or not re.search(text, got[1]):
        raise rig.Broken(f'{name}: {got}, expected {status} {text}')


def cases(g, peer):
    plugins = subprocess.run([PEERS / 'bin/saslpluginviewer', '-c'], stdout=subprocess.PIPE, text=True).stdout.lower()
    for m in MECHS:
        def mech(m=m):
            check(m, deliver(g, m), 'sent', '250 2.0.0 Ok')
            assert f'sasl_method={m.upper()}, sasl_username=relay' in peer.log(), m
        yield m, mech if m in plugins or not plugins else None
    yield 'any', lambda: check('any', deliver(g, 'any'), 'sent')
    yield 'wrapped', lambda: check('wrapped', deliver(g, 'wrapped'), 'sent')
    yield 'wrong', lambda: check('wrong', deliver(g, 'wrong'), 'deferred', r'SASL authentication failed; server .* said: 535 5\.7\.8 Error: authentication failed')
    yield 'stranger', lambda: check('stranger', deliver(g, 'stranger'), 'bounced', '554 5.7.1')
    yield 'clear', lambda: check('clear', deliver(g, 'clear'), 'bounced', '530 5.7.0 Must issue a STARTTLS command first')
    yield 'ccert', lambda: check('ccert', deliver(g, 'ccert'), 'sent')
    yield 'noccert', lambda: check('noccert', deliver(g, 'noccert'), 'deferred')

    def resumed():
        for _ in range(3):
            check('any', deliver(g, 'any'), 'sent')
        assert 'TLS connection reused to 127.0.0.1' in g.log_text(), 'no session was resumed'
        assert g.metrics()['relay_tls_resumed'] > 0
    yield 'resumed', resumed

    def secret():
        needles = set()
        for password in (RIGHT.encode(), WRONG.encode()):
            needles |= {password, password.hex().encode(), password.hex().upper().encode()}
            for skip_ in range(3):
                code = base64.b64encode(b'x' * skip_ + password)
                needles.add(code[skip_ + 1 if skip_ else 0:(len(password) + skip_) // 3 * 4])
        for path in (g.dir).rglob('*'):
            if path.is_file() and path.parent != g.etc:
                data = path.read_bytes()
                for n in needles:
                    assert n not in data, f'{n!r} is in {path}'
    yield 'secret', secret


def main():
    verbose = '-v' in sys.argv
    if os.getuid() != 0:
        skip('needs root')
    if not (PEERS / 'bin/postfix').exists():
        skip(f'postfix is not in {PEERS}: tests/tools/peers.sh postfix')
    for name in ('saslpluginviewer', 'saslpasswd2'):
        if not (PEERS / 'bin' / name).exists():
            skip(f'{name} is not in {PEERS}: tests/tools/peers.sh sasl2-bin')
    where = rig.workdir('provider')
    where.chmod(0o755)
    passed = failed = skipped = 0
    peer = Peer(where)
    g = None
    try:
        g = gateway(where, peer)
        for name, run in cases(g, peer):
            if run is None:
                skipped += 1
                print(f'skip {name}: this machine has no plugin for it')
                continue
            try:
                run()
                passed += 1
                if verbose:
                    print(f'ok   {name}')
            except (AssertionError, rig.Broken) as e:
                failed += 1
                print(f'FAIL {name}: {e}')
    finally:
        if g is not None:
            try:
                g.stop()
                for trouble in g.troubles():
                    failed += 1
                    print(f'FAIL gateway: {trouble}')
            finally:
                peer.stop()
        else:
            peer.stop()
        shutil.rmtree(where, ignore_errors=True)
    print(f'{passed} passed, {failed} failed, {skipped} skipped')
    sys.exit(1 if failed else 0)


if __name__ == '__main__':
    main()
