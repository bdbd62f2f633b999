/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * held.h - why a message was held, and what people want to know of it: made by the edge with the message, carried in the
 * envelope (opaque there), kept by the quarantine.
 *
 * Texts are clean (printable UTF-8 without control characters) and bounded; who reads them checks that again, because the edge may
 * have been taken over. The encoding has a version byte in front.
 */
#ifndef MSG_HELD_H
#define MSG_HELD_H

#include "base/arena.h"
#include "base/buf.h"

/* Why; retention and recipients' wishes go by it. The names are those of the configuration. */
enum held_class {
	HELD_NONE = 0,
	HELD_POLICY,             /* policy: a restriction's QUARANTINE */
	HELD_CONTENT,            /* content: header and body checks */
	HELD_MILTER,             /* milter: its quarantine verb, or its default action */
	HELD_VIRUS,              /* virus */
	HELD_ATTACHMENT,         /* attachment */
	HELD_UNSCANNED,          /* unscanned: the engine was away (virus_unavailable = hold-and-rescan) */
	HELD_CLASSES
};
const char *held_class_name(enum held_class c);          /* NULL: no class */
enum held_class held_class_of(struct span name);         /* HELD_NONE: unknown */

enum {
	HELD_TEXT_MAX = 1024,    /* octets of each text */
	HELD_TRACE_MAX = 16 * 1024,
	HELD_PARTS_MAX = 200,
	HELD_BYTES_MAX = 256 * 1024, /* of an encoding */
};

/* Where it is; its sum is made by the store or when somebody looks (msg/partsum.h), never by the edge. */
struct held_part {
	uint32_t depth;          /* 0: the message itself */
	struct span type;        /* "image/png", lower case */
	struct span name;        /* file name as mail clients show it; may be empty */
	uint64_t at, length;     /* its octets in the content, as they stand there; parts are in order and share none */
	uint8_t how;             /* what they are encoded in: DECODE_... of msg/words.h */
	/* not in the encoding but for those that old files have (at, length: 0) */
	bool is_summed;
	uint64_t size;           /* octets, decoded */
	unsigned char sha256[32];/* of the decoded octets */
};

struct held {
	enum held_class class;
	struct span reason;      /* for people: "Eicar-Test-Signature", "Subject: ... matched header_checks" */
	struct span filter;      /* milter or parameter that held it */
	struct span rule;        /* restriction, pattern or rule */
	struct span signature;   /* of a virus */
	struct span score;       /* as the filter said it */
	struct span client_name, client_addr, helo, tls, login;
	struct span subject, from, message_id;   /* of the header, decoded; subject and from may be cut */
	struct span trace;       /* one line each: what was asked and what it said, in order */
	uint32_t nparts;
	const struct held_part *parts;
};

void held_put(struct buf *b, const struct held *h);
/* Spans point into in, parts into the arena. RC_PERM: not an encoding, or a text that is not clean. Where parts are is not checked. */
enum rc held_get(struct span in, struct arena *a, struct held *out) MUST_CHECK;

#endif
