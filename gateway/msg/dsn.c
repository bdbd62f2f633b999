/* SPDX-License-Identifier: BSD-2-Clause */
#include "msg/dsn.h"

#include "base/clock.h"
#include "msg/addr.h"
#include "msg/date.h"
#include "msg/received.h"
#include "msg/xtext.h"

enum {
	LINE_LIMIT = 998,        /* RFC 5322 2.1.1, without CRLF */
	FOLD_AT = 76,
	WORD_MAX = 200,          /* a longer word is broken */
	FIELD_MAX = 2000,        /* octets of one value that are shown */
	ADDR_SHOWN = 600,
};

struct words {
	const char *subject, *postmaster_subject, *part, *headers_part;
	const char *story;
};

/* By kind; lines end with \n here and with CRLF in the message. */
static const struct words words[] = {
	[DSN_FAILED] = { "Undelivered Mail Returned to Sender", "Postmaster Copy: Undelivered Mail", "Undelivered Message", "Undelivered Message Headers",
	    "Your message could not be delivered to one or more recipients, and\n"
	    "no further attempt will be made. It is returned below.\n"
	    "\n"
	    "If you ask for help, please write to <postmaster> and include this\n"
	    "report. Your own text below the report may be left out.\n" },
	[DSN_DELAYED] = { "Delayed Mail (still being retried)", "Postmaster Warning: Delayed Mail", "Delayed Message", "Delayed Message Headers",
	    "####################################################################\n"
	    "# THIS IS A WARNING ONLY. YOU DO NOT NEED TO SEND YOUR MAIL AGAIN. #\n"
	    "####################################################################\n"
	    "\n"
	    "Your message could not be delivered yet to one or more recipients.\n"
	    "It will be tried again until the time given in the report below.\n"
	    "\n"
	    "If you ask for help, please write to <postmaster> and include this\n"
	    "report.\n" },
	[DSN_SUCCEEDED] = { "Successful Mail Delivery Report", "Successful Mail Delivery Report", "Message", "Message Headers",
	    "Your message was delivered to the destinations listed below, or\n"
	    "passed on to a system that does not send such reports. This report\n"
	    "was made because you asked for one.\n" },
};

/* ---- small writers ---- */

static void
put_lines(struct buf *out, const char *text)
{
	for (; *text != '\0'; text++) {
		if (*text == '\n')
			buf_putc(out, '\r');
		buf_putc(out, (unsigned char)*text);
	}
}

static void
end_line(struct buf *out)
{
	buf_puts(out, "\r\n");
}

/* Words, broken into lines; at: columns used on the first line. */
static void
put_folded(struct buf *out, struct span text, size_t at, const char *indent, bool utf8)
{
	struct buf clean;
	buf_init(&clean, FIELD_MAX + 1);
	buf_put_safe(&clean, text, FIELD_MAX, utf8);
	struct span rest = buf_span(&clean), word;
	bool first = true;
	while (span_word(&rest, " \t", &word)) {
		while (word.n > 0) {
			size_t n = word.n < WORD_MAX ? word.n : WORD_MAX;
			while (n < word.n && n > 1 && (word.p[n] & 0xc0) == 0x80) /* not inside a UTF-8 sequence */
				n--;
			if (!first && at + 1 + n > FOLD_AT) {
				end_line(out);
				buf_puts(out, indent);
				at = strlen(indent);
			} else if (!first) {
				buf_putc(out, ' ');
				at++;
			}
			buf_put(out, span_head(word, n));
			at += n;
			word = span_from(word, n);
			first = false;
		}
	}
	end_line(out);
	buf_fini(&clean);
}

static void
put_field(struct buf *out, const char *name, const char *type, struct span value, bool utf8)
{
	size_t before = buf_len(out);
	buf_puts(out, name);
	buf_puts(out, ": ");
	buf_puts(out, type);
	put_folded(out, value, buf_len(out) - before, "    ", utf8);
}

static void
put_addr(struct buf *out, struct span internal, bool utf8)
{
	struct buf text;
	buf_init(&text, 4 * ADDR_SHOWN);
	addr_write_text(&text, span_head(internal, ADDR_SHOWN));
	buf_put_safe(out, buf_span(&text), ADDR_SHOWN, utf8);
	buf_fini(&text);
}

static const char *
addr_type(struct span addr, bool utf8)
{
	return utf8 && !span_is_ascii(addr) ? "utf-8; " : "rfc822; ";
}

static void
put_addr_field(struct buf *out, const char *name, struct span addr, bool utf8)
{
	buf_puts(out, name);
	buf_puts(out, ": ");
	buf_puts(out, addr_type(addr, utf8));
	put_addr(out, addr, utf8);
	end_line(out);
}

static void
put_date_field(struct buf *out, const char *name, uint64_t when)
{
	buf_puts(out, name);
	buf_puts(out, ": ");
	date_write(out, when);
	end_line(out);
}

/* mail_name as part of a field name: letters, digits and hyphens only. */
static void
put_x_name(struct buf *out, const struct dsn_report *r)
{
	buf_puts(out, "X-");
	for (const char *p = r->mail_name; *p != '\0' && p < r->mail_name + 40; p++)
		if ((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') || *p == '-')
			buf_putc(out, (unsigned char)*p);
}

static void
put_boundary(struct buf *out, const struct dsn_report *r)
{
	buf_put_safe(out, r->qid, 32, false);
	buf_putc(out, '.');
	buf_put_dec(out, r->now / USEC_PER_SEC);
	buf_putc(out, '/');
	for (const char *p = r->myhostname; *p != '\0' && p < r->myhostname + 20; p++) /* RFC 2046: 70 octets */
		if ((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') || *p == '-' || *p == '.')
			buf_putc(out, (unsigned char)*p);
}

static void
put_delimiter(struct buf *out, const struct dsn_report *r, const char *tail)
{
	buf_puts(out, "\r\n--");
	put_boundary(out, r);
	buf_puts(out, tail);
	end_line(out);
}

/* ---- the parts ---- */

static void
put_header(struct buf *out, const struct dsn_report *r, bool is_8bit)
{
	const struct words *w = &words[r->kind];
	struct received rcv = { .hide_client = true, .myhostname = r->myhostname, .mail_name = r->mail_name, .qid = r->qid, .when = r->now };
	received_write(out, &rcv);
	put_date_field(out, "Date", r->now);
	buf_puts(out, "From: Mail Delivery System <MAILER-DAEMON@");
	buf_put_safe(out, span_str(r->myorigin), 255, false);
	buf_puts(out, ">\r\nSubject: ");
	buf_puts(out, r->postmaster ? w->postmaster_subject : w->subject);
	buf_puts(out, "\r\nTo: ");
	put_addr(out, r->to, r->is_utf8);
	end_line(out);
	if (r->message_id.n > 0 && r->message_id.n <= 900) {
		buf_puts(out, "References: ");
		buf_put_safe(out, r->message_id, 900, r->is_utf8);
		buf_puts(out, "\r\nIn-Reply-To: ");
		buf_put_safe(out, r->message_id, 900, r->is_utf8);
		end_line(out);
	}
	buf_puts(out, r->postmaster ? "Auto-Submitted: auto-generated\r\n" : "Auto-Submitted: auto-replied\r\n");
	buf_puts(out, "MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"");
	put_boundary(out, r);
	buf_puts(out, "\"\r\n");
	if (is_8bit)
		buf_puts(out, "Content-Transfer-Encoding: 8bit\r\n");
	buf_puts(out, "Message-Id: <");
	buf_put_safe(out, r->qid, 32, false);
	buf_putc(out, '@');
	buf_put_safe(out, span_str(r->myhostname), 255, false);
	buf_puts(out, ">\r\n\r\nThis is a MIME-encapsulated message.\r\n");
}

static bool
text_is_8bit(const struct dsn_report *r)
{
	for (size_t i = 0; r->is_utf8 && i < r->nrcpt; i++)
		if (!span_is_ascii(r->rcpts[i].addr) || !span_is_ascii(r->rcpts[i].orig) || !span_is_ascii(r->rcpts[i].text))
			return true;
	return false;
}

static void
put_story(struct buf *out, const struct dsn_report *r)
{
	bool is_8bit = text_is_8bit(r);
	put_delimiter(out, r, "");
	buf_puts(out, "Content-Description: Notification\r\nContent-Type: text/plain; charset=");
	buf_puts(out, is_8bit ? "utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" : "us-ascii\r\n\r\n");
	buf_puts(out, "This is the mail system at host ");
	buf_put_safe(out, span_str(r->myhostname), 255, false);
	buf_puts(out, ".\r\n\r\n");
	put_lines(out, words[r->kind].story);
	put_lines(out, "\n                   The mail system\n");
	for (size_t i = 0; i < r->nrcpt; i++) {
		const struct dsn_rcpt *p = &r->rcpts[i];
		end_line(out);
		size_t before = buf_len(out);
		buf_putc(out, '<');
		put_addr(out, p->addr, r->is_utf8);
		if (p->orig.n > 0 && !span_caseeq(p->orig, p->addr)) {
			buf_puts(out, "> (expanded from <");
			put_addr(out, p->orig, r->is_utf8);
			buf_putc(out, '>');
			buf_puts(out, "): ");
		} else {
			buf_puts(out, ">: ");
		}
		put_folded(out, p->text, buf_len(out) - before, "    ", r->is_utf8);
	}
}

/* "type;xtext": the type as it is, the rest decoded. */
static void
put_orcpt(struct buf *out, struct span orcpt, bool utf8)
{
	size_t semicolon = span_chr(orcpt, ';');
	if (semicolon == SIZE_MAX)
		return;
	struct buf text;
	buf_init(&text, FIELD_MAX);
	struct span coded = span_from(orcpt, semicolon + 1);
	if (xtext_decode(&text, coded) != RC_OK) {
		buf_reset(&text);
		buf_put(&text, span_head(coded, FIELD_MAX));
	}
	buf_puts(out, "Original-Recipient: ");
	buf_put_safe(out, span_head(orcpt, semicolon), 40, false);
	buf_putc(out, ';');
	buf_put_safe(out, buf_span(&text), ADDR_SHOWN, utf8);
	end_line(out);
	buf_fini(&text);
}

static void
put_rcpt(struct buf *out, const struct dsn_report *r, const struct dsn_rcpt *p)
{
	end_line(out);
	put_addr_field(out, "Final-Recipient", p->addr, r->is_utf8);
	put_orcpt(out, p->orcpt, r->is_utf8);
	buf_puts(out, "Action: ");
	buf_puts(out, p->action);
	buf_puts(out, "\r\nStatus: ");
	buf_put_safe(out, p->status, 12, false);
	end_line(out);
	if (p->mta.n > 0)
		put_field(out, "Remote-MTA", "dns; ", p->mta, r->is_utf8);
	if (p->diag.n > 0) {
		put_field(out, "Diagnostic-Code", "smtp; ", p->diag, r->is_utf8);
	} else {
		size_t before = buf_len(out);
		buf_puts(out, "Diagnostic-Code: ");
		put_x_name(out, r);
		buf_puts(out, "; ");
		put_folded(out, p->text, buf_len(out) - before, "    ", r->is_utf8);
	}
	if (r->kind == DSN_DELAYED)
		put_date_field(out, "Will-Retry-Until", r->retry_until);
}

static void
put_status(struct buf *out, const struct dsn_report *r)
{
	put_delimiter(out, r, "");
	buf_puts(out, "Content-Description: Delivery report\r\nContent-Type: message/");
	buf_puts(out, r->is_utf8 ? "global-delivery-status\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" : "delivery-status\r\n\r\n");
	put_field(out, "Reporting-MTA", "dns; ", span_str(r->myhostname), false);
	if (r->envid.n > 0) {
		struct buf text;
		buf_init(&text, FIELD_MAX);
		if (xtext_decode(&text, r->envid) == RC_OK)
			put_field(out, "Original-Envelope-Id", "", buf_span(&text), false);
		buf_fini(&text);
	}
	put_x_name(out, r);
	put_field(out, "-Queue-ID", "", r->about_qid, false);
	put_x_name(out, r);
	put_addr_field(out, "-Sender", r->sender, r->is_utf8);
	put_date_field(out, "Arrival-Date", r->arrival);
	for (size_t i = 0; i < r->nrcpt; i++)
		put_rcpt(out, r, &r->rcpts[i]);
}

/* How much of the original goes in: all that was read, or its header. */
static struct span
returned(const struct dsn_report *r)
{
	if (!r->headers_only)
		return r->content;
	if (span_starts(r->content, SPAN("\r\n")))
		return SPAN_EMPTY;
	size_t end = span_find(r->content, SPAN("\r\n\r\n"));
	return end == SIZE_MAX ? r->content : span_head(r->content, end + 2);
}

/* Lines of the original: CRLF only, none over the limit. */
static void
put_original_lines(struct buf *out, struct span s)
{
	size_t line = 0;
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = s.p[i];
		bool crlf = c == '\r' && i + 1 < s.n && s.p[i + 1] == '\n';
		if (crlf || c == '\n' || c == '\r') {
			end_line(out);
			line = 0;
			i += crlf ? 1 : 0;
			continue;
		}
		if (line == LINE_LIMIT) {
			buf_puts(out, "\r\n ");
			line = 1;
		}
		buf_putc(out, c != '\0' ? c : '?');
		line++;
	}
	if (line > 0)
		end_line(out);
}

static void
put_original(struct buf *out, const struct dsn_report *r, struct span original, bool is_8bit)
{
	const struct words *w = &words[r->kind];
	put_delimiter(out, r, "");
	buf_puts(out, "Content-Description: ");
	buf_puts(out, r->headers_only ? w->headers_part : w->part);
	buf_puts(out, "\r\nContent-Type: ");
	if (r->is_utf8)
		buf_puts(out, r->headers_only ? "message/global-headers" : "message/global");
	else
		buf_puts(out, r->headers_only ? "text/rfc822-headers" : "message/rfc822");
	end_line(out);
	if (is_8bit)
		buf_puts(out, "Content-Transfer-Encoding: 8bit\r\n");
	buf_puts(out, "\r\nReturn-Path: <");
	put_addr(out, r->sender, r->is_utf8);
	buf_puts(out, ">\r\n");
	put_original_lines(out, original);
}

void
dsn_write(struct buf *out, const struct dsn_report *r)
{
	struct span original = returned(r);
	bool original_8bit = !span_is_ascii(original) || (r->is_utf8 && !span_is_ascii(r->sender));
	put_header(out, r, original_8bit || r->is_utf8);
	put_story(out, r);
	put_status(out, r);
	put_original(out, r, original, original_8bit);
	put_delimiter(out, r, "--");
}

bool
dsn_is_8bit(struct span report)
{
	return !span_is_ascii(report);
}
