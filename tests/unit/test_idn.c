/* SPDX-License-Identifier: BSD-2-Clause */
/* Internationalised names; the right column is what Python's idna codec says. */
#include "dns/idn.h"

#include "unit.h"

#define A20 "\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4"

static void
test_names(void **state)
{
	static const struct {
		const char *name, *ascii; /* NULL: no */
	} cases[] = {
		{ "plain.Test", "plain.Test" }, { "", "" }, { "a..b", "a..b" },
		{ "müller.test", "xn--mller-kva.test" }, { "MÜLLER.test", "xn--mller-kva.test" }, { "bücher.example.", "xn--bcher-kva.example." },
		{ "παράδειγμα.test", "xn--hxajbheg2az3al.test" }, { "пример.испытание", "xn--e1afmkfd.xn--80akhbyknj4f" }, { "日本語.jp", "xn--wgv71a119e.jp" },
		{ "a.ÄÖÜ.b", "a.xn--4ca0bs.b" }, { "ñandú.test", "xn--and-6ma2c.test" }, { "ŁÓDŹ.test", "xn--d-uga0v4h.test" }, { "Ёлка.test", "xn--80atc1g.test" },
		{ "🎉.test", "xn--dk8h.test" }, { "例え.テスト", "xn--r8jz45g.xn--zckzah" },
		{ "ליהמהפשוטלאמדברועברית.test", "xn--4dbcagdahdxgjzfyf1eza3fdi8a.test" },
		{ "\xff.test", NULL }, { "\xc3.test", NULL }, { "\xc0\xaf.test", NULL }, { "\xed\xa0\x80.test", NULL }, { "\xf4\x90\x80\x80.test", NULL },
		{ A20 A20 A20 "\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4.test", NULL },
		{ "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\xc3\xa4.test", NULL },
	};
	(void)state;
	for (size_t i = 0; i < NELEMS(cases); i++) {
		unsigned char out[DNS_IDN_MAX];
		struct span ascii;
		bool ok = dns_to_ascii(span_str(cases[i].name), out, &ascii);
		if (ok != (cases[i].ascii != NULL) || (ok && !span_eq_str(ascii, cases[i].ascii)))
			fail_msg("%s: %d \"%.*s\"", cases[i].name, ok, ok ? (int)ascii.n : 0, (const char *)ascii.p);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_names) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
