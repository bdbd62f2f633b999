/* SPDX-License-Identifier: BSD-2-Clause */
/* postscreen_dnsbl_sites item: what is taken says the same when it is written out again. */
#include "rbl/site.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rbl_site a, b;
	struct err e;
	if (rbl_site_parse(span_of(data, size), &a, &e) != RC_OK) {
		BUG_ON(e.why[0] == '\0');
		return 0;
	}
	/* without its weight, and with it in decimal */
	struct span bare = span_head(span_of(data, size), span_chr(span_of(data, size), '*'));
	struct buf again;
	buf_init(&again, size + 40);
	buf_put(&again, bare);
	buf_printf(&again, "*%d", a.weight);
	BUG_ON(rbl_site_parse(buf_span(&again), &b, &e) != RC_OK);
	BUG_ON(a.weight != b.weight || !span_eq(a.list.domain, b.list.domain) || a.list.has_filter != b.list.has_filter);
	BUG_ON(memcmp(a.list.octets, b.list.octets, sizeof a.list.octets) != 0);
	/* a refusal is never a listing */
	for (unsigned i = 0; i < 256; i++) {
		struct in_addr at = { .s_addr = htonl(0x7fffff00u | i) };
		BUG_ON(rbl_list_matches(&a.list, at));
	}
	buf_fini(&again);
	return 0;
}
