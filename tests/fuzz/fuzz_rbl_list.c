/* SPDX-License-Identifier: BSD-2-Clause */
/* A list that is taken has a domain that can be asked for, and its filter lets exactly the addresses through whose four
 * numbers each have their bit, without one those of 127.0.0.0/8; a refusal is never a listing. */
#include "rbl/list.h"

#include "dns/answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct rbl_list l;
	struct err e;
	if (n < 4)
		return 0;
	if (rbl_list_parse(span_of(data + 4, n - 4), &l, &e) != RC_OK)
		return 0;
	unsigned char wire[DNS_NAME_MAX];
	size_t len;
	BUG_ON(!dns_name_encode(l.domain, wire, &len));
	bool fits = l.has_filter || data[0] == 127;
	for (int i = 0; i < 4; i++) {
		fits = fits && (!l.has_filter || (l.octets[i][data[i] / 64] >> data[i] % 64 & 1) != 0);
		BUG_ON(l.has_filter && (l.octets[i][0] | l.octets[i][1] | l.octets[i][2] | l.octets[i][3]) == 0);
	}
	struct in_addr a;
	memcpy(&a, data, 4);
	fits = fits && !rbl_is_refusal(a);
	BUG_ON(rbl_list_matches(&l, a) != fits);
	struct buf b;
	buf_init(&b, 300);
	if (rbl_name_query(&l, span_of(data, n), &b) == RC_OK)
		BUG_ON(!dns_name_encode(buf_span(&b), wire, &len));
	buf_fini(&b);
	return 0;
}
