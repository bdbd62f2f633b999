# SPDX-License-Identifier: BSD-2-Clause
"""What happens when workers, engines and signatures of the virus filter go away."""

import os
import pathlib
import re
import signal
import threading
import time

import rig
from cases import case
from milterdriver import headers, quarantined
from rig import wait_for
from virus_world import DATABASE, EICAR, FOUND, Filter, attached, clean, expect, mail, program, reason_of, slow_mail, zipped


@case
def killed_worker():
    raw = slow_mail()
    with Filter('virus_workers = 1') as f:
        wait_for('a worker', f.workers)
        for n in range(3):
            got = []
            t = threading.Thread(target=lambda: got.append(f.one(raw)))
            t.start()
            os.kill(wait_for('the scan to run', f.busy, 10, 0.001), signal.SIGKILL)
            t.join(30)
            assert got, 'no answer'
            if n < 2:
                assert got[0].verdict == 'y' and got[0].text.startswith('451 4.7.1 '), got
            else:
                assert quarantined(got[0]).startswith('unscanned: not scanned: the worker ended during the scan'), got
        answer = f.one(raw)
        assert quarantined(answer).startswith('unscanned: not scanned: '), answer
        clean(f.one(mail(b'others are scanned\r\n')), 'others')
        expect(f.one(attached(EICAR)), FOUND, 'others')


@case
def slow_messages_do_not_keep_others_waiting():
    """One scan at a time, and two that take long: the next message is scanned beside them."""
    block = b''.join(b'%d of many lines %d\n' % (i, i * 7919 % 100003) for i in range(20000))
    slow = [attached(zipped(b'%d\n' % k + block * 60, 'page.html'), 'page.zip') for k in range(2)]
    with Filter('virus_workers = 1\nvirus_wait_time = 3s') as f:
        wait_for('workers', lambda: len(f.workers()) == 3)
        got = []
        threads = [threading.Thread(target=lambda raw=raw: got.append((f.one(raw), time.monotonic()))) for raw in slow]
        for t in threads:
            t.start()
        wait_for('the first scan to run', f.busy, 10, 0.001)
        clean(f.one(mail(b'beside\r\n')), 'beside')
        done = time.monotonic()
        for t in threads:
            t.join(60)
        assert len(got) == 2 and all(a.verdict == 'c' for a, _ in got), got
        assert all(when > done for _, when in got), 'they were not slow enough to show anything'


@case
def killed_engine():
    with Filter() as f:
        clean(f.one(mail(b'before\r\n')), 'before')
        old = f.engines()
        os.kill(old[0], signal.SIGKILL)
        wait_for('the workers to go', lambda: not set(f.engines()) & set(old))
        expect(f.one(attached(EICAR)), FOUND, 'waits for the new one')
        assert f.engines() and f.engines() != old


@case
def engine_that_ends_again():
    """In the middle of a message, and of the next one on the same connection: each is scanned once more."""
    with Filter('virus_workers = 1\nvirus_cache_size = 0') as f:
        d = f.driver()
        for n in range(2):
            got = []
            raw = slow_mail(b'%d' % n)
            t = threading.Thread(target=lambda raw=raw: got.append(d.message(raw)))
            t.start()
            wait_for('the scan to run', f.busy, 10, 0.001)
            for pid in f.engines():
                os.kill(pid, signal.SIGKILL)
            t.join(40)
            assert got, 'no answer'
            clean(got[0], f'message {n}')
        d.close()


@case
def no_engine():
    settings = 'virus_wait_time = 0s\nvirus_database = /nonexistent/db\nvirus_unavailable = '
    raw = attached(EICAR)
    with Filter(settings + 'tempfail') as f:
        answer = f.one(raw)
        assert answer.verdict == 'y' and answer.text.startswith('451 4.7.1 '), answer
        wait_for('the log to say so', lambda: 'signatures cannot be loaded: there is no database' in f.log_text())
    with Filter(settings + 'accept-and-tag') as f:
        answer = f.one(raw)
        assert answer.verdict == 'c' and headers(answer, 'X-Virus-Status')[0][1].startswith('Unchecked: the engine is not there'), answer
    with Filter(settings + 'hold-and-rescan') as f:
        answer = f.one(raw)
        assert quarantined(answer) == 'unscanned: not scanned: the engine is not there', answer


@case
def database_that_comes_later():
    where = rig.workdir('virus')
    with Filter(f'virus_wait_time = 0s\nvirus_database = {where}/later') as f:
        wait_for('the log to say so', lambda: 'signatures cannot be loaded: there is no database' in f.log_text(), 10)
        f.db.rename(where / 'later')
        wait_for('the engine', lambda: reason_of(f.one(attached(EICAR))) == FOUND, 20, 0.2)


@case
def database_that_comes_and_goes():
    with Filter('virus_wait_time = 0s') as f:
        wait_for('the engine', lambda: reason_of(f.one(attached(EICAR))) == FOUND, 10)
        away = f.dir / 'away'
        f.db.rename(away)
        wait_for('the log to say that it is gone', lambda: 'those from before stay in use: there is no database' in f.log_text(), 10)
        expect(f.one(attached(EICAR)), FOUND, 'without')
        away.rename(f.db)
        wait_for('the log to say that it is back', lambda: 'is again what is in use' in f.log_text(), 10)
        f.db.rename(away)
        for pid in f.engines():
            os.kill(pid, signal.SIGKILL)
        wait_for('the log to say that there is no engine', lambda: 'cannot be loaded: there is no database' in f.log_text(), 10)
        assert f.one(attached(EICAR)).text.startswith('451 4.7.1 ')
        away.rename(f.db)
        wait_for('another engine', f.workers, 10)
        wait_for('its verdict', lambda: reason_of(f.one(attached(EICAR))) == FOUND, 10)
        assert f.log_text().count('there is no database') <= 3, f.log_text()


@case
def signatures_change_under_load():
    word = b'a harmless text that a new signature knows'
    line = f'{__import__("hashlib").md5(word).hexdigest()}:{len(word)}:New.Signature\n'
    raw = attached(word)
    with Filter() as f:
        done, errors, stop = [0], [], threading.Event()

        def load(k):
            d = f.driver()
            while not stop.is_set():
                answer = d.message(mail(b'mail %d of %d\r\n' % (done[0], k)))
                if answer.verdict != 'c' or quarantined(answer):
                    errors.append(answer)
                done[0] += 1
            d.close()

        threads = [threading.Thread(target=load, args=(k,)) for k in range(3)]
        for t in threads:
            t.start()
        clean(f.one(raw), 'before')
        (f.db / 'new').write_text(DATABASE.read_text() + line)
        (f.db / 'new').rename(f.db / 'viruses.hdb')
        wait_for('the new signature', lambda: reason_of(f.one(raw)) == 'virus: New.Signature', 15)
        wait_for('the old engine to end', lambda: len(f.engines()) == 1)
        (f.db / 'viruses.hdb').write_text('this is no database\n')
        wait_for('the log to say so', lambda: 'signatures cannot be loaded, those from before stay in use' in f.log_text(), 15)
        assert quarantined(f.one(raw)).startswith('virus: New.Signature'), 'the old ones are in use'
        stop.set()
        for t in threads:
            t.join(20)
        assert not errors and done[0] > 50, (errors[:3], done)


@case
def nothing_is_left_on_disk():
    with Filter('virus_workers = 1') as f:
        pid = wait_for('a worker', f.workers)[0]
        def there():
            return {n for d in ('/tmp', '/dev/shm') for n in os.listdir(d) if 'scantemp' in n or 'clamav' in n}
        before = there()
        expect(f.one(attached(zipped(EICAR))), FOUND, 'zip')
        left = there() - before
        # somebody else's clamd may be at work: its files go, what is left stays
        wait_for(f'{left} to be somebody else\'s', lambda: not left & there())
        status = pathlib.Path(f'/proc/{pid}/status').read_text()
        if 'asan' not in program():
            assert re.search(r'^Seccomp:\s+2$', status, re.M) and re.search(r'^NoNewPrivs:\s+1$', status, re.M), status
