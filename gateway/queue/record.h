/* SPDX-License-Identifier: BSD-2-Clause */
/* record.h - the queue's log lines about a message: its queue id in front, one function per event. */
#ifndef QUEUE_RECORD_H
#define QUEUE_RECORD_H

#include "queue/message.h"

void record_active(const struct message *m, const struct envelope *env);
void record_expired(const struct message *m, const struct envelope *env, bool forced);
void record_removed(const struct message *m, bool by_admin);
void record_warning(const struct message *m, const char *text);
/* A recipient that no relay was needed for; active: when the attempt began. */
void record_local(const struct message *m, const struct env_rcpt *r, uint64_t active, unsigned digits, const char *service, struct span dsn,
    const char *status, struct span text);
/* Was to be held, and is not. */
void record_passed(const struct message *m, const struct env_rcpt *r, const char *why);
/* The result of a probe that no relay was needed for. */
void record_probe(const struct spool_id *id, uint64_t begun, const struct env_rcpt *r, unsigned digits, const char *service,
    struct span dsn, const char *status, struct span text);

enum record_notice { NOTICE_FAILED, NOTICE_DELAYED, NOTICE_SUCCEEDED, NOTICE_POSTMASTER };
void record_notice(const struct spool_id *original, enum record_notice what, const struct spool_id *report);

enum record_order { RECORD_HELD, RECORD_RELEASED, RECORD_REQUEUED, RECORD_EXPIRED };
void record_order(const struct message *m, enum record_order what);

#endif
