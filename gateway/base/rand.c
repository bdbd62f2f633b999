/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/rand.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

void
rand_bytes(void *out, size_t n)
{
	unsigned char *p = out;
	while (n > 0) {
		ssize_t got = getrandom(p, n, 0);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			BUG("no randomness from the kernel");
		p += got;
		n -= (size_t)got;
	}
}

uint64_t
rand_u64(void)
{
	static uint64_t pool[64];
	static size_t left;
	if (left == 0) {
		rand_bytes(pool, sizeof pool);
		left = NELEMS(pool);
	}
	uint64_t v = pool[--left];
	pool[left] = 0;
	return v;
}

uint32_t
rand_below(uint32_t below)
{
	return (uint32_t)(((rand_u64() >> 32) * below) >> 32);
}
