#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""What a compiler does not check: silent when all is well, else FILE:LINE: text and exit status 1.

layers     a file includes only from its own folder and from those of layers.txt
calls      functions the house does not use
marks      unfinished marks
headers    every public function of a header stands below a comment
tested     every reply of the SMTP server is expected by some test
tables     every row is used: events logged, metrics counted, messages sent, parameters that claim to work read,
           fields given; every row of a table with a text has one
"""

import pathlib
import re
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]
CODE = ('gateway', 'policy', 'rbl', 'filters', 'quarantine')
found = []


def say(path, line, text):
    found.append(f'{path.relative_to(TOP)}:{line}: {text}')


def sources(*kinds):
    for top in CODE:
        for kind in kinds:
            yield from sorted((TOP / top).rglob('*' + kind))


def read(path):
    return path.read_text(errors='replace')


def strip_comments(text):
    """Comments become blanks, line numbers stay."""
    return re.sub(r'/\*.*?\*/|//[^\n]*', lambda m: re.sub(r'[^\n]', ' ', m.group(0)), text, flags=re.S)


def layers():
    allowed = {}
    for line in read(TOP / 'tests/lint/layers.txt').splitlines():
        if line.strip() and not line.startswith('#'):
            folder, _, rest = line.partition(':')
            allowed[folder.strip()] = rest.split()
    for path in sources('.c', '.h'):
        folder = str(path.parent.relative_to(TOP))
        if folder not in allowed:
            say(path, 1, f'folder {folder} is not in tests/lint/layers.txt')
            continue
        for n, line in enumerate(read(path).splitlines(), 1):
            m = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
            if not m:
                continue
            target = TOP / 'gateway' / m.group(1)
            if not target.exists():
                target = TOP / m.group(1)
            if not target.exists():
                say(path, n, f'include "{m.group(1)}" is not a path from gateway/ or from the top')
                continue
            into = str(target.parent.relative_to(TOP))
            if into != folder and into not in allowed[folder] and '*' not in allowed[folder]:
                say(path, n, f'{folder} must not include from {into}')


BANNED = re.compile(r'\b(strcpy|strcat|sprintf|vsprintf|strtok|gets|atoi|alloca|system|popen|strncpy|strncat|rand|srand|mktemp|tmpnam)\s*\(')
MARKS = re.compile(r'\b(TODO|FIXME|XXX|HACK|not implemented|unimplemented)\b')


def calls_and_marks():
    for path in list(sources('.c', '.h', '.def')) + sorted((TOP / 'tests').rglob('*.c')):
        text = read(path)
        bare = re.sub(r'"(\\.|[^"\\\n])*"', '""', strip_comments(text))
        for n, line in enumerate(bare.splitlines(), 1):
            m = BANNED.search(line)
            if m and 'poison' not in line and not ('tests' in path.parts and m.group(1) in ('popen', 'system')):
                say(path, n, f'{m.group(1)}() is not used here')
        quoted = re.sub(r'"(\\.|[^"\\\n])*"', '""', text)  # a reply may say that a command is not implemented
        for n, line in enumerate(quoted.splitlines(), 1):
            m = MARKS.search(line)
            if m:
                say(path, n, f'unfinished: {m.group(1)}')


def licence(path):
    """What is linked with libclamav has its licence."""
    return 'GPL-2.0-only' if 'virus' in path.relative_to(TOP).parts else 'BSD-2-Clause'


def headers():
    """A prototype belongs to the comment above its group or behind it; a header begins with a comment."""
    for path in sources('.h'):
        text = read(path)
        if not re.match(rf'/\* SPDX-License-Identifier: {licence(path)} \*/\n/\*', text):
            say(path, 1, 'begins without SPDX line and header comment')
    for path in sources('.c'):
        if not read(path).startswith(f'/* SPDX-License-Identifier: {licence(path)} */'):
            say(path, 1, 'begins without an SPDX line')


def rows(path, name):
    text = read(path)
    for m in re.finditer(rf'^{name}\((\w+),(.*)$', text, re.M):
        yield m.group(1), text.count('\n', 0, m.start()) + 1, m.group(2)


def tables(code):
    # one walk over the code each; the rows then only look up
    words = set(re.findall(r'\w+', code))
    strings = set(re.findall(r'"(\w+)"', code))
    logged = set(re.findall(r'\bLOG0?\(\s*(\w+)', code))
    given = set(re.findall(r'\bF_(?:SPAN|STR|NUM)\(\s*(\w+)', code))
    families = set(re.findall(r'\bp_##\w+##_(\w+)', code))  # smtp and lmtp alike
    base = TOP / 'gateway/base'
    for name, n, _ in rows(base / 'events.def', 'EVENT'):
        if name not in {'info', 'warning', 'error', 'fatal', 'panic'} | logged and f'EV_{name}' not in words:
            say(base / 'events.def', n, f'event {name} is never logged')
    for name, n, _ in rows(base / 'fields.def', 'FIELD'):
        if name not in given and f'LF_{name}' not in words:
            say(base / 'fields.def', n, f'field {name} is never given')
    for name, n, _ in rows(base / 'metrics.def', 'METRIC'):
        if f'M_{name}' not in words:
            say(base / 'metrics.def', n, f'metric {name} is never counted')
    msgs = TOP / 'gateway/ipc/msgs.def'
    for name, n, _ in rows(msgs, 'MSG'):
        if f'IPC_{name}' not in words:
            say(msgs, n, f'message {name} is never sent')
    replies = TOP / 'gateway/smtp/replies.def'
    if replies.exists():
        everything = code + ''.join(strip_comments(read(p)) for p in sources('.def') if p != replies)
        said = set(re.findall(r'\bREPLY_(\w+)', everything)) | set(re.findall(r'\b(\w+)\)', everything)) | {'NONE'}
        for name, n, _ in rows(replies, 'REPLY'):
            if name not in said:
                say(replies, n, f'reply {name} is never given')
    params = TOP / 'gateway/conf/params.def'
    referred = set(re.findall(r'\$[{(]?(\w+)', read(params)))
    for name, n, rest in rows(params, 'PARAM'):
        suffix = re.sub(r'^(default|smtp|lmtp|relay|error|retry|discard)_', '', name)
        used = f'p_{name}' in words or name in strings or name in referred or suffix in families
        per_transport = strings & {suffix, f'smtp_{suffix}', f'lmtp_{suffix}'}
        if 'P_LIVE' in rest and not used and not per_transport:
            say(params, n, f'{name} is marked as working and nothing reads it')
        if 'P_KNOWN' in rest and f'p_{name}' in words:
            say(params, n, f'{name} is marked as not supported and is read')


def tested():
    """A reply that no dialogue and no recorded comparison ever hears is a row without a test."""
    path = TOP / 'gateway/smtp/replies.def'
    if not path.exists():
        return
    heard = ''.join(read(p) for p in sorted((TOP / 'tests/dialogue').glob('*.dlg')) + sorted((TOP / 'tests/compat').glob('*.txt')) +
                    sorted((TOP / 'tests/unit').glob('test_smtp*.c')) + sorted((TOP / 'tests/unit').glob('test_session*.c')))
    heard = heard.replace('\\.', '.')
    for name, n, rest in rows(path, 'REPLY'):
        m = re.match(r'\s*\d+,\s*"[^"]*",\s*"([^"]*)"', rest)
        longest = max(re.split(r'%[hcasn]', m.group(1)), key=len).strip() if m else ''
        if name != 'NONE' and longest and longest not in heard:
            say(path, n, f'no test hears reply {name}: {longest}')


def main():
    layers()
    tested()
    calls_and_marks()
    headers()
    tables('\n'.join(strip_comments(read(p)) for p in sources('.c', '.h')))
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == '__main__':
    sys.exit(main())
