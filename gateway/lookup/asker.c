/* SPDX-License-Identifier: BSD-2-Clause */
/* How edge, queue and relay carry the questions of map/remote.h to the lookup process. */
#include "base/mem.h"
#include "ipc/msgs.h"
#include "lookup/lookup.h"
#include "map/remote.h"

enum { UNSENT_MAX = 4 * 1024 * 1024 };
static const uint64_t GRACE = 2 * 1000000; /* usec: the lookup process keeps the time limit, and says what it waited for */

struct asking {
	struct ipc_call call;
	struct map_question *question;
	const struct ipc_chan *chan; /* only to be compared */
	struct grave grave;
};

static struct {
	struct child *child;
	struct ipc_chan *chan;       /* NULL: no lookup process */
	struct op_owner ops;
} me;

static void
dig_asking(struct grave *g)
{
	struct asking *a = container_of(g, struct asking, grave);
	mem_free(&a);
}

static void
on_answer(struct op *op)
{
	struct asking *a = container_of(op, struct asking, call.op);
	struct msg_found m;
	if (op->rc != RC_OK && a->chan != me.chan)
		map_remote_lost(a->question);
	else if (op->rc != RC_OK)
		map_remote_answer(a->question, RC_TEMP, SPAN("the lookup process does not answer"));
	else if (msg_found_get(buf_span(&a->call.reply), &m) != RC_OK)
		map_remote_answer(a->question, RC_TEMP, SPAN("the lookup process talks nonsense"));
	else
		map_remote_answer(a->question, m.rc, m.text);
	ipc_call_fini(&a->call);
	loop_bury(&a->grave, dig_asking);
}

static bool
carry(struct map_question *q, struct span table, struct span key)
{
	if (me.chan == NULL || ipc_unsent(me.chan) > UNSENT_MAX)
		return false;
	struct asking *a = mem_zalloc(sizeof *a);
	a->question = q;
	a->chan = me.chan;
	ipc_call_init(&a->call, &me.ops, on_answer);
	msg_lookup_put(ipc_call_begin(&a->call, me.chan, IPC_LOOKUP), &(struct msg_lookup){ table, key });
	ipc_call_send(&a->call, conf_params(me.child->conf)->p_lookup_timeout + GRACE);
	return true;
}

/* It answers, it never asks. */
static enum rc
on_frame(struct ipc_chan *c, struct ipc_frame *f)
{
	(void)c, (void)f;
	return RC_PERM;
}

static void
on_down(struct ipc_chan *c)
{
	if (me.chan == c) {
		me.chan = NULL;
		map_remote_carrier(NULL);
	}
	ipc_chan_free(&c);
}

static const struct ipc_chan_ops chan_ops = { on_frame, on_down };

void
lookup_peer(struct child *c, unsigned index, int fd)
{
	struct ipc_chan *old = me.chan;
	if (me.child == NULL)
		op_owner_init(&me.ops);
	me.child = c;
	me.chan = NULL;
	ipc_chan_free(&old);
	me.chan = ipc_chan_new(fd, c->ops->role, ROLE_LOOKUP, index, &chan_ops, NULL);
	map_remote_carrier(carry);
}
