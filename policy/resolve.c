/* SPDX-License-Identifier: BSD-2-Clause */
#include "policy/resolve.h"

#include "base/ipaddr.h"
#include "msg/addr.h"

/* The address being worked on: text[0..n), rewritten in place. */
struct work {
	unsigned char *text;
	size_t n, max;
	bool over;
};

static struct span
whole(const struct work *w)
{
	return span_of(w->text, w->n);
}

static void
append(struct work *w, struct span s)
{
	if (s.n > w->max - w->n) {
		w->over = true;
		return;
	}
	if (s.n > 0)
		memmove(w->text + w->n, s.p, s.n);
	w->n += s.n;
}

static size_t
at_sign(const struct work *w)
{
	return span_rchr(whole(w), '@');
}

static void
strip_dots(struct work *w)
{
	/* one trailing dot of a domain goes, but not of "a@." and not the second of ".." */
	size_t at = at_sign(w);
	if (at == SIZE_MAX || w->n < 2 || w->text[w->n - 1] != '.')
		return;
	if (w->text[w->n - 2] != '.' && w->text[w->n - 2] != '@')
		w->n--;
}

/* site!user, user%site and a bare user become user@site. */
static void
add_domain(const struct resolve_rules *rules, struct work *w, bool is_one_word)
{
	size_t bang = rules->bangs && !is_one_word ? span_chr(whole(w), '!') : SIZE_MAX;
	size_t percent = rules->percents && !is_one_word ? span_rchr(whole(w), '%') : SIZE_MAX;
	if (bang != SIZE_MAX && bang < ADDRESS_MAX) {
		unsigned char site[ADDRESS_MAX];
		size_t user = w->n - bang - 1;
		memcpy(site, w->text, bang);
		memmove(w->text, w->text + bang + 1, user);
		w->text[user] = '@';
		memcpy(w->text + user + 1, site, bang);
	} else if (percent != SIZE_MAX) {
		w->text[percent] = '@';
	} else if (rules->append_at && *rules->myorigin != '\0') {
		append(w, SPAN("@"));
		append(w, span_str(rules->myorigin));
	}
}

/* To user@domain form. At first, what would have to be quoted is one word: no operator in it is seen, and it came
 * in quotes, because a route that was not quoted is gone. */
static void
rewrite(const struct resolve_rules *rules, struct work *w, bool is_first)
{
	if (w->n == 0)
		return;
	if (w->n == 1 && w->text[0] == '@') {
		w->n = 0;
		return;
	}
	size_t colon = span_chr(whole(w), ':');
	if (!is_first && w->text[0] == '@' && colon != SIZE_MAX && colon + 1 < w->n) {
		memmove(w->text, w->text + colon + 1, w->n - colon - 1);
		w->n -= colon + 1;
	}
	if (at_sign(w) == SIZE_MAX)
		add_domain(rules, w, is_first && addr_needs_quotes(whole(w)));
	size_t at = at_sign(w);
	if (rules->append_dot && *rules->mydomain != '\0' && at != SIZE_MAX && at + 1 < w->n && w->text[at + 1] != '['
	    && span_chr(span_from(whole(w), at + 1), '.') == SIZE_MAX) {
		append(w, SPAN("."));
		append(w, span_str(rules->mydomain));
	}
	strip_dots(w);
}

static bool
has_route(const struct resolve_rules *rules, struct span local)
{
	return span_chr(local, '@') != SIZE_MAX || (rules->bangs && span_chr(local, '!') != SIZE_MAX)
	    || (rules->percents && span_chr(local, '%') != SIZE_MAX);
}

static bool
is_routed(struct span local)
{
	return span_chr(local, '@') != SIZE_MAX || span_chr(local, '!') != SIZE_MAX || span_chr(local, '%') != SIZE_MAX;
}

/* With resolve_dequoted_address=no what had to be quoted is one word. */
static bool
may_look(const struct resolve_rules *rules, struct span local)
{
	return rules->look_in_quotes || !addr_needs_quotes(local);
}

static bool
is_bad_domain(const struct resolve_rules *rules, struct span domain)
{
	struct ipaddr ip;
	if (domain.n == 0)
		return !rules->null_domain;
	if (domain.p[0] == '[')
		return !addr_is_literal(domain);
	if (addr_is_hostname(domain, true))
		return false;
	return !rules->numeric_domain || ipaddr_parse(domain, &ip) != RC_OK;
}

static enum rc
take_off_own_domains(const struct resolve_rules *rules, struct work *w, struct span *saved_out, unsigned char saved[ADDRESS_MAX],
    struct resolved *out, bool *is_local_out, struct err *e)
{
	/* every turn takes a domain off or turns one operator into '@': the address gets no longer but by
	 * myorigin, and that is local or ends the loop */
	for (size_t turns = w->n + 4; turns > 0; turns--) {
		strip_dots(w);
		size_t at = at_sign(w);
		if (at != SIZE_MAX && at + 1 == w->n && rules->null_domain) {
			w->n = at;
			at = at_sign(w);
		}
		if (at != SIZE_MAX) {
			struct span domain = span_from(whole(w), at + 1);
			if (domain.n > 0)
				memcpy(out->typed_text, domain.p, domain.n);
			out->typed_domain = span_of(out->typed_text, domain.n);
			for (size_t i = at + 1; i < w->n; i++)
				if (w->text[i] >= 'A' && w->text[i] <= 'Z')
					w->text[i] |= 0x20;
			if (domain.n == 0)
				return RC_OK; /* "user@": not ours, and bad */
			enum rc rc = rules->is_local(rules->arg, domain, e);
			if (rc == RC_NONE)
				return RC_OK;
			if (rc != RC_OK)
				return rc;
			size_t keep = domain.n < ADDRESS_MAX ? domain.n : 0;
			memcpy(saved, domain.p, keep);
			*saved_out = span_of(saved, keep);
			w->n = at;
		}
		if (!may_look(rules, whole(w)) || !has_route(rules, whole(w))) {
			*is_local_out = true;
			return RC_OK;
		}
		rewrite(rules, w, false);
		if (w->over)
			return RC_OK;
	}
	w->over = true;
	return RC_OK;
}

bool
resolve_standard(const struct resolve_rules *rules, unsigned char *text, size_t *n, size_t max)
{
	struct work w = { .text = text, .n = *n, .max = max };
	rewrite(rules, &w, true);
	*n = w.n;
	return !w.over;
}

enum rc
resolve_address(const struct resolve_rules *rules, struct span addr, struct resolved *out, bool *is_local_out, struct err *e)
{
	unsigned char saved[ADDRESS_MAX];
	struct span own = SPAN_EMPTY;
	*out = (struct resolved){ 0 };
	*is_local_out = false;
	struct work w = { .text = out->text, .max = sizeof out->text };
	if (addr.n > ADDRESS_MAX) {
		out->is_bad = true;
		return RC_OK;
	}
	append(&w, addr);
	rewrite(rules, &w, true);
	enum rc rc = take_off_own_domains(rules, &w, &own, saved, out, is_local_out, e);
	if (rc != RC_OK)
		return rc;
	if (*is_local_out) {
		append(&w, SPAN("@"));
		append(&w, own.n > 0 ? own : span_str(rules->myorigin));
		if (own.n == 0)
			out->typed_domain = span_str(rules->myorigin);
	}
	if (w.over) {
		*is_local_out = false;
		out->is_bad = true;
		return RC_OK;
	}
	size_t at = at_sign(&w);
	out->addr = whole(&w);
	out->local = at == SIZE_MAX ? out->addr : span_head(out->addr, at);
	out->domain = at == SIZE_MAX ? SPAN_EMPTY : span_from(out->addr, at + 1);
	/* More of a route is left. That we do not follow "%" or "!" ourselves does not say that the hub behind us does not
	 * (facts 3.7). */
	out->is_routed = is_routed(out->local);
	if (!*is_local_out && is_bad_domain(rules, out->domain))
		out->is_bad = true;
	if (!rules->min_user && out->addr.n > 0 && out->addr.p[0] == '-')
		out->is_bad = true;
	return RC_OK;
}
