/* SPDX-License-Identifier: BSD-2-Clause */
#include "map/map.h"

#include "confdir.h"
#include "unit.h"

static int
setup(void **state)
{
	(void)state;
	confdir_make();
	confdir_write("main.cf", "compatibility_level = 3.6\nmyhostname = gw.example.com\nmydestination =\ndefault_database_type = texthash\n");
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

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test_setup_teardown(test_relative, setup, teardown) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
