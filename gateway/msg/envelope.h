/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * envelope.h - who sent a message to whom, and what was promised about it; and its encoding in the
 * spool and between edge and queue. The encoding has a version byte in front; an older one stays readable.
 */
#ifndef MSG_ENVELOPE_H
#define MSG_ENVELOPE_H

#include "base/arena.h"
#include "base/buf.h"

/* Flags are MSGF_* and notify is NOTIFY_* of ipc/msgs.h's numbers, repeated in no second place. */
struct env_rcpt {
	struct span addr;        /* local@domain, internal (unquoted) form */
	struct span orig;        /* as given by the client when rewriting changed it; else empty */
	struct span orcpt;       /* "type;xtext", RFC 3461 4.2; empty: not given */
	uint8_t notify;          /* 0: not given */
	bool held;               /* goes to the quarantine, not to its next hop */
	bool no_copy;            /* no automatic BCC is made for it; not stored */
};

struct envelope {
	uint64_t arrival;        /* wall clock, usec */
	uint32_t flags;
	struct span sender;      /* empty: null sender */
	struct span envid;       /* xtext as given; may be empty */
	struct span client;      /* "host[ip]" for logs and tools */
	struct span filter;      /* "transport:nexthop" all recipients go to instead of their own (content_filter, FILTER); empty: none */
	struct span forward;     /* XFORWARD attributes of the client as they are sent on: "NAME=x ADDR=y ..."; empty: none */
	struct span held;        /* msg/held.h's encoding: why some or all recipients are held; empty: none is */
	uint32_t nrcpt;
	struct env_rcpt *rcpt;   /* in order of acceptance */
};

void envelope_put(struct buf *b, const struct envelope *env);
/* Spans point into in, the recipient array into the arena. RC_PERM: not an envelope. */
enum rc envelope_get(struct span in, struct arena *a, struct envelope *out) MUST_CHECK;

#endif
