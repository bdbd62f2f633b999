/* SPDX-License-Identifier: BSD-2-Clause */
#include "conf/param.h"

#include "confdir.h"
#include "unit.h"

#include <ctype.h>

/* ---- the rows ---- */

static void
test_order(void **state)
{
	(void)state;
	for (size_t i = 1; i < param_count(); i++)
		if (strcmp(param_at(i - 1)->name, param_at(i)->name) >= 0)
			fail_msg("%s must not stand before %s", param_at(i - 1)->name, param_at(i)->name);
	for (size_t i = 0; i < param_count(); i++)
		assert_ptr_equal(param_find(span_str(param_at(i)->name)), param_at(i));
	assert_null(param_find(SPAN("")));
	assert_null(param_find(SPAN("mydomai")));
	assert_null(param_find(SPAN("mydomainn")));
}

static void
test_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < param_count(); i++) {
		const struct param *row = param_at(i);
		unsigned kind = row->flags & (P_LIVE | P_KNOWN | P_IGNORED);
		size_t n = strlen(row->doc);
		if (kind != P_LIVE && kind != P_KNOWN && kind != P_IGNORED)
			fail_msg("%s: one of P_LIVE, P_KNOWN, P_IGNORED", row->name);
		if (n < 4 || row->doc[n - 1] != '.' || n > 120 || strchr(row->doc, '\n') != NULL)
			fail_msg("%s: a doc is one short sentence", row->name);
		for (const char *p = row->name; *p != '\0'; p++)
			assert_true(isalnum((unsigned char)*p) || *p == '_');
		bool ranged = row->type == PT_INT || row->type == PT_TIME;
		if (!ranged && (row->min[0] != '\0' || row->max[0] != '\0'))
			fail_msg("%s: a range without a number", row->name);
		int64_t v, w;
		uint64_t t, u;
		if (row->type == PT_INT && row->min[0] != '\0' && row->max[0] != '\0') {
			assert_int_equal(param_int(span_str(row->min), &v), RC_OK);
			assert_int_equal(param_int(span_str(row->max), &w), RC_OK);
			assert_true(v <= w);
		}
		if (row->type == PT_TIME && row->min[0] != '\0' && row->max[0] != '\0') {
			assert_int_equal(param_time(span_str(row->min), 's', &t), RC_OK);
			assert_int_equal(param_time(span_str(row->max), 's', &u), RC_OK);
			assert_true(t <= u);
		}
	}
}

/* smtp_X and lmtp_X come in pairs, but for what EHLO and LHLO make different. */
static void
test_twins(void **state)
{
	(void)state;
	static const char *const without[] = { "smtp_always_send_ehlo", "smtp_discard_ehlo_keyword_address_maps", "smtp_discard_ehlo_keywords",
		"smtp_helo_name", "smtp_helo_timeout", "smtp_never_send_ehlo" };
	for (size_t i = 0; i < param_count(); i++) {
		const struct param *row = param_at(i), *twin;
		char name[100];
		bool lonely = strncmp(row->name, "smtp_", 5) != 0;
		for (size_t k = 0; k < NELEMS(without); k++)
			lonely = lonely || strcmp(row->name, without[k]) == 0;
		if (lonely)
			continue;
		snprintf(name, sizeof name, "lmtp_%s", row->name + 5);
		twin = param_find(span_str(name));
		if (twin == NULL || twin->type != row->type || twin->flags != row->flags)
			fail_msg("%s is not like %s", name, row->name);
	}
}

/* Every default, with its references followed, is a value of its row: at old and new levels, and under stress. */
static void
test_defaults(void **state)
{
	(void)state;
	static const char *const settings[] = { "", "compatibility_level = 3.10\n", "stress = yes\ncompatibility_level = 3.10\n" };
	for (size_t k = 0; k < NELEMS(settings); k++) {
		struct conf *c;
		struct err e = { 0 };
		confdir_make();
		confdir_write("main.cf", settings[k]);
		if (conf_load(confdir, &c, &e) != RC_OK)
			fail_msg("%s", e.why);
		struct params p;
		for (size_t i = 0; i < param_count(); i++) {
			const struct param *row = param_at(i);
			const char *value = conf_value(c, NULL, row->name);
			assert_non_null(value);
			if (param_store(row, value, &p, &e) != RC_OK)
				fail_msg("%s", e.why);
		}
		assert_int_equal(conf_problem_count(c, CONF_ERROR), 0);
		conf_unref(&c);
		confdir_remove();
	}
}

/* ---- values ---- */

static void
test_bool(void **state)
{
	(void)state;
	bool v;
	assert_int_equal(param_bool(SPAN("yes"), &v), RC_OK);
	assert_true(v);
	assert_int_equal(param_bool(SPAN("No"), &v), RC_OK);
	assert_false(v);
	static const char *const bad[] = { "", "true", "1", "ye", "yess", "yes no" };
	for (size_t i = 0; i < NELEMS(bad); i++)
		assert_int_equal(param_bool(span_str(bad[i]), &v), RC_PERM);
}

static void
test_int(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		enum rc rc;
		int64_t want;
	} rows[] = {
		{ "0", RC_OK, 0 }, { "10240000", RC_OK, 10240000 }, { "-3", RC_OK, -3 }, { "+7", RC_OK, 7 },
		{ "9223372036854775807", RC_OK, INT64_MAX }, { "9223372036854775808", RC_PERM, 0 },
		{ "", RC_PERM, 0 }, { "-", RC_PERM, 0 }, { "12k", RC_PERM, 0 }, { " 1", RC_PERM, 0 }, { "1 2", RC_PERM, 0 }, { "0x10", RC_PERM, 0 },
	};
	for (size_t i = 0; i < NELEMS(rows); i++) {
		int64_t v = 0;
		assert_int_equal(param_int(span_str(rows[i].text), &v), rows[i].rc);
		assert_int_equal(v, rows[i].want);
	}
}

static void
test_time(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		char unit;
		enum rc rc;
		uint64_t seconds;
	} rows[] = {
		{ "0", 's', RC_OK, 0 },      { "5", 's', RC_OK, 5 },        { "5", 'd', RC_OK, 432000 },  { "5", 'h', RC_OK, 18000 },
		{ "5s", 'd', RC_OK, 5 },     { "2m", 's', RC_OK, 120 },     { "1w", 's', RC_OK, 604800 }, { "3H", 's', RC_OK, 10800 },
		{ "", 's', RC_PERM, 0 },     { "s", 's', RC_PERM, 0 },      { "5x", 's', RC_PERM, 0 },    { "-5s", 's', RC_PERM, 0 },
		{ "1.5h", 's', RC_PERM, 0 }, { "5 s", 's', RC_PERM, 0 },    { "5ms", 's', RC_PERM, 0 },   { "999999999999", 's', RC_PERM, 0 },
		{ "9999w", 's', RC_PERM, 0 },
	};
	for (size_t i = 0; i < NELEMS(rows); i++) {
		uint64_t v = 0;
		if (param_time(span_str(rows[i].text), rows[i].unit, &v) != rows[i].rc)
			fail_msg("\"%s\"", rows[i].text);
		assert_int_equal(v, rows[i].seconds * 1000000);
	}
}

static void
test_units(void **state)
{
	(void)state;
	static const struct {
		const char *name;
		char unit;
	} rows[] = {
		{ "smtpd_timeout", 's' }, { "maximal_queue_lifetime", 'd' }, { "delay_warning_time", 'h' }, { "minimal_backoff_time", 's' },
		{ "postscreen_dnsbl_max_ttl", 'h' }, { "bounce_queue_lifetime", 'd' },
	};
	for (size_t i = 0; i < NELEMS(rows); i++)
		assert_int_equal(param_unit(param_find(span_str(rows[i].name))), rows[i].unit);
}

static void
test_store(void **state)
{
	(void)state;
	static const struct {
		const char *name, *text, *why; /* why NULL: stored */
	} rows[] = {
		{ "smtpd_recipient_limit", "1", NULL },
		{ "smtpd_recipient_limit", "0", "too small" },
		{ "delay_logging_resolution_limit", "7", "too large" },
		{ "smtpd_recipient_limit", "many", "bad numerical value" },
		{ "maximal_queue_lifetime", "0", NULL },
		{ "maximal_queue_lifetime", "101d", "too large" },
		{ "smtpd_timeout", "0", "too small" },
		{ "smtpd_timeout", "5y", "bad time value" },
		{ "smtpd_helo_required", "YES", NULL },
		{ "smtpd_helo_required", "on", "bad boolean value" },
		{ "relayhost", "", NULL },
		{ "postscreen_dnsbl_allowlist_threshold", "-2", NULL },
		{ "postscreen_dnsbl_allowlist_threshold", "1", "too large" },
	};
	struct params p;
	memset(&p, 0, sizeof p);
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct err e = { 0 };
		enum rc rc = param_store(param_find(span_str(rows[i].name)), rows[i].text, &p, &e);
		if (rows[i].why == NULL ? rc != RC_OK : rc != RC_PERM || strstr(e.why, rows[i].why) == NULL)
			fail_msg("%s = %s: %s", rows[i].name, rows[i].text, e.why);
	}
	assert_int_equal(p.p_smtpd_recipient_limit, 1);
	assert_true(p.p_smtpd_helo_required);
	assert_string_equal(p.p_relayhost, "");
	assert_int_equal(p.p_postscreen_dnsbl_allowlist_threshold, -2);
}

static void
test_suggest(void **state)
{
	(void)state;
	static const struct {
		const char *name, *want;
	} rows[] = {
		{ "smtpd_recipient_limt", "smtpd_recipient_limit" }, { "relay_domain", "relay_domains" }, { "myhostnam", "myhostname" },
		{ "smtpd_helo_requierd", "smtpd_helo_required" },    { "relayhsot", "relayhost" },        { "something_else_entirely", NULL },
		{ "", NULL },                                        { "x", NULL },
	};
	for (size_t i = 0; i < NELEMS(rows); i++) {
		const char *got = param_suggest(span_str(rows[i].name));
		if (rows[i].want == NULL)
			assert_null(got);
		else
			assert_string_equal(got != NULL ? got : "nothing", rows[i].want);
	}
	assert_int_equal(edit_distance(SPAN("abc"), SPAN("abc"), 3), 0);
	assert_int_equal(edit_distance(SPAN(""), SPAN("ab"), 3), 2);
	assert_int_equal(edit_distance(SPAN("abcd"), SPAN("acbd"), 3), 1);
	assert_int_equal(edit_distance(SPAN("kitten"), SPAN("sitting"), 5), 3);
	assert_int_equal(edit_distance(SPAN("kitten"), SPAN("sitting"), 2), 3);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order), cmocka_unit_test(test_rows),  cmocka_unit_test(test_twins), cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_bool),  cmocka_unit_test(test_int),   cmocka_unit_test(test_time),  cmocka_unit_test(test_units),
		cmocka_unit_test(test_store), cmocka_unit_test(test_suggest),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
