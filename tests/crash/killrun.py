#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Kills roles at random under load and counts: no message answered 250 may be missing at the hub.

    killrun.py [KILLS] [SEED]

Clients send numbered messages all the time; every now and then one role (never the same reason twice) gets
kill -9, every tenth time the whole gateway does and is started again. At the end everything must have arrived. A
message may arrive twice only if its delivery ended less than WINDOW before a kill, or if
the client never saw an answer and tried again. Prints the figures; exit status 1 for a loss or a duplicate too many.
"""

import collections
import os
import pathlib
import random
import re
import signal
import socket
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / 'tools'))
import rig  # noqa: E402

KILLS = int(sys.argv[1]) if len(sys.argv) > 1 else 100
SEED = int(sys.argv[2]) if len(sys.argv) > 2 else int(time.time())
CLIENTS = 6
WINDOW = 0.1   # seconds before a kill in which a delivery may not have been written down yet (release build, free processor)
SLACK = 1.0    # on top before it counts as wrong: six clients that never rest keep both processors and the disk busy

MAIN = '''\
compatibility_level = 3.6
myhostname = gw.test
mydestination =
local_recipient_maps =
local_transport = error:local mail delivery is disabled
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.9/32
relay_domains = local.test
transport_maps = inline:{{ local.test=smtp:[127.0.0.1]:{hub} }}
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
smtpd_client_connection_count_limit = 0
minimal_backoff_time = 1s
maximal_backoff_time = 2s
queue_run_delay = 1s
queue_directory = {work}/queue
data_directory = {work}/data
maillog_file = /dev/stdout
edge_workers = 2
relay_workers = 2
'''


class Sender(threading.Thread):
    """One client: a new session for every message, or several in one; keeps what was answered 250."""

    def __init__(self, number, port, stop):
        super().__init__(daemon=True)
        self.rng = random.Random(SEED * 1000 + number)
        self.number, self.port, self.halt = number, port, stop
        self.accepted, self.unsure, self.refused = [], [], 0

    def run(self):
        n = 0
        while not self.halt.is_set():
            n = self.session(n)

    def session(self, n):
        name = None
        try:
            with socket.create_connection(('127.0.0.1', self.port), 5) as s:
                s.settimeout(20)
                f = s.makefile('rb')

                def ask(data, want):
                    if data:
                        s.sendall(data)
                    while True:
                        line = f.readline()
                        if not line:
                            raise OSError('gone')
                        if line[3:4] != b'-':
                            break
                    if line[:1] != want:
                        raise ValueError(line)

                ask(b'', b'2')
                ask(b'EHLO load.test\r\n', b'2')
                for _ in range(self.rng.choice((1, 1, 3))):
                    n += 1
                    name = f'{self.number}-{n}'
                    size = self.rng.choice((200, 4000, 4000, 300000))
                    ask(f'MAIL FROM:<s{self.number}@local.test>\r\n'.encode(), b'2')
                    ask(b'RCPT TO:<r@local.test>\r\n', b'2')
                    ask(b'DATA\r\n', b'3')
                    body = (f'X-Kill: {name}\r\n\r\n' + ('x' * 70 + '\r\n') * (size // 72)).encode()
                    self.unsure.append(name)
                    ask(body + b'.\r\n', b'2')
                    self.accepted.append(name)
                    self.unsure.pop()
                    name = None
                ask(b'QUIT\r\n', b'2')
        except ValueError:
            self.refused += 1
            if name and self.unsure and self.unsure[-1] == name:
                self.unsure.pop()  # answered, and not 250: it must not be needed (it may not arrive either)
        except OSError:
            time.sleep(0.02)
        return n


def arrivals(hub):
    """{name: [record]} of what the hub took, read from the messages themselves."""
    out = collections.defaultdict(list)
    for r in hub.messages():
        head = hub.content(r)[:2000]
        m = re.search(rb'^X-Kill: (\S+)\r$', head, re.M)
        if m:
            r['qid'] = re.search(rb' id (\w+)', head).group(1).decode()
            out[m.group(1).decode()].append(r)
    return out


def second_copies(twice, log, moments):
    """(first copies whose relay died, or had nobody to tell, [seconds from a told one's arrival to the kill that lost it], [names without
    excuse]). moments: [(when, pid)], pid 0: everything."""
    told, active = {}, collections.defaultdict(list)
    for at, line in enumerate(log.splitlines()):
        m = re.search(r'\[(\d+)\]: \w+: to=.*status=sent \(250 2\.0\.0 Ok: queued as H(\d+)\)', line)
        if m:
            told[int(m.group(2))] = (at, int(m.group(1)))
        m = re.search(r'/qmgr\[(\d+)\]: (\w+): from=.*\(queue active\)', line)
        if m:
            active[m.group(2)].append((at, int(m.group(1))))
    untold, gaps, wrong = 0, [], []
    for name, rows in twice.items():
        first = min(rows, key=lambda r: r['ms'])
        if first['n'] not in told:
            untold += 1
            continue
        at, relay = told[first['n']]
        lost_by = {0, relay} | {pid for when, pid in active[first['qid']] if when < at}
        if any(pid and pid in lost_by and when < first['ms'] / 1000 for when, pid in moments):
            untold += 1  # the queue that had asked for it was gone already
            continue
        after = [when - first['ms'] / 1000 for when, pid in moments if pid in lost_by and when >= first['ms'] / 1000]
        if after:
            gaps.append(min(after))
        else:
            wrong.append(name)
    return untold, gaps, wrong


def main():
    rng = random.Random(SEED)
    work = rig.workdir('kill')
    hub = rig.Hub(work / 'hub', ['0'])
    port = rig.free_ports(1)[0]
    gw = rig.Gateway(work, MAIN.format(hub=hub.ports[0], work=work), f'127.0.0.1:{port} inet n - n - - smtpd\n')
    gw.expect_deaths = True
    gw.start(port)
    stop = threading.Event()
    senders = [Sender(i, port, stop) for i in range(CLIENTS)]
    for s in senders:
        s.start()
    killed = collections.Counter()
    moments = []
    problems = []
    try:
        for number in range(KILLS):
            time.sleep(rng.uniform(0.05, 0.4))
            if number % 10 == 9:
                gw.kill()
                moments.append((time.monotonic(), 0))
                killed['everything'] += 1
                gw.start(port)
                continue
            try:
                roles = [(r, p) for r, p in rig.status_roles(gw.status()) if r != 'master']
            except (rig.Broken, ValueError):
                roles = []
            if not roles:
                problems.append(f'kill {number}: status names no roles')
                break
            role, pid = rng.choice(roles)
            try:
                os.kill(pid, signal.SIGKILL)
                moments.append((time.monotonic(), pid))
                killed[role] += 1
            except ProcessLookupError:
                pass
        stop.set()
        for s in senders:
            s.join(30)
        gw.wait_ready()
        need = {n for s in senders for n in s.accepted}
        unsure = {n for s in senders for n in s.unsure}

        held = set()

        def all_there():
            # three kills in a second may all meet the same message: it is held as one that kills, and its release is the administrator's
            for m in gw.queue():
                if m['queue_name'] == 'hold':
                    held.add(m['queue_id'])
                    gw.run('queue', 'release', m['queue_id'])
            gw.run('queue', 'flush')
            return need <= set(arrivals(hub)) and not gw.queue()
        try:
            rig.wait_for('everything to arrive', all_there, 60, 0.3)
        except rig.Broken as e:
            problems.append(f'{e}; still queued: {len(gw.queue())}')
        got = arrivals(hub)
        missing = sorted(need - set(got))
        twice = {n: rows for n, rows in got.items() if len(rows) > 1}
        strays = sorted(set(got) - need - unsure)
        stats = hub.order('stats')
        print(f'{sum(killed.values())} kills (seed {SEED}): ' + ', '.join(f'{k} {v}' for k, v in sorted(killed.items())))
        print(f'{len(need)} messages answered 250, {len(unsure)} unanswered, {sum(s.refused for s in senders)} refused for the time being')
        print(f'{len(need & set(got))} of them arrived, {len(missing)} missing, {len(twice)} twice or more, '
              f'{len(unsure & set(got))} of the unanswered arrived, {len(strays)} arrived after a 4xx (the answer of the queue was lost)')
        if missing:
            problems.append(f'lost: {missing[:10]}')
        if stats['violations']:
            problems.append(f'malformed on the wire: {stats["first_violation"]}')
        if held:
            print(f'{len(held)} held because three delivery processes died with them')
            if gw.log_text().count('three delivery processes died with this message') < len(held):
                problems.append('held for no reason')
        extra = sum(len(rows) - 1 for rows in twice.values())
        untold, gaps, wrong = second_copies(twice, gw.log_text(), moments)
        print(f'{extra} second copies, {extra / max(1, sum(killed.values())):.2f} per kill: {untold} because relay could not tell, '
              f'{len(gaps)} because it was told and not yet written down'
              + (f', at most {max(gaps) * 1000:.0f} ms later, {sum(g > WINDOW for g in gaps)} more than {WINDOW * 1000:.0f} ms' if gaps else ''))
        if wrong:
            problems.append(f'delivered twice without a crash between: {wrong[:5]}')
        if any(g > WINDOW + SLACK for g in gaps):
            problems.append(f'{sum(g > WINDOW + SLACK for g in gaps)} deliveries were not written down in time')
        if len(need) < KILLS:
            problems.append(f'only {len(need)} messages were accepted in all')
        gw.stop()
        problems += gw.troubles()
    finally:
        stop.set()
        gw.kill()
        hub.stop()
    for p in problems:
        print('WRONG: ' + p)
    if not problems:
        gw.remove()
    return 1 if problems else 0


if __name__ == '__main__':
    sys.exit(main())
