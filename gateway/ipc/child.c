/* SPDX-License-Identifier: BSD-2-Clause */
#include "ipc/child.h"

#include "base/log.h"
#include "base/metric.h"
#include "ipc/dial.h"
#include "ipc/msgs.h"
#include "ipc/sandbox.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { MASTER_FD = 3, ORPHAN_GRACE_USEC = 5000000, REMARKS_MAX = 64 * 1024 };

static struct child me;
static struct buf steps = { .max = 256 };
static struct timer orphan_timer;
static unsigned listeners_left;
static bool has_failed;           /* to start: it ends with this turn */

void
child_exit(struct child *c)
{
	(void)c;
	loop_stop();
}

static void
answer_rc(struct ipc_chan *c, uint64_t id, enum rc rc, const char *why)
{
	struct buf *b = ipc_answer_begin(c, id);
	buf_put_u8(b, (uint8_t)rc);
	buf_put_block(b, span_str(rc == RC_OK ? "" : why));
	ipc_end(c);
}

static const char *
user_of(const struct params *p)
{
	switch (me.ops->role) {
	case ROLE_EDGE: return p->p_edge_user;
	case ROLE_QUEUE: return p->p_queue_user;
	case ROLE_RELAY: return p->p_relay_user;
	case ROLE_LOOKUP: return p->p_lookup_user;
	case ROLE_KEYS: return p->p_keys_user;
	case ROLE_AUTH: return p->p_auth_user;
	case ROLE_MASTER: break;
	}
	return "";
}

/* Where the role's root will be, and as whom it runs. As an ordinary user nothing changes. */
static enum rc
plan_sandbox(const struct conf *conf, struct sandbox *s, struct buf *spool_dir, struct err *e)
{
	const struct params *p = conf_params(conf);
	*s = (struct sandbox){ .role = me.ops->role, .uid = (uid_t)-1, .gid = (gid_t)-1 };
	buf_printf(spool_dir, "%s/spool", p->p_queue_directory);
	if (me.ops->role == ROLE_QUEUE) {
		s->writable = buf_cstr(spool_dir);
		s->also = p->p_quarantine_directory;
	}
	if (geteuid() != 0)
		return RC_OK;
	if (sandbox_changes_root() && me.ops->role != ROLE_LOOKUP && me.ops->role != ROLE_AUTH) /* those reach files and sockets by their paths */
		s->root = conf_tables_dir(conf);
	return sandbox_user(s, user_of(p), e);
}

static enum rc
begin(struct conf *conf, struct err *e)
{
	struct sandbox box;
	struct buf spool_dir;
	buf_init(&spool_dir, 4096);
	enum rc rc = plan_sandbox(conf, &box, &spool_dir, e);
	if (rc == RC_OK)
		rc = sandbox_lower(&box, e);
	if (rc == RC_OK) {
		me.conf = conf_ref(conf);
		rc = me.ops->start(&me, e);
	}
	if (rc == RC_OK)
		rc = sandbox_enter(&box, &steps, e);
	buf_fini(&spool_dir);
	if (rc != RC_OK)
		return rc;
	me.has_own_root = box.root != NULL;
	if (me.has_own_root)
		conf_set_tables_dir(me.conf, "/");
	rc = me.ops->ready(&me, e);
	if (rc == RC_OK)
		ipc_send(me.master, IPC_READY, 0, SPAN_EMPTY, -1);
	return rc;
}

static enum rc
on_conf(struct ipc_chan *c, struct ipc_frame *f)
{
	struct err e = { .why = "" };
	struct conf *conf = NULL;
	enum rc rc = conf_image_read(f->fd, &conf, &e);
	bool is_first = me.conf == NULL;
	if (rc == RC_OK && (conf_has_secrets(conf, CONF_FOR_LOADER) || me.ops->role == ROLE_AUTH))
		sandbox_hide();
	if (rc == RC_OK && is_first) {
		rc = begin(conf, &e);
	} else if (rc == RC_OK) {
		if (me.has_own_root)
			conf_set_tables_dir(conf, "/");
		rc = me.ops->reload(&me, conf, &e);
		if (rc == RC_OK) {
			conf_unref(&me.conf);
			me.conf = conf_ref(conf);
		}
	}
	answer_rc(c, f->id, rc, e.why);
	conf_unref(&conf);
	if (is_first && rc != RC_OK) {
		has_failed = true;
		log_fatal(NULL, "%s", e.why);
		loop_stop();
	}
	return RC_OK;
}

static enum rc
on_logfd(struct ipc_chan *c, struct ipc_frame *f)
{
	(void)c;
	struct cur rd = cur_of(f->payload);
	uint8_t target = cur_u8(&rd), format = cur_u8(&rd);
	char tag[64];
	struct span t = cur_block(&rd);
	if (!cur_done(&rd) || target > LOG_TO_SYSLOG || format > LOG_JSON)
		return RC_PERM;
	snprintf(tag, sizeof tag, "%.*s", (int)t.n, (const char *)t.p);
	log_open((enum log_target)target, f->fd, (enum log_format)format, tag, role_name(me.ops->role));
	f->fd = -1;
	return RC_OK;
}

static enum rc
on_peer(struct ipc_chan *c, struct ipc_frame *f)
{
	(void)c;
	struct cur rd = cur_of(f->payload);
	uint8_t role = cur_u8(&rd);
	uint32_t index = cur_u32(&rd);
	if (!cur_done(&rd) || me.ops->peer == NULL)
		return RC_PERM;
	me.ops->peer(&me, (enum role)role, index, f->fd);
	f->fd = -1;
	return RC_OK;
}

static enum rc
on_listener(struct ipc_chan *c, struct ipc_frame *f)
{
	(void)c;
	struct cur rd = cur_of(f->payload);
	struct span name = cur_block(&rd);
	uint32_t row = cur_u32(&rd);
	if (!cur_done(&rd) || me.ops->listener == NULL || listeners_left == 0)
		return RC_PERM;
	listeners_left--;
	me.ops->listener(&me, f->fd, name, row);
	f->fd = -1;
	return RC_OK;
}

/* There is no /proc behind a chroot. poll() says of many at once which are none, whatever else they are. */
static int64_t
count_fds(void)
{
	enum { AT_ONCE = 1024, MOST = 65536 };
	struct pollfd p[AT_ONCE];
	long limit = sysconf(_SC_OPEN_MAX);
	int64_t n = 0;
	int most = limit > 0 && limit < MOST ? (int)limit : MOST;
	for (int from = 0, count; from < most; from += count) {
		count = most - from < AT_ONCE ? most - from : AT_ONCE;
		for (int i = 0; i < count; i++)
			p[i] = (struct pollfd){ .fd = from + i };
		while (poll(p, (nfds_t)count, 0) < 0 && errno == EINTR)
			;
		for (int i = 0; i < count; i++)
			n += (p[i].revents & POLLNVAL) == 0;
	}
	return n;
}

static enum rc
on_status(struct ipc_chan *c, struct ipc_frame *f)
{
	struct buf json, remarks;
	buf_init(&json, IPC_FRAME_MAX / 2);
	buf_init(&remarks, REMARKS_MAX);
	buf_printf(&json, "\"pid\":%d,\"sandbox\":\"", (int)getpid());
	buf_put(&json, buf_span(&steps));
	buf_puts(&json, "\"");
	if (me.ops->status != NULL) {
		size_t before = buf_len(&json);
		buf_puts(&json, ",");
		me.ops->status(&me, &json);
		if (buf_len(&json) == before + 1)
			buf_cut(&json, before);
	}
	if (me.ops->remarks != NULL)
		me.ops->remarks(&me, &remarks);
	metric_set(M_fds, count_fds());
	struct buf *b = ipc_answer_begin(c, f->id);
	msg_status_put(b, buf_span(&json), buf_span(&remarks));
	ipc_end(c);
	buf_fini(&json);
	buf_fini(&remarks);
	return RC_OK;
}

static void
start_drain(void)
{
	if (me.draining)
		return;
	me.draining = true;
	if (me.conf == NULL || me.ops->drain == NULL)
		loop_stop();
	else
		me.ops->drain(&me);
}

static enum rc
on_listeners(struct ipc_chan *c, struct ipc_frame *f)
{
	(void)c;
	struct cur rd = cur_of(f->payload);
	listeners_left = cur_u32(&rd);
	if (!cur_done(&rd) || me.ops->listeners_begin == NULL)
		return RC_PERM;
	me.ops->listeners_begin(&me, listeners_left);
	return RC_OK;
}

static enum rc
on_limits(struct ipc_chan *c, struct ipc_frame *f)
{
	(void)c;
	if (me.ops->limits == NULL)
		return RC_PERM;
	me.ops->limits(&me, f->fd);
	f->fd = -1;
	return RC_OK;
}

static enum rc
on_tickets(struct ipc_chan *c, struct ipc_frame *f)
{
	(void)c;
	return me.ops->tickets != NULL ? me.ops->tickets(f->payload) : RC_PERM;
}

static enum rc
on_admin(struct ipc_chan *c, struct ipc_frame *f)
{
	(void)c;
	if (me.ops->admin == NULL)
		return RC_PERM;
	me.ops->admin(&me, f->payload, f->fd);
	f->fd = -1;
	return RC_OK;
}

static enum rc
on_drain(struct ipc_chan *c, struct ipc_frame *f)
{
	(void)c, (void)f;
	start_drain();
	return RC_OK;
}

static enum rc (*const handlers[IPC_TYPES])(struct ipc_chan *, struct ipc_frame *) = {
	[IPC_CONF] = on_conf,
	[IPC_LOGFD] = on_logfd,
	[IPC_LISTENERS] = on_listeners,
	[IPC_LISTENER] = on_listener,
	[IPC_LIMITS] = on_limits,
	[IPC_TICKETS] = on_tickets,
	[IPC_PEER] = on_peer,
	[IPC_STATUS] = on_status,
	[IPC_ADMIN] = on_admin,
	[IPC_DRAIN] = on_drain,
};

static enum rc
on_frame(struct ipc_chan *c, struct ipc_frame *f)
{
	if (has_failed) /* what came behind the configuration finds nothing set up */
		return RC_OK;
	return handlers[f->type] != NULL ? handlers[f->type](c, f) : RC_PERM;
}

static void
on_orphan_timeout(struct timer *t)
{
	(void)t;
	loop_stop();
}

static void
on_master_gone(struct ipc_chan *c)
{
	(void)c;
	log_warn(NULL, "the master is gone: finishing");
	timer_init(&orphan_timer, on_orphan_timeout);
	timer_set(&orphan_timer, ORPHAN_GRACE_USEC);
	start_drain();
}

static const struct ipc_chan_ops master_ops = { on_frame, on_master_gone };

int
child_main(const struct role_ops *ops, unsigned index)
{
	char title[16];
	snprintf(title, sizeof title, "dogana-%s", role_name(ops->role));
	prctl(PR_SET_NAME, title, 0, 0, 0);
	signal(SIGPIPE, SIG_IGN); /* only the master listens to signals: a terminal sends them to all of us */
	signal(SIGTERM, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	loop_init();
	me = (struct child){ .ops = ops, .index = index };
	me.master = ipc_chan_new(MASTER_FD, ops->role, ROLE_MASTER, 0, &master_ops, &me);
	dial_through(me.master);
	loop_run();
	log_flush();
	if (me.ops->end != NULL && me.conf != NULL && !me.ops->end())
		_exit(0);
	ipc_chan_free(&me.master);
	loop_fini();
	log_flush();
	return 0;
}
