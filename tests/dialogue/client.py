# SPDX-License-Identifier: BSD-2-Clause
"""A client of the dialogues: every reply line is checked for form."""

import functools
import re
import select
import socket
import ssl
import struct
import subprocess
import time

import rig
from rig import Broken


class Client:
    """One connection to the gateway; every reply line is checked for form."""

    def __init__(self, port, source=None, trickle=False):
        self.trickle = trickle
        self.buf = b''
        self.sock = socket.socket()
        self.sock.settimeout(rig.WAIT)
        if source:
            self.sock.bind((source, 0))
        self.sock.connect(('127.0.0.1', port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data, tolerant=False):
        try:
            if self.trickle and len(data) <= 4000:
                for i in range(len(data)):
                    self.sock.sendall(data[i:i + 1])
                    if i % 16 == 0:
                        time.sleep(0.0005)
            else:
                self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            if not tolerant:
                raise Broken('the gateway closed the connection while we sent')
        except socket.timeout:
            raise Broken('the gateway does not read')

    def line(self):
        while b'\n' not in self.buf:
            try:
                got = self.sock.recv(65536)
            except socket.timeout:
                raise Broken(f'no reply in {rig.WAIT:.0f} s' + (f', only {self.buf!r}' if self.buf else ''))
            except ConnectionResetError:
                got = b''
            if not got:
                raise Broken('the gateway closed the connection' + (f' after {self.buf!r}' if self.buf else ''))
            self.buf += got
        line, _, self.buf = self.buf.partition(b'\n')
        if not line.endswith(b'\r') or re.search(rb'[\x00-\x08\x0b-\x1f\x7f]', line[:-1]) or len(line) > 511:
            raise Broken(f'malformed reply line ({len(line) + 1} octets): {line[:120]!r}')
        return line[:-1].decode('utf-8', 'backslashreplace')

    def reply(self):
        lines = []
        while True:
            lines.append(self.line())
            if not re.match(r'[2-5]\d\d[ -]|[2-5]\d\d$', lines[-1]) or (lines[-1][:3] != lines[0][:3] and not lines[0].startswith('220-')):
                raise Broken(f'malformed reply: {lines}')
            if lines[-1][3:4] != '-':
                return lines

    def at_eof(self):
        end = time.monotonic() + rig.WAIT
        try:
            while time.monotonic() < end:
                got = self.sock.recv(65536)
                if not got:
                    return
                self.buf += got
        except ConnectionResetError:
            return
        except ssl.SSLEOFError:
            raise Broken('the gateway ends TLS without close_notify')
        except socket.timeout:
            pass
        raise Broken('the gateway does not close the connection')

    def stray(self):
        """What came without having been asked for."""
        if isinstance(self.sock, ssl.SSLSocket):
            if self.sock.version() is None:
                return b''  # after fin: what comes is sealed
            self.sock.settimeout(0)
        if select.select([self.sock], [], [], 0)[0]:
            try:
                self.buf += self.sock.recv(65536)
            except OSError:
                pass
        return self.buf

    def secure(self, certs, opts, session=None):
        """TLS from here on; what it came to, as name: value."""
        ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        ctx.check_hostname = False
        ctx.verify_mode = ssl.CERT_NONE
        if certs:
            ctx.load_verify_locations(certs / 'ca.pem')
            ctx.verify_mode = ssl.CERT_REQUIRED if opts.get('verify') == 'yes' else ssl.CERT_NONE
        if opts.get('low'):
            ctx.set_ciphers('ALL:@SECLEVEL=0')
        versions = {v.replace('_', '.').replace('TLSv1.0', 'TLSv1'): getattr(ssl.TLSVersion, v) for v in ('TLSv1', 'TLSv1_1', 'TLSv1_2', 'TLSv1_3')}
        ctx.minimum_version = versions[opts.get('min', opts.get('max', 'TLSv1.2'))]
        if 'max' in opts:
            ctx.maximum_version = versions[opts['max']]
        if 'cert' in opts:
            ctx.load_cert_chain(certs / (opts['cert'] + '.pem'), certs / (opts['cert'] + '.key'))
        if 'alpn' in opts:
            ctx.set_alpn_protocols(opts['alpn'].split(','))
        if session:
            ctx = session.context
        self.context = ctx
        self.sock = ctx.wrap_socket(self.sock, server_hostname=opts.get('sni'), session=session.sock.session if session else None, suppress_ragged_eofs=False)
        return {'version': self.sock.version(), 'cipher': self.sock.cipher()[0], 'subject': subject_of(self.sock.getpeercert(True)), 'alpn': self.sock.selected_alpn_protocol() or '',
                'resumed': 'yes' if self.sock.session_reused else 'no'}

    def close(self, rst=False):
        if rst:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        self.sock.close()


@functools.lru_cache
def subject_of(der):
    """The common name in a certificate."""
    if not der:
        return ''
    return subprocess.run(['openssl', 'x509', '-inform', 'DER', '-noout', '-subject', '-nameopt', 'sep_multiline'], input=der,
                          stdout=subprocess.PIPE).stdout.decode().split('CN=')[-1].strip()


def reply_fits(want, lines):
    codes, text, regex = want
    if not any(re.fullmatch(c.replace('x', r'\d'), lines[-1][:3]) for c in codes):
        return False
    rest = lines[-1][4:]
    if regex:
        return bool(regex.search('\n'.join(lines)))
    if text and text.endswith('...'):
        return rest.startswith(text[:-3])
    return not text or rest == text
