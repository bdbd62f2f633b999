/* SPDX-License-Identifier: BSD-2-Clause */
#include "deliver/compose.h"

#include "msg/command.h"

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
	const struct command_mail m = {
		.sender = j->sender, .size = j->m.flags & MSGF_PROBE ? 0 : job_length(j), .envid = j->m.envid,
		.is_8bit = (j->m.flags & (MSGF_8BITMIME | MSGF_HAS_8BIT)) != 0,
		.is_utf8 = (features & HUB_SMTPUTF8) && ((j->m.flags & MSGF_SMTPUTF8) || compose_needs_utf8(j)),
		.ret = j->m.flags & MSGF_RET_FULL ? DSN_RET_FULL : j->m.flags & MSGF_RET_HDRS ? DSN_RET_HDRS : DSN_RET_NONE,
	};
	command_mail(out, &m, features);
}

void
compose_rcpt(struct buf *out, const struct job *j, unsigned i, unsigned features)
{
	const struct job_rcpt *r = &j->rcpt[i].r;
	struct span orig = !span_is_ascii(r->addr) ? SPAN_EMPTY : r->orig.n > 0 && span_is_ascii(r->orig) ? r->orig : r->addr;
	const struct command_rcpt c = { .addr = j->rcpt[i].wire, .notify = r->notify, .orcpt = r->orcpt, .orig = orig };
	command_rcpt(out, &c, features);
}
