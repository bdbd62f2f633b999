/* SPDX-License-Identifier: BSD-2-Clause */
/* fake_hub.h - a mail hub on loopback, in the loop of the test: says what a script tells it, records what it gets. */
#ifndef TESTS_FAKE_HUB_H
#define TESTS_FAKE_HUB_H

#include "base/mem.h"
#include "loop/conn.h"

#include <arpa/inet.h>
#include <limits.h>
#include <netinet/in.h>
#include <strings.h>
#include <sys/un.h>
#include <unistd.h>

struct hub_script {
	const char *banner, *ehlo, *helo, *mail, *rcpt, *data, *dot, *rset, *quit, *xforward, *auth, *starttls; /* NULL: the usual */
	const char *bad_rcpt;    /* recipients that begin with "bad" get this; NULL: as rcpt */
	const char *close_on;    /* closes without a reply at this verb; "." is the end of content */
	const char *mute_on;     /* never answers this verb */
	long cut;                /* closes after this many octets of replies; < 0: never */
	long cut_input;          /* closes after this many octets of input; < 0: never */
	unsigned rcpt_replies;   /* LMTP: replies at the end of content, one a recipient */
	bool lmtp;
	const char *second_dot;  /* LMTP: the reply for the second recipient */
};

struct hub {
	int fd;
	uint16_t port;
	struct watch watch;
	struct hub_script script;
	struct list conns;
	unsigned connects, messages, quits, rsets, bdats, datas;
	struct buf log;          /* commands, one a line */
	struct buf content;      /* of the last message, as on the wire but unstuffed */
	struct buf raw;          /* everything received */
	bool torn;               /* a connection ended inside content */
	unsigned behind_421;     /* commands and pieces of content that came after 421 was said, in later reads */
};

struct hub_conn {
	struct hub *hub;
	struct conn conn;
	struct list link;
	bool in_data, done;
	size_t bdat_left;
	bool bdat_last;
	unsigned rcpts;
	bool has_mail, said_421;
	long said;
	struct grave grave;
};

static void
hub_dig(struct grave *g)
{
	struct hub_conn *h = container_of(g, struct hub_conn, grave);
	mem_free(&h);
}

static void
hub_drop(struct hub_conn *h)
{
	if (h->done)
		return;
	h->done = true;
	if (h->in_data || h->bdat_left > 0)
		h->hub->torn = true;
	conn_close(&h->conn);
	list_remove(&h->link);
	loop_bury(&h->grave, hub_dig);
}

static void
hub_say(struct hub_conn *h, const char *text)
{
	struct span s = span_str(text);
	long cut = h->hub->script.cut;
	if (h->done)
		return;
	h->said_421 = h->said_421 || span_starts(s, SPAN("421"));
	if (cut >= 0 && h->said + (long)s.n > cut) {
		conn_put(&h->conn, span_head(s, (size_t)(cut - h->said)));
		hub_drop(h);
		return;
	}
	h->said += (long)s.n;
	conn_put(&h->conn, s);
}

static const char *
hub_or(const char *scripted, const char *usual)
{
	return scripted != NULL ? scripted : usual;
}

/* True: the script does something else than answer. */
static bool
hub_trick(struct hub_conn *h, const char *verb)
{
	const struct hub_script *s = &h->hub->script;
	if (s->close_on != NULL && strcasecmp(s->close_on, verb) == 0) {
		h->in_data = false;
		hub_drop(h);
		return true;
	}
	return s->mute_on != NULL && strcasecmp(s->mute_on, verb) == 0;
}

static void
hub_end_content(struct hub_conn *h)
{
	const struct hub_script *s = &h->hub->script;
	h->hub->messages++;
	h->has_mail = false;
	if (hub_trick(h, "."))
		return;
	if (!s->lmtp) {
		hub_say(h, h->rcpts > 0 ? hub_or(s->dot, "250 2.0.0 Ok: queued as TEST\r\n") : "554 5.5.1 no valid recipients\r\n");
		return;
	}
	for (unsigned i = 0; i < h->rcpts; i++)
		hub_say(h, i == 1 && s->second_dot != NULL ? s->second_dot : hub_or(s->dot, "250 2.0.0 Ok: saved\r\n"));
}

static void
hub_command(struct hub_conn *h, struct span line)
{
	struct hub *hub = h->hub;
	const struct hub_script *s = &hub->script;
	struct span rest = line, verb;
	char name[16] = "";
	buf_put(&hub->log, line);
	buf_putc(&hub->log, '\n');
	if (span_word(&rest, " \t", &verb) && verb.n < sizeof name)
		memcpy(name, verb.p, verb.n);
	if (strcmp(name, "BDAT") == 0) {
		struct span n;
		uint64_t size = 0;
		(void)span_word(&rest, " ", &n);
		if (!span_u64(n, SIZE_MAX, &size))
			size = 0;
		h->bdat_left = (size_t)size;
		h->bdat_last = span_find(rest, SPAN("LAST")) != SIZE_MAX;
		hub->bdats++;
		buf_reset(&hub->content);
		if (size == 0)
			hub_end_content(h);
		return;
	}
	if (hub_trick(h, name))
		return;
	if (strcmp(name, "EHLO") == 0 || strcmp(name, "LHLO") == 0) {
		hub_say(h, hub_or(s->ehlo, "250-hub.test\r\n250-PIPELINING\r\n250-SIZE 1000000\r\n250-8BITMIME\r\n250-DSN\r\n250 CHUNKING\r\n"));
	} else if (strcmp(name, "HELO") == 0) {
		hub_say(h, hub_or(s->helo, "250 hub.test\r\n"));
	} else if (strcmp(name, "XFORWARD") == 0) {
		hub_say(h, hub_or(s->xforward, "250 2.0.0 Ok\r\n"));
	} else if (strcmp(name, "MAIL") == 0) {
		const char *r = h->has_mail ? "503 5.5.1 nested MAIL\r\n" : hub_or(s->mail, "250 2.1.0 Ok\r\n");
		h->has_mail = h->has_mail || r[0] == '2';
		h->rcpts = 0;
		hub_say(h, r);
	} else if (strcmp(name, "RCPT") == 0) {
		bool is_bad = span_find(line, SPAN("<bad")) != SIZE_MAX && s->bad_rcpt != NULL;
		const char *r = !h->has_mail ? "503 5.5.1 need MAIL\r\n" : is_bad ? s->bad_rcpt : hub_or(s->rcpt, "250 2.1.5 Ok\r\n");
		h->rcpts += r[0] == '2';
		hub_say(h, r);
	} else if (strcmp(name, "DATA") == 0) {
		const char *r = h->rcpts == 0 && s->data == NULL ? "554 5.5.1 no valid recipients\r\n" : hub_or(s->data, "354 go on\r\n");
		h->in_data = r[0] == '3';
		hub->datas++;
		buf_reset(&hub->content);
		hub_say(h, r);
	} else if (strcmp(name, "RSET") == 0) {
		hub->rsets++;
		h->has_mail = false;
		hub_say(h, hub_or(s->rset, "250 2.0.0 Ok\r\n"));
	} else if (strcmp(name, "STARTTLS") == 0) {
		hub_say(h, hub_or(s->starttls, "454 4.7.0 not now\r\n"));
	} else if (strcmp(name, "AUTH") == 0) {
		hub_say(h, hub_or(s->auth, "235 2.7.0 in\r\n"));
	} else if (strcmp(name, "QUIT") == 0) {
		hub->quits++;
		hub_say(h, hub_or(s->quit, "221 2.0.0 Bye\r\n"));
		hub_drop(h);
	} else {
		hub_say(h, "500 5.5.2 what?\r\n");
	}
}

static void
hub_data_line(struct hub_conn *h, struct span line)
{
	if (span_eq_str(line, ".\r\n")) {
		h->in_data = false;
		hub_end_content(h);
		return;
	}
	if (line.p[0] == '.')
		line = span_from(line, 1);
	buf_put(&h->hub->content, line);
}

static void
hub_input(struct conn *conn)
{
	struct hub_conn *h = container_of(conn, struct hub_conn, conn);
	struct hub *hub = h->hub;
	long cut = hub->script.cut_input;
	size_t before = buf_len(&hub->raw);
	(void)before;
	hub->behind_421 += h->said_421;
	while (!h->done && conn_input(conn).n > 0) {
		struct span in = conn_input(conn);
		if (h->bdat_left > 0) {
			size_t n = in.n < h->bdat_left ? in.n : h->bdat_left;
			buf_put(&hub->content, span_head(in, n));
			buf_put(&hub->raw, span_head(in, n));
			conn_consume(conn, n);
			h->bdat_left -= n;
			if (cut >= 0 && (long)buf_len(&hub->raw) >= cut) {
				hub_drop(h);
				return;
			}
			if (h->bdat_left == 0)
				hub_end_content(h);
			continue;
		}
		size_t lf = span_chr(in, '\n');
		if (lf == SIZE_MAX)
			return;
		struct span line = span_head(in, lf + 1);
		buf_put(&hub->raw, line);
		if (cut >= 0 && (long)buf_len(&hub->raw) >= cut) {
			hub_drop(h);
			return;
		}
		if (h->in_data)
			hub_data_line(h, line);
		else
			hub_command(h, span_rtrim(line));
		if (!h->done)
			conn_consume(conn, lf + 1);
	}
}

static void
hub_ended(struct conn *conn, enum conn_end why, int err)
{
	(void)why, (void)err;
	hub_drop(container_of(conn, struct hub_conn, conn));
}

static const struct conn_ops hub_ops = { .input = hub_input, .ended = hub_ended };

static void
hub_accept(struct watch *w, short what)
{
	struct hub *hub = container_of(w, struct hub, watch);
	(void)what;
	int fd = accept4(hub->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0)
		return;
	struct hub_conn *h = mem_zalloc(sizeof *h);
	h->hub = hub;
	list_init(&h->link);
	list_append(&hub->conns, &h->link);
	conn_init(&h->conn, fd, &hub_ops, 16 * 1024 * 1024, 16 * 1024 * 1024);
	hub->connects++;
	if (!hub_trick(h, "connect"))
		hub_say(h, hub_or(hub->script.banner, "220 hub.test ESMTP\r\n"));
}

static void
hub_start_fd(struct hub *hub, int fd)
{
	struct hub_script none = { .cut = -1, .cut_input = -1 };
	*hub = (struct hub){ .fd = fd, .script = none };
	list_init(&hub->conns);
	buf_init(&hub->log, 1024 * 1024);
	buf_init(&hub->content, 64 * 1024 * 1024);
	buf_init(&hub->raw, 256 * 1024 * 1024);
	BUG_ON(fd < 0 || listen(fd, 100) != 0);
	watch_init(&hub->watch, fd, hub_accept);
	watch_want(&hub->watch, EV_READ);
}

static void
hub_start(struct hub *hub)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof a;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	BUG_ON(bind(fd, (struct sockaddr *)&a, sizeof a) != 0);
	BUG_ON(getsockname(fd, (struct sockaddr *)&a, &len) != 0);
	hub_start_fd(hub, fd);
	hub->port = ntohs(a.sin_port);
}

static void
hub_reset(struct hub *hub)
{
	struct hub_script none = { .cut = -1, .cut_input = -1 };
	list_each(l, &hub->conns)
		hub_drop(list_entry(l, struct hub_conn, link));
	hub->script = none;
	hub->connects = hub->messages = hub->quits = hub->rsets = hub->bdats = hub->datas = 0;
	hub->torn = false;
	hub->behind_421 = 0;
	buf_reset(&hub->log);
	buf_reset(&hub->content);
	buf_reset(&hub->raw);
}

static UNUSED void
hub_stop(struct hub *hub)
{
	hub_reset(hub);
	watch_clear(&hub->watch);
	close(hub->fd);
	buf_fini(&hub->log);
	buf_fini(&hub->content);
	buf_fini(&hub->raw);
}

#endif
