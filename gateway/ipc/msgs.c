/* SPDX-License-Identifier: BSD-2-Clause */
#include "ipc/msgs.h"

#include "base/metric.h"

void
msg_submit_put(struct buf *b, const struct msg_submit *m)
{
	buf_put_u64(b, m->draft);
	buf_put_u64(b, m->content_len);
	buf_put_u32(b, m->content_crc);
	buf_put_block(b, m->qid);
	buf_put_block(b, m->envelope);
	buf_put_block(b, m->content);
}

enum rc
msg_submit_get(struct span payload, struct msg_submit *out)
{
	struct cur rd = cur_of(payload);
	out->draft = cur_u64(&rd);
	out->content_len = cur_u64(&rd);
	out->content_crc = cur_u32(&rd);
	out->qid = cur_block(&rd);
	out->envelope = cur_block(&rd);
	out->content = cur_block(&rd);
	bool lens_agree = out->draft != 0 ? out->content.n == 0 : out->content.n == out->content_len;
	return cur_done(&rd) && lens_agree ? RC_OK : RC_PERM;
}

static bool
outcome_known(uint8_t v)
{
	return v >= SUBMIT_OK && v <= SUBMIT_REFUSED;
}

void
msg_submitted_put(struct buf *b, const struct msg_submitted *m)
{
	buf_put_u8(b, (uint8_t)m->outcome);
	buf_put_block(b, m->reason);
}

enum rc
msg_submitted_get(struct span payload, struct msg_submitted *out)
{
	struct cur rd = cur_of(payload);
	uint8_t v = cur_u8(&rd);
	out->outcome = (enum submit_outcome)v;
	out->reason = cur_block(&rd);
	return cur_done(&rd) && outcome_known(v) ? RC_OK : RC_PERM;
}

void
msg_draft_put(struct buf *b, const struct msg_draft *m)
{
	buf_put_u8(b, (uint8_t)m->outcome);
	buf_put_u64(b, m->draft);
}

enum rc
msg_draft_get(struct span payload, struct msg_draft *out)
{
	struct cur rd = cur_of(payload);
	uint8_t v = cur_u8(&rd);
	out->outcome = (enum submit_outcome)v;
	out->draft = cur_u64(&rd);
	return cur_done(&rd) && outcome_known(v) ? RC_OK : RC_PERM;
}

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

void
msg_inspect_put(struct buf *b, const struct msg_inspect *m)
{
	buf_put_u64(b, m->number);
	buf_put_u8(b, (uint8_t)m->purpose);
	buf_put_u64(b, m->offset);
	buf_put_u64(b, m->length);
	buf_put_block(b, m->qid);
	buf_put_block(b, m->sender);
	buf_put_u32(b, m->nrcpt);
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
	out->number = cur_u64(&rd);
	uint8_t purpose = cur_u8(&rd);
	out->purpose = (enum inspect_purpose)purpose;
	out->offset = cur_u64(&rd);
	out->length = cur_u64(&rd);
	out->qid = cur_block(&rd);
	out->sender = cur_block(&rd);
	out->nrcpt = cur_u32(&rd);
	out->rcpts = rd;
	if (rd.bad || purpose < INSPECT_INTERNAL || purpose > INSPECT_AGAIN || out->nrcpt > INSPECT_RCPTS_MAX)
		return RC_PERM;
	for (uint32_t i = 0; i < out->nrcpt; i++)
		(void)cur_block(&rd);
	return cur_done(&rd) ? RC_OK : RC_PERM;
}

void
msg_inspected_put(struct buf *b, const struct msg_inspected *m)
{
	buf_put_u64(b, m->number);
	buf_put_u8(b, (uint8_t)m->outcome);
	buf_put_block(b, m->text);
	buf_put_block(b, m->milter);
	buf_put_u8(b, m->header_changed);
	buf_put_block(b, m->header);
}

enum rc
msg_inspected_get(struct span payload, struct msg_inspected *out)
{
	struct cur rd = cur_of(payload);
	out->number = cur_u64(&rd);
	uint8_t outcome = cur_u8(&rd);
	out->outcome = (enum inspect_outcome)outcome;
	out->text = cur_block(&rd);
	out->milter = cur_block(&rd);
	uint8_t changed = cur_u8(&rd);
	out->header_changed = changed == 1;
	out->header = cur_block(&rd);
	bool fits = outcome >= INSPECT_PASS && outcome <= INSPECT_NOT_NOW && changed <= 1 && (changed == 1 || out->header.n == 0);
	return cur_done(&rd) && fits ? RC_OK : RC_PERM;
}

void
msg_greylist_put(struct buf *b, const struct msg_greylist *m)
{
	buf_put_block(b, m->client);
	buf_put_block(b, m->sender);
	buf_put_block(b, m->rcpt);
	buf_put_block(b, m->client_name);
	buf_put_block(b, m->client_addr);
	buf_put_u32(b, m->delay);
	buf_put_u32(b, m->window);
	buf_put_u32(b, m->expire);
	buf_put_u32(b, m->allow_after);
}

enum rc
msg_greylist_get(struct span payload, struct msg_greylist *out)
{
	struct cur rd = cur_of(payload);
	out->client = cur_block(&rd);
	out->sender = cur_block(&rd);
	out->rcpt = cur_block(&rd);
	out->client_name = cur_block(&rd);
	out->client_addr = cur_block(&rd);
	out->delay = cur_u32(&rd);
	out->window = cur_u32(&rd);
	out->expire = cur_u32(&rd);
	out->allow_after = cur_u32(&rd);
	bool bounded = out->client.n <= GREYLIST_TEXT_MAX && out->sender.n <= GREYLIST_TEXT_MAX && out->rcpt.n <= GREYLIST_TEXT_MAX &&
	    out->client_name.n <= GREYLIST_TEXT_MAX && out->client_addr.n <= GREYLIST_TEXT_MAX;
	return cur_done(&rd) && bounded && out->client.n > 0 && out->rcpt.n > 0 ? RC_OK : RC_PERM;
}

void
msg_greylist_answer_put(struct buf *b, const struct msg_greylist_answer *m)
{
	buf_put_u8(b, (uint8_t)m->verdict);
	buf_put_u32(b, m->seconds);
}

enum rc
msg_greylist_answer_get(struct span payload, struct msg_greylist_answer *out)
{
	struct cur rd = cur_of(payload);
	uint8_t v = cur_u8(&rd);
	out->verdict = (enum greylist_verdict)v;
	out->seconds = cur_u32(&rd);
	return cur_done(&rd) && v >= GREYLIST_PASS && v <= GREYLIST_UNAVAILABLE ? RC_OK : RC_PERM;
}

static void
put_addr(struct buf *b, const struct ipaddr *a)
{
	buf_put_u8(b, a->family);
	buf_put(b, span_of(a->b, sizeof a->b));
}

static bool
get_addr(struct cur *rd, struct ipaddr *out)
{
	*out = (struct ipaddr){ .family = cur_u8(rd) };
	struct span bytes = cur_take(rd, sizeof out->b);
	if (bytes.n == sizeof out->b)
		memcpy(out->b, bytes.p, sizeof out->b);
	return out->family == IPADDR_V4 || out->family == IPADDR_V6;
}

void
msg_triage_find_put(struct buf *b, const struct ipaddr *addr)
{
	put_addr(b, addr);
}

enum rc
msg_triage_find_get(struct span payload, struct ipaddr *out)
{
	struct cur rd = cur_of(payload);
	bool good = get_addr(&rd, out);
	return cur_done(&rd) && good ? RC_OK : RC_PERM;
}

void
msg_triage_keep_put(struct buf *b, const struct msg_triage *m)
{
	put_addr(b, &m->addr);
	for (int i = 0; i < TRIAGE_TESTS; i++)
		buf_put_u64(b, m->until[i]);
	buf_put_u64(b, m->keep);
}

enum rc
msg_triage_keep_get(struct span payload, struct msg_triage *out)
{
	struct cur rd = cur_of(payload);
	bool good = get_addr(&rd, &out->addr);
	for (int i = 0; i < TRIAGE_TESTS; i++) {
		out->until[i] = cur_u64(&rd);
		good &= out->until[i] <= UINT32_MAX;
	}
	out->keep = cur_u64(&rd);
	return cur_done(&rd) && good && out->keep <= UINT32_MAX ? RC_OK : RC_PERM;
}

void
msg_triage_found_put(struct buf *b, const struct msg_triage_found *m)
{
	buf_put_u8(b, m->known);
	for (int i = 0; i < TRIAGE_TESTS; i++)
		buf_put_u64(b, m->until[i]);
}

enum rc
msg_triage_found_get(struct span payload, struct msg_triage_found *out)
{
	struct cur rd = cur_of(payload);
	uint8_t known = cur_u8(&rd);
	out->known = known == 1;
	for (int i = 0; i < TRIAGE_TESTS; i++)
		out->until[i] = cur_u64(&rd);
	return cur_done(&rd) && known <= 1 ? RC_OK : RC_PERM;
}

void
msg_admission_put(struct buf *b, const struct msg_admission *m)
{
	buf_put_u8(b, m->accepting);
	buf_put_u8(b, m->holding);
	buf_put_u64(b, m->free_bytes);
}

enum rc
msg_admission_get(struct span payload, struct msg_admission *out)
{
	struct cur rd = cur_of(payload);
	uint8_t accepting = cur_u8(&rd), holding = cur_u8(&rd);
	out->accepting = accepting == 1;
	out->holding = holding == 1;
	out->free_bytes = cur_u64(&rd);
	return cur_done(&rd) && accepting <= 1 && holding <= 1 ? RC_OK : RC_PERM;
}

void
msg_job_put(struct buf *b, const struct msg_job *m)
{
	buf_put_u64(b, m->job);
	buf_put_u64(b, m->segment);
	buf_put_u64(b, m->offset);
	buf_put_u64(b, m->length);
	buf_put_u64(b, m->arrival);
	buf_put_u64(b, m->active);
	buf_put_block(b, m->transport);
	buf_put_block(b, m->nexthop);
	buf_put_block(b, m->qid);
	buf_put_block(b, m->sender);
	buf_put_block(b, m->envid);
	buf_put_block(b, m->forward);
	buf_put_u32(b, m->flags);
	buf_put_u32(b, m->nrcpt);
}

enum rc
msg_job_get(struct span payload, struct msg_job *out)
{
	struct cur rd = cur_of(payload);
	out->job = cur_u64(&rd);
	out->segment = cur_u64(&rd);
	out->offset = cur_u64(&rd);
	out->length = cur_u64(&rd);
	out->arrival = cur_u64(&rd);
	out->active = cur_u64(&rd);
	out->transport = cur_block(&rd);
	out->nexthop = cur_block(&rd);
	out->qid = cur_block(&rd);
	out->sender = cur_block(&rd);
	out->envid = cur_block(&rd);
	out->forward = cur_block(&rd);
	out->flags = cur_u32(&rd);
	out->nrcpt = cur_u32(&rd);
	out->rcpts = rd;
	if (rd.bad || out->nrcpt == 0 || out->nrcpt > JOB_RCPT_MAX)
		return RC_PERM;
	for (uint32_t i = 0; i < out->nrcpt; i++) {
		struct job_rcpt r;
		if (msg_job_rcpt_get(&rd, &r) != RC_OK)
			return RC_PERM;
	}
	return cur_done(&rd) ? RC_OK : RC_PERM;
}

void
msg_job_rcpt_put(struct buf *b, const struct job_rcpt *r)
{
	buf_put_u32(b, r->index);
	buf_put_u8(b, r->notify);
	buf_put_block(b, r->addr);
	buf_put_block(b, r->orig);
	buf_put_block(b, r->orcpt);
}

enum rc
msg_job_rcpt_get(struct cur *rcpts, struct job_rcpt *out)
{
	out->index = cur_u32(rcpts);
	out->notify = cur_u8(rcpts);
	out->addr = cur_block(rcpts);
	out->orig = cur_block(rcpts);
	out->orcpt = cur_block(rcpts);
	return rcpts->bad ? RC_PERM : RC_OK;
}

void
msg_job_done_put(struct buf *b, const struct msg_job_done *m)
{
	buf_put_u64(b, m->job);
	buf_put_u8(b, m->last);
	buf_put_u8(b, (uint8_t)m->health);
	buf_put_block(b, m->reason);
	buf_put_u32(b, m->nresult);
}

enum rc
msg_job_done_get(struct span payload, struct msg_job_done *out)
{
	struct cur rd = cur_of(payload);
	out->job = cur_u64(&rd);
	uint8_t last = cur_u8(&rd), health = cur_u8(&rd);
	out->last = last == 1;
	out->health = (enum job_health)health;
	out->reason = cur_block(&rd);
	out->nresult = cur_u32(&rd);
	out->results = rd;
	if (rd.bad || last > 1 || health < JOB_HUB_OK || health > JOB_OURS || out->nresult > JOB_RCPT_MAX)
		return RC_PERM;
	for (uint32_t i = 0; i < out->nresult; i++) {
		struct rcpt_result r;
		if (msg_result_get(&rd, &r) != RC_OK)
			return RC_PERM;
	}
	return cur_done(&rd) ? RC_OK : RC_PERM;
}

void
msg_result_put(struct buf *b, const struct rcpt_result *r)
{
	buf_put_u32(b, r->index);
	buf_put_u8(b, (uint8_t)r->status);
	buf_put_u8(b, r->dsn_passed);
	buf_put_block(b, r->dsn);
	buf_put_block(b, r->text);
	buf_put_block(b, r->mta);
	buf_put_block(b, r->diag);
}

enum rc
msg_result_get(struct cur *results, struct rcpt_result *out)
{
	out->index = cur_u32(results);
	uint8_t status = cur_u8(results), passed = cur_u8(results);
	out->status = (enum rcpt_status)status;
	out->dsn_passed = passed == 1;
	out->dsn = cur_block(results);
	out->text = cur_block(results);
	out->mta = cur_block(results);
	out->diag = cur_block(results);
	return results->bad || status < RCPT_SENT || status > RCPT_BOUNCED || passed > 1 ? RC_PERM : RC_OK;
}

void
msg_lookup_put(struct buf *b, const struct msg_lookup *m)
{
	buf_put_block(b, m->table);
	buf_put_block(b, m->key);
}

enum rc
msg_lookup_get(struct span payload, struct msg_lookup *out)
{
	struct cur rd = cur_of(payload);
	out->table = cur_block(&rd);
	out->key = cur_block(&rd);
	return cur_done(&rd) && out->table.n > 0 && out->key.n > 0 ? RC_OK : RC_PERM;
}

void
msg_found_put(struct buf *b, const struct msg_found *m)
{
	buf_put_u8(b, (uint8_t)m->rc);
	buf_put_block(b, m->text);
}

enum rc
msg_found_get(struct span payload, struct msg_found *out)
{
	struct cur rd = cur_of(payload);
	uint8_t rc = cur_u8(&rd);
	out->rc = (enum rc)rc;
	out->text = cur_block(&rd);
	return cur_done(&rd) && rc <= RC_PERM ? RC_OK : RC_PERM;
}

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
	return cur_done(&rd) && path_out->n > 0 && memchr(path_out->p, 0, path_out->n) == NULL ? RC_OK : RC_PERM;
}

void
msg_dialed_put(struct buf *b, const struct msg_dialed *m)
{
	buf_put_u8(b, (uint8_t)m->rc);
	buf_put_block(b, m->why);
}

enum rc
msg_dialed_get(struct span payload, struct msg_dialed *out)
{
	struct cur rd = cur_of(payload);
	uint8_t rc = cur_u8(&rd);
	out->rc = (enum rc)rc;
	out->why = cur_block(&rd);
	return cur_done(&rd) && rc <= RC_PERM ? RC_OK : RC_PERM;
}

void
msg_verify_put(struct buf *b, const struct msg_verify *m)
{
	buf_put_block(b, m->addr);
	buf_put_u64(b, m->wait_usec);
}

enum rc
msg_verify_get(struct span payload, struct msg_verify *out)
{
	struct cur rd = cur_of(payload);
	out->addr = cur_block(&rd);
	out->wait_usec = cur_u64(&rd);
	return cur_done(&rd) && out->addr.n > 0 && out->wait_usec <= (uint64_t)VERIFY_WAIT_MAX * 1000000 ? RC_OK : RC_PERM;
}

void
msg_verified_put(struct buf *b, const struct msg_verified *m)
{
	buf_put_u8(b, (uint8_t)m->status);
	buf_put_u8(b, m->foreign);
	buf_put_block(b, m->text);
}

enum rc
msg_verified_get(struct span payload, struct msg_verified *out)
{
	struct cur rd = cur_of(payload);
	uint8_t status = cur_u8(&rd), foreign = cur_u8(&rd);
	out->status = (enum verify_status)status;
	out->foreign = foreign == 1;
	out->text = cur_block(&rd);
	return cur_done(&rd) && status >= VERIFY_TODO && status <= VERIFY_BOUNCE && foreign <= 1 ? RC_OK : RC_PERM;
}

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

void
msg_auth_mechs_put(struct buf *b, const struct msg_auth_mechs *m)
{
	buf_put_block(b, m->service);
	buf_put_block(b, m->host);
	buf_put_block(b, m->realm);
	buf_put_u32(b, m->options);
}

static void
get_auth_mechs(struct cur *rd, struct msg_auth_mechs *out)
{
	out->service = cur_block(rd);
	out->host = cur_block(rd);
	out->realm = cur_block(rd);
	out->options = cur_u32(rd);
}

/* They become C strings. */
static bool
auth_mechs_fine(const struct msg_auth_mechs *m)
{
	const struct span all[] = { m->service, m->host, m->realm };
	for (size_t i = 0; i < NELEMS(all); i++)
		if (all[i].n > 1024 || span_chr(all[i], '\0') != SIZE_MAX)
			return false;
	return m->service.n > 0;
}

enum rc
msg_auth_mechs_get(struct span payload, struct msg_auth_mechs *out)
{
	struct cur rd = cur_of(payload);
	get_auth_mechs(&rd, out);
	return cur_done(&rd) && auth_mechs_fine(out) ? RC_OK : RC_PERM;
}

void
msg_auth_offer_put(struct buf *b, const struct msg_auth_offer *m)
{
	buf_put_u8(b, (uint8_t)m->rc);
	buf_put_block(b, m->text);
}

enum rc
msg_auth_offer_get(struct span payload, struct msg_auth_offer *out)
{
	struct cur rd = cur_of(payload);
	uint8_t rc = cur_u8(&rd);
	out->rc = (enum rc)rc;
	out->text = cur_block(&rd);
	return cur_done(&rd) && rc <= RC_PERM ? RC_OK : RC_PERM;
}

void
msg_auth_begin_put(struct buf *b, const struct msg_auth_begin *m)
{
	buf_put_u64(b, m->context);
	msg_auth_mechs_put(b, &m->of);
	buf_put_block(b, m->mech);
	buf_put_u8(b, m->has_initial);
	buf_put_block(b, m->initial);
}

enum rc
msg_auth_begin_get(struct span payload, struct msg_auth_begin *out)
{
	struct cur rd = cur_of(payload);
	out->context = cur_u64(&rd);
	get_auth_mechs(&rd, &out->of);
	out->mech = cur_block(&rd);
	uint8_t has_initial = cur_u8(&rd);
	out->has_initial = has_initial == 1;
	out->initial = cur_block(&rd);
	bool fine = cur_done(&rd) && auth_mechs_fine(&out->of) && has_initial <= 1 && out->initial.n <= AUTH_RESPONSE_MAX && out->mech.n > 0 &&
	    out->mech.n <= 20 && span_chr(out->mech, '\0') == SIZE_MAX;
	return fine ? RC_OK : RC_PERM;
}

void
msg_auth_step_put(struct buf *b, const struct msg_auth_step *m)
{
	buf_put_u64(b, m->context);
	buf_put_block(b, m->response);
}

enum rc
msg_auth_step_get(struct span payload, struct msg_auth_step *out)
{
	struct cur rd = cur_of(payload);
	out->context = cur_u64(&rd);
	out->response = cur_block(&rd);
	return cur_done(&rd) && out->response.n <= AUTH_RESPONSE_MAX ? RC_OK : RC_PERM;
}

void
msg_auth_said_put(struct buf *b, const struct msg_auth_said *m)
{
	buf_put_u8(b, (uint8_t)m->outcome);
	buf_put_block(b, m->text);
	buf_put_block(b, m->user);
}

enum rc
msg_auth_said_get(struct span payload, struct msg_auth_said *out)
{
	struct cur rd = cur_of(payload);
	uint8_t outcome = cur_u8(&rd);
	out->outcome = (enum auth_outcome)outcome;
	out->text = cur_block(&rd);
	out->user = cur_block(&rd);
	return cur_done(&rd) && outcome >= AUTH_GOES_ON && outcome <= AUTH_NOT_NOW && out->text.n <= AUTH_RESPONSE_MAX && out->user.n <= 255 ? RC_OK : RC_PERM;
}
