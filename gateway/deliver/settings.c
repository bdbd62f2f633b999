/* SPDX-License-Identifier: BSD-2-Clause */
#include "deliver/settings.h"

#include "msg/ehlo.h"

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

enum kind { BOOL, UINT, TIME, STR };

#define ROW(kind, to, smtp, lmtp) { kind, offsetof(struct settings, to), { offsetof(struct params, smtp), offsetof(struct params, lmtp) } }
/* What smtp and lmtp services have alike: a row for each, with its parameter for either. */
static const struct {
	enum kind kind;
	size_t to, from[2];
} rows[] = {
	ROW(STR, tcp_port, p_smtp_tcp_port, p_lmtp_tcp_port),
	ROW(STR, fallback_relay, p_smtp_fallback_relay, p_lmtp_fallback_relay),
	ROW(STR, cache_destinations, p_smtp_connection_cache_destinations, p_lmtp_connection_cache_destinations),
	ROW(BOOL, cache_on_demand, p_smtp_connection_cache_on_demand, p_lmtp_connection_cache_on_demand),
	ROW(TIME, idle_usec, p_smtp_connection_cache_time_limit, p_lmtp_connection_cache_time_limit),
	ROW(TIME, reuse_usec, p_smtp_connection_reuse_time_limit, p_lmtp_connection_reuse_time_limit),
	ROW(UINT, reuse_count_max, p_smtp_connection_reuse_count_limit, p_lmtp_connection_reuse_count_limit),
	ROW(STR, bind4, p_smtp_bind_address, p_lmtp_bind_address),
	ROW(STR, bind6, p_smtp_bind_address6, p_lmtp_bind_address6),
	ROW(BOOL, bind_enforce, p_smtp_bind_address_enforce, p_lmtp_bind_address_enforce),
	ROW(BOOL, skip_5xx_greeting, p_smtp_skip_5xx_greeting, p_lmtp_skip_5xx_greeting),
	ROW(BOOL, skip_quit_response, p_smtp_skip_quit_response, p_lmtp_skip_quit_response),
	ROW(BOOL, balance, p_smtp_balance_inet_protocols, p_lmtp_balance_inet_protocols),
	ROW(BOOL, randomize, p_smtp_randomize_addresses, p_lmtp_randomize_addresses),
	ROW(BOOL, defer_if_no_address, p_smtp_defer_if_no_mx_address_found, p_lmtp_defer_if_no_mx_address_found),
	ROW(STR, host_lookup, p_smtp_host_lookup, p_lmtp_host_lookup),
	ROW(STR, preference, p_smtp_address_preference, p_lmtp_address_preference),
	ROW(UINT, mx_address_limit, p_smtp_mx_address_limit, p_lmtp_mx_address_limit),
	ROW(UINT, mx_session_limit, p_smtp_mx_session_limit, p_lmtp_mx_session_limit),
	ROW(UINT, line_max, p_smtp_line_length_limit, p_lmtp_line_length_limit),
	ROW(BOOL, per_request_deadline, p_smtp_per_request_deadline, p_lmtp_per_request_deadline),
	ROW(UINT, min_data_rate, p_smtp_min_data_rate, p_lmtp_min_data_rate),
	ROW(TIME, t_connect, p_smtp_connect_timeout, p_lmtp_connect_timeout),
	ROW(TIME, t_mail, p_smtp_mail_timeout, p_lmtp_mail_timeout),
	ROW(TIME, t_rcpt, p_smtp_rcpt_timeout, p_lmtp_rcpt_timeout),
	ROW(TIME, t_data_init, p_smtp_data_init_timeout, p_lmtp_data_init_timeout),
	ROW(TIME, t_data_xfer, p_smtp_data_xfer_timeout, p_lmtp_data_xfer_timeout),
	ROW(TIME, t_data_done, p_smtp_data_done_timeout, p_lmtp_data_done_timeout),
	ROW(TIME, t_quit, p_smtp_quit_timeout, p_lmtp_quit_timeout),
	ROW(TIME, t_rset, p_smtp_rset_timeout, p_lmtp_rset_timeout),
	ROW(TIME, t_xforward, p_smtp_xforward_timeout, p_lmtp_xforward_timeout),
	ROW(TIME, t_starttls, p_smtp_starttls_timeout, p_lmtp_starttls_timeout),
	ROW(BOOL, send_xforward, p_smtp_send_xforward_command, p_lmtp_send_xforward_command),
	ROW(BOOL, auth_soft_bounce, p_smtp_sasl_auth_soft_bounce, p_lmtp_sasl_auth_soft_bounce),
	ROW(BOOL, dummy_mail_auth, p_smtp_send_dummy_mail_auth, p_lmtp_send_dummy_mail_auth),
	ROW(STR, auth_cache, p_smtp_sasl_auth_cache_name, p_lmtp_sasl_auth_cache_name),
	ROW(TIME, auth_cache_usec, p_smtp_sasl_auth_cache_time, p_lmtp_sasl_auth_cache_time),
	ROW(STR, verify_target, p_smtp_address_verify_target, p_lmtp_address_verify_target),
	ROW(STR, helo_name, p_smtp_helo_name, p_lmtp_lhlo_name),
	ROW(TIME, t_helo, p_smtp_helo_timeout, p_lmtp_lhlo_timeout),
	ROW(STR, discard_words, p_smtp_discard_ehlo_keywords, p_lmtp_discard_lhlo_keywords),
};

static void
take(struct settings *out, const struct params *p, size_t i)
{
	void *to = (char *)out + rows[i].to;
	const void *from = (const char *)p + rows[i].from[out->lmtp];
	switch (rows[i].kind) {
	case BOOL:
		memcpy(to, from, sizeof(bool));
		return;
	case UINT: {
		const conf_INT *n = from;
		unsigned v = *n < 0 ? 0 : *n > INT32_MAX ? INT32_MAX : (unsigned)*n;
		memcpy(to, &v, sizeof v);
		return;
	}
	case TIME:
		memcpy(to, from, sizeof(conf_TIME));
		return;
	case STR:
		memcpy(to, from, sizeof(conf_STR));
		return;
	}
}

void
settings_from(struct settings *out, const struct service *s)
{
	const struct params *p = s->params;
	*out = (struct settings){ .lmtp = strcmp(s->command, "lmtp") == 0 };
	for (size_t i = 0; i < NELEMS(rows); i++)
		take(out, p, i);
	out->discard = ehlo_keywords(span_str(out->discard_words));
	out->prefer = preference(out->preference);
	out->probe_data = strcmp(out->verify_target, "data") == 0;
	out->no_dns = p->p_disable_dns_lookups || !has_word(out->host_lookup, "dns");
	out->always_ehlo = out->lmtp || p->p_smtp_always_send_ehlo;
	out->never_ehlo = !out->lmtp && p->p_smtp_never_send_ehlo;
	out->tag = p->p_syslog_name;
	out->myhostname = p->p_myhostname;
	out->known_ports = p->p_known_tcp_ports;
	out->relayhost = p->p_relayhost;
	out->best_mx = p->p_best_mx_transport;
	out->ignore_mx_error = p->p_ignore_mx_lookup_error;
	out->soft_bounce = p->p_soft_bounce;
	out->min_backoff_usec = p->p_minimal_backoff_time;
	out->send_authzid = p->p_send_cyrus_sasl_authzid;
	out->no_mime_conversion = p->p_disable_mime_output_conversion;
	out->delay_digits = (unsigned)p->p_delay_logging_resolution_limit;
	bool all = has_word(p->p_inet_protocols, "all");
	out->want_v4 = all || has_word(p->p_inet_protocols, "ipv4");
	out->want_v6 = all || has_word(p->p_inet_protocols, "ipv6");
}
