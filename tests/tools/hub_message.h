/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hub_message.h - messages the hub is given: what is wrong with them, and what is recorded
 *
 * For hub.c alone: definitions, as in hub_rule.h.
 */
#ifndef TESTS_HUB_MESSAGE_H
#define TESTS_HUB_MESSAGE_H

#include <fcntl.h>
#include <openssl/evp.h>

#include "hub_session.h"

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

#endif
