/* SPDX-License-Identifier: BSD-2-Clause */
#include "keys/sign.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>

static bool
set_up(EVP_PKEY_CTX *ctx, EVP_PKEY *key, const struct key_request *r, const EVP_MD *md)
{
	if (EVP_PKEY_sign_init(ctx) != 1)
		return false;
	if (EVP_PKEY_is_a(key, "RSA")) {
		int padding = r->padding == KEY_PSS ? RSA_PKCS1_PSS_PADDING : RSA_PKCS1_PADDING;
		if (EVP_PKEY_CTX_set_rsa_padding(ctx, padding) != 1)
			return false;
		if (r->padding == KEY_PSS && EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST) != 1)
			return false;
	}
	return EVP_PKEY_CTX_set_signature_md(ctx, md) == 1;
}

static bool
sign_digest(EVP_PKEY *key, const struct key_request *r, unsigned char *out, size_t *n_out)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
	EVP_MD *md = EVP_MD_fetch(NULL, key_digest_name(r->digest), NULL);
	*n_out = KEY_DATA_MAX;
	bool ok = ctx != NULL && md != NULL && r->data.n == key_digest_size(r->digest) && set_up(ctx, key, r, md) &&
	          EVP_PKEY_sign(ctx, out, n_out, r->data.p, r->data.n) == 1;
	EVP_MD_free(md);
	EVP_PKEY_CTX_free(ctx);
	return ok;
}

static bool
sign_message(EVP_PKEY *key, const struct key_request *r, unsigned char *out, size_t *n_out)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	*n_out = KEY_DATA_MAX;
	bool ok = ctx != NULL && EVP_DigestSignInit_ex(ctx, NULL, NULL, NULL, NULL, key, NULL) == 1 &&
	          EVP_DigestSign(ctx, out, n_out, r->data.p, r->data.n) == 1;
	EVP_MD_CTX_free(ctx);
	return ok;
}

static enum rc
end(bool ok, size_t *n_out)
{
	ERR_clear_error();
	if (!ok)
		*n_out = 0;
	return ok ? RC_OK : RC_PERM;
}

enum rc
key_sign(EVP_PKEY *key, const struct key_request *r, unsigned char *out, size_t *n_out)
{
	bool wants_message = EVP_PKEY_is_a(key, "ED25519") || EVP_PKEY_is_a(key, "ED448");
	*n_out = 0;
	if (wants_message != (r->digest == KEY_MESSAGE) || (size_t)EVP_PKEY_get_size(key) > KEY_DATA_MAX)
		return RC_PERM;
	return end(wants_message ? sign_message(key, r, out, n_out) : sign_digest(key, r, out, n_out), n_out);
}

enum rc
key_decrypt(EVP_PKEY *key, const struct key_request *r, unsigned char *out, size_t *n_out)
{
	unsigned client_version = r->client_version, version = r->version;
	OSSL_PARAM params[3], *p = params;
	*n_out = 0;
	if (!EVP_PKEY_is_a(key, "RSA") || (size_t)EVP_PKEY_get_size(key) > KEY_DATA_MAX)
		return RC_PERM;
	*p++ = OSSL_PARAM_construct_uint(OSSL_ASYM_CIPHER_PARAM_TLS_CLIENT_VERSION, &client_version);
	if (version != 0)
		*p++ = OSSL_PARAM_construct_uint(OSSL_ASYM_CIPHER_PARAM_TLS_NEGOTIATED_VERSION, &version);
	*p = OSSL_PARAM_construct_end();
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
	*n_out = KEY_DATA_MAX;
	bool ok = ctx != NULL && EVP_PKEY_decrypt_init(ctx) == 1 && EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_WITH_TLS_PADDING) == 1 &&
	          EVP_PKEY_CTX_set_params(ctx, params) == 1 && EVP_PKEY_decrypt(ctx, out, n_out, r->data.p, r->data.n) == 1 &&
	          *n_out == SSL_MAX_MASTER_KEY_LENGTH;
	EVP_PKEY_CTX_free(ctx);
	return end(ok, n_out);
}
