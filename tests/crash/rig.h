/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rig.h - a user of the spool that does everything at random and writes down, in memory shared with its
 * parent, what it was promised. After it was killed another one recovers and compares.
 */
#ifndef TESTS_CRASH_RIG_H
#define TESTS_CRASH_RIG_H

#include "base/crc32c.h"
#include "base/log.h"
#include "base/rand.h"
#include "loop/loop.h"
#include "shim.h"
#include "spool/internal.h"

#include <dirent.h>
#include <sys/mman.h>
#include <sys/wait.h>

enum { RIG_MESSAGES = 1 << 16, RIG_LIVE = 200, RIG_ACCEPT = 40, RIG_OK = 0, RIG_WRONG = 3, RIG_STUCK = 4 };

enum rig_phase { RIG_NONE, RIG_OFFERED, RIG_HERE, RIG_REFUSED, RIG_GONE };
struct rig_model {               /* of one message; written before the spool is asked, and after it answered */
	uint8_t phase;
	bool done, done_sure, refused_sure;
	uint32_t state_issued, state_sure;
	uint64_t done_at, refused_at; /* sequence numbers of requests */
	uint64_t ended_in;       /* done: the segment with its last state */
	uint32_t length;
};
struct rig_shared {
	_Atomic uint64_t calls;
	uint64_t seed;
	uint64_t sequence;       /* of requests */
	uint64_t sure;           /* all requests up to here are durable */
	uint32_t next;           /* message */
	uint64_t accepted, refused, done, spilled, recovered, damaged;
	struct rig_model m[RIG_MESSAGES];
};

struct rig_msg {
	struct spool_msg m;
	struct op op, state_op;
	struct op_owner owner;
	uint32_t index;
	uint64_t asked_at, state_at;
	uint32_t state_number;
	bool here, in_journal;   /* committed; its accept goes through the journal */
	bool seen;
};

static struct rig {
	struct rig_shared *shared;
	struct spool *spool;
	struct rig_msg *live[RIG_LIVE];
	unsigned nlive, pending;
	uint64_t rng;
	unsigned steps;
	struct timer timer, watchdog;
	char dir[200];
	bool may_damage;         /* the journal was cut or flipped: messages may be missing */
	bool full;               /* spool_settings.reserve_bytes makes it refuse */
	uint64_t removed[RIG_LIVE];
} rig;

static void
rig_wrong(const char *what, uint32_t index)
{
	fprintf(stderr, "rig: %s: message %u (phase %u, done %d/%d, state %u/%u, length %u), seed %llu\n", what, index,
	    rig.shared->m[index].phase, rig.shared->m[index].done, rig.shared->m[index].done_sure, rig.shared->m[index].state_sure,
	    rig.shared->m[index].state_issued, rig.shared->m[index].length, (unsigned long long)rig.shared->seed);
	_exit(RIG_WRONG);
}

static uint64_t
rig_rand(uint64_t below)
{
	rig.rng += UINT64_C(0x9e3779b97f4a7c15);
	return shim_mix(rig.rng) % below;
}

/* ---- what message i is ---- */

static struct spool_id
rig_id(uint32_t i)
{
	return (struct spool_id){ .usec = UINT64_C(1700000000000000) + i, .serial = 77 };
}

static void
rig_content(uint32_t i, uint32_t length, unsigned char *out)
{
	uint64_t x = shim_mix(i + 1000);
	for (uint32_t k = 0; k < length; k++) {
		if (k % 8 == 0)
			x = shim_mix(x + k);
		out[k] = (unsigned char)(x >> 8 * (k % 8));
	}
}

static void
rig_envelope(uint32_t i, struct buf *out)
{
	buf_printf(out, "envelope of %u", i);
	for (uint32_t k = 0; k < i % 50; k++)
		buf_putc(out, '.');
}

static void
rig_state(uint32_t i, uint32_t number, struct buf *out)
{
	buf_printf(out, "%u:%u:", i, number);
	for (uint32_t k = 0; k < (i + number * 7) % 300; k++)
		buf_putc(out, '+');
}

/* ---- the owner's side ---- */

static struct rig_msg *
rig_new(uint32_t index, op_fn *accepted, op_fn *stated)
{
	struct rig_msg *x = mem_zalloc(sizeof *x);
	x->index = index;
	op_owner_init(&x->owner);
	op_init(&x->op, &x->owner, accepted);
	op_init(&x->state_op, &x->owner, stated);
	rig.live[rig.nlive++] = x;
	return x;
}

static void
rig_drop(struct rig_msg *x)
{
	ops_cancel_all(&x->owner);
	for (unsigned i = 0; i < rig.nlive; i++)
		if (rig.live[i] == x) {
			rig.live[i] = rig.live[--rig.nlive];
			break;
		}
	mem_poison(x, sizeof *x);
	mem_free(&x);
}

/* The journal keeps order: what was asked before a request that came back well is durable too. */
static void
rig_sure(uint64_t at)
{
	struct rig_shared *h = rig.shared;
	if (at <= h->sure)
		return;
	h->sure = at;
	for (uint32_t i = h->next > 4096 ? h->next - 4096 : 0; i < h->next; i++) {
		struct rig_model *m = &h->m[i];
		if (m->done && m->done_at < at)
			m->done_sure = true;
		if (m->phase == RIG_REFUSED && m->refused_at < at)
			m->refused_sure = true;
	}
}

static void
rig_accepted(struct op *op)
{
	struct rig_msg *x = container_of(op, struct rig_msg, op);
	struct rig_model *m = &rig.shared->m[x->index];
	rig.pending--;
	if (op->rc == RC_OK) {
		m->phase = RIG_HERE;
		x->here = true;
		rig.shared->accepted++;
		if (x->in_journal)
			rig_sure(x->asked_at);
		return;
	}
	m->refused_at = rig.shared->sequence++;
	m->phase = RIG_REFUSED;
	rig.shared->refused++;
	rig_drop(x);
}

static void
rig_stated(struct op *op)
{
	struct rig_msg *x = container_of(op, struct rig_msg, state_op);
	rig.pending--;
	if (op->rc != RC_OK)
		return;
	rig.shared->m[x->index].state_sure = x->state_number;
	rig_sure(x->state_at);
}

static struct spool_msg *
rig_recovered(void *owner, const struct spool_id *id, struct span envelope, struct span state)
{
	(void)owner;
	uint32_t i = (uint32_t)(id->usec - UINT64_C(1700000000000000));
	struct buf want;
	buf_init(&want, 4096);
	if (id->serial != 77 || i >= rig.shared->next)
		rig_wrong("an id that was never made", 0);
	for (unsigned k = 0; k < rig.nlive; k++)
		if (rig.live[k]->index == i)
			rig_wrong("recovered twice", i);
	rig_envelope(i, &want);
	if (!span_eq(envelope, buf_span(&want)))
		rig_wrong("wrong envelope", i);
	struct rig_model *m = &rig.shared->m[i];
	uint64_t number = 0;
	if (state.n > 0) {
		struct span rest = span_from(state, span_chr(state, ':') + 1);
		if (!span_u64(span_head(rest, span_chr(rest, ':')), UINT32_MAX, &number))
			rig_wrong("unreadable state", i);
		buf_reset(&want);
		rig_state(i, (uint32_t)number, &want);
		if (!span_eq(state, buf_span(&want)))
			rig_wrong("wrong state", i);
	}
	buf_fini(&want);
	if (number > m->state_issued)
		rig_wrong("a state of the future", i);
	if (number < m->state_sure && !rig.may_damage)
		rig_wrong("an older state", i);
	if (m->phase == RIG_GONE || (m->done_sure && !rig.may_damage))
		rig_wrong("back from the dead", i);
	if (m->phase == RIG_REFUSED && m->refused_sure && !rig.may_damage)
		rig_wrong("refused, and here", i);
	if (rig.nlive == RIG_LIVE)
		rig_wrong("too many", i);
	m->state_sure = m->state_issued = (uint32_t)number;
	m->phase = RIG_HERE;
	m->done = m->done_sure = m->refused_sure = false; /* its end was not durable: it lives on */
	struct rig_msg *x = rig_new(i, rig_accepted, rig_stated);
	x->here = true;
	x->state_number = (uint32_t)number;
	rig.shared->recovered++;
	return &x->m;
}

static void
rig_describe(void *owner, struct spool_msg *m, struct buf *envelope, struct buf *state)
{
	(void)owner;
	struct rig_msg *x = container_of(m, struct rig_msg, m);
	rig_envelope(x->index, envelope);
	if (rig.shared->m[x->index].state_issued > 0)
		rig_state(x->index, rig.shared->m[x->index].state_issued, state);
	rig.shared->spilled++;
}

static void
rig_check_content(struct rig_msg *x)
{
	struct rig_model *m = &rig.shared->m[x->index];
	struct buf got;
	struct err e;
	unsigned char *want = mem_alloc(m->length);
	buf_init(&got, 1 << 20);
	rig_content(x->index, m->length, want);
	if (x->m.length != m->length)
		rig_wrong("wrong length", x->index);
	enum rc rc = spool_read(rig.spool, &x->m, 0, m->length, &got, &e);
	if (rc == RC_PERM) {
		fprintf(stderr, "%s\n", e.why);
		if (!rig.may_damage)
			rig_wrong("content damaged", x->index);
	} else if (rc == RC_OK && !span_eq(buf_span(&got), span_of(want, m->length))) {
		rig_wrong("wrong content", x->index);
	} else if (rc != RC_OK && shim.plan.how != SHIM_FAIL) {
		rig_wrong(e.why, x->index);
	}
	buf_fini(&got);
	mem_free(&want);
}

/* ---- actions ---- */

static void
rig_accept(void)
{
	if (rig.nlive >= RIG_ACCEPT || rig.shared->next >= RIG_MESSAGES)
		return;
	uint32_t i = rig.shared->next++;
	struct rig_model *m = &rig.shared->m[i];
	uint64_t kind = rig_rand(40);
	m->length = kind == 0 ? (uint32_t)rig_rand(90000) : kind < 4 ? (uint32_t)rig_rand(20000) : (uint32_t)rig_rand(3000);
	unsigned char *p = mem_alloc(m->length + 1u);
	struct buf envelope;
	buf_init(&envelope, 4096);
	rig_envelope(i, &envelope);
	rig_content(i, m->length, p);
	struct span content = span_of(p, m->length);
	struct spool_id id = rig_id(i);
	struct rig_msg *x = rig_new(i, rig_accepted, rig_stated);
	x->asked_at = rig.shared->sequence++;
	m->phase = RIG_OFFERED;
	rig.pending++;
	uint64_t draft;
	int fd;
	struct err e;
	if (rig_rand(12) == 0 && spool_draft_open(rig.spool, &draft, &fd, &e) == RC_OK) {
		if (write(fd, p, m->length) != (ssize_t)m->length)
			rig_wrong("cannot write a draft", i);
		close(fd);
		if (rig_rand(6) == 0) {
			spool_draft_drop(rig.spool, draft);
			rig.pending--;
			m->phase = RIG_GONE;
			rig_drop(x);
		} else {
			spool_accept_draft(rig.spool, &x->m, &id, buf_span(&envelope), draft, m->length, crc32c(0, content), &x->op);
		}
	} else {
		x->in_journal = rec_size(buf_len(&envelope), m->length) < 60000;
		spool_accept(rig.spool, &x->m, &id, buf_span(&envelope), content, &x->op);
	}
	memset(p, 0xee, m->length); /* it was copied */
	buf_fini(&envelope);
	mem_free(&p);
}

static struct rig_msg *
rig_any(bool here)
{
	for (unsigned tries = 0; rig.nlive > 0 && tries < 8; tries++) {
		struct rig_msg *x = rig.live[rig_rand(rig.nlive)];
		if (x->here == here)
			return x;
	}
	return NULL;
}

static void
rig_restate(void)
{
	struct rig_msg *x = rig_any(true);
	struct buf state;
	if (x == NULL || x->state_op.state != OP_IDLE)
		return;
	buf_init(&state, 4096);
	x->state_number = ++rig.shared->m[x->index].state_issued;
	x->state_at = rig.shared->sequence++;
	rig_state(x->index, x->state_number, &state);
	rig.pending++;
	spool_state(rig.spool, &x->m, buf_span(&state), &x->state_op);
	buf_fini(&state);
}

static void
rig_finish(struct rig_msg *x)
{
	struct rig_model *m = &rig.shared->m[x->index];
	while (x->m.pins > 0)
		spool_unpin(rig.spool, &x->m);
	rig.pending -= (x->op.state != OP_IDLE) + (x->state_op.state != OP_IDLE);
	ops_cancel_all(&x->owner);
	m->done_at = rig.shared->sequence++;
	m->ended_in = x->m.last_segment;
	m->done = true;
	rig.shared->done++;
	spool_done(rig.spool, &x->m);
	rig_drop(x);
}

static void
rig_act(void)
{
	uint64_t what = rig_rand(100);
	struct rig_msg *x;
	if (what < 45) {
		rig_accept();
	} else if (what < 60) {
		rig_restate();
	} else if (what < 85) {
		if ((x = rig_any(true)) != NULL && (rig.nlive > 12 || rig_rand(3) == 0))
			rig_finish(x);
	} else if (what < 87) {
		/* the owner gives up while it is not committed; a refused one would be finished too */
		if ((x = rig_any(false)) != NULL && x->op.state == OP_PENDING)
			rig_finish(x);
	} else if (what < 93) {
		if ((x = rig_any(true)) != NULL) {
			if (x->m.pins == 0)
				spool_pin(rig.spool, &x->m);
			else
				spool_unpin(rig.spool, &x->m);
		}
	} else if ((x = rig_any(true)) != NULL) {
		rig_check_content(x);
	}
}

static void
rig_step(struct timer *t)
{
	for (unsigned n = 1 + (unsigned)rig_rand(4); n > 0 && rig.steps > 0; n--, rig.steps--)
		rig_act();
	/* on a dead disk states stay pending for ever; accepts never do */
	unsigned accepts = 0;
	for (unsigned i = 0; i < rig.nlive; i++)
		accepts += rig.live[i]->op.state != OP_IDLE;
	if (rig.steps == 0 && (rig.pending == 0 || (shim.plan.how == SHIM_FAIL && accepts == 0))) {
		loop_stop();
		return;
	}
	timer_set(t, rig.steps == 0 ? 1000 : 0);
}

static void
rig_stuck(struct timer *t)
{
	(void)t;
	const struct spool *s = rig.spool;
	fprintf(stderr, "rig: stuck with %u pending, seed %llu: used %u ready %u making %d turning %d/%d spill %d flight %d waiting %d accepting %d failures %u doomed %u refuses %d\n",
	    rig.pending, (unsigned long long)rig.shared->seed, s->nused, s->nready, s->making != NULL, s->turning != NULL, s->turning_runs,
	    s->spill != NULL, s->flight != NULL, !list_empty(&s->waiting), s->accepting, s->failures, s->doomed, s->disk_refuses);
	list_each(l, &s->used) {
		const struct segment *seg = list_entry(l, struct segment, link);
		unsigned n = 0;
		list_each(k, &seg->live)
			n++;
		fprintf(stderr, "  segment %llu pos %llu live %u readers %u bad %d%s\n", (unsigned long long)seg->head.generation,
		    (unsigned long long)seg->pos, n, seg->readers, seg->bad, seg == s->current ? " current" : "");
	}
	_exit(RIG_STUCK);
}

/* No room anywhere for an end: the states of messages that have ended may go before it (segments.c, is_spent). */
static void
rig_let_go(uint64_t segment)
{
	for (uint32_t i = 0; i < rig.shared->next; i++)
		if (rig.shared->m[i].done && rig.shared->m[i].ended_in == segment)
			rig.shared->m[i].state_sure = 0;
}

/* A pinned segment is told to be gone when it is unpinned, which the end of the process comes before. */
static void
rig_let_go_pinned(void)
{
	const struct spool *s = rig.spool;
	if (shim.plan.how != SHIM_FAIL)
		return;
	for (uint64_t g = 1; g < s->next_generation; g++) {
		const struct segment *seg = segment_find(s, g);
		if (seg != NULL && seg->readers > 0 && seg->ending > 0)
			rig_let_go(g);
	}
}

static void
rig_segment_gone(void *owner, uint64_t segment)
{
	(void)owner;
	for (unsigned i = 0; i < rig.nlive; i++)
		if (rig.live[i]->m.pins > 0 && rig.live[i]->m.segment == segment)
			rig_wrong("its segment goes while it is pinned", rig.live[i]->index);
	const struct segment *seg = segment_find(rig.spool, segment);
	if (seg != NULL && seg->ending > 0)
		rig_let_go(segment);
}

static const struct spool_ops rig_ops = { .recovered = rig_recovered, .describe = rig_describe, .segment_gone = rig_segment_gone };

/* What must be there is there, all of it is right, and nothing else lies about. */
static void
rig_verify(void)
{
	struct rig_shared *h = rig.shared;
	static bool present[RIG_MESSAGES];
	for (unsigned i = 0; i < rig.nlive; i++) {
		present[rig.live[i]->index] = true;
		h->m[rig.live[i]->index].length = (uint32_t)rig.live[i]->m.length; /* checked below against the content */
	}
	for (uint32_t i = 0; i < h->next; i++) {
		struct rig_model *m = &h->m[i];
		if (!present[i]) {
			if (m->phase == RIG_HERE && !m->done && !rig.may_damage)
				rig_wrong("lost", i);
			m->phase = RIG_GONE;
			continue;
		}
		m->phase = RIG_HERE;
		m->done = m->done_sure = m->refused_sure = false;
	}
	for (unsigned i = 0; i < rig.nlive; i++)
		rig_check_content(rig.live[i]);
}

static unsigned
rig_count(const char *sub)
{
	char path[300];
	unsigned n = 0;
	snprintf(path, sizeof path, "%s/%s", rig.dir, sub);
	DIR *d = opendir(path);
	for (struct dirent *de; d != NULL && (de = readdir(d)) != NULL;)
		n += de->d_name[0] != '.' && de->d_name[0] != 's'; /* "spill0": the filer is at work already */
	if (d != NULL)
		closedir(d);
	return n;
}

/* Child: recover, verify, do some steps, close. Exit status RIG_*. */
static void
rig_child(const struct shim_plan *plan, unsigned steps, bool shimmed_recovery)
{
	static const struct shim_plan calm = { .how = SHIM_COUNT, .speed = 50 };
	struct err e;
	struct spool_report report;
	struct spool_settings set = { .dir = rig.dir, .segment_bytes = 64 << 10, .segments_min = 2, .segments_max = 4, .inline_max = 32 << 10 };
	rig.rng = rig.shared->seed;
	rig.steps = steps;
	rig.nlive = rig.pending = 0;
	loop_init();
	shim_start(shimmed_recovery ? plan : &calm, &rig.shared->calls);
	if (spool_open(&rig.spool, &set, &rig_ops, NULL, &e) != RC_OK || spool_recover(rig.spool, &report, &e) != RC_OK) {
		if (shimmed_recovery) {
			spool_close(&rig.spool);
			_exit(SHIM_EXIT);
		}
		fprintf(stderr, "rig: %s\n", e.why);
		_exit(RIG_WRONG);
	}
	rig.shared->damaged += report.damaged_places + report.set_aside;
	if (rig_count("drafts") > 0 && plan->how != SHIM_FAIL)
		rig_wrong("a draft is left", 0);
	if (!shimmed_recovery || plan->how != SHIM_FAIL)
		rig_verify();
	if (!shimmed_recovery) {
		pthread_mutex_lock(&shim.lock);
		shim_start(plan, &rig.shared->calls);
		pthread_mutex_unlock(&shim.lock);
	}
	timer_init(&rig.timer, rig_step);
	timer_set(&rig.timer, 0);
	timer_init(&rig.watchdog, rig_stuck);
	timer_set(&rig.watchdog, 20 * USEC_PER_SEC);
	loop_run();
	timer_clear(&rig.watchdog);
	while (rig.nlive > 0 && rig.live[0]->m.pins > 0)
		spool_unpin(rig.spool, &rig.live[0]->m);
	rig_let_go_pinned();
	spool_close(&rig.spool);
	while (rig.nlive > 0)
		rig_drop(rig.live[0]);
	loop_fini();
	exit(RIG_OK); /* with the leak check */
}

static int
rig_run(const struct shim_plan *plan, unsigned steps, bool shimmed_recovery)
{
	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0)
		rig_child(plan, steps, shimmed_recovery);
	int status;
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return 255;
	return WEXITSTATUS(status);
}

static void
rig_remove(const char *path)
{
	DIR *d = opendir(path);
	if (d == NULL) {
		unlink(path);
		return;
	}
	for (struct dirent *de; (de = readdir(d)) != NULL;) {
		char sub[600];
		if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0)
			continue;
		snprintf(sub, sizeof sub, "%s/%s", path, de->d_name);
		if (de->d_type == DT_DIR)
			rig_remove(sub);
		else
			unlink(sub);
	}
	closedir(d);
	rmdir(path);
}

/* An empty spool, an empty model. */
static void
rig_fresh(uint64_t seed)
{
	rig_remove(rig.dir);
	memset(rig.shared, 0, sizeof *rig.shared);
	rig.shared->seed = seed;
}

static void
rig_begin(const char *name)
{
	const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "build/tmp";
	mkdir("build", 0755);
	mkdir("build/tmp", 0755);
	snprintf(rig.dir, sizeof rig.dir, "%s/dogana-%s-%ld/spool", base, name, (long)getpid());
	rig.shared = mmap(NULL, sizeof *rig.shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	BUG_ON(rig.shared == MAP_FAILED);
	log_open(LOG_TO_FD, open("/dev/null", O_WRONLY | O_CLOEXEC), LOG_POSTFIX, NULL, "spool");
}

static void
rig_end(void)
{
	rig_remove(rig.dir);
	char *slash = strrchr(rig.dir, '/');
	*slash = '\0';
	rmdir(rig.dir);
	munmap(rig.shared, sizeof *rig.shared);
}

#endif
