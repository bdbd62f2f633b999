/* SPDX-License-Identifier: BSD-2-Clause */
#include "conf/edit.h"

#include "confdir.h"
#include "unit.h"

#include <dirent.h>

static void
test_text(void **state)
{
	(void)state;
	static const struct {
		enum edit_syntax syntax;
		enum edit_op op;
		const char *text, *key, *line, *want;
	} rows[] = {
		{ EDIT_MAIN, EDIT_SET, "", "a", "a = 1", "a = 1\n" },
		{ EDIT_MAIN, EDIT_SET, "b = 2\n", "a", "a = 1", "b = 2\na = 1\n" },
		{ EDIT_MAIN, EDIT_SET, "b = 2", "a", "a = 1", "b = 2\na = 1\n" },
		{ EDIT_MAIN, EDIT_SET, "# c\na=0\nb = 2\n", "a", "a = 1", "# c\na = 1\nb = 2\n" },
		{ EDIT_MAIN, EDIT_SET, "a = x,\n  y\n# c\n\tz\nb = 2\n", "a", "a = 1", "a = 1\n# c\nb = 2\n" },
		{ EDIT_MAIN, EDIT_SET, "a = x\nb = 2\na = y\n z\n", "a", "a = 1", "a = 1\nb = 2\n" },
		{ EDIT_MAIN, EDIT_SET, "aa = x\n", "a", "a = 1", "aa = x\na = 1\n" },
		{ EDIT_MAIN, EDIT_SET, "b = x\n a = y\n", "a", "a = 1", "b = x\n a = y\na = 1\n" },
		{ EDIT_MAIN, EDIT_SET, "#a = x\n", "a", "a = 1", "#a = x\na = 1\n" },
		{ EDIT_MAIN, EDIT_COMMENT, "a = x\n  y\n\nb = 2\n", "a", "", "#a = x\n#  y\n\nb = 2\n" },
		{ EDIT_MAIN, EDIT_DROP, "b = 1\na = x\n  y\n# c\nd = 2\n", "a", "", "b = 1\n# c\nd = 2\n" },
		{ EDIT_MAIN, EDIT_DROP, "b = 1\n", "a", "", "b = 1\n" },
		{ EDIT_MASTER, EDIT_SET, "smtp inet n - n - - smtpd\n -o a=b\nsmtp unix - - n - - smtp\n", "smtp/inet", "smtp inet new",
		    "smtp inet new\nsmtp unix - - n - - smtp\n" },
		{ EDIT_MASTER, EDIT_DROP, "smtp\tinet n - n - - smtpd\n -o a=b\nsmtp unix - - n - - smtp\n", "smtp/inet", "", "smtp unix - - n - - smtp\n" },
		{ EDIT_MASTER, EDIT_COMMENT, "smtp inet x\n# y\n -o a=b\n", "smtp/inet", "", "#smtp inet x\n# y\n# -o a=b\n" },
	};
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct edit e = { .op = rows[i].op, .key = span_str(rows[i].key), .line = span_str(rows[i].line) };
		struct buf out;
		buf_init(&out, 10000);
		edit_text(rows[i].syntax, span_str(rows[i].text), &e, 1, &out);
		assert_span(buf_span(&out), rows[i].want);
		buf_fini(&out);
	}
}

static void
test_several(void **state)
{
	(void)state;
	struct edit e[] = {
		{ .op = EDIT_SET, .key = SPAN("a"), .line = SPAN("a = 1") },
		{ .op = EDIT_DROP, .key = SPAN("b") },
		{ .op = EDIT_SET, .key = SPAN("c"), .line = SPAN("c = 3") },
	};
	struct buf out;
	buf_init(&out, 10000);
	edit_text(EDIT_MAIN, SPAN("b = x\na = x\n"), e, 3, &out);
	assert_span(buf_span(&out), "a = 1\nc = 3\n");
	assert_true(e[0].done && e[1].done && e[2].done);
	buf_fini(&out);
}

static void
read_back(const char *name, char *text, size_t size)
{
	char path[256];
	snprintf(path, sizeof path, "%s/%s", confdir, name);
	FILE *f = fopen(path, "r");
	assert_non_null(f);
	size_t n = fread(text, 1, size - 1, f);
	text[n] = '\0';
	fclose(f);
}

/* The file keeps its mode, a link stays a link, nothing is left beside it. */
static void
test_file(void **state)
{
	(void)state;
	char path[256], link_path[256], text[256];
	struct err e;
	struct stat st;
	confdir_make();
	confdir_write("real.cf", "a = 0\n");
	snprintf(path, sizeof path, "%s/real.cf", confdir);
	snprintf(link_path, sizeof link_path, "%s/link.cf", confdir);
	assert_int_equal(chmod(path, 0640), 0);
	assert_int_equal(symlink("real.cf", link_path), 0);
	struct edit edit = { .op = EDIT_SET, .key = SPAN("a"), .line = SPAN("a = 1") };
	assert_int_equal(edit_file(EDIT_MAIN, link_path, &edit, 1, &e), RC_OK);
	read_back("real.cf", text, sizeof text);
	assert_string_equal(text, "a = 1\n");
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_int_equal(lstat(link_path, &st), 0);
	assert_true(S_ISLNK(st.st_mode));
	edit = (struct edit){ .op = EDIT_SET, .key = SPAN("b"), .line = SPAN("b = 2") };
	snprintf(path, sizeof path, "%s/new.cf", confdir);
	assert_int_equal(edit_file(EDIT_MAIN, path, &edit, 1, &e), RC_OK);
	read_back("new.cf", text, sizeof text);
	assert_string_equal(text, "b = 2\n");
	snprintf(path, sizeof path, "%s/nodir/x.cf", confdir);
	assert_int_equal(edit_file(EDIT_MAIN, path, &edit, 1, &e), RC_TEMP);
	struct dirent **names;
	int n = scandir(confdir, &names, NULL, NULL);
	assert_int_equal(n, 2 + 3); /* ".", "..", and the three files */
	for (int i = 0; i < n; i++)
		free(names[i]);
	free(names);
	confdir_remove();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_several),
		cmocka_unit_test(test_file),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
