/* SPDX-License-Identifier: BSD-2-Clause */
#include "admin/procs.h"

#include "admin/filterprocs.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "map/remote.h"
#include "ipc/dial.h"
#include "smtp/limits.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MASTER_FD = 3 };
static const uint64_t RESTART_FIRST = 50 * 1000, RESTART_MOST = 10 * USEC_PER_SEC, HEALTHY_AFTER = 30 * USEC_PER_SEC, ANEW_USEC = 3 * USEC_PER_SEC;
static const uint64_t CONF_TIMEOUT = 120 * USEC_PER_SEC;
static const uint64_t FILTERS_PATIENCE = 5 * USEC_PER_SEC; /* for bundled filters to listen, before clients are taken without them */
/* role and how long it may take to finish, in the order in which they stop; ROLE_MASTER stands for the bundled filters */
static const struct {
	enum role role;
	uint64_t usec;
} stop_stages[] = { { ROLE_EDGE, 8 * USEC_PER_SEC }, { ROLE_MASTER, 8 * USEC_PER_SEC }, { ROLE_RELAY, 10 * USEC_PER_SEC }, { ROLE_QUEUE, 10 * USEC_PER_SEC },
	{ ROLE_LOOKUP, 3 * USEC_PER_SEC }, { ROLE_KEYS, 3 * USEC_PER_SEC }, { ROLE_AUTH, 3 * USEC_PER_SEC } };

/* Roles that are there only when the configuration needs them. */
static bool
wants_lookup(const struct conf *c)
{
	return map_remote_tables(c) != NULL;
}

static bool
wants_keys(const struct conf *c)
{
	return conf_has_secrets(c, CONF_FOR_KEYS);
}

static bool
wants_auth(const struct conf *c)
{
	for (size_t i = 0; i < conf_service_count(c); i++) {
		const struct service *s = conf_service(c, i);
		if (s->kind == SERVICE_LISTENER && s->params->p_smtpd_sasl_auth_enable && strcmp(s->params->p_smtpd_sasl_type, "cyrus") == 0)
			return true;
	}
	return false;
}

static const struct optional {
	enum role role;
	bool (*is_wanted)(const struct conf *c);
} optional[] = { { ROLE_LOOKUP, wants_lookup }, { ROLE_KEYS, wants_keys }, { ROLE_AUTH, wants_auth } };

bool
procs_wants(const struct conf *c, enum role role)
{
	for (size_t i = 0; i < NELEMS(optional); i++)
		if (optional[i].role == role)
			return optional[i].is_wanted(c);
	return true;
}

/* Who has a channel to whom. */
static const struct {
	enum role role;
	unsigned others;             /* roles */
	int type;                    /* of the socket */
} pairs[] = {
	{ ROLE_QUEUE, ROLE_EDGE | ROLE_RELAY | ROLE_LOOKUP, SOCK_STREAM },
	{ ROLE_LOOKUP, ROLE_EDGE | ROLE_RELAY, SOCK_STREAM },
	{ ROLE_AUTH, ROLE_EDGE, SOCK_STREAM },
	{ ROLE_KEYS, ROLE_EDGE | ROLE_RELAY, SOCK_SEQPACKET }, /* not an IPC channel: tls/key.h */
};

static struct procs *all; /* the child signal has no argument */

static void spawn(struct proc *pr);
static void on_filters_patience(struct timer *t);
static void on_reload_patience(struct timer *t);
static void reload_go(struct procs *p);

static struct span
u32_span(unsigned char out[4], uint32_t v)
{
	for (int i = 0; i < 4; i++)
		out[i] = (unsigned char)(v >> (8 * i));
	return span_of(out, 4);
}

/* ---- what a role is told ---- */

static void
send_log(struct procs *p, struct proc *pr)
{
	struct buf *b = ipc_begin(pr->chan, IPC_LOGFD, 0);
	buf_put_u8(b, p->log_target);
	buf_put_u8(b, p->log_format);
	buf_put_block(b, span_str(conf_params(p->conf)->p_syslog_name));
	ipc_send_fd(pr->chan, fcntl(p->log_fd, F_DUPFD_CLOEXEC, 3));
}

/* Without it each edge process counts for itself. */
static void
make_limits(struct procs *p)
{
	p->limits = memfd_create("limits", MFD_CLOEXEC);
	if (p->limits >= 0 && ftruncate(p->limits, (off_t)limits_table_size()) == 0)
		return;
	log_warn(NULL, "no memory file for client limits: %s", strerror(errno));
	if (p->limits >= 0)
		close(p->limits);
	p->limits = -1;
}

static void
send_limits(struct procs *p, struct proc *pr)
{
	if (pr->role == ROLE_EDGE && p->limits >= 0)
		ipc_send(pr->chan, IPC_LIMITS, 0, SPAN_EMPTY, fcntl(p->limits, F_DUPFD_CLOEXEC, 3));
}

static void
send_tickets(struct procs *p, struct proc *pr)
{
	unsigned char frame[TICKETS_FRAME];
	if (pr->role != ROLE_EDGE)
		return;
	tickets_frame(&p->tickets, clock_wall(), frame);
	ipc_send(pr->chan, IPC_TICKETS, 0, span_of(frame, sizeof frame), -1);
	mem_wipe(frame, sizeof frame);
}

static void
send_listeners(struct procs *p, struct proc *pr)
{
	if (pr->role != ROLE_EDGE || p->filters_awaited)
		return;
	unsigned char n[4];
	ipc_send(pr->chan, IPC_LISTENERS, 0, u32_span(n, (uint32_t)p->listeners->count), -1);
	for (size_t i = 0; i < p->listeners->count; i++) {
		const struct listen_socket *s = &p->listeners->socket[i];
		struct buf *b = ipc_begin(pr->chan, IPC_LISTENER, 0);
		buf_put_block(b, span_str(s->service));
		buf_put_u32(b, s->row);
		ipc_send_fd(pr->chan, fcntl(s->fd, F_DUPFD_CLOEXEC, 3));
	}
}

static void
send_conf(struct procs *p, struct proc *pr)
{
	(void)ipc_call_begin(&pr->conf_call, pr->chan, IPC_CONF);
	/* the descriptor goes with the frame; ipc_call_send would end it without one */
	ipc_call_send_fd(&pr->conf_call, fcntl(images_for(p->images, pr->role), F_DUPFD_CLOEXEC, 3), CONF_TIMEOUT);
}

static void
send_peer(struct proc *pr, enum role role, unsigned index, int fd)
{
	struct buf *b = ipc_begin(pr->chan, IPC_PEER, 0);
	buf_put_u8(b, (uint8_t)role);
	buf_put_u32(b, index);
	ipc_send_fd(pr->chan, fd);
}

/* A channel between two of them, if both live. */
static void
pair(struct proc *a, struct proc *b, int type)
{
	int sv[2];
	if (a == b || a->chan == NULL || b->chan == NULL)
		return;
	if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, sv) != 0) {
		log_error(NULL, "socketpair: %s", strerror(errno));
		return;
	}
	send_peer(a, b->role, b->index, sv[0]);
	send_peer(b, a->role, a->index, sv[1]);
}

static void
connect_to_siblings(struct procs *p, struct proc *pr)
{
	for (size_t i = 0; i < p->count; i++)
		for (size_t k = 0; k < NELEMS(pairs); k++) {
			struct proc *other = &p->proc[i];
			if ((pairs[k].role == pr->role && (pairs[k].others & other->role) != 0) ||
			    (pairs[k].role == other->role && (pairs[k].others & pr->role) != 0))
				pair(pr, other, pairs[k].type);
		}
}

/* ---- life of a process ---- */

static uint64_t
restart_delay(const struct proc *pr)
{
	if (pr->failures <= 1)
		return pr->failures == 0 ? 0 : RESTART_FIRST;
	uint64_t d = RESTART_FIRST << (pr->failures < 10 ? pr->failures : 10);
	return d < RESTART_MOST ? d : RESTART_MOST;
}

static void
on_restart(struct timer *t)
{
	struct proc *pr = container_of(t, struct proc, restart);
	if (pr->is_anew && pr->pid > 0)
		kill(pr->pid, SIGKILL); /* it said that it would go */
	if (!all->stopping && pr->is_wanted && pr->pid == 0)
		spawn(pr);
}

static void
go_down(struct proc *pr)
{
	ops_cancel_all(&pr->ops);
	ipc_call_fini(&pr->conf_call);
	ipc_chan_free(&pr->chan);
}

static void next_stage(struct procs *p);

static void
on_exit_of(struct proc *pr, int status)
{
	bool in_order = WIFEXITED(status) && WEXITSTATUS(status) == 0;
	char reason[64];
	if (WIFSIGNALED(status))
		snprintf(reason, sizeof reason, "killed by signal %d", WTERMSIG(status));
	else
		snprintf(reason, sizeof reason, "exit status %d", WEXITSTATUS(status));
	if (!(in_order && (pr->state == PROC_DRAINING || all->stopping)))
		LOG(child_died, NULL, F_STR(role, role_name(pr->role)), F_NUM(pid, pr->pid), F_STR(reason, reason));
	bool never_worked = pr->state == PROC_STARTING;
	bool lived_long = clock_mono() - pr->started > HEALTHY_AFTER;
	go_down(pr);
	pr->pid = 0;
	pr->state = PROC_DOWN;
	pr->failures = lived_long || (in_order && pr->is_anew) ? 0 : pr->failures + 1;
	pr->is_anew = false;
	if (all->stopping) {
		next_stage(all);
	} else if (never_worked && !all->was_ready && all->failed != NULL) {
		all->failed(all, pr);
	} else if (pr->is_wanted) {
		pr->restarts++;
		timer_set(&pr->restart, restart_delay(pr));
	}
}

static void
on_sigchld(struct sigwatch *s, int signo)
{
	(void)s, (void)signo;
	int status;
	for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
		if (filterprocs_exited(all, pid, status) && all->stopping)
			next_stage(all);
		for (size_t i = 0; i < all->count; i++)
			if (all->proc[i].pid == pid)
				on_exit_of(&all->proc[i], status);
	}
}

static void
on_conf_answer(struct op *op)
{
	struct proc *pr = container_of(op, struct proc, conf_call.op);
	struct cur rd = cur_of(buf_span(&pr->conf_call.reply));
	uint8_t rc = cur_u8(&rd);
	struct span why = cur_block(&rd);
	if (op->rc == RC_OK && cur_done(&rd) && rc == RC_OK)
		return;
	snprintf(pr->last_error, sizeof pr->last_error, "%.*s", (int)why.n, (const char *)why.p);
}

static enum rc
on_frame(struct ipc_chan *c, struct ipc_frame *f)
{
	struct proc *pr = c->owner;
	if (f->type == IPC_DIAL)
		return dial_serve(c, f, all->conf);
	if (f->type == IPC_ANEW) {
		pr->state = PROC_DRAINING;
		pr->is_anew = true;
		timer_set(&pr->restart, ANEW_USEC);
		return RC_OK;
	}
	if (f->type != IPC_READY)
		return RC_PERM;
	if (pr->state == PROC_STARTING)
		pr->state = PROC_READY;
	bool is_all = true;
	for (size_t i = 0; i < all->count; i++)
		is_all &= all->proc[i].state == PROC_READY || !all->proc[i].is_wanted;
	if (is_all && !all->was_ready) {
		all->was_ready = true;
		if (all->all_ready != NULL)
			all->all_ready(all);
	}
	return RC_OK;
}

/* Its channel broke: either it is dying, or it has been taken over and said nonsense. */
static void
on_down(struct ipc_chan *c)
{
	struct proc *pr = c->owner;
	if (pr->pid > 0 && pr->state != PROC_DRAINING)
		kill(pr->pid, SIGKILL);
	pr->chan = NULL;
	ipc_chan_free(&c);
}

static const struct ipc_chan_ops chan_ops = { on_frame, on_down };

NORETURN static void
become(struct proc *pr, int fd)
{
	char index[16];
	snprintf(index, sizeof index, "%u", pr->index);
	char role[16];
	snprintf(role, sizeof role, "%s", role_name(pr->role));
	char name[] = "dogana", word[] = "role";
	char *argv[] = { name, word, role, index, NULL };
	if (fd == MASTER_FD)
		fcntl(fd, F_SETFD, 0);
	else if (dup2(fd, MASTER_FD) < 0)
		_exit(111);
	for (int s = 1; s < NSIG; s++)
		signal(s, SIG_DFL);
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execv(all->program, argv);
	_exit(111);
}

static void
spawn(struct proc *pr)
{
	int sv[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) != 0) {
		log_error(NULL, "socketpair: %s", strerror(errno));
		timer_set(&pr->restart, RESTART_MOST);
		return;
	}
	log_flush(); /* or the child would write our gathered lines again */
	pid_t pid = fork();
	if (pid == 0)
		become(pr, sv[1]);
	close(sv[1]);
	if (pid < 0) {
		log_error(NULL, "fork: %s", strerror(errno));
		close(sv[0]);
		timer_set(&pr->restart, RESTART_MOST);
		return;
	}
	pr->pid = pid;
	pr->started = clock_mono();
	pr->state = PROC_STARTING;
	pr->last_error[0] = '\0';
	pr->chan = ipc_chan_new(sv[0], ROLE_MASTER, pr->role, pr->index, &chan_ops, pr);
	ipc_call_init(&pr->conf_call, &pr->ops, on_conf_answer);
	send_log(all, pr);
	send_conf(all, pr);
	send_limits(all, pr);
	send_tickets(all, pr);
	send_listeners(all, pr);
	connect_to_siblings(all, pr);
}

static void
init_proc(struct proc *pr, enum role role, unsigned index)
{
	pr->role = role;
	pr->index = index;
	pr->is_wanted = true;
	op_owner_init(&pr->ops);
	timer_init(&pr->restart, on_restart);
}

/* ---- bundled filters and the first client ---- */

/* A client that is taken before a filter listens would hear 451: until then it waits in the backlog. */
static void
await_filters(struct procs *p)
{
	p->filters_awaited = !filterprocs_listening();
	if (p->filters_awaited)
		timer_set(&p->filters_patience, FILTERS_PATIENCE);
}

static void
filters_are_there(struct procs *p)
{
	if (!p->filters_awaited)
		return;
	p->filters_awaited = false;
	timer_clear(&p->filters_patience);
	for (size_t i = 0; i < p->count; i++)
		if (p->proc[i].chan != NULL && p->proc[i].state != PROC_DRAINING)
			send_listeners(p, &p->proc[i]);
}

static void
on_filters_patience(struct timer *t)
{
	log_warn(NULL, "a bundled filter does not listen yet: clients are taken without it");
	filters_are_there(container_of(t, struct procs, filters_patience));
}

void
procs_filter_listens(struct procs *p)
{
	if (filterprocs_listening())
		filters_are_there(p);
	if (!filterprocs_coming())
		reload_go(p);
}

void
procs_start(struct procs *p, unsigned edges, unsigned relays)
{
	all = p;
	p->count = edges + relays + 1 + NELEMS(optional);
	make_limits(p);
	tickets_begin(&p->tickets, clock_wall());
	p->proc = mem_calloc(p->count, sizeof *p->proc);
	timer_init(&p->filters_patience, on_filters_patience);
	timer_init(&p->reload_patience, on_reload_patience);
	init_proc(&p->proc[0], ROLE_QUEUE, 0);
	for (unsigned i = 0; i < relays; i++)
		init_proc(&p->proc[1 + i], ROLE_RELAY, i);
	for (unsigned i = 0; i < edges; i++)
		init_proc(&p->proc[1 + relays + i], ROLE_EDGE, i);
	for (unsigned i = 0; i < NELEMS(optional); i++) {
		struct proc *pr = &p->proc[1 + relays + edges + i];
		init_proc(pr, optional[i].role, 0);
		pr->is_wanted = optional[i].is_wanted(p->conf);
	}
	sigwatch_init(&p->child_signal, SIGCHLD, on_sigchld);
	filterprocs_apply(p); /* first, so that they listen when the first client comes */
	await_filters(p);
	for (size_t i = 0; i < p->count; i++)
		if (p->proc[i].is_wanted)
			spawn(&p->proc[i]);
}

struct proc *
procs_find(struct procs *p, enum role role, unsigned index)
{
	for (size_t i = 0; i < p->count; i++)
		if (p->proc[i].role == role && p->proc[i].index == index)
			return &p->proc[i];
	return NULL;
}

/* ---- reload ---- */

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
	for (size_t i = 0; i < NELEMS(optional); i++) {
		struct proc *pr = procs_find(p, optional[i].role, 0);
		if (!optional[i].is_wanted(p->conf))
			continue;
		pr->is_wanted = true;
		if (pr->pid == 0 && !pr->restart.armed)
			spawn(pr);
	}
}

void
procs_trim(struct procs *p)
{
	for (size_t i = 0; i < NELEMS(optional); i++) {
		struct proc *pr = procs_find(p, optional[i].role, 0);
		if (optional[i].is_wanted(p->conf))
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
	send_log(p, pr);
	(void)ipc_call_begin(&rcall->call, pr->chan, IPC_CONF);
	ipc_call_send_fd(&rcall->call, fcntl(images_for(p->images, pr->role), F_DUPFD_CLOEXEC, 3), CONF_TIMEOUT);
	send_listeners(p, pr);
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

static void
reload_go(struct procs *p)
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
	reload_go(container_of(t, struct procs, reload_patience));
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
		reload_go(p);
}

/* ---- stop ---- */

static bool
any_alive(const struct procs *p, enum role role)
{
	if (role == ROLE_MASTER)
		return filterprocs_any();
	for (size_t i = 0; i < p->count; i++)
		if (p->proc[i].pid > 0 && p->proc[i].role == role)
			return true;
	return false;
}

static void
on_stage_timeout(struct timer *t)
{
	struct procs *p = container_of(t, struct procs, stop_timer);
	if (stop_stages[p->stop_stage].role == ROLE_MASTER)
		filterprocs_kill();
	for (size_t i = 0; i < p->count; i++)
		if (p->proc[i].pid > 0 && p->proc[i].role == stop_stages[p->stop_stage].role) {
			log_warn(NULL, "%s pid %d did not finish in time", role_name(p->proc[i].role), (int)p->proc[i].pid);
			kill(p->proc[i].pid, SIGKILL);
		}
}

/* The queue hears it with the relays: it gives them nothing new, waits for what they are at, and does not take
 * their end for a crash. */
static void
drain_stage(struct procs *p)
{
	enum role role = stop_stages[p->stop_stage].role;
	timer_set(&p->stop_timer, stop_stages[p->stop_stage].usec);
	if (role == ROLE_MASTER)
		filterprocs_stop();
	for (size_t i = 0; i < p->count; i++) {
		struct proc *pr = &p->proc[i];
		bool is_meant = pr->role == role || (role == ROLE_RELAY && pr->role == ROLE_QUEUE);
		if (!is_meant || pr->chan == NULL)
			continue;
		pr->state = PROC_DRAINING;
		ipc_send(pr->chan, IPC_DRAIN, 0, SPAN_EMPTY, -1);
	}
}

static void
next_stage(struct procs *p)
{
	while (p->stop_stage < NELEMS(stop_stages) && !any_alive(p, stop_stages[p->stop_stage].role)) {
		if (++p->stop_stage < NELEMS(stop_stages))
			drain_stage(p);
	}
	if (p->stop_stage == NELEMS(stop_stages)) {
		timer_clear(&p->stop_timer);
		p->stop_stage++;
		p->all_gone(p);
	}
}

void
procs_stop(struct procs *p)
{
	if (p->stopping)
		return;
	p->stopping = true;
	timer_clear(&p->filters_patience);
	timer_clear(&p->reload_patience);
	for (size_t i = 0; i < p->count; i++)
		timer_clear(&p->proc[i].restart);
	timer_init(&p->stop_timer, on_stage_timeout);
	p->stop_stage = 0;
	drain_stage(p);
	next_stage(p);
}

void
procs_abort(struct procs *p)
{
	procs_stop(p);
	filterprocs_kill();
	for (size_t i = 0; i < p->count; i++)
		if (p->proc[i].pid > 0)
			kill(p->proc[i].pid, SIGKILL);
}

void
procs_fini(struct procs *p)
{
	for (size_t i = 0; i < p->count; i++)
		go_down(&p->proc[i]);
	mem_free(&p->proc);
	p->count = 0;
	filterprocs_fini();
	if (all != NULL) {
		sigwatch_clear(&p->child_signal);
		if (p->limits >= 0)
			close(p->limits);
	}
	all = NULL;
}
