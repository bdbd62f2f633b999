/* SPDX-License-Identifier: BSD-2-Clause */
#include "deliver/badlogins.h"

#include "base/clock.h"
#include "base/htab.h"
#include "base/list.h"
#include "base/mem.h"

#include <openssl/evp.h>

enum { KEY = 32 };

struct entry {
	struct hnode by_key;
	struct list by_age;          /* newest first */
	unsigned char key[KEY];
	uint64_t added;              /* clock_wall() */
	char *dsn, *text;
};

static struct htab entries;
static struct list ages = { &ages, &ages };

static uint64_t
make_key(const char *host, const struct login *l, unsigned char key[KEY])
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	const char *parts[] = { host, l->user, l->secret };
	BUG_ON(ctx == NULL || EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1);
	for (size_t i = 0; i < NELEMS(parts); i++)
		(void)EVP_DigestUpdate(ctx, parts[i], strlen(parts[i]) + 1);
	(void)EVP_DigestFinal_ex(ctx, key, NULL);
	EVP_MD_CTX_free(ctx);
	return span_hash(span_of(key, KEY));
}

static void
drop(struct entry *x)
{
	htab_remove(&entries, &x->by_key);
	list_remove(&x->by_age);
	mem_free(&x->dsn);
	mem_free(&x->text);
	mem_free(&x);
}

static struct entry *
find(const char *host, const struct login *l, unsigned char key[KEY], uint64_t *hash)
{
	*hash = make_key(host, l, key);
	for (struct hnode *n = htab_first(&entries, *hash); n != NULL; n = htab_next(n)) {
		struct entry *x = container_of(n, struct entry, by_key);
		if (memcmp(x->key, key, KEY) == 0)
			return x;
	}
	return NULL;
}

enum rc
badlogins_find(const char *host, const struct login *l, uint64_t max_usec, struct badlogin *out)
{
	unsigned char key[KEY];
	uint64_t hash;
	struct entry *x = find(host, l, key, &hash);
	if (x == NULL)
		return RC_NONE;
	if (clock_wall() - x->added >= max_usec) {
		drop(x);
		return RC_NONE;
	}
	*out = (struct badlogin){ x->dsn, x->text };
	return RC_OK;
}

void
badlogins_add(const char *host, const struct login *l, struct span dsn, struct span text)
{
	unsigned char key[KEY];
	uint64_t hash;
	struct entry *x = find(host, l, key, &hash);
	if (x != NULL)
		drop(x);
	if (entries.count >= BADLOGINS_MAX)
		drop(list_entry(ages.prev, struct entry, by_age));
	x = mem_zalloc(sizeof *x);
	memcpy(x->key, key, KEY);
	x->added = clock_wall();
	x->dsn = span_dup(dsn);
	x->text = span_dup(text);
	list_init(&x->by_age);
	list_prepend(&ages, &x->by_age);
	htab_insert(&entries, &x->by_key, hash);
}
