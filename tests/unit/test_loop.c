/* SPDX-License-Identifier: BSD-2-Clause */
/* op, timer, conn and ipc together: they only make sense in a running loop. */
#include "unit.h"

#include "base/clock.h"
#include "base/metric.h"
#include "ipc/ipc.h"
#include "loop/conn.h"
#include "loop/op.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* turns a test that hangs into one that fails */
static struct timer watchdog;

static void
on_watchdog(struct timer *t)
{
	(void)t;
	fail_msg("the loop did not finish in time");
}

static int
setup(void **state)
{
	(void)state;
	loop_init();
	timer_init(&watchdog, on_watchdog);
	timer_set(&watchdog, 5000000);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	timer_set(&watchdog, 5000000);
	assert_int_equal(metric_values[M_op_pending], 0);
	assert_int_equal(metric_values[M_conns], 0);
	return 0;
}

/* ---- the time of a turn ---- */

static struct {
	struct watch watch;
	uint64_t seen, really;
} slept;

static void
on_octet(struct watch *w, short what)
{
	(void)what;
	slept.seen = loop_now();
	slept.really = clock_mono();
	watch_clear(w);
	loop_stop();
}

/* What comes after a long quiet time finds the time it is, not the one when the process went to sleep. */
static void
loop_now_is_the_time_of_the_wake_up(void **state)
{
	(void)state;
	enum { QUIET_USEC = 200 * 1000 };
	int fds[2];
	assert_int_equal(pipe(fds), 0);
	watch_init(&slept.watch, fds[0], on_octet);
	watch_want(&slept.watch, EV_READ);
	uint64_t before = clock_mono();
	pid_t pid = fork();
	if (pid == 0) {
		usleep(QUIET_USEC);
		_exit(write(fds[1], "x", 1) == 1 ? 0 : 1);
	}
	loop_run();
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(slept.really >= before + QUIET_USEC);
	assert_true(slept.seen >= before + QUIET_USEC && slept.seen <= slept.really);
	close(fds[0]);
	close(fds[1]);
}

/* ---- ops ---- */

static struct {
	struct op_owner owner;
	struct op a, b, c;
	int order[8], n;
	int detached;
} t1;

static void
note(int what)
{
	t1.order[t1.n++] = what;
}

static void
done_a(struct op *op)
{
	assert_ptr_equal(op, &t1.a);
	note(1);
	op_cancel(&t1.b); /* ready in the same batch: must not run any more */
	op_cancel(&t1.b);
}

static void
done_b(struct op *op)
{
	(void)op;
	note(2);
}

static void
done_c(struct op *op)
{
	note(3);
	assert_int_equal(op->rc, RC_TEMP);
	loop_stop();
}

static void
detach(struct op *op)
{
	(void)op;
	t1.detached++;
}

static void
ops_complete_from_the_loop_only(void **state)
{
	(void)state;
	static const struct op_provider prov = { "test", detach };
	memset(&t1, 0, sizeof t1);
	op_owner_init(&t1.owner);
	op_init(&t1.a, &t1.owner, done_a);
	op_init(&t1.b, &t1.owner, done_b);
	op_init(&t1.c, &t1.owner, done_c);
	op_pend(&t1.a, &prov);
	op_finish(&t1.a, RC_OK);
	op_finish(&t1.b, RC_OK); /* an answer that was there at once */
	op_pend(&t1.c, &prov);
	op_finish(&t1.c, RC_TEMP);
	assert_int_equal(t1.n, 0);
	loop_run();
	assert_int_equal(t1.n, 2);
	assert_int_equal(t1.order[0], 1);
	assert_int_equal(t1.order[1], 3);
	op_pend(&t1.a, &prov);
	op_pend(&t1.b, &prov);
	op_finish(&t1.b, RC_OK);
	ops_cancel_all(&t1.owner);
	assert_int_equal(t1.detached, 1); /* a was in flight, b was finished */
	assert_true(op_owner_idle(&t1.owner));
}

/* ---- conn ---- */

static struct {
	struct conn left, right;
	struct buf got;
	bool echo_closed;
	enum conn_end end;
	int step;
} t2;

static void
right_input(struct conn *c)
{
	struct span in = conn_input(c);
	size_t nl;
	while ((nl = span_chr(in = conn_input(c), '\n')) != SIZE_MAX) { /* lines only: the rest stays */
		conn_put(c, span_head(in, nl + 1));
		conn_consume(c, nl + 1);
	}
}

static void
right_ended(struct conn *c, enum conn_end why, int err)
{
	(void)err;
	t2.end = why;
	conn_close(c);
}

static void
left_input(struct conn *c)
{
	buf_put(&t2.got, conn_input(c));
	conn_consume(c, conn_input(c).n);
	if (buf_len(&t2.got) == 4 && t2.step++ == 0) {
		assert_span(buf_span(&t2.got), "ab\n\n");
		conn_puts(c, "ef\n");
	}
}

static void
left_ended(struct conn *c, enum conn_end why, int err)
{
	(void)err;
	t2.end = why;
	conn_close(c);
	loop_stop();
}

static const struct conn_ops right_ops = { .input = right_input, .ended = right_ended };
static const struct conn_ops left_ops = { .input = left_input, .ended = left_ended };

static void
conn_keeps_what_is_not_consumed(void **state)
{
	(void)state;
	int sv[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
	memset(&t2, 0, sizeof t2);
	buf_init(&t2.got, 1000);
	conn_init(&t2.left, sv[0], &left_ops, 1000, 1000);
	conn_init(&t2.right, sv[1], &right_ops, 1000, 1000);
	conn_puts(&t2.left, "ab\n\ncd");       /* "cd" waits at the right for its line end */
	/* after the first echo the left sends "ef\n": the right gives back "cdef\n" */
	conn_deadline(&t2.left, 200000);
	loop_run();
	assert_int_equal(t2.end, CONN_TIMEOUT);
	assert_span(buf_span(&t2.got), "ab\n\ncdef\n");
	conn_close(&t2.right);
	buf_fini(&t2.got);
}

static void
conn_tells_when_the_peer_goes(void **state)
{
	(void)state;
	int sv[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
	memset(&t2, 0, sizeof t2);
	buf_init(&t2.got, 1000);
	conn_init(&t2.left, sv[0], &left_ops, 1000, 1000);
	assert_int_equal(write(sv[1], "last", 4), 4);
	close(sv[1]);
	t2.step = 1;
	loop_run();
	assert_int_equal(t2.end, CONN_EOF);
	assert_span(buf_span(&t2.got), "last");
	buf_fini(&t2.got);
}

static void
paused_input(struct conn *c)
{
	t2.step++;
	conn_consume(c, 1);
	conn_pause(c);
	if (t2.step == 4)
		loop_stop();
	else
		conn_resume(c); /* one byte at a time: called again from the loop, never from inside */
}

/* Takes one line, and leaves the rest for when it is called again. */
static void
slice_input(struct conn *c)
{
	size_t nl = span_chr(conn_input(c), '\n');
	if (nl == SIZE_MAX)
		return;
	buf_put(&t2.got, span_head(conn_input(c), nl + 1));
	conn_consume(c, nl + 1);
	conn_pause(c);
	conn_resume(c);
}

static void
conn_gives_what_is_left_before_the_end(void **state)
{
	(void)state;
	static const struct conn_ops slice_ops = { .input = slice_input, .ended = left_ended };
	int sv[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
	memset(&t2, 0, sizeof t2);
	buf_init(&t2.got, 1000);
	conn_init(&t2.left, sv[0], &slice_ops, 1000, 1000);
	assert_int_equal(write(sv[1], "a\nb\nc\nd\nrest", 12), 12);
	close(sv[1]);
	loop_run();
	assert_int_equal(t2.end, CONN_EOF);
	assert_span(buf_span(&t2.got), "a\nb\nc\nd\n");
	buf_fini(&t2.got);
}

static void
conn_pauses_and_resumes(void **state)
{
	(void)state;
	static const struct conn_ops ops = { .input = paused_input, .ended = left_ended };
	int sv[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
	memset(&t2, 0, sizeof t2);
	conn_init(&t2.left, sv[0], &ops, 1000, 1000);
	assert_int_equal(write(sv[1], "wxyz", 4), 4);
	loop_run();
	assert_int_equal(t2.step, 4);
	conn_close(&t2.left);
	close(sv[1]);
}

static struct timer later;

static void
on_later(struct timer *t)
{
	(void)t;
	t2.step++;
	conn_resume(&t2.left);
}

static void
all_input(struct conn *c)
{
	buf_put(&t2.got, conn_input(c));
	conn_consume(c, conn_input(c).n);
}

/* A client whose question is in flight, and it leaves. */
static void
conn_tells_a_paused_one_that_it_broke(void **state)
{
	(void)state;
	static const struct conn_ops ops = { .input = all_input, .ended = left_ended };
	int sv[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
	memset(&t2, 0, sizeof t2);
	buf_init(&t2.got, 1000);
	conn_init(&t2.left, sv[0], &ops, 1000, 1000);
	conn_pause(&t2.left);
	assert_int_equal(write(sv[0], "never read", 10), 10);
	assert_int_equal(write(sv[1], "ahead", 5), 5);
	timer_init(&later, on_later);
	timer_set(&later, 2000000);
	close(sv[1]);
	loop_run();
	timer_clear(&later);
	assert_int_equal(t2.end, CONN_ERROR);
	assert_int_equal(t2.step, 0);
	assert_int_equal(buf_len(&t2.got), 0);
	buf_fini(&t2.got);
}

/* More than may be kept, and the end: nothing is lost, and the end is told last. */
static void
conn_keeps_what_came_while_paused(void **state)
{
	(void)state;
	static const struct conn_ops ops = { .input = all_input, .ended = left_ended };
	static const char piece[1500];
	int sv[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
	memset(&t2, 0, sizeof t2);
	buf_init(&t2.got, 10000);
	conn_init(&t2.left, sv[0], &ops, 1000, 1000);
	conn_pause(&t2.left);
	for (int i = 0; i < 3; i++)
		assert_int_equal(write(sv[1], piece, sizeof piece), (int)sizeof piece);
	close(sv[1]);
	timer_init(&later, on_later);
	timer_set(&later, 50000);
	loop_run();
	assert_int_equal(t2.step, 1);
	assert_int_equal(t2.end, CONN_EOF);
	assert_int_equal(buf_len(&t2.got), 3 * sizeof piece);
	buf_fini(&t2.got);
}

/* The end alone is no reason: who said all it wanted may still listen. */
static void
conn_waits_with_the_end_while_paused(void **state)
{
	(void)state;
	static const struct conn_ops ops = { .input = all_input, .ended = left_ended };
	int sv[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
	memset(&t2, 0, sizeof t2);
	buf_init(&t2.got, 1000);
	conn_init(&t2.left, sv[0], &ops, 1000, 1000);
	conn_pause(&t2.left);
	assert_int_equal(write(sv[1], "ahead", 5), 5);
	assert_int_equal(shutdown(sv[1], SHUT_WR), 0);
	timer_init(&later, on_later);
	timer_set(&later, 50000);
	loop_run();
	assert_int_equal(t2.step, 1);
	assert_int_equal(t2.end, CONN_EOF);
	assert_span(buf_span(&t2.got), "ahead");
	close(sv[1]);
	buf_fini(&t2.got);
}

static void
conn_breaks_when_its_output_limit_is_passed(void **state)
{
	(void)state;
	int sv[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
	memset(&t2, 0, sizeof t2);
	conn_init(&t2.left, sv[0], &left_ops, 1000, 8);
	conn_puts(&t2.left, "123456789");
	assert_int_equal(write(sv[1], "x", 1), 1); /* anything that turns the loop */
	loop_run();
	assert_int_equal(t2.end, CONN_ERROR);
	assert_false(conn_is_open(&t2.left));
	close(sv[1]);
}

/* ---- ipc ---- */

static struct {
	struct ipc_chan *queue, *edge;
	struct op_owner owner;
	struct ipc_call call, lost;
	int done, downs;
	enum rc rc[4];
	uint64_t held;
} t3;

static enum rc
queue_frame(struct ipc_chan *c, struct ipc_frame *f)
{
	if (f->type == IPC_DRAFT) {
		t3.held = f->id;
		ipc_answer(c, f->id, SPAN("here"), open("/dev/null", O_WRONLY | O_CLOEXEC));
		return RC_OK;
	}
	return RC_PERM;
}

static enum rc
edge_frame(struct ipc_chan *c, struct ipc_frame *f)
{
	(void)c, (void)f;
	return RC_OK;
}

static void
chan_down(struct ipc_chan *c)
{
	t3.downs++;
	if (c == t3.queue)
		ipc_chan_free(&t3.queue);
	else
		ipc_chan_free(&t3.edge);
}

static const struct ipc_chan_ops queue_ops = { queue_frame, chan_down }, edge_ops = { edge_frame, chan_down };

static void
call_done(struct op *op)
{
	t3.rc[t3.done++] = op->rc;
	if (t3.done == 1) {
		assert_span(buf_span(&t3.call.reply), "here");
		assert_true(t3.call.fd >= 0 && fcntl(t3.call.fd, F_GETFD) >= 0);
		/* an answer to a call nobody made is dropped; a frame the queue may not get ends the channel */
		ipc_answer(t3.queue, 999, SPAN("x"), -1);
		(void)ipc_call_begin(&t3.lost, t3.edge, IPC_SUBMIT);
		ipc_call_send(&t3.lost, 0);
	} else {
		loop_stop();
	}
}

static void
ipc_calls_are_answered_or_end(void **state)
{
	(void)state;
	int sv[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
	memset(&t3, 0, sizeof t3);
	op_owner_init(&t3.owner);
	t3.queue = ipc_chan_new(sv[0], ROLE_QUEUE, ROLE_EDGE, 0, &queue_ops, NULL);
	t3.edge = ipc_chan_new(sv[1], ROLE_EDGE, ROLE_QUEUE, 0, &edge_ops, NULL);
	ipc_call_init(&t3.call, &t3.owner, call_done);
	ipc_call_init(&t3.lost, &t3.owner, call_done);
	struct buf *b = ipc_call_begin(&t3.call, t3.edge, IPC_DRAFT);
	buf_put_block(b, SPAN("Q"));
	ipc_call_send(&t3.call, 1000000);
	loop_run();
	assert_int_equal(t3.done, 2);
	assert_int_equal(t3.rc[0], RC_OK);
	assert_int_equal(t3.rc[1], RC_TEMP);
	assert_int_equal(t3.downs, 2);
	assert_int_equal(metric_values[M_ipc_late], 1);
	ipc_call_fini(&t3.call);
	ipc_call_fini(&t3.lost);
	ipc_chan_free(&t3.edge);
	ipc_chan_free(&t3.queue);
}

static void
raw_frame(int fd, uint32_t len, uint16_t type, uint16_t has_fd)
{
	struct buf b;
	buf_init(&b, 100);
	buf_put_u32(&b, len);
	buf_put_u16(&b, type);
	buf_put_u16(&b, has_fd);
	buf_put_u64(&b, 1);
	assert_int_equal(write(fd, buf_span(&b).p, buf_len(&b)), (ssize_t)buf_len(&b));
	buf_fini(&b);
}

static void
down_and_stop(struct ipc_chan *c)
{
	t3.downs++;
	ipc_chan_free(&c);
	loop_stop();
}

static void
ipc_rejects_what_a_sibling_may_not_send(void **state)
{
	(void)state;
	static const struct ipc_chan_ops ops = { queue_frame, down_and_stop };
	static const struct {
		uint32_t len;
		uint16_t type, has_fd;
	} rows[] = {
		{ UINT32_MAX, IPC_SUBMIT, 0 }, { 0, 0, 0 }, { 0, IPC_TYPES, 0 }, { 0, 0xffff, 0 }, { 0, IPC_CONF, 0 }, { 0, IPC_JOB_DONE, 0 },
		{ 0, IPC_SUBMIT, 1 }, { 0, IPC_DRAFT, 7 }, { 0, IPC_ANSWER, 1 },
	};
	for (size_t i = 0; i < NELEMS(rows); i++) {
		int sv[2];
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
		t3.downs = 0;
		(void)ipc_chan_new(sv[0], ROLE_QUEUE, ROLE_EDGE, 0, &ops, NULL);
		raw_frame(sv[1], rows[i].len, rows[i].type, rows[i].has_fd);
		loop_run();
		assert_int_equal(t3.downs, 1);
		close(sv[1]);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(loop_now_is_the_time_of_the_wake_up, teardown),
		cmocka_unit_test_teardown(ops_complete_from_the_loop_only, teardown),
		cmocka_unit_test_teardown(conn_keeps_what_is_not_consumed, teardown),
		cmocka_unit_test_teardown(conn_tells_when_the_peer_goes, teardown),
		cmocka_unit_test_teardown(conn_gives_what_is_left_before_the_end, teardown),
		cmocka_unit_test_teardown(conn_pauses_and_resumes, teardown),
		cmocka_unit_test_teardown(conn_tells_a_paused_one_that_it_broke, teardown),
		cmocka_unit_test_teardown(conn_keeps_what_came_while_paused, teardown),
		cmocka_unit_test_teardown(conn_waits_with_the_end_while_paused, teardown),
		cmocka_unit_test_teardown(conn_breaks_when_its_output_limit_is_passed, teardown),
		cmocka_unit_test_teardown(ipc_calls_are_answered_or_end, teardown),
		cmocka_unit_test_teardown(ipc_rejects_what_a_sibling_may_not_send, teardown),
	};
	int failed;
	setup(NULL);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	timer_clear(&watchdog);
	loop_fini();
	return failed;
}
