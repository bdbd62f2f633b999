/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * prefilter.h - which of many expressions can match a key at all.
 *
 * Most expressions of an access table hold some text that must be in the key. All those texts are looked for in one
 * pass over the key, by three octets each; only rules whose text is there (or that have none) need to be tried.
 */
#ifndef MAP_PREFILTER_H
#define MAP_PREFILTER_H

#include "map/pattern.h"

struct prefilter;

struct prefilter *prefilter_new(void);
void prefilter_free(struct prefilter **pp);      /* NULL inside is fine */
/* Rules are numbered as they are added. */
void prefilter_add(struct prefilter *p, struct span regex, enum pattern_flavour flavour, unsigned flags);
/* A place without an expression; it may always match. */
void prefilter_add_none(struct prefilter *p);
/* After the last one. */
void prefilter_seal(struct prefilter *p);

/* The key that prefilter_may() is about from now on. Not two at a time. */
void prefilter_look(struct prefilter *p, struct span key);
/* false: rule does not match that key. */
bool prefilter_may(const struct prefilter *p, size_t rule);

#endif
