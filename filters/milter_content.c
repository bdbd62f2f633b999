/* SPDX-License-Identifier: BSD-2-Clause */
#include "filters/milter_private.h"

#include <unistd.h>

/* What milters add is bounded; what they get to see is bounded by the owner. */
enum { EDIT_BYTES_MAX = 16 * 1024 * 1024, OUT_ENOUGH = 256 * 1024, STREAM_FROM = 32 * 1024, SHARED_HEADER_MAX = 64 * 1024 };

/* Bodies on their way to a connection; nobody keeps it over a call. */
static struct buf chunk = { .max = MW_CHUNK };

/* ---- the body as it stands ---- */

static bool
body_is_complete(struct milter_run *r, uint64_t *there)
{
	if (r->body.is_replaced) {
		*there = r->body.len;
		return true;
	}
	return r->src.is_complete(r->owner, there);
}

static enum rc
read_body(struct milter_run *r, uint64_t pos, size_t max, struct buf *out)
{
	struct milter_body *b = &r->body;
	if (!b->is_replaced)
		return r->src.read(r->owner, pos, max, out);
	buf_reset(out);
	if (b->fd < 0) {
		buf_put(out, span_head(span_from(buf_span(&b->mem), (size_t)pos), max));
		return RC_OK;
	}
	unsigned char *to = buf_reserve(out, max);
	ssize_t n = to == NULL ? -1 : pread(b->fd, to, max < b->len - pos ? max : (size_t)(b->len - pos), (off_t)(b->at + pos));
	if (n <= 0)
		return RC_TEMP;
	buf_commit(out, (size_t)n);
	return RC_OK;
}

/* want octets from body_at on, at the end of out. false: they cannot be read. */
static bool
put_body(struct milter_slot *s, size_t want, struct buf *out)
{
	while (want > 0) {
		enum rc rc = read_body(s->run, s->body_at, want, &chunk);
		size_t n = buf_len(&chunk);
		if (rc != RC_OK || n == 0 || n > want)
			return false;
		buf_put(out, buf_span(&chunk));
		s->body_at += n;
		want -= n;
	}
	return true;
}

/* ---- headers ---- */

static void
put_header(const struct header *h, uint32_t steps, struct buf *b)
{
	struct span v = header_value(h);
	if ((steps & SMFIP_HDR_LEADSPC) == 0 && v.n > 0 && v.p[0] == ' ')
		v = span_from(v, 1);
	size_t mark = mw_begin(b, SMFIC_HEADER);
	mw_string(b, header_name(h));
	mw_value(b, v);
	mw_end(b, mark);
}

/* Our own is not shown, wherever others were put: where the next one to be shown is. */
static size_t
next_shown(const struct milter_run *r, size_t at)
{
	const struct headers *h = &r->headers;
	while (at < h->n && (h->row[at].is_gone || h->row[at].text.p == r->own))
		at++;
	return at;
}

/* All of them at once, as it was written for a milter in front of this one. false: one by one. */
static bool
send_whole_header(struct milter_slot *s)
{
	struct milter_run *r = s->run;
	struct milter_shared *m = &r->header_frames;
	uint32_t steps = s->link->steps & SMFIP_HDR_LEADSPC;
	bool is_awaited = (s->link->steps & SMFIP_NR_HDR) == 0;
	if (s->header_at != 0 || s->skipped == SMFIC_HEADER || r->src.header.n > SHARED_HEADER_MAX || !milter_slot_sends_ahead(s))
		return false;
	if (!m->is_made || r->header_steps != steps) {
		buf_reset(&m->octets);
		r->nheader_frames = 0;
		for (size_t at = next_shown(r, 0); at < r->headers.n; at = next_shown(r, at + 1), r->nheader_frames++)
			put_header(&r->headers.row[at], steps, &m->octets);
		r->header_steps = steps;
		m->is_made = true;
	}
	if (m->octets.over || (is_awaited && s->nheld + s->nbehind + 1 + r->nheader_frames >= MILTER_AHEAD))
		return false;
	buf_put(milter_slot_out(s), buf_span(&m->octets));
	for (unsigned i = 0; is_awaited && i < r->nheader_frames; i++)
		milter_slot_await(s, SMFIC_HEADER, true);
	s->header_at = r->headers.n;
	return true;
}

/* True: goes on with what follows. false: replies have to come first. */
static bool
send_headers(struct milter_slot *s)
{
	const struct headers *h = &s->run->headers;
	if ((s->link->steps & SMFIP_NOHDRS) != 0 || send_whole_header(s)) {
		s->content = MCON_EOH;
		return true;
	}
	if (s->header_at == 0)
		s->header_at = next_shown(s->run, 0);
	while (s->header_at < h->n && s->skipped != SMFIC_HEADER) {
		put_header(&h->row[s->header_at], s->link->steps, milter_slot_out(s));
		s->header_at = next_shown(s->run, s->header_at + 1);
		if ((s->link->steps & SMFIP_NR_HDR) == 0) {
			milter_slot_await(s, SMFIC_HEADER, true);
			if (!milter_slot_sends_ahead(s))
				return false;
		}
	}
	s->content = MCON_EOH;
	return true;
}

static bool
send_eoh(struct milter_slot *s)
{
	s->content = MCON_BODY;
	s->skipped = 0;
	if ((s->link->steps & SMFIP_NOEOH) != 0)
		return true;
	milter_slot_macros(s, MST_EOH, SMFIC_EOH);
	mw_simple(milter_slot_out(s), SMFIC_EOH);
	if ((s->link->steps & SMFIP_NR_EOH) != 0)
		return true;
	milter_slot_await(s, SMFIC_EOH, true);
	return milter_slot_sends_ahead(s);
}

/* ---- body ---- */

static bool
wants_body(const struct milter_slot *s)
{
	return (s->link->steps & SMFIP_NOBODY) == 0 && s->skipped != SMFIC_BODY;
}

/* Room for all that will be said of the message, if it is small: it does not grow there step by step. */
static void
make_room(struct milter_slot *s)
{
	uint64_t there = 0;
	(void)body_is_complete(s->run, &there);
	size_t n = buf_len(&s->held) + s->run->src.header.n + 1024;
	if (there <= MW_CHUNK && n < MW_CHUNK)
		(void)buf_reserve(conn_out(&s->link->conn), n + ((s->link->steps & SMFIP_NOBODY) == 0 ? (size_t)there : 0));
}

/* Full pieces only; what is left goes in front of the end. */
static enum rc
send_body(struct milter_slot *s)
{
	uint64_t there = 0;
	bool is_complete = body_is_complete(s->run, &there);
	while (wants_body(s) && there - s->body_at >= MW_CHUNK) {
		struct buf *b = milter_slot_out(s);
		if (milter_slot_awaits(s, SMFIC_BODY)) /* it may say that it has seen enough */
			return RC_NONE;
		if (buf_len(b) >= OUT_ENOUGH) {
			s->link->conn.want_drained = true;
			conn_deadline(&s->link->conn, s->def->content_timeout);
			return RC_NONE;
		}
		size_t mark = mw_begin(b, SMFIC_BODY);
		if (!put_body(s, MW_CHUNK, b))
			return RC_TEMP;
		mw_end(b, mark);
		if ((s->link->steps & SMFIP_NR_BODY) == 0) {
			milter_slot_await(s, SMFIC_BODY, true);
			if (!milter_slot_sends_ahead(s))
				return RC_NONE;
		}
	}
	if (!is_complete)
		return RC_NONE;
	s->content = MCON_END;
	return RC_OK;
}

/* The end waits for its turn: those in front have to agree first. What is left of the body goes before it and not with it, although the protocol
 * has that: rspamd does not look there. */
static enum rc
send_end(struct milter_slot *s)
{
	struct milter_run *r = s->run;
	uint64_t there = 0;
	if (r->event != MEV_END || r->at >= r->nslots || &r->slots[r->at] != s)
		return RC_NONE;
	(void)body_is_complete(r, &there);
	if (wants_body(s) && there > s->body_at) {
		if (milter_slot_awaits(s, SMFIC_BODY)) /* it may say that it has seen enough */
			return RC_NONE;
		struct buf *b = milter_slot_out(s);
		size_t mark = mw_begin(b, SMFIC_BODY);
		if (!put_body(s, (size_t)(there - s->body_at), b))
			return RC_TEMP;
		mw_end(b, mark);
		if ((s->link->steps & SMFIP_NR_BODY) == 0) {
			milter_slot_await(s, SMFIC_BODY, true);
			if (!milter_slot_sends_ahead(s))
				return RC_NONE;
		}
	}
	milter_slot_macros(s, MST_EOM, SMFIC_BODYEOB);
	mw_simple(milter_slot_out(s), SMFIC_BODYEOB);
	s->content = MCON_EDITS;
	s->asked = MEV_END;
	milter_slot_await(s, SMFIC_BODYEOB, true);
	return RC_NONE;
}

bool
milter_content_pump(struct milter_slot *s)
{
	enum rc rc = s->run->is_unreadable ? RC_TEMP : RC_OK;
	while (rc == RC_OK && (s->waits_for == 0 || milter_slot_sends_ahead(s)) && s->link != NULL && s->link->state == MLINK_READY) {
		switch (s->content) {
		case MCON_NONE:
			milter_content_restart(s);
			make_room(s);
			s->in_transaction = true;
			break;
		case MCON_HEADER:
			milter_slot_pay_data(s);
			rc = send_headers(s) ? RC_OK : RC_NONE;
			break;
		case MCON_EOH:
			rc = send_eoh(s) ? RC_OK : RC_NONE;
			break;
		case MCON_BODY:
			rc = send_body(s);
			break;
		case MCON_END:
			rc = send_end(s);
			break;
		case MCON_EDITS:
		case MCON_DONE:
			return true;
		}
	}
	if (rc != RC_TEMP)
		return true;
	milter_slot_unreadable(s);
	return false;
}

bool
milter_content_is_worth_it(const struct milter_slot *s)
{
	uint64_t there = 0;
	if (s->content != MCON_NONE || !s->run->has_message)
		return s->content != MCON_NONE;
	(void)body_is_complete(s->run, &there);
	return there >= STREAM_FROM;
}

void
milter_content_restart(struct milter_slot *s)
{
	s->content = MCON_HEADER;
	s->header_at = 0;
	s->body_at = 0;
}

/* ---- the message ---- */

static bool
can_change_content(const struct milter_slot *s)
{
	return (s->link->actions & (SMFIF_ADDHDRS | SMFIF_CHGHDRS | SMFIF_CHGBODY)) != 0;
}

/* Those whose predecessors cannot change what they get to see hear it while it arrives. */
void
milter_content_begin(struct milter_run *r)
{
	BUG_ON(r->has_message);
	r->has_message = true;
	arena_init(&r->arena, r->src.header.n * 4 + EDIT_BYTES_MAX);
	if (headers_parse(&r->headers, r->src.header, &r->arena) != RC_OK) {
		r->is_unreadable = true;
		return;
	}
	size_t own = headers_find(&r->headers, SPAN("Received"), 1);
	r->own = own != SIZE_MAX ? r->headers.row[own].text.p : NULL;
	r->body = (struct milter_body){ .fd = -1 };
	bool is_same = true;
	for (size_t i = 0; i < r->nslots && is_same; i++) {
		struct milter_slot *s = &r->slots[i];
		s->streams = false;
		if (s->state != MSLOT_ENVELOPE)
			continue;
		if (s->link == NULL || s->link->state != MLINK_READY || s->waits_for != 0 || !s->said_mail) {
			is_same = false; /* not known yet */
			continue;
		}
		s->streams = true;
		is_same = !can_change_content(s);
		if (milter_content_is_worth_it(s))
			(void)milter_content_pump(s);
	}
}

void
milter_content_end(struct milter_run *r)
{
	milter_edits_end(r);
	if (!r->has_message)
		return;
	arena_fini(&r->arena);
	r->headers = (struct headers){ 0 };
	milter_shared_forget(&r->header_frames);
	r->has_message = r->is_unreadable = false;
	for (size_t i = 0; i < r->nslots; i++)
		r->slots[i].streams = false;
}
