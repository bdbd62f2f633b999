/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tx.h - one mail transaction: from an accepted MAIL to the answer of the end of data, or to whatever ends it.
 *
 * A session has at most one; s->tx != NULL is "MAIL was accepted", tx->nrcpt > 0 is "RCPT was accepted".
 * tx_begin() and tx_end() are the only ways in and out, so nothing of one message is left for the next.
 * Everything about the message lives in the transaction's arena and its content.
 */
#ifndef SMTP_TX_H
#define SMTP_TX_H

#include "ipc/ipc.h"
#include "map/remote.h"
#include "msg/addr.h"
#include "msg/envelope.h"
#include "msg/syntax.h"
#include "policy/header_rules.h"
#include "policy/verdict.h"
#include "smtp/content.h"
#include "smtp/holding.h"
#include "spool/spool.h"

enum {
	TX_ENVELOPE_MAX = 512 * 1024, /* octets of recipients and their parameters */
	TX_RCPT_EXTRA = 64,           /* what one costs beside its text */
	TX_EDITS_MAX = 1000,          /* headers, and copies, that policy may ask for */
};

/* A growing row of texts in the transaction's arena. */
struct tx_texts {
	struct span *at;
	uint32_t n, cap;
};

struct edge;
struct sess;
struct tx_proxied;

struct tx {
	unsigned magic;
	struct edge *edge;
	struct sess *sess;           /* the owner */
	struct arena arena;
	struct addr sender;          /* as given */
	struct span env_sender;      /* as the envelope has it: completed */
	struct mail_params params;
	struct env_rcpt *rcpts;      /* heap */
	uint64_t *rcpt_hash;         /* heap, beside rcpts: to find the same one again */
	uint32_t nrcpt, cap_rcpt;
	uint32_t nsaid;              /* RCPT commands accepted: those given twice count twice */
	struct span first_rcpt;      /* as given, while there is just one */
	size_t envelope_bytes;
	uint64_t arrival;            /* wall clock, usec: MAIL */
	struct span qid;             /* empty until the first recipient was accepted */
	char qid_text[SPOOL_ID_TEXT];
	bool hold, discard;          /* marks of the policy */
	struct holding holding;      /* for the quarantine */
	bool lost_way;               /* a REDIRECT, FILTER or BCC of the policy did not fit: must not go where it would */
	/* What it asked for (access(5); sess_verdict() puts it here, everything up to the end of data). Texts are
	 * clean and live in arena. */
	struct tx_texts prepend;     /* headers "Name: value" without line end, to stand above our Received, in order */
	size_t prepend_bytes;        /* octets of them with their line ends, those not kept included */
	bool prepend_over;           /* they are more than all headers of a message may be: it will be refused */
	struct span redirect;        /* internal form: takes the place of all recipients; empty: none */
	struct tx_texts bcc;         /* internal form: one more recipient each, NOTIFY=NEVER; each address once; of access tables */
	struct tx_texts copies;      /* the same of header and body checks: recipient_bcc_maps has no say about these */
	struct span filter;          /* "transport:nexthop" instead of content_filter; empty: none */
	bool no_filter;              /* redirected: neither that nor content_filter */
	struct arena rewritten;      /* texts of env_sender and rcpts when the end of data changed them */
	struct map_wait maps;        /* for tables that end_rewrite asked */
	enum header_context headers; /* whose headers it has */
	struct span message_id;      /* when the header was looked at closely; otherwise content.header has it */
	bool has_header_maps;
	struct map_wait header_maps; /* tables that are elsewhere, asked about its header */
	bool chunking;               /* a BDAT was accepted */
	bool has_logged_id;          /* its Message-ID */
	bool has_content;            /* content_init was called: DATA or the first BDAT went through */
	size_t held;                 /* octets of memory for content that are accounted for */
	struct content content;
	struct checking *checking;   /* header and body checks; NULL: none */
	struct tx_proxied *proxied;  /* the filter in front of the queue has it (proxied.h); NULL: none */
	bool submitted;              /* SUBMIT is on its way, or answered OK */
	uint64_t draft;              /* 0: none */
	unsigned draft_generation;   /* of the queue that gave it */
	bool asks_draft;             /* call is for one that is not taken yet: draft_generation is that of the queue that was asked */
	bool has_call;
	struct ipc_call call;        /* DRAFT, then SUBMIT */
};

struct tx *tx_begin(struct edge *edge, struct sess *sess);
/* The only way a transaction ends. Gives back the draft. NULL inside is fine; sets it to NULL. */
void tx_end(struct tx **tp);
/* false: no room for more (the caller says 452). addr and orcpt must live in tx->arena. The same recipient with the
 * same options, in any case of letters, is there once (duplicate_filter of Postfix). */
bool tx_draft_is_lost(const struct tx *tx);   /* the queue process that held it is gone */
bool tx_add_rcpt(struct tx *tx, const struct env_rcpt *r);
/* Takes recipients (and copies) out that were given so: internal form, as the client said it. */
void tx_delete_rcpt(struct tx *tx, struct span given);
/* The draft is not needed any more. */
void tx_drop_draft(struct tx *tx);
/* The call, for a new question; one that is under way is forgotten; the session goes on with the answer. */
struct ipc_call *tx_new_call(struct tx *tx);
/* Content came or went: brings the process's account up to date. */
void tx_account(struct tx *tx);
/* Takes what the policy asked for. false: there is too much already, it is dropped. Headers count against
 * smtpd_header_bytes_limit; over it none is kept any more and the content fails (prepend_over). */
bool tx_edit(struct tx *tx, const struct verdict_edit *edit);
/* XFORWARD attributes of the client. */
void tx_put_forward(const struct tx *tx, struct buf *b);
/* Makes the queue id. */
void tx_name(struct tx *tx, uint32_t serial);

/* Puts the envelope and, if inline, the content into the SUBMIT call's buffer. client: "host[address]". */
void tx_write_submit(struct tx *tx, struct span client, struct buf *out);


/* Content as it came, beside the changed one. */
struct tx_original {
	uint64_t draft;              /* 0: in content */
	struct span content;
	uint64_t len;
	uint32_t crc, flags;         /* MSGF_HAS_* */
};
/* The same for a message of its own, under a new id, with everybody held. */
void tx_write_original(struct tx *tx, struct span client, const struct tx_original *o, const struct hold_why *why, struct buf *out);

#endif
