/* SPDX-License-Identifier: BSD-2-Clause */
#include "queue/record.h"

#include "base/clock.h"
#include "base/log.h"
#include "msg/addr.h"
#include "queue/delays.h"

enum { SHOWN_MAX = 4096 }; /* octets of a quoted address */

struct ctx {
	struct log_ctx log;
	char id[SPOOL_ID_TEXT];
};

static const struct log_ctx *
ctx_of(struct ctx *c, const struct spool_id *id)
{
	c->log = (struct log_ctx){ .qid = span_of(c->id, spool_id_text(id, c->id)) };
	return &c->log;
}

void
record_active(const struct message *m, const struct envelope *env)
{
	struct ctx c;
	struct buf quoted;
	buf_init(&quoted, SHOWN_MAX);
	LOG(queue_active, ctx_of(&c, &m->spool.id), F_SPAN(from, addr_shown(env->sender, &quoted)), F_NUM(size, m->spool.length),
	    F_NUM(nrcpt, m->open));
	buf_fini(&quoted);
}

void
record_expired(const struct message *m, const struct envelope *env, bool forced)
{
	struct ctx c;
	struct buf quoted;
	buf_init(&quoted, SHOWN_MAX);
	struct span from = addr_shown(env->sender, &quoted);
	if (forced)
		LOG(queue_force_expired, ctx_of(&c, &m->spool.id), F_SPAN(from, from));
	else
		LOG(queue_expired, ctx_of(&c, &m->spool.id), F_SPAN(from, from));
	buf_fini(&quoted);
}

void
record_removed(const struct message *m, bool by_admin)
{
	struct ctx c;
	if (by_admin)
		LOG0(super_removed, ctx_of(&c, &m->spool.id));
	else
		LOG0(queue_removed, ctx_of(&c, &m->spool.id));
}

void
record_warning(const struct message *m, const char *text)
{
	struct ctx c;
	LOG(warning, ctx_of(&c, &m->spool.id), F_STR(text, text));
}

static void
put_delivery(const struct spool_id *id, uint64_t arrival, const struct env_rcpt *r, uint64_t active, unsigned digits, const char *service,
    struct span dsn, const char *status, struct span text)
{
	struct ctx c;
	const struct log_ctx *log = ctx_of(&c, id);
	c.log.service = service;
	uint64_t now = clock_wall();
	uint64_t before = active > arrival ? active - arrival : 0, waiting = now > active ? now - active : 0;
	struct buf delay, delays, to, orig;
	buf_init(&to, SHOWN_MAX);
	buf_init(&orig, SHOWN_MAX);
	buf_init(&delay, DELAYS_TEXT);
	buf_init(&delays, DELAYS_TEXT);
	delay_put(&delay, before + waiting, digits);
	delays_put(&delays, before, waiting, digits);
	struct log_field f[9] = {
		F_SPAN(to, addr_shown(r->addr, &to)), F_STR(relay, strcmp(service, "quarantine") == 0 ? service : "none"), F_SPAN(delay, buf_span(&delay)), F_SPAN(delays, buf_span(&delays)),
		F_SPAN(dsn, dsn), F_STR(status, status), F_SPAN(text, text), F_SPAN(orig_to, addr_shown(r->orig, &orig)),
	};
	log_event(EV_delivery, log, f, r->orig.n > 0 && !span_caseeq(r->orig, r->addr) ? 8 : 7);
	buf_fini(&delay);
	buf_fini(&delays);
	buf_fini(&to);
	buf_fini(&orig);
}

void
record_local(const struct message *m, const struct env_rcpt *r, uint64_t active, unsigned digits, const char *service, struct span dsn,
    const char *status, struct span text)
{
	put_delivery(&m->spool.id, m->arrival, r, active, digits, service, dsn, status, text);
}

void
record_passed(const struct message *m, const struct env_rcpt *r, const char *why)
{
	struct ctx c;
	struct buf to;
	buf_init(&to, SHOWN_MAX);
	LOG(quarantine_passed, ctx_of(&c, &m->spool.id), F_SPAN(to, addr_shown(r->addr, &to)), F_STR(reason, why));
	buf_fini(&to);
}

void
record_probe(const struct spool_id *id, uint64_t begun, const struct env_rcpt *r, unsigned digits, const char *service, struct span dsn,
    const char *status, struct span text)
{
	put_delivery(id, begun, r, begun, digits, service, dsn, status, text);
}

void
record_notice(const struct spool_id *original, enum record_notice what, const struct spool_id *report)
{
	struct ctx c;
	char id[SPOOL_ID_TEXT];
	struct log_field f = F_SPAN(newid, span_of(id, spool_id_text(report, id)));
	enum log_event_id ev = what == NOTICE_DELAYED ? EV_bounce_delay_sent
	    : what == NOTICE_SUCCEEDED                ? EV_bounce_success_sent
	    : what == NOTICE_POSTMASTER               ? EV_bounce_postmaster_sent
	                                              : EV_bounce_sent;
	log_event(ev, ctx_of(&c, original), &f, 1);
}

void
record_order(const struct message *m, enum record_order what)
{
	struct ctx c;
	const struct log_ctx *log = ctx_of(&c, &m->spool.id);
	switch (what) {
	case RECORD_HELD: LOG0(super_held, log); break;
	case RECORD_RELEASED: LOG0(super_released, log); break;
	case RECORD_REQUEUED: LOG0(super_requeued, log); break;
	case RECORD_EXPIRED: LOG0(super_expired, log); break;
	}
}
