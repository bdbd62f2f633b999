#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Mixed load for a while: good mail, refused mail, clients that vanish, a hub that defers. At the end nothing may be
lost, and memory and descriptors must be level between the second and the last quarter.

    soak.py [SECONDS]
"""

import pathlib
import random
import smtplib
import socket
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / 'tools'))
sys.path.insert(0, str(HERE))
import rig  # noqa: E402
from run import Setting  # noqa: E402

SECONDS = int(sys.argv[1]) if len(sys.argv) > 1 else 600


class Load(threading.Thread):
    def __init__(self, number, port, stop):
        super().__init__(daemon=True)
        self.rng = random.Random(number)
        self.port, self.halt, self.accepted, self.kind = port, stop, 0, number % 3

    def run(self):
        while not self.halt.is_set():
            try:
                if self.kind == 2:
                    self.vanish()
                else:
                    self.send()
            except (OSError, smtplib.SMTPException):
                pass

    def send(self):
        with smtplib.SMTP('127.0.0.1', self.port, timeout=30) as s:
            for _ in range(self.rng.randrange(1, 20)):
                if self.rng.random() < 0.1:
                    try:
                        s.sendmail('a@remote.test', ['b@foreign.test'], 'x')
                    except smtplib.SMTPRecipientsRefused:
                        continue
                size = self.rng.choice((10, 100, 100, 5000))
                s.sendmail('a@local.test', ['b@local.test'], 'Subject: soak\r\n\r\n' + ('x' * 70 + '\r\n') * size)
                self.accepted += 1

    def vanish(self):
        with socket.create_connection(('127.0.0.1', self.port), 5) as s:
            text = b'EHLO x\r\nMAIL FROM:<a@remote.test>\r\nRCPT TO:<b@local.test>\r\nDATA\r\nhalf'
            for line in text[:self.rng.randrange(len(text))].splitlines(True):
                s.recv(1000)
                s.sendall(line)
        time.sleep(0.05)


def main():
    t = Setting('minimal_backoff_time = 1s\nmaximal_backoff_time = 3s\nqueue_run_delay = 1s\nsmtpd_client_connection_count_limit = 0\n')
    t.hub.order('rule rcpt skip=50 times=20 reply 450 4.2.0 not now')
    stop = threading.Event()
    loads = [Load(i, t.port, stop) for i in range(9)]
    for x in loads:
        x.start()
    marks = []
    ok = False
    try:
        for _ in range(20):
            time.sleep(SECONDS / 20)
            t.canary(5)
            marks.append((sum(t.memory(r) for r in ('edge', 'queue', 'relay')), t.gw.metrics().get('fds', 0)))
        stop.set()
        for x in loads:
            x.join(60)
        sent = sum(x.accepted for x in loads) + 20
        rig.wait_for('the queue to empty', lambda: t.gw.run('queue', 'flush') and not t.gw.queue(), 60, 0.5)
        stats = t.hub.order('stats')
        early, late = marks[5:10], marks[15:20]
        print(f'{SECONDS} s: {sent} messages accepted, {stats["messages"]} at the hub; memory '
              f'{max(m for m, _ in early)} MB early, {max(m for m, _ in late)} MB late; descriptors {max(f for _, f in early)}, {max(f for _, f in late)}')
        ok = stats['messages'] >= sent and max(m for m, _ in late) <= max(m for m, _ in early) * 1.05 + 8 and \
            max(f for _, f in late) <= max(f for _, f in early) + 40
        if not ok:
            print('WRONG: lost messages, or memory or descriptors grew')
    finally:
        stop.set()
        t.end(ok)
    return 0 if ok else 1


if __name__ == '__main__':
    sys.exit(main())
