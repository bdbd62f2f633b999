# SPDX-License-Identifier: BSD-2-Clause
"""Tests that are functions: those marked with @case run in the order they stand in, each once.

    from cases import Skip, case, run_cases
    sys.exit(run_cases(sys.argv[1:], world, after=world.gateway.tail))
"""

import collections
import time
import traceback

import rig

CASES = []


class Skip(Exception):
    """What it needs is not there."""


def case(fn):
    CASES.append(fn)
    return fn


def run_cases(args, *world, after=None, troubles=None):
    """args: -v, and parts of names (default: all). after(): what to show behind a failure; troubles(): what is wrong at the end, a list.
    Prints the counts; gives the exit status."""
    verbose = '-v' in args
    names = [a for a in args if not a.startswith('-')]
    counts = collections.Counter()
    for fn in CASES:
        if names and not any(n in fn.__name__ for n in names):
            continue
        start = time.monotonic()
        try:
            fn(*world)
            counts['passed'] += 1
            if verbose:
                print(f'ok   {fn.__name__} ({time.monotonic() - start:.1f} s)', flush=True)
        except Skip as why:
            counts['skipped'] += 1
            print(f'skip {fn.__name__}: {why}', flush=True)
        except Exception as why:  # noqa: BLE001
            counts['failed'] += 1
            print(f'FAIL {fn.__name__}: {type(why).__name__}: {why}', flush=True)
            if verbose or not isinstance(why, (AssertionError, rig.Broken)):
                traceback.print_exc()
            if after is not None:
                print('     ' + after().replace('\n', '\n     '), flush=True)
    wrong = troubles() if troubles is not None else []
    for text in wrong:
        print(f'FAIL gateway: {text}')
    counts['failed'] += bool(wrong)
    print(f'{counts["passed"]} passed, {counts["failed"]} failed, {counts["skipped"]} skipped')
    return 1 if counts['failed'] else 0
