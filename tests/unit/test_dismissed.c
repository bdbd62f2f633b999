/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A hub that says 421, at every step, and that closes the connection at once, later or never: nothing more is said to it, the next
 * host gets the mail, and the session is gone.
 */
#include "fake_hub.h"
#include "relay_world.h"

static struct hub hub, next;
static const char *const two[] = { "to@b.test", "also@b.test", NULL };
static const char text[] = "Subject: x\r\n\r\nline\r\n";

#define BYE "421 4.3.2 closing\r\n"

static const char all[] = "250-hub.test\r\n250-PIPELINING\r\n250-SIZE 1000000\r\n250-XFORWARD NAME ADDR\r\n250 CHUNKING\r\n";
static const char grouped[] = "250-hub.test\r\n250-XFORWARD NAME ADDR\r\n250 PIPELINING\r\n";
static const char plain[] = "250-hub.test\r\n250 XFORWARD NAME ADDR\r\n";
static const char tls[] = "250-hub.test\r\n250-STARTTLS\r\n250-PIPELINING\r\n250 AUTH PLAIN\r\n";
static const char login[] = "250-hub.test\r\n250 AUTH PLAIN\r\n";

static const char settings[] = "smtp_tls_security_level = may\nsmtp_send_xforward_command = yes\nsmtp_sasl_auth_enable = yes\n"
                               "smtp_sasl_password_maps = inline:{127.0.0.1=anna:secret!}\nsmtp_sasl_security_options =\n";

struct row {
	const char *what;
	struct hub_script script;
	const char *said;        /* alone: of the text behind the host's name */
};

static const struct row rows[] = {
	{ "banner", { .banner = BYE }, "refused to talk to me: 421 4.3.2 closing" },
	{ "EHLO", { .ehlo = BYE }, "refused to talk to me: 421 4.3.2 closing" },
	{ "HELO", { .ehlo = "500 5.5.1 no\r\n", .helo = BYE }, "refused to talk to me: 421 4.3.2 closing" },
	{ "STARTTLS", { .ehlo = tls, .starttls = BYE }, "said: 421 4.3.2 closing (in reply to STARTTLS command)" },
	{ "AUTH", { .ehlo = login, .auth = BYE }, NULL },
	{ "XFORWARD", { .ehlo = plain, .xforward = BYE }, "said: 421 4.3.2 closing (in reply to XFORWARD command)" },
	{ "XFORWARD in a group", { .ehlo = grouped, .xforward = BYE }, "said: 421 4.3.2 closing (in reply to XFORWARD command)" },
	{ "XFORWARD in front of BDAT", { .ehlo = all, .xforward = BYE }, "said: 421 4.3.2 closing (in reply to XFORWARD command)" },
	{ "MAIL", { .ehlo = plain, .mail = BYE }, "said: 421 4.3.2 closing (in reply to MAIL FROM command)" },
	{ "MAIL in a group", { .ehlo = grouped, .mail = BYE, .data = "354 go on\r\n" }, "said: 421 4.3.2 closing (in reply to MAIL FROM command)" },
	{ "MAIL in front of BDAT", { .ehlo = all, .mail = BYE }, "said: 421 4.3.2 closing (in reply to MAIL FROM command)" },
	{ "RCPT", { .ehlo = plain, .rcpt = BYE }, "said: 421 4.3.2 closing (in reply to RCPT TO command)" },
	{ "RCPT in a group", { .ehlo = grouped, .rcpt = BYE, .data = "354 go on\r\n" }, "said: 421 4.3.2 closing (in reply to RCPT TO command)" },
	{ "RCPT in front of BDAT", { .ehlo = all, .rcpt = BYE }, "said: 421 4.3.2 closing (in reply to RCPT TO command)" },
	{ "DATA", { .ehlo = plain, .data = BYE }, "said: 421 4.3.2 closing (in reply to DATA command)" },
	{ "DATA in a group", { .ehlo = grouped, .data = BYE }, "said: 421 4.3.2 closing (in reply to DATA command)" },
	{ "dot", { .ehlo = plain, .dot = BYE }, "said: 421 4.3.2 closing (in reply to end of DATA command)" },
	{ "BDAT", { .ehlo = all, .dot = BYE }, "said: 421 4.3.2 closing (in reply to end of DATA command)" },
};

static void
play(const struct row *r)
{
	hub_reset(&hub);
	hub_reset(&next);
	hub.script = r->script;
	hub.script.cut = hub.script.cut_input = -1;
}

static struct world_send
mail(const char *hop)
{
	return (struct world_send){ .nexthop = hop, .rcpts = two, .content = span_str(text), .forward = "NAME=a.test ADDR=192.0.2.1" };
}

/* The hub stays; the next hop in the list takes the mail. */
static void
test_next_host(void **state)
{
	char hops[100];
	(void)state;
	snprintf(hops, sizeof hops, "[127.0.0.1]:%u, [127.0.0.1]:%u", hub.port, next.port);
	for (size_t i = 0; i < NELEMS(rows); i++) {
		play(&rows[i]);
		world_start(settings);
		struct world_send w = mail(hops);
		struct world_job *j = world_deliver(&w);
		for (int k = 0; k < 2; k++)
			if (j->r[k].status != RCPT_SENT)
				fail_msg("%s: recipient %d: status %d: %s", rows[i].what, k, j->r[k].status, j->r[k].text);
		assert_int_equal(next.messages, 1);
		world_turns(2000);
		if (hub.behind_421 > 0)
			fail_msg("%s: it went on: %s", rows[i].what, buf_cstr(&hub.log));
		if (metric_values[M_relay_sessions] > 1) /* the good one may rest */
			fail_msg("%s: %d sessions are left", rows[i].what, (int)metric_values[M_relay_sessions]);
		/* what is left of the first session must not spoil what comes */
		list_each(l, &hub.conns)
			hub_drop(list_entry(l, struct hub_conn, link));
		world_turns(2000);
		hub.script = (struct hub_script){ .cut = -1, .cut_input = -1 };
		j = world_deliver(&w);
		assert_int_equal(j->r[0].status, RCPT_SENT);
		world_end();
	}
}

/* The only host: what queue hears, and that closing comes later than the delivery's end. */
static void
test_alone(void **state)
{
	char hop[64], expect[300];
	(void)state;
	snprintf(hop, sizeof hop, "[127.0.0.1]:%u", hub.port);
	for (size_t i = 0; i < NELEMS(rows); i++) {
		play(&rows[i]);
		world_start(settings);
		struct world_send w = mail(hop);
		struct world_job *j = world_deliver(&w);
		snprintf(expect, sizeof expect, "host 127.0.0.1[127.0.0.1] %s", rows[i].said != NULL ? rows[i].said : "");
		if (rows[i].said == NULL)
			snprintf(expect, sizeof expect, "SASL authentication failed; server 127.0.0.1[127.0.0.1] said: 421 4.3.2 closing");
		for (int k = 0; k < 2; k++)
			if (j->r[k].status != RCPT_DEFERRED || strcmp(j->r[k].text, expect) != 0 || strcmp(j->r[k].dsn, "4.3.2") != 0)
				fail_msg("%s: recipient %d: %d %s %s", rows[i].what, k, j->r[k].status, j->r[k].dsn, j->r[k].text);
		assert_null(strstr(buf_cstr(&hub.log), "QUIT"));
		assert_int_equal(hub.connects, 1);
		assert_int_equal(metric_values[M_relay_sessions], 0);
		world_turns(2000);
		list_each(l, &hub.conns)
			hub_drop(list_entry(l, struct hub_conn, link));
		world_turns(2000);
		world_end();
	}
}

/* In a session that has carried mail: RSET, XFORWARD and MAIL say nothing about this message, so a new session tries at once. */
static void
test_used_session(void **state)
{
	static const struct row used[] = {
		{ "RSET", { .ehlo = plain, .rset = BYE }, NULL },
		{ "RSET in a group", { .ehlo = all, .rset = BYE }, NULL },
		{ "XFORWARD", { .ehlo = plain, .xforward = BYE }, NULL },
		{ "MAIL in a group", { .ehlo = grouped, .mail = BYE }, NULL },
	};
	char hop[64];
	(void)state;
	snprintf(hop, sizeof hop, "[127.0.0.1]:%u", hub.port);
	for (size_t i = 0; i < NELEMS(used); i++) {
		hub_reset(&hub);
		hub.script.ehlo = used[i].script.ehlo;
		hub.script.rcpt = "550 5.1.1 who\r\n"; /* so that RSET comes next time */
		world_start(settings);
		struct world_send w = mail(hop);
		(void)world_deliver(&w);
		hub.script.rcpt = NULL;
		hub.script.rset = used[i].script.rset;
		hub.script.xforward = used[i].script.xforward;
		hub.script.mail = used[i].script.mail;
		bool is_for_good = hub.script.rset == NULL;
		struct world_job *j = world_deliver(&w);
		if (j->r[0].status != (is_for_good ? RCPT_DEFERRED : RCPT_SENT))
			fail_msg("%s: %d %s", used[i].what, j->r[0].status, j->r[0].text);
		assert_int_equal(hub.connects, 2);
		assert_int_equal(hub.behind_421, 0);
		world_end();
	}
}

/* A session at rest that hears 421 is let go without a word. */
static void
test_resting(void **state)
{
	char hop[64];
	(void)state;
	snprintf(hop, sizeof hop, "[127.0.0.1]:%u", hub.port);
	hub_reset(&hub);
	world_start("");
	struct world_send w = mail(hop);
	assert_int_equal(world_deliver(&w)->r[0].status, RCPT_SENT);
	assert_int_equal(metric_values[M_relay_sessions], 1);
	list_each(l, &hub.conns)
		hub_say(list_entry(l, struct hub_conn, link), BYE);
	for (int i = 0; i < 100 && metric_values[M_relay_sessions] > 0; i++)
		world_turns(10000);
	assert_int_equal(metric_values[M_relay_sessions], 0);
	assert_int_equal(hub.quits, 0);
	world_end();
}

/* Mail that has waited long enough goes in the clear, on a connection of its own; never with a login. */
static void
test_plain_in_the_end(void **state)
{
	static const char patient[] = "smtp_tls_security_level = may\nminimal_backoff_time = 1s\n";
	char hop[64], with_login[400];
	(void)state;
	snprintf(hop, sizeof hop, "[127.0.0.1]:%u", hub.port);
	snprintf(with_login, sizeof with_login, "%ssmtp_sasl_auth_enable = yes\nsmtp_sasl_password_maps = inline:{127.0.0.1=anna:secret!}\n", patient);
	for (int i = 0; i < 2; i++) {
		hub_reset(&hub);
		hub.script.ehlo = tls;
		hub.script.starttls = BYE;
		world_start(i == 0 ? patient : with_login);
		struct world_send w = mail(hop);
		w.waited = 1000000;
		struct world_job *j = world_deliver(&w);
		assert_int_equal(j->r[0].status, i == 0 ? RCPT_SENT : RCPT_DEFERRED);
		assert_int_equal(hub.connects, i == 0 ? 2 : 1);
		assert_int_equal(hub.behind_421, 0);
		assert_null(strstr(buf_cstr(&hub.log), "AUTH "));
		world_end();
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_next_host), cmocka_unit_test(test_alone), cmocka_unit_test(test_used_session), cmocka_unit_test(test_resting),
		cmocka_unit_test(test_plain_in_the_end),
	};
	log_open(LOG_TO_FD, open("/dev/null", O_WRONLY | O_APPEND | O_CLOEXEC), LOG_POSTFIX, "dogana", "relay");
	loop_init();
	hub_start(&hub);
	hub_start(&next);
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	hub_stop(&hub);
	hub_stop(&next);
	loop_fini();
	return failed;
}
