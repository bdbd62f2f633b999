/* SPDX-License-Identifier: BSD-2-Clause */
/* Looking: what changes nothing (but what check mends). */
#include "queue/quarantine_asking.h"

#include "quarantine/view.h"

#include <errno.h>
#include <unistd.h>

enum { LIST_DEFAULT = 50 /* messages of a list without --limit */, PIECE = 64 * 1024 };

/* ---- list ---- */

static void list_page(struct asking *a);

/* A process that died between a delivery and its record: the queue knows that the copy is not in it any more, only the log what became of it. */
static void
mark_gone(struct asking *a)
{
	for (size_t i = 0; i < a->req.nrows; i++)
		for (uint32_t k = 0; k < a->req.rows[i].nshown; k++) {
			struct quar_rcpt *r = &a->req.rows[i].rcpt[k];
			r->is_gone = r->state == QUAR_RELEASED && r->copy.usec != 0 && spool_find(a->q->spool, &r->copy) == NULL;
		}
}

static void
on_list(struct op *op)
{
	struct asking *a = asking_of_req(op);
	bool json = ask_has(&a->ask, OPT_JSON);
	if (op->rc != RC_OK && op->rc != RC_NONE) {
		asking_end(a, asking_trouble(&a->req));
		return;
	}
	if (op->rc == RC_OK)
		mark_gone(a);
	for (size_t i = 0; op->rc == RC_OK && i < a->req.nrows; i++)
		(json ? view_row_json : view_row)(asking_out(a), &a->req.rows[i]);
	a->done += op->rc == RC_OK ? a->req.nrows : 0;
	a->cursor = op->rc == RC_OK && a->req.more ? a->req.cursor : 0;
	if (a->cursor != 0 && (a->ask.limit == 0 || a->done < a->ask.limit)) {
		asking_go_on(a, list_page);
		return;
	}
	if (json)
		view_list_tail_json(asking_out(a), a->cursor);
	else
		view_list_tail(asking_out(a), a->done, a->cursor);
	asking_end(a, NULL);
}

static void
list_page(struct asking *a)
{
	struct quar_filter f;
	uint64_t left = a->ask.limit == 0 ? ASKING_PAGE : a->ask.limit - a->done;
	ask_filter(&a->ask, left < ASKING_PAGE ? (uint32_t)left : ASKING_PAGE, &f);
	f.after = a->cursor;
	quar_list(a->store, &a->req, &f);
}

void
asking_list(struct asking *a)
{
	if (!ask_has(&a->ask, OPT_LIMIT)) /* scripts want all there is */
		a->ask.limit = ask_has(&a->ask, OPT_JSON) ? 0 : LIST_DEFAULT;
	a->cursor = a->ask.after;
	(void)asking_again(a, &a->req, on_list);
	list_page(a);
}

/* ---- show, export ---- */

static void
on_show_content(struct op *op)
{
	struct asking *a = asking_of_content(op);
	struct buf head;
	buf_init(&head, VIEW_HEADER_MAX);
	uint64_t want = op->rc == RC_OK && a->content.length < VIEW_HEADER_MAX ? a->content.length : VIEW_HEADER_MAX;
	unsigned char *room = op->rc == RC_OK && want > 0 ? buf_reserve(&head, (size_t)want) : NULL;
	ssize_t n = room != NULL ? pread(a->content.fd, room, (size_t)want, 0) : 0;
	if (n > 0)
		buf_commit(&head, (size_t)n);
	struct span header = view_header_of(buf_span(&head));
	(ask_has(&a->ask, OPT_JSON) ? view_message_json : view_message)(asking_out(a), &a->req, header);
	asking_log(a, &a->id, "shown", SPAN_EMPTY, 0);
	asking_end(a, op->rc != RC_OK ? "the content cannot be read" : n < 0 ? strerror(errno) : NULL);
	buf_fini(&head);
}

static void
on_show(struct op *op)
{
	struct asking *a = asking_of_req(op);
	if (op->rc != RC_OK) {
		asking_end(a, asking_trouble(&a->req));
		return;
	}
	mark_gone(a);
	quar_content(a->store, asking_again(a, &a->content, on_show_content), &a->id);
}

void
asking_show(struct asking *a)
{
	quar_show(a->store, asking_again(a, &a->req, on_show), &a->id);
}

static void
more_export(struct asking *a)
{
	while (!answer_is_full(&a->answer)) {
		uint64_t left = a->content.length - a->offset;
		if (left == 0) {
			asking_end(a, NULL);
			return;
		}
		size_t want = left < PIECE ? (size_t)left : PIECE;
		unsigned char *room = buf_reserve(asking_out(a), want);
		ssize_t n = room != NULL ? pread(a->content.fd, room, want, (off_t)a->offset) : -1;
		if (n <= 0) {
			asking_end(a, "the content cannot be read");
			return;
		}
		buf_commit(asking_out(a), (size_t)n);
		a->offset += (uint64_t)n;
	}
	asking_go_on(a, more_export);
}

static void
on_export(struct op *op)
{
	struct asking *a = asking_of_content(op);
	if (op->rc != RC_OK) {
		asking_end(a, asking_trouble(&a->content));
		return;
	}
	asking_log(a, &a->id, "exported", SPAN_EMPTY, 0);
	asking_go_on(a, more_export);
}

void
asking_export(struct asking *a)
{
	quar_content(a->store, asking_again(a, &a->content, on_export), &a->id);
}

/* ---- numbers, check ---- */

static void
on_stats(struct op *op)
{
	struct asking *a = asking_of_req(op);
	if (op->rc != RC_OK) {
		asking_end(a, asking_trouble(&a->req));
		return;
	}
	const char *full = quar_is_full(a->store) ? quar_why_full(a->store) : NULL;
	(ask_has(&a->ask, OPT_JSON) ? view_stats_json : view_stats)(asking_out(a), &a->req, full);
	asking_end(a, NULL);
}

void
asking_stats(struct asking *a)
{
	quar_stats(a->store, asking_again(a, &a->req, on_stats));
}

static void
check_slice(struct asking *a)
{
	quar_check(a->store, &a->req, QUAR_CHECK_SUMS | (ask_has(&a->ask, OPT_REPAIR) ? QUAR_CHECK_REPAIR : 0), a->cursor);
}

/* Somebody may look for the message. */
static void
log_repair(const struct asking *a, const struct quar_finding *f)
{
	struct spool_id id;
	char text[80];
	snprintf(text, sizeof text, "%s, %s", quar_flaw_name(f->flaw), quar_flaw_mend(f->flaw));
	if (spool_id_parse(f->name, &id) == RC_OK)
		asking_log(a, &id, text, SPAN_EMPTY, 0);
}

static void
on_check(struct op *op)
{
	struct asking *a = asking_of_req(op);
	char text[120];
	if (op->rc != RC_OK) {
		asking_end(a, asking_trouble(&a->req));
		return;
	}
	for (size_t i = 0; i < a->req.n; i++) {
		const struct quar_finding *f = &a->req.findings[i];
		view_finding(asking_out(a), f);
		if (f->repaired)
			log_repair(a, f);
		a->flaws++;
		a->failed += !f->repaired;
	}
	a->done += a->req.seen;
	if (a->req.more) {
		a->cursor = a->req.cursor;
		asking_go_on(a, check_slice);
		return;
	}
	if (ask_has(&a->ask, OPT_REPAIR))
		asking_log(a, NULL, "checked and mended", SPAN_EMPTY, 0);
	buf_printf(asking_out(a), "%llu files and rows looked at, %llu flaw%s%s\n", (unsigned long long)a->done, (unsigned long long)a->flaws,
	    a->flaws == 1 ? "" : "s", a->flaws > 0 && a->failed == 0 ? ", mended" : "");
	snprintf(text, sizeof text, "index and files differ in %llu place%s", (unsigned long long)a->failed, a->failed == 1 ? "" : "s");
	asking_end(a, a->failed > 0 ? text : NULL);
}

void
asking_check(struct asking *a)
{
	(void)asking_again(a, &a->req, on_check);
	check_slice(a);
}
