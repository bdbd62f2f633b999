/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * cache.h - what is known of contents by their SHA-256: verdicts under one version of the signatures, and how often a scan of
 * something failed. Bounded; the oldest goes.
 */
#ifndef VIRUS_CACHE_H
#define VIRUS_CACHE_H

#include "filters/virus/verdict.h"

enum { CONTENT_HASH = 32, CACHE_FAILURES = 4096 };

struct cache;

struct cache *cache_new(size_t verdicts_max);       /* 0: no verdicts are kept */
void cache_free(struct cache **cp);
/* A verdict under this version; false: there is none. */
bool cache_get(struct cache *c, const unsigned char hash[CONTENT_HASH], uint64_t version, struct virus_verdict *out);
/* Clean, and what was found; all else is not kept. */
void cache_put(struct cache *c, const unsigned char hash[CONTENT_HASH], uint64_t version, const struct virus_verdict *v);
/* One more failed scan of this content: how many there were in a row. */
unsigned cache_failed(struct cache *c, const unsigned char hash[CONTENT_HASH]);
unsigned cache_failures(struct cache *c, const unsigned char hash[CONTENT_HASH]);
void cache_worked(struct cache *c, const unsigned char hash[CONTENT_HASH]);
/* false: it keeps no verdicts and knows of no failure, so there is nothing to ask it. */
bool cache_is_of_use(const struct cache *c);

#endif
