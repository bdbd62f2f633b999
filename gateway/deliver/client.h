/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * client.h - a session with a hub: SMTP or LMTP, one transaction at a time.
 *
 * smtpc_open connects and says EHLO; smtpc_deliver sends one job; a session that is left idle closes by
 * itself. Replies are matched in order to what was sent: the steps of a transaction stand in one table
 * (client.c), each with its name in error texts, its time-out and what it does with the reply. When the hub
 * offers PIPELINING all commands leave in one write, with CHUNKING the content too.
 * Runs in: relay. The session frees itself at the end of the turn in which it ended (smtpc_retire, or
 * the hub's doing); gone() tells its home.
 */
#ifndef DELIVER_CLIENT_H
#define DELIVER_CLIENT_H

#include "deliver/outbody.h"
#include "deliver/badlogins.h"
#include "deliver/job.h"
#include "msg/hubreply.h"
#include "deliver/login.h"
#include "deliver/sasl.h"
#include "deliver/target.h"
#include "deliver/tlspolicy.h"
#include "loop/conn.h"
#include "map/remote.h"

enum stage {
	ST_IDLE = 0, ST_CONNECT, ST_BANNER, ST_EHLO, ST_HELO, ST_STARTTLS, ST_TLS, ST_LOGIN, ST_AUTH, ST_RSET, ST_XFORWARD, ST_MAIL, ST_RCPT, ST_DATA, ST_DOT, ST_QUIT,
	STAGES
};

struct smtpc;

/* A wait for a session. RC_OK: open: ready for a transaction; deliver: the transaction is over, every open
 * recipient was settled or postponed. RC_TEMP: the session is lost, out tells why. RC_PERM: the hub refuses
 * for good (5xx to HELO, loop). Cancelling it aborts the session. */
struct smtpc_call {
	struct op op;
	struct smtpc *session;   /* while pending */
	struct outcome out;      /* texts are the job's */
	bool is_stale;           /* lost before the hub said anything about this job */
	bool is_unsure;          /* lost after the end of data: the hub may have it */
	bool wants_plain;        /* TLS failed where it is optional: the same address may be tried in the clear */
};
void smtpc_call_init(struct smtpc_call *call, struct op_owner *owner, op_fn *done);

struct smtpc {
	unsigned magic;
	struct conn conn;
	struct list link;        /* of its home: idle or busy */
	const struct settings *set;
	void *home;
	void (*gone)(struct smtpc *); /* from the loop, last */
	struct smtpc **holder;   /* smtpc_hold */
	char *who;               /* "host[ip]" */
	char *relay;             /* "host[ip]:port" */
	char *host;
	struct hubreply reply;
	enum stage stage;        /* whose reply is awaited */
	unsigned features;       /* EHLO_* */
	uint64_t size_max;
	unsigned uses;           /* transactions, this one included */
	uint64_t opened;         /* loop_now() */
	struct ipaddr addr;      /* of the hub; family 0: a socket of the file system */
	uint16_t port;
	/* TLS */
	const struct tls_policies *policies; /* NULL: never; lives as long as set */
	struct tls_policy tls;   /* of this destination; level 0: in the clear, whatever is offered */
	struct map_wait policy_maps; /* tables of policies that are elsewhere */
	char *tls_key, *domain;  /* of sessions to resume; the next hop without brackets and port */
	bool is_plain;           /* a second try without TLS */
	bool is_verified;        /* the hub is who the policy wants it to be */
	/* logging in */
	const struct logins *logins; /* NULL: it does not; lives as long as set */
	char *nexthop;           /* as written: the key for login and policy */
	char *mechs;             /* what the hub offers, filtered; NULL: it has no AUTH */
	struct login login;      /* as which we are here; user NULL: nobody */
	struct sasl *sasl;       /* while AUTH is under way */
	struct op_owner ops;
	struct map_wait maps;    /* tables of logins that are elsewhere */
	bool is_cancelled;       /* "*" was sent */
	bool is_preferred;       /* to a host its next hop names first: set by who opened it */
	bool is_dirty;           /* RSET before the next transaction */
	bool is_closing;         /* not to be used again */
	bool is_dismissed;       /* the hub said 421: nothing more is said to it, not even QUIT */
	bool is_over;            /* retired */
	/* the wait and the transaction under way */
	struct smtpc_call *call;
	struct job *job;
	struct outbody content;
	struct map_wait check_maps; /* tables of its checks that are elsewhere */
	struct outcome base;     /* mta and relay for outcomes of this job */
	uint64_t xfer_until;     /* per_request_deadline: loop_now() when the time for content is over */
	unsigned at;             /* recipient whose reply is awaited */
	unsigned n_accepted;
	unsigned forward_at;     /* XFORWARD command whose reply is awaited, or comes next; XFORWARD_COMMANDS: none */
	unsigned forward_due;    /* bits: commands there is something to say with */
	bool heard, is_refused, is_pipelined, is_chunked, is_sending;
	struct grave grave;
};

/* What a session is opened with; all but nexthop outlives it. */
struct smtpc_home {
	const struct settings *set;
	const struct logins *logins; /* NULL: none */
	const struct tls_policies *policies; /* NULL: never TLS */
	bool is_plain;               /* TLS was tried, and optional */
	struct span nexthop;         /* as written, of the address */
	void *home;
	void (*gone)(struct smtpc *);
};
/* Begins to connect to one address (copied). */
struct smtpc *smtpc_open(const struct smtpc_home *home, const struct taddr *to, struct job *j, struct smtpc_call *call);
/* *holder is this session until it ends, is on its way out (QUIT) or is let go, and then NULL, at once: one place
 * sets both sides and one clears them, so that neither outlives the other. */
void smtpc_hold(struct smtpc *c, struct smtpc **holder);
void smtpc_let_go(struct smtpc *c);
/* Would a session opened for this job be the same somebody at the hub? */
bool smtpc_suits(const struct smtpc *c, const struct job *j);
/* fd: content's descriptor, at offset. The session must be idle. */
void smtpc_deliver(struct smtpc *c, struct job *j, int fd, struct smtpc_call *call);
/* May it take another transaction? */
bool smtpc_is_usable(const struct smtpc *c);
/* Nothing to do: closes by itself after smtp_connection_cache_time_limit. */
void smtpc_rest(struct smtpc *c);
/* Ends it: QUIT when idle, an abort otherwise. Idempotent. */
void smtpc_retire(struct smtpc *c);

#endif
