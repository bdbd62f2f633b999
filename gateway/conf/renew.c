/* SPDX-License-Identifier: BSD-2-Clause */
/* Which version of each file a snapshot has, and a new snapshot in which only some files are read anew. */
#include "base/mem.h"
#include "conf/snap.h"

#include <sys/stat.h>
#include <unistd.h>

struct conf_version
snap_version(const struct stat *st)
{
	return (struct conf_version){ st->st_dev, st->st_ino, (uint64_t)st->st_size,
		(uint64_t)st->st_mtim.tv_sec * 1000000000u + (uint64_t)st->st_mtim.tv_nsec,
		(uint64_t)st->st_ctim.tv_sec * 1000000000u + (uint64_t)st->st_ctim.tv_nsec };
}

struct conf_version
conf_version_now(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0 ? snap_version(&st) : (struct conf_version){ 0 };
}

bool
conf_version_same(const struct conf_version *a, const struct conf_version *b)
{
	return a->dev == b->dev && a->ino == b->ino && a->size == b->size && a->mtime_nsec == b->mtime_nsec && a->ctime_nsec == b->ctime_nsec;
}

void
conf_watch(struct conf *c, const char *path, const struct conf_version *v)
{
	struct keep *k = keep_find(&c->watched, path);
	if (k == NULL)
		k = keep_add(c, &c->watched, path);
	k->version = *v;
}

bool
conf_watched(const struct conf *c, const char *path, struct conf_version *out)
{
	const struct keep *k = keep_find(&c->watched, path);
	if (k != NULL)
		*out = k->version;
	return k != NULL;
}

void
conf_watched_each(const struct conf *c, void (*fn)(void *arg, const char *path, const struct conf_version *v), void *arg)
{
	for (struct hnode *n = NULL; (n = htab_walk(&c->watched, n)) != NULL;) {
		const struct keep *k = container_of(n, struct keep, node);
		fn(arg, k->key, &k->version);
	}
}

bool
conf_file_is_same(const struct conf *c, const char *path)
{
	const struct keep *k = keep_find(&c->files, path), *secret = keep_find(&c->secrets, path);
	struct buf data;
	struct err e;
	if (k == NULL || (secret != NULL && !span_eq(secret->data, k->data)))
		k = secret; /* the two were read one after the other */
	if (k == NULL || k->rc != RC_OK)
		return false;
	if (secret != NULL)
		buf_init_secret(&data, CONF_FILE_MAX);
	else
		buf_init(&data, CONF_FILE_MAX);
	bool same = snap_read_file(path, CONF_FILE_MAX, &data, &e) == RC_OK && span_eq(buf_span(&data), k->data);
	buf_fini(&data);
	return same;
}

static void
forget(struct htab *t, const char *path)
{
	struct keep *k = keep_find(t, path);
	if (k != NULL)
		htab_remove(t, &k->node); /* its memory goes with the snapshot */
}

void
snap_unwatch(struct conf *c, const char *path)
{
	forget(&c->watched, path);
}

static bool
is_among(const char *path, const char *const *changed, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(path, changed[i]) == 0)
			return true;
	return false;
}

/* Each in memory of its own, which is wiped: what is replaced later goes with this snapshot, and is in no image that outlives it. */
static void
take_secrets(struct conf *c, const struct conf *old, const char *const *changed, size_t n)
{
	for (struct hnode *h = NULL; (h = htab_walk(&old->secrets, h)) != NULL;) {
		const struct keep *was = container_of(h, struct keep, node);
		if (is_among(was->key, changed, n))
			continue;
		struct keep *k = keep_add(c, &c->secrets, was->key);
		k->rc = was->rc;
		k->audience = was->audience;
		k->owns_data = true;
		k->data = span_of(mem_dup(was->data.p, was->data.n), was->data.n);
	}
}

enum rc
conf_renew(const struct conf *old, const char *const *changed, size_t n, struct conf **out, struct err *e)
{
	int image = -1;
	*out = NULL;
	enum rc rc = conf_image_write(old, CONF_FOR_ALL, &image, e);
	if (rc != RC_OK)
		return rc;
	rc = conf_image_read(image, out, e);
	close(image);
	if (rc != RC_OK)
		return rc;
	(*out)->loader = true;
	for (size_t i = 0; i < n; i++) {
		forget(&(*out)->files, changed[i]);
		forget(&(*out)->watched, changed[i]);
	}
	take_secrets(*out, old, changed, n);
	return RC_OK;
}
