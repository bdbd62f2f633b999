/* SPDX-License-Identifier: BSD-2-Clause */
#include "smtp/checking.h"

#include "base/mem.h"
#include "smtp/session.h"

enum {
	SCRATCH_MAX = 256 * 1024,    /* of a result */
	SHOWN_MAX = 200,             /* octets of a header or a line in the log */
	REPLY_TEXT_MAX = 480,
	ROWS_LOOKED_AT = 256,        /* for one of a milter's: what moved further is looked at as new */
	WORD_MAX = 512,              /* of a destination or an address */
	LINES_AHEAD = 64,            /* asked about together */
};

struct checking {
	struct mime mime;
	bool is_open;
	bool is_stopped;             /* no table is asked any more */
	bool skips_rest;             /* what a long header has beyond its limit goes, too */
	bool has_item;               /* item: told, not dealt with: a table has to be waited for */
	struct mime_item item;
	struct buf key, scratch;
	unsigned code;
	struct span reply;           /* in the transaction's arena */
};

/* ---- the message's log line ---- */

static void
say(struct sess *s, const char *action, const char *class, struct span what, struct span text)
{
	struct tx *tx = s->tx;
	const struct forwarded *x = s->facts.forward;
	struct buf who;
	struct log_ctx ctx = s->log;
	ctx.qid = tx->qid;
	buf_init(&who, 1024);
	struct log_field f[9] = { F_STR(action, action), F_STR(class, class), F_SPAN(content, span_head(what, SHOWN_MAX)), F_SPAN(client, s->client) };
	size_t n = 4;
	if (x != NULL && x->has_client) { /* who spoke to the host in front of us */
		buf_put(&who, x->name.n > 0 ? x->name : SPAN("unknown"));
		buf_putc(&who, '[');
		buf_put(&who, x->addr.n > 0 ? x->addr : SPAN("unknown"));
		buf_putc(&who, ']');
		f[3] = F_SPAN(client, buf_span(&who));
	}
	f[n++] = F_SPAN(from, sess_log_addr(s, tx->env_sender));
	if (tx->nrcpt > 0)
		f[n++] = F_SPAN(to, sess_log_addr(s, tx->rcpts[tx->nrcpt - 1].addr));
	bool is_mime = strcmp(class, "mime-error") == 0; /* Postfix says less there */
	if (!is_mime)
		f[n++] = x != NULL && x->has_client && x->proto.n > 0 ? F_SPAN(proto, x->proto) : F_STR(proto, s->facts.is_esmtp ? "ESMTP" : "SMTP");
	if (!is_mime && x != NULL && x->has_client && x->helo.n > 0)
		f[n++] = F_SPAN(helo, x->helo);
	else if (!is_mime && s->facts.has_helo)
		f[n++] = F_SPAN(helo, s->facts.helo);
	if (text.n > 0)
		f[n++] = F_SPAN(text, text);
	log_event(EV_content_check, &ctx, f, n);
	buf_fini(&who);
}

static void
refuse(struct sess *s, struct span text, bool is_content)
{
	struct checking *k = s->tx->checking;
	struct buf b;
	buf_init(&b, REPLY_TEXT_MAX + 8);
	k->code = text.n > 0 && text.p[0] == '4' ? 451 : 550;
	buf_put_dec(&b, k->code);
	buf_putc(&b, ' ');
	buf_put_safe(&b, text, REPLY_TEXT_MAX, true);
	k->reply = arena_span(&s->tx->arena, buf_span(&b));
	buf_fini(&b);
	if (is_content)
		content_fail(&s->tx->content, CONTENT_REFUSED);
}

bool
checking_refused(const struct tx *tx)
{
	return tx->checking != NULL && tx->checking->reply.n > 0;
}

struct span
checking_reply(const struct tx *tx, unsigned *code_out)
{
	const struct checking *k = tx->checking;
	*code_out = k->reply.n > 0 ? k->code : 451;
	return k->reply.n > 0 ? k->reply : SPAN("451 4.7.1 Error: service unavailable");
}

/* Once in a message each: MIME that is too deep, 8-bit where there must be none, ... */
static void
tell_fault(struct sess *s, const struct mime_item *it)
{
	struct buf b;
	if (it->fault == 0)
		return;
	if ((it->fault & MIME_FAULT_LONG) != 0) {
		content_fail(&s->tx->content, CONTENT_HEADER_TOO_BIG);
		return;
	}
	struct span text = span_str(mime_fault_text(it->fault));
	struct span what = (it->fault & MIME_FAULT_DOMAIN) != 0 ? span_str(mime_encoding_name(it->encoding)) : it->event == MIME_HEADER ?
	    check_key(it->text, it->name_len, it->colon, &s->tx->checking->key) : check_line(it->text);
	buf_init(&b, 400);
	buf_put(&b, span_from(text, span_chr(text, ' ') + 1));
	buf_puts(&b, ": ");
	buf_put_safe(&b, what, 100, true);
	say(s, "reject", "mime-error", buf_span(&b), SPAN_EMPTY);
	buf_fini(&b);
	if (!checking_refused(s->tx)) /* what follows is looked at all the same, for the log; the end of the message says it */
		refuse(s, text, false);
}

/* ---- actions ---- */

static void
stop(struct tx *tx)
{
	struct checking *k = tx->checking;
	k->is_stopped = true;
	tx->content.chars = NULL;
	if ((k->mime.conf.flags & MIME_WANT_7BIT_BODY) == 0)
		k->mime.conf.lines_max = 0;
}

/* Does this verdict end the checks? */
static bool
is_last(const struct check_verdict *v)
{
	return v->action == CHECK_REJECT || v->action == CHECK_DISCARD || v->action == CHECK_PASS || v->action == CHECK_REDIRECT;
}

/* It must not go where it would: the message is refused for now. */
static void
lose_way(struct sess *s, const struct check_verdict *v)
{
	sess_warn(s, "%s: %s cannot be done: message not accepted, try again later", v->parameter, check_action_name(v->action));
	s->tx->lost_way = true;
}

static bool
is_filter(struct span text)
{
	size_t colon = span_chr(text, ':');
	return colon != SIZE_MAX && colon > 0 && text.n <= WORD_MAX && span_is_printable(text) && span_is_utf8(text) &&
	    span_chr(span_head(text, colon), ' ') == SIZE_MAX;
}

static void
edit_tx(struct sess *s, const struct check_verdict *v, enum verdict_edit_kind kind)
{
	struct tx *tx = s->tx;
	struct addr addr;
	struct span text = v->text;
	struct err e;
	if (kind == EDIT_FILTER) {
		if (!is_filter(text)) {
			lose_way(s, v);
			return;
		}
	} else {
		if (text.n > WORD_MAX || addr_parse(text, s->svc->p->p_smtputf8_enable ? (unsigned)ADDR_UTF8 : 0, &tx->arena, &addr, &e) != RC_OK ||
		    addr.domain.n == 0 || addr.local.n == 0) {
			lose_way(s, v);
			return;
		}
		text = addr.text;
	}
	const struct verdict_edit edit = { .kind = kind, .text = text };
	if (!tx_edit(tx, &edit))
		lose_way(s, v);
}

static void
quarantine(struct sess *s, const struct check_verdict *v, struct span what)
{
	struct buf b;
	buf_init(&b, 600);
	buf_put_safe(&b, v->text.n > 0 ? v->text : what, 500, true);
	const struct hold_why why = { .class = HELD_CONTENT, .reason = buf_span(&b), .filter = span_str(v->parameter), .rule = span_str(v->table) };
	tx_hold_all(s->tx, &why);
	buf_fini(&b);
}

/* Everything but what the action does to the text. class: "header", "body", ... */
static void
act(struct sess *s, const struct check_verdict *v, const char *prefix, const char *class, struct span what)
{
	struct tx *tx = s->tx;
	char name[64];
	if (v->warning[0] != '\0')
		log_warn(&(struct log_ctx){ .tag = s->log.tag, .service = "cleanup" }, "%s", v->warning);
	snprintf(name, sizeof name, "%s%s", prefix, check_action_name(v->action));
	switch (v->action) {
	case CHECK_DUNNO:
	case CHECK_IGNORE:
		return;
	case CHECK_HOLD:
		if (tx->hold || tx->discard)
			return;
		tx->hold = s->facts.is_held = true;
		break;
	case CHECK_QUARANTINE:
		if (s->facts.is_quarantined || tx->discard)
			return;
		s->facts.is_quarantined = true;
		quarantine(s, v, what);
		break;
	case CHECK_DISCARD:
		tx->discard = s->facts.is_discarded = true;
		break;
	case CHECK_FILTER:
		edit_tx(s, v, EDIT_FILTER);
		break;
	case CHECK_REDIRECT:
		edit_tx(s, v, EDIT_REDIRECT);
		break;
	case CHECK_BCC:
		edit_tx(s, v, EDIT_COPY);
		break;
	case CHECK_REJECT:
	case CHECK_PASS:
	case CHECK_WARN:
	case CHECK_INFO:
	case CHECK_STRIP:
	case CHECK_PREPEND:
	case CHECK_REPLACE:
		break;
	}
	say(s, name, class, what, v->text);
	tx_note(tx, v->parameter, check_action_name(v->action), v->text.n > 0 ? v->text : what);
	if (v->action == CHECK_REJECT)
		refuse(s, v->text, prefix[0] == '\0');
	if (is_last(v))
		stop(tx);
}

static enum rc
not_now(struct sess *s, enum check_kind kind, struct err *e)
{
	static const char *const names[] = { "header_checks", "mime_header_checks", "nested_header_checks", "body_checks" };
	(void)s;
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

static struct span
row_key(const struct header *row, struct buf *key)
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
		struct span key = row_key(&h->row[i], &k->key);
		if (checks_ask(ch, kind, key, &k->scratch, &v, e) != RC_OK) {
			rc = not_now(s, kind, e);
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
		if (is_last(&v))
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
		tell_fault(s, &it);
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
		act(s, &hit->v, "", "header", hit->key);
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
		return not_now(s, kind, e);
	k->skips_rest = v.action == CHECK_STRIP || v.action == CHECK_IGNORE || v.action == CHECK_REPLACE;
	if (v.action != CHECK_DUNNO || v.warning[0] != '\0')
		act(s, &v, "", is_header ? "header" : "body", key);
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
		tell_fault(s, &k->item);
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

/* ---- milters ---- */

/* A row of theirs: out is what it shall be; NULL: it is only asked about. */
static enum rc
check_row(struct sess *s, const struct header *row, struct buf *out, struct err *e)
{
	struct checking *k = s->tx->checking;
	struct check_verdict v = { .action = CHECK_DUNNO };
	struct err why = { 0 };
	struct span key = row_key(row, &k->key);
	if (!k->is_stopped && checks_ask(s->svc->check.milter, CHECK_HEADER, key, &k->scratch, &v, &why) != RC_OK)
		return err_set(e, RC_TEMP, "milter_header_checks map lookup problem -- message not accepted, try again later: %.150s", why.why);
	if (out == NULL)
		return RC_OK;
	if (v.action != CHECK_DUNNO || v.warning[0] != '\0')
		act(s, &v, "milter-header-", "header", key);
	if (v.action == CHECK_REPLACE)
		check_write(out, v.text, true);
	else if (v.action != CHECK_STRIP && v.action != CHECK_IGNORE)
		buf_put(out, row->text);
	return RC_OK;
}

/* Is there a row like it among the old ones that has not been found before? Rows keep their order but for a few. */
static bool
was_there(struct headers *old, size_t *from, struct span text)
{
	for (size_t n = 0; n < old->n; n++) {
		size_t i = (*from + n) % old->n;
		if (!old->row[i].is_gone && span_eq(old->row[i].text, text)) {
			old->row[i].is_gone = true;
			*from = i + 1;
			return true;
		}
		if (n == ROWS_LOOKED_AT)
			break;
	}
	return false;
}

/* Asks about what is new, before anything of it happens: a table may have to be waited for. Rows that were there are marked: gone in old. */
static enum rc
ask_new_rows(struct sess *s, struct headers *old, struct headers *new, struct err *e)
{
	size_t from = 0;
	enum rc rc = RC_OK;
	for (size_t i = 0; i < new->n; i++) {
		new->row[i].is_gone = was_there(old, &from, new->row[i].text); /* nothing to ask */
		if (new->row[i].is_gone || check_row(s, &new->row[i], NULL, e) == RC_OK)
			continue;
		rc = RC_TEMP;
		if (!map_asked() || !map_asks_more())
			break;
	}
	return rc;
}

enum rc
checking_milter_header(struct sess *s, struct span before, struct span now, struct buf *out, struct err *e)
{
	struct arena arena;
	struct headers old, new;
	struct buf lines;
	if (s->tx->checking == NULL)
		checking_begin(s);
	arena_init(&arena, 4 * (before.n + now.n) * sizeof(struct header) + 64 * 1024);
	buf_init(&lines, 2 * now.n + 16); /* theirs may have LF alone */
	struct line_data d = { .keep_stray_cr = true };
	(void)line_data_feed(&d, now, &lines);
	line_data_finish(&d, &lines);
	enum rc rc = headers_parse(&old, before, &arena) == RC_OK && headers_parse(&new, buf_span(&lines), &arena) == RC_OK ? RC_OK :
	    err_set(e, RC_TEMP, "milter_header_checks: the header cannot be taken apart");
	if (rc == RC_OK)
		rc = ask_new_rows(s, &old, &new, e);
	for (size_t i = 0; rc == RC_OK && i < new.n; i++) {
		if (new.row[i].is_gone)
			buf_put(out, new.row[i].text);
		else
			rc = check_row(s, &new.row[i], out, e);
	}
	if (rc == RC_OK && out->over)
		rc = err_set(e, RC_TEMP, "milter_header_checks: the header grows too long");
	buf_fini(&lines);
	arena_fini(&arena);
	return rc;
}

/* ---- octets ---- */

void
checking_bad_octet(struct sess *s)
{
	struct content *c = &s->tx->content;
	const struct check_verdict v = { .action = CHECK_REJECT, .text = SPAN("5.7.1 disallowed character"), .parameter = "message_reject_characters" };
	struct span before = span_head(buf_span(&c->out), c->bad_at), line = span_from(buf_span(&c->out), c->bad_at);
	size_t begin = span_rchr(before, '\n'), end = span_chr(line, '\n');
	begin = begin == SIZE_MAX ? 0 : begin + 1;
	line = span_head(span_from(buf_span(&c->out), begin), c->bad_at - begin + (end == SIZE_MAX ? line.n : end + 1));
	act(s, &v, "", "content", check_line(line));
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
