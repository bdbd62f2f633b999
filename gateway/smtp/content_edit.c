/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Content that is read back, and changed when it is whole. Whatever lines a change brings go through the line reader, as a client's
 * do: what leaves here has CRLF line ends, no NUL, and an end behind its last line.
 *
 * In a draft the body is copied by the kernel when it stays: nothing of it is read, its sum comes from the sum of all.
 */
#include "smtp/content.h"

#include "base/crc32c.h"
#include "base/fd.h"
#include "base/mem.h"

#include <errno.h>
#include <unistd.h>

enum { PIECE = 128 * 1024, HEADER_GROWTH = 4 };

/* ---- reading ---- */

bool
content_header_is_final(const struct content *c)
{
	return c->fault == CONTENT_FINE && c->header.done && c->is_settled;
}

uint64_t
content_body_len(const struct content *c)
{
	uint64_t len = c->len - c->pending; /* what is not final nobody sees */
	return c->header.done && len > c->body_at ? len - c->body_at : 0;
}

/* Where in the descriptor the content begins: what was written stands before its offset. */
static bool
find_draft(struct content *c, uint64_t written)
{
	if (c->draft_at != 0)
		return true;
	off_t now = lseek(c->draft_fd, 0, SEEK_CUR);
	if (now < 0 || (uint64_t)now < written)
		return false;
	c->draft_at = (uint64_t)now - written;
	return true;
}

static enum rc
read_draft(struct content *c, uint64_t pos, size_t n, struct buf *out)
{
	unsigned char *p = buf_reserve(out, n);
	if (p == NULL || fd_pread(c->draft_fd, p, n, c->draft_at + pos) != 0)
		return RC_TEMP;
	buf_commit(out, n);
	return RC_OK;
}

/* max octets from pos on, or those there are. */
static enum rc
read_at(struct content *c, uint64_t pos, size_t max, struct buf *out)
{
	uint64_t written = c->len - buf_len(&c->out);
	if (pos >= c->len || max == 0)
		return RC_NONE;
	if (pos < written) {
		size_t n = written - pos < max ? (size_t)(written - pos) : max;
		enum rc rc = c->draft_fd >= 0 && find_draft(c, written) ? read_draft(c, pos, n, out) : RC_TEMP;
		if (rc != RC_OK)
			return rc;
		pos += n;
		max -= n;
	}
	buf_put(out, span_head(span_from(buf_span(&c->out), (size_t)(pos - written)), max));
	return out->over ? RC_TEMP : RC_OK;
}

enum rc
content_read_header(struct content *c, struct buf *out)
{
	BUG_ON(!c->header.done);
	buf_reset(out);
	return c->header_end == 0 ? RC_OK : read_at(c, 0, c->header_end, out) == RC_OK && buf_len(out) == c->header_end ? RC_OK : RC_TEMP;
}

enum rc
content_read_body(struct content *c, uint64_t pos, size_t max, struct buf *out)
{
	buf_reset(out);
	if (!content_header_is_final(c) || pos >= content_body_len(c))
		return RC_NONE;
	return read_at(c, c->body_at + pos, max < out->max ? max : out->max, out);
}

bool
content_in_memory(const struct content *c, struct span *header_out, struct span *body_out)
{
	if (!content_header_is_final(c) || c->len != buf_len(&c->out))
		return false;
	*header_out = span_head(buf_span(&c->out), c->header_end);
	uint64_t n = content_body_len(c);
	*body_out = n > 0 ? span_head(span_from(buf_span(&c->out), (size_t)c->body_at), (size_t)n) : SPAN_EMPTY;
	return true;
}

/* ---- lines of others ---- */

/* Feeds text through the line reader; the last line gets its end with whole. */
static void
put_lines(struct line_data *d, struct span text, bool whole, struct buf *out)
{
	while (text.n > 0) {
		struct span piece = span_head(text, PIECE);
		(void)line_data_feed(d, piece, out);
		text = span_from(text, piece.n);
	}
	if (whole)
		line_data_finish(d, out);
}

/* The new header and the empty line: what a message begins with. One that had neither body nor empty line gets none. */
static void
put_header(struct content *to, const struct content *c, const struct content_change *n, struct buf *out)
{
	put_lines(&to->line, n->header, true, out);
	to->header_end = buf_len(out);
	to->header.has_8bit = to->line.has_8bit;
	if (n->has_body || c->body_at > c->header_end)
		buf_put(out, SPAN("\r\n"));
	to->body_at = buf_len(out);
}

static bool
is_too_large(struct content *c, const struct content_change *n)
{
	uint64_t len = !n->has_body ? 0 : n->body_fd >= 0 ? n->body_len : n->body.n;
	if (n->header.n > HEADER_GROWTH * c->limits.header_total)
		content_fail(c, CONTENT_HEADER_TOO_BIG);
	else if (c->limits.size != 0 && len > c->limits.size)
		content_fail(c, CONTENT_TOO_BIG);
	return c->fault != CONTENT_FINE;
}

static struct content
begin_new(const struct content *c)
{
	struct content to = *c;
	to.line = (struct line_data){ .keep_stray_cr = c->line.keep_stray_cr };
	to.out = (struct buf){ .p = NULL };
	to.draft_fd = -1;
	to.draft_at = to.len = 0;
	to.crc = 0;
	return to;
}

/* ---- in memory ---- */

bool
content_change_fits(const struct content *c, const struct content_change *n)
{
	if (n->has_body ? n->body_fd >= 0 : c->draft_fd >= 0)
		return false;
	uint64_t len = n->has_body ? n->body.n : content_body_len(c);
	return n->header.n + 2 + LINE_GROWTH(len) <= c->limits.inline_max || (c->draft_fd < 0 && n->header.n + 2 + len <= c->limits.inline_max && !n->has_body);
}

void
content_change_here(struct content *c, const struct content_change *n)
{
	if (is_too_large(c, n))
		return;
	struct content to = begin_new(c);
	struct span body = n->has_body ? n->body : span_from(buf_span(&c->out), (size_t)c->body_at);
	buf_init(&to.out, LINE_GROWTH(n->header.n) + LINE_GROWTH(body.n) + 2);
	(void)buf_reserve(&to.out, n->header.n + body.n + 16);
	put_header(&to, c, n, &to.out);
	put_lines(&to.line, body, true, &to.out);
	BUG_ON(to.out.over);
	to.len = to.scanned = buf_len(&to.out);
	to.crc = crc32c(0, buf_span(&to.out));
	buf_fini(&c->out);
	if (c->draft_fd >= 0)
		content_close(c); /* what went wrong with it does not matter any more */
	to.fault = CONTENT_FINE;
	*c = to;
}

/* ---- into another draft ---- */

void
content_copy_begin(struct content_copy *k, int fd)
{
	*k = (struct content_copy){ .fd = fd, .to = { .draft_fd = -1 } };
}

void
content_copy_fini(struct content_copy *k)
{
	if (k->fd > 0)
		close(k->fd);
	k->fd = -1;
}

static bool
write_all(struct content_copy *k, struct content *c, struct span s)
{
	k->to.crc = crc32c(k->to.crc, s);
	k->to.len += s.n;
	int error = fd_write(k->fd, s);
	if (error != 0)
		content_fail(c, error == ENOSPC || error == EDQUOT ? CONTENT_DRAFT_FULL : CONTENT_NO_DRAFT);
	return error == 0;
}

/* The header, and a body that is in memory. */
static void
write_front(struct content_copy *k, struct content *c, const struct content_change *n)
{
	struct buf b;
	struct span body = n->has_body && n->body_fd < 0 ? n->body : !n->has_body && c->draft_fd < 0 ? span_from(buf_span(&c->out), (size_t)c->body_at) : SPAN_EMPTY;
	buf_init(&b, LINE_GROWTH(n->header.n) + LINE_GROWTH(body.n) + 2);
	k->to = begin_new(c);
	put_header(&k->to, c, n, &b);
	put_lines(&k->to.line, body, !n->has_body || n->body_fd < 0, &b);
	BUG_ON(b.over);
	(void)write_all(k, c, buf_span(&b));
	buf_fini(&b);
	k->left = n->has_body ? n->body_fd >= 0 ? n->body_len : 0 : c->draft_fd >= 0 ? content_body_len(c) : 0;
}

/* Lines that milters wrote to a file of their own. */
static bool
copy_lines(struct content_copy *k, struct content *c, const struct content_change *n)
{
	struct buf in, out;
	size_t turn = 0;
	buf_init(&in, PIECE);
	buf_init(&out, LINE_GROWTH(PIECE));
	while (k->left > 0 && turn < CONTENT_COPY_TURN && c->fault == CONTENT_FINE) {
		size_t want = k->left < PIECE ? (size_t)k->left : PIECE;
		unsigned char *p = buf_reserve(&in, want);
		ssize_t got = pread(n->body_fd, p, want, (off_t)(n->body_at + k->done));
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0) {
			content_fail(c, CONTENT_NO_DRAFT);
			break;
		}
		put_lines(&k->to.line, span_of(p, (size_t)got), k->left == (uint64_t)got, &out);
		(void)write_all(k, c, buf_span(&out));
		buf_reset(&out);
		k->done += (uint64_t)got;
		k->left -= (uint64_t)got;
		turn += (size_t)got;
	}
	buf_fini(&in);
	buf_fini(&out);
	return k->left == 0;
}

/* The body as it is, from draft to draft. */
static bool
copy_body(struct content_copy *k, struct content *c)
{
	for (size_t turn = 0; k->left > 0 && turn < CONTENT_COPY_TURN;) {
		off_t from = (off_t)(c->draft_at + c->body_at + k->done);
		ssize_t got = copy_file_range(c->draft_fd, &from, k->fd, NULL, k->left < CONTENT_COPY_TURN ? (size_t)k->left : CONTENT_COPY_TURN, 0);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0) {
			content_fail(c, got < 0 && (errno == ENOSPC || errno == EDQUOT) ? CONTENT_DRAFT_FULL : CONTENT_NO_DRAFT);
			return true;
		}
		k->done += (uint64_t)got;
		k->left -= (uint64_t)got;
		turn += (size_t)got;
	}
	return k->left == 0;
}

/* The sum of the new content: that of the old one with another beginning. */
static void
join_sums(struct content_copy *k, struct content *c)
{
	struct buf old;
	buf_init(&old, (size_t)c->body_at + 1);
	if (read_at(c, 0, (size_t)c->body_at, &old) != RC_OK)
		content_fail(c, CONTENT_NO_DRAFT);
	else
		k->to.crc = crc32c_shift(k->to.crc ^ crc32c(0, buf_span(&old)), k->done) ^ c->crc;
	buf_fini(&old);
	k->to.len += k->done;
	k->to.line.has_8bit |= c->line.has_8bit;
	k->to.line.has_dots |= c->line.has_dots;
	k->to.line.has_long |= c->line.has_long;
}

static bool
copy_is_done(struct content_copy *k, struct content *c, const struct content_change *n)
{
	if (n->has_body)
		return n->body_fd < 0 || copy_lines(k, c, n);
	return c->draft_fd < 0 || copy_body(k, c);
}

bool
content_copy_on(struct content_copy *k, struct content *c, const struct content_change *n)
{
	if (!k->begun) {
		k->begun = true;
		if (is_too_large(c, n))
			return true;
		if (!n->has_body && c->draft_fd >= 0 && !find_draft(c, c->len))
			content_fail(c, CONTENT_NO_DRAFT);
		else
			write_front(k, c, n);
	}
	if (c->fault == CONTENT_FINE && !copy_is_done(k, c, n))
		return false;
	if (c->fault == CONTENT_FINE && !n->has_body && c->draft_fd >= 0)
		join_sums(k, c);
	if (c->fault != CONTENT_FINE)
		return true;
	if (c->draft_fd >= 0)
		(void)close(c->draft_fd);
	buf_fini(&c->out);
	*c = k->to;
	buf_init(&c->out, c->limits.inline_max);
	c->draft_fd = k->fd;
	k->fd = -1;
	return true;
}
