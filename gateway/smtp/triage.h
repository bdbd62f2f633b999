/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * triage.h - postscreen's work, inside the session: is this a mail server, before it gets one? Facts 4.2.
 *
 * A session of a listener that is tested has a struct triage from its first octet until its greeting, or until the deep tests
 * are done, and no longer; the pause before the greeting is the deadline of its connection. What the client sees:
 *
 *   triage.c         limits, access list, memory, and where it goes from there
 *   triage_pause.c   the tests before the greeting: does it talk, what do the lists say
 *   triage_deep.c    tests of its commands: in the engine, or in the real session of a client that is good so far
 *   triage_engine.c  the engine for those that are not: it listens, refuses every recipient and costs nothing
 *   triage_known.c   who has passed already: a small memory of the process before the queue's (queue/passes.h)
 *
 * A client that passes goes on in the same connection (connect_steps). Runs in: edge.
 */
#ifndef SMTP_TRIAGE_H
#define SMTP_TRIAGE_H

#include "base/log.h"
#include "ipc/ipc.h"
#include "ipc/msgs.h"
#include "loop/conn.h"
#include "smtp/limits.h"
#include "smtp/line.h"
#include "smtp/reply.h"
#include "smtp/triage_conf.h"

_Static_assert((int)TRIAGE_TESTS == (int)TEST_COUNT, "a row of the memory has a time for each test");

struct sess;

/* ---- for the session; all of these do nothing to one that is not tested ---- */

void triage_begin(struct sess *s);
/* What came before the greeting; it stays where it is. true: the session has gone on. */
bool triage_input(struct sess *s, struct span in);
/* The connection ended, or its deadline passed. true: that was triage's. */
bool triage_ended(struct sess *s, enum conn_end why);
/* A command line; rest: what came behind it. true: it has been dealt with. */
bool triage_command(struct sess *s, const struct line_cmd *line, struct span rest);
bool triage_line_too_long(struct sess *s);
/* How long a command may take; usual: otherwise. usec. */
uint64_t triage_patience(const struct sess *s, uint64_t usual);
/* Refusals are its, and have its footer. */
bool triage_speaks(const struct sess *s);
/* EHLO keywords not to be announced as yet, as bits. */
unsigned triage_hides(const struct sess *s);
/* The real greeting has been said. */
void triage_greeted(struct sess *s);
/* The session ends, or says its last words. */
void triage_end(struct sess *s);

/* ---- inside ---- */

enum triage_stage {
	TRIAGE_OPENING,                  /* steps run: limits, list, memory */
	TRIAGE_EARLY,                    /* the pause */
	TRIAGE_SERVED,                   /* smtpd has it; commands may still be tested */
	TRIAGE_ENGINE,
};

enum { FAIL_DENYLIST = 1u << 5, FAIL_VETO = 1u << 6, FAIL_UNASKED = 1u << 7 };
enum { WHO_TEXT = 64, NEVER = 0, DISABLED = 1 /* of until[], as in Postfix's cache */ };

struct triage {
	struct sess *s;
	const struct triage_conf *conf;
	struct log_ctx log;
	enum triage_stage stage;
	uint8_t todo, pass, fail, done, skip; /* 1 << enum triage_test, fail also FAIL_x */
	bool is_new;                     /* there is a test it never passed */
	bool is_known_here;              /* the memory of this process knew it */
	bool is_over;                    /* its last line has been written */
	bool has_score, has_call;
	uint16_t commands;               /* of the engine */
	unsigned hidden;                 /* keywords the engine hides from this client */
	enum reply_id reply;             /* to recipients */
	struct ipaddr addr;              /* who is tested: XCLIENT may give the session another */
	uint64_t began;                  /* loop time */
	uint64_t until[TEST_COUNT];      /* as msg_triage */
	struct limits_ref same, tested, waiting; /* of its address; before the greeting; passed and not greeted */
	struct rbl_score score;
	struct ipc_call call;
	struct buf sender;               /* engine: of MAIL */
	bool has_sender;
	char word[32];                   /* the last of "PASS NEW" and the like */
	unsigned char who_n;
	char who[WHO_TEXT];              /* "[address]:port" */
};

static inline struct span
triage_who(const struct triage *t)
{
	return span_of(t->who, t->who_n);
}

void triage_say(struct triage *t, const char *word);          /* "PASS NEW [address]:port" */
/* Ends the session with this reply; code: 0 or 521. */
void triage_drop(struct triage *t, enum reply_id id, unsigned code);
/* What was found counts: is it good, and who remembers it? Once. */
void triage_conclude(struct triage *t);
/* The action of a test that failed. false: the session is over. */
bool triage_act(struct triage *t, enum triage_action a, enum triage_test test, enum reply_id drop, enum reply_id enforce);
uint64_t triage_now(void);                                     /* wall clock, seconds */

/* It gets a mail server; deep tests go along. */
void triage_serve(struct triage *t);
/* The pause is over, for the connection: what comes now are commands. */
void triage_takes_commands(struct sess *s);

/* The pause, until its time or triage_pause_over(): from the loop, with no step under way. */
void triage_pause_begin(struct triage *t);
void triage_pause_over(struct triage *t);
void triage_on_score(struct op *op);
void triage_put_elapsed(struct triage *t, struct buf *b);      /* since it connected */

/* Looks at a command as the deep tests do. false: the session is over. */
bool triage_deep_look(struct triage *t, const struct line_cmd *line, struct span rest);
/* In the real session: what the command proves. */
void triage_deep_reached(struct triage *t, struct span word);

/* From now on it only listens. greet: the greeting was not said yet. */
void triage_engine_begin(struct triage *t, bool greet);
void triage_engine_command(struct triage *t, struct span text);

/* The memory of this process. */
bool triage_known_find(const struct ipaddr *addr, uint64_t until[TEST_COUNT]);
void triage_known_keep(const struct ipaddr *addr, const uint64_t until[TEST_COUNT]);

#endif
