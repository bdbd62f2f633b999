/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * session_world.h - the SMTP server in one process: sessions over socketpairs, a queue of our own behind a real channel, clients.
 */
#ifndef TESTS_SESSION_WORLD_H
#define TESTS_SESSION_WORLD_H

#include "base/clock.h"
#include "base/crc32c.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "ipc/msgs.h"
#include "smtp/session.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "loop_until.h"
#include "unit.h"

/* ---- the world ---- */

enum queue_mode { QUEUE_FINE, QUEUE_FULL, QUEUE_FAILS, QUEUE_DIES, QUEUE_ABSENT, QUEUE_NOT_ACCEPTING, QUEUE_NO_DRAFTS, QUEUE_SLOW_DRAFTS };

static struct edge edge;
static struct edge_conf *confs[8];
static char dir[] = "/tmp/session_world.XXXXXX";

static struct {
	enum queue_mode mode;
	struct ipc_chan *chan;
	unsigned accepted, drafts, drops;
	uint64_t slow_draft;         /* the question that is not answered yet; 0: none */
	int draft_fd[32];            /* copies of the last ones, by number; 0: none */
	struct buf content;          /* of the last message, Received taken off */
	struct buf envelope;
	uint32_t flags;
} q;

static void
keep_content(struct span content)
{
	size_t end = span_find(content, SPAN(")\r\n")); /* our header ends with the zone in brackets */
	assert_true(span_starts(content, SPAN("Received: from ")) && end != SIZE_MAX);
	while (end + 3 < content.n && (content.p[end + 3] == '\t' || content.p[end + 3] == ' ')) {
		size_t more = span_find(span_from(content, end + 3), SPAN(")\r\n"));
		assert_true(more != SIZE_MAX);
		end += 3 + more;
	}
	buf_reset(&q.content);
	buf_put(&q.content, span_from(content, end + 3));
}

static enum rc
take_submit(struct ipc_chan *c, struct ipc_frame *f)
{
	struct msg_submit m;
	assert_int_equal(msg_submit_get(f->payload, &m), RC_OK);
	struct spool_id id;
	assert_int_equal(spool_id_parse(m.qid, &id), RC_OK);
	struct arena a;
	arena_init(&a, 1 << 22);
	struct envelope env;
	assert_int_equal(envelope_get(m.envelope, &a, &env), RC_OK);
	buf_reset(&q.envelope);
	buf_putc(&q.envelope, '<');
	buf_put(&q.envelope, env.sender);
	buf_putc(&q.envelope, '>');
	for (uint32_t i = 0; i < env.nrcpt; i++) {
		buf_puts(&q.envelope, " <");
		buf_put(&q.envelope, env.rcpt[i].addr);
		buf_putc(&q.envelope, '>');
		if (env.rcpt[i].notify != 0)
			buf_printf(&q.envelope, " notify=%d", env.rcpt[i].notify);
		if (env.rcpt[i].orcpt.n > 0) {
			buf_puts(&q.envelope, " orcpt=");
			buf_put(&q.envelope, env.rcpt[i].orcpt);
		}
	}
	if (env.envid.n > 0) {
		buf_puts(&q.envelope, " envid=");
		buf_put(&q.envelope, env.envid);
	}
	q.flags = env.flags;
	arena_fini(&a);
	if (m.draft == 0) {
		assert_int_equal(m.content_crc, crc32c(0, m.content));
		keep_content(m.content);
	} else {
		struct stat st;
		int fd = q.draft_fd[m.draft % NELEMS(q.draft_fd)];
		assert_int_equal(fstat(fd, &st), 0);
		assert_int_equal(st.st_size, m.content_len);
		void *p = mmap(NULL, m.content_len, PROT_READ, MAP_SHARED, fd, 0);
		assert_true(p != MAP_FAILED);
		assert_int_equal(m.content_crc, crc32c(0, span_of(p, m.content_len)));
		keep_content(span_of(p, m.content_len));
		munmap(p, m.content_len);
	}
	const struct msg_submitted answer = {
		.outcome = q.mode == QUEUE_FULL ? SUBMIT_FULL : q.mode == QUEUE_FAILS ? SUBMIT_FAILED : SUBMIT_OK,
	};
	if (answer.outcome == SUBMIT_OK)
		q.accepted++;
	if (q.mode == QUEUE_DIES)
		return RC_PERM; /* the channel goes down */
	msg_submitted_put(ipc_answer_begin(c, f->id), &answer);
	ipc_end(c);
	return RC_OK;
}

static void
answer_draft(struct ipc_chan *c, uint64_t id)
{
	const struct msg_draft m = { q.mode == QUEUE_NO_DRAFTS ? SUBMIT_FULL : SUBMIT_OK, ++q.drafts };
	msg_draft_put(ipc_answer_begin(c, id), &m);
	if (m.outcome != SUBMIT_OK) {
		ipc_end(c);
		return;
	}
	int fd = memfd_create("draft", MFD_CLOEXEC);
	assert_true(fd >= 0);
	int *copy = &q.draft_fd[m.draft % NELEMS(q.draft_fd)];
	if (*copy > 0)
		close(*copy);
	*copy = dup(fd);
	ipc_send_fd(c, fd);
}

static enum rc
on_frame(struct ipc_chan *c, struct ipc_frame *f)
{
	if (f->type == IPC_SUBMIT)
		return take_submit(c, f);
	if (f->type == IPC_DRAFT_DROP) {
		q.drops++;
		return RC_OK;
	}
	assert_int_equal(f->type, IPC_DRAFT);
	if (q.mode == QUEUE_SLOW_DRAFTS) {
		assert_int_equal(q.slow_draft, 0);
		q.slow_draft = f->id;
	} else {
		answer_draft(c, f->id);
	}
	return RC_OK;
}

static void
on_down(struct ipc_chan *c)
{
	if (q.chan == c)
		q.chan = NULL;
	ipc_chan_free(&c);
}

static const struct ipc_chan_ops queue_ops = { on_frame, on_down };

/* One turn of the loop, without waiting. */
static void
turn(void)
{
	loop_for(0);
}

static void
queue_start(enum queue_mode mode)
{
	q.mode = mode;
	struct ipc_chan *old = q.chan;
	q.chan = NULL;
	ipc_chan_free(&old);
	for (int i = 0; i < 4; i++)
		turn();
	if (mode == QUEUE_ABSENT)
		return;
	int fds[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	edge_set_queue(&edge, 0, fds[0]);
	q.chan = ipc_chan_new(fds[1], ROLE_QUEUE, ROLE_EDGE, 0, &queue_ops, NULL);
	if (mode == QUEUE_NOT_ACCEPTING) {
		const struct msg_admission m = { false, true, 0 };
		msg_admission_put(ipc_begin(q.chan, IPC_ADMISSION, 0), &m);
		ipc_end(q.chan);
		turn(), turn();
	}
}

static void
write_file(const char *name, const char *text)
{
	char path[128];
	snprintf(path, sizeof path, "%s/%s", dir, name);
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

/* One edge, with as many configurations as there are variants of common; the loop is there. */
static void
world_open(const char *common, const char *const *variants, size_t n)
{
	assert_true(n <= NELEMS(confs));
	assert_non_null(mkdtemp(dir));
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	log_open(LOG_TO_FD, null, LOG_POSTFIX, "dogana", "edge");
	edge_init(&edge, 0);
	buf_init(&q.content, 1 << 26);
	buf_init(&q.envelope, 1 << 22);
	write_file("master.cf", "smtp inet n - n - - smtpd\n");
	for (size_t i = 0; i < n; i++) {
		char text[2048];
		snprintf(text, sizeof text, "%s%s", common, variants[i]);
		write_file("main.cf", text);
		struct conf *c;
		struct err e = { .why = "" };
		if (conf_load(dir, &c, &e) != RC_OK)
			fail_msg("conf_load: %s", e.why);
		if (edge_conf_open(c, &confs[i], &e) != RC_OK)
			fail_msg("edge_conf_open: %s", e.why);
		conf_unref(&c);
	}
}

static void
world_close(void)
{
	queue_start(QUEUE_ABSENT);
	ipc_chan_free(&edge.queue);
	limits_fini(&edge.limits);
	for (size_t i = 0; i < NELEMS(confs); i++)
		edge_conf_unref(&confs[i]);
	buf_fini(&q.content);
	buf_fini(&q.envelope);
	for (size_t i = 0; i < NELEMS(q.draft_fd); i++)
		if (q.draft_fd[i] > 0)
			close(q.draft_fd[i]);
	loop_fini();
	char path[128];
	snprintf(path, sizeof path, "%s/main.cf", dir);
	unlink(path);
	snprintf(path, sizeof path, "%s/master.cf", dir);
	unlink(path);
	rmdir(dir);
}

/* ---- the client ---- */

struct client {
	int fd;
	struct buf in;
	bool closed;                 /* by the server */
};

static void
client_open(struct client *c, size_t conf, const char *addr)
{
	int fds[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
	struct sockaddr_in peer = { .sin_family = AF_INET, .sin_port = htons(1234) };
	assert_int_equal(inet_pton(AF_INET, addr, &peer.sin_addr), 1);
	*c = (struct client){ .fd = fds[0] };
	buf_init(&c->in, 1 << 20);
	edge.conf = confs[conf];
	sess_begin(&edge, edge.conf->services[0], fds[1], (struct sockaddr *)&peer, NULL);
}

static void
client_close(struct client *c)
{
	close(c->fd);
	buf_fini(&c->in);
}

static void
client_read(struct client *c)
{
	unsigned char *p = buf_reserve(&c->in, 65536);
	assert_non_null(p);
	ssize_t n = recv(c->fd, p, 65536, 0);
	if (n > 0)
		buf_commit(&c->in, (size_t)n);
	else if (n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK))
		c->closed = true;
}

/* The last line of the next reply, without CRLF; "(closed)". Every line is checked. */
static void
client_reply(struct client *c, char out[600])
{
	uint64_t until = clock_mono() + 5 * USEC_PER_SEC;
	for (;;) {
		struct span s = buf_span(&c->in);
		size_t lf = span_chr(s, '\n');
		if (lf != SIZE_MAX) {
			assert_true(lf >= 4 && lf <= 511 && s.p[lf - 1] == '\r');
			for (size_t i = 0; i + 1 < lf; i++)
				assert_true(s.p[i] >= 0x20 && s.p[i] != 0x7f);
			memcpy(out, s.p, lf - 1);
			out[lf - 1] = '\0';
			buf_consume(&c->in, lf + 1);
			if (out[3] == ' ')
				return;
			continue;
		}
		if (c->closed) {
			snprintf(out, 600, "(closed)");
			return;
		}
		turn();
		client_read(c);
		if (clock_mono() > until) {
			snprintf(out, 600, "(silence)");
			return;
		}
	}
}

static void
client_send(struct client *c, struct span s, size_t piece)
{
	for (size_t at = 0; at < s.n;) {
		size_t want = s.n - at < piece ? s.n - at : piece;
		ssize_t n = send(c->fd, s.p + at, want, MSG_NOSIGNAL);
		if (n > 0)
			at += (size_t)n;
		else if (errno != EAGAIN)
			return; /* the server hung up */
		turn();
	}
}

/* Says something and hears one reply. */
static void
say(struct client *c, struct span s)
{
	char got[600];
	client_send(c, s, SIZE_MAX);
	client_reply(c, got);
}

/* The banner up to 354. */
static void UNUSED
say_up_to_data(struct client *c)
{
	say(c, SPAN_EMPTY);
	say(c, SPAN("EHLO client.example\r\n"));
	say(c, SPAN("MAIL FROM:<a@sender.example>\r\n"));
	say(c, SPAN("RCPT TO:<known@example.org>\r\n"));
	say(c, SPAN("DATA\r\n"));
}

/* All sessions gone, and nothing of them left. */
static void
nothing_left(void)
{
	for (uint64_t until = clock_mono() + 10 * USEC_PER_SEC; edge.nsessions > 0 && clock_mono() < until;)
		turn();
	turn();
	assert_int_equal(edge.nsessions, 0);
	assert_int_equal(metric_values[M_smtpd_sessions], 0);
	assert_int_equal(metric_values[M_smtpd_transactions], 0);
	assert_int_equal(metric_values[M_smtpd_drafts], 0);
	assert_int_equal(metric_values[M_smtpd_content_bytes], 0);
	assert_int_equal(metric_values[M_op_pending], 0);
	assert_int_equal(metric_values[M_conns], 0);
}

#endif
