/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * policy_say DIR - what the restrictions of a configuration say, without a gateway.
 *
 * Reads sessions from standard input, one a line: address TAB name ("unknown": none) TAB helo TAB sender TAB
 * recipient, addresses in internal form. Writes for each the command that was refused (0 connect, 1 HELO, 2 MAIL,
 * 3 RCPT, 4 DATA) and the reply, or "OK". Exit status 2 and the problems when the configuration is refused.
 */
#include "policy/policy.h"

enum { LINE_MAX_BYTES = 65536 };

static void
never(struct op *op)
{
	(void)op;
}

static struct span
field(struct span *rest)
{
	size_t tab = span_chr(*rest, '\t');
	struct span f = span_head(*rest, tab);
	*rest = tab == SIZE_MAX ? SPAN_EMPTY : span_from(*rest, tab + 1);
	return f;
}

static int
refused(const struct conf *c, const char *why)
{
	printf("refused: %s\n", why);
	for (size_t i = 0; c != NULL && i < conf_problem_count(c, CONF_ERROR); i++)
		printf("  %s\n", conf_problem_at(c, i, CONF_ERROR)->text);
	return 2;
}

static void
session(const struct policy *p, struct policy_run *r, struct span line)
{
	static const enum policy_stage stages[] = { POLICY_CONNECT, POLICY_HELO, POLICY_MAIL, POLICY_RCPT, POLICY_DATA };
	struct facts f = { .is_esmtp = true };
	f.client_addr = field(&line);
	f.client_name = f.reverse_name = field(&line);
	f.helo = field(&line);
	f.sender = field(&line);
	f.rcpt = field(&line);
	if (ipaddr_parse(f.client_addr, &f.client) != RC_OK) {
		printf("bad address\n");
		return;
	}
	f.client_name_rc = f.reverse_name_rc = span_eq_str(f.client_name, "unknown") ? RC_NONE : RC_OK;
	for (size_t i = 0; i < NELEMS(stages); i++) {
		f.has_helo = i >= 1;
		f.has_sender = i >= 2;
		f.has_rcpt = i >= 3;
		f.nrcpt = i > 3;
		if (!policy_run_now(r, p, stages[i], &f)) {
			printf("a rule waits\n");
			return;
		}
		f.is_discarded |= r->verdict.discard;
		if (r->verdict.kind == VERDICT_REFUSE) {
			printf("%zu ", i);
			fwrite(r->verdict.reply.p, 1, r->verdict.reply.n, stdout);
			putchar('\n');
			return;
		}
	}
	printf("OK\n");
}

int
main(int argc, char **argv)
{
	static char line[LINE_MAX_BYTES];
	struct conf *c = NULL;
	struct policy *p = NULL;
	struct err e = { .why = "" };
	struct op_owner owner;
	struct policy_run r;
	int status = 0;
	if (argc != 2) {
		fprintf(stderr, "usage: policy_say DIR < sessions\n");
		return 2;
	}
	if (conf_load(argv[1], &c, &e) != RC_OK || policy_compile(c, conf_service_find(c, "smtp", "inet"), &p, &e) != RC_OK) {
		status = refused(c, e.why);
		conf_unref(&c);
		return status;
	}
	op_owner_init(&owner);
	policy_run_init(&r, &owner, never);
	while (fgets(line, sizeof line, stdin) != NULL) {
		struct span s = span_str(line);
		session(p, &r, span_head(s, span_chr(s, '\n')));
	}
	policy_run_fini(&r);
	policy_free(&p);
	conf_unref(&c);
	return status;
}
