/* SPDX-License-Identifier: BSD-2-Clause */
#include "filters/attachments/wire.h"

enum { RCPTS_MAX = 100000 };

void
wire_put_question(struct buf *b, const struct wire_question *q)
{
	buf_put_u8(b, q->about.is_outbound);
	buf_put_block(b, q->about.sender);
	buf_put_block(b, q->queue_id);
	buf_put_u64(b, q->header_len);
	buf_put_u32(b, (uint32_t)q->about.nrcpts);
	for (size_t i = 0; i < q->about.nrcpts; i++)
		buf_put_block(b, q->about.rcpts[i]);
}

enum rc
wire_get_question(struct span in, struct arena *a, struct wire_question *out)
{
	struct cur c = cur_of(in);
	*out = (struct wire_question){ .header_len = 0 };
	out->about.is_outbound = cur_u8(&c) != 0;
	out->about.sender = cur_block(&c);
	out->queue_id = cur_block(&c);
	out->header_len = cur_u64(&c);
	uint32_t n = cur_u32(&c);
	if (c.bad || n > RCPTS_MAX)
		return RC_PERM;
	struct span *rcpts = arena_alloc(a, (n + 1) * sizeof *rcpts);
	if (rcpts == NULL)
		return RC_TEMP;
	for (uint32_t i = 0; i < n; i++)
		rcpts[i] = cur_block(&c);
	out->about.rcpts = rcpts;
	out->about.nrcpts = n;
	out->message = cur_take(&c, cur_left(&c));
	return c.bad || out->header_len > out->message.n ? RC_PERM : RC_OK;
}

void
wire_put_answer(struct buf *b, const struct wire_answer *a)
{
	buf_put_u8(b, (uint8_t)a->outcome);
	buf_put_u8(b, a->replaces_top);
	buf_put_u8(b, a->top_is_qp);
	buf_put_block(b, a->header);
	buf_put_block(b, a->reason);
	buf_put_u8(b, (uint8_t)a->nlines);
	for (size_t i = 0; i < a->nlines; i++)
		buf_put_block(b, a->lines[i]);
}

static bool
is_clean(struct span s)
{
	return s.n <= WIRE_TEXT_MAX && span_is_printable(s) && span_is_utf8(s);
}

enum rc
wire_get_answer(struct span in, struct wire_answer *out)
{
	struct cur c = cur_of(in);
	*out = (struct wire_answer){ .outcome = WIRE_LATER };
	unsigned outcome = cur_u8(&c);
	out->replaces_top = cur_u8(&c) != 0;
	out->top_is_qp = cur_u8(&c) != 0;
	out->header = cur_block(&c);
	out->reason = cur_block(&c);
	size_t n = cur_u8(&c);
	if (outcome > WIRE_LATER || n > WIRE_LINES || !is_clean(out->header) || !is_clean(out->reason))
		return RC_PERM;
	for (size_t i = 0; i < n; i++) {
		out->lines[i] = cur_block(&c);
		if (!is_clean(out->lines[i]))
			return RC_PERM;
	}
	out->nlines = n;
	out->outcome = (enum wire_outcome)outcome;
	return cur_done(&c) ? RC_OK : RC_PERM;
}
