/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * spool_bench.c - how fast the spool alone accepts, and how much processor time that costs.
 *
 *	spool_bench DIR [messages [bytes [sessions [keep]]]]
 *
 * Each of the sessions accepts a message, waits for the commit, finishes it and accepts the next; with
 * keep they are not finished, and the program then reopens the spool and says how long recovery took.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "base/metric.h"
#include "loop/loop.h"
#include "spool/spool.h"

#include <sys/resource.h>

struct session {
	struct op op;
	struct op_owner owner;
	struct spool_msg *m;
	uint64_t began;
};

static struct spool *spool;
static struct session *sessions;
static unsigned long todo, accepted, refused, nsessions;
static bool keep;
static struct span content;
static uint64_t *latencies;
static unsigned long nlatencies;

static void next(struct session *x);

static void
committed(struct op *op)
{
	struct session *x = container_of(op, struct session, op);
	if (op->rc != RC_OK) {
		refused++;
		mem_free(&x->m);
	} else {
		latencies[nlatencies++] = clock_mono() - x->began;
		accepted++;
		if (!keep) {
			spool_done(spool, x->m);
			mem_free(&x->m);
		}
	}
	if (todo > 0)
		next(x);
	else if (--nsessions == 0)
		loop_stop();
}

static void
next(struct session *x)
{
	todo--;
	struct spool_id id = spool_id_next(1);
	x->m = mem_alloc(sizeof *x->m);
	x->began = clock_mono();
	spool_accept(spool, x->m, &id, SPAN("an envelope of about two hundred bytes, as there would be one for a single recipient, "
	    "with the name of the client, its address, the sender, the recipient and the flags"), content, &x->op);
}

static struct spool_msg *
recovered(void *owner, const struct spool_id *id, struct span envelope, struct span state)
{
	(void)owner, (void)id, (void)envelope, (void)state;
	return mem_alloc(sizeof(struct spool_msg));
}

static void
describe(void *owner, struct spool_msg *m, struct buf *envelope, struct buf *state)
{
	(void)owner, (void)m, (void)state;
	buf_puts(envelope, "envelope");
}

static double
cpu(void)
{
	struct rusage u;
	getrusage(RUSAGE_SELF, &u);
	return (double)u.ru_utime.tv_sec + (double)u.ru_utime.tv_usec / 1e6 + (double)u.ru_stime.tv_sec + (double)u.ru_stime.tv_usec / 1e6;
}

static int
cmp(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

static void
open_spool(const char *dir)
{
	static const struct spool_ops ops = { .recovered = recovered, .describe = describe };
	struct spool_settings set = { .dir = dir, .segment_bytes = 64 << 20, .segments_min = 4, .segments_max = keep ? 64 : 16, .inline_max = 1 << 20 };
	struct err e;
	struct spool_report rep;
	if (spool_open(&spool, &set, &ops, NULL, &e) != RC_OK || spool_recover(spool, &rep, &e) != RC_OK) {
		fprintf(stderr, "spool_bench: %s\n", e.why);
		exit(1);
	}
	printf("recovered %llu messages, %llu records, %.1f MB in %.3f s, %.3f s cpu\n", (unsigned long long)rep.messages,
	    (unsigned long long)rep.records, (double)rep.bytes / 1e6, (double)rep.usec / 1e6, cpu());
}

int
main(int argc, char **argv)
{
	if (argc < 2)
		return 2;
	unsigned long n = argc > 2 ? strtoul(argv[2], NULL, 10) : 100000;
	size_t bytes = argc > 3 ? strtoul(argv[3], NULL, 10) : 10000;
	nsessions = argc > 4 ? strtoul(argv[4], NULL, 10) : 20;
	keep = argc > 5;
	unsigned char *p = mem_alloc(bytes);
	for (size_t i = 0; i < bytes; i++)
		p[i] = (unsigned char)(' ' + i % 90);
	content = span_of(p, bytes);
	loop_init();
	open_spool(argv[1]);
	latencies = mem_calloc(n + 1, sizeof *latencies);
	sessions = mem_calloc(nsessions, sizeof *sessions);
	todo = n;
	unsigned long ns = nsessions;
	if (n == 0)
		return 0;
	double c = cpu();
	uint64_t t = clock_mono();
	for (unsigned long i = 0; i < ns; i++) {
		op_owner_init(&sessions[i].owner);
		op_init(&sessions[i].op, &sessions[i].owner, committed);
		next(&sessions[i]);
	}
	loop_run();
	double sec = (double)(clock_mono() - t) / 1e6;
	c = cpu() - c;
	qsort(latencies, nlatencies, sizeof *latencies, cmp);
	if (nlatencies > 0)
		printf("%lu accepted, %lu refused, %.2f s: %.0f/s, %.1f us cpu each, %lld commits (%.1f records each), latency p50 %llu p99 %llu us\n",
		    accepted, refused, sec, (double)accepted / sec, c * 1e6 / (double)accepted, (long long)metric_values[M_spool_commits],
		    (double)metric_values[M_spool_records] / (double)metric_values[M_spool_commits],
		    (unsigned long long)latencies[nlatencies / 2], (unsigned long long)latencies[nlatencies * 99 / 100]);
	printf("segments %lld, spilled %lld\n", (long long)metric_values[M_spool_segments], (long long)metric_values[M_spool_spilled]);
	if (argc > 5 && strcmp(argv[5], "kill") == 0)
		abort();
	spool_close(&spool);
	loop_fini();
	return 0;
}
