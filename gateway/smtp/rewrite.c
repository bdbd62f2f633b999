/* SPDX-License-Identifier: BSD-2-Clause */
/* The end of a message: what its envelope becomes before the queue gets it (policy/rewrite.h). */
#include "base/mem.h"
#include "smtp/session.h"

enum {
	REWRITTEN_MAX = 16 * 1024 * 1024, /* memory for texts; what is sent is less */
	RCPT_OVERHEAD = 13,               /* of one recipient in an encoded envelope */
	SUBMIT_OVERHEAD = 16 * 1024,      /* everything else in the frame of a SUBMIT */
};

static void
on_maps(struct op *op)
{
	struct map_wait *wait = container_of(op, struct map_wait, op);
	sess_resume(container_of(wait, struct tx, maps)->sess);
}

static enum step
wait_for_tables(struct sess *s)
{
	struct tx *tx = s->tx;
	if (tx->maps.op.magic == 0)
		map_wait_init(&tx->maps, &s->ops, on_maps);
	map_wait_start(&tx->maps);
	return STEP_AGAIN;
}

/* Envelope, and content that is in memory, go to the queue in one frame. */
static bool
fits(const struct tx *tx, const struct envelope *env)
{
	size_t room = IPC_FRAME_MAX - SUBMIT_OVERHEAD - (tx->draft == 0 ? (size_t)tx->content.len : 0);
	for (uint32_t i = 0; i < env->nrcpt; i++) {
		const struct env_rcpt *r = &env->rcpt[i];
		size_t need = r->addr.n + r->orig.n + r->orcpt.n + RCPT_OVERHEAD;
		if (need > room)
			return false;
		room -= need;
	}
	return true;
}

static void
take(struct tx *tx, const struct envelope *env)
{
	tx->no_filter = tx->redirect.n > 0;
	tx->env_sender = env->sender;
	mem_free(&tx->rcpt_hash);
	mem_free(&tx->rcpts);
	tx->rcpts = mem_dup(env->rcpt, env->nrcpt * sizeof *env->rcpt);
	tx->nrcpt = tx->cap_rcpt = env->nrcpt;
}

enum step
end_rewrite(struct sess *s)
{
	struct tx *tx = s->tx;
	const struct rewriter *w = s->svc->rewriter;
	const struct envelope env = { .sender = tx->env_sender, .nrcpt = tx->nrcpt, .rcpt = tx->rcpts };
	const struct rewrite_extra extra = { .redirect = tx->redirect, .bcc = tx->bcc.at, .nbcc = tx->bcc.n, .copies = tx->copies.at, .ncopies = tx->copies.n };
	if (tx->discard || rewrite_is_idle(w, &env, &extra))
		return STEP_NEXT;
	struct envelope out;
	struct err e = { .why = "" };
	arena_fini(&tx->rewritten);
	arena_init(&tx->rewritten, REWRITTEN_MAX);
	map_forget();
	enum rc rc = rewrite_envelope(w, &env, &extra, &tx->rewritten, &out, &e);
	if (rc == RC_TEMP && map_asked())
		return wait_for_tables(s);
	if (rc == RC_OK && !fits(tx, &out))
		rc = err_set(&e, RC_PERM, "unreasonable alias expansion size");
	if (rc == RC_OK) {
		take(tx, &out);
		return STEP_NEXT;
	}
	struct log_ctx ctx = s->log;
	ctx.qid = tx->qid;
	log_warn(&ctx, "%s -- message not accepted, try again later", e.why);
	return data_refuse(s, rc == RC_PERM ? REPLY_ALIAS_ERROR : REPLY_NO_QUEUE);
}
