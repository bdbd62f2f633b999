/* SPDX-License-Identifier: BSD-2-Clause */
#include "unit.h"

#include "filters/attachment_conf.h"
#include "filters/attachment_kinds.h"
#include "filters/attachment_rules.h"

#include "confdir.h"

/* ---- grammar ---- */

static void
test_grammar(void **state)
{
	static const struct {
		const char *line;
		enum rc rc;
		const char *why; /* a part of the reason */
	} cases[] = {
		{ "allow", RC_OK, "" },
		{ "REJECT name=*.exe", RC_OK, "" },
		{ "reject name=*.exe,\"a b.txt\",/^x, y$/i  text=\"No \\\"exe\\\"\"", RC_OK, "" },
		{ "strip real=executable,macro where=archive,part", RC_OK, "" },
		{ "tag size>10M size<1G !encrypted deceptive", RC_OK, "" },
		{ "tag type!=text/*,image/* id=mine", RC_OK, "" },
		{ "quarantine direction=inbound", RC_OK, "" },
		{ "quarantine extension=exe,.scr,js", RC_OK, "" },
		{ "discard name=*.exe", RC_PERM, "no action" },
		{ "", RC_PERM, "no action" },
		{ "reject colour=red", RC_PERM, "\"colour=red\" is no condition" },
		{ "reject name", RC_PERM, "needs" },
		{ "reject name=", RC_PERM, "empty" },
		{ "reject name=a,,b", RC_PERM, "empty" },
		{ "reject name=/a", RC_PERM, "does not end" },
		{ "reject name=/(/", RC_PERM, "" },
		{ "reject name=\"a", RC_PERM, "does not end" },
		{ "reject name=\"a\"b", RC_PERM, "unexpected" },
		{ "reject real=program", RC_PERM, "no such kind" },
		{ "reject where=here", RC_PERM, "part, archive or text" },
		{ "reject direction=up", RC_PERM, "inbound, outbound" },
		{ "reject size=10", RC_PERM, "\">\" or \"<\"" },
		{ "reject size>10X", RC_PERM, "no size" },
		{ "reject size>99999999999999999999", RC_PERM, "no size" },
		{ "reject encrypted=yes", RC_PERM, "stands alone" },
		{ "reject extension=$nothing_of_that_name", RC_PERM, "no parameter" },
		{ "reject sender=example.com", RC_PERM, "no configuration" },
	};
	(void)state;
	for (size_t i = 0; i < NELEMS(cases); i++) {
		struct attachment_rules *r = attachment_rules_new();
		struct err e = { .why = "" };
		enum rc rc = attachment_rule_parse(r, NULL, span_str(cases[i].line), "t:1", &e);
		if (rc != cases[i].rc || (rc != RC_OK && strstr(e.why, cases[i].why) == NULL))
			fail_msg("%s: rc %d \"%s\"", cases[i].line, (int)rc, e.why);
		assert_int_equal(attachment_rules_count(r), rc == RC_OK ? 1 : 0);
		attachment_rules_free(&r);
	}
}

static void
test_glob(void **state)
{
	static const struct {
		const char *pattern, *name;
		bool fits;
	} cases[] = {
		{ "*.exe", "a.exe", true }, { "*.exe", "A.EXE", true }, { "*.exe", "a.exe.txt", false }, { "a?c", "abc", true }, { "a?c", "ac", false },
		{ "[a-c]x", "Bx", true }, { "[!a-c]x", "bx", false }, { "[!a-c]x", "dx", true }, { "[]]x", "]x", true }, { "[x", "[x", true },
		{ "*a*b*c*", "xxaxxbxxcxx", true }, { "*a*b*c*", "xxaxxcxxb", false }, { "", "", true }, { "*", "", true }, { "", "a", false },
	};
	(void)state;
	for (size_t i = 0; i < NELEMS(cases); i++)
		if (attachment_glob(span_str(cases[i].pattern), span_str(cases[i].name)) != cases[i].fits)
			fail_msg("%s %s", cases[i].pattern, cases[i].name);
	unsigned char stars[400], name[4000]; /* no explosion */
	for (size_t i = 0; i < sizeof stars; i++)
		stars[i] = i % 2 == 0 ? '*' : 'a';
	memset(name, 'a', sizeof name);
	name[sizeof name - 1] = 'b';
	assert_false(attachment_glob(span_of(stars, sizeof stars), span_of(name, sizeof name)));
}

/* ---- answers ---- */

static struct span one_name[1], one_type[1];

static struct attachment_item
item(const char *name, const char *type, uint64_t kinds, uint64_t size)
{
	one_name[0] = span_str(name);
	one_type[0] = span_str(type);
	return (struct attachment_item){ .where = ATTACHMENT_PART, .names = one_name, .nnames = 1, .types = one_type, .ntypes = 1, .kinds = kinds, .size = size };
}

static void
test_first_match(void **state)
{
	static const char *const rules[] = { "allow name=good.exe", "reject extension=exe text=No", "tag size>1k", "quarantine real=pdf type=image/*",
		"strip !encrypted name=e*" };
	struct attachment_rules *r = attachment_rules_new();
	struct attachment_ask *ask;
	struct attachment_answer a;
	struct err e;
	(void)state;
	for (size_t i = 0; i < NELEMS(rules); i++)
		assert_int_equal(attachment_rule_parse(r, NULL, span_str(rules[i]), "t", &e), RC_OK);
	const struct attachment_case in = { .is_outbound = false };
	assert_int_equal(attachment_ask_new(r, &in, &ask, &e), RC_OK);
	const struct {
		struct attachment_item item;
		const char *name;
		enum attachment_action action;
	} cases[] = {
		{ { 0 }, "good.exe", ATTACHMENT_ALLOW },
		{ { .size = 5000 }, "x.EXE", ATTACHMENT_REJECT },
		{ { .size = 5000 }, "x.txt", ATTACHMENT_TAG },
		{ { .kinds = KIND_IS(pdf) }, "x.png", ATTACHMENT_QUARANTINE },
		{ { 0 }, "e.txt", ATTACHMENT_STRIP },
		{ { .is_encrypted = true }, "e.txt", ATTACHMENT_ALLOW },
		{ { 0 }, "other", ATTACHMENT_ALLOW },
	};
	for (size_t i = 0; i < NELEMS(cases); i++) {
		struct attachment_item it = item(cases[i].name, "image/png", cases[i].item.kinds, cases[i].item.size);
		it.is_encrypted = cases[i].item.is_encrypted;
		assert_int_equal(attachment_ask(ask, &it, &a, &e), RC_OK);
		if (a.action != cases[i].action)
			fail_msg("%s: %s", cases[i].name, attachment_action_name(a.action));
		if (a.action == ATTACHMENT_REJECT) {
			assert_string_equal(a.text, "No");
			assert_span(a.name, "x.EXE");
		}
	}
	attachment_ask_free(&ask);
	attachment_rules_free(&r);
}

static void
test_recipients(void **state)
{
	struct attachment_rules *rules;
	struct attachment_ask *ask;
	struct attachment_answer a;
	struct err e;
	struct span rcpts[] = { SPAN("a@mild.example"), SPAN("b@strict.example"), SPAN("c@other.example") };
	(void)state;
	confdir_make();
	confdir_write("rules", "tag recipient=mild.example\nallow direction=outbound\nreject recipient=strict.example sender=.net,<>\n");
	struct conf *c = confdir_load("attachment_rules = rules\n");
	assert_int_equal(attachment_rules_open(c, &rules, &e), RC_OK);
	const struct {
		struct attachment_case in;
		enum attachment_action action;
		const char *id;
	} cases[] = {
		{ { .sender = SPAN("x@y.net"), .rcpts = rcpts, .nrcpts = 1 }, ATTACHMENT_TAG, "rules:1" },
		{ { .sender = SPAN("x@y.net"), .rcpts = rcpts, .nrcpts = 3 }, ATTACHMENT_REJECT, "rules:3" },
		{ { .sender = SPAN("x@y.org"), .rcpts = rcpts, .nrcpts = 3 }, ATTACHMENT_TAG, "rules:1" },
		{ { .sender = SPAN(""), .rcpts = rcpts, .nrcpts = 3 }, ATTACHMENT_REJECT, "rules:3" },
		{ { .sender = SPAN("x@y.net"), .rcpts = rcpts + 1, .nrcpts = 2, .is_outbound = true }, ATTACHMENT_ALLOW, "rules:2" },
		{ { .sender = SPAN("x@y.net"), .rcpts = rcpts + 2, .nrcpts = 1 }, ATTACHMENT_ALLOW, NULL },
	};
	for (size_t i = 0; i < NELEMS(cases); i++) {
		struct attachment_item it = item("a.txt", "text/plain", 0, 1);
		assert_int_equal(attachment_ask_new(rules, &cases[i].in, &ask, &e), RC_OK);
		assert_int_equal(attachment_ask(ask, &it, &a, &e), RC_OK);
		if (a.action != cases[i].action || (a.rule != NULL) != (cases[i].id != NULL))
			fail_msg("case %zu: %s", i, attachment_action_name(a.action));
		if (a.rule != NULL)
			assert_string_equal(a.rule->id, cases[i].id);
		attachment_ask_free(&ask);
	}
	attachment_rules_free(&rules);
	conf_unref(&c);
	confdir_remove();
}

static void
test_table_and_image(void **state)
{
	struct attachment_conf ac;
	struct attachment_ask *ask;
	struct attachment_answer a;
	struct conf *role;
	struct err e;
	int fd;
	(void)state;
	confdir_make();
	confdir_write("ext", "exe a program\nscr  screen saver\n");
	confdir_write("rules", "quarantine extension=$attachment_extensions\n");
	confdir_write("note", "Gone: ${name}\n");
	struct conf *c = confdir_load("attachment_rules = rules\nattachment_extensions = texthash:$config_directory/ext\nattachment_note_templates = note\n");
	attachment_conf_check(c);
	assert_int_equal(conf_problem_count(c, CONF_ERROR), 0);
	assert_int_equal(conf_image_write(c, CONF_FOR_ALL, &fd, &e), RC_OK);
	assert_int_equal(conf_image_read(fd, &role, &e), RC_OK);
	close(fd);
	assert_int_equal(attachment_conf_open(role, &ac, &e), RC_OK);
	assert_span(ac.notes[0], "Gone: ${name}\n");
	const struct attachment_case in = { .is_outbound = false };
	assert_int_equal(attachment_ask_new(ac.rules, &in, &ask, &e), RC_OK);
	struct attachment_item it = item("x.SCR", "a/b", 0, 1);
	assert_int_equal(attachment_ask(ask, &it, &a, &e), RC_OK);
	assert_int_equal(a.action, ATTACHMENT_QUARANTINE);
	assert_string_equal(a.text, "screen saver");
	it = item("x.txt", "a/b", 0, 1);
	assert_int_equal(attachment_ask(ask, &it, &a, &e), RC_OK);
	assert_int_equal(a.action, ATTACHMENT_ALLOW);
	attachment_ask_free(&ask);
	attachment_conf_close(&ac);
	conf_unref(&role);
	conf_unref(&c);
	confdir_remove();
}

static void
test_check(void **state)
{
	static const struct {
		const char *main_cf, *rules, *note, *problem;
	} cases[] = {
		{ "attachment_rules = rules\n", "allow\n\nfoo bar\n", "", "rules:3: \"foo\" is no action" },
		{ "attachment_rules = rules\n", "reject name=*.exe\n  real=nothing\n", "", "rules:1: real=nothing" },
		{ "attachment_rules = nowhere\n", "", "", "nowhere" },
		{ "attachment_rules = rules\nattachment_note_templates = note\n", "allow\n", "a\n${nam}\n", "note:2: there is no variable ${nam}" },
		{ "attachment_rules = rules\nattachment_unreadable_action = strip\n", "allow\n", "", "attachment_unreadable_action = strip" },
		{ "attachment_rules = rules\n", "reject extension=texthash:/nowhere/at/all\n", "", "/nowhere/at/all" },
		{ "attachment_rules = ,\n", "", "", "attachment_rules = ,: names no file" },
		{ "attachment_rules = {\n", "", "", "attachment_rules: braces that do not close" },
		{ "attachment_rules = rules\nattachment_note_templates = {\n", "allow\n", "", "attachment_note_templates: braces that do not close" },
	};
	(void)state;
	for (size_t i = 0; i < NELEMS(cases); i++) {
		confdir_make();
		confdir_write("rules", cases[i].rules);
		confdir_write("note", cases[i].note);
		struct conf *c = confdir_load(cases[i].main_cf);
		attachment_conf_check(c);
		bool said = false;
		for (size_t k = 0; k < conf_problem_count(c, CONF_ERROR); k++)
			said |= strstr(conf_problem_at(c, k, CONF_ERROR)->text, cases[i].problem) != NULL;
		if (!said)
			fail_msg("nobody says %s", cases[i].problem);
		conf_unref(&c);
		confdir_remove();
	}
}

/* ---- kinds ---- */

#define FILE_IS(octets, kind) { SPAN(octets), KIND_IS(kind) }

static void
test_kinds(void **state)
{
	static const struct {
		struct span head;
		uint64_t kinds;
	} cases[] = {
		FILE_IS("MZ\x90\0", exe), FILE_IS("\x7f" "ELF", elf), FILE_IS("\xca\xfe\xba\xbe\0\0\0\x34", class), FILE_IS("\xca\xfe\xba\xbe\0\0\0\2", macho),
		FILE_IS("#!/bin/sh\n", script), FILE_IS("L\0\0\0\x01\x14\x02\0", lnk), FILE_IS("[InternetShortcut]\r\n", lnk), FILE_IS("PK\3\4", zip),
		FILE_IS("Rar!\x1a\7\1\0", rar), FILE_IS("7z\xbc\xaf\x27\x1c", sevenzip), FILE_IS("junk %PDF-1.4", pdf), FILE_IS("\n <HTML>", html),
		FILE_IS("\xef\xbb\xbf<?xml", xml), FILE_IS("<\0h\0t\0m\0l\0>\0", html), FILE_IS("\x78\x9f\x3e\x22", tnef), FILE_IS("plain text", class),
		FILE_IS("ITSF", chm), FILE_IS("\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", ole), FILE_IS("BMW is a car", bmp), FILE_IS("", empty),
	};
	(void)state;
	for (size_t i = 0; i < NELEMS(cases); i++) {
		bool none = span_eq_str(cases[i].head, "plain text") || span_eq_str(cases[i].head, "BMW is a car");
		assert_int_equal(kinds_of(cases[i].head, cases[i].head.n), none ? 0 : cases[i].kinds);
	}
	assert_true((kinds_named(SPAN("executable")) & KIND_IS(exe)) != 0);
	assert_int_equal(kinds_named(SPAN("7z")), KIND_IS(sevenzip));
	assert_int_equal(kinds_named(SPAN("x")), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_grammar),
		cmocka_unit_test(test_glob),
		cmocka_unit_test(test_first_match),
		cmocka_unit_test(test_recipients),
		cmocka_unit_test(test_table_and_image),
		cmocka_unit_test(test_check),
		cmocka_unit_test(test_kinds),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
