/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * load.c - SMTP clients by the thousand: a load generator that times every reply to a final dot
 *
 *	load send [-s sessions] [-m messages] [-l bytes] [-R run] [-r] [-P] [-T | -F] [-f from] [-t to] port
 *	load idle [-s sessions] [-a addresses] [-T | -F] port
 *
 * send: `messages' mails of `bytes' each from at most `sessions' concurrent clients, one session per message or
 * with -r as many messages per session as there are; -P sends MAIL, RCPT and DATA at once. Each message carries
 * "X-Load: run number" for sink.c. Every reply is verified. Prints one line of JSON; exit status 1 if any message
 * was not accepted. Times are CLOCK_MONOTONIC, latencies from the last byte of the message to its reply.
 *
 * -T: STARTTLS first, TLS 1.3, sessions resumed; -F: without resumption. No certificate is looked at.
 *
 * idle: opens `sessions' clients from `addresses' source addresses (127.1.0.0/16), says EHLO, prints one line
 * of JSON when all are answered, holds them until end of file on standard input, prints how many are still open.
 *
 * Connects to 127.0.0.1 only.
 */
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define IDLE_INFLIGHT 200 /* connections being opened at a time in idle mode */

enum step { STEP_CONNECT, STEP_EHLO, STEP_MAIL, STEP_RCPT, STEP_DATA, STEP_DOT, STEP_QUIT, STEP_STARTTLS, STEP_HELD, STEP_CLOSED };

struct client {
	int fd;
	enum step step;       /* what the next reply answers */
	unsigned expect;      /* replies of the current group still to come (pipelining) */
	long number;          /* of the message being sent */
	uint64_t dot_ns;      /* when its last byte was handed to the kernel */
	char head[512];       /* commands, or the message's own headers */
	struct iovec out[2];  /* what is still to be written */
	bool writing;         /* registered for EPOLLOUT */
	char in[4096];        /* unfinished reply line */
	size_t in_len;
	SSL *ssl;
	bool shaking;
};

static struct {
	bool idle, reuse, pipeline, tls, full;
	long sessions, messages, run, addresses;
	size_t size;
	unsigned port;
	const char *from, *to;
} opt = { .sessions = 20, .messages = 1000, .size = 10240, .addresses = 250, .from = "load@example.com",
	.to = "sink@example.org" };

static int ep;
static struct client *clients;
static char *body, *joined;
static size_t body_len;
static uint32_t *latency_us;
static long next_number, accepted, failed, opened, answered, closed;
static char first_error[256];
static SSL_CTX *tls;
static SSL_SESSION *session; /* the newest */
static long resumed, full;

static void client_open(struct client *);

static uint64_t
now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void
die(const char *what)
{
	fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
	exit(2);
}

static void
client_close(struct client *c)
{
	if (c->ssl) {
		if (!c->shaking)
			SSL_shutdown(c->ssl);
		SSL_free(c->ssl);
		c->ssl = NULL;
	}
	close(c->fd);
	c->fd = -1;
	c->step = STEP_CLOSED;
	closed++;
}

/* The session is over; the next message gets a new one. */
static void
client_next(struct client *c)
{
	client_close(c);
	if (!opt.idle && next_number < opt.messages)
		client_open(c);
}

static void
client_fail(struct client *c, const char *why)
{
	if (!first_error[0]) {
		snprintf(first_error, sizeof first_error, "step %d: %s", (int)c->step, why);
		for (char *p = first_error; *p; p++)
			if (*p == '"' || *p == '\\' || (unsigned char)*p < ' ')
				*p = '?';
	}
	if (!opt.idle && c->step != STEP_QUIT)
		failed++;
	client_next(c);
}

/* As write(), with errno; -1 and EAGAIN: later. */
static ssize_t
client_write(struct client *c)
{
	size_t n;

	if (!c->ssl)
		return writev(c->fd, c->out, 2);
	struct iovec v = c->out[0].iov_len > 0 ? c->out[0] : c->out[1];
	if (c->out[0].iov_len > 0 && c->out[1].iov_len > 0) { /* one record, as in the clear it is one segment */
		memcpy(joined, c->out[0].iov_base, c->out[0].iov_len);
		memcpy(joined + c->out[0].iov_len, c->out[1].iov_base, c->out[1].iov_len);
		v = (struct iovec){ joined, c->out[0].iov_len + c->out[1].iov_len };
	}
	ERR_clear_error();
	if (SSL_write_ex(c->ssl, v.iov_base, v.iov_len, &n) == 1)
		return (ssize_t)n;
	int how = SSL_get_error(c->ssl, 0);
	errno = how == SSL_ERROR_WANT_WRITE || how == SSL_ERROR_WANT_READ ? EAGAIN : EPROTO;
	return -1;
}

static ssize_t
client_get(struct client *c, void *to, size_t size)
{
	size_t n;

	if (!c->ssl)
		return read(c->fd, to, size);
	ERR_clear_error();
	if (SSL_read_ex(c->ssl, to, size, &n) == 1)
		return (ssize_t)n;
	int how = SSL_get_error(c->ssl, 0);
	errno = how == SSL_ERROR_WANT_WRITE || how == SSL_ERROR_WANT_READ ? EAGAIN : EPROTO;
	return how == SSL_ERROR_ZERO_RETURN ? 0 : -1;
}

/* Writes what is in c->out. false: the client is gone. */
static bool
client_flush(struct client *c)
{
	while (c->out[0].iov_len + c->out[1].iov_len > 0) {
		ssize_t n = client_write(c);
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0) {
			client_fail(c, strerror(errno));
			return false;
		}
		for (int i = 0; i < 2; i++) {
			size_t k = (size_t)n < c->out[i].iov_len ? (size_t)n : c->out[i].iov_len;
			c->out[i].iov_base = (char *)c->out[i].iov_base + k;
			c->out[i].iov_len -= k;
			n -= (ssize_t)k;
		}
	}
	bool more = c->out[0].iov_len + c->out[1].iov_len > 0;
	if (more != c->writing) {
		struct epoll_event ev = { .events = EPOLLIN | (more ? EPOLLOUT : 0u), .data.ptr = c };
		epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &ev);
		c->writing = more;
	}
	if (!more && c->step == STEP_DOT)
		c->dot_ns = now_ns();
	return true;
}

static bool
client_say(struct client *c, enum step step, unsigned expect, const char *text, bool with_body)
{
	c->step = step;
	c->expect = expect;
	c->out[0] = (struct iovec){ c->head, (size_t)snprintf(c->head, sizeof c->head, "%s", text) };
	c->out[1] = (struct iovec){ body, with_body ? body_len : 0 };
	return client_flush(c);
}

static bool
client_mail(struct client *c)
{
	char text[512];

	if (next_number >= opt.messages)
		return client_say(c, STEP_QUIT, 1, "QUIT\r\n", false);
	c->number = next_number++;
	if (!opt.pipeline) {
		snprintf(text, sizeof text, "MAIL FROM:<%s>\r\n", opt.from);
		return client_say(c, STEP_MAIL, 1, text, false);
	}
	snprintf(text, sizeof text, "MAIL FROM:<%s>\r\nRCPT TO:<%s>\r\nDATA\r\n", opt.from, opt.to);
	return client_say(c, STEP_MAIL, 3, text, false);
}

static bool
client_content(struct client *c)
{
	char text[512];

	snprintf(text, sizeof text,
	    "From: <%s>\r\nTo: <%s>\r\nSubject: load\r\nDate: Thu, 01 Jan 2026 00:00:00 +0000\r\n"
	    "Message-ID: <%ld.%ld@load.example>\r\nX-Load: %ld %ld\r\n\r\n",
	    opt.from, opt.to, opt.run, c->number, opt.run, c->number);
	return client_say(c, STEP_DOT, 1, text, true);
}

/* The handshake, as far as it goes; then EHLO again. */
static bool
client_shake(struct client *c)
{
	ERR_clear_error();
	int r = SSL_do_handshake(c->ssl);
	if (r != 1) {
		int how = SSL_get_error(c->ssl, r);
		if (how == SSL_ERROR_WANT_READ || how == SSL_ERROR_WANT_WRITE)
			return true;
		client_fail(c, "TLS handshake");
		return false;
	}
	c->shaking = false;
	if (SSL_session_reused(c->ssl))
		resumed++;
	else
		full++;
	return client_say(c, STEP_EHLO, 1, "EHLO load.example\r\n", false);
}

/* One whole reply has come. false: the client is gone, or a new one sits in its place. */
static bool
client_reply(struct client *c, const char *line)
{
	static const char want[] = "2222322";
	char text[512];

	if (line[0] != want[c->step > STEP_QUIT ? 0 : c->step] || c->step == STEP_HELD) {
		client_fail(c, line);
		return false;
	}
	if (c->expect > 1) { /* pipelined MAIL, RCPT, DATA */
		c->expect--;
		c->step++;
		return true;
	}
	switch (c->step) {
	case STEP_CONNECT:
		return client_say(c, STEP_EHLO, 1, "EHLO load.example\r\n", false);
	case STEP_EHLO:
		if (opt.tls && !c->ssl)
			return client_say(c, STEP_STARTTLS, 1, "STARTTLS\r\n", false);
		if (!opt.idle)
			return client_mail(c);
		c->step = STEP_HELD;
		answered++;
		return true;
	case STEP_MAIL:
		snprintf(text, sizeof text, "RCPT TO:<%s>\r\n", opt.to);
		return client_say(c, STEP_RCPT, 1, text, false);
	case STEP_RCPT:
		return client_say(c, STEP_DATA, 1, "DATA\r\n", false);
	case STEP_DATA:
		return client_content(c);
	case STEP_DOT:
		latency_us[accepted++] = (uint32_t)((now_ns() - c->dot_ns) / 1000);
		return opt.reuse ? client_mail(c) : client_say(c, STEP_QUIT, 1, "QUIT\r\n", false);
	case STEP_STARTTLS:
		c->ssl = SSL_new(tls);
		SSL_set_fd(c->ssl, c->fd);
		SSL_set_connect_state(c->ssl);
		if (session && !opt.full) { /* a copy: OpenSSL marks what has been used once in TLS 1.3 */
			SSL_SESSION *copy = SSL_SESSION_dup(session);
			SSL_set_session(c->ssl, copy);
			SSL_SESSION_free(copy);
		}
		c->shaking = true;
		return client_shake(c);
	case STEP_QUIT:
	case STEP_HELD:
	case STEP_CLOSED:
		break;
	}
	client_next(c);
	return false;
}

/* What has come, once. false: nothing had, or the client is gone or another one. */
static bool
client_take(struct client *c)
{
	ssize_t n = client_get(c, c->in + c->in_len, sizeof c->in - 1 - c->in_len);

	if (n < 0 && errno == EAGAIN)
		return false;
	if (n <= 0) {
		client_fail(c, n == 0 ? "connection closed" : strerror(errno));
		return false;
	}
	c->in_len += (size_t)n;
	char *line = c->in, *end = c->in + c->in_len, *nl;
	while ((nl = memchr(line, '\n', (size_t)(end - line)))) {
		*nl = '\0';
		bool last = nl - line < 4 || line[3] != '-';
		if (last && !client_reply(c, line))
			return false;
		line = nl + 1;
	}
	c->in_len = (size_t)(end - line);
	memmove(c->in, line, c->in_len);
	if (c->in_len < sizeof c->in - 1)
		return true;
	client_fail(c, "reply line too long");
	return false;
}

static void
client_read(struct client *c)
{
	if (c->shaking && !client_shake(c))
		return;
	if (c->shaking)
		return;
	while (client_take(c) && c->ssl && !c->shaking && SSL_has_pending(c->ssl) == 1)
		; /* read ahead: nothing tells that it is there */
}

static void
client_open(struct client *c)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)opt.port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int one = 1;

	*c = (struct client){ .step = STEP_CONNECT, .expect = 1 };
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		die("socket");
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	if (opt.idle) {
		struct sockaddr_in from = { .sin_family = AF_INET,
			.sin_addr.s_addr = htonl(0x7f010001u + (uint32_t)(opened % opt.addresses)) };
		setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
		if (bind(c->fd, (struct sockaddr *)&from, sizeof from) < 0)
			die("bind");
	}
	opened++;
	if (connect(c->fd, (struct sockaddr *)&to, sizeof to) < 0 && errno != EINPROGRESS)
		die("connect");
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = c };
	if (epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &ev) < 0)
		die("epoll_ctl");
}

/* Waits at most timeout_ms and serves what is ready; false: nothing was. */
static bool
turn(int timeout_ms)
{
	struct epoll_event ev[256];
	int n = epoll_wait(ep, ev, 256, timeout_ms);

	for (int i = 0; i < n; i++) {
		struct client *c = ev[i].data.ptr;
		if (c->fd < 0)
			continue;
		if ((ev[i].events & EPOLLOUT) && !client_flush(c))
			continue;
		if (ev[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP))
			client_read(c);
	}
	return n > 0;
}

static int
by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static int
run_send(void)
{
	uint64_t start = now_ns();

	for (long i = 0; i < opt.sessions && next_number + i < opt.messages; i++)
		client_open(&clients[i]);
	while (accepted + failed < opt.messages || closed < opened)
		if (!turn(60000))
			break; /* a minute of silence: what is missing counts as failed */
	uint64_t end = now_ns();
	struct rusage used;
	getrusage(RUSAGE_SELF, &used);
	double cpu_us = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1e6 + (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
	qsort(latency_us, (size_t)accepted, sizeof *latency_us, by_value);
	long last = accepted ? accepted - 1 : 0;
	printf("{\"messages\":%ld,\"accepted\":%ld,\"sessions\":%ld,\"start_ns\":%llu,\"end_ns\":%llu,\"p50_us\":%u,"
	    "\"p99_us\":%u,\"max_us\":%u,\"resumed\":%ld,\"full\":%ld,\"cpu_us\":%.0f,\"error\":\"%s\"}\n",
	    opt.messages, accepted, opened, (unsigned long long)start, (unsigned long long)end, latency_us[last / 2],
	    latency_us[last * 99 / 100], latency_us[last], resumed, full, cpu_us, first_error);
	return accepted == opt.messages ? 0 : 1;
}

static int
run_idle(void)
{
	char byte;

	while (answered + closed < opt.sessions) {
		while (opened < opt.sessions && opened - answered - closed < IDLE_INFLIGHT)
			client_open(&clients[opened]);
		if (!turn(30000))
			break;
	}
	printf("{\"sessions\":%ld,\"held\":%ld,\"error\":\"%s\"}\n", opt.sessions, answered, first_error);
	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	while (turn(0))
		;
	printf("{\"open\":%ld}\n", opened - closed);
	return answered == opt.sessions && closed == 0 ? 0 : 1;
}

static void
make_body(void)
{
	static const char line[] = "The quick brown fox jumps over the lazy dog, and nobody at the customs house minds.\r\n";

	body = malloc(opt.size + sizeof line + 8);
	while (body_len + sizeof line < opt.size) {
		memcpy(body + body_len, line, sizeof line - 1);
		body_len += sizeof line - 1;
	}
	memcpy(body + body_len, ".\r\n", 3);
	body_len += 3;
	joined = malloc(sizeof clients->head + body_len);
}

static int
on_session(SSL *ssl, SSL_SESSION *s)
{
	(void)ssl;
	SSL_SESSION_free(session);
	session = s;
	return 1;
}

static int
on_verify(X509_STORE_CTX *x, void *arg)
{
	(void)x, (void)arg;
	return 1;
}

/* As cheap as it can be: what is measured is the other end. */
static void
tls_init(void)
{
	tls = SSL_CTX_new(TLS_client_method());
	if (!tls)
		die("SSL_CTX_new");
	SSL_CTX_set_min_proto_version(tls, TLS1_3_VERSION);
	SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_options(tls, SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_CTX_set_read_ahead(tls, 1);
	SSL_CTX_set_quiet_shutdown(tls, 1);
	SSL_CTX_set_cert_verify_callback(tls, on_verify, NULL);
	SSL_CTX_set_session_cache_mode(tls, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(tls, on_session);
}

int
main(int argc, char **argv)
{
	struct rlimit rl;
	int ch;

	if (argc < 2 || (strcmp(argv[1], "send") != 0 && strcmp(argv[1], "idle") != 0))
		goto usage;
	opt.idle = strcmp(argv[1], "idle") == 0;
	argc--, argv++;
	while ((ch = getopt(argc, argv, "s:m:l:R:a:f:t:rPTF")) != -1)
		switch (ch) {
		case 's': opt.sessions = atol(optarg); break;
		case 'm': opt.messages = atol(optarg); break;
		case 'l': opt.size = (size_t)atol(optarg); break;
		case 'R': opt.run = atol(optarg); break;
		case 'a': opt.addresses = atol(optarg); break;
		case 'f': opt.from = optarg; break;
		case 't': opt.to = optarg; break;
		case 'r': opt.reuse = true; break;
		case 'P': opt.pipeline = true; break;
		case 'T': opt.tls = true; break;
		case 'F': opt.tls = opt.full = true; break;
		default: goto usage;
		}
	if (optind != argc - 1 || opt.sessions < 1 || opt.messages < 1 || opt.addresses < 1)
		goto usage;
	opt.port = (unsigned)strtoul(argv[optind], NULL, 10);
	getrlimit(RLIMIT_NOFILE, &rl);
	rl.rlim_cur = rl.rlim_max;
	setrlimit(RLIMIT_NOFILE, &rl);
	ep = epoll_create1(EPOLL_CLOEXEC);
	clients = calloc((size_t)opt.sessions, sizeof *clients);
	latency_us = calloc((size_t)opt.messages, sizeof *latency_us);
	signal(SIGPIPE, SIG_IGN);
	if (opt.tls)
		tls_init();
	make_body();
	if (ep < 0 || !clients || !latency_us)
		die("start");
	return opt.idle ? run_idle() : run_send();
usage:
	fprintf(stderr, "usage: load send [-s sessions] [-m messages] [-l bytes] [-R run] [-rPTF] [-f from] [-t to] port\n"
	    "       load idle [-s sessions] [-a addresses] [-TF] port\n");
	return 2;
}
