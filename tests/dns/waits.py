# SPDX-License-Identifier: BSD-2-Clause
"""Sessions that end while their questions are in flight, at every wait there is, in every way and moment; then nothing may be left."""

import concurrent.futures
import os
import socket
import struct
import time

import rig
from rig import wait_for

LATE = 300  # ms; the name a session waits for
MOMENTS = (0, 0.05, 0.15, 0.27, 0.29, 0.30, 0.31, 0.33, 0.4)
HOWS = ('rst', 'close', 'fin')
RULES = '''smtpd_helo_restrictions = reject_unknown_helo_hostname, reject_rhsbl_helo late.helo.lists.test
smtpd_sender_restrictions = reject_unknown_sender_domain, check_sender_mx_access static:DUNNO, reject_rhsbl_sender late.sender.lists.test
smtpd_recipient_restrictions = reject_unknown_recipient_domain, reject_rhsbl_recipient late.rcpt.lists.test
'''
CLIENT = 'smtpd_client_restrictions = reject_rbl_client late.addr.lists.test, reject_rbl_client quick.addr.lists.test, reject_unknown_client_hostname'
# service: its settings on top
SERVICES = {'usual': CLIENT, 'early': CLIENT + '\nsmtpd_delay_reject = no', 'allow': 'smtpd_client_restrictions = permit_dnswl_client late.addr.lists.test, permit_rhswl_client late.helo.lists.test',
            'triage': 'smtpd_triage = yes\npostscreen_greet_wait = 1s\npostscreen_cache_map =\npostscreen_greet_action = enforce\npostscreen_dnsbl_action = enforce\n'
                      'postscreen_dnsbl_sites = late.addr.lists.test*2, quick.addr.lists.test*-1'}
# wait: (service, network of the client, what it says)
WAITS = {
    'ptr': ('usual', 40, ['EHLO {q}.helo.test', 'MAIL FROM:<a@{q}.from.test>', 'RCPT TO:<b@{q}.to.test>']),
    'forward': ('usual', 41, ['EHLO {q}.helo.test', 'MAIL FROM:<a@{q}.from.test>', 'RCPT TO:<b@{q}.to.test>']),
    'ptr before the banner': ('early', 40, []),
    'list before the banner': ('early', 42, []),
    'list': ('usual', 42, ['EHLO {q}.helo.test', 'MAIL FROM:<a@{q}.from.test>', 'RCPT TO:<b@{q}.to.test>']),
    'reason': ('usual', 43, ['EHLO {q}.helo.test', 'MAIL FROM:<a@{q}.from.test>', 'RCPT TO:<b@{q}.to.test>']),
    'reason before the banner': ('early', 43, []),
    'allow list': ('allow', 42, ['EHLO {q}.helo.test', 'MAIL FROM:<a@{q}.from.test>', 'RCPT TO:<b@{q}.to.test>']),
    'helo': ('usual', 44, ['EHLO {l}.helo.test', 'MAIL FROM:<a@{q}.from.test>', 'RCPT TO:<b@{q}.to.test>']),
    'helo, early': ('early', 44, ['EHLO {l}.helo.test']),
    'sender': ('usual', 44, ['EHLO {q}.helo.test', 'MAIL FROM:<a@{l}.from.test>', 'RCPT TO:<b@{q}.to.test>']),
    'sender, early': ('early', 44, ['EHLO {q}.helo.test', 'MAIL FROM:<a@{l}.from.test>']),
    'recipient': ('usual', 44, ['EHLO {q}.helo.test', 'MAIL FROM:<a@{q}.from.test>', 'RCPT TO:<b@{l}.to.test>', 'RCPT TO:<c@{l}.to.test>']),
    'triage': ('triage', 42, []),
    'triage of who talks early': ('triage', 42, ['EHLO {q}.helo.test', 'MAIL FROM:<a@{q}.from.test>']),
    'everything': ('usual', 40, ['EHLO {l}.helo.test', 'MAIL FROM:<a@{l}.from.test>', 'RCPT TO:<b@{l}.to.test>', 'DATA']),
}


def fill(dns):
    late = ('DELAY', str(LATE))
    for net, answers in ((40, [('PTR', 'c40.test'), late]), (41, [('PTR', 'late.c41.test')]), (42, [('PTR', 'c42.test')]), (43, [('PTR', 'c43.test')]),
                         (44, [('PTR', 'c44.test')])):
        for row in answers:
            dns.add(f'*.{net}.127.in-addr.arpa', *row)
        if net == 42:
            dns.add('*.42.127.late.addr.lists.test', 'DELAY', str(LATE))
            dns.add('*.42.127.late.addr.lists.test', 'A', '127.0.0.3')
    dns.add('*.43.127.quick.addr.lists.test', 'A', '127.0.0.3')
    dns.add('*.43.127.quick.addr.lists.test', 'TXT', 'a reason that comes late')
    dns.add('*.43.127.quick.addr.lists.test', 'TXT/DELAY', str(LATE))
    for host, net in (('c40.test', 40), ('late.c41.test', 41), ('c42.test', 42), ('c43.test', 43), ('c44.test', 44)):
        for i in range(4):  # some lead back, some do not
            dns.add(host, 'A', f'127.{net}.0.{i}')
    dns.add('late.c41.test', *late)
    for part in ('helo', 'from', 'to'):
        for name in (f'*.l.{part}.test', f'*.q.{part}.test'):
            dns.add(name, 'A', '192.0.2.1')
            dns.add(name, 'MX', f'10 mx.{name[2:]}')
            if name[2] == 'l':
                dns.add(name, *late)
    for domain in ('late.addr', 'quick.addr', 'late.helo', 'late.sender', 'late.rcpt'):
        dns.add(f'2.0.0.127.{domain}.lists.test', 'A', '127.0.0.2')
        dns.add(f'test.{domain}.lists.test', 'A', '127.0.0.2')


def services(ports):
    """Lines of master.cf."""
    return ''.join(f'127.0.0.1:{port} inet n - n - - smtpd\n' + ''.join(f'  -o {{ {line} }}\n' for line in (RULES + extra).splitlines())
                   for port, extra in zip(ports, SERVICES.values()))


def one(number, port, net, says, moment, how):
    with socket.socket() as s:
        s.settimeout(5)
        s.bind((f'127.{net}.{number >> 8}.{number & 255}', 0))
        s.connect(('127.0.0.1', port))
        lines = [text.format(l=f's{number}.l', q=f's{number}.q') for text in says]
        if lines:
            try:
                s.recv(512)
                s.sendall(lines[0].encode() + b'\r\n')
                s.recv(4096)
                s.sendall(''.join(line + '\r\n' for line in lines[1:]).encode())
            except OSError:
                return
        if moment:
            time.sleep(moment)
        if how == 'rst':
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        elif how == 'fin':
            s.shutdown(socket.SHUT_WR)
            try:
                while s.recv(4096):
                    pass
            except OSError:
                pass


def play(ports, start=0, waits=None, moments=MOMENTS, hows=HOWS):
    """How many sessions."""
    port = dict(zip(SERVICES, ports))
    jobs = [(port[service], net, says, moment, how) for service, net, says in (WAITS[w] for w in waits or WAITS) for moment in moments for how in hows]
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        list(pool.map(lambda j: one(start + 4 + j[0], *j[1]), enumerate(jobs)))
    return len(jobs)


# what must have been asked for the waits to have been waits
REACHED = [('.40.127.in-addr.arpa', 'PTR'), ('late.c41.test', 'A'), ('.42.127.late.addr.lists.test', 'A'), ('.43.127.quick.addr.lists.test', 'TXT'),
           ('.l.helo.test', 'A'), ('.l.from.test', 'MX'), ('.l.to.test', 'MX')]


def reached(dns):
    asked = list(dns.asked)
    return [f'{end} {kind} was never asked' for end, kind in REACHED if not any(n.endswith(end) and k == kind for n, k in asked)]


def left(gateway, questions=True):
    m = gateway.metrics()
    return {k: m[k] for k in ('smtpd_sessions', 'smtpd_transactions', 'smtpd_drafts', 'op_pending', 'dns_flying', 'dns_waiting')
            if m[k] and (questions or not k.startswith(('dns', 'op')))}


def descriptors(gateway):
    return sum(len(os.listdir(f'/proc/{pid}/fd')) for role, pid in rig.status_roles(gateway.status()) if role == 'edge')


def settle(gateway, questions=True):
    """questions: those that nobody waits for, too."""
    try:
        wait_for('', lambda: not left(gateway, questions), 15, 0.1)
    except rig.Broken:
        raise rig.Broken(f'left over: {left(gateway, questions)}')
