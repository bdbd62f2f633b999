/* SPDX-License-Identifier: BSD-2-Clause */
#include "queue/listing.h"

#include "base/clock.h"
#include "ipc/msgs.h"
#include "msg/addr.h"
#include "queue/sched.h"

#include <time.h>

enum { ENVELOPE_MAX = 64 * 1024 * 1024, REASON_COLUMN = 76 };

void
listing_address(struct buf *out, struct span internal)
{
	if (internal.n == 0) {
		buf_puts(out, "MAILER-DAEMON");
		return;
	}
	struct buf text;
	buf_init(&text, 8 * SHOWN_MAX);
	addr_write_text(&text, internal);
	buf_put_safe(out, buf_span(&text), SHOWN_MAX, true);
	buf_fini(&text);
}

static void
json_address(struct buf *out, struct span internal)
{
	struct buf text;
	buf_init(&text, 8 * SHOWN_MAX);
	listing_address(&text, internal);
	buf_put_json(out, buf_span(&text), SHOWN_MAX);
	buf_fini(&text);
}

/* Status of a recipient, without changing the message. */
static uint8_t
status_of(const struct message *m, uint32_t i)
{
	return ((const uint8_t *)(m->why + m->nrcpt))[i];
}

static struct span
id_of(const struct message *m, char text[SPOOL_ID_TEXT])
{
	return span_of(text, spool_id_text(&m->spool.id, text));
}

/* asctime() without the year: 19 columns. */
static void
put_time(struct buf *out, uint64_t wall)
{
	char text[32] = "";
	struct tm tm;
	time_t sec = (time_t)(wall / USEC_PER_SEC);
	if (localtime_r(&sec, &tm) != NULL)
		strftime(text, sizeof text, "%a %b %e %H:%M:%S", &tm);
	buf_puts(out, text);
}

void
listing_head(struct buf *out)
{
	buf_puts(out, "----Queue ID----- --Size-- ---Arrival Time---- --Sender/Recipient------\n");
}

void
listing_row(struct buf *out, const struct queue *q, const struct message *m)
{
	(void)q;
	struct arena arena;
	struct envelope env;
	char id[SPOOL_ID_TEXT];
	arena_init(&arena, ENVELOPE_MAX);
	message_decode(m, &arena, &env);
	size_t before = buf_len(out);
	buf_put(out, id_of(m, id));
	if (m->queue == MQ_ACTIVE)
		buf_putc(out, '*');
	else if (m->queue == MQ_HOLD)
		buf_putc(out, '!');
	else if (m->flags & MF_FORCE_EXPIRE)
		buf_putc(out, '#');
	while (buf_len(out) < before + 17)
		buf_putc(out, ' ');
	buf_printf(out, " %8llu ", (unsigned long long)m->spool.length);
	put_time(out, m->arrival);
	buf_putc(out, ' ');
	listing_address(out, env.sender);
	buf_putc(out, '\n');
	const struct reason *shown = NULL;
	for (uint32_t i = 0; i < m->nrcpt; i++) {
		if (status_of(m, i) == RS_FINISHED)
			continue;
		const struct reason *why = m->why[i];
		if (why != shown) {
			struct span text = why != NULL ? reason_text(why) : SPAN("reason unavailable");
			buf_printf(out, "%*s(", text.n < REASON_COLUMN ? (int)(REASON_COLUMN - text.n) : 0, "");
			buf_put_safe(out, text, SHOWN_MAX, true);
			buf_puts(out, ")\n");
			shown = why;
		}
		buf_printf(out, "%47s", "");
		listing_address(out, env.rcpt[i].addr);
		buf_putc(out, '\n');
	}
	buf_putc(out, '\n');
	arena_fini(&arena);
}

void
listing_tail(struct buf *out, uint64_t count, uint64_t bytes)
{
	if (count == 0)
		buf_puts(out, "Mail queue is empty\n");
	else
		buf_printf(out, "-- %llu Kbytes in %llu Request%s.\n", (unsigned long long)((bytes + 1023) / 1024), (unsigned long long)count, count == 1 ? "" : "s");
}

void
listing_json(struct buf *out, const struct queue *q, const struct message *m)
{
	(void)q;
	struct arena arena;
	struct envelope env;
	char id[SPOOL_ID_TEXT];
	arena_init(&arena, ENVELOPE_MAX);
	message_decode(m, &arena, &env);
	buf_printf(out, "{\"queue_name\": \"%s\", \"queue_id\": \"", message_queue_name((enum message_queue)m->queue));
	buf_put(out, id_of(m, id));
	buf_printf(out, "\", \"arrival_time\": %llu, \"message_size\": %llu, \"forced_expire\": %s, \"sender\": ",
	    (unsigned long long)(m->arrival / USEC_PER_SEC), (unsigned long long)m->spool.length, (m->flags & MF_FORCE_EXPIRE) ? "true" : "false");
	json_address(out, env.sender);
	buf_puts(out, ", \"recipients\": [");
	bool first = true;
	for (uint32_t i = 0; i < m->nrcpt; i++) {
		if (status_of(m, i) == RS_FINISHED)
			continue;
		buf_puts(out, first ? "{\"address\": " : ", {\"address\": ");
		first = false;
		json_address(out, env.rcpt[i].addr);
		if (m->why[i] != NULL) {
			buf_puts(out, ", \"delay_reason\": ");
			buf_put_json(out, reason_text(m->why[i]), SHOWN_MAX);
		}
		buf_putc(out, '}');
	}
	buf_puts(out, "]}\n");
	arena_fini(&arena);
}

/* ---- one message ---- */

static void
put_line(struct buf *out, const char *name, struct span value)
{
	buf_printf(out, "%-20s", name);
	buf_put_safe(out, value, SHOWN_MAX, true);
	buf_putc(out, '\n');
}

static void
put_time_line(struct buf *out, const char *name, uint64_t wall)
{
	buf_printf(out, "%-20s", name);
	put_time(out, wall);
	buf_putc(out, '\n');
}

static const char *const status_names[RS_STATES] = { "waiting", "failed, report due", "relayed, report due", "finished", "delivered, report due" };

void
listing_show(struct buf *out, const struct queue *q, const struct message *m)
{
	struct arena arena;
	struct envelope env;
	char id[SPOOL_ID_TEXT];
	arena_init(&arena, ENVELOPE_MAX);
	message_decode(m, &arena, &env);
	put_line(out, "queue id:", id_of(m, id));
	put_line(out, "queue:", span_str(message_queue_name((enum message_queue)m->queue)));
	buf_printf(out, "%-20s%llu\n", "size:", (unsigned long long)m->spool.length);
	put_time_line(out, "arrival:", m->arrival);
	uint64_t next = sched_next_attempt(q, m);
	if (next != 0)
		put_time_line(out, "next attempt:", next);
	put_line(out, "client:", env.client);
	buf_printf(out, "%-20s", "sender:");
	listing_address(out, env.sender);
	buf_putc(out, '\n');
	if (env.envid.n > 0)
		put_line(out, "envelope id:", env.envid);
	if (env.filter.n > 0)
		put_line(out, "content filter:", env.filter);
	if (m->strikes > 0)
		buf_printf(out, "%-20s%u delivery processes died with it\n", "strikes:", (unsigned)m->strikes);
	if (m->flags & MF_FORCE_EXPIRE)
		buf_printf(out, "%-20s%s\n", "expired:", "by an administrator");
	for (uint32_t i = 0; i < m->nrcpt; i++) {
		buf_printf(out, "%-20s", "recipient:");
		listing_address(out, env.rcpt[i].addr);
		buf_printf(out, " %s", status_names[status_of(m, i)]);
		if (m->why[i] != NULL) {
			buf_puts(out, " (");
			buf_put_safe(out, reason_dsn(m->why[i]), 16, false);
			buf_putc(out, ' ');
			buf_put_safe(out, reason_text(m->why[i]), SHOWN_MAX, true);
			buf_putc(out, ')');
		}
		buf_putc(out, '\n');
	}
	arena_fini(&arena);
}

static void
put_marker(struct buf *out, const char *what, const struct message *m)
{
	char id[SPOOL_ID_TEXT];
	buf_printf(out, "*** %s %s/", what, message_queue_name((enum message_queue)m->queue));
	buf_put(out, id_of(m, id));
	buf_puts(out, " ***\n");
}

void
listing_cat_head(struct buf *out, const struct queue *q, const struct message *m)
{
	(void)q;
	struct arena arena;
	struct envelope env;
	arena_init(&arena, ENVELOPE_MAX);
	message_decode(m, &arena, &env);
	put_marker(out, "ENVELOPE RECORDS", m);
	buf_printf(out, "message_size: %15llu\n", (unsigned long long)m->spool.length);
	buf_puts(out, "message_arrival_time: ");
	put_time(out, m->arrival);
	buf_puts(out, "\ncreate_time: ");
	put_time(out, m->arrival);
	buf_puts(out, "\nnamed_attribute: log_client=");
	buf_put_safe(out, env.client, SHOWN_MAX, true);
	if (env.envid.n > 0) {
		buf_puts(out, "\nnamed_attribute: envelope_id=");
		buf_put_safe(out, env.envid, SHOWN_MAX, false);
	}
	if (env.filter.n > 0) {
		buf_puts(out, "\ncontent_filter: ");
		buf_put_safe(out, env.filter, SHOWN_MAX, true);
	}
	buf_puts(out, "\nsender: ");
	if (env.sender.n > 0)
		listing_address(out, env.sender);
	buf_putc(out, '\n');
	for (uint32_t i = 0; i < m->nrcpt; i++) {
		const struct env_rcpt *r = &env.rcpt[i];
		if (r->orcpt.n > 0) {
			buf_puts(out, "named_attribute: dsn_orig_rcpt=");
			buf_put_safe(out, r->orcpt, SHOWN_MAX, true);
			buf_putc(out, '\n');
		}
		buf_puts(out, "original_recipient: ");
		listing_address(out, r->orig.n > 0 ? r->orig : r->addr);
		buf_puts(out, status_of(m, i) == RS_FINISHED ? "\ndone_recipient: " : "\nrecipient: ");
		listing_address(out, r->addr);
		buf_putc(out, '\n');
	}
	put_marker(out, "MESSAGE CONTENTS", m);
	arena_fini(&arena);
}

void
listing_cat_tail(struct buf *out, const struct queue *q, const struct message *m)
{
	(void)q;
	put_marker(out, "HEADER EXTRACTED", m);
	put_marker(out, "MESSAGE FILE END", m);
}
