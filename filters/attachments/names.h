/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * names.h - the header of a part as all mail clients together read it: file names, types, transfer encodings.
 *
 * Clients differ about duplicate headers and parameters, about quoting, RFC 2231, encoded words, folding, comments, NUL. What any
 * of them could make of the octets is a reading; rules are asked about all readings. A name is left as UTF-8 without
 * control and invisible characters, without folders, without what Windows drops at its end. Pure but for the C library's iconv.
 */
#ifndef ATTACHMENTS_NAMES_H
#define ATTACHMENTS_NAMES_H

#include "base/arena.h"
#include "base/buf.h"

enum { READING_NAMES = 64, READING_TYPES = 16, READING_NAME_MAX = 4096 };

struct reading {
	struct arena *arena;         /* of the names */
	struct span names[READING_NAMES];
	size_t nnames;
	struct span types[READING_TYPES]; /* "text/plain", lower case, without parameters */
	size_t ntypes;
	unsigned ctes;               /* enum decode_cte bits; 0: no such header */
	bool is_over;                /* there were more names or types, or longer ones */
	bool is_deceptive;           /* a name looks like another one: bidirectional or control characters, blanks, two extensions */
	bool has_content;            /* any Content-* header */
	bool has_boundary;           /* a boundary parameter in any of its values */
	unsigned counts[3];          /* Content-Type, Content-Disposition, Content-Transfer-Encoding: how often */
};

void reading_init(struct reading *r, struct arena *a);
/* A header block: lines ended by CRLF, LF or CR, folded or not; junk among them is passed over. Adds to what was read before. */
void reading_header(struct reading *r, struct span block);
/* A name from elsewhere (an archive, a parser), with all its variants. */
void reading_name(struct reading *r, struct span name);
void reading_type(struct reading *r, struct span type);
bool reading_has_type(const struct reading *r, const char *prefix); /* one of the types begins so */

/* Opens the character sets that are read, so that their code is loaded before files are out of reach. */
void names_prepare(void);
/* text in a character set as UTF-8, appended; RC_NONE: the set is unknown. */
enum rc names_charset(struct span charset, struct span text, struct buf *out) MUST_CHECK;

#endif
