/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * msgs.h - what the messages between roles say, and their encodings.
 *
 * Writers append to a buf, readers take from a cur and leave the test of cur_done() to the pair at
 * the end; spans that come out are borrowed from the frame. An encoding that cannot be read is
 * RC_PERM: the sibling has gone mad. Numbers are little-endian.
 */
#ifndef IPC_MSGS_H
#define IPC_MSGS_H

#include "base/buf.h"
#include "base/ipaddr.h"

/* ---- SUBMIT: edge -> queue (call). The envelope is msg/envelope.h's encoding, opaque here. ---- */
struct msg_submit {
	uint64_t draft;          /* 0: the content is inline; else the draft it was written to */
	uint64_t content_len;    /* bytes of content, Received header included */
	uint32_t content_crc;    /* CRC-32C of the content */
	struct span qid;
	struct span envelope;
	struct span content;     /* inline only */
};
void msg_submit_put(struct buf *b, const struct msg_submit *m);
enum rc msg_submit_get(struct span payload, struct msg_submit *out) MUST_CHECK;

/* Its answer. */
enum submit_outcome {
	SUBMIT_OK = 1,           /* durable: say 250 */
	SUBMIT_FULL,             /* 452 4.3.1 Insufficient system storage */
	SUBMIT_FAILED,           /* 451 4.3.0 queue file write error */
	SUBMIT_REFUSED,          /* not acceptable for the queue (bad envelope, id in use): 451 */
};
struct msg_submitted {
	enum submit_outcome outcome;
	struct span reason;      /* for the log */
};
void msg_submitted_put(struct buf *b, const struct msg_submitted *m);
enum rc msg_submitted_get(struct span payload, struct msg_submitted *out) MUST_CHECK;

/* ---- DRAFT: edge -> queue (call); the answer brings the descriptor, opened for reading and writing, at
 * the offset where content begins: the edge only writes. ---- */
struct msg_draft {
	enum submit_outcome outcome;
	uint64_t draft;
};
void msg_draft_put(struct buf *b, const struct msg_draft *m);
enum rc msg_draft_get(struct span payload, struct msg_draft *out) MUST_CHECK;

/* ---- ADMISSION: queue -> edge ---- */
struct msg_admission {
	bool accepting;
	bool holding;            /* mail for the quarantine, too */
	uint64_t free_bytes;     /* of the spool's file system */
};
void msg_admission_put(struct buf *b, const struct msg_admission *m);
enum rc msg_admission_get(struct span payload, struct msg_admission *out) MUST_CHECK;

/* ---- JOB: queue -> relay ---- */
enum {                           /* DSN NOTIFY, RFC 3461 4.1; 0: not given */
	NOTIFY_NEVER = 1, NOTIFY_SUCCESS = 2, NOTIFY_FAILURE = 4, NOTIFY_DELAY = 8,
	NOTIFY_EXPANDED = 16, /* with SUCCESS: an alias with several destinations; delivered to nobody, only told about */
};
enum {                           /* flags of a message, also in the envelope */
	MSGF_8BITMIME = 1,       /* BODY=8BITMIME was declared */
	MSGF_SMTPUTF8 = 2,       /* SMTPUTF8 was declared */
	MSGF_RET_FULL = 4, MSGF_RET_HDRS = 8,
	MSGF_HOLD = 16,          /* goes to the hold queue */
	MSGF_INTERNAL = 32,      /* made by us: a report */
	MSGF_PROBE = 64,         /* job: no message, the transaction ends before content */
	MSGF_RELEASED = 128,     /* an administrator let it out of the quarantine: no content filter, never held again */
	/* about the content, found while it was received */
	MSGF_HAS_8BIT = 256,
	MSGF_HAS_DOTS = 512,     /* a line begins with a dot: must be stuffed */
	MSGF_HAS_LONG = 1024,    /* a line is longer than 998 octets */
	MSGF_UTF8_HEADERS = 2048,/* a header has octets over 127 */
	MSGF_TO_FILTER = 8192,   /* job: it goes to a content filter */
	MSGF_KEPT = 4096,        /* all recipients are held: what it was before a filter changed what went on to them */
};
struct job_rcpt {
	uint32_t index;          /* the queue's number of this recipient */
	uint8_t notify;
	struct span addr;        /* local@domain, unquoted form as in the envelope */
	struct span orig;        /* as first given, when it differs; empty otherwise */
	struct span orcpt;       /* "type;xtext" as given or made; may be empty */
};
struct msg_job {
	uint64_t job;
	uint64_t segment, offset, length; /* segment 0: the descriptor of the frame */
	uint64_t arrival, active;         /* wall clock usec: arrival, and when it became active */
	struct span transport;            /* master.cf service name */
	struct span nexthop;              /* facts 5.4 */
	struct span qid, sender, envid;
	struct span forward;              /* of the envelope: XFORWARD attributes; empty: none */
	uint32_t flags;
	uint32_t nrcpt;
	struct cur rcpts;                 /* msg_job_rcpt_get() nrcpt times */
};
enum { JOB_RCPT_MAX = 1000 };
/* Writes all but the recipients; msg_job_rcpt_put() then nrcpt times. */
void msg_job_put(struct buf *b, const struct msg_job *m);
void msg_job_rcpt_put(struct buf *b, const struct job_rcpt *r);
enum rc msg_job_get(struct span payload, struct msg_job *out) MUST_CHECK;
enum rc msg_job_rcpt_get(struct cur *rcpts, struct job_rcpt *out) MUST_CHECK;

/* ---- JOB_DONE: relay -> queue. One frame ends the job; earlier ones for the same job (last = false)
 * may report some recipients early. ---- */
enum rcpt_status { RCPT_SENT = 1, RCPT_DEFERRED, RCPT_BOUNCED };
enum job_health {
	JOB_HUB_OK = 1,          /* a session was established: the destination is alive */
	JOB_HUB_DOWN,            /* connect or handshake failed: counts against the destination (facts 7.4) */
	JOB_NO_ROUTE,            /* never got as far as a destination (bad nexthop, local trouble) */
	JOB_OURS,                /* the best MX is this machine: best_mx_transport takes whom no result came for */
};
struct rcpt_result {
	uint32_t index;
	enum rcpt_status status;
	bool dsn_passed;         /* the hub offered DSN and got our NOTIFY/ORCPT */
	struct span dsn;         /* "2.0.0" */
	struct span text;        /* as in the log: "250 2.0.0 Ok: queued as X", "host h[ip] said: 550 ..." */
	struct span mta;         /* hub's name for Remote-MTA; empty: none */
	struct span diag;        /* the hub's own reply for Diagnostic-Code; empty: none */
};
struct msg_job_done {
	uint64_t job;
	bool last;
	enum job_health health;
	struct span reason;      /* for JOB_HUB_DOWN: "connect to h[ip]:25: Connection refused" */
	uint32_t nresult;
	struct cur results;      /* msg_result_get() nresult times */
};
void msg_job_done_put(struct buf *b, const struct msg_job_done *m);
void msg_result_put(struct buf *b, const struct rcpt_result *r);
enum rc msg_job_done_get(struct span payload, struct msg_job_done *out) MUST_CHECK;
enum rc msg_result_get(struct cur *results, struct rcpt_result *out) MUST_CHECK;

/* ---- ETRN: edge -> queue (call); answered with whether it has begun. ---- */
enum { ETRN_SITE_MAX = 255 };
void msg_etrn_put(struct buf *b, struct span site);
enum rc msg_etrn_get(struct span payload, struct span *site_out) MUST_CHECK;
void msg_etrn_answer_put(struct buf *b, bool started);
enum rc msg_etrn_answer_get(struct span payload, bool *started_out) MUST_CHECK;

/* ---- GREYLIST: edge -> queue (call). ---- */
enum { GREYLIST_TEXT_MAX = 1024 };
struct msg_greylist {
	struct span client, sender, rcpt; /* the triplet */
	struct span client_name, client_addr; /* for the log */
	uint32_t delay, window, expire;   /* seconds */
	uint32_t allow_after;             /* triplets; 0: never */
};
void msg_greylist_put(struct buf *b, const struct msg_greylist *m);
enum rc msg_greylist_get(struct span payload, struct msg_greylist *out) MUST_CHECK;

enum greylist_verdict {
	GREYLIST_PASS = 1,
	GREYLIST_DEFER,          /* seconds: still to wait */
	GREYLIST_PASS_NOW,       /* it came again; seconds: after how long */
	GREYLIST_UNAVAILABLE,    /* nothing can be remembered */
};
struct msg_greylist_answer {
	enum greylist_verdict verdict;
	uint32_t seconds;
};
void msg_greylist_answer_put(struct buf *b, const struct msg_greylist_answer *m);
enum rc msg_greylist_answer_get(struct span payload, struct msg_greylist_answer *out) MUST_CHECK;

/* ---- TRIAGE_FIND: edge -> queue (call): an address. TRIAGE_KEEP: edge -> queue: what is known of it now. ---- */
enum { TRIAGE_TESTS = 5 };
struct msg_triage {
	struct ipaddr addr;
	uint64_t until[TRIAGE_TESTS]; /* wall clock, seconds: passed until then. 0: never passed; 1: nor asked for */
	uint64_t keep;           /* TRIAGE_KEEP: seconds it is worth keeping behind the last of them */
};
void msg_triage_find_put(struct buf *b, const struct ipaddr *addr);
enum rc msg_triage_find_get(struct span payload, struct ipaddr *out) MUST_CHECK;
void msg_triage_keep_put(struct buf *b, const struct msg_triage *m);
enum rc msg_triage_keep_get(struct span payload, struct msg_triage *out) MUST_CHECK;
/* Its answer: known or not. */
struct msg_triage_found {
	bool known;
	uint64_t until[TRIAGE_TESTS];
};
void msg_triage_found_put(struct buf *b, const struct msg_triage_found *m);
enum rc msg_triage_found_get(struct span payload, struct msg_triage_found *out) MUST_CHECK;

/* ---- INSPECT: queue -> edge, with a descriptor. Not a call: calls between siblings go one way (ipc.h). ---- */
enum inspect_purpose {
	INSPECT_INTERNAL = 1,    /* mail of our own: non_smtpd_milters */
	INSPECT_AGAIN,           /* held because the virus filter was away: that one alone */
};
enum { INSPECT_RCPTS_MAX = 1000 };
struct msg_inspect {
	uint64_t number;         /* the queue's, for INSPECTED */
	enum inspect_purpose purpose;
	uint64_t offset, length; /* of the content in the descriptor */
	struct span qid, sender;
	uint32_t nrcpt;          /* at most INSPECT_RCPTS_MAX, here and in the answer */
	struct cur rcpts;        /* cur_block() nrcpt times */
};
/* Writes all but the recipients; msg_inspect_rcpt_put() then nrcpt times. */
void msg_inspect_put(struct buf *b, const struct msg_inspect *m);
void msg_inspect_rcpt_put(struct buf *b, struct span addr);
enum rc msg_inspect_get(struct span payload, struct msg_inspect *out) MUST_CHECK;

/* INSPECTED: edge -> queue. */
enum inspect_outcome { INSPECT_PASS = 1, INSPECT_REFUSE, INSPECT_DISCARD, INSPECT_HOLD, INSPECT_NOT_NOW };
struct msg_inspected {
	uint64_t number;
	enum inspect_outcome outcome;
	struct span text;        /* the reply, the reason to hold it, or why not now */
	struct span milter;      /* who said so; empty: nobody */
	bool header_changed;     /* INSPECT_AGAIN */
	struct span header;      /* all of it, without the empty line */
	bool content_changed;    /* INSPECT_INTERNAL: header or body; the whole is in the descriptor of INSPECT, behind the other */
	uint64_t content_at, content_len;
	uint32_t flags;          /* of it: MSGF_HAS_*, MSGF_UTF8_HEADERS */
	bool sender_changed;
	struct span sender;      /* empty: the null sender */
	uint8_t ret;             /* 0, MSGF_RET_FULL or MSGF_RET_HDRS: it is that now */
	struct span envid;       /* empty: it stays */
	uint32_t nrcpt;          /* recipients to add and to delete, in this order */
	struct cur rcpts;        /* msg_inspected_rcpt_get() nrcpt times */
};
struct msg_inspected_rcpt {
	bool is_added;           /* or deleted: addr alone counts then, as it was given */
	struct span addr, orig, orcpt; /* as in struct env_rcpt */
	uint8_t notify;
};
/* Writes all but the recipients; msg_inspected_rcpt_put() then nrcpt times. */
void msg_inspected_put(struct buf *b, const struct msg_inspected *m);
void msg_inspected_rcpt_put(struct buf *b, const struct msg_inspected_rcpt *m);
bool msg_inspected_rcpt_get(struct cur *rd, struct msg_inspected_rcpt *out) MUST_CHECK; /* false: there is no such row */
enum rc msg_inspected_get(struct span payload, struct msg_inspected *out) MUST_CHECK;

/* ---- VERIFY: edge -> queue (call). ---- */
enum { VERIFY_WAIT_MAX = 600 };  /* seconds */
struct msg_verify {
	struct span addr;        /* local@domain, internal form */
	uint64_t wait_usec;      /* for a probe that is not over yet */
};
void msg_verify_put(struct buf *b, const struct msg_verify *m);
enum rc msg_verify_get(struct span payload, struct msg_verify *out) MUST_CHECK;

/* Its answer. */
enum verify_status { VERIFY_TODO = 1, VERIFY_OK, VERIFY_DEFER, VERIFY_BOUNCE };
struct msg_verified {
	enum verify_status status;
	bool foreign;            /* text was said by, or is about, somebody else's host: not for everybody */
	struct span text;        /* why not; VERIFY_OK: empty */
};
void msg_verified_put(struct buf *b, const struct msg_verified *m);
enum rc msg_verified_get(struct span payload, struct msg_verified *out) MUST_CHECK;

/* ---- LOOKUP: any role -> lookup (call). ---- */
struct msg_lookup {
	struct span table;       /* "type:name" as in the configuration */
	struct span key;
};
void msg_lookup_put(struct buf *b, const struct msg_lookup *m);
enum rc msg_lookup_get(struct span payload, struct msg_lookup *out) MUST_CHECK;

/* Its answer. */
struct msg_found {
	enum rc rc;
	struct span text;        /* RC_OK: the value; RC_TEMP, RC_PERM: why */
};
void msg_found_put(struct buf *b, const struct msg_found *m);
enum rc msg_found_get(struct span payload, struct msg_found *out) MUST_CHECK;

/* ---- AUTH_MECHS: edge -> auth (call). Answered with the names, "PLAIN LOGIN". ---- */
struct msg_auth_mechs {
	struct span service, host, realm; /* smtpd_sasl_service, myhostname, smtpd_sasl_local_domain */
	uint32_t options;        /* enum sasl_security */
};
void msg_auth_mechs_put(struct buf *b, const struct msg_auth_mechs *m);
enum rc msg_auth_mechs_get(struct span payload, struct msg_auth_mechs *out) MUST_CHECK;
struct msg_auth_offer {
	enum rc rc;
	struct span text;        /* RC_OK: the names; else why */
};
void msg_auth_offer_put(struct buf *b, const struct msg_auth_offer *m);
enum rc msg_auth_offer_get(struct span payload, struct msg_auth_offer *out) MUST_CHECK;

/* ---- AUTH_BEGIN, AUTH_STEP: edge -> auth (call). ---- */
enum { AUTH_RESPONSE_MAX = 64 * 1024 };
struct msg_auth_begin {
	uint64_t context;
	struct msg_auth_mechs of;
	struct span mech;
	bool has_initial;
	struct span initial;     /* as octets, not base64 */
};
void msg_auth_begin_put(struct buf *b, const struct msg_auth_begin *m);
enum rc msg_auth_begin_get(struct span payload, struct msg_auth_begin *out) MUST_CHECK;
struct msg_auth_step {
	uint64_t context;
	struct span response;
};
void msg_auth_step_put(struct buf *b, const struct msg_auth_step *m);
enum rc msg_auth_step_get(struct span payload, struct msg_auth_step *out) MUST_CHECK;
/* Their answer. */
enum auth_outcome { AUTH_GOES_ON = 1, AUTH_DONE, AUTH_FAILED, AUTH_NOT_NOW };
struct msg_auth_said {
	enum auth_outcome outcome;
	struct span text;        /* the challenge as octets, or the reason */
	struct span user;        /* who it is, or was said to be */
};
void msg_auth_said_put(struct buf *b, const struct msg_auth_said *m);
enum rc msg_auth_said_get(struct span payload, struct msg_auth_said *out) MUST_CHECK;

/* ---- DIAL: edge -> master (call): the path of a socket. Answered with the connected descriptor, or why not. ---- */
void msg_dial_put(struct buf *b, struct span path);
enum rc msg_dial_get(struct span payload, struct span *path_out) MUST_CHECK;
struct msg_dialed {
	enum rc rc;              /* RC_OK: a descriptor comes with it */
	struct span why;
};
void msg_dialed_put(struct buf *b, const struct msg_dialed *m);
enum rc msg_dialed_get(struct span payload, struct msg_dialed *out) MUST_CHECK;

/* ---- STATUS answer: u32 number of metrics, then s64 each in the order of metrics.def; then a
 * block of JSON members for the role (may be empty): "\"segments\":4,\"listening\":[...]"; then a block of lines for people
 * about what needs looking at ---- */
void msg_status_put(struct buf *b, struct span json_members, struct span remarks);
struct msg_status {
	struct cur values;       /* u64 each */
	uint32_t n;
	struct span json_members;
	struct span remarks;     /* lines */
};
enum rc msg_status_get(struct span payload, struct msg_status *out) MUST_CHECK;

#endif
