# SPDX-License-Identifier: BSD-2-Clause
"""Triage: memory of a client in the pause before the greeting, its question to a DNS list under way or answered, and how many
listed clients a second are refused on one core. rbldnsd has the list; every client has an address of its own."""

import json
import os
import pathlib
import socket
import subprocess
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
PEERS = pathlib.Path(os.environ.get('PEERS') or TOP / 'build/peers')
COMMON = '''smtpd_triage = yes
smtpd_peername_lookup = no
edge_workers = 1
edge_session_limit = 50000
postscreen_access_list =
postscreen_pre_queue_limit = 50000
postscreen_client_connection_count_limit = 1000
postscreen_dnsbl_sites = bl.test
postscreen_dnsbl_action = drop
'''


def silent_server():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(('127.0.0.1', 0))
    return s


class Lists:
    def __init__(self, directory):
        probe = silent_server()
        self.port = probe.getsockname()[1]
        probe.close()
        zone = directory / 'bl'
        zone.write_text(':127.0.0.2:listed\n127.0.0.2\n127.2.0.0/15\n')
        self.proc = subprocess.Popen([PEERS / 'bin/rbldnsd', '-n', '-q', '-t', '300', '-u', 'nobody' if os.getuid() == 0 else str(os.getuid()), '-b', f'127.0.0.1/{self.port}', f'bl.test:ip4trie:{zone}'],
                                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.5)

    def stop(self):
        self.proc.terminate()
        self.proc.wait()


def held(g, crowd, count):
    g.start()
    before = g.pss_kb()
    p = subprocess.Popen([crowd, 'hold', '-s', str(count), '-a', str(count), str(g.port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    said = json.loads(p.stdout.readline())
    each = (g.pss_kb() - before) / max(said['held'], 1)
    p.stdin.close()
    still = json.loads(p.stdout.readline())['open']
    p.wait()
    g.close()
    return each, still


def run(make, crowd, directory, row, say, count):
    say('triage:')
    silent = silent_server()
    if not (PEERS / 'bin/rbldnsd').exists():
        say('  without a DNS list: make peers NAMES=rbldnsd fetches it')
        return
    lists = Lists(directory)
    try:
        for what, port, more in (('answered', lists.port, 'postscreen_dnsbl_threshold = 100\n'), ('under way', silent.getsockname()[1], 'dns_timeout = 60s\npostscreen_dnsbl_timeout = 60s\n')):
            each, still = held(make('triage', COMMON + more + f'dns_servers = 127.0.0.1:{port}\npostscreen_greet_wait = 120s\n'), crowd, count)
            say(f'  {still} of {count} clients in the pause, question {what}: {each:.1f} kB each')
            row(f'client in triage, question {what}: kB of PSS', '', f'{each:.1f} ({still} held)', '', '<= 16', each <= 16 and still == count)
        g = make('triage', COMMON + f'dns_servers = 127.0.0.1:{lists.port}\npostscreen_greet_banner =\n')
        g.start()
        time.sleep(1)
        before, n = g.settled_cpu_usec(), 2 * count
        out = json.loads(subprocess.run([crowd, 'refused', '-s', '200', '-n', str(n), '-a', '100000', str(g.port)], stdout=subprocess.PIPE, text=True, check=True).stdout)
        usec = (g.settled_cpu_usec() - before) / n
        g.close()
        say(f'  listed clients refused: {out["refused"]} of {n} at {out["per_second"]:.0f}/s, {usec:.0f} us of CPU each (the whole gateway, kernel included)')
        row('listed clients refused on one core, a second', '', f'{1e6 / max(usec, 1):.0f}', '', '>= 5000', usec <= 200 and out['refused'] == n)
    finally:
        lists.stop()
        silent.close()
