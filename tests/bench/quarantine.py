# SPDX-License-Identifier: BSD-2-Clause
"""The quarantine: what a message costs that is held beside one that is relayed; and at ROWS (1,000,000) held messages what a page costs by each
filter, what storing costs. See tools/quarantine_bench.c."""

import os
import re
import shutil
import statistics
import subprocess
import tempfile
import time

ROWS = int(os.environ.get('ROWS') or 1000000)
PUTS = int(os.environ.get('PUTS') or 20000)
PAGE_MS, WORDS_MS = 50, 200
HELD_MORE = 1.3  # of the CPU of relaying the same message
HELD_SECONDS = 120


def stored(gateway):
    found = re.search(r'^total +(\d+) ', gateway.command('quarantine', 'stats'), re.M)
    return int(found.group(1)) if found else 0


def hold_once(bench, gateway, messages, *options):
    """CPU of the whole gateway for each message, until the store has them all. Asking it costs something, too: seldom."""
    before, cpu, start = stored(gateway), gateway.cpu_usec(), time.monotonic()
    sent = bench.send(gateway.port, messages, 1, *options)
    answered = time.monotonic()
    while (count := stored(gateway) - before) < sent['accepted']:
        if time.monotonic() > answered + HELD_SECONDS:
            raise SystemExit(f'bench: {count} of {sent["accepted"]} held messages are in the quarantine after {HELD_SECONDS} s')
        time.sleep(0.25)
    end = time.monotonic()
    cpu = (gateway.settled_cpu_usec() - cpu) / max(sent['accepted'], 1)
    bench.say(f'  held    {sent["accepted"] / (end - start):8.0f} messages/s  {cpu:6.0f} us CPU each  final dot p50 {sent["p50_us"]} us, p99 {sent["p99_us"]} us')
    return cpu


def beside_relay(bench, count, runs):
    """The same message relayed and held, in turn."""
    sink = bench.Sink(port := bench.free_port())
    relayed = bench.Dogana('relayed', port)
    held = bench.Dogana('held', port, 'smtpd_client_restrictions = check_client_access static:{QUARANTINE bench}\n')
    try:
        for g in (relayed, held):
            g.start()
        bench.relay_once(relayed, sink, 300)
        hold_once(bench, held, 300)
        for mode, options in (('new session each', []), ('reused sessions', ['-r'])):
            bench.say(f'10 kB, 20 clients, {mode}: relayed, held')
            results = []
            for _ in range(runs):
                results.append((bench.relay_once(relayed, sink, count, *options)['cpu'], hold_once(bench, held, count, *options)))
            part = statistics.median(h / r for r, h in results)
            cpu = [statistics.median(x) for x in zip(*results)]
            bench.row(f'quarantine, {mode}: CPU us a message, relayed / held', None, f'{cpu[0]:.0f} / {cpu[1]:.0f}', f'{100 * part:.0f} %', f'<= {100 * HELD_MORE:.0f} %',
                      part <= HELD_MORE)
    finally:
        for g in (relayed, held):
            g.close()
        sink.close()


def run(tool, row, say):
    top = tempfile.mkdtemp(prefix='dogana-quarantine-', dir=os.environ.get('SCRATCH'))
    values = {}
    try:
        say(f'quarantine: {ROWS} rows are made, a minute or two')
        with subprocess.Popen([tool, top + '/store', str(ROWS), str(PUTS)], stdout=subprocess.PIPE, text=True) as p:
            for line in p.stdout:
                say('  ' + line.rstrip())
                name, value = line.split()[:2]
                values[name] = float(value)
            if p.wait() != 0:
                raise RuntimeError('quarantine_bench failed')
    finally:
        shutil.rmtree(top, ignore_errors=True)
    words = {n: v for n, v in values.items() if n.startswith(('list_subject', 'list_text'))}
    pages = {n: v for n, v in values.items() if n.startswith('list_') and n not in words and n != 'list_page_of_1000'}
    for what, of, goal in (('a page by any filter, the slowest', pages, PAGE_MS), ('words in the subject, the slowest', words, WORDS_MS)):
        worst = max(of, key=of.get)
        row(f'quarantine: {what}', None, f'{of[worst]:.1f} ms ({worst[5:]})', None, f'{goal} ms', of[worst] <= goal)
    row('quarantine: CPU of storing a message, empty / full', None, f"{values['put_empty_cpu']:.0f} / {values['put_at_million_cpu']:.0f} us", None, None, None)
    row('quarantine: messages stored a second, empty / full', None, f"{values['put_empty_rate']:.0f} / {values['put_at_million_rate']:.0f}", None, None, None)
    row('quarantine: memory of its process', None, f"{values['rss_end'] / 1024:.0f} MB", None, None, None)
