#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""dogana-attachments alone, over the milter protocol: what it must find, what it must let pass, what it does.

    run.py [-v] [NAME...]      NAME: only checks whose name contains it

The program is beside $DOGANA. Real mail: CORPUS (a folder; default: tests/demo/mail) must pass octet for octet.
"""

import base64
import contextlib
import email
import email.policy
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'tools'))
import mails  # noqa: E402
import mta  # noqa: E402
import rig  # noqa: E402

TOP = pathlib.Path(__file__).resolve().parents[2]
DOGANA = pathlib.Path(os.environ.get('DOGANA') or TOP / 'build/dogana')
PROGRAM = DOGANA.parent / 'dogana-attachments'
VERBOSE = '-v' in sys.argv
ONLY = [a for a in sys.argv[1:] if a != '-v']
passed = failed = 0


def check(name, ok, why=''):
    global passed, failed
    if ok:
        passed += 1
        if VERBOSE:
            print(f'ok {name}')
    else:
        failed += 1
        print(f'FAIL {name}: {why[:1500]}')


def wanted(name):
    return not ONLY or any(o in name for o in ONLY)


class Filter:
    """The program with these rules; .mta is a connection from outside."""

    def __init__(self, rules, **settings):
        self.dir = rig.workdir('attachments')
        self.rules = self.dir / 'rules'
        self.rules.write_text(rules)
        shutil.copy(TOP / 'conf.d/attachment-extensions', self.dir)
        lines = ['myhostname = mx.example.com', 'mynetworks = 10.0.0.0/8, [fd00::]/8', 'compatibility_level = 3.6', f'attachment_rules = {self.rules}',
                 f'attachment_extensions = texthash:{self.dir}/attachment-extensions', f'queue_directory = {self.dir}/q']
        lines += [f'{k} = {v}' for k, v in settings.items()]
        (self.dir / 'main.cf').write_text('\n'.join(lines) + '\n')
        self.path = self.dir / 'sock'
        self.log = open(self.dir / 'log', 'w+')
        self.process = subprocess.Popen([PROGRAM, '-c', self.dir, '-p', f'unix:{self.path}'], stderr=self.log)
        rig.wait_for('the socket', lambda: rig.listens_at(self.path) or self.process.poll() is not None)
        if self.process.poll() is not None:
            raise RuntimeError('the program does not start: ' + self.text())
        self.mta = self.connect()

    def connect(self, address='192.0.2.1'):
        m = mta.Mta(str(self.path))
        m.connect(address)
        return m

    def text(self):
        return (self.dir / 'log').read_text(errors='replace')

    def workers(self):
        """Process ids of the workers: the children of the keeper."""
        def children(pid):
            with contextlib.suppress(OSError):
                return [int(c) for t in pathlib.Path(f'/proc/{pid}/task').iterdir() for c in (t / 'children').read_text().split()]
            return []
        return [w for keeper in children(self.process.pid) for w in children(keeper)]

    def close(self):
        self.mta.close()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(30)
        text = self.text()
        self.log.close()
        if code != 0 or 'Sanitizer' in text or 'runtime error' in text:
            check('the program ended in order', False, f'{code} {text[-3000:]}')
        shutil.rmtree(self.dir, ignore_errors=True)


@contextlib.contextmanager
def running(rules, **settings):
    f = Filter(rules, **settings)
    try:
        yield f
    finally:
        f.close()


SHIPPED = (TOP / 'conf.d/attachment-rules').read_text()


def find_hidden():
    with running(SHIPPED) as f:
        for name, content in mails.hidden():
            if not wanted('hidden ' + name):
                continue
            begin = time.monotonic()
            r = f.mta.message(content)
            took = time.monotonic() - begin
            found = r.quarantine is not None or str(r.verdict).startswith('550')
            check('hidden ' + name, found and took < 20, f'{r} after {took:.1f} s')


def pass_clean():
    with running(SHIPPED) as f:
        for name, content in mails.clean():
            if not wanted('clean ' + name):
                continue
            r = f.mta.message(content)
            check('clean ' + name, r.verdict == 'accept' and r.quarantine is None and r.body is None and not r.added and not r.changed, str(r) + f.text()[-500:])
        folder = pathlib.Path(os.environ.get('CORPUS') or TOP / 'tests/demo/mail')
        for path in sorted(folder.rglob('*.eml')):
            if not wanted('corpus'):
                break
            content = path.read_bytes().replace(b'\r\n', b'\n').replace(b'\n', b'\r\n')
            r = f.mta.message(content)
            if 'CORPUS' in os.environ:  # of strangers: programs are among them
                ok = r.verdict == 'accept' and r.body is None and not r.added
            else:
                ok = r.verdict == 'accept' and r.quarantine is None and r.body is None and not r.added
            check(f'corpus {path.name}', ok, str(r))


def parts_of(content):
    message = email.message_from_bytes(content, policy=email.policy.default)
    return [(p.get_content_type(), p.get_filename(), p.get_payload(decode=True)) for p in message.walk() if not p.is_multipart()]


def strip():
    rules = 'strip extension=exe text="Programs are not delivered"\nstrip type=message/external-body\n'
    with running(rules) as f:
        for name, content in mails.hidden():
            if not wanted('strip ' + name) or not name.startswith(('name: ', 'structure: ', 'text: ')):
                continue
            r = f.mta.message(content)
            if r.body is None:  # held where it cannot be taken out, or not concerned (no name)
                ok = r.quarantine is not None or (r.verdict == 'accept' and ('harmless' in name or 'partial' in name))
                check('strip ' + name, ok, str(r))
                continue
            after = mta.applied(content, r)
            again = f.mta.message(after)
            check('strip ' + name, r.quarantine.startswith('copy: attachment: ') and again.body is None and b'was removed' in after and
                  ('beside' in name or 'exe' in r.quarantine.lower() or 'external' in name), f'{r}\nagain: {again}')
        content = mails.multi(mails.TEXTPART, mails.part(b'Content-Type: application/x; name="evil.exe"\nContent-Transfer-Encoding: base64\nX-Other: y'),
                              mails.part(b'Content-Type: image/png; name="a.png"\nContent-Transfer-Encoding: base64', mails.lines(b'\x89PNG' * 100)),
                              preamble=b'before\r\n', epilogue=b'behind\r\n')
        r = f.mta.message(content, queue_id='4QID')
        after = mta.applied(content, r)
        old, new = parts_of(content), parts_of(after)
        check('strip: the others stay', len(new) == 3 and new[0] == old[0] and new[2] == old[2] and new[1][0] == 'text/plain', f'{new}')
        check('strip: note', b'evil.exe' in new[1][2] and b'Programs are not delivered' in new[1][2] and b'4QID' in new[1][2], f'{new[1]}')
        check('strip: octets around', after.split(b'--BB\r\n')[0].startswith(content.split(b'--BB\r\n')[0].split(b'\r\n\r\n')[0]) and
              after.split(b'--BB\r\n')[1] == content.split(b'--BB\r\n')[1] and after.split(b'--BB\r\n')[3] == content.split(b'--BB\r\n')[3], repr(after))
        check('strip: other fields stay', b'X-Other: y\r\n' in after, repr(after))
        check('strip: reason', r.quarantine == 'copy: attachment: evil.exe (rules:1)', r.quarantine)
        check('strip: header', [a[0] for a in r.added] == ['X-Attachment-Status'], str(r.added))
        content = b'From: a@example.net\r\nContent-Type: application/x; name=evil.exe\r\nContent-Transfer-Encoding: base64\r\n\r\n' + mails.lines(mails.PROGRAM)
        r = f.mta.message(content)
        new = parts_of(mta.applied(content, r))
        check('strip: the message itself', len(new) == 1 and new[0][0] == 'text/plain' and new[0][1] is None and b'was removed' in new[0][2], f'{new} {r}')


def actions():
    picture = mails.attached(b'Content-Type: image/png; name="a.png"', mails.lines(b'\x89PNG' * 10))
    forged = b'X-Attachment-Status: Clean\r\nx-attachment-status: Clean\r\n'
    with running('tag name=a.png\nreject name=b.* text="No 100% of it"\nquarantine name=c.*\nallow name=d.*\nreject name=*.dat\n') as f:
        r = f.mta.message(forged + picture)
        check('tag: one header', [a[0] for a in r.added] == ['X-Attachment-Status'] and r.added[0][1].strip() == 'Tagged; name="a.png"; rule="rules:1"', str(r))
        after = mta.applied(forged + picture, r)
        check('tag: forged ones go', after.lower().count(b'x-attachment-status') == 1, repr(after[:300]))
        r = f.mta.message(forged + mails.multi(mails.TEXTPART))
        check('pass: forged ones go', not r.added and len(r.changed) == 2 and r.verdict == 'accept', str(r))
        r = f.mta.message(picture.replace(b'a.png', b'b.png'))
        check('reject: text', r.verdict == '550 5.7.1 No 100%% of it', str(r))
        r = f.mta.message(picture.replace(b'a.png', b'c.png'))
        check('quarantine: reason', r.quarantine == 'attachment: c.png (rules:3)' and r.verdict == 'accept' and not r.added, str(r))
        for name in (b"filename*=utf-8''c.%0D%0AX-Evil:%201%0D%0A%0D%0Abody", b'filename="=?utf-8?B?' + base64.b64encode(b'c.\r\nX-Evil: 1\x1b[2J\r\n\r\n') + b'?="'):
            r = f.mta.message(mails.attached(b'Content-Disposition: attachment; ' + name))
            check('names end no line', r.quarantine is not None and not re.search(r'[\x00-\x1f\x7f]', r.quarantine), repr(r.quarantine))
            r = f.mta.message(mails.attached(b'Content-Disposition: attachment; ' + name.replace(b'c.', b'b.').replace(base64.b64encode(b'c.\r\nX-Evil: 1\x1b[2J\r\n\r\n'), base64.b64encode(b'b.\r\nX-Evil: 1\x1b[2J\r\n\r\n'))))
            check('names end no reply', str(r.verdict).startswith('550 5.7.1 No 100') and not re.search(r'[\x00-\x1f\x7f]', str(r.verdict)), repr(r.verdict))
        for name in (b"filename*=utf-8''a.png%0D%0AX-Evil:%201", b'filename="=?utf-8?B?' + base64.b64encode('x\u202e\r\n\x1b[2J/a.png'.encode()) + b'?="'):
            r = f.mta.message(mails.attached(b'Content-Disposition: attachment; ' + name, mails.lines(b'\x89PNG')))
            check('names end no header', all(not re.search(r'[\x00-\x1f\x7f\u202e]', v) for _, v in r.added), repr(r.added))
        check('names end no line of the log', all(re.match(r'\w{3} |.*dogana', line) for line in f.text().splitlines()) and '\x1b' not in f.text(), f.text()[-2000:])
        r = f.mta.message(picture.replace(b'a.png', b'd.dat'))
        check('allow: first match', r.verdict == 'accept' and r.quarantine is None, str(r))
        r = f.mta.message(mails.multi(mails.part(b'Content-Type: x/y; name=c.x', b'x'), mails.part(b'Content-Type: x/y; name=b.x', b'x'), mails.part(b'Content-Type: x/y; name=a.png', b'x')))
        check('the strictest counts', str(r.verdict).startswith('550'), str(r))
        several = f.connect()
        check('messages of one connection are apart', [several.message(c, queue_id='Q').quarantine is None for c in (picture, picture.replace(b'a.png', b'c.png'), picture)] ==
              [True, False, True], '')
        several.close()


def envelope():
    rules = ('allow direction=outbound\nquarantine recipient=strict.example.com name=*.png\ntag recipient=mild.example.com\n'
             'reject sender=.bad.example.net,<>\n')
    picture = mails.attached(b'Content-Type: image/png; name="a.png"', mails.lines(b'\x89PNG' * 10))
    with running(rules) as f:
        def says(**kw):
            r = f.mta.message(picture, **kw)
            return 'reject' if str(r.verdict).startswith('550') else 'quarantine' if r.quarantine else 'tag' if r.added else r.verdict
        check('recipient: one', says(rcpts=['a@strict.example.com']) == 'quarantine')
        check('recipient: other', says(rcpts=['a@mild.example.com']) == 'tag')
        check('recipient: neither', says(rcpts=['a@example.org']) == 'accept')
        check('recipient: strictest', says(rcpts=['a@mild.example.com', 'a@strict.example.com', 'b@example.org']) == 'quarantine')
        check('sender', says(sender='x@sub.bad.example.net') == 'reject')
        check('null sender', says(sender='') == 'reject')
        check('login is outbound', says(rcpts=['a@strict.example.com'], login='anna') == 'accept')
        for address in ('10.1.2.3', 'fd00::1'):
            inside = f.connect(address)
            check(f'{address} is outbound', inside.message(picture, rcpts=['a@strict.example.com']).quarantine is None)
            inside.close()


def trouble():
    with running(SHIPPED, attachment_workers='2') as f:
        text = b'From: a@example.net\r\n\r\nhello\r\n'
        end = time.monotonic() + 10
        while len(f.workers()) != 2 and time.monotonic() < end:
            time.sleep(0.01)
        before = f.workers()
        check('two workers', len(before) == 2, str(before))
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        end = time.monotonic() + 10
        while (len(f.workers()) != 2 or set(f.workers()) & set(before)) and time.monotonic() < end:
            time.sleep(0.01)
        check('workers are replaced', len(f.workers()) == 2, str(f.workers()))
        r = [f.mta.message(text).verdict for _ in range(4)]
        check('and the next message passes', r == ['accept'] * 4, str(r))
        for pid in f.workers():
            os.kill(pid, signal.SIGSTOP)  # both are at it
        pids = f.workers()
        one = f.connect()
        f.mta.sock.settimeout(60)
        import threading
        results = []
        t = threading.Thread(target=lambda: results.append(one.message(mails.attached(b'Content-Type: x/y; name=evil.exe'))))
        t.start()
        time.sleep(0.3)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        t.join(60)
        check('a message whose worker dies is not now', len(results) == 1 and (str(results[0].verdict).startswith('451') or results[0].quarantine), str(results and results[0]))
        one.close()
        pid = f.process.pid
        for i in range(3):
            c = mta.Mta(str(f.path))
            c.connect()
            c.ask(b'M', b'<a@example.net>\0', 0x4000)
            c.sock.close()  # in the middle
        check('clients that go away', f.mta.message(text).verdict == 'accept' and f.process.poll() is None, str(pid))
    with running(SHIPPED) as f:
        r = f.mta.message(b'From: a@example.net\r\nTo: ' + b'b@example.com,\r\n ' * 6000 + b'c@example.com\r\n\r\nhello\r\n')
        check('a header as long as header_size_limit allows', r.verdict == 'accept', str(r.verdict))
    with running(SHIPPED, attachment_memory_limit='1048576') as f:
        r = f.mta.message(b'From: a@example.net\r\n\r\n' + b'hello\r\n' * 200000)
        check('more than memory is not now', str(r.verdict).startswith('451'), str(r))
        check('and the next one passes', f.mta.message(b'From: a@example.net\r\n\r\nhello\r\n').verdict == 'accept')
    with running('allow\n', attachment_unreadable_action='reject') as f:
        r = f.mta.message(mails.multi(*[mails.TEXTPART] * 2000))
        check('unreadable: reject', str(r.verdict).startswith('550'), str(r))
    with running('allow\n', attachment_unreadable_action='allow') as f:
        r = f.mta.message(mails.multi(*[mails.TEXTPART] * 2000))
        check('unreadable: allow', r.verdict == 'accept' and r.quarantine is None, str(r))


def linear():
    """Twice the octets cost less than two and a half times the time (I10)."""
    shapes = {
        'delimiters': lambda n: mails.multi(mails.TEXTPART, epilogue=b'--\r\n' * n * 20),
        'dashes': lambda n: mails.multi(mails.TEXTPART, epilogue=b'a--' * n * 20),
        'CR alone': lambda n: b'From: a@b\r\n\r\n' + b'\r' * n * 80,
        'LF alone': lambda n: b'From: a@b\r\n\r\n' + b'x\n' * n * 40,
        'begin': lambda n: b'From: a@b\r\n\r\n' + b'begin 644\r\n' * n * 10,
        'begins': lambda n: b'From: a@b\r\n\r\n' + b'begin 644 x\r\nend\r\n' * min(n, 300) + b'x' * n * 80,
        'yenc': lambda n: b'From: a@b\r\n\r\n' + b'=ybegin \r\n' * n * 10,
        'headers': lambda n: mails.multi(b'Content-X: y\r\n' * n * 8 + b'\r\n'),
        'junk header': lambda n: mails.multi(b'x\r\n' * n * 30 + b'\r\n'),
        'base64': lambda n: mails.attached(b'Content-Type: image/png', mails.lines(b'\0' * n * 60)),
        'zip headers': lambda n: mails.attached(b'Content-Type: x/y; name=a.zip', mails.lines(b'PK\3\4' + b'\0' * 26 + b'PK\3\4' * n * 10)),
        'tnef': lambda n: mails.attached(b'Content-Type: x/y; name=winmail.dat', mails.lines(b'\x78\x9f\x3e\x22' + b'\0' * n * 60)),
        'parameters': lambda n: mails.attached(b'Content-Type: x/y' + b'; x="y"' * n * 10),
        'quotes': lambda n: mails.attached(b'Content-Type: x/y; name="' + b'\\"' * n * 10),
    }
    with running('allow\n', attachment_max_parts='100000', attachment_unreadable_action='allow', attachment_time_limit='60s') as f:
        for name, make in shapes.items():
            if not wanted('linear ' + name):
                continue
            def cost(n):
                content = make(n)
                best = None
                for _ in range(2):
                    begin = sum(time_of(w) for w in f.workers())
                    f.mta.message(content)
                    took = sum(time_of(w) for w in f.workers()) - begin
                    best = took if best is None else min(best, took)
                return best
            n = 1000
            while cost(n) < 0.05 and n < 16000:
                n *= 2
            one, two = cost(n), cost(2 * n)
            check(f'linear {name}', two < 3 * one + 0.06, f'{n}: {one:.2f} s, twice that: {two:.2f} s')


def time_of(pid):
    with contextlib.suppress(OSError):
        fields = pathlib.Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')
    return 0


def small_limits():
    """What is fine by default is unreadable when a limit is smaller."""
    deep = mails.TEXT
    for i in range(6):
        b = b'L%d' % i
        deep = b'Content-Type: multipart/mixed; boundary=' + b + b'\r\n\r\n--' + b + b'\r\n' + deep + b'\r\n--' + b + b'--\r\n'

    def archive(data):
        return mails.attached(b'Content-Type: application/zip; name=a.zip', mails.lines(data))
    rows = {
        'attachment_max_parts': ('10', mails.multi(*[mails.TEXTPART] * 20)),
        'attachment_max_depth': ('3', b'From: a@example.net\r\n' + deep),
        'attachment_max_archive_depth': ('1', archive(mails.nested_zip(3, 'x.txt', b'text'))),
        'attachment_max_archive_members': ('3', archive(mails.zipped(*[(f'{i}.txt', b'text') for i in range(6)]))),
        'attachment_max_unpacked': ('2000', archive(mails.zipped(('x.txt', os.urandom(20000).hex().encode())))),
    }
    if not any(wanted('limit ' + name) for name in rows):
        return
    with running('allow\n', attachment_unreadable_action='reject') as f:
        for name, (_, content) in rows.items():
            check(f'limit {name} by default', f.mta.message(content).verdict == 'accept')
    for name, (value, content) in rows.items():
        if wanted('limit ' + name):
            with running('allow\n', attachment_unreadable_action='reject', **{name: value}) as f:
                r = f.mta.message(content)
                check(f'limit {name}', str(r.verdict).startswith('550'), str(r))


def main():
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for group in (find_hidden, pass_clean, strip, actions, envelope, trouble, small_limits, linear):
        if not ONLY or any(o in group.__name__ or ' ' in o or o.startswith(('hidden', 'clean', 'strip', 'corpus', 'linear', 'limit')) for o in ONLY):
            group()
    print(f'{passed} passed, {failed} failed')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
