/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * notice.h - the text of a mail about held mail, from a template. Pure.
 *
 * A template file has texts in the form of Postfix's bounce templates: NAME = <<WORD, lines, WORD; rows: notices.def. A
 * message begins with From: and Subject: and has an empty line before its body. $name stands for a value, $$ for a dollar sign.
 *
 * What strangers wrote (subject, sender, names) goes through escape_mail(): one line, nothing hidden, nothing to click, cut, and
 * never looked at for $names. The result is RFC 5322: CRLF, no line over 998 octets, an ASCII header (RFC 2047) but for an
 * address that is UTF-8, Auto-Submitted, text/plain in UTF-8.
 */
#ifndef QUARANTINE_NOTICE_H
#define QUARANTINE_NOTICE_H

#include "base/arena.h"
#include "msg/held.h"
#include "spool/spool.h"

enum notice_text {
#define TEXT(id, name, kind, text, doc) NT_##id,
#include "quarantine/notices.def"
#undef TEXT
	NOTICE_TEXTS
};

enum { NOTICE_FILE_MAX = 256 * 1024 };

struct notice_templates {
	struct span text[NOTICE_TEXTS];
};

/* The built-in ones. */
void notice_templates_init(struct notice_templates *t);
/* A file's texts in the place of those in t, which stay as they are when it is wrong. Spans point into file. RC_PERM: an unknown name, header
 * or $name, a text without its end, what is not UTF-8; e names the line. */
enum rc notice_templates_read(struct notice_templates *t, struct span file, struct err *e) MUST_CHECK;
/* In the form of a template file: all texts. For those who want to change them. */
void notice_templates_write(struct buf *out, const struct notice_templates *t);

struct notice_item {
	struct spool_id id;
	uint64_t arrival, size, expires;         /* usec, octets, usec (0: never) */
	enum held_class class;
	struct span sender, from, subject, reason, signature, client;
	const struct span *rcpt;                 /* shown as recipients; internal form */
	size_t nrcpt;
	bool hide_rcpts;                         /* only how many: nobody learns of others */
};

struct notice {
	enum notice_text text;                   /* of a MESSAGE */
	const struct notice_templates *templates;
	struct span to;                          /* internal form */
	struct spool_id id;                      /* of the notice itself */
	uint64_t now;
	const char *myhostname, *myorigin, *mail_name;
	const struct notice_item *items;
	size_t nitems;
	uint64_t count;                          /* of all it is about: nitems or more */
};

void notice_write(struct buf *out, const struct notice *n);

#endif
