/* SPDX-License-Identifier: BSD-2-Clause */
/* "dogana explain": one client, one message, every rule that would run and what it says. */
#include "policy/engine.h"

#include "base/clock.h"

struct explain {
	struct policy_trace trace;
	FILE *out;
	const char *list;            /* heading printed last */
	uint64_t started;
	unsigned notes;              /* printed */
};

static void
put(FILE *out, const char *label, struct span text)
{
	struct buf b;
	buf_init(&b, 2000);
	buf_put_safe(&b, text, 1000, true);
	fprintf(out, "%s%s\n", label, buf_cstr(&b));
	buf_fini(&b);
}

static void
on_rule(struct policy_trace *t, const struct policy_run *r, const struct policy_list *list, const struct policy_rule *rule, unsigned depth,
    const char *result)
{
	struct explain *x = container_of(t, struct explain, trace);
	const char *heading = list == NULL ? "always" : depth == 1 ? list->name : NULL;
	uint64_t usec = clock_mono() - x->started;
	if (heading != NULL && (x->list == NULL || strcmp(x->list, heading) != 0)) {
		fprintf(x->out, "%s\n", heading);
		x->list = heading;
	}
	fprintf(x->out, "  %*s%-*s %-8s %6llu us", (int)(depth - 1) * 2, "", 56 - (int)(depth - 1) * 2, rule->shown, result, (unsigned long long)usec);
	const char *table = rule->map != NULL ? map_list_answered_by(rule->map) : "";
	if (*table != '\0')
		fprintf(x->out, "  by %s", table);
	putc('\n', x->out);
	for (; x->notes < r->verdict.nnotes; x->notes++) {
		fprintf(x->out, "      %s: ", verdict_note_name(r->verdict.notes[x->notes].kind));
		put(x->out, "", r->verdict.notes[x->notes].text);
	}
	x->started = clock_mono();
}

/* "name[address]" or "address". */
static bool
client_of(struct facts *f, const char *text)
{
	struct span s = span_str(text);
	size_t open = span_chr(s, '[');
	f->client_name = f->reverse_name = SPAN("unknown");
	f->client_name_rc = f->reverse_name_rc = RC_NONE;
	if (open != SIZE_MAX && open > 0 && s.p[s.n - 1] == ']') {
		f->client_name = f->reverse_name = span_head(s, open);
		f->client_name_rc = f->reverse_name_rc = span_eq_str(f->client_name, "unknown") ? RC_NONE : RC_OK;
		s = span_of(s.p + open + 1, s.n - open - 2);
	}
	f->client_addr = s;
	if (ipaddr_parse(s, &f->client) != RC_OK)
		return false;
	f->client = ipaddr_unmap(f->client);
	return true;
}

static struct span
without_brackets(const char *text)
{
	struct span s = span_str(text);
	if (s.n >= 2 && s.p[0] == '<' && s.p[s.n - 1] == '>')
		s = span_of(s.p + 1, s.n - 2);
	return s;
}

static void
print_address(FILE *out, const char *label, const struct address_book *book, struct span addr)
{
	struct resolved a;
	struct err e;
	if (addr.n == 0) {
		fprintf(out, "%s<>\n", label);
		return;
	}
	if (address_resolve(book, addr, &a, &e) != RC_OK) {
		fprintf(out, "%snot now: %s\n", label, e.why);
		return;
	}
	put(out, label, a.addr);
	fprintf(out, "             class %s%s%s\n", address_class_name(a.class), a.is_routed ? ", the sender prescribes a route" : "",
	    a.is_bad ? ", impossible address" : "");
}

static const char *
stage_name(enum policy_stage stage)
{
	static const char *const names[] = {
		[POLICY_NO_STAGE] = "",
		[POLICY_CONNECT] = "connect",
		[POLICY_HELO] = "HELO",
		[POLICY_MAIL] = "MAIL",
		[POLICY_RCPT] = "RCPT",
		[POLICY_DATA] = "DATA",
		[POLICY_END_OF_DATA] = "end of data",
		[POLICY_ETRN] = "ETRN",
	};
	return names[stage];
}

static bool
run_stage(struct explain *x, const struct policy *p, struct policy_run *r, enum policy_stage stage, const struct facts *f)
{
	fprintf(x->out, "\n%s\n", stage_name(stage));
	x->list = NULL;
	x->notes = 0;
	x->started = clock_mono();
	r->trace = &x->trace;
	if (!policy_run_now(r, p, stage, f))
		BUG("a rule waits in explain"); /* rules that wait look at trace */
	const struct verdict *v = &r->verdict;
	if (v->kind == VERDICT_PERMIT) {
		fprintf(x->out, "  accepted%s%s\n", v->hold ? ", and held" : "", v->discard ? ", and thrown away" : "");
		return true;
	}
	put(x->out, "  refused: ", v->reply);
	if (v->rule != NULL)
		fprintf(x->out, "  by %s%s%s\n", v->rule, v->list != NULL ? " in " : "", v->list != NULL ? v->list : "");
	return false;
}

static void
never(struct op *op)
{
	(void)op;
}

static int
explain(struct explain *x, const struct service *s, const struct policy *p, struct facts *f)
{
	static const enum policy_stage stages[] = { POLICY_CONNECT, POLICY_HELO, POLICY_MAIL, POLICY_RCPT, POLICY_DATA, POLICY_END_OF_DATA };
	struct op_owner owner;
	struct policy_run r;
	int status = 0;
	op_owner_init(&owner);
	policy_run_init(&r, &owner, never);
	fprintf(x->out, "service    %s %s\n", s->name, s->type);
	put(x->out, "client     ", f->client_addr);
	put(x->out, "helo       ", f->helo);
	print_address(x->out, "sender     ", policy_addresses(p), f->sender);
	print_address(x->out, "recipient  ", policy_addresses(p), f->rcpt);
	for (size_t i = 0; i < NELEMS(stages) && status == 0; i++) {
		if (stages[i] == POLICY_HELO && !f->has_helo)
			continue;
		struct facts now = *f;
		now.has_helo = f->has_helo && stages[i] >= POLICY_HELO;
		now.has_sender = stages[i] >= POLICY_MAIL;
		now.has_rcpt = stages[i] >= POLICY_RCPT;
		now.nrcpt = stages[i] > POLICY_RCPT;
		status = run_stage(x, p, &r, stages[i], &now) ? 0 : 1;
		f->is_discarded |= r.verdict.discard;
	}
	policy_run_fini(&r);
	fprintf(x->out, "\n%s\n", status == 0 ? "the message would be accepted" : "the message would be refused");
	return status;
}

int
policy_explain(const char *dir, const char *client, const char *helo, const char *from, const char *to, FILE *out)
{
	struct conf *c = NULL;
	struct policy *p = NULL;
	struct err e = { 0 };
	struct explain x = { .trace = { .rule = on_rule }, .out = out };
	struct facts f = { .is_esmtp = true };
	int status = 2;
	f.has_helo = helo != NULL;
	f.helo = span_str(helo);
	f.sender = without_brackets(from != NULL ? from : "");
	f.rcpt = without_brackets(to);
	if (!client_of(&f, client)) {
		fprintf(stderr, "explain: bad client address: %s\n", client);
		return 2;
	}
	if (conf_load(dir, &c, &e) != RC_OK && c == NULL) {
		fprintf(stderr, "explain: %s\n", e.why);
		return 2;
	}
	const struct service *s = NULL;
	for (size_t i = 0; s == NULL && i < conf_service_count(c); i++)
		if (strcmp(conf_service(c, i)->command, "smtpd") == 0)
			s = conf_service(c, i);
	if (s == NULL)
		fprintf(stderr, "explain: there is no smtpd service in master.cf\n");
	else if (policy_compile(c, s, &p, &e) == RC_OK)
		status = explain(&x, s, p, &f);
	for (size_t i = 0; status == 2 && i < conf_problem_count(c, CONF_ERROR); i++) {
		const struct conf_problem *problem = conf_problem_at(c, i, CONF_ERROR);
		if (problem->line > 0)
			fprintf(stderr, "%s:%d: error: %s\n", problem->file, problem->line, problem->text);
		else
			fprintf(stderr, "%s: error: %s\n", problem->file, problem->text);
	}
	policy_free(&p);
	conf_unref(&c);
	return status;
}
