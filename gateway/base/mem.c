/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

static void *(*volatile memset_keep)(void *, int, size_t) = memset;

static void *
checked(void *p)
{
	if (p == NULL)
		BUG("out of memory");
	return p;
}

void *
mem_alloc(size_t size)
{
	return checked(malloc(size > 0 ? size : 1));
}

void *
mem_zalloc(size_t size)
{
	return checked(calloc(1, size > 0 ? size : 1));
}

void *
mem_calloc(size_t count, size_t size)
{
	return checked(calloc(count > 0 ? count : 1, size > 0 ? size : 1));
}

void *
mem_realloc(void *p, size_t size)
{
	return checked(realloc(p, size > 0 ? size : 1));
}

void *
mem_reallocarray(void *p, size_t count, size_t size)
{
	return checked(reallocarray(p, count > 0 ? count : 1, size > 0 ? size : 1));
}

void *
mem_dup(const void *p, size_t size)
{
	void *copy = mem_alloc(size);
	if (size > 0)
		memcpy(copy, p, size);
	return copy;
}

char *
mem_strdup(const char *s)
{
	return mem_dup(s, strlen(s) + 1);
}

void
mem_free(void *pp)
{
	void *p;
	memcpy(&p, pp, sizeof p); /* any object pointer has this representation on our platforms */
	free(p);
	p = NULL;
	memcpy(pp, &p, sizeof p);
}

void
mem_poison(void *p, size_t size)
{
	memset_keep(p, 0xdd, size);
}

void
mem_wipe(void *p, size_t size)
{
	memset_keep(p, 0, size);
}
