/* SPDX-License-Identifier: BSD-2-Clause */
#include "smtp/inspect.h"

#include "base/log.h"
#include "base/mem.h"
#include "filters/milter.h"
#include "ipc/msgs.h"
#include "msg/addr.h"

#include <errno.h>
#include <unistd.h>

enum { INSPECT_MAGIC = 0x105bec70, HEADER_MAX = 512 * 1024, TEXTS_MAX = 2 * IPC_FRAME_MAX, TEXT_MAX = 1024, READ_MAX = 64 * 1024 };
enum stage { AT_CONNECT = 0, AT_MAIL, AT_RCPT, AT_DATA, AT_MESSAGE, AT_END };

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
		{ "{daemon_name}", span_str(p->p_milter_macro_daemon_name) }, { "{client_addr}", SPAN("127.0.0.1") }, { "{client_name}", SPAN("localhost") },
		{ "{client_ptr}", SPAN("localhost") }, { "{client_port}", SPAN("0") }, { "{client_resolve}", SPAN("OK") },
		{ "{mail_addr}", in->m.sender }, { "{mail_mailer}", SPAN("local") }, { "{rcpt_addr}", in->rcpt },
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
answer(struct edge *e, const struct msg_inspected *m)
{
	if (e->queue == NULL)
		return;
	msg_inspected_put(ipc_begin(e->queue, IPC_INSPECTED, 0), m);
	ipc_end(e->queue);
}

/* ---- what came of it ---- */

static void
not_now(struct inspection *in, const char *why)
{
	const struct msg_inspected m = { .number = in->m.number, .outcome = INSPECT_NOT_NOW, .text = span_str(why) };
	answer(in->edge, &m);
	end(in);
}

static void
conclude(struct inspection *in)
{
	const struct milter_verdict *v = milter_run_verdict(in->run);
	struct msg_inspected m = { .number = in->m.number, .outcome = INSPECT_PASS, .milter = span_head(span_str(v->milter), TEXT_MAX) };
	struct log_ctx ctx = { .qid = in->m.qid };
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
		if (edits->header_changed && edits->header.n > HEADER_MAX) {
			not_now(in, "the header that milters made is too large");
			return;
		}
		m.header_changed = edits->header_changed;
		m.header = m.header_changed ? edits->header : SPAN_EMPTY;
		if (edits->body_changed || edits->sender_changed || edits->nrcpts > 0)
			log_warn(&ctx, "milters may change the header alone of mail that came from no client: the rest stays");
	}
	answer(in->edge, &m);
	end(in);
}

/* ---- on its way ---- */

static bool
say_address(struct inspection *in, struct span addr, bool (*event)(struct milter_run *, const struct span *, size_t))
{
	buf_reset(&in->scratch);
	buf_putc(&in->scratch, '<');
	addr_write_text(&in->scratch, addr);
	buf_putc(&in->scratch, '>');
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
		in->stage = AT_MAIL;
		return milter_run_connect(in->run, SPAN("localhost"), &localhost, 0);
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
