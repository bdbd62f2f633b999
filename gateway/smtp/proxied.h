/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * proxied.h - a message that goes to a filter in front of the queue instead of the queue (smtpd_proxy_filter, facts 10.3).
 *
 * The filter hears MAIL, RCPT and DATA when the client says them, so that it may refuse one recipient; with
 * smtpd_proxy_options = speed_adjust only when the message is complete, so that a slow client does not keep it busy. Its reply
 * to the end of data is the client's. The message has no queue id here, and no action that concerns the queue. Runs in: edge.
 */
#ifndef SMTP_PROXIED_H
#define SMTP_PROXIED_H

#include "smtp/proxyfilter.h"

/* Of a service; NULL in it: no filter. */
struct proxied_conf {
	struct endpoint *endpoint;
	const char *ehlo;            /* smtpd_proxy_ehlo */
	uint64_t timeout;            /* usec */
	bool speed_adjust;
};
enum rc proxied_conf_open(struct conf *c, const struct service *s, struct proxied_conf **out, struct err *e) MUST_CHECK;
void proxied_conf_free(struct proxied_conf **pp);        /* NULL inside is fine */

/* Of a transaction. */
struct tx_proxied {
	struct proxy_filter filter;
	struct buf forward, lines, header;
	struct content *content;
	bool has_begun;              /* MAIL was said */
	bool has_data;               /* DATA was */
	bool is_asked;               /* the step before began something */
};
void tx_proxied_free(struct tx_proxied **pp);            /* NULL inside is fine */

#endif
