/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * addr.h - mail addresses: the one parser of what MAIL, RCPT and VRFY give, and the writers.
 *
 * RFC 5321 4.1.2 with Postfix's leniency: angle brackets may be missing, a source route is dropped (and
 * remembered), dots may stand anywhere in the local part, an unquoted '@' belongs to the local part, a
 * backslash quotes one character. What comes out was validated after every repair: the local part has no
 * control character, the domain is a host name, an address literal, or empty. Everybody who needs
 * the domain (policy, log, routing, relay) takes it from here, so nobody can see another one.
 *
 * Internal form is local@domain without quotes: the last '@' separates. Pure; spans of the result point
 * into the arena.
 */
#ifndef MSG_ADDR_H
#define MSG_ADDR_H

#include "base/arena.h"
#include "base/buf.h"

enum {
	ADDR_PATH_MAX = 256,     /* octets of a path with its brackets, RFC 5321 4.5.3.1.3 */
	ADDR_DOMAIN_MAX = 255,
	ADDR_LABEL_MAX = 63,
};

enum {                           /* how addr_parse_path() reads */
	ADDR_STRICT = 1,         /* strict_rfc821_envelopes: <...> is required, and no white space in it */
	ADDR_UTF8 = 2,           /* SMTPUTF8 was declared: the domain may have octets over 127 */
};

enum {                           /* what was found: struct addr.flags */
	ADDR_ROUTED = 1,         /* had a source route, or "a@b" in quotes: the sender prescribed the way */
	ADDR_IS_LITERAL = 2,     /* the domain is [...] */
	ADDR_HAS_8BIT = 4,
};

struct addr {
	struct span local;       /* unquoted; empty for the null sender */
	struct span domain;      /* without trailing dot; case as given; empty: none was given */
	struct span text;        /* internal form: local@domain, or local; empty: null sender */
	unsigned flags;
};

/* Reads a path from the front of in; *rest_out is what follows it (parameters, with the white space before them).
 * RC_PERM: not an address; the reason is for the log. <> gives an empty address: the caller decides. */
enum rc addr_parse_path(struct span in, unsigned how, struct arena *a, struct addr *out, struct span *rest_out, struct err *e) MUST_CHECK;
/* The same, with nothing behind the path but white space. */
enum rc addr_parse(struct span in, unsigned how, struct arena *a, struct addr *out, struct err *e) MUST_CHECK;

/* Splits internal form at the last '@'. Nothing is validated or copied. */
struct addr addr_of_internal(struct span text);
bool addr_eq(const struct addr *a, const struct addr *b);

/* Appends the quoted form, local@domain as RFC 5321 writes it, without angle brackets. */
void addr_write(struct buf *b, const struct addr *a);
/* The same of internal form; what needs no quotes is copied as it is. */
void addr_write_text(struct buf *b, struct span internal);
bool addr_needs_quotes(struct span local);
/* Internal form as it is shown in a log line: itself, or quoted in scratch (initialised, with its own limit; freed by
 * the caller), so that no address can look like two fields. */
struct span addr_shown(struct span internal, struct buf *scratch);

/* Host name: labels of letters, digits, '-', '_' (and octets over 127 with utf8), no empty label, none over
 * 63 octets, no hyphen at an end, not digits and dots only, at most 255 octets. */
bool addr_is_hostname(struct span s, bool utf8);
/* "[192.0.2.1]", "[IPv6:2001:db8::1]". */
bool addr_is_literal(struct span s);

#endif
