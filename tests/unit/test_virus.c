/* SPDX-License-Identifier: GPL-2.0-only */
#include "unit.h"

#include "filters/virus/cache.h"
#include "filters/virus/verdict.h"

static void
replies_of_clamd(void **state)
{
	(void)state;
	static const struct {
		const char *reply;
		enum rc rc;
		enum virus_kind kind;
		const char *name;
	} rows[] = {
		{ "stream: OK", RC_OK, VIRUS_CLEAN, "" },
		{ "stream: Eicar-Test-Signature FOUND", RC_OK, VIRUS_FOUND, "Eicar-Test-Signature" },
		{ "stream: Heuristics.Encrypted.Zip FOUND", RC_OK, VIRUS_ENCRYPTED, "Heuristics.Encrypted.Zip" },
		{ "stream: Heuristics.OLE2.ContainsMacros.VBA FOUND", RC_OK, VIRUS_MACRO, "Heuristics.OLE2.ContainsMacros.VBA" },
		{ "stream: Heuristics.Limits.Exceeded.MaxFiles FOUND", RC_OK, VIRUS_LIMITS, "Heuristics.Limits.Exceeded.MaxFiles" },
		{ "stream: X\r\nY: z FOUND", RC_OK, VIRUS_FOUND, "X__Y:_z" },
		{ "stream: \xff\x1b[2J FOUND", RC_OK, VIRUS_FOUND, "___2J" },
		{ "stream: %s%n FOUND", RC_OK, VIRUS_FOUND, "_s_n" },
		{ "INSTREAM size limit exceeded. ERROR", RC_OK, VIRUS_LIMITS, "larger than the StreamMaxLength of clamd" },
		{ "", RC_TEMP, VIRUS_CLEAN, "" },
		{ "OK", RC_TEMP, VIRUS_CLEAN, "" },
		{ "stream: ", RC_TEMP, VIRUS_CLEAN, "" },
		{ "stream: OK ", RC_TEMP, VIRUS_CLEAN, "" },
		{ "stream: ok", RC_TEMP, VIRUS_CLEAN, "" },
		{ " stream: OK", RC_TEMP, VIRUS_CLEAN, "" },
		{ "stream: OKAY", RC_TEMP, VIRUS_CLEAN, "" },
		{ "stream:  FOUND", RC_TEMP, VIRUS_CLEAN, "" },
		{ "stream: FOUND", RC_TEMP, VIRUS_CLEAN, "" },
		{ "stream: scan failed ERROR", RC_TEMP, VIRUS_CLEAN, "" },
	};
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct virus_verdict v = { .kind = VIRUS_CLEAN };
		struct err e = { .why = "" };
		if (clamd_reply(span_str(rows[i].reply), &v, &e) != rows[i].rc)
			fail_msg("%s: %d", rows[i].reply, (int)rows[i].rc);
		assert_int_equal(v.kind, rows[i].kind);
		assert_string_equal(v.name, rows[i].name);
		assert_int_equal(e.why[0] != '\0', rows[i].rc == RC_TEMP);
	}
}

static void
versions_of_clamd(void **state)
{
	(void)state;
	struct virus_version v = { .engine = "" };
	assert_int_equal(clamd_version(SPAN("ClamAV 1.4.2/27500/Mon Jan  6 10:00:00 2025"), &v), RC_OK);
	assert_string_equal(v.engine, "ClamAV 1.4.2");
	assert_string_equal(v.signatures, "27500/Mon Jan  6 10:00:00 2025");
	assert_int_equal(clamd_version(SPAN("ClamAV 1.4.2"), &v), RC_OK);
	assert_string_equal(v.signatures, "");
	assert_int_equal(clamd_version(SPAN("UNKNOWN COMMAND"), &v), RC_PERM);
}

static void
names_are_cut(void **state)
{
	(void)state;
	unsigned char big[400];
	char out[VIRUS_NAME_MAX];
	memset(big, 'x', sizeof big);
	virus_name_clean(span_of(big, sizeof big), out);
	assert_int_equal(strlen(out), VIRUS_NAME_MAX - 1);
	virus_name_clean(SPAN_EMPTY, out);
	assert_string_equal(out, "unnamed");
}

static void
make_hash(unsigned n, unsigned char hash[CONTENT_HASH])
{
	memset(hash, 0, CONTENT_HASH);
	memcpy(hash + 8, &n, sizeof n); /* all in one bucket */
}

static void
the_cache_forgets(void **state)
{
	(void)state;
	unsigned char h[CONTENT_HASH];
	struct cache *c = cache_new(8);
	struct virus_verdict in = virus_verdict_of(SPAN("A.Virus")), out = { .kind = VIRUS_CLEAN };
	for (unsigned i = 0; i < 20; i++) {
		make_hash(i, h);
		cache_put(c, h, 1, &in);
	}
	for (unsigned i = 0; i < 20; i++) {
		make_hash(i, h);
		assert_int_equal(cache_get(c, h, 1, &out), i >= 12);
		assert_false(cache_get(c, h, 2, &out)); /* other signatures */
	}
	assert_string_equal(out.name, "A.Virus");
	struct virus_verdict unsure = virus_verdict_why(VIRUS_LIMITS, "slow");
	make_hash(100, h);
	cache_put(c, h, 1, &unsure);
	assert_false(cache_get(c, h, 1, &out));
	cache_free(&c);
	c = cache_new(0);
	cache_put(c, h, 1, &in);
	assert_false(cache_get(c, h, 1, &out));
	cache_free(&c);
}

static void
failures_in_a_row(void **state)
{
	(void)state;
	unsigned char h[CONTENT_HASH], other[CONTENT_HASH];
	struct cache *c = cache_new(4);
	make_hash(1, h);
	make_hash(2, other);
	assert_int_equal(cache_failures(c, h), 0);
	assert_int_equal(cache_failed(c, h), 1);
	assert_int_equal(cache_failed(c, h), 2);
	assert_int_equal(cache_failed(c, other), 1);
	assert_int_equal(cache_failures(c, h), 2);
	cache_worked(c, h);
	assert_int_equal(cache_failures(c, h), 0);
	for (unsigned i = 10; i < 10 + CACHE_FAILURES; i++) {
		make_hash(i, h);
		(void)cache_failed(c, h);
	}
	assert_int_equal(cache_failures(c, other), 0); /* the oldest has gone */
	cache_free(&c);
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(replies_of_clamd), cmocka_unit_test(versions_of_clamd), cmocka_unit_test(names_are_cut),
		cmocka_unit_test(the_cache_forgets), cmocka_unit_test(failures_in_a_row) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
