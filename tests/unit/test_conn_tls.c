/* SPDX-License-Identifier: BSD-2-Clause */
/* TLS under a connection: handshakes whole, octet by octet and cut; what came in the clear; both directions full; peers that stall. */
#include "tls_world.h"

#include "base/clock.h"
#include "base/metric.h"
#include "loop/conn.h"

#include <fcntl.h>

static SSL_CTX *server, *client;
static struct timer watchdog;

/* ours, as a server: repeats what it reads until a line says "bye"; "STARTTLS" in the clear begins TLS */
static struct {
	struct conn conn;
	struct buf got;
	bool wrapper, secured, paused_once;
	size_t answer;             /* octets to write when secured */
	enum conn_end end;
	int err;
	char error[200];
	struct timer later;
} us;

static void
on_watchdog(struct timer *t)
{
	(void)t;
	fail_msg("the loop did not finish in time");
}

static void
stop_later(struct timer *t)
{
	(void)t;
	loop_stop();
}

static int
setup(void **state)
{
	(void)state;
	loop_init();
	timer_init(&watchdog, on_watchdog);
	timer_set(&watchdog, 60000000);
	server = tls_world_server();
	client = SSL_CTX_new(TLS_client_method());
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	SSL_CTX_free(server);
	SSL_CTX_free(client);
	assert_int_equal(metric_values[M_conns], 0);
	return 0;
}

static void
us_end(void)
{
	(void)snprintf(us.error, sizeof us.error, "%s", conn_tls_error(&us.conn));
	conn_close(&us.conn);
	loop_stop();
}

static void
us_input(struct conn *c)
{
	struct span in = conn_input(c);
	if (conn_ssl(c) == NULL) {
		size_t nl = span_chr(in, '\n');
		if (nl == SIZE_MAX)
			return;
		assert_true(span_starts(in, SPAN("STARTTLS\r\n")));
		conn_puts(c, "220 go\r\n");
		SSL *ssl = SSL_new(server);
		SSL_set_accept_state(ssl);
		conn_start_tls(c, ssl);
		assert_int_equal(conn_input(c).n, 0);
		return;
	}
	assert_true(us.secured);
	buf_put(&us.got, in);
	conn_consume(c, in.n);
	if (span_caseends(buf_span(&us.got), SPAN("bye\n"))) {
		conn_puts(c, "goodbye\n");
		us_end();
	}
}

static void
us_secured(struct conn *c)
{
	assert_true(conn_is_secured(c));
	us.secured = true;
	for (size_t i = 0; i < us.answer; i += 100)
		conn_puts(c, "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789");
}

static void
us_ended(struct conn *c, enum conn_end why, int err)
{
	assert_ptr_equal(c, &us.conn);
	us.end = why;
	us.err = err;
	us_end();
}

static const struct conn_ops us_ops = { .input = us_input, .ended = us_ended, .secured = us_secured };

/* A client of ours in the clear first (with STARTTLS) or at once. Returns its descriptor. */
static int
us_begin(bool wrapper)
{
	int sv[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv), 0);
	memset(&us, 0, sizeof us);
	buf_init(&us.got, SIZE_MAX / 2);
	conn_init(&us.conn, sv[0], &us_ops, 64 * 1024, SIZE_MAX / 2);
	if (wrapper) {
		SSL *ssl = SSL_new(server);
		SSL_set_accept_state(ssl);
		conn_start_tls(&us.conn, ssl);
	}
	return sv[1];
}

static SSL *
client_ssl(int version)
{
	SSL *ssl = SSL_new(client);
	SSL_set_connect_state(ssl);
	SSL_set_min_proto_version(ssl, version);
	SSL_set_max_proto_version(ssl, version);
	return ssl;
}

static void
drain(struct tls_far *p)
{
	for (int i = 0; i < 200 && !p->closed; i++) {
		unsigned char b[16384];
		ssize_t n = recv(p->fd, b, sizeof b, 0);
		if (n > 0)
			BIO_write(SSL_get_rbio(p->ssl), b, (int)n);
		tls_far_run(p);
		if (n == 0 || (n < 0 && errno != EAGAIN))
			break;
	}
}

static void
speaks_whole_and_octet_by_octet(void **state)
{
	(void)state;
	static const size_t steps[] = { SIZE_MAX, 1000, 7, 1 };
	for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++)
		for (size_t i = 0; i < NELEMS(steps); i++) {
			struct tls_far p;
			int fd = us_begin(true);
			us.answer = 100;
			tls_far_begin(&p, fd, client_ssl(version), steps[i]);
			buf_puts(&p.say, "hello\nbye\n"); /* leaves with the client's last message of the handshake */
			tls_far_run(&p);
			loop_run();
			drain(&p);
			assert_int_equal(us.end, 0);
			assert_span(buf_span(&us.got), "hello\nbye\n");
			assert_int_equal(buf_len(&p.got), 100 + 8);
			assert_true(p.shut); /* close_notify came */
			tls_far_end(&p);
			buf_fini(&us.got);
		}
}

static void
ends_wherever_the_peer_is_cut(void **state)
{
	(void)state;
	for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++)
		for (size_t cut = 0;; cut++) {
			struct tls_far p;
			int fd = us_begin(true);
			tls_far_begin(&p, fd, client_ssl(version), cut == 0 ? 1 : SIZE_MAX);
			p.cut = cut;
			buf_puts(&p.say, "hello\nbye\n");
			tls_far_run(&p);
			loop_run();
			bool all = span_eq_str(buf_span(&us.got), "hello\nbye\n");
			if (!all) {
				/* a cut is an ordinary end or a reset; half a record is nothing */
				assert_true(us.end == CONN_EOF || (us.end == CONN_ERROR && (us.err == ECONNRESET || us.err == EPIPE)));
				assert_int_equal(buf_len(&us.got), 0);
			}
			tls_far_end(&p);
			buf_fini(&us.got);
			if (all) {
				assert_true(cut > 200);
				break;
			}
		}
}

static void
throws_away_what_came_in_the_clear(void **state)
{
	(void)state;
	struct tls_far p;
	char line[9];
	int fd = us_begin(false);
	static const char ahead[] = "STARTTLS\r\nMAIL FROM:<x>\r\nbye\n";
	assert_int_equal(send(fd, ahead, sizeof ahead - 1, 0), sizeof ahead - 1);
	/* the reply is in the clear, and nothing behind it is */
	tls_far_begin(&p, dup(fd), client_ssl(TLS1_3_VERSION), SIZE_MAX);
	close(fd);
	watch_want(&p.watch, 0);
	timer_clear(&p.timer);
	timer_init(&us.later, stop_later);
	timer_set(&us.later, 20000);
	loop_run();
	assert_int_equal(recv(p.fd, line, sizeof line, 0), 8);
	assert_memory_equal(line, "220 go\r\n", 8);
	assert_false(us.secured);
	watch_want(&p.watch, EV_READ);
	buf_puts(&p.say, "within\nbye\n");
	tls_far_run(&p);
	loop_run();
	assert_span(buf_span(&us.got), "within\nbye\n");
	tls_far_end(&p);
	buf_fini(&us.got);
}

static void
says_why_a_handshake_failed(void **state)
{
	(void)state;
	static const struct {
		const char *sends, *reason;
	} rows[] = {
		{ "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "http request" },
		{ "EHLO client.test\r\nMAIL FROM:<a@b>\r\n", "wrong version number" },
		{ "\x16\x03\x01\x00\x05garbage and more of it", "" },
		{ "\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10", "" },
	};
	for (size_t i = 0; i < NELEMS(rows); i++) {
		uint64_t failed = metric_values[M_tls_handshake_errors];
		int fd = us_begin(true);
		size_t n = i == 3 ? 11 : strlen(rows[i].sends);
		if (i == 2)
			n = 25;
		assert_int_equal(send(fd, rows[i].sends, n, 0), (ssize_t)n);
		if (i == 3)
			shutdown(fd, SHUT_WR);
		loop_run();
		assert_false(us.secured);
		if (i < 3) {
			assert_int_equal(us.end, CONN_ERROR);
			assert_int_equal(us.err, EPROTO);
			assert_non_null(strstr(us.error, rows[i].reason));
			assert_int_equal(strncmp(us.error, "error:", 6), 0);
		}
		assert_int_equal(metric_values[M_tls_handshake_errors], failed + 1);
		close(fd);
		buf_fini(&us.got);
	}
}

static void
carries_much_both_ways(void **state)
{
	(void)state;
	enum { MUCH = 3000000 };
	struct tls_far p;
	int fd = us_begin(true);
	us.answer = MUCH;
	tls_far_begin(&p, fd, client_ssl(TLS1_3_VERSION), SIZE_MAX);
	for (int i = 0; i < MUCH / 10; i++)
		buf_puts(&p.say, "abcdefghi\n");
	buf_puts(&p.say, "bye\n");
	/* it ends when the peer has all: count there */
	tls_far_run(&p);
	loop_run();
	assert_int_equal(us.end, 0);
	assert_int_equal(buf_len(&us.got), MUCH + 4);
	assert_span(span_from(buf_span(&us.got), MUCH - 10), "abcdefghi\nbye\n");
	tls_far_end(&p);
	buf_fini(&us.got);
}

static void
bye_later(struct timer *t)
{
	(void)t;
	conn_resume(&us.conn);
}

/* A peer that does not read, with more than the kernel takes under way, and one that sends into a pause. */
static void
waits_for_a_peer_that_stalls(void **state)
{
	(void)state;
	struct tls_far p;
	int fd = us_begin(true), small = 4096;
	setsockopt(us.conn.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
	us.answer = 1000000;
	tls_far_begin(&p, fd, client_ssl(TLS1_3_VERSION), SIZE_MAX);
	tls_far_run(&p);
	timer_init(&us.later, stop_later);
	while (!us.secured) {
		timer_set(&us.later, 1000);
		loop_run();
	}
	conn_deadline(&us.conn, 200000);
	watch_want(&p.watch, 0); /* reads no more */
	loop_run();              /* until the deadline */
	assert_int_equal(us.end, CONN_TIMEOUT);
	tls_far_end(&p);
	buf_fini(&us.got);

	fd = us_begin(true);
	tls_far_begin(&p, fd, client_ssl(TLS1_2_VERSION), SIZE_MAX);
	for (int i = 0; i < 30000; i++)
		buf_puts(&p.say, "abcdefghi\n");
	buf_puts(&p.say, "bye\n");
	conn_pause(&us.conn);
	tls_far_run(&p);
	timer_init(&us.later, bye_later);
	timer_set(&us.later, 50000);
	loop_run();
	assert_int_equal(buf_len(&us.got), 300004);
	tls_far_end(&p);
	buf_fini(&us.got);
}

static void
keeps_little_when_idle(void **state)
{
	(void)state;
	enum { PAUSED_MAX = 64 * 1024 + 16 * 1024 };
	struct tls_far p;
	int fd = us_begin(true);
	tls_far_begin(&p, fd, client_ssl(TLS1_3_VERSION), SIZE_MAX);
	for (int i = 0; i < 100000; i++)
		buf_puts(&p.say, "abcdefghi\n");
	conn_pause(&us.conn);
	tls_far_run(&p);
	timer_init(&us.later, stop_later);
	for (size_t left = SIZE_MAX; !us.secured || buf_len(&us.conn.in) == 0 || buf_len(&p.say) != left;) { /* until it has no room to say more */
		left = buf_len(&p.say);
		timer_set(&us.later, 50000);
		loop_run();
	}
	assert_in_range(buf_len(&us.conn.in), 1, PAUSED_MAX); /* a pause is back pressure, inside TLS too */
	conn_close(&us.conn);
	tls_far_end(&p);
	buf_fini(&us.got);
}

static void
refuses_a_record_that_was_changed(void **state)
{
	(void)state;
	struct tls_far p;
	int fd = us_begin(true);
	tls_far_begin(&p, fd, client_ssl(TLS1_3_VERSION), SIZE_MAX);
	buf_puts(&p.say, "first\n");
	tls_far_run(&p);
	timer_init(&us.later, stop_later);
	while (buf_len(&us.got) == 0) {
		timer_set(&us.later, 1000);
		loop_run();
	}
	assert_int_equal(send(p.fd, "\x17\x03\x03\x00\x20" "01234567890123456789012345678901", 37, 0), 37);
	loop_run();
	assert_int_equal(us.end, CONN_ERROR);
	assert_int_equal(us.err, EPROTO);
	assert_non_null(strstr(us.error, "bad record mac"));
	assert_span(buf_span(&us.got), "first\n");
	tls_far_end(&p);
	buf_fini(&us.got);
}

/* ---- two of ours against each other ---- */

static struct {
	struct conn conn;
	struct buf got;
	bool connected, secured;
} them;

static void
them_input(struct conn *c)
{
	buf_put(&them.got, conn_input(c));
	conn_consume(c, conn_input(c).n);
	if (conn_ssl(c) == NULL && span_caseends(buf_span(&them.got), SPAN("220 go\r\n"))) {
		SSL *ssl = SSL_new(client);
		SSL_set_connect_state(ssl);
		conn_start_tls(c, ssl);
		conn_puts(c, "written ahead\nbye\n"); /* never in the clear */
	}
}

static void
them_ended(struct conn *c, enum conn_end why, int err)
{
	assert_int_equal(why, CONN_EOF);
	assert_int_equal(err, 0);
	conn_close(c);
}

static void
them_secured(struct conn *c)
{
	(void)c;
	them.secured = true;
}

static void
is_client_and_server(void **state)
{
	(void)state;
	static const struct conn_ops ops = { .input = them_input, .ended = them_ended, .secured = them_secured };
	memset(&them, 0, sizeof them);
	int fd = us_begin(false);
	buf_init(&them.got, 10000);
	conn_init(&them.conn, fd, &ops, 64 * 1024, 64 * 1024);
	conn_puts(&them.conn, "STARTTLS\r\n");
	loop_run();
	timer_init(&us.later, stop_later);
	while (conn_is_open(&them.conn)) {
		timer_set(&us.later, 1000);
		loop_run();
	}
	assert_true(us.secured && them.secured);
	assert_span(buf_span(&us.got), "written ahead\nbye\n");
	assert_span(buf_span(&them.got), "220 go\r\ngoodbye\n");
	buf_fini(&us.got);
	buf_fini(&them.got);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(speaks_whole_and_octet_by_octet),
		cmocka_unit_test(ends_wherever_the_peer_is_cut),
		cmocka_unit_test(throws_away_what_came_in_the_clear),
		cmocka_unit_test(says_why_a_handshake_failed),
		cmocka_unit_test(carries_much_both_ways),
		cmocka_unit_test(waits_for_a_peer_that_stalls),
		cmocka_unit_test(keeps_little_when_idle),
		cmocka_unit_test(refuses_a_record_that_was_changed),
		cmocka_unit_test(is_client_and_server),
	};
	return cmocka_run_group_tests_name("conn_tls", tests, setup, teardown);
}
