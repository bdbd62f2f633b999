/* SPDX-License-Identifier: BSD-2-Clause */
#include "quarantine/files.h"

#include "base/clock.h"
#include "base/crc32c.h"
#include "base/mem.h"
#include "spool/io.h"
#include "spool/msgfile.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum { LEAF_SECONDS = 256, LOWER = 256, CHUNK = 1 << 20, END_BYTES = 64 << 10, END_GROWS = 32, TAIL_MAX = 64 << 20 };

void
qfiles_init(struct qfiles *f, int dir_fd, int corrupt_fd)
{
	*f = (struct qfiles){ .dir_fd = dir_fd, .corrupt_fd = corrupt_fd };
	for (unsigned i = 0; i < LEAF_CACHE; i++)
		f->cache[i].fd = -1;
}

void
qfiles_fini(struct qfiles *f)
{
	for (unsigned i = 0; i < LEAF_CACHE; i++)
		if (f->cache[i].fd >= 0)
			close(f->cache[i].fd);
}

unsigned
qfile_leaf(const struct spool_id *id)
{
	return (unsigned)(id->usec / USEC_PER_SEC / LEAF_SECONDS % LEAVES);
}

static int
open_dir(int at, const char *name, bool make)
{
	int fd = io_open(at, name, O_RDONLY | O_DIRECTORY);
	if (fd >= 0 || errno != ENOENT || !make)
		return fd;
	if (spool_io->mkdirat(at, name, 0700) != 0 && errno != EEXIST)
		return -1;
	return io_open(at, name, O_RDONLY | O_DIRECTORY);
}

unsigned
qfile_leaf_from(struct qfiles *f, unsigned leaf)
{
	char high[2];
	for (; leaf < LEAVES && leaf % LOWER == 0; leaf += LOWER) {
		snprintf(high, sizeof high, "%x", leaf / LOWER % 16);
		int upper = open_dir(f->dir_fd, high, false);
		if (upper < 0 && errno == ENOENT)
			continue;
		if (upper >= 0)
			close(upper);
		break;
	}
	return leaf;
}

int
qfile_leaf_fd(struct qfiles *f, unsigned leaf, bool make)
{
	char high[2], low[3];
	for (unsigned i = 0; i < LEAF_CACHE; i++)
		if (f->cache[i].fd >= 0 && f->cache[i].leaf == leaf)
			return f->cache[i].fd;
	snprintf(high, sizeof high, "%x", leaf / LOWER % 16);
	snprintf(low, sizeof low, "%02x", leaf % LOWER);
	int upper = open_dir(f->dir_fd, high, make);
	if (upper < 0)
		return -1;
	int fd = open_dir(upper, low, make), error = errno;
	close(upper);
	if (fd >= 0) {
		unsigned i = f->turn++ % LEAF_CACHE;
		if (f->cache[i].fd >= 0)
			close(f->cache[i].fd);
		f->cache[i].fd = fd;
		f->cache[i].leaf = leaf;
	}
	errno = error;
	return fd;
}

static enum rc
failed(struct err *e, const char *what, int error)
{
	return err_set(e, RC_TEMP, "%s: %s", what, strerrordesc_np(error));
}

/* ---- reading ---- */

static enum rc
read_tail(int fd, uint64_t size, const struct spool_id *id, struct buf *tail, struct err *e)
{
	size_t n, got;
	uint64_t length;
	unsigned char *p;
	int error;
	buf_reset(tail);
	/* a trailer of many recipients or parts is longer than most */
	for (size_t want = END_BYTES;; want *= END_GROWS) {
		n = size < want ? (size_t)size : want;
		p = buf_reserve(tail, n);
		error = io_read(fd, p, n, size - n, &got);
		if (error != 0)
			return failed(e, "read", error);
		if (got == n && qrec_find_length(span_of(p, n), size, id, &length) == RC_OK)
			break;
		if (got < n || n == size || want >= TAIL_MAX)
			return err_set(e, RC_PERM, "its end is damaged");
	}
	uint64_t at = qrec_at(length);
	if (size - at <= n) {
		buf_commit(tail, n);
		buf_consume(tail, n - (size_t)(size - at));
		return RC_OK;
	}
	if (size - at > TAIL_MAX)
		return err_set(e, RC_PERM, "records of %llu octets", (unsigned long long)(size - at));
	n = (size_t)(size - at);
	p = buf_reserve(tail, n);
	error = io_read(fd, p, n, at, &got);
	if (error != 0)
		return failed(e, "read", error);
	buf_commit(tail, got);
	return RC_OK;
}

enum rc
qfile_view(struct qfiles *f, const struct spool_id *id, struct buf *tail, struct arena *a, struct qview *v, struct stat *st_out, int *fd_out,
    struct err *e)
{
	char name[SPOOL_ID_TEXT];
	struct stat st;
	spool_id_text(id, name);
	int dir = qfile_leaf_fd(f, qfile_leaf(id), false);
	if (dir < 0)
		return errno == ENOENT ? err_set(e, RC_NONE, "its file is not there") : errno == ENOTDIR || errno == ELOOP ?
		    err_set(e, RC_PERM, "something else is in the place of its directory") : failed(e, "directory", errno);
	int fd = io_open(dir, name, O_RDONLY);
	if (fd < 0)
		return errno == ENOENT ? err_set(e, RC_NONE, "its file is not there") :
		    errno == ELOOP || errno == ENXIO ? err_set(e, RC_PERM, "not a regular file") : failed(e, "open", errno);
	enum rc rc;
	if (spool_io->fstat(fd, &st) != 0)
		rc = failed(e, "fstat", errno);
	else if (!S_ISREG(st.st_mode))
		rc = err_set(e, RC_PERM, "not a regular file");
	else if ((rc = read_tail(fd, (uint64_t)st.st_size, id, tail, e)) == RC_OK)
		rc = qview_get(buf_span(tail), id, a, v, e);
	if (rc == RC_OK && st_out != NULL)
		*st_out = st;
	if (rc == RC_OK && fd_out != NULL)
		*fd_out = fd;
	else
		close(fd);
	return rc;
}

int
qfile_content_fd(struct qfiles *f, const struct spool_id *id)
{
	char name[SPOOL_ID_TEXT];
	spool_id_text(id, name);
	int dir = qfile_leaf_fd(f, qfile_leaf(id), false);
	return dir < 0 ? -1 : io_open(dir, name, O_RDONLY);
}

enum rc
qfile_sum(int fd, const struct qview *v, struct err *e)
{
	uint32_t crc;
	int error = file_sum(fd, 0, v->c.length, &crc);
	if (error != 0 && error != ENODATA)
		return failed(e, "read", error);
	return error == 0 && crc == v->c.crc ? RC_OK : err_set(e, RC_PERM, "its content is damaged");
}

/* ---- writing ---- */

/* The content in front of records, with its sum; in pieces when it is large. */
static int
copy_content(int fd, const struct qfile_new *n, struct buf *b, struct qrec_common *c)
{
	for (uint64_t done = 0; done < n->length;) {
		size_t part = n->length - done < CHUNK ? (size_t)(n->length - done) : CHUNK, got = part;
		struct span s;
		buf_reset(b);
		if (n->fd < 0) {
			s = span_head(span_from(n->content, (size_t)done), part);
			if (done + part == n->length)
				buf_put(b, s); /* the last piece leaves with the records */
		} else {
			unsigned char *p = buf_reserve(b, part);
			int error = io_read(n->fd, p, part, n->offset + done, &got);
			if (error != 0 || got < part)
				return error != 0 ? error : ENODATA;
			buf_commit(b, part);
			s = buf_span(b);
		}
		c->crc = crc32c(c->crc, s);
		done += part;
		if (fd >= 0 && done < n->length) {
			int error = io_write_span(fd, s, done - part);
			if (error != 0)
				return error;
		}
	}
	return 0;
}

static int
write_all(int fd, const struct qfile_new *n, struct buf *b, uint64_t *size_out)
{
	static const unsigned char zeros[QREC_ALIGN];
	struct qrec_common c = { .id = n->id, .length = n->length };
	buf_reset(b);
	int error = copy_content(fd, n, b, &c);
	if (error != 0)
		return error;
	uint64_t at = n->length - buf_len(b);
	buf_put(b, span_of(zeros, (size_t)(qrec_at(n->length) - n->length)));
	qrec_put_trailer(b, &c, n->envelope, n->numbers, n->numbers == NULL ? n->env->nrcpt : n->n);
	if (b->over)
		return EFBIG;
	*size_out = at + buf_len(b);
	return io_write_span(fd, buf_span(b), at);
}

/* A whole message is there already: the same one, asked for again, perhaps for more recipients. */
static enum rc
put_again(struct qfiles *f, const struct qfile_new *n, struct buf *scratch, struct arena *a, struct qview *v, struct err *e)
{
	struct qrec_common c = { .id = n->id };
	if (v->c.length != n->length || v->env.nrcpt != n->env->nrcpt)
		return err_set(e, RC_PERM, "its id is another message's");
	struct buf b;
	buf_init(&b, scratch->max);
	int error = copy_content(-1, n, &b, &c);
	buf_fini(&b);
	if (error != 0)
		return failed(e, "read", error);
	if (c.crc != v->c.crc)
		return err_set(e, RC_PERM, "its id is another message's");
	struct qnote note = { .state = QUAR_HELD, .when = clock_wall() };
	uint32_t count = n->numbers == NULL ? n->env->nrcpt : n->n;
	struct qnote_rcpt *more = mem_calloc(count, sizeof *more);
	bool *is_there = mem_calloc(v->env.nrcpt + 1u, sizeof *is_there);
	for (uint32_t i = 0; i < v->nrcpt; i++)
		if (v->numbers[i] < v->env.nrcpt)
			is_there[v->numbers[i]] = true;
	for (uint32_t i = 0; i < count; i++) {
		uint32_t number = n->numbers == NULL ? i : n->numbers[i];
		if (!is_there[number])
			more[note.n++].number = number;
	}
	note.rcpt = more;
	enum rc rc = note.n > 0 ? qfile_note(f, v, a, &note, e) : RC_OK;
	mem_free(&is_there);
	mem_free(&more);
	return rc;
}

enum rc
qfile_put(struct qfiles *f, const struct qfile_new *n, struct buf *scratch, struct arena *a, struct qview *v, bool *is_new_out,
    uint64_t *size_out, struct err *e)
{
	char name[SPOOL_ID_TEXT];
	spool_id_text(&n->id, name);
	*is_new_out = false;
	int dir = qfile_leaf_fd(f, qfile_leaf(&n->id), true);
	if (dir < 0)
		return failed(e, "directory", errno);
	for (unsigned tries = 0; tries < 3; tries++) {
		int fd = io_open(dir, name, O_WRONLY | O_CREAT | O_EXCL);
		if (fd >= 0) {
			int error = write_all(fd, n, scratch, size_out);
			close(fd);
			if (error == 0) {
				*is_new_out = true;
				return RC_OK;
			}
			(void)spool_io->unlinkat(dir, name, 0);
			return failed(e, "write", error);
		}
		if (errno != EEXIST)
			return failed(e, "create", errno);
		struct buf *tail = scratch;
		struct stat st;
		int there = -1;
		enum rc rc = qfile_view(f, &n->id, tail, a, v, &st, &there, e);
		/* after a loss of power a trailer may be whole and the content not */
		if (rc == RC_OK)
			rc = qfile_sum(there, v, e);
		if (there >= 0)
			close(there);
		if (rc == RC_OK) {
			/* what v points at must outlive the scratch buffer */
			struct span kept = arena_span(a, buf_span(tail));
			if (kept.n != buf_len(tail) || qview_get(kept, &n->id, a, v, e) != RC_OK)
				return err_set(e, RC_TEMP, "too much to remember");
			*size_out = (uint64_t)st.st_size;
			return put_again(f, n, scratch, a, v, e);
		}
		if (rc == RC_TEMP)
			return rc;
		if (rc == RC_PERM && qfile_aside(f, &n->id, e) != RC_OK)
			return RC_TEMP;
	}
	return err_set(e, RC_TEMP, "its place is taken");
}

enum rc
qfile_note(struct qfiles *f, struct qview *v, struct arena *a, const struct qnote *note, struct err *e)
{
	char name[SPOOL_ID_TEXT];
	struct stat st;
	struct buf b;
	spool_id_text(&v->c.id, name);
	int dir = qfile_leaf_fd(f, qfile_leaf(&v->c.id), false), fd = dir < 0 ? -1 : io_open(dir, name, O_WRONLY);
	if (fd < 0)
		return failed(e, "open", errno);
	uint64_t at = qrec_at(v->c.length) + v->good;
	int error = spool_io->fstat(fd, &st) != 0 ? errno : 0;
	if (error == 0 && (uint64_t)st.st_size > at)
		error = spool_io->ftruncate(fd, io_off(at)) != 0 ? errno : 0; /* a note that was torn */
	buf_init(&b, QREC_MAX);
	qrec_put_note(&b, &v->c, note);
	if (error == 0)
		error = b.over ? EFBIG : io_write_span(fd, buf_span(&b), at);
	if (error != 0)
		(void)spool_io->ftruncate(fd, io_off(at));
	close(fd);
	if (error == 0) {
		v->good += buf_len(&b);
		if (!qview_apply(v, a, note))
			error = ENOMEM;
	}
	buf_fini(&b);
	return error == 0 ? RC_OK : failed(e, "note", error);
}

int
qfile_remove(struct qfiles *f, const struct spool_id *id)
{
	char name[SPOOL_ID_TEXT];
	spool_id_text(id, name);
	int dir = qfile_leaf_fd(f, qfile_leaf(id), false);
	if (dir < 0)
		return errno == ENOENT ? 0 : errno;
	return spool_io->unlinkat(dir, name, 0) == 0 || errno == ENOENT ? 0 : errno;
}

enum rc
qfile_aside(struct qfiles *f, const struct spool_id *id, struct err *e)
{
	char name[SPOOL_ID_TEXT], to[SPOOL_ID_TEXT + 24];
	spool_id_text(id, name);
	int dir = qfile_leaf_fd(f, qfile_leaf(id), false);
	if (dir < 0)
		return failed(e, "directory", errno);
	snprintf(to, sizeof to, "%s.%llx", name, (unsigned long long)clock_wall());
	if (spool_io->renameat(dir, name, f->corrupt_fd, to) != 0 && errno != ENOENT)
		return failed(e, "rename to corrupt/", errno);
	return RC_OK;
}
