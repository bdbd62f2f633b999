/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/similar.h"

#include <limits.h>

enum { WORD_MAX = 64 };

static inline unsigned char
fold(unsigned char c)
{
	return c >= 'A' && c <= 'Z' ? (unsigned char)(c | 0x20) : c;
}

static unsigned
least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

unsigned
similar_distance(struct span a, struct span b)
{
	if (a.n > WORD_MAX || b.n > WORD_MAX)
		return UINT_MAX;
	unsigned row[3][WORD_MAX + 1];
	for (unsigned j = 0; j <= b.n; j++)
		row[0][j] = j;
	for (unsigned i = 1; i <= a.n; i++) {
		unsigned *now = row[i % 3], *last = row[(i - 1) % 3], *before = row[(i + 1) % 3];
		now[0] = i;
		for (unsigned j = 1; j <= b.n; j++) {
			unsigned char x = fold(a.p[i - 1]), y = fold(b.p[j - 1]);
			now[j] = least(least(last[j] + 1, now[j - 1] + 1), last[j - 1] + (x != y));
			if (i > 1 && j > 1 && x == fold(b.p[j - 2]) && fold(a.p[i - 2]) == y)
				now[j] = least(now[j], before[j - 2] + 1);
		}
	}
	return row[a.n % 3][b.n];
}

void
similar_try(struct span word, const char *candidate, const char **best, unsigned *best_distance)
{
	unsigned d = similar_distance(word, span_str(candidate));
	unsigned near_enough = word.n < 4 ? 1 : 1 + (unsigned)word.n / 5;
	if (d <= near_enough && (*best == NULL || d < *best_distance)) {
		*best = candidate;
		*best_distance = d;
	}
}
