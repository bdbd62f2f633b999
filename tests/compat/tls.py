#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""TLS of the server, in front of Debian's Postfix and of Dogana with the same configuration: every reply, the Received header a hub
behind them gets, and every line of the log of each session are compared.

    tls.py [-k TEXT] [-v]      cases with TEXT in their name; -v prints what is the same, too

DIFFERENCES has what differs on purpose, and why. Exit status 1 for anything else, and for a listed one that is gone; 77 where
Postfix cannot run.
"""

import argparse
import pathlib
import re
import socket
import ssl
import sys
import time
import warnings

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'tools'))
import pair  # noqa: E402
import rig  # noqa: E402

warnings.simplefilter('ignore', DeprecationWarning)

COMMON = '''compatibility_level = 3.6
myhostname = mx.example.com
mydestination =
mynetworks = 127.2.0.0/16
relay_domains = example.org
relay_recipient_maps =
mail_name = Mail
syslog_name = postfix
smtpd_peername_lookup = no
smtpd_banner = $myhostname ESMTP
smtpd_error_sleep_time = 0
smtpd_forbid_unauth_pipelining = no
inet_protocols = ipv4
smtpd_tls_received_header = yes
smtpd_tls_loglevel = 1
smtpd_tls_security_level = may
smtpd_tls_cert_file = @CERTS@/good.pem
smtpd_tls_key_file = @CERTS@/good.key
smtpd_tls_CAfile = @CERTS@/ca.pem
'''
SERVICES = {
    'may': '',
    'encrypt': 'smtpd_tls_security_level=encrypt',
    'wrapper': 'smtpd_tls_wrappermode=yes',
    'ask': 'smtpd_tls_ask_ccert=yes smtpd_tls_loglevel=2 smtpd_relay_restrictions=permit_tls_all_clientcerts,reject_unauth_destination',
    'require': 'smtpd_tls_security_level=encrypt smtpd_tls_req_ccert=yes',
    'ec': 'smtpd_tls_cert_file= smtpd_tls_key_file= smtpd_tls_eccert_file=@CERTS@/good-ec.pem smtpd_tls_eckey_file=@CERTS@/good-ec.key',
    'chain': 'smtpd_tls_cert_file= smtpd_tls_chain_files=@CERTS@/good-ec.chain,@CERTS@/good.chain smtpd_tls_eecdh_grade=strong',
    'off': 'smtpd_tls_security_level=none',
    'nocert': 'smtpd_tls_cert_file= smtpd_tls_key_file=',
    'discard': 'smtpd_discard_ehlo_keywords=starttls',
    'old': 'smtpd_tls_security_level= smtpd_use_tls=yes',
    'mandatory': 'smtpd_tls_security_level= smtpd_enforce_tls=yes',
    'high': 'smtpd_tls_ciphers=high smtpd_tls_exclude_ciphers=AES128 smtpd_tls_protocols=<=TLSv1.2 tls_preempt_cipherlist=yes',
    'helo': 'smtpd_helo_required=yes',
}
MAIL = ['EHLO in.example', 'MAIL FROM:<a@example.com>', 'RCPT TO:<b@example.org>', 'DATA', 'Subject: x\r\n\r\nbody\r\n.', 'QUIT']
START = ['EHLO out.example', 'STARTTLS']
ALL = ['HELO x', 'EHLO x', 'NOOP', 'VRFY b@example.org', 'RSET', 'RCPT TO:<b@example.org>', 'DATA', 'ETRN example.org', 'AUTH PLAIN AGEAYg==',
       'XCLIENT NAME=x', 'XFORWARD NAME=x', 'STARTTLS x', 'MAIL FROM:<a@example.com>', 'RCPT TO:<b@example.org>', 'NOSUCH', 'QUIT']


def tls(**opts):
    return opts


# name: (service, steps); a step: a command, tls(...), bytes as they are, or None: the end is waited for
CASES = {
    'message': ('may', START + [tls()] + MAIL),
    'message 1.2': ('may', START + [tls(max='TLSv1_2')] + MAIL),
    'message ec': ('ec', START + [tls()] + MAIL),
    'message ec 1.2': ('ec', START + [tls(max='TLSv1_2')] + MAIL),
    'message chain': ('chain', START + [tls()] + MAIL),
    'message wrapped': ('wrapper', [tls()] + MAIL),
    'message high': ('high', START + [tls(max='TLSv1_2')] + MAIL),
    'message dhe': ('may', START + [tls(max='TLSv1_2', ciphers='DHE-RSA-AES256-GCM-SHA384')] + MAIL),
    'message ccert': ('ask', START + [tls(cert='client')] + MAIL),
    'message ccert rsa': ('ask', START + [tls(cert='client2')] + MAIL),
    'message ccert 1.2': ('ask', START + [tls(cert='client', max='TLSv1_2')] + MAIL),
    'message ccert unknown': ('ask', START + [tls(cert='unknown')] + MAIL),
    'message ccert self': ('ask', START + [tls(cert='self')] + MAIL),
    'message ccert expired': ('ask', START + [tls(cert='expired')] + MAIL),
    'message no ccert': ('ask', START + [tls()] + MAIL),
    'relay ccert': ('ask', START + [tls(cert='client'), 'EHLO x', 'MAIL FROM:<a@example.com>', 'RCPT TO:<b@elsewhere.example>', 'QUIT']),
    'relay no ccert': ('ask', START + [tls(), 'EHLO x', 'MAIL FROM:<a@example.com>', 'RCPT TO:<b@elsewhere.example>', 'QUIT']),
    'require none': ('require', START + [tls(), 'EHLO x', None]),
    'require unknown': ('require', START + [tls(cert='unknown'), 'EHLO x', None]),
    'require self': ('require', START + [tls(cert='self'), 'EHLO x', None]),
    'require expired': ('require', START + [tls(cert='expired'), 'EHLO x', None]),
    'require future': ('require', START + [tls(cert='future'), 'EHLO x', None]),
    'require good': ('require', START + [tls(cert='client')] + MAIL),
    'resumed': ('may', START + [tls()] + MAIL[:1] + ['QUIT']),
    'all before': ('may', ALL), 'all before encrypt': ('encrypt', ALL), 'all before mandatory': ('mandatory', ALL), 'all old': ('old', ALL),
    'all off': ('off', ALL), 'all nocert': ('nocert', ALL), 'all discard': ('discard', ALL),
    'all inside': ('may', START + [tls()] + ALL), 'all inside encrypt': ('encrypt', START + [tls()] + ALL), 'all wrapped': ('wrapper', [tls()] + ALL),
    'off': ('off', ['EHLO x', 'STARTTLS', 'QUIT']), 'nocert': ('nocert', ['EHLO x', 'STARTTLS', 'QUIT']),
    'discard': ('discard', ['EHLO x', 'STARTTLS', 'QUIT']),
    'twice': ('may', START + [tls(), 'EHLO x', 'STARTTLS', 'QUIT']),
    'in transaction': ('may', ['EHLO x', 'MAIL FROM:<a@example.com>', 'STARTTLS', 'QUIT']),
    'without hello': ('may', ['STARTTLS', tls(), 'MAIL FROM:<a@example.com>', 'QUIT']),
    'hello required': ('helo', ['STARTTLS', tls(), 'MAIL FROM:<a@example.com>', 'QUIT']),
    'hello forgotten': ('helo', START + [tls(), 'MAIL FROM:<a@example.com>', 'EHLO x', 'MAIL FROM:<a@example.com>', 'QUIT']),
    'injected': ('may', ['EHLO x', b'STARTTLS\r\nMAIL FROM:<evil@example.com>\r\n', tls(), 'RCPT TO:<b@example.org>', 'DATA', 'QUIT']),
    'http in the handshake': ('may', START + [b'GET / HTTP/1.0\r\n\r\n', None]),
    'http wrapped': ('wrapper', [b'GET / HTTP/1.0\r\n\r\n', None]),
    'smtp wrapped': ('wrapper', [b'EHLO x\r\nMAIL FROM:<a@example.com>\r\n', None]),
    'gone in the handshake': ('may', START + ['close']),
    'gone in the hello': ('may', START + [b'\x16\x03\x01\x02\x00\x01', 'close']),
    'gone inside': ('may', START + [tls(), 'EHLO x', 'close']),
    'gone in data': ('may', START + [tls()] + MAIL[:4] + ['close']),
    'too old': ('may', START + [tls(min='TLSv1', max='TLSv1_1', ciphers='ALL:@SECLEVEL=0')]),
    'no cipher': ('may', START + [tls(max='TLSv1_2', ciphers='ECDHE-ECDSA-AES128-GCM-SHA256')]),
}

DIFFERENCES = {
    'too old': 'TLS 1.0 and 1.1 only where a cipher list says @SECLEVEL=0',
    'message chain': 'smtpd_tls_eecdh_grade counts in TLS 1.3, too',
    'nocert': 'what cannot be done is not offered', 'all nocert': 'what cannot be done is not offered',
    'injected': 'what is sent ahead of the handshake is logged as early, as behind every command that ends a group',
    'in transaction': 'STARTTLS in a transaction is refused: RFC 3207 has no use for it',
}


class Client:
    def __init__(self, port, certs):
        self.certs = certs
        self.sock = socket.create_connection(('127.0.0.1', port), 10, source_address=('127.3.0.1', 0))
        self.sock.settimeout(10)
        self.buffer = b''

    def reply(self):
        while True:
            m = re.match(rb'(?:\d\d\d-[^\n]*\n)*\d\d\d(?: [^\n]*)?\r?\n', self.buffer)
            if m:
                self.buffer = self.buffer[m.end():]
                return m.group().decode().replace('\r\n', '|').rstrip('|')
            try:
                more = self.sock.recv(65536)
            except (ssl.SSLError, OSError) as e:
                return '(silence)' if isinstance(e, TimeoutError) else '(gone)'
            if not more:
                return '(gone)'
            self.buffer += more

    def secure(self, opts):
        ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        ctx.check_hostname = False
        ctx.verify_mode = ssl.CERT_NONE
        if 'ciphers' in opts:
            ctx.set_ciphers(opts['ciphers'])
        for what, name in (('min', 'minimum_version'), ('max', 'maximum_version')):
            if what in opts:
                setattr(ctx, name, getattr(ssl.TLSVersion, opts[what]))
        if 'cert' in opts:
            ctx.load_cert_chain(self.certs / (opts['cert'] + '.pem'), self.certs / (opts['cert'] + '.key'))
        try:
            self.sock = ctx.wrap_socket(self.sock)
        except (ssl.SSLError, OSError) as e:
            return re.sub(r' \(_ssl.*', '', f'{type(e).__name__} {e}')
        return f'{self.sock.version()} {self.sock.cipher()[0]}'


def play(port, certs, wrapped, steps):
    c = Client(port, certs)
    said = [] if wrapped else [('', c.reply())]
    for step in steps:
        if step is None:
            while not said or not said[-1][1].startswith('('):
                said.append(('', c.reply()))
        elif isinstance(step, dict):
            said.append(('TLS', c.secure(step)))
            if not said[-1][1].startswith('TLS'):
                break
            if wrapped:
                said.append(('', c.reply()))
        elif step == 'close':
            break
        else:
            try:
                c.sock.sendall(step if isinstance(step, bytes) else step.encode() + b'\r\n')
            except OSError:
                pass
            if isinstance(step, bytes) and not step.startswith(b'STARTTLS'):
                continue
            said.append((str(step)[:40], re.sub(r'queued as \S+', 'queued as ID', c.reply())))
    c.sock.close()
    return said


def clean_log(text):
    """The lines of smtpd about one session, without what differs each time."""
    out = []
    for line in text.splitlines():
        m = re.search(r'postfix/(?:\w+/)?smtpd\[\d+\]: (.*)', line)
        if not m or re.match(r'warning: (dict|TLS library problem: .*terminated|connect to)', m[1]):
            continue
        line = re.sub(r'\b[0-9A-F]{8,12}\b: |\b[0-9a-zA-Z]{12,16}: (?=client=)', 'ID: ', m[1])
        line = re.sub(r'(TLS library problem: error:[0-9A-F]+:[^:]*:[^:]*:[^:]*):.*', r'\1', line)
        line = re.sub(r'for service \S+', 'for service S', line)
        if re.match(r'SSL_accept:|initializing the|discarding EHLO keywords|warning: No server certs|subject=|issuer=|\S+: (depth=|TLS cipher list|Issuing session ticket|Decrypting session ticket|save session|looking up)', line):
            continue  # Postfix's debugging at level 2
        line = re.sub(r' rule=\S+$', '', line)
        out.append(line)
    return out


def main():
    args = pair.arguments(argparse.ArgumentParser()).parse_args()
    certs = rig.certificates()

    def fill(text):
        return text.replace('@CERTS@', str(certs))
    return pair.run('tls', args, {name: fill(settings) for name, settings in SERVICES.items()}, fill(COMMON), CASES,
                    lambda port, service, steps: play(port, certs, service == 'wrapper', steps), clean_log, DIFFERENCES,
                    theirs='smtpd_tls_session_cache_database =\n')


if __name__ == '__main__':
    sys.exit(main())
