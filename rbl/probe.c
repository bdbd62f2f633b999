/* SPDX-License-Identifier: BSD-2-Clause */
/* Questions of our own about a list: RFC 5782 section 5, and signs of life. */
#include "base/clock.h"
#include "base/rand.h"
#include "rbl/list.h"
#include "rbl/row.h"

#include <arpa/inet.h>

enum { MUST = 0, MUST_NOT = 1, QUERY_MAX = 300 };

/* Around t, so that many processes do not ask at once: three quarters to five quarters of it. */
static uint64_t
about(uint64_t t)
{
	uint32_t half = t / 2 < UINT32_MAX ? (uint32_t)(t / 2) : UINT32_MAX;
	return t - half / 2 + (half > 0 ? rand_below(half) : 0);
}

/* ---- what is asked ---- */

/* Some octets of 127/8 besides those that mean something; a label that is nobody's. */
static void
put_random(struct buf *b, const struct rbl_row *r)
{
	static const char hex[] = "0123456789abcdef";
	unsigned char dice[8];
	rand_bytes(dice, sizeof dice);
	if (r->kind == RBL_ADDRESSES) {
		const struct ipaddr a = { IPADDR_V4, { 127, (unsigned char)(1 + dice[0] % 254), dice[1], dice[2] } };
		rbl_addr_query(row_domain(r), &a, b);
		return;
	}
	buf_puts(b, "x");
	for (size_t i = 0; i < sizeof dice; i++)
		buf_putc(b, (unsigned char)hex[dice[i] & 15]);
	buf_puts(b, ".invalid.");
	buf_put(b, row_domain(r));
}

static void
put_entry(struct buf *b, const struct rbl_row *r, unsigned which)
{
	if (r->kind == RBL_ADDRESSES) {
		const struct ipaddr a = { IPADDR_V4, { 127, 0, 0, which == MUST ? 2 : 1 } };
		rbl_addr_query(row_domain(r), &a, b);
		return;
	}
	buf_puts(b, which == MUST ? "test." : "invalid.");
	buf_put(b, row_domain(r));
}

/* ---- what it says ---- */

static void
put_answer(struct buf *b, const struct dns_answer *a)
{
	char text[INET_ADDRSTRLEN];
	for (unsigned i = 0; i < a->n && i < 4; i++) {
		buf_puts(b, i > 0 ? ", " : "");
		buf_puts(b, inet_ntop(AF_INET, &a->rr[i].addr.a, text, sizeof text) != NULL ? text : "?");
	}
	if (a->n > 4)
		buf_puts(b, ", ...");
}

/* As a list without a filter would take it: what is outside 127.0.0.0/8 comes from somebody else. */
static enum rbl_meaning
meaning(const struct rbl_row *r, unsigned i)
{
	const struct rbl_list any = { .has_filter = false };
	return r->probe_said[i] == RBL_SAID_YES ? rbl_list_judge(&any, r->probe[i].answer, NULL) : RBL_NOT_LISTED;
}

static bool
answered(const struct rbl_row *r, unsigned i)
{
	return r->probe_said[i] == RBL_SAID_YES || r->probe_said[i] == RBL_SAID_NO;
}

static void
fails(struct rbl_row *r, unsigned which, const char *what, const char *meaning)
{
	struct buf b, name;
	buf_init(&b, WHY_MAX);
	buf_init(&name, QUERY_MAX);
	put_entry(&name, r, which);
	buf_put(&b, buf_span(&name));
	buf_puts(&b, what);
	if (r->probe[which].answer->n > 0) {
		buf_puts(&b, " (");
		put_answer(&b, r->probe[which].answer);
		buf_puts(&b, ")");
	}
	buf_puts(&b, ": ");
	buf_puts(&b, meaning);
	rbl_row_set(r, RBL_OUT, buf_cstr(&b));
	buf_fini(&b);
	buf_fini(&name);
}

/* RFC 5782. What could not be asked proves nothing. */
static void
judge_entries(struct rbl_row *r)
{
	enum rbl_meaning must = meaning(r, MUST), must_not = meaning(r, MUST_NOT);
	r->is_unsure = !answered(r, MUST) || !answered(r, MUST_NOT);
	if (must == RBL_REFUSES || must_not == RBL_REFUSES)
		fails(r, must == RBL_REFUSES ? MUST : MUST_NOT, " is answered", "the list refuses us, as for too many questions or the wrong resolver");
	else if (must_not == RBL_LISTED)
		fails(r, MUST_NOT, " is listed and must not be", "the list lists everybody");
	else if (must == RBL_FOREIGN)
		fails(r, MUST, " is answered", "no list says that; the domain may have been given up");
	else if (answered(r, MUST) && must == RBL_NOT_LISTED)
		fails(r, MUST, " is not listed and must be", "the list is empty or gone");
	else if (must == RBL_LISTED && answered(r, MUST_NOT))
		rbl_row_set(r, RBL_USABLE, "");
}

/* Any answer is one, but for "I do not answer you". */
static void
judge_life(struct rbl_row *r)
{
	bool lives = false;
	for (unsigned i = 0; i < r->probe_count; i++)
		lives |= answered(r, i) && meaning(r, i) != RBL_REFUSES;
	if (!lives || r->state == RBL_USABLE)
		return;
	if (r->is_excepted || rbl_settings_now()->probe_interval == 0)
		rbl_row_set(r, RBL_USABLE, "");
	else
		rbl_probe_start(r, PROBE_ENTRIES, rbl_settings_now()->timeout, loop_now()); /* and is it still itself? */
}

/* ---- asking ---- */

static void
probe_over(struct rbl_row *r)
{
	enum probe_kind kind = r->probing;
	r->probing = PROBE_NONE;
	if (kind == PROBE_ENTRIES)
		judge_entries(r);
	else
		judge_life(r);
	for (unsigned i = 0; i < PROBE_QUESTIONS && r->probing == PROBE_NONE; i++)
		dns_query_fini(&r->probe[i]);
	if (kind == PROBE_ENTRIES)
		rbl_row_proven(r);
	if (r->probing == PROBE_NONE)
		rbl_probe_later(r);
}

static void
on_probed(struct op *op)
{
	struct dns_query *q = container_of(op, struct dns_query, op);
	struct rbl_row *r = container_of(op->owner, struct rbl_row, probe_ops);
	unsigned i = (unsigned)(q - r->probe);
	r->probe_said[i] = rbl_said_of(op->rc, q->answer);
	r->probed_usec = loop_now() - r->probe_began;
	r->probe_pending--;
	if (r->probe_said[i] == RBL_SAID_TIMEOUT)
		rbl_row_heard(r, RBL_SAID_TIMEOUT, q->answer, r->probed_usec); /* it counts as any other */
	if (r->probe_pending == 0)
		probe_over(r);
}

void
rbl_probe_start(struct rbl_row *r, enum probe_kind kind, uint64_t timeout, uint64_t since)
{
	unsigned count = PROBE_QUESTIONS;
	if (kind == PROBE_LIFE && r->state != RBL_USABLE)
		count = 1; /* it is known to be ill: one is enough */
	rbl_probe_stop(r);
	r->probing = kind;
	r->probe_began = since;
	r->probe_count = r->probe_pending = count;
	for (unsigned i = 0; i < count; i++) {
		struct buf name;
		buf_init(&name, QUERY_MAX);
		if (kind == PROBE_ENTRIES)
			put_entry(&name, r, i);
		else
			put_random(&name, r);
		r->probe_said[i] = RBL_SAID_NOTHING;
		dns_forget(DNS_A, buf_span(&name));
		dns_query_init(&r->probe[i], &r->probe_ops, on_probed);
		dns_ask(&r->probe[i], DNS_A, buf_span(&name), timeout);
		buf_fini(&name);
	}
}

static void
on_next(struct timer *t)
{
	struct rbl_row *r = container_of(t, struct rbl_row, next);
	bool entries = !r->is_excepted && rbl_settings_now()->probe_interval > 0;
	rbl_probe_start(r, entries && r->state != RBL_PAUSED ? PROBE_ENTRIES : PROBE_LIFE, rbl_settings_now()->timeout,
	    loop_now());
}

void
rbl_probe_later(struct rbl_row *r)
{
	const struct rbl_settings *s = rbl_settings_now();
	uint64_t wait = s->probe_interval;
	timer_clear(&r->next);
	if (r->state != RBL_USABLE) {
		uint64_t limit = r->state == RBL_OUT && s->probe_interval > s->pause_limit ? s->probe_interval : s->pause_limit;
		wait = r->pause < limit ? r->pause : limit;
		r->pause = wait < limit / 2 ? wait * 2 : limit;
	} else if (r->is_excepted) {
		wait = 0;
	} else if (r->is_unsure && wait > s->pause_limit) {
		wait = s->pause_limit;
	}
	if (wait == 0)
		return;
	timer_init(&r->next, on_next);
	timer_set(&r->next, about(wait));
}

void
rbl_probe_stop(struct rbl_row *r)
{
	timer_clear(&r->next);
	for (unsigned i = 0; i < PROBE_QUESTIONS; i++)
		dns_query_fini(&r->probe[i]);
	r->probing = PROBE_NONE;
	r->probe_pending = 0;
}
