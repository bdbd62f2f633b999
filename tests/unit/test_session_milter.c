/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Sessions with a milter: cut after every octet, and ended at every wait, for the milter and for the queue. Afterwards nothing may be
 * left: no session, operation, draft, connection or descriptor.
 */
#include "milter_world.h"
#include "session_world.h"
#include "smtp/milter_choice.h"

#include <dirent.h>

#define TEN "0123456789"
#define HUNDRED TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN
#define THOUSAND HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED
#define LINES HUNDRED "\r\n" HUNDRED "\r\n" HUNDRED "\r\n" HUNDRED "\r\n" HUNDRED "\r\n" HUNDRED "\r\n" HUNDRED "\r\n" HUNDRED "\r\n" HUNDRED "\r\n" HUNDRED "\r\n"
#define LARGE LINES LINES LINES
#define SMALL "Subject: s\r\n\r\nx\r\n"

static struct fake milter, second;

static const char *const session[] = { "EHLO client.example\r\n", "MAIL FROM:<a@sender.example>\r\n", "RCPT TO:<known@example.org>\r\n", "DATA\r\n" };

/* What the milter does at the end of a message; what arrives. */
static const struct deed {
	const char *name, *content;
	bool is_large;
	bool adds, replaces, holds, adds_rcpt;
	unsigned body;               /* times LINES, when it replaces */
	unsigned char last;
	const char *reply;
	const char *arrives;         /* NULL: nothing */
} deeds[] = {
	{ .name = "nothing", .content = SMALL, .last = 'c', .reply = "250 2.0.0", .arrives = SMALL },
	{ .name = "a header", .content = SMALL, .adds = true, .last = 'c', .reply = "250 2.0.0", .arrives = "Subject: s\r\nX-A: v\r\n\r\nx\r\n" },
	{ .name = "a body", .content = SMALL, .replaces = true, .body = 1, .last = 'c', .reply = "250 2.0.0", .arrives = "Subject: s\r\n\r\n" LINES },
	{ .name = "a large body", .content = SMALL, .replaces = true, .body = 3, .last = 'c', .reply = "250 2.0.0", .arrives = "Subject: s\r\n\r\n" LARGE },
	{ .name = "a draft", .content = "Subject: s\r\n\r\n" LARGE, .is_large = true, .last = 'c', .reply = "250 2.0.0", .arrives = "Subject: s\r\n\r\n" LARGE },
	{ .name = "a header of a draft", .content = "Subject: s\r\n\r\n" LARGE, .is_large = true, .adds = true, .last = 'c', .reply = "250 2.0.0",
	    .arrives = "Subject: s\r\nX-A: v\r\n\r\n" LARGE },
	{ .name = "another body of a draft", .content = "Subject: s\r\n\r\n" LARGE, .is_large = true, .adds = true, .replaces = true, .body = 3, .last = 'c',
	    .reply = "250 2.0.0", .arrives = "Subject: s\r\nX-A: v\r\n\r\n" LARGE },
	{ .name = "a body in a file", .content = SMALL, .replaces = true, .body = 1200, .last = 'c', .reply = "250 2.0.0", .arrives = "Subject: s\r\n\r\n" },
	{ .name = "a body in a file, refused", .content = SMALL, .replaces = true, .body = 1200, .last = 'r', .reply = "550 5.7.1" },
	{ .name = "held, one recipient more", .content = SMALL, .holds = true, .adds_rcpt = true, .last = 'c', .reply = "250 2.0.0", .arrives = SMALL },
	{ .name = "held draft", .content = "Subject: s\r\n\r\n" LARGE, .is_large = true, .holds = true, .last = 'c', .reply = "250 2.0.0",
	    .arrives = "Subject: s\r\n\r\n" LARGE },
	{ .name = "refused", .content = SMALL, .adds = true, .last = 'r', .reply = "550 5.7.1" },
	{ .name = "refused draft", .content = "Subject: s\r\n\r\n" LARGE, .is_large = true, .replaces = true, .body = 3, .last = 't', .reply = "451 4.7.1" },
	{ .name = "thrown away", .content = SMALL, .last = 'd', .reply = "250 2.0.0" },
};

static void
teach(const struct deed *d)
{
	fake_forget(&milter);
	struct buf *b = fake_rule(&milter, SMFIC_BODYEOB, 0, DO_REPLY);
	if (d->adds)
		fake_packet(b, SMFIR_ADDHEADER, "X-A\0v", 6);
	if (d->holds)
		fake_packet(b, SMFIR_QUARANTINE, "why", 4);
	if (d->adds_rcpt)
		fake_packet(b, SMFIR_ADDRCPT, "<two@example.org>", 18);
	for (unsigned i = 0; d->replaces && i < d->body; i++)
		fake_packet(b, SMFIR_REPLBODY, LINES, sizeof LINES - 1);
	fake_packet(b, d->last, NULL, 0);
}

static unsigned
descriptors(void)
{
	unsigned n = 0;
	DIR *d = opendir("/proc/self/fd");
	assert_non_null(d);
	while (readdir(d) != NULL)
		n++;
	closedir(d);
	return n;
}

/* The queue of the test keeps a copy of each draft. */
static void
forget_drafts(void)
{
	for (size_t i = 0; i < NELEMS(q.draft_fd); i++)
		if (q.draft_fd[i] > 0) {
			close(q.draft_fd[i]);
			q.draft_fd[i] = 0;
		}
}

static unsigned resting;         /* descriptors with nobody there */

static void
all_gone(const char *name, size_t where)
{
	/* connections that were given up wait for the milter to take and lose them */
	unsigned quiet = 0;
	for (uint64_t until = clock_mono() + 5 * USEC_PER_SEC; quiet < 5 && clock_mono() < until; quiet++) {
		turn();
		if (edge.nsessions > 0 || !list_empty(&milter.conns) || metric_values[M_conns] > 0)
			quiet = 0;
	}
	if (edge.nsessions > 0 || !list_empty(&milter.conns))
		fail_msg("%s, cut at %zu: %zu sessions, connections to the milter: %s", name, where, edge.nsessions, list_empty(&milter.conns) ? "none" : "some");
	nothing_left();
	for (uint64_t until = clock_mono() + 2 * USEC_PER_SEC; descriptors() != resting && clock_mono() < until;) {
		turn();
		forget_drafts();
	}
	if (descriptors() != resting)
		fail_msg("%s, cut at %zu: %u descriptors, not %u", name, where, descriptors(), resting);
}

static void
begin(void)
{
	queue_start(QUEUE_FINE);
	forget_drafts();
	for (int i = 0; i < 4; i++)
		turn();
	resting = descriptors();
}

static void
play_deed(const struct deed *d, size_t piece)
{
	struct client c;
	char got[600];
	teach(d);
	buf_reset(&q.content);
	unsigned before = q.accepted;
	client_open(&c, 0, "192.0.2.1");
	client_reply(&c, got);
	for (size_t i = 0; i < NELEMS(session); i++) {
		client_send(&c, span_str(session[i]), piece);
		client_reply(&c, got);
		if (got[0] != '2' && got[0] != '3')
			fail_msg("%s: %s", d->name, got);
	}
	client_send(&c, span_str(d->content), piece);
	client_send(&c, SPAN(".\r\n"), piece);
	client_reply(&c, got);
	if (strncmp(got, d->reply, strlen(d->reply)) != 0)
		fail_msg("%s: got \"%s\", not \"%s\"", d->name, got, d->reply);
	assert_int_equal(q.accepted > before, d->arrives != NULL);
	struct span arrived = buf_span(&q.content);
	if (d->arrives != NULL && d->body > 3) {
		assert_int_equal(arrived.n, strlen(d->arrives) + d->body * (sizeof LINES - 1));
		arrived = span_head(arrived, strlen(d->arrives));
	}
	if (d->arrives != NULL && !span_eq_str(arrived, d->arrives))
		fail_msg("%s: content \"%s\"", d->name, buf_cstr(&q.content));
	if (d->adds_rcpt)
		assert_non_null(strstr(buf_cstr(&q.envelope), "<two@example.org>"));
	client_close(&c);
	all_gone(d->name, SIZE_MAX);
}

static void
test_whole(void **state)
{
	(void)state;
	begin();
	for (size_t i = 0; i < NELEMS(deeds); i++)
		play_deed(&deeds[i], SIZE_MAX);
	for (size_t i = 0; i < NELEMS(deeds); i++)
		if (!deeds[i].is_large)
			play_deed(&deeds[i], 1);
}

/* More recipients than an envelope can hold: not the queue's fault, and not for ever. */
static void
test_too_many_rcpts(void **state)
{
	(void)state;
	struct client c;
	char got[600];
	begin();
	fake_forget(&milter);
	struct buf *b = fake_rule(&milter, SMFIC_BODYEOB, 0, DO_REPLY);
	for (unsigned i = 0; i < 7000; i++) {
		char rcpt[40];
		int n = snprintf(rcpt, sizeof rcpt, "<number%u@example.org>", i);
		fake_packet(b, SMFIR_ADDRCPT, rcpt, (size_t)n + 1);
	}
	fake_packet(b, 'c', NULL, 0);
	assert_false(b->over);
	unsigned before = q.accepted;
	client_open(&c, 0, "192.0.2.1");
	client_reply(&c, got);
	for (size_t i = 0; i < NELEMS(session); i++)
		say(&c, span_str(session[i]));
	client_send(&c, SPAN(SMALL ".\r\n"), SIZE_MAX);
	client_reply(&c, got);
	assert_string_equal(got, "452 4.5.3 Error: too many recipients");
	assert_int_equal(q.accepted, before);
	client_close(&c);
	all_gone("too many recipients", SIZE_MAX);
}

/* The client says n octets in all and is gone; retire: we end it, else it closes. */
static void
play_cut(const struct deed *d, size_t cut, bool retire)
{
	struct client c;
	char got[600];
	size_t left = cut;
	client_open(&c, 0, "192.0.2.1");
	client_reply(&c, got);
	for (size_t i = 0; i < NELEMS(session) + 2; i++) {
		struct span s = i < NELEMS(session) ? span_str(session[i]) : i == NELEMS(session) ? span_str(d->content) : SPAN(".\r\n");
		client_send(&c, span_head(s, left), SIZE_MAX);
		if (s.n > left)
			break;
		left -= s.n;
		if (i == NELEMS(session) || left == 0)
			continue;
		client_reply(&c, got);
	}
	if (retire && edge.nsessions > 0)
		sess_retire(list_entry(edge.sessions.next, struct sess, link));
	client_close(&c);
	all_gone(d->name, cut);
}

static void
test_cut(void **state)
{
	(void)state;
	begin();
	for (size_t i = 0; i < NELEMS(deeds); i++) {
		const struct deed *d = &deeds[i];
		size_t total = strlen(d->content) + 3;
		for (size_t k = 0; k < NELEMS(session); k++)
			total += strlen(session[k]);
		teach(d);
		for (size_t cut = 0; cut <= total; cut += !d->is_large || cut < 110 || cut + 8 > total ? 1 : 61) {
			play_cut(d, cut, false);
			play_cut(d, cut, true);
		}
		play_cut(d, total, false);
	}
}

/* Turns of the loop, counted, after the end of the message: the session is ended after each number of them. */
static void
test_turns(void **state)
{
	(void)state;
	begin();
	for (size_t i = 0; i < NELEMS(deeds); i++) {
		const struct deed *d = &deeds[i];
		for (unsigned turns = 0; turns < 40; turns++) {
			struct client c;
			char got[600];
			teach(d);
			client_open(&c, 0, "192.0.2.1");
			client_reply(&c, got);
			for (size_t k = 0; k < NELEMS(session); k++)
				say(&c, span_str(session[k]));
			client_send(&c, span_str(d->content), SIZE_MAX);
			static const struct span dot = { (const unsigned char *)".\r\n", 3 };
			assert_int_equal(send(c.fd, dot.p, dot.n, MSG_NOSIGNAL), 3);
			for (unsigned k = 0; k < turns; k++)
				turn();
			if (edge.nsessions > 0)
				sess_retire(list_entry(edge.sessions.next, struct sess, link));
			client_close(&c);
			all_gone(d->name, turns);
		}
	}
}

/* It is told of everything at once again. */
static void
forget_calm(void)
{
	struct milter_set *set = NULL;
	struct err e = { 0 };
	assert_int_equal(milter_choice_find(edge.conf->services[0]->milters, SPAN("192.0.2.1"), &set, &e), RC_OK);
	memset(set->def[0].server->calm, 0, sizeof set->def[0].server->calm);
}

/* The milter does not answer a command: the client goes, or we end the session; then the milter goes. */
static void
test_silent_milter(void **state)
{
	(void)state;
	static const unsigned char commands[] = { SMFIC_CONNECT, SMFIC_HELO, SMFIC_MAIL, SMFIC_RCPT, SMFIC_DATA, SMFIC_HEADER, SMFIC_EOH, SMFIC_BODY, SMFIC_BODYEOB };
	begin();
	for (size_t i = 0; i < NELEMS(commands); i++)
		for (unsigned how = 0; how < 6; how++) {
			const char *content = (how & 1) != 0 ? "Subject: s\r\n\r\n" LARGE ".\r\n" : SMALL ".\r\n";
			struct client c;
			fake_forget(&milter);
			(void)fake_rule(&milter, commands[i], 0, DO_HANG);
			forget_calm();
			client_open(&c, 0, "192.0.2.1");
			for (size_t k = 0; k < NELEMS(session); k++) {
				for (int t = 0; t < 12; t++)
					turn();
				client_send(&c, span_str(session[k]), SIZE_MAX);
			}
			for (int t = 0; t < 12; t++)
				turn();
			if (commands[i] == SMFIC_HEADER || commands[i] == SMFIC_EOH || commands[i] == SMFIC_BODY || commands[i] == SMFIC_BODYEOB)
				client_send(&c, span_str(content), SIZE_MAX);
			for (uint64_t until = clock_mono() + 2 * USEC_PER_SEC; milter.seen[commands[i]] == 0 && clock_mono() < until;)
				turn();
			if (milter.seen[commands[i]] == 0)
				fail_msg("%c was not said", commands[i]);
			if (how / 2 == 0) {
				client_close(&c);
				for (int t = 0; t < 5; t++)
					turn();
				while (!list_empty(&milter.conns))
					fake_end(list_entry(milter.conns.next, struct fake_conn, link));
			} else if (how / 2 == 1) {
				sess_retire(list_entry(edge.sessions.next, struct sess, link));
				client_close(&c);
			} else { /* the milter dies first: the session goes on and ends as it likes */
				fake_reset_conn(list_entry(milter.conns.next, struct fake_conn, link));
				for (int t = 0; t < 5; t++)
					turn();
				client_close(&c);
			}
			all_gone((const char[]){ (char)commands[i], '\0' }, how);
		}
}

/* The queue dies while drafts and answers of its are waited for. */
static void
test_queue_gone(void **state)
{
	(void)state;
	for (size_t i = 0; i < NELEMS(deeds); i++) {
		const struct deed *d = &deeds[i];
		for (unsigned turns = 0; turns < 30; turns++) {
			struct client c;
			char got[600];
			begin();
			teach(d);
			client_open(&c, 0, "192.0.2.1");
			client_reply(&c, got);
			for (size_t k = 0; k < NELEMS(session); k++)
				say(&c, span_str(session[k]));
			client_send(&c, span_str(d->content), SIZE_MAX);
			client_send(&c, SPAN(".\r\n"), SIZE_MAX);
			for (unsigned k = 0; k < turns; k++)
				turn();
			ipc_chan_free(&q.chan);
			client_reply(&c, got);
			if (got[0] != '2' && got[0] != '4' && got[0] != '5')
				fail_msg("%s, the queue gone after %u turns: \"%s\"", d->name, turns, got);
			client_close(&c);
			for (uint64_t until = clock_mono() + 5 * USEC_PER_SEC; edge.nsessions > 0 && clock_mono() < until;)
				turn();
			nothing_left();
			forget_drafts();
		}
	}
}

/* A body that wants a file, and its milter dies before there is one; the next milter wants one, too, and gets the one that was asked for. */
static void
test_two_want_a_file(void **state)
{
	(void)state;
	const struct deed *d = &deeds[7];
	struct client c;
	char got[600];
	begin();
	queue_start(QUEUE_SLOW_DRAFTS);
	teach(d);
	fake_forget(&second);
	struct buf *b = fake_rule(&second, SMFIC_BODYEOB, 0, DO_REPLY);
	for (unsigned i = 0; i < d->body; i++)
		fake_packet(b, SMFIR_REPLBODY, LINES, sizeof LINES - 1);
	fake_packet(b, 'c', NULL, 0);
	buf_reset(&q.content);
	client_open(&c, 1, "192.0.2.1");
	client_reply(&c, got);
	for (size_t k = 0; k < NELEMS(session); k++)
		say(&c, span_str(session[k]));
	client_send(&c, span_str(d->content), SIZE_MAX);
	client_send(&c, SPAN(".\r\n"), SIZE_MAX);
	for (uint64_t until = clock_mono() + 5 * USEC_PER_SEC; q.slow_draft == 0 && clock_mono() < until;)
		turn();
	assert_true(q.slow_draft != 0 && second.seen[SMFIC_BODYEOB] == 0);
	fake_reset_conn(list_entry(milter.conns.next, struct fake_conn, link));
	for (uint64_t until = clock_mono() + 5 * USEC_PER_SEC; second.seen[SMFIC_BODYEOB] == 0 && clock_mono() < until;)
		turn();
	for (int i = 0; i < 200; i++)
		turn();
	assert_int_equal(second.seen[SMFIC_BODYEOB], 1);
	q.mode = QUEUE_FINE;
	answer_draft(q.chan, q.slow_draft);
	q.slow_draft = 0;
	client_reply(&c, got);
	if (strncmp(got, "250 ", 4) != 0)
		fail_msg("got \"%s\"", got);
	assert_int_equal(buf_len(&q.content), strlen(d->arrives) + d->body * (sizeof LINES - 1));
	client_close(&c);
	for (uint64_t until = clock_mono() + 5 * USEC_PER_SEC; !list_empty(&second.conns) && clock_mono() < until;)
		turn();
	all_gone("two want a file", 0);
}

static int
set_up(void **state)
{
	static const char common[] = "compatibility_level = 3.6\nmyhostname = mx.example.com\nmydestination =\nmynetworks = 127.0.0.2\n"
	                             "relay_domains = example.org\nsmtpd_peername_lookup = no\nmaillog_file = /dev/null\nsmtpd_error_sleep_time = 0\n"
	                             "smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination\nspool_inline_limit = 2000\n"
	                             "milter_connection_reuse = no\nmilter_breaker_failures = 0\n";
	char variant[100], two[200];
	const char *variants[] = { variant, two };
	(void)state;
	loop_init();
	fake_open(&milter);
	fake_open(&second);
	snprintf(variant, sizeof variant, "smtpd_milters = inet:127.0.0.1:%u\n", milter.port);
	snprintf(two, sizeof two, "smtpd_milters = inet:127.0.0.1:%u, inet:127.0.0.1:%u\nmilter_default_action = accept\n", milter.port, second.port);
	world_open(common, variants, 2);
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	fake_close(&milter);
	fake_close(&second);
	world_close();
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole), cmocka_unit_test(test_too_many_rcpts), cmocka_unit_test(test_cut), cmocka_unit_test(test_turns), cmocka_unit_test(test_silent_milter), cmocka_unit_test(test_queue_gone),
		cmocka_unit_test(test_two_want_a_file),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
