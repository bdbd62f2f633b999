/* SPDX-License-Identifier: BSD-2-Clause */
#include "tls/chain.h"

#include "base/clock.h"
#include "base/mem.h"
#include "tls/keyprov.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <time.h>

enum { ITEMS_MAX = 200, RSA_MOST = 8192 };

/* ---- reading ---- */

static struct pem_item *
add(struct pem_file *f)
{
	if (f->n == f->cap) {
		f->cap = f->cap > 0 ? f->cap * 2 : 8;
		f->items = mem_reallocarray(f->items, f->cap, sizeof *f->items);
	}
	f->items[f->n] = (struct pem_item){ 0 };
	return &f->items[f->n++];
}

void
pem_free(struct pem_file *f)
{
	for (size_t i = 0; i < f->n; i++) {
		X509_free(f->items[i].cert);
		EVP_PKEY_free(f->items[i].key);
	}
	mem_free(&f->items);
	*f = (struct pem_file){ 0 };
}

static bool
ends_with(const char *s, const char *end)
{
	size_t n = strlen(s), k = strlen(end);
	return n >= k && strcmp(s + n - k, end) == 0;
}

static enum rc
read_key(struct pem_file *f, const char *name, const char *header, const unsigned char *der, long n, struct err *e)
{
	if (strncmp(name, "ENCRYPTED", 9) == 0 || strstr(header, "ENCRYPTED") != NULL)
		return err_set(e, RC_PERM, "the private key is protected by a password: nobody is there to type it, write it without one (openssl pkey)");
	EVP_PKEY *key = d2i_AutoPrivateKey(NULL, &der, n);
	if (key == NULL)
		return err_set(e, RC_PERM, "a private key in it cannot be read");
	add(f)->key = key;
	if (!keyprov_supports(key))
		return err_set(e, RC_PERM, "a private key of a kind that cannot be used (%s): RSA, ECDSA, Ed25519 and Ed448 can",
		    EVP_PKEY_get0_type_name(key) != NULL ? EVP_PKEY_get0_type_name(key) : "unknown");
	if (EVP_PKEY_is_a(key, "RSA") && EVP_PKEY_get_bits(key) > RSA_MOST) /* others wait as long */
		return err_set(e, RC_PERM, "an RSA key of %d bits takes too long: at most %d", EVP_PKEY_get_bits(key), RSA_MOST);
	return RC_OK;
}

static enum rc
read_item(struct pem_file *f, const char *name, const char *header, const unsigned char *der, long n, struct err *e)
{
	if (f->n >= ITEMS_MAX)
		return err_set(e, RC_PERM, "more than %d certificates and keys in it", ITEMS_MAX);
	if (ends_with(name, "PRIVATE KEY"))
		return read_key(f, name, header, der, n, e);
	if (!ends_with(name, "CERTIFICATE"))
		return RC_OK;
	X509 *cert = strncmp(name, "TRUSTED", 7) == 0 ? d2i_X509_AUX(NULL, &der, n) : d2i_X509(NULL, &der, n);
	if (cert == NULL)
		return err_set(e, RC_PERM, "a certificate in it cannot be read");
	add(f)->cert = cert;
	return RC_OK;
}

enum rc
pem_read(struct pem_file *f, struct span text, struct err *e)
{
	if (text.n > INT32_MAX)
		return err_set(e, RC_PERM, "too large");
	BIO *bio = BIO_new_mem_buf(text.p != NULL ? (const void *)text.p : "", (int)text.n);
	if (bio == NULL)
		return err_set(e, RC_TEMP, "out of memory");
	enum rc rc = RC_OK;
	while (rc == RC_OK) {
		char *name = NULL, *header = NULL;
		unsigned char *der = NULL;
		long n = 0;
		if (PEM_read_bio_ex(bio, &name, &header, &der, &n, PEM_FLAG_SECURE | PEM_FLAG_EAY_COMPATIBLE) != 1) {
			if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
				rc = err_set(e, RC_PERM, "is not what a PEM file looks like (cut off?)");
			break;
		}
		rc = read_item(f, name, header, der, n, e);
		OPENSSL_secure_clear_free(name, strlen(name) + 1);
		OPENSSL_secure_clear_free(header, strlen(header) + 1);
		OPENSSL_secure_clear_free(der, (size_t)n);
	}
	ERR_clear_error();
	BIO_free(bio);
	return rc;
}

/* ---- chains ---- */

void
chain_free(struct chain *c)
{
	X509_free(c->leaf);
	sk_X509_pop_free(c->above, X509_free);
	EVP_PKEY_free(c->key);
	*c = (struct chain){ 0 };
}

static void
take_cert(struct chain *c, struct pem_item *it)
{
	if (c->leaf == NULL)
		c->leaf = it->cert;
	else if (sk_X509_push(c->above, it->cert) == 0)
		BUG("out of memory");
	it->cert = NULL;
}

static void
take_key(struct chain *c, struct pem_item *it)
{
	c->key = it->key;
	it->key = NULL;
}

static bool
belong_together(const X509 *cert, const EVP_PKEY *key)
{
	EVP_PKEY *pub = X509_get0_pubkey(cert);
	bool same = pub != NULL && EVP_PKEY_eq(pub, key) == 1;
	ERR_clear_error();
	return same;
}

/* With both. */
static enum rc
look_at(struct chain *c, struct err *e)
{
	EVP_PKEY *pub = X509_get0_pubkey(c->leaf);
	if (pub == NULL || keyprov_id(pub, c->id, e) != RC_OK)
		return err_set(e, RC_PERM, "the certificate's public key cannot be read");
	if (c->key == NULL || belong_together(c->leaf, c->key))
		return RC_OK;
	for (int i = 0; i < sk_X509_num(c->above); i++)
		if (belong_together(sk_X509_value(c->above, i), c->key))
			return err_set(e, RC_PERM, "the certificates are in the wrong order: the one of the private key must be the first, those above it follow");
	return err_set(e, RC_PERM, "the private key is not that of this certificate");
}

enum rc
chain_of_pair(struct pem_file *certs, struct pem_file *keys, struct chain *out, bool *is_key_file_out, struct err *e)
{
	size_t nkeys_in_certs = 0, ncerts_in_keys = 0;
	*out = (struct chain){ .above = sk_X509_new_null() };
	*is_key_file_out = false;
	for (size_t i = 0; i < certs->n; i++) {
		nkeys_in_certs += certs->items[i].key != NULL;
		if (certs->items[i].cert != NULL)
			take_cert(out, &certs->items[i]);
	}
	for (size_t i = 0; i < keys->n; i++) {
		ncerts_in_keys += keys->items[i].cert != NULL;
		if (keys->items[i].key != NULL && out->key == NULL)
			take_key(out, &keys->items[i]);
	}
	if (out->leaf == NULL)
		return err_set(e, RC_PERM, "no certificate in it%s",
		    nkeys_in_certs == 0 ? "" : ncerts_in_keys > 0 && certs != keys ? " (but a private key: the names of certificate and key file are exchanged)" : " (but a private key)");
	if (out->key == NULL) {
		*is_key_file_out = true;
		return err_set(e, RC_PERM, "no private key in it");
	}
	return look_at(out, e);
}

enum rc
chain_next(struct pem_file *f, size_t *at, struct chain *out, struct err *e)
{
	*out = (struct chain){ 0 };
	if (*at >= f->n)
		return RC_NONE;
	out->above = sk_X509_new_null();
	if (f->items[*at].key == NULL)
		return err_set(e, RC_PERM, "a certificate without a private key before it: a chain file has the key first, then its certificate");
	take_key(out, &f->items[(*at)++]);
	while (*at < f->n && f->items[*at].cert != NULL)
		take_cert(out, &f->items[(*at)++]);
	if (out->leaf == NULL)
		return err_set(e, RC_PERM, "a private key without a certificate behind it: a chain file has the key first, then its certificate");
	return look_at(out, e);
}

/* ---- what a certificate says ---- */

static uint64_t
usec_of(const ASN1_TIME *t)
{
	struct tm tm;
	if (t == NULL || ASN1_TIME_to_tm(t, &tm) != 1)
		return 0;
	time_t s = timegm(&tm);
	return s > 0 ? (uint64_t)s * USEC_PER_SEC : 0;
}

uint64_t
cert_not_before(const X509 *cert)
{
	return usec_of(X509_get0_notBefore(cert));
}

uint64_t
cert_not_after(const X509 *cert)
{
	return usec_of(X509_get0_notAfter(cert));
}

void
cert_time_put(struct buf *b, uint64_t usec)
{
	struct tm tm;
	char text[40];
	time_t s = (time_t)(usec / USEC_PER_SEC);
	if (gmtime_r(&s, &tm) != NULL && strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S UTC", &tm) > 0)
		buf_puts(b, text);
}

static void
put_name(struct buf *b, size_t start, struct span name)
{
	if (buf_len(b) > start)
		buf_puts(b, ", ");
	buf_put_safe(b, name, 255, false);
}

static void
put_address(struct buf *b, size_t start, const ASN1_OCTET_STRING *a)
{
	char text[INET6_ADDRSTRLEN];
	int family = ASN1_STRING_length(a) == 4 ? AF_INET : AF_INET6;
	if ((ASN1_STRING_length(a) == 4 || ASN1_STRING_length(a) == 16) && inet_ntop(family, ASN1_STRING_get0_data(a), text, sizeof text) != NULL)
		put_name(b, start, span_str(text));
}

void
cert_names_put(struct buf *b, const X509 *cert)
{
	size_t start = buf_len(b);
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	for (int i = 0; i < sk_GENERAL_NAME_num(names) && buf_len(b) - start < 2000; i++) {
		const GENERAL_NAME *g = sk_GENERAL_NAME_value(names, i);
		if (g->type == GEN_DNS || g->type == GEN_EMAIL)
			put_name(b, start, span_of(ASN1_STRING_get0_data(g->d.ia5), (size_t)ASN1_STRING_length(g->d.ia5)));
		else if (g->type == GEN_IPADD)
			put_address(b, start, g->d.iPAddress);
	}
	GENERAL_NAMES_free(names);
	if (buf_len(b) > start)
		return;
	const X509_NAME *subject = X509_get_subject_name(cert);
	int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
	unsigned char *utf8 = NULL;
	int n = at < 0 ? -1 : ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
	if (n > 0)
		buf_put_safe(b, span_of(utf8, (size_t)n), 255, true);
	else
		buf_puts(b, "no name");
	OPENSSL_free(utf8);
}

static void
put_cert(struct buf *b, const X509 *cert)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *p;
	if (bio == NULL || PEM_write_bio_X509(bio, cert) != 1)
		BUG("out of memory");
	long n = BIO_get_mem_data(bio, &p);
	buf_put(b, span_of(p, (size_t)n));
	BIO_free(bio);
}

void
chain_put_certs(struct buf *b, const struct chain *c)
{
	put_cert(b, c->leaf);
	for (int i = 0; i < sk_X509_num(c->above); i++)
		put_cert(b, sk_X509_value(c->above, i));
}
