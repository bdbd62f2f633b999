#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Dovecot's auth server (facts 8.5), for the dialogues and the comparison with Postfix.

    authserver.py PORT|PATH [USER=PASSWORD]... [+OPTION]...

Mechanisms PLAIN, LOGIN, CRAM-MD5, ANONYMOUS and XOAUTH2 (any token "good"). Wrong passwords fail without a reason. Names of users
that do something else: slow: answers after 2 seconds; dead: never; temp: a temporary failure; disabled, reason: FAIL with such
a field; close: ends the connection; control: OK with a control character in the name; other: OK for an id that was
never used; early: OK before it was asked; huge: a line of 1 MB; garbage: a line that is none; nouser: OK without a name;
long: CONT with a long challenge; bad64: CONT with what is not base64; rename: OK as another user; two: OK with two names;
twice: OK, and OK again.
Options: +wrong-version, +login-socket (SPID before MECH), +no-mech, +mute (no greeting), +trickle (a byte at a time),
+close-after-greeting, +only=MECH.
Says "ready" when it listens.
"""

import base64
import hashlib
import hmac
import socket
import sys
import threading
import time

from serving import serve_for_ever

PLACE = sys.argv[1]
USERS = dict(a.split('=', 1) for a in sys.argv[2:] if not a.startswith('+'))
OPTIONS = {a for a in sys.argv[2:] if a.startswith('+')}
ONLY = [o.split('=')[1] for o in OPTIONS if o.startswith('+only=')]
MECHS = [('PLAIN', 'plaintext'), ('LOGIN', 'plaintext'), ('CRAM-MD5', 'dictionary\tactive'), ('ANONYMOUS', 'anonymous'),
         ('XOAUTH2', 'plaintext'), ('EXTERNAL', '')]
CHALLENGE = b'<1.2@test>'


class Server:
    def __init__(self, conn):
        self.conn = conn
        self.lock = threading.Lock()
        self.state = {}

    def say(self, text):
        data = text.encode('utf-8', 'surrogateescape') + b'\n'
        with self.lock:
            try:
                if '+trickle' in OPTIONS:
                    for i in range(len(data)):
                        self.conn.sendall(data[i:i + 1])
                        time.sleep(0.0005)
                else:
                    self.conn.sendall(data)
            except OSError:
                pass

    def greet(self):
        if '+mute' in OPTIONS:
            return
        self.say('VERSION\t2\t0' if '+wrong-version' in OPTIONS else 'VERSION\t1\t2')
        if '+login-socket' in OPTIONS:
            self.say('SPID\t1')
        if '+no-mech' not in OPTIONS:
            for name, props in MECHS:
                if not ONLY or name in ONLY:
                    self.say(f'MECH\t{name}\t{props}'.rstrip('\t'))
        self.say('SPID\t77\nCUID\t3\nCOOKIE\t0123456789abcdef\nDONE')

    def fail(self, rid, user, more=''):
        self.say(f'FAIL\t{rid}' + (f'\tuser={user}' if user else '') + more)

    def decide(self, rid, user, good):
        if user == 'slow':
            threading.Timer(2, self.say, [f'OK\t{rid}\tuser=slow']).start()
        elif user == 'dead':
            pass
        elif user == 'temp':
            self.fail(rid, user, '\ttemp')
        elif user == 'disabled':
            self.fail(rid, user, '\tuser_disabled')
        elif user == 'reason':
            self.fail(rid, user, '\treason=Go away')
        elif user == 'close':
            self.conn.shutdown(socket.SHUT_RDWR)
        elif user == 'control':
            self.say(f'OK\t{rid}\tuser=ev\001il')
        elif user == 'other':
            self.say(f'OK\t{int(rid) + 1000}\tuser=other')
        elif user == 'huge':
            self.say(f'OK\t{rid}\tuser=huge\tx=' + 'x' * 1000000)
        elif user == 'garbage':
            self.say('OK\tgarbage\tuser=garbage')
        elif user == 'nouser':
            self.say(f'OK\t{rid}')
        elif user == 'two':
            self.say(f'OK\t{rid}\tuser=two\tuser=three')
        elif user == 'twice':
            self.say(f'OK\t{rid}\tuser=twice\nOK\t{rid}\tuser=twice')
        elif user == 'rename':
            self.say(f'OK\t{rid}\tuser=anna\torig_user=rename')
        elif good:
            self.say(f'OK\t{rid}\tuser={user}')
        else:
            self.fail(rid, user)

    def step(self, rid, mech, data):
        first = rid not in self.state
        st = self.state.setdefault(rid, {'mech': mech})
        mech = st['mech']
        if mech == 'PLAIN':
            if data is None:
                return self.say(f'CONT\t{rid}\t')
            parts = data.split(b'\0')
            if len(parts) != 3:
                return self.fail(rid, '')
            user = parts[1].decode('utf-8', 'replace')
            return self.decide(rid, user, USERS.get(user) == parts[2].decode('utf-8', 'replace') and parts[0] in (b'', parts[1]))
        if mech == 'LOGIN':
            if data is None or (data == b'' and first):
                return self.say(f'CONT\t{rid}\t' + base64.b64encode(b'Username:').decode())
            if 'user' not in st:
                st['user'] = data.decode('utf-8', 'replace')
                if st['user'] == 'early':
                    return self.say(f'CONT\t{rid}\tUGFzc3dvcmQ6\nOK\t{rid}\tuser=early')
                if st['user'] == 'long':
                    return self.say(f'CONT\t{rid}\t' + base64.b64encode(b'L' * 300).decode())
                if st['user'] == 'bad64':
                    return self.say(f'CONT\t{rid}\t!!!')
                return self.say(f'CONT\t{rid}\tUGFzc3dvcmQ6')
            return self.decide(rid, st['user'], USERS.get(st['user']) == data.decode('utf-8', 'replace'))
        if mech == 'CRAM-MD5':
            if data is None:
                return self.say(f'CONT\t{rid}\t' + base64.b64encode(CHALLENGE).decode())
            user, _, digest = data.decode('utf-8', 'replace').rpartition(' ')
            want = hmac.new(USERS.get(user, '').encode(), CHALLENGE, hashlib.md5).hexdigest()
            return self.decide(rid, user, user in USERS and want == digest)
        if mech == 'ANONYMOUS':
            if data is None:
                return self.say(f'CONT\t{rid}\t')
            return self.say(f'OK\t{rid}\tuser=anonymous\tanonymous')
        if mech == 'XOAUTH2':
            if data is None:
                return self.say(f'CONT\t{rid}\t')
            if data == b'' and 'user' in st:
                return self.fail(rid, st['user'])
            fields = dict(f.split('=', 1) for f in data.decode('utf-8', 'replace').split('\1') if '=' in f)
            st['user'] = fields.get('user', '')
            if fields.get('auth') == 'Bearer good':
                return self.say(f'OK\t{rid}\tuser={st["user"]}')
            return self.say(f'CONT\t{rid}\t' + base64.b64encode(b'{"status":"invalid_token"}').decode())
        return self.fail(rid, '')

    def run(self):
        self.greet()
        for raw in self.conn.makefile('rb'):
            words = raw.rstrip(b'\n').decode('utf-8', 'surrogateescape').split('\t')
            if '+close-after-greeting' in OPTIONS and words[0] == 'AUTH':
                break
            try:
                if words[0] == 'AUTH':
                    resp = next((w[5:] for w in words[3:] if w.startswith('resp=')), None)
                    self.step(words[1], words[2].upper(), None if resp is None else base64.b64decode('' if resp == '=' else resp))
                elif words[0] == 'CONT':
                    self.step(words[1], None, base64.b64decode(words[2]))
                elif words[0] == 'CANCEL':
                    self.state.pop(words[1], None)
            except Exception as e:  # a client that talks nonsense is not served
                print('authserver:', raw, e, file=sys.stderr)
                break
        self.conn.close()


serve_for_ever(PLACE, lambda conn, _: Server(conn).run())
