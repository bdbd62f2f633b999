/* SPDX-License-Identifier: BSD-2-Clause */
#include "deliver/client_private.h"

#include "base/clock.h"
#include "base/mem.h"
#include "deliver/compose.h"
#include "msg/command.h"
#include "msg/ehlo.h"

/* ---- outcomes ---- */

/* What the present reply means for a recipient. */
static struct outcome
verdict(struct smtpc *c, enum stage stage)
{
	struct outcome out = c->base;
	int class = c->reply.code / 100;
	if (class == 2) {
		out.status = RCPT_SENT;
		out.dsn = job_keep(c->job, hubreply_dsn(&c->reply));
		out.text = smtpc_reply_text(c);
		return out;
	}
	out.status = class == 5 ? RCPT_BOUNCED : RCPT_DEFERRED;
	out.text = smtpc_said(c, " said: ", smtpc_steps[stage].command);
	out.diag = smtpc_reply_text(c);
	/* 2xx or 3xx where it makes no sense is no refusal for good */
	out.dsn = class == 3 ? SPAN("4.5.0") : job_keep(c->job, hubreply_dsn(&c->reply));
	return out;
}

static void
decide(struct smtpc *c, unsigned i, const struct outcome *out)
{
	c->job->rcpt[i].tx = out->status == RCPT_SENT ? TX_NOT : TX_REFUSED;
	if (out->status == RCPT_DEFERRED)
		job_postpone(c->job, i, out);
	else
		job_settle(c->job, i, out);
}

/* All recipients in this state. */
static void
decide_all(struct smtpc *c, enum tx_state state, const struct outcome *out)
{
	for (unsigned i = 0; i < c->job->nrcpt; i++)
		if (c->job->rcpt[i].tx == state)
			decide(c, i, out);
}

/* ---- before the first command ---- */

/* Ours, not the hub's: nothing was sent. */
static void
refuse_all(struct smtpc *c, enum rcpt_status status, struct span dsn, struct span text)
{
	struct outcome out = c->base;
	out.status = status;
	out.dsn = dsn;
	out.text = text;
	decide_all(c, TX_SENT, &out);
}

/* Picks the open recipients; false when there is nothing to send for. */
static bool
choose(struct smtpc *c)
{
	struct job *j = c->job;
	for (unsigned i = 0; i < j->nrcpt; i++) {
		bool is_open = j->rcpt[i].out.status == 0;
		j->rcpt[i].tx = is_open ? TX_SENT : TX_NOT;
		if (is_open)
			j->rcpt[i].dsn_passed = (c->features & HUB_DSN) != 0;
	}
	if (c->size_max > 0 && job_length(j) > c->size_max) {
		refuse_all(c, RCPT_BOUNCED, SPAN("5.3.4"), job_text(j, "message size %llu exceeds size limit %llu of server %s",
		    (unsigned long long)job_length(j), (unsigned long long)c->size_max, c->who));
		return false;
	}
	if ((c->features & HUB_SMTPUTF8) == 0 && compose_needs_utf8(j)) {
		refuse_all(c, RCPT_BOUNCED, SPAN("5.6.7"), job_text(j, "SMTPUTF8 is required, but was not offered by host %s", c->who));
		return false;
	}
	if (!command_can_send(j->sender)) {
		refuse_all(c, RCPT_BOUNCED, SPAN("5.1.7"), SPAN("sender address has control characters"));
		return false;
	}
	unsigned n = 0;
	for (unsigned i = 0; i < j->nrcpt; i++) {
		if (j->rcpt[i].tx != TX_SENT)
			continue;
		if (command_can_send(j->rcpt[i].wire)) {
			n++;
			continue;
		}
		struct outcome out = c->base;
		out.status = RCPT_BOUNCED;
		out.dsn = SPAN("5.1.3");
		out.text = SPAN("recipient address has control characters");
		decide(c, i, &out);
		j->rcpt[i].tx = TX_NOT;
	}
	return n > 0;
}

static unsigned
next_rcpt(const struct smtpc *c, unsigned from)
{
	while (from < c->job->nrcpt && c->job->rcpt[from].tx != TX_SENT)
		from++;
	return from;
}

static void
local_trouble(struct smtpc *c, const struct err *e)
{
	log_warn(&c->job->log, "%s", e->why);
	smtpc_fail(c, RC_TEMP, SPAN("4.3.0"), job_text(c->job, "%s", e->why));
}

static bool
is_probe(const struct smtpc *c)
{
	return (c->job->m.flags & MSGF_PROBE) != 0;
}

/* A hub hears of DSN for mail only; and of no size when that is not known before the content was changed. */
static unsigned
features_of(const struct smtpc *c)
{
	if (is_probe(c))
		return c->features & ~(unsigned)HUB_DSN;
	return c->content.mime != NULL || c->content.checks != NULL ? c->features & ~(unsigned)HUB_SIZE : c->features;
}

/* What there is to say with XFORWARD, and what of it comes first. */
static void
plan_xforward(struct smtpc *c)
{
	struct buf b;
	buf_init(&b, 8192);
	c->forward_due = 0;
	for (unsigned i = 0; i < XFORWARD_COMMANDS && c->set->send_xforward && (c->features & HUB_XFORWARD); i++)
		if (command_xforward(&b, c->job->m.forward, c->features, i))
			c->forward_due |= 1u << i;
	buf_fini(&b);
	c->forward_at = 0;
}

/* The stage behind RSET or the last XFORWARD. */
static enum stage
next_forward(struct smtpc *c)
{
	while (c->forward_at < XFORWARD_COMMANDS && (c->forward_due & 1u << c->forward_at) == 0)
		c->forward_at++;
	return c->forward_at < XFORWARD_COMMANDS ? ST_XFORWARD : ST_MAIL;
}

static void next_command(struct smtpc *c);

/* RFC 6152 3: what says that it is 8-bit must not go to a hub that does not offer 8BITMIME. */
static void
make_7bit(struct smtpc *c, struct job *j)
{
	if ((c->features & HUB_8BITMIME) != 0 || (j->m.flags & MSGF_HAS_8BIT) == 0 || c->set->no_mime_conversion)
		return;
	if (j->mime == NULL)
		j->mime = mem_alloc(sizeof *j->mime);
	else
		mime7_fini(j->mime); /* of the hub before */
	mime7_init(j->mime);
	outbody_make_7bit(&c->content, j->mime);
}

/* The whole transaction, or all of it up to DATA, in one write. False: the session is lost. */
static bool
send_group(struct smtpc *c, struct buf *out)
{
	struct job *j = c->job;
	for (unsigned i = 0; i < XFORWARD_COMMANDS; i++)
		if (c->forward_due & 1u << i)
			(void)command_xforward(out, j->m.forward, c->features, i);
	compose_mail(out, j, features_of(c));
	for (unsigned i = 0; i < j->nrcpt; i++)
		if (j->rcpt[i].tx == TX_SENT)
			compose_rcpt(out, j, i, features_of(c));
	if (is_probe(c) && !c->set->probe_data)
		return true;
	if (!c->is_chunked) {
		buf_put(out, SPAN("DATA\r\n"));
		return true;
	}
	struct err e;
	if (outbody_put_bdat(&c->content, out, &e) == RC_OK)
		return true;
	local_trouble(c, &e);
	return false;
}

void
smtpc_deliver(struct smtpc *c, struct job *j, int fd, struct smtpc_call *call)
{
	CHECK(c, CLIENT_MAGIC);
	BUG_ON(c->stage != ST_IDLE || c->call != NULL);
	smtpc_begin_call(c, j, call);
	c->uses++;
	c->heard = c->is_refused = c->is_sending = false;
	c->n_accepted = 0;
	c->xfer_until = 0;
	c->base = (struct outcome){ .mta = job_keep(j, span_str(c->host)), .relay = job_keep(j, span_str(c->relay)) };
	j->conn_uses = c->uses;
	c->is_pipelined = (c->features & HUB_PIPELINING) != 0;
	/* a filter may be a proxy that says what the server behind it says, and knows no BDAT itself */
	c->is_chunked = !is_probe(c) && c->is_pipelined && (c->features & HUB_CHUNKING) && !c->set->lmtp && (j->m.flags & MSGF_TO_FILTER) == 0 &&
	    job_length(j) <= OUTBODY_MEMORY_MAX && !outchecks_may_wait(j->checks);
	if (!choose(c)) {
		smtpc_ready(c);
		return;
	}
	if (!is_probe(c)) {
		outbody_init(&c->content, fd, j->m.offset, j->m.length, buf_span(&j->head), j->head_skip, !c->is_chunked, c->set->line_max);
		make_7bit(c, j);
		if (outchecks_wanted(j->checks)) {
			outchecks_free(&j->outchecks); /* of the hub before */
			j->outchecks = outchecks_new(j->checks, &j->log);
			outbody_check(&c->content, j->outchecks);
		}
	}
	plan_xforward(c);
	struct buf *out = conn_out(&c->conn);
	(void)buf_reserve(out, 1024 + 512 * (size_t)j->nrcpt + (c->is_chunked ? (size_t)job_length(j) : 0));
	if (c->is_dirty)
		buf_put(out, SPAN("RSET\r\n"));
	smtpc_await(c, c->is_dirty ? ST_RSET : next_forward(c));
	if (c->is_pipelined)
		(void)send_group(c, out);
	else
		next_command(c);
}

/* Without pipelining: the command whose stage begins. */
static void
next_command(struct smtpc *c)
{
	if (c->is_pipelined)
		return;
	struct buf *out = conn_out(&c->conn);
	if (c->stage == ST_XFORWARD)
		(void)command_xforward(out, c->job->m.forward, c->features, c->forward_at);
	else if (c->stage == ST_MAIL)
		compose_mail(out, c->job, features_of(c));
	else if (c->stage == ST_RCPT)
		compose_rcpt(out, c->job, c->at, features_of(c));
	else if (c->stage == ST_DATA)
		buf_put(out, SPAN("DATA\r\n"));
}

void
smtpc_on_rset(struct smtpc *c)
{
	if (c->reply.code / 100 != 2) {
		c->heard = false; /* nothing was said about this job: another session may try at once */
		smtpc_fail(c, RC_TEMP, job_keep(c->job, hubreply_dsn(&c->reply)), smtpc_said(c, " said: ", smtpc_steps[ST_RSET].command));
		return;
	}
	c->is_dirty = false;
	c->heard = false;
	smtpc_await(c, next_forward(c));
	next_command(c);
}

/* The hub has had enough of this session, not of this message: as if it had gone before it heard of it. */
static bool
is_tired(struct smtpc *c)
{
	if (!c->is_dismissed || c->uses <= 1)
		return false;
	c->heard = false;
	return smtpc_was_dismissed(c);
}

/* Who does not want to know gets the message all the same. */
void
smtpc_on_xforward(struct smtpc *c)
{
	if (is_tired(c) || smtpc_was_dismissed(c))
		return;
	if (c->reply.code / 100 != 2) {
		struct span said = smtpc_said(c, " said: ", smtpc_steps[ST_XFORWARD].command);
		LOG(warning, &c->job->log, F_SPAN(text, said));
	}
	c->forward_at++;
	smtpc_await(c, next_forward(c));
	next_command(c);
}

/* After MAIL and every RCPT: who is next? */
static void
go_on(struct smtpc *c)
{
	if (!c->is_pipelined && c->is_refused) { /* MAIL was: nothing else was sent */
		smtpc_ready(c);
		return;
	}
	/* once all of the content has left, what becomes of it is worth waiting for */
	if (!c->is_chunked && smtpc_was_dismissed(c))
		return;
	if (c->at < c->job->nrcpt) {
		smtpc_await(c, ST_RCPT);
	} else if (is_probe(c) && !c->set->probe_data) {
		smtpc_ready(c);
		return;
	} else if (c->is_chunked) {
		smtpc_await(c, ST_DOT);
		c->at = 0;
	} else if (c->is_pipelined || c->n_accepted > 0) {
		smtpc_await(c, ST_DATA);
	} else {
		smtpc_ready(c);
		return;
	}
	next_command(c);
}

void
smtpc_on_mail(struct smtpc *c)
{
	c->is_dirty = true;
	if (is_tired(c))
		return;
	if (c->reply.code / 100 != 2) {
		struct outcome out = verdict(c, ST_MAIL);
		c->is_refused = true;
		for (unsigned i = 0; i < c->job->nrcpt; i++) {
			if (c->job->rcpt[i].tx != TX_SENT)
				continue;
			decide(c, i, &out);
			c->job->rcpt[i].tx = TX_SENT; /* its reply is still to come when pipelined */
		}
	}
	c->at = next_rcpt(c, 0);
	go_on(c);
}

void
smtpc_on_rcpt(struct smtpc *c)
{
	struct jrcpt *r = &c->job->rcpt[c->at];
	if (c->is_refused) {
		r->tx = TX_REFUSED;
	} else if (c->reply.code / 100 == 2 && is_probe(c) && !c->set->probe_data) {
		struct outcome out = verdict(c, ST_RCPT);
		decide(c, c->at, &out);
	} else if (c->reply.code / 100 == 2) {
		r->tx = TX_ACCEPTED;
		c->n_accepted++;
	} else {
		struct outcome out = verdict(c, ST_RCPT);
		decide(c, c->at, &out);
	}
	c->at = next_rcpt(c, c->at + 1);
	go_on(c);
}

/* smtp_per_request_deadline: the limit is for all of the content, and only what was sent earns more time,
 * at smtp_min_data_rate, never more than the limit at once. */
static void
arm_content(struct smtpc *c)
{
	uint64_t limit = c->set->t_data_xfer, now = loop_now();
	if (limit == 0 || c->set->min_data_rate == 0)
		return;
	if (c->xfer_until == 0)
		c->xfer_until = now + limit;
	else
		c->xfer_until += OUTBODY_PIECE * USEC_PER_SEC / c->set->min_data_rate;
	if (c->xfer_until > now + limit)
		c->xfer_until = now + limit;
	conn_deadline(&c->conn, c->xfer_until > now ? c->xfer_until - now : 1);
}

static void send_content(struct smtpc *c);

static void
on_check_maps(struct op *op)
{
	struct smtpc *c = container_of(op, struct smtpc, check_maps.op);
	CHECK(c, CLIENT_MAGIC);
	send_content(c);
}

/* Checks have to be told something first. The answers of before are let go, once they are used. */
static void
wait_for_checks(struct smtpc *c)
{
	c->is_sending = true;
	c->conn.want_drained = false;
	if (c->check_maps.op.owner == NULL)
		map_wait_init(&c->check_maps, &c->ops, on_check_maps);
	else if (outchecks_has_moved(c->content.checks))
		map_wait_fini(&c->check_maps);
	map_wait_start(&c->check_maps);
	smtpc_arm(c);
}

/* The next piece of the content; the rest when the connection has taken it. */
static void
send_content(struct smtpc *c)
{
	struct err e;
	bool is_end;
	map_forget();
	enum rc rc = outbody_put_data(&c->content, conn_out(&c->conn), &is_end, &e);
	if (rc == RC_NONE) {
		wait_for_checks(c);
		return;
	}
	if (rc != RC_OK) {
		local_trouble(c, &e);
		return;
	}
	c->is_sending = !is_end;
	c->conn.want_drained = !is_end;
	smtpc_arm(c);
	if (c->set->per_request_deadline && !is_end)
		arm_content(c);
}

void
smtpc_on_drained(struct conn *conn)
{
	struct smtpc *c = container_of(conn, struct smtpc, conn);
	if (c->stage == ST_DOT && c->is_sending && !c->content.waits)
		send_content(c);
}

static unsigned
next_accepted(const struct smtpc *c, unsigned from)
{
	while (from < c->job->nrcpt && c->job->rcpt[from].tx != TX_ACCEPTED)
		from++;
	return from;
}

void
smtpc_on_data(struct smtpc *c)
{
	if (c->reply.code / 100 != 3) {
		if (c->n_accepted > 0) {
			struct outcome out = verdict(c, ST_DATA);
			if (out.status == RCPT_SENT) {
				out.status = RCPT_DEFERRED;
				out.dsn = SPAN("4.5.0");
				out.text = smtpc_said(c, " said: ", smtpc_steps[ST_DATA].command);
				c->is_closing = true;
			}
			decide_all(c, TX_ACCEPTED, &out);
		}
		smtpc_ready(c);
		return;
	}
	if (is_probe(c)) { /* this is as far as it goes, and nothing takes it back but the end of the session */
		struct outcome out = c->base;
		out.status = RCPT_SENT;
		out.dsn = SPAN("2.0.0");
		out.text = smtpc_reply_text(c);
		decide_all(c, TX_ACCEPTED, &out);
		c->is_closing = c->is_sending = true;
		smtpc_ready(c);
		return;
	}
	smtpc_await(c, ST_DOT);
	c->at = next_accepted(c, 0);
	if (c->n_accepted > 0) {
		send_content(c);
		return;
	}
	/* RFC 2920 3.1: the hub goes on although it refused every recipient: end it with nothing. LMTP then
	 * owes no reply, so that session ends here. */
	if (c->set->lmtp) {
		c->is_closing = c->is_sending = true;
		smtpc_ready(c);
		return;
	}
	conn_puts(&c->conn, ".\r\n");
}

void
smtpc_on_dot(struct smtpc *c)
{
	bool is_early = c->is_sending;
	if (is_early && c->reply.code / 100 < 4) {
		smtpc_fail(c, RC_TEMP, SPAN("4.5.0"), job_text(c->job, "host %s sent a malformed reply while %s", c->who, smtpc_doing(c)));
		return;
	}
	if (c->n_accepted > 0) {
		struct outcome out = verdict(c, ST_DOT);
		if (c->set->lmtp && !is_early) {
			decide(c, c->at, &out);
			c->at = next_accepted(c, c->at + 1);
			if (c->at < c->job->nrcpt) {
				smtpc_arm(c);
				return;
			}
		} else {
			decide_all(c, TX_ACCEPTED, &out);
		}
	}
	c->is_dirty = c->reply.code / 100 != 2 || c->n_accepted == 0;
	if (is_early)
		c->is_closing = true; /* the rest of the content is not sent, so nothing else can be; not even QUIT */
	smtpc_ready(c);
}
