#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Every test there is, suite by suite; the last line is the sum: N passed, N failed, N skipped.

    run.py [SUITE...]      default: all of  unit crash fuzz lint dialogue cut dns sandbox keys leaks kill compat sessions peers attachments demo

The programs must have been built (make test does it). A suite that crashes, hangs or says nothing counts as
failed. FUZZ: seconds per fuzz harness (default 2). KILLS: kills in the kill suite (default 10).
"""

import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

TOP = pathlib.Path(__file__).resolve().parents[1]
ASAN = TOP / 'build/asan'
FUZZ = TOP / 'build/fuzz'
SECONDS = os.environ.get('FUZZ') or '2'
KILLS = os.environ.get('KILLS') or '10'
ENV = dict(os.environ, DOGANA=os.environ.get('DOGANA') or str(ASAN / 'dogana'), TOOLS=str(ASAN / 'tools'),
           ASAN_OPTIONS='detect_leaks=1:' + os.environ.get('ASAN_OPTIONS', ''))


class Result:
    def __init__(self, passed=0, failed=0, skipped=0, text=''):
        self.passed, self.failed, self.skipped, self.text = passed, failed, skipped, text

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        self.text += other.text


def call(args, seconds, env=ENV):
    """(exit status or None when it had to be ended, output)"""
    try:
        done = subprocess.run([str(a) for a in args], cwd=TOP, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=seconds, text=True, errors='replace')
        return done.returncode, done.stdout
    except subprocess.TimeoutExpired as e:
        return None, (e.stdout or b'').decode(errors='replace') + f'\n(ended after {seconds} s)'


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


def several(jobs, workers=2):
    total = Result()
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        for r in pool.map(lambda job: job[0](*job[1:]), jobs):
            total.add(r)
    return total


# ---- the suites

def unit():
    binaries = [ASAN / 'unit' / p.stem for p in sorted((TOP / 'tests/unit').glob('test_*.c'))]
    return several([(cmocka, b) if b.exists() else (lambda b=b: Result(0, 1, 0, f'{b.name}: was not built\n'),) for b in binaries])


def crash():
    total = Result()
    for p in sorted((TOP / 'tests/crash').glob('*.c')):
        binary = ASAN / 'crash' / p.stem
        code, text = call([binary], 300) if binary.exists() else (1, 'was not built')
        last = re.findall(r'^(\d+) passed, (\d+) failed', text, re.M)
        ran = sum(map(int, re.findall(r'\[  PASSED  \] (\d+) test', text)))
        if code == 0:
            total.add(Result(int(last[-1][0]) if last else ran or 1))
        else:
            total.add(Result(ran, 1, 0, failure(p.stem, code, text)))
    return total


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


def fuzz():
    harnesses = sorted((TOP / 'tests/fuzz').glob('fuzz_*.c'))
    if not shutil.which('clang'):
        return Result(0, 0, len(harnesses), 'skipped: fuzz: no clang\n')
    return several([(fuzz_one, FUZZ / 'fuzz' / p.stem) if (FUZZ / 'fuzz' / p.stem).exists() else
                    (lambda p=p: Result(0, 1, 0, f'{p.stem}: was not built\n'),) for p in harnesses])


def lint():
    total = one('lint', [TOP / 'tests/lint/lint.py'], 60)
    total.add(counted('confd', [TOP / 'tests/lint/confd.py'], 120))
    return total


def dialogue():
    return counted('dialogue', [TOP / 'tests/dialogue/run.py', '-j', '4'], 600)


def cut():
    return counted('cut', [TOP / 'tests/dialogue/run.py', '--cut', '--points', '32', '-j', '4'], 900)


def dns():
    return counted('dns', [TOP / 'tests/dns/run.py'], 200)


def sandbox():
    return counted('sandbox', [TOP / 'tests/sandbox/run.py'], 120)


def keys():
    return counted('keys', [TOP / 'tests/keys/run.py'], 120)


def leaks():
    return counted('leaks', [TOP / 'tests/attack/leaks.py', '4'], 120)


def kill():
    return one('kill', [TOP / 'tests/crash/killrun.py', KILLS], 300)


def peers():
    total = counted('peers', [TOP / 'tests/peers/run.py'], 300)
    total.add(counted('tls', [TOP / 'tests/peers/tls.py'], 150))
    total.add(counted('virus', [TOP / 'tests/peers/virus.py'], 300))
    total.add(counted('chain', [TOP / 'tests/peers/chain.py'], 200))
    total.add(counted('milters', [TOP / 'tests/peers/milters.py'], 150))
    total.add(counted('filters', [TOP / 'tests/peers/filters.py'], 150))
    total.add(counted('provider', [TOP / 'tests/peers/provider.py'], 100))
    total.add(counted('sasl', [TOP / 'tests/peers/sasl.py'], 120))
    return total


def compat():
    total = one('compat', ['/usr/bin/python3', TOP / 'tests/compat/compat.py', '--recorded'], 200)
    total.add(one('headers', ['/usr/bin/python3', TOP / 'tests/compat/headers.py', '--alone'], 120))
    total.add(counted('tlsout', ['/usr/bin/python3', TOP / 'tests/compat/tlsout.py', '--ours'], 120))
    return total


def sessions():
    """A sample of random sessions beside Postfix."""
    return one('sessions', ['/usr/bin/python3', TOP / 'tests/compat/sessions.py', '--seeds', os.environ.get('SEEDS') or '40'], 300)


def attachments():
    return counted('attachments', ['tests/attachments/run.py'], 240)


def demo():
    return one('demo', [TOP / 'tests/demo/demo.sh'], 120)


SUITES = (unit, crash, fuzz, lint, dialogue, cut, dns, sandbox, keys, leaks, kill, compat, sessions, peers, attachments, demo)


def main():
    names = sys.argv[1:] or [s.__name__ for s in SUITES]
    total = Result()
    for suite in SUITES:
        if suite.__name__ not in names:
            continue
        begin = time.monotonic()
        try:
            r = suite()
        except Exception as e:  # a broken runner is a failed suite, the others still run
            r = Result(0, 1, 0, f'{suite.__name__}: {e!r}\n')
        if r.text:
            print('\n'.join('    ' + line for line in r.text.rstrip().splitlines()), flush=True)
        print(f'{suite.__name__:9} {r.passed:5} passed {r.failed:4} failed {r.skipped:4} skipped   {time.monotonic() - begin:6.1f} s', flush=True)
        total.add(r)
    print(f'{total.passed} passed, {total.failed} failed, {total.skipped} skipped')
    return 1 if total.failed or not total.passed else 0


if __name__ == '__main__':
    sys.exit(main())
