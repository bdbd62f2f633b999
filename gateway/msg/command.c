/* SPDX-License-Identifier: BSD-2-Clause */
#include "msg/command.h"

#include "msg/addr.h"
#include "msg/xtext.h"

bool
command_can_send(struct span addr)
{
	for (size_t i = 0; i < addr.n; i++)
		if (addr.p[i] < ' ' || addr.p[i] == 0x7f)
			return false;
	return true;
}

void
command_mail(struct buf *out, const struct command_mail *m, unsigned features)
{
	buf_put(out, SPAN("MAIL FROM:<"));
	addr_write_text(out, m->sender);
	buf_putc(out, '>');
	if ((features & HUB_SIZE) && m->size > 0) {
		buf_put(out, SPAN(" SIZE="));
		buf_put_dec(out, m->size);
	}
	if ((features & HUB_8BITMIME) && m->is_8bit)
		buf_put(out, SPAN(" BODY=8BITMIME"));
	if ((features & HUB_SMTPUTF8) && m->is_utf8)
		buf_put(out, SPAN(" SMTPUTF8"));
	if (features & HUB_DSN) {
		if (m->ret == DSN_RET_FULL || m->ret == DSN_RET_HDRS)
			buf_put(out, m->ret == DSN_RET_FULL ? SPAN(" RET=FULL") : SPAN(" RET=HDRS"));
		if (m->envid.n > 0 && xtext_is_valid(m->envid, ENVID_MAX)) {
			buf_put(out, SPAN(" ENVID="));
			buf_put(out, m->envid);
		}
	}
	if (features & HUB_AUTH) /* we are known here, the sender is not (RFC 4954 5) */
		buf_put(out, SPAN(" AUTH=<>"));
	buf_put(out, SPAN("\r\n"));
}

bool
command_xforward(struct buf *out, struct span attributes, unsigned features, unsigned which)
{
	static const unsigned commands[XFORWARD_COMMANDS] = { HUB_XF_NAME | HUB_XF_ADDR | HUB_XF_PORT,
		HUB_XF_PROTO | HUB_XF_HELO | HUB_XF_IDENT | HUB_XF_SOURCE };
	struct span word;
	bool any = false;
	while (span_word(&attributes, " ", &word)) {
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
	} words[] = { { DSN_NEVER, "NEVER" }, { DSN_SUCCESS, "SUCCESS" }, { DSN_FAILURE, "FAILURE" }, { DSN_DELAY, "DELAY" } };
	const char *sep = " NOTIFY=";
	for (size_t i = 0; i < NELEMS(words); i++) {
		if ((notify & words[i].bit) == 0)
			continue;
		buf_puts(out, sep);
		buf_puts(out, words[i].word);
		sep = ",";
		if (words[i].bit == DSN_NEVER)
			return; /* stands alone */
	}
}

void
command_rcpt(struct buf *out, const struct command_rcpt *r, unsigned features)
{
	buf_put(out, SPAN("RCPT TO:<"));
	addr_write_text(out, r->addr);
	buf_putc(out, '>');
	if (features & HUB_DSN) {
		put_notify(out, r->notify);
		if (r->orcpt.n > 0 && xtext_is_orcpt(r->orcpt, ORCPT_MAX)) {
			buf_put(out, SPAN(" ORCPT="));
			buf_put(out, r->orcpt);
		} else if (r->orcpt.n == 0 && r->orig.n > 0) {
			struct buf quoted;
			buf_init(&quoted, 4096);
			buf_put(out, SPAN(" ORCPT=rfc822;"));
			xtext_encode(out, addr_shown(r->orig, &quoted));
			buf_fini(&quoted);
		}
	}
	buf_put(out, SPAN("\r\n"));
}
