/* SPDX-License-Identifier: BSD-2-Clause */
/* ehlo.h - what a hub offers. Pure. */
#ifndef DELIVER_EHLO_H
#define DELIVER_EHLO_H

#include "deliver/hubreply.h"

enum {
	EHLO_PIPELINING = 1, EHLO_8BITMIME = 2, EHLO_SIZE = 4, EHLO_SMTPUTF8 = 8, EHLO_CHUNKING = 16,
	EHLO_DSN = 32, EHLO_ENHANCED = 64, EHLO_STARTTLS = 128, EHLO_AUTH = 256,
};

/* Features of a 250 reply to EHLO or LHLO without those in discard. *size_max_out: limit of SIZE, 0: none.
 * *name_out: the name the hub calls itself by; borrowed from the reply. */
unsigned ehlo_parse(const struct hubreply *r, unsigned discard, uint64_t *size_max_out, struct span *name_out);
/* smtp_discard_ehlo_keywords: the bits it names; unknown words count for nothing. */
unsigned ehlo_keywords(struct span list);

#endif
