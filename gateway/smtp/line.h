/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * line.h - the one place that decides where a line ends: for commands, for DATA and for BDAT.
 *
 * Content comes out with CRLF line ends only. What ends DATA is CRLF.CRLF and nothing else:
 *
 *   bare LF      a line end, written as CRLF (the caller may refuse the message: bare_lf says it happened)
 *   lone "."     that ends in, or follows a line that ends in, a bare LF: dropped
 *   stray CR     a CR before anything but LF: becomes a space, unless keep_stray_cr
 *   NUL          becomes a space, unless keep_nul
 *   long lines   stay as they are: they are never cut or folded (HAS_LONG says there is one)
 *
 * The only exception is a client that ends its commands in bare LF as well, and that the configuration
 * excludes from smtpd_forbid_bare_newline: for it LF.LF ends too (lf_ends). An upstream server that could
 * be used for smuggling ends its commands in CRLF, so it never is one.
 *
 * Works on whatever pieces arrive; pieces or whole give the same bytes. Plain runs are found 16 octets at a
 * time and copied as one.
 */
#ifndef SMTP_LINE_H
#define SMTP_LINE_H

#include "base/buf.h"

/* ---- commands ---- */

struct line_cmd {
	struct span text;        /* without its end; borrowed from the input */
	bool bare_lf;            /* ended in LF alone */
	bool has_nul;
};
/* Takes a line from the front of in. RC_OK; RC_NONE: no line end yet (nothing is used); RC_PERM: more than max
 * octets without an end, or a line longer than that: *used_out octets may go; skip with line_skip() if it had
 * no end yet (*unended_out). */
enum rc line_command(struct span in, size_t max, struct line_cmd *out, size_t *used_out, bool *unended_out);
/* The rest of a line that was too long: octets up to and with its LF, or all; *ended_out: the LF was there. */
size_t line_skip(struct span in, bool *ended_out);

/* The part of what a client sent that may be logged: up to and with the first AUTH at the beginning of a line, any case, also
 * behind blanks and other junk. All that follows may be a password, whatever the server made of the line. */
struct span line_without_secrets(struct span sent);
/* What is sent begins with AUTH, read as above. */
bool line_is_auth(struct span sent);

/* ---- content ---- */

enum line_state {
	LINE_START = 0,          /* behind CRLF, or at the beginning */
	LINE_START_LF,           /* behind a bare LF */
	LINE_TEXT,
	LINE_CR,                 /* a CR that has not been written yet */
	LINE_DOT, LINE_DOT_CR,   /* "." and ".\r" behind CRLF */
	LINE_DOT_LF, LINE_DOT_LF_CR, /* the same behind a bare LF */
};

struct line_data {
	/* set before the first octet */
	bool dots;               /* DATA: dots are taken off and "." ends; false: BDAT */
	bool lf_ends;
	bool keep_nul;           /* the owner looks for them */
	bool keep_stray_cr;      /* cleanup_replace_stray_cr_lf = no */
	/* found */
	bool ended;              /* the end of DATA was seen */
	bool bare_lf;
	bool has_nul, has_stray_cr;
	bool has_8bit;
	bool has_dots;           /* a line of the output begins with a dot */
	bool has_long;           /* a line of the output has more than 998 octets, CRLF not counted */
	/* private */
	enum line_state state;
	uint64_t line_len;       /* of the unfinished line, in the output */
};

/* Appends what in says to out; gives the octets used: all, or up to the end of DATA. Writes at most
 * LINE_GROWTH(in.n) octets. */
#define LINE_GROWTH(n) (2 * (n) + 8)
size_t line_data_feed(struct line_data *d, struct span in, struct buf *out);
/* BDAT LAST: what is still held back, and CRLF if the last line has none. */
void line_data_finish(struct line_data *d, struct buf *out);

#endif
