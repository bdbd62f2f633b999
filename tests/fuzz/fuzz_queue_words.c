/* SPDX-License-Identifier: BSD-2-Clause */
/* Property: of what an administrator or a configuration may write, a queue id that is taken has only letters and
 * digits and is written as it was read; options, feedbacks and reasons never reach past their text. */
#include "queue/orders.h"
#include "queue/shape.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct span s = span_of(p, n), dsn, text;
	struct spool_id id;
	char out[SPOOL_ID_TEXT];
	if (order_id_valid(s)) {
		for (size_t i = 0; i < n; i++)
			BUG_ON(p[i] == '/' || p[i] == '.' || p[i] == '-' || p[i] <= ' ');
		if (spool_id_parse(s, &id) == RC_OK)
			BUG_ON(!span_eq(span_of(out, spool_id_text(&id, out)), s));
	}
	struct shape shape;
	struct err e;
	if (shape_init(&shape, s, &e) == RC_OK) {
		struct buf b;
		buf_init(&b, 1 << 20);
		BUG_ON(shape.buckets < 2 || shape.buckets > SHAPE_BUCKETS_MAX || shape.first_minutes == 0);
		shape_write(&shape, &b);
		BUG_ON(b.over);
		buf_fini(&b);
		shape_fini(&shape);
	}
	struct feedback f;
	if (feedback_parse(s, &f) == RC_OK)
		BUG_ON(!(f.num >= 0));
	route_reason(s, '5', "5.0.0", &dsn, &text);
	BUG_ON(!dsn_code_valid(dsn) || (text.n > 0 && (text.p < p || text.p + text.n > p + n)));
	return 0;
}
