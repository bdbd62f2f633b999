/* SPDX-License-Identifier: BSD-2-Clause */
#include "filters/attachments/judge.h"

#include "base/mem.h"
#include "filters/attachment_kinds.h"
#include "filters/attachments/strip.h"

enum { NAME_SHOWN = 100, NAME_TAIL = 30, TEXT_SHOWN = 300, STRIP_MAX = 1000 };

/* The answers about one message. */
struct opinion {
	const struct judge *j;
	const struct wire_question *q;
	struct arena *room;
	struct search search;
	enum attachment_action worst;
	struct span worst_name, worst_rule, worst_text;
	struct strip_why *strip;
	size_t nstrip;
	bool cannot_strip;
	bool later;
	struct err why;              /* of later */
};

void
judge_init(struct judge *j, const struct conf *c, const struct attachment_conf *ac)
{
	const struct params *p = conf_params(c);
	j->conf = ac;
	j->limits = (struct search_limits){ .parts = (uint32_t)p->p_attachment_max_parts, .depth = (uint32_t)p->p_attachment_max_depth,
		.archive_depth = (uint32_t)p->p_attachment_max_archive_depth, .archive_members = (uint32_t)p->p_attachment_max_archive_members,
		.unpacked = (uint64_t)p->p_attachment_max_unpacked };
}

/* ---- texts ---- */

static struct span
clean(struct arena *room, struct span s, size_t max)
{
	struct buf b;
	buf_init(&b, max * 4 + 16);
	buf_put_safe(&b, s, max, true);
	struct span kept = arena_span(room, buf_span(&b));
	buf_fini(&b);
	return kept;
}

static struct span PRINTF(2, 3)
text(struct arena *room, const char *fmt, ...)
{
	char line[WIRE_TEXT_MAX];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	size_t len = n < 0 ? 0 : (size_t)n < sizeof line ? (size_t)n : sizeof line - 1;
	while (len > 0 && !span_is_utf8(span_of(line, len))) /* cut inside a character */
		len--;
	return arena_span(room, span_of(line, len));
}

#define CLEAN(s) (int)(s).n, (const char *)(s).p

/* ---- opinions ---- */

/* A long name by both its ends: the last one counts. */
static void
put_name(struct buf *b, struct span name, size_t max)
{
	if (name.n <= max) {
		buf_put(b, name);
		return;
	}
	size_t head = max - NAME_TAIL - 3, tail = name.n - NAME_TAIL;
	while (head > 0 && (name.p[head] & 0xc0) == 0x80) /* whole characters */
		head--;
	while (tail < name.n && (name.p[tail] & 0xc0) == 0x80)
		tail++;
	buf_put(b, span_head(name, head));
	buf_puts(b, "...");
	buf_put(b, span_from(name, tail));
}

/* The name that decided, or the part's own; with that of the part it is in. */
static struct span
name_of(struct opinion *o, const struct search_part *p, struct span decided)
{
	const struct search_part *outer = &o->search.parts[p->owner];
	struct span name = decided.n > 0 ? decided : p->shown.n > 0 ? p->shown : p->item.ntypes > 0 ? p->item.types[0] : SPAN("(no name)");
	struct buf b;
	buf_init(&b, NAME_SHOWN * 4);
	if (outer != p && outer->shown.n > 0) {
		put_name(&b, outer->shown, NAME_SHOWN / 2);
		buf_putc(&b, '/');
	}
	put_name(&b, name, NAME_SHOWN);
	for (size_t i = b.at; i < b.n; i++)
		if (b.p[i] == '"')
			b.p[i] = '\'';
	struct span kept = clean(o->room, buf_span(&b), NAME_SHOWN * 2);
	buf_fini(&b);
	return kept;
}

static void
add_line(struct opinion *o, struct wire_answer *out, enum attachment_action action, struct span name, struct span rule, const struct search_part *p)
{
	char kinds[100] = "";
	struct span type = p != NULL && p->item.ntypes > 0 ? clean(o->room, p->item.types[0], NAME_SHOWN) : SPAN("-");
	if (out->nlines == WIRE_LINES)
		return;
	if (p != NULL)
		kinds_text(p->item.kinds, kinds, sizeof kinds);
	out->lines[out->nlines++] = text(o->room, "attachment: action=%s, name=<%.*s>, rule=%.*s, type=%.*s, real=%s, size=%llu%s",
	    attachment_action_name(action), CLEAN(name), CLEAN(rule), CLEAN(type), kinds[0] != '\0' ? kinds : "-",
	    p != NULL ? (unsigned long long)p->item.size : 0ULL, p != NULL && p->item.is_encrypted ? ", encrypted" : "");
}

static void
take_answer(struct opinion *o, const struct attachment_answer *a, uint32_t part, struct wire_answer *out)
{
	const struct search_part *p = &o->search.parts[part];
	if (a->action == ATTACHMENT_ALLOW)
		return;
	struct span name = name_of(o, p, a->name), rule = clean(o->room, span_str(a->rule->id), NAME_SHOWN);
	struct span why = a->text != NULL ? clean(o->room, span_str(a->text), TEXT_SHOWN) : SPAN_EMPTY;
	add_line(o, out, a->action, name, rule, p);
	if (a->action > o->worst) {
		o->worst = a->action;
		o->worst_name = name;
		o->worst_rule = rule;
		o->worst_text = why;
	}
	if (a->action != ATTACHMENT_STRIP)
		return;
	for (size_t i = 0; i < o->nstrip; i++)
		if (o->strip[i].part == p->owner)
			return;
	if (o->nstrip == STRIP_MAX) {
		o->cannot_strip = true;
		return;
	}
	if ((o->nstrip & (o->nstrip - 1)) == 0)
		o->strip = mem_reallocarray(o->strip, o->nstrip > 0 ? o->nstrip * 2 : 1, sizeof *o->strip);
	o->strip[o->nstrip++] = (struct strip_why){ .part = p->owner, .name = name, .rule = rule, .queue_id = o->q->queue_id, .sender = o->q->about.sender,
		.reason = why.n > 0 ? why : text(o->room, "not accepted here (%.*s)", CLEAN(rule)), .size = o->search.parts[p->owner].item.size };
}

/* A multipart is no attachment, unless somebody could take it for one. */
static bool
is_only_multipart(const struct search_part *p)
{
	if (!p->is_container || p->item.nnames > 0)
		return false;
	for (size_t i = 0; i < p->item.ntypes; i++)
		if (!span_starts(p->item.types[i], SPAN("multipart")))
			return false;
	return true;
}

static void
form(struct opinion *o, struct wire_answer *out)
{
	struct attachment_ask *ask;
	enum rc rc = attachment_ask_new(o->j->conf->rules, &o->q->about, &ask, &o->why);
	for (size_t i = 0; i < o->search.nparts && rc == RC_OK; i++) {
		struct attachment_answer a;
		if (is_only_multipart(&o->search.parts[i]))
			continue;
		rc = attachment_ask(ask, &o->search.parts[i].item, &a, &o->why);
		if (rc == RC_OK)
			take_answer(o, &a, (uint32_t)i, out);
	}
	attachment_ask_free(&ask);
	o->later = rc != RC_OK;
	if (rc == RC_OK && o->search.problem != NULL && o->j->conf->unreadable > ATTACHMENT_ALLOW) {
		struct span rule = SPAN("attachment_unreadable_action");
		add_line(o, out, o->j->conf->unreadable, SPAN("(message)"), rule, NULL);
		if (o->j->conf->unreadable > o->worst) {
			o->worst = o->j->conf->unreadable;
			o->worst_name = clean(o->room, span_str(o->search.problem), TEXT_SHOWN);
			o->worst_rule = rule;
			o->worst_text = SPAN_EMPTY;
		}
	}
}

static void
read_message(struct opinion *o, const struct judge *j, const struct wire_question *q, struct arena *room, struct wire_answer *out)
{
	*o = (struct opinion){ .j = j, .q = q, .room = room };
	search_run(&o->search, q->message, &j->limits);
	form(o, out);
}

static void
forget(struct opinion *o)
{
	mem_free(&o->strip);
	search_fini(&o->search);
}

/* The new message as it will be: its header where a part of it was replaced is read as what it says then. */
static bool
is_clean_now(const struct opinion *o, struct span body, const struct stripped *how)
{
	struct wire_answer unused = { .nlines = 0 };
	struct wire_question q = *o->q;
	struct opinion again;
	struct buf whole;
	if (how->replaces_top)
		return true; /* one text of ours */
	buf_init(&whole, (size_t)o->q->header_len + body.n);
	buf_put(&whole, span_head(o->q->message, (size_t)o->q->header_len));
	buf_put(&whole, body);
	q.message = buf_span(&whole);
	read_message(&again, o->j, &q, o->room, &unused);
	bool ok = !again.later && again.worst < ATTACHMENT_STRIP;
	forget(&again);
	buf_fini(&whole);
	return ok;
}

/* ---- the answer ---- */

static void
answer(struct opinion *o, struct buf *body, struct wire_answer *out)
{
	struct stripped how;
	bool held_instead = false;
	if (o->worst == ATTACHMENT_STRIP) {
		held_instead = o->cannot_strip ||
		    strip_parts(&o->search, (size_t)o->q->header_len, o->j->conf, o->strip, o->nstrip, body, &how) != RC_OK || !is_clean_now(o, buf_span(body), &how);
		if (held_instead)
			o->worst = ATTACHMENT_QUARANTINE;
	}
	switch (o->worst) {
	case ATTACHMENT_ALLOW:
		out->outcome = WIRE_PASS;
		return;
	case ATTACHMENT_TAG:
		out->outcome = WIRE_TAG;
		out->header = text(o->room, "Tagged; name=\"%.*s\"; rule=\"%.*s\"", CLEAN(o->worst_name), CLEAN(o->worst_rule));
		return;
	case ATTACHMENT_STRIP:
		out->outcome = WIRE_STRIP;
		out->replaces_top = how.replaces_top;
		out->top_is_qp = how.top_is_qp;
		out->header = text(o->room, "Removed; name=\"%.*s\"; rule=\"%.*s\"", CLEAN(o->worst_name), CLEAN(o->worst_rule));
		out->reason = text(o->room, "copy: attachment: %.*s (%.*s)", CLEAN(o->worst_name), CLEAN(o->worst_rule));
		out->body = buf_span(body);
		return;
	case ATTACHMENT_QUARANTINE:
		out->outcome = WIRE_QUARANTINE;
		out->reason = text(o->room, "attachment: %.*s (%.*s)%s", CLEAN(o->worst_name), CLEAN(o->worst_rule),
		    held_instead ? ": it could not be taken out of the message" : "");
		return;
	case ATTACHMENT_REJECT:
		out->outcome = WIRE_REJECT;
		out->reason = o->worst_text.n > 0 ? o->worst_text : text(o->room, "Attachment \"%.*s\" is not accepted here", CLEAN(o->worst_name));
		return;
	}
}

void
judge_message(const struct judge *j, const struct wire_question *q, struct arena *room, struct buf *body, struct wire_answer *out)
{
	struct opinion o;
	buf_reset(body);
	*out = (struct wire_answer){ .outcome = WIRE_LATER };
	read_message(&o, j, q, room, out);
	if (o.later)
		out->reason = clean(room, span_str(o.why.why), TEXT_SHOWN);
	else
		answer(&o, body, out);
	forget(&o);
}

void
judge_unreadable(const struct judge *j, struct span why, struct arena *room, struct wire_answer *out)
{
	struct wire_question q = { .header_len = 0 };
	struct opinion o = { .j = j, .q = &q, .room = room, .worst = j->conf->unreadable, .worst_name = clean(room, why, TEXT_SHOWN),
		.worst_rule = SPAN("attachment_unreadable_action") };
	struct buf none;
	buf_init(&none, 1);
	*out = (struct wire_answer){ .outcome = WIRE_LATER };
	add_line(&o, out, o.worst, SPAN("(message)"), o.worst_rule, NULL);
	answer(&o, &none, out);
	buf_fini(&none);
}
