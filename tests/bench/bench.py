#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The benchmarks: Dogana and Debian's Postfix in one run, alternating, as ratios.

    make bench [ONLY="relay latency idle recovery policy dns tls triage filters quarantine"] [N=20000] [RUNS=3] [SESSIONS=10000] [QUEUED=100000]

relay     durable relay of 10 kB messages, 20 clients, until the sink has them all; CPU of all gateway processes
latency   one idle client: reply to the final dot, beside a bare fdatasync of 4 kB on the same disk
idle      memory (PSS) of a session that does nothing
triage    memory of a client in the pause before the greeting; listed clients refused a second on one core
tls       relay with STARTTLS (TLS 1.3, new session each), resumed and not; CPU of a handshake; memory of an idle session
dns       eight DNS lists of 50 ms, one of them dead, a client that is known: time to the reply to RCPT, questions
filters   relay with three milters that accept, a dead one, and virus scanning (beside clamav-milter and clamd)
policy    lookups in large tables, processor time of a RCPT, memory of a table, changed tables (no Postfix beside it)
quarantine  CPU of a message that is held beside one that is relayed; a million held messages: lists by each filter, search, memory; storing (no Postfix)
recovery  queued messages, kill -9 of everything, restart: until listening, until the queue is known, delivered

N is the number of messages per run for Dogana; Postfix gets a fifth of it and is a rate as well. Both log to a file
and have their default durability (Postfix: fsync per message; Dogana: fdatasync per group). Each gateway, the
generator and the sink are sessions of their own, because the kernel shares processors between sessions and Postfix's
master makes itself one; PRIORITY=-10 gives all of them precedence on a machine others work on (as root).
A goal missed is said, not hidden, and exits 0; a message lost exits 1. Postfix needs root (make peers fetches it)
and is left out without. Environment: DOGANA (the program), PEERS, SCRATCH (a directory: which disk), and the variables
above.
"""

import json
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / 'tests/tools'))
import rig  # noqa: E402
sys.path.insert(0, str(pathlib.Path(__file__).parent))
import policy as policy_bench  # noqa: E402
import dns as dns_bench  # noqa: E402
import triage as triage_bench  # noqa: E402
import filters as filters_bench  # noqa: E402
import quarantine as quarantine_bench  # noqa: E402
BUILD = TOP / 'build'
N = int(os.environ.get('N') or 20000)
RUNS = int(os.environ.get('RUNS') or 3)
SESSIONS = int(os.environ.get('SESSIONS') or 10000)
QUEUED = int(os.environ.get('QUEUED') or 100000)
WHICH = (os.environ.get('ONLY') or 'relay latency idle recovery policy dns tls triage filters quarantine').replace(',', ' ').split()

PRIORITY = os.environ.get('PRIORITY')

lost = 0
table = []
built = set()
running = []  # gateways and sinks, to be ended whatever happens


def say(text):
    print(text, flush=True)


def row(what, postfix, dogana, ratio, goal, met):
    """One line of the result table; `met` is None where there is no goal."""
    verdict = {None: '', True: 'reached', False: 'MISSED'}[met]
    table.append([what, postfix or '-', dogana, ratio or '-', goal, verdict])


def print_table():
    head = ['what', 'Postfix', 'Dogana', 'ratio', 'goal', '']
    widths = [max(len(str(r[i])) for r in table + [head]) for i in range(6)]
    for r in [head, ['-' * w for w in widths]] + table:
        say('  '.join(str(c).ljust(w) for c, w in zip(r, widths)).rstrip())


def spread(values, fmt='{:.0f}'):
    """median (min-max)"""
    s = sorted(values)
    return f'{fmt.format(statistics.median(s))} ({fmt.format(s[0])}-{fmt.format(s[-1])})'


def prefer(pid):
    """Gives the session of a process the PRIORITY asked for."""
    if PRIORITY:
        try:
            pathlib.Path(f'/proc/{pid}/autogroup').write_text(PRIORITY)
        except OSError as e:
            say(f'bench: PRIORITY: {e}')


def free_port():
    return rig.free_ports(1)[0]


def wait_for(condition, timeout, what):
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            sys.exit(f'bench: {what}: not within {timeout} s')
        time.sleep(0.005)


def greets(port):
    """Whether an SMTP server says 220 there."""
    try:
        with socket.create_connection(('127.0.0.1', port), 1) as s:
            s.settimeout(10)
            return s.recv(3) == b'220'
    except OSError:
        return False


class Group:
    """The processes of one gateway: a cgroup (v2) of their own if the machine lets us, else a process tree."""

    def __init__(self, name):
        self.dir = None
        for base in ('/sys/fs/cgroup', '/sys/fs/cgroup/unified'):
            d = pathlib.Path(base, f'bench-{os.getpid()}-{name}')
            try:
                if (pathlib.Path(base) / 'cgroup.controllers').exists():
                    d.mkdir()
                    (d / 'cpu.stat').read_text()
                    self.dir = d
                    return
            except OSError:
                pass

    def join(self):
        """In a child before exec."""
        if self.dir:
            (self.dir / 'cgroup.procs').write_text('0')

    def close(self):
        if self.dir:
            wait_for(lambda: not self.pids(0), 10, 'processes of a stopped gateway')
            self.dir.rmdir()

    def pids(self, root):
        if self.dir:
            return [int(p) for p in (self.dir / 'cgroup.procs').read_text().split()]
        children = {}
        for p in pathlib.Path('/proc').glob('[0-9]*/stat'):
            try:
                children.setdefault(int(p.read_text().rpartition(')')[2].split()[1]), []).append(int(p.parent.name))
            except OSError:
                pass
        found = [root]
        for pid in found:
            found += children.get(pid, [])
        return found

    def cpu_usec(self, root):
        """User and system time of all of them, those that ended included."""
        if self.dir:
            return int((self.dir / 'cpu.stat').read_text().split()[1])
        ticks = 0
        for pid in self.pids(root):
            try:
                f = pathlib.Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
                ticks += sum(int(x) for x in f[11:15])
            except OSError:
                pass
        return ticks * 1000000 // os.sysconf('SC_CLK_TCK')

    def pss_kb(self, root):
        total = 0
        for pid in self.pids(root):
            try:
                for line in open(f'/proc/{pid}/smaps_rollup'):
                    if line.startswith('Pss:'):
                        total += int(line.split()[1])
            except OSError:
                pass
        return total


class Gateway:
    """What both have: a port, a directory, a group of processes."""

    def __init__(self, name, nexthop, extra=''):
        self.name, self.nexthop, self.extra = name, nexthop, extra
        self.port = free_port()
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix=f'{name}-', dir=scratch))
        self.dir.chmod(0o755)
        self.group = Group(self.dir.name)
        running.append(self)

    def cpu_usec(self):
        return self.group.cpu_usec(self.root_pid())

    def pss_kb(self):
        return self.group.pss_kb(self.root_pid())

    def settled_cpu_usec(self):
        """Once it has stopped working on what it was given."""
        end, last = time.monotonic() + 5, self.cpu_usec()
        while time.monotonic() < end:
            time.sleep(0.2)
            now = self.cpu_usec()
            if now - last < 2000:
                return now
            last = now
        return last

    def close(self):
        running.remove(self)
        self.stop()
        self.group.close()
        shutil.rmtree(self.dir)


class Postfix(Gateway):
    script = TOP / 'tests/tools/postfix-peer.sh'

    def start(self):
        (self.dir / 'extra.cf').write_text(self.extra)
        subprocess.run([self.script, 'start', self.dir, str(self.port), f'[127.0.0.1]:{self.nexthop}'],
                       check=True, preexec_fn=self.group.join)
        prefer(self.root_pid())

    def root_pid(self):
        return int((self.dir / 'queue/pid/master.pid').read_text())

    def stop(self):
        subprocess.run([self.script, 'stop', self.dir], check=True)


class Dogana(Gateway):
    program = os.environ.get('DOGANA') or next(
        (str(p) for p in (BUILD / 'release/dogana', BUILD / 'dogana') if p.exists()), None)

    process = None

    def start(self):
        etc = self.dir / 'etc'
        etc.mkdir(exist_ok=True)
        (etc / 'main.cf').write_text(f'''compatibility_level = 3.6
myhostname = mx.example.com
mydestination =
mynetworks = 127.0.0.0/8
inet_protocols = ipv4
relayhost = [127.0.0.1]:{self.nexthop}
queue_directory = {self.dir}/queue
data_directory = {self.dir}/data
maillog_file = {self.dir}/log
maillog_file_prefixes = {self.dir}
alias_maps =
{rig.ROLE_USERS}{self.extra}''')
        (etc / 'master.cf').write_text(f'127.0.0.1:{self.port} inet n - n - - smtpd\n')
        self.out = open(self.dir / 'out', 'ab')
        self.process = subprocess.Popen([self.program, '-c', etc, 'run'], stdin=subprocess.DEVNULL, stdout=self.out,
                                        stderr=self.out, preexec_fn=self.group.join,
                                        start_new_session=True)
        prefer(self.process.pid)
        wait_for(self.up, 30, 'Dogana does not start')

    def up(self):
        if self.process.poll() is not None:
            sys.exit(f'bench: Dogana ended with {self.process.returncode}:\n' + (self.dir / 'out').read_text()[-2000:])
        return greets(self.port)

    def command(self, *args):
        return subprocess.run([self.program, '-c', self.dir / 'etc', *args], stdout=subprocess.PIPE, text=True).stdout

    def queued(self):
        """How many messages the queue says it has."""
        return sum(1 for line in self.command('queue', 'list', '--json').splitlines() if line.startswith('{'))

    def root_pid(self):
        return self.process.pid

    def stop(self):
        if not self.process:
            return
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                say('bench: Dogana did not stop within 30 s of SIGTERM')
                self.kill()
        self.out.close()

    def kill(self):
        """kill -9 of every role, the master first so that it restarts nobody."""
        pids = self.group.pids(self.process.pid)
        for pid in [self.process.pid] + [p for p in pids if p != self.process.pid]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait()
        wait_for(lambda: all(not os.path.exists(f'/proc/{p}') for p in pids), 30, 'killed roles')


class Sink:
    """tests/tools/sink.c"""

    def __init__(self, port):
        self.port = port
        self.process = subprocess.Popen([tool('sink'), str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        start_new_session=True)
        prefer(self.process.pid)
        os.set_blocking(self.process.stdout.fileno(), False)
        self.buffer = b''
        running.append(self)

    def order(self, text):
        self.process.stdin.write(text.encode() + b'\n')
        self.process.stdin.flush()

    def line(self, timeout):
        end = time.monotonic() + timeout
        while b'\n' not in self.buffer:
            self.buffer += self.process.stdout.read() or b''
            if time.monotonic() > end:
                return None
            time.sleep(0.002)
        first, _, self.buffer = self.buffer.partition(b'\n')
        return first.decode()

    def expect(self, run, count):
        self.order(f'expect {run} {count}')
        if self.line(10) != 'ready':
            sys.exit('bench: the sink does not answer')

    def all(self, accepted, count):
        """Its report once all accepted messages are there, or once nothing has come for 30 s."""
        global lost
        seen = -1
        while True:
            line = self.line(30)
            if line is None or accepted < count:
                self.order('report')
                line = self.line(10)
            report = json.loads(line)
            if report['unique'] >= accepted:
                break
            if report['unique'] == seen:
                lost += accepted - seen
                say(f'bench: LOST: {accepted - seen} of {accepted} accepted messages never came')
                break
            seen = report['unique']
        return report

    def close(self):
        running.remove(self)
        self.process.stdin.close()
        self.process.wait()


def tool(name):
    """A small C program of tests/tools, built when it is missing or old."""
    program = f'build/release/tools/{name}'
    if name not in built:
        subprocess.run(['make', '-s', '-C', TOP, 'MODE=release', program], check=True)
        built.add(name)
    return str(TOP / program)


def send(port, messages, run, *options):
    p = subprocess.Popen([tool('load'), 'send', '-m', str(messages), '-R', str(run), *options, str(port)],
                         stdout=subprocess.PIPE, text=True, start_new_session=True)
    prefer(p.pid)
    report = json.loads(p.communicate()[0])
    if report['error']:
        say(f'bench: client: {report["accepted"]} of {messages} accepted, first error: {report["error"]}')
    return report


run_number = 0


def relay_once(gateway, sink, messages, *options):
    """Rate, CPU per message and latency of one run."""
    global run_number
    run_number += 1
    sink.expect(run_number, messages)
    cpu = gateway.cpu_usec()
    sent = send(gateway.port, messages, run_number, *options)
    got = sink.all(sent['accepted'], messages)
    cpu = gateway.settled_cpu_usec() - cpu
    if got['duplicates'] or got['strays']:
        say(f'bench: {gateway.name}: {got["duplicates"]} duplicates, {got["strays"]} strays')
    r = {'rate': got['unique'] / max((got['last_ns'] - sent['start_ns']) / 1e9, 1e-9),
         'cpu': cpu / max(got['unique'], 1), 'p50': sent['p50_us'], 'p99': sent['p99_us'],
         'sessions': got['sessions'], 'client': sent['cpu_us'] / max(sent['accepted'], 1), 'resumed': sent['resumed']}
    say(f'  {gateway.name:8}{r["rate"]:8.0f} messages/s  {r["cpu"]:6.0f} us CPU each  final dot p50 {r["p50"]} us, '
        f'p99 {r["p99"]} us  ({messages} messages, {r["sessions"]} sessions to the sink)')
    return r


def relay(opponents):
    global run_number
    sink = Sink(port := free_port())
    pair = [kind(kind.__name__.lower(), port) for kind in opponents]
    for g in pair:
        g.start()
        relay_once(g, sink, 500)  # journal, processes and connections are there afterwards
    for mode, options, times, cpu_goal in (('new session each', [], 9, 110), ('reused sessions', ['-r'], 14, 70)):
        say(f'relay, 10 kB, 20 clients, {mode}:')
        run_number += 1
        sink.expect(run_number, N)
        bare = send(sink.port, N, run_number, *options)
        say(f'  (the generator straight to the sink: {N / ((sink.all(N, N)["last_ns"] - bare["start_ns"]) / 1e9):.0f} messages/s)')
        results = {g: [] for g in pair}
        for _ in range(RUNS):
            for g in pair:
                results[g].append(relay_once(g, sink, N if isinstance(g, Dogana) else max(N // 5, 200), *options))
        ours = next((results[g] for g in pair if isinstance(g, Dogana)), None)
        theirs = next((results[g] for g in pair if isinstance(g, Postfix)), None)
        report_relay(mode, theirs, ours, times, cpu_goal)
    for g in pair:
        g.close()
    sink.close()


def report_relay(mode, theirs, ours, times, cpu_goal):
    def of(results, key):
        return [r[key] for r in results] if results else []

    def cell(results, key):
        return spread(of(results, key)) if results else '-'

    def median_ratio(key, over):
        pairs = zip(of(theirs, key), of(ours, key))
        return statistics.median(d / p if over else p / d for p, d in pairs) if theirs and ours else None

    rate, cpu = median_ratio('rate', True), median_ratio('cpu', False)
    row(f'relay, {mode}: messages/s', cell(theirs, 'rate'), cell(ours, 'rate'), rate and f'{rate:.1f} x',
        f'>= {times} x', rate and rate >= times)
    row('  CPU us per message', cell(theirs, 'cpu'), cell(ours, 'cpu'), cpu and f'1/{cpu:.1f}',
        f'<= {cpu_goal}', statistics.median(of(ours, 'cpu')) <= cpu_goal if ours else None)
    for p in ('p50', 'p99'):
        ratio = median_ratio(p, False)
        row(f'  final dot {p} us', cell(theirs, p), cell(ours, p), ratio and f'1/{ratio:.1f}', '', None)


def fdatasync_usec(directory, size, count=200):
    """Median and p99 of writing and syncing `size` bytes into blocks that exist."""
    path, times = directory / 'fdatasync', []
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    os.write(fd, bytes(size * count))
    os.fsync(fd)
    for i in range(count):
        start = time.monotonic_ns()
        os.pwrite(fd, b'x' * size, i * size)
        os.fdatasync(fd)
        times.append((time.monotonic_ns() - start) / 1000)
    os.close(fd)
    path.unlink()
    times.sort()
    return times[count // 2], times[count * 99 // 100]


def latency(opponents):
    say('latency, one idle client, 10 kB messages:')
    sink = Sink(port := free_port())
    pair = [kind(kind.__name__.lower(), port) for kind in opponents]
    medians, disk = {g: [] for g in pair}, []
    for g in pair:
        g.start()
        relay_once(g, sink, 100, '-s', '1', '-r')
    for _ in range(max(RUNS, 3)):
        disk.append(fdatasync_usec(scratch, 4096))
        say(f'  fdatasync of 4 kB: p50 {disk[-1][0]:.0f} us, p99 {disk[-1][1]:.0f} us')
        for g in pair:
            medians[g].append(relay_once(g, sink, 200, '-s', '1', '-r'))
    base = statistics.median(d[0] for d in disk)
    cells = {g: spread([m['p50'] for m in medians[g]]) for g in pair}
    ours = next((g for g in pair if isinstance(g, Dogana)), None)
    theirs = next((g for g in pair if isinstance(g, Postfix)), None)
    row('fdatasync of 4 kB, bare: p50 us', '', f'{base:.0f}', '', '', None)
    if ours:
        times = statistics.median(m['p50'] for m in medians[ours]) / base
        row('one idle client: final dot p50 us', theirs and cells[theirs], cells[ours], f'{times:.2f} fdatasync',
            '< 2 fdatasync', times < 2)
    elif theirs:
        row('one idle client: final dot p50 us', cells[theirs], '-', '', '', None)
    for g in pair:
        g.close()
    sink.close()


def idle(opponents):
    say('idle sessions:')
    cells = {}
    for kind, count, extra in ((Postfix, 90, 'smtpd_client_connection_count_limit = 0\n'),
                               (Dogana, SESSIONS, 'smtpd_peername_lookup = no\n')):
        if kind not in opponents:
            continue
        g = kind(kind.__name__.lower(), free_port(), extra + 'smtpd_timeout = 300s\n')
        g.start()
        before = g.pss_kb()
        # Postfix looks names up: from 127.0.0.1 only, which is in /etc/hosts
        holder = subprocess.Popen([tool('load'), 'idle', '-s', str(count), '-a', '1' if kind is Postfix else '250',
                                   str(g.port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        held = json.loads(holder.stdout.readline())
        each = (g.pss_kb() - before) / max(held['held'], 1)
        holder.stdin.close()
        still = json.loads(holder.stdout.readline())['open']
        holder.wait()
        say(f'  {g.name}: {held["held"]} of {count} sessions held, {still} still open at the end, PSS {before} kB without, '
            f'{each:.1f} kB per session {held["error"]}')
        cells[kind] = (each, still, count)
        g.close()
    ours, theirs = cells.get(Dogana), cells.get(Postfix)
    if ours:
        row('idle session: kB of PSS', theirs and f'{theirs[0]:.0f} ({theirs[1]} held)', f'{ours[0]:.1f}',
            theirs and f'1/{theirs[0] / max(ours[0], 0.001):.0f}', '<= 16', ours[0] <= 16 and ours[1] > 0)
        row('  sessions held at once', theirs and f'{theirs[1]}', f'{ours[1]}', '', f'{ours[2]}', ours[1] == ours[2])
    elif theirs:
        row('idle session: kB of PSS', f'{theirs[0]:.0f} ({theirs[1]} held)', '-', '', '<= 16', None)


def tls(opponents):
    """The same as relay and idle inside TLS: EC and RSA certificates together, as most have."""
    global run_number
    certs = rig.certificates()
    extra = (f'smtpd_tls_security_level = may\nsmtpd_tls_chain_files = {certs}/good.chain, {certs}/good-ec.chain\n'
             'smtpd_client_connection_count_limit = 0\nsmtpd_peername_lookup = no\nsmtpd_timeout = 300s\nsmtpd_tls_session_cache_timeout = 3600s\n')
    sink = Sink(port := free_port())
    pair = [kind(kind.__name__.lower(), port, extra) for kind in opponents]
    count = max(N // 4, 500)
    for g in pair:
        g.start()
        relay_once(g, sink, 200, '-T')
    cpu, processors = {}, os.cpu_count()
    for mode, options, times in (('STARTTLS, resumed', ['-T'], 4), ('STARTTLS, full handshakes', ['-F'], None), ('the same in the clear', [], None)):
        say(f'relay, 10 kB, 20 clients, new session each, {mode}:')
        results = {g: [] for g in pair}
        for _ in range(RUNS):
            for g in pair:
                results[g].append(relay_once(g, sink, count if isinstance(g, Dogana) else max(count // 5, 100), *options))
        med = {g: {k: statistics.median(r[k] for r in results[g]) for k in ('rate', 'cpu', 'client')} for g in pair}
        ours = next((g for g in pair if isinstance(g, Dogana)), None)
        theirs = next((g for g in pair if isinstance(g, Postfix)), None)
        ratio = med[ours]['rate'] / med[theirs]['rate'] if ours and theirs else None
        row(f'relay, {mode}: messages/s', theirs and f'{med[theirs]["rate"]:.0f}', ours and f'{med[ours]["rate"]:.0f}', ratio and f'{ratio:.1f} x',
            f'>= {times} x' if times else '', ratio and ratio >= times if times else None)
        # what the processors allow when nobody else is on the machine: the client's handshakes cost as much as the gateway's
        cells = {g: f'{med[g]["cpu"]:.0f} + {med[g]["client"]:.0f}' for g in pair}
        most = {g: processors * 1e6 / (med[g]['cpu'] + med[g]['client']) for g in pair}
        row('  CPU us a message: gateway + client', theirs and cells[theirs], ours and cells[ours],
            ours and theirs and f'1/{med[theirs]["cpu"] / med[ours]["cpu"]:.1f} + 1/{med[theirs]["client"] / med[ours]["client"]:.1f}', '', None)
        row(f'  that many a second on {processors} processors', theirs and f'{most[theirs]:.0f}', ours and f'{most[ours]:.0f}',
            ours and theirs and f'{most[ours] / most[theirs]:.1f} x', '', None)
        for g in pair:
            cpu[g, options[0] if options else ''] = med[g]['cpu']
    for what, flag in (('resumed', '-T'), ('full', '-F')):
        cells = {g: cpu[g, flag] - cpu[g, ''] for g in pair}
        row(f'  CPU us of STARTTLS, {what}', theirs and f'{cells[theirs]:.0f}', ours and f'{cells[ours]:.0f}',
            theirs and ours and f'1/{cells[theirs] / max(cells[ours], 1):.1f}', '', None)
    for g in pair:
        held_tls(g)
        g.close()
    sink.close()


def held_tls(g):
    """A thousand sessions that do nothing, inside TLS."""
    count = 80 if isinstance(g, Postfix) else 1000
    before = g.pss_kb()
    holder = subprocess.Popen([tool('load'), 'idle', '-F', '-s', str(count), '-a', '1' if isinstance(g, Postfix) else '250', str(g.port)],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    held = json.loads(holder.stdout.readline())
    each = (g.pss_kb() - before) / max(held['held'], 1)
    holder.stdin.close()
    still = json.loads(holder.stdout.readline())['open']
    holder.wait()
    say(f'  {g.name}: {held["held"]} of {count} TLS sessions held, {still} still open, {each:.1f} kB each {held["error"]}')
    if isinstance(g, Dogana):
        row('idle TLS session: kB of PSS', '', f'{each:.1f} ({still} held)', '', '<= 64', each <= 64 and still == count)
    else:
        row('idle TLS session: kB of PSS', f'{each:.0f} ({still} held)', '-', '', '', None)


def recovery(opponents):
    if Dogana not in opponents:
        return
    global run_number
    run_number += 1
    say(f'recovery, {QUEUED} messages of 1 kB for a hub that is down:')
    port = free_port()
    g = Dogana('dogana', port)
    g.start()
    empty = g.pss_kb()
    sent = send(g.port, QUEUED, run_number, '-l', '1024', '-r')
    accepted = sent['accepted']
    say(f'  {accepted} accepted in {(sent["end_ns"] - sent["start_ns"]) / 1e9:.1f} s, '
        f'PSS {empty} kB empty, {g.pss_kb()} kB with the queue')
    g.kill()
    start = time.monotonic()
    g.start()
    listening = time.monotonic() - start
    known = 0
    while time.monotonic() - start < 300 and (known := g.queued()) < accepted:
        time.sleep(0.05)
    seconds = time.monotonic() - start
    each = (g.pss_kb() - empty) * 1024 / max(accepted, 1)
    say(f'  listening after {listening:.2f} s, {known} messages known after {seconds:.2f} s')
    sink = Sink(port)
    sink.expect(run_number, accepted)
    start = time.monotonic()
    g.command('flush')
    got = sink.all(accepted, accepted)
    say(f'  {got["unique"]} delivered in {time.monotonic() - start:.1f} s, {got["duplicates"]} duplicates')
    row(f'{QUEUED} queued, kill -9: s to listening', '', f'{listening:.2f}', '', '', None)
    row('  s to the whole queue known', '', f'{seconds:.2f} ({known} known)', '', '<= 10', seconds <= 10 and known >= accepted)
    row('  bytes of PSS per queued message', '', f'{each:.0f}', '', '<= 512', each <= 512)
    row('  delivered after the restart', '', f'{got["unique"]} of {accepted}', '', 'all', got['unique'] == accepted)
    g.close()
    sink.close()


def policy(opponents):
    if Dogana in opponents:
        policy_bench.run(Dogana, greets, tool('policy_bench'), scratch, row, say)


def dns(opponents):
    if Dogana in opponents:
        dns_bench.run([kind.__name__ for kind in opponents], Dogana.program, row, say, RUNS)


def triage(opponents):
    if Dogana in opponents:
        triage_bench.run(lambda name, extra: Dogana(name, free_port(), extra), tool('crowd'), scratch, row, say, SESSIONS)


def filters(opponents):
    if Dogana in opponents:
        filters_bench.run(sys.modules[__name__], opponents, scratch, max(N // 3, 300), RUNS)


def quarantine(opponents):
    if Dogana in opponents:
        quarantine_bench.beside_relay(sys.modules[__name__], max(N // 2, 300), RUNS)
    quarantine_bench.run(tool('quarantine_bench'), row, say)


def main():
    global scratch
    known = {'relay': relay, 'latency': latency, 'idle': idle, 'recovery': recovery, 'policy': policy, 'dns': dns, 'tls': tls, 'triage': triage, 'filters': filters, 'quarantine': quarantine}
    for name in WHICH:
        if name not in known:
            sys.exit(f'bench: unknown benchmark {name}: {" ".join(known)}')
    opponents = []
    if os.getuid() != 0:
        say('bench: without Postfix: its master needs root')
    elif not (pathlib.Path(os.environ.get('PEERS') or BUILD / 'peers') / 'root/usr/lib/postfix/sbin/master').exists():
        say('bench: without Postfix: make peers fetches it')
    else:
        opponents.append(Postfix)
    if Dogana.program and not os.environ.get('WITHOUT_DOGANA'):
        opponents.append(Dogana)
    else:
        say('bench: without Dogana: there is no build/release/dogana')
    (BUILD / 'tmp').mkdir(parents=True, exist_ok=True)
    scratch = pathlib.Path(tempfile.mkdtemp(prefix='bench-', dir=os.environ.get('SCRATCH') or BUILD / 'tmp'))
    rig.lock_directory(scratch)  # as long as this runs nobody sweeps it away
    scratch.chmod(0o755)
    say(f'{os.cpu_count()} processors, Linux {os.uname().release}; load average {os.getloadavg()[0]:.2f} at the start')
    for name in WHICH:
        known[name](opponents)
    say('')
    print_table()
    if lost:
        say(f'\nbench: {lost} messages LOST')
        return 1
    shutil.rmtree(scratch)
    return 0


if __name__ == '__main__':
    try:
        status = main()
    finally:
        for each in list(running):
            each.close()
    sys.exit(status)
