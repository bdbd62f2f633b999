/* SPDX-License-Identifier: BSD-2-Clause */
#include "policy/ask_dns.h"

#include "base/clock.h"
#include "base/mem.h"
#include "dns/cache.h"

struct question {
	struct policy_need need;
	struct policy_run *run;
	struct dns_query query;
	enum dns_type type;
	bool is_done;
	struct policy_said said;
	uint64_t began;
	bool is_reason;              /* of a list: its domain is the end of the name */
	enum rbl_kind list_kind;
	size_t domain_len;
	size_t name_len;
	unsigned char name[];
};

static void
question_fini(struct policy_need *n)
{
	struct question *q = container_of(n, struct question, need);
	dns_query_fini(&q->query);
	mem_free(&q);
}

static const struct policy_need_kind kind = { "dns", question_fini };

/* ---- explain ---- */

static void
put_record(struct buf *b, enum dns_type type, const struct dns_rr *rr)
{
	struct ipaddr a = { .family = type == DNS_A ? IPADDR_V4 : IPADDR_V6 };
	char text[IPADDR_TEXT];
	switch (type) {
	case DNS_A:
	case DNS_AAAA:
		memcpy(a.b, &rr->addr, type == DNS_A ? 4 : 16);
		ipaddr_text(&a, text);
		buf_puts(b, text);
		return;
	case DNS_MX:
		buf_put_dec(b, rr->pref);
		buf_putc(b, ' ');
		break;
	case DNS_NS:
	case DNS_PTR:
	case DNS_TXT:
	case DNS_SRV:
	case DNS_TLSA:
		break;
	}
	buf_put_safe(b, rr->data.n > 0 ? rr->data : SPAN("."), 200, true);
}

void
policy_tell_dns(struct policy_run *r, enum dns_type type, struct span name, enum rc rc, const struct dns_answer *a, uint64_t usec)
{
	struct policy_trace *t = r->trace;
	struct buf question, answer;
	if (t == NULL || t->asked == NULL)
		return;
	buf_init(&question, 600);
	buf_init(&answer, 1000);
	buf_put_safe(&question, name, 255, true);
	buf_putc(&question, ' ');
	buf_puts(&question, dns_type_name(type));
	for (unsigned i = 0; i < a->n && !answer.over; i++) {
		if (i > 0)
			buf_puts(&answer, ", ");
		put_record(&answer, type, &a->rr[i]);
	}
	if (rc != RC_OK && a->why != NULL)
		buf_puts(&answer, a->why);
	t->asked(t, "dns", buf_span(&question), rc, buf_span(&answer), usec);
	buf_fini(&question);
	buf_fini(&answer);
}

static void
tell(const struct question *q)
{
	policy_tell_dns(q->run, q->type, span_of(q->name, q->name_len), q->said.rc, q->said.answer, clock_mono() - q->began);
}

/* ---- asking ---- */

static struct span
list_domain(const struct question *q)
{
	return span_of(q->name + q->name_len - q->domain_len, q->domain_len);
}

static void
on_answer(struct op *op)
{
	struct question *q = container_of(op, struct question, query.op);
	q->is_done = true;
	q->said = (struct policy_said){ op->rc, q->query.answer };
	tell(q);
	if (q->is_reason)
		rbl_reason_heard(q->list_kind, list_domain(q), rbl_said_of(op->rc, q->query.answer), clock_mono() - q->began);
	policy_need_done(q->run);
}

static struct question *
find(struct policy_run *r, enum dns_type type, struct span name, unsigned *count)
{
	list_each(l, &r->needs) {
		struct policy_need *n = list_entry(l, struct policy_need, link);
		struct question *q = container_of(n, struct question, need);
		if (n->kind != &kind)
			continue;
		++*count;
		if (q->type == type && span_caseeq(span_of(q->name, q->name_len), name))
			return q;
	}
	return NULL;
}

/* false: it is not worth a question now. */
static bool
leaves(struct question *q)
{
	uint64_t timeout = q->run->policy->p->p_dns_timeout;
	if (q->is_reason && !rbl_reason_may_ask(q->list_kind, list_domain(q), &timeout))
		return false;
	q->began = clock_mono();
	dns_ask(&q->query, q->type, span_of(q->name, q->name_len), timeout);
	return true;
}

static const struct policy_said *
start(struct question *q)
{
	static const struct dns_answer silent = { .why = "not asked: the list gives no reasons" };
	q->is_done = dns_known(&q->query, q->type, span_of(q->name, q->name_len), &q->said.rc);
	if (!q->is_done && leaves(q))
		return NULL;
	q->said.answer = q->query.answer;
	if (!q->is_done)
		q->said = (struct policy_said){ RC_TEMP, &silent };
	q->is_done = true;
	tell(q);
	return &q->said;
}

/* domain: of the list whose reason is asked for; empty: it is none. */
static const struct policy_said *
ask(struct policy_run *r, enum dns_type type, struct span name, enum rbl_kind list_kind, struct span domain)
{
	static const struct dns_answer none = { .why = "Too many questions" };
	static const struct policy_said enough = { RC_TEMP, &none };
	unsigned count = 0;
	struct question *q = find(r, type, name, &count);
	if (q != NULL && !q->is_done && q->query.op.state == OP_IDLE) /* a rule did not need it any more; another one does */
		return start(q);
	if (q != NULL)
		return q->is_done ? &q->said : NULL;
	if (count >= POLICY_DNS_MAX) {
		r->asked_too_much = true;
		return &enough;
	}
	q = mem_zalloc(sizeof *q + name.n);
	q->run = r;
	q->type = type;
	q->is_reason = domain.n > 0;
	q->list_kind = list_kind;
	q->domain_len = domain.n;
	q->name_len = name.n;
	if (name.n > 0)
		memcpy(q->name, name.p, name.n);
	dns_query_init(&q->query, &r->waits, on_answer);
	policy_need_add(r, &q->need, &kind);
	q->began = r->trace != NULL ? clock_mono() : 0;
	return start(q);
}

const struct policy_said *
policy_ask_dns(struct policy_run *r, enum dns_type type, struct span name)
{
	return ask(r, type, name, RBL_ADDRESSES, SPAN_EMPTY);
}

const struct policy_said *
policy_ask_reason(struct policy_run *r, enum rbl_kind list_kind, struct span domain, struct span query)
{
	return ask(r, DNS_TXT, query, list_kind, domain.n <= query.n ? domain : SPAN_EMPTY);
}

/* ---- as mail has it ---- */

bool
policy_is_host(struct span name)
{
	struct ipaddr ip;
	if (name.n > 2 && name.p[0] == '*' && name.p[1] == '.')
		name = span_from(name, 2);
	return dns_is_hostname(name) || ipaddr_parse(name, &ip) == RC_OK;
}

enum mail_dns
policy_worse(enum mail_dns a, enum mail_dns b)
{
	return a > b ? a : b;
}

/* RFC 7505: one MX record with an empty name is enough, as in Postfix. */
static enum mail_dns
look(enum dns_type type, const struct dns_answer *a)
{
	enum mail_dns found = MAIL_DNS_MALFORMED;
	if (type != DNS_MX && type != DNS_NS)
		return MAIL_DNS_FOUND;
	for (unsigned i = 0; i < a->n; i++) {
		if (type == DNS_MX && a->rr[i].data.n == 0)
			return MAIL_DNS_NULL_MX;
		if (policy_is_host(a->rr[i].data))
			found = MAIL_DNS_FOUND;
	}
	return found;
}

enum mail_dns
policy_mail_dns(struct policy_run *r, enum dns_type type, struct span name, const struct dns_answer **answer_out)
{
	static const struct dns_answer no_name = { .nxdomain = true, .why = "Host not found" };
	const struct dns_answer *ignored;
	if (answer_out == NULL)
		answer_out = &ignored;
	if (!dns_is_hostname(name)) {
		*answer_out = &no_name;
		return MAIL_DNS_NONE;
	}
	const struct policy_said *s = policy_ask_dns(r, type, name);
	if (s == NULL)
		return MAIL_DNS_WAIT;
	*answer_out = s->answer;
	switch (s->rc) {
	case RC_OK:
		return look(type, s->answer);
	case RC_NONE:
		return MAIL_DNS_NONE;
	case RC_TEMP:
	case RC_PERM: /* a packet that is none says nothing */
		break;
	}
	return MAIL_DNS_LATER;
}

enum mail_dns
policy_host_addrs(struct policy_run *r, struct span host, policy_addr_fn *fn, void *arg, const char **why_out)
{
	static const enum dns_type types[2] = { DNS_A, DNS_AAAA };
	const bool asks[2] = { r->policy->asks_ipv4, r->policy->asks_ipv6 };
	enum mail_dns said[2] = { MAIL_DNS_NONE, MAIL_DNS_NONE };
	const struct dns_answer *answers[2] = { NULL, NULL };
	struct ipaddr a;
	*why_out = "Name or service not known";
	host = dns_key(host);
	if (ipaddr_parse(host, &a) == RC_OK) {
		(void)fn(arg, &a);
		return MAIL_DNS_FOUND;
	}
	for (int k = 0; k < 2; k++)
		if (asks[k])
			said[k] = policy_mail_dns(r, types[k], host, &answers[k]);
	if (said[0] == MAIL_DNS_WAIT || said[1] == MAIL_DNS_WAIT)
		return MAIL_DNS_WAIT;
	for (int k = 0; k < 2; k++) {
		for (unsigned i = 0; said[k] == MAIL_DNS_FOUND && i < answers[k]->n; i++) {
			a = (struct ipaddr){ .family = k == 0 ? IPADDR_V4 : IPADDR_V6 };
			memcpy(a.b, &answers[k]->rr[i].addr, k == 0 ? 4 : 16);
			if (!fn(arg, &a))
				return MAIL_DNS_FOUND;
		}
	}
	if (said[0] == MAIL_DNS_FOUND || said[1] == MAIL_DNS_FOUND)
		return MAIL_DNS_FOUND;
	for (int k = 0; k < 2; k++)
		if (answers[k] != NULL)
			*why_out = dns_host_error(said[k] == MAIL_DNS_NONE ? RC_NONE : RC_TEMP, answers[k]);
	enum mail_dns worse = policy_worse(said[0], said[1]);
	if (worse == MAIL_DNS_LATER)
		*why_out = dns_host_error(RC_TEMP, NULL);
	return worse;
}
