/* SPDX-License-Identifier: GPL-2.0-only */
#include "unit.h"

#include "filters/milter_wire.h"
#include "filters/virus/answer.h"
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
	struct cache *none = cache_new(0);
	assert_true(cache_is_of_use(c));
	assert_false(cache_is_of_use(none));
	(void)cache_failed(none, h);
	(void)cache_failed(none, h);
	assert_true(cache_is_of_use(none));
	cache_worked(none, other);
	assert_true(cache_is_of_use(none));
	cache_worked(none, h);
	cache_worked(none, h);
	assert_false(cache_is_of_use(none));
	for (unsigned i = 10; i < 10 + 2 * CACHE_FAILURES; i++) { /* each takes the place of one that failed, too */
		unsigned char next[CONTENT_HASH];
		make_hash(i, next);
		(void)cache_failed(none, next);
	}
	for (unsigned i = 10; i < 10 + 2 * CACHE_FAILURES; i++) {
		unsigned char next[CONTENT_HASH];
		make_hash(i, next);
		cache_worked(none, next);
	}
	assert_false(cache_is_of_use(none));
	cache_free(&none);
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

/* The packets as letters, with what matters of their data. */
static void
show_packets(struct span s, struct buf *out)
{
	struct mw_frame f;
	uint32_t length;
	for (buf_reset(out); mw_next(s, &f, &length) == MW_FRAME; s = span_from(s, f.used)) {
		buf_putc(out, f.cmd);
		for (size_t i = f.cmd == 'm' ? 3 : 0; i < f.data.n; i++)
			buf_putc(out, f.data.p[i] == '\0' ? '|' : f.data.p[i] < ' ' ? (unsigned char)(f.data.p[i] + '0') : f.data.p[i]);
		buf_putc(out, ' ');
	}
	assert_int_equal(s.n, 0);
}

static void
answers(void **state)
{
	(void)state;
	struct virus_conf conf = { .header = "$status by $engine/$signatures", .found = VIRUS_QUARANTINE, .encrypted = VIRUS_REJECT, .macro = VIRUS_TAG,
		.limits = VIRUS_DISCARD, .unavailable = VIRUS_TEMPFAIL };
	struct virus_conf bare = conf, holds = conf;
	bare.header = "";
	holds.unavailable = VIRUS_HOLD_AND_RESCAN;
	const struct virus_version version = { "E", "7" };
	struct {
		const struct virus_conf *conf;
		enum virus_kind kind;
		const char *name;
		unsigned there;
		bool leads_space;
		const char *action, *packets;
	} rows[] = {
		{ &conf, VIRUS_CLEAN, "", 0, true, "accept", "hX-Virus-Status| Clean by E/7| c " },
		{ &conf, VIRUS_CLEAN, "", 0, false, "accept", "hX-Virus-Status|Clean by E/7| c " },
		{ &conf, VIRUS_CLEAN, "", 3, true, "accept", "m3X-Virus-Status|| m2X-Virus-Status|| m1X-Virus-Status| Clean by E/7| c " },
		{ &bare, VIRUS_CLEAN, "", 2, true, "accept", "m2X-Virus-Status|| m1X-Virus-Status|| c " },
		{ &bare, VIRUS_CLEAN, "", 0, true, "accept", "c " },
		{ &conf, VIRUS_FOUND, "A.B", 0, true, "quarantine", "hX-Virus-Status| Infected: A.B by E/7| qvirus: A.B| c " },
		{ &conf, VIRUS_ENCRYPTED, "Zip", 0, true, "reject", "y554 5.7.1 Message refused: encrypted content: Zip| " },
		{ &conf, VIRUS_MACRO, "M", 1, true, "tag", "m1X-Virus-Status| Macros: M by E/7| c " },
		{ &conf, VIRUS_LIMITS, "slow", 1, true, "discard", "d " },
		{ &conf, VIRUS_UNSCANNED, "x", 0, true, "tempfail", "y451 4.7.1 Service unavailable - try again later| " },
		{ &holds, VIRUS_UNSCANNED, "x", 0, true, "quarantine", "hX-Virus-Status| Unchecked: x by E/7| qunscanned: not scanned: x| c " },
		{ &conf, VIRUS_ASIDE, "x", 0, true, "quarantine", "hX-Virus-Status| Unchecked: x by E/7| qunscanned: not scanned: x| c " },
	};
	struct buf out, shown;
	buf_init(&out, 64 * 1024);
	buf_init(&shown, 64 * 1024);
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct judgement j = { .verdict = { .kind = rows[i].kind }, .version = version };
		snprintf(j.verdict.name, sizeof j.verdict.name, "%s", rows[i].name);
		buf_reset(&out);
		const char *action = answer_put(rows[i].conf, &j, rows[i].there, rows[i].leads_space, &out);
		show_packets(buf_span(&out), &shown);
		assert_string_equal(action, rows[i].action);
		assert_string_equal(buf_cstr(&shown), rows[i].packets);
	}
	buf_fini(&out);
	buf_fini(&shown);
	assert_true(answer_is_status_header(SPAN("x-virus-STATUS \t")));
	assert_false(answer_is_status_header(SPAN("X-Virus-Statu")));
	assert_false(answer_is_status_header(SPAN("X-Virus-Status2")));
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(replies_of_clamd), cmocka_unit_test(versions_of_clamd), cmocka_unit_test(names_are_cut), cmocka_unit_test(answers),
		cmocka_unit_test(the_cache_forgets), cmocka_unit_test(failures_in_a_row) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
