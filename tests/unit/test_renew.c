/* SPDX-License-Identifier: BSD-2-Clause */
/* Which version of its files a snapshot has, and snapshots made anew from one with only some files read again. */
#include "map/matchlist.h"

#include "confdir.h"
#include "unit.h"

static char full[3][256];

static int
setup(void **state)
{
	(void)state;
	confdir_make();
	confdir_write("words", "a one\n");
	confdir_write("hashed", "a one\n");
	confdir_write("list", "one.example\n");
	snprintf(full[0], sizeof full[0], "%s/words", confdir);
	snprintf(full[1], sizeof full[1], "%s/hashed", confdir);
	snprintf(full[2], sizeof full[2], "%s/list", confdir);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	confdir_remove();
	return 0;
}

static const char settings[] = "transport_maps = texthash:words hash:hashed\nrelay_domains = list\nrecipient_delimiter = +\n";

/* Opens what the settings name; values of key a in both tables, and whether name is in the list. */
static void
ask(struct conf *c, const char *words, const char *hashed, const char *name)
{
	struct map_list *w = NULL, *h = NULL;
	struct matchlist *m = NULL;
	struct buf scratch;
	struct span v;
	struct err e = { .why = "" };
	char list[300];
	buf_init(&scratch, 1000);
	assert_int_equal(maps_open(c, NULL, "transport_maps", "texthash:words", &w, &e), RC_OK);
	assert_int_equal(maps_open(c, NULL, "transport_maps", "hash:hashed", &h, &e), RC_OK);
	snprintf(list, sizeof list, "%s/list", confdir);
	assert_int_equal(matchlist_open(c, NULL, "mydestination", list, MATCH_STRING, &m, &e), RC_OK);
	assert_int_equal(map_find(w, SPAN("a"), 0, &scratch, &v, &e), RC_OK);
	assert_true(span_eq_str(v, words));
	assert_int_equal(map_find(h, SPAN("a"), 0, &scratch, &v, &e), RC_OK);
	assert_true(span_eq_str(v, hashed));
	assert_int_equal(matchlist_name(m, span_str(name), &e), RC_OK);
	map_list_free(&w);
	map_list_free(&h);
	matchlist_free(&m);
	buf_fini(&scratch);
}

/* Replaced by rename, so that the inode is another one whatever the clock says. */
static void
replace(const char *name, const char *text)
{
	char from[300], to[300], new[64];
	snprintf(new, sizeof new, "%s.new", name);
	confdir_write(new, text);
	snprintf(from, sizeof from, "%s/%s", confdir, new);
	snprintf(to, sizeof to, "%s/%s", confdir, name);
	assert_int_equal(rename(from, to), 0);
}

static void
test_renew(void **state)
{
	(void)state;
	struct err e = { .why = "" };
	struct conf_version v, now;
	struct conf *c = confdir_load(settings), *next = NULL, *third = NULL;
	ask(c, "one", "one", "one.example");
	for (size_t i = 0; i < 3; i++) {
		assert_true(conf_watched(c, full[i], &v));
		now = conf_version_now(full[i]);
		assert_true(conf_version_same(&v, &now));
	}
	assert_false(conf_watched(c, "/etc/nothing", &v));
	assert_true(conf_file_is_same(c, full[0]));
	replace("words", "a two\n");
	replace("hashed", "a two\n");
	replace("list", "two.example\n");
	assert_false(conf_file_is_same(c, full[0]));
	confdir_write("main.cf", "recipient_delimiter = -\n");

	ask(c, "one", "one", "one.example"); /* a snapshot is what it was, and the compiled table, too */
	assert_int_equal(conf_renew(c, (const char *const[]){ full[1] }, 1, &next, &e), RC_OK);
	assert_true(conf_is_loader(next));
	assert_string_equal(conf_params(next)->p_recipient_delimiter, "+");
	ask(next, "one", "two", "one.example");
	now = conf_version_now(full[1]);
	assert_true(conf_watched(next, full[1], &v) && conf_version_same(&v, &now));
	now = conf_version_now(full[0]);
	assert_true(conf_watched(next, full[0], &v) && !conf_version_same(&v, &now));

	assert_int_equal(conf_renew(next, (const char *const[]){ full[0], full[2] }, 2, &third, &e), RC_OK);
	conf_unref(&next);
	ask(third, "two", "two", "two.example");
	ask(c, "one", "one", "one.example");
	conf_unref(&third);
	conf_unref(&c);
}

/* A file that has gone is a problem of the new snapshot, and of no other. */
static void
test_missing(void **state)
{
	(void)state;
	struct err e = { .why = "" };
	struct conf_version v;
	struct map_list *l = NULL;
	struct conf *c = confdir_load(settings), *next = NULL;
	ask(c, "one", "one", "one.example");
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(unlink(full[i]), 0);
		assert_int_equal(conf_renew(c, (const char *const[]){ full[i] }, 1, &next, &e), RC_OK);
		assert_int_equal(maps_open(next, NULL, "transport_maps", i == 0 ? "texthash:words" : "hash:hashed", &l, &e), RC_PERM);
		assert_true(confdir_has_problem(next, CONF_ERROR, "No such file"));
		assert_true(conf_watched(next, full[i], &v) && v.ino == 0);
		map_list_free(&l);
		conf_unref(&next);
	}
	ask(c, "one", "one", "one.example");
	conf_unref(&c);
}

/* What is no file is not waited for, and what others may write is read with other rights than root's. */
static void
test_not_for_us(void **state)
{
	(void)state;
	struct err e = { .why = "" };
	struct span text;
	char path[300];
	struct conf *c = confdir_load("");
	snprintf(path, sizeof path, "%s/fifo", confdir);
	assert_int_equal(mkfifo(path, 0644), 0);
	assert_int_equal(conf_file(c, path, &text, &e), RC_TEMP);
	assert_non_null(strstr(e.why, "is not a file"));
	assert_int_equal(conf_file(c, "/dev/zero", &text, &e), RC_TEMP);
	assert_int_equal(conf_file(c, "/dev/null", &text, &e), RC_OK);
	assert_int_equal(text.n, 0);
	if (geteuid() == 0) {
		assert_int_equal(chmod(confdir, 0755), 0);
		confdir_write("secret", "x\n");
		snprintf(path, sizeof path, "%s/secret", confdir);
		assert_int_equal(chmod(path, 0600), 0);
		assert_int_equal(conf_file_of_user(c, path, &text, &e), RC_TEMP);
		assert_non_null(strstr(e.why, "as user nobody"));
		confdir_write("open", "x\n");
		snprintf(path, sizeof path, "%s/open", confdir);
		assert_int_equal(conf_file_of_user(c, path, &text, &e), RC_OK);
		assert_true(geteuid() == 0 && getegid() == 0);
	}
	conf_unref(&c);
}

/* A new text of the old size with the old time. */
static void
test_times_put_back(void **state)
{
	(void)state;
	struct err e = { .why = "" };
	struct span text;
	struct stat st;
	struct conf *c = confdir_load("");
	assert_int_equal(conf_file(c, full[0], &text, &e), RC_OK);
	struct conf_version before = conf_version_now(full[0]), after;
	assert_int_equal(stat(full[0], &st), 0);
	usleep(20000); /* the clock of the file system moves in steps */
	confdir_write("words", "a two\n");
	assert_int_equal(utimensat(AT_FDCWD, full[0], (struct timespec[]){ st.st_atim, st.st_mtim }, 0), 0);
	after = conf_version_now(full[0]);
	assert_true(after.size == before.size && after.mtime_nsec == before.mtime_nsec);
	assert_false(conf_version_same(&before, &after));
	conf_unref(&c);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_renew, setup, teardown),
		cmocka_unit_test_setup_teardown(test_missing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_not_for_us, setup, teardown),
		cmocka_unit_test_setup_teardown(test_times_put_back, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
