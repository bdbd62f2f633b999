/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hub.c - a recording SMTP and LMTP server on loopback that can be told to misbehave
 *
 *	hub [-q] [-j FILE] [-d DIR] [-r RULE]... LISTENER...
 *
 * LISTENER is [lmtp:]PORT[,OPTION...]; port 0: the kernel chooses. Options: noesmtp nopipe nochunk no8bit nosize
 * nodsn noutf8 noenh, size=N, name=HOST. The first line on standard output is {"ports":[...]} in the order given.
 * -j: one JSON line per message, appended before the client hears its reply (ms: CLOCK_MONOTONIC). -d: the content of each, unstuffed,
 * as DIR/NUMBER.eml. -q: count only, look at nothing (benchmarks).
 *
 * RULE is  STAGE[=TEXT] [@N] [skip=N] [times=N] [for=MS] ACTION [ARGUMENT]
 * STAGE: connect helo mail rcpt data bdat content dot rset quit other, or any (each of them is one step); TEXT: is
 * contained in the command's argument, for lmtp dot in the recipient, for content: a number of bytes, for dot over
 * SMTP: is contained in the sender. @N: only listener N (from 0). Rules are tried in order, the first that fits acts:
 *	reply TEXT     instead of the normal reply (C escapes; CRLF is added); 2xx (DATA: 3xx) goes on as if accepted
 *	last TEXT      the same, then close        raw TEXT     exactly these bytes
 *	close | rst    at once                     silent       never answer, read on
 *	delay MS       then the rules behind it    drip MS      one byte of the reply every MS milliseconds
 *	big N          one reply line of N bytes   endless      "250-" lines until the client goes
 *
 * Orders on standard input, when that is a pipe (its end ends the hub): `rule RULE', `clear' (rules), `drop' (all
 * connections), `stats', `wait N MS' (until N messages were taken), `listen I on|off'. Each answers one line.
 */
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <unistd.h>

#include "base/base.h"
#include "base/list.h"
#include "base/mem.h"
#include "hub_command.h"
#include "hub_message.h"

static struct { long want; uint64_t until; } waiting;

/* ---- input ---- */

static void
in_drop(struct sess *s, size_t n)
{
	s->in.n -= n;
	memmove(s->in.p, s->in.p + n, s->in.n);
}

/* true: go on; the session may be over after it. */
static bool
work_content(struct sess *s)
{
	size_t have = s->in.n + s->msg.n;

	for (size_t i = 0; i < nrules && !s->content_acted; i++)
		if (rules[i].stage == ST_CONTENT && (long)have >= rules[i].number) {
			s->content_acted = true;
			sess_step(s, ST_CONTENT, "");
		}
	if (s->dead || s->silent || s->held)
		return false;
	if (s->chunk) {
		size_t take = s->chunk == SIZE_MAX ? 0 : s->in.n < s->chunk ? s->in.n : s->chunk;
		if (s->msg.n + take <= CONTENT_MAX)
			text_add(&s->msg, s->in.p, take);
		in_drop(s, take);
		s->chunk -= s->chunk == SIZE_MAX ? s->chunk : take;
		if (s->chunk)
			return false;
		if (!s->last_chunk) {
			say(s, "2.0.0 ", "250 Ok");
			return true;
		}
		if (s->nrcpt == 0) {
			say(s, "5.5.1 ", "503 no valid recipients");
			s->last_chunk = false;
			s->msg.n = 0;
			return true;
		}
		if (!finish(s, s->msg.p ? s->msg.p : "", s->msg.n, true)) {
			s->chunk = SIZE_MAX;
			return false;
		}
		s->last_chunk = false;
		return true;
	}
	bool empty = s->in.n >= 3 && memcmp(s->in.p, ".\r\n", 3) == 0;
	const char *end = s->in.n > s->scanned ? memmem(s->in.p + s->scanned, s->in.n - s->scanned, "\r\n.\r\n", 5) : NULL;
	if (!empty && !end) {
		s->scanned = s->in.n > 4 ? s->in.n - 4 : 0;
		return false;
	}
	size_t n = empty ? 0 : (size_t)(end + 2 - s->in.p);
	if (!finish(s, s->in.p, n, false))
		return false;
	in_drop(s, n + 3);
	s->data = false;
	return true;
}

static bool
work_line(struct sess *s)
{
	char *nl = s->in.n ? memchr(s->in.p, '\n', s->in.n) : NULL;

	if (!nl)
		return false;
	size_t n = (size_t)(nl - s->in.p);
	char *line = mem_alloc(n + 1);
	memcpy(line, s->in.p, n + 1);
	if (!quiet)
		look(s, "command", line, n + 1);
	line[n] = '\0';
	if (n && line[n - 1] == '\r')
		line[n - 1] = '\0';
	bool done = command(s, line);
	mem_free(&line);
	if (done)
		in_drop(s, n + 1);
	return done;
}

static void
sess_write(struct sess *s)
{
	while (!s->dead && !s->held) {
		if (s->endless && s->out.n < 65536)
			for (int i = 0; i < 1000; i++)
				text_str(&s->out, "250-and there is more where this comes from\r\n");
		if (s->out.n == 0)
			break;
		ssize_t n = write(s->fd, s->out.p, s->drip ? 1 : s->out.n);
		if (n < 0 && errno == EAGAIN)
			break;
		if (n <= 0) {
			sess_end(s, false);
			return;
		}
		s->out.n -= (size_t)n;
		memmove(s->out.p, s->out.p + n, s->out.n);
		if (s->drip && s->out.n)
			sess_hold(s, (uint64_t)s->drip);
	}
	if (!s->dead && s->closing && s->out.n == 0 && !s->held)
		sess_end(s, false);
}

static void
sess_work(struct sess *s)
{
	while (!s->dead && !s->closing && !s->silent && !s->held) {
		if (s->data || s->chunk ? !work_content(s) : !work_line(s))
			break;
	}
	if (s->silent)
		s->in.n = 0;
	sess_write(s);
	if (!s->dead)
		sess_arm(s);
}

static void
sess_greet(struct sess *s)
{
	int r = sess_step(s, ST_CONNECT, "");

	if (r == 0)
		text_fmt(&s->out, "220 %s %s\r\n", s->at->name, s->at->lmtp ? "LMTP" : "ESMTP");
	sess_work(s);
}

static void
sess_read(struct sess *s)
{
	static char chunk[262144];

	for (;;) {
		ssize_t n = read(s->fd, chunk, sizeof chunk);
		if (n < 0 && errno == EAGAIN)
			break;
		if (n <= 0) {
			sess_end(s, false);
			return;
		}
		text_add(&s->in, chunk, (size_t)n);
		if (n < (ssize_t)sizeof chunk)
			break;
	}
	sess_work(s);
}

static void
sess_accept(struct listener *l)
{
	int fd, one = 1;

	while ((fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		struct sess *s = mem_zalloc(sizeof *s);
		struct epoll_event ev = { .events = EPOLLIN, .data.ptr = s };
		s->fd = fd;
		s->at = l;
		s->number = ++tally.sessions;
		s->armed = EPOLLIN;
		list_init(&s->all);
		list_append(&sessions, &s->all);
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
		epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev);
		sess_greet(s);
	}
}

/* ---- listeners, orders ---- */

static bool
listener_on(struct listener *l)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
		.sin_port = htons((uint16_t)l->port) };
	socklen_t len = sizeof sin;
	int one = 1;
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = l };

	l->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(l->fd, (struct sockaddr *)&sin, sizeof sin) < 0 || listen(l->fd, 1024) < 0) {
		perror("hub: listen");
		return false;
	}
	getsockname(l->fd, (struct sockaddr *)&sin, &len);
	l->port = ntohs(sin.sin_port);
	return epoll_ctl(ep, EPOLL_CTL_ADD, l->fd, &ev) == 0;
}

static bool
listener_add(char *spec)
{
	struct listener *l = &listeners[nlisteners];
	const struct { const char *word; bool *flag; } flags[] = {
		{ "noesmtp", &l->noesmtp }, { "nopipe", &l->nopipe }, { "nochunk", &l->nochunk }, { "no8bit", &l->no8bit },
		{ "nosize", &l->nosize }, { "nodsn", &l->nodsn }, { "noutf8", &l->noutf8 }, { "noenh", &l->noenh },
	};

	if (nlisteners == LISTENERS)
		return false;
	*l = (struct listener){ .index = (int)nlisteners, .fd = -1, .size = 64 << 20, .name = "hub.test" };
	l->lmtp = strncmp(spec, "lmtp:", 5) == 0;
	l->port = (int)strtol(spec + (l->lmtp ? 5 : 0), &spec, 10);
	while (*spec == ',') {
		char *end = spec + 1 + strcspn(spec + 1, ",");
		char word[80];
		bool known = false;
		snprintf(word, sizeof word, "%.*s", (int)(end - spec - 1), spec + 1);
		for (size_t i = 0; i < NELEMS(flags); i++)
			if (strcmp(flags[i].word, word) == 0)
				known = *flags[i].flag = true;
		if (strncmp(word, "size=", 5) == 0)
			l->size = strtol(word + 5, NULL, 10);
		else if (strncmp(word, "name=", 5) == 0)
			snprintf(l->name, sizeof l->name, "%s", word + 5);
		else if (!known)
			return false;
		spec = end;
	}
	nlisteners++;
	return *spec == '\0' && listener_on(l);
}

static void
stats(void)
{
	long open = 0;

	list_each(p, &sessions)
		open++;
	printf("{\"sessions\":%ld,\"open\":%ld,\"messages\":%ld,\"refused\":%ld,\"bytes\":%llu,\"steps\":%ld,\"long_lines\":%ld,"
	    "\"violations\":%ld,\"first_violation\":\"%s\",\"hits\":[", tally.sessions, open, tally.messages, tally.refused,
	    tally.bytes, tally.steps, tally.long_lines, tally.violations, first_violation);
	for (size_t i = 0; i < nrules; i++)
		printf("%s%ld", i ? "," : "", rules[i].hits);
	printf("]}\n");
}

static void
order(char *line)
{
	long n, ms;
	char word[8];

	if (strncmp(line, "rule ", 5) == 0) {
		printf("%s\n", rule_add(line + 5) ? "ok" : "bad rule");
	} else if (strcmp(line, "clear") == 0) {
		rules_clear();
		list_each(p, &sessions)
			container_of(p, struct sess, all)->resume = NULL;
		puts("ok");
	} else if (strcmp(line, "drop") == 0) {
		list_each(p, &sessions)
			sess_end(container_of(p, struct sess, all), false);
		puts("ok");
	} else if (strcmp(line, "stats") == 0) {
		stats();
	} else if (sscanf(line, "wait %ld %ld", &n, &ms) == 2) {
		waiting.want = n;
		waiting.until = now_ms() + (uint64_t)ms;
		return;
	} else if (sscanf(line, "listen %ld %7s", &n, word) == 2 && n >= 0 && n < (long)nlisteners) {
		struct listener *l = &listeners[n];
		if (strcmp(word, "off") == 0 && l->fd >= 0) {
			close(l->fd);
			l->fd = -1;
		} else if (strcmp(word, "on") == 0 && l->fd < 0) {
			listener_on(l);
		}
		puts("ok");
	} else {
		puts("bad order");
	}
	fflush(stdout);
}

/* false: end of file */
static bool
order_read(void)
{
	static char line[65536];
	static size_t n;

	ssize_t got = read(STDIN_FILENO, line + n, sizeof line - 1 - n);
	if (got <= 0)
		return false;
	n += (size_t)got;
	char *nl;
	while ((nl = memchr(line, '\n', n)) != NULL) {
		*nl = '\0';
		order(line);
		n -= (size_t)(nl + 1 - line);
		memmove(line, nl + 1, n);
	}
	return n < sizeof line - 1;
}

static void
turn_end(void)
{
	uint64_t now = now_ms();

	for (struct list *p = sessions.next, *next; p != &sessions; p = next) {
		struct sess *s = container_of(p, struct sess, all);
		next = p->next;
		if (!s->dead && s->held && s->held <= now) {
			s->held = 0;
			tally.held--;
			if (s->resume && s->number && !s->helo && s->out.n == 0 && s->in.n == 0 && !s->data)
				sess_greet(s);
			else
				sess_work(s);
		}
		if (s->dead)
			sess_free(s);
	}
	if (waiting.until && (tally.messages >= waiting.want || now >= waiting.until)) {
		waiting.until = 0;
		printf("{\"messages\":%ld}\n", tally.messages);
		fflush(stdout);
	}
}

static int
usage(void)
{
	fprintf(stderr, "usage: hub [-q] [-j FILE] [-d DIR] [-r RULE]... [lmtp:]PORT[,OPTION...] ...\n");
	return 2;
}

int
main(int argc, char **argv)
{
	int ch;

	signal(SIGPIPE, SIG_IGN);
	list_init(&sessions);
	ep = epoll_create1(EPOLL_CLOEXEC);
	while ((ch = getopt(argc, argv, "qj:d:r:")) != -1) {
		switch (ch) {
		case 'q':
			quiet = true;
			break;
		case 'j':
			json_fd = open(optarg, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
			break;
		case 'd':
			dir = optarg;
			mkdir(dir, 0700);
			break;
		case 'r':
			if (!rule_add(optarg))
				return usage();
			break;
		default:
			return usage();
		}
	}
	if (optind == argc)
		return usage();
	for (int i = optind; i < argc; i++)
		if (!listener_add(argv[i]))
			return usage();
	printf("{\"ports\":[");
	for (size_t i = 0; i < nlisteners; i++)
		printf("%s%d", i ? "," : "", listeners[i].port);
	printf("]}\n");
	fflush(stdout);
	struct epoll_event in = { .events = EPOLLIN, .data.ptr = NULL };
	epoll_ctl(ep, EPOLL_CTL_ADD, STDIN_FILENO, &in); /* a file or /dev/null: refused, and then there are no orders */
	for (;;) {
		struct epoll_event ev[256];
		int n = epoll_wait(ep, ev, 256, tally.held || waiting.until ? 2 : -1);
		for (int i = 0; i < n; i++) {
			void *p = ev[i].data.ptr;
			if (p == NULL) {
				if (!order_read())
					return 0;
			} else if ((char *)p >= (char *)listeners && (char *)p < (char *)(listeners + LISTENERS)) {
				sess_accept(p);
			} else {
				struct sess *s = p;
				if (!s->dead && (ev[i].events & (EPOLLERR | EPOLLHUP)) && s->held)
					sess_end(s, false);
				if (!s->dead && (ev[i].events & EPOLLOUT))
					sess_write(s);
				if (!s->dead && (ev[i].events & (EPOLLIN | EPOLLHUP)))
					sess_read(s);
				if (!s->dead)
					sess_arm(s);
			}
		}
		turn_end();
	}
}
