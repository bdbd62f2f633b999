/* SPDX-License-Identifier: BSD-2-Clause */
/* A run beside a session: its life, and what the client said. */
#include "filters/milter_private.h"

#include "base/mem.h"

enum { UNSENT_MAX = 64 * 1024 };

/* ---- life ---- */

struct milter_run *
milter_run_new(struct milter_set *set, const struct milter_run_ops *ops, void *owner, struct op_owner *wait, op_fn *done)
{
	if (milter_set_is_empty(set))
		return NULL;
	struct milter_run *r = mem_zalloc(sizeof *r + set->n * sizeof r->slots[0]);
	r->magic = MILTER_RUN_MAGIC;
	r->set = set;
	r->ops = ops;
	r->owner = owner;
	r->nslots = set->n;
	r->spill_fd = -1;
	r->edits.body_fd = -1;
	set->runs++;
	op_init(&r->op, wait, done);
	milter_turn_init(r);
	buf_init(&r->verdict_text, MW_REPLY_MAX);
	buf_init(&r->connect_data, EVENT_MAX);
	buf_init(&r->helo_data, EVENT_MAX);
	buf_init(&r->mail_data, EVENT_MAX);
	buf_init(&r->event_data, EVENT_MAX);
	buf_init(&r->early_reason, MW_REPLY_MAX);
	buf_init(&r->header_frames.octets, EVENT_MAX);
	for (size_t i = 0; i < NELEMS(r->macros); i++)
		buf_init(&r->macros[i].octets, EVENT_MAX);
	for (size_t i = 0; i < set->n; i++) {
		struct milter_slot *s = &r->slots[i];
		s->user = milter_slot_user;
		s->run = r;
		s->def = &set->def[i];
		buf_init(&s->reply, MW_REPLY_MAX);
		buf_init(&s->held, EVENT_MAX);
		buf_init(&s->unheard, EVENT_MAX);
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
	CHECK(r, MILTER_RUN_MAGIC);
	milter_run_abort(r);
	for (size_t i = 0; i < r->nslots; i++) {
		milter_link_put(&r->slots[i].link, true);
		buf_fini(&r->slots[i].reply);
		buf_fini(&r->slots[i].held);
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
	CHECK(r, MILTER_RUN_MAGIC);
	op_cancel(&r->op);
	r->event = MEV_NONE;
	for (size_t i = 0; i < r->nslots; i++) {
		struct milter_slot *s = &r->slots[i];
		milter_slot_unhold(s);
		if (s->link != NULL && (s->waits_for != 0 || (s->link->state == MLINK_READY && conn_unsent(&s->link->conn) > UNSENT_MAX)))
			milter_link_drop(&s->link); /* a reply to what is over would be taken for another */
		else if (s->link != NULL && s->in_transaction)
			milter_link_abort(s->link);
		if (s->link == NULL)
			milter_slot_forget(s);
		s->in_transaction = s->is_final = s->said_mail = s->owes_data = false;
		milter_slot_between(s);
		s->content = MCON_NONE;
		s->skipped = 0;
		if (s->state == MSLOT_ACCEPT_MSG)
			s->state = MSLOT_ENVELOPE;
	}
	for (size_t i = 0; i < NELEMS(r->macros); i++)
		milter_shared_forget(&r->macros[i]);
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
	CHECK(r, MILTER_RUN_MAGIC);
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
		milter_turn_dial(&r->slots[i], MEV_CONNECT);
	}
	return milter_turn_begin(r, MEV_CONNECT);
}

bool
milter_run_helo(struct milter_run *r, struct span name)
{
	buf_reset(&r->helo_data);
	mw_string(&r->helo_data, name);
	r->has_helo = true;
	for (size_t i = 0; i < r->nslots; i++)
		r->slots[i].said_helo = false;
	return milter_turn_begin(r, MEV_HELO);
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
	r->event = MEV_MAIL;
	for (size_t i = 0; i < r->nslots; i++)
		milter_turn_dial(&r->slots[i], MEV_MAIL);
	return milter_turn_begin(r, MEV_MAIL);
}

bool
milter_run_rcpt(struct milter_run *r, const struct span *argv, size_t n)
{
	put_args(&r->event_data, argv, n);
	return milter_turn_begin(r, MEV_RCPT);
}

bool
milter_run_rcpt_refused(struct milter_run *r, const struct span *argv, size_t n)
{
	put_args(&r->event_data, argv, n);
	return milter_turn_begin(r, MEV_RCPT_REFUSED);
}

bool
milter_run_data(struct milter_run *r)
{
	buf_reset(&r->event_data);
	return milter_turn_begin(r, MEV_DATA);
}

bool
milter_run_unknown(struct milter_run *r, struct span line)
{
	buf_reset(&r->event_data);
	mw_string(&r->event_data, line);
	return milter_turn_begin(r, MEV_UNKNOWN);
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
	CHECK(r, MILTER_RUN_MAGIC);
	r->src = *src;
	milter_content_begin(r);
}

void
milter_run_more(struct milter_run *r)
{
	CHECK(r, MILTER_RUN_MAGIC);
	for (size_t i = 0; i < r->nslots; i++)
		if (r->slots[i].streams && r->slots[i].state == MSLOT_ENVELOPE && milter_content_is_worth_it(&r->slots[i]))
			milter_slot_pump(&r->slots[i]);
}

bool
milter_run_end(struct milter_run *r)
{
	return milter_turn_begin(r, MEV_END);
}

const struct milter_edits *
milter_run_edits(const struct milter_run *r)
{
	return &r->edits;
}
