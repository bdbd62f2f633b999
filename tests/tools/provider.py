#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""A mail provider on loopback: SMTP or LMTP with TLS and AUTH, and everything that can go wrong with either.

    provider.py PORT [OPTION=VALUE]... [+ ADDRESS [OPTION=VALUE]...]...

Prints "ready" when it listens on 127.0.0.1, and with other options on the same port of other loopback addresses; ends when killed.

    proto=smtp|lmtp   name=HOST (in greeting and EHLO)   log=FILE (a JSON line per event)
    tls=none|starttls|wrapped   cert=FILE key=FILE   max=1.2 (protocol)   ask=CAFILE (wants a client certificate)
    starttls=CODE TEXT (_ for blanks) | garbage | close | stall | early (a reply to MAIL before the handshake) | hidden
    linger=SECONDS (after 421 to STARTTLS it waits, notes what comes, and closes)
    auth=plain,login,cram-md5,scram-sha-1,scram-sha-256,xoauth2,oauthbearer   when=tls|clear|always   form=both (AUTH= too)
    user=NAME pass=SECRET   refuse=TEXT (535; _ for blanks, % is what the client sent last, decoded; $ as it came)
    trick=mail-close|data-cut (content cut off without close_notify)|challenge=BASE64|rounds|work=N|steal (says 235 at once)
    offer=TEXT (the AUTH line as it is)

The reply to a message tells what was seen: "250 2.0.0 Ok: tls=TLSv1.3 reused=no sni=a.test ccert=no args=SIZE user=bob mech=PLAIN".
As a module: Provider(port, options) with .events, a list of dictionaries.
"""

import base64
import hashlib
import hmac
import json
import re
import select
import socket
import ssl
import sys
import threading
import time

WAIT = 20.0


class Gone(Exception):
    pass


class Session:
    def __init__(self, provider, sock, number):
        self.p, self.o, self.sock, self.number = provider, provider.options, sock, number
        self.buf = b''
        self.tls = None
        self.sni = None
        self.user = self.mech = '-'
        self.last = ''
        self.mail = None

    # -- bytes

    def note(self, what, **more):
        self.p.note(dict(session=self.number, tls=self.tls, what=what, **more))

    def say(self, text):
        self.sock.sendall(text.encode('latin-1') + b'\r\n')

    def line(self):
        while b'\n' not in self.buf:
            got = self.sock.recv(65536)
            if not got:
                raise Gone()
            self.buf += got
        line, _, self.buf = self.buf.partition(b'\n')
        return line.rstrip(b'\r').decode('latin-1')

    def exactly(self, n):
        while len(self.buf) < n:
            got = self.sock.recv(65536)
            if not got:
                raise Gone()
            self.buf += got
        out, self.buf = self.buf[:n], self.buf[n:]
        return out

    # -- TLS

    def secure(self):
        ctx = self.p.context

        def on_sni(s, name, _):
            self.sni = name
        ctx.sni_callback = on_sni
        try:
            self.sock = ctx.wrap_socket(self.sock, server_side=True)
        except OSError as e:
            self.note('handshake', error=str(e))
            raise Gone()
        self.buf = b''
        self.tls = self.sock.version()
        self.note('secured', sni=self.sni, reused=self.sock.session_reused)

    def starttls(self):
        how = self.o.get('starttls', '220_2.0.0_Go_ahead')
        if how == 'close':
            raise Gone()
        if how == 'stall':
            self.say('220 2.0.0 Go ahead')
            try:
                while self.sock.recv(65536):
                    pass
            finally:
                raise Gone()
        if how == 'garbage':
            self.say('220 2.0.0 Go ahead\r\nthis is no handshake, and never will be one' + 'x' * 100)
            self.sock.recv(65536)  # else the kernel takes back what was said
            raise Gone()
        if how == 'early':
            self.sock.sendall(b'220 2.0.0 Go ahead\r\n250 2.1.0 injected\r\n')
            return self.secure()
        self.say(how.replace('_', ' '))
        if how.startswith('220'):
            self.secure()
        if how.startswith('421'):
            self.linger()

    def linger(self):
        end = time.monotonic() + float(self.o.get('linger', '0'))
        while (left := end - time.monotonic()) > 0 and select.select([self.sock], [], [], left)[0]:
            got = self.sock.recv(65536)
            if not got:
                break
            self.note('behind 421', octets=got.decode('latin-1'))
        raise Gone()

    # -- AUTH

    def mechs(self):
        when = self.o.get('when', 'always')
        if (when == 'tls' and not self.tls) or (when == 'clear' and self.tls):
            return []
        return [m.upper() for m in self.o.get('auth', '').split(',') if m]

    def answer(self, challenge):
        self.say('334 ' + (challenge if isinstance(challenge, str) else base64.b64encode(challenge).decode()))
        line = self.line()
        self.note('response', line=line)
        if line == '*':
            raise ValueError('cancelled')
        self.last = line
        return base64.b64decode(line)

    def check(self, user, password):
        return user == self.o.get('user') and password == self.o.get('pass')

    def auth_plain(self, first):
        data = first if first is not None else self.answer(b'')
        _, user, password = data.decode().split('\0')
        return user, self.check(user, password)

    def auth_login(self, first):
        user = (first if first is not None else self.answer(b'Username:')).decode()
        return user, self.check(user, self.answer(b'Password:').decode())

    def auth_cram_md5(self, first):
        challenge = b'<1.2@provider>'
        user, _, digest = self.answer(challenge).decode().rpartition(' ')
        return user, self.check(user, self.o['pass']) and digest == hmac.new(self.o['pass'].encode(), challenge, 'md5').hexdigest()

    def scram(self, first, algorithm):
        def h(key, text):
            return hmac.new(key, text, algorithm).digest()
        bare = (first if first is not None else self.answer(b'')).decode().split(',', 2)[2]
        fields = dict(f.split('=', 1) for f in bare.split(','))
        work = int(self.o.get('trick', '').partition('work=')[2] or 4096)
        server_first = f'r={fields["r"]}xyz,s={base64.b64encode(b"salt1234").decode()},i={work}'
        final = self.answer(server_first.encode()).decode()
        without, _, proof = final.rpartition(',p=')
        salted = hashlib.pbkdf2_hmac(algorithm, self.o['pass'].encode(), b'salt1234', work)
        message = f'{bare},{server_first},{without}'.encode()
        key = h(salted, b'Client Key')
        want = bytes(a ^ b for a, b in zip(key, h(hashlib.new(algorithm, key).digest(), message)))
        good = base64.b64decode(proof) == want and self.check(fields['n'], self.o['pass'])
        if good:
            self.answer(b'v=' + base64.b64encode(h(h(salted, b'Server Key'), message)))
        return fields['n'], good

    def auth_scram_sha_1(self, first):
        return self.scram(first, 'sha1')

    def auth_scram_sha_256(self, first):
        return self.scram(first, 'sha256')

    def bearer(self, user, data):
        good = f'auth=Bearer {self.o["pass"]}'.encode() in data.split(b'\1') and user == self.o['user']
        if not good:
            self.answer(b'{"status":"invalid_token","scope":"mail"}')
        return user, good

    def auth_xoauth2(self, first):
        return self.bearer(first.split(b'\1')[0].decode()[5:], first)

    def auth_oauthbearer(self, first):
        return self.bearer(first.split(b',')[1].decode()[2:], first)

    def auth(self, words):
        mech = words[0].upper() if words else ''
        trick = self.o.get('trick', '')
        if mech not in self.mechs():
            self.say('504 5.5.4 no such mechanism')
            return
        try:
            if trick == 'steal':
                user, good = '?', True
            elif trick.startswith('challenge='):
                self.answer(trick[10:])
                user, good = '?', False
            elif trick == 'rounds':
                while True:
                    self.answer(b'more')
            else:
                first = None
                if len(words) > 1:
                    self.last = words[1]
                    first = b'' if words[1] == '=' else base64.b64decode(words[1])
                user, good = getattr(self, 'auth_' + mech.lower().replace('-', '_'))(first)
        except ValueError as e:
            self.say(f'501 5.7.0 Authentication aborted: {e}')
            return
        if good:
            self.user, self.mech = user, mech
            self.say('235 2.7.0 Authentication successful')
            return
        text = self.o.get('refuse', '535_5.7.8_Error:_authentication_failed:_bad_password').replace('_', ' ')
        plain = base64.b64decode(self.last or '').replace(b'\0', b' ').decode('latin-1')
        self.say(text.replace('%', plain).replace('$', self.last))

    # -- the dialogue

    def hello(self, arg):
        lines = [self.o.get('name', 'provider.test'), 'PIPELINING', 'SIZE 10000000', '8BITMIME', 'ENHANCEDSTATUSCODES']
        if self.o.get('tls') == 'starttls' and not self.tls and self.o.get('starttls') != 'hidden':
            lines.append('STARTTLS')
        mechs = ' '.join(self.mechs())
        if 'offer' in self.o:
            lines.append(self.o['offer'].replace('_', ' '))
        elif mechs:
            lines.append('AUTH ' + mechs)
            if self.o.get('form') == 'both':
                lines.append('AUTH=' + mechs)
        self.say('\r\n'.join(f'250{"-" if i + 1 < len(lines) else " "}{t}' for i, t in enumerate(lines)))

    def content(self):
        self.say('354 go on')
        if self.o.get('trick') == 'data-cut':
            self.line()
            raise Gone()
        lines = []
        while True:
            line = self.line()
            if line == '.':
                break
            lines.append(line[1:] if line.startswith('.') else line)
        ccert = 'yes' if self.tls and self.sock.getpeercert(True) else 'no'
        reused = 'yes' if self.tls and self.sock.session_reused else 'no'
        args = ','.join(re.sub(r'=\d+$', '', w) for w in self.mail.split()[1:])
        seen = f'tls={self.tls or "no"} reused={reused} sni={self.sni or "-"} ccert={ccert} args={args} user={self.user} mech={self.mech}'
        self.note('message', mail=self.mail, rcpt=self.rcpts, seen=seen, content='\n'.join(lines))
        for _ in range(len(self.rcpts) if self.o.get('proto') == 'lmtp' else 1):
            self.say(f'250 2.0.0 Ok: {seen}')
        self.mail = None

    def run(self):
        if self.o.get('tls') == 'wrapped':
            self.secure()
        self.say(f'220 {self.o.get("name", "provider.test")} ESMTP')
        while True:
            line = self.line()
            verb, _, arg = line.partition(' ')
            self.note('command', line=line)
            verb = verb.upper()
            if verb in ('EHLO', 'LHLO', 'HELO'):
                self.hello(arg)
            elif verb == 'STARTTLS' and self.o.get('tls') == 'starttls':
                self.starttls()
            elif verb == 'AUTH':
                self.auth(arg.split())
            elif verb == 'MAIL':
                if self.o.get('trick') == 'mail-close':
                    raise Gone()
                self.mail, self.rcpts = arg, []
                self.say('250 2.1.0 Ok')
            elif verb == 'RCPT':
                self.rcpts.append(arg)
                self.say('250 2.1.5 Ok')
            elif verb == 'DATA':
                self.content()
            elif verb == 'RSET':
                self.say('250 2.0.0 Ok')
            elif verb == 'QUIT':
                self.say('221 2.0.0 Bye')
                raise Gone()
            else:
                self.say('502 5.5.2 what?')


class Provider:
    def __init__(self, port=0, options=None, address='127.0.0.1'):
        self.options = options or {}
        self.events = []
        self.lock = threading.Lock()
        self.log = open(self.options['log'], 'a') if 'log' in self.options else None
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((address, port))
        self.listener.listen(100)
        self.port = self.listener.getsockname()[1]
        self.context = None
        if self.options.get('cert'):
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.set_ciphers('ALL:@SECLEVEL=0')
            self.context.load_cert_chain(self.options['cert'], self.options.get('key') or None)
            if self.options.get('max') == '1.2':
                self.context.maximum_version = ssl.TLSVersion.TLSv1_2
            if 'ask' in self.options:
                self.context.verify_mode = ssl.CERT_OPTIONAL
                self.context.load_verify_locations(self.options['ask'])
        self.sessions = 0
        threading.Thread(target=self.accept, daemon=True).start()

    def note(self, event):
        with self.lock:
            self.events.append(event)
            if self.log:
                self.log.write(json.dumps(event) + '\n')
                self.log.flush()

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.sessions += 1
            threading.Thread(target=self.serve, args=(sock, self.sessions), daemon=True).start()

    def serve(self, sock, number):
        sock.settimeout(WAIT)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        session = Session(self, sock, number)
        session.note('connect')
        try:
            session.run()
        except (Gone, OSError, ssl.SSLError, UnicodeError, IndexError, ValueError, AttributeError) as e:
            session.note('end', error=repr(e))
        finally:
            try:
                session.sock.close()
            except OSError:
                pass

    def stop(self):
        self.listener.close()


def main():
    words = []
    for word in [*sys.argv[2:], '+']:
        if word != '+':
            words.append(word)
            continue
        Provider(int(sys.argv[1]), dict(w.partition('=')[::2] for w in words if '=' in w), next((w for w in words if '=' not in w), '127.0.0.1'))
        words = []
    print('ready', flush=True)
    threading.Event().wait()


if __name__ == '__main__':
    main()
