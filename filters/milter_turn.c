/* SPDX-License-Identifier: BSD-2-Clause */
/* Whose turn it is at an event, and what it comes to. */
#include "filters/milter_private.h"

#include "base/metric.h"

/* What one milter's turn at an event comes to. */
enum turn { TURN_PASS, TURN_WAIT, TURN_STOP };

/* ---- verdicts ---- */

static void
set_verdict(struct milter_slot *s, enum milter_kind kind, unsigned code, struct span text, bool close, bool is_fault)
{
	struct milter_run *r = s->run;
	buf_reset(&r->verdict_text);
	buf_put(&r->verdict_text, text);
	r->verdict = (struct milter_verdict){ .kind = kind, .code = code, .reply = buf_span(&r->verdict_text), .close = close, .is_fault = is_fault,
		.milter = s->def->name };
}

/* Its default action. */
static enum turn
fault_turn(struct milter_slot *s)
{
	static const struct {
		const char *comm, *conf;
		unsigned comm_code, conf_code;
	} rows[] = {
		[MACT_REJECT] = { "550 5.5.0 Service unavailable", "451 4.3.5 Server configuration problem - try again later", 550, 451 },
		[MACT_TEMPFAIL] = { "451 4.7.1 Service unavailable - try again later", "451 4.3.5 Server configuration problem - try again later", 451, 451 },
		[MACT_SHUTDOWN] = { "421 4.7.1 Service unavailable - try again later", "421 4.3.5 Server configuration problem - try again later", 421, 421 },
	};
	struct milter_run *r = s->run;
	enum milter_action a = s->def->action;
	if (a == MACT_ACCEPT) {
		if (r->event == MEV_END && r->has_message && !r->is_unreadable && s->def->fault_header != NULL)
			milter_edit_tag(s, s->def->fault_header);
		return TURN_PASS;
	}
	if (a == MACT_QUARANTINE) {
		if (r->event >= MEV_MAIL && !r->edits.quarantine) {
			r->edits.quarantine = true;
			r->edits.quarantine_reason = s->def->fault_reason != NULL ? span_str(s->def->fault_reason) : SPAN("default_action");
			r->edits.quarantine_milter = s->def->name;
		}
		return TURN_PASS;
	}
	unsigned code = s->is_conf_error ? rows[a].conf_code : rows[a].comm_code;
	set_verdict(s, MILTER_REFUSE, code, span_str(s->is_conf_error ? rows[a].conf : rows[a].comm), code == 421, true);
	return TURN_STOP;
}

/* What it said itself: for good at connect and helo, else once. */
static enum turn
said_turn(struct milter_slot *s)
{
	set_verdict(s, s->kind, s->code, buf_span(&s->reply), s->close, false);
	return TURN_STOP;
}

/* ---- one milter ---- */

bool
milter_turn_is_its(const struct milter_slot *s)
{
	const struct milter_run *r = s->run;
	return r->is_waiting && r->at < r->nslots && &r->slots[r->at] == s;
}

static enum turn
slot_dial(struct milter_slot *s)
{
	bool fresh = s->wants_fresh || s->held_rcpts > 0;
	s->wants_fresh = false;
	if (!milter_server_try(s->def->server)) {
		metric_add(M_milter_bypassed, 1);
		milter_slot_give_up(s, false);
		s->is_bypassed = true;
		return fault_turn(s);
	}
	s->has_options = false;
	if (s->held_rcpts == 0) {
		milter_slot_forget(s);
		s->said_connect = s->said_helo = s->said_mail = false;
		s->said_rcpts = 0;
	}
	s->link = milter_link_get(s->def->server, &s->user, s->def->connect_timeout, fresh);
	s->link->is_between = s->def->is_bundled && !fresh; /* before its first message, too */
	s->has_options = s->link->state == MLINK_READY;
	return s->has_options ? TURN_PASS : TURN_WAIT;
}


static enum turn
say(struct milter_slot *s, enum milter_event ev, struct span data)
{
	return milter_slot_say(s, ev, data) ? TURN_WAIT : TURN_PASS;
}

/* May the next event follow the one that was just said? */
static bool
may_follow(const struct milter_slot *s, enum turn t)
{
	return t == TURN_PASS || milter_slot_sends_ahead(s);
}

/* A connection that is new in the middle of a session hears first what was said before, in one write. */
static enum turn
catch_up(struct milter_slot *s)
{
	struct milter_run *r = s->run;
	enum turn t = TURN_PASS;
	if (r->has_connect && !s->said_connect) {
		s->said_connect = true;
		t = say(s, MEV_CONNECT, buf_span(&r->connect_data));
	}
	if (may_follow(s, t) && r->has_helo && !s->said_helo && r->event != MEV_CONNECT) {
		s->said_helo = true;
		t = say(s, MEV_HELO, buf_span(&r->helo_data)) == TURN_WAIT ? TURN_WAIT : t;
	}
	if (may_follow(s, t) && r->in_mail && !s->said_mail && r->event >= MEV_MAIL && s->state == MSLOT_ENVELOPE) {
		s->said_mail = true;
		t = say(s, MEV_MAIL, buf_span(&r->mail_data)) == TURN_WAIT ? TURN_WAIT : t;
	}
	return t;
}

static enum turn
slot_turn(struct milter_slot *s)
{
	struct milter_run *r = s->run;
	enum turn t;
	bool is_told = r->event == MEV_END || (s->kind == MILTER_REFUSE && (r->event == MEV_RCPT || r->event == MEV_DATA));
	if (s->is_final)
		return is_told ? said_turn(s) : TURN_PASS;
	if (r->event == MEV_MAIL && s->is_bypassed && !s->def->server->breaker.is_open) {
		s->is_bypassed = false; /* it is back */
		s->state = MSLOT_ENVELOPE;
	}
	switch (s->state) {
	case MSLOT_ACCEPT_CON:
		return TURN_PASS;
	case MSLOT_ACCEPT_MSG:
		if (r->event != MEV_HELO)
			return TURN_PASS;
		break;
	case MSLOT_REJECT_CON:
		return said_turn(s);
	case MSLOT_ERROR:
		return fault_turn(s);
	case MSLOT_ENVELOPE:
		break;
	}
	if (r->is_late && r->event >= MEV_MAIL)
		return fault_turn(s);
	if (r->event <= MEV_MAIL && milter_puts_off(s, r->event) && s->waits_for == 0)
		return TURN_PASS;
	if (s->link == NULL && (t = slot_dial(s)) != TURN_PASS)
		return t;
	if (s->state == MSLOT_ERROR)
		return TURN_PASS; /* slot_dial: out of use, and accepted */
	if (s->link->state != MLINK_READY || s->waits_for != 0)
		return TURN_WAIT;
	s->holds = r->event == MEV_RCPT && milter_puts_off(s, MEV_RCPT);
	t = catch_up(s);
	if (!may_follow(s, t))
		return t;
	enum turn now = TURN_PASS;
	switch (r->event) {
	case MEV_NONE:
	case MEV_COUNT:
	case MEV_CONNECT:
	case MEV_HELO:
	case MEV_MAIL:
		break; /* catch_up said it */
	case MEV_RCPT_REFUSED:
		if ((s->link->steps & SMFIP_RCPT_REJ) != 0)
			now = say(s, r->event, buf_span(&r->event_data));
		break;
	case MEV_DATA:
		s->owes_data = milter_puts_off(s, MEV_DATA);
		if (!s->owes_data)
			now = say(s, MEV_DATA, buf_span(&r->event_data));
		break;
	case MEV_UNKNOWN:
	case MEV_RCPT:
		now = say(s, r->event, buf_span(&r->event_data));
		break;
	case MEV_END:
		if (r->has_message)
			return milter_content_pump(s) ? TURN_WAIT : said_turn(s);
		milter_slot_pay_data(s);
		if (s->nheld > 0)
			(void)milter_slot_out(s);
		now = s->waits_for != 0 ? TURN_WAIT : TURN_PASS;
		break;
	}
	return t == TURN_WAIT ? t : now;
}

/* ---- all of them ---- */

/* All turns from the one at hand on. True: the event is over. */
static bool
advance(struct milter_run *r)
{
	for (; r->at < r->nslots; r->at++) {
		switch (slot_turn(&r->slots[r->at])) {
		case TURN_PASS:
			continue;
		case TURN_WAIT:
			return false;
		case TURN_STOP:
			return true;
		}
	}
	return true;
}

static void
end_wait(struct milter_run *r)
{
	timer_clear(&r->deadline);
	if (r->event >= MEV_MAIL)
		r->waited += loop_now() - r->wait_began;
	r->is_waiting = false;
}

static void
finish(struct milter_run *r)
{
	end_wait(r);
	if (r->event == MEV_END)
		milter_edits_finish(r);
	op_finish(&r->op, RC_OK);
}

/* The turn of the milter has come to this; another's is not touched. */
static void
resume(struct milter_slot *s, enum turn t)
{
	struct milter_run *r = s->run;
	if (t == TURN_WAIT)
		return;
	if (t == TURN_PASS) {
		r->at++;
		if (!advance(r))
			return;
	}
	finish(r);
}

void
milter_turn_pass(struct milter_slot *s)
{
	if (milter_turn_is_its(s))
		resume(s, TURN_PASS);
}

void
milter_turn_said(struct milter_slot *s)
{
	if (milter_turn_is_its(s))
		resume(s, said_turn(s));
}

void
milter_turn_fault(struct milter_slot *s)
{
	if (milter_turn_is_its(s))
		resume(s, fault_turn(s));
}

void
milter_turn_again(struct milter_slot *s)
{
	if (milter_turn_is_its(s))
		resume(s, slot_turn(s));
}

static void
on_deadline(struct timer *t)
{
	struct milter_run *r = container_of(t, struct milter_run, deadline);
	CHECK(r, MILTER_RUN_MAGIC);
	if (!r->is_waiting || r->at >= r->nslots)
		return;
	r->is_late = true;
	metric_add(M_milter_late, 1);
	milter_slot_fault(&r->slots[r->at], "milter_message_deadline has passed", false);
}

static void
detach(struct op *op)
{
	struct milter_run *r = container_of(op, struct milter_run, op);
	end_wait(r); /* replies come and find nobody; the next event, or the end, sees that they are outstanding */
}

static const struct op_provider provider = { "milter", detach };

bool
milter_turn_begin(struct milter_run *r, enum milter_event ev)
{
	CHECK(r, MILTER_RUN_MAGIC);
	BUG_ON(r->is_waiting);
	r->event = ev;
	r->at = 0;
	for (size_t i = 0; i < NELEMS(r->macros); i++)
		r->macros[i].is_made = false;
	r->verdict = (struct milter_verdict){ 0 };
	r->wait_began = loop_now();
	r->is_waiting = true; /* so that a failure on the way is no surprise */
	bool done = advance(r);
	r->is_waiting = false;
	if (done) {
		if (ev == MEV_END)
			milter_edits_finish(r);
		return false;
	}
	r->is_waiting = true;
	op_pend(&r->op, &provider);
	if (ev >= MEV_MAIL)
		timer_set(&r->deadline, r->waited < r->set->deadline ? r->set->deadline - r->waited : 0);
	return true;
}

void
milter_turn_init(struct milter_run *r)
{
	timer_init(&r->deadline, on_deadline);
}

void
milter_turn_dial(struct milter_slot *s, enum milter_event ev)
{
	if (s->link == NULL && s->state == MSLOT_ENVELOPE && !milter_puts_off(s, ev))
		(void)slot_dial(s);
}
