/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * queue_bench - what the queue role costs: processor time per message, and memory per message that waits.
 *
 *	queue_bench DIR [MESSAGES [WAITING]]
 *
 * The queue runs in a process of its own with a spool in DIR; this one plays an edge that keeps 200 messages of
 * 10 kB on their way and a relay that takes everything. Then WAITING messages for a dead hub, and a restart.
 */
#include "base/clock.h"
#include "base/crc32c.h"
#include "base/log.h"
#include "base/mem.h"
#include "ipc/msgs.h"
#include "queue/queue.h"
#include "queue/sched.h"

#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { IN_FLIGHT = 200, CONTENT = 10240 };

/* ---- the queue's process ---- */

static struct queue q;
static int report_fd;
static struct loop_hook hook;
static struct rusage first_usage;
static size_t first_heap;

static double
cpu_usec(const struct timeval *a, const struct timeval *b)
{
	return (double)(b->tv_sec - a->tv_sec) * 1e6 + (double)(b->tv_usec - a->tv_usec);
}

static void
look(struct loop_hook *h)
{
	(void)h;
	if (q.edges.next == &q.edges) /* the other side is done */
		loop_stop();
}

static void
open_queue(const char *dir)
{
	struct queue_settings set;
	struct err e = { .why = "" };
	struct spool_settings s = { .dir = dir, .segment_bytes = 32 << 20, .segments_min = 4, .segments_max = 64, .inline_max = 131072 };
	settings_defaults(&set);
	loop_init();
	int null = open("/dev/null", O_WRONLY | O_APPEND | O_CLOEXEC);
	log_open(LOG_TO_FD, null, LOG_POSTFIX, "dogana", "qmgr");
	queue_init(&q, &set);
	if (queue_open_spool(&q, &s, &e) != RC_OK || queue_recover(&q, &e) != RC_OK) {
		fprintf(stderr, "%s\n", e.why);
		_exit(1);
	}
}

static void
run_queue(const char *dir, int edge_fd, int relay_fd)
{
	open_queue(dir);
	getrusage(RUSAGE_SELF, &first_usage);
	first_heap = mallinfo2().uordblks + mallinfo2().hblkhd;
	queue_peer(&q, ROLE_EDGE, 0, edge_fd);
	queue_peer(&q, ROLE_RELAY, 0, relay_fd);
	loop_hook_add(&hook, LOOP_FLUSH_LAST, look);
	loop_run();
	struct rusage u;
	getrusage(RUSAGE_SELF, &u);
	double figures[4] = { cpu_usec(&first_usage.ru_utime, &u.ru_utime), cpu_usec(&first_usage.ru_stime, &u.ru_stime),
		(double)(mallinfo2().uordblks + mallinfo2().hblkhd - first_heap), (double)q.table.count };
	(void)!write(report_fd, figures, sizeof figures);
	queue_fini(&q);
	_exit(0);
}

/* ---- the other side ---- */

static struct ipc_chan *edge, *relay;
static unsigned sent, answered, delivered, total;
static bool hub_down;
static unsigned char content[CONTENT];
static struct op_owner owner;

static void submit_one(void);

struct submit {
	struct ipc_call call;
};

static void
check_end(void)
{
	if (answered == total && delivered == total)
		loop_stop();
}

static void
on_answer(struct op *op)
{
	struct ipc_call *call = container_of(op, struct ipc_call, op);
	struct submit *s = container_of(call, struct submit, call);
	struct msg_submitted m;
	if (op->rc != RC_OK || msg_submitted_get(buf_span(&call->reply), &m) != RC_OK || m.outcome != SUBMIT_OK) {
		fprintf(stderr, "not accepted\n");
		exit(1);
	}
	ipc_call_fini(call);
	mem_free(&s);
	answered++;
	if (sent < total)
		submit_one();
	check_end();
}

static void
submit_one(void)
{
	struct submit *s = mem_zalloc(sizeof *s);
	char id[SPOOL_ID_TEXT], addr[64];
	struct spool_id sid = spool_id_next((uint32_t)getpid());
	snprintf(addr, sizeof addr, "user%u@relay.example.test", sent % 1000);
	struct env_rcpt rcpt = { .addr = span_str(addr) };
	struct envelope env = { .arrival = clock_wall(), .sender = SPAN("sender@example.test"), .client = SPAN("client.test[192.0.2.7]"), .nrcpt = 1, .rcpt = &rcpt };
	struct buf enc;
	buf_init(&enc, 65536);
	envelope_put(&enc, &env);
	struct span body = span_of(content, hub_down ? 200 : sizeof content);
	ipc_call_init(&s->call, &owner, on_answer);
	struct msg_submit m = { .content_len = body.n, .content_crc = crc32c(0, body), .qid = span_of(id, spool_id_text(&sid, id)), .envelope = buf_span(&enc), .content = body };
	msg_submit_put(ipc_call_begin(&s->call, edge, IPC_SUBMIT), &m);
	ipc_call_send(&s->call, 0);
	buf_fini(&enc);
	sent++;
}

static enum rc
on_edge(struct ipc_chan *c, struct ipc_frame *f)
{
	(void)c, (void)f;
	return RC_OK;
}

static enum rc
on_relay(struct ipc_chan *c, struct ipc_frame *f)
{
	struct msg_job m;
	if (f->type != IPC_JOB || msg_job_get(f->payload, &m) != RC_OK)
		return RC_OK;
	struct msg_job_done done = { .job = m.job, .last = true, .health = hub_down ? JOB_HUB_DOWN : JOB_HUB_OK, .nresult = 1 };
	struct rcpt_result r = { .status = RCPT_SENT, .dsn = SPAN("2.0.0"), .text = SPAN("250 2.0.0 Ok: queued as 4F1A22C0B3"), .mta = SPAN("hub.test") };
	if (hub_down) {
		done.reason = SPAN("connect to hub.test[192.0.2.1]:25: Connection refused");
		r = (struct rcpt_result){ .status = RCPT_DEFERRED, .dsn = SPAN("4.4.1"), .text = done.reason };
	} else {
		delivered++;
	}
	struct buf *b = ipc_begin(c, IPC_JOB_DONE, 0);
	msg_job_done_put(b, &done);
	msg_result_put(b, &r);
	ipc_end(c);
	check_end();
	return RC_OK;
}

static void
on_down(struct ipc_chan *c)
{
	(void)c;
	fprintf(stderr, "the queue went away\n");
	exit(1);
}

static const struct ipc_chan_ops edge_ops = { on_edge, on_down }, relay_ops = { on_relay, on_down };

static void
run(const char *dir, unsigned n, bool down, double figures[4], double *seconds)
{
	int e[2], r[2], p[2];
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, e) != 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, r) != 0 || pipe(p) != 0)
		exit(1);
	pid_t pid = fork();
	if (pid == 0) {
		close(e[0]);
		close(r[0]);
		report_fd = p[1];
		run_queue(dir, e[1], r[1]);
	}
	close(e[1]);
	close(r[1]);
	hub_down = down;
	total = n;
	sent = answered = 0;
	delivered = down ? n : 0;
	loop_init();
	op_owner_init(&owner);
	edge = ipc_chan_new(e[0], ROLE_EDGE, ROLE_QUEUE, 0, &edge_ops, NULL);
	relay = ipc_chan_new(r[0], ROLE_RELAY, ROLE_QUEUE, 0, &relay_ops, NULL);
	uint64_t began = clock_mono();
	for (unsigned i = 0; i < IN_FLIGHT && i < n; i++)
		submit_one();
	loop_run();
	*seconds = (double)(clock_mono() - began) / 1e6;
	ipc_chan_free(&edge);
	if (read(p[0], figures, 4 * sizeof figures[0]) != 4 * (ssize_t)sizeof figures[0])
		exit(1);
	waitpid(pid, NULL, 0);
}

int
main(int argc, char **argv)
{
	unsigned n = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 50000, waiting = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 100000;
	if (argc < 2) {
		fprintf(stderr, "usage: queue_bench DIR [MESSAGES [WAITING]]\n");
		return 2;
	}
	memset(content, 'x', sizeof content);
	double f[4], seconds;
	if (fork() == 0) {
		run(argv[1], n, false, f, &seconds);
		printf("%u messages in %.2f s: %.0f/s; queue role %.1f us user + %.1f us system each\n", n, seconds, n / seconds, f[0] / n, f[1] / n);
		return 0;
	}
	wait(NULL);
	if (fork() == 0) {
		run(argv[1], waiting, true, f, &seconds);
		printf("%.0f messages waiting: %.0f bytes of memory each\n", f[3], f[2] / f[3]);
		return 0;
	}
	wait(NULL);
	if (fork() == 0) {
		uint64_t began = clock_mono();
		open_queue(argv[1]);
		printf("%zu messages found again in %.2f s\n", q.table.count, (double)(clock_mono() - began) / 1e6);
		fflush(stdout);
		_exit(0);
	}
	wait(NULL);
	return 0;
}
