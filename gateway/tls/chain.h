/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * chain.h - PEM text of certificates and keys: taken apart, looked at, written again without the keys. No files, no other process.
 */
#ifndef TLS_CHAIN_H
#define TLS_CHAIN_H

#include "tls/keywire.h"

#include <openssl/x509.h>

/* What stands in a file, in order. */
struct pem_item {
	X509 *cert;                  /* one of the two */
	EVP_PKEY *key;
};
struct pem_file {
	struct pem_item *items;
	size_t n, cap;
};
/* Adds the certificates and keys in the text; other things (parameters) are passed over. RC_PERM: the reason, to be put behind the
 * file's name. */
enum rc pem_read(struct pem_file *f, struct span text, struct err *e) MUST_CHECK;
void pem_free(struct pem_file *f);

/* A certificate, those above it, and what signs for it. */
struct chain {
	X509 *leaf;
	STACK_OF(X509) *above;       /* in the order of the file */
	EVP_PKEY *key;               /* the real one (loader, keys) or NULL */
	unsigned char id[KEY_ID];
};
void chain_free(struct chain *c);
/* One chain of the certificates of one file and the only key of another; what is taken is left NULL in the items. RC_PERM with the
 * reason behind "FILE: " (which of the two names is said in *is_key_file_out). */
enum rc chain_of_pair(struct pem_file *certs, struct pem_file *keys, struct chain *out, bool *is_key_file_out, struct err *e) MUST_CHECK;
/* The next chain of key, certificate, certificates above it. RC_NONE at the end; *at: start with 0. */
enum rc chain_next(struct pem_file *f, size_t *at, struct chain *out, struct err *e) MUST_CHECK;

/* When it begins and ends to count, wall time in usec. */
uint64_t cert_not_before(const X509 *cert);
uint64_t cert_not_after(const X509 *cert);
/* "2027-01-31 12:00:00 UTC" */
void cert_time_put(struct buf *b, uint64_t usec);
/* "mx.example.com, *.example.org": names, addresses; the CN when there are none. Made safe for a log. */
void cert_names_put(struct buf *b, const X509 *cert);

/* PEM of the certificates, for a note in the snapshot; pem_read() reads it back. */
void chain_put_certs(struct buf *b, const struct chain *c);

#endif
