/* SPDX-License-Identifier: BSD-2-Clause */
/* The envelope of a message: who it is from and who gets it in the end. Facts 5.6. */
#include "base/mem.h"
#include "ipc/msgs.h"
#include "policy/rewriter.h"

enum {
	RCPTS_MAX = 50000,           /* of one message, expanded */
	ALIAS_DEPTH = 100,
	LISTS_DEEP = 20,
	VALUE_MAX = 256 * 1024,
	WORD_MAX = 4096,
};

/* A recipient on its way. */
struct given {
	struct span orig, orcpt;
	uint8_t notify;
};

struct seen {
	struct env_rcpt *rcpt;
	uint64_t *hash;
	uint32_t n, cap;
};

struct work {
	const struct rewriter *w;
	const struct envelope *in;
	const struct rewrite_extra *x;
	struct arena *a;
	struct seen out;             /* the recipients */
	uint32_t group;              /* 0, or which local recipient is being expanded: its mail is sent on by itself */
	struct seen local;           /* those that are sent to aliases: given twice, they are expanded once */
	struct span *expanded;       /* of the local recipient at hand, aliases that were, as addresses: heap */
	size_t nexpanded;
	struct span *forwarded;      /* addresses that aliases gave: heap */
	size_t nforwarded;
	size_t reached;              /* destinations of aliases that were dealt with */
	struct resolved *res;        /* heap; of the address being looked at */
	struct err *e;
};

/* The aliases an alias is being expanded for. */
struct chain {
	const struct chain *up;
	struct span addr;
	unsigned depth;
};

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

static enum rc
emit(struct work *k, const struct given *g, struct span addr)
{
	struct buf full;
	enum rc rc = RC_OK;
	k->reached++;
	buf_init(&full, ADDRESS_MAX);
	if (addr.n == 0) { /* an alias for <> */
		rc = address_standard(k->w->book, span_str(k->w->p->p_empty_address_recipient), &full);
		addr = buf_span(&full);
	}
	if (rc == RC_OK && !is_clean(addr))
		rc = err_set(k->e, RC_TEMP, "the result of a lookup is no address");
	uint64_t hash = hash_of(k, g, addr);
	if (rc != RC_OK || addr.n == 0 || is_duplicate(k, &k->out, g, addr, hash))
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

static enum rc place(struct work *k, const struct given *g, struct span addr, const struct chain *chain);
static enum rc forward(struct work *k, const struct given *g, struct span addr, const struct chain *chain);
static enum rc expand_value(struct work *k, const struct given *g, struct span value, struct span ext, const struct chain *chain,
    const struct lists *lists, unsigned *left_over);

static bool
is_in(const struct span *list, size_t n, struct span addr)
{
	for (size_t i = 0; i < n; i++)
		if (span_caseeq(list[i], addr))
			return true;
	return false;
}

static void
remember(struct work *k, struct span **list, size_t *n, struct span addr)
{
	if ((*n & (*n - 1)) == 0)
		*list = mem_reallocarray(*list, *n > 0 ? 2 * *n : 1, sizeof **list);
	(*list)[(*n)++] = arena_span(k->a, addr);
}

/* Somebody asking for a success report is told "expanded", and not by the destinations. */
static enum rc
say_expanded(struct work *k, struct given *g, struct span addr)
{
	if ((g->notify & NOTIFY_SUCCESS) == 0)
		return RC_OK;
	struct given told = { .orig = g->orig, .orcpt = g->orcpt, .notify = NOTIFY_SUCCESS | NOTIFY_EXPANDED };
	g->notify = g->notify == NOTIFY_SUCCESS ? NOTIFY_NEVER : (uint8_t)(g->notify & ~NOTIFY_SUCCESS);
	return emit(k, &told, addr);
}

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
	while (rc == RC_OK && alias_list_line(&text, &line))
		rc = expand_value(k, g, line, ext, chain, &link, left_over);
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
	buf_init(&word, WORD_MAX);
	while (rc == RC_OK && alias_next(&l, &word, &kind, &text))
		switch (kind) {
		case ALIAS_ADDRESS:
			rc = expand_address(k, g, text, ext, chain, left_over);
			break;
		case ALIAS_INCLUDE:
			rc = expand_list(k, g, text, ext, chain, lists, left_over);
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
			return emit(k, g, addr);
	if (is_in(k->expanded, k->nexpanded, addr)) {
		k->reached++;
		return RC_OK;
	}
	buf_init(&scratch, VALUE_MAX);
	struct map_addr a = address_split(k->w->book, addr);
	enum rc rc = address_alias(k->w->book, &a, &scratch, &value, &without_ext, k->e);
	if (rc == RC_NONE || (rc == RC_OK && link.depth > ALIAS_DEPTH)) {
		rc = emit(k, g, addr);
	} else if (rc == RC_OK) {
		unsigned left_over = 0;
		struct given mine = *g;
		struct span ext = without_ext && (k->w->propagate & PROPAGATE_ALIAS) ? a.ext : SPAN_EMPTY;
		size_t before = 0;
		remember(k, &k->expanded, &k->nexpanded, addr);
		link.addr = k->expanded[k->nexpanded - 1];
		rc = say_expanded(k, &mine, addr);
		before = k->reached;
		if (rc == RC_OK)
			rc = expand_value(k, &mine, value, ext, &link, NULL, &left_over);
		if (rc == RC_OK && (left_over > 0 || k->reached == before))
			rc = emit(k, &mine, addr);
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
	buf_init(&scratch, VALUE_MAX);
	rc = address_resolve(k->w->book, addr, k->res, k->e);
	if (rc == RC_OK)
		rc = address_is_aliased(k->w->book, k->res, &scratch, k->e);
	buf_fini(&scratch);
	*local_out = k->res->addr;
	return rc == RC_PERM ? RC_TEMP : rc;
}

/* An address in its final form. */
static enum rc
place(struct work *k, const struct given *g, struct span addr, const struct chain *chain)
{
	struct span local;
	if (chain == NULL)
		k->group = 0;
	enum rc rc = is_aliased(k, addr, &local);
	if (rc == RC_NONE)
		return emit(k, g, addr);
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

/* ---- virtual aliases ---- */

struct expansion {
	struct span *addr;           /* heap; texts in the arena */
	size_t n, cap;
	struct span *self;           /* those that have expanded into themselves: heap */
	size_t nself;
};

static void
add_address(struct expansion *x, struct span addr)
{
	if (x->n == x->cap) {
		x->cap = x->cap > 0 ? 2 * x->cap : 4;
		x->addr = mem_reallocarray(x->addr, x->cap, sizeof *x->addr);
	}
	x->addr[x->n++] = addr;
}

/* Replaces x->addr[at] by what the tables say. RC_NONE: nothing. */
static enum rc
expand_once(struct work *k, struct expansion *x, size_t at, struct mapping *m, struct buf *word)
{
	size_t longest = (size_t)k->w->p->p_virtual_alias_address_length_limit;
	struct span was = x->addr[at];
	enum rc rc = mapping_find(m, k->w->virtual_alias, was, (k->w->propagate & PROPAGATE_VIRTUAL) != 0, k->e);
	if (rc != RC_OK)
		return rc;
	for (size_t i = 0; (rc = mapping_next(m, word)) != RC_NONE; i++) {
		struct span addr = buf_span(word);
		if (rc != RC_OK || addr.n > longest)
			return err_set(k->e, RC_PERM, "unreasonable virtual_alias_maps result");
		if (x->n > (size_t)k->w->p->p_virtual_alias_expansion_limit) /* more than the loop above would let pass */
			return err_set(k->e, RC_PERM, "unreasonable virtual_alias_maps map expansion size");
		struct span kept = arena_span(k->a, addr);
		if (i == 0)
			x->addr[at] = kept;
		else
			add_address(x, kept);
		if (span_caseeq(kept, was))
			remember(k, &x->self, &x->nself, was);
	}
	return k->a->over ? err_set(k->e, RC_PERM, "unreasonable virtual_alias_maps map expansion size") : RC_OK;
}

static enum rc
expand_all(struct work *k, struct expansion *x)
{
	size_t limit = (size_t)k->w->p->p_virtual_alias_expansion_limit, deepest = (size_t)k->w->p->p_virtual_alias_recursion_limit;
	struct mapping m;
	struct buf word;
	enum rc rc = RC_NONE;
	mapping_init(&m, k->w->book);
	buf_init(&word, ADDRESS_MAX);
	for (size_t i = 0; i < x->n && rc == RC_NONE; i++) {
		if (x->n > limit) {
			rc = err_set(k->e, RC_PERM, "unreasonable virtual_alias_maps map expansion size");
			break;
		}
		rc = RC_OK;
		for (size_t turns = 0; rc == RC_OK; turns++) {
			if (is_in(x->self, x->nself, x->addr[i]))
				rc = RC_NONE;
			else if (turns >= deepest)
				rc = err_set(k->e, RC_PERM, "unreasonable virtual_alias_maps map nesting");
			else
				rc = expand_once(k, x, i, &m, &word);
		}
	}
	mapping_fini(&m);
	buf_fini(&word);
	return rc == RC_NONE ? RC_OK : rc;
}

static enum rc
add_recipient(struct work *k, const struct given *g, struct span addr, const struct chain *chain)
{
	struct expansion x = { .addr = NULL };
	struct given mine = *g;
	if (k->w->no_mappings || map_list_empty(k->w->virtual_alias))
		return place(k, g, addr, chain);
	add_address(&x, arena_span(k->a, addr));
	enum rc rc = expand_all(k, &x);
	if (rc == RC_OK && (x.n > 1 || !span_eq(x.addr[0], addr)))
		rc = say_expanded(k, &mine, addr);
	for (size_t i = 0; i < x.n && rc == RC_OK; i++)
		rc = place(k, &mine, x.addr[i], chain);
	mem_free(&x.addr);
	mem_free(&x.self);
	return rc;
}

/* Canonical, masquerade, virtual aliases. final_out: after the first two; it is what counts as given when nobody gave it. */
static enum rc
take(struct work *k, const struct given *g, struct span addr, const struct chain *chain, struct span *final_out)
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
	return rc == RC_OK ? add_recipient(k, &mine, now, chain) : rc;
}

/* What an alias gave: another alias, or mail that is sent on like any other. */
static enum rc
forward(struct work *k, const struct given *g, struct span addr, const struct chain *chain)
{
	struct span local;
	enum rc rc = is_aliased(k, addr, &local);
	if (rc == RC_OK)
		return place(k, g, addr, chain);
	if (rc != RC_NONE)
		return rc;
	k->reached++;
	if (is_in(k->forwarded, k->nforwarded, addr))
		return RC_OK;
	remember(k, &k->forwarded, &k->nforwarded, addr);
	if (chain->depth > ALIAS_DEPTH)
		return err_set(k->e, RC_PERM, "aliases are nested too deep");
	return take(k, g, k->forwarded[k->nforwarded - 1], chain, &local);
}

/* ---- automatic copies ---- */

static enum rc
add_bcc(struct work *k, struct span bcc)
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
		rc = address_standard(k->w->book, bcc, &full);
		struct given g = { .notify = NOTIFY_NEVER };
		if (rc == RC_OK)
			rc = take(k, &g, arena_span(k->a, buf_span(&full)), NULL, &ignored);
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
mapped_bcc(struct work *k, const struct map_list *l, struct span addr)
{
	struct buf scratch;
	struct span value, ext;
	if (!makes_copies(k) || addr.n == 0 || map_list_empty(l))
		return RC_OK;
	buf_init(&scratch, VALUE_MAX);
	enum rc rc = mapping_value(k->w->book, l, addr, &scratch, &value, &ext, k->e);
	if (rc == RC_OK)
		rc = add_bcc(k, value);
	buf_fini(&scratch);
	return rc == RC_NONE ? RC_OK : rc;
}

static enum rc
one_recipient(struct work *k, const struct given *g, struct span addr)
{
	struct span now;
	enum rc rc = take(k, g, addr, NULL, &now);
	return rc == RC_OK ? mapped_bcc(k, k->w->rcpt_bcc, now) : rc;
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
	return rc == RC_OK ? mapped_bcc(k, k->w->sender_bcc, out->sender) : rc;
}

static enum rc
do_recipients(struct work *k)
{
	enum rc rc = RC_OK;
	for (uint32_t i = 0; i < k->in->nrcpt && rc == RC_OK; i++) {
		const struct env_rcpt *r = &k->in->rcpt[i];
		const struct given g = { .orig = r->orig.n > 0 ? r->orig : r->addr, .orcpt = r->orcpt, .notify = r->notify };
		rc = one_recipient(k, &g, r->addr);
	}
	for (uint32_t i = 0; i < k->x->nbcc && rc == RC_OK; i++) {
		struct buf full;
		buf_init(&full, ADDRESS_MAX);
		const struct given g = { .orig = k->x->bcc[i], .notify = NOTIFY_NEVER };
		if (address_standard(k->w->book, k->x->bcc[i], &full) == RC_OK)
			rc = one_recipient(k, &g, arena_span(k->a, buf_span(&full)));
		else
			rc = err_set(k->e, RC_TEMP, "a BCC action has no address");
		buf_fini(&full);
	}
	const char *always = k->w->p->p_always_bcc;
	if (rc == RC_OK && makes_copies(k) && *always != '\0')
		rc = add_bcc(k, span_str(always));
	return rc;
}

/* One recipient for all; what was asked for the first one counts. */
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
	struct work k = { .w = w, .in = in, .x = x != NULL ? x : &none, .a = a, .e = e };
	*out = *in;
	enum rc rc = do_sender(&k, out);
	if (rc == RC_OK)
		rc = do_recipients(&k);
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
	mem_free(&k.out.rcpt);
	mem_free(&k.out.hash);
	mem_free(&k.local.rcpt);
	mem_free(&k.local.hash);
	mem_free(&k.expanded);
	mem_free(&k.forwarded);
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
	if (x != NULL && (x->redirect.n > 0 || x->nbcc > 0))
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
