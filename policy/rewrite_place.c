/* SPDX-License-Identifier: BSD-2-Clause */
/* The last step of a recipient: aliases of the local class, duplicates, the place in the new envelope. */
#include "base/mem.h"
#include "ipc/msgs.h"
#include "policy/rewriter.h"

enum { RCPTS_MAX = 16384 /* of one message, expanded: more do not go into one SUBMIT */, LISTS_DEEP = 20, WORD_MAX = 4096 };

/* The lists a line stands in: one within itself is not read again. */
struct lists {
	const struct lists *up;
	struct span path;
	unsigned depth;
};

/* ---- what comes out ---- */

static uint64_t
hash_of(const struct work *k, const struct given *g, struct span addr)
{
	uint64_t h = span_casehash(addr);
	if (k->w->p->p_enable_original_recipient)
		h ^= span_casehash(g->orig) * 3 + span_casehash(g->orcpt) * 5 + g->notify;
	return h + k->group * UINT64_C(0x9e3779b97f4a7c15);
}

/* A row of recipients; heap while it grows. */
static void
add(struct seen *l, const struct env_rcpt *r, uint64_t hash)
{
	if (l->n == l->cap) {
		l->cap = l->cap > 0 ? 2 * l->cap : 4;
		l->rcpt = mem_reallocarray(l->rcpt, l->cap, sizeof *l->rcpt);
		l->hash = mem_reallocarray(l->hash, l->cap, sizeof *l->hash);
	}
	l->rcpt[l->n] = *r;
	l->hash[l->n++] = hash;
}

/* The same recipient, given the same way with the same options, gets one copy. */
static bool
is_duplicate(const struct work *k, const struct seen *l, const struct given *g, struct span addr, uint64_t hash)
{
	uint32_t limit = (uint32_t)k->w->p->p_duplicate_filter_limit; /* what came later is not remembered */
	for (uint32_t i = 0; i < l->n && i < limit; i++) {
		const struct env_rcpt *r = &l->rcpt[i];
		if (l->hash[i] != hash || !span_caseeq(r->addr, addr))
			continue;
		struct span orig = r->orig.n > 0 ? r->orig : r->addr;
		if (!k->w->p->p_enable_original_recipient || (span_caseeq(orig, g->orig) && span_caseeq(r->orcpt, g->orcpt) && r->notify == g->notify))
			return true;
	}
	return false;
}

static bool
is_clean(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] < ' ' || s.p[i] == 0x7f)
			return false;
	return true;
}

enum rc
rewrite_emit(struct work *k, const struct given *g, struct span addr)
{
	struct buf full;
	enum rc rc = RC_OK;
	k->reached++;
	buf_init(&full, ADDRESS_MAX);
	if (addr.n == 0) { /* an alias for <> */
		buf_puts(&full, k->w->p->p_empty_address_recipient);
		if (span_chr(buf_span(&full), '@') == SIZE_MAX) {
			buf_putc(&full, '@');
			buf_puts(&full, k->w->p->p_myhostname);
		}
		addr = buf_span(&full);
	}
	if (rc == RC_OK && !is_clean(addr))
		rc = err_set(k->e, RC_TEMP, "the result of a lookup is no address");
	/* what is only told about is no recipient: nobody else is a duplicate of it */
	bool told = (g->notify & NOTIFY_EXPANDED) != 0;
	uint64_t hash = told ? ~hash_of(k, g, addr) : hash_of(k, g, addr);
	if (rc != RC_OK || addr.n == 0 || (!told && is_duplicate(k, &k->out, g, addr, hash)))
		goto out;
	if (k->out.n >= RCPTS_MAX) {
		rc = err_set(k->e, RC_PERM, "unreasonable alias expansion size: more than %d recipients", RCPTS_MAX);
		goto out;
	}
	struct env_rcpt r = { .addr = arena_span(k->a, addr), .orcpt = g->orcpt, .notify = g->notify };
	if (!span_eq(g->orig, addr))
		r.orig = g->orig;
	add(&k->out, &r, hash);
	if (k->a->over)
		rc = err_set(k->e, RC_PERM, "unreasonable alias expansion size");
out:
	buf_fini(&full);
	return rc;
}

/* ---- aliases of the local class ---- */

bool
rewrite_is_in(const struct span *list, size_t n, struct span addr)
{
	for (size_t i = 0; i < n; i++)
		if (span_caseeq(list[i], addr))
			return true;
	return false;
}

void
rewrite_remember(struct work *k, struct span **list, size_t *n, struct span addr)
{
	if ((*n & (*n - 1)) == 0)
		*list = mem_reallocarray(*list, *n > 0 ? 2 * *n : 1, sizeof **list);
	(*list)[(*n)++] = arena_span(k->a, addr);
}

/* Somebody asking for a success report is told "expanded", and not by the destinations. */
enum rc
rewrite_say_expanded(struct work *k, struct given *g, struct span addr)
{
	if ((g->notify & NOTIFY_SUCCESS) == 0)
		return RC_OK;
	struct given told = { .orig = g->orig, .orcpt = g->orcpt, .notify = NOTIFY_SUCCESS | NOTIFY_EXPANDED };
	g->notify = g->notify == NOTIFY_SUCCESS ? NOTIFY_NEVER : (uint8_t)(g->notify & ~NOTIFY_SUCCESS);
	return rewrite_emit(k, &told, addr);
}

static enum rc forward(struct work *k, const struct given *g, struct span addr, const struct chain *chain);
static enum rc expand_value(struct work *k, const struct given *g, struct span value, struct span ext, const struct chain *chain,
    const struct lists *lists, unsigned *left_over);

static enum rc
expand_list(struct work *k, const struct given *g, struct span path, struct span ext, const struct chain *chain, const struct lists *up,
    unsigned *left_over)
{
	struct span text, line;
	struct lists link = { .up = up, .path = path, .depth = up != NULL ? up->depth + 1 : 1 };
	if (link.depth > LISTS_DEEP)
		return err_set(k->e, RC_PERM, "lists within lists are nested too deep");
	for (const struct lists *l = up; l != NULL; l = l->up)
		if (span_eq(l->path, path))
			return RC_OK;
	enum rc rc = alias_list(k->w->aliases, path, &text, k->e);
	if (rc == RC_OK && (k->w->propagate & PROPAGATE_INCLUDE) == 0)
		ext = SPAN_EMPTY;
	bool on = rc == RC_OK;
	while (on && alias_list_line(&text, &line))
		on = rewrite_goes_on(k, expand_value(k, g, line, ext, chain, &link, left_over), &rc);
	return rc;
}

static enum rc
expand_address(struct work *k, const struct given *g, struct span text, struct span ext, const struct chain *chain, unsigned *left_over)
{
	struct buf full, with;
	buf_init(&full, ADDRESS_MAX);
	buf_init(&with, ADDRESS_MAX);
	enum rc rc = address_standard(k->w->book, text, &full);
	struct span addr = buf_span(&full);
	size_t at = span_rchr(addr, '@');
	if (rc == RC_OK && ext.n > 0 && at != SIZE_MAX) {
		buf_put(&with, span_head(addr, at));
		buf_put(&with, ext);
		buf_put(&with, span_from(addr, at));
		addr = buf_span(&with);
	}
	if (rc != RC_OK || with.over || addr.n == 0 || !is_clean(addr)) {
		++*left_over;
		rc = RC_OK;
	} else {
		rc = forward(k, g, addr, chain);
	}
	buf_fini(&full);
	buf_fini(&with);
	return rc;
}

static enum rc
expand_value(struct work *k, const struct given *g, struct span value, struct span ext, const struct chain *chain,
    const struct lists *lists, unsigned *left_over)
{
	struct addrlist l = ADDRLIST(value);
	struct buf word;
	enum alias_kind kind;
	struct span text;
	enum rc rc = RC_OK;
	bool on = true;
	buf_init(&word, WORD_MAX);
	while (on && alias_next(&l, &word, &kind, &text))
		switch (kind) {
		case ALIAS_ADDRESS:
			on = rewrite_goes_on(k, expand_address(k, g, text, ext, chain, left_over), &rc);
			break;
		case ALIAS_INCLUDE:
			on = rewrite_goes_on(k, expand_list(k, g, text, ext, chain, lists, left_over), &rc);
			break;
		case ALIAS_COMMAND:
		case ALIAS_FILE:
		case ALIAS_MAILBOX:
			++*left_over;
			break;
		}
	buf_fini(&word);
	return rc;
}

/* addr is local. What cannot be delivered to stays in the envelope as addr: the queue says why. */
static enum rc
expand_alias(struct work *k, const struct given *g, struct span addr, const struct chain *up)
{
	struct buf scratch;
	struct span value;
	bool without_ext = false;
	struct chain link = { .up = up, .depth = up != NULL ? up->depth + 1 : 1 };
	for (const struct chain *c = up; c != NULL; c = c->up)
		if (span_caseeq(c->addr, addr))
			return rewrite_emit(k, g, addr);
	if (rewrite_is_in(k->expanded, k->nexpanded, addr)) {
		k->reached++;
		return RC_OK;
	}
	buf_init(&scratch, REWRITE_VALUE_MAX);
	struct map_addr a = address_split(k->w->book, addr);
	enum rc rc = address_alias(k->w->book, &a, &scratch, &value, &without_ext, k->e);
	if (rc == RC_NONE || (rc == RC_OK && link.depth > REWRITE_ALIAS_DEPTH)) {
		rc = rewrite_emit(k, g, addr);
	} else if (rc == RC_OK) {
		unsigned left_over = 0;
		struct given mine = *g;
		struct span ext = without_ext && (k->w->propagate & PROPAGATE_ALIAS) ? a.ext : SPAN_EMPTY;
		size_t before = 0;
		rewrite_remember(k, &k->expanded, &k->nexpanded, addr);
		link.addr = k->expanded[k->nexpanded - 1];
		rc = rewrite_say_expanded(k, &mine, addr);
		before = k->reached;
		if (rc == RC_OK)
			rc = expand_value(k, &mine, value, ext, &link, NULL, &left_over);
		if (rc == RC_OK && (left_over > 0 || k->reached == before))
			rc = rewrite_emit(k, &mine, addr);
	}
	buf_fini(&scratch);
	return rc == RC_NONE ? RC_OK : rc;
}

static enum rc
is_aliased(struct work *k, struct span addr, struct span *local_out)
{
	struct buf scratch;
	size_t at = span_rchr(addr, '@');
	if (k->w->aliases == NULL || at == SIZE_MAX)
		return RC_NONE;
	enum rc rc = address_own_domain(k->w->book, span_from(addr, at + 1), k->e);
	if (rc != RC_OK)
		return rc == RC_NONE ? RC_NONE : RC_TEMP;
	if (k->res == NULL)
		k->res = mem_alloc(sizeof *k->res);
	buf_init(&scratch, REWRITE_VALUE_MAX);
	rc = address_resolve(k->w->book, addr, k->res, k->e);
	if (rc == RC_OK)
		rc = address_is_aliased(k->w->book, k->res, &scratch, k->e);
	buf_fini(&scratch);
	*local_out = k->res->addr;
	return rc == RC_PERM ? RC_TEMP : rc;
}

/* An address in its final form. */
enum rc
rewrite_place(struct work *k, const struct given *g, struct span addr, const struct chain *chain)
{
	struct span local;
	if (chain == NULL)
		k->group = 0;
	enum rc rc = is_aliased(k, addr, &local);
	if (rc == RC_NONE)
		return rewrite_emit(k, g, addr);
	if (rc != RC_OK)
		return rc;
	if (chain == NULL) { /* Postfix sends on for each local recipient by itself */
		uint64_t hash = hash_of(k, g, addr);
		const struct env_rcpt r = { .addr = arena_span(k->a, addr), .orig = g->orig, .orcpt = g->orcpt, .notify = g->notify };
		if (is_duplicate(k, &k->local, g, addr, hash))
			return RC_OK;
		add(&k->local, &r, hash);
		k->nexpanded = k->nforwarded = 0;
		k->group = k->local.n;
	}
	/* as it was written, unless there was a route in it; a copy: k->res is used again below */
	struct span kept = arena_span(k->a, span_caseeq(local, addr) ? addr : local);
	return k->a->over ? err_set(k->e, RC_PERM, "unreasonable alias expansion size") : expand_alias(k, g, kept, chain);
}

/* What an alias gave: another alias, or mail that is sent on like any other. */
static enum rc
forward(struct work *k, const struct given *g, struct span addr, const struct chain *chain)
{
	struct span local;
	enum rc rc = is_aliased(k, addr, &local);
	if (rc == RC_OK)
		return rewrite_place(k, g, addr, chain);
	if (rc != RC_NONE)
		return rc;
	k->reached++;
	if (rewrite_is_in(k->forwarded, k->nforwarded, addr))
		return RC_OK;
	rewrite_remember(k, &k->forwarded, &k->nforwarded, addr);
	if (chain->depth > REWRITE_ALIAS_DEPTH)
		return err_set(k->e, RC_PERM, "aliases are nested too deep");
	return rewrite_take(k, g, k->forwarded[k->nforwarded - 1], chain, &local);
}
