/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A snapshot as bytes for the other roles: what was read, not what was made of it. The reader expands
 * and checks again with the same code, so there is one way from text to values. Kept files are not
 * copied: their spans point into the sealed mapping, which all roles share.
 */
#include "base/fd.h"
#include "base/mem.h"
#include "conf/snap.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define IMAGE_MAGIC "dogana-conf-3"

enum { SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL };

static void
put_str(struct buf *b, const char *s)
{
	buf_put_block(b, span_str(s));
}

static void
put_setting(struct buf *b, const struct setting *s)
{
	put_str(b, s->name);
	put_str(b, s->text);
	put_str(b, s->value);
	put_str(b, s->file);
	buf_put_u32(b, (uint32_t)s->line);
}

static void
put_service(struct buf *b, const struct svc *s)
{
	uint32_t nargs = 0;
	put_str(b, s->pub.name);
	put_str(b, s->pub.type);
	put_str(b, s->pub.command);
	put_str(b, s->pub.file);
	put_str(b, s->flags);
	buf_put_u32(b, (uint32_t)s->pub.line);
	buf_put_u8(b, s->pub.is_private);
	buf_put_u8(b, s->pub.unprivileged);
	buf_put_u8(b, (uint8_t)s->chroot);
	buf_put_u8(b, s->wakeup_if_used);
	buf_put_u32(b, (uint32_t)s->pub.wakeup);
	buf_put_u32(b, (uint32_t)s->pub.maxproc);
	while (s->pub.args[nargs] != NULL)
		nargs++;
	buf_put_u32(b, nargs);
	for (uint32_t i = 0; i < nargs; i++)
		put_str(b, s->pub.args[i]);
	buf_put_u32(b, (uint32_t)s->nset);
	for (size_t i = 0; i < s->nset; i++)
		put_setting(b, &s->sets[i]);
}

static void
put_keeps(struct buf *b, const struct htab *t)
{
	buf_put_u32(b, (uint32_t)t->count);
	for (struct hnode *n = NULL; (n = htab_walk(t, n)) != NULL;) {
		const struct keep *k = container_of(n, struct keep, node);
		put_str(b, k->key);
		buf_put_u8(b, (uint8_t)k->rc);
		buf_put_block(b, k->data);
	}
}

static enum rc
write_all(int fd, struct span s, struct err *e)
{
	int error = fd_write(fd, s);
	return error == 0 ? RC_OK : err_set(e, RC_TEMP, "configuration image: %s", strerror(error));
}

/* Written past any buffer: the image is the only copy. */
static enum rc
write_secrets(int fd, const struct htab *t, unsigned audience, struct err *e)
{
	uint32_t count = 0;
	for (struct hnode *n = NULL; (n = htab_walk(t, n)) != NULL;)
		count += (container_of(n, struct keep, node)->audience & audience) != 0;
	struct buf head;
	buf_init(&head, 65536);
	buf_put_u32(&head, count);
	enum rc rc = RC_OK;
	for (struct hnode *n = NULL; rc == RC_OK && (n = htab_walk(t, n)) != NULL;) {
		const struct keep *k = container_of(n, struct keep, node);
		if ((k->audience & audience) == 0)
			continue;
		put_str(&head, k->key);
		buf_put_u8(&head, (uint8_t)k->audience);
		buf_put_u8(&head, (uint8_t)k->rc);
		buf_put_u32(&head, (uint32_t)k->data.n);
		rc = write_all(fd, buf_span(&head), e);
		if (rc == RC_OK)
			rc = write_all(fd, k->data, e);
		buf_reset(&head);
	}
	if (rc == RC_OK)
		rc = write_all(fd, buf_span(&head), e);
	buf_fini(&head);
	return rc;
}

static void
put_watched(struct buf *b, const struct htab *t)
{
	buf_put_u32(b, (uint32_t)t->count);
	for (struct hnode *n = NULL; (n = htab_walk(t, n)) != NULL;) {
		const struct keep *k = container_of(n, struct keep, node);
		const struct conf_version *v = &k->version;
		put_str(b, k->key);
		buf_put_u64(b, v->dev);
		buf_put_u64(b, v->ino);
		buf_put_u64(b, v->size);
		buf_put_u64(b, v->mtime_nsec);
		buf_put_u64(b, v->ctime_nsec);
	}
}

enum rc
conf_image_write(const struct conf *c, unsigned audience, int *fd_out, struct err *e)
{
	CHECK(c, SNAP_MAGIC);
	struct buf b;
	buf_init(&b, UINT32_MAX);
	put_str(&b, IMAGE_MAGIC);
	put_str(&b, c->dir);
	put_str(&b, c->main_file);
	put_str(&b, c->own_addresses);
	put_str(&b, c->tables_dir);
	buf_put_u8(&b, c->has_main);
	buf_put_u32(&b, (uint32_t)c->ncomputed);
	for (size_t i = 0; i < c->ncomputed; i++) {
		put_str(&b, c->computed[i].name);
		put_str(&b, c->computed[i].value);
	}
	buf_put_u32(&b, (uint32_t)c->nset);
	for (size_t i = 0; i < c->nset; i++)
		put_setting(&b, c->list[i]);
	buf_put_u32(&b, (uint32_t)c->nsvc);
	buf_put_u32(&b, (uint32_t)c->nlisted);
	for (size_t i = 0; i < c->nsvc; i++)
		put_service(&b, c->svcs[i]);
	put_keeps(&b, &c->notes);
	static const struct htab nothing;
	bool is_for_keys = audience == CONF_FOR_KEYS;
	put_keeps(&b, is_for_keys ? &nothing : &c->files);
	put_watched(&b, is_for_keys ? &nothing : &c->watched);
	int fd = -1;
	enum rc rc = RC_OK;
	if (b.over)
		rc = err_set(e, RC_TEMP, "configuration image: the files named in the configuration are too large");
	if (rc == RC_OK && (fd = memfd_create("dogana-conf", MFD_CLOEXEC | MFD_ALLOW_SEALING)) < 0)
		rc = err_set(e, RC_TEMP, "configuration image: memfd_create: %s", strerror(errno));
	if (rc == RC_OK)
		rc = write_all(fd, buf_span(&b), e);
	if (rc == RC_OK)
		rc = write_secrets(fd, &c->secrets, audience, e);
	if (rc == RC_OK && fcntl(fd, F_ADD_SEALS, SEALS) != 0)
		rc = err_set(e, RC_TEMP, "configuration image: cannot seal: %s", strerror(errno));
	buf_fini(&b);
	if (rc != RC_OK && fd >= 0)
		close(fd);
	*fd_out = rc == RC_OK ? fd : -1;
	return rc;
}

/* ---- reading ---- */

static const char *
get_str(struct conf *c, struct cur *in)
{
	return snap_str(c, cur_block(in));
}

static void
get_setting(struct conf *c, struct cur *in, struct setting *s)
{
	*s = (struct setting){ 0 };
	s->name = get_str(c, in);
	s->text = get_str(c, in);
	s->value = get_str(c, in);
	s->file = get_str(c, in);
	s->line = (int)cur_u32(in);
}

/* A count of things that each take at least size bytes of what is left; 0 and bad when it lies. */
static size_t
get_count(struct cur *in, size_t size)
{
	size_t n = cur_u32(in);
	if (n > cur_left(in) / size) {
		in->bad = true;
		return 0;
	}
	return n;
}

static void
get_service(struct conf *c, struct cur *in)
{
	struct svc *s = snap_svc_add(c);
	s->pub.name = get_str(c, in);
	s->pub.type = get_str(c, in);
	s->pub.command = get_str(c, in);
	s->pub.file = get_str(c, in);
	s->flags = get_str(c, in);
	s->pub.line = (int)cur_u32(in);
	s->pub.is_private = cur_u8(in) != 0;
	s->pub.unprivileged = cur_u8(in) != 0;
	s->chroot = (char)cur_u8(in);
	s->wakeup_if_used = cur_u8(in) != 0;
	s->pub.wakeup = (int)cur_u32(in);
	s->pub.maxproc = (int)cur_u32(in);
	s->pub.kind = service_kind_of(s->pub.command, NULL);
	size_t nargs = get_count(in, 4);
	const char **args = arena_zalloc(&c->arena, (nargs + 1) * sizeof(char *));
	BUG_ON(args == NULL);
	for (size_t i = 0; i < nargs; i++)
		args[i] = get_str(c, in);
	s->pub.args = args;
	size_t nset = get_count(in, 20);
	s->sets = arena_zalloc(&c->arena, nset * sizeof *s->sets + 1);
	BUG_ON(s->sets == NULL);
	for (size_t i = 0; i < nset; i++)
		get_setting(c, in, &s->sets[i]);
	s->nset = nset;
}

static void
get_keeps(struct conf *c, struct cur *in, struct htab *t)
{
	for (size_t n = get_count(in, 9); n > 0; n--) {
		struct keep *k = arena_zalloc(&c->arena, sizeof *k);
		BUG_ON(k == NULL);
		k->key = get_str(c, in);
		k->rc = cur_u8(in) == RC_OK ? RC_OK : RC_TEMP;
		k->data = cur_block(in);
		htab_insert(t, &k->node, span_hash(span_str(k->key)));
	}
}

static void
get_secrets(struct conf *c, struct cur *in)
{
	for (size_t n = get_count(in, 10); n > 0; n--) {
		struct keep *k = arena_zalloc(&c->arena, sizeof *k);
		BUG_ON(k == NULL);
		k->key = get_str(c, in);
		k->audience = cur_u8(in);
		k->rc = cur_u8(in) == RC_OK ? RC_OK : RC_TEMP;
		k->data = cur_block(in);
		htab_insert(&c->secrets, &k->node, span_hash(span_str(k->key)));
	}
}

static void
get_watched(struct conf *c, struct cur *in)
{
	for (size_t n = get_count(in, 44); n > 0; n--) {
		struct conf_version v;
		const char *path = get_str(c, in);
		v.dev = cur_u64(in);
		v.ino = cur_u64(in);
		v.size = cur_u64(in);
		v.mtime_nsec = cur_u64(in);
		v.ctime_nsec = cur_u64(in);
		conf_watch(c, path, &v);
	}
}

static void
get_all(struct conf *c, struct cur *in)
{
	c->main_file = get_str(c, in);
	c->own_addresses = get_str(c, in);
	c->tables_dir = get_str(c, in);
	c->has_main = cur_u8(in) != 0;
	size_t n = get_count(in, 8);
	in->bad = in->bad || n > NELEMS(c->computed) / 2; /* room for what the role computes itself */
	for (; n > 0 && !in->bad; n--) {
		const char *name = get_str(c, in);
		snap_compute(c, name, get_str(c, in));
	}
	for (n = get_count(in, 20); n > 0; n--) {
		struct setting s;
		get_setting(c, in, &s);
		snap_set(c, s, NULL);
	}
	n = get_count(in, 30);
	c->nlisted = cur_u32(in);
	in->bad |= c->nlisted > n;
	for (; n > 0; n--)
		get_service(c, in);
	get_keeps(c, in, &c->notes);
	for (struct hnode *h = NULL; (h = htab_walk(&c->notes, h)) != NULL;) {
		struct keep *k = container_of(h, struct keep, node);
		k->data = span_str(snap_str(c, k->data)); /* conf_attached() gives C strings */
	}
	get_keeps(c, in, &c->files);
	get_watched(c, in);
	get_secrets(c, in);
}

enum rc
conf_image_read(int fd, struct conf **out, struct err *e)
{
	struct stat st;
	*out = NULL;
	int seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0 || (seals & (F_SEAL_SHRINK | F_SEAL_WRITE)) != (F_SEAL_SHRINK | F_SEAL_WRITE))
		return err_set(e, RC_PERM, "configuration image: not a sealed memory file");
	if (fstat(fd, &st) != 0 || st.st_size <= 0)
		return err_set(e, RC_PERM, "configuration image: empty");
	size_t len = (size_t)st.st_size;
	void *map = mmap(NULL, len, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return err_set(e, RC_TEMP, "configuration image: mmap: %s", strerror(errno));
	struct cur in = cur_of(span_of(map, len));
	if (!span_eq(cur_block(&in), SPAN(IMAGE_MAGIC))) {
		munmap(map, len);
		return err_set(e, RC_PERM, "configuration image: of another version");
	}
	struct buf dir;
	buf_init(&dir, 65536);
	buf_put(&dir, cur_block(&in));
	struct conf *c = snap_new(buf_cstr(&dir));
	buf_fini(&dir);
	c->map = map;
	c->map_len = len;
	get_all(c, &in);
	if (!cur_done(&in)) {
		conf_unref(&c);
		return err_set(e, RC_PERM, "configuration image: damaged");
	}
	if (c->secrets.count > 0)
		(void)madvise(map, len, MADV_DONTDUMP);
	snap_compute_process(c);
	snap_settle_services(c);
	snap_fill(c);
	*out = c;
	return RC_OK;
}
