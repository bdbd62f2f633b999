/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * policy_cases.h - what a client says and what a policy answers, as rows of a table. For tests of whole configurations;
 * those of single rules have policy_says.h.
 */
#ifndef TESTS_UNIT_POLICY_CASES_H
#define TESTS_UNIT_POLICY_CASES_H

#include "policy/engine.h"
#include "policy/policy.h"

#include "confdir.h"
#include "unit.h"

/* What a client does, and the answer. NULL: not given. */
struct said {
	const char *client;          /* NULL: 127.0.0.9 */
	const char *helo, *from, *to;
	const char *reply;           /* "": accepted */
	const char *note;            /* "hold: ...", NULL: none */
};

#define COMMON                                                                                                                        \
	"smtpd_peername_lookup = no\nmydestination =\nmynetworks = 127.0.0.2, !127.0.1.9, 127.0.1.0/24\ninet_protocols = ipv4\ninet_interfaces = 127.0.0.1\n"     \
	"relay_domains = example.org any.example any2.example .dot.example all.example\n"                                              \
	"relay_recipient_maps = inline:{{known@example.org=x}, {known2@example.org=x}, {listed@any2.example=x}, {@any.example=x}, "    \
	"{@all.example=x}, {@sub.any.example=x}, {@.dot.example=x}, {@sub.dot.example=x}}\n"

static inline void UNUSED
facts_of(struct facts *f, const struct said *s)
{
	*f = (struct facts){ 0 };
	f->client_addr = span_str(s->client != NULL ? s->client : "127.0.0.9");
	assert_int_equal(ipaddr_parse(f->client_addr, &f->client), RC_OK);
	f->client_name = f->reverse_name = SPAN("unknown");
	f->client_name_rc = f->reverse_name_rc = RC_NONE;
	f->has_helo = s->helo != NULL;
	f->helo = span_str(s->helo);
	f->has_sender = s->from != NULL;
	f->sender = span_str(s->from);
	f->has_rcpt = s->to != NULL;
	f->rcpt = span_str(s->to);
}

static inline void UNUSED
never(struct op *op)
{
	(void)op;
	fail_msg("a run that was done called done()");
}

static inline void UNUSED
check(const struct policy *p, const char *conf, enum policy_stage stage, const struct said *s)
{
	struct op_owner owner;
	struct policy_run r;
	struct facts f;
	op_owner_init(&owner);
	policy_run_init(&r, &owner, never);
	facts_of(&f, s);
	assert_true(policy_run_now(&r, p, stage, &f));
	const struct verdict *v = &r.verdict;
	char got[600] = "";
	if (v->kind == VERDICT_REFUSE)
		snprintf(got, sizeof got, "%.*s", (int)v->reply.n, (const char *)v->reply.p);
	if (strcmp(got, s->reply) != 0)
		fail_msg("%s\nfrom <%s> to <%s>:\n  got  \"%s\"\n  want \"%s\"", conf, s->from, s->to, got, s->reply);
	assert_true(v->kind == VERDICT_PERMIT || v->kind == VERDICT_REFUSE);
	if (v->kind == VERDICT_REFUSE && stage == POLICY_RCPT)
		assert_true(v->code >= 400 && v->code <= 599);
	char note[600] = "";
	unsigned k = 0;
	while (k < v->nnotes && v->notes[k].kind == NOTE_LISTED) /* which list said what: for held mail, not for the log */
		k++;
	if (k < v->nnotes)
		snprintf(note, sizeof note, "%s: %.*s", verdict_note_name(v->notes[k].kind), (int)v->notes[k].text.n, (const char *)v->notes[k].text.p);
	if (s->note != NULL && strncmp(note, s->note, strlen(s->note)) != 0)
		fail_msg("%s\nfrom <%s> to <%s>:\n  note \"%s\"\n  want \"%s\"", conf, s->from, s->to, note, s->note);
	if (s->note != NULL && strncmp(s->note, "hold", 4) == 0)
		assert_true(v->hold);
	else
		assert_false(v->hold);
	policy_run_fini(&r);
	policy_run_fini(&r);
	assert_true(op_owner_idle(&owner));
}

static inline struct policy *UNUSED
compile(const char *lines, struct conf **conf_out)
{
	struct policy *p = NULL;
	struct err e;
	struct conf *c = confdir_load(lines);
	if (policy_compile(c, conf_service_find(c, "smtp", "inet"), &p, &e) != RC_OK) {
		confdir_show_problems(c);
		fail_msg("%s\ndoes not compile: %s", lines, e.why);
	}
	*conf_out = c;
	return p;
}

static inline void UNUSED
check_all(const char *lines, enum policy_stage stage, const struct said *cases, size_t n)
{
	struct conf *c = NULL;
	struct policy *p = compile(lines, &c);
	for (size_t i = 0; i < n; i++)
		check(p, lines, stage, &cases[i]);
	policy_free(&p);
	conf_unref(&c);
}

#define RELAY_DENIED(a) "454 4.7.1 <" a ">: Relay access denied"
#define UNKNOWN_RELAY(a) "550 5.1.1 <" a ">: Recipient address rejected: User unknown in relay recipient table"
#define FROM "a@sender.example"

#endif
