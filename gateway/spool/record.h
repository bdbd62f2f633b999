/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * record.h - the bytes of the journal and of message files: pure functions over spans.
 *
 * A record (numbers little-endian, begins on a multiple of 8):
 *	 0 u32 "DgR" and the type    4 u32 CRC-32C of bytes 8 to the end of the body
 *	 8 u64 stamp of the segment (0 in message files)
 *	16 u64, 24 u32 queue id      28 u32 version of the message's state
 *	32 u32 batch                 36 u32 its number within the batch
 *	40 u32 bytes of head         44 u32 bytes of body
 *	48 head (ACCEPT: the envelope), body (ACCEPT: content, STATE: the state), zeros up to a multiple of 8
 *
 * The stamp is the low half of the segment's generation and a random number drawn each time the segment
 * is used anew: a recycled segment is full of old records with right sums, and content sent to us may
 * hold anything, also something that looks like a record. Neither can carry the stamp.
 *
 * Batch and number say what one fdatasync covered: batches are strictly one after the other, so a
 * hole in a batch that the next one follows is damage, and in the last one may be a torn write. Each
 * process leaves out one number when it starts, so its predecessor's last batch stays known as such.
 */
#ifndef SPOOL_RECORD_H
#define SPOOL_RECORD_H

#include "spool/spool.h"

enum rec_type { REC_NONE = 0, REC_ACCEPT, REC_STATE, REC_DONE, REC_ABORT, REC_TYPES };

enum { REC_HEADER = 48, REC_ALIGN = 8, SEG_PAGE = 4096, SEG_HEADER = SEG_PAGE };

struct rec {
	enum rec_type type;
	struct spool_id id;
	uint32_t version;
	uint64_t stamp;
	uint32_t batch, number;
	struct span head, body;   /* borrowed from the bytes given */
};

/* Bytes on disk, padding included; SIZE_MAX when it does not fit the length fields. */
size_t rec_size(size_t head, size_t body);
/* Writes header, head, body and padding; rec_size() bytes. Stamp, batch, number and sum come later. */
void rec_put(unsigned char *p, enum rec_type type, const struct spool_id *id, uint32_t version, struct span head, struct span body);
void rec_place(unsigned char *p, uint64_t stamp, uint32_t batch, uint32_t number);
void rec_sum(unsigned char *p);
/* Reads parts of a record of our own making. */
enum rec_type rec_type_of(const unsigned char *p);
struct spool_id rec_id_of(const unsigned char *p);
uint32_t rec_version_of(const unsigned char *p);
void rec_lengths(const unsigned char *p, uint32_t *head, uint32_t *body);

/* The length a header claims; 0: these REC_HEADER bytes do not begin a record of this stamp. */
size_t rec_claims(const unsigned char *p, uint64_t stamp);
/* Reads the record at the front of in. RC_OK; RC_NONE: no record of this stamp begins here;
 * RC_PERM: one begins, but its sum is wrong or in is too short. */
enum rc rec_get(struct span in, uint64_t stamp, struct rec *out) MUST_CHECK;

/* ---- the header of a segment: kept twice in its first page ---- */
struct seg_head {
	uint64_t generation;     /* also the segment's number for its users */
	uint64_t size;
	uint32_t nonce;
	unsigned char spool[16]; /* which spool it belongs to */
};
void seg_head_put(unsigned char page[SEG_HEADER], const struct seg_head *h);
enum rc seg_head_get(struct span page, struct seg_head *out) MUST_CHECK; /* RC_PERM: neither copy is right */
static inline uint64_t
seg_stamp(const struct seg_head *h)
{
	return (h->generation & UINT32_MAX) | (uint64_t)h->nonce << 32;
}

/* ---- walking over records ---- */
struct scan {
	/* n bytes at off, valid until the next call; NULL past the end. Unreadable bytes read as zeros. */
	const unsigned char *(*get)(void *arg, uint64_t off, size_t n);
	void *arg;
	uint64_t at, end;
	uint64_t stamp;
};
enum scan_what {
	SCAN_END = 0,            /* nothing more */
	SCAN_RECORD,
	SCAN_DAMAGE,             /* bytes that are no record, and records follow */
	SCAN_TORN,               /* the same with no record behind it: a write that was cut */
};
struct scan_item {
	uint64_t off, len;       /* where; len of a record includes its padding */
	struct rec rec;          /* SCAN_RECORD only; borrowed until the next call */
};
enum scan_what scan_next(struct scan *s, struct scan_item *out);

#endif
