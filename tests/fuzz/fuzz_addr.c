/* SPDX-License-Identifier: BSD-2-Clause */
/* Property: what was parsed, written and parsed again is the same; internal form splits where the parser split;
 * nothing that comes out can end a line, and the domain is a name, a literal or nothing. */
#include "msg/addr.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	if (n < 1)
		return 0;
	unsigned how = p[0] & (ADDR_STRICT | ADDR_UTF8);
	struct arena a;
	struct addr x, y, z;
	struct span rest;
	struct err e;
	struct buf out;
	arena_init(&a, 65536);
	buf_init(&out, 4096);
	if (addr_parse_path(span_of(p + 1, n - 1), how, &a, &x, &rest, &e) == RC_OK && x.text.n > 0) {
		addr_write(&out, &x);
		BUG_ON(out.over);
		struct span w = buf_span(&out);
		for (size_t i = 0; i < w.n; i++)
			BUG_ON(w.p[i] < 0x20 || w.p[i] == 0x7f);
		z = addr_of_internal(x.text);
		BUG_ON(!addr_eq(&x, &z));
		BUG_ON(x.domain.n > 0 && !addr_is_hostname(x.domain, true) && !addr_is_literal(x.domain));
		BUG_ON(x.local.n == 0);
		/* quoting may take it over the limit of a path: that is refused, not cut */
		if (w.n + 2 <= ADDR_PATH_MAX) {
			BUG_ON(addr_parse(w, ADDR_UTF8, &a, &y, &e) != RC_OK);
			BUG_ON(!addr_eq(&x, &y));
		}
	}
	buf_fini(&out);
	arena_fini(&a);
	return 0;
}
