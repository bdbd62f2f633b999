/* SPDX-License-Identifier: BSD-2-Clause */
#include "queue/state.h"

#include "base/mem.h"

enum { VERSION = 1, HELD = 1, TRIED = 2, HAS_REASON = 16, STATUS_BITS = 15 };

/* Reasons are written once each and then named by number: one of the newest few. */
enum { LOOK_BACK = 8 };
struct seen {
	struct reason *r[LOOK_BACK];
	uint32_t n;
};

/* Its number, or a new one. */
static uint32_t
number_of(struct seen *s, struct reason *r, bool *is_new_out)
{
	*is_new_out = false;
	for (uint32_t i = s->n; i > 0 && i + LOOK_BACK > s->n; i--)
		if (s->r[(i - 1) % LOOK_BACK] == r)
			return i - 1;
	*is_new_out = true;
	s->r[s->n % LOOK_BACK] = r;
	return s->n++;
}

void
state_put(struct buf *out, const struct state_head *h, struct message *m)
{
	buf_put_u8(out, VERSION);
	buf_put_u8(out, (uint8_t)((h->held ? HELD : 0) | (h->tried ? TRIED : 0)));
	buf_put_u8(out, h->flags & MF_DURABLE);
	buf_put_u8(out, h->strikes);
	buf_put_u64(out, h->next_attempt);
	buf_put_u32(out, m->nrcpt);
	struct seen seen = { .n = 0 };
	const uint8_t *status = message_status(m);
	for (uint32_t i = 0; i < m->nrcpt; i++) {
		struct reason *r = status[i] != RS_FINISHED ? m->why[i] : NULL;
		buf_put_u8(out, (uint8_t)(status[i] | (r != NULL ? HAS_REASON : 0)));
		if (r == NULL)
			continue;
		bool is_new;
		buf_put_u32(out, number_of(&seen, r, &is_new));
		if (!is_new)
			continue;
		buf_put_block(out, reason_dsn(r));
		buf_put_block(out, reason_text(r));
		buf_put_block(out, reason_mta(r));
		buf_put_block(out, reason_diag(r));
	}
}

/* The reason that stands next in the encoding, as a new reference; NULL and bad when there is none. */
static struct reason *
get_reason(struct cur *rd, struct reason_pool *pool, struct seen *seen)
{
	uint32_t number = cur_u32(rd);
	if (rd->bad || number > seen->n || (number < seen->n && number + LOOK_BACK < seen->n)) {
		rd->bad = true;
		return NULL;
	}
	if (number < seen->n) /* kept alive by the recipient that had it first */
		return reason_ref(seen->r[number % LOOK_BACK]);
	struct span dsn = cur_block(rd), text = cur_block(rd), mta = cur_block(rd), diag = cur_block(rd);
	if (rd->bad)
		return NULL;
	struct reason *r = reason_get(pool, dsn, text, mta, diag);
	seen->r[seen->n++ % LOOK_BACK] = r;
	return r;
}

enum rc
state_get(struct span in, struct state_head *head_out, struct message_table *t, struct message *m)
{
	struct cur rd = cur_of(in);
	if (cur_u8(&rd) != VERSION)
		return RC_PERM;
	uint8_t bits = cur_u8(&rd);
	struct state_head h = { .held = (bits & HELD) != 0, .tried = (bits & TRIED) != 0 };
	h.flags = cur_u8(&rd);
	h.strikes = cur_u8(&rd);
	h.next_attempt = cur_u64(&rd);
	uint32_t n = cur_u32(&rd);
	if (rd.bad || (bits & ~(HELD | TRIED)) != 0 || (h.flags & ~MF_DURABLE) != 0 || n != m->nrcpt || cur_left(&rd) < n)
		return RC_PERM;
	uint8_t *status = mem_alloc(n);
	struct reason **why = mem_calloc(n, sizeof(struct reason *));
	struct seen seen = { .n = 0 };
	for (uint32_t i = 0; i < n && !rd.bad; i++) {
		uint8_t v = cur_u8(&rd);
		status[i] = v & STATUS_BITS;
		if (status[i] >= RS_STATES || (v & ~(STATUS_BITS | HAS_REASON)) != 0)
			rd.bad = true;
		else if (v & HAS_REASON)
			why[i] = get_reason(&rd, &t->reasons, &seen);
	}
	bool good = cur_done(&rd);
	for (uint32_t i = 0; i < n; i++) {
		if (good) {
			message_set_status(m, i, (enum rcpt_state)status[i]);
			message_set_why(t, m, i, why[i]);
		} else {
			reason_unref(&t->reasons, &why[i]);
		}
	}
	mem_free(&status);
	mem_free(&why);
	if (good)
		*head_out = h;
	return good ? RC_OK : RC_PERM;
}
