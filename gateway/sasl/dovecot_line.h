/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dovecot_line.h - one line of Dovecot's auth protocol, as a client hears it. Facts 8.5.
 *
 * Pure. Fields are separated by TAB; what has no meaning to us is DOVECOT_OTHER and to be passed over, what has one
 * and is not well-formed is RC_PERM.
 */
#ifndef SASL_DOVECOT_LINE_H
#define SASL_DOVECOT_LINE_H

#include "base/span.h"

enum { DOVECOT_LINE_MAX = 64 * 1024, DOVECOT_USER_MAX = 255, DOVECOT_REASON_MAX = 200 };

enum dovecot_verb {
	DOVECOT_OTHER = 0, DOVECOT_VERSION, DOVECOT_MECH, DOVECOT_SPID, DOVECOT_DONE, DOVECOT_CONT, DOVECOT_OK, DOVECOT_FAIL,
};

/* Borrowed from the line. */
struct dovecot_line {
	enum dovecot_verb verb;
	uint32_t major, minor;       /* VERSION */
	struct span mech;            /* MECH: a well-formed name */
	unsigned properties;         /* enum sasl_property */
	uint32_t id;                 /* CONT, OK, FAIL */
	struct span challenge;       /* CONT: base64 */
	struct span user;            /* OK: 1 to DOVECOT_USER_MAX printable octets of UTF-8; FAIL: the same, or empty */
	struct span reason;          /* FAIL: printable UTF-8, or empty */
	bool is_temporary;           /* FAIL: not the client's fault */
};

/* line: without its LF. */
enum rc dovecot_line(struct span line, struct dovecot_line *out, struct err *e) MUST_CHECK;

#endif
