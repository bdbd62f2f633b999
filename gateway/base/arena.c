/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/arena.h"

#include "base/mem.h"

enum { FIRST_BLOCK = 480, LARGEST_BLOCK = 16384, ALIGN = 16 };

struct arena_block {
	struct arena_block *next;
	size_t size; /* of the bytes behind this header */
	_Alignas(ALIGN) unsigned char bytes[];
};

void
arena_init(struct arena *a, size_t max)
{
	*a = (struct arena){ .max = max };
}

void
arena_fini(struct arena *a)
{
	while (a->blocks != NULL) {
		struct arena_block *b = a->blocks;
		a->blocks = b->next;
		mem_poison(b->bytes, b->size);
		mem_free(&b);
	}
	arena_init(a, a->max);
}

void *
arena_alloc(struct arena *a, size_t n)
{
	if (a->over || n > a->max - a->used) {
		a->over = true;
		return NULL;
	}
	size_t need = (n + ALIGN - 1) & ~(size_t)(ALIGN - 1);
	if (need > a->left || a->p == NULL) {
		size_t size = a->blocks == NULL ? FIRST_BLOCK : a->blocks->size * 2;
		if (size > LARGEST_BLOCK)
			size = LARGEST_BLOCK;
		if (size < need)
			size = need;
		struct arena_block *b = mem_alloc(sizeof *b + size);
		*b = (struct arena_block){ .next = a->blocks, .size = size };
		a->blocks = b;
		a->p = b->bytes;
		a->left = size;
	}
	void *p = a->p;
	a->p += need;
	a->left -= need;
	a->used += n;
	return p;
}

void *
arena_zalloc(struct arena *a, size_t n)
{
	void *p = arena_alloc(a, n);
	if (p != NULL)
		memset(p, 0, n);
	return p;
}

struct span
arena_span(struct arena *a, struct span s)
{
	unsigned char *p = arena_alloc(a, s.n);
	if (p == NULL)
		return SPAN_EMPTY;
	if (s.n > 0)
		memcpy(p, s.p, s.n);
	return span_of(p, s.n);
}

const char *
arena_cstr(struct arena *a, struct span s)
{
	if (span_chr(s, '\0') != SIZE_MAX)
		return NULL;
	char *p = arena_alloc(a, s.n + 1);
	if (p == NULL)
		return NULL;
	if (s.n > 0)
		memcpy(p, s.p, s.n);
	p[s.n] = '\0';
	return p;
}
