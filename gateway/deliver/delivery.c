/* SPDX-License-Identifier: BSD-2-Clause */
#include "deliver/delivery.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/metric.h"
#include "map/remote.h"

enum { DELIVERY_MAGIC = 0xde11fe47 };

struct delivery {
	unsigned magic;
	struct relay *relay;
	struct list link;
	struct job *job;
	struct outdest *dest;
	struct op_owner ops;
	struct smtpc_call call;
	struct map_wait maps;        /* tables of smtp_generic_maps that are elsewhere */
	struct target target;
	struct smtpc *session;       /* NULL when it ended by itself */
	const char *sites;           /* next hops not tried yet; a copy in the job's arena */
	struct span sites_left;
	bool in_fallback;
	unsigned at, sessions;       /* address being tried; sessions past the handshake at this site */
	bool tried_fresh;            /* a stale session has been replaced once */
	struct taddr *address;       /* being tried; NULL while a session from rest is, of an address not looked up */
	bool was_tried;              /* that session was: its address is not tried again */
	unsigned n_sites;            /* next hops begun */
	struct ipaddr tried_addr;
	uint16_t tried_port;
	struct outcome last;         /* of the last attempt that did not get to a transaction */
	struct grave grave;
};

static void on_open(struct op *op);
static void on_delivered(struct op *op);
static void on_target(struct op *op);
static void on_maps(struct op *op);
static void next_site(struct delivery *d);
static void next_address(struct delivery *d);
static void transact(struct delivery *d, struct smtpc *c);

/* ---- the end ---- */

static void
dig_delivery(struct grave *g)
{
	struct delivery *d = container_of(g, struct delivery, grave);
	CHECK(d, DELIVERY_MAGIC);
	job_end(&d->job);
	mem_poison(d, sizeof *d);
	mem_free(&d);
}

/* We are done with the session: it rests, or it ends. */
static void
drop_session(struct delivery *d)
{
	struct smtpc *c = d->session;
	if (c == NULL)
		return;
	smtpc_let_go(c);
	outdest_give_back(d->dest, c);
}

/* The only way a delivery ends. */
static void
retire(struct delivery *d)
{
	ops_cancel_all(&d->ops);
	target_fini(&d->target);
	map_wait_fini(&d->maps);
	drop_session(d);
	if (d->dest != NULL)
		outdest_release(d->dest);
	d->dest = NULL;
	list_remove(&d->link);
	struct relay *r = d->relay;
	loop_bury(&d->grave, dig_delivery);
	if (list_empty(&r->deliveries) && r->idle != NULL)
		r->idle(r);
}

void
deliveries_abort(struct relay *r)
{
	list_each(l, &r->deliveries)
		retire(list_entry(l, struct delivery, link));
}

/* Everything that could be tried was. */
static void
conclude(struct delivery *d)
{
	struct job *j = d->job;
	for (unsigned i = 0; i < j->nrcpt; i++) {
		struct outcome out = j->rcpt[i].out;
		if (out.status != 0)
			continue;
		/* what a hub said about this recipient counts more than a host that could not be reached after it */
		if (out.text.n == 0)
			out = d->last;
		if (out.status == 0)
			out.status = RCPT_DEFERRED;
		job_settle(j, i, &out);
	}
	job_report(j, true);
	retire(d);
}

static void
settle_all(struct delivery *d, enum rcpt_status status, struct span dsn, struct span text)
{
	struct outcome out = { .status = status, .dsn = dsn, .text = text };
	d->job->health_why = text;
	job_settle_open(d->job, &out);
	conclude(d);
}

/* ---- start ---- */

static int
content_fd(const struct delivery *d)
{
	return d->job->own_fd >= 0 ? d->job->own_fd : segments_find(&d->relay->segments, d->job->m.segment);
}

static void
first_attempt(struct delivery *d)
{
	struct smtpc *c = outdest_take(d->dest, NULL, d->job);
	if (c != NULL)
		transact(d, c);
	else
		next_site(d);
}

/* The addresses of envelope and header as the hub gets them; once per job, whatever hub it is. */
static void
map_addresses(struct delivery *d)
{
	struct err e;
	map_forget();
	if (outmaps_apply(d->dest->generic, d->job, content_fd(d), &e) == RC_OK) {
		first_attempt(d);
	} else if (map_asked()) {
		map_wait_start(&d->maps);
	} else {
		log_warn(&d->job->log, "%s: %s", d->dest->set.lmtp ? "lmtp_generic_maps or header checks" : "smtp_generic_maps or header checks", e.why);
		settle_all(d, RCPT_DEFERRED, SPAN("4.3.0"), SPAN("address mapping is not available"));
	}
}

static void
on_maps(struct op *op)
{
	map_addresses(container_of(op, struct delivery, maps.op));
}

void
delivery_start(struct relay *r, struct conf *conf, struct job *j)
{
	struct delivery *d = mem_zalloc(sizeof *d);
	d->magic = DELIVERY_MAGIC;
	d->relay = r;
	d->job = j;
	list_init(&d->link);
	op_owner_init(&d->ops);
	list_append(&r->deliveries, &d->link);
	d->dest = outdest_get(&r->dests, conf, j->m.transport, j->m.nexthop);
	if (d->dest == NULL) {
		settle_all(d, RCPT_DEFERRED, SPAN("4.3.0"), SPAN("mail transport unavailable"));
		return;
	}
	j->set = &d->dest->set;
	j->conf = d->dest->conf;
	j->log.tag = j->set->tag;
	j->log.service = j->set->lmtp ? "lmtp" : "smtp";
	if (content_fd(d) < 0 && (j->m.flags & MSGF_PROBE) == 0) {
		settle_all(d, RCPT_DEFERRED, SPAN("4.3.0"), SPAN("message content is not available"));
		return;
	}
	d->sites = arena_cstr(&j->arena, j->m.nexthop);
	d->sites_left = span_str(d->sites);
	j->t_begin = clock_wall();
	j->checks = d->dest->checks;
	if (generic_is_idle(d->dest->generic) && !checks_has(j->checks, CHECK_HEADER) && !checks_has(j->checks, CHECK_MIME)) {
		first_attempt(d);
		return;
	}
	map_wait_init(&d->maps, &d->ops, on_maps);
	map_addresses(d);
}

/* ---- sites ---- */

static bool
more_sites(const struct delivery *d)
{
	struct span rest = d->sites_left, word;
	if (span_word(&rest, ", \t\r\n", &word))
		return true;
	rest = span_str(d->dest->set.fallback_relay);
	return !d->in_fallback && span_word(&rest, ", \t\r\n", &word);
}

/* What is final for a domain from the recipient's address is trouble of the configuration for relayhost and
 * fallback relays, and then waits (facts 5.5). */
static bool
is_our_mistake(struct delivery *d)
{
	if (!d->in_fallback && !span_eq_str(d->job->m.nexthop, d->dest->set.relayhost))
		return false;
	log_warn(&d->job->log, "%s configuration problem", d->in_fallback ? "smtp_fallback_relay" : "relayhost");
	return true;
}

/* The site failed as a whole. */
static void
site_failed(struct delivery *d, enum rc rc, struct span dsn, struct span text)
{
	if (rc == RC_PERM && is_our_mistake(d)) {
		rc = RC_TEMP;
		dsn = SPAN("4.3.5");
	}
	d->last = (struct outcome){ .status = rc == RC_PERM ? RCPT_BOUNCED : RCPT_DEFERRED, .dsn = dsn, .text = text };
	if (d->job->health != JOB_HUB_OK) {
		d->job->health = rc == RC_PERM ? JOB_NO_ROUTE : JOB_HUB_DOWN;
		d->job->health_why = text;
	}
	next_site(d);
}

static void
next_site(struct delivery *d)
{
	const struct settings *set = &d->dest->set;
	struct nexthop hop;
	struct err e;
	target_fini(&d->target);
	d->address = NULL;
	if (d->job->n_open == 0) {
		conclude(d);
		return;
	}
	enum rc rc = nexthop_next(&d->sites_left, set->lmtp, set->tcp_port, set->known_ports, &hop, &e);
	if (rc == RC_NONE && !d->in_fallback) {
		d->in_fallback = true;
		d->sites_left = span_str(set->fallback_relay);
		rc = nexthop_next(&d->sites_left, set->lmtp, set->tcp_port, set->known_ports, &hop, &e);
	}
	if (rc == RC_NONE) {
		if (d->last.text.n == 0) {
			d->last.dsn = SPAN("4.3.5");
			d->last.text = SPAN("no next hop to deliver to");
		}
		conclude(d);
		return;
	}
	if (rc == RC_PERM) { /* a mistake in a table or in main.cf: mail waits for it to be mended */
		site_failed(d, RC_TEMP, SPAN("4.3.5"), job_text(d->job, "%s", e.why));
		return;
	}
	d->n_sites++;
	target_init(&d->target, &d->ops, on_target);
	target_find(&d->target, set, &d->relay->own, &hop);
}

static void
on_target(struct op *op)
{
	struct delivery *d = container_of(op, struct delivery, target.op);
	CHECK(d, DELIVERY_MAGIC);
	if (op->rc == RC_PERM && d->target.is_ours && !d->in_fallback && d->dest->set.best_mx[0] != '\0' && (d->job->m.flags & MSGF_PROBE) == 0) {
		d->job->health = JOB_OURS;
		job_report(d->job, true);
		retire(d);
		return;
	}
	if (op->rc != RC_OK) {
		site_failed(d, op->rc, span_str(d->target.dsn), job_text(d->job, "%s", d->target.why));
		return;
	}
	d->at = 0;
	d->sessions = d->was_tried ? 1 : 0;
	next_address(d);
}

/* ---- addresses ---- */

static bool
was_tried(const struct delivery *d, const struct taddr *a)
{
	return d->was_tried && a->port == d->tried_port && ipaddr_eq(&a->addr, &d->tried_addr);
}

static bool
more_addresses(struct delivery *d)
{
	unsigned limit = d->dest->set.mx_session_limit;
	while (d->at < d->target.n && was_tried(d, &d->target.addr[d->at]))
		d->at++;
	return d->at < d->target.n && (limit == 0 || d->sessions < limit);
}

static void
open_session(struct delivery *d, bool is_plain)
{
	struct smtpc *c;
	smtpc_call_init(&d->call, &d->ops, on_open);
	c = outdest_open(d->dest, d->address, d->target.hop.text, is_plain, d->job, &d->call);
	smtpc_hold(c, &d->session);
}

static void
next_address(struct delivery *d)
{
	if (d->job->n_open == 0) {
		conclude(d);
		return;
	}
	if (!more_addresses(d)) {
		next_site(d);
		return;
	}
	d->address = &d->target.addr[d->at++];
	struct smtpc *c = outdest_take(d->dest, d->address, d->job);
	if (c == NULL) {
		open_session(d, false);
		return;
	}
	d->sessions++;
	transact(d, c);
}

/* The session did not come to a transaction, or did not survive it. */
static void
attempt_failed(struct delivery *d, const struct outcome *out)
{
	struct job *j = d->job;
	d->last = *out;
	if (out->status == RCPT_BOUNCED && is_our_mistake(d)) {
		d->last.status = RCPT_DEFERRED;
		d->last.dsn = SPAN("4.3.5");
	}
	if (j->health != JOB_HUB_OK) {
		j->health = JOB_HUB_DOWN;
		j->health_why = out->text;
	}
	if (more_addresses(d) || more_sites(d))
		LOG(hub_said, &j->log, F_SPAN(text, out->text));
	next_address(d);
}

static void
on_open(struct op *op)
{
	struct delivery *d = container_of(op, struct delivery, call.op);
	CHECK(d, DELIVERY_MAGIC);
	struct smtpc *c = d->session;
	if (op->rc == RC_OK && c != NULL && smtpc_is_usable(c)) {
		d->job->t_ready = clock_wall();
		d->sessions++;
		c->is_preferred = d->n_sites == 1 && !d->in_fallback && d->address->pref == d->target.addr[0].pref;
		transact(d, c);
		return;
	}
	struct outcome out = d->call.out;
	if (op->rc == RC_OK) { /* it greeted and went away before we could say anything */
		out.status = RCPT_DEFERRED;
		out.dsn = SPAN("4.4.2");
		out.text = SPAN("lost connection after the handshake");
		drop_session(d);
	} else if (d->call.wants_plain) {
		open_session(d, true);
		return;
	}
	attempt_failed(d, &out);
}

/* ---- transactions ---- */

static void
transact(struct delivery *d, struct smtpc *c)
{
	struct job *j = d->job;
	smtpc_hold(c, &d->session);
	if (j->t_ready == 0)
		j->t_ready = clock_wall();
	if (d->address == NULL) {
		d->was_tried = true;
		d->tried_addr = c->addr;
		d->tried_port = c->port;
	}
	j->health = JOB_HUB_OK;
	/* with a session from rest the other addresses are not known yet: there may be some */
	j->is_last_hop = d->address != NULL && !more_addresses(d) && !more_sites(d);
	smtpc_call_init(&d->call, &d->ops, on_delivered);
	smtpc_deliver(c, j, content_fd(d), &d->call);
}

static void
log_postponed(struct delivery *d)
{
	const struct job *j = d->job;
	struct span said = SPAN_EMPTY;
	for (unsigned i = 0; i < j->nrcpt; i++) {
		const struct outcome *out = &j->rcpt[i].out;
		if (out->status != 0 || out->text.n == 0 || out->text.p == said.p)
			continue;
		said = out->text; /* one text may concern many recipients */
		LOG(hub_said, &j->log, F_SPAN(text, said));
	}
}

static void
on_delivered(struct op *op)
{
	struct delivery *d = container_of(op, struct delivery, call.op);
	CHECK(d, DELIVERY_MAGIC);
	struct job *j = d->job;
	bool was_resting = d->address == NULL;
	if (op->rc != RC_OK && d->call.is_stale && !d->tried_fresh) {
		/* the hub closed a session at rest just as we used it: that says nothing about the hub */
		metric_add(M_relay_stale, 1);
		d->tried_fresh = true;
		d->was_tried = false;
		j->conn_uses = 0;
		j->t_ready = 0;
		if (was_resting)
			next_site(d);
		else
			open_session(d, false);
		return;
	}
	if (op->rc != RC_OK && d->call.is_unsure) {
		struct outcome out = d->call.out;
		out.status = RCPT_DEFERRED;
		job_settle_open(j, &out);
		conclude(d);
		return;
	}
	if (op->rc != RC_OK && d->call.wants_plain && !was_resting && j->n_open > 0) {
		j->t_ready = 0;
		job_report(j, false);
		open_session(d, true);
		return;
	}
	drop_session(d);
	if (j->n_open == 0) {
		conclude(d);
		return;
	}
	job_report(j, false);
	if (op->rc != RC_OK) {
		struct outcome out = d->call.out;
		if (was_resting) {
			d->last = out;
			LOG(hub_said, &j->log, F_SPAN(text, out.text));
			next_site(d);
			return;
		}
		attempt_failed(d, &out);
		return;
	}
	log_postponed(d);
	j->t_ready = 0;
	if (was_resting)
		next_site(d);
	else
		next_address(d);
}
