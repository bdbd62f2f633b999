/* SPDX-License-Identifier: BSD-2-Clause */
#include "spool/filer.h"

#include "base/mem.h"

#include <signal.h>
#include <unistd.h>

struct job *
job_new(enum job_kind kind)
{
	struct job *j = mem_zalloc(sizeof *j);
	list_init(&j->link);
	j->kind = kind;
	j->fd = j->seg_fd = j->seg_ro = -1;
	buf_init(&j->bytes, SIZE_MAX / 4);
	return j;
}

void
job_free(struct job **jp)
{
	struct job *j = *jp;
	if (j == NULL)
		return;
	list_remove(&j->link);
	buf_fini(&j->bytes);
	mem_free(&j->items);
	mem_free(&j->ids);
	mem_free(jp);
}

void
seg_name(char out[SEG_NAME], uint32_t file)
{
	snprintf(out, SEG_NAME, "%08x.seg", (unsigned)file);
}

void
draft_name(char out[DRAFT_NAME], uint64_t draft)
{
	snprintf(out, DRAFT_NAME, "%016llx", (unsigned long long)draft);
}

void
filer_run(struct filer *f, struct job *j)
{
	struct list one;
	switch (j->kind) {
	case JOB_ACCEPT:
		list_init(&one);
		list_append(&one, &j->link);
		filejob_accept(f, &one);
		list_remove(&j->link);
		break;
	case JOB_SPILL:
		filejob_spill(f, j);
		break;
	case JOB_UNLINK:
		filejob_unlink(f, j);
		break;
	case JOB_CREATE:
		segjob_create(f, j);
		break;
	case JOB_PREPARE:
	case JOB_RETIRE:
		segjob_prepare(f, j);
		break;
	}
}

/* Lock held. */
static void
ring(struct filer *f)
{
	uint64_t one = 1;
	(void)!write(f->bell, &one, sizeof one);
}

void
filer_urgent(struct filer *f)
{
	if (!f->running)
		return;
	struct list batch;
	list_init(&batch);
	pthread_mutex_lock(&f->lock);
	list_splice(&batch, &f->urgent);
	pthread_mutex_unlock(&f->lock);
	if (list_empty(&batch))
		return;
	filejob_accept(f, &batch);
	pthread_mutex_lock(&f->lock);
	list_splice(&f->done, &batch);
	ring(f);
	pthread_mutex_unlock(&f->lock);
}

static void *
filer_main(void *arg)
{
	struct filer *f = arg;
	pthread_mutex_lock(&f->lock);
	for (;;) {
		while (list_empty(&f->urgent) && list_empty(&f->todo) && !f->stop) {
			f->busy = false;
			pthread_cond_broadcast(&f->wake);
			pthread_cond_wait(&f->wake, &f->lock);
		}
		if (list_empty(&f->urgent) && list_empty(&f->todo))
			break;
		f->busy = true;
		bool urgent = !list_empty(&f->urgent);
		struct list *l = urgent ? NULL : list_pop(&f->todo);
		pthread_mutex_unlock(&f->lock);
		if (urgent) {
			filer_urgent(f);
			pthread_mutex_lock(&f->lock);
			continue;
		}
		struct job *j = list_entry(l, struct job, link);
		filer_run(f, j);
		pthread_mutex_lock(&f->lock);
		list_append(&f->done, &j->link);
		ring(f);
	}
	f->busy = false;
	pthread_cond_broadcast(&f->wake);
	pthread_mutex_unlock(&f->lock);
	return NULL;
}

void
filer_start(struct filer *f, int bell, int journal, int messages, int drafts, int corrupt)
{
	f->bell = bell;
	f->journal_fd = journal;
	f->messages_fd = messages;
	f->drafts_fd = drafts;
	f->corrupt_fd = corrupt;
	f->running = true;
	list_init(&f->urgent);
	list_init(&f->todo);
	list_init(&f->done);
	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->wake, NULL);
	sigset_t all, old;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	if (pthread_create(&f->thread, NULL, filer_main, f) != 0)
		BUG("pthread_create");
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

void
filer_give(struct filer *f, struct job *j)
{
	pthread_mutex_lock(&f->lock);
	list_append(j->kind == JOB_ACCEPT ? &f->urgent : &f->todo, &j->link);
	pthread_cond_broadcast(&f->wake);
	pthread_mutex_unlock(&f->lock);
}

struct job *
filer_take(struct filer *f)
{
	pthread_mutex_lock(&f->lock);
	struct list *l = list_pop(&f->done);
	pthread_mutex_unlock(&f->lock);
	return l != NULL ? list_entry(l, struct job, link) : NULL;
}

void
filer_wait(struct filer *f)
{
	if (!f->running)
		return;
	pthread_mutex_lock(&f->lock);
	while (f->busy || !list_empty(&f->urgent) || !list_empty(&f->todo))
		pthread_cond_wait(&f->wake, &f->lock);
	pthread_mutex_unlock(&f->lock);
}

void
filer_stop(struct filer *f)
{
	if (!f->running)
		return;
	pthread_mutex_lock(&f->lock);
	f->stop = true;
	pthread_cond_broadcast(&f->wake);
	pthread_mutex_unlock(&f->lock);
	pthread_join(f->thread, NULL);
	f->running = false;
}

void
filer_fini(struct filer *f)
{
	pthread_mutex_destroy(&f->lock);
	pthread_cond_destroy(&f->wake);
}
