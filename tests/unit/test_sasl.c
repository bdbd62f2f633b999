/* SPDX-License-Identifier: BSD-2-Clause */
/* Lines of Dovecot's protocol, mechanisms and security options, names in responses, counters of failures. */
#include "unit.h"

#include "base/mem.h"
#include "sasl/cyrus_files.h"
#include "sasl/dovecot_line.h"
#include "sasl/mechs.h"
#include "sasl/said.h"
#include "smtp/lockout.h"

static void
dovecot_lines(void **state)
{
	(void)state;
	static const struct {
		const char *in;
		enum rc rc;
		enum dovecot_verb verb;
		uint32_t id;
		const char *text;    /* challenge, user or mechanism */
		bool temp;
	} rows[] = {
		{ "VERSION\t1\t2", RC_OK, DOVECOT_VERSION, 0, "", false },
		{ "VERSION\t1", RC_PERM, DOVECOT_VERSION, 0, "", false },
		{ "VERSION\tx\t1", RC_PERM, DOVECOT_VERSION, 0, "", false },
		{ "MECH\tPLAIN\tplaintext", RC_OK, DOVECOT_MECH, 0, "PLAIN", false },
		{ "MECH\tA B", RC_PERM, DOVECOT_MECH, 0, "", false },
		{ "MECH", RC_PERM, DOVECOT_MECH, 0, "", false },
		{ "MECH\tABCDEFGHIJKLMNOPQRSTU", RC_PERM, DOVECOT_MECH, 0, "", false },
		{ "SPID\t1", RC_OK, DOVECOT_SPID, 0, "", false },
		{ "DONE", RC_OK, DOVECOT_DONE, 0, "", false },
		{ "CUID\t3", RC_OK, DOVECOT_OTHER, 0, "", false },
		{ "", RC_OK, DOVECOT_OTHER, 0, "", false },
		{ "OKAY\t1", RC_OK, DOVECOT_OTHER, 0, "", false },
		{ "CONT\t7\tUGFzcw==", RC_OK, DOVECOT_CONT, 7, "UGFzcw==", false },
		{ "CONT\t7\t", RC_OK, DOVECOT_CONT, 7, "", false },
		{ "CONT\t7", RC_PERM, DOVECOT_CONT, 7, "", false },
		{ "CONT\t-7\tUGFzcw==", RC_PERM, DOVECOT_CONT, 0, "", false },
		{ "CONT\t4294967296\tUGFzcw==", RC_PERM, DOVECOT_CONT, 0, "", false },
		{ "CONT\t7\tUGFzc", RC_PERM, DOVECOT_CONT, 7, "", false },
		{ "CONT\t7\tUGFz\r", RC_PERM, DOVECOT_CONT, 7, "", false },
		{ "OK\t9\tuser=anna", RC_OK, DOVECOT_OK, 9, "anna", false },
		{ "OK\t9\tx=1\tuser=anna@x.test\ty", RC_OK, DOVECOT_OK, 9, "anna@x.test", false },
		{ "OK\t9\tuser=\303\274", RC_OK, DOVECOT_OK, 9, "\303\274", false },
		{ "OK\t9", RC_PERM, DOVECOT_OK, 9, "", false },
		{ "OK\t9\tuser=", RC_PERM, DOVECOT_OK, 9, "", false },
		{ "OK\t9\tuser=a\001b", RC_PERM, DOVECOT_OK, 9, "", false },
		{ "OK\t9\tuser=a\r", RC_PERM, DOVECOT_OK, 9, "", false },
		{ "OK\t9\tuser=\374", RC_PERM, DOVECOT_OK, 9, "", false },
		{ "OK\t9\tuser=a\tuser=b", RC_PERM, DOVECOT_OK, 9, "", false },
		{ "OK\tanna", RC_PERM, DOVECOT_OK, 0, "", false },
		{ "FAIL\t9", RC_OK, DOVECOT_FAIL, 9, "", false },
		{ "FAIL\t9\tuser=anna\ttemp", RC_OK, DOVECOT_FAIL, 9, "anna", true },
		{ "FAIL\t9\tuser=anna\tcode=temp_fail", RC_OK, DOVECOT_FAIL, 9, "anna", true },
		{ "FAIL\t9\tuser=anna\treason=temp", RC_OK, DOVECOT_FAIL, 9, "anna", false },
		{ "FAIL\t9\tuser=a\tuser=a\001", RC_OK, DOVECOT_FAIL, 9, "", false },
	};
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct dovecot_line l;
		struct err e;
		enum rc rc = dovecot_line(span_str(rows[i].in), &l, &e);
		if (rc != rows[i].rc)
			fail_msg("%s: %d", rows[i].in, (int)rc);
		if (rc != RC_OK)
			continue;
		assert_int_equal(l.verb, rows[i].verb);
		assert_int_equal(l.id, rows[i].id);
		assert_int_equal(l.is_temporary, rows[i].temp);
		assert_span(l.verb == DOVECOT_CONT ? l.challenge : l.verb == DOVECOT_MECH ? l.mech : l.user, rows[i].text);
	}
}

static void
options_and_properties(void **state)
{
	(void)state;
	unsigned o;
	struct err e;
	assert_int_equal(sasl_options(SPAN("noanonymous, NoPlainText"), &o, &e), RC_OK);
	assert_int_equal(o, SASL_OPT_NOANONYMOUS | SASL_OPT_NOPLAINTEXT);
	assert_int_equal(sasl_options(SPAN(""), &o, &e), RC_OK);
	assert_int_equal(o, 0);
	assert_int_equal(sasl_options(SPAN("noanonymous nosuch"), &o, &e), RC_PERM);
	assert_string_equal(e.why, "unknown SASL security option \"nosuch\"");
	static const struct {
		unsigned options, properties;
		bool ok;
	} rows[] = {
		{ 0, 0, true }, { 0, SASL_IS_PRIVATE, false }, { 0, SASL_IS_ANONYMOUS, true }, { SASL_OPT_NOANONYMOUS, SASL_IS_ANONYMOUS, false },
		{ SASL_OPT_NOANONYMOUS, SASL_IS_PLAINTEXT, true }, { SASL_OPT_NOPLAINTEXT, SASL_IS_PLAINTEXT, false },
		{ SASL_OPT_NOACTIVE, SASL_IS_ACTIVE | SASL_IS_DICTIONARY, false }, { SASL_OPT_NODICTIONARY, SASL_IS_ACTIVE, true },
		{ SASL_OPT_MUTUAL_AUTH, 0, false }, { SASL_OPT_MUTUAL_AUTH, SASL_HAS_MUTUAL_AUTH, true },
		{ SASL_OPT_FORWARD_SECRECY | SASL_OPT_MUTUAL_AUTH, SASL_HAS_MUTUAL_AUTH, false },
	};
	for (size_t i = 0; i < NELEMS(rows); i++)
		assert_int_equal(sasl_allowed(rows[i].options, rows[i].properties), rows[i].ok);
	struct sasl_mechs m = { 0 };
	assert_true(sasl_mechs_add(&m, SPAN("plain"), SASL_IS_PLAINTEXT));
	assert_true(sasl_mechs_add(&m, SPAN("PLAIN"), SASL_IS_PRIVATE));
	assert_false(sasl_mechs_add(&m, SPAN("PL\tAIN"), 0));
	assert_false(sasl_mechs_add(&m, SPAN(""), 0));
	assert_int_equal(m.n, 1);
	assert_string_equal(sasl_mechs_find(&m, SPAN("Plain"))->name, "PLAIN");
	assert_null(sasl_mechs_find(&m, SPAN("PLAI")));
	for (int i = 0; i < 100; i++) {
		char name[8];
		snprintf(name, sizeof name, "M%d", i);
		(void)!sasl_mechs_add(&m, span_str(name), 0);
	}
	assert_int_equal(m.n, SASL_MECHS_MAX);
}

static void
names_in_responses(void **state)
{
	(void)state;
	static const struct {
		const char *mech;
		unsigned nth;
		struct span response;
		const char *want;
	} rows[] = {
		{ "PLAIN", 0, { (const unsigned char *)"\0anna\0pw", 8 }, "anna" }, { "plain", 0, { (const unsigned char *)"z\0anna\0", 7 }, "anna" },
		{ "PLAIN", 0, { (const unsigned char *)"\0anna", 5 }, "" }, { "PLAIN", 0, { (const unsigned char *)"anna", 4 }, "" },
		{ "PLAIN", 0, { (const unsigned char *)"\0\0\0", 3 }, "" }, { "PLAIN", 1, { (const unsigned char *)"\0anna\0pw", 8 }, "" },
		{ "PLAIN", 0, { (const unsigned char *)"\0an\rna\0pw", 9 }, "" }, { "PLAIN", 0, { (const unsigned char *)"\0\377\0pw", 5 }, "" },
		{ "LOGIN", 0, { (const unsigned char *)"anna", 4 }, "anna" }, { "LOGIN", 1, { (const unsigned char *)"secret", 6 }, "" },
		{ "CRAM-MD5", 0, { (const unsigned char *)"anna b 0123", 11 }, "anna b" }, { "CRAM-MD5", 0, { (const unsigned char *)"0123", 4 }, "" },
		{ "SCRAM-SHA-256", 0, { (const unsigned char *)"n,,n=anna,r=x", 13 }, "anna" }, { "SCRAM-SHA-1", 0, { (const unsigned char *)"n,,r=x", 6 }, "" },
		{ "XOAUTH2", 0, { (const unsigned char *)"user=anna\001auth=Bearer x\001\001", 25 }, "anna" },
		{ "OAUTHBEARER", 0, { (const unsigned char *)"n,a=anna,\001auth=Bearer x\001\001", 25 }, "anna" },
		{ "NTLM", 0, { (const unsigned char *)"anna", 4 }, "" },
	};
	for (size_t i = 0; i < NELEMS(rows); i++)
		assert_span(sasl_said_name(span_str(rows[i].mech), rows[i].nth, rows[i].response), rows[i].want);
}

static void
failures(void **state)
{
	(void)state;
	struct lockout_table *t = mem_zalloc(sizeof *t);
	const struct ipaddr one = { .family = IPADDR_V4, .b = { 192, 0, 2, 1 } }, two = { .family = IPADDR_V4, .b = { 192, 0, 2, 2 } };
	uint64_t key = lockout_key(7, SPAN("anna"), &one);
	assert_int_equal(key, lockout_key(7, SPAN("ANNA"), &one));
	assert_true(key != lockout_key(7, SPAN("anna"), &two));
	assert_true(key != lockout_key(8, SPAN("anna"), &one));
	assert_true(key != lockout_key(7, SPAN("anne"), &one));
	assert_int_equal(lockout_seen(t, key, 100), 0);
	assert_int_equal(lockout_count(t, key, 100, 60), 1);
	assert_int_equal(lockout_count(t, key, 159, 60), 2);
	assert_int_equal(lockout_seen(t, key, 159), 2);
	assert_int_equal(lockout_seen(t, key, 160), 0); /* the time began with the first */
	assert_int_equal(lockout_count(t, key, 160, 60), 1);
	lockout_forget(t, key);
	assert_int_equal(lockout_seen(t, key, 160), 0);
	assert_int_equal(lockout_count(t, key, UINT32_MAX - 10, 60), 1); /* the clock goes over */
	assert_int_equal(lockout_seen(t, key, 20), 1);
	assert_int_equal(lockout_seen(t, key, 60), 0);
	mem_free(&t);
}

/* However full it is, a new counter begins at nothing, and the highest stay. */
static void
crowded(void **state)
{
	(void)state;
	struct lockout_table *t = mem_zalloc(sizeof *t);
	const struct ipaddr any = { 0 };
	uint64_t mine = lockout_key(1, SPAN("mine"), &any);
	for (int i = 0; i < 20; i++)
		(void)lockout_count(t, mine, 100, 1000);
	char name[16];
	for (int i = 0; i < 200000; i++) {
		snprintf(name, sizeof name, "u%d", i);
		assert_int_equal(lockout_count(t, lockout_key(1, span_str(name), &any), 100, 1000), 1);
	}
	assert_int_equal(lockout_seen(t, mine, 100), 20);
	mem_free(&t);
}

/* ---- NAME.conf ---- */

static void
cyrus_settings_lines(void **state)
{
	(void)state;
	static const struct {
		const char *text, *pwcheck, *path, *mechs;
		unsigned bad;
	} rows[] = {
		{ "", "", "", "", 0 },
		{ "# a comment\n\n \t\npwcheck_method: auxprop\n  SASLDB_Path:\t/x y  \r\nmech_list: PLAIN  LOGIN", "auxprop", "/x y", "PLAIN  LOGIN", 0 },
		{ "pwcheck_method:saslauthd\npwcheck_method: auxprop\n", "saslauthd", "", "", 0 },
		{ "sasldb_path: /a:b\n", "", "/a:b", "", 0 },
		{ "other-key_2: x\nmech_list: PLAIN\n", "", "", "PLAIN", 0 },
		{ "mech_list: PLAIN\npwcheck_method auxprop\nsasldb_path: /x\n", "", "", "PLAIN", 2 },
		{ "pwcheck_method : auxprop\n", "", "", "", 1 },
		{ "\nsasldb_path:\n", "", "", "", 2 },
		{ ": x\n", "", "", "", 1 },
		{ "mech_list", "", "", "", 1 },
	};
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct cyrus_settings set;
		cyrus_settings_parse(span_str(rows[i].text), &set);
		if (!span_eq(set.pwcheck_method, span_str(rows[i].pwcheck)) || !span_eq(set.sasldb_path, span_str(rows[i].path)) ||
		    !span_eq(set.mech_list, span_str(rows[i].mechs)) || set.bad_line != rows[i].bad)
			fail_msg("row %zu: %s", i, rows[i].text);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cyrus_settings_lines),
		cmocka_unit_test(dovecot_lines), cmocka_unit_test(options_and_properties), cmocka_unit_test(names_in_responses), cmocka_unit_test(failures),
		cmocka_unit_test(crowded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
