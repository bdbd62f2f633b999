/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * selfsigned.h - a key and a certificate that signs itself, for a first start: nobody can verify it, mail servers do not try.
 */
#ifndef TLS_SELFSIGNED_H
#define TLS_SELFSIGNED_H

#include "base/buf.h"

/* ECDSA on P-256, SHA-256. names: host names or addresses (at least one); the first is the subject's. PEM into both (key_out: buf_init_secret).
 * RC_PERM: not a name, with the reason. */
enum rc selfsigned_make(const char *const *names, size_t n, unsigned years, struct buf *key_out, struct buf *cert_out, struct err *e) MUST_CHECK;

#endif
