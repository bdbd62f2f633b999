/* SPDX-License-Identifier: BSD-2-Clause */
#include "deliver/outbody.h"

#include "base/fd.h"

#include <errno.h>

enum { CHANGED_MAX = 64 * 1024 * 1024 }; /* octets that checks may make of a piece */

/* Of the process: what has to be changed on its way is read here first. */
static unsigned char piece[OUTBODY_PIECE];

void
outbody_init(struct outbody *c, int fd, uint64_t offset, uint64_t length, struct span head, uint64_t skip, bool stuff, size_t line_max)
{
	if (head.n == 0)
		skip = 0;
	BUG_ON(skip > length);
	*c = (struct outbody){ .fd = fd, .head = head, .at = offset + skip, .left = length - skip };
	wire_init(&c->wire, stuff, line_max);
}

enum rc
outbody_read(int fd, uint64_t at, unsigned char *to, size_t n, struct err *e)
{
	int error = fd_pread(fd, to, n, at);
	if (error == ENODATA)
		return err_set(e, RC_TEMP, "message content is shorter than it should be");
	return error == 0 ? RC_OK : err_set(e, RC_TEMP, "cannot read message content: %s", strerror(error));
}

void
outbody_make_7bit(struct outbody *c, struct mime7 *m)
{
	c->mime = m;
}

void
outbody_check(struct outbody *c, struct outchecks *o)
{
	c->checks = o;
}

enum asked { PUT, GO_ON, END };

/* What checks make of it. RC_NONE: they wait in the middle of it. */
static enum rc
ask_checks(struct outbody *c, enum asked what, struct buf *out, struct span in, struct err *e)
{
	struct buf changed;
	buf_init(&changed, CHANGED_MAX);
	enum rc rc = what == PUT ? outchecks_put(c->checks, &changed, in, e) : what == END ? outchecks_end(c->checks, &changed, e) :
	    outchecks_go_on(c->checks, &changed, e);
	wire_put(&c->wire, out, buf_span(&changed));
	buf_fini(&changed);
	c->waits = rc == RC_NONE;
	return rc;
}

static enum rc
check(struct outbody *c, struct buf *out, struct span in, struct err *e)
{
	if (c->checks != NULL)
		return in.n > 0 ? ask_checks(c, PUT, out, in, e) : RC_OK;
	wire_put(&c->wire, out, in);
	return RC_OK;
}

static enum rc
change(struct outbody *c, struct buf *out, struct span in, struct err *e)
{
	if (c->mime == NULL)
		return check(c, out, in, e);
	struct buf narrow;
	buf_init(&narrow, MIME7_GROWTH(in.n));
	mime7_put(c->mime, &narrow, in);
	BUG_ON(narrow.over);
	enum rc rc = check(c, out, buf_span(&narrow), e);
	buf_fini(&narrow);
	return rc;
}

/* What mime and checks kept back. May be called again behind RC_NONE, once that is over. */
static enum rc
change_end(struct outbody *c, struct buf *out, struct err *e)
{
	enum rc rc = RC_OK;
	if (c->mime != NULL && !c->mime_ended) {
		struct buf narrow;
		buf_init(&narrow, MIME7_GROWTH(0));
		mime7_end(c->mime, &narrow);
		BUG_ON(narrow.over);
		c->mime_ended = true;
		rc = check(c, out, buf_span(&narrow), e);
		buf_fini(&narrow);
	}
	if (rc == RC_OK && c->checks != NULL && !c->checks_ended) {
		c->checks_ended = true;
		rc = ask_checks(c, END, out, SPAN_EMPTY, e);
	}
	if (rc != RC_NONE)
		wire_end(&c->wire, out);
	return rc;
}

/* Reads the next n octets into out, behind the head, and has them changed where they must be. */
static enum rc
put_changed(struct outbody *c, struct buf *out, uint64_t n, struct err *e)
{
	enum rc rc = c->head.n > 0 ? change(c, out, c->head, e) : RC_OK;
	c->head = SPAN_EMPTY;
	while (n > 0 && rc == RC_OK) { /* when checks wait they have all of it */
		size_t some = n < sizeof piece ? (size_t)n : sizeof piece;
		rc = outbody_read(c->fd, c->at, piece, some, e);
		if (rc != RC_OK)
			return rc;
		rc = change(c, out, span_of(piece, some), e);
		c->at += some;
		c->left -= some;
		n -= some;
	}
	return rc;
}

/* Reads straight into out when nothing has to be changed, which is nearly always. RC_NONE: it has. */
static enum rc
put_unchanged(struct outbody *c, struct buf *out, size_t n, struct err *e)
{
	size_t head = c->head.n;
	unsigned char *to = buf_reserve(out, head + n);
	if (to == NULL)
		return RC_NONE;
	if (head > 0)
		memcpy(to, c->head.p, head);
	enum rc rc = outbody_read(c->fd, c->at, to + head, n, e);
	if (rc != RC_OK)
		return rc;
	if (!wire_is_clean(c->wire.stuff, c->wire.line_max, span_of(to, head + n)))
		return RC_NONE;
	buf_commit(out, head + n);
	c->head = SPAN_EMPTY;
	c->at += n;
	c->left -= n;
	return RC_OK;
}

enum rc
outbody_put_bdat(struct outbody *c, struct buf *out, struct err *e)
{
	size_t before = buf_len(out);
	buf_printf(out, "BDAT %llu LAST\r\n", (unsigned long long)(c->head.n + c->left));
	enum rc rc = c->mime != NULL || c->checks != NULL ? RC_NONE : put_unchanged(c, out, (size_t)c->left, e);
	if (rc != RC_NONE)
		return rc;
	struct buf changed;
	buf_cut(out, before);
	buf_init(&changed, (c->head.n + (size_t)c->left) * 4 + MIME7_GROWTH(0) + 4096); /* every octet a stuffed, folded line cannot be more */
	if (c->checks != NULL)
		changed.max += CHANGED_MAX;
	rc = put_changed(c, &changed, c->left, e);
	if (rc == RC_OK)
		rc = change_end(c, &changed, e);
	BUG_ON(rc == RC_NONE);
	if (rc == RC_OK && changed.over)
		rc = err_set(e, RC_TEMP, "message content grows beyond measure");
	if (rc == RC_OK) {
		buf_printf(out, "BDAT %zu LAST\r\n", buf_len(&changed));
		buf_put(out, buf_span(&changed));
	}
	buf_fini(&changed);
	return rc;
}

enum rc
outbody_put_data(struct outbody *c, struct buf *out, bool *end_out, struct err *e)
{
	*end_out = false;
	enum rc rc = c->waits ? ask_checks(c, GO_ON, out, SPAN_EMPTY, e) : RC_OK;
	if (rc != RC_OK)
		return rc;
	rc = RC_NONE;
	if (c->mime == NULL && c->checks == NULL && c->wire.col == 0 && !c->wire.cr && c->left > 0 && c->left <= OUTBODY_PIECE)
		rc = put_unchanged(c, out, (size_t)c->left, e);
	if (rc == RC_NONE)
		rc = put_changed(c, out, c->left < OUTBODY_PIECE ? c->left : OUTBODY_PIECE, e);
	if (rc != RC_OK || c->left > 0)
		return rc;
	rc = change_end(c, out, e);
	if (rc != RC_OK)
		return rc;
	buf_put(out, SPAN(".\r\n"));
	*end_out = true;
	return RC_OK;
}
