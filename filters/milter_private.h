/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * milter_private.h - between the files of the milter client: what was configured (milter_conf.c), connections
 * (milter_link.c), a run beside a session (milter_run.c): whose turn it is (milter_turn.c), what a milter is told (milter_say.c), what it
 * answers (milter_reply.c), content (milter_content.c), edits (milter_edit.c).
 */
#ifndef FILTERS_MILTER_PRIVATE_H
#define FILTERS_MILTER_PRIVATE_H

#include "filters/breaker.h"
#include "filters/bundled.h"
#include "filters/milter.h"
#include "filters/milter_wire.h"
#include "ipc/dial.h"
#include "loop/conn.h"
#include "msg/headers.h"

/* Stages that have macros: SETSYMLIST's numbers, and unknown commands. */
enum milter_stage { MST_CONNECT, MST_HELO, MST_MAIL, MST_RCPT, MST_DATA, MST_EOM, MST_EOH, MST_UNKNOWN, MST_COUNT };

enum milter_action { MACT_ACCEPT, MACT_REJECT, MACT_TEMPFAIL, MACT_QUARANTINE, MACT_SHUTDOWN };

struct milter_names {
	size_t n;
	struct span *name;
};

/* One milter of a list. */
struct milter_def {
	char *name;                  /* as written: "inet:127.0.0.1:8891" */
	struct milter_server *server;
	uint64_t connect_timeout, command_timeout, content_timeout;
	enum milter_action action;
	bool is_bundled;
	enum bundled bundled;
	const char *fault_reason;    /* of a quarantine by default action */
	const char *fault_header;    /* added when the message passes without it; lines of that name go */
};

struct milter_set {
	size_t n;
	struct milter_def *def;
	char *macro_text[MST_COUNT]; /* what macros points into */
	struct milter_names macros[MST_COUNT];
	char *default_text;          /* milter_macro_defaults, "name=value" items */
	struct milter_names default_name, default_value;
	uint64_t deadline;           /* over the whole chain, usec */
	uint64_t size_limit;         /* octets of a message; 0: none */
	size_t runs;
};

void milter_names_parse(struct milter_names *out, struct span text); /* names point into text */
void milter_names_fini(struct milter_names *l);

/* ---- what a milter is told of ---- */

enum milter_event {
	MEV_NONE, MEV_CONNECT, MEV_HELO, MEV_MAIL, MEV_RCPT, MEV_RCPT_REFUSED, MEV_DATA, MEV_UNKNOWN, MEV_END, MEV_COUNT
};

/* ---- milter_link.c: one server, its connections and its breaker, shared by all that name it ---- */

struct milter_server {
	struct list link;
	unsigned refs;
	char *name;
	struct endpoint *endpoint;
	uint32_t version, steps;     /* what we offer */
	bool keeps;                  /* milter_connection_reuse */
	uint64_t idle_time, connect_timeout;
	size_t idle_max;
	struct list idle;
	size_t nidle, nlinks;
	struct breaker breaker;
	struct timer prober;
	struct milter_link *probe;
	bool one_by_one;             /* it decides in the middle of content: nothing is sent ahead of its replies any more */
	unsigned calm[MEV_COUNT];    /* times in a row that it let this event pass */
	unsigned lost_idle;          /* kept connections that the milter closed before they were of use, in a row */
	bool has_kept;               /* one was of use */
	bool has_warned;             /* of strange options */
	uint64_t sessions, messages, faults;
};

struct milter_link_user {
	/* From the loop, never from inside milter_link_get(). After failed() the link is gone. */
	void (*ready)(struct milter_link_user *);
	/* False: stop reading, the link is gone or not the user's any more. */
	bool (*frame)(struct milter_link_user *, unsigned char cmd, struct span data);
	/* why is whole for the log; is_stale: a kept connection that had been closed, nothing was heard on it */
	void (*failed)(struct milter_link_user *, const char *why, bool is_stale);
	void (*drained)(struct milter_link_user *);
};

enum milter_link_state { MLINK_DIAL, MLINK_OPTIONS, MLINK_READY, MLINK_IDLE };

/* Where a milter stands between two sessions. libmilter takes SMFIC_QUIT_NC behind the end of a message that it let go on, and nowhere else:
 * behind an accepted or refused one, an ABORT or a mere HELO it drops it without a word, and then never answers the next CONNECT. */
enum milter_stand {
	MSTAND_MIDDLE,               /* something was said: the connection serves nobody else */
	MSTAND_START,                /* nothing was said to it */
	MSTAND_END,                  /* the last it said was "continue" to the end of a message */
};

struct milter_link {
	unsigned magic;
	enum milter_link_state state;
	struct milter_server *server;
	struct milter_link_user *user;
	struct list link;            /* idle */
	struct op_owner ops;
	struct dial dial;
	struct conn conn;
	uint64_t connect_timeout;
	uint32_t version, actions, steps;
	struct buf symtext;
	struct milter_names symlist[MW_STAGES];
	bool has_symlist[MW_STAGES];
	enum milter_stand stand;
	bool is_kept;                /* came from the idle ones */
	bool is_between;             /* of a bundled filter, which may be replaced: it has said nothing since its last message ended, or at all */
	bool owes_quit;              /* SMFIC_QUIT_NC goes with what the next session says, or a little later */
	bool owes_abort;             /* SMFIC_ABORT, likewise */
	bool wants_more;             /* some of the replies that are awaited have come */
	bool has_heard;              /* a packet came since it was taken */
	unsigned char waits_for;     /* command whose reply is awaited, for the log; 0: none */
	struct grave grave;
};

struct milter_server *milter_server_get(struct milter_server *same); /* takes what is given: an old one that is the same, or this */
void milter_server_unref(struct milter_server **sp);
/* May it be asked? false: its breaker is open. */
bool milter_server_try(struct milter_server *s);
void milter_server_failed(struct milter_server *s, unsigned stage, const char *why);
void milter_server_worked(struct milter_server *s, unsigned stage);

/* A kept connection, or one between two messages, on which nothing was heard since: the milter may have gone before it read a word. */
bool milter_link_is_unheard(const struct milter_link *l);
struct milter_link *milter_link_get(struct milter_server *s, struct milter_link_user *user, uint64_t connect_timeout, bool fresh);
/* What is said goes here. */
struct buf *milter_link_out(struct milter_link *l);
/* The transaction is over without its end, and nothing is awaited: told with what is said next, or a little later. */
void milter_link_abort(struct milter_link *l);
/* is_clean: nothing is awaited on it; kept if the milter can do that. */
void milter_link_put(struct milter_link **lp, bool is_clean);
/* The user found an error himself: nothing more is said. */
void milter_link_drop(struct milter_link **lp);

/* How far a milter came: for the breaker. */
enum { MFAR_DIAL, MFAR_OPTIONS, MFAR_CONNECT, MFAR_ENVELOPE, MFAR_CONTENT, MFAR_END };

/* ---- a run ---- */

enum { MILTER_RUN_MAGIC = 0x3117e400 };

enum milter_slot_state {
	MSLOT_ENVELOPE,              /* wants to hear events */
	MSLOT_ACCEPT_MSG,            /* until the transaction ends */
	MSLOT_ACCEPT_CON,            /* until the session ends */
	MSLOT_REJECT_CON,            /* its refusal stays */
	MSLOT_ERROR,                 /* its default action speaks */
};

enum milter_content { MCON_NONE, MCON_HEADER, MCON_EOH, MCON_BODY, MCON_END, MCON_EDITS, MCON_DONE };

/* A header or body as it stands after some of the milters. */
struct milter_body {
	bool is_replaced;
	struct buf mem;              /* when fd < 0 */
	int fd;                      /* borrowed; -1 */
	uint64_t at, len;            /* in fd */
};

/* Packets that several milters are told in the same octets: written for the first of them. */
struct milter_shared {
	bool is_made;
	struct buf octets;
};

static inline void
milter_shared_forget(struct milter_shared *m)
{
	m->is_made = false;
	buf_fini(&m->octets);
}

/* Replies that may be awaited behind the next one. Headers, their end and the end of the message nearly always fit: a message is one write and
 * one read, not one for each line of its header. */
enum {
	EVENT_MAX = 256 * 1024,      /* octets of an event, or of its macros */
	MILTER_AHEAD = 96,
	MILTER_HELD = 32,            /* replies that may be awaited for what is held back */
};

struct milter_slot {
	struct milter_link_user user;
	struct milter_run *run;
	struct milter_def *def;
	struct milter_link *link;
	enum milter_slot_state state;
	unsigned char waits_for;     /* command whose reply is awaited; 0: none */
	unsigned char behind[MILTER_AHEAD]; /* those sent behind it, in order: content is sent ahead of its replies */
	unsigned nbehind;
	unsigned char skipped;       /* SMFIR_SKIP: no more of these */
	enum milter_event asked;     /* what was said last */
	bool has_options;            /* negotiation is over, on this link */
	bool wants_fresh;            /* a kept connection turned out to be closed */
	bool is_bypassed;            /* not asked: its breaker is open */
	bool is_conf_error;          /* MSLOT_ERROR: Postfix has another reply for those */
	bool said_connect, said_helo, said_mail; /* on this link */
	bool owes_data;              /* DATA was put off: it goes with the content */
	unsigned said_rcpts;         /* on this link, since MAIL */
	bool in_transaction;         /* MAIL or later was said, ABORT is due */
	/* its refusal, when state is MSLOT_REJECT_CON, or of its content */
	enum milter_kind kind;
	unsigned code;
	bool close, is_final;
	struct buf reply;
	/* What leaves in front of the next thing that is said: macros of what it did not want to hear, and the envelope when it is calm.
	 * Its first part is about the session and outlives a transaction. */
	struct buf held;
	unsigned char held_for[MILTER_HELD]; /* commands in it whose replies will be awaited */
	unsigned nheld, held_rcpts;
	uint32_t held_steps;         /* as they were agreed on */
	struct { size_t len; unsigned n; } held_session;
	bool holds;                  /* what is said is held back */
	struct buf unheard;          /* what was held, and went to a kept connection on which nothing was heard yet: it may have to go to another */
	unsigned nunheard;
	/* content */
	enum milter_content content;
	size_t header_at;
	uint64_t body_at;
	bool streams;                /* may be sent while the message arrives */
};

struct milter_run {
	unsigned magic;
	struct milter_set *set;
	const struct milter_run_ops *ops;
	void *owner;
	struct op op;
	struct timer deadline;
	uint64_t waited, wait_began; /* of the transaction, in milters */
	bool is_late;                /* milter_message_deadline has passed: nobody is asked any more */
	enum milter_event event;
	size_t at;                   /* the milter whose turn it is */
	bool is_waiting;             /* the op is pending */
	struct milter_verdict verdict;
	struct buf verdict_text;
	struct milter_shared macros[MST_COUNT]; /* while an event lasts; not those that a milter chose itself */
	/* said before, for a connection that has to begin anew */
	bool has_connect, has_helo, in_mail;
	struct buf connect_data, helo_data, mail_data, event_data;
	/* the message */
	bool has_message, is_unreadable;
	struct milter_source src;
	struct arena arena;
	struct headers headers;      /* as it stands */
	struct milter_shared header_frames; /* all that milters see of it */
	uint32_t header_steps;       /* SMFIP_HDR_LEADSPC: how it was written */
	unsigned nheader_frames;
	const unsigned char *own;    /* where our own Received header stands: no milter sees it or counts it among its like; NULL: none */
	struct milter_body body;
	struct milter_edits edits;
	struct buf header_out;       /* edits.header */
	struct buf early_reason;     /* of a quarantine before the end of the message */
	struct milter_rcpt *rcpts;
	size_t nrcpts, rcpts_cap;
	/* what the milter whose turn it is has said so far, applied when it agrees to the message */
	struct {
		bool is_open, header_changed, body_begun, body_closed, sender_changed, quarantine, keep_original;
		struct headers headers;
		struct milter_body body;
		struct mw_lines lines;
		struct span sender, sender_args, reason, keep_reason;
		const char *sender_milter;
		const char *keep_milter;
		const char *milter;
		size_t nrcpts;           /* those before */
	} staged;
	int spill_fd;
	uint64_t spill_end;
	bool wants_file, has_file_failed;
	size_t nslots;
	struct milter_slot slots[];
};

/* milter_say.c: what one milter is told, and what is awaited from it */
static inline bool
milter_is_of_session(unsigned char cmd)
{
	return cmd == SMFIC_CONNECT || cmd == SMFIC_HELO;
}

static inline bool
milter_is_content(unsigned char cmd)
{
	return cmd == SMFIC_HEADER || cmd == SMFIC_EOH || cmd == SMFIC_BODY;
}

const char *milter_event_name(enum milter_event ev);
struct buf *milter_slot_out(struct milter_slot *s);
void milter_slot_macros(struct milter_slot *s, enum milter_stage st, unsigned char cmd);
/* An event with its macros, in one write with what was said before. true: its reply is awaited. */
bool milter_slot_say(struct milter_slot *s, enum milter_event ev, struct span data);
/* DATA, when it was put off. */
void milter_slot_pay_data(struct milter_slot *s);
/* Its reply is awaited, behind those that are awaited already. */
void milter_slot_await(struct milter_slot *s, unsigned char cmd, bool is_content);
bool milter_slot_awaits(const struct milter_slot *s, unsigned char cmd);
void milter_slot_answered(struct milter_slot *s);   /* the first of those awaited */
void milter_slot_forget(struct milter_slot *s);     /* nothing more is awaited on this connection, and what was held is not said */
void milter_slot_unhold(struct milter_slot *s);     /* what is held about a transaction is not said */
void milter_slot_heard(struct milter_slot *s);      /* a packet came */
/* A message is over: what it says next, or that it is gone, is about the next one. */
void milter_slot_between(struct milter_slot *s);
/* A kept connection turned out to be closed before anything was heard on it. true: what it may have to hear again is held. */
bool milter_slot_hold_again(struct milter_slot *s);
/* What is held goes to another connection, which begins with the session. */
void milter_slot_session_first(struct milter_slot *s);
/* More may be sent although replies are outstanding. */
bool milter_slot_sends_ahead(const struct milter_slot *s);
/* A milter that never had an objection to connections, HELO, MAIL, RCPT or DATA hears of them together with what comes next, at last with the
 * message: one write. If it has one after all, that is what is refused, and from then on it is asked at once again. */
bool milter_puts_off(const struct milter_slot *s, enum milter_event ev);
void milter_calm_more(struct milter_slot *s, unsigned char cmd);    /* it let such a thing pass once more */
void milter_calm_lost(struct milter_slot *s, unsigned char cmd);

/* milter_turn.c: whose turn it is. The turn of a milter whose turn it is not is not touched. */
void milter_turn_init(struct milter_run *r);
/* true: wait, the op is pending. */
bool milter_turn_begin(struct milter_run *r, enum milter_event ev);
void milter_turn_dial(struct milter_slot *s, enum milter_event ev); /* ahead of its turn, when it will be told of ev at once */
bool milter_turn_is_its(const struct milter_slot *s);  /* an event is about it, now */
void milter_turn_pass(struct milter_slot *s);       /* it lets the event pass */
void milter_turn_said(struct milter_slot *s);       /* its own verdict */
void milter_turn_fault(struct milter_slot *s);      /* its default action */
void milter_turn_again(struct milter_slot *s);      /* it is asked on */

/* milter_reply.c: what a milter answers, and what becomes of it when it does not */
extern const struct milter_link_user milter_slot_user;
/* why: without the milter's name. is_conf: the milter or its configuration is wrong, not the connection. */
void milter_slot_fault(struct milter_slot *s, const char *why, bool is_conf);
void milter_slot_give_up(struct milter_slot *s, bool is_conf); /* out of use for this session: nothing is said about it */
/* The milter is not to blame, the message cannot be had: "not now", when its turn comes. */
void milter_slot_unreadable(struct milter_slot *s);
void milter_slot_pump(struct milter_slot *s);       /* its content, as far as it may be sent */
void milter_slot_go_on(struct milter_slot *s);      /* the file for a body is there, or will not be */

/* milter_content.c */
void milter_content_begin(struct milter_run *r);
/* Sends what may be sent. false: the message cannot be read; milter_slot_unreadable() was called. */
bool milter_content_pump(struct milter_slot *s);
/* A message that is not whole yet is told of from some octets on: a small one is one write, with its end. */
bool milter_content_is_worth_it(const struct milter_slot *s);
void milter_content_restart(struct milter_slot *s); /* on a new connection */
void milter_content_end(struct milter_run *r);      /* forget the message */

/* milter_edit.c: a packet of the milter whose turn it is, at the end of the message */
enum milter_edit_result {
	MEDIT_OK,
	MEDIT_NOT_ONE,               /* no change at all, or one that was not negotiated */
	MEDIT_BAD,                   /* e says why; RC_PERM: what Postfix calls a configuration error */
	MEDIT_WAIT,                  /* taken, and no more before there is a file */
	MEDIT_TOO_BIG,               /* the message is over message_size_limit */
};
enum milter_edit_result milter_edit_take(struct milter_slot *s, unsigned char cmd, struct span data, struct err *e);
/* The milter agreed: the body is whole. RC_TEMP: it cannot be written. */
enum rc milter_edit_close(struct milter_slot *s, struct err *e) MUST_CHECK;
/* The default action lets the message pass, and it is to be seen on it. */
void milter_edit_tag(struct milter_slot *s, const char *line);
void milter_edit_quarantine_now(struct milter_slot *s, struct span data);
void milter_edit_commit(struct milter_run *r);      /* the milter agreed */
void milter_edit_forget(struct milter_run *r);
void milter_edits_finish(struct milter_run *r);     /* run->edits as the owner sees them */
void milter_edits_end(struct milter_run *r);

#endif
