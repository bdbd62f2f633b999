/* SPDX-License-Identifier: BSD-2-Clause */
/* The store as its users see it: storing, looking, releasing exactly once, deleting, retention, the tables beside it. */
#include "unit.h"

#include "quarantine_world.h"
#include "spool/io.h"

#include <sys/statvfs.h>

static int
set_up(void **state)
{
	(void)state;
	w_begin();
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	w_end();
	return 0;
}

static const struct w_mail three = { .i = 1, .nrcpt = 3, .class = HELD_ATTACHMENT, .subject = "Rechnung für März", .rcpt = { "a@example.com", "b@example.com", "C@Example.Net" } };

static void
put_and_get(void **state)
{
	(void)state;
	char bytes[64] = "";
	assert_int_equal(w_put(&three), RC_OK);
	assert_int_equal(w_get(1), RC_OK);
	assert_int_equal(w.r.nrows, 1);
	const struct quar_row *row = w.r.rows;
	assert_int_equal(row->class, HELD_ATTACHMENT);
	assert_int_equal(row->id.usec, w_id(1).usec);
	assert_int_equal(row->id.serial, 7);
	assert_int_equal(row->size, 20);
	assert_int_equal(row->nrcpt, 3);
	assert_int_equal(row->nshown, 3);
	assert_span(row->subject, "Rechnung für März");
	assert_span(row->reason, "because");
	assert_span(row->rcpt[2].addr, "C@Example.Net");
	assert_int_equal(row->rcpt[0].state, QUAR_HELD);
	assert_span(w.r.held.trace, "first: no\nsecond: yes");
	assert_int_equal(w.r.env.nrcpt, 3);
	struct spool_id id = w_id(1);
	quar_content(w.q, &w.r, &id);
	assert_int_equal(w_wait(), RC_OK);
	assert_int_equal(w.r.length, 20);
	assert_int_equal(pread(w.r.fd, bytes, 20, 0), 20);
	assert_string_equal(bytes, "Subject: x\r\n\r\nbody\r\n");
	assert_int_equal(w_get(2), RC_NONE);
	struct stat st;
	assert_int_equal(stat(w_file(1), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(stat(w.path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
}

/* The same id again: nothing twice; other recipients are added; another message is refused. */
static void
put_again(void **state)
{
	(void)state;
	static const uint32_t first[] = { 0 }, others[] = { 1, 2 };
	struct w_mail m = three;
	m.numbers = first;
	m.nnumbers = 1;
	assert_int_equal(w_put(&m), RC_OK);
	assert_int_equal(w_put(&m), RC_OK);
	assert_int_equal(w_get(1), RC_OK);
	assert_int_equal(w.r.rows->nrcpt, 1);
	m.numbers = others;
	m.nnumbers = 2;
	assert_int_equal(w_put(&m), RC_OK);
	assert_int_equal(w_get(1), RC_OK);
	assert_int_equal(w.r.rows->nrcpt, 3);
	m.content = "another";
	assert_int_equal(w_put(&m), RC_PERM);
	quar_stats(w.q, &w.r);
	assert_int_equal(w_wait(), RC_OK);
	assert_int_equal(w.r.by_class[HELD_ATTACHMENT].messages, 1);
	struct quar_filter f = { .recipient = SPAN("b@example.com"), .limit = 10 };
	assert_int_equal(w_list(&f), RC_OK);
	assert_int_equal(w.r.nrows, 1);
	f = (struct quar_filter){ .text = SPAN("example.net"), .limit = 10 };
	assert_int_equal(w_list(&f), RC_OK);
	assert_int_equal(w.r.nrows, 1);
}

static void
put_from_file(void **state)
{
	(void)state;
	char path[200];
	snprintf(path, sizeof path, "%s/content", w.dir);
	int fd = open(path, O_RDWR | O_CREAT, 0600);
	size_t len = 3 * 1000 * 1000 + 5;
	unsigned char *p = mem_alloc(len + 100), *got = mem_alloc(len);
	for (size_t i = 0; i < len + 100; i++)
		p[i] = (unsigned char)(i * 7 + i / 251);
	assert_int_equal(write(fd, p, len + 100), len + 100);
	struct held h = { .class = HELD_VIRUS };
	struct buf held;
	buf_init(&held, HELD_BYTES_MAX);
	held_put(&held, &h);
	struct env_rcpt rcpt = { .addr = SPAN("a@example.com") };
	struct envelope env = { .arrival = 1, .held = buf_span(&held), .nrcpt = 1, .rcpt = &rcpt };
	struct quar_new n = { .id = w_id(1), .env = &env, .fd = fd, .offset = 100, .length = len };
	quar_put(w.q, &w.r, &n);
	assert_int_equal(w_wait(), RC_OK);
	close(fd);
	quar_content(w.q, &w.r, &n.id);
	assert_int_equal(w_wait(), RC_OK);
	assert_int_equal(w.r.length, len);
	assert_int_equal(pread(w.r.fd, got, len, 0), len);
	assert_memory_equal(got, p + 100, len);
	/* shorter than it is said to be: nothing is stored */
	fd = open(path, O_RDONLY);
	n.id = w_id(2);
	n.fd = fd;
	n.length = len + 1;
	quar_put(w.q, &w.r, &n);
	assert_int_equal(w_wait(), RC_TEMP);
	close(fd);
	assert_int_not_equal(access(w_file(2), F_OK), 0);
	assert_int_equal(w_get(2), RC_NONE);
	/* its user does not wait any more and takes the descriptor along: whole, or not at all */
	for (uint32_t i = 3; i < 40; i++) {
		fd = open(path, O_RDONLY);
		n.id = w_id(i);
		n.fd = fd;
		n.length = 300000;
		quar_put(w.q, &w.r, &n);
		usleep(i % 10 * 50);
		op_cancel(&w.r.op);
		close(fd);
		quar_told_begin(w.q, &w.r); /* behind it in the writer's row */
		assert_int_equal(w_wait(), RC_OK);
		enum rc rc = w_get(i);
		assert_true(rc == RC_OK || rc == RC_NONE);
		assert_int_equal(access(w_file(i), F_OK) == 0, rc == RC_OK);
		if (rc != RC_OK)
			continue;
		quar_content(w.q, &w.r, &n.id);
		assert_int_equal(w_wait(), RC_OK);
	}
	buf_fini(&held);
	mem_free(&p);
	mem_free(&got);
}

static void
bad_puts(void **state)
{
	(void)state;
	struct env_rcpt rcpt = { .addr = SPAN("a@example.com") };
	struct envelope env = { .arrival = 1, .held = SPAN("nonsense"), .nrcpt = 1, .rcpt = &rcpt };
	struct quar_new n = { .id = w_id(1), .env = &env, .fd = -1, .content = SPAN("x") };
	quar_put(w.q, &w.r, &n);
	assert_int_equal(w_wait(), RC_PERM);
	static const uint32_t wrong[] = { 3 };
	struct w_mail m = three;
	m.numbers = wrong;
	m.nnumbers = 1;
	assert_int_equal(w_put(&m), RC_PERM);
	m = three;
	m.rcpt[0] = "a\n@example.com";
	assert_int_equal(w_put(&m), RC_PERM);
	assert_int_not_equal(access(w_file(1), F_OK), 0);
}

/* ---- releasing ---- */

static const struct spool_id copy1 = { 1800000000000000, 1 }, copy2 = { 1800000000000001, 1 };

static enum rc
release(uint32_t i, const char *addr, bool add, const struct spool_id *copy)
{
	struct spool_id id = w_id(i);
	struct span a = span_str(addr);
	quar_begin_release(w.q, &w.r, &id, &a, addr != NULL, add, copy, SPAN("root"));
	return w_wait();
}

static void
release_once(void **state)
{
	(void)state;
	struct spool_id id = w_id(1);
	assert_int_equal(w_put(&three), RC_OK);
	assert_int_equal(release(2, NULL, false, &copy1), RC_NONE);
	assert_int_equal(release(1, "B@example.COM", false, &copy1), RC_OK);
	assert_int_equal(w.r.nrcpt, 1);
	assert_span(w.r.rcpt[0].addr, "b@example.com");
	assert_int_equal(w.r.rcpt[0].state, QUAR_RELEASING);
	assert_int_equal(release(1, "b@example.com", false, &copy2), RC_NONE);
	/* neither deleted nor expired meanwhile */
	quar_delete(w.q, &w.r, &id, NULL, 0, SPAN("root"));
	assert_int_equal(w_wait(), RC_OK);
	assert_int_equal(w.r.nrcpt, 2);
	quar_delete(w.q, &w.r, &id, NULL, 0, SPAN("root"));
	assert_int_equal(w_wait(), RC_TEMP);
	quar_pending(w.q, &w.r);
	assert_int_equal(w_wait(), RC_OK);
	assert_int_equal(w.r.n, 1);
	assert_int_equal(w.r.releasing[0].copy.usec, copy1.usec);
	assert_int_equal(w.r.releasing[0].id.usec, id.usec);
	quar_finish_release(w.q, &w.r, &id, &copy2);
	assert_int_equal(w_wait(), RC_NONE);
	quar_finish_release(w.q, &w.r, &id, &copy1);
	assert_int_equal(w_wait(), RC_OK);
	quar_finish_release(w.q, &w.r, &id, &copy1);
	assert_int_equal(w_wait(), RC_NONE);
	quar_outcome(w.q, &w.r, &copy1, SPAN("b@example.com"), SPAN_EMPTY, true);
	assert_int_equal(w_wait(), RC_OK);
	assert_int_equal(w_get(1), RC_OK);
	assert_int_equal(w.r.rows->rcpt[1].state, QUAR_DELIVERED);
	assert_int_equal(w.r.rows->rcpt[0].state, QUAR_DELETED);
	assert_span(w.r.rows->rcpt[0].by, "root");
	assert_int_equal(release(1, NULL, false, &copy2), RC_NONE);
	quar_delete(w.q, &w.r, &id, NULL, 0, SPAN("root"));
	assert_int_equal(w_wait(), RC_OK);
	assert_int_equal(w_get(1), RC_NONE);
	assert_int_not_equal(access(w_file(1), F_OK), 0);
}

static void
release_undone(void **state)
{
	(void)state;
	struct spool_id id = w_id(1);
	assert_int_equal(w_put(&three), RC_OK);
	assert_int_equal(release(1, NULL, false, &copy1), RC_OK);
	assert_int_equal(w.r.nrcpt, 3);
	quar_undo_release(w.q, &w.r, &id, &copy1);
	assert_int_equal(w_wait(), RC_OK);
	assert_int_equal(release(1, NULL, false, &copy2), RC_OK);
	assert_int_equal(w.r.nrcpt, 3);
}

static void
release_elsewhere(void **state)
{
	(void)state;
	struct spool_id id = w_id(1);
	assert_int_equal(w_put(&three), RC_OK);
	assert_int_equal(release(1, "boss@example.com", false, &copy1), RC_NONE);
	assert_int_equal(release(1, "boss@example.com", true, &copy1), RC_OK);
	assert_true(w.r.rcpt[0].added);
	assert_int_equal(release(1, "boss@example.com", true, &copy2), RC_NONE);
	quar_undo_release(w.q, &w.r, &id, &copy1);
	assert_int_equal(w_wait(), RC_OK);
	assert_int_equal(release(1, "boss@example.com", true, &copy2), RC_OK);
	quar_finish_release(w.q, &w.r, &id, &copy2);
	assert_int_equal(w_wait(), RC_OK);
	assert_int_equal(release(1, "boss@example.com", true, &copy1), RC_NONE);
	assert_int_equal(w_get(1), RC_OK);
	assert_int_equal(w.r.rows->nrcpt, 4);
	assert_int_equal(w.r.rows->rcpt[3].state, QUAR_RELEASED);
	assert_int_equal(w.r.rows->rcpt[0].state, QUAR_HELD);
}

static void
delete_some(void **state)
{
	(void)state;
	struct spool_id id = w_id(1);
	struct span a = SPAN("a@example.com");
	assert_int_equal(w_put(&three), RC_OK);
	quar_delete(w.q, &w.r, &id, &a, 1, SPAN("anna"));
	assert_int_equal(w_wait(), RC_OK);
	assert_int_equal(w.r.nrcpt, 1);
	quar_delete(w.q, &w.r, &id, &a, 1, SPAN("anna"));
	assert_int_equal(w_wait(), RC_NONE);
	assert_int_equal(release(1, "a@example.com", false, &copy1), RC_NONE);
	assert_int_equal(access(w_file(1), F_OK), 0);
	quar_delete(w.q, &w.r, &id, NULL, 0, SPAN("root"));
	assert_int_equal(w_wait(), RC_OK);
	assert_int_equal(w.r.nrcpt, 2);
	assert_int_not_equal(access(w_file(1), F_OK), 0);
	/* nothing of it is found any more */
	struct quar_filter f = { .text = SPAN("rechnung"), .limit = 10 };
	assert_int_equal(w_list(&f), RC_OK);
	assert_int_equal(w.r.nrows, 0);
	quar_stats(w.q, &w.r);
	assert_int_equal(w_wait(), RC_OK);
	assert_int_equal(w.r.by_class[HELD_ATTACHMENT].messages, 0);
	assert_int_equal(w.r.by_class[HELD_ATTACHMENT].bytes, 0);
}

/* ---- looking ---- */

static const struct w_mail many[] = {
	{ .i = 1, .nrcpt = 1, .class = HELD_VIRUS, .sender = "bad@evil.example", .subject = "Invoice 17", .client = "192.0.2.1", .rcpt = { "anna@example.com" } },
	{ .i = 2, .nrcpt = 2, .class = HELD_POLICY, .sender = "news@shop.example", .subject = "Big sale", .client = "192.0.2.2", .rcpt = { "anna@example.com", "bert@example.net" } },
	{ .i = 3, .nrcpt = 1, .class = HELD_VIRUS, .sender = "", .subject = "Undelivered: \"invoice\"", .client = "2001:db8::1", .rcpt = { "bert@example.net" } },
	{ .i = 4, .nrcpt = 1, .class = HELD_MILTER, .sender = "Bad@EVIL.example", .subject = "Привет мир", .client = "192.0.2.1", .rcpt = { "carl@sub.example.com" } },
};

static void
looks(const struct quar_filter *filter, const char *want)
{
	char got[64] = "";
	size_t n = 0;
	struct quar_filter f = *filter;
	f.limit = 10;
	assert_int_equal(w_list(&f), RC_OK);
	for (size_t i = 0; i < w.r.nrows; i++)
		for (unsigned k = 0; k < 5; k++)
			if (w.r.rows[i].id.usec == w_id(k).usec)
				got[n++] = (char)('0' + k);
	assert_string_equal(got, want);
	assert_int_equal(w.r.nrows, strlen(want));
}

#define LOOKS(want, ...) looks(&(struct quar_filter){ __VA_ARGS__ }, want)

static void
filters(void **state)
{
	(void)state;
	for (unsigned i = 0; i < NELEMS(many); i++)
		assert_int_equal(w_put(&many[i]), RC_OK);
	LOOKS("4321", .limit = 1);
	LOOKS("41", .sender = SPAN("bad@evil.example"));
	LOOKS("41", .sender = SPAN("@evil.example"));
	LOOKS("41", .sender = SPAN("EVIL.example"));
	LOOKS("", .sender = SPAN("@example"));
	LOOKS("3", .sender = SPAN("<>"));
	LOOKS("21", .recipient = SPAN("ANNA@example.com"));
	LOOKS("21", .recipient = SPAN("@example.com"));
	LOOKS("32", .recipient = SPAN("@example.net"));
	LOOKS("2", .recipient = SPAN("anna@example.com"), .sender = SPAN("news@shop.example"));
	LOOKS("1", .recipient = SPAN("anna@example.com"), .class = HELD_VIRUS);
	LOOKS("31", .class = HELD_VIRUS);
	LOOKS("41", .client = SPAN("192.0.2.1"));
	LOOKS("3", .client = SPAN("2001:db8::1"));
	LOOKS("4321", .client = SPAN("Client.example"));
	LOOKS("31", .subject = SPAN("invoice"));
	LOOKS("1", .subject = SPAN("INVOICE 17"));
	LOOKS("31", .subject = SPAN("inv*"));
	LOOKS("4", .subject = SPAN("привет"));
	LOOKS("", .subject = SPAN("evil"));
	LOOKS("41", .text = SPAN("evil"));
	LOOKS("2", .text = SPAN("bert sale"));
}

static void
more_filters(void **state)
{
	(void)state;
	for (unsigned i = 0; i < NELEMS(many); i++)
		assert_int_equal(w_put(&many[i]), RC_OK);
	/* operators of the search language are words here */
	static const char *const hostile[] = { "\"", "invoice OR", "subject:invoice", "NEAR(invoice 17)", "invoice\" OR \"sale", "a^b", "inv* OR x*", "{subject}", "-invoice" };
	for (unsigned i = 0; i < NELEMS(hostile); i++) {
		struct quar_filter f = { .text = span_str(hostile[i]), .limit = 10 };
		enum rc rc = w_list(&f);
		assert_true(rc == RC_OK || rc == RC_PERM);
		assert_true(w.r.nrows <= 2);
	}
	struct quar_filter f = { .subject = SPAN("a\nb"), .limit = 1 };
	assert_int_equal(w_list(&f), RC_PERM);
	f = (struct quar_filter){ .subject = SPAN("in*"), .limit = 1 };
	assert_int_equal(w_list(&f), RC_PERM);
	f = (struct quar_filter){ .sender = SPAN("' OR 1=1 --@x"), .limit = 10 };
	assert_int_equal(w_list(&f), RC_OK);
	assert_int_equal(w.r.nrows, 0);
	LOOKS("32", .since = w_id(2).usec, .until = w_id(4).usec);
	assert_int_equal(release(2, "anna@example.com", false, &copy1), RC_OK);
	LOOKS("2", .state = QUAR_RELEASING);
	LOOKS("4321", .state = QUAR_HELD);
	LOOKS("1", .state = QUAR_HELD, .recipient = SPAN("anna@example.com"));
	LOOKS("2", .state = QUAR_RELEASING, .recipient = SPAN("@example.com"));
	LOOKS("", .state = QUAR_RELEASING, .recipient = SPAN("@example.net"));
	LOOKS("2", .state = QUAR_RELEASING, .class = HELD_POLICY);
	/* pages */
	f = (struct quar_filter){ .limit = 1 };
	char seen[8] = "";
	for (unsigned i = 0; i < 6; i++) {
		assert_int_equal(w_list(&f), RC_OK);
		if (w.r.nrows == 1)
			seen[i] = (char)('1' + (w.r.rows[0].id.usec - w_id(1).usec) / 1000003);
		if (!w.r.more)
			break;
		f.after = w.r.cursor;
	}
	assert_string_equal(seen, "4321");
}

/* ---- the rest ---- */

static void
expiry(void **state)
{
	(void)state;
	for (unsigned i = 0; i < NELEMS(many); i++)
		assert_int_equal(w_put(&many[i]), RC_OK);
	clock_wall_offset((int64_t)(w_id(2).usec + 86400 * USEC_PER_SEC) - (int64_t)clock_wall());
	assert_int_equal(release(1, NULL, false, &copy1), RC_OK);
	w.set.retention[HELD_VIRUS] = w.set.retention[HELD_POLICY] = 86400 * USEC_PER_SEC - 500000;
	quar_reconfigure(w.q, &w.set);
	quar_expire(w.q, &w.r);
	assert_int_equal(w_wait(), RC_OK);
	assert_false(w.r.more);
	LOOKS("431", .limit = 1); /* 2 is due, 1 is being released */
	assert_int_not_equal(access(w_file(2), F_OK), 0);
	assert_int_equal(access(w_file(1), F_OK), 0);
	struct spool_id id = w_id(1);
	quar_undo_release(w.q, &w.r, &id, &copy1);
	assert_int_equal(w_wait(), RC_OK);
	quar_expire(w.q, &w.r);
	assert_int_equal(w_wait(), RC_OK);
	LOOKS("43", .limit = 1);
	w.set.size_limit = 1;
	quar_reconfigure(w.q, &w.set);
	quar_expire(w.q, &w.r);
	assert_int_equal(w_wait(), RC_OK);
	LOOKS("", .limit = 1);
	assert_int_equal(w.expired, 2);
	assert_int_equal(w.squeezed, 2);
	clock_wall_offset(0);
}

static void
full(void **state)
{
	(void)state;
	assert_int_equal(w_put(&three), RC_OK);
	w.set.reserve_bytes = UINT64_MAX;
	quar_reconfigure(w.q, &w.set);
	struct w_mail m = three;
	m.i = 2;
	assert_int_equal(w_put(&m), RC_TEMP);
	assert_true(quar_is_full(w.q));
	assert_true(w.full);
	assert_true(strstr(quar_why_full(w.q), "minfree") != NULL);
	/* what is there can be seen, released and deleted */
	assert_int_equal(w_get(1), RC_OK);
	assert_int_equal(release(1, NULL, false, &copy1), RC_OK);
	w.set.reserve_bytes = 0;
	quar_reconfigure(w.q, &w.set);
	assert_int_equal(w_put(&m), RC_OK);
	assert_false(quar_is_full(w.q));
	assert_int_equal(w.fulls, 2);
}

static uint64_t free_is;

static int
little_room(int fd, struct statvfs *out)
{
	int r = fstatvfs(fd, out);
	out->f_frsize = 4096;
	out->f_blocks = (1 << 30) / 4096;
	out->f_bavail = out->f_bfree = free_is / 4096;
	out->f_files = 0;
	return r;
}

static int
no_sync(int fd)
{
	(void)fd;
	errno = EIO;
	return -1;
}

/* The last 8 MB are the index's, whatever quarantine_minfree says: deleting has to be written down, too. And why it is full is said again
 * when it is for something else. */
static void
last_room(void **state)
{
	(void)state;
	static struct spool_io io;
	const struct spool_io *before = spool_io;
	char *large = mem_zalloc(3 << 20);
	memset(large, 'x', (3 << 20) - 1);
	struct w_mail m = three;
	io = *before;
	io.fstatvfs = little_room;
	free_is = 10 << 20;
	w_close();
	spool_io = &io;
	w_open();
	assert_int_equal(w_put(&m), RC_OK);
	m.i = 2;
	m.content = large; /* it would leave seven */
	assert_int_equal(w_put(&m), RC_TEMP);
	assert_non_null(strstr(w.r.why.why, "minfree"));
	free_is = 8 << 20;
	m.content = NULL;
	assert_int_equal(w_put(&m), RC_TEMP);
	assert_true(w.full);
	struct spool_id id = w_id(1);
	quar_delete(w.q, &w.r, &id, NULL, 0, SPAN("root"));
	assert_int_equal(w_wait(), RC_OK);
	assert_int_equal(w_get(1), RC_NONE);
	free_is = 100 << 20;
	assert_int_equal(w_put(&m), RC_OK);
	assert_false(w.full);
	unsigned fulls = w.fulls;
	io.syncfs = no_sync;
	m.i = 3;
	assert_int_equal(w_put(&m), RC_TEMP);
	assert_int_equal(w.fulls, fulls + 1);
	assert_null(strstr(quar_why_full(w.q), "minfree"));
	io.syncfs = before->syncfs;
	free_is = 1 << 20;
	assert_int_equal(w_put(&m), RC_TEMP);
	assert_int_equal(w.fulls, fulls + 2);
	assert_non_null(strstr(quar_why_full(w.q), "minfree"));
	w_close();
	spool_io = before;
	w_open();
	mem_free(&large);
}

static void
allow(void **state)
{
	(void)state;
	struct quar_allow a = { .sender = SPAN("friend@example.org"), .recipient = SPAN("anna@example.com"), .by = SPAN("root"), .note = SPAN("asked for") };
	quar_allow_add(w.q, &w.r, &a);
	assert_int_equal(w_wait(), RC_OK);
	a = (struct quar_allow){ .sender = SPAN("@partner.example") };
	quar_allow_add(w.q, &w.r, &a);
	assert_int_equal(w_wait(), RC_OK);
	a = (struct quar_allow){ .sender = SPAN("nobody") };
	quar_allow_add(w.q, &w.r, &a);
	assert_int_equal(w_wait(), RC_PERM);
	for (unsigned again = 0; again < 2; again++) {
		assert_true(quar_allowed(w.q, HELD_POLICY, SPAN("Friend@Example.org"), SPAN("ANNA@example.com")));
		assert_false(quar_allowed(w.q, HELD_VIRUS, SPAN("friend@example.org"), SPAN("anna@example.com")));
		assert_false(quar_allowed(w.q, HELD_POLICY, SPAN("friend@example.org"), SPAN("bert@example.com")));
		assert_true(quar_allowed(w.q, HELD_MILTER, SPAN("x@partner.example"), SPAN("bert@example.com")));
		assert_false(quar_allowed(w.q, HELD_MILTER, SPAN(""), SPAN("bert@example.com")));
		/* it outlives a restart */
		w_close();
		w_open();
		assert_int_equal(w_get(9), RC_NONE);
		quar_allow_list(w.q, &w.r);
		assert_int_equal(w_wait(), RC_OK);
		assert_int_equal(w.r.n, 2);
		assert_span(w.r.allow[1].note, "asked for");
	}
	/* full: nothing new, but the same again */
	struct quar_settings set = w.set;
	set.allow_limit = 2;
	quar_reconfigure(w.q, &set);
	a = (struct quar_allow){ .sender = SPAN("third@example.org") };
	quar_allow_add(w.q, &w.r, &a);
	assert_int_equal(w_wait(), RC_TEMP);
	a = (struct quar_allow){ .sender = SPAN("FRIEND@example.org"), .recipient = SPAN("anna@example.com"), .note = SPAN("again") };
	quar_allow_add(w.q, &w.r, &a);
	assert_int_equal(w_wait(), RC_OK);
	quar_allow_remove(w.q, &w.r, SPAN("friend@example.org"), SPAN("anna@example.com"));
	assert_int_equal(w_wait(), RC_OK);
	assert_false(quar_allowed(w.q, HELD_POLICY, SPAN("friend@example.org"), SPAN("anna@example.com")));
	quar_allow_remove(w.q, &w.r, SPAN("friend@example.org"), SPAN("anna@example.com"));
	assert_int_equal(w_wait(), RC_NONE);
}

static void
told(void **state)
{
	(void)state;
	for (unsigned i = 0; i < NELEMS(many); i++)
		assert_int_equal(w_put(&many[i]), RC_OK);
	quar_told_list(w.q, &w.r, SPAN(""), 0, 2);
	assert_int_equal(w_wait(), RC_OK);
	assert_int_equal(w.r.n, 2);
	assert_true(w.r.more);
	assert_span(w.r.told[0].addr, "anna@example.com");
	assert_int_equal(w.r.told[0].messages, 2);
	assert_span(w.r.told[1].addr, "bert@example.net");
	quar_told_list(w.q, &w.r, SPAN("bert@example.net"), 0, 2);
	assert_int_equal(w_wait(), RC_OK);
	assert_int_equal(w.r.n, 1);
	assert_false(w.r.more);
	quar_told_set(w.q, &w.r, SPAN("Anna@example.com"), w_id(2).usec);
	assert_int_equal(w_wait(), RC_OK);
	quar_told_list(w.q, &w.r, SPAN(""), w_id(4).usec, 10);
	assert_int_equal(w_wait(), RC_OK);
	assert_int_equal(w.r.n, 2);
	assert_int_equal(w.r.told[0].messages, 1);
	assert_int_equal(w.r.told[0].told, w_id(2).usec);
}

/* Numbers of what a digest of this round would have, newest first: "4 1"; he is told of them. */
static void
digest(uint64_t round, const char *want)
{
	char got[64] = "";
	quar_told_list(w.q, &w.r, SPAN("a"), round, 1);
	assert_int_equal(w_wait(), RC_OK);
	uint64_t n = w.r.n > 0 ? w.r.told[0].messages : 0, told_upto = w.r.n > 0 ? w.r.told[0].told : 0;
	struct quar_filter f = { .since = told_upto, .until = round, .recipient = SPAN("anna@example.com"), .state = QUAR_HELD, .limit = 10, .round = round };
	assert_int_equal(w_list(&f), RC_OK);
	if (n > 0)
		assert_int_equal(w.r.nrows, n);
	for (size_t i = 0; i < w.r.nrows && n > 0; i++) {
		size_t len = strlen(got);
		snprintf(got + len, sizeof got - len, "%s%u", i > 0 ? " " : "", (unsigned)((w.r.rows[i].id.usec - w_id(0).usec) / 1000003));
	}
	assert_string_equal(got, want);
	quar_told_set(w.q, &w.r, SPAN("anna@example.com"), round);
	assert_int_equal(w_wait(), RC_OK);
}

static uint64_t
round_of_digests(void)
{
	quar_told_begin(w.q, &w.r);
	assert_int_equal(w_wait(), RC_OK);
	return w.r.cursor;
}

/* What arrived long ago and is stored now is announced, once, whatever was announced meanwhile; across restarts. */
static void
late(void **state)
{
	(void)state;
	struct w_mail m = { .i = 2, .nrcpt = 1, .rcpt = { "Anna@example.com" } };
	assert_int_equal(w_put(&m), RC_OK);
	uint64_t first = round_of_digests();
	m.i = 3; /* in the middle of the round */
	assert_int_equal(w_put(&m), RC_OK);
	digest(first, "2");
	uint64_t second = round_of_digests();
	assert_true(second > first);
	digest(second, "3");
	m.i = 1;
	assert_int_equal(w_put(&m), RC_OK);
	m.i = 4;
	assert_int_equal(w_put(&m), RC_OK);
	assert_int_equal(w_put(&m), RC_OK); /* stored once more */
	w_close();
	w_open();
	m.i = 5;
	assert_int_equal(w_put(&m), RC_OK);
	struct spool_id gone = w_id(4);
	quar_delete(w.q, &w.r, &gone, NULL, 0, SPAN("admin"));
	assert_int_equal(w_wait(), RC_OK);
	digest(round_of_digests(), "5 1");
	digest(round_of_digests(), "");
}

/* So many parts with long names that what stands behind the content is longer than most. */
static void
long_trailer(void **state)
{
	(void)state;
	static struct held_part parts[HELD_PARTS_MAX];
	static char name[HELD_TEXT_MAX];
	memset(name, 'n', sizeof name);
	for (unsigned i = 0; i < HELD_PARTS_MAX; i++)
		parts[i] = (struct held_part){ .type = SPAN("a/b"), .name = span_of(name, sizeof name), .at = 20 };
	struct w_mail m = { .i = 1, .nrcpt = 1, .rcpt = { "a@example.com" }, .parts = parts, .nparts = HELD_PARTS_MAX };
	assert_int_equal(w_put(&m), RC_OK);
	assert_int_equal(w_get(1), RC_OK);
	assert_int_equal(w.r.held.nparts, HELD_PARTS_MAX);
	struct spool_id id = w_id(1);
	quar_begin_release(w.q, &w.r, &id, NULL, 0, false, &copy1, SPAN("root"));
	assert_int_equal(w_wait(), RC_OK);
	unsigned flaws[QUAR_FLAWS];
	assert_int_equal(w_check(QUAR_CHECK_SUMS, flaws), 0);
}

static unsigned answered;
static void
count(struct op *op)
{
	(void)op;
	answered++;
}

/* Owners die at any time. */
static void
cancelled(void **state)
{
	(void)state;
	enum { N = 60 };
	static struct quar_req reqs[N];
	struct w_mail m = three;
	answered = 0;
	for (unsigned i = 0; i < N; i++) {
		quar_req_init(&reqs[i], &w.ops, count);
		m.i = i;
		w_put_start(&reqs[i], &m);
		if (i % 3 == 0)
			quar_req_fini(&reqs[i]);
	}
	m.i = N;
	assert_int_equal(w_put(&m), RC_OK);
	assert_int_equal(answered, N - N / 3);
	for (unsigned i = 0; i < N; i++) {
		if (i % 3 != 0) {
			assert_int_equal(reqs[i].op.rc, RC_OK);
			quar_req_fini(&reqs[i]);
		}
	}
	assert_int_equal(w_get(1), RC_OK);
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = { T(put_and_get), T(put_again), T(put_from_file), T(bad_puts), T(release_once), T(release_undone), T(release_elsewhere),
		T(delete_some), T(filters), T(more_filters), T(expiry), T(full), T(last_room), T(allow), T(told), T(late), T(long_trailer), T(cancelled) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
