/* SPDX-License-Identifier: BSD-2-Clause */
/* Peers that ask and do not read: what they may cost, and whom it must not concern. */
#include "unit.h"

#include "base/clock.h"
#include "base/metric.h"
#include "ipc/ipc.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ANSWER = 100, HEADER = 16, CALLS = 40000, BIG = 512 * 1024, WAITING = 1000 };

static struct timer watchdog;

static void
on_watchdog(struct timer *t)
{
	(void)t;
	fail_msg("the loop did not finish in time");
}

/* The channel of the one who answers, and the other end's descriptor: what a role does that has been taken over. */
static struct {
	struct ipc_chan *chan;
	int raw;
	struct watch watch;
	struct loop_hook hook;
	bool (*until)(void);
	uint64_t calls, handled, answers, bytes_in, unasked;
	size_t most, most_fds;
	bool reads, in_handler;
	int downs;
	enum ipc_type type;
	struct buf frames, got;
} w;

static void
look(struct loop_hook *h)
{
	(void)h;
	if (w.chan != NULL && ipc_unsent(w.chan) > w.most)
		w.most = ipc_unsent(w.chan);
	if (w.chan != NULL && w.chan->n_out_fds > w.most_fds)
		w.most_fds = w.chan->n_out_fds;
	if (w.until())
		loop_stop();
}

static int
begin(void **state)
{
	(void)state;
	loop_init();
	timer_init(&watchdog, on_watchdog);
	timer_set(&watchdog, 30 * USEC_PER_SEC);
	return 0;
}

static int
end(void **state)
{
	(void)state;
	timer_clear(&watchdog);
	loop_fini();
	return 0;
}

static void
down(struct ipc_chan *c)
{
	assert_false(w.in_handler); /* its owner is at work with what down() frees */
	w.downs++;
	w.chan = NULL;
	ipc_chan_free(&c);
}

static void
put_frame(struct buf *b, enum ipc_type type, uint64_t id, size_t n)
{
	buf_put_u32(b, (uint32_t)n);
	buf_put_u16(b, (uint16_t)type);
	buf_put_u16(b, 0);
	buf_put_u64(b, id);
	for (size_t i = 0; i < n; i++)
		buf_putc(b, 'x');
}

/* Counts whole answers in what came. */
static void
take_answers(void)
{
	for (;;) {
		struct cur rd = cur_of(buf_span(&w.got));
		if (cur_left(&rd) < HEADER)
			return;
		uint32_t n = cur_u32(&rd);
		if (buf_len(&w.got) < HEADER + n)
			return;
		buf_consume(&w.got, HEADER + n);
		w.answers++;
	}
}

static void
on_raw(struct watch *watch, short what)
{
	(void)watch;
	static char bytes[65536];
	while ((what & EV_WRITE) && buf_len(&w.frames) > 0) {
		struct span s = buf_span(&w.frames);
		ssize_t n = send(w.raw, s.p, s.n, MSG_NOSIGNAL);
		if (n < 0)
			break;
		buf_consume(&w.frames, (size_t)n);
	}
	ssize_t n;
	while (w.reads && (n = read(w.raw, bytes, sizeof bytes)) > 0) {
		w.bytes_in += (size_t)n;
		buf_put(&w.got, span_of(bytes, (size_t)n));
		take_answers();
	}
	watch_want(&w.watch, (short)((w.reads ? EV_READ : 0) | (buf_len(&w.frames) > 0 ? EV_WRITE : 0)));
}

static void
start(enum role self, enum role peer, const struct ipc_chan_ops *ops)
{
	int sv[2];
	memset(&w, 0, sizeof w);
	buf_init(&w.frames, SIZE_MAX);
	buf_init(&w.got, SIZE_MAX);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv), 0);
	w.raw = sv[1];
	w.chan = ipc_chan_new(sv[0], self, peer, 0, ops, NULL);
	int size = 65536; /* what the kernel holds is nobody's memory, but it would take longer to fill */
	assert_int_equal(setsockopt(sv[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size), 0);
	watch_init(&w.watch, w.raw, on_raw);
	metric_values[M_ipc_held] = 0;
	loop_hook_add(&w.hook, LOOP_FLUSH_LAST, look);
}

static void
run_until(bool (*until)(void))
{
	w.until = until;
	watch_want(&w.watch, EV_WRITE); /* on_raw() says what it waits for */
	loop_run();
}

static void
stop(void)
{
	loop_hook_remove(&w.hook);
	watch_clear(&w.watch);
	close(w.raw);
	ipc_chan_free(&w.chan);
	buf_fini(&w.frames);
	buf_fini(&w.got);
}

/* ---- answers at once ---- */

static enum rc
answer_at_once(struct ipc_chan *c, struct ipc_frame *f)
{
	static char text[ANSWER];
	w.handled++;
	w.in_handler = true;
	ipc_answer(c, f->id, span_of(text, sizeof text), f->type == IPC_DRAFT || f->type == IPC_DIAL ? open("/dev/null", O_WRONLY | O_CLOEXEC) : -1);
	w.in_handler = false;
	return RC_OK;
}

static bool
held_or_all(void)
{
	return metric_values[M_ipc_held] > 0 || w.handled == w.calls;
}

static bool
all_answered(void)
{
	return w.answers == w.calls;
}

static const struct ipc_chan_ops at_once = { answer_at_once, down };

static void
not_served_until_it_reads(void **state)
{
	static const struct {
		enum role self, peer;
		enum ipc_type type;
	} rows[] = {
		{ ROLE_QUEUE, ROLE_EDGE, IPC_ETRN }, { ROLE_LOOKUP, ROLE_EDGE, IPC_LOOKUP }, { ROLE_QUEUE, ROLE_EDGE, IPC_DRAFT }, { ROLE_MASTER, ROLE_EDGE, IPC_DIAL },
	};
	(void)state;
	for (size_t i = 0; i < NELEMS(rows); i++) {
		start(rows[i].self, rows[i].peer, &at_once);
		for (; w.calls < CALLS; w.calls++)
			put_frame(&w.frames, rows[i].type, w.calls, 0);
		run_until(held_or_all);
		assert_true(w.handled < w.calls);
		assert_int_equal(w.downs, 0);
		/* it reads: as if nothing had been */
		w.reads = true;
		run_until(all_answered);
		assert_int_equal(w.handled, w.calls);
		assert_int_equal(w.downs, 0);
		assert_true(w.most <= 1024 * 1024 + ANSWER + HEADER);
		assert_true(w.most_fds <= 32);
		assert_false(w.chan->held);
		stop();
	}
}

static bool
is_down(void)
{
	return w.downs > 0;
}

/* A channel that nothing is read from still has an end. */
static void
goes_while_held(void **state)
{
	(void)state;
	start(ROLE_QUEUE, ROLE_EDGE, &at_once);
	for (; w.calls < CALLS; w.calls++)
		put_frame(&w.frames, IPC_ETRN, w.calls, 0);
	run_until(held_or_all);
	assert_true(w.chan->held);
	shutdown(w.raw, SHUT_RDWR);
	run_until(is_down);
	stop();
}

/* It says something and ends, and is sent something before it is listened to: it is heard. */
static void
heard_after_its_end(void **state)
{
	(void)state;
	for (int shuts = 0; shuts < 2; shuts++) {
		start(ROLE_QUEUE, ROLE_EDGE, &at_once);
		for (; w.calls < 5; w.calls++)
			put_frame(&w.frames, shuts ? IPC_ETRN : IPC_DRAFT, w.calls, 0);
		struct span s = buf_span(&w.frames);
		assert_int_equal(write(w.raw, s.p, s.n), (ssize_t)s.n);
		if (shuts) /* reading is over, but it is there: no reason to keep the channel */
			shutdown(w.raw, SHUT_RD);
		else
			shutdown(w.raw, SHUT_RDWR);
		ipc_answer(w.chan, 7, SPAN_EMPTY, open("/dev/null", O_WRONLY | O_CLOEXEC));
		ipc_answer(w.chan, 8, SPAN("x"), -1);
		w.until = is_down;
		loop_run();
		assert_int_equal(w.handled, w.calls);
		assert_int_equal(w.downs, 1);
		stop();
	}
}

/* ---- answers later ---- */

static enum rc
let_wait(struct ipc_chan *c, struct ipc_frame *f)
{
	(void)c, (void)f;
	w.handled++;
	return RC_OK;
}

static bool
all_wait(void)
{
	return w.handled == w.calls;
}

static void
ends_when_answers_pile_up(void **state)
{
	static const struct ipc_chan_ops ops = { let_wait, down };
	static char big[BIG];
	(void)state;
	start(ROLE_LOOKUP, ROLE_QUEUE, &ops);
	for (; w.calls < WAITING; w.calls++)
		put_frame(&w.frames, IPC_LOOKUP, w.calls, 0);
	run_until(all_wait);
	w.in_handler = true;
	for (uint64_t i = 0; i < w.calls; i++)
		ipc_answer(w.chan, i, span_of(big, sizeof big), -1);
	assert_true(ipc_unsent(w.chan) <= 64 * 1024 * 1024 + BIG + HEADER);
	ipc_answer(w.chan, 0, SPAN_EMPTY, open("/dev/null", O_WRONLY | O_CLOEXEC)); /* given, and closed */
	w.in_handler = false;
	run_until(is_down);
	assert_int_equal(w.downs, 1);
	stop();
}

/* ---- what is no answer ---- */

static bool
has_all_results(void)
{
	return w.handled == w.calls;
}

/* A relay that is busy, and reports all the same. */
static void
jobs_do_not_stop_results(void **state)
{
	static const struct ipc_chan_ops ops = { let_wait, down };
	static char big[BIG];
	(void)state;
	start(ROLE_QUEUE, ROLE_RELAY, &ops);
	for (int i = 0; i < 16; i++)
		ipc_send(w.chan, IPC_JOB, 0, span_of(big, sizeof big), open("/dev/null", O_RDONLY | O_CLOEXEC));
	for (int i = 0; i < 100; i++)
		ipc_send(w.chan, IPC_JOB, 0, SPAN("x"), open("/dev/null", O_RDONLY | O_CLOEXEC));
	for (; w.calls < CALLS; w.calls++)
		put_frame(&w.frames, IPC_JOB_DONE, 0, 10);
	run_until(has_all_results);
	assert_int_equal(metric_values[M_ipc_held], 0);
	assert_true(ipc_unsent(w.chan) > 4 * 1024 * 1024);
	stop();
}

/* A child hears the master whatever is the matter. */
static void
a_child_hears_the_master(void **state)
{
	(void)state;
	start(ROLE_RELAY, ROLE_MASTER, &at_once);
	for (; w.calls < CALLS; w.calls++)
		put_frame(&w.frames, IPC_STATUS, w.calls, 0);
	run_until(held_or_all);
	assert_int_equal(w.handled, w.calls);
	stop();
}

/* ipc.h: of two siblings one calls and the other answers. */
static void
calls_go_one_way(void **state)
{
	static const struct {
		const char *name;
		unsigned from, to;
		const char *doc;
	} rows[] = {
#define MSG(name, from, to, fd, doc) { #name, from, to, doc },
#include "ipc/msgs.def"
#undef MSG
	};
	(void)state;
	size_t ncalls = 0;
	for (size_t i = 0; i < NELEMS(rows); i++) {
		if (strncmp(rows[i].doc, "Call:", 5) != 0)
			continue;
		ncalls++;
		for (size_t k = 0; k < NELEMS(rows); k++)
			if (strncmp(rows[k].doc, "Call:", 5) == 0 && (rows[i].from & rows[k].to & ~(unsigned)ROLE_MASTER) != 0 && (rows[i].to & rows[k].from & ~(unsigned)ROLE_MASTER) != 0)
				fail_msg("%s and %s go both ways", rows[i].name, rows[k].name);
	}
	assert_true(ncalls >= 7);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(not_served_until_it_reads),
		cmocka_unit_test(goes_while_held),
		cmocka_unit_test(heard_after_its_end),
		cmocka_unit_test(ends_when_answers_pile_up),
		cmocka_unit_test(jobs_do_not_stop_results),
		cmocka_unit_test(a_child_hears_the_master),
		cmocka_unit_test(calls_go_one_way),
	};
	return cmocka_run_group_tests(tests, begin, end);
}
