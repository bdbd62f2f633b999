/* SPDX-License-Identifier: BSD-2-Clause */
#include "map/cdbfile.h"

#include "base/mem.h"

#include <cdb.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

struct cdbfile_writer {
	struct cdb_make make;
	int fd;
	mode_t mode;
	char *path, *tmp;
};

static void
drop_nul(struct span *s)
{
	if (s->n > 0 && s->p[s->n - 1] == '\0')
		s->n--;
}

/* The 256 tables of places are within the file: it was not cut off. */
static bool
is_whole(const struct cdb *db, uint64_t size)
{
	struct cur in = cur_of(span_of(cdb_get(db, 2048, 0), 2048));
	for (int i = 0; in.p != NULL && i < 256; i++) {
		uint64_t at = cur_u32(&in), slots = cur_u32(&in);
		if (at < 2048 || at + slots * 8 > size)
			return false;
	}
	return in.p != NULL;
}

enum rc
cdbfile_read(const char *path, void (*fn)(void *arg, struct span key, struct span value), void *arg, struct conf_version *version_out,
    struct err *e)
{
	struct cdb db;
	unsigned at;
	int more;
	struct stat st;
	*version_out = conf_version_now(path);
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return err_set(e, RC_TEMP, "open %s: %s", path, strerror(errno));
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || cdb_init(&db, fd) != 0) {
		close(fd);
		return err_set(e, RC_TEMP, "%s: not a constant database", path);
	}
	cdb_seqinit(&at, &db);
	more = is_whole(&db, (uint64_t)st.st_size) ? 0 : -1;
	while (more >= 0 && (more = cdb_seqnext(&at, &db)) > 0) {
		struct span key = span_of(cdb_getkey(&db), cdb_keylen(&db)), value = span_of(cdb_getdata(&db), cdb_datalen(&db));
		if (key.p == NULL || value.p == NULL)
			break;
		if (key.n > 0 && key.p[key.n - 1] == '\0')
			drop_nul(&value);
		drop_nul(&key);
		fn(arg, key, value);
	}
	cdb_free(&db);
	close(fd);
	return more == 0 ? RC_OK : err_set(e, RC_TEMP, "%s: a damaged constant database", path);
}

enum rc
cdbfile_open(const char *path, mode_t mode, struct cdbfile_writer **out, struct err *e)
{
	struct cdbfile_writer *w = mem_zalloc(sizeof *w);
	size_t n = strlen(path) + 32;
	w->path = mem_strdup(path);
	w->tmp = mem_alloc(n);
	w->mode = mode;
	snprintf(w->tmp, n, "%s.tmp.%ld", path, (long)getpid());
	unlink(w->tmp);
	w->fd = open(w->tmp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	*out = w;
	if (w->fd < 0 || cdb_make_start(&w->make, w->fd) != 0)
		return err_set(e, RC_PERM, "%s: %s", w->tmp, strerror(errno));
	return RC_OK;
}

enum rc
cdbfile_add(struct cdbfile_writer *w, struct span key, struct span value, struct err *e)
{
	if (key.n > UINT32_MAX || value.n > UINT32_MAX || cdb_make_add(&w->make, key.p, (unsigned)key.n, value.p, (unsigned)value.n) != 0)
		return err_set(e, RC_PERM, "%s: %s", w->tmp, strerror(errno));
	return RC_OK;
}

enum rc
cdbfile_close(struct cdbfile_writer **wp, bool keep, struct err *e)
{
	struct cdbfile_writer *w = *wp;
	enum rc rc = RC_OK;
	*wp = NULL;
	if (w->fd >= 0) {
		bool made = cdb_make_finish(&w->make) == 0; /* frees its lists in any case */
		if (keep && (!made || fchmod(w->fd, w->mode) != 0 || fsync(w->fd) != 0 || rename(w->tmp, w->path) != 0))
			rc = err_set(e, RC_PERM, "%s: %s", w->path, strerror(errno));
		if (!keep || rc != RC_OK)
			unlink(w->tmp);
		close(w->fd);
	}
	mem_free(&w->path);
	mem_free(&w->tmp);
	mem_free(&w);
	return rc;
}
