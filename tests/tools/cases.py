# SPDX-License-Identifier: BSD-2-Clause
"""Tests that are functions: those marked with @case run in the order they stand in, each once.

    from cases import Skip, case, run_cases
    sys.exit(run_cases(sys.argv[1:], world, after=world.gateway.tail))
"""

import collections
import os
import pathlib
import time
import traceback

import rig

PEERS = pathlib.Path(os.environ.get('PEERS') or rig.TOP / 'build/peers')
CASES = []


class Skip(Exception):
    """What it needs is not there."""


def case(fn):
    CASES.append(fn)
    return fn


def peer(name):
    """A program of build/peers, or Skip."""
    path = PEERS / 'bin' / name
    if not path.exists():
        raise Skip(f'{name} is not in {PEERS}: tests/tools/peers.sh')
    return str(path)


def run_case(fn, world, verbose, after):
    """passed, failed or skipped."""
    start = time.monotonic()
    try:
        fn(*world)
    except Skip as why:
        print(f'skip {fn.__name__}: {why}', flush=True)
        return 'skipped'
    except Exception as why:  # noqa: BLE001
        print(f'FAIL {fn.__name__}: {type(why).__name__}: {why}', flush=True)
        if verbose or not isinstance(why, (AssertionError, rig.Broken)):
            traceback.print_exc()
        if after is not None:
            print('     ' + after().replace('\n', '\n     '), flush=True)
        return 'failed'
    if verbose:
        print(f'ok   {fn.__name__} ({time.monotonic() - start:.1f} s)', flush=True)
    return 'passed'


def run_cases(args, *world, after=None, close=None, troubles=None):
    """args: -v, and parts of names (default: all). after(): what to show behind a failure; close(): ends the world, once, whatever happens;
    troubles(): what is wrong behind that, a list. Prints the counts; gives the exit status."""
    names = [a for a in args if not a.startswith('-')]
    counts, wrong = collections.Counter(), []
    try:
        for fn in CASES:
            if not names or any(n in fn.__name__ for n in names):
                counts[run_case(fn, world, '-v' in args, after)] += 1
    finally:
        try:
            if close is not None:
                close()
        except Exception as why:  # noqa: BLE001
            wrong.append(f'{type(why).__name__}: {why}')
    wrong += troubles() if troubles is not None else []
    for text in wrong:
        print(f'FAIL at the end: {text}')
    counts['failed'] += bool(wrong)
    print(f'{counts["passed"]} passed, {counts["failed"]} failed, {counts["skipped"]} skipped')
    if counts['failed']:
        return 1
    rig.remove_work()
    return 0
