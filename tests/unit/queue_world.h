/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * queue_world.h - a queue with a real spool on a directory of its own, and beside it, in the same process and
 * loop, a fake edge and fake relays on the other ends of its channels.
 */
#ifndef TESTS_UNIT_QUEUE_WORLD_H
#define TESTS_UNIT_QUEUE_WORLD_H

#include "unit.h"

#include "base/clock.h"
#include "base/crc32c.h"
#include "base/log.h"
#include "base/mem.h"
#include "ipc/msgs.h"
#include "loop/conn.h"
#include "queue/attempt.h"
#include "queue/edge.h"
#include "queue/relay.h"
#include "queue/requests.h"
#include "queue/sched.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* What the fake relay does with a job for a next hop. */
enum act { ACT_SEND = 1, ACT_KEEP, ACT_DEFER, ACT_BOUNCE, ACT_DOWN };

struct got_job {
	uint64_t id;
	char transport[64], nexthop[128], qid[32], sender[128], first[128];
	uint32_t n, index[64], flags;
	struct buf content;
	bool answered;
};
enum { WORLD_JOBS = 4096, WORLD_RELAYS = 3, WORLD_SEGMENTS = 256 };

static struct world {
	struct queue q;
	struct queue_settings set;
	char dir[64];
	struct ipc_chan *edge, *relay[WORLD_RELAYS];
	struct { uint64_t id; int fd; } segments[WORLD_SEGMENTS];
	size_t nsegments;
	struct got_job jobs[WORLD_JOBS];
	size_t njobs;
	enum act (*decide)(const struct got_job *);
	const char *bounce_text;
	int log_fd;
	bool (*until)(void);
	struct loop_hook hook;
	struct timer guard;
	bool expired;
	unsigned submitted, accepted, refused;
	struct spool_id last_id;
	bool accepting, holding;
	bool has_quarantine;             /* set it before world_open() */
	struct quar_settings held;
} w;

/* ---- the loop ---- */

static void
world_look(struct loop_hook *h)
{
	(void)h;
	if (w.expired || w.until())
		loop_stop();
}

static void
world_guard(struct timer *t)
{
	(void)t;
	w.expired = true;
	loop_stop();
}

static void
world_nudge(struct timer *t)
{
	(void)t;
}

#define RUN_UNTIL(cond) world_run((cond), #cond, __FILE__, __LINE__)
static void
world_run(bool (*cond)(void), const char *what, const char *file, int line)
{
	static struct timer nudge;
	w.until = cond;
	w.expired = false;
	timer_init(&w.guard, world_guard);
	timer_set(&w.guard, 20 * USEC_PER_SEC);
	timer_init(&nudge, world_nudge); /* the condition may hold already */
	timer_set(&nudge, 0);
	loop_hook_add(&w.hook, LOOP_FLUSH_LAST, world_look);
	loop_run();
	loop_hook_remove(&w.hook);
	timer_clear(&w.guard);
	timer_clear(&nudge);
	if (w.expired) {
		print_error("waited in vain for %s\n", what);
		_fail(file, line);
	}
}

static unsigned turns;
static struct timer turn;

static void UNUSED
next_turn(struct timer *t)
{
	if (--turns > 0)
		timer_set(t, 1000);
}

static bool UNUSED
no_turns_left(void)
{
	return turns == 0;
}

/* A few turns, for what must not happen. Each makes the next, so however late they come there are as many. */
static inline void UNUSED
run_turns(unsigned n)
{
	turns = n;
	timer_init(&turn, next_turn);
	timer_set(&turn, 1000);
	RUN_UNTIL(no_turns_left);
	timer_clear(&turn);
}

/* ---- the log ---- */

static inline bool UNUSED
logged(const char *text)
{
	log_flush();
	struct stat st;
	assert_int_equal(fstat(w.log_fd, &st), 0);
	if (st.st_size == 0)
		return false;
	void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, w.log_fd, 0);
	assert_true(p != MAP_FAILED);
	bool found = span_find(span_of(p, (size_t)st.st_size), span_str(text)) != SIZE_MAX;
	munmap(p, (size_t)st.st_size);
	return found;
}

static inline void UNUSED
forget_log(void)
{
	log_flush();
	assert_int_equal(ftruncate(w.log_fd, 0), 0);
}

/* ---- the fake relay ---- */

static void
copy_text(char *to, size_t size, struct span s)
{
	snprintf(to, size, "%.*s", (int)s.n, (const char *)s.p);
}

static int
segment_fd(uint64_t id)
{
	for (size_t i = 0; i < w.nsegments; i++)
		if (w.segments[i].id == id)
			return w.segments[i].fd;
	fail_msg("a job names segment %llu, which was not given", (unsigned long long)id);
	return -1;
}

static void
answer_job(struct ipc_chan *c, struct got_job *j, enum act act)
{
	struct msg_job_done done = { .job = j->id, .last = true, .health = JOB_HUB_OK, .nresult = j->n };
	struct rcpt_result r = { .status = RCPT_SENT, .dsn = SPAN("2.0.0"), .text = SPAN("250 2.0.0 Ok: queued") };
	if (act == ACT_DEFER)
		r = (struct rcpt_result){ .status = RCPT_DEFERRED, .dsn = SPAN("4.2.1"), .mta = SPAN("hub.test"),
			.text = SPAN("host hub.test[192.0.2.1] said: 450 4.2.1 later (in reply to RCPT TO command)"), .diag = SPAN("450 4.2.1 later") };
	if (act == ACT_BOUNCE)
		r = (struct rcpt_result){ .status = RCPT_BOUNCED, .dsn = SPAN("5.1.1"), .mta = SPAN("hub.test"),
			.text = SPAN("host hub.test[192.0.2.1] said: 550 5.1.1 no such user (in reply to RCPT TO command)"), .diag = SPAN("550 5.1.1 no such user") };
	if (act == ACT_DOWN) {
		done.health = JOB_HUB_DOWN;
		done.reason = SPAN("connect to hub.test[192.0.2.1]:25: Connection refused");
		r = (struct rcpt_result){ .status = RCPT_DEFERRED, .dsn = SPAN("4.4.1"), .text = done.reason };
	}
	struct buf *b = ipc_begin(c, IPC_JOB_DONE, 0);
	msg_job_done_put(b, &done);
	for (uint32_t i = 0; i < j->n; i++) {
		r.index = j->index[i];
		msg_result_put(b, &r);
	}
	ipc_end(c);
	j->answered = true;
}

static void
take_job_frame(struct ipc_chan *c, struct ipc_frame *f)
{
	struct msg_job m;
	assert_int_equal(msg_job_get(f->payload, &m), RC_OK);
	assert_true(w.njobs < WORLD_JOBS);
	struct got_job *j = &w.jobs[w.njobs++];
	*j = (struct got_job){ .id = m.job, .n = m.nrcpt, .flags = m.flags };
	copy_text(j->transport, sizeof j->transport, m.transport);
	copy_text(j->nexthop, sizeof j->nexthop, m.nexthop);
	copy_text(j->qid, sizeof j->qid, m.qid);
	copy_text(j->sender, sizeof j->sender, m.sender);
	for (uint32_t i = 0; i < m.nrcpt; i++) {
		struct job_rcpt r;
		assert_int_equal(msg_job_rcpt_get(&m.rcpts, &r), RC_OK);
		assert_true(i < NELEMS(j->index));
		j->index[i] = r.index;
		if (i == 0)
			copy_text(j->first, sizeof j->first, r.addr);
	}
	buf_init(&j->content, 16 * 1024 * 1024);
	if (m.flags & MSGF_PROBE) {
		assert_int_equal(m.length, 0);
		assert_int_equal(f->fd, -1);
	} else {
		int fd = m.segment != 0 ? segment_fd(m.segment) : f->fd;
		unsigned char *to = buf_reserve(&j->content, m.length);
		assert_int_equal(pread(fd, to, m.length, (off_t)m.offset), m.length);
		buf_commit(&j->content, m.length);
	}
	enum act act = w.decide != NULL ? w.decide(j) : ACT_SEND;
	if (act != ACT_KEEP)
		answer_job(c, j, act);
}

static enum rc
relay_frame(struct ipc_chan *c, struct ipc_frame *f)
{
	struct cur rd = cur_of(f->payload);
	if (f->type == IPC_SEGMENT) {
		assert_true(w.nsegments < WORLD_SEGMENTS);
		w.segments[w.nsegments].id = cur_u64(&rd);
		w.segments[w.nsegments++].fd = f->fd;
		f->fd = -1;
	} else if (f->type == IPC_JOB) {
		take_job_frame(c, f);
	}
	return RC_OK;
}

static void
side_down(struct ipc_chan *c)
{
	(void)c;
}

static const struct ipc_chan_ops relay_side = { relay_frame, side_down };

static inline void UNUSED
world_relay(unsigned index)
{
	int fd[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
	if (w.relay[index] != NULL)
		ipc_chan_free(&w.relay[index]);
	w.relay[index] = ipc_chan_new(fd[0], ROLE_RELAY, ROLE_QUEUE, 0, &relay_side, NULL);
	queue_peer(&w.q, ROLE_RELAY, index, fd[1]);
}

/* ---- the fake edge ---- */

static enum rc
edge_frame(struct ipc_chan *c, struct ipc_frame *f)
{
	(void)c;
	struct msg_admission m;
	assert_int_equal(f->type, IPC_ADMISSION);
	assert_int_equal(msg_admission_get(f->payload, &m), RC_OK);
	w.accepting = m.accepting;
	w.holding = m.holding;
	return RC_OK;
}

static const struct ipc_chan_ops edge_side = { edge_frame, side_down };

static inline void UNUSED
world_edge(void)
{
	int fd[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
	if (w.edge != NULL)
		ipc_chan_free(&w.edge);
	w.edge = ipc_chan_new(fd[0], ROLE_EDGE, ROLE_QUEUE, 0, &edge_side, NULL);
	queue_peer(&w.q, ROLE_EDGE, 0, fd[1]);
}

struct submit {
	struct ipc_call call;
};
static struct op_owner submit_owner;

static void
submit_done(struct op *op)
{
	struct ipc_call *call = container_of(op, struct ipc_call, op);
	struct submit *s = container_of(call, struct submit, call);
	struct msg_submitted m = { 0 };
	w.submitted++;
	if (op->rc == RC_OK && msg_submitted_get(buf_span(&call->reply), &m) == RC_OK && m.outcome == SUBMIT_OK)
		w.accepted++;
	else
		w.refused++;
	ipc_call_fini(call);
	mem_free(&s);
}

static inline void UNUSED
submit_env(const struct envelope *env, struct span qid, struct span content)
{
	struct submit *s = mem_zalloc(sizeof *s);
	if (submit_owner.ops.next == NULL)
		op_owner_init(&submit_owner);
	ipc_call_init(&s->call, &submit_owner, submit_done);
	struct buf enc;
	buf_init(&enc, 1024 * 1024);
	envelope_put(&enc, env);
	struct msg_submit m = { .content_len = content.n, .content_crc = crc32c(0, content), .qid = qid, .envelope = buf_span(&enc), .content = content };
	msg_submit_put(ipc_call_begin(&s->call, w.edge, IPC_SUBMIT), &m);
	ipc_call_send(&s->call, 0);
	buf_fini(&enc);
}

/* from, and recipients separated by blanks; arrives now. */
static inline void UNUSED
submit_as(const char *from, const char *to, const char *content, uint32_t flags, uint8_t notify)
{
	struct env_rcpt rcpt[64] = { { .notify = 0 } };
	struct envelope env = { .arrival = clock_wall(), .sender = span_str(from), .client = SPAN("unknown[192.0.2.9]"), .rcpt = rcpt, .flags = flags };
	struct span rest = span_str(to), word;
	while (span_word(&rest, " ", &word)) {
		rcpt[env.nrcpt].notify = notify;
		rcpt[env.nrcpt++].addr = word;
	}
	char id[SPOOL_ID_TEXT];
	w.last_id = spool_id_next(77);
	submit_env(&env, span_of(id, spool_id_text(&w.last_id, id)), span_str(content));
}

static inline void UNUSED
submit(const char *from, const char *to)
{
	submit_as(from, to, "From: x\r\nSubject: test\r\n\r\nhello\r\n", 0, 0);
}

static inline const char *UNUSED
last_qid(void)
{
	static char text[SPOOL_ID_TEXT];
	spool_id_text(&w.last_id, text);
	return text;
}

static inline struct message *UNUSED
last_message(void)
{
	struct spool_msg *sm = spool_find(w.q.spool, &w.last_id);
	return sm != NULL ? container_of(sm, struct message, spool) : NULL;
}

/* ---- an administrator ---- */

static struct {
	struct conn conn;
	struct buf text;
	bool over;
} admin;

static void
admin_input(struct conn *c)
{
	struct span s = conn_input(c);
	buf_put(&admin.text, s);
	conn_consume(c, s.n);
}

static void
admin_ended(struct conn *c, enum conn_end why, int err)
{
	(void)why, (void)err;
	admin.over = true;
	conn_close(c);
}

static void
admin_drained(struct conn *c)
{
	(void)c;
}

static const struct conn_ops admin_ops = { .input = admin_input, .ended = admin_ended, .drained = admin_drained };

static bool UNUSED
admin_over(void)
{
	return admin.over;
}

/* The whole answer as a string; valid until the next request. */
static inline const char *UNUSED
ask(const char *line)
{
	int fd[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
	if (admin.text.max == 0)
		buf_init(&admin.text, 256 * 1024 * 1024);
	buf_reset(&admin.text);
	admin.over = false;
	conn_init(&admin.conn, fd[0], &admin_ops, 1024 * 1024, 1024);
	request_start(&w.q, span_str(line), fd[1]);
	RUN_UNTIL(admin_over);
	return buf_cstr(&admin.text);
}

/* ---- begin and end ---- */

static inline void UNUSED
world_open(void)
{
	struct err e = { 0 };
	struct spool_settings s = { .dir = w.dir, .segment_bytes = 1 << 20, .segments_min = 4, .segments_max = 16, .inline_max = 131072 };
	queue_init(&w.q, &w.set);
	if (w.has_quarantine)
		quarantine_open(&w.q, &w.held);
	if (queue_open_spool(&w.q, &s, &e) != RC_OK)
		fail_msg("%s", e.why);
	quarantine_start(&w.q);
	if (queue_recover(&w.q, &e) != RC_OK)
		fail_msg("%s", e.why);
	quarantine_recovered(&w.q);
}

static inline void UNUSED
remove_tree(const char *path)
{
	DIR *d = opendir(path);
	if (d == NULL)
		return;
	for (struct dirent *de; (de = readdir(d)) != NULL;) {
		char sub[1024];
		if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0)
			continue;
		if ((size_t)snprintf(sub, sizeof sub, "%s/%s", path, de->d_name) >= sizeof sub)
			continue;
		if (unlink(sub) != 0)
			remove_tree(sub);
	}
	closedir(d);
	rmdir(path);
}

static inline int UNUSED
world_setup(void **state)
{
	(void)state;
	static bool once;
	if (!once)
		loop_init();
	once = true;
	memset(&w, 0, sizeof w);
	snprintf(w.dir, sizeof w.dir, "/dev/shm/dogana-queue-test-XXXXXX");
	if (mkdtemp(w.dir) == NULL)
		return -1;
	w.log_fd = memfd_create("log", MFD_CLOEXEC);
	log_open(LOG_TO_FD, fcntl(w.log_fd, F_DUPFD_CLOEXEC, 3), LOG_POSTFIX, "dogana", "qmgr");
	settings_defaults(&w.set);
	w.set.myhostname = "gw.test";
	w.set.myorigin = "gw.test";
	world_open();
	world_edge();
	return 0;
}

/* As if the process had ended and begun again: what is durable comes back. */
static inline void UNUSED
world_restart(void)
{
	for (int i = 0; i < WORLD_RELAYS; i++)
		ipc_chan_free(&w.relay[i]);
	ipc_chan_free(&w.edge);
	queue_fini(&w.q);
	for (size_t i = 0; i < w.nsegments; i++)
		close(w.segments[i].fd);
	w.nsegments = 0;
	world_open();
	world_edge();
}

static inline int UNUSED
world_teardown(void **state)
{
	(void)state;
	for (int i = 0; i < WORLD_RELAYS; i++)
		ipc_chan_free(&w.relay[i]);
	ipc_chan_free(&w.edge);
	queue_fini(&w.q);
	run_turns(2);
	for (size_t i = 0; i < w.nsegments; i++)
		close(w.segments[i].fd);
	for (size_t i = 0; i < w.njobs; i++)
		buf_fini(&w.jobs[i].content);
	buf_fini(&admin.text);
	admin.text.max = 0;
	log_open(LOG_TO_STDERR, STDERR_FILENO, LOG_POSTFIX, "dogana", "test");
	close(w.log_fd);
	remove_tree(w.dir);
	clock_wall_offset(0);
	return 0;
}

#endif
