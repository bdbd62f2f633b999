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
#include <openssl/evp.h>
#include <signal.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "base/base.h"
#include "base/list.h"
#include "base/mem.h"
#include "hub_rule.h"

enum {
	LISTENERS = 16,
	RCPTS = 2000,
	CONTENT_MAX = 256 << 20,
};

struct listener {
	int fd, port, index;
	bool lmtp, noesmtp, nopipe, nochunk, no8bit, nosize, nodsn, noutf8, noenh;
	long size;
	char name[80];
};

struct sess {
	struct list all;
	int fd;
	struct listener *at;
	struct text in, out, msg;  /* msg: content from BDAT */
	size_t scanned;          /* of `in', known not to hold the end of the content */
	bool esmtp, data, last_chunk, closing, silent, endless, dead, has_mail;
	bool content_acted;
	size_t chunk;
	char *helo, *mail;
	char **rcpt;
	size_t nrcpt;
	uint64_t held;           /* ms: nothing happens before */
	const struct rule *resume; /* a delay ends: rules behind this one */
	long drip;               /* ms per byte */
	uint32_t armed;
	long number, messages;
};

static struct listener listeners[LISTENERS];
static size_t nlisteners;
static struct list sessions;
static int ep, json_fd = -1;
static const char *dir;
static bool quiet;
static struct {
	long sessions, messages, refused, steps, violations, long_lines, held;
	unsigned long long bytes;
} tally;
static char first_violation[160];
static struct { long want; uint64_t until; } waiting;

/* ---- sessions ---- */

static void
sess_arm(struct sess *s)
{
	uint32_t want = (s->held ? 0 : EPOLLIN) | (s->out.n && !s->held ? EPOLLOUT : 0);

	if (want == s->armed)
		return;
	struct epoll_event ev = { .events = want, .data.ptr = s };
	epoll_ctl(ep, EPOLL_CTL_MOD, s->fd, &ev);
	s->armed = want;
}

static void
sess_reset(struct sess *s)
{
	mem_free(&s->mail);
	for (size_t i = 0; i < s->nrcpt; i++)
		mem_free(&s->rcpt[i]);
	s->nrcpt = 0;
	s->msg.n = 0;
	s->has_mail = false;
	s->content_acted = false;
}

/* Only marks; the loop frees it at the end of its turn. */
static void
sess_end(struct sess *s, bool rst)
{
	if (s->dead)
		return;
	struct linger hard = { .l_onoff = 1, .l_linger = 0 };
	if (rst)
		setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
	close(s->fd);
	if (s->held)
		tally.held--;
	s->dead = true;
}

static void
sess_free(struct sess *s)
{
	sess_reset(s);
	list_remove(&s->all);
	mem_free(&s->rcpt);
	mem_free(&s->helo);
	mem_free(&s->in.p);
	mem_free(&s->out.p);
	mem_free(&s->msg.p);
	mem_free(&s);
}

static void
sess_hold(struct sess *s, uint64_t ms)
{
	if (!s->held)
		tally.held++;
	s->held = now_ms() + ms;
}

/* A scripted reply that lets the transaction go on: 3xx to DATA, 2xx to all else. */
static bool
accepts(const struct rule *r, enum stage st)
{
	bool code = r->text_len >= 4 && r->text[1] >= '0' && r->text[1] <= '9' && r->text[2] >= '0' && r->text[2] <= '9';

	return code && r->text[0] == (st == ST_DATA ? '3' : '2');
}

/*
 * What the rules want at this step. 0: nothing, answer normally; 1: answered, as if accepted;
 * -1: answered with a refusal or not at all; 2: wait, then ask again.
 */
static int
sess_step(struct sess *s, enum stage st, const char *arg)
{
	const struct rule *resume = s->resume;

	s->resume = NULL;
	if (!resume)
		tally.steps++;
	for (size_t i = resume ? (size_t)(resume - rules) + 1 : 0; i < nrules; i++) {
		struct rule *r = &rules[i];
		if (!rule_fits(r, s->at->index, st, arg))
			continue;
		switch (r->act) {
		case A_REPLY:
		case A_LAST:
			text_add(&s->out, r->text, r->text_len);
			text_str(&s->out, "\r\n");
			s->closing = s->closing || r->act == A_LAST;
			return accepts(r, st) ? 1 : -1;
		case A_RAW:
			text_add(&s->out, r->text, r->text_len);
			return accepts(r, st) ? 1 : -1;
		case A_CLOSE: /* what was answered before has left a server that dies now */
			if (s->out.n && write(s->fd, s->out.p, s->out.n) < 0)
				s->out.n = 0;
			sess_end(s, false);
			return -1;
		case A_RST:
			sess_end(s, true);
			return -1;
		case A_SILENT:
			s->silent = true;
			return -1;
		case A_DELAY:
			s->resume = r;
			sess_hold(s, (uint64_t)r->number);
			return 2;
		case A_DRIP:
			s->drip = r->number;
			break;
		case A_BIG:
			text_str(&s->out, "250 ");
			for (long n = 0; n < r->number; n++)
				text_add(&s->out, "x", 1);
			text_str(&s->out, "\r\n");
			return -1;
		case A_ENDLESS:
			s->endless = true;
			return -1;
		}
	}
	return 0;
}

/* ---- messages ---- */

static void
look(const struct sess *s, const char *where, const char *p, size_t n)
{
	size_t start = 0;
	const char *what = NULL;

	for (size_t i = 0; i < n; i++) {
		if (p[i] == '\n') {
			if (i == 0 || p[i - 1] != '\r')
				what = "bare LF";
			if (i - start > 999)
				tally.long_lines++;
			start = i + 1;
		} else if (p[i] == '\r' && (i + 1 == n || p[i + 1] != '\n')) {
			what = "bare CR";
		} else if (p[i] == '\0') {
			what = "NUL";
		}
		if (what) {
			if (!tally.violations++)
				snprintf(first_violation, sizeof first_violation, "%s in %s at byte %zu from %s", what, where, i,
				    s->mail ? s->mail : "?");
			what = NULL;
		}
	}
}

static void
write_all(int fd, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t w = write(fd, p, n);
		if (w <= 0)
			return;
		p += w;
		n -= (size_t)w;
	}
}

/* taken: bit map of the recipients it was accepted for. */
static void
record(struct sess *s, const char *p, size_t n, bool bdat, const bool *taken)
{
	static struct text t, body;
	unsigned char sum[32];
	char path[4096];
	bool any = false;

	for (size_t i = 0; i < s->nrcpt; i++)
		any = any || taken[i];
	tally.bytes += n;
	if (any)
		tally.messages++;
	else
		tally.refused++;
	s->messages++;
	if (quiet)
		return;
	body.n = 0;
	if (bdat) {
		text_add(&body, p, n);
	} else {
		for (size_t i = 0, eol = 1; i < n; i++) { /* unstuff */
			if (!(eol && p[i] == '.'))
				text_add(&body, p + i, 1);
			eol = p[i] == '\n';
		}
	}
	look(s, "content", body.p, body.n);
	EVP_Digest(body.p ? body.p : "", body.n, sum, NULL, EVP_sha256(), NULL);
	t.n = 0;
	long number = tally.messages + tally.refused;
	text_fmt(&t, "{\"n\":%ld,\"accepted\":%s,\"ms\":%llu,\"port\":%d,\"session\":%ld,\"nth\":%ld,\"via\":\"%s\",\"proto\":\"%s\",\"bytes\":%zu,\"sha256\":\"",
	    number, any ? "true" : "false", (unsigned long long)now_ms(), s->at->port, s->number, s->messages, bdat ? "bdat" : "data",
	    s->at->lmtp ? "lmtp" : s->esmtp ? "esmtp" : "smtp", body.n);
	for (size_t i = 0; i < 32; i++)
		text_fmt(&t, "%02x", sum[i]);
	text_str(&t, "\",\"helo\":");
	text_json(&t, s->helo ? s->helo : "", s->helo ? strlen(s->helo) : 0);
	text_str(&t, ",\"mail\":");
	text_json(&t, s->mail, strlen(s->mail));
	text_str(&t, ",\"rcpt\":[");
	for (size_t i = 0; i < s->nrcpt; i++) {
		text_str(&t, i ? "," : "");
		text_json(&t, s->rcpt[i], strlen(s->rcpt[i]));
	}
	text_str(&t, "],\"taken\":[");
	for (size_t i = 0; i < s->nrcpt; i++)
		text_fmt(&t, "%s%s", i ? "," : "", taken[i] ? "true" : "false");
	text_str(&t, "]}\n");
	if (dir) {
		snprintf(path, sizeof path, "%s/%ld.eml", dir, number);
		int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		if (fd >= 0) {
			write_all(fd, body.p, body.n);
			close(fd);
		}
	}
	if (json_fd >= 0)
		write_all(json_fd, t.p, t.n);
}

static void
say(struct sess *s, const char *enh, const char *line)
{
	text_fmt(&s->out, "%.4s%s%s\r\n", line, s->at->noenh ? "" : enh, line + 4);
}

/* The content is complete. false: wait, then call again. */
static bool
finish(struct sess *s, const char *p, size_t n, bool bdat)
{
	static bool taken[RCPTS];
	size_t rounds = s->at->lmtp ? s->nrcpt : 1;

	memset(taken, 0, sizeof taken);
	if (n > CONTENT_MAX)
		n = CONTENT_MAX;
	struct text before = { 0 };
	text_add(&before, s->out.p ? s->out.p : "", s->out.n);
	for (size_t i = 0; i < rounds && !s->dead; i++) {
		int r = sess_step(s, ST_DOT, s->at->lmtp ? s->rcpt[i] : s->mail);
		if (r == 2) { /* an LMTP transaction starts over: the rules count it again */
			s->out.n = 0;
			text_add(&s->out, before.p, before.n);
			mem_free(&before.p);
			return false;
		}
		if (r == 0)
			text_fmt(&s->out, "250 %sOk: queued as H%ld\r\n", s->at->noenh ? "" : "2.0.0 ", tally.messages + tally.refused + 1);
		for (size_t k = s->at->lmtp ? i : 0; r >= 0 && k < (s->at->lmtp ? i + 1 : s->nrcpt); k++)
			taken[k] = true;
	}
	mem_free(&before.p);
	record(s, p, n, bdat, taken);
	sess_reset(s);
	return true;
}

/* ---- commands ---- */

static void
greet(struct sess *s, bool esmtp)
{
	const struct listener *l = s->at;

	s->esmtp = esmtp;
	if (!esmtp) {
		text_fmt(&s->out, "250 %s\r\n", l->name);
		return;
	}
	text_fmt(&s->out, "250-%s\r\n", l->name);
	if (!l->nopipe)
		text_str(&s->out, "250-PIPELINING\r\n");
	if (!l->nosize)
		text_fmt(&s->out, "250-SIZE %ld\r\n", l->size);
	if (!l->noenh)
		text_str(&s->out, "250-ENHANCEDSTATUSCODES\r\n");
	if (!l->no8bit)
		text_str(&s->out, "250-8BITMIME\r\n");
	if (!l->nodsn)
		text_str(&s->out, "250-DSN\r\n");
	if (!l->noutf8)
		text_str(&s->out, "250-SMTPUTF8\r\n");
	if (!l->nochunk)
		text_str(&s->out, "250-CHUNKING\r\n");
	text_str(&s->out, "250 HELP\r\n");
}

static void
cmd_helo(struct sess *s, const char *verb, const char *arg)
{
	bool esmtp = strcasecmp(verb, "HELO") != 0;

	if (esmtp && (s->at->noesmtp || (strcasecmp(verb, "LHLO") == 0) != s->at->lmtp)) {
		say(s, "5.5.2 ", "500 command not recognized");
		return;
	}
	sess_reset(s);
	mem_free(&s->helo);
	s->helo = mem_strdup(arg);
	greet(s, esmtp);
}

static void
cmd_mail(struct sess *s, const char *arg, int ruled)
{
	if (s->has_mail && !ruled) {
		say(s, "5.5.1 ", "503 nested MAIL");
		return;
	}
	sess_reset(s);
	s->mail = mem_strdup(arg);
	s->has_mail = true;
	if (!ruled)
		say(s, "2.1.0 ", "250 Ok");
}

static void
cmd_rcpt(struct sess *s, const char *arg, int ruled)
{
	if (!s->has_mail) {
		say(s, "5.5.1 ", "503 need MAIL");
	} else if (s->nrcpt == RCPTS) {
		say(s, "4.5.3 ", "452 too many recipients");
	} else {
		s->rcpt = mem_reallocarray(s->rcpt, s->nrcpt + 1, sizeof *s->rcpt);
		s->rcpt[s->nrcpt++] = mem_strdup(arg);
		if (!ruled)
			say(s, "2.1.5 ", "250 Ok");
	}
}

static void
cmd_data(struct sess *s, int ruled)
{
	if (s->nrcpt == 0 || s->msg.n) {
		say(s, "5.5.1 ", "503 no valid recipients");
		return;
	}
	s->data = true;
	s->scanned = 0;
	if (!ruled)
		text_str(&s->out, "354 End data with <CR><LF>.<CR><LF>\r\n");
}

static void
cmd_bdat(struct sess *s, const char *arg)
{
	char *end;

	s->chunk = strtoul(arg, &end, 10);
	s->last_chunk = strcasestr(end, "LAST") != NULL;
	if (s->last_chunk && s->chunk == 0)
		s->chunk = SIZE_MAX; /* complete at once */
}

/* One command line without its end. false: wait, then the same line again. */
static bool
command(struct sess *s, char *line)
{
	static const struct { const char *verb; enum stage st; } verbs[] = {
		{ "EHLO", ST_HELO }, { "LHLO", ST_HELO }, { "HELO", ST_HELO }, { "MAIL", ST_MAIL }, { "RCPT", ST_RCPT },
		{ "DATA", ST_DATA }, { "BDAT", ST_BDAT }, { "RSET", ST_RSET }, { "QUIT", ST_QUIT },
	};
	enum stage st = ST_OTHER;
	const char *arg = strchr(line, ' ');
	char verb[8] = "";

	for (size_t i = 0; i < NELEMS(verbs); i++)
		if (strncasecmp(line, verbs[i].verb, 4) == 0 && (line[4] == ' ' || line[4] == '\0')) {
			st = verbs[i].st;
			memcpy(verb, verbs[i].verb, 4);
		}
	arg = arg ? arg + 1 : "";
	int ruled = sess_step(s, st, arg);
	if (ruled == 2)
		return false;
	if (ruled < 0 && st != ST_BDAT)
		return true;
	switch (st) {
	case ST_HELO:
		if (!ruled)
			cmd_helo(s, verb, arg);
		break;
	case ST_MAIL:
		cmd_mail(s, arg, ruled);
		break;
	case ST_RCPT:
		cmd_rcpt(s, arg, ruled);
		break;
	case ST_DATA:
		cmd_data(s, ruled);
		break;
	case ST_BDAT:
		cmd_bdat(s, arg);
		break;
	case ST_QUIT:
		if (!ruled)
			say(s, "2.0.0 ", "221 Bye");
		s->closing = true;
		break;
	case ST_RSET:
		sess_reset(s);
		if (!ruled)
			say(s, "2.0.0 ", "250 Ok");
		break;
	case ST_OTHER:
		if (ruled)
			break;
		if (strcasecmp(line, "NOOP") == 0)
			say(s, "2.0.0 ", "250 Ok");
		else
			say(s, "5.5.2 ", "500 command not recognized");
		break;
	case ST_CONNECT:
	case ST_CONTENT:
	case ST_DOT:
	case ST_ANY:
		break;
	}
	return true;
}

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
