/* SPDX-License-Identifier: BSD-2-Clause */
#include "policy/verify_sender.h"

#include "base/clock.h"

enum { SENDER_MAX = 1024 };

/* The sender of a period of time; without a ttl there is one for all. */
static void
put_period(const struct params *p, uint64_t period, struct buf *out)
{
	struct span s = span_trim(span_str(p->p_address_verify_sender));
	if (s.n == 0 || span_eq_str(s, "<>"))
		return;
	size_t at = span_rchr(s, '@');
	buf_put(out, span_head(s, at));
	if (p->p_address_verify_sender_ttl > 0) { /* letters without vowels: no words come out */
		static const char letters[] = "bcdfghjklmnpqrstvwxyz";
		uint64_t left = period;
		do
			buf_putc(out, (unsigned char)letters[left % (sizeof letters - 1)]);
		while ((left /= sizeof letters - 1) > 0);
	}
	buf_putc(out, '@');
	buf_put(out, at == SIZE_MAX ? span_str(p->p_myorigin) : span_from(s, at + 1));
}

static uint64_t
period_of(const struct params *p, uint64_t wall_usec)
{
	uint64_t ttl = p->p_address_verify_sender_ttl;
	return ttl > 0 ? wall_usec / ttl : 0;
}

void
verify_sender_put(const struct params *p, uint64_t wall_usec, struct buf *out)
{
	put_period(p, period_of(p, wall_usec), out);
}

bool
verify_sender_is(const struct params *p, struct span addr, uint64_t wall_usec)
{
	uint64_t now = period_of(p, wall_usec);
	bool found = false;
	struct buf b;
	buf_init(&b, SENDER_MAX);
	for (uint64_t back = 0; back < 2 && back <= now && !found; back++) {
		buf_reset(&b);
		put_period(p, now - back, &b);
		found = buf_len(&b) > 0 && span_caseeq(buf_span(&b), addr);
	}
	buf_fini(&b);
	return found;
}
