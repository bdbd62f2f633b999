# SPDX-License-Identifier: BSD-2-Clause
"""Where Dogana answers differently from Debian's Postfix 3.7 on purpose: (group or *, case name pattern, why)."""

DIFFERENCES = [
]
