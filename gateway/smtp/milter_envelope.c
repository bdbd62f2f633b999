/* SPDX-License-Identifier: BSD-2-Clause */
#include "smtp/milter_envelope.h"

#include "msg/addr.h"
#include "policy/standard.h"

static void
bad_args(const struct milter_addresses *in, const char *what, struct span args)
{
	struct buf b;
	buf_init(&b, 400);
	buf_put_safe(&b, args, 100, true);
	log_warn(in->log, "%s: ignoring ESMTP arguments \"%s\"", what, buf_cstr(&b));
	buf_fini(&b);
}

/* An address as a milter says it. false: it is none; the log says so. */
static bool
parse(const struct milter_addresses *in, struct span text, const char *milter, const char *what, struct addr *out)
{
	struct err e = { .why = "" };
	unsigned how = in->p->p_smtputf8_enable ? (unsigned)ADDR_UTF8 : 0;
	if (addr_parse(text, how, in->arena, out, &e) == RC_OK)
		return true;
	struct buf b;
	buf_init(&b, 1000);
	buf_put_safe(&b, text, 200, true);
	log_warn(in->log, "milter %s: %s: bad address \"%s\": %s", milter, what, buf_cstr(&b), e.why);
	buf_fini(&b);
	return false;
}

bool
milter_sender_of(const struct milter_addresses *in, const struct milter_edits *e, struct milter_sender *out)
{
	struct addr a = { .text = SPAN_EMPTY };
	struct mail_params p;
	struct param_fault f;
	*out = (struct milter_sender){ .ret = DSN_RET_NONE };
	if (e->sender.n > 0 && !parse(in, e->sender, e->sender_milter, "change of the sender", &a))
		return false;
	out->addr = a.text.n > 0 ? standard_complete(in->p, &a, in->arena) : SPAN_EMPTY;
	if (e->sender_args.n == 0)
		return true;
	if (mail_params_parse(e->sender_args, in->arena, &p, &f) != RC_OK) {
		bad_args(in, "change of the sender", e->sender_args);
		return true;
	}
	/* what is said of delivery reports; the rest is the message's */
	out->ret = p.ret;
	out->envid = p.envid;
	return true;
}

static enum rc
to_add(const struct milter_addresses *in, const struct milter_rcpt *r, struct env_rcpt *out)
{
	struct addr a = { .text = SPAN_EMPTY };
	struct rcpt_params p = { .notify = 0 };
	struct param_fault f;
	if (r->addr.n > 0 && !parse(in, r->addr, r->milter, "another recipient", &a))
		return in->arena->over ? RC_TEMP : RC_NONE;
	if (a.text.n == 0) {
		log_warn(in->log, "ignoring attempt from Milter to add null recipient");
		return RC_NONE;
	}
	if (r->args.n > 0 && rcpt_params_parse(r->args, in->arena, &p, &f) != RC_OK) {
		bad_args(in, "another recipient", r->args);
		p = (struct rcpt_params){ .notify = 0 };
	}
	/* nobody gave it in another form: the completed one is the original (ORCPT) */
	*out = (struct env_rcpt){ .addr = standard_complete(in->p, &a, in->arena), .orcpt = p.orcpt, .notify = p.notify, .no_copy = true };
	return RC_OK;
}

enum rc
milter_rcpt_of(const struct milter_addresses *in, const struct milter_rcpt *r, struct env_rcpt *out)
{
	struct addr a;
	if (r->kind == MILTER_ADD_RCPT)
		return to_add(in, r, out);
	if (r->addr.n == 0 || !parse(in, r->addr, r->milter, "a recipient to delete", &a))
		return RC_NONE;
	*out = (struct env_rcpt){ .addr = a.text };
	return RC_OK;
}
