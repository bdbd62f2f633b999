/* SPDX-License-Identifier: BSD-2-Clause */
#include "sasl/cyrus.h"

#include "base/base64.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/rand.h"
#include "ipc/child.h"
#include "ipc/msgs.h"
#include "sasl/cyrus_files.h"
#include "sasl/setup.h"

enum { CYRUS_MAGIC = 0xc7605a51, ASKS_MAX = 1024 };
static const uint64_t MECHS_USEC = 10 * USEC_PER_SEC, MECHS_AGAIN = 2 * USEC_PER_SEC, PATIENCE = 2 * USEC_PER_SEC;

static const char LOST[] = "Connection lost to authentication server", CANNOT_CONNECT[] = "Can't connect to authentication server";

/* What a service offers, in the clear and with TLS. */
struct offer {
	struct cyrus *cyrus;
	struct ipc_call call;
	unsigned options;
	bool is_known;
	struct sasl_mechs mechs;
};

struct cyrus {
	unsigned magic;
	struct list link;
	const struct params *p;
	struct op_owner ops;
	struct timer again;
	struct offer offer[2];
	bool is_settled;
};

static struct {
	struct ipc_chan *chan;           /* NULL: no auth process */
	uint64_t next_context;
	size_t nasks;
	struct list all;                 /* struct cyrus */
	struct list waiting;             /* exchanges, for a process that is being started: in request is what it will be asked */
} me = { .all = { &me.all, &me.all }, .waiting = { &me.waiting, &me.waiting } };

static struct msg_auth_mechs
about(const struct cyrus *c, unsigned options)
{
	return (struct msg_auth_mechs){ span_str(c->p->p_smtpd_sasl_service), span_str(c->p->p_myhostname), span_str(c->p->p_smtpd_sasl_local_domain), options };
}

static void
settle(struct cyrus *c)
{
	if (!c->is_settled)
		sasl_one_settled();
	c->is_settled = true;
}

/* ---- the mechanisms ---- */

static void
ask_mechs(struct cyrus *c)
{
	for (size_t i = 0; i < NELEMS(c->offer); i++) {
		struct offer *o = &c->offer[i];
		if (o->call.op.state != OP_IDLE)
			continue;
		struct msg_auth_mechs m = about(c, o->options);
		if (me.chan == NULL)
			continue; /* asked when it is there */
		msg_auth_mechs_put(ipc_call_begin(&o->call, me.chan, IPC_AUTH_MECHS), &m);
		ipc_call_send(&o->call, MECHS_USEC);
	}
}

static void
on_mechs(struct op *op)
{
	struct offer *o = container_of(op, struct offer, call.op);
	struct msg_auth_offer m;
	CHECK(o->cyrus, CYRUS_MAGIC);
	if (op->rc != RC_OK || msg_auth_offer_get(buf_span(&o->call.reply), &m) != RC_OK || m.rc != RC_OK) {
		timer_set(&o->cyrus->again, MECHS_AGAIN);
		return;
	}
	struct span word;
	o->mechs.n = 0;
	while (span_word(&m.text, " ", &word))
		(void)!sasl_mechs_add(&o->mechs, word, 0);
	o->is_known = true;
	if (o->cyrus->offer[0].is_known && o->cyrus->offer[1].is_known)
		settle(o->cyrus);
}

static void
on_again(struct timer *t)
{
	ask_mechs(container_of(t, struct cyrus, again));
}

const struct sasl_mechs *
cyrus_mechs(const struct cyrus *c, bool is_tls)
{
	return c->offer[is_tls].is_known ? &c->offer[is_tls].mechs : NULL;
}

/* ---- logins ---- */

static void
on_said(struct op *op)
{
	struct sasl_exchange *x = container_of(op, struct sasl_exchange, call.op);
	struct msg_auth_said m;
	struct buf text;
	me.nasks--;
	metric_add(M_sasl_pending, -1);
	if (op->rc != RC_OK || msg_auth_said_get(buf_span(&x->call.reply), &m) != RC_OK) {
		metric_add(M_sasl_timeouts, 1);
		cyrus_forget(x);
		sasl_exchange_end(x, SASL_NOT_NOW, span_str(LOST), SPAN_EMPTY);
		return;
	}
	bool goes_on = m.outcome == AUTH_GOES_ON;
	buf_init_secret(&text, SASL_TEXT_MAX);
	if (goes_on)
		base64_encode(&text, m.text);
	if (!goes_on)
		x->context = 0; /* it is over there as well */
	static const enum sasl_outcome outcomes[] = {
		[AUTH_GOES_ON] = SASL_GOES_ON, [AUTH_DONE] = SASL_DONE, [AUTH_FAILED] = SASL_FAILED, [AUTH_NOT_NOW] = SASL_NOT_NOW,
	};
	bool no_name = m.outcome == AUTH_DONE && (m.user.n == 0 || !span_is_printable(m.user) || !span_is_utf8(m.user));
	if (text.over || no_name)
		sasl_exchange_end(x, SASL_NOT_NOW, SPAN("Authentication backend error"), SPAN_EMPTY);
	else
		sasl_exchange_end(x, outcomes[m.outcome], goes_on ? buf_span(&text) : m.text, m.user);
	buf_fini(&text);
}

static void
detach(struct op *op)
{
	cyrus_forget(container_of(op, struct sasl_exchange, op));
}

static const struct op_provider provider = { "auth process", detach };

static void
say(struct sasl_exchange *x, uint64_t timeout_usec)
{
	me.nasks++;
	metric_add(M_sasl_pending, 1);
	op_pend(&x->op, &provider);
	ipc_call_send(&x->call, timeout_usec);
}

/* ---- while there is no auth process ---- */

static void
stop_waiting(struct sasl_exchange *x)
{
	if (x->state != SASL_X_WAITS)
		return;
	list_remove(&x->link);
	timer_clear(&x->timer);
	buf_reset(&x->request);
	x->state = SASL_X_IDLE;
	me.nasks--;
	metric_add(M_sasl_pending, -1);
}

static void
on_patience(struct timer *t)
{
	struct sasl_exchange *x = container_of(t, struct sasl_exchange, timer);
	stop_waiting(x);
	sasl_exchange_end(x, SASL_NOT_NOW, span_str(CANNOT_CONNECT), SPAN_EMPTY);
}

/* A process that is started anew (a reload, a death) costs no login that begins meanwhile. */
static void
wait_for_process(struct sasl_exchange *x, const struct msg_auth_begin *m)
{
	buf_reset(&x->request);
	msg_auth_begin_put(&x->request, m);
	x->state = SASL_X_WAITS;
	list_append(&me.waiting, &x->link);
	me.nasks++;
	metric_add(M_sasl_pending, 1);
	timer_init(&x->timer, on_patience);
	timer_set(&x->timer, PATIENCE);
	op_pend(&x->op, &provider);
}

static void
ask_waiting(void)
{
	while (!list_empty(&me.waiting)) {
		struct sasl_exchange *x = list_entry(me.waiting.next, struct sasl_exchange, link);
		buf_put(ipc_call_begin(&x->call, me.chan, IPC_AUTH_BEGIN), buf_span(&x->request));
		stop_waiting(x);
		x->chan = me.chan;
		me.nasks++;
		metric_add(M_sasl_pending, 1);
		ipc_call_send(&x->call, sasl_setup_params(x->setup)->p_smtpd_sasl_backend_timeout);
	}
}

/* ---- an exchange ---- */

void
cyrus_begin(struct cyrus *c, struct sasl_exchange *x, unsigned options, const char *mech, bool has_initial, struct span initial)
{
	CHECK(c, CYRUS_MAGIC);
	struct buf octets;
	buf_init_secret(&octets, SASL_RESPONSE_MAX);
	if (me.nasks >= ASKS_MAX || base64_decode(initial, &octets) != RC_OK) {
		metric_add(M_sasl_crowded, me.nasks >= ASKS_MAX);
		sasl_exchange_end(x, SASL_NOT_NOW, SPAN("Too many logins at a time"), SPAN_EMPTY);
		buf_fini(&octets);
		return;
	}
	if (x->call.op.done == NULL)
		ipc_call_init(&x->call, &x->ops, on_said);
	x->call.reply.is_secret = true;
	x->context = ++me.next_context;
	x->chan = me.chan;
	struct msg_auth_begin m = { x->context, about(c, options), span_str(mech), has_initial, buf_span(&octets) };
	if (me.chan == NULL)
		wait_for_process(x, &m);
	else {
		msg_auth_begin_put(ipc_call_begin(&x->call, me.chan, IPC_AUTH_BEGIN), &m);
		say(x, c->p->p_smtpd_sasl_backend_timeout);
	}
	buf_fini(&octets);
}

void
cyrus_answer(struct cyrus *c, struct sasl_exchange *x, struct span response)
{
	CHECK(c, CYRUS_MAGIC);
	struct buf octets;
	buf_init_secret(&octets, SASL_RESPONSE_MAX);
	if (me.chan == NULL || x->chan != me.chan || base64_decode(response, &octets) != RC_OK) {
		x->context = 0; /* it went with the process */
		sasl_exchange_end(x, SASL_NOT_NOW, span_str(LOST), SPAN_EMPTY);
	} else {
		msg_auth_step_put(ipc_call_begin(&x->call, me.chan, IPC_AUTH_STEP), &(struct msg_auth_step){ x->context, buf_span(&octets) });
		say(x, c->p->p_smtpd_sasl_backend_timeout);
	}
	buf_fini(&octets);
}

void
cyrus_forget(struct sasl_exchange *x)
{
	if (x->call.op.done == NULL)
		return;
	stop_waiting(x);
	if (x->call.op.state != OP_IDLE) {
		me.nasks--;
		metric_add(M_sasl_pending, -1);
	}
	ipc_call_fini(&x->call);
	if (x->context != 0 && x->chan == me.chan && me.chan != NULL) {
		buf_put_u64(ipc_begin(me.chan, IPC_AUTH_END, 0), x->context);
		ipc_end(me.chan);
	}
	x->context = 0;
}

/* ---- the channel ---- */

/* It answers, it never asks. */
static enum rc
on_frame(struct ipc_chan *c, struct ipc_frame *f)
{
	(void)c, (void)f;
	return RC_PERM;
}

static void
on_down(struct ipc_chan *c)
{
	if (me.chan == c)
		me.chan = NULL;
	ipc_chan_free(&c);
}

static const struct ipc_chan_ops chan_ops = { on_frame, on_down };

void
cyrus_peer(struct child *child, unsigned index, int fd)
{
	struct ipc_chan *old = me.chan;
	me.chan = NULL;
	ipc_chan_free(&old);
	me.chan = ipc_chan_new(fd, child->ops->role, ROLE_AUTH, index, &chan_ops, NULL);
	me.chan->in.is_secret = me.chan->out.is_secret = true; /* passwords go this way */
	me.next_context = rand_u64() >> 1;
	list_each(it, &me.all)
		ask_mechs(list_entry(it, struct cyrus, link));
	ask_waiting();
}

/* ---- life ---- */

/* Of the services with this backend the first one, which speaks for all. */
static bool
is_first(struct conf *c, const struct service *s)
{
	for (size_t i = 0; i < conf_service_count(c); i++) {
		const struct params *p = conf_service(c, i)->params;
		if (conf_service(c, i)->kind == SERVICE_LISTENER && p->p_smtpd_sasl_auth_enable && span_caseeq_str(span_str(p->p_smtpd_sasl_type), "cyrus"))
			return conf_service(c, i) == s;
	}
	return false;
}

/* libsasl2 has one application name in a process, and there is one auth process. */
static enum rc
same_application(struct conf *c, const struct service *s, struct err *e)
{
	for (size_t i = 0; i < conf_service_count(c); i++) {
		const struct params *p = conf_service(c, i)->params;
		if (conf_service(c, i)->kind == SERVICE_LISTENER && p->p_smtpd_sasl_auth_enable && span_caseeq_str(span_str(p->p_smtpd_sasl_type), "cyrus") &&
		    (strcmp(p->p_smtpd_sasl_path, s->params->p_smtpd_sasl_path) != 0 ||
		    strcmp(p->p_cyrus_sasl_config_path, s->params->p_cyrus_sasl_config_path) != 0))
			return err_set(e, RC_PERM, "another service has %s, or another cyrus_sasl_config_path: with smtpd_sasl_type = cyrus all need the same",
			    p->p_smtpd_sasl_path);
	}
	return RC_OK;
}

static enum rc
check_path(struct conf *c, const struct service *s, struct err *e)
{
	const char *path = s->params->p_smtpd_sasl_path;
	if (path[0] == '\0' || strchr(path, '/') != NULL)
		return err_set(e, RC_PERM, "need a name, of the file NAME.conf, for smtpd_sasl_type = cyrus");
	return same_application(c, s, e);
}

/* After a reload: what a service of the same kind was told holds until there is an answer. */
static void
take_known(struct cyrus *c)
{
	list_each(it, &me.all) {
		const struct cyrus *old = list_entry(it, struct cyrus, link);
		for (size_t i = 0; i < NELEMS(c->offer); i++)
			for (size_t k = 0; k < NELEMS(old->offer); k++)
				if (old->offer[k].is_known && old->offer[k].options == c->offer[i].options) {
					c->offer[i].mechs = old->offer[k].mechs;
					c->offer[i].is_known = true;
				}
	}
}

enum rc
cyrus_open(struct conf *conf, const struct service *s, const unsigned options[2], bool live, struct cyrus **out, struct err *e)
{
	*out = NULL;
	enum rc rc = check_path(conf, s, e);
	if (rc == RC_OK && !live && is_first(conf, s))
		cyrus_files_check(conf, s);
	if (rc != RC_OK || !live)
		return rc;
	struct cyrus *c = mem_zalloc(sizeof *c);
	c->magic = CYRUS_MAGIC;
	c->p = s->params;
	op_owner_init(&c->ops);
	timer_init(&c->again, on_again);
	for (size_t i = 0; i < NELEMS(c->offer); i++) {
		c->offer[i].cyrus = c;
		c->offer[i].options = options[i];
		ipc_call_init(&c->offer[i].call, &c->ops, on_mechs);
	}
	take_known(c);
	list_init(&c->link);
	list_append(&me.all, &c->link);
	sasl_one_more();
	if (c->offer[0].is_known && c->offer[1].is_known)
		settle(c);
	ask_mechs(c);
	*out = c;
	return RC_OK;
}

void
cyrus_free(struct cyrus **cp)
{
	struct cyrus *c = *cp;
	*cp = NULL;
	if (c == NULL)
		return;
	CHECK(c, CYRUS_MAGIC);
	settle(c);
	timer_clear(&c->again);
	for (size_t i = 0; i < NELEMS(c->offer); i++)
		ipc_call_fini(&c->offer[i].call);
	list_remove(&c->link);
	c->magic = 0;
	mem_free(&c);
}
