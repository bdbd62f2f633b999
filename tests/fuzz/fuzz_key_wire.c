/* SPDX-License-Identifier: BSD-2-Clause */
/* What a taken-over edge sends to the keys process, and what comes back: read, written, read again gives the same. */
#include "tls/keywire.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct key_request r, again;
	struct key_reply a, b;
	struct buf out;
	buf_init(&out, KEY_PACKET_MAX);
	if (key_request_get(span_of(p, n), &r) == RC_OK) {
		BUG_ON(r.data.n > KEY_DATA_MAX || (r.op == KEY_SIGN && r.digest != KEY_MESSAGE && r.data.n != key_digest_size(r.digest)));
		key_request_put(&out, &r);
		BUG_ON(out.over || !span_eq(buf_span(&out), span_of(p, n)) || key_request_get(buf_span(&out), &again) != RC_OK || !span_eq(r.data, again.data));
		buf_reset(&out);
	}
	if (key_reply_get(span_of(p, n), &a) == RC_OK) {
		key_reply_put(&out, &a);
		BUG_ON(out.over || !span_eq(buf_span(&out), span_of(p, n)) || key_reply_get(buf_span(&out), &b) != RC_OK || a.rc != b.rc);
	}
	buf_fini(&out);
	return 0;
}
