/* SPDX-License-Identifier: BSD-2-Clause */
#include "auth/auth.h"

#include "auth/worker.h"
#include "base/clock.h"
#include "base/htab.h"
#include "base/log.h"
#include "base/mem.h"
#include "sasl/cyrus_files.h"

#include <unistd.h>

enum { AUTH_CONTEXTS_MAX = 2048 }; /* of one edge: what it has under way (cyrus.c) and what waits for clients (SASL_TURNS_MAX) is less */
static const uint64_t AUTH_CONTEXT_USEC = 150 * USEC_PER_SEC, RESTART_USEC = 100 * 1000;

/* An edge process that asks. */
struct asker {
	struct list link;
	struct ipc_chan *chan;       /* NULL: it has gone; the last context takes the rest along */
	unsigned index;
	size_t ncontexts;
	struct grave grave;
};

struct context {
	struct hnode by_id;
	struct asker *asker;
	uint64_t id;                 /* the asker's name for it */
	struct cyrus_login *login;
	bool is_busy;                /* a thread has it */
	bool is_dropped;             /* nobody waits for what comes */
	uint64_t call;               /* to be answered */
	struct job job;
	struct timer timer;          /* the client does not go on */
};

static struct {
	struct child *child;
	struct list askers;
	struct htab contexts;
	size_t ncontexts;
	char *application, *directories;
	struct conf_version versions[16]; /* of APPLICATION.conf in each directory */
	struct timer restart;
} me;

/* ---- contexts ---- */

static uint64_t
hash_of(const struct asker *a, uint64_t id)
{
	return (id ^ (uint64_t)(uintptr_t)a) * UINT64_C(0x9e3779b97f4a7c15);
}

static struct context *
find(const struct asker *a, uint64_t id)
{
	for (struct hnode *n = htab_first(&me.contexts, hash_of(a, id)); n != NULL; n = htab_next(n)) {
		struct context *c = container_of(n, struct context, by_id);
		if (c->asker == a && c->id == id)
			return c;
	}
	return NULL;
}

static void
dig_asker(struct grave *g)
{
	struct asker *a = container_of(g, struct asker, grave);
	mem_free(&a);
}

static void
asker_unused(struct asker *a)
{
	if (a->chan == NULL && a->ncontexts == 0)
		loop_bury(&a->grave, dig_asker);
}

/* Not while a thread has it. */
static void
context_free(struct context *c)
{
	struct asker *a = c->asker;
	timer_clear(&c->timer);
	htab_remove(&me.contexts, &c->by_id);
	cyrus_login_free(&c->login);
	mem_free(&c);
	a->ncontexts--;
	me.ncontexts--;
	asker_unused(a);
	if (me.child->draining && me.ncontexts == 0)
		child_exit(me.child);
}

static void
context_drop(struct context *c)
{
	c->is_dropped = true;
	if (!c->is_busy)
		context_free(c);
}

static void
on_idle(struct timer *t)
{
	context_drop(container_of(t, struct context, timer));
}

static void
answer(struct asker *a, uint64_t call, enum auth_outcome outcome, struct span text, struct span user)
{
	if (a->chan == NULL)
		return;
	msg_auth_said_put(ipc_answer_begin(a->chan, call), &(struct msg_auth_said){ outcome, text, user });
	ipc_end(a->chan);
}

static void
run(struct context *c, uint64_t call, const char *mech, bool has_initial, struct span response)
{
	job_init(&c->job, c->login);
	snprintf(c->job.mech, sizeof c->job.mech, "%s", mech);
	c->job.has_initial = has_initial;
	buf_put(&c->job.response, response);
	(void)buf_cstr(&c->job.response); /* a mechanism may look at the octet behind the end */
	c->call = call;
	c->is_busy = true;
	timer_clear(&c->timer);
	workers_run(&c->job);
}

/* What libsasl2 had to say, a line each. */
static void
write_log(struct cyrus_login *l)
{
	static const struct log_ctx ctx = { .service = "smtpd" };
	struct buf *log = cyrus_login_log(l);
	struct span rest = buf_span(log), line;
	while (span_word(&rest, "\n", &line))
		LOG(warning, &ctx, F_SPAN(text, line));
	buf_reset(log);
}

static void
on_job(struct job *j)
{
	struct context *c = container_of(j, struct context, job);
	c->is_busy = false;
	write_log(c->login);
	bool goes_on = j->outcome == AUTH_GOES_ON;
	if (!c->is_dropped)
		answer(c->asker, c->call, j->outcome, buf_span(&j->text), buf_span(&j->user));
	job_fini(j);
	if (goes_on && !c->is_dropped)
		timer_set(&c->timer, AUTH_CONTEXT_USEC);
	else
		context_free(c);
}

/* ---- what an edge asks ---- */

static enum rc
on_mechs(struct asker *a, struct ipc_frame *f)
{
	struct msg_auth_mechs m;
	struct buf names;
	struct err e = { 0 };
	if (msg_auth_mechs_get(f->payload, &m) != RC_OK)
		return RC_PERM;
	buf_init(&names, 4096);
	enum rc rc = cyrus_server_mechs(&m, &names, &e);
	msg_auth_offer_put(ipc_answer_begin(a->chan, f->id), &(struct msg_auth_offer){ rc, rc == RC_OK ? buf_span(&names) : span_str(e.why) });
	ipc_end(a->chan);
	if (rc != RC_OK)
		log_warn(NULL, "%s", e.why);
	buf_fini(&names);
	return RC_OK;
}

static enum rc
on_begin(struct asker *a, struct ipc_frame *f)
{
	struct msg_auth_begin m;
	struct err e = { 0 };
	char mech[32];
	if (msg_auth_begin_get(f->payload, &m) != RC_OK || find(a, m.context) != NULL)
		return RC_PERM;
	if (a->ncontexts >= AUTH_CONTEXTS_MAX || !workers_are_there()) {
		answer(a, f->id, AUTH_NOT_NOW, SPAN("Too many logins at a time"), SPAN_EMPTY);
		return RC_OK;
	}
	struct cyrus_login *login = cyrus_login_new(&m.of, &e);
	if (login == NULL) {
		log_warn(NULL, "%s", e.why);
		answer(a, f->id, AUTH_NOT_NOW, SPAN("Authentication backend error"), SPAN_EMPTY);
		return RC_OK;
	}
	struct context *c = mem_zalloc(sizeof *c);
	c->asker = a;
	c->id = m.context;
	c->login = login;
	timer_init(&c->timer, on_idle);
	htab_insert(&me.contexts, &c->by_id, hash_of(a, c->id));
	a->ncontexts++;
	me.ncontexts++;
	snprintf(mech, sizeof mech, "%.*s", (int)m.mech.n, (const char *)m.mech.p);
	run(c, f->id, mech, m.has_initial, m.initial);
	return RC_OK;
}

static enum rc
on_step(struct asker *a, struct ipc_frame *f)
{
	struct msg_auth_step m;
	if (msg_auth_step_get(f->payload, &m) != RC_OK)
		return RC_PERM;
	struct context *c = find(a, m.context);
	if (c == NULL || c->is_busy || c->is_dropped)
		answer(a, f->id, AUTH_NOT_NOW, SPAN("Connection lost to authentication server"), SPAN_EMPTY);
	else
		run(c, f->id, "", false, m.response);
	return RC_OK;
}

static enum rc
on_end(struct asker *a, struct ipc_frame *f)
{
	struct cur rd = cur_of(f->payload);
	uint64_t id = cur_u64(&rd);
	if (!cur_done(&rd))
		return RC_PERM;
	struct context *c = find(a, id);
	if (c != NULL && !c->is_dropped)
		context_drop(c);
	return RC_OK;
}

static enum rc
on_frame(struct ipc_chan *chan, struct ipc_frame *f)
{
	struct asker *a = chan->owner;
	if (f->type == IPC_AUTH_MECHS)
		return on_mechs(a, f);
	if (f->type == IPC_AUTH_BEGIN)
		return on_begin(a, f);
	if (f->type == IPC_AUTH_STEP)
		return on_step(a, f);
	return f->type == IPC_AUTH_END ? on_end(a, f) : RC_PERM;
}

static void
on_down(struct ipc_chan *chan)
{
	struct asker *a = chan->owner;
	a->chan = NULL;
	ipc_chan_free(&chan);
	list_remove(&a->link);
	a->ncontexts++; /* it must outlive the walk */
	struct hnode *n = htab_walk(&me.contexts, NULL);
	while (n != NULL) {
		struct context *c = container_of(n, struct context, by_id);
		n = htab_walk(&me.contexts, n);
		if (c->asker == a && !c->is_dropped)
			context_drop(c);
	}
	a->ncontexts--;
	asker_unused(a);
}

static const struct ipc_chan_ops chan_ops = { on_frame, on_down };

/* ---- the role ---- */

static const struct service *
first_service(const struct conf *c)
{
	for (size_t i = 0; i < conf_service_count(c); i++) {
		const struct service *s = conf_service(c, i);
		if (s->kind == SERVICE_LISTENER && s->params->p_smtpd_sasl_auth_enable && span_caseeq_str(span_str(s->params->p_smtpd_sasl_type), "cyrus"))
			return s;
	}
	return NULL;
}

static void
read_versions(struct conf_version v[16])
{
	struct span rest = span_str(me.directories), dir;
	struct buf path;
	memset(v, 0, 16 * sizeof v[0]);
	for (size_t i = 0; i < 16 && span_word(&rest, ":", &dir); i++) {
		buf_init(&path, CYRUS_PATHS_MAX);
		buf_put(&path, dir);
		buf_putc(&path, '/');
		buf_puts(&path, me.application);
		buf_puts(&path, ".conf");
		v[i] = conf_version_now(buf_cstr(&path));
		buf_fini(&path);
	}
}

/* mech_list names what no plugin provides: a package is missing, or it is written wrong. */
static void
look_at_mechs(void)
{
	struct cyrus_settings set;
	struct span word;
	struct buf path, text;
	buf_init(&path, CYRUS_PATHS_MAX);
	buf_init_secret(&text, CYRUS_CONF_MAX);
	if (cyrus_find_conf(me.directories, me.application, &path) && cyrus_conf_read(buf_cstr(&path), &text) == RC_OK) {
		cyrus_settings_parse(buf_span(&text), &set);
		while (span_word(&set.mech_list, " \t,", &word))
			if (!cyrus_server_provides(word))
				log_warn(NULL, "%s: mech_list: no plugin of libsasl2 provides %.*s: it is not offered", buf_cstr(&path), (int)(word.n < 40 ? word.n : 40),
				    (const char *)word.p);
	}
	buf_fini(&path);
	buf_fini(&text);
}

static enum rc
auth_start(struct child *child, struct err *e)
{
	const struct service *s = first_service(child->conf);
	const struct params *p = s != NULL ? s->params : conf_params(child->conf);
	struct buf dirs;
	me.child = child;
	list_init(&me.askers);
	buf_init(&dirs, CYRUS_PATHS_MAX);
	cyrus_directories(child->conf, p, &dirs);
	me.application = mem_strdup(p->p_smtpd_sasl_path);
	me.directories = mem_strdup(buf_cstr(&dirs));
	buf_fini(&dirs);
	read_versions(me.versions);
	enum rc rc = cyrus_server_init(me.application, me.directories, e);
	if (rc == RC_OK)
		look_at_mechs();
	return rc;
}

static enum rc
auth_ready(struct child *child, struct err *e)
{
	(void)child, (void)e;
	workers_start(on_job);
	return RC_OK;
}

static void
on_restart(struct timer *t)
{
	(void)t;
	ipc_send(me.child->master, IPC_ANEW, 0, SPAN_EMPTY, -1);
	child_exit(me.child);
}

/* libsasl2 reads its configuration once in a process: another one needs another process. */
static enum rc
auth_reload(struct child *child, struct conf *new_conf, struct err *e)
{
	(void)child, (void)e;
	const struct service *s = first_service(new_conf);
	struct conf_version now[16];
	struct buf dirs;
	if (s == NULL)
		return RC_OK; /* it will be told to go */
	buf_init(&dirs, CYRUS_PATHS_MAX);
	cyrus_directories(new_conf, s->params, &dirs);
	bool is_same = strcmp(s->params->p_smtpd_sasl_path, me.application) == 0 && strcmp(buf_cstr(&dirs), me.directories) == 0;
	buf_fini(&dirs);
	read_versions(now);
	for (size_t i = 0; i < NELEMS(now); i++)
		is_same &= conf_version_same(&now[i], &me.versions[i]);
	if (!is_same && !me.restart.armed) {
		log_info(NULL, "the configuration of SASL has changed: starting anew");
		timer_init(&me.restart, on_restart);
		timer_set(&me.restart, RESTART_USEC);
	}
	return RC_OK;
}

static void
auth_peer(struct child *child, enum role peer, unsigned index, int fd)
{
	(void)child;
	if (peer != ROLE_EDGE) {
		close(fd);
		return;
	}
	struct asker *a = mem_zalloc(sizeof *a);
	a->index = index;
	list_init(&a->link);
	list_append(&me.askers, &a->link);
	a->chan = ipc_chan_new(fd, ROLE_AUTH, ROLE_EDGE, index, &chan_ops, a);
	a->chan->in.is_secret = a->chan->out.is_secret = true;
}

static void
auth_status(struct child *child, struct buf *out)
{
	(void)child;
	buf_printf(out, "\"logins\":%zu", me.ncontexts);
}

static void
auth_drain(struct child *child)
{
	if (me.ncontexts == 0)
		child_exit(child);
}

const struct role_ops auth_role = {
	.role = ROLE_AUTH,
	.start = auth_start,
	.ready = auth_ready,
	.reload = auth_reload,
	.peer = auth_peer,
	.status = auth_status,
	.drain = auth_drain,
	.end = workers_stop, /* libraries clean up behind main(): not while a thread is in them */
};
