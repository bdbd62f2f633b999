/* SPDX-License-Identifier: BSD-2-Clause */
/* Every message between roles: what was written comes back, and nothing shorter or longer is taken. */
#include "unit.h"

#include "base/metric.h"
#include "ipc/msgs.h"
#include "msg/envelope.h"
#include "msg/held.h"

typedef enum rc read_fn(struct span in);

static enum rc
read_submit(struct span in)
{
	struct msg_submit m;
	return msg_submit_get(in, &m);
}

static enum rc
read_submitted(struct span in)
{
	struct msg_submitted m;
	return msg_submitted_get(in, &m);
}

static enum rc
read_draft(struct span in)
{
	struct msg_draft m;
	return msg_draft_get(in, &m);
}

static enum rc
read_admission(struct span in)
{
	struct msg_admission m;
	return msg_admission_get(in, &m);
}

static enum rc
read_dial(struct span s)
{
	struct span path;
	return msg_dial_get(s, &path);
}

static enum rc
read_dialed(struct span s)
{
	struct msg_dialed m;
	return msg_dialed_get(s, &m);
}

static enum rc
read_etrn(struct span in)
{
	struct span site;
	return msg_etrn_get(in, &site);
}

static enum rc
read_etrn_answer(struct span in)
{
	bool started;
	return msg_etrn_answer_get(in, &started);
}

static enum rc
read_greylist(struct span in)
{
	struct msg_greylist m;
	return msg_greylist_get(in, &m);
}

static enum rc
read_greylist_answer(struct span in)
{
	struct msg_greylist_answer m;
	return msg_greylist_answer_get(in, &m);
}

static enum rc
read_triage_find(struct span in)
{
	struct ipaddr a;
	return msg_triage_find_get(in, &a);
}

static enum rc
read_triage_keep(struct span in)
{
	struct msg_triage m;
	return msg_triage_keep_get(in, &m);
}

static enum rc
read_triage_found(struct span in)
{
	struct msg_triage_found m;
	return msg_triage_found_get(in, &m);
}

static enum rc
read_job(struct span in)
{
	struct msg_job m;
	return msg_job_get(in, &m);
}

static enum rc
read_job_done(struct span in)
{
	struct msg_job_done m;
	return msg_job_done_get(in, &m);
}

static enum rc
read_lookup(struct span in)
{
	struct msg_lookup m;
	return msg_lookup_get(in, &m);
}

static enum rc
read_found(struct span in)
{
	struct msg_found m;
	return msg_found_get(in, &m);
}

static enum rc
read_status(struct span in)
{
	struct msg_status m;
	return msg_status_get(in, &m);
}

static enum rc
read_inspect(struct span in)
{
	struct msg_inspect m;
	return msg_inspect_get(in, &m);
}

static enum rc
read_inspected(struct span in)
{
	struct msg_inspected m;
	return msg_inspected_get(in, &m);
}

static enum rc
read_envelope(struct span in)
{
	struct arena a;
	struct envelope env;
	arena_init(&a, 100000);
	enum rc rc = envelope_get(in, &a, &env);
	arena_fini(&a);
	return rc;
}

static void
only_whole(struct buf *b, read_fn *read)
{
	struct span all = buf_span(b);
	assert_int_equal(read(all), RC_OK);
	for (size_t n = 0; n < all.n; n++) {
		void *copy = malloc(n > 0 ? n : 1); /* its own block, so that a read behind the end is seen */
		if (n > 0)
			memcpy(copy, all.p, n);
		assert_int_equal(read(span_of(copy, n)), RC_PERM);
		free(copy);
	}
	buf_putc(b, 0);
	assert_int_equal(read(buf_span(b)), RC_PERM);
	buf_fini(b);
}

static enum rc
read_verify(struct span in)
{
	struct msg_verify m;
	return msg_verify_get(in, &m);
}

static enum rc
read_verified(struct span in)
{
	struct msg_verified m;
	return msg_verified_get(in, &m);
}

static void
verify(void **state)
{
	(void)state;
	struct buf b;
	buf_init(&b, 1000);
	struct msg_verified out;
	msg_verify_put(&b, &(struct msg_verify){ SPAN("a@x"), 6000000 });
	only_whole(&b, read_verify);
	msg_verify_put(&b, &(struct msg_verify){ SPAN("a@x"), UINT64_C(601000000) });
	assert_int_equal(read_verify(buf_span(&b)), RC_PERM);
	buf_fini(&b);
	msg_verify_put(&b, &(struct msg_verify){ SPAN_EMPTY, 0 });
	assert_int_equal(read_verify(buf_span(&b)), RC_PERM);
	buf_fini(&b);
	msg_verified_put(&b, &(struct msg_verified){ VERIFY_BOUNCE, true, SPAN("no") });
	assert_int_equal(msg_verified_get(buf_span(&b), &out), RC_OK);
	assert_span(out.text, "no");
	assert_true(out.foreign);
	only_whole(&b, read_verified);
	msg_verified_put(&b, &(struct msg_verified){ (enum verify_status)9, false, SPAN_EMPTY });
	assert_int_equal(read_verified(buf_span(&b)), RC_PERM);
	buf_fini(&b);
}

static void
submit(void **state)
{
	(void)state;
	struct buf b;
	buf_init(&b, 1000);
	struct msg_submit m = { .content_len = 5, .content_crc = 7, .qid = SPAN("Q1"), .envelope = SPAN("env"), .content = SPAN("hello") }, out;
	msg_submit_put(&b, &m);
	assert_int_equal(msg_submit_get(buf_span(&b), &out), RC_OK);
	assert_int_equal(out.content_crc, 7);
	assert_span(out.content, "hello");
	assert_span(out.qid, "Q1");
	only_whole(&b, read_submit);
	m.content_len = 6; /* says more than there is */
	msg_submit_put(&b, &m);
	assert_int_equal(msg_submit_get(buf_span(&b), &out), RC_PERM);
	buf_fini(&b);
	struct msg_submit large = { .draft = 3, .content_len = 1 << 30, .content_crc = 7, .qid = SPAN("Q1"), .envelope = SPAN("env") };
	msg_submit_put(&b, &large);
	only_whole(&b, read_submit);
	msg_submitted_put(&b, &(struct msg_submitted){ SUBMIT_FULL, SPAN("no room") });
	only_whole(&b, read_submitted);
	msg_submitted_put(&b, &(struct msg_submitted){ (enum submit_outcome)9, SPAN("") });
	assert_int_equal(read_submitted(buf_span(&b)), RC_PERM);
	buf_fini(&b);
	msg_draft_put(&b, &(struct msg_draft){ SUBMIT_OK, 12 });
	only_whole(&b, read_draft);
	msg_admission_put(&b, &(struct msg_admission){ true, false, 1234 });
	only_whole(&b, read_admission);
	msg_dial_put(&b, SPAN("/run/x"));
	only_whole(&b, read_dial);
	msg_dial_put(&b, SPAN_EMPTY);
	assert_int_equal(read_dial(buf_span(&b)), RC_PERM);
	buf_fini(&b);
	msg_dial_put(&b, SPAN("/run\0x"));
	assert_int_equal(read_dial(buf_span(&b)), RC_PERM);
	buf_fini(&b);
	msg_dialed_put(&b, &(struct msg_dialed){ RC_TEMP, SPAN("refused") });
	only_whole(&b, read_dialed);
	msg_dialed_put(&b, &(struct msg_dialed){ (enum rc)9, SPAN("") });
	assert_int_equal(read_dialed(buf_span(&b)), RC_PERM);
	buf_fini(&b);
	msg_etrn_put(&b, SPAN("example.org"));
	only_whole(&b, read_etrn);
	msg_etrn_put(&b, SPAN_EMPTY);
	assert_int_equal(read_etrn(buf_span(&b)), RC_PERM);
	buf_fini(&b);
	const struct msg_greylist grey = { SPAN("192.0.2.0/24"), SPAN("a@x"), SPAN("b@y"), SPAN("unknown"), SPAN("192.0.2.1"), 300, 7200, 86400, 5 };
	struct msg_greylist grey_out;
	msg_greylist_put(&b, &grey);
	assert_int_equal(msg_greylist_get(buf_span(&b), &grey_out), RC_OK);
	assert_span(grey_out.rcpt, "b@y");
	assert_int_equal(grey_out.expire, 86400);
	only_whole(&b, read_greylist);
	msg_greylist_put(&b, &(struct msg_greylist){ .client = SPAN("c") });
	assert_int_equal(read_greylist(buf_span(&b)), RC_PERM);
	buf_fini(&b);
	msg_greylist_answer_put(&b, &(struct msg_greylist_answer){ GREYLIST_DEFER, 7 });
	only_whole(&b, read_greylist_answer);
	msg_greylist_answer_put(&b, &(struct msg_greylist_answer){ (enum greylist_verdict)9, 7 });
	assert_int_equal(read_greylist_answer(buf_span(&b)), RC_PERM);
	buf_fini(&b);
	const struct ipaddr addr = { .family = IPADDR_V4, .b = { 192, 0, 2, 1 } };
	struct ipaddr addr_out;
	msg_triage_find_put(&b, &addr);
	assert_int_equal(msg_triage_find_get(buf_span(&b), &addr_out), RC_OK);
	assert_true(ipaddr_eq(&addr, &addr_out));
	only_whole(&b, read_triage_find);
	msg_triage_find_put(&b, &(struct ipaddr){ .family = 5 });
	assert_int_equal(read_triage_find(buf_span(&b)), RC_PERM);
	buf_fini(&b);
	struct msg_triage pass = { .addr = addr, .until = { 1, 2, 0, 4, UINT32_MAX }, .keep = 7 }, pass_out;
	msg_triage_keep_put(&b, &pass);
	assert_int_equal(msg_triage_keep_get(buf_span(&b), &pass_out), RC_OK);
	assert_int_equal(pass_out.until[4], UINT32_MAX);
	assert_int_equal(pass_out.keep, 7);
	only_whole(&b, read_triage_keep);
	pass.until[3] = UINT64_MAX; /* seconds that would not fit microseconds */
	msg_triage_keep_put(&b, &pass);
	assert_int_equal(read_triage_keep(buf_span(&b)), RC_PERM);
	buf_fini(&b);
	struct msg_triage_found found = { .known = true, .until = { 1, 2, 3, 4, 5 } }, found_out;
	msg_triage_found_put(&b, &found);
	assert_int_equal(msg_triage_found_get(buf_span(&b), &found_out), RC_OK);
	assert_true(found_out.known);
	assert_int_equal(found_out.until[4], 5);
	only_whole(&b, read_triage_found);
	msg_etrn_answer_put(&b, true);
	only_whole(&b, read_etrn_answer);
	buf_put_u8(&b, 2);
	assert_int_equal(read_etrn_answer(buf_span(&b)), RC_PERM);
	buf_fini(&b);
}

static void
job(void **state)
{
	(void)state;
	struct buf b;
	buf_init(&b, 10000);
	struct msg_job m = { .job = 1, .segment = 2, .offset = 3, .length = 4, .arrival = 5, .active = 6, .transport = SPAN("smtp"),
		.nexthop = SPAN("[hub]:25"), .qid = SPAN("Q"), .sender = SPAN("a@b"), .envid = SPAN("id"), .forward = SPAN("NAME=x"), .flags = MSGF_HAS_DOTS, .nrcpt = 2 }, out;
	msg_job_put(&b, &m);
	msg_job_rcpt_put(&b, &(struct job_rcpt){ 0, NOTIFY_NEVER, SPAN("r@x"), SPAN(""), SPAN("rfc822;r@x") });
	msg_job_rcpt_put(&b, &(struct job_rcpt){ 7, 0, SPAN("s@x"), SPAN("o@x"), SPAN("") });
	assert_int_equal(msg_job_get(buf_span(&b), &out), RC_OK);
	struct job_rcpt r;
	assert_int_equal(msg_job_rcpt_get(&out.rcpts, &r), RC_OK);
	assert_span(r.orcpt, "rfc822;r@x");
	assert_int_equal(msg_job_rcpt_get(&out.rcpts, &r), RC_OK);
	assert_int_equal(r.index, 7);
	assert_span(r.orig, "o@x");
	assert_span(out.nexthop, "[hub]:25");
	assert_span(out.forward, "NAME=x");
	only_whole(&b, read_job);
	struct msg_job_done d = { .job = 1, .last = true, .health = JOB_HUB_DOWN, .reason = SPAN("refused"), .nresult = 1 };
	msg_job_done_put(&b, &d);
	msg_result_put(&b, &(struct rcpt_result){ 7, RCPT_BOUNCED, true, SPAN("5.1.1"), SPAN("no"), SPAN("mx"), SPAN("550 no") });
	only_whole(&b, read_job_done);
}

static void
lookup(void **state)
{
	(void)state;
	struct buf b;
	buf_init(&b, 10000);
	msg_lookup_put(&b, &(struct msg_lookup){ SPAN("sqlite:/etc/x"), SPAN("a@b") });
	struct msg_lookup out;
	assert_int_equal(msg_lookup_get(buf_span(&b), &out), RC_OK);
	assert_span(out.table, "sqlite:/etc/x");
	assert_span(out.key, "a@b");
	only_whole(&b, read_lookup);
	msg_lookup_put(&b, &(struct msg_lookup){ SPAN("tcp:h:1"), SPAN_EMPTY });
	assert_int_equal(read_lookup(buf_span(&b)), RC_PERM);
	buf_fini(&b);
	msg_found_put(&b, &(struct msg_found){ RC_OK, SPAN("value") });
	only_whole(&b, read_found);
	msg_found_put(&b, &(struct msg_found){ (enum rc)4, SPAN("") });
	assert_int_equal(read_found(buf_span(&b)), RC_PERM);
	buf_fini(&b);
}

static enum rc
read_auth_mechs(struct span in)
{
	struct msg_auth_mechs m;
	return msg_auth_mechs_get(in, &m);
}

static enum rc
read_auth_offer(struct span in)
{
	struct msg_auth_offer m;
	return msg_auth_offer_get(in, &m);
}

static enum rc
read_auth_begin(struct span in)
{
	struct msg_auth_begin m;
	return msg_auth_begin_get(in, &m);
}

static enum rc
read_auth_step(struct span in)
{
	struct msg_auth_step m;
	return msg_auth_step_get(in, &m);
}

static enum rc
read_auth_said(struct span in)
{
	struct msg_auth_said m;
	return msg_auth_said_get(in, &m);
}

static void
auth(void **state)
{
	(void)state;
	struct buf b;
	const struct msg_auth_mechs of = { SPAN("smtp"), SPAN("gw.test"), SPAN(""), 3 };
	buf_init(&b, 10000);
	msg_auth_mechs_put(&b, &of);
	only_whole(&b, read_auth_mechs);
	msg_auth_mechs_put(&b, &(struct msg_auth_mechs){ SPAN("a\0b"), SPAN("h"), SPAN(""), 0 });
	assert_int_equal(read_auth_mechs(buf_span(&b)), RC_PERM);
	buf_fini(&b);
	msg_auth_offer_put(&b, &(struct msg_auth_offer){ RC_OK, SPAN("PLAIN LOGIN") });
	only_whole(&b, read_auth_offer);
	msg_auth_offer_put(&b, &(struct msg_auth_offer){ (enum rc)7, SPAN("") });
	assert_int_equal(read_auth_offer(buf_span(&b)), RC_PERM);
	buf_fini(&b);
	const struct msg_auth_begin m = { 77, of, SPAN("PLAIN"), true, SPAN("\0u\0p") };
	struct msg_auth_begin out;
	msg_auth_begin_put(&b, &m);
	assert_int_equal(msg_auth_begin_get(buf_span(&b), &out), RC_OK);
	assert_int_equal(out.context, 77);
	assert_int_equal(out.initial.n, 4);
	assert_true(out.has_initial);
	assert_span(out.of.host, "gw.test");
	assert_int_equal(out.of.options, 3);
	only_whole(&b, read_auth_begin);
	msg_auth_begin_put(&b, &(struct msg_auth_begin){ 1, of, SPAN("A-MECHANISM-TOO-LONG!"), false, SPAN("") });
	assert_int_equal(read_auth_begin(buf_span(&b)), RC_PERM);
	buf_fini(&b);
	msg_auth_step_put(&b, &(struct msg_auth_step){ 77, SPAN("p\0q") });
	only_whole(&b, read_auth_step);
	msg_auth_said_put(&b, &(struct msg_auth_said){ AUTH_DONE, SPAN(""), SPAN("anna") });
	only_whole(&b, read_auth_said);
	msg_auth_said_put(&b, &(struct msg_auth_said){ (enum auth_outcome)9, SPAN(""), SPAN("anna") });
	assert_int_equal(read_auth_said(buf_span(&b)), RC_PERM);
	buf_fini(&b);
}

static void
status(void **state)
{
	(void)state;
	struct buf b;
	buf_init(&b, 10000);
	metric_set(M_queue_messages, -3);
	msg_status_put(&b, SPAN("\"x\":1"), SPAN("look\n"));
	struct msg_status out;
	assert_int_equal(msg_status_get(buf_span(&b), &out), RC_OK);
	assert_int_equal(out.n, M_COUNT);
	for (int i = 0; i < M_COUNT; i++)
		assert_int_equal((int64_t)cur_u64(&out.values), metric_values[i]);
	metric_set(M_queue_messages, 0);
	only_whole(&b, read_status);
}

static void
inspect(void **state)
{
	(void)state;
	struct msg_inspect m = { .number = 7, .purpose = INSPECT_AGAIN, .offset = 3, .length = 9, .qid = SPAN("Q1"), .sender = SPAN("a@x"), .nrcpt = 2 }, out;
	struct buf b;
	buf_init(&b, 10000);
	msg_inspect_put(&b, &m);
	msg_inspect_rcpt_put(&b, SPAN("b@x"));
	msg_inspect_rcpt_put(&b, SPAN("c@x"));
	assert_int_equal(msg_inspect_get(buf_span(&b), &out), RC_OK);
	assert_int_equal(out.number, 7);
	assert_int_equal(out.length, 9);
	(void)cur_block(&out.rcpts);
	assert_span(cur_block(&out.rcpts), "c@x");
	only_whole(&b, read_inspect);

	struct msg_inspected said = { .number = 7, .outcome = INSPECT_HOLD, .text = SPAN("why"), .milter = SPAN("m"), .header_changed = true, .header = SPAN("A: b\r\n") }, heard;
	buf_reset(&b);
	msg_inspected_put(&b, &said);
	assert_int_equal(msg_inspected_get(buf_span(&b), &heard), RC_OK);
	assert_int_equal(heard.outcome, INSPECT_HOLD);
	assert_span(heard.header, "A: b\r\n");
	only_whole(&b, read_inspected);
	buf_fini(&b);
}

static void
inspected(void **state)
{
	(void)state;
	static const struct msg_inspected none = { .number = 7, .outcome = INSPECT_PASS }, full = { .number = 7, .outcome = INSPECT_PASS, .content_changed = true,
		.content_at = 90, .content_len = 12, .flags = MSGF_HAS_8BIT, .sender_changed = true, .sender = SPAN("s@x"), .ret = MSGF_RET_HDRS, .envid = SPAN("E"), .nrcpt = 2 };
	const struct msg_inspected_rcpt added = { true, SPAN("a@x"), SPAN("a"), SPAN("rfc822;a"), NOTIFY_DELAY }, gone = { .addr = SPAN("b@x") };
	struct msg_inspected m;
	struct msg_inspected_rcpt r;
	struct buf b;
	buf_init(&b, 10000);
	msg_inspected_put(&b, &full);
	msg_inspected_rcpt_put(&b, &added);
	msg_inspected_rcpt_put(&b, &gone);
	assert_int_equal(msg_inspected_get(buf_span(&b), &m), RC_OK);
	assert_int_equal(m.content_at, 90);
	assert_int_equal(m.content_len, 12);
	assert_span(m.sender, "s@x");
	assert_int_equal(m.ret, MSGF_RET_HDRS);
	assert_span(m.envid, "E");
	assert_true(msg_inspected_rcpt_get(&m.rcpts, &r));
	assert_true(r.is_added);
	assert_span(r.orig, "a");
	assert_span(r.orcpt, "rfc822;a");
	assert_int_equal(r.notify, NOTIFY_DELAY);
	assert_true(msg_inspected_rcpt_get(&m.rcpts, &r));
	assert_false(r.is_added);
	assert_span(r.addr, "b@x");
	assert_false(msg_inspected_rcpt_get(&m.rcpts, &r));
	only_whole(&b, read_inspected);
	/* what did not change is not sent, and a return is one of two */
	struct msg_inspected wrong[9];
	for (size_t i = 0; i < NELEMS(wrong); i++)
		wrong[i] = none;
	wrong[0].header = SPAN("A: b\r\n");
	wrong[1].content_at = 1;
	wrong[2].content_len = 1;
	wrong[3].sender = SPAN("s@x");
	wrong[4].envid = SPAN("E");
	wrong[5].ret = MSGF_RET_FULL;
	wrong[6].sender_changed = true;
	wrong[6].ret = 5;
	wrong[7].flags = MSGF_HAS_LONG;
	wrong[8].content_changed = true;
	wrong[8].flags = MSGF_INTERNAL;
	for (size_t i = 0; i < NELEMS(wrong); i++) {
		buf_reset(&b);
		msg_inspected_put(&b, &wrong[i]);
		assert_int_equal(read_inspected(buf_span(&b)), RC_PERM);
	}
	buf_fini(&b);
}

static void
envelopes(void **state)
{
	(void)state;
	struct env_rcpt r[2] = { { SPAN("a@x"), SPAN(""), SPAN("rfc822;a@x"), NOTIFY_DELAY, false, false }, { SPAN("b@x"), SPAN("c@x"), SPAN(""), 0, true, false } };
	struct envelope env = { .arrival = 99, .flags = MSGF_8BITMIME, .sender = SPAN("s@y"), .envid = SPAN("e"), .client = SPAN("h[1]"), .held = SPAN("why"), .nrcpt = 2, .rcpt = r }, out;
	struct buf b;
	buf_init(&b, 10000);
	envelope_put(&b, &env);
	struct arena a;
	arena_init(&a, 10000);
	assert_int_equal(envelope_get(buf_span(&b), &a, &out), RC_OK);
	assert_int_equal(out.nrcpt, 2);
	assert_span(out.rcpt[1].orig, "c@x");
	assert_int_equal(out.rcpt[0].notify, NOTIFY_DELAY);
	assert_span(out.held, "why");
	assert_true(out.rcpt[1].held && !out.rcpt[0].held);
	arena_fini(&a);
	only_whole(&b, read_envelope);
}

static enum rc
read_held(struct span in)
{
	struct arena a;
	struct held h;
	arena_init(&a, 100000);
	enum rc rc = held_get(in, &a, &h);
	arena_fini(&a);
	return rc;
}

static void
held(void **state)
{
	(void)state;
	const struct held_part part[2] = { { .type = SPAN("multipart/mixed"), .at = 9 }, { .depth = 1, .type = SPAN("image/png"), .name = SPAN("a.png"),
		.at = 20, .length = 300, .how = 1 } };
	struct held h = { .class = HELD_VIRUS, .reason = SPAN("Eicar"), .subject = SPAN("Grüße"), .trace = SPAN("one\ntwo\n"), .nparts = 2, .parts = part }, out;
	struct buf b;
	struct arena a;
	buf_init(&b, HELD_BYTES_MAX);
	arena_init(&a, 10000);
	held_put(&b, &h);
	assert_int_equal(held_get(buf_span(&b), &a, &out), RC_OK);
	assert_int_equal(out.class, HELD_VIRUS);
	assert_span(out.reason, "Eicar");
	assert_span(out.trace, "one\ntwo\n");
	assert_span(out.parts[1].name, "a.png");
	assert_int_equal(out.parts[0].at, 9);
	assert_true(out.parts[1].at == 20 && out.parts[1].length == 300 && out.parts[1].how == 1 && !out.parts[1].is_summed);
	arena_fini(&a);
	only_whole(&b, read_held);

	static const char *const dirty[] = { "a\nb", "\033[2J", "\xff" };
	for (size_t i = 0; i < NELEMS(dirty); i++) {
		buf_reset(&b);
		h.subject = span_str(dirty[i]);
		held_put(&b, &h);
		assert_int_equal(read_held(buf_span(&b)), RC_PERM);
	}
	/* what version 1 wrote is in files for as long as they are kept: a part had its size and sum */
	buf_reset(&b);
	buf_put_u8(&b, 1);
	buf_put_u8(&b, HELD_VIRUS);
	for (unsigned i = 0; i < 14; i++)
		buf_put_block(&b, i == 0 ? SPAN("Eicar") : SPAN_EMPTY);
	buf_put_u32(&b, 1);
	buf_put_u32(&b, 1);
	buf_put_block(&b, SPAN("image/png"));
	buf_put_block(&b, SPAN("a.png"));
	buf_put_u64(&b, 512);
	for (unsigned i = 0; i < 32; i++)
		buf_put_u8(&b, (uint8_t)(i + 7));
	arena_init(&a, 10000);
	assert_int_equal(held_get(buf_span(&b), &a, &out), RC_OK);
	assert_span(out.reason, "Eicar");
	assert_true(out.parts[0].is_summed && out.parts[0].size == 512 && out.parts[0].sha256[31] == 38 && out.parts[0].length == 0);
	arena_fini(&a);
	only_whole(&b, read_held);
	buf_fini(&b);
	for (unsigned c = HELD_NONE + 1; c < HELD_CLASSES; c++)
		assert_int_equal(held_class_of(span_str(held_class_name((enum held_class)c))), c);
	assert_int_equal(held_class_of(SPAN("x")), HELD_NONE);
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(submit),
		cmocka_unit_test(verify), cmocka_unit_test(job), cmocka_unit_test(lookup), cmocka_unit_test(auth), cmocka_unit_test(status), cmocka_unit_test(inspect), cmocka_unit_test(inspected), cmocka_unit_test(envelopes), cmocka_unit_test(held) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
