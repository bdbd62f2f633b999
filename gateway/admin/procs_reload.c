/* SPDX-License-Identifier: BSD-2-Clause */
#include "admin/procs_internal.h"

#include "admin/filterprocs.h"
#include "base/mem.h"

struct reload_call {
	struct op_owner ops;
	struct ipc_call call;
	struct procs_reload *reload;
	struct proc *proc;
	struct grave grave;
};

static void
dig_reload_call(struct grave *g)
{
	struct reload_call *rc = container_of(g, struct reload_call, grave);
	mem_free(&rc);
}

static void reload_answered(struct procs_reload *r);

static void
on_reload_answer(struct op *op)
{
	struct reload_call *rcall = container_of(op, struct reload_call, call.op);
	struct procs_reload *r = rcall->reload;
	struct cur rd = cur_of(buf_span(&rcall->call.reply));
	uint8_t rc = cur_u8(&rd);
	struct span why = cur_block(&rd);
	bool is_ok = op->rc == RC_OK && cur_done(&rd) && rc == RC_OK;
	if (op->rc == RC_OK && !is_ok) { /* a role that died meanwhile starts with the new one anyway */
		r->ok = false;
		snprintf(r->why, sizeof r->why, "%s: %.*s", role_name(rcall->proc->role), (int)why.n, (const char *)why.p);
	}
	ipc_call_fini(&rcall->call);
	loop_bury(&rcall->grave, dig_reload_call);
	reload_answered(r);
}

/* Those have to be there before the others get a configuration that needs them. One that is just ending comes back by itself. */
static void
want_optional(struct procs *p)
{
	for (size_t i = 0; i < p->count; i++) {
		struct proc *pr = &p->proc[i];
		if (!procs_is_optional(pr->role) || !procs_wants(p->conf, pr->role))
			continue;
		pr->is_wanted = true;
		if (pr->pid == 0 && !pr->restart.armed)
			proc_spawn(pr);
	}
}

void
procs_trim(struct procs *p)
{
	for (size_t i = 0; i < p->count; i++) {
		struct proc *pr = &p->proc[i];
		if (procs_wants(p->conf, pr->role)) /* all that are not optional */
			continue;
		pr->is_wanted = false;
		timer_clear(&pr->restart);
		if (pr->chan == NULL)
			continue;
		pr->state = PROC_DRAINING;
		ipc_send(pr->chan, IPC_DRAIN, 0, SPAN_EMPTY, -1);
	}
	filterprocs_apply(p);
}

static void
reload_one(struct procs_reload *r, struct proc *pr)
{
	struct procs *p = r->procs;
	if (pr->chan == NULL || pr->state == PROC_DRAINING || !procs_wants(p->conf, pr->role))
		return; /* one that is not needed keeps what it has until all have switched */
	struct reload_call *rcall = mem_zalloc(sizeof *rcall);
	rcall->reload = r;
	rcall->proc = pr;
	op_owner_init(&rcall->ops);
	ipc_call_init(&rcall->call, &rcall->ops, on_reload_answer);
	proc_tell_log(p, pr);
	proc_tell_conf(p, pr, &rcall->call);
	proc_tell_listeners(p, pr);
	r->pending++;
}

/* One that has ended meanwhile starts with the new configuration anyway. */
static void
reload_others(struct procs_reload *r)
{
	r->is_second = true;
	for (size_t i = 0; r->ok && i < r->procs->count; i++)
		if (r->procs->proc[i].role != ROLE_KEYS)
			reload_one(r, &r->procs->proc[i]);
}

static void
reload_answered(struct procs_reload *r)
{
	if (--r->pending > 0)
		return;
	if (!r->is_second) {
		r->pending = 1;
		reload_others(r);
		r->pending--;
	}
	if (r->pending == 0)
		r->done(r);
}

void
procs_reload_go(struct procs *p)
{
	struct procs_reload *r = p->reload_waits;
	if (r == NULL)
		return;
	p->reload_waits = NULL;
	timer_clear(&p->reload_patience);
	reload_one(r, procs_find(p, ROLE_KEYS, 0));
	reload_answered(r);
}

static void
on_reload_patience(struct timer *t)
{
	procs_reload_go(container_of(t, struct procs, reload_patience));
}

void
procs_reload_init(struct procs *p)
{
	timer_init(&p->reload_patience, on_reload_patience);
}

void
procs_reload_start(struct procs *p, struct procs_reload *r)
{
	want_optional(p);
	filterprocs_want(p);
	r->procs = p;
	r->pending = 1;
	r->ok = true;
	r->is_second = false;
	p->reload_waits = r;
	if (filterprocs_coming()) /* edges ask it from the first moment they have this configuration */
		timer_set(&p->reload_patience, FILTERS_PATIENCE);
	else
		procs_reload_go(p);
}
