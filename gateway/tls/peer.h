/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * peer.h - what a handshake came to: protocol, cipher, keys, and who the other side is.
 *
 * Texts are ours or cleaned: printable, cut, without what could end a comment, a quoted string or a line. Facts 8.3, 12.1.
 */
#ifndef TLS_PEER_H
#define TLS_PEER_H

#include "base/buf.h"

#include <openssl/ssl.h>

enum { TLS_NAME_TEXT = 256, TLS_FINGERPRINT_TEXT = 64 * 3 };

struct tls_signature {
	char name[24], curve[24], digest[24]; /* "RSA-PSS", "", "SHA256"; empty: none, or not known (before TLS 1.3, resumed) */
	unsigned bits;                        /* of the key, where there is no curve */
};

struct tls_peer {
	bool is_resumed;
	bool has_cert;               /* it showed one, good or not */
	bool is_trusted;             /* its chain ends in one of our CAs */
	bool is_matched;             /* and its name, fingerprint or TLSA record is the one wanted: set by whoever compared */
	long verify;                 /* X509_V_... */
	char protocol[16], cipher[64];
	unsigned bits, algorithm_bits;
	char exchange[24], exchange_curve[24];
	unsigned exchange_bits;
	struct tls_signature server, client;
	char subject[TLS_NAME_TEXT], issuer[TLS_NAME_TEXT]; /* common name; of the issuer else its organization. Trusted or not */
	char cert_fingerprint[TLS_FINGERPRINT_TEXT], key_fingerprint[TLS_FINGERPRINT_TEXT]; /* "AB:CD:..."; with a certificate */
	char sni[TLS_NAME_TEXT];     /* the name asked for; empty: none */
};

/* After the handshake. md: for fingerprints; NULL: none wanted. */
void tls_peer_read(SSL *ssl, const EVP_MD *md, struct tls_peer *out);
/* "Anonymous TLS connection established from host[address]: TLSv1.3 with cipher ... (256/256 bits) key-exchange X25519 ...".
 * direction: "from" or "to". sni: the name that was asked for and answered, empty to leave it out. */
void tls_peer_summary(struct buf *b, const struct tls_peer *p, const char *direction, struct span host, struct span sni);
/* The lines of a Received header, each begun with a tab and ended with CRLF. asked: a certificate was asked for. */
void tls_peer_received(struct buf *b, const struct tls_peer *p, bool asked);
/* "AB:CD:..." of a certificate (DER) or of its public key (SubjectPublicKeyInfo); false: not possible. */
bool tls_cert_fingerprint(const X509 *x, const EVP_MD *md, char out[TLS_FINGERPRINT_TEXT]);
bool tls_key_fingerprint(const X509 *x, const EVP_MD *md, char out[TLS_FINGERPRINT_TEXT]);

#endif
