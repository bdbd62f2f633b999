#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""A configuration directory for libsasl2 with a database of users, for the dialogues.

    sasldb.py DIR REALM [USER=PASSWORD]... [+OPTION:~VALUE]...

Writes DIR/smtpd.conf and DIR/sasldb2 (with tests/tools/saslpass), says "ready" and stays. +OPTION: lines of smtpd.conf, with '~' for a blank.
"""

import os
import pathlib
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import rig  # noqa: E402

where, realm = pathlib.Path(sys.argv[1]), sys.argv[2]
users = [p for a in sys.argv[3:] if not a.startswith('+') for p in a.split('=', 1)]
lines = [a[1:].replace('~', ' ') for a in sys.argv[3:] if a.startswith('+')]
where.mkdir(parents=True, exist_ok=True)
db = where / 'sasldb2'
db.unlink(missing_ok=True)
if users:
    subprocess.run([rig.tool('saslpass'), db, realm, *users], check=True)
    os.chmod(db, 0o644)
(where / 'smtpd.conf').write_text('\n'.join(['pwcheck_method: auxprop', 'auxprop_plugin: sasldb', f'sasldb_path: {db}', *lines]) + '\n')
print('ready', flush=True)
while True:
    time.sleep(3600)
