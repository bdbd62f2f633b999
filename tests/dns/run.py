#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""What the DNS may do to a gateway, and what the gateway must make of it. Last line: N passed, N failed, N skipped.

    run.py [-v] [NAME...]

Cases: matrix (matrix.py, parts.py: every family of rules with every kind of answer), waits (waits.py: sessions that end while they ask).
"""

import argparse
import concurrent.futures
import pathlib
import re
import subprocess
import sys
import time
import traceback

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / 'tests/tools'))
import rig  # noqa: E402
sys.path.insert(0, str(pathlib.Path(__file__).parent))
import matrix  # noqa: E402
import parts  # noqa: E402
import waits  # noqa: E402

MAIN = '''\
compatibility_level = 3.6
myhostname = gw.test
mydestination =
local_recipient_maps =
local_transport = error:local mail delivery is disabled
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.9/32
relay_recipient_maps =
relay_domains = {relay}
{out}smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
smtpd_recipient_restrictions =
smtpd_error_sleep_time = 0
smtpd_client_connection_count_limit = 0
queue_directory = {work}/queue
data_directory = {work}/data
maillog_file = /dev/stdout
dns_servers = 127.0.0.1:{dns}
dns_timeout = 2s
dnsbl_timeout = 2s
dnsbl_probe_interval = 0
dnsbl_pause_after = 1000
edge_workers = 1
relay_workers = 1
'''
OUT = 'default_transport = discard:x\nrelay_transport = discard:x\n'
CASES = []


class Skip(Exception):
    pass


def case(fn):
    CASES.append(fn)
    return fn


class World:
    """A gateway with some services (count, lines of master.cf for as many ports), its DNS at the given port."""

    def __init__(self, dns_port, count, services, extra='', relay=matrix.RELAY_DOMAINS, files=None):
        self.dir = rig.workdir('dns')
        self.port, *self.ports = rig.free_ports(1 + count)
        self.gateway = rig.Gateway(self.dir, MAIN.format(relay=relay, work=self.dir, dns=dns_port, out='' if files else OUT) + extra,
                                   f'127.0.0.1:{self.port} inet n - n - - smtpd\n' + services(self.ports), files)
        try:
            self.gateway.start(self.port)
        except rig.Broken:
            self.gateway.kill()
            raise

    def end(self):
        waits.settle(self.gateway, False)
        self.gateway.stop()
        troubles = self.gateway.troubles()
        if troubles:
            raise rig.Broken('\n'.join(troubles))
        self.gateway.remove()


def send_one(port, rcpt):
    """The reply to the message."""
    with rig.socket.create_connection(('127.0.0.1', port), 20, ('127.0.0.9', 0)) as s, s.makefile('rb') as f:
        line = b''
        for text in (None, 'HELO client.test', 'MAIL FROM:<>', f'RCPT TO:<{rcpt}>', 'DATA', 'Subject: x\r\n\r\nx\r\n.'):
            if text:
                s.sendall(text.encode() + b'\r\n')
            line = f.readline()
            if line[:1] not in b'23':
                break
        return line.decode('latin-1').rstrip()


@case
def fake_matrix(say):
    """Every family of rules with every kind of answer."""
    dns = rig.Dns()
    for row in matrix.probes():
        dns.add(*row)
    for family in matrix.Family.all:
        for mode in matrix.MODES:
            for row in matrix.rows_of(family, mode):
                dns.add(*row)
    dns.add('client.sound.test', 'A', '192.0.2.1')
    dns.add('mx.sound.test', 'A', '192.0.2.1')
    world = World(dns.port, len(matrix.Family.all), matrix.services)
    try:
        count, wrong = matrix.play(world.gateway, world.ports, list(matrix.MODES))
        for text in wrong:
            say(text)
        world.end()
        return count - len(wrong), len(wrong)
    finally:
        world.gateway.kill()
        dns.stop()


@case
def real_matrix(say):
    """The same with nsd, rbldnsd and dnsdist."""
    if parts.missing():
        raise Skip(f'no {", ".join(parts.missing())} in {parts.PEERS}: make peers')
    where = rig.workdir('parts')
    real = parts.Parts(where / 'servers')
    world = None
    try:
        world = World(real.port, len(matrix.Family.all), matrix.services)
        count, wrong = matrix.play(world.gateway, world.ports, parts.MODES, without=parts.without)
        for text in wrong:
            say(text)
        world.end()
        return count - len(wrong), len(wrong)
    finally:
        if world:
            world.gateway.kill()
        real.stop()
        rig.shutil.rmtree(where, ignore_errors=True)


@case
def outbound(say):
    """Mail to a domain whose MX, or whose mail server's address, is answered in every way: sent, bounced or kept, never the wrong one."""
    dns = rig.Dns()
    hub = world = None
    where = rig.workdir('out')
    expected = {}
    try:
        hub = rig.Hub(where / 'hub', ['0'])
        for mode, (outcome, faults, _) in matrix.MODES.items():
            if mode == 'spoof':
                continue
            if mode == 'nodata':  # no MX is none needed
                outcome = {'mx': 'yes', 'host': 'no'}
            for part in ('mx', 'host'):
                domain, host = f'{mode}.{part}.out.test', f'h-{mode}.{part}.out.test'
                asked, kind, data = (domain, 'MX', f'10 {host}') if part == 'mx' else (host, 'A', '127.0.0.1')
                family = matrix.Family.__new__(matrix.Family)
                family.name, family.types, family.number = f'{part}out', [kind] if mode == 'nodata' else None, 9
                family.given = lambda mode: [(domain, 'MX', f'10 {host}')] if part == 'host' else [(host, 'A', '127.0.0.1')]
                family.asked = lambda mode: [(asked, kind, data)]
                for row in matrix.rows_of(family, mode):
                    dns.add(*row)
                if mode == 'nodata' and part == 'mx':
                    dns.add(domain, 'A', '127.0.0.1')
                expected[domain] = outcome[part] if isinstance(outcome, dict) else outcome
        table = '\n'.join(f'{d} smtp:{d}:{hub.ports[0]}' for d in expected) + '\n'
        world = World(dns.port, 0, lambda ports: '', 'transport_maps = texthash:$config_directory/transport\ndns_query_timeout = 1s\ndns_tries = 2\n'
                      'default_destination_recipient_limit = 1\nbounce_notice_recipient = x@x.test\nnotify_classes =\n', 'test', {'transport': table})
        since = world.gateway.log_size()
        wants = {'yes': 'sent', 'no': 'bounced', 'later': 'deferred'}

        def fates():
            return dict(re.findall(r'to=<x@([^>]+)>, .*?status=(\w+)', world.gateway.log_text(since)))
        # first what is answered: a question over TCP ends with the connection that another one spoils
        answered = [d for d, outcome in expected.items() if outcome != 'later']
        for domains in (answered, [d for d in expected if d not in answered]):
            for domain in domains:
                got = send_one(world.port, f'x@{domain}')
                if not got.startswith('250 '):
                    raise rig.Broken(f'{domain}: {got}')
            rig.wait_for('a word about each message', lambda domains=domains: set(domains) <= set(fates()), 25, 0.2)
        wrong = [f'{d} ({expected[d]}): {fate}' for d, fate in fates().items() if fate != wants[expected[d]]]
        for text in wrong:
            say(text)
        world.gateway.run('queue', 'delete', 'ALL')
        world.end()
        return len(expected) - len(wrong), len(wrong)
    finally:
        if world:
            world.gateway.kill()
        if hub:
            hub.stop()
        dns.stop()
        rig.shutil.rmtree(where, ignore_errors=True)


@case
def cut_everywhere(say):
    """An answer that ends after each of its octets: not now; the whole one: yes; nothing is read of what is not there."""
    dns = rig.Dns()
    world = None
    try:
        whole = 200
        for n in range(whole):
            name = f'c{n:03}.cut.test'
            dns.add(name, 'CUT', str(n))
            dns.add(name, 'MX', f'10 mx1.{name}')
            dns.add(name, 'MX', f'20 mx2.{name}')
            dns.add(name, 'TTL', '300')
        length = len(dns.answers(rig.dnsserver.question('c000.cut.test', 'MX'), spoil=False)[0][1])

        def services(ports):
            return f'127.0.0.1:{ports[0]} inet n - n - - smtpd\n  -o {{ smtpd_sender_restrictions = reject_unknown_sender_domain }}\n  -o {{ unknown_address_reject_code = 550 }}\n'
        world = World(dns.port, 1, services)
        with concurrent.futures.ThreadPoolExecutor(50) as pool:
            said = list(pool.map(lambda n: matrix.session(world.ports[0], f'127.3.0.{n % 250 + 1}', sender=f'a@c{n:03}.cut.test'), range(whole)))
        wrong = [f'{n} of {length} octets: {text}' for n, text in enumerate(said) if not text.startswith('250 ' if n >= length else '450 4.1.8 ')]
        for text in wrong:
            say(text)
        world.end()
        return whole - len(wrong), len(wrong)
    finally:
        if world:
            world.gateway.kill()
        dns.stop()


@case
def gone_while_asking(say):
    """Sessions that end at every wait for the DNS, in every way: nothing is left; also over a reload, and when the gateway stops."""
    dns = rig.Dns()
    waits.fill(dns)
    world = World(dns.port, len(waits.SERVICES), waits.services, relay='test')
    try:
        waits.settle(world.gateway)
        before = waits.descriptors(world.gateway)
        count = waits.play(world.ports)
        if waits.reached(dns):
            raise rig.Broken('\n'.join(waits.reached(dns)))
        waits.settle(world.gateway)
        waits.play(world.ports, 1000, moments=(0.2,), hows=('close',))
        world.gateway.run('reload')
        waits.settle(world.gateway)
        rig.wait_for('descriptors to be closed', lambda: waits.descriptors(world.gateway) <= before + 3, 10, 0.2)
        say(f'{count} sessions')
        # questions of living sessions when everything ends
        held = [rig.socket.create_connection(('127.0.0.1', world.ports[0])) for _ in range(8)]
        for i, s in enumerate(held):
            s.recv(512)
            s.sendall(f'EHLO e{i}.l.helo.test\r\nMAIL FROM:<a@e{i}.l.from.test>\r\nRCPT TO:<b@e{i}.l.to.test>\r\n'.encode())
        world.gateway.stop()
        for s in held:
            s.close()
        troubles = world.gateway.troubles()
        if troubles:
            raise rig.Broken('\n'.join(troubles))
        world.gateway.remove()
    finally:
        world.gateway.kill()
        dns.stop()


def perform(fn, verbose):
    """(passed, failed, skipped)"""
    begin = time.monotonic()
    lines = []
    try:
        passed, failed = fn(lines.append) or (1, 0)
        counts = passed, failed, 0
    except Skip as e:
        counts = 0, 0, 1
        lines.append(str(e))
    except Exception as e:  # the others still run
        counts = 0, 1, 0
        lines.append(str(e) if isinstance(e, rig.Broken) else traceback.format_exc())
    verdict = 'FAIL' if counts[1] else 'skip' if counts[2] else 'ok'
    if verbose or verdict != 'ok':
        print(f'{verdict:4} {fn.__name__:24} {time.monotonic() - begin:5.1f} s  {fn.__doc__.splitlines()[0]}', flush=True)
        for text in lines:
            print('     ' + text.replace('\n', '\n     '), flush=True)
    return counts


def apart(fn, verbose):
    """The same in a process of its own: each has a DNS server that must not wait for the others."""
    done = subprocess.run([sys.executable, __file__, '--only', fn.__name__] + ['-v'] * verbose, stdout=subprocess.PIPE, text=True)
    text, _, last = done.stdout.rstrip('\n').rpartition('\n')
    if text:
        print(text, flush=True)
    counts = re.fullmatch(r'(\d+) passed, (\d+) failed, (\d+) skipped', last)
    return tuple(map(int, counts.groups())) if counts else (0, 1, 0)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument('-v', action='store_true')
    ap.add_argument('-j', type=int, default=2)
    ap.add_argument('--only', help='this case, in this process')
    ap.add_argument('names', nargs='*')
    args = ap.parse_args()
    if args.only:
        sums = perform(next(fn for fn in CASES if fn.__name__ == args.only), args.v)
    else:
        chosen = [fn for fn in CASES if not args.names or any(n in fn.__name__ for n in args.names)]
        with concurrent.futures.ThreadPoolExecutor(args.j) as pool:
            results = list(pool.map(lambda fn: apart(fn, args.v), chosen))
        sums = tuple(map(sum, zip(*results))) or (0, 0, 0)
    print('%d passed, %d failed, %d skipped' % sums)
    return 1 if sums[1] else 0


if __name__ == '__main__':
    sys.exit(main())
