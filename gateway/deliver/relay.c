/* SPDX-License-Identifier: BSD-2-Clause */
#include "deliver/relay.h"

#include "deliver/delivery.h"
#include "lookup/lookup.h"
#include "tls/key.h"

#include <unistd.h>

enum { DRAIN_USEC = 8 * 1000000 };

/* The role's one object. */
static struct {
	struct child *child;
	struct ipc_chan *queue;      /* NULL until there is one */
	struct relay relay;
	struct timer drain_timer;
	bool draining;
} role;

static enum rc on_frame(struct ipc_chan *c, struct ipc_frame *f);
static void on_down(struct ipc_chan *c);
static const struct ipc_chan_ops queue_ops = { on_frame, on_down };

/* The end of the process. */
static void
leave(void)
{
	outset_unref(&role.relay.dests.set);
	child_exit(role.child);
}

static void
on_drain_over(struct timer *t)
{
	(void)t;
	leave();
}

static void
all_delivered(struct relay *r)
{
	(void)r;
	if (!role.draining)
		return;
	timer_clear(&role.drain_timer);
	leave();
}

/* Also when nothing logs in yet: a reload may change that, and by then there is no file system to load plugins from. */
static void
load_plugins(void)
{
	static const struct log_ctx log = { .service = "smtp" };
	struct err e;
	if (sasl_setup(&log, &e) != RC_OK)
		log_warn(NULL, "%s: nothing can log in", e.why);
}

static void
say_what_is_missing(const struct outset *set)
{
	if (outset_logs_in(set) && sasl_plugins()[0] == '\0')
		log_warn(NULL, "libsasl2 has no mechanism to log in with: its plugins are missing (Debian: libsasl2-modules)");
}

static enum rc
relay_start(struct child *c, struct err *e)
{
	role.child = c;
	role.draining = false;
	role.relay.idle = all_delivered;
	outdests_init(&role.relay.dests);
	list_init(&role.relay.deliveries);
	timer_init(&role.drain_timer, on_drain_over);
	const struct params *p = conf_params(c->conf);
	own_init(&role.relay.own, p->p_inet_interfaces, p->p_proxy_interfaces);
	load_plugins();
	enum rc rc = outset_open(c->conf, &role.relay.dests.set, e);
	say_what_is_missing(role.relay.dests.set);
	return rc != RC_OK ? rc : dns_open_conf(c->conf, e);
}

static enum rc
relay_ready(struct child *c, struct err *e)
{
	(void)c, (void)e;
	return RC_OK;
}

static enum rc
relay_reload(struct child *c, struct conf *new_conf, struct err *e)
{
	(void)c;
	struct outset *set = NULL;
	enum rc rc = outset_open(new_conf, &set, e);
	if (rc == RC_OK)
		rc = dns_open_conf(new_conf, e);
	if (rc != RC_OK) {
		outset_unref(&set);
		return rc;
	}
	outset_unref(&role.relay.dests.set);
	role.relay.dests.set = set;
	say_what_is_missing(set);
	const struct params *p = conf_params(new_conf);
	own_init(&role.relay.own, p->p_inet_interfaces, p->p_proxy_interfaces);
	outdests_rest_over(&role.relay.dests, true);
	return RC_OK;
}

static void
drop_queue(void)
{
	if (role.queue == NULL)
		return;
	deliveries_abort(&role.relay); /* queue starts them anew; results have nowhere to go */
	segments_clear(&role.relay.segments);
	ipc_chan_free(&role.queue);
}

static void
relay_peer(struct child *c, enum role peer, unsigned index, int fd)
{
	if (peer == ROLE_LOOKUP) {
		lookup_peer(c, index, fd);
		return;
	}
	if (peer == ROLE_KEYS) {
		tls_keys_peer(fd);
		return;
	}
	if (peer != ROLE_QUEUE) {
		close(fd);
		return;
	}
	drop_queue();
	role.queue = ipc_chan_new(fd, ROLE_RELAY, ROLE_QUEUE, index, &queue_ops, NULL);
}

static void
on_down(struct ipc_chan *c)
{
	(void)c;
	drop_queue();
}

static enum rc
take_job(struct ipc_chan *c, struct ipc_frame *f)
{
	struct job *j;
	if (role.draining)
		return RC_OK; /* the channel ends with this process: queue gives the job to another */
	enum rc rc = job_begin(&j, f->payload, f->fd, c);
	if (rc != RC_OK)
		return rc;
	f->fd = -1;
	delivery_start(&role.relay, role.child->conf, j);
	return RC_OK;
}

static enum rc
on_frame(struct ipc_chan *c, struct ipc_frame *f)
{
	if (f->type == IPC_JOB)
		return take_job(c, f);
	struct cur rd = cur_of(f->payload);
	uint64_t id = cur_u64(&rd);
	if (!cur_done(&rd))
		return RC_PERM;
	if (f->type == IPC_SEGMENT) {
		segments_put(&role.relay.segments, id, f->fd);
		f->fd = -1;
		return RC_OK;
	}
	if (f->type == IPC_SEGMENT_GONE) {
		segments_drop(&role.relay.segments, id);
		return RC_OK;
	}
	return RC_PERM;
}

static void
relay_status(struct child *c, struct buf *json_out)
{
	(void)c;
	buf_printf(json_out, "\"destinations\":%zu,\"draining\":%s,\"sasl_mechanisms\":\"%s\"", role.relay.dests.count,
	    role.draining ? "true" : "false", sasl_plugins());
}

static void
relay_drain(struct child *c)
{
	(void)c;
	role.draining = true;
	outdests_rest_over(&role.relay.dests, true);
	if (list_empty(&role.relay.deliveries))
		leave();
	else
		timer_set(&role.drain_timer, DRAIN_USEC);
}

const struct role_ops relay_role = {
	.role = ROLE_RELAY,
	.start = relay_start,
	.ready = relay_ready,
	.reload = relay_reload,
	.peer = relay_peer,
	.status = relay_status,
	.drain = relay_drain,
};
