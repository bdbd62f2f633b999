/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * store.h - the quarantine: held messages as one file each, and an index by which people find them.
 *
 * Knows no queue and no SMTP. A message is known by the queue id it came under; it has recipients with a state each. All
 * that waits for a disk is a struct quar_req, embedded in its user, answered from the loop. One thread writes (files, index; many
 * requests in one transaction and one sync), one reads; nothing of SQLite or of files runs on the loop's thread.
 *
 * Promise: when a request that changes something ends with RC_OK, it is durable; with RC_TEMP nothing of it is (or, after a crash in
 * the middle, doing it again is harmless). The files are the truth: each carries its envelope, why it was held and what became of each
 * recipient, so that a lost or damaged index is made anew from them, in the background.
 *
 * Runs in: queue. The four outcomes: RC_OK; RC_NONE no such message (or nobody in the state asked for); RC_TEMP not now (disk full,
 * failing, index being rebuilt; why says); RC_PERM never (bad argument).
 */
#ifndef QUARANTINE_STORE_H
#define QUARANTINE_STORE_H

#include "loop/op.h"
#include "msg/envelope.h"
#include "msg/held.h"
#include "spool/spool.h"

struct quar;

/* ---- settings, opening ---- */

struct quar_settings {
	const char *dir;                         /* quarantine_directory; made when missing (its parent is there) */
	uint64_t retention[HELD_CLASSES];        /* usec; 0: for ever */
	uint64_t size_limit;                     /* bytes of files, 0: none (quarantine_size_limit) */
	uint64_t reserve_bytes;                  /* bytes of the file system (quarantine_minfree) */
	uint32_t allow_limit;                    /* rows of the allow table (quarantine_allow_limit) */
	uint32_t uid, gid;                       /* 0: as they come; else what is made is given to them (needs root) */
};
/* "virus=14d attachment=30d 60d": a value for each class named, a word without a class for all others; 0 is for ever. Default: 30d. */
enum rc quar_retention_parse(struct span text, uint64_t out[HELD_CLASSES], struct err *e) MUST_CHECK;

/* All of them as a configuration has them. dir: kept until the configuration goes. RC_PERM: quarantine_retention is wrong. */
struct conf;
enum rc quar_settings_read(const struct conf *c, struct quar_settings *out, struct err *e) MUST_CHECK;

struct quar_ops {                                /* from the loop; each may be NULL */
	void (*full)(void *owner, bool is_full); /* quar_is_full() changed, or why */
	/* Finished removing what was due or over the size limit, some messages at a time; for the log. */
	void (*expired)(void *owner, uint64_t messages, uint64_t bytes, bool for_size);
	/* The index was damaged or missing and is made anew (begins), or it is complete again. For the log. */
	void (*rebuilding)(void *owner, bool begins, uint64_t messages, const char *why);
};

/* Directories, while paths can still be opened. Keeps descriptors only. */
enum rc quar_open(struct quar **out, const struct quar_settings *s, const struct quar_ops *ops, void *owner, struct err *e) MUST_CHECK;
/* Threads, after the sandbox. Requests may be given at once; they wait until the index is open. */
void quar_start(struct quar *q);
void quar_reconfigure(struct quar *q, const struct quar_settings *s);    /* reload; dir is not changed */
/* Finishes what writes, stops the threads. No request may be pending. NULL inside is fine. */
void quar_close(struct quar **qp);

/* New mail to be held cannot be taken now: less than reserve_bytes, the disk fails, or too much waits. No question, cheap. */
bool quar_is_full(const struct quar *q);
/* Why, for the log. */
const char *quar_why_full(const struct quar *q);
uint64_t quar_size_limit(const struct quar *q);  /* quarantine_size_limit; 0: none */

/* ---- what is in it ---- */

enum quar_state {
	QUAR_NONE = 0,
	QUAR_HELD,
	QUAR_RELEASING,          /* a copy is being put into the spool: durable before that begins */
	QUAR_RELEASED,           /* the copy is in the spool, or was */
	QUAR_DELIVERED,          /* its next hop took it */
	QUAR_RETURNED,           /* its next hop refused it for good */
	QUAR_DELETED,
	QUAR_STATES
};
const char *quar_state_name(enum quar_state s);          /* "held" */
enum quar_state quar_state_of(struct span name);         /* QUAR_NONE: unknown */

enum { QUAR_WHO_MAX = 200, QUAR_RCPT_MAX = 50000, QUAR_PAGE_MAX = 1000, QUAR_PAGE_RCPT = 20 };

struct quar_rcpt {
	struct span addr, orig, orcpt;   /* as in env_rcpt */
	uint8_t notify;
	bool added;                      /* not of the message: an administrator sent a copy here */
	enum quar_state state;
	struct spool_id copy;            /* the message it was released as; usec 0: none */
	bool is_gone;                    /* released, and the copy is not in the queue any more: the queue says so before it shows it */
	uint64_t changed;                /* usec, wall clock */
	struct span by;                  /* who did it last; empty: nobody but us */
};

struct quar_row {                        /* a message in a list */
	struct spool_id id;
	uint64_t arrival, size, expires; /* usec, octets, usec (0: never) by the retention in force */
	enum held_class class;
	struct span reason, filter, rule, signature, score, client_name, client_addr, helo, tls, login;
	struct span sender, subject, from, message_id;
	uint32_t nrcpt;                  /* all of them */
	uint32_t nshown;                 /* lists: at most QUAR_PAGE_RCPT, those a filter asked for first; get: all */
	struct quar_rcpt *rcpt;
	uint32_t nattachments;           /* the first 64 */
	const struct held_part *attachments; /* name, type and, when is_summed, size and sum */
};

struct quar_filter {                     /* an empty or zero member matches everything; spans are copied */
	uint64_t since, until;           /* arrival, usec: since <= arrival < until */
	struct span sender;              /* an address, "@domain" (or "domain"), or "<>" */
	struct span recipient;           /* an address or "@domain" */
	struct span client;              /* IP address, or host name */
	struct span subject;             /* words, all of them in the subject; "wor*": begins with it, three letters at least */
	struct span text;                /* the same in subject, From, sender and recipients */
	struct span attachment;          /* part of a file name, three letters at least, or 64 hexadecimal digits: SHA-256 of one */
	enum held_class class;
	enum quar_state state;           /* of some recipient (of the one in recipient, when that is given) */
	uint32_t limit;                  /* rows of a page, 1 to QUAR_PAGE_MAX */
	uint64_t after;                  /* cursor of the page before; 0: from the newest on */
	uint64_t round;                  /* of digests, with recipient and state: what is his to be told in it; since: how far he was told. 0: none */
};

struct quar_stat { uint64_t messages, bytes; };

struct quar_allow {                      /* "mail from sender to recipient is not held" */
	struct span sender;              /* address or "@domain" */
	struct span recipient;           /* the same; empty: everybody */
	struct span by, note;
	uint64_t added;                  /* usec */
};

struct quar_told {                       /* a recipient with held mail he was not told of */
	struct span addr;
	uint64_t told;                   /* usec: arrivals before it he knows of; 0: none */
	uint64_t messages;               /* held for him since, counted up to 1000 */
};

enum quar_flaw {
	QUAR_FLAW_NONE = 0,
	QUAR_FLAW_NO_ROW,        /* a file the index does not know */
	QUAR_FLAW_NO_FILE,       /* a row whose file is gone */
	QUAR_FLAW_DAMAGED,       /* trailer or sum wrong; repair: goes to corrupt/ */
	QUAR_FLAW_STATES,        /* file and row disagree about a recipient; repair: the one that is further counts */
	QUAR_FLAW_ATTACHMENTS,   /* the index names other attachments than the file, or has other sums */
	QUAR_FLAW_MODE,          /* owner or mode */
	QUAR_FLAW_ALIEN,         /* what we did not make: links, other names; never followed, never removed */
	QUAR_FLAW_INDEX,         /* SQLite finds the index damaged; repair: made anew */
	QUAR_FLAWS
};
const char *quar_flaw_name(enum quar_flaw f);
const char *quar_flaw_mend(enum quar_flaw f); /* what repairing it does; of a message that is lost no "mended" */
struct quar_finding {
	enum quar_flaw flaw;
	struct span name;        /* queue id, or path below the directory; clean */
	struct span detail;      /* clean */
	bool repaired;
};

/* ---- a request ---- */

/* Embedded in its user. Begun by one of the functions below, which copy their arguments; done() comes from the loop. Results stay
 * valid until the next request with it, or quar_req_fini(). Cancelling (also through op_cancel, ops_cancel_all) is allowed at any time:
 * what changes something is done all the same, only nobody hears of it. */
struct quar_req {
	struct op op;
	struct err why;
	/* results, by kind */
	struct quar_row *rows;           /* list; get: one */
	size_t nrows;
	uint64_t cursor;                 /* list, told, check: for the next page; 0: that was the last */
	bool more;                       /* there is another page (which may be empty) */
	struct held held;                /* get: with parts and trace */
	struct envelope env;             /* get: as it was stored */
	struct quar_rcpt *rcpt;          /* begin_release, finish, undo, delete: those it was done for */
	size_t nrcpt;
	struct spool_id id;              /* begin_release ...: the message */
	int fd;                          /* content: read-only, the caller's to close (set to -1 by who takes it) */
	uint64_t length;                 /* content: octets from offset 0 on */
	struct quar_stat by_class[HELD_CLASSES]; /* stats */
	uint64_t oldest, newest;         /* stats: arrival, usec; 0: empty */
	struct quar_allow *allow;        /* allow list */
	struct quar_told *told;          /* told list */
	struct quar_finding *findings;   /* check */
	size_t n;                        /* of allow, told, findings, releasing */
	uint64_t seen;                   /* check: messages looked at in this slice; expire: removed */
	struct quar_pending *releasing;  /* pending list */
	/* private */
	struct quar_job *job;
};
/* After it the request is a struct op like any other: pending, ready, cancelled. */
void quar_req_init(struct quar_req *r, struct op_owner *owner, op_fn *done);
void quar_req_fini(struct quar_req *r);          /* cancels, gives the results back; a descriptor nobody took is closed */

/* ---- storing ---- */

struct quar_new {
	struct spool_id id;
	const struct envelope *env;      /* with env->held; recipients: those who are held (see rcpt) */
	const uint32_t *rcpt;            /* numbers in env->rcpt; NULL: all of them */
	uint32_t nrcpt;
	/* content: octets at offset of fd, or in memory (fd -1). A descriptor is borrowed: it stays open, and what it says as it is, until the
	 * request has ended or was cancelled (cancelling waits for a copy under way: milliseconds). Memory is copied. */
	int fd;
	uint64_t offset, length;
	struct span content;
};
/* RC_OK: durable. The same id again is fine: recipients that are not there yet are added, nothing else changes. RC_PERM: the envelope or
 * its held block is none. */
void quar_put(struct quar *q, struct quar_req *r, const struct quar_new *n);

/* ---- looking ---- */

void quar_get(struct quar *q, struct quar_req *r, const struct spool_id *id);
/* The same, with size and sum of each part; for those that the index has not, its content is read. */
void quar_show(struct quar *q, struct quar_req *r, const struct spool_id *id);
void quar_list(struct quar *q, struct quar_req *r, const struct quar_filter *f);
void quar_content(struct quar *q, struct quar_req *r, const struct spool_id *id);
void quar_stats(struct quar *q, struct quar_req *r);

/* ---- releasing, exactly once ---- */

/* Marks recipients that are held as releasing under the queue id of the copy that is going to be made; then nobody else can. addrs: none
 * for all who are held. RC_NONE: no such message, or nobody of these is held any more. r->rcpt: those that were marked.
 * add: addresses that are no recipients get a row of their own (a copy sent elsewhere), once per address. */
void quar_begin_release(struct quar *q, struct quar_req *r, const struct spool_id *id, const struct span *addrs, size_t naddrs, bool add,
    const struct spool_id *copy, struct span who);
/* The copy is durable in the spool: releasing becomes released. RC_NONE: nobody is being released as this copy. */
void quar_finish_release(struct quar *q, struct quar_req *r, const struct spool_id *id, const struct spool_id *copy);
/* It could not be made: they are held again. (Added ones are forgotten.) */
void quar_undo_release(struct quar *q, struct quar_req *r, const struct spool_id *id, const struct spool_id *copy);
/* Releases a crash left in the middle: r->releasing, all of them (they are few). */
struct quar_pending {
	struct spool_id id, copy;
	uint64_t since;
};
void quar_pending(struct quar *q, struct quar_req *r);
/* What became of a released copy's recipient; found by the copy's id. r may be NULL: nobody waits. */
void quar_outcome(struct quar *q, struct quar_req *r, const struct spool_id *copy, struct span addr, struct span orig, bool delivered);

/* ---- ending ---- */

/* addrs: none for all. Recipients that are being released are left alone; so is the file while there is one. When every recipient is
 * deleted, row and file go. RC_NONE: no such message; RC_TEMP: it is being released. r->rcpt: those that were deleted. */
void quar_delete(struct quar *q, struct quar_req *r, const struct spool_id *id, const struct span *addrs, size_t naddrs, struct span who);
/* Removes what is due now, and what is over the size limit, without waiting for the background. r->seen: messages removed; r->more: again. */
void quar_expire(struct quar *q, struct quar_req *r);

/* ---- the allow table: in memory as a whole, at most allow_limit rows ---- */

/* RC_TEMP: it is full. RC_PERM: no address. The same again changes nothing but note and who. */
void quar_allow_add(struct quar *q, struct quar_req *r, const struct quar_allow *a);
void quar_allow_remove(struct quar *q, struct quar_req *r, struct span sender, struct span recipient);
void quar_allow_list(struct quar *q, struct quar_req *r);
/* At once. Never for class virus. Sender and recipient: addresses in internal form; the null sender is never allowed. */
bool quar_allowed(const struct quar *q, enum held_class class, struct span sender, struct span recipient);

/* ---- who was told what (digests) ---- */

/* Begins a round: r->cursor is its upto (usec), later than that of any before. What is stored from here on, however early it arrived, is
 * for the next round. */
void quar_told_begin(struct quar *q, struct quar_req *r);
/* Recipients behind after (empty: from the first) that have held mail newer than they were told of and not newer than upto (usec; 0: now), in
 * order of addresses, at most limit. r->told, r->n, r->more. */
void quar_told_list(struct quar *q, struct quar_req *r, struct span after, uint64_t upto, uint32_t limit);
/* He was told of everything up to there. */
void quar_told_set(struct quar *q, struct quar_req *r, struct span addr, uint64_t upto);

/* ---- checking ---- */

enum quar_check_flags {
	QUAR_CHECK_REPAIR = 1,   /* all of it: entries whose file is gone are removed, damaged files go to corrupt/ */
	QUAR_CHECK_SUMS = 2,     /* of content, too */
	QUAR_CHECK_STATES = 4,   /* repairs QUAR_FLAW_STATES alone: nothing is removed, whatever is missing */
};
/* A slice of a check of index against files; r->findings, r->seen, r->more. cursor 0: from the beginning; then r->cursor. */
void quar_check(struct quar *q, struct quar_req *r, unsigned flags, uint64_t cursor);

#endif
