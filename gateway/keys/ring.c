/* SPDX-License-Identifier: BSD-2-Clause */
#include "keys/ring.h"

#include "base/mem.h"
#include "tls/keynote.h"
#include "tls/keyprov.h"

void
ring_init(struct ring *r)
{
	*r = (struct ring){ 0 };
	list_init(&r->keys);
}

static void
drop(struct ring *r, struct ring_key *k)
{
	list_remove(&k->link);
	r->count--;
	r->old -= k->dropped != 0;
	EVP_PKEY_free(k->key); /* OpenSSL wipes private numbers */
	mem_free(&k);
}

static struct ring_key *
find(const struct ring *r, const unsigned char id[KEY_ID])
{
	list_each(l, &r->keys) {
		struct ring_key *k = list_entry(l, struct ring_key, link);
		if (memcmp(k->id, id, KEY_ID) == 0)
			return k;
	}
	return NULL;
}

const struct ring_key *
ring_find(const struct ring *r, const unsigned char id[KEY_ID], unsigned side)
{
	const struct ring_key *k = find(r, id);
	return k != NULL && (k->sides & side) != 0 ? k : NULL;
}

struct loading {
	struct ring fresh;
	const struct conf *conf;
	struct err *e;
	enum rc rc;
};

static void
load_key(struct loading *l, EVP_PKEY **key)
{
	unsigned char id[KEY_ID];
	unsigned sides = keyprov_id(*key, id, l->e) == RC_OK ? keynote_allowed(l->conf, id) : 0;
	if (sides == 0 || find(&l->fresh, id) != NULL)
		return; /* of no certificate that anybody shows */
	struct ring_key *k = mem_zalloc(sizeof *k);
	memcpy(k->id, id, KEY_ID);
	k->key = *key;
	k->sides = sides;
	*key = NULL;
	list_init(&k->link);
	list_append(&l->fresh.keys, &k->link);
	l->fresh.count++;
}

static void
load_file(void *arg, const char *path, struct span text)
{
	struct loading *l = arg;
	struct pem_file f = { 0 };
	if (l->rc != RC_OK)
		return;
	l->rc = pem_read(&f, text, l->e);
	if (l->rc != RC_OK)
		l->rc = err_prefix(l->e, "%s", path);
	for (size_t i = 0; l->rc == RC_OK && i < f.n; i++)
		if (f.items[i].key != NULL)
			load_key(l, &f.items[i].key);
	pem_free(&f);
}

/* What was there and is not any more becomes old. */
static void
keep_old(struct ring *r, struct ring *fresh, uint64_t now)
{
	for (struct list *l; (l = list_pop(&r->keys)) != NULL;) {
		struct ring_key *k = list_entry(l, struct ring_key, link);
		if (find(fresh, k->id) != NULL || fresh->old >= RING_OLD_MAX) {
			EVP_PKEY_free(k->key);
			mem_free(&k);
			continue;
		}
		if (k->dropped == 0)
			k->dropped = now;
		list_append(&fresh->keys, &k->link);
		fresh->count++;
		fresh->old++;
	}
}

enum rc
ring_load(struct ring *r, const struct conf *c, uint64_t now, struct err *e)
{
	struct loading l = { .conf = c, .e = e, .rc = RC_OK };
	ring_init(&l.fresh);
	conf_secrets_each(c, CONF_FOR_KEYS, load_file, &l);
	if (l.rc != RC_OK) {
		ring_fini(&l.fresh);
		return l.rc;
	}
	keep_old(r, &l.fresh, now > 0 ? now : 1);
	for (struct list *it; (it = list_pop(&l.fresh.keys)) != NULL;)
		list_append(&r->keys, it);
	r->count = l.fresh.count;
	r->old = l.fresh.old;
	return RC_OK;
}

void
ring_expire(struct ring *r, uint64_t before)
{
	list_each(l, &r->keys) {
		struct ring_key *k = list_entry(l, struct ring_key, link);
		if (k->dropped != 0 && k->dropped < before)
			drop(r, k);
	}
}

void
ring_fini(struct ring *r)
{
	list_each(l, &r->keys)
		drop(r, list_entry(l, struct ring_key, link));
}
