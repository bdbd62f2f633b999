#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Every test there is, suite by suite; the last line is the sum: N passed, N failed, N skipped.

    run.py [SUITE...]      default: all of  dialogue unit crash lint fuzz peers keys dns attachments compat sessions sandbox leaks kill demo

The programs must have been built (make test does it). A suite that crashes, hangs or says nothing counts as
failed. FUZZ: seconds per fuzz harness (default 2). KILLS: kills in the kill suite (default 10).

A suite is a list of jobs. Those that need a processor run one more at a time than there are; beside them run two of those that mostly wait. A
suite is reported when its last job has ended, with the time since its first began and the CPU time of its processes.
"""

import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time

TOP = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TOP / 'tests/tools'))
import rig  # noqa: E402

ASAN = TOP / 'build/asan'
FUZZ = TOP / 'build/fuzz'
SECONDS = os.environ.get('FUZZ') or '2'
KILLS = os.environ.get('KILLS') or '10'
ENV = dict(os.environ, DOGANA=os.environ.get('DOGANA') or str(ASAN / 'dogana'), TOOLS=str(ASAN / 'tools'),
           ASAN_OPTIONS='detect_leaks=1:' + os.environ.get('ASAN_OPTIONS', ''))


class Result:
    def __init__(self, passed=0, failed=0, skipped=0, text='', cpu=0):
        self.passed, self.failed, self.skipped, self.text, self.cpu = passed, failed, skipped, text, cpu

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        self.text += other.text
        self.cpu += other.cpu


used = threading.local()  # .cpu: seconds of the processes that this thread has waited for


def call(args, seconds, env=ENV):
    """(exit status or None when it had to be ended, output)"""
    with tempfile.TemporaryFile() as out:
        proc = subprocess.Popen([str(a) for a in args], cwd=TOP, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
        ended = []
        timer = threading.Timer(seconds, lambda: (ended.append(True), proc.kill()))
        timer.start()
        _, status, usage = os.wait4(proc.pid, 0)
        timer.cancel()
        proc.returncode = os.waitstatus_to_exitcode(status)
        used.cpu += usage.ru_utime + usage.ru_stime
        out.seek(0)
        text = out.read().decode(errors='replace')
    return (None, text + f'\n(ended after {seconds} s)') if ended else (proc.returncode, text)


def failure(name, code, text, lines=25):
    tail = '\n'.join(text.splitlines()[-lines:])
    return f'{name}: {"hung" if code is None else f"exit status {code}"}\n{tail}\n'


def cmocka(path):
    code, text = call([path], 120)
    passed = sum(map(int, re.findall(r'\[  PASSED  \] (\d+) test', text)))
    failed = sum(map(int, re.findall(r'\[  FAILED  \] .*?(\d+) test', text)))
    skipped = sum(map(int, re.findall(r'\[  SKIPPED \] (\d+) test', text)))
    if code != 0 and failed == 0 or passed + failed + skipped == 0:
        failed += 1
    return Result(passed, failed, skipped, failure(path.name, code, text) if failed else '')


def counted(name, args, seconds):
    """A runner of ours: its last `N passed, N failed[, N skipped]' counts."""
    code, text = call(args, seconds)
    last = re.findall(r'^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?\s*$', text, re.M)
    if not last:
        return Result(0, 1, 0, failure(name, code, text, 60))
    passed, failed, skipped = (int(x or 0) for x in last[-1])
    if code != 0 and failed == 0:
        failed = 1
    return Result(passed, failed, skipped, text if failed else ''.join(line + '\n' for line in text.splitlines() if line.startswith('skip')))


def one(name, args, seconds):
    """A program that is one test: exit status 0, or 77 for skipped."""
    code, text = call(args, seconds)
    if code == 77:
        return Result(0, 0, 1, f'skipped: {name}: {text.strip().splitlines()[-1] if text.strip() else ""}\n')
    return Result(1) if code == 0 else Result(0, 1, 0, failure(name, code, text))


# ---- the suites

def unit():
    return [(cmocka, ASAN / 'unit' / p.stem) for p in sorted((TOP / 'tests/unit').glob('test_*.c'))]


def crash_one(binary):
    code, text = call([binary], 300)
    last = re.findall(r'^(\d+) passed, (\d+) failed', text, re.M)
    ran = sum(map(int, re.findall(r'\[  PASSED  \] (\d+) test', text)))
    if code == 0:
        return Result(int(last[-1][0]) if last else ran or 1)
    return Result(ran, 1, 0, failure(binary.name, code, text))


def crash():
    return [(crash_one, ASAN / 'crash' / p.stem) for p in sorted((TOP / 'tests/crash').glob('*.c'))]


def fuzz_one(path):
    corpus = TOP / 'build/tmp/corpus' / path.name
    corpus.mkdir(parents=True, exist_ok=True)
    # always the same way through: what is new is for `make fuzz' to find
    args = [path, '-seed=1', f'-max_total_time={SECONDS}', '-timeout=10', '-error_exitcode=1', '-timeout_exitcode=1', '-rss_limit_mb=2048', '-verbosity=0', '-print_final_stats=0',
            f'-artifact_prefix={corpus}/crash-', corpus]
    seeds = TOP / 'tests/fuzz/corpus' / path.name.removeprefix('fuzz_')
    if seeds.is_dir():
        args.append(seeds)
    words = TOP / 'tests/fuzz' / f'{path.name}.dict'
    if words.exists():
        args.append(f'-dict={words}')
    return one(path.name, args, int(SECONDS) + 120)


def no_clang(count):
    return Result(0, 0, count, 'skipped: fuzz: no clang\n')


def fuzz():
    harnesses = sorted((TOP / 'tests/fuzz').glob('fuzz_*.c'))
    return [(fuzz_one, FUZZ / 'fuzz' / p.stem) for p in harnesses] if shutil.which('clang') else [(no_clang, len(harnesses))]


def lint():
    return [(one, 'lint', [TOP / 'tests/lint/lint.py'], 60), (counted, 'confd', [TOP / 'tests/lint/confd.py'], 120)]


def dialogue():
    """As written, and cut."""
    return [(counted, 'dialogue', [TOP / 'tests/dialogue/run.py', '--all', '--points', '32', '-j', '4'], 900)]


def dns():
    return [(counted, 'dns', [TOP / 'tests/dns/run.py'], 300)]


def sandbox():
    return [(counted, 'sandbox', [TOP / 'tests/sandbox/run.py'], 120)]


def keys():
    return [(counted, 'keys', [TOP / 'tests/keys/run.py'], 200)]


def leaks():
    return [(counted, 'leaks', [TOP / 'tests/attack/leaks.py', '4'], 120)]


def kill():
    return [(one, 'kill', [TOP / 'tests/crash/killrun.py', KILLS], 300)]


def peers():
    return [(counted, name, [TOP / 'tests/peers' / f'{program}.py'], seconds) for name, program, seconds in (
        ('virus', 'virus', 300), ('peers', 'run', 300), ('chain', 'chain', 200), ('tls', 'tls', 300), ('milters', 'milters', 150), ('filters', 'filters', 150),
        ('provider', 'provider', 100), ('sasl', 'sasl', 120))]


def compat():
    return [(one, 'compat', ['/usr/bin/python3', TOP / 'tests/compat/compat.py', '--recorded'], 200),
            (one, 'headers', ['/usr/bin/python3', TOP / 'tests/compat/headers.py', '--alone'], 120),
            (counted, 'tlsout', ['/usr/bin/python3', TOP / 'tests/compat/tlsout.py', '--ours'], 120)]


def sessions():
    """A sample of random sessions beside Postfix."""
    return [(one, 'sessions', ['/usr/bin/python3', TOP / 'tests/compat/sessions.py', '--seeds', os.environ.get('SEEDS') or '40'], 300)]


def attachments():
    return [(counted, 'attachments', ['tests/attachments/run.py'], 240)]


def demo():
    return [(one, 'demo', [TOP / 'tests/demo/demo.sh'], 120)]


# in the order in which they begin
WORKING = (unit, crash, lint, fuzz)
WAITING = (dialogue, peers, keys, dns, attachments, compat, sessions, sandbox, leaks, kill, demo)


class Suite:
    """Counts its jobs until the last one has ended."""

    lock = threading.Lock()

    def __init__(self, fn):
        self.name, self.jobs = fn.__name__, fn()
        self.left, self.result, self.begin = len(self.jobs), Result(), None

    def run(self, job):
        self.begin = self.begin or time.monotonic()
        used.cpu = 0
        try:
            if isinstance(job[1], pathlib.Path) and not job[1].exists():
                r = Result(0, 1, 0, f'{job[1].name}: was not built\n')
            else:
                r = job[0](*job[1:])
        except Exception as e:  # a broken runner is a failed test, the others still run
            r = Result(0, 1, 0, f'{self.name}: {e!r}\n')
        r.cpu = used.cpu
        with self.lock:
            self.result.add(r)
            self.left -= 1
            if self.left == 0:
                self.report()

    def report(self):
        r = self.result
        if r.text:
            print('\n'.join('    ' + line for line in r.text.rstrip().splitlines()))
        print(f'{self.name:11} {r.passed:6} passed {r.failed:4} failed {r.skipped:4} skipped   {time.monotonic() - self.begin:6.1f} s {r.cpu:6.1f} s cpu', flush=True)


def main():
    names = sys.argv[1:]
    known = [f.__name__ for f in WORKING + WAITING]
    for name in names:
        if name not in known:
            sys.exit(f'no suite {name}; there are: {" ".join(known)}')
    rig.sweep()
    suites = []
    with concurrent.futures.ThreadPoolExecutor((os.cpu_count() or 1) + 1) as working, concurrent.futures.ThreadPoolExecutor(2) as waiting:
        for pool, group in ((waiting, WAITING), (working, WORKING)):
            for fn in group:
                if names and fn.__name__ not in names:
                    continue
                suites.append(Suite(fn))
                for job in suites[-1].jobs:
                    pool.submit(suites[-1].run, job)
    total = Result()
    for suite in suites:
        total.add(suite.result)
    print(f'{total.passed} passed, {total.failed} failed, {total.skipped} skipped')
    return 1 if total.failed or not total.passed else 0


if __name__ == '__main__':
    sys.exit(main())
