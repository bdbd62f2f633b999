# SPDX-License-Identifier: BSD-2-Clause
"""Programs of build/peers as if they were installed: in a mount namespace of their own where the unpacked packages lie over /usr and /etc, so
that every path they were built with is there. The machine sees nothing of it.

    subprocess.Popen(installed(root, ['spampd', ...]))
"""

import functools
import os
import subprocess

LAID = 'mount -t overlay overlay -o "lowerdir=$1/usr:/usr" /usr && mount -t overlay overlay -o "lowerdir=$1/etc:/etc" /etc'


def in_namespace(script, root, words):
    return ['unshare', '-m', '--propagation', 'private', 'sh', '-c', script, 'sh', str(root)] + [str(w) for w in words]


@functools.cache
def why_not(root):
    """None, or the reason why it cannot be done here."""
    if os.getuid() != 0:
        return 'needs root'
    done = subprocess.run(in_namespace(LAID, root, []), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return None if done.returncode == 0 else f'no overlay over /usr here: {done.stdout.strip()[-100:]}'


def installed(root, words, prepare='true'):
    """prepare: shell commands inside, before it begins."""
    return in_namespace(f'{LAID} && {{ {prepare}; }} && shift && exec "$@"', root, words)
