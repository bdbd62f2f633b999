/* SPDX-License-Identifier: BSD-2-Clause */
#include "queue/status.h"

#include "base/clock.h"
#include "base/metric.h"
#include "queue/listing.h"
#include "queue/verify.h"

enum { DEAD_SHOWN = 20 };

static void
put_dead(struct queue *q, struct buf *out)
{
	uint64_t now = loop_now();
	unsigned dead = 0;
	buf_puts(out, ",\"dead_destinations\":[");
	for (struct hnode *n = htab_walk(&q->dests.dests, NULL); n != NULL; n = htab_walk(&q->dests.dests, n)) {
		struct dest *d = container_of(n, struct dest, by_key);
		if (d->dead_until <= now || d->dead_why == NULL)
			continue;
		if (dead++ >= DEAD_SHOWN)
			continue;
		buf_puts(out, dead > 1 ? ",{\"transport\":" : "{\"transport\":");
		buf_put_json(out, span_str(d->transport->name), SHOWN_MAX);
		buf_puts(out, ",\"nexthop\":");
		buf_put_json(out, dest_nexthop(d), SHOWN_MAX);
		buf_printf(out, ",\"seconds_left\":%llu,\"reason\":", (unsigned long long)((d->dead_until - now) / USEC_PER_SEC));
		buf_put_json(out, reason_text(d->dead_why), SHOWN_MAX);
		buf_putc(out, '}');
	}
	buf_printf(out, "],\"dead\":%u", dead);
}

void
queue_status(struct queue *q, struct buf *out)
{
	const size_t *in = q->table.in_queue;
	metric_set(M_queue_messages, (int64_t)q->table.count);
	metric_set(M_queue_active, (int64_t)(in[MQ_ACTIVE] + in[MQ_INCOMING]));
	metric_set(M_queue_deferred, (int64_t)in[MQ_DEFERRED]);
	metric_set(M_queue_hold, (int64_t)in[MQ_HOLD]);
	verify_status(q);
	uint64_t oldest = 0, wall = clock_wall();
	if (!list_empty(&q->table.all)) {
		uint64_t arrival = list_entry(q->table.all.next, struct message, all)->arrival;
		oldest = wall > arrival ? (wall - arrival) / USEC_PER_SEC : 0;
	}
	buf_printf(out, "\"incoming\":%zu,\"active\":%zu,\"deferred\":%zu,\"hold\":%zu,\"oldest_seconds\":%llu,\"jobs\":%zu,\"destinations\":%zu,"
	    "\"accepting\":%s,\"free_bytes\":%llu,\"drafts\":%zu,\"segments\":%lld",
	    in[MQ_INCOMING], in[MQ_ACTIVE], in[MQ_DEFERRED], in[MQ_HOLD], (unsigned long long)oldest, q->jobs.count, q->dests.dests.count,
	    spool_accepting(q->spool) ? "true" : "false", (unsigned long long)spool_free_bytes(q->spool), spool_draft_count(q->spool),
	    (long long)metric_values[M_spool_segments]);
	put_dead(q, out);
	quarantine_status(q, out);
}
