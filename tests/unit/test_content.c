/* SPDX-License-Identifier: BSD-2-Clause */
/* Content read back and changed, in memory and in a draft: the same octets, sums and marks as if it had come that way. */
#include "unit.h"

#include "base/crc32c.h"
#include "ipc/msgs.h"
#include "smtp/content.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { INLINE = 4096, FRONT = 37 /* what stands in a draft before the content */ };

static const char ours[] = "Received: by us\r\n";

static struct content_limits
limits(void)
{
	return (struct content_limits){ .size = 1000 * 1000, .header_size = 2000, .header_count = 100, .header_total = 3000, .hops = 50,
		.inline_max = INLINE };
}

static int
new_draft(void)
{
	int fd = memfd_create("draft", MFD_CLOEXEC);
	assert_true(fd > 0);
	assert_int_equal(lseek(fd, FRONT, SEEK_SET), FRONT);
	return fd;
}

/* A message in pieces; a draft where it is wanted. */
static void
receive_as(struct content *c, struct span text, size_t piece, bool converts)
{
	struct content_limits l = limits();
	content_init(c, &l, false);
	if (converts)
		content_convert(c);
	buf_puts(content_front(c, 0), ours);
	content_front_done(c);
	while (text.n > 0) {
		size_t used = content_feed(c, span_head(text, piece));
		text = span_from(text, used);
		if (content_wants_draft(c))
			content_draft_open(c, new_draft());
	}
	content_finish(c);
	if (content_wants_draft(c)) {
		content_draft_open(c, new_draft());
		content_finish(c);
	}
	assert_int_equal(c->fault, CONTENT_FINE);
	assert_true(c->is_whole);
}

static void
receive(struct content *c, struct span text, size_t piece)
{
	receive_as(c, text, piece, false);
}

static void
whole(const struct content *c, struct buf *out)
{
	buf_init(out, 4 * 1000 * 1000);
	if (c->draft_fd < 0) {
		buf_put(out, buf_span(&c->out));
		return;
	}
	assert_int_equal(buf_len(&c->out), 0);
	unsigned char *p = buf_reserve(out, (size_t)c->len);
	assert_int_equal(pread(c->draft_fd, p, (size_t)c->len, FRONT), (ssize_t)c->len);
	buf_commit(out, (size_t)c->len);
	assert_int_equal(pread(c->draft_fd, p, 1, (off_t)(FRONT + c->len)), 0);
}

static void
is_now(struct content *c, struct span want)
{
	struct buf b;
	whole(c, &b);
	assert_int_equal(buf_len(&b), want.n);
	assert_memory_equal(buf_span(&b).p, want.p, want.n);
	assert_int_equal(c->len, want.n);
	assert_int_equal(c->crc, crc32c(0, want));
	buf_fini(&b);
}

static void
read_back(struct content *c, struct span header, struct span body)
{
	struct buf b;
	buf_init(&b, 64 * 1024);
	assert_int_equal(content_read_header(c, &b), RC_OK);
	assert_true(span_eq(buf_span(&b), header));
	assert_int_equal(content_body_len(c), body.n);
	for (size_t pos = 0, step = 1; pos < body.n; pos += step, step = step % 5000 * 3 + 1) {
		assert_int_equal(content_read_body(c, pos, step, &b), RC_OK);
		assert_true(buf_len(&b) > 0 && buf_len(&b) <= step);
		assert_true(span_starts(span_from(body, pos), buf_span(&b)));
		step = buf_len(&b);
	}
	assert_int_equal(content_read_body(c, body.n, 10, &b), RC_NONE);
	assert_int_equal(content_read_body(c, UINT64_MAX, 10, &b), RC_NONE);
	buf_fini(&b);
}

static void
change(struct content *c, const struct content_change *n)
{
	if (content_change_fits(c, n)) {
		content_change_here(c, n);
		return;
	}
	struct content_copy k;
	content_copy_begin(&k, new_draft());
	while (!content_copy_on(&k, c, n))
		;
	content_copy_fini(&k);
}

static struct span
concat(struct buf *b, struct span header, struct span body)
{
	buf_init(b, 4 * 1000 * 1000);
	buf_put(b, header);
	buf_puts(b, "\r\n");
	buf_put(b, body);
	return buf_span(b);
}

static const struct span client_header = { (const unsigned char *)"Subject: x\r\nTo: a@b.test\r\n", 26 };

static void
fill(struct buf *b, size_t lines)
{
	for (size_t i = 0; i < lines; i++)
		buf_printf(b, "line %zu of a body that is to be long enough\r\n", i);
}

/* 10 lines stay in memory, 3000 go to a draft, 150000 take several turns to copy. */
static const size_t sizes[] = { 0, 1, 10, 3000, 15000 };

static void
test_header(void **state)
{
	(void)state;
	for (size_t i = 0; i < NELEMS(sizes); i++) {
		struct buf msg, body, old, want;
		struct content c;
		buf_init(&body, 4 * 1000 * 1000);
		fill(&body, sizes[i]);
		struct span text = concat(&msg, client_header, buf_span(&body));
		receive(&c, text, 1000);
		buf_init(&old, 10000);
		buf_puts(&old, ours);
		buf_put(&old, client_header);
		assert_int_equal(c.draft_fd >= 0, sizes[i] > 100);
		read_back(&c, buf_span(&old), buf_span(&body));
		struct span header = SPAN("Received: by us\r\nX-New: 1\r\n folded\r\nTo: a@b.test\r\n");
		const struct content_change n = { .header = header, .body_fd = -1 };
		change(&c, &n);
		assert_int_equal(c.fault, CONTENT_FINE);
		struct span now = concat(&want, header, buf_span(&body));
		is_now(&c, now);
		read_back(&c, header, buf_span(&body));
		assert_int_equal(content_flags(&c), 0);
		content_fini(&c);
		buf_fini(&msg);
		buf_fini(&body);
		buf_fini(&old);
		buf_fini(&want);
	}
}

static void
test_body(void **state)
{
	(void)state;
	static const size_t news[] = { 0, 1, 50, 4000, 20000 };
	for (size_t i = 0; i < NELEMS(sizes); i++)
		for (size_t k = 0; k < 2 * NELEMS(news); k++) {
			struct buf msg, body, now, want;
			struct content c;
			bool spilled = k >= NELEMS(news);
			buf_init(&body, 4 * 1000 * 1000);
			buf_init(&now, 4 * 1000 * 1000);
			fill(&body, sizes[i]);
			fill(&now, news[k % NELEMS(news)]);
			receive(&c, concat(&msg, client_header, buf_span(&body)), 64 * 1024);
			struct content_change n = { .header = SPAN("A: 1\r\n"), .has_body = true, .body = buf_span(&now), .body_fd = -1 };
			if (spilled) {
				n.body_fd = new_draft();
				n.body_at = FRONT;
				n.body_len = n.body.n;
				assert_int_equal(write(n.body_fd, n.body.p, n.body.n), (ssize_t)n.body.n);
				n.body = SPAN_EMPTY;
			}
			change(&c, &n);
			assert_int_equal(c.fault, CONTENT_FINE);
			is_now(&c, concat(&want, n.header, buf_span(&now)));
			read_back(&c, n.header, buf_span(&now));
			if (spilled)
				close(n.body_fd);
			content_fini(&c);
			buf_fini(&msg);
			buf_fini(&body);
			buf_fini(&now);
			buf_fini(&want);
		}
}

/* A message that has no body, not even the empty line. */
static void
test_no_body(void **state)
{
	(void)state;
	struct content c;
	receive(&c, client_header, 7);
	read_back(&c, SPAN("Received: by us\r\nSubject: x\r\nTo: a@b.test\r\n"), SPAN_EMPTY);
	struct content_change n = { .header = SPAN("A: 1\r\n"), .has_body = true, .body = SPAN("b"), .body_fd = -1 };
	change(&c, &n);
	is_now(&c, SPAN("A: 1\r\n\r\nb\r\n"));
	content_fini(&c);
}

/* What a filter says is no better than what a client says. */
static void
test_lines(void **state)
{
	(void)state;
	static const struct {
		struct span body, now;
		unsigned flags;
	} rows[] = {
		{ SPAN("a\nb"), SPAN("a\r\nb\r\n"), 0 },
		{ SPAN("a\rb\r\n"), SPAN("a b\r\n"), 0 },
		{ SPAN("a\0b\r\n"), SPAN("a b\r\n"), 0 },
		{ SPAN("\r\n.\r\n"), SPAN("\r\n.\r\n"), MSGF_HAS_DOTS },
		{ SPAN(".\n.\r\r\n"), SPAN(".\r\n. \r\n"), MSGF_HAS_DOTS },
		{ SPAN("\xc3\xa4\r\n"), SPAN("\xc3\xa4\r\n"), MSGF_HAS_8BIT },
		{ SPAN(""), SPAN(""), 0 },
		{ SPAN("\n"), SPAN("\r\n"), 0 },
	};
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct content c;
		struct buf want;
		receive(&c, SPAN("Subject: \xc3\xa4\r\n\r\n.dots\r\n"), 3);
		assert_int_equal(content_flags(&c), MSGF_HAS_8BIT | MSGF_HAS_DOTS | MSGF_UTF8_HEADERS);
		const struct content_change n = { .header = SPAN("A: 1\r\n"), .has_body = true, .body = rows[i].body, .body_fd = -1 };
		change(&c, &n);
		is_now(&c, concat(&want, n.header, rows[i].now));
		assert_int_equal(content_flags(&c), rows[i].flags);
		buf_fini(&want);
		content_fini(&c);
	}
	struct content c;
	receive(&c, SPAN("A: b\r\n\r\nx\r\n"), 30);
	const struct content_change n = { .header = SPAN("A: \xc3\xa4\nB: \0\r\n"), .body_fd = -1 };
	change(&c, &n);
	is_now(&c, SPAN("A: \xc3\xa4\r\nB:  \r\n\r\nx\r\n"));
	assert_int_equal(content_flags(&c), MSGF_HAS_8BIT | MSGF_UTF8_HEADERS);
	content_fini(&c);
}

static void
test_limits(void **state)
{
	(void)state;
	struct content c;
	struct buf big;
	buf_init(&big, 4 * 1000 * 1000);
	memset(buf_reserve(&big, 1000 * 1000 + 1), 'x', 1000 * 1000 + 1);
	buf_commit(&big, 1000 * 1000 + 1);
	receive(&c, SPAN("A: b\r\n\r\nx\r\n"), 30);
	struct content_change n = { .header = SPAN("A: 1\r\n"), .has_body = true, .body = buf_span(&big), .body_fd = -1 };
	change(&c, &n);
	assert_int_equal(c.fault, CONTENT_TOO_BIG);
	content_fini(&c);
	receive(&c, SPAN("A: b\r\n\r\nx\r\n"), 30);
	n = (struct content_change){ .header = span_head(buf_span(&big), 4 * 3000 + 1), .body_fd = -1 };
	change(&c, &n);
	assert_int_equal(c.fault, CONTENT_HEADER_TOO_BIG);
	content_fini(&c);
	buf_fini(&big);
}

/* What is converted on its way in is as if it had come converted, in whatever pieces. */
static void
test_converted(void **state)
{
	static const struct {
		const char *header, *line;
	} rows[] = {
		{ "Content-Transfer-Encoding: 8bit\r\n\r\n", "caf\xc3\xa9 \r\n" }, { "Content-Transfer-Encoding: 8bit\r\n\r\n", ".\xff" },
		{ "Content-Transfer-Encoding: 8bit\r\n\r\n", "plain=\r\n" }, { "Subject: x\r\n\r\n", "\xc3\xa9\r\n" },
		{ "Content-Type: multipart/mixed; boundary=b\r\n\r\n", "--b\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\xc3\xa9\r\n" },
		{ "Subject: \xc3\xa9\r\nContent-Transfer-Encoding: binary\r\n", "" },
	};
	static const size_t pieces[] = { 1, 2, 7, 100, CONTENT_PIECE };
	(void)state;
	for (size_t i = 0; i < NELEMS(rows); i++)
		for (size_t k = 0; k < NELEMS(pieces); k++)
			for (size_t lines = 1; lines <= 1000; lines *= 10) {
				struct content c, again;
				struct buf text, made, want;
				struct mime7 m;
				buf_init(&text, 1 << 20), buf_init(&want, 4 << 20);
				buf_puts(&text, rows[i].header);
				for (size_t n = 0; n < lines; n++)
					buf_puts(&text, rows[i].line);
				receive_as(&c, buf_span(&text), pieces[k], true);
				assert_true(c.client_len >= buf_len(&text) && c.client_len <= buf_len(&text) + 2); /* of the client; its last line may get an end */
				if (buf_span(&text).p[buf_len(&text) - 1] != '\n')
					buf_puts(&text, "\r\n");
				mime7_init(&m);
				buf_puts(&want, ours);
				mime7_put(&m, &want, buf_span(&text));
				mime7_end(&m, &want);
				mime7_fini(&m);
				is_now(&c, buf_span(&want));
				receive(&again, span_from(buf_span(&want), sizeof ours - 1), pieces[k]);
				whole(&again, &made);
				assert_int_equal(content_flags(&c) & ~(unsigned)(MSGF_HAS_DOTS | MSGF_HAS_LONG), content_flags(&again) & ~(unsigned)(MSGF_HAS_DOTS | MSGF_HAS_LONG));
				assert_int_equal(content_flags(&c) & content_flags(&again), content_flags(&again)); /* never less */
				content_fini(&c), content_fini(&again);
				buf_fini(&text), buf_fini(&want), buf_fini(&made);
			}
}

static void
test_sums(void **state)
{
	(void)state;
	struct span a = SPAN("first part "), b = SPAN("and another that is longer, 123456789");
	for (size_t n = 0; n <= b.n; n++) {
		struct span tail = span_head(b, n);
		assert_int_equal(crc32c_shift(crc32c(0, a), n) ^ crc32c(0, tail), crc32c(crc32c(0, a), tail));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sums), cmocka_unit_test(test_converted), cmocka_unit_test(test_header), cmocka_unit_test(test_body), cmocka_unit_test(test_no_body),
		cmocka_unit_test(test_lines), cmocka_unit_test(test_limits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
