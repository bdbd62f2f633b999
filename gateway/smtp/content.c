/* SPDX-License-Identifier: BSD-2-Clause */
#include "smtp/content.h"

#include "base/crc32c.h"
#include "base/fd.h"
#include "base/mem.h"
#include "ipc/msgs.h"

#include <errno.h>
#include <unistd.h>

enum {
	FIRST_ROOM = 4096,       /* most messages declare nothing and are small */
	ROOM_MAX = 32 * 1024,
	DRAFT_WRITE = 128 * 1024,/* written at a time */
	HEADER_GROWTH = 4,       /* times header_total: what a header may become */
	LONG_LINE = 998,
	UNLIMITED = 64 * 1024 * 1024, /* of what checks make of a body, without message_size_limit */
};

void
content_init(struct content *c, const struct content_limits *limits, bool dots)
{
	*c = (struct content){ .limits = *limits, .line.dots = dots, .draft_fd = -1 };
	/* what is in memory when a draft is asked for (a header of any size allowed, headers put in front included, and what it
	 * may become), one piece grown to its worst, and our own insertions */
	buf_init(&c->out, limits->inline_max + (HEADER_GROWTH + 1) * limits->header_total + 2 * LINE_GROWTH(CONTENT_PIECE) + DRAFT_WRITE + HEADER_NAME_MAX);
}

static void
convert_end(struct content *c)
{
	if (c->to7 != NULL)
		mime7_fini(c->to7);
	mem_free(&c->to7);
}

void
content_fini(struct content *c)
{
	buf_fini(&c->out);
	if (c->draft_fd > 0)
		close(c->draft_fd);
	c->draft_fd = -1;
	convert_end(c);
}

void
content_convert(struct content *c)
{
	c->to7 = mem_zalloc(sizeof *c->to7);
	mime7_init(c->to7);
	c->out.max += MIME7_GROWTH(LINE_GROWTH(CONTENT_PIECE)) + MIME7_GROWTH(0);
}

struct buf *
content_front(struct content *c, uint64_t expected)
{
	size_t room = expected < FIRST_ROOM ? FIRST_ROOM : expected > ROOM_MAX ? ROOM_MAX : (size_t)expected + FIRST_ROOM / 4;
	(void)buf_reserve(&c->out, room);
	return &c->out;
}

void
content_front_done(struct content *c)
{
	c->len = c->scanned = buf_len(&c->out);
}

void
content_watch(struct content *c, const struct header_watch *watch, bool always)
{
	c->header.watch = watch;
	c->always_edit = always;
}

void
content_fail(struct content *c, enum content_fault fault)
{
	if (c->fault != CONTENT_FINE)
		return;
	c->fault = fault;
	buf_fini(&c->out);
	c->scanned = c->pending = 0;
	c->is_checked = c->has_bad = false;
}

/* Puts text into out at position at. Rare, and what is behind is at most a piece. */
static void
insert(struct content *c, size_t at, struct span text)
{
	size_t len = buf_len(&c->out), tail = len - at;
	unsigned char *p = buf_reserve(&c->out, text.n);
	BUG_ON(p == NULL);
	buf_commit(&c->out, text.n);
	p = c->out.p + c->out.at + at;
	memmove(p + text.n, p, tail);
	memcpy(p, text.p, text.n);
	c->len += text.n;
}

static void
check_header(struct content *c)
{
	if (c->header.longest > c->limits.header_size || c->header.count > c->limits.header_count ||
	    (!c->is_settled && c->scanned > c->limits.header_total))
		content_fail(c, CONTENT_HEADER_TOO_BIG);
	else if (c->header.received > c->limits.hops)
		content_fail(c, CONTENT_TOO_MANY_HOPS);
}

/* The header has so many octets; an empty line follows. */
static void
header_over(struct content *c, size_t end, bool has_blank)
{
	c->header.done = true;
	c->header_end = end;
	c->body_at = end + (has_blank ? 2 : 0);
	c->is_settled = !c->always_edit && !c->header.is_watched && !c->header.is_spaced;
}

static void
walk_header(struct content *c, bool at_end)
{
	while (!c->header.done) {
		size_t used;
		enum header_event ev = header_feed(&c->header, span_from(buf_span(&c->out), c->scanned), at_end, &used);
		c->scanned += used;
		if (ev == HEADER_MORE)
			break;
		if (ev == HEADER_MBOX) {
			insert(c, c->scanned, SPAN(HEADER_MBOX_NAME));
		} else if (ev == HEADER_NO_BLANK) {
			insert(c, c->scanned, SPAN("\r\n"));
			c->scanned += 2;
		}
	}
	if (c->header.done)
		header_over(c, c->scanned - 2, true);
	check_header(c);
}

/* Writes everything that is final; the header is settled. */
static void
write_draft(struct content *c)
{
	struct span s = span_head(buf_span(&c->out), buf_len(&c->out) - c->pending);
	int error = fd_write(c->draft_fd, s);
	if (error != 0) {
		content_fail(c, error == ENOSPC || error == EDQUOT ? CONTENT_DRAFT_FULL : CONTENT_NO_DRAFT);
		return;
	}
	c->crc = crc32c(c->crc, s);
	if (c->pending == 0)
		buf_fini(&c->out); /* a slow client holds no buffer between its pieces */
	else
		buf_consume(&c->out, s.n);
	c->scanned = 0;
}

bool
content_wants_edit(const struct content *c)
{
	return c->fault == CONTENT_FINE && c->header.done && !c->is_settled;
}

struct span
content_header(const struct content *c)
{
	return span_head(buf_span(&c->out), c->header_end);
}

/* What the line reader knows of content, of lines that were not there when it looked. */
static void
look_at_lines(struct content *c, struct span text)
{
	while (text.n > 0) {
		size_t lf = span_chr(text, '\n');
		size_t n = lf == SIZE_MAX ? text.n : lf + 1;
		c->line.has_long |= n > LONG_LINE + 2;
		c->line.has_dots |= text.p[0] == '.';
		text = span_from(text, n);
	}
}

void
content_settle_header(struct content *c, struct span header)
{
	BUG_ON(!c->header.done || c->is_settled);
	c->is_settled = true;
	struct span old = content_header(c);
	if ((header.p == old.p || header.n == 0) && header.n == old.n)
		return;
	size_t tail = buf_len(&c->out) - old.n;
	if (header.n > old.n && buf_reserve(&c->out, header.n - old.n) == NULL) {
		buf_reset(&c->out);
		content_fail(c, CONTENT_HEADER_TOO_BIG);
		return;
	}
	unsigned char *p = c->out.p + c->out.at;
	memmove(p + header.n, p + old.n, tail);
	if (header.n > 0)
		memcpy(p, header.p, header.n);
	if (header.n > old.n)
		buf_commit(&c->out, header.n - old.n);
	else
		buf_cut(&c->out, header.n + tail);
	c->len = c->len - old.n + header.n;
	c->scanned = c->scanned - old.n + header.n;
	c->body_at = c->body_at - c->header_end + header.n;
	c->header_end = header.n;
	c->header.has_8bit = !span_is_ascii(header);
	c->line.has_8bit |= c->header.has_8bit;
	look_at_lines(c, header);
}

/* message_reject_characters, message_strip_characters: in what came, from at of b on. */
static void
sift(struct content *c, struct buf *b, size_t at)
{
	size_t n = buf_len(b), to = at;
	unsigned char *p = b->p + b->at;
	for (size_t i = at; i < n; i++) {
		uint8_t what = c->chars[p[i]];
		if ((what & CONTENT_CHAR_REJECT) != 0) {
			c->has_bad = true;
			c->bad_at = to;
			memmove(p + to, p + i, n - i); /* the log tells of the line */
			buf_cut(b, to + n - i);
			return;
		}
		if ((what & CONTENT_CHAR_STRIP) == 0)
			p[to++] = p[i];
	}
	if (to < n)
		buf_cut(b, to);
}

/* What came, as it is kept: text, of the line reader, goes through the converter. */
static void
convert(struct content *c, struct span text, bool had_8bit)
{
	size_t at = buf_len(&c->out);
	mime7_put(c->to7, &c->out, text);
	struct span made = span_from(buf_span(&c->out), at);
	c->line.has_8bit = had_8bit || !span_is_ascii(made);
	look_at_lines(c, made);
}

/* content_feed() with a converter. */
static size_t
feed_converted(struct content *c, struct span in)
{
	struct buf lines;
	bool had_8bit = c->line.has_8bit;
	buf_init(&lines, LINE_GROWTH(in.n));
	size_t used = line_data_feed(&c->line, in, &lines);
	if (c->chars != NULL)
		sift(c, &lines, 0);
	if (c->has_bad) { /* that is the end of it: the line is wanted as it was */
		c->bad_at += buf_len(&c->out);
		buf_put(&c->out, buf_span(&lines));
	} else {
		c->client_len += buf_len(&lines);
		convert(c, buf_span(&lines), had_8bit);
	}
	buf_fini(&lines);
	return used;
}

/* Nothing more comes: what the converter has kept back. */
static void
finish_converted(struct content *c)
{
	struct buf lines;
	bool had_8bit = c->line.has_8bit;
	size_t at = buf_len(&c->out);
	buf_init(&lines, LINE_GROWTH(0));
	if (!c->line.dots)
		line_data_finish(&c->line, &lines);
	c->client_len += buf_len(&lines);
	convert(c, buf_span(&lines), had_8bit);
	mime7_end(c->to7, &c->out);
	struct span made = span_from(buf_span(&c->out), at);
	c->line.has_8bit = had_8bit || !span_is_ascii(made);
	look_at_lines(c, made);
	c->len += made.n;
	c->pending += c->is_checked ? made.n : 0;
	buf_fini(&lines);
	convert_end(c);
}

size_t
content_feed(struct content *c, struct span in)
{
	in = span_head(in, CONTENT_PIECE);
	size_t before = buf_len(&c->out), used;
	if (c->fault == CONTENT_FINE && c->to7 != NULL) {
		used = feed_converted(c, in);
	} else {
		used = line_data_feed(&c->line, in, &c->out);
		if (c->fault != CONTENT_FINE) {
			buf_reset(&c->out);
			return used;
		}
		if (c->chars != NULL && buf_len(&c->out) > before)
			sift(c, &c->out, before);
		c->client_len += c->has_bad ? 0 : buf_len(&c->out) - before;
	}
	BUG_ON(c->out.over);
	if (c->has_bad)
		return used;
	c->len += buf_len(&c->out) - before;
	c->pending += c->is_checked ? buf_len(&c->out) - before : 0;
	if (c->line.bare_lf && c->limits.refuse_bare_lf)
		content_fail(c, CONTENT_BARE_LF);
	else if (c->limits.size != 0 && c->client_len > c->limits.size)
		content_fail(c, CONTENT_TOO_BIG);
	else if (!c->header.done)
		walk_header(c, false);
	if (c->fault == CONTENT_FINE && c->draft_fd >= 0 && buf_len(&c->out) - c->pending >= DRAFT_WRITE)
		write_draft(c);
	return used;
}

void
content_finish(struct content *c)
{
	if (c->to7 != NULL && c->fault == CONTENT_FINE) {
		finish_converted(c);
	} else if (!c->line.dots && c->fault == CONTENT_FINE) {
		size_t before = buf_len(&c->out);
		line_data_finish(&c->line, &c->out);
		c->len += buf_len(&c->out) - before;
		c->client_len += buf_len(&c->out) - before;
		c->pending += c->is_checked ? buf_len(&c->out) - before : 0;
	}
	if (c->fault == CONTENT_FINE && !c->header.done) {
		walk_header(c, true);
		if (c->fault == CONTENT_FINE && !c->header.done)
			header_over(c, buf_len(&c->out), false); /* a message without a body */
	}
	if (content_wants_edit(c) || c->is_checked)
		return;
	if (c->fault == CONTENT_FINE && c->draft_fd >= 0)
		write_draft(c);
	else if (c->fault == CONTENT_FINE && !content_wants_draft(c))
		c->crc = crc32c(0, buf_span(&c->out));
	c->is_whole = !content_wants_draft(c);
}

/* ---- a body that is looked at while it comes ---- */

void
content_check_body(struct content *c)
{
	uint64_t size = c->limits.size != 0 ? c->limits.size : UNLIMITED;
	c->is_checked = true;
	c->pending = buf_len(&c->out) - (size_t)c->body_at;
	c->out.max += size < SIZE_MAX / 4 ? (size_t)size : SIZE_MAX / 4; /* what its lines may become */
}

struct span
content_pending(const struct content *c)
{
	return span_from(buf_span(&c->out), buf_len(&c->out) - c->pending);
}

void
content_pass(struct content *c, size_t n, const struct span *instead)
{
	BUG_ON(n > c->pending);
	size_t tail = c->pending - n;
	c->pending = tail;
	if (instead == NULL)
		return;
	uint64_t size = c->limits.size != 0 ? c->limits.size : UNLIMITED, len = c->len - n + instead->n;
	if (len > c->body_at && len - c->body_at > size && instead->n > n) {
		content_fail(c, CONTENT_TOO_BIG);
		return;
	}
	if (instead->n > n && buf_reserve(&c->out, instead->n - n) == NULL) {
		buf_reset(&c->out);
		content_fail(c, CONTENT_TOO_BIG);
		return;
	}
	size_t at = buf_len(&c->out) - tail - n;
	unsigned char *p = c->out.p + c->out.at + at;
	memmove(p + instead->n, p + n, tail);
	if (instead->n > 0)
		memcpy(p, instead->p, instead->n);
	if (instead->n > n)
		buf_commit(&c->out, instead->n - n);
	else
		buf_cut(&c->out, at + instead->n + tail);
	c->len = len;
	c->line.has_8bit |= !span_is_ascii(*instead);
	look_at_lines(c, *instead);
}

void
content_check_end(struct content *c)
{
	c->is_checked = false;
	c->pending = 0;
}

void
content_close(struct content *c)
{
	if (c->draft_fd >= 0 && close(c->draft_fd) != 0)
		content_fail(c, CONTENT_NO_DRAFT);
	c->draft_fd = -1;
}

bool
content_wants_draft(const struct content *c)
{
	return c->fault == CONTENT_FINE && c->is_settled && c->draft_fd < 0 && buf_len(&c->out) > c->limits.inline_max;
}

void
content_draft_open(struct content *c, int fd)
{
	c->draft_fd = fd;
}

unsigned
content_flags(const struct content *c)
{
	return (c->line.has_8bit ? (unsigned)MSGF_HAS_8BIT : 0) | (c->line.has_dots ? (unsigned)MSGF_HAS_DOTS : 0) |
	    (c->line.has_long ? (unsigned)MSGF_HAS_LONG : 0) | (c->header.has_8bit ? (unsigned)MSGF_UTF8_HEADERS : 0);
}
