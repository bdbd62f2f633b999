/* SPDX-License-Identifier: BSD-2-Clause */
#include "filters/breaker.h"

void
breaker_init(struct breaker *b, unsigned limit, uint64_t pause)
{
	*b = (struct breaker){ .limit = limit, .pause = pause };
}

bool
breaker_try(struct breaker *b, uint64_t now)
{
	if (!b->is_open)
		return true;
	if (now >= b->next_try) {
		b->next_try = now + b->pause;
		return true;
	}
	b->skipped++;
	return false;
}

bool
breaker_failed(struct breaker *b, unsigned stage, const char *why, uint64_t now)
{
	snprintf(b->why, sizeof b->why, "%s", why);
	if (b->failures == 0 || stage > b->stage)
		b->stage = stage;
	if (b->failures < UINT32_MAX)
		b->failures++;
	if (b->is_open || b->limit == 0 || b->failures < b->limit)
		return false;
	b->is_open = true;
	b->since = now;
	b->next_try = now + b->pause;
	b->skipped = 0;
	return true;
}

bool
breaker_worked(struct breaker *b, unsigned stage)
{
	if (b->failures == 0 || stage < b->stage)
		return false;
	bool was_open = b->is_open;
	b->failures = 0;
	b->stage = 0;
	b->is_open = false;
	return was_open;
}
