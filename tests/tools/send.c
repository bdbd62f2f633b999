/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * send.c - sends one file as one message by SMTP and prints the reply that decided about it
 *
 *	send -p PORT [-b ADDRESS] [-f SENDER] -t RECIPIENT... FILE     exit 0: accepted, 1: refused, 2: trouble
 *	send -P                                                        prints a free port on 127.0.0.1
 *
 * Connects to 127.0.0.1 from ADDRESS. Line ends become CRLF, dots are stuffed. SIZE is announced.
 */
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { RCPTS = 100 };

static FILE *in, *out;
static char reply[1024];

static int
trouble(const char *what)
{
	perror(what);
	return 2;
}

/* Reads a whole reply; its last line stays in `reply', its class is returned, 0 when the server is gone. */
static int
get(void)
{
	do {
		if (!fgets(reply, sizeof reply, in)) {
			snprintf(reply, sizeof reply, "(connection lost)");
			return 0;
		}
		reply[strcspn(reply, "\r\n")] = '\0';
	} while (strlen(reply) > 3 && reply[3] == '-');
	return reply[0] - '0';
}

static int
ask(const char *verb, const char *arg, const char *rest)
{
	fprintf(out, "%s%s%s\r\n", verb, arg, rest);
	fflush(out);
	return get();
}

/* The size it has on the wire, without the stuffed dots; with `send' it goes there. */
static long
content(FILE *f, bool send)
{
	long n = 0;
	int c, last = '\n';

	rewind(f);
	while ((c = getc(f)) != EOF) {
		if (c == '\r')
			continue;
		if (send && last == '\n' && c == '.')
			putc('.', out);
		if (c == '\n') {
			n++;
			if (send)
				putc('\r', out);
		}
		n++;
		if (send)
			putc(c, out);
		last = c;
	}
	if (last != '\n') {
		n += 2;
		if (send)
			fputs("\r\n", out);
	}
	return n;
}

static int
open_to(int port, const char *from)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_in self = { .sin_family = AF_INET };
	struct timeval tv = { .tv_sec = 20 };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
	if (from && (inet_pton(AF_INET, from, &self.sin_addr) != 1 || bind(fd, (struct sockaddr *)&self, sizeof self) < 0))
		return -1;
	return connect(fd, (struct sockaddr *)&to, sizeof to) < 0 ? -1 : fd;
}

static int
free_port(void)
{
	struct sockaddr_in sin = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	unsigned short at;

	for (int tries = 0; tries < 1000 && getrandom(&at, sizeof at, 0) == sizeof at; tries++) {
		sin.sin_port = htons(14000 + at % 18000); /* below those the kernel gives away by itself */
		if (bind(fd, (struct sockaddr *)&sin, sizeof sin) == 0) {
			printf("%d\n", ntohs(sin.sin_port));
			return 0;
		}
	}
	return trouble("send: bind");
}

static int
deliver(FILE *f, const char *sender, char *const *rcpt, int n)
{
	char refused[sizeof reply] = "", size[40];
	int good = 0;

	snprintf(size, sizeof size, "> SIZE=%ld", content(f, false));
	if (get() != 2 || ask("EHLO ", "client.example", "") != 2 || ask("MAIL FROM:<", sender, size) != 2)
		return 1;
	for (int i = 0; i < n; i++) {
		if (ask("RCPT TO:<", rcpt[i], ">") == 2)
			good++;
		else
			memcpy(refused, reply, sizeof reply);
	}
	if (good == 0)
		return 1;
	if (ask("DATA", "", "") != 3)
		return 1;
	content(f, true);
	return ask(".", "", "") != 2;
}

int
main(int argc, char **argv)
{
	const char *source = NULL, *sender = "";
	char *rcpt[RCPTS];
	int ch, port = 0, n = 0;

	while ((ch = getopt(argc, argv, "Pp:b:f:t:")) != -1) {
		if (ch == 'P')
			return free_port();
		else if (ch == 'p')
			port = (int)strtol(optarg, NULL, 10);
		else if (ch == 'b')
			source = optarg;
		else if (ch == 'f')
			sender = optarg;
		else if (ch == 't' && n < RCPTS)
			rcpt[n++] = optarg;
	}
	if (optind != argc - 1 || port == 0 || n == 0) {
		fprintf(stderr, "usage: send -p PORT [-b ADDRESS] [-f SENDER] -t RECIPIENT... FILE\n");
		return 2;
	}
	FILE *f = fopen(argv[optind], "r");
	if (!f)
		return trouble(argv[optind]);
	int fd = open_to(port, source);
	if (fd < 0)
		return trouble("send: connect");
	in = fdopen(fd, "r");
	out = fdopen(dup(fd), "w");
	if (!in || !out)
		return trouble("send");
	int status = deliver(f, sender, rcpt, n);
	printf("%s\n", reply);
	if (reply[0] != '(')
		ask("QUIT", "", "");
	return status;
}
