/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * reason.h - why a recipient is where it is: status code, text, remote name and the remote's own words.
 *
 * Interned and counted: a hundred thousand messages that wait for one hub share one reason. The remote
 * name and words are mostly parts of the text and then cost nothing.
 */
#ifndef QUEUE_REASON_H
#define QUEUE_REASON_H

#include "base/htab.h"
#include "base/span.h"

enum { REASON_MAX = 600 };       /* of each part; longer is cut */

struct reason {
	struct hnode by_text;
	int32_t refs;
	uint16_t dsn_len, text_len;
	uint16_t mta_at, mta_len;    /* places in bytes */
	uint16_t diag_at, diag_len;
	unsigned char bytes[];       /* dsn, text, and what is not part of the text */
};

struct reason_pool {
	struct htab by_text;
};

/* Outside bytes: controls and bytes that are no UTF-8 are replaced. A dsn that is not d.d.d becomes "4.0.0" .
 * Holds a reference for the caller. */
struct reason *reason_get(struct reason_pool *p, struct span dsn, struct span text, struct span mta, struct span diag);
struct reason *reason_ref(struct reason *r);                    /* NULL is fine */
void reason_unref(struct reason_pool *p, struct reason **rp);   /* NULL inside is fine */
void reason_pool_fini(struct reason_pool *p);                   /* all references must be gone */

static inline struct span
reason_dsn(const struct reason *r)
{
	return span_of(r->bytes, r->dsn_len);
}

static inline struct span
reason_text(const struct reason *r)
{
	return span_of(r->bytes + r->dsn_len, r->text_len);
}

static inline struct span
reason_mta(const struct reason *r)
{
	return span_of(r->bytes + r->mta_at, r->mta_len);
}

static inline struct span
reason_diag(const struct reason *r)
{
	return span_of(r->bytes + r->diag_at, r->diag_len);
}

/* Enhanced status code: class 2, 4 or 5, and two numbers of up to three digits. */
bool dsn_code_valid(struct span dsn);

#endif
