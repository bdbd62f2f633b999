/* SPDX-License-Identifier: BSD-2-Clause */
#include "deliver/nexthop.h"

#include "conf/ports.h"

static const char separators[] = ", \t\r\n";

/* "host", "host:port", "[host]", "[host]:port"; false: syntax. */
static bool
split(struct span word, struct nexthop *out, struct span *port_out)
{
	*port_out = SPAN_EMPTY;
	if (word.n > 0 && word.p[0] == '[') {
		size_t close = span_chr(word, ']');
		if (close == SIZE_MAX)
			return false;
		out->host = span_from(span_head(word, close), 1);
		out->use_mx = false;
		struct span rest = span_from(word, close + 1);
		if (span_casestarts(out->host, SPAN("IPv6:")))
			out->host = span_from(out->host, 5);
		if (rest.n == 0)
			return out->host.n > 0;
		*port_out = span_from(rest, 1);
		return out->host.n > 0 && rest.p[0] == ':' && port_out->n > 0;
	}
	size_t colon = span_rchr(word, ':');
	out->host = colon == SIZE_MAX ? word : span_head(word, colon);
	if (colon != SIZE_MAX)
		*port_out = span_from(word, colon + 1);
	/* another colon: an IPv6 address without brackets */
	return out->host.n > 0 && span_chr(out->host, ':') == SIZE_MAX && (colon == SIZE_MAX || port_out->n > 0);
}

static bool
is_clean(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] <= ' ' || s.p[i] == 0x7f || s.p[i] == '[' || s.p[i] == ']')
			return false;
	return true;
}

static enum rc
refuse(struct err *e, struct span word, const char *why)
{
	char shown[120] = "";
	if (word.n > 0)
		memcpy(shown, word.p, word.n < sizeof shown ? word.n : sizeof shown - 1);
	return err_set(e, RC_PERM, "%s: \"%s\"", why, shown);
}

enum rc
nexthop_next(struct span *rest, bool lmtp, const char *default_port, const char *known_ports, struct nexthop *out, struct err *e)
{
	struct span word, port;
	*out = (struct nexthop){ .use_mx = !lmtp };
	if (!span_word(rest, separators, &word))
		return RC_NONE;
	out->text = word;
	if (lmtp && span_starts(word, SPAN("unix:"))) {
		out->path = span_from(word, 5);
		out->use_mx = false;
		if (out->path.n == 0 || out->path.n > 100 || memchr(out->path.p, '\0', out->path.n) != NULL)
			return refuse(e, word, "bad socket name in next hop");
		return RC_OK;
	}
	if (lmtp && span_starts(word, SPAN("inet:")))
		word = span_from(word, 5);
	if (!split(word, out, &port) || !is_clean(out->host) || out->host.n > 255)
		return refuse(e, word, "bad next hop");
	if (port.n == 0)
		port = span_str(default_port);
	if (port_known(port, known_ports, &out->port) != RC_OK)
		return refuse(e, word, "unknown service or bad port in next hop");
	return RC_OK;
}
