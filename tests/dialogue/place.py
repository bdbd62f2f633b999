# SPDX-License-Identifier: BSD-2-Clause
"""Where dialogues are played: a gateway, a hub and a DNS server of one configuration, and whether they are clean again."""

import copy
import json
import os
import pathlib
import re
import shutil
import sqlite3
import subprocess

import rig
from client import Client
from rig import Broken, wait_for

TOOLS = pathlib.Path(__file__).resolve().parents[1] / 'tools'
# The hub's listeners, by the name a script uses; $NAME is the port.
LISTENERS = [('HUB', '0'), ('SECOND', '0'), ('PLAIN', '0,noesmtp'), ('LMTP', 'lmtp:0,nochunk'), ('NOCHUNK', '0,nochunk'),
             ('CANARY', '0'), ('BARE', '0,nopipe,nochunk,no8bit,nosize,nodsn,noutf8,noenh'), ('SMALL', '0,size=2000')]
BASE = '''\
compatibility_level = 3.6
myhostname = gw.test
mydomain = gw.test
mydestination =
local_recipient_maps =
local_transport = error:local mail delivery is disabled
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.9/32
local_header_rewrite_clients =
relay_domains = local.test, second.test, plain.test, lmtp.test, nochunk.test, bare.test, small.test, down.test,
 two.test, mx.test, nullmx.test, nxdomain.test, servfail.test, canary.test
relay_recipient_maps =
transport_maps = texthash:$DIR/transport
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
smtpd_recipient_restrictions =
smtpd_error_sleep_time = 0
smtpd_soft_error_limit = 1001
smtpd_hard_error_limit = 1000
smtpd_junk_command_limit = 10000
smtpd_client_connection_count_limit = 200
queue_directory = $WORK/queue
data_directory = $WORK/data
maillog_file = /dev/stdout
dns_servers = 127.0.0.1:$DNS
dnsbl_probe_interval = 0
default_privs = root
edge_workers = 1
relay_workers = 1
'''
TRANSPORT = '''\
local.test   smtp:[127.0.0.1]:$HUB
canary.test  smtp:[127.0.0.1]:$CANARY
second.test  smtp:[127.0.0.1]:$SECOND
plain.test   smtp:[127.0.0.1]:$PLAIN
lmtp.test    lmtp:inet:127.0.0.1:$LMTP
nochunk.test smtp:[127.0.0.1]:$NOCHUNK
bare.test    smtp:[127.0.0.1]:$BARE
small.test   smtp:[127.0.0.1]:$SMALL
down.test    smtp:[127.0.0.1]:$DOWN
two.test     smtp:[127.0.0.1]:$DOWN, [127.0.0.1]:$SECOND
mx.test      smtp:mx.test:$HUB
nullmx.test  smtp:nullmx.test:$HUB
nxdomain.test smtp:nxdomain.test:$HUB
servfail.test smtp:servfail.test:$HUB
'''
DNS = [('mx.test', 'MX', '10 h1.mx.test'), ('mx.test', 'MX', '20 h2.mx.test'), ('h1.mx.test', 'A', '127.0.0.66'),
       ('h2.mx.test', 'A', '127.0.0.1'), ('nullmx.test', 'MX', '0 .'), ('servfail.test', 'SERVFAIL', ''),
       ('1.0.0.127.in-addr.arpa', 'PTR', 'localhost')]
MASTER = '127.0.0.1:$SMTP inet n - n - - smtpd\n'
GAUGES = ('smtpd_sessions', 'smtpd_transactions', 'smtpd_drafts', 'queue_drafts', 'queue_jobs', 'relay_jobs')


class Place:
    """A gateway, a hub and a DNS server for the scripts of one configuration."""

    def __init__(self, example, scripts):
        self.dir = rig.workdir('dlg')
        self.certs = rig.certificates() if any(s.certs for s in scripts) else None
        self.hub = rig.Hub(self.dir / 'hub', [spec for _, spec in LISTENERS])
        self.dns = rig.Dns()
        smtp, down, back = rig.free_ports(3)
        self.vars = dict(zip([name for name, _ in LISTENERS], self.hub.ports), SMTP=smtp, DOWN=down, BACK=back, DNS=self.dns.port,
                         DIR=self.dir / 'etc', WORK=self.dir, CERTS=self.certs or '')
        for row in DNS:
            self.dns.add(*row)
        for s in scripts:
            for row in s.dns:
                self.dns.add(row[0], row[1], self.fill(row[2]) if len(row) > 2 else '')
        self.dns_table = copy.deepcopy(self.dns.table)
        self.tools = {}
        for (name, program, words), port in zip(example.tools, rig.free_ports(len(example.tools)) if example.tools else []):
            self.vars[name] = port
        for name, statement in example.sql:
            self.sql(name, statement)
        for name, program, words in example.tools:
            self.tool(name, program, self.fill(words))
        files = {'transport': self.fill(TRANSPORT)}
        for name, lines in example.files.items():
            files[name] = self.fill('\n'.join(lines) + '\n')
        master = MASTER + ''.join(line + '\n' for line in example.master)
        self.gateway = rig.Gateway(self.dir, self.fill(BASE + '\n'.join(example.conf) + '\n'), self.fill(master), files, self.slow_filters(example.slow))
        try:
            self.gateway.start(smtp)
        except Broken:
            self.gateway.kill()
            for tool, _, _ in self.tools.values():
                tool.kill()
                tool.wait()
            self.hub.stop()
            self.dns.stop()
            raise

    def slow_filters(self, slow):
        """A copy of the program with other filters beside it, or None."""
        if not slow:
            return None
        program = pathlib.Path(rig.program())
        copy = self.dir / 'program' / program.name
        copy.parent.mkdir()
        shutil.copy2(program, copy)
        for name, seconds in slow:
            wrapper = copy.with_name(f'dogana-{name}')
            wrapper.write_text(f'#!/bin/sh\nsleep {seconds}\nexec {program.with_name(wrapper.name)} "$@"\n')
            wrapper.chmod(0o755)
        return str(copy)

    def stolen(self):
        """Seconds that this program, the gateway, the hub and the tools were ready to run and did not."""
        tools = [tool.pid for tool, _, _ in self.tools.values()]
        return rig.late() + rig.waited_for_cpu([self.gateway.proc.pid, *rig.children(self.gateway.proc.pid), self.hub.proc.pid, *tools])

    def fill(self, text):
        for name, value in sorted(self.vars.items(), key=lambda kv: -len(kv[0])):
            text = re.sub(r'\$%s\b' % name, str(value), text)
        return text

    def sql(self, name, statement):
        with sqlite3.connect(self.dir / name) as db:
            db.execute(self.fill(statement))
        db.close()
        os.chmod(self.dir / name, 0o644)

    def tool(self, name, program, words):
        tool = subprocess.Popen(['/usr/bin/python3', TOOLS / program, *words.split()], stdout=subprocess.PIPE)
        if tool.stdout.readline() != b'ready\n':
            raise Broken(f'{program} does not start')
        self.tools[name] = (tool, program, words)

    def end(self, keep):
        problems = []
        try:
            self.gateway.stop()
        except Broken as e:
            problems.append(str(e))
        problems += self.gateway.troubles()
        for tool, _, _ in self.tools.values():
            tool.kill()
            tool.wait()
        self.hub.stop()
        self.dns.stop()
        if not keep and not problems:
            self.gateway.remove()
        return problems


def settle(place):
    """Clean for the next script; Broken when something is left over."""
    place.hub.order('clear')
    place.hub.order('drop')
    place.dns.mode = None
    place.dns.table = copy.deepcopy(place.dns_table)
    left = {}

    def quiet():
        nonlocal left
        m = place.gateway.metrics()
        left = {k: m.get(k) for k in GAUGES if m.get(k)}
        rows = place.gateway.queue()
        if rows:  # also reports that were being written meanwhile
            left['queue'] = rows[:3]
            place.gateway.ask('queue delete ALL')
        return not left
    if place.gateway.queue():
        place.gateway.ask('queue delete ALL')
    place.gateway.ask('queue flush')  # forget which destinations are dead
    try:
        wait_for('quiet', quiet)
    except Broken:
        raise Broken(f'left over: {left}')


def check_wire(place):
    stats = place.hub.order('stats')
    if stats['violations']:
        raise Broken(f'the hub saw {stats["violations"]} times what no line may hold, first: {stats["first_violation"]}')


def canary(place):
    """I6: an ordinary message passes, soon."""
    hub_before = len(place.hub.messages())
    c = Client(place.vars['SMTP'], '127.0.0.9')
    try:
        canary_sings(c)
    finally:
        c.close()
    wait_for('the canary at the hub',
             lambda: any('canary@canary.test' in ''.join(m['rcpt']) for m in place.hub.messages()[hub_before:]), pause=0.005)
    # and the queue knows it: what it counts then is not counted in the next script
    wait_for('the canary to leave the queue', lambda: not any('canary@canary.test' in json.dumps(row) for row in place.gateway.queue()), pause=0.005)


def canary_sings(c):
    for text, want in [(b'', '220'), (b'EHLO canary.test\r\n', '250'), (b'MAIL FROM:<canary@local.test>\r\n', '250'),
                       (b'RCPT TO:<canary@canary.test>\r\n', '250'), (b'DATA\r\n', '354'),
                       (b'Subject: canary\r\n\r\ntweet\r\n.\r\n', '250'), (b'QUIT\r\n', '221')]:
        if text:
            c.send(text)
        got = c.reply()
        if got[-1][:3] != want:
            raise Broken(f'canary: {text!r} was answered {got}')
