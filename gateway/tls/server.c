/* SPDX-License-Identifier: BSD-2-Clause */
#include "tls/server.h"

#include "base/list.h"
#include "base/mem.h"
#include "map/map.h"
#include "msg/addr.h"
#include "tls/key.h"
#include "tls/params.h"
#include "tls/tickets.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/sha.h>

enum { NAME_SCRATCH = 8192, SNI_MAX = 253 };

/* The certificates for one value of tls_server_sni_maps. */
struct sni_chain {
	struct list link;
	SSL_CTX *ctx;                /* holds certificates and keys, no session is ever of it; NULL: could not be made */
	char files[];
};

struct tls_server {
	struct conf *conf;
	SSL_CTX *ctx;
	bool asks_cert, requires_cert;
	const EVP_MD *digest;
	struct map_list *names;      /* tls_server_sni_maps */
	struct list chains;
};

/* ---- levels ---- */

enum rc
tls_server_level(const struct params *p, enum tls_level *out, struct err *e)
{
	static const struct {
		const char *word;
		enum tls_level level;
	} words[] = { { "none", TLS_LEVEL_NONE }, { "may", TLS_LEVEL_MAY }, { "encrypt", TLS_LEVEL_ENCRYPT }, { "fingerprint", TLS_LEVEL_ENCRYPT },
		{ "verify", TLS_LEVEL_ENCRYPT }, { "secure", TLS_LEVEL_ENCRYPT } };
	*out = p->p_smtpd_enforce_tls ? TLS_LEVEL_ENCRYPT : p->p_smtpd_use_tls ? TLS_LEVEL_MAY : TLS_LEVEL_NONE;
	enum rc rc = RC_OK;
	if (p->p_smtpd_tls_security_level[0] != '\0') {
		size_t i = 0;
		while (i < NELEMS(words) && !span_caseeq_str(span_str(p->p_smtpd_tls_security_level), words[i].word))
			i++;
		if (i < NELEMS(words))
			*out = words[i].level;
		else
			rc = err_set(e, RC_PERM, "invalid TLS level \"%.40s\"", p->p_smtpd_tls_security_level);
	}
	if (p->p_smtpd_tls_wrappermode)
		*out = TLS_LEVEL_ENCRYPT;
	return rc;
}

/* ---- SNI ---- */

bool
tls_sni_name(struct span name, char out[256])
{
	out[0] = '\0';
	if (name.n == 0 || name.n > SNI_MAX || !addr_is_hostname(name, false))
		return false;
	for (size_t i = 0; i < name.n; i++)
		out[i] = (char)(name.p[i] >= 'A' && name.p[i] <= 'Z' ? name.p[i] | 0x20 : name.p[i]);
	out[name.n] = '\0';
	return true;
}

/* The chain files for a name: itself, then its parents with a dot in front. */
static enum rc
find_files(const struct tls_server *t, const char *name, struct buf *scratch, struct span *files, struct err *e)
{
	struct span key = span_str(name);
	for (;;) {
		enum rc rc = map_find(t->names, key, 0, scratch, files, e);
		if (rc != RC_NONE)
			return rc;
		size_t dot = span_chr(span_from(key, 1), '.');
		if (dot == SIZE_MAX)
			return RC_NONE;
		key = span_from(key, dot + 1);
	}
}

static SSL_CTX *
chain_of(struct tls_server *t, struct span files)
{
	list_each(l, &t->chains) {
		struct sni_chain *c = list_entry(l, struct sni_chain, link);
		if (span_eq_str(files, c->files))
			return c->ctx;
	}
	struct sni_chain *c = mem_zalloc(sizeof *c + files.n + 1);
	struct err e;
	memcpy(c->files, files.p, files.n);
	list_init(&c->link);
	list_append(&t->chains, &c->link);
	c->ctx = SSL_CTX_new(TLS_server_method());
	if (c->ctx == NULL)
		return NULL;
	SSL_CTX_set_security_level(c->ctx, SSL_CTX_get_security_level(t->ctx));
	if (tls_key_use_chains(t->conf, TLS_SERVER, c->ctx, c->files, &e) != RC_OK) {
		log_warn(NULL, "tls_server_sni_maps: %s", e.why);
		SSL_CTX_free(c->ctx);
		c->ctx = NULL;
	}
	return c->ctx;
}

/* The certificates of a name in the place of the service's; all else (ciphers, CAs, tickets) stays what the service says. */
static bool
use_chain(SSL *ssl, SSL_CTX *from)
{
	bool ok = true;
	SSL_certs_clear(ssl); /* no RSA certificate of another name beside an ECDSA one of this */
	for (int more = SSL_CTX_set_current_cert(from, SSL_CERT_SET_FIRST); ok && more == 1; more = SSL_CTX_set_current_cert(from, SSL_CERT_SET_NEXT)) {
		STACK_OF(X509) *above = NULL;
		SSL_CTX_get0_chain_certs(from, &above);
		ok = SSL_use_cert_and_key(ssl, SSL_CTX_get0_certificate(from), SSL_CTX_get0_privatekey(from), above, 1) == 1;
	}
	ERR_clear_error();
	return ok && SSL_get_certificate(ssl) != NULL;
}

static int
on_name(SSL *ssl, int *alert, void *arg)
{
	struct tls_server *t = arg;
	struct tls_hello *h = SSL_get_app_data(ssl);
	const char *sni = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	struct buf scratch;
	struct span files;
	struct err e;
	if (sni == NULL || h == NULL || h->name[0] != '\0')
		return SSL_TLSEXT_ERR_NOACK; /* none, or looked at already: a second hello */
	if (!tls_sni_name(span_str(sni), h->name)) {
		LOG(tls_sni_bad, h->log, F_SPAN(client, *h->client), F_STR(name, sni));
		return SSL_TLSEXT_ERR_NOACK;
	}
	buf_init(&scratch, NAME_SCRATCH);
	enum rc rc = find_files(t, h->name, &scratch, &files, &e);
	SSL_CTX *ctx = rc == RC_OK ? chain_of(t, files) : NULL;
	buf_fini(&scratch);
	if (rc == RC_NONE) {
		LOG(tls_sni_none, h->log, F_STR(name, h->name), F_SPAN(client, *h->client));
		return SSL_TLSEXT_ERR_NOACK;
	}
	if (ctx == NULL || !use_chain(ssl, ctx)) {
		log_warn(h->log, "tls_server_sni_maps: lookup of %s failed%s%s", h->name, rc != RC_OK ? ": " : "", rc != RC_OK ? e.why : "");
		*alert = SSL_AD_INTERNAL_ERROR;
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	}
	h->name_matched = true;
	return SSL_TLSEXT_ERR_OK;
}

/* ---- what the loader looks at ---- */

struct sni_check {
	struct conf *conf;
	const struct service *service;
	enum rc rc;
};

static bool
check_sni_entry(void *arg, const char *table, struct span key, struct span value)
{
	struct sni_check *x = arg;
	struct buf files;
	struct err e;
	char name[256];
	struct span bare = key.n > 0 && key.p[0] == '.' ? span_from(key, 1) : key;
	if (!tls_sni_name(bare, name))
		conf_problem(x->conf, CONF_WARNING, x->service, "tls_server_sni_maps", "tls_server_sni_maps: %s: \"%.*s\" is no host name, nobody asks for it",
		    table, (int)(key.n < 80 ? key.n : 80), (const char *)key.p);
	buf_init(&files, NAME_SCRATCH);
	buf_put(&files, value);
	if (tls_key_use_chains(x->conf, TLS_SERVER, NULL, buf_cstr(&files), &e) != RC_OK) {
		conf_problem(x->conf, CONF_ERROR, x->service, "tls_server_sni_maps", "tls_server_sni_maps: %s: %.*s: %s", table,
		    (int)(key.n < 80 ? key.n : 80), (const char *)key.p, e.why);
		x->rc = RC_PERM;
	}
	buf_fini(&files);
	return true;
}

/* Its files are read with the configuration: nothing is opened for a name that a client says. */
static enum rc
check_sni_tables(struct conf *c, const struct service *s, struct tls_server *t, struct err *e)
{
	static const char *const listed[] = { "hash:", "btree:", "lmdb:", "cdb:", "dbm:", "sdbm:", "texthash:", "inline:" };
	struct sni_check x = { .conf = c, .service = s, .rc = RC_OK };
	struct span rest = span_str(s->params->p_tls_server_sni_maps), item;
	bool group;
	while (conf_item(&rest, &item, &group) == RC_OK) {
		bool ok = false;
		for (size_t i = 0; i < NELEMS(listed); i++)
			ok |= span_starts(item, span_str(listed[i]));
		if (!ok) {
			conf_problem(c, CONF_ERROR, s, "tls_server_sni_maps", "tls_server_sni_maps: %.*s: only tables that can be listed (hash, btree, lmdb, cdb, "
			    "texthash, inline): their certificates are read with the configuration", (int)(item.n < 80 ? item.n : 80), (const char *)item.p);
			x.rc = RC_PERM;
		}
	}
	map_list_each(t->names, check_sni_entry, &x);
	return x.rc == RC_OK ? RC_OK : err_set(e, RC_PERM, "tls_server_sni_maps: bad entry");
}

/* ---- ALPN ---- */

/* "smtp" or nothing: who speaks HTTP wanted somebody else (ALPACA). */
static int
on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_n, const unsigned char *in, unsigned n, void *arg)
{
	(void)ssl, (void)arg;
	struct cur rd = cur_of(span_of(in, n));
	while (cur_left(&rd) > 0 && !rd.bad) {
		struct span name = cur_take(&rd, cur_u8(&rd));
		if (span_eq_str(name, "smtp")) {
			*out = name.p;
			*out_n = (unsigned char)name.n;
			return SSL_TLSEXT_ERR_OK;
		}
	}
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* ---- certificates ---- */

/* Whatever is wrong with a client's certificate is not the end: restrictions decide what it is worth. */
static int
on_verify(int ok, X509_STORE_CTX *x)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(x, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct tls_hello *h = ssl != NULL ? SSL_get_app_data(ssl) : NULL;
	X509 *cert = X509_STORE_CTX_get_current_cert(x);
	if (!ok && h != NULL && h->verify == X509_V_OK) {
		h->verify = X509_STORE_CTX_get_error(x);
		if (cert != NULL)
			(void)X509_NAME_oneline(X509_get_issuer_name(cert), h->issuer, sizeof h->issuer);
	}
	return 1;
}

static bool
has_certificate(const struct params *p)
{
	bool named = p->p_smtpd_tls_cert_file[0] != '\0' && strcasecmp(p->p_smtpd_tls_cert_file, "none") != 0;
	return named || p->p_smtpd_tls_chain_files[0] != '\0' || p->p_smtpd_tls_eccert_file[0] != '\0' || p->p_smtpd_tls_dcert_file[0] != '\0';
}

static bool
has_old_names(const struct params *p)
{
	return p->p_smtpd_tls_cert_file[0] != '\0' || p->p_smtpd_tls_eccert_file[0] != '\0' || p->p_smtpd_tls_dcert_file[0] != '\0';
}

/* The names of the CAs, for clients that have several certificates. */
static void
name_authorities(SSL_CTX *ctx, struct span pem)
{
	STACK_OF(X509_NAME) *names = sk_X509_NAME_new_null();
	BIO *b = pem.n > 0 && pem.n < INT32_MAX ? BIO_new_mem_buf(pem.p, (int)pem.n) : NULL;
	for (X509 *x; b != NULL && (x = PEM_read_bio_X509_AUX(b, NULL, NULL, NULL)) != NULL; X509_free(x)) {
		X509_NAME *n = X509_NAME_dup(X509_get_subject_name(x));
		if (n != NULL && sk_X509_NAME_push(names, n) == 0)
			X509_NAME_free(n);
	}
	ERR_clear_error();
	BIO_free(b);
	SSL_CTX_set_client_CA_list(ctx, names);
}

/* Tickets and sessions are good where the same is asked of clients, and the same CAs are believed. */
static void
name_context(SSL_CTX *ctx, const struct service *s, const struct tls_server *t, struct span authorities)
{
	unsigned char digest[SHA256_DIGEST_LENGTH];
	struct buf b;
	buf_init(&b, SIZE_MAX / 2);
	buf_put_block(&b, span_str(s->name));
	buf_put_block(&b, span_str(s->type));
	buf_put_u8(&b, t->asks_cert);
	buf_put_u8(&b, t->requires_cert);
	buf_put_u64(&b, (uint64_t)s->params->p_smtpd_tls_ccert_verifydepth);
	buf_put_block(&b, span_str(s->params->p_smtpd_tls_CApath));
	buf_put_block(&b, authorities);
	SHA256(buf_span(&b).p, buf_len(&b), digest);
	SSL_CTX_set_session_id_context(ctx, digest, sizeof digest);
	buf_fini(&b);
}

static enum rc
want_certificates(struct conf *c, const struct service *s, struct tls_server *t, struct err *e)
{
	const struct params *p = s->params;
	struct span authorities = SPAN_EMPTY;
	enum rc rc = tls_trust(c, t->ctx, p->p_smtpd_tls_CAfile, p->p_smtpd_tls_CApath, e);
	if (rc != RC_OK)
		return rc;
	if (p->p_smtpd_tls_CAfile[0] != '\0' && (rc = conf_file(c, p->p_smtpd_tls_CAfile, &authorities, e)) != RC_OK)
		return rc;
	if (t->asks_cert) {
		SSL_CTX_set_verify(t->ctx, SSL_VERIFY_PEER | SSL_VERIFY_CLIENT_ONCE, on_verify);
		name_authorities(t->ctx, authorities);
	}
	/* ours counts all but the leaf and the root, as Postfix's does */
	SSL_CTX_set_verify_depth(t->ctx, (int)p->p_smtpd_tls_ccert_verifydepth);
	name_context(t->ctx, s, t, authorities);
	return RC_OK;
}

static enum rc
use_dh_file(struct conf *c, SSL_CTX *ctx, const char *file, struct err *e)
{
	struct span pem;
	if (file[0] == '\0' || strcmp(file, "auto") == 0)
		return RC_OK;
	if (strcmp(file, "none") == 0) {
		SSL_CTX_set_dh_auto(ctx, 0);
		return RC_OK;
	}
	enum rc rc = conf_file(c, file, &pem, e);
	if (rc != RC_OK)
		return rc;
	BIO *b = pem.n > 0 && pem.n < INT32_MAX ? BIO_new_mem_buf(pem.p, (int)pem.n) : NULL;
	EVP_PKEY *dh = b != NULL ? PEM_read_bio_Parameters(b, NULL) : NULL;
	BIO_free(b);
	if (dh != NULL && SSL_CTX_set0_tmp_dh_pkey(ctx, dh) == 1) {
		SSL_CTX_set_dh_auto(ctx, 0);
		return RC_OK;
	}
	EVP_PKEY_free(dh);
	ERR_clear_error();
	return err_set(e, RC_PERM, "%s: no usable DH parameters in it", file);
}

/* ---- making one ---- */

static enum rc
set_up(struct conf *c, const struct service *s, struct tls_server *t, bool mandatory, const char **param_out, struct err *e)
{
	const struct params *p = s->params;
	struct tls_settings settings = {
		.protocols = mandatory ? p->p_smtpd_tls_mandatory_protocols : p->p_smtpd_tls_protocols,
		.grade = mandatory ? p->p_smtpd_tls_mandatory_ciphers : p->p_smtpd_tls_ciphers,
		.exclude = p->p_smtpd_tls_exclude_ciphers, .more_exclude = mandatory ? p->p_smtpd_tls_mandatory_exclude_ciphers : NULL,
		.anonymous = !has_certificate(p),
	};
	enum rc rc = tls_context_new(p, TLS_server_method(), p->p_smtpd_tls_eecdh_grade, &t->ctx, e);
	if (rc == RC_OK)
		rc = tls_settings_apply(p, &settings, t->ctx, NULL, e);
	if (rc == RC_OK)
		rc = use_dh_file(c, t->ctx, p->p_smtpd_tls_dh1024_param_file, e);
	if (rc == RC_OK)
		rc = want_certificates(c, s, t, e);
	if (rc == RC_OK && (t->digest = tls_digest(p->p_smtpd_tls_fingerprint_digest)) == NULL)
		rc = err_set(e, RC_PERM, "smtpd_tls_fingerprint_digest: no such digest \"%.40s\"", p->p_smtpd_tls_fingerprint_digest);
	if (rc == RC_OK)
		rc = tls_keys_server(c, s, t->ctx, param_out, e);
	if (rc != RC_OK && rc != RC_NONE)
		return rc;
	if (p->p_tls_preempt_cipherlist)
		SSL_CTX_set_options(t->ctx, SSL_OP_CIPHER_SERVER_PREFERENCE);
	SSL_CTX_set_session_cache_mode(t->ctx, p->p_smtpd_tls_always_issue_session_ids ? SSL_SESS_CACHE_SERVER | SSL_SESS_CACHE_NO_INTERNAL : SSL_SESS_CACHE_OFF);
	uint64_t lifetime = p->p_smtpd_tls_session_cache_timeout / 1000000;
	if (p->p_tls_session_ticket_cipher[0] == '\0' || lifetime == 0) {
		SSL_CTX_set_options(t->ctx, SSL_OP_NO_TICKET);
		SSL_CTX_set_num_tickets(t->ctx, 0);
	} else {
		tickets_use(t->ctx, lifetime);
	}
	SSL_CTX_set_alpn_select_cb(t->ctx, on_alpn, NULL);
	if (!map_list_empty(t->names)) {
		SSL_CTX_set_tlsext_servername_callback(t->ctx, on_name);
		SSL_CTX_set_tlsext_servername_arg(t->ctx, t);
	}
	return RC_OK;
}

static void
warnings(struct conf *c, const struct service *s, enum tls_level level)
{
	const struct params *p = s->params;
	if (p->p_smtpd_tls_req_ccert && level != TLS_LEVEL_ENCRYPT)
		conf_problem(c, CONF_WARNING, s, "smtpd_tls_req_ccert", "smtpd_tls_req_ccert: can't require client certificates unless TLS is required");
	if (p->p_smtpd_tls_chain_files[0] != '\0' && has_old_names(p))
		conf_problem(c, CONF_WARNING, s, "smtpd_tls_chain_files", "smtpd_tls_chain_files is set: smtpd_tls_cert_file, _eccert_file and _dcert_file are not used");
	if (strcasecmp(p->p_smtpd_tls_cert_file, "none") == 0 && !has_certificate(p))
		conf_problem(c, CONF_WARNING, s, "smtpd_tls_cert_file", "smtpd_tls_cert_file = none: ciphers without a certificate, up to TLS 1.2; most clients do not have them");
	if (p->p_tls_session_ticket_cipher[0] != '\0' && strcmp(p->p_tls_session_ticket_cipher, "aes-256-cbc") != 0)
		conf_problem(c, CONF_NOTE, s, "tls_session_ticket_cipher", "tls_session_ticket_cipher: tickets are aes-256-cbc whatever it says");
}

enum rc
tls_server_open(struct conf *c, const struct service *s, struct tls_server **out, struct err *e)
{
	enum tls_level level;
	const char *param = "smtpd_tls_security_level";
	struct err why;
	*out = NULL;
	enum rc rc = tls_server_level(s->params, &level, &why);
	if (rc != RC_OK) {
		conf_problem(c, CONF_ERROR, s, "smtpd_tls_security_level", "smtpd_tls_security_level: %s", why.why);
		return err_set(e, rc, "smtpd_tls_security_level: %s", why.why);
	}
	if (level == TLS_LEVEL_NONE)
		return RC_OK;
	warnings(c, s, level);
	if (!has_certificate(s->params) && strcasecmp(s->params->p_smtpd_tls_cert_file, "none") != 0) {
		conf_problem(c, CONF_WARNING, s, "smtpd_tls_security_level", "no server certificate (smtpd_tls_chain_files): TLS won't be enabled%s",
		    level == TLS_LEVEL_ENCRYPT ? ", and without it no mail is taken" : "");
		return RC_OK;
	}
	struct tls_server *t = mem_zalloc(sizeof *t);
	list_init(&t->chains);
	t->conf = c; /* outlived by whoever has us */
	t->requires_cert = s->params->p_smtpd_tls_req_ccert && level == TLS_LEVEL_ENCRYPT;
	t->asks_cert = s->params->p_smtpd_tls_ask_ccert || t->requires_cert;
	rc = maps_open_param(c, s, "tls_server_sni_maps", &t->names, &why);
	if (rc == RC_OK)
		rc = set_up(c, s, t, level == TLS_LEVEL_ENCRYPT, &param, &why);
	if (rc == RC_OK && conf_is_loader(c) && !map_list_empty(t->names))
		rc = check_sni_tables(c, s, t, &why);
	if (rc != RC_OK) {
		conf_problem(c, CONF_ERROR, s, param, "TLS of this service: %s", why.why);
		tls_server_free(&t);
		return err_set(e, RC_PERM, "%s", why.why);
	}
	*out = t;
	return RC_OK;
}

void
tls_server_free(struct tls_server **sp)
{
	struct tls_server *t = *sp;
	*sp = NULL;
	if (t == NULL)
		return;
	for (struct list *l; (l = list_pop(&t->chains)) != NULL;) {
		struct sni_chain *c = list_entry(l, struct sni_chain, link);
		SSL_CTX_free(c->ctx);
		mem_free(&c);
	}
	map_list_free(&t->names);
	SSL_CTX_free(t->ctx);
	mem_free(&t);
}

/* ---- use ---- */

bool
tls_server_asks_cert(const struct tls_server *t)
{
	return t->asks_cert;
}

bool
tls_server_requires_cert(const struct tls_server *t)
{
	return t->requires_cert;
}

const EVP_MD *
tls_server_digest(const struct tls_server *t)
{
	return t->digest;
}

SSL *
tls_server_begin(struct tls_server *t, struct tls_hello *hello)
{
	if (t == NULL || !tls_keys_usable())
		return NULL;
	SSL *ssl = SSL_new(t->ctx);
	if (ssl == NULL) {
		ERR_clear_error();
		return NULL;
	}
	SSL_set_app_data(ssl, hello);
	SSL_set_accept_state(ssl);
	return ssl;
}
