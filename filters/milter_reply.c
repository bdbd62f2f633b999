/* SPDX-License-Identifier: BSD-2-Clause */
/* What a milter answers, and what becomes of it when it does not. */
#include "filters/milter_private.h"

#include "base/log.h"

/* It has decided about the message. Were commands sent behind the one it answered, nobody knows whether it will answer those: another
 * connection, and from now on it gets one command after the other. */
static void
answered_for_good(struct milter_slot *s, unsigned char replied)
{
	milter_calm_lost(s, replied);
	milter_slot_answered(s);
	if (s->waits_for == 0)
		return;
	s->def->server->one_by_one |= milter_is_content(replied);
	milter_slot_forget(s);
	s->in_transaction = false;
	milter_link_drop(&s->link);
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

void
milter_slot_give_up(struct milter_slot *s, bool is_conf)
{
	s->state = MSLOT_ERROR;
	s->is_conf_error = is_conf;
	milter_slot_forget(s);
	s->in_transaction = false;
	s->content = MCON_NONE;
	s->is_final = s->owes_data = false;
	memset(s->def->server->calm, 0, sizeof s->def->server->calm);
	milter_edit_forget(s->run);
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
	milter_link_drop(&s->link);
	milter_slot_give_up(s, is_conf);
	milter_server_failed(server, far, text);
	milter_turn_fault(s);
}

static void
on_failed(struct milter_link_user *u, const char *why, bool is_stale)
{
	static const struct log_ctx smtpd = { .service = "smtpd" }, cleanup = { .service = "cleanup" };
	struct milter_slot *s = container_of(u, struct milter_slot, user);
	unsigned far = s->has_options ? how_far(s) : MFAR_OPTIONS;
	s->link = NULL;
	unsigned lost = s->said_rcpts - s->held_rcpts; /* nobody could say them again, but the one at hand */
	if (is_stale && (lost == 0 || (lost == 1 && s->run->event == MEV_RCPT && milter_turn_is_its(s)))) {
		/* it had been closed before we said a word: begin anew */
		s->waits_for = 0;
		s->nbehind = 0;
		s->said_rcpts = s->held_rcpts;
		s->in_transaction = false;
		if (!milter_slot_hold_again(s)) {
			milter_slot_forget(s);
			s->said_connect = s->said_helo = s->said_mail = false;
		}
		if (s->content != MCON_NONE && s->content != MCON_DONE) {
			milter_content_restart(s);
			s->owes_data = true;
		}
		s->wants_fresh = true;
		milter_turn_again(s);
		return;
	}
	log_warn(far >= MFAR_CONTENT ? &cleanup : &smtpd, "%s", why);
	milter_slot_give_up(s, false);
	milter_server_failed(s->def->server, far, why);
	milter_turn_fault(s);
}

/* ---- replies ---- */

void
milter_slot_pump(struct milter_slot *s)
{
	if (!milter_content_pump(s))
		milter_turn_said(s);
}

void
milter_slot_unreadable(struct milter_slot *s)
{
	milter_link_drop(&s->link);
	milter_slot_forget(s);
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
	milter_turn_said(s);
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

/* A reply about the message, although nobody waits for it yet: all in front of it may have been put off until then. */
static bool
is_of_content(const struct milter_slot *s, unsigned char replied)
{
	return s->content != MCON_NONE && replied != SMFIC_BODYEOB;
}

/* The reply that is awaited is about a recipient who has been answered: the one at hand is the last. */
static bool
is_late(const struct milter_slot *s)
{
	enum milter_event ev = s->run->event;
	return s->waits_for == SMFIC_RCPT && ((ev != MEV_RCPT && ev != MEV_RCPT_REFUSED) || memchr(s->behind, SMFIC_RCPT, s->nbehind) != NULL);
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
		milter_slot_between(s);
		s->def->server->messages++;
		milter_server_worked(s->def->server, MFAR_END);
		milter_edit_commit(r);
		milter_turn_pass(s);
		return;
	}
	if (is_of_content(s, replied)) {
		if (s->state == MSLOT_ENVELOPE)
			milter_slot_pump(s);
		else milter_turn_pass(s); /* it accepted in the middle of it */
		return;
	}
	milter_server_worked(s->def->server, s->asked < MEV_MAIL ? MFAR_CONNECT : MFAR_ENVELOPE);
	if (s->waits_for != 0)
		return;
	if (s->asked == r->event || s->state == MSLOT_ACCEPT_CON || (s->state == MSLOT_ACCEPT_MSG && r->event >= MEV_MAIL))
		milter_turn_pass(s);
	else
		milter_turn_again(s);
}

/* It refuses, or throws away. */
static void
decided(struct milter_slot *s, unsigned char replied, bool late)
{
	if (milter_is_of_session(replied))
		s->state = MSLOT_REJECT_CON;
	if (late && s->said_rcpts > 1 && s->kind == MILTER_REFUSE) /* the others are wanted: next time it is asked in time */
		refuse(s, 451, SPAN("451 4.7.1 Service unavailable - try again later"));
	if (is_of_content(s, replied) || late) {
		s->is_final = true; /* told when its turn comes */
		s->content = MCON_DONE;
	}
	if (replied == SMFIC_BODYEOB) {
		s->content = MCON_DONE;
		s->in_transaction = false;
		milter_slot_between(s);
		s->def->server->messages++;
		milter_server_worked(s->def->server, MFAR_END);
		milter_edit_forget(s->run);
	}
	if (s->run->event == MEV_RCPT_REFUSED || (late && s->run->event == MEV_UNKNOWN))
		milter_turn_pass(s);
	else
		milter_turn_said(s);
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
	    s->waits_for != 0 ? mw_command_name(s->waits_for) : milter_event_name(s->run->event));
	milter_slot_fault(s, why, false);
	return false;
}

/* A change of the message, or a wish about it. */
static bool
take_edit(struct milter_slot *s, unsigned char cmd, struct span data)
{
	struct err e = { 0 };
	if (cmd == SMFIR_QUARANTINE && s->waits_for != SMFIC_BODYEOB && !milter_is_of_session(s->waits_for) && s->waits_for != SMFIC_UNKNOWN) {
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
		milter_slot_forget(s);
		s->in_transaction = false;
		s->content = MCON_DONE;
		milter_edit_forget(s->run);
		refuse(s, 552, SPAN("552 5.3.4 Error: message file too big"));
		milter_turn_said(s);
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
	bool late = is_late(s);
	milter_slot_heard(s);
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
		milter_slot_answered(s);
		milter_calm_more(s, replied);
		if (replied == SMFIC_BODYEOB)
			s->link->stand = MSTAND_END;
		goes_on(s, replied);
		break;
	case SMFIR_SKIP:
		milter_slot_answered(s);
		s->skipped = replied;
		goes_on(s, replied);
		break;
	case SMFIR_ACCEPT:
		answered_for_good(s, replied);
		s->state = milter_is_of_session(replied) ? MSLOT_ACCEPT_CON : MSLOT_ACCEPT_MSG;
		if (is_of_content(s, replied))
			s->content = MCON_DONE;
		goes_on(s, replied);
		break;
	case SMFIR_DISCARD:
		if (milter_is_of_session(replied)) {
			log_warn(&smtpd, "milter %s: DISCARD action is not allowed for connect or helo", s->def->name);
			milter_slot_answered(s);
			goes_on(s, replied);
			break;
		}
		answered_for_good(s, replied);
		s->state = MSLOT_ACCEPT_MSG;
		s->kind = MILTER_DISCARD;
		s->code = 0;
		s->close = false;
		buf_reset(&s->reply);
		decided(s, replied, late);
		break;
	case SMFIR_REJECT:
		answered_for_good(s, replied);
		refuse(s, 550, SPAN("550 5.7.1 Command rejected"));
		decided(s, replied, late);
		break;
	case SMFIR_TEMPFAIL:
		answered_for_good(s, replied);
		refuse(s, 451, SPAN("451 4.7.1 Service unavailable - try again later"));
		decided(s, replied, late);
		break;
	case SMFIR_CONN_FAIL: /* nobody sends it to us; Postfix does not know it either */
		return unexpected(s, cmd);
	case SMFIR_SHUTDOWN:
		answered_for_good(s, replied);
		refuse(s, 421, SPAN("421 4.7.0 Server closing connection"));
		s->state = MSLOT_REJECT_CON;
		decided(s, replied, late);
		break;
	case SMFIR_REPLYCODE:
		if (!take_text(s, data))
			return false;
		answered_for_good(s, replied);
		decided(s, replied, late);
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
	if (s->held_rcpts > 0 && s->link->steps != s->held_steps) {
		milter_slot_fault(s, "it wants to hear other things than before", false);
		return;
	}
	if (s->held_rcpts > 0)
		milter_slot_session_first(s);
	milter_turn_again(s);
}

static void
on_drained(struct milter_link_user *u)
{
	struct milter_slot *s = container_of(u, struct milter_slot, user);
	if (s->waits_for == 0 && !s->link->owes_abort)
		conn_deadline(&s->link->conn, 0);
	if (s->state == MSLOT_ENVELOPE && s->content != MCON_NONE)
		milter_slot_pump(s);
}

const struct milter_link_user milter_slot_user = { on_ready, on_frame, on_failed, on_drained };
