/* SPDX-License-Identifier: BSD-2-Clause */
/* Tables that are elsewhere: templates, parameter files, questions and those who wait for them; and SQLite files. */
#include "map/remote.h"

#include "base/clock.h"
#include "base/metric.h"
#include "loop/loop.h"
#include "lookup/database.h"
#include "map/remote_table.h"

#include "confdir.h"
#include "unit.h"

#include <sqlite3.h>

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
	(void)state;
	for (size_t i = 0; i < NELEMS(places); i++) {
		struct arena a;
		struct remote_place p;
		struct err e = { 0 };
		arena_init(&a, 10000);
		enum rc rc = remote_place_parse(places[i].kind, span_str(places[i].arg), "/base", &a, &p, &e);
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

/* ---- questions ---- */

/* The snapshot as a role has it: the loader never asks. */
static struct conf *
role_conf(const char *tables)
{
	struct map_list *l = NULL;
	struct err e = { 0 };
	struct conf *c = confdir_load(""), *r = NULL;
	int fd;
	if (maps_open(c, NULL, "transport_maps", tables, &l, &e) != RC_OK)
		fail_msg("%s", e.why);
	map_list_free(&l);
	assert_int_equal(conf_image_write(c, CONF_FOR_ALL, &fd, &e), RC_OK);
	assert_int_equal(conf_image_read(fd, &r, &e), RC_OK);
	close(fd);
	conf_unref(&c);
	return r;
}

static struct map_question *carried[16];
static size_t ncarried;
static bool refuses;

static bool
carry(struct map_question *q, struct span table, struct span key)
{
	(void)table, (void)key;
	if (refuses)
		return false;
	assert_true(ncarried < NELEMS(carried));
	carried[ncarried++] = q;
	return true;
}

static struct op_owner owner;
static unsigned ndone;
static struct timer stop_timer;

static void
on_done(struct op *op)
{
	assert_int_equal(op->rc, RC_OK);
	ndone++;
}

static void
on_stop(struct timer *t)
{
	(void)t;
	loop_stop();
}

/* The loop for so long, at least one turn. */
static void
turn(uint64_t usec)
{
	timer_set(&stop_timer, usec);
	loop_run();
}

struct world {
	struct conf *conf;
	struct map_list *list;
	struct buf scratch;
	struct span value;
	struct err e;
};

static void
begin(struct world *w, const char *tables)
{
	op_owner_init(&owner);
	ndone = 0;
	ncarried = 0;
	refuses = false;
	w->conf = role_conf(tables);
	buf_init(&w->scratch, 1000);
	assert_int_equal(maps_open(w->conf, NULL, "transport_maps", tables, &w->list, &w->e), RC_OK);
	map_remote_carrier(carry);
	map_forget();
}

static void
end(struct world *w)
{
	map_forget();
	turn(1100000); /* what was kept for a moment goes */
	map_remote_carrier(NULL);
	map_list_free(&w->list);
	conf_unref(&w->conf);
	buf_fini(&w->scratch);
}

static enum rc
find(struct world *w, const char *key)
{
	return map_find(w->list, span_str(key), 0, &w->scratch, &w->value, &w->e);
}

#define TWO "tcp:127.0.0.1:1, socketmap:inet:127.0.0.1:2:n"

static void
one_after_the_other(void **state)
{
	(void)state;
	struct world w = { 0 };
	struct map_wait wait;
	begin(&w, TWO);
	map_wait_init(&wait, &owner, on_done);
	assert_int_equal(find(&w, "k"), RC_TEMP);
	assert_true(map_asked());
	assert_int_equal(ncarried, 0);
	map_wait_start(&wait);
	assert_false(map_asked());
	assert_int_equal(ncarried, 1);
	map_remote_answer(carried[0], RC_NONE, SPAN_EMPTY);
	assert_int_equal(ndone, 0); /* from the loop only */
	turn(0);
	assert_int_equal(ndone, 1);
	assert_int_equal(find(&w, "k"), RC_TEMP); /* the second table */
	assert_true(map_asked());
	map_wait_start(&wait);
	assert_int_equal(ncarried, 2);
	map_remote_answer(carried[1], RC_OK, SPAN("v"));
	turn(1200000); /* longer than the moment: they are held */
	assert_int_equal(ndone, 2);
	assert_int_equal(find(&w, "k"), RC_OK);
	assert_span(w.value, "v");
	assert_false(map_asked());
	map_wait_fini(&wait);
	map_wait_fini(&wait);
	assert_int_equal(find(&w, "k"), RC_OK); /* for a moment */
	turn(1200000);
	assert_int_equal(find(&w, "k"), RC_TEMP); /* and not any more */
	assert_true(map_asked());
	map_forget();
	assert_false(map_asked());
	end(&w);
}

static void
shared(void **state)
{
	(void)state;
	struct world w = { 0 };
	struct map_wait a, b, c;
	begin(&w, TWO);
	map_wait_init(&a, &owner, on_done);
	map_wait_init(&b, &owner, on_done);
	map_wait_init(&c, &owner, on_done);
	assert_int_equal(find(&w, "k"), RC_TEMP);
	map_wait_start(&a);
	assert_int_equal(find(&w, "k"), RC_TEMP);
	map_wait_start(&b);
	assert_int_equal(find(&w, "k"), RC_TEMP);
	map_wait_start(&c);
	assert_int_equal(ncarried, 1); /* one question for all */
	map_wait_fini(&c);             /* its owner is gone */
	op_cancel(&b.op);
	map_remote_answer(carried[0], RC_OK, SPAN("v"));
	turn(0);
	assert_int_equal(ndone, 1);
	assert_int_equal(find(&w, "k"), RC_OK);
	map_wait_fini(&a);
	map_wait_fini(&b);
	/* nothing noted: there at once */
	map_wait_start(&a);
	turn(0);
	assert_int_equal(ndone, 2);
	/* nobody waits for the answer */
	assert_int_equal(find(&w, "other"), RC_TEMP);
	map_wait_start(&a);
	map_wait_fini(&a);
	map_remote_answer(carried[1], RC_OK, SPAN("late"));
	turn(0);
	assert_int_equal(ndone, 2);
	assert_int_equal(find(&w, "other"), RC_OK);
	end(&w);
}

static void
failures(void **state)
{
	(void)state;
	struct world w = { 0 };
	struct map_wait wait;
	begin(&w, "tcp:127.0.0.1:1");
	map_wait_init(&wait, &owner, on_done);
	/* the table cannot say */
	assert_int_equal(find(&w, "k"), RC_TEMP);
	map_wait_start(&wait);
	map_remote_answer(carried[0], RC_TEMP, SPAN("connection refused"));
	turn(0);
	assert_int_equal(find(&w, "k"), RC_TEMP);
	assert_false(map_asked());
	assert_string_equal(w.e.why, "tcp:127.0.0.1:1 lookup error: connection refused");
	map_wait_fini(&wait);
	/* for good: still not "not found" */
	assert_int_equal(find(&w, "perm"), RC_TEMP);
	map_wait_start(&wait);
	map_remote_answer(carried[1], RC_PERM, SPAN("never"));
	turn(0);
	assert_int_equal(find(&w, "perm"), RC_TEMP);
	assert_false(map_asked());
	map_wait_fini(&wait);
	/* nobody takes the question */
	refuses = true;
	assert_int_equal(find(&w, "full"), RC_TEMP);
	assert_true(map_asked());
	map_wait_start(&wait);
	turn(0);
	assert_int_equal(ndone, 3);
	assert_int_equal(find(&w, "full"), RC_TEMP);
	assert_false(map_asked());
	map_wait_fini(&wait);
	refuses = false;
	/* a value too long for its reader, an empty one, and a key that is too long to ask for */
	char *long_text = calloc(1, REMOTE_KEY_MAX + 2);
	memset(long_text, 'x', REMOTE_KEY_MAX + 1);
	assert_int_equal(find(&w, long_text), RC_TEMP);
	assert_false(map_asked());
	assert_int_equal(find(&w, "large"), RC_TEMP);
	assert_int_equal(find(&w, "empty"), RC_TEMP);
	assert_int_equal(find(&w, "nul"), RC_TEMP);
	assert_int_equal(find(&w, "latin"), RC_TEMP);
	assert_int_equal(find(&w, "k\xff"), RC_NONE); /* smtputf8_enable: no such key */
	map_wait_start(&wait);
	assert_int_equal(ncarried, 6);
	map_remote_answer(carried[4], RC_OK, SPAN("a\0b"));
	map_remote_answer(carried[5], RC_OK, SPAN("caf\xe9"));
	map_remote_answer(carried[2], RC_OK, span_str(long_text));
	map_remote_answer(carried[3], RC_OK, SPAN_EMPTY);
	turn(0);
	assert_int_equal(find(&w, "large"), RC_TEMP);
	assert_int_equal(find(&w, "empty"), RC_TEMP);
	assert_int_equal(find(&w, "nul"), RC_TEMP);
	assert_int_equal(find(&w, "latin"), RC_TEMP);
	assert_non_null(strstr(w.e.why, "not UTF-8"));
	assert_false(map_asked());
	map_wait_fini(&wait);
	free(long_text);
	end(&w);
}

static void
no_process(void **state)
{
	(void)state;
	struct world w = { 0 };
	struct map_wait wait;
	begin(&w, "tcp:127.0.0.1:1");
	map_wait_init(&wait, &owner, on_done);
	/* it dies, and is back in time */
	assert_int_equal(find(&w, "k"), RC_TEMP);
	map_wait_start(&wait);
	map_remote_carrier(NULL);
	map_remote_lost(carried[0]);
	turn(100000);
	assert_int_equal(ndone, 0);
	map_remote_carrier(carry);
	assert_int_equal(ncarried, 2);
	assert_ptr_equal(carried[0], carried[1]);
	/* dies again */
	map_remote_lost(carried[1]);
	turn(0);
	assert_int_equal(ndone, 1);
	assert_int_equal(find(&w, "k"), RC_TEMP);
	assert_false(map_asked());
	map_wait_fini(&wait);
	/* it does not come: not for ever */
	map_remote_carrier(NULL);
	uint64_t before = clock_mono();
	assert_int_equal(find(&w, "other"), RC_TEMP);
	assert_true(map_asked());
	map_wait_start(&wait);
	turn(2500000);
	assert_true(clock_mono() - before < 5 * USEC_PER_SEC);
	assert_int_equal(ndone, 2);
	assert_int_equal(find(&w, "other"), RC_TEMP);
	assert_false(map_asked());
	map_wait_fini(&wait);
	end(&w);
}

/* Answers that somebody holds are bounded together: what is over is "not now", and they go with who held them. */
static void
held(void **state)
{
	(void)state;
	enum { EACH = REMOTE_ANSWER_BYTES / 4 };
	struct world w = { 0 };
	struct map_wait wait;
	struct buf large;
	begin(&w, "tcp:127.0.0.1:1");
	buf_init(&large, EACH);
	memset(buf_reserve(&large, EACH), 'x', EACH);
	buf_commit(&large, EACH);
	map_wait_init(&wait, &owner, on_done);
	int64_t before = metric_values[M_lookup_limit];
	for (unsigned i = 0; i < 5; i++) {
		char key[16];
		snprintf(key, sizeof key, "k%u", i);
		assert_int_equal(find(&w, key), RC_TEMP);
	}
	map_wait_start(&wait);
	assert_int_equal(ncarried, 5);
	for (unsigned i = 0; i < 5; i++)
		map_remote_answer(carried[i], RC_OK, buf_span(&large));
	assert_int_equal(metric_values[M_lookup_limit], before + 1);
	turn(0);
	assert_int_equal(find(&w, "k4"), RC_TEMP);
	assert_false(map_asked());
	assert_non_null(strstr(w.e.why, "still in use"));
	map_wait_fini(&wait);
	buf_fini(&large);
	turn(1100000);
	assert_int_equal(find(&w, "k4"), RC_TEMP); /* asked again */
	assert_true(map_asked());
	end(&w);
}

static void
flights(void **state)
{
	(void)state;
	struct world w = { 0 };
	struct map_wait wait;
	begin(&w, "tcp:127.0.0.1:1");
	map_wait_init(&wait, &owner, on_done);
	map_remote_carrier(NULL); /* all of them wait for a process */
	int64_t before = metric_values[M_lookup_limit];
	for (unsigned i = 0; i <= REMOTE_FLIGHTS_MAX; i++) {
		char key[16];
		snprintf(key, sizeof key, "k%u", i);
		assert_int_equal(find(&w, key), RC_TEMP);
	}
	map_wait_start(&wait);
	assert_int_equal(metric_values[M_lookup_limit], before + 1);
	map_wait_fini(&wait);
	turn(2500000);
	end(&w);
}

/* ---- SQLite ---- */

static void
sql(const char *name, const char *statements)
{
	sqlite3 *db = NULL;
	char path[200], *why = NULL;
	snprintf(path, sizeof path, "%s/%s", confdir, name);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	if (sqlite3_exec(db, statements, NULL, NULL, &why) != SQLITE_OK)
		fail_msg("%s: %s", statements, why);
	sqlite3_close(db);
}

struct db {
	struct conf *conf;
	struct remote_table *spec;
	struct database *db;
};

static void
db_open(struct db *d, const char *more)
{
	char text[1000], name[200];
	struct err e = { 0 };
	d->conf = confdir_load("");
	snprintf(text, sizeof text, "dbpath = %s/db\n%s\n", confdir, more);
	confdir_write("db.cf", text);
	snprintf(name, sizeof name, "sqlite:%s/db.cf", confdir);
	struct map_ctx ctx = { .conf = d->conf };
	if (remote_table_open(&ctx, REMOTE_SQLITE, span_str(name), &d->spec, &e) != RC_OK)
		fail_msg("%s", e.why);
	d->db = database_new(d->spec);
}

static void
db_close(struct db *d)
{
	database_free(&d->db);
	remote_table_free(&d->spec);
	conf_unref(&d->conf);
}

static void
db_ask_at(struct db *d, const char *key, enum rc want, const char *text, int line)
{
	struct buf out;
	struct err e = { 0 };
	buf_init(&out, REMOTE_VALUE_MAX);
	enum rc rc = database_ask(d->db, span_str(key), clock_mono() + 5 * USEC_PER_SEC, &out, &e);
	if (rc != want)
		fail_msg("line %d, %s: %d %s", line, key, (int)rc, e.why);
	if (rc == RC_OK)
		assert_span(buf_span(&out), text);
	else if (rc == RC_TEMP && strstr(e.why, text) == NULL)
		fail_msg("line %d, %s: %s", line, key, e.why);
	buf_fini(&out);
}
#define db_ask(d, key, want, text) db_ask_at(d, key, want, text, __LINE__)

static void
databases(void **state)
{
	(void)state;
	struct db d = { 0 };
	db_open(&d, "query = SELECT v FROM t WHERE k = '%s'");
	db_ask(&d, "a", RC_TEMP, "No such file");
	sql("db", "CREATE TABLE t (k TEXT, v); INSERT INTO t VALUES ('a', 'one'), ('o''x', 'two'), ('many', 1), ('many', NULL), ('many', 2), ('e', '')");
	db_ask(&d, "a", RC_OK, "one");
	db_ask(&d, "b", RC_NONE, "");
	db_ask(&d, "e", RC_NONE, "");
	db_ask(&d, "o'x", RC_OK, "two");
	db_ask(&d, "' OR 1 --", RC_NONE, "");
	db_ask(&d, "many", RC_OK, "1,2");
	sql("db", "INSERT INTO t VALUES ('new', 'there at once')");
	db_ask(&d, "new", RC_OK, "there at once");
	/* another file under the same name */
	char path[200], aside[200];
	snprintf(path, sizeof path, "%s/db", confdir);
	snprintf(aside, sizeof aside, "%s/next", confdir);
	sql("next", "CREATE TABLE t (k TEXT, v TEXT); INSERT INTO t VALUES ('a', 'replaced')");
	assert_int_equal(rename(aside, path), 0);
	db_ask(&d, "a", RC_OK, "replaced");
	db_ask(&d, "new", RC_NONE, "");
	/* a writer holds the lock for a moment longer than we are patient */
	sqlite3 *w = NULL;
	assert_int_equal(sqlite3_open(path, &w), SQLITE_OK);
	assert_int_equal(sqlite3_exec(w, "BEGIN EXCLUSIVE", NULL, NULL, NULL), SQLITE_OK);
	db_ask(&d, "a", RC_TEMP, "locked");
	assert_int_equal(sqlite3_exec(w, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(w);
	db_ask(&d, "a", RC_OK, "replaced");
	confdir_write("db", "this is no database, but it is long enough to be taken for one at first sight, is it not?\n");
	db_ask(&d, "a", RC_TEMP, "not a database");
	unlink(path);
	db_ask(&d, "a", RC_TEMP, "No such file");
	db_close(&d);
}

static void
bad_queries(void **state)
{
	(void)state;
	static const struct {
		const char *query, *why;
	} rows[] = {
		{ "query = SELECT nosuch FROM t WHERE k = '%s'", "no such column" },
		{ "query = DELETE FROM t WHERE k = '%s'", "not one SELECT" },
		{ "query = SELECT 1; SELECT 2", "not one SELECT" },
		{ "query = ATTACH '/etc/passwd' AS x", "not one SELECT" },
		{ "query = WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n", "no answer in time" },
		{ "query = SELECT k FROM t\nexpansion_limit = 1", "expansion_limit" },
		{ "query = SELECT hex(zeroblob(400000))", "result too long" },
	};
	sql("db", "CREATE TABLE t (k TEXT, v TEXT); INSERT INTO t VALUES ('a', 'b'), ('c', 'd')");
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct db d = { 0 };
		struct buf out;
		struct err e = { 0 };
		db_open(&d, rows[i].query);
		buf_init(&out, REMOTE_VALUE_MAX);
		assert_int_equal(database_ask(d.db, SPAN("a"), clock_mono() + 500000, &out, &e), RC_TEMP);
		if (strstr(e.why, rows[i].why) == NULL)
			fail_msg("row %zu: %s", i, e.why);
		buf_fini(&out);
		db_close(&d);
	}
}

/* WAL: beside a writer, after him, and where nothing may be written. */
static void
wal(void **state)
{
	(void)state;
	struct db d = { 0 };
	char path[200];
	snprintf(path, sizeof path, "%s/db", confdir);
	unlink(path);
	sql("db", "PRAGMA journal_mode = WAL; CREATE TABLE t (k TEXT, v TEXT); INSERT INTO t VALUES ('a', '1')");
	db_open(&d, "query = SELECT v FROM t WHERE k = '%s'");
	assert_int_equal(chmod(confdir, 0555), 0);
	bool is_root = geteuid() == 0;
	if (is_root)
		assert_int_equal(seteuid(61099), 0);
	db_ask(&d, "a", RC_OK, "1"); /* no writer: as one that does not change */
	if (is_root)
		assert_int_equal(seteuid(0), 0);
	assert_int_equal(chmod(confdir, 0755), 0);
	sqlite3 *w = NULL;
	assert_int_equal(sqlite3_open(path, &w), SQLITE_OK);
	assert_int_equal(sqlite3_exec(w, "UPDATE t SET v = '2'", NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(chmod(confdir, 0555), 0);
	if (is_root)
		assert_int_equal(seteuid(61099), 0);
	db_ask(&d, "a", RC_OK, "2"); /* what he has written is in the -wal file still */
	db_ask(&d, "a", RC_OK, "2");
	if (is_root)
		assert_int_equal(seteuid(0), 0);
	assert_int_equal(chmod(confdir, 0755), 0);
	assert_int_equal(sqlite3_exec(w, "UPDATE t SET v = '3'", NULL, NULL, NULL), SQLITE_OK);
	if (is_root)
		assert_int_equal(seteuid(61099), 0);
	db_ask(&d, "a", RC_OK, "3");
	if (is_root)
		assert_int_equal(seteuid(0), 0);
	assert_int_equal(sqlite3_exec(w, "UPDATE t SET v = '4'", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(w);
	if (is_root)
		assert_int_equal(seteuid(61099), 0);
	db_ask(&d, "a", RC_OK, "4");
	if (is_root)
		assert_int_equal(seteuid(0), 0);
	db_close(&d);
}

static int
set_up(void **state)
{
	(void)state;
	confdir_make();
	assert_int_equal(chmod(confdir, 0755), 0);
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	confdir_remove();
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(templates),
		cmocka_unit_test(result_formats),
		cmocka_unit_test(place_names),
		cmocka_unit_test_setup_teardown(parameter_files, set_up, tear_down),
		cmocka_unit_test_setup_teardown(domains, set_up, tear_down),
		cmocka_unit_test_setup_teardown(askers, set_up, tear_down),
		cmocka_unit_test_setup_teardown(where_nobody_waits, set_up, tear_down),
		cmocka_unit_test_setup_teardown(one_after_the_other, set_up, tear_down),
		cmocka_unit_test_setup_teardown(shared, set_up, tear_down),
		cmocka_unit_test_setup_teardown(failures, set_up, tear_down),
		cmocka_unit_test_setup_teardown(no_process, set_up, tear_down),
		cmocka_unit_test_setup_teardown(held, set_up, tear_down),
		cmocka_unit_test_setup_teardown(flights, set_up, tear_down),
		cmocka_unit_test_setup_teardown(databases, set_up, tear_down),
		cmocka_unit_test_setup_teardown(bad_queries, set_up, tear_down),
		cmocka_unit_test_setup_teardown(wal, set_up, tear_down),
	};
	loop_init(); /* one for all: a process has one, and timers stay with it */
	timer_init(&stop_timer, on_stop);
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	loop_fini();
	return failed;
}
