/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * route_say.c - asks the router of the queue without a gateway
 *
 *	route_say DIR [probe]
 *
 * Reads lines "sender TAB recipient" and writes for each "transport TAB next hop", "fail TAB code text", "wait TAB code
 * text" or "drop". Exit status 2: the configuration is refused, its errors on standard output.
 */
#include "base/buf.h"
#include "conf/conf.h"
#include "queue/route.h"

static void
put(struct span s)
{
	fwrite(s.p != NULL ? (const char *)s.p : "", 1, s.n, stdout);
}

static void
say(const struct route *r)
{
	switch (r->kind) {
	case ROUTE_DELIVER:
		put(r->transport);
		putchar('\t');
		put(r->nexthop);
		break;
	case ROUTE_FAIL:
	case ROUTE_WAIT:
		fputs(r->kind == ROUTE_FAIL ? "fail\t" : "wait\t", stdout);
		put(r->dsn);
		putchar(' ');
		put(r->text);
		break;
	case ROUTE_DROP:
		fputs("drop\t", stdout);
		break;
	case ROUTE_NONE:
	case ROUTE_AGAIN:
		fputs("again\t", stdout);
		break;
	}
	putchar('\n');
}

int
main(int argc, char **argv)
{
	struct conf *c = NULL;
	struct router *router = NULL;
	struct err e = { .why = "" };
	char line[8192];
	if (argc < 2)
		return 64;
	enum rc rc = conf_load(argv[1], &c, &e);
	if (rc == RC_OK)
		rc = router_open(c, &router, &e);
	if (rc != RC_OK || conf_problem_count(c, CONF_ERROR) > 0) {
		for (size_t i = 0; c != NULL && i < conf_problem_count(c, CONF_ERROR); i++)
			printf("%s\n", conf_problem_at(c, i, CONF_ERROR)->text);
		router_free(&router);
		conf_unref(&c);
		return 2;
	}
	while (fgets(line, sizeof line, stdin) != NULL) {
		struct route r;
		struct span s = span_rtrim(span_str(line));
		size_t tab = span_chr(s, '\t');
		if (argc > 2)
			router_lookup_probe(router, span_head(s, tab), span_from(s, tab + 1), &r);
		else
			router_lookup(router, span_head(s, tab), span_from(s, tab + 1), &r);
		say(&r);
	}
	router_free(&router);
	conf_unref(&c);
	return 0;
}
