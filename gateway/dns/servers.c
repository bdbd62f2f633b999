/* SPDX-License-Identifier: BSD-2-Clause */
#include "dns/servers.h"

#include <arpa/inet.h>

enum { DNS_PORT = 53 };

static bool
parse_one(struct span word, struct dns_server *out)
{
	char text[INET6_ADDRSTRLEN + 1];
	struct span host = word, port = SPAN_EMPTY;
	if (word.p[0] == '[') {
		size_t close = span_chr(word, ']');
		if (close == SIZE_MAX)
			return false;
		host = span_from(span_head(word, close), 1);
		port = span_from(word, close + 1);
	} else if (span_chr(word, ':') != SIZE_MAX && span_chr(word, ':') == span_rchr(word, ':')) {
		host = span_head(word, span_chr(word, ':'));
		port = span_from(word, host.n);
	}
	uint64_t number = DNS_PORT;
	if (port.n > 0 && (port.p[0] != ':' || !span_u64(span_from(port, 1), 65535, &number) || number == 0))
		return false;
	if (host.n == 0 || host.n >= sizeof text)
		return false;
	memcpy(text, host.p, host.n);
	text[host.n] = '\0';
	*out = (struct dns_server){ .family = AF_INET, .port = (uint16_t)number };
	if (inet_pton(AF_INET, text, &out->addr.a) == 1)
		return true;
	out->family = AF_INET6;
	return inet_pton(AF_INET6, text, &out->addr.aaaa) == 1;
}

enum rc
dns_servers_parse(struct span list, struct dns_server out[DNS_SERVERS_MAX], unsigned *n_out, struct err *e)
{
	struct span word;
	*n_out = 0;
	while (span_word(&list, ", \t\r\n", &word)) {
		if (*n_out == DNS_SERVERS_MAX)
			return err_set(e, RC_PERM, "more than %d DNS servers", DNS_SERVERS_MAX);
		if (!parse_one(word, &out[*n_out])) {
			char shown[64] = "";
			memcpy(shown, word.p, word.n < sizeof shown ? word.n : sizeof shown - 1);
			return err_set(e, RC_PERM, "not an address[:port] of a DNS server: %s", shown);
		}
		++*n_out;
	}
	return *n_out > 0 ? RC_OK : RC_NONE;
}

void
dns_servers_of_resolv_conf(struct span text, struct buf *out)
{
	struct dns_server server;
	for (unsigned n = 0; text.n > 0 && n < DNS_SERVERS_MAX;) {
		size_t lf = span_chr(text, '\n');
		struct span line = span_head(text, lf), word;
		text = lf == SIZE_MAX ? SPAN_EMPTY : span_from(text, lf + 1);
		if (!span_word(&line, " \t\r", &word) || !span_eq_str(word, "nameserver") || !span_word(&line, " \t\r", &word))
			continue;
		if (!parse_one(word, &server))
			continue;
		if (buf_len(out) > 0)
			buf_puts(out, ", ");
		buf_put(out, word);
		n++;
	}
}

void
dns_options_of_resolv_conf(struct span text, struct dns_resolv_options *out)
{
	uint64_t n;
	*out = (struct dns_resolv_options){ 0 };
	while (text.n > 0) {
		size_t lf = span_chr(text, '\n');
		struct span line = span_head(text, lf), word;
		text = lf == SIZE_MAX ? SPAN_EMPTY : span_from(text, lf + 1);
		if (!span_word(&line, " \t\r", &word) || !span_eq_str(word, "options"))
			continue;
		while (span_word(&line, " \t\r", &word)) {
			size_t colon = span_chr(word, ':');
			struct span value = colon == SIZE_MAX ? SPAN_EMPTY : span_from(word, colon + 1);
			if (span_eq_str(word, "rotate"))
				out->rotate = true;
			else if (span_eq_str(word, "trust-ad"))
				out->trust_ad = true;
			else if (span_starts(word, SPAN("timeout:")) && span_u64(value, UINT32_MAX, &n) && n > 0)
				out->timeout_sec = n < 30 ? (unsigned)n : 30;
			else if (span_starts(word, SPAN("attempts:")) && span_u64(value, UINT32_MAX, &n) && n > 0)
				out->attempts = n < 5 ? (unsigned)n : 5;
		}
	}
}

void
dns_server_text(const struct dns_server *s, char out[DNS_SERVER_TEXT])
{
	char host[INET6_ADDRSTRLEN] = "?";
	(void)inet_ntop(s->family, &s->addr, host, sizeof host);
	snprintf(out, DNS_SERVER_TEXT, s->family == AF_INET ? "%s:%u" : "[%s]:%u", host, s->port);
}
