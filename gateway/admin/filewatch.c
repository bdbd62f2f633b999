/* SPDX-License-Identifier: BSD-2-Clause */
#include "admin/filewatch.h"

#include "base/clock.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

static const uint64_t LOOK_USEC = 250 * 1000;

static void
forgive(struct watched *f)
{
	f->is_tried = false;
	f->refused_at = 0;
	f->why[0] = '\0';
}

/* Somebody has it open for writing: a table that is made by a slow program is half a table, however long it rests.
 * A read lease is only given when there is no writer; where there are no leases (or not for us) nobody knows. */
static bool
is_being_written(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return false;
	bool busy = fcntl(fd, F_SETLEASE, F_RDLCK) != 0 && errno == EAGAIN;
	(void)fcntl(fd, F_SETLEASE, F_UNLCK);
	close(fd);
	return busy;
}

/* True: ready to be taken. */
static bool
look(struct watched *f)
{
	struct conf_version now = conf_version_now(f->path);
	bool settled = conf_version_same(&now, &f->seen);
	f->seen = now;
	f->is_ready = f->is_again = false;
	if (conf_version_same(&now, &f->loaded))
		forgive(f);
	else if (settled && f->is_tried && conf_version_same(&now, &f->tried))
		f->is_again = true;
	else if (settled)
		f->is_ready = !is_being_written(f->path);
	return f->is_ready;
}

static void
on_timer(struct timer *t)
{
	struct filewatch *w = container_of(t, struct filewatch, timer);
	size_t ready = 0;
	for (size_t i = 0; i < w->count; i++)
		ready += look(&w->file[i]);
	if (ready == 0)
		w->one_by_one = w->fresh_only = false;
	if (ready > 0)
		w->changed(w);
	timer_set(&w->timer, LOOK_USEC);
}

void
filewatch_start(struct filewatch *w, void (*changed)(struct filewatch *))
{
	w->changed = changed;
	signal(SIGIO, SIG_IGN); /* what a writer that comes while we look would send us */
	timer_init(&w->timer, on_timer);
	timer_set(&w->timer, LOOK_USEC);
}

static void
free_files(struct watched *files, size_t n)
{
	for (size_t i = 0; i < n; i++)
		mem_free(&files[i].path);
	mem_free(&files);
}

void
filewatch_stop(struct filewatch *w)
{
	timer_clear(&w->timer);
	free_files(w->file, w->count);
	w->file = NULL;
	w->count = 0;
}

static struct watched *
find(struct watched *files, size_t n, const char *path)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(files[i].path, path) == 0)
			return &files[i];
	return NULL;
}

struct refill {
	struct filewatch *w;
	struct watched *before;
	size_t nbefore, cap;
};

static void
add_file(void *arg, const char *path, const struct conf_version *v)
{
	struct refill *r = arg;
	struct filewatch *w = r->w;
	const struct watched *old = find(r->before, r->nbefore, path);
	if (w->count == r->cap) {
		r->cap = r->cap > 0 ? r->cap * 2 : 16;
		w->file = mem_reallocarray(w->file, r->cap, sizeof *w->file);
	}
	struct watched *f = &w->file[w->count++];
	*f = (struct watched){ .seen = *v };
	if (old != NULL)
		*f = *old;
	f->path = mem_strdup(path);
	f->loaded = *v;
	f->is_ready = false;
	if (conf_version_same(&f->loaded, &f->seen))
		forgive(f);
}

void
filewatch_set(struct filewatch *w, const struct conf *c)
{
	struct refill r = { .w = w, .before = w->file, .nbefore = w->count };
	w->file = NULL;
	w->count = 0;
	conf_watched_each(c, add_file, &r);
	free_files(r.before, r.nbefore);
}

size_t
filewatch_ready(const struct filewatch *w, const char ***paths_out)
{
	size_t n = 0;
	const char **paths = *paths_out = mem_calloc(w->count + 1, sizeof *paths);
	for (size_t i = 0; i < w->count && !(w->one_by_one && n == 1); i++)
		if (w->file[i].is_ready || (w->file[i].is_again && !w->fresh_only))
			paths[n++] = w->file[i].path;
	return n;
}

void
filewatch_same(struct filewatch *w, const char *path)
{
	struct watched *f = find(w->file, w->count, path);
	if (f == NULL)
		return;
	f->loaded = f->seen;
	f->is_ready = false;
	forgive(f);
}

bool
filewatch_refused(struct filewatch *w, const char *const *paths, size_t n, const char *why)
{
	if (n > 1) {
		bool had_again = false;
		for (size_t i = 0; i < n; i++) {
			const struct watched *with = find(w->file, w->count, paths[i]);
			had_again |= with != NULL && with->is_again;
		}
		w->fresh_only = true;
		w->one_by_one = !had_again;
		return false;
	}
	struct watched *f = n == 1 ? find(w->file, w->count, paths[0]) : NULL;
	if (f == NULL)
		return true;
	f->tried = f->seen;
	f->is_tried = true;
	f->is_ready = false;
	f->refused_at = clock_wall();
	struct buf b;
	buf_init(&b, sizeof f->why - 1);
	buf_put_safe(&b, span_str(why), sizeof f->why - 1, true);
	snprintf(f->why, sizeof f->why, "%s", buf_cstr(&b));
	buf_fini(&b);
	return true;
}

size_t
filewatch_refused_count(const struct filewatch *w)
{
	size_t n = 0;
	for (size_t i = 0; i < w->count; i++)
		n += w->file[i].refused_at != 0;
	return n;
}

void
filewatch_text(const struct filewatch *w, struct buf *out)
{
	for (size_t i = 0; i < w->count; i++)
		if (w->file[i].refused_at != 0)
			buf_printf(out, "not in force: %s has changed and cannot be used, the one before it is: %s\n", w->file[i].path, w->file[i].why);
}

void
filewatch_json(const struct filewatch *w, struct buf *out)
{
	bool first = true;
	buf_printf(out, "\"files\":%zu,\"refused\":[", w->count);
	for (size_t i = 0; i < w->count; i++) {
		const struct watched *f = &w->file[i];
		if (f->refused_at == 0)
			continue;
		buf_puts(out, first ? "{\"path\":" : ",{\"path\":");
		buf_put_json(out, span_str(f->path), 4096);
		buf_printf(out, ",\"since\":%llu,\"why\":", (unsigned long long)(f->refused_at / USEC_PER_SEC));
		buf_put_json(out, span_str(f->why), sizeof f->why);
		buf_puts(out, "}");
		first = false;
	}
	buf_puts(out, "]");
}
