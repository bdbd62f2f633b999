/* SPDX-License-Identifier: BSD-2-Clause */
/* The score of one address: all domains asked at once, what they say added up. */
#include "base/clock.h"
#include "base/mem.h"
#include "rbl/row.h"
#include "rbl/site.h"

#include <arpa/inet.h>
#include <limits.h>

enum { QUERY_MAX = 400 };

struct rbl_asked {
	struct rbl_ask ask;
	struct rbl_score *score;
	unsigned domain;
	bool is_done;
};

/* ---- what a list says ---- */

static void
query_of(const struct rbl_asked *k, struct buf *b)
{
	rbl_addr_query(k->score->sites->domains[k->domain].name, &k->score->addr, b);
}

static void
could_not_say(const struct rbl_asked *k, const char *why)
{
	struct buf query;
	if (rbl_settings_now()->is_quiet)
		return;
	buf_init(&query, QUERY_MAX);
	query_of(k, &query);
	LOG(dnsblog_error, k->score->log, F_SPAN(name, buf_span(&query)), F_STR(reason, why));
	buf_fini(&query);
}

static void
say_listed(const struct rbl_asked *k, struct in_addr at)
{
	char client[IPADDR_TEXT], text[INET_ADDRSTRLEN];
	struct span name = k->score->sites->domains[k->domain].name;
	inet_ntop(AF_INET, &at, text, sizeof text);
	char *listed = k->score->listed;
	size_t used = strlen(listed), room = sizeof k->score->listed - used;
	if (name.n + strlen(text) + 7 < room)
		snprintf(listed + used, room, "%s%.*s as %s", used > 0 ? ", " : "", (int)name.n, (const char *)name.p, text);
	if (rbl_settings_now()->is_quiet)
		return;
	ipaddr_text(&k->score->addr, client);
	LOG(dnsblog_listed, k->score->log, F_STR(client, client), F_SPAN(name, name), F_STR(value, text));
}

static void
add(struct rbl_score *sc, const struct rbl_site *site)
{
	int64_t sum = (int64_t)sc->score + site->weight;
	sc->score = sum > INT_MAX ? INT_MAX : sum < INT_MIN ? INT_MIN : (int)sum;
	if (sc->shown != NULL && sc->shown_weight >= site->weight)
		return;
	sc->shown = sc->sites->domains[site->domain].shown;
	sc->shown_weight = site->weight;
}

/* Each item of the domain adds its weight once, however many of the addresses fit. */
static void
count_listed(struct rbl_asked *k)
{
	struct rbl_score *sc = k->score;
	const struct dns_answer *a = k->ask.answer;
	const struct rbl_sites *s = sc->sites;
	enum rbl_meaning worst = RBL_NOT_LISTED;
	struct in_addr odd = { 0 };
	for (unsigned i = 0; i < a->n; i++) {
		struct in_addr at = a->rr[i].addr.a;
		bool fits = ntohl(at.s_addr) >> 24 == 127 && !rbl_is_refusal(at);
		for (unsigned n = 0; n < s->nsites && !fits; n++)
			fits = s->sites[n].domain == k->domain && rbl_list_matches(&s->sites[n].list, at);
		if (fits)
			say_listed(k, at);
	}
	for (unsigned n = 0; n < s->nsites; n++) {
		if (s->sites[n].domain != k->domain)
			continue;
		enum rbl_meaning says = rbl_list_judge(&s->sites[n].list, a, &odd);
		if (says == RBL_LISTED)
			add(sc, &s->sites[n]);
		if (worst != RBL_LISTED && says != RBL_NOT_LISTED)
			worst = says;
	}
	if (worst == RBL_REFUSES) {
		sc->failed++;
		could_not_say(k, "the list refuses to answer (127.255.255.0/24)");
	} else if (worst == RBL_FOREIGN) {
		struct buf query;
		buf_init(&query, QUERY_MAX);
		query_of(k, &query);
		rbl_note_foreign(RBL_ADDRESSES, s->domains[k->domain].name, buf_span(&query), odd);
		buf_fini(&query);
	}
}

/* A limit of our own: nobody knows what it would have said. */
static void
count_not_asked(struct rbl_asked *k)
{
	struct rbl_score *sc = k->score;
	int64_t most = sc->not_asked_weight;
	for (unsigned i = 0; i < sc->sites->nsites; i++)
		if (sc->sites->sites[i].domain == k->domain && sc->sites->sites[i].weight > 0)
			most += sc->sites->sites[i].weight;
	sc->not_asked++;
	sc->not_asked_weight = most < INT_MAX ? (int)most : INT_MAX;
}

static void
count_answer(struct rbl_asked *k)
{
	struct rbl_score *sc = k->score;
	k->is_done = true;
	switch (k->ask.said) {
	case RBL_SAID_YES:
		count_listed(k);
		break;
	case RBL_SAID_NO:
		break;
	case RBL_SAID_BUSY:
		count_not_asked(k);
		sc->failed++;
		could_not_say(k, "too many questions under way");
		return;
	case RBL_SAID_ERROR:
	case RBL_SAID_TIMEOUT:
	case RBL_SAID_NOTHING:
	case RBL_SAIDS:
		sc->failed++;
		could_not_say(k, k->ask.answer->why != NULL ? k->ask.answer->why : "no answer");
		return;
	case RBL_SAID_PAUSED: /* said when that began */
	case RBL_SAID_OUT:
		sc->is_partial = true;
		return;
	}
	if (k->ask.answer->ttl < sc->ttl)
		sc->ttl = k->ask.answer->ttl;
}

/* ---- the whole ---- */

static void
set_ttl(struct rbl_score *sc)
{
	uint64_t usec = sc->ttl == UINT32_MAX ? sc->sites->max_ttl : sc->ttl * USEC_PER_SEC;
	if (sc->pending > 0 || sc->failed > 0 || sc->is_partial)
		usec = 0; /* what is missing may be the list that knows him */
	if (usec > sc->sites->max_ttl)
		usec = sc->sites->max_ttl;
	sc->ttl_usec = usec < sc->sites->min_ttl ? sc->sites->min_ttl : usec;
}

static void
stop(struct rbl_score *sc)
{
	timer_clear(&sc->timer);
	for (unsigned i = 0; sc->asked != NULL && i < sc->sites->ndomains; i++) {
		if (rbl_ask_is_held_back(&sc->asked[i].ask))
			count_not_asked(&sc->asked[i]);
		rbl_ask_fini(&sc->asked[i].ask);
	}
}

static void
finish(struct rbl_score *sc)
{
	timer_clear(&sc->timer);
	op_finish(&sc->op, sc->failed > 0 ? RC_TEMP : RC_OK);
}

static void
on_answer(struct op *op)
{
	struct rbl_asked *k = container_of(op, struct rbl_asked, ask.op);
	struct rbl_score *sc = k->score;
	sc->pending--;
	count_answer(k);
	set_ttl(sc);
	if (sc->pending == 0)
		finish(sc);
}

static void
on_timeout(struct timer *t)
{
	struct rbl_score *sc = container_of(t, struct rbl_score, timer);
	for (unsigned i = 0; i < sc->sites->ndomains; i++)
		if (!sc->asked[i].is_done && !rbl_settings_now()->is_quiet)
			log_warn(sc->log, "dnsblog reply timeout %llus for %.*s", (unsigned long long)(sc->sites->timeout / USEC_PER_SEC),
			    (int)sc->sites->domains[i].name.n, (const char *)sc->sites->domains[i].name.p);
	sc->failed += sc->pending;
	sc->pending = 0;
	set_ttl(sc);
	stop(sc);
	finish(sc);
}

static void
detach(struct op *op)
{
	stop(container_of(op, struct rbl_score, op));
}

static const struct op_provider provider = { "dnsbl score", detach };

void
rbl_score_init(struct rbl_score *sc, struct op_owner *owner, op_fn *done)
{
	*sc = (struct rbl_score){ .ttl = UINT32_MAX };
	op_init(&sc->op, owner, done);
	op_owner_init(&sc->waits);
}

void
rbl_score_start(struct rbl_score *sc, const struct rbl_sites *sites, const struct ipaddr *addr, const struct log_ctx *log)
{
	struct buf query;
	BUG_ON(sc->asked != NULL);
	sc->sites = sites;
	sc->log = log;
	sc->addr = ipaddr_unmap(*addr);
	sc->score = 0;
	sc->shown = NULL;
	sc->pending = sc->failed = sc->not_asked = 0;
	sc->not_asked_weight = 0;
	sc->ttl = UINT32_MAX;
	sc->is_partial = false;
	sc->asked = mem_reallocarray(NULL, sites->ndomains, sizeof *sc->asked);
	op_pend(&sc->op, &provider);
	buf_init(&query, QUERY_MAX);
	for (unsigned i = 0; i < sites->ndomains; i++) {
		struct rbl_asked *k = &sc->asked[i];
		k->score = sc;
		k->domain = i;
		k->is_done = false;
		rbl_ask_init(&k->ask, &sc->waits, on_answer);
		buf_reset(&query);
		query_of(k, &query);
		if (rbl_ask_now(&k->ask, RBL_ADDRESSES, sites->domains[i].name, buf_span(&query)))
			count_answer(k);
		else
			sc->pending++;
	}
	buf_fini(&query);
	set_ttl(sc);
	timer_init(&sc->timer, on_timeout);
	if (sc->pending == 0)
		finish(sc);
	else
		timer_set(&sc->timer, sites->timeout);
}

void
rbl_score_fini(struct rbl_score *sc)
{
	op_cancel(&sc->op);
	if (sc->asked == NULL)
		return;
	stop(sc);
	mem_free(&sc->asked);
}
