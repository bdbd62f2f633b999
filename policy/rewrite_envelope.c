/* SPDX-License-Identifier: BSD-2-Clause */
/* The envelope of a message: who it is from and who gets it in the end. Facts 5.6. */
#include "base/mem.h"
#include "ipc/msgs.h"
#include "map/remote.h"
#include "policy/rewriter.h"

bool
rewrite_goes_on(struct work *k, enum rc one, enum rc *rc)
{
	if (one == RC_OK)
		return true;
	*rc = one;
	if (one != RC_TEMP || !map_asked())
		return false;
	k->waits = true;
	return map_asks_more();
}

/* Canonical, masquerade, virtual aliases. final_out: after the first two; it is what counts as given when nobody gave it. */
enum rc
rewrite_take(struct work *k, const struct given *g, struct span addr, const struct chain *chain, struct span *final_out)
{
	struct buf text;
	struct span now;
	buf_init(&text, ADDRESS_MAX);
	enum rc rc = rewrite_address(k->w, REWRITE_ENVELOPE_RCPT, addr, &text, &now, k->e);
	if (rc == RC_OK && now.p == text.p && now.n > 0)
		now = arena_span(k->a, now);
	*final_out = now;
	buf_fini(&text);
	struct given mine = *g;
	if (mine.orig.n == 0)
		mine.orig = now;
	return rc == RC_OK ? rewrite_virtual(k, &mine, now, chain) : rc;
}

/* ---- automatic copies ---- */

static enum rc
add_bcc(struct work *k, struct span bcc, bool held)
{
	struct buf full;
	struct span ignored;
	struct addrlist l = ADDRLIST(bcc);
	struct buf word;
	buf_init(&full, ADDRESS_MAX);
	buf_init(&word, ADDRESS_MAX);
	enum rc rc = RC_OK;
	if (bcc.n > 0) {
		if (addrlist_next(&l, &word))
			bcc = l.text;
		rc = l.too_long ? RC_PERM : address_standard(k->w->book, bcc, &full);
		struct given g = { .notify = NOTIFY_NEVER, .held = held };
		if (rc == RC_OK)
			rc = rewrite_take(k, &g, arena_span(k->a, buf_span(&full)), NULL, &ignored);
		else
			rc = err_set(k->e, RC_TEMP, "an automatic BCC cannot be an address");
	}
	buf_fini(&full);
	buf_fini(&word);
	return rc;
}

static bool
makes_copies(const struct work *k)
{
	return !k->w->no_mappings && !k->x->no_bcc;
}

static enum rc
mapped_bcc(struct work *k, const struct map_list *l, struct span addr, bool held)
{
	struct buf scratch;
	struct span value, ext;
	if (!makes_copies(k) || addr.n == 0 || map_list_empty(l))
		return RC_OK;
	buf_init(&scratch, REWRITE_VALUE_MAX);
	enum rc rc = mapping_value(k->w->book, l, addr, &scratch, &value, &ext, k->e);
	if (rc == RC_OK)
		rc = add_bcc(k, value, held);
	buf_fini(&scratch);
	return rc == RC_NONE ? RC_OK : rc;
}

static enum rc
one_recipient(struct work *k, const struct given *g, struct span addr, bool copies)
{
	struct span now;
	enum rc rc = rewrite_take(k, g, addr, NULL, &now);
	return rc == RC_OK && copies ? mapped_bcc(k, k->w->rcpt_bcc, now, g->held) : rc;
}

/* Of a BCC action. */
static enum rc
action_bcc(struct work *k, struct span addr, bool copies)
{
	struct buf full;
	const struct given g = { .orig = addr, .notify = NOTIFY_NEVER };
	buf_init(&full, ADDRESS_MAX);
	enum rc rc = address_standard(k->w->book, addr, &full) == RC_OK ? one_recipient(k, &g, arena_span(k->a, buf_span(&full)), copies)
	                                                                : err_set(k->e, RC_TEMP, "a BCC action has no address");
	buf_fini(&full);
	return rc;
}

/* ---- the whole ---- */

/* Mail from MAILER-DAEMON at our own domain is a bounce by another name. */
static bool
is_mailer_daemon(const struct rewriter *w, struct span sender)
{
	static const struct span name = { (const unsigned char *)"MAILER-DAEMON@", 14 };
	return span_casestarts(sender, name) && span_caseeq_str(span_from(sender, name.n), w->p->p_myorigin);
}

static enum rc
do_sender(struct work *k, struct envelope *out)
{
	struct buf text;
	struct span now;
	if (is_mailer_daemon(k->w, out->sender))
		out->sender = SPAN_EMPTY;
	buf_init(&text, ADDRESS_MAX);
	enum rc rc = rewrite_address(k->w, REWRITE_ENVELOPE_SENDER, out->sender, &text, &now, k->e);
	if (rc == RC_OK && now.p == text.p)
		out->sender = arena_span(k->a, now);
	buf_fini(&text);
	return rc == RC_OK ? mapped_bcc(k, k->w->sender_bcc, out->sender, false) : rc;
}

static enum rc
do_recipients(struct work *k)
{
	enum rc rc = RC_OK;
	bool on = true;
	for (uint32_t i = 0; i < k->in->nrcpt && on; i++) {
		const struct env_rcpt *r = &k->in->rcpt[i];
		const struct given g = { .orig = r->orig.n > 0 ? r->orig : r->addr, .orcpt = r->orcpt, .notify = r->notify, .held = r->held };
		on = rewrite_goes_on(k, one_recipient(k, &g, r->addr, !r->no_copy), &rc);
	}
	for (uint32_t i = 0; i < k->x->nbcc && on; i++)
		on = rewrite_goes_on(k, action_bcc(k, k->x->bcc[i], true), &rc);
	for (uint32_t i = 0; i < k->x->ncopies && on; i++)
		on = rewrite_goes_on(k, action_bcc(k, k->x->copies[i], false), &rc);
	const char *always = k->w->p->p_always_bcc;
	if (on && makes_copies(k) && *always != '\0')
		(void)rewrite_goes_on(k, add_bcc(k, span_str(always), false), &rc);
	return rc;
}

/* One recipient for all; what was asked for the first one counts, and it is held if one of them was. */
static enum rc
do_redirect(struct work *k, struct envelope *out)
{
	struct buf full;
	enum rc rc = RC_OK;
	buf_init(&full, ADDRESS_MAX);
	if (address_standard(k->w->book, k->x->redirect, &full) != RC_OK || buf_len(&full) == 0) {
		rc = err_set(k->e, RC_TEMP, "a REDIRECT action has no address");
	} else {
		struct env_rcpt *one = NULL;
		uint32_t n = 0;
		bool held = false;
		for (uint32_t i = 0; i < out->nrcpt; i++)
			held |= out->rcpt[i].held;
		for (uint32_t i = 0; i < out->nrcpt; i++) {
			struct env_rcpt r = out->rcpt[i];
			if ((r.notify & NOTIFY_EXPANDED) == 0 && one != NULL)
				continue;
			out->rcpt[n] = r;
			if ((r.notify & NOTIFY_EXPANDED) == 0)
				one = &out->rcpt[n];
			n++;
		}
		out->nrcpt = n;
		if (one != NULL && one->orig.n == 0)
			one->orig = one->addr;
		if (one != NULL)
			one->held = held;
		if (one != NULL)
			one->addr = arena_span(k->a, buf_span(&full));
		out->filter = SPAN_EMPTY;
	}
	buf_fini(&full);
	return rc;
}

enum rc
rewrite_envelope(const struct rewriter *w, const struct envelope *in, const struct rewrite_extra *x, struct arena *a, struct envelope *out,
    struct err *e)
{
	static const struct rewrite_extra none;
	struct work k = { .w = w, .in = in, .x = x != NULL ? x : &none, .a = a, .e = e, .lists = { .exact = true } };
	*out = *in;
	enum rc rc = RC_OK;
	if (rewrite_goes_on(&k, do_sender(&k, out), &rc))
		(void)rewrite_goes_on(&k, do_recipients(&k), &rc);
	if (k.waits) /* what else went wrong may be for want of the answers */
		rc = err_set(e, RC_TEMP, "a table is still being asked");
	if (rc == RC_OK && k.out.n == 0)
		rc = err_set(e, RC_PERM, "no recipient is left");
	if (rc == RC_OK) {
		out->nrcpt = k.out.n;
		out->rcpt = arena_alloc(a, k.out.n * sizeof *out->rcpt);
		if (out->rcpt != NULL)
			memcpy(out->rcpt, k.out.rcpt, k.out.n * sizeof *out->rcpt);
		else
			rc = err_set(e, RC_PERM, "unreasonable alias expansion size");
	}
	if (rc == RC_OK && k.x->redirect.n > 0)
		rc = do_redirect(&k, out);
	if (rc == RC_OK && a->over)
		rc = err_set(e, RC_PERM, "unreasonable alias expansion size");
	seen_fini(&k.out);
	seen_fini(&k.local);
	textset_clear(&k.expanded);
	textset_clear(&k.forwarded);
	textset_clear(&k.lists);
	mem_free(&k.res);
	return rc;
}

enum rc
rewriter_alias_trouble(const struct rewriter *w, const struct resolved *r, struct buf *scratch, struct span *dsn_out, struct span *text_out,
    struct err *e)
{
	return alias_trouble(w->aliases, r, scratch, dsn_out, text_out, e);
}

bool
rewrite_is_idle(const struct rewriter *w, const struct envelope *env, const struct rewrite_extra *x)
{
	if (x != NULL && (x->redirect.n > 0 || x->nbcc > 0 || x->ncopies > 0))
		return false;
	if (!w->no_mappings
	    && (!rewriter_is_idle(w, REWRITE_ENVELOPE_SENDER) || !rewriter_is_idle(w, REWRITE_ENVELOPE_RCPT) || !map_list_empty(w->virtual_alias)
	        || ((x == NULL || !x->no_bcc)
	            && (!map_list_empty(w->sender_bcc) || !map_list_empty(w->rcpt_bcc) || *w->p->p_always_bcc != '\0'))))
		return false;
	if (is_mailer_daemon(w, env->sender) || (!w->p->p_enable_original_recipient && env->nrcpt > 1))
		return false;
	for (uint32_t i = 0; w->aliases != NULL && i < env->nrcpt; i++) {
		struct span addr = env->rcpt[i].addr;
		size_t at = span_rchr(addr, '@');
		if (at != SIZE_MAX && address_own_domain(w->book, span_from(addr, at + 1), NULL) != RC_NONE)
			return false;
	}
	return true;
}
