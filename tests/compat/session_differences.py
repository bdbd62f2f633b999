# SPDX-License-Identifier: BSD-2-Clause
"""Where random sessions (sessions.py) may differ, each with its reason. All patterns of a row must match: the command,
Postfix's reply, ours, and where given the service's settings."""

DIFFERENCES = [
]
