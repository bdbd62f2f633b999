/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * main.c - dogana-virus: the supervisor. It starts the front and the generations, looks whether the signatures have changed, and
 * speaks with the master. It sees no mail.
 */
#include "base/clock.h"
#include "filters/confine.h"
#include "filters/program.h"
#include "filters/virus_conf.h"
#include "filters/virus/engine.h"
#include "filters/virus/front.h"
#include "filters/virus/worker.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static const uint64_t LOOK_EVERY = USEC_PER_SEC, AGAIN_FIRST = USEC_PER_SEC, AGAIN_MOST = 60 * USEC_PER_SEC, LIVED_LONG = 10 * USEC_PER_SEC;
enum { GENERATIONS_MAX = 4 };

struct generation {
	pid_t pid;                   /* 0: free place */
	int report;
	bool has_said, is_ready;     /* whether its signatures could be loaded; they could */
	uint64_t look;               /* of the database it loads */
	uint64_t started;
};

static struct {
	struct program pg;
	struct virus_conf conf;
	struct front_counts *counts;
	pid_t front;
	int to_front, signals;
	struct generation generation[GENERATIONS_MAX];
	uint64_t loaded, seen, refused;  /* database_look(): in use, at the last look, not usable */
	uint64_t next_look, next_try, pause;
	char engine[64], signatures[64];
	char trouble[256];
	bool is_listening, was_ready, is_stopping, wants_reload;
	uint64_t said_scanned;
	bool has_news;
} s;

/* ---- status ---- */

static void
say_status(void)
{
	static const char *const names[] = { "clean", "infected", "encrypted", "macros", "limits", "unscanned", "set_aside" };
	struct buf json;
	buf_init(&json, 4096);
	buf_puts(&json, "\"engine\":");
	buf_put_json(&json, span_str(s.engine), 64);
	buf_puts(&json, ",\"signatures\":");
	buf_put_json(&json, span_str(s.signatures), 64);
	buf_printf(&json, ",\"workers\":%u,\"scanned\":%llu,\"cached\":%llu,\"octets\":%llu,\"usec\":%llu,\"crashed\":%llu", s.conf.is_clamd ? 0 : s.conf.workers,
	    (unsigned long long)atomic_load(&s.counts->scanned), (unsigned long long)atomic_load(&s.counts->cached),
	    (unsigned long long)atomic_load(&s.counts->octets), (unsigned long long)atomic_load(&s.counts->usec),
	    (unsigned long long)atomic_load(&s.counts->crashed));
	for (size_t i = 0; i < NELEMS(names); i++)
		buf_printf(&json, ",\"%s\":%llu", names[i], (unsigned long long)atomic_load(&s.counts->kinds[i]));
	program_status(&s.pg, buf_span(&json), span_str(s.trouble));
	buf_fini(&json);
	s.has_news = false;
	s.said_scanned = atomic_load(&s.counts->scanned);
}

static void
set_trouble(const char *text)
{
	if (strcmp(text, s.trouble) == 0)
		return;
	snprintf(s.trouble, sizeof s.trouble, "%s", text);
	s.has_news = true;
}

static void
be_ready(void)
{
	if (!s.was_ready && s.is_listening)
		program_ready(&s.pg);
	s.was_ready = s.was_ready || s.is_listening;
	s.has_news = true;
}

static void
take_version(struct span text)
{
	size_t bar = span_chr(text, '|');
	struct span engine = span_head(text, bar), signatures = span_from(text, bar == SIZE_MAX ? text.n : bar + 1);
	snprintf(s.engine, sizeof s.engine, "%.*s", (int)engine.n, (const char *)engine.p);
	snprintf(s.signatures, sizeof s.signatures, "%.*s", (int)signatures.n, (const char *)signatures.p);
}

/* ---- generations ---- */

static bool
send_fd(int to, const char *word, int fd)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int))];
	} ancillary = { .room = { 0 } };
	struct iovec iov = { (void *)(uintptr_t)word, strlen(word) };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &ancillary, .msg_controllen = sizeof ancillary };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof fd);
	memcpy(CMSG_DATA(c), &fd, sizeof fd);
	return sendmsg(to, &m, MSG_NOSIGNAL) > 0;
}

/* The front writes the lines about messages, a generation those about its workers. */
static void
pass_log(struct span said, int fd)
{
	char word[64];
	snprintf(word, sizeof word, "%.*s", (int)said.n, (const char *)said.p);
	(void)send_fd(s.to_front, word, fd);
	for (size_t i = 0; i < GENERATIONS_MAX; i++)
		if (s.generation[i].pid > 0)
			(void)send_fd(s.generation[i].report, word, fd);
}

static void
start_generation(uint64_t look)
{
	int channel[2], report[2];
	struct generation *gen = NULL;
	for (size_t i = 0; i < GENERATIONS_MAX && gen == NULL; i++)
		if (s.generation[i].pid == 0)
			gen = &s.generation[i];
	if (gen == NULL)
		return; /* the ones before are still at large messages: at the next look */
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channel) != 0) {
		program_log(LOG_L_ERROR, SPAN_EMPTY, "socketpair: %s", strerror(errno));
		return;
	}
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, report) != 0) {
		program_log(LOG_L_ERROR, SPAN_EMPTY, "socketpair: %s", strerror(errno));
		close(channel[0]);
		close(channel[1]);
		return;
	}
	pid_t parent = getpid(), pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		close(channel[0]);
		close(report[0]);
		close(s.to_front);
		close(s.signals);
		generation_main(&s.pg, &s.conf, channel[1], report[1]);
	}
	close(channel[1]);
	close(report[1]);
	if (pid < 0 || !send_fd(s.to_front, "generation", channel[0])) {
		program_log(LOG_L_ERROR, SPAN_EMPTY, "no engine: %s", strerror(errno));
		close(report[0]);
	} else {
		*gen = (struct generation){ .pid = pid, .report = report[0], .look = look, .started = clock_mono() };
	}
	close(channel[0]);
}

static bool
is_loading(void)
{
	for (size_t i = 0; i < GENERATIONS_MAX; i++)
		if (s.generation[i].pid > 0 && !s.generation[i].has_said)
			return true;
	return false;
}

static bool
has_engine(void)
{
	for (size_t i = 0; i < GENERATIONS_MAX; i++)
		if (s.generation[i].pid > 0 && s.generation[i].is_ready && s.generation[i].look == s.loaded)
			return true;
	return false;
}

static void
cannot_load(uint64_t look, const char *why)
{
	char text[256];
	snprintf(text, sizeof text, "signatures cannot be loaded%s: %.150s", has_engine() ? ", those from before stay in use" : "", why);
	if (s.refused != look || strcmp(text, s.trouble) != 0)
		program_log(LOG_L_WARNING, SPAN_EMPTY, "%s", text);
	s.refused = look;
	set_trouble(text);
}

static void
hear_generation(struct generation *gen)
{
	char text[300];
	ssize_t n = recv(gen->report, text, sizeof text, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	gen->has_said = true;
	if (n <= 0)
		return; /* its end is heard of, too */
	struct span said = span_of(text, (size_t)n);
	if (!span_starts(said, SPAN("ready "))) {
		char why[256];
		snprintf(why, sizeof why, "%.*s", (int)said.n, (const char *)said.p);
		cannot_load(gen->look, why);
		return;
	}
	gen->is_ready = true;
	s.loaded = gen->look;
	s.refused = 0;
	s.pause = 0;
	take_version(span_from(said, 6));
	program_log(LOG_L_INFO, SPAN_EMPTY, "%s, signatures %s of %s: loaded in %llu ms", s.engine, s.signatures, s.conf.database,
	    (unsigned long long)((clock_mono() - gen->started) / 1000));
	set_trouble("");
	be_ready();
}

/* Once a second: has the database changed, and is it as it was at the last look? */
static void
look_at_database(void)
{
	uint64_t now = clock_mono(), look;
	if (s.conf.is_clamd || s.is_stopping || now < s.next_look)
		return;
	s.next_look = now + LOOK_EVERY;
	look = database_look(s.conf.database);
	bool is_stable = look == s.seen;
	s.seen = look;
	if (is_loading() || now < s.next_try)
		return;
	bool has = has_engine();
	if (look == 0) {
		if (is_stable || !has)
			cannot_load(look, "there is no database, or nothing in it can be read");
		return;
	}
	if (has && look == s.loaded && s.trouble[0] != '\0') {
		program_log(LOG_L_INFO, SPAN_EMPTY, "%s is again what is in use", s.conf.database);
		s.refused = 0;
		set_trouble("");
	}
	/* what could not be loaded is tried again when it changes, or after a while when there is nothing else */
	bool is_new = is_stable && look != s.loaded && look != s.refused;
	if (is_new || s.wants_reload || (!has && (is_stable || s.pause == 0))) {
		s.wants_reload = false;
		s.pause = s.pause == 0 ? AGAIN_FIRST : s.pause * 2 < AGAIN_MOST ? s.pause * 2 : AGAIN_MOST;
		s.next_try = has ? now : now + s.pause;
		start_generation(look);
	}
}

/* ---- children ---- */

NORETURN static void
finish(int status)
{
	for (size_t i = 0; i < GENERATIONS_MAX; i++)
		if (s.generation[i].pid > 0)
			kill(s.generation[i].pid, SIGKILL); /* and its workers with it */
	program_end(&s.pg);
	_exit(status);
}

static void
reap(void)
{
	int status;
	for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
		if (pid == s.front) {
			if (s.is_stopping && WIFEXITED(status) && WEXITSTATUS(status) == 0)
				finish(0);
			program_log(LOG_L_ERROR, SPAN_EMPTY, "the front ended (status 0x%x)", (unsigned)status);
			finish(1);
		}
		for (size_t i = 0; i < GENERATIONS_MAX; i++) {
			struct generation *gen = &s.generation[i];
			if (gen->pid != pid)
				continue;
			if (!gen->has_said) /* what it said last is still to be heard */
				hear_generation(gen);
			close(gen->report);
			if (WIFSIGNALED(status)) {
				program_log(LOG_L_WARNING, SPAN_EMPTY, "engine pid %d killed by signal %d", (int)pid, WTERMSIG(status));
				if (clock_mono() - gen->started > LIVED_LONG)
					s.next_try = s.pause = 0;
			}
			gen->pid = 0;
			s.next_look = 0;
		}
	}
}

static void
stop(void)
{
	if (s.is_stopping)
		return;
	s.is_stopping = true;
	if (send(s.to_front, "stop", 4, MSG_NOSIGNAL) != 4)
		finish(1);
}

static void
hear_signals(void)
{
	struct signalfd_siginfo si;
	while (read(s.signals, &si, sizeof si) == sizeof si) {
		if (si.ssi_signo == SIGTERM || si.ssi_signo == SIGINT)
			stop();
		s.wants_reload = s.wants_reload || si.ssi_signo == SIGHUP;
	}
	reap();
}

static void
hear_front(void)
{
	char text[300];
	ssize_t n = recv(s.to_front, text, sizeof text, MSG_DONTWAIT);
	if (n <= 0)
		return;
	struct span said = span_of(text, (size_t)n);
	if (span_eq_str(said, "listening")) {
		s.is_listening = true;
		program_listening(&s.pg);
		if (s.conf.is_clamd)
			be_ready();
	} else if (span_starts(said, SPAN("version "))) {
		take_version(span_from(said, 8));
		s.has_news = true;
	} else if (span_starts(said, SPAN("trouble"))) {
		char why[256];
		struct span rest = span_trim(span_from(said, 7));
		snprintf(why, sizeof why, "%.*s", (int)rest.n, (const char *)rest.p);
		set_trouble(why);
	}
}

static void
hear_master(void)
{
	bool is_stop;
	enum rc rc = program_heard(&s.pg, &is_stop);
	if (rc == RC_PERM) {
		program_log(LOG_L_WARNING, SPAN_EMPTY, "the master is gone: finishing");
		close(s.pg.control);
		s.pg.control = -1;
	}
	if (is_stop || rc == RC_PERM)
		stop();
}

static void
run(void)
{
	for (;;) {
		struct pollfd p[3 + GENERATIONS_MAX] = { { .fd = s.signals, .events = POLLIN }, { .fd = s.to_front, .events = POLLIN },
			{ .fd = s.pg.control, .events = POLLIN } };
		for (size_t i = 0; i < GENERATIONS_MAX; i++)
			p[3 + i] = (struct pollfd){ .fd = s.generation[i].pid > 0 && !s.generation[i].has_said ? s.generation[i].report : -1, .events = POLLIN };
		look_at_database();
		if (s.has_news || atomic_load(&s.counts->scanned) != s.said_scanned)
			say_status();
		int wait = s.conf.is_clamd ? 1000 : (int)(LOOK_EVERY / 1000);
		if (poll(p, NELEMS(p), wait) < 0 && errno != EINTR)
			finish(1);
		for (size_t i = 0; i < GENERATIONS_MAX; i++)
			if (p[3 + i].fd >= 0 && p[3 + i].revents != 0)
				hear_generation(&s.generation[i]);
		if (p[2].revents != 0)
			hear_master();
		if (p[1].revents != 0)
			hear_front();
		if (p[0].revents != 0)
			hear_signals();
	}
}

/* ---- start ---- */

static enum rc
begin(struct err *e)
{
	struct rlimit r;
	int sv[2];
	sigset_t set;
	if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
		r.rlim_cur = r.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &r);
	}
	s.counts = mmap(NULL, sizeof *s.counts, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (s.counts == MAP_FAILED || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) != 0)
		return err_set(e, RC_TEMP, "start: %s", strerror(errno));
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL); /* before there is a child: the end of one that ends at once is heard of, too */
	s.front = fork();
	if (s.front == 0) {
		close(sv[0]);
		front_main(&s.pg, &s.conf, s.counts, sv[1]);
	}
	close(sv[1]);
	s.to_front = sv[0];
	s.pg.pass_log = pass_log;
	s.signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	/* what is not there yet cannot be let through, and not later either: the directory it will be in is */
	static char above[PATH_MAX];
	const char *database = s.conf.database, *slash = strrchr(database, '/');
	if (!s.conf.is_clamd && slash != NULL && slash > database && access(database, F_OK) != 0 && snprintf(above, sizeof above, "%s", database) < (int)sizeof above) {
		above[slash - database] = '\0';
		database = above;
	}
	/* libclamav and OpenSSL look for a plug-in, for their configuration, for the time zone */
	struct confine want = { .user = s.pg.has_master ? conf_params(s.pg.conf)->p_filter_user : NULL,
		.calls = CONFINE_FORK | CONFINE_READ | CONFINE_THREADS,
		.readable = { s.conf.is_clamd ? NULL : database, "/usr/lib", "/lib", "/etc", "/usr/share/zoneinfo", "/proc", "/sys/devices/system/cpu" } };
	return s.front < 0 ? err_set(e, RC_TEMP, "fork: %s", strerror(errno)) : confine(&want, NULL, e);
}

int
main(int argc, char **argv)
{
	struct err e = { .why = "" };
	enum rc rc = program_begin(&s.pg, "virus", argc, argv, &e);
	if (rc != RC_OK) {
		fprintf(stderr, "dogana-virus: %s\n", e.why);
		return PROGRAM_USAGE;
	}
	if (conf_params(s.pg.conf)->p_virus_engine[0] == '\0')
		rc = err_set(&e, RC_PERM, "virus_engine is empty: nothing to do");
	if (rc == RC_OK)
		rc = virus_conf_read(s.pg.conf, &s.conf, &e);
	if (rc == RC_OK)
		rc = begin(&e);
	if (rc != RC_OK) {
		program_log(LOG_L_ERROR, SPAN_EMPTY, "%s", e.why);
		program_end(&s.pg);
		return 1;
	}
	run();
	return 0;
}
