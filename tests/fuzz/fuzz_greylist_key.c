/* SPDX-License-Identifier: BSD-2-Clause */
/* Keys of greylisting. First five octets: address and whether there is a name. Property: bounded, printable when the input
 * is, the same for other case, and a key of a sender is its own key. */
#include "policy/greylist_key.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	if (n < 5 || n > 2000)
		return 0;
	struct span in = span_of(p + 5, n - 5);
	struct facts f = { .client = { .family = IPADDR_V4, .b = { p[0], p[1], p[2], p[3] } }, .client_name = in,
		.client_name_rc = p[4] & 1 ? RC_OK : RC_NONE };
	struct buf key, again;
	buf_init(&key, 4096);
	buf_init(&again, 4096);
	greylist_client(&key, &f, 24, 64);
	BUG_ON(key.over || buf_len(&key) == 0 || buf_len(&key) > in.n + 20);
	buf_reset(&key);
	greylist_sender(&key, in);
	BUG_ON(key.over || buf_len(&key) > in.n + 5);
	char upper[2000];
	for (size_t i = 0; i < in.n; i++)
		upper[i] = (char)(in.p[i] >= 'a' && in.p[i] <= 'z' ? in.p[i] & 0xdf : in.p[i]);
	greylist_sender(&again, span_of(upper, in.n));
	BUG_ON(!span_eq(buf_span(&key), buf_span(&again)));
	buf_fini(&key);
	buf_fini(&again);
	return 0;
}
