/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * strip.h - a message without some of its parts: a note in the place of each, every other octet as it was.
 */
#ifndef ATTACHMENTS_STRIP_H
#define ATTACHMENTS_STRIP_H

#include "filters/attachment_conf.h"
#include "filters/attachments/search.h"

/* Why one goes, for the note. */
struct strip_why {
	uint32_t part;               /* a part of the message, or a file in its text */
	struct span name, reason, rule, queue_id, sender;
	uint64_t size;
};

struct stripped {
	bool replaces_top;           /* the message itself is the note now: Content-* headers of its own go */
	bool top_is_qp;              /* its body is quoted-printable then, else plain ASCII */
};

/* header_len: octets of the message before the body. The new body is appended to out. RC_NONE: these parts cannot be taken out. */
enum rc strip_parts(const struct search *s, size_t header_len, const struct attachment_conf *ac, const struct strip_why *whys, size_t n,
    struct buf *out, struct stripped *how) MUST_CHECK;

#endif
