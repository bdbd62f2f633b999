/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The SMTP server in one process: sessions over socketpairs, a queue of our own behind a real channel. Each
 * dialogue runs with whole writes, byte by byte, and cut off after every byte; afterwards nothing may be left.
 */
#include "own_time.h"
#include "session_world.h"

static const char common[] = "compatibility_level = 3.6\nmyhostname = mx.example.com\nmydestination =\nmynetworks = 127.0.0.2\n"
                             "relay_domains = example.org\nsmtpd_peername_lookup = no\nmaillog_file = /dev/null\n"
                             "smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination\n";
static const char *const variants[] = {
	"smtpd_error_sleep_time = 0\nmessage_size_limit = 20000\nsmtpd_recipient_limit = 3\nheader_size_limit = 2000\n"
	"smtpd_header_count_limit = 100\nhopcount_limit = 5\n",
	"smtpd_error_sleep_time = 0\nsmtpd_forbid_bare_newline = reject\nspool_inline_limit = 2000\nmessage_size_limit = 1000000\n"
	"smtpd_hard_error_limit = 3\n",
	"smtpd_helo_required = yes\ndisable_vrfy_command = yes\nsmtpd_discard_ehlo_keywords = chunking, dsn\nsmtpd_noop_commands = PING\n"
	"smtpd_forbid_bare_newline = note\nsmtpd_error_sleep_time = 0\nsmtpd_hard_error_limit = 1000\nsmtpd_junk_command_limit = 1000\n",
	"smtpd_soft_error_limit = 1\nsmtpd_error_sleep_time = 1s\nsmtpd_client_connection_count_limit = 2\nsmtpd_timeout = 1s\n"
	"smtpd_per_request_deadline = yes\nsmtpd_min_data_rate = 1000000\n",
	"edge_content_memory = 1048576\n",
	"smtpd_recipient_restrictions = sleep 1, permit\nsmtpd_data_restrictions = sleep 1\n",
};

static int
set_up(void **state)
{
	(void)state;
	loop_init();
	world_open(common, variants, NELEMS(variants));
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	world_close();
	return 0;
}

/* ---- dialogues ---- */

#define EHLO "EHLO client.example\r\n"
#define MAIL "MAIL FROM:<a@sender.example>\r\n"
#define RCPT "RCPT TO:<known@example.org>\r\n"
#define TEN "0123456789"
#define HUNDRED TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN
#define THOUSAND HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED
#define GO { EHLO, "250 CHUNKING", 0 }, { MAIL RCPT, "250 2.1.0 Ok|250 2.1.5 Ok", 0 }
#define START "354 End data with <CR><LF>.<CR><LF>"
#define SYNC "554 5.5.0 Error: SMTP protocol synchronization|(closed)"

struct step_io {
	const char *send;
	const char *expect;          /* replies (last lines) separated by '|'; "*" behind a text: any end */
	size_t send_n;               /* when send holds NULs */
};

struct dialogue {
	const char *name;
	size_t conf;
	const char *content;         /* of the message that must arrive; NULL: none may */
	const char *envelope;        /* NULL: not looked at */
	struct step_io io[10];
};

static const struct dialogue dialogues[] = {
	{ "plain", 0, "Subject: t\r\n\r\nx\r\n", "<a@sender.example> <known@example.org>",
	    { { EHLO, "250 CHUNKING", 0 }, { MAIL RCPT "DATA\r\n", "250 2.1.0 Ok|250 2.1.5 Ok|" START, 0 },
	        { "Subject: t\r\n\r\nx\r\n.\r\n", "250 2.0.0 Ok: queued as *", 0 }, { "QUIT\r\n", "221 2.0.0 Bye|(closed)", 0 } } },
	{ "two messages", 0, "B: 2\r\n", "<> <known@example.org>",
	    { { EHLO, "250 CHUNKING", 0 }, { MAIL RCPT "DATA\r\n", "250 2.1.0 Ok|250 2.1.5 Ok|" START, 0 },
	        { "A: 1\r\n.\r\nMAIL FROM:<>\r\n" RCPT "DATA\r\n", "250 2.0.0 Ok: queued as *|250 2.1.0 Ok|250 2.1.5 Ok|" START, 0 },
	        { "B: 2\r\n.\r\nQUIT\r\n", "250 2.0.0 Ok: queued as *|221 2.0.0 Bye|(closed)", 0 } } },
	{ "helo only", 0, "A: 1\r\n", NULL,
	    { { "helo client.example\r\n", "250 mx.example.com", 0 }, { "mail from:a@sender.example\r\n", "250 2.1.0 Ok", 0 },
	        { "rcpt to: <known@example.org>\r\n", "250 2.1.5 Ok", 0 }, { "data\r\n", START, 0 }, { "A: 1\r\n.\r\n", "250 2.0.0 *", 0 },
	        { "quit\r\n", "221 *|(closed)", 0 } } },
	{ "order", 0, NULL, NULL,
	    { { EHLO RCPT, SYNC, 0 } } },
	{ "order 2", 0, NULL, NULL,
	    { { EHLO, "250 CHUNKING", 0 }, { RCPT "RSET\r\n" MAIL MAIL, "503 5.5.1 Error: need MAIL command|250 2.0.0 Ok|250 2.1.0 Ok|503 5.5.1 Error: nested MAIL command", 0 },
	        { "DATA\r\n", "554 5.5.1 Error: no valid recipients", 0 }, { "RSET x\r\nRSET\r\nDATA\r\n", "501 5.5.4 Syntax: RSET|250 2.0.0 Ok|503 5.5.1 Error: need RCPT command", 0 },
	        { "FOO\r\n\r\nNOOP\r\n", "500 5.5.2 Error: command not recognized|500 5.5.2 Error: bad syntax|250 2.0.0 Ok", 0 },
	        { MAIL RCPT EHLO, "250 2.1.0 Ok|250 2.1.5 Ok|250 CHUNKING", 0 }, { "DATA\r\n", "503 *", 0 }, { "QUIT\r\n", "221 *|(closed)", 0 } } },
	{ "refused recipients", 0, "A: 1\r\n", "<a@sender.example> <known@example.org>",
	    { { EHLO, "250 CHUNKING", 0 },
	        { MAIL "RCPT TO:<x@elsewhere.example>\r\n" RCPT "DATA\r\n", "250 2.1.0 Ok|554 5.7.1 <x@elsewhere.example>: Relay access denied|250 2.1.5 Ok|" START, 0 },
	        { "A: 1\r\n.\r\n", "250 2.0.0 *", 0 } } },
	{ "data after refusal", 0, NULL, NULL,
	    { { EHLO, "250 CHUNKING", 0 }, { MAIL "RCPT TO:<x@elsewhere.example>\r\nDATA\r\n", "250 *|554 5.7.1 *|554 5.5.1 Error: no valid recipients", 0 },
	        { "MAIL FROM:<b@sender.example>\r\n", "503 5.5.1 *", 0 } } },
	{ "addresses", 0, NULL, NULL,
	    { { EHLO, "250 CHUNKING", 0 },
	        { "MAIL\r\nMAIL FROM:\r\nMAIL FROM:<a b@c.example>\r\nMAIL FROM:<\xc3\xbc@c.example>\r\n",
	            "501 5.5.4 Syntax: MAIL FROM:<address>|501 5.5.4 *|501 5.1.7 Bad sender address syntax|553 5.6.7 Must declare SMTPUTF8 to send unicode address", 0 },
	        { "MAIL FROM:<a@b.c> FOO=\x0bx\r\nMAIL FROM:<a@b.c> SIZE=20001\r\nMAIL FROM:<a@b.c> SIZE=99999999999999999999\r\n" MAIL,
	            "555 5.5.4 Unsupported option: FOO=?x|552 5.3.4 Message size exceeds fixed limit|552 5.3.4 *|250 2.1.0 Ok", 0 },
	        { "RCPT TO:<>\r\nRCPT TO:<-x@example.org>\r\nRCPT TO:<known@example.org> NOTIFY=X\r\nRCPT\r\n",
	            "501 5.1.3 Bad recipient address syntax|501 5.1.3 *|501 5.5.4 Error: Bad NOTIFY parameter syntax|501 5.5.4 Syntax: RCPT TO:<address>", 0 } } },
	{ "dsn", 0, "\r\n", "<a@sender.example> <known@example.org> notify=6 orcpt=rfc822;x@y.z envid=a+2Bb",
	    { { EHLO, "250 CHUNKING", 0 },
	        { "MAIL FROM:<a@sender.example> RET=HDRS ENVID=a+2Bb\r\nRCPT TO:<known@example.org> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;x@y.z\r\nDATA\r\n",
	            "250 *|250 *|354 *", 0 },
	        { "\r\n.\r\n", "250 *", 0 } } },
	{ "smtputf8", 0, "A: 1\r\n", "<\xc3\xbc@sender.example> <known@example.org>",
	    { { EHLO, "250 CHUNKING", 0 }, { "MAIL FROM:<\xc3\xbc@sender.example> SMTPUTF8 BODY=8BITMIME\r\n" RCPT "DATA\r\n", "250 *|250 *|354 *", 0 },
	        { "A: 1\r\n.\r\n", "250 *", 0 } } },
	{ "no domain", 0, "A: 1\r\n", "<root@mx.example.com> <postmaster@mx.example.com>",
	    { { EHLO, "250 CHUNKING", 0 }, { "MAIL FROM:<root>\r\nRCPT TO:<postmaster>\r\nDATA\r\n", "250 *|250 *|354 *", 0 }, { "A: 1\r\n.\r\n", "250 *", 0 } } },
	{ "recipient limit", 0, "A: 1\r\n", "<a@sender.example> <known@example.org> <known@example.org> notify=1",
	    { { EHLO, "250 CHUNKING", 0 },
	        { MAIL RCPT "RCPT TO:<KNOWN@Example.org>\r\nRCPT TO:<known@example.org> NOTIFY=NEVER\r\nRCPT TO:<b@example.org>\r\nDATA\r\n", "250 *|250 *|250 *|250 *|452 4.5.3 Error: too many recipients|354 *", 0 },
	        { "A: 1\r\n.\r\n", "250 *", 0 } } },
	{ "empty message", 0, "\r\n", NULL, { GO, { "DATA\r\n", START, 0 }, { "\r\n.\r\nNOOP\r\n", "250 2.0.0 Ok: queued as *|250 2.0.0 Ok", 0 } } },
	{ "nothing at all", 0, "B: 2\r\n", NULL, { GO, { "DATA\r\n", START, 0 }, { ".\r\n" MAIL RCPT "DATA\r\n", "250 2.0.0 *|250 *|250 *|354 *", 0 }, { "B: 2\r\n.\r\n", "250 2.0.0 *", 0 } } },
	{ "vrfy and help", 0, NULL, NULL,
	    { { EHLO, "250 CHUNKING", 0 }, { "VRFY known@example.org\r\n", "252 2.0.0 known@example.org", 0 }, { "VRFY x@elsewhere.example\r\n", "554 5.7.1 *", 0 },
	        { "VRFY a b\r\n", "501 5.1.3 *", 0 }, { "VRFY\r\n", "501 5.5.4 Syntax: VRFY address [SMTPUTF8]", 0 },
	        { "HELP\r\n", "214 2.0.0 Commands: AUTH BDAT DATA EHLO ETRN HELO HELP MAIL NOOP QUIT RCPT RSET STARTTLS VRFY XCLIENT XFORWARD", 0 }, { "ETRN x\r\n", "459 <x>: service unavailable", 0 } } },
	/* P04, P05, P06 */
	{ "nul", 0, NULL, NULL,
	    { { EHLO, "250 CHUNKING", 0 }, { "NO\0OP\r\n", "500 5.5.2 Error: command not recognized", 7 }, { "NOOP \0\r\n", "501 5.5.2 *", 8 },
	        { "MAIL FROM:<a\0@b.c>\r\n", "501 5.5.2 Error: NUL octet in a command", 20 }, { "MAIL FROM:<a@b.c>\0\r\n", "501 5.5.2 *", 20 } } },
	{ "bare cr", 0, NULL, NULL,
	    { { EHLO, "250 CHUNKING", 0 }, { MAIL, "250 *", 0 }, { "RCPT TO:<known@example.org>\rRCPT TO:<b@remote.test>\r\n", "501 5.1.3 *", 0 },
	        { "NOOP\r\r\n", "250 2.0.0 Ok", 0 } } },
	{ "long command", 0, NULL, NULL,
	    { { EHLO, "250 CHUNKING", 0 }, { "NOOP " THOUSAND "\r\n", "250 2.0.0 Ok", 0 }, { "NOOP " THOUSAND THOUSAND THOUSAND "\r\nRSET\r\n", "500 5.5.2 Error: line too long|250 2.0.0 Ok", 0 } } },
	{ "bad utf-8", 0, NULL, NULL, { { EHLO, "250 CHUNKING", 0 }, { "NOOP \xc0\xaf\r\n", "500 5.5.2 Error: bad UTF-8 syntax", 0 } } },
	/* P10 */
	{ "http", 0, NULL, NULL, { { "POST / HTTP/1.1\r\nHost: x\r\n\r\n" MAIL RCPT, "221 2.7.0 Error: I can break rules, too. Goodbye.|(closed)", 0 } } },
	{ "tls", 0, NULL, NULL, { { "\x16\x03\x01\x02\r\n", "221 2.7.0 *|(closed)", 0 } } },
	/* P01 in the session: nothing of the tail is a command */
	{ "smuggling", 0, "A: 1\r\n\r\nMAIL FROM:<evil@x.test>\r\nRCPT TO:<known@example.org>\r\nDATA\r\nSubject: S\r\n\r\nx\r\n", NULL,
	    { GO, { "DATA\r\n", START, 0 },
	        { "A: 1\n.\nMAIL FROM:<evil@x.test>\r\nRCPT TO:<known@example.org>\r\nDATA\r\nSubject: S\r\n\r\nx\r\n.\r\nQUIT\r\n", "250 2.0.0 *|221 *|(closed)", 0 } } },
	/* P09 */
	{ "ahead of data", 0, NULL, NULL, { GO, { "DATA\r\nA: 1\r\n.\r\n", SYNC, 0 } } },
	{ "limits: size", 0, NULL, NULL,
	    { GO, { "DATA\r\n", START, 0 },
	        { THOUSAND "\r\n" THOUSAND THOUSAND THOUSAND THOUSAND THOUSAND THOUSAND THOUSAND THOUSAND THOUSAND THOUSAND THOUSAND THOUSAND THOUSAND THOUSAND
	          THOUSAND THOUSAND THOUSAND THOUSAND THOUSAND "\r\n.\r\nNOOP\r\n", "552 5.3.4 Error: message file too big|250 2.0.0 Ok", 0 } } },
	{ "limits: header", 0, NULL, NULL, { GO, { "DATA\r\n", START, 0 }, { "A: " THOUSAND "\r\n " THOUSAND "\r\n\r\nx\r\n.\r\n", "552 5.3.4 Error: message header too big", 0 } } },
	{ "limits: hops", 0, NULL, NULL, { GO, { "DATA\r\n", START, 0 },
	    { "Received: x\r\nreceived: x\r\nReceived: x\r\nReceived: x\r\nReceived: x\r\nReceived: x\r\n\r\n.\r\n", "554 5.4.0 Error: too many hops", 0 } } },
	{ "blank line", 0, "A: 1\r\n\r\nno header\r\n", NULL, { GO, { "DATA\r\n", START, 0 }, { "A: 1\r\nno header\r\n.\r\n", "250 *", 0 } } },
	/* BDAT: P13, P14, P16 */
	{ "bdat", 0, "A: 1\r\n\r\n.\r\nx\r\n", NULL, { GO, { "BDAT 11\r\nA: 1\r\n\r\n.\r\n", "250 2.0.0 Ok: 11 bytes", 0 }, { "BDAT 1 LAST\r\nx", "250 2.0.0 Ok: 14 bytes queued as *", 0 } } },
	{ "bdat pipelined", 0, "A: 1\r\n\r\nxy\r\n", NULL,
	    { { EHLO, "250 CHUNKING", 0 }, { MAIL RCPT "BDAT 7\r\nA: 1\r\n\rBDAT 0\r\nBDAT 3\r\n\nxyBDAT 0 LAST\r\nNOOP\r\n", "250 *|250 *|250 2.0.0 Ok: 7 bytes|250 2.0.0 Ok: 0 bytes|250 2.0.0 Ok: 3 bytes|250 2.0.0 Ok: 12 bytes queued as *|250 2.0.0 Ok", 0 } } },
	{ "bdat wrong state", 0, NULL, NULL,
	    { { EHLO, "250 CHUNKING", 0 }, { "BDAT 28\r\n" MAIL "NOOP\r\n", "503 5.5.1 Error: need RCPT command|500 5.5.2 *|250 2.0.0 Ok", 0 }, { MAIL "BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n", "250 2.1.0 Ok|554 5.5.1 Error: no valid recipients|250 2.0.0 Ok", 0 } } },
	{ "bdat order", 0, NULL, NULL,
	    { GO, { "BDAT 3\r\nx\r\n", "250 *", 0 }, { MAIL RCPT "DATA\r\n", "503 5.5.1 Error: nested MAIL command|503 5.5.1 Error: RCPT after BDAT|503 5.5.1 Error: DATA after BDAT", 0 },
	        { "RSET\r\nBDAT 6\r\nQUIT\r\n", "250 2.0.0 Ok|503 5.5.1 Error: need RCPT command", 0 } } },
	{ "bdat too big", 0, NULL, NULL, { GO, { "BDAT 20001\r\n" THOUSAND, "552 5.3.4 Chunk exceeds message size limit", 0 } } },
	{ "bdat bad", 0, NULL, NULL, { GO, { "BDAT 5x\r\n" MAIL, "521 5.5.4 Syntax: BDAT count [LAST]|(closed)", 0 } } },
	/* a draft, bare LF refused, hard errors */
	{ "draft", 1, "A: 1\r\n\r\n" THOUSAND "\r\n" THOUSAND "\r\n" THOUSAND "\r\n", NULL,
	    { GO, { "DATA\r\n", START, 0 }, { "A: 1\r\n\r\n" THOUSAND "\r\n" THOUSAND "\r\n" THOUSAND "\r\n.\r\nNOOP\r\n", "250 2.0.0 *|250 2.0.0 Ok", 0 } } },
	{ "draft by bdat", 1, "A: 1\r\n\r\n" THOUSAND THOUSAND THOUSAND "\r\n", NULL,
	    { GO, { "BDAT 1008\r\nA: 1\r\n\r\n" THOUSAND, "250 *", 0 }, { "BDAT 1000\r\n" THOUSAND, "250 *", 0 }, { "BDAT 1000 LAST\r\n" THOUSAND, "250 2.0.0 Ok: 3010 bytes *", 0 } } },
	{ "bare lf in content", 1, NULL, NULL, { GO, { "DATA\r\n", START, 0 }, { "A: 1\r\nB: 2\n\r\n.\r\nNOOP\r\n", "550 5.5.2 mx.example.com Error: bare <LF> received|250 2.0.0 Ok", 0 } } },
	{ "bare lf in a command", 1, NULL, NULL, { { EHLO, "250 CHUNKING", 0 }, { "MAIL FROM:<a@b.c>\nRCPT TO:<known@example.org>\nDATA\n", "550 5.5.2 mx.example.com Error: bare <LF> received|(closed)", 0 } } },
	{ "hard errors", 1, NULL, NULL, { { EHLO, "250 CHUNKING", 0 }, { "FOO\r\nFOO\r\nFOO\r\nFOO\r\nFOO\r\n", "500 *|500 *|500 *|421 4.7.0 mx.example.com Error: too many errors|(closed)", 0 } } },
	/* other settings */
	{ "strict", 2, NULL, NULL,
	    { { MAIL, "503 5.5.1 Error: send HELO/EHLO first", 0 }, { EHLO, "250 SMTPUTF8", 0 }, { "VRFY x\r\n", "502 5.5.1 VRFY command is disabled", 0 }, { "PING\r\n", "250 2.0.0 Ok", 0 },
	        { MAIL RCPT "BDAT 6\r\nQUIT\r\nNOOP\r\n", "250 *|250 *|502 5.5.1 Error: command not implemented|250 2.0.0 Ok", 0 } } },
};

static const struct dialogue lf_only = { "a trusted client of bare line feeds", 2, "A: 1\r\n\r\nx\r\n", NULL,
	{ { "EHLO client.example\n", "250 SMTPUTF8", 0 }, { "MAIL FROM:<a@sender.example>\n", "250 *", 0 }, { "RCPT TO:<known@example.org>\n", "250 *", 0 },
	    { "DATA\n", "354 *", 0 }, { "A: 1\n\nx\n.\n", "250 2.0.0 *", 0 }, { "QUIT\n", "221 *|(closed)", 0 } } };

static size_t
step_len(const struct step_io *io)
{
	return io->send_n > 0 ? io->send_n : strlen(io->send);
}

static void
expect(struct client *c, const struct dialogue *d, const char *want)
{
	char got[600];
	struct span rest = span_str(want), one;
	while (span_word(&rest, "|", &one)) {
		client_reply(c, got);
		bool open_end = one.n > 0 && one.p[one.n - 1] == '*';
		struct span g = span_str(got);
		if (open_end ? !span_starts(g, span_head(one, one.n - 1)) : !span_eq(g, one))
			fail_msg("%s: got \"%s\", not \"%.*s\"", d->name, got, (int)one.n, one.p);
	}
}

static void
play(const struct dialogue *d, size_t piece, const char *addr)
{
	struct client c;
	buf_reset(&q.content);
	unsigned before = q.accepted;
	client_open(&c, d->conf, addr);
	char got[600];
	client_reply(&c, got);
	if (strcmp(got, "220 mx.example.com ESMTP Dogana") != 0)
		fail_msg("%s: banner \"%s\"", d->name, got);
	for (size_t i = 0; i < NELEMS(d->io) && d->io[i].send != NULL; i++) {
		/* byte by byte, what is sent ahead arrives after the reply: those rules see nothing */
		client_send(&c, span_of(d->io[i].send, step_len(&d->io[i])), piece);
		if (piece == 1 && strstr(d->io[i].expect, "synchronization") != NULL)
			break;
		expect(&c, d, d->io[i].expect);
	}
	client_close(&c);
	nothing_left();
	if (piece == 1)
		return;
	assert_int_equal(q.accepted > before, d->content != NULL && d->content[0] != '\0');
	if (d->content != NULL && d->content[0] != '\0' && !span_eq_str(buf_span(&q.content), d->content))
		fail_msg("%s: content \"%s\"", d->name, buf_cstr(&q.content));
	if (d->envelope != NULL && !span_eq_str(buf_span(&q.envelope), d->envelope))
		fail_msg("%s: envelope \"%s\"", d->name, buf_cstr(&q.envelope));
}

static void
test_whole(void **state)
{
	(void)state;
	queue_start(QUEUE_FINE);
	for (size_t i = 0; i < NELEMS(dialogues); i++)
		play(&dialogues[i], SIZE_MAX, "192.0.2.1");
	play(&lf_only, SIZE_MAX, "127.0.0.2");
	assert_int_equal(q.drops, 0);
}

static void
test_bytes(void **state)
{
	(void)state;
	queue_start(QUEUE_FINE);
	for (size_t i = 0; i < NELEMS(dialogues); i++)
		play(&dialogues[i], 1, "192.0.2.1");
	play(&lf_only, 1, "127.0.0.2");
}

/* The client is gone after n octets. */
static void
play_cut(const struct dialogue *d, size_t cut)
{
	struct client c;
	client_open(&c, d->conf, "192.0.2.1");
	for (size_t i = 0; i < NELEMS(d->io) && d->io[i].send != NULL; i++) {
		size_t n = step_len(&d->io[i]);
		client_send(&c, span_of(d->io[i].send, n < cut ? n : cut), SIZE_MAX);
		if (n >= cut)
			break;
		cut -= n;
		turn();
		client_read(&c);
	}
	client_close(&c);
	nothing_left();
}

static void
test_cut(void **state)
{
	(void)state;
	queue_start(QUEUE_FINE);
	unsigned before = q.accepted;
	for (size_t i = 0; i < NELEMS(dialogues); i++) {
		const struct dialogue *d = &dialogues[i];
		size_t total = 0;
		for (size_t k = 0; k < NELEMS(d->io) && d->io[k].send != NULL; k++)
			total += step_len(&d->io[k]);
		size_t stride = total > 3000 ? 97 : 1;
		for (size_t cut = 0; cut < total; cut += stride)
			play_cut(d, cut);
	}
	assert_true(q.accepted > before);
}

/* What the client hears when the queue is not as it should be, and that nothing is promised. */
static void
test_queue_trouble(void **state)
{
	(void)state;
	static const struct {
		enum queue_mode mode;
		size_t conf;
		const char *mail, *end;
	} rows[] = {
		{ QUEUE_FULL, 0, "250 2.1.0 Ok", "452 4.3.1 Insufficient system storage" },
		{ QUEUE_FAILS, 0, "250 2.1.0 Ok", "451 4.3.0 Error: queue file write error" },
		{ QUEUE_DIES, 0, "250 2.1.0 Ok", "451 4.3.0 Error: queue file write error" },
		{ QUEUE_ABSENT, 0, "451 4.3.0 Error: queue file write error", NULL },
		{ QUEUE_NOT_ACCEPTING, 0, "452 4.3.1 Insufficient system storage", NULL },
		{ QUEUE_NO_DRAFTS, 1, "250 2.1.0 Ok", "452 4.3.1 Insufficient system storage" },
	};
	for (size_t i = 0; i < NELEMS(rows); i++) {
		queue_start(rows[i].mode);
		struct client c;
		char got[600];
		client_open(&c, rows[i].conf, "192.0.2.1");
		client_reply(&c, got);
		client_send(&c, SPAN(EHLO), SIZE_MAX);
		client_reply(&c, got);
		client_send(&c, SPAN(MAIL), SIZE_MAX);
		client_reply(&c, got);
		assert_string_equal(got, rows[i].mail);
		if (rows[i].end != NULL) {
			client_send(&c, SPAN(RCPT), SIZE_MAX);
			client_reply(&c, got);
			client_send(&c, SPAN("DATA\r\n"), SIZE_MAX);
			client_reply(&c, got);
			client_send(&c, SPAN("A: 1\r\n\r\n" THOUSAND "\r\n" THOUSAND "\r\n" THOUSAND "\r\n.\r\n"), SIZE_MAX);
			client_reply(&c, got);
			assert_string_equal(got, rows[i].end);
		}
		client_send(&c, SPAN("QUIT\r\n"), SIZE_MAX);
		client_reply(&c, got);
		assert_string_equal(got, "221 2.0.0 Bye");
		client_close(&c);
		nothing_left();
	}
	/* a draft whose queue process was replaced meanwhile is not another one's draft */
	queue_start(QUEUE_FINE);
	struct client c;
	client_open(&c, 1, "192.0.2.1");
	say_up_to_data(&c);
	client_send(&c, SPAN("A: 1\r\n\r\n" THOUSAND "\r\n" THOUSAND "\r\n" THOUSAND "\r\n"), SIZE_MAX);
	for (int i = 0; i < 10; i++)
		turn();
	assert_int_equal(metric_values[M_smtpd_drafts], 1);
	queue_start(QUEUE_FINE);
	unsigned before = q.accepted, drops = q.drops;
	client_send(&c, SPAN(".\r\n"), SIZE_MAX);
	char got[600];
	client_reply(&c, got);
	assert_string_equal(got, "451 4.3.0 Error: queue file write error");
	client_close(&c);
	nothing_left();
	assert_int_equal(q.accepted, before);
	assert_int_equal(q.drops, drops);
}

/* A draft is given back when the client goes away. */
static void
test_draft_dropped(void **state)
{
	(void)state;
	queue_start(QUEUE_FINE);
	unsigned drops = q.drops;
	struct client c;
	client_open(&c, 1, "192.0.2.1");
	say_up_to_data(&c);
	client_send(&c, SPAN("A: 1\r\n\r\n" THOUSAND "\r\n" THOUSAND "\r\n" THOUSAND "\r\n"), SIZE_MAX);
	for (int i = 0; i < 10; i++)
		turn();
	assert_int_equal(metric_values[M_smtpd_drafts], 1);
	client_close(&c);
	nothing_left();
	for (int i = 0; i < 3; i++)
		turn();
	assert_int_equal(q.drops, drops + 1);
}

/* R05: when edge_content_memory is used up, content goes to drafts that would have stayed in memory. */
static void
test_crowded(void **state)
{
	(void)state;
	queue_start(QUEUE_FINE);
	enum { CLIENTS = 12 };
	struct client c[CLIENTS];
	struct buf text;
	buf_init(&text, 1 << 20);
	buf_puts(&text, "A: 1\r\n\r\n");
	while (buf_len(&text) < 110 * 1024)
		buf_puts(&text, HUNDRED "\r\n");
	for (int i = 0; i < CLIENTS; i++) {
		client_open(&c[i], 4, "192.0.2.1");
		say_up_to_data(&c[i]);
		client_send(&c[i], buf_span(&text), SIZE_MAX);
	}
	for (int i = 0; i < 20; i++)
		turn();
	assert_true(metric_values[M_smtpd_drafts] > 2 && metric_values[M_smtpd_drafts] < CLIENTS);
	assert_true(metric_values[M_smtpd_content_bytes] < 2 * 1024 * 1024);
	for (int i = 0; i < CLIENTS; i++) {
		char got[600];
		client_send(&c[i], SPAN(".\r\n"), SIZE_MAX);
		client_reply(&c[i], got);
		client_close(&c[i]);
	}
	buf_fini(&text);
	nothing_left();
}

/* smtpd_client_connection_count_limit = 2; other clients, and mynetworks, are not concerned. */
static void
test_connection_limit(void **state)
{
	(void)state;
	struct client c[8];
	static const char *const from[8] = { "192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2", "127.0.0.2", "127.0.0.2", "127.0.0.2", "192.0.2.1" };
	static const char *const want[8] = { "220", "220", "421 4.7.0 mx.example.com Error: too many connections from 192.0.2.1", "220", "220", "220", "220", "220" };
	char got[600];
	for (int i = 0; i < 8; i++) {
		if (i == 7) {
			client_close(&c[0]);
			for (int k = 0; k < 10; k++)
				turn();
		}
		client_open(&c[i], 3, from[i]);
		client_reply(&c[i], got);
		if (strncmp(got, want[i], strlen(want[i])) != 0)
			fail_msg("client %d: %s", i, got);
	}
	for (int i = 1; i < 8; i++)
		client_close(&c[i]);
	nothing_left();
}

/* Time limits and the delay of errors: conf 3 has one second for each. */
static void
test_time(void **state)
{
	(void)state;
	struct client c;
	char got[600];
	queue_start(QUEUE_FINE);
	uint64_t began = clock_mono(), own_began = own_time();
	client_open(&c, 3, "192.0.2.1");
	client_reply(&c, got);
	client_send(&c, SPAN("FOO\r\nNOOP\r\n"), SIZE_MAX);
	client_reply(&c, got);
	assert_true(own_time() - own_began < 500000);
	client_reply(&c, got);
	assert_string_equal(got, "250 2.0.0 Ok");
	assert_true(clock_mono() - began >= 990000); /* it waited; timers have a coarse clock */
	client_send(&c, SPAN("NOO"), SIZE_MAX);
	for (int i = 0; i < 50; i++)
		turn();
	client_reply(&c, got);
	assert_string_equal(got, "421 4.4.2 mx.example.com Error: timeout exceeded");
	client_reply(&c, got);
	assert_string_equal(got, "(closed)");
	client_close(&c);
	nothing_left();
	/* and cut while it waits */
	client_open(&c, 3, "192.0.2.1");
	client_send(&c, SPAN("FOO\r\nNOOP\r\n"), SIZE_MAX);
	client_close(&c);
	nothing_left();
}

/* A restriction that waits: what was sent ahead is answered in order afterwards, others go on meanwhile, and a client
 * that leaves during the wait leaves nothing behind. */
static void
test_policy_wait(void **state)
{
	(void)state;
	struct client c, other;
	char got[600];
	queue_start(QUEUE_FINE);
	client_open(&c, 5, "192.0.2.1");
	client_open(&other, 0, "192.0.2.2");
	client_reply(&c, got);
	say(&c, SPAN(EHLO));
	uint64_t began = clock_mono(), own_began = own_time();
	client_send(&c, SPAN(MAIL RCPT "RSET\r\nFOO\r\n" MAIL), SIZE_MAX);
	client_reply(&c, got);
	assert_string_equal(got, "250 2.1.0 Ok");
	client_reply(&other, got);
	say(&other, SPAN(EHLO));
	assert_true(own_time() - own_began < 800000);
	static const char *const want[] = { "250 2.1.5 Ok", "250 2.0.0 Ok", "500 5.5.2 Error: command not recognized", "250 2.1.0 Ok" };
	for (size_t i = 0; i < NELEMS(want); i++) {
		client_reply(&c, got);
		assert_string_equal(got, want[i]);
	}
	assert_true(clock_mono() - began >= 990000);
	client_send(&c, SPAN(RCPT), SIZE_MAX); /* and gone at the wait */
	client_close(&c);
	client_close(&other);
	nothing_left();
	/* at DATA, and retired from outside at the wait */
	client_open(&c, 5, "192.0.2.1");
	client_reply(&c, got);
	say(&c, SPAN(EHLO));
	say(&c, SPAN(MAIL));
	say(&c, SPAN(RCPT));
	client_send(&c, SPAN("DATA\r\n"), SIZE_MAX);
	for (int i = 0; i < 5; i++)
		turn();
	assert_int_equal(edge.nsessions, 1);
	assert_int_equal(metric_values[M_op_pending], 1);
	sess_retire(list_entry(edge.sessions.next, struct sess, link));
	nothing_left();
	client_close(&c);
}

static void
test_drain(void **state)
{
	(void)state;
	struct client idle, busy;
	char got[600];
	queue_start(QUEUE_FINE);
	client_open(&idle, 0, "192.0.2.1");
	client_open(&busy, 0, "192.0.2.1");
	client_reply(&idle, got);
	client_reply(&busy, got);
	client_send(&busy, SPAN(EHLO), SIZE_MAX);
	client_reply(&busy, got);
	client_send(&busy, SPAN(MAIL RCPT "DATA\r\n"), SIZE_MAX);
	for (int i = 0; i < 3; i++)
		client_reply(&busy, got);
	edge_drain_sessions(&edge, false);
	client_reply(&idle, got);
	assert_string_equal(got, "421 4.3.2 mx.example.com Service shutting down");
	client_reply(&idle, got);
	assert_string_equal(got, "(closed)");
	client_send(&busy, SPAN("A: 1\r\n.\r\n"), SIZE_MAX);
	client_reply(&busy, got);
	assert_true(strncmp(got, "250 2.0.0 Ok: queued as ", 24) == 0);
	client_reply(&busy, got);
	assert_string_equal(got, "421 4.3.2 mx.example.com Service shutting down");
	client_close(&idle);
	client_close(&busy);
	nothing_left();
	edge.draining = false;
}

/* P36: one client pipelines without reading; others are served, memory stays bounded. */
static void
test_flood(void **state)
{
	(void)state;
	struct client flood, other;
	char got[600];
	queue_start(QUEUE_FINE);
	client_open(&flood, 2, "192.0.2.1");
	client_open(&other, 2, "192.0.2.2");
	client_reply(&other, got);
	static const struct span rset = { (const unsigned char *)"RSET\r\n", 6 };
	for (int i = 0; i < 100000; i++)
		if (send(flood.fd, rset.p, rset.n, MSG_NOSIGNAL) != 6)
			break;
	for (int i = 0; i < 200; i++)
		turn();
	client_send(&other, SPAN("RSET\r\n"), SIZE_MAX);
	client_reply(&other, got);
	assert_string_equal(got, "250 2.0.0 Ok");
	client_close(&flood);
	client_close(&other);
	nothing_left();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole), cmocka_unit_test(test_bytes), cmocka_unit_test(test_cut), cmocka_unit_test(test_queue_trouble),
		cmocka_unit_test(test_draft_dropped), cmocka_unit_test(test_crowded), cmocka_unit_test(test_connection_limit), cmocka_unit_test(test_time), cmocka_unit_test(test_drain), cmocka_unit_test(test_policy_wait),
		cmocka_unit_test(test_flood),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
