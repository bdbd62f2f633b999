#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""What each role gave up, read from the kernel; and that mail still flows with all of it given up. The same with filters, on this
kernel and on one that has no Landlock, or neither that nor seccomp (tests/tools/bare_kernel.c pretends): it is said, and the rest holds.

Needs the program without sanitizers (their runtime makes system calls of its own) and, for users and root
directories, to be run as root; otherwise those checks are skipped.
"""

import ctypes
import os
import pathlib
import smtplib
import socket
import struct
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'tools'))
import rig  # noqa: E402
from programs import EICAR  # noqa: E402

ROLE_UID = {'edge': 61001, 'queue': 61002, 'relay': 61003}
passed = failed = skipped = 0


def check(what, ok, detail=''):
    global passed, failed
    if ok:
        passed += 1
    else:
        failed += 1
        print(f'FAILED {what}: {detail}')


def proc_status(pid):
    with open(f'/proc/{pid}/status') as f:
        return dict(line.rstrip('\n').split(':\t', 1) for line in f if ':\t' in line)


def check_role(role, filters=1):
    """filters: of system calls, on each thread."""
    global skipped
    name, pid = f'{role["role"]} {role["index"]}', role['pid']
    st = proc_status(pid)
    check(f'{name}: {filters} filters', st['Seccomp_filters'] == str(filters), st['Seccomp_filters'])
    check(f'{name}: no new privileges', st['NoNewPrivs'] == '1', st['NoNewPrivs'])
    check(f'{name}: system call filter', st['Seccomp'] == '2', st['Seccomp'])
    threads = os.listdir(f'/proc/{pid}/task')
    for t in threads:
        with open(f'/proc/{pid}/task/{t}/status') as f:
            check(f'{name}: thread {t} is filtered too', '\nSeccomp:\t2\n' in f.read())
    sockets = [os.readlink(f'/proc/{pid}/fd/{fd}') for fd in os.listdir(f'/proc/{pid}/fd')]
    if os.geteuid() != 0:
        skipped += 3
        return
    uids = set(st['Uid'].split())
    check(f'{name}: its own user, for good', uids == {str(ROLE_UID[role['role']])}, st['Uid'])
    check(f'{name}: no supplementary groups', st['Groups'].strip() == '', st['Groups'])
    check(f'{name}: no capabilities', int(st['CapPrm'], 16) == 0 and int(st['CapEff'], 16) == 0, st['CapPrm'])
    root = os.readlink(f'/proc/{pid}/root')
    check(f'{name}: its own root directory', root.endswith('/tables'), root)
    if role['role'] != 'queue':
        check(f'{name}: no descriptor of the spool directory', not any('/spool' in s and not s.endswith('.seg') and '/journal/' not in s for s in sockets), sockets)


class PolicyServer:
    """Permits, and notes as whom the gateway came."""

    def __init__(self, path):
        self.path, self.callers = path, []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        os.chmod(path, 0o666)
        self.listener.listen(8)
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            conn, _ = self.listener.accept()
            self.callers.append(struct.unpack('3i', conn.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)))
            threading.Thread(target=self.serve, args=(conn,), daemon=True).start()

    @staticmethod
    def serve(conn):
        for line in conn.makefile('rb'):
            if line == b'\n':
                conn.sendall(b'action=DUNNO\n\n')


def check_callers(policy):
    global skipped
    check('the policy server was asked', policy.callers)
    if os.geteuid() != 0:
        skipped += 1
        return
    want = ROLE_UID['edge']
    check('the policy server sees the user of the edge', all(uid == gid == want for _, uid, gid in policy.callers), policy.callers)


LACKS = {'landlock': 'this kernel has no Landlock: what processes can do to files is limited by user and root directory alone',
         'both': 'this kernel has neither Landlock nor seccomp: processes are confined by user and root directory alone'}


def gateway_with_filters(where, binary, more):
    """The gateway with the virus filter, not started, the hub behind it, and its port. more: of main.cf."""
    database = where / 'signatures'
    database.mkdir()
    (database / 'v.hdb').write_text('44d88612fea8a8f36de82e1278abb02f:68:Eicar-Test-Signature\n')
    for d in (where, database):
        d.chmod(0o755)
    hub = rig.Hub(where / 'hub', ['0'])
    port, = rig.free_ports(1)
    gw = rig.Gateway(where, f'''myhostname = gw.test
queue_directory = {where}/queue
data_directory = {where}/data
relay_domains = local.test
mydestination =
relay_transport = smtp:[127.0.0.1]:{hub.ports[0]}
virus_engine = embedded
virus_database = {database}
{more}''', f'127.0.0.1:{port} inet n - n - - smtpd\nsmtp unix - - n - - smtp\nrelay unix - - n - - smtp\n',
                     {'rules': 'reject name=*.exe\n'}, binary=str(binary))
    return gw, hub, port


def has_landlock():
    """Whether the kernel under us has it: its version, asked with landlock_create_ruleset(2)."""
    return ctypes.CDLL(None, use_errno=True).syscall(ctypes.c_long(444), None, ctypes.c_size_t(0), ctypes.c_long(1)) > 0


def on_kernel_without(what, binary):
    """what: None (nothing), 'landlock', 'both'."""
    global skipped
    tool = rig.BUILD / 'release/tools/bare_kernel'
    if not tool.exists() or not (rig.BUILD / 'release/dogana-virus').exists() or (what is None and not has_landlock()):
        skipped += 1
        return
    where = rig.workdir('sandbox')
    start = where / 'start'
    start.write_text(f'#!/bin/sh\nexec {tool} {what} {binary} "$@"\n' if what else f'#!/bin/sh\nexec {binary} "$@"\n')
    start.chmod(0o755)
    gw, hub, port = gateway_with_filters(where, start, f'maillog_file = /dev/stdout\nattachment_rules = {where}/etc/rules\nvirus_action = reject\n')
    own = 1 if what else 0           # the filter that pretends
    ours = 0 if what == 'both' else 1
    try:
        gw.start(port)

        def send(text):
            with smtplib.SMTP('127.0.0.1', port, timeout=20) as s:
                try:
                    s.sendmail('a@b.test', ['v@local.test'], text)
                    return 250
                except smtplib.SMTPDataError as e:
                    return e.smtp_code

        check(f'without {what}: mail passes', send('Subject: clean\r\n\r\nwords\r\n') == 250)
        check(f'without {what}: a virus is found', send('Subject: bad\r\n\r\n' + EICAR) == 554)
        exe = 'Content-Type: application/octet-stream; name="a.exe"\r\n\r\nMZ\r\n'
        check(f'without {what}: a file is refused', send('Subject: exe\r\n' + exe) in (550, 554))
        rig.wait_for('the clean one at the hub', lambda: len(hub.messages()) == 1)
        said = [line for line in gw.log_text().splitlines() if 'this kernel has' in line]
        check(f'without {what}: it is said once', len(said) == (1 if what else 0) and all(LACKS[what] in line for line in said), said)
        for role in gw.status()['roles']:
            check_role(role, own + ours)
            steps = set(role['sandbox'].split())
            want = {'no_new_privs'} | ({'chroot', 'user'} if os.geteuid() == 0 else set()) | ({'seccomp'} if ours else set()) | (set() if what else {'landlock'})
            check(f'without {what}: steps of {role["role"]}', steps == want, role['sandbox'])
        filters = [(pid, name) for pid, name in rig.named_children(gw.proc.pid) if name.startswith(('virus-', 'dogana-virus', 'attachments', 'dogana-attach'))]
        check(f'without {what}: filters run', {n for _, n in filters} >= {'dogana-virus', 'virus-front', 'virus-engine', 'virus-worker'} and len(filters) > 5, filters)
        for pid, name in filters:
            st = proc_status(pid)
            is_worker = name in ('virus-worker', 'virus-engine')
            check(f'without {what}: {name} has no new privileges', st['NoNewPrivs'] == '1')
            check(f'without {what}: {name} is filtered', int(st['Seccomp_filters']) >= own + ours, (name, st['Seccomp_filters'], is_worker))
            if os.geteuid() == 0:
                check(f'without {what}: {name} has its own user', set(st['Uid'].split()) == {'61007'} and int(st['CapEff'], 16) == 0, st['Uid'])
        gw.stop()
    except Exception as e:  # noqa: BLE001
        check(f'the run without {what}', False, f'{e!r}\n{gw.tail(30)}')
    finally:
        gw.kill()
        hub.stop()


def engine(gw):
    """The process that scans: the only one of its name, when no worker has that name still."""
    def only():
        found = [pid for pid, name in rig.named_children(gw.proc.pid) if name == 'virus-engine']
        return found if len(found) == 1 else None
    return rig.wait_for('one engine, and workers with names of their own', only)


def log_that_is_moved_away(binary):
    """After a reload every process that writes to the log writes to the new one, those of filters too."""
    global skipped
    if not (rig.BUILD / 'release/dogana-virus').exists():
        skipped += 1
        return
    where = rig.workdir('sandbox')
    log = where / 'mail.log'
    gw, hub, port = gateway_with_filters(where, binary, f'maillog_file = {log}\nmaillog_file_prefixes = {where}\n')
    try:
        gw.start(port)
        rig.wait_for('the signatures', lambda: 'loaded in' in log.read_text())
        before = engine(gw)
        old = log.with_suffix('.1')
        log.rename(old)
        code, text = gw.run('reload')
        check('reload', code == 0, text)
        with smtplib.SMTP('127.0.0.1', port, timeout=10) as s:
            s.sendmail('a@b.test', ['v@local.test'], 'Subject: new\r\n\r\nwords\r\n')
        rig.wait_for('the message at the hub', lambda: len(hub.messages()) == 1)
        check('the line of the virus filter is in the new log', 'verdict=Clean' in log.read_text() and 'verdict' not in old.read_text(), log.read_text())
        now = rig.named_children(gw.proc.pid)
        check('the engine is the same', engine(gw) == before, now)
        worker = [pid for pid, name in now if name == 'virus-worker'][0]
        os.kill(worker, 9)
        rig.wait_for('the line of the engine in the new log', lambda: f'worker pid {worker} killed by signal 9' in log.read_text())
        gw.stop()
    except Exception as e:  # noqa: BLE001
        check('the run with a log that is moved away', False, f'{e!r}\n{gw.tail(30)}')
    finally:
        gw.kill()
        hub.stop()


def main():
    global skipped
    where = rig.workdir('sandbox')
    binary = rig.BUILD / 'release' / 'dogana'
    if not binary.exists():
        print('0 passed, 0 failed, 1 skipped')
        return 0
    hub = rig.Hub(where / 'hub', ['0'])
    port, = rig.free_ports(1)
    policy = PolicyServer(where / 'policy')
    main_cf = f'''myhostname = gw.test
maillog_file = /dev/stdout
queue_directory = {where}/queue
data_directory = {where}/data
relay_domains = hash:{where}/etc/domains
mydestination =
relay_transport = smtp:[127.0.0.1]:{hub.ports[0]}
spool_segment_size = 1048576
spool_segments_max = 4
smtpd_client_restrictions = check_policy_service unix:{where}/policy
'''
    master_cf = f'127.0.0.1:{port} inet n - n - - smtpd\nsmtp unix - - n - - smtp\nrelay unix - - n - - smtp\n'
    gw = rig.Gateway(where, main_cf, master_cf, {'domains': 'local.test x\n'}, binary=str(binary))
    try:
        gw.start(port)
        for i in range(3):
            with smtplib.SMTP('127.0.0.1', port, timeout=10) as s:
                s.sendmail('a@b.test', ['v@local.test'], f'Subject: {i}\r\n\r\n' + 'x' * (300000 if i == 2 else 20) + '\r\n')
        rig.wait_for('three messages at the hub', lambda: len(hub.messages()) >= 3)
        check('mail flows, small and large', len(hub.messages()) == 3)
        check_callers(policy)
        for role in gw.status()['roles']:
            check_role(role)
        gw.write('domains', 'local.test x\nother.test x\n')
        code, text = gw.run('reload')
        check('reload with a new compiled table', code == 0, text)
        with smtplib.SMTP('127.0.0.1', port, timeout=10) as s:
            s.sendmail('a@b.test', ['v@other.test'], 'Subject: new\r\n\r\n')
        rig.wait_for('the message for the new domain', lambda: len(hub.messages()) >= 4)
        check('the new table is in force', len(hub.messages()) == 4)
        for role in gw.status()['roles']:
            check(f'{role["role"]} was not restarted', role['restarts'] == 0, role)
        hub.stop()
        for i in range(60):  # more than the journal holds: the oldest move to files, within the sandbox
            with smtplib.SMTP('127.0.0.1', port, timeout=10) as s:
                s.sendmail('a@b.test', ['v@local.test'], f'Subject: {i}\r\n\r\n' + ('y' * 70 + '\r\n') * 1500)
        rig.wait_for('messages moved to files', lambda: gw.metrics()['spool_spilled'] > 0)
        check('messages move to files', gw.metrics()['spool_spilled'] > 0)
        bad = [line for line in gw.log_text().splitlines() if 'Operation not permitted' in line or 'Permission denied' in line or 'cross-device' in line]
        check('nothing in the log was refused by the sandbox', not bad, bad[:5])
        gw.stop()
        gw.write('main.cf', (gw.etc / 'main.cf').read_text().replace('/dev/stdout', f'{where}/log') + f'maillog_file_prefixes = {where}\n')
        code, text = gw.run('start')  # through a pipe: returns when nothing holds it any more
        check('start returns, and keeps nothing of the caller', code == 0, text)
        code, text = gw.run('start')
        check('a second start says why not', code == 1 and 'already running' in text, text)
        code, text = gw.run('stop')
        check('stop of what was started in the background', code == 0, text)
    except Exception as e:  # noqa: BLE001
        check('the run', False, f'{e!r}\n{gw.tail(30)}')
    finally:
        gw.kill()
        hub.stop()
    log_that_is_moved_away(binary)
    for what in (None, 'landlock', 'both'):
        on_kernel_without(what, binary)
    print(f'{passed} passed, {failed} failed, {skipped} skipped')
    if not failed:
        rig.remove_work()
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
