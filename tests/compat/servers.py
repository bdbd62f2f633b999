#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""postmap -q of Debian's Postfix (make peers) and ours at the same servers and databases: tcp, socketmap, sqlite.

    servers.py [--runs N] [--seed S]        N random queries of SQLite databases after the fixed replies
What a server is told must be the same byte for byte, what it may answer means the same. Exit status: 1 if something differs.
"""

import argparse
import os
import pathlib
import random
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading

TOP = pathlib.Path(__file__).resolve().parents[2]
PEERS = pathlib.Path(os.environ.get('PEERS') or TOP / 'build/peers')
THEIRS = PEERS / 'bin/postmap'
OURS = TOP / 'build/dogana'

TCP = [b'200 x\n', b'200\n', b'200 \n', b'200\tx\n', b'200  two  \n', b'299 x\n', b'100 x\n', b'600 x\n', b'500 \n', b'500\n', b'200 a%zz\n',
       b'200 a%4\n', b'200 a%20b%25\n', b'400 x\n', b'2a0 x\n', b'200x y\n', b'200 ' + b'x' * 4091 + b'\n', b'200 ' + b'x' * 4092 + b'\n',
       b'200 caf\xc3\xa9\n', b'200 caf\xe9\n', b'200 x\n200 y\n', b'\n']
SOCKETMAP = [b'5:OK hi,', b'3:OK ,', b'8:NOTFOUND,', b'9:NOTFOUND ,', b'4:TEMP,', b'8:TEMP why,', b'11:TIMEOUT why,', b'8:PERM why,', b'05:OK hi,',
             b'5:ok hi,', b'0:,', b'5:OK hi;', b'7:OK h\0i,', b'6:OK a,b,', b'5: OK h,', b'5:OK hi,\n', b'x', b'11:GARBAGE hi,', b'5:OK hi', b'',
             b'100000:OK ' + b'x' * 99997 + b',', b'100001:OK ' + b'x' * 99998 + b',', b'6:OK \xe9y,', b':,', b'99999999999:OK']
KEYS = ['key', 'a b', 'a%b', '\u00e9', 'a\tb', 'a\x7fb', 'UPPER@Case', "o'x", 'a=b&c', '"q q"@x', 'a,b:c']



class Server:
    """Says one thing to everybody and remembers what it was asked first."""

    def __init__(self):
        self.sock = socket.socket()
        self.sock.bind(('127.0.0.1', 0))
        self.sock.listen(64)
        self.port = self.sock.getsockname()[1]
        self.reply, self.asked = b'', []
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            c, _ = self.sock.accept()
            c.settimeout(5)
            try:
                self.asked.append(c.recv(9999))
                c.sendall(self.reply)
                if self.reply[-1:] in (b'\n', b','):
                    c.recv(10)
            except OSError:
                pass
            c.close()


def query(program, conf, table, key):
    p = subprocess.run([program, '-c', conf, '-q', key, table], capture_output=True, timeout=60)
    return 'found' if p.returncode == 0 else 'error' if b'fatal' in p.stderr else 'none', p.stdout, p.stderr.decode(errors='replace')


class Differ:
    def __init__(self, conf, postmap):
        self.conf, self.postmap, self.server = conf, postmap, Server()
        self.asked = self.failed = 0

    def both(self, table, key, what):
        said = []
        for program in (THEIRS, self.postmap):
            self.server.asked.clear()
            said.append((query(program, self.conf, table, key), self.server.asked[:1]))
        self.asked += 1
        (theirs, told), (ours, told_us) = said
        if theirs[:2] != ours[:2] or told != told_us:
            self.failed += 1
            print(f'{what}: {key!r}\n  Postfix {theirs[0]} {theirs[1][:200]} {theirs[2][-300:]}{told}\n  Dogana  {ours[0]} {ours[1][:200]} {ours[2][-300:]}{told_us}')

    def servers(self):
        for table, replies, none in ((f'tcp:127.0.0.1:{self.server.port}', TCP, b'500 x\n'),
                                     (f'socketmap:inet:127.0.0.1:{self.server.port}:name', SOCKETMAP, b'9:NOTFOUND ,')):
            for self.server.reply in replies:
                self.both(table, 'key', f'{table}: reply {self.server.reply[:60]!r}')
            self.server.reply = none
            for key in KEYS:
                self.both(table, key, table)


VALUES = ['user@dom.ain', '@dom.ain', 'user', 'u@a.b.c.d', 'dom.ain', "o'x@dom.ain", 'A@DOM.AIN', 'a@b@c.d', 'x@.a', 'x@a.', 'x@a..b', '100%@x.y',
          '"q q"@x.y', '5', '\u00e9@dom.ain', 'a\\b@x.y', 'user@other.net', '@', 'multi@dom.ain', 'empty@dom.ain', 'null@dom.ain', 'nobody@dom.ain']
QUERIES = ["SELECT v FROM t WHERE k = '%s'", "SELECT v FROM t WHERE k = lower('%s')", "SELECT '%u|%d'", "SELECT '%s|%u'", "SELECT '%1'",
           "SELECT '%2.%1|%d'", "SELECT '%S|%U|%D'", "SELECT '%3'", "SELECT 'lit%%' WHERE '%s' LIKE '%%dom%%'", "SELECT v FROM n WHERE k = '%s'",
           "SELECT v FROM t WHERE k = '%u@%d'", "SELECT 1 WHERE '%d' = 'dom.ain'", "SELECT v FROM t WHERE k LIKE '%%%d' ORDER BY v LIMIT 2",
           "SELECT 'it''s %s'", "SELECT v\n FROM t\n WHERE k = '%s'"]
FORMATS = [None, None, '[%s]', '%u', '%d', '%s;%U', '%s;%D;%1', '%%%s', 'x', '%S']
DOMAINS = [None, None, 'dom.ain', 'other.net, a.b.c.d', 'inline:{dom.ain=x}', '!dom.ain, b.c']
LIMITS = [None, None, '0', '1', '2', '3']


def database(path):
    with sqlite3.connect(path) as db:
        db.execute('CREATE TABLE t (k TEXT, v)')
        db.execute('CREATE TABLE n (k INTEGER, v TEXT)')
        db.executemany('INSERT INTO t VALUES (?, ?)', [(v.lower(), 'v-' + v) for v in VALUES[:-4]])
        db.executemany('INSERT INTO t VALUES (?, ?)', [('multi@dom.ain', v) for v in ('one@a.b', 'two', '', None, 7)] + [('empty@dom.ain', ''), ('null@dom.ain', None)])
        db.execute("INSERT INTO n VALUES (5, 'five')")
    db.close()


def sqlite(differ, where, runs, first):
    database(where / 'db')
    for seed in range(first, first + runs):
        r = random.Random(seed)
        rows = [('dbpath', where / 'db'), ('query', r.choice(QUERIES)), ('result_format', r.choice(FORMATS)), ('domain', r.choice(DOMAINS)),
                ('expansion_limit', r.choice(LIMITS))]
        text = ''.join(f'{name} = {value}\n' for name, value in rows if value is not None)
        (where / 'table').write_text(text)
        differ.both(f'sqlite:{where}/table', r.choice(VALUES), f'seed {seed}:\n{text}')
        if differ.failed > 5:
            break


def main():
    options = argparse.ArgumentParser()
    options.add_argument('--runs', type=int, default=100)
    options.add_argument('--seed', type=int)
    o = options.parse_args()
    if not THEIRS.exists():
        sys.exit('servers: no Postfix: make peers')
    with tempfile.TemporaryDirectory(prefix='dogana-servers-') as name:
        where = pathlib.Path(name)
        libraries = PEERS / 'root/usr/lib/postfix'
        (where / 'main.cf').write_text(f'''compatibility_level = 3.6
myhostname = mx.example.com
mail_owner = mail
setgid_group = uucp
smtputf8_enable = yes
queue_directory = {where}
data_directory = {where}/data
shlib_directory = {libraries}
meta_directory = {where}
''')
        (where / 'dynamicmaps.cf').write_text(f'sqlite\t{libraries}/postfix-sqlite.so\tdict_sqlite_open\n')
        postmap = where / 'postmap'
        postmap.symlink_to(OURS.resolve())
        differ = Differ(where, postmap)
        differ.servers()
        first = o.seed if o.seed is not None else random.randrange(1 << 30)
        if (libraries / 'postfix-sqlite.so').exists():
            sqlite(differ, where, o.runs, first)
        else:
            print('servers: no postfix-sqlite: make peers NAMES=postfix')
    print(f'servers: {differ.asked} questions (SQLite: from seed {first} on), {differ.failed} differ')
    return 1 if differ.failed else 0


if __name__ == '__main__':
    sys.exit(main())
