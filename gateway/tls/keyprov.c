/* SPDX-License-Identifier: BSD-2-Clause */
#include "tls/keyprov.h"

#include "base/mem.h"
#include "tls/keyask.h"

#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/provider.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#define PROVIDER "dogana"
#define PARAM_PUBLIC "dogana-public" /* how a new stand-in is told its public half: an EVP_PKEY pointer */

static const char *const kinds[] = { "RSA", "EC", "ED25519", "ED448" };

bool
keyprov_supports(const EVP_PKEY *key)
{
	for (size_t i = 0; i < NELEMS(kinds); i++)
		if (EVP_PKEY_is_a(key, kinds[i]))
			return true;
	return false;
}

enum rc
keyprov_id(EVP_PKEY *key, unsigned char id[KEY_ID], struct err *e)
{
	unsigned char *der = NULL;
	int n = i2d_PUBKEY(key, &der);
	bool ok = n > 0 && EVP_Digest(der, (size_t)n, id, NULL, EVP_sha256(), NULL) == 1;
	OPENSSL_free(der);
	return ok ? RC_OK : err_set(e, RC_PERM, "its public key cannot be written");
}

/* ---- keys ---- */

struct standin {
	unsigned char id[KEY_ID];
	EVP_PKEY *pub;
};

static void *
standin_new(void *provctx)
{
	(void)provctx;
	return mem_zalloc(sizeof(struct standin));
}

static void
standin_free(void *keydata)
{
	struct standin *k = keydata;
	if (k != NULL)
		EVP_PKEY_free(k->pub);
	mem_free(&k);
}

static int
standin_has(const void *keydata, int selection)
{
	(void)selection;
	const struct standin *k = keydata;
	return k != NULL && k->pub != NULL;
}

static int
standin_match(const void *a, const void *b, int selection)
{
	(void)selection;
	return EVP_PKEY_eq(((const struct standin *)a)->pub, ((const struct standin *)b)->pub) == 1;
}

static int
standin_import(void *keydata, int selection, const OSSL_PARAM params[])
{
	(void)selection;
	struct standin *k = keydata;
	const OSSL_PARAM *p = OSSL_PARAM_locate_const(params, PARAM_PUBLIC);
	struct err e;
	if (p == NULL || p->data_size != sizeof(EVP_PKEY *)) /* somebody else's key does not become one of ours */
		return 0;
	memcpy(&k->pub, p->data, sizeof k->pub);
	EVP_PKEY_up_ref(k->pub);
	return keyprov_id(k->pub, k->id, &e) == RC_OK;
}

static const OSSL_PARAM *
standin_types(int selection)
{
	(void)selection;
	static const OSSL_PARAM types[] = { OSSL_PARAM_octet_string(PARAM_PUBLIC, NULL, 0), OSSL_PARAM_END };
	return types;
}

/* The private half is not here: who wants it for another provider comes back to this one. */
static int
standin_export(void *keydata, int selection, OSSL_CALLBACK *cb, void *arg)
{
	struct standin *k = keydata;
	if ((selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) != 0)
		return 0;
	return EVP_PKEY_export(k->pub, selection, cb, arg);
}

static int
standin_get_params(void *keydata, OSSL_PARAM params[])
{
	return EVP_PKEY_get_params(((struct standin *)keydata)->pub, params);
}

static const OSSL_PARAM *
standin_gettable(void *provctx)
{
	(void)provctx;
	static const OSSL_PARAM list[] = {
		OSSL_PARAM_int(OSSL_PKEY_PARAM_BITS, NULL),
		OSSL_PARAM_int(OSSL_PKEY_PARAM_SECURITY_BITS, NULL),
		OSSL_PARAM_int(OSSL_PKEY_PARAM_MAX_SIZE, NULL),
		OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_DEFAULT_DIGEST, NULL, 0),
		OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_MANDATORY_DIGEST, NULL, 0),
		OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, NULL, 0),
		OSSL_PARAM_END,
	};
	return list;
}

static const char *
ec_operation(int operation)
{
	return operation == OSSL_OP_SIGNATURE ? "ECDSA" : "EC";
}

#define FN(id, fn) { (id), (void (*)(void))(fn) }
#define KEYMGMT                                                                                                            \
	FN(OSSL_FUNC_KEYMGMT_NEW, standin_new), FN(OSSL_FUNC_KEYMGMT_FREE, standin_free), FN(OSSL_FUNC_KEYMGMT_HAS, standin_has), \
	    FN(OSSL_FUNC_KEYMGMT_MATCH, standin_match), FN(OSSL_FUNC_KEYMGMT_IMPORT, standin_import),                      \
	    FN(OSSL_FUNC_KEYMGMT_IMPORT_TYPES, standin_types), FN(OSSL_FUNC_KEYMGMT_EXPORT, standin_export),               \
	    FN(OSSL_FUNC_KEYMGMT_EXPORT_TYPES, standin_types), FN(OSSL_FUNC_KEYMGMT_GET_PARAMS, standin_get_params),       \
	    FN(OSSL_FUNC_KEYMGMT_GETTABLE_PARAMS, standin_gettable)

static const OSSL_DISPATCH keymgmt_functions[] = { KEYMGMT, { 0, NULL } };
static const OSSL_DISPATCH ec_keymgmt_functions[] = { KEYMGMT, FN(OSSL_FUNC_KEYMGMT_QUERY_OPERATION_NAME, ec_operation), { 0, NULL } };

/* ---- signing and decrypting ---- */

struct operation {
	const struct standin *key;   /* OpenSSL keeps it alive */
	enum key_digest digest;
	bool is_pss, is_tls_padding;
	unsigned client_version, version;
};

static void *
operation_new(void *provctx)
{
	(void)provctx;
	return mem_zalloc(sizeof(struct operation));
}

static void *
signing_new(void *provctx, const char *propq)
{
	(void)propq;
	return operation_new(provctx);
}

static void
operation_free(void *vctx)
{
	mem_free(&vctx);
}

static void *
operation_dup(void *vctx)
{
	return mem_dup(vctx, sizeof(struct operation));
}

/* A padding is a number, or its name. */
static bool
get_padding(const OSSL_PARAM *p, int *out)
{
	static const struct {
		const char *name;
		int id;
	} names[] = { { OSSL_PKEY_RSA_PAD_MODE_PKCSV15, RSA_PKCS1_PADDING }, { OSSL_PKEY_RSA_PAD_MODE_PSS, RSA_PKCS1_PSS_PADDING } };
	if (p->data_type != OSSL_PARAM_UTF8_STRING)
		return OSSL_PARAM_get_int(p, out) == 1;
	for (size_t i = 0; i < NELEMS(names); i++)
		if (strcmp(p->data, names[i].name) == 0) {
			*out = names[i].id;
			return true;
		}
	return false;
}

static bool
is_salt_as_digest(const OSSL_PARAM *p, enum key_digest digest)
{
	int n;
	if (p->data_type == OSSL_PARAM_UTF8_STRING)
		return strcmp(p->data, OSSL_PKEY_RSA_PSS_SALT_LEN_DIGEST) == 0;
	return OSSL_PARAM_get_int(p, &n) == 1 && (n == RSA_PSS_SALTLEN_DIGEST || n == (int)key_digest_size(digest));
}

static int
signing_set(void *vctx, const OSSL_PARAM params[])
{
	struct operation *op = vctx;
	const OSSL_PARAM *p;
	int padding;
	if (params == NULL)
		return 1;
	if ((p = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_PAD_MODE)) != NULL) {
		if (!get_padding(p, &padding) || (padding != RSA_PKCS1_PADDING && padding != RSA_PKCS1_PSS_PADDING))
			return 0;
		op->is_pss = padding == RSA_PKCS1_PSS_PADDING;
	}
	if ((p = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_PSS_SALTLEN)) != NULL)
		return is_salt_as_digest(p, op->digest);
	return 1;
}

static const OSSL_PARAM *
signing_settable(void *vctx, void *provctx)
{
	(void)vctx, (void)provctx;
	static const OSSL_PARAM list[] = {
		OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PAD_MODE, NULL, 0),
		OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PSS_SALTLEN, NULL, 0),
		OSSL_PARAM_END,
	};
	return list;
}

/* The digest's names are OpenSSL's many: let it compare. */
static bool
find_digest(const char *name, enum key_digest *out)
{
	EVP_MD *md = EVP_MD_fetch(NULL, name, NULL);
	*out = KEY_MESSAGE;
	for (int d = KEY_MESSAGE + 1; md != NULL && d < KEY_DIGESTS; d++)
		if (EVP_MD_is_a(md, key_digest_name((enum key_digest)d)))
			*out = (enum key_digest)d;
	EVP_MD_free(md);
	return *out != KEY_MESSAGE;
}

static int
signing_init(void *vctx, const char *mdname, void *provkey, const OSSL_PARAM params[])
{
	struct operation *op = vctx;
	op->key = provkey;
	if (EVP_PKEY_is_a(op->key->pub, "ED25519") || EVP_PKEY_is_a(op->key->pub, "ED448"))
		op->digest = KEY_MESSAGE;
	else if (!find_digest(mdname != NULL && mdname[0] != '\0' ? mdname : "SHA2-256", &op->digest))
		return 0;
	return signing_set(vctx, params);
}

static int
sign(void *vctx, unsigned char *sig, size_t *siglen, size_t sigsize, const unsigned char *tbs, size_t tbslen)
{
	struct operation *op = vctx;
	unsigned char digest[EVP_MAX_MD_SIZE], out[KEY_DATA_MAX];
	struct key_request r = { .op = KEY_SIGN, .digest = op->digest, .padding = op->is_pss ? KEY_PSS : KEY_PKCS1, .data = span_of(tbs, tbslen) };
	int most = EVP_PKEY_get_size(op->key->pub);
	size_t n = 0;
	if (sig == NULL) {
		*siglen = most > 0 ? (size_t)most : 0;
		return most > 0;
	}
	memcpy(r.id, op->key->id, KEY_ID);
	if (op->digest != KEY_MESSAGE) {
		if (EVP_Q_digest(NULL, key_digest_name(op->digest), NULL, tbs, tbslen, digest, &n) != 1)
			return 0;
		r.data = span_of(digest, n);
	}
	if (r.data.n > KEY_DATA_MAX || keyask(&r, out, &n) != RC_OK || n == 0 || n > sigsize)
		return 0;
	memcpy(sig, out, n);
	*siglen = n;
	return 1;
}

static const OSSL_DISPATCH signature_functions[] = {
	FN(OSSL_FUNC_SIGNATURE_NEWCTX, signing_new),
	FN(OSSL_FUNC_SIGNATURE_FREECTX, operation_free),
	FN(OSSL_FUNC_SIGNATURE_DUPCTX, operation_dup),
	FN(OSSL_FUNC_SIGNATURE_DIGEST_SIGN_INIT, signing_init),
	FN(OSSL_FUNC_SIGNATURE_DIGEST_SIGN, sign),
	FN(OSSL_FUNC_SIGNATURE_SET_CTX_PARAMS, signing_set),
	FN(OSSL_FUNC_SIGNATURE_SETTABLE_CTX_PARAMS, signing_settable),
	{ 0, NULL },
};

static int
decrypt_set(void *vctx, const OSSL_PARAM params[])
{
	struct operation *op = vctx;
	const OSSL_PARAM *p;
	int padding = 0;
	if (params == NULL)
		return 1;
	if ((p = OSSL_PARAM_locate_const(params, OSSL_ASYM_CIPHER_PARAM_PAD_MODE)) != NULL) {
		if (!get_padding(p, &padding) || padding != RSA_PKCS1_WITH_TLS_PADDING)
			return 0;
		op->is_tls_padding = true;
	}
	if ((p = OSSL_PARAM_locate_const(params, OSSL_ASYM_CIPHER_PARAM_TLS_CLIENT_VERSION)) != NULL && OSSL_PARAM_get_uint(p, &op->client_version) != 1)
		return 0;
	if ((p = OSSL_PARAM_locate_const(params, OSSL_ASYM_CIPHER_PARAM_TLS_NEGOTIATED_VERSION)) != NULL && OSSL_PARAM_get_uint(p, &op->version) != 1)
		return 0;
	return 1;
}

static const OSSL_PARAM *
decrypt_settable(void *vctx, void *provctx)
{
	(void)vctx, (void)provctx;
	static const OSSL_PARAM list[] = {
		OSSL_PARAM_utf8_string(OSSL_ASYM_CIPHER_PARAM_PAD_MODE, NULL, 0),
		OSSL_PARAM_uint(OSSL_ASYM_CIPHER_PARAM_TLS_CLIENT_VERSION, NULL),
		OSSL_PARAM_uint(OSSL_ASYM_CIPHER_PARAM_TLS_NEGOTIATED_VERSION, NULL),
		OSSL_PARAM_END,
	};
	return list;
}

static int
decrypt_init(void *vctx, void *provkey, const OSSL_PARAM params[])
{
	((struct operation *)vctx)->key = provkey;
	return decrypt_set(vctx, params);
}

/* No other padding: its errors would tell who sent the text something about the key. */
static int
decrypt(void *vctx, unsigned char *out, size_t *outlen, size_t outsize, const unsigned char *in, size_t inlen)
{
	struct operation *op = vctx;
	unsigned char secret[KEY_DATA_MAX];
	if (!op->is_tls_padding)
		return 0;
	if (out == NULL) {
		*outlen = SSL_MAX_MASTER_KEY_LENGTH;
		return 1;
	}
	struct key_request r = { .op = KEY_DECRYPT, .client_version = op->client_version, .version = op->version, .data = span_of(in, inlen) };
	memcpy(r.id, op->key->id, KEY_ID);
	size_t n;
	int ok = inlen <= KEY_DATA_MAX && keyask(&r, secret, &n) == RC_OK && n == SSL_MAX_MASTER_KEY_LENGTH && n <= outsize;
	if (ok) {
		memcpy(out, secret, n);
		*outlen = n;
	}
	mem_wipe(secret, SSL_MAX_MASTER_KEY_LENGTH);
	return ok;
}

static const OSSL_DISPATCH cipher_functions[] = {
	FN(OSSL_FUNC_ASYM_CIPHER_NEWCTX, operation_new),
	FN(OSSL_FUNC_ASYM_CIPHER_FREECTX, operation_free),
	FN(OSSL_FUNC_ASYM_CIPHER_DUPCTX, operation_dup),
	FN(OSSL_FUNC_ASYM_CIPHER_DECRYPT_INIT, decrypt_init),
	FN(OSSL_FUNC_ASYM_CIPHER_DECRYPT, decrypt),
	FN(OSSL_FUNC_ASYM_CIPHER_SET_CTX_PARAMS, decrypt_set),
	FN(OSSL_FUNC_ASYM_CIPHER_SETTABLE_CTX_PARAMS, decrypt_settable),
	{ 0, NULL },
};

/* ---- the provider ---- */

static const OSSL_ALGORITHM *
query(void *provctx, int operation, int *no_cache)
{
	static const OSSL_ALGORITHM keymgmts[] = {
		{ "RSA:rsaEncryption:1.2.840.113549.1.1.1", "provider=" PROVIDER, keymgmt_functions, NULL },
		{ "EC:id-ecPublicKey:1.2.840.10045.2.1", "provider=" PROVIDER, ec_keymgmt_functions, NULL },
		{ "ED25519:1.3.101.112", "provider=" PROVIDER, keymgmt_functions, NULL },
		{ "ED448:1.3.101.113", "provider=" PROVIDER, keymgmt_functions, NULL },
		{ NULL, NULL, NULL, NULL },
	};
	static const OSSL_ALGORITHM signatures[] = {
		{ "RSA:rsaEncryption:1.2.840.113549.1.1.1", "provider=" PROVIDER, signature_functions, NULL },
		{ "ECDSA", "provider=" PROVIDER, signature_functions, NULL },
		{ "ED25519:1.3.101.112", "provider=" PROVIDER, signature_functions, NULL },
		{ "ED448:1.3.101.113", "provider=" PROVIDER, signature_functions, NULL },
		{ NULL, NULL, NULL, NULL },
	};
	static const OSSL_ALGORITHM ciphers[] = {
		{ "RSA:rsaEncryption:1.2.840.113549.1.1.1", "provider=" PROVIDER, cipher_functions, NULL },
		{ NULL, NULL, NULL, NULL },
	};
	(void)provctx;
	*no_cache = 0;
	return operation == OSSL_OP_KEYMGMT ? keymgmts : operation == OSSL_OP_SIGNATURE ? signatures : operation == OSSL_OP_ASYM_CIPHER ? ciphers : NULL;
}

static int
provider_init(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in, const OSSL_DISPATCH **out, void **provctx)
{
	static const OSSL_DISPATCH functions[] = { FN(OSSL_FUNC_PROVIDER_QUERY_OPERATION, query), { 0, NULL } };
	(void)handle, (void)in;
	*out = functions;
	*provctx = NULL;
	return 1;
}

/* The default one first: of two that can do the same the first is taken, and only we know our keys. */
static bool
load(void)
{
	static OSSL_PROVIDER *first, *ours;
	if (ours == NULL && (first = OSSL_PROVIDER_load(NULL, "default")) != NULL && OSSL_PROVIDER_add_builtin(NULL, PROVIDER, provider_init) == 1)
		ours = OSSL_PROVIDER_load(NULL, PROVIDER);
	return first != NULL && ours != NULL;
}

enum rc
keyprov_key(EVP_PKEY *pub, EVP_PKEY **out, struct err *e)
{
	*out = NULL;
	if (!load())
		return err_set(e, RC_TEMP, "OpenSSL takes no provider of ours");
	EVP_PKEY_CTX *ctx = NULL;
	for (size_t i = 0; i < NELEMS(kinds); i++)
		if (EVP_PKEY_is_a(pub, kinds[i]))
			ctx = EVP_PKEY_CTX_new_from_name(NULL, kinds[i], "provider=" PROVIDER);
	OSSL_PARAM params[] = { OSSL_PARAM_construct_octet_string(PARAM_PUBLIC, &pub, sizeof pub), OSSL_PARAM_construct_end() };
	bool ok = ctx != NULL && EVP_PKEY_fromdata_init(ctx) == 1 && EVP_PKEY_fromdata(ctx, out, EVP_PKEY_KEYPAIR, params) == 1;
	EVP_PKEY_CTX_free(ctx);
	return ok ? RC_OK : err_set(e, RC_PERM, "keys of this kind cannot be used");
}
