/* SPDX-License-Identifier: BSD-2-Clause */
/* What an administrator asks of the quarantine: words to request line and back; attacks X07 and Z01. */
#include "unit.h"

#include "base/clock.h"
#include "quarantine/ask.h"

#include <stdlib.h>
#include <time.h>

#define NOW (UINT64_C(1795485600) * USEC_PER_SEC)
#define WHOLE "need a whole address, or @example.com for all of one domain; there are no wildcards"
enum { WORDS_MAX = 12 };

static const struct {
	const char *argv[WORDS_MAX];
	const char *want; /* the line; or, after a '!', the reason */
} cases[] = {
	{ { "list" }, "quarantine list" },
	{ { "list", "--json", "--limit", "20", "--after=17954" }, "quarantine list json= limit=20 after=17954" },
	{ { "list", "--since", "1h", "--until", "@1795485600" }, "quarantine list since=1795482000000000 until=1795485600000000" },
	{ { "list", "--sender", "a=b+c@d.test", "--recipient", "d.test" }, "quarantine list sender=a+3Db+2Bc@d.test recipient=d.test" },
	{ { "list", "--sender", "<>" }, "quarantine list sender=<>" },
	{ { "list", "--subject", "two  words\xc3\xa4", "--state", "ALL" }, "quarantine list subject=two+20+20words+C3+A4 state=all" },
	{ { "list", "--attachment", "a b%_\xc3\xa4.pdf", "--state=all" }, "quarantine list attachment=a+20b%_+C3+A4.pdf state=all" },
	{ { "delete", "ALL", "--attachment", "x.exe" }, "quarantine delete attachment=x.exe ALL" },
	{ { "list", "--attachment", "a\x1b" }, "!--attachment: empty, too long, or not plain text" },
	{ { "show", "4SVLCh0000z1V", "--attachment", "abc" }, "!--attachment does not belong to quarantine show" },
	{ { "list", "--reason", "Virus", "--client", "192.0.2.1", "--text", "-rf /" }, "quarantine list reason=virus client=192.0.2.1 text=-rf+20/" },
	{ { "show", "4SVLCh0000z1V" }, "quarantine show id=4SVLCh0000z1V" },
	{ { "show", "--json", "4SVLCh0000z1V" }, "quarantine show json= id=4SVLCh0000z1V" },
	{ { "show", "4SVLCh0000z1V", "--json" }, "quarantine show json= id=4SVLCh0000z1V" },
	{ { "export", "4SVLCh0000z1V" }, "quarantine export id=4SVLCh0000z1V" },
	{ { "release", "4SVLCh0000z1V", "5SVLCh0000z1V", "--to", "x@y.test", "--as-attachment" },
	    "quarantine release to=x@y.test as-attachment= id=4SVLCh0000z1V id=5SVLCh0000z1V" },
	{ { "release", "ALL", "--sender", "x.test" }, "quarantine release sender=x.test ALL" },
	{ { "delete", "--until", "0s", "ALL" }, "quarantine delete until=1795485600000000 ALL" },
	{ { "expire" }, "quarantine expire" },
	{ { "allow", "4SVLCh0000z1V" }, "quarantine allow id=4SVLCh0000z1V" },
	{ { "allow", "4SVLCh0000z1V", "--sender" }, "quarantine allow sender= id=4SVLCh0000z1V" },
	{ { "allow", "4SVLCh0000z1V", "--sender-recipient" }, "quarantine allow sender-recipient= id=4SVLCh0000z1V" },
	{ { "allow", "list", "--json" }, "quarantine allow list json=" },
	{ { "allow", "remove", "a@b.test", "--to", "c@d.test" }, "quarantine allow remove to=c@d.test id=a@b.test" },
	{ { "stats" }, "quarantine stats" },
	{ { "check", "--repair" }, "quarantine check repair=" },
	{ { "list", "--recipient", "\"q q\"@b.test", "--sender", "<\"w\\\"w\"@b.test>" }, "quarantine list sender=w\"w@b.test recipient=q+20q@b.test" },
	{ { "release", "4SVLCh0000z1V", "--to", "\"a@b\"@c.test" }, "quarantine release to=a@b@c.test id=4SVLCh0000z1V" },
	{ { "allow", "add", "\"q q\"@b.test", "--to", "@[192.0.2.1]" }, "quarantine allow add to=@[192.0.2.1] id=q+20q@b.test" },
	{ { "delete", "4SVLCh0000z1V", "--to", "a@b.test" }, "quarantine delete to=a@b.test id=4SVLCh0000z1V" },
	{ { "allow", "add", "@b.test" }, "quarantine allow add id=@b.test" },
	{ { "show", "--", "4SVLCh0000z1V" }, "quarantine show id=4SVLCh0000z1V" },

	{ { NULL }, "!which request?" },
	{ { "lists" }, "!unknown request" },
	{ { "" }, "!unknown request" },
	{ { "show" }, "!quarantine show takes one id" },
	{ { "show", "4SVLCh0000z1V", "5SVLCh0000z1V" }, "!quarantine show takes one id" },
	{ { "show", "4SVLCh0000z1VA" }, "!invalid id" },
	{ { "show", "ABCDEF1234" }, "!invalid id" },
	{ { "list", "--sudo", "anna" }, "!unknown option --sudo" },
	{ { "show", "../../etc/passwd" }, "!invalid id" },
	{ { "show", "..%2f..%2fetc%2fpasswd" }, "!invalid id" },
	{ { "export", "/etc/passwd" }, "!invalid id" },
	{ { "export", "" }, "!invalid id" },
	{ { "export", "a" }, "!invalid id" },
	{ { "export", "4SVLCh0000z1V.eml" }, "!invalid id" },
	{ { "export", "4SVLCh0000z1V\n" }, "!invalid id" },
	{ { "export", "4SVLCh0000z1V\x1b[2J" }, "!invalid id" },
	{ { "export", "ALL" }, "!invalid id" },
	{ { "delete", "-h" }, "!unknown option -h" },
	{ { "delete", "--", "-h" }, "!invalid id" },
	{ { "delete", "--help" }, "!unknown option --help" },
	{ { "delete", "ALL" }, "!ALL needs a filter that says which; everything there is: --until 0s" },
	{ { "release", "ALL" }, "!ALL needs a filter that says which; everything there is: --until 0s" },
	{ { "delete", "all", "--until", "0s" }, "!filters go with ALL, not with ids" },
	{ { "delete", "ALL", "4SVLCh0000z1V", "--until", "0s" }, "!ALL stands alone, and for release and delete only" },
	{ { "delete", "4SVLCh0000z1V", "--sender", "x" }, "!filters go with ALL, not with ids" },
	{ { "delete" }, "!quarantine delete takes ids, or ALL and a filter" },
	{ { "list", "4SVLCh0000z1V" }, "!quarantine list takes no id" },
	{ { "list", "--sender" }, "!--sender wants a value" },
	{ { "list", "--sender", "" }, "!--sender: empty, too long, or not plain text" },
	{ { "list", "--sender", "a\rb" }, "!--sender: empty, too long, or not plain text" },
	{ { "list", "--subject", "\xff" }, "!--subject: empty, too long, or not plain text" },
	{ { "list", "--sender", "a", "--sender", "b" }, "!--sender is given twice" },
	{ { "list", "--json=yes" }, "!--json has no value" },
	{ { "list", "--after", "4x" }, "!--after: not a number" },
	{ { "list", "--limit", "-1" }, "!--limit: not a number" },
	{ { "list", "--limit", "99999999999" }, "!--limit: not a number" },
	{ { "list", "--reason", "spam" }, "!--reason is policy, content, milter, virus, attachment or unscanned" },
	{ { "list", "--state", "gone" }, "!--state is held, releasing, released, delivered, returned, deleted or all" },
	{ { "list", "--since", "soon" }, "!--since: a time is 2d, 90m, today, yesterday, 2026-11-20, 2026-11-20T10:00 or @SECONDS" },
	{ { "list", "--since", "1h", "--until", "2h" }, "!--since is not before --until" },
	{ { "list", "--repair" }, "!--repair does not belong to quarantine list" },
	{ { "release", "4SVLCh0000z1V", "--to", "a b@@" }, "!--to: no address" },
	{ { "release", "4SVLCh0000z1V", "--to", "anna" }, "!--to: no address" },
	{ { "release", "4SVLCh0000z1V", "--to", "@b.test" }, "!--to: no address" },
	{ { "release", "4SVLCh0000z1V", "--to", "<>" }, "!--to: no address" },
	{ { "list", "--sender", "@@b.test" }, "!--sender: no address" },
	{ { "list", "--recipient", "<>" }, "!--recipient: no address" },
	{ { "allow", "add", "@@b.test" }, "!the sender: " WHOLE },
	{ { "allow", "add", "<>" }, "!the sender: " WHOLE },
	{ { "allow", "add", "*" }, "!the sender: " WHOLE },
	{ { "allow", "add", "*@b.test" }, "!the sender: " WHOLE },
	{ { "allow", "add", "\"*\"@b.test" }, "!the sender: " WHOLE },
	{ { "allow", "add", "a*@b.test" }, "!the sender: " WHOLE },
	{ { "allow", "add", "@*" }, "!the sender: " WHOLE },
	{ { "allow", "add", "@*.b.test" }, "!the sender: " WHOLE },
	{ { "allow", "add", "a@*.b.test" }, "!the sender: " WHOLE },
	{ { "allow", "add", "@.b.test" }, "!the sender: " WHOLE },
	{ { "allow", "add", "b.test" }, "!the sender: " WHOLE },
	{ { "allow", "add", "a@b.test", "--to", "b.test" }, "!--to: " WHOLE },
	{ { "allow", "add", "a@b.test", "--to", "*" }, "!--to: " WHOLE },
	{ { "allow", "add", "a@b.test", "--to", "*@b.test" }, "!--to: " WHOLE },
	{ { "allow", "remove", "*@b.test" }, "quarantine allow remove id=*@b.test" }, /* one that was added by mistake */
	{ { "allow", "remove", "b.test" }, "!the sender: no address" },
	{ { "list", "--to", "x" }, "!--to does not belong to quarantine list" },
	{ { "stats", "--to", "x" }, "!--to does not belong to quarantine stats" },
	{ { "allow", "4SVLCh0000z1V", "--sender", "--sender-recipient" }, "!--sender and --sender-recipient exclude each other" },
	{ { "allow", "remove" }, "!quarantine allow remove takes one address" },
	{ { "allow", "remove", "a\x1b@b" }, "!invalid address" },
	{ { "allow", "../x" }, "!invalid id" },
};

static void
check_case(const char *const *words, const char *want)
{
	char *argv[WORDS_MAX];
	int argc = 0;
	for (; argc < WORDS_MAX && words[argc] != NULL; argc++)
		argv[argc] = strdup(words[argc]);
	struct arena arena;
	struct ask a, b;
	struct err e = { .why = "" };
	struct buf line, again;
	arena_init(&arena, 1 << 20);
	buf_init(&line, ASK_LINE_MAX);
	buf_init(&again, ASK_LINE_MAX);
	enum rc rc = ask_args(argc, argv, NOW, &arena, &a, &e);
	if (want[0] == '!') {
		if (rc != RC_PERM || strcmp(e.why, want + 1) != 0)
			fail_msg("%s: rc %d, \"%s\"", want, (int)rc, e.why);
	} else {
		if (rc != RC_OK)
			fail_msg("%s: \"%s\"", want, e.why);
		ask_put(&line, &a);
		assert_span(buf_span(&line), want);
		struct span rest = buf_span(&line), word;
		assert_true(span_word(&rest, " ", &word));
		assert_int_equal(ask_get(rest, &arena, &b, &e), RC_OK);
		ask_put(&again, &b);
		assert_span(buf_span(&again), want);
		assert_int_equal(a.kind, b.kind);
		assert_int_equal(a.given, b.given);
		assert_int_equal(a.since, b.since);
		assert_int_equal(a.until, b.until);
		assert_int_equal(a.state, b.state);
		assert_int_equal(a.reason, b.reason);
		assert_true(span_eq(a.subject, b.subject) && span_eq(a.sender, b.sender));
	}
	for (int i = 0; i < argc; i++)
		free(argv[i]);
	buf_fini(&line);
	buf_fini(&again);
	arena_fini(&arena);
}

static void
test_words(void **state)
{
	(void)state;
	for (size_t i = 0; i < NELEMS(cases); i++)
		check_case(cases[i].argv, cases[i].want);
}

static void
test_long_words(void **state)
{
	(void)state;
	char *id = malloc(10241);
	assert_non_null(id);
	memset(id, 'A', 10240);
	id[10240] = '\0';
	const char *const words[WORDS_MAX] = { "show", id };
	check_case(words, "!invalid id");
	const char *const text[WORDS_MAX] = { "list", "--text", id };
	check_case(text, "!--text: empty, too long, or not plain text");
	free(id);
}

/* A request line that no command wrote. */
static void
test_lines(void **state)
{
	(void)state;
	static const struct {
		struct span line;
		enum rc rc;
	} lines[] = {
		{ SPAN("list"), RC_OK },
		{ SPAN("list  json= "), RC_OK },
		{ SPAN("show id=4SVLCh0000z1V"), RC_OK },
		{ SPAN(""), RC_PERM },
		{ SPAN("lists"), RC_PERM },
		{ SPAN("allow"), RC_PERM },
		{ SPAN("show 4SVLCh0000z1V"), RC_PERM },
		{ SPAN("show id=../../etc/passwd"), RC_PERM },
		{ SPAN("show id=4SVLCh0000z1V+00"), RC_PERM },
		{ SPAN("show id=4SVLCh\0000z1V"), RC_PERM },
		{ SPAN("show id=4SVLCh0000z1V+2Feml"), RC_PERM },
		{ SPAN("show id="), RC_PERM },
		{ SPAN("show id"), RC_PERM },
		{ SPAN("show =4SVLCh0000z1V"), RC_PERM },
		{ SPAN("list sender=a+0Ab"), RC_PERM },
		{ SPAN("list sender=a+4"), RC_PERM },
		{ SPAN("list sender=+FF"), RC_PERM },
		{ SPAN("list sender="), RC_PERM },
		{ SPAN("list json=1"), RC_PERM },
		{ SPAN("list json= json="), RC_PERM },
		{ SPAN("list since=99999999999999999999"), RC_PERM },
		{ SPAN("list since=2 until=1"), RC_PERM },
		{ SPAN("delete ALL"), RC_PERM },
		{ SPAN("delete ALL ALL since=1"), RC_PERM },
		{ SPAN("delete ALL since=1"), RC_OK },
		{ SPAN("delete ALL state=all"), RC_OK },
	};
	for (size_t i = 0; i < NELEMS(lines); i++) {
		struct arena arena;
		struct ask a;
		struct err e = { .why = "" };
		arena_init(&arena, 1 << 20);
		enum rc rc = ask_get(lines[i].line, &arena, &a, &e);
		if (rc != lines[i].rc)
			fail_msg("%.*s: rc %d, %s", (int)lines[i].line.n, (const char *)lines[i].line.p, (int)rc, e.why);
		arena_fini(&arena);
	}
}

static void
test_rows(void **state)
{
	(void)state;
	for (unsigned k = ASK_KIND_NONE + 1; k < ASK_KINDS; k++) {
		assert_true(strlen(ask_words((enum ask_kind)k)) > 0 && strlen(ask_doc((enum ask_kind)k)) > 10);
		assert_non_null(ask_synopsis((enum ask_kind)k));
	}
}

int
main(void)
{
	setenv("TZ", "UTC", 1);
	tzset();
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_words), cmocka_unit_test(test_long_words), cmocka_unit_test(test_lines),
		cmocka_unit_test(test_rows) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
