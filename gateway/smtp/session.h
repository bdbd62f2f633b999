/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * session.h - one SMTP client: the connection, the command at hand, the transaction.
 *
 * Commands are rows of commands.def; each is a table of named steps. A step that waits starts exactly one op
 * and the session goes on at the next row when it completes; meanwhile no input is looked at, so replies
 * leave in order. A session ends in sess_retire() and nowhere else. Runs in: edge.
 *
 * Memory: idle it holds this struct, a block of its arena and no buffer; what belongs to a message is in the tx.
 */
#ifndef SMTP_SESSION_H
#define SMTP_SESSION_H

#include "base/log.h"
#include "dns/peer.h"
#include "loop/conn.h"
#include "smtp/edge.h"
#include "smtp/reply.h"
#include "smtp/triage.h"
#include "smtp/tx.h"

enum verb {
	VERB_NONE = 0,
#define SMTP_CMD(verb, flags, steps, doc) VERB_##verb,
#define SMTP_PHASE(verb, phases, reply)
#include "smtp/commands.def"
#undef SMTP_CMD
#undef SMTP_PHASE
	VERB_UNKNOWN,
	VERB_COUNT
};

enum phase { PH_IDLE = 1, PH_MAIL = 2, PH_RCPT = 4, PH_BDAT = 8 };
enum cmd_flags { CF_LAST = 1, CF_JUNK = 2, CF_QUIT = 4, CF_PRE_TLS = 8 };

enum step { STEP_NEXT, STEP_WAIT, STEP_AGAIN /* wait, then the same row once more */, STEP_END, STEP_CLOSE };
struct sess;
typedef enum step step_fn(struct sess *);
struct step_row {
	const char *name;
	step_fn *fn;
};

/* What the next octets of the client are. */
enum sess_input {
	INPUT_COMMAND = 0,
	INPUT_PROXY,             /* the PROXY protocol's header, before anything else */
	INPUT_TRIAGE,            /* too early: it has to wait for the greeting */
	INPUT_SKIP,              /* the rest of a command line that was too long */
	INPUT_AUTH,              /* the client's response to a challenge of AUTH */
	INPUT_DATA,              /* content up to CRLF.CRLF */
	INPUT_CHUNK,             /* chunk_left octets of content */
	INPUT_SWALLOW,           /* chunk_left octets nobody wants */
	INPUT_GONE,              /* nothing: the session ends when the last reply has left */
};

/* Who the client is. Texts are borrowed; a name counts when its rc is RC_OK. */
struct client_id {
	struct ipaddr addr, server;  /* family 0: not known */
	uint16_t port, server_port;  /* 0: not known */
	enum rc name_rc, reverse_rc;
	struct span name, reverse;
	struct span login, sasl_method, sasl_sender;
};

/* XFORWARD, for the next message. */
enum { FORWARD_MAX = 4096 };
struct sess_forward {
	struct arena arena;
	struct forwarded facts;
};

enum { HELO_MAX = 256 };         /* octets kept of a name; no host name is longer */

struct verb_count {
	uint16_t good, all;
};

struct sess_milter;              /* milter.h */

struct sess {
	unsigned magic;
	struct edge *edge;
	struct edge_conf *conf;      /* a reference: the configuration it began with */
	const struct edge_service *svc;
	struct list link;
	struct grave grave;
	struct conn conn;
	struct sess_tls *tls;        /* starttls.h; NULL: in the clear */
	struct op_owner ops;
	struct arena arena;          /* the texts of who the client is: sess_set_client() */
	struct log_ctx log;
	struct span client;          /* "host[address]" or "host[address]:port" */
	struct facts facts;
	struct dns_peer *peer;       /* the client's name is being asked for; NULL: what is in facts is all there is */
	bool name_awaited;           /* a step waits for it */
	bool is_forged;              /* its address has a name that leads elsewhere */
	bool is_announced;           /* "connect from" was logged */
	bool is_served;              /* it got as far as smtpd; else it is, or was, postscreen's alone */
	struct policy_run pol;
	struct limits_ref limit;
	struct triage *triage;       /* being tested, or refused by it; else NULL */
	char *tested;                /* what triage said of it, for held mail; NULL: nothing */
	struct sess_forward *forward;
	struct ipc_call *call;       /* ETRN: what the queue is asked; else NULL */
	struct map_wait *maps;       /* ETRN: fast_flush_domains in tables that are elsewhere; else NULL */
	struct sess_auth *auth;      /* a login under way, else NULL */
	struct sess_milter *milter;  /* its milters; NULL: it has none */
	bool hides_lines;            /* behind a line that began with AUTH: lines that are no commands may be secrets, and are not logged */
	bool skips_auth;             /* INPUT_SKIP: it is a response that was too long */
	unsigned nsessions;          /* of its network when it came in, itself included; 0: not counted */
	unsigned over_limit;         /* connections there were of its network, when too many */
	uint32_t over_rate;          /* the same of connections in a time */
	struct tx *tx;

	/* the command at hand */
	const struct step_row *steps;/* NULL: none */
	unsigned at;
	const char *step_name;
	enum verb verb;
	struct span args;            /* valid until its first wait */
	struct arena scratch;        /* of the command */
	struct addr addr;            /* RCPT, VRFY: in tx->arena or scratch */
	struct rcpt_params rcpt_params;
	bool failed;                 /* its reply was 4xx or 5xx: an error of the client */
	bool cmd_bare_lf;            /* its line ended in LF alone */

	enum sess_input input;
	uint64_t chunk_size, chunk_left;
	bool chunk_is_last;
	uint64_t skipped;            /* octets of the line or after the last reply */
	uint64_t content_began;      /* loop time: DATA, or the chunk at hand */

	const char *where;           /* for the log: last command, CONNECT, END-OF-MESSAGE */
	unsigned errors, junk, overshoot;
	bool may_xclient, may_xforward;
	bool is_xclient;             /* XCLIENT said who the client is: nothing of that is asked for any more */
	bool denied;                 /* refused at connect: only QUIT is left */
	bool noted_bare_lf;
	bool no_bare_lf_rules;       /* smtpd_forbid_bare_newline_exclusions */
	struct timer delay;          /* smtpd_error_sleep_time */
	struct op delay_op;
	struct verb_count counts[VERB_COUNT];
	uint16_t helo_n;
	unsigned char helo[HELO_MAX]; /* the accepted one */
};

/* ---- life ---- */

/* fd is given. peer and local as accept() and getsockname() gave them. */
void sess_begin(struct edge *edge, const struct edge_service *svc, int fd, const struct sockaddr *peer, const struct sockaddr *local);
void sess_retire(struct sess *s);
/* A reply, then the end. */
void sess_shut(struct sess *s, enum reply_id id);

static inline bool
sess_is_alive(const struct sess *s)
{
	return conn_is_open(&s->conn);
}

/* A command or a delay is under way: input has to wait. */
static inline bool
sess_is_busy(const struct sess *s)
{
	return s->steps != NULL || s->delay_op.state != OP_IDLE;
}

/* ---- input (input.c) ---- */

enum { SESS_INPUT_MAX = 64 * 1024 }; /* octets unconsumed while something is waited for */
/* Deals with what is there, as far as it may. From the loop only: a callback of the connection or a completion. */
void sess_pump(struct sess *s);
void sess_set_deadline(struct sess *s);
/* Limits that depend on how many sessions there are. */
const struct patience *sess_patience(const struct sess *s);
/* The client sent seen before it was its turn: logs, and true when that ended the session. */
bool sess_early_input(struct sess *s, struct span seen);

/* ---- for the steps ---- */

void sess_reply(struct sess *s, enum reply_id id);
void sess_reply_text(struct sess *s, enum reply_id id, struct span text);
void sess_reply_full(struct sess *s, enum reply_id id, unsigned code, struct span text, uint64_t number);
/* "warning: ..." as smtpd says it; arguments are ours or already clean. */
void sess_warn(struct sess *s, const char *fmt, ...) PRINTF(2, 3);
/* A complete reply of somebody else, lines separated by LF, with the footer behind a refusal. */
void sess_reply_lines(struct sess *s, unsigned code, struct span lines);
/* "proxy-accept: ...", "proxy-reject: ...". */
void sess_log_proxied(struct sess *s, bool accepted, struct span reply);
/* Reply and reject line. */
void sess_refuse(struct sess *s, enum reply_id id);
void sess_refuse_code(struct sess *s, enum reply_id id, unsigned code);
void sess_refuse_by(struct sess *s, enum reply_id id, const char *rule); /* the log says which, the client does not hear of it */
/* A line of the log as that of a refusal, with what is known of the command. */
void sess_log_refusal(struct sess *s, enum log_event_id ev, struct span text);
/* The op of a step that returned STEP_WAIT is done: goes on at the next row. */
void sess_resume(struct sess *s);
void sess_policy_done(struct op *op);
/* The command at hand has been answered. */
void sess_command_done(struct sess *s);
/* Runs these steps now (end of data, draft): from the input side only. */
void sess_run_steps(struct sess *s, const struct step_row *steps);

/* Starts the policy for a stage: STEP_WAIT or STEP_NEXT; the next row calls sess_verdict(): STEP_NEXT when
 * permitted, else the refusal is said and logged. */
enum step sess_ask(struct sess *s, enum policy_stage stage);
enum step sess_verdict(struct sess *s);

enum phase sess_phase(const struct sess *s);
void sess_end_tx(struct sess *s);     /* also what XFORWARD said */
void sess_undo_mail(struct sess *s);  /* MAIL was refused: the transaction never was */
/* As in a C string, so that the log shows what was really sent; borrowed until the command ends. */
struct span sess_escaped(struct sess *s, struct span text);
/* Octets the client sent, for the log: sess_escaped() of at most max of them, without what may be a login. */
struct span sess_shown(struct sess *s, struct span sent, size_t max);
/* Copies what an address or name is in the log; borrowed until the command ends. */
struct span sess_log_addr(struct sess *s, struct span internal);
/* The process stops: 421 now, or when the transaction is over; at_once: unless its message is being committed. */
void sess_drain(struct sess *s, bool at_once);
void sess_linger(struct sess *s);     /* after the last reply of a session we end */

/* ---- who the client is (client.c, client_name.c) ---- */
/* As it is now, to change something of it. */
struct client_id sess_client(const struct sess *s);
/* Sets all facts about the client, its label in the log, and what it may. Texts are copied; limits and restrictions are
 * the connect steps' business. */
void sess_set_client(struct sess *s, const struct client_id *id);
/* Who is at the other end of the socket, whatever XCLIENT said. */
void sess_name_socket(struct sess *s);
/* The client is in a list; a list that cannot say is logged and means no. */
bool sess_may(struct sess *s, const struct matchlist *hosts, const char *what);
void sess_forget_forward(struct sess *s);
void sess_forget_call(struct sess *s);
void sess_set_helo(struct sess *s, struct span name); /* accepted, or as XCLIENT says; empty: none */
/* Begins to ask DNS for the name of the client; what was being asked before is forgotten. */
void sess_look_up_name(struct sess *s);
void sess_forget_lookup(struct sess *s);
/* A step: from the next row on the name is known, or that there is none. */
enum step sess_await_name(struct sess *s);
/* The same as the first step of a command, where the name decides what the client may or whether it is counted. */
enum step sess_await_name_first(struct sess *s);
/* "connect from", once: before any other line about the session. */
void sess_announce(struct sess *s);

/* ---- AUTH (cmd_auth.c) ---- */
/* Octets used of the response to a challenge; may run steps. */
size_t auth_input(struct sess *s, struct span in);
/* Ends a login that is under way. */
void sess_forget_auth(struct sess *s);
/* The client is nobody again (STARTTLS). */
void sess_forget_login(struct sess *s);
/* Is AUTH offered to this client, as it is now? Appends the mechanisms. */
bool sess_offers_auth(struct sess *s, struct buf *mechs);

/* ---- rates (rate.c) ---- */
/* Counts one more event of this client, or of its login and sender (MAIL and RCPT). true: too many, and it was told so. */
bool sess_rate_exceeded(struct sess *s, enum rate_kind kind);
bool sess_rate_names_exceeded(struct sess *s, enum rate_kind kind);
/* Connections: the name may still excuse the client before it is told. 0: not counted. */
uint32_t sess_rate_connect(struct sess *s);
/* Full TLS handshakes of this client, one more with count; 0: not counted. */
uint32_t sess_rate_tls(struct sess *s, bool count);
void sess_rate_refuse_connect(struct sess *s, uint32_t n);
bool sess_rate_exempt(const struct sess *s);
struct ipaddr sess_network(const struct sess *s);

/* ---- addresses (cmd_rcpt.c) ---- */
bool sess_bad_user(const struct sess *s, const struct addr *a);
struct span sess_complete(struct sess *s, const struct addr *a); /* in tx->arena */
void sess_forget_rcpt(struct sess *s); /* the RCPT at hand is over, without a recipient */

/* ---- the header (heading.c) ---- */
/* At MAIL: is this a client whose headers are rewritten? */
enum step mail_headers(struct sess *s);
/* Before the first octet: what stands above our Received, and what the content has to look for. */
void data_front(struct sess *s, struct buf *b);
/* Header and body checks of what is there (smtp/checking.h). STEP_AGAIN: a table has to be waited for. */
enum step data_check_body(struct sess *s, bool at_end);
/* The same step once more when tables that had to be asked have answered (map/remote.h). */
enum step data_wait_for_maps(struct sess *s);
/* When content_wants_edit(): changes the header; a table may have to be waited for. Faults are the content's. */
enum step data_edit_header(struct sess *s);
extern const struct step_row header_steps[];

/* ---- content (cmd_data.c, cmd_bdat.c) ---- */
/* The first octet may come now: Received is in front. */
void data_begin(struct sess *s, bool dots);
/* Octets used. May run steps; look at s->steps and s->input afterwards. */
size_t data_input(struct sess *s, struct span in);
size_t chunk_input(struct sess *s, struct span in);
size_t data_chunk_piece(struct sess *s, struct span in);
/* Answers what the checks say of the message and ends the transaction. */
enum step data_refuse_checked(struct sess *s);
/* Answers what is wrong with the content and ends the transaction, or STEP_NEXT. */
enum step data_fault(struct sess *s);
extern const struct step_row end_steps[];
/* Once for each message, when its header is complete. */
void data_log_message_id(struct sess *s);
/* The message has been answered, the transaction is over. */
enum step data_done(struct sess *s);
/* The message is refused, the transaction over. */
enum step data_refuse(struct sess *s, enum reply_id id);
/* There is no room for it; of what is to be held, whether in the quarantine or in the spool: the log says so. */
enum step data_no_room(struct sess *s, bool is_held);
/* A held message is looked at, for the people who look after it (holding.c). */
enum step end_survey(struct sess *s);
/* The same of the content as it is now, for the message that is kept as it came (tx->holding.first). */
enum step holding_look_first(struct sess *s);
/* The row before SUBMIT (rewrite.c): who it is really from and for. */
enum step end_rewrite(struct sess *s);

/* ---- smtpd_proxy_filter (proxied.c): each row hears what the one before has asked ---- */
enum step mail_filter_start(struct sess *s);
enum step mail_filter_say(struct sess *s);
enum step mail_filter_said(struct sess *s);
enum step rcpt_filter_say(struct sess *s);
enum step rcpt_filter_said(struct sess *s);
enum step data_filter_say(struct sess *s);
enum step data_filter_said(struct sess *s);
enum step end_filter_start(struct sess *s);
enum step end_filter_envelope(struct sess *s);
enum step end_filter_data(struct sess *s);
enum step end_filter_content(struct sess *s);
enum step end_filter_said(struct sess *s);

#define SMTP_CMD(verb, flags, steps, doc) extern const struct step_row steps[];
#define SMTP_PHASE(verb, phases, reply)
#include "smtp/commands.def"
#undef SMTP_CMD
#undef SMTP_PHASE
extern const struct step_row connect_steps[];
/* From the socket, or whom the balancer brings, to the greeting. */
void connect_begin(struct sess *s);
/* The connection's first octets, of a balancer; false: more is needed. It has smtpd_upstream_proxy_timeout for all of them. */
bool connect_proxy_input(struct sess *s, struct span in);
void connect_proxy_ended(struct sess *s, bool timeout);

#endif
