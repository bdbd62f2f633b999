/* SPDX-License-Identifier: BSD-2-Clause */
/* The relay role: XFORWARD before a message, and probes, which end before there is any. */
#include "fake_hub.h"
#include "relay_world.h"

static struct hub hub;
static char here[64]; /* next hop of the hub */
static const char *const one[] = { "to@b.test", NULL };
static const char *const bad[] = { "bad@b.test", NULL };
static const char text[] = "Subject: x\r\n\r\nline\r\n";
static const char attributes[] = "NAME=c.test ADDR=192.0.2.1 PORT=4711 PROTO=ESMTP HELO=h+20.test IDENT=4XYZ SOURCE=REMOTE";

static bool
hub_heard(const char *want)
{
	return strstr(buf_cstr(&hub.log), want) != NULL;
}

static void
test_xforward(void **state)
{
	static const char first[] = "XFORWARD NAME=c.test ADDR=192.0.2.1 PORT=4711\n";
	static const char second[] = "XFORWARD PROTO=ESMTP HELO=h+20.test IDENT=4XYZ SOURCE=REMOTE\n";
	static const struct {
		const char *settings, *ehlo, *reply;
		const char *want;            /* NULL: nothing is said */
	} rows[] = {
		{ "smtp_send_xforward_command = yes", "250-h\r\n250-PIPELINING\r\n250-CHUNKING\r\n250 XFORWARD NAME ADDR PROTO HELO SOURCE PORT IDENT\r\n", NULL, "both" },
		{ "smtp_send_xforward_command = yes", "250-h\r\n250-PIPELINING\r\n250 XFORWARD NAME ADDR PROTO HELO SOURCE PORT IDENT\r\n", NULL, "both" },
		{ "smtp_send_xforward_command = yes", "250-h\r\n250 XFORWARD NAME ADDR PROTO HELO SOURCE PORT IDENT\r\n", NULL, "both" },
		{ "smtp_send_xforward_command = yes", "250-h\r\n250-PIPELINING\r\n250 XFORWARD NAME ADDR PROTO HELO SOURCE PORT IDENT\r\n", "550 5.7.0 no\r\n", "both" },
		{ "smtp_send_xforward_command = yes", "250-h\r\n250-PIPELINING\r\n250 XFORWARD NAME ADDR\r\n", NULL, "XFORWARD NAME=c.test ADDR=192.0.2.1\nMAIL" },
		{ "smtp_send_xforward_command = yes", "250-h\r\n250 XFORWARD HELO\r\n", NULL, "XFORWARD HELO=h+20.test\nMAIL" },
		{ "smtp_send_xforward_command = yes", "250-h\r\n250-PIPELINING\r\n250 XFORWARD\r\n", NULL, NULL },
		{ "smtp_send_xforward_command = yes", "250-h\r\n250 PIPELINING\r\n", NULL, NULL },
		{ "smtp_discard_ehlo_keywords = xforward\nsmtp_send_xforward_command = yes", "250-h\r\n250-PIPELINING\r\n250 XFORWARD NAME\r\n", NULL, NULL },
		{ "", "250-h\r\n250-PIPELINING\r\n250 XFORWARD NAME ADDR PROTO HELO SOURCE PORT IDENT\r\n", NULL, NULL },
	};
	(void)state;
	for (size_t i = 0; i < NELEMS(rows); i++) {
		hub_reset(&hub);
		hub.script.ehlo = rows[i].ehlo;
		hub.script.xforward = rows[i].reply;
		world_start(rows[i].settings);
		struct world_send w = { .nexthop = here, .rcpts = one, .content = span_str(text), .forward = attributes };
		for (unsigned k = 1; k <= 2; k++) { /* the second on the same session: said again */
			buf_reset(&hub.log);
			struct world_job *j = world_deliver(&w);
			assert_int_equal(j->r[0].status, RCPT_SENT);
			assert_int_equal(hub.messages, k);
			if (rows[i].want == NULL) {
				assert_false(hub_heard("XFORWARD"));
			} else if (strcmp(rows[i].want, "both") == 0) {
				char both[400];
				snprintf(both, sizeof both, "%s%sMAIL", first, second);
				assert_true(hub_heard(both));
			} else {
				assert_true(hub_heard(rows[i].want));
			}
		}
		assert_int_equal(hub.connects, 1);
		w.forward = NULL; /* our own reports have no client */
		buf_reset(&hub.log);
		assert_int_equal(world_deliver(&w)->r[0].status, RCPT_SENT);
		assert_false(hub_heard("XFORWARD"));
		world_end();
	}
}

static struct world_send
probe(const char *const *rcpts)
{
	return (struct world_send){ .nexthop = here, .rcpts = rcpts, .flags = MSGF_PROBE, .sender = "double-bounce@gw.test" };
}

static const char *const ehlos[] = { NULL, "250-h\r\n250-PIPELINING\r\n250 SIZE 10\r\n", "250 h\r\n" };

static void
test_probe(void **state)
{
	(void)state;
	for (size_t i = 0; i < NELEMS(ehlos); i++) {
		hub_reset(&hub);
		hub.script.ehlo = ehlos[i];
		hub.script.bad_rcpt = "550 5.1.1 <bad@b.test>: nobody\r\n";
		world_start("soft_bounce = yes");
		struct world_send good = probe(one), none = probe(bad);
		struct world_job *j = world_deliver(&good);
		assert_int_equal(j->r[0].status, RCPT_SENT);
		assert_string_equal(j->r[0].text, "250 2.1.5 Ok");
		assert_int_equal(j->health, JOB_HUB_OK);
		assert_true(hub_heard("MAIL FROM:<double-bounce@gw.test>\nRCPT TO:<to@b.test>\n"));
		j = world_deliver(&none);
		assert_int_equal(j->r[0].status, RCPT_BOUNCED); /* whatever soft_bounce says */
		assert_string_equal(j->r[0].dsn, "5.1.1");
		assert_non_null(strstr(j->r[0].text, "said: 550 5.1.1 <bad@b.test>: nobody (in reply to RCPT TO command)"));
		hub.script.bad_rcpt = "451 4.2.0 later\r\n";
		assert_int_equal(world_deliver(&none)->r[0].status, RCPT_DEFERRED);
		hub.script.mail = "550 5.7.1 not you\r\n";
		assert_int_equal(world_deliver(&good)->r[0].status, RCPT_BOUNCED);
		hub.script.mail = NULL;
		assert_int_equal(hub.datas + hub.bdats + hub.messages, 0);
		assert_int_equal(hub.connects, 1);
		/* mail on the same session is not disturbed by what was asked before */
		struct world_send mail = { .nexthop = here, .rcpts = one, .content = i == 1 ? SPAN("x\r\n") : span_str(text) };
		assert_int_equal(world_deliver(&mail)->r[0].status, RCPT_SENT);
		assert_int_equal(hub.messages, 1);
		assert_int_equal(hub.connects, 1);
		world_end();
	}
}

static void
test_probe_data(void **state)
{
	(void)state;
	for (size_t i = 0; i < NELEMS(ehlos); i++) {
		hub_reset(&hub);
		hub.script.ehlo = ehlos[i];
		hub.script.bad_rcpt = "550 5.1.1 nobody\r\n";
		world_start("smtp_address_verify_target = data");
		struct world_send good = probe(one), none = probe(bad);
		struct world_job *j = world_deliver(&good);
		assert_int_equal(j->r[0].status, RCPT_SENT);
		assert_string_equal(j->r[0].text, "354 go on");
		world_turns(20000);
		assert_int_equal(hub.datas, 1);
		assert_int_equal(hub.messages, 0);
		assert_int_equal(buf_len(&hub.content), 0);
		j = world_deliver(&none);
		assert_int_equal(j->r[0].status, RCPT_BOUNCED);
		hub.script.data = "554 5.7.0 not now\r\n";
		j = world_deliver(&good);
		assert_int_equal(j->r[0].status, RCPT_BOUNCED);
		assert_non_null(strstr(j->r[0].text, "(in reply to DATA command)"));
		assert_int_equal(hub.messages, 0);
		world_end();
	}
}

/* The hub goes away after each octet it says: an answer each time, and nothing is left. */
static void
test_probe_cut(void **state)
{
	static const char *const targets[] = { "smtp_address_verify_target = rcpt", "smtp_address_verify_target = data" };
	(void)state;
	for (size_t t = 0; t < NELEMS(targets); t++) {
		for (long cut = 0; cut < 200; cut += 3) {
			hub_reset(&hub);
			hub.script.ehlo = ehlos[1];
			hub.script.cut = cut;
			world_start(targets[t]);
			struct world_send w = probe(one);
			struct world_job *j = world_deliver(&w);
			assert_true(j->r[0].status == RCPT_DEFERRED || (j->r[0].status == RCPT_SENT && cut > 60));
			assert_int_equal(hub.messages, 0);
			world_end();
		}
	}
}

static void
test_probe_no_hub(void **state)
{
	(void)state;
	world_start("");
	struct world_send w = probe(one);
	w.nexthop = "[127.0.0.1]:1";
	struct world_job *j = world_deliver(&w);
	assert_int_equal(j->r[0].status, RCPT_DEFERRED);
	assert_int_equal(j->health, JOB_HUB_DOWN);
	world_end();
}

static int
begin(void **state)
{
	(void)state;
	loop_init();
	log_open(LOG_TO_FD, open("/dev/null", O_WRONLY | O_CLOEXEC), LOG_POSTFIX, "dogana", "relay");
	hub_start(&hub);
	snprintf(here, sizeof here, "[127.0.0.1]:%u", hub.port);
	return 0;
}

static int
finish(void **state)
{
	(void)state;
	hub_stop(&hub);
	log_flush();
	loop_fini();
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_xforward),
		cmocka_unit_test(test_probe),
		cmocka_unit_test(test_probe_data),
		cmocka_unit_test(test_probe_cut),
		cmocka_unit_test(test_probe_no_hub),
	};
	return cmocka_run_group_tests(tests, begin, finish);
}
