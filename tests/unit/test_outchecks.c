/* SPDX-License-Identifier: BSD-2-Clause */
/* Content that is changed while it is sent, by tables of another process: whole, in pieces of an octet, and as outbody reads it. */
#include "deliver/outbody.h"

#include "base/fd.h"
#include "base/mem.h"
#include "confdir.h"
#include "loop/loop.h"
#include "map/remote.h"
#include "unit.h"

#include <sys/mman.h>
#include <unistd.h>

enum { LINES = 3000, CARRIED_MAX = 600, CONTENT_MAX = 1 << 20 };

/* ---- a server of tables ---- */

static struct {
	struct map_question *q;
	char key[80];
} carried[CARRIED_MAX];
static size_t ncarried, nasked, nmost, fails_at;
static struct timer answer_timer;

static bool
carry(struct map_question *q, struct span table, struct span key)
{
	(void)table;
	assert_true(ncarried < CARRIED_MAX);
	carried[ncarried].q = q;
	snprintf(carried[ncarried++].key, sizeof carried[0].key, "%.*s", (int)key.n, (const char *)key.p);
	nasked++;
	return true;
}

/* "change N" becomes "changed N"; "drop ..." goes; "X-Part: ..." gets another one in front. */
static void
on_answer(struct timer *t)
{
	size_t n = ncarried;
	nmost = n > nmost ? n : nmost;
	for (size_t i = 0; i < n; i++) {
		struct span key = span_str(carried[i].key);
		char text[100];
		snprintf(text, sizeof text, "REPLACE changed %s", carried[i].key + 7 <= carried[i].key + key.n ? carried[i].key + 7 : "");
		if (fails_at != 0 && nasked >= fails_at)
			map_remote_answer(carried[i].q, RC_TEMP, SPAN("away"));
		else if (span_starts(key, SPAN("change ")))
			map_remote_answer(carried[i].q, RC_OK, span_str(text));
		else if (span_starts(key, SPAN("drop")))
			map_remote_answer(carried[i].q, RC_OK, SPAN("IGNORE"));
		else if (span_starts(key, SPAN("X-Part:")))
			map_remote_answer(carried[i].q, RC_OK, SPAN("PREPEND X-Before: part"));
		else
			map_remote_answer(carried[i].q, RC_NONE, SPAN_EMPTY);
	}
	ncarried = 0;
	timer_set(t, 1);
}

/* ---- the content, and what becomes of it ---- */

static struct buf content, expected;

static void
make_content(int lines)
{
	static const char head[] = "Subject: x\r\nX-Part: main\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n", part[] = "--b\r\nX-Part: 1\r\n\r\n",
	    changed_part[] = "--b\r\nX-Before: part\r\nX-Part: 1\r\n\r\n", end[] = "--b--\r\nchange at the end";
	static int run; /* answers stay for a moment: each test has lines of its own */
	int from = LINES * run++;
	buf_init(&content, CONTENT_MAX);
	buf_init(&expected, CONTENT_MAX);
	buf_puts(&content, head);
	buf_puts(&expected, head); /* the message's own is not looked at here */
	buf_puts(&content, part);
	buf_puts(&expected, changed_part);
	for (int i = 0; i < lines; i++) {
		static const char *const kinds[] = { "change %d\r\n", "drop %d\r\n", "line %d\r\n" };
		static const char *const become[] = { "changed %d\r\n", "", "line %d\r\n" };
		char line[60];
		snprintf(line, sizeof line, kinds[i % 3], from + i);
		buf_puts(&content, line);
		if (i % 3 != 1) {
			snprintf(line, sizeof line, become[i % 3], from + i);
			buf_puts(&expected, line);
		}
	}
	buf_puts(&content, end);
	buf_puts(&expected, "--b--\r\nchanged at the end");
}

/* ---- the world ---- */

static struct conf *conf;
static struct checks *checks;
static struct op_owner owner;
static struct map_wait wait;
static unsigned nwaits;
static const struct log_ctx ctx = { .tag = NULL };

static void
on_waited(struct op *op)
{
	(void)op;
	loop_stop();
}

static int
set_up(void **state)
{
	confdir_setup(state);
	struct err e;
	struct conf *c = confdir_load("smtp_mime_header_checks = socketmap:inet:127.0.0.1:1:m\nsmtp_body_checks = socketmap:inet:127.0.0.1:1:b\n");
	int fd;
	assert_int_equal(checks_open(c, NULL, CHECKS_SMTP, &checks, &e), RC_OK); /* the loader's */
	checks_free(&checks);
	assert_int_equal(conf_image_write(c, CONF_FOR_ALL, &fd, &e), RC_OK);
	assert_int_equal(conf_image_read(fd, &conf, &e), RC_OK);
	close(fd);
	conf_unref(&c);
	assert_int_equal(checks_open(conf, NULL, CHECKS_SMTP, &checks, &e), RC_OK);
	op_owner_init(&owner);
	map_wait_init(&wait, &owner, on_waited);
	map_remote_carrier(carry);
	map_forget();
	timer_init(&answer_timer, on_answer);
	timer_set(&answer_timer, 1);
	ncarried = nasked = nmost = fails_at = nwaits = 0;
	make_content(LINES);
	return 0;
}

static int
tear_down(void **state)
{
	map_wait_fini(&wait);
	map_forget();
	map_remote_carrier(NULL);
	timer_clear(&answer_timer);
	checks_free(&checks);
	conf_unref(&conf);
	buf_fini(&content);
	buf_fini(&expected);
	return confdir_teardown(state);
}

static void
wait_for_answers(const struct outchecks *o)
{
	assert_true(map_asked());
	nwaits++;
	if (outchecks_has_moved(o))
		map_wait_fini(&wait);
	map_wait_start(&wait);
	loop_run();
	map_forget();
}

/* ---- tests ---- */

static void
in_pieces(size_t size)
{
	struct outchecks *o = outchecks_new(checks, &ctx);
	struct err e;
	struct buf out;
	buf_init(&out, CONTENT_MAX);
	unsigned char *piece = mem_alloc(size);
	for (struct span rest = buf_span(&content); rest.n > 0; rest = span_from(rest, size < rest.n ? size : rest.n)) {
		size_t n = size < rest.n ? size : rest.n;
		memcpy(piece, rest.p, n);
		enum rc rc = outchecks_put(o, &out, span_of(piece, n), &e);
		memset(piece, 'z', n); /* it need not stay */
		while (rc == RC_NONE) {
			wait_for_answers(o);
			rc = outchecks_go_on(o, &out, &e);
		}
		assert_int_equal(rc, RC_OK);
	}
	enum rc rc = outchecks_end(o, &out, &e);
	while (rc == RC_NONE) {
		wait_for_answers(o);
		rc = outchecks_go_on(o, &out, &e);
	}
	assert_int_equal(rc, RC_OK);
	assert_int_equal(buf_len(&out), buf_len(&expected));
	assert_memory_equal(buf_span(&out).p, buf_span(&expected).p, buf_len(&expected));
	mem_free(&piece);
	buf_fini(&out);
	outchecks_free(&o);
}

static void
whole(void **state)
{
	(void)state;
	in_pieces(buf_len(&content));
	assert_true(nmost > 400); /* questions leave together */
	assert_true(nwaits < 3 * LINES / 400);
}

static void
octet_by_octet(void **state)
{
	(void)state;
	buf_fini(&content);
	buf_fini(&expected);
	make_content(100); /* each is waited for by itself */
	in_pieces(1);
}

/* Behind it: dots, the last line's end. */
static enum rc
by_outbody(struct buf *out, struct err *e)
{
	struct outchecks *o = outchecks_new(checks, &ctx);
	struct outbody body;
	bool is_end = false;
	enum rc rc = RC_OK;
	int fd = memfd_create("content", MFD_CLOEXEC);
	assert_int_equal(fd_write(fd, buf_span(&content)), 0);
	outbody_init(&body, fd, 0, buf_len(&content), SPAN_EMPTY, 0, true, 998);
	outbody_check(&body, o);
	while (!is_end && (rc == RC_OK || rc == RC_NONE)) {
		map_forget();
		rc = outbody_put_data(&body, out, &is_end, e);
		if (rc == RC_NONE)
			wait_for_answers(o);
	}
	close(fd);
	outchecks_free(&o);
	return rc;
}

static void
as_it_is_sent(void **state)
{
	(void)state;
	struct err e;
	struct buf out;
	buf_init(&out, CONTENT_MAX);
	assert_int_equal(by_outbody(&out, &e), RC_OK);
	buf_puts(&expected, "\r\n.\r\n");
	assert_int_equal(buf_len(&out), buf_len(&expected));
	assert_memory_equal(buf_span(&out).p, buf_span(&expected).p, buf_len(&expected));
	buf_fini(&out);
}

/* A table that goes away in the middle: not now, and never the end of the content. */
static void
away(void **state)
{
	(void)state;
	struct err e;
	struct buf out;
	fails_at = 700;
	buf_init(&out, CONTENT_MAX);
	assert_int_equal(by_outbody(&out, &e), RC_TEMP);
	if (strstr(e.why, " checks lookup error: ") == NULL)
		fail_msg("%s", e.why);
	assert_int_equal(span_find(buf_span(&out), SPAN("\r\n.\r\n")), SIZE_MAX);
	buf_fini(&out);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(whole, set_up, tear_down),
		cmocka_unit_test_setup_teardown(octet_by_octet, set_up, tear_down),
		cmocka_unit_test_setup_teardown(as_it_is_sent, set_up, tear_down),
		cmocka_unit_test_setup_teardown(away, set_up, tear_down),
	};
	loop_init();
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	loop_fini();
	return failed;
}
