/* SPDX-License-Identifier: BSD-2-Clause */
/* DATA, and what DATA and BDAT share: content, its draft, the end of the message. 250 is said in one place here. */
#include "smtp/session.h"

#include "base/clock.h"
#include "base/metric.h"
#include "ipc/msgs.h"
#include "msg/received.h"
#include "smtp/milter.h"
#include "smtp/starttls.h"

#define SUBMIT_USEC (UINT64_C(300) * USEC_PER_SEC) /* a queue that hangs: the client gives up after ten minutes */

enum { CROWDED_INLINE = 16 * 1024, CROWDED_HEADER = 192 * 1024 }; /* what stays in memory when edge_content_memory is used up */

/* ---- DATA ---- */

static enum step
data_parse(struct sess *s)
{
	if (s->args.n > 0) {
		sess_reply(s, REPLY_SYNTAX_DATA);
		return STEP_END;
	}
	s->facts.has_rcpt = s->tx->nsaid == 1;
	s->facts.rcpt = s->tx->first_rcpt;
	return STEP_NEXT;
}

static enum step
data_policy(struct sess *s)
{
	return sess_ask(s, POLICY_DATA);
}

static void
put_received(struct sess *s, struct buf *b)
{
	const struct tx *tx = s->tx;
	struct buf tls_lines;
	buf_init(&tls_lines, RECEIVED_TLS_MAX);
	if (s->facts.is_tls && s->svc->p->p_smtpd_tls_received_header)
		tls_peer_received(&tls_lines, &s->tls->peer, tls_server_asks_cert(s->svc->tls));
	const struct received r = {
		.helo = s->facts.helo, .client_name = s->facts.client_name, .client_addr = s->facts.client_addr,
		.client_is_v6 = s->facts.client.family == IPADDR_V6, .hide_client = s->svc->p->p_smtpd_hide_client_session,
		.myhostname = s->svc->p->p_myhostname, .mail_name = s->svc->p->p_mail_name, .is_esmtp = s->facts.is_esmtp,
		.is_tls = s->facts.is_tls, .tls_lines = tls_lines.over ? SPAN_EMPTY : buf_span(&tls_lines), .is_auth = s->facts.login.n > 0,
		.login = s->svc->p->p_smtpd_sasl_authenticated_header ? s->facts.login : SPAN_EMPTY, .is_utf8 = tx->params.is_smtputf8, .qid = tx->qid, .for_rcpt = tx->nsaid == 1 ? tx->first_rcpt : SPAN_EMPTY,
		.when = clock_wall(),
	};
	received_write(b, &r);
	buf_fini(&tls_lines);
}

void
data_begin(struct sess *s, bool dots)
{
	struct tx *tx = s->tx;
	struct content_limits limits = s->svc->content;
	limits.refuse_bare_lf = s->svc->bare_lf == BARE_LF_REJECT && !s->no_bare_lf_rules;
	content_init(&tx->content, &limits, dots);
	tx->has_content = true;
	tx->content.line.keep_stray_cr = !s->svc->p->p_cleanup_replace_stray_cr_lf;
	/* a trusted client whose commands end in LF alone knows no other end of data (smtp/line.h) */
	tx->content.line.lf_ends = dots && s->no_bare_lf_rules && s->cmd_bare_lf;
	struct buf *front = content_front(&tx->content, tx->params.size);
	checking_begin(s);
	if (s->svc->p->p_force_mime_input_conversion && !s->svc->p->p_disable_mime_input_processing && s->svc->proxied == NULL)
		content_convert(&tx->content);
	data_front(s, front);
	put_received(s, front);
	content_front_done(&tx->content);
	if (tx->prepend_over)
		content_fail(&tx->content, CONTENT_HEADER_TOO_BIG);
	tx_account(tx);
	s->content_began = loop_now();
}

static enum step
data_verdict(struct sess *s)
{
	return sess_verdict(s);
}

static enum step
data_go(struct sess *s)
{
	data_begin(s, true);
	s->input = INPUT_DATA;
	sess_reply(s, REPLY_SEND_DATA);
	return STEP_END;
}

const struct step_row data_steps[] = {
	{ "data_parse", data_parse },
	{ "data_policy", data_policy },
	{ "data_verdict", data_verdict },
	{ "data_milter", data_milter },
	{ "data_milter_said", data_milter_said },
	{ "data_filter_say", data_filter_say },
	{ "data_filter_said", data_filter_said },
	{ "data_go", data_go },
};

/* ---- the draft of a large message ---- */


static enum step
draft_ask(struct sess *s)
{
	if (s->edge->queue == NULL) {
		content_fail(&s->tx->content, CONTENT_NO_DRAFT);
		return STEP_END;
	}
	struct ipc_call *call = tx_new_call(s->tx);
	(void)ipc_call_begin(call, s->edge->queue, IPC_DRAFT);
	s->tx->asks_draft = true;
	s->tx->draft_generation = s->edge->queue_generation;
	ipc_call_send(call, SUBMIT_USEC);
	return STEP_WAIT;
}

static enum step
draft_got(struct sess *s)
{
	struct tx *tx = s->tx;
	struct msg_draft m;
	if (tx->call.op.rc != RC_OK || msg_draft_get(buf_span(&tx->call.reply), &m) != RC_OK || m.outcome != SUBMIT_OK || m.draft == 0 ||
	    tx->call.fd < 0) {
		bool full = tx->call.op.rc == RC_OK && msg_draft_get(buf_span(&tx->call.reply), &m) == RC_OK && m.outcome == SUBMIT_FULL;
		content_fail(&tx->content, full ? CONTENT_DRAFT_FULL : CONTENT_NO_DRAFT);
		return STEP_END;
	}
	tx->asks_draft = false;
	tx->draft = m.draft;
	metric_add(M_smtpd_drafts, 1);
	content_draft_open(&tx->content, tx->call.fd);
	tx->call.fd = -1;
	return STEP_END;
}

static const struct step_row draft_steps[] = {
	{ "draft_ask", draft_ask },
	{ "draft_got", draft_got },
};

/* ---- the end of the message ---- */

enum step
data_done(struct sess *s)
{
	s->input = INPUT_COMMAND;
	sess_end_tx(s);
	return STEP_END;
}

enum step
data_refuse(struct sess *s, enum reply_id id)
{
	sess_refuse(s, id);
	return data_done(s);
}

enum step
data_no_room(struct sess *s, bool is_held)
{
	metric_add(M_smtpd_spool_temp, 1);
	sess_refuse_by(s, REPLY_NO_SPACE, is_held && !s->edge->holding ? "quarantine" : NULL); /* its queue says so before it answers */
	return data_done(s);
}

static enum step
bare_lf_message(struct sess *s)
{
	sess_refuse_code(s, REPLY_BARE_LF, (unsigned)s->svc->p->p_smtpd_forbid_bare_newline_reject_code);
	return data_done(s);
}

/* What the checks say; they have written the log line. */
enum step
data_refuse_checked(struct sess *s)
{
	unsigned code;
	struct span reply = checking_reply(s->tx, &code);
	sess_reply_lines(s, code, reply);
	return data_done(s);
}

enum step
data_fault(struct sess *s)
{
	switch (s->tx->content.fault) {
	case CONTENT_FINE:
		return STEP_NEXT;
	case CONTENT_TOO_BIG:
		metric_add(M_smtpd_size_limit, 1);
		return data_refuse(s, s->tx->chunking ? REPLY_CHUNK_TOO_BIG : REPLY_TOO_BIG);
	case CONTENT_HEADER_TOO_BIG:
		metric_add(M_smtpd_size_limit, 1);
		return data_refuse(s, REPLY_HEADER_TOO_BIG);
	case CONTENT_TOO_MANY_HOPS:
		metric_add(M_smtpd_hop_limit, 1);
		return data_refuse(s, REPLY_TOO_MANY_HOPS);
	case CONTENT_BARE_LF:
		return bare_lf_message(s);
	case CONTENT_NOT_NOW:
		return data_refuse(s, REPLY_NO_QUEUE);
	case CONTENT_REFUSED:
		return data_refuse_checked(s);
	case CONTENT_NO_DRAFT:
		metric_add(M_smtpd_spool_temp, 1);
		return data_refuse(s, REPLY_NO_QUEUE);
	case CONTENT_DRAFT_FULL:
		metric_add(M_smtpd_spool_temp, 1);
		return data_refuse(s, REPLY_NO_SPACE);
	}
	return STEP_NEXT;
}

static enum step
end_check(struct sess *s)
{
	struct content *c = &s->tx->content;
	s->input = INPUT_COMMAND;
	s->where = "END-OF-MESSAGE";
	s->failed = false;
	content_finish(c);
	if (c->header.says_8bit && s->svc->p->p_detect_8bit_encoding_header)
		s->tx->params.is_8bitmime = true;
	if (c->line.bare_lf && s->svc->bare_lf == BARE_LF_NOTE && !s->no_bare_lf_rules)
		s->noted_bare_lf = true;
	s->facts.size_bytes = c->client_len;
	return data_fault(s);
}

/* The header ended with the message, or its last piece. */
static enum step
end_header(struct sess *s)
{
	if (!content_wants_edit(&s->tx->content))
		return STEP_NEXT;
	if (data_edit_header(s) == STEP_AGAIN)
		return STEP_AGAIN;
	content_finish(&s->tx->content);
	return data_fault(s);
}

/* The last line of the body. */
static enum step
end_checks(struct sess *s)
{
	struct content *c = &s->tx->content;
	if (!c->is_checked)
		return STEP_NEXT;
	if (data_check_body(s, true) == STEP_AGAIN)
		return STEP_AGAIN;
	content_finish(c);
	return data_fault(s);
}

/* The last piece, or what content_finish() added, may have made it too large for memory. */
static enum step
end_draft(struct sess *s)
{
	if (!content_wants_draft(&s->tx->content))
		return STEP_NEXT;
	return draft_ask(s) == STEP_WAIT ? STEP_WAIT : STEP_NEXT;
}

static enum step
end_draft_got(struct sess *s)
{
	struct content *c = &s->tx->content;
	if (content_wants_draft(c)) {
		(void)draft_got(s);
		content_finish(c);
	}
	return data_fault(s);
}

static enum step
end_policy(struct sess *s)
{
	return sess_ask(s, POLICY_END_OF_DATA);
}

static enum step
end_verdict(struct sess *s)
{
	enum step next = sess_verdict(s);
	if (next != STEP_NEXT)
		sess_end_tx(s);
	return next;
}

void
data_log_message_id(struct sess *s)
{
	if (s->tx->has_logged_id)
		return;
	s->tx->has_logged_id = true;
	struct log_ctx ctx = s->log;
	ctx.qid = s->tx->qid;
	struct span id = s->tx->message_id.n > 0 ? s->tx->message_id : header_message_id(&s->tx->content.header);
	LOG(message_id, &ctx, F_SPAN(message_id, id.n > 0 ? id : SPAN("<>")));
}

/* The one place where a message is answered with 250. */
static enum step
message_accepted(struct sess *s)
{
	struct tx *tx = s->tx;
	metric_add(M_smtpd_messages, 1);
	sess_reply_full(s, tx->chunking ? REPLY_QUEUED_BDAT : REPLY_QUEUED, 0, tx->qid, tx->content.client_len);
	s->errors = s->junk = 0;
	return data_done(s);
}

static enum step
end_submit(struct sess *s)
{
	struct tx *tx = s->tx;
	data_log_message_id(s);
	if (tx->discard)
		return message_accepted(s);
	if (tx->lost_way || !edge_queue_is_up(s->edge) || tx_draft_is_lost(tx)) {
		metric_add(M_smtpd_spool_temp, 1);
		return data_refuse(s, REPLY_NO_QUEUE);
	}
	if (tx_is_held(tx) && !s->edge->holding)
		return data_no_room(s, true);
	content_close(&tx->content);
	if (tx->content.fault != CONTENT_FINE)
		return data_fault(s);
	struct ipc_call *call = tx_new_call(s->tx);
	tx_write_submit(tx, s->client, ipc_call_begin(call, s->edge->queue, IPC_SUBMIT));
	tx->submitted = true;
	buf_fini(&tx->content.out); /* the channel has its copy */
	tx_account(tx);
	ipc_call_send(call, SUBMIT_USEC);
	return STEP_WAIT;
}

static enum step
end_submitted(struct sess *s)
{
	struct tx *tx = s->tx;
	struct msg_submitted m = { .outcome = SUBMIT_FAILED };
	if (tx->call.op.rc != RC_OK || msg_submitted_get(buf_span(&tx->call.reply), &m) != RC_OK)
		m.outcome = SUBMIT_FAILED;
	switch (m.outcome) {
	case SUBMIT_OK:
		return message_accepted(s);
	case SUBMIT_FULL:
		return data_no_room(s, tx_is_held(tx));
	case SUBMIT_FAILED:
	case SUBMIT_REFUSED:
		break;
	}
	metric_add(M_smtpd_spool_temp, 1);
	return data_refuse(s, REPLY_NO_QUEUE);
}

const struct step_row end_steps[] = {
	{ "end_check", end_check },
	{ "end_header", end_header },
	{ "end_checks", end_checks },
	{ "end_draft", end_draft },
	{ "end_draft_got", end_draft_got },
	{ "end_policy", end_policy },
	{ "end_verdict", end_verdict },
	{ "end_milter", end_milter },
	{ "end_milter_said", end_milter_said },
	{ "end_milter_first", end_milter_first },
	{ "end_milter_change", end_milter_change },
	{ "end_milter_draft", end_milter_draft },
	{ "end_milter_copy", end_milter_copy },
	{ "end_filter_start", end_filter_start },
	{ "end_filter_envelope", end_filter_envelope },
	{ "end_filter_data", end_filter_data },
	{ "end_filter_content", end_filter_content },
	{ "end_filter_said", end_filter_said },
	{ "end_rewrite", end_rewrite },
	{ "end_keep", end_keep },
	{ "end_kept", end_kept },
	{ "end_survey", end_survey },
	{ "end_submit", end_submit },
	{ "end_submitted", end_submitted },
};

/* ---- input ---- */

/* Many clients at once: all their content together may not take the machine's memory, so it goes to drafts earlier. */
static void
watch_memory(struct sess *s)
{
	struct tx *tx = s->tx;
	tx_account(tx);
	if (s->edge->content_bytes <= (uint64_t)s->svc->p->p_edge_content_memory)
		return;
	if (tx->content.limits.inline_max > CROWDED_INLINE)
		tx->content.limits.inline_max = CROWDED_INLINE;
	if (!tx->content.is_settled && tx->held > CROWDED_HEADER) /* it cannot go to a draft before it is complete */
		content_fail(&tx->content, CONTENT_DRAFT_FULL);
}

/* A table has to be waited for before more of the body can be looked at. */
static enum step
check_more(struct sess *s)
{
	return data_check_body(s, false) == STEP_AGAIN ? STEP_AGAIN : STEP_END;
}

static const struct step_row check_steps[] = { { "check_more", check_more } };

/* Content, until somebody has to be asked. Gives the octets used; *asks_out: a check asks. */
static size_t
take_content(struct sess *s, struct span in, bool *asks_out)
{
	struct content *c = &s->tx->content;
	size_t used = 0;
	while (used < in.n && !c->line.ended && !content_wants_edit(c) && !content_wants_draft(c) && !*asks_out) {
		used += content_feed(c, span_from(in, used));
		if (c->has_bad)
			checking_bad_octet(s);
		else if (c->is_checked && !c->line.ended)
			*asks_out = checking_asks(s);
	}
	watch_memory(s);
	sess_milter_content(s);
	return used;
}

size_t
data_input(struct sess *s, struct span in)
{
	struct content *c = &s->tx->content;
	bool asks = false;
	size_t used = take_content(s, in, &asks);
	if (c->line.ended)
		sess_run_steps(s, end_steps);
	else if (content_wants_edit(c))
		sess_run_steps(s, header_steps);
	else if (asks)
		sess_run_steps(s, check_steps);
	else if (content_wants_draft(c))
		sess_run_steps(s, draft_steps);
	return used;
}

size_t
data_chunk_piece(struct sess *s, struct span in)
{
	struct content *c = &s->tx->content;
	bool asks = false;
	size_t used = take_content(s, in, &asks);
	if (content_wants_edit(c) && used < in.n)
		sess_run_steps(s, header_steps);
	else if (asks && used < in.n)
		sess_run_steps(s, check_steps);
	else if (content_wants_draft(c) && used < in.n)
		sess_run_steps(s, draft_steps);
	return used;
}
