/* SPDX-License-Identifier: BSD-2-Clause */
#include "msg/received.h"

#include "msg/addr.h"
#include "msg/date.h"

enum { NAME_MAX_OCTETS = 256, ADDR_MAX_OCTETS = 320 };

/* Printable, and without what could end a word or open a comment. */
static void
put_name(struct buf *b, struct span s)
{
	size_t from = buf_len(b);
	buf_put_safe(b, s, NAME_MAX_OCTETS, true);
	if (b->p == NULL || b->over)
		return;
	for (unsigned char *p = b->p + b->at + from; p < b->p + b->n; p++)
		if (*p <= ' ' || memchr("<>()\\\";@", *p, 8) != NULL)
			*p = '?';
}

/* Text inside a comment: parentheses must be in pairs, and a backslash would quote the last one. */
static void
put_comment(struct buf *b, struct span s)
{
	size_t from = buf_len(b);
	buf_put_safe(b, s, NAME_MAX_OCTETS, true);
	if (b->p == NULL || b->over)
		return;
	for (unsigned char *p = b->p + b->at + from; p < b->p + b->n; p++)
		if (*p < ' ' || memchr("()\\", *p, 3) != NULL)
			*p = '?';
}

static const char *
protocol(const struct received *r)
{
	static const char *const names[2][4] = { { "SMTP", "ESMTPS", "ESMTPA", "ESMTPSA" }, { "ESMTP", "ESMTPS", "ESMTPA", "ESMTPSA" } };
	static const char *const utf8[4] = { "UTF8SMTP", "UTF8SMTPS", "UTF8SMTPA", "UTF8SMTPSA" };
	unsigned k = (r->is_tls ? 1u : 0u) | (r->is_auth ? 2u : 0u);
	return r->is_utf8 ? utf8[k] : names[r->is_esmtp][k];
}

void
received_write(struct buf *b, const struct received *r)
{
	buf_puts(b, "Received: ");
	if (!r->hide_client) {
		buf_puts(b, "from ");
		put_name(b, r->helo.n > 0 ? r->helo : r->client_name);
		buf_puts(b, " (");
		put_name(b, r->client_name);
		buf_puts(b, r->client_is_v6 ? " [IPv6:" : " [");
		buf_put(b, r->client_addr);
		buf_puts(b, "])\r\n");
		buf_put(b, r->tls_lines);
		buf_puts(b, "\t");
	}
	if (r->login.n > 0 && !r->hide_client) {
		buf_puts(b, "(Authenticated sender: ");
		put_comment(b, r->login);
		buf_puts(b, ")\r\n\t");
	}
	buf_puts(b, "by ");
	buf_puts(b, r->myhostname);
	buf_puts(b, " (");
	buf_puts(b, r->mail_name);
	buf_puts(b, ")");
	if (!r->hide_client) {
		buf_puts(b, " with ");
		buf_puts(b, protocol(r));
	}
	if (r->qid.n > 0) {
		buf_puts(b, " id ");
		buf_put(b, r->qid);
	}
	if (r->for_rcpt.n > 0 && !r->hide_client) {
		struct buf quoted;
		buf_init(&quoted, 4 * ADDR_MAX_OCTETS);
		addr_write_text(&quoted, r->for_rcpt);
		buf_puts(b, "\r\n\tfor <");
		buf_put_safe(b, buf_span(&quoted), ADDR_MAX_OCTETS, true);
		buf_puts(b, ">; ");
		buf_fini(&quoted);
	} else {
		buf_puts(b, ";\r\n\t");
	}
	date_write(b, r->when);
	buf_puts(b, "\r\n");
}
