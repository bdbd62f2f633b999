#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""What each role gave up, read from the kernel; and that mail still flows with all of it given up.

Needs the program without sanitizers (their runtime makes system calls of its own) and, for users and root
directories, to be run as root; otherwise those checks are skipped.
"""

import os
import pathlib
import smtplib
import socket
import struct
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'tools'))
import rig  # noqa: E402

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


def check_role(role):
    global skipped
    name, pid = f'{role["role"]} {role["index"]}', role['pid']
    st = proc_status(pid)
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
    print(f'{passed} passed, {failed} failed, {skipped} skipped')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
