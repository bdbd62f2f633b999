/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * attachments.h - what the index says of a message's attachments: name, declared type, decoded size, SHA-256. Inside the writer's transaction;
 * reading also from the reader.
 *
 * A part is one when it has a file name, or is no text and no message; a multipart never is. They are remembered as struct held_part: is_summed
 * says whether there is a sum, at and length are of the file alone. The first ATTACHMENTS_MAX of a message; of a name the first
 * ATTACHMENT_NAME_MAX octets are searched.
 */
#ifndef QUARANTINE_ATTACHMENTS_H
#define QUARANTINE_ATTACHMENTS_H

#include "quarantine/db.h"

enum { ATTACHMENTS_MAX = 64, ATTACHMENT_NAME_MAX = 255 };

struct attachments {
	uint32_t n;
	struct held_part part[ATTACHMENTS_MAX];  /* texts: borrowed, or in the arena */
	uint32_t number[ATTACHMENTS_MAX];        /* of the part in the message */
	bool is_owed[ATTACHMENTS_MAX];           /* its sum is still to be made */
};

bool attachment_is(const struct held_part *p);
/* Those of a message; borrows its texts. Owed: all that have no sum. */
void attachments_of(struct attachments *a, const struct held_part *parts, uint32_t n);

/* For a message that has no rows of this kind. */
enum rc attachments_insert(struct qdb *d, uint64_t n, const struct attachments *a, struct err *e) MUST_CHECK;
/* As the index has them. n 0: none. */
enum rc attachments_get(struct qdb *d, uint64_t n, struct arena *arena, struct attachments *out, struct err *e) MUST_CHECK;
/* The sum of one that is owed; without is_summed there can be none. One that is gone meanwhile: nothing. */
enum rc attachments_set_sum(struct qdb *d, uint64_t n, uint32_t number, const struct held_part *p, struct err *e) MUST_CHECK;
enum rc attachments_delete(struct qdb *d, uint64_t n, struct err *e) MUST_CHECK;
/* The first message behind after with a sum that is owed. RC_NONE: nobody. */
enum rc attachments_owed(struct qdb *d, uint64_t after, uint64_t *n_out, struct spool_id *id_out, struct err *e) MUST_CHECK;

/* A filter of 64 hexadecimal digits is a sum: true, and its octets. */
bool attachment_is_sum(struct span filter, unsigned char sha256[32]);

#endif
