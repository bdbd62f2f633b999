/* SPDX-License-Identifier: BSD-2-Clause */
#include "policy/dnsbl_check.h"

#include "base/mem.h"
#include "dns/peer.h"
#include "policy/dnsbl_out.h"
#include "policy/engine.h"
#include "policy/list_use.h"
#include "rbl/ask.h"

#include <arpa/inet.h>

enum { SERVICES_MAX = 64, SERVICE_NAMES_MAX = 500, ARENA_MAX = 256 << 20 };

/* A listener of master.cf. */
struct listener {
	const struct service *row;
	struct policy *policy;
	struct rbl_sites *sites;     /* where it has triage; else NULL */
	char name[100];
};

struct check {
	struct policy_trace trace;
	struct found found;
	struct arena arena;
	struct conf *conf;
	struct listener listeners[SERVICES_MAX];
	size_t nlisteners;
	struct listener *at;         /* whose places are being gathered */
	struct facts facts;
	bool has_addr;
	struct found_list *list;     /* whose questions are being told */
	struct op_owner owner;
	char sender[400];
	char client[IPADDR_TEXT];
};

static void *
take(struct check *k, size_t n)
{
	void *p = arena_zalloc(&k->arena, n);
	BUG_ON(p == NULL); /* a command, and far more than any configuration needs */
	return p;
}

static const char *
keep(struct check *k, const char *text)
{
	size_t n = strlen(text);
	char *p = take(k, n + 1);
	memcpy(p, text, n);
	return p;
}

static void
on_done(struct op *op)
{
	(void)op;
	loop_stop();
}

/* ---- which lists there are, and where ---- */

static struct found_list *
list_row(struct check *k, enum rbl_kind kind, struct span domain)
{
	struct found_list **last = &k->found.lists;
	for (; *last != NULL; last = &(*last)->next)
		if ((*last)->health.kind == kind && span_caseeq((*last)->health.domain, domain))
			return *last;
	*last = take(k, sizeof **last);
	(*last)->health = (struct rbl_report){ .kind = kind, .domain = domain };
	(*last)->why = "";
	k->found.count++;
	return *last;
}

/* A service more that has the same at the same place is one place. */
static struct found_use *
use_row(struct check *k, struct found_list *l, const char *parameter, const char *item)
{
	struct found_use **last = &l->uses;
	const char *file = NULL;
	int line = 0;
	if (!conf_position(k->conf, k->at->row, parameter, &file, &line))
		file = NULL;
	for (; *last != NULL; last = &(*last)->next) {
		struct found_use *u = *last;
		if (strcmp(u->parameter, parameter) != 0 || strcmp(u->item, item) != 0 || u->line != line || (u->file == NULL) != (file == NULL) ||
		    (file != NULL && strcmp(u->file, file) != 0))
			continue;
		if (strstr(u->service, k->at->name) == NULL && strlen(u->service) < SERVICE_NAMES_MAX) {
			char names[SERVICE_NAMES_MAX + 200];
			snprintf(names, sizeof names, "%s, %s", u->service, k->at->name);
			u->service = keep(k, names);
		}
		return u;
	}
	*last = take(k, sizeof **last);
	**last = (struct found_use){ .service = k->at->name, .parameter = parameter, .item = item, .file = file, .line = line };
	return *last;
}

static void
on_use(void *arg, const struct policy_list_use *u)
{
	struct check *k = arg;
	(void)use_row(k, list_row(k, u->kind, u->list->domain), u->parameter, u->restriction);
	rbl_health_use(u->kind, u->list->domain);
}

static void
on_site(void *arg, const char *item, const struct rbl_list *list, int weight, const char *shown)
{
	struct check *k = arg;
	(void)shown;
	struct found_use *u = use_row(k, list_row(k, RBL_ADDRESSES, list->domain), "postscreen_dnsbl_sites", item);
	u->is_site = true;
	u->weight = weight;
}

static bool
has_triage(const struct service *s)
{
	return strcmp(s->command, "postscreen") == 0 || s->params->p_smtpd_triage;
}

static enum rc
gather(struct check *k, struct err *e)
{
	enum rc rc = RC_OK;
	for (size_t i = 0; rc == RC_OK && i < conf_service_count(k->conf) && k->nlisteners < SERVICES_MAX; i++) {
		const struct service *s = conf_service(k->conf, i);
		bool is_smtpd = strcmp(s->command, "smtpd") == 0;
		if (s->disabled || (!is_smtpd && strcmp(s->command, "postscreen") != 0))
			continue;
		struct listener *l = k->at = &k->listeners[k->nlisteners++];
		l->row = s;
		snprintf(l->name, sizeof l->name, "%s %s", s->name, s->type);
		if (is_smtpd)
			rc = policy_compile(k->conf, s, &l->policy, e);
		if (rc == RC_OK && has_triage(s))
			rc = rbl_sites_open(k->conf, s, &l->sites, e);
	}
	for (size_t i = 0; rc == RC_OK && i < k->nlisteners; i++) {
		k->at = &k->listeners[i];
		if (k->at->policy != NULL)
			policy_each_list(k->at->policy, on_use, k);
		rbl_sites_each(k->at->sites, on_site, k);
		rbl_sites_use(k->at->sites);
	}
	return rc;
}

/* ---- the client ---- */

static void
on_asked(struct policy_trace *t, const char *whom, struct span question, enum rc rc, struct span answer, uint64_t usec)
{
	struct check *k = container_of(t, struct check, trace);
	struct found_answer **last = &k->list->answers;
	if (strcmp(whom, "dns") != 0)
		return;
	for (; *last != NULL; last = &(*last)->next)
		if (span_eq((*last)->question, question))
			return;
	*last = take(k, sizeof **last);
	**last = (struct found_answer){ .question = arena_span(&k->arena, question), .answer = arena_span(&k->arena, answer), .rc = rc, .usec = usec };
}

static const char *last_result;

static void
on_rule(struct policy_trace *t, const struct policy_run *r, const struct policy_list *list, const struct policy_rule *rule, unsigned depth,
    const char *result)
{
	(void)t, (void)r, (void)list, (void)rule, (void)depth;
	last_result = result;
}

/* The rule alone, in a policy of its own, with the parameters of its service. */
static void
try_rule(struct check *k, const struct policy *p, const struct policy_list_use *u, struct found_use *use)
{
	struct policy_rule rule = *u->rule;
	struct policy_list one = { .name = u->parameter, .rules = &rule, .count = 1 }, none = { .name = "" };
	struct policy only = *p;
	struct policy_run r;
	for (size_t i = 0; i < LIST_COUNT; i++)
		only.lists[i] = i == LIST_DATA ? &one : &none;
	k->facts.has_rcpt = !k->has_addr && !u->is_allow; /* an allow list would ask whether it is ours */
	policy_run_init(&r, &k->owner, on_done);
	r.trace = &k->trace;
	last_result = NULL;
	if (!policy_run_now(&r, &only, POLICY_DATA, &k->facts))
		loop_run();
	use->was_asked = true;
	use->result = last_result != NULL ? last_result : "";
	if (r.verdict.kind == VERDICT_REFUSE) {
		use->reply = arena_span(&k->arena, r.verdict.reply);
		k->found.is_refused = true;
	}
	for (unsigned i = 0; i < r.verdict.nnotes; i++)
		if (r.verdict.notes[i].kind == NOTE_TROUBLE)
			use->note = arena_span(&k->arena, r.verdict.notes[i].text);
	policy_run_fini(&r);
}

static bool
knows(const struct check *k, const struct policy_list_use *u)
{
	static policy_rule_fn *const of_client[] = { r_rhsbl_client, r_rhswl_client, r_rhsbl_reverse_client };
	if (u->kind == RBL_ADDRESSES || !k->has_addr)
		return (u->kind == RBL_ADDRESSES) == k->has_addr;
	for (size_t i = 0; i < NELEMS(of_client); i++)
		if (of_client[i] == u->rule->row->fn)
			return true;
	return false;
}

static void
on_try(void *arg, const struct policy_list_use *u)
{
	struct check *k = arg;
	k->list = list_row(k, u->kind, u->list->domain);
	struct found_use *use = use_row(k, k->list, u->parameter, u->restriction);
	if (!use->was_asked && knows(k, u))
		try_rule(k, k->at->policy, u, use);
}

static void
on_try_site(void *arg, const char *item, const struct rbl_list *list, int weight, const char *shown)
{
	struct check *k = arg;
	struct rbl_ask ask;
	struct buf query, said;
	char at[INET_ADDRSTRLEN];
	(void)shown, (void)weight;
	k->list = list_row(k, RBL_ADDRESSES, list->domain);
	struct found_use *use = use_row(k, k->list, "postscreen_dnsbl_sites", item);
	buf_init(&query, 400);
	buf_init(&said, 2000);
	rbl_addr_query(list->domain, &k->facts.client, &query);
	rbl_ask_init(&ask, &k->owner, on_done);
	if (!rbl_ask_now(&ask, RBL_ADDRESSES, list->domain, buf_span(&query)))
		loop_run();
	use->was_asked = true;
	use->adds = ask.said == RBL_SAID_YES && rbl_list_judge(list, ask.answer, NULL) == RBL_LISTED;
	for (unsigned i = 0; i < ask.answer->n; i++)
		buf_printf(&said, "%s%s", i > 0 ? ", " : "", inet_ntop(AF_INET, &ask.answer->rr[i].addr.a, at, sizeof at));
	if (ask.said != RBL_SAID_YES && ask.answer->why != NULL)
		buf_puts(&said, ask.answer->why);
	buf_puts(&query, " A");
	on_asked(&k->trace, "dns", buf_span(&query), ask.said == RBL_SAID_YES ? RC_OK : ask.said == RBL_SAID_NO ? RC_NONE : RC_TEMP, buf_span(&said), ask.usec);
	rbl_ask_fini(&ask);
	buf_fini(&query);
	buf_fini(&said);
}

static void
score(struct check *k, const struct listener *l)
{
	struct found_score **last = &k->found.scores;
	const struct params *p = l->row->params;
	struct rbl_score sc;
	rbl_score_init(&sc, &k->owner, on_done);
	rbl_score_start(&sc, l->sites, &k->facts.client, NULL);
	loop_run();
	while (*last != NULL)
		last = &(*last)->next;
	*last = take(k, sizeof **last);
	**last = (struct found_score){ .service = l->name, .score = sc.score, .shown = sc.shown, .failed = sc.failed,
		.threshold = (int)p->p_postscreen_dnsbl_threshold, .allow_threshold = (int)p->p_postscreen_dnsbl_allowlist_threshold,
		.action = p->p_postscreen_dnsbl_action };
	if (sc.score >= p->p_postscreen_dnsbl_threshold && strcmp(p->p_postscreen_dnsbl_action, "ignore") != 0)
		k->found.is_refused = true;
	rbl_score_fini(&sc);
}

static void
name_of(struct check *k, struct dns_peer *peer)
{
	struct facts *f = &k->facts;
	dns_peer_init(peer, &k->owner, on_done);
	if (!dns_peer_ask(peer, &f->client, conf_params(k->conf)->p_dns_timeout))
		loop_run();
	f->client_name = peer->name_rc == RC_OK ? peer->name : SPAN("unknown");
	f->client_name_rc = peer->name_rc;
	f->reverse_name = peer->reverse_rc == RC_OK ? peer->reverse : SPAN("unknown");
	f->reverse_name_rc = peer->reverse_rc;
	if (peer->name_rc == RC_OK) {
		struct buf b;
		buf_init(&b, 300);
		buf_put_safe(&b, peer->name, 255, true);
		k->found.name = keep(k, buf_cstr(&b));
		buf_fini(&b);
	}
}

/* false: neither an address nor a name. */
static bool
set_client(struct check *k, const char *what)
{
	struct facts *f = &k->facts;
	struct span s = span_str(what);
	k->found.what = what;
	k->has_addr = ipaddr_parse(s, &f->client) == RC_OK;
	f->is_esmtp = f->has_helo = f->has_sender = true;
	f->qid = SPAN("NOQUEUE");
	if (k->has_addr) {
		f->client = ipaddr_unmap(f->client);
		ipaddr_text(&f->client, k->client);
		f->client_addr = span_str(k->client);
		f->has_helo = f->has_sender = false;
		return true;
	}
	size_t at = span_rchr(s, '@');
	struct span domain = at == SIZE_MAX ? s : span_from(s, at + 1);
	if (!dns_is_hostname(domain) || s.n > 320)
		return false;
	snprintf(k->sender, sizeof k->sender, "%s%s", at == SIZE_MAX ? "someone@" : "", what);
	f->client = (struct ipaddr){ IPADDR_V4, { 192, 0, 2, 1 } };
	f->client_addr = SPAN("192.0.2.1");
	f->client_name = f->reverse_name = f->helo = domain;
	f->sender = f->rcpt = span_str(k->sender);
	f->nrcpt = 1;
	return true;
}

static void
try_client(struct check *k)
{
	struct dns_peer peer = { 0 };
	if (k->has_addr)
		name_of(k, &peer);
	for (size_t i = 0; i < k->nlisteners; i++) {
		k->at = &k->listeners[i];
		if (k->at->policy != NULL)
			policy_each_list(k->at->policy, on_try, k);
		if (!k->has_addr || k->at->sites == NULL)
			continue;
		rbl_sites_each(k->at->sites, on_try_site, k);
		score(k, k->at);
	}
	dns_peer_fini(&peer);
}

/* ---- the whole ---- */

static void
on_report(void *arg, const struct rbl_report *r)
{
	struct check *k = arg;
	struct found_list *l = list_row(k, r->kind, r->domain);
	struct span domain = l->health.domain;
	l->health = *r;
	l->health.domain = domain;
	l->why = keep(k, r->why);
	if (r->state != RBL_USABLE)
		k->found.is_healthy = false;
}

static void
show_errors(const struct conf *c)
{
	for (size_t i = 0; i < conf_problem_count(c, CONF_ERROR); i++) {
		const struct conf_problem *p = conf_problem_at(c, i, CONF_ERROR);
		fprintf(stderr, "%s:%d: error: %s\n", p->file, p->line, p->text);
	}
}

static int
check(struct check *k, const char *what, bool json, FILE *out)
{
	struct rbl_settings settings = rbl_settings_of(conf_params(k->conf));
	struct err e = { .why = "" };
	if (dns_open_conf(k->conf, &e) != RC_OK) {
		fprintf(stderr, "dnsbl check: %s\n", e.why);
		return 2;
	}
	settings.is_quiet = true;
	settings.pause_after = 2; /* nobody but us asks: the two questions of the probe decide */
	rbl_health_begin(&settings);
	if (gather(k, &e) != RC_OK) {
		show_errors(k->conf);
		return 2;
	}
	rbl_health_on_probed(loop_stop);
	rbl_health_end();
	if (rbl_health_unprobed() > 0)
		loop_run();
	rbl_health_on_probed(NULL);
	if (what != NULL)
		try_client(k);
	k->found.is_healthy = true;
	rbl_health_each(on_report, k);
	(json ? dnsbl_print_json : dnsbl_print_text)(&k->found, out);
	return k->found.is_refused || !k->found.is_healthy ? 1 : 0;
}

int
policy_dnsbl_check(const char *dir, const char *what, bool json, FILE *out)
{
	struct check k = { .trace = { .rule = on_rule, .asked = on_asked } };
	struct err e = { .why = "" };
	int status = 2;
	if (what != NULL && !set_client(&k, what)) {
		fprintf(stderr, "dnsbl check: neither an address nor a name: %.200s\n", what);
		return 2;
	}
	if (conf_load(dir, &k.conf, &e) != RC_OK && k.conf == NULL) {
		fprintf(stderr, "dnsbl check: %s\n", e.why);
		return 2;
	}
	arena_init(&k.arena, ARENA_MAX);
	loop_init();
	op_owner_init(&k.owner);
	status = check(&k, what, json, out);
	rbl_health_close();
	for (size_t i = 0; i < k.nlisteners; i++) {
		policy_free(&k.listeners[i].policy);
		rbl_sites_free(&k.listeners[i].sites);
	}
	dns_close();
	loop_fini();
	arena_fini(&k.arena);
	conf_unref(&k.conf);
	return status;
}
