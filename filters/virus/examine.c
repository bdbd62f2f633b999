/* SPDX-License-Identifier: GPL-2.0-only */
#include "filters/virus/examine.h"

#include "base/clock.h"
#include "filters/virus/cache.h"
#include "filters/virus/clamd.h"
#include "filters/virus/wire.h"

#include <openssl/evp.h>
#include <pthread.h>

enum { SET_ASIDE_AFTER = 3, BREAKER_FAILURES = 5 };
static const uint64_t VERSION_EVERY = 10 * USEC_PER_SEC, PROBE_EVERY = USEC_PER_SEC;

static struct {
	const struct virus_conf *conf;
	struct front_counts *counts;
	struct cache *cache;
	void (*trouble)(const char *text);
	void (*version)(const struct virus_version *v);
	/* clamd */
	pthread_mutex_t lock;
	unsigned failures;           /* in a row */
	bool is_open;                /* nobody asks but examine_tick() */
	struct err why;
	struct virus_version clamd;
	uint64_t serial, next_look;
} j = { .lock = PTHREAD_MUTEX_INITIALIZER };

void
examine_init(const struct virus_conf *conf, struct front_counts *counts, void (*trouble)(const char *text), void (*version)(const struct virus_version *v))
{
	j.conf = conf;
	j.counts = counts;
	j.trouble = trouble;
	j.version = version;
	j.cache = cache_new(conf->cache_size);
}

/* ---- clamd ---- */

static bool
is_paused(struct err *e)
{
	pthread_mutex_lock(&j.lock);
	bool is = j.is_open;
	if (is)
		*e = j.why;
	pthread_mutex_unlock(&j.lock);
	return is;
}

static void
note_clamd(enum rc rc, const struct err *e)
{
	bool say_trouble = false, say_over = false;
	pthread_mutex_lock(&j.lock);
	if (rc == RC_OK) {
		say_over = j.is_open;
		j.is_open = false;
		j.failures = 0;
	} else if (++j.failures >= BREAKER_FAILURES && !j.is_open) {
		say_trouble = j.is_open = true;
		j.why = *e;
	}
	pthread_mutex_unlock(&j.lock);
	if (say_trouble)
		j.trouble(e->why);
	if (say_over)
		j.trouble("");
}

void
examine_tick(void)
{
	struct virus_version v = { .engine = "" };
	struct err e = { .why = "" };
	uint64_t now = clock_mono();
	pthread_mutex_lock(&j.lock);
	bool is_due = now >= j.next_look || j.is_open;
	j.next_look = is_due ? now + (j.is_open ? PROBE_EVERY : VERSION_EVERY) : j.next_look;
	pthread_mutex_unlock(&j.lock);
	if (!is_due)
		return;
	enum rc rc = clamd_ask_version(j.conf, &v, &e);
	pthread_mutex_lock(&j.lock);
	bool is_new = rc == RC_OK && memcmp(&v, &j.clamd, sizeof v) != 0;
	if (is_new) {
		j.clamd = v;
		j.serial++;
	}
	if (rc != RC_OK)
		j.next_look = now + PROBE_EVERY;
	pthread_mutex_unlock(&j.lock);
	note_clamd(rc, &e);
	if (is_new)
		j.version(&v);
}

static uint64_t
version_now(struct virus_version *out)
{
	if (!j.conf->is_clamd)
		return pool_version(out);
	pthread_mutex_lock(&j.lock);
	uint64_t serial = j.serial;
	*out = j.clamd;
	pthread_mutex_unlock(&j.lock);
	return serial;
}

static enum scan_end
scan_clamd(const struct scan_job *job, struct virus_verdict *out, struct err *e)
{
	if (is_paused(e))
		return SCAN_AWAY;
	enum rc rc = clamd_scan(j.conf, job, out, e);
	note_clamd(rc, e);
	return rc == RC_OK ? SCAN_DONE : SCAN_AWAY;
}

/* ---- one message ---- */

static void
hash_of(struct span s, unsigned char out[CONTENT_HASH])
{
	unsigned n = CONTENT_HASH;
	if (EVP_Digest(s.n > 0 ? (const void *)s.p : "", s.n, out, &n, EVP_sha256(), NULL) != 1)
		memset(out, 0, CONTENT_HASH);
}

static void
failed(const unsigned char *hash, const struct err *e, struct judgement *out)
{
	char why[VIRUS_NAME_MAX];
	unsigned n = cache_failed(j.cache, hash);
	atomic_fetch_add(&j.counts->crashed, 1);
	snprintf(why, sizeof why, "%.90s, %u of %d times", e->why, n, SET_ASIDE_AFTER);
	out->verdict = virus_verdict_why(n >= SET_ASIDE_AFTER ? VIRUS_ASIDE : VIRUS_UNSCANNED, why);
}

void
examine(const struct scan_job *job, struct judgement *out)
{
	unsigned char hash[CONTENT_HASH];
	struct err e = { .why = "" };
	*out = (struct judgement){ .is_cached = false };
	hash_of(job->message, hash);
	uint64_t before = version_now(&out->version);
	if (before != 0 && cache_get(j.cache, hash, before, &out->verdict)) {
		out->is_cached = true;
		atomic_fetch_add(&j.counts->cached, 1);
		return;
	}
	if (cache_failures(j.cache, hash) >= SET_ASIDE_AFTER) {
		out->verdict = virus_verdict_why(VIRUS_ASIDE, "the scan of this message has failed each time");
		return;
	}
	struct scan_job whole = *job;
	whole.head = SPAN(VIRUS_HEAD);
	switch (j.conf->is_clamd ? scan_clamd(&whole, &out->verdict, &e) : pool_scan(&whole, &out->verdict, &e)) {
	case SCAN_DONE:
		if (out->verdict.kind != VIRUS_UNSCANNED)
			break;
		(void)err_set(&e, RC_TEMP, "%s", out->verdict.name);
		failed(hash, &e, out);
		return;
	case SCAN_FAILED:
		failed(hash, &e, out);
		return;
	case SCAN_AWAY:
		out->verdict = virus_verdict_why(VIRUS_UNSCANNED, e.why);
		return;
	}
	cache_worked(j.cache, hash);
	struct virus_version after = { .engine = "" };
	uint64_t now = version_now(&after);
	if (before == 0)
		out->version = after; /* it has waited for the engine */
	else if (now == before)       /* else nobody knows which of the two it was */
		cache_put(j.cache, hash, before, &out->verdict);
}
