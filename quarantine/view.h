/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * view.h - how held mail looks to an administrator: lists, one message, numbers, the allow table; as text and as JSON.
 *
 * Writers from the store's results to bytes, nothing else; all that strangers wrote goes through escape.h. JSON: one object on a
 * line, names are an interface (rows are added, never renamed): dogana-quarantine in the man page. Times are local in text, seconds
 * since 1970 in JSON.
 */
#ifndef QUARANTINE_VIEW_H
#define QUARANTINE_VIEW_H

#include "quarantine/store.h"

enum { VIEW_HEADER_MAX = 64 * 1024 };   /* octets of a message's header that are shown */

void view_row(struct buf *out, const struct quar_row *r);
void view_row_json(struct buf *out, const struct quar_row *r);
/* Behind the last row. cursor: the list goes on there; 0: it does not. */
void view_list_tail(struct buf *out, uint64_t shown, uint64_t cursor);
void view_list_tail_json(struct buf *out, uint64_t cursor);

/* r: of quar_get(). header: the front of the content, up to the empty line or VIEW_HEADER_MAX. */
void view_message(struct buf *out, const struct quar_req *r, struct span header);
void view_message_json(struct buf *out, const struct quar_req *r, struct span header);
/* The header at the front of content, with its last line's end and without the empty line. */
struct span view_header_of(struct span content);

/* r: of quar_stats(). full: why nothing more can be held; NULL: it can. */
void view_stats(struct buf *out, const struct quar_req *r, const char *full);
void view_stats_json(struct buf *out, const struct quar_req *r, const char *full);

void view_allow(struct buf *out, const struct quar_allow *a);
void view_allow_json(struct buf *out, const struct quar_allow *a);

void view_finding(struct buf *out, const struct quar_finding *f);

/* "2026-11-23 10:00:05 +0100" */
void view_time(struct buf *out, uint64_t usec);
/* As RFC 5321 writes it, escaped; "<>" for the null sender. */
void view_address(struct buf *out, struct span internal);

#endif
