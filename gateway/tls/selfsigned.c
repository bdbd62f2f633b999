/* SPDX-License-Identifier: BSD-2-Clause */
#include "tls/selfsigned.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

enum { CN_MAX = 64, NAMES_MAX = 100, SLACK_SEC = 3600 /* clocks differ */ };

/* Letters, digits, hyphens; "*" as the first label. Punycode is the caller's business. */
static bool
is_host_name(const char *s)
{
	size_t label = 0, n = strlen(s);
	if (strncmp(s, "*.", 2) == 0)
		s += 2, n -= 2;
	if (n == 0 || n > 253)
		return false;
	for (size_t i = 0; i < n; i++) {
		bool is_word = (s[i] >= 'a' && s[i] <= 'z') || (s[i] >= 'A' && s[i] <= 'Z') || (s[i] >= '0' && s[i] <= '9') || s[i] == '_';
		if (s[i] == '.' ? label == 0 || s[i - 1] == '-' : !is_word && (s[i] != '-' || label == 0))
			return false;
		label = s[i] == '.' ? 0 : label + 1;
		if (label > 63)
			return false;
	}
	return s[n - 1] != '.' && s[n - 1] != '-';
}

static bool
is_address(const char *s)
{
	unsigned char raw[16];
	return inet_pton(AF_INET, s, raw) == 1 || inet_pton(AF_INET6, s, raw) == 1;
}

static bool
extend(X509 *x, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, x, x, NULL, NULL, 0);
	X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	bool ok = ext != NULL && X509_add_ext(x, ext, -1) == 1;
	X509_EXTENSION_free(ext);
	return ok;
}

static bool
set_serial(X509 *x)
{
	unsigned char raw[16];
	if (RAND_bytes(raw, sizeof raw) != 1)
		return false;
	raw[0] = (unsigned char)((raw[0] & 0x3f) | 0x40); /* positive, and never shorter */
	BIGNUM *n = BN_bin2bn(raw, sizeof raw, NULL);
	bool ok = n != NULL && BN_to_ASN1_INTEGER(n, X509_get_serialNumber(x)) != NULL;
	BN_free(n);
	return ok;
}

static bool
fill(X509 *x, EVP_PKEY *key, const char *const *names, size_t n, unsigned years)
{
	struct buf san;
	buf_init(&san, 65536);
	bool has_cn = strlen(names[0]) <= CN_MAX;
	buf_puts(&san, has_cn ? "" : "critical,"); /* RFC 5280, 4.2.1.6 */
	for (size_t i = 0; i < n; i++)
		buf_printf(&san, "%s%s:%s", i > 0 ? "," : "", is_address(names[i]) ? "IP" : "DNS", names[i]);
	X509_NAME *subject = X509_get_subject_name(x);
	bool ok = X509_set_version(x, X509_VERSION_3) == 1 && set_serial(x) && X509_gmtime_adj(X509_getm_notBefore(x), -SLACK_SEC) != NULL &&
	          X509_time_adj_ex(X509_getm_notAfter(x), (int)(years * 365 + years / 4), 0, NULL) != NULL && X509_set_pubkey(x, key) == 1;
	ok = ok && (!has_cn || X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)names[0], -1, -1, 0) == 1) &&
	     X509_set_issuer_name(x, subject) == 1 && extend(x, NID_basic_constraints, "critical,CA:FALSE") &&
	     extend(x, NID_key_usage, "critical,digitalSignature") && extend(x, NID_ext_key_usage, "serverAuth,clientAuth") &&
	     extend(x, NID_subject_key_identifier, "hash");
	ok = ok && extend(x, NID_subject_alt_name, buf_cstr(&san)) && X509_sign(x, key, EVP_sha256()) > 0;
	buf_fini(&san);
	return ok;
}

static bool
put_pem(struct buf *out, EVP_PKEY *key, X509 *cert)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *p = NULL;
	bool ok = bio != NULL && (key != NULL ? PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) : PEM_write_bio_X509(bio, cert)) == 1;
	long n = ok ? BIO_get_mem_data(bio, &p) : 0;
	buf_put(out, span_of(p, (size_t)n));
	if (n > 0)
		OPENSSL_cleanse(p, (size_t)n);
	BIO_free(bio);
	return ok && !out->over;
}

enum rc
selfsigned_make(const char *const *names, size_t n, unsigned years, struct buf *key_out, struct buf *cert_out, struct err *e)
{
	if (n == 0 || n > NAMES_MAX)
		return err_set(e, RC_PERM, "between 1 and %d names", NAMES_MAX);
	for (size_t i = 0; i < n; i++)
		if (!is_address(names[i]) && !is_host_name(names[i]))
			return err_set(e, RC_PERM, "\"%.100s\" is neither a host name nor an address", names[i]);
	if (years < 1 || years > 10)
		return err_set(e, RC_PERM, "a certificate lasts between 1 and 10 years");
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
	X509 *x = X509_new();
	bool ok = key != NULL && x != NULL && fill(x, key, names, n, years) && put_pem(key_out, key, NULL) && put_pem(cert_out, NULL, x);
	X509_free(x);
	EVP_PKEY_free(key);
	ERR_clear_error();
	return ok ? RC_OK : err_set(e, RC_TEMP, "OpenSSL cannot make a key and a certificate");
}
