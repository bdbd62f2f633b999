/* SPDX-License-Identifier: BSD-2-Clause */
#include "dns/dns.h"

#include "conf/conf.h"
#include "dns/servers.h"

static const char resolv_conf[] = "/etc/resolv.conf";

enum rc
dns_open_conf(struct conf *c, struct err *e)
{
	struct dns_settings s = { .servers = conf_params(c)->p_dns_servers };
	struct dns_server list[DNS_SERVERS_MAX];
	unsigned n;
	struct span text;
	struct buf servers;
	buf_init(&servers, 4096);
	if (dns_servers_parse(span_str(s.servers), list, &n, e) == RC_NONE && conf_file(c, resolv_conf, &text, e) == RC_OK) {
		dns_servers_of_resolv_conf(text, &servers);
		s.servers = buf_len(&servers) > 0 ? buf_cstr(&servers) : "127.0.0.1"; /* resolv.conf(5) */
	}
	enum rc rc = dns_open(&s, e);
	buf_fini(&servers);
	return rc;
}

void
dns_conf_check(struct conf *c)
{
	struct dns_server list[DNS_SERVERS_MAX];
	struct span text;
	struct err e;
	unsigned n;
	switch (dns_servers_parse(span_str(conf_params(c)->p_dns_servers), list, &n, &e)) {
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
