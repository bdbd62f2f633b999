/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * answer.h - what a DNS packet says about one question. Pure: bytes in, a typed answer out.
 *
 * Names come out as text without the final dot, in the sender's case; bytes that no host name has are
 * escaped as in zone files (\. and \DDD), so such a name never passes dns_is_hostname(). The root is
 * the empty span. Limits: DNS_RR_MAX records, DNS_CNAME_MAX aliases, DNS_TXT_MAX bytes of one text.
 */
#ifndef DNS_ANSWER_H
#define DNS_ANSWER_H

#include "base/arena.h"

#include <netinet/in.h>

enum dns_type { DNS_A = 1, DNS_NS = 2, DNS_PTR = 12, DNS_MX = 15, DNS_TXT = 16, DNS_AAAA = 28, DNS_SRV = 33, DNS_TLSA = 52 };
const char *dns_type_name(enum dns_type t);

enum {
	DNS_NAME_MAX = 255,        /* bytes of a name on the wire */
	DNS_RR_MAX = 512,          /* records kept; more are left out */
	DNS_SCAN_MAX = 2048,       /* records looked at */
	DNS_CNAME_MAX = 10,        /* aliases followed */
	DNS_TXT_MAX = 4096,        /* bytes of one TXT record, its strings joined */
	DNS_TTL_MAX = 86400,
	DNS_NEGATIVE_TTL_MAX = 3600,
};

struct dns_rr {
	uint16_t pref;             /* MX; SRV: priority */
	union {
		struct in_addr a;
		struct in6_addr aaaa;
		struct {
			uint16_t weight, port;
		} srv;
		struct {           /* RFC 6698 2.1 */
			uint8_t usage, selector, matching;
		} tlsa;
	} addr;
	struct span data;          /* MX, NS, PTR, SRV: name as text; TXT: the bytes; TLSA: certificate or digest, not empty */
};

/* Why there is no answer (RC_TEMP). */
enum dns_trouble {
	DNS_TROUBLE_SERVER = 0,    /* it could not say: SERVFAIL, REFUSED, endless aliases */
	DNS_TROUBLE_TIMEOUT,       /* nobody answered in time */
	DNS_TROUBLE_BUSY,          /* it was never asked: a limit of our own */
};

struct dns_answer {
	bool nxdomain;             /* with RC_NONE: the name itself does not exist */
	enum dns_trouble trouble;  /* with RC_TEMP */
	bool is_secure;            /* the AD bit (RFC 4035 3.2.3); out of dns.h: only of a server that is believed */
	unsigned aliases;          /* followed */
	unsigned rcode;            /* of the packet, with its upper bits */
	uint32_t ttl;              /* seconds; smallest of what was used */
	unsigned n;
	struct dns_rr *rr;
	struct span alias;         /* with RC_NONE: the packet ends at this alias without a word about it, which has to be asked next */
	const char *why;           /* unless RC_OK: a literal, as in Postfix's texts */
};

/* RC_OK: at least one record. RC_NONE: no such name or no such record (ttl: how long to believe it).
 * RC_TEMP: the server could not say (SERVFAIL, REFUSED, truncated), or aliases without end.
 * RC_PERM: not a well-formed answer to this question. Records and their bytes go into the arena. */
enum rc dns_answer_parse(struct span packet, struct span name, enum dns_type type, struct arena *a, struct dns_answer *out) MUST_CHECK;

/* Why a host has no address, in the C library's words, which Postfix's log and replies have. rc is not RC_OK. */
const char *dns_host_error(enum rc rc, const struct dns_answer *a);

/* Text to wire form; false when it cannot be asked for: an empty or too long label, a backslash, space,
 * control or octet over 127. A final dot is fine. */
bool dns_name_encode(struct span text, unsigned char wire[DNS_NAME_MAX], size_t *len_out) MUST_CHECK;

/* A host name as RFC 1123 has it (underscores allowed, as Postfix does): labels of 1 to 63 letters,
 * digits, hyphens inside; at most 255 in all; not all digits and dots. */
bool dns_is_hostname(struct span s);

#endif
