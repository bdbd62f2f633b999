/* SPDX-License-Identifier: BSD-2-Clause */
/* What a line of Dovecot's protocol gives: an OK has exactly one proper name, a challenge is base64, nothing has control characters. */
#include "base/base64.h"
#include "sasl/dovecot_line.h"
#include "sasl/mechs.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct dovecot_line l;
	struct err e;
	struct span in = span_of(p, n);
	if (span_chr(in, '\n') != SIZE_MAX || dovecot_line(in, &l, &e) != RC_OK)
		return 0;
	BUG_ON(!span_is_printable(l.user) || !span_is_utf8(l.user) || l.user.n > DOVECOT_USER_MAX);
	BUG_ON(!span_is_printable(l.reason) || !span_is_utf8(l.reason) || l.reason.n > DOVECOT_REASON_MAX);
	BUG_ON(l.verb == DOVECOT_OK && l.user.n == 0);
	BUG_ON(l.verb == DOVECOT_MECH && !sasl_mech_is_name(l.mech));
	if (l.verb == DOVECOT_CONT) {
		struct buf b;
		buf_init(&b, n + 1);
		BUG_ON(base64_decode(l.challenge, &b) != RC_OK);
		buf_fini(&b);
	}
	return 0;
}
