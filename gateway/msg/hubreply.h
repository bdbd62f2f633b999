/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hubreply.h - reads replies of a hub (RFC 5321 4.2), a piece at a time. Pure.
 *
 * Strict where a hub that is not one shows itself: every line is three digits, then "-", " " or its end,
 * then text without NUL, and ends in CRLF; the code stays the same from line to line. A line, the
 * number of lines and the whole reply have limits, so 1 MB without an end costs a few kilobytes.
 */
#ifndef MSG_HUBREPLY_H
#define MSG_HUBREPLY_H

#include "base/buf.h"

enum { HUBREPLY_LINE_MAX = 4096, HUBREPLY_LINES_MAX = 200, HUBREPLY_BYTES_MAX = 32 * 1024 };

struct hubreply {
	int code;                /* 200 to 599 */
	struct buf text;         /* lines with their codes, joined by LF, without CR */
	unsigned lines;
	/* private */
	struct buf line;         /* of a line that came in pieces */
	bool whole;
};

void hubreply_init(struct hubreply *r);
void hubreply_fini(struct hubreply *r);

/* Takes bytes until the reply is whole; *used_out: how many. RC_OK: whole, read it before the next call.
 * RC_NONE: more is needed, all were taken. RC_PERM: not a reply; the connection is of no use any more. */
enum rc hubreply_feed(struct hubreply *r, struct span in, size_t *used_out) MUST_CHECK;

/* "5.1.1" from the last line when it fits the code, else "5.0.0". */
struct span hubreply_dsn(const struct hubreply *r);
/* The text with one space for every line end, for logs and reports. */
void hubreply_write(const struct hubreply *r, struct buf *out);
/* Line i (0 is the first) without code and separator; empty past the end. */
struct span hubreply_line(const struct hubreply *r, unsigned i);
bool hubreply_in_progress(const struct hubreply *r); /* a part of one was read */

/* The code in front of text written by hubreply_write: "5.1.1" of "550 5.1.1 no". Used for tests and hubreply_dsn. */
bool dsn_parse(struct span text, struct span *out);

#endif
