#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The files of conf.d as somebody uses them: each alone, all together, and every setting and service that stands there behind a '#', switched on
one at a time with the files it names beside it (tables are empty). `dogana check' must have nothing against it. Prints "N passed, N failed".

    confd.py [-v]          environment: DOGANA
"""

import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

TOP = pathlib.Path(__file__).resolve().parents[2]
CONF = TOP / 'conf.d'
# About this machine, not about the configuration: no users, certificate, signatures, logins; no mailboxes when the file that says so is not there.
FINE = re.compile(r'_user: user dogana-|no server certificate|/var/lib/clamav is not there|there is no smtpd.conf|sasldb_path|there are no mailboxes|clamd sees what|using backwards-compat')


def program():
    for p in (os.environ.get('DOGANA'), TOP / 'build/asan/dogana', TOP / 'build/release/dogana'):
        if p and pathlib.Path(p).exists():
            return str(p)
    sys.exit('confd: no dogana; run make first')


def switched_on(path):
    """[(what, text)] of what stands behind '#': settings, or services with their lines."""
    found, lines = [], path.read_text().splitlines()
    master = path.name == 'master.cf'
    begins = re.compile(r'#((?:[\w.]+:)?\w+ +(?:inet|unix|pass) +.*)' if master else r'#([a-z]\w* = ?.*)')
    for i, line in enumerate(lines):
        m = begins.fullmatch(line)
        if not m:
            continue
        text = m[1] + '\n'
        for more in lines[i + 1:]:
            if not (re.match(r'#  -o', more) if master else text.rstrip().endswith(',') and re.match(r'#\s+\S', more)):
                break
            text += f'  {more[1:].strip()}\n'
        found.append((f'{path.name}: {m[1]}', text))
    return found


def check(files):
    """What is wrong with the configuration; files: {name: text}."""
    with tempfile.TemporaryDirectory(prefix='dogana-confd-') as where:
        d = pathlib.Path(where)
        for name, text in files.items():
            text = text.replace('/etc/dogana', where)
            (d / name).write_text(text)
        with open(d / '00-place.cf', 'w') as f:  # tables are made there; the one by default is the administrator's
            f.write(f'data_directory = {where}/data\n')
        for named in re.findall(r'(?:/etc/dogana|\$config_directory)/([\w.-]+)', '\n'.join(files.values())):
            if (CONF / named).exists():
                shutil.copy(CONF / named, d)
            else:
                (d / named).touch()
        done = subprocess.run([program(), '-c', where, 'check'], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
        wrong = [line.replace(where, '') for line in done.stdout.splitlines() if not FINE.search(line)]
        return wrong or ([f'exit status {done.returncode}'] if done.returncode != 0 else [])


def main():
    texts = {p.name: p.read_text() for p in sorted(CONF.glob('*.cf'))}
    services = re.sub(r'(?m)^#(?=[\w.:]+ +(?:inet|unix|pass) |  -o )', '', texts['master.cf'])
    services = re.sub(r'(?m)^smtp +inet .*smtpd\n', '', services, count=1)  # another line takes its place
    cases = [('all of it', texts), ('all services', texts | {'master.cf': services})]
    for name, text in texts.items():
        cases.append((name, {name: text} if name != 'master.cf' else {name: text, '10-identity.cf': texts['10-identity.cf']}))
        for what, more in switched_on(CONF / name):
            if name != 'master.cf':
                cases.append((what, texts | {'99-more.cf': more} | ({'master.cf': services} if 'scan:' in more else {})))
            elif 'postscreen' not in more and ' pass ' not in more:  # these two go together, above
                cases.append((what, texts | {name: text + more}))
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for (what, _), wrong in zip(cases, pool.map(lambda c: check(c[1]), cases)):
            failed += bool(wrong)
            if wrong or '-v' in sys.argv:
                print(f'{"FAIL" if wrong else "ok  "} {what}', *wrong, sep='\n     ')
    print(f'{len(cases) - failed} passed, {failed} failed')
    return 1 if failed or len(cases) < 100 else 0


if __name__ == '__main__':
    sys.exit(main())
