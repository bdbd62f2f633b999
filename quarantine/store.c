/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The loop's side: requests become jobs, jobs come back and finish their requests. Nothing here waits for a disk but quar_open().
 */
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "quarantine/internal.h"
#include "spool/io.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { TICK_USEC = 60000000, SOON_USEC = 200000, ARENA_MAX = 512 << 20, ADDR_MAX = 1024 };

/* ---- jobs ---- */

struct quar_job *
qjob_new(enum qjob_kind kind)
{
	struct quar_job *j = mem_zalloc(sizeof *j);
	list_init(&j->link);
	j->kind = kind;
	j->file.fd = j->res.fd = -1;
	arena_init(&j->arena, ARENA_MAX);
	buf_init(&j->bytes, SIZE_MAX / 4);
	buf_init(&j->tail, QREC_MAX);
	return j;
}

void
qjob_free(struct quar_job **jp)
{
	struct quar_job *j = *jp;
	if (j == NULL)
		return;
	if (j->res.fd >= 0)
		close(j->res.fd);
	arena_fini(&j->arena);
	buf_fini(&j->bytes);
	buf_fini(&j->tail);
	mem_free(jp);
}

void
quar_ring(struct quar *q)
{
	uint64_t one = 1;
	(void)!write(q->bell, &one, sizeof one);
}

void
quar_warn(struct quar *q, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	pthread_mutex_lock(&q->lock);
	if (q->news.nwarnings < NELEMS(q->news.warnings))
		(void)vsnprintf(q->news.warnings[q->news.nwarnings++], sizeof q->news.warnings[0], fmt, ap);
	else
		q->news.warnings_lost++;
	quar_ring(q);
	pthread_mutex_unlock(&q->lock);
	va_end(ap);
}

/* ---- requests ---- */

/* The owner does not wait any more; a copy of content that is under way is waited for. */
static void
detach(struct op *op)
{
	struct quar_req *r = container_of(op, struct quar_req, op);
	struct quar_job *j = r->job;
	if (j == NULL)
		return;
	struct quar *q = j->q;
	r->job = NULL;
	pthread_mutex_lock(&q->lock);
	j->req = NULL;
	while (q->copying == j)
		pthread_cond_wait(&q->copied, &q->lock);
	pthread_mutex_unlock(&q->lock);
}

static const struct op_provider provider = { .name = "quarantine", .detach = detach };

void
quar_req_init(struct quar_req *r, struct op_owner *owner, op_fn *done)
{
	*r = (struct quar_req){ .fd = -1 };
	op_init(&r->op, owner, done);
}

/* Results of the last time go; the op must be idle. (Its links stay as they are.) */
static void
clear(struct quar_req *r)
{
	struct op op = r->op;
	if (r->fd >= 0)
		close(r->fd);
	if (r->job != NULL)
		qjob_free(&r->job);
	*r = (struct quar_req){ .fd = -1 };
	r->op = op;
}

void
quar_req_fini(struct quar_req *r)
{
	op_cancel(&r->op);
	clear(r);
}

static struct quar_job *
job_for(struct quar *q, struct quar_req *r, enum qjob_kind kind)
{
	struct quar_job *j = qjob_new(kind);
	j->q = q;
	if (r != NULL) {
		BUG_ON(r->op.state != OP_IDLE);
		clear(r);
		r->job = j;
		j->req = r;
		op_pend(&r->op, &provider);
	}
	memcpy(j->retention, q->set.retention, sizeof j->retention);
	j->size_limit = q->set.size_limit;
	return j;
}

static bool
is_readers(enum qjob_kind k)
{
	return k >= QJOB_GET;
}

static void
give(struct quar *q, struct quar_job *j)
{
	pthread_mutex_lock(&q->lock);
	if (j->rc != RC_OK || j->kind == QJOB_ALLOW_LIST) {
		list_append(&q->done, &j->link);
		quar_ring(q);
	} else if (is_readers(j->kind)) {
		list_append(&q->read, &j->link);
		pthread_cond_signal(&q->to_reader);
	} else {
		list_append(&q->write, &j->link);
		q->nwrite++;
		if (!q->gathering || j->kind != QJOB_PUT || q->nwrite >= BATCH_MAX)
			pthread_cond_signal(&q->to_writer);
	}
	pthread_mutex_unlock(&q->lock);
}

static void
refuse(struct quar *q, struct quar_job *j, enum rc rc, const char *why)
{
	j->rc = err_set(&j->why, rc, "%s", why);
	give(q, j);
}

void
quar_put(struct quar *q, struct quar_req *r, const struct quar_new *n)
{
	struct quar_job *j = job_for(q, r, QJOB_PUT);
	struct buf e;
	j->id = n->id;
	buf_init(&e, QREC_MAX);
	envelope_put(&e, n->env);
	j->file = (struct qfile_new){ .id = n->id, .fd = -1, .offset = n->offset, .length = n->length, .n = n->nrcpt, .env = &j->env };
	/* decoded again from bytes of our own: nothing points at the caller's */
	j->file.envelope = arena_span(&j->arena, buf_span(&e));
	bool is_good = !e.over && j->file.envelope.n == buf_len(&e) && envelope_get(j->file.envelope, &j->arena, &j->env) == RC_OK && j->env.nrcpt > 0;
	buf_fini(&e);
	if (is_good && n->rcpt != NULL) {
		uint32_t *numbers = arena_alloc(&j->arena, (n->nrcpt + 1u) * sizeof *numbers);
		is_good = numbers != NULL && n->nrcpt > 0;
		for (uint32_t i = 0; is_good && i < n->nrcpt; i++) {
			numbers[i] = n->rcpt[i];
			is_good = numbers[i] < j->env.nrcpt && (i == 0 || numbers[i] > numbers[i - 1]);
		}
		j->file.numbers = numbers;
	}
	if (!is_good) {
		refuse(q, j, RC_PERM, "its envelope cannot be stored");
		return;
	}
	if (q->waiting >= WAITING_MAX || q->waiting_bytes > WAITING_BYTES_MAX) {
		refuse(q, j, RC_TEMP, "too many messages wait to be stored");
		return;
	}
	if (n->fd >= 0) {
		j->file.fd = n->fd;
	} else {
		buf_put(&j->bytes, n->content);
		j->file.content = buf_span(&j->bytes);
		j->file.length = n->content.n;
	}
	j->is_counted = true;
	q->waiting++;
	q->waiting_bytes += buf_len(&j->bytes);
	give(q, j);
}

static void
ask(struct quar *q, struct quar_req *r, enum qjob_kind kind, const struct spool_id *id)
{
	struct quar_job *j = job_for(q, r, kind);
	if (id != NULL)
		j->id = *id;
	give(q, j);
}

void
quar_get(struct quar *q, struct quar_req *r, const struct spool_id *id)
{
	ask(q, r, QJOB_GET, id);
}

void
quar_show(struct quar *q, struct quar_req *r, const struct spool_id *id)
{
	struct quar_job *j = job_for(q, r, QJOB_GET);
	j->id = *id;
	j->flag = true;
	give(q, j);
}

void
quar_content(struct quar *q, struct quar_req *r, const struct spool_id *id)
{
	ask(q, r, QJOB_CONTENT, id);
}

void
quar_stats(struct quar *q, struct quar_req *r)
{
	ask(q, r, QJOB_STATS, NULL);
}

void
quar_pending(struct quar *q, struct quar_req *r)
{
	ask(q, r, QJOB_PENDING, NULL);
}

void
quar_list(struct quar *q, struct quar_req *r, const struct quar_filter *f)
{
	struct quar_job *j = job_for(q, r, QJOB_LIST);
	j->filter = *f;
	struct span *const texts[] = { &j->filter.sender, &j->filter.recipient, &j->filter.client, &j->filter.subject, &j->filter.text,
		&j->filter.attachment };
	for (unsigned i = 0; i < NELEMS(texts); i++) {
		if (texts[i]->n > ADDR_MAX || !span_is_printable(*texts[i]) || !span_is_utf8(*texts[i])) {
			refuse(q, j, RC_PERM, "a filter is too long, or no clean text");
			return;
		}
		*texts[i] = arena_span(&j->arena, *texts[i]);
	}
	j->limit = f->limit;
	give(q, j);
}

/* ---- releasing, ending ---- */

static bool
set_who(struct quar_job *j, const struct spool_id *id, const struct span *addrs, size_t naddrs, const struct spool_id *copy, struct span who)
{
	j->id = *id;
	if (copy != NULL)
		j->copy = *copy;
	j->who = arena_span(&j->arena, span_head(who, QUAR_WHO_MAX));
	if (naddrs > QUAR_RCPT_MAX || !span_is_printable(who))
		return false;
	j->naddrs = naddrs;
	j->addrs = arena_zalloc(&j->arena, (naddrs + 1) * sizeof *j->addrs);
	for (size_t i = 0; i < naddrs && j->addrs != NULL; i++) {
		if (addrs[i].n == 0 || addrs[i].n > ADDR_MAX || !span_is_printable(addrs[i]))
			return false;
		j->addrs[i] = arena_span(&j->arena, addrs[i]);
	}
	return j->addrs != NULL;
}

void
quar_begin_release(struct quar *q, struct quar_req *r, const struct spool_id *id, const struct span *addrs, size_t naddrs, bool add,
    const struct spool_id *copy, struct span who)
{
	struct quar_job *j = job_for(q, r, QJOB_BEGIN);
	j->flag = add;
	if (!set_who(j, id, addrs, naddrs, copy, who) || copy->usec == 0)
		refuse(q, j, RC_PERM, "no address");
	else
		give(q, j);
}

static void
end_release(struct quar *q, struct quar_req *r, enum qjob_kind kind, const struct spool_id *id, const struct spool_id *copy)
{
	struct quar_job *j = job_for(q, r, kind);
	(void)set_who(j, id, NULL, 0, copy, SPAN_EMPTY);
	give(q, j);
}

void
quar_finish_release(struct quar *q, struct quar_req *r, const struct spool_id *id, const struct spool_id *copy)
{
	end_release(q, r, QJOB_FINISH, id, copy);
}

void
quar_undo_release(struct quar *q, struct quar_req *r, const struct spool_id *id, const struct spool_id *copy)
{
	end_release(q, r, QJOB_UNDO, id, copy);
}

void
quar_outcome(struct quar *q, struct quar_req *r, const struct spool_id *copy, struct span addr, struct span orig, bool delivered)
{
	struct quar_job *j = job_for(q, r, QJOB_OUTCOME);
	j->copy = *copy;
	j->flag = delivered;
	j->who = arena_span(&j->arena, span_head(addr, ADDR_MAX));
	j->other = arena_span(&j->arena, span_head(orig, ADDR_MAX));
	give(q, j);
}

void
quar_delete(struct quar *q, struct quar_req *r, const struct spool_id *id, const struct span *addrs, size_t naddrs, struct span who)
{
	struct quar_job *j = job_for(q, r, QJOB_DELETE);
	if (!set_who(j, id, addrs, naddrs, NULL, who))
		refuse(q, j, RC_PERM, "no address");
	else
		give(q, j);
}

void
quar_expire(struct quar *q, struct quar_req *r)
{
	ask(q, r, QJOB_EXPIRE, NULL);
}

/* ---- the allow table ---- */

static bool
is_address(struct span s, bool may_be_empty)
{
	return s.n == 0 ? may_be_empty : s.n <= ADDR_MAX && span_is_printable(s) && span_is_utf8(s) && span_chr(s, '@') != SIZE_MAX && s.n > 1;
}

void
quar_allow_add(struct quar *q, struct quar_req *r, const struct quar_allow *a)
{
	struct quar_job *j = job_for(q, r, QJOB_ALLOW_ADD);
	j->allow = (struct quar_allow){ .sender = arena_span(&j->arena, a->sender), .recipient = arena_span(&j->arena, a->recipient),
		.by = arena_span(&j->arena, span_head(a->by, QUAR_WHO_MAX)), .note = arena_span(&j->arena, span_head(a->note, QUAR_WHO_MAX)),
		.added = a->added != 0 ? a->added : clock_wall() };
	if (!is_address(a->sender, false) || !is_address(a->recipient, true) || !span_is_printable(j->allow.by) || !span_is_printable(j->allow.note))
		refuse(q, j, RC_PERM, "no address");
	else if (q->nallow >= q->set.allow_limit && !allow_is_row(q, a->sender, a->recipient))
		refuse(q, j, RC_TEMP, "the table is full (quarantine_allow_limit)");
	else
		give(q, j);
}

void
quar_allow_remove(struct quar *q, struct quar_req *r, struct span sender, struct span recipient)
{
	struct quar_job *j = job_for(q, r, QJOB_ALLOW_REMOVE);
	j->allow = (struct quar_allow){ .sender = arena_span(&j->arena, sender), .recipient = arena_span(&j->arena, recipient) };
	if (!is_address(sender, false) || !is_address(recipient, true))
		refuse(q, j, RC_PERM, "no address");
	else
		give(q, j);
}

void
quar_allow_list(struct quar *q, struct quar_req *r)
{
	struct quar_job *j = job_for(q, r, QJOB_ALLOW_LIST);
	allow_copy(q, j);
	give(q, j);
}

bool
quar_allowed(const struct quar *q, enum held_class class, struct span sender, struct span recipient)
{
	return class != HELD_VIRUS && allow_has(q, sender, recipient);
}

/* ---- who was told ---- */

void
quar_told_list(struct quar *q, struct quar_req *r, struct span after, uint64_t upto, uint32_t limit)
{
	struct quar_job *j = job_for(q, r, QJOB_TOLD_LIST);
	j->who = arena_span(&j->arena, span_head(after, ADDR_MAX));
	j->upto = upto != 0 ? upto : clock_wall();
	j->limit = limit;
	give(q, j);
}

void
quar_told_begin(struct quar *q, struct quar_req *r)
{
	struct quar_job *j = job_for(q, r, QJOB_TOLD_BEGIN);
	j->upto = clock_wall();
	give(q, j);
}

void
quar_told_set(struct quar *q, struct quar_req *r, struct span addr, uint64_t upto)
{
	struct quar_job *j = job_for(q, r, QJOB_TOLD_SET);
	j->who = arena_span(&j->arena, addr);
	j->upto = upto;
	if (addr.n == 0 || addr.n > ADDR_MAX || !span_is_printable(addr))
		refuse(q, j, RC_PERM, "no address");
	else
		give(q, j);
}

/* ---- checking ---- */

void
quar_check(struct quar *q, struct quar_req *r, unsigned flags, uint64_t cursor)
{
	struct quar_job *j = job_for(q, r, cursor == 0 ? QJOB_CHECK_INDEX : QJOB_CHECK);
	j->flags = flags;
	j->cursor = cursor;
	give(q, j);
}

/* ---- what comes back ---- */

static void
finish(struct quar *q, struct quar_job *j)
{
	if (j->is_counted) {
		q->waiting--;
		q->waiting_bytes -= buf_len(&j->bytes);
	}
	if (j->rc == RC_OK && j->kind == QJOB_ALLOW_ADD)
		allow_put(q, &j->allow);
	if (j->rc == RC_OK && j->kind == QJOB_ALLOW_REMOVE)
		allow_drop(q, j->allow.sender, j->allow.recipient);
	if (j->is_internal) {
		q->expiring = false;
		if (q->started)
			timer_set(&q->tick, j->rc == RC_OK && j->res.more ? SOON_USEC : TICK_USEC);
	}
	struct quar_req *r = j->req;
	if (r == NULL) {
		qjob_free(&j);
		return;
	}
	struct op op = r->op;
	*r = j->res;
	j->res.fd = -1;
	r->op = op;
	/* the lists the op is on point into r->op, which has not moved; its own links were kept */
	r->job = j;
	r->why = j->why;
	op_finish(&r->op, j->rc);
}

static void
tell_full(struct quar *q, const struct quar_news *n)
{
	enum full_for why = n->low_space ? FULL_SPACE : n->failing ? FULL_FAILING : q->waiting >= WAITING_FULL ? FULL_WAITING : FULL_NOT;
	if (why != FULL_NOT)
		snprintf(q->why_full, sizeof q->why_full, "%s", why != FULL_WAITING ? n->why : "too many messages wait to be stored");
	if (why == q->full_for)
		return;
	q->full_for = why;
	if (q->ops->full != NULL)
		q->ops->full(q->owner, why != FULL_NOT);
}

static void
tell_news(struct quar *q)
{
	pthread_mutex_lock(&q->lock);
	struct quar_news n = q->news;
	q->news.rebuild_began = q->news.rebuild_ended = q->news.allow_loaded = false;
	q->news.allow = (struct allow_table){ .rows = NULL };
	q->news.nwarnings = q->news.warnings_lost = 0;
	q->news.expired = q->news.expired_bytes = q->news.squeezed = q->news.squeezed_bytes = 0;
	pthread_mutex_unlock(&q->lock);
	for (unsigned i = 0; i < n.nwarnings; i++)
		log_warn(NULL, "quarantine: %s", n.warnings[i]);
	if (n.warnings_lost > 0)
		log_warn(NULL, "quarantine: and %u more of these", n.warnings_lost);
	if (n.allow_loaded) {
		allow_fini(q);
		q->nallow = 0;
		for (size_t i = 0; i < n.allow.n; i++)
			allow_put(q, &n.allow.rows[i]);
	}
	allow_table_fini(&n.allow);
	if (n.rebuild_began && q->ops->rebuilding != NULL)
		q->ops->rebuilding(q->owner, true, 0, n.rebuild_why);
	if (n.rebuild_ended && q->ops->rebuilding != NULL)
		q->ops->rebuilding(q->owner, false, n.rebuilt, n.rebuild_why);
	if (n.expired > 0 && q->ops->expired != NULL)
		q->ops->expired(q->owner, n.expired, n.expired_bytes, false);
	if (n.squeezed > 0 && q->ops->expired != NULL)
		q->ops->expired(q->owner, n.squeezed, n.squeezed_bytes, true);
	tell_full(q, &n);
}

static void
on_bell(struct watch *w, short what)
{
	struct quar *q = container_of(w, struct quar, watch);
	uint64_t count;
	struct list done;
	(void)what;
	(void)!read(q->bell, &count, sizeof count);
	list_init(&done);
	pthread_mutex_lock(&q->lock);
	list_splice(&done, &q->done);
	pthread_mutex_unlock(&q->lock);
	for (struct list *l; (l = list_pop(&done)) != NULL;)
		finish(q, list_entry(l, struct quar_job, link));
	tell_news(q);
}

static void
on_tick(struct timer *t)
{
	struct quar *q = container_of(t, struct quar, tick);
	if (q->expiring)
		return;
	q->expiring = true;
	struct quar_job *j = job_for(q, NULL, QJOB_EXPIRE);
	j->is_internal = true;
	give(q, j);
}

/* ---- opening, closing ---- */

static int
make_dir(int at, const char *name, const struct quar_settings *s, struct err *e)
{
	struct stat st;
	if (spool_io->mkdirat(at, name, 0700) != 0 && errno != EEXIST) {
		(void)err_set(e, RC_TEMP, "%s: %s", name, strerrordesc_np(errno));
		return -1;
	}
	int fd = io_open(at, name, O_RDONLY | O_DIRECTORY);
	if (fd < 0 || fstat(fd, &st) != 0) {
		(void)err_set(e, RC_TEMP, "%s: %s", name, errno == ELOOP || errno == ENOTDIR ? "a link, or no directory" : strerrordesc_np(errno));
	} else if (s->uid != 0 && geteuid() == 0 && fchown(fd, s->uid, s->gid) != 0) {
		(void)err_set(e, RC_TEMP, "%s: %s", name, strerrordesc_np(errno));
	} else if (s->uid == 0 && st.st_uid != geteuid()) {
		(void)err_set(e, RC_TEMP, "%s: belongs to user %u, and has to belong to %u: chown it, stop and start", name, (unsigned)st.st_uid, (unsigned)geteuid());
	} else if ((st.st_mode & 07777) != 0700 && fchmod(fd, 0700) != 0) {
		(void)err_set(e, RC_TEMP, "%s: %s", name, strerrordesc_np(errno));
	} else {
		return fd;
	}
	if (fd >= 0)
		close(fd);
	return -1;
}

enum rc
quar_open(struct quar **out, const struct quar_settings *s, const struct quar_ops *ops, void *owner, struct err *e)
{
	static const struct quar_ops none;
	struct quar *q = mem_zalloc(sizeof *q);
	*out = NULL;
	q->ops = ops != NULL ? ops : &none;
	q->owner = owner;
	q->set = *s;
	q->set.dir = NULL;
	q->reserve_bytes = s->reserve_bytes;
	q->corrupt_fd = q->bell = -1;
	q->dir_fd = make_dir(AT_FDCWD, s->dir, s, e);
	if (q->dir_fd >= 0)
		q->corrupt_fd = make_dir(q->dir_fd, "corrupt", s, e);
	if (q->corrupt_fd >= 0 && (q->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0)
		(void)err_set(e, RC_TEMP, "eventfd: %s", strerrordesc_np(errno));
	if (q->bell < 0) {
		if (q->corrupt_fd >= 0)
			close(q->corrupt_fd);
		if (q->dir_fd >= 0)
			close(q->dir_fd);
		mem_free(&q);
		return e != NULL ? e->rc : RC_TEMP;
	}
	vfs_add(q->dir_fd, "index.db", q->path);
	pthread_mutex_init(&q->lock, NULL);
	pthread_cond_init(&q->to_writer, NULL);
	pthread_cond_init(&q->to_reader, NULL);
	pthread_cond_init(&q->copied, NULL);
	list_init(&q->write);
	list_init(&q->read);
	list_init(&q->done);
	allow_init(q);
	*out = q;
	return RC_OK;
}

void
quar_start(struct quar *q)
{
	sigset_t all, old;
	BUG_ON(q->started);
	q->started = true;
	watch_init(&q->watch, q->bell, on_bell);
	watch_want(&q->watch, EV_READ);
	timer_init(&q->tick, on_tick);
	timer_set(&q->tick, TICK_USEC / 6);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	if (pthread_create(&q->writer_thread, NULL, writer_main, q) != 0 || pthread_create(&q->reader_thread, NULL, reader_main, q) != 0)
		BUG("pthread_create");
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

void
quar_reconfigure(struct quar *q, const struct quar_settings *s)
{
	pthread_mutex_lock(&q->lock);
	q->reserve_bytes = s->reserve_bytes;
	pthread_mutex_unlock(&q->lock);
	q->set = *s;
	q->set.dir = NULL;
	if (q->started && !q->expiring)
		timer_set(&q->tick, SOON_USEC);
}

void
quar_close(struct quar **qp)
{
	struct quar *q = *qp;
	if (q == NULL)
		return;
	if (q->started) {
		pthread_mutex_lock(&q->lock);
		q->stop = true;
		pthread_cond_broadcast(&q->to_writer);
		pthread_cond_broadcast(&q->to_reader);
		pthread_mutex_unlock(&q->lock);
		pthread_join(q->writer_thread, NULL);
		pthread_join(q->reader_thread, NULL);
		timer_clear(&q->tick);
		watch_clear(&q->watch);
	}
	list_splice(&q->done, &q->write);
	list_splice(&q->done, &q->read);
	for (struct list *l; (l = list_pop(&q->done)) != NULL;) {
		struct quar_job *j = list_entry(l, struct quar_job, link);
		if (j->req != NULL) {
			/* somebody still waits: he is not told, as when he had cancelled */
			j->req->job = NULL;
			op_cancel(&j->req->op);
		}
		qjob_free(&j);
	}
	allow_fini(q);
	allow_table_fini(&q->news.allow);
	vfs_remove(q->dir_fd);
	close(q->bell);
	close(q->corrupt_fd);
	close(q->dir_fd);
	pthread_mutex_destroy(&q->lock);
	pthread_cond_destroy(&q->to_writer);
	pthread_cond_destroy(&q->to_reader);
	pthread_cond_destroy(&q->copied);
	mem_free(qp);
}

bool
quar_is_full(const struct quar *q)
{
	return q->full_for != FULL_NOT;
}

const char *
quar_why_full(const struct quar *q)
{
	return quar_is_full(q) ? q->why_full : "";
}

uint64_t
quar_size_limit(const struct quar *q)
{
	return q->set.size_limit;
}
