/* SPDX-License-Identifier: BSD-2-Clause */
#include "smtp/xattr.h"

#include "msg/xtext.h"

static struct span
decode(struct span raw, struct arena *a)
{
	struct buf decoded, clean;
	buf_init(&decoded, XATTR_VALUE_MAX);
	buf_init(&clean, XATTR_VALUE_MAX);
	bool ok = xtext_decode(&decoded, raw) == RC_OK;
	buf_put_safe(&clean, ok ? buf_span(&decoded) : raw, XATTR_VALUE_MAX, true);
	struct span out = arena_span(a, buf_span(&clean));
	buf_fini(&decoded);
	buf_fini(&clean);
	return out;
}

bool
xattr_next(struct span *rest, struct arena *a, struct xattr *out)
{
	struct span word;
	*out = (struct xattr){ 0 };
	if (!span_word(rest, " \t", &word))
		return false;
	size_t eq = span_chr(word, '=');
	struct span raw = eq != SIZE_MAX ? span_from(word, eq + 1) : SPAN_EMPTY;
	out->name = span_head(word, eq);
	if (raw.n == 0) {
		out->fault = XATTR_NO_VALUE;
		return true;
	}
	if (raw.n > XATTR_VALUE_MAX) {
		out->fault = XATTR_TOO_LONG;
		return true;
	}
	out->value = decode(raw, a);
	out->unavailable = span_caseeq(out->value, SPAN("[UNAVAILABLE]"));
	out->tempunavail = span_caseeq(out->value, SPAN("[TEMPUNAVAIL]"));
	return true;
}

enum rc
xattr_address(struct span value, struct ipaddr *out)
{
	bool six = span_casestarts(value, SPAN("IPV6:"));
	struct ipaddr ip;
	if (ipaddr_parse(six ? span_from(value, 5) : value, &ip) != RC_OK || ip.family != (six ? IPADDR_V6 : IPADDR_V4))
		return RC_PERM;
	*out = ipaddr_unmap(ip);
	return RC_OK;
}

enum rc
xattr_port(struct span value, uint16_t *out)
{
	uint64_t n;
	if (value.n > 5 || !span_u64(value, UINT16_MAX, &n))
		return RC_PERM;
	*out = (uint16_t)n;
	return RC_OK;
}

struct span
xattr_neuter(struct span value, struct arena *a)
{
	unsigned char *p = arena_alloc(a, value.n);
	if (p == NULL)
		return SPAN_EMPTY;
	for (size_t i = 0; i < value.n; i++)
		p[i] = memchr(" <>()\\\";@", value.p[i], 9) != NULL ? '?' : value.p[i];
	return span_of(p, value.n);
}
