/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * survey.h - what people want to know of a message that is held: subject, from, message-id, and its parts with their names and where they
 * are (partsum.h makes sums of them). On the walker of msg/mime.h: incremental, linear, bounded memory; texts are clean (msg/words.h).
 *
 *	survey_init(&s); while (...) survey_put(&s, piece); survey_end(&s); ... s.parts ...; survey_fini(&s);
 */
#ifndef MSG_SURVEY_H
#define MSG_SURVEY_H

#include "msg/held.h"
#include "msg/mime.h"
#include "msg/words.h"

enum { SURVEY_NESTING = 100 };

struct survey {
	struct buf subject, from, message_id;    /* of the message's own header; the first of each */
	struct held_part *parts;                 /* heap; at most HELD_PARTS_MAX, in order. Texts in the arena */
	uint32_t nparts, cap;
	uint32_t left_out;                       /* parts beyond that: not listed, but read */
	/* private */
	struct mime_reader reader;
	struct arena arena;
	struct span type, name;                  /* of the header at hand; in the arena */
	bool has_subject, has_from, has_id, name_is_file;
	uint64_t at;                             /* octets looked at */
	bool in_part, last_cr;
	uint8_t line_end;                        /* octets of the line end the body has ended with: the boundary's, if one follows */
	uint32_t depth_of[SURVEY_NESTING + 2];   /* of the multipart at each level */
	uint32_t last_depth;
};

void survey_init(struct survey *s);
void survey_put(struct survey *s, struct span piece);
void survey_end(struct survey *s);
void survey_fini(struct survey *s);              /* idempotent; fine on zeroed memory */

#endif
