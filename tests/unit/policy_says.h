/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * policy_says.h - a verdict as one text: "reply | kind: note | EDIT text". For tests of single rules.
 */
#ifndef TESTS_UNIT_POLICY_SAYS_H
#define TESTS_UNIT_POLICY_SAYS_H

#include "policy/engine.h"

#include "confdir.h"
#include "unit.h"

#define POLICY_COMMON                                                                                                                \
	"smtpd_peername_lookup = no\nmydestination =\nmynetworks = 127.0.0.2\ninet_protocols = ipv4\ninet_interfaces = 127.0.0.1\n" \
	"relay_domains = example.org\nrelay_recipient_maps = static:x\nsmtpd_relay_restrictions = reject_unauth_destination\n"

static inline int
policy_says_begin(void **state)
{
	(void)state;
	confdir_make();
	loop_init();
	return 0;
}

static inline int
policy_says_end(void **state)
{
	(void)state;
	loop_fini();
	confdir_remove();
	return 0;
}

/* A client, its sender and a recipient of ours. */
static inline struct facts
policy_facts(void)
{
	struct facts f = {
		.client_addr = SPAN("192.0.2.7"), .client_name = SPAN("c.example"), .reverse_name = SPAN("r.example"), .client_port = 1234,
		.has_helo = true, .is_esmtp = true, .helo = SPAN("h.example"), .has_sender = true, .sender = SPAN("a@s.example"), .has_rcpt = true,
		.rcpt = SPAN("b@example.org"), .qid = SPAN("NOQUEUE"),
	};
	assert_int_equal(ipaddr_parse(f.client_addr, &f.client), RC_OK);
	return f;
}

static inline void
verdict_show(const struct verdict *v, struct buf *b)
{
	static const char *const edits[] = { [EDIT_PREPEND] = "PREPEND", [EDIT_REDIRECT] = "REDIRECT", [EDIT_BCC] = "BCC", [EDIT_FILTER] = "FILTER" };
	buf_reset(b);
	buf_put(b, v->kind == VERDICT_REFUSE ? v->reply : v->kind == VERDICT_PERMIT ? SPAN("ok") : SPAN("none"));
	if (v->hold)
		buf_puts(b, " | held");
	if (v->discard)
		buf_puts(b, " | discarded");
	if (v->quarantine_all || v->quarantine_rcpt) {
		buf_puts(b, v->quarantine_all ? " | all quarantined: " : " | rcpt quarantined: ");
		buf_put(b, v->quarantine_reason);
		if (v->quarantine_all && v->quarantine_rcpt)
			buf_puts(b, " | rcpt quarantined");
	}
	for (unsigned i = 0; i < v->nnotes; i++) {
		buf_printf(b, " | %s: ", verdict_note_name(v->notes[i].kind));
		buf_put(b, v->notes[i].text);
	}
	for (unsigned i = 0; i < v->nedits; i++) {
		buf_printf(b, " | %s ", edits[v->edits[i].kind]);
		buf_put(b, v->edits[i].text);
	}
}

static inline struct policy *
policy_of(const char *lines, struct conf **conf_out)
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

/* Runs a stage that needs to wait for nothing and compares. */
static inline void
policy_says(const char *lines, enum policy_stage stage, const struct facts *f, const char *want)
{
	struct conf *c = NULL;
	struct op_owner owner;
	struct policy_run r;
	struct buf got;
	struct policy *p = policy_of(lines, &c);
	buf_init(&got, 65536);
	op_owner_init(&owner);
	policy_run_init(&r, &owner, NULL);
	assert_true(policy_run_now(&r, p, stage, f));
	verdict_show(&r.verdict, &got);
	if (strcmp(buf_cstr(&got), want) != 0)
		fail_msg("%s\n  got  \"%s\"\n  want \"%s\"", lines, buf_cstr(&got), want);
	policy_run_fini(&r);
	buf_fini(&got);
	policy_free(&p);
	conf_unref(&c);
}

#endif
