/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Milters that fail: every stage, every way, every default action, in one table; connections that are kept and turn out to be closed; the breaker;
 * the deadline of a message.
 */
#include "milter_world.h"

#define CONF                                                                                            \
	"milter_command_timeout = 1s\nmilter_content_timeout = 1s\nmilter_connect_timeout = 1s\n"       \
	"milter_breaker_failures = 0\nmilter_connection_reuse = yes\n"

/* ---- the table ---- */

static const char *const actions[] = { "accept", "reject", "tempfail", "quarantine", "shutdown" };
static const char *const replies[] = { "ok", "550 5.5.0 Service unavailable", "451 4.7.1 Service unavailable - try again later", "ok",
	"421 4.7.1 Service unavailable - try again later (close)" };

/* What a session hears when the milter fails at this command. */
static void
expected(char *out, size_t n, unsigned char cmd, unsigned action)
{
	static const char *const names[] = { "connect", "helo", "mail", "rcpt", "rcpt", "data", "end" };
	static const char cmds[] = "CHMRRTE";
	size_t from = cmd == 'O' ? 0 : cmd == 'L' || cmd == 'N' ? 6 : (size_t)(strchr(cmds, cmd) - cmds);
	bool goes_on = strcmp(replies[action], "ok") == 0;
	out[0] = '\0';
	for (size_t i = 0; i < NELEMS(names); i++) {
		size_t at = strlen(out);
		snprintf(out + at, n - at, "%s%s=%s", i > 0 ? " " : "", names[i], i < from ? "ok" : replies[action]);
		if (i >= from && !goes_on && (action == 4 || i == 2 || i == 5))
			return;
	}
}

static void
test_table(void **state)
{
	(void)state;
	static const char stages[] = "OCHMRTLNE";
	static const enum fake_deed deeds[] = { DO_CLOSE, DO_RESET, DO_GARBAGE, DO_HANG, DO_FRAME_0, DO_FRAME_1G, DO_FRAME_FFFF };
	enum { STAGES = sizeof stages - 1, DEEDS = NELEMS(deeds), ACTIONS = NELEMS(actions), ALL = STAGES * DEEDS * ACTIONS };
	struct fake *f = mem_calloc(STAGES * DEEDS, sizeof *f);
	struct play *p = mem_calloc(ALL, sizeof *p);
	struct milter_set **set = mem_calloc(ALL, sizeof(struct milter_set *));
	for (size_t i = 0; i < STAGES * DEEDS; i++) {
		fake_open(&f[i]);
		if (stages[i / DEEDS] == 'O')
			f[i].greets_badly = deeds[i % DEEDS];
		else
			(void)fake_rule(&f[i], (unsigned char)stages[i / DEEDS], 0, deeds[i % DEEDS]);
	}
	for (size_t i = 0; i < ALL; i++) {
		char options[40];
		snprintf(options, sizeof options, "default_action=%s", actions[i % ACTIONS]);
		set[i] = set_for(&f[i / ACTIONS], options);
		play_begin(&p[i], set[i]);
	}
	for (size_t i = 0; i < ALL; i++)
		play_go(&p[i]);
	play_wait();
	for (size_t i = 0; i < ALL; i++) {
		char want[600];
		unsigned char cmd = (unsigned char)stages[i / ACTIONS / DEEDS];
		expected(want, sizeof want, cmd, i % ACTIONS);
		if (!span_eq_str(buf_span(&p[i].said), want))
			print_error("stage %c deed %d action %s\n", cmd, (int)deeds[i / ACTIONS % DEEDS], actions[i % ACTIONS]);
		assert_span(buf_span(&p[i].said), want);
		assert_span(buf_span(&p[i].edits), i % ACTIONS == 3 ? "quarantine=default_action\n" : "");
		play_fini(&p[i]);
		milter_set_free(&set[i]);
	}
	for (size_t i = 0; i < STAGES * DEEDS; i++)
		fake_close(&f[i]);
	mem_free(&f);
	mem_free(&p);
	mem_free(&set);
}

/* Nobody listens; a name without an address; a socket that is not there. */
static void
test_unreachable(void **state)
{
	(void)state;
	static const char *const texts[] = { "{ inet:127.0.0.1:1, default_action=%s }", "{ unix:/nonexistent/x, default_action=%s }",
		"{ inet:nowhere.invalid:1, default_action=%s }" };
	for (size_t i = 0; i < NELEMS(texts) * NELEMS(actions); i++) {
		char text[100], want[600];
		struct play p;
		snprintf(text, sizeof text, texts[i / NELEMS(actions)], actions[i % NELEMS(actions)]);
		struct milter_set *set = set_of(milter_conf, text);
		play_begin(&p, set);
		play_go(&p);
		play_wait();
		expected(want, sizeof want, 'O', i % NELEMS(actions));
		assert_span(buf_span(&p.said), want);
		play_fini(&p);
		milter_set_free(&set);
	}
}

/* What a bundled filter's default action says: a header instead of the filter's own, or a reason; and what it may ask for beside. */
static void
test_bundled(void **state)
{
	(void)state;
	struct play p;
	struct milter_set *set = set_of(milter_conf, "{ inet:127.0.0.1:1, default_action=accept }");
	set->def[0].fault_header = "X-Virus-Status: Unchecked";
	play_begin(&p, set);
	p.header = "Received: x\r\nx-virus-status: Clean\r\n forged\r\nSubject: s\r\nX-Virus-Status: Clean\r\n";
	play_go(&p);
	play_wait();
	assert_span(buf_span(&p.out), "Received: x\r\nSubject: s\r\nX-Virus-Status: Unchecked\r\n\r\n" PLAY_BODY);
	play_fini(&p);
	milter_set_free(&set);
	set = set_of(milter_conf, "{ inet:127.0.0.1:1, default_action=quarantine }");
	set->def[0].fault_reason = "unscanned: away";
	play_begin(&p, set);
	play_go(&p);
	play_wait();
	assert_span(buf_span(&p.edits), "quarantine=unscanned: away\n");
	play_fini(&p);
	milter_set_free(&set);
	for (int bundled = 0; bundled < 2; bundled++) {
		struct fake f;
		fake_open(&f);
		struct buf *b = fake_rule(&f, 'E', 0, DO_REPLY);
		fake_packet(b, 'q', "copy: attachment: gone\0", 23);
		mw_simple(b, 'c');
		set = set_for(&f, "default_action=accept");
		set->def[0].is_bundled = bundled;
		play_begin(&p, set);
		play_go(&p);
		play_wait();
		assert_span(buf_span(&p.edits), bundled ? "keep=attachment: gone\n" : "quarantine=copy: attachment: gone\n");
		play_fini(&p);
		milter_set_free(&set);
		fake_close(&f);
	}
	/* switched on: at the end of the list, once; not where master.cf empties it */
	struct conf *c = confdir_load("virus_engine = embedded\n");
	struct err e;
	struct milter_set *two = set_of(c, "inet:127.0.0.1:1"), *one = set_of(c, "bundled:virus"), *none = set_of(c, "DISABLE");
	assert_int_equal(two->n, 2);
	assert_string_equal(two->def[1].name, "bundled:virus");
	assert_int_equal(two->def[0].server->breaker.pause, 10 * USEC_PER_SEC);
	assert_int_equal(two->def[1].server->breaker.pause, USEC_PER_SEC);
	assert_int_equal(one->n, 1);
	assert_int_equal(one->def[0].action, MACT_TEMPFAIL);
	assert_int_equal(none->n, 0);
	milter_set_free(&one);
	milter_set_free(&two);
	milter_set_free(&none);
	assert_int_equal(milter_set_parse(c, NULL, SPAN("bundled:attachments"), &one, &e), RC_PERM);
	assert_int_equal(milter_set_parse(c, NULL, SPAN("bundled:nothing"), &one, &e), RC_PERM);
	conf_unref(&c);
}

/* A reply nobody awaits is a fault, whenever it comes. */
static void
test_unasked(void **state)
{
	(void)state;
	struct fake f;
	struct play p;
	fake_open(&f);
	f.steps = SMFIP_NR_MAIL | SMFIP_NR_HDR;
	f.no_reply['L'] = true; /* but MAIL is answered */
	struct milter_set *set = set_for(&f, "default_action=reject");
	play_begin(&p, set);
	play_go(&p);
	play_wait();
	assert_null(strstr(buf_cstr(&p.said), "end=ok"));
	assert_non_null(strstr(buf_cstr(&p.said), replies[1]));
	play_fini(&p);
	milter_set_free(&set);
	fake_close(&f);
}

/* ---- connections that are kept ---- */

static void
play_once(struct play *p, struct milter_set *set)
{
	play_begin(p, set);
	play_go(p);
	play_wait();
}

static void
expect_once(struct milter_set *set, const char *want)
{
	struct play p;
	play_once(&p, set);
	assert_span(buf_span(&p.said), want);
	play_fini(&p);
}

#define ALL_OK "connect=ok helo=ok mail=ok rcpt=ok rcpt=ok data=ok end=ok"

static void
test_kept(void **state)
{
	(void)state;
	struct fake f;
	fake_open(&f);
	struct milter_set *set = set_for(&f, "default_action=tempfail");
	for (int i = 0; i < 5; i++)
		expect_once(set, ALL_OK);
	assert_int_equal(f.connects, 1);
	assert_int_equal(f.seen['C'], 5);
	/* closed while it was at rest: seen */
	fake_end(list_entry(f.conns.next, struct fake_conn, link));
	world_turns(20000);
	expect_once(set, ALL_OK);
	assert_int_equal(f.connects, 2);
	/* closed at the moment it is taken: the session begins anew on another, and hears nothing of it */
	(void)fake_rule(&f, 'C', f.seen['C'] + 1, DO_CLOSE);
	expect_once(set, ALL_OK);
	assert_int_equal(f.connects, 3);
	(void)fake_rule(&f, 'C', f.seen['C'] + 1, DO_RESET);
	expect_once(set, ALL_OK);
	/* the same when all of the envelope waited for the message: it is said once more, and once only */
	struct milter_server *server = set->def[0].server;
	for (unsigned ev = 0; ev < MEV_COUNT; ev++)
		server->calm[ev] = 1000;
	(void)fake_rule(&f, 'C', f.seen['C'] + 1, DO_CLOSE);
	unsigned before[] = { f.seen['M'], f.seen['R'], f.seen['T'], f.seen['E'], f.connects };
	expect_once(set, ALL_OK);
	expect_once(set, ALL_OK);
	assert_int_equal(f.seen['M'], before[0] + 2);
	assert_int_equal(f.seen['R'], before[1] + 4);
	assert_int_equal(f.seen['T'], before[2] + 2);
	assert_int_equal(f.seen['E'], before[3] + 2);
	assert_int_equal(f.connects, before[4] + 1);
	/* closed while they wait */
	for (unsigned turns = 0; turns < 3; turns++) {
		struct play held;
		play_begin(&held, set);
		held.stops_at = PLAY_DATA;
		play_go(&held);
		assert_int_equal(held.step, PLAY_DATA);
		while (!list_empty(&f.conns))
			fake_end(list_entry(f.conns.next, struct fake_conn, link));
		for (unsigned k = 0; k < turns; k++)
			world_turns(2000);
		held.stops_at = 0;
		play_go(&held);
		play_wait();
		assert_span(buf_span(&held.said), ALL_OK);
		play_fini(&held);
	}
	memset(server->calm, 0, sizeof server->calm);
	/* but not on a new one */
	(void)fake_rule(&f, 'C', f.seen['C'] + 1, DO_CLOSE);
	(void)fake_rule(&f, 'C', f.seen['C'] + 2, DO_CLOSE);
	struct play p;
	play_once(&p, set);
	assert_non_null(strstr(buf_cstr(&p.said), "connect=451 4.7.1"));
	play_fini(&p);
	milter_set_free(&set);
	fake_close(&f);
	/* a milter that is silent on a kept connection: the session has a new one after its time, and none is kept any more */
	fake_open(&f);
	(void)fake_rule(&f, 'C', 2, DO_HANG);
	set = set_for(&f, "default_action=tempfail");
	for (int i = 0; i < 4; i++)
		expect_once(set, ALL_OK);
	assert_int_equal(f.connects, 4);
	milter_set_free(&set);
	fake_close(&f);
}

/* libmilter hears SMFIC_QUIT_NC behind the end of a message that it let go on; anywhere else it would never answer the next CONNECT. */
static void
test_kept_where(void **state)
{
	(void)state;
	static const struct {
		unsigned char cmd, reply;
		unsigned kept;
	} rows[] = { { 0, 0, 1 }, { 'E', 'a', 0 }, { 'E', 'r', 0 }, { 'E', 't', 0 }, { 'E', 'd', 0 }, { 'M', 'r', 0 }, { 'M', 'a', 0 }, { 'H', 'a', 0 }, { 'C', 'a', 0 } };
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct fake f;
		struct play p;
		fake_open(&f);
		if (rows[i].cmd != 0)
			fake_packet(fake_rule(&f, rows[i].cmd, 0, DO_REPLY), rows[i].reply, "", 0);
		struct milter_set *set = set_for(&f, "default_action=tempfail");
		for (unsigned n = 1; n <= 2; n++) {
			play_once(&p, set);
			play_fini(&p);
			for (int k = 0; f.kept + f.quits < n && k < 200; k++) /* both are said a little later */
				world_turns(5000);
			if (f.kept != n * rows[i].kept || f.quits != n * !rows[i].kept || f.connects != (rows[i].kept ? 1 : n))
				fail_msg("row %zu: kept %u, ended %u of %u", i, f.kept, f.quits, f.connects);
		}
		milter_set_free(&set);
		fake_close(&f);
	}
}

/* It only wants the end of a message: what was closed is noticed with the first thing said. */
static void
test_kept_content(void **state)
{
	(void)state;
	struct fake f;
	fake_open(&f);
	f.steps = SMFIP_NOCONNECT | SMFIP_NOHELO | SMFIP_NOMAIL | SMFIP_NORCPT | SMFIP_NODATA | SMFIP_NOEOH | SMFIP_NR_HDR | SMFIP_NR_BODY;
	f.no_reply['L'] = f.no_reply['B'] = true;
	struct milter_set *set = set_for(&f, "default_action=tempfail");
	expect_once(set, ALL_OK);
	(void)fake_rule(&f, 'E', 2, DO_CLOSE);
	buf_reset(&f.body);
	expect_once(set, ALL_OK);
	assert_int_equal(f.connects, 2);
	assert_span(buf_span(&f.body), PLAY_BODY PLAY_BODY);
	milter_set_free(&set);
	fake_close(&f);
}

/* A new connection begins with the session. */
static void
hears_of_session(struct fake *f)
{
	const char *c = strstr(buf_cstr(&f->log), "C client.example"), *h = strstr(buf_cstr(&f->log), "H helo.example"), *m = strstr(buf_cstr(&f->log), "M <a@b.example>");
	bool wants_connect = (f->steps & SMFIP_NOCONNECT) == 0;
	if (wants_connect && (c == NULL || h == NULL || m == NULL || c > h || h > m || strstr(c + 1, "C client.example") != NULL))
		fail_msg("not told of the session, once and first: %s", buf_cstr(&f->log));
}

/* A bundled filter is replaced by a reload: the old one hangs up, in the middle of sessions, on messages it has not read. Nobody is to notice. */
static void
test_replaced(void **state)
{
	(void)state;
	static const struct {
		uint32_t steps;
		const char *unanswered;
	} kinds[] = {
		{ 0, "" },
		{ SMFIP_NR_CONN | SMFIP_NR_HELO | SMFIP_NR_MAIL | SMFIP_NR_RCPT | SMFIP_NR_DATA | SMFIP_NR_HDR | SMFIP_NR_EOH | SMFIP_NR_BODY, "CHMRTLNB" },
		{ SMFIP_NOCONNECT | SMFIP_NOHELO | SMFIP_NOMAIL | SMFIP_NORCPT | SMFIP_NODATA | SMFIP_NOEOH | SMFIP_NR_HDR | SMFIP_NR_BODY, "LB" },
	};
	static const char two[] = ALL_OK " mail=ok rcpt=ok rcpt=ok data=ok end=ok";
	for (size_t i = 0; i < NELEMS(kinds); i++) {
		struct fake f;
		fake_open(&f);
		f.steps = kinds[i].steps;
		for (const char *c = kinds[i].unanswered; *c != '\0'; c++)
			f.no_reply[(unsigned char)*c] = true;
		struct milter_set *set = set_for(&f, "default_action=tempfail");
		set->def[0].is_bundled = true;
		/* the second message of a connection, and the first of a new one */
		for (enum play_step at = PLAY_MAIL; at <= PLAY_MESSAGE; at++) {
			for (unsigned turns = 0; turns < 6; turns++) {
				struct play p;
				unsigned before = turns < 3;
				while (!list_empty(&set->def[0].server->idle))
					fake_end(list_entry(f.conns.next, struct fake_conn, link)), world_turns(2000);
				play_begin(&p, set);
				p.messages = 1 + before;
				p.stops_at = at;
				p.stops_in = before;
				play_go(&p);
				for (unsigned k = 0; k < 1000 && (p.messages != 1 || p.step != at); k++)
					world_turns(1000);
				assert_int_equal(p.step, at);
				unsigned taken = f.seen['E'];
				while (!list_empty(&f.conns))
					fake_end(list_entry(f.conns.next, struct fake_conn, link));
				for (unsigned k = 0; k < turns % 3; k++)
					world_turns(2000);
				p.stops_at = 0;
				buf_reset(&f.log);
				play_go(&p);
				play_wait();
				assert_span(buf_span(&p.said), before ? two : ALL_OK);
				hears_of_session(&f);
				assert_int_equal(f.seen['E'], taken + 1);
				play_fini(&p);
			}
		}
		/* with the message on its way to it already; when it has answered any of it, it is to blame */
		static const struct {
			unsigned char cmd;
			bool is_heard[NELEMS(kinds)];
		} ends[] = { { 'M', { false, false, false } }, { 'E', { true, false, false } } };
		for (size_t k = 0; k < NELEMS(ends); k++) {
			struct play p;
			fake_forget(&f);
			(void)fake_rule(&f, ends[k].cmd, 2, DO_RESET);
			play_begin(&p, set);
			p.messages = 2;
			play_go(&p);
			play_wait();
			assert_span(buf_span(&p.said), ends[k].is_heard[i] ? ALL_OK " mail=ok rcpt=ok rcpt=ok data=ok end=451 4.7.1 Service unavailable - try again later" : two);
			play_fini(&p);
		}
		milter_set_free(&set);
		fake_close(&f);
	}
	/* not so a milter that somebody else has written: as behind Postfix */
	struct fake f;
	struct play p;
	fake_open(&f);
	struct milter_set *set = set_for(&f, "default_action=tempfail");
	play_begin(&p, set);
	p.messages = 2;
	p.stops_at = PLAY_MAIL;
	p.stops_in = 1;
	play_go(&p);
	for (unsigned k = 0; k < 1000 && p.messages != 1; k++)
		world_turns(1000);
	while (!list_empty(&f.conns))
		fake_end(list_entry(f.conns.next, struct fake_conn, link));
	world_turns(2000);
	p.stops_at = 0;
	play_go(&p);
	play_wait();
	assert_span(buf_span(&p.said), ALL_OK " mail=451 4.7.1 Service unavailable - try again later");
	play_fini(&p);
	milter_set_free(&set);
	fake_close(&f);
}

/* More recipients than wait for the message: some went to a filter that was replaced then. It hears of all of them, or the message waits. */
static void
test_replaced_many(void **state)
{
	(void)state;
	enum { LONG = 1000, MOST = 24 };
	static unsigned char text[LONG];
	for (unsigned more = 0; more < MOST; more++) {
		struct fake f;
		struct play p;
		fake_open(&f);
		f.steps = SMFIP_NR_CONN | SMFIP_NR_HELO | SMFIP_NR_MAIL | SMFIP_NR_RCPT | SMFIP_NR_DATA;
		for (const char *c = "CHMRT"; *c != '\0'; c++)
			f.no_reply[(unsigned char)*c] = true;
		struct milter_set *set = set_for(&f, "default_action=tempfail");
		set->def[0].is_bundled = true;
		play_begin(&p, set);
		p.stops_at = PLAY_RCPT2;
		play_go(&p);
		for (unsigned k = 0; k < 2000 && p.step != PLAY_RCPT2; k++)
			world_turns(1000);
		memset(text, 'x', sizeof text);
		for (unsigned i = 0; i < more; i++) {
			struct span rcpt = span_of(text, sizeof text);
			assert_false(milter_run_rcpt(p.run, &rcpt, 1));
		}
		world_turns(2000);
		fake_forget(&f);
		while (!list_empty(&f.conns))
			fake_end(list_entry(f.conns.next, struct fake_conn, link));
		world_turns(2000);
		p.stops_at = 0;
		play_go(&p);
		play_wait();
		bool waits = strstr(buf_cstr(&p.said), "=451 4.7.1") != NULL;
		assert_true(waits || more < MOST / 2);
		if (!waits)
			assert_int_equal(f.seen['R'], 2 + more);
		play_fini(&p);
		milter_set_free(&set);
		fake_close(&f);
	}
}

/* ---- the breaker ---- */

static void
test_breaker(void **state)
{
	(void)state;
	struct breaker b;
	breaker_init(&b, 3, 100);
	assert_true(breaker_try(&b, 0));
	assert_false(breaker_failed(&b, MFAR_END, "x", 10));
	assert_false(breaker_worked(&b, MFAR_CONNECT)); /* says nothing about the end of messages */
	assert_false(breaker_failed(&b, MFAR_END, "x", 20));
	assert_false(breaker_worked(&b, MFAR_END));
	assert_false(breaker_failed(&b, MFAR_DIAL, "x", 30));
	assert_false(breaker_failed(&b, MFAR_DIAL, "x", 31));
	assert_true(breaker_failed(&b, MFAR_DIAL, "why", 32));
	assert_false(breaker_failed(&b, MFAR_DIAL, "why", 33));
	assert_false(breaker_try(&b, 100));
	assert_true(breaker_try(&b, 132));
	assert_false(breaker_try(&b, 133));
	assert_true(breaker_try(&b, 232));
	assert_int_equal(b.skipped, 2);
	assert_true(breaker_worked(&b, MFAR_DIAL));
	assert_true(breaker_try(&b, 240));
	breaker_init(&b, 0, 100);
	for (int i = 0; i < 100; i++)
		assert_false(breaker_failed(&b, 0, "x", 1));
}

static void
test_out_of_use(void **state)
{
	(void)state;
	struct fake f;
	struct buf b;
	struct conf *c = confdir_load("milter_command_timeout = 1s\nmilter_breaker_failures = 3\nmilter_breaker_probe_time = 1s\nmilter_default_action = accept\n");
	buf_init(&b, 65536);
	fake_open(&f);
	char text[100];
	snprintf(text, sizeof text, "inet:127.0.0.1:%u", f.port);
	struct milter_set *set = set_of(c, text);
	fake_listen(&f, false);
	for (int i = 0; i < 3; i++)
		expect_once(set, ALL_OK);
	assert_int_equal(metric_values[M_milter_paused], 1);
	milter_remarks(&b);
	assert_non_null(strstr(buf_cstr(&b), text));
	assert_non_null(strstr(buf_cstr(&b), "Connection refused"));
	/* it is not asked, and costs no system call and no turn of the loop */
	int64_t bypassed = metric_values[M_milter_bypassed];
	for (int i = 0; i < 1000; i++) {
		struct play p;
		play_begin(&p, set);
		plays_open++; /* the loop does not run */
		for (p.step = PLAY_CONNECT; p.step < PLAY_MESSAGE; p.step++)
			assert_false(play_step(&p));
		assert_false(milter_run_wants_message(p.run));
		play_over(&p);
		plays_open--;
		play_fini(&p);
	}
	assert_int_equal(metric_values[M_milter_bypassed], bypassed + 1000);
	assert_int_equal(metric_values[M_milter_connections], 0);
	/* back by itself */
	fake_listen(&f, true);
	for (int i = 0; i < 50 && metric_values[M_milter_paused] > 0; i++)
		world_turns(100000);
	assert_int_equal(metric_values[M_milter_paused], 0);
	fake_forget(&f);
	expect_once(set, ALL_OK);
	assert_int_equal(f.seen['E'], 1);
	/* hangs at the end of each message: the greeting does not prove that it works */
	(void)fake_rule(&f, 'E', 0, DO_CLOSE);
	for (int i = 0; i < 3; i++)
		expect_once(set, ALL_OK);
	assert_int_equal(metric_values[M_milter_paused], 1);
	unsigned ends = f.seen['E'];
	for (int i = 0; i < 10; i++)
		expect_once(set, ALL_OK);
	assert_in_range(f.seen['E'], ends, ends + 1);
	buf_reset(&b);
	milter_status(&b);
	assert_non_null(strstr(buf_cstr(&b), "\"paused\":true"));
	/* one message in each pause is shown to it, and the first that it takes brings it back */
	world_turns(1100000);
	f.nrules = 0;
	expect_once(set, ALL_OK);
	assert_int_equal(metric_values[M_milter_paused], 0);
	milter_set_free(&set);
	buf_fini(&b);
	fake_close(&f);
	conf_unref(&c);
}

/* The log says when it goes and when it is back. */
static void
test_lines(void **state)
{
	(void)state;
	struct buf b;
	buf_init(&b, 4096);
	log_render(&b, LOG_POSTFIX, EV_milter_paused, NULL, (const struct log_field[]){ F_STR(name, "inet:x:1"), F_NUM(count, 5), F_STR(reason, "dead") }, 3);
	assert_span(buf_span(&b), "warning: milter inet:x:1 failed 5 times in a row: its default action applies until it works again: dead");
	buf_reset(&b);
	log_render(&b, LOG_POSTFIX, EV_milter_back, NULL, (const struct log_field[]){ F_STR(name, "inet:x:1"), F_NUM(count, 7) }, 2);
	assert_span(buf_span(&b), "milter inet:x:1 works again (7 times not asked)");
	buf_fini(&b);
}

/* ---- the deadline ---- */

/* Each is within its own time, all together are not; progress does not buy more. */
static void
test_deadline(void **state)
{
	(void)state;
	struct fake f[2];
	struct play p;
	struct conf *c = confdir_load("milter_message_deadline = 1s\nmilter_content_timeout = 20s\nmilter_command_timeout = 20s\nmilter_breaker_failures = 0\n");
	char text[200];
	fake_open(&f[0]);
	fake_open(&f[1]);
	struct buf *b = fake_rule(&f[0], 'E', 0, DO_SLOW);
	for (int i = 0; i < 600; i++)
		mw_simple(b, 'p');
	mw_simple(b, 'c');
	snprintf(text, sizeof text, "{ inet:127.0.0.1:%u, default_action=accept }, { inet:127.0.0.1:%u, default_action=tempfail }", f[0].port, f[1].port);
	struct milter_set *set = set_of(c, text);
	play_once(&p, set);
	assert_non_null(strstr(buf_cstr(&p.said), "data=ok end=451 4.7.1 Service unavailable"));
	assert_int_equal(f[1].seen['E'], 0);
	play_fini(&p);
	milter_set_free(&set);
	fake_close(&f[0]);
	fake_close(&f[1]);
	conf_unref(&c);
}

/* The owner goes at any moment: nothing is left. */
static void
test_gone(void **state)
{
	(void)state;
	for (enum play_step at = PLAY_CONNECT; at <= PLAY_MESSAGE; at++) {
		for (int how = 0; how < 3; how++) {
			struct fake f;
			struct play p;
			fake_open(&f);
			static const char cmds[] = "CHMRRTE";
			(void)fake_rule(&f, (unsigned char)cmds[at], at == PLAY_RCPT2 ? 2 : 0, DO_HANG);
			struct milter_set *set = set_for(&f, "default_action=tempfail");
			play_begin(&p, set);
			play_go(&p);
			plays_open++; /* the loop does not stop by itself */
			if (how > 0)
				world_turns(30000);
			if (how == 2 && at >= PLAY_MAIL) { /* RSET in between: the answer that is outstanding is nobody's */
				milter_run_abort(p.run);
				f.rules[0].cmd = 0;
				p.step = PLAY_MAIL;
				p.said.n = p.said.at = 0;
				timer_clear(&p.later);
				plays_open--;
				play_go(&p);
				play_wait();
				assert_span(buf_span(&p.said), "mail=ok rcpt=ok rcpt=ok data=ok end=ok");
				assert_int_equal(f.seen['C'], 2); /* on a new connection, which heard it all */
			} else {
				timer_clear(&p.later);
				plays_open = 0;
				p.is_over = true;
				milter_run_free(&p.run);
				world_turns(5000);
			}
			play_fini(&p);
			milter_set_free(&set);
			fake_close(&f);
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_breaker, milter_world_clean), cmocka_unit_test_teardown(test_table, milter_world_clean), cmocka_unit_test_teardown(test_unreachable, milter_world_clean),
		cmocka_unit_test_teardown(test_unasked, milter_world_clean), cmocka_unit_test_teardown(test_bundled, milter_world_clean), cmocka_unit_test_teardown(test_kept, milter_world_clean), cmocka_unit_test_teardown(test_kept_where, milter_world_clean), cmocka_unit_test_teardown(test_kept_content, milter_world_clean), cmocka_unit_test_teardown(test_replaced, milter_world_clean), cmocka_unit_test_teardown(test_replaced_many, milter_world_clean),
		cmocka_unit_test_teardown(test_out_of_use, milter_world_clean), cmocka_unit_test_teardown(test_lines, milter_world_clean), cmocka_unit_test_teardown(test_deadline, milter_world_clean),
		cmocka_unit_test_teardown(test_gone, milter_world_clean),
	};
	milter_world_conf = CONF;
	return cmocka_run_group_tests(tests, milter_world_setup, milter_world_teardown);
}
