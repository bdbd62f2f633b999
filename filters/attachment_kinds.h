/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * attachment_kinds.h - what a file really is: magic octets, and little more.
 *
 * A table of our own and not libmagic: what counts is the set of formats that rules name, each by all the octets that make a
 * system open it as that, at a cost of nanoseconds; libmagic answers with text for people and its first match. Pure.
 */
#ifndef FILTERS_ATTACHMENT_KINDS_H
#define FILTERS_ATTACHMENT_KINDS_H

#include "base/span.h"

enum attachment_kind_bit {
#define KIND(name, groups, doc) KIND_BIT_##name,
#include "filters/attachment_kinds.def"
#undef KIND
	KIND_BITS
};
#define KIND_IS(name) ((uint64_t)1 << KIND_BIT_##name)

enum {
	KIND_HEAD = 512,         /* octets that are worth looking at; iso, udf and tar want more */
	KIND_HEAD_ISO = 0x8808,
};

/* All kinds that the first octets of a file may be; 0: none known. total: octets of the whole file, 0 with an empty head: KIND_IS(empty). */
uint64_t kinds_of(struct span head, uint64_t total);
/* Of what only the whole file says: macros, encryption, the kinds of compound files and documents. kinds: what kinds_of() said. */
uint64_t kinds_of_whole(struct span file, uint64_t kinds, bool *encrypted_out);
/* A kind or a group by its name; 0: there is none. */
uint64_t kinds_named(struct span name);
/* "exe", "zip macro": into out (NUL-terminated, cut). */
void kinds_text(uint64_t kinds, char *out, size_t size);

#endif
