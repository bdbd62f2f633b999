/* SPDX-License-Identifier: BSD-2-Clause */
/* The relay role between a queue and a hub: every stage refused, cut, silent or mad, and what queue hears of it. */
#include "fake_hub.h"
#include "relay_world.h"

static struct hub hub;
static char here[64]; /* next hop of the hub */
static const char *const one[] = { "to@b.test", NULL };
static const char *const three[] = { "to@b.test", "bad@b.test", "also@b.test", NULL };
static const char text[] = "Subject: x\r\n\r\nline\r\n.dot\r\n..two\r\n\r\n.\r\nend\r\n";

static struct world_send
mail(void)
{
	return (struct world_send){ .nexthop = here, .rcpts = one, .content = span_str(text), .flags = MSGF_HAS_DOTS };
}

static void
check_content(void)
{
	assert_int_equal(buf_len(&hub.content), sizeof text - 1);
	assert_memory_equal(buf_span(&hub.content).p, text, sizeof text - 1);
}

static const char *const no_chunking = "250-hub.test\r\n250-PIPELINING\r\n250-DSN\r\n250 8BITMIME\r\n";
static const char *const plain = "250 hub.test\r\n";

static void
test_happy(void **state)
{
	const char *const ehlos[] = { NULL, no_chunking, plain, "500 5.5.1 no\r\n" };
	(void)state;
	for (size_t i = 0; i < NELEMS(ehlos); i++) {
		hub_reset(&hub);
		hub.script.ehlo = ehlos[i];
		world_start("");
		struct world_send w = mail();
		for (unsigned k = 1; k <= 3; k++) {
			struct world_job *j = world_deliver(&w);
			assert_int_equal(j->r[0].status, RCPT_SENT);
			assert_string_equal(j->r[0].dsn, "2.0.0");
			assert_string_equal(j->r[0].text, "250 2.0.0 Ok: queued as TEST");
			assert_string_equal(j->r[0].mta, "127.0.0.1");
			assert_int_equal(j->health, JOB_HUB_OK);
			assert_int_equal(j->r[0].dsn_passed, i < 2);
			assert_int_equal(hub.messages, k);
			check_content();
		}
		assert_int_equal(hub.connects, 1); /* reused */
		assert_int_equal(hub.rsets, 0);
		assert_int_equal(hub.bdats, i == 0 ? 3 : 0);
		world_end();
		assert_int_equal(hub.quits, 1);
	}
}

static void
test_segment_and_dsn(void **state)
{
	(void)state;
	hub_reset(&hub);
	world_start("");
	world_segment(7, span_str(text));
	struct world_send w = mail();
	w.segment = 7;
	w.length = sizeof text - 1;
	w.flags |= MSGF_8BITMIME | MSGF_RET_HDRS;
	w.notify = NOTIFY_SUCCESS | NOTIFY_FAILURE;
	w.orcpt = "rfc822;a+2Bb@b.test";
	w.envid = "id+3D1";
	struct world_job *j = world_deliver(&w);
	assert_int_equal(j->r[0].status, RCPT_SENT);
	assert_true(j->r[0].dsn_passed);
	check_content();
	const char *log = buf_cstr(&hub.log);
	assert_non_null(strstr(log, "MAIL FROM:<from@a.test> SIZE=43 BODY=8BITMIME RET=HDRS ENVID=id+3D1\n"));
	assert_non_null(strstr(log, "RCPT TO:<to@b.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;a+2Bb@b.test\n"));
	/* the segment is gone: later jobs that name it wait */
	struct buf b;
	buf_init(&b, 8);
	buf_put_u64(&b, 7);
	ipc_send(world.queue, IPC_SEGMENT_GONE, 0, buf_span(&b), -1);
	buf_fini(&b);
	j = world_deliver(&w);
	assert_int_equal(j->r[0].status, RCPT_DEFERRED);
	assert_int_equal(j->health, JOB_NO_ROUTE);
	world_end();
}

struct refusal {
	const char *what;
	struct hub_script script;
	int status;      /* of to@b.test */
	const char *dsn, *text; /* start of the text after "host 127.0.0.1[127.0.0.1] ", or the whole when it begins with '=' */
	enum job_health health;
};

static const struct refusal refusals[] = {
	{ "banner 4", { .banner = "421 4.3.2 busy\r\n" }, RCPT_DEFERRED, "4.3.2", "refused to talk to me: 421 4.3.2 busy", JOB_HUB_DOWN },
	{ "banner 5", { .banner = "554 5.7.1 no\r\n" }, RCPT_DEFERRED, "4.7.1", "refused to talk to me: 554 5.7.1 no", JOB_HUB_DOWN },
	{ "banner lines", { .banner = "220-hub\r\n220 ESMTP\r\n" }, RCPT_SENT, "2.0.0", NULL, JOB_HUB_OK },
	{ "banner bare", { .banner = "220\r\n" }, RCPT_SENT, "2.0.0", NULL, JOB_HUB_OK },
	{ "ehlo 4", { .ehlo = "450 4.0.0 later\r\n" }, RCPT_DEFERRED, "4.0.0", "refused to talk to me: 450 4.0.0 later", JOB_HUB_DOWN },
	{ "ehlo and helo 5", { .ehlo = "500 a\r\n", .helo = "550 5.7.1 b\r\n" }, RCPT_BOUNCED, "5.7.1", "refused to talk to me: 550 5.7.1 b", JOB_HUB_DOWN },
	{ "mail 4", { .mail = "451 4.7.1 grey\r\n" }, RCPT_DEFERRED, "4.7.1", "said: 451 4.7.1 grey (in reply to MAIL FROM command)", JOB_HUB_OK },
	{ "mail 5", { .mail = "550 no\r\n" }, RCPT_BOUNCED, "5.0.0", "said: 550 no (in reply to MAIL FROM command)", JOB_HUB_OK },
	{ "mail 5, lines", { .mail = "550-5.1.1 a\r\n550 5.1.1 b\r\n" }, RCPT_BOUNCED, "5.1.1",
	    "said: 550-5.1.1 a 550 5.1.1 b (in reply to MAIL FROM command)", JOB_HUB_OK },
	{ "rcpt 4", { .rcpt = "450 4.2.1 full\r\n" }, RCPT_DEFERRED, "4.2.1", "said: 450 4.2.1 full (in reply to RCPT TO command)", JOB_HUB_OK },
	{ "rcpt 5", { .rcpt = "550 5.1.1 who\r\n" }, RCPT_BOUNCED, "5.1.1", "said: 550 5.1.1 who (in reply to RCPT TO command)", JOB_HUB_OK },
	{ "rcpt 553 only", { .rcpt = "553\r\n" }, RCPT_BOUNCED, "5.0.0", "said: 553 (in reply to RCPT TO command)", JOB_HUB_OK },
	{ "data 4", { .ehlo = no_chunking, .data = "450 4.3.0 x\r\n" }, RCPT_DEFERRED, "4.3.0", "said: 450 4.3.0 x (in reply to DATA command)", JOB_HUB_OK },
	{ "data 5", { .ehlo = plain, .data = "554 5.6.0 x\r\n" }, RCPT_BOUNCED, "5.6.0", "said: 554 5.6.0 x (in reply to DATA command)", JOB_HUB_OK },
	{ "data 2", { .ehlo = plain, .data = "250 x\r\n" }, RCPT_DEFERRED, "4.5.0", "said: 250 x (in reply to DATA command)", JOB_HUB_OK },
	{ "dot 4", { .dot = "452 4.3.1 full\r\n" }, RCPT_DEFERRED, "4.3.1", "said: 452 4.3.1 full (in reply to end of DATA command)", JOB_HUB_OK },
	{ "dot 5", { .ehlo = no_chunking, .dot = "552 5.3.4 big\r\n" }, RCPT_BOUNCED, "5.3.4", "said: 552 5.3.4 big (in reply to end of DATA command)", JOB_HUB_OK },
	{ "dot 3", { .dot = "354 x\r\n" }, RCPT_DEFERRED, "4.5.0", "said: 354 x (in reply to end of DATA command)", JOB_HUB_OK },
	{ "rcpt 5, data 354", { .ehlo = no_chunking, .rcpt = "550 5.1.1 who\r\n", .data = "354 go\r\n" }, RCPT_BOUNCED, "5.1.1",
	    "said: 550 5.1.1 who (in reply to RCPT TO command)", JOB_HUB_OK },
	{ "mail 5, data 354", { .ehlo = no_chunking, .mail = "550 5.7.1 no\r\n", .data = "354 go\r\n" }, RCPT_BOUNCED, "5.7.1",
	    "said: 550 5.7.1 no (in reply to MAIL FROM command)", JOB_HUB_OK },
	{ "quit 5", { .quit = "500 no\r\n" }, RCPT_SENT, "2.0.0", NULL, JOB_HUB_OK },
	{ "wrong class", { .dot = "250 5.0.0 ok\r\n" }, RCPT_SENT, "2.0.0", NULL, JOB_HUB_OK },
	{ "close at connect", { .close_on = "connect" }, RCPT_DEFERRED, "4.4.2", "=lost connection with 127.0.0.1[127.0.0.1] while receiving the initial server greeting", JOB_HUB_DOWN },
	{ "close at ehlo", { .close_on = "EHLO" }, RCPT_DEFERRED, "4.4.2", "=lost connection with 127.0.0.1[127.0.0.1] while performing the EHLO handshake", JOB_HUB_DOWN },
	{ "close at mail", { .close_on = "MAIL" }, RCPT_DEFERRED, "4.4.2", "=lost connection with 127.0.0.1[127.0.0.1] while sending MAIL FROM", JOB_HUB_OK },
	{ "close at rcpt", { .ehlo = no_chunking, .close_on = "RCPT" }, RCPT_DEFERRED, "4.4.2", "=lost connection with 127.0.0.1[127.0.0.1] while sending RCPT TO", JOB_HUB_OK },
	{ "close at data", { .ehlo = no_chunking, .close_on = "DATA" }, RCPT_DEFERRED, "4.4.2", "=lost connection with 127.0.0.1[127.0.0.1] while sending DATA command", JOB_HUB_OK },
	{ "close at dot", { .ehlo = no_chunking, .close_on = "." }, RCPT_DEFERRED, "4.4.2",
	    "=lost connection with 127.0.0.1[127.0.0.1] while sending end of data -- message may be sent more than once", JOB_HUB_OK },
	{ "close at bdat", { .close_on = "." }, RCPT_DEFERRED, "4.4.2",
	    "=lost connection with 127.0.0.1[127.0.0.1] while sending end of data -- message may be sent more than once", JOB_HUB_OK },
	{ "silent banner", { .mute_on = "connect" }, RCPT_DEFERRED, "4.4.2", "=conversation with 127.0.0.1[127.0.0.1] timed out while receiving the initial server greeting", JOB_HUB_DOWN },
	{ "silent mail", { .ehlo = plain, .mute_on = "MAIL" }, RCPT_DEFERRED, "4.4.2", "=conversation with 127.0.0.1[127.0.0.1] timed out while sending MAIL FROM", JOB_HUB_OK },
	{ "silent dot", { .mute_on = "." }, RCPT_DEFERRED, "4.4.2",
	    "=conversation with 127.0.0.1[127.0.0.1] timed out while sending end of data -- message may be sent more than once", JOB_HUB_OK },
	/* C04 */
	{ "code changes", { .banner = "250-a\r\n550 b\r\n" }, RCPT_DEFERRED, "4.5.0", "sent a malformed reply while receiving the initial server greeting", JOB_HUB_DOWN },
	{ "letter in code", { .mail = "25O ok\r\n" }, RCPT_DEFERRED, "4.5.0", "sent a malformed reply while sending MAIL FROM", JOB_HUB_OK },
	{ "850", { .rcpt = "850 x\r\n" }, RCPT_DEFERRED, "4.5.0", "sent a malformed reply while sending RCPT TO", JOB_HUB_OK },
	{ "bare lf", { .dot = "250 ok\n" }, RCPT_DEFERRED, "4.5.0", "sent a malformed reply while sending end of data -- message may be sent more than once", JOB_HUB_OK },
	{ "leading space", { .mail = " 250 ok\r\n" }, RCPT_DEFERRED, "4.5.0", "sent a malformed reply while sending MAIL FROM", JOB_HUB_OK },
	{ "empty line", { .mail = "\r\n" }, RCPT_DEFERRED, "4.5.0", "sent a malformed reply while sending MAIL FROM", JOB_HUB_OK },
	{ "reply too many", { .ehlo = "250 hub.test\r\n250 again\r\n" }, RCPT_DEFERRED, "4.4.2", "=lost connection after the handshake", JOB_HUB_DOWN },
	/* features */
	{ "size", { .ehlo = "250-hub.test\r\n250 SIZE 20\r\n" }, RCPT_BOUNCED, "5.3.4", "=message size 43 exceeds size limit 20 of server 127.0.0.1[127.0.0.1]", JOB_HUB_OK },
	{ "size 0", { .ehlo = "250-hub.test\r\n250 SIZE 0\r\n" }, RCPT_SENT, "2.0.0", NULL, JOB_HUB_OK },
	{ "garbage features", { .ehlo = "250-hub.test\r\n250-\r\n250-SIZE x\r\n250-  \r\n250-CHUNKINGX\r\n250 =\x80\r\n" }, RCPT_SENT, "2.0.0", NULL, JOB_HUB_OK },
};

static const char quick[] = "smtp_helo_timeout = 1s\nsmtp_mail_timeout = 1s\nsmtp_data_done_timeout = 1s\n";

static void
test_refusals(void **state)
{
	(void)state;
	for (size_t i = 0; i < NELEMS(refusals); i++) {
		const struct refusal *r = &refusals[i];
		char expect[700];
		hub_reset(&hub);
		hub.script = r->script;
		hub.script.cut = hub.script.cut_input = -1;
		world_start(quick);
		struct world_send w = mail();
		struct world_job *j = world_deliver(&w);
		if (r->text == NULL)
			snprintf(expect, sizeof expect, "%s", j->r[0].text);
		else if (r->text[0] == '=')
			snprintf(expect, sizeof expect, "%s", r->text + 1);
		else
			snprintf(expect, sizeof expect, "host 127.0.0.1[127.0.0.1] %s", r->text);
		if (j->r[0].status != r->status || strcmp(j->r[0].dsn, r->dsn) != 0 || strcmp(j->r[0].text, expect) != 0 || j->health != r->health)
			fail_msg("%s: status %d dsn %s health %d: %s", r->what, j->r[0].status, j->r[0].dsn, j->health, j->r[0].text);
		if (r->status == RCPT_SENT)
			check_content();
		world_end();
	}
}

/* Cut after every octet of what the hub says, and of what it takes: nothing bounces, nothing is lost or
 * said to be sent when it was not, and nothing is left behind. */
static void
test_cut_everywhere(void **state)
{
	const char *const ehlos[] = { NULL, no_chunking, plain, "250-hub.test\r\n250-PIPELINING\r\n250 AUTH PLAIN\r\n" };
	(void)state;
	for (size_t i = 0; i < NELEMS(ehlos); i++) {
		long whole_said = 0, whole_taken = 0;
		world_start("smtp_sasl_auth_enable = yes\nsmtp_sasl_password_maps = inline:{127.0.0.1=anna:pw}\nsmtp_sasl_security_options =\n");
		for (int side = 0; side < 2; side++) {
			for (long cut = 0;; cut++) {
				hub_reset(&hub);
				hub.script.ehlo = ehlos[i];
				if (side == 0)
					hub.script.cut = cut;
				else
					hub.script.cut_input = cut;
				world_forget();
				struct world_send w = mail();
				w.transport = "slow"; /* a session each */
				w.rcpts = three;
				struct world_job *j = world_deliver(&w);
				bool sent = j->r[0].status == RCPT_SENT;
				for (int k = 0; k < 3; k++)
					if (j->r[k].status != (sent ? RCPT_SENT : RCPT_DEFERRED))
						fail_msg("cut %ld of side %d: status %d: %s", cut, side, j->r[k].status, j->r[k].text);
				if (sent) {
					assert_int_equal(hub.messages, 1);
					break;
				}
				assert_int_equal(metric_values[M_relay_sessions], 0);
				*(side == 0 ? &whole_said : &whole_taken) = cut;
				assert_true(cut < 2000);
			}
		}
		assert_true(whole_said > 50 && whole_taken > 50);
		world_end();
	}
}

/* The hub's words around AUTH: what becomes of the mail, and that nothing is sent as a stranger. */
static void
test_login(void **state)
{
	static const char offer[] = "250-hub.test\r\n250 AUTH PLAIN\r\n";
	static const struct {
		const char *ehlo, *auth;
		int status;
		const char *dsn, *text; /* NULL: sent */
	} rows[] = {
		{ offer, NULL, RCPT_SENT, "2.0.0", NULL },
		{ "250-hub.test\r\n250 AUTH=PLAIN\r\n", NULL, RCPT_SENT, "2.0.0", NULL },
		{ "250 hub.test\r\n", NULL, RCPT_SENT, "2.0.0", NULL }, /* no AUTH at all: strangers */
		{ offer, "535 5.7.8 no\r\n", RCPT_DEFERRED, "4.7.8", "SASL authentication failed; server 127.0.0.1[127.0.0.1] said: 535 5.7.8 no" },
		{ offer, "535-5.7.8 a\r\n535 5.7.8 b\r\n", RCPT_DEFERRED, "4.7.8",
		    "SASL authentication failed; server 127.0.0.1[127.0.0.1] said: 535-5.7.8 a 535 5.7.8 b" },
		{ offer, "454 4.7.0 later\r\n", RCPT_DEFERRED, "4.7.0", "SASL authentication failed; server 127.0.0.1[127.0.0.1] said: 454 4.7.0 later" },
		{ offer, "535 AGFubmEAc2VjcmV0IQ== secret! 73656372657421\r\n", RCPT_DEFERRED, "4.0.0",
		    "SASL authentication failed; server 127.0.0.1[127.0.0.1] said: 535 AGFubmEA***Q== *** ***" },
		{ offer, "334 !!!\r\n", RCPT_DEFERRED, "4.7.0", "SASL authentication failed; cannot authenticate to server 127.0.0.1[127.0.0.1]: bad protocol / cancel" },
		{ offer, "334 YQ==\r\n", RCPT_DEFERRED, "4.7.0", "SASL authentication failed; cannot authenticate to server 127.0.0.1[127.0.0.1]: bad protocol / cancel" },
		{ "250-hub.test\r\n250 AUTH NOSUCH\r\n", NULL, RCPT_DEFERRED, "4.7.0",
		    "SASL authentication failed; cannot authenticate to server 127.0.0.1[127.0.0.1]: no mechanism available" },
		{ "250-hub.test\r\n250 AUTH\r\n", NULL, RCPT_DEFERRED, "4.7.0", "SASL authentication failed: server 127.0.0.1[127.0.0.1] offered no "
		    "compatible authentication mechanisms for this type of connection security" },
		{ offer, "235 in\r\n250 ahead\r\n", RCPT_DEFERRED, "4.4.2", "lost connection after the handshake" },
	};
	(void)state;
	for (size_t i = 0; i < NELEMS(rows); i++) {
		hub_reset(&hub);
		hub.script.ehlo = rows[i].ehlo;
		hub.script.auth = rows[i].auth;
		world_start("smtp_sasl_auth_enable = yes\nsmtp_sasl_password_maps = inline:{127.0.0.1=anna:secret!}\nsmtp_sasl_security_options =\n");
		struct world_send w = mail();
		struct world_job *j = world_deliver(&w);
		if (j->r[0].status != rows[i].status || strcmp(j->r[0].dsn, rows[i].dsn) != 0 ||
		    (rows[i].text != NULL && strncmp(j->r[0].text, rows[i].text, strlen(rows[i].text)) != 0))
			fail_msg("row %zu: %d %s %s", i, j->r[0].status, j->r[0].dsn, j->r[0].text);
		assert_int_equal(hub.messages, rows[i].status == RCPT_SENT);
		assert_null(strstr(j->r[0].diag, "secret!"));
		world_end();
	}
}

static void
test_some_refused(void **state)
{
	const char *const ehlos[] = { NULL, no_chunking, plain };
	(void)state;
	for (size_t i = 0; i < NELEMS(ehlos); i++) {
		hub_reset(&hub);
		hub.script.ehlo = ehlos[i];
		hub.script.bad_rcpt = "550 5.1.1 unknown\r\n";
		world_start("");
		struct world_send w = mail();
		w.rcpts = three;
		struct world_job *j = world_deliver(&w);
		assert_int_equal(j->r[0].status, RCPT_SENT);
		assert_int_equal(j->r[1].status, RCPT_BOUNCED);
		assert_string_equal(j->r[1].diag, "550 5.1.1 unknown");
		assert_int_equal(j->r[2].status, RCPT_SENT);
		check_content();
		/* all refused: the session survives, with RSET before the next transaction */
		const char *const bad[] = { "bad@b.test", "bad2@b.test", NULL };
		w.rcpts = bad;
		j = world_deliver(&w);
		assert_int_equal(j->r[0].status, RCPT_BOUNCED);
		assert_int_equal(j->r[1].status, RCPT_BOUNCED);
		w.rcpts = one;
		j = world_deliver(&w);
		assert_int_equal(j->r[0].status, RCPT_SENT);
		assert_int_equal(hub.connects, 1);
		assert_int_equal(hub.rsets, 1);
		check_content();
		world_end();
	}
}

static void
test_many_rcpts(void **state)
{
	static char names[1000][32];
	static const char *list[1001];
	(void)state;
	for (int i = 0; i < 1000; i++) {
		snprintf(names[i], sizeof names[i], "user%d@b.test", i);
		list[i] = names[i];
	}
	hub_reset(&hub);
	hub.script.rcpt = "250 2.1.5 a longish reply that fills the buffers of the connection a little more than usual\r\n";
	world_start("");
	struct world_send w = mail();
	w.rcpts = list;
	struct world_job *j = world_deliver(&w);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(j->r[i].status, RCPT_SENT);
	check_content();
	world_end();
}

static void
test_next_hops(void **state)
{
	char hops[200];
	(void)state;
	/* the first port is closed */
	struct hub dead;
	hub_start(&dead);
	uint16_t closed = dead.port;
	hub_stop(&dead);
	snprintf(hops, sizeof hops, "[127.0.0.1]:%u, [127.0.0.1]:%u", closed, hub.port);
	hub_reset(&hub);
	world_start("");
	struct world_send w = mail();
	w.nexthop = hops;
	struct world_job *j = world_deliver(&w);
	assert_int_equal(j->r[0].status, RCPT_SENT);
	assert_int_equal(j->health, JOB_HUB_OK);
	snprintf(hops, sizeof hops, "[127.0.0.1]:%u", closed);
	j = world_deliver(&w);
	assert_int_equal(j->r[0].status, RCPT_DEFERRED);
	assert_int_equal(j->health, JOB_HUB_DOWN);
	char expect[100];
	snprintf(expect, sizeof expect, "connect to 127.0.0.1[127.0.0.1]:%u: Connection refused", closed);
	assert_string_equal(j->r[0].text, expect);
	assert_string_equal(j->reason, expect);
	assert_string_equal(j->r[0].dsn, "4.4.1");
	w.nexthop = "[]:25";
	j = world_deliver(&w);
	assert_int_equal(j->r[0].status, RCPT_DEFERRED);
	assert_string_equal(j->r[0].dsn, "4.3.5");
	w.nexthop = "[127.0.0.1]:25"; /* that is us */
	j = world_deliver(&w);
	assert_int_equal(j->r[0].status, RCPT_BOUNCED);
	assert_string_equal(j->r[0].dsn, "5.4.6");
	assert_string_equal(j->r[0].text, "mail for 127.0.0.1 loops back to myself");
	w.nexthop = here;
	w.transport = "nosuch";
	j = world_deliver(&w);
	assert_int_equal(j->r[0].status, RCPT_DEFERRED);
	assert_string_equal(j->r[0].text, "mail transport unavailable");
	world_end();
	/* a temporary refusal goes to the fallback relay */
	struct hub backup;
	hub_start(&backup);
	char setting[100];
	snprintf(setting, sizeof setting, "smtp_fallback_relay = [127.0.0.1]:%u", backup.port);
	world_start(setting);
	hub_reset(&hub);
	hub.script.bad_rcpt = "450 4.2.0 not here\r\n";
	w = mail();
	w.rcpts = three;
	j = world_deliver(&w);
	for (int i = 0; i < 3; i++)
		assert_int_equal(j->r[i].status, RCPT_SENT);
	assert_int_equal(j->frames, 2); /* what was sent first is reported first */
	assert_int_equal(hub.messages, 1);
	assert_int_equal(backup.messages, 1);
	assert_null(strstr(buf_cstr(&backup.log), "<to@b.test>"));
	/* but a connection lost after the end of data does not */
	hub_reset(&hub);
	hub.script.close_on = ".";
	j = world_deliver(&w);
	assert_int_equal(j->r[0].status, RCPT_DEFERRED);
	assert_int_equal(backup.messages, 1);
	world_end();
	hub_stop(&backup);
}

/* relayhost that is us, or refuses us for good, is a mistake to be mended: mail waits (facts 5.5). */
static void
test_relayhost_waits(void **state)
{
	char setting[100];
	(void)state;
	hub_reset(&hub);
	snprintf(setting, sizeof setting, "relayhost = [127.0.0.1]:%u\nsmtp_skip_5xx_greeting = no\n", hub.port);
	hub.script.banner = "554 5.7.1 no\r\n";
	world_start(setting);
	struct world_send w = mail();
	struct world_job *j = world_deliver(&w);
	assert_int_equal(j->r[0].status, RCPT_DEFERRED);
	assert_string_equal(j->r[0].dsn, "4.3.5");
	char other[64];
	snprintf(other, sizeof other, "[127.0.0.1]:%u,", hub.port); /* the same host by a transport map: final */
	w.nexthop = other;
	j = world_deliver(&w);
	assert_int_equal(j->r[0].status, RCPT_BOUNCED);
	assert_string_equal(j->r[0].dsn, "5.7.1");
	world_end();
}

static void
test_soft_bounce_and_bind(void **state)
{
	(void)state;
	hub_reset(&hub);
	hub.script.bad_rcpt = "550 5.1.1 who\r\n";
	world_start("soft_bounce = yes\nsmtp_bind_address = 127.0.0.9\n");
	struct world_send w = mail();
	w.rcpts = three;
	struct world_job *j = world_deliver(&w);
	assert_int_equal(j->r[0].status, RCPT_SENT);
	assert_int_equal(j->r[1].status, RCPT_DEFERRED);
	assert_string_equal(j->r[1].dsn, "4.1.1");
	struct hub_conn *h = list_entry(hub.conns.next, struct hub_conn, link);
	struct sockaddr_in a;
	socklen_t len = sizeof a;
	assert_int_equal(getpeername(h->conn.fd, (struct sockaddr *)&a, &len), 0);
	assert_int_equal(ntohl(a.sin_addr.s_addr), 0x7f000009);
	world_end();
	/* an address that is not ours: without enforcing, delivered from another; with it, deferred */
	hub_reset(&hub);
	world_start("smtp_bind_address = 192.0.2.1\n");
	assert_int_equal(world_deliver(&w)->r[0].status, RCPT_SENT);
	world_end();
	hub_reset(&hub);
	world_start("smtp_bind_address = 192.0.2.1\nsmtp_bind_address_enforce = yes\n");
	assert_int_equal(world_deliver(&w)->r[0].status, RCPT_DEFERRED);
	world_end();
}

/* A session at rest that the hub closes or ends with 421: the job goes on over a new one at once. */
static void
test_stale_sessions(void **state)
{
	const char *const ehlos[] = { NULL, no_chunking, plain };
	(void)state;
	for (size_t i = 0; i < NELEMS(ehlos); i++) {
		hub_reset(&hub);
		hub.script.ehlo = ehlos[i];
		world_start("");
		struct world_send w = mail();
		(void)world_deliver(&w);
		/* closed in the same turn in which the job arrives: relay cannot know yet */
		list_each(l, &hub.conns)
			hub_drop(list_entry(l, struct hub_conn, link));
		struct world_job *j = world_deliver(&w);
		assert_int_equal(j->r[0].status, RCPT_SENT);
		assert_int_equal(hub.connects, 2);
		hub.script.mail = "421 4.7.0 too many messages\r\n";
		j = world_deliver(&w);
		assert_int_equal(j->r[0].status, RCPT_DEFERRED); /* a fresh session says it too */
		assert_int_equal(hub.connects, 3);
		world_end();
	}
}

static void
test_reuse_limits(void **state)
{
	(void)state;
	hub_reset(&hub);
	world_start("smtp_connection_reuse_count_limit = 2\n");
	struct world_send w = mail();
	for (int i = 0; i < 4; i++)
		assert_int_equal(world_deliver(&w)->r[0].status, RCPT_SENT);
	assert_int_equal(hub.connects, 2);
	w.transport = "slow"; /* no reuse by its -o setting */
	for (int i = 0; i < 2; i++)
		assert_int_equal(world_deliver(&w)->r[0].status, RCPT_SENT);
	assert_int_equal(hub.connects, 4);
	world_end();
	hub_reset(&hub);
	world_start("smtp_connection_cache_time_limit = 1s\n");
	(void)world_deliver(&w);
	w.transport = "smtp";
	(void)world_deliver(&w);
	assert_int_equal(metric_values[M_relay_sessions], 1);
	world_turns(1300000);
	assert_int_equal(metric_values[M_relay_sessions], 0);
	assert_int_equal(hub.quits, 2);
	world_end();
}

static void
test_parallel(void **state)
{
	(void)state;
	hub_reset(&hub);
	world_start("");
	world_segment(5, span_str(text));
	struct world_send w = mail();
	w.segment = 5; /* without descriptors the jobs arrive all at once */
	w.length = sizeof text - 1;
	for (int i = 0; i < 10; i++)
		(void)world_send(&w);
	world_run(10);
	assert_int_equal(hub.connects, 10);
	for (int i = 0; i < 10; i++)
		(void)world_send(&w);
	world_run(10);
	assert_int_equal(hub.connects, 10); /* all ten again */
	assert_int_equal(hub.messages, 20);
	world_end();
}

static void
test_lmtp(void **state)
{
	struct hub store;
	char path[80], hop[100];
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	(void)state;
	snprintf(path, sizeof path, "/tmp/relay_lmtp.%d", (int)getpid());
	snprintf(hop, sizeof hop, "unix:%s", path);
	memcpy(a.sun_path, path, strlen(path) + 1);
	unlink(path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
	hub_start_fd(&store, fd);
	const char *const ehlos[] = { NULL, plain };
	for (size_t i = 0; i < NELEMS(ehlos); i++) {
		hub_reset(&store);
		store.script.lmtp = true;
		store.script.ehlo = ehlos[i];
		store.script.bad_rcpt = "550 5.1.1 who\r\n";
		store.script.second_dot = "452 4.2.2 over quota\r\n";
		world_start("");
		struct world_send w = mail();
		w.transport = "lmtp";
		w.nexthop = hop;
		w.rcpts = three;
		struct world_job *j = world_deliver(&w);
		assert_int_equal(j->r[0].status, RCPT_SENT);
		assert_int_equal(j->r[1].status, RCPT_BOUNCED);
		assert_int_equal(j->r[2].status, RCPT_DEFERRED);
		assert_string_equal(j->r[2].dsn, "4.2.2");
		assert_string_equal(j->r[2].diag, "452 4.2.2 over quota");
		assert_non_null(strstr(buf_cstr(&store.log), "LHLO gw.test\n"));
		/* the second reply never comes: the first recipient was saved */
		store.script.second_dot = "";
		store.script.bad_rcpt = NULL;
		store.script.close_on = NULL;
		world_end();
	}
	hub_stop(&store);
	unlink(path);
}

static void
test_large(void **state)
{
	enum { SIZE = 3 * 1024 * 1024 };
	char *big = malloc(SIZE);
	(void)state;
	for (size_t i = 0; i < SIZE; i++)
		big[i] = i % 80 == 78 ? '\r' : i % 80 == 79 ? '\n' : i % 80 == 0 ? '.' : (char)('a' + i / 80 % 26);
	size_t n = SIZE / 80 * 80;
	const char *const ehlos[] = { "250-hub.test\r\n250-PIPELINING\r\n250 CHUNKING\r\n", plain };
	for (size_t i = 0; i < NELEMS(ehlos); i++) {
		hub_reset(&hub);
		hub.script.ehlo = ehlos[i];
		world_start("");
		struct world_send w = mail();
		w.content = span_of(big, n);
		struct world_job *j = world_deliver(&w);
		assert_int_equal(j->r[0].status, RCPT_SENT);
		assert_int_equal(buf_len(&hub.content), n);
		assert_memory_equal(buf_span(&hub.content).p, big, n);
		/* the hub hangs up half way */
		/* the hub says no while it is sent, and does not care what comes then */
		if (i == 1) {
			hub.script.data = "354 go on\r\n552 5.3.4 too big\r\n";
			j = world_deliver(&w);
			assert_int_equal(j->r[0].status, RCPT_BOUNCED);
			assert_string_equal(j->r[0].dsn, "5.3.4");
			hub.script.data = NULL;
			world_turns(100000);
			assert_true(hub.torn);
			assert_int_equal(hub.messages, 1);
		}
		hub.script.cut_input = (long)buf_len(&hub.raw) + SIZE / 2;
		j = world_deliver(&w);
		assert_int_equal(j->r[0].status, RCPT_DEFERRED);
		assert_string_equal(j->r[0].text, "lost connection with 127.0.0.1[127.0.0.1] while sending message body");
		assert_int_equal(hub.messages, 1);
		world_end();
	}
	free(big);
}

/* The content is shorter than the job says: the transaction must not be finished. */
static void
test_short_content(void **state)
{
	const char *const ehlos[] = { NULL, plain };
	(void)state;
	for (size_t i = 0; i < NELEMS(ehlos); i++) {
		hub_reset(&hub);
		hub.script.ehlo = ehlos[i];
		world_start("");
		world_segment(3, span_str(text));
		struct world_send w = mail();
		w.segment = 3;
		w.length = sizeof text + 1000;
		struct world_job *j = world_deliver(&w);
		assert_int_equal(j->r[0].status, RCPT_DEFERRED);
		assert_string_equal(j->r[0].dsn, "4.3.0");
		assert_int_equal(hub.messages, 0);
		world_end();
		assert_int_equal(hub.messages, 0);
	}
}

static void
test_utf8(void **state)
{
	const char *const utf8[] = { "\xc3\xbc@b.test", NULL };
	(void)state;
	hub_reset(&hub);
	world_start("");
	struct world_send w = mail();
	w.rcpts = utf8;
	w.flags = MSGF_SMTPUTF8;
	struct world_job *j = world_deliver(&w);
	assert_int_equal(j->r[0].status, RCPT_BOUNCED);
	assert_string_equal(j->r[0].dsn, "5.6.7");
	assert_string_equal(j->r[0].text, "SMTPUTF8 is required, but was not offered by host 127.0.0.1[127.0.0.1]");
	world_end();
	hub_reset(&hub);
	hub.script.ehlo = "250-hub.test\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n";
	world_start("");
	j = world_deliver(&w);
	assert_int_equal(j->r[0].status, RCPT_SENT);
	assert_non_null(strstr(buf_cstr(&hub.log), " SMTPUTF8\n"));
	world_end();
}

/* Queue goes away at any moment: nothing is left, and no half message is finished. */
static void
test_queue_gone(void **state)
{
	(void)state;
	for (long cut = 0; cut < 400; cut += 7) {
		hub_reset(&hub);
		hub.script.ehlo = plain;
		hub.script.mute_on = cut % 2 ? "." : "RCPT";
		world_start("");
		struct world_send w = mail();
		(void)world_send(&w);
		world_turns((uint64_t)cut * 5);
		world_end();
	}
}

static void
test_drain_waits(void **state)
{
	(void)state;
	hub_reset(&hub);
	hub.script.ehlo = plain;
	hub.script.mute_on = "MAIL";
	world_start("smtp_mail_timeout = 1s\n");
	struct world_send w = mail();
	unsigned n = world_send(&w);
	world_turns(50000);
	relay_role.drain(&world.child);
	assert_false(world.exited);
	world_turns(3000000);
	assert_true(world.exited);
	world_turns(10000);
	assert_int_equal(world.jobs[n - 1].r[0].status, RCPT_DEFERRED);
	world_end();
}

static void
test_reload(void **state)
{
	struct err e;
	(void)state;
	hub_reset(&hub);
	world_start("");
	struct world_send w = mail();
	(void)world_deliver(&w);
	struct conf *old = world.conf, *new_conf;
	world_write("main.cf", "myhostname = other.test\nmydestination =\nmynetworks = 127.0.0.0/8\n");
	assert_int_equal(conf_load(world.dir, &new_conf, &e), RC_OK);
	assert_int_equal(relay_role.reload(&world.child, new_conf, &e), RC_OK);
	world.child.conf = world.conf = new_conf;
	conf_unref(&old);
	assert_int_equal(world_deliver(&w)->r[0].status, RCPT_SENT);
	assert_int_equal(hub.connects, 2);
	assert_non_null(strstr(buf_cstr(&hub.log), "EHLO other.test\n"));
	world_end();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_happy), cmocka_unit_test(test_segment_and_dsn), cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_some_refused), cmocka_unit_test(test_many_rcpts), cmocka_unit_test(test_next_hops),
		cmocka_unit_test(test_stale_sessions), cmocka_unit_test(test_relayhost_waits), cmocka_unit_test(test_soft_bounce_and_bind), cmocka_unit_test(test_reuse_limits), cmocka_unit_test(test_parallel),
		cmocka_unit_test(test_lmtp), cmocka_unit_test(test_large), cmocka_unit_test(test_short_content),
		cmocka_unit_test(test_utf8), cmocka_unit_test(test_queue_gone), cmocka_unit_test(test_drain_waits),
		cmocka_unit_test(test_reload), cmocka_unit_test(test_cut_everywhere),
		cmocka_unit_test(test_login),
	};
	log_open(LOG_TO_FD, open("/dev/null", O_WRONLY | O_APPEND | O_CLOEXEC), LOG_POSTFIX, "dogana", "relay");
	loop_init();
	hub_start(&hub);
	snprintf(here, sizeof here, "[127.0.0.1]:%u", hub.port);
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	hub_stop(&hub);
	loop_fini();
	return failed;
}
