/* SPDX-License-Identifier: BSD-2-Clause */
/* command.h - the MAIL, RCPT and XFORWARD commands of an SMTP client, with what the server offers (HUB_*). Pure. */
#ifndef MSG_COMMAND_H
#define MSG_COMMAND_H

#include "msg/ehlo.h"
#include "msg/syntax.h"

struct command_mail {
	struct span sender;      /* internal form; empty: the null sender */
	uint64_t size;           /* octets of content; 0: not said */
	bool is_8bit;            /* content or declaration */
	bool is_utf8;
	enum dsn_ret ret;
	struct span envid;       /* xtext; empty, or not valid: not said */
};
struct command_rcpt {
	struct span addr;        /* internal form */
	uint8_t notify;          /* enum dsn_notify; 0: not said */
	struct span orcpt;       /* "type;xtext"; empty: not said */
	struct span orig;        /* what orcpt is made of when there is none, internal form; empty: none is made */
};

/* CRLF included. */
void command_mail(struct buf *out, const struct command_mail *m, unsigned features);
void command_rcpt(struct buf *out, const struct command_rcpt *r, unsigned features);
/* One of the XFORWARD commands: of attributes ("NAME=x ADDR=y ...") what the server takes; false: nothing to say. */
enum { XFORWARD_COMMANDS = 2 };
bool command_xforward(struct buf *out, struct span attributes, unsigned features, unsigned which);
/* No octet that could end or split a command. */
bool command_can_send(struct span addr);

#endif
