#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""clamd.py PORT - what a gateway sees of clamd, for the dialogues: VERSION and INSTREAM; whatever has the word EICAR in it is infected,
LOCKED encrypted. Says "ready" when it listens."""

import socket
import struct
import sys
import threading


def exactly(conn, n):
    data = b''
    while len(data) < n:
        more = conn.recv(n - len(data))
        if not more:
            raise OSError('gone')
        data += more
    return data


def serve(conn):
    try:
        word = b''
        while not word.endswith(b'\0'):
            word += exactly(conn, 1)
        if word == b'zVERSION\0':
            conn.sendall(b'ClamAV 1.0.0/27000/Mon Jan  1 00:00:00 2024\0')
            return
        content = b''
        while n := struct.unpack('>I', exactly(conn, 4))[0]:
            content += exactly(conn, n)
        conn.sendall(b'stream: Eicar-Test-Signature FOUND\0' if b'EICAR' in content else b'stream: Heuristics.Encrypted.Zip FOUND\0' if b'LOCKED' in content
                     else b'stream: OK\0')
    except OSError:
        pass
    finally:
        conn.close()


def main():
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(('127.0.0.1', int(sys.argv[1])))
    server.listen(50)
    print('ready', flush=True)
    while True:
        conn, _ = server.accept()
        threading.Thread(target=serve, args=(conn,), daemon=True).start()


main()
