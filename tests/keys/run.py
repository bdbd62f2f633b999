#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Private keys: who has them in memory, what a bad pair does, renewal without a restart, and what happens when the process that holds them dies.

    run.py [NAME...]

Runs the program without sanitizers (they change what is in memory and who may look). Reading another process's memory needs root;
otherwise that is skipped. Last line: N passed, N failed, N skipped.
"""

import base64
import hashlib
import os
import pathlib
import re
import secrets
import shutil
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import threading
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / 'tests/tools'))
import rig  # noqa: E402
from provider import Provider  # noqa: E402

passed = failed = skipped = 0
PROGRAM = str(TOP / 'build/dogana')

MAIN = '''\
compatibility_level = 3.6
myhostname = gw.test
mydestination =
local_recipient_maps =
local_transport = error:none
alias_maps =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.9/32
relay_domains = local.test
transport_maps = inline:{local.test=smtp:[127.0.0.1]:$HUB}
smtpd_recipient_restrictions =
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
queue_directory = $DIR/queue
data_directory = $DIR/data
maillog_file = /dev/stdout
queue_minfree = 0
edge_workers = 2
'''


def check(what, ok, detail=''):
    global passed, failed
    if ok:
        passed += 1
    else:
        failed += 1
        print(f'FAILED {what}: {str(detail)[-1500:]}', flush=True)
    return ok


def openssl(*args, **kw):
    return subprocess.run(['openssl', *map(str, args)], check=True, capture_output=True, **kw).stdout


class World:
    """A gateway with cert.pem and key.pem in a directory of its own."""

    def __init__(self, pair='good', more='', start=True):
        self.dir = rig.workdir('keys')
        self.certs = rig.certificates()
        self.port, self.hub_port = rig.free_ports(2)
        self.tls = self.dir / 'tls'
        self.tls.mkdir()
        self.put(pair)
        main = MAIN + 'smtpd_tls_security_level = may\nsmtpd_tls_cert_file = $TLS/cert.pem\nsmtpd_tls_key_file = $TLS/key.pem\n' + more
        main = main.replace('$DIR', str(self.dir)).replace('$TLS', str(self.tls)).replace('$HUB', str(self.hub_port)).replace('$CERTS', str(self.certs))
        self.gw = rig.Gateway(self.dir / 'gw', main, f'127.0.0.1:{self.port} inet n - n - - smtpd\n', binary=PROGRAM)
        self.gw.expect_deaths = True
        if start:
            self.gw.start(self.port)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        global failed
        try:
            self.gw.stop()
            found = self.gw.troubles()
            if found:
                check('no trouble', False, found)
        except rig.Broken as e:
            check('a clean end', False, e)
        shutil.rmtree(self.dir, ignore_errors=True)

    def put(self, pair, cert=True, key=True):
        """Replaces the files as certbot does: a new one renamed over the old."""
        for wanted, source, name in ((cert, f'{pair}.pem', 'cert.pem'), (key, f'{pair}.key', 'key.pem')):
            if wanted:
                self.put_text((self.certs / source).read_bytes(), name)

    def put_text(self, data, name):
        tmp = self.tls / (name + '.new')
        tmp.write_bytes(data)
        tmp.chmod(0o600)
        tmp.rename(self.tls / name)

    def hello(self, timeout=5):
        s = smtplib.SMTP('127.0.0.1', self.port, 'client.test', timeout=timeout, source_address=('127.0.0.9', 0))
        s.ehlo()
        return s

    def shown(self, timeout=5, minimum=None):
        """The certificate a client gets, DER; None: no handshake."""
        ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        ctx.check_hostname = False
        ctx.verify_mode = ssl.CERT_NONE
        if minimum:
            ctx.maximum_version = minimum
        s = None
        try:
            s = self.hello(timeout)
            s.starttls(context=ctx)
            return s.sock.getpeercert(True)
        except (OSError, smtplib.SMTPException):
            return None
        finally:
            if s:
                s.close()

    def shows(self, pair):
        return self.shown() == ssl.PEM_cert_to_DER_cert(re.search(r'-+BEGIN CERTIFICATE.*?END CERTIFICATE-+', (self.certs / f'{pair}.pem').read_text(), re.S).group())

    def pids(self, role):
        return [pid for name, pid in rig.status_roles(self.gw.status()) if name == role]

    def log(self):
        return self.gw.log_text() + (self.gw.stderr.read_text() if self.gw.stderr.exists() else '')


# ---- who has the key in memory

def integers(key_file):
    """The private numbers of a key: name -> octets, big endian."""
    text = openssl('pkey', '-in', key_file, '-noout', '-text').decode()
    found = {}
    for name, octets in re.findall(r'^(\w+):\n((?:    [0-9a-f:]+\n)+)', text, re.M):
        found[name] = bytes.fromhex(re.sub(r'[^0-9a-f]', '', octets)).lstrip(b'\0')
    return {n: found[n] for n in ('priv', 'prime1', 'prime2', 'privateExponent') if n in found}


def memory(pid):
    """All that can be read of a process."""
    with open(f'/proc/{pid}/maps') as maps, open(f'/proc/{pid}/mem', 'rb', 0) as mem:
        for line in maps:
            span, rights = line.split()[:2]
            if 'r' not in rights or line.rstrip().endswith(('[vvar]', '[vsyscall]')):
                continue
            begin, end = (int(x, 16) for x in span.split('-'))
            try:
                mem.seek(begin)
                yield mem.read(end - begin)
            except (OSError, ValueError, OverflowError):
                continue


def holds(pid, needles):
    return {name for block in memory(pid) for name, octets in needles.items() if octets in block}


def test_memory():
    global skipped
    if os.geteuid() != 0:
        skipped += 1
        print('skipped: memory: not root')
        return
    for pair in ('good', 'good-ec'):
        with World(pair) as w:
            stop = threading.Event()

            def load():
                while not stop.is_set():
                    w.shown(minimum=ssl.TLSVersion.TLSv1_2)
                    w.shown()
            clients = [threading.Thread(target=load) for _ in range(2)]
            for c in clients:
                c.start()
            time.sleep(0.7)
            needles = {}
            for name, octets in integers(w.certs / f'{pair}.key').items():
                needles[name] = octets
                needles[name + ' (words)'] = octets[::-1]
            pem = ''.join((w.certs / f'{pair}.key').read_text().splitlines()[1:-1])
            needles['PEM'] = (w.certs / f'{pair}.key').read_text().splitlines()[3 if pair == 'good' else 1].encode()
            if pair == 'good':  # that of the other kind ends with the public key
                needles['DER'] = base64.b64decode(pem)[-60:]
            check(f'{pair}: there is something to look for', len(needles) >= 3, needles)
            for role in ('edge', 'relay', 'queue'):
                for pid in w.pids(role):
                    found = holds(pid, needles)
                    check(f'{pair}: {role} {pid} does not hold the key', not found, found)
            found = holds(w.pids('keys')[0], needles)
            check(f'{pair}: keys holds it', any(n.startswith('pri') for n in found), found)
            stop.set()
            for c in clients:
                c.join()
            check(f'{pair}: TLS was served meanwhile', w.gw.metrics()['keys_done'] > 5, w.gw.metrics()['keys_done'])
            pid = w.pids('keys')[0]
            check('keys cannot be dumped or traced', os.stat(f'/proc/{pid}/mem').st_uid == 0, os.stat(f'/proc/{pid}/mem'))
            fds = [os.readlink(f'/proc/{pid}/fd/{fd}') for fd in os.listdir(f'/proc/{pid}/fd')]
            check('keys has no network and no file', all(f.startswith(('socket:', 'anon_inode:', 'pipe:', '/memfd:', '/dev/null', str(w.dir))) for f in fds), fds)
            role = [r for r in w.gw.status()['roles'] if r['role'] == 'keys'][0]
            check('its sandbox', set(role['sandbox'].split()) >= {'chroot', 'user', 'no_new_privs', 'seccomp'}, role['sandbox'])
            for role in ('edge', 'relay', 'queue', 'keys'):
                for pid in w.pids(role):
                    for name in ('environ', 'cmdline'):
                        check(f'{role}: {name}', b'PRIVATE' not in pathlib.Path(f'/proc/{pid}/{name}').read_bytes())


# ---- what was replaced

def words(prefix):
    return (prefix + secrets.token_hex(12)).encode()


def deliver(w, user='r'):
    """One message that the relay logs in for."""
    s = w.hello()
    s.sendmail('a@b.test', [f'{user}@away.test'], 'Subject: x\r\n\r\nbody\r\n')
    s.quit()


def pem_needle(path):
    """A line from the middle of a private key as it stands in its file."""
    lines = path.read_text().splitlines()
    return lines[len(lines) // 2].encode()


def everybody(w):
    return [('master', w.gw.proc.pid)] + list(rig.status_roles(w.gw.status()))


def holders(w, needle):
    return [f'{role} {pid}' for role, pid in everybody(w) if holds(pid, {'x': needle})]


def test_replaced():
    """A password and a private key that were replaced are in the memory of nobody, at once and after further changes; the new ones where they belong."""
    global skipped
    if os.geteuid() != 0:
        skipped += 1
        print('skipped: replaced: not root')
        return
    port = rig.free_ports(1)[0]
    certs = rig.certificates()
    passwords = [words('First'), words('Second'), words('Third')]
    other = words('Other')
    provider = Provider(port, {'tls': 'starttls', 'cert': str(certs / 'good.pem'), 'key': str(certs / 'good.key'), 'auth': 'plain,login', 'user': 'anna',
                               'pass': passwords[0].decode()}, '127.0.0.11')
    more = (f'relayhost = [127.0.0.11]:{port}\nsmtp_sasl_auth_enable = yes\nsmtp_sasl_password_maps = hash:$TLS/passwd\nsmtp_tls_security_level = may\n'
            'smtp_sasl_security_options = noanonymous\nmynetworks = 127.0.0.9/32\n')

    def row(password):
        return f'[127.0.0.11]:{port} anna:'.encode() + password + b'\nother.test bob:' + other + b'\n'

    with World(more=more, start=False) as w:
        w.put_text(row(passwords[0]), 'passwd')
        w.gw.start(w.port)
        deliver(w)
        rig.wait_for('a login', lambda: 'status=sent' in w.log(), 10)
        check('the password is in use', {r.split()[0] for r in holders(w, passwords[0])} <= {'master', 'relay'} and holders(w, passwords[0]), holders(w, passwords[0]))
        w.shown()
        pairs = ['good', 'wild', 'rsa3072']
        for at in (1, 2):
            old, new = passwords[at - 1], passwords[at]
            provider.options['pass'] = new.decode()
            w.put_text(row(new), 'passwd')
            rig.wait_for('the password to be in force', lambda new=new: any(h.startswith('relay') for h in holders(w, new)), 5)
            deliver(w)
            rig.wait_for('another login', lambda at=at: w.log().count('status=sent') > at, 10)
            rig.wait_for(f'password {at} to be gone', lambda old=old: not holders(w, old), 5)
            check(f'the other row of the password file is there ({at})', any(h.startswith('relay') for h in holders(w, other)))
            w.put(pairs[at])
            rig.wait_for('the renewed pair', lambda at=at: w.shows(pairs[at]), 5, 0.01)
            gone = pem_needle(certs / f'{pairs[at - 1]}.key')
            rig.wait_for(f'key file {at} to be gone', lambda gone=gone: not holders(w, gone), 5)
            numbers = {name: v for name, v in integers(certs / f'{pairs[at - 1]}.key').items()}
            numbers.update({name + ' (words)': v[::-1] for name, v in list(numbers.items())})
            # the keys process signs with it for ten minutes more, for sessions that began before
            left = [f'{role} {pid}' for role, pid in everybody(w) if role != 'keys' and holds(pid, numbers)]
            check(f'nobody but keys has the numbers of key {at}', not left, left)
            have = pem_needle(certs / f'{pairs[at]}.key')
            check(f'the new key file is where it belongs ({at})', {r.split()[0] for r in holders(w, have)} == {'master', 'keys'}, holders(w, have))
        # a whole reload
        w.put_text(row(words('Fourth')), 'passwd')
        check('reload', w.gw.run('reload')[0] == 0)
        rig.wait_for('all passwords to be gone', lambda: not any(holders(w, p) for p in passwords), 5)


# ---- a pair that cannot be used

def test_refused():
    with World(start=False) as w:
        bad = {
            'mismatch': (lambda: w.put('good-ec', cert=False), 'cert.pem: the private key is not that of this certificate'),
            'missing key': (lambda: (w.tls / 'key.pem').unlink(), 'key.pem: No such file'),
            'missing certificate': (lambda: (w.tls / 'cert.pem').unlink(), 'cert.pem: No such file'),
            'unreadable': (lambda: ((w.tls / 'key.pem').unlink(), (w.tls / 'key.pem').mkdir()), 'key.pem: is a directory'),
            'expired': (lambda: w.put('expired'), 'cert.pem: the certificate has expired on 2021-01-01'),
            'exchanged': (lambda: (w.put_text((w.certs / 'good.key').read_bytes(), 'cert.pem'), w.put_text((w.certs / 'good.pem').read_bytes(), 'key.pem')),
                          'cert.pem: no certificate in it (but a private key'),
            'wrong order': (lambda: w.put_text((w.certs / 'ca.pem').read_bytes() + (w.certs / 'good.pem').read_bytes(), 'cert.pem'),
                            'cert.pem: the certificates are in the wrong order'),
            'password': (lambda: w.put('locked'), 'key.pem: the private key is protected by a password'),
            'empty': (lambda: w.put_text(b'', 'key.pem'), 'key.pem: no private key in it'),
            'cut off': (lambda: w.put_text((w.certs / 'good.pem').read_bytes()[:400], 'cert.pem'), 'cert.pem: is not what a PEM file looks like'),
        }

        def heal():
            if (w.tls / 'key.pem').is_dir():
                (w.tls / 'key.pem').rmdir()
            w.put('good')
        for name, (spoil, why) in bad.items():
            spoil()
            code, text = w.gw.run('check')
            check(f'check: {name}', code == 1 and why in text and 'main.cf:' in text, text)
            done = subprocess.run([PROGRAM, '-c', str(w.gw.etc), 'run'], capture_output=True, text=True, timeout=20)
            check(f'start: {name}', done.returncode == 1 and why in done.stderr, done.stderr)
            heal()
        w.gw.start(w.port)
        before = w.shows('good')
        check('the good pair is shown', before)
        for name, (spoil, why) in bad.items():
            since = w.gw.log_size()
            spoil()
            code, text = w.gw.run('reload')
            check(f'reload: {name}', code != 0 and why in text, text)
            check(f'reload: {name}: the pair before it is shown', w.shows('good'))
            rig.wait_for(f'{name} to be noticed', lambda: 'has changed and cannot be used' in w.gw.log_text(since), 5)
            check(f'watched: {name}', why.split(': ', 1)[1] in w.gw.log_text(since), w.gw.log_text(since))
            check(f'watched: {name}: in status', 'not in force: ' in w.gw.run('status')[1])
            heal()
            rig.wait_for(f'{name} to be forgotten', lambda: 'not in force: ' not in w.gw.run('status')[1], 5)
        check('the good pair is shown still', w.shows('good'))


# ---- renewal

def test_renewed():
    with World() as w:
        check('first', w.shows('good'))
        s = w.hello()  # a session that began before
        held = w.hello()
        held.starttls(context=unverified())
        held.ehlo()
        pids = sorted(rig.status_roles(w.gw.status()))
        began = time.monotonic()
        w.put('wild')
        rig.wait_for('the renewed pair', lambda: w.shows('wild'), 5, 0.01)
        took = time.monotonic() - began
        check(f'in use within a second ({took:.2f} s)', took < 1.3, took)
        check('no process was restarted', sorted(rig.status_roles(w.gw.status())) == pids)
        code, _ = held.docmd('NOOP')
        check('a TLS session goes on', code == 250, code)
        s.starttls(context=unverified())
        s.ehlo()
        check('a session that had not begun TLS can', s.docmd('NOOP')[0] == 250)
        for x in (s, held):
            x.quit()
        # one after the other, and long enough to be looked at alone
        since = w.gw.log_size()
        w.put('good-ec', key=False)
        rig.wait_for('the mismatch to be noticed', lambda: 'is not that of this certificate' in w.gw.log_text(since), 5)
        check('the pair before it is shown', w.shows('wild'))
        w.put('good-ec', cert=False)
        rig.wait_for('both', lambda: w.shows('good-ec'), 5, 0.02)
        check('nothing is out of force', 'not in force' not in w.gw.run('status')[1])
        check('one line about it', w.gw.log_text(since).count('cannot be used') == 1, w.gw.log_text(since))
        # key first
        since = w.gw.log_size()
        w.put('good', cert=False)
        rig.wait_for('the mismatch to be noticed', lambda: 'is not that of this certificate' in w.gw.log_text(since), 5)
        w.put('good', key=False)
        rig.wait_for('both', lambda: w.shows('good'), 5, 0.02)
        # dates
        w.put('soon')
        rig.wait_for('the short one', lambda: w.shows('soon'), 5, 0.02)
        text = w.gw.run('status')[1]
        check('a warning in status', re.search(r'^WARNING: certificate \S+cert\.pem: .*; until 20.* \(4 days left\)$', text, re.M), text)
        rows = w.gw.status()['certificates']
        check('status --json', len(rows) == 1 and rows[0]['days_left'] == 4 and rows[0]['warning'] is True and rows[0]['file'].endswith('cert.pem'), rows)
        code, text = w.gw.run('check')
        check('a warning of check', code == 0 and 'warning: ' in text and 'the certificate expires on' in text, text)
    with World('soon') as w:
        rig.wait_for('a line in the log', lambda: 'warning: certificate ' in w.gw.log_text(), 5)
        check('one line a day', w.gw.log_text().count(' expires on ') == 1 and '4 days left' in w.gw.log_text(), w.gw.log_text())


def unverified():
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ctx.check_hostname = False
    ctx.verify_mode = ssl.CERT_NONE
    return ctx


# ---- a certificate that runs out while it is in use

def short_lived(where, seconds):
    """A self-signed pair that has expired after that: (certificate, key, when)."""
    end = int(time.time()) + seconds
    (where / 'ca.conf').write_text('[ca]\ndefault_ca=c\n[c]\ndatabase=index.txt\nserial=serial.txt\nnew_certs_dir=.\ndefault_md=sha256\npolicy=p\n'
                                   '[p]\ncommonName=optional\n[req]\ndistinguished_name=dn\n[dn]\n')
    (where / 'index.txt').write_text('')
    (where / 'serial.txt').write_text('01\n')
    openssl('genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-out', 'k.pem', cwd=where)
    openssl('req', '-new', '-key', 'k.pem', '-subj', '/CN=gateway.test', '-config', 'ca.conf', '-out', 'r.pem', cwd=where)
    openssl('ca', '-batch', '-config', 'ca.conf', '-selfsign', '-keyfile', 'k.pem', '-startdate', time.strftime('%Y%m%d%H%M%SZ', time.gmtime(end - 86400)),
            '-enddate', time.strftime('%Y%m%d%H%M%SZ', time.gmtime(end)), '-notext', '-in', 'r.pem', '-out', 'c.pem', cwd=where)
    return (where / 'c.pem').read_bytes(), (where / 'k.pem').read_bytes(), end


def test_expires():
    """In use and expired since: tables change and reloads go through, with a warning; another that has expired, and a start, are refused."""
    with World(start=False, more='smtpd_client_restrictions = check_client_access texthash:$TLS/access\n') as w:
        w.put_text(b'10.0.0.1 OK\n', 'access')
        work = w.dir / 'short'
        work.mkdir()
        cert, key, end = short_lived(work, 4)
        w.put_text(cert, 'cert.pem')
        w.put_text(key, 'key.pem')
        code, text = w.gw.run('check')
        check('check warns before', code == 0 and 'warning: ' in text and 'the certificate expires on' in text and 'a start with it will be refused' in text, text)
        w.gw.start(w.port)
        der = ssl.PEM_cert_to_DER_cert(cert[cert.index(b'-----BEGIN'):].decode())
        check('it is shown', w.shown() == der)
        rig.wait_for('the end of it', lambda: time.time() > end + 0.1, 10)
        # a table
        since = w.gw.log_size()
        w.put_text(b'127.0.0.9 REJECT not you\n', 'access')
        rig.wait_for('the table to be in force', lambda: 'table' in w.gw.log_text(since), 5)
        check('the table is in force', 'cannot be used' not in w.gw.log_text(since), w.gw.log_text(since))
        w.put_text(b'10.0.0.1 OK\n', 'access')
        # reloads, of something else, and twice
        for name in ('first', 'second'):
            since = w.gw.log_size()
            w.gw.write('main.cf', (w.gw.etc / 'main.cf').read_text() + f'smtpd_banner = $myhostname ESMTP {name}\n')
            code, text = w.gw.run('reload')
            check(f'{name} reload', code == 0, text)
            check(f'{name} reload warns', re.search(r'warning: \S+cert\.pem: the certificate has expired on .* the next start is refused', w.gw.log_text(since)),
                  w.gw.log_text(since))
            check(f'{name} reload: still shown', w.shown() == der)
        code, text = w.gw.run('check')
        check('check says that a start would be refused', code == 1 and 'the certificate has expired on' in text, text)
        check('status says it', 'has expired on' in w.gw.run('status')[1])
        # another that has expired
        w.put('expired')
        code, text = w.gw.run('reload')
        check('a new one that has expired is refused', code != 0 and 'expired on 2021-01-01' in text and 'put a valid one (and its key) there' in text, text)
        check('the old one is shown', w.shown() == der)
        # the way out
        w.put('good')
        rig.wait_for('the renewed pair', lambda: w.shows('good'), 5)
        check('reload is clean', w.gw.run('reload')[0] == 0)
        # what was in force once is not any more
        w.put_text(cert, 'cert.pem')
        w.put_text(key, 'key.pem')
        code, text = w.gw.run('reload')
        check('nor the one before', code != 0 and 'the certificate has expired on' in text, text)
        check('the valid one is shown', w.shows('good'))
        w.put('good')
    with World('expired', start=False) as w:
        done = subprocess.run([PROGRAM, '-c', str(w.gw.etc), 'run'], capture_output=True, text=True, timeout=20)
        check('a start with it is refused, and says what to do', done.returncode == 1 and 'put a valid one (and its key) there, or make one with "dogana tls self-signed"' in done.stderr,
              done.stderr)


# ---- certificates by name

def test_names():
    """relay_clientcerts counts under a name of tls_server_sni_maps as without: the certificate, and only when it can be verified is it more."""
    certs = rig.certificates()

    def print_of(name):
        der = ssl.PEM_cert_to_DER_cert(re.search(r'-+BEGIN CERTIFICATE.*?END CERTIFICATE-+', (certs / f'{name}.pem').read_text(), re.S).group())
        return ':'.join(f'{c:02X}' for c in hashlib.sha256(der).digest())
    more = ('tls_server_sni_maps = inline:{{ a.sni.test=$CERTS/mx-a.chain }}\nsmtpd_tls_ask_ccert = yes\nsmtpd_tls_CAfile = $CERTS/ca.pem\n'
            f'smtpd_tls_fingerprint_digest = sha256\nsmtpd_tls_loglevel = 1\nrelay_clientcerts = inline:{{ {print_of("client")}=ok }}\n'
            'smtpd_relay_restrictions = permit_tls_clientcerts, check_ccert_access inline:{ ' + print_of('client2') + '=permit }, reject_unauth_destination\n')
    with World(more=more) as w:
        def rcpt(cert, name):
            ctx = unverified()
            ctx.load_cert_chain(certs / f'{cert}.pem', certs / f'{cert}.key')
            s = w.hello()
            s._host = name  # the name starttls() asks for
            try:
                s.starttls(context=ctx)
                s.ehlo()
                s.mail('a@b.test')
                return s.rcpt('x@elsewhere.test')[0], s.sock.getpeercert(True)
            finally:
                s.close()
        shown = set()
        for name in ('a.sni.test', 'gateway.test'):
            for cert, want in (('client', 250), ('client2', 250), ('long', 554), ('unknown', 554)):
                code, der = rcpt(cert, name)
                shown.add((name, der))
                check(f'{cert} at {name}: {want}', code == want or (want == 554 and code == 454), code)
        check('two certificates were shown', len({der for _, der in shown}) == 2 and len(shown) == 2, len(shown))
        text = w.gw.log_text()
        check('trusted under that name', 'Trusted TLS connection established from unknown[127.0.0.9] to a.sni.test' in text, text[-2000:])


# ---- the process dies, stops, is not needed

def test_dies():
    with World() as w:
        for _ in range(3):
            pid = w.pids('keys')[0]
            os.kill(pid, signal.SIGKILL)
            began = time.monotonic()
            rig.wait_for('TLS to work again', lambda: w.shows('good'), 8, 0.01)
            took = time.monotonic() - began
            check(f'killed: back in {took * 1000:.0f} ms', took < 3, took)
            check('killed: another process', w.pids('keys')[0] != pid)
        # stopped
        pid = w.pids('keys')[0]
        os.kill(pid, signal.SIGSTOP)
        longest = 0
        answers = set()
        end = time.monotonic() + 5
        while time.monotonic() < end:
            began = time.monotonic()
            s = w.hello(10)
            try:
                s.starttls(context=unverified())
                answers.add('handshake')
            except smtplib.SMTPException as e:
                answers.add(str(getattr(e, 'smtp_code', e)))
            except OSError as e:
                answers.add(type(e).__name__)
            finally:
                s.close()
            longest = max(longest, time.monotonic() - began)
        check(f'stopped: at most 2 s once for each of two edges ({longest:.2f} s)', longest < 5, longest)
        quick = []
        for _ in range(20):
            began = time.monotonic()
            w.hello().quit()
            quick.append(time.monotonic() - began)
        check(f'stopped: plain sessions go on (slowest {max(quick) * 1000:.0f} ms)', max(quick) < 1, quick)
        s = w.hello()
        code, text = s.docmd('STARTTLS')
        check('stopped: 454', code == 454 and b'4.7.0 TLS not available due to local problem' in text, (code, text))
        s.close()
        os.kill(pid, signal.SIGCONT)
        rig.wait_for('TLS to work again', lambda: w.shows('good'), 5, 0.02)
        check('continued: the same process', w.pids('keys') == [pid])
        # not needed any more, and again
        main = (w.gw.etc / 'main.cf').read_text()
        w.gw.write('main.cf', main.replace('smtpd_tls_security_level = may', 'smtpd_tls_security_level = none'))
        check('reload without TLS', w.gw.run('reload')[0] == 0)
        rig.wait_for('keys to go', lambda: not w.pids('keys'), 5)
        w.gw.write('main.cf', main)
        check('reload with TLS', w.gw.run('reload')[0] == 0)
        check('TLS at once', w.shows('good'))


# ---- a first start

def test_self_signed():
    with World(start=False) as w:
        target = w.dir / 'first'
        code, text = w.gw.run('tls', 'self-signed', str(target))
        lines = [line for line in text.splitlines() if ' = ' in line and line.startswith('smtpd_tls_') and 'security_level' not in line]
        check('two lines', code == 0 and len(lines) == 2, text)
        check('modes', (target / 'key.pem').stat().st_mode & 0o777 == 0o600 and (target / 'cert.pem').stat().st_mode & 0o777 == 0o644)
        cert = openssl('x509', '-in', target / 'cert.pem', '-noout', '-text').decode()
        check('its names', 'DNS:gw.test' in cert and 'prime256v1' in cert and 'CA:FALSE' in cert, cert)
        key = (target / 'key.pem').read_bytes()
        code, text = w.gw.run('tls', 'self-signed', str(target))
        check('nothing is overwritten', code == 1 and 'is there already' in text and (target / 'key.pem').read_bytes() == key, text)
        (target / 'cert.pem').unlink()
        check('no key either', w.gw.run('tls', 'self-signed', str(target))[0] == 1 and not (target / 'cert.pem').exists())
        for words in (['--name', 'a b'], ['--name', 'x', '--years', '11'], ['--years', '0'], ['--name'], ['--bogus'], ['--name', 'a.,DNS:evil']):
            code, text = w.gw.run('tls', 'self-signed', *words, str(w.dir / 'none'))
            check(f'refused: {words}', code != 0 and not (w.dir / 'none' / 'key.pem').exists(), text)
        many = [word for i in range(101) for word in ('--name', f'h{i}.test')]
        code, text = w.gw.run('tls', 'self-signed', *many, str(w.dir / 'none'))
        check('too many names', code == 1 and 'no more than 100 names' in text and not (w.dir / 'none' / 'key.pem').exists(), text)
        old = os.umask(0)
        code, text = w.gw.run('tls', 'self-signed', '--name', 'mx.test', '--name', '192.0.2.1', '--years', '1', str(w.dir / 'second'))
        os.umask(old)
        check('whatever the umask', code == 0 and (w.dir / 'second/key.pem').stat().st_mode & 0o777 == 0o600, text)
        main = (w.gw.etc / 'main.cf').read_text()
        main = re.sub(r'smtpd_tls_(cert|key)_file = .*\n', '', main) + '\n'.join(lines) + '\n'
        w.gw.write('main.cf', main.replace(str(target), str(w.dir / 'second')))
        w.gw.start(w.port)
        got = w.shown()
        check('STARTTLS with it', got and b'mx.test' in got, got)


TESTS = (test_memory, test_replaced, test_refused, test_renewed, test_expires, test_names, test_dies, test_self_signed)


def main():
    global failed
    names = sys.argv[1:]
    for test in TESTS:
        if names and test.__name__.removeprefix('test_') not in names:
            continue
        began = time.monotonic()
        try:
            test()
        except (rig.Broken, OSError, subprocess.SubprocessError, smtplib.SMTPException, KeyError, IndexError) as e:
            check(test.__name__, False, repr(e))
        if os.environ.get('V'):
            print(f'{test.__name__}: {time.monotonic() - began:.1f} s')
    print(f'{passed} passed, {failed} failed, {skipped} skipped')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
