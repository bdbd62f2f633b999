/* SPDX-License-Identifier: BSD-2-Clause */
#include "msg/headers.h"

static const struct {
	const char *name;
	unsigned char len, flags;
} names[HEADER_ID_COUNT] = {
#define HEADER_NAME(id, name, flags, doc) [HEADER_##id] = { name, sizeof(name) - 1, flags },
#include "msg/header_names.def"
#undef HEADER_NAME
};

_Static_assert(HEADER_ID_COUNT <= 64, "headers_present() has a bit for each");

enum header_id
header_id(struct span name)
{
	if (name.n == 0)
		return HEADER_OTHER;
	unsigned first = name.p[0] | 0x20;
	for (enum header_id id = 1; id < HEADER_ID_COUNT; id++)
		if (names[id].len == name.n && ((unsigned char)names[id].name[0] | 0x20u) == first && span_caseeq_str(name, names[id].name))
			return id;
	return HEADER_OTHER;
}

unsigned
header_flags(enum header_id id)
{
	return names[id].flags;
}

struct span
header_value(const struct header *r)
{
	return span_of(r->text.p + r->value_at, r->text.n - r->value_at - 2);
}

/* The lines of one header at the front of s: up to the first that does not continue it. 0: the last has no end. */
static size_t
extent(struct span s)
{
	size_t n = 0;
	do {
		size_t lf = span_chr(span_from(s, n), '\n');
		if (lf == SIZE_MAX)
			return 0;
		n += lf + 1;
	} while (n < s.n && (s.p[n] == ' ' || s.p[n] == '\t'));
	return n >= 2 && s.p[n - 2] == '\r' ? n : 0;
}

/* name, blanks before the colon are allowed. */
static bool
split(struct span text, struct header *out)
{
	size_t colon = span_chr(text, ':');
	if (colon == SIZE_MAX || colon == 0)
		return false;
	size_t len = colon;
	while (len > 0 && (text.p[len - 1] == ' ' || text.p[len - 1] == '\t'))
		len--;
	if (len == 0)
		return false;
	for (size_t i = 0; i < len; i++)
		if (text.p[i] <= ' ' || text.p[i] >= 0x7f)
			return false;
	*out = (struct header){ .text = text, .name_len = len, .value_at = colon + 1, .id = header_id(span_head(text, len)) };
	return true;
}

static struct header *
room(struct headers *h)
{
	if (h->n == h->cap) {
		size_t cap = h->cap > 0 ? h->cap * 2 : 32;
		struct header *more = arena_alloc(h->arena, cap * sizeof *more);
		if (more == NULL)
			return NULL;
		if (h->n > 0)
			memcpy(more, h->row, h->n * sizeof *more);
		h->row = more;
		h->cap = cap;
	}
	return &h->row[h->n];
}

enum rc
headers_parse(struct headers *h, struct span block, struct arena *a)
{
	*h = (struct headers){ .arena = a };
	while (block.n > 0) {
		size_t n = extent(block);
		struct header *r = room(h);
		if (n == 0 || r == NULL || !split(span_head(block, n), r))
			return RC_PERM;
		h->n++;
		block = span_from(block, n);
	}
	return RC_OK;
}

size_t
headers_find(const struct headers *h, struct span name, size_t nth)
{
	for (size_t i = 0; i < h->n; i++)
		if (!h->row[i].is_gone && span_caseeq(header_name(&h->row[i]), name) && --nth == 0)
			return i;
	return SIZE_MAX;
}

void
headers_remove(struct headers *h, size_t at)
{
	BUG_ON(at >= h->n);
	h->row[at].is_gone = true;
	h->is_changed = true;
}

enum rc
headers_replace(struct headers *h, size_t at, struct span text)
{
	struct header r;
	BUG_ON(at >= h->n);
	if (text.n == 0 || extent(text) != text.n || !split(text, &r))
		return RC_PERM;
	h->row[at] = r;
	h->is_changed = true;
	return RC_OK;
}

enum rc
headers_insert(struct headers *h, size_t at, struct span text)
{
	struct header r;
	if (text.n == 0 || extent(text) != text.n || !split(text, &r) || room(h) == NULL)
		return RC_PERM;
	if (at > h->n)
		at = h->n;
	memmove(&h->row[at + 1], &h->row[at], (h->n - at) * sizeof h->row[0]);
	h->row[at] = r;
	h->n++;
	h->is_changed = true;
	return RC_OK;
}

uint64_t
headers_present(const struct headers *h)
{
	uint64_t present = 0;
	for (size_t i = 0; i < h->n; i++)
		if (!h->row[i].is_gone)
			present |= UINT64_C(1) << h->row[i].id;
	return present;
}

void
headers_write(const struct headers *h, struct buf *b)
{
	for (size_t i = 0; i < h->n; i++)
		if (!h->row[i].is_gone)
			buf_put(b, h->row[i].text);
}
