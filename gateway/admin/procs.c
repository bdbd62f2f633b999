/* SPDX-License-Identifier: BSD-2-Clause */
#include "admin/procs.h"

#include "admin/filterprocs.h"
#include "admin/procs_internal.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "ipc/dial.h"
#include "map/remote.h"
#include "smtp/limits.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MASTER_FD = 3 };
static const uint64_t RESTART_FIRST = 50 * 1000, RESTART_MOST = 10 * USEC_PER_SEC, HEALTHY_AFTER = 30 * USEC_PER_SEC, ANEW_USEC = 3 * USEC_PER_SEC;
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
procs_is_optional(enum role role)
{
	for (size_t i = 0; i < NELEMS(optional); i++)
		if (optional[i].role == role)
			return true;
	return false;
}

bool
procs_wants(const struct conf *c, enum role role)
{
	for (size_t i = 0; i < NELEMS(optional); i++)
		if (optional[i].role == role)
			return optional[i].is_wanted(c);
	return true;
}

static struct procs *all; /* the child signal has no argument */

static void on_filters_patience(struct timer *t);

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
		proc_spawn(pr);
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

void
proc_spawn(struct proc *pr)
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
	proc_tell_all(all, pr);
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
			proc_tell_listeners(p, &p->proc[i]);
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
		procs_reload_go(p);
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

void
procs_start(struct procs *p, unsigned edges, unsigned relays)
{
	all = p;
	p->count = edges + relays + 1 + NELEMS(optional);
	make_limits(p);
	tickets_begin(&p->tickets, clock_wall());
	p->proc = mem_calloc(p->count, sizeof *p->proc);
	timer_init(&p->filters_patience, on_filters_patience);
	procs_reload_init(p);
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
			proc_spawn(&p->proc[i]);
}

struct proc *
procs_find(struct procs *p, enum role role, unsigned index)
{
	for (size_t i = 0; i < p->count; i++)
		if (p->proc[i].role == role && p->proc[i].index == index)
			return &p->proc[i];
	return NULL;
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
