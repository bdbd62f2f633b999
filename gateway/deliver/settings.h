/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * settings.h - the parameters of one smtp or lmtp service of master.cf, smtp_* and lmtp_* made one.
 *
 * Made once per destination; strings belong to the configuration snapshot the destination holds.
 */
#ifndef DELIVER_SETTINGS_H
#define DELIVER_SETTINGS_H

#include "conf/conf.h"

struct settings {
	bool lmtp;
	const char *tag;                 /* syslog_name */
	const char *myhostname, *helo_name, *tcp_port, *known_ports, *fallback_relay, *relayhost, *cache_destinations, *best_mx;
	const char *bind4, *bind6;       /* "": none */
	bool bind_enforce, always_ehlo, never_ehlo, skip_5xx_greeting, skip_quit_response, balance, randomize;
	bool want_v4, want_v6, no_dns, ignore_mx_error, defer_if_no_address, cache_on_demand, soft_bounce;
	bool send_xforward;
	bool auth_soft_bounce, send_authzid, dummy_mail_auth;
	const char *auth_cache;          /* "": bad logins are not remembered */
	uint64_t auth_cache_usec;
	bool probe_data;                 /* address_verify_target = data */
	bool per_request_deadline;
	bool no_mime_conversion;
	int prefer;                      /* 0, 4, 6 */
	unsigned discard;                /* EHLO_* */
	unsigned mx_address_limit, mx_session_limit, line_max, reuse_count_max, delay_digits;
	unsigned min_data_rate;          /* octets a second, with per_request_deadline */
	const char *host_lookup, *preference, *discard_words, *verify_target; /* as written; what they say is in no_dns, prefer, discard, probe_data */
	/* usec; 0: no limit */
	uint64_t t_connect, t_helo, t_mail, t_rcpt, t_data_init, t_data_xfer, t_data_done, t_quit, t_rset, t_xforward, t_starttls;
	uint64_t idle_usec, reuse_usec, min_backoff_usec;
};

/* s: a service with the command smtp or lmtp. */
void settings_from(struct settings *out, const struct service *s);

#endif
