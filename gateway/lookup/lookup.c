/* SPDX-License-Identifier: BSD-2-Clause */
#include "lookup/lookup.h"

#include "base/log.h"
#include "base/mem.h"
#include "dns/dns.h"
#include "ipc/msgs.h"
#include "lookup/tables.h"
#include "map/remote.h"

#include <unistd.h>

/* A process that asks. */
struct peer {
	struct list link;
	struct ipc_chan *chan;
	enum role role;
	unsigned index;
	struct list calls;
	size_t ncalls;
	bool is_suspect;             /* and the log has been told */
	struct grave grave;
};

/* A question of one; peer is NULL when that has gone. */
struct call {
	struct ask ask;
	struct list by_peer;
	struct peer *peer;
	enum role role;              /* of the peer */
	uint64_t id;
	/* of a table we do not know, or not for this role: a sibling may have the new configuration before us */
	struct list early;
	struct timer patience;
	size_t table_n;
	unsigned char bytes[];       /* key, table */
};

static const uint64_t PATIENCE = 1000000; /* usec */

static struct {
	struct child *child;
	struct list peers, early;
	struct tables tables;
} me;

static void
answer(struct ipc_chan *chan, uint64_t id, enum rc rc, struct span text)
{
	msg_found_put(ipc_answer_begin(chan, id), &(struct msg_found){ rc, span_head(text, REMOTE_VALUE_MAX) });
	ipc_end(chan);
}

static void
on_done(struct ask *a, enum rc rc, struct span text)
{
	struct call *c = container_of(a, struct call, ask);
	if (c->peer != NULL) {
		answer(c->peer->chan, c->id, rc, text);
		list_remove(&c->by_peer);
		c->peer->ncalls--;
	}
	timer_clear(&c->patience);
	mem_free(&c);
}

static struct span
table_of(const struct call *c)
{
	return span_of(c->bytes + c->ask.key.n, c->table_n);
}

/* A role that has been taken over reads no table but those its own parameters name. */
static unsigned
asker_of(enum role role)
{
	return role == ROLE_EDGE ? REMOTE_BY_EDGE : role == ROLE_QUEUE ? REMOTE_BY_QUEUE : role == ROLE_RELAY ? (unsigned)REMOTE_BY_RELAY : 0;
}

static void
on_patience(struct timer *t)
{
	struct call *c = container_of(t, struct call, patience);
	const struct table *there = tables_find(&me.tables, table_of(c));
	list_remove(&c->early);
	if (there != NULL && c->peer != NULL && !c->peer->is_suspect) {
		c->peer->is_suspect = true;
		log_warn(NULL, "%s: asked for by a process that no parameter names it for (%s %u)", there->spec->name, role_name(c->role), c->peer->index);
	}
	on_done(&c->ask, RC_TEMP, SPAN("the lookup process has no such table"));
}

/* The tables are new: whose was missing may be there. */
static void
ask_early(void)
{
	list_each(l, &me.early) {
		struct call *c = list_entry(l, struct call, early);
		struct table *t = tables_find_for(&me.tables, table_of(c), asker_of(c->role));
		if (t == NULL)
			continue;
		list_remove(l);
		timer_clear(&c->patience);
		table_ask(t, &c->ask);
	}
}

static enum rc
on_frame(struct ipc_chan *chan, struct ipc_frame *f)
{
	struct peer *p = chan->owner;
	struct msg_lookup m;
	if (f->type != IPC_LOOKUP || msg_lookup_get(f->payload, &m) != RC_OK || m.key.n > REMOTE_KEY_MAX)
		return RC_PERM;
	if (p->ncalls >= REMOTE_FLIGHTS_MAX) {
		answer(chan, f->id, RC_TEMP, SPAN("too many questions are under way"));
		return RC_OK;
	}
	struct table *t = tables_find_for(&me.tables, m.table, asker_of(p->role));
	struct call *c = mem_zalloc(sizeof *c + m.key.n + m.table.n);
	memcpy(c->bytes, m.key.p, m.key.n);
	memcpy(c->bytes + m.key.n, m.table.p, m.table.n);
	c->ask.key = span_of(c->bytes, m.key.n);
	c->table_n = m.table.n;
	list_init(&c->early);
	timer_init(&c->patience, on_patience);
	c->ask.done = on_done;
	c->peer = p;
	c->role = p->role;
	c->id = f->id;
	list_init(&c->by_peer);
	list_append(&p->calls, &c->by_peer);
	p->ncalls++;
	if (t != NULL) {
		table_ask(t, &c->ask);
	} else {
		list_append(&me.early, &c->early);
		timer_set(&c->patience, PATIENCE);
	}
	return RC_OK;
}

static void
dig_peer(struct grave *g)
{
	struct peer *p = container_of(g, struct peer, grave);
	mem_free(&p);
}

/* Its questions go on; nobody hears of them. */
static void
peer_gone(struct peer *p)
{
	for (struct list *l; (l = list_pop(&p->calls)) != NULL;)
		list_entry(l, struct call, by_peer)->peer = NULL;
	list_remove(&p->link);
	ipc_chan_free(&p->chan);
	loop_bury(&p->grave, dig_peer);
}

static void
on_down(struct ipc_chan *chan)
{
	peer_gone(chan->owner);
}

static const struct ipc_chan_ops chan_ops = { on_frame, on_down };

/* ---- the role ---- */

static enum rc
lookup_start(struct child *c, struct err *e)
{
	me.child = c;
	list_init(&me.peers);
	list_init(&me.early);
	tables_load(&me.tables, c->conf);
	return dns_open_conf(c->conf, e);
}

static enum rc
lookup_ready(struct child *c, struct err *e)
{
	(void)c, (void)e;
	return RC_OK;
}

static enum rc
lookup_reload(struct child *c, struct conf *new_conf, struct err *e)
{
	(void)c;
	enum rc rc = dns_open_conf(new_conf, e);
	if (rc != RC_OK)
		return rc;
	tables_load(&me.tables, new_conf);
	ask_early();
	return RC_OK;
}

static void
lookup_new_peer(struct child *c, enum role role, unsigned index, int fd)
{
	(void)c;
	list_each(l, &me.peers) {
		struct peer *old = list_entry(l, struct peer, link);
		if (old->role == role && old->index == index)
			peer_gone(old);
	}
	struct peer *p = mem_zalloc(sizeof *p);
	p->role = role;
	p->index = index;
	list_init(&p->link);
	list_init(&p->calls);
	list_append(&me.peers, &p->link);
	p->chan = ipc_chan_new(fd, ROLE_LOOKUP, role, index, &chan_ops, p);
}

static void
lookup_status(struct child *c, struct buf *out)
{
	(void)c;
	buf_puts(out, "\"tables\":[");
	bool first = true;
	list_each(l, &me.tables.open) {
		const struct table *t = list_entry(l, struct table, link);
		buf_puts(out, first ? "{\"name\":" : ",{\"name\":");
		buf_put_json(out, span_str(t->spec->name), 1000);
		buf_printf(out, ",\"works\":%s,\"asked\":%llu,\"failed\":%llu,", t->is_troubled ? "false" : "true", (unsigned long long)t->asked,
		    (unsigned long long)t->failed);
		t->ops->status(t, out);
		buf_puts(out, "}");
		first = false;
	}
	buf_puts(out, "]");
}

/* Those who ask have finished before us, or will be told "not now" by the end of their channel. */
static void
lookup_drain(struct child *c)
{
	tables_fini(&me.tables);
	dns_close();
	for (struct list *l; (l = list_pop(&me.early)) != NULL;)
		on_done(&list_entry(l, struct call, early)->ask, RC_TEMP, SPAN("the lookup process ends"));
	list_each(l, &me.peers)
		peer_gone(list_entry(l, struct peer, link));
	child_exit(c);
}

const struct role_ops lookup_role = {
	.role = ROLE_LOOKUP,
	.start = lookup_start,
	.ready = lookup_ready,
	.reload = lookup_reload,
	.peer = lookup_new_peer,
	.status = lookup_status,
	.drain = lookup_drain,
};
