# SPDX-License-Identifier: BSD-2-Clause
"""What the virus filter tells an MTA, also an old, a rude and a busy one, and Postfix."""

import re
import shutil
import smtplib
import socket
import struct
import subprocess
import threading
import time

import rig
from cases import Skip, case
from milterdriver import Driver, headers, quarantined
from rig import wait_for
from virus_world import EICAR, FOUND, Filter, attached, clean, encrypted_zip, expect, mail, slow_mail


@case
def status_header():
    with Filter() as f:
        d = f.driver()
        answer = d.message(b'X-Virus-Status: Clean\r\nFrom: a@example.com\r\nx-virus-STATUS: very clean\r\nX-Virus-Status:\r\n Clean\r\n\r\nhello\r\n')
        status = headers(answer, 'X-Virus-Status')
        assert sorted(i for i, v in status) == [1, 2, 3] and [v for i, v in status if v] == [v for i, v in status if i == 1], status
        clean(d.message(mail(b'hello\r\n')), 'none before')
        d.close()
    with Filter('virus_header =') as f:
        answer = f.one(b'X-Virus-Status: Clean\r\nFrom: a@example.com\r\n\r\nhello\r\n')
        assert headers(answer, 'X-Virus-Status') == [(1, '')], answer
    with Filter('virus_header = $status by $engine/$signatures at home\nvirus_action = tag') as f:
        answer = f.one(attached(EICAR))
        text = headers(answer, 'X-Virus-Status')[0][1]
        assert re.fullmatch(r'Infected: Eicar-Test-Signature.UNOFFICIAL by ClamAV [0-9.]+/[0-9a-f]+ at home', text) and not quarantined(answer), answer


@case
def actions():
    for action, verdict, text in (('reject', 'y', '554 5.7.1 Message refused: virus: Eicar-Test-Signature.UNOFFICIAL'), ('discard', 'd', '')):
        with Filter(f'virus_action = {action}') as f:
            answer = f.one(attached(EICAR))
            assert (answer.verdict, answer.text) == (verdict, text), answer
            assert 'verdict=Infected, signature=Eicar-Test-Signature.UNOFFICIAL, action=' + action in f.log_text()
    with Filter('virus_max_file_size = 5000\nvirus_limits_action = tag') as f:
        answer = f.one(mail(b'x' * 70 + b'\r\n' * 5000))
        assert headers(answer, 'X-Virus-Status')[0][1].startswith('Limits-Exceeded: larger than virus_max_file_size'), answer


@case
def older_mta():
    """Body in frames of its own, a reply to everything, values without their blank."""
    with Filter() as f:
        for kw in ({'body_with_end': False}, {'steps': 0x1f}, {'steps': 0x1f, 'body_with_end': False}):
            d = f.driver(**kw)
            expect(d.message(attached(EICAR)), FOUND, kw)
            clean(d.message(mail(b'words\r\n' * 20000)), kw)
            d.close()


@case
def mta_that_does_not_keep_to_the_protocol():
    """Its connection ends, and nobody else's. One that goes away in the middle of a scan leaves nothing behind."""
    frame = Driver.frame
    bad = {'no options': frame(b'L', b'a\0b\0'), 'no length': bytes(4), 'long length': b'\x7f\xff\xff\xff', 'unknown': frame(b'z'),
           'short options': frame(b'O', b'\0\0\0\6'), 'options twice': frame(b'O', struct.pack('>III', 6, 0x1ff, 0x1fffff)) * 2,
           'version 1': frame(b'O', struct.pack('>III', 1, 0x1ff, 0x1fffff)), 'no quarantine': frame(b'O', struct.pack('>III', 6, 1, 0x1fffff))}
    begun = {'header without an end': frame(b'L', b'name'), 'header of three': frame(b'L', b'a\0b\0c\0'), 'negotiation again': frame(b'O', bytes(12)),
             'more behind the end': frame(b'E') + frame(b'L', b'a\0b\0')}

    def hangs_up(sock):
        try:
            while sock.recv(1000):
                pass
        except ConnectionResetError:
            pass

    with Filter('virus_workers = 1') as f:
        other = f.driver()
        clean(other.message(mail(b'before\r\n')), 'before')
        for what, data in bad.items():
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(10)
                s.connect(str(f.socket))
                s.sendall(data)
                hangs_up(s)
        for what, data in begun.items():
            d = f.driver(timeout=10)
            d.sock.sendall(data)
            hangs_up(d.sock)
            d.close()
        for cut in range(0, 600, 7):
            d = f.driver()
            d.sock.sendall(b''.join([d.frames(mail(b'cut\r\n' * 100))])[:cut])
            d.close()
        slow = slow_mail()
        before = sorted(f.workers())
        for ending in (b'', frame(b'A'), frame(b'K'), frame(b'Q')):
            d = f.driver()
            d.sock.sendall(d.frames(slow))
            wait_for('the scan to run', f.busy, 10, 0.001)
            d.sock.sendall(ending)
            if ending in (frame(b'A'), frame(b'K')):
                clean(d.message(mail(b'the next\r\n')), 'the next')
            d.close()
            clean(other.message(mail(b'others\r\n' + ending)), 'others')
        assert sorted(f.workers()) == before
        other.close()


@case
def busy_clients_and_newcomers():
    """Who sends one message after the other must not keep others out."""
    with Filter() as f:
        stop = threading.Event()

        def busy():
            d = f.driver()
            while not stop.is_set():
                d.message(mail(b'busy\r\n'))
            d.close()

        threads = [threading.Thread(target=busy) for _ in range(6)]
        for t in threads:
            t.start()
        idle = [f.driver() for _ in range(5)]
        slowest = 0
        for n in range(10):
            start = time.monotonic()
            clean(f.one(mail(b'new %d\r\n' % n), timeout=10), n)
            clean(idle[n % 5].message(mail(b'idle %d\r\n' % n)), n)
            slowest = max(slowest, time.monotonic() - start)
        stop.set()
        for t in threads:
            t.join(10)
        assert slowest < 5, slowest


@case
def same_content_again():
    with Filter() as f:
        d = f.driver()
        raw = attached(EICAR)
        expect(d.message(raw), FOUND, 'first')
        expect(d.message(raw), FOUND, 'second')
        clean(d.message(mail(b'a\r\n')), 'a')
        clean(d.message(mail(b'b\r\n')), 'b')
        d.close()


@case
def behind_postfix():
    """smtpd_milters of Postfix: what goes through, what is held, refused; several messages in a session, RSET in the middle, all of its commands."""
    script = rig.TOP / 'tests/tools/postfix-peer.sh'
    port, milter = rig.free_ports(2)
    where = rig.workdir('virus-postfix')
    (where / 'extra.cf').write_text(f'smtpd_milters = inet:127.0.0.1:{milter}\nmilter_default_action = tempfail\n')
    hub = rig.Hub(where / 'hub', ['0'])
    lines = {}

    def text(name, size=0, extra=b''):
        lines[name] = b'line of %s\r\n' % name.encode() + (b'0123456789' * 7 + b'\r\n') * (size // 72)
        return extra + mail(lines[name]).replace(b'Subject: test', b'Subject: ' + name.encode())

    try:
        with Filter('virus_encrypted_action = reject\nvirus_max_file_size = 3000000\nvirus_limits_action = tag', listen=f'inet:{milter}@127.0.0.1') as f:
            wait_for('the engine', f.workers, 20)
            done = subprocess.run([script, 'start', where, str(port), f'[127.0.0.1]:{hub.ports[0]}'])
            if done.returncode == 77:
                raise Skip('Postfix needs root')
            assert done.returncode == 0
            s = smtplib.SMTP('127.0.0.1', port, timeout=30)
            s.ehlo('client.test')

            def one(raw, sender='a@example.com', to=('b@example.net',)):
                s.mail(sender)
                for r in to:
                    s.rcpt(r)
                return s.data(raw)

            assert one(text('first'))[0] == 250
            s.mail('a@example.com')
            s.rcpt('b@example.net')
            assert s.rset()[0] == 250
            for verb in ('NOOP', 'VRFY b@example.net', 'HELP', 'NONSENSE'):
                s.docmd(verb)
            s.mail('<>')
            s.ehlo('client.test')
            assert one(text('second', extra=b'X-Virus-Status: Clean, believe me\r\nx-virus-status:\r\n\tforged\r\n'), to=['b@example.net', 'c@example.net'])[0] == 250
            assert one(text('long', 1000000))[0] == 250
            assert one(text('larger', 4000000))[0] == 250
            code, said = one(attached(encrypted_zip(EICAR), 'secret.zip'))
            assert code == 554 and said.startswith(b'5.7.1 Message refused: encrypted content'), (code, said)
            assert one(attached(EICAR))[0] == 250  # held
            assert one(text('third'))[0] == 250
            code, said = one(b'X-Virus-Status: x\r\n' * 20000 + text('flood'))
            assert code == 554 and b'5.6.0' in said, (code, said)
            # CHUNKING: as binary as it likes
            s.docmd('MAIL', 'FROM:<a@example.com>')
            s.docmd('RCPT', 'TO:<b@example.net>')
            raw = text('chunks', 200000)
            for at in range(0, len(raw), 50001):
                piece, last = raw[at:at + 50001], at + 50001 >= len(raw)
                s.sock.sendall(b'BDAT %d%s\r\n' % (len(piece), b' LAST' if last else b'') + piece)
                assert s.getreply()[0] == 250
            # half a message, and the client is gone
            s.docmd('MAIL', 'FROM:<a@example.com>')
            s.docmd('RCPT', 'TO:<b@example.net>')
            s.docmd('DATA')
            s.sock.sendall(text('half', 100000))
            s.sock.close()
            subjects = ['chunks', 'first', 'larger', 'long', 'second', 'third']
            wait_for('what goes through', lambda: len(hub.messages()) >= len(subjects), 20)
            got = {}
            for r in hub.messages():
                content = hub.content(r).replace(b'\r\n', b'\n')
                head, _, rest = content.partition(b'\n\n')
                name = re.search(rb'^Subject: (\w+)$', head, re.M)[1].decode()
                status = re.findall(rb'^X-Virus-Status: ?(.*)$', head, re.M | re.I)
                want = b'Limits-Exceeded' if name == 'larger' else b'Clean'
                assert len(status) == 1 and status[0].startswith(want), (name, status)
                assert rest == lines[name].replace(b'\r\n', b'\n'), name
                got[name] = True
            assert sorted(got) == subjects, got
            held = subprocess.run([script, 'run', where, 'postqueue', '-p'], stdout=subprocess.PIPE, text=True).stdout
            assert re.search(r'^\w+!', held, re.M) and len(re.findall(r'^\w+!', held, re.M)) == 1, held
            log = (where / 'log').read_text(errors='replace')
            assert not re.search(r'warning: .*milter', log), log[-2000:]
            assert log.count('milter triggers HOLD action') == 1, log[-2000:]
            # the queue id of Postfix in our log
            qids = re.findall(r'cleanup\[\d+\]: (\w+): message-id=', log)
            assert qids and all(q in f.log_text() for q in qids[:2]), (qids, f.log_text()[-1500:])
    finally:
        subprocess.run([script, 'stop', where], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        hub.stop()
        shutil.rmtree(where, ignore_errors=True)
