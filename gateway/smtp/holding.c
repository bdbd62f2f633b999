/* SPDX-License-Identifier: BSD-2-Clause */
#include "smtp/holding.h"

#include "base/mem.h"
#include "msg/received.h"
#include "msg/survey.h"
#include "smtp/session.h"

enum { NOTE_MAX = 600, LOOK_TURN = 512 * 1024, LOOK_PIECE = 64 * 1024 /* octets of content read in a turn, and at once */ };

struct holding_note {
	struct holding_note *next;
	struct span text;
};

/* ---- marks ---- */

static unsigned
strength(enum held_class c)
{
	static const unsigned char order[HELD_CLASSES] = {
		[HELD_POLICY] = 1, [HELD_CONTENT] = 2, [HELD_MILTER] = 3, [HELD_UNSCANNED] = 4, [HELD_ATTACHMENT] = 5, [HELD_VIRUS] = 6,
	};
	return order[c];
}

static struct span
keep(struct tx *tx, struct span text)
{
	struct buf b;
	buf_init(&b, HELD_TEXT_MAX);
	buf_put_safe(&b, text, HELD_TEXT_MAX, true);
	struct span out = arena_span(&tx->arena, buf_span(&b));
	buf_fini(&b);
	return out;
}

static void
take_why(struct tx *tx, const struct hold_why *why)
{
	struct holding *h = &tx->holding;
	bool counts = h->all || h->some; /* else it was about a recipient that was refused */
	if (counts && strength(why->class) <= strength(h->class))
		return;
	h->class = why->class;
	h->reason = keep(tx, why->reason);
	h->filter = keep(tx, why->filter);
	h->rule = keep(tx, why->rule);
	h->signature = keep(tx, why->signature);
	h->score = keep(tx, why->score);
}

void
tx_hold_all(struct tx *tx, const struct hold_why *why)
{
	BUG_ON(why->class <= HELD_NONE || why->class >= HELD_CLASSES);
	take_why(tx, why);
	tx->holding.all = true;
}

void
tx_hold_rcpt(struct tx *tx, const struct hold_why *why)
{
	BUG_ON(why->class <= HELD_NONE || why->class >= HELD_CLASSES);
	take_why(tx, why);
	tx->holding.next = true;
}

void
tx_hold_forget_rcpt(struct tx *tx)
{
	tx->holding.next = false;
}

bool
tx_is_held(const struct tx *tx)
{
	return tx->holding.all || tx->holding.some;
}

/* ---- the trace ---- */

void
tx_note(struct tx *tx, const char *where, const char *what, struct span text)
{
	struct holding *h = &tx->holding;
	struct buf b;
	if (h->notes_bytes >= HELD_TRACE_MAX / 2)
		return;
	buf_init(&b, 2 * NOTE_MAX);
	buf_puts(&b, where);
	buf_puts(&b, ": ");
	if (what != NULL) {
		buf_puts(&b, what);
		buf_puts(&b, ": ");
	}
	buf_put_safe(&b, text, NOTE_MAX, true);
	struct holding_note *n = arena_alloc(&tx->arena, sizeof *n);
	if (n != NULL) {
		n->next = NULL;
		n->text = arena_span(&tx->arena, buf_span(&b));
		if (h->notes_end == NULL)
			h->notes_end = &h->notes;
		*h->notes_end = n;
		h->notes_end = &n->next;
		h->notes_bytes += n->text.n + 1;
	}
	buf_fini(&b);
}

void
tx_note_permit(struct tx *tx, const char *list, const char *rule)
{
	struct holding *h = &tx->holding;
	for (unsigned i = 0; i < h->npermits; i++)
		if (h->permits[i].list == list && h->permits[i].rule == rule)
			return;
	if (h->npermits == HOLDING_PERMITS)
		return;
	h->permits[h->npermits].list = list;
	h->permits[h->npermits++].rule = rule;
}

static void
put_line(struct buf *b, const char *name, struct span text)
{
	if (text.n == 0)
		return;
	buf_puts(b, name);
	buf_puts(b, ": ");
	buf_put_safe(b, text, NOTE_MAX, true);
	buf_putc(b, '\n');
}

static void
put_trace(struct sess *s, struct span tls, struct buf *b)
{
	const struct tx *tx = s->tx;
	const struct holding *h = &tx->holding;
	put_line(b, "client", s->client);
	put_line(b, s->facts.is_esmtp ? "EHLO" : "HELO", s->facts.helo);
	put_line(b, "TLS", tls);
	put_line(b, "login", s->facts.login);
	if (s->tested != NULL)
		put_line(b, "triage", span_str(s->tested));
	for (unsigned i = 0; i < h->npermits; i++) {
		buf_puts(b, h->permits[i].list);
		buf_puts(b, ": permitted by ");
		buf_puts(b, h->permits[i].rule);
		buf_putc(b, '\n');
	}
	for (const struct holding_note *n = h->notes; n != NULL; n = n->next) {
		buf_put(b, n->text);
		buf_putc(b, '\n');
	}
}

/* ---- the content ---- */

struct holding_look {
	struct survey survey;
	struct sess *sess;
	struct timer timer;
	struct op op;
	uint64_t at;                 /* of the body */
	uint64_t front, body_at;     /* where the body begins: in what the survey was given, in the content */
	bool has_header;
};

static void
forget_look(struct holding_look *k)
{
	if (k == NULL)
		return;
	op_cancel(&k->op);
	timer_clear(&k->timer);
	survey_fini(&k->survey);
	mem_free(&k);
}

void
holding_fini(struct holding *h)
{
	forget_look(h->look);
	forget_look(h->first);
	h->look = h->first = NULL;
}

static void
on_turn(struct timer *t)
{
	op_finish(&container_of(t, struct holding_look, timer)->op, RC_OK);
}

static void
on_look(struct op *op)
{
	sess_resume(container_of(op, struct holding_look, op)->sess);
}

/* RC_OK: there is more; RC_NONE: that was all. */
static enum rc
look_on(struct holding_look *k, struct content *c)
{
	struct span header, body;
	struct buf b;
	if (content_in_memory(c, &header, &body)) { /* little enough for one turn */
		k->front = header.n + 2;
		k->body_at = c->body_at;
		survey_put(&k->survey, header);
		survey_put(&k->survey, SPAN("\r\n"));
		survey_put(&k->survey, body);
		return RC_NONE;
	}
	enum rc rc = RC_OK;
	size_t done = 0;
	if (!k->has_header) {
		k->has_header = true;
		buf_init(&b, 8 * c->limits.header_total + RECEIVED_MAX);
		rc = content_read_header(c, &b);
		k->front = buf_len(&b) + 2;
		k->body_at = c->body_at;
		survey_put(&k->survey, buf_span(&b));
		survey_put(&k->survey, SPAN("\r\n"));
		buf_fini(&b);
	}
	buf_init(&b, LOOK_PIECE);
	while (rc == RC_OK && done < LOOK_TURN && (rc = content_read_body(c, k->at, LOOK_PIECE, &b)) == RC_OK) {
		size_t n = buf_len(&b);
		if (n == 0)
			rc = RC_NONE;
		survey_put(&k->survey, buf_span(&b));
		k->at += n;
		done += n;
	}
	buf_fini(&b);
	return rc;
}

/* A part of it, a turn; done when it says STEP_NEXT. */
static enum step
look(struct sess *s, struct holding_look **place)
{
	static const struct op_provider looking = { "survey", NULL };
	struct tx *tx = s->tx;
	struct holding_look *k = *place;
	if (k == NULL) {
		k = *place = mem_zalloc(sizeof *k);
		k->sess = s;
		survey_init(&k->survey);
		op_init(&k->op, &s->ops, on_look);
		timer_init(&k->timer, on_turn);
	}
	enum rc rc = look_on(k, &tx->content);
	if (rc == RC_OK) { /* long: others have their turn */
		op_pend(&k->op, &looking);
		timer_set(&k->timer, 0);
		return STEP_AGAIN;
	}
	survey_end(&k->survey);
	for (uint32_t i = 0; i < k->survey.nparts; i++)
		k->survey.parts[i].at += k->body_at - k->front;
	if (rc != RC_NONE)
		tx_note(tx, "content", NULL, SPAN("could not be read to the end for the list of its parts"));
	if (k->survey.left_out > 0)
		tx_note(tx, "content", NULL, SPAN("has more parts than are listed"));
	return STEP_NEXT;
}

enum step
end_survey(struct sess *s)
{
	struct tx *tx = s->tx;
	return !tx_is_held(tx) || tx->discard || !s->edge->holding ? STEP_NEXT : look(s, &tx->holding.look);
}

enum step
holding_look_first(struct sess *s)
{
	return s->edge->holding ? look(s, &s->tx->holding.first) : STEP_NEXT;
}

/* ---- the block ---- */

void
holding_write(struct sess *s, struct buf *out)
{
	const struct facts *f = &s->facts;
	struct tx *tx = s->tx;
	const struct holding *h = &tx->holding;
	struct buf tls, trace;
	buf_init(&tls, HELD_TEXT_MAX);
	buf_init(&trace, HELD_TRACE_MAX);
	if (f->is_tls) {
		buf_put_safe(&tls, f->tls_protocol, 64, true);
		buf_putc(&tls, ' ');
		buf_put_safe(&tls, f->tls_cipher, 128, true);
	}
	put_trace(s, buf_span(&tls), &trace);
	const struct survey *v = h->look != NULL ? &h->look->survey : NULL;
	struct span id = v == NULL ? header_message_id(&tx->content.header) : buf_span(&v->message_id);
	const struct held held = {
		.class = h->class, .reason = h->reason, .filter = h->filter, .rule = h->rule, .signature = h->signature, .score = h->score,
		.client_name = keep(tx, f->client_name), .client_addr = keep(tx, f->client_addr), .helo = keep(tx, f->helo), .tls = buf_span(&tls),
		.login = keep(tx, f->login), .message_id = keep(tx, id), .trace = buf_span(&trace),
		.subject = v != NULL ? buf_span(&v->subject) : SPAN_EMPTY, .from = v != NULL ? buf_span(&v->from) : SPAN_EMPTY,
		.nparts = v != NULL ? v->nparts : 0, .parts = v != NULL ? v->parts : NULL,
	};
	held_put(out, &held);
	buf_fini(&tls);
	buf_fini(&trace);
}
