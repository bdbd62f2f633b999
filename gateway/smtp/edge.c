/* SPDX-License-Identifier: BSD-2-Clause */
#include "smtp/edge.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/rand.h"
#include "filters/milter.h"
#include "ipc/msgs.h"
#include "lookup/lookup.h"
#include "tls/key.h"
#include "policy/ask_queue.h"
#include "rbl/health.h"
#include "sasl/cyrus.h"
#include "smtp/inspect.h"
#include "smtp/session.h"
#include "tls/tickets.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	ACCEPT_BATCH = 8,            /* a turn; more and one process takes all of a burst */
	PATIENCE_USEC = 1000 * 1000, /* for the queue's first word */
	ACCEPT_REST_USEC = 100 * 1000, /* without descriptors even for a refusal */
	DRAIN_GRACE_USEC = 3 * 1000 * 1000, DRAIN_AGAIN_USEC = 500 * 1000, /* well within what the master allows */
	QUEUE_UNSENT_MAX = 64 * 1024 * 1024, /* octets the queue has not taken yet */
	INDEX_SHIFT = 22,            /* process numbers have 22 bits */
};

struct listener {
	struct list link;
	struct watch watch;
	struct timer rest;
	int fd;
	bool is_new;                 /* named since listeners_begin */
	char *name;                  /* of the service */
	const struct edge_service *svc; /* of edge.conf; NULL: none any more */
};

static struct {
	struct edge edge;
	struct child *child;
	struct list listeners;
	unsigned expected;           /* LISTENER frames still to come */
	bool is_told;                /* the queue has said what may be promised */
	bool open;                   /* the queue has said what may be promised, or took too long */
	struct timer patience;
	int reserve;                 /* closed to have one descriptor for a refusal */
	struct timer drain_timer;
	struct timer statistics;
} me = { .reserve = -1 };

/* ---- the channel to the queue ---- */

static enum rc
on_queue_frame(struct ipc_chan *c, struct ipc_frame *f)
{
	struct edge *e = c->owner;
	struct msg_admission m;
	if (f->type == IPC_INSPECT) {
		int fd = f->fd;
		f->fd = -1;
		return inspect_begin(e, f->payload, fd);
	}
	if (f->type != IPC_ADMISSION || msg_admission_get(f->payload, &m) != RC_OK)
		return RC_PERM;
	e->accepting = m.accepting;
	e->holding = m.holding;
	e->free_bytes = m.free_bytes;
	if (e->told != NULL)
		e->told(e);
	return RC_OK;
}

static void
on_queue_down(struct ipc_chan *c)
{
	struct edge *e = c->owner;
	if (e->queue == c) {
		e->queue = NULL;
		policy_set_queue(NULL);
		inspect_end_all(e);
	}
	ipc_chan_free(&c);
}

static const struct ipc_chan_ops queue_ops = { on_queue_frame, on_queue_down };

void
edge_init(struct edge *e, unsigned index)
{
	*e = (struct edge){ .accepting = true, .holding = true, .free_bytes = UINT64_MAX };
	e->serial = (uint32_t)index << INDEX_SHIFT | ((uint32_t)getpid() & ((1u << INDEX_SHIFT) - 1));
	e->session_id = rand_u64();
	list_init(&e->sessions);
	list_init(&e->inspections);
	limits_init(&e->limits, index);
}

void
edge_set_queue(struct edge *e, unsigned index, int fd)
{
	struct ipc_chan *old = e->queue;
	e->queue = NULL;
	policy_set_queue(NULL);
	inspect_end_all(e); /* nobody waits for their answers */
	e->queue_generation++;
	ipc_chan_free(&old);
	e->accepting = e->holding = true; /* until it says otherwise */
	e->free_bytes = UINT64_MAX;
	e->queue = ipc_chan_new(fd, ROLE_EDGE, ROLE_QUEUE, index, &queue_ops, e);
	policy_set_queue(e->queue);
}

void
edge_drop_draft(struct edge *e, uint64_t draft, uint64_t call)
{
	if (e->queue == NULL)
		return;
	struct buf *b = ipc_begin(e->queue, IPC_DRAFT_DROP, 0);
	buf_put_u64(b, draft);
	buf_put_u64(b, call);
	ipc_end(e->queue);
}

bool
edge_queue_is_up(const struct edge *e)
{
	return e->queue != NULL && ipc_unsent(e->queue) < QUEUE_UNSENT_MAX;
}

/* ---- accepting ---- */

/* Nothing of a listener: it would listen on when that is closed. */
static void
refill_reserve(void)
{
	if (me.reserve < 0)
		me.reserve = eventfd(0, EFD_CLOEXEC);
}

/* A refusal without a session: there is no room for one. */
static void
turn_away(struct listener *l, int fd)
{
	struct buf b;
	buf_init(&b, 1024);
	const struct reply_args args = { .myhostname = l->svc != NULL ? l->svc->p->p_myhostname : "" };
	reply_write(&b, REPLY_BUSY, 0, &args);
	buf_puts(&b, "\r\n");
	if (l->svc == NULL || !l->svc->p->p_smtpd_tls_wrappermode) /* it would not be understood */
		(void)!send(fd, b.p + b.at, buf_len(&b), MSG_NOSIGNAL | MSG_DONTWAIT);
	buf_fini(&b);
	close(fd);
	metric_add(M_smtpd_session_limit, 1);
}

/* Out of descriptors: the reserve is given up for one client, so that it hears why. */
static void
without_descriptor(struct listener *l)
{
	if (me.reserve >= 0) {
		close(me.reserve);
		me.reserve = -1;
		int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd >= 0)
			turn_away(l, fd);
		refill_reserve();
		if (me.reserve >= 0)
			return;
	}
	watch_want(&l->watch, 0); /* a listener that is ready and cannot be served would spin */
	timer_set(&l->rest, ACCEPT_REST_USEC);
}

static void
on_rested(struct timer *t)
{
	struct listener *l = container_of(t, struct listener, rest);
	refill_reserve();
	watch_want(&l->watch, EV_READ);
}

static void
welcome(struct listener *l, int fd, const struct sockaddr *peer)
{
	struct sockaddr_storage local;
	socklen_t len = sizeof local;
	int64_t limit = l->svc != NULL ? l->svc->p->p_edge_session_limit : 0;
	if (me.edge.nsessions >= (uint64_t)limit) {
		turn_away(l, fd);
		return;
	}
	bool known = getsockname(fd, (struct sockaddr *)&local, &len) == 0;
	sess_begin(&me.edge, l->svc, fd, peer, known ? (struct sockaddr *)&local : NULL);
}

static void
on_accept(struct watch *w, short what)
{
	(void)what;
	struct listener *l = container_of(w, struct listener, watch);
	for (int i = 0; i < ACCEPT_BATCH; i++) {
		struct sockaddr_storage peer;
		socklen_t len = sizeof peer;
		int fd = accept4(l->fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0) {
			welcome(l, fd, (struct sockaddr *)&peer);
			continue;
		}
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
			without_descriptor(l);
		if (errno != EINTR && errno != ECONNABORTED)
			return;
	}
}

/* Until the queue has said whether it takes mail, clients wait in the backlog: an answer to MAIL would be a
 * guess. A queue that is away or still recovers is not waited for long. */
static void
open_doors(void)
{
	if (me.open)
		return;
	me.open = true;
	timer_clear(&me.patience);
	list_each(it, &me.listeners)
		watch_want(&list_entry(it, struct listener, link)->watch, EV_READ);
}

static void
on_patience(struct timer *t)
{
	(void)t;
	open_doors();
}

static void
on_told(struct edge *e)
{
	(void)e;
	me.is_told = true;
	if (sasl_is_settled())
		open_doors();
}

/* The mechanisms are known that EHLO will announce. */
static void
on_sasl_settled(void)
{
	if (me.is_told)
		open_doors();
}

/* ---- listeners ---- */

static const struct edge_service *
find_service(const struct edge_conf *ec, const char *name)
{
	for (size_t i = 0; i < ec->n; i++)
		if (ec->services[i] != NULL && strcmp(ec->services[i]->listener->name, name) == 0)
			return ec->services[i];
	return NULL;
}

static void
listener_free(struct listener *l)
{
	watch_clear(&l->watch);
	timer_clear(&l->rest);
	list_remove(&l->link);
	close(l->fd);
	mem_free(&l->name);
	mem_free(&l);
}

static void
drop_old_listeners(void)
{
	list_each(it, &me.listeners) {
		struct listener *l = list_entry(it, struct listener, link);
		if (!l->is_new)
			listener_free(l);
	}
}

static void
edge_listeners_begin(struct child *child, unsigned count)
{
	(void)child;
	list_each(it, &me.listeners)
		list_entry(it, struct listener, link)->is_new = false;
	me.expected = count;
	if (count == 0)
		drop_old_listeners();
}

/* The same socket under another number. The one there is goes on: closed, it would stay in the event mechanism,
 * because the socket itself lives. */
static struct listener *
find_listener(int fd)
{
	struct stat a, b;
	if (fstat(fd, &a) != 0)
		return NULL;
	list_each(it, &me.listeners) {
		struct listener *l = list_entry(it, struct listener, link);
		if (!l->is_new && fstat(l->fd, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino)
			return l;
	}
	return NULL;
}

static void
name_listener(struct listener *l, struct span service_name)
{
	l->is_new = true;
	l->name = mem_zalloc(service_name.n + 1);
	memcpy(l->name, service_name.p, service_name.n);
	l->svc = find_service(me.edge.conf, l->name);
}

static void
one_more(void)
{
	if (me.expected > 0 && --me.expected == 0)
		drop_old_listeners();
}

static void
edge_listener(struct child *child, int fd, struct span service_name, unsigned service_row)
{
	(void)service_row; /* a reload may have moved the row: names stay */
	if (child->draining) {
		close(fd);
		return;
	}
	struct listener *l = find_listener(fd);
	if (l != NULL) {
		close(fd);
		mem_free(&l->name);
		name_listener(l, service_name);
		one_more();
		return;
	}
	l = mem_zalloc(sizeof *l);
	int on = 1;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* accepted sockets inherit it */
	l->fd = fd;
	name_listener(l, service_name);
	list_init(&l->link);
	list_append(&me.listeners, &l->link);
	timer_init(&l->rest, on_rested);
	watch_init(&l->watch, fd, on_accept);
	if (me.open)
		watch_want(&l->watch, EV_READ);
	refill_reserve();
	one_more();
}

/* ---- the role ---- */

static enum rc
edge_start(struct child *child, struct err *e)
{
	me.child = child;
	list_init(&me.listeners);
	edge_init(&me.edge, child->index);
	enum rc rc = dns_open_conf(child->conf, e);
	return rc != RC_OK ? rc : edge_conf_open(child->conf, &me.edge.conf, e);
}

static void
on_statistics(struct timer *t)
{
	timer_set(t, rate_report(&me.edge.limits, conf_params(me.edge.conf->conf)));
}

static enum rc
edge_ready(struct child *child, struct err *e)
{
	(void)child, (void)e;
	me.edge.told = on_told;
	sasl_when_settled(on_sasl_settled);
	edge_conf_use_lists(me.edge.conf);
	timer_init(&me.patience, on_patience);
	timer_set(&me.patience, PATIENCE_USEC);
	timer_init(&me.statistics, on_statistics);
	timer_set(&me.statistics, 0);
	return RC_OK;
}

static enum rc
edge_reload(struct child *child, struct conf *new_conf, struct err *e)
{
	(void)child;
	struct edge_conf *ec = NULL;
	enum rc rc = edge_conf_open(new_conf, &ec, e);
	if (rc == RC_OK)
		rc = dns_open_conf(new_conf, e);
	if (rc != RC_OK) {
		edge_conf_unref(&ec);
		return rc;
	}
	struct edge_conf *old = me.edge.conf;
	me.edge.conf = ec;
	list_each(it, &me.listeners) {
		struct listener *l = list_entry(it, struct listener, link);
		l->svc = find_service(ec, l->name);
	}
	edge_conf_unref(&old);
	edge_conf_use_lists(ec);
	return RC_OK;
}

static void
edge_peer(struct child *child, enum role peer, unsigned index, int fd)
{
	if (peer == ROLE_QUEUE)
		edge_set_queue(&me.edge, index, fd);
	else if (peer == ROLE_LOOKUP)
		lookup_peer(child, index, fd);
	else if (peer == ROLE_KEYS)
		tls_keys_peer(fd);
	else if (peer == ROLE_AUTH)
		cyrus_peer(child, index, fd);
	else
		close(fd);
}

static void
edge_limits(struct child *child, int fd)
{
	struct err e;
	if (limits_attach(&me.edge.limits, fd, child->index, &e) != RC_OK)
		log_warn(NULL, "client limits: %s: this process counts for itself", e.why);
}

static void
edge_status(struct child *child, struct buf *out)
{
	(void)child;
	buf_printf(out, "\"sessions\":%zu,\"queue_channel\":%s,\"accepting\":%s,\"listening\":[", me.edge.nsessions,
	    me.edge.queue != NULL ? "true" : "false", me.edge.accepting ? "true" : "false");
	bool first = true;
	list_each(it, &me.listeners) {
		struct listener *l = list_entry(it, struct listener, link);
		buf_printf(out, "%s\"%s\"", first ? "" : ",", l->name);
		first = false;
	}
	buf_puts(out, "],");
	rbl_health_json(out);
	buf_puts(out, ",\"milters\":");
	milter_status(out);
}

static void
edge_remarks(struct child *child, struct buf *out)
{
	(void)child;
	rbl_health_text(out);
	milter_remarks(out);
}

static void
on_idle(struct edge *e)
{
	(void)e;
	child_exit(me.child);
}

/* Transactions had their time: who is still between two commands, or sends on, hears 421. Asked again until the
 * last commit is answered. */
static void
on_drain_timer(struct timer *t)
{
	edge_drain_sessions(&me.edge, true);
	timer_set(t, DRAIN_AGAIN_USEC);
}

static void
edge_drain(struct child *child)
{
	(void)child;
	list_each(it, &me.listeners)
		listener_free(list_entry(it, struct listener, link));
	if (me.edge.nsessions == 0) {
		child_exit(me.child);
		return;
	}
	me.edge.idle = on_idle;
	edge_drain_sessions(&me.edge, false);
	timer_init(&me.drain_timer, on_drain_timer);
	timer_set(&me.drain_timer, DRAIN_GRACE_USEC);
}

void
edge_drain_sessions(struct edge *e, bool at_once)
{
	e->draining = true;
	list_each(it, &e->sessions)
		sess_drain(list_entry(it, struct sess, link), at_once);
}

const struct role_ops edge_role = {
	.role = ROLE_EDGE,
	.start = edge_start,
	.ready = edge_ready,
	.reload = edge_reload,
	.peer = edge_peer,
	.listeners_begin = edge_listeners_begin,
	.listener = edge_listener,
	.limits = edge_limits,
	.tickets = tickets_told,
	.status = edge_status,
	.remarks = edge_remarks,
	.drain = edge_drain,
};
