/* SPDX-License-Identifier: BSD-2-Clause */
#include "queue/passes.h"

#include "base/clock.h"
#include "base/metric.h"

enum { BURY_SLICE = 500, BURY_SOON_USEC = 10 * 1000, KEY_OCTETS = 17, VALUE_OCTETS = 8 * TRIAGE_TESTS };

struct key {
	unsigned char p[KEY_OCTETS];
};

static struct span
key_of(struct key *k, const struct ipaddr *a)
{
	k->p[0] = a->family;
	memcpy(k->p + 1, a->b, sizeof a->b);
	return span_of(k->p, a->family == IPADDR_V4 ? 5 : KEY_OCTETS);
}

static void
on_timer(struct timer *t)
{
	struct passes *p = container_of(t, struct passes, timer);
	bool more = store_bury(p->store, BURY_SLICE);
	metric_set(M_triage_known, (int64_t)store_count(p->store));
	timer_set(t, more ? BURY_SOON_USEC : p->cleanup_usec);
}

enum rc
passes_open(struct passes *p, const char *directory, size_t max_bytes, uint64_t cleanup_usec, struct err *e)
{
	timer_init(&p->timer, on_timer);
	p->cleanup_usec = cleanup_usec;
	enum rc rc = store_open(directory, "passes", max_bytes, &p->store, e);
	if (rc == RC_OK)
		metric_set(M_triage_known, (int64_t)store_count(p->store));
	if (rc == RC_OK && cleanup_usec > 0)
		timer_set(&p->timer, cleanup_usec);
	return rc;
}

void
passes_close(struct passes *p)
{
	if (p->store == NULL)
		return;
	timer_clear(&p->timer);
	store_close(&p->store);
}

struct msg_triage_found
passes_find(struct passes *p, const struct ipaddr *addr)
{
	struct msg_triage_found out = { 0 };
	struct key k;
	struct span v;
	uint64_t dies;
	if (p->store == NULL || store_get(p->store, key_of(&k, addr), &v, &dies) != RC_OK)
		return out;
	struct cur c = cur_of(v);
	for (int i = 0; i < TRIAGE_TESTS; i++)
		out.until[i] = cur_u64(&c);
	out.known = cur_done(&c);
	return out;
}

void
passes_keep(struct passes *p, const struct msg_triage *m)
{
	struct msg_triage_found old = passes_find(p, &m->addr);
	struct key k;
	struct buf b;
	uint64_t last = 0;
	if (p->store == NULL)
		return;
	buf_init(&b, VALUE_OCTETS);
	for (int i = 0; i < TRIAGE_TESTS; i++) {
		uint64_t until = old.known && old.until[i] > m->until[i] ? old.until[i] : m->until[i];
		last = until > last ? until : last;
		buf_put_u64(&b, until);
	}
	/* a row that could not be kept: the client is tested again */
	(void)!store_put(p->store, key_of(&k, &m->addr), buf_span(&b), (last + m->keep) * USEC_PER_SEC);
	buf_fini(&b);
	metric_set(M_triage_known, (int64_t)store_count(p->store));
}
