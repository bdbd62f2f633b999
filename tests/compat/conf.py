#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""postconf of Debian's Postfix (make peers) and ours on the same files: what they print, the files they leave, $-expansion.

    conf.py [--runs N] [--seed S] [-v]     N random expressions after the fixed cases
Exit status: 1 if something differs.
"""

import argparse
import concurrent.futures
import os
import pathlib
import random
import subprocess
import sys
import tempfile

TOP = pathlib.Path(__file__).resolve().parents[2]
THEIRS = TOP / 'build/peers/bin/postconf'
OURS = TOP / 'build/dogana'

MAIN = '''compatibility_level = 3.6
# a comment
mail_name = a,
  b   c
# in between
  d
user = x
smtpd_banner = $user hi
unusd = 1
mynetworks = 127.0.0.0/8
smtp_destination_concurrency_limit = 4
empty =
ref = $empty
relayhost = $empty $ref
'''
MASTER = '''smtp inet n - y - - smtpd
587 inet n - n 60 5 smtpd -v
  -o content_filter= -o {smtpd_client_restrictions = permit_mynetworks, reject}
  -o mua=$nonex
  -o smtpd_timeout=5
tlsmgr unix - - n 1000? 1 tlsmgr
smtp unix - - n - - smtp
relay unix - - n - - smtp
  -o syslog_name=postfix/$service_name
maildrop unix - n n - - pipe
  flags=DRXhu user=vmail argv=/usr/bin/maildrop -d ${recipient} and a long line that must be folded somewhere
'''

# Command lines, words by blanks that are not in quotes of one kind: a list where a word has blanks.
PRINTED = ['-n', '-n -x', '-n -f', 'nosuch mail_name', '-h mail_name user', '-H mail_name', '-d mail_name_x user', '-M', '-Mf', '-M smtp',
           '-M smtp/unix', '-M nosuch', '-Mf 587', '-P', '-P 587', '-P */inet/smtpd_timeout', '-F', '-F smtp/unix/chroot', '-o mail_name=zz mail_name',
           '-x smtpd_banner', '-hx smtpd_banner relayhost', 'smtp_destination_concurrency_limit maildrop_time_limit relay_time_limit',
           '-f proxy_read_maps smtp_tls_dane_insecure_mx_policy', '-p mail_name', '-d relay_domains smtputf8_enable mynetworks_style']
EDITED = [['-e', 'relayhost=zz'], ['newone = 1', 'mynetworks=x y'], ['-#', 'mail_name'], ['-X', 'mail_name'], ['-X', 'nosuch'], ['-e', 'foo'],
          ['-e', 'a b=c'], ['-#', 'mail_name=3'], ['-Me', '587/inet=587 inet n - n - 5 smtpd -o x=y'], ['-Me', 'new/unix=new unix - - n - - smtp'],
          ['-M#', '587/inet'], ['-MX', '587/inet'], ['-MX', 'no/inet'], ['-Fe', 'smtp/unix/chroot=n'], ['-Fe', '587/inet/process_limit=7'],
          ['-Fe', '587/inet/command=smtpd -v -o a=b'], ['-Pe', 'relay/unix/smtp_helo_timeout=5s'], ['-PX', '587/inet/mua']]
EXPRESSIONS = ['$full', '${full}', '$(full)', '$$full', '${empty?a}', '${empty:a}', '${ref?a}', '${ref:a}', '${full?{a}:{b}}', '${full?{a}:b}',
               '${full? {a} : {b} }', '${full?a:b}', '${full?a}b}', '$(full?a(b)c)', '${{a} == {b}?{x}:{y}}', '${{10} > {9} ? {x} : {y}}',
               '${{01} == {1}?n}', '${{a}=={a}}', '${{ a } == {a}?x}', '${{3.10}>level{3.9}?{up}:{down}}', '${{5}==level{5.0}?e}', '${full',
               '$', 'a$ b', '${}', '${a-b}', '${full?{a}{b}}', '${full:{a}x}', '${{a} ~ {b}?x}', '${{a}}', '${{x} ==level {3}?a}', '$loop', '${nosuch?a}']


def run(program, directory, words, name='postconf'):
    done = subprocess.run([name, '-c', str(directory), *words], executable=str(program), capture_output=True, text=True, timeout=20, check=False)
    err = [line.split('postconf: ', 1)[-1] for line in done.stderr.splitlines()]
    return done.returncode, done.stdout, err


def printed(program, directory, words):
    status, out, err = run(program, directory, words)
    lines = [line for line in out.splitlines() if not line.startswith('config_directory ')]
    return status, lines, sorted(err)


def value(program, directory, expression):
    """None for an error: the texts are our own."""
    write(directory, f'compatibility_level = 3.6\nfull = x y\nempty =\nref = $empty\nn = 10\nloop = $loop\nmail_name = <{expression}>\n', MASTER)
    status, out, err = run(program, directory, ['-hx', 'mail_name'])
    bad = status != 0 or any('fatal' in e or 'macro' in e or 'expected' in e or 'syntax' in e for e in err)
    return None if bad or not out.startswith('<') else out


def both_values(text):
    with tempfile.TemporaryDirectory(prefix='dogana-conf-') as name:
        return text, value(THEIRS, pathlib.Path(name), text), value(OURS, pathlib.Path(name), text)


def write(directory, main, master):
    (directory / 'main.cf').write_text(main)
    (directory / 'master.cf').write_text(master)


def edited(program, directory, words):
    write(directory, MAIN, MASTER)
    status, _, _ = run(program, directory, words)
    return status, (directory / 'main.cf').read_text(), (directory / 'master.cf').read_text()


def random_text(rng, depth):
    plain = ['a', 'b c', '', 'x', '1', '10', '9', ':', '?', ' ']
    if depth == 0:
        return rng.choice(plain)
    name = rng.choice(['full', 'empty', 'ref', 'n', 'nosuch'])
    a, b = random_text(rng, depth - 1), random_text(rng, depth - 1)
    op = rng.choice(['==', '!=', '<', '<=', '>', '>='])
    blank = rng.choice(['', ' '])
    return rng.choice([
        f'${name}', f'${{{name}}}', f'$({name})', f'${{{name}?{a}}}', f'${{{name}:{a}}}', f'${{{name}?{{{a}}}:{{{b}}}}}', f'${{{name}?{{{a}}}}}',
        f'${{{name}:{{{a}}}}}', f'${{{{{a}}}{blank}{op}{blank}{{{b}}}{blank}?{blank}{{{b}}}{blank}:{blank}{{{a}}}}}', f'${{{{${name}}} {op} {{{a}}}?{{{b}}}}}',
        a + b, f'{a}$${b}', f'{{{a}}}',
    ])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--runs', type=int, default=100)
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('-v', action='store_true')
    args = parser.parse_args()
    if not THEIRS.exists():
        sys.exit(f'{THEIRS} is not there: make peers NAMES=postfix')
    os.environ.pop('MAIL_CONFIG', None)
    rng = random.Random(args.seed)
    cases = differ = 0

    def compare(what, theirs, ours):
        nonlocal cases, differ
        cases += 1
        if args.v or theirs != ours:
            print(f'{"same" if theirs == ours else "DIFFERS"}: {what}')
        if theirs != ours:
            differ += 1
            print(f'  postfix: {theirs!r}\n  ours:    {ours!r}')

    with tempfile.TemporaryDirectory(prefix='dogana-conf-') as name:
        directory = pathlib.Path(name)
        write(directory, MAIN, MASTER)
        for line in PRINTED:
            compare(f'postconf {line}', printed(THEIRS, directory, line.split()), printed(OURS, directory, line.split()))
        for words in EDITED:
            compare('postconf ' + ' '.join(words), edited(THEIRS, directory, words), edited(OURS, directory, words))
        expressions = EXPRESSIONS + [random_text(rng, rng.randint(1, 4)) for _ in range(args.runs)]
        with concurrent.futures.ThreadPoolExecutor(16) as pool:  # Postfix sleeps a second before it says "fatal"
            for text, theirs, ours in pool.map(both_values, expressions):
                compare(text, theirs, ours)
    print(f'conf: {cases - differ} of {cases} alike')
    return 1 if differ else 0


if __name__ == '__main__':
    sys.exit(main())
