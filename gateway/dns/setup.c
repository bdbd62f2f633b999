/* SPDX-License-Identifier: BSD-2-Clause */
#include "dns/dns.h"

#include "conf/conf.h"

enum rc
dns_open_conf(const struct conf *c, struct err *e)
{
	struct dns_settings s = { .servers = conf_params(c)->p_dns_servers };
	return dns_open(&s, e);
}
