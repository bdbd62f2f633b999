/* SPDX-License-Identifier: BSD-2-Clause */
#include "filters/milter_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"

#include <errno.h>

/* As long what ended waits for what begins next, so that one write tells of both. */
enum { QUIT_AFTER = 100 * 1000, ABORT_AFTER = QUIT_AFTER };
enum { LINK_MAGIC = 0x3117e411, OUT_MAX = 4 * 1024 * 1024, SYMLIST_MAX = 64 * 1024, STUCK = 4096, LOST_IDLE_MAX = 3 };

static struct list servers = { &servers, &servers };

static const struct log_ctx log_smtpd = { .service = "smtpd" };

/* ---- the breaker ---- */

static void probe_start(struct timer *t);

/* What cannot even be connected to is probed by us; what fails later can only be probed by a message. */
static bool
is_probed_here(const struct milter_server *s)
{
	return s->breaker.stage <= MFAR_OPTIONS;
}

bool
milter_server_try(struct milter_server *s)
{
	if (!s->breaker.is_open)
		return true;
	if (!is_probed_here(s))
		return breaker_try(&s->breaker, loop_now());
	s->breaker.skipped++;
	return false;
}

void
milter_server_failed(struct milter_server *s, unsigned stage, const char *why)
{
	s->faults++;
	metric_add(M_milter_faults, 1);
	if (breaker_failed(&s->breaker, stage, why, loop_now())) {
		metric_add(M_milter_paused, 1);
		LOG(milter_paused, &log_smtpd, F_STR(name, s->name), F_NUM(count, s->breaker.failures), F_STR(reason, why));
	}
	if (s->breaker.is_open && is_probed_here(s) && s->probe == NULL && !s->prober.armed) {
		timer_init(&s->prober, probe_start);
		timer_set(&s->prober, s->breaker.pause);
	}
}

void
milter_server_worked(struct milter_server *s, unsigned stage)
{
	if (!breaker_worked(&s->breaker, stage))
		return;
	metric_add(M_milter_paused, -1);
	timer_clear(&s->prober);
	LOG(milter_back, &log_smtpd, F_STR(name, s->name), F_NUM(count, s->breaker.skipped));
}

/* ---- links ---- */

static void
dig_link(struct grave *g)
{
	struct milter_link *l = container_of(g, struct milter_link, grave);
	mem_poison(l, sizeof *l);
	mem_free(&l);
}

static void
link_end(struct milter_link *l)
{
	CHECK(l, LINK_MAGIC);
	struct milter_server *s = l->server;
	if (s->probe == l)
		s->probe = NULL;
	dial_fini(&l->dial);
	conn_close(&l->conn);
	if (list_linked(&l->link)) {
		list_remove(&l->link);
		s->nidle--;
	}
	s->nlinks--;
	metric_add(M_milter_connections, -1);
	for (size_t i = 0; i < MW_STAGES; i++)
		milter_names_fini(&l->symlist[i]);
	buf_fini(&l->symtext);
	l->server = NULL;
	l->user = NULL;
	loop_bury(&l->grave, dig_link);
	milter_server_unref(&s);
}

bool
milter_link_is_unheard(const struct milter_link *l)
{
	return (l->is_kept && !l->has_heard) || l->is_between;
}

/* The link ends; who has it hears why. Our own probe tells the breaker itself. */
static void
link_failed(struct milter_link *l, const char *why)
{
	struct milter_server *s = l->server;
	struct milter_link_user *user = l->user;
	unsigned far = l->state == MLINK_DIAL ? MFAR_DIAL : MFAR_OPTIONS;
	bool is_stale = milter_link_is_unheard(l);
	bool was_probe = s->probe == l;
	char text[256];
	snprintf(text, sizeof text, "%s", why);
	s->refs++;
	if (is_stale && l->is_kept && !s->has_kept)
		s->lost_idle++;
	link_end(l);
	if (was_probe)
		milter_server_failed(s, far, text);
	if (user != NULL)
		user->failed(user, text, is_stale);
	milter_server_unref(&s);
}

static void
fail_options(struct milter_link *l, const char *why)
{
	char text[256];
	snprintf(text, sizeof text, "milter %s: %s", l->server->name, why);
	link_failed(l, text);
}

/* A connection that nobody uses. */
static void
link_rest(struct milter_link *l)
{
	struct milter_server *s = l->server;
	l->user = NULL;
	l->waits_for = 0;
	l->state = MLINK_IDLE;
	l->owes_quit |= l->stand == MSTAND_END;
	l->stand = MSTAND_START;
	list_prepend(&s->idle, &l->link);
	s->nidle++;
	conn_deadline(&l->conn, l->owes_quit && s->idle_time > QUIT_AFTER ? QUIT_AFTER : s->idle_time);
}

/* That its session is over, when that was not said yet. */
static void
pay_quit(struct milter_link *l)
{
	if (l->owes_quit)
		mw_simple(conn_out(&l->conn), SMFIC_QUIT_NC);
	l->owes_quit = false;
}

static void
pay_abort(struct milter_link *l)
{
	if (!l->owes_abort)
		return;
	mw_simple(conn_out(&l->conn), SMFIC_ABORT);
	conn_deadline(&l->conn, 0); /* what is said with it may want no answer */
	l->owes_abort = false;
}

struct buf *
milter_link_out(struct milter_link *l)
{
	pay_quit(l);
	pay_abort(l);
	return conn_out(&l->conn);
}

void
milter_link_abort(struct milter_link *l)
{
	l->owes_abort = true;
	l->stand = MSTAND_MIDDLE;
	conn_deadline(&l->conn, ABORT_AFTER);
}

static bool
take_options(struct milter_link *l, struct span data)
{
	struct milter_server *s = l->server;
	struct mw_options o;
	char why[160];
	if (mw_options(data, &o) != RC_OK) {
		fail_options(l, "read error in initial handshake");
		return false;
	}
	why[0] = '\0';
	if (o.version > s->version)
		snprintf(why, sizeof why, "protocol version %u conflict with MTA protocol version %u", o.version, s->version);
	else if (o.version < 2)
		snprintf(why, sizeof why, "unexpected protocol version %u", o.version);
	else if ((o.actions & ~(uint32_t)SMFI_CURR_ACTS) != 0)
		snprintf(why, sizeof why, "request mask 0x%x conflict with MTA request mask 0x%lx", o.actions, SMFI_CURR_ACTS);
	if (why[0] != '\0') {
		fail_options(l, why);
		return false;
	}
	if ((o.steps & ~s->steps) != 0 && !s->has_warned) {
		s->has_warned = true;
		log_warn(&log_smtpd, "milter %s: event mask 0x%x includes features not offered in MTA event mask 0x%x", s->name, o.steps, s->steps);
	}
	l->version = o.version;
	l->actions = o.actions;
	/* What older versions do not know is not sent to them. */
	l->steps = (o.steps & SMFI_CURR_PROT) | (o.version < 3 ? SMFIP_NOUNKNOWN : 0) | (o.version < 4 ? SMFIP_NODATA : 0);
	for (size_t i = 0; i < MW_STAGES; i++) {
		if (!o.has_symlist[i] || o.symlist[i].n > SYMLIST_MAX)
			continue;
		l->has_symlist[i] = true;
		/* all texts in one buffer, which does not move: its size is fixed by what has come */
		if (l->symtext.cap == 0)
			(void)buf_reserve(&l->symtext, data.n);
		struct span at = span_of(l->symtext.p + l->symtext.n, o.symlist[i].n);
		buf_put(&l->symtext, o.symlist[i]);
		milter_names_parse(&l->symlist[i], at);
	}
	if (o.has_strange_stage && !s->has_warned) {
		s->has_warned = true;
		log_warn(&log_smtpd, "milter %s: ignoring unknown macro type", s->name);
	}
	return true;
}

static void
on_options(struct milter_link *l, const struct mw_frame *f)
{
	struct milter_server *s = l->server;
	if (f->cmd != SMFIC_OPTNEG) {
		char why[80];
		snprintf(why, sizeof why, "unexpected reply \"%c\" in initial handshake", f->cmd > ' ' && f->cmd < 0x7f ? f->cmd : '?');
		fail_options(l, why);
		return;
	}
	if (!take_options(l, f->data))
		return;
	milter_server_worked(s, MFAR_OPTIONS);
	conn_deadline(&l->conn, 0);
	l->waits_for = 0;
	l->state = MLINK_READY;
	l->stand = MSTAND_START;
	if (s->probe == l)
		s->probe = NULL;
	if (l->user != NULL) {
		l->user->ready(l->user);
		return;
	}
	if (s->keeps && s->nidle < s->idle_max)
		link_rest(l);
	else
		link_end(l);
}

static void
on_input(struct conn *c)
{
	struct milter_link *l = container_of(c, struct milter_link, conn);
	CHECK(l, LINK_MAGIC);
	while (l->server != NULL && !c->paused) {
		struct mw_frame f;
		uint32_t length = 0;
		enum mw_state state = mw_next(conn_input(c), &f, &length);
		if (state == MW_MORE)
			return;
		if (l->state == MLINK_IDLE) {
			link_end(l); /* nothing was asked */
			return;
		}
		if (state == MW_BAD) {
			char why[160];
			snprintf(why, sizeof why, length == 0 ? "bad packet length: %u" : "unreasonable packet length: %u > %u", length, MW_FRAME_MAX);
			fail_options(l, why);
			return;
		}
		if (l->state == MLINK_OPTIONS) {
			conn_consume(c, f.used);
			on_options(l, &f);
			continue;
		}
		if (l->is_kept && !l->has_heard) {
			l->server->has_kept = true;
			l->server->lost_idle = 0;
		}
		l->has_heard = true;
		l->is_between = false;
		struct milter_link_user *user = l->user;
		bool goes_on = user != NULL && user->frame(user, f.cmd, f.data);
		if (l->server == NULL)
			return;
		conn_consume(c, f.used); /* data was the input itself */
		if (l->wants_more && conn_input(c).n == 0)
			conn_ack(c);
		l->wants_more = false;
		if (!goes_on && l->user == NULL && l->state == MLINK_READY) {
			link_end(l);
			return;
		}
		if (!goes_on && c->paused)
			return;
	}
}

static void
on_ended(struct conn *c, enum conn_end why, int err)
{
	struct milter_link *l = container_of(c, struct milter_link, conn);
	CHECK(l, LINK_MAGIC);
	if (l->state == MLINK_IDLE) {
		struct milter_server *s = l->server;
		if (why == CONN_TIMEOUT && l->owes_quit && s->idle_time > QUIT_AFTER) {
			pay_quit(l);
			conn_deadline(c, s->idle_time - QUIT_AFTER);
			return;
		}
		if (why == CONN_TIMEOUT)
			mw_simple(conn_out(c), SMFIC_QUIT);
		else if (!s->has_kept)
			s->lost_idle++;
		link_end(l);
		return;
	}
	if (why == CONN_TIMEOUT && l->owes_abort) {
		pay_abort(l);
		return;
	}
	if (why == CONN_TIMEOUT && l->is_kept && !l->has_heard && l->server->lost_idle < LOST_IDLE_MAX) {
		/* it took SMFIC_QUIT_NC, and cannot do it */
		l->server->lost_idle = LOST_IDLE_MAX;
		log_warn(&log_smtpd, "milter %s does not answer on a connection that served a session before: no more of its connections are kept", l->server->name);
	}
	const char *reason = why == CONN_TIMEOUT ? strerror(ETIMEDOUT) : why == CONN_EOF ? "connection closed" : strerror(err);
	char text[256];
	if (l->state == MLINK_OPTIONS)
		snprintf(text, sizeof text, "can't read SMFIC_OPTNEG reply packet header: %s", reason);
	else if (l->waits_for == 0 || conn_unsent(c) > 0)
		snprintf(text, sizeof text, "error writing command: %s", reason);
	else
		snprintf(text, sizeof text, "can't read %s reply packet header: %s", mw_command_name(l->waits_for), reason);
	fail_options(l, text);
}

static void
on_drained(struct conn *c)
{
	struct milter_link *l = container_of(c, struct milter_link, conn);
	if (l->user != NULL)
		l->user->drained(l->user);
}

static const struct conn_ops link_ops = { .input = on_input, .ended = on_ended, .drained = on_drained };

static void
on_dial(struct op *op)
{
	struct milter_link *l = container_of(op, struct milter_link, dial.op);
	CHECK(l, LINK_MAGIC);
	if (op->rc != RC_OK) {
		char why[320];
		snprintf(why, sizeof why, "connect to Milter service %s: %s", l->server->name, l->dial.why.why);
		link_failed(l, why);
		return;
	}
	conn_init(&l->conn, dial_take(&l->dial), &link_ops, MW_FRAME_MAX + 4, OUT_MAX);
	l->state = MLINK_OPTIONS;
	l->waits_for = SMFIC_OPTNEG;
	struct buf *b = conn_out(&l->conn);
	size_t mark = mw_begin(b, SMFIC_OPTNEG);
	mw_be32(b, l->server->version);
	mw_be32(b, SMFI_CURR_ACTS);
	mw_be32(b, l->server->steps);
	mw_end(b, mark);
	conn_deadline(&l->conn, l->connect_timeout);
}

static struct milter_link *
link_new(struct milter_server *s, struct milter_link_user *user, uint64_t timeout)
{
	struct milter_link *l = mem_zalloc(sizeof *l);
	*l = (struct milter_link){ .magic = LINK_MAGIC, .server = s, .user = user, .conn.fd = -1, .connect_timeout = timeout };
	op_owner_init(&l->ops);
	list_init(&l->link);
	buf_init(&l->symtext, MW_FRAME_MAX);
	s->refs++;
	s->nlinks++;
	metric_add(M_milter_connections, 1);
	dial_init(&l->dial, &l->ops, on_dial);
	dial_start(&l->dial, s->endpoint, timeout);
	return l;
}

struct milter_link *
milter_link_get(struct milter_server *s, struct milter_link_user *user, uint64_t timeout, bool fresh)
{
	if (!fresh && !list_empty(&s->idle)) {
		struct milter_link *l = list_entry(s->idle.next, struct milter_link, link);
		list_remove(&l->link);
		s->nidle--;
		l->state = MLINK_READY;
		l->user = user;
		l->is_kept = true;
		l->has_heard = false;
		conn_deadline(&l->conn, 0);
		metric_add(M_milter_reuses, 1);
		return l;
	}
	return link_new(s, user, timeout);
}

void
milter_link_put(struct milter_link **lp, bool is_clean)
{
	struct milter_link *l = *lp;
	*lp = NULL;
	if (l == NULL)
		return;
	struct milter_server *s = l->server;
	l->user = NULL;
	l->conn.want_drained = false;
	if (l->state != MLINK_READY) {
		link_end(l);
		return;
	}
	bool can_keep = is_clean && s->keeps && l->version >= 6 && l->stand != MSTAND_MIDDLE && s->nidle < s->idle_max && s->lost_idle < LOST_IDLE_MAX &&
	    s->refs > 1 && conn_unsent(&l->conn) <= STUCK && !conn_input_eof(&l->conn) && !l->conn.in_callback && conn_input(&l->conn).n == 0;
	if (can_keep) {
		link_rest(l);
		return;
	}
	pay_abort(l);
	mw_simple(conn_out(&l->conn), SMFIC_QUIT);
	l->conn.is_parting = true;
	link_end(l);
}

void
milter_link_drop(struct milter_link **lp)
{
	struct milter_link *l = *lp;
	*lp = NULL;
	if (l == NULL)
		return;
	l->user = NULL;
	l->conn.broken = true; /* what was not sent is not worth a try */
	link_end(l);
}

/* ---- servers ---- */

static void
probe_start(struct timer *t)
{
	struct milter_server *s = container_of(t, struct milter_server, prober);
	if (s->probe != NULL || !s->breaker.is_open)
		return;
	s->probe = link_new(s, NULL, s->connect_timeout);
}

static bool
same_endpoint(const struct endpoint *a, const struct endpoint *b)
{
	if ((a->path != NULL) != (b->path != NULL) || a->naddrs != b->naddrs || (a->path != NULL && strcmp(a->path, b->path) != 0))
		return false;
	for (unsigned i = 0; i < a->naddrs; i++)
		if (a->lens[i] != b->lens[i] || memcmp(&a->addrs[i], &b->addrs[i], a->lens[i]) != 0)
			return false;
	return true;
}

static void
server_free(struct milter_server *s)
{
	list_remove(&s->link);
	timer_clear(&s->prober);
	if (s->breaker.is_open)
		metric_add(M_milter_paused, -1);
	endpoint_free(&s->endpoint);
	mem_free(&s->name);
	mem_free(&s);
}

struct milter_server *
milter_server_get(struct milter_server *new)
{
	list_init(&new->idle);
	list_init(&new->link);
	list_each (it, &servers) {
		struct milter_server *s = list_entry(it, struct milter_server, link);
		if (strcmp(s->name, new->name) != 0 || s->version != new->version || s->steps != new->steps || !same_endpoint(s->endpoint, new->endpoint))
			continue;
		/* what a new configuration says about it counts from now on */
		s->keeps = new->keeps;
		s->idle_time = new->idle_time;
		s->idle_max = new->idle_max;
		s->connect_timeout = new->connect_timeout;
		s->breaker.limit = new->breaker.limit;
		s->breaker.pause = new->breaker.pause;
		s->refs++;
		server_free(new);
		return s;
	}
	new->refs = 1;
	list_append(&servers, &new->link);
	return new;
}

/* Each set that names it holds one, and each connection. With the last set the idle ones go. */
void
milter_server_unref(struct milter_server **sp)
{
	struct milter_server *s = *sp;
	*sp = NULL;
	if (s == NULL)
		return;
	BUG_ON(s->refs == 0);
	s->refs--;
	if (s->refs == 0) {
		server_free(s);
		return;
	}
	size_t resting = s->nidle + (s->probe != NULL ? 1 : 0);
	if (s->refs != resting || resting == 0)
		return;
	s->refs++; /* only these are left: they end, and with them the server */
	while (!list_empty(&s->idle)) {
		struct milter_link *l = list_entry(s->idle.next, struct milter_link, link);
		mw_simple(conn_out(&l->conn), SMFIC_QUIT);
		link_end(l);
	}
	if (s->probe != NULL)
		link_end(s->probe);
	milter_server_unref(&s);
}

/* ---- what people are told ---- */

void
milter_remarks(struct buf *lines)
{
	list_each (it, &servers) {
		const struct milter_server *s = list_entry(it, struct milter_server, link);
		if (!s->breaker.is_open)
			continue;
		buf_printf(lines, "milter %s is out of use since %llu s, its default action applies: ", s->name,
		    (unsigned long long)((loop_now() - s->breaker.since) / USEC_PER_SEC));
		buf_put_safe(lines, span_str(s->breaker.why), 160, false);
		buf_putc(lines, '\n');
	}
}

void
milter_status(struct buf *json)
{
	bool first = true;
	buf_puts(json, "[");
	list_each (it, &servers) {
		const struct milter_server *s = list_entry(it, struct milter_server, link);
		buf_puts(json, first ? "{\"name\":" : ",{\"name\":");
		first = false;
		buf_put_json(json, span_str(s->name), 300);
		buf_printf(json, ",\"connections\":%zu,\"idle\":%zu,\"sessions\":%llu,\"messages\":%llu,\"faults\":%llu,\"paused\":%s", s->nlinks, s->nidle,
		    (unsigned long long)s->sessions, (unsigned long long)s->messages, (unsigned long long)s->faults, s->breaker.is_open ? "true" : "false");
		if (s->breaker.failures > 0) {
			buf_printf(json, ",\"failures\":%u,\"reason\":", s->breaker.failures);
			buf_put_json(json, span_str(s->breaker.why), 160);
		}
		buf_putc(json, '}');
	}
	buf_putc(json, ']');
}
