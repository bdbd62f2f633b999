/* SPDX-License-Identifier: BSD-2-Clause */
#include "conf/conf.h"
#include "dns/dns.h"

static const char resolv_conf[] = "/etc/resolv.conf";

static bool
trust_of(const char *word, enum dns_trust *out)
{
	static const struct {
		const char *word;
		enum dns_trust trust;
	} words[] = { { "loopback", DNS_TRUST_LOOPBACK }, { "yes", DNS_TRUST_ALL }, { "no", DNS_TRUST_NOBODY } };
	for (size_t i = 0; i < NELEMS(words); i++)
		if (span_caseeq_str(span_str(word), words[i].word)) {
			*out = words[i].trust;
			return true;
		}
	return false;
}

enum rc
dns_open_conf(struct conf *c, struct err *e)
{
	const struct params *p = conf_params(c);
	struct dns_settings s = {
		.servers = p->p_dns_servers,
		.timeout_usec = p->p_dns_query_timeout,
		.tries = (unsigned)p->p_dns_tries,
		.cache_bytes = (size_t)p->p_dns_cache_size,
		.query_limit = (unsigned)p->p_dns_query_limit,
		.queue_limit = (unsigned)p->p_dns_queue_limit,
		.as_typed = !p->p_dns_randomize_case,
	};
	struct dns_server list[DNS_SERVERS_MAX];
	unsigned n;
	struct span text;
	struct buf servers;
	buf_init(&servers, 4096);
	if (!trust_of(p->p_dns_trust_ad, &s.trust))
		s.trust = DNS_TRUST_LOOPBACK; /* check has said so */
	if (dns_servers_parse(span_str(s.servers), list, &n, e) == RC_NONE) {
		struct dns_resolv_options o = { 0 };
		if (conf_file(c, resolv_conf, &text, e) == RC_OK) {
			dns_servers_of_resolv_conf(text, &servers);
			dns_options_of_resolv_conf(text, &o);
		}
		s.servers = buf_len(&servers) > 0 ? buf_cstr(&servers) : "127.0.0.1"; /* resolv.conf(5) */
		s.rotate = o.rotate;
		if (s.timeout_usec == 0)
			s.timeout_usec = o.timeout_sec * UINT64_C(1000000);
		if (s.tries == 0)
			s.tries = o.attempts;
		if (s.trust == DNS_TRUST_LOOPBACK && o.trust_ad)
			s.trust = DNS_TRUST_ALL;
	}
	enum rc rc = dns_open(&s, e);
	buf_fini(&servers);
	return rc;
}

void
dns_conf_check(struct conf *c)
{
	const struct params *p = conf_params(c);
	struct dns_server list[DNS_SERVERS_MAX];
	enum dns_trust trust;
	struct span text;
	struct err e;
	unsigned n;
	if (!trust_of(p->p_dns_trust_ad, &trust))
		conf_problem(c, CONF_ERROR, NULL, "dns_trust_ad", "dns_trust_ad: \"%s\" is none of loopback, yes and no", p->p_dns_trust_ad);
	switch (dns_servers_parse(span_str(p->p_dns_servers), list, &n, &e)) {
	case RC_OK:
		return;
	case RC_NONE:
		if (conf_file(c, resolv_conf, &text, &e) != RC_OK)
			conf_problem(c, CONF_WARNING, NULL, "dns_servers", "dns_servers: empty, and %s: 127.0.0.1 is asked", e.why);
		return;
	case RC_TEMP:
	case RC_PERM:
		break;
	}
	conf_problem(c, CONF_ERROR, NULL, "dns_servers", "dns_servers: %s", e.why);
}
