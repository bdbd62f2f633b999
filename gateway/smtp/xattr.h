/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * xattr.h - "NAME=value NAME=value ...", the arguments of XCLIENT and XFORWARD. Facts 10.5. Pure.
 */
#ifndef SMTP_XATTR_H
#define SMTP_XATTR_H

#include "base/arena.h"
#include "base/ipaddr.h"

enum { XATTR_VALUE_MAX = 255 };  /* octets, encoded */

enum xattr_fault { XATTR_FINE = 0, XATTR_NO_VALUE, XATTR_TOO_LONG };

struct xattr {
	struct span name;        /* as given, into the command */
	struct span value;       /* xtext decoded (what is no xtext: as given), printable; in the arena */
	bool unavailable;        /* [UNAVAILABLE] */
	bool tempunavail;        /* [TEMPUNAVAIL] */
	enum xattr_fault fault;
};

/* Takes the next attribute; false: none is left. */
bool xattr_next(struct span *rest, struct arena *a, struct xattr *out);

/* "192.0.2.1", "IPV6:2001:db8::1": as SMTP writes addresses, without brackets. IPv4-mapped ones come unmapped. */
enum rc xattr_address(struct span value, struct ipaddr *out) MUST_CHECK;
/* Digits, at most 65535. */
enum rc xattr_port(struct span value, uint16_t *out) MUST_CHECK;
/* The value with what could break a header or a log line replaced by '?'. */
struct span xattr_neuter(struct span value, struct arena *a);

#endif
