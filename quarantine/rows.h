/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rows.h - what the index says of messages: inside the writer's transaction.
 *
 * A file (a view of it) is what rows are made from, whether it has just been written or is found again after a loss.
 */
#ifndef QUARANTINE_ROWS_H
#define QUARANTINE_ROWS_H

#include "quarantine/db.h"
#include "quarantine/record.h"

enum { ROWS_TEXT_RCPT = 200 };   /* recipients whose words are found by text */

/* Number of a message's row. RC_NONE: it has none (n_out: a free one). */
enum rc rows_find(struct qdb *d, const struct spool_id *id, uint64_t *n_out, struct err *e) MUST_CHECK;
/* h: v->env.held, read; NULL: read it here (RC_PERM: it cannot be). bytes: of the file. */
enum rc rows_insert(struct qdb *d, uint64_t n, const struct qview *v, const struct held *h, uint64_t bytes, struct err *e) MUST_CHECK;
/* Recipients the file has and the row has not are added; states the file knows better are taken over. *changed_out: any. */
enum rc rows_merge(struct qdb *d, uint64_t n, const struct qview *v, bool repair, bool *changed_out, struct err *e) MUST_CHECK;
/* What a note says, for the recipients it names; one who is added gets a row. */
enum rc rows_set(struct qdb *d, uint64_t n, const struct qnote *note, struct err *e) MUST_CHECK;
/* Row, recipients and attachments go, the file's name is kept until the file is gone. */
enum rc rows_delete(struct qdb *d, uint64_t n, const struct spool_id *id, struct err *e) MUST_CHECK;
/* All recipients, with texts in the arena. cap: at most so many. */
enum rc rows_rcpt(struct qdb *d, uint64_t n, struct arena *a, uint32_t cap, struct quar_rcpt **out, uint32_t **numbers_out, uint32_t *count_out,
    struct err *e) MUST_CHECK;
/* How far a recipient in a state has come. */
unsigned rows_rank(enum quar_state s);
/* Is there a recipient that is being released? / one that is not deleted? RC_NONE: no. */
enum rc rows_is(struct qdb *d, enum qdb_statement which, uint64_t n, struct err *e) MUST_CHECK;

#endif
