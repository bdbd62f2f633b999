/* SPDX-License-Identifier: BSD-2-Clause */
/* The lists of this process: rows, what is heard of them, and what that makes of them. */
#include "rbl/health.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "rbl/list.h"
#include "rbl/row.h"

#include <arpa/inet.h>
#include <time.h>

static const uint64_t FOREIGN_AGAIN = 15 * 60 * USEC_PER_SEC;
static const struct rbl_settings none = { .timeout = 5 * USEC_PER_SEC, .pause = 10 * USEC_PER_SEC, .pause_limit = 60 * USEC_PER_SEC, .pause_after = 3,
	.exceptions = "" };

static struct {
	bool ready;                  /* rbl_health_begin() was called */
	struct rbl_settings settings;
	char *exceptions;
	struct htab rows;
	struct list all;
	size_t count;
	struct rbl_row *others;      /* without health */
	unsigned unproven;
	void (*on_probed)(void);
} me;

const char *
rbl_kind_name(enum rbl_kind kind)
{
	return kind == RBL_NAMES ? "names" : "addresses";
}

const char *
rbl_state_name(enum rbl_state state)
{
	return state == RBL_PAUSED ? "paused" : state == RBL_OUT ? "out of use" : "usable";
}

struct rbl_settings
rbl_settings_of(const struct params *p)
{
	return (struct rbl_settings){
		.probe_interval = p->p_dnsbl_probe_interval, .timeout = p->p_dnsbl_timeout, .pause = p->p_dnsbl_pause_time,
		.pause_limit = p->p_dnsbl_pause_time_limit > p->p_dnsbl_pause_time ? p->p_dnsbl_pause_time_limit : p->p_dnsbl_pause_time,
		.pause_after = (unsigned)p->p_dnsbl_pause_after, .exceptions = p->p_dnsbl_probe_exceptions,
	};
}

const struct rbl_settings *
rbl_settings_now(void)
{
	return me.ready ? &me.settings : &none;
}

/* ---- rows ---- */

static uint64_t
row_hash(enum rbl_kind kind, struct span domain)
{
	return span_casehash(domain) + kind;
}

static struct span
without_dot(struct span domain)
{
	return domain.n > 0 && domain.p[domain.n - 1] == '.' ? span_head(domain, domain.n - 1) : domain;
}

static struct rbl_row *
row_new(enum rbl_kind kind, struct span domain)
{
	struct rbl_row *r = mem_zalloc(sizeof *r + domain.n + 1);
	r->kind = kind;
	r->domain_len = domain.n;
	if (domain.n > 0)
		memcpy(r->domain, domain.p, domain.n);
	list_init(&r->link);
	list_init(&r->flights);
	op_owner_init(&r->probe_ops);
	r->since = clock_wall();
	return r;
}

static struct rbl_row *
row_find(enum rbl_kind kind, struct span domain)
{
	for (struct hnode *n = htab_first(&me.rows, row_hash(kind, domain)); n != NULL; n = htab_next(n)) {
		struct rbl_row *r = container_of(n, struct rbl_row, by_key);
		if (r->kind == kind && span_caseeq(row_domain(r), domain))
			return r;
	}
	return NULL;
}

static struct rbl_row *
others(void)
{
	if (me.others == NULL)
		me.others = row_new(RBL_ADDRESSES, SPAN_EMPTY);
	return me.others;
}

static bool
is_excepted(struct span domain)
{
	struct span rest = span_str(me.settings.exceptions), word;
	while (span_word(&rest, ", \t\r\n", &word))
		if (span_caseeq(without_dot(word), domain))
			return true;
	return false;
}

static void
begin_probing(struct rbl_row *r)
{
	if (r->is_excepted || me.settings.probe_interval == 0) {
		rbl_row_proven(r);
		return;
	}
	rbl_probe_start(r, PROBE_ENTRIES, rbl_row_timeout(r), loop_now());
}

static struct rbl_row *
row_add(enum rbl_kind kind, struct span domain)
{
	struct rbl_row *r = row_new(kind, domain);
	list_append(&me.all, &r->link);
	htab_insert(&me.rows, &r->by_key, row_hash(kind, domain));
	me.count++;
	me.unproven++;
	r->in_use = true;
	r->is_excepted = is_excepted(domain);
	r->pause = me.settings.pause;
	return r;
}

static void
row_free(struct rbl_row *r)
{
	rbl_probe_stop(r);
	rbl_row_proven(r);
	if (r->state != RBL_USABLE)
		metric_add(M_rbl_unusable, -1);
	htab_remove(&me.rows, &r->by_key);
	list_remove(&r->link);
	me.count--;
	mem_free(&r);
}

struct rbl_row *
rbl_row_get(enum rbl_kind kind, struct span domain)
{
	domain = without_dot(domain);
	if (!me.ready)
		return others();
	struct rbl_row *r = row_find(kind, domain);
	if (r != NULL)
		return r;
	if (me.count >= ROWS_MAX)
		return others();
	r = row_add(kind, domain); /* the result of a table names it */
	begin_probing(r);
	return r;
}

bool
rbl_row_has_health(const struct rbl_row *r)
{
	return r != me.others;
}

uint64_t
rbl_row_timeout(const struct rbl_row *r)
{
	uint64_t timeout = rbl_settings_now()->timeout;
	return r->on_trial ? timeout / 4 : timeout;
}

bool
rbl_row_is_unproven(const struct rbl_row *r)
{
	return rbl_row_has_health(r) && !r->is_probed;
}

void
rbl_row_proven(struct rbl_row *r)
{
	if (r->is_probed)
		return;
	r->is_probed = true;
	rbl_flights_release(r);
	if (--me.unproven == 0 && me.on_probed != NULL)
		me.on_probed();
}

/* ---- which lists there are ---- */

void
rbl_health_begin(const struct rbl_settings *s)
{
	if (!me.ready)
		list_init(&me.all);
	me.ready = true;
	mem_free(&me.exceptions);
	me.exceptions = mem_strdup(s->exceptions);
	me.settings = *s;
	me.settings.exceptions = me.exceptions;
	list_each(l, &me.all)
		list_entry(l, struct rbl_row, link)->in_use = false;
}

void
rbl_health_use(enum rbl_kind kind, struct span domain)
{
	domain = without_dot(domain);
	struct rbl_row *r = row_find(kind, domain);
	if (r != NULL)
		r->in_use = true;
	else if (me.count < ROWS_MAX)
		(void)row_add(kind, domain);
}

/* A list that is only now excepted from probes is as good as it was before it failed one. */
static void
reconsider(struct rbl_row *r)
{
	bool was = r->is_excepted || r->probing == PROBE_NONE;
	r->is_excepted = is_excepted(row_domain(r));
	if (r->is_excepted && r->state == RBL_OUT)
		rbl_row_set(r, RBL_USABLE, "");
	if (!r->is_probed && r->probing == PROBE_NONE)
		begin_probing(r);
	else if (was)
		rbl_probe_later(r);
}

void
rbl_health_end(void)
{
	list_each(l, &me.all) {
		struct rbl_row *r = list_entry(l, struct rbl_row, link);
		if (r->in_use)
			reconsider(r);
		else if (list_empty(&r->flights))
			row_free(r);
		else
			rbl_probe_stop(r), rbl_row_proven(r); /* the next reload finds it idle */
	}
}

void
rbl_health_close(void)
{
	if (!me.ready)
		return;
	list_each(l, &me.all) {
		struct rbl_row *r = list_entry(l, struct rbl_row, link);
		rbl_flights_end(r, RBL_SAID_PAUSED);
		row_free(r);
	}
	if (me.others != NULL)
		rbl_flights_end(me.others, RBL_SAID_PAUSED);
	htab_fini(&me.rows);
	mem_free(&me.exceptions);
	mem_free(&me.others);
	me.ready = false;
	me.on_probed = NULL;
}

unsigned
rbl_health_unprobed(void)
{
	return me.unproven;
}

void
rbl_health_on_probed(void (*fn)(void))
{
	me.on_probed = fn;
}

/* ---- states ---- */

static void
say(const struct rbl_row *r, enum rbl_state was)
{
	char text[2 * WHY_MAX + 300];
	if (me.settings.is_quiet)
		return;
	switch (r->state) {
	case RBL_USABLE:
		snprintf(text, sizeof text, "in use again, after %llu s", (unsigned long long)((clock_wall() - r->since) / USEC_PER_SEC));
		LOG(rbl_back, NULL, F_SPAN(name, row_domain(r)), F_STR(value, rbl_kind_name(r->kind)), F_STR(text, text));
		return;
	case RBL_PAUSED:
		snprintf(text, sizeof text, "paused, it does not answer: %s; it is tried again by itself and nothing waits for it meanwhile", r->why);
		break;
	case RBL_OUT:
		snprintf(text, sizeof text, "out of use until it passes its test: %s; as long as this lasts nobody is listed there%s", r->why,
		    r->is_excepted ? "" : " (a list without the entries of RFC 5782: dnsbl_probe_exceptions)");
		break;
	}
	if (r->state != was)
		LOG(rbl_alarm, NULL, F_SPAN(name, row_domain(r)), F_STR(value, rbl_kind_name(r->kind)), F_STR(text, text));
}

void
rbl_row_set(struct rbl_row *r, enum rbl_state state, const char *why)
{
	enum rbl_state was = r->state;
	uint64_t now = loop_now();
	snprintf(r->why, sizeof r->why, "%s", why);
	if (state == was)
		return;
	r->state = state;
	if (was == RBL_USABLE || state == RBL_USABLE)
		metric_add(M_rbl_unusable, state == RBL_USABLE ? -1 : 1);
	if (was == RBL_USABLE && (r->back == 0 || now - r->back > 4 * me.settings.pause_limit))
		r->pause = me.settings.pause; /* it was well for a while: begin anew */
	if (state == RBL_USABLE) {
		r->back = now;
		r->silent = r->refused = r->failed = 0;
		if (was == RBL_OUT)
			dns_cache_clear(); /* what it said while it was out of its mind */
	}
	say(r, was);
	r->since = clock_wall();
	if (state != RBL_USABLE)
		rbl_flights_end(r, state == RBL_OUT ? RBL_SAID_OUT : RBL_SAID_PAUSED);
	if (r->probing == PROBE_NONE)
		rbl_probe_later(r);
}

void
rbl_row_look(struct rbl_row *r)
{
	if (r->state != RBL_PAUSED || !r->all_silent || dns_heard() <= r->silent_since)
		return;
	rbl_probe_stop(r);
	rbl_row_set(r, RBL_USABLE, "");
	r->on_trial = true;
	r->is_probed = false; /* what is listed there now waits for this */
	me.unproven++;
	begin_probing(r);
}

static void
sample(struct rbl_row *r, uint64_t usec)
{
	r->samples[r->sample_at] = usec < UINT32_MAX ? (uint32_t)usec : UINT32_MAX;
	r->sample_at = (r->sample_at + 1) % SAMPLES;
	if (r->nsamples < SAMPLES)
		r->nsamples++;
}

static bool
is_refusal(const struct dns_answer *a, struct in_addr *odd)
{
	const struct rbl_list any = { .has_filter = false };
	return rbl_list_judge(&any, a, odd) == RBL_REFUSES;
}

static void
is_silent(struct rbl_row *r, uint64_t usec)
{
	char why[WHY_MAX];
	uint64_t since = loop_now() - usec;
	if (++r->silent == 1 || since < r->silent_since)
		r->silent_since = since;
	if (r->silent < (r->on_trial ? 1 : me.settings.pause_after) || r->state != RBL_USABLE)
		return;
	r->on_trial = false;
	r->all_silent = dns_heard() <= r->silent_since;
	snprintf(why, sizeof why, "%u question%s in a row got no answer within %.1f s%s", r->silent, r->silent == 1 ? "" : "s", (double)usec / USEC_PER_SEC,
	    r->all_silent ? ", nor did any other question to the DNS" : "");
	rbl_row_set(r, RBL_PAUSED, why);
}

static void
is_refusing(struct rbl_row *r, struct in_addr odd)
{
	char why[WHY_MAX], text[INET_ADDRSTRLEN] = "";
	r->refusals++;
	metric_add(M_rbl_refusals, 1);
	if (++r->refused >= me.settings.pause_after && r->state == RBL_USABLE) {
		snprintf(why, sizeof why, "%u answers in a row were %s: the list refuses us, as for too many questions or the wrong resolver", r->refused,
		    inet_ntop(AF_INET, &odd, text, sizeof text));
		rbl_row_set(r, RBL_OUT, why);
	} else if (r->refused == 1 && r->state == RBL_USABLE && r->probing == PROBE_NONE && !r->is_excepted && me.settings.probe_interval > 0) {
		rbl_probe_start(r, PROBE_ENTRIES, me.settings.timeout, loop_now()); /* does it refuse everybody's question, or only this one? */
	}
}

void
rbl_row_heard(struct rbl_row *r, enum rbl_said said, const struct dns_answer *a, uint64_t usec)
{
	struct in_addr odd;
	if (!rbl_row_has_health(r))
		return;
	switch (said) {
	case RBL_SAID_YES:
	case RBL_SAID_NO:
		r->questions++;
		r->heard = loop_now();
		r->silent = r->failed = 0;
		r->on_trial = false;
		sample(r, usec);
		if (said == RBL_SAID_YES && is_refusal(a, &odd)) {
			is_refusing(r, odd);
			break;
		}
		r->refused = 0;
		if (said == RBL_SAID_YES) {
			r->listed++;
			metric_add(M_rbl_listed, 1);
		}
		break;
	case RBL_SAID_ERROR:
		r->questions++;
		r->errors++;
		r->failed++;
		metric_add(M_rbl_errors, 1);
		if (usec >= me.settings.timeout / 2) /* a resolver that has waited in vain itself */
			is_silent(r, usec);
		break;
	case RBL_SAID_TIMEOUT:
		r->questions++;
		r->timeouts++;
		metric_add(M_rbl_timeouts, 1);
		if (usec >= me.settings.timeout / 4) /* not one that others had given up before */
			is_silent(r, usec);
		break;
	case RBL_SAID_BUSY:
		metric_add(M_rbl_busy, 1);
		break;
	case RBL_SAID_NOTHING:
	case RBL_SAID_PAUSED:
	case RBL_SAID_OUT:
	case RBL_SAIDS:
		break;
	}
}

bool
rbl_reason_may_ask(enum rbl_kind kind, struct span domain, uint64_t *timeout_out)
{
	struct rbl_row *r = rbl_row_get(kind, domain);
	*timeout_out = rbl_settings_now()->timeout;
	if (!rbl_row_has_health(r) || r->reasons_silent < me.settings.pause_after)
		return true;
	if (loop_now() < r->reasons_until)
		return false;
	r->reasons_until = loop_now() + *timeout_out; /* one goes ahead */
	return true;
}

void
rbl_reason_heard(enum rbl_kind kind, struct span domain, enum rbl_said said, uint64_t usec)
{
	struct rbl_row *r = rbl_row_get(kind, domain);
	uint64_t timeout = rbl_settings_now()->timeout;
	if (!rbl_row_has_health(r) || said == RBL_SAID_BUSY)
		return;
	if (said == RBL_SAID_YES || said == RBL_SAID_NO || usec < (said == RBL_SAID_ERROR ? timeout / 2 : timeout / 4)) {
		r->reasons_silent = said == RBL_SAID_TIMEOUT ? r->reasons_silent : 0;
		return;
	}
	r->reasons_silent++;
	r->reasons_until = loop_now() + me.settings.pause_limit;
}

void
rbl_note_foreign(enum rbl_kind kind, struct span domain, struct span query, struct in_addr odd)
{
	struct rbl_row *r = rbl_row_get(kind, domain);
	char text[INET_ADDRSTRLEN] = "";
	if (!rbl_row_has_health(r) || me.settings.is_quiet || (r->foreign_told > 0 && loop_now() - r->foreign_told < FOREIGN_AGAIN))
		return;
	r->foreign_told = loop_now();
	inet_ntop(AF_INET, &odd, text, sizeof text);
	LOG(rbl_foreign, NULL, F_SPAN(name, row_domain(r)), F_SPAN(value, query), F_STR(text, text));
}

/* ---- reports ---- */

static int
by_size(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

static uint64_t
median(const struct rbl_row *r)
{
	uint32_t copy[SAMPLES];
	if (r->nsamples == 0)
		return 0;
	memcpy(copy, r->samples, r->nsamples * sizeof copy[0]);
	qsort(copy, r->nsamples, sizeof copy[0], by_size);
	return copy[r->nsamples / 2];
}

void
rbl_health_each(void (*fn)(void *arg, const struct rbl_report *r), void *arg)
{
	if (!me.ready)
		return;
	list_each(l, &me.all) {
		const struct rbl_row *r = list_entry(l, struct rbl_row, link);
		if (!r->in_use)
			continue;
		fn(arg, &(struct rbl_report){
		    .kind = r->kind, .domain = row_domain(r), .state = r->state, .is_excepted = r->is_excepted, .is_probed = r->is_probed,
		    .since = r->since, .why = r->why[0] != '\0' ? r->why : r->failed >= me.settings.pause_after ? "answers with errors" : "",
		    .questions = r->questions, .listed = r->listed, .errors = r->errors, .timeouts = r->timeouts, .refusals = r->refusals,
		    .skipped = r->skipped, .last_usec = r->nsamples > 0 ? r->samples[(r->sample_at + SAMPLES - 1) % SAMPLES] : 0,
		    .median_usec = median(r), .probed_usec = r->probed_usec });
	}
}

static void
put_stamp(struct buf *out, uint64_t wall)
{
	time_t t = (time_t)(wall / USEC_PER_SEC);
	struct tm tm;
	char text[40];
	if (gmtime_r(&t, &tm) != NULL && strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm) > 0)
		buf_puts(out, text);
}

struct report_out {
	struct buf *out;
	bool any;
};

static void
put_json(void *arg, const struct rbl_report *r)
{
	struct report_out *o = arg;
	buf_puts(o->out, o->any ? ",{\"domain\":" : "{\"domain\":");
	o->any = true;
	buf_put_json(o->out, r->domain, 255);
	buf_printf(o->out, ",\"kind\":\"%s\",\"state\":\"%s\",\"since\":\"", rbl_kind_name(r->kind), rbl_state_name(r->state));
	put_stamp(o->out, r->since);
	buf_puts(o->out, "\",\"why\":");
	buf_put_json(o->out, span_str(r->why), WHY_MAX);
	buf_printf(o->out, ",\"probed\":%s", r->is_excepted ? "\"excepted\"" : r->is_probed ? "true" : "false");
	buf_printf(o->out, ",\"questions\":%llu,\"listed\":%llu,\"errors\":%llu,\"timeouts\":%llu,\"refusals\":%llu,\"skipped\":%llu,\"last_usec\":%llu,"
	    "\"median_usec\":%llu}", (unsigned long long)r->questions, (unsigned long long)r->listed, (unsigned long long)r->errors,
	    (unsigned long long)r->timeouts, (unsigned long long)r->refusals, (unsigned long long)r->skipped, (unsigned long long)r->last_usec,
	    (unsigned long long)r->median_usec);
}

void
rbl_health_json(struct buf *out)
{
	struct report_out o = { out, false };
	buf_puts(out, "\"lists\":[");
	rbl_health_each(put_json, &o);
	buf_puts(out, "]");
}

static void
put_line(void *arg, const struct rbl_report *r)
{
	struct report_out *o = arg;
	if (r->state == RBL_USABLE && r->why[0] == '\0')
		return;
	buf_puts(o->out, "DNS list ");
	buf_put_safe(o->out, r->domain, 255, true);
	buf_printf(o->out, " (%s) %s since ", rbl_kind_name(r->kind), rbl_state_name(r->state));
	put_stamp(o->out, r->since);
	if (r->why[0] != '\0')
		buf_printf(o->out, ": %s", r->why);
	buf_puts(o->out, "\n");
}

void
rbl_health_text(struct buf *out)
{
	struct report_out o = { out, false };
	rbl_health_each(put_line, &o);
}
