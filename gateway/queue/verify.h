/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * verify.h - is there somebody at an address? Asked by edges (VERIFY), answered from the cache, or by a probe: a
 * transaction with the host the address is routed to that ends before there is content (MSGF_PROBE). Facts 5.9.
 *
 * A probe is never in the spool: what is lost with this process is asked again. One address has at most one probe, and
 * whoever asks meanwhile waits for the same; who has waited long enough hears "not known yet". At most
 * address_verify_pending_request_limit are under way, and at most initial_destination_concurrency of them at one
 * destination; a dead destination is not asked. Known addresses are asked about again in the background.
 */
#ifndef QUEUE_VERIFY_H
#define QUEUE_VERIFY_H

#include "ipc/msgs.h"
#include "queue/queue.h"

struct verifier;
struct edge;
struct relay;

/* Before the role has threads and its sandbox (queue/store.h). dir: the spool's. A cache that cannot be opened is said in
 * the log, and done without. */
void verify_open(struct queue *q, const char *dir);
void verify_fini(struct queue *q);               /* NULL inside is fine */
void verify_reload(struct queue *q);             /* q->conf and q->router are the new ones */

/* A VERIFY frame. RC_PERM: it is not one. */
enum rc verify_ask(struct queue *q, struct edge *ed, uint64_t call, struct span payload) MUST_CHECK;
void verify_edge_gone(struct queue *q, const struct edge *ed);

/* A relay takes jobs (again); one is gone; a job ended that is none of a message. RC_PERM: it is no probe of its. */
void verify_relay_here(struct queue *q);
void verify_relay_gone(struct queue *q, struct relay *r);
enum rc verify_job_done(struct queue *q, struct relay *r, const struct msg_job_done *done) MUST_CHECK;

void verify_status(const struct queue *q);       /* brings the gauges up to date */

#endif
