/* SPDX-License-Identifier: BSD-2-Clause */
#include "policy/server_text.h"

#include "msg/xtext.h"
#include "policy/engine.h"

enum { VALUE_MAX = 2048 };

/* ---- the question ---- */

static void
put(struct buf *b, const char *name, struct span value)
{
	buf_puts(b, name);
	buf_putc(b, '=');
	buf_put_safe(b, value, VALUE_MAX, true);
	buf_putc(b, '\n');
}

static void
put_number(struct buf *b, const char *name, uint64_t n)
{
	buf_puts(b, name);
	buf_putc(b, '=');
	buf_put_dec(b, n);
	buf_putc(b, '\n');
}

static void
put_port(struct buf *b, const char *name, uint16_t port)
{
	if (port == 0)
		put(b, name, SPAN("unknown"));
	else
		put_number(b, name, port);
}

static const char *
state_name(enum policy_stage stage, const struct facts *f)
{
	if (f->where.n > 0 && stage != POLICY_DATA) /* BDAT is DATA for who judges it */
		return NULL;
	switch (stage) {
	case POLICY_CONNECT:
		return "CONNECT";
	case POLICY_HELO:
		return f->is_esmtp ? "EHLO" : "HELO";
	case POLICY_MAIL:
		return "MAIL";
	case POLICY_RCPT:
		return f->is_vrfy ? "VRFY" : "RCPT";
	case POLICY_DATA:
		return "DATA";
	case POLICY_END_OF_DATA:
		return "END-OF-MESSAGE";
	case POLICY_ETRN:
		return "ETRN";
	case POLICY_NO_STAGE:
		break;
	}
	return "";
}

/* The names of a certificate are encoded, and told only when our authorities vouch for it. */
static void
put_cert_name(struct buf *b, const char *name, const struct facts *f, struct span value)
{
	buf_puts(b, name);
	buf_putc(b, '=');
	if (f->is_cert_verified)
		xtext_encode(b, span_head(value, VALUE_MAX / 4));
	buf_putc(b, '\n');
}

static void
put_instance(struct buf *b, const struct facts *f, bool has_message)
{
	buf_puts(b, "instance=");
	if (has_message)
		buf_printf(b, "%llx.%x", (unsigned long long)f->session_id, (unsigned)f->transaction);
	buf_putc(b, '\n');
}

void
policy_question(struct buf *b, const struct policy *p, enum policy_stage stage, const struct facts *f, const char *context)
{
	char server[IPADDR_TEXT];
	const char *state = state_name(stage, f);
	bool all_rcpts = stage == POLICY_DATA || stage == POLICY_END_OF_DATA;
	(void)ipaddr_text(&f->server, server);
	buf_puts(b, "request=smtpd_access_policy\n");
	put(b, "protocol_state", state != NULL ? span_str(state) : f->where);
	/* at HELO the client has not become one of the two yet */
	put(b, "protocol_name", f->is_esmtp && stage != POLICY_HELO ? SPAN("ESMTP") : SPAN("SMTP"));
	put(b, "client_address", f->client_addr);
	put(b, "client_name", f->client_name);
	put_port(b, "client_port", f->client_port);
	put(b, "reverse_client_name", f->reverse_name);
	put(b, "server_address", span_str(server));
	put_port(b, "server_port", f->server_port);
	put(b, "helo_name", f->has_helo ? f->helo : SPAN_EMPTY);
	put(b, "sender", f->has_sender ? f->sender : SPAN_EMPTY);
	put(b, "recipient", f->has_rcpt ? f->rcpt : SPAN_EMPTY);
	put_number(b, "recipient_count", all_rcpts ? f->nrcpt : 0);
	put(b, "queue_id", span_eq_str(f->qid, "NOQUEUE") ? SPAN_EMPTY : f->qid);
	put_instance(b, f, f->has_sender && f->transaction > 0);
	put_number(b, "size", f->size_bytes);
	put(b, "etrn_domain", f->etrn_domain);
	put(b, "stress", span_str(p->p->p_stress));
	put(b, "sasl_method", f->sasl_method);
	put(b, "sasl_username", f->login);
	put(b, "sasl_sender", f->sasl_sender);
	put_cert_name(b, "ccert_subject", f, f->cert_subject);
	put_cert_name(b, "ccert_issuer", f, f->cert_issuer);
	put(b, "ccert_fingerprint", f->cert_fingerprint);
	put(b, "ccert_pubkey_fingerprint", f->pubkey_fingerprint);
	put(b, "encryption_protocol", f->tls_protocol);
	put(b, "encryption_cipher", f->tls_cipher);
	put_number(b, "encryption_keysize", f->tls_bits);
	put(b, "policy_context", span_str(context));
	put(b, "compatibility_level", span_str(p->p->p_compatibility_level));
	put(b, "mail_version", span_str(p->p->p_mail_version));
	buf_putc(b, '\n');
}

/* ---- the answer ---- */

static bool
is_text(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((s.p[i] < ' ' && s.p[i] != '\t') || s.p[i] == 0x7f)
			return false;
	return span_is_utf8(s);
}

static enum policy_answer_kind
bad(const char **why, const char *what)
{
	*why = what;
	return POLICY_ANSWER_BAD;
}

enum policy_answer_kind
policy_answer(struct span in, struct span *action, size_t *used_out, const char **why)
{
	struct span rest = in;
	bool has_action = false;
	*action = SPAN_EMPTY;
	for (;;) {
		size_t lf = span_chr(rest, '\n');
		struct span line = span_head(rest, lf);
		if (!is_text(line) && (lf != SIZE_MAX || span_chr(line, '\0') != SIZE_MAX))
			return bad(why, "control characters or malformed UTF-8 in the answer");
		if (lf == SIZE_MAX || in.n - rest.n + lf >= POLICY_ANSWER_MAX)
			return in.n >= POLICY_ANSWER_MAX ? bad(why, "the answer is too long") : POLICY_ANSWER_MORE;
		rest = span_from(rest, lf + 1);
		if (line.n == 0)
			break;
		if (!span_starts(line, SPAN("action=")))
			continue; /* other attributes are for later versions of the protocol */
		if (has_action)
			return bad(why, "several actions in the answer");
		has_action = true;
		*action = span_trim(span_from(line, 7));
	}
	if (action->n == 0)
		return bad(why, "missing attribute action in the answer");
	*used_out = in.n - rest.n;
	return POLICY_ANSWER_OK;
}
