/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * footer.h - smtpd_reject_footer and smtpd_reject_footer_maps: more lines behind a refusal. Facts 3.2.
 *
 * The text knows "\n" (a new line), "\c" at its beginning (no new line before it) and $client_address, $client_port,
 * $localtime and $server_name; a text that uses anything else is left out, as by Postfix.
 */
#ifndef SMTP_FOOTER_H
#define SMTP_FOOTER_H

#include "conf/conf.h"
#include "map/map.h"
#include "policy/facts.h"

struct footer_values {
	struct span client_address;
	uint16_t client_port;
	const char *server_name;
	uint64_t now;            /* wall clock, usec */
};

/* Pure. RC_PERM: an unknown name or bad syntax; out then holds a part. */
enum rc footer_expand(struct span text, const struct footer_values *v, struct buf *out, struct err *e) MUST_CHECK;
/* Appends an expanded text to the reply that is in b from the given offset on to its end: one or more lines with CRLF. Every
 * line gets the reply's code and enhanced code and is cut at REPLY_LINE_MAX. Does nothing when what is there is no reply. */
void footer_add(struct buf *b, size_t from, struct span footer);

/* What the settings add to the reply in b from the offset on; to a refusal only. maps: smtpd_reject_footer_maps, param:
 * smtpd_reject_footer. is_soft: soft_bounce made it a 4xx; tables know it as 5xx. Not RC_OK: e says what is wrong with a
 * setting, for the log; the reply is good in any case. */
enum rc footer_finish(struct buf *b, size_t from, const struct map_list *maps, struct span param, const struct footer_values *v, bool is_soft,
    struct err *e) MUST_CHECK;
/* policy_explain_reply_fn: as service s would send it, whose tables are opened for it. */
void footer_explain(struct conf *c, const struct service *s, const struct facts *f, struct span reply, struct buf *out);

#endif
