# SPDX-License-Identifier: BSD-2-Clause
"""The part of bench.py about tables and restrictions: lookups, processor time of a RCPT, memory, reloads."""

import os
import pathlib
import random
import subprocess
import time

ROWS = int(os.environ.get('ROWS') or 1000000)
RULES = 1000
CLASSES = ['reject_unauth_pipelining', 'reject_non_fqdn_sender', 'reject_non_fqdn_recipient', 'reject_unlisted_sender',
           'reject_unlisted_recipient', 'reject_invalid_helo_hostname', 'reject_non_fqdn_helo_hostname']


def address(i):
    return f'user{i * 2654435761 % 4294967296}@domain{i % 1000}.example'


def big_table(path, salt=''):
    with open(path, 'w') as f:
        for i in range(ROWS):
            f.write(f'{address(i)} OK{salt}\n')


def rules(kind):
    """1000 rules of which none matches what the sessions are about: all are looked at."""
    r = random.Random(7)
    if kind == 'cidr':
        return [f'{r.randrange(11, 100)}.{r.randrange(256)}.{r.randrange(256)}.0/24 REJECT' for _ in range(RULES)]
    if kind == 'hash':
        return [f'bad{i}@domain{i}.example REJECT' for i in range(RULES)]
    if kind == 'pcre without text':
        return [f'/^[a-z]{{{i % 30 + 20}}}\\d+@[^.]+\\.(biz|pw)$/ REJECT' for i in range(RULES)]
    shapes = ['/^bad{i}@domain{i}\\.example$/ REJECT', '/@(.*\\.)?spammer{i}\\.test$/ REJECT no $1', '/^bounce-{i}[0-9]+-/ REJECT',
              '/\\.dyn{i}\\.provider\\.test$/ REJECT', '/^.*promo{i}.*@/ REJECT']
    return [shapes[i % len(shapes)].replace('{i}', str(i)) for i in range(RULES)]


def sessions(path):
    r = random.Random(11)
    with open(path, 'w') as f:
        for i in range(2000):
            addr = f'{r.randrange(101, 200)}.{r.randrange(256)}.{r.randrange(256)}.{r.randrange(1, 255)}'
            f.write(f'{addr}\tunknown\tmail{i}.sender{i % 50}.example\tanna.{i}@sender{i % 50}.example\tbob.{i}@domain{i % 1000}.example\n')


def write_conf(etc, settings):
    etc.mkdir(exist_ok=True)
    (etc / 'main.cf').write_text(f'''compatibility_level = 3.6
myhostname = mx.example.com
mydestination =
mynetworks = 127.0.0.0/8
relay_domains = {', '.join(f'domain{i}.example' for i in range(1000))}
smtpd_peername_lookup = no
smtpd_helo_required = yes
queue_directory = {etc}/queue
data_directory = {etc}/data
alias_maps =
{settings}''')


def run_tool(tool, etc, stdin, *args):
    with open(stdin) as f:
        p = subprocess.run([tool, etc, *args], stdin=f, stdout=subprocess.PIPE, text=True, check=True)
    return p.stdout.split()


def lookups(tool, scratch, row, say):
    etc = scratch / 'lookup'
    etc.mkdir()
    big_table(etc / 'big')
    write_conf(etc, f'transport_maps = hash:{etc}/big\n')
    with open(etc / 'keys', 'w') as f:
        for k in range(40000):
            f.write(address(k * 7919 % ROWS) + '\n')
    start = time.monotonic()
    run_tool(tool, etc, os.devnull, 'lookup', 'transport_maps')
    say(f'  hash of {ROWS} entries: built in {time.monotonic() - start:.1f} s')
    run_tool(tool, etc, etc / 'keys', 'lookup', 'transport_maps')
    median, tenth, found = run_tool(tool, etc, etc / 'keys', 'lookup', 'transport_maps')
    say(f'  lookup: {median} ns, worst tenth {tenth} ns, {found} found')
    row(f'hash of {ROWS}: lookup ns', '', f'{median} (p90 {tenth})', '', '<= 2000', int(median) <= 2000 and int(found) == 40000)


def rcpts(tool, scratch, row, say):
    last = None
    for kind in ('20 restrictions', 'cidr', 'hash', 'pcre', 'regexp', 'pcre without text'):
        etc = scratch / ('rcpt-' + kind.replace(' ', '-'))
        etc.mkdir()
        what = f'{kind.split()[0]}:{etc}/rules'
        check = 'check_client_access' if kind == 'cidr' else 'check_sender_access'
        if kind == '20 restrictions':
            (etc / 'none').write_text('nobody@nowhere.example OK\n')
            listed = CLASSES + [f'check_{x}_access hash:{etc}/none' for x in ('client', 'helo', 'sender', 'recipient')] * 3
            setting = ', '.join(['permit_mynetworks', *listed[:18], 'reject_unauth_destination'])
        else:
            (etc / 'rules').write_text('\n'.join(rules(kind)) + '\n')
            setting = f'{check} {what}, reject_unauth_destination'
        write_conf(etc, f'smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination\nsmtpd_recipient_restrictions = {setting}\n')
        sessions(etc / 'sessions')
        usec, done, refused = run_tool(tool, etc, etc / 'sessions', 'rcpt', '20000')
        name = kind if last is None else f'1000 rules of {kind}'
        last = kind
        say(f'  {name}: {usec} us for a RCPT ({done} of them, {refused} refused)')
        goal = None if kind == 'pcre without text' else float(usec) <= 20
        row(f'RCPT, {name}: us of CPU', '', usec, '', '' if goal is None else '<= 20', goal)


def pss_by_process(g):
    found = {}
    for pid in g.group.pids(g.root_pid()):
        try:
            words = pathlib.Path(f'/proc/{pid}/cmdline').read_bytes().split(b'\0')
            for line in open(f'/proc/{pid}/smaps_rollup'):
                if line.startswith(('Pss:', 'Private_Dirty:', 'Rss:')):
                    key = ' '.join(w.decode() for w in words[2:4]) if words[1] == b'role' else 'master'
                    found.setdefault(key, {})[line.split(':')[0]] = int(line.split()[1])
        except OSError:
            pass
    return found


def memory_and_reload(gateway, greets, scratch, row, say):
    """The table in a gateway with two edges: memory, and what a change of a small and of the large table costs."""
    big, small = scratch / 'lookup/big', scratch / 'small'
    small.write_text('nobody@nowhere.example REJECT one\n')

    def made(settings):
        g = gateway('dogana', 1, 'smtpd_peername_lookup = no\nedge_workers = 2\n' + settings)
        g.start()
        return g
    g = made('')
    bare = pss_by_process(g)
    g.close()
    g = made(f'smtpd_recipient_restrictions = check_recipient_access hash:{big}, check_recipient_access hash:{small}\n')
    time.sleep(0.5)
    full = pss_by_process(g)
    size = max((p.stat().st_size for p in (g.dir / 'data/tables').iterdir()), default=0)
    dirty = {k: full[k]['Private_Dirty'] - bare.get(k, full[k])['Private_Dirty'] for k in full if k.startswith('edge')}
    for k in sorted(full):
        say(f'  {k}: PSS {full[k]["Pss"]} kB with the table of {size >> 20} MB, {bare[k]["Pss"] if k in bare else 0} kB without')
    worst = max(dirty.values())
    row(f'hash of {ROWS}: kB of its own in each edge', '', f'{worst} of {size >> 10}', '', '<= 1024', worst <= 1024)

    log = g.dir / 'log'

    def reloads():
        return log.read_text(errors='replace').count('tables reloaded')

    def change(what):
        """Seconds until it is in force, and the longest time an edge took to greet meanwhile."""
        before, longest = reloads(), 0
        what()
        start = time.monotonic()
        while reloads() == before and time.monotonic() - start < 120:
            asked = time.monotonic()
            if greets(g.port):
                longest = max(longest, time.monotonic() - asked)
            time.sleep(0.005)
        return time.monotonic() - start, longest * 1000

    def change_small():
        (scratch / 'small.new').write_text('nobody@nowhere.example REJECT two\n')
        os.replace(scratch / 'small.new', small)

    def change_big():
        big_table(scratch / 'big.new', ' two')
        os.replace(scratch / 'big.new', big)
    seconds, longest = change(change_small)
    say(f'  a small table changed: in force after {seconds:.2f} s, the longest greeting meanwhile {longest:.1f} ms')
    row('  small table changed: s to in force', '', f'{seconds:.2f}', '', '<= 1', seconds <= 1)
    seconds, longest = change(change_big)
    say(f'  the large table changed: in force after {seconds:.2f} s, the longest greeting meanwhile {longest:.1f} ms')
    row('  large table changed: s to in force', '', f'{seconds:.2f}', '', '', None)
    row('  longest greeting meanwhile: ms', '', f'{longest:.1f}', '', '<= 200', longest <= 200)
    g.close()


def run(gateway, greets, tool, scratch, row, say):
    say(f'policy, {ROWS} entries, {RULES} rules:')
    lookups(tool, scratch, row, say)
    rcpts(tool, scratch, row, say)
    if gateway.program:
        memory_and_reload(gateway, greets, scratch, row, say)
