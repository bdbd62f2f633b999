/* SPDX-License-Identifier: BSD-2-Clause */
#include "smtp/proxy.h"

static const unsigned char v2_signature[12] = "\r\n\r\n\0\r\nQUIT\n";

/* ---- version 1: "PROXY TCP4 192.0.2.1 192.0.2.2 56324 25\r\n" ---- */

static enum rc
v1_address(struct span *rest, unsigned family, struct ipaddr *out, const char *what, struct err *e)
{
	struct span word;
	if (!span_word(rest, " ", &word) || ipaddr_parse(word, out) != RC_OK || out->family != family)
		return err_set(e, RC_PERM, "bad or missing %s address", what);
	*out = ipaddr_unmap(*out);
	return RC_OK;
}

static enum rc
v1_port(struct span *rest, uint16_t *out, const char *what, struct err *e)
{
	struct span word;
	uint64_t n;
	if (!span_word(rest, " ", &word) || word.n > 5 || (word.n > 1 && word.p[0] == '0') || !span_u64(word, UINT16_MAX, &n))
		return err_set(e, RC_PERM, "bad or missing %s port", what);
	*out = (uint16_t)n;
	return RC_OK;
}

static enum rc
v1_line(struct span line, struct proxy_header *out, struct err *e)
{
	struct span rest = line, word;
	if (!span_word(&rest, " ", &word)) /* PROXY itself was seen */
		return err_set(e, RC_PERM, "bad protocol header");
	if (!span_word(&rest, " ", &word))
		return err_set(e, RC_PERM, "bad or missing protocol family");
	if (span_eq(word, SPAN("UNKNOWN")))
		return RC_OK;
	bool six = span_eq(word, SPAN("TCP6"));
	if (!six && !span_eq(word, SPAN("TCP4")))
		return err_set(e, RC_PERM, "bad or missing protocol family");
	enum rc rc = v1_address(&rest, six ? IPADDR_V6 : IPADDR_V4, &out->client, "client", e);
	if (rc == RC_OK)
		rc = v1_address(&rest, six ? IPADDR_V6 : IPADDR_V4, &out->server, "server", e);
	if (rc == RC_OK)
		rc = v1_port(&rest, &out->client_port, "client", e);
	if (rc == RC_OK)
		rc = v1_port(&rest, &out->server_port, "server", e);
	if (rc == RC_OK && span_word(&rest, " ", &word))
		return err_set(e, RC_PERM, "more than a protocol header");
	out->has_client = rc == RC_OK;
	return rc;
}

static enum rc
v1_parse(struct span in, struct proxy_header *out, size_t *used, struct err *e)
{
	size_t lf = span_chr(span_head(in, PROXY_V1_MAX), '\n');
	if (lf == SIZE_MAX)
		return in.n < PROXY_V1_MAX ? RC_NONE : err_set(e, RC_PERM, "protocol header too long");
	struct span line = span_head(in, lf);
	if (line.n > 0 && line.p[line.n - 1] == '\r')
		line.n--;
	*used = lf + 1;
	return v1_line(line, out, e);
}

/* ---- version 2: binary ---- */

enum { CMD_LOCAL = 0, CMD_PROXY = 1, FAMILY_INET = 1, FAMILY_INET6 = 2, TRANSPORT_STREAM = 1, FAMILY_UNIX = 3, TRANSPORT_DGRAM = 2 };

static struct ipaddr
v2_address(struct cur *c, uint8_t family)
{
	struct ipaddr a = { .family = family };
	struct span s = cur_take(c, family == IPADDR_V4 ? 4 : 16);
	if (s.n > 0)
		memcpy(a.b, s.p, s.n);
	return ipaddr_unmap(a);
}

static enum rc
v2_body(unsigned family, struct span body, struct proxy_header *out, struct err *e)
{
	struct cur c = cur_of(body);
	unsigned af = family >> 4, transport = family & 15;
	if (af > FAMILY_UNIX || transport > TRANSPORT_DGRAM)
		return err_set(e, RC_PERM, "unknown address family %#x", family);
	if ((af != FAMILY_INET && af != FAMILY_INET6) || transport != TRANSPORT_STREAM)
		return RC_OK; /* no TCP: nothing that would be a client's address */
	uint8_t ours = af == FAMILY_INET ? IPADDR_V4 : IPADDR_V6;
	out->client = v2_address(&c, ours);
	out->server = v2_address(&c, ours);
	out->client_port = cur_be16(&c);
	out->server_port = cur_be16(&c);
	if (c.bad)
		return err_set(e, RC_PERM, "short protocol header");
	out->has_client = true;
	return RC_OK; /* TLVs may follow */
}

static enum rc
v2_parse(struct span in, struct proxy_header *out, size_t *used, struct err *e)
{
	struct cur c = cur_of(span_from(in, sizeof v2_signature));
	if (in.n > sizeof v2_signature) { /* as early as it can be seen */
		uint8_t what = in.p[sizeof v2_signature];
		if (what >> 4 != 2 || (what & 15) > CMD_PROXY)
			return err_set(e, RC_PERM, "unknown version or command %#x", what);
	}
	if (in.n < PROXY_V2_HEAD)
		return RC_NONE;
	uint8_t command = cur_u8(&c) & 15, family = cur_u8(&c);
	size_t len = cur_be16(&c);
	if (len > PROXY_V2_MAX - PROXY_V2_HEAD)
		return err_set(e, RC_PERM, "protocol header too long");
	if (in.n < PROXY_V2_HEAD + len)
		return RC_NONE;
	*used = PROXY_V2_HEAD + len;
	return command == CMD_LOCAL ? RC_OK : v2_body(family, span_head(span_from(in, PROXY_V2_HEAD), len), out, e);
}

static bool
begins(struct span in, struct span prefix)
{
	size_t n = in.n < prefix.n ? in.n : prefix.n;
	return n == 0 || memcmp(in.p, prefix.p, n) == 0;
}

enum rc
proxy_parse(struct span in, struct proxy_header *out, size_t *used, struct err *e)
{
	const struct span v1 = SPAN("PROXY "), v2 = span_of(v2_signature, sizeof v2_signature);
	*out = (struct proxy_header){ 0 };
	*used = 0;
	enum rc rc = RC_NONE;
	if (begins(in, v2))
		rc = in.n < v2.n ? RC_NONE : v2_parse(in, out, used, e);
	else if (begins(in, v1))
		rc = in.n < v1.n ? RC_NONE : v1_parse(in, out, used, e);
	else
		rc = err_set(e, RC_PERM, "no protocol header");
	if (!out->has_client) /* nothing of what was read before it turned out to be bad */
		*out = (struct proxy_header){ 0 };
	return rc;
}
