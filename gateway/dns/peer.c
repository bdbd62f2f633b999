/* SPDX-License-Identifier: BSD-2-Clause */
#include "dns/peer.h"

#include <netinet/in.h>

static void
detach(struct op *op)
{
	ops_cancel_all(&container_of(op, struct dns_peer, op)->asked);
}

static const struct op_provider provider = { "client name", detach };

static void on_ptr(struct op *op);
static void on_host(struct op *op);

void
dns_peer_init(struct dns_peer *p, struct op_owner *owner, op_fn *done)
{
	*p = (struct dns_peer){ .reverse_rc = RC_NONE, .name_rc = RC_NONE };
	op_init(&p->op, owner, done);
	op_owner_init(&p->asked);
	dns_query_init(&p->ptr, &p->asked, on_ptr);
	for (unsigned i = 0; i < DNS_PEER_NAMES; i++)
		dns_query_init(&p->hosts[i], &p->asked, on_host);
}

void
dns_peer_fini(struct dns_peer *p)
{
	if (p->op.magic == 0)
		return;
	op_cancel(&p->op);
	ops_cancel_all(&p->asked);
	dns_query_fini(&p->ptr);
	for (unsigned i = 0; i < DNS_PEER_NAMES; i++)
		dns_query_fini(&p->hosts[i]);
	p->name = p->reverse = p->denied = SPAN_EMPTY;
}

static enum dns_type
address_type(const struct ipaddr *a)
{
	return a->family == IPADDR_V4 ? DNS_A : DNS_AAAA;
}

/* A name nobody can mistake for something else, in a log line, a header or a table. */
static bool
is_name(struct span s)
{
	return dns_is_hostname(s) && !span_caseeq_str(s, "unknown");
}

static bool
leads_back(const struct dns_peer *p, const struct dns_answer *a)
{
	size_t len = p->addr.family == IPADDR_V4 ? 4 : 16;
	for (unsigned i = 0; i < a->n; i++)
		if (memcmp(&a->rr[i].addr, p->addr.b, len) == 0)
			return true;
	return false;
}

/* All answers are there. */
static void
conclude(struct dns_peer *p)
{
	p->reverse_rc = RC_OK;
	p->reverse = p->denied = p->names[0];
	p->denied_why = p->rcs[0] != RC_OK ? dns_host_error(p->rcs[0], p->hosts[0].answer) : NULL;
	p->name_rc = RC_NONE;
	for (unsigned i = 0; i < p->n; i++) {
		if (p->rcs[i] == RC_OK && leads_back(p, p->hosts[i].answer)) {
			p->name_rc = RC_OK;
			p->name = p->reverse = p->names[i];
			p->denied = SPAN_EMPTY;
			return;
		}
		if (p->rcs[i] == RC_TEMP || p->rcs[i] == RC_PERM) /* a garbled answer is no denial */
			p->name_rc = RC_TEMP;
	}
}

static void
no_name(struct dns_peer *p, enum rc rc)
{
	p->reverse_rc = p->name_rc = rc == RC_NONE ? RC_NONE : RC_TEMP;
}

/* true: everything is known. */
static bool
confirm(struct dns_peer *p, enum rc rc)
{
	if (rc != RC_OK) {
		no_name(p, rc);
		return true;
	}
	for (unsigned i = 0; i < p->ptr.answer->n && p->n < DNS_PEER_NAMES; i++)
		if (is_name(p->ptr.answer->rr[i].data))
			p->names[p->n++] = p->ptr.answer->rr[i].data;
	if (p->n == 0) {
		no_name(p, RC_NONE);
		return true;
	}
	for (unsigned i = 0; i < p->n; i++)
		if (!dns_known(&p->hosts[i], address_type(&p->addr), p->names[i], &p->rcs[i]))
			dns_ask(&p->hosts[i], address_type(&p->addr), p->names[i], p->timeout_usec);
	if (!op_owner_idle(&p->asked))
		return false;
	conclude(p);
	return true;
}

static void
on_host(struct op *op)
{
	struct dns_query *q = container_of(op, struct dns_query, op);
	struct dns_peer *p = container_of(op->owner, struct dns_peer, asked);
	p->rcs[q - p->hosts] = op->rc;
	if (!op_owner_idle(&p->asked))
		return;
	conclude(p);
	op_finish(&p->op, RC_OK);
}

static void
on_ptr(struct op *op)
{
	struct dns_peer *p = container_of(op, struct dns_peer, ptr.op);
	if (confirm(p, op->rc))
		op_finish(&p->op, RC_OK);
}

static bool
is_loopback(const struct ipaddr *a)
{
	static const unsigned char v4[4] = { 127, 0, 0, 1 }, v6[16] = { [15] = 1 };
	return a->family == IPADDR_V4 ? memcmp(a->b, v4, sizeof v4) == 0 : memcmp(a->b, v6, sizeof v6) == 0;
}

bool
dns_peer_ask(struct dns_peer *p, const struct ipaddr *addr, uint64_t timeout_usec)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };
	struct buf name;
	enum rc rc;
	p->addr = ipaddr_unmap(*addr);
	p->timeout_usec = timeout_usec;
	if (is_loopback(&p->addr)) {
		p->reverse_rc = p->name_rc = RC_OK;
		p->reverse = p->name = SPAN("localhost");
		return true;
	}
	memcpy(&in.sin_addr, p->addr.b, sizeof in.sin_addr);
	memcpy(&in6.sin6_addr, p->addr.b, sizeof in6.sin6_addr);
	buf_init(&name, DNS_NAME_MAX);
	dns_reverse_name(p->addr.family == IPADDR_V4 ? (struct sockaddr *)&in : (struct sockaddr *)&in6, SPAN_EMPTY, &name);
	bool known = dns_known(&p->ptr, DNS_PTR, buf_span(&name), &rc);
	if (!known)
		dns_ask(&p->ptr, DNS_PTR, buf_span(&name), timeout_usec);
	buf_fini(&name);
	if (known && confirm(p, rc))
		return true;
	op_pend(&p->op, &provider);
	return false;
}
