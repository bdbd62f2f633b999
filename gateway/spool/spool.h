/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * spool.h - durable storage of messages: a journal that commits many at once, and files for what
 * is large or outlives its segment.
 *
 * Knows no SMTP: a message is an id, an envelope (opaque bytes), content, and a state (opaque bytes,
 * replaced as a whole). Runs in: queue. The loop gathers records; one commit thread writes them and calls
 * fdatasync; meanwhile the loop gathers the next batch. Records appended in one loop turn reach the
 * disk in that order. They are usually one batch, but a batch is not atomic: whoever needs one record to be
 * there before another (a report before the end of what it reports on) waits for the first one's op.
 *
 * Promise: when spool_accept's op ends with RC_OK the message is found again by spool_recover after any
 * crash, until spool_done. After RC_TEMP it is not (unless the crash comes before the spool could write
 * down that it is not: the client heard no 250 then either).
 */
#ifndef SPOOL_SPOOL_H
#define SPOOL_SPOOL_H

#include "base/buf.h"
#include "base/htab.h"
#include "loop/op.h"

/* ---- queue ids: Postfix's long form (facts 7.1), a time and a number, unique for ever ---- */
struct spool_id {
	uint64_t usec;           /* wall clock when it was made */
	uint32_t serial;         /* in the place of the inode: tells processes of one machine apart */
};
enum { SPOOL_ID_TEXT = 28 };     /* longest text and its NUL */
/* Base 52 without vowels: 6 or more digits of seconds, 4 of microseconds, 'z', base 51 serial. */
size_t spool_id_text(const struct spool_id *id, char out[SPOOL_ID_TEXT]);
enum rc spool_id_parse(struct span text, struct spool_id *out) MUST_CHECK;  /* RC_PERM: no queue id */
/* A new one: later than every one this process made before. An id is offered to the spool once, also when it is refused. */
struct spool_id spool_id_next(uint32_t serial);

/* ---- one stored message; embedded in its owner's object, which must outlive spool_done ---- */
struct spool_msg {
	struct spool_id id;
	uint64_t length;         /* of the content */
	uint64_t segment;        /* journal segment with the content; 0: in a file of its own */
	uint64_t offset;         /* of the content in the segment or file */
	/* private */
	struct hnode by_id;
	uint64_t last_segment;   /* newest segment that holds a record of it */
	uint32_t version;        /* of its state */
	uint32_t pins;
	struct list in_segment;  /* messages whose oldest live record is in one segment */
	uint32_t head;           /* bytes of its record before the content */
	uint8_t flags;
};

struct spool;

struct spool_settings {
	const char *dir;         /* queue_directory; journal/, messages/, drafts/, corrupt/ are made below it */
	uint64_t segment_bytes;  /* spool_segment_size */
	unsigned segments_min;   /* made at start; recycled for ever */
	unsigned segments_max;   /* then the oldest messages move to files */
	uint64_t inline_max;     /* spool_inline_limit: larger content goes through a draft */
	uint64_t reserve_bytes;  /* bytes of the file system that stay free (queue_minfree) */
	uint32_t uid, gid;       /* 0: as they come; else what spool_open makes is given to them (needs root) */
};

struct spool_ops {
	/* During spool_recover, once per message that is not done, in order of their ids (time): make the owner's
	 * object and return its spool_msg (fields filled in by the spool afterwards). state is empty when
	 * none was written. NULL: the envelope is unreadable; the message is set aside in corrupt/. */
	struct spool_msg *(*recovered)(void *owner, const struct spool_id *id, struct span envelope, struct span state);
	/* The message moves to a file: write its envelope and its present state (both empty-able). */
	void (*describe)(void *owner, struct spool_msg *m, struct buf *envelope_out, struct buf *state_out);
	/* Content moved: m->segment and m->offset changed. Optional. */
	void (*moved)(void *owner, struct spool_msg *m);
	/* A segment is about to be reused: descriptors of it must not be read any more. */
	void (*segment_gone)(void *owner, uint64_t segment);
	/* accepting or free space changed. */
	void (*admission)(void *owner, bool accepting, uint64_t free_bytes);
};

/* What recovery saw, for the log. */
struct spool_report {
	uint64_t messages, records, bytes;   /* found; read */
	uint64_t damaged_places, damaged_bytes; /* inside the journal, not at its torn tail */
	uint64_t torn_bytes;                 /* cut at the tail */
	uint64_t set_aside;                  /* files moved to corrupt/ */
	uint64_t usec;
};

/* Creates or opens the directories; owner and modes are made right (facts 1.5 of the contract).
 * May be called before the process gives up its rights; keeps directory descriptors. */
enum rc spool_open(struct spool **out, const struct spool_settings *s, const struct spool_ops *ops, void *owner, struct err *e) MUST_CHECK;
/* Reads journal and files; calls ops->recovered. Then starts the commit thread. Idempotent across crashes. */
enum rc spool_recover(struct spool *s, struct spool_report *out, struct err *e) MUST_CHECK;
/* Commits what is pending, waits for the threads, closes. */
void spool_close(struct spool **sp);
void spool_reconfigure(struct spool *s, const struct spool_settings *settings); /* on reload; dir is not changed */

/* Accepts a message. envelope and content are copied before return. op (pending on return) ends after
 * the commit: RC_OK; RC_TEMP: disk full (e.why in spool_last_error) or failed, m is forgotten.
 * Refused at once with RC_TEMP through op when the spool is not accepting; RC_PERM: id in use. */
void spool_accept(struct spool *s, struct spool_msg *m, const struct spool_id *id, struct span envelope, struct span content, struct op *op);
/* The same for content already in a draft; the draft is used up either way. RC_PERM: length or sum disagree. */
void spool_accept_draft(struct spool *s, struct spool_msg *m, const struct spool_id *id, struct span envelope, uint64_t draft,
    uint64_t content_len, uint32_t content_crc, struct op *op);
/* Why the last accept failed: true if for want of space. */
bool spool_was_full(const struct spool *s);

/* A nameless file for content, written from the descriptor's current offset on. fd_out is given (reading and writing). */
enum rc spool_draft_open(struct spool *s, uint64_t *draft_out, int *fd_out, struct err *e) MUST_CHECK;
void spool_draft_drop(struct spool *s, uint64_t draft);  /* unknown numbers are ignored */
size_t spool_draft_count(const struct spool *s);

/* New state of a message, replacing the one before; durable with the next commit. op may be NULL; while the disk
 * fails it stays pending. RC_TEMP: larger than a record can be (about 1 MiB), or the spool is closing. */
void spool_state(struct spool *s, struct spool_msg *m, struct span state, struct op *op);
/* The message is finished: recorded, its file is removed after that is durable. m is forgotten on return; it must
 * not be pinned. Its accept may still be pending when the owner has cancelled that op. */
void spool_done(struct spool *s, struct spool_msg *m);

struct spool_msg *spool_find(const struct spool *s, const struct spool_id *id);

/* While pinned, content stays where it is (a delivery reads it). Counted. m->segment and m->offset may change in
 * spool_unpin itself; moved() is not called for that. */
void spool_pin(struct spool *s, struct spool_msg *m);
void spool_unpin(struct spool *s, struct spool_msg *m);
/* Read-only descriptor of the segment m->segment, borrowed, valid until segment_gone. */
int spool_segment_fd(const struct spool *s, uint64_t segment);
/* Opens a message's own file read-only; given. RC_TEMP: cannot. RC_PERM: its content is gone or damaged (what was
 * left is in corrupt/): nothing can be delivered any more, end it with spool_done. The first time after a
 * restart the content's sum is checked here. */
enum rc spool_file_open(struct spool *s, struct spool_msg *m, int *fd_out, struct err *e) MUST_CHECK;
/* Reads up to n bytes of content from pos into out; for reports and postcat. */
enum rc spool_read(struct spool *s, struct spool_msg *m, uint64_t pos, size_t n, struct buf *out, struct err *e) MUST_CHECK;

bool spool_accepting(const struct spool *s);
uint64_t spool_free_bytes(const struct spool *s);

#endif
