/* SPDX-License-Identifier: BSD-2-Clause */
#include "queue/verify.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "policy/verify_sender.h"
#include "queue/edge.h"
#include "queue/verify_probe.h"

enum {
	STORE_BYTES = 32 << 20,        /* without a configuration: unit tests */
	WAITERS = 1000,                /* the same */
	BURY_AT_ONCE = 200,
};
#define BURY_REST_USEC UINT64_C(20000)

static bool
is_own_sender(const struct queue *q, struct span addr)
{
	return q->conf != NULL && verify_sender_is(conf_params(q->conf), addr, clock_wall());
}

/* Of one edge: each of its sessions waits for one answer at a time. */
static uint64_t
waiters_max(const struct queue *q)
{
	return q->conf != NULL ? (uint64_t)conf_params(q->conf)->p_edge_session_limit : WAITERS;
}

static void
ask_probe(struct verifier *v, struct edge *ed, uint64_t call, const struct msg_verify *m)
{
	struct probe *p = probe_find(v, m->addr);
	bool is_new = p == NULL;
	if (ed->nverifying >= waiters_max(v->q)) { /* it hears "not yet", as when its patience is over */
		metric_add(M_verify_refused, 1);
		p = NULL;
	} else if (is_new) {
		p = probe_new(v, m->addr);
	}
	if (p == NULL) {
		verify_answer(ed, call, VERIFY_TODO, false, SPAN_EMPTY);
		return;
	}
	probe_await(p, ed, call, m->wait_usec);
	if (is_new)
		probe_route(p);
}

enum rc
verify_ask(struct queue *q, struct edge *ed, uint64_t call, struct span payload)
{
	struct verifier *v = q->verify;
	struct msg_verify m;
	struct verify_entry e;
	if (msg_verify_get(payload, &m) != RC_OK || m.addr.n == 0 || m.addr.n > VERIFY_ADDRESS_MAX || !span_is_printable(m.addr))
		return RC_PERM;
	metric_add(M_verify_asked, 1);
	if (v == NULL || is_own_sender(q, m.addr)) {
		verify_answer(ed, call, v == NULL ? VERIFY_TODO : VERIFY_OK, false, SPAN_EMPTY);
		return RC_OK;
	}
	if (verify_cache_get(&v->cache, m.addr, &e) != RC_OK) {
		ask_probe(v, ed, call, &m);
		return RC_OK;
	}
	metric_add(M_verify_known, 1);
	verify_answer(ed, call, e.status, e.foreign, e.text);
	uint64_t now = clock_wall();
	if (!verify_cache_is_due(&v->cache, &e, now) || probe_find(v, m.addr) != NULL)
		return RC_OK;
	unsigned char dsn[64], text[STORE_VALUE_MAX]; /* what is known is written back: it must not lie in the store then */
	memcpy(dsn, e.dsn.p, e.dsn.n < sizeof dsn ? e.dsn.n : (e.dsn.n = sizeof dsn));
	memcpy(text, e.text.p, e.text.n < sizeof text ? e.text.n : (e.text.n = sizeof text));
	e.dsn.p = dsn;
	e.text.p = text;
	struct probe *p = probe_new(v, m.addr);
	if (p == NULL)
		return RC_OK;
	verify_cache_probing(&v->cache, m.addr, &e, now);
	probe_route(p);
	return RC_OK;
}

static void
plan_sweep(struct verifier *v)
{
	if (v->cache.store != NULL && v->cache.set.cleanup > 0)
		timer_set(&v->sweep, v->cache.set.cleanup);
}

static void
on_sweep(struct timer *t)
{
	struct verifier *v = container_of(t, struct verifier, sweep);
	if (v->cache.store != NULL && store_bury(v->cache.store, BURY_AT_ONCE))
		timer_set(&v->sweep, BURY_REST_USEC);
	else
		plan_sweep(v);
}

void
verify_open(struct queue *q, const char *dir)
{
	struct verifier *v = q->verify = mem_zalloc(sizeof *v);
	struct err e = { .why = "" };
	const struct params *p = q->conf != NULL ? conf_params(q->conf) : NULL;
	v->q = q;
	list_init(&v->probes);
	timer_init(&v->sweep, on_sweep);
	verify_settings_read(&v->cache.set, q->conf);
	size_t size = p != NULL ? (size_t)p->p_address_verify_cache_size : STORE_BYTES;
	if (store_open(dir, "verified", size, &v->cache.store, &e) != RC_OK)
		log_warn(NULL, "%s: results of address verification are not kept", e.why);
	else if (p != NULL && p->p_address_verify_map[0] == '\0') /* nothing is to outlive a restart */
		store_empty(v->cache.store);
	plan_sweep(v);
}

void
verify_reload(struct queue *q)
{
	if (q->verify == NULL)
		return;
	verify_settings_read(&q->verify->cache.set, q->conf);
	timer_clear(&q->verify->sweep);
	plan_sweep(q->verify);
}

void
verify_fini(struct queue *q)
{
	struct verifier *v = q->verify;
	if (v == NULL)
		return;
	list_each(l, &v->probes) {
		struct probe *p = list_entry(l, struct probe, link);
		list_remove(&p->queued); /* nobody takes its place */
		probe_free(p);
	}
	timer_clear(&v->sweep);
	store_close(&v->cache.store);
	htab_fini(&v->by_addr);
	htab_fini(&v->by_job);
	mem_free(&q->verify);
}

void
verify_status(const struct queue *q)
{
	const struct verifier *v = q->verify;
	metric_set(M_verify_pending, v != NULL ? (int64_t)v->count : 0);
	metric_set(M_verify_entries, v != NULL && v->cache.store != NULL ? (int64_t)store_count(v->cache.store) : 0);
}
