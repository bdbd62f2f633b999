/* SPDX-License-Identifier: BSD-2-Clause */
/* notices_private.h - what the files of the notices share: settings (notices_conf.c), one mail on its way (notices.c), digests (digests.c). */
#ifndef QUEUE_NOTICES_PRIVATE_H
#define QUEUE_NOTICES_PRIVATE_H

#include "base/ipaddr.h"
#include "map/matchlist.h"
#include "quarantine/notice.h"
#include "quarantine/schedule.h"
#include "quarantine/store.h"
#include "queue/edge.h"
#include "queue/notices.h"
#include "queue/queue.h"

enum { NOTIFY_VIRUS_POSTMASTER = 1, NOTIFY_VIRUS_RECIPIENTS = 2, NOTIFY_VIRUS_SENDER = 4 };

struct notice_language {
	struct span domain;              /* of the recipient; empty: all others */
	struct notice_templates templates;
};

struct notices_settings {
	struct conf *conf;               /* reference: texts point into it */
	struct matchlist *digest_recipients, *networks;
	struct schedule schedule;
	struct notice_language *language;
	size_t nlanguages;               /* the first one is that of all others */
	unsigned virus_notify;
	const char *virus_recipient;     /* "postmaster" */
	uint32_t limit;                  /* notices in limit_time; 0: none is gathered */
	uint64_t limit_time;             /* usec; "the hour" of names */
	uint32_t digest_limit;           /* messages shown in a digest */
};
const struct notice_templates *notices_templates_for(const struct notices_settings *s, struct span rcpt);

struct digests;

struct notices {
	struct queue *q;
	struct notices_settings *set;
	struct op_owner ops;
	struct list outgoing;            /* whose address or place on the disk is waited for */
	uint32_t noutgoing;
	/* the hour that runs */
	struct timer hour;
	uint64_t in_hour;                /* sent in it */
	uint64_t over;                   /* not sent in it */
	struct arena last_arena;         /* of the last of those */
	struct notice_item last;
	struct digests *digests;
};

/* The rest of a notice: names of this host, time. */
void notices_fill(const struct notices *n, struct notice *out, struct span to);
/* Writes the mail and puts it into the spool, for one recipient as he is. w: may be NULL. */
void notices_accept(struct notices *n, const struct notice *notice, struct span sender, struct accept_wait *w);

/* digests.c */
struct digests *digests_new(struct notices *n);
void digests_free(struct digests **dp);
void digests_reload(struct digests *d);          /* another schedule */
void digests_now(struct digests *d, struct digest_wait *w);
uint64_t digests_next(const struct digests *d);

#endif
