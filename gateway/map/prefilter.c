/* SPDX-License-Identifier: BSD-2-Clause */
#include "map/prefilter.h"

#include "base/mem.h"
#include "map/literal.h"

enum { GRAM = 3, BUCKETS_MIN = 1024, BUCKETS_MAX = 1 << 20, FOLD_MAX = 8192 };

/* A literal of a rule, found by three of its octets. */
struct entry {
	struct span text;
	uint32_t rule, at;           /* at: where in the text those three are */
	uint32_t next;               /* of the same bucket, plus 1; 0: none */
};

/* One octet per rule and key: small enough to be walked for every key. */
struct gate {
	uint32_t stamp;              /* the last key that holds a text of it */
	bool is_gated;
};

struct prefilter {
	struct arena arena;
	struct gate *gates;
	size_t rules, gated;
	struct entry *entries;
	size_t count;
	uint32_t *buckets;
	size_t mask;
	uint32_t now;
	bool all_may;                /* for this key nothing can be said */
};

struct prefilter *
prefilter_new(void)
{
	struct prefilter *p = mem_zalloc(sizeof *p);
	arena_init(&p->arena, SIZE_MAX / 2);
	return p;
}

void
prefilter_free(struct prefilter **pp)
{
	struct prefilter *p = *pp;
	*pp = NULL;
	if (p == NULL)
		return;
	arena_fini(&p->arena);
	mem_free(&p->gates);
	mem_free(&p->entries);
	mem_free(&p->buckets);
	mem_free(&p);
}

void
prefilter_add_none(struct prefilter *p)
{
	if ((p->rules & (p->rules - 1)) == 0)
		p->gates = mem_reallocarray(p->gates, p->rules > 0 ? p->rules * 2 : 1, sizeof *p->gates);
	p->gates[p->rules++] = (struct gate){ 0 };
}

void
prefilter_add(struct prefilter *p, struct span regex, enum pattern_flavour flavour, unsigned flags)
{
	struct span texts[LITERALS_MAX];
	prefilter_add_none(p);
	size_t n = literals_find(regex, flavour, flags, &p->arena, texts);
	for (size_t i = 0; i < n; i++) {
		if ((p->count & (p->count - 1)) == 0)
			p->entries = mem_reallocarray(p->entries, p->count > 0 ? p->count * 2 : 1, sizeof *p->entries);
		p->entries[p->count++] = (struct entry){ .text = texts[i], .rule = (uint32_t)(p->rules - 1) };
	}
	p->gates[p->rules - 1].is_gated = n > 0;
	p->gated += n > 0;
}

static uint32_t
gram_hash(const unsigned char *t)
{
	return ((uint32_t)t[0] | (uint32_t)t[1] << 8 | (uint32_t)t[2] << 16) * UINT32_C(0x9e3779b1) >> 8;
}

void
prefilter_seal(struct prefilter *p)
{
	size_t buckets = BUCKETS_MIN;
	while (buckets < p->count * 4 && buckets < BUCKETS_MAX)
		buckets *= 2;
	p->mask = buckets - 1;
	p->buckets = mem_calloc(buckets, sizeof *p->buckets);
	uint32_t *uses = mem_calloc(buckets, sizeof *uses); /* a text is found by those of its octets that are in the fewest others */
	for (size_t i = 0; i < p->count; i++)
		for (size_t at = 0; at + GRAM <= p->entries[i].text.n; at++)
			uses[gram_hash(p->entries[i].text.p + at) & p->mask]++;
	for (size_t i = 0; i < p->count; i++) {
		struct entry *en = &p->entries[i];
		for (size_t at = 0; at + GRAM <= en->text.n; at++)
			if (uses[gram_hash(en->text.p + at) & p->mask] < uses[gram_hash(en->text.p + en->at) & p->mask])
				en->at = (uint32_t)at;
		uint32_t *bucket = &p->buckets[gram_hash(en->text.p + en->at) & p->mask];
		en->next = *bucket;
		*bucket = (uint32_t)i + 1;
	}
	mem_free(&uses);
}

void
prefilter_look(struct prefilter *p, struct span key)
{
	unsigned char folded[FOLD_MAX];
	p->all_may = key.n > sizeof folded;
	if (p->gated == 0 || p->all_may)
		return;
	for (size_t i = 0; i < key.n; i++) {
		unsigned char c = key.p[i];
		p->all_may |= c >= 0x80; /* letters with other forms of their own: a Kelvin sign is a 'k' */
		folded[i] = c >= 'A' && c <= 'Z' ? (unsigned char)(c | 0x20) : c;
	}
	if (p->all_may)
		return;
	if (++p->now == 0) { /* after four milliards of keys */
		for (size_t i = 0; i < p->rules; i++)
			p->gates[i].stamp = 0;
		p->now = 1;
	}
	for (size_t pos = 0; pos + GRAM <= key.n; pos++)
		for (uint32_t i = p->buckets[gram_hash(folded + pos) & p->mask]; i != 0; i = p->entries[i - 1].next) {
			const struct entry *en = &p->entries[i - 1];
			if (en->at <= pos && en->text.n <= key.n - (pos - en->at)
			    && memcmp(folded + (pos - en->at), en->text.p, en->text.n) == 0)
				p->gates[en->rule].stamp = p->now;
		}
}

bool
prefilter_may(const struct prefilter *p, size_t rule)
{
	return p->all_may || !p->gates[rule].is_gated || p->gates[rule].stamp == p->now;
}
