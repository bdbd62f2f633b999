#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Content filters of Debian in the chains they were written for: behind the queue (content_filter, mail comes back on a listener of its own) and in
front of it (smtpd_proxy_filter), as their documentation for Postfix has it. A filter on aiosmtpd that speaks XFORWARD, spampd with SpamAssassin,
clamsmtp with clamd, amavis. What `make peers' has not fetched is skipped and counted. Last line: N passed, N failed, N skipped.

    filters.py [-v] [NAME...]          environment: DOGANA, PEERS, TOOLS as for the other tests
    filters.py --filter PORT BACK      is the filter on aiosmtpd
"""

import base64
import os
import pathlib
import re
import shutil
import smtplib
import socket
import sys
import threading

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / 'tests/tools'))
import rig  # noqa: E402
from cases import PEERS, Skip, case, run_cases  # noqa: E402
from installed import installed, why_not  # noqa: E402
from programs import EICAR, GTUBE, Programs, listens  # noqa: E402
from rig import wait_for  # noqa: E402

ROOT = PEERS / 'root'
NOBODY = 65534
# A /dev with a log in it: SOCKET.
LOG = ('mount -t tmpfs tmpfs /mnt && for n in null zero full random urandom; do : >/mnt/$n && mount --bind /dev/$n /mnt/$n; done && '
       'ln -s SOCKET /mnt/log && mount --rbind /mnt /dev')


# ---- a filter on aiosmtpd ----

def filter_program(port, back):
    """Adds a header, refuses what says so, tells the gateway behind it who the client was."""
    import asyncio
    from aiosmtpd.smtp import SMTP, syntax

    class Filter(SMTP):
        forward = ()

        async def ehlo_hook(self):
            await self.push('250-XFORWARD NAME ADDR PROTO HELO PORT SOURCE')

        @syntax('XFORWARD attribute=value...')
        async def smtp_XFORWARD(self, arg):
            self.forward += (arg,)
            await self.push('250 2.0.0 Ok')

    class Handler:
        async def handle_EHLO(self, server, session, envelope, hostname):
            session.host_name = hostname
            await server.ehlo_hook()
            return '250 HELP'

        def relay(self, envelope, forward, content):
            with smtplib.SMTP('127.0.0.1', back, local_hostname='filter.test', timeout=20) as s:
                s.ehlo()
                for attributes in forward:
                    s.docmd('XFORWARD', attributes)
                s.mail(envelope.mail_from)
                for rcpt in envelope.rcpt_tos:
                    s.rcpt(rcpt)
                return s.data(content)

        async def handle_DATA(self, server, session, envelope):
            if b'Subject: refuse me' in envelope.content:
                return '554 5.7.1 the filter will not have it'
            code, text = await asyncio.to_thread(self.relay, envelope, server.forward, b'X-Filter: seen\r\n' + envelope.content)
            return f'{code} {text.decode()}'

    async def serve():
        server = await asyncio.get_running_loop().create_server(lambda: Filter(Handler(), hostname='filter.test', decode_data=False), '127.0.0.1', port)
        await server.serve_forever()
    asyncio.run(serve())


# ---- the rig ----

class World:
    """A gateway with two listeners for each filter, and one that takes mail back; a filter is started by the case that needs it."""

    NAMES = ['aiosmtpd', 'spampd', 'clamsmtp', 'amavis']

    def __init__(self):
        self.dir = rig.workdir('filters')
        self.dir.chmod(0o755)
        self.sockets = rig.workdir('peer')
        self.sockets.chmod(0o755)
        self.programs = Programs(self.dir)
        self.hub = rig.Hub(self.dir / 'hub', ['0'])
        n = len(self.NAMES)
        ports = rig.free_ports(3 * n + 2)
        self.filter, self.after, self.before = (dict(zip(self.NAMES, ports[i * n:])) for i in range(3))
        self.back, self.lmtp = ports[-1], ports[-2]
        lines = 'scan unix - - n - 10 smtp -o smtp_send_xforward_command=yes -o disable_dns_lookups=yes -o smtp_data_done_timeout=1200s\n'
        for name in self.NAMES:
            lines += f'127.0.0.1:{self.after[name]} inet n - n - - smtpd -o content_filter=scan:[127.0.0.1]:{self.filter[name]}\n'
            lines += f'127.0.0.1:{self.before[name]} inet n - n - - smtpd -o smtpd_proxy_filter=127.0.0.1:{self.filter[name]}\n'
        lines += 'feed unix - - n - 2 lmtp -o lmtp_send_xforward_command=yes -o lmtp_data_done_timeout=1200s\n'
        lines += f'127.0.0.1:{self.lmtp} inet n - n - - smtpd -o content_filter=feed:[127.0.0.1]:{self.filter["amavis"]}\n'
        lines += (f'127.0.0.1:{self.back} inet n - n - - smtpd -o content_filter= -o smtpd_proxy_filter= -o mynetworks=127.0.0.0/8 -o smtpd_client_restrictions='
                  ' -o receive_override_options=no_unknown_recipient_checks,no_header_body_checks,no_milters -o smtpd_helo_restrictions= -o smtpd_sender_restrictions='
                  ' -o smtpd_relay_restrictions= -o smtpd_recipient_restrictions=permit_mynetworks,reject -o smtpd_authorized_xforward_hosts=127.0.0.0/8'
                  ' -o local_header_rewrite_clients= -o smtpd_error_sleep_time=0 -o smtpd_soft_error_limit=1001 -o smtpd_hard_error_limit=1000'
                  ' -o smtpd_client_connection_count_limit=0 -o smtpd_milters= -o syslog_name=back\n')
        gw = self.dir / 'gw'
        self.gateway = rig.Gateway(gw, f'''compatibility_level = 3.6
myhostname = gw.test
mydestination =
local_recipient_maps =
mynetworks = 127.0.0.9/32
inet_protocols = ipv4
relay_domains = hub.test
transport_maps = inline:{{ hub.test=smtp:[127.0.0.1]:{self.hub.ports[0]} }}
smtpd_peername_lookup = no
queue_directory = {gw}/queue
data_directory = {gw}/data
maillog_file = /dev/stdout
''', lines)
        self.gateway.start(self.back)

    def syslog(self):
        """Path of a socket that takes what programs log."""
        path = self.sockets / 'log'
        if not path.exists():
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            sock.bind(str(path))
            path.chmod(0o777)

            def drain():
                with open(self.dir / 'syslog', 'ab') as out:
                    while text := sock.recv(65536):
                        out.write(text + b'\n')
                        out.flush()
            threading.Thread(target=drain, daemon=True).start()
        return path

    def ways(self, name):
        return {'after': self.after[name], 'before': self.before[name]}.items()

    def send(self, port, text, to=('to@hub.test',), sender='from@client.test'):
        with smtplib.SMTP('127.0.0.1', port, local_hostname='client.test', timeout=40, source_address=('127.7.7.7', 0)) as s:
            return s.sendmail(sender, list(to), text if isinstance(text, bytes) else text.replace('\n', '\r\n').encode())

    def get(self, port, text, **more):
        """What arrives at the hub: (record, header lines, body)."""
        before = len(self.hub.messages())
        self.send(port, text, **more)
        wait_for('the message at the hub', lambda: len(self.hub.messages()) > before, 40)
        record = self.hub.messages()[before]
        head, _, body = self.hub.content(record).partition(b'\r\n\r\n')
        return record, head.decode('utf-8', 'backslashreplace').split('\r\n'), body

    def passes(self, name, way, port):
        """Ordinary mail to two, small and large, comes through octet for octet: header lines of the small one."""
        for body in (BODY * 300, BODY):
            record, head, came = self.get(port, message(f'{name}.{way}.{len(body)}', body), to=['to@hub.test', 'two@hub.test'])
            assert rcpts(record) == ['to@hub.test', 'two@hub.test'] and record['mail'].startswith('FROM:<from@client.test>'), record
            assert came == wire(body), (len(came), came[-200:])
        return head

    def refused(self, port, text):
        try:
            self.send(port, text)
        except smtplib.SMTPDataError as e:
            return e.smtp_code, e.smtp_error.decode()
        raise AssertionError('it was accepted')

    def bounced(self, port, text):
        """Text of the report that the sender (from@hub.test) gets."""
        before = len(self.hub.messages())
        self.send(port, text, sender='from@hub.test')
        wait_for('the report', lambda: len(self.hub.messages()) > before, 40)
        record = self.hub.messages()[before]
        assert rcpts(record) == ['from@hub.test'], record
        return self.hub.content(record).decode('utf-8', 'backslashreplace')

    def close(self):
        try:
            self.gateway.stop()
        finally:
            self.programs.stop()
            self.hub.stop()
            shutil.rmtree(self.sockets)


def needs(*names):
    for name in names:
        if not (PEERS / 'bin' / name).exists():
            raise Skip(f'{name} is not in {PEERS}: tests/tools/peers.sh')
    if why_not(ROOT):
        raise Skip(why_not(ROOT))


BODY = 'Hello\n.\n..dots\ntrailing \t\n\n' + 'x' * 900 + '\n--\n\n'


def message(subject, body=BODY, more=''):
    return f'From: from@client.test\nTo: to@hub.test\nSubject: {subject}\nDate: Mon, 23 Nov 2026 00:00:00 +0000\nMessage-ID: <{subject.replace(" ", ".")}@client.test>\n{more}\n{body}'


def wire(body):
    return body.replace('\n', '\r\n').encode()


def rcpts(record):
    return sorted(r.partition('<')[2].partition('>')[0] for r in record['rcpt'])


def starts(lines, prefix):
    return [line for line in lines if line.lower().startswith(prefix.lower())]


def back_client(w, subject):
    """The line with client= of the message that came back."""
    lines = w.gateway.log_text().splitlines()
    qids = [m[1] for m in (re.search(rf'back/cleanup\[\d+\]: (\w+): message-id=<{subject}@client\.test>', line) for line in lines) if m]
    assert len(qids) == 1, (subject, qids)
    return next(line for line in lines if f'{qids[0]}: client=' in line)


# ---- cases ----

@case
def aiosmtpd(w):
    """XFORWARD both ways: whom the gateway spoke to is known behind the filter, in its log and to itself."""
    if not (ROOT / 'usr/lib/python3/dist-packages/aiosmtpd').exists():
        raise Skip(f'python3-aiosmtpd is not in {PEERS}: tests/tools/peers.sh')
    env = dict(os.environ, PYTHONPATH=str(ROOT / 'usr/lib/python3/dist-packages'))
    w.programs.start('aiosmtpd', ['/usr/bin/python3', __file__, '--filter', w.filter['aiosmtpd'], w.back], lambda: listens(w.filter['aiosmtpd']), env=env)
    for way, port in w.ways('aiosmtpd'):
        assert 'X-Filter: seen' in w.passes('aio', way, port)
        line = back_client(w, f'aio.{way}.{len(BODY)}')
        assert 'client=unknown[127.0.0.1]' in line and 'orig_client=unknown[127.7.7.7]' in line, line
    code, text = w.refused(w.before['aiosmtpd'], message('refuse me'))
    assert (code, text) == (554, '5.7.1 the filter will not have it'), (code, text)
    report = w.bounced(w.after['aiosmtpd'], message('refuse me'))
    assert 'the filter will not have it' in report and '\r\nDiagnostic-Code: smtp; 554 5.7.1' in report, report


@case
def spampd(w):
    """A transparent proxy with SpamAssassin: ordinary mail comes through as it was, GTUBE with a flag."""
    needs('spampd')
    prepare = f'mount -t tmpfs tmpfs /var/cache && mkdir -m 777 /var/cache/spampd && {LOG.replace("SOCKET", str(w.syslog()))}'
    home = w.dir / 'spampd'
    home.mkdir()
    home.chmod(0o777)
    w.programs.start('spampd', installed(ROOT, ['spampd', f'--host=127.0.0.1:{w.filter["spampd"]}', f'--relayhost=127.0.0.1:{w.back}', '--nodetach', '--user=nobody',
                                       '--group=nogroup', f'--pid={home}/pid', '-L', '--children=2'], prepare), lambda: listens(w.filter['spampd']))
    for way, port in w.ways('spampd'):
        assert not starts(w.passes('spampd', way, port), 'X-Spam-Flag')
        _, head, body = w.get(port, message(f'spampd.spam.{way}', GTUBE + '\n'))
        assert starts(head, 'X-Spam-Flag:') == ['X-Spam-Flag: YES'], head


@case
def clamsmtp(w):
    """Debian's clamd behind it: clean mail gets its header, EICAR is refused at once, or comes back to the sender."""
    needs('clamsmtpd', 'clamd')
    d = w.dir / 'clamsmtp'
    (d / 'db').mkdir(parents=True)
    shutil.copy(TOP / 'tests/peers/viruses.hdb', d / 'db/test.hdb')
    sock, temp = w.sockets / 'clamd', w.sockets / 'temp'
    temp.mkdir()
    (d / 'clamd.conf').write_text(f'LocalSocket {sock}\nDatabaseDirectory {d}/db\nForeground yes\nUser root\nTemporaryDirectory {d}\nLogFile {d}/clamd.log\n')
    (d / 'clamsmtpd.conf').write_text(f'OutAddress: 127.0.0.1:{w.back}\nListen: 127.0.0.1:{w.filter["clamsmtp"]}\nClamAddress: {sock}\nTempDirectory: {temp}\n'
                                      'Header: X-Virus-Scanned: ClamAV using ClamSMTP\nAction: bounce\n')
    w.programs.start('clamd', [PEERS / 'bin/clamd', '-c', d / 'clamd.conf'], sock.exists)
    w.programs.start('clamsmtp', installed(ROOT, ['clamsmtpd', '-d', '1', '-f', d / 'clamsmtpd.conf']), lambda: listens(w.filter['clamsmtp']))
    for way, port in w.ways('clamsmtp'):
        head = w.passes('clamsmtp', way, port)
        assert starts(head, 'X-Virus-Scanned:') == ['X-Virus-Scanned: ClamAV using ClamSMTP'], head
    attached = base64.b64encode(EICAR.encode()).decode()
    infected = message('clamsmtp.eicar', f'--b\nContent-Type: text/plain\n\nhello\n--b\nContent-Type: application/octet-stream; name=x.com\n'
                       f'Content-Transfer-Encoding: base64\n\n{attached}\n--b--\n', 'MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n')
    code, text = w.refused(w.before['clamsmtp'], infected)
    assert code == 550 and 'Virus' in text, (code, text)
    assert 'Virus' in w.bounced(w.after['clamsmtp'], infected)


@case
def amavis(w):
    """With SpamAssassin, by SMTP and LMTP: XFORWARD is taken and passed on, ordinary mail gets a header, GTUBE is refused with the filter's words."""
    needs('amavisd')
    d = w.dir / 'amavis'
    d.mkdir()
    home = w.sockets / 'amavis'
    home.mkdir()
    os.chown(home, NOBODY, NOBODY)
    (d / 'conf').write_text(f'''use strict;
$daemon_user = undef; $daemon_group = undef;
$MYHOME = '{home}'; $TEMPBASE = $MYHOME; $db_home = undef; $lock_file = "$MYHOME/lock"; $pid_file = "$MYHOME/pid";
$mydomain = 'gw.test'; $myhostname = 'amavis.gw.test';
$enable_db = 0; $enable_global_cache = 0; $do_syslog = 0; $logfile = "$MYHOME/log"; $log_level = 1;
$inet_socket_port = {w.filter['amavis']}; $inet_socket_bind = '127.0.0.1'; $max_servers = 2;
$forward_method = 'smtp:[127.0.0.1]:{w.back}'; $notify_method = $forward_method;
@bypass_virus_checks_maps = (1); @bypass_banned_checks_maps = (1); @bypass_header_checks_maps = (1); $sa_local_tests_only = 1;
$QUARANTINEDIR = undef; $spam_quarantine_method = undef; $enable_dkim_verification = 0;
@local_domains_maps = (1); $sa_tag_level_deflt = undef; $sa_kill_level_deflt = 100; $sa_mail_body_size_limit = 20000; $final_spam_destiny = D_REJECT;
1;
''')
    env = {k: v for k, v in os.environ.items() if k not in ('TMPDIR', 'HOME')}
    w.programs.start('amavis', installed(ROOT, ['setpriv', f'--reuid={NOBODY}', f'--regid={NOBODY}', '--clear-groups', 'amavisd', '-c', d / 'conf', 'foreground']),
            lambda: listens(w.filter['amavis']), env=env)
    for way, port in [*w.ways('amavis'), ('lmtp', w.lmtp)]:
        head = w.passes('amavis', way, port)
        assert starts(head, 'X-Spam-Status:')[0].startswith('X-Spam-Status: No, score='), head
        line = back_client(w, f'amavis.{way}.{len(BODY)}')
        assert 'orig_client=unknown[127.7.7.7]' in line, line
    spam = message('amavis.spam', GTUBE + '\n')
    code, text = w.refused(w.before['amavis'], spam)
    assert code == 554 and text.startswith('5.7.0 '), (code, text)
    for port in (w.after['amavis'], w.lmtp):
        assert '554 5.7.0' in w.bounced(port, spam)


def main():
    if sys.argv[1:2] == ['--filter']:
        filter_program(int(sys.argv[2]), int(sys.argv[3]))
        return 0
    w = World()
    return run_cases(sys.argv[1:], w, after=lambda: w.gateway.tail(8), close=w.close, troubles=w.gateway.troubles)


if __name__ == '__main__':
    sys.exit(main())
