/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * reader.c - the thread that answers questions, with a connection and descriptors of its own: a long search holds up no message.
 */
#include "quarantine/internal.h"

static void
run(struct quar *q, struct qdb *d, struct qfiles *files, unsigned *have, struct quar_job *j)
{
	pthread_mutex_lock(&q->lock);
	unsigned generation = q->generation;
	bool rebuilding = q->news.rebuilding;
	pthread_mutex_unlock(&q->lock);
	if (*have != generation && d->db != NULL)
		qdb_close(d);
	if (generation == 0) {
		j->rc = err_set(&j->why, RC_TEMP, "the index is not open");
		return;
	}
	if (d->db == NULL) {
		j->rc = qdb_open(d, q->path, false, &j->why);
		if (j->rc != RC_OK) {
			j->rc = RC_TEMP;
			return;
		}
		*have = generation;
	}
	query_run(d, files, j);
	if (rebuilding && j->rc == RC_NONE)
		j->rc = err_set(&j->why, RC_TEMP, "not found; the index is being made anew");
	if (rebuilding && j->kind == QJOB_PENDING)
		j->res.more = true;
	if (!d->is_bad)
		return;
	/* the writer makes it anew */
	pthread_mutex_lock(&q->lock);
	if (q->generation == generation) {
		q->index_is_bad = true;
		pthread_cond_signal(&q->to_writer);
	}
	pthread_mutex_unlock(&q->lock);
	qdb_close(d);
	d->is_bad = false;
}

void *
reader_main(void *arg)
{
	struct quar *q = arg;
	struct qdb d = { .db = NULL };
	struct qfiles files;
	unsigned have = 0;
	qfiles_init(&files, q->dir_fd, q->corrupt_fd);
	pthread_mutex_lock(&q->lock);
	for (;;) {
		/* until the index is open for the first time, questions wait */
		while (!q->stop && (list_empty(&q->read) || !q->was_opened))
			pthread_cond_wait(&q->to_reader, &q->lock);
		if (q->stop)
			break;
		struct quar_job *j = list_entry(list_pop(&q->read), struct quar_job, link);
		bool is_wanted = j->req != NULL;
		pthread_mutex_unlock(&q->lock);
		if (is_wanted)
			run(q, &d, &files, &have, j);
		pthread_mutex_lock(&q->lock);
		list_append(&q->done, &j->link);
		quar_ring(q);
	}
	pthread_mutex_unlock(&q->lock);
	qdb_close(&d);
	qfiles_fini(&files);
	return NULL;
}
