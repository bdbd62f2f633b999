/* SPDX-License-Identifier: BSD-2-Clause */
#include "smtp/checking_private.h"

enum {
	SHOWN_MAX = 200,             /* octets of a header or a line in the log */
	REPLY_TEXT_MAX = 480,
};

/* ---- the message's log line ---- */

static void
say(struct sess *s, const char *action, const char *class, struct span what, struct span text)
{
	struct tx *tx = s->tx;
	const struct forwarded *x = s->facts.forward;
	struct buf who;
	struct log_ctx ctx = s->log;
	ctx.qid = tx->qid;
	buf_init(&who, 1024);
	struct log_field f[9] = { F_STR(action, action), F_STR(class, class), F_SPAN(content, span_head(what, SHOWN_MAX)), F_SPAN(client, s->client) };
	size_t n = 4;
	if (x != NULL && x->has_client) { /* who spoke to the host in front of us */
		buf_put(&who, x->name.n > 0 ? x->name : SPAN("unknown"));
		buf_putc(&who, '[');
		buf_put(&who, x->addr.n > 0 ? x->addr : SPAN("unknown"));
		buf_putc(&who, ']');
		f[3] = F_SPAN(client, buf_span(&who));
	}
	f[n++] = F_SPAN(from, sess_log_addr(s, tx->env_sender));
	if (tx->nrcpt > 0)
		f[n++] = F_SPAN(to, sess_log_addr(s, tx->rcpts[tx->nrcpt - 1].addr));
	bool is_mime = strcmp(class, "mime-error") == 0; /* Postfix says less there */
	if (!is_mime)
		f[n++] = x != NULL && x->has_client && x->proto.n > 0 ? F_SPAN(proto, x->proto) : F_STR(proto, s->facts.is_esmtp ? "ESMTP" : "SMTP");
	if (!is_mime && x != NULL && x->has_client && x->helo.n > 0)
		f[n++] = F_SPAN(helo, x->helo);
	else if (!is_mime && s->facts.has_helo)
		f[n++] = F_SPAN(helo, s->facts.helo);
	if (text.n > 0)
		f[n++] = F_SPAN(text, text);
	log_event(EV_content_check, &ctx, f, n);
	buf_fini(&who);
}

static void
refuse(struct sess *s, struct span text, bool is_content)
{
	struct checking *k = s->tx->checking;
	struct buf b;
	buf_init(&b, REPLY_TEXT_MAX + 8);
	k->code = text.n > 0 && text.p[0] == '4' ? 451 : 550;
	buf_put_dec(&b, k->code);
	buf_putc(&b, ' ');
	buf_put_safe(&b, text, REPLY_TEXT_MAX, true);
	k->reply = arena_span(&s->tx->arena, buf_span(&b));
	buf_fini(&b);
	if (is_content)
		content_fail(&s->tx->content, CONTENT_REFUSED);
}

bool
checking_refused(const struct tx *tx)
{
	return tx->checking != NULL && tx->checking->reply.n > 0;
}

struct span
checking_reply(const struct tx *tx, unsigned *code_out)
{
	const struct checking *k = tx->checking;
	*code_out = k->reply.n > 0 ? k->code : 451;
	return k->reply.n > 0 ? k->reply : SPAN("451 4.7.1 Error: service unavailable");
}

void
checking_tell_fault(struct sess *s, const struct mime_item *it)
{
	struct buf b;
	if (it->fault == 0)
		return;
	if ((it->fault & MIME_FAULT_LONG) != 0) {
		content_fail(&s->tx->content, CONTENT_HEADER_TOO_BIG);
		return;
	}
	struct span text = span_str(mime_fault_text(it->fault));
	struct span what = (it->fault & MIME_FAULT_DOMAIN) != 0 ? span_str(mime_encoding_name(it->encoding)) : it->event == MIME_HEADER ?
	    check_key(it->text, it->name_len, it->colon, &s->tx->checking->key) : check_line(it->text);
	buf_init(&b, 400);
	buf_put(&b, span_from(text, span_chr(text, ' ') + 1));
	buf_puts(&b, ": ");
	buf_put_safe(&b, what, 100, true);
	say(s, "reject", "mime-error", buf_span(&b), SPAN_EMPTY);
	buf_fini(&b);
	if (!checking_refused(s->tx)) /* what follows is looked at all the same, for the log; the end of the message says it */
		refuse(s, text, false);
}

/* ---- actions ---- */

static void
stop(struct tx *tx)
{
	struct checking *k = tx->checking;
	k->is_stopped = true;
	tx->content.chars = NULL;
	if ((k->mime.conf.flags & MIME_WANT_7BIT_BODY) == 0)
		k->mime.conf.lines_max = 0;
}

bool
checking_is_last(const struct check_verdict *v)
{
	return v->action == CHECK_REJECT || v->action == CHECK_DISCARD || v->action == CHECK_PASS || v->action == CHECK_REDIRECT;
}

/* It must not go where it would: the message is refused with a 4xx. */
static void
lose_way(struct sess *s, const struct check_verdict *v)
{
	struct buf b;
	buf_init(&b, 300);
	buf_put_safe(&b, v->text, 200, true);
	sess_warn(s, "%s = %.300s: %s \"%s\" cannot be done (need %s): message not accepted, try again later", v->parameter, v->table,
	    check_action_name(v->action), buf_cstr(&b), v->action == CHECK_FILTER ? "transport:destination" : "user@domain");
	buf_fini(&b);
	s->tx->lost_way = true;
}

static bool
is_filter(struct span text)
{
	size_t colon = span_chr(text, ':');
	return colon != SIZE_MAX && colon > 0 && text.n <= CHECK_WORD_MAX && span_is_printable(text) && span_is_utf8(text) &&
	    span_chr(span_head(text, colon), ' ') == SIZE_MAX;
}

static void
edit_tx(struct sess *s, const struct check_verdict *v, enum verdict_edit_kind kind)
{
	struct tx *tx = s->tx;
	struct span text = v->text;
	if (kind == EDIT_FILTER) {
		if (!is_filter(text)) {
			lose_way(s, v);
			return;
		}
	} else if (!check_address(text, s->svc->p->p_smtputf8_enable ? (unsigned)ADDR_UTF8 : 0, &tx->arena, &text)) {
		lose_way(s, v);
		return;
	}
	const struct verdict_edit edit = { .kind = kind, .text = text };
	if (!tx_edit(tx, &edit))
		lose_way(s, v);
}

static void
quarantine(struct sess *s, const struct check_verdict *v, struct span what)
{
	struct buf b;
	buf_init(&b, 600);
	buf_put_safe(&b, v->text.n > 0 ? v->text : what, 500, true);
	const struct hold_why why = { .class = HELD_CONTENT, .reason = buf_span(&b), .filter = span_str(v->parameter), .rule = span_str(v->table) };
	tx_hold_all(s->tx, &why);
	buf_fini(&b);
}

void
checking_act(struct sess *s, const struct check_verdict *v, const char *prefix, const char *class, struct span what)
{
	struct tx *tx = s->tx;
	char name[64];
	if (v->warning[0] != '\0')
		log_warn(&(struct log_ctx){ .tag = s->log.tag, .service = "cleanup" }, "%s", v->warning);
	snprintf(name, sizeof name, "%s%s", prefix, check_action_name(v->action));
	switch (v->action) {
	case CHECK_DUNNO:
	case CHECK_IGNORE:
		return;
	case CHECK_HOLD:
		if (tx->hold || tx->discard)
			return;
		tx->hold = s->facts.is_held = true;
		break;
	case CHECK_QUARANTINE:
		if (s->facts.is_quarantined || tx->discard)
			return;
		s->facts.is_quarantined = true;
		quarantine(s, v, what);
		break;
	case CHECK_DISCARD:
		tx->discard = s->facts.is_discarded = true;
		break;
	case CHECK_FILTER:
		edit_tx(s, v, EDIT_FILTER);
		break;
	case CHECK_REDIRECT:
		edit_tx(s, v, EDIT_REDIRECT);
		break;
	case CHECK_BCC:
		edit_tx(s, v, EDIT_COPY);
		break;
	case CHECK_REJECT:
	case CHECK_PASS:
	case CHECK_WARN:
	case CHECK_INFO:
	case CHECK_STRIP:
	case CHECK_PREPEND:
	case CHECK_REPLACE:
		break;
	}
	say(s, name, class, what, v->text);
	tx_note(tx, v->parameter, check_action_name(v->action), v->text.n > 0 ? v->text : what);
	if (v->action == CHECK_REJECT)
		refuse(s, v->text, prefix[0] == '\0');
	if (checking_is_last(v))
		stop(tx);
}

/* ---- octets ---- */

void
checking_bad_octet(struct sess *s)
{
	struct content *c = &s->tx->content;
	const struct check_verdict v = { .action = CHECK_REJECT, .text = SPAN("5.7.1 disallowed character"), .parameter = "message_reject_characters" };
	struct span before = span_head(buf_span(&c->out), c->bad_at), line = span_from(buf_span(&c->out), c->bad_at);
	size_t begin = span_rchr(before, '\n'), end = span_chr(line, '\n');
	begin = begin == SIZE_MAX ? 0 : begin + 1;
	line = span_head(span_from(buf_span(&c->out), begin), c->bad_at - begin + (end == SIZE_MAX ? line.n : end + 1));
	checking_act(s, &v, "", "content", check_line(line));
}
