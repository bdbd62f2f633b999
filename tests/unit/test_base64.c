/* SPDX-License-Identifier: BSD-2-Clause */
#include "unit.h"

#include "base/base64.h"

static void
encodes_and_decodes(void **state)
{
	(void)state;
	static const struct {
		const char *plain, *encoded;
	} rows[] = { /* RFC 4648 section 10 */
		{ "", "" }, { "f", "Zg==" }, { "fo", "Zm8=" }, { "foo", "Zm9v" }, { "foob", "Zm9vYg==" }, { "fooba", "Zm9vYmE=" }, { "foobar", "Zm9vYmFy" },
		{ "\377\376\373\357>>>???", "//777z4+Pj8/Pw==" },
	};
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct buf b;
		buf_init(&b, 100);
		base64_encode(&b, span_str(rows[i].plain));
		assert_span(buf_span(&b), rows[i].encoded);
		buf_reset(&b);
		assert_int_equal(base64_decode(span_str(rows[i].encoded), &b), RC_OK);
		assert_span(buf_span(&b), rows[i].plain);
		buf_fini(&b);
	}
}

static void
refuses_what_is_not_base64(void **state)
{
	(void)state;
	static const char *const rows[] = {
		"Z", "Zg", "Zg=", "Zm9vYg", "Zm9vY", "=", "==", "===", "====", "Z===", "Zg==Zg==", "Zm9v=", "Zm=v", "Z=9v", "Zm9 ", " Zm9v", "Zm9v\n", "Zm9v\r\n",
		"Zm9!", "Zm9_", "Zm9-", "Zm9\200", "Zh==", "Zm9=", "*", "Zm9v Zm9v", "Zm9v*",
	};
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct buf b;
		buf_init(&b, 100);
		assert_int_equal(base64_decode(span_str(rows[i]), &b), RC_PERM);
		buf_fini(&b);
	}
	assert_int_equal(base64_decode(span_of("Zm\0v", 4), &(struct buf){ .max = 10 }), RC_PERM);
}

static void
keeps_the_limit(void **state)
{
	(void)state;
	struct buf b;
	buf_init(&b, 5);
	assert_int_equal(base64_decode(SPAN("Zm9vYmE="), &b), RC_OK);
	buf_reset(&b);
	assert_int_equal(base64_decode(SPAN("Zm9vYmFy"), &b), RC_PERM);
	buf_fini(&b);
}

/* Nothing of a secret is left in memory that the buffer still holds. */
static void
secrets_are_wiped(void **state)
{
	(void)state;
	static const unsigned char zeros[8];
	struct buf b;
	buf_init_secret(&b, 1000);
	buf_puts(&b, "password");
	buf_puts(&b, "x");
	buf_consume(&b, 8);
	assert_memory_equal(b.p, zeros, 8);
	buf_reset(&b);
	buf_puts(&b, "password");
	buf_cut(&b, 0);
	assert_memory_equal(b.p, zeros, 8);
	for (int i = 0; i < 8; i++)
		buf_puts(&b, "12345678");
	buf_consume(&b, 40);
	buf_puts(&b, "abcdefgh"); /* slides */
	assert_span(buf_span(&b), "123456781234567812345678abcdefgh");
	assert_memory_equal(b.p + 32, zeros, 8);
	buf_fini(&b);
	assert_true(b.is_secret);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(encodes_and_decodes), cmocka_unit_test(refuses_what_is_not_base64), cmocka_unit_test(keeps_the_limit),
		cmocka_unit_test(secrets_are_wiped),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
