/* SPDX-License-Identifier: BSD-2-Clause */
#include "smtp/inspect.h"

#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "filters/milter.h"
#include "ipc/msgs.h"
#include "msg/addr.h"
#include "smtp/line.h"
#include "smtp/milter_envelope.h"

#include <errno.h>
#include <unistd.h>

enum { INSPECT_MAGIC = 0x105bec70, HEADER_MAX = 512 * 1024, TEXTS_MAX = 2 * IPC_FRAME_MAX, RCPTS_MAX = 256 * 1024, TEXT_MAX = 1024, READ_MAX = 64 * 1024 };
enum stage { AT_CONNECT = 0, AT_HELO, AT_MAIL, AT_RCPT, AT_DATA, AT_MESSAGE, AT_END };

struct inspection {
	unsigned magic;
	struct list link;            /* in edge->inspections */
	struct edge *edge;
	struct edge_conf *conf;      /* a reference: the milters are its */
	struct milter_run *run;
	struct op_owner ops;
	struct arena arena;          /* the texts of m */
	struct msg_inspect m;
	int fd;
	struct buf header, scratch;
	uint64_t body_at, body_len;  /* in fd */
	enum stage stage;
	struct span rcpt;            /* the one being said */
	struct grave grave;
};

/* ---- what the milters may know ---- */

static struct span
macro(void *owner, struct span name)
{
	struct inspection *in = owner;
	const struct params *p = conf_params(in->conf->conf);
	const struct {
		const char *name;
		struct span value;
	} values[] = {
		{ "i", in->m.qid }, { "j", span_str(p->p_myhostname) }, { "v", span_str(p->p_milter_macro_v) }, { "_", SPAN("localhost [127.0.0.1]") },
		{ "{daemon_name}", span_str(p->p_milter_macro_daemon_name) }, { "{daemon_addr}", SPAN("127.0.0.1") }, { "{client_addr}", SPAN("127.0.0.1") }, { "{client_name}", SPAN("localhost") },
		{ "{client_ptr}", SPAN("localhost") }, { "{client_port}", SPAN("0") }, { "{client_resolve}", SPAN("OK") },
		{ "{mail_addr}", in->m.sender }, { "{rcpt_addr}", in->rcpt },
	};
	for (size_t i = 0; i < NELEMS(values); i++)
		if (span_eq_str(name, values[i].name))
			return values[i].value;
	return SPAN_EMPTY;
}

static const struct milter_run_ops run_ops = { .macro = macro };

/* At most max octets of the descriptor from pos on. */
static enum rc
read_at(const struct inspection *in, uint64_t pos, size_t max, struct buf *out)
{
	unsigned char *p = buf_reserve(out, max);
	if (p == NULL)
		return RC_TEMP;
	for (;;) {
		ssize_t n = pread(in->fd, p, max, (off_t)pos);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n == 0 ? RC_NONE : RC_TEMP;
		buf_commit(out, (size_t)n);
		return RC_OK;
	}
}

static enum rc
read_body(void *owner, uint64_t pos, size_t max, struct buf *out)
{
	struct inspection *in = owner;
	buf_reset(out);
	if (pos >= in->body_len)
		return RC_NONE;
	uint64_t left = in->body_len - pos;
	if (max > READ_MAX)
		max = READ_MAX;
	enum rc rc = read_at(in, in->body_at + pos, left < max ? (size_t)left : max, out);
	return rc == RC_NONE ? RC_TEMP : rc; /* shorter than was said */
}

static bool
is_complete(void *owner, uint64_t *len_out)
{
	*len_out = ((struct inspection *)owner)->body_len;
	return true;
}

/* The header, and where the body begins. */
static enum rc
read_header(struct inspection *in, struct err *e)
{
	size_t want = in->m.length < HEADER_MAX ? (size_t)in->m.length : HEADER_MAX;
	while (buf_len(&in->header) < want) {
		enum rc rc = read_at(in, in->m.offset + buf_len(&in->header), want - buf_len(&in->header), &in->header);
		if (rc != RC_OK)
			return err_set(e, RC_TEMP, "the content cannot be read");
	}
	struct span all = buf_span(&in->header);
	size_t end = span_starts(all, SPAN("\r\n")) ? 0 : span_find(all, SPAN("\r\n\r\n"));
	if (end == SIZE_MAX && want < in->m.length)
		return err_set(e, RC_TEMP, "the header is too large");
	size_t n = end == SIZE_MAX ? all.n : end == 0 ? 0 : end + 2;
	uint64_t body = n + (end == SIZE_MAX ? 0 : 2);
	in->body_at = in->m.offset + body;
	in->body_len = in->m.length - body;
	buf_cut(&in->header, n);
	return RC_OK;
}

/* ---- its end ---- */

static void
dig(struct grave *g)
{
	struct inspection *in = container_of(g, struct inspection, grave);
	mem_poison(in, sizeof *in);
	mem_free(&in);
}

static void
end(struct inspection *in)
{
	CHECK(in, INSPECT_MAGIC);
	list_remove(&in->link);
	in->edge->ninspections--;
	milter_run_free(&in->run);
	ops_cancel_all(&in->ops);
	buf_fini(&in->header);
	buf_fini(&in->scratch);
	arena_fini(&in->arena);
	if (in->fd >= 0)
		close(in->fd);
	edge_conf_unref(&in->conf);
	loop_bury(&in->grave, dig);
}

void
inspect_end_all(struct edge *e)
{
	list_each(l, &e->inspections)
		end(list_entry(l, struct inspection, link));
}

static void
answer(struct edge *e, const struct msg_inspected *m, struct span rcpts)
{
	if (e->queue == NULL)
		return;
	struct buf *b = ipc_begin(e->queue, IPC_INSPECTED, 0);
	msg_inspected_put(b, m);
	buf_put(b, rcpts);
	ipc_end(e->queue);
}

/* ---- what came of it ---- */

static void
not_now(struct inspection *in, const char *why)
{
	const struct msg_inspected m = { .number = in->m.number, .outcome = INSPECT_NOT_NOW, .text = span_str(why) };
	answer(in->edge, &m, SPAN_EMPTY);
	end(in);
}

/* ---- what they want changed ---- */

/* A changed message on its way into the descriptor. */
struct rewritten {
	const struct inspection *in;
	struct line_data lines;
	uint64_t at, len;
	struct buf out;              /* of a piece */
};

static bool
put(struct rewritten *w, struct span piece, bool is_last)
{
	buf_reset(&w->out);
	(void)line_data_feed(&w->lines, piece, &w->out);
	if (is_last)
		line_data_finish(&w->lines, &w->out);
	bool ok = !w->out.over && fd_pwrite(w->in->fd, buf_span(&w->out), w->at + w->len) == 0;
	w->len += buf_len(&w->out);
	return ok;
}

static bool
put_all(struct rewritten *w, struct span text)
{
	for (; text.n > READ_MAX; text = span_from(text, READ_MAX))
		if (!put(w, span_head(text, READ_MAX), false))
			return false;
	return put(w, text, true);
}

static bool
put_old_body(struct rewritten *w, struct inspection *in)
{
	struct buf piece;
	uint64_t pos = 0;
	enum rc rc = RC_OK;
	buf_init(&piece, READ_MAX);
	while (rc == RC_OK && pos < in->body_len) {
		rc = read_body(in, pos, READ_MAX, &piece);
		pos += buf_len(&piece);
		if (rc == RC_OK && !put(w, buf_span(&piece), false))
			rc = RC_TEMP;
	}
	buf_fini(&piece);
	return rc == RC_OK && put(w, SPAN_EMPTY, true);
}

/* The whole message with its other header and body: behind the one that is there, where the queue reads it. */
static bool
give_content(struct inspection *in, const struct milter_edits *edits, struct msg_inspected *m)
{
	struct rewritten w = { .in = in, .at = in->m.offset + in->m.length,
		.lines.keep_stray_cr = !conf_params(in->conf->conf)->p_cleanup_replace_stray_cr_lf };
	buf_init(&w.out, LINE_GROWTH(READ_MAX) + 16);
	bool ok = put_all(&w, edits->header_changed ? edits->header : buf_span(&in->header));
	m->flags = w.lines.has_8bit ? MSGF_UTF8_HEADERS : 0;
	ok = ok && put(&w, SPAN("\r\n"), false) && (edits->body_changed ? put_all(&w, edits->body) : put_old_body(&w, in));
	m->content_changed = true;
	m->content_at = w.at;
	m->content_len = w.len;
	m->flags |= (w.lines.has_8bit ? (uint32_t)MSGF_HAS_8BIT : 0) | (w.lines.has_dots ? (uint32_t)MSGF_HAS_DOTS : 0) | (w.lines.has_long ? (uint32_t)MSGF_HAS_LONG : 0);
	buf_fini(&w.out);
	return ok;
}

/* false: the rest of what milters want cannot be had. */
static bool
give_rcpts(const struct milter_addresses *addresses, const struct milter_edits *edits, uint32_t *n, struct buf *out)
{
	for (size_t i = 0; i < edits->nrcpts; i++) {
		struct env_rcpt to;
		enum rc rc = milter_rcpt_of(addresses, &edits->rcpts[i], &to);
		if (rc == RC_NONE)
			continue;
		if (rc != RC_OK || *n == INSPECT_RCPTS_MAX)
			return false;
		const struct msg_inspected_rcpt r = { .is_added = edits->rcpts[i].kind == MILTER_ADD_RCPT, .addr = to.addr, .orig = to.orig, .orcpt = to.orcpt,
			.notify = to.notify };
		msg_inspected_rcpt_put(out, &r);
		(*n)++;
	}
	return !out->over;
}

/* Returns why not, or NULL. rcpts: what follows m. */
static const char *
give_edits(struct inspection *in, const struct milter_edits *edits, struct msg_inspected *m, struct buf *rcpts)
{
	const struct log_ctx ctx = { .qid = in->m.qid };
	const struct milter_addresses addresses = { .p = conf_params(in->conf->conf), .arena = &in->arena, .log = &ctx };
	struct milter_sender to;
	if (edits->header_changed && edits->header.n > HEADER_MAX)
		return "the header that milters made is too large";
	if (in->m.purpose != INSPECT_INTERNAL) {
		m->header_changed = edits->header_changed;
		m->header = m->header_changed ? edits->header : SPAN_EMPTY;
		if (edits->body_changed || edits->sender_changed || edits->nrcpts > 0)
			log_warn(&ctx, "filters may change the header alone of mail that was held: the rest stays");
		return NULL;
	}
	if ((edits->header_changed || edits->body_changed) && !give_content(in, edits, m))
		return "what milters made of the content cannot be handed over";
	if (edits->sender_changed && milter_sender_of(&addresses, edits, &to)) {
		m->sender_changed = true;
		m->sender = to.addr;
		m->envid = to.envid;
		m->ret = to.ret == DSN_RET_FULL ? MSGF_RET_FULL : to.ret == DSN_RET_HDRS ? MSGF_RET_HDRS : 0;
	}
	return give_rcpts(&addresses, edits, &m->nrcpt, rcpts) ? NULL : "milters want more recipients than can be handed over";
}

static void
conclude(struct inspection *in)
{
	const struct milter_verdict *v = milter_run_verdict(in->run);
	struct msg_inspected m = { .number = in->m.number, .outcome = INSPECT_PASS, .milter = span_head(span_str(v->milter), TEXT_MAX) };
	struct buf rcpts;
	buf_init(&rcpts, RCPTS_MAX);
	if (v->kind == MILTER_REFUSE) {
		m.outcome = v->is_fault || v->code / 100 == 4 ? INSPECT_NOT_NOW : INSPECT_REFUSE;
		m.text = span_head(v->reply, span_chr(v->reply, '\n'));
		m.text = span_head(m.text, TEXT_MAX);
	} else if (v->kind == MILTER_DISCARD) {
		m.outcome = INSPECT_DISCARD;
	} else {
		const struct milter_edits *edits = milter_run_edits(in->run);
		m.outcome = edits->quarantine ? INSPECT_HOLD : INSPECT_PASS;
		m.text = span_head(edits->quarantine_reason, TEXT_MAX);
		if (edits->quarantine)
			m.milter = span_head(span_str(edits->quarantine_milter), TEXT_MAX);
		const char *why = give_edits(in, edits, &m, &rcpts);
		if (why != NULL) {
			buf_fini(&rcpts);
			not_now(in, why);
			return;
		}
	}
	answer(in->edge, &m, buf_span(&rcpts));
	buf_fini(&rcpts);
	end(in);
}

/* ---- on its way ---- */

/* As Postfix says it of such mail: without angle brackets. */
static bool
say_address(struct inspection *in, struct span addr, bool (*event)(struct milter_run *, const struct span *, size_t))
{
	buf_reset(&in->scratch);
	addr_write_text(&in->scratch, addr);
	struct span arg = buf_span(&in->scratch);
	return event(in->run, &arg, 1);
}

/* Begins what comes next; true: it has to be waited for. */
static bool
next_event(struct inspection *in)
{
	static const struct ipaddr localhost = { .family = IPADDR_V4, .b = { 127, 0, 0, 1 } };
	switch (in->stage) {
	case AT_CONNECT:
		in->stage = AT_HELO;
		return milter_run_connect(in->run, SPAN("localhost"), &localhost, 0);
	case AT_HELO:
		in->stage = AT_MAIL;
		return milter_run_helo(in->run, SPAN("localhost"));
	case AT_MAIL:
		in->stage = AT_RCPT;
		return say_address(in, in->m.sender, milter_run_mail);
	case AT_RCPT:
		if (in->m.nrcpt > 0) {
			in->m.nrcpt--;
			in->rcpt = cur_block(&in->m.rcpts);
			return say_address(in, in->rcpt, milter_run_rcpt);
		}
		in->stage = AT_DATA;
		return false;
	case AT_DATA:
		in->stage = AT_MESSAGE;
		return milter_run_data(in->run);
	case AT_MESSAGE:
	case AT_END:
		break;
	}
	const struct milter_source src = { .header = buf_span(&in->header), .read = read_body, .is_complete = is_complete };
	in->stage = AT_END;
	milter_run_message(in->run, &src);
	return milter_run_end(in->run);
}

static void
go_on(struct inspection *in)
{
	while (milter_run_verdict(in->run)->kind == MILTER_CONTINUE && in->stage != AT_END)
		if (next_event(in))
			return;
	conclude(in);
}

static void
on_milter(struct op *op)
{
	struct inspection *in = milter_run_owner(op);
	CHECK(in, INSPECT_MAGIC);
	go_on(in);
}

enum rc
inspect_begin(struct edge *e, struct span payload, int fd)
{
	struct inspection *in = mem_zalloc(sizeof *in);
	in->magic = INSPECT_MAGIC;
	in->edge = e;
	in->fd = fd;
	in->conf = edge_conf_ref(e->conf);
	list_init(&in->link);
	list_append(&e->inspections, &in->link);
	e->ninspections++;
	op_owner_init(&in->ops);
	arena_init(&in->arena, TEXTS_MAX);
	buf_init(&in->header, HEADER_MAX);
	buf_init(&in->scratch, 8 * TEXT_MAX);
	/* the frame is borrowed: its texts live on in a copy */
	if (msg_inspect_get(arena_span(&in->arena, payload), &in->m) != RC_OK) {
		end(in);
		return RC_PERM;
	}
	struct milter_set *set = in->m.purpose == INSPECT_AGAIN ? in->conf->milters_again : in->conf->milters_internal;
	struct err err;
	if (e->ninspections > INSPECTIONS_MAX) {
		not_now(in, "too much at once");
	} else if (set == NULL || milter_set_is_empty(set)) {
		not_now(in, "there is no filter for it");
	} else if (read_header(in, &err) != RC_OK) {
		not_now(in, err.why);
	} else {
		in->run = milter_run_new(set, &run_ops, in, &in->ops, on_milter);
		go_on(in);
	}
	return RC_OK;
}
