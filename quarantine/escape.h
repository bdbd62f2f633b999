/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * escape.h - text of strangers on a terminal, in JSON and in a mail of ours. Pure.
 *
 * What cannot be seen, or changes how its neighbours are seen, is written out: control characters (C0, DEL, C1), line and
 * paragraph separators, bidirectional controls, zero-width and other format characters, fillers, tags, what is no character, and
 * bytes that are not UTF-8. So nothing in a subject or a file name moves a cursor, changes a title, turns a line round or
 * hides. What comes out is printable UTF-8.
 */
#ifndef QUARANTINE_ESCAPE_H
#define QUARANTINE_ESCAPE_H

#include "base/buf.h"

/* For people: \xHH for bytes, \u{HHHH} for characters. At most max octets of s; "..." when it was longer. */
void escape_text(struct buf *out, struct span s, size_t max);
/* The same for text of several lines: CRLF and LF end a line (LF comes out), a tab stays. */
void escape_lines(struct buf *out, struct span s, size_t max);
/* A JSON string (RFC 8259) with its quotes: \uHHHH, so that nothing is lost; a byte that is not UTF-8 becomes \ufffd. */
void escape_json(struct buf *out, struct span s, size_t max);
/* For a line of a mail: as escape_text, and what mail programs make links of is broken ("http[:]//", "example[.]com"). */
void escape_mail(struct buf *out, struct span s, size_t max);

#endif
