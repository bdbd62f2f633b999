/* SPDX-License-Identifier: BSD-2-Clause */
#include "ipc/msgs.h"

#include "base/members.h"
#include "base/metric.h"

/* Written and read by their members alone. */
#define BY_MEMBERS(name) \
	void msg_##name##_put(struct buf *b, const struct msg_##name *m) \
	{ \
		members_put(b, m, name##_members, NELEMS(name##_members)); \
	} \
	enum rc msg_##name##_get(struct span payload, struct msg_##name *out) \
	{ \
		return members_get_whole(payload, out, name##_members, NELEMS(name##_members)); \
	}

/* ---- the spool ---- */

static const struct member submit_members[] = {
	MEMBER(msg_submit, draft),
	MEMBER(msg_submit, content_len),
	MEMBER(msg_submit, content_crc),
	MEMBER(msg_submit, qid),
	MEMBER(msg_submit, envelope),
	MEMBER(msg_submit, content),
};

void
msg_submit_put(struct buf *b, const struct msg_submit *m)
{
	members_put(b, m, submit_members, NELEMS(submit_members));
}

enum rc
msg_submit_get(struct span payload, struct msg_submit *out)
{
	enum rc rc = members_get_whole(payload, out, submit_members, NELEMS(submit_members));
	if (rc != RC_OK)
		return rc;
	bool lens_agree = out->draft != 0 ? out->content.n == 0 : out->content.n == out->content_len;
	return lens_agree ? RC_OK : RC_PERM;
}

static const struct member submitted_members[] = {
	MEMBER_ENUM(msg_submitted, outcome, SUBMIT_OK, SUBMIT_REFUSED),
	MEMBER(msg_submitted, reason),
};
BY_MEMBERS(submitted)

static const struct member draft_members[] = {
	MEMBER_ENUM(msg_draft, outcome, SUBMIT_OK, SUBMIT_REFUSED),
	MEMBER(msg_draft, draft),
};
BY_MEMBERS(draft)

static const struct member admission_members[] = {
	MEMBER(msg_admission, accepting),
	MEMBER(msg_admission, holding),
	MEMBER(msg_admission, free_bytes),
};
BY_MEMBERS(admission)

/* ---- jobs ---- */

static const struct member job_members[] = {
	MEMBER(msg_job, job),
	MEMBER(msg_job, segment),
	MEMBER(msg_job, offset),
	MEMBER(msg_job, length),
	MEMBER(msg_job, arrival),
	MEMBER(msg_job, active),
	MEMBER(msg_job, transport),
	MEMBER(msg_job, nexthop),
	MEMBER(msg_job, qid),
	MEMBER(msg_job, sender),
	MEMBER(msg_job, envid),
	MEMBER(msg_job, forward),
	MEMBER(msg_job, flags),
	MEMBER_IN(msg_job, nrcpt, 1, JOB_RCPT_MAX),
};

static const struct member job_rcpt_members[] = {
	MEMBER(job_rcpt, index),
	MEMBER(job_rcpt, notify),
	MEMBER(job_rcpt, addr),
	MEMBER(job_rcpt, orig),
	MEMBER(job_rcpt, orcpt),
};

void
msg_job_put(struct buf *b, const struct msg_job *m)
{
	members_put(b, m, job_members, NELEMS(job_members));
}

void
msg_job_rcpt_put(struct buf *b, const struct job_rcpt *r)
{
	members_put(b, r, job_rcpt_members, NELEMS(job_rcpt_members));
}

enum rc
msg_job_rcpt_get(struct cur *rcpts, struct job_rcpt *out)
{
	return members_get(rcpts, out, job_rcpt_members, NELEMS(job_rcpt_members)) ? RC_OK : RC_PERM;
}

enum rc
msg_job_get(struct span payload, struct msg_job *out)
{
	struct cur rd = cur_of(payload);
	if (!members_get(&rd, out, job_members, NELEMS(job_members)))
		return RC_PERM;
	out->rcpts = rd;
	for (uint32_t i = 0; i < out->nrcpt; i++) {
		struct job_rcpt r;
		if (msg_job_rcpt_get(&rd, &r) != RC_OK)
			return RC_PERM;
	}
	return cur_done(&rd) ? RC_OK : RC_PERM;
}

static const struct member job_done_members[] = {
	MEMBER(msg_job_done, job),
	MEMBER(msg_job_done, last),
	MEMBER_ENUM(msg_job_done, health, JOB_HUB_OK, JOB_OURS),
	MEMBER(msg_job_done, reason),
	MEMBER_IN(msg_job_done, nresult, 0, JOB_RCPT_MAX),
};

static const struct member result_members[] = {
	MEMBER(rcpt_result, index),
	MEMBER_ENUM(rcpt_result, status, RCPT_SENT, RCPT_BOUNCED),
	MEMBER(rcpt_result, dsn_passed),
	MEMBER(rcpt_result, dsn),
	MEMBER(rcpt_result, text),
	MEMBER(rcpt_result, mta),
	MEMBER(rcpt_result, diag),
};

void
msg_job_done_put(struct buf *b, const struct msg_job_done *m)
{
	members_put(b, m, job_done_members, NELEMS(job_done_members));
}

void
msg_result_put(struct buf *b, const struct rcpt_result *r)
{
	members_put(b, r, result_members, NELEMS(result_members));
}

enum rc
msg_result_get(struct cur *results, struct rcpt_result *out)
{
	return members_get(results, out, result_members, NELEMS(result_members)) ? RC_OK : RC_PERM;
}

enum rc
msg_job_done_get(struct span payload, struct msg_job_done *out)
{
	struct cur rd = cur_of(payload);
	if (!members_get(&rd, out, job_done_members, NELEMS(job_done_members)))
		return RC_PERM;
	out->results = rd;
	for (uint32_t i = 0; i < out->nresult; i++) {
		struct rcpt_result r;
		if (msg_result_get(&rd, &r) != RC_OK)
			return RC_PERM;
	}
	return cur_done(&rd) ? RC_OK : RC_PERM;
}

/* ---- ETRN ---- */

void
msg_etrn_put(struct buf *b, struct span site)
{
	buf_put_block(b, site);
}

enum rc
msg_etrn_get(struct span payload, struct span *site_out)
{
	struct cur rd = cur_of(payload);
	*site_out = cur_block(&rd);
	return cur_done(&rd) && site_out->n > 0 && site_out->n <= ETRN_SITE_MAX ? RC_OK : RC_PERM;
}

void
msg_etrn_answer_put(struct buf *b, bool started)
{
	buf_put_u8(b, started);
}

enum rc
msg_etrn_answer_get(struct span payload, bool *started_out)
{
	struct cur rd = cur_of(payload);
	uint8_t v = cur_u8(&rd);
	*started_out = v == 1;
	return cur_done(&rd) && v <= 1 ? RC_OK : RC_PERM;
}

/* ---- greylisting, triage, verification ---- */

static const struct member greylist_members[] = {
	MEMBER_IN(msg_greylist, client, 1, GREYLIST_TEXT_MAX),
	MEMBER_IN(msg_greylist, sender, 0, GREYLIST_TEXT_MAX),
	MEMBER_IN(msg_greylist, rcpt, 1, GREYLIST_TEXT_MAX),
	MEMBER_IN(msg_greylist, client_name, 0, GREYLIST_TEXT_MAX),
	MEMBER_IN(msg_greylist, client_addr, 0, GREYLIST_TEXT_MAX),
	MEMBER(msg_greylist, delay),
	MEMBER(msg_greylist, window),
	MEMBER(msg_greylist, expire),
	MEMBER(msg_greylist, allow_after),
};
BY_MEMBERS(greylist)

static const struct member greylist_answer_members[] = {
	MEMBER_ENUM(msg_greylist_answer, verdict, GREYLIST_PASS, GREYLIST_UNAVAILABLE),
	MEMBER(msg_greylist_answer, seconds),
};
BY_MEMBERS(greylist_answer)

static const struct member triage_members[] = {
	MEMBER(msg_triage, addr), /* all that TRIAGE_FIND has */
	MEMBER_ARRAY(msg_triage, until, 0, UINT32_MAX),
	MEMBER_IN(msg_triage, keep, 0, UINT32_MAX),
};

void
msg_triage_find_put(struct buf *b, const struct ipaddr *addr)
{
	members_put(b, &(struct msg_triage){ .addr = *addr }, triage_members, 1);
}

enum rc
msg_triage_find_get(struct span payload, struct ipaddr *out)
{
	struct msg_triage m;
	enum rc rc = members_get_whole(payload, &m, triage_members, 1);
	*out = m.addr;
	return rc;
}

void
msg_triage_keep_put(struct buf *b, const struct msg_triage *m)
{
	members_put(b, m, triage_members, NELEMS(triage_members));
}

enum rc
msg_triage_keep_get(struct span payload, struct msg_triage *out)
{
	return members_get_whole(payload, out, triage_members, NELEMS(triage_members));
}

static const struct member triage_found_members[] = {
	MEMBER(msg_triage_found, known),
	MEMBER_ARRAY(msg_triage_found, until, 0, UINT64_MAX),
};
BY_MEMBERS(triage_found)

static const struct member verify_members[] = {
	MEMBER_IN(msg_verify, addr, 1, UINT32_MAX),
	MEMBER_IN(msg_verify, wait_usec, 0, (uint64_t)VERIFY_WAIT_MAX * 1000000),
};
BY_MEMBERS(verify)

static const struct member verified_members[] = {
	MEMBER_ENUM(msg_verified, status, VERIFY_TODO, VERIFY_BOUNCE),
	MEMBER(msg_verified, foreign),
	MEMBER(msg_verified, text),
};
BY_MEMBERS(verified)

/* ---- milters for mail of the queue ---- */

static const struct member inspect_members[] = {
	MEMBER(msg_inspect, number),
	MEMBER_ENUM(msg_inspect, purpose, INSPECT_INTERNAL, INSPECT_AGAIN),
	MEMBER(msg_inspect, offset),
	MEMBER(msg_inspect, length),
	MEMBER(msg_inspect, qid),
	MEMBER(msg_inspect, sender),
	MEMBER_IN(msg_inspect, nrcpt, 0, INSPECT_RCPTS_MAX),
};

void
msg_inspect_put(struct buf *b, const struct msg_inspect *m)
{
	members_put(b, m, inspect_members, NELEMS(inspect_members));
}

void
msg_inspect_rcpt_put(struct buf *b, struct span addr)
{
	buf_put_block(b, addr);
}

enum rc
msg_inspect_get(struct span payload, struct msg_inspect *out)
{
	struct cur rd = cur_of(payload);
	if (!members_get(&rd, out, inspect_members, NELEMS(inspect_members)))
		return RC_PERM;
	out->rcpts = rd;
	for (uint32_t i = 0; i < out->nrcpt; i++)
		(void)cur_block(&rd);
	return cur_done(&rd) ? RC_OK : RC_PERM;
}

static const struct member inspected_members[] = {
	MEMBER(msg_inspected, number),
	MEMBER_ENUM(msg_inspected, outcome, INSPECT_PASS, INSPECT_NOT_NOW),
	MEMBER(msg_inspected, text),
	MEMBER(msg_inspected, milter),
	MEMBER(msg_inspected, header_changed),
	MEMBER(msg_inspected, header),
	MEMBER(msg_inspected, content_changed),
	MEMBER(msg_inspected, content_at),
	MEMBER(msg_inspected, content_len),
	MEMBER_IN(msg_inspected, flags, 0, MSGF_HAS_8BIT | MSGF_HAS_DOTS | MSGF_HAS_LONG | MSGF_UTF8_HEADERS),
	MEMBER(msg_inspected, sender_changed),
	MEMBER(msg_inspected, sender),
	MEMBER_IN(msg_inspected, ret, 0, MSGF_RET_HDRS),
	MEMBER(msg_inspected, envid),
	MEMBER_IN(msg_inspected, nrcpt, 0, INSPECT_RCPTS_MAX),
};

static const struct member inspected_rcpt_members[] = {
	MEMBER(msg_inspected_rcpt, is_added),
	MEMBER_IN(msg_inspected_rcpt, addr, 1, UINT32_MAX),
	MEMBER(msg_inspected_rcpt, orig),
	MEMBER(msg_inspected_rcpt, orcpt),
	MEMBER(msg_inspected_rcpt, notify),
};

void
msg_inspected_put(struct buf *b, const struct msg_inspected *m)
{
	members_put(b, m, inspected_members, NELEMS(inspected_members));
}

void
msg_inspected_rcpt_put(struct buf *b, const struct msg_inspected_rcpt *m)
{
	members_put(b, m, inspected_rcpt_members, NELEMS(inspected_rcpt_members));
}

bool
msg_inspected_rcpt_get(struct cur *rd, struct msg_inspected_rcpt *out)
{
	return members_get(rd, out, inspected_rcpt_members, NELEMS(inspected_rcpt_members));
}

/* What did not change is not sent. */
static bool
is_sparse(const struct msg_inspected *m)
{
	return (m->header_changed || m->header.n == 0) && (m->content_changed || (m->content_at == 0 && m->content_len == 0 && m->flags == 0)) &&
	    (m->sender_changed || (m->sender.n == 0 && m->envid.n == 0 && m->ret == 0)) &&
	    (m->ret == 0 || m->ret == MSGF_RET_FULL || m->ret == MSGF_RET_HDRS) &&
	    (m->flags & ~(uint32_t)(MSGF_HAS_8BIT | MSGF_HAS_DOTS | MSGF_HAS_LONG | MSGF_UTF8_HEADERS)) == 0;
}

enum rc
msg_inspected_get(struct span payload, struct msg_inspected *out)
{
	struct cur rd = cur_of(payload);
	struct msg_inspected_rcpt r;
	if (!members_get(&rd, out, inspected_members, NELEMS(inspected_members)) || !is_sparse(out))
		return RC_PERM;
	out->rcpts = rd;
	for (uint32_t i = 0; i < out->nrcpt; i++)
		if (!msg_inspected_rcpt_get(&rd, &r))
			return RC_PERM;
	return cur_done(&rd) ? RC_OK : RC_PERM;
}

/* ---- tables ---- */

static const struct member lookup_members[] = {
	MEMBER_IN(msg_lookup, table, 1, UINT32_MAX),
	MEMBER_IN(msg_lookup, key, 1, UINT32_MAX),
};
BY_MEMBERS(lookup)

static const struct member found_members[] = {
	MEMBER_ENUM(msg_found, rc, RC_OK, RC_PERM),
	MEMBER(msg_found, text),
};
BY_MEMBERS(found)

/* ---- logins ---- */

enum { AUTH_NAME_MAX = 1024, AUTH_MECH_MAX = 20, AUTH_USER_MAX = 255 };

#define MECHS(s, of) MEMBER_TEXT(s, of service, 1, AUTH_NAME_MAX), MEMBER_TEXT(s, of host, 0, AUTH_NAME_MAX), \
	MEMBER_TEXT(s, of realm, 0, AUTH_NAME_MAX), MEMBER(s, of options)

static const struct member auth_mechs_members[] = {
	MECHS(msg_auth_mechs, ),
};
BY_MEMBERS(auth_mechs)

static const struct member auth_offer_members[] = {
	MEMBER_ENUM(msg_auth_offer, rc, RC_OK, RC_PERM),
	MEMBER(msg_auth_offer, text),
};
BY_MEMBERS(auth_offer)

static const struct member auth_begin_members[] = {
	MEMBER(msg_auth_begin, context),
	MECHS(msg_auth_begin, of.),
	MEMBER_TEXT(msg_auth_begin, mech, 1, AUTH_MECH_MAX),
	MEMBER(msg_auth_begin, has_initial),
	MEMBER_IN(msg_auth_begin, initial, 0, AUTH_RESPONSE_MAX),
};
BY_MEMBERS(auth_begin)

static const struct member auth_step_members[] = {
	MEMBER(msg_auth_step, context),
	MEMBER_IN(msg_auth_step, response, 0, AUTH_RESPONSE_MAX),
};
BY_MEMBERS(auth_step)

static const struct member auth_said_members[] = {
	MEMBER_ENUM(msg_auth_said, outcome, AUTH_GOES_ON, AUTH_NOT_NOW),
	MEMBER_IN(msg_auth_said, text, 0, AUTH_RESPONSE_MAX),
	MEMBER_IN(msg_auth_said, user, 0, AUTH_USER_MAX),
};
BY_MEMBERS(auth_said)

/* ---- the master ---- */

void
msg_dial_put(struct buf *b, struct span path)
{
	buf_put_block(b, path);
}

enum rc
msg_dial_get(struct span payload, struct span *path_out)
{
	struct cur rd = cur_of(payload);
	*path_out = cur_block(&rd);
	return cur_done(&rd) && path_out->n > 0 && span_chr(*path_out, '\0') == SIZE_MAX ? RC_OK : RC_PERM;
}

static const struct member dialed_members[] = {
	MEMBER_ENUM(msg_dialed, rc, RC_OK, RC_PERM),
	MEMBER(msg_dialed, why),
};
BY_MEMBERS(dialed)

void
msg_status_put(struct buf *b, struct span json_members, struct span remarks)
{
	buf_put_u32(b, M_COUNT);
	for (int i = 0; i < M_COUNT; i++)
		buf_put_u64(b, (uint64_t)metric_values[i]);
	buf_put_block(b, json_members);
	buf_put_block(b, remarks);
}

enum rc
msg_status_get(struct span payload, struct msg_status *out)
{
	struct cur rd = cur_of(payload);
	out->n = cur_u32(&rd);
	if (out->n > 4096)
		return RC_PERM;
	out->values = cur_of(cur_take(&rd, (size_t)out->n * 8));
	out->json_members = cur_block(&rd);
	out->remarks = cur_block(&rd);
	return cur_done(&rd) ? RC_OK : RC_PERM;
}
