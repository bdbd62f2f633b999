/* SPDX-License-Identifier: BSD-2-Clause */
/* Addresses in all headers of a message: what one header cannot have done to it does not touch the others. */
#include "msg/headermap.h"

#include "unit.h"

enum { TOKENS = 11 };

static unsigned asked;

/* "wait@..." has to wait; "in" becomes "out". */
static enum rc
map(void *arg, unsigned flags, const struct mailbox *box, struct buf *scratch, struct span *out, struct err *e)
{
	(void)arg, (void)flags, (void)scratch;
	asked++;
	if (span_starts(box->addr, SPAN("wait@")))
		return err_set(e, RC_TEMP, "waits");
	if (span_eq_str(box->addr, "me@in"))
		*out = SPAN("me@out");
	return RC_OK;
}

#define MANY "a@b, a@b, a@b, a@b, a@b, a@b"

static const struct {
	const char *in;
	enum rc rc;
	unsigned asked;
	const char *why, *out;       /* NULL: not looked at */
} rows[] = {
	{ "From: me@in\r\nTo: a@b\r\n", RC_OK, 2, NULL, "From: me@out\r\nTo: a@b\r\n" },
	{ "From: me@in\r\nTo: " MANY "\r\nCc: me@in\r\n", RC_PERM, 2, "too many addresses in one header", "From: me@out\r\nTo: " MANY "\r\nCc: me@out\r\n" },
	{ "To: " MANY "\r\nFrom: me@in\r\n", RC_PERM, 1, "too many addresses in one header", "To: " MANY "\r\nFrom: me@out\r\n" },
	{ "From: wait@x\r\nTo: " MANY "\r\nCc: wait@y\r\n", RC_TEMP, 2, "waits", NULL },
	{ "To: " MANY "\r\nFrom: wait@x\r\nCc: me@in\r\n", RC_TEMP, 2, "waits", NULL },
	{ "To: wait@x, me@in\r\n", RC_TEMP, 2, "waits", NULL },
	{ "Subject: me@in\r\n", RC_OK, 0, NULL, "Subject: me@in\r\n" },
};

static void
test_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct arena a;
		struct headers h;
		struct buf b;
		struct err e = { .why = "" };
		arena_init(&a, 1 << 20);
		buf_init(&b, 1 << 20);
		assert_int_equal(headers_parse(&h, span_str(rows[i].in), &a), RC_OK);
		asked = 0;
		enum rc rc = headers_map(&h, TOKENS, map, NULL, &e);
		headers_write(&h, &b);
		if (rc != rows[i].rc || asked != rows[i].asked || (rows[i].why != NULL && strcmp(e.why, rows[i].why) != 0)
		    || (rows[i].out != NULL && !span_eq_str(buf_span(&b), rows[i].out)))
			fail_msg("row %zu: %d after %u questions, \"%s\": %s", i, (int)rc, asked, e.why, buf_cstr(&b));
		buf_fini(&b);
		arena_fini(&a);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_rows) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
