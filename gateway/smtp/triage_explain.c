/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * "dogana explain" for a listener with triage: the access list, the memory, the score of the lists, and what that comes to. What
 * the client does itself (when it talks, and how) nobody can know: only what would become of it is said.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "policy/explain_out.h"
#include "rbl/ask.h"
#include "rbl/list.h"
#include "smtp/footer.h"
#include "smtp/reply.h"
#include "smtp/triage_conf.h"

#include <arpa/inet.h>

enum { DROPPED = 521, ANSWER_MAX = 1000, QUERY_MAX = 400, NOTE_MAX = 600 };

struct site {
	struct rbl_ask ask;
	struct telling *telling;
	const char *item;
	const struct rbl_list *list;
	int weight;
};

struct telling {
	struct conf *conf;
	const struct service *listener;
	const struct triage_conf *triage;
	const struct facts *facts;
	struct explain_out *out;
	struct op_owner waits;
	struct rbl_score score;
	struct site *sites;
	unsigned n, pending;
	bool refuses;
	enum reply_id reply;         /* to recipients; refuses */
	const char *because, *in;
};

static const char *const action_names[] = { [TRIAGE_IGNORE] = "ignore", [TRIAGE_ENFORCE] = "enforce", [TRIAGE_DROP] = "drop" };

/* ---- small things ---- */

static void
heading(const struct telling *t, const char *parameter)
{
	const char *file = NULL;
	int line = 0;
	if (!conf_position(t->conf, t->listener, parameter, &file, &line))
		file = NULL;
	explain_list(t->out, parameter, file, line);
}

static void
row(const struct telling *t, const char *parameter, const char *item, const char *result, uint64_t usec)
{
	const char *file = NULL;
	int line = 0;
	if (!conf_position(t->conf, t->listener, parameter, &file, &line))
		file = NULL;
	explain_rule(t->out, parameter, file, line, item, 1, result, usec);
}

static void note(const struct telling *t, const char *kind, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void
note(const struct telling *t, const char *kind, const char *fmt, ...)
{
	char text[NOTE_MAX];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	explain_note(t->out, kind, span_str(text));
}

static void
tell_reply(const struct telling *t, enum reply_id id, unsigned code, const char *because, const char *in)
{
	const struct facts *f = t->facts;
	const struct params *p = t->triage->p;
	const struct footer_values v = { f->client_addr, f->client_port, p->p_myhostname, clock_wall() };
	const struct reply_args args = { .myhostname = p->p_myhostname, .client_addr = f->client_addr,
		.text = t->score.shown != NULL ? span_str(t->score.shown) : SPAN_EMPTY };
	struct buf b;
	struct err e = { 0 };
	buf_init(&b, 64 * 1024);
	reply_write(&b, id, code, &args);
	if (p->p_soft_bounce)
		reply_soften(&b, 0);
	buf_puts(&b, "\r\n");
	if (footer_finish(&b, 0, t->triage->footer_maps, span_str(t->triage->footer), &v, p->p_soft_bounce, &e) != RC_OK)
		note(t, "warning", "%s", e.why);
	explain_verdict(t->out, buf_span(&b), because, in, "");
	buf_fini(&b);
}

/* A test that failed. false: the client would be dropped, and that has been told. */
static bool
act(struct telling *t, enum triage_action a, enum reply_id id, const char *because, const char *in)
{
	switch (a) {
	case TRIAGE_DROP:
		note(t, because, "drop: the connection ends here");
		tell_reply(t, id, DROPPED, because, in);
		return false;
	case TRIAGE_ENFORCE:
		note(t, because, "enforce: the client may talk, every recipient is refused");
		t->refuses = true;
		t->reply = id;
		t->because = because;
		t->in = in;
		break;
	case TRIAGE_IGNORE:
		note(t, because, "ignore: the log says so, the client goes on");
		break;
	}
	return true;
}

/* ---- the access list ---- */

static void
on_table(void *arg, const char *table, struct span lookup_key, enum rc rc, struct span value, uint64_t usec)
{
	struct telling *t = arg;
	explain_lookup(t->out, table, lookup_key, rc, value, usec);
}

static void
on_item(void *arg, const char *item, enum triage_listed says)
{
	static const char *const words[] = { [TRIAGE_DUNNO] = "dunno", [TRIAGE_PERMIT] = "permit", [TRIAGE_REJECT] = "reject", [TRIAGE_TROUBLE] = "not now" };
	row(arg, "postscreen_access_list", item, words[says], 0);
}

/* false: that was all, with the verdict told or t->refuses not set. */
static bool
access_list(struct telling *t, int *status)
{
	struct err e = { 0 };
	heading(t, "postscreen_access_list");
	map_watch(on_table, t);
	enum triage_listed says = triage_acl_eval(t->triage->acl, &t->facts->client, on_item, t, &e);
	map_watch(NULL, NULL);
	switch (says) {
	case TRIAGE_PERMIT:
		note(t, "permit", "no test at all");
		*status = 0;
		return false;
	case TRIAGE_REJECT:
		*status = 1;
		return act(t, t->triage->denylist, REPLY_TRIAGE_DENIED, "postscreen_denylist_action", "postscreen_access_list");
	case TRIAGE_TROUBLE:
		note(t, "warning", "%s", e.why);
		break;
	case TRIAGE_DUNNO:
		break;
	}
	return true;
}

/* ---- the score ---- */

static void
one_less(struct telling *t)
{
	if (--t->pending == 0)
		loop_stop();
}

static void
on_score(struct op *op)
{
	one_less(container_of(op, struct telling, score.op));
}

static void
on_answer(struct op *op)
{
	one_less(container_of(op, struct site, ask.op)->telling);
}

static void
on_site(void *arg, const char *item, const struct rbl_list *list, int weight, const char *shown)
{
	struct telling *t = arg;
	(void)shown;
	t->sites = mem_reallocarray(t->sites, t->n + 1, sizeof *t->sites);
	t->sites[t->n++] = (struct site){ .telling = t, .item = item, .list = list, .weight = weight };
}

/* The score asks, and each item joins its question. */
static void
ask(struct telling *t)
{
	struct buf query;
	op_owner_init(&t->waits);
	buf_init(&query, QUERY_MAX);
	rbl_sites_each(t->triage->sites, on_site, t);
	t->pending = 1;
	rbl_score_init(&t->score, &t->waits, on_score);
	rbl_score_start(&t->score, t->triage->sites, &t->facts->client, NULL);
	for (unsigned i = 0; i < t->n; i++) {
		struct site *s = &t->sites[i];
		buf_reset(&query);
		rbl_addr_query(s->list->domain, &t->facts->client, &query);
		rbl_ask_init(&s->ask, &t->waits, on_answer);
		t->pending += !rbl_ask_now(&s->ask, RBL_ADDRESSES, s->list->domain, buf_span(&query));
	}
	buf_fini(&query);
	loop_run();
}

static void
tell_site(const struct telling *t, const struct site *s)
{
	struct buf query, said;
	char at[INET_ADDRSTRLEN], adds[16] = "0";
	const struct dns_answer *a = s->ask.answer;
	bool yes = s->ask.said == RBL_SAID_YES, no = s->ask.said == RBL_SAID_NO;
	buf_init(&query, QUERY_MAX);
	buf_init(&said, ANSWER_MAX);
	rbl_addr_query(s->list->domain, &t->facts->client, &query);
	buf_puts(&query, " A");
	for (unsigned i = 0; yes && i < a->n; i++)
		buf_printf(&said, "%s%s", i > 0 ? ", " : "", inet_ntop(AF_INET, &a->rr[i].addr.a, at, sizeof at));
	if (!yes && !no)
		buf_puts(&said, a->why != NULL ? a->why : rbl_said_name(s->ask.said));
	explain_lookup(t->out, "dns", buf_span(&query), yes ? RC_OK : no ? RC_NONE : RC_TEMP, buf_span(&said), s->ask.usec);
	if (yes && rbl_list_judge(s->list, a, NULL) == RBL_LISTED)
		snprintf(adds, sizeof adds, "%+d", s->weight);
	row(t, "postscreen_dnsbl_sites", s->item, yes || no ? adds : "not now", s->ask.usec);
	buf_fini(&query);
	buf_fini(&said);
}

/* false: it would be dropped. */
static bool
lists(struct telling *t)
{
	const struct params *p = t->triage->p;
	if (t->triage->sites == NULL)
		return true;
	heading(t, "postscreen_dnsbl_sites");
	ask(t);
	for (unsigned i = 0; i < t->n; i++) {
		tell_site(t, &t->sites[i]);
		rbl_ask_fini(&t->sites[i].ask);
	}
	rbl_score_fini(&t->score);
	int score = t->score.score;
	bool is_listed = score >= p->p_postscreen_dnsbl_threshold;
	bool is_good = !is_listed && !t->refuses && p->p_postscreen_dnsbl_allowlist_threshold < 0 && score <= p->p_postscreen_dnsbl_allowlist_threshold;
	note(t, "score", "%d, postscreen_dnsbl_threshold %lld, postscreen_dnsbl_allowlist_threshold %lld: %s%s", score, (long long)p->p_postscreen_dnsbl_threshold,
	    (long long)p->p_postscreen_dnsbl_allowlist_threshold, is_listed ? "listed" : is_good ? "good, no other test" : "passes",
	    t->score.failed > 0 ? "; not all could say" : "");
	return !is_listed || act(t, t->triage->action[TEST_DNSBL], REPLY_TRIAGE_LISTED, "postscreen_dnsbl_action", "postscreen_dnsbl_sites");
}

/* ---- what depends on the client ---- */

static void
behaviour(const struct telling *t)
{
	static const struct {
		enum triage_test test;
		const char *who;
	} rows[] = {
		{ TEST_PREGREET, "a client that talks before the greeting" }, { TEST_PIPELINING, "a client that does not wait for replies" },
		{ TEST_NON_SMTP, "a client that says words of other protocols" }, { TEST_BARE_NEWLINE, "a client that ends lines without CR" },
	};
	for (size_t i = 0; i < NELEMS(rows); i++)
		if ((t->triage->enabled & 1u << rows[i].test) != 0)
			note(t, "not tried", "%s: %s", rows[i].who, action_names[t->triage->action[rows[i].test]]);
}

static int
tell(struct telling *t)
{
	int status = 0;
	if (!access_list(t, &status))
		return status;
	if (t->triage->remembers && !t->refuses)
		note(t, "not asked", "the memory of clients that have passed: one that is there has no test until its time is over");
	if (!lists(t))
		return 1;
	behaviour(t);
	if (!t->refuses)
		return 0;
	tell_reply(t, t->reply, 0, t->because, t->in);
	return 1;
}

int
triage_explain(struct conf *c, const struct service *listener, const struct facts *f, struct explain_out *out)
{
	struct telling t = { .conf = c, .listener = listener, .facts = f, .out = out };
	struct triage_conf *triage = NULL;
	struct err e = { 0 };
	if (!triage_is_on(listener))
		return 0;
	if (triage_conf_open(c, listener, &triage, &e) != RC_OK) {
		fprintf(stderr, "explain: %s\n", e.why);
		return 2;
	}
	t.triage = triage;
	explain_stage(out, "triage");
	int status = tell(&t);
	mem_free(&t.sites);
	triage_conf_free(&triage);
	return status;
}
