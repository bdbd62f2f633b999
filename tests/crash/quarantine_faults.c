/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * quarantine_faults.c - every system call of the quarantine's files and of its index (SQLite's included) fails in turn, or is the last
 * thing the process does, or the machine loses power there. Then another process opens the store, repairs it, and compares with what
 * was answered: nothing lost, nobody released who was not, files and index agree; the same once more with the index gone.
 *
 *	quarantine_faults [STRIDE [OFFSET [KIND]]]    every STRIDE-th call from OFFSET on; "1" is all of them
 */
#include "shim.h"

#include "base/log.h"
#include "loop/loop.h"
#include "quarantine/store.h"

#include <dirent.h>
#include <openssl/evp.h>
#include <sys/mman.h>
#include <sys/wait.h>

enum { MESSAGES = 400, RCPTS = 2, SLOTS = 6, STEPS = 90, OK = 0, WRONG = 3, STUCK = 4 };
enum { ABSENT = 1, PRESENT = 2 };
#define BIT(s) (1u << (s))

struct model {                   /* what may be true of a message; one request about it at a time */
	uint8_t presence;
	bool put_asked, gone;        /* deleted for certain */
	uint8_t states[RCPTS];       /* bits of quar_state */
	uint32_t copy;               /* number of the last release; 0: none */
};
static struct shared {
	_Atomic uint64_t calls;
	uint64_t seed;
	uint32_t next;
	uint64_t puts, releases, finished, undone, deletes, expiries, refused;
	struct model m[MESSAGES];
} *shared;

static struct rig {
	char dir[200];
	struct quar *q;
	struct op_owner ops;
	struct slot {
		struct quar_req r;
		enum { IDLE, PUT, BEGIN, FINISH, UNDO, DELETE, EXPIRE, GET } what;
		uint32_t i, copy, rcpts; /* bits of recipients */
		uint8_t was[RCPTS];
	} slots[SLOTS];
	bool busy[MESSAGES];
	unsigned steps, under_way;
	uint64_t rng;
	bool may_fail;
	struct quar_req one;
	struct timer watchdog;
} rig;

static uint64_t
any(uint64_t below)
{
	rig.rng += UINT64_C(0x9e3779b97f4a7c15);
	return shim_mix(rig.rng) % below;
}

static void
wrong(const char *what, uint32_t i)
{
	const struct model *m = &shared->m[i];
	fprintf(stderr, "quarantine: %s: message %u (presence %u, states %x %x, copy %u), seed %llu\n", what, i, m->presence, m->states[0], m->states[1], m->copy,
	    (unsigned long long)shared->seed);
	_exit(WRONG);
}

static struct spool_id
id_of(uint32_t i)
{
	return (struct spool_id){ .usec = UINT64_C(1700000000000000) + i * UINT64_C(30000007), .serial = 3 + i % 2 };
}

static struct spool_id
copy_of(uint32_t n)
{
	return (struct spool_id){ .usec = UINT64_C(1800000000000000) + n, .serial = 1 };
}

static void
address(uint32_t i, unsigned k, char out[40])
{
	snprintf(out, 40, "r%u-%u@example.com", k, i);
}

static size_t
content_of(uint32_t i, unsigned char **out)
{
	size_t n = shim_mix(i) % 9 == 0 ? 70000 + i : 200 + shim_mix(i) % 3000;
	*out = mem_alloc(n);
	for (size_t k = 0; k < n; k++)
		(*out)[k] = (unsigned char)(shim_mix(i + k / 8 * 77) >> k % 8 * 8);
	return n;
}

/* Two of three messages are a file. */
static bool
is_file(uint32_t i)
{
	return i % 3 != 0;
}

static void
start_put(struct quar_req *r, uint32_t i)
{
	struct held h = { .class = i % 2 ? HELD_VIRUS : HELD_POLICY, .subject = SPAN("some subject"), .client_addr = SPAN("192.0.2.9") };
	struct env_rcpt rcpt[RCPTS] = { { .notify = 0 } };
	char addr[RCPTS][40];
	struct buf held;
	unsigned char *p;
	char name[40];
	size_t n = content_of(i, &p);
	snprintf(name, sizeof name, "file-%u.bin", i);
	const struct held_part part = { .type = SPAN("application/octet-stream"), .name = span_str(name), .length = n };
	h.parts = &part;
	h.nparts = is_file(i);
	buf_init(&held, HELD_BYTES_MAX);
	held_put(&held, &h);
	for (unsigned k = 0; k < RCPTS; k++) {
		address(i, k, addr[k]);
		rcpt[k].addr = span_str(addr[k]);
	}
	struct envelope env = { .arrival = id_of(i).usec, .sender = SPAN("s@example.org"), .held = buf_span(&held), .nrcpt = RCPTS, .rcpt = rcpt };
	struct quar_new new = { .id = id_of(i), .env = &env, .fd = -1, .content = span_of(p, n) };
	quar_put(rig.q, r, &new);
	mem_free(&p);
	buf_fini(&held);
}

/* ---- random work ---- */

static uint32_t
named(const struct slot *s, struct span addr_list[RCPTS], char addr[RCPTS][40])
{
	uint32_t n = 0;
	for (unsigned k = 0; k < RCPTS; k++) {
		if (!(s->rcpts & BIT(k)))
			continue;
		address(s->i, k, addr[k]);
		addr_list[n++] = span_str(addr[k]);
	}
	return n;
}

static bool
pick(struct slot *s)
{
	for (unsigned tries = 0; tries < 20 && shared->next > 0; tries++) {
		s->i = (uint32_t)any(shared->next);
		if (!rig.busy[s->i] && shared->m[s->i].presence == PRESENT)
			return true;
	}
	return false;
}

static void
start(struct slot *s)
{
	struct model *m;
	struct span list[RCPTS];
	char addr[RCPTS][40];
	uint64_t what = any(100);
	struct spool_id id, copy;
	rig.steps--;
	if (what < 40 || !pick(s)) {
		if (shared->next == MESSAGES)
			return;
		s->i = shared->next++;
		s->what = PUT;
		m = &shared->m[s->i];
		m->put_asked = true;
		m->presence = ABSENT | PRESENT;
		for (unsigned k = 0; k < RCPTS; k++)
			m->states[k] = BIT(QUAR_HELD);
		start_put(&s->r, s->i);
	} else {
		m = &shared->m[s->i];
		id = id_of(s->i);
		bool is_releasing = ((m->states[0] | m->states[1]) & BIT(QUAR_RELEASING)) != 0;
		for (unsigned k = 0; k < RCPTS; k++)
			s->was[k] = m->states[k];
		s->rcpts = 1 + (uint32_t)any(3);
		s->copy = m->copy;
		copy = copy_of(s->copy);
		if (is_releasing && what < 75) {
			s->what = what < 60 ? FINISH : UNDO;
			enum quar_state to = s->what == FINISH ? QUAR_RELEASED : QUAR_HELD;
			for (unsigned k = 0; k < RCPTS; k++)
				if (m->states[k] & BIT(QUAR_RELEASING))
					m->states[k] |= BIT(to);
			if (s->what == FINISH)
				quar_finish_release(rig.q, &s->r, &id, &copy);
			else
				quar_undo_release(rig.q, &s->r, &id, &copy);
		} else if (!is_releasing && what < 75) {
			s->what = BEGIN;
			s->copy = m->copy = m->copy + 1 + s->i * 1000u * (m->copy == 0);
			copy = copy_of(s->copy);
			for (unsigned k = 0; k < RCPTS; k++)
				if ((s->rcpts & BIT(k)) && (m->states[k] & BIT(QUAR_HELD)))
					m->states[k] |= BIT(QUAR_RELEASING);
			uint32_t n = named(s, list, addr);
			quar_begin_release(rig.q, &s->r, &id, list, n, false, &copy, SPAN("root"));
		} else if (what < 90) {
			s->what = DELETE;
			for (unsigned k = 0; k < RCPTS; k++)
				if ((s->rcpts & BIT(k)) && !(m->states[k] == BIT(QUAR_RELEASING)))
					m->states[k] |= BIT(QUAR_DELETED);
			m->presence |= ABSENT;
			uint32_t n = named(s, list, addr);
			quar_delete(rig.q, &s->r, &id, list, s->rcpts == 3 ? 0 : n, SPAN("root"));
		} else if (what < 92) {
			s->what = EXPIRE;
			for (uint32_t i = 0; i < shared->next; i++)
				if (!((shared->m[i].states[0] | shared->m[i].states[1]) & BIT(QUAR_RELEASING)))
					shared->m[i].presence |= ABSENT;
			quar_expire(rig.q, &s->r);
		} else {
			s->what = GET;
			quar_get(rig.q, &s->r, &id);
		}
	}
	rig.busy[s->i] = true;
	rig.under_way++;
}

static void
settle(struct slot *s, enum quar_state from, enum quar_state to)
{
	struct model *m = &shared->m[s->i];
	for (unsigned k = 0; k < RCPTS; k++) {
		char addr[40];
		address(s->i, k, addr);
		for (size_t i = 0; i < s->r.nrcpt; i++)
			if (span_eq_str(s->r.rcpt[i].addr, addr)) {
				if (from != QUAR_NONE && !(s->was[k] & BIT(from)))
					wrong("changed from a state it cannot have had", s->i);
				m->states[k] = (uint8_t)BIT(to);
			}
	}
}

static void
on_answer(struct op *op)
{
	struct slot *s = container_of(op, struct slot, r.op);
	struct model *m = &shared->m[s->i];
	rig.under_way--;
	rig.busy[s->i] = false;
	if (op->rc == RC_TEMP) {
		shared->refused++;
		if (!rig.may_fail && s->what != DELETE)
			wrong(s->r.why.why, s->i);
	} else if (op->rc == RC_PERM) {
		wrong(s->r.why.why, s->i);
	} else if (op->rc == RC_OK) {
		switch (s->what) {
		case PUT: m->presence = PRESENT; shared->puts++; break;
		case BEGIN: settle(s, QUAR_HELD, QUAR_RELEASING); shared->releases++; break;
		case FINISH: settle(s, QUAR_RELEASING, QUAR_RELEASED); shared->finished++; break;
		case UNDO: settle(s, QUAR_RELEASING, QUAR_HELD); shared->undone++; break;
		case DELETE:
			settle(s, QUAR_NONE, QUAR_DELETED);
			shared->deletes++;
			if (m->states[0] == BIT(QUAR_DELETED) && m->states[1] == BIT(QUAR_DELETED))
				m->gone = true;
			else if ((m->states[0] | m->states[1]) & (BIT(QUAR_RELEASING)))
				m->presence = PRESENT;
			break;
		case EXPIRE: shared->expiries += s->r.seen; break;
		case GET: case IDLE: break;
		}
	} else if (m->presence == PRESENT && s->what != BEGIN && s->what != DELETE && s->what != FINISH && s->what != UNDO) {
		wrong("lost while alive", s->i);
	}
	if (rig.steps > 0)
		start(s);
	if (rig.under_way == 0)
		loop_stop();
}

/* ---- looking after it ---- */

static bool answered;

static void
on_one(struct op *op)
{
	(void)op;
	answered = true;
	loop_stop();
}

static enum rc
wait_one(void)
{
	loop_run();
	return rig.one.op.rc;
}

static unsigned
check(unsigned flags, bool tolerate)
{
	unsigned n = 0;
	for (uint64_t cursor = 0;;) {
		quar_check(rig.q, &rig.one, flags, cursor);
		if (wait_one() != RC_OK) {
			if (strstr(rig.one.why.why, "made anew") == NULL)
				wrong(rig.one.why.why, 0);
			usleep(2000); /* the index is being made: asked again */
			continue;
		}
		for (size_t i = 0; i < rig.one.n; i++) {
			const struct quar_finding *f = &rig.one.findings[i];
			n++;
			if (!tolerate || f->flaw == QUAR_FLAW_ALIEN || f->flaw == QUAR_FLAW_MODE || f->flaw == QUAR_FLAW_INDEX) {
				fprintf(stderr, "check: %s %.*s %.*s\n", quar_flaw_name(f->flaw), (int)f->name.n, (const char *)f->name.p, (int)f->detail.n,
				    (const char *)f->detail.p);
				if (!tolerate)
					wrong("files and index do not agree after a repair", 0);
			}
		}
		if (!rig.one.more)
			return n;
		cursor = rig.one.cursor;
	}
}

static void
check_content(uint32_t i)
{
	struct spool_id id = id_of(i);
	unsigned char *want, *got;
	size_t n = content_of(i, &want);
	quar_content(rig.q, &rig.one, &id);
	if (wait_one() != RC_OK)
		wrong(rig.one.why.why, i);
	got = mem_alloc(n);
	if (rig.one.length != n || pread(rig.one.fd, got, n, 0) != (ssize_t)n || memcmp(got, want, n) != 0)
		wrong("other content", i);
	mem_free(&want);
	mem_free(&got);
}

/* The row names what is in the file, with its sum: at once, or soon, if it could not be read before. */
static void
check_files(uint32_t i)
{
	struct spool_id id = id_of(i);
	unsigned char *content, want[EVP_MAX_MD_SIZE];
	char name[40];
	snprintf(name, sizeof name, "file-%u.bin", i);
	for (;;) {
		quar_get(rig.q, &rig.one, &id);
		if (wait_one() != RC_OK || rig.one.rows[0].nattachments != is_file(i))
			wrong("other attachments", i);
		if (!is_file(i))
			return;
		if (!span_eq_str(rig.one.rows[0].attachments[0].name, name))
			wrong("the name of another attachment", i);
		if (rig.one.rows[0].attachments[0].is_summed)
			break;
		usleep(2000); /* sums are made in the background; the watchdog ends this */
	}
	size_t n = content_of(i, &content);
	if (EVP_Digest(content, n, want, NULL, EVP_sha256(), NULL) != 1 || rig.one.rows[0].attachments[0].size != n ||
	    memcmp(rig.one.rows[0].attachments[0].sha256, want, 32) != 0)
		wrong("another sum", i);
	mem_free(&content);
}

static void
compare(uint32_t i, bool index_lost, bool power)
{
	struct model *m = &shared->m[i];
	struct spool_id id = id_of(i);
	if (m->presence == ABSENT || m->gone) {
		/* nothing to promise, but without an index a removal that lost its power is not known */
		quar_get(rig.q, &rig.one, &id);
		if (wait_one() == RC_OK && !(index_lost && power))
			wrong("back from the dead", i);
		return;
	}
	quar_get(rig.q, &rig.one, &id);
	enum rc rc = wait_one();
	if (rc == RC_NONE) {
		if (m->presence == PRESENT)
			wrong("lost", i);
		m->presence = ABSENT;
		return;
	}
	if (rc != RC_OK || rig.one.nrcpt != RCPTS)
		wrong(rig.one.why.why, i);
	for (unsigned k = 0; k < RCPTS; k++) {
		enum quar_state s = rig.one.rcpt[k].state;
		/* a note of a release that failed: without the row it is one more to take back */
		bool is_left_over = index_lost && s == QUAR_RELEASING && (m->states[k] & BIT(QUAR_HELD));
		if (!(m->states[k] & BIT(s)) && !is_left_over)
			wrong(quar_state_name(s), i);
		if (!index_lost)
			m->states[k] = (uint8_t)BIT(s);
		if (s == QUAR_RELEASING && !is_left_over && rig.one.rcpt[k].copy.usec != copy_of(m->copy).usec)
			wrong("another copy", i);
	}
	m->presence = PRESENT;
	check_content(i);
	check_files(i);
}

/* What the queue does after a crash: messages it was not told of are stored again, releases in the middle are taken back. */
static void
recover(void)
{
	for (uint32_t i = 0; i < shared->next; i++) {
		struct model *m = &shared->m[i];
		/* what may be deleted is not stored again: its journal record is long done */
		if (!m->put_asked || m->presence != (ABSENT | PRESENT) || ((m->states[0] | m->states[1]) & ~BIT(QUAR_HELD)) != 0)
			continue;
		start_put(&rig.one, i);
		if (wait_one() != RC_OK)
			wrong(rig.one.why.why, i);
		m->presence = PRESENT;
	}
	quar_pending(rig.q, &rig.one);
	if (wait_one() != RC_OK)
		wrong(rig.one.why.why, 0);
	size_t n = rig.one.n;
	struct quar_pending *list = mem_dup(rig.one.releasing, (n + 1) * sizeof *list);
	for (size_t i = 0; i < n; i++) {
		uint32_t number = (uint32_t)((list[i].id.usec - id_of(0).usec) / 30000007);
		quar_undo_release(rig.q, &rig.one, &list[i].id, &list[i].copy);
		if (wait_one() != RC_OK)
			wrong(rig.one.why.why, number);
		for (unsigned k = 0; k < RCPTS; k++)
			if (shared->m[number].states[k] & BIT(QUAR_RELEASING))
				shared->m[number].states[k] = (uint8_t)((shared->m[number].states[k] & ~BIT(QUAR_RELEASING)) | BIT(QUAR_HELD));
	}
	mem_free(&list);
}

static void
stuck(struct timer *t)
{
	(void)t;
	fprintf(stderr, "quarantine: stuck with %u under way, seed %llu\n", rig.under_way, (unsigned long long)shared->seed);
	_exit(STUCK);
}

static void
open_store(bool may_end)
{
	struct quar_settings set = { .dir = rig.dir, .size_limit = 600000, .allow_limit = 10 };
	struct err e;
	loop_init();
	op_owner_init(&rig.ops);
	quar_req_init(&rig.one, &rig.ops, on_one);
	if (quar_open(&rig.q, &set, NULL, NULL, &e) != RC_OK) {
		if (may_end)
			_exit(SHIM_EXIT);
		wrong(e.why, 0);
	}
	quar_start(rig.q);
	timer_init(&rig.watchdog, stuck);
	timer_set(&rig.watchdog, 40 * USEC_PER_SEC);
}

static void
close_store(void)
{
	timer_clear(&rig.watchdog);
	quar_req_fini(&rig.one);
	quar_close(&rig.q);
	loop_fini();
}

static void
work(const struct shim_plan *plan)
{
	rig.rng = shared->seed;
	rig.steps = STEPS;
	rig.may_fail = plan->how == SHIM_FAIL;
	shim_start(plan, &shared->calls);
	open_store(true);
	for (unsigned i = 0; i < SLOTS; i++) {
		quar_req_init(&rig.slots[i].r, &rig.ops, on_answer);
		start(&rig.slots[i]);
	}
	while (rig.under_way > 0)
		loop_run();
	for (unsigned i = 0; i < SLOTS; i++)
		quar_req_fini(&rig.slots[i].r);
	close_store();
	exit(OK);
}

static void
verify(bool index_lost, bool power)
{
	open_store(false);
	if (!index_lost) {
		(void)check(QUAR_CHECK_SUMS, true);
		(void)check(QUAR_CHECK_SUMS | QUAR_CHECK_REPAIR, true);
		/* a file without a row that was found counts as a message from here on */
		for (uint32_t i = 0; i < shared->next; i++)
			compare(i, false, power);
		recover();
	}
	(void)check(QUAR_CHECK_SUMS, false);
	for (uint32_t i = 0; i < shared->next; i++)
		compare(i, index_lost, power);
	close_store();
	exit(OK);
}

/* ---- the parent ---- */

static void
remove_all(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *de;
	while (d != NULL && (de = readdir(d)) != NULL) {
		char sub[600];
		if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0)
			continue;
		snprintf(sub, sizeof sub, "%s/%s", path, de->d_name);
		if (de->d_type == DT_DIR)
			remove_all(sub);
		else
			unlink(sub);
	}
	if (d != NULL)
		closedir(d);
	rmdir(path);
}

static int
run(const struct shim_plan *plan, bool index_lost, bool power)
{
	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0) {
		if (plan != NULL)
			work(plan);
		verify(index_lost, power);
	}
	int status;
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return 255;
	return WEXITSTATUS(status);
}

struct kind {
	const char *name;
	enum shim_how how;
	int error;
	uint64_t calls;
	bool before, writes_only, next_sync;
};
static const struct kind kinds[] = {
	{ "EIO", SHIM_FAIL, EIO, 1, false, false, false },
	{ "ENOSPC", SHIM_FAIL, ENOSPC, 1, false, true, false },
	{ "EIO of the next sync", SHIM_FAIL, EIO, 1, false, true, true },
	{ "short write", SHIM_SHORT, 0, 1, false, true, false },
	{ "ENOSPC for 12 calls", SHIM_FAIL, ENOSPC, 12, false, true, false },
	{ "ENOSPC from then on", SHIM_FAIL, ENOSPC, UINT64_MAX / 2, false, true, false },
	{ "EIO from then on", SHIM_FAIL, EIO, UINT64_MAX / 2, false, true, false },
	{ "killed behind it", SHIM_KILL, 0, 1, false, false, false },
	{ "power lost before it", SHIM_POWER, 0, 1, true, false, false },
	{ "power lost behind it", SHIM_POWER, 0, 1, false, false, false },
};

int
main(int argc, char **argv)
{
	uint64_t stride = argc > 1 ? strtoull(argv[1], NULL, 10) : 1201, offset = argc > 2 ? strtoull(argv[2], NULL, 10) : 3, passed = 0, failed = 0;
	const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "build/tmp";
	char top[100];
	mkdir("build", 0755);
	mkdir("build/tmp", 0755);
	snprintf(top, sizeof top, "%s/dogana-quarantine-%ld", base, (long)getpid());
	mkdir(top, 0700);
	snprintf(rig.dir, sizeof rig.dir, "%s/q", top);
	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	BUG_ON(shared == MAP_FAILED);
	log_open(LOG_TO_FD, open("/dev/null", O_WRONLY | O_CLOEXEC), LOG_POSTFIX, NULL, "quarantine");
	for (size_t i = 0; i < NELEMS(kinds) && failed == 0; i++) {
		const struct kind *k = &kinds[i];
		uint64_t t = clock_mono(), before = passed;
		if (argc > 3 && strcmp(argv[3], k->name) != 0)
			continue;
		bool power = k->how == SHIM_POWER;
		uint64_t calls = stride + offset + i + 1, puts = 0, releases = 0;
		for (uint64_t at = (offset + i) % stride; at < calls && failed == 0; at += stride) {
			struct shim_plan plan = { .how = k->how, .from = at, .to = at + k->calls, .error = k->error, .seed = at * 31 + 7, .writes_only = k->writes_only,
				.next_sync = k->next_sync, .before = k->before, .speed = 1 };
			remove_all(rig.dir);
			memset(shared, 0, sizeof *shared);
			shared->seed = 4242 + at % 5;
			int first = run(&plan, false, power);
			if (first == OK && shared->calls > calls)
				calls = shared->calls;
			else if (first == SHIM_EXIT && at + 2 * stride > calls)
				calls = at + 2 * stride; /* how long a life is is known when one comes to its end */
			int second = first == OK || first == SHIM_EXIT ? run(NULL, false, power) : -1, third = -1;
			puts += shared->puts;
			releases += shared->releases;
			if (second == OK) {
				static const char *const names[] = { "index.db", "index.db-wal", "index.db-shm" };
				for (unsigned f = 0; f < NELEMS(names); f++) {
					char path[300];
					snprintf(path, sizeof path, "%s/%s", rig.dir, names[f]);
					unlink(path);
				}
				third = run(NULL, true, power);
			}
			if (second == OK && third == OK) {
				passed++;
			} else {
				failed++;
				printf("%s at call %llu: %d %d %d\n", k->name, (unsigned long long)at, first, second, third);
			}
		}
		printf("%s: %llu runs of up to %llu calls, %llu stored, %llu releases begun, %llu ms\n", k->name, (unsigned long long)(passed - before),
		    (unsigned long long)calls, (unsigned long long)puts, (unsigned long long)releases, (unsigned long long)(clock_mono() - t) / 1000);
		fflush(stdout);
	}
	printf("%llu passed, %llu failed\n", (unsigned long long)passed, (unsigned long long)failed);
	if (failed == 0) /* else the directory stays */
		remove_all(top);
	return failed > 0;
}
