/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * queue_quarantine.c - the queue dies (kill -9, power loss) at every step of a held message's life: stored, released, delivered,
 * deleted, expired, spool and quarantine together. Another process starts on what is left, releases whatever is still held, and then
 * everybody has his mail exactly once, but who was being delivered to at that moment; what was deleted or has expired is nowhere; files and
 * index agree.
 *
 *	queue_quarantine [STRIDE [OFFSET]]    every STRIDE-th step from OFFSET on
 */
#include "queue_world.h"

#include "queue/quarantine.h"
#include "shim.h"

#include <sys/wait.h>

enum { DELIVERIES = 64, ONE = 0, TWO, THREE, LAST, RCPTS, POLLS = 4000 };
static const char *const names[RCPTS] = { "one@local.test", "two@second.test", "three@other.test", "last@local.test" };

static struct shared {
	_Atomic uint64_t calls;
	bool accepted, last_accepted, released, written, deleted, expiring, expired, complete;
	unsigned delivered[2][RCPTS];    /* in the life that is killed, and the next */
	struct spool_id id, last;        /* of the second message, to LAST alone: it expires */
} *shared;
static int life;
static char store_dir[120];

#define NEED(x) need((x), #x, __LINE__)
static void
need(bool ok, const char *what, int line)
{
	if (ok)
		return;
	fprintf(stderr, "queue_quarantine.c:%d: not so: %s\n", line, what);
	_exit(3);
}

static enum act
deliver(const struct got_job *j)
{
	for (unsigned i = 0; i < RCPTS; i++)
		if (strcmp(j->first, names[i]) == 0)
			shared->delivered[life][i]++;
	return ACT_SEND;
}

/* The loop, until it is so. */
static bool (*wanted)(void);
static struct timer ticks;
static unsigned left;

static void
on_tick(struct timer *t)
{
	if (wanted() || --left == 0)
		loop_stop();
	else
		timer_set(t, 1000);
}

static void
until(bool (*cond)(void), const char *what)
{
	wanted = cond;
	left = POLLS;
	timer_init(&ticks, on_tick);
	timer_set(&ticks, 0);
	loop_run();
	if (left == 0) {
		char text[4000];
		log_flush();
		ssize_t n = pread(w.log_fd, text, sizeof text, 0);
		fprintf(stderr, "life %d: %.*s\n  messages %zu mending %d idle %d\n", life, n > 0 ? (int)n : 0, text, w.q.table.count, w.q.quarantine.is_mending, quarantine_idle(&w.q));
	}
	need(left > 0, what, 0);
}
#define UNTIL(c) until((c), #c)

static bool
empty(void)
{
	return w.q.table.count == 0 && w.submitted > 0 && quarantine_idle(&w.q);
}

static bool
quiet(void)
{
	return w.q.table.count == 0 && !w.q.quarantine.is_mending && quarantine_idle(&w.q);
}

static unsigned sent;

static bool
answered(void)
{
	return w.submitted == sent;
}

static struct quarantine_order order;
static struct op_owner owner;
static bool over;
static struct quar_req look;

static void
on_over(struct op *op)
{
	(void)op;
	over = true;
}

static bool
is_over(void)
{
	return over;
}

static void
begin(void)
{
	quarantine_order_fini(&order);
	op_owner_init(&owner);
	quarantine_order_init(&order, &w.q, &owner, on_over);
	over = false;
}

static void
start(const char *dir)
{
	memset(&w, 0, sizeof w);
	loop_init();
	snprintf(w.dir, sizeof w.dir, "%s", dir);
	snprintf(store_dir, sizeof store_dir, "%s/quarantine", dir);
	w.log_fd = memfd_create("log", MFD_CLOEXEC);
	log_open(LOG_TO_FD, fcntl(w.log_fd, F_DUPFD_CLOEXEC, 3), LOG_POSTFIX, "dogana", "qmgr");
	settings_defaults(&w.set);
	w.set.myhostname = w.set.myorigin = "gw.test";
	w.has_quarantine = true;
	w.held = (struct quar_settings){ .dir = store_dir, .allow_limit = 10 };
	w.decide = deliver;
	world_open();
	world_edge();
	world_relay(0);
}

/* A message to some of them; THREE is not held. false: it was not accepted. */
static bool
hand_over(struct spool_id *out, unsigned from, unsigned to)
{
	struct env_rcpt rcpt[RCPTS];
	unsigned before = w.accepted;
	struct held why = { .class = HELD_POLICY, .reason = SPAN("test") };
	struct buf block;
	buf_init(&block, HELD_BYTES_MAX);
	held_put(&block, &why);
	for (unsigned i = from; i < to; i++)
		rcpt[i - from] = (struct env_rcpt){ .addr = span_str(names[i]), .notify = NOTIFY_NEVER, .held = i != THREE };
	const struct envelope env = { .arrival = clock_wall(), .sender = SPAN("a@remote.test"), .client = SPAN("unknown[192.0.2.9]"), .rcpt = rcpt, .nrcpt = to - from,
		.held = buf_span(&block) };
	char id[SPOOL_ID_TEXT];
	*out = spool_id_next(77);
	submit_env(&env, span_of(id, spool_id_text(out, id)), SPAN("Subject: x\r\n\r\nhello\r\n"));
	buf_fini(&block);
	sent++;
	UNTIL(answered);
	return w.accepted > before;
}

/* The life that is killed somewhere. */
static void
first_life(const struct shim_plan *plan, const char *dir)
{
	start(dir);
	UNTIL(quiet);
	shim_start(plan, &shared->calls);
	shared->accepted = hand_over(&shared->id, ONE, LAST);
	shared->last_accepted = hand_over(&shared->last, LAST, RCPTS);
	UNTIL(empty);
	struct span one = span_str(names[ONE]), two = span_str(names[TWO]);
	begin();
	quarantine_release(&order, &shared->id, &one, 1, SPAN_EMPTY, false, SPAN("test"));
	UNTIL(is_over);
	shared->released = order.op.rc == RC_OK;
	UNTIL(empty);
	/* ends are written with the next message at the latest: what follows stands behind this one's */
	unsigned before = w.accepted;
	submit("a@remote.test", "four@local.test");
	sent++;
	UNTIL(answered);
	shared->written = w.accepted > before;
	UNTIL(empty);
	begin();
	quarantine_delete(&order, &shared->id, &two, 1, SPAN("test"));
	UNTIL(is_over);
	shared->deleted = order.op.rc == RC_OK;
	UNTIL(empty);
	struct quar_settings brief = w.held;
	for (unsigned c = 0; c < HELD_CLASSES; c++)
		brief.retention[c] = 1; /* all of it is due */
	shared->expiring = true;
	quarantine_reconfigure(&w.q, &brief);
	begin();
	quarantine_expire(&order, SPAN("test"));
	UNTIL(is_over);
	shared->expired = order.op.rc == RC_OK;
	UNTIL(empty);
	queue_fini(&w.q);
	shared->complete = true;
	_exit(0);
}

static enum quar_state
state_of(unsigned i)
{
	quar_req_init(&look, &w.q.ops, on_over);
	over = false;
	quar_get(w.q.quarantine.store, &look, i == LAST ? &shared->last : &shared->id);
	UNTIL(is_over);
	enum quar_state s = QUAR_NONE;
	for (uint32_t k = 0; look.op.rc == RC_OK && k < look.rows[0].nrcpt; k++)
		if (span_eq_str(look.rows[0].rcpt[k].addr, names[i]))
			s = look.rows[0].rcpt[k].state;
	quar_req_fini(&look);
	return s;
}

static bool
is_scrubbed(void)
{
	return !w.q.quarantine.is_scrubbing;
}

static void
no_flaws(void)
{
	UNTIL(is_scrubbed);
	quar_req_init(&look, &w.q.ops, on_over);
	for (uint64_t cursor = 0;;) {
		over = false;
		quar_check(w.q.quarantine.store, &look, QUAR_CHECK_SUMS, cursor);
		UNTIL(is_over);
		NEED(look.op.rc == RC_OK || look.op.rc == RC_NONE);
		for (size_t i = 0; i < look.n; i++)
			fprintf(stderr, "flaw: %s %.*s %.*s\n", quar_flaw_name(look.findings[i].flaw), (int)look.findings[i].name.n, (const char *)look.findings[i].name.p,
			    (int)look.findings[i].detail.n, (const char *)look.findings[i].detail.p);
		NEED(look.n == 0);
		if (!look.more)
			break;
		cursor = look.cursor;
	}
	quar_req_fini(&look);
}

/* Once, and not again. */
static void
release_all(const struct spool_id *id)
{
	for (unsigned i = 0; i < 2; i++) {
		begin();
		quarantine_release(&order, id, NULL, 0, SPAN_EMPTY, false, SPAN("test"));
		UNTIL(is_over);
		NEED(order.op.rc == (i == 0 ? RC_OK : RC_NONE));
		UNTIL(quiet);
	}
}

/* What is left is put in order, whoever is held still is released, and everything is counted. */
static void
next_life(const char *dir)
{
	start(dir);
	UNTIL(quiet);
	no_flaws();
	enum quar_state was[RCPTS] = { state_of(ONE), state_of(TWO), state_of(THREE), state_of(LAST) };
	NEED(was[THREE] == QUAR_NONE);
	NEED(was[LAST] == QUAR_NONE || was[LAST] == QUAR_HELD);
	if (shared->last_accepted && !shared->expiring)
		NEED(was[LAST] == QUAR_HELD);
	if (shared->expired)
		NEED(was[ONE] == QUAR_NONE && was[TWO] == QUAR_NONE && was[LAST] == QUAR_NONE);
	NEED(was[ONE] != QUAR_RELEASING && was[TWO] != QUAR_RELEASING);
	if (shared->released)
		NEED(was[ONE] != QUAR_HELD);
	if (shared->deleted)
		NEED(was[TWO] != QUAR_HELD);
	if (was[ONE] == QUAR_HELD || was[TWO] == QUAR_HELD)
		release_all(&shared->id);
	if (was[LAST] == QUAR_HELD)
		release_all(&shared->last);
	for (unsigned i = 0; i < RCPTS; i++) {
		unsigned before = shared->delivered[0][i], after = shared->delivered[1][i];
		NEED(before <= 1 && after <= 1);
		bool may_go = i == TWO || i == LAST; /* deleted; expired */
		if (shared->accepted && !may_go)
			NEED(before + after >= 1);
		if (may_go)
			NEED(before == 0 && after == (was[i] == QUAR_HELD ? 1 : 0));
		/* behind a finished delivery that was written down there is none */
		if (i == ONE && shared->written)
			NEED(before + after == 1);
	}
	no_flaws();
	queue_fini(&w.q);
	_exit(0);
}

static int
child(int which, const struct shim_plan *plan, const char *dir)
{
	pid_t pid = fork();
	if (pid == 0) {
		life = which;
		if (which == 0)
			first_life(plan, dir);
		else
			next_life(dir);
	}
	int status = 0;
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return 99;
	return WIFEXITED(status) ? WEXITSTATUS(status) : WIFSIGNALED(status) ? 128 + WTERMSIG(status) : 99;
}

/* false: the life came to its end before that step. */
static bool
one(const struct shim_plan *plan, unsigned *failed)
{
	char dir[64];
	memset(shared, 0, sizeof *shared);
	snprintf(dir, sizeof dir, "/dev/shm/dogana-quarantine-crash-XXXXXX");
	if (mkdtemp(dir) == NULL)
		_exit(99);
	int a = child(0, plan, dir), b = child(1, plan, dir);
	if ((a != 0 && a != SHIM_EXIT && a != 128 + SIGKILL) || b != 0) {
		printf("%s at step %llu: %d, then %d (accepted %d released %d deleted %d; expired %d; delivered %u %u %u, then %u %u %u)\n",
		    plan->how == SHIM_POWER ? "power loss" : "kill", (unsigned long long)plan->from, a, b, shared->accepted, shared->released, shared->deleted, shared->expired,
		    shared->delivered[0][0], shared->delivered[0][1], shared->delivered[0][2], shared->delivered[1][0], shared->delivered[1][1], shared->delivered[1][2]);
		++*failed;
	}
	bool killed = !shared->complete;
	remove_tree(dir);
	return killed;
}

int
main(int argc, char **argv)
{
	unsigned stride = argc > 1 ? (unsigned)atol(argv[1]) : 9, offset = argc > 2 ? (unsigned)atol(argv[2]) : 1, failed = 0, runs = 0;
	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return 99;
	const struct { enum shim_how how; bool before; } kinds[] = { { SHIM_KILL, false }, { SHIM_KILL, true }, { SHIM_POWER, false } };
	for (size_t k = 0; k < NELEMS(kinds); k++)
		for (uint64_t at = offset;; at += stride) {
			const struct shim_plan plan = { .how = kinds[k].how, .from = at, .to = at + 1, .seed = at * 31 + 7, .before = kinds[k].before };
			runs++;
			if (!one(&plan, &failed))
				break;
		}
	printf("%u passed, %u failed\n", runs - failed, failed);
	return failed > 0;
}
