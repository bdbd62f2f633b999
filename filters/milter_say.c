/* SPDX-License-Identifier: BSD-2-Clause */
/* What one milter is told, and what is awaited from it. */
#include "filters/milter_private.h"

enum {
	MACROS_KEPT = 4096,          /* octets that wait for something to be said */
	CALM = 1000,                 /* times in a row that an event passed, until it may be put off */
};

static const struct {
	unsigned char cmd;
	uint32_t no, nr;             /* SMFIP bits: not to be sent, no reply */
	enum milter_stage stage;
} events[MEV_COUNT] = {
	[MEV_CONNECT] = { SMFIC_CONNECT, SMFIP_NOCONNECT, SMFIP_NR_CONN, MST_CONNECT },
	[MEV_HELO] = { SMFIC_HELO, SMFIP_NOHELO, SMFIP_NR_HELO, MST_HELO },
	[MEV_MAIL] = { SMFIC_MAIL, SMFIP_NOMAIL, SMFIP_NR_MAIL, MST_MAIL },
	[MEV_RCPT] = { SMFIC_RCPT, SMFIP_NORCPT, SMFIP_NR_RCPT, MST_RCPT },
	[MEV_RCPT_REFUSED] = { SMFIC_RCPT, SMFIP_NORCPT, SMFIP_NR_RCPT, MST_RCPT },
	[MEV_DATA] = { SMFIC_DATA, SMFIP_NODATA, SMFIP_NR_DATA, MST_DATA },
	[MEV_UNKNOWN] = { SMFIC_UNKNOWN, SMFIP_NOUNKNOWN, SMFIP_NR_UNKN, MST_UNKNOWN },
	[MEV_END] = { SMFIC_BODYEOB, 0, 0, MST_EOM },
};

const char *
milter_event_name(enum milter_event ev)
{
	return ev == MEV_NONE ? "no event" : mw_command_name(events[ev].cmd);
}

/* ---- what is awaited ---- */

struct buf *
milter_slot_out(struct milter_slot *s)
{
	struct buf *b = conn_out(&s->link->conn);
	s->link->stand = MSTAND_MIDDLE;
	if (buf_len(&s->macros) > 0) { /* of what it did not want to hear: in order */
		buf_put(b, buf_span(&s->macros));
		buf_fini(&s->macros);
	}
	return b;
}

bool
milter_slot_sends_ahead(const struct milter_slot *s)
{
	return s->nbehind < MILTER_AHEAD && !s->def->server->one_by_one;
}

bool
milter_slot_awaits(const struct milter_slot *s, unsigned char cmd)
{
	return s->waits_for == cmd || memchr(s->behind, cmd, s->nbehind) != NULL;
}

void
milter_slot_await(struct milter_slot *s, unsigned char cmd, bool is_content)
{
	if (s->waits_for != 0) {
		BUG_ON(s->nbehind >= MILTER_AHEAD);
		s->behind[s->nbehind++] = cmd;
		return;
	}
	s->waits_for = cmd;
	s->link->waits_for = cmd;
	conn_deadline(&s->link->conn, is_content ? s->def->content_timeout : s->def->command_timeout);
}

void
milter_slot_answered(struct milter_slot *s)
{
	s->waits_for = 0;
	if (s->nbehind > 0) {
		s->waits_for = s->behind[0];
		memmove(s->behind, s->behind + 1, --s->nbehind);
		s->link->wants_more = true;
	}
	s->link->waits_for = s->waits_for;
	conn_deadline(&s->link->conn, s->waits_for != 0 ? s->def->content_timeout : 0);
}

void
milter_slot_forget(struct milter_slot *s)
{
	s->waits_for = 0;
	s->nbehind = 0;
}

/* ---- calm ---- */

/* The milter let it pass once more. */
void
milter_calm_more(struct milter_slot *s, unsigned char cmd)
{
	for (unsigned ev = 0; ev < MEV_COUNT; ev++) {
		unsigned *calm = &s->def->server->calm[ev];
		if (events[ev].cmd == cmd)
			*calm += *calm < CALM;
	}
}

void
milter_calm_lost(struct milter_slot *s, unsigned char cmd)
{
	for (unsigned ev = 0; ev < MEV_COUNT; ev++)
		if (events[ev].cmd == cmd)
			s->def->server->calm[ev] = 0;
}

bool
milter_puts_off(const struct milter_slot *s, enum milter_event ev)
{
	const struct milter_server *m = s->def->server;
	if (!milter_slot_sends_ahead(s))
		return false;
	if (ev == MEV_DATA)
		return m->calm[MEV_DATA] >= CALM;
	return m->calm[MEV_CONNECT] >= CALM && m->calm[MEV_HELO] >= CALM && (ev != MEV_MAIL || m->calm[MEV_MAIL] >= CALM);
}
/* ---- macros ---- */

static struct span
macro_default(const struct milter_set *set, struct span name)
{
	if (name.n > 2 && name.p[0] == '{' && name.p[name.n - 1] == '}')
		name = span_head(span_from(name, 1), name.n - 2);
	for (size_t i = 0; i < set->default_name.n; i++)
		if (span_eq(set->default_name.name[i], name))
			return set->default_value.name[i];
	return SPAN_EMPTY;
}

/* Those of a stage; b NULL: to the connection. */
static void
put_macros(struct milter_slot *s, enum milter_stage st, unsigned char cmd, struct buf *b)
{
	struct milter_run *r = s->run;
	struct milter_link *l = s->link;
	const struct milter_names *names = (int)st < MW_STAGES && l->has_symlist[st] ? &l->symlist[st] : &r->set->macros[st];
	bool has_begun = false;
	size_t mark = 0;
	for (size_t i = 0; i < names->n; i++) {
		struct span v = r->ops->macro(r->owner, names->name[i]);
		if (v.p == NULL && r->set->default_name.n > 0)
			v = macro_default(r->set, names->name[i]);
		if (v.p == NULL)
			continue;
		if (!has_begun) {
			has_begun = true;
			b = b != NULL ? b : milter_slot_out(s);
			mark = mw_begin(b, SMFIC_MACRO);
			buf_putc(b, cmd);
		}
		mw_string(b, names->name[i]);
		mw_string(b, v);
	}
	if (has_begun)
		mw_end(b, mark);
}

void
milter_slot_macros(struct milter_slot *s, enum milter_stage st, unsigned char cmd)
{
	put_macros(s, st, cmd, NULL);
}

/* Of something it does not want to hear: with what is said next. */
static void
put_off_macros(struct milter_slot *s, enum milter_stage st, unsigned char cmd)
{
	if (buf_len(&s->macros) > MACROS_KEPT)
		(void)milter_slot_out(s);
	put_macros(s, st, cmd, &s->macros);
}

/* ---- events ---- */

bool
milter_slot_say(struct milter_slot *s, enum milter_event ev, struct span data)
{
	uint32_t steps = s->link->steps;
	unsigned char cmd = events[ev].cmd;
	if (s->skipped != cmd)
		s->skipped = 0;
	if ((steps & events[ev].no) != 0 || s->skipped == cmd) {
		milter_calm_more(s, cmd);
		if (s->skipped != cmd) /* it may ask for them later, as behind Postfix */
			put_off_macros(s, events[ev].stage, cmd);
		return false;
	}
	milter_slot_macros(s, events[ev].stage, cmd);
	struct buf *b = milter_slot_out(s);
	size_t mark = mw_begin(b, cmd);
	buf_put(b, data);
	mw_end(b, mark);
	if (ev >= MEV_MAIL && ev != MEV_UNKNOWN)
		s->in_transaction = true;
	s->asked = ev;
	if (cmd == SMFIC_RCPT)
		s->said_rcpts++;
	if ((steps & events[ev].nr) != 0) {
		milter_calm_more(s, cmd);
		return false;
	}
	milter_slot_await(s, cmd, s->waits_for != 0);
	return true;
}

void
milter_slot_pay_data(struct milter_slot *s)
{
	if (s->owes_data)
		(void)milter_slot_say(s, MEV_DATA, SPAN_EMPTY);
	s->owes_data = false;
}
