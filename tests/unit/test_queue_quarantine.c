/* SPDX-License-Identifier: BSD-2-Clause */
/* Held mail in the queue: into the store, what recipients and the allow table say, out again exactly once. */
#include "queue_world.h"

#include "map/map.h"
#include "quarantine/files.h"
#include "queue/quarantine.h"
#include "queue/wish.h"
#include "spool/io.h"

static char quar_dir[96];
static unsigned given;           /* messages handed over */

static bool
mended(void)
{
	return !w.q.quarantine.is_mending;
}

static int
setup(void **state)
{
	int rc = world_setup(state);
	if (rc != 0)
		return rc;
	queue_fini(&w.q);
	ipc_chan_free(&w.edge);
	given = 0;
	w.has_quarantine = true;
	snprintf(quar_dir, sizeof quar_dir, "%s/quarantine", w.dir);
	w.held = (struct quar_settings){ .dir = quar_dir, .allow_limit = 100 };
	world_open();
	world_edge();
	RUN_UNTIL(mended); /* nothing is released before */
	return 0;
}

/* ---- what an edge hands over ---- */

static struct buf held_block;

static struct span
block(enum held_class class)
{
	const struct held h = { .class = class, .reason = SPAN("we know why"), .rule = SPAN("a rule"), .subject = SPAN("test") };
	if (held_block.max == 0)
		buf_init(&held_block, HELD_BYTES_MAX);
	buf_reset(&held_block);
	held_put(&held_block, &h);
	return buf_span(&held_block);
}

/* Recipients separated by blanks, "!" in front of those that are held. */
static void
submit_held(const char *from, const char *to, enum held_class class, uint32_t flags, struct span content)
{
	struct env_rcpt rcpt[64] = { { .notify = 0 } };
	struct envelope env = { .arrival = clock_wall(), .sender = span_str(from), .client = SPAN("unknown[192.0.2.9]"), .rcpt = rcpt, .flags = flags,
		.envid = SPAN("env+2Bid"), .held = block(class) };
	struct span rest = span_str(to), word;
	while (span_word(&rest, " ", &word)) {
		rcpt[env.nrcpt].held = word.p[0] == '!';
		rcpt[env.nrcpt].notify = NOTIFY_SUCCESS | NOTIFY_FAILURE;
		rcpt[env.nrcpt].orcpt = SPAN("rfc822;orig@x");
		rcpt[env.nrcpt++].addr = span_from(word, word.p[0] == '!');
	}
	char id[SPOOL_ID_TEXT];
	w.last_id = spool_id_next(77);
	given++;
	submit_env(&env, span_of(id, spool_id_text(&w.last_id, id)), content);
}

#define TEXT "From: x\r\nSubject: test\r\n\r\n.hello\r\n"

static bool
table_empty(void)
{
	return w.q.table.count == 0 && w.submitted == given;
}

static bool
refused_one(void)
{
	return w.refused > 0;
}

/* ---- requests to the store ---- */

static struct {
	struct quar_req req;
	struct op_owner owner;
	bool done;
	enum rc rc;
} look;

static void
on_look(struct op *op)
{
	look.done = true;
	look.rc = op->rc;
}

static bool
look_done(void)
{
	return look.done;
}

static void
begin_look(void)
{
	if (look.req.op.magic != 0)
		quar_req_fini(&look.req);
	op_owner_init(&look.owner);
	quar_req_init(&look.req, &look.owner, on_look);
	look.done = false;
}

/* "class: addr=state addr=state", or "none" */
static const char *
stored(const struct spool_id *id)
{
	static char text[1000];
	begin_look();
	quar_get(w.q.quarantine.store, &look.req, id);
	RUN_UNTIL(look_done);
	if (look.rc == RC_NONE)
		return "none";
	assert_int_equal(look.rc, RC_OK);
	int n = snprintf(text, sizeof text, "%s:", held_class_name(look.req.rows[0].class));
	for (uint32_t i = 0; i < look.req.rows[0].nrcpt; i++) {
		const struct quar_rcpt *r = &look.req.rows[0].rcpt[i];
		n += snprintf(text + n, sizeof text - (size_t)n, " %.*s=%s", (int)r->addr.n, (const char *)r->addr.p, quar_state_name(r->state));
	}
	return text;
}

/* What becomes of a copy is written down while nobody waits for it. */
static void
comes_to(const struct spool_id *id, const char *want)
{
	for (unsigned i = 0; i < 200 && strcmp(stored(id), want) != 0; i++)
		run_turns(2);
	assert_string_equal(stored(id), want);
}

static struct quarantine_order order;
static struct op_owner order_owner;
static bool order_done;

static void
on_order(struct op *op)
{
	(void)op;
	order_done = true;
}

static bool
order_over(void)
{
	return order_done;
}

static void
begin_order(void)
{
	quarantine_order_fini(&order);
	op_owner_init(&order_owner);
	quarantine_order_init(&order, &w.q, &order_owner, on_order);
	order_done = false;
}

static enum rc
release(const struct spool_id *id, const char *one, const char *to, bool attach)
{
	struct span addr = span_str(one);
	begin_order();
	quarantine_release(&order, id, &addr, one != NULL ? 1 : 0, span_str(to), attach, SPAN("tester"));
	RUN_UNTIL(order_over);
	return order.op.rc;
}

/* ---- in ---- */

static void
test_whole_message(void **state)
{
	(void)state;
	world_relay(0);
	submit_held("a@remote.test", "!one@local.test !two@local.test", HELD_POLICY, 0, SPAN(TEXT));
	RUN_UNTIL(table_empty);
	assert_int_equal(w.accepted, 1);
	assert_int_equal(w.njobs, 0);
	assert_string_equal(stored(&w.last_id), "policy: one@local.test=held two@local.test=held");
	assert_true(logged("to=<one@local.test>, relay=quarantine, "));
	assert_true(logged("dsn=2.0.0, status=held (policy: we know why)"));
	assert_true(logged(": removed"));
}

/* One is relayed, one is held, and nobody is told of another's copy. */
static void
test_one_of_three(void **state)
{
	(void)state;
	world_relay(0);
	submit_held("a@remote.test", "one@local.test !two@local.test three@other.test", HELD_CONTENT, 0, SPAN(TEXT));
	RUN_UNTIL(table_empty);
	assert_int_equal(w.njobs, 3); /* two deliveries, and a success report about both */
	for (size_t i = 0; i < w.njobs; i++)
		assert_int_equal(span_find(buf_span(&w.jobs[i].content), SPAN("two@local.test")), SIZE_MAX);
	assert_string_equal(stored(&w.last_id), "content: two@local.test=held");
	assert_int_equal(look.req.rows[0].rcpt[0].notify, NOTIFY_SUCCESS | NOTIFY_FAILURE);
	assert_span(look.req.env.envid, "env+2Bid");
}

static void
test_large(void **state)
{
	(void)state;
	struct buf big;
	buf_init(&big, 1 << 20);
	buf_puts(&big, "Subject: big\r\n\r\n");
	while (buf_len(&big) < 100000)
		buf_puts(&big, "0123456789012345678901234567890123456789012345678901234567\r\n");
	submit_held("a@remote.test", "!one@local.test", HELD_VIRUS, 0, buf_span(&big));
	RUN_UNTIL(table_empty);
	world_relay(0);
	assert_int_equal(release(&w.last_id, NULL, NULL, false), RC_OK);
	RUN_UNTIL(table_empty);
	assert_int_equal(w.njobs, 2); /* and a success report */
	struct span got = buf_span(&w.jobs[0].content);
	assert_true(got.n > buf_len(&big));
	assert_true(span_eq(span_from(got, got.n - buf_len(&big)), buf_span(&big)));
	buf_fini(&big);
}

/* What an edge must not say. */
static void
test_forged(void **state)
{
	(void)state;
	submit_held("a@remote.test", "one@local.test", HELD_POLICY, MSGF_RELEASED, SPAN(TEXT));
	RUN_UNTIL(refused_one);
	struct env_rcpt rcpt = { .addr = SPAN("one@local.test"), .held = true };
	const struct envelope bare = { .sender = SPAN("a@b"), .nrcpt = 1, .rcpt = &rcpt };
	assert_int_equal(envelope_check(&bare, NULL), RC_PERM);
	struct envelope junk = bare;
	junk.held = SPAN("\001\001junk");
	rcpt.held = false;
	assert_int_equal(envelope_check(&junk, NULL), RC_PERM);
	junk.held = block(HELD_MILTER);
	assert_int_equal(envelope_check(&junk, NULL), RC_OK);
}

/* ---- out ---- */

static void
test_release(void **state)
{
	(void)state;
	submit_held("a@remote.test", "!one@local.test !two@local.test", HELD_POLICY, MSGF_HAS_DOTS | MSGF_RET_HDRS, SPAN(TEXT));
	RUN_UNTIL(table_empty);
	struct spool_id id = w.last_id;
	world_relay(0);
	assert_int_equal(release(&id, "one@local.test", NULL, false), RC_OK);
	struct spool_id copy = order.copy;
	assert_int_equal(order.n, 1);
	RUN_UNTIL(table_empty);
	assert_int_equal(w.njobs, 2); /* and the success report its sender asked for */
	const struct got_job *j = &w.jobs[0];
	char qid[SPOOL_ID_TEXT], held_as[SPOOL_ID_TEXT], want[200];
	spool_id_text(&copy, qid);
	spool_id_text(&id, held_as);
	assert_string_equal(j->qid, qid);
	assert_string_equal(j->sender, "a@remote.test");
	assert_string_equal(j->first, "one@local.test");
	assert_int_equal(j->flags & (MSGF_RELEASED | MSGF_HAS_DOTS | MSGF_RET_HDRS), MSGF_RELEASED | MSGF_HAS_DOTS | MSGF_RET_HDRS);
	/* byte for byte, and one Received line in front */
	struct span got = buf_span(&j->content), text = SPAN(TEXT);
	assert_true(got.n > text.n && span_eq(span_from(got, got.n - text.n), text));
	struct span front = span_head(got, got.n - text.n);
	snprintf(want, sizeof want, "Received: from quarantine (gw.test [held as %s])\r\n\tby gw.test (Dogana) id %s;\r\n\t", held_as, qid);
	assert_true(span_starts(front, span_str(want)));
	comes_to(&id, "policy: one@local.test=delivered two@local.test=held");
	snprintf(want, sizeof want, "%s: released as %s, nrcpt=1, by tester", held_as, qid);
	assert_true(logged(want));
	/* again: nobody of these is held */
	assert_int_equal(release(&id, "one@local.test", NULL, false), RC_NONE);
	assert_int_equal(release(&id, NULL, NULL, false), RC_OK);
	RUN_UNTIL(table_empty);
	assert_int_equal(w.njobs, 4);
	assert_string_equal(w.jobs[2].first, "two@local.test");
	assert_int_equal(release(&id, NULL, NULL, false), RC_NONE);
	assert_int_equal(w.njobs, 4);
}

/* Two administrators at the same moment. */
static void
test_two_at_once(void **state)
{
	(void)state;
	submit_held("a@remote.test", "!one@local.test", HELD_POLICY, 0, SPAN(TEXT));
	RUN_UNTIL(table_empty);
	struct spool_id id = w.last_id;
	world_relay(0);
	struct quarantine_order other = { .n = 0 };
	struct op_owner owner;
	op_owner_init(&owner);
	quarantine_order_init(&other, &w.q, &owner, on_order);
	quarantine_release(&other, &id, NULL, 0, SPAN_EMPTY, false, SPAN("first"));
	enum rc second = release(&id, NULL, NULL, false);
	run_turns(50);
	RUN_UNTIL(table_empty);
	assert_true((other.op.rc == RC_OK) != (second == RC_OK));
	assert_int_equal(w.njobs, 2);
	quarantine_order_fini(&other);
}

static bool
has_job(void)
{
	return w.njobs > 0;
}

/* Whoever ordered it is gone: it is done all the same. */
static void
test_asker_gone(void **state)
{
	(void)state;
	submit_held("a@remote.test", "!one@local.test", HELD_POLICY, 0, SPAN(TEXT));
	RUN_UNTIL(table_empty);
	struct spool_id id = w.last_id;
	world_relay(0);
	begin_order();
	quarantine_release(&order, &id, NULL, 0, SPAN_EMPTY, false, SPAN("tester"));
	quarantine_order_fini(&order);
	RUN_UNTIL(has_job);
	RUN_UNTIL(table_empty);
	assert_false(order_done);
	comes_to(&id, "policy: one@local.test=delivered");
}

static enum act
defer_all(const struct got_job *j)
{
	(void)j;
	return ACT_DEFER;
}

static enum act
bounce_all(const struct got_job *j)
{
	return j->sender[0] != '\0' ? ACT_BOUNCE : ACT_SEND;
}

static bool
one_deferred(void)
{
	return w.q.table.in_queue[MQ_DEFERRED] == 1;
}

/* The hub defers: it stays released and queued, over a restart, and is not held again. */
static void
test_deferred(void **state)
{
	(void)state;
	submit_held("a@remote.test", "!one@local.test", HELD_POLICY, 0, SPAN(TEXT));
	RUN_UNTIL(table_empty);
	struct spool_id id = w.last_id;
	world_relay(0);
	w.decide = defer_all;
	assert_int_equal(release(&id, NULL, NULL, false), RC_OK);
	RUN_UNTIL(one_deferred);
	assert_string_equal(stored(&id), "policy: one@local.test=released");
	assert_int_equal(release(&id, NULL, NULL, false), RC_NONE);
	quar_req_fini(&look.req);
	memset(&look, 0, sizeof look);
	quarantine_order_fini(&order);
	run_turns(30);
	world_restart();
	world_relay(0);
	RUN_UNTIL(one_deferred);
	w.decide = bounce_all;
	assert_non_null(strstr(ask("queue flush"), "ok"));
	RUN_UNTIL(table_empty);
	comes_to(&id, "policy: one@local.test=returned");
}

static void
test_elsewhere(void **state)
{
	(void)state;
	submit_held("a@remote.test", "!one@local.test", HELD_ATTACHMENT, 0, SPAN(TEXT));
	RUN_UNTIL(table_empty);
	struct spool_id id = w.last_id;
	world_relay(0);
	assert_int_equal(release(&id, NULL, "admin@local.test", true), RC_OK);
	RUN_UNTIL(table_empty);
	assert_int_equal(w.njobs, 1); /* no report to the sender */
	assert_string_equal(w.jobs[0].sender, "");
	assert_string_equal(w.jobs[0].first, "admin@local.test");
	struct span got = buf_span(&w.jobs[0].content);
	assert_int_not_equal(span_find(got, SPAN("To: admin@local.test\r\n")), SIZE_MAX);
	assert_int_not_equal(span_find(got, SPAN("\r\n\r\n" TEXT "\r\n--")), SIZE_MAX);
	comes_to(&id, "attachment: one@local.test=held admin@local.test=delivered");
}

/* ---- what recipients and administrators want ---- */

static void
test_allow(void **state)
{
	(void)state;
	submit_held("a@remote.test", "!one@local.test !two@local.test", HELD_POLICY, 0, SPAN(TEXT));
	RUN_UNTIL(table_empty);
	struct spool_id id = w.last_id;
	struct span one = SPAN("one@local.test");
	begin_order();
	quarantine_allow(&order, &id, &one, 1, false, SPAN("tester"));
	RUN_UNTIL(order_over);
	assert_int_equal(order.op.rc, RC_OK);
	assert_int_equal(order.n, 1);
	assert_true(logged("from=<a@remote.test> to=<one@local.test> will not be held any more, by tester"));
	world_relay(0);
	submit_held("a@remote.test", "!one@local.test !two@local.test", HELD_POLICY, 0, SPAN(TEXT));
	RUN_UNTIL(table_empty);
	assert_string_equal(w.jobs[0].first, "one@local.test");
	assert_string_equal(stored(&w.last_id), "policy: two@local.test=held");
	/* never a virus, and no original of what went on already */
	submit_held("a@remote.test", "!one@local.test", HELD_VIRUS, 0, SPAN(TEXT));
	RUN_UNTIL(table_empty);
	assert_string_equal(stored(&w.last_id), "virus: one@local.test=held");
	begin_order();
	quarantine_allow(&order, &w.last_id, NULL, 0, true, SPAN("tester"));
	RUN_UNTIL(order_over);
	assert_int_equal(order.op.rc, RC_PERM);
	submit_held("a@remote.test", "!one@local.test", HELD_ATTACHMENT, MSGF_KEPT, SPAN(TEXT));
	RUN_UNTIL(table_empty);
	assert_string_equal(stored(&w.last_id), "attachment: one@local.test=held");
	begin_order();
	quarantine_allow(&order, &w.last_id, NULL, 0, true, SPAN("tester"));
	RUN_UNTIL(order_over);
	assert_int_equal(order.op.rc, RC_OK);
	assert_true(logged("from=<a@remote.test> to anybody will not be held any more, by tester"));
	assert_false(logged("to=<>"));
}

static void
test_delete(void **state)
{
	(void)state;
	submit_held("a@remote.test", "!one@local.test !two@local.test", HELD_POLICY, 0, SPAN(TEXT));
	RUN_UNTIL(table_empty);
	struct span one = SPAN("one@local.test");
	begin_order();
	quarantine_delete(&order, &w.last_id, &one, 1, SPAN("tester"));
	RUN_UNTIL(order_over);
	assert_int_equal(order.op.rc, RC_OK);
	assert_string_equal(stored(&w.last_id), "policy: one@local.test=deleted two@local.test=held");
	begin_order();
	quarantine_delete(&order, &w.last_id, NULL, 0, SPAN("tester"));
	RUN_UNTIL(order_over);
	assert_int_equal(order.n, 1);
	assert_string_equal(stored(&w.last_id), "none");
	assert_int_equal(release(&w.last_id, NULL, NULL, false), RC_NONE);
}

static void
test_wishes(void **state)
{
	static const struct {
		const char *value;
		enum held_class class;
		enum rc rc;
		enum wish want;
	} rows[] = {
		{ "hold", HELD_POLICY, RC_OK, WISH_HOLD }, { "deliver", HELD_POLICY, RC_OK, WISH_DELIVER }, { "deliver", HELD_VIRUS, RC_OK, WISH_HOLD },
		{ "virus=deliver", HELD_VIRUS, RC_OK, WISH_DELIVER }, { "virus=deliver", HELD_CONTENT, RC_OK, WISH_HOLD },
		{ "discard virus=hold", HELD_VIRUS, RC_OK, WISH_HOLD }, { "virus=hold, discard", HELD_MILTER, RC_OK, WISH_DISCARD },
		{ "Attachment=Deliver", HELD_ATTACHMENT, RC_OK, WISH_DELIVER }, { "", HELD_POLICY, RC_OK, WISH_HOLD },
		{ "what", HELD_POLICY, RC_PERM, WISH_HOLD }, { "spam=hold", HELD_POLICY, RC_PERM, WISH_HOLD }, { "virus=", HELD_POLICY, RC_PERM, WISH_HOLD },
		{ "deliver what", HELD_POLICY, RC_PERM, WISH_HOLD },
	};
	(void)state;
	for (size_t i = 0; i < NELEMS(rows); i++) {
		enum wish got;
		assert_int_equal(wish_read(span_str(rows[i].value), rows[i].class, &got, NULL), rows[i].rc);
		assert_int_equal(got, rows[i].want);
	}
}

static int
teardown(void **state)
{
	if (getenv("SHOW_LOG") != NULL) {
		char text[8000];
		log_flush();
		ssize_t n = pread(w.log_fd, text, sizeof text, 0);
		print_message("%.*s\n", (int)n, text);
	}
	if (look.req.op.magic != 0)
		quar_req_fini(&look.req);
	quarantine_order_fini(&order);
	memset(&look, 0, sizeof look);
	memset(&order, 0, sizeof order);
	buf_fini(&held_block);
	return world_teardown(state);
}

/* A release that fails names its message. */
static void
test_damaged(void **state)
{
	(void)state;
	char text[SPOOL_ID_TEXT], path[200];
	world_relay(0);
	submit_held("a@remote.test", "!one@local.test", HELD_POLICY, 0, SPAN(TEXT));
	RUN_UNTIL(table_empty);
	(void)spool_id_text(&w.last_id, text);
	unsigned leaf = qfile_leaf(&w.last_id);
	snprintf(path, sizeof path, "%s/%x/%02x/%s", quar_dir, leaf / 256, leaf % 256, text);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, "!", 1, 3), 1);
	close(fd);
	assert_int_equal(release(&w.last_id, NULL, NULL, false), RC_TEMP);
	snprintf(path, sizeof path, "%s: warning: quarantine: a release is taken back: the content: ", text);
	assert_true(logged(path));
	comes_to(&w.last_id, "policy: one@local.test=held");
}

static const struct spool_io *real_io;
static _Atomic unsigned syncs;

/* As slow as a disk, so that what can gather does: on a fast one the next is written alone before its neighbour comes. */
static int
count_sync(int fd)
{
	nanosleep(&(struct timespec){ .tv_nsec = 5 * 1000 * 1000 }, NULL);
	syncs++;
	return real_io->syncfs(fd);
}

static size_t
lines_with(const char *text, const char *what)
{
	size_t n = 0;
	for (; (text = strstr(text, what)) != NULL; text += strlen(what))
		n++;
	return n;
}

/* An order about many is carried out for some at a time: what comes together is written down together. */
static void
test_many(void **state)
{
	(void)state;
	enum { MANY = 230, SYNCS = MANY / 4 };
	static struct spool_io io;
	world_relay(0);
	for (unsigned i = 0; i < MANY; i++)
		submit_held("a@remote.test", i % 2 == 0 ? "!one@local.test !two@local.test" : "!two@local.test", HELD_POLICY, 0, SPAN(TEXT));
	RUN_UNTIL(table_empty);
	real_io = spool_io;
	io = *real_io;
	io.syncfs = count_sync;
	spool_io = &io;
	syncs = 0;
	const char *said = ask("quarantine release ALL recipient=one+40local.test");
	assert_int_equal(lines_with(said, ": released as "), MANY / 2);
	assert_int_equal(lines_with(said, ", 1 recipient\n"), MANY / 2);
	assert_non_null(strstr(said, "\ndone\n"));
	assert_true(syncs < SYNCS);
	syncs = 0;
	said = ask("quarantine delete ALL until=4102444800000000");
	assert_int_equal(lines_with(said, ": deleted, "), MANY);
	assert_non_null(strstr(said, "\ndone\n"));
	assert_true(syncs < SYNCS);
	assert_non_null(strstr(ask("quarantine delete ALL until=4102444800000000"), "Nothing in the quarantine fits"));
	spool_io = real_io;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_many, setup, teardown),
		cmocka_unit_test_setup_teardown(test_damaged, setup, teardown),
		cmocka_unit_test_setup_teardown(test_whole_message, setup, teardown),
		cmocka_unit_test_setup_teardown(test_one_of_three, setup, teardown),
		cmocka_unit_test_setup_teardown(test_large, setup, teardown),
		cmocka_unit_test_setup_teardown(test_forged, setup, teardown),
		cmocka_unit_test_setup_teardown(test_release, setup, teardown),
		cmocka_unit_test_setup_teardown(test_two_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(test_asker_gone, setup, teardown),
		cmocka_unit_test_setup_teardown(test_deferred, setup, teardown),
		cmocka_unit_test_setup_teardown(test_elsewhere, setup, teardown),
		cmocka_unit_test_setup_teardown(test_allow, setup, teardown),
		cmocka_unit_test_setup_teardown(test_delete, setup, teardown),
		cmocka_unit_test(test_wishes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
