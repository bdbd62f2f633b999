/* SPDX-License-Identifier: BSD-2-Clause */
#include "spool/spool.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/rand.h"
#include "spool/internal.h"
#include "spool/io.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <unistd.h>

#define TICK_USEC USEC_PER_SEC
enum { SEGMENT_LEAST = 64 << 10 };

/* ---- messages and their table ---- */

uint64_t
msg_hash(const struct spool *s, const struct spool_id *id)
{
	uint64_t h = (id->usec ^ s->hash_key) * UINT64_C(0x9e3779b97f4a7c15);
	h = (h ^ h >> 32 ^ id->serial) * UINT64_C(0xd6e8feb86659fd93);
	return h ^ h >> 29;
}

void
msg_enter(struct spool *s, struct spool_msg *m)
{
	list_init(&m->in_segment);
	htab_insert(&s->by_id, &m->by_id, msg_hash(s, &m->id));
}

void
msg_leave(struct spool *s, struct spool_msg *m)
{
	htab_remove(&s->by_id, &m->by_id);
	list_remove(&m->in_segment);
}

struct spool_msg *
spool_find(const struct spool *s, const struct spool_id *id)
{
	for (struct hnode *n = htab_first(&s->by_id, msg_hash(s, id)); n != NULL; n = htab_next(n)) {
		struct spool_msg *m = container_of(n, struct spool_msg, by_id);
		if (m->id.usec == id->usec && m->id.serial == id->serial)
			return m;
	}
	return NULL;
}

/* ---- opening ---- */

static void
settle(struct spool *s, const struct spool_settings *from)
{
	char *dir = s->dir;
	s->set = *from;
	s->set.dir = dir;
	if (s->set.segment_bytes < SEGMENT_LEAST)
		s->set.segment_bytes = SEGMENT_LEAST;
	s->set.segment_bytes &= ~(uint64_t)(SEG_PAGE - 1);
	if (s->set.segments_min < 2)
		s->set.segments_min = 2;
	if (s->set.segments_max < s->set.segments_min + 2)
		s->set.segments_max = s->set.segments_min + 2;
}

static enum rc
make_parents(char *dir, struct err *e)
{
	for (char *p = dir + 1; *p != '\0'; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		int r = spool_io->mkdirat(AT_FDCWD, dir, 0755);
		int error = errno;
		*p = '/';
		if (r != 0 && error != EEXIST && error != EROFS && error != EACCES)
			return err_set(e, RC_TEMP, "%s: %s", dir, strerrordesc_np(error));
	}
	return RC_OK;
}

/* Owner and mode are made right for what is new and for what is ours below queue_directory. */
static enum rc
open_dir(const struct spool_settings *set, int at, const char *name, bool ours, int *fd_out, struct err *e)
{
	bool made = spool_io->mkdirat(at, name, 0700) == 0;
	if (!made && errno != EEXIST)
		return err_set(e, RC_TEMP, "%s: %s", name, strerrordesc_np(errno));
	int fd = spool_io->openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | (ours ? O_NOFOLLOW : 0), 0);
	*fd_out = fd;
	struct stat st;
	if (fd < 0 || spool_io->fstat(fd, &st) != 0)
		return err_set(e, RC_TEMP, "%s: %s", name, strerrordesc_np(errno));
	if ((made || ours) && set->uid != 0 && (st.st_uid != set->uid || st.st_gid != set->gid) && fchown(fd, set->uid, set->gid) != 0)
		return err_set(e, RC_TEMP, "%s: cannot give it to its user: %s", name, strerrordesc_np(errno));
	if ((made || ours) && (st.st_mode & 07777) != 0700 && fchmod(fd, 0700) != 0)
		return err_set(e, RC_TEMP, "%s: cannot set its mode: %s", name, strerrordesc_np(errno));
	return RC_OK;
}

static enum rc
take_lock(struct spool *s, struct err *e)
{
	s->lock_fd = io_open(s->dir_fd, "lock", O_RDWR | O_CREAT);
	if (s->lock_fd < 0)
		return err_set(e, RC_TEMP, "%s/lock: %s", s->dir, strerrordesc_np(errno));
	if (s->set.uid != 0)
		(void)!fchown(s->lock_fd, s->set.uid, s->set.gid);
	if (flock(s->lock_fd, LOCK_EX | LOCK_NB) != 0)
		return err_set(e, RC_TEMP, "%s: another process uses this spool", s->dir);
	return RC_OK;
}

enum rc
spool_open(struct spool **out, const struct spool_settings *set, const struct spool_ops *ops, void *owner, struct err *e)
{
	struct spool *s = mem_zalloc(sizeof *s);
	*out = s;
	s->dir = mem_strdup(set->dir);
	s->ops = ops;
	s->owner = owner;
	s->dir_fd = s->journal_fd = s->messages_fd = s->drafts_fd = s->corrupt_fd = s->lock_fd = s->bell = -1;
	settle(s, set);
	list_init(&s->used);
	list_init(&s->ready);
	list_init(&s->retired);
	list_init(&s->waiting);
	list_init(&s->spare);
	s->hash_key = rand_u64();
	s->next_draft = 1;
	s->provider = (struct op_provider){ .name = "spool", .detach = commit_detach };
	enum rc rc = make_parents(s->dir, e);
	if (rc == RC_OK)
		rc = open_dir(&s->set, AT_FDCWD, s->dir, false, &s->dir_fd, e);
	if (rc == RC_OK)
		rc = open_dir(&s->set, s->dir_fd, "journal", true, &s->journal_fd, e);
	if (rc == RC_OK)
		rc = open_dir(&s->set, s->dir_fd, "messages", true, &s->messages_fd, e);
	if (rc == RC_OK)
		rc = open_dir(&s->set, s->dir_fd, "drafts", true, &s->drafts_fd, e);
	if (rc == RC_OK)
		rc = open_dir(&s->set, s->dir_fd, "corrupt", true, &s->corrupt_fd, e);
	if (rc == RC_OK)
		rc = take_lock(s, e);
	if (rc == RC_OK && spool_io->fsync(s->dir_fd) != 0)
		rc = err_set(e, RC_TEMP, "%s: %s", s->dir, strerrordesc_np(errno));
	if (rc == RC_OK && (s->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0)
		rc = err_set(e, RC_TEMP, "eventfd: %s", strerrordesc_np(errno));
	if (rc == RC_OK)
		admit_look(s);
	else
		spool_close(out);
	return rc;
}

/* ---- in the loop ---- */

static void
on_bell(struct watch *w, short what)
{
	struct spool *s = container_of(w, struct spool, watch);
	uint64_t n;
	(void)what;
	(void)!read(s->bell, &n, sizeof n);
	struct batch *b = committer_take(&s->committer);
	if (b != NULL)
		commit_landed(s, b);
	for (struct job *j; (j = filer_take(&s->filer)) != NULL;)
		segments_job_done(s, j);
	admit_update(s);
}

/* The end of a turn: all that this turn has put down leaves as one batch. */
static void
on_turn_end(struct loop_hook *h)
{
	struct spool *s = container_of(h, struct spool, hook);
	commit_launch(s);
	segments_tend(s);
	if (!s->accepting || s->blocked_since != 0)
		admit_update(s);
}

static void
on_lazy(struct timer *t)
{
	container_of(t, struct spool, lazy)->lazy_due = true; /* the end of this turn launches */
}

static void
on_tick(struct timer *t)
{
	struct spool *s = container_of(t, struct spool, tick);
	admit_look(s); /* the end of this turn tries again what failed */
	timer_set(t, TICK_USEC);
}

enum rc
spool_recover(struct spool *s, struct spool_report *out, struct err *e)
{
	*out = (struct spool_report){ 0 };
	enum rc rc = recover_run(s, out, e);
	if (rc != RC_OK)
		return rc;
	s->running = true;
	s->filer.dirty = true; /* removals of recovery, and of whoever ran before */
	committer_start(&s->committer, s->bell);
	filer_start(&s->filer, s->bell, s->journal_fd, s->messages_fd, s->drafts_fd, s->corrupt_fd);
	watch_init(&s->watch, s->bell, on_bell);
	watch_want(&s->watch, EV_READ);
	timer_init(&s->tick, on_tick);
	timer_init(&s->lazy, on_lazy);
	timer_set(&s->tick, TICK_USEC);
	loop_hook_add(&s->hook, LOOP_FLUSH_DATA, on_turn_end);
	segments_tend(s);
	admit_look(s);
	return RC_OK;
}

void
spool_reconfigure(struct spool *s, const struct spool_settings *settings)
{
	settle(s, settings);
	admit_look(s);
}

static void
close_fd(int *fd)
{
	if (*fd >= 0)
		(void)spool_io->close(*fd);
	*fd = -1;
}

static void
free_segments(struct list *l)
{
	while (!list_empty(l)) {
		struct segment *seg = list_entry(l->next, struct segment, link);
		segment_free(&seg);
	}
}

static void
stop(struct spool *s)
{
	s->closing = true;
	commit_close(s);
	filer_wait(&s->filer);
	for (struct job *j; (j = filer_take(&s->filer)) != NULL;)
		segments_job_done(s, j);
	commit_close(s); /* what those jobs put down */
	filer_stop(&s->filer);
	for (struct job *j; (j = filer_take(&s->filer)) != NULL;)
		segments_job_done(s, j);
	filer_fini(&s->filer);
	committer_stop(&s->committer);
	timer_clear(&s->tick);
	timer_clear(&s->lazy);
	watch_clear(&s->watch);
	loop_hook_remove(&s->hook);
}

void
spool_close(struct spool **sp)
{
	struct spool *s = *sp;
	if (s == NULL)
		return;
	if (s->running)
		stop(s);
	while (s->ndrafts > 0)
		spool_draft_drop(s, s->drafts[0]);
	free_segments(&s->used);
	free_segments(&s->ready);
	free_segments(&s->retired);
	segment_free(&s->turning);
	for (struct list *l; (l = list_pop(&s->waiting)) != NULL || (l = list_pop(&s->spare)) != NULL;) {
		struct batch *b = list_entry(l, struct batch, link);
		batch_free(&b);
	}
	htab_fini(&s->by_id);
	mem_free(&s->drafts);
	mem_free(&s->accepts);
	mem_free(&s->filer.stuck);
	close_fd(&s->journal_fd);
	close_fd(&s->messages_fd);
	close_fd(&s->drafts_fd);
	close_fd(&s->corrupt_fd);
	close_fd(&s->lock_fd);
	close_fd(&s->dir_fd);
	close_fd(&s->bell);
	mem_free(&s->dir);
	mem_free(sp);
}

/* ---- accepting ---- */

/* RC_OK: go on. */
static enum rc
may_accept(struct spool *s, const struct spool_id *id, size_t n)
{
	if (spool_find(s, id) != NULL)
		return RC_PERM;
	if (!s->running || s->closing || !s->accepting || !commit_room(s, n)) {
		s->was_full = s->retry_after == 0;
		metric_add(M_spool_full, 1);
		return RC_TEMP;
	}
	return RC_OK;
}

static void
begin(struct spool *s, struct spool_msg *m, const struct spool_id *id, uint64_t length)
{
	*m = (struct spool_msg){ .id = *id, .length = length, .flags = MSG_PENDING };
	msg_enter(s, m);
}

static struct job *
file_job(struct spool *s, struct span envelope, uint64_t draft, uint64_t length)
{
	struct job *j = job_new(JOB_ACCEPT);
	(void)s;
	j->envelope_len = envelope.n;
	j->draft = draft;
	j->length = length;
	buf_put(&j->bytes, envelope);
	return j;
}

void
spool_accept(struct spool *s, struct spool_msg *m, const struct spool_id *id, struct span envelope, struct span content, struct op *op)
{
	size_t n = rec_size(envelope.n, content.n);
	enum rc rc = may_accept(s, id, n);
	if (rc != RC_OK) {
		op_finish(op, rc);
		return;
	}
	begin(s, m, id, content.n);
	if (n > commit_record_max(s)) {
		struct job *j = file_job(s, envelope, s->next_draft++, content.n);
		j->from_memory = true;
		buf_put(&j->bytes, content);
		files_accept(s, m, j, op);
		return;
	}
	op_pend(op, &s->provider);
	commit_put(s, REC_ACCEPT, id, 0, envelope, content, op, false, 0);
}

void
spool_accept_draft(struct spool *s, struct spool_msg *m, const struct spool_id *id, struct span envelope, uint64_t draft,
    uint64_t content_len, uint32_t content_crc, struct op *op)
{
	enum rc rc = may_accept(s, id, 0);
	if (rc != RC_OK) {
		spool_draft_drop(s, draft);
		op_finish(op, rc);
		return;
	}
	if (!files_draft_forget(s, draft)) {
		op_finish(op, RC_PERM);
		return;
	}
	begin(s, m, id, content_len);
	struct job *j = file_job(s, envelope, draft, content_len);
	j->crc = content_crc;
	files_accept(s, m, j, op);
}

bool
spool_was_full(const struct spool *s)
{
	return s->was_full;
}

/* ---- states ---- */

void
spool_state(struct spool *s, struct spool_msg *m, struct span state, struct op *op)
{
	if (rec_size(0, state.n) > commit_record_max(s)) {
		if (op != NULL)
			op_finish(op, RC_TEMP);
		return;
	}
	if (op != NULL)
		op_pend(op, &s->provider);
	commit_put(s, REC_STATE, &m->id, ++m->version, SPAN_EMPTY, state, op, false, 0);
}

void
spool_done(struct spool *s, struct spool_msg *m)
{
	BUG_ON(m->pins > 0); /* somebody would read what is about to be reused */
	if ((m->flags & MSG_FILING) != 0)
		s->doomed++;
	bool filed = (m->flags & MSG_FILED) != 0;
	struct segment *seg = filed && list_linked(&m->in_segment) ? segment_find(s, m->last_segment) : NULL;
	if (seg != NULL)
		seg->ending++;
	bool named = filed || (m->flags & MSG_NAMED) != 0;
	commit_put(s, REC_DONE, &m->id, UINT32_MAX, SPAN_EMPTY, SPAN_EMPTY, NULL, named, seg != NULL ? m->last_segment : 0);
	msg_leave(s, m);
}

void
spool_pin(struct spool *s, struct spool_msg *m)
{
	(void)s;
	BUG_ON(m->pins == UINT32_MAX);
	m->pins++;
}

void
spool_unpin(struct spool *s, struct spool_msg *m)
{
	BUG_ON(m->pins == 0);
	if (--m->pins > 0 || (m->flags & MSG_FILED) == 0 || m->segment == 0)
		return;
	struct segment *seg = segment_find(s, m->segment);
	BUG_ON(seg == NULL || seg->readers == 0);
	m->segment = 0;
	m->offset = FILE_HEADER;
	if (--seg->readers > 0)
		return;
	list_each(l, &s->retired)
		if (list_entry(l, struct segment, link) == seg) {
			segment_tell_gone(s, seg);
			segment_free(&seg);
			return;
		}
}
