#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""AUTH beside Debian's Postfix: the same dialogues, the same auth server (Dovecot's protocol) or database (libsasl2) behind both.

Compared: every reply, the lines about the login in the log, the Received header and the client line of a message. What differs on
purpose is DIFFERENCES. Needs root, as Postfix's master does.

    sasl.py [-k TEXT] [-v]
"""

import argparse
import pathlib
import re
import socket
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / 'tools'))
import pair  # noqa: E402
import rig  # noqa: E402

MAIN = '''compatibility_level = 3.6
myhostname = gw.test
mydestination =
local_recipient_maps =
inet_protocols = ipv4
relay_domains = hub.test
mynetworks = 127.0.0.9/32
smtpd_relay_restrictions = permit_sasl_authenticated, reject_unauth_destination
smtpd_sasl_auth_enable = yes
smtpd_sasl_authenticated_header = yes
smtpd_soft_error_limit = 1001
smtpd_hard_error_limit = 1000
smtpd_error_sleep_time = 0
smtpd_forbid_unauth_pipelining = no
smtpd_authorized_xclient_hosts = 127.3.0.1
'''
OURS = 'smtpd_sasl_failure_delay = 0s\nsmtpd_sasl_lockout_limit = 0\nsmtpd_sasl_lockout_client_limit = 0\n'
# service: -o settings, with {auth} and {sasl} filled in
DOVECOT = 'smtpd_sasl_type=dovecot smtpd_sasl_path=inet:127.0.0.1:{auth} '
CYRUS = 'smtpd_sasl_local_domain=gw.test '
SERVICES = {
    'dovecot': DOVECOT,
    'cyrus': CYRUS,
    'options': DOVECOT + 'smtpd_sasl_security_options=noanonymous,noplaintext broken_sasl_auth_clients=yes',
    'all': DOVECOT + 'smtpd_sasl_security_options= smtpd_sasl_mechanism_filter=static:all',
    'filter': DOVECOT + 'smtpd_sasl_mechanism_filter=plain,login',
    'tls': DOVECOT + 'smtpd_tls_auth_only=yes smtpd_tls_security_level=may smtpd_tls_cert_file={certs}/good.pem smtpd_tls_key_file={certs}/good.key',
    'excepted': DOVECOT + 'smtpd_sasl_exceptions_networks=127.3.0.0/16',
    'helo': DOVECOT + 'smtpd_helo_required=yes',
    'off': 'smtpd_sasl_auth_enable=no',
    'discard': DOVECOT + 'smtpd_discard_ehlo_keywords=auth',
    'owner': DOVECOT + 'smtpd_sender_login_maps=inline:{{a@x.test=anna}} smtpd_sender_restrictions=reject_sender_login_mismatch',
}
PLAIN, WRONG = 'AUTH PLAIN AGFubmEAc2VjcmV0', 'AUTH PLAIN AGFubmEAd3Jvbmc='
MAIL = ['MAIL FROM:<a@x.test>', 'RCPT TO:<b@hub.test>', 'DATA', 'Subject: x\r\n\r\nx\r\n.']
CASES = {
    'offer': ('dovecot', ['EHLO c.test']),
    'offer cyrus': ('cyrus', ['EHLO c.test']),
    'offer options': ('options', ['EHLO c.test']),
    'offer all': ('all', ['EHLO c.test']),
    'offer filter': ('filter', ['EHLO c.test']),
    'offer tls only': ('tls', ['EHLO c.test', PLAIN]),
    'offer excepted': ('excepted', ['EHLO c.test', PLAIN]),
    'offer discarded': ('discard', ['EHLO c.test', PLAIN]),
    'off': ('off', ['EHLO c.test', PLAIN, 'MAIL FROM:<a@x.test>', PLAIN]),
    'plain': ('dovecot', ['EHLO c.test', PLAIN, *MAIL]),
    'plain in two': ('dovecot', ['EHLO c.test', 'AUTH PLAIN', 'AGFubmEAc2VjcmV0']),
    'plain wrong': ('dovecot', ['EHLO c.test', WRONG, PLAIN]),
    'login': ('dovecot', ['EHLO c.test', 'AUTH LOGIN', 'YW5uYQ==', 'c2VjcmV0', *MAIL]),
    'login wrong': ('dovecot', ['EHLO c.test', 'auth login', 'YW5uYQ==', 'eA==']),
    'login initial': ('dovecot', ['EHLO c.test', 'AUTH LOGIN YW5uYQ==', 'c2VjcmV0']),
    'cram': ('dovecot', ['EHLO c.test', 'AUTH CRAM-MD5', 'YW5uYSA3NGFhYzA3YjYzNzFjOTA5N2UxNTY1YzZmOGFjZWZmZA==']),
    'cram wrong': ('dovecot', ['EHLO c.test', 'AUTH CRAM-MD5', 'YW5uYSA3']),
    'anonymous': ('all', ['EHLO c.test', 'AUTH ANONYMOUS eA==', 'MAIL FROM:<a@x.test>', 'RCPT TO:<b@elsewhere.test>']),
    'renamed': ('dovecot', ['EHLO c.test', 'AUTH PLAIN AHJlbmFtZQB4', *MAIL]),
    'no mechanism': ('dovecot', ['EHLO c.test', 'AUTH NOSUCH', 'AUTH EXTERNAL', 'AUTH ANONYMOUS eA==']),
    'no mechanism cyrus': ('cyrus', ['EHLO c.test', 'AUTH NOSUCH', 'AUTH ANONYMOUS eA==']),
    'syntax': ('dovecot', ['EHLO c.test', 'AUTH', 'AUTH PLAIN a b']),
    'aborted': ('dovecot', ['EHLO c.test', 'AUTH LOGIN', '*', 'AUTH LOGIN', 'YW5uYQ==', '*', PLAIN]),
    'aborted cyrus': ('cyrus', ['EHLO c.test', 'AUTH LOGIN', '*']),
    'after HELO': ('dovecot', ['HELO c.test', PLAIN]),
    'before HELO': ('dovecot', [PLAIN]),
    'before HELO required': ('helo', [PLAIN]),
    'twice': ('dovecot', ['EHLO c.test', PLAIN, PLAIN, 'EHLO c.test', PLAIN, 'RSET', PLAIN]),
    'in a transaction': ('dovecot', ['EHLO c.test', 'MAIL FROM:<a@x.test>', PLAIN]),
    'too long': ('dovecot', ['EHLO c.test', 'AUTH PLAIN', 'A' * 12300, 'NOOP']),
    'temporary': ('dovecot', ['EHLO c.test', 'AUTH PLAIN AHRlbXAAeA==']),
    'disabled': ('dovecot', ['EHLO c.test', 'AUTH PLAIN AGRpc2FibGVkAHg=']),
    'reason': ('dovecot', ['EHLO c.test', 'AUTH PLAIN AHJlYXNvbgB4']),
    'closed': ('dovecot', ['EHLO c.test', 'AUTH PLAIN AGNsb3NlAHg=']),
    'no name': ('dovecot', ['EHLO c.test', 'AUTH PLAIN AG5vdXNlcgB4']),
    'not base64': ('dovecot', ['EHLO c.test', 'AUTH LOGIN', 'YW5uYQ==', '!!!']),
    'not base64 cyrus': ('cyrus', ['EHLO c.test', 'AUTH PLAIN !!!', 'AUTH LOGIN', '!!!']),
    'empty response': ('dovecot', ['EHLO c.test', 'AUTH PLAIN =']),
    'mail auth': ('dovecot', ['EHLO c.test', PLAIN, 'MAIL FROM:<a@x.test> AUTH=b+2Bc', 'RCPT TO:<b@hub.test>']),
    'mail auth twice': ('dovecot', ['EHLO c.test', 'MAIL FROM:<a@x.test> AUTH=a AUTH=b']),
    'cyrus plain': ('cyrus', ['EHLO c.test', PLAIN, *MAIL]),
    'cyrus wrong': ('cyrus', ['EHLO c.test', WRONG, 'AUTH PLAIN AG5vYm9keQB4', 'AUTH PLAIN YmVydABhbm5hAHNlY3JldA==']),
    'cyrus login': ('cyrus', ['EHLO c.test', 'AUTH LOGIN', 'YW5uYQ==', 'eA==', 'AUTH LOGIN', 'YW5uYQ==', 'c2VjcmV0']),
    'owner': ('owner', ['EHLO c.test', PLAIN, 'MAIL FROM:<b@x.test>', 'RCPT TO:<b@hub.test>', 'RSET', 'MAIL FROM:<a@x.test>', 'RCPT TO:<b@hub.test>']),
    'owner stranger': ('owner', ['EHLO c.test', 'MAIL FROM:<a@x.test>', 'RCPT TO:<b@hub.test>']),
    'xclient login': ('dovecot', ['EHLO c.test', 'XCLIENT LOGIN=bert', 'EHLO c.test', PLAIN, 'MAIL FROM:<a@x.test>', 'RCPT TO:<b@elsewhere.test>']),
    'login, then xclient': ('dovecot', ['EHLO c.test', PLAIN, 'XCLIENT ADDR=192.0.2.1', 'EHLO c.test', 'MAIL FROM:<a@x.test>', 'RCPT TO:<b@elsewhere.test>']),
}
DIFFERENCES = {
    'offer tls only': 'the reply Postfix has for it and does not come to: it says that there is no AUTH at all',
    'no mechanism': 'what the filter leaves out is refused, not only not announced',
    'no mechanism cyrus': 'a mechanism that is not offered is not asked about: libsasl2 has nothing to say in the log',
    'temporary': 'a FAIL with "temp" is not the fault of the client: 454',
    'closed': 'the name the client gave is in the log',
    'no name': 'the name the client gave is in the log',
    'not base64': '501 without asking anybody (RFC 4954 4)',
    'not base64 cyrus': '501 without asking anybody (RFC 4954 4)',
}


def play(port, _, steps):
    s = socket.socket()
    s.settimeout(20)
    s.bind(('127.3.0.1', 0))
    s.connect(('127.0.0.1', port))
    lines = s.makefile('rb')
    said = []

    def reply():
        text = []
        while True:
            line = lines.readline().decode('utf-8', 'replace')
            text.append(line.rstrip('\r\n'))
            if line[3:4] != '-':
                return '\n'.join(text)
    reply()
    for step in steps:
        s.sendall(step.encode() + b'\r\n')
        said.append((step[:60], re.sub(r'queued as \w+', 'queued as ID', reply().replace('ESMTP Postfix', 'ESMTP Dogana'))))
    s.sendall(b'QUIT\r\n')
    lines.read()
    s.close()
    return said


def clean_log(text):
    keep = [re.sub(r'^.*?smtpd\[\d+\]: ', '', line) for line in text.splitlines() if re.search(r'SASL|sasl_', line)]
    return [re.sub(r'^\w+: client=', 'ID: client=', line) for line in keep if 'SASL: ' not in line]


def main():
    args = pair.arguments(argparse.ArgumentParser()).parse_args()
    sasl = rig.workdir('compat-sasl-tools')
    auth, = rig.free_ports(1)
    tools = [subprocess.Popen(words, stdout=subprocess.PIPE) for words in (
        [HERE.parent / 'tools/authserver.py', str(auth), 'anna=secret'],
        [HERE.parent / 'tools/sasldb.py', sasl, 'gw.test', 'anna=secret', '+mech_list:~PLAIN~LOGIN~CRAM-MD5~SCRAM-SHA-256'])]
    try:
        for t in tools:
            t.stdout.readline()
        services = {name: settings.format(auth=auth, certs=rig.certificates()) for name, settings in {'plain': '', **SERVICES}.items()}
        return pair.run('sasl', args, services, MAIN, CASES, play, clean_log, DIFFERENCES, ours=OURS,
                        files={'sasl/smtpd.conf': (sasl / 'smtpd.conf').read_text()})
    finally:
        for t in tools:
            t.kill()
            t.wait()


if __name__ == '__main__':
    sys.exit(main())
