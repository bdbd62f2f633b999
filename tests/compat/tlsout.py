#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""TLS as a client: every level with every kind of hub, for us and for Debian's Postfix; what became of the mail, compared.

    tlsout.py [-v] [--ours | --record]

A message for each pair of level and hub. Of each: status, enhanced code and text, and the lines about TLS. Besides, for us
alone (SAFE): whatever the hub does, no message and no login reaches it in the clear above `may'. Exit status 1 if
something differs that DIFFERENCES does not list, 77 where Postfix cannot run. --ours: without it, compared with what it
did when tlsout.txt was written (--record; status, code and text only).
"""

import argparse
import hashlib
import os
import pathlib
import re
import shutil
import smtplib
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parents[1]
sys.path.insert(0, str(TOP / 'tests/tools'))
import rig  # noqa: E402
from provider import Provider  # noqa: E402

PEER = TOP / 'tests/tools/postfix-peer.sh'
LEVELS = {
    'none': [], 'may': [], 'old': ['level=may', 'minimal_backoff_time=1s'], 'encrypt': [], 'fingerprint': ['smtp_tls_fingerprint_cert_match=@FP@'],
    'verify': [], 'secure': [], 'anchor': ['level=secure', 'smtp_tls_trust_anchor_file=@DIR@/other-ca.pem'],
    'login': ['level=encrypt', 'smtp_sasl_auth_enable=yes', 'smtp_sasl_security_options=noanonymous'],
    'hold': ['level=may', 'smtp_sasl_auth_enable=yes', 'smtp_sasl_security_options=noplaintext,noanonymous', 'smtp_sasl_tls_security_options=noanonymous'],
    'modern': ['level=encrypt', 'smtp_tls_mandatory_protocols=>=TLSv1.3'],
}
HUBS = {
    'good': 'cert=good', 'tls12': 'cert=good max=1.2', 'ec': 'cert=good-ec', 'long': 'cert=long', 'wrong': 'cert=wrong', 'expired': 'cert=expired',
    'future': 'cert=future', 'self': 'cert=self', 'unknown': 'cert=unknown', 'nul': 'cert=nul', 'cn': 'cert=cn-only', 'ip': 'cert=ip', 'wild': 'cert=wild',
    'hidden': 'cert=good starttls=hidden', 'refuse4': 'cert=good starttls=454_4.7.0_TLS_not_available', 'refuse5': 'cert=good starttls=502_5.5.1_what',
    'garbage': 'cert=good starttls=garbage', 'close': 'cert=good starttls=close', 'stall': 'cert=good starttls=stall', 'early': 'cert=good starttls=early',
    'cutmail': 'cert=good trick=mail-close', 'cutdata': 'cert=good trick=data-cut', 'clear': 'cert=good when=clear', 'refused': 'cert=good pass=another',
}
COMMON = '''compatibility_level = 3.6
myhostname = mx.example.com
mydomain = example.com
mydestination =
local_transport = error:no mailboxes here
local_recipient_maps =
relay_recipient_maps =
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
smtpd_error_sleep_time = 0
smtpd_recipient_limit = 2000
default_process_limit = 400
smtpd_client_connection_count_limit = 0
smtp_tls_loglevel = 1
smtp_tls_CAfile = @DIR@/ca.pem
smtp_tls_verify_cert_match = gateway.test
smtp_tls_secure_cert_match = gateway.test
smtp_starttls_timeout = 3s
smtp_sasl_password_maps = texthash:@DIR@/passwords
smtp_sasl_security_options = noanonymous
smtp_connection_cache_on_demand = no
transport_maps = texthash:@DIR@/transport
relay_domains = .x
parent_domain_matches_subdomains =
'''
# (regular expression of "level hub", what is compared all the same, why): what is different on purpose
DIFFERENCES = [
    (r'(encrypt|fingerprint|verify|secure|anchor|login|modern) refuse5', 'lines', 'a hub that offers STARTTLS and then refuses it for good counts as temporarily broken: mail waits'),
    (r'anchor \w+', 'delivery', 'anchors are certificates for OpenSSL here, where Postfix makes TLSA records of them: the reason in the log has other words'),
]
RECORD = HERE / 'tlsout.txt'
SECRET = 's3cret-of-the-relay'


class World:
    def __init__(self):
        self.dir = rig.workdir('tlsout')
        self.dir.chmod(0o755)
        subprocess.run([TOP / 'tests/tools/certs.sh', self.dir], check=True, stdout=subprocess.DEVNULL)
        for name in ('ca', 'other-ca', 'good'):
            (self.dir / f'{name}.pem').chmod(0o644)
        self.hubs = {}
        rows, logins = [], []
        for hub, words in HUBS.items():
            o = dict(w.split('=', 1) for w in words.split())
            cert = o['cert']
            o = dict({'tls': 'starttls', 'auth': 'plain', 'user': 'relay', 'pass': SECRET}, **o)
            o.update(cert=str(self.dir / f'{cert}.pem'), key=str(self.dir / f'{cert}.key'))
            self.hubs[hub] = Provider(0, o)
            logins.append(f'[127.0.0.1]:{self.hubs[hub].port} relay:{SECRET}\n')
            rows += [f'{hub}.{level}.x tls-{level}:[127.0.0.1]:{self.hubs[hub].port}\n' for level in LEVELS]
        (self.dir / 'transport').write_text(''.join(rows))
        (self.dir / 'passwords').write_text(''.join(logins))
        (self.dir / 'passwords').chmod(0o600)
        der = subprocess.run(['openssl', 'x509', '-in', self.dir / 'good.pem', '-outform', 'DER'], capture_output=True, check=True).stdout
        h = hashlib.sha256(der).hexdigest().upper()
        self.fingerprint = ':'.join(h[i:i + 2] for i in range(0, len(h), 2))

    def fill(self, text):
        return text.replace('@DIR@', str(self.dir)).replace('@FP@', self.fingerprint)

    def master(self):
        lines = []
        for level, words in LEVELS.items():
            options = [w for w in words if not w.startswith('level=')]
            name = next((w[6:] for w in words if w.startswith('level=')), level)
            options = [f'smtp_tls_security_level={name}', f'syslog_name=x/{level}'] + options
            lines.append(f'tls-{level} unix - - n - 100 smtp\n' + ''.join('  -o { %s }\n' % o.replace('=', ' = ', 1) for o in options))
        return self.fill(''.join(lines))

    def main(self):
        return self.fill(COMMON)

    def rcpts(self):
        return [f'r@{hub}.{level}.x' for level in LEVELS for hub in HUBS]

    def forget(self):
        for hub in self.hubs.values():
            hub.events.clear()

    def end(self):
        for hub in self.hubs.values():
            hub.stop()
        shutil.rmtree(self.dir, ignore_errors=True)


def send(port, rcpts):
    with smtplib.SMTP('127.0.0.1', port, 'client.example.com', timeout=60) as s:
        s.sendmail('sender@else.example', rcpts, 'Subject: TLS\r\n\r\nhello\r\n')


def clean(text):
    text = re.sub(r'\]:\d+', ']:PORT', text)
    text = re.sub(r'reused=\w+', 'reused=?', text)
    return re.sub(r':[^:]*\.c:\d+:', ':FILE:LINE:', text)


def outcomes(world, log):
    """{"level hub": [delivery, lines about TLS]}, the last delivery counts."""
    by_port = {str(p.port): hub for hub, p in world.hubs.items()}
    out = {}
    for line in log.splitlines():
        m = re.search(r'x/(\w+)/smtp\[\d+\]: (.*)', line)
        if not m:
            continue
        level, text = m.groups()
        m = re.search(r'to=<r@(\w+)\.\w+\.x>, relay=.*dsn=([\d.]+), status=(\w+) \((.*)\)$', text)
        if m:
            out.setdefault(f'{level} {m.group(1)}', [None, set()])[0] = clean(' '.join(m.groups()[1:]))
            continue
        m = re.search(r'127\.0\.0\.1\]:(\d+)', text)
        if m and m.group(1) in by_port and re.search(r'TLS connection|certificate|SSL_connect', text):
            out.setdefault(f'{level} {by_port[m.group(1)]}', [None, set()])[1].add(clean(text))
    return out


def play(world, port, read_log, flush):
    world.forget()
    rcpts = world.rcpts()
    send(port, rcpts)

    def settled(n=0):
        got = len(re.findall(r'to=<r@[\w.]+>, relay=.*status=', read_log()))
        return got >= len(rcpts) + n

    rig.wait_for('all deliveries', settled, pause=0.2)
    old = len(re.findall(r'to=<r@\w+\.old\.x>, relay=.*status=deferred', read_log()))
    time.sleep(1.2)  # of age 1 s the next attempt may do without TLS
    flush()
    rig.wait_for('the second attempt', lambda: len(re.findall(r'to=<r@\w+\.old\.x>, relay=.*status=', read_log())) >= len(HUBS) + old, pause=0.2)
    return outcomes(world, read_log())


def ours(world):
    port = rig.free_ports(1)[0]
    where = world.dir / 'ours'
    gateway = rig.Gateway(where, world.main() + f'inet_interfaces = 127.0.0.1\ninet_protocols = ipv4\nqueue_directory = {where}/queue\n'
                          f'data_directory = {where}/data\nmaillog_file = /dev/stdout\ndns_servers = 127.0.0.1:1\n'
                          'minimal_backoff_time = 300s\nedge_workers = 1\nrelay_workers = 1\n',
                          f'127.0.0.1:{port} inet n - n - - smtpd\n' + world.master(), {})
    gateway.start(port)
    try:
        return play(world, port, gateway.log_text, lambda: gateway.run('flush')), [h.events[:] for h in world.hubs.values()]
    finally:
        gateway.stop()


def postfix(world):
    port = rig.free_ports(1)[0]
    where = world.dir / 'postfix'
    where.mkdir(mode=0o755)
    (where / 'extra.cf').write_text(world.main())
    (where / 'extra-master.cf').write_text(world.master())
    started = subprocess.run([PEER, 'start', where, str(port), 'discard'])
    if started.returncode != 0:
        sys.exit(started.returncode)
    try:
        return play(world, port, lambda: (where / 'log').read_text(errors='replace') if (where / 'log').exists() else '',
                    lambda: subprocess.run([PEER, 'run', where, 'postqueue', '-f'], check=False))
    finally:
        subprocess.run([PEER, 'stop', where], check=False)


def exposed(events):
    """What a hub saw in the clear that a level above may must not show: levels are told by the recipient."""
    problems = []
    for hub, list_ in zip(HUBS, events):
        level_of = {}
        for e in list_:
            m = re.search(r'r@\w+\.(\w+)\.x', str(e.get('rcpt', '')) + str(e.get('line', '')))
            if m:
                level_of[e['session']] = m.group(1)
        for e in list_:
            level = level_of.get(e['session'])
            if level not in (None, 'none', 'may', 'old') and not e['tls'] and (e['what'] == 'message' or re.match('RCPT|MAIL', e.get('line', ''))):
                if not (level == 'hold' and hub in ('hidden', 'refuse4', 'refuse5')):
                    problems.append(f'{level} {hub}: {e["what"]} {e.get("line", "")} in the clear')
            if not e['tls'] and str(e.get('line', '')).startswith('AUTH'):
                problems.append(f'{hub}: {e["line"]} in the clear')
    return problems


def compare(mine, theirs, verbose):
    bad = 0
    for level in LEVELS:
        for hub in HUBS:
            pair = f'{level} {hub}'
            a, b = mine.get(pair), theirs.get(pair)
            part = next((part for p, part, _ in DIFFERENCES if re.fullmatch(p, pair)), None)
            if verbose:
                print(f'{pair:22} {a[0] if a else None}')
            if a == b or (a and b and part and (a[1] == b[1] if part == 'lines' else a[0] == b[0])):
                continue
            bad += 1
            print(f'{pair}:\n  ours    {a and a[0]}\n  postfix {b and b[0]}')
            if a and b:
                for line in sorted(a[1] - b[1]):
                    print(f'  only ours:    {line}')
                for line in sorted(b[1] - a[1]):
                    print(f'  only postfix: {line}')
    return bad


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('-v', action='store_true')
    parser.add_argument('--ours', action='store_true')
    parser.add_argument('--record', action='store_true')
    args = parser.parse_args()
    if not args.ours and os.getuid() != 0:
        print('tlsout.py: skipped: Postfix needs root')
        sys.exit(77)
    world = World()
    try:
        theirs = {} if args.ours else postfix(world)
        if args.record:
            RECORD.write_text(''.join(f'{pair}\t{theirs[pair][0]}\n' for pair in sorted(theirs)))
        mine, events = ours(world)
        problems = exposed(events)
        if args.ours:
            theirs = {pair: [told, mine.get(pair, [None, None])[1]]
                      for pair, _, told in (line.partition('\t') for line in RECORD.read_text().splitlines())}
        bad = compare(mine, theirs, args.v)
        for p in problems:
            print('EXPOSED:', p)
        pairs = len(LEVELS) * len(HUBS)
        print(f'tlsout.py: {pairs} pairs, {bad} different, {len(problems)} exposed')
        if args.ours:
            failed = min(pairs, bad + len(problems))
            print(f'{pairs - failed} passed, {failed} failed')
        sys.exit(1 if bad or problems else 0)
    finally:
        world.end()


if __name__ == '__main__':
    main()
