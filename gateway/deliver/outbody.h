/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * outbody.h - reads a message's content from its descriptor and writes it in wire form.
 *
 * A short read is RC_TEMP: the caller must not finish the transaction. Never blocks for long: the
 * pages of a message that was just accepted are in memory.
 */
#ifndef DELIVER_OUTBODY_H
#define DELIVER_OUTBODY_H

#include "msg/wire.h"
#include "deliver/outchecks.h"
#include "msg/mime7.h"

enum { OUTBODY_PIECE = 64 * 1024 };

/* n octets at a place of the file. RC_TEMP: they are not all there. */
enum rc outbody_read(int fd, uint64_t at, unsigned char *to, size_t n, struct err *e) MUST_CHECK;

struct outbody {
	int fd;                  /* borrowed */
	struct span head;        /* goes before it; borrowed */
	uint64_t at, left;       /* next octet, and how many follow */
	struct mime7 *mime;      /* makes it 7-bit; borrowed; NULL: goes as it is */
	struct outchecks *checks;/* change it behind that; borrowed; NULL: none */
	struct wire wire;
	bool waits;              /* checks are in the middle of what they were given */
	bool mime_ended, checks_ended;
};

/* head: takes the place of the first skip octets (whole lines); empty: nothing does. */
void outbody_init(struct outbody *c, int fd, uint64_t offset, uint64_t length, struct span head, uint64_t skip, bool stuff, size_t line_max);
/* For a hub without 8BITMIME: m (initialised, kept by the caller) makes 7-bit what says that it is not. Before anything is put. */
void outbody_make_7bit(struct outbody *c, struct mime7 *m);
/* The checks of its destination (new, kept by the caller). Before anything is put. */
void outbody_check(struct outbody *c, struct outchecks *o);
/* All of it at once, length at most OUTBODY_MEMORY_MAX; room for head octets in front is the caller's. */
enum { OUTBODY_MEMORY_MAX = 256 * 1024 };
/* "BDAT n LAST" and the content; not with checks that may have to wait. */
enum rc outbody_put_bdat(struct outbody *c, struct buf *out, struct err *e) MUST_CHECK;
/* The next piece for DATA; with the last one the final dot, and *end_out set. RC_NONE: a table has to be waited for (map_asked());
 * out may have grown; the next call goes on. */
enum rc outbody_put_data(struct outbody *c, struct buf *out, bool *end_out, struct err *e) MUST_CHECK;

#endif
