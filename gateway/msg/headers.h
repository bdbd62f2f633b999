/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * headers.h - the header of a message as a list that can be changed: by position, or by name and count (the n-th To),
 * as rewriting, checks and milters do. What was not changed is written out again octet for octet.
 *
 * Rows point into the block that was parsed and into the arena; both outlive the list. Pure.
 */
#ifndef MSG_HEADERS_H
#define MSG_HEADERS_H

#include "base/arena.h"
#include "base/buf.h"

enum header_id {
	HEADER_OTHER = 0,
#define HEADER_NAME(id, name, flags, doc) HEADER_##id,
#include "msg/header_names.def"
#undef HEADER_NAME
	HEADER_ID_COUNT
};

enum { HN_SENDER = 1, HN_RCPT = 2, HN_RESENT = 4, HN_VISIBLE = 8 };

enum header_id header_id(struct span name);      /* any case of letters */
unsigned header_flags(enum header_id id);

struct header {
	struct span text;        /* all of it: name, colon, value, the CRLF of its last line */
	size_t name_len;         /* of the name at its front */
	size_t value_at;         /* behind the colon */
	enum header_id id;
	bool is_gone;            /* removed: not counted, not written */
};

struct headers {
	struct arena *arena;
	struct header *row;
	size_t n, cap;
	bool is_changed;
};

/* block: complete lines up to and without the empty one. RC_PERM: no header, or more than the arena takes. */
enum rc headers_parse(struct headers *h, struct span block, struct arena *a) MUST_CHECK;

static inline struct span
header_name(const struct header *r)
{
	return span_head(r->text, r->name_len);
}

/* Behind the colon, up to the CRLF at its end; folded as it came. */
struct span header_value(const struct header *r);

/* The n-th (from 1) that has this name and is still there; SIZE_MAX: none. */
size_t headers_find(const struct headers *h, struct span name, size_t nth);

void headers_remove(struct headers *h, size_t at);
/* text: one whole header with CRLF, kept by reference. RC_PERM: it is none, or the arena is full. */
enum rc headers_replace(struct headers *h, size_t at, struct span text) MUST_CHECK;
enum rc headers_insert(struct headers *h, size_t at, struct span text) MUST_CHECK; /* before row at; at >= n: behind all */

/* Which of the known names are there: bit 1 << id. */
uint64_t headers_present(const struct headers *h);

void headers_write(const struct headers *h, struct buf *b);

#endif
