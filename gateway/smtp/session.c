/* SPDX-License-Identifier: BSD-2-Clause */
#include "smtp/session.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/metric.h"
#include "smtp/milter.h"
#include "smtp/starttls.h"
#include "smtp/verbs.h"

#include <sys/socket.h>
#include <unistd.h>

enum {
	SESS_MAGIC = 0x5e55a10e,
	SESS_MAX_STEPS = 64,
	SCRATCH_MAX = 16 * 1024,
	OUTPUT_MAX = 512 * 1024,
	GONE_USEC = 5 * 1000 * 1000,
	GONE_WHEN_STOPPING_USEC = 1000 * 1000,
};

static void on_input(struct conn *c);
static void on_ended(struct conn *c, enum conn_end why, int err);
static void on_drained(struct conn *c);
static void on_secured(struct conn *c);
static void on_delay(struct timer *t);
static void on_delay_over(struct op *op);

static const struct conn_ops conn_ops = { .input = on_input, .ended = on_ended, .drained = on_drained, .secured = on_secured };

/* ---- life ---- */

static void
name_client(struct sess *s, const struct sockaddr *peer, const struct sockaddr *local)
{
	struct client_id id = { .name_rc = RC_NONE, .reverse_rc = RC_NONE };
	if (!ipaddr_from_sockaddr(peer, &id.addr, &id.port))
		id.addr = (struct ipaddr){ .family = IPADDR_V4, .b = { 127, 0, 0, 1 } }; /* a socketpair: tests, local programs */
	if (local == NULL || !ipaddr_from_sockaddr(local, &id.server, &id.server_port))
		id.server = (struct ipaddr){ 0 };
	s->facts.qid = SPAN("NOQUEUE");
	s->facts.is_proxied = s->svc->proxied != NULL;
	sess_set_client(s, &id);
}

void
sess_name_socket(struct sess *s)
{
	struct sockaddr_storage peer, local;
	socklen_t np = sizeof peer, nl = sizeof local;
	if (getpeername(s->conn.fd, (struct sockaddr *)&peer, &np) != 0)
		peer.ss_family = AF_UNSPEC;
	bool known = getsockname(s->conn.fd, (struct sockaddr *)&local, &nl) == 0;
	name_client(s, (struct sockaddr *)&peer, known ? (struct sockaddr *)&local : NULL);
}

/* From 90 % of edge_session_limit to 70 % what depends on $stress has its other value. */
static void
feel_crowd(struct edge *e)
{
	uint64_t n = e->nsessions, limit = (uint64_t)conf_params(e->conf->conf)->p_edge_session_limit;
	bool crowded = e->crowded ? n * 10 > limit * 7 : n * 10 >= limit * 9;
	if (crowded == e->crowded)
		return;
	e->crowded = crowded;
	if (crowded)
		log_warn(NULL, "%zu of at most %llu sessions: from now on as with stress = yes", e->nsessions, (unsigned long long)limit);
	else
		log_info(NULL, "%zu of at most %llu sessions: no more stress", e->nsessions, (unsigned long long)limit);
}

const struct patience *
sess_patience(const struct sess *s)
{
	return &s->svc->patience[s->edge->crowded];
}

void
sess_begin(struct edge *edge, const struct edge_service *svc, int fd, const struct sockaddr *peer, const struct sockaddr *local)
{
	struct sess *s = mem_zalloc(sizeof *s);
	s->magic = SESS_MAGIC;
	s->edge = edge;
	s->conf = edge_conf_ref(edge->conf);
	s->svc = svc;
	s->log.tag = svc->tag;
	s->where = "CONNECT";
	arena_init(&s->scratch, SCRATCH_MAX);
	op_owner_init(&s->ops);
	policy_run_init(&s->pol, &s->ops, sess_policy_done);
	op_init(&s->delay_op, &s->ops, on_delay_over);
	conn_init(&s->conn, fd, &conn_ops, SESS_INPUT_MAX, OUTPUT_MAX);
	s->conn.in.is_secret = svc->sasl != NULL; /* passwords may come */
	list_init(&s->link);
	list_append(&edge->sessions, &s->link);
	edge->nsessions++;
	feel_crowd(edge);
	metric_add(M_smtpd_sessions, 1);
	metric_add(M_smtpd_sessions_total, 1);
	name_client(s, peer, local);
	s->facts.session_id = ++edge->session_id;
	if (svc->has_upstream_proxy) {
		s->input = INPUT_PROXY;
		conn_deadline(&s->conn, svc->proxy_timeout);
	} else {
		conn_deadline(&s->conn, sess_patience(s)->timeout);
		connect_begin(s);
	}
	if (sess_is_alive(s) && !sess_is_busy(s))
		conn_resume(&s->conn);
}

static void
sess_free(struct grave *g)
{
	struct sess *s = container_of(g, struct sess, grave);
	arena_fini(&s->arena);
	arena_fini(&s->scratch);
	edge_conf_unref(&s->conf);
	mem_free(&s->tested);
	mem_poison(s, sizeof *s);
	mem_free(&s);
}

static void
log_disconnect(struct sess *s)
{
	struct buf b;
	unsigned good = 0, all = 0;
	sess_announce(s);
	buf_init(&b, 1024);
	for (int v = 0; v < VERB_COUNT; v++) {
		const struct verb_count *n = &s->counts[v];
		if (n->all == 0)
			continue;
		good += n->good;
		all += n->all;
		verb_count_write(&b, (enum verb)v, n);
	}
	buf_puts(&b, " commands=");
	buf_put_dec(&b, good);
	if (good != all || all == 0) {
		buf_putc(&b, '/');
		buf_put_dec(&b, all);
	}
	if (s->noted_bare_lf)
		buf_puts(&b, " notes=bare_lf");
	LOG(smtpd_disconnect, &s->log, F_SPAN(client, s->client), F_SPAN(counts, buf_span(&b)));
	buf_fini(&b);
}

void
sess_retire(struct sess *s)
{
	CHECK(s, SESS_MAGIC);
	if (!sess_is_alive(s))
		return;
	sess_end_tx(s);
	sess_forget_lookup(s);
	triage_end(s);
	if (s->is_served)
		log_disconnect(s);
	timer_clear(&s->delay);
	policy_run_fini(&s->pol);
	sess_forget_call(s);
	sess_forget_auth(s);
	sess_milter_free(s);
	ops_cancel_all(&s->ops);
	conn_close(&s->conn);
	starttls_free(s);
	s->steps = NULL;
	limits_leave(&s->edge->limits, &s->limit);
	list_remove(&s->link);
	s->edge->nsessions--;
	feel_crowd(s->edge);
	metric_add(M_smtpd_sessions, -1);
	if (s->edge->nsessions == 0 && s->edge->idle != NULL)
		s->edge->idle(s->edge);
	loop_bury(&s->grave, sess_free);
}

void
sess_shut(struct sess *s, enum reply_id id)
{
	sess_reply(s, id);
	sess_linger(s);
}

/* Closing while the client still sends would take our last words from it: we say that we are done and read on for
 * a moment. */
void
sess_linger(struct sess *s)
{
	sess_end_tx(s);
	triage_end(s);
	s->input = INPUT_GONE;
	s->skipped = 0;
	s->conn.want_drained = true;
	(void)conn_out(&s->conn);
	conn_deadline(&s->conn, GONE_USEC);
}

void
sess_drain(struct sess *s, bool at_once)
{
	bool is_idle = s->tx == NULL && (s->input == INPUT_COMMAND || s->input == INPUT_TRIAGE);
	if (starttls_is_waiting(s)) {
		sess_retire(s); /* nothing can be said in a handshake */
		return;
	}
	if (!sess_is_busy(s) && s->input != INPUT_GONE && (is_idle || at_once))
		sess_shut(s, REPLY_SHUTDOWN);
	/* asked again and again: the time that is left only becomes shorter */
	if (s->input == INPUT_GONE && (s->conn.deadline == 0 || s->conn.deadline > loop_now() + GONE_WHEN_STOPPING_USEC))
		conn_deadline(&s->conn, GONE_WHEN_STOPPING_USEC);
}

static void
on_drained(struct conn *c)
{
	struct sess *s = container_of(c, struct sess, conn);
	CHECK(s, SESS_MAGIC);
	if (s->input == INPUT_GONE) {
		conn_shutdown(c);
		conn_resume(c);
		return;
	}
	if (sess_is_busy(s))
		return;
	sess_pump(s);
	if (sess_is_alive(s) && !sess_is_busy(s) && !s->conn.want_drained)
		conn_resume(c);
}

/* The client went away with a message half said. */
static void
log_canceled(const struct sess *s)
{
	if (s->tx == NULL || !s->tx->has_content || s->tx->submitted)
		return;
	struct log_ctx ctx = s->log;
	ctx.qid = s->tx->qid;
	LOG0(message_canceled, &ctx);
}

static void
on_ended(struct conn *c, enum conn_end why, int err)
{
	struct sess *s = container_of(c, struct sess, conn);
	CHECK(s, SESS_MAGIC);
	if (starttls_is_waiting(s)) {
		starttls_failed(s, why, err);
		sess_retire(s);
		return;
	}
	if (triage_ended(s, why))
		return;
	if (why == CONN_TIMEOUT && sess_is_busy(s)) { /* it is we who are slow */
		conn_deadline(c, sess_patience(s)->timeout);
		return;
	}
	if (s->input == INPUT_PROXY) {
		connect_proxy_ended(s, why == CONN_TIMEOUT);
	} else if (s->input != INPUT_GONE) {
		sess_announce(s);
		struct log_field f[3] = { F_STR(stage, s->where), F_SPAN(client, s->client) };
		size_t n = 2;
		if (s->tx != NULL && s->tx->has_content && (s->input == INPUT_DATA || s->input == INPUT_CHUNK))
			f[n++] = F_NUM(bytes, s->tx->content.client_len);
		if (conn_tls_error(c)[0] != '\0')
			LOG(tls_library, &s->log, F_STR(text, conn_tls_error(c)));
		log_event(why == CONN_TIMEOUT ? EV_smtpd_timeout : EV_smtpd_lost, &s->log, f, n);
		if (why == CONN_TIMEOUT) {
			metric_add(M_smtpd_timeouts, 1);
			sess_reply(s, REPLY_TIMEOUT);
		}
		log_canceled(s);
	}
	sess_retire(s);
}

static void
on_secured(struct conn *c)
{
	struct sess *s = container_of(c, struct sess, conn);
	CHECK(s, SESS_MAGIC);
	starttls_secured(s);
}

static void
on_input(struct conn *c)
{
	struct sess *s = container_of(c, struct sess, conn);
	CHECK(s, SESS_MAGIC);
	sess_pump(s);
}

/* ---- the step machine ---- */

enum phase
sess_phase(const struct sess *s)
{
	if (s->tx == NULL)
		return PH_IDLE;
	return s->tx->chunking ? PH_BDAT : s->tx->nrcpt > 0 ? PH_RCPT : PH_MAIL;
}

void
sess_end_tx(struct sess *s)
{
	sess_forget_forward(s);
	sess_undo_mail(s);
}

void
sess_undo_mail(struct sess *s)
{
	sess_milter_end_tx(s);
	if (s->tx == NULL)
		return;
	tx_end(&s->tx);
	s->facts.has_sender = s->facts.has_rcpt = s->facts.is_smtputf8 = s->facts.is_vrfy = false;
	s->facts.sender = s->facts.rcpt = s->facts.sasl_sender = SPAN_EMPTY;
	s->facts.nrcpt = 0;
	s->facts.size_bytes = 0;
	s->facts.is_discarded = s->facts.is_held = s->facts.is_quarantined = false;
	s->facts.qid = SPAN("NOQUEUE");
	s->overshoot = 0;
}

static void
too_many_errors(struct sess *s)
{
	metric_add(M_smtpd_hard_errors, 1);
	sess_announce(s);
	sess_reply(s, REPLY_TOO_MANY_ERRORS);
	LOG(smtpd_errors, &s->log, F_STR(stage, s->where), F_SPAN(client, s->client));
	sess_linger(s);
}

/* The command (or the message) has been answered. */
void
sess_command_done(struct sess *s)
{
	s->steps = NULL;
	bool content_follows = s->input == INPUT_DATA || s->input == INPUT_CHUNK || s->input == INPUT_AUTH;
	if (s->scratch.blocks != NULL)
		arena_fini(&s->scratch);
	s->args = SPAN_EMPTY;
	if (s->verb == VERB_NONE || content_follows)
		return;
	if (s->failed)
		s->errors++;
	else
		s->counts[s->verb].good += s->counts[s->verb].good < UINT16_MAX ? 1u : 0u;
	s->verb = VERB_NONE;
	if (s->input == INPUT_GONE)
		return;
	if (s->edge->draining && s->tx == NULL) {
		sess_shut(s, REPLY_SHUTDOWN);
		return;
	}
	const struct params *p = s->svc->p;
	if (s->errors >= sess_patience(s)->hard_errors) {
		too_many_errors(s);
	} else if (s->errors >= (uint64_t)p->p_smtpd_soft_error_limit && p->p_smtpd_error_sleep_time > 0) {
		static const struct op_provider sleeping = { "smtpd_error_sleep_time", NULL };
		timer_init(&s->delay, on_delay);
		timer_set(&s->delay, p->p_smtpd_error_sleep_time);
		op_pend(&s->delay_op, &sleeping);
		conn_pause(&s->conn);
	}
}

static void
on_delay(struct timer *t)
{
	struct sess *s = container_of(t, struct sess, delay);
	op_finish(&s->delay_op, RC_OK);
}

static void
on_delay_over(struct op *op)
{
	struct sess *s = container_of(op, struct sess, delay_op);
	CHECK(s, SESS_MAGIC);
	sess_pump(s);
	if (sess_is_alive(s) && !sess_is_busy(s))
		conn_resume(&s->conn);
}

static void
run(struct sess *s)
{
	for (unsigned turns = 0;; turns++) {
		BUG_ON(turns > SESS_MAX_STEPS);
		const struct step_row *row = &s->steps[s->at++];
		s->step_name = row->name;
		switch (row->fn(s)) {
		case STEP_NEXT:
			break;
		case STEP_AGAIN:
			s->at--;
			BUG_ON(op_owner_idle(&s->ops));
			conn_pause(&s->conn);
			return;
		case STEP_WAIT:
			BUG_ON(op_owner_idle(&s->ops));
			conn_pause(&s->conn);
			return;
		case STEP_END:
			sess_command_done(s);
			return;
		case STEP_CLOSE:
			sess_retire(s);
			return;
		}
	}
}

void
sess_run_steps(struct sess *s, const struct step_row *steps)
{
	BUG_ON(s->steps != NULL);
	s->steps = steps;
	s->at = 0;
	run(s);
}

void
sess_resume(struct sess *s)
{
	CHECK(s, SESS_MAGIC);
	run(s);
	if (sess_is_alive(s) && !sess_is_busy(s))
		sess_pump(s);
	if (sess_is_alive(s) && !sess_is_busy(s) && !s->conn.want_drained)
		conn_resume(&s->conn);
}
