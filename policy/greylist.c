/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * check_greylist: who was never seen with this sender and this recipient is asked to come again; who does is a mail server.
 * The queue process remembers (queue/greylist.h). What would be refused for good is refused for good: it acts as
 * defer_if_permit does.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "ipc/msgs.h"
#include "msg/date.h"
#include "policy/ask_queue.h"
#include "policy/engine.h"
#include "policy/greylist_key.h"

enum { ANSWER_USEC = 5 * 1000 * 1000, KEY_MAX = 1024, LINE_MAX_OCTETS = 900 };

/* The recipient in question is asked about once a run, however often the rule is there. */
struct need_greylist {
	struct policy_need need;
	struct policy_run *run;
	struct ipc_call call;
	struct msg_greylist_answer answer;
	bool is_done;
};

static void
need_fini(struct policy_need *n)
{
	struct need_greylist *x = container_of(n, struct need_greylist, need);
	ipc_call_fini(&x->call);
	mem_free(&x);
}

static const struct policy_need_kind kind = { "greylist", need_fini };

static void
on_answer(struct op *op)
{
	struct need_greylist *x = container_of(op, struct need_greylist, call.op);
	x->is_done = true;
	if (op->rc != RC_OK || msg_greylist_answer_get(buf_span(&x->call.reply), &x->answer) != RC_OK)
		x->answer = (struct msg_greylist_answer){ GREYLIST_UNAVAILABLE, 0 };
	policy_need_done(x->run);
}

static struct need_greylist *
find(struct policy_run *r)
{
	list_each(it, &r->needs) {
		struct policy_need *n = list_entry(it, struct policy_need, link);
		if (n->kind == &kind)
			return container_of(n, struct need_greylist, need);
	}
	return NULL;
}

static uint32_t
seconds(int64_t usec)
{
	int64_t s = usec / (int64_t)USEC_PER_SEC;
	return s > INT32_MAX ? INT32_MAX : (uint32_t)s;
}

struct triplet_text {
	struct buf client, sender, rcpt;
};

static void
triplet_init(struct triplet_text *t, const struct policy_run *r)
{
	const struct params *p = r->policy->p;
	const struct facts *f = r->facts;
	buf_init(&t->client, KEY_MAX);
	buf_init(&t->sender, KEY_MAX);
	buf_init(&t->rcpt, KEY_MAX);
	greylist_client(&t->client, f, (unsigned)p->p_greylist_ipv4_prefix_length, (unsigned)p->p_greylist_ipv6_prefix_length);
	greylist_sender(&t->sender, f->sender);
	for (size_t i = 0; i < f->rcpt.n; i++)
		buf_putc(&t->rcpt, f->rcpt.p[i] >= 'A' && f->rcpt.p[i] <= 'Z' ? f->rcpt.p[i] | 0x20 : f->rcpt.p[i]);
}

static void
triplet_fini(struct triplet_text *t)
{
	buf_fini(&t->client);
	buf_fini(&t->sender);
	buf_fini(&t->rcpt);
}

/* false: there is nobody to ask. */
static bool
ask(struct policy_run *r)
{
	const struct params *p = r->policy->p;
	const struct facts *f = r->facts;
	struct ipc_chan *queue = policy_queue();
	if (queue == NULL)
		return false;
	struct triplet_text t;
	triplet_init(&t, r);
	const struct msg_greylist m = {
		.client = buf_span(&t.client), .sender = buf_span(&t.sender), .rcpt = buf_span(&t.rcpt),
		.client_name = span_head(f->client_name, GREYLIST_TEXT_MAX), .client_addr = f->client_addr,
		.delay = seconds((int64_t)p->p_greylist_delay), .window = seconds((int64_t)p->p_greylist_retry_window),
		.expire = seconds((int64_t)p->p_greylist_expire), .allow_after = (uint32_t)p->p_greylist_allow_after,
	};
	struct need_greylist *x = mem_zalloc(sizeof *x);
	x->run = r;
	ipc_call_init(&x->call, &r->waits, on_answer);
	policy_need_add(r, &x->need, &kind);
	msg_greylist_put(ipc_call_begin(&x->call, queue, IPC_GREYLIST), &m);
	ipc_call_send(&x->call, ANSWER_USEC);
	triplet_fini(&t);
	return true;
}

/* explain shows what would be asked: what is remembered is the daemon's business. */
static void
show(struct policy_run *r)
{
	struct triplet_text t;
	struct buf b;
	triplet_init(&t, r);
	buf_init(&b, 4 * KEY_MAX);
	buf_put_safe(&b, buf_span(&t.client), KEY_MAX, true);
	buf_puts(&b, " <");
	buf_put_safe(&b, buf_span(&t.sender), KEY_MAX, true);
	buf_puts(&b, "> <");
	buf_put_safe(&b, buf_span(&t.rcpt), KEY_MAX, true);
	buf_putc(&b, '>');
	if (r->trace->asked != NULL)
		r->trace->asked(r->trace, "greylist", buf_span(&b), RC_NONE, SPAN("the running gateway is not asked: as one that was never seen"), 0);
	buf_fini(&b);
	triplet_fini(&t);
}

/* Text with %s or %t as a number and %d as a date. */
static void
put_text(struct buf *b, const char *text, uint32_t number)
{
	for (; *text != '\0'; text++) {
		if (*text != '%' || text[1] == '\0') {
			buf_putc(b, (unsigned char)*text);
			continue;
		}
		switch (*++text) {
		case 's':
		case 't': buf_put_dec(b, number); break;
		case 'd': date_write(b, clock_wall()); break;
		case '%': buf_putc(b, '%'); break;
		default:
			buf_putc(b, '%');
			buf_putc(b, (unsigned char)*text);
		}
	}
}

static enum pol
come_again(struct policy_run *r, const struct policy_rule *rule, uint32_t left)
{
	struct buf b;
	buf_init(&b, LINE_MAX_OCTETS);
	put_text(&b, r->policy->p->p_greylist_text, left);
	enum pol pol = policy_defer_if(r, rule, &r->if_permit, 450, SPAN("4.2.0"), policy_about_class(r, ABOUT_RECIPIENT), buf_span(&b));
	buf_fini(&b);
	return pol;
}

static enum pol
came_again(struct policy_run *r, uint32_t waited)
{
	const char *header = r->policy->p->p_greylist_header;
	if (header[0] == '\0' || r->facts->nrcpt > 0) /* once a message */
		return POL_DUNNO;
	struct buf b;
	buf_init(&b, LINE_MAX_OCTETS);
	put_text(&b, header, waited);
	policy_edit(r, EDIT_PREPEND, buf_span(&b));
	buf_fini(&b);
	return POL_DUNNO;
}

static enum pol
unavailable(struct policy_run *r, const struct policy_rule *rule)
{
	bool pass = strcmp(r->policy->p->p_greylist_unavailable, "defer") != 0;
	policy_note(r, NOTE_TROUBLE, pass ? SPAN("greylisting is not available: the recipient passes") : SPAN("greylisting is not available"));
	if (pass)
		return POL_DUNNO;
	return policy_defer_if(r, rule, &r->if_permit, 450, SPAN("4.3.0"), policy_about_class(r, ABOUT_RECIPIENT),
	    SPAN("Greylisting is not available, try again later"));
}

/* A list that cannot be asked about a client or recipient excuses it: mail flows. */
static bool
is_excused(struct policy_run *r)
{
	const struct policy *p = r->policy;
	const struct facts *f = r->facts;
	if (f->login.n > 0 || f->is_vrfy || matchlist_host(p->grey_clients, f->client_name, &f->client, NULL) != RC_NONE)
		return true;
	if (matchlist_empty(p->grey_rcpts))
		return false;
	size_t at = span_rchr(f->rcpt, '@');
	struct span user = span_head(f->rcpt, at == SIZE_MAX ? at : at + 1), domain = at != SIZE_MAX ? span_from(f->rcpt, at + 1) : SPAN_EMPTY;
	return matchlist_name(p->grey_rcpts, f->rcpt, NULL) != RC_NONE || matchlist_name(p->grey_rcpts, user, NULL) != RC_NONE ||
	    (domain.n > 0 && matchlist_name(p->grey_rcpts, domain, NULL) != RC_NONE);
}

enum pol
r_greylist(struct policy_run *r, const struct policy_rule *rule)
{
	struct need_greylist *x = find(r);
	if (x == NULL && r->policy->p->p_smtpd_reject_unlisted_recipient && !r->rcpt_checked) {
		/* who does not exist is refused first: nothing of that is worth remembering */
		enum pol pol = r_unlisted_recipient(r, &policy_implicit_rcpt);
		if (pol != POL_DUNNO)
			return pol;
	}
	if (x == NULL && is_excused(r))
		return map_asked() ? policy_await_maps(r) : POL_DUNNO;
	if (x == NULL && r->trace != NULL) {
		show(r);
		return come_again(r, rule, seconds((int64_t)r->policy->p->p_greylist_delay));
	}
	if (x == NULL && !ask(r))
		return unavailable(r, rule);
	if (x == NULL || !x->is_done)
		return POL_AGAIN;
	switch (x->answer.verdict) {
	case GREYLIST_PASS:
		break;
	case GREYLIST_DEFER:
		return come_again(r, rule, x->answer.seconds);
	case GREYLIST_PASS_NOW:
		return came_again(r, x->answer.seconds);
	case GREYLIST_UNAVAILABLE:
		return unavailable(r, rule);
	}
	return POL_DUNNO;
}
