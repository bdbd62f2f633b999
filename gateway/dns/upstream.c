/* SPDX-License-Identifier: BSD-2-Clause */
#include "dns/upstream.h"

static bool
is_loopback(const struct dns_server *s)
{
	return s->family == AF_INET ? ntohl(s->addr.a.s_addr) >> 24 == 127 : IN6_IS_ADDR_LOOPBACK(&s->addr.aaaa) != 0;
}

void
dns_upstreams_init(struct dns_upstreams *u, const struct dns_server *list, unsigned n, bool rotate, enum dns_trust trust, uint64_t probe_usec)
{
	*u = (struct dns_upstreams){ .n = n, .rotate = rotate, .probe_usec = probe_usec };
	for (unsigned i = 0; i < n; i++) {
		u->s[i].addr = list[i];
		u->s[i].is_trusted = trust == DNS_TRUST_ALL || (trust == DNS_TRUST_LOOPBACK && is_loopback(&list[i]));
	}
}

void
dns_upstreams_order(struct dns_upstreams *u, unsigned char out[DNS_SERVERS_MAX])
{
	unsigned at = 0, first = u->rotate && u->n > 0 ? u->turn++ % u->n : 0;
	for (unsigned k = 0; k < u->n; k++)
		if (!u->s[(first + k) % u->n].is_down)
			out[at++] = (unsigned char)((first + k) % u->n);
	/* those that are down: who answered last first */
	for (unsigned from = at; at < u->n; at++) {
		unsigned best = DNS_SERVERS_MAX;
		for (unsigned i = 0; i < u->n; i++) {
			bool is_in = !u->s[i].is_down;
			for (unsigned k = from; k < at; k++)
				is_in |= out[k] == i;
			if (!is_in && (best == DNS_SERVERS_MAX || u->s[i].answered > u->s[best].answered))
				best = i;
		}
		out[at] = (unsigned char)best;
	}
}

void
dns_upstream_answered(struct dns_upstreams *u, unsigned i, uint64_t now)
{
	struct dns_upstream *s = &u->s[i];
	s->answered = now;
	if (!s->is_down)
		return;
	s->is_down = false;
	s->probe_pause = 0;
	u->version++;
}

void
dns_upstream_missed(struct dns_upstreams *u, unsigned i, uint64_t sent, uint64_t now)
{
	struct dns_upstream *s = &u->s[i];
	if (s->is_down || s->answered >= sent)
		return;
	s->is_down = true;
	s->probe_pause = u->probe_usec;
	s->probe_at = now + s->probe_pause;
	u->version++;
}

unsigned
dns_upstreams_probe(struct dns_upstreams *u, uint64_t now)
{
	for (unsigned i = 0; i < u->n; i++) {
		struct dns_upstream *s = &u->s[i];
		if (!s->is_down || s->probe_at > now)
			continue;
		s->probe_pause = s->probe_pause < u->probe_usec * DNS_PROBE_LONGEST ? s->probe_pause * 2 : s->probe_pause;
		s->probe_at = now + s->probe_pause;
		return i;
	}
	return DNS_SERVERS_MAX;
}

bool
dns_upstream_case_missed(struct dns_upstreams *u, unsigned i, bool certain, uint64_t now)
{
	struct dns_upstream *s = &u->s[i];
	s->case_misses++;
	if (!certain && s->caseless_until == 0 && s->case_misses < DNS_CASE_MISSES) /* found out once, it needs no new proof */
		return false;
	s->case_misses = 0;
	s->caseless_until = now + DNS_FORGET_USEC;
	return true;
}
