/* SPDX-License-Identifier: BSD-2-Clause */
#include "sasl/exchange.h"

#include "base/metric.h"
#include "sasl/cyrus.h"
#include "sasl/dovecot.h"
#include "sasl/setup.h"

static const char CROWDED[] = "Too many logins at a time";

static struct {
	struct list all;             /* the oldest first */
	size_t n;
} turns = { .all = { &turns.all, &turns.all } };

/* ---- whose turn it is ---- */

static void
end_turn(struct sasl_exchange *x)
{
	if (list_empty(&x->turn))
		return;
	list_remove(&x->turn);
	turns.n--;
}

static void
forget(struct sasl_exchange *x)
{
	struct dovecot *d = sasl_setup_dovecot(x->setup);
	if (d != NULL)
		dovecot_forget(d, x);
	else
		cyrus_forget(x);
}

static void
expel(struct sasl_exchange *x)
{
	end_turn(x);
	x->is_expelled = true;
	metric_add(M_sasl_crowded, 1);
	forget(x);
}

/* It is the client's. */
static void
begin_turn(struct sasl_exchange *x)
{
	struct sasl_exchange *oldest = NULL;
	unsigned n = 0;
	list_each(l, &turns.all) {
		struct sasl_exchange *other = list_entry(l, struct sasl_exchange, turn);
		if (!ipaddr_eq(&other->network, &x->network))
			continue;
		oldest = oldest == NULL ? other : oldest;
		n++;
	}
	if (n >= SASL_TURNS_NETWORK_MAX)
		expel(oldest);
	if (turns.n >= SASL_TURNS_MAX)
		expel(list_entry(turns.all.next, struct sasl_exchange, turn));
	list_append(&turns.all, &x->turn);
	turns.n++;
}

/* ---- an exchange ---- */

void
sasl_exchange_init(struct sasl_exchange *x, struct op_owner *owner, op_fn *done)
{
	*x = (struct sasl_exchange){ 0 };
	op_init(&x->op, owner, done);
	op_owner_init(&x->ops);
	list_init(&x->link);
	list_init(&x->turn);
	buf_init_secret(&x->text, SASL_TEXT_MAX);
	buf_init_secret(&x->user, 1024);
	buf_init_secret(&x->request, SASL_RESPONSE_MAX + 1024);
}

void
sasl_exchange_end(struct sasl_exchange *x, enum sasl_outcome outcome, struct span text, struct span user)
{
	buf_reset(&x->text);
	buf_reset(&x->user);
	buf_put(&x->text, text);
	buf_put(&x->user, user);
	x->outcome = x->text.over || x->user.over ? SASL_NOT_NOW : outcome;
	if (x->outcome == SASL_GOES_ON)
		begin_turn(x);
	op_finish(&x->op, RC_OK);
}

/* A field of a request; what would end it is not in an address, a service's name or base64. */
static void
put_field(struct buf *b, const char *name, struct span value)
{
	buf_putc(b, '\t');
	buf_puts(b, name);
	buf_put(b, value);
}

static void
write_request(struct sasl_exchange *x, const struct sasl_who *who, const char *mech, bool has_initial, struct span initial)
{
	struct buf *b = &x->request;
	buf_reset(b);
	put_field(b, "", span_str(mech));
	put_field(b, "service=", span_str(sasl_setup_params(x->setup)->p_smtpd_sasl_service));
	put_field(b, "nologin", SPAN_EMPTY);
	put_field(b, "lip=", who->server_addr);
	put_field(b, "rip=", who->client_addr);
	if (who->is_tls)
		put_field(b, "secured", SPAN_EMPTY);
	if (has_initial)
		put_field(b, "resp=", initial.n > 0 ? initial : SPAN("="));
	buf_putc(b, '\n');
}

void
sasl_exchange_begin(struct sasl_exchange *x, const struct sasl_setup *setup, const struct sasl_who *who, const char *mech, bool has_initial,
    struct span initial)
{
	struct dovecot *d = sasl_setup_dovecot(setup);
	x->setup = setup;
	x->network = who->network;
	if (d == NULL) {
		cyrus_begin(sasl_setup_cyrus(setup), x, sasl_setup_options(setup, who->is_tls), mech, has_initial, initial);
		return;
	}
	write_request(x, who, mech, has_initial, initial);
	if (x->request.over || buf_len(&x->request) > SASL_DOVECOT_MAX)
		sasl_exchange_end(x, SASL_FAILED, SPAN("response too long"), SPAN_EMPTY);
	else
		dovecot_begin(d, x, sasl_setup_params(setup)->p_smtpd_sasl_backend_timeout);
}

void
sasl_exchange_answer(struct sasl_exchange *x, struct span response)
{
	struct dovecot *d = sasl_setup_dovecot(x->setup);
	end_turn(x);
	if (x->is_expelled)
		sasl_exchange_end(x, SASL_NOT_NOW, span_str(CROWDED), SPAN_EMPTY);
	else if (d != NULL && response.n > SASL_DOVECOT_MAX) {
		dovecot_forget(d, x);
		sasl_exchange_end(x, SASL_FAILED, SPAN("response too long"), SPAN_EMPTY);
	} else if (d != NULL)
		dovecot_answer(d, x, response, sasl_setup_params(x->setup)->p_smtpd_sasl_backend_timeout);
	else
		cyrus_answer(sasl_setup_cyrus(x->setup), x, response);
}

void
sasl_exchange_fini(struct sasl_exchange *x)
{
	if (x->op.done == NULL)
		return;
	op_cancel(&x->op);
	end_turn(x);
	if (x->setup != NULL)
		forget(x);
	x->setup = NULL;
	buf_fini(&x->text);
	buf_fini(&x->user);
	buf_fini(&x->request);
}
