/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * arena.h - memory that goes as a whole: everything about one message, or one connection.
 *
 * Blocks grow from small; nothing is freed singly. The limit counts bytes handed out: past it
 * arena_alloc gives NULL and over stays set, so input cannot make a session grow without bound.
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include "base/span.h"

struct arena_block;

struct arena {
	struct arena_block *blocks;
	unsigned char *p;
	size_t left;   /* in the newest block */
	size_t used;   /* handed out */
	size_t max;
	bool over;
};

void arena_init(struct arena *a, size_t max);
void arena_fini(struct arena *a);                          /* poisons and frees all; usable again */
void *arena_alloc(struct arena *a, size_t n) MUST_CHECK;   /* 16-byte aligned, uninitialised; NULL past the limit */
void *arena_zalloc(struct arena *a, size_t n) MUST_CHECK;
/* Copies; the empty span past the limit (check a->over where that matters). */
struct span arena_span(struct arena *a, struct span s);
/* The one bridge to C strings: NULL past the limit or when s holds a NUL. */
const char *arena_cstr(struct arena *a, struct span s) MUST_CHECK;

#endif
