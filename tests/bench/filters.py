# SPDX-License-Identifier: BSD-2-Clause
"""Filters: relay with three milters that only accept, beside Postfix with the same three; with a milter that is dead; with virus scanning, beside
Postfix + clamav-milter + clamd with the same two-line signature file. PART="chain virus": which of them."""

import os
import pathlib
import statistics
import subprocess
import time

from programs import listens

TOP = pathlib.Path(__file__).resolve().parents[2]
PEERS = pathlib.Path(os.environ.get('PEERS') or TOP / 'build/peers')
SIGNATURES = '44d88612fea8a8f36de82e1278abb02f:68:Eicar-Test-Signature\naa15bcf478d165efd2065190eb473bcb:544:ClamAV-Test-File\n'


class Program:
    """A server of the test: ends with it."""

    def __init__(self, words, ready, **more):
        self.proc = subprocess.Popen([str(w) for w in words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, **more)
        end = time.monotonic() + 60
        while not ready():
            if self.proc.poll() is not None or time.monotonic() > end:
                raise SystemExit(f'bench: {words[0]} does not start')
            time.sleep(0.05)

    def cpu_usec(self):
        f = pathlib.Path(f'/proc/{self.proc.pid}/stat').read_text().rpartition(')')[2].split()
        return sum(int(x) for x in f[11:15]) * 1000000 // os.sysconf('SC_CLK_TCK')

    def stop(self):
        self.proc.terminate()
        try:
            self.proc.wait(15)
        except subprocess.TimeoutExpired:
            self.proc.kill()
            self.proc.wait()


class Chain:
    """Three milters of tests/tools/okmilter.c: '' looks at everything and says "continue", '-e' only at the end of the message, '-a' accepts
    each message when it hears its sender."""

    def __init__(self, bench, kind):
        self.ports = [bench.free_port() for _ in range(3)]
        self.programs = [Program([bench.tool('okmilter'), *kind.split(), f'inet:{p}@127.0.0.1'], lambda p=p: listens(p)) for p in self.ports]
        self.setting = 'smtpd_milters = ' + ' '.join(f'inet:127.0.0.1:{p}' for p in self.ports) + '\n'

    def cpu_usec(self):
        return sum(p.cpu_usec() for p in self.programs)

    def stop(self):
        for p in self.programs:
            p.stop()


def edge_cpu_usec(gateway):
    """User and system time of the processes that speak SMTP and milter."""
    ticks = 0
    for pid in gateway.group.pids(gateway.root_pid()):
        if b'role\0edge' in pathlib.Path(f'/proc/{pid}/cmdline').read_bytes().replace(b' ', b'\0'):
            ticks += sum(int(x) for x in pathlib.Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[11:13])
    return ticks * 1000000 // os.sysconf('SC_CLK_TCK')


def chain_once(bench, gateway, chain, sink, count, *options):
    """One run: with the edge's part, and what the milters themselves needed."""
    is_ours = isinstance(gateway, bench.Dogana)
    edge, own = edge_cpu_usec(gateway) if is_ours else 0, chain.cpu_usec() if chain else 0
    r = bench.relay_once(gateway, sink, count, *options)
    r['edge'] = (edge_cpu_usec(gateway) - edge) / count if is_ours else 0
    r['milters'] = (chain.cpu_usec() - own) / count if chain else 0
    return r


KINDS = (('', 'look at everything'), ('-e', 'see the end'), ('-a', 'accept the sender'))


def milters(bench, opponents, count, runs):
    """Three that only accept; one that is not there. Beside Postfix with the same three."""
    sink = bench.Sink(port := bench.free_port())
    dead = bench.free_port()
    chains = {kind: Chain(bench, kind) for kind, _ in KINDS}
    plain = bench.Dogana('none', port)
    broken = bench.Dogana('dead', port, f'smtpd_milters = inet:127.0.0.1:{dead}\nmilter_default_action = accept\n')
    ours = {kind: bench.Dogana('three' + kind, port, 'milter_connection_reuse = yes\n' + chains[kind].setting) for kind, _ in KINDS}
    theirs = {}
    if bench.Postfix in opponents:
        theirs = {'none': bench.Postfix('postfix', port), '': bench.Postfix('postfix3', port, chains[''].setting)}
    everybody = [plain, broken, *ours.values(), *theirs.values()]
    try:
        for g in everybody:
            g.start()
            bench.relay_once(g, sink, 1500 if isinstance(g, bench.Dogana) else 200)  # what a milter never objected to may be told later
        for mode, options in (('new session each', []), ('reused sessions', ['-r'])):
            bench.say(f'relay, 10 kB, 20 clients, {mode}: no milter, three of each kind, one that is dead:')
            results = {g: [] for g in everybody}
            for _ in range(runs):
                for g in everybody:
                    chain = next((chains[k] for k in ours if g in (ours[k], theirs.get(k))), None)
                    n = count if isinstance(g, bench.Dogana) else max(count // 6, 100)
                    results[g].append(chain_once(bench, g, chain, sink, n, *options))
            med = {g: {k: statistics.median(r[k] for r in results[g]) for k in ('rate', 'cpu', 'edge', 'milters')} for g in everybody}
            beside = f'{med[theirs[""]]["cpu"] - med[theirs["none"]]["cpu"]:.0f} ({med[theirs[""]]["rate"]:.0f}/s)' if theirs else ''
            for kind, what in KINDS:
                m = med[ours[kind]]
                more = m['cpu'] - med[plain]['cpu']
                bench.row(f'three milters that {what}, {mode}: gateway CPU us a message more', '' if kind else beside,
                          f'{more:.0f} ({m["rate"]:.0f}/s of {med[plain]["rate"]:.0f})', '', '<= 100', more <= 100)
                bench.row('  of it the process that speaks with them / CPU of the milters themselves', '' if kind or not theirs else f'- / {med[theirs[""]]["milters"]:.0f}',
                          f'{m["edge"] - med[plain]["edge"]:.0f} / {m["milters"]:.0f}', '', '', None)
            part = med[broken]['rate'] / med[plain]['rate']
            bench.row(f'dead milter, breaker open, {mode}', '', f'{med[broken]["rate"]:.0f}/s of {med[plain]["rate"]:.0f}', f'{100 * part:.0f} %', '>= 95 %', part >= 0.95)
    finally:
        for c in chains.values():
            c.stop()
        for g in everybody:
            g.close()
        sink.close()


def clamav(directory, milter_port):
    """clamd and clamav-milter of Debian, unpacked."""
    directory.mkdir()
    (directory / 'db').mkdir()
    (directory / 'db/test.hdb').write_text(SIGNATURES)
    sock = directory / 'clamd.sock'
    (directory / 'clamd.conf').write_text(f'LocalSocket {sock}\nDatabaseDirectory {directory}/db\nForeground yes\nUser root\nTemporaryDirectory {directory}\n'
                                          f'LogFile {directory}/clamd.log\n')
    (directory / 'milter.conf').write_text(f'MilterSocket inet:{milter_port}@127.0.0.1\nClamdSocket unix:{sock}\nForeground yes\nUser root\nOnInfected Reject\n'
                                           f'AddHeader Replace\nTemporaryDirectory {directory}\nLogFile {directory}/milter.log\n')
    clamd = Program([PEERS / 'bin/clamd', '-c', directory / 'clamd.conf'], sock.exists)
    return [clamd, Program([PEERS / 'bin/clamav-milter', '-c', directory / 'milter.conf'], lambda: listens(milter_port))]


def virus(bench, opponents, scratch, count, runs):
    if not (bench.BUILD / 'release/dogana-virus').exists() and not (bench.BUILD / 'dogana-virus').exists():
        bench.say('bench: without virus scanning: there is no build/dogana-virus')
        return
    sink = bench.Sink(port := bench.free_port())
    db = scratch / 'signatures'
    db.mkdir(mode=0o755)
    (db / 'test.hdb').write_text(SIGNATURES)
    programs, pair = [], []
    try:
        if bench.Postfix in opponents and (PEERS / 'bin/clamav-milter').exists():
            milter = bench.free_port()
            programs = clamav(scratch / 'clamav', milter)
            pair.append(bench.Postfix('postfix', port, f'smtpd_milters = inet:127.0.0.1:{milter}\nmilter_default_action = tempfail\n'))
        else:
            bench.say('bench: without Postfix + clamav-milter: make peers fetches them')
        # each message is another one: nothing is answered from the cache
        ours = bench.Dogana('dogana', port, f'virus_engine = embedded\nvirus_database = {db}\nvirus_cache_size = 0\n')
        pair.append(ours)
        for g in pair:
            g.start()
            bench.relay_once(g, sink, 200)
        for mode, options in (('new session each', []), ('reused sessions', ['-r'])):
            bench.say(f'relay with virus scan, 10 kB, 20 clients, {mode}:')
            results = {g: [] for g in pair}
            other = {g: 0 for g in pair}
            for _ in range(runs):
                for g in pair:
                    n = count if g is ours else max(count // 6, 100)
                    before = sum(p.cpu_usec() for p in programs) if g is not ours else 0
                    results[g].append(bench.relay_once(g, sink, n, *options))
                    if g is not ours:
                        other[g] += (sum(p.cpu_usec() for p in programs) - before) / n / runs
            med = {g: {k: statistics.median(r[k] for r in results[g]) for k in ('rate', 'cpu')} for g in pair}
            theirs = pair[0] if len(pair) == 2 else None
            ratio = med[ours]['rate'] / med[theirs]['rate'] if theirs else None
            bench.row(f'relay with virus scan, {mode}: messages/s', f'{med[theirs]["rate"]:.0f}' if theirs else '', f'{med[ours]["rate"]:.0f}', f'{ratio:.1f} x' if ratio else '',
                      '>= 8 x', ratio >= 8 if ratio else None)
            bench.row('  CPU us a message, scanner included', f'{med[theirs]["cpu"] + other[theirs]:.0f}' if theirs else '', f'{med[ours]["cpu"]:.0f}', '', '', None)
    finally:
        for p in programs:
            p.stop()
        for g in pair:
            g.close()
        sink.close()


def run(bench, opponents, scratch, count, runs):
    parts = (os.environ.get('PART') or 'chain virus').split()
    if 'chain' in parts:
        milters(bench, opponents, count, runs)
    if 'virus' in parts:
        virus(bench, opponents, scratch, count, runs)
