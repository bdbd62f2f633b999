/* SPDX-License-Identifier: BSD-2-Clause */
#include "queue/greylist.h"

#include "base/clock.h"
#include "base/ipaddr.h"
#include "base/log.h"
#include "base/metric.h"

#include <openssl/sha.h>

enum { KEY_OCTETS = 1 + 20, BURY_SLICE = 500, BURY_USEC = 60 * 1000 * 1000, BURY_SOON_USEC = 10 * 1000, REFRESH_PART = 16 };

struct key {
	unsigned char p[KEY_OCTETS];
};

/* Secret-free: whoever can write rows of his own choice gains nothing by two that are the same. */
static void
make_key(struct key *k, char kind, struct span a, struct span b, struct span c)
{
	unsigned char digest[SHA256_DIGEST_LENGTH];
	const struct span parts[] = { a, b, c };
	struct buf text;
	buf_init(&text, 4 * GREYLIST_TEXT_MAX);
	for (size_t i = 0; i < NELEMS(parts); i++)
		buf_put_block(&text, parts[i]);
	struct span s = buf_span(&text);
	(void)SHA256(s.p, s.n, digest);
	k->p[0] = (unsigned char)kind;
	memcpy(k->p + 1, digest, KEY_OCTETS - 1);
	buf_fini(&text);
}

static struct span
key_span(const struct key *k)
{
	return span_of(k->p, KEY_OCTETS);
}

/* ---- rows ---- */

struct triplet {
	uint64_t first;                  /* wall clock, usec */
	bool came_again;
};

struct client {
	uint32_t passed;                 /* triplets that came again, as counted */
	uint32_t waited_for;             /* triplets that have not yet */
	uint64_t counted;                /* when the last one was */
	uint64_t since;                  /* the first of those waited for */
};

static bool
get_triplet(struct greylist *g, const struct key *k, struct triplet *out, uint64_t *dies)
{
	struct span v;
	if (store_get(g->store, key_span(k), &v, dies) != RC_OK)
		return false;
	struct cur c = cur_of(v);
	out->first = cur_u64(&c);
	out->came_again = cur_u8(&c) == 1;
	return cur_done(&c);
}

static enum rc
put_triplet(struct greylist *g, const struct key *k, const struct triplet *t, uint64_t dies)
{
	struct buf b;
	buf_init(&b, 16);
	buf_put_u64(&b, t->first);
	buf_put_u8(&b, t->came_again);
	enum rc rc = store_put(g->store, key_span(k), buf_span(&b), dies);
	buf_fini(&b);
	return rc;
}

static void
get_client(struct greylist *g, const struct key *k, struct client *out, uint64_t *dies)
{
	struct span v;
	*out = (struct client){ 0 };
	*dies = 0;
	if (store_get(g->store, key_span(k), &v, dies) != RC_OK)
		return;
	struct cur c = cur_of(v);
	out->passed = cur_u32(&c);
	out->waited_for = cur_u32(&c);
	out->counted = cur_u64(&c);
	out->since = cur_u64(&c);
	if (!cur_done(&c))
		*out = (struct client){ 0 };
}

static void
put_client(struct greylist *g, const struct key *k, const struct client *cl, uint64_t dies)
{
	struct buf b;
	buf_init(&b, 32);
	buf_put_u32(&b, cl->passed);
	buf_put_u32(&b, cl->waited_for);
	buf_put_u64(&b, cl->counted);
	buf_put_u64(&b, cl->since);
	(void)!store_put(g->store, key_span(k), buf_span(&b), dies); /* counts of a client may be lost: it waits as new ones do */
	buf_fini(&b);
}

/* ---- life ---- */

static void
on_timer(struct timer *t)
{
	struct greylist *g = container_of(t, struct greylist, timer);
	bool more = store_bury(g->store, BURY_SLICE);
	metric_set(M_greylist_rows, (int64_t)store_count(g->store));
	timer_set(t, more ? BURY_SOON_USEC : BURY_USEC);
}

enum rc
greylist_open(struct greylist *g, const char *directory, size_t max_bytes, struct err *e)
{
	timer_init(&g->timer, on_timer);
	g->max_bytes = max_bytes;
	enum rc rc = store_open(directory, "greylist", max_bytes, &g->store, e);
	if (rc == RC_OK)
		timer_set(&g->timer, BURY_USEC);
	return rc;
}

void
greylist_close(struct greylist *g)
{
	if (g->store == NULL)
		return;
	timer_clear(&g->timer);
	store_close(&g->store);
}

/* ---- the question ---- */

static uint64_t
usec(uint32_t seconds)
{
	return seconds * USEC_PER_SEC;
}

/* Used again: it lives on; not written at every use. */
static bool
needs_refresh(uint64_t dies, uint64_t now, uint32_t expire)
{
	return dies < now + usec(expire) - usec(expire) / REFRESH_PART;
}

static void
count_passed(struct client *cl, uint64_t now)
{
	if (cl->waited_for > 0)
		cl->waited_for--;
	if (cl->passed == 0 || now < cl->counted || now - cl->counted >= usec(GREYLIST_COUNT_SECONDS)) {
		cl->passed++;
		cl->counted = now;
	}
}

/* What is no longer waited for: rows that are dead. */
static void
forget_dead(struct client *cl, const struct msg_greylist *m, uint64_t now)
{
	if (cl->waited_for > 0 && (now < cl->since || now - cl->since > usec(m->window)))
		cl->waited_for = 0;
}

static void
count_waiting(struct client *cl, uint64_t now)
{
	if (cl->waited_for++ == 0)
		cl->since = now;
}

/* ---- the networks around a client ---- */

static const struct {
	unsigned bits;
	size_t max;
} widths[] = { { 48, GREYLIST_SITE_MAX }, { 32, GREYLIST_PROVIDER_MAX } };

struct around {
	size_t n;                        /* 0: not an IPv6 client */
	struct {
		struct key key;
		struct client count;
	} net[NELEMS(widths)];
};

static void
around_get(struct greylist *g, const struct msg_greylist *m, uint64_t now, struct around *out)
{
	struct ipaddr ip;
	out->n = 0;
	if (ipaddr_parse(m->client_addr, &ip) != RC_OK || ip.family != IPADDR_V6)
		return;
	for (; out->n < NELEMS(widths); out->n++) {
		struct ipaddr net = ipaddr_mask(ip, widths[out->n].bits);
		unsigned char bits = (unsigned char)widths[out->n].bits;
		uint64_t dies;
		make_key(&out->net[out->n].key, 'n', span_of(net.b, sizeof net.b), span_of(&bits, 1), SPAN_EMPTY);
		get_client(g, &out->net[out->n].key, &out->net[out->n].count, &dies);
		forget_dead(&out->net[out->n].count, m, now);
	}
}

static bool
around_is_crowded(const struct greylist *g, const struct around *a)
{
	size_t share = g->max_bytes / GREYLIST_SHARE;
	for (size_t i = 0; i < a->n; i++)
		if (a->net[i].count.waited_for >= (widths[i].max < share ? widths[i].max : share))
			return true;
	return false;
}

static void
around_put(struct greylist *g, const struct msg_greylist *m, uint64_t now, const struct around *a)
{
	for (size_t i = 0; i < a->n; i++)
		put_client(g, &a->net[i].key, &a->net[i].count, now + usec(m->window));
}

static void
around_waits(struct greylist *g, const struct msg_greylist *m, uint64_t now, struct around *a)
{
	for (size_t i = 0; i < a->n; i++)
		count_waiting(&a->net[i].count, now);
	around_put(g, m, now, a);
}

static void
around_passed(struct greylist *g, const struct msg_greylist *m, uint64_t now)
{
	struct around a;
	around_get(g, m, now, &a);
	for (size_t i = 0; i < a.n; i++)
		if (a.net[i].count.waited_for > 0)
			a.net[i].count.waited_for--;
	around_put(g, m, now, &a);
}

/* ---- new, and again ---- */

static void
log_pass(const struct msg_greylist *m, uint64_t waited)
{
	LOG(greylist_pass, NULL, F_NUM(delay, waited / USEC_PER_SEC), F_SPAN(name, m->client_name), F_SPAN(client, m->client_addr), F_SPAN(from, m->sender),
	    F_SPAN(to, m->rcpt));
}

/* Not seen before. */
static struct msg_greylist_answer
first_time(struct greylist *g, const struct msg_greylist *m, const struct key *tk, const struct key *ck, struct client *cl, uint64_t now)
{
	const struct msg_greylist_answer later = { GREYLIST_DEFER, m->delay };
	metric_add(M_greylist_new, 1);
	struct around around;
	forget_dead(cl, m, now);
	around_get(g, m, now, &around);
	if (cl->waited_for >= GREYLIST_WAITED_FOR_MAX || around_is_crowded(g, &around)) {
		metric_add(M_greylist_crowded, 1);
		return later;
	}
	if (put_triplet(g, tk, &(struct triplet){ now, false }, now + usec(m->window)) != RC_OK)
		return (struct msg_greylist_answer){ GREYLIST_UNAVAILABLE, 0 };
	count_waiting(cl, now);
	around_waits(g, m, now, &around);
	put_client(g, ck, cl, now + usec(cl->passed > 0 && m->expire > m->window ? m->expire : m->window));
	return later;
}

struct msg_greylist_answer
greylist_ask(struct greylist *g, const struct msg_greylist *m, uint64_t now)
{
	const struct msg_greylist_answer pass = { GREYLIST_PASS, 0 };
	struct key tk, ck;
	struct triplet t;
	struct client cl;
	uint64_t dies, client_dies;
	if (g->store == NULL)
		return (struct msg_greylist_answer){ GREYLIST_UNAVAILABLE, 0 };
	make_key(&ck, 'c', m->client, SPAN_EMPTY, SPAN_EMPTY);
	make_key(&tk, 't', m->client, m->sender, m->rcpt);
	get_client(g, &ck, &cl, &client_dies);
	if (m->allow_after > 0 && cl.passed >= m->allow_after) {
		if (needs_refresh(client_dies, now, m->expire))
			put_client(g, &ck, &cl, now + usec(m->expire));
		metric_add(M_greylist_allowed, 1);
		return pass;
	}
	if (!get_triplet(g, &tk, &t, &dies))
		return first_time(g, m, &tk, &ck, &cl, now);
	uint64_t waited = now > t.first ? now - t.first : 0; /* the clock may have been set */
	if (!t.came_again && waited < usec(m->delay)) {
		metric_add(M_greylist_early, 1);
		return (struct msg_greylist_answer){ GREYLIST_DEFER, m->delay - (uint32_t)(waited / USEC_PER_SEC) };
	}
	if (t.came_again) {
		if (needs_refresh(dies, now, m->expire))
			(void)!put_triplet(g, &tk, &t, now + usec(m->expire));
		metric_add(M_greylist_known, 1);
		return pass;
	}
	t.came_again = true;
	(void)!put_triplet(g, &tk, &t, now + usec(m->expire));
	count_passed(&cl, now);
	put_client(g, &ck, &cl, now + usec(m->expire));
	around_passed(g, m, now);
	metric_add(M_greylist_passed, 1);
	log_pass(m, waited);
	return (struct msg_greylist_answer){ GREYLIST_PASS_NOW, (uint32_t)(waited / USEC_PER_SEC) };
}
