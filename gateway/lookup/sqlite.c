/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sqlite tables: each has a thread that asks its database (database.h), so that a slow disk or query holds up nobody but
 * those who ask the same table. Questions and answers change hands under one lock; the thread touches nothing else.
 */
#include "base/mem.h"
#include "lookup/database.h"
#include "lookup/tables.h"

#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct job {
	struct list link;
	struct ask *ask;
	struct span key;
	uint64_t until;
	enum rc rc;
	struct buf text;
	struct err why;
};

struct sqlite {
	struct table base;
	struct database *db;
	pthread_t thread;
	bool has_thread;
	pthread_mutex_t lock;        /* of the next three */
	pthread_cond_t more;
	struct list todo, ready;     /* struct job */
	bool is_stopped;
	int wake_fd;
	struct watch watch;
	struct list asks;            /* under way; struct ask */
	struct grave grave;
};

static void
job_free(struct job *j)
{
	buf_fini(&j->text);
	mem_free(&j);
}

/* ---- the thread ---- */

static struct job *
next_job(struct sqlite *s)
{
	pthread_mutex_lock(&s->lock);
	while (!s->is_stopped && list_empty(&s->todo))
		pthread_cond_wait(&s->more, &s->lock);
	struct list *l = s->is_stopped ? NULL : list_pop(&s->todo);
	pthread_mutex_unlock(&s->lock);
	return l != NULL ? list_entry(l, struct job, link) : NULL;
}

static void *
run(void *arg)
{
	struct sqlite *s = arg;
	for (struct job *j; (j = next_job(s)) != NULL;) {
		j->rc = database_ask(s->db, j->key, j->until, &j->text, &j->why);
		pthread_mutex_lock(&s->lock);
		list_append(&s->ready, &j->link);
		pthread_mutex_unlock(&s->lock);
		(void)!write(s->wake_fd, &(uint64_t){ 1 }, sizeof(uint64_t));
	}
	return NULL;
}

/* After the sandbox: a thread that was there before would not be in it. */
static bool
start_thread(struct sqlite *s)
{
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	s->has_thread = pthread_create(&s->thread, NULL, run, s) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return s->has_thread;
}

/* ---- the loop's side ---- */

static void
finish(struct sqlite *s, struct job *j)
{
	struct span text = j->rc == RC_OK ? buf_span(&j->text) : span_str(j->why.why);
	if (j->rc == RC_OK || j->rc == RC_NONE)
		table_works(&s->base);
	else
		table_trouble(&s->base, j->why.why);
	table_answer(&s->base, j->ask, j->rc, text);
	job_free(j);
}

static void
on_ready(struct watch *w, short what)
{
	(void)what;
	struct sqlite *s = container_of(w, struct sqlite, watch);
	struct list ready;
	uint64_t n;
	(void)!read(s->wake_fd, &n, sizeof n);
	list_init(&ready);
	pthread_mutex_lock(&s->lock);
	list_splice(&ready, &s->ready);
	pthread_mutex_unlock(&s->lock);
	for (struct list *l; (l = list_pop(&ready)) != NULL;)
		finish(s, list_entry(l, struct job, link));
}

static void
sqlite_ask(struct table *t, struct ask *a)
{
	struct sqlite *s = container_of(t, struct sqlite, base);
	struct job *j = mem_zalloc(sizeof *j);
	list_init(&j->link);
	buf_init(&j->text, REMOTE_VALUE_MAX);
	list_append(&s->asks, &a->link);
	j->ask = a;
	j->key = a->key;
	j->until = a->until;
	bool can = s->has_thread || start_thread(s);
	pthread_mutex_lock(&s->lock);
	if (can) {
		list_append(&s->todo, &j->link);
		pthread_cond_signal(&s->more);
	} else {
		j->rc = err_set(&j->why, RC_TEMP, "no thread for it");
		list_append(&s->ready, &j->link);
		(void)!write(s->wake_fd, &(uint64_t){ 1 }, sizeof(uint64_t));
	}
	pthread_mutex_unlock(&s->lock);
}

static void
dig_sqlite(struct grave *g)
{
	struct sqlite *s = container_of(g, struct sqlite, grave);
	mem_free(&s);
}

static void
sqlite_close(struct table *t)
{
	struct sqlite *s = container_of(t, struct sqlite, base);
	database_stop(s->db);
	pthread_mutex_lock(&s->lock);
	s->is_stopped = true;
	pthread_cond_signal(&s->more);
	pthread_mutex_unlock(&s->lock);
	if (s->has_thread)
		pthread_join(s->thread, NULL); /* a query looks every few thousand steps whether it shall go on */
	list_splice(&s->todo, &s->ready);
	for (struct list *l; (l = list_pop(&s->todo)) != NULL;)
		job_free(list_entry(l, struct job, link));
	while (!list_empty(&s->asks))
		table_answer(t, list_entry(s->asks.next, struct ask, link), RC_TEMP, SPAN("the table is closed"));
	watch_clear(&s->watch);
	close(s->wake_fd);
	database_free(&s->db);
	pthread_mutex_destroy(&s->lock);
	pthread_cond_destroy(&s->more);
	loop_bury(&s->grave, dig_sqlite);
}

static void
sqlite_status(const struct table *t, struct buf *out)
{
	buf_printf(out, "\"waiting\":%zu", t->under_way);
}

static const struct table_ops ops = { sqlite_ask, sqlite_close, sqlite_status };

struct table *
sqlite_table_new(struct remote_table *spec)
{
	struct sqlite *s = mem_zalloc(sizeof *s);
	s->base.ops = &ops;
	s->db = database_new(spec);
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->more, NULL);
	list_init(&s->todo);
	list_init(&s->ready);
	list_init(&s->asks);
	s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	BUG_ON(s->wake_fd < 0);
	watch_init(&s->watch, s->wake_fd, on_ready);
	watch_want(&s->watch, EV_READ);
	return &s->base;
}
