/* SPDX-License-Identifier: BSD-2-Clause */
#include "policy/server.h"

#include "base/mem.h"
#include "base/metric.h"
#include "conf/param.h"
#include "ipc/dial.h"
#include "loop/conn.h"
#include "policy/server_text.h"

#include <errno.h>

enum { SERVER_MAGIC = 0x9011c75e, LINK_MAGIC = 0x9011c711, QUESTION_MAX = 128 * 1024, TEXT_MAX = 1024 };

struct policy_server {
	unsigned magic;
	char *text;
	struct endpoint *endpoint;
	uint64_t timeout, max_idle, max_ttl, retry_delay;
	int64_t request_limit, try_limit, link_limit;
	char *default_action, *context;
	struct list idle, busy;      /* struct policy_link */
	size_t nlinks;
	struct list waiting;         /* struct policy_ask, in order of arrival */
};

/* One connection. Dialling, with a question, with a question nobody waits for any more, or at rest. */
struct policy_link {
	unsigned magic;
	struct list link;
	struct policy_server *server;
	struct policy_ask *ask;      /* NULL: at rest, or nobody waits */
	struct op_owner ops;
	struct dial dial;
	struct conn conn;
	bool is_asked;               /* an answer is to come */
	bool is_new;                 /* the first question is on it */
	uint64_t born;
	int64_t asked;
	struct grave grave;
};

/* ---- links ---- */

static void pump(struct policy_server *s);

static void
dig_link(struct grave *g)
{
	struct policy_link *l = container_of(g, struct policy_link, grave);
	mem_poison(l, sizeof *l);
	mem_free(&l);
}

static void
link_end(struct policy_link *l)
{
	CHECK(l, LINK_MAGIC);
	if (l->ask != NULL)
		l->ask->link = NULL;
	l->ask = NULL;
	dial_fini(&l->dial);
	conn_close(&l->conn);
	list_remove(&l->link);
	l->server->nlinks--;
	metric_add(M_policy_connections, -1);
	loop_bury(&l->grave, dig_link);
}

/* This attempt is over without an answer. */
static void
attempt_failed(struct policy_ask *a, bool costs_nothing)
{
	struct policy_server *s = a->server;
	a->link = NULL;
	if (costs_nothing) {
		a->wants_new = true;
		list_prepend(&s->waiting, &a->waiting);
		timer_set(&a->timer, s->timeout);
		return;
	}
	if (++a->tries >= s->try_limit) {
		metric_add(M_policy_failures, 1);
		op_finish(&a->op, RC_TEMP);
		return;
	}
	timer_set(&a->timer, s->retry_delay);
}

static void
link_failed(struct policy_link *l, const char *why, bool is_closed)
{
	struct policy_server *s = l->server;
	struct policy_ask *a = l->ask;
	l->ask = NULL;
	link_end(l);
	if (a != NULL) {
		(void)err_set(&a->why, RC_TEMP, "%s", why);
		attempt_failed(a, is_closed && !l->is_new && !a->wants_new);
	}
	pump(s);
}

/* The answer is not one: asking again would not help. */
static void
link_bad(struct policy_link *l, const char *why)
{
	struct policy_server *s = l->server;
	struct policy_ask *a = l->ask;
	l->ask = NULL;
	link_end(l);
	if (a != NULL) {
		a->link = NULL;
		metric_add(M_policy_failures, 1);
		op_finish(&a->op, err_set(&a->why, RC_TEMP, "%s", why));
	}
	pump(s);
}

/* What was asked is answered. */
static void
link_rest(struct policy_link *l)
{
	struct policy_server *s = l->server;
	l->ask = NULL;
	l->is_asked = l->is_new = false;
	bool is_old = loop_now() - l->born >= s->max_ttl || (s->request_limit > 0 && l->asked >= s->request_limit);
	if (is_old || conn_input(&l->conn).n > 0 || conn_input_eof(&l->conn)) {
		link_end(l); /* octets behind an answer belong to no question */
	} else {
		list_remove(&l->link);
		list_prepend(&s->idle, &l->link);
		conn_deadline(&l->conn, s->max_idle);
	}
	pump(s);
}

static void
on_input(struct conn *c)
{
	struct policy_link *l = container_of(c, struct policy_link, conn);
	struct span action;
	size_t used = 0;
	const char *why = NULL;
	CHECK(l, LINK_MAGIC);
	if (!l->is_asked) {
		link_end(l);
		return;
	}
	switch (policy_answer(conn_input(c), &action, &used, &why)) {
	case POLICY_ANSWER_MORE:
		return;
	case POLICY_ANSWER_BAD:
		link_bad(l, why);
		return;
	case POLICY_ANSWER_OK:
		break;
	}
	struct policy_ask *a = l->ask;
	if (a != NULL) {
		a->link = NULL;
		buf_put(&a->action, action);
		op_finish(&a->op, RC_OK);
	}
	conn_consume(c, used);
	link_rest(l);
}

static void
on_ended(struct conn *c, enum conn_end why, int err)
{
	struct policy_link *l = container_of(c, struct policy_link, conn);
	CHECK(l, LINK_MAGIC);
	if (!l->is_asked)
		link_end(l);
	else if (why == CONN_TIMEOUT)
		link_failed(l, strerror(ETIMEDOUT), false);
	else
		link_failed(l, why == CONN_EOF ? "connection closed before the answer" : strerror(err), conn_input(c).n == 0);
}

static const struct conn_ops link_ops = { .input = on_input, .ended = on_ended };

static void
link_ask(struct policy_link *l, struct policy_ask *a)
{
	l->ask = a;
	a->link = l;
	timer_clear(&a->timer);
	if (!conn_is_open(&l->conn))
		return; /* when it stands */
	l->is_asked = true;
	l->asked++;
	conn_put(&l->conn, buf_span(&a->question));
	conn_deadline(&l->conn, l->server->timeout);
}

static void
on_dial(struct op *op)
{
	struct policy_link *l = container_of(op, struct policy_link, dial.op);
	CHECK(l, LINK_MAGIC);
	if (op->rc != RC_OK) {
		char why[sizeof l->dial.why.why];
		memcpy(why, l->dial.why.why, sizeof why);
		link_failed(l, why, false);
		return;
	}
	conn_init(&l->conn, dial_take(&l->dial), &link_ops, POLICY_ANSWER_MAX + 1, QUESTION_MAX);
	l->born = loop_now();
	if (l->ask != NULL)
		link_ask(l, l->ask);
	else
		link_rest(l);
}

static void
link_new(struct policy_server *s, struct policy_ask *a)
{
	struct policy_link *l = mem_zalloc(sizeof *l);
	l->magic = LINK_MAGIC;
	l->server = s;
	l->is_new = true;
	l->conn.fd = -1;
	op_owner_init(&l->ops);
	list_init(&l->link);
	list_append(&s->busy, &l->link);
	s->nlinks++;
	metric_add(M_policy_connections, 1);
	dial_init(&l->dial, &l->ops, on_dial);
	link_ask(l, a);
	dial_start(&l->dial, s->endpoint, s->timeout);
}

/* Gives waiting questions to connections, as far as there are any. */
static void
pump(struct policy_server *s)
{
	while (!list_empty(&s->waiting)) {
		struct policy_ask *a = list_entry(s->waiting.next, struct policy_ask, waiting);
		bool has_idle = !list_empty(&s->idle);
		if (a->wants_new && has_idle) { /* as old as the one that was closed, or older */
			link_end(list_entry(s->idle.next, struct policy_link, link));
			continue;
		}
		if (!has_idle && s->nlinks >= (size_t)s->link_limit)
			return;
		list_remove(&a->waiting);
		if (!has_idle) {
			link_new(s, a);
			continue;
		}
		struct policy_link *l = list_entry(s->idle.next, struct policy_link, link);
		list_remove(&l->link);
		list_append(&s->busy, &l->link);
		link_ask(l, a);
	}
}

/* ---- questions ---- */

static void
detach(struct op *op)
{
	struct policy_ask *a = container_of(op, struct policy_ask, op);
	list_remove(&a->waiting);
	timer_clear(&a->timer);
	if (a->link != NULL)
		a->link->ask = NULL; /* the answer comes and finds nobody; the connection stays */
	a->link = NULL;
}

static const struct op_provider provider = { "policy service", detach };

/* The next attempt, or the end of waiting for a connection. */
static void
on_ask_timer(struct timer *t)
{
	struct policy_ask *a = container_of(t, struct policy_ask, timer);
	if (list_linked(&a->waiting)) {
		list_remove(&a->waiting);
		metric_add(M_policy_failures, 1);
		op_finish(&a->op, err_set(&a->why, RC_TEMP, "all connections are busy"));
		return;
	}
	list_append(&a->server->waiting, &a->waiting);
	timer_set(&a->timer, a->server->timeout);
	pump(a->server);
}

void
policy_ask_init(struct policy_ask *a, struct op_owner *owner, op_fn *done)
{
	*a = (struct policy_ask){ 0 };
	op_init(&a->op, owner, done);
	list_init(&a->waiting);
	buf_init(&a->question, QUESTION_MAX);
	buf_init(&a->action, POLICY_ANSWER_MAX);
}

void
policy_ask_start(struct policy_ask *a, struct policy_server *s)
{
	CHECK(s, SERVER_MAGIC);
	metric_add(M_policy_questions, 1);
	a->server = s;
	a->tries = 0;
	a->wants_new = false;
	timer_init(&a->timer, on_ask_timer);
	op_pend(&a->op, &provider);
	list_append(&s->waiting, &a->waiting);
	timer_set(&a->timer, s->timeout);
	pump(s);
}

void
policy_ask_fini(struct policy_ask *a)
{
	op_cancel(&a->op);
	timer_clear(&a->timer);
	buf_fini(&a->question);
	buf_fini(&a->action);
}

/* ---- configuration ---- */

static enum rc
set_count(struct span v, int64_t min, int64_t *out, struct err *e)
{
	int64_t n;
	if (param_int(v, &n) != RC_OK || n < min || n > INT32_MAX)
		return err_set(e, RC_PERM, "need a number from %lld", (long long)min);
	*out = n;
	return RC_OK;
}

static enum rc
set_text(struct span v, char **out, struct err *e)
{
	if (v.n > TEXT_MAX || span_chr(v, '\0') != SIZE_MAX || span_chr(v, '\n') != SIZE_MAX)
		return err_set(e, RC_PERM, "too long, or more than a line");
	mem_free(out);
	*out = mem_zalloc(v.n + 1);
	if (v.n > 0)
		memcpy(*out, v.p, v.n);
	return RC_OK;
}

static enum rc
set_option(void *owner, struct span name, struct span v, struct err *e)
{
	struct policy_server *s = owner;
	if (span_eq_str(name, "timeout"))
		return conf_setting_time(v, &s->timeout, e);
	if (span_eq_str(name, "max_idle"))
		return conf_setting_time(v, &s->max_idle, e);
	if (span_eq_str(name, "max_ttl"))
		return conf_setting_time(v, &s->max_ttl, e);
	if (span_eq_str(name, "retry_delay"))
		return conf_setting_time(v, &s->retry_delay, e);
	if (span_eq_str(name, "request_limit"))
		return set_count(v, 0, &s->request_limit, e);
	if (span_eq_str(name, "try_limit"))
		return set_count(v, 1, &s->try_limit, e);
	if (span_eq_str(name, "default_action"))
		return set_text(v, &s->default_action, e);
	if (span_eq_str(name, "policy_context"))
		return set_text(v, &s->context, e);
	return err_set(e, RC_PERM, "no such setting");
}

enum rc
policy_server_open(struct conf *c, const struct service *svc, const char *parameter, struct span arg, bool is_group, struct policy_server **out,
    struct err *e)
{
	const struct params *p = svc != NULL ? svc->params : conf_params(c);
	struct span endpoint = arg, rest = SPAN_EMPTY;
	bool group = false;
	*out = NULL;
	if (is_group) {
		rest = arg;
		if (conf_item(&rest, &endpoint, &group) != RC_OK || group)
			return err_set(e, RC_PERM, "need { endpoint, name = value, ... }");
	}
	struct policy_server *s = mem_zalloc(sizeof *s);
	*s = (struct policy_server){
		.magic = SERVER_MAGIC,
		.timeout = p->p_smtpd_policy_service_timeout, .max_idle = p->p_smtpd_policy_service_max_idle,
		.max_ttl = p->p_smtpd_policy_service_max_ttl, .retry_delay = p->p_smtpd_policy_service_retry_delay,
		.request_limit = p->p_smtpd_policy_service_request_limit, .try_limit = p->p_smtpd_policy_service_try_limit,
		.link_limit = p->p_smtpd_policy_service_connection_limit,
		.default_action = mem_strdup(p->p_smtpd_policy_service_default_action),
		.context = mem_strdup(p->p_smtpd_policy_service_policy_context),
	};
	list_init(&s->idle);
	list_init(&s->busy);
	list_init(&s->waiting);
	enum rc rc = set_text(endpoint, &s->text, e);
	if (rc == RC_OK)
		rc = conf_settings(rest, set_option, s, e);
	if (rc == RC_OK)
		rc = endpoint_open(c, svc, parameter, endpoint, &s->endpoint, e);
	if (rc != RC_OK)
		policy_server_free(&s);
	*out = s;
	return rc;
}

static void
end_all(struct list *links)
{
	while (!list_empty(links))
		link_end(list_entry(links->next, struct policy_link, link));
}

void
policy_server_free(struct policy_server **sp)
{
	struct policy_server *s = *sp;
	*sp = NULL;
	if (s == NULL)
		return;
	CHECK(s, SERVER_MAGIC);
	BUG_ON(!list_empty(&s->waiting));
	end_all(&s->idle);
	end_all(&s->busy);
	endpoint_free(&s->endpoint);
	mem_free(&s->text);
	mem_free(&s->default_action);
	mem_free(&s->context);
	s->magic = 0;
	mem_free(&s);
}

const char *
policy_server_text(const struct policy_server *s)
{
	return s->text;
}

const char *
policy_server_name(const struct policy_server *s)
{
	return s->endpoint->shown;
}

const char *
policy_server_default(const struct policy_server *s)
{
	return s->default_action;
}

const char *
policy_server_context(const struct policy_server *s)
{
	return s->context;
}
