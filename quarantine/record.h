/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * record.h - bytes of a file of the quarantine: the message as it is, then records.
 *
 * The content begins at offset 0 and can be read by anything that reads mail. Behind it, zeros up to a multiple of 8, then one
 * trailer (envelope, who is held) and a note for each change of a recipient's state. A record:
 *
 *	 0 "DOGANAQ1"   8 u32 type  12 u32 octets of the record, a multiple of 8
 *	16 u64 octets of content   24 u64, 32 u32 queue id   36 u32 CRC-32C of the content
 *	40 payload, zeros; the last 8: u32 octets again, u32 CRC-32C of all before it
 *
 * The end of a file leads to its last record, that to the trailer; a torn end (a note that was being written) is skipped. The id
 * has to be the file's name: content that looks like records is of another name. Pure functions; fuzzed.
 */
#ifndef QUARANTINE_RECORD_H
#define QUARANTINE_RECORD_H

#include "quarantine/store.h"

enum { QREC_HEAD = 40, QREC_END = 8, QREC_ALIGN = 8 };
enum { QREC_MAX = 64 << 20 };                    /* octets of one record */

enum qrec_type { QREC_TRAILER = 1, QREC_NOTE = 2 };

struct qrec_common {
	struct spool_id id;
	uint64_t length;
	uint32_t crc;
};

/* A change of some recipients' state. */
struct qnote_rcpt {
	uint32_t number;
	struct span added;               /* address of one who is no recipient of the message; else empty */
};
struct qnote {
	enum quar_state state;
	struct spool_id copy;
	uint64_t when;
	struct span by;
	uint32_t n;
	const struct qnote_rcpt *rcpt;
};

/* Where the records begin. */
static inline uint64_t
qrec_at(uint64_t length)
{
	return (length + QREC_ALIGN - 1) & ~(uint64_t)(QREC_ALIGN - 1);
}

/* Appends a record. envelope: encoded; numbers: NULL is 0 to n - 1. */
void qrec_put_trailer(struct buf *b, const struct qrec_common *c, struct span envelope, const uint32_t *numbers, uint32_t n);
void qrec_put_note(struct buf *b, const struct qrec_common *c, const struct qnote *note);

/* One record at the front of in. RC_PERM: none. *used_out: its octets. Spans point into in. */
struct qrec {
	enum qrec_type type;
	struct qrec_common c;
	struct span payload;
};
enum rc qrec_get(struct span in, struct qrec *out, size_t *used_out) MUST_CHECK;

/* What a file says, from the octets behind its content. */
struct qview {
	struct qrec_common c;
	struct envelope env;
	struct quar_rcpt *rcpt;          /* those who are or were held, in the order they came; .addr of added ones */
	uint32_t *numbers;               /* of each */
	uint32_t nrcpt;
	uint32_t nsorted;                /* of them in order of their numbers */
	uint32_t next_number;            /* for one who is added */
	size_t good;                     /* octets of good records; what follows is to be cut before appending */
};
/* tail: the octets from qrec_at(length) on, id: of the name. Spans point into tail, arrays into the arena. RC_PERM: damaged, why says. */
enum rc qview_get(struct span tail, const struct spool_id *id, struct arena *a, struct qview *out, struct err *e) MUST_CHECK;
/* What a file that is just being written will say: c, env and all in it are borrowed as long as v lives. false: the arena is full. */
bool qview_init(struct qview *v, const struct qrec_common *c, const struct envelope *env, const uint32_t *numbers, uint32_t n, struct arena *a);
/* The recipient with a number, or NULL. */
struct quar_rcpt *qview_rcpt(const struct qview *v, uint32_t number);
/* Applies a note; what it says of unknown recipients is ignored. false: the arena is full. */
bool qview_apply(struct qview *v, struct arena *a, const struct qnote *note);
enum rc qnote_get(struct span payload, struct arena *a, struct qnote *out) MUST_CHECK;

/* Octets of content as the last good record in end (the last octets of a file of size octets) says, for the file with that name.
 * RC_PERM: there is none. */
enum rc qrec_find_length(struct span end, uint64_t size, const struct spool_id *id, uint64_t *length_out) MUST_CHECK;

#endif
