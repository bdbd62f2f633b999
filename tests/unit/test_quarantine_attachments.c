/* SPDX-License-Identifier: BSD-2-Clause */
/* Attachments in the index: found by a part of a name and by sum, whatever strangers call them; as durable as the row, mended from the files. */
#include "unit.h"

#include "quarantine_world.h"
#include "quarantine/attachments.h"

#include <openssl/evp.h>

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

#define HEADER "Subject: files\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
#define TEXT "--b\r\nContent-Type: text/plain\r\n\r\nplease look\r\n"
/* "hello" and "world", encoded and as it is */
#define HELLO "--b\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename*=utf-8''%s\r\n\r\naGVsbG8=\r\n"
#define WORLD "--b\r\nContent-Type: application/octet-stream\r\n\r\nworld\r\n"
#define HELLO_SUM "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
#define WORLD_SUM "486EA46224D1BB4FB680F34F7C9AD96A8F24EC88BE73EA8E5A6C65260E9CB8A7"
#define BODY_SUM "8b63d17d4f2a7d5b3d1d4fb5d0b2a6b2f0fd4c2f7c1ef5b1f8c51b0b7a6a2b11"

static enum rc
put_files(uint32_t i, const char *name, const char *sender)
{
	static char content[4096];
	snprintf(content, sizeof content, HEADER TEXT HELLO WORLD "--b--\r\n", name);
	struct w_mail m = { .i = i, .nrcpt = 1, .rcpt = { "a@example.com" }, .sender = sender, .subject = "files", .content = content, .survey = true };
	return w_put(&m);
}

/* Messages that a filter finds. */
static size_t
find(const char *text)
{
	struct quar_filter f = { .attachment = span_str(text), .limit = 100 };
	assert_int_equal(w_list(&f), RC_OK);
	return w.r.nrows;
}

static void
found(void **state)
{
	(void)state;
	struct w_mail plain = { .i = 9, .nrcpt = 1, .rcpt = { "a@example.com" }, .survey = true, .content = "Subject: Rechnung\r\n\r\nRechnung.pdf\r\n" };
	assert_int_equal(w_put(&plain), RC_OK);
	assert_int_equal(put_files(1, "Rechnung%20M%C3%A4rz%2050%25_%22x%22.PDF", "one@example.org"), RC_OK);
	assert_int_equal(put_files(2, "other.zip", "two@example.org"), RC_OK);
	static const struct {
		const char *text;
		unsigned n;
	} rows[] = {
		{ "rechnung märz 50%_\"x\".pdf", 1 }, { "RECHNUNG", 1 }, { "50%_", 1 }, { "\"x\"", 1 }, { "ung mä", 1 }, { "%%%", 0 }, { "___", 0 }, { "50%x", 0 }, { "R*nung", 0 },
		{ "other.zip", 1 }, { "zip\" OR \"pdf", 0 }, { "her.zi", 1 }, { "other.zip.exe", 0 }, { "pdfother", 0 }, { "'; DROP TABLE msg; --", 0 },
		{ HELLO_SUM, 2 }, { WORLD_SUM, 2 }, { BODY_SUM, 0 },
		{ "0000000000000000000000000000000000000000000000000000000000000000", 0 },
	};
	for (unsigned i = 0; i < NELEMS(rows); i++)
		if (find(rows[i].text) != rows[i].n)
			fail_msg("%s: %zu", rows[i].text, w.r.nrows);
	/* what lists show */
	assert_int_equal(find("märz"), 1);
	const struct quar_row *r = &w.r.rows[0];
	assert_int_equal(r->nattachments, 2);
	assert_span(r->attachments[0].name, "Rechnung März 50%_\"x\".PDF");
	assert_span(r->attachments[0].type, "application/pdf");
	assert_int_equal(r->attachments[0].size, 5);
	assert_true(r->attachments[0].is_summed);
	assert_int_equal(r->attachments[1].name.n, 0);
	assert_span(r->attachments[1].type, "application/octet-stream");
	assert_int_equal(r->attachments[1].sha256[31], 0xa7);
	assert_int_equal(w_get(9), RC_OK);
	assert_int_equal(w.r.rows[0].nattachments, 0);
	/* with other filters; in pages */
	struct quar_filter f = { .attachment = SPAN(HELLO_SUM), .sender = SPAN("two@example.org"), .limit = 10 };
	assert_int_equal(w_list(&f), RC_OK);
	assert_int_equal(w.r.nrows, 1);
	f = (struct quar_filter){ .attachment = SPAN("other"), .subject = SPAN("files"), .text = SPAN("two"), .recipient = SPAN("@example.com"), .limit = 10 };
	assert_int_equal(w_list(&f), RC_OK);
	assert_int_equal(w.r.nrows, 1);
	f.text = SPAN("absent");
	assert_int_equal(w_list(&f), RC_OK);
	assert_int_equal(w.r.nrows, 0);
	f = (struct quar_filter){ .attachment = SPAN(HELLO_SUM), .limit = 1 };
	assert_int_equal(w_list(&f), RC_OK);
	assert_true(w.r.more);
	f.after = w.r.cursor;
	assert_int_equal(w_list(&f), RC_OK);
	assert_int_equal(w.r.rows[0].id.usec, w_id(1).usec);
	/* no filter */
	static const char *const wrong[] = { "ab", "mä", "a\nb" };
	for (unsigned i = 0; i < NELEMS(wrong); i++) {
		f = (struct quar_filter){ .attachment = span_str(wrong[i]), .limit = 1 };
		assert_int_equal(w_list(&f), RC_PERM);
	}
	char lots[300];
	memset(lots, 'x', sizeof lots);
	f.attachment = span_of(lots, sizeof lots);
	assert_int_equal(w_list(&f), RC_PERM);
	/* what is deleted is found no more */
	struct spool_id id = w_id(1);
	quar_delete(w.q, &w.r, &id, NULL, 0, SPAN("admin"));
	assert_int_equal(w_wait(), RC_OK);
	assert_int_equal(find("rechnung"), 0);
	assert_int_equal(find(HELLO_SUM), 1);
	/* once more: nothing twice */
	assert_int_equal(put_files(2, "other.zip", "two@example.org"), RC_OK);
	assert_int_equal(find("other"), 1);
	assert_int_equal(w.r.rows[0].nattachments, 2);
	unsigned flaws[QUAR_FLAWS];
	assert_int_equal(w_check(QUAR_CHECK_SUMS, flaws), 0);
}

/* Sums from the index where it has them, else from the content. */
static void
shown(void **state)
{
	(void)state;
	struct spool_id id = w_id(1);
	assert_int_equal(put_files(1, "a.pdf", NULL), RC_OK);
	w_close();
	w_edit("UPDATE attachment SET sha256=zeroblob(32), size=77 WHERE i=2");
	w_open();
	quar_show(w.q, &w.r, &id);
	assert_int_equal(w_wait(), RC_OK);
	assert_int_equal(w.r.held.nparts, 4);
	assert_int_equal(w.r.held.parts[2].size, 77);
	assert_int_equal(w.r.held.parts[2].sha256[0], 0);
	assert_true(w.r.held.parts[1].is_summed);
	assert_int_equal(w.r.held.parts[1].size, 11);
	assert_int_equal(w.r.held.parts[3].sha256[0], 0x48);
	assert_int_equal(w.r.rows[0].nattachments, 2);
	assert_int_equal(w.r.rows[0].attachments[1].sha256[0], 0x48);
}

/* Until a message is found: sums that are owed are made behind the answer. */
static bool
comes(const char *text)
{
	for (uint64_t until = clock_mono() + 30 * USEC_PER_SEC; clock_mono() < until;)
		if (find(text) > 0)
			return true;
	return false;
}

/* More than is summed in the transaction: it comes later, also behind a crash, and other mail does not wait for it. */
static void
large(void **state)
{
	(void)state;
	enum { OCTETS = 24 << 20 };
	struct buf b;
	unsigned char sum[EVP_MAX_MD_SIZE];
	char hex[65];
	unsigned n;
	buf_init(&b, 2 * OCTETS);
	buf_puts(&b, HEADER TEXT "--b\r\nContent-Type: application/zip; name=big.zip\r\n\r\n");
	size_t at = buf_len(&b);
	for (unsigned i = 0; i < OCTETS / 64; i++)
		buf_printf(&b, "%062u\r\n", i);
	assert_int_equal(EVP_Digest(buf_span(&b).p + at, buf_len(&b) - at, sum, &n, EVP_sha256(), NULL), 1);
	for (unsigned i = 0; i < n; i++)
		snprintf(hex + 2 * i, 3, "%02x", sum[i]);
	buf_puts(&b, "\r\n--b--\r\n");
	struct w_mail m = { .i = 1, .nrcpt = 1, .rcpt = { "a@example.com" }, .content = buf_cstr(&b), .survey = true };
	assert_int_equal(w_put(&m), RC_OK);
	assert_int_equal(find("big.zip"), 1); /* its name at once */
	assert_int_equal(put_files(2, "small.pdf", NULL), RC_OK);
	assert_int_equal(find(HELLO_SUM), 1);
	assert_true(comes(hex));
	assert_int_equal(w.r.rows[0].attachments[0].size, OCTETS);
	/* a process that ended before it had them */
	w_close();
	w_edit("UPDATE attachment SET sha256=NULL, size=0");
	w_open();
	assert_true(comes(hex));
	assert_true(comes(HELLO_SUM));
	/* its file is gone meanwhile: there will be none, and nothing goes round in circles */
	w_close();
	w_edit("UPDATE attachment SET sha256=NULL, size=0");
	unlink(w_file(1));
	w_open();
	assert_true(comes(HELLO_SUM));
	assert_int_equal(find("big.zip"), 1);
	assert_false(w.r.rows[0].attachments[0].is_summed);
	/* and one that is deleted while it is being read */
	assert_int_equal(put_files(3, "third.pdf", NULL), RC_OK);
	m.i = 4;
	assert_int_equal(w_put(&m), RC_OK);
	struct spool_id id = w_id(4);
	quar_delete(w.q, &w.r, &id, NULL, 0, SPAN("admin"));
	assert_int_equal(w_wait(), RC_OK);
	assert_int_equal(find("third.pdf"), 1);
	assert_int_equal(find(hex), 0);
	buf_fini(&b);
}

/* An index of the version before: attachments come from the files, and all else stays as it is. */
static void
migration(void **state)
{
	(void)state;
	unsigned flaws[QUAR_FLAWS];
	struct spool_id id = w_id(1);
	static const struct spool_id copy = { 1800000000000000, 1 };
	assert_int_equal(put_files(1, "first.pdf", NULL), RC_OK);
	assert_int_equal(put_files(2, "second.pdf", NULL), RC_OK);
	quar_begin_release(w.q, &w.r, &id, NULL, 0, false, &copy, SPAN("root"));
	assert_int_equal(w_wait(), RC_OK);
	quar_finish_release(w.q, &w.r, &id, &copy);
	assert_int_equal(w_wait(), RC_OK);
	quar_told_set(w.q, &w.r, SPAN("a@example.com"), w_id(2).usec + 1);
	assert_int_equal(w_wait(), RC_OK);
	assert_int_equal(w_check(0, flaws), 0);
	w_close();
	w_edit("DROP TABLE attachment; DROP TABLE names; UPDATE meta SET v=0 WHERE k='rebuild'; PRAGMA user_version=2");
	w_open();
	assert_int_equal(w_check(QUAR_CHECK_SUMS, flaws), 0);
	assert_int_equal(w.rebuilds_begun, 2);
	assert_string_equal(w.why, "the index is of an older version");
	assert_int_equal(find("second.pdf"), 1);
	assert_int_equal(find("first.pdf"), 1);
	assert_int_equal(w.r.rows[0].rcpt[0].state, QUAR_RELEASED);
	assert_int_equal(find(WORLD_SUM), 2);
	quar_told_list(w.q, &w.r, SPAN_EMPTY, 0, 10);
	assert_int_equal(w_wait(), RC_OK);
	assert_int_equal(w.r.n, 0); /* who was told what is still known */
	/* it happens once */
	w_close();
	w_open();
	assert_int_equal(w_check(QUAR_CHECK_SUMS, flaws), 0);
	assert_int_equal(w.rebuilds_begun, 2);
}

static void
mended(void **state)
{
	(void)state;
	unsigned flaws[QUAR_FLAWS];
	static const char *const sql[] = { "UPDATE attachment SET sha256=zeroblob(32)", "UPDATE attachment SET size=9", "UPDATE attachment SET type='text/x'",
		"UPDATE attachment SET sha256=x''", "DELETE FROM attachment WHERE i=3", "DELETE FROM attachment", "INSERT INTO attachment VALUES((SELECT n FROM msg), 99, '', 'a/b', 1, NULL)" };
	assert_int_equal(put_files(1, "first.pdf", NULL), RC_OK);
	assert_int_equal(w_check(QUAR_CHECK_SUMS, flaws), 0);
	for (unsigned i = 0; i < NELEMS(sql); i++) {
		w_close();
		w_edit(sql[i]);
		w_open();
		assert_int_equal(w_check(QUAR_CHECK_SUMS | QUAR_CHECK_STATES, flaws), 1);
		assert_int_equal(flaws[QUAR_FLAW_ATTACHMENTS], 1);
		assert_int_equal(w_check(QUAR_CHECK_SUMS | QUAR_CHECK_REPAIR, flaws), 1);
		assert_int_equal(w_check(QUAR_CHECK_SUMS, flaws), 0);
		assert_int_equal(find("first.pdf"), 1);
		assert_int_equal(find(HELLO_SUM), 1);
		assert_int_equal(w.r.rows[0].nattachments, 2);
	}
	/* the index is lost */
	w_close();
	char path[200];
	snprintf(path, sizeof path, "%s/index.db", w.path);
	unlink(path);
	w_open();
	assert_int_equal(w_check(QUAR_CHECK_SUMS, flaws), 0);
	assert_int_equal(find("first.pdf"), 1);
	assert_int_equal(find(WORLD_SUM), 1);
}

/* An edge that was taken over says where parts are. */
static void
hostile(void **state)
{
	(void)state;
	enum { PARTS = 150 };
	static struct held_part parts[PARTS];
	unsigned flaws[QUAR_FLAWS];
	char name[HELD_TEXT_MAX + 1];
	struct held_part odd[] = {
		{ .type = SPAN("a/b"), .name = SPAN("far.bin"), .at = UINT64_MAX - 1, .length = 5 }, { .type = SPAN("a/b"), .name = SPAN("whole.bin"), .at = 0, .length = 20 },
		{ .type = SPAN("a/b"), .name = SPAN("again.bin"), .at = 0, .length = 20 }, { .type = SPAN("a/b"), .name = SPAN("behind.bin"), .at = 10, .length = UINT64_MAX },
		{ .type = SPAN("multipart/mixed"), .name = SPAN("multi.bin"), .at = 20 }, { .type = SPAN("message/rfc822"), .at = 20 }, { .type = SPAN("text/html"), .at = 20 },
		{ .type = SPAN("text/csv"), .name = SPAN("empty.csv"), .at = 20 },
	};
	struct w_mail m = { .i = 1, .nrcpt = 1, .rcpt = { "a@example.com" }, .parts = odd, .nparts = NELEMS(odd) };
	assert_int_equal(w_put(&m), RC_OK);
	assert_int_equal(w_get(1), RC_OK);
	assert_int_equal(w.r.rows[0].nattachments, 5);
	static const bool has_sum[] = { false, true, false, false, true };
	for (unsigned i = 0; i < NELEMS(has_sum); i++)
		assert_int_equal(w.r.rows[0].attachments[i].is_summed, has_sum[i]);
	assert_int_equal(find("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"), 1); /* nothing in it */
	assert_int_equal(w_check(QUAR_CHECK_SUMS, flaws), 0);
	/* many of them, with long names of letters of two octets */
	for (unsigned i = 0; i + 1 < sizeof name; i += 2)
		memcpy(name + i, "\xc3\xa4", 2);
	name[0] = name[1] = 'x';
	for (unsigned i = 0; i < PARTS; i++)
		parts[i] = (struct held_part){ .type = SPAN("a/b"), .name = span_of(name, HELD_TEXT_MAX), .at = 1 };
	m = (struct w_mail){ .i = 2, .nrcpt = 1, .rcpt = { "a@example.com" }, .parts = parts, .nparts = PARTS };
	assert_int_equal(w_put(&m), RC_OK);
	assert_int_equal(find("xxää"), 1);
	assert_int_equal(w.r.rows[0].nattachments, ATTACHMENTS_MAX);
	assert_int_equal(w.r.rows[0].attachments[0].name.n, HELD_TEXT_MAX);
	assert_int_equal(w_check(QUAR_CHECK_SUMS, flaws), 0);
	struct spool_id id = w_id(2);
	quar_delete(w.q, &w.r, &id, NULL, 0, SPAN("admin"));
	assert_int_equal(w_wait(), RC_OK);
	assert_int_equal(find("xxää"), 0);
}

static void
sums_in_hex(void **state)
{
	(void)state;
	unsigned char sum[32];
	assert_true(attachment_is_sum(SPAN(WORLD_SUM), sum));
	assert_int_equal(sum[0], 0x48);
	assert_int_equal(sum[31], 0xa7);
	assert_false(attachment_is_sum(span_head(SPAN(WORLD_SUM), 63), sum));
	char text[65] = WORLD_SUM;
	static const char wrong[] = { 'g', '/', ':', '@', '`', ' ', '\x10', '\x19' };
	for (unsigned i = 0; i < NELEMS(wrong); i++) {
		text[i] = wrong[i];
		assert_false(attachment_is_sum(span_of(text, 64), sum));
		text[i] = '0';
	}
	assert_true(attachment_is_sum(span_of(text, 64), sum));
}

int
main(void)
{
#define T(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)
	const struct CMUnitTest tests[] = { T(found), T(shown), T(large), T(migration), T(mended), T(hostile), cmocka_unit_test(sums_in_hex) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
