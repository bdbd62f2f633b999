/* SPDX-License-Identifier: BSD-2-Clause */
/* Property: whatever strangers wrote and whatever a template file says, a notice is CRLF lines of at most 998 octets, with an ASCII header
 * that ends where ours ends; with the built-in texts there is one "Number:" line for each message and nothing to click. */
#include "quarantine/notice.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static struct span
field(struct span *rest)
{
	size_t at = span_chr(*rest, 0xff);
	struct span f = at == SIZE_MAX ? *rest : span_head(*rest, at);
	*rest = at == SIZE_MAX ? SPAN_EMPTY : span_from(*rest, at + 1);
	return f;
}

static void
check_mail(struct span s)
{
	size_t line = 0, end = span_find(s, SPAN("\r\n\r\n"));
	BUG_ON(end == SIZE_MAX || !span_is_ascii(span_head(s, end)) || !span_is_utf8(s));
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = s.p[i];
		BUG_ON(c == '\0' || (c == '\n' && (i == 0 || s.p[i - 1] != '\r')) || (c == '\r' && (i + 1 == s.n || s.p[i + 1] != '\n')));
		line = c == '\n' ? 0 : line + 1;
		BUG_ON(line > 999);
	}
	struct span head = span_head(s, end + 2);
	BUG_ON(span_find(head, SPAN("\r\nBcc:")) != SIZE_MAX || span_find(head, SPAN("\r\nContent-Type: text/plain; charset=")) == SIZE_MAX);
}

static size_t
count(struct span s, struct span what)
{
	size_t n = 0, at;
	for (; (at = span_find(s, what)) != SIZE_MAX; s = span_from(s, at + 1))
		n++;
	return n;
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	if (n < 2)
		return 0;
	static const enum notice_text messages[] = { NT_DIGEST, NT_VIRUS_POSTMASTER, NT_VIRUS_RECIPIENT, NT_VIRUS_SENDER, NT_VIRUS_MORE };
	struct span rest = span_of(p + 1, n - 1);
	struct notice_templates built_in, own;
	struct err e = { .why = "" };
	struct buf out, again;
	struct span rcpt[1];
	notice_templates_init(&built_in);
	own = built_in;
	struct notice_item item = { .class = (enum held_class)(p[0] % HELD_CLASSES), .sender = field(&rest), .from = field(&rest), .subject = field(&rest),
		.reason = field(&rest), .signature = field(&rest), .client = field(&rest), .rcpt = rcpt, .nrcpt = 1, .hide_rcpts = (p[0] & 64) != 0 };
	rcpt[0] = field(&rest);
	struct notice_item items[2] = { item, item };
	struct notice notice = { .text = messages[p[0] % 5], .templates = &built_in, .to = SPAN("anna@here.test"), .myhostname = "gw.here.test",
		.myorigin = "here.test", .mail_name = "Dogana", .items = items, .nitems = 2, .count = 3 };
	buf_init(&out, 64 << 20);
	buf_init(&again, 64 << 20);
	notice_write(&out, &notice);
	check_mail(buf_span(&out));
	BUG_ON(count(buf_span(&out), SPAN("\r\n  Number: ")) != 2 || count(buf_span(&out), SPAN("://")) != 0);
	if (notice_templates_read(&own, rest, &e) == RC_OK) {
		notice.templates = &own;
		buf_reset(&out);
		notice_write(&out, &notice);
		check_mail(buf_span(&out));
	}
	buf_fini(&out);
	buf_fini(&again);
	return 0;
}
