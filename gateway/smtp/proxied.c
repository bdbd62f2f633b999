/* SPDX-License-Identifier: BSD-2-Clause */
#include "smtp/proxied.h"

#include "base/mem.h"
#include "base/metric.h"
#include "smtp/session.h"

enum { FORWARD_MAX_OCTETS = 2048 };

/* ---- of a service ---- */

enum rc
proxied_conf_open(struct conf *c, const struct service *s, struct proxied_conf **out, struct err *e)
{
	const struct params *p = s->params;
	struct span text = span_str(p->p_smtpd_proxy_filter), options = span_str(p->p_smtpd_proxy_options);
	*out = NULL;
	if (text.n == 0)
		return RC_OK;
	struct proxied_conf *pc = mem_zalloc(sizeof *pc);
	struct buf full;
	buf_init(&full, 1024);
	bool has_type = span_starts(text, SPAN("inet:")) || span_starts(text, SPAN("unix:")) || span_starts(text, SPAN("local:"));
	buf_puts(&full, has_type ? "" : "inet:");
	buf_put(&full, text);
	enum rc rc = endpoint_open(c, s, "smtpd_proxy_filter", buf_span(&full), &pc->endpoint, e);
	buf_fini(&full);
	for (struct span word; span_word(&options, ", \t\r\n", &word);) {
		if (span_caseeq_str(word, "speed_adjust")) {
			pc->speed_adjust = true;
			continue;
		}
		conf_problem(c, CONF_ERROR, s, "smtpd_proxy_options", "smtpd_proxy_options: unknown option \"%.*s\"", (int)(word.n < 80 ? word.n : 80),
		    (const char *)word.p);
		rc = err_set(e, RC_PERM, "smtpd_proxy_options: unknown option");
	}
	if (rc != RC_OK)
		conf_problem(c, CONF_ERROR, s, "smtpd_proxy_filter", "smtpd_proxy_filter = %s: %s", p->p_smtpd_proxy_filter, e != NULL ? e->why : "");
	pc->ehlo = p->p_smtpd_proxy_ehlo;
	pc->timeout = p->p_smtpd_proxy_timeout;
	*out = pc;
	if (rc != RC_OK)
		proxied_conf_free(out);
	return rc;
}

void
proxied_conf_free(struct proxied_conf **pp)
{
	struct proxied_conf *pc = *pp;
	*pp = NULL;
	if (pc == NULL)
		return;
	endpoint_free(&pc->endpoint);
	mem_free(&pc);
}

/* ---- of a transaction ---- */

void
tx_proxied_free(struct tx_proxied **pp)
{
	struct tx_proxied *x = *pp;
	*pp = NULL;
	if (x == NULL)
		return;
	proxy_filter_fini(&x->filter);
	buf_fini(&x->forward);
	buf_fini(&x->lines);
	buf_fini(&x->header);
	mem_free(&x);
}

static bool
asks_at_once(const struct sess *s)
{
	return s->svc->proxied != NULL && !s->svc->proxied->speed_adjust && s->tx != NULL && !s->tx->discard;
}

static void
on_filter(struct op *op)
{
	struct proxy_filter *f = container_of(op, struct proxy_filter, op);
	sess_resume(f->session);
}

static enum step
start(struct sess *s)
{
	const struct proxied_conf *pc = s->svc->proxied;
	struct tx_proxied *x = mem_zalloc(sizeof *x);
	s->tx->proxied = x;
	buf_init(&x->forward, FORWARD_MAX_OCTETS);
	buf_init(&x->lines, PROXY_COMMANDS_MAX);
	tx_put_forward(s->tx, &x->forward);
	proxy_filter_start(&x->filter, pc->endpoint, pc->ehlo, pc->timeout, x->forward.over ? SPAN_EMPTY : buf_span(&x->forward), &s->ops, on_filter);
	x->filter.session = s;
	x->is_asked = true;
	return STEP_WAIT;
}

static enum step
say(struct tx_proxied *x, size_t n, int expected)
{
	proxy_filter_say(&x->filter, buf_span(&x->lines), n, expected);
	x->is_asked = true;
	return STEP_WAIT;
}

static struct command_mail
mail_of(const struct tx *tx)
{
	return (struct command_mail){ .sender = tx->sender.text, .size = tx->has_content ? tx->content.len : tx->params.size,
		.is_8bit = tx->params.is_8bitmime, .is_utf8 = tx->params.is_smtputf8, .ret = tx->params.ret, .envid = tx->params.envid };
}

static void
put_rcpt(struct buf *out, struct span addr, uint8_t notify, struct span orcpt, unsigned features)
{
	const struct command_rcpt r = { .addr = addr, .notify = notify, .orcpt = orcpt };
	command_rcpt(out, &r, features);
}

/* The filter has no answer that the client could be given. */
static void
warn_lost(struct sess *s)
{
	sess_warn(s, "proxy %s: %s", s->svc->p->p_smtpd_proxy_filter, s->tx->proxied->filter.why.why);
}

/* "proxy X rejected "RCPT TO:<a>": "550 no""; the client is told the same. */
static void
pass_refusal(struct sess *s, struct span said)
{
	struct tx_proxied *x = s->tx->proxied;
	struct span reply = buf_span(&x->filter.reply.text);
	if (said.n > 0)
		sess_warn(s, "proxy %s rejected \"%.*s\": \"%.*s\"", s->svc->p->p_smtpd_proxy_filter, (int)said.n, (const char *)said.p,
		    (int)span_head(reply, span_chr(reply, '\n')).n, (const char *)reply.p);
	sess_reply_lines(s, (unsigned)x->filter.reply.code, reply);
}

/* What was asked is over: STEP_NEXT when it went well, or nothing was asked. */
static enum step
hear(struct sess *s, const char *command)
{
	struct tx_proxied *x = s->tx->proxied;
	if (x == NULL || !x->is_asked)
		return STEP_NEXT;
	x->is_asked = false;
	if (x->filter.op.rc != RC_OK) {
		warn_lost(s);
		sess_refuse(s, REPLY_NO_QUEUE);
		return STEP_END;
	}
	if (!x->filter.refused)
		return STEP_NEXT;
	struct span said = command != NULL ? span_str(command) : span_head(buf_span(&x->lines), buf_len(&x->lines) >= 2 ? buf_len(&x->lines) - 2 : 0);
	pass_refusal(s, span_head(said, 500));
	return STEP_END;
}

/* ---- MAIL ---- */

enum step
mail_filter_start(struct sess *s)
{
	return asks_at_once(s) ? start(s) : STEP_NEXT;
}

enum step
mail_filter_say(struct sess *s)
{
	enum step next = hear(s, "CONNECT");
	if (next != STEP_NEXT) {
		sess_undo_mail(s);
		return next;
	}
	struct tx_proxied *x = s->tx->proxied;
	if (x == NULL)
		return STEP_NEXT;
	const struct command_mail m = mail_of(s->tx);
	command_mail(&x->lines, &m, x->filter.features & ~(unsigned)HUB_AUTH);
	x->has_begun = true;
	return say(x, 1, 2);
}

enum step
mail_filter_said(struct sess *s)
{
	enum step next = hear(s, NULL);
	if (next != STEP_NEXT)
		sess_undo_mail(s);
	return next;
}

/* ---- RCPT ---- */

enum step
rcpt_filter_say(struct sess *s)
{
	struct tx_proxied *x = s->tx->proxied;
	if (!asks_at_once(s) || x == NULL)
		return STEP_NEXT;
	buf_reset(&x->lines);
	put_rcpt(&x->lines, s->addr.text, s->rcpt_params.notify, s->rcpt_params.orcpt, x->filter.features);
	return say(x, 1, 2);
}

enum step
rcpt_filter_said(struct sess *s)
{
	return hear(s, NULL);
}

/* ---- DATA ---- */

static enum step
say_data(struct sess *s)
{
	struct tx_proxied *x = s->tx->proxied;
	if (x->has_data)
		return STEP_NEXT;
	x->has_data = true;
	buf_reset(&x->lines);
	buf_put(&x->lines, SPAN("DATA\r\n"));
	return say(x, 1, 3);
}

enum step
data_filter_say(struct sess *s)
{
	return asks_at_once(s) && s->tx->proxied != NULL ? say_data(s) : STEP_NEXT;
}

enum step
data_filter_said(struct sess *s)
{
	enum step next = hear(s, NULL);
	if (next != STEP_NEXT)
		sess_end_tx(s);
	return next;
}

/* ---- the end of the message ---- */

static bool
is_for_filter(const struct sess *s)
{
	return s->svc->proxied != NULL && !s->tx->discard;
}

static enum step
over(struct sess *s, enum step next)
{
	if (next == STEP_END)
		data_done(s);
	return next;
}

enum step
end_filter_start(struct sess *s)
{
	return is_for_filter(s) && s->tx->proxied == NULL ? start(s) : STEP_NEXT;
}

enum step
end_filter_envelope(struct sess *s)
{
	if (!is_for_filter(s))
		return STEP_NEXT;
	struct tx *tx = s->tx;
	struct tx_proxied *x = tx->proxied;
	enum step next = hear(s, "CONNECT");
	if (next != STEP_NEXT)
		return over(s, next);
	if (x->has_begun)
		return STEP_NEXT;
	const struct command_mail m = mail_of(tx);
	buf_reset(&x->lines);
	command_mail(&x->lines, &m, x->filter.features & ~(unsigned)HUB_AUTH);
	for (uint32_t i = 0; i < tx->nrcpt; i++)
		put_rcpt(&x->lines, tx->rcpts[i].orig.n > 0 ? tx->rcpts[i].orig : tx->rcpts[i].addr, tx->rcpts[i].notify, tx->rcpts[i].orcpt, x->filter.features);
	x->has_begun = true;
	return say(x, 1 + tx->nrcpt, 2);
}

enum step
end_filter_data(struct sess *s)
{
	if (!is_for_filter(s))
		return STEP_NEXT;
	enum step next = hear(s, "envelope");
	return next == STEP_NEXT ? say_data(s) : over(s, next);
}

static enum rc
read_content(void *owner, uint64_t pos, size_t max, struct buf *out)
{
	struct tx_proxied *x = owner;
	struct span header = buf_span(&x->header);
	if (pos >= header.n)
		return content_read_body(x->content, pos - header.n, max, out);
	buf_put(out, span_head(span_from(header, (size_t)pos), max));
	return RC_OK;
}

enum step
end_filter_content(struct sess *s)
{
	if (!is_for_filter(s))
		return STEP_NEXT;
	enum step next = hear(s, NULL);
	if (next != STEP_NEXT)
		return over(s, next);
	struct tx_proxied *x = s->tx->proxied;
	x->content = &s->tx->content;
	buf_init(&x->header, 64 * 1024 + (size_t)s->tx->content.len);
	if (content_read_header(x->content, &x->header) != RC_OK)
		return data_refuse(s, REPLY_NO_QUEUE);
	buf_put(&x->header, SPAN("\r\n"));
	proxy_filter_content(&x->filter, read_content, x);
	x->is_asked = true;
	return STEP_WAIT;
}

enum step
end_filter_said(struct sess *s)
{
	if (!is_for_filter(s))
		return STEP_NEXT;
	struct tx_proxied *x = s->tx->proxied;
	x->is_asked = false;
	if (x->filter.op.rc != RC_OK) {
		warn_lost(s);
		return data_refuse(s, REPLY_NO_QUEUE);
	}
	struct span reply = buf_span(&x->filter.reply.text);
	sess_log_proxied(s, !x->filter.refused, span_head(reply, span_chr(reply, '\n')));
	sess_reply_lines(s, (unsigned)x->filter.reply.code, reply);
	if (!x->filter.refused) {
		metric_add(M_smtpd_messages, 1);
		s->errors = s->junk = 0;
	}
	data_done(s);
	return STEP_END;
}
