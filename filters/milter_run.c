/* SPDX-License-Identifier: BSD-2-Clause */
#include "filters/milter_private.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"

enum {
	RUN_MAGIC = 0x3117e400, EVENT_MAX = 256 * 1024, UNSENT_MAX = 64 * 1024,
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

/* What one milter's turn at an event comes to. */
enum turn { TURN_PASS, TURN_WAIT, TURN_STOP };

static enum turn slot_turn(struct milter_slot *s);
static void resume(struct milter_slot *s, enum turn t);

/* ---- saying ---- */

static bool
is_session_level(unsigned char cmd)
{
	return cmd == SMFIC_CONNECT || cmd == SMFIC_HELO;
}

static bool
is_content(unsigned char cmd)
{
	return cmd == SMFIC_HEADER || cmd == SMFIC_EOH || cmd == SMFIC_BODY;
}

struct buf *
milter_slot_out(struct milter_slot *s)
{
	struct buf *b = conn_out(&s->link->conn);
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

static void
answered(struct milter_slot *s)
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

/* Nothing more is awaited on this connection. */
static void
forget_awaited(struct milter_slot *s)
{
	s->waits_for = 0;
	s->nbehind = 0;
}

/* It has decided about the message. Were commands sent behind the one it answered, nobody knows whether it will answer those: another
 * connection, and from now on it gets one command after the other. */
static void
answered_for_good(struct milter_slot *s, unsigned char replied)
{
	for (unsigned ev = 0; ev < MEV_COUNT; ev++)
		if (events[ev].cmd == replied)
			s->def->server->calm[ev] = 0;
	answered(s);
	if (s->waits_for == 0)
		return;
	s->def->server->one_by_one |= is_content(replied);
	forget_awaited(s);
	s->in_transaction = false;
	milter_link_drop(&s->link);
}

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

static void
refuse(struct milter_slot *s, unsigned code, struct span text)
{
	s->kind = MILTER_REFUSE;
	s->code = code;
	s->close = code == 421;
	buf_reset(&s->reply);
	buf_put(&s->reply, text);
}

/* ---- faults ---- */

static void
become_faulty(struct milter_slot *s, bool is_conf)
{
	s->state = MSLOT_ERROR;
	s->is_conf_error = is_conf;
	forget_awaited(s);
	s->in_transaction = false;
	s->content = MCON_NONE;
	s->is_final = s->owes_data = false;
	memset(s->def->server->calm, 0, sizeof s->def->server->calm);
	milter_edit_forget(s->run);
}

static bool
is_its_turn(const struct milter_slot *s)
{
	const struct milter_run *r = s->run;
	return r->is_waiting && r->at < r->nslots && &r->slots[r->at] == s;
}

static unsigned
how_far(const struct milter_slot *s)
{
	switch (s->waits_for) {
	case SMFIC_CONNECT:
	case SMFIC_HELO:
		return MFAR_CONNECT;
	case SMFIC_HEADER:
	case SMFIC_EOH:
	case SMFIC_BODY:
		return MFAR_CONTENT;
	case SMFIC_BODYEOB:
		return MFAR_END;
	default:
		return s->content != MCON_NONE ? MFAR_CONTENT : MFAR_ENVELOPE;
	}
}

/* why: without the milter's name. */
void
milter_slot_fault(struct milter_slot *s, const char *why, bool is_conf)
{
	static const struct log_ctx smtpd = { .service = "smtpd" }, cleanup = { .service = "cleanup" };
	unsigned far = how_far(s);
	struct milter_server *server = s->def->server;
	char text[300];
	snprintf(text, sizeof text, "milter %s: %s", s->def->name, why);
	log_warn(far >= MFAR_CONTENT ? &cleanup : &smtpd, "%s", text);
	bool turn = is_its_turn(s);
	milter_link_drop(&s->link);
	become_faulty(s, is_conf);
	milter_server_failed(server, far, text);
	if (turn)
		resume(s, fault_turn(s));
}

static void
on_failed(struct milter_link_user *u, const char *why, bool is_stale)
{
	static const struct log_ctx smtpd = { .service = "smtpd" }, cleanup = { .service = "cleanup" };
	struct milter_slot *s = container_of(u, struct milter_slot, user);
	bool turn = is_its_turn(s);
	unsigned far = s->has_options ? how_far(s) : MFAR_OPTIONS;
	s->link = NULL;
	bool only_this = s->said_rcpts == 0 || (s->said_rcpts == 1 && s->run->event == MEV_RCPT);
	if (is_stale && only_this) {
		/* it had been closed before we said a word: begin anew */
		forget_awaited(s);
		s->said_rcpts = 0;
		s->said_connect = s->said_helo = s->said_mail = false;
		s->in_transaction = false;
		if (s->content != MCON_NONE)
			milter_content_restart(s);
		s->wants_fresh = true;
		if (turn)
			resume(s, slot_turn(s));
		return;
	}
	log_warn(far >= MFAR_CONTENT ? &cleanup : &smtpd, "%s", why);
	become_faulty(s, false);
	milter_server_failed(s->def->server, far, why);
	if (turn)
		resume(s, fault_turn(s));
}

/* ---- events ---- */

static enum turn
slot_dial(struct milter_slot *s)
{
	bool fresh = s->wants_fresh;
	s->wants_fresh = false;
	if (!milter_server_try(s->def->server)) {
		metric_add(M_milter_bypassed, 1);
		become_faulty(s, false);
		s->is_bypassed = true;
		return fault_turn(s);
	}
	s->has_options = false;
	s->said_connect = s->said_helo = s->said_mail = false;
	s->said_rcpts = 0;
	buf_fini(&s->macros);
	s->link = milter_link_get(s->def->server, &s->user, s->def->connect_timeout, fresh);
	s->has_options = s->link->state == MLINK_READY;
	return s->has_options ? TURN_PASS : TURN_WAIT;
}

/* The milter let it pass once more. */
static void
passes(struct milter_slot *s, enum milter_event ev)
{
	unsigned *calm = &s->def->server->calm[ev];
	*calm += *calm < CALM;
}

/* A milter that never had an objection to connections, HELO, MAIL or DATA hears of them together with what comes next: the first recipient,
 * the message. If it has one after all, that is what is refused, and from then on it is asked at once again. */
static bool
puts_off(const struct milter_slot *s, enum milter_event ev)
{
	const struct milter_server *m = s->def->server;
	if (!milter_slot_sends_ahead(s))
		return false;
	if (ev == MEV_DATA)
		return m->calm[MEV_DATA] >= CALM;
	return m->calm[MEV_CONNECT] >= CALM && m->calm[MEV_HELO] >= CALM && (ev != MEV_MAIL || m->calm[MEV_MAIL] >= CALM);
}

/* One event to one milter: with its macros in one write. */
static enum turn
say(struct milter_slot *s, enum milter_event ev, struct span data)
{
	uint32_t steps = s->link->steps;
	unsigned char cmd = events[ev].cmd;
	if (s->skipped != cmd)
		s->skipped = 0;
	if ((steps & events[ev].no) != 0 || s->skipped == cmd) {
		passes(s, ev);
		if (s->skipped != cmd) /* it may ask for them later, as behind Postfix */
			put_off_macros(s, events[ev].stage, cmd);
		return TURN_PASS;
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
		passes(s, ev);
		return TURN_PASS;
	}
	milter_slot_await(s, cmd, s->waits_for != 0);
	return TURN_WAIT;
}

void
milter_slot_pay_data(struct milter_slot *s)
{
	if (s->owes_data)
		(void)say(s, MEV_DATA, SPAN_EMPTY);
	s->owes_data = false;
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
	if (r->event == MEV_END && s->is_final)
		return said_turn(s);
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
	if (r->event <= MEV_MAIL && puts_off(s, r->event) && s->waits_for == 0)
		return TURN_PASS;
	if (s->link == NULL && (t = slot_dial(s)) != TURN_PASS)
		return t;
	if (s->state == MSLOT_ERROR)
		return TURN_PASS; /* slot_dial: out of use, and accepted */
	if (s->link->state != MLINK_READY || s->waits_for != 0)
		return TURN_WAIT;
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
		s->owes_data = puts_off(s, MEV_DATA);
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
		break;
	}
	return t == TURN_WAIT ? t : now;
}

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

static const char *
event_name(enum milter_event ev)
{
	return ev == MEV_NONE ? "no event" : mw_command_name(events[ev].cmd);
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

/* The turn of the milter whose turn it was has come to this. */
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

static void
on_deadline(struct timer *t)
{
	struct milter_run *r = container_of(t, struct milter_run, deadline);
	CHECK(r, RUN_MAGIC);
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

static bool
begin(struct milter_run *r, enum milter_event ev)
{
	CHECK(r, RUN_MAGIC);
	BUG_ON(r->is_waiting);
	r->event = ev;
	r->at = 0;
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

/* ---- replies ---- */

static void
pump(struct milter_slot *s)
{
	if (!milter_content_pump(s) && is_its_turn(s))
		resume(s, said_turn(s));
}

void
milter_slot_unreadable(struct milter_slot *s)
{
	milter_link_drop(&s->link);
	forget_awaited(s);
	s->in_transaction = false;
	s->is_final = true;
	s->content = MCON_DONE;
	milter_edit_forget(s->run);
	refuse(s, 451, SPAN("451 4.3.0 Error: queue file write error"));
}

static void
unreadable(struct milter_slot *s)
{
	milter_slot_unreadable(s);
	if (is_its_turn(s))
		resume(s, said_turn(s));
}

void
milter_slot_go_on(struct milter_slot *s)
{
	if (s->run->has_file_failed) {
		unreadable(s);
		return;
	}
	conn_deadline(&s->link->conn, s->def->content_timeout);
	conn_resume(&s->link->conn);
}

/* A reply about the message, although nobody waits for it yet: DATA may have been put off until then. */
static bool
is_of_content(const struct milter_slot *s, unsigned char replied)
{
	return is_content(replied) || (replied == SMFIC_DATA && s->content != MCON_NONE);
}

/* The awaited reply lets it go on: with its content, with what it has to hear before the event, or it is the next one's turn. */
static void
goes_on(struct milter_slot *s, unsigned char replied)
{
	struct milter_run *r = s->run;
	if (replied == SMFIC_BODYEOB) {
		struct err e = { 0 };
		if (milter_edit_close(s, &e) != RC_OK) {
			unreadable(s);
			return;
		}
		s->content = MCON_DONE;
		s->in_transaction = false;
		s->def->server->messages++;
		milter_server_worked(s->def->server, MFAR_END);
		milter_edit_commit(r);
		if (is_its_turn(s))
			resume(s, TURN_PASS);
		return;
	}
	if (is_of_content(s, replied)) {
		if (s->state == MSLOT_ENVELOPE)
			pump(s);
		else if (is_its_turn(s))
			resume(s, TURN_PASS); /* it accepted in the middle of it */
		return;
	}
	milter_server_worked(s->def->server, s->asked < MEV_MAIL ? MFAR_CONNECT : MFAR_ENVELOPE);
	if (s->waits_for != 0 || !is_its_turn(s))
		return;
	if (s->asked == r->event || s->state == MSLOT_ACCEPT_CON || (s->state == MSLOT_ACCEPT_MSG && r->event >= MEV_MAIL))
		resume(s, TURN_PASS);
	else
		resume(s, slot_turn(s));
}

/* It refuses, or throws away. */
static void
decided(struct milter_slot *s, unsigned char replied)
{
	if (is_session_level(replied))
		s->state = MSLOT_REJECT_CON;
	if (is_of_content(s, replied)) {
		s->is_final = true; /* told when its turn comes */
		s->content = MCON_DONE;
	}
	if (replied == SMFIC_BODYEOB) {
		s->content = MCON_DONE;
		s->in_transaction = false;
		s->def->server->messages++;
		milter_server_worked(s->def->server, MFAR_END);
		milter_edit_forget(s->run);
	}
	if (is_its_turn(s))
		resume(s, s->run->event == MEV_RCPT_REFUSED ? TURN_PASS : said_turn(s));
}

/* A reply without data: those with some are not one. */
static bool
is_plain(unsigned char cmd)
{
	return strchr("cartdsp4f", cmd) != NULL && cmd != '\0';
}

static bool
take_text(struct milter_slot *s, struct span data)
{
	unsigned code;
	buf_reset(&s->reply);
	if (mw_reply(data, &s->reply, &code) != RC_OK) {
		struct buf b;
		buf_init(&b, 256);
		buf_puts(&b, "malformed reply: ");
		buf_put_safe(&b, span_head(data, span_chr(data, '\0')), 120, false);
		milter_slot_fault(s, buf_cstr(&b), true);
		buf_fini(&b);
		return false;
	}
	s->kind = MILTER_REFUSE;
	s->code = code;
	s->close = code == 421;
	return true;
}

static bool
unexpected(struct milter_slot *s, unsigned char cmd)
{
	char why[160];
	snprintf(why, sizeof why, "unexpected filter response %s after event %s", mw_reply_name(cmd),
	    s->waits_for != 0 ? mw_command_name(s->waits_for) : event_name(s->run->event));
	milter_slot_fault(s, why, false);
	return false;
}

/* A change of the message, or a wish about it. */
static bool
take_edit(struct milter_slot *s, unsigned char cmd, struct span data)
{
	struct err e = { 0 };
	if (cmd == SMFIR_QUARANTINE && s->waits_for != SMFIC_BODYEOB && !is_session_level(s->waits_for) && s->waits_for != SMFIC_UNKNOWN) {
		milter_edit_quarantine_now(s, data);
		return true;
	}
	if (s->waits_for != SMFIC_BODYEOB)
		return unexpected(s, cmd);
	conn_deadline(&s->link->conn, s->def->content_timeout);
	switch (milter_edit_take(s, cmd, data, &e)) {
	case MEDIT_OK:
		return true;
	case MEDIT_NOT_ONE:
		return unexpected(s, cmd);
	case MEDIT_BAD:
		milter_slot_fault(s, e.why, e.rc == RC_PERM);
		return false;
	case MEDIT_WAIT:
		conn_pause(&s->link->conn);
		conn_deadline(&s->link->conn, 0);
		s->run->ops->wants_file(s->run->owner);
		return s->link != NULL && !s->link->conn.paused;
	case MEDIT_TOO_BIG:
		milter_link_drop(&s->link);
		forget_awaited(s);
		s->in_transaction = false;
		s->content = MCON_DONE;
		milter_edit_forget(s->run);
		refuse(s, 552, SPAN("552 5.3.4 Error: message file too big"));
		if (is_its_turn(s))
			resume(s, said_turn(s));
		return false;
	}
	return false;
}

static bool
on_frame(struct milter_link_user *u, unsigned char cmd, struct span data)
{
	struct milter_slot *s = container_of(u, struct milter_slot, user);
	static const struct log_ctx smtpd = { .service = "smtpd" };
	unsigned char replied = s->waits_for;
	if (replied == 0)
		return unexpected(s, cmd);
	if (is_plain(cmd) && data.n > 0) {
		char why[120];
		snprintf(why, sizeof why, "reply %s was followed by %zu data bytes", mw_reply_name(cmd), data.n);
		milter_slot_fault(s, why, false);
		return false;
	}
	switch (cmd) {
	case SMFIR_PROGRESS:
		conn_deadline(&s->link->conn, s->content != MCON_NONE ? s->def->content_timeout : s->def->command_timeout);
		return true;
	case SMFIR_CONTINUE:
		answered(s);
		for (unsigned ev = MEV_CONNECT; ev < MEV_COUNT; ev++)
			if (events[ev].cmd == replied)
				passes(s, (enum milter_event)ev);
		goes_on(s, replied);
		break;
	case SMFIR_SKIP:
		answered(s);
		s->skipped = replied;
		goes_on(s, replied);
		break;
	case SMFIR_ACCEPT:
		answered_for_good(s, replied);
		s->state = is_session_level(replied) ? MSLOT_ACCEPT_CON : MSLOT_ACCEPT_MSG;
		if (is_of_content(s, replied))
			s->content = MCON_DONE;
		goes_on(s, replied);
		break;
	case SMFIR_DISCARD:
		if (is_session_level(replied)) {
			log_warn(&smtpd, "milter %s: DISCARD action is not allowed for connect or helo", s->def->name);
			answered(s);
			goes_on(s, replied);
			break;
		}
		answered_for_good(s, replied);
		s->state = MSLOT_ACCEPT_MSG;
		s->kind = MILTER_DISCARD;
		s->code = 0;
		s->close = false;
		buf_reset(&s->reply);
		decided(s, replied);
		break;
	case SMFIR_REJECT:
		answered_for_good(s, replied);
		refuse(s, 550, SPAN("550 5.7.1 Command rejected"));
		decided(s, replied);
		break;
	case SMFIR_TEMPFAIL:
		answered_for_good(s, replied);
		refuse(s, 451, SPAN("451 4.7.1 Service unavailable - try again later"));
		decided(s, replied);
		break;
	case SMFIR_CONN_FAIL: /* nobody sends it to us; Postfix does not know it either */
		return unexpected(s, cmd);
	case SMFIR_SHUTDOWN:
		answered_for_good(s, replied);
		refuse(s, 421, SPAN("421 4.7.0 Server closing connection"));
		s->state = MSLOT_REJECT_CON;
		decided(s, replied);
		break;
	case SMFIR_REPLYCODE:
		if (!take_text(s, data))
			return false;
		answered_for_good(s, replied);
		decided(s, replied);
		break;
	default:
		return take_edit(s, cmd, data);
	}
	return s->link != NULL;
}

static void
on_ready(struct milter_link_user *u)
{
	struct milter_slot *s = container_of(u, struct milter_slot, user);
	s->has_options = true;
	if (is_its_turn(s))
		resume(s, slot_turn(s));
}

static void
on_drained(struct milter_link_user *u)
{
	struct milter_slot *s = container_of(u, struct milter_slot, user);
	if (s->waits_for == 0)
		conn_deadline(&s->link->conn, 0);
	if (s->state == MSLOT_ENVELOPE && s->content != MCON_NONE)
		pump(s);
}

/* ---- life ---- */

struct milter_run *
milter_run_new(struct milter_set *set, const struct milter_run_ops *ops, void *owner, struct op_owner *wait, op_fn *done)
{
	if (milter_set_is_empty(set))
		return NULL;
	struct milter_run *r = mem_zalloc(sizeof *r + set->n * sizeof r->slots[0]);
	r->magic = RUN_MAGIC;
	r->set = set;
	r->ops = ops;
	r->owner = owner;
	r->nslots = set->n;
	r->spill_fd = -1;
	r->edits.body_fd = -1;
	set->runs++;
	op_init(&r->op, wait, done);
	timer_init(&r->deadline, on_deadline);
	buf_init(&r->verdict_text, MW_REPLY_MAX);
	buf_init(&r->connect_data, EVENT_MAX);
	buf_init(&r->helo_data, EVENT_MAX);
	buf_init(&r->mail_data, EVENT_MAX);
	buf_init(&r->event_data, EVENT_MAX);
	buf_init(&r->early_reason, MW_REPLY_MAX);
	for (size_t i = 0; i < set->n; i++) {
		struct milter_slot *s = &r->slots[i];
		s->user = (struct milter_link_user){ on_ready, on_frame, on_failed, on_drained };
		s->run = r;
		s->def = &set->def[i];
		buf_init(&s->reply, MW_REPLY_MAX);
		buf_init(&s->macros, EVENT_MAX);
	}
	return r;
}

void
milter_run_free(struct milter_run **rp)
{
	struct milter_run *r = *rp;
	*rp = NULL;
	if (r == NULL)
		return;
	CHECK(r, RUN_MAGIC);
	milter_run_abort(r);
	for (size_t i = 0; i < r->nslots; i++) {
		milter_link_put(&r->slots[i].link, true);
		buf_fini(&r->slots[i].reply);
		buf_fini(&r->slots[i].macros);
	}
	timer_clear(&r->deadline);
	buf_fini(&r->verdict_text);
	buf_fini(&r->connect_data);
	buf_fini(&r->helo_data);
	buf_fini(&r->mail_data);
	buf_fini(&r->event_data);
	buf_fini(&r->early_reason);
	r->set->runs--;
	mem_poison(r, sizeof *r);
	mem_free(&r);
}

struct op *
milter_run_op(struct milter_run *r)
{
	return &r->op;
}

void *
milter_run_owner(struct op *op)
{
	return container_of(op, struct milter_run, op)->owner;
}

const struct milter_verdict *
milter_run_verdict(const struct milter_run *r)
{
	return &r->verdict;
}

void
milter_run_abort(struct milter_run *r)
{
	CHECK(r, RUN_MAGIC);
	op_cancel(&r->op);
	r->event = MEV_NONE;
	for (size_t i = 0; i < r->nslots; i++) {
		struct milter_slot *s = &r->slots[i];
		if (s->link != NULL && (s->waits_for != 0 || (s->link->state == MLINK_READY && conn_unsent(&s->link->conn) > UNSENT_MAX)))
			milter_link_drop(&s->link); /* a reply to what is over would be taken for another */
		else if (s->link != NULL && s->in_transaction)
			mw_simple(milter_slot_out(s), SMFIC_ABORT);
		forget_awaited(s);
		s->in_transaction = s->is_final = s->said_mail = s->owes_data = false;
		s->said_rcpts = 0;
		s->content = MCON_NONE;
		s->skipped = 0;
		if (s->state == MSLOT_ACCEPT_MSG)
			s->state = MSLOT_ENVELOPE;
	}
	r->in_mail = r->is_late = false;
	r->waited = 0;
	milter_content_end(r);
}

/* ---- what the client said ---- */

bool
milter_run_connect(struct milter_run *r, struct span client_name, const struct ipaddr *addr, unsigned port)
{
	char text[IPADDR_TEXT];
	struct buf *b = &r->connect_data;
	CHECK(r, RUN_MAGIC);
	struct ipaddr a = ipaddr_unmap(*addr);
	buf_reset(b);
	mw_string(b, client_name);
	buf_putc(b, a.family == IPADDR_V4 ? SMFIA_INET : a.family == IPADDR_V6 ? SMFIA_INET6 : SMFIA_UNKNOWN);
	if (a.family != IPADDR_NONE) {
		size_t n = ipaddr_text(&a, text);
		buf_putc(b, (unsigned char)(port >> 8));
		buf_putc(b, (unsigned char)port);
		mw_string(b, span_of(text, n));
	}
	r->has_connect = true;
	r->event = MEV_CONNECT;
	for (size_t i = 0; i < r->nslots; i++) { /* all at once; they are told one after the other */
		r->slots[i].def->server->sessions++;
		if (r->slots[i].link == NULL && r->slots[i].state == MSLOT_ENVELOPE && !puts_off(&r->slots[i], MEV_CONNECT))
			(void)slot_dial(&r->slots[i]);
	}
	return begin(r, MEV_CONNECT);
}

bool
milter_run_helo(struct milter_run *r, struct span name)
{
	buf_reset(&r->helo_data);
	mw_string(&r->helo_data, name);
	r->has_helo = true;
	for (size_t i = 0; i < r->nslots; i++)
		r->slots[i].said_helo = false;
	return begin(r, MEV_HELO);
}

static void
put_args(struct buf *b, const struct span *argv, size_t n)
{
	buf_reset(b);
	for (size_t i = 0; i < n; i++)
		mw_string(b, argv[i]);
}

bool
milter_run_mail(struct milter_run *r, const struct span *argv, size_t n)
{
	if (r->in_mail)
		milter_run_abort(r);
	r->waited = 0;
	r->is_late = false;
	put_args(&r->mail_data, argv, n);
	r->in_mail = true;
	return begin(r, MEV_MAIL);
}

bool
milter_run_rcpt(struct milter_run *r, const struct span *argv, size_t n)
{
	put_args(&r->event_data, argv, n);
	return begin(r, MEV_RCPT);
}

bool
milter_run_rcpt_refused(struct milter_run *r, const struct span *argv, size_t n)
{
	put_args(&r->event_data, argv, n);
	return begin(r, MEV_RCPT_REFUSED);
}

bool
milter_run_data(struct milter_run *r)
{
	buf_reset(&r->event_data);
	return begin(r, MEV_DATA);
}

bool
milter_run_unknown(struct milter_run *r, struct span line)
{
	buf_reset(&r->event_data);
	mw_string(&r->event_data, line);
	return begin(r, MEV_UNKNOWN);
}

bool
milter_run_wants_message(const struct milter_run *r)
{
	for (size_t i = 0; i < r->nslots; i++) {
		const struct milter_slot *s = &r->slots[i];
		if (s->state == MSLOT_ENVELOPE || s->state == MSLOT_REJECT_CON || (s->state == MSLOT_ERROR && (s->def->action != MACT_ACCEPT || s->def->fault_header != NULL)))
			return true;
	}
	return false;
}

void
milter_run_message(struct milter_run *r, const struct milter_source *src)
{
	CHECK(r, RUN_MAGIC);
	r->src = *src;
	milter_content_begin(r);
}

void
milter_run_more(struct milter_run *r)
{
	CHECK(r, RUN_MAGIC);
	for (size_t i = 0; i < r->nslots; i++)
		if (r->slots[i].streams && r->slots[i].state == MSLOT_ENVELOPE && milter_content_is_worth_it(&r->slots[i]))
			pump(&r->slots[i]);
}

bool
milter_run_end(struct milter_run *r)
{
	return begin(r, MEV_END);
}

const struct milter_edits *
milter_run_edits(const struct milter_run *r)
{
	return &r->edits;
}
