/* SPDX-License-Identifier: GPL-2.0-only */
#include "filters/virus/worker.h"

#include "base/clock.h"
#include "base/log.h"
#include "filters/confine.h"
#include "filters/program.h"
#include "filters/virus/tmpfiles.h"
#include "filters/virus/views.h"
#include "filters/virus/wire.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MESSAGES_MAX = 20000, GRACE_SECONDS = 3, DESCRIPTORS_MAX = 12000 };

static struct {
	const struct virus_conf *conf;
	struct engine *en;
	int sock, memory;
	unsigned char *map;
	size_t map_len;
} w;

/* How much address space it has now: the signatures are in it. */
static uint64_t
address_space(void)
{
	unsigned long pages = 0;
	FILE *f = fopen("/proc/self/statm", "r");
	if (f == NULL || fscanf(f, "%lu", &pages) != 1)
		pages = 0;
	if (f != NULL)
		fclose(f);
	return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static enum rc
confine_worker(struct err *e)
{
	uint64_t has = address_space();
	struct confine want = { .descriptors = DESCRIPTORS_MAX, .file_bytes = w.conf->max_scan_size,
		.memory_bytes = has > 0 ? has + w.conf->max_memory : 0 };
	return confine(&want, NULL, e);
}

/* The front may have made the file larger. */
static bool
map_message(size_t len)
{
	struct stat st;
	if (len <= w.map_len)
		return true;
	if (fstat(w.memory, &st) != 0 || (uint64_t)st.st_size < len)
		return false;
	if (w.map != NULL)
		munmap(w.map, w.map_len);
	w.map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, w.memory, 0);
	w.map_len = w.map != MAP_FAILED ? (size_t)st.st_size : 0;
	if (w.map == MAP_FAILED)
		w.map = NULL;
	return w.map != NULL;
}

static struct virus_verdict
scan(const struct wire_scan *ask)
{
	struct virus_verdict v = { .kind = VIRUS_CLEAN };
	struct err e = { .why = "" };
	uint64_t until = clock_mono() + w.conf->scan_usec;
	if (ask->head > ask->len || !map_message((size_t)ask->len))
		return virus_verdict_why(VIRUS_UNSCANNED, "the message did not arrive");
	struct span whole = span_of(w.map, (size_t)ask->len);
	if (engine_scan(w.en, whole, w.conf->scan_usec, &v, &e) != RC_OK)
		return virus_verdict_why(VIRUS_UNSCANNED, e.why);
	/* how others may read it; what is found there counts for more than a heuristic's doubt about the whole */
	if (v.kind != VIRUS_FOUND && views_scan(w.en, span_from(whole, (size_t)ask->head), until, &v, &e) != RC_OK)
		return virus_verdict_why(VIRUS_UNSCANNED, e.why);
	return v;
}

void
worker_main(const struct virus_conf *conf, struct engine *en, int sock, int memory)
{
	struct err e = { .why = "" };
	w.conf = conf;
	w.en = en;
	w.sock = sock;
	w.memory = memory;
	prctl(PR_SET_NAME, "virus-worker", 0, 0, 0);
	signal(SIGALRM, SIG_DFL); /* it ends the process, whatever libclamav is at */
	signal(SIGXFSZ, SIG_IGN);
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	tmpfiles_begin(conf->max_scan_size);
	if (confine_worker(&e) != RC_OK) {
		program_log(LOG_L_ERROR, SPAN_EMPTY, "worker: %s", e.why);
		_exit(1);
	}
	for (unsigned n = 0; n < MESSAGES_MAX; n++) { /* then a fresh one takes its place: what leaks has an end */
		struct wire_scan ask;
		ssize_t got = recv(sock, &ask, sizeof ask, 0);
		if (got < 0 && errno == EINTR)
			continue;
		if (got != (ssize_t)sizeof ask)
			break;
		alarm((unsigned)(conf->scan_usec / USEC_PER_SEC) + GRACE_SECONDS);
		struct virus_verdict v = scan(&ask);
		alarm(0);
		struct wire_verdict say = { .kind = (uint32_t)v.kind };
		memcpy(say.name, v.name, sizeof say.name);
		if (send(sock, &say, sizeof say, MSG_NOSIGNAL) != (ssize_t)sizeof say)
			break;
	}
	_exit(0);
}
