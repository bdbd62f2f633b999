/* SPDX-License-Identifier: BSD-2-Clause */
/* What the store gives back about an address: an entry that can be read is written again as the same octets, cut at most. */
#include "queue/verify_cache.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct verify_entry e, again;
	struct buf b;
	if (verify_entry_get(span_of(data, size), &e) != RC_OK)
		return 0;
	BUG_ON(e.status < VERIFY_OK || e.status > VERIFY_BOUNCE);
	buf_init(&b, STORE_VALUE_MAX);
	verify_entry_put(&b, &e);
	BUG_ON(b.over); /* whatever it was: it fits into the store */
	BUG_ON(buf_len(&b) > size);
	BUG_ON(verify_entry_get(buf_span(&b), &again) != RC_OK || again.status != e.status || again.updated != e.updated);
	BUG_ON(buf_len(&b) == size && !span_eq(buf_span(&b), span_of(data, size)));
	buf_fini(&b);
	return 0;
}
