# SPDX-License-Identifier: BSD-2-Clause
"""Debian's Postfix and we, side by side: the same services, a hub behind each, the same steps, and what differs.

    sides = pair.start(scratch, ports, SERVICES, main, ours)
    return pair.run('tls', args, sides, CASES, play, clean_log, DIFFERENCES)
"""

import difflib
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'tools'))
import rig  # noqa: E402

PEER = pathlib.Path(__file__).resolve().parents[1] / 'tools/postfix-peer.sh'
ENDED = re.compile(r'disconnect from \S*\[(127\.3\.0\.1|192\.0\.2\.1)\]')


def arguments(parser):
    parser.add_argument('-k', default='', help='cases with this in their names')
    parser.add_argument('-v', action='store_true')
    return parser


class Tally:
    """What was compared: the same, different on purpose, or wrong, which is printed."""

    def __init__(self, name, verbose):
        self.name, self.verbose = name, verbose
        self.same = self.listed = self.wrong = 0

    def compare(self, title, theirs, ours, known=None, always=True):
        """Lists of lines. known: why they may differ; always: and have to."""
        differ = theirs != ours
        is_wrong = differ and not known or not differ and known and always
        self.wrong += bool(is_wrong)
        self.listed += differ and not is_wrong
        self.same += not differ and not is_wrong
        if not is_wrong and not self.verbose:
            return
        print(f'{title}: ' + ('not different any more' if is_wrong and known else 'different' if is_wrong else f'differs: {known}' if differ else 'same'))
        for line in difflib.unified_diff(theirs, ours, lineterm='', n=1) if differ else theirs:
            if not differ or line[:2] not in ('--', '++', '@@'):
                print('  ' + line.replace('\n', '\n    '))

    def end(self):
        """Prints the sum (- Postfix, + Dogana); the exit status."""
        print(f'{self.name}: {self.same} the same, {self.listed} different on purpose, {self.wrong} wrong')
        return 1 if self.wrong else 0


class Side:
    """A gateway with these services (name: settings of its line in master.cf), on these ports; the hub behind it gets what it takes."""

    def __init__(self, where, ports, services, main, files=None):
        self.dir, self.main = where, main
        where.mkdir(parents=True, mode=0o755)
        self.hub = rig.Hub(where / 'hub', ['0'])
        self.ports = dict(zip(services, ports))
        self.first, *rest = services
        self.master = ''.join(f'127.0.0.1:{self.ports[name]} inet n - n - - smtpd\n' +
                              ''.join(f'  -o {{ {k.replace("=", " = ", 1)} }}\n' for k in services[name].split()) for name in rest)
        for name, text in (files or {}).items():
            path = where / 'etc' / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.start()

    def received(self, count):
        """The Received header of the message after so many, without what differs each time."""
        rig.wait_for('the hub', lambda: len(self.hub.messages()) > count, 15)
        text = self.hub.content(self.hub.messages()[count]).decode()
        first = re.match(r'Received: .*(?:\r?\n[ \t].*)*', text).group()
        return re.sub(r'\bid \S+|;\s.*|\(Postfix[^)]*\)|\(Dogana\)', '', first.replace('\r', ''), flags=re.S)

    def one(self, service, steps, play, clean_log):
        """As lines: what was answered to each step, what arrived, what the log says."""
        start, before = self.log.stat().st_size, len(self.hub.messages())
        said = play(self.ports[service], service, steps)
        received = self.received(before) if any('queued as' in reply for _, reply in said) else ''

        def done():
            text = self.log.read_bytes()[start:].decode(errors='replace')
            return text if ENDED.search(text) else None
        log = clean_log(rig.wait_for('the end of the session in the log', done, 10))
        return [f'{step}\n{reply}' for step, reply in said] + [f'received: {received}'] + [f'log: {line}' for line in log]


class Postfix(Side):
    def start(self):
        (self.dir / 'extra.cf').write_text(self.main)
        (self.dir / 'extra-master.cf').write_text(self.master)
        done = subprocess.run([PEER, 'start', self.dir, str(self.ports[self.first]), f'[127.0.0.1]:{self.hub.ports[0]}'])
        if done.returncode:
            sys.exit(done.returncode)
        self.log = self.dir / 'log'

    def stop(self):
        subprocess.run([PEER, 'stop', self.dir], check=False)
        self.hub.stop()


class Dogana(Side):
    def start(self):
        d, port = self.dir, self.ports[self.first]
        self.gateway = rig.Gateway(d, self.main + f'relayhost = [127.0.0.1]:{self.hub.ports[0]}\nqueue_directory = {d}/queue\ndata_directory = {d}/data\n'
                                   'maillog_file = /dev/stdout\nedge_workers = 1\nrelay_workers = 1\n', f'127.0.0.1:{port} inet n - n - - smtpd\n' + self.master)
        self.gateway.start(port)
        self.log = self.gateway.log

    def stop(self):
        self.gateway.stop()
        self.hub.stop()


def run(name, args, services, main, cases, play, clean_log, differences, theirs='', ours='', files=None):
    """services: the first is the plain smtpd. cases: name: (service, steps). play(port, service, steps): [(step, reply)]. theirs, ours: settings
    of one side. The exit status."""
    scratch = rig.workdir(f'compat-{name}')
    ports = rig.free_ports(2 * len(services))
    tally, sides = Tally(name, args.v), []
    try:
        sides.append(Postfix(scratch / 'postfix', ports[:len(services)], services, main + theirs, files))
        sides.append(Dogana(scratch / 'dogana', ports[len(services):], services, main + ours, files))
        for case, (service, steps) in cases.items():
            if args.k in case:
                tally.compare(case, *(side.one(service, steps, play, clean_log) for side in sides), differences.get(case))
    finally:
        for side in sides:
            side.stop()
    status = tally.end()
    if status == 0:
        rig.remove_work()
    return status
