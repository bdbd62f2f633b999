/* SPDX-License-Identifier: BSD-2-Clause */
/* Property: what is kept of MAIL and RCPT parameters is clean xtext, within its limits, and decodes. */
#include "msg/syntax.h"
#include "msg/xtext.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void
check(struct span xtext)
{
	struct buf b, again;
	buf_init(&b, 4096);
	buf_init(&again, 16384);
	BUG_ON(xtext_decode(&b, xtext) != RC_OK);
	for (size_t i = 0; i < buf_len(&b); i++)
		BUG_ON(b.p[i] < 0x20 || b.p[i] == 0x7f);
	xtext_encode(&again, buf_span(&b));
	struct buf b2;
	buf_init(&b2, 4096);
	BUG_ON(xtext_decode(&b2, buf_span(&again)) != RC_OK || !span_eq(buf_span(&b), buf_span(&b2)));
	buf_fini(&b), buf_fini(&b2), buf_fini(&again);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct span in = span_of(p, n);
	struct arena a;
	struct mail_params m;
	struct rcpt_params r;
	struct param_fault f;
	arena_init(&a, 65536);
	if (mail_params_parse(in, &a, &m, &f) == RC_OK) {
		BUG_ON(m.envid.n > ENVID_MAX);
		check(m.envid);
	}
	if (rcpt_params_parse(in, &a, &r, &f) == RC_OK) {
		BUG_ON(r.orcpt.n > ORCPT_MAX || (r.notify & DSN_NEVER && r.notify != DSN_NEVER));
		if (r.orcpt.n > 0) {
			size_t semi = span_chr(r.orcpt, ';');
			BUG_ON(semi == SIZE_MAX);
			check(span_from(r.orcpt, semi + 1));
		}
	}
	uint64_t count;
	bool last;
	if (bdat_parse(in, &count, &last) == RC_OK)
		BUG_ON(count > INT64_MAX);
	arena_fini(&a);
	return 0;
}
