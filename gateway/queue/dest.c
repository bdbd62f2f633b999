/* SPDX-License-Identifier: BSD-2-Clause */
#include "queue/dest.h"

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"

static const char *const commands[PROGRAMS] = {
#define PROGRAM(name, command, doc) command,
#include "queue/programs.def"
#undef PROGRAM
};

void
dest_set_init(struct dest_set *s, struct reason_pool *reasons, const struct queue_settings *settings)
{
	*s = (struct dest_set){ .reasons = reasons, .settings = settings };
	list_init(&s->ready);
	list_init(&s->idle);
	list_init(&s->parking);
}

static void
dest_free(struct dest_set *s, struct dest *d)
{
	BUG_ON(d->holds != 0 || d->busy != 0 || d->parked.count != 0 || !list_empty(&d->groups));
	htab_remove(&s->dests, &d->by_key);
	list_remove(&d->ring);
	if (list_linked(&d->idle)) {
		list_remove(&d->idle);
		s->idle_count--;
	}
	heap_remove(&s->waiting, &d->resume);
	heap_fini(&d->parked);
	reason_unref(s->reasons, &d->dead_why);
	mem_free(&d);
}

void
dest_set_fini(struct dest_set *s)
{
	for (struct hnode *n; (n = htab_walk(&s->dests, NULL)) != NULL;)
		dest_free(s, container_of(n, struct dest, by_key));
	for (struct hnode *n; (n = htab_walk(&s->transports, NULL)) != NULL;) {
		struct transport *t = container_of(n, struct transport, by_name);
		htab_remove(&s->transports, n);
		heap_remove(&s->waiting, &t->resume);
		mem_free(&t);
	}
	htab_fini(&s->dests);
	htab_fini(&s->transports);
	heap_fini(&s->waiting);
}

/* ---- transports ---- */

static enum program
program_of(const struct conf *c, const char *name, int *maxproc_out)
{
	*maxproc_out = -1;
	const struct service *sv = c != NULL ? conf_service_find(c, name, "unix") : NULL;
	/* the stock services are there also when a short master.cf does not name them */
	const char *command = sv != NULL                         ? sv->command
	    : strcmp(name, "relay") == 0                         ? "smtp"
	    : strcmp(name, "retry") == 0                         ? "error"
	                                                         : name;
	if (sv != NULL) {
		*maxproc_out = sv->maxproc;
		if (sv->disabled)
			return PROGRAM_NONE;
	}
	for (int p = PROGRAM_NONE + 1; p < PROGRAMS; p++)
		if (strcmp(command, commands[p]) == 0)
			return (enum program)p;
	return PROGRAM_NONE;
}

static bool
is_deferred(const struct queue_settings *set, const char *name)
{
	struct span rest = span_str(set->defer_transports), word;
	while (span_word(&rest, ", \t\r\n", &word))
		if (span_eq_str(word, name))
			return true;
	return false;
}

static enum rc
read_settings(struct transport_settings *out, enum program *program_out, const struct conf *c, const char *name, struct err *e)
{
	int maxproc;
	*program_out = program_of(c, name, &maxproc);
	settings_transport_defaults(out);
	return c != NULL ? settings_transport(out, c, name, maxproc, e) : RC_OK;
}

struct transport *
transport_get(struct dest_set *s, const struct conf *c, struct span name)
{
	uint64_t hash = span_hash(name);
	for (struct hnode *n = htab_first(&s->transports, hash); n != NULL; n = htab_next(n)) {
		struct transport *t = container_of(n, struct transport, by_name);
		if (span_eq_str(name, t->name))
			return t;
	}
	struct transport *t = mem_zalloc(sizeof *t + name.n + 1);
	memcpy(t->name, name.p, name.n);
	list_init(&t->ring);
	list_init(&t->ready);
	struct err e;
	if (read_settings(&t->set, &t->program, c, t->name, &e) != RC_OK)
		log_warn(NULL, "transport %s: %s: using the defaults", t->name, e.why);
	if (c != NULL && t->program == PROGRAM_NONE)
		log_warn(NULL, "transport \"%s\" is not in master.cf or cannot run here: mail for it waits", t->name);
	t->deferred = is_deferred(s->settings, t->name);
	htab_insert(&s->transports, &t->by_name, hash);
	return t;
}

/* Which transports there are is decided by mail: a reload reads twice, first to find what is wrong. */
enum rc
transports_reload(struct dest_set *s, const struct conf *c, struct err *e)
{
	struct transport_settings set;
	enum program program;
	for (struct hnode *n = htab_walk(&s->transports, NULL); n != NULL; n = htab_walk(&s->transports, n))
		if (read_settings(&set, &program, c, container_of(n, struct transport, by_name)->name, e) != RC_OK)
			return RC_PERM;
	for (struct hnode *n = htab_walk(&s->transports, NULL); n != NULL; n = htab_walk(&s->transports, n)) {
		struct transport *t = container_of(n, struct transport, by_name);
		if (read_settings(&t->set, &t->program, c, t->name, e) != RC_OK)
			BUG("it could be read just now");
		t->deferred = is_deferred(s->settings, t->name);
	}
	return RC_OK;
}

/* ---- destinations ---- */

struct dest *
dest_get(struct dest_set *s, struct transport *t, struct span nexthop, struct span recipient)
{
	struct buf key;
	buf_init(&key, nexthop.n + strlen(t->name) + recipient.n + 2);
	bool single = t->set.recipient_limit == 1;
	for (size_t i = 0; i < nexthop.n; i++)
		buf_putc(&key, nexthop.p[i] >= 'A' && nexthop.p[i] <= 'Z' ? nexthop.p[i] + 32 : nexthop.p[i]);
	buf_putc(&key, '\0');
	buf_puts(&key, t->name);
	if (single) {
		buf_putc(&key, '\0');
		buf_put(&key, recipient);
	}
	struct span k = buf_span(&key);
	uint64_t hash = span_hash(k);
	struct dest *d = NULL;
	for (struct hnode *n = htab_first(&s->dests, hash); n != NULL && d == NULL; n = htab_next(n)) {
		struct dest *have = container_of(n, struct dest, by_key);
		if (span_eq(span_of(have->key, have->key_len), k))
			d = have;
	}
	if (d == NULL) {
		d = mem_zalloc(sizeof *d + k.n);
		memcpy(d->key, k.p, k.n);
		d->key_len = (uint32_t)k.n;
		d->nexthop_len = (uint32_t)nexthop.n;
		d->transport = t;
		d->window = t->set.initial_concurrency;
		d->home = s->next_home++;
		list_init(&d->groups);
		list_init(&d->ring);
		list_init(&d->idle);
		list_init(&d->parking);
		list_init(&d->probes);
		htab_insert(&s->dests, &d->by_key, hash);
	} else if (list_linked(&d->idle)) {
		list_remove(&d->idle);
		s->idle_count--;
	}
	d->holds++;
	buf_fini(&key);
	return d;
}

void
dest_release(struct dest_set *s, struct dest *d)
{
	BUG_ON(d->holds == 0);
	if (--d->holds > 0)
		return;
	list_append(&s->idle, &d->idle);
	s->idle_count++;
	if (s->idle_count > DEST_IDLE_MAX)
		dest_free(s, list_entry(s->idle.next, struct dest, idle));
}

void
dest_revive(struct dest_set *s, struct dest *d)
{
	if (d->dead_until == 0)
		return;
	d->dead_until = 0;
	d->window = d->transport->set.initial_concurrency;
	d->cohorts = d->success = d->failure = 0;
	reason_unref(s->reasons, &d->dead_why);
}

void
dest_revive_all(struct dest_set *s)
{
	for (struct hnode *n = htab_walk(&s->dests, NULL); n != NULL; n = htab_walk(&s->dests, n))
		dest_revive(s, container_of(n, struct dest, by_key));
}

const struct reason *
dest_dead(struct dest_set *s, struct dest *d, uint64_t now)
{
	if (d->dead_until == 0)
		return NULL;
	if (now >= d->dead_until) {
		dest_revive(s, d);
		return NULL;
	}
	return d->dead_why;
}

/* ---- the window ---- */

void
dest_worked(struct dest_set *s, struct dest *d)
{
	const struct transport_settings *set = &d->transport->set;
	dest_revive(s, d); /* a delivery that was under way when the others failed */
	d->cohorts = 0;
	if (set->concurrency_limit > 0 && d->window >= set->concurrency_limit)
		return;
	if (d->window >= (double)(d->busy + set->initial_concurrency))
		return;
	d->success += feedback_value(&set->positive, d->window);
	d->failure = 0;
	while (d->success >= 1) {
		d->window += 1;
		d->success -= 1;
	}
	if (set->concurrency_limit > 0 && d->window > set->concurrency_limit)
		d->window = set->concurrency_limit;
}

bool
dest_failed(struct dest_set *s, struct dest *d, uint64_t now, struct reason *why)
{
	const struct transport_settings *set = &d->transport->set;
	if (d->dead_until != 0)
		return false;
	d->cohorts += 1.0 / d->window;
	/* sums of 1/window fall short of a whole number by rounding */
	if (set->failed_cohort_limit > 0 && d->cohorts + 1e-6 >= set->failed_cohort_limit) {
		d->dead_until = now + s->settings->minimal_backoff;
		reason_unref(s->reasons, &d->dead_why);
		d->dead_why = reason_ref(why);
		return true;
	}
	d->success = 0;
	d->failure += feedback_value(&set->negative, d->window);
	while (d->failure >= 1) {
		d->window -= 1;
		d->failure -= 1;
	}
	if (d->window < 1)
		d->window = 1;
	return false;
}

/* ---- turns ---- */

static bool
may_run(const struct dest *d, uint64_t now)
{
	const struct transport_settings *set = &d->transport->set;
	if (list_empty(&d->groups) || d->dead_until > now || d->not_before > now)
		return false;
	return d->busy < (set->destination_rate_delay > 0 ? 1 : (unsigned)d->window);
}

static void
update_transport(struct dest_set *s, struct transport *t, uint64_t now)
{
	bool may = !list_empty(&t->ready) && t->not_before <= now && (t->set.max_jobs == 0 || t->busy < t->set.max_jobs);
	if (!may)
		list_remove(&t->ring);
	else if (!list_linked(&t->ring))
		list_append(&s->ready, &t->ring);
	if (t->not_before > now)
		heap_put(&s->waiting, &t->resume, t->not_before);
}

void
dest_update(struct dest_set *s, struct dest *d, uint64_t now)
{
	if (!may_run(d, now))
		list_remove(&d->ring);
	else if (!list_linked(&d->ring))
		list_append(&d->transport->ready, &d->ring);
	if (d->not_before > now && !list_empty(&d->groups))
		heap_put(&s->waiting, &d->resume, d->not_before);
	update_transport(s, d->transport, now);
}

void
dest_begin(struct dest_set *s, struct dest *d, uint64_t now)
{
	d->busy++;
	d->holds++;
	d->transport->busy++;
	if (d->transport->set.transport_rate_delay > 0)
		d->transport->not_before = now + d->transport->set.transport_rate_delay;
	dest_update(s, d, now);
}

void
dest_end(struct dest_set *s, struct dest *d, uint64_t now)
{
	BUG_ON(d->busy == 0 || d->transport->busy == 0);
	d->busy--;
	d->transport->busy--;
	if (d->transport->set.destination_rate_delay > 0)
		d->not_before = now + d->transport->set.destination_rate_delay;
	dest_update(s, d, now);
	dest_release(s, d);
}

struct dest *
dest_next(struct dest_set *s)
{
	struct list *tl = list_pop(&s->ready);
	if (tl == NULL)
		return NULL;
	struct transport *t = list_entry(tl, struct transport, ring);
	struct list *dl = list_pop(&t->ready);
	BUG_ON(dl == NULL);
	/* both go to the end of their rings; dest_update() takes them off if they may not run again */
	list_append(&t->ready, dl);
	list_append(&s->ready, tl);
	return list_entry(dl, struct dest, ring);
}

uint64_t
dest_resume(struct dest_set *s, uint64_t now)
{
	for (struct heap_node *n; (n = heap_min(&s->waiting)) != NULL;) {
		if (n->key > now)
			return n->key;
		heap_remove(&s->waiting, n);
		bool found = false;
		for (struct hnode *h = htab_walk(&s->transports, NULL); h != NULL && !found; h = htab_walk(&s->transports, h)) {
			struct transport *t = container_of(h, struct transport, by_name);
			if (&t->resume == n) {
				update_transport(s, t, now);
				found = true;
			}
		}
		if (!found)
			dest_update(s, container_of(n, struct dest, resume), now);
	}
	return UINT64_MAX;
}
