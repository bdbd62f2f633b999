/* SPDX-License-Identifier: BSD-2-Clause */
#include "conf/snap.h"

#include "confdir.h"
#include "unit.h"

#include <sys/mman.h>

static struct conf *
sample(void)
{
	struct conf *c;
	struct err e;
	struct span text;
	confdir_make();
	confdir_write("main.cf",
	    "compatibility_level = 3.10\nmail_name = Image ${service_name?{$service_name}:{none}}\nzzz = 1\nuser_defined = $zzz$zzz\n"
	    "smtp_destination_concurrency_limit = 4\nmynetworks_style = host\n");
	confdir_write("master.cf", "smtp inet n - n - - smtpd -v -o smtpd_timeout=7 -o {user_defined = a b}\nsmtp unix - - y 5? 3 smtp a {b c}\noff inet n - n - - smtpd\n");
	confdir_write("table", "");
	confdir_write("big", "0123456789");
	assert_int_equal(conf_load(confdir, &c, &e), RC_OK);
	assert_int_equal(conf_file(c, "table", &text, &e), RC_OK);
	assert_int_equal(conf_file(c, "big", &text, &e), RC_OK);
	assert_int_equal(conf_file(c, "missing", &text, &e), RC_TEMP);
	conf_attach(c, "hash:x", "x.lmdb");
	return c;
}

static void
test_round_trip(void **state)
{
	(void)state;
	struct conf *a = sample(), *b;
	struct err e = { 0 };
	int fd;
	assert_int_equal(conf_image_write(a, CONF_FOR_ALL, &fd, &e), RC_OK);
	confdir_remove(); /* a role sees no file */
	if (conf_image_read(fd, &b, &e) != RC_OK)
		fail_msg("%s", e.why);
	close(fd);
	assert_false(conf_is_loader(b));
	assert_string_equal(conf_directory(b), conf_directory(a));
	assert_string_equal(conf_tables_dir(b), conf_tables_dir(a));
	assert_string_equal(conf_own_addresses(b), conf_own_addresses(a));
	for (size_t i = 0; i < param_count(); i++) {
		const char *name = param_at(i)->name;
		assert_string_equal(conf_value(a, NULL, name), conf_value(b, NULL, name));
	}
	assert_string_equal(conf_value(b, NULL, "user_defined"), "11");
	assert_int_equal(conf_transport_int(b, "smtp", "destination_concurrency_limit"), 4);
	assert_int_equal(conf_service_count(b), 3);
	const struct service *s = conf_service_find(b, "smtp", "inet"), *t = conf_service_find(b, "smtp", "unix");
	assert_int_equal(s->params->p_smtpd_timeout, 7000000);
	assert_string_equal(s->params->p_mail_name, "Image smtp");
	assert_string_equal(conf_params(b)->p_mail_name, "Image none");
	assert_string_equal(conf_value(b, s, "user_defined"), "a b");
	assert_string_equal(t->args[0], "a");
	assert_string_equal(t->args[1], "b c");
	assert_null(t->args[2]);
	assert_true(t->chroot);
	assert_int_equal(t->wakeup, 5);
	assert_int_equal(t->maxproc, 3);
	assert_int_equal(t->kind, SERVICE_TRANSPORT);
	struct span text;
	assert_int_equal(conf_file(b, "table", &text, &e), RC_OK);
	assert_int_equal(text.n, 0);
	assert_int_equal(conf_file(b, "big", &text, &e), RC_OK);
	assert_span(text, "0123456789");
	assert_int_equal(conf_file(b, "missing", &text, &e), RC_TEMP);
	assert_non_null(strstr(e.why, "No such file"));
	assert_int_equal(conf_file(b, "other", &text, &e), RC_TEMP);
	assert_string_equal(conf_attached(b, "hash:x"), "x.lmdb");
	assert_null(conf_attached(b, "hash:y"));
	conf_set_tables_dir(b, "/");
	assert_string_equal(conf_tables_dir(b), "/");
	conf_unref(&a);
	conf_unref(&b);
}

static void
expect_secret(const struct conf *a, unsigned audience, enum rc rc, bool has_files)
{
	struct conf *b;
	struct err e = { 0 };
	struct span text;
	int fd;
	assert_int_equal(conf_image_write(a, audience, &fd, &e), RC_OK);
	assert_int_equal(conf_image_read(fd, &b, &e), RC_OK);
	assert_int_equal(conf_file_secret(b, "key", CONF_FOR_KEYS, &text, &e), rc);
	assert_span(text, rc == RC_OK ? "s3cret" : "");
	assert_int_equal(conf_file(b, "big", &text, &e), has_files ? RC_OK : RC_TEMP);
	struct stat st;
	assert_int_equal(fstat(fd, &st), 0);
	const char *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	assert_int_equal(memmem(p, (size_t)st.st_size, "s3cret", 6) != NULL, rc == RC_OK);
	munmap((void *)(uintptr_t)p, (size_t)st.st_size);
	conf_unref(&b);
	close(fd);
}

static void
test_secrets(void **state)
{
	(void)state;
	struct conf *a = sample(), *b;
	struct err e = { 0 };
	struct span text;
	confdir_write("key", "s3cret");
	assert_false(conf_has_secrets(a, CONF_FOR_LOADER));
	assert_int_equal(conf_file_secret(a, "key", CONF_FOR_KEYS, &text, &e), RC_OK);
	assert_span(text, "s3cret");
	assert_int_equal(conf_file_secret(a, "gone", CONF_FOR_RELAY, &text, &e), RC_TEMP);
	assert_true(conf_has_secrets(a, CONF_FOR_KEYS));
	assert_false(conf_has_secrets(a, CONF_FOR_AUTH));
	expect_secret(a, CONF_FOR_ALL, RC_NONE, true);
	expect_secret(a, CONF_FOR_RELAY, RC_NONE, true);
	expect_secret(a, CONF_FOR_AUTH, RC_NONE, true);
	expect_secret(a, CONF_FOR_KEYS, RC_OK, false);
	/* renewed: only the changed one is read again, and it is watched */
	struct conf_version v;
	char path[600];
	snprintf(path, sizeof path, "%s/key", confdir);
	assert_true(conf_watched(a, path, &v));
	assert_true(conf_file_is_same(a, path));
	confdir_write("key", "changed");
	assert_false(conf_file_is_same(a, path));
	assert_int_equal(conf_renew(a, NULL, 0, &b, &e), RC_OK);
	assert_int_equal(conf_file_secret(b, "key", CONF_FOR_KEYS, &text, &e), RC_OK);
	assert_span(text, "s3cret");
	conf_unref(&b);
	const char *changed[] = { path };
	assert_int_equal(conf_renew(a, changed, 1, &b, &e), RC_OK);
	assert_int_equal(conf_file_secret(b, "key", CONF_FOR_KEYS, &text, &e), RC_OK);
	assert_span(text, "changed");
	conf_unref(&b);
	confdir_remove();
	conf_unref(&a);
}

static int
image_of(const void *p, size_t n, bool seal)
{
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, p, n), n);
	if (seal)
		assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE), 0);
	return fd;
}

/* Cut anywhere, or not sealed: refused, never read past the end. */
static void
test_damaged(void **state)
{
	(void)state;
	struct conf *a = sample(), *b;
	struct err e;
	struct stat st;
	int fd;
	assert_int_equal(conf_image_write(a, CONF_FOR_ALL, &fd, &e), RC_OK);
	assert_int_equal(fstat(fd, &st), 0);
	unsigned char *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	assert_true(p != MAP_FAILED);
	size_t n = (size_t)st.st_size;
	for (size_t cut = 0; cut < n; cut += cut < 40 ? 1 : 37) {
		int bad = image_of(p, cut, true);
		assert_int_equal(conf_image_read(bad, &b, &e), RC_PERM);
		assert_null(b);
		close(bad);
	}
	int bad = image_of(p, n, false);
	assert_int_equal(conf_image_read(bad, &b, &e), RC_PERM);
	close(bad);
	bad = image_of(p, n, true);
	assert_int_equal(conf_image_read(bad, &b, &e), RC_OK);
	conf_unref(&b);
	close(bad);
	assert_int_equal(conf_image_read(-1, &b, &e), RC_PERM);
	munmap(p, n);
	close(fd);
	conf_unref(&a);
	confdir_remove();
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_secrets), cmocka_unit_test(test_damaged) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
