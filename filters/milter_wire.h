/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * milter_wire.h - the packets of the milter protocol (facts 9.3), MTA side: pure functions over octets.
 *
 * A packet is a length of four octets, big endian, that counts what follows it, one octet of command, and its data. Nothing
 * is allocated for an announced length: a packet is there when its octets are.
 */
#ifndef FILTERS_MILTER_WIRE_H
#define FILTERS_MILTER_WIRE_H

#include "base/buf.h"

#include <libmilter/mfapi.h> /* SMFIF_ bits */
#include <libmilter/mfdef.h>

enum {
	MW_FRAME_MAX = 1024 * 1024, /* octets of a packet from a milter, its length not counted */
	MW_CHUNK = MILTER_CHUNK_SIZE,
	MW_STAGES = 7,              /* SETSYMLIST: connect, helo, mail, rcpt, data, end of message, end of header */
	MW_REPLY_MAX = 16 * 1024,   /* of a reply text, cleaned */
};

/* ---- reading ---- */

enum mw_state { MW_MORE = 0, MW_FRAME, MW_BAD };

struct mw_frame {
	unsigned char cmd;
	struct span data;           /* borrowed from the input */
	size_t used;                /* octets of input that were this packet */
};

/* The packet at the front of in. MW_BAD: its length is impossible, *length_out has it. */
enum mw_state mw_next(struct span in, struct mw_frame *out, uint32_t *length_out);

/* What a milter says to our offer. */
struct mw_options {
	uint32_t version, actions, steps;
	struct span symlist[MW_STAGES]; /* macro names it wants; empty: not said */
	bool has_symlist[MW_STAGES];
	bool has_strange_stage;     /* a list for a stage that there is not; left out */
};
enum rc mw_options(struct span data, struct mw_options *out) MUST_CHECK;

/* String and string: both end in NUL, and nothing follows. */
enum rc mw_two(struct span data, struct span *a, struct span *b) MUST_CHECK;
/* Four octets, then mw_two(). */
enum rc mw_indexed(struct span data, uint32_t *index, struct span *a, struct span *b) MUST_CHECK;
/* One string that ends in NUL, then, when rest is not NULL, perhaps others. */
enum rc mw_one(struct span data, struct span *a, struct span *rest) MUST_CHECK;

/* The text of a reply (y): "554 5.7.1 text", lines separated by CRLF or LF. Into out: lines of one code, "554-..." and at last "554 ...",
 * separated by LF; control characters are '?', %% is %. RC_PERM: not a reply (it must begin with 4dd or 5dd and an
 * enhanced code of the same class). */
enum rc mw_reply(struct span data, struct buf *out, unsigned *code_out) MUST_CHECK;

/* ---- writing ---- */

/* Begins a packet at the end of b; mw_end() with what it returned sets its length. */
size_t mw_begin(struct buf *b, unsigned char cmd);
void mw_end(struct buf *b, size_t mark);
void mw_simple(struct buf *b, unsigned char cmd);
void mw_be32(struct buf *b, uint32_t v);
/* A string and its NUL; NUL, CR and LF inside become spaces. */
void mw_string(struct buf *b, struct span s);
/* The same of a header's value: CRLF becomes LF. */
void mw_value(struct buf *b, struct span s);

/* ---- names, for the log ---- */

const char *mw_command_name(unsigned char cmd);  /* "SMFIC_BODYEOB"; "(unknown MTA event)" */
const char *mw_reply_name(unsigned char cmd);    /* "SMFIR_CONTINUE"; "(unknown filter reply)" */

/* ---- a replaced body ---- */

/* Pieces in, complete lines with CRLF out: a lone LF ends a line, a CR that ends none is a space. Begin with zeroes. */
struct mw_lines {
	bool has_cr;                /* the last octet was CR */
	bool is_open;               /* a line has begun */
};
void mw_lines_put(struct mw_lines *l, struct span piece, struct buf *out);
void mw_lines_end(struct mw_lines *l, struct buf *out);

#endif
