/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * wire.h - what the milter side of dogana-attachments asks a worker about a message, and what it hears. Both sides of one program;
 * the worker has read what strangers sent, so its answers are read as such.
 */
#ifndef ATTACHMENTS_WIRE_H
#define ATTACHMENTS_WIRE_H

#include "filters/attachment_rules.h"

enum { WIRE_ANSWER_MAX = 128 * 1024, WIRE_LINES = 20, WIRE_TEXT_MAX = 1024 };

/* A question is a file: this block, then the message. */
struct wire_question {
	struct attachment_case about;
	struct span queue_id;
	uint64_t header_len;         /* octets of the message up to the body */
	struct span message;
};
void wire_put_question(struct buf *b, const struct wire_question *q); /* all but the message, which follows */
/* rcpts of about are in the arena, all else points into in. */
enum rc wire_get_question(struct span in, struct arena *a, struct wire_question *out) MUST_CHECK;

/* What is to be done with a message. */
enum wire_outcome { WIRE_PASS = 0, WIRE_TAG, WIRE_STRIP, WIRE_QUARANTINE, WIRE_REJECT, WIRE_LATER };

struct wire_answer {
	enum wire_outcome outcome;
	bool replaces_top;           /* WIRE_STRIP: the message was the attachment: its Content-* headers become those of a text */
	bool top_is_qp;
	struct span header;          /* value of X-Attachment-Status: tag, strip */
	struct span reason;          /* of the quarantine: strip, quarantine; of a reply: reject; for the log: later */
	struct span body;            /* WIRE_STRIP: the new body; it comes in a file of its own, not in the encoding */
	struct span lines[WIRE_LINES]; /* for the log, one for each part that is not allowed */
	size_t nlines;
};
void wire_put_answer(struct buf *b, const struct wire_answer *a);
enum rc wire_get_answer(struct span in, struct wire_answer *out) MUST_CHECK;

#endif
