/* SPDX-License-Identifier: BSD-2-Clause */
/* rand.h - randomness, from the kernel only. Never fails: a machine without it ends the process. */
#ifndef BASE_RAND_H
#define BASE_RAND_H

#include "base/base.h"

void rand_bytes(void *out, size_t n);
uint64_t rand_u64(void);
/* Uniform in [0, below); below > 0. For jitter and shuffling, buffered. */
uint32_t rand_below(uint32_t below);

#endif
