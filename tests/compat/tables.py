#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""postmap -q of Debian's Postfix (make peers) and ours on the same random tables: pcre, regexp, cidr, hash, texthash.

    tables.py [--runs N] [--seed S]        N tables of 25 keys each
A rule that Postfix warns about and skips is an error here (HACKING.md): such rules are taken out, after a look whether
both complain about the same lines, and what is left is compared. Exit status: 1 if something differs.
"""

import argparse
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile

TOP = pathlib.Path(__file__).resolve().parents[2]
PEERS = pathlib.Path(os.environ.get('PEERS') or TOP / 'build/peers')
THEIRS = PEERS / 'bin/postmap'
OURS = TOP / 'build/dogana'

ATOMS = ['a', 'b', 'c', 'foo', 'bar', 'exam', 'ple', '.', '\\.', '[ab]', '[^c]', '(a|b)', '(foo)', '(bar)?', 'x*', 'o+', 'b?', '\\@',
         '(?:oo|ar)', '(?!foo)', '[[:alpha:]]', '[]a]', '{', 'a{2,3}', '(ab){2}', '^', '$', '@', '-', '(c(a))', '|', '\\w', '\\b', ' ', '\\/']
PIECES = ['a', 'b', 'c', 'foo', 'bar', 'exam', 'ple', '.', '@', '-', 'x', 'oo', 'A', 'FOO', 'Bar', '/', 'z', 'Exam', '\u00f6']
RESULTS = ['', '', ' $1', ' ${2}x', ' $(1)$$', ' $$', ' $1$2']


answers = {}  # found keys by type: that there is something to compare


class Maker:
    def __init__(self, seed):
        self.r = random.Random(seed)
        self.kind = self.r.choice(['pcre', 'regexp', 'pcre', 'regexp', 'cidr', 'hash', 'texthash'])

    def some(self, what, most):
        return ''.join(self.r.choice(what) for _ in range(self.r.randint(1, most)))

    def pattern_lines(self):
        r, lines, depth = self.r, [], 0
        for i in range(r.randint(3, 14)):
            delimiter = r.choice('//|%')
            text = self.some(ATOMS, 6)
            if delimiter == '|':
                text = text.replace('|', '+')
            if delimiter == '/' and r.random() < 0.03:
                text += '\\'
            flags = r.choice(['', '', '', 'i', 'm', 'x', 'im'] + (['s', 'U', 'A', 'E'] if self.kind == 'pcre' else []))
            rule = f'{r.choice(["", "", "", "", "!"])}{delimiter}{text}{delimiter}{flags}'
            p = r.random()
            if p < 0.2:
                lines.append(f'if {rule}')
                depth += 1
            elif p < 0.3 and depth:
                lines.append('endif')
                depth -= 1
            else:
                lines.append(f'{rule} r{i}{"" if rule[0] == "!" else r.choice(RESULTS)}')
                if r.random() < 0.1:
                    lines[-1] += '\n   more text'
        return lines + ['endif'] * depth

    def network(self):
        r = self.r
        if r.random() < 0.3:
            return r.choice(['2001:db8::/32', '[2001:db8:1::]/48', '::/0', '2001:db8::1', '[2001:db8:2::/48]', '2001:db8::1/32'])
        bits = r.choice([8, 16, 24, 32, 12])
        a = [10, r.choice([0, 1, 16]), r.choice([0, 3]), r.choice([0, 9])]
        for i in range(4):
            if i * 8 >= bits and r.random() < 0.95:
                a[i] = 0
        return '.'.join(map(str, a)) + ('' if bits == 32 else f'/{bits}')

    def cidr_lines(self):
        r, lines, depth = self.r, [], 0
        for i in range(r.randint(2, 12)):
            net = r.choice(['', '', '', '!']) + self.network()
            p = r.random()
            if p < 0.2:
                lines.append(f'if {net}')
                depth += 1
            elif p < 0.3 and depth:
                lines.append('endif')
                depth -= 1
            else:
                lines.append(f'{net} r{i}')
        return lines + ['endif'] * depth

    def word_lines(self):
        r, lines = self.r, []
        for i in range(r.randint(1, 20)):
            key = self.some(PIECES, 3)
            if r.random() < 0.2:
                key = f'"{key} {self.some(PIECES, 2)}"@x'
            lines.append(key + r.choice([' ', '\t', '  ']) + r.choice([f'v{i}', f'v{i}  two ', f'v{i}\n  more', f'v{i}\n#c\n\n more', '']))
        return lines

    def lines(self):
        return {'cidr': self.cidr_lines, 'hash': self.word_lines, 'texthash': self.word_lines}.get(self.kind, self.pattern_lines)()

    def keys(self, lines):
        r = self.r
        if self.kind == 'cidr':
            return [r.choice(['2001:db8::1', '2001:db8:1::7', '2001:db8:2::', 'fe80::1', 'name', '10.0.0.0', '10.0.0.9', '10.1.3.9', '10.16.0.1',
                              f'10.{r.randrange(20)}.{r.randrange(4)}.{r.randrange(12)}', '11.1.1.1', '::ffff:10.0.0.9']) for _ in range(25)]
        if self.kind in ('hash', 'texthash'):
            there = [re.match(r'("[^"]*"\S*|\S+)', line).group(1) for line in lines if line[:1].strip()]
            return [r.choice([k, k.upper() if k.isascii() else k, k + 'x']) for k in r.choices(there or ['x'], k=22)] + ['"a b"@x', 'FOO']
        keys = [self.some(PIECES, 8) for _ in range(22)]
        return keys + ['"a b"@x', '"foo bar"@x', 'FOO']


def run(program, conf, table, keys):
    p = subprocess.run([program, '-c', conf, '-q', '-', table], input='\n'.join(keys) + '\n', text=True, capture_output=True, timeout=60)
    return p.returncode, p.stdout, p.stderr


def one(seed, conf, postmap, where):
    m = Maker(seed)
    lines = m.lines()
    keys = m.keys(lines)
    file = where / 'table'
    while True:
        text = '\n'.join(lines) + '\n'
        file.write_text(text)
        if m.kind == 'hash':
            made = subprocess.run([THEIRS, '-c', conf, f'lmdb:{file}'], text=True, capture_output=True)
            theirs = run(THEIRS, conf, f'lmdb:{file}', keys) if made.returncode == 0 else (1, '', made.stderr)
        else:
            theirs = run(THEIRS, conf, f'{m.kind}:{file}', keys)
        ours = run(postmap, conf, f'{m.kind}:{file}', keys)
        bad = {int(n) for n in re.findall(r'error: [^\n]*?/table:(\d+):', ours[2])}
        if not bad:
            break
        for n in bad:
            if f'line {n}:' not in theirs[2]:
                return f'{m.kind}: only we refuse line {n}:\n{text}{ours[2]}{theirs[2]}'
        at, kept = 1, []
        for line in lines:  # an entry may be several lines
            n = line.count('\n') + 1
            if not any(at <= b < at + n for b in bad):
                kept.append(line)
            elif line.startswith('if '):
                return None  # Postfix drops the if and complains about its endif
            at += n
        lines = kept
        if not lines:
            return None
    answers[m.kind] = answers.get(m.kind, 0) + ours[1].count('\n')
    if theirs[:2] != ours[:2]:
        return f'{m.kind}: differ:\n{text}--- Postfix\n{theirs[1]}{theirs[2]}--- Dogana\n{ours[1]}{ours[2]}'
    return None


def main():
    options = argparse.ArgumentParser()
    options.add_argument('--runs', type=int, default=200)
    options.add_argument('--seed', type=int)
    o = options.parse_args()
    if not THEIRS.exists():
        sys.exit('tables: no Postfix: make peers')
    failed = 0
    with tempfile.TemporaryDirectory(prefix='dogana-tables-') as name:
        where = pathlib.Path(name)
        (where / 'main.cf').write_text(f'''compatibility_level = 3.6
myhostname = mx.example.com
mail_owner = mail
setgid_group = uucp
smtputf8_enable = yes
data_directory = {where}/data
shlib_directory = {PEERS}/root/usr/lib/postfix
meta_directory = {where}
''')
        (where / 'dynamicmaps.cf').write_text((PEERS / 'root/usr/share/postfix/dynamicmaps.cf').read_text())
        postmap = where / 'postmap'
        postmap.symlink_to(OURS.resolve())
        first = o.seed if o.seed is not None else random.randrange(1 << 30)
        for seed in range(first, first + o.runs):
            said = one(seed, where, postmap, where)
            if said is not None:
                failed += 1
                print(f'seed {seed}: {said}')
                if failed == 5:
                    break
    print(f'tables: {o.runs} random tables from seed {first} on, {failed} with differences')
    print('  keys found: ' + ', '.join(f'{n} in {kind}' for kind, n in sorted(answers.items())))
    return 1 if failed or not answers else 0


if __name__ == '__main__':
    sys.exit(main())
