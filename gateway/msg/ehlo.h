/* SPDX-License-Identifier: BSD-2-Clause */
/* ehlo.h - what a hub offers. Pure. */
#ifndef MSG_EHLO_H
#define MSG_EHLO_H

#include "msg/hubreply.h"

enum {
	HUB_PIPELINING = 1, HUB_8BITMIME = 2, HUB_SIZE = 4, HUB_SMTPUTF8 = 8, HUB_CHUNKING = 16,
	HUB_DSN = 32, HUB_ENHANCED = 64, HUB_STARTTLS = 128, HUB_AUTH = 256, HUB_XFORWARD = 512,
	/* attributes XFORWARD takes */
	HUB_XF_NAME = 1 << 16, HUB_XF_ADDR = 1 << 17, HUB_XF_PORT = 1 << 18, HUB_XF_PROTO = 1 << 19, HUB_XF_HELO = 1 << 20,
	HUB_XF_IDENT = 1 << 21, HUB_XF_SOURCE = 1 << 22,
};

/* Features of a 250 reply to EHLO or LHLO without those in discard. *size_max_out: limit of SIZE, 0: none.
 * *name_out: the name the hub calls itself by; borrowed from the reply. */
unsigned ehlo_parse(const struct hubreply *r, unsigned discard, uint64_t *size_max_out, struct span *name_out);
/* The mechanisms of all AUTH lines ("AUTH X Y" and "AUTH=X Y"), each once, separated by spaces. False: there is no such line. */
bool ehlo_mechanisms(const struct hubreply *r, struct buf *out);
/* smtp_discard_ehlo_keywords: the bits it names; unknown words count for nothing. */
unsigned ehlo_keywords(struct span list);
/* The bit of an XFORWARD attribute's name; 0: none we know. */
unsigned ehlo_xforward_attribute(struct span name);

#endif
