/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The pause before the greeting: does the client talk, and what do the lists say? It ends with its time, or as soon as both are
 * known.
 */
#include "base/clock.h"
#include "base/metric.h"
#include "base/seconds.h"
#include "smtp/session.h"
#include "smtp/triage.h"

enum { PREGREET_MAX = 1023, PREGREET_TEXT = 100 /* octets counted and shown, as Postfix does */ };

static void
score_now(struct triage *t)
{
	const struct params *p = t->conf->p;
	if (t->has_score)
		return;
	t->has_score = true;
	rbl_score_fini(&t->score);
	int score = t->score.score;
	if (p->p_postscreen_dnsbl_allowlist_threshold >= 0 || t->score.not_asked > 0 || t->fail != 0 || score >= p->p_postscreen_dnsbl_threshold ||
	    score > p->p_postscreen_dnsbl_allowlist_threshold)
		return;
	/* so good that nothing else is asked of it, as long as the lists say so */
	uint64_t until = triage_now() + t->score.ttl_usec / USEC_PER_SEC;
	for (int i = 0; i < TEST_COUNT; i++) {
		unsigned bit = 1u << i;
		if (i == TEST_DNSBL)
			continue;
		if ((t->todo & bit) != 0) {
			t->done |= (uint8_t)bit;
			t->pass |= (uint8_t)bit;
		}
		if (t->until[i] < until)
			t->until[i] = until;
	}
}

static bool
all_early_done(const struct triage *t)
{
	return (t->todo & TESTS_EARLY & ~t->done) == 0;
}

void
triage_on_score(struct op *op)
{
	struct triage *t = container_of(op, struct triage, score.op);
	score_now(t);
	t->done |= 1u << TEST_DNSBL;
	if (!all_early_done(t))
		return;
	struct sess *s = t->s;
	triage_pause_over(t);
	if (sess_is_alive(s) && !sess_is_busy(s))
		sess_pump(s);
	if (sess_is_alive(s) && !sess_is_busy(s) && !s->conn.want_drained)
		conn_resume(&s->conn);
}

void
triage_pause_begin(struct triage *t)
{
	struct sess *s = t->s;
	t->stage = TRIAGE_EARLY;
	s->input = INPUT_TRIAGE;
	if ((t->todo & 1u << TEST_PREGREET) != 0)
		conn_put(&s->conn, buf_span(&t->conf->teaser));
	if ((t->todo & 1u << TEST_DNSBL) != 0)
		rbl_score_start(&t->score, t->conf->sites, &t->addr, &t->log);
	conn_deadline(&s->conn, t->conf->greet_wait[s->edge->stressed]);
}

void
triage_put_elapsed(struct triage *t, struct buf *b)
{
	buf_init(b, 32);
	delay_write(b, loop_now() - t->began, (unsigned)t->conf->p->p_delay_logging_resolution_limit);
}

bool
triage_input(struct sess *s, struct span in)
{
	struct triage *t = s->triage;
	conn_pause(&s->conn); /* what it says behind that has to wait */
	if ((t->todo & 1u << TEST_PREGREET) == 0 || (t->done & 1u << TEST_PREGREET) != 0)
		return false;
	struct buf after;
	triage_put_elapsed(t, &after);
	in = span_head(in, PREGREET_MAX);
	LOG(triage_pregreet, &t->log, F_NUM(bytes, in.n), F_SPAN(delay, buf_span(&after)), F_SPAN(client, triage_who(t)),
	    F_SPAN(text, span_head(sess_shown(s, in, PREGREET_TEXT), PREGREET_TEXT)));
	buf_fini(&after);
	arena_fini(&s->scratch);
	t->done |= 1u << TEST_PREGREET;
	if (!triage_act(t, t->conf->action[TEST_PREGREET], TEST_PREGREET, REPLY_TRIAGE_PROTOCOL, REPLY_TRIAGE_PROTOCOL))
		return true;
	if (!all_early_done(t)) {
		s->conn.eager_eof = t->fail != 0; /* who is refused anyway and goes need not be kept until the pause is over */
		return false;
	}
	triage_pause_over(t);
	if (sess_is_alive(s) && !sess_is_busy(s))
		conn_resume(&s->conn);
	return true;
}

/* Lists could not be asked because there was too much to ask. Nobody has passed them then; and where they would have had a say,
 * whoever makes us busy must not get past them: it may come again. */
static void
lists_not_asked(struct triage *t)
{
	const struct rbl_score *sc = &t->score;
	bool matters = t->conf->action[TEST_DNSBL] != TRIAGE_IGNORE && sc->not_asked_weight > 0 &&
	    (int64_t)sc->score + sc->not_asked_weight >= t->conf->p->p_postscreen_dnsbl_threshold;
	metric_add(M_triage_unasked, 1);
	LOG(triage_unasked, &t->log, F_NUM(count, sc->not_asked), F_SPAN(client, triage_who(t)), F_STR(text, matters ? "deferred" : "tested again next time"));
	if (!matters)
		return;
	if (t->fail == 0)
		t->reply = REPLY_TRIAGE_LATER;
	t->fail |= FAIL_UNASKED;
}

/* false: the session is over. */
static bool
judge_lists(struct triage *t)
{
	if ((t->todo & 1u << TEST_DNSBL) == 0)
		return true;
	score_now(t);
	if (t->score.score < t->conf->p->p_postscreen_dnsbl_threshold && t->score.not_asked > 0) {
		lists_not_asked(t);
		return true;
	}
	if (t->score.score < t->conf->p->p_postscreen_dnsbl_threshold) {
		t->until[TEST_DNSBL] = triage_now() + t->score.ttl_usec / USEC_PER_SEC;
		t->pass |= 1u << TEST_DNSBL;
		return true;
	}
	LOG(triage_dnsbl, &t->log, F_NUM(count, t->score.score), F_SPAN(client, triage_who(t)));
	return triage_act(t, t->conf->action[TEST_DNSBL], TEST_DNSBL, REPLY_TRIAGE_LISTED, REPLY_TRIAGE_LISTED);
}

void
triage_pause_over(struct triage *t)
{
	struct sess *s = t->s;
	if ((t->todo & ~t->done & 1u << TEST_PREGREET) != 0) {
		t->until[TEST_PREGREET] = triage_now() + t->conf->ttl[TEST_PREGREET];
		t->pass |= 1u << TEST_PREGREET;
	}
	if (!judge_lists(t))
		return;
	if (t->fail == 0) {
		triage_serve(t);
		sess_run_steps(s, connect_steps);
		return;
	}
	triage_takes_commands(s);
	triage_engine_begin(t, (t->fail & 1u << TEST_PREGREET) == 0);
}
