/* SPDX-License-Identifier: GPL-2.0-only */
#include "filters/virus/front.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "filters/confine.h"
#include "filters/virus/examine.h"
#include "filters/virus/listen.h"
#include "filters/virus/pool.h"
#include "filters/virus/session.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ACCEPT_AT_ONCE = 64, QUIET_LOOKS = 10 };
static const uint64_t DRAIN_EVERY = 20 * 1000, ACCEPT_PAUSE = USEC_PER_SEC;

static struct {
	struct program *pg;
	int supervisor;
	struct watch listener, orders;
	struct timer accept_again, drain;
	bool is_stopping;
	unsigned quiet;              /* times in a row that there was no message, while stopping */
} f;

static void
tell_supervisor(const char *word, const char *text)
{
	char line[300];
	int n = snprintf(line, sizeof line, "%s%s%s", word, text[0] != '\0' ? " " : "", text);
	(void)!send(f.supervisor, line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1, MSG_NOSIGNAL);
}

static void
on_trouble(const char *text)
{
	if (text[0] != '\0')
		log_warn(NULL, "%s: virus_unavailable applies until it answers", text);
	else
		log_info(NULL, "clamd answers again");
	tell_supervisor("trouble", text);
}

static void
on_version(const struct virus_version *v)
{
	char text[2 * VIRUS_VERSION_MAX + 2];
	snprintf(text, sizeof text, "%s|%s", v->engine, v->signatures);
	tell_supervisor("version", text);
}

/* ---- the MTA ---- */

static void
on_connect(struct watch *w, short what)
{
	int on = 1;
	(void)what;
	for (int i = 0; i < ACCEPT_AT_ONCE; i++) {
		int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd >= 0) {
			(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* nothing on other sockets */
			session_new(fd);
			continue;
		}
		if (errno == EAGAIN)
			return;
		if (errno == EINTR || errno == ECONNABORTED)
			continue;
		log_warn(NULL, "accept: %s", strerror(errno)); /* too many: others have to end first */
		watch_want(w, 0);
		timer_set(&f.accept_again, ACCEPT_PAUSE);
		return;
	}
}

static void
accept_again(struct timer *t)
{
	(void)t;
	watch_want(&f.listener, EV_READ);
}

/* ---- the supervisor ---- */

/* Messages that are here already get their answer; an MTA that keeps idle connections opens new ones elsewhere. */
static void
look_whether_quiet(struct timer *t)
{
	f.quiet = sessions_active() == 0 ? f.quiet + 1 : 0;
	if (f.quiet >= QUIET_LOOKS)
		loop_stop();
	else
		timer_set(t, DRAIN_EVERY);
}

static void
on_order(struct watch *w, short what)
{
	char word[64];
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int))];
	} ancillary;
	int fd;
	struct iovec iov = { word, sizeof word };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &ancillary, .msg_controllen = sizeof ancillary };
	(void)what;
	ssize_t n = recvmsg(w->fd, &h, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0)
		_exit(1); /* there will be no engine any more */
	(void)fd_passed(&h, &fd, 1);
	struct span said = span_of(word, (size_t)n);
	if (span_eq_str(said, "generation") && fd >= 0) {
		pool_add(fd);
		return;
	}
	if (program_take_log(f.pg, said, fd))
		return;
	if (fd >= 0)
		close(fd);
	if (span_eq_str(said, "stop") && !f.is_stopping) {
		f.is_stopping = true;
		look_whether_quiet(&f.drain);
	}
}

/* ---- the process ---- */

static enum rc
begin(const struct virus_conf *conf, struct front_counts *counts, struct err *e)
{
	int fd;
	enum rc rc = listen_at(f.pg->listen, &fd, e);
	if (rc != RC_OK)
		return rc;
	loop_init();
	pool_init(conf);
	examine_init(conf, counts, on_trouble, on_version);
	sessions_init(conf, counts);
	timer_init(&f.accept_again, accept_again);
	timer_init(&f.drain, look_whether_quiet);
	watch_init(&f.listener, fd, on_connect);
	watch_want(&f.listener, EV_READ);
	watch_init(&f.orders, f.supervisor, on_order);
	watch_want(&f.orders, EV_READ);
	struct confine want = { .user = f.pg->has_master ? conf_params(f.pg->conf)->p_filter_user : NULL,
		.calls = CONFINE_SERVE | (conf->is_clamd ? CONFINE_CONNECT : 0), .may_connect = conf->is_clamd };
	return confine(&want, NULL, e);
}

void
front_main(struct program *pg, const struct virus_conf *conf, struct front_counts *counts, int supervisor)
{
	struct err e = { .why = "" };
	prctl(PR_SET_NAME, "virus-front", 0, 0, 0);
	signal(SIGINT, SIG_IGN); /* a terminal sends it to all */
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	f.pg = pg;
	f.supervisor = supervisor;
	if (begin(conf, counts, &e) != RC_OK) {
		program_log(LOG_L_ERROR, SPAN_EMPTY, "%s", e.why);
		_exit(1);
	}
	tell_supervisor("listening", "");
	loop_run();
	log_flush();
	_exit(0);
}
