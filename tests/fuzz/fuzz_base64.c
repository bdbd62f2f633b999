/* SPDX-License-Identifier: BSD-2-Clause */
/* What decodes encodes to the same text; whatever octets come back; a name found in a response is one that can be shown. */
#include "base/base64.h"
#include "sasl/said.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static const char *const mechs[] = { "PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256", "XOAUTH2", "OAUTHBEARER" };
	struct span in = span_of(p, n);
	struct buf a, b;
	buf_init_secret(&a, n + 4);
	buf_init(&b, 2 * n + 8);
	if (base64_decode(in, &a) == RC_OK) {
		base64_encode(&b, buf_span(&a));
		BUG_ON(!span_eq(buf_span(&b), in));
	}
	buf_reset(&a);
	buf_reset(&b);
	base64_encode(&b, in);
	BUG_ON(b.over || base64_decode(buf_span(&b), &a) != RC_OK || !span_eq(buf_span(&a), in));
	for (size_t i = 0; i < NELEMS(mechs); i++) {
		struct span name = sasl_said_name(span_str(mechs[i]), 0, in);
		BUG_ON(name.n > SASL_NAME_MAX || !span_is_printable(name) || !span_is_utf8(name));
	}
	buf_fini(&a);
	buf_fini(&b);
	return 0;
}
