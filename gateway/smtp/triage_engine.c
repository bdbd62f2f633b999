/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The engine for clients that failed: it says what postscreen's says, takes down who they are and for whom, and refuses every
 * recipient. It asks nobody anything. Also the place where commands of clients that are good so far come by.
 */
#include "base/metric.h"
#include "smtp/session.h"

enum { FILTERED_MAX = 2048 };

/* Announced if nothing forbids it. */
enum { OFFERED = 1u << EHLO_SIZE | 1u << EHLO_VRFY | 1u << EHLO_ETRN | 1u << EHLO_STARTTLS | 1u << EHLO_ENHANCEDSTATUSCODES | 1u << EHLO_8BITMIME | 1u << EHLO_DSN |
	1u << EHLO_SMTPUTF8 | 1u << EHLO_CHUNKING };

void
triage_engine_begin(struct triage *t, bool greet)
{
	struct sess *s = t->s;
	t->stage = TRIAGE_ENGINE;
	t->hidden = t->conf->hidden;
	if (t->fail != 0) /* it may as well tell everything about itself */
		t->todo |= TESTS_DEEP;
	if (greet)
		conn_put(&s->conn, buf_span(&s->svc->banner));
	sess_set_deadline(s);
}

/* ---- addresses ---- */

/* What stands behind the colon, without quotes: the engine delivers nothing, so anything will do. false: no colon. */
static bool
take_path(struct span args, struct buf *out)
{
	size_t colon = span_chr(args, ':');
	if (colon == SIZE_MAX)
		return false;
	struct span in = span_from(args, colon + 1);
	while (in.n > 0 && in.p[0] == ' ')
		in = span_from(in, 1);
	unsigned char stop = ' ';
	if (in.n > 0 && in.p[0] == '<') {
		in = span_from(in, 1);
		stop = '>';
	}
	bool quoted = false;
	for (size_t i = 0; i < in.n && (quoted || in.p[i] != stop); i++) {
		if (in.p[i] == '"') {
			quoted = !quoted;
			continue;
		}
		if (in.p[i] == '\\' && ++i == in.n)
			break;
		buf_putc(out, in.p[i]);
	}
	struct span all = buf_span(out);
	size_t route = all.n > 0 && all.p[0] == '@' ? span_chr(all, ':') : SIZE_MAX;
	if (route != SIZE_MAX)
		buf_consume(out, route + 1);
	return true;
}

/* ---- commands ---- */

static void
forget_sender(struct triage *t)
{
	buf_fini(&t->sender);
	t->has_sender = false;
}

static bool
take_name(struct triage *t, struct span args, enum reply_id syntax)
{
	struct span name;
	if (!span_word(&args, " \t", &name)) {
		sess_reply(t->s, syntax);
		return false;
	}
	sess_set_helo(t->s, name);
	forget_sender(t);
	return true;
}

static void
do_helo(struct triage *t, struct span args)
{
	if (take_name(t, args, REPLY_SYNTAX_HELO))
		conn_put(&t->s->conn, buf_span(&t->s->svc->helo_reply));
}

static void
hide_by_client(struct triage *t)
{
	struct buf b;
	struct span words;
	buf_init(&b, 1024);
	if (map_find(t->conf->hide_maps, t->s->facts.client_addr, 0, &b, &words, NULL) == RC_OK)
		t->hidden = service_hidden_keywords(NULL, NULL, "", words);
	buf_fini(&b);
}

static bool
offers_tls(const struct triage *t)
{
	return t->conf->tls_level != TLS_LEVEL_NONE && service_offers_tls(t->s->svc);
}

static void
do_ehlo(struct triage *t, struct span args)
{
	if (!take_name(t, args, REPLY_SYNTAX_EHLO))
		return;
	t->s->facts.is_esmtp = true;
	if (!map_list_empty(t->conf->hide_maps))
		hide_by_client(t);
	unsigned hidden = t->hidden | (offers_tls(t) && !t->s->facts.is_tls ? 0 : 1u << EHLO_STARTTLS);
	service_ehlo(t->s->svc, OFFERED & ~hidden, SPAN_EMPTY, conn_out(&t->s->conn));
}

static void
do_mail(struct triage *t, struct span args)
{
	struct sess *s = t->s;
	if (t->conf->p->p_postscreen_helo_required && !s->facts.has_helo) {
		sess_reply(s, REPLY_NEED_HELO);
	} else if (t->has_sender) {
		sess_reply(s, REPLY_NESTED_MAIL);
	} else if (!take_path(args, &t->sender)) {
		sess_reply(s, REPLY_SYNTAX_MAIL);
	} else {
		t->has_sender = true;
		sess_reply(s, REPLY_MAIL_OK);
	}
}

static void
log_refused(struct triage *t, struct span rcpt)
{
	struct sess *s = t->s;
	struct buf b;
	const struct reply_args args = { .myhostname = s->svc->p->p_myhostname, .client_addr = s->facts.client_addr,
		.text = t->score.shown != NULL ? span_str(t->score.shown) : SPAN_EMPTY };
	buf_init(&b, 1024);
	reply_write(&b, t->reply, 0, &args);
	if (t->conf->p->p_soft_bounce)
		reply_soften(&b, 0);
	struct log_ctx ctx = t->log;
	ctx.noqueue = true;
	LOG(triage_reject, &ctx, F_SPAN(client, triage_who(t)), F_SPAN(reply, buf_span(&b)), F_SPAN(from, sess_log_addr(s, buf_span(&t->sender))),
	    F_SPAN(to, sess_log_addr(s, rcpt)), F_STR(proto, s->facts.is_esmtp ? "ESMTP" : "SMTP"), F_SPAN(helo, span_of(s->helo, s->helo_n)));
	buf_fini(&b);
}

static void
refuse(struct triage *t)
{
	struct span text = t->reply == REPLY_TRIAGE_LISTED && t->score.shown != NULL ? span_str(t->score.shown) : SPAN_EMPTY;
	sess_reply_full(t->s, t->reply, 0, text, 0);
}

static void
do_rcpt(struct triage *t, struct span args)
{
	struct buf rcpt;
	buf_init(&rcpt, FILTERED_MAX);
	if (!t->has_sender) {
		sess_reply(t->s, REPLY_NEED_MAIL);
	} else if (!take_path(args, &rcpt)) {
		sess_reply(t->s, REPLY_SYNTAX_RCPT);
	} else {
		metric_add(M_triage_refused, 1);
		log_refused(t, buf_span(&rcpt));
		refuse(t);
	}
	buf_fini(&rcpt);
}

static void
without_rcpt(struct triage *t, const char *what)
{
	LOG(triage_without, &t->log, F_STR(name, what), F_SPAN(client, triage_who(t)));
}

static void
do_data(struct triage *t, struct span args)
{
	without_rcpt(t, "DATA");
	triage_drop(t, args.n > 0 ? REPLY_SYNTAX_DATA : !t->has_sender ? REPLY_NEED_RCPT : REPLY_NO_VALID_RCPT, 0);
}

static void
do_bdat(struct triage *t, struct span args)
{
	without_rcpt(t, "BDAT");
	if ((t->hidden & 1u << EHLO_CHUNKING) != 0)
		triage_drop(t, REPLY_NOT_IMPLEMENTED, 0);
	else
		triage_drop(t, args.n == 0 ? REPLY_TRIAGE_BDAT : !t->has_sender ? REPLY_TRIAGE_BDAT_MAIL : REPLY_NO_VALID_RCPT, 0);
}

static void
do_rset(struct triage *t, struct span args)
{
	(void)args;
	forget_sender(t);
	sess_reply(t->s, REPLY_OK);
}

static void
do_noop(struct triage *t, struct span args)
{
	(void)args;
	sess_reply(t->s, REPLY_OK);
}

static void
do_vrfy(struct triage *t, struct span args)
{
	if (args.n == 0)
		sess_reply(t->s, REPLY_TRIAGE_VRFY);
	else if (t->conf->p->p_postscreen_disable_vrfy_command)
		sess_reply(t->s, REPLY_VRFY_OFF);
	else
		refuse(t);
}

static void
do_etrn(struct triage *t, struct span args)
{
	if (t->conf->p->p_postscreen_helo_required && !t->s->facts.has_helo)
		sess_reply(t->s, REPLY_NEED_HELO);
	else
		sess_reply(t->s, args.n == 0 ? REPLY_SYNTAX_ETRN : REPLY_ETRN_FAILED);
}

static void
do_starttls(struct triage *t, struct span args)
{
	struct sess *s = t->s;
	if (args.n > 0) {
		sess_reply(s, REPLY_SYNTAX_STARTTLS);
	} else if (!s->facts.is_tls && (!offers_tls(t) || (t->hidden & 1u << EHLO_STARTTLS) != 0)) {
		sess_reply(s, REPLY_NOT_IMPLEMENTED);
	} else {
		forget_sender(t);
		s->args = SPAN_EMPTY;
		sess_run_steps(s, starttls_steps);
	}
}

static void
do_quit(struct triage *t, struct span args)
{
	(void)args;
	triage_drop(t, REPLY_BYE, 0);
}

static const struct command {
	const char *name;
	void (*fn)(struct triage *t, struct span args); /* NULL: known, not offered */
	bool without_tls;        /* also where TLS is a must */
} commands[] = {
	{ "HELO", do_helo, true }, { "EHLO", do_ehlo, true }, { "STARTTLS", do_starttls, true }, { "XCLIENT", NULL, false }, { "XFORWARD", NULL, false }, { "AUTH", NULL, false },
	{ "MAIL", do_mail, false }, { "RCPT", do_rcpt, false }, { "DATA", do_data, false }, { "BDAT", do_bdat, false }, { "RSET", do_rset, false }, { "NOOP", do_noop, true },
	{ "VRFY", do_vrfy, false }, { "ETRN", do_etrn, false }, { "QUIT", do_quit, true },
};

static const struct command *
find_command(struct span word)
{
	for (size_t i = 0; i < NELEMS(commands); i++)
		if (span_caseeq_str(word, commands[i].name))
			return &commands[i];
	return NULL;
}

void
triage_engine_command(struct triage *t, struct span text)
{
	struct sess *s = t->s;
	struct span word = SPAN_EMPTY;
	const char *before = s->where;
	(void)span_word(&text, " \t", &word);
	const struct command *c = find_command(word);
	s->where = c != NULL ? c->name : "UNIMPLEMENTED";
	bool quits = c != NULL && c->fn == do_quit;
	if (++t->commands > t->conf->p->p_postscreen_command_count_limit && !quits) {
		LOG(triage_after, &t->log, F_STR(name, "COMMAND COUNT LIMIT"), F_SPAN(client, triage_who(t)), F_STR(stage, before));
		triage_drop(t, REPLY_TRIAGE_LIMIT, 0);
	} else if (c == NULL || c->fn == NULL) {
		sess_reply(s, REPLY_TRIAGE_UNKNOWN);
	} else if (t->conf->tls_level == TLS_LEVEL_ENCRYPT && !s->facts.is_tls && !c->without_tls) {
		sess_reply(s, REPLY_NEED_TLS);
	} else {
		c->fn(t, span_trim(text));
	}
}

/* ---- every command of a client that is tested ---- */

/* postscreen_command_filter; what it gives is in b. */
static struct span
filtered(struct triage *t, struct span text, struct buf *b)
{
	struct span value;
	while (text.n > 0 && (text.p[0] == ' ' || text.p[0] == '\t'))
		text = span_from(text, 1);
	if (map_list_empty(t->conf->filter) || (t->conf->p->p_smtputf8_enable && !span_is_utf8(text)) ||
	    map_find(t->conf->filter, text, 0, b, &value, NULL) != RC_OK)
		return text;
	value = arena_span(&t->s->scratch, value);
	struct buf safe;
	buf_init(&safe, 1024);
	buf_put(&safe, triage_who(t));
	buf_puts(&safe, ": replacing command \"");
	buf_put_safe(&safe, text, 100, false);
	buf_puts(&safe, "\" with \"");
	buf_put_safe(&safe, value, 100, false);
	buf_putc(&safe, '"');
	log_info(&(struct log_ctx){ .tag = t->log.tag, .service = "postscreen" }, "%s", buf_cstr(&safe));
	buf_fini(&safe);
	return value;
}

/* A client that was good so far is so no longer: from here on nobody serves it. */
static void
demote(struct triage *t)
{
	struct sess *s = t->s;
	if (s->facts.has_sender) {
		buf_put(&t->sender, s->facts.sender);
		t->has_sender = true;
	}
	sess_end_tx(s);
	sess_forget_lookup(s);
	triage_engine_begin(t, false);
}

bool
triage_command(struct sess *s, const struct line_cmd *line, struct span rest)
{
	struct triage *t = s->triage;
	struct buf b;
	if (t->stage != TRIAGE_ENGINE && t->stage != TRIAGE_SERVED)
		return false;
	s->verb = VERB_NONE;
	if (!triage_deep_look(t, line, rest))
		return true;
	if (t->stage == TRIAGE_SERVED && t->fail != 0)
		demote(t);
	struct span text = line->text, word = SPAN_EMPTY;
	(void)span_word(&text, " \t", &word);
	bool is_served = t->stage == TRIAGE_SERVED;
	if (is_served || find_command(word) != NULL)
		triage_deep_reached(t, word); /* t may be gone */
	if (is_served) {
		if (s->steps == NULL && s->scratch.blocks != NULL)
			arena_fini(&s->scratch);
		return false;
	}
	buf_init(&b, FILTERED_MAX);
	triage_engine_command(t, filtered(t, line->text, &b));
	buf_fini(&b);
	if (sess_is_alive(s) && s->steps == NULL)
		sess_command_done(s);
	return true;
}

bool
triage_line_too_long(struct sess *s)
{
	struct triage *t = s->triage;
	if (t->stage != TRIAGE_ENGINE)
		return false;
	LOG(triage_after, &t->log, F_STR(name, "COMMAND LENGTH LIMIT"), F_SPAN(client, triage_who(t)), F_STR(stage, s->where));
	triage_drop(t, REPLY_TRIAGE_LIMIT, 0);
	return true;
}
