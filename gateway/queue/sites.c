/* SPDX-License-Identifier: BSD-2-Clause */
#include "queue/sites.h"

#include "base/clock.h"
#include "base/mem.h"
#include "queue/orders.h"
#include "queue/sched.h"

enum { SLICE = 200, DOMAIN_MAX = 255 };

struct site {
	struct list link;
	struct queue *q;
	struct message_walker walk;
	struct timer timer;
	bool rests;                      /* the walk is over; here so that the next one waits */
	size_t n;
	unsigned char domain[DOMAIN_MAX];
};

static void
site_end(struct site *s)
{
	if (!s->rests)
		message_walk_end(&s->walk);
	timer_clear(&s->timer);
	list_remove(&s->link);
	mem_free(&s);
}

static void
on_turn(struct timer *t)
{
	struct site *s = container_of(t, struct site, timer);
	if (s->rests) {
		site_end(s);
		return;
	}
	for (int i = 0; i < SLICE; i++) {
		struct message *m = message_next(&s->q->table, &s->walk);
		if (m == NULL) {
			message_walk_end(&s->walk);
			s->rests = true;
			timer_set(t, SITE_REST_USEC);
			sched_poke(s->q);
			return;
		}
		if (order_goes_to(m, span_of(s->domain, s->n)))
			order_flush(s->q, m);
	}
	timer_set(t, 0);
	sched_poke(s->q);
}

bool
sites_flush(struct queue *q, struct span domain)
{
	unsigned count = 0;
	if (domain.n == 0 || domain.n > DOMAIN_MAX)
		return false;
	list_each(l, &q->sites) {
		struct site *s = list_entry(l, struct site, link);
		if (span_caseeq(span_of(s->domain, s->n), domain))
			return true;
		count++;
	}
	if (count >= SITES_MAX)
		return false;
	struct site *s = mem_zalloc(sizeof *s);
	s->q = q;
	s->n = domain.n;
	memcpy(s->domain, domain.p, domain.n);
	list_init(&s->link);
	list_append(&q->sites, &s->link);
	message_walk(&q->table, &s->walk);
	timer_init(&s->timer, on_turn);
	timer_set(&s->timer, 0);
	return true;
}

void
sites_fini(struct queue *q)
{
	list_each(l, &q->sites)
		site_end(list_entry(l, struct site, link));
}
