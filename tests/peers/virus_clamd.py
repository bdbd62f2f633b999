# SPDX-License-Identifier: BSD-2-Clause
"""A clamd that lies, and one that is asked too much."""

import os
import shutil
import socket
import struct
import threading
import time

import rig
from cases import case
from milterdriver import headers
from rig import wait_for
from virus_world import FOUND, Filter, attached, clean, expect, mail


class Clamd:
    """A fake clamd: serve(conn) gets each connection; VERSION is answered unless it says otherwise."""

    def __init__(self, path, serve, version=b'ClamAV 1.0.0/27000/Mon Jan  1 00:00:00 2024\0'):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.bind(str(path))
        self.sock.listen(50)
        self.serve, self.version, self.scans = serve, version, 0
        self.path = path
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                conn, _ = self.sock.accept()
            except OSError:
                return
            threading.Thread(target=self.one, args=(conn,), daemon=True).start()

    def one(self, conn):
        try:
            conn.settimeout(30)
            word = b''
            while not word.endswith(b'\0'):
                word += conn.recv(1)
            if word == b'zVERSION\0':
                conn.sendall(self.version)
            else:
                self.scans += 1
                self.serve(conn)
        except OSError:
            pass
        finally:
            conn.close()

    def close(self):
        self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
        os.unlink(self.path)


def take_stream(conn):
    data = b''
    while True:
        head = b''
        while len(head) < 4:
            piece = conn.recv(4 - len(head))
            if not piece:
                raise OSError('short')
            head += piece
        n = struct.unpack('>I', head)[0]
        if n == 0:
            return data
        while n > 0:
            piece = conn.recv(n)
            if not piece:
                raise OSError('short')
            n -= len(piece)
            data += piece


def says(reply):
    def serve(conn):
        take_stream(conn)
        conn.sendall(reply)
    return serve


def trickles(conn):
    take_stream(conn)
    for c in b'stream: OK\0':
        conn.sendall(bytes([c]))
        time.sleep(1)


def half(conn):
    conn.recv(100)


def hangs(conn):
    take_stream(conn)
    time.sleep(20)


def early(conn):
    conn.sendall(b'stream: OK\0')
    take_stream(conn)


@case
def clamd_that_lies():
    where = rig.workdir('clamd')
    path = where / 'clamd'
    tempfail, large = '451 4.7.1 ', attached(os.urandom(3000000))
    settings = f'virus_engine = clamd:unix:{path}\nvirus_max_scan_time = 2s\nvirus_connect_timeout = 1s\nvirus_cache_size = 0'
    rows = [(says(b'stream: \0'), tempfail), (says(b'stream: OK'), tempfail), (says(b'OK\0'), tempfail), (says(b'stream: OKAY\0'), tempfail),
            (says(b'stream: OK\0stream: OK\0'), tempfail), (says(b'\xff\xfe garbage \r\n\0'), tempfail), (says(b'stream: scan ERROR\0'), tempfail),
            (says(b''), tempfail), (says(b'x' * 100000), tempfail), (trickles, tempfail), (half, tempfail), (hangs, tempfail), (early, tempfail),
            (says(b'INSTREAM size limit exceeded. ERROR\0'), 'unscanned: limits exceeded: larger than the StreamMaxLength of clamd'),
            (says(b'stream: Bad\r\nX: y FOUND\0'), 'virus: Bad__X:_y'), (says(b'stream: X\nY: z FOUND\0'), 'virus: X_Y:_z'),
            (says(b'stream: Heuristics.Encrypted.PDF FOUND\0'), 'attachment: encrypted content: Heuristics.Encrypted.PDF'),
            (says(b'stream: Heuristics.Limits.Exceeded.MaxFileSize FOUND\0'), 'unscanned: limits exceeded: Heuristics.Limits.Exceeded.MaxFileSize'),
            (says(b'stream: Eicar-Test-Signature FOUND\0'), FOUND)]
    try:
        for serve, wanted in rows:
            clamd = Clamd(path, serve)
            with Filter(settings) as f:
                for raw in (mail(b'hello\r\n'), large):
                    if serve is early and raw is not large:
                        continue  # it is all sent before anybody can know that the answer came before
                    answer = f.one(raw)
                    if wanted is tempfail:
                        assert answer.verdict == 'y' and answer.text.startswith(tempfail), (serve, answer)
                    else:
                        expect(answer, wanted, serve)
            clamd.close()
        clamd = Clamd(path, says(b'stream: OK\0'))
        with Filter(settings + '\nvirus_max_file_size = 5000') as f:  # clamd says OK of what is larger than its MaxFileSize, and has not scanned it
            expect(f.one(large), 'unscanned: limits exceeded: larger than virus_max_file_size', 'what clamd may not have scanned')
            clean(f.one(mail(b'small\r\n')), 'small')
        clamd.close()
        clamd = Clamd(path, says(b'stream: OK\0'))
        with Filter(settings) as f:
            answer = f.one(mail(b'hello\r\n'))
            clean(answer, 'OK')
            wait_for('its version', lambda: '27000' in headers(f.one(mail(b'hello\r\n')), 'X-Virus-Status')[0][1])
            clamd.close()
            for _ in range(8):
                answer = f.one(mail(b'nobody there\r\n'))
                assert answer.text.startswith(tempfail), answer
            assert 'virus_unavailable applies until it answers' in f.log_text()
            clamd = Clamd(path, says(b'stream: OK\0'))
            wait_for('it to come back', lambda: f.one(mail(b'again\r\n')).verdict == 'c', 10)
            assert 'clamd answers again' in f.log_text()
        clamd.close()
    finally:
        shutil.rmtree(where, ignore_errors=True)


@case
def clamd_is_not_overrun():
    """Sixty messages at once: some connections, the rest in line. All are scanned, and the clients of a clamd that is too slow are not kept for ever."""
    where = rig.workdir('clamd')
    path = where / 'clamd'
    settings = f'virus_engine = clamd:unix:{path}\nvirus_cache_size = 0\nvirus_wait_time = '
    now, most, gate, lock = [0], [0], threading.Event(), threading.Lock()

    def serve(conn):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        gate.wait(20)
        with lock:
            now[0] -= 1
        take_stream(conn)
        conn.sendall(b'stream: OK\0')

    def many(f, n):
        got = []
        threads = [threading.Thread(target=lambda k=k: got.append(f.one(mail(b'%d\r\n' % k)))) for k in range(n)]
        for t in threads:
            t.start()
        return got, threads

    clamd = Clamd(path, serve)
    try:
        with Filter(settings + '20s') as f:
            got, threads = many(f, 60)
            wait_for('as many connections as there may be', lambda: now[0] == 32)
            gate.set()
            for t in threads:
                t.join(20)
            assert len(got) == 60 and all(a.verdict == 'c' for a in got), got
            assert most[0] == 32, most
        gate.clear()
        with Filter(settings + '0s') as f:
            got, threads = many(f, 40)
            wait_for('who came too late', lambda: len(got) == 8)
            assert all(a.text.startswith('451 4.7.1 ') for a in got), got
            gate.set()
            for t in threads:
                t.join(20)
            assert len(got) == 40, got
    finally:
        gate.set()
        clamd.close()
        shutil.rmtree(where, ignore_errors=True)
