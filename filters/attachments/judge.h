/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * judge.h - what is to be done with a message: the rules asked about everything the search found, the strictest answer, and for
 * strip the new body, which has been read again: a message that still has what had to go is held instead.
 */
#ifndef ATTACHMENTS_JUDGE_H
#define ATTACHMENTS_JUDGE_H

#include "filters/attachment_conf.h"
#include "filters/attachments/search.h"
#include "filters/attachments/wire.h"

struct judge {
	const struct attachment_conf *conf;
	struct search_limits limits;
};

void judge_init(struct judge *j, const struct conf *c, const struct attachment_conf *ac);
/* Texts of the answer are in room (reset first), the new body in body (reset first). */
void judge_message(const struct judge *j, const struct wire_question *q, struct arena *room, struct buf *body, struct wire_answer *out);
/* One that cannot be read, without looking at it again: it has ended workers before, or takes too long. why: for people. */
void judge_unreadable(const struct judge *j, struct span why, struct arena *room, struct wire_answer *out);

#endif
