/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * content.h - the content of one message on its way in: lines made right, header looked at, limits kept,
 * in memory while it is small and in a draft (a file of the spool) when it is not. Filters read it back while it arrives, and
 * may have it changed when all of it is there (content_edit.c).
 *
 * The header stays in memory until it is complete and, when something in it has to change, until the owner has changed
 * it (content_wants_edit()): a draft only ever gets what is final.
 *
 * Knows no session and no IPC: the owner asks for a draft when content_wants_draft() says so and hands the
 * descriptor over. Whatever is wrong with the content is remembered (fault) and the rest is swallowed without being
 * kept, so that the session stays in step. Embedded in the transaction; memory comes with the first octet.
 */
#ifndef SMTP_CONTENT_H
#define SMTP_CONTENT_H

#include "base/buf.h"
#include "msg/header.h"
#include "msg/mime7.h"
#include "smtp/line.h"

enum content_fault {
	CONTENT_FINE = 0,
	CONTENT_TOO_BIG,         /* message_size_limit */
	CONTENT_HEADER_TOO_BIG,  /* header_size_limit, or too many headers */
	CONTENT_TOO_MANY_HOPS,   /* hopcount_limit */
	CONTENT_BARE_LF,         /* and smtpd_forbid_bare_newline = reject */
	CONTENT_NOT_NOW,         /* a table could not be asked about it */
	CONTENT_REFUSED,         /* by a check; whose owner knows what to say */
	CONTENT_NO_DRAFT,        /* the draft could not be written */
	CONTENT_DRAFT_FULL,      /* for want of space */
};

struct content_limits {
	uint64_t size;           /* octets without our Received; 0: none */
	uint64_t header_size;    /* of one header with its continuation lines */
	uint32_t header_count;
	uint64_t header_total;   /* of all headers */
	uint32_t hops;           /* Received headers */
	size_t inline_max;       /* more goes to a draft */
	bool refuse_bare_lf;
};

enum { CONTENT_CHAR_REJECT = 1, CONTENT_CHAR_STRIP = 2 };

struct content {
	struct content_limits limits;
	struct line_data line;
	struct header_scan header;
	enum content_fault fault;
	uint64_t len;            /* octets of the whole content so far, Received included */
	uint64_t client_len;     /* of them, what the client said: lines made right, nothing of ours */
	uint32_t crc;            /* CRC-32C of what went to the draft; of all after content_finish() */
	struct buf out;          /* the content, or what has not gone to the draft yet */
	size_t scanned;          /* octets of out (from its front) the header walk has settled */
	size_t header_end;       /* octets of the header at the front of out, once it is over and until it is settled */
	uint64_t body_at;        /* where the body begins, behind the empty line; valid with header.done */
	bool always_edit;        /* the owner wants to see every header */
	bool is_settled;         /* the header is final: it may go to a draft */
	bool is_checked;         /* the owner looks at the body before it is final */
	struct mime7 *to7;       /* heap; what says that it is 8-bit becomes quoted-printable; NULL: it stays */
	const uint8_t *chars;    /* CONTENT_CHAR_* by octet; the owner's; NULL: all are welcome */
	bool has_bad;            /* a CONTENT_CHAR_REJECT, at bad_at of out: nothing should be fed any more but by who refuses it */
	size_t bad_at;
	size_t pending;          /* octets at the end of out that he has not passed yet */
	bool is_whole;           /* content_finish() is through with it */
	int draft_fd;            /* -1: none */
	uint64_t draft_at;       /* offset of the content in it, when content_read_body() needed it; 0: not looked up yet */
};

/* dots: DATA, otherwise BDAT. */
void content_init(struct content *c, const struct content_limits *limits, bool dots);
/* Closes the draft's descriptor, frees the memory. Idempotent, and fine on zeroed memory. */
void content_fini(struct content *c);

/* Room for about so many octets (SIZE=); the buffer our own header is written into, before any input. Headers put in
 * front of it are at most header_total octets. */
struct buf *content_front(struct content *c, uint64_t expected);
void content_front_done(struct content *c);

/* Before any input: names that make content_wants_edit() true when they appear (kept by reference, may be NULL), or always. */
void content_watch(struct content *c, const struct header_watch *watch, bool always);

/* Before any input: what says that it is 8-bit becomes quoted-printable before anybody looks at it (force_mime_input_conversion). */
void content_convert(struct content *c);

/* Takes octets; gives how many were used (fewer than all only at the end of DATA, then c->line.ended is
 * set). Pieces of any size, but not more than CONTENT_PIECE are taken at a time. */
enum { CONTENT_PIECE = 64 * 1024 };
size_t content_feed(struct content *c, struct span in);
/* No more will come: decides about what is held back, writes the rest to the draft, sums up. When
 * content_wants_edit() or content_wants_draft() afterwards: again, once that is done. */
void content_finish(struct content *c);
/* The draft is complete: closes it. */
void content_close(struct content *c);

/* The header is over and something in it may have to change. While it says so nothing should be fed. */
bool content_wants_edit(const struct content *c);
/* All of it from the front (our own Received included), without the empty line. Borrowed until the next call. */
struct span content_header(const struct content *c);
/* That is what it shall be. header may be what content_header() gave: nothing changes. */
void content_settle_header(struct content *c, struct span header);

/* ---- a body that is looked at while it comes ---- */

/* Nothing of the body is final before content_pass(). Once the header is settled. */
void content_check_body(struct content *c);
/* What has not been passed, from behind the empty line on. Borrowed until the next call. */
struct span content_pending(const struct content *c);
/* The first n octets of it are final: as they are (instead NULL), or instead. message_size_limit holds for what it becomes. */
void content_pass(struct content *c, size_t n, const struct span *instead);
/* What is left is final as it is, and so is whatever else comes. content_finish() has to be called again. */
void content_check_end(struct content *c);

/* More than may stay in memory. While it says so nothing should be fed. */
bool content_wants_draft(const struct content *c);
/* fd is given. */
void content_draft_open(struct content *c, int fd);
/* Gives up: nothing more is kept. */
void content_fail(struct content *c, enum content_fault fault);

/* ---- what filters read and change (content_edit.c) ---- */

/* Nothing of the header changes any more, and the message is fine so far. */
bool content_header_is_final(const struct content *c);
/* The header, into out. RC_TEMP: the draft cannot be read. */
enum rc content_read_header(struct content *c, struct buf *out) MUST_CHECK;
/* At most max octets of the body from pos on, into out, which is emptied first. RC_NONE: there are none yet. */
enum rc content_read_body(struct content *c, uint64_t pos, size_t max, struct buf *out) MUST_CHECK;
uint64_t content_body_len(const struct content *c); /* so far */
/* Both without a copy, borrowed until the next call of anything here; false: some of it is in the draft. */
bool content_in_memory(const struct content *c, struct span *header_out, struct span *body_out);

/* Another header, or body, for a message that is whole. Whatever lines they have are made right. */
struct content_change {
	struct span header;          /* without the empty line */
	bool has_body;               /* else the body stays */
	struct span body;            /* when body_fd is -1 */
	int body_fd;                 /* where it was written, from body_at on; borrowed */
	uint64_t body_at, body_len;
};
/* Can it be done without another draft? */
bool content_change_fits(const struct content *c, const struct content_change *n);
/* It was: what is wrong is the content's fault. */
void content_change_here(struct content *c, const struct content_change *n);
/* Into another draft (given), CONTENT_COPY_TURN octets a call, until it is true: then that one is the draft, the one before closed. */
struct content_copy {
	int fd;
	bool begun;
	uint64_t done, left;         /* of a body that is copied as it is */
	struct content to;
};
enum { CONTENT_COPY_TURN = 4 * 1024 * 1024 };
void content_copy_begin(struct content_copy *k, int fd);
bool content_copy_on(struct content_copy *k, struct content *c, const struct content_change *n);
void content_copy_fini(struct content_copy *k); /* idempotent */

/* MSGF_HAS_* and MSGF_UTF8_HEADERS. */
unsigned content_flags(const struct content *c);

#endif
