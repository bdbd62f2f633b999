/* SPDX-License-Identifier: BSD-2-Clause */
#include "filters/checks.h"

#include "base/mem.h"
#include "msg/addr.h"

static const char *const parameters[][CHECK_KINDS] = {
	[CHECKS_IN] = { "header_checks", "mime_header_checks", "nested_header_checks", "body_checks" },
	[CHECKS_MILTER] = { "milter_header_checks", NULL, NULL, NULL },
	[CHECKS_SMTP] = { "smtp_header_checks", "smtp_mime_header_checks", "smtp_nested_header_checks", "smtp_body_checks" },
	[CHECKS_LMTP] = { "lmtp_header_checks", "lmtp_mime_header_checks", "lmtp_nested_header_checks", "lmtp_body_checks" },
};

struct checks {
	enum checks_family family;
	struct checks_table {
		struct map_list *maps;   /* NULL: none */
		const char *value;       /* of the parameter; the configuration's */
	} table[CHECK_KINDS];
	struct conf *conf;               /* reference */
};

enum { IN = 1, OUT = 2, MILTER = 4 };

static const struct {
	const char *word, *logged;
	enum check_action action;
	unsigned where;
} actions[] = {
	{ "REJECT", "reject", CHECK_REJECT, IN | MILTER }, { "WARN", "warning", CHECK_WARN, IN | OUT | MILTER }, { "INFO", "info", CHECK_INFO, IN | OUT | MILTER },
	{ "FILTER", "filter", CHECK_FILTER, IN | MILTER }, { "PASS", "pass", CHECK_PASS, IN | MILTER }, { "DISCARD", "discard", CHECK_DISCARD, IN | MILTER },
	{ "HOLD", "hold", CHECK_HOLD, IN | MILTER }, { "PREPEND", "prepend", CHECK_PREPEND, IN | OUT }, { "REPLACE", "replace", CHECK_REPLACE, IN | OUT | MILTER },
	{ "REDIRECT", "redirect", CHECK_REDIRECT, IN | MILTER }, { "BCC", "bcc", CHECK_BCC, IN | MILTER }, { "STRIP", "strip", CHECK_STRIP, IN | OUT | MILTER },
	{ "IGNORE", "ignore", CHECK_IGNORE, IN | OUT | MILTER }, { "DUNNO", "dunno", CHECK_DUNNO, IN | OUT | MILTER }, { "OK", "dunno", CHECK_DUNNO, IN | OUT | MILTER },
	{ "QUARANTINE", "quarantine", CHECK_QUARANTINE, IN | MILTER },
};

const char *
check_action_name(enum check_action a)
{
	for (size_t i = 0; i < NELEMS(actions); i++)
		if (actions[i].action == a)
			return actions[i].logged;
	return "dunno";
}

/* ---- opening ---- */

bool
checks_left_out(const struct params *p)
{
	struct span rest = span_str(p->p_receive_override_options), word;
	while (span_word(&rest, ", \t\r\n", &word))
		if (span_caseeq_str(word, "no_header_body_checks"))
			return true;
	return false;
}

enum rc
checks_open(struct conf *c, const struct service *s, enum checks_family family, struct checks **out, struct err *e)
{
	enum rc rc = RC_OK;
	struct checks *ch = *out = NULL;
	if (family <= CHECKS_MILTER && checks_left_out(s != NULL ? s->params : conf_params(c)))
		return RC_OK;
	for (unsigned k = 0; k < CHECK_KINDS; k++) {
		struct map_list *maps = NULL;
		if (parameters[family][k] == NULL)
			continue;
		if (maps_open_param(c, s, parameters[family][k], &maps, e) != RC_OK)
			rc = RC_PERM;
		if (map_list_empty(maps)) {
			map_list_free(&maps);
			continue;
		}
		if (ch == NULL) {
			ch = *out = mem_zalloc(sizeof *ch);
			ch->family = family;
			ch->conf = conf_ref(c);
		}
		ch->table[k] = (struct checks_table){ .maps = maps, .value = conf_value(c, s, parameters[family][k]) };
	}
	return rc;
}

void
checks_free(struct checks **cp)
{
	struct checks *ch = *cp;
	*cp = NULL;
	if (ch == NULL)
		return;
	for (unsigned k = 0; k < CHECK_KINDS; k++)
		map_list_free(&ch->table[k].maps);
	conf_unref(&ch->conf);
	mem_free(&ch);
}

bool
checks_has(const struct checks *ch, enum check_kind kind)
{
	return ch != NULL && ch->table[kind].maps != NULL;
}

bool
checks_may_wait(const struct checks *ch, enum check_kind kind)
{
	return ch != NULL && map_list_is_remote(ch->table[kind].maps);
}

/* ---- keys ---- */

enum check_kind
check_kind_of(enum mime_class class, enum mime_field field)
{
	if (field != MIME_FIELD_OTHER || class == MIME_PART)
		return CHECK_MIME;
	return class == MIME_NESTED ? CHECK_NESTED : CHECK_HEADER;
}

struct span
check_line(struct span text)
{
	if (text.n > 0 && text.p[text.n - 1] == '\n') {
		text.n--;
		if (text.n > 0 && text.p[text.n - 1] == '\r')
			text.n--;
	}
	return text;
}

struct span
check_key(struct span text, size_t name_len, size_t colon, struct buf *key)
{
	text = check_line(text);
	if (colon == name_len && span_chr(text, '\n') == SIZE_MAX)
		return text;
	buf_reset(key);
	buf_put(key, span_head(text, name_len));
	for (struct span rest = span_from(text, colon); rest.n > 0;) {
		size_t lf = span_chr(rest, '\n');
		struct span line = span_head(rest, lf == SIZE_MAX ? rest.n : lf + 1);
		rest = span_from(rest, line.n);
		buf_put(key, check_line(line));
		if (lf != SIZE_MAX)
			buf_putc(key, '\n');
	}
	return buf_span(key);
}

/* ---- results ---- */

static bool
is_header(struct span text)
{
	size_t i = 0;
	while (i < text.n && text.p[i] > ' ' && text.p[i] < 0x7f && text.p[i] != ':')
		i++;
	size_t name = i;
	while (i < text.n && (text.p[i] == ' ' || text.p[i] == '\t'))
		i++;
	return name > 0 && i < text.n && text.p[i] == ':';
}

static void
of_no_use(struct check_verdict *v, const char *fmt, struct span text)
{
	struct buf b;
	v->action = CHECK_DUNNO;
	buf_init(&b, sizeof v->warning);
	for (; *fmt != '\0'; fmt++)
		if (fmt[0] == '%' && fmt[1] == 't')
			buf_put_safe(&b, text, 200, true), fmt++;
		else if (fmt[0] == '%' && fmt[1] == 'p')
			buf_puts(&b, v->parameter), fmt++;
		else
			buf_putc(&b, (unsigned char)*fmt);
	snprintf(v->warning, sizeof v->warning, "%s", buf_cstr(&b));
	buf_fini(&b);
}

static bool
is_digit(unsigned char c)
{
	return c >= '0' && c <= '9';
}

/* Octets of "d.d.d" at the front, up to three digits each. */
static size_t
dsn_len(struct span s)
{
	size_t i = 1;
	if (s.n < 5 || !is_digit(s.p[0]) || (s.p[0] != '2' && s.p[0] != '4' && s.p[0] != '5') || s.p[1] != '.')
		return 0;
	for (int part = 0; part < 2; part++) {
		size_t from = ++i;
		while (i < s.n && is_digit(s.p[i]) && i - from < 3)
			i++;
		if (i == from || (part == 0 && (i >= s.n || s.p[i] != '.')))
			return 0;
	}
	return i == s.n || s.p[i] == ' ' || s.p[i] == '\t' ? i : 0;
}

/* "5.7.1 text", with the status of the result if it has one. */
static void
do_reject(struct check_verdict *v, struct buf *scratch)
{
	size_t dsn = dsn_len(v->text);
	char given[600] = "";
	size_t n = v->text.n < sizeof given ? v->text.n : sizeof given - 1; /* it may be in scratch; more fits into no reply */
	memcpy(given, v->text.n > 0 ? v->text.p : (const unsigned char *)"", n);
	if (dsn > 0 && given[0] == '2') {
		of_no_use(v, "bad DSN action in %t -- need 4.x.x or 5.x.x", span_of(given, n));
		v->action = CHECK_REJECT;
		given[0] = '4';
	}
	buf_reset(scratch);
	if (n == 0)
		buf_puts(scratch, "5.7.1 message content rejected");
	else if (dsn == 0)
		buf_puts(scratch, "5.7.1 ");
	buf_put(scratch, span_of(given, n));
	v->text = buf_span(scratch);
}

bool
check_address(struct span text, unsigned how, struct arena *arena, struct span *out)
{
	struct addr addr;
	struct err e;
	if (text.n > CHECK_WORD_MAX || addr_parse(text, how, arena, &addr, &e) != RC_OK || addr.domain.n == 0 || addr.local.n == 0)
		return false;
	*out = addr.text;
	return true;
}

/* Of a row that nobody has asked for yet: what groups of a pattern will be is not known. */
static bool
is_address(struct span text)
{
	struct arena arena;
	struct span out;
	if (span_chr(text, '$') != SIZE_MAX)
		return true;
	arena_init(&arena, 8192);
	bool ok = check_address(text, ADDR_UTF8, &arena, &out);
	arena_fini(&arena);
	return ok;
}

static void
judge(struct check_verdict *v, bool is_line, struct buf *scratch)
{
	/* with an "@" in it the message is not let through unchanged: whoever has it answers 4xx when it is no address after all */
	bool has_at = span_chr(v->text, '@') != SIZE_MAX && (scratch != NULL || is_address(v->text));
	switch (v->action) {
	case CHECK_REJECT:
		if (scratch != NULL)
			do_reject(v, scratch);
		return;
	case CHECK_FILTER:
		if (v->text.n == 0)
			of_no_use(v, "missing FILTER command argument in %p map", v->text);
		else if (span_chr(v->text, ':') == SIZE_MAX)
			of_no_use(v, "bad FILTER command %t in %p -- need transport:destination", v->text);
		return;
	case CHECK_REDIRECT:
		if (!has_at)
			of_no_use(v, "bad REDIRECT target \"%t\" in %p map -- need user@domain", v->text);
		return;
	case CHECK_BCC:
		if (!has_at)
			of_no_use(v, "bad BCC address \"%t\" in %p map -- need user@domain", v->text);
		return;
	case CHECK_PREPEND:
	case CHECK_REPLACE:
		if (v->text.n == 0)
			of_no_use(v, v->action == CHECK_PREPEND ? "PREPEND action without text in %p map" : "REPLACE action without text in %p map", v->text);
		else if (!is_line && !is_header(v->text))
			of_no_use(v, v->action == CHECK_PREPEND ? "bad PREPEND header text \"%t\" in %p map -- need \"headername: headervalue\""
			                                        : "bad REPLACE header text \"%t\" in %p map -- need \"headername: headervalue\"", v->text);
		return;
	case CHECK_DUNNO:
	case CHECK_DISCARD:
	case CHECK_HOLD:
	case CHECK_QUARANTINE:
	case CHECK_PASS:
	case CHECK_WARN:
	case CHECK_INFO:
	case CHECK_STRIP:
	case CHECK_IGNORE:
		return;
	}
}

/* scratch NULL: only whether it is of use. */
static void
read_result(const struct checks *ch, enum check_kind kind, struct span value, struct buf *scratch, struct check_verdict *out)
{
	unsigned where = ch->family == CHECKS_IN ? IN : ch->family == CHECKS_MILTER ? MILTER : OUT;
	size_t n = 0;
	*out = (struct check_verdict){ .parameter = parameters[ch->family][kind], .table = ch->table[kind].value };
	while (n < value.n && value.p[n] != ' ' && value.p[n] != '\t')
		n++;
	struct span word = span_head(value, n);
	for (out->text = span_from(value, n); out->text.n > 0 && (out->text.p[0] == ' ' || (out->text.p[0] >= '\t' && out->text.p[0] <= '\r'));)
		out->text = span_from(out->text, 1);
	for (size_t i = 0; i < NELEMS(actions); i++)
		if (span_caseeq_str(word, actions[i].word) && (actions[i].where & where) != 0) {
			out->action = actions[i].action;
			judge(out, kind == CHECK_BODY, scratch);
			return;
		}
	of_no_use(out, where == IN ? "unknown command in %p map: %t" : "unsupported command in %p map: %t", value);
}

enum rc
checks_ask(const struct checks *ch, enum check_kind kind, struct span key, struct buf *scratch, struct check_verdict *out, struct err *e)
{
	struct span value;
	out->action = CHECK_DUNNO;
	out->warning[0] = '\0';
	out->text = SPAN_EMPTY;
	if (!checks_has(ch, kind) || key.n == 0) /* empty keys are not asked for, as in Postfix */
		return RC_OK;
	out->parameter = parameters[ch->family][kind];
	switch (map_find(ch->table[kind].maps, key, 0, scratch, &value, e)) {
	case RC_OK:
		read_result(ch, kind, value, scratch, out);
		return RC_OK;
	case RC_NONE:
		return RC_OK;
	case RC_TEMP:
	case RC_PERM:
		break;
	}
	return RC_TEMP;
}

/* ---- what check says ---- */

struct noting {
	struct conf *conf;
	const struct service *service;
	const struct checks *checks;
	enum check_kind kind;
	unsigned told;
};

enum { TOLD_MAX = 20 };

static bool
look_at_result(void *arg, const char *table, const char *place, struct span key, struct span value)
{
	struct noting *n = arg;
	struct check_verdict v;
	(void)table;
	(void)key;
	read_result(n->checks, n->kind, value, NULL, &v);
	if (v.warning[0] != '\0')
		conf_problem(n->conf, CONF_WARNING, n->service, v.parameter, "%s: %s", place, v.warning);
	return v.warning[0] == '\0' || ++n->told < TOLD_MAX;
}

void
checks_notes(struct conf *c, const struct service *s, const struct checks *ch)
{
	for (unsigned k = 0; k < CHECK_KINDS; k++) {
		struct noting n = { .conf = c, .service = s, .checks = ch, .kind = (enum check_kind)k };
		if (checks_has(ch, n.kind))
			map_list_each_place(ch->table[k].maps, look_at_result, &n);
	}
}

/* ---- texts ---- */

void
check_write(struct buf *out, struct span text, bool is_header)
{
	bool first = true;
	do {
		size_t lf = span_chr(text, '\n');
		struct span line = check_line(span_head(text, lf == SIZE_MAX ? text.n : lf + 1));
		text = span_from(text, lf == SIZE_MAX ? text.n : lf + 1);
		if (is_header && !first && (line.n == 0 || (line.p[0] != ' ' && line.p[0] != '\t')))
			buf_putc(out, '\t');
		for (size_t i = 0; i < line.n; i++)
			buf_putc(out, line.p[i] == '\0' || line.p[i] == '\r' || line.p[i] == '\n' ? ' ' : line.p[i]);
		buf_put(out, SPAN("\r\n"));
		first = false;
	} while (text.n > 0);
}
