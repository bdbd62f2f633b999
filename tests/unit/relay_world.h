/* SPDX-License-Identifier: BSD-2-Clause */
/* relay_world.h - the relay role with a queue that is the test itself, in one process and one loop. */
#ifndef TESTS_RELAY_WORLD_H
#define TESTS_RELAY_WORLD_H

#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"
#include "conf/conf.h"
#include "deliver/relay.h"
#include "ipc/msgs.h"
#include "loop/loop.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { WORLD_RCPTS = 1000, WORLD_JOBS = 64 };

struct world_result {
	int status; /* 0: none yet */
	bool dsn_passed;
	char dsn[16], text[600], mta[80], diag[300];
};

struct world_job {
	bool over;
	enum job_health health;
	char reason[300];
	unsigned frames;
	struct world_result r[WORLD_RCPTS];
};

static struct {
	char dir[64];
	struct conf *conf;
	struct child child;
	struct ipc_chan *queue; /* our end */
	struct world_job *jobs; /* by number - 1 */
	unsigned n_jobs, n_over, wait_for;
	bool exited;
	struct timer guard;
} world;

/* The runtime's: here it only says so. */
void
child_exit(struct child *c)
{
	(void)c;
	world.exited = true;
	loop_stop();
}

static void
world_guard(struct timer *t)
{
	(void)t;
	fprintf(stderr, "nothing happened for 30 seconds\n"); /* not fail_msg: it would jump out of the loop */
	_exit(1);
}

static void
world_copy(char *to, size_t size, struct span s)
{
	size_t n = s.n < size ? s.n : size - 1;
	if (n > 0)
		memcpy(to, s.p, n);
	to[n] = '\0';
}

static enum rc
world_frame(struct ipc_chan *c, struct ipc_frame *f)
{
	struct msg_job_done d;
	(void)c;
	assert_int_equal(f->type, IPC_JOB_DONE);
	assert_int_equal(msg_job_done_get(f->payload, &d), RC_OK);
	assert_true(d.job >= 1 && d.job <= world.n_jobs);
	struct world_job *j = &world.jobs[d.job - 1];
	assert_false(j->over);
	j->frames++;
	for (unsigned i = 0; i < d.nresult; i++) {
		struct rcpt_result r;
		assert_int_equal(msg_result_get(&d.results, &r), RC_OK);
		assert_true(r.index < WORLD_RCPTS);
		struct world_result *w = &j->r[r.index];
		assert_int_equal(w->status, 0); /* each recipient is decided once */
		w->status = (int)r.status;
		w->dsn_passed = r.dsn_passed;
		world_copy(w->dsn, sizeof w->dsn, r.dsn);
		world_copy(w->text, sizeof w->text, r.text);
		world_copy(w->mta, sizeof w->mta, r.mta);
		world_copy(w->diag, sizeof w->diag, r.diag);
	}
	if (!d.last)
		return RC_OK;
	j->over = true;
	j->health = d.health;
	world_copy(j->reason, sizeof j->reason, d.reason);
	world.n_over++;
	if (world.n_over == world.wait_for)
		loop_stop();
	return RC_OK;
}

static void
world_down(struct ipc_chan *c)
{
	(void)c;
	fail_msg("relay closed the channel");
}

static const struct ipc_chan_ops world_ops = { world_frame, world_down };

static void
world_write(const char *name, const char *text)
{
	char path[128];
	snprintf(path, sizeof path, "%s/%s", world.dir, name);
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void
world_run(unsigned jobs_more)
{
	world.wait_for = world.n_over + jobs_more;
	timer_set(&world.guard, 30 * 1000000);
	loop_run();
	timer_clear(&world.guard);
}

static void
world_stop_loop(struct timer *t)
{
	(void)t;
	loop_stop();
}

static void
world_turns(uint64_t usec)
{
	struct timer t;
	timer_init(&t, world_stop_loop);
	timer_set(&t, usec);
	world.wait_for = 0;
	loop_run();
	timer_clear(&t);
}

/* settings: lines for main.cf */
static void
world_start(const char *settings)
{
	int pair[2];
	struct err e = { 0 };
	char main_cf[4096];
	snprintf(world.dir, sizeof world.dir, "/tmp/relay_test.XXXXXX");
	assert_non_null(mkdtemp(world.dir));
	snprintf(main_cf, sizeof main_cf, "myhostname = gw.test\nmydestination =\nmynetworks = 127.0.0.0/8\nrelayhost =\n%s\n", settings);
	world_write("main.cf", main_cf);
	world_write("master.cf", "smtp unix - - n - - smtp\nlmtp unix - - n - - lmtp\n"
	    "slow unix - - n - - smtp\n  -o smtp_connection_cache_on_demand=no -o syslog_name=dogana/slow\n");
	if (conf_load(world.dir, &world.conf, &e) != RC_OK)
		fail_msg("%s", e.why);
	world.child = (struct child){ .ops = &relay_role, .conf = world.conf };
	world.exited = false;
	world.n_jobs = world.n_over = 0;
	world.jobs = calloc(WORLD_JOBS, sizeof *world.jobs);
	timer_init(&world.guard, world_guard);
	if (relay_role.start(&world.child, &e) != RC_OK || relay_role.ready(&world.child, &e) != RC_OK)
		fail_msg("%s", e.why);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	relay_role.peer(&world.child, ROLE_QUEUE, 0, pair[0]);
	world.queue = ipc_chan_new(pair[1], ROLE_QUEUE, ROLE_RELAY, 0, &world_ops, NULL);
}

/* Hangs up, drains, and looks that nothing is left. */
static void
world_end(void)
{
	ipc_chan_free(&world.queue);
	world_turns(20000);
	assert_int_equal(metric_values[M_relay_jobs], 0);
	relay_role.drain(&world.child);
	world_turns(20000);
	assert_true(world.exited);
	assert_int_equal(metric_values[M_relay_sessions], 0);
	assert_int_equal(metric_values[M_op_pending], 0);
	conf_unref(&world.conf);
	free(world.jobs);
	char path[128];
	snprintf(path, sizeof path, "%s/main.cf", world.dir);
	unlink(path);
	snprintf(path, sizeof path, "%s/master.cf", world.dir);
	unlink(path);
	rmdir(world.dir);
}

static int
world_file(struct span content)
{
	int fd = memfd_create("content", MFD_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, content.p, content.n), content.n);
	return fd;
}

/* Offers content as a journal segment, 100 octets into it. */
static UNUSED void
world_segment(uint64_t id, struct span content)
{
	char head[100] = "";
	int fd = world_file(span_of(head, sizeof head));
	assert_int_equal(write(fd, content.p, content.n), content.n);
	struct buf b;
	buf_init(&b, 64);
	buf_put_u64(&b, id);
	ipc_send(world.queue, IPC_SEGMENT, 0, buf_span(&b), fd);
	buf_fini(&b);
}

struct world_send {
	const char *transport, *nexthop, *sender;
	const char *const *rcpts; /* ends with NULL */
	uint64_t segment, length;
	struct span content;      /* segment 0: in a file of its own */
	uint32_t flags;
	uint8_t notify;
	const char *orcpt, *envid, *forward;
	uint64_t waited;          /* microseconds in the queue before this attempt, besides half a second */
};

static unsigned
world_send(const struct world_send *w)
{
	struct msg_job m = {
		.job = ++world.n_jobs,
		.segment = w->segment,
		.offset = w->segment > 0 ? 100 : 0,
		.length = w->segment > 0 ? w->length : w->content.n,
		.arrival = clock_wall() - 1500000 - w->waited,
		.active = clock_wall() - 1000000,
		.transport = span_str(w->transport != NULL ? w->transport : "smtp"),
		.nexthop = span_str(w->nexthop),
		.qid = SPAN("4ABC123"),
		.sender = span_str(w->sender != NULL ? w->sender : "from@a.test"),
		.envid = span_str(w->envid),
		.forward = span_str(w->forward),
		.flags = w->flags,
	};
	assert_true(world.n_jobs <= WORLD_JOBS);
	while (w->rcpts[m.nrcpt] != NULL)
		m.nrcpt++;
	struct buf *b = ipc_begin(world.queue, IPC_JOB, 0);
	msg_job_put(b, &m);
	for (unsigned i = 0; i < m.nrcpt; i++) {
		struct job_rcpt r = { .index = i, .notify = w->notify, .addr = span_str(w->rcpts[i]), .orcpt = span_str(w->orcpt) };
		msg_job_rcpt_put(b, &r);
	}
	if (w->segment == 0 && (w->flags & MSGF_PROBE) == 0)
		ipc_send_fd(world.queue, world_file(w->content));
	else
		ipc_end(world.queue);
	return world.n_jobs;
}

/* Job numbers begin anew. */
static UNUSED void
world_forget(void)
{
	assert_int_equal(world.n_over, world.n_jobs);
	memset(world.jobs, 0, world.n_jobs * sizeof *world.jobs);
	world.n_jobs = world.n_over = 0;
}

static struct world_job *
world_deliver(const struct world_send *w)
{
	unsigned n = world_send(w);
	world_run(1);
	return &world.jobs[n - 1];
}

#endif
