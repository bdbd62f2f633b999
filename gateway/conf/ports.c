/* SPDX-License-Identifier: BSD-2-Clause */
#include "conf/ports.h"

#include <arpa/inet.h>
#include <netdb.h>

enum { NAME_MAX_OCTETS = 64 };

/* "lmtp=24, smtp=25, smtps=submissions=465": all names before the last '=' have the number behind it. */
static bool
in_list(struct span name, const char *known_ports, uint64_t *out)
{
	struct span list = span_str(known_ports), item;
	while (span_word(&list, ", \t\r\n", &item)) {
		size_t last = span_rchr(item, '=');
		struct span names = span_head(item, last == SIZE_MAX ? 0 : last), one;
		while (span_word(&names, "=", &one))
			if (span_caseeq(one, name))
				return span_u64(span_from(item, last + 1), UINT16_MAX, out);
	}
	return false;
}

enum rc
port_known(struct span text, const char *known_ports, uint16_t *out)
{
	uint64_t n = 0;
	if (!span_u64(text, UINT16_MAX, &n) && !in_list(text, known_ports, &n)) {
		/* what every list begins with, should a configuration have emptied it */
		if (span_caseeq_str(text, "smtp"))
			n = 25;
		else if (span_caseeq_str(text, "lmtp"))
			n = 24;
	}
	*out = (uint16_t)n;
	return n > 0 ? RC_OK : RC_PERM;
}

enum rc
port_find(struct span text, const char *known_ports, uint16_t *out)
{
	char name[NAME_MAX_OCTETS + 1];
	if (port_known(text, known_ports, out) == RC_OK)
		return RC_OK;
	if (text.n == 0 || text.n > NAME_MAX_OCTETS || (text.p[0] >= '0' && text.p[0] <= '9'))
		return RC_PERM;
	memcpy(name, text.p, text.n);
	name[text.n] = '\0';
	const struct servent *s = getservbyname(name, "tcp");
	if (s == NULL)
		return RC_PERM;
	*out = ntohs((uint16_t)s->s_port);
	return *out > 0 ? RC_OK : RC_PERM;
}
