/* SPDX-License-Identifier: BSD-2-Clause */
#include "deliver/settings.h"

#include "deliver/ehlo.h"

static bool
has_word(const char *list, const char *word)
{
	struct span rest = span_str(list), item;
	while (span_word(&rest, ", \t\r\n", &item))
		if (span_caseeq_str(item, word))
			return true;
	return false;
}

static int
preference(const char *s)
{
	if (strcmp(s, "ipv4") == 0)
		return 4;
	return strcmp(s, "ipv6") == 0 ? 6 : 0;
}

/* The rows that smtp_ and lmtp_ have alike. */
#define TAKE_COMMON(px)                                                                                               \
	do {                                                                                                          \
		out->tcp_port = p->p_##px##_tcp_port;                                                                 \
		out->fallback_relay = p->p_##px##_fallback_relay;                                                     \
		out->cache_destinations = p->p_##px##_connection_cache_destinations;                                  \
		out->cache_on_demand = p->p_##px##_connection_cache_on_demand;                                        \
		out->idle_usec = p->p_##px##_connection_cache_time_limit;                                             \
		out->reuse_usec = p->p_##px##_connection_reuse_time_limit;                                            \
		out->reuse_count_max = (unsigned)p->p_##px##_connection_reuse_count_limit;                            \
		out->bind4 = p->p_##px##_bind_address;                                                                \
		out->bind6 = p->p_##px##_bind_address6;                                                               \
		out->bind_enforce = p->p_##px##_bind_address_enforce;                                                 \
		out->skip_5xx_greeting = p->p_##px##_skip_5xx_greeting;                                               \
		out->skip_quit_response = p->p_##px##_skip_quit_response;                                             \
		out->balance = p->p_##px##_balance_inet_protocols;                                                    \
		out->randomize = p->p_##px##_randomize_addresses;                                                     \
		out->defer_if_no_address = p->p_##px##_defer_if_no_mx_address_found;                                  \
		out->no_dns = p->p_disable_dns_lookups || !has_word(p->p_##px##_host_lookup, "dns");                  \
		out->prefer = preference(p->p_##px##_address_preference);                                             \
		out->mx_address_limit = (unsigned)p->p_##px##_mx_address_limit;                                       \
		out->mx_session_limit = (unsigned)p->p_##px##_mx_session_limit;                                       \
		out->line_max = (unsigned)p->p_##px##_line_length_limit;                                              \
		out->per_request_deadline = p->p_##px##_per_request_deadline;                                         \
		out->min_data_rate = (uint64_t)p->p_##px##_min_data_rate;                                             \
		out->t_connect = p->p_##px##_connect_timeout;                                                         \
		out->t_mail = p->p_##px##_mail_timeout;                                                               \
		out->t_rcpt = p->p_##px##_rcpt_timeout;                                                               \
		out->t_data_init = p->p_##px##_data_init_timeout;                                                     \
		out->t_data_xfer = p->p_##px##_data_xfer_timeout;                                                     \
		out->t_data_done = p->p_##px##_data_done_timeout;                                                     \
		out->t_quit = p->p_##px##_quit_timeout;                                                               \
		out->t_rset = p->p_##px##_rset_timeout;                                                               \
	} while (0)

void
settings_from(struct settings *out, const struct service *s)
{
	const struct params *p = s->params;
	*out = (struct settings){ .lmtp = strcmp(s->command, "lmtp") == 0 };
	if (out->lmtp) {
		TAKE_COMMON(lmtp);
		out->helo_name = p->p_lmtp_lhlo_name;
		out->t_helo = p->p_lmtp_lhlo_timeout;
		out->discard = ehlo_keywords(span_str(p->p_lmtp_discard_lhlo_keywords));
		out->always_ehlo = true;
	} else {
		TAKE_COMMON(smtp);
		out->helo_name = p->p_smtp_helo_name;
		out->t_helo = p->p_smtp_helo_timeout;
		out->discard = ehlo_keywords(span_str(p->p_smtp_discard_ehlo_keywords));
		out->always_ehlo = p->p_smtp_always_send_ehlo;
		out->never_ehlo = p->p_smtp_never_send_ehlo;
	}
	out->tag = p->p_syslog_name;
	out->myhostname = p->p_myhostname;
	out->known_ports = p->p_known_tcp_ports;
	out->relayhost = p->p_relayhost;
	out->ignore_mx_error = p->p_ignore_mx_lookup_error;
	out->soft_bounce = p->p_soft_bounce;
	out->delay_digits = (unsigned)p->p_delay_logging_resolution_limit;
	bool all = has_word(p->p_inet_protocols, "all");
	out->want_v4 = all || has_word(p->p_inet_protocols, "ipv4");
	out->want_v6 = all || has_word(p->p_inet_protocols, "ipv6");
}
