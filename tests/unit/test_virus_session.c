/* SPDX-License-Identifier: GPL-2.0-only */
#include "loop_until.h"
#include "unit.h"

#include "filters/milter_wire.h"
#include "filters/virus/examine.h"
#include "filters/virus/pool.h"
#include "filters/virus/session.h"
#include "filters/virus/wire.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

/* The MTA: says its part in pieces, and hears until the filter hangs up. */
static struct {
	int fd;
	struct span rest;
	size_t piece, said;
	size_t stop[8];              /* there it waits for an answer: octets said; 0: no more */
	unsigned at;
	struct timer timer;
	struct watch watch;
	struct buf heard;
} mta;

static void
say_on(struct timer *t)
{
	size_t most = mta.stop[mta.at] > 0 ? mta.stop[mta.at] - mta.said : mta.rest.n;
	struct span piece = span_head(mta.rest, mta.piece < most ? mta.piece : most);
	if (piece.n > 0 && send(mta.fd, piece.p, piece.n, MSG_NOSIGNAL) != (ssize_t)piece.n)
		mta.rest = SPAN_EMPTY; /* it has hung up */
	mta.rest = span_from(mta.rest, piece.n);
	mta.said += piece.n;
	if (mta.stop[mta.at] > 0 && mta.said == mta.stop[mta.at])
		return;
	if (mta.rest.n > 0)
		timer_set(t, 0);
	else
		(void)shutdown(mta.fd, SHUT_WR);
}

/* To the end of a message; where nothing else is answered. */
static unsigned
answers(void)
{
	struct mw_frame f;
	uint32_t length;
	unsigned n = 0;
	for (struct span s = buf_span(&mta.heard); mw_next(s, &f, &length) == MW_FRAME; s = span_from(s, f.used))
		n += f.cmd == SMFIR_CONTINUE || f.cmd == SMFIR_REPLYCODE;
	return n;
}

static void
on_heard(struct watch *w, short what)
{
	unsigned char data[4096];
	(void)what;
	ssize_t n = recv(w->fd, data, sizeof data, MSG_DONTWAIT);
	if (n <= 0) {
		loop_stop();
		return;
	}
	buf_put(&mta.heard, span_of(data, (size_t)n));
	if (mta.stop[mta.at] > 0 && mta.said == mta.stop[mta.at] && answers() > mta.at) {
		mta.at++;
		timer_set(&mta.timer, 0);
	}
}

static void
talk(struct span says, size_t piece)
{
	int sv[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	mta.fd = sv[0];
	mta.rest = says;
	mta.piece = piece;
	mta.said = 0;
	mta.at = 0;
	buf_reset(&mta.heard);
	session_new(sv[1]);
	timer_init(&mta.timer, say_on);
	timer_set(&mta.timer, 0);
	watch_init(&mta.watch, mta.fd, on_heard);
	watch_want(&mta.watch, EV_READ);
	loop_run();
	watch_clear(&mta.watch);
	timer_clear(&mta.timer);
	close(mta.fd);
	assert_int_equal(sessions_active(), 0);
}

static unsigned
descriptors(void)
{
	unsigned n = 0;
	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) != -1;
	return n;
}

/* A generation says something with descriptors that do not belong to it: none of them stays open. */
static void
odd_generation(void **state)
{
	(void)state;
	static const struct {
		uint32_t type;
		size_t len, nfds;
	} rows[] = {
		{ WIRE_WORKER, sizeof(struct wire_generation), 1 }, { WIRE_READY, sizeof(struct wire_generation), 1 }, { WIRE_READY, sizeof(struct wire_generation), 2 },
		{ 99, sizeof(struct wire_generation), 2 }, { WIRE_WORKER, 3, 1 }, { WIRE_WORKER, 3, 2 },
	};
	loop_for(0);
	unsigned before = descriptors();
	for (size_t i = 0; i < NELEMS(rows); i++) {
		int sv[2], fds[2] = { STDIN_FILENO, STDERR_FILENO };
		struct wire_generation m = { .type = rows[i].type };
		union {
			struct cmsghdr align;
			char room[CMSG_SPACE(2 * sizeof(int))];
		} ancillary = { .room = { 0 } };
		struct iovec iov = { &m, rows[i].len };
		struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &ancillary, .msg_controllen = CMSG_SPACE(rows[i].nfds * sizeof(int)) };
		assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sv), 0);
		pool_add(sv[0]);
		struct cmsghdr *c = CMSG_FIRSTHDR(&h);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(rows[i].nfds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, rows[i].nfds * sizeof(int));
		assert_int_equal(sendmsg(sv[1], &h, MSG_NOSIGNAL), (ssize_t)rows[i].len);
		close(sv[1]);
		for (int k = 0; k < 5; k++)
			loop_for(0);
		if (descriptors() != before)
			fail_msg("row %zu: %u descriptors, %u before", i, descriptors(), before);
	}
}

static void
put(struct buf *b, unsigned char cmd, struct span data)
{
	size_t mark = mw_begin(b, cmd);
	buf_put(b, data);
	mw_end(b, mark);
}

static void
put_options(struct buf *b, uint32_t version, uint32_t actions, uint32_t steps)
{
	size_t mark = mw_begin(b, SMFIC_OPTNEG);
	mw_be32(b, version);
	mw_be32(b, actions);
	mw_be32(b, steps);
	mw_end(b, mark);
}

/* One command a letter; '.': it waits for the answer; 'O': today's options, 'o': those of version 2, 'x': three octets of a length that is too long. */
static void
write_down(const char *letters, struct buf *out)
{
	static const char header[] = "Subject\0a\nb", macros[] = "Ei\0" "4QID", body[] = "some words\r\n";
	size_t nstops = 0;
	buf_reset(out);
	memset(mta.stop, 0, sizeof mta.stop);
	for (; *letters != '\0'; letters++) {
		unsigned char c = (unsigned char)*letters;
		if (c == 'O')
			put_options(out, 6, SMFI_CURR_ACTS, SMFI_CURR_PROT);
		else if (c == 'o')
			put_options(out, 2, SMFIF_ADDHDRS | SMFIF_CHGHDRS | SMFIF_QUARANTINE, SMFI_V2_PROT);
		else if (c == '.')
			mta.stop[nstops++] = buf_len(out);
		else if (c == 'x')
			buf_put(out, span_of("\x7f\xff\xff\xff", 4));
		else if (c == SMFIC_HEADER)
			put(out, c, span_of(header, sizeof header));
		else if (c == SMFIC_MACRO)
			put(out, c, span_of(macros, sizeof macros));
		else
			put(out, c, c == SMFIC_BODY || c == SMFIC_BODYEOB ? span_of(body, sizeof body - 1) : SPAN_EMPTY);
	}
}

static void
letters_of(struct span s, char out[64])
{
	struct mw_frame f;
	uint32_t length;
	size_t n = 0;
	for (; mw_next(s, &f, &length) == MW_FRAME; s = span_from(s, f.used))
		if (n < 63)
			out[n++] = (char)f.cmd;
	out[n] = '\0';
	assert_int_equal(s.n, 0);
}

/* There is no engine: messages end with 'y', which is 451, and larger ones with a header and a quarantine. */
static void
dialogues(void **state)
{
	(void)state;
	static const struct {
		const char *says, *hears;
	} rows[] = {
		{ "OQ", "O" }, { "OLLBE.Q", "Oy" }, { "ODLE.Q", "Oy" }, { "OE", "Oy" }, { "OLBE.KLBE.Q", "Oyy" }, { "OLBAKLE.AQ", "Oy" }, { "OLB", "O" },
		{ "OLBE.LBE.ALE.Q", "Oyyy" }, { "oCHMRLNBE", "Occcccccy" }, { "OCTUQ", "Occc" }, { "OLLLLLLBBBBBBE.LE.", "Ohqcy" }, { "OLLLLLLBBBBBBA", "O" },
		/* not the protocol */
		{ "LO", "" }, { "OOLE", "O" }, { "OzLE", "O" }, { "OxLE", "O" }, { "x", "" }, { "E", "" }, { "Q", "" }, { "", "" },
	};
	struct buf says;
	buf_init(&says, 64 * 1024);
	for (size_t i = 0; i < NELEMS(rows); i++) {
		char first[64], letters[64];
		write_down(rows[i].says, &says);
		for (size_t piece = says.n + 1; piece > 0; piece = piece > 8 ? 7 : piece - 1) {
			talk(buf_span(&says), piece);
			letters_of(buf_span(&mta.heard), letters);
			if (piece > says.n)
				memcpy(first, letters, sizeof first);
			assert_string_equal(letters, first);
		}
		assert_string_equal(first, rows[i].hears);
	}
	buf_fini(&says);
}

static struct front_counts counts;
static struct virus_conf conf = { .header = "$status", .workers = 1, .max_file_size = 100, .limits = VIRUS_QUARANTINE, .unavailable = VIRUS_TEMPFAIL,
	.scan_usec = 1000000, .messages_max = 1 << 20 };

/* Many messages at a time: memory is counted while they arrive, and who comes too late is not kept. */
static void
memory(void **state)
{
	(void)state;
	enum { N = 40, EACH = 200000 };
	static int ends[N];
	struct buf b;
	conf.max_file_size = EACH * 2;
	buf_init(&b, EACH * 2);
	put_options(&b, 6, SMFI_CURR_ACTS, SMFI_CURR_PROT);
	size_t mark = mw_begin(&b, SMFIC_BODY);
	memset(buf_reserve(&b, EACH), 'x', EACH);
	buf_commit(&b, EACH);
	mw_end(&b, mark);
	uint64_t most = 0;
	for (size_t i = 0; i < N; i++) {
		int sv[2];
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sv), 0);
		session_new(sv[1]);
		ends[i] = sv[0];
		for (struct span s = buf_span(&b); s.n > 0;) {
			ssize_t n = send(ends[i], s.p, s.n, MSG_NOSIGNAL);
			s = span_from(s, n > 0 ? (size_t)n : 0);
			loop_for(0);
			most = sessions_memory() > most ? sessions_memory() : most;
		}
	}
	for (int i = 0; i < 20; i++)
		loop_for(0);
	assert_int_equal(sessions_active(), N);
	assert_true(most > conf.messages_max / 2);
	assert_true(most <= conf.messages_max + 3 * conf.max_file_size);
	for (size_t i = 0; i < N; i++)
		close(ends[i]);
	while (sessions_active() > 0)
		loop_for(0);
	assert_int_equal(sessions_memory(), 0);
	buf_fini(&b);
	conf.max_file_size = 100;
}

/* A message full of the header that is ours: it is refused, the connection goes on. */
static void
status_headers(void **state)
{
	(void)state;
	static const char header[] = "X-Virus-Status\0Clean";
	char letters[64];
	struct buf says;
	buf_init(&says, 1 << 20);
	put_options(&says, 6, SMFI_CURR_ACTS, SMFI_CURR_PROT);
	for (int i = 0; i < 20000; i++)
		put(&says, SMFIC_HEADER, span_of(header, sizeof header));
	put(&says, SMFIC_BODYEOB, SPAN_EMPTY);
	memset(mta.stop, 0, sizeof mta.stop);
	mta.stop[0] = buf_len(&says);
	put(&says, SMFIC_BODYEOB, SPAN_EMPTY);
	talk(buf_span(&says), 50000);
	letters_of(buf_span(&mta.heard), letters);
	assert_string_equal(letters, "Oyy");
	assert_true(span_find(buf_span(&mta.heard), SPAN("554 5.6.0 ")) != SIZE_MAX);
	buf_fini(&says);
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(dialogues), cmocka_unit_test(memory), cmocka_unit_test(status_headers), cmocka_unit_test(odd_generation) };
	loop_init();
	buf_init(&mta.heard, 1 << 20);
	pool_init(&conf);
	examine_init(&conf, &counts, NULL, NULL);
	sessions_init(&conf, &counts);
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	buf_fini(&mta.heard);
	return failed;
}
