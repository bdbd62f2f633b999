/* SPDX-License-Identifier: BSD-2-Clause */
/* quarantine_world.h - a store in a directory of its own, and requests that run the loop until they are answered. */
#ifndef TESTS_UNIT_QUARANTINE_WORLD_H
#define TESTS_UNIT_QUARANTINE_WORLD_H

#include "base/clock.h"
#include "base/mem.h"
#include "loop/loop.h"
#include "msg/survey.h"
#include "quarantine/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

static struct world {
	char dir[64], path[96];
	struct quar *q;
	struct quar_settings set;
	struct op_owner ops;
	struct quar_req r;
	unsigned fulls, rebuilds_begun, rebuilds_ended;
	bool full, done, late;
	uint64_t rebuilt, expired, squeezed;
	char why[256];
} w;

static void
w_full(void *owner, bool is_full)
{
	(void)owner;
	w.fulls++;
	w.full = is_full;
}

static void
w_expired(void *owner, uint64_t messages, uint64_t bytes, bool for_size)
{
	(void)owner;
	(void)bytes;
	*(for_size ? &w.squeezed : &w.expired) += messages;
}

static void
w_rebuilding(void *owner, bool begins, uint64_t messages, const char *why)
{
	(void)owner;
	w.rebuilds_begun += begins;
	w.rebuilds_ended += !begins;
	w.rebuilt += messages;
	snprintf(w.why, sizeof w.why, "%s", why);
}

static const struct quar_ops w_ops = { .full = w_full, .expired = w_expired, .rebuilding = w_rebuilding };

static void
w_done(struct op *op)
{
	(void)op;
	w.done = true;
	loop_stop();
}

static void
w_late(struct timer *t)
{
	(void)t;
	w.late = true;
	loop_stop();
}

/* Until the request is answered. */
static enum rc UNUSED
w_wait(void)
{
	struct timer t = { .inited = false };
	w.done = w.late = false;
	timer_init(&t, w_late);
	timer_set(&t, 60 * USEC_PER_SEC);
	loop_run();
	timer_clear(&t);
	if (w.late)
		BUG("no answer in a minute");
	return w.r.op.rc;
}

static void UNUSED
w_open(void)
{
	struct err e;
	if (quar_open(&w.q, &w.set, &w_ops, NULL, &e) != RC_OK) {
		fprintf(stderr, "quar_open: %s\n", e.why);
		abort();
	}
	quar_start(w.q);
	op_owner_init(&w.ops);
	quar_req_init(&w.r, &w.ops, w_done);
}

static void UNUSED
w_close(void)
{
	quar_req_fini(&w.r);
	quar_close(&w.q);
}

static void UNUSED
w_begin(void)
{
	memset(&w, 0, sizeof w);
	snprintf(w.dir, sizeof w.dir, "/tmp/dogana-quarantine-XXXXXX");
	if (mkdtemp(w.dir) == NULL)
		abort();
	snprintf(w.path, sizeof w.path, "%s/q", w.dir);
	w.set = (struct quar_settings){ .dir = w.path, .allow_limit = 100 };
	loop_init();
	w_open();
}

static void
w_remove(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *de;
	while (d != NULL && (de = readdir(d)) != NULL) {
		char sub[600];
		struct stat st;
		if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0)
			continue;
		snprintf(sub, sizeof sub, "%s/%s", path, de->d_name);
		if (lstat(sub, &st) == 0 && S_ISDIR(st.st_mode))
			w_remove(sub);
		else
			unlink(sub);
	}
	if (d != NULL)
		closedir(d);
	rmdir(path);
}

static void UNUSED
w_end(void)
{
	w_close();
	loop_fini();
	w_remove(w.dir);
}

/* ---- messages ---- */

static struct spool_id
w_id(uint32_t i)
{
	return (struct spool_id){ .usec = UINT64_C(1700000000000000) + i * UINT64_C(1000003), .serial = 7 };
}

struct w_mail {
	uint32_t i, nrcpt;
	enum held_class class;
	const char *sender, *subject, *client, *content;
	const char *rcpt[8];
	const uint32_t *numbers;
	uint32_t nnumbers;
	bool survey;                     /* its parts are looked for, as the edge does */
	const struct held_part *parts;   /* or are said to be these */
	uint32_t nparts;
};

static void UNUSED
w_put_start(struct quar_req *r, const struct w_mail *m)
{
	struct held h = { .class = m->class != HELD_NONE ? m->class : HELD_POLICY, .reason = SPAN("because"), .client_addr = span_str(m->client != NULL ? m->client : "192.0.2.1"),
		.client_name = SPAN("client.example"), .subject = span_str(m->subject != NULL ? m->subject : "no subject"), .from = SPAN("\"Some One\" <one@example.org>"),
		.trace = SPAN("first: no\nsecond: yes"), .parts = m->parts, .nparts = m->nparts };
	struct survey s = { .nparts = 0 };
	if (m->survey) {
		survey_init(&s);
		survey_put(&s, span_str(m->content));
		survey_end(&s);
		h.parts = s.parts;
		h.nparts = s.nparts;
	}
	struct env_rcpt rcpt[8] = { { .notify = 0 } };
	struct buf held;
	buf_init(&held, HELD_BYTES_MAX);
	held_put(&held, &h);
	survey_fini(&s);
	for (uint32_t k = 0; k < m->nrcpt; k++)
		rcpt[k].addr = span_str(m->rcpt[k]);
	struct spool_id id = w_id(m->i);
	struct envelope env = { .arrival = id.usec, .sender = span_str(m->sender != NULL ? m->sender : "sender@example.org"), .held = buf_span(&held),
		.nrcpt = m->nrcpt, .rcpt = rcpt };
	struct quar_new n = { .id = id, .env = &env, .rcpt = m->numbers, .nrcpt = m->nnumbers, .fd = -1,
		.content = span_str(m->content != NULL ? m->content : "Subject: x\r\n\r\nbody\r\n") };
	quar_put(w.q, r, &n);
	buf_fini(&held);
}

static enum rc UNUSED
w_put(const struct w_mail *m)
{
	w_put_start(&w.r, m);
	return w_wait();
}

static enum rc UNUSED
w_get(uint32_t i)
{
	struct spool_id id = w_id(i);
	quar_get(w.q, &w.r, &id);
	return w_wait();
}

static enum rc UNUSED
w_list(const struct quar_filter *f)
{
	quar_list(w.q, &w.r, f);
	return w_wait();
}

/* The path of a message's file. */
static const char *
w_file(uint32_t i)
{
	static char path[256];
	char name[SPOOL_ID_TEXT];
	struct spool_id id = w_id(i);
	spool_id_text(&id, name);
	unsigned leaf = (unsigned)(id.usec / 1000000 / 256 % 4096);
	snprintf(path, sizeof path, "%s/%x/%02x/%s", w.path, leaf / 256, leaf % 256, name);
	return path;
}

/* SQL for the index of a store that is closed. */
static void UNUSED
w_edit(const char *sql)
{
	char path[200];
	sqlite3 *db;
	snprintf(path, sizeof path, "%s/index.db", w.path);
	if (sqlite3_open(path, &db) != SQLITE_OK || sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK) {
		fprintf(stderr, "%s: %s\n", sql, sqlite3_errmsg(db));
		abort();
	}
	sqlite3_close(db);
}

/* A whole check; findings of one flaw. */
static unsigned UNUSED
w_check(unsigned flags, unsigned by_flaw[QUAR_FLAWS])
{
	unsigned n = 0;
	memset(by_flaw, 0, QUAR_FLAWS * sizeof *by_flaw);
	for (uint64_t cursor = 0;;) {
		quar_check(w.q, &w.r, flags, cursor);
		if (w_wait() != RC_OK) {
			if (strstr(w.r.why.why, "made anew") == NULL)
				return 1000000;
			usleep(10000); /* the rebuild has no completion of its own here */
			continue;
		}
		for (size_t i = 0; i < w.r.n; i++) {
			by_flaw[w.r.findings[i].flaw]++;
			n++;
		}
		if (!w.r.more)
			return n;
		cursor = w.r.cursor;
	}
}

#endif
