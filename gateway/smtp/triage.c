/* SPDX-License-Identifier: BSD-2-Clause */
/* Before the pause: limits, access list, memory; and where it goes from there. Facts 4.2. */
#include "smtp/triage.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/seconds.h"
#include "map/remote.h"
#include "smtp/session.h"

enum {
	EARLY_INPUT_MAX = 2048,          /* octets taken before the greeting; the rest waits in the kernel */
	ANSWER_USEC = 1000 * 1000,       /* the queue's memory; then the client is a stranger */
	SENDER_MAX = 2048,
	STRESS_ON = 90, STRESS_OFF = 70, /* percent of postscreen_pre_queue_limit */
	PERCENT = 100,
};

static enum step open_(struct sess *s);
static enum step listed(struct sess *s);
static enum step find(struct sess *s);
static enum step found(struct sess *s);
static const struct step_row triage_steps[] = {
	{ "triage_open", open_ },
	{ "triage_listed", listed },
	{ "triage_find", find },
	{ "triage_found", found },
};

static const enum metric_id failures[TEST_COUNT] = {
	[TEST_PREGREET] = M_triage_pregreet, [TEST_DNSBL] = M_triage_dnsbl, [TEST_PIPELINING] = M_triage_pipelining,
	[TEST_NON_SMTP] = M_triage_non_smtp, [TEST_BARE_NEWLINE] = M_triage_bare_newline,
};

/* ---- small things ---- */

uint64_t
triage_now(void)
{
	return clock_wall() / USEC_PER_SEC;
}

void
triage_say(struct triage *t, const char *word)
{
	LOG(triage_word, &t->log, F_STR(text, word), F_SPAN(client, triage_who(t)));
	snprintf(t->word, sizeof t->word, "%s", word);
}

/* What is known of its tests, for whoever looks at a message of it that is held. */
static void
remember(struct triage *t)
{
	struct buf b;
	buf_init(&b, 512);
	buf_puts(&b, t->word[0] != '\0' ? t->word : "tests are not over");
	if (t->has_score)
		buf_printf(&b, "; lists: %d", t->score.score);
	if (t->score.listed[0] != '\0')
		buf_printf(&b, " (%s)", t->score.listed);
	mem_free(&t->s->tested);
	t->s->tested = mem_dup(buf_cstr(&b), buf_len(&b) + 1);
	buf_fini(&b);
}

static void
listed_word(struct triage *t, bool allow, const char *more)
{
	bool respectful = t->conf->p->p_respectful_logging;
	char word[32];
	snprintf(word, sizeof word, "%s%s", respectful ? (allow ? "ALLOW" : "DENY") : allow ? "WHITE" : "BLACK", more);
	triage_say(t, word);
}

static void
put_endpoint(struct buf *b, const struct ipaddr *a, uint16_t port)
{
	char text[IPADDR_TEXT];
	buf_putc(b, '[');
	buf_put(b, span_of(text, ipaddr_text(a, text)));
	buf_puts(b, "]:");
	buf_put_dec(b, port);
}

/* ---- the end ---- */

/* How many sessions of all processes are in this state. */
static unsigned
count_of(struct edge *e, struct span what)
{
	struct limits_ref probe = { 0 };
	unsigned n = limits_enter(&e->limits, &(struct ipaddr){ 0 }, what, &probe);
	limits_leave(&e->limits, &probe);
	return n - 1;
}

/* Near the limit on clients that are tested everything has to be quicker. */
static void
feel_stress(struct edge *e, const struct triage *t, unsigned n)
{
	uint64_t limit = (uint64_t)t->conf->p->p_postscreen_pre_queue_limit;
	bool was = e->stressed;
	if (!was && n * (uint64_t)PERCENT >= limit * STRESS_ON)
		e->stressed = true;
	else if (was && n * (uint64_t)PERCENT <= limit * STRESS_OFF)
		e->stressed = false;
	if (e->stressed == was)
		return;
	metric_add(M_triage_stress, e->stressed);
	LOG(triage_stress, &t->log, F_STR(text, e->stressed ? "entering" : "leaving"), F_NUM(count, n));
}

static void
leave_tested(struct triage *t)
{
	struct edge *e = t->s->edge;
	bool held = t->tested.slot != 0;
	limits_leave(&e->limits, &t->tested);
	if (held && e->stressed)
		feel_stress(e, t, count_of(e, SPAN("tested")));
}

static void
leave_limits(struct triage *t)
{
	struct limits *l = &t->s->edge->limits;
	limits_leave(l, &t->same);
	leave_tested(t);
	limits_leave(l, &t->waiting);
}

static void
forget_call(struct triage *t)
{
	if (t->has_call)
		ipc_call_fini(&t->call);
	t->has_call = false;
}

static void
triage_free(struct sess *s)
{
	struct triage *t = s->triage;
	s->triage = NULL;
	leave_limits(t);
	rbl_score_fini(&t->score);
	forget_call(t);
	buf_fini(&t->sender);
	s->conn.sparing = s->conn.eager_eof = false;
	s->conn.in_max = SESS_INPUT_MAX;
	metric_add(M_triage_now, -1);
	mem_free(&t);
}

static void
keep(struct triage *t)
{
	struct ipc_chan *queue = t->s->edge->queue;
	if (!t->conf->remembers)
		return;
	for (int i = 0; i < TEST_COUNT; i++) /* what is not asked for was never failed */
		if ((t->conf->enabled & 1u << i) == 0 && t->until[i] == NEVER)
			t->until[i] = DISABLED;
	struct msg_triage m = { .addr = t->addr, .keep = t->conf->p->p_postscreen_cache_retention_time / USEC_PER_SEC };
	for (int i = 0; i < TEST_COUNT; i++)
		m.until[i] = t->until[i] < UINT32_MAX ? t->until[i] : UINT32_MAX;
	m.keep = m.keep < UINT32_MAX ? m.keep : UINT32_MAX;
	triage_known_keep(&m.addr, m.until);
	if (!edge_queue_is_up(t->s->edge))
		return;
	msg_triage_keep_put(ipc_begin(queue, IPC_TRIAGE_KEEP, 0), &m);
	ipc_end(queue);
}

void
triage_conclude(struct triage *t)
{
	if (t->fail != 0)
		t->pass = 0;
	if (t->pass == 0)
		return;
	if ((t->pass & t->todo) == t->todo) {
		triage_say(t, t->is_new ? "PASS NEW" : "PASS OLD");
		metric_add(t->is_new ? M_triage_passed_new : M_triage_passed_old, 1);
	}
	keep(t);
	t->pass = 0;
	remember(t);
}

void
triage_end(struct sess *s)
{
	struct triage *t = s->triage;
	if (t == NULL)
		return;
	triage_conclude(t);
	if (!t->is_over && t->stage != TRIAGE_SERVED)
		triage_say(t, "DISCONNECT");
	t->is_over = true;
	triage_free(s);
}

void
triage_drop(struct triage *t, enum reply_id id, unsigned code)
{
	struct sess *s = t->s;
	struct span text = id == REPLY_TRIAGE_LISTED && t->score.shown != NULL ? span_str(t->score.shown) : SPAN_EMPTY;
	if (code == 521)
		metric_add(M_triage_dropped, 1);
	t->stage = t->stage == TRIAGE_SERVED ? TRIAGE_ENGINE : t->stage; /* it is ours again */
	sess_reply_full(s, id, code, text, 0);
	conn_consume(&s->conn, conn_input(&s->conn).n);
	sess_retire(s);
}

bool
triage_act(struct triage *t, enum triage_action a, enum triage_test test, enum reply_id drop, enum reply_id enforce)
{
	metric_add(failures[test], 1);
	t->fail |= 1u << test;
	switch (a) {
	case TRIAGE_DROP:
		triage_drop(t, drop, 521);
		return false;
	case TRIAGE_ENFORCE:
		t->reply = enforce;
		break;
	case TRIAGE_IGNORE: /* and not passed: tested again the next time */
		t->fail &= (uint8_t)~(1u << test);
		break;
	}
	return true;
}

/* ---- where it goes from here ---- */

void
triage_takes_commands(struct sess *s)
{
	s->conn.sparing = s->conn.eager_eof = false;
	s->conn.in_max = SESS_INPUT_MAX;
	s->input = INPUT_COMMAND;
	sess_set_deadline(s);
}

void
triage_serve(struct triage *t)
{
	struct sess *s = t->s;
	if ((t->todo & TESTS_DEEP & ~t->pass) == 0)
		triage_conclude(t);
	remember(t);
	t->stage = TRIAGE_SERVED;
	limits_leave(&s->edge->limits, &t->same);
	leave_tested(t);
	(void)limits_enter(&s->edge->limits, &(struct ipaddr){ 0 }, SPAN("waiting"), &t->waiting);
	triage_takes_commands(s);
}

/* From one of our steps: connect_steps are next. */
static enum step
serve(struct triage *t)
{
	triage_serve(t);
	t->s->steps = connect_steps;
	t->s->at = 0;
	return STEP_NEXT;
}

static enum step
refuse(struct triage *t)
{
	triage_takes_commands(t->s);
	triage_engine_begin(t, true);
	return STEP_END;
}

void
triage_greeted(struct sess *s)
{
	struct triage *t = s->triage;
	if (t == NULL)
		return;
	limits_leave(&s->edge->limits, &t->waiting);
	if ((t->todo & TESTS_DEEP & ~(t->pass | t->skip)) == 0)
		triage_end(s);
}

unsigned
triage_hides(const struct sess *s)
{
	const struct triage *t = s->triage;
	return t != NULL && (t->todo & ~t->skip & 1u << TEST_PIPELINING) != 0 ? 1u << EHLO_PIPELINING : 0;
}

bool
triage_speaks(const struct sess *s)
{
	return s->svc->triage != NULL && (!s->is_served || (s->triage != NULL && s->triage->stage == TRIAGE_ENGINE));
}

uint64_t
triage_patience(const struct sess *s, uint64_t usual)
{
	const struct triage *t = s->triage;
	return t != NULL && t->stage == TRIAGE_ENGINE ? t->conf->command_time[s->edge->stressed] : usual;
}

/* ---- it ends without us ---- */

static void
hangup(struct triage *t)
{
	struct buf after;
	triage_put_elapsed(t, &after);
	metric_add(M_triage_hangups, 1);
	LOG(triage_hangup, &t->log, F_SPAN(delay, buf_span(&after)), F_SPAN(client, triage_who(t)),
	    F_STR(stage, t->stage == TRIAGE_ENGINE ? "tests after SMTP handshake" : "tests before SMTP handshake"));
	buf_fini(&after);
	sess_retire(t->s);
}

bool
triage_ended(struct sess *s, enum conn_end why)
{
	struct triage *t = s->triage;
	if (t == NULL || t->stage == TRIAGE_SERVED)
		return false;
	if (why != CONN_TIMEOUT) {
		hangup(t);
	} else if (t->stage == TRIAGE_ENGINE) {
		LOG(triage_after, &t->log, F_STR(name, "COMMAND TIME LIMIT"), F_SPAN(client, triage_who(t)), F_STR(stage, s->where));
		triage_drop(t, REPLY_TIMEOUT, 0);
	} else if (t->stage == TRIAGE_EARLY) {
		triage_pause_over(t);
		if (sess_is_alive(s) && !sess_is_busy(s))
			sess_pump(s);
		if (sess_is_alive(s) && !sess_is_busy(s) && !s->conn.want_drained)
			conn_resume(&s->conn);
	} else { /* our own steps are slow */
		conn_deadline(&s->conn, s->svc->p->p_smtpd_timeout);
	}
	return true;
}

/* ---- before it ---- */

void
triage_begin(struct sess *s)
{
	const struct triage_conf *conf = s->svc->triage;
	struct triage *t = mem_zalloc(sizeof *t);
	struct buf b;
	t->s = s;
	t->conf = conf;
	t->log.tag = conf->tag;
	t->reply = REPLY_TRIAGE_LATER;
	t->began = loop_now();
	rbl_score_init(&t->score, &s->ops, triage_on_score);
	buf_init(&t->sender, SENDER_MAX);
	buf_init(&b, WHO_TEXT);
	t->addr = s->facts.client;
	put_endpoint(&b, &t->addr, s->facts.client_port);
	t->who_n = (unsigned char)buf_len(&b);
	memcpy(t->who, buf_span(&b).p, t->who_n);
	buf_fini(&b);
	s->triage = t;
	s->conn.sparing = true;
	s->conn.in_max = EARLY_INPUT_MAX;
	metric_add(M_triage_now, 1);
	sess_run_steps(s, triage_steps);
}

static enum step
too_many(struct triage *t, const char *what, enum reply_id id)
{
	struct log_ctx ctx = t->log;
	ctx.noqueue = true;
	metric_add(M_triage_limits, 1);
	LOG(triage_noqueue, &ctx, F_SPAN(client, triage_who(t)), F_STR(text, what));
	sess_reply(t->s, id);
	return STEP_CLOSE;
}

static enum step
open_(struct sess *s)
{
	struct triage *t = s->triage;
	const struct params *p = t->conf->p;
	struct buf b;
	buf_init(&b, WHO_TEXT);
	put_endpoint(&b, &s->facts.server, s->facts.server_port);
	LOG(triage_connect, &t->log, F_SPAN(client, triage_who(t)), F_SPAN(value, buf_span(&b)));
	buf_fini(&b);
	unsigned n = limits_enter(&s->edge->limits, &t->addr, SPAN("postscreen"), &t->same);
	if (n > (uint64_t)p->p_postscreen_client_connection_count_limit)
		return too_many(t, "too many connections", REPLY_TRIAGE_MANY);
	if (count_of(s->edge, SPAN("waiting")) >= (uint64_t)p->p_postscreen_post_queue_limit)
		return too_many(t, "all server ports busy", REPLY_TRIAGE_POST_BUSY);
	return STEP_NEXT;
}

static void
on_maps(struct op *op)
{
	sess_resume(container_of(op->owner, struct sess, ops));
}

static enum step
await_tables(struct sess *s)
{
	if (s->maps == NULL)
		map_wait_init(s->maps = mem_zalloc(sizeof *s->maps), &s->ops, on_maps);
	map_wait_start(s->maps);
	return STEP_AGAIN;
}

static enum step
listed(struct sess *s)
{
	struct triage *t = s->triage;
	struct err e;
	map_forget();
	switch (triage_acl_eval(t->conf->acl, &t->addr, NULL, NULL, &e)) {
	case TRIAGE_PERMIT:
		sess_forget_call(s);
		listed_word(t, true, "LISTED");
		metric_add(M_triage_allowlisted, 1);
		return serve(t);
	case TRIAGE_REJECT:
		sess_forget_call(s);
		listed_word(t, false, "LISTED");
		metric_add(M_triage_denylisted, 1);
		if (t->conf->denylist == TRIAGE_DROP) {
			triage_drop(t, REPLY_TRIAGE_DENIED, 521);
			return STEP_CLOSE;
		}
		if (t->conf->denylist == TRIAGE_ENFORCE) {
			t->fail |= FAIL_DENYLIST;
			t->reply = REPLY_TRIAGE_DENIED;
		}
		return STEP_NEXT;
	case TRIAGE_DUNNO:
		break;
	case TRIAGE_TROUBLE:
		if (map_asked())
			return await_tables(s);
		log_warn(&(struct log_ctx){ .tag = t->log.tag, .service = "postscreen" }, "%s", e.why);
		break;
	}
	sess_forget_call(s);
	return STEP_NEXT;
}

/* Nothing more to do for a client of which that is known? */
static bool
is_enough(const struct triage_conf *c, const uint64_t until[TEST_COUNT], uint64_t now)
{
	for (int i = 0; i < TEST_COUNT; i++)
		if ((c->enabled & 1u << i) != 0 && until[i] < now)
			return false;
	return true;
}

static void
on_found(struct op *op)
{
	sess_resume(container_of(op->owner, struct sess, ops));
}

static enum step
find(struct sess *s)
{
	struct triage *t = s->triage;
	if (t->fail != 0 || !t->conf->remembers)
		return STEP_NEXT;
	if (triage_known_find(&t->addr, t->until) && is_enough(t->conf, t->until, triage_now())) {
		t->is_known_here = true;
		return STEP_NEXT;
	}
	memset(t->until, 0, sizeof t->until);
	if (!edge_queue_is_up(s->edge))
		return STEP_NEXT;
	ipc_call_init(&t->call, &s->ops, on_found);
	t->has_call = true;
	msg_triage_find_put(ipc_call_begin(&t->call, s->edge->queue, IPC_TRIAGE_FIND), &t->addr);
	ipc_call_send(&t->call, ANSWER_USEC);
	return STEP_WAIT;
}

/* What there is to do, given what is known of it: is it a client we have never seen pass everything? */
static bool
take_known(struct triage *t)
{
	struct msg_triage_found f;
	bool known = t->is_known_here;
	uint64_t now = triage_now();
	if (t->has_call && t->call.op.rc == RC_OK && msg_triage_found_get(buf_span(&t->call.reply), &f) == RC_OK && f.known) {
		known = true;
		memcpy(t->until, f.until, sizeof t->until);
	}
	forget_call(t);
	if (known)
		triage_known_keep(&t->addr, t->until);
	for (int i = 0; i < TEST_COUNT; i++) {
		if ((t->conf->enabled & 1u << i) != 0 && t->until[i] < now)
			t->todo |= (uint8_t)(1u << i);
		t->is_new |= t->until[i] == NEVER;
	}
	return known;
}

static enum step
found(struct sess *s)
{
	struct triage *t = s->triage;
	bool known = take_known(t);
	bool may_pass = matchlist_addr(t->conf->interfaces, &s->facts.server, NULL) == RC_OK;
	if (known && t->todo == 0 && t->fail == 0) {
		triage_say(t, "PASS OLD");
		metric_add(M_triage_passed_old, 1);
		return serve(t);
	}
	if (!may_pass) {
		if (t->fail == 0)
			t->reply = REPLY_TRIAGE_LATER;
		t->fail |= FAIL_VETO;
		listed_word(t, true, "LIST VETO");
	}
	unsigned n = limits_enter(&s->edge->limits, &(struct ipaddr){ 0 }, SPAN("tested"), &t->tested);
	feel_stress(s->edge, t, n);
	if (n > (uint64_t)t->conf->p->p_postscreen_pre_queue_limit)
		return too_many(t, "all screening ports busy", REPLY_TRIAGE_PRE_BUSY);
	if ((t->todo & TESTS_EARLY) != 0) {
		triage_pause_begin(t);
		return STEP_END;
	}
	return t->fail == 0 ? serve(t) : refuse(t);
}
