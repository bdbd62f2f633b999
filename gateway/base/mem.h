/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * mem.h - heap memory. Running out of memory ends the process (the master restarts it), because
 * every size that depends on input has passed a limit before it gets here.
 */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include "base/base.h"

/* All return memory that is never NULL; size 0 gives a unique pointer. */
void *mem_alloc(size_t size) MUST_CHECK;                 /* uninitialised */
void *mem_zalloc(size_t size) MUST_CHECK;                /* zeroed */
void *mem_calloc(size_t count, size_t size) MUST_CHECK;  /* zeroed; overflow of the product aborts */
void *mem_realloc(void *p, size_t size) MUST_CHECK;
void *mem_reallocarray(void *p, size_t count, size_t size) MUST_CHECK;
void *mem_dup(const void *p, size_t size) MUST_CHECK;
char *mem_strdup(const char *s) MUST_CHECK;

/* Frees *pp and sets it to NULL; NULL inside is fine. pp points to a pointer of any type. */
void mem_free(void *pp);

/* Overwrites with 0xdd so that a use after free is seen; the compiler cannot drop it. */
void mem_poison(void *p, size_t size);
/* Overwrites with zeros (secrets); the compiler cannot drop it. */
void mem_wipe(void *p, size_t size);

#endif
