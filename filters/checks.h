/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * checks.h - header_checks(5), body_checks(5): what tables say of the headers and lines of a message, on its way in and out. Facts 10.1.
 *
 * A header or a line in, an action out; whoever has the message does it and logs it. Immutable, one per service and family. Pure but
 * for lookups: RC_TEMP may be a table that has to be waited for (map/remote.h).
 */
#ifndef FILTERS_CHECKS_H
#define FILTERS_CHECKS_H

#include "base/arena.h"
#include "map/map.h"
#include "msg/mime.h"

struct checks;

enum checks_family {
	CHECKS_IN = 0,           /* header_checks, mime_header_checks, nested_header_checks, body_checks */
	CHECKS_MILTER,           /* milter_header_checks: one table for every header */
	CHECKS_SMTP, CHECKS_LMTP,/* smtp_header_checks ..., lmtp_header_checks ... */
};

enum check_kind { CHECK_HEADER = 0, CHECK_MIME, CHECK_NESTED, CHECK_BODY, CHECK_KINDS };

enum check_action {
	CHECK_DUNNO = 0,         /* nothing (more); OK, too, and what cannot be done */
	CHECK_REJECT,            /* text: "5.7.1 why", complete; 4.x.x: not now */
	CHECK_DISCARD, CHECK_HOLD, CHECK_QUARANTINE, CHECK_PASS, CHECK_WARN, CHECK_INFO, CHECK_STRIP, /* text: for the log, may be empty */
	CHECK_IGNORE,
	CHECK_FILTER,            /* text: transport:destination */
	CHECK_REDIRECT, CHECK_BCC, /* text: an address with "@", as it was written */
	CHECK_PREPEND, CHECK_REPLACE, /* text: a header or a line */
};

struct check_verdict {
	enum check_action action;
	struct span text;        /* in the table or in scratch */
	const char *parameter;   /* whose table it was */
	const char *table;       /* its value, as it is written */
	char warning[400];       /* the result is of no use, and why; "": it is */
};

/* What a listener leaves out (receive_override_options = no_header_body_checks) has none. Problems to conf_problem(); *out is
 * NULL when there is nothing to do. RC_PERM: something cannot be used. */
enum rc checks_open(struct conf *c, const struct service *s, enum checks_family family, struct checks **out, struct err *e) MUST_CHECK;
bool checks_left_out(const struct params *p);     /* no_header_body_checks */
void checks_free(struct checks **cp);            /* NULL inside is fine */
bool checks_has(const struct checks *ch, enum check_kind kind); /* false for NULL */
/* Tables for these are asked in another process: answers may have to be waited for. */
bool checks_may_wait(const struct checks *ch, enum check_kind kind); /* false for NULL */
/* Results that are of no use become warnings of the configuration; of tables that can be listed. */
void checks_notes(struct conf *c, const struct service *s, const struct checks *ch);

/* Which tables a header belongs to: fields of MIME are for themselves wherever they stand, so is every header of a part. */
enum check_kind check_kind_of(enum mime_class class, enum mime_field field);

/* What is looked up for a header: its lines joined by LF, without the last line end, no blank before the colon. key is reset; the
 * result is in it or is text itself. */
struct span check_key(struct span text, size_t name_len, size_t colon, struct buf *key);
/* The line without its line end. */
struct span check_line(struct span text);

/* RC_OK: *out, perhaps CHECK_DUNNO. RC_TEMP: a table could not be asked. scratch: as of map_find(). */
enum rc checks_ask(const struct checks *ch, enum check_kind kind, struct span key, struct buf *scratch, struct check_verdict *out, struct err *e) MUST_CHECK;
/* "reject", "warning", ...: as the log has it. */
const char *check_action_name(enum check_action a);

/* The address of a REDIRECT or BCC in internal form, in the arena. how: ADDR_UTF8 or 0. */
enum { CHECK_WORD_MAX = 512 };   /* octets of a destination or an address */
bool check_address(struct span text, unsigned how, struct arena *arena, struct span *out);

/* A text of PREPEND or REPLACE as lines with CRLF. Of a header: whatever follows a line end is made its continuation. What is no
 * text (CR, NUL) becomes a blank. */
void check_write(struct buf *out, struct span text, bool is_header);

#endif
