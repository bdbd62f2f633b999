/* SPDX-License-Identifier: BSD-2-Clause */
#include "deliver/target.h"

#include "base/log.h"
#include "base/rand.h"
#include "msg/addr.h"

#include <stdarg.h>

enum { TARGET_BYTES = 256 * 1024 };

/* One host whose addresses are asked for. */
struct target_host {
	struct target *target;
	struct span name;
	uint16_t pref;
	struct dns_query v4, v6;
};

static void on_mx(struct op *op);
static void ask_hosts(struct target *t);
static void on_address(struct op *op);
static void build(struct target *t);
static bool add_address(struct target *t, struct span host, uint16_t pref, struct ipaddr a);

static void
detach_target(struct op *op)
{
	struct target *t = container_of(op, struct target, op);
	ops_cancel_all(&t->waits);
}

static const struct op_provider provider = { "target", detach_target };

void
target_init(struct target *t, struct op_owner *owner, op_fn *done)
{
	*t = (struct target){ .dsn = "" };
	op_init(&t->op, owner, done);
	op_owner_init(&t->waits);
	arena_init(&t->arena, TARGET_BYTES);
}

void
target_fini(struct target *t)
{
	if (t->op.owner == NULL)
		return;
	op_cancel(&t->op);
	ops_cancel_all(&t->waits);
	dns_query_fini(&t->mx);
	for (unsigned i = 0; i < t->n_hosts; i++) {
		dns_query_fini(&t->hosts[i].v4);
		dns_query_fini(&t->hosts[i].v6);
	}
	t->n_hosts = t->n = 0;
	arena_fini(&t->arena);
}

static void
fail(struct target *t, enum rc rc, const char *dsn, const char *fmt, ...) PRINTF(4, 5);

static void
fail(struct target *t, enum rc rc, const char *dsn, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(t->why, sizeof t->why, fmt, ap);
	va_end(ap);
	t->dsn = dsn;
	t->n = 0;
	op_finish(&t->op, rc);
}

/* The host as a C string for a message: it was checked to be clean. */
static const char *
shown(struct target *t, struct span s)
{
	const char *c = arena_cstr(&t->arena, s);
	return c != NULL ? c : "?";
}

static void
not_found(struct target *t, enum rc rc, struct span name, const char *type, const char *why)
{
	const char *dsn = rc == RC_TEMP ? "4.4.3" : "5.4.4";
	fail(t, rc, dsn, "Host or domain name not found. Name service error for name=%s type=%s: %s", shown(t, name), type, why);
}

static void
find_socket(struct target *t)
{
	struct taddr *a = t->addr;
	a->host = span_str(t->set->myhostname);
	a->ip = t->hop.path;
	a->sock.un.sun_family = AF_UNIX;
	memcpy(a->sock.un.sun_path, t->hop.path.p, t->hop.path.n);
	a->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + t->hop.path.n + 1);
	t->n = 1;
	op_finish(&t->op, RC_OK);
}

static bool
is_localhost(struct span s)
{
	return span_caseeq_str(s, "localhost") || span_caseeq_str(s, "localhost.");
}

void
target_find(struct target *t, const struct settings *set, const struct own *own, const struct nexthop *hop)
{
	struct ipaddr a;
	t->set = set;
	t->own = own;
	t->hop = *hop;
	t->hop.host = arena_span(&t->arena, hop->host);
	t->hop.path = arena_span(&t->arena, hop->path);
	t->hop.text = arena_span(&t->arena, hop->text);
	t->addr = arena_zalloc(&t->arena, TARGET_ADDRS_MAX * sizeof *t->addr);
	BUG_ON(t->arena.over); /* a next hop is far smaller than the arena */
	op_pend(&t->op, &provider);
	if (hop->path.n > 0) {
		find_socket(t);
		return;
	}
	if (!hop->use_mx && ipaddr_parse(hop->host, &a) == RC_OK) {
		(void)add_address(t, t->hop.host, 0, a);
		build(t);
		return;
	}
	if (is_localhost(hop->host)) {
		if (ipaddr_parse(SPAN("127.0.0.1"), &a) == RC_OK)
			(void)add_address(t, t->hop.host, 0, a);
		if (ipaddr_parse(SPAN("::1"), &a) == RC_OK)
			(void)add_address(t, t->hop.host, 0, a);
		build(t);
		return;
	}
	if (!addr_is_hostname(hop->host, false)) {
		not_found(t, RC_PERM, t->hop.host, hop->use_mx ? "MX" : "A", "Malformed name");
		return;
	}
	if (set->no_dns) {
		fail(t, RC_TEMP, "4.4.3", "Host or domain name not found. DNS lookups are disabled and %s is not an address", shown(t, t->hop.host));
		return;
	}
	if (hop->use_mx) {
		dns_query_init(&t->mx, &t->waits, on_mx);
		dns_ask(&t->mx, DNS_MX, t->hop.host, 0);
		return;
	}
	struct dns_rr self = { .data = t->hop.host };
	t->mx.answer = &(const struct dns_answer){ .n = 1, .rr = &self };
	ask_hosts(t);
}

/* RFC 7505: one record without a name is enough, as in Postfix and for senders (policy/ask_dns.c). */
static bool
is_null_mx(const struct dns_answer *a)
{
	for (unsigned i = 0; i < a->n; i++)
		if (a->rr[i].data.n == 0)
			return true;
	return false;
}

static void
on_mx(struct op *op)
{
	struct target *t = container_of(op, struct target, mx.op);
	const struct dns_answer *a = t->mx.answer;
	struct dns_rr self = { .data = t->hop.host };
	const struct dns_answer implicit = { .n = 1, .rr = &self };
	switch (op->rc) {
	case RC_OK:
		if (is_null_mx(a)) {
			fail(t, RC_PERM, "5.1.0", "Domain %s does not accept mail (nullMX)", shown(t, t->hop.host));
			return;
		}
		t->by_mx = true;
		ask_hosts(t);
		return;
	case RC_NONE:
		if (a->nxdomain && !t->set->ignore_mx_error) {
			not_found(t, RC_PERM, t->hop.host, "MX", a->why);
			return;
		}
		break;
	case RC_TEMP:
	case RC_PERM: /* malformed: it may be mended by the next time */
		if (!t->set->ignore_mx_error) {
			not_found(t, RC_TEMP, t->hop.host, "MX", a->why);
			return;
		}
		break;
	}
	/* RFC 5321 5.1: without an MX the domain itself is the host */
	t->mx.answer = &implicit;
	ask_hosts(t);
}

static int
by_pref(const void *x, const void *y)
{
	const struct dns_rr *a = x, *b = y;
	return a->pref < b->pref ? -1 : a->pref > b->pref;
}

/* Asks for the addresses of the best hosts in t->mx.answer. */
static void
ask_hosts(struct target *t)
{
	const struct dns_answer *mx = t->mx.answer;
	struct dns_rr *sorted = arena_alloc(&t->arena, mx->n * sizeof *sorted);
	t->hosts = arena_zalloc(&t->arena, TARGET_HOSTS_MAX * sizeof *t->hosts);
	if (sorted == NULL || t->hosts == NULL) {
		fail(t, RC_TEMP, "4.3.0", "too many mail servers for %s", shown(t, t->hop.host));
		return;
	}
	memcpy(sorted, mx->rr, mx->n * sizeof *sorted);
	for (unsigned i = mx->n; t->set->randomize && i > 1; i--) {
		unsigned j = rand_below(i);
		struct dns_rr tmp = sorted[i - 1];
		sorted[i - 1] = sorted[j];
		sorted[j] = tmp;
	}
	qsort(sorted, mx->n, sizeof *sorted, by_pref);
	t->best_pref = sorted[0].pref;
	for (unsigned i = 0; i < mx->n && t->n_hosts < TARGET_HOSTS_MAX; i++) {
		struct ipaddr literal;
		struct span name = sorted[i].data;
		/* an address in the place of a name is no MX (RFC 5321 5.1) */
		if (!addr_is_hostname(name, false) || ipaddr_parse(name, &literal) == RC_OK)
			continue;
		struct target_host *h = &t->hosts[t->n_hosts++];
		*h = (struct target_host){ .target = t, .pref = sorted[i].pref, .name = arena_span(&t->arena, name) };
		dns_query_init(&h->v4, &t->waits, on_address);
		dns_query_init(&h->v6, &t->waits, on_address);
	}
	for (unsigned i = 0; i < t->n_hosts; i++) {
		struct target_host *h = &t->hosts[i];
		if (t->set->want_v4 && ++t->pending > 0)
			dns_ask(&h->v4, DNS_A, h->name, 0);
		if (t->set->want_v6 && ++t->pending > 0)
			dns_ask(&h->v6, DNS_AAAA, h->name, 0);
	}
	if (t->pending == 0)
		build(t);
}

static void
on_address(struct op *op)
{
	/* both queries of a host end here: which one does not matter, only that all have */
	struct target *t = container_of(op->owner, struct target, waits);
	if (--t->pending == 0)
		build(t);
}

static bool
is_usable(const struct ipaddr *a)
{
	if (a->family == IPADDR_V4) /* multicast, reserved and broadcast are nobody's mail server */
		return a->b[0] < 224;
	return a->b[0] != 0xff;
}

static bool
add_address(struct target *t, struct span host, uint16_t pref, struct ipaddr a)
{
	a = ipaddr_unmap(a);
	if (t->n == TARGET_ADDRS_MAX || (a.family == IPADDR_V4 ? !t->set->want_v4 : !t->set->want_v6) || !is_usable(&a))
		return false;
	char text[IPADDR_TEXT];
	struct taddr *to = &t->addr[t->n];
	*to = (struct taddr){ .host = host, .pref = pref, .addr = a, .port = t->hop.port };
	to->ip = arena_span(&t->arena, span_of(text, ipaddr_text(&a, text)));
	if (t->arena.over)
		return false;
	if (a.family == IPADDR_V4) {
		to->sock.in4.sin_family = AF_INET;
		to->sock.in4.sin_port = (in_port_t)(t->hop.port >> 8 | t->hop.port << 8);
		memcpy(&to->sock.in4.sin_addr, a.b, 4);
		to->len = sizeof to->sock.in4;
	} else {
		to->sock.in6.sin6_family = AF_INET6;
		to->sock.in6.sin6_port = (in_port_t)(t->hop.port >> 8 | t->hop.port << 8);
		memcpy(&to->sock.in6.sin6_addr, a.b, 16);
		to->len = sizeof to->sock.in6;
	}
	t->n++;
	return true;
}

/* What the hosts' answers say; remembers the first temporary trouble. */
static struct target_host *
gather(struct target *t)
{
	struct target_host *undecided = NULL;
	for (unsigned i = 0; i < t->n_hosts; i++) {
		struct target_host *h = &t->hosts[i];
		struct ipaddr a = { .family = IPADDR_V6 };
		for (unsigned k = 0; k < h->v6.answer->n && h->v6.op.rc == RC_OK; k++) {
			memcpy(a.b, &h->v6.answer->rr[k].addr.aaaa, 16);
			(void)add_address(t, h->name, h->pref, a);
		}
		a = (struct ipaddr){ .family = IPADDR_V4 };
		for (unsigned k = 0; k < h->v4.answer->n && h->v4.op.rc == RC_OK; k++) {
			memcpy(a.b, &h->v4.answer->rr[k].addr.a, 4);
			(void)add_address(t, h->name, h->pref, a);
		}
		bool is_undecided = h->v4.op.rc == RC_TEMP || h->v4.op.rc == RC_PERM || h->v6.op.rc == RC_TEMP || h->v6.op.rc == RC_PERM;
		if (is_undecided && undecided == NULL)
			undecided = h;
	}
	return undecided;
}

static void
no_address(struct target *t, const struct target_host *undecided)
{
	if (t->by_mx)
		log_warn(NULL, "no MX host for %s has a valid address record", shown(t, t->hop.host));
	const char *type = t->set->want_v4 ? "A" : "AAAA";
	if (undecided != NULL) {
		not_found(t, RC_TEMP, undecided->name, type, "Host not found, try again");
	} else {
		struct span name = t->n_hosts > 0 ? t->hosts[t->n_hosts - 1].name : t->hop.host;
		const char *why = "Host not found";
		if (t->n_hosts > 0 && t->set->want_v4 && t->hosts[t->n_hosts - 1].v4.answer->why != NULL)
			why = t->hosts[t->n_hosts - 1].v4.answer->why;
		not_found(t, t->by_mx && t->set->defer_if_no_address ? RC_TEMP : RC_PERM, name, type, why);
	}
}

static void
build(struct target *t)
{
	const struct target_host *undecided = gather(t);
	if (t->n == 0) {
		no_address(t, undecided);
		return;
	}
	uint16_t best_found = UINT16_MAX, own_pref = UINT16_MAX;
	bool is_self = false;
	for (unsigned i = 0; i < t->n; i++) {
		if (t->addr[i].pref < best_found)
			best_found = t->addr[i].pref;
		if (t->hop.port == 25 && own_has(t->own, &t->addr[i].addr)) {
			is_self = true;
			if (t->addr[i].pref < own_pref)
				own_pref = t->addr[i].pref;
		}
	}
	if (is_self) {
		unsigned kept = 0;
		for (unsigned i = 0; i < t->n; i++)
			if (t->addr[i].pref < own_pref)
				t->addr[kept++] = t->addr[i];
		t->n = kept;
		if (kept == 0 && t->by_mx && best_found != t->best_pref) {
			fail(t, RC_TEMP, "4.4.4", "unable to find primary relay for %s", shown(t, t->hop.host));
		} else if (kept == 0) {
			t->is_ours = t->by_mx;
			fail(t, RC_PERM, "5.4.6", "mail for %s loops back to myself", shown(t, t->hop.host));
		}
		if (kept == 0)
			return;
	}
	t->n = target_order(t->set, t->addr, t->n);
	op_finish(&t->op, RC_OK);
}
