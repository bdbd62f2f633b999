/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hub_rule.h - the hub's rules (their grammar stands in hub.c), growing text and JSON strings
 *
 * For hub.c alone: definitions, not declarations, because every .c file here is a program of its own.
 */
#ifndef TESTS_HUB_RULE_H
#define TESTS_HUB_RULE_H

#include <stdarg.h>
#include <strings.h>
#include <time.h>

#include "base/base.h"
#include "base/mem.h"

enum { RULES = 64 };

enum stage { ST_CONNECT, ST_HELO, ST_MAIL, ST_RCPT, ST_DATA, ST_BDAT, ST_CONTENT, ST_DOT, ST_RSET, ST_QUIT, ST_OTHER, ST_ANY };
static const char *const stage_names[] = { "connect", "helo", "mail", "rcpt", "data", "bdat", "content", "dot", "rset",
	"quit", "other", "any" };
enum act { A_REPLY, A_LAST, A_RAW, A_CLOSE, A_RST, A_SILENT, A_DELAY, A_DRIP, A_BIG, A_ENDLESS };
static const char *const act_names[] = { "reply", "last", "raw", "close", "rst", "silent", "delay", "drip", "big", "endless" };

struct rule {
	enum stage stage;
	enum act act;
	char match[200];         /* empty: everything */
	int listener;            /* -1: each */
	long skip, times;        /* times 0: for ever */
	uint64_t until;          /* ms; 0: for ever */
	long number;             /* argument of delay, drip, big; bytes for content */
	char *text;              /* argument of reply, last, raw; escapes undone */
	size_t text_len;
	long seen, hits;
};

struct text {
	char *p;
	size_t n, cap;
};

static struct rule rules[RULES];
static size_t nrules;

static uint64_t
now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void
text_add(struct text *t, const void *p, size_t n)
{
	if (t->n + n > t->cap) {
		t->cap = (t->n + n) * 2 + 256;
		t->p = mem_realloc(t->p, t->cap);
	}
	if (n > 0)
		memcpy(t->p + t->n, p, n);
	t->n += n;
}

static void
text_str(struct text *t, const char *s)
{
	text_add(t, s, strlen(s));
}

PRINTF(2, 3) static void
text_fmt(struct text *t, const char *fmt, ...)
{
	char line[4096];
	va_list ap;

	va_start(ap, fmt);
	int n = vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	text_add(t, line, n < (int)sizeof line ? (size_t)n : sizeof line - 1);
}

/* A JSON string; bytes over 127 and control characters as \u00XX. */
static void
text_json(struct text *t, const char *s, size_t n)
{
	text_add(t, "\"", 1);
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)s[i];
		if (c == '"' || c == '\\')
			text_fmt(t, "\\%c", c);
		else if (c < 32 || c > 126)
			text_fmt(t, "\\u%04x", c);
		else
			text_add(t, &c, 1);
	}
	text_add(t, "\"", 1);
}

/* ---- rules ---- */

static int
hex(int c)
{
	return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

static char *
unescape(const char *s, size_t *len)
{
	char *out = mem_alloc(strlen(s) + 1);
	size_t n = 0;

	for (; *s; s++) {
		if (*s != '\\' || !s[1]) {
			out[n++] = *s;
			continue;
		}
		s++;
		if (*s == 'x' && hex(s[1]) >= 0 && hex(s[2]) >= 0) {
			out[n++] = (char)(hex(s[1]) * 16 + hex(s[2]));
			s += 2;
		} else {
			out[n++] = *s == 'r' ? '\r' : *s == 'n' ? '\n' : *s == '0' ? '\0' : *s == 't' ? '\t' : *s;
		}
	}
	*len = n;
	return out;
}

static int
name_find(const char *const *names, size_t n, const char *word)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(names[i], word) == 0)
			return (int)i;
	return -1;
}

static void
rules_clear(void)
{
	for (size_t i = 0; i < nrules; i++)
		mem_free(&rules[i].text);
	nrules = 0;
}

static bool
rule_add(const char *spec)
{
	char word[256];
	struct rule r = { .listener = -1 };
	int used = 0;
	bool first = true;

	if (nrules == RULES)
		return false;
	while (sscanf(spec, " %255s%n", word, &used) == 1) {
		spec += used;
		char *eq = strchr(word, '=');
		if (first) {
			if (eq) {
				*eq = '\0';
				snprintf(r.match, sizeof r.match, "%s", eq + 1);
			}
			int st = name_find(stage_names, NELEMS(stage_names), word);
			if (st < 0)
				return false;
			r.stage = (enum stage)st;
			first = false;
		} else if (word[0] == '@') {
			r.listener = (int)strtol(word + 1, NULL, 10);
		} else if (strncmp(word, "skip=", 5) == 0) {
			r.skip = strtol(word + 5, NULL, 10);
		} else if (strncmp(word, "times=", 6) == 0) {
			r.times = strtol(word + 6, NULL, 10);
		} else if (strncmp(word, "for=", 4) == 0) {
			r.until = now_ms() + strtoull(word + 4, NULL, 10);
		} else {
			int act = name_find(act_names, NELEMS(act_names), word);
			if (act < 0)
				return false;
			r.act = (enum act)act;
			while (*spec == ' ')
				spec++;
			r.text = unescape(spec, &r.text_len);
			long n = strtol(spec, NULL, 10);
			r.number = r.stage == ST_CONTENT ? strtol(r.match, NULL, 10) : n;
			rules[nrules++] = r;
			return true;
		}
	}
	return false;
}

static bool
rule_fits(struct rule *r, int listener, enum stage st, const char *arg)
{
	if (r->stage != ST_ANY && r->stage != st)
		return false;
	if (r->listener >= 0 && r->listener != listener)
		return false;
	if (r->until && now_ms() > r->until)
		return false;
	if (r->match[0] && st != ST_CONTENT && !strcasestr(arg, r->match))
		return false;
	r->seen++;
	if (r->seen <= r->skip || (r->times && r->hits >= r->times))
		return false;
	r->hits++;
	return true;
}

#endif
