/* SPDX-License-Identifier: BSD-2-Clause */
#include "filters/milter_private.h"

#include "base/fd.h"
#include "base/mem.h"

#include <errno.h>
#include <unistd.h>

enum { BODY_MEM = 1024 * 1024, HEADER_OUT_MAX = 64 * 1024 * 1024, BODY_MEM_MAX = 256 * 1024 * 1024, REASON_MAX = 1024, RCPTS_MAX = 50000 };

/* ---- staging: a milter's changes count when it agrees to the message ---- */

static void
body_fini(struct milter_body *b)
{
	buf_fini(&b->mem);
	*b = (struct milter_body){ .fd = -1 };
}

static void
open_staged(struct milter_run *r)
{
	if (r->staged.is_open)
		return;
	memset(&r->staged, 0, sizeof r->staged);
	r->staged.is_open = true;
	r->staged.nrcpts = r->nrcpts;
	r->staged.body.fd = -1;
}

/* A copy of the list: the texts stay where they are. */
static bool
open_headers(struct milter_run *r)
{
	if (r->staged.header_changed)
		return true;
	struct headers *h = &r->staged.headers;
	*h = r->headers;
	h->row = arena_alloc(&r->arena, (r->headers.cap > 0 ? r->headers.cap : 1) * sizeof *h->row);
	if (h->row == NULL)
		return false;
	if (h->n > 0)
		memcpy(h->row, r->headers.row, h->n * sizeof *h->row);
	r->staged.header_changed = true;
	return true;
}

void
milter_edit_forget(struct milter_run *r)
{
	if (!r->staged.is_open)
		return;
	r->nrcpts = r->staged.nrcpts;
	body_fini(&r->staged.body);
	r->staged.is_open = false;
}

void
milter_edit_commit(struct milter_run *r)
{
	if (!r->staged.is_open)
		return;
	struct milter_edits *ed = &r->edits;
	if (r->staged.header_changed) {
		r->headers = r->staged.headers;
		milter_shared_forget(&r->header_frames);
		ed->header_changed = true;
	}
	if (r->staged.body_begun) {
		body_fini(&r->body);
		r->body = r->staged.body;
		r->staged.body = (struct milter_body){ .fd = -1 };
		r->body.is_replaced = true;
		if (r->body.fd >= 0)
			r->spill_end = r->body.at + r->body.len;
		ed->body_changed = true;
	}
	if (r->staged.sender_changed) {
		ed->sender_changed = true;
		ed->sender = r->staged.sender;
		ed->sender_args = r->staged.sender_args;
		ed->sender_milter = r->staged.sender_milter;
	}
	if (r->staged.keep_original && !ed->keep_original) {
		ed->keep_original = true;
		ed->keep_reason = r->staged.keep_reason;
		ed->keep_milter = r->staged.keep_milter;
	}
	if (r->staged.quarantine && !ed->quarantine) {
		ed->quarantine = true;
		ed->quarantine_reason = r->staged.reason;
		ed->quarantine_milter = r->staged.milter;
	}
	r->staged.is_open = false;
}

/* ---- texts ---- */

static struct span
keep(struct milter_run *r, struct span s)
{
	return arena_span(&r->arena, s);
}

static struct span
keep_clean(struct milter_run *r, struct span s)
{
	struct buf b;
	buf_init(&b, REASON_MAX);
	size_t nul = span_chr(s, '\0');
	buf_put_safe(&b, span_head(span_head(s, nul), REASON_MAX), REASON_MAX, true);
	struct span out = keep(r, span_trim(buf_span(&b)));
	buf_fini(&b);
	return out;
}

static bool
is_header_name(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] <= ' ' || s.p[i] >= 0x7f || s.p[i] == ':')
			return false;
	return s.n > 0;
}

/* One header, whatever the value says: lines that would end it begin with a tab, control characters are '?'. Empty: too long. */
static struct span
make_line(struct milter_run *r, struct span name, struct span v, bool blank)
{
	struct buf b;
	buf_init(&b, MW_FRAME_MAX * 2);
	buf_put(&b, name);
	buf_putc(&b, ':');
	if (blank)
		buf_putc(&b, ' ');
	bool is_first = true;
	while (v.n > 0) {
		size_t lf = span_chr(v, '\n');
		struct span line = span_head(v, lf);
		v = lf == SIZE_MAX ? SPAN_EMPTY : span_from(v, lf + 1);
		if (line.n > 0 && line.p[line.n - 1] == '\r')
			line.n--;
		if (!is_first) {
			if (span_trim(line).n == 0)
				continue; /* an empty line would end the header */
			buf_puts(&b, "\r\n");
			if (line.p[0] != ' ' && line.p[0] != '\t')
				buf_putc(&b, '\t');
		}
		is_first = false;
		for (size_t i = 0; i < line.n; i++) {
			unsigned char c = line.p[i];
			buf_putc(&b, (c < ' ' && c != '\t') || c == 0x7f ? '?' : c);
		}
	}
	buf_puts(&b, "\r\n");
	struct span out = b.over ? SPAN_EMPTY : keep(r, buf_span(&b));
	buf_fini(&b);
	return out;
}

static struct span
make_header(struct milter_slot *s, struct span name, struct span v)
{
	return make_line(s->run, name, v, (s->link->steps & SMFIP_HDR_LEADSPC) == 0);
}

static enum milter_edit_result
too_much(struct err *e)
{
	(void)err_set(e, RC_PERM, "changes more than a message may have");
	return MEDIT_BAD;
}

static enum milter_edit_result
malformed(struct err *e, unsigned char cmd)
{
	(void)err_set(e, RC_TEMP, "packet of %s is malformed", mw_reply_name(cmd));
	return MEDIT_BAD;
}

/* ---- headers ---- */

/* The index-th of this name (from 1); our own is not counted. */
static size_t
find_shown(const struct milter_run *r, struct span name, size_t index)
{
	const struct headers *h = &r->staged.headers;
	for (size_t i = 0; i < h->n; i++) {
		if (h->row[i].is_gone || h->row[i].text.p == r->own)
			continue;
		if (span_caseeq(header_name(&h->row[i]), name) && --index == 0)
			return i;
	}
	return SIZE_MAX;
}

/* Row of the index-th header (from 0), our own counted; n: behind all. */
static size_t
row_of(const struct headers *h, size_t index)
{
	size_t i = 0;
	for (; i < h->n; i++)
		if (!h->row[i].is_gone && index-- == 0)
			break;
	return i;
}

static enum milter_edit_result
add_header(struct milter_slot *s, struct span name, struct span value, size_t at, struct err *e)
{
	struct milter_run *r = s->run;
	struct span text = make_header(s, name, value);
	if (text.n == 0 || headers_insert(&r->staged.headers, at, text) != RC_OK)
		return too_much(e);
	return MEDIT_OK;
}

static enum milter_edit_result
change_header(struct milter_slot *s, uint32_t index, struct span name, struct span value, struct err *e)
{
	struct headers *h = &s->run->staged.headers;
	size_t at = find_shown(s->run, name, index > 0 ? index : 1);
	if (value.n == 0) {
		if (at != SIZE_MAX)
			headers_remove(h, at);
		return MEDIT_OK;
	}
	if (at == SIZE_MAX)
		return add_header(s, name, value, h->n, e);
	struct span text = make_header(s, name, value);
	if (text.n == 0 || headers_replace(h, at, text) != RC_OK)
		return too_much(e);
	return MEDIT_OK;
}

static enum milter_edit_result
edit_header(struct milter_slot *s, unsigned char cmd, struct span data, struct err *e)
{
	struct milter_run *r = s->run;
	struct span name, value;
	uint32_t index = 0;
	enum rc rc = cmd == SMFIR_ADDHEADER ? mw_two(data, &name, &value) : mw_indexed(data, &index, &name, &value);
	if (rc != RC_OK)
		return malformed(e, cmd);
	if (index > INT32_MAX) {
		(void)err_set(e, RC_PERM, "bad %s header index: %ld", cmd == SMFIR_CHGHEADER ? "change" : "insert", (long)index);
		return MEDIT_BAD;
	}
	if (!is_header_name(name)) {
		(void)err_set(e, RC_PERM, name.n == 0 ? "null change header name" : "bad header name");
		return MEDIT_BAD;
	}
	if (!open_headers(r))
		return too_much(e);
	if (cmd == SMFIR_CHGHEADER)
		return change_header(s, index, name, value, e);
	return add_header(s, name, value, cmd == SMFIR_ADDHEADER ? r->staged.headers.n : row_of(&r->staged.headers, index), e);
}

void
milter_edit_tag(struct milter_slot *s, const char *line)
{
	struct milter_run *r = s->run;
	struct span name = span_head(span_str(line), span_chr(span_str(line), ':')), value = span_from(span_str(line), name.n + 1);
	struct span text = make_line(r, name, span_trim(value), true);
	open_staged(r);
	if (text.n == 0 || !open_headers(r))
		return;
	for (size_t at; (at = headers_find(&r->staged.headers, name, 1)) != SIZE_MAX;)
		headers_remove(&r->staged.headers, at);
	if (headers_insert(&r->staged.headers, r->staged.headers.n, text) == RC_OK)
		milter_edit_commit(r);
}

/* ---- envelope ---- */

static struct span
without_brackets(struct span s)
{
	s = span_trim(s);
	return s.n >= 2 && s.p[0] == '<' && s.p[s.n - 1] == '>' ? span_head(span_from(s, 1), s.n - 2) : s;
}

static enum milter_edit_result
edit_rcpt(struct milter_slot *s, unsigned char cmd, struct span data, struct err *e)
{
	struct milter_run *r = s->run;
	struct span addr, args = SPAN_EMPTY, rest;
	if (mw_one(data, &addr, &rest) != RC_OK || (rest.n > 0 && (cmd != SMFIR_ADDRCPT_PAR || mw_one(rest, &args, NULL) != RC_OK)))
		return malformed(e, cmd);
	if (r->nrcpts == RCPTS_MAX)
		return too_much(e);
	if (r->nrcpts == r->rcpts_cap) {
		r->rcpts_cap = r->rcpts_cap > 0 ? r->rcpts_cap * 2 : 8;
		r->rcpts = mem_reallocarray(r->rcpts, r->rcpts_cap, sizeof *r->rcpts);
	}
	r->rcpts[r->nrcpts++] = (struct milter_rcpt){ .kind = cmd == SMFIR_DELRCPT ? MILTER_DELETE_RCPT : MILTER_ADD_RCPT,
		.addr = keep(r, without_brackets(addr)), .args = keep(r, args), .milter = s->def->name };
	return r->arena.over ? too_much(e) : MEDIT_OK;
}

static enum milter_edit_result
edit_sender(struct milter_slot *s, struct span data, struct err *e)
{
	struct milter_run *r = s->run;
	struct span addr, args = SPAN_EMPTY, rest;
	if (mw_one(data, &addr, &rest) != RC_OK || (rest.n > 0 && mw_one(rest, &args, NULL) != RC_OK))
		return malformed(e, SMFIR_CHGFROM);
	r->staged.sender_changed = true;
	r->staged.sender = keep(r, without_brackets(addr));
	r->staged.sender_args = keep(r, args);
	r->staged.sender_milter = s->def->name;
	return r->arena.over ? too_much(e) : MEDIT_OK;
}

/* ---- quarantine ---- */

static void
edit_quarantine(struct milter_slot *s, struct span data)
{
	struct milter_run *r = s->run;
	struct span reason = keep_clean(r, data);
	if (s->def->is_bundled && span_starts(reason, SPAN("copy:"))) {
		r->staged.keep_original = true;
		r->staged.keep_reason = span_trim(span_from(reason, 5));
		r->staged.keep_milter = s->def->name;
		return;
	}
	r->staged.quarantine = true;
	r->staged.reason = reason;
	r->staged.milter = s->def->name;
}

/* Before the end of the message: counts at once, as in Postfix. */
void
milter_edit_quarantine_now(struct milter_slot *s, struct span data)
{
	struct milter_run *r = s->run;
	if (r->edits.quarantine)
		return;
	struct span reason = span_head(data, span_chr(data, '\0'));
	buf_reset(&r->early_reason);
	buf_put_safe(&r->early_reason, span_head(reason, REASON_MAX), REASON_MAX, true);
	r->edits.quarantine = true;
	r->edits.quarantine_reason = buf_span(&r->early_reason);
	r->edits.quarantine_milter = s->def->name;
}

/* ---- body ---- */

/* What is in memory goes into the file. */
static bool
flush_body(struct milter_run *r)
{
	struct milter_body *b = &r->staged.body;
	if (b->fd < 0) {
		b->fd = r->spill_fd;
		b->at = r->spill_end;
	}
	size_t n = buf_len(&b->mem);
	bool ok = fd_pwrite(b->fd, buf_span(&b->mem), b->at + b->len - n) == 0;
	buf_fini(&b->mem);
	return ok;
}

static uint64_t
header_bytes(const struct headers *h)
{
	uint64_t n = 0;
	for (size_t i = 0; i < h->n; i++)
		if (!h->row[i].is_gone)
			n += h->row[i].text.n;
	return n;
}

static bool
is_too_big(const struct milter_run *r)
{
	const struct headers *h = r->staged.header_changed ? &r->staged.headers : &r->headers;
	return r->set->size_limit > 0 && r->staged.body.len > 0 && header_bytes(h) + 2 + r->staged.body.len > r->set->size_limit;
}

static enum milter_edit_result
body_grew(struct milter_run *r, size_t before, struct err *e)
{
	struct milter_body *b = &r->staged.body;
	b->len += buf_len(&b->mem) - before;
	if (b->mem.over)
		return too_much(e);
	if (is_too_big(r))
		return MEDIT_TOO_BIG;
	if (b->fd < 0 && (buf_len(&b->mem) <= BODY_MEM || r->ops->wants_file == NULL))
		return MEDIT_OK;
	if (b->fd < 0 && r->spill_fd < 0) {
		r->wants_file = true;
		return MEDIT_WAIT;
	}
	if ((b->fd < 0 || buf_len(&b->mem) >= 128 * 1024) && !flush_body(r)) {
		(void)err_set(e, RC_TEMP, "replaced body cannot be written: %s", strerror(errno));
		return MEDIT_BAD;
	}
	return MEDIT_OK;
}

static enum milter_edit_result
edit_body(struct milter_slot *s, struct span data, struct err *e)
{
	struct milter_run *r = s->run;
	struct milter_body *b = &r->staged.body;
	if (r->staged.body_closed) {
		(void)err_set(e, RC_PERM, "body replacement requests can't currently be mixed with other requests");
		return MEDIT_BAD;
	}
	if (!r->staged.body_begun) {
		r->staged.body_begun = true;
		buf_init(&b->mem, BODY_MEM_MAX);
	}
	size_t before = buf_len(&b->mem);
	mw_lines_put(&r->staged.lines, data, &b->mem);
	return body_grew(r, before, e);
}

/* The last line may have had no end; what is still in memory joins what is in the file. false: it cannot be written. */
static bool
close_body(struct milter_run *r)
{
	struct milter_body *b = &r->staged.body;
	if (!r->staged.is_open || !r->staged.body_begun)
		return true;
	size_t before = buf_len(&b->mem);
	mw_lines_end(&r->staged.lines, &b->mem);
	b->len += buf_len(&b->mem) - before;
	return b->fd < 0 || flush_body(r);
}

enum rc
milter_edit_close(struct milter_slot *s, struct err *e)
{
	if (close_body(s->run))
		return RC_OK;
	return err_set(e, RC_TEMP, "replaced body cannot be written: %s", strerror(errno));
}

/* ---- one packet ---- */

enum milter_edit_result
milter_edit_take(struct milter_slot *s, unsigned char cmd, struct span data, struct err *e)
{
	static const struct {
		unsigned char cmd;
		uint32_t action;
	} needs[] = {
		{ SMFIR_ADDHEADER, SMFIF_ADDHDRS }, { SMFIR_INSHEADER, SMFIF_ADDHDRS }, { SMFIR_CHGHEADER, SMFIF_CHGHDRS },
		{ SMFIR_REPLBODY, SMFIF_CHGBODY }, { SMFIR_ADDRCPT, SMFIF_ADDRCPT }, { SMFIR_ADDRCPT_PAR, SMFIF_ADDRCPT_PAR },
		{ SMFIR_DELRCPT, SMFIF_DELRCPT }, { SMFIR_CHGFROM, SMFIF_CHGFROM }, { SMFIR_QUARANTINE, SMFIF_QUARANTINE },
	};
	struct milter_run *r = s->run;
	size_t i = 0;
	while (i < NELEMS(needs) && needs[i].cmd != cmd)
		i++;
	if (i == NELEMS(needs) || (s->link->actions & needs[i].action) == 0)
		return MEDIT_NOT_ONE;
	open_staged(r);
	if (cmd == SMFIR_REPLBODY)
		return edit_body(s, data, e);
	if (r->staged.body_begun)
		r->staged.body_closed = true;
	switch (cmd) {
	case SMFIR_ADDRCPT:
	case SMFIR_ADDRCPT_PAR:
	case SMFIR_DELRCPT:
		return edit_rcpt(s, cmd, data, e);
	case SMFIR_CHGFROM:
		return edit_sender(s, data, e);
	case SMFIR_QUARANTINE:
		edit_quarantine(s, data);
		return MEDIT_OK;
	default:
		return edit_header(s, cmd, data, e);
	}
}

/* ---- for the owner ---- */

void
milter_edits_finish(struct milter_run *r)
{
	struct milter_edits *ed = &r->edits;
	if (ed->header_changed) {
		buf_fini(&r->header_out);
		buf_init(&r->header_out, HEADER_OUT_MAX);
		headers_write(&r->headers, &r->header_out);
		ed->header = buf_span(&r->header_out);
	}
	if (ed->body_changed) {
		ed->body_fd = r->body.fd;
		ed->body_at = r->body.at;
		ed->body_len = r->body.len;
		ed->body = r->body.fd < 0 ? buf_span(&r->body.mem) : SPAN_EMPTY;
	}
	ed->rcpts = r->rcpts;
	ed->nrcpts = r->nrcpts;
}

void
milter_edits_end(struct milter_run *r)
{
	milter_edit_forget(r);
	body_fini(&r->body);
	buf_fini(&r->header_out);
	mem_free(&r->rcpts);
	r->nrcpts = r->rcpts_cap = 0;
	r->edits = (struct milter_edits){ .body_fd = -1 };
	r->spill_fd = -1;
	r->spill_end = 0;
	r->wants_file = r->has_file_failed = false;
}

static struct milter_slot *
who_waits(struct milter_run *r)
{
	for (size_t i = 0; i < r->nslots; i++)
		if (r->slots[i].link != NULL && r->slots[i].link->conn.paused && r->slots[i].content == MCON_EDITS)
			return &r->slots[i];
	return NULL;
}

void
milter_run_spill(struct milter_run *r, int fd)
{
	struct milter_slot *s = who_waits(r);
	off_t at = lseek(fd, 0, SEEK_CUR);
	r->spill_fd = fd;
	r->spill_end = at > 0 ? (uint64_t)at : 0;
	r->wants_file = false;
	if (s == NULL)
		return;
	if (!flush_body(r))
		r->has_file_failed = true;
	milter_slot_go_on(s);
}

void
milter_run_fail(struct milter_run *r, const char *why)
{
	struct milter_slot *s = who_waits(r);
	(void)why;
	r->has_file_failed = true;
	r->wants_file = false;
	if (s != NULL)
		milter_slot_go_on(s);
}
