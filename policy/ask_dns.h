/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ask_dns.h - what rules ask the DNS, remembered for the length of a run. For files of policy/ only.
 *
 * A rule asks for what it needs, all of it, and returns POL_AGAIN while anything is NULL; when it is run again the answers
 * are there. What the resolver knows already comes at once. Each question is asked once a run; more than POLICY_DNS_MAX
 * different ones are RC_TEMP, and the evaluation ends in a deferral: domains full of hosts are the client's, and must not
 * use up what a list that comes later needs. An answer takes dns_timeout at most, then it is RC_TEMP.
 */
#ifndef POLICY_ASK_DNS_H
#define POLICY_ASK_DNS_H

#include "dns/dns.h"
#include "policy/engine.h"
#include "rbl/ask.h"

enum { POLICY_DNS_MAX = 1024 };

struct policy_said {
	enum rc rc;                  /* as dns.h has it */
	const struct dns_answer *answer; /* never NULL; until the run is reset */
};
/* NULL: it is on its way, return POL_AGAIN. */
const struct policy_said *policy_ask_dns(struct policy_run *r, enum dns_type type, struct span name);

/* The TXT records of a query to a list (the domain is its end): dnsbl_timeout at most, and what rbl_reason_may_ask() says. */
const struct policy_said *policy_ask_reason(struct policy_run *r, enum rbl_kind list_kind, struct span domain, struct span query);

/* For explain: what was asked and came. */
void policy_tell_dns(struct policy_run *r, enum dns_type type, struct span name, enum rc rc, const struct dns_answer *a, uint64_t usec);

/* The same in Postfix's terms. */
enum mail_dns {
	MAIL_DNS_WAIT = 0,           /* return POL_AGAIN */
	MAIL_DNS_FOUND,
	MAIL_DNS_NONE,               /* no such name, no such record, or nothing that could be a name */
	MAIL_DNS_NULL_MX,            /* RFC 7505 */
	MAIL_DNS_MALFORMED,          /* records, but none with a host name in it */
	MAIL_DNS_LATER,
};
/* answer_out may be NULL; set unless MAIL_DNS_WAIT. Of its records those count whose name is policy_is_host(). */
enum mail_dns policy_mail_dns(struct policy_run *r, enum dns_type type, struct span name, const struct dns_answer **answer_out);
/* What an MX or NS record may name: a host name (also a wildcard) or an address. */
bool policy_is_host(struct span name);
/* The worse to know of two outcomes that are not MAIL_DNS_FOUND: what could not be asked before what is not there. */
enum mail_dns policy_worse(enum mail_dns a, enum mail_dns b);

/* Addresses of a host; fn says false when it has enough. MAIL_DNS_FOUND: there are some (fn may have stopped). Otherwise
 * *why_out says why not (dns_host_error). A name that is an address is its own; a final dot does not matter.
 * inet_protocols says which families count. */
typedef bool policy_addr_fn(void *arg, const struct ipaddr *addr);
enum mail_dns policy_host_addrs(struct policy_run *r, struct span host, policy_addr_fn *fn, void *arg, const char **why_out);

#endif
