/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * facts.h - what policy may know of a session: a plain struct, filled in by whoever owns the session.
 *
 * Spans are borrowed for the time of a policy_run. What is not known yet stays empty and its has_ flag false;
 * rules that need it are skipped then.
 */
#ifndef POLICY_FACTS_H
#define POLICY_FACTS_H

#include "base/ipaddr.h"

/* What a host in front of us said of where the next message came from (XFORWARD). What was not said is empty. */
enum forward_source { FORWARD_NO_SOURCE = 0, FORWARD_LOCAL, FORWARD_REMOTE };
struct forwarded {
	struct span name, addr;      /* "unknown": cannot be known */
	struct span port, proto, helo;
	struct span ident;           /* its queue id there */
	enum forward_source source;
	bool has_client;             /* one of name, addr, port, proto, helo was given */
};

struct facts {
	/* the client; always there */
	struct ipaddr client;        /* IPv4-mapped addresses already unmapped */
	struct span client_addr;     /* its text, "192.0.2.1", "2001:db8::1" */
	struct span client_name;     /* verified name, or "unknown" */
	struct span reverse_name;    /* unverified PTR name, or "unknown" */
	enum rc client_name_rc;      /* RC_OK: client_name is verified; RC_NONE: there is none; RC_TEMP: DNS could not say */
	enum rc reverse_name_rc;
	uint16_t client_port;
	struct ipaddr server;        /* our end of the connection */
	uint16_t server_port;
	const struct forwarded *forward; /* NULL: none */

	bool has_helo, is_esmtp;
	struct span helo;

	bool is_tls;
	bool is_cert_verified;       /* by our CAs */
	bool has_cert;               /* a certificate was shown, good or not */
	struct span cert_fingerprint, pubkey_fingerprint;
	struct span cert_subject, cert_issuer; /* common names; only of a certificate that is_cert_verified */
	struct span tls_protocol, tls_cipher;  /* "TLSv1.3", "TLS_AES_256_GCM_SHA384" */
	uint32_t tls_bits;
	struct span login;           /* SASL user; empty: not logged in (ANONYMOUS counts as not) */
	struct span sasl_method, sasl_sender;

	bool has_sender;             /* MAIL was given */
	struct span sender;          /* internal form local@domain, quotes removed; empty: null sender */
	bool is_smtputf8;

	/* The recipient in question. At DATA and end of data: only when exactly one was accepted (facts 3.1). */
	bool has_rcpt;
	struct span rcpt;            /* internal form as sender */
	bool is_vrfy;                /* it came with VRFY */
	uint32_t nrcpt;              /* accepted so far, the one in question not counted */

	uint64_t size_bytes;         /* end of data: of the message; before: SIZE= or 0 */
	bool is_proxied;             /* smtpd_proxy_filter gets the message, not the queue: no action that concerns the queue */
	bool pipelined_early;        /* the client sent ahead where it may not */
	bool is_held;                /* likewise the hold mark: said once */
	bool is_quarantined;         /* likewise the mark that the whole message goes to the quarantine */
	bool is_discarded;           /* a verdict of this transaction had the discard mark: no list runs any more */

	struct span where;           /* the command as the log has it: "RCPT", "BDAT", "XCLIENT"; empty: by the stage */
	struct span etrn_domain;     /* ETRN: its argument */
	/* For policy servers: the same two numbers in all questions about one message, and in no others */
	uint64_t session_id;         /* unique among all processes */
	uint32_t transaction;        /* counts MAIL */

	/* NOQUEUE or a queue id, for what rules report */
	struct span qid;
};

#endif
