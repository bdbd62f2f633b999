/* SPDX-License-Identifier: BSD-2-Clause */
/* What a client, a login and a sender may do within anvil_rate_time_unit: limits, replies, log lines, statistics. */
#include "smtp/session.h"

#include "base/clock.h"
#include "base/metric.h"

#include <stdio.h>
#include <time.h>

static uint32_t
seconds(void)
{
	return (uint32_t)(clock_mono() / USEC_PER_SEC) + 1;
}

struct ipaddr
sess_network(const struct sess *s)
{
	const struct params *p = s->svc->p;
	int64_t bits = s->facts.client.family == IPADDR_V4 ? p->p_smtpd_client_ipv4_prefix_length : p->p_smtpd_client_ipv6_prefix_length;
	return ipaddr_mask(s->facts.client, (unsigned)bits);
}

/* Hosts that speak for others are not counted, nor those of smtpd_client_event_limit_exceptions. */
bool
sess_rate_exempt(const struct sess *s)
{
	return s->may_xclient || matchlist_host(s->svc->limit_exempt, s->facts.client_name, &s->facts.client, NULL) == RC_OK;
}

static const struct {
	const char *text;
	enum reply_id reply, reply_name;   /* to a client; to a login or sender */
} kinds[RATE_KINDS] = {
	[RATE_CONNECT] = { "Connection rate limit exceeded", REPLY_TOO_MANY_CONNS, REPLY_NONE },
	[RATE_MESSAGE] = { "Message delivery request rate limit exceeded", REPLY_TOO_MUCH_MAIL, REPLY_TOO_MUCH_MAIL_OF },
	[RATE_RECIPIENT] = { "Recipient address rate limit exceeded", REPLY_RATE_RCPTS, REPLY_RATE_RCPTS_OF },
	[RATE_AUTH] = { "AUTH command rate limit exceeded", REPLY_RATE_AUTH, REPLY_NONE },
};

static int64_t
client_limit(const struct params *p, enum rate_kind kind)
{
	switch (kind) {
	case RATE_CONNECT: return p->p_smtpd_client_connection_rate_limit;
	case RATE_MESSAGE: return p->p_smtpd_client_message_rate_limit;
	case RATE_RECIPIENT: return p->p_smtpd_client_recipient_rate_limit;
	case RATE_AUTH: return p->p_smtpd_client_auth_rate_limit;
	case RATE_TLS: /* looked at before the handshake, counted behind it */
	case RATE_KINDS: break;
	}
	return 0;
}

static uint32_t
unit_of(const struct params *p)
{
	return (uint32_t)(p->p_anvil_rate_time_unit / USEC_PER_SEC);
}

/* One more event of this client; 0: not counted. */
static uint32_t
count_client(struct sess *s, enum rate_kind kind)
{
	struct limits *l = &s->edge->limits;
	struct rates *r = limits_rates(l);
	if (r == NULL || sess_rate_exempt(s))
		return 0;
	struct ipaddr network = sess_network(s);
	struct span service = span_str(s->svc->row->name);
	uint32_t n = rates_count(r, rates_client(limits_salt(l), &network, service), kind, seconds(), unit_of(s->svc->p));
	limits_note(l, kind, n, service, &network);
	return n;
}

bool
sess_rate_exceeded(struct sess *s, enum rate_kind kind)
{
	int64_t limit = client_limit(s->svc->p, kind);
	if (limit == 0)
		return false;
	uint32_t n = count_client(s, kind);
	if (n <= (uint64_t)limit)
		return false;
	metric_add(M_smtpd_rate_limit, 1);
	sess_announce(s);
	LOG(smtpd_limit, &s->log, F_STR(text, kinds[kind].text), F_NUM(count, n), F_SPAN(client, s->client), F_STR(name, s->svc->row->name));
	sess_reply(s, kinds[kind].reply);
	return true;
}

/* Ours: whoever logged in, or whoever it says it is, from wherever. */
static bool
name_exceeds(struct sess *s, enum rate_kind kind, enum rate_whose whose, int64_t limit, struct span name)
{
	struct limits *l = &s->edge->limits;
	struct rates *r = limits_rates(l);
	if (limit == 0 || name.n == 0 || r == NULL)
		return false;
	uint32_t n = rates_count(r, rates_name(limits_salt(l), whose, name), kind, seconds(), unit_of(s->svc->p));
	if (n <= (uint64_t)limit)
		return false;
	metric_add(M_smtpd_rate_limit, 1);
	struct span shown = whose == RATE_OF_SENDER ? sess_log_addr(s, name) : name;
	LOG(smtpd_name_limit, &s->log, F_STR(text, kinds[kind].text), F_NUM(count, n), F_STR(name, whose == RATE_OF_LOGIN ? "SASL user" : "sender"),
	    F_SPAN(value, shown), F_SPAN(client, s->client));
	sess_reply_text(s, kinds[kind].reply_name, shown);
	return true;
}

bool
sess_rate_names_exceeded(struct sess *s, enum rate_kind kind)
{
	const struct params *p = s->svc->p;
	const struct facts *f = &s->facts;
	if (kind == RATE_MESSAGE)
		return name_exceeds(s, kind, RATE_OF_LOGIN, p->p_smtpd_sasl_user_message_rate_limit, f->login) ||
		    name_exceeds(s, kind, RATE_OF_SENDER, p->p_smtpd_sender_message_rate_limit, f->sender);
	if (kind == RATE_RECIPIENT)
		return name_exceeds(s, kind, RATE_OF_LOGIN, p->p_smtpd_sasl_user_recipient_rate_limit, f->login) ||
		    name_exceeds(s, kind, RATE_OF_SENDER, p->p_smtpd_sender_recipient_rate_limit, f->sender);
	return false;
}

uint32_t
sess_rate_tls(struct sess *s, bool count)
{
	struct limits *l = &s->edge->limits;
	if (count)
		return count_client(s, RATE_TLS);
	if (limits_rates(l) == NULL || sess_rate_exempt(s))
		return 0;
	struct ipaddr network = sess_network(s);
	return rates_read(limits_rates(l), rates_client(limits_salt(l), &network, span_str(s->svc->row->name)), RATE_TLS, seconds(), unit_of(s->svc->p));
}

uint32_t
sess_rate_connect(struct sess *s)
{
	return count_client(s, RATE_CONNECT);
}

void
sess_rate_refuse_connect(struct sess *s, uint32_t n)
{
	metric_add(M_smtpd_rate_limit, 1);
	sess_announce(s);
	LOG(smtpd_limit, &s->log, F_STR(text, kinds[RATE_CONNECT].text), F_NUM(count, n), F_SPAN(client, s->client), F_STR(name, s->svc->row->name));
	if (!s->svc->p->p_smtpd_tls_wrappermode || s->facts.is_tls)
		sess_reply(s, REPLY_TOO_MANY_CONNS);
}

/* ---- statistics, as anvil's ---- */

static const char *const maxima[RATE_MAXIMA] = {
	[RATE_CONNECT] = "connection rate", [RATE_MESSAGE] = "message rate", [RATE_RECIPIENT] = "recipient rate", [RATE_TLS] = "newtls rate",
	[RATE_AUTH] = "auth rate", [RATE_SESSIONS] = "connection count",
};

static void
say_when(struct buf *b, uint32_t wall)
{
	time_t t = (time_t)wall;
	struct tm tm;
	char text[32];
	if (localtime_r(&t, &tm) == NULL || strftime(text, sizeof text, "%b %e %H:%M:%S", &tm) == 0)
		return;
	buf_puts(b, " at ");
	buf_puts(b, text);
}

static void
say_statistics(struct buf *b)
{
	LOG(anvil_statistics, NULL, F_SPAN(text, buf_span(b)));
	buf_reset(b);
}

static void
report(struct rates *r, uint32_t now, uint32_t unit)
{
	struct rate_maximum m;
	struct buf b;
	bool any = false;
	buf_init(&b, 500);
	for (unsigned k = 0; k < RATE_MAXIMA; k++) {
		if (!rates_take_maximum(r, k, &m))
			continue;
		any = true;
		buf_printf(&b, "max %s %u", maxima[k], atomic_load(&m.value));
		if (k != RATE_SESSIONS)
			buf_printf(&b, "/%us", unit);
		buf_printf(&b, " for (%s)", m.name);
		say_when(&b, m.when);
		say_statistics(&b);
	}
	if (any) {
		buf_printf(&b, "max cache size %zu", rates_live(r, now, unit));
		say_when(&b, (uint32_t)(clock_wall() / USEC_PER_SEC));
		say_statistics(&b);
	}
	buf_fini(&b);
}

uint64_t
rate_report(struct limits *l, const struct params *p)
{
	struct rates *r = limits_rates(l);
	uint32_t every = (uint32_t)(p->p_anvil_status_update_time / USEC_PER_SEC), now = seconds();
	if (r == NULL || every == 0)
		return 60 * USEC_PER_SEC;
	uint32_t due = atomic_load(&r->next_report);
	bool is_due = due != 0 && (int32_t)(now - due) >= 0;
	if (due == 0 || is_due || due - now > every) /* one of the processes says it */
		if (atomic_compare_exchange_strong(&r->next_report, &due, now + every) && is_due)
			report(r, now, unit_of(p));
	uint32_t left = atomic_load(&r->next_report) - now;
	return (left > 0 && left <= every ? left : 1) * USEC_PER_SEC;
}
