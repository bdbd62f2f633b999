/* SPDX-License-Identifier: BSD-2-Clause */
#include "sasl/dovecot.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/rights.h"
#include "ipc/dial.h"
#include "loop/conn.h"
#include "sasl/dovecot_line.h"
#include "sasl/setup.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DOVECOT_MAGIC = 0xd07ec07a, ASKS_MAX = 1024, OUT_MAX = 16 * 1024 * 1024, TURN_LINES = 256 };
static const uint64_t DIAL_USEC = 10 * USEC_PER_SEC, GREETING_USEC = 10 * USEC_PER_SEC;
static const uint64_t RETRY_FIRST = 500 * 1000, RETRY_MOST = 30 * USEC_PER_SEC;

static const char CANNOT_CONNECT[] = "Can't connect to authentication server";
static const char LOST[] = "Connection lost to authentication server";

enum dovecot_state { DOVECOT_DOWN = 0, DOVECOT_DIALS, DOVECOT_GREETS, DOVECOT_READY };

struct dovecot {
	unsigned magic;
	int refs;
	struct list link;
	char *path;                  /* as configured */
	struct endpoint *endpoint;
	enum dovecot_state state;
	struct op_owner ops;
	struct dial dial;
	struct conn conn;
	struct timer retry;
	uint64_t retry_usec;
	const char *complained;      /* what did not work, said once; NULL: nothing */
	/* the server at hand */
	bool has_version;
	uint32_t minor;
	uint64_t heard;              /* loop time of its last octets */
	struct sasl_mechs coming;
	uint32_t first_id, last_id;  /* ids used on this connection: from, to */
	/* what is asked */
	struct list waiting;         /* for a connection */
	struct list asked;           /* answered or not, the server knows them */
	struct htab by_id;
	size_t nasks;
	bool is_known, is_settled;
	struct sasl_mechs mechs;     /* of the last greeting */
};

static struct list all = { &all, &all };

static void down(struct dovecot *d, const char *why, bool was_reached);
static void reach(struct dovecot *d);

static void
settle(struct dovecot *d)
{
	if (!d->is_settled)
		sasl_one_settled();
	d->is_settled = true;
}

static void
complain(struct dovecot *d, const char *what, const char *why)
{
	static const struct log_ctx ctx = { .service = "smtpd" };
	if (d->complained == what)
		return;
	d->complained = what;
	log_warn(&ctx, "SASL: %s Dovecot auth socket '%s' failed: %s", what, d->path, why);
}

/* ---- exchanges ---- */

static uint64_t
hash_of(uint32_t id)
{
	return id * UINT64_C(0x9e3779b97f4a7c15) >> 16;
}

static struct sasl_exchange *
find(struct dovecot *d, uint32_t id)
{
	struct hnode *n = htab_first(&d->by_id, hash_of(id));
	while (n != NULL && container_of(n, struct sasl_exchange, by_id)->id != id)
		n = htab_next(n);
	return n != NULL ? container_of(n, struct sasl_exchange, by_id) : NULL;
}

/* Out of all lists. */
static void
take_out(struct dovecot *d, struct sasl_exchange *x)
{
	if (x->state == SASL_X_IDLE)
		return;
	if (x->state != SASL_X_WAITS)
		htab_remove(&d->by_id, &x->by_id);
	list_remove(&x->link);
	timer_clear(&x->timer);
	buf_reset(&x->request);
	x->state = SASL_X_IDLE;
	d->nasks--;
	metric_add(M_sasl_pending, -1);
}

static void
finish(struct dovecot *d, struct sasl_exchange *x, enum sasl_outcome outcome, struct span text, struct span user)
{
	take_out(d, x);
	sasl_exchange_end(x, outcome, text, user);
}

static void
send_request(struct dovecot *d, struct sasl_exchange *x)
{
	if (++d->last_id == 0)
		d->last_id = 1;
	x->id = d->last_id;
	x->state = SASL_X_ASKED;
	x->is_first = true;
	x->asked_at = loop_now();
	htab_insert(&d->by_id, &x->by_id, hash_of(x->id));
	list_append(&d->asked, &x->link);
	struct buf *b = conn_out(&d->conn);
	buf_puts(b, "AUTH\t");
	buf_put_dec(b, x->id);
	buf_put(b, buf_span(&x->request));
}

static void
send_waiting(struct dovecot *d)
{
	for (struct list *l; (l = list_pop(&d->waiting)) != NULL;)
		send_request(d, list_entry(l, struct sasl_exchange, link));
}

/* The server need not keep it until its own time is over (protocol 1.1). */
static void
send_cancel(struct dovecot *d, const struct sasl_exchange *x)
{
	if (d->state != DOVECOT_READY || d->minor < 1)
		return;
	struct buf *b = conn_out(&d->conn);
	buf_puts(b, "CANCEL\t");
	buf_put_dec(b, x->id);
	buf_putc(b, '\n');
}

void
dovecot_forget(struct dovecot *d, struct sasl_exchange *x)
{
	CHECK(d, DOVECOT_MAGIC);
	if (x->state == SASL_X_ASKED || x->state == SASL_X_THEIRS)
		send_cancel(d, x);
	take_out(d, x);
}

/* ---- what the server says ---- */

enum heard { HEARD_FINE, HEARD_BAD };

static enum heard
bad(struct err *e, const char *why)
{
	(void)err_set(e, RC_PERM, "%s", why);
	return HEARD_BAD;
}

static enum heard
greeting_line(struct dovecot *d, const struct dovecot_line *l, struct err *e)
{
	switch (l->verb) {
	case DOVECOT_VERSION:
		if (l->major != 1) {
			(void)err_set(e, RC_PERM, "Protocol version mismatch (%u vs. 1)", l->major);
			return HEARD_BAD;
		}
		d->has_version = true;
		d->minor = l->minor;
		return HEARD_FINE;
	case DOVECOT_MECH:
		(void)!sasl_mechs_add(&d->coming, l->mech, l->properties);
		return HEARD_FINE;
	case DOVECOT_SPID:
		return d->coming.n > 0 ? HEARD_FINE : bad(e, "Connected to wrong auth socket (auth-master instead of auth-client)");
	case DOVECOT_DONE:
		if (!d->has_version)
			return bad(e, "no VERSION in the greeting");
		d->mechs = d->coming;
		d->is_known = true;
		settle(d);
		d->state = DOVECOT_READY;
		d->complained = NULL;
		d->retry_usec = RETRY_FIRST;
		conn_deadline(&d->conn, 0);
		send_waiting(d);
		return HEARD_FINE;
	case DOVECOT_CONT:
	case DOVECOT_OK:
	case DOVECOT_FAIL:
		return bad(e, "an answer before the greeting is over");
	case DOVECOT_OTHER:
		break;
	}
	return HEARD_FINE;
}

static bool
was_used(const struct dovecot *d, uint32_t id)
{
	return id - d->first_id < d->last_id + 1 - d->first_id;
}

static enum heard
answer_line(struct dovecot *d, const struct dovecot_line *l, struct err *e)
{
	if (l->verb != DOVECOT_CONT && l->verb != DOVECOT_OK && l->verb != DOVECOT_FAIL)
		return HEARD_FINE;
	struct sasl_exchange *x = find(d, l->id);
	if (x == NULL && !was_used(d, l->id))
		return bad(e, "an answer to a request that was never made");
	if (x == NULL) {
		metric_add(M_sasl_late, 1); /* who asked has gone */
		return HEARD_FINE;
	}
	if (x->state == SASL_X_THEIRS && l->verb != DOVECOT_FAIL)
		return bad(e, "an answer nobody asked for");
	if (x->state == SASL_X_THEIRS) { /* it gave up waiting for the client, who hears it when he goes on */
		x->early = l->is_temporary ? SASL_NOT_NOW : SASL_FAILED;
		return HEARD_FINE;
	}
	switch (l->verb) {
	case DOVECOT_CONT:
		x->state = SASL_X_THEIRS;
		x->is_first = false;
		timer_clear(&x->timer);
		buf_reset(&x->request);
		sasl_exchange_end(x, SASL_GOES_ON, l->challenge, SPAN_EMPTY);
		break;
	case DOVECOT_OK:
		finish(d, x, SASL_DONE, SPAN_EMPTY, l->user);
		break;
	case DOVECOT_FAIL:
		finish(d, x, l->is_temporary ? SASL_NOT_NOW : SASL_FAILED, l->reason, l->user);
		break;
	case DOVECOT_OTHER:
	case DOVECOT_VERSION:
	case DOVECOT_MECH:
	case DOVECOT_SPID:
	case DOVECOT_DONE:
		break;
	}
	return HEARD_FINE;
}

static void
on_input(struct conn *c)
{
	struct dovecot *d = container_of(c, struct dovecot, conn);
	CHECK(d, DOVECOT_MAGIC);
	d->heard = loop_now();
	for (unsigned n = 0; n < TURN_LINES; n++) {
		struct span in = conn_input(c);
		struct dovecot_line line;
		struct err e;
		size_t lf = span_chr(in, '\n');
		if (lf == SIZE_MAX && in.n > DOVECOT_LINE_MAX) {
			down(d, "a line without end", true);
			return;
		}
		if (lf == SIZE_MAX)
			return;
		enum rc rc = dovecot_line(span_head(in, lf), &line, &e);
		enum heard heard = rc != RC_OK ? HEARD_BAD : d->state == DOVECOT_GREETS ? greeting_line(d, &line, &e) : answer_line(d, &line, &e);
		if (heard == HEARD_BAD) {
			down(d, e.why, true);
			return;
		}
		conn_consume(c, lf + 1);
	}
	conn_pause(c); /* others get their turn */
	conn_resume(c);
}

static void
on_ended(struct conn *c, enum conn_end why, int err)
{
	struct dovecot *d = container_of(c, struct dovecot, conn);
	CHECK(d, DOVECOT_MAGIC);
	down(d, why == CONN_TIMEOUT ? strerror(ETIMEDOUT) : why == CONN_EOF ? "connection closed" : strerror(err), true);
}

static const struct conn_ops conn_ops = { .input = on_input, .ended = on_ended };

/* ---- the connection ---- */

static void
on_retry(struct timer *t)
{
	struct dovecot *d = container_of(t, struct dovecot, retry);
	if (d->state == DOVECOT_DOWN)
		reach(d);
}

/* What the connection takes along: a first request may be made once more, everything else is over. */
static void
lose_asked(struct dovecot *d)
{
	for (struct list *l; (l = list_pop(&d->asked)) != NULL;) {
		struct sasl_exchange *x = list_entry(l, struct sasl_exchange, link);
		if (x->state == SASL_X_THEIRS) { /* the client is to speak, and hears it then */
			take_out(d, x);
			x->early = SASL_NOT_NOW;
		} else if (!x->is_first || x->tries++ > 0) {
			finish(d, x, SASL_NOT_NOW, span_str(LOST), SPAN_EMPTY);
		} else {
			htab_remove(&d->by_id, &x->by_id);
			x->state = SASL_X_WAITS;
			list_append(&d->waiting, &x->link);
		}
	}
}

static void
down(struct dovecot *d, const char *why, bool was_reached)
{
	bool was_ready = d->state == DOVECOT_READY;
	static const char connecting[] = "Connect to", greeting[] = "Handshake with", talking[] = "Talking to";
	complain(d, !was_reached ? connecting : was_ready ? talking : greeting, why);
	dial_fini(&d->dial);
	conn_close(&d->conn);
	d->state = DOVECOT_DOWN;
	settle(d);
	lose_asked(d);
	if (was_ready && !list_empty(&d->waiting)) { /* it may be back at once */
		reach(d);
		return;
	}
	while (!list_empty(&d->waiting))
		finish(d, list_entry(d->waiting.next, struct sasl_exchange, link), SASL_NOT_NOW, span_str(CANNOT_CONNECT), SPAN_EMPTY);
	timer_set(&d->retry, d->retry_usec);
	d->retry_usec = d->retry_usec * 2 < RETRY_MOST ? d->retry_usec * 2 : RETRY_MOST;
}

static void
on_dial(struct op *op)
{
	struct dovecot *d = container_of(op, struct dovecot, dial.op);
	CHECK(d, DOVECOT_MAGIC);
	if (op->rc != RC_OK) {
		char why[sizeof d->dial.why.why];
		memcpy(why, d->dial.why.why, sizeof why);
		down(d, why, false);
		return;
	}
	conn_init(&d->conn, dial_take(&d->dial), &conn_ops, DOVECOT_LINE_MAX + 1, OUT_MAX);
	d->conn.in.is_secret = d->conn.out.is_secret = true;
	d->state = DOVECOT_GREETS;
	d->has_version = false;
	d->minor = 0;
	d->coming.n = 0;
	d->first_id = d->last_id + 1;
	conn_deadline(&d->conn, GREETING_USEC);
	buf_printf(conn_out(&d->conn), "VERSION\t1\t1\nCPID\t%d\n", (int)getpid());
}

static void
reach(struct dovecot *d)
{
	timer_clear(&d->retry);
	dial_init(&d->dial, &d->ops, on_dial);
	d->state = DOVECOT_DIALS;
	dial_start(&d->dial, d->endpoint, DIAL_USEC);
}

/* ---- exchanges, from outside ---- */

static void
detach(struct op *op)
{
	struct sasl_exchange *x = container_of(op, struct sasl_exchange, op);
	dovecot_forget(sasl_setup_dovecot(x->setup), x);
}

static const struct op_provider provider = { "dovecot", detach };

static void
on_timeout(struct timer *t)
{
	struct sasl_exchange *x = container_of(t, struct sasl_exchange, timer);
	struct dovecot *d = sasl_setup_dovecot(x->setup);
	bool is_silent = x->state == SASL_X_ASKED && d->heard < x->asked_at;
	send_cancel(d, x);
	finish(d, x, SASL_NOT_NOW, span_str(LOST), SPAN_EMPTY);
	metric_add(M_sasl_timeouts, 1);
	if (is_silent && d->state == DOVECOT_READY)
		down(d, strerror(ETIMEDOUT), true);
}

static void
pend(struct sasl_exchange *x, uint64_t timeout_usec)
{
	op_pend(&x->op, &provider);
	timer_init(&x->timer, on_timeout);
	timer_set(&x->timer, timeout_usec);
}

void
dovecot_begin(struct dovecot *d, struct sasl_exchange *x, uint64_t timeout_usec)
{
	CHECK(d, DOVECOT_MAGIC);
	x->early = 0;
	x->tries = 0;
	if (d->nasks >= ASKS_MAX) {
		metric_add(M_sasl_crowded, 1);
		sasl_exchange_end(x, SASL_NOT_NOW, SPAN("Too many logins at a time"), SPAN_EMPTY);
		return;
	}
	d->nasks++;
	metric_add(M_sasl_pending, 1);
	x->state = SASL_X_WAITS;
	list_append(&d->waiting, &x->link);
	pend(x, timeout_usec);
	if (d->state == DOVECOT_READY)
		send_waiting(d);
	else if (d->state == DOVECOT_DOWN)
		reach(d);
}

void
dovecot_answer(struct dovecot *d, struct sasl_exchange *x, struct span response, uint64_t timeout_usec)
{
	CHECK(d, DOVECOT_MAGIC);
	if (x->state != SASL_X_THEIRS || x->early != 0) {
		enum sasl_outcome early = x->early != 0 ? x->early : SASL_NOT_NOW;
		finish(d, x, early, early == SASL_NOT_NOW ? span_str(LOST) : SPAN_EMPTY, SPAN_EMPTY);
		return;
	}
	x->state = SASL_X_ASKED;
	x->asked_at = loop_now();
	pend(x, timeout_usec);
	struct buf *b = conn_out(&d->conn);
	buf_puts(b, "CONT\t");
	buf_put_dec(b, x->id);
	buf_putc(b, '\t');
	buf_put(b, response);
	buf_putc(b, '\n');
}

/* ---- life ---- */

const struct sasl_mechs *
dovecot_mechs(const struct dovecot *d)
{
	return d->is_known ? &d->mechs : NULL;
}

static struct dovecot *
find_open(const char *path)
{
	list_each(it, &all) {
		struct dovecot *d = list_entry(it, struct dovecot, link);
		if (strcmp(d->path, path) == 0)
			return d;
	}
	return NULL;
}

/* A connection that must not wait for the first client; from the loop, when there is one. */
static void
start(struct dovecot *d)
{
	timer_init(&d->retry, on_retry);
	timer_set(&d->retry, 0);
}

/* Of the services with this socket the first one, which speaks for all. */
static bool
is_first(struct conf *c, const struct service *s)
{
	for (size_t i = 0; i < conf_service_count(c); i++) {
		const struct params *p = conf_service(c, i)->params;
		if (conf_service(c, i)->kind == SERVICE_LISTENER && p->p_smtpd_sasl_auth_enable && span_caseeq_str(span_str(p->p_smtpd_sasl_type), "dovecot") &&
		    strcmp(p->p_smtpd_sasl_path, s->params->p_smtpd_sasl_path) == 0)
			return conf_service(c, i) == s;
	}
	return false;
}

/* What the first login would find out. The server may not run yet: nothing of it is an error. */
static void
look_at_socket(struct conf *c, const struct service *s, const char *path)
{
	const char *user = conf_params(c)->p_edge_user;
	struct stat st;
	int err = rights_access(user, path, W_OK);
	const char *set = s->params->p_smtpd_sasl_path;
	if (err == ENOENT)
		conf_problem(c, CONF_WARNING, s, "smtpd_sasl_path", "smtpd_sasl_path = %s: %s: %s: nobody can log in before Dovecot makes it (unix_listener)", set, path,
		    strerror(err));
	else if (err != 0 && geteuid() == 0) /* else the gateway may be started by somebody who can */
		conf_problem(c, CONF_WARNING, s, "smtpd_sasl_path", "smtpd_sasl_path = %s: %s: %s for edge_user %s: nobody can log in", set, path, strerror(err), user);
	else if (stat(path, &st) == 0 && !S_ISSOCK(st.st_mode))
		conf_problem(c, CONF_WARNING, s, "smtpd_sasl_path", "smtpd_sasl_path = %s: %s is not a socket: nobody can log in", set, path);
}

enum rc
dovecot_open(struct conf *c, const struct service *s, const char *path, bool live, struct dovecot **out, struct err *e)
{
	struct span p = span_str(path);
	struct endpoint *ep = NULL;
	struct buf text;
	*out = NULL;
	buf_init(&text, p.n + 8);
	if (!span_starts(p, SPAN("inet:")) && !span_starts(p, SPAN("unix:")))
		buf_puts(&text, "unix:");
	buf_put(&text, p);
	enum rc rc = endpoint_open(c, s, "smtpd_sasl_path", buf_span(&text), &ep, e);
	buf_fini(&text);
	if (rc == RC_OK && !live && ep->path != NULL && is_first(c, s))
		look_at_socket(c, s, ep->path);
	if (rc != RC_OK || !live) {
		endpoint_free(&ep);
		return rc;
	}
	struct dovecot *d = find_open(path);
	if (d != NULL && d->state == DOVECOT_DIALS) { /* the dial holds the endpoint */
		endpoint_free(&ep);
	} else if (d != NULL) {
		endpoint_free(&d->endpoint); /* a name may have another address by now */
		d->endpoint = ep;
	} else {
		d = mem_zalloc(sizeof *d);
		d->magic = DOVECOT_MAGIC;
		d->path = mem_strdup(path);
		d->endpoint = ep;
		d->conn.fd = -1;
		d->retry_usec = RETRY_FIRST;
		op_owner_init(&d->ops);
		list_init(&d->waiting);
		list_init(&d->asked);
		list_init(&d->link);
		list_append(&all, &d->link);
		start(d);
		sasl_one_more();
	}
	d->refs++;
	*out = d;
	return RC_OK;
}

void
dovecot_free(struct dovecot **dp)
{
	struct dovecot *d = *dp;
	*dp = NULL;
	if (d == NULL)
		return;
	CHECK(d, DOVECOT_MAGIC);
	if (--d->refs > 0)
		return;
	BUG_ON(d->nasks > 0);
	settle(d);
	timer_clear(&d->retry);
	dial_fini(&d->dial);
	conn_close(&d->conn);
	list_remove(&d->link);
	htab_fini(&d->by_id);
	endpoint_free(&d->endpoint);
	mem_free(&d->path);
	d->magic = 0;
	mem_free(&d);
}
