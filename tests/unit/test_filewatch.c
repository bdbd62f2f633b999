/* SPDX-License-Identifier: BSD-2-Clause */
/* What counts as a change of a file: settled, closed by its writer, not tried before. */
#include "admin/filewatch.h"

#include "base/mem.h"

#include "confdir.h"
#include "unit.h"

static struct filewatch watch;
static struct timer deadline;
static unsigned calls;
static size_t ready_count;
static char ready_name[300];

static void
on_deadline(struct timer *t)
{
	(void)t;
	loop_stop();
}

static void
on_changed(struct filewatch *w)
{
	const char **paths;
	calls++;
	ready_count = filewatch_ready(w, &paths);
	snprintf(ready_name, sizeof ready_name, "%s", ready_count > 0 ? strrchr(paths[0], '/') + 1 : "");
	mem_free(&paths);
	loop_stop();
}

/* Runs until a change is told, or for so long. */
static void
wait_msec(unsigned msec)
{
	calls = 0;
	ready_count = 0;
	timer_set(&deadline, (uint64_t)msec * 1000);
	loop_run();
	timer_clear(&deadline);
}

static void
path_of(const char *name, char out[300])
{
	snprintf(out, 300, "%s/%s", confdir, name);
}

static void
watch_files(struct conf *c, const char *const *names)
{
	char path[300];
	struct span text;
	struct err e;
	for (size_t i = 0; names[i] != NULL; i++) {
		path_of(names[i], path);
		(void)!conf_file(c, path, &text, &e);
	}
	filewatch_set(&watch, c);
}

static void
test_changes(void **state)
{
	(void)state;
	char one[300], two[300];
	const char *pair[] = { one, two };
	confdir_make();
	path_of("one", one);
	path_of("two", two);
	confdir_write("one", "a");
	confdir_write("two", "b");
	struct conf *c = confdir_load("");
	loop_init();
	timer_init(&deadline, on_deadline);
	watch = (struct filewatch){ 0 };
	watch_files(c, (const char *const[]){ "one", "two", "none", NULL });
	filewatch_start(&watch, on_changed);
	assert_int_equal(watch.count, 3);

	wait_msec(900);
	assert_int_equal(calls, 0); /* nothing has changed, and what is missing was missing before */

	FILE *f = fopen(one, "w"); /* being made: empty, then half of it, for longer than two looks */
	assert_non_null(f);
	wait_msec(900);
	assert_int_equal(calls, 0);
	fputs("half", f);
	fflush(f);
	wait_msec(900);
	assert_int_equal(calls, 0);
	fclose(f);
	wait_msec(3000);
	assert_int_equal(ready_count, 1);
	assert_string_equal(ready_name, "one");
	wait_msec(3000); /* nobody said what became of it: offered again */
	assert_int_equal(ready_count, 1);

	assert_true(filewatch_refused(&watch, pair, 1, "bad\nrule"));
	assert_int_equal(filewatch_refused_count(&watch), 1);
	wait_msec(900);
	assert_int_equal(calls, 0);
	struct buf b;
	buf_init(&b, 4096);
	filewatch_text(&watch, &b);
	assert_non_null(strstr(buf_cstr(&b), "/one has changed and cannot be used, the one before it is: bad?rule\n"));
	buf_fini(&b);

	assert_int_equal(chmod(one, 0600), 0); /* perhaps it can be read now */
	wait_msec(3000);
	assert_int_equal(ready_count, 1);
	assert_true(filewatch_refused(&watch, pair, 1, "bad"));

	confdir_write("one", "again");
	confdir_write("two", "two");
	wait_msec(3000);
	if (ready_count == 1)
		wait_msec(3000); /* one look came between the two */
	assert_int_equal(ready_count, 2);
	assert_false(filewatch_refused(&watch, pair, 2, "one of them"));
	wait_msec(3000);
	assert_int_equal(ready_count, 1); /* now one at a time */
	filewatch_same(&watch, one);
	assert_int_equal(filewatch_refused_count(&watch), 0);
	wait_msec(3000);
	assert_int_equal(ready_count, 1);
	assert_string_equal(ready_name, "two");
	conf_unref(&c);

	c = confdir_load("");
	watch_files(c, (const char *const[]){ "one", "two", "none", NULL });
	wait_msec(900);
	assert_int_equal(calls, 0);
	confdir_write("none", "x"); /* now it is there */
	wait_msec(3000);
	assert_string_equal(ready_name, "none");
	path_of("none", one);
	filewatch_same(&watch, one);
	path_of("two", two);
	assert_int_equal(unlink(two), 0);
	wait_msec(3000);
	assert_string_equal(ready_name, "two");
	filewatch_stop(&watch);
	conf_unref(&c);
	loop_fini();
	confdir_remove();
}

/* A certificate, then its key: the first cannot be used alone, and comes again with the second. What is wrong for good does not keep
 * others from being taken. */
static void
test_pair(void **state)
{
	(void)state;
	char cert[300], key[300];
	const char *one[] = { cert }, *both[] = { cert, key };
	confdir_make();
	path_of("cert", cert);
	path_of("key", key);
	confdir_write("cert", "a");
	confdir_write("key", "a");
	struct conf *c = confdir_load("");
	loop_init();
	timer_init(&deadline, on_deadline);
	watch = (struct filewatch){ 0 };
	watch_files(c, (const char *const[]){ "cert", "key", NULL });
	filewatch_start(&watch, on_changed);
	confdir_write("cert", "bb");
	wait_msec(3000);
	assert_int_equal(ready_count, 1);
	assert_true(filewatch_refused(&watch, one, 1, "not its key"));
	wait_msec(700);
	assert_int_equal(calls, 0);
	confdir_write("key", "bb");
	wait_msec(3000);
	assert_int_equal(ready_count, 2);
	/* still wrong: the fresh one alone, then nothing more */
	assert_false(filewatch_refused(&watch, both, 2, "wrong"));
	wait_msec(3000);
	assert_int_equal(ready_count, 1);
	assert_string_equal(ready_name, "key");
	one[0] = key;
	assert_true(filewatch_refused(&watch, one, 1, "not its certificate"));
	wait_msec(900);
	assert_int_equal(calls, 0);
	assert_int_equal(filewatch_refused_count(&watch), 2);
	/* the certificate once more: both */
	confdir_write("cert", "ccc");
	wait_msec(3000);
	assert_int_equal(ready_count, 2);
	conf_unref(&c);
	c = confdir_load("");
	watch_files(c, (const char *const[]){ "cert", "key", NULL });
	assert_int_equal(filewatch_refused_count(&watch), 0);
	wait_msec(700);
	assert_int_equal(calls, 0);
	filewatch_stop(&watch);
	conf_unref(&c);
	loop_fini();
	confdir_remove();
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_changes), cmocka_unit_test(test_pair) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
