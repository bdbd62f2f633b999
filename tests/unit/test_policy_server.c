/* SPDX-License-Identifier: BSD-2-Clause */
/* Policy servers: what is asked, what counts as an answer, and the life of the connections, against a server in the same loop. */
#include "policy/server.h"

#include "base/clock.h"
#include "base/metric.h"
#include "loop/conn.h"
#include "policy/server_text.h"

#include "policy_says.h"

#include <netinet/in.h>

/* ---- a server ---- */

enum { CLIENTS = 16 };

static struct {
	int fd;
	struct watch watch;
	struct peer {
		struct conn conn;
		unsigned asked;
	} peers[CLIENTS];
	unsigned connections, questions;
	char last[8192];                 /* the last question */
	/* what it does with a question; NULL: nothing */
	void (*answer)(struct peer *);
} world;

static void
peer_input(struct conn *c)
{
	struct peer *p = container_of(c, struct peer, conn);
	for (;;) {
		struct span in = conn_input(c);
		size_t end = span_find(in, SPAN("\n\n"));
		if (end == SIZE_MAX)
			return;
		snprintf(world.last, sizeof world.last, "%.*s", (int)end + 1, (const char *)in.p);
		conn_consume(c, end + 2);
		world.questions++;
		p->asked++;
		if (world.answer != NULL)
			world.answer(p);
		if (!conn_is_open(c))
			return;
	}
}

static void
peer_ended(struct conn *c, enum conn_end why, int err)
{
	(void)why, (void)err;
	conn_close(c);
}

static void
on_accept(struct watch *w, short what)
{
	static const struct conn_ops ops = { .input = peer_input, .ended = peer_ended };
	(void)w, (void)what;
	int fd = accept(world.fd, NULL, NULL);
	if (fd < 0)
		return;
	assert_true(world.connections < CLIENTS);
	conn_init(&world.peers[world.connections++].conn, fd, &ops, 65536, 65536);
}

static void
say_dunno(struct peer *p)
{
	conn_puts(&p->conn, "action=DUNNO\n\n");
}

static void
say_and_close(struct peer *p)
{
	say_dunno(p);
	conn_close(&p->conn);
}

static void
say_nothing_and_close(struct peer *p)
{
	conn_close(&p->conn);
}

static void
say_twice(struct peer *p)
{
	conn_puts(&p->conn, "action=OK\n\naction=REJECT\n\n");
}

/* ---- questions ---- */

static struct op_owner owner;
static struct policy_ask asks[CLIENTS];
static unsigned done, wanted;
static struct timer watchdog;

static void
on_watchdog(struct timer *t)
{
	(void)t;
	fail_msg("the loop did not finish in time");
}

static void
on_answer(struct op *op)
{
	(void)op;
	if (++done == wanted)
		loop_stop();
}

static void
begin_asks(struct policy_server *s, unsigned from, unsigned n)
{
	for (unsigned i = from; i < from + n; i++) {
		policy_ask_init(&asks[i], &owner, on_answer);
		buf_printf(&asks[i].question, "request=%u\n\n", i);
		policy_ask_start(&asks[i], s);
	}
	assert_int_equal(done, 0); /* never from inside */
}

static void
end_asks(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		policy_ask_fini(&asks[i]);
	done = 0;
}

/* Asks n questions at once and waits for all answers. */
static void
ask(struct policy_server *s, unsigned n, enum rc want)
{
	done = 0;
	wanted = n;
	begin_asks(s, 0, n);
	loop_run();
	for (unsigned i = 0; i < n; i++)
		if (asks[i].op.rc != want)
			fail_msg("question %u: rc %d: %s", i, asks[i].op.rc, asks[i].why.why);
}

static void
stop(struct timer *t)
{
	(void)t;
	loop_stop();
}

static void
run_for(uint64_t usec)
{
	struct timer t;
	timer_init(&t, stop);
	timer_set(&t, usec);
	loop_run();
	timer_clear(&t);
}

static struct conf *conf;

static struct policy_server *
server(const char *options)
{
	char text[400];
	struct policy_server *s = NULL;
	struct err e;
	struct sockaddr_in a;
	socklen_t len = sizeof a;
	assert_int_equal(getsockname(world.fd, (struct sockaddr *)&a, &len), 0);
	snprintf(text, sizeof text, "inet:127.0.0.1:%u %s", ntohs(a.sin_port), options);
	if (policy_server_open(conf, NULL, "smtpd_recipient_restrictions", span_str(text), true, &s, &e) != RC_OK)
		fail_msg("%s: %s", text, e.why);
	return s;
}

static int
setup(void **state)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	policy_says_begin(state);
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	world.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(world.fd, (struct sockaddr *)&a, sizeof a), 0);
	assert_int_equal(listen(world.fd, 50), 0);
	watch_init(&world.watch, world.fd, on_accept);
	watch_want(&world.watch, EV_READ);
	timer_init(&watchdog, on_watchdog);
	timer_set(&watchdog, 60 * USEC_PER_SEC);
	op_owner_init(&owner);
	conf = confdir_load("smtpd_policy_service_connection_limit = 3\n");
	return 0;
}

static int
clean(void **state)
{
	(void)state;
	for (unsigned i = 0; i < CLIENTS; i++)
		conn_close(&world.peers[i].conn);
	memset(world.peers, 0, sizeof world.peers);
	world.connections = world.questions = 0;
	world.answer = say_dunno;
	assert_true(op_owner_idle(&owner));
	assert_int_equal(metric_values[M_policy_connections], 0);
	assert_int_equal(metric_values[M_op_pending], 0);
	assert_int_equal(metric_values[M_conns], 0);
	return 0;
}

static int
teardown(void **state)
{
	watch_clear(&world.watch);
	close(world.fd);
	timer_clear(&watchdog);
	conf_unref(&conf);
	return policy_says_end(state);
}

/* ---- tests ---- */

static void
test_reuse(void **state)
{
	(void)state;
	struct policy_server *s = server("");
	for (int i = 0; i < 3; i++) {
		ask(s, 1, RC_OK);
		assert_span(buf_span(&asks[0].action), "DUNNO");
		end_asks(1);
	}
	assert_int_equal(world.connections, 1);
	assert_int_equal(world.questions, 3);
	assert_string_equal(world.last, "request=0\n");
	policy_server_free(&s);
	/* more questions than connections */
	s = server("");
	ask(s, 9, RC_OK);
	end_asks(9);
	assert_int_equal(world.connections, 1 + 3);
	assert_int_equal(world.questions, 3 + 9);
	ask(s, 3, RC_OK);
	end_asks(3);
	assert_int_equal(world.connections, 4);
	policy_server_free(&s);
}

static void
test_limits(void **state)
{
	(void)state;
	struct policy_server *s = server("request_limit=2");
	for (int i = 0; i < 5; i++) {
		ask(s, 1, RC_OK);
		end_asks(1);
	}
	assert_int_equal(world.connections, 3);
	policy_server_free(&s);
	s = server("max_idle=1s");
	ask(s, 1, RC_OK);
	end_asks(1);
	assert_int_equal(metric_values[M_policy_connections], 1);
	for (int i = 0; i < 40 && metric_values[M_policy_connections] > 0; i++)
		run_for(USEC_PER_SEC / 10);
	assert_int_equal(metric_values[M_policy_connections], 0);
	ask(s, 1, RC_OK);
	end_asks(1);
	policy_server_free(&s);
	s = server("max_ttl=1s");
	ask(s, 1, RC_OK);
	end_asks(1);
	unsigned before = world.connections;
	run_for(USEC_PER_SEC + USEC_PER_SEC / 5);
	ask(s, 1, RC_OK);
	end_asks(1);
	assert_int_equal(world.connections, before); /* it was too old when it came back */
	assert_int_equal(metric_values[M_policy_connections], 0);
	policy_server_free(&s);
}

static void
test_closed(void **state)
{
	(void)state;
	struct policy_server *s = server("retry_delay=1s, try_limit=1");
	world.answer = say_and_close;
	for (int i = 0; i < 3; i++) {
		ask(s, 1, RC_OK);
		end_asks(1);
	}
	/* closed with the question under way: the connection was at rest, so it costs nothing */
	world.answer = say_dunno;
	ask(s, 1, RC_OK);
	end_asks(1);
	world.answer = say_nothing_and_close;
	unsigned before = world.questions;
	ask(s, 1, RC_TEMP);
	assert_string_equal(asks[0].why.why, "connection closed before the answer");
	end_asks(1);
	assert_int_equal(world.questions, before + 2); /* on the old one, on a new one */
	policy_server_free(&s);
	/* every attempt fails */
	s = server("retry_delay=1s, try_limit=2");
	before = world.questions;
	ask(s, 1, RC_TEMP);
	end_asks(1);
	assert_int_equal(world.questions, before + 2);
	policy_server_free(&s);
	/* octets behind an answer end the connection, and answer nobody */
	s = server("");
	world.answer = say_twice;
	ask(s, 1, RC_OK);
	assert_span(buf_span(&asks[0].action), "OK");
	end_asks(1);
	assert_int_equal(metric_values[M_policy_connections], 0);
	policy_server_free(&s);
}

static void
test_timeout(void **state)
{
	(void)state;
	struct policy_server *s = server("timeout=1s, try_limit=1");
	world.answer = NULL;
	ask(s, 1, RC_TEMP);
	assert_string_equal(asks[0].why.why, "Connection timed out");
	end_asks(1);
	/* three connections hang; the fourth question does not get one in time */
	ask(s, 4, RC_TEMP);
	end_asks(4);
	policy_server_free(&s);
}

/* Whoever asked is gone: while it connects, while it waits for a connection, for the answer, for the next attempt. */
static void
test_cancel(void **state)
{
	(void)state;
	struct policy_server *s = server("retry_delay=1s");
	begin_asks(s, 0, 6);
	ops_cancel_all(&owner);
	end_asks(6);
	run_for(USEC_PER_SEC / 20);
	assert_int_equal(world.questions, 0);
	assert_int_equal(metric_values[M_policy_connections], 3); /* at rest */
	world.answer = NULL;
	begin_asks(s, 0, 6);
	run_for(USEC_PER_SEC / 20);
	assert_int_equal(world.questions, 3);
	ops_cancel_all(&owner);
	end_asks(6);
	for (unsigned i = 0; i < 3; i++)
		say_dunno(&world.peers[i]);
	world.answer = say_dunno;
	ask(s, 3, RC_OK); /* the answers of before were nobody's */
	end_asks(3);
	assert_int_equal(world.connections, 3);
	assert_int_equal(world.questions, 6);
	world.answer = say_nothing_and_close;
	begin_asks(s, 0, 1);
	run_for(USEC_PER_SEC / 20);
	ops_cancel_all(&owner);
	end_asks(1);
	/* freed with a question nobody waits for */
	world.answer = NULL;
	begin_asks(s, 0, 2);
	run_for(USEC_PER_SEC / 20);
	ops_cancel_all(&owner);
	end_asks(2);
	policy_server_free(&s);
	run_for(USEC_PER_SEC / 20);
}

/* Answers in every cut, through the connection. */
static const char *pieces;

static void
say_pieces(struct peer *p)
{
	conn_puts(&p->conn, pieces);
}

static void
test_answers(void **state)
{
	static const struct {
		const char *text;
		enum policy_answer_kind kind;
		const char *action;      /* or why */
	} rows[] = {
		{ "action=DUNNO\n\n", POLICY_ANSWER_OK, "DUNNO" },
		{ "action=  450 4.7.1 later \n\n", POLICY_ANSWER_OK, "450 4.7.1 later" },
		{ "x=y\naction=REJECT\nz\n\n", POLICY_ANSWER_OK, "REJECT" },
		{ "action=REJECT a\tb\n\n", POLICY_ANSWER_OK, "REJECT a\tb" },
		{ "action=REJECT \xc3\xa4\n\n", POLICY_ANSWER_OK, "REJECT \xc3\xa4" },
		{ "action=DUNNO\n\nx", POLICY_ANSWER_OK, "DUNNO" },
		{ "", POLICY_ANSWER_MORE, "" },
		{ "action=DUNNO", POLICY_ANSWER_MORE, "" },
		{ "action=DUNNO\n", POLICY_ANSWER_MORE, "" },
		{ "action=\xc3", POLICY_ANSWER_MORE, "" },
		{ "\n", POLICY_ANSWER_BAD, "missing attribute action in the answer" },
		{ "foo=bar\n\n", POLICY_ANSWER_BAD, "missing attribute action in the answer" },
		{ "action=\n\n", POLICY_ANSWER_BAD, "missing attribute action in the answer" },
		{ "action= \t\n\n", POLICY_ANSWER_BAD, "missing attribute action in the answer" },
		{ "ACTION=OK\n\n", POLICY_ANSWER_BAD, "missing attribute action in the answer" },
		{ "action = OK\n\n", POLICY_ANSWER_BAD, "missing attribute action in the answer" },
		{ "action=DUNNO\naction=OK\n\n", POLICY_ANSWER_BAD, "several actions in the answer" },
		{ "action=OK\r\n\r\n", POLICY_ANSWER_BAD, "control characters or malformed UTF-8 in the answer" },
		{ "action=PREPEND A: b\rC: d\n\n", POLICY_ANSWER_BAD, "control characters or malformed UTF-8 in the answer" },
		{ "action=\xff\n\n", POLICY_ANSWER_BAD, "control characters or malformed UTF-8 in the answer" },
	};
	struct span action;
	size_t used;
	const char *why;
	(void)state;
	for (size_t i = 0; i < NELEMS(rows); i++) {
		why = "";
		enum policy_answer_kind kind = policy_answer(span_str(rows[i].text), &action, &used, &why);
		if (kind != rows[i].kind)
			fail_msg("\"%s\": %d", rows[i].text, kind);
		if (kind == POLICY_ANSWER_OK)
			assert_span(action, rows[i].action);
		else
			assert_string_equal(why, rows[i].action);
	}
	assert_int_equal(policy_answer(SPAN("action=OK\0x\n\n"), &action, &used, &why), POLICY_ANSWER_BAD);
	assert_int_equal(policy_answer(SPAN("action=OK\0"), &action, &used, &why), POLICY_ANSWER_BAD);
	struct buf b;
	buf_init(&b, 1 << 20);
	buf_puts(&b, "action=REJECT ");
	while (buf_len(&b) < POLICY_ANSWER_MAX - 1)
		buf_putc(&b, 'x');
	assert_int_equal(policy_answer(buf_span(&b), &action, &used, &why), POLICY_ANSWER_MORE);
	buf_putc(&b, 'x');
	assert_int_equal(policy_answer(buf_span(&b), &action, &used, &why), POLICY_ANSWER_BAD);
	assert_string_equal(why, "the answer is too long");
	buf_fini(&b);
	struct policy_server *s = server("");
	world.answer = say_pieces;
	pieces = "foo=bar\n\n";
	ask(s, 1, RC_TEMP);
	assert_string_equal(asks[0].why.why, "missing attribute action in the answer");
	end_asks(1);
	assert_int_equal(world.questions, 1); /* it is not asked again */
	policy_server_free(&s);
}

static void
test_question(void **state)
{
	struct buf b;
	struct conf *c = NULL;
	struct facts f = policy_facts();
	(void)state;
	struct policy *p = policy_of(POLICY_COMMON "mail_version = 9.9\nstress = yes\n", &c);
	buf_init(&b, 65536);
	assert_int_equal(ipaddr_parse(SPAN("192.0.2.1"), &f.server), RC_OK);
	f.server_port = 25;
	f.session_id = 0xabc;
	f.transaction = 2;
	f.qid = SPAN("QID");
	f.size_bytes = 77;
	f.nrcpt = 3;
	f.login = SPAN("joe");
	f.sasl_method = SPAN("PLAIN");
	f.has_cert = f.is_cert_verified = true;
	f.cert_subject = SPAN("a+b c\nd=e");
	f.cert_issuer = SPAN("ca");
	f.cert_fingerprint = SPAN("AA:BB");
	f.pubkey_fingerprint = SPAN("CC:DD");
	f.tls_protocol = SPAN("TLSv1.3");
	f.tls_cipher = SPAN("X");
	f.tls_bits = 256;
	static const char *const head = "request=smtpd_access_policy\nprotocol_state=RCPT\nprotocol_name=ESMTP\nclient_address=192.0.2.7\nclient_name=c.example\n"
					"client_port=1234\nreverse_client_name=r.example\nserver_address=192.0.2.1\nserver_port=25\nhelo_name=h.example\n"
					"sender=a@s.example\nrecipient=b@example.org\nrecipient_count=0\nqueue_id=QID\ninstance=abc.2\nsize=77\netrn_domain=\n"
					"stress=yes\nsasl_method=PLAIN\nsasl_username=joe\nsasl_sender=\nccert_subject=a+2Bb+20c+0Ad+3De\nccert_issuer=ca\n"
					"ccert_fingerprint=AA:BB\nccert_pubkey_fingerprint=CC:DD\nencryption_protocol=TLSv1.3\nencryption_cipher=X\n"
					"encryption_keysize=256\npolicy_context=ctx\ncompatibility_level=3.6\nmail_version=9.9\n\n";
	policy_question(&b, p, POLICY_RCPT, &f, "ctx");
	assert_span(buf_span(&b), head);
	/* nothing in the facts can begin a line or end the question */
	f.helo = SPAN("h\n\naction=x\r\0y");
	f.sender = SPAN("a\nsasl_username=root@s.example");
	f.where = SPAN("RC\nPT");
	f.is_cert_verified = false;
	buf_reset(&b);
	policy_question(&b, p, POLICY_DATA, &f, "c\nd");
	struct span rest = buf_span(&b), line;
	unsigned lines = 0;
	bool seen_count = false, seen_subject = false;
	while (rest.n > 0) {
		size_t lf = span_chr(rest, '\n');
		line = span_head(rest, lf);
		rest = span_from(rest, lf + 1);
		lines += line.n > 0;
		assert_true(line.n > 0 || rest.n == 0);
		seen_count |= span_eq_str(line, "recipient_count=3");
		seen_subject |= span_eq_str(line, "ccert_subject=");
	}
	assert_int_equal(lines, 31);
	assert_true(seen_count && seen_subject);
	buf_fini(&b);
	policy_free(&p);
	conf_unref(&c);
}

static void
test_configuration(void **state)
{
	static const struct {
		const char *arg;
		bool is_group;
		const char *why;         /* NULL: fine */
	} rows[] = {
		{ "inet:127.0.0.1:1", false, NULL },
		{ "inet:127.0.0.1:1, timeout=10s, default_action=DUNNO, policy_context=sub", true, NULL },
		{ "inet:127.0.0.1:1 { default_action = 450 4.7.1 later } try_limit=1 retry_delay=2 max_idle=1m max_ttl=1h request_limit=5", true, NULL },
		{ "unix:private/policy", true, NULL },
		{ "", false, "need inet:host:port or unix:path" },
		{ "", true, "need { endpoint, name = value, ... }" },
		{ "{ inet:127.0.0.1:1 }", true, "need { endpoint, name = value, ... }" },
		{ "inet:127.0.0.1:1, timeout", true, "need name=value, or { name = value }, instead of \"timeout\"" },
		{ "inet:127.0.0.1:1, default_action=450 4.7.1 later", true, "need name=value, or { name = value }, instead of \"4.7.1\"" },
		{ "inet:127.0.0.1:1, timeout=0", true, "timeout: need a time of at least one second" },
		{ "inet:127.0.0.1:1, try_limit=0", true, "try_limit: need a number from 1" },
		{ "inet:127.0.0.1:1, request_limit=-1", true, "request_limit: need a number from 0" },
		{ "inet:127.0.0.1:1, colour=red", true, "colour: no such setting" },
		{ "127.0.0.1:1", false, "need inet:host:port or unix:path" },
	};
	(void)state;
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct policy_server *s = NULL;
		struct err e = { 0 };
		enum rc rc = policy_server_open(conf, NULL, "smtpd_recipient_restrictions", span_str(rows[i].arg), rows[i].is_group, &s, &e);
		if ((rc == RC_OK) != (rows[i].why == NULL) || (rc != RC_OK && strcmp(e.why, rows[i].why) != 0))
			fail_msg("%s: %s", rows[i].arg, rc == RC_OK ? "fine" : e.why);
		if (i == 2)
			assert_string_equal(policy_server_default(s), "450 4.7.1 later");
		policy_server_free(&s);
	}
	struct facts f = policy_facts();
	struct policy *p = NULL;
	struct err e;
	struct conf *c = confdir_load(POLICY_COMMON "smtpd_client_restrictions = check_policy_service { inet:x }, reject\n");
	assert_int_equal(policy_compile(c, conf_service_find(c, "smtp", "inet"), &p, &e), RC_OK);
	policy_free(&p);
	conf_unref(&c);
	c = confdir_load(POLICY_COMMON "smtpd_client_restrictions = check_policy_service { inet:1, default_action=perhaps }\n");
	assert_int_equal(policy_compile(c, conf_service_find(c, "smtp", "inet"), &p, &e), RC_OK);
	assert_true(confdir_has_problem(c, CONF_WARNING, "check_policy_service inet:1: default_action: unknown smtpd restriction: \"perhaps\""));
	policy_free(&p);
	conf_unref(&c);
	c = confdir_load(POLICY_COMMON "smtpd_client_restrictions = check_policy_service nowhere\n");
	assert_int_equal(policy_compile(c, conf_service_find(c, "smtp", "inet"), &p, &e), RC_PERM);
	conf_unref(&c);
	(void)f;
}

/* A run that waits for a server, is told, and asks once. */
static struct policy_run run;

static void
run_done(struct op *op)
{
	(void)op;
	loop_stop();
}

static void
test_run(void **state)
{
	char lines[1000], want[300];
	struct sockaddr_in a;
	socklen_t len = sizeof a;
	struct facts f = policy_facts();
	struct conf *c = NULL;
	struct buf got;
	(void)state;
	assert_int_equal(getsockname(world.fd, (struct sockaddr *)&a, &len), 0);
	snprintf(lines, sizeof lines, "%ssmtpd_policy_service_try_limit = 1\nsmtpd_policy_service_default_action = DEFER no policy\nsmtpd_recipient_restrictions = "
				      "check_recipient_access static:{PREPEND A: b}, check_policy_service inet:127.0.0.1:%u, check_recipient_access static:{PREPEND C: d}\n",
	    POLICY_COMMON, ntohs(a.sin_port));
	struct policy *p = policy_of(lines, &c);
	buf_init(&got, 65536);
	policy_run_init(&run, &owner, run_done);
	pieces = "action=PREPEND X-Policy: yes\n\n";
	world.answer = say_pieces;
	assert_false(policy_run_now(&run, p, POLICY_RCPT, &f));
	loop_run();
	verdict_show(&run.verdict, &got);
	assert_span(buf_span(&got), "ok | PREPEND A: b | PREPEND X-Policy: yes | PREPEND C: d");
	assert_int_equal(world.questions, 1);
	pieces = "action=REJECT by policy\n\n";
	assert_false(policy_run_now(&run, p, POLICY_RCPT, &f));
	loop_run();
	verdict_show(&run.verdict, &got);
	assert_span(buf_span(&got), "554 5.7.1 <b@example.org>: Recipient address rejected: by policy | PREPEND A: b");
	pieces = "nonsense\n\n";
	assert_false(policy_run_now(&run, p, POLICY_RCPT, &f));
	loop_run();
	verdict_show(&run.verdict, &got);
	snprintf(want, sizeof want, "450 4.7.1 <b@example.org>: Recipient address rejected: no policy | warning: problem talking to server 127.0.0.1:%u: "
				    "missing attribute action in the answer | PREPEND A: b", ntohs(a.sin_port));
	assert_span(buf_span(&got), want);
	pieces = "action=BCC nobody\n\n";
	assert_false(policy_run_now(&run, p, POLICY_RCPT, &f));
	loop_run();
	verdict_show(&run.verdict, &got);
	snprintf(want, sizeof want, "ok | warning: access table inet:127.0.0.1:%u entry \"policy query\" requires user@domain target | PREPEND A: b | PREPEND C: d",
	    ntohs(a.sin_port));
	assert_span(buf_span(&got), want);
	/* the session goes away while it waits */
	assert_false(policy_run_now(&run, p, POLICY_RCPT, &f));
	policy_run_fini(&run);
	run_for(USEC_PER_SEC / 20);
	policy_free(&p);
	conf_unref(&c);
	run_for(USEC_PER_SEC / 20);
	buf_fini(&got);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_question, clean, clean),
		cmocka_unit_test_setup_teardown(test_answers, clean, clean),
		cmocka_unit_test_setup_teardown(test_configuration, clean, clean),
		cmocka_unit_test_setup_teardown(test_reuse, clean, clean),
		cmocka_unit_test_setup_teardown(test_limits, clean, clean),
		cmocka_unit_test_setup_teardown(test_closed, clean, clean),
		cmocka_unit_test_setup_teardown(test_timeout, clean, clean),
		cmocka_unit_test_setup_teardown(test_cancel, clean, clean),
		cmocka_unit_test_setup_teardown(test_run, clean, clean),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
