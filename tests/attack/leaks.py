#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Passwords under load, both ways; then every file the gateway wrote is searched for them: raw, base64 in three alignments, hex, URL form.

    leaks.py [SECONDS]

Clients log in with good and bad passwords, in the clear and in TLS, are cut off in the middle, and type passwords where a command belongs; the
gateway logs in at hubs that take it, refuse it and repeat it. Verbosity is the highest there is. Searched are the log, the spool, the data directory, what hubs got
(bounces too), what clients were told, /proc/PID/environ and cmdline of every process, and the output of the commands. Attacks S01, S02, S03.
Last line: N passed, N failed.
"""

import base64
import os
import pathlib
import random
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.parse

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / 'tests/tools'))
import rig  # noqa: E402
from provider import Provider  # noqa: E402

passed = failed = 0


def check(what, ok, detail=''):
    global passed, failed
    passed, failed = passed + bool(ok), failed + (not ok)
    if not ok:
        print(f'FAILED {what}: {str(detail)[:3000]}', flush=True)


def secret(name):
    return f'{name}+{"".join(random.choices("abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789", k=14))}/%{random.randrange(1000)}&'


def forms(password):
    """What a leak could look like: name -> octets."""
    p = password.encode()
    out = {'raw': p, 'hex': p.hex().encode(), 'HEX': p.hex().upper().encode(), 'URL': urllib.parse.quote(password, safe='').encode(),
           'url': urllib.parse.quote(password, safe='').lower().encode(), 'xtext': b''.join(b'+%02X' % c if c in b'+=%/&' else bytes([c]) for c in p)}
    for skip in range(3):
        text = base64.b64encode(b'\0' * skip + p)
        begin = (skip * 8 + 5) // 6  # the first that depends on nothing before it
        end = (skip + len(p)) * 8 // 6
        out[f'base64 at {skip}'] = text[begin:end]
    return out


class Search:
    def __init__(self, passwords):
        self.needles = [(pw, name, octets) for pw in passwords for name, octets in forms(pw).items()]

    def find(self, data):
        return [f'{pw} ({name})' for pw, name, octets in self.needles if octets in data]

    def file(self, path):
        try:
            return self.find(path.read_bytes())
        except OSError:
            return []

    def tree(self, top, but=()):
        """{file: what was found}; every file below, holes and all."""
        out = {}
        for path in sorted(pathlib.Path(top).rglob('*')):
            if path.is_file() and path not in but:
                found = self.file(path)
                if found:
                    out[str(path)] = found
        return out


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
relay_domains = hub.test, good.test, bad.test, again.test, token.test, clear.test
transport_maps = inline:{ hub.test=smtp:[127.0.0.1]:$HUB, good.test=smtp:[127.0.0.11]:$P, bad.test=hard:[127.0.0.12]:$P, again.test=smtp:[127.0.0.13]:$P,
 token.test=smtp:[127.0.0.14]:$P, clear.test=smtp:[127.0.0.15]:$P }
relayhost = [127.0.0.1]:$HUB
smtpd_recipient_restrictions =
smtpd_relay_restrictions = permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination
smtpd_error_sleep_time = 0
smtpd_client_connection_count_limit = 200
smtpd_forbid_unauth_pipelining = no
queue_directory = $DIR/queue
data_directory = $DIR/data
maillog_file = /dev/stdout
queue_minfree = 0
minimal_backoff_time = 1s
queue_run_delay = 1s
notify_classes = bounce, delay, policy, protocol, resource, software, 2bounce
debug_peer_list = 0.0.0.0/0
debug_peer_level = 9
smtpd_tls_loglevel = 4
smtp_tls_loglevel = 4
smtpd_tls_security_level = may
smtpd_tls_cert_file = $CERTS/good.pem
smtpd_tls_key_file = $CERTS/good.key
smtpd_sasl_auth_enable = yes
smtpd_sasl_authenticated_header = yes
smtpd_sasl_local_domain = gw.test
smtpd_sasl_failure_delay = 0s
smtpd_sasl_lockout_limit = 0
smtpd_sasl_lockout_client_limit = 0
cyrus_sasl_config_path = $DIR/sasl
smtp_tls_security_level = may
smtp_sasl_auth_enable = yes
smtp_sasl_password_maps = hash:$DIR/secret/passwd
smtp_sasl_oauth2_token_maps = inline:{ [127.0.0.14]:$P=anna:$DIR/secret/token }
smtp_sasl_security_options = noanonymous
'''

MASTER = '''\
127.0.0.1:$PORT inet n - n - - smtpd
127.0.0.1:$SAFE inet n - n - - smtpd -o smtpd_tls_auth_only=yes -o smtpd_sasl_security_options=noplaintext,noanonymous
hard unix - - n - - smtp -o smtp_sasl_auth_soft_bounce=no
'''


class World:
    def __init__(self):
        self.dir = rig.workdir('leaks')
        self.certs = rig.certificates()
        self.user = {'good': secret('User'), 'bad': secret('Wrong'), 'typed': secret('Typed'), 'cut': secret('Cut')}
        self.hubs = {'good': secret('Hub'), 'bad': secret('Refused'), 'again': secret('Later'), 'token': secret('Token'), 'clear': secret('Clear')}
        port = rig.free_ports(1)[0]
        cert = {'cert': str(self.certs / 'good.pem'), 'key': str(self.certs / 'good.key'), 'tls': 'starttls'}
        self.providers = [
            Provider(port, dict(cert, auth='plain,login', user='anna', **{'pass': self.hubs['good']}), '127.0.0.11'),
            Provider(port, dict(cert, auth='plain', user='anna', refuse='535_5.7.8_wrong:_%_($)', **{'pass': 'another'}), '127.0.0.12'),
            Provider(port, dict(cert, auth='login', user='anna', refuse='454_4.7.0_later:_%_($)', **{'pass': 'another'}), '127.0.0.13'),
            Provider(port, dict(cert, auth='xoauth2,oauthbearer', user='anna', refuse='535_5.7.8_no:_%_($)', **{'pass': 'another'}), '127.0.0.14'),
            Provider(port, dict(auth='plain,cram-md5,scram-sha-256', user='anna', when='always', tls='none', **{'pass': self.hubs['clear']}), '127.0.0.15'),
        ]
        self.hub = rig.Hub(self.dir / 'hub', ['0'])
        self.port, self.safe = rig.free_ports(2)
        hidden = self.dir / 'secret'
        hidden.mkdir(mode=0o700)
        rows = [f'[127.0.0.{11 + i}]:{port} anna:{self.hubs[name]}\n' for i, name in enumerate(('good', 'bad', 'again', 'token', 'clear')) if name != 'token']
        (hidden / 'passwd').write_text(''.join(rows))
        (hidden / 'token').write_text(self.hubs['token'] + '\n')
        for p in hidden.iterdir():
            p.chmod(0o600)
        sasl = self.dir / 'sasl'
        sasl.mkdir()
        subprocess.run([rig.tool('saslpass'), sasl / 'sasldb2', 'gw.test', 'anna', self.user['good']], check=True)
        os.chmod(sasl / 'sasldb2', 0o644)
        (sasl / 'smtpd.conf').write_text(f'pwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: {sasl}/sasldb2\nmech_list: PLAIN LOGIN CRAM-MD5 SCRAM-SHA-256\n'
                                         'log_level: 7\n')
        self.own = {hidden / 'passwd', hidden / 'token', sasl / 'sasldb2'}

        def fill(text):
            for name, value in (('$DIR', self.dir), ('$CERTS', self.certs), ('$PORT', self.port), ('$SAFE', self.safe), ('$HUB', self.hub.ports[0]), ('$P', port)):
                text = text.replace(name, str(value))
            return text
        self.gw = rig.Gateway(self.dir / 'gw', fill(MAIN), fill(MASTER))
        self.gw.expect_deaths = True
        self.told = bytearray()
        self.lock = threading.Lock()
        self.counts = {}
        old = os.umask(0)  # modes must not depend on it
        self.gw.start(self.port)
        os.umask(old)

    def hear(self, data, what=None):
        with self.lock:
            self.told += data
            if what:
                key = f'{what} {data[:3].decode("latin-1")}'
                self.counts[key] = self.counts.get(key, 0) + 1


class Client:
    def __init__(self, w, port=None):
        self.w = w
        self.s = socket.create_connection(('127.0.0.1', port or w.port), 5, ('127.0.0.2', 0))
        self.s.settimeout(15)
        self.buf = b''
        self.reply()
        self.say('EHLO client.test')

    def reply(self, what=None):
        while True:
            lines = self.buf.split(b'\n')
            for i, line in enumerate(lines[:-1]):
                if line[3:4] != b'-':
                    got, self.buf = b'\n'.join(lines[:i + 1]) + b'\n', b'\n'.join(lines[i + 1:])
                    self.w.hear(got, what)
                    return got
            more = self.s.recv(65536)
            if not more:
                raise OSError('closed')
            self.buf += more

    def say(self, line, what=None):
        self.s.sendall((line if isinstance(line, bytes) else line.encode()) + b'\r\n')
        return self.reply(what)

    def starttls(self):
        self.say('STARTTLS')
        ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        ctx.check_hostname = False
        ctx.verify_mode = ssl.CERT_NONE
        self.s = ctx.wrap_socket(self.s)
        self.say('EHLO client.test')

    def close(self):
        self.s.close()


def b64(text):
    return base64.b64encode(text.encode()).decode()


def log_in(c, how, user, password):
    if how == 'plain':
        return c.say('AUTH PLAIN ' + b64(f'\0{user}\0{password}'), 'plain')
    if how == 'plain later':
        c.say('AUTH PLAIN')
        return c.say(b64(f'\0{user}\0{password}'), 'plain')
    if how == 'login':
        c.say('AUTH LOGIN')
        c.say(b64(user))
        return c.say(b64(password), 'login')
    c.say('AUTH LOGIN ' + b64(user))
    return c.say(b64(password), 'login')


def send(c, rcpts, sender='anna@hub.test'):
    c.say(f'MAIL FROM:<{sender}>')
    for r in rcpts:
        c.say(f'RCPT TO:<{r}>')
    c.say('DATA')
    return c.say(b'Subject: x\r\n\r\nbody\r\n.', 'message')


def one_round(w, rnd):
    u = w.user
    how = rnd.choice(['plain', 'plain later', 'login', 'login first'])
    kind = rnd.randrange(8)
    c = Client(w, w.safe if kind == 7 else None)
    try:
        if rnd.random() < 0.5 and kind != 7:
            c.starttls()
        if kind <= 2:
            log_in(c, how, 'anna', u['good'])
            send(c, [f'r@{rnd.choice(["good", "bad", "again", "token", "clear", "hub"])}.test', 'x@elsewhere.test'])
            c.say('QUIT')
        elif kind == 3:
            for _ in range(3):
                log_in(c, how, rnd.choice(['anna', 'nobody', 'anna@gw.test']), u['bad'])
            c.say('QUIT')
        elif kind == 4:  # the password where a command belongs, as a name, as an address, as a parameter
            for line in (u['typed'], b64(u['typed']), b64(f'\0anna\0{u["typed"]}'), f'AUTH {b64(u["typed"])}', f'AUTH PLAIN {b64(u["typed"])} {b64(u["typed"])}',
                         f'AUTH PLAIN {b64(u["typed"])}', 'AUTH LOGIN ' + b64('anna'), '*', f'AUTH PLAIN ={u["typed"]}', f'AUTH PLAIN {u["typed"]}'):
                c.say(line)
            c.say('QUIT')
        elif kind == 5:  # gone in the middle
            whole = f'AUTH PLAIN {b64(chr(0) + "anna" + chr(0) + u["cut"])}'
            c.s.sendall(whole[:rnd.randrange(12, len(whole))].encode())
        elif kind == 6:
            c.say('AUTH LOGIN')
            c.say(b64('anna'))
            c.s.sendall(b64(u['cut'])[:-3].encode() + (b'\r\n*\r\n' if rnd.random() < 0.5 else b''))
        else:  # where it is not offered: sent ahead all the same
            c.s.sendall(f'AUTH LOGIN\r\n{b64("anna")}\r\n{b64(u["good"])}\r\nAUTH PLAIN {b64(chr(0) + "anna" + chr(0) + u["good"])}\r\nQUIT\r\n'.encode())
            while True:
                c.reply()
    except OSError:
        pass
    finally:
        c.close()


def load(w, end, seed):
    rnd = random.Random(seed)
    while time.monotonic() < end:
        try:
            one_round(w, rnd)
        except OSError:
            time.sleep(0.02)


def processes(w):
    return [('master', w.gw.proc.pid)] + [r for r in rig.status_roles(w.gw.status())]


def modes(w):
    """S03: who may read what."""
    spool = w.dir / 'queue/spool'
    check('spool is for its owner alone', spool.stat().st_mode & 0o777 == 0o700, oct(spool.stat().st_mode))
    for top in (w.dir / 'queue', w.dir / 'data'):
        for path in [top, *top.rglob('*')]:
            mode = path.lstat().st_mode
            check(f'{path}: nobody else may write', mode & 0o022 == 0 or path.is_symlink() or (path.is_socket() and mode & 0o002 == 0), oct(mode))
            if spool in path.parents and path.is_file():
                check(f'{path}: nobody else may read', mode & 0o077 == 0 or mode & 0o007 == 0, oct(mode))


def look(w, find):
    for role, pid in processes(w):
        for name in ('environ', 'cmdline'):
            try:
                data = pathlib.Path(f'/proc/{pid}/{name}').read_bytes()
            except OSError:
                continue
            check(f'{role}: {name}', not find.find(data), find.find(data))
    ids = [m.get('queue_id') or m.get('id') for m in w.gw.queue()]
    commands = [('status',), ('status', '--json'), ('check',), ('conf',), ('conf', '-n'), ('conf', '-M'), ('conf', '-P'), ('queue', 'list'), ('queue', 'list', '--json'),
                ('explain', '--client', '127.0.0.1', '--from', 'anna@hub.test', '--to', 'r@good.test')] + [('queue', 'show', i) for i in ids[:5] if i]
    for words in commands:
        _, text = w.gw.run(*words)
        found = find.find(text.encode())
        check('dogana ' + ' '.join(words[:3]), not found, found)


def main():
    global failed
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 4
    seed = int(os.environ.get('SEED') or time.time())
    random.seed(seed)
    # the search itself finds what is there
    sample = secret('Sample')
    probe = Search([sample])
    for skip in range(3):
        check('the search works', probe.find(b'AUTH PLAIN ' + base64.b64encode(b'x' * skip + sample.encode() + b'tail')), skip)
    check('the search works', not probe.find(b'AUTH PLAIN ' + base64.b64encode(secret('Other').encode())))
    w = World()
    try:
        end = time.monotonic() + seconds
        threads = [threading.Thread(target=load, args=(w, end, seed + i)) for i in range(4)]
        for t in threads:
            t.start()
        time.sleep(seconds / 2)
        find = Search(list(w.user.values()) + list(w.hubs.values()))
        os.kill([pid for role, pid in processes(w) if role == 'edge'][0], signal.SIGSEGV)  # no core with a password in it either
        w.gw.run('reload')
        for t in threads:
            t.join()
        rig.wait_for('the bounces', lambda: 'status=bounced' in w.gw.log_text() and 'status=deferred' in w.gw.log_text(), 10)
        look(w, find)
        modes(w)
        w.gw.stop()
        log = w.gw.log_text()
        for what in ('plain 235', 'plain 535', 'login 235', 'login 535', 'message 250'):
            check(f'it happened: {what}', w.counts.get(what, 0) > 0, w.counts)
        check('it happened: logins at hubs', all(any('user=anna' in e.get('seen', '') for e in w.providers[i].events) for i in (0, 4)),
              [e for p in w.providers for e in p.events][:20])
        check('it happened: a refused login at a hub', 'SASL authentication failed' in log, log[-2000:])
        check('what clients were told', not find.find(bytes(w.told)), find.find(bytes(w.told)))
        leaks = find.tree(w.dir, w.own)
        for path, found in leaks.items():
            text = pathlib.Path(path).read_bytes()
            where = [line for line in text.splitlines() if any(octets in line for pw, name, octets in find.needles)]
            check(f'{path}', False, f'{found[:6]}\n    ' + '\n    '.join(repr(x[:300]) for x in where[:5]))
        check('files', not leaks)
        for top in (pathlib.Path('.'), w.dir):
            cores = [p for p in top.glob('core*')]
            check('no core files', not cores, cores)
        found = [t for t in w.gw.troubles() if 'killed by signal 11' not in t and 'SEGV' not in t and 'DEADLYSIGNAL' not in t]
        check('no trouble', not found, found)
    except (rig.Broken, OSError, subprocess.SubprocessError) as e:
        check('the run', False, repr(e))
    finally:
        w.gw.kill()
        w.hub.stop()
        if not os.environ.get('KEEP'):
            shutil.rmtree(w.dir, ignore_errors=True)
    if failed:
        print(f'SEED={seed}')
    print(f'{passed} passed, {failed} failed')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
