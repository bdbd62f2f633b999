/* SPDX-License-Identifier: BSD-2-Clause */
#include "tls/peer.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/objects.h>
#include <openssl/x509.h>

/* ---- texts ---- */

static void
put_text(char *out, size_t size, const char *from)
{
	(void)snprintf(out, size, "%.*s", (int)size - 1, from != NULL ? from : "");
}

/* What came in a certificate, as it may stand in a log, a header or an attribute. */
static void
clean(char *out, struct span from)
{
	struct buf b;
	buf_init(&b, TLS_NAME_TEXT);
	buf_put_safe(&b, span_head(from, TLS_NAME_TEXT - 1), TLS_NAME_TEXT - 1, true);
	const char *text = buf_cstr(&b);
	put_text(out, TLS_NAME_TEXT, text);
	buf_fini(&b);
	for (char *p = out; *p != '\0'; p++)
		if (*p == '"' || *p == '\\')
			*p = '?';
}

/* One attribute of a name, in UTF-8; none, several kinds of nonsense, or a NUL in it: empty. */
static void
name_part(X509_NAME *name, int nid, char *out)
{
	unsigned char *utf8 = NULL;
	out[0] = '\0';
	int at = name != NULL ? X509_NAME_get_index_by_NID(name, nid, -1) : -1;
	if (at < 0 || X509_NAME_get_index_by_NID(name, nid, at) >= 0)
		return; /* none, or more than one: which would count? */
	int n = ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)));
	if (n > 0 && n < TLS_NAME_TEXT && memchr(utf8, '\0', (size_t)n) == NULL)
		clean(out, span_of(utf8, (size_t)n));
	if (n >= 0)
		OPENSSL_free(utf8);
}

static bool
fingerprint_text(const unsigned char *md, unsigned n, char out[TLS_FINGERPRINT_TEXT])
{
	static const char hex[] = "0123456789ABCDEF";
	if (n == 0 || n * 3 > TLS_FINGERPRINT_TEXT)
		return false;
	for (unsigned i = 0; i < n; i++) {
		out[i * 3] = hex[md[i] >> 4];
		out[i * 3 + 1] = hex[md[i] & 15];
		out[i * 3 + 2] = i + 1 < n ? ':' : '\0';
	}
	return true;
}

bool
tls_cert_fingerprint(const X509 *x, const EVP_MD *md, char out[TLS_FINGERPRINT_TEXT])
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned n;
	out[0] = '\0';
	return X509_digest(x, md, digest, &n) == 1 && fingerprint_text(digest, n, out);
}

bool
tls_key_fingerprint(const X509 *x, const EVP_MD *md, char out[TLS_FINGERPRINT_TEXT])
{
	unsigned char digest[EVP_MAX_MD_SIZE], *der = NULL;
	unsigned n;
	out[0] = '\0';
	int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x), &der);
	bool ok = len > 0 && EVP_Digest(der, (size_t)len, digest, &n, md, NULL) == 1 && fingerprint_text(digest, n, out);
	if (len > 0)
		OPENSSL_free(der);
	return ok;
}

/* ---- keys ---- */

static void
read_curve(EVP_PKEY *key, char *out, size_t size)
{
	char group[64];
	size_t n;
	if (EVP_PKEY_get_group_name(key, group, sizeof group, &n) == 1)
		put_text(out, size, group);
}

static void
read_exchange(SSL *ssl, struct tls_peer *out)
{
	EVP_PKEY *key = NULL;
	if (SSL_get_peer_tmp_key(ssl, &key) != 1 || key == NULL)
		return;
	switch (EVP_PKEY_get_base_id(key)) {
	case EVP_PKEY_DH:
		put_text(out->exchange, sizeof out->exchange, "DHE");
		out->exchange_bits = (unsigned)EVP_PKEY_get_bits(key);
		break;
	case EVP_PKEY_EC:
		put_text(out->exchange, sizeof out->exchange, "ECDHE");
		read_curve(key, out->exchange_curve, sizeof out->exchange_curve);
		break;
	default:
		put_text(out->exchange, sizeof out->exchange, OBJ_nid2sn(EVP_PKEY_get_base_id(key)));
		break;
	}
	EVP_PKEY_free(key);
}

static void
read_signature(X509 *cert, int digest, struct tls_signature *out)
{
	EVP_PKEY *key = cert != NULL ? X509_get0_pubkey(cert) : NULL;
	if (key == NULL || digest == NID_undef)
		return;
	switch (EVP_PKEY_get_base_id(key)) {
	case EVP_PKEY_RSA: /* TLS 1.3 has nothing else */
		put_text(out->name, sizeof out->name, "RSA-PSS");
		out->bits = (unsigned)EVP_PKEY_get_bits(key);
		break;
	case EVP_PKEY_EC:
		put_text(out->name, sizeof out->name, "ECDSA");
		read_curve(key, out->curve, sizeof out->curve);
		break;
	default:
		put_text(out->name, sizeof out->name, OBJ_nid2sn(EVP_PKEY_get_base_id(key)));
		break;
	}
	put_text(out->digest, sizeof out->digest, OBJ_nid2sn(digest));
}

/* Only TLS 1.3 says all of it apart from the cipher. */
static void
read_keys(SSL *ssl, X509 *peer, struct tls_peer *out)
{
	int ours = NID_undef, theirs = NID_undef;
	if (SSL_version(ssl) < TLS1_3_VERSION)
		return;
	read_exchange(ssl, out);
	if (SSL_get_signature_nid(ssl, &ours) != 1)
		ours = NID_undef;
	if (SSL_get_peer_signature_nid(ssl, &theirs) != 1)
		theirs = NID_undef;
	X509 *own = SSL_get_certificate(ssl);
	bool server = SSL_is_server(ssl) == 1;
	read_signature(server ? own : peer, server ? ours : theirs, &out->server);
	if (peer != NULL || !server)
		read_signature(server ? peer : own, server ? theirs : ours, &out->client);
}

/* ---- all of it ---- */

void
tls_peer_read(SSL *ssl, const EVP_MD *md, struct tls_peer *out)
{
	*out = (struct tls_peer){ .is_resumed = SSL_session_reused(ssl) == 1, .verify = X509_V_OK };
	int algorithm = 0;
	const SSL_CIPHER *cipher = SSL_get_current_cipher(ssl);
	put_text(out->protocol, sizeof out->protocol, SSL_get_version(ssl));
	put_text(out->cipher, sizeof out->cipher, SSL_CIPHER_get_name(cipher));
	out->bits = (unsigned)SSL_CIPHER_get_bits(cipher, &algorithm);
	out->algorithm_bits = (unsigned)algorithm;
	X509 *peer = SSL_get0_peer_certificate(ssl);
	read_keys(ssl, peer, out);
	const char *sni = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	if (sni != NULL)
		clean(out->sni, span_str(sni));
	if (peer != NULL) {
		out->has_cert = true;
		out->verify = SSL_get_verify_result(ssl);
		out->is_trusted = out->verify == X509_V_OK;
		name_part(X509_get_subject_name(peer), NID_commonName, out->subject);
		name_part(X509_get_issuer_name(peer), NID_commonName, out->issuer);
		if (out->issuer[0] == '\0')
			name_part(X509_get_issuer_name(peer), NID_organizationName, out->issuer);
		if (md != NULL) {
			(void)tls_cert_fingerprint(peer, md, out->cert_fingerprint);
			(void)tls_key_fingerprint(peer, md, out->key_fingerprint);
		}
	}
	ERR_clear_error();
}

static void
put_key(struct buf *b, const char *what, const char *name, const char *curve, unsigned bits)
{
	if (name[0] == '\0')
		return;
	buf_puts(b, what);
	buf_puts(b, name);
	if (curve[0] != '\0')
		buf_printf(b, " (%s)", curve);
	else if (bits > 0)
		buf_printf(b, " (%u bits)", bits);
}

static void
put_signature(struct buf *b, const char *side, const struct tls_signature *s)
{
	if (s->name[0] == '\0')
		return;
	buf_puts(b, side);
	put_key(b, "-signature ", s->name, s->curve, s->bits);
	if (s->digest[0] != '\0') {
		buf_puts(b, side);
		buf_puts(b, "-digest ");
		buf_puts(b, s->digest);
	}
}

void
tls_peer_summary(struct buf *b, const struct tls_peer *p, const char *direction, struct span host, struct span sni)
{
	buf_puts(b, !p->has_cert ? "Anonymous" : p->is_matched ? "Verified" : p->is_trusted ? "Trusted" : "Untrusted");
	buf_puts(b, p->is_resumed ? " TLS connection reused " : " TLS connection established ");
	buf_puts(b, direction);
	buf_putc(b, ' ');
	buf_put(b, host);
	if (sni.n > 0) {
		buf_puts(b, " to ");
		buf_put_safe(b, sni, TLS_NAME_TEXT, false);
	}
	buf_printf(b, ": %s with cipher %s (%u/%u bits)", p->protocol, p->cipher, p->bits, p->algorithm_bits);
	put_key(b, " key-exchange ", p->exchange, p->exchange_curve, p->exchange_bits);
	put_signature(b, " server", &p->server);
	put_signature(b, " client", &p->client);
}

/* In a comment of a header. */
static void
put_comment(struct buf *b, const char *text)
{
	for (; *text != '\0'; text++)
		buf_putc(b, *text == '(' || *text == ')' ? '?' : (unsigned char)*text);
}

void
tls_peer_received(struct buf *b, const struct tls_peer *p, bool asked)
{
	buf_printf(b, "\t(using %s with cipher %s (%u/%u bits)", p->protocol, p->cipher, p->bits, p->algorithm_bits);
	if (p->exchange[0] != '\0' || p->server.name[0] != '\0') {
		buf_puts(b, "\r\n\t");
		put_key(b, " key-exchange ", p->exchange, p->exchange_curve, p->exchange_bits);
		put_signature(b, " server", &p->server);
	}
	if (p->client.name[0] != '\0') {
		buf_puts(b, "\r\n\t");
		put_signature(b, " client", &p->client);
	}
	buf_puts(b, ")\r\n");
	if (!p->has_cert) {
		buf_puts(b, asked ? "\t(Client did not present a certificate)\r\n" : "\t(No client certificate requested)\r\n");
		return;
	}
	buf_puts(b, "\t(Client CN \"");
	put_comment(b, p->subject);
	buf_puts(b, "\", Issuer \"");
	put_comment(b, p->issuer);
	buf_puts(b, p->is_trusted ? "\" (verified OK))\r\n" : "\" (not verified))\r\n");
}
