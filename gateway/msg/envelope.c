/* SPDX-License-Identifier: BSD-2-Clause */
#include "msg/envelope.h"

enum { VERSION_1 = 1, VERSION_2, VERSION, RCPT_MAX = 100000, RCPT_BYTES_MIN = 13 };

void
envelope_put(struct buf *b, const struct envelope *env)
{
	buf_put_u8(b, VERSION);
	buf_put_u64(b, env->arrival);
	buf_put_u32(b, env->flags);
	buf_put_block(b, env->sender);
	buf_put_block(b, env->envid);
	buf_put_block(b, env->client);
	buf_put_block(b, env->filter);
	buf_put_block(b, env->forward);
	buf_put_block(b, env->held);
	buf_put_u32(b, env->nrcpt);
	for (uint32_t i = 0; i < env->nrcpt; i++) {
		const struct env_rcpt *r = &env->rcpt[i];
		buf_put_block(b, r->addr);
		buf_put_block(b, r->orig);
		buf_put_block(b, r->orcpt);
		buf_put_u8(b, r->notify);
		buf_put_u8(b, r->held);
	}
}

enum rc
envelope_get(struct span in, struct arena *a, struct envelope *out)
{
	struct cur rd = cur_of(in);
	unsigned version = cur_u8(&rd);
	if (version < VERSION_1 || version > VERSION)
		return RC_PERM;
	*out = (struct envelope){ 0 };
	out->arrival = cur_u64(&rd);
	out->flags = cur_u32(&rd);
	out->sender = cur_block(&rd);
	out->envid = cur_block(&rd);
	out->client = cur_block(&rd);
	if (version > VERSION_1) {
		out->filter = cur_block(&rd);
		out->forward = cur_block(&rd);
	}
	if (version > VERSION_2)
		out->held = cur_block(&rd);
	out->nrcpt = cur_u32(&rd);
	if (rd.bad || out->nrcpt > RCPT_MAX || out->nrcpt > cur_left(&rd) / RCPT_BYTES_MIN)
		return RC_PERM;
	out->rcpt = arena_zalloc(a, (size_t)out->nrcpt * sizeof *out->rcpt);
	if (out->rcpt == NULL)
		return RC_PERM;
	for (uint32_t i = 0; i < out->nrcpt; i++) {
		struct env_rcpt *r = &out->rcpt[i];
		r->addr = cur_block(&rd);
		r->orig = cur_block(&rd);
		r->orcpt = cur_block(&rd);
		r->notify = cur_u8(&rd);
		uint8_t held = version > VERSION_2 ? cur_u8(&rd) : 0;
		if (held > 1)
			return RC_PERM;
		r->held = held == 1;
	}
	return cur_done(&rd) ? RC_OK : RC_PERM;
}
