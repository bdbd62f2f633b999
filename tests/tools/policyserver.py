#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""A policy server (check_policy_service), for the dialogues.

    policyserver.py PORT|PATH [NAME=ACTION]...

The local part of the sender says what it does; NAME as given (with '~' for a blank). Otherwise the first word, to the '-':
echo-ATTRIBUTE: refuses with the attribute's value; conn: refuses with the number of the connection and of the question on it;
all: refuses with the names of all attributes; slow: answers after 2 seconds, as if it were DUNNO; dead: never; close: ends the
connection without an answer; last: DUNNO, and the connection ends; none, two, empty, ctl, nul, utf8, huge, endless, twice,
crlf: answers that are none. Anything else: DUNNO. Says "ready" when it listens.
"""

import sys
import time

from serving import serve_for_ever

PLACE = sys.argv[1]
ACTIONS = dict(a.replace('~', ' ').split('=', 1) for a in sys.argv[2:])
BAD = {
    'none': b'foo=bar\n\n', 'two': b'action=DUNNO\naction=REJECT\n\n', 'empty': b'action=\n\n', 'ctl': b'action=PREPEND X-A: b\rX-B: c\n\n',
    'nul': b'action=OK\0\n\n', 'utf8': b'action=REJECT \xff\n\n', 'huge': b'action=REJECT ' + b'x' * 100000 + b'\n\n', 'crlf': b'action=OK\r\n\r\n',
}


def questions(conn):
    lines = conn.makefile('rb')
    asked = {}
    for line in lines:
        line = line.rstrip(b'\n').decode('utf-8', 'replace')
        if line:
            name, _, value = line.partition('=')
            asked[name] = value
        else:
            yield asked
            asked = {}


def serve(conn, number):
    for count, asked in enumerate(questions(conn), 1):
        key = asked['sender'].partition('@')[0]
        word, _, rest = key.partition('-')
        if key in ACTIONS:
            answer = f'action={ACTIONS[key]}\n\n'.encode()
        elif word == 'echo':
            answer = f'action=REJECT [{asked[rest]}]\n\n'.encode()
        elif word == 'conn':
            answer = f'action=REJECT {number}.{count}\n\n'.encode()
        elif word == 'all':
            answer = f'action=REJECT {" ".join(asked)}\n\n'.encode()
        elif word in BAD:
            answer = BAD[word]
        elif word == 'endless':
            while True:
                conn.sendall(b'x' * 4096)
        elif word == 'twice':
            answer = b'action=DUNNO\n\naction=REJECT this is for nobody\n\n'
        elif word == 'dead':
            time.sleep(3600)
        elif word == 'close':
            break
        else:
            if word == 'slow':
                time.sleep(2)
            answer = b'action=DUNNO\n\n'
        conn.sendall(answer)
        if word == 'last':
            break
    conn.close()


serve_for_ever(PLACE, serve)
