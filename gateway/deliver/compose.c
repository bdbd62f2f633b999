/* SPDX-License-Identifier: BSD-2-Clause */
#include "deliver/compose.h"

#include "deliver/ehlo.h"
#include "msg/addr.h"
#include "msg/xtext.h"

enum { ENVID_MAX = 100, ORCPT_MAX = 500 }; /* RFC 3461 4.4, 4.2 */

bool
compose_can_send(struct span addr)
{
	for (size_t i = 0; i < addr.n; i++)
		if (addr.p[i] < ' ' || addr.p[i] == 0x7f)
			return false;
	return true;
}

bool
compose_needs_utf8(const struct job *j)
{
	if (!span_is_ascii(j->sender) || ((j->m.flags & MSGF_SMTPUTF8) && (j->m.flags & MSGF_UTF8_HEADERS)))
		return true;
	for (unsigned i = 0; i < j->nrcpt; i++)
		if (!span_is_ascii(j->rcpt[i].wire))
			return true;
	return false;
}

void
compose_mail(struct buf *out, const struct job *j, unsigned features)
{
	buf_put(out, SPAN("MAIL FROM:<"));
	addr_write_text(out, j->sender);
	buf_putc(out, '>');
	if ((features & EHLO_SIZE) && (j->m.flags & MSGF_PROBE) == 0) {
		buf_put(out, SPAN(" SIZE="));
		buf_put_dec(out, job_length(j));
	}
	if ((features & EHLO_8BITMIME) && (j->m.flags & (MSGF_8BITMIME | MSGF_HAS_8BIT)))
		buf_put(out, SPAN(" BODY=8BITMIME"));
	if ((features & EHLO_SMTPUTF8) && ((j->m.flags & MSGF_SMTPUTF8) || compose_needs_utf8(j)))
		buf_put(out, SPAN(" SMTPUTF8"));
	if (features & EHLO_DSN) {
		if (j->m.flags & (MSGF_RET_FULL | MSGF_RET_HDRS))
			buf_put(out, j->m.flags & MSGF_RET_FULL ? SPAN(" RET=FULL") : SPAN(" RET=HDRS"));
		if (j->m.envid.n > 0 && xtext_is_valid(j->m.envid, ENVID_MAX)) {
			buf_put(out, SPAN(" ENVID="));
			buf_put(out, j->m.envid);
		}
	}
	if (features & EHLO_AUTH) /* we are known here, the sender is not (RFC 4954 5) */
		buf_put(out, SPAN(" AUTH=<>"));
	buf_put(out, SPAN("\r\n"));
}

bool
compose_xforward(struct buf *out, const struct job *j, unsigned features, unsigned which)
{
	static const unsigned commands[XFORWARD_COMMANDS] = { EHLO_XF_NAME | EHLO_XF_ADDR | EHLO_XF_PORT,
		EHLO_XF_PROTO | EHLO_XF_HELO | EHLO_XF_IDENT | EHLO_XF_SOURCE };
	struct span rest = j->m.forward, word;
	bool any = false;
	while (span_word(&rest, " ", &word)) {
		unsigned bit = ehlo_xforward_attribute(span_head(word, span_chr(word, '=')));
		if ((bit & commands[which] & features) == 0)
			continue;
		buf_put(out, any ? SPAN(" ") : SPAN("XFORWARD "));
		buf_put(out, word);
		any = true;
	}
	if (any)
		buf_put(out, SPAN("\r\n"));
	return any;
}

static void
put_notify(struct buf *out, uint8_t notify)
{
	static const struct {
		uint8_t bit;
		const char *word;
	} words[] = { { NOTIFY_NEVER, "NEVER" }, { NOTIFY_SUCCESS, "SUCCESS" }, { NOTIFY_FAILURE, "FAILURE" }, { NOTIFY_DELAY, "DELAY" } };
	const char *sep = " NOTIFY=";
	for (size_t i = 0; i < NELEMS(words); i++) {
		if ((notify & words[i].bit) == 0)
			continue;
		buf_puts(out, sep);
		buf_puts(out, words[i].word);
		sep = ",";
		if (words[i].bit == NOTIFY_NEVER)
			return; /* stands alone */
	}
}

void
compose_rcpt(struct buf *out, const struct job *j, unsigned i, unsigned features)
{
	const struct job_rcpt *r = &j->rcpt[i].r;
	buf_put(out, SPAN("RCPT TO:<"));
	addr_write_text(out, j->rcpt[i].wire);
	buf_putc(out, '>');
	if (features & EHLO_DSN) {
		put_notify(out, r->notify);
		if (r->orcpt.n > 0 && xtext_is_orcpt(r->orcpt, ORCPT_MAX)) {
			buf_put(out, SPAN(" ORCPT="));
			buf_put(out, r->orcpt);
		} else if (r->orcpt.n == 0 && span_is_ascii(r->addr)) {
			struct buf quoted;
			buf_init(&quoted, 4096);
			buf_put(out, SPAN(" ORCPT=rfc822;"));
			xtext_encode(out, addr_shown(r->orig.n > 0 && span_is_ascii(r->orig) ? r->orig : r->addr, &quoted));
			buf_fini(&quoted);
		}
	}
	buf_put(out, SPAN("\r\n"));
}
