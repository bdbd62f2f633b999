/* SPDX-License-Identifier: GPL-2.0-only */
#include "filters/virus/examine.h"

#include "base/clock.h"
#include "filters/virus/clamd.h"
#include "filters/virus/pool.h"
#include "filters/virus/wire.h"

#include <openssl/evp.h>

enum { SET_ASIDE_AFTER = 3, BREAKER_FAILURES = 5 };
static const uint64_t VERSION_EVERY = 10 * USEC_PER_SEC, PROBE_EVERY = USEC_PER_SEC;

static struct {
	const struct virus_conf *conf;
	struct front_counts *counts;
	struct cache *cache;
	void (*trouble)(const char *text);
	void (*version)(const struct virus_version *v);
	/* clamd */
	unsigned failures;           /* in a row */
	bool is_open;                /* it is asked for its version alone */
	struct err why;
	struct virus_version clamd;
	uint64_t serial;
	struct timer timer;          /* until its version is asked for */
	struct op_owner ops;
	struct clamd_question question;
} j;

static void on_version(struct op *op);

static void
ask_version(struct timer *t)
{
	(void)t;
	if (j.question.op.state == OP_IDLE)
		clamd_ask_version(&j.question);
}

void
examine_init(const struct virus_conf *conf, struct front_counts *counts, void (*trouble)(const char *text), void (*version)(const struct virus_version *v))
{
	j.conf = conf;
	j.counts = counts;
	j.trouble = trouble;
	j.version = version;
	j.cache = cache_new(conf->cache_size);
	if (!conf->is_clamd)
		return;
	clamd_init(conf);
	op_owner_init(&j.ops);
	op_init(&j.question.op, &j.ops, on_version);
	timer_init(&j.timer, ask_version);
	timer_set(&j.timer, 0);
}

/* ---- clamd ---- */

static void
note_clamd(bool ok, const struct err *e)
{
	if (ok) {
		j.failures = 0;
		if (j.is_open)
			j.trouble("");
		j.is_open = false;
	} else if (++j.failures >= BREAKER_FAILURES && !j.is_open) {
		j.is_open = true;
		j.why = *e;
		j.trouble(e->why);
		timer_set(&j.timer, PROBE_EVERY);
	}
}

static void
on_version(struct op *op)
{
	const struct clamd_question *q = container_of(op, struct clamd_question, op);
	bool ok = op->rc == RC_OK;
	if (ok && memcmp(&q->version, &j.clamd, sizeof j.clamd) != 0) {
		j.clamd = q->version;
		j.serial++;
		j.version(&j.clamd);
	}
	note_clamd(ok, &q->why);
	timer_set(&j.timer, ok ? VERSION_EVERY : PROBE_EVERY);
}

static uint64_t
version_now(struct virus_version *out)
{
	if (!j.conf->is_clamd)
		return pool_version(out);
	*out = j.clamd;
	return j.serial;
}

/* ---- one message ---- */

static void
find_hash(struct examination *x)
{
	struct span s = x->scan.message;
	unsigned n = CONTENT_HASH;
	x->has_hash = x->has_hash || EVP_Digest(s.n > 0 ? (const void *)s.p : "", s.n, x->hash, &n, EVP_sha256(), NULL) == 1;
}

static void
failed(struct examination *x, const char *text)
{
	char why[VIRUS_NAME_MAX];
	find_hash(x);
	unsigned n = x->has_hash ? cache_failed(j.cache, x->hash) : 1;
	atomic_fetch_add(&j.counts->crashed, 1);
	snprintf(why, sizeof why, "%.90s, %u of %d times", text, n, SET_ASIDE_AFTER);
	x->said.verdict = virus_verdict_why(n >= SET_ASIDE_AFTER ? VIRUS_ASIDE : VIRUS_UNSCANNED, why);
}

static void
take_verdict(struct examination *x)
{
	struct virus_version after = { .engine = "" };
	uint64_t now = version_now(&after);
	x->said.verdict = x->scan.verdict;
	if (x->has_hash)
		cache_worked(j.cache, x->hash);
	if (x->before == 0)
		x->said.version = after; /* it has waited for the engine */
	else if (now == x->before && x->has_hash) /* else nobody knows which of the two it was */
		cache_put(j.cache, x->hash, x->before, &x->said.verdict);
}

static void
on_scanned(struct op *op)
{
	struct examination *x = container_of(op, struct examination, scan.op);
	const struct scan *s = &x->scan;
	if (j.conf->is_clamd)
		note_clamd(s->end == SCAN_DONE, &s->why);
	if (s->end == SCAN_AWAY)
		x->said.verdict = virus_verdict_why(VIRUS_UNSCANNED, s->why.why);
	else if (s->end == SCAN_FAILED)
		failed(x, s->why.why);
	else if (s->verdict.kind == VIRUS_UNSCANNED)
		failed(x, s->verdict.name);
	else
		take_verdict(x);
	op_finish(&x->op, RC_OK);
}

static void
on_cancelled(struct op *op)
{
	op_cancel(&container_of(op, struct examination, op)->scan.op);
}

static const struct op_provider provider = { "virus examination", on_cancelled };

bool
examine_wants_hash(void)
{
	return cache_is_of_use(j.cache);
}

void
examination_init(struct examination *x, struct op_owner *owner, op_fn *done)
{
	*x = (struct examination){ .has_hash = false };
	op_owner_init(&x->ops);
	op_init(&x->op, owner, done);
	op_init(&x->scan.op, &x->ops, on_scanned);
}

/* true: what becomes of it is known without an engine. */
static bool
is_known(struct examination *x)
{
	if (x->before != 0 && cache_get(j.cache, x->hash, x->before, &x->said.verdict)) {
		x->said.is_cached = true;
		atomic_fetch_add(&j.counts->cached, 1);
		return true;
	}
	if (cache_failures(j.cache, x->hash) < SET_ASIDE_AFTER)
		return false;
	x->said.verdict = virus_verdict_why(VIRUS_ASIDE, "the scan of this message has failed each time");
	return true;
}

void
examine(struct examination *x, struct span message, const unsigned char *hash)
{
	x->said = (struct judgement){ .is_cached = false };
	x->scan.head = SPAN(VIRUS_HEAD);
	x->scan.message = message;
	x->has_hash = hash != NULL;
	if (hash != NULL)
		memcpy(x->hash, hash, CONTENT_HASH);
	else if (cache_is_of_use(j.cache))
		find_hash(x);
	x->before = version_now(&x->said.version);
	op_pend(&x->op, &provider);
	if (x->has_hash && is_known(x)) {
		op_finish(&x->op, RC_OK);
	} else if (!j.conf->is_clamd) {
		pool_scan(&x->scan);
	} else if (j.is_open) {
		x->said.verdict = virus_verdict_why(VIRUS_UNSCANNED, j.why.why);
		op_finish(&x->op, RC_OK);
	} else {
		clamd_scan(&x->scan);
	}
}

void
examination_fini(struct examination *x)
{
	op_cancel(&x->op);
	op_cancel(&x->scan.op);
}
