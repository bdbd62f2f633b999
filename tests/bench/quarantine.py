# SPDX-License-Identifier: BSD-2-Clause
"""The quarantine at ROWS (1,000,000) held messages: what a page costs by each filter, what storing costs. See tools/quarantine_bench.c."""

import os
import shutil
import subprocess
import tempfile

ROWS = int(os.environ.get('ROWS') or 1000000)
PUTS = int(os.environ.get('PUTS') or 20000)
PAGE_MS, WORDS_MS = 50, 200


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
