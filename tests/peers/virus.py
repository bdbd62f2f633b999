#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The virus filter with the files of Debian's clamav-testfiles, evasions, bombs, failing workers, and a clamd that lies.

The program is started by itself and spoken to as an MTA does (tests/tools/milterdriver.py). What `make peers' has not fetched is
skipped and counted. Last line: N passed, N failed, N skipped.

    virus.py [-v] [NAME...]      environment: DOGANA, PEERS as for the other tests
"""

import pathlib
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / 'tests/tools'))
sys.path.insert(0, str(TOP / 'tests/attachments'))
from cases import run_cases  # noqa: E402
import virus_found  # noqa: E402,F401
import virus_answers  # noqa: E402,F401
import virus_broken  # noqa: E402,F401
import virus_clamd  # noqa: E402,F401

if __name__ == '__main__':
    sys.exit(run_cases(sys.argv[1:]))
