/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * XCLIENT: an authorised host says who the client is, and the session begins anew as if that client had connected; and
 * XFORWARD: it says who gave it the next message. Facts 10.5. Either takes effect as a whole or not at all.
 */
#include "smtp/milter.h"

#include "base/mem.h"
#include "msg/addr.h"
#include "smtp/xattr.h"

/* What XCLIENT says besides who the client is. */
struct said {
	struct client_id id;
	struct span helo;
	bool has_login, has_helo, is_esmtp;
	struct arena *arena;
};
typedef bool said_fn(struct said *, const struct xattr *); /* false: bad value */

static enum rc
status_of(const struct xattr *a)
{
	return a->unavailable ? RC_NONE : a->tempunavail ? RC_TEMP : RC_OK;
}

static bool
x_name(struct said *x, const struct xattr *a)
{
	x->id.name_rc = status_of(a);
	if (x->id.name_rc != RC_OK)
		return true;
	x->id.reverse_rc = RC_OK;
	x->id.name = x->id.reverse = a->value;
	return addr_is_hostname(a->value, false);
}

static bool
x_reverse_name(struct said *x, const struct xattr *a)
{
	x->id.reverse_rc = status_of(a);
	x->id.reverse = a->value;
	return x->id.reverse_rc != RC_OK || addr_is_hostname(a->value, false);
}

static bool
address(struct ipaddr *out, const struct xattr *a)
{
	*out = (struct ipaddr){ 0 };
	return a->unavailable || xattr_address(a->value, out) == RC_OK;
}

static bool
port(uint16_t *out, const struct xattr *a)
{
	*out = 0;
	return a->unavailable || xattr_port(a->value, out) == RC_OK;
}

static bool
x_addr(struct said *x, const struct xattr *a)
{
	return address(&x->id.addr, a);
}

static bool
x_port(struct said *x, const struct xattr *a)
{
	return port(&x->id.port, a);
}

static bool
x_destaddr(struct said *x, const struct xattr *a)
{
	return address(&x->id.server, a);
}

static bool
x_destport(struct said *x, const struct xattr *a)
{
	return port(&x->id.server_port, a);
}

static bool
x_proto(struct said *x, const struct xattr *a)
{
	x->is_esmtp = span_caseeq(a->value, SPAN("ESMTP"));
	return x->is_esmtp || span_caseeq(a->value, SPAN("SMTP"));
}

static bool
x_helo(struct said *x, const struct xattr *a)
{
	x->has_helo = !a->unavailable;
	x->helo = xattr_neuter(a->value, x->arena);
	return a->unavailable || a->value.n <= ADDR_DOMAIN_MAX;
}

static bool
x_login(struct said *x, const struct xattr *a)
{
	x->has_login = !a->unavailable;
	x->id.login = a->unavailable ? SPAN_EMPTY : a->value;
	return true;
}

static const struct {
	const char *name;
	said_fn *fn;
} attrs[] = {
	{ "NAME", x_name }, { "ADDR", x_addr }, { "PORT", x_port }, { "PROTO", x_proto }, { "HELO", x_helo }, { "LOGIN", x_login },
	{ "DESTADDR", x_destaddr }, { "DESTPORT", x_destport }, { "REVERSE_NAME", x_reverse_name },
};

static enum step
say(struct sess *s, enum reply_id id, const char *what, struct span value)
{
	struct buf b;
	buf_init(&b, 1024);
	buf_puts(&b, what);
	buf_put(&b, value);
	sess_reply_text(s, id, buf_span(&b));
	buf_fini(&b);
	return STEP_END;
}

static enum step
bad_attribute(struct sess *s, const struct xattr *a, const char *cmd)
{
	if (a->fault == XATTR_NO_VALUE)
		sess_reply(s, REPLY_XATTR_EXPECTED);
	else if (a->fault == XATTR_TOO_LONG)
		sess_reply(s, REPLY_XATTR_LONG);
	else
		return say(s, REPLY_XATTR_NAME, cmd, a->name);
	return STEP_END;
}

static enum step
bad_value(struct sess *s, const char *name, const struct xattr *a)
{
	struct buf b;
	buf_init(&b, 64);
	buf_puts(&b, name);
	buf_puts(&b, " syntax: ");
	enum step step = say(s, REPLY_XATTR_SYNTAX, buf_cstr(&b), a->value);
	buf_fini(&b);
	return step;
}

/* true: answered, the command is not for this client, or came in the wrong place. */
static bool
not_now(struct sess *s, bool may, enum reply_id syntax)
{
	if (s->args.n == 0)
		sess_reply(s, syntax);
	else if (!may)
		sess_reply(s, REPLY_NO_XCLIENT);
	else
		return false;
	return true;
}

/* As if the client came in anew; HELO and login are what XCLIENT said, or nothing. */
static void
begin_anew(struct sess *s, const struct said *x)
{
	sess_announce(s);
	sess_forget_lookup(s);
	sess_forget_auth(s);
	sess_end_tx(s);
	limits_leave(&s->edge->limits, &s->limit);
	sess_milter_free(s);
	policy_run_fini(&s->pol);
	policy_run_init(&s->pol, &s->ops, sess_policy_done);
	s->facts.pipelined_early = false;
	s->facts.is_esmtp = x->is_esmtp;
	sess_set_helo(s, x->has_helo ? x->helo : SPAN_EMPTY);
	s->is_xclient = true;
}

static enum step
xclient_do(struct sess *s)
{
	struct said x = { .id = sess_client(s), .arena = &s->scratch };
	struct xattr a;
	if (not_now(s, s->may_xclient, REPLY_SYNTAX_XCLIENT))
		return STEP_END;
	while (xattr_next(&s->args, &s->scratch, &a)) {
		size_t i = 0;
		while (i < NELEMS(attrs) && !span_caseeq_str(a.name, attrs[i].name))
			i++;
		if (a.fault != XATTR_FINE || i == NELEMS(attrs))
			return bad_attribute(s, &a, "XCLIENT attribute name: ");
		if (!attrs[i].fn(&x, &a))
			return bad_value(s, attrs[i].name, &a);
	}
	if (!x.has_login)
		x.id.login = x.id.sasl_method = SPAN_EMPTY;
	else
		x.id.sasl_method = SPAN("XCLIENT");
	x.id.sasl_sender = SPAN_EMPTY;
	begin_anew(s, &x);
	sess_set_client(s, &x.id);
	s->verb = VERB_NONE;      /* it is not counted as done, as in Postfix */
	s->steps = connect_steps; /* goes on as a connection does: limits, client restrictions, banner */
	s->at = 0;
	return STEP_NEXT;
}

/* ---- XFORWARD ---- */

static bool
f_name(struct forwarded *f, const struct xattr *a, struct arena *mem)
{
	f->name = a->unavailable ? SPAN("unknown") : xattr_neuter(a->value, mem);
	return addr_is_hostname(f->name, false);
}

static bool
f_addr(struct forwarded *f, const struct xattr *a, struct arena *mem)
{
	struct ipaddr ip;
	bool six = span_casestarts(a->value, SPAN("IPV6:"));
	f->addr = a->unavailable ? SPAN("unknown") : arena_span(mem, six ? span_from(a->value, 5) : a->value);
	return a->unavailable || xattr_address(a->value, &ip) == RC_OK;
}

static bool
f_port(struct forwarded *f, const struct xattr *a, struct arena *mem)
{
	uint16_t n;
	f->port = a->unavailable ? SPAN("unknown") : arena_span(mem, a->value);
	return a->unavailable || xattr_port(a->value, &n) == RC_OK;
}

static bool
f_proto(struct forwarded *f, const struct xattr *a, struct arena *mem)
{
	f->proto = a->unavailable ? SPAN("unknown") : xattr_neuter(a->value, mem);
	return a->value.n <= 64;
}

static bool
f_helo(struct forwarded *f, const struct xattr *a, struct arena *mem)
{
	f->helo = a->unavailable ? SPAN_EMPTY : xattr_neuter(a->value, mem);
	return true;
}

static bool
f_ident(struct forwarded *f, const struct xattr *a, struct arena *mem)
{
	f->ident = a->unavailable ? SPAN_EMPTY : xattr_neuter(a->value, mem);
	return true;
}

static bool
f_source(struct forwarded *f, const struct xattr *a, struct arena *mem)
{
	(void)mem;
	f->source = span_caseeq(a->value, SPAN("LOCAL")) ? FORWARD_LOCAL : span_caseeq(a->value, SPAN("REMOTE")) ? FORWARD_REMOTE : FORWARD_NO_SOURCE;
	return a->unavailable || f->source != FORWARD_NO_SOURCE;
}

static const struct {
	const char *name;
	bool (*fn)(struct forwarded *f, const struct xattr *a, struct arena *mem);
	bool is_client;              /* says something of the client: the log tells of it */
} forwards[] = {
	{ "NAME", f_name, true }, { "ADDR", f_addr, true }, { "PORT", f_port, true }, { "PROTO", f_proto, true }, { "HELO", f_helo, true },
	{ "IDENT", f_ident, false }, { "SOURCE", f_source, false },
};

/* Several XFORWARD commands add up; the texts of all live in one arena, made anew each time so that none is kept twice. */
static void
keep_forward(struct sess *s, const struct forwarded *f)
{
	struct sess_forward *kept = mem_zalloc(sizeof *kept);
	struct arena *a = &kept->arena;
	arena_init(a, FORWARD_MAX);
	kept->facts = *f;
	kept->facts.name = arena_span(a, f->name);
	kept->facts.addr = arena_span(a, f->addr);
	kept->facts.port = arena_span(a, f->port);
	kept->facts.proto = arena_span(a, f->proto);
	kept->facts.helo = arena_span(a, f->helo);
	kept->facts.ident = arena_span(a, f->ident);
	sess_forget_forward(s);
	s->forward = kept;
	s->facts.forward = &kept->facts;
}

void
sess_forget_forward(struct sess *s)
{
	if (s->forward == NULL)
		return;
	s->facts.forward = NULL;
	arena_fini(&s->forward->arena);
	mem_free(&s->forward);
}

static enum step
xforward_do(struct sess *s)
{
	struct forwarded f = s->forward != NULL ? s->forward->facts : (struct forwarded){ .name = SPAN("unknown"), .addr = SPAN("unknown") };
	struct xattr a;
	if (not_now(s, s->may_xforward, REPLY_SYNTAX_XFORWARD))
		return STEP_END;
	while (xattr_next(&s->args, &s->scratch, &a)) {
		size_t i = 0;
		while (i < NELEMS(forwards) && !span_caseeq_str(a.name, forwards[i].name))
			i++;
		if (a.fault != XATTR_FINE || i == NELEMS(forwards))
			return bad_attribute(s, &a, "XFORWARD attribute name: ");
		if (!forwards[i].fn(&f, &a, &s->scratch))
			return bad_value(s, forwards[i].name, &a);
		f.has_client |= forwards[i].is_client;
	}
	keep_forward(s, &f);
	sess_reply(s, REPLY_OK);
	return STEP_END;
}

const struct step_row xclient_steps[] = { { "xclient_client", sess_await_name_first }, { "xclient", xclient_do } };
const struct step_row xforward_steps[] = { { "xforward_client", sess_await_name_first }, { "xforward", xforward_do } };
