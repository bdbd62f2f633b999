/* SPDX-License-Identifier: BSD-2-Clause */
/* Attributes of XCLIENT and XFORWARD. Property: it ends, values are bounded and printable, and a neutered one cannot
 * break a header. */
#include "smtp/xattr.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct span rest = span_of(p, n);
	struct arena a;
	struct xattr x;
	struct ipaddr ip;
	arena_init(&a, 64 * 1024);
	while (xattr_next(&rest, &a, &x)) {
		BUG_ON(x.value.n > XATTR_VALUE_MAX || (x.fault != XATTR_FINE && x.value.n > 0));
		for (size_t i = 0; i < x.value.n; i++)
			BUG_ON(x.value.p[i] < ' ' || x.value.p[i] == 0x7f);
		struct span safe = xattr_neuter(x.value, &a);
		for (size_t i = 0; i < safe.n; i++)
			BUG_ON(memchr(" <>()\\\";@", safe.p[i], 9) != NULL);
		BUG_ON(xattr_address(x.value, &ip) == RC_OK && ip.family == IPADDR_NONE);
	}
	arena_fini(&a);
	return 0;
}
