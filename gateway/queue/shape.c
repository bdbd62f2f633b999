/* SPDX-License-Identifier: BSD-2-Clause */
#include "queue/shape.h"

#include "base/clock.h"
#include "base/mem.h"

enum { DOMAINS_MAX = 100000, NAME_MAX_SHOWN = 255 };

struct row {
	struct hnode by_name;
	uint64_t total, bucket[SHAPE_BUCKETS_MAX];
	size_t name_len;
	unsigned char name[];
};

static bool
number(struct span *rest, uint64_t max, unsigned *out)
{
	struct span word;
	uint64_t v;
	if (!span_word(rest, " \t", &word) || !span_u64(word, max, &v) || v == 0)
		return false;
	*out = (unsigned)v;
	return true;
}

enum rc
shape_init(struct shape *s, struct span options, struct err *e)
{
	*s = (struct shape){ .buckets = 10, .first_minutes = 5, .width = 80, .top = 20 };
	struct span word;
	while (span_word(&options, " \t", &word)) {
		bool ok = true;
		if (span_eq_str(word, "-s"))
			s->senders = true;
		else if (span_eq_str(word, "-l"))
			s->linear = true;
		else if (span_eq_str(word, "-b"))
			ok = number(&options, SHAPE_BUCKETS_MAX, &s->buckets) && s->buckets >= 2;
		else if (span_eq_str(word, "-t"))
			ok = number(&options, 1000000, &s->first_minutes);
		else if (span_eq_str(word, "-w"))
			ok = number(&options, 1000, &s->width);
		else if (span_eq_str(word, "-n") || span_eq_str(word, "-N"))
			ok = number(&options, 1000000, &s->top);
		else if (message_queue_of(word) != MQ_NONE)
			s->queues |= 1u << message_queue_of(word);
		else
			ok = false;
		if (!ok)
			return err_set(e, RC_PERM, "bad option or queue name");
	}
	if (s->queues == 0)
		s->queues = 1u << MQ_INCOMING | 1u << MQ_ACTIVE;
	return RC_OK;
}

void
shape_fini(struct shape *s)
{
	for (struct hnode *n; (n = htab_walk(&s->domains, NULL)) != NULL;) {
		htab_remove(&s->domains, n);
		struct row *r = container_of(n, struct row, by_name);
		mem_free(&r);
	}
	htab_fini(&s->domains);
}

static struct row *
row_of(struct shape *s, struct span name)
{
	name = span_head(name, NAME_MAX_SHOWN);
	uint64_t hash = span_casehash(name);
	for (struct hnode *n = htab_first(&s->domains, hash); n != NULL; n = htab_next(n)) {
		struct row *r = container_of(n, struct row, by_name);
		if (span_caseeq(span_of(r->name, r->name_len), name))
			return r;
	}
	if (s->count >= DOMAINS_MAX)
		return NULL;
	s->count++;
	struct row *r = mem_zalloc(sizeof *r + name.n);
	memcpy(r->name, name.p, name.n);
	r->name_len = name.n;
	htab_insert(&s->domains, &r->by_name, hash);
	return r;
}

/* Upper end of a bucket in minutes; the last one has none. */
static uint64_t
limit_of(const struct shape *s, unsigned i)
{
	return s->linear ? (uint64_t)s->first_minutes * (i + 1) : (uint64_t)s->first_minutes << i;
}

static unsigned
bucket_of(const struct shape *s, uint64_t age_usec)
{
	uint64_t minutes = age_usec / (60 * USEC_PER_SEC);
	unsigned i = 0;
	while (i + 1 < s->buckets && minutes >= limit_of(s, i))
		i++;
	return i;
}

static void
count(struct shape *s, struct span addr, unsigned bucket)
{
	size_t at = span_rchr(addr, '@');
	struct span name = addr.n == 0 ? SPAN("MAILER-DAEMON") : at != SIZE_MAX ? span_from(addr, at + 1) : SPAN("localhost");
	struct row *r = row_of(s, name);
	s->total[bucket]++;
	s->total[SHAPE_BUCKETS_MAX]++;
	if (r == NULL)
		return;
	r->total++;
	r->bucket[bucket]++;
}

void
shape_add(struct shape *s, const struct message *m, uint64_t now)
{
	if ((s->queues & 1u << m->queue) == 0)
		return;
	struct arena arena;
	struct envelope env;
	arena_init(&arena, 64 * 1024 * 1024);
	message_decode(m, &arena, &env);
	unsigned bucket = bucket_of(s, now > m->arrival ? now - m->arrival : 0);
	if (s->senders) {
		count(s, env.sender, bucket);
	} else {
		const uint8_t *status = (const uint8_t *)(m->why + m->nrcpt);
		for (uint32_t i = 0; i < m->nrcpt; i++)
			if (status[i] != RS_FINISHED)
				count(s, env.rcpt[i].addr, bucket);
	}
	arena_fini(&arena);
}

static int
by_total(const void *a, const void *b)
{
	const struct row *x = *(struct row *const *)a, *y = *(struct row *const *)b;
	if (x->total != y->total)
		return x->total < y->total ? 1 : -1;
	if (x->name_len != y->name_len)
		return x->name_len < y->name_len ? -1 : 1;
	return span_cmp(span_of(x->name, x->name_len), span_of(y->name, y->name_len));
}

static size_t
digits(uint64_t v)
{
	size_t n = 1;
	for (; v >= 10; v /= 10)
		n++;
	return n;
}

struct columns {
	char title[SHAPE_BUCKETS_MAX + 1][24];
	int width[SHAPE_BUCKETS_MAX + 1];
	unsigned n;
	size_t name;                     /* what is left for the domain */
};

static void
set_columns(const struct shape *s, struct columns *c)
{
	size_t used = 0;
	c->n = s->buckets + 1;
	snprintf(c->title[0], sizeof c->title[0], "T");
	for (unsigned i = 1; i + 1 < c->n; i++)
		snprintf(c->title[i], sizeof c->title[i], "%llu", (unsigned long long)limit_of(s, i - 1));
	snprintf(c->title[c->n - 1], sizeof c->title[0], "%llu+", (unsigned long long)limit_of(s, s->buckets - 2));
	for (unsigned i = 0; i < c->n; i++) {
		size_t w = digits(s->total[i == 0 ? SHAPE_BUCKETS_MAX : i - 1]);
		if (w < strlen(c->title[i]))
			w = strlen(c->title[i]);
		c->width[i] = w + 1 < 3 ? 3 : (int)(w + 1);
		used += (size_t)c->width[i];
	}
	c->name = s->width > used + 8 ? s->width - used : 8;
}

static void
write_row(struct buf *out, const struct columns *c, struct span name, uint64_t total, const uint64_t *bucket)
{
	struct buf text;
	buf_init(&text, NAME_MAX_SHOWN + 1);
	if (name.n > c->name) { /* cut from the left */
		buf_putc(&text, '+');
		name = span_from(name, name.n - c->name + 1);
	}
	buf_put_safe(&text, name, NAME_MAX_SHOWN, true);
	buf_printf(out, "%*s%s", c->name > buf_len(&text) ? (int)(c->name - buf_len(&text)) : 0, "", buf_cstr(&text));
	buf_printf(out, "%*llu", c->width[0], (unsigned long long)total);
	for (unsigned i = 1; i < c->n; i++)
		buf_printf(out, "%*llu", c->width[i], (unsigned long long)bucket[i - 1]);
	buf_putc(out, '\n');
	buf_fini(&text);
}

void
shape_write(const struct shape *s, struct buf *out)
{
	struct columns c;
	set_columns(s, &c);
	buf_printf(out, "%*s", (int)c.name, "");
	for (unsigned i = 0; i < c.n; i++)
		buf_printf(out, "%*s", c.width[i], c.title[i]);
	buf_putc(out, '\n');
	write_row(out, &c, SPAN("TOTAL"), s->total[SHAPE_BUCKETS_MAX], s->total);
	struct row **rows = mem_calloc(s->count + 1, sizeof *rows);
	size_t n = 0;
	for (struct hnode *h = htab_walk(&s->domains, NULL); h != NULL; h = htab_walk(&s->domains, h))
		rows[n++] = container_of(h, struct row, by_name);
	qsort(rows, n, sizeof *rows, by_total);
	for (size_t i = 0; i < n && i < s->top; i++)
		write_row(out, &c, span_of(rows[i]->name, rows[i]->name_len), rows[i]->total, rows[i]->bucket);
	mem_free(&rows);
}
