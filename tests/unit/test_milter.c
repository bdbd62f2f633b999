/* SPDX-License-Identifier: BSD-2-Clause */
/* Sessions beside scripted milters: what each stage hears, what replies mean, changes of the message, several milters in a row. */
#include "milter_world.h"

#define CONF                                                                                            \
	"milter_macro_defaults = x=7, {y}=8\nmilter_mail_macros = i {mail_addr} {evil} x {y} {none}\n"  \
	"milter_command_timeout = 2s\nmilter_content_timeout = 2s\nmilter_connect_timeout = 2s\n"       \
	"milter_breaker_failures = 0\nmilter_connection_reuse = yes\n"

static void
play_one(struct play *p, struct milter_set *set)
{
	play_begin(p, set);
	play_go(p);
	play_wait();
}

#define ALL_OK "connect=ok helo=ok mail=ok rcpt=ok rcpt=ok data=ok end=ok"

static const char whole_dialogue[] =
    "D Cj,mx.example.com,\n"
    "C client.example,4..192.0.2.7,\n"
    "H helo.example,\n"
    "D Mi,QID1,{mail_addr},a@b.example,{evil},one  two three,x,7,{y},8,\n"
    "M <a@b.example>,SIZE=100,\n"
    "D Ri,QID1,\nR <c@d.example>,\n"
    "D Ri,QID1,\nR <e@d.example>,\n"
    "D Ti,QID1,\nT\n"
    "L From=[a@b.example]\nL Subject=[one\n two]\nL X-A=[1]\nL X-A=[2]\nL To=[c@d.example]\n"
    "D Ni,QID1,\nN\n"
    "B 10\nD Ei,QID1,\nE\n";

static void
test_dialogue(void **state)
{
	(void)state;
	static const uint32_t all_nr = SMFIP_NR_CONN | SMFIP_NR_HELO | SMFIP_NR_MAIL | SMFIP_NR_RCPT | SMFIP_NR_DATA | SMFIP_NR_HDR | SMFIP_NR_EOH |
	    SMFIP_NR_BODY;
	static const uint32_t steps[] = { 0, SMFIP_NR_HDR, all_nr };
	for (size_t i = 0; i < NELEMS(steps); i++) {
		struct fake f;
		struct play p;
		fake_open(&f);
		f.steps = steps[i];
		static const char order[] = "CHMRTLNB";
		for (const char *c = order; *c != '\0'; c++) {
			static const uint32_t bits[] = { SMFIP_NR_CONN, SMFIP_NR_HELO, SMFIP_NR_MAIL, SMFIP_NR_RCPT, SMFIP_NR_DATA, SMFIP_NR_HDR, SMFIP_NR_EOH,
				SMFIP_NR_BODY };
			f.no_reply[(unsigned char)*c] = (steps[i] & bits[c - order]) != 0;
		}
		struct milter_set *set = set_for(&f, "default_action=tempfail");
		play_one(&p, set);
		assert_span(buf_span(&p.said), ALL_OK);
		milter_set_free(&set);
		world_turns(20000);
		char want[2000];
		snprintf(want, sizeof want, "%sQ\n", whole_dialogue);
		assert_span(buf_span(&f.log), want);
		assert_span(buf_span(&f.body), PLAY_BODY);
		assert_span(buf_span(&p.out), PLAY_HEADER "\r\n" PLAY_BODY);
		play_fini(&p);
		fake_close(&f);
	}
}

/* Nothing is said that nobody wants to hear, but macros: a milter may ask for those of an event it left out. */
static void
test_steps(void **state)
{
	(void)state;
	static const struct {
		uint32_t steps;
		const char *want;
	} rows[] = {
		{ SMFI_V2_PROT | SMFIP_NODATA | SMFIP_NOUNKNOWN, "D Ei,QID1,\nE\n" },
		{ SMFIP_NOCONNECT | SMFIP_NOHELO | SMFIP_NOMAIL | SMFIP_NORCPT | SMFIP_NOHDRS | SMFIP_NOEOH | SMFIP_NODATA, "B 10\nD Ei,QID1,\nE\n" },
		{ SMFIP_NOCONNECT | SMFIP_NOHELO | SMFIP_NOMAIL | SMFIP_NORCPT | SMFIP_NOBODY | SMFIP_NOEOH | SMFIP_NODATA | SMFIP_HDR_LEADSPC,
		    "L From=[ a@b.example]\nL Subject=[ one\n two]\nL X-A=[ 1]\nL X-A=[ 2]\nL To=[c@d.example]\nD Ei,QID1,\nE\n" },
	};
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct fake f;
		struct play p;
		fake_open(&f);
		f.steps = rows[i].steps;
		struct milter_set *set = set_for(&f, "default_action=tempfail");
		play_one(&p, set);
		assert_span(buf_span(&p.said), ALL_OK);
		const char *log = buf_cstr(&f.log), *at = strstr(log, rows[i].want);
		assert_non_null(at);
		for (; log < at; log = strchr(log, '\n') + 1)
			assert_true(strncmp(log, "D ", 2) == 0);
		play_fini(&p);
		milter_set_free(&set);
		fake_close(&f);
	}
}

/* What a reply at a stage comes to. */
static void
test_replies(void **state)
{
	(void)state;
	static const struct {
		unsigned char cmd, reply;
		const char *data, *want;
	} rows[] = {
#define NO "550 5.7.1 Command rejected"
#define LATER "451 4.7.1 Service unavailable - try again later"
		{ 'C', 'a', "", ALL_OK }, { 'H', 'a', "", ALL_OK }, { 'M', 'a', "", ALL_OK }, { 'R', 'a', "", ALL_OK }, { 'T', 'a', "", ALL_OK },
		{ 'L', 'a', "", ALL_OK }, { 'N', 'a', "", ALL_OK }, { 'E', 'a', "", ALL_OK },
		{ 'C', 'r', "", "connect=" NO " helo=" NO " mail=" NO },
		{ 'H', 'r', "", "connect=ok helo=" NO " mail=" NO },
		{ 'M', 'r', "", "connect=ok helo=ok mail=" NO },
		{ 'R', 'r', "", "connect=ok helo=ok mail=ok rcpt=" NO " rcpt=" NO " data=ok end=ok" },
		{ 'T', 'r', "", "connect=ok helo=ok mail=ok rcpt=ok rcpt=ok data=" NO },
		{ 'L', 'r', "", "connect=ok helo=ok mail=ok rcpt=ok rcpt=ok data=ok end=" NO },
		{ 'N', 'r', "", "connect=ok helo=ok mail=ok rcpt=ok rcpt=ok data=ok end=" NO },
		{ 'E', 'r', "", "connect=ok helo=ok mail=ok rcpt=ok rcpt=ok data=ok end=" NO },
		{ 'C', 't', "", "connect=" LATER " helo=" LATER " mail=" LATER },
		{ 'M', 't', "", "connect=ok helo=ok mail=" LATER },
		{ 'E', 't', "", "connect=ok helo=ok mail=ok rcpt=ok rcpt=ok data=ok end=" LATER },
		{ 'M', 'd', "", "connect=ok helo=ok mail=discard rcpt=ok rcpt=ok data=ok end=ok" },
		{ 'R', 'd', "", "connect=ok helo=ok mail=ok rcpt=discard rcpt=ok data=ok end=ok" },
		{ 'N', 'd', "", "connect=ok helo=ok mail=ok rcpt=ok rcpt=ok data=ok end=discard" },
		{ 'E', 'd', "", "connect=ok helo=ok mail=ok rcpt=ok rcpt=ok data=ok end=discard" },
		{ 'R', 's', "", ALL_OK }, { 'L', 's', "", ALL_OK },
		{ 'M', '4', "", "connect=ok helo=ok mail=421 4.7.0 Server closing connection (close)" },
		{ 'M', 'f', "", "connect=ok helo=ok mail=" LATER },
		{ 'E', 'y', "554 5.7.1 1%% 2%%%% 3% x", "connect=ok helo=ok mail=ok rcpt=ok rcpt=ok data=ok end=554 5.7.1 1% 2%% 3 x" },
		{ 'M', 'y', "421 4.3.2 go", "connect=ok helo=ok mail=421 4.3.2 go (close)" },
		{ 'H', 'y', "450 4.1.8 Later", "connect=ok helo=450 4.1.8 Later mail=450 4.1.8 Later" },
		{ 'M', 'y', "550-5.7.1 one\r\n550-5.7.1 two\r\n550 5.7.1 three", "connect=ok helo=ok mail=550-5.7.1 one\n550-5.7.1 two\n550 5.7.1 three" },
		{ 'M', 'y', "550 5.7.1 one\r\nRSET\r\n", "connect=ok helo=ok mail=550-5.7.1 one\n550 RSET" },
		{ 'M', 'y', "250 2.0.0 fine", "connect=ok helo=ok mail=451 4.3.5 Server configuration problem - try again later" },
		{ 'M', 'y', "550 nothing", "connect=ok helo=ok mail=550 nothing" },
		{ 'M', 'y', "550 4.1.1 nothing", "connect=ok helo=ok mail=451 4.3.5 Server configuration problem - try again later" },
		{ 'C', 'd', "", ALL_OK },
		{ 'M', 'c', "x", "connect=ok helo=ok mail=" LATER },
		{ 'M', 'h', "X", "connect=ok helo=ok mail=" LATER },
		{ 'M', 'Z', "", "connect=ok helo=ok mail=" LATER },
	};
	for (size_t i = 0; i < NELEMS(rows); i++) {
		for (int slow = 0; slow < 2; slow++) {
			struct fake f;
			struct play p;
			fake_open(&f);
			struct buf *b = fake_rule(&f, rows[i].cmd, 0, slow ? DO_SLOW : DO_REPLY);
			fake_packet(b, rows[i].reply, rows[i].data, rows[i].data[0] != '\0' ? strlen(rows[i].data) + (rows[i].reply == 'y') : 0);
			struct milter_set *set = set_for(&f, "default_action=tempfail");
			play_one(&p, set);
			if (!span_eq_str(buf_span(&p.said), rows[i].want))
				print_error("row %zu: %c at %c:\n", i, rows[i].reply, rows[i].cmd);
			assert_span(buf_span(&p.said), rows[i].want);
			play_fini(&p);
			milter_set_free(&set);
			fake_close(&f);
		}
	}
}

/* Accept ends at the right place, and the next message begins anew. */
static void
test_accept(void **state)
{
	(void)state;
	static const struct {
		unsigned char cmd;
		unsigned mails, ends;    /* heard in two messages */
	} rows[] = { { 'C', 0, 0 }, { 'H', 0, 0 }, { 'M', 2, 0 }, { 'R', 2, 0 },
		{ 'N', 2, 1 }, /* the end of the first message was on its way already */
		{ 'E', 2, 2 } };
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct fake f;
		struct play p;
		fake_open(&f);
		fake_packet(fake_rule(&f, rows[i].cmd, 0, DO_REPLY), 'a', "", 0);
		struct milter_set *set = set_for(&f, "default_action=tempfail");
		play_begin(&p, set);
		p.messages = 2;
		play_go(&p);
		play_wait();
		assert_int_equal(f.seen['M'], rows[i].mails);
		assert_int_equal(f.seen['E'], rows[i].ends);
		play_fini(&p);
		milter_set_free(&set);
		fake_close(&f);
	}
}

#define LATE "connect=ok helo=ok mail=ok rcpt=ok rcpt=ok data=ok end="

/* A milter that never objected hears of connections, HELO and DATA late; what it says then counts all the same, and it is asked at
 * once again. */
static void
test_put_off(void **state)
{
	(void)state;
	static const struct {
		unsigned char cmd, reply;
		const char *want;
		unsigned calm;           /* 1: it let MAIL pass, too; 2: and RCPT */
	} rows[] = {
		{ 'C', 'c', ALL_OK, 1 }, { 'C', 'a', ALL_OK, 1 }, { 'M', 'a', ALL_OK, 1 }, { 'R', 'a', ALL_OK, 1 },
		{ 'C', 'r', "connect=ok helo=ok mail=ok rcpt=" NO " rcpt=" NO " data=" NO, 1 },
		{ 'M', 'r', "connect=ok helo=ok mail=ok rcpt=" NO " rcpt=" NO " data=" NO, 1 },
		{ 'R', 'r', "connect=ok helo=ok mail=ok rcpt=" NO " rcpt=" NO " data=ok end=ok", 1 },
		{ 'C', 'c', ALL_OK, 0 }, { 'C', 'a', ALL_OK, 0 }, { 'C', 'r', "connect=ok helo=ok mail=" NO, 0 }, { 'H', 'r', "connect=ok helo=ok mail=" NO, 0 },
		{ 'H', '4', "connect=ok helo=ok mail=421 4.7.0 Server closing connection (close)", 0 },
		{ 'M', 'r', "connect=ok helo=ok mail=" NO, 0 },
		{ 'T', 'r', "connect=ok helo=ok mail=ok rcpt=ok rcpt=ok data=ok end=" NO, 0 },
		{ 'T', 'd', "connect=ok helo=ok mail=ok rcpt=ok rcpt=ok data=ok end=discard", 0 },
		{ 'T', 'a', ALL_OK, 0 },
		{ 'L', 'r', "connect=ok helo=ok mail=ok rcpt=ok rcpt=ok data=ok end=" NO, 0 },
		/* all of the envelope leaves with the message; of two recipients one may be wanted */
		{ 'C', 'c', ALL_OK, 2 }, { 'C', 'a', ALL_OK, 2 }, { 'M', 'a', ALL_OK, 2 }, { 'R', 'a', ALL_OK, 2 },
		{ 'T', 'a', ALL_OK, 2 }, { 'C', 'r', LATE NO, 2 }, { 'H', 'r', LATE NO, 2 }, { 'M', 'r', LATE NO, 2 },
		{ 'R', 'r', LATE "451 4.7.1 Service unavailable - try again later", 2 }, { 'R', 'd', LATE "discard", 2 },
		{ 'H', '4', LATE "421 4.7.0 Server closing connection (close)", 2 }, { 'L', 'r', LATE NO, 2 }, { 'E', 'r', LATE NO, 2 },
	};
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct fake f;
		struct play p;
		fake_open(&f);
		fake_packet(fake_rule(&f, rows[i].cmd, 0, DO_REPLY), rows[i].reply, "", 0);
		struct milter_set *set = set_for(&f, "default_action=tempfail");
		struct milter_server *server = set->def[0].server;
		server->calm[MEV_CONNECT] = server->calm[MEV_HELO] = server->calm[MEV_DATA] = 1000;
		server->calm[MEV_MAIL] = rows[i].calm >= 1 ? 1000 : 0;
		server->calm[MEV_RCPT] = rows[i].calm == 2 ? 1000 : 0;
		play_one(&p, set);
		if (!span_eq_str(buf_span(&p.said), rows[i].want))
			print_error("row %zu: %c at %c:\n", i, rows[i].reply, rows[i].cmd);
		assert_span(buf_span(&p.said), rows[i].want);
		bool objects = rows[i].reply != 'c';
		assert_int_equal(server->calm[MEV_CONNECT] == 1000, !(objects && rows[i].cmd == 'C'));
		assert_int_equal(server->calm[MEV_DATA] == 1000, !(objects && rows[i].cmd == 'T'));
		assert_int_equal(server->calm[MEV_RCPT] == 1000, rows[i].calm == 2 && !(objects && rows[i].cmd == 'R'));
		if (rows[i].calm == 2 && !objects) {
			char want[2000];
			snprintf(want, sizeof want, "%s", whole_dialogue);
			assert_span(buf_span(&f.log), want);
		}
		assert_int_equal(server->one_by_one, rows[i].cmd == 'L');
		play_fini(&p);
		milter_set_free(&set);
		fake_close(&f);
	}
}

/* An envelope that waits, of as many recipients as may, and a header with nearly as many lines as may be sent ahead: together more than that. */
static void
test_put_off_much(void **state)
{
	(void)state;
	static const struct span rcpt[] = { { (const unsigned char *)"<c@d.example>", 13 } };
	struct buf header;
	buf_init(&header, 10000);
	buf_puts(&header, PLAY_HEADER);
	for (unsigned lines = 8; lines < MILTER_AHEAD + 8; lines++) {
		struct fake f;
		struct play p;
		fake_open(&f);
		f.steps = SMFIP_NODATA;
		struct milter_set *set = set_for(&f, "default_action=tempfail");
		for (unsigned ev = 0; ev < MEV_COUNT; ev++)
			set->def[0].server->calm[ev] = 1000;
		buf_printf(&header, "X-%u: y\r\n", lines);
		play_begin(&p, set);
		p.header = buf_cstr(&header);
		p.stops_at = PLAY_RCPT2;
		play_go(&p);
		for (unsigned k = 0; k < 2000 && p.step != PLAY_RCPT2; k++)
			world_turns(1000);
		for (unsigned k = 0; k < MILTER_HELD && set->def[0].server->nlinks == 1 && p.run->slots[0].nheld + 5 <= MILTER_HELD; k++)
			assert_false(milter_run_rcpt(p.run, rcpt, 1));
		assert_true(p.run->slots[0].nheld > MILTER_HELD - 8);
		p.stops_at = 0;
		play_go(&p);
		play_wait();
		assert_span(buf_span(&p.said), ALL_OK);
		assert_int_equal(f.connects, 1);
		play_fini(&p);
		milter_set_free(&set);
		fake_close(&f);
	}
	buf_fini(&header);
}

/* The envelope waits for as many recipients as it may; the next one brings the milter's objection to another: that is no answer about the one
 * at hand, and the message is not for those who remain. */
static void
test_put_off_late(void **state)
{
	(void)state;
	static const struct span rcpt[] = { { (const unsigned char *)"<c@d.example>", 13 } };
	static const struct {
		unsigned nth;
		char reply;
		const char *want;
	} rows[] = {
		{ 1, 'r', " rcpt=451 4.7.1 Service unavailable - try again later data=451 4.7.1 Service unavailable - try again later" },
		{ 5, 'r', " rcpt=451 4.7.1 Service unavailable - try again later data=451 4.7.1 Service unavailable - try again later" },
		{ 5, 'a', " rcpt=ok data=ok end=ok" },
		{ 5, 'd', " rcpt=discard data=ok end=discard" },
		{ 0, 'c', " rcpt=ok data=ok end=ok" },
		{ MILTER_HELD, 'r', NULL }, /* the one at hand */
	};
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct fake f;
		struct play p;
		fake_open(&f);
		struct milter_set *set = set_for(&f, "default_action=tempfail");
		for (unsigned ev = 0; ev < MEV_COUNT; ev++)
			set->def[0].server->calm[ev] = 1000;
		play_begin(&p, set);
		p.stops_at = PLAY_RCPT2;
		play_go(&p);
		for (unsigned k = 0; k < 2000 && p.step != PLAY_RCPT2; k++)
			world_turns(1000);
		unsigned n = 1;
		for (; p.run->slots[0].nheld + 4 <= MILTER_HELD; n++)
			assert_false(milter_run_rcpt(p.run, rcpt, 1));
		fake_packet(fake_rule(&f, 'R', rows[i].want == NULL ? n + 1 : rows[i].nth, DO_REPLY), (unsigned char)rows[i].reply, "", 0);
		p.stops_at = 0;
		play_go(&p);
		play_wait();
		char want[300];
		snprintf(want, sizeof want, "connect=ok helo=ok mail=ok rcpt=ok%s", rows[i].want != NULL ? rows[i].want : " rcpt=" NO " data=ok end=ok");
		assert_span(buf_span(&p.said), want);
		play_fini(&p);
		milter_set_free(&set);
		fake_close(&f);
	}
}

static void
put_indexed(struct buf *b, unsigned char cmd, uint32_t index, const char *name, const char *value)
{
	size_t mark = mw_begin(b, cmd);
	if (cmd != SMFIR_ADDHEADER)
		mw_be32(b, index);
	buf_put(b, span_of(name, strlen(name) + 1));
	buf_put(b, span_of(value, strlen(value) + 1));
	mw_end(b, mark);
}

#define R "Received: from x by mx\r\n"
#define F "From: a@b.example\r\n"
#define S "Subject: one\r\n two\r\n"
#define A1 "X-A: 1\r\n"
#define A2 "X-A: 2\r\n"
#define T "To:c@d.example\r\n"

static void
test_headers(void **state)
{
	(void)state;
	static const struct {
		struct {
			unsigned char cmd;
			uint32_t index;
			const char *name, *value;
		} edit[3];
		const char *want;
	} rows[] = {
		{ { { 'h', 0, "X-B", "new" } }, R F S A1 A2 T "X-B: new\r\n" },
		{ { { 'i', 0, "X-B", "new" } }, "X-B: new\r\n" R F S A1 A2 T },
		{ { { 'i', 1, "X-B", "new" } }, R "X-B: new\r\n" F S A1 A2 T },
		{ { { 'i', 2, "X-B", "new" } }, R F "X-B: new\r\n" S A1 A2 T },
		{ { { 'i', 500, "X-B", "new" } }, R F S A1 A2 T "X-B: new\r\n" },
		{ { { 'i', 0x7fffffff, "X-B", "new" } }, R F S A1 A2 T "X-B: new\r\n" },
		{ { { 'm', 1, "x-a", "z" } }, R F S "x-a: z\r\n" A2 T },
		{ { { 'm', 0, "x-a", "z" } }, R F S "x-a: z\r\n" A2 T },
		{ { { 'm', 2, "X-A", "z" } }, R F S A1 "X-A: z\r\n" T },
		{ { { 'm', 3, "X-A", "z" } }, R F S A1 A2 T "X-A: z\r\n" },
		{ { { 'm', 1, "X-A", "" } }, R F S A2 T },
		{ { { 'm', 1, "X-A", "" }, { 'm', 1, "X-A", "" } }, R F S T },
		{ { { 'm', 3, "X-A", "" } }, R F S A1 A2 T },
		{ { { 'm', 1, "Received", "gone" } }, R F S A1 A2 T "Received: gone\r\n" },
		{ { { 'm', 1, "Received", "" } }, R F S A1 A2 T },
		/* our own is not counted, wherever it stands by now */
		{ { { 'i', 0, "X-B", "new" }, { 'm', 1, "Received", "" } }, "X-B: new\r\n" R F S A1 A2 T },
		{ { { 'i', 0, "X-B", "new" }, { 'm', 1, "X-B", "" } }, R F S A1 A2 T },
		{ { { 'i', 0, "Received", "new" }, { 'm', 1, "Received", "z" } }, "Received: z\r\n" R F S A1 A2 T },
		{ { { 'i', 1, "X-B", "new" }, { 'm', 1, "X-B", "z" } }, R "X-B: z\r\n" F S A1 A2 T },
		{ { { 'h', 0, "X-B", "one\n\ttwo\r\n three\nfour\n\nBcc: x\001" } }, R F S A1 A2 T "X-B: one\r\n\ttwo\r\n three\r\n\tfour\r\n\tBcc: x?\r\n" },
		{ { { 'h', 0, "X-B", "one\rtwo" } }, R F S A1 A2 T "X-B: one?two\r\n" },
		{ { { 'h', 0, "X-B", "" } }, R F S A1 A2 T "X-B: \r\n" },
	};
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct fake f;
		struct play p;
		fake_open(&f);
		f.steps = SMFIP_NR_HDR;
		f.no_reply['L'] = true;
		struct buf *b = fake_rule(&f, 'E', 0, DO_REPLY);
		for (size_t k = 0; k < 3 && rows[i].edit[k].cmd != 0; k++)
			put_indexed(b, rows[i].edit[k].cmd, rows[i].edit[k].index, rows[i].edit[k].name, rows[i].edit[k].value);
		mw_simple(b, 'c');
		struct milter_set *set = set_for(&f, "default_action=tempfail");
		play_one(&p, set);
		assert_span(buf_span(&p.said), ALL_OK);
		char want[1000];
		snprintf(want, sizeof want, "%s\r\n" PLAY_BODY, rows[i].want);
		if (!span_eq_str(buf_span(&p.out), want))
			print_error("row %zu\n", i);
		assert_span(buf_span(&p.out), want);
		play_fini(&p);
		milter_set_free(&set);
		fake_close(&f);
	}
}

/* Changes that are wrong: the milter's fault, and the message stays as it was before its turn. */
static void
test_bad_edits(void **state)
{
	(void)state;
	static const struct {
		unsigned char cmd;
		uint32_t actions;
		const char *data;
		size_t n;
		const char *want;
	} rows[] = {
#define BAD(cmd, data) { cmd, SMFI_CURR_ACTS, data, sizeof(data) - 1, "tempfail" }
		BAD('m', "\0\0\0\1"), BAD('m', "\0\0\0\1X-A"), BAD('m', "\0\0\0\1X-A\0z"), BAD('m', "\0\0\0\1X-A\0z\0y"), BAD('m', ""), BAD('h', "X\0"),
		BAD('h', "X\0y"), BAD('+', "x@y"), BAD('+', ""), BAD('+', "x\0y\0"), BAD('2', "x\0y"), BAD('2', "x\0y\0z\0"), BAD('-', "x"), BAD('e', "x"),
		BAD('e', "x\0y\0z\0"), BAD('l', "\0\0\0\1x\0"),
		{ 'm', SMFI_CURR_ACTS, "\0\0\0\1\0z\0", 7, "conf" }, { 'm', SMFI_CURR_ACTS, "\xff\xff\xff\xffX\0z\0", 8, "conf" },
		{ 'i', SMFI_CURR_ACTS, "\xff\xff\xff\xffX\0z\0", 8, "conf" }, { 'h', SMFI_CURR_ACTS, "X Y\0z\0", 6, "conf" },
		{ 'h', SMFI_CURR_ACTS, "X:\0z\0", 5, "conf" }, { 'h', SMFI_CURR_ACTS, "X\r\nY\0z\0", 7, "conf" },
		{ 'h', SMFIF_CHGHDRS, "X\0y\0", 4, "tempfail" }, { 'i', SMFIF_CHGHDRS, "\0\0\0\0X\0y\0", 8, "tempfail" },
		{ 'm', SMFIF_ADDHDRS, "\0\0\0\1X\0y\0", 8, "tempfail" }, { '+', SMFIF_ADDHDRS, "x\0", 2, "tempfail" },
		{ '2', SMFIF_ADDRCPT, "x\0", 2, "tempfail" }, { '-', SMFIF_ADDRCPT, "x\0", 2, "tempfail" }, { 'e', SMFIF_ADDRCPT, "x\0", 2, "tempfail" },
		{ 'b', SMFIF_ADDHDRS, "x", 1, "tempfail" }, { 'q', SMFIF_ADDHDRS, "x\0", 2, "tempfail" },
	};
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct fake f;
		struct play p;
		fake_open(&f);
		f.actions = rows[i].actions;
		struct buf *b = fake_rule(&f, 'E', 0, DO_REPLY);
		if (rows[i].actions == SMFI_CURR_ACTS) {
			put_indexed(b, 'h', 0, "X-Before", "staged");
			fake_packet(b, 'b', "staged\n", 7);
			fake_packet(b, '+', "staged@x\0", 9);
		}
		fake_packet(b, rows[i].cmd, rows[i].data, rows[i].n);
		mw_simple(b, 'c');
		struct milter_set *set = set_for(&f, "default_action=tempfail");
		play_one(&p, set);
		char want[300];
		snprintf(want, sizeof want, "connect=ok helo=ok mail=ok rcpt=ok rcpt=ok data=ok end=%s",
		    strcmp(rows[i].want, "conf") == 0 ? "451 4.3.5 Server configuration problem - try again later" : LATER);
		if (!span_eq_str(buf_span(&p.said), want))
			print_error("row %zu\n", i);
		assert_span(buf_span(&p.said), want);
		assert_span(buf_span(&p.out), PLAY_HEADER "\r\n" PLAY_BODY);
		assert_span(buf_span(&p.edits), "");
		play_fini(&p);
		milter_set_free(&set);
		fake_close(&f);
	}
}

static void
test_envelope(void **state)
{
	(void)state;
	struct fake f;
	struct play p;
	fake_open(&f);
	struct buf *b = fake_rule(&f, 'E', 0, DO_REPLY);
	fake_packet(b, '+', "<x@y.example>", 14);
	fake_packet(b, '2', "<z@y.example>\0NOTIFY=NEVER", 27);
	fake_packet(b, '2', "plain@y.example", 16);
	fake_packet(b, '-', "<c@d.example>", 14);
	fake_packet(b, 'e', "<>\0RET=HDRS", 12);
	fake_packet(b, 'p', "", 0);
	fake_packet(b, 'q', "looks\r\nbad\x1b[0m", 15);
	mw_simple(b, 'c');
	struct milter_set *set = set_for(&f, "default_action=tempfail");
	play_one(&p, set);
	assert_span(buf_span(&p.said), ALL_OK);
	assert_span(buf_span(&p.edits), "from=|RET=HDRS\n+x@y.example\n+z@y.example|NOTIFY=NEVER\n+plain@y.example\n-c@d.example\nquarantine=looks??bad?[0m\n");
	play_fini(&p);
	milter_set_free(&set);
	fake_close(&f);
}

static void
test_body(void **state)
{
	(void)state;
	static const struct {
		const char *piece[3], *want;
	} rows[] = {
		{ { "one\r\ntwo\r\n" }, "one\r\ntwo\r\n" },
		{ { "one\ntwo" }, "one\r\ntwo\r\n" },
		{ { "one\r", "\ntwo\r\n" }, "one\r\ntwo\r\n" },
		{ { "one\r", "two\r\n" }, "one two\r\n" },
		{ { "a\r\n.\r\n", ".", "\nb\r" }, "a\r\n.\r\n.\r\nb\r\n" },
		{ { "\r\r\n" }, " \r\n" },
		{ { "\n\n" }, "\r\n\r\n" },
		{ { "" }, "" },
	};
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct fake f;
		struct play p;
		fake_open(&f);
		struct buf *b = fake_rule(&f, 'E', 0, DO_REPLY);
		for (size_t k = 0; k < 3 && rows[i].piece[k] != NULL; k++)
			fake_packet(b, 'b', rows[i].piece[k], strlen(rows[i].piece[k]));
		mw_simple(b, 'a');
		struct milter_set *set = set_for(&f, "default_action=tempfail");
		play_one(&p, set);
		assert_span(buf_span(&p.said), ALL_OK);
		char want[500];
		snprintf(want, sizeof want, PLAY_HEADER "\r\n%s", rows[i].want);
		if (!span_eq_str(buf_span(&p.out), want))
			print_error("row %zu\n", i);
		assert_span(buf_span(&p.out), want);
		play_fini(&p);
		milter_set_free(&set);
		fake_close(&f);
	}
}

/* Three milters: the first refuses a recipient, the second sees what the first changed, the third what both did. */
static void
test_chain(void **state)
{
	(void)state;
	struct fake f[3];
	struct play p;
	char text[300];
	for (int i = 0; i < 3; i++) {
		fake_open(&f[i]);
		f[i].steps = SMFIP_NR_HDR;
		f[i].no_reply['L'] = true;
	}
	f[2].actions = 0;
	fake_packet(fake_rule(&f[0], 'R', 2, DO_REPLY), 'r', "", 0);
	struct buf *b = fake_rule(&f[0], 'E', 0, DO_REPLY);
	put_indexed(b, 'h', 0, "X-First", "1");
	put_indexed(b, 'm', 1, "Subject", "other");
	mw_simple(b, 'c');
	b = fake_rule(&f[1], 'E', 0, DO_REPLY);
	fake_packet(b, 'b', "new\n", 4);
	put_indexed(b, 'i', 0, "X-Second", "2");
	mw_simple(b, 'c');
	snprintf(text, sizeof text, "inet:127.0.0.1:%u, inet:127.0.0.1:%u inet:127.0.0.1:%u", f[0].port, f[1].port, f[2].port);
	struct milter_set *set = set_of(milter_conf, text);
	play_one(&p, set);
	assert_span(buf_span(&p.said), "connect=ok helo=ok mail=ok rcpt=ok rcpt=550 5.7.1 Command rejected data=ok end=ok");
	assert_int_equal(f[0].seen['R'], 2);
	assert_int_equal(f[1].seen['R'], 1);
	assert_non_null(strstr(buf_cstr(&f[1].log), "L From=[a@b.example]\nL Subject=[other]\nL X-A=[1]\nL X-A=[2]\nL To=[c@d.example]\nL X-First=[1]\nD N"));
	assert_span(buf_span(&f[1].body), PLAY_BODY);
	assert_non_null(strstr(buf_cstr(&f[2].log), "L X-Second=[2]\nL From"));
	assert_null(strstr(buf_cstr(&f[2].log), "Received"));
	assert_span(buf_span(&f[2].body), "new\r\n");
	assert_span(buf_span(&p.out), "X-Second: 2\r\n" R F "Subject: other\r\n" A1 A2 T "X-First: 1\r\n\r\nnew\r\n");
	play_fini(&p);
	milter_set_free(&set);
	/* a refusal at the end by the first hides the rest, which hears ABORT */
	for (int i = 0; i < 3; i++) {
		fake_forget(&f[i]);
		f[i].aborts = 0;
	}
	fake_packet(fake_rule(&f[0], 'E', 0, DO_REPLY), 'r', "", 0);
	set = set_of(milter_conf, text);
	play_one(&p, set);
	world_turns(20000);
	assert_int_equal(f[0].aborts, 0);
	for (int i = 1; i < 3; i++) {
		assert_int_equal(f[i].seen['E'], 0);
		assert_int_equal(f[i].aborts, 1);
	}
	play_fini(&p);
	milter_set_free(&set);
	for (int i = 0; i < 3; i++)
		fake_close(&f[i]);
}

/* A body of several pieces streams to two milters that cannot change it, while it arrives. */
static void
test_stream(void **state)
{
	(void)state;
	enum { N = 700 * 1000 };
	char *body = mem_alloc(N);
	for (size_t i = 0; i < N; i++)
		body[i] = i % 78 == 76 ? '\r' : i % 78 == 77 ? '\n' : (char)('a' + i / 78 % 26);
	for (int nr = 0; nr < 2; nr++) {
		struct fake f[3];
		struct play p;
		char text[300];
		for (int i = 0; i < 3; i++) {
			fake_open(&f[i]);
			f[i].actions = i == 2 ? SMFIF_CHGBODY : SMFIF_ADDRCPT;
			f[i].steps = nr ? SMFIP_NR_BODY | SMFIP_NR_EOH | SMFIP_NR_HDR : 0;
			f[i].no_reply['B'] = f[i].no_reply['N'] = f[i].no_reply['L'] = nr;
		}
		if (!nr)
			fake_packet(fake_rule(&f[1], 'B', 2, DO_REPLY), 's', "", 0);
		snprintf(text, sizeof text, "inet:127.0.0.1:%u, inet:127.0.0.1:%u inet:127.0.0.1:%u", f[0].port, f[1].port, f[2].port);
		struct milter_set *set = set_of(milter_conf, text);
		play_begin(&p, set);
		p.body = body;
		p.body_len = N;
		p.messages = 2;
		play_go(&p);
		play_wait();
		assert_non_null(strstr(buf_cstr(&p.said), ALL_OK " mail=ok rcpt=ok rcpt=ok data=ok end=ok"));
		assert_int_equal(buf_len(&f[0].body), 2 * N);
		assert_memory_equal(buf_span(&f[0].body).p, body, N);
		assert_memory_equal(buf_span(&f[0].body).p + N, body, N);
		assert_int_equal(f[0].seen['B'], 2 * (N / MW_CHUNK + 1));
		assert_int_equal(buf_len(&f[1].body), nr ? 2 * N : 2 * MW_CHUNK + N);
		assert_int_equal(buf_len(&f[2].body), 2 * N);
		play_fini(&p);
		milter_set_free(&set);
		for (int i = 0; i < 3; i++)
			fake_close(&f[i]);
	}
	mem_free(&body);
}

/* A replaced body that outgrows memory goes into a file, and the next milter reads it from there. */
static void
test_spill(void **state)
{
	(void)state;
	enum { PIECES = 60 };
	char piece[60000];
	memset(piece, 'x', sizeof piece);
	for (size_t i = 99; i < sizeof piece; i += 100)
		piece[i] = '\n';
	size_t lines = sizeof piece / 100 * PIECES;
	for (int turn = 0; turn < 3; turn++) { /* taken; there is no file; too big */
		struct fake f[2];
		struct play p;
		char text[200];
		fake_open(&f[0]);
		fake_open(&f[1]);
		struct buf *b = fake_rule(&f[0], 'E', 0, DO_REPLY);
		for (int i = 0; i < PIECES; i++)
			fake_packet(b, 'b', piece, sizeof piece);
		mw_simple(b, 'c');
		snprintf(text, sizeof text, "inet:127.0.0.1:%u, inet:127.0.0.1:%u", f[0].port, f[1].port);
		struct milter_set *set = set_of(milter_conf, text);
		if (turn == 2)
			set->size_limit = 2 * 1000 * 1000;
		play_begin(&p, set);
		p.refuse_file = turn == 1;
		play_go(&p);
		play_wait();
		if (turn == 0) {
			assert_span(buf_span(&p.said), ALL_OK);
			size_t len = lines * 101;
			assert_int_equal(buf_len(&f[1].body), len);
			assert_int_equal(buf_len(&p.out), strlen(PLAY_HEADER) + 2 + len);
			assert_memory_equal(buf_span(&p.out).p + strlen(PLAY_HEADER) + 2, buf_span(&f[1].body).p, len);
			assert_true(p.file >= 0);
		} else {
			assert_non_null(strstr(buf_cstr(&p.said), turn == 1 ? "end=451 4.3.0 Error: queue file write error" : "end=552 5.3.4 Error: message file too big"));
			assert_int_equal(f[1].seen['E'], 0);
		}
		play_fini(&p);
		milter_set_free(&set);
		fake_close(&f[0]);
		fake_close(&f[1]);
	}
}

/* What is written once for all of them: whoever wants it in another way gets it so, and a header that was changed is written anew. */
static void
test_shared(void **state)
{
	(void)state;
	enum { N = 5 };
	static const uint32_t steps[N] = { 0, SMFIP_HDR_LEADSPC, SMFIP_NR_HDR, SMFIP_HDR_LEADSPC, 0 };
	struct fake f[N];
	struct play p;
	struct buf text;
	buf_init(&text, 1000);
	for (int i = 0; i < N; i++) {
		fake_open(&f[i]);
		f[i].steps = steps[i];
		f[i].no_reply['L'] = (steps[i] & SMFIP_NR_HDR) != 0;
		f[i].actions = i == 2 ? SMFIF_CHGHDRS : 0;
		buf_printf(&text, "inet:127.0.0.1:%u ", f[i].port);
	}
	mw_be32(&f[1].options, MST_RCPT);
	buf_put(&f[1].options, span_of("j", 2));
	struct buf *b = fake_rule(&f[2], 'E', 0, DO_REPLY);
	put_indexed(b, 'm', 1, "Subject", "other");
	mw_simple(b, 'c');
	struct milter_set *set = set_of(milter_conf, buf_cstr(&text));
	play_one(&p, set);
	assert_span(buf_span(&p.said), ALL_OK);
	for (int i = 0; i < N; i++) {
		const char *log = buf_cstr(&f[i].log), *blank = (steps[i] & SMFIP_HDR_LEADSPC) != 0 ? " " : "";
		char want[200];
		snprintf(want, sizeof want, "L From=[%sa@b.example]\nL Subject=[%s]\nL X-A=[%s1]\nL X-A=[%s2]\nL To=[c@d.example]\n", blank,
		    i > 2 ? (*blank != '\0' ? " other" : "other") : *blank != '\0' ? " one\n two" : "one\n two", blank, blank);
		if (strstr(log, want) == NULL)
			fail_msg("milter %d wants %s: %s", i, want, log);
		assert_int_equal(f[i].seen['L'], 5);
		assert_true((strstr(log, "D Rj,mx.example.com,\nR <c@") != NULL) == (i == 1));
		assert_non_null(strstr(log, "D Mi,QID1,{mail_addr},a@b.example,"));
	}
	play_fini(&p);
	milter_set_free(&set);
	buf_fini(&text);
	for (int i = 0; i < N; i++)
		fake_close(&f[i]);
}

/* That a transaction is over: with what is said next, or soon by itself. A milter that answers nothing of an envelope is not late with it. */
static void
test_abort(void **state)
{
	(void)state;
	for (int row = 0; row < 4; row++) {
		struct fake f;
		struct play p;
		bool waits = row % 2 == 1, is_silent = row >= 2;
		fake_open(&f);
		f.steps = is_silent ? SMFIP_NR_MAIL | SMFIP_NR_RCPT : 0;
		f.no_reply['M'] = f.no_reply['R'] = is_silent;
		struct milter_set *set = set_for(&f, "default_action=tempfail");
		play_begin(&p, set);
		p.stops_at = PLAY_RCPT2;
		play_go(&p);
		for (unsigned k = 0; k < 2000 && p.step != PLAY_RCPT2; k++)
			world_turns(1000);
		for (unsigned k = 0; k < 2000 && f.seen['R'] == 0; k++)
			world_turns(1000);
		assert_int_equal(f.seen['R'], 1);
		milter_run_abort(p.run);
		for (unsigned k = 0; waits && k < 2000 && f.aborts == 0; k++)
			world_turns(1000);
		assert_int_equal(f.aborts, waits);
		p.step = PLAY_MAIL;
		p.stops_at = is_silent ? PLAY_RCPT2 : 0;
		play_go(&p);
		if (is_silent) {
			world_turns(150 * 1000);
			p.stops_at = 0;
			play_go(&p);
		}
		play_wait();
		for (unsigned k = 0; k < 2000 && f.quits == 0; k++)
			world_turns(1000);
		assert_span(buf_span(&p.said), "connect=ok helo=ok mail=ok rcpt=ok mail=ok rcpt=ok rcpt=ok data=ok end=ok");
		assert_int_equal(f.aborts, 1);
		const char *abort = strstr(buf_cstr(&f.log), "\nA\n");
		assert_non_null(abort);
		assert_non_null(strstr(abort, "\nM <a@b.example>"));
		assert_int_equal(f.connects, 1);
		play_fini(&p);
		milter_set_free(&set);
		fake_close(&f);
	}
}

/* A milter that asks for its own macros, 10 kB of them, and for a stage that there is not. */
static void
test_symlist(void **state)
{
	(void)state;
	struct fake f;
	struct play p;
	fake_open(&f);
	mw_be32(&f.options, MST_MAIL);
	for (int i = 0; i < 1000; i++)
		buf_printf(&f.options, "{m%05d}, ", i);
	buf_put(&f.options, span_of("j i", 4));
	mw_be32(&f.options, MST_RCPT);
	buf_put(&f.options, span_of("", 1));
	mw_be32(&f.options, 77);
	buf_put(&f.options, span_of("x", 2));
	struct milter_set *set = set_for(&f, "default_action=tempfail");
	play_one(&p, set);
	assert_span(buf_span(&p.said), ALL_OK);
	assert_non_null(strstr(buf_cstr(&f.log), "\nD Mj,mx.example.com,i,QID1,\nM "));
	assert_non_null(strstr(buf_cstr(&f.log), "SIZE=100,\nR <c@"));
	play_fini(&p);
	milter_set_free(&set);
	fake_close(&f);
}

/* What may be wrong with an answer to the offer. */
static void
test_negotiation(void **state)
{
	(void)state;
	static const struct {
		uint32_t version, actions, steps;
		unsigned char cmd;
		const char *options;
		size_t n;
		bool works;
	} rows[] = {
		{ 1, 0xf, 0, 0, "", 0, false }, { 2, 0x3f, 0, 0, "", 0, true }, { 3, 0x3f, 0, 0, "", 0, true }, { 4, 0x3f, 0, 0, "", 0, true },
		{ 6, 0x1ff, 0, 0, "", 0, true }, { 7, 0x1ff, 0, 0, "", 0, false }, { 0xffff, 0x1ff, 0, 0, "", 0, false }, { 0, 0, 0, 0, "", 0, false },
		{ 6, 0x3ff, 0, 0, "", 0, false }, { 6, 0xffffffff, 0, 0, "", 0, false }, { 6, 0, 0x7fe00000, 0, "", 0, true },
		{ 6, 0x1ff, 0, 'c', "", 0, false }, { 6, 0x1ff, 0, 0, "\0\0", 2, false }, { 6, 0x1ff, 0, 0, "\0\0\0\1i", 5, false },
		{ 6, 0x1ff, 0, 0, "\0\0\0\1i\0", 6, true },
	};
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct fake f;
		struct play p;
		fake_open(&f);
		f.version = rows[i].version;
		f.actions = rows[i].actions;
		f.steps = rows[i].steps;
		f.options_cmd = rows[i].cmd;
		buf_put(&f.options, span_of(rows[i].options, rows[i].n));
		struct milter_set *set = set_for(&f, "default_action=tempfail");
		play_one(&p, set);
		if (span_eq_str(buf_span(&p.said), ALL_OK) != rows[i].works)
			fail_msg("row %zu: %s", i, buf_cstr(&p.said));
		if (rows[i].works)
			assert_int_equal(f.seen['T'], rows[i].version >= 4 ? 1 : 0);
		play_fini(&p);
		assert_int_equal(set->def[0].server->nidle, rows[i].works && rows[i].version >= 6 ? 1 : 0);
		milter_set_free(&set);
		world_turns(5000);
		fake_close(&f);
	}
}

/* The configuration's grammar. */
static void
test_grammar(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		bool works;
	} rows[] = {
		{ "inet:127.0.0.1:1", true }, { "unix:/x", true }, { "local:x/y", true }, { "inet:[::1]:25, unix:/y", true }, { "", true }, { "DISABLE", true },
		{ "{ inet:127.0.0.1:1, default_action=accept, connect_timeout = 5s, protocol=2 }", false },
		{ "{ inet:127.0.0.1:1, default_action=accept, { connect_timeout = 5s }, protocol=2 }", true },
		{ "{ inet:127.0.0.1:1, {protocol = 6 no_header_reply} }", true }, { "{ inet:127.0.0.1:1, protocol=5 }", false },
		{ "{ inet:127.0.0.1:1, connection_reuse=yes }", true }, { "{ inet:127.0.0.1:1, connection_reuse=maybe }", false },
		{ "{ inet:127.0.0.1:1, default_action=whatever }", false }, { "{ inet:127.0.0.1:1, x=y }", false }, { "{ }", false }, { "smtp:x", false },
		{ "inet:127.0.0.1:1 }", false }, { "{ inet:127.0.0.1:1, content_timeout=0 }", false }, { "x", false }, { "inet:", false },
	};
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct milter_set *set = NULL;
		struct err e = { 0 };
		enum rc rc = milter_set_parse(milter_conf, NULL, span_str(rows[i].text), &set, &e);
		if ((rc == RC_OK) != rows[i].works)
			fail_msg("row %zu: %s", i, e.why);
		assert_true((set != NULL) == rows[i].works);
		milter_set_free(&set);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_grammar, milter_world_clean), cmocka_unit_test_teardown(test_dialogue, milter_world_clean), cmocka_unit_test_teardown(test_steps, milter_world_clean),
		cmocka_unit_test_teardown(test_replies, milter_world_clean), cmocka_unit_test_teardown(test_accept, milter_world_clean), cmocka_unit_test_teardown(test_put_off, milter_world_clean), cmocka_unit_test_teardown(test_put_off_much, milter_world_clean), cmocka_unit_test_teardown(test_put_off_late, milter_world_clean), cmocka_unit_test_teardown(test_headers, milter_world_clean),
		cmocka_unit_test_teardown(test_bad_edits, milter_world_clean), cmocka_unit_test_teardown(test_envelope, milter_world_clean), cmocka_unit_test_teardown(test_body, milter_world_clean),
		cmocka_unit_test_teardown(test_chain, milter_world_clean), cmocka_unit_test_teardown(test_shared, milter_world_clean), cmocka_unit_test_teardown(test_abort, milter_world_clean), cmocka_unit_test_teardown(test_stream, milter_world_clean), cmocka_unit_test_teardown(test_spill, milter_world_clean),
		cmocka_unit_test_teardown(test_symlist, milter_world_clean), cmocka_unit_test_teardown(test_negotiation, milter_world_clean),
	};
	milter_world_conf = CONF;
	return cmocka_run_group_tests(tests, milter_world_setup, milter_world_teardown);
}
