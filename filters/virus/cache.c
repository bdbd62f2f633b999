/* SPDX-License-Identifier: GPL-2.0-only */
#include "filters/virus/cache.h"

#include "base/mem.h"

/* Rows in a ring, chained from buckets: the row that is written next is the oldest. */
struct row {
	unsigned char hash[CONTENT_HASH];
	uint64_t version;
	uint32_t next;               /* of the same bucket, + 1 */
	bool is_used;
	unsigned failures;
	struct virus_verdict v;
};

struct table {
	struct row *row;
	uint32_t *bucket;            /* + 1 */
	uint32_t max, n_buckets, at;
};

struct cache {
	struct table verdicts, failures;
	unsigned nfailing;           /* contents whose last scan failed */
};

static void
table_init(struct table *t, size_t max)
{
	*t = (struct table){ .max = (uint32_t)max, .n_buckets = 1 };
	while (t->n_buckets < max)
		t->n_buckets *= 2;
	if (max > 0) {
		t->row = mem_calloc(max, sizeof *t->row);
		t->bucket = mem_calloc(t->n_buckets, sizeof *t->bucket);
	}
}

static uint32_t *
bucket_of(struct table *t, const unsigned char *hash)
{
	uint32_t h;
	memcpy(&h, hash, sizeof h); /* whoever makes contents can choose it: a chain is never longer than the table, and that is bounded */
	return &t->bucket[h & (t->n_buckets - 1)];
}

static struct row *
find(struct table *t, const unsigned char *hash)
{
	if (t->max == 0)
		return NULL;
	for (uint32_t i = *bucket_of(t, hash); i != 0; i = t->row[i - 1].next)
		if (memcmp(t->row[i - 1].hash, hash, CONTENT_HASH) == 0)
			return &t->row[i - 1];
	return NULL;
}

static void
unchain(struct table *t, const struct row *r)
{
	uint32_t at = (uint32_t)(r - t->row) + 1;
	for (uint32_t *p = bucket_of(t, r->hash); *p != 0; p = &t->row[*p - 1].next)
		if (*p == at) {
			*p = r->next;
			return;
		}
}

static struct row *
find_or_make(struct table *t, const unsigned char *hash)
{
	struct row *r = find(t, hash);
	if (r != NULL)
		return r;
	r = &t->row[t->at];
	if (r->is_used)
		unchain(t, r);
	uint32_t *b = bucket_of(t, hash);
	*r = (struct row){ .is_used = true, .next = *b };
	memcpy(r->hash, hash, CONTENT_HASH);
	*b = t->at + 1;
	t->at = (t->at + 1) % t->max;
	return r;
}

struct cache *
cache_new(size_t verdicts_max)
{
	struct cache *c = mem_zalloc(sizeof *c);
	table_init(&c->verdicts, verdicts_max);
	table_init(&c->failures, CACHE_FAILURES);
	return c;
}

void
cache_free(struct cache **cp)
{
	struct cache *c = *cp;
	*cp = NULL;
	if (c == NULL)
		return;
	mem_free(&c->verdicts.row);
	mem_free(&c->verdicts.bucket);
	mem_free(&c->failures.row);
	mem_free(&c->failures.bucket);
	mem_free(&c);
}

bool
cache_get(struct cache *c, const unsigned char hash[CONTENT_HASH], uint64_t version, struct virus_verdict *out)
{
	const struct row *r = find(&c->verdicts, hash);
	bool is_known = r != NULL && r->version == version;
	if (is_known)
		*out = r->v;
	return is_known;
}

void
cache_put(struct cache *c, const unsigned char hash[CONTENT_HASH], uint64_t version, const struct virus_verdict *v)
{
	/* limits depend on how busy the machine was, too */
	bool lasts = v->kind == VIRUS_CLEAN || v->kind == VIRUS_FOUND || v->kind == VIRUS_ENCRYPTED || v->kind == VIRUS_MACRO;
	if (!lasts || c->verdicts.max == 0)
		return;
	struct row *r = find_or_make(&c->verdicts, hash);
	r->version = version;
	r->v = *v;
}

unsigned
cache_failed(struct cache *c, const unsigned char hash[CONTENT_HASH])
{
	const struct row *oldest = &c->failures.row[c->failures.at];
	unsigned lost = oldest->failures;
	struct row *r = find_or_make(&c->failures, hash);
	if (r == oldest && r->failures == 0 && lost > 0)
		c->nfailing--; /* it took the place of another */
	c->nfailing += r->failures == 0;
	return ++r->failures;
}

unsigned
cache_failures(struct cache *c, const unsigned char hash[CONTENT_HASH])
{
	const struct row *r = find(&c->failures, hash);
	unsigned n = r != NULL ? r->failures : 0;
	return n;
}

void
cache_worked(struct cache *c, const unsigned char hash[CONTENT_HASH])
{
	struct row *r = find(&c->failures, hash);
	if (r == NULL || r->failures == 0)
		return;
	r->failures = 0;
	c->nfailing--;
}

bool
cache_is_of_use(const struct cache *c)
{
	return c->verdicts.max > 0 || c->nfailing > 0;
}
