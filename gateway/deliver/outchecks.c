/* SPDX-License-Identifier: BSD-2-Clause */
#include "deliver/outchecks.h"

#include "base/mem.h"
#include "map/remote.h"

enum { SCRATCH_MAX = 256 * 1024, SHOWN_MAX = 60, INPUT_MAX = 64 * 1024 * 1024 };

struct outchecks {
	const struct checks *checks;
	const struct log_ctx *log;
	struct mime_reader reader;
	struct buf key, scratch;
	bool skips_rest;
	/* when tables may have to be waited for */
	bool may_wait;
	struct buf input;            /* what was put */
	struct mime_item item;
	bool waits;                  /* for what tables say of item */
	bool has_moved;              /* since the wait before */
};

bool
outchecks_wanted(const struct checks *ch)
{
	return checks_has(ch, CHECK_MIME) || checks_has(ch, CHECK_NESTED) || checks_has(ch, CHECK_BODY);
}

bool
outchecks_may_wait(const struct checks *ch)
{
	return checks_may_wait(ch, CHECK_MIME) || checks_may_wait(ch, CHECK_NESTED) || checks_may_wait(ch, CHECK_BODY);
}

struct outchecks *
outchecks_new(const struct checks *ch, const struct log_ctx *log)
{
	struct outchecks *o = mem_zalloc(sizeof *o);
	struct mime_conf conf = mime_conf_default;
	o->checks = ch;
	o->log = log;
	conf.lines_max = checks_has(ch, CHECK_BODY) ? UINT64_MAX : 0;
	mime_reader_init(&o->reader, &conf);
	buf_init(&o->key, conf.header_max + conf.line_max);
	buf_init(&o->scratch, SCRATCH_MAX);
	buf_init(&o->input, INPUT_MAX);
	o->may_wait = outchecks_may_wait(ch);
	return o;
}

void
outchecks_free(struct outchecks **op)
{
	struct outchecks *o = *op;
	*op = NULL;
	if (o == NULL)
		return;
	mime_reader_fini(&o->reader);
	buf_fini(&o->key);
	buf_fini(&o->scratch);
	buf_fini(&o->input);
	mem_free(&o);
}

static void
say(const struct log_ctx *log, const struct check_verdict *v, bool is_header, struct span what)
{
	if (v->warning[0] != '\0') { /* it is about the table */
		struct log_ctx ctx = *log;
		ctx.qid = SPAN_EMPTY;
		log_warn(&ctx, "%s", v->warning);
	}
	if (v->action == CHECK_DUNNO || v->action == CHECK_IGNORE)
		return;
	struct log_field f[4] = { F_STR(action, check_action_name(v->action)), F_STR(class, is_header ? "header" : "body"),
		F_SPAN(content, span_head(what, SHOWN_MAX)), F_SPAN(text, v->text) };
	log_event(EV_relay_check, log, f, v->text.n > 0 ? 4 : 3);
}

/* ---- parts and bodies ---- */

/* RC_NONE: nothing happened yet, an answer has to be waited for. */
static enum rc
look_at(struct outchecks *o, const struct mime_item *it, struct buf *out, struct err *e)
{
	struct check_verdict v = { .action = CHECK_DUNNO };
	bool is_header = it->event == MIME_HEADER;
	bool is_looked_at = (is_header && it->class != MIME_PRIMARY) || it->event == MIME_BODY || it->event == MIME_BOUNDARY;
	if (it->event == MIME_HEADER_REST) {
		if (!o->skips_rest)
			buf_put(out, it->text);
		return RC_OK;
	}
	if (is_looked_at) {
		enum check_kind kind = is_header ? check_kind_of(it->class, it->field) : CHECK_BODY;
		struct span key = is_header ? check_key(it->text, it->name_len, it->colon, &o->key) : check_line(it->text);
		struct err why = { 0 };
		enum rc rc = checks_ask(o->checks, kind, key, &o->scratch, &v, &why);
		if (rc != RC_OK && map_asked())
			return RC_NONE;
		if (rc != RC_OK)
			return err_set(e, RC_TEMP, "%s checks lookup error: %.150s", is_header ? "header" : "body", why.why);
		say(o->log, &v, is_header, key);
	}
	o->skips_rest = v.action == CHECK_STRIP || v.action == CHECK_IGNORE || v.action == CHECK_REPLACE;
	if (v.action == CHECK_PREPEND || v.action == CHECK_REPLACE)
		check_write(out, v.text, is_header);
	if (v.action == CHECK_REPLACE && !is_header && !it->is_end && !out->over) /* a piece of a line */
		buf_cut(out, buf_len(out) - 2);
	if (!o->skips_rest)
		buf_put(out, it->text);
	return out->over ? err_set(e, RC_TEMP, "message content grows beyond measure") : RC_OK;
}

/* What stands behind an item that has to wait will probably be asked as lines, too: those questions leave with its own. */
static void
ask_ahead(struct outchecks *o)
{
	struct span rest = buf_span(&o->input), text = o->item.text;
	struct check_verdict v;
	if (!checks_may_wait(o->checks, CHECK_BODY))
		return;
	if (text.n > 0 && text.p >= rest.p && text.p + text.n <= rest.p + rest.n)
		rest = span_from(rest, (size_t)(text.p - rest.p) + text.n);
	for (size_t lf; map_asks_more() && (lf = span_chr(rest, '\n')) != SIZE_MAX; rest = span_from(rest, lf + 1))
		if (lf <= o->reader.mime.conf.line_max)
			(void)!checks_ask(o->checks, CHECK_BODY, check_line(span_head(rest, lf + 1)), &o->scratch, &v, NULL);
}

static enum rc
drain(struct outchecks *o, struct buf *out, struct err *e)
{
	o->has_moved = false;
	while (o->waits || mime_reader_next(&o->reader, &o->item) != MIME_MORE) {
		enum rc rc = look_at(o, &o->item, out, e);
		o->waits = rc == RC_NONE;
		if (o->waits)
			ask_ahead(o);
		if (rc != RC_OK)
			return rc;
		o->has_moved = true;
	}
	return RC_OK;
}

enum rc
outchecks_put(struct outchecks *o, struct buf *out, struct span in, struct err *e)
{
	if (o->may_wait) {
		buf_reset(&o->input);
		buf_put(&o->input, in);
		if (o->input.over)
			return err_set(e, RC_TEMP, "too much content at once");
		in = buf_span(&o->input);
	}
	mime_reader_put(&o->reader, in);
	return drain(o, out, e);
}

enum rc
outchecks_go_on(struct outchecks *o, struct buf *out, struct err *e)
{
	return drain(o, out, e);
}

bool
outchecks_has_moved(const struct outchecks *o)
{
	return o->has_moved;
}

enum rc
outchecks_end(struct outchecks *o, struct buf *out, struct err *e)
{
	mime_reader_end(&o->reader);
	return drain(o, out, e);
}

/* ---- the message's own header ---- */

struct hit {
	struct hit *next;
	size_t row;
	struct span key;
	struct check_verdict v;
};

static enum rc
gather(const struct checks *ch, struct headers *h, struct buf *key, struct buf *scratch, struct hit **tail, struct err *e)
{
	enum rc rc = RC_OK;
	for (size_t i = 0; i < h->n; i++) {
		const struct header *row = &h->row[i];
		enum check_kind kind = check_kind_of(MIME_PRIMARY, mime_field_id(header_name(row)));
		struct check_verdict v;
		if (!checks_has(ch, kind))
			continue;
		struct span text = check_key(row->text, row->name_len, row->value_at - 1, key);
		if (checks_ask(ch, kind, text, scratch, &v, e) != RC_OK) {
			rc = RC_TEMP;
			if (!map_asked() || !map_asks_more())
				break;
			continue;
		}
		if (rc != RC_OK || (v.action == CHECK_DUNNO && v.warning[0] == '\0'))
			continue;
		struct hit *hit = arena_alloc(h->arena, sizeof *hit);
		if (hit == NULL)
			return err_set(e, RC_TEMP, "too many headers are matched");
		*hit = (struct hit){ .row = i, .v = v, .key = arena_span(h->arena, text) };
		hit->v.text = v.text.n > 0 ? arena_span(h->arena, v.text) : SPAN_EMPTY;
		*tail = hit;
		tail = &hit->next;
	}
	return rc;
}

static enum rc
edit_row(struct headers *h, size_t *at, const struct check_verdict *v)
{
	if (v->action == CHECK_STRIP || v->action == CHECK_IGNORE)
		headers_remove(h, *at);
	if (v->action != CHECK_REPLACE && v->action != CHECK_PREPEND)
		return RC_OK;
	struct buf b;
	buf_init(&b, 2 * v->text.n + 16);
	check_write(&b, v->text, true);
	struct span text = b.over ? SPAN_EMPTY : arena_span(h->arena, buf_span(&b));
	buf_fini(&b);
	if (text.n == 0)
		return RC_PERM;
	if (v->action == CHECK_REPLACE)
		return headers_replace(h, *at, text);
	enum rc rc = headers_insert(h, *at, text);
	(*at)++;
	return rc;
}

enum rc
outchecks_header(const struct checks *ch, const struct log_ctx *log, struct headers *h, struct err *e)
{
	struct buf key, scratch;
	struct hit *hits = NULL;
	size_t inserted = 0;
	buf_init(&key, 64 * 1024 * 1024);
	buf_init(&scratch, SCRATCH_MAX);
	enum rc rc = gather(ch, h, &key, &scratch, &hits, e);
	for (struct hit *hit = hits; rc == RC_OK && hit != NULL; hit = hit->next) {
		size_t at = hit->row + inserted, before = at;
		say(log, &hit->v, true, hit->key);
		if (edit_row(h, &at, &hit->v) != RC_OK)
			rc = err_set(e, RC_TEMP, "the header becomes too long");
		inserted += at - before;
	}
	buf_fini(&key);
	buf_fini(&scratch);
	return rc;
}
