/* SPDX-License-Identifier: BSD-2-Clause */
#include "msg/held.h"

#include "msg/words.h"

/* Version 1 had size and sum of each part in the place of where it is. */
enum { VERSION = 2, VERSION_SUMS = 1, PART_BYTES_MIN = 4 + 4 + 4 + 8 + 8 + 1, PART_SUMS_MIN = 4 + 4 + 4 + 8 + 32 };

static const char *const names[HELD_CLASSES] = {
	[HELD_POLICY] = "policy", [HELD_CONTENT] = "content", [HELD_MILTER] = "milter", [HELD_VIRUS] = "virus",
	[HELD_ATTACHMENT] = "attachment", [HELD_UNSCANNED] = "unscanned",
};

const char *
held_class_name(enum held_class c)
{
	return c > HELD_NONE && c < HELD_CLASSES ? names[c] : NULL;
}

enum held_class
held_class_of(struct span name)
{
	for (unsigned c = HELD_NONE + 1; c < HELD_CLASSES; c++)
		if (span_caseeq_str(name, names[c]))
			return (enum held_class)c;
	return HELD_NONE;
}

/* The texts, in the order of the encoding; all but the trace. */
enum { TEXTS = 14 };
static void
texts_of(struct held *h, struct span *out[TEXTS])
{
	struct span *const all[TEXTS] = { &h->reason, &h->filter, &h->rule, &h->signature, &h->score, &h->client_name, &h->client_addr,
		&h->helo, &h->tls, &h->login, &h->subject, &h->from, &h->message_id, &h->trace };
	memcpy(out, all, sizeof all);
}

void
held_put(struct buf *b, const struct held *h)
{
	struct held copy = *h;
	struct span *text[TEXTS];
	texts_of(&copy, text);
	buf_put_u8(b, VERSION);
	buf_put_u8(b, (uint8_t)h->class);
	for (unsigned i = 0; i < TEXTS; i++)
		buf_put_block(b, *text[i]);
	buf_put_u32(b, h->nparts);
	for (uint32_t i = 0; i < h->nparts; i++) {
		const struct held_part *p = &h->parts[i];
		buf_put_u32(b, p->depth);
		buf_put_block(b, p->type);
		buf_put_block(b, p->name);
		buf_put_u64(b, p->at);
		buf_put_u64(b, p->length);
		buf_put_u8(b, p->how);
	}
}

static bool
is_clean(struct span s, size_t max)
{
	return s.n <= max && span_is_printable(s) && span_is_utf8(s);
}

static bool
trace_is_clean(struct span trace)
{
	if (trace.n > HELD_TRACE_MAX)
		return false;
	while (trace.n > 0) {
		size_t lf = span_chr(trace, '\n');
		struct span line = lf == SIZE_MAX ? trace : span_head(trace, lf);
		if (!span_is_printable(line) || !span_is_utf8(line))
			return false;
		trace = span_from(trace, lf == SIZE_MAX ? trace.n : lf + 1);
	}
	return true;
}

static bool
get_part(struct cur *rd, unsigned version, struct held_part *p)
{
	p->depth = cur_u32(rd);
	p->type = cur_block(rd);
	p->name = cur_block(rd);
	if (version == VERSION) {
		p->at = cur_u64(rd);
		p->length = cur_u64(rd);
		p->how = cur_u8(rd);
		if (p->how > DECODE_QP)
			return false;
	} else {
		p->size = cur_u64(rd);
		struct span hash = cur_take(rd, sizeof p->sha256);
		if (rd->bad)
			return false;
		memcpy(p->sha256, hash.p, sizeof p->sha256);
		p->is_summed = true;
	}
	return !rd->bad && is_clean(p->type, HELD_TEXT_MAX) && is_clean(p->name, HELD_TEXT_MAX);
}

enum rc
held_get(struct span in, struct arena *a, struct held *out)
{
	struct cur rd = cur_of(in);
	struct span *text[TEXTS];
	struct held_part *parts = NULL;
	*out = (struct held){ .class = HELD_NONE };
	texts_of(out, text);
	unsigned version = cur_u8(&rd);
	if (in.n > HELD_BYTES_MAX || (version != VERSION && version != VERSION_SUMS))
		return RC_PERM;
	unsigned class = cur_u8(&rd);
	if (class == HELD_NONE || class >= HELD_CLASSES)
		return RC_PERM;
	out->class = (enum held_class)class;
	for (unsigned i = 0; i < TEXTS; i++)
		*text[i] = cur_block(&rd);
	for (unsigned i = 0; i + 1 < TEXTS; i++)
		if (!is_clean(*text[i], HELD_TEXT_MAX))
			return RC_PERM;
	out->nparts = cur_u32(&rd);
	if (rd.bad || !trace_is_clean(out->trace) || out->nparts > HELD_PARTS_MAX || out->nparts > cur_left(&rd) / (version == VERSION ? PART_BYTES_MIN : PART_SUMS_MIN))
		return RC_PERM;
	if (out->nparts > 0 && (parts = arena_zalloc(a, out->nparts * sizeof *parts)) == NULL)
		return RC_PERM;
	for (uint32_t i = 0; i < out->nparts; i++)
		if (!get_part(&rd, version, &parts[i]))
			return RC_PERM;
	out->parts = parts;
	return cur_done(&rd) ? RC_OK : RC_PERM;
}
