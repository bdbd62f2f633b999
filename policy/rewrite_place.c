/* SPDX-License-Identifier: BSD-2-Clause */
/* The last step of a recipient: aliases of the local class, duplicates, the place in the new envelope. */
#include "base/mem.h"
#include "ipc/msgs.h"
#include "policy/rewriter.h"

enum { RCPTS_MAX = 16384 /* of one message, expanded: more do not go into one SUBMIT */, LISTS_DEEP = 20, WORD_MAX = 4096 };

/* ---- what comes out ---- */

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
	if (rc == RC_OK && !span_is_printable(addr))
		rc = err_set(k->e, RC_TEMP, "the result of a lookup is no address");
	/* what is only told about is no recipient: nobody else is a duplicate of it */
	bool told = (g->notify & NOTIFY_EXPANDED) != 0;
	if (rc == RC_OK && addr.n > 0 && (told || !seen_has(k, &k->out, g, addr)))
		rc = k->out.n < RCPTS_MAX ? seen_add(k, &k->out, g, addr)
		                          : err_set(k->e, RC_PERM, "unreasonable alias expansion size: more than %d recipients", RCPTS_MAX);
	buf_fini(&full);
	return rc;
}

/* ---- aliases of the local class ---- */

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
    unsigned depth, unsigned *left_over);

/* One that was read already, or stands within itself, is not read again. depth: of lists within lists. */
static enum rc
expand_list(struct work *k, const struct given *g, struct span path, struct span ext, const struct chain *chain, unsigned depth,
    unsigned *left_over)
{
	struct span text, line;
	struct text *list = textset_find(&k->lists, path);
	size_t before = k->reached;
	if (list != NULL) {
		k->reached += list->gave;
		return RC_OK;
	}
	if (depth > LISTS_DEEP)
		return err_set(k->e, RC_PERM, "lists within lists are nested too deep");
	list = textset_add(k, &k->lists, path);
	if (list == NULL)
		return err_set(k->e, RC_PERM, "unreasonable alias expansion size");
	enum rc rc = alias_list(k->w->aliases, path, &text, k->e);
	if (rc == RC_OK && (k->w->propagate & PROPAGATE_INCLUDE) == 0)
		ext = SPAN_EMPTY;
	bool on = rc == RC_OK;
	while (on && alias_list_line(&text, &line))
		on = rewrite_goes_on(k, expand_value(k, g, line, ext, chain, depth, left_over), &rc);
	list->gave = k->reached > before;
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
	if (rc != RC_OK || with.over || addr.n == 0 || !span_is_printable(addr)) {
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
    unsigned depth, unsigned *left_over)
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
			on = rewrite_goes_on(k, expand_list(k, g, text, ext, chain, depth + 1, left_over), &rc);
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
	if (textset_find(&k->expanded, addr) != NULL) {
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
		link.addr = addr;
		if (textset_add(k, &k->expanded, addr) == NULL)
			rc = err_set(k->e, RC_PERM, "unreasonable alias expansion size");
		else
			rc = rewrite_say_expanded(k, &mine, addr);
		before = k->reached;
		if (rc == RC_OK)
			rc = expand_value(k, &mine, value, ext, &link, 0, &left_over);
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
		if (seen_has(k, &k->local, g, addr))
			return RC_OK;
		rc = seen_add(k, &k->local, g, addr);
		if (rc != RC_OK)
			return rc;
		textset_clear(&k->expanded);
		textset_clear(&k->forwarded);
		textset_clear(&k->lists);
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
	if (textset_find(&k->forwarded, addr) != NULL)
		return RC_OK;
	struct text *kept = textset_add(k, &k->forwarded, addr);
	if (kept == NULL)
		return err_set(k->e, RC_PERM, "unreasonable alias expansion size");
	if (chain->depth > REWRITE_ALIAS_DEPTH)
		return err_set(k->e, RC_PERM, "aliases are nested too deep");
	return rewrite_take(k, g, kept->text, chain, &local);
}
