/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * msgfile.h - one message in a file of its own: header, content, records.
 *
 *	 0 "DOGANAM1"   8 u32 version  12 u32 CRC-32C of bytes 16 to 64
 *	16 u64, 24 u32 queue id        28 u32 CRC-32C of the content
 *	32 u64 bytes of content        40 zeros up to 64
 *	64 content, zeros up to a multiple of 8, then records with stamp 0: one ACCEPT (head: the envelope,
 *	   no body), and a STATE for each state that had to be taken out of the journal
 *
 * Everything here is called from the filer and, before it runs, from recovery; it blocks.
 */
#ifndef SPOOL_MSGFILE_H
#define SPOOL_MSGFILE_H

#include "spool/record.h"

enum { FILE_HEADER = 64 };

struct file_head {
	struct spool_id id;
	uint64_t length;
	uint32_t crc;
};
void file_head_put(unsigned char p[FILE_HEADER], const struct file_head *h);
enum rc file_head_get(struct span in, struct file_head *out) MUST_CHECK;

/* Where the records begin. */
static inline uint64_t
file_records_at(uint64_t length)
{
	return FILE_HEADER + ((length + REC_ALIGN - 1) & ~(uint64_t)(REC_ALIGN - 1));
}

/* CRC-32C of length bytes at from. 0, or the errno; ENODATA when the file is shorter. */
int file_sum(int fd, uint64_t from, uint64_t length, uint32_t *crc_out) MUST_CHECK;

/* What one file says. */
struct file_view {
	struct file_head head;
	struct span envelope, state;     /* borrowed from tail */
	uint32_t version;                /* of state, 0: none was written */
	uint64_t records_end;            /* behind the last good record */
	bool dirty_end;                  /* there is something behind it: cut before appending */
	uint64_t damaged;                /* bytes between good records */
	struct buf tail;                 /* owned: file_view_fini */
};
/* Reads header and records, not the content. RC_PERM: no message file (why says), RC_TEMP: cannot read. */
enum rc file_view_read(int fd, struct file_view *out, struct err *e) MUST_CHECK;
void file_view_fini(struct file_view *v);

#endif
