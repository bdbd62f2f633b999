/* SPDX-License-Identifier: BSD-2-Clause */
#include "deliver/outdest.h"

#include "base/mem.h"

void
outdests_init(struct outdests *ds)
{
	*ds = (struct outdests){ .count = 0 };
	list_init(&ds->all);
}

static const struct service *
find_service(const struct conf *conf, struct span transport)
{
	char name[128];
	if (transport.n == 0 || transport.n >= sizeof name || memchr(transport.p, '\0', transport.n) != NULL)
		return NULL;
	memcpy(name, transport.p, transport.n);
	name[transport.n] = '\0';
	const struct service *s = conf_service_find(conf, name, "unix");
	if (s == NULL || s->disabled || (strcmp(s->command, "smtp") != 0 && strcmp(s->command, "lmtp") != 0))
		return NULL;
	return s;
}

/* smtp_connection_cache_destinations: next hops as written, or domains. */
static bool
is_listed(const char *list, struct span nexthop)
{
	struct span rest = span_str(list), item;
	while (span_word(&rest, ", \t\r\n", &item))
		if (span_caseeq(item, nexthop))
			return true;
	return false;
}

struct outdest *
outdest_get(struct outdests *ds, struct conf *conf, struct span transport, struct span nexthop)
{
	uint64_t hash = span_casehash(nexthop) ^ span_hash(transport) * UINT64_C(0x9e3779b97f4a7c15);
	for (struct hnode *n = htab_first(&ds->by_key, hash); n != NULL; n = htab_next(n)) {
		struct outdest *d = container_of(n, struct outdest, by_key);
		if (span_eq_str(transport, d->service->name) && span_caseeq(span_of(d->nexthop, d->nexthop_len), nexthop)) {
			d->users++;
			return d;
		}
	}
	const struct service *s = find_service(conf, transport);
	if (s == NULL)
		return NULL;
	struct outdest *d = mem_zalloc(sizeof *d + nexthop.n);
	d->home = ds;
	d->conf = conf_ref(conf);
	d->service = s;
	settings_from(&d->set, s);
	d->opened = outset_ref(ds->set);
	const struct outservice *o = outset_of(ds->set, s);
	d->generic = o != NULL ? o->generic : NULL;
	d->checks = o != NULL ? o->checks : NULL;
	d->logins = o != NULL ? o->logins : NULL;
	d->policies = o != NULL ? o->policies : NULL;
	d->nexthop_len = nexthop.n;
	if (nexthop.n > 0)
		memcpy(d->nexthop, nexthop.p, nexthop.n);
	d->may_reuse = d->set.cache_on_demand || is_listed(d->set.cache_destinations, nexthop);
	list_init(&d->link);
	list_init(&d->resting);
	list_init(&d->working);
	list_append(&ds->all, &d->link);
	htab_insert(&ds->by_key, &d->by_key, hash);
	ds->count++;
	d->users = 1;
	return d;
}

static void
outdate(struct outdest *d)
{
	if (!d->is_outdated)
		htab_remove(&d->home->by_key, &d->by_key);
	d->is_outdated = true;
}

void
outdest_release(struct outdest *d)
{
	BUG_ON(d->users == 0);
	if (--d->users > 0)
		return;
	outdate(d);
	list_remove(&d->link);
	if (--d->home->count == 0)
		htab_fini(&d->home->by_key); /* a quiet relay holds nothing */
	outset_unref(&d->opened);
	conf_unref(&d->conf);
	mem_free(&d);
}

static void
session_gone(struct smtpc *c)
{
	outdest_release(c->home);
}

struct smtpc *
outdest_take(struct outdest *d, const struct taddr *to, const struct job *j)
{
	list_each(l, &d->resting) {
		struct smtpc *c = list_entry(l, struct smtpc, link);
		if (to == NULL ? !c->is_preferred : c->port != to->port || !ipaddr_eq(&c->addr, &to->addr))
			continue;
		if (!smtpc_suits(c, j))
			continue;
		list_remove(&c->link);
		list_append(&d->working, &c->link);
		if (smtpc_is_usable(c))
			return c;
		smtpc_retire(c);
	}
	return NULL;
}

struct smtpc *
outdest_open(struct outdest *d, const struct taddr *to, struct span nexthop, bool is_plain, struct job *j, struct smtpc_call *call)
{
	if (d->set.lmtp && span_casestarts(nexthop, SPAN("inet:"))) /* as Postfix knows it */
		nexthop = span_from(nexthop, 5);
	struct smtpc_home home = { .set = &d->set, .logins = d->logins, .policies = d->policies, .is_plain = is_plain, .nexthop = nexthop, .home = d, .gone = session_gone };
	struct smtpc *c = smtpc_open(&home, to, j, call);
	d->users++;
	list_append(&d->working, &c->link);
	return c;
}

void
outdest_give_back(struct outdest *d, struct smtpc *c)
{
	if (d->is_outdated || !d->may_reuse) {
		smtpc_retire(c);
		return;
	}
	list_remove(&c->link);
	list_prepend(&d->resting, &c->link);
	smtpc_rest(c);
}

static void
retire_all(struct list *sessions)
{
	list_each(l, sessions)
		smtpc_retire(list_entry(l, struct smtpc, link)); /* leaves the list when its grave is dug */
}

void
outdests_rest_over(struct outdests *ds, bool outdated)
{
	list_each(l, &ds->all) {
		struct outdest *d = list_entry(l, struct outdest, link);
		retire_all(&d->resting);
		if (outdated)
			outdate(d);
	}
}
