/* SPDX-License-Identifier: BSD-2-Clause */
#include "filters/program.h"

#include "base/mem.h"
#include "ipc/jail.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER, control_lock = PTHREAD_MUTEX_INITIALIZER;

/* ---- start ---- */

struct arguments {
	const char *dir, *listen, *target, *format;
	bool is_child;
};

static enum rc
read_arguments(int argc, char **argv, struct arguments *out, struct err *e)
{
	const struct {
		const char *flag;
		const char **value;
	} rows[] = { { "-c", &out->dir }, { "-p", &out->listen }, { "-t", &out->target }, { "-f", &out->format } };
	*out = (struct arguments){ .target = "0", .format = "0" };
	for (int i = 1; i < argc; i++) {
		size_t k = 0;
		if (strcmp(argv[i], "-m") == 0) {
			out->is_child = true;
			continue;
		}
		while (k < NELEMS(rows) && strcmp(argv[i], rows[k].flag) != 0)
			k++;
		if (k == NELEMS(rows) || ++i == argc)
			return err_set(e, RC_PERM, "usage: %s -c DIR -p unix:/path | inet:port@host", argv[0]);
		*rows[k].value = argv[i];
	}
	if (out->listen == NULL || out->is_child == (out->dir != NULL))
		return err_set(e, RC_PERM, "usage: %s -c DIR -p unix:/path | inet:port@host", argv[0]);
	return RC_OK;
}

static enum rc
open_log(struct program *pg, const struct arguments *a, struct err *e)
{
	uint64_t target, format;
	if (!span_u64(span_str(a->target), LOG_TO_SYSLOG, &target) || !span_u64(span_str(a->format), LOG_JSON, &format))
		return err_set(e, RC_PERM, "-t or -f: not a number of the master's");
	const char *tag = conf_params(pg->conf)->p_syslog_name;
	if (pg->has_master)
		log_open((enum log_target)target, fcntl(PROGRAM_LOG_FD, F_DUPFD_CLOEXEC, 6), (enum log_format)format, tag, pg->name);
	else
		log_open(LOG_TO_STDERR, STDERR_FILENO, LOG_POSTFIX, tag, pg->name);
	return RC_OK;
}

static void
say_problems(const struct conf *c)
{
	for (size_t i = 0; c != NULL && i < conf_problem_count(c, CONF_ERROR); i++) {
		const struct conf_problem *p = conf_problem_at(c, i, CONF_ERROR);
		fprintf(stderr, "%s:%d: error: %s\n", p->file, p->line, p->text);
	}
}

static void
block_signals(void)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	tzset(); /* /etc/localtime is out of reach later */
}

enum rc
program_begin(struct program *pg, const char *name, int argc, char **argv, struct err *e)
{
	struct arguments a;
	char title[16];
	*pg = (struct program){ .name = name, .control = -1 };
	enum rc rc = read_arguments(argc, argv, &a, e);
	if (rc != RC_OK)
		return rc;
	if (strlen(a.listen) >= sizeof pg->listen)
		return err_set(e, RC_PERM, "-p: too long");
	memcpy(pg->listen, a.listen, strlen(a.listen) + 1);
	snprintf(title, sizeof title, "dogana-%s", name);
	prctl(PR_SET_NAME, title, 0, 0, 0);
	block_signals();
	pg->has_master = a.is_child;
	if (a.is_child) {
		umask(0); /* who may reach the socket is a matter of its directory */
		pg->control = PROGRAM_CONTROL_FD;
		fcntl(pg->control, F_SETFD, FD_CLOEXEC);
		rc = conf_image_read(PROGRAM_IMAGE_FD, &pg->conf, e);
		close(PROGRAM_IMAGE_FD);
	} else {
		rc = conf_load(a.dir, &pg->conf, e);
		if (rc != RC_OK)
			say_problems(pg->conf);
	}
	if (rc == RC_OK)
		rc = open_log(pg, &a, e);
	const char *lacks = a.is_child ? NULL : jail_lacks(); /* the master says it for all */
	if (rc == RC_OK && lacks != NULL)
		program_log(LOG_L_WARNING, SPAN_EMPTY, "%s", lacks);
	if (rc != RC_OK)
		conf_unref(&pg->conf);
	return rc;
}

void
program_end(struct program *pg)
{
	log_flush();
	conf_unref(&pg->conf);
	if (pg->control >= 0)
		close(pg->control);
	pg->control = -1;
}

/* ---- to the master ---- */

static void
tell(struct program *pg, const char *word, struct span text)
{
	struct buf b;
	if (pg->control < 0)
		return;
	buf_init(&b, PROGRAM_DATAGRAM_MAX);
	buf_puts(&b, word);
	if (text.n > 0) {
		buf_putc(&b, ' ');
		buf_put(&b, text);
	}
	pthread_mutex_lock(&control_lock);
	if (!b.over) /* a master that is too busy for news gets the next */
		(void)!send(pg->control, buf_span(&b).p, buf_len(&b), MSG_NOSIGNAL | (text.n > 0 ? MSG_DONTWAIT : 0));
	pthread_mutex_unlock(&control_lock);
	buf_fini(&b);
}

void
program_listening(struct program *pg)
{
	tell(pg, "listening", SPAN_EMPTY);
}

void
program_ready(struct program *pg)
{
	tell(pg, "ready", SPAN_EMPTY);
}

void
program_status(struct program *pg, struct span json_members, struct span remarks)
{
	if (json_members.n > 0)
		tell(pg, "status", json_members);
	tell(pg, "remarks", remarks.n > 0 ? remarks : SPAN("\n"));
}

/* ---- from the master ---- */

bool
program_take_log(const struct program *pg, struct span said, int fd)
{
	struct span text = span_from(said, 4), target_word, format_word;
	uint64_t target, format;
	if (!span_starts(said, SPAN("log ")))
		return false;
	if (fd < 0 || !span_word(&text, " ", &target_word) || !span_word(&text, " ", &format_word) || !span_u64(target_word, LOG_TO_SYSLOG, &target) ||
	    !span_u64(format_word, LOG_JSON, &format)) {
		if (fd >= 0)
			close(fd);
		return true;
	}
	pthread_mutex_lock(&log_lock);
	log_open((enum log_target)target, fd, (enum log_format)format, conf_params(pg->conf)->p_syslog_name, pg->name);
	pthread_mutex_unlock(&log_lock);
	return true;
}

enum rc
program_heard(struct program *pg, bool *stop)
{
	unsigned char text[128];
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int))];
	} ancillary;
	struct iovec iov = { text, sizeof text };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &ancillary, .msg_controllen = sizeof ancillary };
	int fd = -1;
	*stop = false;
	ssize_t n = recvmsg(pg->control, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return RC_NONE;
	if (n <= 0)
		return RC_PERM;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c != NULL; c = CMSG_NXTHDR(&m, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof fd))
			memcpy(&fd, CMSG_DATA(c), sizeof fd);
	struct span s = span_of(text, (size_t)n);
	if (span_eq_str(s, "stop"))
		*stop = true;
	if (pg->pass_log != NULL && fd >= 0 && span_starts(s, SPAN("log ")))
		pg->pass_log(s, fd);
	if (!program_take_log(pg, s, fd) && fd >= 0)
		close(fd);
	return *stop ? RC_OK : RC_NONE;
}

struct listener {
	struct program *pg;
	const struct program_ops *ops;
	int signals;
};

static bool
has_heard_stop(struct listener *l)
{
	bool stop;
	enum rc rc = program_heard(l->pg, &stop);
	if (rc == RC_PERM)
		program_log(LOG_L_WARNING, SPAN_EMPTY, "the master is gone: finishing");
	return stop || rc == RC_PERM;
}

static void *
listen_to_master(void *arg)
{
	struct listener *l = arg;
	struct pollfd p[2] = { { .fd = l->signals, .events = POLLIN }, { .fd = l->pg->control, .events = POLLIN } };
	for (;;) {
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			break;
		struct signalfd_siginfo si;
		bool is_over = (p[0].revents & POLLIN) != 0 && read(l->signals, &si, sizeof si) == sizeof si && si.ssi_signo != SIGHUP;
		if (is_over || (p[1].revents != 0 && has_heard_stop(l)))
			break;
	}
	l->ops->stop();
	close(l->signals);
	mem_free(&l);
	return NULL;
}

enum rc
program_control(struct program *pg, const struct program_ops *ops, struct err *e)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	struct listener *l = mem_zalloc(sizeof *l);
	l->pg = pg;
	l->ops = ops;
	l->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	pthread_t thread;
	int err = l->signals < 0 ? errno : pthread_create(&thread, NULL, listen_to_master, l);
	if (err == 0) {
		pthread_detach(thread);
		return RC_OK;
	}
	if (l->signals >= 0)
		close(l->signals);
	mem_free(&l);
	return err_set(e, RC_PERM, "no thread for signals: %s", strerror(err));
}

/* ---- log ---- */

void
program_log(enum log_level level, struct span qid, const char *fmt, ...)
{
	char text[1024];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	struct log_ctx ctx = { .qid = qid };
	pthread_mutex_lock(&log_lock);
	if (level == LOG_L_ERROR)
		log_error(&ctx, "%s", text);
	else if (level == LOG_L_WARNING)
		log_warn(&ctx, "%s", text);
	else
		log_info(&ctx, "%s", text);
	log_flush();
	pthread_mutex_unlock(&log_lock);
}

/* libmilter's complaints: in a process that can make no socket the C library's would go nowhere. */
static void
log_for_library(int priority, const char *fmt, va_list ap)
{
	char text[512];
	vsnprintf(text, sizeof text, fmt, ap);
	program_log((priority & LOG_PRIMASK) <= LOG_WARNING ? LOG_L_WARNING : LOG_L_INFO, SPAN_EMPTY, "libmilter: %s", text);
}

void
syslog(int priority, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	log_for_library(priority, fmt, ap);
	va_end(ap);
}

void __syslog_chk(int priority, int flag, const char *fmt, ...) PRINTF(3, 4);

void
__syslog_chk(int priority, int flag, const char *fmt, ...)
{
	va_list ap;
	(void)flag;
	va_start(ap, fmt);
	log_for_library(priority, fmt, ap);
	va_end(ap);
}
