/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hub_command.h - what the hub answers to commands
 *
 * For hub.c alone: definitions, as in hub_rule.h.
 */
#ifndef TESTS_HUB_COMMAND_H
#define TESTS_HUB_COMMAND_H

#include <strings.h>

#include "hub_session.h"

static void
say(struct sess *s, const char *enh, const char *line)
{
	text_fmt(&s->out, "%.4s%s%s\r\n", line, s->at->noenh ? "" : enh, line + 4);
}

static void
greet(struct sess *s, bool esmtp)
{
	const struct listener *l = s->at;

	s->esmtp = esmtp;
	if (!esmtp) {
		text_fmt(&s->out, "250 %s\r\n", l->name);
		return;
	}
	text_fmt(&s->out, "250-%s\r\n", l->name);
	if (!l->nopipe)
		text_str(&s->out, "250-PIPELINING\r\n");
	if (!l->nosize)
		text_fmt(&s->out, "250-SIZE %ld\r\n", l->size);
	if (!l->noenh)
		text_str(&s->out, "250-ENHANCEDSTATUSCODES\r\n");
	if (!l->no8bit)
		text_str(&s->out, "250-8BITMIME\r\n");
	if (!l->nodsn)
		text_str(&s->out, "250-DSN\r\n");
	if (!l->noutf8)
		text_str(&s->out, "250-SMTPUTF8\r\n");
	if (!l->nochunk)
		text_str(&s->out, "250-CHUNKING\r\n");
	text_str(&s->out, "250 HELP\r\n");
}

static void
cmd_helo(struct sess *s, const char *verb, const char *arg)
{
	bool esmtp = strcasecmp(verb, "HELO") != 0;

	if (esmtp && (s->at->noesmtp || (strcasecmp(verb, "LHLO") == 0) != s->at->lmtp)) {
		say(s, "5.5.2 ", "500 command not recognized");
		return;
	}
	sess_reset(s);
	mem_free(&s->helo);
	s->helo = mem_strdup(arg);
	greet(s, esmtp);
}

static void
cmd_mail(struct sess *s, const char *arg, int ruled)
{
	if (s->has_mail && !ruled) {
		say(s, "5.5.1 ", "503 nested MAIL");
		return;
	}
	sess_reset(s);
	s->mail = mem_strdup(arg);
	s->has_mail = true;
	if (!ruled)
		say(s, "2.1.0 ", "250 Ok");
}

static void
cmd_rcpt(struct sess *s, const char *arg, int ruled)
{
	if (!s->has_mail) {
		say(s, "5.5.1 ", "503 need MAIL");
	} else if (s->nrcpt == RCPTS) {
		say(s, "4.5.3 ", "452 too many recipients");
	} else {
		s->rcpt = mem_reallocarray(s->rcpt, s->nrcpt + 1, sizeof *s->rcpt);
		s->rcpt[s->nrcpt++] = mem_strdup(arg);
		if (!ruled)
			say(s, "2.1.5 ", "250 Ok");
	}
}

static void
cmd_data(struct sess *s, int ruled)
{
	if (s->nrcpt == 0 || s->msg.n) {
		say(s, "5.5.1 ", "503 no valid recipients");
		return;
	}
	s->data = true;
	s->scanned = 0;
	if (!ruled)
		text_str(&s->out, "354 End data with <CR><LF>.<CR><LF>\r\n");
}

static void
cmd_bdat(struct sess *s, const char *arg)
{
	char *end;

	s->chunk = strtoul(arg, &end, 10);
	s->last_chunk = strcasestr(end, "LAST") != NULL;
	if (s->last_chunk && s->chunk == 0)
		s->chunk = SIZE_MAX; /* complete at once */
}

/* One command line without its end. false: wait, then the same line again. */
static bool
command(struct sess *s, char *line)
{
	static const struct { const char *verb; enum stage st; } verbs[] = {
		{ "EHLO", ST_HELO }, { "LHLO", ST_HELO }, { "HELO", ST_HELO }, { "MAIL", ST_MAIL }, { "RCPT", ST_RCPT },
		{ "DATA", ST_DATA }, { "BDAT", ST_BDAT }, { "RSET", ST_RSET }, { "QUIT", ST_QUIT },
	};
	enum stage st = ST_OTHER;
	const char *arg = strchr(line, ' ');
	char verb[8] = "";

	for (size_t i = 0; i < NELEMS(verbs); i++)
		if (strncasecmp(line, verbs[i].verb, 4) == 0 && (line[4] == ' ' || line[4] == '\0')) {
			st = verbs[i].st;
			memcpy(verb, verbs[i].verb, 4);
		}
	arg = arg ? arg + 1 : "";
	int ruled = sess_step(s, st, arg);
	if (ruled == 2)
		return false;
	if (ruled < 0 && st != ST_BDAT)
		return true;
	switch (st) {
	case ST_HELO:
		if (!ruled)
			cmd_helo(s, verb, arg);
		break;
	case ST_MAIL:
		cmd_mail(s, arg, ruled);
		break;
	case ST_RCPT:
		cmd_rcpt(s, arg, ruled);
		break;
	case ST_DATA:
		cmd_data(s, ruled);
		break;
	case ST_BDAT:
		cmd_bdat(s, arg);
		break;
	case ST_QUIT:
		if (!ruled)
			say(s, "2.0.0 ", "221 Bye");
		s->closing = true;
		break;
	case ST_RSET:
		sess_reset(s);
		if (!ruled)
			say(s, "2.0.0 ", "250 Ok");
		break;
	case ST_OTHER:
		if (ruled)
			break;
		if (strcasecmp(line, "NOOP") == 0)
			say(s, "2.0.0 ", "250 Ok");
		else
			say(s, "5.5.2 ", "500 command not recognized");
		break;
	case ST_CONNECT:
	case ST_CONTENT:
	case ST_DOT:
	case ST_ANY:
		break;
	}
	return true;
}

#endif
