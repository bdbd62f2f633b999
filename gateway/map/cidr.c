/* SPDX-License-Identifier: BSD-2-Clause */
#include "map/cidr.h"

enum rc
cidr_parse(struct span text, bool bare_v6, struct cidr *out, struct err *e)
{
	*out = (struct cidr){ 0 };
	struct span addr = text, len = SPAN_EMPTY;
	bool bracketed = false, has_len = false;

	if (text.n > 0 && text.p[0] == '[') {
		size_t close = span_rchr(text, ']');
		if (close == SIZE_MAX)
			return err_set(e, RC_PERM, "missing ']' in an address pattern");
		addr = span_of(text.p + 1, close - 1);
		struct span rest = span_from(text, close + 1);
		if (rest.n > 0 && rest.p[0] != '/')
			return err_set(e, RC_PERM, "text after ']' in an address pattern");
		has_len = rest.n > 0;
		len = span_from(rest, 1);
		bracketed = true;
	}
	size_t slash = span_chr(addr, '/');
	if (slash != SIZE_MAX) {
		if (has_len)
			return err_set(e, RC_PERM, "two lengths in an address pattern");
		len = span_from(addr, slash + 1);
		addr = span_head(addr, slash);
		has_len = true;
	}
	if (ipaddr_parse(addr, &out->net) != RC_OK)
		return err_set(e, RC_PERM, "bad address pattern");
	if (out->net.family == IPADDR_V6 && !bracketed && !bare_v6)
		return err_set(e, RC_PERM, "an IPv6 address must be written in [ ]");

	uint64_t bits = ipaddr_bits(&out->net);
	if (has_len && !span_u64(len, bits, &bits))
		return err_set(e, RC_PERM, "bad net/mask pattern");
	out->bits = (unsigned)bits;
	struct ipaddr masked = ipaddr_mask(out->net, out->bits);
	if (!ipaddr_eq(&masked, &out->net)) {
		char was[IPADDR_TEXT], is[IPADDR_TEXT];
		const char *open = bracketed ? "[" : "", *close = bracketed ? "]" : "";
		ipaddr_text(&out->net, was);
		ipaddr_text(&masked, is);
		return err_set(e, RC_PERM, "non-null host address bits in \"%s%s%s/%u\", perhaps you should use \"%s%s%s/%u\" instead", open, was,
		    close, out->bits, open, is, close, out->bits);
	}
	return RC_OK;
}
