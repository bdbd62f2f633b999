# SPDX-License-Identifier: BSD-2-Clause
"""Other people's programs that a test starts and that end with it; words that their scanners know."""

import pathlib
import socket
import subprocess

import rig

# In two pieces, so that no scanner finds it here.
EICAR = 'X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR-STANDARD-' + 'ANTIVIRUS-TEST-FILE!$H+H*'
GTUBE = 'XJS*C4JDBQADN1.NSBN3*2IDNEN*' + 'GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X'


def listens(port):
    try:
        socket.create_connection(('127.0.0.1', port), 1).close()
        return True
    except OSError:
        return False


class Programs:
    """What each says is in NAME.log below `logs'."""

    def __init__(self, logs):
        self.logs = pathlib.Path(logs)
        self.running = []

    def run(self, name, words, **more):
        with open(self.logs / f'{name}.log', 'ab') as log:
            proc = subprocess.Popen([str(w) for w in words], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, **more)
        self.running.append(proc)
        return proc

    def start(self, name, words, ready, **more):
        """Returns when ready() is true; Broken when it ends before."""
        proc = self.run(name, words, **more)

        def up():
            if proc.poll() is not None:
                raise rig.Broken(f'{name} ended with {proc.returncode}: ' + (self.logs / f'{name}.log').read_text(errors='replace')[-600:])
            return ready()
        rig.wait_for(f'{name} to listen', up, 40, 0.05)

    def stop(self):
        for p in self.running:
            p.terminate()
        for p in self.running:
            try:
                p.wait(10)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()
        self.running = []
