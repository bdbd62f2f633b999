/* SPDX-License-Identifier: GPL-2.0-only */
#include "filters/virus/pool.h"

#include "base/clock.h"
#include "base/list.h"
#include "base/mem.h"
#include "filters/virus/wire.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { GENERATIONS_MAX = 8, ATTEMPTS = 2, KEEP_MAPPED = 4 * 1024 * 1024, PAGE = 4096, SETTLE_MSEC = 200 };
static const uint64_t WAITS_EVERY = 5 * USEC_PER_SEC, OVER_TIME = 6 * USEC_PER_SEC;

struct generation {
	int sock;                    /* -1: free place */
	bool is_ready, is_gone;      /* gone: it has closed its end */
	uint64_t serial;
	unsigned nworkers;
	struct virus_version version;
};

struct worker {
	struct generation *generation;
	uint32_t id;
	int sock, memory;
	unsigned char *map;
	size_t map_len;
	struct list link;            /* idle */
};

static struct {
	const struct virus_conf *conf;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct generation generation[GENERATIONS_MAX];
	struct generation *now;
	struct list idle;            /* of now; used last in front */
	uint64_t serial;
} pool = { .lock = PTHREAD_MUTEX_INITIALIZER };

void
pool_init(const struct virus_conf *conf)
{
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&pool.changed, &attr);
	pthread_condattr_destroy(&attr);
	pool.conf = conf;
	list_init(&pool.idle);
	for (size_t i = 0; i < GENERATIONS_MAX; i++)
		pool.generation[i].sock = -1;
}

/* ---- under the lock ---- */

/* Its last worker has gone, and it gets no more messages. */
static void
release(struct generation *gen)
{
	if (gen->sock < 0 || gen->nworkers > 0 || (gen == pool.now && !gen->is_gone) || (!gen->is_ready && !gen->is_gone))
		return;
	close(gen->sock);
	gen->sock = -1;
	if (pool.now == gen)
		pool.now = NULL;
}

static void
end_worker(struct worker *w)
{
	struct generation *gen = w->generation;
	list_remove(&w->link);
	if (w->map != NULL)
		munmap(w->map, w->map_len);
	close(w->sock);
	close(w->memory);
	gen->nworkers--;
	mem_free(&w);
	release(gen);
}

static void
give_back(struct worker *w)
{
	pthread_mutex_lock(&pool.lock);
	if (w->generation != pool.now || w->generation->is_gone) {
		end_worker(w);
	} else {
		list_prepend(&pool.idle, &w->link);
		pthread_cond_signal(&pool.changed);
	}
	pthread_mutex_unlock(&pool.lock);
}

static void
drop(struct worker *w, bool kill_it)
{
	struct wire_kill k = { .id = w->id };
	pthread_mutex_lock(&pool.lock);
	if (kill_it && w->generation->sock >= 0)
		(void)!send(w->generation->sock, &k, sizeof k, MSG_NOSIGNAL | MSG_DONTWAIT);
	end_worker(w);
	pthread_mutex_unlock(&pool.lock);
}

uint64_t
pool_version(struct virus_version *out)
{
	pthread_mutex_lock(&pool.lock);
	uint64_t serial = pool.now != NULL ? pool.now->serial : 0;
	if (pool.now != NULL)
		*out = pool.now->version;
	pthread_mutex_unlock(&pool.lock);
	return serial;
}

/* ---- a scan ---- */

static struct timespec
time_of(uint64_t usec)
{
	return (struct timespec){ (time_t)(usec / USEC_PER_SEC), (long)(usec % USEC_PER_SEC * 1000) };
}

/* NULL: nobody until then. */
static struct worker *
take(const struct scan_job *job, uint64_t until)
{
	struct worker *w = NULL;
	pthread_mutex_lock(&pool.lock);
	for (uint64_t now = clock_mono(); list_empty(&pool.idle) && now < until; now = clock_mono()) {
		uint64_t next = now + WAITS_EVERY < until ? now + WAITS_EVERY : until;
		struct timespec ts = time_of(next);
		if (pthread_cond_timedwait(&pool.changed, &pool.lock, &ts) == ETIMEDOUT && job->waits != NULL) {
			pthread_mutex_unlock(&pool.lock);
			job->waits(job->arg);
			pthread_mutex_lock(&pool.lock);
		}
	}
	struct list *l = list_pop(&pool.idle);
	if (l != NULL)
		w = list_entry(l, struct worker, link);
	pthread_mutex_unlock(&pool.lock);
	return w;
}

/* The file only grows: it is sealed, so that nobody at the other end can take pages from under us. */
static bool
make_room(struct worker *w, size_t len)
{
	struct stat st;
	if (len <= w->map_len)
		return true;
	size_t want = (len + PAGE - 1) / PAGE * PAGE;
	if (fstat(w->memory, &st) != 0)
		return false;
	if ((size_t)st.st_size > want)
		want = (size_t)st.st_size;
	else if (ftruncate(w->memory, (off_t)want) != 0)
		return false;
	if (w->map != NULL)
		munmap(w->map, w->map_len);
	w->map_len = 0;
	w->map = mmap(NULL, want, PROT_READ | PROT_WRITE, MAP_SHARED, w->memory, 0);
	if (w->map == MAP_FAILED) {
		w->map = NULL;
		return false;
	}
	w->map_len = want;
	return true;
}

/* What a large message took is given back to the machine. */
static void
shrink(const struct worker *w)
{
	if (w->map_len > KEEP_MAPPED)
		(void)madvise(w->map + WIRE_MAP_FIRST, w->map_len - WIRE_MAP_FIRST, MADV_REMOVE);
}

static bool
is_generation_gone(const struct generation *gen)
{
	struct pollfd p = { .fd = gen->sock, .events = POLLRDHUP };
	for (int i = 0; i < SETTLE_MSEC / 20; i++) { /* its end and that of its workers are one event to us, but not one instant */
		if (gen->is_gone || (poll(&p, 1, 20) > 0 && (p.revents & (POLLHUP | POLLRDHUP)) != 0))
			return true;
	}
	return false;
}

enum answer { ANSWER_OK = 0, ANSWER_NONE, ANSWER_LATE, ANSWER_BAD };

static enum answer
wait_for_answer(const struct worker *w, const struct scan_job *job, struct wire_verdict *say)
{
	uint64_t until = clock_mono() + pool.conf->scan_usec + OVER_TIME, next = clock_mono() + WAITS_EVERY;
	struct pollfd p = { .fd = w->sock, .events = POLLIN };
	for (;;) {
		uint64_t now = clock_mono();
		if (now >= until)
			return ANSWER_LATE;
		uint64_t stop = next < until ? next : until;
		int r = poll(&p, 1, (int)((stop - now) / 1000) + 1);
		if (r < 0 && errno != EINTR)
			return ANSWER_NONE;
		if (r > 0) {
			ssize_t n = recv(w->sock, say, sizeof *say, 0);
			if (n != (ssize_t)sizeof *say)
				return n > 0 ? ANSWER_BAD : ANSWER_NONE;
			/* what a worker can say, and no more: it may be somebody else by now */
			return say->kind <= VIRUS_UNSCANNED ? ANSWER_OK : ANSWER_BAD;
		}
		if (clock_mono() >= next) {
			next += WAITS_EVERY;
			if (job->waits != NULL)
				job->waits(job->arg);
		}
	}
}

static struct virus_verdict
verdict_of(struct wire_verdict *say)
{
	say->name[VIRUS_NAME_MAX - 1] = '\0';
	enum virus_kind kind = (enum virus_kind)say->kind;
	struct virus_verdict v = { .kind = kind };
	if (kind == VIRUS_LIMITS || kind == VIRUS_UNSCANNED)
		v = virus_verdict_why(kind, say->name);
	else if (kind != VIRUS_CLEAN)
		virus_name_clean(span_str(say->name), v.name);
	return v;
}

enum scan_end
pool_scan(const struct scan_job *job, struct virus_verdict *out, struct err *why)
{
	uint64_t until = clock_mono() + pool.conf->wait_usec;
	for (int attempt = 0;;) {
		struct worker *w = take(job, until);
		if (w == NULL) {
			(void)err_set(why, RC_TEMP, "%s", pool_version(&(struct virus_version){ .engine = "" }) == 0 ? "the engine is not there" : "all workers are busy");
			return SCAN_AWAY;
		}
		size_t len = job->head.n + job->message.n;
		if (!make_room(w, len)) {
			(void)err_set(why, RC_TEMP, "no memory for the message: %s", strerror(errno));
			give_back(w);
			return SCAN_AWAY;
		}
		memcpy(w->map, job->head.p, job->head.n);
		if (job->message.n > 0)
			memcpy(w->map + job->head.n, job->message.p, job->message.n);
		struct wire_scan ask = { .len = len, .head = job->head.n };
		struct wire_verdict say;
		if (send(w->sock, &ask, sizeof ask, MSG_NOSIGNAL) != (ssize_t)sizeof ask) {
			drop(w, false); /* it ended before this message */
			continue;
		}
		enum answer a = wait_for_answer(w, job, &say);
		if (a == ANSWER_OK) {
			shrink(w);
			give_back(w);
			*out = verdict_of(&say);
			return SCAN_DONE;
		}
		bool is_innocent = a == ANSWER_NONE && is_generation_gone(w->generation);
		drop(w, a != ANSWER_NONE);
		if (is_innocent && ++attempt < ATTEMPTS)
			continue;
		(void)err_set(why, RC_TEMP, "%s", is_innocent ? "the engine ended" : a == ANSWER_LATE ? "the scan ran over time" : a == ANSWER_BAD ?
		    "the worker answered nonsense" : "the worker ended during the scan");
		return is_innocent ? SCAN_AWAY : SCAN_FAILED;
	}
}

/* ---- generations ---- */

void
pool_add(int fd)
{
	pthread_mutex_lock(&pool.lock);
	size_t i = 0;
	while (i < GENERATIONS_MAX && pool.generation[i].sock >= 0)
		i++;
	if (i < GENERATIONS_MAX)
		pool.generation[i] = (struct generation){ .sock = fd, .serial = ++pool.serial };
	else
		close(fd);
	pthread_mutex_unlock(&pool.lock);
}

static void
add_worker(struct generation *gen, uint32_t id, int sock, int memory)
{
	struct worker *w = mem_zalloc(sizeof *w);
	*w = (struct worker){ .generation = gen, .id = id, .sock = sock, .memory = memory };
	list_init(&w->link);
	gen->nworkers++;
	if (gen == pool.now) {
		list_append(&pool.idle, &w->link);
		pthread_cond_signal(&pool.changed);
	} else {
		end_worker(w);
	}
}

/* From here on all messages are for this one. */
static void
switch_to(struct generation *gen, const struct virus_version *version)
{
	gen->is_ready = true;
	gen->version = *version;
	gen->version.engine[VIRUS_VERSION_MAX - 1] = gen->version.signatures[VIRUS_VERSION_MAX - 1] = '\0';
	if (pool.now != NULL && pool.now->serial > gen->serial)
		return;
	struct generation *before = pool.now;
	pool.now = gen;
	list_each(it, &pool.idle) {
		struct worker *w = list_entry(it, struct worker, link);
		if (w->generation != gen)
			end_worker(w);
	}
	if (before != NULL)
		release(before);
	pthread_cond_broadcast(&pool.changed);
}

static void
lost(struct generation *gen)
{
	gen->is_gone = true;
	list_each(it, &pool.idle) {
		struct worker *w = list_entry(it, struct worker, link);
		if (w->generation == gen)
			end_worker(w);
	}
	if (gen->sock >= 0)
		release(gen);
}

/* fd: where there was something; it may have been released meanwhile. */
static void
hear(struct generation *gen, int fd)
{
	struct wire_generation m;
	int fds[2] = { -1, -1 };
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(2 * sizeof(int))];
	} ancillary;
	struct iovec iov = { &m, sizeof m };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &ancillary, .msg_controllen = sizeof ancillary };
	pthread_mutex_lock(&pool.lock);
	ssize_t n = gen->sock == fd ? recvmsg(fd, &h, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) : -1;
	if (n < 0 && (gen->sock != fd || errno == EAGAIN || errno == EINTR)) {
		pthread_mutex_unlock(&pool.lock);
		return;
	}
	if (n > 0)
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&h); c != NULL; c = CMSG_NXTHDR(&h, c))
			if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof fds))
				memcpy(fds, CMSG_DATA(c), sizeof fds);
	if (n != (ssize_t)sizeof m)
		lost(gen);
	else if (m.type == WIRE_WORKER && fds[0] >= 0)
		add_worker(gen, m.id, fds[0], fds[1]);
	else if (m.type == WIRE_READY)
		switch_to(gen, &m.version);
	pthread_mutex_unlock(&pool.lock);
}

void
pool_listen(int supervisor)
{
	for (;;) {
		struct pollfd p[GENERATIONS_MAX + 1];
		struct generation *who[GENERATIONS_MAX + 1];
		nfds_t n = 0;
		p[n++] = (struct pollfd){ .fd = supervisor, .events = POLLIN };
		pthread_mutex_lock(&pool.lock);
		for (size_t i = 0; i < GENERATIONS_MAX; i++)
			if (pool.generation[i].sock >= 0 && !pool.generation[i].is_gone) {
				who[n] = &pool.generation[i];
				p[n++] = (struct pollfd){ .fd = pool.generation[i].sock, .events = POLLIN };
			}
		pthread_mutex_unlock(&pool.lock);
		int r = poll(p, n, 1000); /* one that was released meanwhile is looked at again */
		if (r < 0 && errno != EINTR)
			return;
		for (nfds_t i = 1; r > 0 && i < n; i++)
			if (p[i].revents != 0)
				hear(who[i], p[i].fd);
		if (r > 0 && p[0].revents != 0)
			return;
	}
}
