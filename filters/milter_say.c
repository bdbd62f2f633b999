/* SPDX-License-Identifier: BSD-2-Clause */
/* What one milter is told, and what is awaited from it. */
#include "filters/milter_private.h"

enum {
	HELD_MAX = 8192,             /* octets that wait for something to be said */
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
	struct milter_link *l = s->link;
	struct buf *b = milter_link_out(l);
	l->stand = MSTAND_MIDDLE;
	if (buf_len(&s->held) == 0)
		return b;
	buf_put(b, buf_span(&s->held));
	for (unsigned i = 0; i < s->nheld; i++)
		milter_slot_await(s, s->held_for[i], s->waits_for != 0);
	s->in_transaction |= s->nheld > s->held_session.n || s->held_rcpts > 0;
	if (s->held_rcpts > 0 && milter_link_is_unheard(l)) {
		buf_put(&s->unheard, buf_span(&s->held));
		s->nunheard = s->nheld;
	} else {
		s->held_rcpts = 0;
	}
	buf_fini(&s->held);
	s->nheld = s->held_session.n = 0;
	s->held_session.len = 0;
	return b;
}

void
milter_slot_unhold(struct milter_slot *s)
{
	buf_cut(&s->held, s->held_session.len);
	buf_fini(&s->unheard);
	s->nheld = s->held_session.n;
	s->held_rcpts = s->nunheard = 0;
}

void
milter_slot_between(struct milter_slot *s)
{
	s->said_rcpts = 0;
	if (s->link != NULL && s->link->state == MLINK_READY)
		s->link->is_between = s->def->is_bundled;
}

void
milter_slot_heard(struct milter_slot *s)
{
	if (buf_len(&s->unheard) == 0)
		return;
	buf_fini(&s->unheard);
	s->held_rcpts = s->nunheard = 0;
}

bool
milter_slot_hold_again(struct milter_slot *s)
{
	if (s->held_rcpts == 0)
		return false;
	if (buf_len(&s->unheard) > 0) {
		/* what was held since then follows */
		struct buf since = s->held;
		BUG_ON(s->nunheard > 0 && s->nheld > 0); /* not before the answers: a packet */
		buf_init(&s->held, EVENT_MAX);
		buf_put(&s->held, buf_span(&s->unheard));
		buf_put(&s->held, buf_span(&since));
		s->held.over |= s->unheard.over || since.over;
		buf_fini(&since);
		buf_fini(&s->unheard);
		s->nheld += s->nunheard;
		s->nunheard = 0;
	}
	return true;
}

/* Those of the packets that are not about the session. */
static void
put_transaction(struct span packets, struct buf *b)
{
	struct mw_frame f;
	for (uint32_t n; mw_next(packets, &f, &n) == MW_FRAME; packets = span_from(packets, f.used)) {
		unsigned char about = f.cmd == SMFIC_MACRO && f.data.n > 0 ? f.data.p[0] : f.cmd;
		if (!milter_is_of_session(about))
			buf_put(b, span_head(packets, f.used));
	}
}

void
milter_slot_session_first(struct milter_slot *s)
{
	struct milter_run *r = s->run;
	struct buf rest = s->held;
	unsigned char rest_for[MILTER_HELD];
	unsigned nrest = s->nheld;
	enum milter_event asked = s->asked;
	memcpy(rest_for, s->held_for, nrest);
	buf_init(&s->held, EVENT_MAX);
	s->nheld = 0;
	s->holds = true;
	s->said_connect = r->has_connect;
	s->said_helo = r->has_helo;
	if (s->said_connect)
		(void)milter_slot_say(s, MEV_CONNECT, buf_span(&r->connect_data));
	if (s->said_helo)
		(void)milter_slot_say(s, MEV_HELO, buf_span(&r->helo_data));
	s->asked = asked;
	s->holds = false;
	put_transaction(buf_span(&rest), &s->held);
	s->held.over |= rest.over;
	for (unsigned i = 0; i < nrest; i++)
		if (!milter_is_of_session(rest_for[i]))
			s->held_for[s->nheld++] = rest_for[i];
	buf_fini(&rest);
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
	s->held_session.n = 0;
	s->held_session.len = 0;
	milter_slot_unhold(s);
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

/* It lets this pass as good as always, a bundled one always. */
static bool
is_calm(const struct milter_slot *s, enum milter_event ev)
{
	return s->def->is_bundled || s->def->server->calm[ev] >= CALM;
}

/* The message will bring it to the milter, and if this is a kept connection that is closed already, to another one. */
static bool
may_hold_rcpt(const struct milter_slot *s)
{
	const struct milter_link *l = s->link;
	return is_calm(s, MEV_RCPT) && !s->run->ops->envelope_only && (l->steps & SMFIP_RCPT_REJ) == 0 &&
	    s->nheld + 4 <= MILTER_HELD && buf_len(&s->held) < HELD_MAX && (l->has_heard || !l->is_kept || l->stand == MSTAND_START);
}

bool
milter_puts_off(const struct milter_slot *s, enum milter_event ev)
{
	if (!milter_slot_sends_ahead(s))
		return false;
	if (ev == MEV_DATA)
		return is_calm(s, MEV_DATA) && !s->run->ops->envelope_only;
	bool has_link = s->link != NULL;
	if ((!is_calm(s, MEV_CONNECT) && !(has_link && s->said_connect)) || (!is_calm(s, MEV_HELO) && !(has_link && s->said_helo)))
		return false; /* those it heard have been answered */
	return ev < MEV_MAIL || (is_calm(s, MEV_MAIL) && (ev == MEV_MAIL || may_hold_rcpt(s)));
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

/* What is held by now is about the session, when this is. */
static void
note_session(struct milter_slot *s, unsigned char cmd)
{
	if (!milter_is_of_session(cmd))
		return;
	s->held_session.len = buf_len(&s->held);
	s->held_session.n = s->nheld;
}

/* Empty when none of them has a value. */
static void
write_macros(const struct milter_run *r, const struct milter_names *names, unsigned char cmd, struct buf *b)
{
	bool has_begun = false;
	size_t mark = 0;
	buf_reset(b);
	for (size_t i = 0; i < names->n; i++) {
		struct span v = r->ops->macro(r->owner, names->name[i]);
		if (v.p == NULL && r->set->default_name.n > 0)
			v = macro_default(r->set, names->name[i]);
		if (v.p == NULL)
			continue;
		if (!has_begun) {
			has_begun = true;
			mark = mw_begin(b, SMFIC_MACRO);
			buf_putc(b, cmd);
		}
		mw_string(b, names->name[i]);
		mw_string(b, v);
	}
	if (has_begun)
		mw_end(b, mark);
}

/* Those of a stage; b NULL: to the connection. */
static void
put_macros(struct milter_slot *s, enum milter_stage st, unsigned char cmd, struct buf *b)
{
	struct milter_run *r = s->run;
	struct milter_link *l = s->link;
	struct milter_shared *m = &r->macros[st];
	struct buf own, *from = &m->octets;
	buf_init(&own, EVENT_MAX);
	if ((int)st < MW_STAGES && l->has_symlist[st]) {
		from = &own;
		write_macros(r, &l->symlist[st], cmd, from);
	} else if (!m->is_made) {
		write_macros(r, &r->set->macros[st], cmd, from);
		m->is_made = true;
	}
	if (buf_len(from) > 0) {
		b = b != NULL ? b : milter_slot_out(s);
		buf_put(b, buf_span(from));
		b->over |= from->over;
	}
	buf_fini(&own);
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
	if (!s->holds && buf_len(&s->held) > HELD_MAX)
		(void)milter_slot_out(s);
	put_macros(s, st, cmd, &s->held);
	note_session(s, cmd);
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
	put_macros(s, events[ev].stage, cmd, s->holds ? &s->held : NULL);
	struct buf *b = s->holds ? &s->held : milter_slot_out(s);
	size_t mark = mw_begin(b, cmd);
	buf_put(b, data);
	mw_end(b, mark);
	s->in_transaction |= ev >= MEV_MAIL && ev != MEV_UNKNOWN && !s->holds;
	s->asked = ev;
	s->said_rcpts += cmd == SMFIC_RCPT;
	bool is_awaited = (steps & events[ev].nr) == 0;
	if (!is_awaited)
		milter_calm_more(s, cmd);
	if (s->holds) {
		s->held_rcpts += cmd == SMFIC_RCPT;
		s->held_steps = steps;
		if (is_awaited)
			s->held_for[s->nheld++] = cmd;
		note_session(s, cmd);
		return false;
	}
	if (is_awaited)
		milter_slot_await(s, cmd, s->waits_for != 0);
	return is_awaited;
}

void
milter_slot_pay_data(struct milter_slot *s)
{
	if (s->owes_data)
		(void)milter_slot_say(s, MEV_DATA, SPAN_EMPTY);
	s->owes_data = false;
}
