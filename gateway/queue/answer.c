/* SPDX-License-Identifier: BSD-2-Clause */
#include "queue/answer.h"

#include "base/clock.h"

enum {
	INPUT_MAX = 4096,
	UNSENT_MAX = 256 * 1024,         /* then the reader is waited for */
	OUT_MAX = 256 * 1024 * 1024,     /* a single message with very many recipients */
	WHY_MAX = 500,
};
#define READER_TIMEOUT (300 * USEC_PER_SEC)

static void
on_input(struct conn *c)
{
	conn_consume(c, conn_input(c).n); /* nothing more is asked on this connection */
}

static void
on_ended(struct conn *c, enum conn_end why, int err)
{
	struct answer *a = container_of(c, struct answer, conn);
	(void)err;
	if (why == CONN_EOF) /* the client may close its sending side; a write will tell if it is gone */
		return;
	a->ops->over(a);
}

static void
on_drained(struct conn *c)
{
	struct answer *a = container_of(c, struct answer, conn);
	conn_deadline(c, 0);
	if (a->ended)
		a->ops->over(a);
	else
		a->ops->more(a);
}

static const struct conn_ops conn_ops = { .input = on_input, .ended = on_ended, .drained = on_drained };

void
answer_init(struct answer *a, struct list *all, int fd, const struct answer_ops *ops)
{
	a->ops = ops;
	a->ended = false;
	list_init(&a->link);
	list_append(all, &a->link);
	conn_init(&a->conn, fd, &conn_ops, INPUT_MAX, OUT_MAX);
}

void
answer_fini(struct answer *a)
{
	list_remove(&a->link);
	conn_close(&a->conn);
}

struct buf *
answer_out(struct answer *a)
{
	return conn_out(&a->conn);
}

bool
answer_is_full(const struct answer *a)
{
	return conn_unsent(&a->conn) >= UNSENT_MAX;
}

void
answer_wait(struct answer *a)
{
	conn_deadline(&a->conn, READER_TIMEOUT);
	a->conn.want_drained = true;
	(void)conn_out(&a->conn);
}

void
answer_end(struct answer *a)
{
	a->ended = true;
	answer_wait(a);
}

void
answer_refuse(struct answer *a, const char *why)
{
	struct buf *b = answer_out(a);
	buf_puts(b, "error ");
	buf_put_safe(b, span_str(why), WHY_MAX, true);
	buf_putc(b, '\n');
	answer_end(a);
}

void
answers_fini(struct list *all)
{
	list_each(l, all) {
		struct answer *a = list_entry(l, struct answer, link);
		a->ops->over(a);
	}
}
