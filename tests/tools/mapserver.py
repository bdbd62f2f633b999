#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""A server of tcp or socketmap tables, for the dialogues.

    mapserver.py tcp|socketmap PORT|PATH [KEY=VALUE]...

In VALUE `~' is a blank. A key that is not given is not found, unless it begins with one of these words (in front of an '@' or not):
slow: answers after 2 seconds, as if it were OK; dead: never; garbage: something that is no reply; cut: half a reply, then
the connection ends; close: it ends without one; huge: a reply that is too long; twice: two replies; temp, timeout, perm:
such a reply; once: OK, and the connection ends after it. Says "ready" when it listens.
"""

import sys
import time
import urllib.parse

from serving import serve_for_ever

KIND, PLACE = sys.argv[1], sys.argv[2]
TABLE = {k: v.replace('~', ' ') for k, v in (a.split('=', 1) for a in sys.argv[3:])}


def pack(word, text=''):
    if KIND == 'socketmap':
        body = f'{word} {text}'.encode()
        return b'%d:%s,' % (len(body), body)
    code = {'OK': 200, 'NOTFOUND': 500, 'PERM': 500}.get(word, 400)
    return f'{code} {urllib.parse.quote(text, safe="@:.,[]")}\n'.encode()


def requests(conn):
    """Keys, one after the other."""
    data = b''
    while True:
        got = conn.recv(65536)
        if not got:
            return
        data += got
        while True:
            if KIND == 'socketmap':
                size, colon, rest = data.partition(b':')
                if not colon or len(rest) <= int(size):
                    break
                body, data = rest[:int(size)], rest[int(size) + 1:]
                yield body.partition(b' ')[2].decode()
            else:
                line, newline, rest = data.partition(b'\n')
                if not newline:
                    break
                data = rest
                yield urllib.parse.unquote(line.decode().partition(' ')[2])


def serve(conn, _):
    for key in requests(conn):
        word = key.partition('@')[0].partition('-')[0]
        if key in TABLE:
            conn.sendall(pack('OK', TABLE[key]))
        elif word == 'slow':
            time.sleep(2)
            conn.sendall(pack('OK', 'OK'))
        elif word == 'dead':
            time.sleep(3600)
        elif word == 'garbage':
            conn.sendall(b'hello world, 220\r\n')
        elif word == 'cut':
            conn.sendall(pack('OK', 'OK')[:4])
            break
        elif word == 'close':
            break
        elif word == 'huge':
            conn.sendall(pack('OK', 'x' * 200000))
        elif word == 'twice':
            conn.sendall(pack('OK', 'OK') * 2)
        elif word in ('temp', 'timeout', 'perm'):
            conn.sendall(pack(word.upper(), f'a {word} reason'))
        elif word == 'once':
            conn.sendall(pack('OK', 'OK'))
            break
        else:
            conn.sendall(pack('NOTFOUND', 'not found'))
    conn.close()


serve_for_ever(PLACE, serve)
