#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Runs the dialogues (*.dlg, grammar in README.md) against real gateways with the recording hub behind them.

    run.py [-v] [-j N] [--cut | --all [--bytes N] [--points N]] [--keep] [--list] [SCRIPT...]

Each script runs as written, with all pipelinable commands in one write, and with one byte per write. --cut
runs every script over and over instead: the client gone after each step and (scripts of at most N bytes, default 200) after each byte, the hub gone at each
of its steps; afterwards no session, transaction, draft, job or operation may be left. --all: both, with the same gateways. Last line: N passed, N failed.
"""

import argparse
import concurrent.futures
import pathlib
import sys
import time
import traceback
import warnings

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / 'tools'))
sys.path.insert(0, str(HERE))
import script  # noqa: E402
from cut import can_cut, run_cut  # noqa: E402
from place import Place, canary, check_wire, settle  # noqa: E402
from play import Run  # noqa: E402
from rig import Broken  # noqa: E402

warnings.simplefilter('ignore', DeprecationWarning)  # old TLS is what we want to see refused

SHARED_MAX = 24  # scripts of one gateway


def passes(scr):
    yield 'plain', scr.steps
    if scr.modes is None or 'bytes' in scr.modes:
        if any(s.kind in ('send', 'raw') for s in scr.steps) and sum(len(s.data) for s in scr.steps) < 20000:
            yield 'bytes', scr.steps
    if scr.modes is None or 'whole' in scr.modes:
        whole = scr.variant_whole()
        if whole:
            yield 'whole', whole


def run_script(place, scr):
    failures = []
    for mode, steps in passes(scr):
        run = None
        try:
            run = Run(place, scr, mode)
            run.steps(steps)
            run.finish()
            settle(place)
            check_wire(place)
            if not scr.modes or 'nocanary' not in scr.modes:
                canary(place)
        except Broken as e:
            failures.append(str(e) if scr.name in str(e) else f'{scr.name} ({mode}): {e}')
            if run:
                run.abandon()
            try:
                settle(place)
            except Broken as e2:
                failures.append(f'{scr.name} ({mode}): afterwards: {e2}')
                return failures
    return failures


def run_group(scripts, args):
    """(results: [(script, whether cut, [failure], seconds)], problems of the gateway as a whole)"""
    results, place = [], None
    due = [] if args.cut else [(scr, False) for scr in scripts]
    if args.cut or args.all:
        due += [(scr, True) for scr in scripts if can_cut(scr)]
    try:
        place = Place(scripts[0], scripts)
        for scr, is_cut in due:
            begin = time.monotonic()
            if place.gateway.proc.poll() is not None:
                raise Broken(f'the gateway ended with {place.gateway.proc.returncode}')
            failures = run_cut(place, scr, args.bytes, args.points) if is_cut else run_script(place, scr)
            results.append((scr, is_cut, failures, time.monotonic() - begin))
    except (Broken, OSError, ValueError, KeyError) as e:
        why = str(e) if isinstance(e, Broken) else traceback.format_exc()
        results += [(scr, is_cut, [f'{scr.name}: {why}'], 0) for scr, is_cut in due[len(results):]]
    problems = place.end(args.keep) if place else []
    return results, problems


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument('-v', action='store_true')
    ap.add_argument('-j', type=int, default=2)
    ap.add_argument('--cut', action='store_true')
    ap.add_argument('--all', action='store_true')
    ap.add_argument('--bytes', type=int, default=200)
    ap.add_argument('--points', type=int, default=0)
    ap.add_argument('--keep', action='store_true')
    ap.add_argument('--list', action='store_true')
    ap.add_argument('scripts', nargs='*')
    args = ap.parse_args()
    if args.scripts:
        paths = [pathlib.Path(p) if p.endswith('.dlg') else q for p in args.scripts for q in ([p] if p.endswith('.dlg') else sorted(HERE.glob(f'{p}*.dlg')))]
    else:
        paths = sorted(HERE.glob('*.dlg'))
    groups = {}
    for path in paths:
        scr = script.Script(path)
        if args.cut and not can_cut(scr):
            continue
        groups.setdefault(scr.key(), []).append(scr)
        if args.list:
            print(f'{scr.name:32} {scr.title}')
    if args.list:
        return 0
    # the large ones first, so that none of them is what all others are waited with
    chunks = sorted((g[i:i + SHARED_MAX] for g in groups.values() for i in range(0, len(g), SHARED_MAX)), key=len, reverse=True)
    passed = failed = 0
    with concurrent.futures.ThreadPoolExecutor(args.j) as pool:
        for results, problems in pool.map(lambda g: run_group(g, args), chunks):
            for scr, is_cut, failures, seconds in results:
                passed += not failures
                failed += bool(failures)
                if args.v or failures:
                    print(f'{"FAIL" if failures else "ok  "} {scr.name:30} {seconds:5.1f} s  {"cut: " if is_cut else ""}{scr.title}', flush=True)
                for text in failures:
                    print('     ' + text.replace('\n', '\n     '), flush=True)
            if problems:
                failed += 1
                print(f'FAIL gateway of {", ".join(r[0].name for r in results[:4])}{"..." if len(results) > 4 else ""}:', flush=True)
                for text in problems:
                    print('     ' + text.replace('\n', '\n     '), flush=True)
    print(f'{passed} passed, {failed} failed')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
