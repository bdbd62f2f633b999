/* SPDX-License-Identifier: BSD-2-Clause */
/* The bytes of a file of the quarantine: what is written is read, whatever is cut off, and only under its own name. */
#include "unit.h"

#include "base/crc32c.h"
#include "quarantine/record.h"

static struct env_rcpt rcpts[] = { { .addr = { (const unsigned char *)"a@example.com", 13 } }, { .addr = { (const unsigned char *)"b@example.com", 13 } },
	{ .addr = { (const unsigned char *)"c@example.net", 13 }, .notify = 3 } };
static const struct spool_id id = { 1700000000123456, 77 };

static struct envelope
an_envelope(void)
{
	return (struct envelope){ .arrival = 1700000000123456, .sender = SPAN("s@example.org"), .nrcpt = 3, .rcpt = rcpts };
}

static void
make(struct buf *b, uint64_t length, const uint32_t *numbers, uint32_t n)
{
	struct envelope env = an_envelope();
	struct qrec_common c = { .id = id, .length = length, .crc = 0x1234 };
	struct buf encoded;
	buf_init(&encoded, 1 << 20);
	envelope_put(&encoded, &env);
	qrec_put_trailer(b, &c, buf_span(&encoded), numbers, numbers == NULL ? env.nrcpt : n);
	buf_fini(&encoded);
	assert_int_equal(buf_len(b) % 8, 0);
}

static void
note(struct buf *b, uint64_t length, enum quar_state state, uint32_t number, struct span added)
{
	struct qrec_common c = { .id = id, .length = length, .crc = 0x1234 };
	struct qnote_rcpt one = { number, added };
	struct qnote n = { .state = state, .copy = { 5, 6 }, .when = 99, .by = SPAN("root"), .n = 1, .rcpt = &one };
	qrec_put_note(b, &c, &n);
}

static void
there_and_back(void **state)
{
	(void)state;
	struct buf b;
	struct arena a;
	struct qview v;
	struct err e;
	static const uint32_t some[] = { 0, 2 };
	buf_init(&b, 1 << 20);
	arena_init(&a, 1 << 20);
	make(&b, 10, some, 2);
	note(&b, 10, QUAR_RELEASING, 2, SPAN_EMPTY);
	note(&b, 10, QUAR_RELEASING, 3, SPAN("boss@example.com"));
	note(&b, 10, QUAR_HELD, 1, SPAN_EMPTY);
	note(&b, 10, QUAR_DELETED, 9, SPAN_EMPTY); /* of nobody */
	assert_int_equal(qview_get(buf_span(&b), &id, &a, &v, &e), RC_OK);
	assert_int_equal(v.good, buf_len(&b));
	assert_int_equal(v.c.length, 10);
	assert_int_equal(v.c.crc, 0x1234);
	assert_int_equal(v.nrcpt, 4);
	assert_int_equal(v.next_number, 4);
	assert_span(v.rcpt[0].addr, "a@example.com");
	assert_int_equal(v.rcpt[0].state, QUAR_HELD);
	assert_span(v.rcpt[1].addr, "c@example.net");
	assert_int_equal(v.rcpt[1].state, QUAR_RELEASING);
	assert_int_equal(v.rcpt[1].copy.serial, 6);
	assert_int_equal(v.rcpt[1].notify, 3);
	assert_span(v.rcpt[1].by, "root");
	assert_true(v.rcpt[2].added);
	assert_span(v.rcpt[2].addr, "boss@example.com");
	assert_span(v.rcpt[3].addr, "b@example.com");
	assert_ptr_equal(qview_rcpt(&v, 1), &v.rcpt[3]);
	assert_ptr_equal(qview_rcpt(&v, 2), &v.rcpt[1]);
	assert_null(qview_rcpt(&v, 7));
	assert_span(v.env.sender, "s@example.org");
	buf_fini(&b);
	arena_fini(&a);
}

/* A note that was being written is as if it were not there; a trailer that was is no message. */
static void
torn(void **state)
{
	(void)state;
	struct buf b;
	struct arena a;
	struct err e;
	buf_init(&b, 1 << 20);
	arena_init(&a, 64 << 20);
	make(&b, 16, NULL, 0);
	size_t whole = buf_len(&b);
	note(&b, 16, QUAR_RELEASED, 0, SPAN_EMPTY);
	unsigned char file[4096] = "0123456789abcdef";
	memcpy(file + 16, buf_span(&b).p, buf_len(&b));
	for (size_t n = 0; n <= 16 + buf_len(&b); n++) {
		struct qview v;
		uint64_t length;
		enum rc rc = qrec_find_length(span_of(file, n), n, &id, &length);
		assert_int_equal(rc, n < 16 + whole ? RC_PERM : RC_OK);
		if (rc != RC_OK)
			continue;
		assert_int_equal(length, 16);
		assert_int_equal(qview_get(span_of(file + 16, n - 16), &id, &a, &v, &e), RC_OK);
		assert_int_equal(v.rcpt[0].state, n == 16 + buf_len(&b) ? QUAR_RELEASED : QUAR_HELD);
		assert_int_equal(v.good, n == 16 + buf_len(&b) ? buf_len(&b) : whole);
	}
	buf_fini(&b);
	arena_fini(&a);
}

/* Every bit of a trailer counts. */
static void
flipped(void **state)
{
	(void)state;
	struct buf b;
	struct arena a;
	struct qview v;
	struct err e;
	buf_init(&b, 1 << 20);
	arena_init(&a, 64 << 20);
	make(&b, 8, NULL, 0);
	for (size_t bit = 0; bit < buf_len(&b) * 8; bit++) {
		b.p[bit / 8] ^= (unsigned char)(1u << bit % 8);
		assert_int_equal(qview_get(buf_span(&b), &id, &a, &v, &e), RC_PERM);
		b.p[bit / 8] ^= (unsigned char)(1u << bit % 8);
	}
	buf_fini(&b);
	arena_fini(&a);
}

/* Content that is a file of the quarantine itself, with another id, is content. */
static void
forged(void **state)
{
	(void)state;
	struct buf inner;
	struct spool_id other = { id.usec, 78 };
	uint64_t length;
	buf_init(&inner, 1 << 20);
	make(&inner, 0, NULL, 0);
	assert_int_equal(qrec_find_length(buf_span(&inner), buf_len(&inner), &id, &length), RC_OK);
	assert_int_equal(qrec_find_length(buf_span(&inner), buf_len(&inner), &other, &length), RC_PERM);
	buf_fini(&inner);
}

static void
retention(void **state)
{
	(void)state;
	uint64_t r[HELD_CLASSES];
	struct err e;
	assert_int_equal(quar_retention_parse(SPAN("virus=14d, attachment=12h 60d policy=0"), r, &e), RC_OK);
	assert_int_equal(r[HELD_VIRUS] / 1000000, 14 * 86400);
	assert_int_equal(r[HELD_ATTACHMENT] / 1000000, 12 * 3600);
	assert_int_equal(r[HELD_MILTER] / 1000000, 60 * 86400);
	assert_int_equal(r[HELD_POLICY], 0);
	assert_int_equal(quar_retention_parse(SPAN(""), r, &e), RC_OK);
	assert_int_equal(r[HELD_CONTENT] / 1000000, 30 * 86400);
	assert_int_equal(quar_retention_parse(SPAN("virsu=14d"), r, &e), RC_PERM);
	assert_int_equal(quar_retention_parse(SPAN("virus=soon"), r, &e), RC_PERM);
	for (unsigned s = 1; s < QUAR_STATES; s++)
		assert_int_equal(quar_state_of(span_str(quar_state_name((enum quar_state)s))), s);
	for (unsigned f = 1; f < QUAR_FLAWS; f++)
		assert_true(quar_flaw_name((enum quar_flaw)f)[0] != '\0');
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(there_and_back), cmocka_unit_test(torn), cmocka_unit_test(flipped), cmocka_unit_test(forged),
		cmocka_unit_test(retention) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
