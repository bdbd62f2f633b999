/* SPDX-License-Identifier: GPL-2.0-only */
#include "filters/virus/pool.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/list.h"
#include "base/mem.h"
#include "filters/virus/wire.h"

#include <errno.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WORKER_MAGIC = 0x3c4a0001, GENERATIONS_MAX = 8, ATTEMPTS = 2, KEEP_MAPPED = 4 * 1024 * 1024, PAGE = 4096, SETTLE_LOOKS = 10 };
static const uint64_t OVER_TIME = 6 * USEC_PER_SEC, SETTLE_EVERY = 20 * 1000, QUICK = USEC_PER_SEC / 4;

struct generation {
	int sock;                    /* -1: free place */
	bool is_ready, is_gone;      /* gone: it has closed its end */
	uint64_t serial;
	unsigned nworkers;
	struct virus_version version;
	struct watch watch;
};

struct worker {
	unsigned magic;
	struct generation *generation;
	uint32_t id;
	int sock, memory;
	unsigned char *map;
	size_t map_len;
	struct list link;            /* idle */
	struct watch watch;
	struct timer timer;          /* of a scan; stays armed behind a quick one, and looks at began */
	uint64_t began;
	bool is_busy, is_dead;       /* dead: it closed its end in the middle of a scan */
	bool is_quick;               /* so far; counted in pool.quick */
	unsigned looks;              /* since then, whether its whole generation is gone */
	struct scan *scan;           /* NULL: none, or nobody waits for it any more */
	struct grave grave;
};

static struct {
	const struct virus_conf *conf;
	struct generation generation[GENERATIONS_MAX];
	struct generation *now;
	struct list idle;            /* workers of now; used last in front */
	struct list waiting;         /* scans */
	unsigned quick;              /* workers at a scan that began not long ago */
	uint64_t serial;
} pool;

static void give_work(void);

void
pool_init(const struct virus_conf *conf)
{
	pool.conf = conf;
	list_init(&pool.idle);
	list_init(&pool.waiting);
	for (size_t i = 0; i < GENERATIONS_MAX; i++)
		pool.generation[i].sock = -1;
}

uint64_t
pool_version(struct virus_version *out)
{
	if (pool.now == NULL)
		return 0;
	*out = pool.now->version;
	return pool.now->serial;
}

/* ---- workers ---- */

/* Its last worker has gone, and it gets no more messages. */
static void
release(struct generation *gen)
{
	if (gen->sock < 0 || gen->nworkers > 0 || (gen == pool.now && !gen->is_gone) || (!gen->is_ready && !gen->is_gone))
		return;
	watch_clear(&gen->watch);
	close(gen->sock);
	gen->sock = -1;
	if (pool.now == gen)
		pool.now = NULL;
}

static void
dig(struct grave *g)
{
	struct worker *w = container_of(g, struct worker, grave);
	mem_free(&w);
}

/* virus_workers are at work at a time; who is at something slow does not count, so that it keeps nobody else waiting. */
static void
count_out(struct worker *w)
{
	pool.quick -= w->is_quick;
	w->is_quick = false;
}

static void
end_worker(struct worker *w)
{
	CHECK(w, WORKER_MAGIC);
	struct generation *gen = w->generation;
	count_out(w);
	list_remove(&w->link);
	watch_clear(&w->watch);
	timer_clear(&w->timer);
	if (w->map != NULL)
		munmap(w->map, w->map_len);
	close(w->sock);
	close(w->memory);
	w->magic = 0;
	loop_bury(&w->grave, dig);
	gen->nworkers--;
	release(gen);
}

static void
give_back(struct worker *w)
{
	if (!w->is_quick)
		timer_clear(&w->timer); /* it is of a slow one */
	count_out(w);
	w->is_busy = false;
	if (w->generation != pool.now || w->generation->is_gone)
		end_worker(w);
	else
		list_prepend(&pool.idle, &w->link);
}

static void
drop(struct worker *w, bool kill_it)
{
	struct wire_kill k = { .id = w->id };
	if (kill_it && w->generation->sock >= 0)
		(void)!send(w->generation->sock, &k, sizeof k, MSG_NOSIGNAL | MSG_DONTWAIT);
	end_worker(w);
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

/* ---- a scan ---- */

static void
finish(struct scan *s, enum scan_end end)
{
	list_remove(&s->link);
	timer_clear(&s->timer);
	s->at = NULL;
	s->end = end;
	op_finish(&s->op, RC_OK);
}

static void
fail(struct scan *s, enum scan_end end, const char *why)
{
	(void)err_set(&s->why, RC_TEMP, "%s", why);
	finish(s, end);
}

static void
on_cancelled(struct op *op)
{
	struct scan *s = container_of(op, struct scan, op);
	struct worker *w = s->at;
	list_remove(&s->link);
	timer_clear(&s->timer);
	s->at = NULL;
	if (w != NULL)
		w->scan = NULL; /* it comes back when it has done with it */
}

static const struct op_provider provider = { "virus scan", on_cancelled };

static void
on_wait_over(struct timer *t)
{
	struct virus_version v;
	fail(container_of(t, struct scan, timer), SCAN_AWAY, pool_version(&v) == 0 ? "the engine is not there" : "all workers are busy");
}

static void
get_in_line(struct scan *s, bool at_front)
{
	uint64_t now = loop_now();
	if (at_front)
		list_prepend(&pool.waiting, &s->link);
	else
		list_append(&pool.waiting, &s->link);
	give_work();
	if (!list_linked(&s->link))
		return;
	if (now < s->until)
		timer_set(&s->timer, s->until - now);
	else
		on_wait_over(&s->timer);
}

void
pool_scan(struct scan *s)
{
	list_init(&s->link);
	timer_init(&s->timer, on_wait_over);
	s->until = loop_now() + pool.conf->wait_usec;
	s->attempts = 0;
	op_pend(&s->op, &provider);
	get_in_line(s, false);
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

/* The scan that a worker was at, if anybody waits for it. */
static struct scan *
take_scan(struct worker *w)
{
	struct scan *s = w->scan;
	w->scan = NULL;
	if (s != NULL)
		s->at = NULL;
	return s;
}

static void
fail_worker(struct worker *w, bool kill_it, const char *why)
{
	struct scan *s = take_scan(w);
	drop(w, kill_it);
	give_work();
	if (s != NULL)
		fail(s, SCAN_FAILED, why);
}

/* Its end and that of its generation are one event, but not one instant. */
static void
look_why(struct worker *w)
{
	struct pollfd p = { .fd = w->generation->sock, .events = POLLRDHUP };
	bool is_innocent = w->generation->is_gone || (poll(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLRDHUP)) != 0);
	if (w->scan != NULL && !is_innocent && w->looks++ < SETTLE_LOOKS) {
		timer_set(&w->timer, SETTLE_EVERY);
		return;
	}
	if (!is_innocent) {
		fail_worker(w, false, "the worker ended during the scan");
		return;
	}
	struct scan *s = take_scan(w);
	end_worker(w);
	give_work();
	if (s != NULL && ++s->attempts < ATTEMPTS)
		get_in_line(s, true);
	else if (s != NULL)
		fail(s, SCAN_AWAY, "the engine ended");
}

static void
on_worker_timer(struct timer *t)
{
	struct worker *w = container_of(t, struct worker, timer);
	CHECK(w, WORKER_MAGIC);
	if (w->is_dead) {
		look_why(w);
		return;
	}
	if (!w->is_busy)
		return;
	uint64_t took = loop_now() - w->began, limit = pool.conf->scan_usec + OVER_TIME;
	if (took >= limit) {
		fail_worker(w, true, "the scan ran over time");
		return;
	}
	timer_set(&w->timer, took < QUICK ? QUICK - took : limit - took);
	if (took >= QUICK) {
		count_out(w);
		give_work();
	}
}

static void
on_worker(struct watch *watch, short what)
{
	struct worker *w = container_of(watch, struct worker, watch);
	CHECK(w, WORKER_MAGIC);
	(void)what;
	struct wire_verdict say;
	ssize_t n = recv(w->sock, &say, sizeof say, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (!w->is_busy) {
		drop(w, n > 0);
		return;
	}
	if (n <= 0) {
		watch_clear(&w->watch);
		w->is_dead = true;
		look_why(w);
		return;
	}
	/* what a worker can say, and no more: it may be somebody else by now */
	if (n != (ssize_t)sizeof say || say.kind > VIRUS_UNSCANNED) {
		fail_worker(w, true, "the worker answered nonsense");
		return;
	}
	struct scan *s = take_scan(w);
	shrink(w);
	give_back(w);
	give_work(); /* first: it works while we answer */
	if (s != NULL) {
		s->verdict = verdict_of(&say);
		finish(s, SCAN_DONE);
	}
}

/* false: the worker had ended before. */
static bool
start(struct worker *w, struct scan *s)
{
	size_t len = s->head.n + s->message.n;
	if (!make_room(w, len)) {
		give_back(w);
		(void)err_set(&s->why, RC_TEMP, "no memory for the message: %s", strerror(errno));
		finish(s, SCAN_AWAY);
		return true;
	}
	memcpy(w->map, s->head.p, s->head.n);
	if (s->message.n > 0)
		memcpy(w->map + s->head.n, s->message.p, s->message.n);
	struct wire_scan ask = { .len = len, .head = s->head.n };
	if (send(w->sock, &ask, sizeof ask, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)sizeof ask) {
		drop(w, true);
		return false;
	}
	timer_clear(&s->timer);
	s->at = w;
	w->scan = s;
	w->is_busy = true;
	w->is_quick = true;
	pool.quick++;
	w->began = loop_now();
	if (!w->timer.armed)
		timer_set(&w->timer, QUICK);
	return true;
}

static void
give_work(void)
{
	while (!list_empty(&pool.waiting) && !list_empty(&pool.idle) && pool.quick < pool.conf->workers) {
		struct scan *s = list_entry(list_pop(&pool.waiting), struct scan, link);
		struct worker *w = list_entry(list_pop(&pool.idle), struct worker, link);
		if (!start(w, s))
			list_prepend(&pool.waiting, &s->link);
	}
}

/* ---- generations ---- */

static void
add_worker(struct generation *gen, uint32_t id, int sock, int memory)
{
	struct worker *w = mem_zalloc(sizeof *w);
	*w = (struct worker){ .magic = WORKER_MAGIC, .generation = gen, .id = id, .sock = sock, .memory = memory };
	list_init(&w->link);
	timer_init(&w->timer, on_worker_timer);
	watch_init(&w->watch, sock, on_worker);
	watch_want(&w->watch, EV_READ);
	gen->nworkers++;
	give_back(w);
	give_work();
}

static void
end_idle(const struct generation *only, const struct generation *all_but)
{
	list_each (it, &pool.idle) {
		struct worker *w = list_entry(it, struct worker, link);
		if (w->generation == only || (all_but != NULL && w->generation != all_but))
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
	end_idle(NULL, gen);
	if (before != NULL)
		release(before);
}

static void
lost(struct generation *gen)
{
	gen->is_gone = true;
	watch_want(&gen->watch, 0);
	end_idle(gen, NULL);
	release(gen);
}

static void
on_generation(struct watch *watch, short what)
{
	struct generation *gen = container_of(watch, struct generation, watch);
	struct wire_generation m;
	int fds[2];
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(2 * sizeof(int))];
	} ancillary;
	struct iovec iov = { &m, sizeof m };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &ancillary, .msg_controllen = sizeof ancillary };
	(void)what;
	ssize_t n = recvmsg(gen->sock, &h, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	bool has_fds = n > 0 && fd_passed(&h, fds, NELEMS(fds));
	if (has_fds && n == (ssize_t)sizeof m && m.type == WIRE_WORKER) {
		add_worker(gen, m.id, fds[0], fds[1]);
		return;
	}
	for (size_t i = 0; has_fds && i < NELEMS(fds); i++)
		close(fds[i]);
	if (n != (ssize_t)sizeof m)
		lost(gen);
	else if (m.type == WIRE_READY)
		switch_to(gen, &m.version);
}

void
pool_add(int fd)
{
	for (size_t i = 0; i < GENERATIONS_MAX; i++) {
		struct generation *gen = &pool.generation[i];
		if (gen->sock >= 0)
			continue;
		*gen = (struct generation){ .sock = fd, .serial = ++pool.serial };
		watch_init(&gen->watch, fd, on_generation);
		watch_want(&gen->watch, EV_READ);
		return;
	}
	close(fd);
}
