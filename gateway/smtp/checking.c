/* SPDX-License-Identifier: BSD-2-Clause */
#include "smtp/checking_private.h"

#include "base/mem.h"

enum {
	SCRATCH_MAX = 256 * 1024,    /* of a result */
	LINES_AHEAD = 64,            /* asked about together */
};

static enum rc
not_now(enum check_kind kind, struct err *e)
{
	static const char *const names[] = { "header_checks", "mime_header_checks", "nested_header_checks", "body_checks" };
	struct err why = *e;
	return err_set(e, RC_TEMP, "%s map lookup problem -- message not accepted, try again later: %.150s", names[kind], why.why);
}

/* ---- the header ---- */

/* What was found in the header, before anything of it happens: a table may have to be waited for. */
struct hit {
	struct hit *next;
	size_t row;
	struct span key;
	struct check_verdict v;
};

struct span
checking_row_key(const struct header *row, struct buf *key)
{
	return check_key(row->text, row->name_len, row->value_at - 1, key);
}

static enum rc
gather(struct sess *s, struct headers *h, struct hit **out, struct err *e)
{
	struct checking *k = s->tx->checking;
	const struct checks *ch = s->svc->check.checks;
	struct hit **tail = out;
	enum rc rc = RC_OK;
	*out = NULL;
	for (size_t i = 0; i < h->n && !k->is_stopped; i++) {
		enum check_kind kind = check_kind_of(MIME_PRIMARY, mime_field_id(header_name(&h->row[i])));
		struct check_verdict v;
		if (!checks_has(ch, kind))
			continue;
		struct span key = checking_row_key(&h->row[i], &k->key);
		if (checks_ask(ch, kind, key, &k->scratch, &v, e) != RC_OK) {
			rc = not_now(kind, e);
			if (!map_asked() || !map_asks_more())
				break;
			continue;
		}
		if (rc != RC_OK || (v.action == CHECK_DUNNO && v.warning[0] == '\0'))
			continue;
		struct hit *hit = arena_alloc(h->arena, sizeof *hit);
		if (hit == NULL)
			return err_set(e, RC_PERM, "too many headers are matched");
		*hit = (struct hit){ .row = i, .v = v, .key = arena_span(h->arena, key) };
		hit->v.text = v.text.n > 0 ? arena_span(h->arena, v.text) : SPAN_EMPTY;
		*tail = hit;
		tail = &hit->next;
		if (checking_is_last(&v))
			break;
	}
	return h->arena->over ? err_set(e, RC_PERM, "the header grows too long") : rc;
}

/* The text as a header of its own; RC_PERM: there is no room. */
static enum rc
header_text(struct headers *h, struct span text, struct span *out)
{
	struct buf b;
	buf_init(&b, 2 * text.n + 16);
	check_write(&b, text, true);
	*out = b.over ? SPAN_EMPTY : arena_span(h->arena, buf_span(&b));
	buf_fini(&b);
	return out->n > 0 ? RC_OK : RC_PERM;
}

static enum rc
edit_row(struct headers *h, size_t *at, const struct check_verdict *v)
{
	struct span text;
	enum rc rc = RC_OK;
	if (v->action == CHECK_STRIP || v->action == CHECK_IGNORE) {
		headers_remove(h, *at);
	} else if (v->action == CHECK_REPLACE) {
		rc = header_text(h, v->text, &text);
		return rc == RC_OK ? headers_replace(h, *at, text) : rc;
	} else if (v->action == CHECK_PREPEND) {
		rc = header_text(h, v->text, &text);
		rc = rc == RC_OK ? headers_insert(h, *at, text) : rc;
		(*at)++;
	}
	return rc;
}

/* Where the walker stands when the body begins, and what it has to say of the header. */
static void
walk(struct sess *s, struct span old, bool has_blank)
{
	struct checking *k = s->tx->checking;
	struct mime_item it;
	if (k->is_open)
		mime_fini(&k->mime);
	struct mime_conf conf = s->svc->check.mime;
	if (s->tx->params.is_smtputf8)
		conf.flags &= ~(unsigned)MIME_WANT_7BIT_HEADERS;
	mime_init(&k->mime, &conf);
	k->is_open = true;
	while (s->tx->content.fault == CONTENT_FINE && mime_next(&k->mime, old, !has_blank, &it) != MIME_MORE) {
		checking_tell_fault(s, &it);
		old = span_from(old, it.text.n);
		if (it.event == MIME_HEADER_END)
			break;
	}
}

enum rc
checking_header(struct sess *s, struct span old, bool has_blank, struct headers *h, struct err *e)
{
	struct checking *k = s->tx->checking;
	struct hit *hits;
	if (k == NULL || !s->svc->check.wants_mime)
		return RC_OK;
	enum rc rc = gather(s, h, &hits, e);
	if (rc != RC_OK)
		return rc;
	walk(s, old, has_blank);
	size_t inserted = 0;
	for (struct hit *hit = hits; hit != NULL && s->tx->content.fault == CONTENT_FINE; hit = hit->next) {
		size_t at = hit->row + inserted, before = at;
		checking_act(s, &hit->v, "", "header", hit->key);
		if (edit_row(h, &at, &hit->v) != RC_OK)
			return err_set(e, RC_PERM, "the header grows too long");
		inserted += at - before;
	}
	return RC_OK;
}

/* ---- the body ---- */

struct writing {
	struct buf out;
	bool is_on;                  /* something changed: what stays is copied, too */
	size_t used;                 /* octets dealt with since the last content_pass() */
};

static void
keep(struct writing *w, struct span text)
{
	if (w->is_on)
		buf_put(&w->out, text);
	w->used += text.n;
}

static void
begin_change(struct content *c, struct writing *w)
{
	if (w->is_on)
		return;
	content_pass(c, w->used, NULL);
	w->used = 0;
	w->is_on = true;
}

static void
change(struct content *c, struct writing *w, const struct mime_item *it, const struct check_verdict *v)
{
	bool is_header = it->event == MIME_HEADER;
	switch (v->action) {
	case CHECK_STRIP:
	case CHECK_IGNORE:
		begin_change(c, w);
		break;
	case CHECK_REPLACE:
		begin_change(c, w);
		check_write(&w->out, v->text, is_header);
		if (!is_header && !it->is_end && !w->out.over) /* a piece of a line */
			buf_cut(&w->out, buf_len(&w->out) - 2);
		break;
	case CHECK_PREPEND:
		begin_change(c, w);
		check_write(&w->out, v->text, is_header);
		keep(w, it->text);
		return;
	case CHECK_DUNNO:
	case CHECK_REJECT:
	case CHECK_DISCARD:
	case CHECK_HOLD:
	case CHECK_QUARANTINE:
	case CHECK_PASS:
	case CHECK_WARN:
	case CHECK_INFO:
	case CHECK_FILTER:
	case CHECK_REDIRECT:
	case CHECK_BCC:
		keep(w, it->text);
		return;
	}
	w->used += it->text.n;
}

/* RC_TEMP: as checks_ask(); nothing happened. */
static enum rc
look_at(struct sess *s, const struct mime_item *it, struct writing *w, struct err *e)
{
	struct checking *k = s->tx->checking;
	struct check_verdict v = { .action = CHECK_DUNNO };
	const struct checks *ch = s->svc->check.checks;
	bool is_header = it->event == MIME_HEADER;
	struct span key;
	enum check_kind kind = CHECK_BODY;
	if (it->event == MIME_HEADER_REST) {
		if (k->skips_rest)
			begin_change(&s->tx->content, w);
		if (k->skips_rest)
			w->used += it->text.n;
		else
			keep(w, it->text);
		return RC_OK;
	}
	if (is_header) {
		kind = check_kind_of(it->class, it->field);
		key = check_key(it->text, it->name_len, it->colon, &k->key);
	} else {
		key = check_line(it->text);
	}
	bool in_reach = is_header || it->offset < s->svc->check.body_max;
	if (!k->is_stopped && in_reach && it->event != MIME_HEADER_END && checks_ask(ch, kind, key, &k->scratch, &v, e) != RC_OK)
		return not_now(kind, e);
	k->skips_rest = v.action == CHECK_STRIP || v.action == CHECK_IGNORE || v.action == CHECK_REPLACE;
	if (v.action != CHECK_DUNNO || v.warning[0] != '\0')
		checking_act(s, &v, "", is_header ? "header" : "body", key);
	if (s->tx->content.fault == CONTENT_FINE)
		change(&s->tx->content, w, it, &v);
	return RC_OK;
}

enum rc
checking_body(struct sess *s, bool at_end, struct err *e)
{
	struct checking *k = s->tx->checking;
	struct content *c = &s->tx->content;
	struct writing w = { .is_on = false };
	enum rc rc = RC_OK;
	if (k == NULL || !c->is_checked || c->fault != CONTENT_FINE)
		return RC_OK;
	buf_init(&w.out, c->out.max);
	while (c->fault == CONTENT_FINE) {
		struct span in = span_from(content_pending(c), w.used);
		if (k->has_item)
			k->item.text = span_head(in, k->item.text.n);
		else if (mime_next(&k->mime, in, at_end, &k->item) == MIME_MORE)
			break;
		checking_tell_fault(s, &k->item);
		k->item.fault = 0;
		if (c->fault != CONTENT_FINE)
			break;
		rc = look_at(s, &k->item, &w, e);
		k->has_item = rc != RC_OK;
		if (rc != RC_OK)
			break;
		if (w.out.over)
			content_fail(c, CONTENT_TOO_BIG);
	}
	if (c->fault == CONTENT_FINE) {
		struct span text = buf_span(&w.out);
		content_pass(c, w.used, w.is_on ? &text : NULL);
		if (at_end && rc == RC_OK)
			content_check_end(c);
		if (at_end && rc == RC_OK && checking_refused(s->tx))
			content_fail(c, CONTENT_REFUSED);
	}
	buf_fini(&w.out);
	return rc;
}

void
checking_ask_ahead(struct sess *s)
{
	struct checking *k = s->tx->checking;
	struct check_verdict ignored;
	struct err e;
	if (!k->has_item || k->is_stopped || !checks_has(s->svc->check.checks, CHECK_BODY))
		return;
	struct span rest = span_from(content_pending(&s->tx->content), k->item.text.n);
	for (unsigned i = 0; i < LINES_AHEAD && map_asks_more(); i++) { /* some are no lines of a body: that costs a question */
		size_t lf = span_chr(rest, '\n');
		if (lf == SIZE_MAX)
			return;
		if (checks_ask(s->svc->check.checks, CHECK_BODY, check_line(span_head(rest, lf + 1)), &k->scratch, &ignored, &e) != RC_OK && !map_asked())
			return;
		rest = span_from(rest, lf + 1);
	}
}

bool
checking_asks(struct sess *s)
{
	struct err e;
	map_forget();
	if (checking_body(s, false, &e) == RC_OK)
		return false;
	if (map_asked())
		return true;
	sess_warn(s, "%s", e.why);
	content_fail(&s->tx->content, CONTENT_NOT_NOW);
	return false;
}

/* ---- life ---- */

void
checking_begin(struct sess *s)
{
	const struct check_settings *set = &s->svc->check;
	struct tx *tx = s->tx;
	if (!set->wants_mime && !set->has_chars && set->milter == NULL)
		return;
	struct checking *k = tx->checking = mem_zalloc(sizeof *k);
	buf_init(&k->key, set->mime.header_max + set->mime.line_max);
	buf_init(&k->scratch, SCRATCH_MAX);
	if (set->has_chars) {
		tx->content.chars = set->chars;
		tx->content.line.keep_nul = set->chars[0] != 0; /* they see it, and none passes them */
	}
}

void
checking_free(struct checking **kp)
{
	struct checking *k = *kp;
	*kp = NULL;
	if (k == NULL)
		return;
	mime_fini(&k->mime);
	buf_fini(&k->key);
	buf_fini(&k->scratch);
	mem_free(&k);
}
