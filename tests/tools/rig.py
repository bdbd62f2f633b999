# SPDX-License-Identifier: BSD-2-Clause
"""What the tests start and steer: a gateway, the recording hub, a DNS server with a table; all on loopback.

Used by tests/dialogue/run.py, tests/crash/killrun.py and tests/attack/. Environment: DOGANA (the program; default
build/asan/dogana, then build/dogana), TOOLS (directory of hub and friends; default build/release/tools, then asan).
"""

import collections
import fcntl
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib

import dnsserver
from dnsserver import Dns  # noqa: F401  (for those who use this module)

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = TOP / 'build'
WAIT = float(os.environ.get('DIALOGUE_WAIT') or 20)  # seconds any single expectation may take


class Broken(Exception):
    """The thing under test did not do what it should."""


def program():
    for p in (os.environ.get('DOGANA'), BUILD / 'asan' / 'dogana', BUILD / 'dogana'):
        if p and os.access(p, os.X_OK):
            return str(pathlib.Path(p).resolve())
    raise SystemExit('no program to test: make, or set DOGANA')


def tool(name):
    for d in (os.environ.get('TOOLS'), BUILD / 'release' / 'tools', BUILD / 'asan' / 'tools'):
        if d and os.access(pathlib.Path(d) / name, os.X_OK):
            return str(pathlib.Path(d) / name)
    raise SystemExit(f'no {name}: make tools')


IN_NAMESPACES = ['unshare', '-mn', '--propagation', 'private', sys.executable]  # before a program and its --inside


def has_namespaces():
    return os.geteuid() == 0 and subprocess.run(['unshare', '-mn', 'true'], stderr=subprocess.DEVNULL).returncode == 0


def again_in_namespaces(name, program):
    """Ends this program and runs it again with --inside, in network and mount namespaces of its own; 77 where there are none."""
    if not has_namespaces():
        print(f'{name}: skipped: needs root and namespaces')
        sys.exit(77)
    sys.exit(subprocess.run([*IN_NAMESPACES, program, '--inside', *sys.argv[1:]]).returncode)


def own_network(scratch, options='timeout:1 attempts:1'):
    """Inside: loopback, and a resolv.conf and hosts in scratch that everybody reads. 77 where they cannot be mounted."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        fcntl.ioctl(s, 0x8914, struct.pack('16sh22x', b'lo', 0x41))  # SIOCSIFFLAGS: up, running
    (scratch / 'resolv.conf').write_text(f'nameserver 127.0.0.53\noptions {options}\n')
    (scratch / 'hosts').write_text('127.0.0.1 localhost\n::1 localhost\n')
    for name in ('resolv.conf', 'hosts'):
        if subprocess.run(['mount', '--bind', scratch / name, os.path.realpath(f'/etc/{name}')]).returncode != 0:
            print('skipped: no mount in a namespace')
            sys.exit(77)


PORTS_FROM = 14000
reserved = collections.deque(maxlen=400)  # a runner of a thousand dialogues is done with the first ones


def first_ephemeral():
    """From here on the kernel gives ports to whoever asks for any."""
    return int(pathlib.Path('/proc/sys/net/ipv4/ip_local_port_range').read_text().split()[0])


def reserve(port):
    """Nobody listens on it, and no other script of ours gets it while this process has it: a name in the same network namespace says so."""
    name = socket.socket(socket.AF_UNIX)
    try:
        name.bind(f'\0dogana-test-port-{port}')
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with socket.socket(socket.AF_INET, kind) as s:
                s.bind(('0.0.0.0', port))
    except OSError:
        name.close()
        return False
    reserved.append(name)
    return True


def free_ports(n):
    """Ports for TCP and UDP that stay free until somebody is started on them: none that the kernel gives to a connection or a server meanwhile."""
    end = first_ephemeral() if first_ephemeral() > PORTS_FROM + 2000 else 65536
    ports, any_port = [], random.SystemRandom()  # one that nobody seeds
    for _ in range(100000):
        if len(ports) == n:
            return ports
        port = any_port.randrange(PORTS_FROM, end)
        if reserve(port):
            ports.append(port)
    raise Broken(f'no {n} free ports')


def connect_unix(sock, path):
    """Connects to a path of any length: through its directory, because an address takes 108 octets."""
    path = pathlib.Path(path)
    where = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sock.connect(f'/proc/self/fd/{where}/{path.name}')
    finally:
        os.close(where)


def listens_at(path):
    """Whether somebody takes connections on that path: the name is there a moment before."""
    rows = [line.split(None, 7) for line in pathlib.Path('/proc/net/unix').read_text(errors='replace').splitlines()[1:]]
    return any(row[3] == '00010000' and row[7:] == [str(path)] for row in rows)


# Below it lie sockets, whose paths may have 107 octets, and what processes of other users read.
PATH_MAX = 50
KEPT = ('corpus', 'certs-')  # for later runs, and nobody's
made = []


def may_hold_work(path):
    """Is it short enough, and may everybody pass?"""
    path = pathlib.Path(path)
    return len(os.fsencode(path)) <= PATH_MAX and (os.geteuid() != 0 or all(p.stat().st_mode & 0o001 for p in (path, *path.parents)))


def workplace():
    """Where this clone's work lies: build/tmp, or a directory where temporary files are when the path of that is too long or closed to others."""
    where = BUILD / 'tmp'
    where.mkdir(parents=True, exist_ok=True)
    if may_hold_work(where):
        return where
    temporary = pathlib.Path(tempfile.gettempdir()).resolve()
    where = temporary / f'dogana-{zlib.crc32(os.fsencode(f"{os.geteuid()} {TOP}")):08x}'
    if len(os.fsencode(where)) > PATH_MAX or not may_hold_work(temporary):
        raise SystemExit(f'{BUILD}/tmp and {temporary}: too long a path ({PATH_MAX} octets) or closed to other users: set TMPDIR')
    try:
        where.mkdir()
    except FileExistsError:
        if where.is_symlink() or where.stat().st_uid != os.geteuid():
            raise SystemExit(f'{where} is somebody else\'s') from None
    where.chmod(0o755)
    return where


held = collections.deque()  # descriptors whose locks say that somebody is at work in a directory; they end with this process


def lock_directory(path, how=fcntl.LOCK_EX):
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, how)
    except OSError:
        os.close(fd)
        raise
    return fd


def workdir(name):
    """An empty directory for this process, in the workplace; sweep() leaves it alone as long as the process lives."""
    where = workplace()
    door = lock_directory(where)
    path = pathlib.Path(tempfile.mkdtemp(prefix=f'{name}-', dir=where))
    held.append(lock_directory(path))
    os.close(door)
    if len(held) > 100:  # done with, like the first ports
        os.close(held.popleft())
    path.chmod(0o755)
    made.append(path)
    return path


def sweep():
    """Removes what runs of before have left in the workplace: those who failed, and those who were killed."""
    where = workplace()
    door = lock_directory(where)
    for path in where.iterdir():
        if path.is_dir() and not path.is_symlink() and not path.name.startswith(KEPT):
            try:
                fd = lock_directory(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            shutil.rmtree(path, ignore_errors=True)
            os.close(fd)
    os.close(door)


def remove_work():
    """What workdir() made: all went well."""
    for path in made:
        shutil.rmtree(path, ignore_errors=True)


def certificates():
    """The directory of tests/tools/certs.sh, made when there is none of this week; for reading."""
    (BUILD / 'tmp').mkdir(parents=True, exist_ok=True)
    path = BUILD / 'tmp' / f'certs-{int(time.time() // (7 * 86400))}'
    with open(BUILD / 'tmp' / 'certs.lock', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run([pathlib.Path(__file__).parent / 'certs.sh', path], check=True, stdout=subprocess.DEVNULL)
    return path


def wait_for(what, test, seconds=None, pause=0.02):
    """Calls test() until it gives something true, which is returned."""
    end = time.monotonic() + (seconds or WAIT)
    while True:
        got = test()
        if got:
            return got
        if time.monotonic() > end:
            raise Broken(f'waited in vain for {what}')
        time.sleep(pause)


def children(pid):
    """Of a process, and theirs."""
    own = []
    for task in pathlib.Path(f'/proc/{pid}/task').glob('*/children'):
        try:
            own += [int(n) for n in task.read_text().split()]
        except OSError:
            continue
    return own + [n for child in own for n in children(child)]


def named_children(pid):
    """[(pid, name)] of those."""
    out = []
    for p in children(pid):
        try:
            out.append((p, pathlib.Path(f'/proc/{p}/comm').read_text().strip()))
        except OSError:
            continue
    return out


def waited_for_cpu(pids):
    """Seconds their threads have been ready to run while others ran."""
    total = 0
    for path in [p for pid in pids for p in pathlib.Path(f'/proc/{pid}/task').glob('*/schedstat')]:
        try:
            total += int(path.read_text().split()[1])
        except (OSError, IndexError):
            pass
    return total / 1e9


class Pulse(threading.Thread):
    """A thread that only sleeps. By how much it wakes too late, the others of this program are too late, too: for lack of a processor, or
    because one of them is at it."""
    EVERY = 0.01

    def __init__(self):
        super().__init__(daemon=True)
        self.late = 0.0
        self.start()

    def run(self):
        while True:
            begin = time.monotonic()
            time.sleep(self.EVERY)
            self.late += time.monotonic() - begin - self.EVERY


def late():
    """Seconds that a thread of this program was late, since somebody asked first."""
    global pulse
    pulse = pulse or Pulse()
    return pulse.late


pulse = None


class Hub:
    """tests/tools/hub with a directory of its own."""

    def __init__(self, where, listeners, quiet=False):
        self.dir = pathlib.Path(where)
        self.dir.mkdir(parents=True, exist_ok=True)
        self.json = self.dir / 'messages.json'
        self.json.touch()
        args = [tool('hub')] + (['-q'] if quiet else ['-j', str(self.json), '-d', str(self.dir / 'content')]) + listeners
        self.proc = subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.ports = json.loads(self.proc.stdout.readline())['ports']
        self.offset = 0
        self.seen = []

    def order(self, line):
        self.proc.stdin.write(line + '\n')
        self.proc.stdin.flush()
        answer = self.proc.stdout.readline().strip()
        if answer.startswith('bad') or not answer:
            raise Broken(f'hub: {answer or "gone"}: {line}')
        return json.loads(answer) if answer.startswith('{') else answer

    def records(self):
        """All messages so far, the refused ones too."""
        with open(self.json, 'rb') as f:
            f.seek(self.offset)
            data = f.read()
        whole = data[:data.rfind(b'\n') + 1]
        self.offset += len(whole)
        self.seen += [json.loads(line) for line in whole.splitlines()]
        return self.seen

    def messages(self):
        return [r for r in self.records() if r['accepted']]

    def content(self, record):
        return (self.dir / 'content' / f'{record["n"]}.eml').read_bytes()

    def stop(self):
        if self.proc.poll() is None:
            self.proc.stdin.close()
            self.proc.wait(5)


TROUBLE = re.compile(r'panic:|AddressSanitizer|LeakSanitizer|UndefinedBehaviorSanitizer|runtime error:|'
                     r'warning: process \S+ pid|SUMMARY: |Assertion|\bBUG\b')


# As root each role has a user of its own; numbers, because a test machine has no such names.
ROLE_USERS = 'edge_user = 61001\nqueue_user = 61002\nrelay_user = 61003\nlookup_user = 61004\nkeys_user = 61005\nauth_user = 61006\nfilter_user = 61007\n'


# The journal is made when a gateway starts: four megabytes of zeros instead of 128, and one segment follows the other sooner.
SMALL_SPOOL = 'spool_segment_size = 1048576\n'


class Gateway:
    """One running gateway with a configuration, a queue and a log of its own."""

    def __init__(self, where, main, master, files=None, binary=None):
        self.dir = pathlib.Path(where)
        self.etc = self.dir / 'etc'
        for d in (self.etc, self.dir / 'bin', self.dir / 'asan'):
            d.mkdir(parents=True, exist_ok=True)
        self.binary = binary or program()
        self.log = self.dir / 'log'
        self.stderr = self.dir / 'stderr'
        self.proc = self.control = None
        self.expect_deaths = False
        (self.etc / 'main.cf').write_text(main + ROLE_USERS + ('' if 'spool_segment_size' in main else SMALL_SPOOL))
        (self.etc / 'master.cf').write_text(master)
        for name, text in (files or {}).items():
            self.write(name, text)
        self.env = dict(os.environ,
                        ASAN_OPTIONS=f'log_path={self.dir}/asan/a:exitcode=99:detect_leaks=1:' + os.environ.get('ASAN_OPTIONS', ''),
                        UBSAN_OPTIONS=f'log_path={self.dir}/asan/u:print_stacktrace=1:' + os.environ.get('UBSAN_OPTIONS', ''),
                        MAIL_CONFIG=str(self.etc))

    def write(self, name, text):
        path = self.etc / name
        path.parent.mkdir(parents=True, exist_ok=True)
        tmp = path.with_name(path.name + '.new')
        tmp.write_text(text)
        tmp.rename(path)

    def start(self, port, address='127.0.0.1'):
        self.proc = subprocess.Popen([self.binary, '-c', str(self.etc), 'run'], stdin=subprocess.DEVNULL,
                                     stdout=open(self.log, 'ab'), stderr=open(self.stderr, 'ab'), env=self.env,
                                     start_new_session=True)
        self.address, self.port = address, port
        self.wait_ready()

    def wait_ready(self, seconds=20):
        def greets():
            if self.proc.poll() is not None:
                raise Broken(f'the gateway ended with {self.proc.returncode}: {self.tail()}')
            try:
                with socket.create_connection((self.address, self.port), 1, ('127.0.0.9', 0)) as s:
                    s.settimeout(2)
                    if not s.recv(3).startswith(b'220'):
                        return False
                    s.sendall(b'QUIT\r\n')
                    while s.recv(100):
                        pass
                    return True
            except OSError:
                return False
        wait_for('the gateway to answer', greets, seconds, 0.05)

    def tail(self, n=12):
        text = ''
        for p in (self.stderr, self.log):
            if p.exists():
                text += '\n'.join(p.read_text(errors='replace').splitlines()[-n:]) + '\n'
        return text

    def run(self, *args, argv0=None, stdin=None):
        """A command of the same program: (status, standard output and error)."""
        path = self.binary
        args = list(args)
        if argv0:
            path = self.dir / 'bin' / argv0
            if not path.exists():
                path.symlink_to(self.binary)
            args = [str(path)] + args
        else:
            args = [path, '-c', str(self.etc)] + args
        done = subprocess.run(args, env=self.env, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=60, text=True, errors='replace')
        return done.returncode, done.stdout

    def ask(self, line):
        """A request through the control socket, as the commands make it, without a process for it: (whether it was done, text)."""
        if self.control is None:
            found = re.findall(r'^queue_directory\s*=\s*(\S+)', (self.etc / 'main.cf').read_text(), re.M)
            self.control = pathlib.Path(found[-1] if found else '/var/spool/postfix') / 'public'
        data = b''
        try:
            with socket.socket(socket.AF_UNIX) as s:
                connect_unix(s, self.control / 'control')
                s.settimeout(60)
                s.sendall(line.encode() + b'\n')
                while chunk := s.recv(1 << 20):
                    data += chunk
        except OSError as e:
            return False, f'{self.control}/control: {e}'
        first, _, text = data.decode('utf-8', 'backslashreplace').partition('\n')
        if first == 'ok trailer':
            text, _, last = text.rpartition('\n')[0].rpartition('\n')
            return last == 'done', text if last == 'done' else f'{text}\n{last}'
        return first == 'ok', text if first == 'ok' else first or 'no answer'

    def status(self):
        done, text = self.ask('status json')
        if not done:
            raise Broken(f'status json: {text[:300]}')
        return json.loads(text)

    def metrics(self):
        return status_metrics(self.status())

    def queue(self):
        done, text = self.ask('queue list json')
        if not done:
            raise Broken(f'queue list json: {text[:300]}')
        return [json.loads(line) for line in text.splitlines() if line.strip()]

    def log_text(self, since=0):
        with open(self.log, 'rb') as f:
            f.seek(since)
            return f.read().decode('utf-8', 'backslashreplace')

    def log_size(self):
        return self.log.stat().st_size if self.log.exists() else 0

    def troubles(self):
        """What must never be there: sanitizer reports, panics, dead roles."""
        found = []
        for p in sorted((self.dir / 'asan').iterdir()):
            found.append(f'{p.name}: ' + p.read_text(errors='replace')[:3000])
        for p in (self.stderr, self.log):
            if p.exists():
                for line in p.read_text(errors='replace').splitlines():
                    if TROUBLE.search(line) and not (self.expect_deaths and 'warning: process' in line):
                        found.append(f'{p.name}: {line}')
        return found[:20]

    def stop(self):
        """Stops it cleanly; raises Broken when that does not work. Whatever is left of it is killed."""
        if not self.proc:
            return
        try:
            if self.proc.poll() is None:
                self.proc.send_signal(signal.SIGTERM)
            try:
                code = self.proc.wait(20)
            except subprocess.TimeoutExpired:
                raise Broken('the gateway does not stop on SIGTERM')
            if code not in (0, -signal.SIGTERM):
                raise Broken(f'the gateway ended with {code}: {self.tail()}')
        finally:
            self.kill()

    def kill(self):
        """kill -9 of everything: its own session holds all roles."""
        if self.proc:
            try:
                os.killpg(self.proc.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass
            self.proc.wait()
            self.proc = None
            wait_for('the last of its processes to go', self.port_is_free, 10, 0.01)

    def port_is_free(self):
        """The master is ours to wait for, the roles are not: a listening socket lives as long as the last of them."""
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind((self.address, self.port))
                s.listen(1)
                return True
            except OSError:
                return False

    def remove(self):
        shutil.rmtree(self.dir, ignore_errors=True)


def status_metrics(status):
    """The metrics of all roles as one sum, from `status --json'."""
    if isinstance(status.get('metrics'), dict):
        return status['metrics']
    total = {}
    for role in status.get('roles') or status.get('processes') or []:
        for name, value in (role.get('metrics') or {}).items():
            total[name] = total.get(name, 0) + value
    return total


def status_roles(status):
    """[(role, pid)] from `status --json', the master too when it is listed."""
    rows = status.get('roles') or status.get('processes') or []
    return [(r.get('role') or r.get('name'), r['pid']) for r in rows if r.get('pid')]
