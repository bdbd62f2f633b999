/* SPDX-License-Identifier: BSD-2-Clause */
/* Names, parameter files and templates of tables in other processes, and who may ask them. */
#include "map/remote_table.h"

#include "base/clock.h"
#include "map/remote.h"

#include "confdir.h"
#include "unit.h"

/* ---- templates ---- */

static const struct {
	const char *query, *sql;
	const char *key;
	bool takes;
	const char *bound;           /* all bound values, each with ';' */
} queries[] = {
	{ "SELECT a FROM t WHERE k = '%s'", "SELECT a FROM t WHERE k = ?1", "x@y.z", true, "x@y.z;" },
	{ "SELECT a FROM t WHERE k='%s' AND d=\"%d\"", "SELECT a FROM t WHERE k=?1 AND d=?2", "x@y.z", true, "x@y.z;y.z;" },
	{ "q '%u@%d'", "q ?1", "a'b@y.z", true, "a'b@y.z;" },
	{ "q %s", "q ?1", "5", true, "5;" },
	{ "q '%%%s%%'", "q ?1", "k", true, "%k%;" },
	{ "q LIKE '100%%' AND x % 2", NULL, "k", false, NULL },
	{ "q LIKE '100%%' AND x %% 2 = %s", "q LIKE '100%' AND x % 2 = ?1", "k", true, "k;" },
	{ "q 'it''s %s'", "q ?1", "k", true, "it's k;" },
	{ "q 'it''s' -- '%s'\n '%s'", "q 'it''s'   ?1", "k", true, "k;" },
	{ "q /* '%x */ '%s'", "q   ?1", "k", true, "k;" },
	{ "q '%1.%2.%3'", "q ?1", "u@a.b.c", true, "c.b.a;" },
	{ "q '%1.%2.%3'", "q ?1", "u@b.c", false, NULL },
	{ "q '%2'", "q ?1", "u@a..c", false, NULL },
	{ "q '%1'", "q ?1", "plain", false, NULL },
	{ "q '%d'", "q ?1", "plain", false, NULL },
	{ "q '%d'", "q ?1", "plain@", false, NULL },
	{ "q '%u'", "q ?1", "plain", true, "plain;" },
	{ "q '%u'", "q ?1", "@dom", false, NULL },
	{ "q '%s'", "q ?1", "@dom", true, "@dom;" },
	{ "q '%u'", "q ?1", "a@b@c", true, "a@b;" },
	{ "q '%S %U %D'", "q ?1", "a@b", true, "a@b a b;" },
	{ "q '%x'", NULL, NULL, false, NULL },
	{ "q '%'", NULL, NULL, false, NULL },
	{ "q %", NULL, NULL, false, NULL },
	{ "q '%s", NULL, NULL, false, NULL },
	{ "q ?1", NULL, NULL, false, NULL },
};

static void
templates(void **state)
{
	(void)state;
	for (size_t i = 0; i < NELEMS(queries); i++) {
		struct arena a;
		struct query q;
		struct err e = { 0 };
		struct buf bound;
		arena_init(&a, 100000);
		buf_init(&bound, 1000);
		enum rc rc = query_compile(span_str(queries[i].query), SPAN("%s"), &a, &q, &e);
		if ((rc == RC_OK) != (queries[i].sql != NULL))
			fail_msg("row %zu \"%s\": %d %s", i, queries[i].query, (int)rc, e.why);
		if (rc == RC_OK) {
			assert_span(q.sql, queries[i].sql);
			if (query_takes(&q, span_str(queries[i].key)) != queries[i].takes)
				fail_msg("row %zu: %s", i, queries[i].key);
			for (size_t k = 0; queries[i].takes && k < q.nbinds; k++) {
				query_bind(&q, k, span_str(queries[i].key), &bound);
				buf_putc(&bound, ';');
			}
			if (queries[i].takes)
				assert_span(buf_span(&bound), queries[i].bound);
		}
		buf_fini(&bound);
		arena_fini(&a);
	}
}

static const struct {
	const char *format, *key, *value, *out; /* NULL: no result */
} results[] = {
	{ "%s", "k", "v", "v" },
	{ "smtp:[%s]", "k", "hub", "smtp:[hub]" },
	{ "%u at %d", "k", "a@b", "a at b" },
	{ "%d", "k", "plain", NULL },
	{ "%u", "k", "plain", "plain" },
	{ "%u", "k", "@b", NULL },
	{ "%s for %U", "x@y", "v", "v for x" },
	{ "%s %D %1", "x@y.z", "v", "v y.z z" },
	{ "%s%%", "k", "v", "v%" },
	{ "%s", "k", "", NULL },
};

static void
result_formats(void **state)
{
	(void)state;
	for (size_t i = 0; i < NELEMS(results); i++) {
		struct arena a;
		struct query q;
		struct err e = { 0 };
		struct buf out;
		arena_init(&a, 100000);
		buf_init(&out, 1000);
		assert_int_equal(query_compile(SPAN("q"), span_str(results[i].format), &a, &q, &e), RC_OK);
		enum rc rc = query_result(&q, span_str(results[i].key), span_str(results[i].value), &out);
		assert_int_equal(rc, results[i].out != NULL ? RC_OK : RC_NONE);
		if (rc == RC_OK)
			assert_span(buf_span(&out), results[i].out);
		(void)!query_result(&q, span_str(results[i].key), span_str(results[i].value), &out);
		if (rc == RC_OK)
			assert_int_equal(span_chr(buf_span(&out), ','), strlen(results[i].out));
		buf_fini(&out);
		arena_fini(&a);
	}
	struct arena a;
	struct query q;
	struct err e;
	arena_init(&a, 1000);
	assert_int_equal(query_compile(SPAN("q"), SPAN("%z"), &a, &q, &e), RC_PERM);
	arena_fini(&a);
}

/* ---- names and files ---- */

static const struct {
	enum remote_kind kind;
	const char *arg;
	const char *host;            /* NULL: refused */
	unsigned port;
	const char *map;
} places[] = {
	{ REMOTE_TCP, "127.0.0.1:99", "127.0.0.1", 99, "" },
	{ REMOTE_TCP, "host.example:smtp", "host.example", 25, "" },
	{ REMOTE_TCP, "host.example:of-our-own", "host.example", 99, "" },
	{ REMOTE_TCP, "[::1]:99", "::1", 99, "" },
	{ REMOTE_TCP, "::1:99", NULL, 0, NULL },
	{ REMOTE_TCP, "host", NULL, 0, NULL },
	{ REMOTE_TCP, ":99", NULL, 0, NULL },
	{ REMOTE_TCP, "host:", NULL, 0, NULL },
	{ REMOTE_TCP, "host:0", NULL, 0, NULL },
	{ REMOTE_TCP, "host:65536", NULL, 0, NULL },
	{ REMOTE_TCP, "host:no-such-port-name", NULL, 0, NULL },
	{ REMOTE_SOCKETMAP, "inet:host:99:name", "host", 99, "name" },
	{ REMOTE_SOCKETMAP, "inet:[2001:db8::1]:99:name", "2001:db8::1", 99, "name" },
	{ REMOTE_SOCKETMAP, "unix:/a/b:name", "/a/b", 0, "name" },
	{ REMOTE_SOCKETMAP, "unix:/a:b:name", "/a:b", 0, "name" },
	{ REMOTE_SOCKETMAP, "unix:a/b:name", "/base/a/b", 0, "name" },
	{ REMOTE_SOCKETMAP, "inet:host:99", NULL, 0, NULL },
	{ REMOTE_SOCKETMAP, "inet:host:99:", NULL, 0, NULL },
	{ REMOTE_SOCKETMAP, "unix:/a/b", NULL, 0, NULL },
	{ REMOTE_SOCKETMAP, "unix::name", NULL, 0, NULL },
	{ REMOTE_SOCKETMAP, "host:99:name", NULL, 0, NULL },
	{ REMOTE_SOCKETMAP, "", NULL, 0, NULL },
	{ REMOTE_SOCKETMAP, "unix:/more/0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345:n", NULL, 0, NULL },
};

static void
place_names(void **state)
{
	static struct params params;
	(void)state;
	params.p_queue_directory = "/base";
	params.p_known_tcp_ports = "smtp=25, of-our-own=99";
	for (size_t i = 0; i < NELEMS(places); i++) {
		struct arena a;
		struct remote_place p;
		struct err e = { 0 };
		arena_init(&a, 10000);
		enum rc rc = remote_place_parse(places[i].kind, span_str(places[i].arg), &params, &a, &p, &e);
		if ((rc == RC_OK) != (places[i].host != NULL))
			fail_msg("row %zu %s: %d %s", i, places[i].arg, (int)rc, e.why);
		if (rc == RC_OK) {
			assert_string_equal(p.host, places[i].host);
			assert_int_equal(p.port, places[i].port);
			assert_span(p.map, places[i].map);
		}
		arena_fini(&a);
	}
}

static const struct {
	const char *text;            /* of the file */
	const char *error, *warning; /* part of; NULL: none */
} files[] = {
	{ "dbpath = /x\nquery = SELECT a FROM b WHERE c = '%s'\n", NULL, NULL },
	{ "dbpath = /x\nquery = SELECT a\n FROM b\n WHERE c = '%s'\n\nresult_format = [%s]\ndomain = a.test\nexpansion_limit = 3\n", NULL, NULL },
	{ "dbpath = /x\ntable = t\nselect_field = a\nwhere_field = b\nadditional_conditions = AND c = 1\n", NULL, NULL },
	{ "dbpath = /no/such\nquery = q\n", NULL, "t.cf:1: /no/such: No such file" },
	{ "dbpath = /x\nquery = q\nhosts = a\n", NULL, "t.cf:3: unknown parameter \"hosts\"" },
	{ "dbpath = /x\nquery = q\nnonsense\n", NULL, "t.cf:3: missing '='" },
	{ "query = q\n", "no dbpath", NULL },
	{ "dbpath = /x\n", "no query", NULL },
	{ "dbpath = x\nquery = q\n", "t.cf:1: dbpath must begin with /", NULL },
	{ "dbpath = /x\n\nquery = q '%x'\n", "t.cf:3: query: there is no %x", NULL },
	{ "dbpath = /x\nquery = q\nresult_format = %q\n", "t.cf:3: result_format: there is no %q", NULL },
	{ "dbpath = /x\nquery = q\nexpansion_limit = many\n", "t.cf:3: bad expansion_limit", NULL },
	{ "dbpath = /x\nquery = q\ndomain = sqlite:/y\n", "t.cf:3: domain: tables of other processes", NULL },
};

static void
parameter_files(void **state)
{
	(void)state;
	for (size_t i = 0; i < NELEMS(files); i++) {
		struct map_list *l = NULL;
		struct err e = { 0 };
		char name[200];
		confdir_write("t.cf", files[i].text);
		struct conf *c = confdir_load("");
		snprintf(name, sizeof name, "sqlite:%s/t.cf", confdir);
		enum rc rc = maps_open(c, NULL, "transport_maps", name, &l, &e);
		if ((rc == RC_OK) != (files[i].error == NULL) || (files[i].error != NULL && !confdir_has_problem(c, CONF_ERROR, files[i].error)) ||
		    (files[i].warning != NULL && !confdir_has_problem(c, CONF_WARNING, files[i].warning))) {
			confdir_show_problems(c);
			fail_msg("row %zu: %d", i, (int)rc);
		}
		assert_true((map_remote_tables(c) != NULL) == (rc == RC_OK));
		map_list_free(&l);
		conf_unref(&c);
	}
}

static void
domains(void **state)
{
	(void)state;
	static const struct {
		const char *key;
		enum rc rc;
	} rows[] = { { "u@a.test", RC_OK }, { "U@A.test", RC_OK }, { "u@b.test", RC_NONE }, { "@a.test", RC_NONE }, { "u@", RC_NONE },
		{ "u", RC_NONE }, { "a.test", RC_NONE }, { "u@x@a.test", RC_OK }, { "u\xff@a.test", RC_NONE }, { "", RC_NONE } };
	char name[200];
	struct err e = { 0 };
	struct remote_table *t = NULL;
	confdir_write("t.cf", "dbpath = /x\nquery = SELECT '%s'\ndomain = a.test\n");
	struct conf *c = confdir_load("");
	struct map_ctx ctx = { .conf = c };
	snprintf(name, sizeof name, "sqlite:%s/t.cf", confdir);
	assert_int_equal(remote_table_open(&ctx, REMOTE_SQLITE, span_str(name), &t, &e), RC_OK);
	for (size_t i = 0; i < NELEMS(rows); i++)
		if (remote_table_takes(t, span_str(rows[i].key), &e) != rows[i].rc)
			fail_msg("row %zu: %s", i, rows[i].key);
	remote_table_free(&t);
	conf_unref(&c);
}

/* Who may ask is noted for each table, also when it was open already, alone or in a table of tables. */
static void
askers(void **state)
{
	(void)state;
	static const struct {
		const char *parameter;
		unsigned askers;
	} parameters[] = {
		{ "smtp_generic_maps", REMOTE_BY_RELAY }, { "lmtp_generic_maps", REMOTE_BY_RELAY }, { "smtp_like_class", REMOTE_BY_EDGE },
		{ "smtpd_recipient_restrictions", REMOTE_BY_EDGE }, { "a_class", REMOTE_BY_EDGE }, { "mynetworks", REMOTE_BY_EDGE },
		{ "transport_maps", REMOTE_BY_EDGE | REMOTE_BY_QUEUE }, { "virtual_alias_maps", REMOTE_BY_EDGE | REMOTE_BY_QUEUE },
		{ "mydestination", REMOTE_BY_EDGE | REMOTE_BY_QUEUE | REMOTE_BY_RELAY }, { "relocated_maps", REMOTE_BY_QUEUE },
	};
	static const struct {
		const char *parameter, *tables;
	} opened[] = {
		{ "smtp_generic_maps", "tcp:h:1" }, { "relocated_maps", "unionmap:{static:x, pipemap:{tcp:h:2, tcp:h:3}}" },
		{ "smtpd_sender_restrictions", "tcp:h:2" }, { "smtp_generic_maps", "unionmap:{static:x, pipemap:{tcp:h:2, tcp:h:3}}" },
		{ "smtpd_noop_commands", "static:x" },
	};
	struct map_list *l[NELEMS(opened)];
	struct err e;
	for (size_t i = 0; i < NELEMS(parameters); i++)
		if (map_remote_askers(parameters[i].parameter) != parameters[i].askers)
			fail_msg("%s: %u", parameters[i].parameter, map_remote_askers(parameters[i].parameter));
	struct conf *c = confdir_load("");
	for (size_t i = 0; i < NELEMS(opened); i++)
		assert_int_equal(maps_open(c, NULL, opened[i].parameter, opened[i].tables, &l[i], &e), RC_OK);
	assert_int_equal(map_remote_askers_of(c, "tcp:h:1"), REMOTE_BY_RELAY);
	assert_int_equal(map_remote_askers_of(c, "tcp:h:2"), REMOTE_BY_QUEUE | REMOTE_BY_EDGE | REMOTE_BY_RELAY);
	assert_int_equal(map_remote_askers_of(c, "tcp:h:3"), REMOTE_BY_QUEUE | REMOTE_BY_RELAY);
	assert_int_equal(map_remote_askers_of(c, "tcp:h:4"), 0);
	assert_string_equal(map_remote_tables(c), "tcp:h:1\ntcp:h:2\ntcp:h:3");
	for (size_t i = 0; i < NELEMS(opened); i++)
		map_list_free(&l[i]);
	conf_unref(&c);
}

static void
where_nobody_waits(void **state)
{
	(void)state;
	static const char *const tables[] = { "tcp:h:1", "socketmap:inet:h:1:n", "unionmap:{static:x, tcp:h:1}", "proxy:tcp:h:1" };
	struct conf *c = confdir_load("proxy_read_maps = proxy:tcp:h:1\n");
	struct map_list *l[3] = { NULL };
	struct err e;
	for (size_t i = 0; i < NELEMS(tables); i++) {
		assert_int_equal(maps_open(c, NULL, "transport_maps", tables[i], &l[0], &e), RC_OK);
		assert_int_equal(maps_open(c, NULL, "smtpd_noop_commands", tables[i], &l[1], &e), RC_PERM); /* open already */
		assert_true(confdir_has_problem(c, CONF_ERROR, "smtpd_noop_commands: "));
		map_list_free(&l[0]);
		map_list_free(&l[1]);
		assert_int_equal(maps_open(c, NULL, "smtpd_reject_footer_maps", tables[i], &l[2], &e), RC_PERM);
		map_list_free(&l[2]);
	}
	conf_unref(&c);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(templates),
		cmocka_unit_test(result_formats),
		cmocka_unit_test(place_names),
		cmocka_unit_test_setup_teardown(parameter_files, confdir_setup, confdir_teardown),
		cmocka_unit_test_setup_teardown(domains, confdir_setup, confdir_teardown),
		cmocka_unit_test_setup_teardown(askers, confdir_setup, confdir_teardown),
		cmocka_unit_test_setup_teardown(where_nobody_waits, confdir_setup, confdir_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
