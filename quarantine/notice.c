/* SPDX-License-Identifier: BSD-2-Clause */
#include "quarantine/notice.h"

#include "base/base64.h"
#include "base/clock.h"
#include "msg/addr.h"
#include "msg/date.h"
#include "msg/received.h"
#include "quarantine/escape.h"
#include "quarantine/view.h"

enum {
	VALUE_MAX = 200,         /* octets of a stranger's text */
	SUBJECT_MAX = 300,       /* of a Subject, when all is filled in */
	LINE_AT = 900,           /* a longer line of the body is broken */
	WORD_BYTES = 42,         /* in an encoded word */
	RCPTS_SHOWN = 5,
	BODY_MAX = 16 * 1024 * 1024,
};

enum text_kind { MESSAGE, ITEM, PIECE };

static const struct {
	const char *name;
	enum text_kind kind;
	const char *text;
} rows[NOTICE_TEXTS] = {
#define TEXT(id, name, kind, text, doc) { name, kind, text },
#include "quarantine/notices.def"
#undef TEXT
};

/* ---- names of values ---- */

enum value {
	V_NONE = 0, V_COUNT, V_RECIPIENT, V_ITEMS, V_MORE, V_MORE_COUNT, V_MYHOSTNAME, V_MYORIGIN, V_MAIL_NAME,
	V_ID, V_DATE, V_SIZE, V_EXPIRES, V_CLASS, V_SENDER, V_FROM, V_SUBJECT, V_REASON, V_SIGNATURE, V_CLIENT, V_RECIPIENTS, VALUES
};
static const char *const value_names[VALUES] = {
	[V_COUNT] = "count", [V_RECIPIENT] = "recipient", [V_ITEMS] = "items", [V_MORE] = "more", [V_MORE_COUNT] = "more_count",
	[V_MYHOSTNAME] = "myhostname", [V_MYORIGIN] = "myorigin", [V_MAIL_NAME] = "mail_name", [V_ID] = "id", [V_DATE] = "date",
	[V_SIZE] = "size", [V_EXPIRES] = "expires", [V_CLASS] = "class", [V_SENDER] = "sender", [V_FROM] = "from", [V_SUBJECT] = "subject",
	[V_REASON] = "reason", [V_SIGNATURE] = "signature", [V_CLIENT] = "client", [V_RECIPIENTS] = "recipients",
};

/* The name behind a dollar sign at the front of s; *len_out: octets with the sign. V_NONE with 2: "$$"; with 0: no name. */
static enum value
value_at(struct span s, size_t *len_out)
{
	size_t n = 1;
	if (s.n > 1 && s.p[1] == '$') {
		*len_out = 2;
		return V_NONE;
	}
	while (n < s.n && ((s.p[n] >= 'a' && s.p[n] <= 'z') || s.p[n] == '_'))
		n++;
	*len_out = 0;
	for (unsigned v = V_NONE + 1; v < VALUES; v++) {
		if (!span_eq_str(span_head(span_from(s, 1), n - 1), value_names[v]))
			continue;
		*len_out = n;
		return (enum value)v;
	}
	return V_NONE;
}

static bool
fits(enum value v, enum text_kind kind)
{
	return kind == MESSAGE || (v != V_ITEMS && v != V_MORE);
}

/* ---- reading templates ---- */

void
notice_templates_init(struct notice_templates *t)
{
	for (unsigned i = 0; i < NOTICE_TEXTS; i++)
		t->text[i] = span_str(rows[i].text);
}

static enum rc
check_values(struct span text, enum text_kind kind, int line, struct err *e)
{
	for (size_t i = 0; i < text.n; i++) {
		line += text.p[i] == '\n';
		if (text.p[i] != '$')
			continue;
		size_t len;
		enum value v = value_at(span_from(text, i), &len);
		if (len == 0 || (v != V_NONE && !fits(v, kind)))
			return err_set(e, RC_PERM, "line %d: an unknown name behind a dollar sign, or one that does not belong here ($$ is a dollar sign)", line);
		i += len - 1;
	}
	return RC_OK;
}

static bool
next_line(struct span *rest, struct span *line)
{
	if (rest->n == 0)
		return false;
	size_t lf = span_chr(*rest, '\n');
	*line = span_head(*rest, lf);
	*rest = lf == SIZE_MAX ? SPAN_EMPTY : span_from(*rest, lf + 1);
	return true;
}

static bool
header_is_known(struct span line)
{
	return span_casestarts(line, SPAN("From:")) || span_casestarts(line, SPAN("Subject:")) || span_casestarts(line, SPAN("Reply-To:"));
}

/* From and Subject, once each, then the empty line. */
static enum rc
check_header(struct span text, int line, struct err *e)
{
	struct span l;
	unsigned from = 0, subject = 0;
	for (; next_line(&text, &l) && l.n > 0; line++) {
		if (!header_is_known(l))
			return err_set(e, RC_PERM, "line %d: a message begins with From:, Subject: or Reply-To:, and an empty line behind them", line);
		from += span_casestarts(l, SPAN("From:"));
		subject += span_casestarts(l, SPAN("Subject:"));
	}
	return from == 1 && subject == 1 ? RC_OK : err_set(e, RC_PERM, "line %d: one From: and one Subject: are wanted", line);
}

/* "NAME = <<WORD" */
static bool
begins_text(struct span line, unsigned *which, struct span *word)
{
	size_t equals = span_chr(line, '=');
	struct span name = span_trim(span_head(line, equals)), rest = equals != SIZE_MAX ? span_trim(span_from(line, equals + 1)) : SPAN_EMPTY;
	if (!span_starts(rest, SPAN("<<")))
		return false;
	*word = span_trim(span_from(rest, 2));
	for (*which = 0; *which < NOTICE_TEXTS; ++*which)
		if (span_eq_str(name, rows[*which].name))
			return word->n > 0;
	return false;
}

static bool
text_is_plain(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((s.p[i] < ' ' && s.p[i] != '\n' && s.p[i] != '\t') || s.p[i] == 0x7f)
			return false;
	return span_is_utf8(s);
}

enum rc
notice_templates_read(struct notice_templates *t, struct span file, struct err *e)
{
	struct notice_templates new = *t;
	struct span rest = file, line;
	int at = 0;
	if (file.n > NOTICE_FILE_MAX)
		return err_set(e, RC_PERM, "more than %d octets", (int)NOTICE_FILE_MAX);
	while (next_line(&rest, &line)) {
		unsigned which;
		struct span word;
		at++;
		struct span bare = span_trim(line);
		if (bare.n == 0 || bare.p[0] == '#')
			continue;
		if (!begins_text(bare, &which, &word))
			return err_set(e, RC_PERM, "line %d: NAME = <<WORD is wanted, with a name that there is", at);
		const unsigned char *begin = rest.p;
		int first = at + 1;
		bool ended = false;
		while (!ended && next_line(&rest, &line)) {
			at++;
			ended = span_eq(span_rtrim(line), word);
		}
		if (!ended)
			return err_set(e, RC_PERM, "line %d: a text without its end", first - 1);
		struct span text = span_of(begin, (size_t)(line.p - begin));
		if (!text_is_plain(text))
			return err_set(e, RC_PERM, "line %d: a text with control characters, CR, or not in UTF-8", first - 1);
		if (check_values(text, rows[which].kind, first, e) != RC_OK || (rows[which].kind == MESSAGE && check_header(text, first, e) != RC_OK))
			return e->rc;
		new.text[which] = text;
	}
	*t = new;
	return RC_OK;
}

void
notice_templates_write(struct buf *out, const struct notice_templates *t)
{
	for (unsigned i = 0; i < NOTICE_TEXTS; i++) {
		buf_puts(out, i > 0 ? "\n" : "");
		buf_puts(out, rows[i].name);
		buf_puts(out, " = <<EOF\n");
		buf_put(out, t->text[i]);
		struct span s = t->text[i];
		buf_puts(out, s.n > 0 && s.p[s.n - 1] != '\n' ? "\nEOF\n" : "EOF\n");
	}
}

/* ---- values ---- */

static void
put_id(struct buf *out, const struct spool_id *id)
{
	char text[SPOOL_ID_TEXT];
	buf_put(out, span_of(text, spool_id_text(id, text)));
}

static void
put_text(struct buf *out, struct span s)
{
	if (s.n > 0)
		escape_mail(out, s, VALUE_MAX);
	else
		buf_puts(out, "-");
}

/* An ordinary address as it is, because people look for it; one that was made to be read otherwise as any text. */
static void
put_address(struct buf *out, struct span internal)
{
	struct span addr = span_head(internal, VALUE_MAX);
	size_t at = span_rchr(addr, '@');
	struct span local = span_head(addr, at);
	bool plain = local.n > 0 && !span_casestarts(local, SPAN("www."));
	for (size_t i = 0; i < local.n; i++)
		plain = plain && ((local.p[i] >= '0' && local.p[i] <= '9') || (local.p[i] >= 'a' && local.p[i] <= 'z') || (local.p[i] >= 'A' && local.p[i] <= 'Z') ||
		                     strchr("._+=-", local.p[i]) != NULL);
	struct span domain = at != SIZE_MAX ? span_from(addr, at + 1) : SPAN_EMPTY;
	plain = plain && span_chr(domain, '/') == SIZE_MAX && (span_chr(domain, ':') == SIZE_MAX || domain.p[0] == '[');
	if (plain || internal.n == 0) {
		view_address(out, addr);
		return;
	}
	struct buf text;
	buf_init(&text, 8 * VALUE_MAX);
	addr_write_text(&text, addr);
	escape_mail(out, buf_span(&text), 2 * VALUE_MAX);
	buf_fini(&text);
}

static void
put_recipients(struct buf *out, const struct notice_item *item)
{
	if (item->hide_rcpts) {
		buf_put_dec(out, item->nrcpt);
		return;
	}
	for (size_t i = 0; i < item->nrcpt && i < RCPTS_SHOWN; i++) {
		buf_puts(out, i > 0 ? ", " : "");
		put_address(out, item->rcpt[i]);
	}
	if (item->nrcpt > RCPTS_SHOWN)
		buf_printf(out, " and %llu more", (unsigned long long)(item->nrcpt - RCPTS_SHOWN));
}

static void expand(struct buf *out, const struct notice *n, struct span text, const struct notice_item *item);

/* The text that stands for each item of this notice. */
static enum notice_text
item_text(const struct notice *n)
{
	return n->text == NT_DIGEST ? NT_DIGEST_ITEM : NT_VIRUS_ITEM;
}

static void
put_item_value(struct buf *out, enum value v, const struct notice_item *item)
{
	const char *class = held_class_name(item->class);
	switch (v) {
	case V_ID: put_id(out, &item->id); return;
	case V_DATE: view_time(out, item->arrival); return;
	case V_EXPIRES:
		if (item->expires != 0)
			view_time(out, item->expires);
		else
			buf_puts(out, "-");
		return;
	case V_SIZE: buf_put_dec(out, item->size); return;
	case V_CLASS: buf_puts(out, class != NULL ? class : "-"); return;
	case V_SENDER: put_address(out, item->sender); return;
	case V_FROM: put_text(out, item->from); return;
	case V_SUBJECT: put_text(out, item->subject); return;
	case V_REASON: put_text(out, item->reason); return;
	case V_SIGNATURE: put_text(out, item->signature.n > 0 ? item->signature : item->reason); return;
	case V_CLIENT: put_text(out, item->client); return;
	case V_RECIPIENTS: put_recipients(out, item); return;
	case V_NONE: case V_COUNT: case V_RECIPIENT: case V_ITEMS: case V_MORE: case V_MORE_COUNT: case V_MYHOSTNAME: case V_MYORIGIN:
	case V_MAIL_NAME: case VALUES: return;
	}
}

static void
put_value(struct buf *out, const struct notice *n, enum value v, const struct notice_item *item)
{
	uint64_t more = n->count > n->nitems ? n->count - n->nitems : 0;
	switch (v) {
	case V_COUNT: buf_put_dec(out, n->count); return;
	case V_RECIPIENT: put_address(out, n->to); return;
	case V_MORE_COUNT: buf_put_dec(out, more); return;
	case V_MYHOSTNAME: buf_puts(out, n->myhostname); return;
	case V_MYORIGIN: buf_puts(out, n->myorigin); return;
	case V_MAIL_NAME: buf_puts(out, n->mail_name); return;
	case V_ITEMS:
		for (size_t i = 0; i < n->nitems; i++)
			expand(out, n, n->templates->text[item_text(n)], &n->items[i]);
		return;
	case V_MORE:
		if (more > 0)
			expand(out, n, n->templates->text[NT_DIGEST_MORE], item);
		return;
	case V_ID: case V_DATE: case V_SIZE: case V_EXPIRES: case V_CLASS: case V_SENDER: case V_FROM: case V_SUBJECT: case V_REASON:
	case V_SIGNATURE: case V_CLIENT: case V_RECIPIENTS:
		if (item != NULL)
			put_item_value(out, v, item);
		return;
	case V_NONE: case VALUES: return;
	}
}

/* Turns: a message has items, an item has neither (check_values()). */
static void
expand(struct buf *out, const struct notice *n, struct span text, const struct notice_item *item)
{
	for (size_t i = 0; i < text.n;) {
		size_t dollar = span_chr(span_from(text, i), '$'), len;
		buf_put(out, span_head(span_from(text, i), dollar));
		if (dollar == SIZE_MAX)
			return;
		i += dollar;
		enum value v = value_at(span_from(text, i), &len);
		if (v == V_NONE)
			buf_putc(out, '$');
		else
			put_value(out, n, v, item);
		i += len > 0 ? len : 1;
	}
}

/* ---- the mail ---- */

/* RFC 2047: words of UTF-8, each with whole characters. at: columns used. */
static void
put_words(struct buf *out, struct span text)
{
	struct buf word;
	bool first = true;
	buf_init(&word, 4 * WORD_BYTES);
	while (text.n > 0) {
		size_t n = text.n < WORD_BYTES ? text.n : WORD_BYTES;
		while (n < text.n && n > 1 && (text.p[n] & 0xc0) == 0x80)
			n--;
		buf_reset(&word);
		base64_encode(&word, span_head(text, n));
		buf_puts(out, first ? "=?UTF-8?B?" : "\r\n =?UTF-8?B?");
		buf_put(out, buf_span(&word));
		buf_puts(out, "?=");
		text = span_from(text, n);
		first = false;
	}
	buf_fini(&word);
}

/* A header of the template, filled in. The words in front of a "<" are encoded when they need it, the address is not. */
static void
put_header(struct buf *out, const struct notice *n, struct span line)
{
	struct buf text, clean;
	const struct notice_item *item = n->nitems > 0 ? &n->items[0] : NULL;
	size_t colon = span_chr(line, ':');
	buf_init(&text, BODY_MAX);
	buf_init(&clean, 8 * SUBJECT_MAX);
	expand(&text, n, span_trim(span_from(line, colon + 1)), item);
	buf_put_safe(&clean, buf_span(&text), SUBJECT_MAX, true);
	struct span value = buf_span(&clean);
	buf_put(out, span_head(line, colon));
	buf_puts(out, ": ");
	size_t address = span_casestarts(line, SPAN("Subject:")) ? SIZE_MAX : span_rchr(value, '<');
	if (span_is_ascii(value)) {
		buf_put(out, value);
	} else if (address == SIZE_MAX) {
		put_words(out, value);
	} else {
		put_words(out, span_trim(span_head(value, address)));
		buf_puts(out, "\r\n ");
		buf_put(out, span_from(value, address));
	}
	buf_puts(out, "\r\n");
	buf_fini(&text);
	buf_fini(&clean);
}

static void
put_our_header(struct buf *out, const struct notice *n)
{
	char id[SPOOL_ID_TEXT];
	struct span qid = span_of(id, spool_id_text(&n->id, id));
	struct received rcv = { .hide_client = true, .myhostname = n->myhostname, .mail_name = n->mail_name, .qid = qid, .when = n->now };
	received_write(out, &rcv);
	buf_puts(out, "Date: ");
	date_write(out, n->now);
	buf_puts(out, "\r\nTo: ");
	struct buf text;
	buf_init(&text, 4096);
	addr_write_text(&text, span_head(n->to, 600));
	buf_put_safe(out, buf_span(&text), 800, true);
	buf_fini(&text);
	buf_puts(out, "\r\nMessage-Id: <");
	buf_put(out, qid);
	buf_putc(out, '@');
	buf_put_safe(out, span_str(n->myhostname), 255, false);
	buf_puts(out, ">\r\nAuto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n");
}

/* Lines of the body: CRLF, and none too long. */
static void
put_body(struct buf *out, struct span body)
{
	struct span line;
	while (next_line(&body, &line)) {
		while (line.n > LINE_AT) {
			size_t n = LINE_AT;
			while (n > 1 && (line.p[n] & 0xc0) == 0x80)
				n--;
			buf_put(out, span_head(line, n));
			buf_puts(out, "\r\n    ");
			line = span_from(line, n);
		}
		buf_put(out, line);
		buf_puts(out, "\r\n");
	}
}

void
notice_write(struct buf *out, const struct notice *n)
{
	struct span rest = n->templates->text[n->text], line;
	struct buf body;
	buf_init(&body, BODY_MAX);
	put_our_header(out, n);
	while (next_line(&rest, &line) && line.n > 0)
		put_header(out, n, line);
	expand(&body, n, rest, n->nitems > 0 ? &n->items[0] : NULL);
	bool ascii = span_is_ascii(buf_span(&body));
	buf_puts(out, ascii ? "Content-Type: text/plain; charset=us-ascii\r\nContent-Transfer-Encoding: 7bit\r\n\r\n"
	                    : "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n");
	put_body(out, buf_span(&body));
	buf_fini(&body);
}
