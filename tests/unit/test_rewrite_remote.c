/* SPDX-License-Identifier: BSD-2-Clause */
/* Envelope rewriting with tables that are elsewhere: what it becomes, and how often somebody has to wait for it. */
#include "unit.h"

#include "confdir.h"
#include "loop/loop.h"
#include "map/remote.h"
#include "policy/rewrite.h"

enum { RCPTS = 2000 };

static struct op_owner owner;
static unsigned nasked, most_asked; /* in the round at hand, in one round */

/* The server: user1 is an alias of other1, "many" of 40 addresses, "fails" has no answer. */
static bool
answer(struct map_question *q, struct span table, struct span key)
{
	static char value[2000];
	size_t n = 0;
	(void)table;
	if (++nasked > most_asked)
		most_asked = nasked;
	if (span_starts(key, SPAN("many@")))
		for (unsigned i = 0; i < 40; i++)
			n += (size_t)snprintf(value + n, sizeof value - n, "user%u@example.org,", i);
	else if (span_starts(key, SPAN("user")) && span_caseends(key, SPAN("@example.org")))
		n = (size_t)snprintf(value, sizeof value, "other%.*s", (int)key.n - 4, (const char *)key.p + 4);
	if (span_starts(key, SPAN("fails")))
		map_remote_answer(q, RC_TEMP, SPAN("out of order"));
	else
		map_remote_answer(q, n > 0 ? RC_OK : RC_NONE, span_of((const unsigned char *)value, n));
	return true;
}

static void
on_answers(struct op *op)
{
	(void)op;
	loop_stop();
}

struct outcome {
	enum rc rc;
	unsigned rounds, most;
	struct envelope env;         /* in arena */
	struct err e;
	struct arena arena;
};

/* As a role has it: the loader never asks. */
static struct conf *
role_conf(const char *text)
{
	struct err e = { .why = "" };
	struct address_book *book;
	struct rewriter *w;
	struct conf *c = confdir_load(text), *role = NULL;
	struct generic *g;
	int fd;
	if (address_book_open(c, NULL, &book, &e) != RC_OK || rewriter_open(c, NULL, book, &w, &e) != RC_OK)
		confdir_show_problems(c);
	assert_int_equal(generic_open(c, NULL, "smtp_generic_maps", &g, &e), RC_OK);
	generic_free(&g);
	rewriter_free(&w);
	address_book_free(&book);
	assert_int_equal(conf_image_write(c, CONF_FOR_ALL, &fd, &e), RC_OK);
	assert_int_equal(conf_image_read(fd, &role, &e), RC_OK);
	close(fd);
	conf_unref(&c);
	return role;
}

/* To pattern0, pattern1, ... at example.org (or just to pattern, when it has a domain). */
static void
rewrite(const char *lines, const char *pattern, uint32_t n, struct outcome *o)
{
	static struct env_rcpt rcpts[RCPTS];
	static char names[RCPTS][64];
	char text[3000];
	struct map_wait wait;
	struct address_book *book;
	struct rewriter *w;
	*o = (struct outcome){ .rc = RC_OK };
	snprintf(text, sizeof text, "append_dot_mydomain = no\nmydestination = here.example\ninet_interfaces = 127.0.0.1\nlocal_recipient_maps =\n%s%s",
	    strstr(lines, "alias_maps = inline") == lines ? "" : "alias_maps =\n", lines);
	struct conf *c = role_conf(text);
	assert_int_equal(address_book_open(c, NULL, &book, &o->e), RC_OK);
	assert_int_equal(rewriter_open(c, NULL, book, &w, &o->e), RC_OK);
	for (uint32_t i = 0; i < n; i++) {
		snprintf(names[i], sizeof names[i], strchr(pattern, '@') != NULL ? "%s" : "%s%u@example.org", pattern, (unsigned)i);
		rcpts[i] = (struct env_rcpt){ .addr = span_str(names[i]) };
	}
	const struct envelope in = { .sender = SPAN("a@b.example"), .nrcpt = n, .rcpt = rcpts };
	op_owner_init(&owner);
	map_wait_init(&wait, &owner, on_answers);
	arena_init(&o->arena, 16 << 20);
	for (most_asked = 0;; o->rounds++) {
		arena_fini(&o->arena);
		map_forget();
		nasked = 0;
		o->rc = rewrite_envelope(w, &in, NULL, &o->arena, &o->env, &o->e);
		if (o->rc != RC_TEMP || !map_asked())
			break;
		map_wait_start(&wait);
		loop_run();
	}
	o->most = most_asked;
	map_forget();
	map_wait_fini(&wait);
	rewriter_free(&w);
	address_book_free(&book);
	conf_unref(&c);
}

static bool
has(const struct outcome *o, const char *addr)
{
	for (uint32_t i = 0; i < o->env.nrcpt; i++)
		if (span_eq_str(o->env.rcpt[i].addr, addr))
			return true;
	return false;
}

#define TCP "tcp:127.0.0.1:1"

/* As many waits as there are tables and forms of a key, however many recipients. */
static void
questions_leave_together(void **state)
{
	(void)state;
	static const struct {
		const char *conf, *pattern;
		uint32_t nrcpt, want;
	} rows[] = {
		{ "virtual_alias_maps = " TCP, "user", 1, 1 },
		{ "virtual_alias_maps = " TCP, "user", 300, 300 },
		{ "canonical_maps = " TCP "\nrecipient_bcc_maps = socketmap:inet:127.0.0.1:2:n", "user", 300, 300 },
		{ "virtual_alias_maps = " TCP, "many@example.org", 1, 40 },
		{ "virtual_alias_maps = inline:{{all@example.org=many@example.org,user50@example.org,user51@example.org}}, " TCP, "all@example.org", 1, 42 },
		{ "alias_maps = inline:{{all=many@example.org,user50@example.org,user51@example.org}}\nvirtual_alias_maps = " TCP, "all@here.example", 1, 42 },
		{ "alias_maps = inline:{{all=:include:$config_directory/list}}\nvirtual_alias_maps = " TCP, "all@here.example", 1, 43 },
	};
	confdir_write("list", "many@example.org\nuser50@example.org\nuser51@example.org\nuser52@example.org\n");
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct outcome o;
		rewrite(rows[i].conf, rows[i].pattern, rows[i].nrcpt, &o);
		if (o.rc != RC_OK || o.env.nrcpt != rows[i].want || o.rounds > 16 || !has(&o, "other0@example.org"))
			fail_msg("row %zu: %d %s, %u recipients, %u rounds", i, (int)o.rc, o.rc == RC_OK ? "" : o.e.why, (unsigned)o.env.nrcpt, o.rounds);
		arena_fini(&o.arena);
	}
}

/* A large message leaves room for others. */
static void
not_too_many_at_once(void **state)
{
	(void)state;
	struct outcome o;
	rewrite("virtual_alias_maps = " TCP, "user", RCPTS, &o);
	assert_int_equal(o.rc, RC_OK);
	assert_int_equal(o.env.nrcpt, RCPTS);
	assert_true(o.most >= REMOTE_STEP_MAX / 2 && o.most < REMOTE_STEP_MAX + 8);
	assert_true(o.rounds < 40);
	arena_fini(&o.arena);
}

/* What goes wrong is not decided while answers are missing, and not forgotten either. */
static void
failures(void **state)
{
	(void)state;
	static const struct {
		const char *conf, *pattern;
		uint32_t nrcpt;
		enum rc rc;
		const char *why;
	} rows[] = {
		{ "virtual_alias_maps = " TCP, "fails", 50, RC_TEMP, "out of order" },
		{ "virtual_alias_maps = inline:{{all@example.org=user1@example.org,fails@example.org,user2@example.org}}, " TCP, "all@example.org", 1, RC_TEMP,
		    "out of order" },
		{ "virtual_alias_maps = " TCP "\nvirtual_alias_expansion_limit = 20", "many@example.org", 1, RC_PERM, "expansion size" },
	};
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct outcome o;
		rewrite(rows[i].conf, rows[i].pattern, rows[i].nrcpt, &o);
		if (o.rc != rows[i].rc || strstr(o.e.why, rows[i].why) == NULL)
			fail_msg("row %zu: %d %s", i, (int)o.rc, o.rc == RC_OK ? "" : o.e.why);
		arena_fini(&o.arena);
	}
}

/* A header may have more addresses than questions can be under way: it is asked for in parts. */
static void
headers(void **state)
{
	(void)state;
	enum { ADDRESSES = REMOTE_FLIGHTS_MAX + 500 };
	struct err e = { .why = "" };
	struct address_book *book;
	struct rewriter *w;
	struct generic *g;
	struct map_wait wait;
	struct buf out;
	char addr[64];
	struct span now;
	struct conf *c = role_conf("canonical_maps = " TCP "\nsmtp_generic_maps = " TCP "\n");
	assert_int_equal(address_book_open(c, NULL, &book, &e), RC_OK);
	assert_int_equal(rewriter_open(c, NULL, book, &w, &e), RC_OK);
	assert_int_equal(generic_open(c, NULL, "smtp_generic_maps", &g, &e), RC_OK);
	op_owner_init(&owner);
	buf_init(&out, 4096);
	for (int generic = 0; generic < 2; generic++) {
		unsigned rounds = 0, mapped = 0;
		map_wait_init(&wait, &owner, on_answers);
		for (most_asked = 0;; rounds++) {
			mapped = 0;
			map_forget();
			nasked = 0;
			for (unsigned i = 0; i < ADDRESSES; i++) {
				snprintf(addr, sizeof addr, "user%u@example.org", i);
				enum rc rc = generic ? generic_address(g, span_str(addr), &out, &now, &e)
				                     : rewrite_address(w, REWRITE_HEADER_RCPT, span_str(addr), &out, &now, &e);
				mapped += rc == RC_OK && span_starts(now, SPAN("other"));
			}
			if (!map_asked())
				break;
			map_wait_start(&wait);
			loop_run();
		}
		assert_int_equal(mapped, ADDRESSES);
		assert_true(most_asked < REMOTE_STEP_MAX + 8 && rounds < 200);
		map_wait_fini(&wait);
	}
	buf_fini(&out);
	generic_free(&g);
	rewriter_free(&w);
	address_book_free(&book);
	conf_unref(&c);
}

static int
setup(void **state)
{
	(void)state;
	confdir_make();
	map_remote_carrier(answer);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	map_remote_carrier(NULL);
	confdir_remove();
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(questions_leave_together, setup, teardown),
		cmocka_unit_test_setup_teardown(not_too_many_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(failures, setup, teardown),
		cmocka_unit_test_setup_teardown(headers, setup, teardown),
	};
	loop_init();
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	loop_fini();
	return failed;
}
