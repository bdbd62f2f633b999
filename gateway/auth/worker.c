/* SPDX-License-Identifier: BSD-2-Clause */
#include "auth/worker.h"

#include "loop/loop.h"

#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

static struct {
	pthread_mutex_t lock;        /* of the next four */
	pthread_cond_t more;
	struct list todo, ready;
	bool is_over;
	int wake_fd;
	struct watch watch;
	pthread_t thread[WORKER_THREADS];
	unsigned threads;
	void (*done)(struct job *);
} me = { .lock = PTHREAD_MUTEX_INITIALIZER, .more = PTHREAD_COND_INITIALIZER, .wake_fd = -1 };

void
job_init(struct job *j, struct cyrus_login *login)
{
	*j = (struct job){ .login = login };
	list_init(&j->link);
	buf_init_secret(&j->response, AUTH_RESPONSE_MAX + 1);
	buf_init_secret(&j->text, AUTH_RESPONSE_MAX);
	buf_init_secret(&j->user, 256);
}

void
job_fini(struct job *j)
{
	buf_fini(&j->response);
	buf_fini(&j->text);
	buf_fini(&j->user);
}

/* ---- a thread ---- */

/* NULL: there will be no more. */
static struct job *
next_job(void)
{
	pthread_mutex_lock(&me.lock);
	while (list_empty(&me.todo) && !me.is_over)
		pthread_cond_wait(&me.more, &me.lock);
	struct list *l = me.is_over ? NULL : list_pop(&me.todo);
	pthread_mutex_unlock(&me.lock);
	return l != NULL ? list_entry(l, struct job, link) : NULL;
}

static void *
run(void *arg)
{
	(void)arg;
	for (struct job *j; (j = next_job()) != NULL;) {
		struct span in = buf_span(&j->response);
		j->outcome = j->mech[0] != '\0' ? cyrus_login_begin(j->login, j->mech, j->has_initial, in, &j->text, &j->user) :
						 cyrus_login_step(j->login, in, &j->text, &j->user);
		pthread_mutex_lock(&me.lock);
		list_append(&me.ready, &j->link);
		pthread_mutex_unlock(&me.lock);
		(void)!write(me.wake_fd, &(uint64_t){ 1 }, sizeof(uint64_t));
	}
	return NULL;
}

/* ---- the loop's side ---- */

static void
on_ready(struct watch *w, short what)
{
	(void)w, (void)what;
	struct list ready;
	uint64_t n;
	(void)!read(me.wake_fd, &n, sizeof n);
	list_init(&ready);
	pthread_mutex_lock(&me.lock);
	list_splice(&ready, &me.ready);
	pthread_mutex_unlock(&me.lock);
	for (struct list *l; (l = list_pop(&ready)) != NULL;)
		me.done(list_entry(l, struct job, link));
}

void
workers_start(void (*done)(struct job *))
{
	sigset_t all, before;
	list_init(&me.todo);
	list_init(&me.ready);
	me.done = done;
	me.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	BUG_ON(me.wake_fd < 0);
	watch_init(&me.watch, me.wake_fd, on_ready);
	watch_want(&me.watch, EV_READ);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	for (int i = 0; i < WORKER_THREADS; i++)
		if (pthread_create(&me.thread[me.threads], NULL, run, NULL) == 0)
			me.threads++;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

bool
workers_are_there(void)
{
	return me.threads > 0;
}

void
workers_run(struct job *j)
{
	pthread_mutex_lock(&me.lock);
	list_append(&me.todo, &j->link);
	pthread_cond_signal(&me.more);
	pthread_mutex_unlock(&me.lock);
}

bool
workers_stop(void)
{
	struct timespec until;
	pthread_mutex_lock(&me.lock);
	me.is_over = true;
	pthread_cond_broadcast(&me.more);
	pthread_mutex_unlock(&me.lock);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec++;
	while (me.threads > 0 && pthread_timedjoin_np(me.thread[me.threads - 1], NULL, &until) == 0)
		me.threads--;
	return me.threads == 0;
}
