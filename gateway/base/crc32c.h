/* SPDX-License-Identifier: BSD-2-Clause */
/* crc32c.h - CRC-32C (Castagnoli, RFC 3720 B.4): guards every spool record. Uses the processor's instruction where there is one. */
#ifndef BASE_CRC32C_H
#define BASE_CRC32C_H

#include "base/span.h"

/* Continues crc (0 to begin with) over s. crc32c(crc32c(0, a), b) is the sum of a followed by b. */
uint32_t crc32c(uint32_t crc, struct span s);
/* What the octets behind do to a sum: crc32c_shift(a, len_b) ^ b is the sum of both when a and b are those of each; so a
 * part can be exchanged without reading the rest. */
uint32_t crc32c_shift(uint32_t crc, uint64_t len);

#endif
