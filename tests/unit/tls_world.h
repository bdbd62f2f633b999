/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tls_world.h - keys and contexts made on the spot, and the far end of a TLS connection that a test moves octet by octet.
 */
#ifndef TESTS_UNIT_TLS_WORLD_H
#define TESTS_UNIT_TLS_WORLD_H

#include "unit.h"

#include "loop/loop.h"

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <sys/socket.h>
#include <unistd.h>

/* An EC key and a certificate for cn that it signed itself; both owned by the caller. */
static inline X509 *
tls_world_cert(const char *cn, EVP_PKEY **key_out)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	assert_non_null(key);
	X509 *cert = X509_new();
	X509_set_version(cert, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
	X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
	X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
	X509_set_pubkey(cert, key);
	X509_NAME *name = X509_get_subject_name(cert);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)cn, -1, -1, 0);
	X509_set_issuer_name(cert, name);
	assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
	*key_out = key;
	return cert;
}

static inline SSL_CTX *
tls_world_server(void)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	EVP_PKEY *key;
	X509 *cert = tls_world_cert("server.test", &key);
	assert_int_equal(SSL_CTX_use_certificate(ctx, cert), 1);
	assert_int_equal(SSL_CTX_use_PrivateKey(ctx, key), 1);
	X509_free(cert);
	EVP_PKEY_free(key);
	return ctx;
}

/* The far end: SSL between two memory BIOs, its wire a raw descriptor, at most step octets at a time. */
struct tls_far {
	SSL *ssl;
	int fd;
	struct watch watch;
	struct timer timer;
	size_t step;              /* octets written per turn */
	size_t cut;               /* closes after so many octets; SIZE_MAX: never */
	size_t sent;
	struct buf wire;          /* on its way out */
	struct buf got;           /* what the other side said, in the clear */
	struct buf say;           /* to say when the handshake is done */
	bool stalls, closed, done, said, shut;
};

static inline void
tls_far_close(struct tls_far *p)
{
	if (p->closed)
		return;
	watch_clear(&p->watch);
	timer_clear(&p->timer);
	close(p->fd);
	p->closed = true;
}

static inline void
tls_far_run(struct tls_far *p)
{
	unsigned char b[16384];
	size_t n;
	if (p->closed)
		return;
	if (!p->done && SSL_do_handshake(p->ssl) == 1)
		p->done = true;
	if (p->done && buf_len(&p->say) > 0 && SSL_write_ex(p->ssl, buf_span(&p->say).p, buf_len(&p->say), &n) == 1)
		buf_consume(&p->say, n);
	while (p->done && SSL_read_ex(p->ssl, b, sizeof b, &n) == 1)
		buf_put(&p->got, span_of(b, n));
	if (p->done && (SSL_get_shutdown(p->ssl) & SSL_RECEIVED_SHUTDOWN) != 0)
		p->shut = true;
	while (BIO_read_ex(SSL_get_wbio(p->ssl), b, sizeof b, &n) == 1)
		buf_put(&p->wire, span_of(b, n));
	if (buf_len(&p->wire) > 0 && !p->stalls)
		timer_set(&p->timer, 0);
}

static inline void
tls_far_write(struct timer *t)
{
	struct tls_far *p = container_of(t, struct tls_far, timer);
	struct span s = span_head(buf_span(&p->wire), p->step);
	if (p->sent + s.n > p->cut)
		s = span_head(s, p->cut - p->sent);
	ssize_t n = s.n > 0 ? send(p->fd, s.p, s.n, MSG_NOSIGNAL) : 0;
	if (n > 0) {
		p->sent += (size_t)n;
		buf_consume(&p->wire, (size_t)n);
	}
	if (p->sent >= p->cut || (n < 0 && errno != EAGAIN)) {
		tls_far_close(p);
		return;
	}
	if (buf_len(&p->wire) > 0)
		timer_set(&p->timer, n < 0 ? 1000 : 0);
}

static inline void
tls_far_ready(struct watch *w, short what)
{
	(void)what;
	struct tls_far *p = container_of(w, struct tls_far, watch);
	unsigned char b[16384];
	ssize_t n = recv(p->fd, b, sizeof b, 0);
	if (n <= 0) {
		if (n == 0)
			tls_far_run(p);
		if (n == 0 || errno != EAGAIN)
			tls_far_close(p);
		return;
	}
	BIO_write(SSL_get_rbio(p->ssl), b, (int)n);
	tls_far_run(p);
}

/* fd is given; ssl too, set to connect or accept. Begins when the loop runs. */
static inline void
tls_far_begin(struct tls_far *p, int fd, SSL *ssl, size_t step)
{
	*p = (struct tls_far){ .ssl = ssl, .fd = fd, .step = step, .cut = SIZE_MAX };
	buf_init(&p->wire, SIZE_MAX / 2);
	buf_init(&p->got, SIZE_MAX / 2);
	buf_init(&p->say, SIZE_MAX / 2);
	SSL_set_bio(ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
	timer_init(&p->timer, tls_far_write);
	watch_init(&p->watch, fd, tls_far_ready);
	watch_want(&p->watch, EV_READ);
	timer_set(&p->timer, 0);
}

static inline void
tls_far_end(struct tls_far *p)
{
	tls_far_close(p);
	SSL_free(p->ssl);
	buf_fini(&p->wire);
	buf_fini(&p->got);
	buf_fini(&p->say);
}

#endif
