/* SPDX-License-Identifier: BSD-2-Clause */
#include "map/map.h"

#include "confdir.h"
#include "unit.h"

static int
setup(void **state)
{
	(void)state;
	confdir_make();
	char text[300];
	snprintf(text, sizeof text, "compatibility_level = 3.6\nmyhostname = gw.example.com\nmydestination =\ndefault_database_type = texthash\n"
	    "data_directory = %s/data\n", confdir);
	confdir_write("main.cf", text);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	confdir_remove();
	return 0;
}

static int
postmap(const char *key, const char *table)
{
	char name[] = "postmap", q[] = "-q", k[64], t[128];
	snprintf(k, sizeof k, "%s", key);
	snprintf(t, sizeof t, "%s", table);
	char *argv[] = { name, q, k, t, NULL };
	return map_command(confdir, 4, argv);
}

/* A relative name is one of the directory the command was called in, as with Postfix's; not of the configuration. */
static void
test_relative(void **state)
{
	(void)state;
	char sub[128], table[256], before[4096];
	assert_non_null(getcwd(before, sizeof before));
	snprintf(sub, sizeof sub, "%s/sub", confdir);
	assert_int_equal(mkdir(sub, 0700), 0);
	confdir_write("t", "outer x\n");
	confdir_write("sub/t", "inner x\n");
	assert_int_equal(chdir(sub), 0);
	int inner = postmap("inner", "texthash:t"), outer = postmap("outer", "texthash:t"), plain = postmap("inner", "t");
	int up = postmap("outer", "texthash:../t"), words = postmap("a", "inline:{a=b}"), fixed = postmap("any", "static:t");
	snprintf(table, sizeof table, "texthash:%s/t", confdir);
	int full = postmap("outer", table);
	assert_int_equal(chdir(before), 0);
	assert_int_equal(inner, 0);
	assert_int_equal(outer, 1);
	assert_int_equal(plain, 0);
	assert_int_equal(up, 0);
	assert_int_equal(words, 0);
	assert_int_equal(fixed, 0);
	assert_int_equal(full, 0);
}

static int
call(const char *name, const char *const *words)
{
	char text[12][300];
	char *argv[13];
	int argc = 0;
	snprintf(text[argc], sizeof text[0], "%s", name);
	argv[argc] = text[argc];
	for (argc = 1; words[argc - 1] != NULL; argc++) {
		snprintf(text[argc], sizeof text[0], "%s", words[argc - 1]);
		argv[argc] = text[argc];
	}
	argv[argc] = NULL;
	return map_command(confdir, argc, argv);
}

#define CALL(name, ...) call(name, (const char *const[]){ __VA_ARGS__, NULL })

/* cdb: the text counts while it is there; without it NAME.cdb, as postmap writes it. */
static void
test_cdb(void **state)
{
	(void)state;
	char table[200], path[200];
	confdir_write("c", "Key one\nkey two\nother three\n");
	snprintf(table, sizeof table, "cdb:%s/c", confdir);
	assert_int_equal(CALL("postmap", "-q", "key", table), 0);
	assert_int_equal(CALL("postmap", table), 0);
	snprintf(path, sizeof path, "%s/c.cdb", confdir);
	assert_int_equal(access(path, R_OK), 0);
	snprintf(path, sizeof path, "%s/c", confdir);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(CALL("postmap", "-q", "KEY", table), 0);
	assert_int_equal(CALL("postmap", "-q", "none", table), 1);
	confdir_write("c", "only text\n");
	assert_int_equal(CALL("postmap", "-q", "key", table), 1);
	assert_int_equal(CALL("postmap", "-q", "only", table), 0);
	assert_int_equal(CALL("postmap", "-N", "-p", "-r", table), 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(CALL("postmap", "-q", "only", table), 0);
	confdir_write("c.cdb", "this is no database");
	assert_int_equal(CALL("postmap", "-q", "only", table), 1);
}

static void
test_options(void **state)
{
	(void)state;
	char table[200], gone[200];
	confdir_write("h", "a one\na two\n");
	snprintf(table, sizeof table, "hash:%s/h", confdir);
	snprintf(gone, sizeof gone, "hash:%s/gone", confdir);
	confdir_write("gone.db", "");
	static const char *const refused[] = { "-d", "-i", "-b", "-h", "-m", "-F", "-D", "-r", "-f", "-Z" };
	for (size_t i = 0; i < NELEMS(refused); i++)
		if (strcmp(refused[i], "-d") == 0)
			assert_int_equal(CALL("postmap", "-d", "a", table), 1);
		else if (CALL("postmap", refused[i], table) != 1)
			fail_msg("%s was taken", refused[i]);
	static const char *const taken[] = { "-n", "-N", "-o", "-p", "-u", "-U", "-v", "-w", "-s" };
	for (size_t i = 0; i < NELEMS(taken); i++)
		if (CALL("postmap", taken[i], table) != 0)
			fail_msg("%s was not taken", taken[i]);
	assert_int_equal(CALL("postmap", "-q", "A", table), 0);
	assert_int_equal(CALL("postmap", "-f", "-q", "A", table), 1);
	assert_int_equal(CALL("postmap", "-f", "-q", "a", table), 0);
	assert_int_equal(CALL("postmap", "-s", "-q", "a", table), 1);
	assert_int_equal(CALL("postmap", "-q", "a", gone), 1);
	assert_int_equal(CALL("postmap", "-q", "b", table, "pcre:{{/b/ x}}"), 0);
	assert_int_equal(CALL("postmap", "-s", "pcre:{{/b/ x}}"), 0);
	assert_int_equal(CALL("postmap", "pcre:{{/b/ x}}"), 1);
	confdir_write("al", "root: a@b\n\"x y\": c@d\n");
	snprintf(table, sizeof table, "hash:%s/al", confdir);
	assert_int_equal(CALL("postalias", table), 0);
	assert_int_equal(CALL("postalias", "-q", "Root", table), 0);
	assert_int_equal(CALL("postalias", "-q", "x y", table), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_relative, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cdb, setup, teardown),
		cmocka_unit_test_setup_teardown(test_options, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
