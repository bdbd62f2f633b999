/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sink.c - an SMTP server that keeps nothing and counts exactly: where a benchmark's messages end
 *
 *	sink [-C] port
 *
 * Accepts everything on 127.0.0.1:port. Messages carry "X-Load: run number" (load.c); each number is counted once,
 * so that lost and duplicate messages show. -C offers CHUNKING. Commands on standard input:
 *	expect RUN COUNT   forget what came, wait for numbers 0 to COUNT-1 of RUN; answers "ready"; when the last
 *	                   one is there, the JSON line of `report' is printed without being asked for
 *	report             prints {"run","unique","duplicates","strays","bytes","last_ns","sessions"}
 * End of file on standard input ends it. last_ns: CLOCK_MONOTONIC of the newest unique message's arrival.
 */
#include <sys/epoll.h>
#include <sys/socket.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#define MESSAGE_MAX (64u << 20)

struct peer {
	int fd;
	bool data;         /* between DATA and the final dot */
	bool last;         /* the BDAT chunk being read is the last one */
	size_t chunk;      /* bytes of it still to come */
	char *in;          /* commands, or the message from its first byte */
	size_t len, cap;
	size_t scanned;    /* of `in', known not to hold the end of the message */
	size_t content;    /* BDAT: bytes of message at the start of `in' */
	char out[4096];
	size_t out_len;
};

static struct {
	long run, count;
	uint8_t *seen;     /* one bit per number */
	long unique, duplicates, strays, sessions;
	uint64_t bytes, last_ns;
} tally;

static bool chunking;
static int ep;

static void
report(void)
{
	printf("{\"run\":%ld,\"unique\":%ld,\"duplicates\":%ld,\"strays\":%ld,\"bytes\":%llu,\"last_ns\":%llu,"
	    "\"sessions\":%ld}\n", tally.run, tally.unique, tally.duplicates, tally.strays,
	    (unsigned long long)tally.bytes, (unsigned long long)tally.last_ns, tally.sessions);
	fflush(stdout);
}

static void
count_message(const char *p, size_t n)
{
	static const char name[] = "\nX-Load: ";
	size_t head = n < 65536 ? n : 65536;
	const char *at = memmem(p, head, name, sizeof name - 1);
	const char *blank = memmem(p, head, "\r\n\r\n", 4);
	long run = -1, number = -1;

	tally.bytes += n;
	if (at && blank && at < blank) { /* the blank line ends the digits */
		char *end;
		run = strtol(at + sizeof name - 1, &end, 10);
		number = strtol(end, NULL, 10);
	}
	if (run != tally.run || number < 0 || number >= tally.count) {
		tally.strays++;
		return;
	}
	uint8_t bit = (uint8_t)(1u << (number & 7));
	if (tally.seen[number >> 3] & bit) {
		tally.duplicates++;
		return;
	}
	tally.seen[number >> 3] |= bit;
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	tally.last_ns = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
	if (++tally.unique == tally.count)
		report();
}

static void
peer_say(struct peer *s, const char *text)
{
	size_t n = strlen(text);

	if (n > sizeof s->out - s->out_len)
		return; /* a client that pipelines this much without reading is broken */
	memcpy(s->out + s->out_len, text, n);
	s->out_len += n;
}

static void
peer_drop(struct peer *s, size_t n)
{
	s->len -= n;
	memmove(s->in, s->in + n, s->len);
	s->scanned = 0;
}

/* One command line, without its end. false: the session is over. */
static bool
peer_command(struct peer *s, const char *line)
{
	if (strncasecmp(line, "EHLO", 4) == 0) {
		peer_say(s, "250-sink.example\r\n250-PIPELINING\r\n250-SIZE 67108864\r\n");
		peer_say(s, chunking ? "250-CHUNKING\r\n" : "");
		peer_say(s, "250-ENHANCEDSTATUSCODES\r\n250 8BITMIME\r\n");
	} else if (strncasecmp(line, "DATA", 4) == 0) {
		s->data = true;
		peer_say(s, "354 go ahead\r\n");
	} else if (strncasecmp(line, "BDAT ", 5) == 0) {
		char *end;
		s->chunk = strtoul(line + 5, &end, 10);
		s->last = strcasestr(end, "LAST") != NULL;
	} else if (strncasecmp(line, "QUIT", 4) == 0) {
		peer_say(s, "221 2.0.0 bye\r\n");
		return false;
	} else {
		peer_say(s, "250 2.0.0 ok\r\n");
	}
	return true;
}

/* Content from BDAT is gathered at the start of `in', commands follow it. */
static bool
peer_chunk(struct peer *s)
{
	size_t take = s->len - s->content < s->chunk ? s->len - s->content : s->chunk;

	s->content += take;
	s->chunk -= take;
	if (s->chunk > 0)
		return false;
	if (s->last) {
		count_message(s->in, s->content);
		peer_drop(s, s->content);
		s->content = 0;
		s->last = false;
	}
	peer_say(s, "250 2.0.0 ok\r\n");
	return true;
}

static bool
peer_content(struct peer *s)
{
	char *end = memmem(s->in + s->scanned, s->len - s->scanned, "\r\n.\r\n", 5);

	if (!end) {
		s->scanned = s->len > 4 ? s->len - 4 : 0;
		return false;
	}
	count_message(s->in, (size_t)(end - s->in) + 2);
	peer_drop(s, (size_t)(end - s->in) + 5);
	s->data = false;
	peer_say(s, "250 2.0.0 ok\r\n");
	return true;
}

/* Works through what was read. false: close after the replies. */
static bool
peer_work(struct peer *s)
{
	for (;;) {
		if (s->data) {
			if (!peer_content(s))
				return true;
			continue;
		}
		if (s->chunk > 0) {
			if (!peer_chunk(s))
				return true;
			continue;
		}
		char *nl = memchr(s->in + s->content, '\n', s->len - s->content);
		if (!nl)
			return true;
		char line[1024];
		size_t n = (size_t)(nl - s->in) - s->content;
		snprintf(line, sizeof line, "%.*s", (int)(n < 1000 ? n : 1000), s->in + s->content);
		memmove(s->in + s->content, nl + 1, s->len - s->content - n - 1);
		s->len -= n + 1;
		if (!peer_command(s, line))
			return false;
		if (s->last && s->chunk == 0)
			peer_chunk(s);
	}
}

static void
peer_close(struct peer *s)
{
	close(s->fd);
	free(s->in);
	free(s);
}

static void
peer_read(struct peer *s)
{
	if (s->cap - s->len < 65536) {
		s->cap = s->cap * 2 + 131072;
		s->in = s->cap < MESSAGE_MAX * 2u ? realloc(s->in, s->cap) : NULL;
		if (!s->in)
			abort();
	}
	ssize_t n = read(s->fd, s->in + s->len, s->cap - s->len);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		peer_close(s);
		return;
	}
	s->len += (size_t)n;
	bool stay = peer_work(s);
	ssize_t written = s->out_len ? write(s->fd, s->out, s->out_len) : 0;
	if (!stay || written != (ssize_t)s->out_len) {
		peer_close(s);
		return;
	}
	s->out_len = 0;
}

static void
peer_accept(int lfd)
{
	int one = 1;
	int fd;

	while ((fd = accept4(lfd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		struct peer *s = calloc(1, sizeof *s);
		struct epoll_event ev = { .events = EPOLLIN, .data.ptr = s };
		s->fd = fd;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
		epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev);
		tally.sessions++;
		if (write(fd, "220 sink.example ESMTP\r\n", 24) != 24)
			peer_close(s);
	}
}

/* false: end of file */
static bool
order_read(void)
{
	char line[128];
	size_t n = 0;

	while (n < sizeof line - 1 && read(STDIN_FILENO, line + n, 1) == 1)
		if (line[n++] == '\n')
			break;
	line[n] = '\0';
	if (n == 0)
		return false;
	long run, count;
	if (sscanf(line, "expect %ld %ld", &run, &count) == 2 && count > 0) {
		free(tally.seen);
		memset(&tally, 0, sizeof tally);
		tally.run = run;
		tally.count = count;
		tally.seen = calloc(1, (size_t)count / 8 + 1);
		puts("ready");
		fflush(stdout);
	} else {
		report();
	}
	return true;
}

int
main(int argc, char **argv)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int one = 1, ch;

	while ((ch = getopt(argc, argv, "C")) != -1)
		chunking = ch == 'C';
	if (optind != argc - 1) {
		fprintf(stderr, "usage: sink [-C] port\n");
		return 2;
	}
	sin.sin_port = htons((uint16_t)strtol(argv[optind], NULL, 10));
	ep = epoll_create1(EPOLL_CLOEXEC);
	int lfd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	setsockopt(lfd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(lfd, (struct sockaddr *)&sin, sizeof sin) < 0 || listen(lfd, 1024) < 0) {
		perror("sink: listen");
		return 2;
	}
	struct epoll_event lev = { .events = EPOLLIN, .data.ptr = &lfd };
	struct epoll_event oev = { .events = EPOLLIN, .data.ptr = NULL };
	epoll_ctl(ep, EPOLL_CTL_ADD, lfd, &lev);
	if (epoll_ctl(ep, EPOLL_CTL_ADD, STDIN_FILENO, &oev) < 0) {
		perror("sink: standard input must be a pipe");
		return 2;
	}
	for (;;) {
		struct epoll_event ev[256];
		int n = epoll_wait(ep, ev, 256, -1);
		for (int i = 0; i < n; i++) {
			if (ev[i].data.ptr == &lfd)
				peer_accept(lfd);
			else if (ev[i].data.ptr)
				peer_read(ev[i].data.ptr);
			else if (!order_read())
				return 0;
		}
	}
}
