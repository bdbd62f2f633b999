/* SPDX-License-Identifier: BSD-2-Clause */
/* words.h - a table of fixed keys in this process' memory: what texthash, inline and unix tables are made of. */
#ifndef MAP_WORDS_H
#define MAP_WORDS_H

#include "base/arena.h"
#include "map/source.h"
#include "map/table.h"

struct word {
	struct hnode by_key;
	struct span key, value;
	struct word *next;           /* in the order of the source */
};

struct words {
	struct arena arena;
	struct htab tab;
	struct word *first, **last;
	size_t count;
};

struct words *words_new(void);
void words_free(struct words **wp);
/* Copies; the key is folded if asked. false: the key is there already (and stays as it was). */
bool words_add(struct words *w, struct span key, struct span value, bool fold);
const struct word *words_get(const struct words *w, struct span key);

/* Reads a whole source into w; complaints become problems of ctx that name the file. */
void words_read(struct words *w, struct span text, enum source_form form, const struct map_ctx *ctx, const char *file);

#endif
