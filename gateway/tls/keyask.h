/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * keyask.h - a question to the keys process. Runs in: edge, relay.
 *
 * Synchronous: OpenSSL wants the signature before its function returns. That is bounded by 2 s (ASK_USEC) once: after a question that got
 * no answer in time nobody waits again until the process has been heard of.
 */
#ifndef TLS_KEYASK_H
#define TLS_KEYASK_H

#include "tls/keywire.h"

/* fd is given; -1: none. Replaces the one before. */
void keyask_peer(int fd);
/* An answer can be expected. Sends a sign of life at times while there was none, waits for nothing. */
bool keyask_usable(void);
/* seq is filled in. out (at least KEY_DATA_MAX octets) gets the answer. RC_NONE, RC_PERM: what the process said; RC_TEMP: it said nothing. */
enum rc keyask(struct key_request *r, unsigned char *out, size_t *n_out) MUST_CHECK;

#endif
