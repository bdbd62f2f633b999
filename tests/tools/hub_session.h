/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hub_session.h - listeners of the hub, its sessions, and what the rules make of a step
 *
 * For hub.c alone: definitions, as in hub_rule.h.
 */
#ifndef TESTS_HUB_SESSION_H
#define TESTS_HUB_SESSION_H

#include <sys/epoll.h>
#include <sys/socket.h>

#include <unistd.h>

#include "base/list.h"
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

#endif
