/* SPDX-License-Identifier: BSD-2-Clause */
#include "quarantine/ask.h"

#include "msg/addr.h"
#include "msg/xtext.h"
#include "quarantine/when.h"

enum ids { NONE, ONE, MANY, ADDRESS };
enum { SHOWN_MAX = 40 };                 /* octets of a word in a reason */

#define O(name) (1u << OPT_##name)
enum {
	O_FILTERS = O(SINCE) | O(UNTIL) | O(SENDER) | O(RECIPIENT) | O(SUBJECT) | O(REASON) | O(CLIENT) | O(TEXT) | O(ATTACHMENT) | O(STATE),
};

static const struct ask_row {
	const char *words;
	unsigned options;
	enum ids ids;
	const char *synopsis, *doc;
} rows[ASK_KINDS] = {
#define ASK(name, words, options, ids, synopsis, doc) [ASK_##name] = { words, options, ids, synopsis, doc },
#include "quarantine/asks.def"
#undef ASK
};

/* Words of the command line; on the line of a request without the hyphens. "allow --sender" has no value: by_kind(). */
static const struct {
	const char *word;
	bool has_value;
} options[ASK_OPTIONS] = {
	[OPT_SINCE] = { "since", true }, [OPT_UNTIL] = { "until", true }, [OPT_SENDER] = { "sender", true }, [OPT_RECIPIENT] = { "recipient", true },
	[OPT_SUBJECT] = { "subject", true }, [OPT_REASON] = { "reason", true }, [OPT_CLIENT] = { "client", true }, [OPT_TEXT] = { "text", true },
	[OPT_ATTACHMENT] = { "attachment", true }, [OPT_STATE] = { "state", true }, [OPT_JSON] = { "json", false }, [OPT_LIMIT] = { "limit", true }, [OPT_AFTER] = { "after", true },
	[OPT_TO] = { "to", true }, [OPT_AS_ATTACHMENT] = { "as-attachment", false }, [OPT_SENDER_ONLY] = { "sender", false },
	[OPT_PAIR] = { "sender-recipient", false }, [OPT_REPAIR] = { "repair", false },
	[OPT_SUDO] = { "sudo", true },
};

const char *
ask_words(enum ask_kind k)
{
	return rows[k].words;
}

const char *
ask_synopsis(enum ask_kind k)
{
	return rows[k].synopsis;
}

const char *
ask_doc(enum ask_kind k)
{
	return rows[k].doc;
}

bool
ask_id_valid(struct span id)
{
	struct spool_id parsed;
	if (id.n < ASK_ID_MIN || id.n >= SPOOL_ID_TEXT)
		return false;
	for (size_t i = 0; i < id.n; i++) {
		unsigned char c = id.p[i];
		if (!((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z')))
			return false;
	}
	return spool_id_parse(id, &parsed) == RC_OK;
}

void
ask_filter(const struct ask *a, uint32_t limit, struct quar_filter *out)
{
	*out = (struct quar_filter){ .since = a->since, .until = a->until, .sender = a->sender, .recipient = a->recipient, .client = a->client,
		.subject = a->subject, .text = a->text, .attachment = a->attachment, .class = a->reason, .state = a->state, .limit = limit, .after = a->after };
}

/* ---- one value ---- */

static bool
text_is_good(struct span s)
{
	return s.n > 0 && s.n <= ASK_VALUE_MAX && span_is_printable(s) && span_is_utf8(s);
}

static struct span *
text_of(struct ask *a, enum ask_option o)
{
	struct span *const at[ASK_OPTIONS] = { [OPT_SENDER] = &a->sender, [OPT_RECIPIENT] = &a->recipient, [OPT_SUBJECT] = &a->subject,
		[OPT_CLIENT] = &a->client, [OPT_TEXT] = &a->text, [OPT_ATTACHMENT] = &a->attachment, [OPT_TO] = &a->to, [OPT_SUDO] = &a->sudo };
	return at[o];
}

static uint64_t *
number_of(struct ask *a, enum ask_option o)
{
	uint64_t *const at[ASK_OPTIONS] = { [OPT_SINCE] = &a->since, [OPT_UNTIL] = &a->until, [OPT_LIMIT] = &a->limit, [OPT_AFTER] = &a->after };
	return at[o];
}

static enum rc
set_state(struct ask *a, struct span value, struct err *e)
{
	a->state = quar_state_of(value);
	if (a->state != QUAR_NONE || span_caseeq_str(value, "all"))
		return RC_OK;
	return err_set(e, RC_PERM, "--state is held, releasing, released, delivered, returned, deleted or all");
}

/* Times are already numbers here. */
static enum rc
set_value(struct ask *a, enum ask_option o, struct span value, struct err *e)
{
	const char *word = options[o].word;
	struct span *text = text_of(a, o);
	if (ask_has(a, o))
		return err_set(e, RC_PERM, "--%s is given twice", word);
	a->given |= 1u << o;
	if (!options[o].has_value)
		return value.n == 0 ? RC_OK : err_set(e, RC_PERM, "--%s has no value", word);
	if (!text_is_good(value))
		return err_set(e, RC_PERM, "--%s: empty, too long, or not plain text", word);
	if (text != NULL) {
		*text = value;
		return RC_OK;
	}
	if (o == OPT_STATE)
		return set_state(a, value, e);
	if (o == OPT_REASON) {
		a->reason = held_class_of(value);
		return a->reason != HELD_NONE ? RC_OK : err_set(e, RC_PERM, "--reason is policy, content, milter, virus, attachment or unscanned");
	}
	uint64_t *number = number_of(a, o);
	if (!span_u64(value, o == OPT_LIMIT ? UINT32_MAX : INT64_MAX, number))
		return err_set(e, RC_PERM, "--%s: not a number", word);
	return RC_OK;
}

/* ---- the whole ---- */

static enum rc
check(const struct ask *a, struct err *e)
{
	const struct ask_row *row = &rows[a->kind];
	unsigned wrong = a->given & ~(row->options | O(SUDO));
	for (unsigned o = 0; o < ASK_OPTIONS; o++)
		if ((wrong & 1u << o) != 0)
			return err_set(e, RC_PERM, "--%s does not belong to quarantine %s", options[o].word, row->words);
	if (ask_has(a, OPT_SINCE) && ask_has(a, OPT_UNTIL) && a->since >= a->until)
		return err_set(e, RC_PERM, "--since is not before --until");
	if (ask_has(a, OPT_SENDER_ONLY) && ask_has(a, OPT_PAIR))
		return err_set(e, RC_PERM, "--sender and --sender-recipient exclude each other");
	if (a->all && (row->ids != MANY || a->nids > 0))
		return err_set(e, RC_PERM, "ALL stands alone, and for release and delete only");
	if (a->all && (a->given & O_FILTERS) == 0)
		return err_set(e, RC_PERM, "ALL needs a filter that says which; everything there is: --until 0s");
	if (!a->all && row->ids == MANY && (a->given & O_FILTERS) != 0)
		return err_set(e, RC_PERM, "filters go with ALL, not with ids");
	if (row->ids == NONE && a->nids > 0)
		return err_set(e, RC_PERM, "quarantine %s takes no id", row->words);
	if ((row->ids == ONE || row->ids == ADDRESS) && a->nids != 1)
		return err_set(e, RC_PERM, "quarantine %s takes one %s", row->words, row->ids == ONE ? "id" : "address");
	if (row->ids == MANY && a->nids == 0 && !a->all)
		return err_set(e, RC_PERM, "quarantine %s takes ids, or ALL and a filter", row->words);
	for (uint32_t i = 0; i < a->nids; i++)
		if (row->ids == ADDRESS ? !text_is_good(a->ids[i]) : !ask_id_valid(a->ids[i]))
			return err_set(e, RC_PERM, row->ids == ADDRESS ? "invalid address" : "invalid id");
	return RC_OK;
}

/* The row whose words stand at the front; *rest is what follows. */
static enum ask_kind
kind_of(struct span *rest)
{
	for (unsigned k = ASK_KIND_NONE + 1; k < ASK_KINDS; k++) {
		struct span line = *rest, want = span_str(rows[k].words), word, wanted;
		bool same = true;
		while (same && span_word(&want, " ", &wanted))
			same = span_word(&line, " ", &word) && span_eq(word, wanted);
		if (!same)
			continue;
		*rest = line;
		return (enum ask_kind)k;
	}
	return ASK_KIND_NONE;
}

/* Two options have the name "sender": which one is meant, the verb says. */
static enum ask_option
option_of(enum ask_kind k, struct span word)
{
	for (unsigned o = 0; o < ASK_OPTIONS; o++)
		if (span_eq_str(word, options[o].word) && (o != OPT_SENDER || (rows[k].options & O(SENDER_ONLY)) == 0))
			return (enum ask_option)o;
	return ASK_OPTIONS;
}

static enum rc
add_id(struct ask *a, uint32_t room, struct span id, struct err *e)
{
	if (span_eq_str(id, "ALL") && rows[a->kind].ids == MANY && !a->all) {
		a->all = true;
		return RC_OK;
	}
	if (a->nids == room)
		return err_set(e, RC_PERM, "too many ids");
	a->ids[a->nids++] = id;
	return RC_OK;
}

static enum rc
begin(struct ask *out, enum ask_kind k, size_t words, struct arena *arena, uint32_t *room, struct err *e)
{
	*out = (struct ask){ .kind = k, .state = QUAR_HELD };
	*room = words < ASK_IDS_MAX ? (uint32_t)words : ASK_IDS_MAX;
	out->ids = arena_zalloc(arena, (*room + 1) * sizeof *out->ids);
	return out->ids != NULL ? RC_OK : err_set(e, RC_PERM, "too long");
}

/* The words of a row at the front of argv; how many, or 0. */
static int
words_in(enum ask_kind k, int argc, char **argv)
{
	struct span want = span_str(rows[k].words), wanted;
	int n = 0;
	while (span_word(&want, " ", &wanted)) {
		if (n == argc || !span_eq_str(wanted, argv[n]))
			return 0;
		n++;
	}
	return n;
}

enum { AT_DOMAIN = 1, BARE_DOMAIN = 2, NOBODY = 4,  /* what may stand there besides an address: @example.com, example.com, <> */
	NEW_ROW = 8 };               /* it becomes a row of the allow table, where a '*' is a letter: nobody who writes one means that */

static enum rc
no_address(unsigned also, const char *what, struct err *e)
{
	return err_set(e, RC_PERM, also & NEW_ROW ? "%s: need a whole address, or @example.com for all of one domain; there are no wildcards" : "%s: no address",
	    what);
}


/* An address as lists show it, in quotes where it needs them, becomes internal form. */
static enum rc
set_address(struct arena *arena, struct span *value, unsigned also, const char *what, struct err *e)
{
	struct addr addr;
	struct err why;
	if ((also & NOBODY) && span_eq_str(*value, "<>"))
		return RC_OK;
	if ((also & NEW_ROW) && span_chr(*value, '*') != SIZE_MAX)
		return no_address(also, what, e);
	bool is_domain = ((also & AT_DOMAIN) && span_starts(*value, SPAN("@"))) || ((also & BARE_DOMAIN) && span_chr(*value, '@') == SIZE_MAX);
	struct span domain = span_starts(*value, SPAN("@")) ? span_from(*value, 1) : *value;
	if (is_domain)
		return addr_is_hostname(domain, true) || addr_is_literal(domain) ? RC_OK : no_address(also, what, e);
	if (addr_parse(*value, ADDR_UTF8, arena, &addr, &why) != RC_OK || addr.local.n == 0 || addr.domain.n == 0)
		return no_address(also, what, e);
	*value = addr.text;
	return RC_OK;
}

static enum rc
set_addresses(struct arena *arena, struct ask *a, struct err *e)
{
	bool is_row = rows[a->kind].ids == ADDRESS; /* of the allow table */
	unsigned row = AT_DOMAIN | (a->kind == ASK_ALLOW_ADD ? (unsigned)NEW_ROW : 0);
	enum rc rc = RC_OK;
	if (ask_has(a, OPT_SENDER))
		rc = set_address(arena, &a->sender, AT_DOMAIN | BARE_DOMAIN | NOBODY, "--sender", e);
	if (rc == RC_OK && ask_has(a, OPT_RECIPIENT))
		rc = set_address(arena, &a->recipient, AT_DOMAIN | BARE_DOMAIN, "--recipient", e);
	if (rc == RC_OK && ask_has(a, OPT_TO))
		rc = set_address(arena, &a->to, is_row ? row : 0, "--to", e);
	if (rc == RC_OK && is_row)
		rc = set_address(arena, &a->ids[0], row, "the sender", e);
	return rc;
}

static enum rc
set_arg(struct ask *a, enum ask_option o, struct span value, uint64_t now, struct err *e)
{
	char number[24];
	uint64_t usec;
	if (o == OPT_SINCE || o == OPT_UNTIL) {
		if (when_parse(value, now, o == OPT_UNTIL, &usec) != RC_OK)
			return err_set(e, RC_PERM, "--%s: a time is 2d, 90m, today, yesterday, 2026-11-20, 2026-11-20T10:00 or @SECONDS", options[o].word);
		int n = snprintf(number, sizeof number, "%llu", (unsigned long long)usec);
		return set_value(a, o, span_of(number, (size_t)n), e);
	}
	return set_value(a, o, value, e);
}

enum rc
ask_args(int argc, char **argv, uint64_t now, struct arena *arena, struct ask *out, struct err *e)
{
	unsigned k = ASK_KIND_NONE + 1;
	int at = 0;
	uint32_t room;
	while (k < ASK_KINDS && (at = words_in((enum ask_kind)k, argc, argv)) == 0)
		k++;
	if (k == ASK_KINDS)
		return err_set(e, RC_PERM, argc > 0 ? "unknown request" : "which request?");
	enum rc rc = begin(out, (enum ask_kind)k, (size_t)argc, arena, &room, e);
	bool ids_only = false;
	for (; rc == RC_OK && at < argc; at++) {
		struct span word = span_str(argv[at]);
		if (ids_only || !span_starts(word, SPAN("-"))) {
			rc = add_id(out, room, word, e);
			continue;
		}
		if (span_eq_str(word, "--")) {
			ids_only = true;
			continue;
		}
		size_t equals = span_chr(word, '=');
		struct span name = span_head(word, equals);
		enum ask_option o = span_starts(name, SPAN("--")) ? option_of(out->kind, span_from(name, 2)) : ASK_OPTIONS;
		if (o == ASK_OPTIONS || o == OPT_SUDO)
			return err_set(e, RC_PERM, "unknown option %.*s", (int)(name.n < SHOWN_MAX ? name.n : SHOWN_MAX), span_is_printable(name) ? (const char *)name.p : "");
		struct span value = equals == SIZE_MAX ? SPAN_EMPTY : span_from(word, equals + 1);
		if (equals != SIZE_MAX && !options[o].has_value)
			return err_set(e, RC_PERM, "--%s has no value", options[o].word);
		if (equals == SIZE_MAX && options[o].has_value) {
			if (++at == argc)
				return err_set(e, RC_PERM, "--%s wants a value", options[o].word);
			value = span_str(argv[at]);
		}
		rc = set_arg(out, o, value, now, e);
	}
	if (rc == RC_OK)
		rc = check(out, e);
	return rc == RC_OK ? set_addresses(arena, out, e) : rc;
}

void
ask_says_sudo(struct ask *a, struct span user)
{
	if (!text_is_good(user))
		return;
	a->sudo = user;
	a->given |= O(SUDO);
}

/* ---- the line ---- */

void
ask_put(struct buf *line, const struct ask *a)
{
	struct ask copy = *a;
	buf_puts(line, "quarantine ");
	buf_puts(line, rows[a->kind].words);
	for (unsigned o = 0; o < ASK_OPTIONS; o++) {
		if (!ask_has(a, (enum ask_option)o))
			continue;
		buf_putc(line, ' ');
		buf_puts(line, options[o].word);
		buf_putc(line, '=');
		const struct span *text = text_of(&copy, (enum ask_option)o);
		if (text != NULL)
			xtext_encode(line, *text);
		else if (o == OPT_STATE)
			buf_puts(line, a->state != QUAR_NONE ? quar_state_name(a->state) : "all");
		else if (o == OPT_REASON)
			buf_puts(line, held_class_name(a->reason));
		else if (options[o].has_value)
			buf_put_dec(line, *number_of(&copy, (enum ask_option)o));
	}
	if (a->all)
		buf_puts(line, " ALL");
	for (uint32_t i = 0; i < a->nids; i++) {
		buf_puts(line, " id=");
		xtext_encode(line, a->ids[i]);
	}
}

static size_t
count_words(struct span line)
{
	struct span word;
	size_t n = 0;
	while (span_word(&line, " ", &word))
		n++;
	return n;
}

/* "NAME=xtext", decoded into the arena. */
static enum rc
decode(struct span word, struct arena *arena, struct span *name, struct span *value)
{
	size_t equals = span_chr(word, '=');
	if (equals == SIZE_MAX || word.n > 3 * ASK_VALUE_MAX + 32)
		return RC_PERM;
	struct buf text;
	buf_init(&text, ASK_VALUE_MAX + 1);
	*name = span_head(word, equals);
	enum rc rc = xtext_decode(&text, span_from(word, equals + 1));
	if (text.over)
		rc = RC_PERM;
	if (rc == RC_OK)
		*value = buf_len(&text) > 0 ? arena_span(arena, buf_span(&text)) : SPAN_EMPTY;
	buf_fini(&text);
	return rc;
}

enum rc
ask_get(struct span line, struct arena *arena, struct ask *out, struct err *e)
{
	enum ask_kind k = kind_of(&line);
	struct span word, name = SPAN_EMPTY, value = SPAN_EMPTY;
	uint32_t room;
	if (k == ASK_KIND_NONE)
		return err_set(e, RC_PERM, "unknown request");
	enum rc rc = begin(out, k, count_words(line), arena, &room, e);
	while (rc == RC_OK && span_word(&line, " ", &word)) {
		if (span_eq_str(word, "ALL")) {
			rc = add_id(out, room, word, e);
			continue;
		}
		if (decode(word, arena, &name, &value) != RC_OK)
			return err_set(e, RC_PERM, "malformed request");
		if (span_eq_str(name, "id")) {
			if (out->nids == room)
				return err_set(e, RC_PERM, "too many ids");
			out->ids[out->nids++] = value;
			continue;
		}
		enum ask_option o = option_of(k, name);
		rc = o != ASK_OPTIONS ? set_value(out, o, value, e) : err_set(e, RC_PERM, "unknown option");
	}
	return rc == RC_OK ? check(out, e) : rc;
}
