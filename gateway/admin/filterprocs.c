/* SPDX-License-Identifier: BSD-2-Clause */
#include "admin/filterprocs.h"

#include "admin/filterprogram.h"
#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "filters/program.h"

#include <errno.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const uint64_t RESTART_FIRST = 50 * 1000, RESTART_MOST = 10 * USEC_PER_SEC, HEALTHY_AFTER = 30 * USEC_PER_SEC;
static const uint64_t FINISH_USEC = 120 * USEC_PER_SEC; /* an old one may still be at a large message */
enum { OLD_MAX = 4 };

enum filter_state { FILTER_STARTING = 0, FILTER_LISTENING, FILTER_READY, FILTER_FINISHING };
static const char *const state_words[] = { "starting", "loading", "ready", "stopping" };

struct filterproc {
	struct slot *slot;
	enum filter_state state;
	pid_t pid;
	int control;                 /* -1: closed */
	struct watch watch;
	struct timer deadline;       /* finishing */
	uint64_t started;
	bool is_named;               /* its socket has the name that everybody knows */
	char socket[64];             /* its own name, below the directory */
	struct buf status, remarks;
	struct list link;            /* of the old ones, last retired at the end */
	struct grave grave;
};

struct slot {
	enum bundled which;
	struct filterproc *now, *next;   /* next: takes over when it is ready */
	struct list old;
	unsigned nold;
	struct timer restart;
	unsigned failures, restarts, generation;
	uint64_t fingerprint;            /* of what the newest was started with */
	bool is_wanted;
};

static struct {
	struct procs *procs;
	struct slot slot[BUNDLED_COUNT];
	bool stopping;
} fs;

/* ---- end of one ---- */

static void
dig(struct grave *g)
{
	struct filterproc *f = container_of(g, struct filterproc, grave);
	mem_free(&f);
}

static void
hang_up(struct filterproc *f)
{
	watch_clear(&f->watch);
	if (f->control >= 0)
		close(f->control);
	f->control = -1;
}

static void
bury(struct filterproc *f)
{
	struct slot *s = f->slot;
	hang_up(f);
	timer_clear(&f->deadline);
	buf_fini(&f->status);
	buf_fini(&f->remarks);
	if (s->now == f)
		s->now = NULL;
	if (s->next == f)
		s->next = NULL;
	s->nold -= list_linked(&f->link);
	list_remove(&f->link);
	loop_bury(&f->grave, dig);
}

static void
on_deadline(struct timer *t)
{
	struct filterproc *f = container_of(t, struct filterproc, deadline);
	log_warn(NULL, "%s filter pid %d did not finish in time", bundled_name(f->slot->which), (int)f->pid);
	kill(f->pid, SIGKILL);
}

static void
finish(struct filterproc *f)
{
	if (f == NULL || f->state == FILTER_FINISHING)
		return;
	f->state = FILTER_FINISHING;
	if (f->control < 0 || send(f->control, "stop", 4, MSG_NOSIGNAL | MSG_DONTWAIT) != 4)
		kill(f->pid, SIGTERM);
	timer_set(&f->deadline, FINISH_USEC);
}

/* Takes it out of its place; of too many the oldest ends now. */
static void
retire(struct filterproc *f)
{
	if (f == NULL)
		return;
	struct slot *s = f->slot;
	if (s->now == f)
		s->now = NULL;
	if (s->next == f)
		s->next = NULL;
	if (s->nold >= OLD_MAX)
		kill(list_entry(s->old.next, struct filterproc, link)->pid, SIGKILL);
	list_append(&s->old, &f->link);
	s->nold++;
	finish(f);
}

/* ---- what they say ---- */

/* From here on this one is the filter. */
static void
take_name(struct filterproc *f)
{
	char name[64];
	int dir = filterprogram_directory(fs.procs->conf);
	snprintf(name, sizeof name, "%s.sock", bundled_name(f->slot->which));
	f->is_named = dir >= 0 && renameat(dir, f->socket, dir, name) == 0;
	if (dir >= 0 && !f->is_named)
		log_error(NULL, "filters/%s: %s", f->socket, strerror(errno));
	if (dir >= 0)
		close(dir);
}

static void
is_ready(struct filterproc *f)
{
	struct slot *s = f->slot;
	if (s->next == f) {
		struct filterproc *before = s->now;
		take_name(f);
		s->next = NULL;
		s->now = f;
		retire(before);
		log_info(NULL, "the %s filter with the new parameters has taken over", bundled_name(s->which));
	} else if (!f->is_named) {
		take_name(f);
	}
	f->state = FILTER_READY;
}

static void
is_listening(struct filterproc *f)
{
	f->state = FILTER_LISTENING;
	if (f->slot->now == f)
		take_name(f);
}

bool
filterprocs_listening(void)
{
	for (int i = 0; i < BUNDLED_COUNT && fs.procs != NULL; i++)
		if (fs.slot[i].is_wanted && (fs.slot[i].now == NULL || !fs.slot[i].now->is_named))
			return false;
	return true;
}

bool
filterprocs_coming(void)
{
	for (int i = 0; i < BUNDLED_COUNT && fs.procs != NULL; i++) {
		const struct slot *s = &fs.slot[i];
		if (s->is_wanted && s->failures == 0 && s->now != NULL && s->now->state == FILTER_STARTING)
			return true;
	}
	return false;
}

static void
heard(struct filterproc *f, struct span s)
{
	static const struct span status = { (const unsigned char *)"status ", 7 }, remarks = { (const unsigned char *)"remarks ", 8 };
	if (f->state == FILTER_FINISHING)
		return;
	if (span_eq_str(s, "listening")) {
		is_listening(f);
		procs_filter_listens(fs.procs);
	} else if (span_eq_str(s, "ready")) {
		is_ready(f);
		procs_filter_listens(fs.procs);
	} else if (span_starts(s, status)) {
		buf_reset(&f->status);
		buf_put(&f->status, span_from(s, status.n));
	} else if (span_starts(s, remarks)) {
		buf_reset(&f->remarks);
		buf_put(&f->remarks, span_from(s, remarks.n));
	}
}

static void
on_control(struct watch *w, short what)
{
	(void)what;
	struct filterproc *f = container_of(w, struct filterproc, watch);
	static unsigned char text[PROGRAM_DATAGRAM_MAX];
	for (;;) {
		ssize_t n = recv(f->control, text, sizeof text, MSG_DONTWAIT);
		if (n > 0) {
			heard(f, span_of(text, (size_t)n));
		} else if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
			return;
		} else {
			hang_up(f); /* it ends, and we hear of that as its parent */
			return;
		}
	}
}

/* ---- start ---- */

/* NULL: not now, the log has the reason. */
static struct filterproc *
start(struct slot *s)
{
	int sv[2], dir = filterprogram_directory(fs.procs->conf);
	struct buf path;
	if (dir < 0)
		return NULL;
	close(dir);
	buf_init(&path, 8192);
	if (!filterprogram_find(fs.procs->program, s->which, &path)) {
		log_error(NULL, "the program dogana-%s is not there", bundled_name(s->which));
		buf_fini(&path);
		return NULL;
	}
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) != 0) {
		log_error(NULL, "socketpair: %s", strerror(errno));
		buf_fini(&path);
		return NULL;
	}
	struct filterproc *f = mem_zalloc(sizeof *f);
	f->slot = s;
	list_init(&f->link);
	snprintf(f->socket, sizeof f->socket, "%s.sock.%d.%u", bundled_name(s->which), (int)getpid(), s->generation++);
	f->pid = filterprogram_run(fs.procs, s->which, buf_cstr(&path), f->socket, sv[1]);
	buf_fini(&path);
	close(sv[1]);
	if (f->pid < 0) {
		log_error(NULL, "fork: %s", strerror(errno));
		close(sv[0]);
		mem_free(&f);
		return NULL;
	}
	f->control = sv[0];
	f->started = clock_mono();
	buf_init(&f->status, PROGRAM_DATAGRAM_MAX);
	buf_init(&f->remarks, PROGRAM_DATAGRAM_MAX);
	timer_init(&f->deadline, on_deadline);
	watch_init(&f->watch, f->control, on_control);
	watch_want(&f->watch, EV_READ);
	return f;
}

static uint64_t
restart_delay(const struct slot *s)
{
	if (s->failures == 0)
		return 0;
	uint64_t d = RESTART_FIRST << (s->failures < 10 ? s->failures : 10);
	return d < RESTART_MOST ? d : RESTART_MOST;
}

/* What is missing in this place. */
static void
fill(struct slot *s)
{
	uint64_t now = filterprogram_fingerprint(fs.procs->conf, s->which);
	bool is_other = now != s->fingerprint;
	if (fs.stopping || !s->is_wanted || s->restart.armed)
		return;
	struct filterproc **place = s->now == NULL ? &s->now : &s->next;
	if (*place != NULL || (place == &s->next && !is_other))
		return;
	*place = start(s);
	if (*place != NULL) {
		s->fingerprint = now;
	} else {
		s->failures++;
		timer_set(&s->restart, restart_delay(s));
	}
}

static void
on_restart(struct timer *t)
{
	fill(container_of(t, struct slot, restart));
}

static void
begin(struct procs *p)
{
	if (fs.procs != NULL)
		return;
	fs.procs = p;
	for (int i = 0; i < BUNDLED_COUNT; i++) {
		fs.slot[i].which = (enum bundled)i;
		list_init(&fs.slot[i].old);
		timer_init(&fs.slot[i].restart, on_restart);
	}
	struct buf dir;
	buf_init(&dir, 4096);
	bundled_directory(p->conf, &dir);
	if (access(buf_cstr(&dir), F_OK) == 0)
		filterprogram_sweep(p->conf);
	buf_fini(&dir);
}

void
filterprocs_want(struct procs *p)
{
	begin(p);
	for (int i = 0; i < BUNDLED_COUNT; i++) {
		struct slot *s = &fs.slot[i];
		if (!bundled_is_on(p->conf, s->which))
			continue;
		s->is_wanted = true;
		if (s->now == NULL)
			fill(s);
	}
}

static void
send_log(const struct filterproc *f)
{
	char text[32];
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int))];
	} ancillary = { .room = { 0 } };
	if (f == NULL || f->control < 0)
		return;
	int n = snprintf(text, sizeof text, "log %u %u", fs.procs->log_target, fs.procs->log_format);
	struct iovec iov = { text, (size_t)n };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &ancillary, .msg_controllen = sizeof ancillary };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fs.procs->log_fd, sizeof(int));
	(void)!sendmsg(f->control, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void
filterprocs_apply(struct procs *p)
{
	begin(p);
	for (int i = 0; i < BUNDLED_COUNT; i++) {
		struct slot *s = &fs.slot[i];
		send_log(s->now);
		send_log(s->next);
		list_each(it, &s->old)
			send_log(list_entry(it, struct filterproc, link));
		s->is_wanted = bundled_is_on(p->conf, s->which);
		if (!s->is_wanted) {
			timer_clear(&s->restart);
			s->failures = 0;
			retire(s->next);
			retire(s->now);
			continue;
		}
		uint64_t wanted = filterprogram_fingerprint(p->conf, s->which);
		if (wanted != s->fingerprint && s->restart.armed) { /* other parameters deserve a try at once */
			timer_clear(&s->restart);
			s->failures = 0;
		}
		if (wanted != s->fingerprint && s->next != NULL)
			retire(s->next); /* outdated before it was ready */
		if (wanted != s->fingerprint && s->now != NULL && s->now->state < FILTER_READY)
			retire(s->now);
		fill(s);
	}
}

/* ---- end ---- */

static struct filterproc *
find_pid(pid_t pid)
{
	for (int i = 0; i < BUNDLED_COUNT && fs.procs != NULL; i++) {
		struct slot *s = &fs.slot[i];
		if (s->now != NULL && s->now->pid == pid)
			return s->now;
		if (s->next != NULL && s->next->pid == pid)
			return s->next;
		list_each(it, &s->old)
			if (list_entry(it, struct filterproc, link)->pid == pid)
				return list_entry(it, struct filterproc, link);
	}
	return NULL;
}

bool
filterprocs_exited(struct procs *p, pid_t pid, int status)
{
	struct filterproc *f = find_pid(pid);
	if (f == NULL)
		return false;
	struct slot *s = f->slot;
	bool was_old = f != s->now && f != s->next;
	char reason[64];
	if (WIFSIGNALED(status))
		snprintf(reason, sizeof reason, "killed by signal %d", WTERMSIG(status));
	else
		snprintf(reason, sizeof reason, "exit status %d", WEXITSTATUS(status));
	if (f->state != FILTER_FINISHING || status != 0) {
		char name[64];
		snprintf(name, sizeof name, "%s filter", bundled_name(s->which));
		LOG(child_died, NULL, F_STR(role, name), F_NUM(pid, pid), F_STR(reason, reason));
	}
	bool lived_long = f->state == FILTER_READY && clock_mono() - f->started > HEALTHY_AFTER;
	if (f == s->next)
		s->fingerprint = 0; /* to be tried again */
	bury(f);
	if (was_old || fs.stopping || !s->is_wanted)
		return true;
	if (s->now == NULL && s->next != NULL) { /* the new one has nothing to wait for */
		s->now = s->next;
		s->next = NULL;
		if (s->now->state >= FILTER_LISTENING)
			take_name(s->now);
		return true;
	}
	s->failures = lived_long ? 0 : s->failures + 1;
	s->restarts++;
	timer_set(&s->restart, restart_delay(s));
	procs_filter_listens(p); /* nobody waits for it longer */
	return true;
}

bool
filterprocs_any(void)
{
	for (int i = 0; i < BUNDLED_COUNT && fs.procs != NULL; i++)
		if (fs.slot[i].now != NULL || fs.slot[i].next != NULL || !list_empty(&fs.slot[i].old))
			return true;
	return false;
}

static void
each(void (*fn)(struct filterproc *f))
{
	for (int i = 0; i < BUNDLED_COUNT && fs.procs != NULL; i++) {
		struct slot *s = &fs.slot[i];
		struct filterproc *now = s->now, *next = s->next;
		list_each(it, &s->old)
			fn(list_entry(it, struct filterproc, link));
		if (now != NULL)
			fn(now);
		if (next != NULL)
			fn(next);
	}
}

static void
kill_one(struct filterproc *f)
{
	kill(f->pid, SIGKILL);
}

void
filterprocs_stop(void)
{
	fs.stopping = true;
	for (int i = 0; i < BUNDLED_COUNT; i++)
		timer_clear(&fs.slot[i].restart);
	each(finish);
}

void
filterprocs_kill(void)
{
	fs.stopping = true;
	each(kill_one);
}

void
filterprocs_fini(void)
{
	for (int i = 0; i < BUNDLED_COUNT; i++)
		timer_clear(&fs.slot[i].restart);
	each(bury);
	memset(&fs, 0, sizeof fs);
}

/* ---- status ---- */

static bool
is_shown(const struct slot *s)
{
	return s->is_wanted || s->now != NULL;
}

void
filterprocs_text(struct buf *out)
{
	for (int i = 0; i < BUNDLED_COUNT; i++) {
		const struct slot *s = &fs.slot[i];
		if (!is_shown(s))
			continue;
		buf_printf(out, "%s filter  pid ", bundled_name(s->which));
		if (s->now != NULL)
			buf_printf(out, "%-7d %s", (int)s->now->pid, state_words[s->now->state]);
		else
			buf_puts(out, "-       down");
		if (s->restarts > 0)
			buf_printf(out, ", %u restarts", s->restarts);
		if (s->next != NULL)
			buf_printf(out, ", pid %d with new parameters %s", (int)s->next->pid, state_words[s->next->state]);
		buf_puts(out, "\n");
		struct span rest = s->now != NULL ? buf_span(&s->now->remarks) : SPAN_EMPTY, line;
		while (span_word(&rest, "\n", &line)) {
			buf_printf(out, "%s filter  ", bundled_name(s->which));
			buf_put_safe(out, line, 1000, true);
			buf_puts(out, "\n");
		}
	}
}

void
filterprocs_json(struct buf *out)
{
	bool first = true;
	for (int i = 0; i < BUNDLED_COUNT; i++) {
		const struct slot *s = &fs.slot[i];
		if (!is_shown(s))
			continue;
		buf_printf(out, "%s{\"filter\":\"%s\",\"state\":\"%s\",\"restarts\":%u", first ? "" : ",", bundled_name(s->which),
		    s->now != NULL ? state_words[s->now->state] : "down", s->restarts);
		if (s->now != NULL)
			buf_printf(out, ",\"pid\":%d", (int)s->now->pid);
		else
			buf_puts(out, ",\"pid\":null");
		if (s->now != NULL && buf_len(&s->now->status) > 0) {
			buf_putc(out, ',');
			buf_put(out, buf_span(&s->now->status));
		}
		buf_puts(out, "}");
		first = false;
	}
}
