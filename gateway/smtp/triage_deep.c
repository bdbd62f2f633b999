/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Tests of a client's commands: pipelining that was not offered, words of other protocols, lines that end in LF alone.
 *
 * Postfix does them in its engine and sends a client away that passes, to come again; here a client that is good so far has
 * the real session, which watches it until it has come to DATA. It has passed when it said RCPT without a fault; a fault
 * behind that counts still.
 */
#include "base/metric.h"
#include "smtp/session.h"

enum { SHOWN_MAX = 100 };

static bool
is_due(const struct triage *t, enum triage_test test)
{
	return (t->todo & ~t->skip & 1u << test) != 0;
}

/* It failed; one fault of a kind is enough. false: the session is over. */
static bool
failed(struct triage *t, enum triage_test test, const char *name, struct span stage, struct span text, bool has_text)
{
	struct log_field f[4] = { F_STR(name, name), F_SPAN(client, span_of(t->who, t->who_n)), F_SPAN(stage, stage), F_SPAN(text, text) };
	enum triage_action a = t->conf->action[test];
	log_event(EV_triage_after, &t->log, f, has_text ? 4 : 3);
	t->pass &= (uint8_t)~(1u << test);
	t->skip |= (uint8_t)(1u << test);
	t->until[test] = DISABLED;
	if (!triage_act(t, a, test, test == TEST_NON_SMTP ? REPLY_TRIAGE_RULES : REPLY_TRIAGE_PROTOCOL, REPLY_TRIAGE_PROTOCOL))
		return false;
	if (a == TRIAGE_IGNORE) { /* good until something else is due again */
		t->pass |= (uint8_t)(1u << test);
		t->until[test] = triage_now() + t->conf->min_ttl;
	}
	return true;
}

static bool
is_foreign(const struct triage *t, struct span word)
{
	static const char *const known[] = { "HELO", "EHLO", "STARTTLS", "XCLIENT", "XFORWARD", "AUTH", "MAIL", "RCPT", "DATA", "BDAT", "RSET", "NOOP",
		"VRFY", "ETRN", "QUIT", "HELP" };
	const struct triage_conf *c = t->conf;
	if (word.n == 0)
		return false;
	for (size_t i = 0; i < NELEMS(known); i++)
		if (span_caseeq_str(word, known[i]))
			return false;
	unsigned char first = word.p[0];
	bool letter = (first >= 'A' && first <= 'Z') || (first >= 'a' && first <= 'z');
	size_t colon = span_chr(word, ':');
	return (colon != SIZE_MAX && colon > 0) || (c->p->p_smtputf8_enable && !span_is_utf8(word)) || (c->forbid_nonletters && !letter) ||
	       matchlist_name(c->forbidden, word, NULL) == RC_OK;
}

bool
triage_deep_look(struct triage *t, const struct line_cmd *line, struct span rest)
{
	struct sess *s = t->s;
	struct span text = line->text, word = SPAN_EMPTY;
	if (line->bare_lf && is_due(t, TEST_BARE_NEWLINE) &&
	    !failed(t, TEST_BARE_NEWLINE, "BARE NEWLINE", sess_shown(s, line->text, SHOWN_MAX), SPAN_EMPTY, false))
		return false;
	(void)span_word(&text, " \t", &word);
	if (is_due(t, TEST_NON_SMTP) && is_foreign(t, word)) {
		struct buf b;
		buf_init(&b, 8 * SHOWN_MAX);
		if (s->hides_lines) {
			buf_put(&b, sess_shown(s, line->text, SHOWN_MAX));
		} else {
			buf_put_safe(&b, word, SHOWN_MAX, false);
			buf_putc(&b, ' ');
			buf_put(&b, sess_shown(s, span_trim(text), SHOWN_MAX));
		}
		bool goes_on = failed(t, TEST_NON_SMTP, "NON-SMTP COMMAND", span_str(s->where), buf_span(&b), true);
		buf_fini(&b);
		if (!goes_on)
			return false;
	}
	if (rest.n > 0 && is_due(t, TEST_PIPELINING) && !span_caseeq_str(word, "BDAT"))
		return failed(t, TEST_PIPELINING, "COMMAND PIPELINING", span_head(line_without_secrets(word), SHOWN_MAX), sess_shown(s, rest, SHOWN_MAX), true);
	return true;
}

static void
passed(struct triage *t, enum triage_test test)
{
	unsigned bit = 1u << test;
	if ((t->todo & bit) == 0 || ((t->pass | t->fail) & bit) != 0)
		return;
	t->pass |= (uint8_t)bit;
	t->until[test] = triage_now() + t->conf->ttl[test];
}

void
triage_deep_reached(struct triage *t, struct span word)
{
	if (span_caseeq_str(word, "RCPT")) {
		passed(t, TEST_BARE_NEWLINE);
		passed(t, TEST_NON_SMTP);
		passed(t, TEST_PIPELINING);
	} else if (t->stage == TRIAGE_SERVED && (span_caseeq_str(word, "DATA") || span_caseeq_str(word, "BDAT"))) {
		triage_end(t->s);
	}
}
