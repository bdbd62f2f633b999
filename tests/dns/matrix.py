# SPDX-License-Identifier: BSD-2-Clause
"""What the DNS may say x who asks: each family of rules with each way of answering, and the reply that is right.

Only "there is no such name" and "no such record" mean no. Whatever else goes wrong is "not now": 450 where a rule refuses for want of
a name, nothing at all where a block list cannot say, and 450 in the place of a permission that an allow list cannot give.
The name that is asked about has the mode as a label, so that dnsdist can spoil it too.
"""

import concurrent.futures
import re
import socket
import time

import rig
from rig import Broken

# mode: (outcome, rows that spoil the answer, what dnsdist does instead or None)
MODES = {
    'plain': ('yes', [], ''),
    'slow': ('yes', [('DELAY', '300')], 'DelayAction(300)'),
    'truncated': ('yes', [('TC', '')], 'udp TCAction()'),
    'noedns': ('yes', [('NOEDNS', '')], None),
    'alias': ('yes', [], None),
    'gone': ('no', [], ''),
    'nodata': ('no', [], ''),
    'nxdomain': ('no', [('NXDOMAIN', '')], 'RCodeAction(DNSRCode.NXDOMAIN)'),
    'spoof': ('no', [('SPOOF', '127.0.0.2')], None),
    'aliasgone': ('no', [], None),
    'servfail': ('later', [('SERVFAIL', '')], 'RCodeAction(DNSRCode.SERVFAIL)'),
    'refused': ('later', [('REFUSED', '')], 'RCodeAction(DNSRCode.REFUSED)'),
    'formerr': ('later', [('FORMERR', '')], 'RCodeAction(DNSRCode.FORMERR)'),
    'notimp': ('later', [('NOTIMP', '')], 'RCodeAction(DNSRCode.NOTIMP)'),
    'drop': ('later', [('DROP', '')], 'DropAction()'),
    'verylate': ('later', [('DELAY', '4500')], 'DelayAction(4500)'),
    'late': ('later', [('LATE', '400')], None),
    'badvers': ('later', [('BADVERS', '')], None),
    'tcalways': ('later', [('TCALWAYS', '')], None),
    'tcpstall': ('later', [('TCPSTALL', '')], None),
    'tcpcut': ('later', [('TCPCUT', '')], None),
    'tcpzero': ('later', [('TCPZERO', '')], None),
    'tcpclose': ('later', [('TCPCLOSE', '')], None),
    'tcprefused': ('later', [('TCPREFUSED', '')], 'tcp RCodeAction(DNSRCode.REFUSED)'),
    'cnameloop': ('later', [], None),
    'cname20': ('later', [], None),
    'wrongid': ('later', [('WRONGID', '')], None),
    'wrongq': ('later', [('WRONGQ', '')], None),
    'garbage': ('later', [('GARBAGE', '')], None),
    'looped': ('later', [('LOOP', '')], None),
    'cut': ('later', [('CUT', '-3')], None),
    'twoq': ('later', [('TWOQ', '')], None),
    'noq': ('later', [('NOQ', '')], None),
    'query': ('later', [('QUERY', '')], None),
}
NUMBER = {mode: 1 + i for i, mode in enumerate(MODES)}

LISTED = '554 5.7.1 Service unavailable; {what} blocked using {mode}.{family}.lists.test'
LATER = '450 4.7.1 '


class Family:
    """asked(mode): [(name, type, data)] that the answer is about; given(mode): rows that are always true; session(mode): how the client
    calls itself; replies: what RCPT is answered for yes, no, later ({} fields: mode, family, addr)."""
    all = []

    def __init__(self, name, settings, asked, replies, session=None, given=None, types=None, logs=None):
        self.name, self.settings, self.asked, self.replies = name, settings, asked, replies
        self.session = session or (lambda mode: {})
        self.given = given or (lambda mode: [])
        self.types = types          # spoil only these
        self.logs = logs            # log line that "later" must leave
        self.number = 10 + len(Family.all)
        Family.all.append(self)

    def addr(self, mode):
        return f'127.{self.number}.{NUMBER[mode]}.1'

    def reverse(self, mode):
        return f'1.{NUMBER[mode]}.{self.number}.127'

    def lists(self, rule):
        return ', '.join(f'{rule} {mode}.{self.name}.lists.test' for mode in MODES)

    def options(self):
        return self.settings(self) if callable(self.settings) else self.settings


def of_list(rule, place, what, name=None, session=None, given=None):
    """A rule of a block list: about the client's address or a name."""
    family = rule.removeprefix('reject_').replace('_', '')
    f = Family(family, lambda f: f'{place} = {f.lists(rule)}',
               lambda mode: [((name(mode) if name else f.reverse(mode)) + f'.{mode}.{family}.lists.test', 'A', '127.0.0.2')],
               {'yes': LISTED.replace('{what}', what), 'no': '250 ', 'later': '250 '}, session, given,
               logs=r'warning: {query}: RBL lookup error: ')
    return f


def named(f):
    f.given = lambda mode: [(f.reverse(mode) + '.in-addr.arpa', 'PTR', f'{mode}.{f.name}.test'), (f'{mode}.{f.name}.test', 'A', f.addr(mode))]
    return f


of_list('reject_rbl_client', 'smtpd_client_restrictions', 'Client host [{addr}]')
named(of_list('reject_rhsbl_client', 'smtpd_client_restrictions', 'Client host [{mode}.{family}.test]', lambda mode: f'{mode}.rhsblclient.test'))
named(of_list('reject_rhsbl_reverse_client', 'smtpd_client_restrictions', 'Unverified Client host [{mode}.{family}.test]',
              lambda mode: f'{mode}.rhsblreverseclient.test'))
of_list('reject_rhsbl_helo', 'smtpd_helo_restrictions', 'Helo command [{mode}.helo.test]', lambda mode: f'{mode}.helo.test',
        lambda mode: {'helo': f'{mode}.helo.test'})
of_list('reject_rhsbl_sender', 'smtpd_sender_restrictions', 'Sender address [a@{mode}.sender.test]', lambda mode: f'{mode}.sender.test',
        lambda mode: {'sender': f'a@{mode}.sender.test'})
of_list('reject_rhsbl_recipient', 'smtpd_recipient_restrictions', 'Recipient address [x@{mode}.here.test]', lambda mode: f'{mode}.here.test',
        lambda mode: {'rcpt': f'x@{mode}.here.test'})
ALLOWED = {'yes': '250 ', 'no': '554 5.7.1 ', 'later': '450 4.7.1 '}
DNSWL = Family('dnswl', lambda f: f'smtpd_recipient_restrictions = {f.lists("permit_dnswl_client")}, reject',
               lambda mode: [(f'{DNSWL.reverse(mode)}.{mode}.dnswl.lists.test', 'A', '127.0.0.2')], ALLOWED)
RHSWL = named(Family('rhswl', lambda f: f'smtpd_recipient_restrictions = {f.lists("permit_rhswl_client")}, reject',
                     lambda mode: [(f'{mode}.rhswl.test.{mode}.rhswl.lists.test', 'A', '127.0.0.2')], ALLOWED))
SITES = Family('sites', lambda f: 'smtpd_triage = yes\npostscreen_greet_wait = 1s\npostscreen_cache_map =\npostscreen_dnsbl_action = enforce\npostscreen_dnsbl_timeout = 2s\n'
               'postscreen_dnsbl_sites = ' + f.lists('').replace(', ', '*1,'),
               lambda mode: [(f'{SITES.reverse(mode)}.{mode}.sites.lists.test', 'A', '127.0.0.2')],
               {'yes': '550 5.7.1 Service unavailable; client [{addr}] blocked using {mode}.sites.lists.test', 'no': '250 ', 'later': '250 '})
TXT = Family('txt', lambda f: f'smtpd_client_restrictions = {f.lists("reject_rbl_client")}',
             lambda mode: [(f'{TXT.reverse(mode)}.{mode}.txt.lists.test', 'TXT', 'why not')],
             {'yes': LISTED.replace('{what}', 'Client host [{addr}]') + '; why not', 'no': LISTED.replace('{what}', 'Client host [{addr}]') + '$',
              'later': LISTED.replace('{what}', 'Client host [{addr}]') + '$'},
             given=lambda mode: [(f'{TXT.reverse(mode)}.{mode}.txt.lists.test', 'A', '127.0.0.2')], types=['TXT'])
NAMELESS = {'yes': '250 ', 'no': '550 5.7.25 ', 'later': '450 4.7.25 '}
PTR = Family('ptr', 'smtpd_client_restrictions = reject_unknown_client_hostname\nunknown_client_reject_code = 550',
             lambda mode: [(f'{PTR.reverse(mode)}.in-addr.arpa', 'PTR', f'{mode}.ptr.test')], NAMELESS,
             given=lambda mode: [(f'{mode}.ptr.test', 'A', PTR.addr(mode))])
FORWARD = Family('forward', PTR.settings, lambda mode: [(f'{mode}.forward.test', 'A', FORWARD.addr(mode))], NAMELESS,
                 given=lambda mode: [(f'{FORWARD.reverse(mode)}.in-addr.arpa', 'PTR', f'{mode}.forward.test')])
REVERSE = Family('reverse', 'smtpd_client_restrictions = reject_unknown_reverse_client_hostname\nunknown_client_reject_code = 550',
                 lambda mode: [(f'{REVERSE.reverse(mode)}.in-addr.arpa', 'PTR', f'{mode}.reverse.test')],
                 {'yes': '250 ', 'no': '550 5.7.1 ', 'later': '450 4.7.1 '})
UNNAMED = Family('unnamed', 'smtpd_recipient_restrictions = permit_rhswl_client allow.lists.test, reject',
                 lambda mode: [(f'{UNNAMED.reverse(mode)}.in-addr.arpa', 'PTR', f'{mode}.unnamed.test')], ALLOWED,
                 given=lambda mode: [(f'{mode}.unnamed.test', 'A', UNNAMED.addr(mode)), (f'{mode}.unnamed.test.allow.lists.test', 'A', '127.0.0.2')])
HELO = 'smtpd_helo_restrictions = reject_unknown_helo_hostname\nunknown_hostname_reject_code = 550'
UNKNOWN_HELO = {'yes': '250 ', 'no': '550 5.7.1 <{mode}.{family}.test>: Helo', 'later': '450 4.7.1 <{mode}.{family}.test>: Helo'}
Family('helo', HELO, lambda mode: [(f'{mode}.helo.test', 'A', '192.0.2.1')], UNKNOWN_HELO, lambda mode: {'helo': f'{mode}.helo.test'})
Family('helomx', HELO, lambda mode: [(f'{mode}.helomx.test', 'MX', '10 mx.sound.test')], UNKNOWN_HELO, lambda mode: {'helo': f'{mode}.helomx.test'})
SENDER = 'smtpd_sender_restrictions = reject_unknown_sender_domain\nunknown_address_reject_code = 550'
UNKNOWN = {'yes': '250 ', 'no': '550 5.1.8 ', 'later': '450 4.1.8 '}
Family('sendermx', SENDER, lambda mode: [(f'{mode}.sendermx.test', 'MX', '10 mx.sound.test')], UNKNOWN, lambda mode: {'sender': f'a@{mode}.sendermx.test'})
Family('sendera', SENDER, lambda mode: [(f'{mode}.sendera.test', 'A', '192.0.2.1')], UNKNOWN, lambda mode: {'sender': f'a@{mode}.sendera.test'},
       types=['A', 'AAAA'])
Family('rcptdomain', 'smtpd_recipient_restrictions = reject_unknown_recipient_domain\nunknown_address_reject_code = 550',
       lambda mode: [(f'{mode}.rcptdomain.test', 'MX', '10 mx.sound.test')],
       {'yes': '250 ', 'no': '550 5.1.2 ', 'later': '450 4.1.2 '}, lambda mode: {'rcpt': f'x@{mode}.rcptdomain.test'})

RELAY_DOMAINS = 'local.test, here.test, rcptdomain.test'


def not_so(mode, family):
    """Cells that make no sense."""
    return mode == 'spoof' and family.name in ('ptr', 'reverse', 'unnamed', 'helomx', 'sendermx', 'rcptdomain', 'txt')  # forgeries are of addresses


def rows_of(family, mode, with_faults=True):
    """[(name, kind, data)] for one cell."""
    outcome, faults, _ = MODES[mode]
    rows = list(family.given(mode))
    for name, kind, data in family.asked(mode):
        mine = []
        if mode == 'alias':
            mine = [(name, 'CNAME', f'a{NUMBER[mode]}.{family.name}.alias.test'), (f'a{NUMBER[mode]}.{family.name}.alias.test', kind, data)]
        elif mode == 'aliasgone':
            mine = [(name, 'CNAME', f'nothing.{family.name}.alias.test')]
        elif mode == 'cnameloop':
            mine = [(name, 'CNAME', f'loop.{family.name}.alias.test'), (f'loop.{family.name}.alias.test', 'CNAME', name)]
        elif mode == 'cname20':
            hops = [name] + [f'hop{i}.{family.name}.alias.test' for i in range(20)]
            mine = [(a, 'CNAME', b) for a, b in zip(hops, hops[1:])] + [(hops[-1], kind, data)]
        elif mode == 'nodata':
            mine = [(name, 'SRV', '1 1 1 x.test')]
        elif outcome != 'no' or (mode == 'nxdomain' and with_faults):
            mine = [(name, kind, data)]
        if with_faults and not (mode == 'aliasgone'):
            mine += [(name, f'{t}/{k}' if t else k, d) for k, d in faults for t in family.types or [None]]
        if family.types and mode in ('alias', 'aliasgone', 'cnameloop', 'cname20'):  # an alias has no other records beside it
            mine = [(n, f'{t}/CNAME', d) if k == 'CNAME' and n == name else (n, k, d) for n, k, d in mine for t in family.types[:1]]
        rows += mine
    return rows


def probes():
    """Rows that RFC 5782 5 wants of every list: 127.0.0.2 and "test" are on it."""
    for family in Family.all:
        if 'lists.test' in family.options():
            for domain in ['allow.lists.test'] if family is UNNAMED else [f'{mode}.{family.name}.lists.test' for mode in MODES]:
                yield f'2.0.0.127.{domain}', 'A', '127.0.0.2'
                yield f'test.{domain}', 'A', '127.0.0.2'


def services(ports):
    out = ''
    for port, family in zip(ports, Family.all):
        out += f'127.0.0.1:{port} inet n - n - - smtpd\n' + ''.join(f'  -o {{ {line} }}\n' for line in family.options().splitlines())
    return out


def session(port, addr, helo='client.sound.test', sender='a@sender.test', rcpt='x@local.test', seconds=20):
    """The reply to RCPT."""
    with socket.socket() as s:
        s.settimeout(seconds)
        s.bind((addr, 0))
        s.connect(('127.0.0.1', port))
        with s.makefile('rb') as f:
            line = b''
            for text in (None, f'EHLO {helo}', f'MAIL FROM:<{sender}>', f'RCPT TO:<{rcpt}>'):
                if text:
                    s.sendall(text.encode() + b'\r\n')
                while True:
                    line = f.readline()
                    if line[3:4] != b'-':
                        break
                if not line.startswith(b'2'):
                    break
            s.sendall(b'QUIT\r\n')
            f.read()
            return line.decode('latin-1').rstrip('\r\n')


def cell(gateway, port, family, mode, log_from, at_most):
    """What is wrong with one cell: text or None."""
    outcome = MODES[mode][0]
    fields = dict(mode=mode, family=family.name, addr=family.addr(mode))
    want = family.replies[outcome].format(**fields)
    for turn in range(1 if outcome == 'later' else 2):  # the second from the cache
        begin = time.monotonic()
        try:
            got = session(port, family.addr(mode), **family.session(mode))
        except OSError as e:
            return f'{family.name} x {mode}: {e!r}'
        took = time.monotonic() - begin
        if not (got == want[:-1] if want.endswith('$') else got.startswith(want)):
            return f'{family.name} x {mode} ({outcome}, turn {turn + 1}): {got!r} instead of {want!r}'
        if took > at_most:
            return f'{family.name} x {mode}: {took:.1f} s'
    if outcome == 'later' and family.logs:
        query = re.escape(family.asked(mode)[0][0])
        line = re.compile(family.logs.format(query=query))
        try:
            rig.wait_for('', lambda: line.search(gateway.log_text(log_from)), 3)
        except Broken:
            return f'{family.name} x {mode}: no log line {line.pattern}'
    return None


def play(gateway, ports, modes, at_most=9, without=lambda mode, family: False):
    """(number of cells, [what is wrong]). First what is answered, a few at a time; then what has to be waited for, many."""
    log_from = gateway.log_size()
    cells = [(port, family, mode) for port, family in zip(ports, Family.all) for mode in modes if not not_so(mode, family) and not without(mode, family)]
    wrong = []

    def run(workers, cells, pause):
        with concurrent.futures.ThreadPoolExecutor(workers) as pool:
            futures = []
            for c in cells:
                futures.append(pool.submit(cell, gateway, *c, log_from, at_most))
                time.sleep(pause)  # each asks some thirty lists at once, and the DNS server is a script
            wrong.extend(f.result() for f in futures if f.result())
    run(8, [c for c in cells if MODES[c[2]][0] != 'later'], 0)
    run(64, [c for c in cells if MODES[c[2]][0] == 'later'], 0.01)
    return len(cells), wrong
