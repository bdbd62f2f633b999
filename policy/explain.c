/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * "dogana explain": one client, one message; every rule that would run, what it asks and what it says. Real tables, real
 * DNS, and a loop of its own: nothing of a running gateway is touched.
 */
#include "dns/peer.h"
#include "policy/engine.h"
#include "policy/explain_out.h"
#include "policy/list_use.h"

#include "base/clock.h"

enum { KNOWN_MAX = 64 * 1024, REPLY_MAX = 64 * 1024 };

struct explain {
	struct policy_trace trace;
	struct explain_out out;
	const struct policy *policy;
	struct conf *conf;
	policy_explain_reply_fn *reply;
	policy_explain_first_fn *first, *last;
	const struct service *listener; /* the line with the socket */
	const char *list;            /* heading printed last */
	uint64_t started;            /* the rule at hand */
	unsigned notes, edits;       /* printed */
	struct buf known;            /* lookups of the rule at hand: run again, it asks the same again */
};

/* ---- what the engine tells ---- */

/* A class stands where its own parameter is; a list that a table named, where the list is that named the table. */
static const char *
place(const struct explain *x, const struct policy_list *list, int *line)
{
	const char *file = NULL;
	if (list == NULL || !conf_position(x->policy->conf, x->policy->service, list->name, &file, line))
		return NULL;
	return file;
}

static void
heading(struct explain *x, const struct policy_list *list)
{
	const char *name = list == NULL ? "always" : list->name;
	int line = 0;
	if (x->list != NULL && strcmp(x->list, name) == 0)
		return;
	x->list = name;
	const char *file = place(x, list, &line);
	explain_list(&x->out, list == NULL ? NULL : name, file, line);
}

static void
on_rule(struct policy_trace *t, const struct policy_run *r, const struct policy_list *list, const struct policy_rule *rule, unsigned depth,
    const char *result)
{
	struct explain *x = container_of(t, struct explain, trace);
	uint64_t usec = clock_mono() - x->started;
	int line = 0;
	if (list == NULL || depth == 1)
		heading(x, list);
	const char *file = place(x, list, &line);
	explain_rule(&x->out, list == NULL ? NULL : list->name, file, line, rule->shown, depth, result, usec);
	for (; x->notes < r->verdict.nnotes; x->notes++)
		explain_note(&x->out, verdict_note_name(r->verdict.notes[x->notes].kind), r->verdict.notes[x->notes].text);
	for (; x->edits < r->verdict.nedits; x->edits++)
		if (r->verdict.edits[x->edits].kind == EDIT_PREPEND) /* the others have their notes */
			explain_note(&x->out, "prepend", r->verdict.edits[x->edits].text);
	buf_reset(&x->known);
	x->started = clock_mono();
}

static void
on_asked(struct policy_trace *t, const char *whom, struct span question, enum rc rc, struct span answer, uint64_t usec)
{
	struct explain *x = container_of(t, struct explain, trace);
	struct buf line;
	buf_init(&line, KNOWN_MAX);
	buf_putc(&line, '\n');
	buf_puts(&line, whom);
	buf_putc(&line, ' ');
	buf_put(&line, question);
	buf_putc(&line, '\n');
	if (span_find(buf_span(&x->known), buf_span(&line)) == SIZE_MAX) {
		buf_put(&x->known, buf_span(&line));
		explain_lookup(&x->out, whom, question, rc, answer, usec);
	}
	buf_fini(&line);
}

static void
on_table(void *arg, const char *table, struct span lookup_key, enum rc rc, struct span value, uint64_t usec)
{
	struct explain *x = arg;
	on_asked(&x->trace, table, lookup_key, rc, value, usec);
}

static void
on_done(struct op *op)
{
	(void)op;
	loop_stop();
}

/* ---- the client ---- */

static void
set_names(struct facts *f, enum rc name_rc, struct span name, enum rc reverse_rc, struct span reverse)
{
	f->client_name = name_rc == RC_OK ? name : SPAN("unknown");
	f->client_name_rc = name_rc;
	f->reverse_name = reverse_rc == RC_OK ? reverse : SPAN("unknown");
	f->reverse_name_rc = reverse_rc;
}

/* "name[address]" or "address", and what --name says. false: not an address. has_name_out: DNS need not be asked. */
static bool
client_of(struct facts *f, const struct explain_question *q, bool *has_name_out)
{
	struct span s = span_str(q->client), name = span_str(q->name);
	size_t open = span_chr(s, '[');
	if (open != SIZE_MAX && open > 0 && s.p[s.n - 1] == ']') {
		if (name.n == 0)
			name = span_head(s, open);
		s = span_of(s.p + open + 1, s.n - open - 2);
	}
	bool known = name.n > 0 && !span_caseeq_str(name, "unknown");
	set_names(f, known ? RC_OK : RC_NONE, name, known ? RC_OK : RC_NONE, name);
	*has_name_out = name.n > 0;
	f->client_addr = s;
	if (ipaddr_parse(s, &f->client) != RC_OK)
		return false;
	f->client = ipaddr_unmap(f->client);
	return true;
}

/* The names in f are those of p afterwards. */
static void
look_up_client(struct explain *x, struct dns_peer *p, struct op_owner *owner, struct facts *f)
{
	static const char *const said[] = { [RC_OK] = "verified", [RC_NONE] = "none", [RC_TEMP] = "not now", [RC_PERM] = "malformed" };
	char how[300];
	uint64_t began = clock_mono();
	dns_peer_init(p, owner, on_done);
	if (!dns_peer_ask(p, &f->client, x->policy->p->p_dns_timeout))
		loop_run();
	set_names(f, p->name_rc, p->name, p->reverse_rc, p->reverse);
	snprintf(how, sizeof how, "DNS: %s%s%.*s, %llu us", said[p->name_rc], p->denied.n > 0 ? ", does not lead back: " : "",
	    (int)(p->denied.n < 200 ? p->denied.n : 200), p->denied.n > 0 ? (const char *)p->denied.p : "", (unsigned long long)(clock_mono() - began));
	explain_fact(&x->out, "name", f->client_name, how);
}

/* ---- the message ---- */

static struct span
without_brackets(const char *text)
{
	struct span s = span_str(text);
	if (s.n >= 2 && s.p[0] == '<' && s.p[s.n - 1] == '>')
		s = span_of(s.p + 1, s.n - 2);
	return s;
}

static void
show_address(const struct explain *x, const char *label, struct span addr)
{
	struct resolved a;
	struct err e;
	char more[200];
	if (addr.n == 0) {
		explain_fact(&x->out, label, SPAN("<>"), "");
		return;
	}
	if (address_resolve(x->policy->book, addr, &a, &e) != RC_OK) {
		snprintf(more, sizeof more, "not now: %.150s", e.why);
		explain_fact(&x->out, label, addr, more);
		return;
	}
	snprintf(more, sizeof more, "class %s%s%s", address_class_name(a.class), a.is_routed ? ", the sender prescribes a route" : "",
	    a.is_bad ? ", impossible address" : "");
	explain_fact(&x->out, label, a.addr, more);
}

static const struct {
	enum policy_stage stage;
	const char *name;
} stages[] = {
	{ POLICY_CONNECT, "connect" }, { POLICY_HELO, "HELO" }, { POLICY_MAIL, "MAIL" }, { POLICY_RCPT, "RCPT" }, { POLICY_DATA, "DATA" },
	{ POLICY_END_OF_DATA, "end of data" },
};

static bool
run_stage(struct explain *x, struct policy_run *r, size_t i, const struct facts *f)
{
	explain_stage(&x->out, stages[i].name);
	x->list = NULL;
	x->notes = x->edits = 0;
	x->started = clock_mono();
	r->trace = &x->trace;
	if (!policy_run_now(r, x->policy, stages[i].stage, f))
		loop_run();
	const struct verdict *v = &r->verdict;
	bool accepted = v->kind == VERDICT_PERMIT;
	for (; x->notes < v->nnotes; x->notes++)
		explain_note(&x->out, verdict_note_name(v->notes[x->notes].kind), v->notes[x->notes].text);
	struct buf reply;
	buf_init(&reply, REPLY_MAX);
	if (!accepted)
		x->reply(x->conf, x->policy->service, f, v->reply, &reply);
	explain_verdict(&x->out, buf_span(&reply), v->rule, v->list,
	    v->hold && v->discard  ? ", held and thrown away"
	        : v->discard       ? ", and thrown away"
	        : v->hold          ? ", and held"
	        : v->quarantine_all  ? ", and goes to the quarantine"
	        : v->quarantine_rcpt ? ", and goes to the quarantine for this recipient"
	                           : "");
	buf_fini(&reply);
	return accepted;
}

static int
explain(struct explain *x, struct facts *f, bool has_name)
{
	struct op_owner owner;
	struct policy_run r;
	struct dns_peer peer = { 0 };
	int status = 0;
	op_owner_init(&owner);
	policy_run_init(&r, &owner, on_done);
	char service[200], inner[200] = "";
	snprintf(service, sizeof service, "%s %s", x->listener->name, x->listener->type);
	if (x->listener != x->policy->service)
		snprintf(inner, sizeof inner, "then %s %s", x->policy->service->name, x->policy->service->type);
	explain_fact(&x->out, "service", span_str(service), inner);
	explain_fact(&x->out, "client", f->client_addr, "");
	if (has_name)
		explain_fact(&x->out, "name", f->client_name, "given");
	else if (x->policy->p->p_smtpd_peername_lookup)
		look_up_client(x, &peer, &owner, f);
	explain_fact(&x->out, "helo", f->helo, "");
	show_address(x, "sender", f->sender);
	show_address(x, "recipient", f->rcpt);
	status = x->first(x->conf, x->listener, f, &x->out);
	map_watch(on_table, x);
	for (size_t i = 0; i < NELEMS(stages) && status == 0; i++) {
		enum policy_stage stage = stages[i].stage;
		if (stage == POLICY_HELO && !f->has_helo)
			continue;
		struct facts now = *f;
		now.has_helo = f->has_helo && stage >= POLICY_HELO;
		now.has_sender = stage >= POLICY_MAIL;
		now.has_rcpt = stage >= POLICY_RCPT;
		now.nrcpt = stage > POLICY_RCPT;
		status = run_stage(x, &r, i, &now) ? 0 : 1;
		f->is_discarded |= r.verdict.discard;
		policy_run_reset(&r); /* its facts are on this stack */
	}
	if (status == 0 && x->last != NULL)
		status = x->last(x->conf, x->policy->service, f, &x->out);
	map_watch(NULL, NULL);
	policy_run_fini(&r);
	dns_peer_fini(&peer);
	if (status != 2)
		explain_end(&x->out, status == 0);
	return status;
}

static void
show_errors(const struct conf *c)
{
	for (size_t i = 0; i < conf_problem_count(c, CONF_ERROR); i++) {
		const struct conf_problem *problem = conf_problem_at(c, i, CONF_ERROR);
		if (problem->line > 0)
			fprintf(stderr, "%s:%d: error: %s\n", problem->file, problem->line, problem->text);
		else
			fprintf(stderr, "%s: error: %s\n", problem->file, problem->text);
	}
}

/* The listener: the one that was named, or the first. */
static const struct service *
find_listener(const struct conf *c, const char *name)
{
	const struct service *inner = NULL;
	for (size_t i = 0; i < conf_service_count(c); i++) {
		const struct service *s = conf_service(c, i);
		bool is_smtpd = strcmp(s->command, "smtpd") == 0, is_pass = strcmp(s->type, "pass") == 0;
		if (s->disabled || (!is_smtpd && strcmp(s->command, "postscreen") != 0) || (name != NULL && strcmp(s->name, name) != 0))
			continue;
		if (!is_pass || name != NULL)
			return s;
		inner = inner != NULL ? inner : s;
	}
	return inner;
}

/* The line whose restrictions its clients meet. */
static const struct service *
served_by(const struct conf *c, const struct service *listener)
{
	if (listener == NULL || strcmp(listener->command, "smtpd") == 0)
		return listener;
	const struct service *s = conf_service_find(c, listener->params->p_smtpd_service_name, "pass");
	return s != NULL && strcmp(s->command, "smtpd") == 0 ? s : NULL;
}

int
policy_explain(const struct explain_question *q, FILE *out)
{
	struct conf *c = NULL;
	struct policy *p = NULL;
	struct err e = { 0 };
	struct explain x = { .trace = { .rule = on_rule, .asked = on_asked }, .out = { .file = out, .json = q->json }, .reply = q->reply, .first = q->first, .last = q->last };
	struct facts f = { .is_esmtp = true, .has_helo = q->helo != NULL, .helo = span_str(q->helo), .qid = SPAN("NOQUEUE") };
	bool has_name;
	int status = 2;
	f.sender = without_brackets(q->from != NULL ? q->from : "");
	f.rcpt = without_brackets(q->to);
	if (!client_of(&f, q, &has_name)) {
		fprintf(stderr, "explain: bad client address: %s\n", q->client);
		return 2;
	}
	if (conf_load(q->dir, &c, &e) != RC_OK && c == NULL) {
		fprintf(stderr, "explain: %s\n", e.why);
		return 2;
	}
	x.listener = find_listener(c, q->service);
	const struct service *s = served_by(c, x.listener);
	buf_init(&x.known, KNOWN_MAX);
	loop_init();
	if (s == NULL) {
		fprintf(stderr, "explain: there is no smtpd service%s%s in master.cf\n", q->service != NULL ? " for " : "", q->service != NULL ? q->service : "");
	} else if (dns_open_conf(c, &e) != RC_OK) {
		fprintf(stderr, "explain: %s\n", e.why);
	} else if (policy_compile(c, s, &p, &e) == RC_OK) {
		struct rbl_settings lists = rbl_settings_of(s->params);
		lists.is_quiet = true;
		rbl_health_begin(&lists); /* a list that would be out of use is so here */
		policy_use_lists(p);
		rbl_health_end();
		x.policy = p;
		x.conf = c;
		status = explain(&x, &f, has_name);
	}
	if (status == 2)
		show_errors(c);
	rbl_health_close();
	policy_free(&p);
	dns_close();
	loop_fini();
	buf_fini(&x.known);
	conf_unref(&c);
	return status;
}
