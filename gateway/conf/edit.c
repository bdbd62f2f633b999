/* SPDX-License-Identifier: BSD-2-Clause */
#include "conf/edit.h"

#include "conf/snap.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static bool
is_blank(unsigned char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

bool
edit_key(enum edit_syntax syntax, struct span line, struct buf *key_out)
{
	buf_reset(key_out);
	struct span first, second;
	if (syntax == EDIT_MAIN) {
		size_t n = 0;
		while (n < line.n && line.p[n] != '=' && !is_blank(line.p[n]))
			n++;
		buf_put(key_out, span_head(line, n));
		return n > 0;
	}
	if (!span_word(&line, " \t\r\n\v\f", &first) || !span_word(&line, " \t\r\n\v\f", &second))
		return false;
	buf_put(key_out, first);
	buf_putc(key_out, '/');
	buf_put(key_out, second);
	return true;
}

static struct edit *
edit_for(enum edit_syntax syntax, struct span line, struct edit *edits, size_t n, struct buf *key)
{
	if (!edit_key(syntax, line, key))
		return NULL;
	for (size_t i = 0; i < n; i++)
		if (span_eq(buf_span(key), edits[i].key))
			return &edits[i];
	return NULL;
}

static void
put_line(struct buf *out, struct span line)
{
	buf_put(out, line);
	buf_putc(out, '\n');
}

void
edit_text(enum edit_syntax syntax, struct span text, struct edit *edits, size_t n, struct buf *out)
{
	struct buf key;
	struct edit *at = NULL; /* of the logical line we are in */
	buf_init(&key, SIZE_MAX);
	while (text.n > 0) {
		size_t end = span_chr(text, '\n');
		struct span line = span_head(text, end), trimmed = span_trim(line);
		text = span_from(text, end == SIZE_MAX ? text.n : end + 1);
		if (trimmed.n == 0 || trimmed.p[0] == '#') {
			put_line(out, line);
			continue;
		}
		bool starts = !is_blank(line.p[0]);
		if (starts)
			at = edit_for(syntax, line, edits, n, &key);
		if (at == NULL) {
			put_line(out, line);
		} else if (at->op == EDIT_COMMENT) {
			buf_putc(out, '#');
			put_line(out, line);
			at->done = true;
		} else if (starts && at->op == EDIT_SET && !at->done) {
			put_line(out, at->line);
			at->done = true;
		} else if (at->op == EDIT_DROP) {
			at->done = true;
		}
	}
	for (size_t i = 0; i < n; i++)
		if (edits[i].op == EDIT_SET && !edits[i].done) {
			put_line(out, edits[i].line);
			edits[i].done = true;
		}
	buf_fini(&key);
}

static enum rc
write_file(const char *path, const struct stat *like, struct span text, struct err *e)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, like->st_mode & 07777);
	if (fd < 0)
		return err_set(e, RC_TEMP, "create %s: %s", path, strerror(errno));
	bool ok = fchmod(fd, like->st_mode & 07777) == 0;
	if (fchown(fd, like->st_uid, like->st_gid) != 0 && errno != EPERM)
		ok = false;
	while (ok && text.n > 0) {
		ssize_t n = write(fd, text.p, text.n);
		if (n > 0)
			text = span_from(text, (size_t)n);
		else if (errno != EINTR)
			ok = false;
	}
	ok = ok && fsync(fd) == 0;
	if (!ok) {
		err_set(e, RC_TEMP, "write %s: %s", path, strerror(errno));
		unlink(path);
	}
	if (close(fd) != 0 && ok)
		return err_set(e, RC_TEMP, "close %s: %s", path, strerror(errno));
	return ok ? RC_OK : RC_TEMP;
}

static enum rc
replace_file(enum edit_syntax syntax, const char *path, int dirfd, struct edit *edits, size_t n, struct err *e)
{
	struct stat st = { .st_mode = 0644, .st_uid = geteuid(), .st_gid = getegid() };
	bool exists = stat(path, &st) == 0;
	struct buf old, new, tmp;
	buf_init(&old, CONF_FILE_MAX);
	buf_init(&new, SIZE_MAX);
	buf_init(&tmp, PATH_MAX + 32);
	enum rc rc = exists ? snap_read_file(path, CONF_FILE_MAX, &old, e) : RC_OK;
	if (rc == RC_OK) {
		edit_text(syntax, buf_span(&old), edits, n, &new);
		buf_printf(&tmp, "%s.%ld.tmp", path, (long)getpid());
		rc = write_file(buf_cstr(&tmp), &st, buf_span(&new), e);
	}
	if (rc == RC_OK && rename(buf_cstr(&tmp), path) != 0) {
		rc = err_set(e, RC_TEMP, "rename to %s: %s", path, strerror(errno));
		unlink(buf_cstr(&tmp));
	}
	if (rc == RC_OK && fsync(dirfd) != 0)
		rc = err_set(e, RC_TEMP, "fsync the directory of %s: %s", path, strerror(errno));
	buf_fini(&old);
	buf_fini(&new);
	buf_fini(&tmp);
	return rc;
}

enum rc
edit_file(enum edit_syntax syntax, const char *path, struct edit *edits, size_t n, struct err *e)
{
	char real[PATH_MAX], dir[PATH_MAX];
	if (realpath(path, real) == NULL)
		snprintf(real, sizeof real, "%s", path);
	snprintf(dir, sizeof dir, "%s", real);
	int fd = open(dirname(dir), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_set(e, RC_TEMP, "open the directory of %s: %s", path, strerror(errno));
	enum rc rc = flock(fd, LOCK_EX) == 0 ? RC_OK : err_set(e, RC_TEMP, "lock the directory of %s: %s", path, strerror(errno));
	if (rc == RC_OK)
		rc = replace_file(syntax, real, fd, edits, n, e);
	close(fd);
	return rc;
}
