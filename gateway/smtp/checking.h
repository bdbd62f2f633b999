/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * checking.h - header and body checks of one message on its way in (filters/checks.h), MIME limits (strict_8bitmime and its kin,
 * mime_nesting_limit), message_reject_characters and message_strip_characters. Facts 10.1.
 *
 * The header is looked at where it is edited (heading.c), the body while it streams through smtp/content.h: what was looked at is
 * final, a line that changes takes the place of the old one before it goes anywhere. A service without any of this has no
 * struct checking in its transactions, and pays nothing.
 */
#ifndef SMTP_CHECKING_H
#define SMTP_CHECKING_H

#include "base/arena.h"
#include "filters/checks.h"
#include "msg/headers.h"

struct sess;
struct tx;
struct edge_service;
struct checking;

/* What a service wants looked at; in the edge_service. */
struct check_settings {
	struct checks *checks;       /* NULL: none */
	struct checks *milter;       /* milter_header_checks */
	struct mime_conf mime;
	uint64_t body_max;           /* body_checks_size_limit */
	bool wants_mime;             /* checks, or one of the strict_ parameters: parts are walked over */
	bool has_chars;              /* one of: */
	uint8_t chars[256];          /* CONTENT_CHAR_REJECT, CONTENT_CHAR_STRIP */
};

enum rc check_settings_open(struct conf *c, const struct service *s, struct check_settings *out, struct err *e) MUST_CHECK;
void check_settings_free(struct check_settings *k);
void check_settings_notes(struct conf *c, const struct service *s, const struct check_settings *k);

/* DATA or the first BDAT: tx->checking, or NULL. Behind content_init(). */
void checking_begin(struct sess *s);
void checking_free(struct checking **kp);        /* NULL inside is fine */
/* content.has_bad: message_reject_characters found one. */
void checking_bad_octet(struct sess *s);

/* The header is whole: old, its octets with the empty line if it has one, and the same as a list, which is changed. RC_TEMP: a table could
 * not be asked; nothing happened yet, it may be done again. A refusal is the content's fault. */
enum rc checking_header(struct sess *s, struct span old, bool has_blank, struct headers *h, struct err *e) MUST_CHECK;
/* What is there of the body. RC_TEMP: a table has to be waited for, then again. at_end: that is all. */
enum rc checking_body(struct sess *s, bool at_end, struct err *e) MUST_CHECK;
/* The same where nobody can wait; true: a table has to be waited for. */
bool checking_asks(struct sess *s);
/* A check refused the message; "550 5.7.1 text" is the answer. */
bool checking_refused(const struct tx *tx);
struct span checking_reply(const struct tx *tx, unsigned *code_out);

/* Behind a checking_body() for which a table has to be waited for: asks it about the next lines, too, so that the questions leave together. */
void checking_ask_ahead(struct sess *s);

/* milter_header_checks: what is new or changed in now, a header as milters made it of before; out: what it shall be. RC_TEMP: a table could not
 * be asked; nothing happened yet, it may be done again. checking_refused(): it refuses the message; the content is still there. */
enum rc checking_milter_header(struct sess *s, struct span before, struct span now, struct buf *out, struct err *e) MUST_CHECK;

#endif
