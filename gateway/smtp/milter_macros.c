/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What milters may know of a session, by the names Sendmail gave (facts 9.1). A macro without a value is not sent (p NULL); one
 * that is known to be empty, as the null sender, is sent empty. Control characters become '?', and no value is longer than
 * MILTER_VALUE_MAX.
 */
#include "smtp/milter.h"

#include "smtp/milter_choice.h"
#include "smtp/milter_route.h"

static const struct span nothing = { NULL, 0 };

static struct span
put(struct sess_milter *m, struct span value)
{
	buf_reset(&m->value);
	buf_put_safe(&m->value, value, MILTER_VALUE_MAX, true);
	return m->value.p == NULL ? SPAN("") : buf_span(&m->value);
}

static struct span
put_str(struct sess_milter *m, const char *value)
{
	return put(m, span_str(value));
}

static struct span
put_number(struct sess_milter *m, uint64_t n)
{
	buf_reset(&m->value);
	buf_put_dec(&m->value, n);
	return buf_span(&m->value);
}

static struct span
put_given(struct sess_milter *m, struct span value)
{
	return value.n > 0 ? put(m, value) : nothing;
}

/* ---- addresses, as they are routed ---- */

enum part { PART_ADDR, PART_HOST, PART_MAILER };

static struct span
routed(struct sess_milter *m, const struct resolved *r, struct span sender, enum part part)
{
	const struct edge_service *svc = m->sess->svc;
	struct span transport, nexthop;
	struct buf text;
	buf_init(&text, 64 * 1024);
	milter_route_find(milter_choice_route(svc->milters), policy_addresses(svc->policy), r, sender, &text, &transport, &nexthop);
	struct span out = put(m, part == PART_HOST ? nexthop : transport);
	buf_fini(&text);
	return out;
}

/* As Postfix tells of resolved addresses: in lower case. */
static struct span
lowered(struct sess_milter *m, struct span addr)
{
	struct span out = put(m, addr);
	for (size_t i = 0; i < out.n; i++)
		if (out.p[i] >= 'A' && out.p[i] <= 'Z')
			m->value.p[m->value.at + i] |= 0x20;
	return out;
}

/* addr: internal form; sender: of mail to it. Mail of the null sender would come from MAILER-DAEMON. */
static struct span
address(struct sess_milter *m, struct span addr, struct span sender, enum part part)
{
	struct resolved r;
	struct err e;
	if (addr.n == 0 && part == PART_ADDR)
		return put(m, SPAN_EMPTY);
	if (addr.n == 0)
		addr = SPAN("MAILER-DAEMON");
	enum rc rc = address_resolve(policy_addresses(m->sess->svc->policy), addr, &r, &e);
	bool resolved = rc == RC_OK && !r.is_bad;
	if (part != PART_ADDR)
		return resolved ? routed(m, &r, sender, part) : put_str(m, part == PART_MAILER ? "error" : "");
	struct buf quoted;
	buf_init(&quoted, 4 * MILTER_VALUE_MAX);
	addr_write_text(&quoted, resolved ? r.addr : addr);
	struct span out = lowered(m, buf_span(&quoted));
	buf_fini(&quoted);
	return out;
}

static struct span
mail_part(struct sess_milter *m, enum part part)
{
	const struct facts *f = &m->sess->facts;
	return f->has_sender ? address(m, f->sender, SPAN_EMPTY, part) : nothing;
}

/* "554 5.7.1 <x@y>: Relay access denied": its enhanced code, and the text behind the address. */
static struct span
refusal_part(struct sess_milter *m, enum part part)
{
	struct span text = span_from(m->refusal, 4), dsn;
	if (part == PART_MAILER)
		return put_str(m, "error");
	if (!span_word(&text, " ", &dsn))
		return nothing;
	if (part == PART_HOST)
		return put(m, dsn);
	text = span_from(text, 1);
	size_t blank = span_chr(text, ' ');
	return blank != SIZE_MAX ? put(m, span_from(text, blank + 1)) : nothing;
}

static struct span
rcpt_part(struct sess_milter *m, enum part part)
{
	const struct sess *s = m->sess;
	if (m->refusal.n > 0)
		return refusal_part(m, part);
	if (s->facts.has_rcpt)
		return address(m, s->facts.rcpt, s->facts.sender, part);
	/* behind RCPT Postfix speaks of the first one */
	return s->tx != NULL && s->tx->first_rcpt.n > 0 ? address(m, s->tx->first_rcpt, s->facts.sender, part) : nothing;
}

/* ---- one function per name ---- */

static struct span
v_i(struct sess_milter *m)
{
	return m->sess->tx != NULL ? put_given(m, m->sess->tx->qid) : nothing;
}

static struct span
v_j(struct sess_milter *m)
{
	return put_str(m, m->sess->svc->p->p_myhostname);
}

static struct span
v_v(struct sess_milter *m)
{
	return put_str(m, m->sess->svc->p->p_milter_macro_v);
}

/* "name [address]", with a doubt where the name was not verified. */
static struct span
v_client(struct sess_milter *m)
{
	const struct facts *f = &m->sess->facts;
	buf_reset(&m->value);
	buf_put_safe(&m->value, f->reverse_name, MILTER_VALUE_MAX, true);
	buf_puts(&m->value, " [");
	buf_put(&m->value, f->client_addr);
	buf_puts(&m->value, "]");
	if (!span_caseeq(f->client_name, f->reverse_name))
		buf_puts(&m->value, " (may be forged)");
	return buf_span(&m->value);
}

static struct span
v_daemon_name(struct sess_milter *m)
{
	return put_str(m, m->sess->svc->p->p_milter_macro_daemon_name);
}

static struct span
v_daemon_addr(struct sess_milter *m)
{
	char text[IPADDR_TEXT];
	size_t n = ipaddr_text(&m->sess->facts.server, text);
	return n > 0 ? put(m, span_of(text, n)) : nothing;
}

static struct span
v_daemon_port(struct sess_milter *m)
{
	return m->sess->facts.server_port != 0 ? put_number(m, m->sess->facts.server_port) : nothing;
}

static struct span
v_client_addr(struct sess_milter *m)
{
	const struct facts *f = &m->sess->facts;
	buf_reset(&m->value);
	if (f->client.family == IPADDR_V6)
		buf_puts(&m->value, "IPv6:");
	buf_put(&m->value, f->client_addr);
	return buf_span(&m->value);
}

static struct span
v_client_name(struct sess_milter *m)
{
	return put(m, m->sess->facts.client_name);
}

static struct span
v_client_port(struct sess_milter *m)
{
	return put_number(m, m->sess->facts.client_port);
}

static struct span
v_client_ptr(struct sess_milter *m)
{
	return put(m, m->sess->facts.reverse_name);
}

static struct span
v_client_resolve(struct sess_milter *m)
{
	const struct facts *f = &m->sess->facts;
	if (f->client_name_rc == RC_OK)
		return put_str(m, "OK");
	if (f->reverse_name_rc == RC_TEMP || f->client_name_rc == RC_TEMP)
		return put_str(m, "TEMP");
	return put_str(m, m->sess->is_forged ? "FORGED" : "FAIL");
}

static struct span
v_client_connections(struct sess_milter *m)
{
	return put_number(m, m->sess->nsessions);
}

static struct span
v_tls_version(struct sess_milter *m)
{
	return put_given(m, m->sess->facts.is_tls ? m->sess->facts.tls_protocol : SPAN_EMPTY);
}

static struct span
v_cipher(struct sess_milter *m)
{
	return put_given(m, m->sess->facts.is_tls ? m->sess->facts.tls_cipher : SPAN_EMPTY);
}

static struct span
v_cipher_bits(struct sess_milter *m)
{
	return m->sess->facts.is_tls ? put_number(m, m->sess->facts.tls_bits) : nothing;
}

static struct span
v_cert_subject(struct sess_milter *m)
{
	return m->sess->facts.is_cert_verified ? put(m, m->sess->facts.cert_subject) : nothing;
}

static struct span
v_cert_issuer(struct sess_milter *m)
{
	return m->sess->facts.is_cert_verified ? put(m, m->sess->facts.cert_issuer) : nothing;
}

static struct span
v_auth_type(struct sess_milter *m)
{
	return put_given(m, m->sess->facts.sasl_method);
}

static struct span
v_auth_authen(struct sess_milter *m)
{
	return put_given(m, m->sess->facts.login);
}

static struct span
v_auth_author(struct sess_milter *m)
{
	return put_given(m, m->sess->facts.sasl_sender);
}

static struct span
v_mail_addr(struct sess_milter *m)
{
	return mail_part(m, PART_ADDR);
}

static struct span
v_mail_host(struct sess_milter *m)
{
	return mail_part(m, PART_HOST);
}

static struct span
v_mail_mailer(struct sess_milter *m)
{
	return mail_part(m, PART_MAILER);
}

static struct span
v_rcpt_addr(struct sess_milter *m)
{
	return rcpt_part(m, PART_ADDR);
}

static struct span
v_rcpt_host(struct sess_milter *m)
{
	return rcpt_part(m, PART_HOST);
}

static struct span
v_rcpt_mailer(struct sess_milter *m)
{
	return rcpt_part(m, PART_MAILER);
}

#define ROW(name, fn) { name, sizeof(name) - 1, fn }
static const struct {
	const char *name;
	size_t n;
	struct span (*fn)(struct sess_milter *m);
} macros[] = {
	ROW("i", v_i), ROW("j", v_j), ROW("v", v_v), ROW("_", v_client),
	ROW("daemon_name", v_daemon_name), ROW("daemon_addr", v_daemon_addr), ROW("daemon_port", v_daemon_port),
	ROW("client_addr", v_client_addr), ROW("client_name", v_client_name), ROW("client_port", v_client_port), ROW("client_ptr", v_client_ptr),
	ROW("client_resolve", v_client_resolve), ROW("client_connections", v_client_connections),
	ROW("tls_version", v_tls_version), ROW("cipher", v_cipher), ROW("cipher_bits", v_cipher_bits),
	ROW("cert_subject", v_cert_subject), ROW("cert_issuer", v_cert_issuer),
	ROW("auth_type", v_auth_type), ROW("auth_authen", v_auth_authen), ROW("auth_author", v_auth_author),
	ROW("mail_addr", v_mail_addr), ROW("mail_host", v_mail_host), ROW("mail_mailer", v_mail_mailer),
	ROW("rcpt_addr", v_rcpt_addr), ROW("rcpt_host", v_rcpt_host), ROW("rcpt_mailer", v_rcpt_mailer),
};
#undef ROW

struct span
sess_milter_macro(void *owner, struct span name)
{
	struct sess *s = owner;
	if (name.n > 2 && name.p[0] == '{' && name.p[name.n - 1] == '}')
		name = span_head(span_from(name, 1), name.n - 2);
	for (size_t i = 0; i < NELEMS(macros); i++)
		if (name.n == macros[i].n && memcmp(name.p, macros[i].name, name.n) == 0)
			return macros[i].fn(s->milter);
	return nothing;
}
