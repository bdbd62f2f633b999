/* SPDX-License-Identifier: BSD-2-Clause */
/* What the client sends: command lines to their rows, content to where it belongs, the rest to nowhere. */
#include "smtp/milter.h"

#include "base/clock.h"
#include "base/metric.h"
#include "smtp/verbs.h"

enum {
	OUTPUT_HIGH = 16 * 1024,     /* no command is run while so much is unsent */
	TURN_COMMANDS = 64,          /* of one session, then the others get their turn */
	SKIP_MAX = 1024 * 1024,      /* octets of an endless line before we hang up */
	GONE_MAX = 1024 * 1024,      /* octets still taken after the last reply */
};

/* true: the client sent ahead where it may not, and that ends the session. */
static bool
breaks_pipelining(struct sess *s, const struct cmd_row *cmd, struct span rest)
{
	if (rest.n == 0 || s->facts.pipelined_early || (s->facts.is_esmtp && (cmd->flags & CF_LAST) == 0) || (cmd->flags & CF_QUIT) != 0)
		return false;
	return sess_early_input(s, rest);
}

bool
sess_early_input(struct sess *s, struct span seen)
{
	sess_announce(s);
	LOG(smtpd_pipelining, &s->log, F_STR(stage, s->where), F_SPAN(client, s->client),
	    F_SPAN(text, sess_shown(s, seen, 100)));
	s->facts.pipelined_early = true;
	if (!s->svc->p->p_smtpd_forbid_unauth_pipelining)
		return false;
	sess_shut(s, REPLY_SYNC);
	return true;
}

static bool
phase_allows(struct sess *s, enum verb verb)
{
	enum reply_id wrong = verb_wrong_phase(verb, sess_phase(s));
	if (wrong == REPLY_NONE)
		return true;
	sess_reply(s, wrong);
	return false;
}

static void
bare_lf_command(struct sess *s)
{
	if (s->no_bare_lf_rules)
		return;
	if (s->svc->bare_lf == BARE_LF_NOTE)
		s->noted_bare_lf = true;
	if (s->svc->bare_lf != BARE_LF_REJECT)
		return;
	sess_refuse_code(s, REPLY_BARE_LF, (unsigned)s->svc->p->p_smtpd_forbid_bare_newline_reject_code);
	sess_linger(s);
}

static bool
is_forbidden(const struct sess *s, struct span word)
{
	unsigned char c = word.p[0];
	bool letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
	if (s->svc->forbid_nonletters && !letter)
		return true;
	return span_chr(word, ':') != SIZE_MAX || matchlist_name(s->svc->forbidden, word, NULL) == RC_OK;
}

static void
unknown_command(struct sess *s, struct span word, struct span line)
{
	if (!matchlist_empty(s->svc->noop) && matchlist_name(s->svc->noop, word, NULL) == RC_OK) {
		s->verb = VERB_NOOP;
		s->counts[VERB_NOOP].all++;
		if (s->junk++ > sess_patience(s)->junk)
			s->errors++;
		sess_reply(s, REPLY_OK);
		sess_command_done(s);
		return;
	}
	s->verb = VERB_UNKNOWN;
	s->where = "UNKNOWN";
	s->counts[VERB_UNKNOWN].all += s->counts[VERB_UNKNOWN].all < UINT16_MAX ? 1u : 0u;
	if (is_forbidden(s, word)) {
		sess_announce(s);
		LOG(smtpd_noncommand, &s->log, F_SPAN(client, s->client), F_SPAN(text, sess_shown(s, line, 100)));
		s->failed = true;
		sess_shut(s, REPLY_FORBIDDEN);
		sess_command_done(s);
		return;
	}
	if (s->milter != NULL) {
		sess_milter_name(s, word); /* without what follows it, as in Postfix */
		sess_run_steps(s, unknown_steps);
		return;
	}
	sess_reply(s, REPLY_NOT_RECOGNIZED);
	sess_command_done(s);
}

/* What every command has to pass before its own steps. */
static bool
may_run(struct sess *s, const struct cmd_row *cmd, const struct line_cmd *line, struct span rest)
{
	if ((cmd->flags & CF_JUNK) != 0 && s->junk++ > sess_patience(s)->junk)
		s->errors++;
	if (breaks_pipelining(s, cmd, rest))
		return false;
	if (s->denied && (cmd->flags & CF_QUIT) == 0) {
		sess_reply(s, REPLY_DENIED);
		return false;
	}
	if (s->svc->tls_level == TLS_LEVEL_ENCRYPT && !s->facts.is_tls && (cmd->flags & CF_PRE_TLS) == 0) {
		sess_reply(s, REPLY_NEED_TLS);
		return false;
	}
	if (line->has_nul) {
		sess_reply(s, REPLY_HAS_NUL);
		return false;
	}
	return phase_allows(s, s->verb);
}

/* One command line; rest: what came behind it. */
static void
command(struct sess *s, const struct line_cmd *line, struct span rest)
{
	s->failed = false;
	s->verb = VERB_UNKNOWN;
	s->cmd_bare_lf = line->bare_lf;
	if (line->bare_lf) {
		bare_lf_command(s);
		if (s->input == INPUT_GONE) {
			sess_command_done(s);
			return;
		}
	}
	struct span text = line->text, word;
	if (!span_word(&text, " \t", &word)) {
		sess_reply(s, REPLY_BAD_SYNTAX);
		sess_command_done(s);
		return;
	}
	const struct cmd_row *cmd = verb_find(word, &s->verb);
	if (cmd == NULL) {
		unknown_command(s, word, line->text);
		return;
	}
	s->where = cmd->name;
	s->hides_lines = s->verb == VERB_AUTH;
	s->counts[s->verb].all += s->counts[s->verb].all < UINT16_MAX ? 1u : 0u;
	if (s->svc->p->p_smtputf8_enable && !span_is_ascii(line->text) && !span_is_utf8(line->text)) {
		sess_reply(s, REPLY_BAD_UTF8);
		sess_command_done(s);
		return;
	}
	s->args = span_trim(text);
	if (!may_run(s, cmd, line, rest)) {
		sess_command_done(s);
		return;
	}
	sess_run_steps(s, cmd->steps);
}

static void
line_too_long(struct sess *s, size_t used, bool unended)
{
	metric_add(M_smtpd_line_limit, 1);
	if (s->triage != NULL && triage_line_too_long(s))
		return;
	conn_consume(&s->conn, used);
	s->failed = false;
	s->verb = VERB_UNKNOWN;
	s->skipped = used;
	s->counts[VERB_UNKNOWN].all += s->counts[VERB_UNKNOWN].all < UINT16_MAX ? 1u : 0u;
	s->input = unended ? INPUT_SKIP : INPUT_COMMAND;
	if (!unended) {
		sess_reply(s, REPLY_LINE_TOO_LONG);
		sess_command_done(s);
	}
}

/* Takes one command if a whole one is there; false: none is. */
static bool
take_command(struct sess *s, struct span in)
{
	struct line_cmd line;
	size_t used;
	bool unended;
	int64_t max = s->svc->p->p_line_length_limit;
	/* the first response may come with the command, and is as long as any other (RFC 4954 4) */
	if (s->svc->sasl != NULL && span_casestarts(in, SPAN("AUTH ")) && max < s->svc->p->p_smtpd_sasl_response_limit)
		max = s->svc->p->p_smtpd_sasl_response_limit;
	switch (line_command(in, max < SESS_INPUT_MAX ? (size_t)max : SESS_INPUT_MAX - 1, &line, &used, &unended)) {
	case RC_OK:
		s->hides_lines |= line_is_auth(line.text); /* until there is a command that is not AUTH */
		/* the line stays where it is until it is consumed */
		if (s->triage == NULL || !triage_command(s, &line, span_from(in, used)))
			command(s, &line, span_from(in, used));
		if (sess_is_alive(s) && conn_input(&s->conn).n >= used) /* STARTTLS took all of it */
			conn_consume(&s->conn, used);
		return true;
	case RC_PERM:
		line_too_long(s, used, unended);
		return true;
	case RC_NONE:
	case RC_TEMP:
		break;
	}
	return false;
}

static void
skip_line(struct sess *s, struct span in)
{
	bool ended;
	size_t n = line_skip(in, &ended);
	conn_consume(&s->conn, n);
	s->skipped += n;
	if (ended) {
		s->input = INPUT_COMMAND;
		sess_reply(s, s->skips_auth ? REPLY_AUTH_LIMIT : REPLY_LINE_TOO_LONG);
		s->skips_auth = false;
		sess_command_done(s);
	} else if (s->skipped > SKIP_MAX) {
		sess_shut(s, REPLY_LINE_ENDLESS);
		sess_command_done(s);
	}
}

static void
swallow(struct sess *s, struct span in)
{
	size_t n = in.n < s->chunk_left ? in.n : (size_t)s->chunk_left;
	conn_consume(&s->conn, n);
	s->chunk_left -= n;
	if (s->chunk_left == 0)
		s->input = INPUT_COMMAND;
}

static void
stay_gone(struct sess *s, struct span in)
{
	conn_consume(&s->conn, in.n);
	s->skipped += in.n;
	if (s->skipped > GONE_MAX)
		sess_retire(s);
}

/* Deals with one piece of input; false: more is needed. */
static bool
take_some(struct sess *s, struct span in)
{
	size_t used;
	switch (s->input) {
	case INPUT_COMMAND:
		return take_command(s, in);
	case INPUT_PROXY:
		return connect_proxy_input(s, in);
	case INPUT_TRIAGE:
		return triage_input(s, in);
	case INPUT_SKIP:
		skip_line(s, in);
		return true;
	case INPUT_AUTH:
		used = auth_input(s, in);
		if (sess_is_alive(s))
			conn_consume(&s->conn, used);
		return used > 0;
	case INPUT_DATA:
	case INPUT_CHUNK:
		used = s->input == INPUT_DATA ? data_input(s, in) : chunk_input(s, in);
		if (sess_is_alive(s))
			conn_consume(&s->conn, used);
		return true;
	case INPUT_SWALLOW:
		swallow(s, in);
		return true;
	case INPUT_GONE:
		stay_gone(s, in);
		return true;
	}
	return false;
}

void
sess_pump(struct sess *s)
{
	bool any = false;
	for (unsigned n = 0; sess_is_alive(s) && !sess_is_busy(s); n++) {
		struct span in = conn_input(&s->conn);
		if (in.n == 0)
			break;
		if (conn_unsent(&s->conn) > OUTPUT_HIGH && n > 0 && s->input != INPUT_GONE) {
			s->conn.want_drained = true; /* it does not read its replies: wait until it does */
			conn_pause(&s->conn);
			break;
		}
		if (n == TURN_COMMANDS) { /* others get their turn; we are called again */
			conn_pause(&s->conn);
			conn_resume(&s->conn);
			break;
		}
		if (!take_some(s, in))
			break;
		any = true;
	}
	/* A command line has to be complete within the time, however slowly it comes; content per read, or with
	 * smtpd_per_request_deadline at smtpd_min_data_rate. */
	if (any && sess_is_alive(s) && !sess_is_busy(s) && s->input != INPUT_GONE && s->input != INPUT_TRIAGE)
		sess_set_deadline(s);
}

void
sess_set_deadline(struct sess *s)
{
	const struct params *p = s->svc->p;
	uint64_t usec = triage_patience(s, sess_patience(s)->timeout);
	bool content = s->input == INPUT_DATA || s->input == INPUT_CHUNK;
	if (content && p->p_smtpd_per_request_deadline && s->tx != NULL) {
		/* from the beginning of the content: timeout + octets / rate */
		uint64_t len = s->tx->content.client_len;
		uint64_t until = s->content_began + usec + len * USEC_PER_SEC / (uint64_t)p->p_smtpd_min_data_rate;
		usec = until > loop_now() ? until - loop_now() : 1;
		if (usec > sess_patience(s)->timeout)
			usec = sess_patience(s)->timeout;
	}
	conn_deadline(&s->conn, usec);
}
