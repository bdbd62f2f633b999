/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * exchange.h - one login: what the client says goes to a backend (Dovecot's auth server, or libsasl2 in the auth process), and
 * what the backend says comes back.
 *
 * Embedded in its owner. Texts are base64 as they are on the wire; the owner has looked that they are. The op is done from the
 * loop, always RC_OK, and the outcome says the rest; a backend that is not there or too slow is SASL_NOT_NOW, never silence.
 * Buffers are wiped. Runs in: edge.
 *
 *	sasl_exchange_init(&x, &owner, done);
 *	sasl_exchange_begin(&x, setup, &who, mech, true, initial);
 *	static void done(struct op *op) { ... GOES_ON: 334 x->text; later sasl_exchange_answer(&x, line) }
 *	sasl_exchange_fini(&x);                           cancels; the backend is told
 */
#ifndef SASL_EXCHANGE_H
#define SASL_EXCHANGE_H

#include "base/ipaddr.h"
#include "ipc/ipc.h"

struct sasl_setup;
struct dovecot;

enum {
	SASL_RESPONSE_MAX = 64 * 1024, SASL_TEXT_MAX = 64 * 1024,
	SASL_DOVECOT_MAX = 16000,    /* octets of a line to Dovecot: behind 16384 it ends the connection, which all sessions share */
};

/* Exchanges that wait for their client's next line, in one process: who holds many of them, and says nothing, takes logins from nobody.
 * When there is one too many the oldest goes (of the same client network first); its client hears SASL_NOT_NOW to its next line. */
enum { SASL_TURNS_MAX = 512, SASL_TURNS_NETWORK_MAX = 25 };

enum sasl_outcome { SASL_GOES_ON = 1, SASL_DONE, SASL_FAILED, SASL_NOT_NOW };

struct sasl_who {                    /* borrowed while it begins */
	struct span client_addr, server_addr; /* text */
	struct ipaddr network;       /* of the client */
	bool is_tls;
};

struct sasl_exchange {
	struct op op;
	enum sasl_outcome outcome;   /* valid in done() */
	struct buf text;             /* GOES_ON: the challenge, base64; FAILED, NOT_NOW: the reason, may be empty */
	struct buf user;             /* DONE: who it is; FAILED: who it was said to be, may be empty */
	/* private */
	const struct sasl_setup *setup;
	struct list turn;            /* among those that wait for their client, the oldest first */
	struct ipaddr network;
	bool is_expelled;            /* there were too many of these */
	struct list link;            /* Dovecot: among those that wait, or that are asked */
	struct hnode by_id;
	uint32_t id;
	enum { SASL_X_IDLE = 0, SASL_X_WAITS, SASL_X_ASKED, SASL_X_THEIRS } state;
	bool is_first;               /* nothing has been answered yet: may be asked anew */
	unsigned tries;
	uint64_t asked_at;
	enum sasl_outcome early;     /* it ended while the client was to speak; 0: it did not */
	struct buf request;          /* until it is answered, behind the id */
	struct timer timer;
	struct op_owner ops;
	struct ipc_call call;        /* the auth process */
	uint64_t context;            /* there; 0: none */
	struct ipc_chan *chan;       /* only to be compared */
};

void sasl_exchange_init(struct sasl_exchange *x, struct op_owner *owner, op_fn *done);
/* mech: the name as the backend has it. initial: base64, "" is the empty response. setup lives as long as x. */
void sasl_exchange_begin(struct sasl_exchange *x, const struct sasl_setup *setup, const struct sasl_who *who, const char *mech, bool has_initial,
    struct span initial);
/* After SASL_GOES_ON. */
void sasl_exchange_answer(struct sasl_exchange *x, struct span response);
void sasl_exchange_fini(struct sasl_exchange *x);    /* idempotent, fine on zeroes */

/* For the backends: the outcome is known. */
void sasl_exchange_end(struct sasl_exchange *x, enum sasl_outcome outcome, struct span text, struct span user);

#endif
