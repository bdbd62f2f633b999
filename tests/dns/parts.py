# SPDX-License-Identifier: BSD-2-Clause
"""The real parts: nsd for names, rbldnsd for lists, dnsdist in front of them, which spoils answers. For matrix.py."""

import os
import pathlib
import re
import socket
import struct
import subprocess

import matrix
import rig

PEERS = pathlib.Path(os.environ.get('PEERS') or rig.BUILD / 'peers') / 'bin'
PROGRAMS = ('nsd', 'rbldnsd', 'dnsdist')
MODES = [mode for mode, (_, _, action) in matrix.MODES.items() if action is not None and mode != 'nodata']
SOA = 'SOA ns.parts.test. root.parts.test. 1 3600 600 86400 60'


def without(mode, family):
    """rbldnsd has no TCP."""
    return mode == 'truncated' and 'lists.test' in family.options() and family.name != 'unnamed'


def missing():
    return [p for p in PROGRAMS if not (PEERS / p).exists()]


def answers(port, name):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(0.3)
        q = b''.join(bytes([len(x)]) + x.encode() for x in name.split('.')) + b'\0'
        s.sendto(struct.pack('>HHHHHH', 7, 0x100, 1, 0, 0, 0) + q + struct.pack('>HH', 1, 1), ('127.0.0.1', port))
        try:
            return len(s.recv(512)) > 12
        except OSError:
            return False


class Parts:
    """port: dnsdist."""

    def __init__(self, where):
        self.dir = pathlib.Path(where)
        self.dir.mkdir()
        self.running = []
        self.port, self.names, self.lists = rig.free_ports(3)
        try:
            self.start_names()
            self.start_lists()
            self.start_proxy()
        except Exception:
            self.stop()
            raise

    def run(self, name, *args):
        out = open(self.dir / f'{name}.out', 'wb')
        self.running.append(subprocess.Popen([PEERS / name, *map(str, args)], stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=self.dir))

    def ready(self, name, port, question):
        def there():
            if self.running[-1].poll() is not None:
                raise rig.Broken(f'{name} ended: ' + (self.dir / f'{name}.out').read_text(errors='replace')[-1000:])
            return answers(port, question)
        rig.wait_for(f'{name} to answer', there, 20, 0.05)

    @staticmethod
    def rows():
        for family in matrix.Family.all:
            for mode in MODES:
                yield from matrix.rows_of(family, mode, False)
        yield 'client.sound.test', 'A', '192.0.2.1'
        yield 'mx.sound.test', 'A', '192.0.2.1'

    def start_names(self):
        zones = {'test': [], '127.in-addr.arpa': []}
        for name, kind, data in sorted(set(self.rows())):
            if not name.endswith('.lists.test'):
                zone = 'test' if name.endswith('.test') else '127.in-addr.arpa'
                zones[zone].append(f'{name}. 60 {kind} {data}' + ('' if kind == 'A' else '.'))
        conf = f'server:\n  ip-address: 127.0.0.1@{self.names}\n  zonesdir: "{self.dir}"\n  username: ""\n  chroot: ""\n  pidfile: "{self.dir}/nsd.pid"\n' \
               f'  database: ""\n  xfrdfile: "{self.dir}/xfrd"\n  zonelistfile: "{self.dir}/zonelist"\n  server-count: 1\n  rrl-ratelimit: 0\nremote-control:\n  control-enable: no\n'
        for zone, lines in zones.items():
            (self.dir / f'{zone}.zone').write_text(f'$TTL 60\n{zone}. {SOA}\n{zone}. NS ns.parts.test.\n' + '\n'.join(lines) + '\n')
            conf += f'zone:\n  name: "{zone}"\n  zonefile: "{zone}.zone"\n'
        (self.dir / 'nsd.conf').write_text(conf)
        self.run('nsd', '-d', '-c', self.dir / 'nsd.conf')
        self.ready('nsd', self.names, 'mx.sound.test')

    def start_lists(self):
        entries = {}
        for family in matrix.Family.all:
            for mode in matrix.MODES:
                if 'lists.test' in family.options():
                    domain = 'allow.lists.test' if family.name == 'unnamed' else f'{mode}.{family.name}.lists.test'
                    entries.setdefault(domain, {})
        for name, kind, data in self.rows():
            for domain in entries:
                if name.endswith('.' + domain):
                    entries[domain].setdefault(name[:-len(domain) - 1], {})[kind] = data
        specs = []
        for domain, rows in entries.items():
            addresses = all(re.fullmatch(r'[0-9.]+', n) for n in rows) and 'rhs' not in domain and domain != 'allow.lists.test'
            lines = [f'$SOA 60 ns.parts.test root.parts.test 1 3600 600 86400 60', '127.0.0.2 :127.0.0.2:' if addresses else 'test :127.0.0.2:']
            for name, has in rows.items():
                key = '.'.join(reversed(name.split('.'))) if addresses else name
                lines.append(f'{key} :{has.get("A", "127.0.0.2")}:{has.get("TXT", "")}')
            path = self.dir / f'{domain}.list'
            path.write_text('\n'.join(lines) + '\n')
            specs.append(f'{domain}:{"ip4set" if addresses else "dnset"}:{path}')
        self.run('rbldnsd', '-n', *(['-u', 'nobody'] if os.getuid() == 0 else []), '-4', '-b', f'127.0.0.1/{self.lists}', '-t', '60', '-c', '0', *specs)
        self.ready('rbldnsd', self.lists, '2.0.0.127.plain.rblclient.lists.test')

    def start_proxy(self):
        lua = [f'setLocal("127.0.0.1:{self.port}")', 'setVerboseHealthChecks(false)',
               f'newServer{{address="127.0.0.1:{self.names}", pool=""}}:setUp()', f'newServer{{address="127.0.0.1:{self.lists}", pool="lists"}}:setUp()']
        for family in matrix.Family.all:
            for mode in MODES:
                action = matrix.MODES[mode][2]
                for name, _, _ in family.asked(mode):
                    which = [f'QNameRule("{name}.")']
                    if family.types:
                        which.append('OrRule({' + ', '.join(f'QTypeRule(DNSQType.{t})' for t in family.types) + '})')
                    if action.startswith('tcp '):
                        lua.append(f'addAction(AndRule({{{", ".join(which)}, TCPRule(false)}}), TCAction())')
                    if ' ' in action:
                        which.append('TCPRule(true)' if action.startswith('tcp ') else 'TCPRule(false)')
                    if action:
                        lua.append(f'addAction(AndRule({{{", ".join(which)}}}), {action.rpartition(" ")[2]})')
        lua.append('addAction("lists.test.", PoolAction("lists"))')
        (self.dir / 'dnsdist.conf').write_text('\n'.join(lua) + '\n')
        self.run('dnsdist', '--supervised', '--disable-syslog', '-C', self.dir / 'dnsdist.conf')
        self.ready('dnsdist', self.port, 'mx.sound.test')

    def stop(self):
        for p in self.running:
            p.terminate()
        for p in self.running:
            try:
                p.wait(10)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()
