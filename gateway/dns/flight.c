/* SPDX-License-Identifier: BSD-2-Clause */
#include "dns/flight.h"

#include "base/mem.h"
#include "base/metric.h"
#include "dns/cache.h"

enum { YOUNG_MAX = 128, YOUNG_USEC = 5 * 1000 };

void
dns_line_init(struct dns_line *l, void (*look_again)(struct timer *t))
{
	list_init(&l->line);
	list_init(&l->ahead);
	list_init(&l->young);
	list_init(&l->odd);
	timer_init(&l->more, look_again);
}

struct dns_flight *
dns_line_first(const struct dns_line *l)
{
	const struct list *from = list_empty(&l->line) ? &l->ahead : &l->line;
	return list_empty(from) ? NULL : list_entry(from->next, struct dns_flight, line);
}

void
dns_line_look_again(struct dns_line *l)
{
	if (l->waiting > 0 && l->n_young >= YOUNG_MAX)
		timer_set(&l->more, YOUNG_USEC);
}

struct dns_flight *
dns_flight_find(const struct dns_line *l, const struct dns_pool *pool, enum dns_type type, struct span name)
{
	for (struct hnode *n = htab_first(&l->flights, dns_key_hash(type, name)); n != NULL; n = htab_next(n)) {
		struct dns_flight *f = container_of(n, struct dns_flight, by_key);
		bool is_current = f->pool == NULL || f->pool == pool;
		if (f->type == type && is_current && !f->is_forgotten && span_caseeq(span_of(f->name, f->name_len), name))
			return f;
	}
	return NULL;
}

struct dns_flight *
dns_flight_new(struct dns_line *l, enum dns_type type, struct span name)
{
	struct dns_flight *f = mem_zalloc(sizeof *f + name.n);
	f->type = (uint16_t)type;
	f->began = loop_now();
	f->ttl = DNS_TTL_MAX;
	f->name_len = (uint8_t)name.n; /* askable(): it fits into 255 */
	memcpy(f->name, name.p, name.n);
	list_init(&f->waiters);
	list_init(&f->line);
	htab_insert(&l->flights, &f->by_key, dns_key_hash(type, name));
	return f;
}

void
dns_flight_enter_line(struct dns_line *l, struct dns_flight *f, bool ahead)
{
	if (list_empty(&l->line) && list_empty(&l->ahead))
		timer_set(&l->more, YOUNG_USEC);
	f->is_ahead = ahead;
	list_append(ahead ? &l->ahead : &l->line, &f->line);
	metric_set(M_dns_waiting, ++l->waiting);
}

void
dns_flight_leave_line(struct dns_line *l, struct dns_flight *f)
{
	list_remove(&f->line);
	l->waiting--;
	metric_set(M_dns_waiting, l->waiting);
}

void
dns_flight_leaves(struct dns_line *l, struct dns_flight *f)
{
	f->launched = loop_now();
	f->is_young = true;
	list_append(&l->young, &f->line);
	l->n_young++;
	l->flying++;
	metric_set(M_dns_flying, l->flying);
}

void
dns_flight_not_young(struct dns_line *l, struct dns_flight *f)
{
	if (!f->is_young)
		return;
	f->is_young = false;
	list_remove(&f->line);
	l->n_young--;
}

void
dns_flight_orphan(struct dns_try **t)
{
	if (*t != NULL)
		(*t)->owner = NULL;
	*t = NULL;
}

void
dns_flight_free(struct dns_line *l, struct dns_flight *f)
{
	if (dns_flight_in_line(f)) {
		dns_flight_leave_line(l, f);
	} else {
		dns_flight_not_young(l, f);
		list_remove(&f->line);
		l->flying--;
		l->late -= f->is_late;
		metric_set(M_dns_flying, l->flying);
	}
	dns_flight_orphan(&f->by_udp);
	dns_flight_orphan(&f->by_tcp);
	htab_remove(&l->flights, &f->by_key);
	mem_free(&f->alias);
	mem_free(&f);
}

bool
dns_line_has_room(struct dns_line *l, unsigned query_limit)
{
	while (!list_empty(&l->young)) {
		struct dns_flight *f = list_entry(l->young.next, struct dns_flight, line);
		if (loop_now() - f->launched < YOUNG_USEC)
			break;
		dns_flight_not_young(l, f);
	}
	return l->n_young < YOUNG_MAX && l->flying - l->late + l->late / 4 < query_limit;
}

struct span
dns_flight_asked(const struct dns_flight *f)
{
	return f->alias != NULL ? span_str(f->alias) : span_of(f->name, f->name_len);
}
