/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * main.c - dogana-attachments: see README.md.
 */
#include "filters/program.h"

#include "filters/attachments/milter.h"
#include "filters/confine.h"

#include <libmilter/mfapi.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

enum { STATUS_SECONDS = 5 };

/* Memory of a worker: libraries, what is unpacked, and a message in several forms. */
enum { WORKER_BASE = 512 << 20, WORKER_MESSAGES = 8 };

static struct pool *pool;

/* Not with smfi_stop(): it waits for the thread that listens, which looks up every five seconds, and not for messages. */
static void
stop(void)
{
	milter_drain();
	_exit(0);
}

static const struct program_ops program_ops = { stop };

static void *
report(void *arg)
{
	struct program *pg = arg;
	for (;;) {
		struct buf members;
		buf_init(&members, 4096);
		milter_counts(&members);
		buf_printf(&members, ",\"workers\":%u,\"crashes\":%llu", pool_size(pool), (unsigned long long)pool_crashes(pool));
		program_status(pg, buf_span(&members), SPAN_EMPTY);
		buf_fini(&members);
		nanosleep(&(struct timespec){ .tv_sec = STATUS_SECONDS }, NULL);
	}
	return NULL;
}

static enum rc
start_pool(struct program *pg, const struct judge *judge, struct err *e)
{
	const struct params *p = conf_params(pg->conf);
	uint64_t message = p->p_message_size_limit > 0 ? (uint64_t)p->p_message_size_limit : (uint64_t)1 << 30;
	struct pool_settings want = { .judge = judge, .user = pg->has_master ? p->p_filter_user : NULL, .workers = (unsigned)p->p_attachment_workers,
		.cpu_seconds = (unsigned)(p->p_attachment_time_limit / 1000000),
		.memory_bytes = (uint64_t)WORKER_BASE + 4 * (uint64_t)p->p_attachment_max_unpacked + WORKER_MESSAGES * message };
	return pool_new(&want, &pool, e);
}

static enum rc
serve(struct program *pg, struct err *e)
{
	static struct judge judge;
	static struct attachment_conf ac;
	struct milter_settings ms = { .judge = &judge, .memory_limit = (uint64_t)conf_params(pg->conf)->p_attachment_memory_limit };
	struct confine want = { .user = pg->has_master ? conf_params(pg->conf)->p_filter_user : NULL, .calls = CONFINE_THREADS | CONFINE_SERVE };
	/* first the socket: who connects while rules are read waits, and is not told that nobody is there */
	if (milter_register() != RC_OK || smfi_setconn(pg->listen) == MI_FAILURE || smfi_opensocket(true) == MI_FAILURE)
		return err_set(e, RC_PERM, "%s: cannot listen there", pg->listen);
	program_listening(pg);
	enum rc rc = attachment_conf_open(pg->conf, &ac, e);
	if (rc == RC_OK && ac.rules == NULL)
		rc = err_set(e, RC_PERM, "attachment_rules is empty: there is nothing to do");
	if (rc == RC_OK)
		rc = matchlist_open_param(pg->conf, NULL, "mynetworks", MATCH_ADDRESS, &ms.mynetworks, e);
	if (rc != RC_OK)
		return rc;
	search_prepare();
	judge_init(&judge, pg->conf, &ac);
	rc = start_pool(pg, &judge, e);
	if (rc != RC_OK)
		return rc;
	ms.pool = pool;
	milter_use(&ms);
	rc = confine(&want, NULL, e);
	if (rc == RC_OK)
		rc = program_control(pg, &program_ops, e);
	if (rc != RC_OK)
		return rc;
	program_ready(pg);
	pthread_t thread;
	if (pg->has_master && pthread_create(&thread, NULL, report, pg) == 0)
		pthread_detach(thread);
	return smfi_main() == MI_SUCCESS ? RC_OK : err_set(e, RC_TEMP, "smfi_main failed");
}

int
main(int argc, char **argv)
{
	struct program pg;
	struct err e = { .why = "" };
	enum rc rc = program_begin(&pg, "attachments", argc, argv, &e);
	if (rc != RC_OK) {
		fprintf(stderr, "dogana-attachments: %s\n", e.why);
		return PROGRAM_USAGE;
	}
	rc = serve(&pg, &e);
	if (rc != RC_OK)
		program_log(LOG_L_ERROR, SPAN_EMPTY, "%s", e.why);
	program_end(&pg);
	return rc == RC_OK ? 0 : 1;
}
