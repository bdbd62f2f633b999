/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * log.h - one event table, two renderings: Postfix's lines (facts 11.7) and JSON.
 *
 * Events and fields are rows in events.def and fields.def. Every field is escaped and cut to
 * LOG_FIELD_MAX when it is rendered, so outside bytes may be passed as they are. Lines gather in
 * the process and leave once per loop turn (log_flush), always before IPC is flushed, so that the
 * line of the edge precedes the line of the queue. The function that decides logs, once.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/span.h"

enum { LOG_FIELD_MAX = 512 };

enum log_level { LOG_L_DEBUG, LOG_L_INFO, LOG_L_WARNING, LOG_L_ERROR };

enum log_event_id {
#define EVENT(name, service, level, text, doc) EV_##name,
#include "base/events.def"
#undef EVENT
	EV_COUNT
};

enum log_field_id {
#define FIELD(name, doc) LF_##name,
#include "base/fields.def"
#undef FIELD
	LF_COUNT
};

/* What every line of an owner carries. Lives in the owner; borrowed. */
struct log_ctx {
	const char *tag;     /* syslog_name, NULL: the process default */
	const char *service; /* overrides the row's service, NULL: the row's */
	struct span qid;     /* queue id; empty: none. With noqueue set "NOQUEUE" is written instead */
	bool noqueue;
};

struct log_field {
	enum log_field_id id;
	bool is_num;
	int64_t num;
	struct span text;
};

#define F_SPAN(name, s) ((struct log_field){ .id = LF_##name, .text = (s) })
#define F_STR(name, s) ((struct log_field){ .id = LF_##name, .text = span_str(s) })
#define F_NUM(name, v) ((struct log_field){ .id = LF_##name, .is_num = true, .num = (int64_t)(v) })

/* LOG(smtpd_connect, &ctx, F_SPAN(client, who)); ctx may be NULL. At least one field. */
#define LOG(ev, ctx, ...)                                                                                             \
	log_event(EV_##ev, (ctx), (const struct log_field[]){ __VA_ARGS__ },                                          \
	    sizeof((const struct log_field[]){ __VA_ARGS__ }) / sizeof(struct log_field))
/* an event without fields */
#define LOG0(ev, ctx) log_event(EV_##ev, (ctx), NULL, 0)

void log_event(enum log_event_id ev, const struct log_ctx *ctx, const struct log_field *fields, size_t n);

/* Free text for what has no row; the format's arguments are ours or already clean. Text is escaped. */
void log_info(const struct log_ctx *ctx, const char *fmt, ...) PRINTF(2, 3);
void log_warn(const struct log_ctx *ctx, const char *fmt, ...) PRINTF(2, 3);
void log_error(const struct log_ctx *ctx, const char *fmt, ...) PRINTF(2, 3);
void log_fatal(const struct log_ctx *ctx, const char *fmt, ...) PRINTF(2, 3); /* logs, flushes, returns */

/* Where lines go. Before log_open everything goes to stderr, one write a line. */
enum log_target { LOG_TO_STDERR, LOG_TO_FD, LOG_TO_SYSLOG };
enum log_format { LOG_POSTFIX, LOG_JSON };
/* tag: default syslog_name ("dogana"); service: the process' own ("master"). fd is given for
 * LOG_TO_FD (opened O_APPEND by the master) and LOG_TO_SYSLOG (a connected datagram socket). */
void log_open(enum log_target target, int fd, enum log_format format, const char *tag, const char *service);
/* Writes what has gathered. Lines are never split over two writes of a pipe. */
void log_flush(void);
/* Lines that were lost because the target failed (also a metric). */
uint64_t log_lost(void);

/* Renders one event into a buffer without time, host or tag: for tests. */
struct buf;
void log_render(struct buf *out, enum log_format format, enum log_event_id ev, const struct log_ctx *ctx,
    const struct log_field *fields, size_t n);

#endif
