/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * crowd.c - many clients that say nothing, from as many addresses: for the pause before the greeting
 *
 *	crowd hold -s clients -a addresses port      each waits for its first octets; one line of JSON when all have them;
 *	                                             holds them until end of file on standard input, then says how many are open
 *	crowd refused -s clients -n total -a addresses port
 *	                                             `clients' at a time read to the end; counts replies that begin with 521
 *
 * Source addresses are 127.2.0.1 and up. Connects to 127.0.0.1 only.
 */
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct client {
	int fd;
	bool heard, refused, was_told;
	char last[4];
	unsigned at;             /* octets of the line */
};

static struct client *clients;
static unsigned sessions = 100, addresses = 250, total = 10000, inflight;
static unsigned opened, heard, ended, refused, failed;
static int poller;
static uint16_t port;

static double
now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void
open_one(struct client *c)
{
	struct sockaddr_in from = { .sin_family = AF_INET }, to = { .sin_family = AF_INET, .sin_port = htons(port) };
	from.sin_addr.s_addr = htonl(0x7f020001u + opened++ % addresses);
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	*c = (struct client){ .fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) };
	int on = 1;
	setsockopt(c->fd, SOL_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
	if (c->fd < 0 || bind(c->fd, (struct sockaddr *)&from, sizeof from) != 0 ||
	    (connect(c->fd, (struct sockaddr *)&to, sizeof to) != 0 && errno != EINPROGRESS)) {
		perror("crowd");
		exit(1);
	}
	struct epoll_event e = { .events = EPOLLIN, .data.ptr = c };
	epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &e);
	inflight++;
}

static void
look(struct client *c, const char *p, ssize_t n)
{
	if (!c->heard)
		heard++;
	c->heard = true;
	for (ssize_t i = 0; i < n; i++) {
		if (c->at < 3)
			c->last[c->at] = p[i];
		c->at++;
		if (p[i] == '\n') {
			c->refused = memcmp(c->last, "521", 3) == 0;
			c->at = 0;
		}
	}
}

/* true: it is over. */
static bool
serve(struct client *c)
{
	char buf[4096];
	ssize_t n = read(c->fd, buf, sizeof buf);
	if (n > 0) {
		look(c, buf, n);
		return false;
	}
	if (n < 0 && errno == EAGAIN)
		return false;
	refused += c->refused;
	failed += !c->refused;
	ended++;
	inflight--;
	close(c->fd);
	c->fd = -1;
	return true;
}

static void
turn(bool again)
{
	struct epoll_event e[256];
	int n = epoll_wait(poller, e, 256, 1000);
	for (int i = 0; i < n; i++) {
		struct client *c = e[i].data.ptr;
		if (serve(c) && again && opened < total)
			open_one(c);
	}
}

static void
hold(void)
{
	unsigned next = 0;
	double began = now();
	while ((heard < sessions || next < sessions) && now() - began < 120 && ended == 0) {
		while (next < sessions && next - heard < 200)
			open_one(&clients[next++]);
		turn(false);
	}
	printf("{\"held\": %u, \"seconds\": %.2f}\n", heard - ended, now() - began);
	fflush(stdout);
	char c;
	while (read(0, &c, 1) > 0)
		;
	fcntl(poller, F_SETFD, FD_CLOEXEC);
	printf("{\"open\": %u}\n", heard - ended);
}

static void
count_refused(void)
{
	double began = now();
	for (unsigned i = 0; i < sessions && i < total; i++)
		open_one(&clients[i]);
	while (ended < total && now() - began < 300)
		turn(true);
	double t = now() - began;
	printf("{\"refused\": %u, \"failed\": %u, \"seconds\": %.3f, \"per_second\": %.0f}\n", refused, failed, t, ended / t);
}

int
main(int argc, char **argv)
{
	struct rlimit r = { 1 << 20, 1 << 20 };
	int o;
	if (argc < 2)
		return 2;
	while ((o = getopt(argc - 1, argv + 1, "s:a:n:")) != -1) {
		unsigned v = (unsigned)strtoul(optarg, NULL, 10);
		if (o == 's')
			sessions = v;
		else if (o == 'a')
			addresses = v;
		else if (o == 'n')
			total = v;
		else
			return 2;
	}
	port = (uint16_t)strtoul(argv[argc - 1], NULL, 10);
	if (setrlimit(RLIMIT_NOFILE, &r) != 0) {
		getrlimit(RLIMIT_NOFILE, &r);
		r.rlim_cur = r.rlim_max;
		setrlimit(RLIMIT_NOFILE, &r);
	}
	poller = epoll_create1(EPOLL_CLOEXEC);
	clients = calloc(sessions, sizeof *clients);
	if (clients == NULL)
		return 1;
	if (strcmp(argv[1], "hold") == 0)
		hold();
	else
		count_refused();
	return 0;
}
