/* SPDX-License-Identifier: BSD-2-Clause */
/* Property: pieces and whole say the same; whatever a message says, what is told of it can be kept (clean, bounded: held_get() takes it). Parts are
 * in order, inside of it, and have the same sums in pieces and whole. */
#include "msg/partsum.h"
#include "msg/survey.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void
run(struct span in, size_t piece, struct buf *out)
{
	struct survey s;
	struct held h, again;
	struct arena a;
	survey_init(&s);
	for (size_t at = 0; at < in.n; at += piece)
		survey_put(&s, span_head(span_from(in, at), piece));
	survey_end(&s);
	h = (struct held){ .class = HELD_CONTENT, .subject = buf_span(&s.subject), .from = buf_span(&s.from), .message_id = buf_span(&s.message_id),
		.nparts = s.nparts, .parts = s.parts };
	buf_init(out, 1 << 20);
	held_put(out, &h);
	arena_init(&a, 1 << 20);
	BUG_ON(held_get(buf_span(out), &a, &again) != RC_OK);
	struct part_sum sum;
	part_sum_init(&sum);
	for (uint64_t i = 0, end = 0; i < again.nparts; i++) { /* in order, none shares octets with another, all are of the message */
		struct held_part p = again.parts[i];
		BUG_ON(p.at < end || p.at > in.n || p.length > in.n - p.at);
		end = p.at + p.length;
		struct span octets = span_head(span_from(in, (size_t)p.at), (size_t)p.length);
		part_sum_begin(&sum, p.how);
		for (size_t at = 0; at < octets.n; at += piece)
			part_sum_put(&sum, span_head(span_from(octets, at), piece));
		part_sum_end(&sum, &p);
		BUG_ON(p.size > p.length);
		buf_put(out, span_of(p.sha256, sizeof p.sha256));
	}
	part_sum_fini(&sum);
	arena_fini(&a);
	survey_fini(&s);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	if (n < 2 || n > 8000)
		return 0;
	struct span in = span_of(p + 1, n - 1);
	struct buf whole, pieces;
	run(in, in.n, &whole);
	run(in, p[0] % 31 + 1u, &pieces);
	BUG_ON(!span_eq(buf_span(&whole), buf_span(&pieces)));
	buf_fini(&whole);
	buf_fini(&pieces);
	return 0;
}
