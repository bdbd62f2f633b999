/* SPDX-License-Identifier: BSD-2-Clause */
#include "tls/client.h"

#include "base/clock.h"
#include "base/htab.h"
#include "base/list.h"
#include "base/mem.h"
#include "map/map.h"
#include "tls/key.h"
#include "tls/params.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <strings.h>

enum { NAME_MAX_OCTETS = 255, LIST_MAX = 64 * 1024, FLAVOURS_MAX = 32 };

/* A context with certain protocols and ciphers: to set them on a connection costs more than all the rest of making it. */
struct flavour {
	struct list link;            /* the one used last first */
	char *key;
	SSL_CTX *ctx;
};

struct anchors {
	struct anchors *next;
	char *file;
	X509_STORE *store;
};

struct tls_client {
	struct conf *conf;           /* borrowed */
	const struct params *p;
	bool lmtp;
	const struct service *service;
	X509_STORE *cas;             /* NULL: TLS is not available */
	struct list flavours;
	unsigned n_flavours;
	struct anchors *anchors;
	const EVP_MD *digest;
	bool has_cas, has_cert, is_caching;
	uint64_t session_usec;
	/* sessions to resume */
	struct htab by_key;
	struct list by_age;          /* newest first */
};

struct saved {
	struct hnode by_key;
	struct list by_age;
	SSL_SESSION *session;
	uint64_t until;
	char *key;
};

/* One of a pair of parameters. */
#define EITHER(t, smtp, lmtp_name) ((t)->lmtp ? (t)->p->lmtp_name : (t)->p->smtp)

/* ---- levels ---- */

static const char *const levels[] = {
	[TLS_DEMAND_UNKNOWN] = "", [TLS_DEMAND_NONE] = "none", [TLS_DEMAND_MAY] = "may", [TLS_DEMAND_ENCRYPT] = "encrypt", [TLS_DEMAND_FINGERPRINT] = "fingerprint",
	[TLS_DEMAND_HALF_DANE] = "half-dane", [TLS_DEMAND_DANE] = "dane", [TLS_DEMAND_DANE_ONLY] = "dane-only", [TLS_DEMAND_VERIFY] = "verify", [TLS_DEMAND_SECURE] = "secure",
};

enum tls_demand
tls_demand_parse(struct span word)
{
	for (size_t i = TLS_DEMAND_NONE; i < NELEMS(levels); i++)
		if (span_caseeq_str(word, levels[i]))
			return (enum tls_demand)i;
	return TLS_DEMAND_UNKNOWN;
}

const char *
tls_demand_name(enum tls_demand level)
{
	return levels[level];
}

/* ---- sessions to resume ---- */

static int client_index = -1, key_index = -1;

static void
free_key(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp)
{
	(void)parent, (void)ad, (void)idx, (void)argl, (void)argp;
	mem_free(&ptr);
}

static void
drop(struct tls_client *t, struct saved *s)
{
	htab_remove(&t->by_key, &s->by_key);
	list_remove(&s->by_age);
	SSL_SESSION_free(s->session);
	mem_free(&s->key);
	mem_free(&s);
}

static struct saved *
find(struct tls_client *t, const char *key)
{
	uint64_t hash = span_hash(span_str(key));
	for (struct hnode *n = htab_first(&t->by_key, hash); n != NULL; n = htab_next(n)) {
		struct saved *s = container_of(n, struct saved, by_key);
		if (strcmp(s->key, key) == 0)
			return s;
	}
	return NULL;
}

/*
 * A copy is kept, and each connection gets a copy: OpenSSL marks a session in its hands as spent once it was resumed in TLS 1.3 (RFC 8446 C.4
 * would rather have a ticket used once; Postfix uses it as often as it is needed, and so do we) and once its connection broke.
 */
static int
on_session(SSL *ssl, SSL_SESSION *session)
{
	struct tls_client *t = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), client_index);
	const char *key = SSL_get_ex_data(ssl, key_index);
	SSL_SESSION *copy = t != NULL && key != NULL && SSL_SESSION_is_resumable(session) ? SSL_SESSION_dup(session) : NULL;
	if (copy == NULL)
		return 0;
	struct saved *s = find(t, key);
	if (s != NULL)
		drop(t, s);
	if (t->by_key.count >= TLS_SESSIONS_MAX)
		drop(t, list_entry(t->by_age.prev, struct saved, by_age));
	s = mem_zalloc(sizeof *s);
	s->session = copy;
	s->until = clock_mono() + t->session_usec;
	s->key = mem_strdup(key);
	list_init(&s->by_age);
	list_prepend(&t->by_age, &s->by_age);
	htab_insert(&t->by_key, &s->by_key, span_hash(span_str(key)));
	return 0;
}

void
tls_client_forget(struct tls_client *t, const char *key)
{
	struct saved *s = key != NULL ? find(t, key) : NULL;
	if (s != NULL)
		drop(t, s);
}

/* ---- opening ---- */

static void
complain(struct tls_client *t, const struct service *s, const char *suffix, const struct err *e)
{
	char name[80];
	snprintf(name, sizeof name, "%s_%s", t->lmtp ? "lmtp" : "smtp", suffix);
	conf_problem(t->conf, CONF_ERROR, s, name, "%s: %s", name, e->why);
}

/* A context with what all of a service have in common. */
static enum rc
new_context(struct tls_client *t, SSL_CTX **out, struct err *e)
{
	enum rc rc = tls_context_new(t->p, TLS_client_method(), NULL, out, e);
	if (rc != RC_OK)
		return rc;
	SSL_CTX *ctx = *out;
	rc = tls_keys_client(t->conf, t->service, t->lmtp, ctx, NULL, e); /* the loader says what is wrong: tls_keys_check() */
	t->has_cert = rc == RC_OK;
	if (rc == RC_TEMP || rc == RC_PERM) {
		SSL_CTX_free(ctx);
		*out = NULL;
		return rc;
	}
	if (t->cas != NULL)
		SSL_CTX_set1_cert_store(ctx, t->cas);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
	SSL_CTX_set_verify_depth(ctx, (int)EITHER(t, p_smtp_tls_scert_verifydepth, p_lmtp_tls_scert_verifydepth));
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
	if (!t->is_caching) {
		SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
		return RC_OK;
	}
	SSL_CTX_set_ex_data(ctx, client_index, t);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(ctx, on_session);
	return RC_OK;
}

static enum rc
set_up(struct tls_client *t, const struct service *s, struct err *e)
{
	SSL_CTX *ctx;
	const char *file = EITHER(t, p_smtp_tls_CAfile, p_lmtp_tls_CAfile), *path = EITHER(t, p_smtp_tls_CApath, p_lmtp_tls_CApath);
	t->session_usec = EITHER(t, p_smtp_tls_session_cache_timeout, p_lmtp_tls_session_cache_timeout);
	t->is_caching = EITHER(t, p_smtp_tls_session_cache_database, p_lmtp_tls_session_cache_database)[0] != '\0' && t->session_usec > 0;
	if (client_index < 0) {
		client_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, NULL);
		key_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, free_key);
	}
	enum rc rc = new_context(t, &ctx, e);
	if (rc != RC_OK)
		return rc;
	rc = tls_trust(t->conf, ctx, file, path, e);
	if (rc == RC_OK) {
		t->cas = SSL_CTX_get_cert_store(ctx);
		X509_STORE_up_ref(t->cas);
		t->has_cas = file[0] != '\0' || path[0] != '\0' || t->p->p_tls_append_default_CA;
	} else {
		complain(t, s, file[0] != '\0' ? "tls_CAfile" : "tls_CApath", e);
	}
	SSL_CTX_free(ctx);
	return rc;
}

static void
drop_flavour(struct tls_client *t, struct flavour *f)
{
	list_remove(&f->link);
	t->n_flavours--;
	SSL_CTX_set_ex_data(f->ctx, client_index, NULL); /* a connection may keep the context for a while */
	SSL_CTX_free(f->ctx);
	mem_free(&f->key);
	mem_free(&f);
}

enum rc
tls_client_open(struct conf *c, const struct service *s, bool lmtp, struct tls_client **out, struct err *e)
{
	struct tls_client *t = *out = mem_zalloc(sizeof *t);
	t->conf = c;
	t->service = s;
	t->p = s->params;
	t->lmtp = lmtp;
	list_init(&t->by_age);
	list_init(&t->flavours);
	t->digest = tls_digest(EITHER(t, p_smtp_tls_fingerprint_digest, p_lmtp_tls_fingerprint_digest));
	if (t->digest == NULL) {
		(void)!err_set(e, RC_PERM, "\"%s\" is no digest", EITHER(t, p_smtp_tls_fingerprint_digest, p_lmtp_tls_fingerprint_digest));
		complain(t, s, "tls_fingerprint_digest", e);
		return RC_PERM;
	}
	enum rc rc = set_up(t, s, e);
	if (rc != RC_OK)
		return conf_is_loader(c) ? RC_PERM : RC_TEMP; /* a role goes on without TLS: what needs it waits */
	const struct {
		enum tls_demand level;
		const char *suffix;
	} kinds[] = { { TLS_DEMAND_MAY, "tls_protocols" }, { TLS_DEMAND_ENCRYPT, "tls_mandatory_protocols" } };
	for (size_t i = 0; i < NELEMS(kinds); i++) {
		struct tls_wish w = { .level = kinds[i].level };
		if (tls_client_check(t, &w, e) != RC_OK) {
			complain(t, s, kinds[i].suffix, e);
			rc = RC_PERM;
		}
	}
	struct tls_wish w = { .level = TLS_DEMAND_SECURE, .anchors = EITHER(t, p_smtp_tls_trust_anchor_file, p_lmtp_tls_trust_anchor_file) };
	if (rc == RC_OK && tls_client_check(t, &w, e) != RC_OK) {
		complain(t, s, "tls_trust_anchor_file", e);
		rc = RC_PERM;
	}
	return rc;
}

void
tls_client_free(struct tls_client **tp)
{
	struct tls_client *t = *tp;
	*tp = NULL;
	if (t == NULL)
		return;
	while (!list_empty(&t->by_age))
		drop(t, list_entry(t->by_age.next, struct saved, by_age));
	htab_fini(&t->by_key);
	for (struct anchors *a; (a = t->anchors) != NULL;) {
		t->anchors = a->next;
		X509_STORE_free(a->store);
		mem_free(&a->file);
		mem_free(&a);
	}
	while (!list_empty(&t->flavours))
		drop_flavour(t, list_entry(t->flavours.next, struct flavour, link));
	X509_STORE_free(t->cas);
	mem_free(&t);
}

unsigned
tls_client_loglevel(const struct tls_client *t)
{
	return tls_loglevel(EITHER(t, p_smtp_tls_loglevel, p_lmtp_tls_loglevel));
}

bool
tls_client_has_cas(const struct tls_client *t)
{
	return t->has_cas;
}

/* ---- a wish ---- */

static enum rc
find_anchors(struct tls_client *t, const char *file, X509_STORE **out, struct err *e)
{
	struct span pem;
	for (struct anchors *a = t->anchors; a != NULL; a = a->next)
		if (strcmp(a->file, file) == 0) {
			*out = a->store;
			return RC_OK;
		}
	enum rc rc = conf_file(t->conf, file, &pem, e);
	if (rc != RC_OK)
		return RC_TEMP;
	X509_STORE *store = X509_STORE_new();
	BIO *b = pem.n > 0 && pem.n < INT32_MAX ? BIO_new_mem_buf(pem.p, (int)pem.n) : NULL;
	size_t n = 0;
	for (X509 *x; b != NULL && (x = PEM_read_bio_X509(b, NULL, NULL, NULL)) != NULL; n++) {
		(void)X509_STORE_add_cert(store, x);
		X509_free(x);
	}
	BIO_free(b);
	ERR_clear_error();
	if (n == 0 || span_find(pem, SPAN("BEGIN PUBLIC KEY")) != SIZE_MAX) {
		X509_STORE_free(store);
		return err_set(e, RC_PERM, n == 0 ? "%s: no certificate in it" : "%s: public keys as trust anchors are not supported, only certificates", file);
	}
	struct anchors *a = mem_zalloc(sizeof *a);
	*a = (struct anchors){ .next = t->anchors, .file = mem_strdup(file), .store = store };
	t->anchors = a;
	*out = store;
	return RC_OK;
}

static const char *
or_else(const char *wish, const char *ours)
{
	return wish != NULL ? wish : ours;
}

/* exclude: room for both lists of main.cf. */
static struct tls_settings
settings_of(const struct tls_client *t, const struct tls_wish *w, struct buf *exclude)
{
	bool is_mandatory = w->level > TLS_DEMAND_MAY;
	const char *ours = EITHER(t, p_smtp_tls_exclude_ciphers, p_lmtp_tls_exclude_ciphers);
	buf_puts(exclude, or_else(w->exclude, ours));
	if (w->exclude == NULL && is_mandatory) {
		buf_putc(exclude, ' ');
		buf_puts(exclude, EITHER(t, p_smtp_tls_mandatory_exclude_ciphers, p_lmtp_tls_mandatory_exclude_ciphers));
	}
	return (struct tls_settings){
		.protocols = or_else(w->protocols, is_mandatory ? EITHER(t, p_smtp_tls_mandatory_protocols, p_lmtp_tls_mandatory_protocols)
		                                                : EITHER(t, p_smtp_tls_protocols, p_lmtp_tls_protocols)),
		.grade = or_else(w->grade, is_mandatory ? EITHER(t, p_smtp_tls_mandatory_ciphers, p_lmtp_tls_mandatory_ciphers)
		                                        : EITHER(t, p_smtp_tls_ciphers, p_lmtp_tls_ciphers)),
		.exclude = buf_cstr(exclude),
		.more_exclude = w->level > TLS_DEMAND_ENCRYPT ? "aNULL" : w->level == TLS_DEMAND_ENCRYPT ? "eNULL" : NULL,
	};
}

static enum rc
make_flavour(struct tls_client *t, const struct tls_settings *s, const char *key, SSL_CTX **out, struct err *e)
{
	enum rc rc = new_context(t, out, e);
	if (rc == RC_OK)
		rc = tls_settings_apply(t->p, s, *out, NULL, e);
	if (rc != RC_OK) {
		SSL_CTX_free(*out);
		*out = NULL;
		return rc;
	}
	if (t->n_flavours == FLAVOURS_MAX)
		drop_flavour(t, list_entry(t->flavours.prev, struct flavour, link));
	struct flavour *f = mem_zalloc(sizeof *f);
	*f = (struct flavour){ .key = mem_strdup(key), .ctx = *out };
	list_init(&f->link);
	list_prepend(&t->flavours, &f->link);
	t->n_flavours++;
	return RC_OK;
}

/* The context is borrowed. */
static enum rc
find_flavour(struct tls_client *t, const struct tls_wish *w, SSL_CTX **out, struct err *e)
{
	struct buf exclude, key;
	enum rc rc = RC_NONE;
	buf_init(&exclude, LIST_MAX);
	buf_init(&key, 2 * LIST_MAX);
	*out = NULL;
	struct tls_settings s = settings_of(t, w, &exclude);
	const char *parts[] = { s.protocols, s.grade, s.exclude, or_else(s.more_exclude, "") };
	for (size_t i = 0; i < NELEMS(parts); i++) {
		buf_puts(&key, parts[i]);
		buf_putc(&key, '\n');
	}
	list_each(l, &t->flavours) {
		struct flavour *f = list_entry(l, struct flavour, link);
		if (rc != RC_OK && strcmp(f->key, buf_cstr(&key)) == 0) {
			*out = f->ctx;
			rc = RC_OK;
			list_remove(&f->link);
			list_prepend(&t->flavours, &f->link);
			break;
		}
	}
	if (rc != RC_OK)
		rc = exclude.over || key.over ? err_set(e, RC_PERM, "too long") : make_flavour(t, &s, buf_cstr(&key), out, e);
	buf_fini(&exclude);
	buf_fini(&key);
	return rc;
}

enum rc
tls_client_check(struct tls_client *t, const struct tls_wish *w, struct err *e)
{
	X509_STORE *store;
	SSL_CTX *ctx;
	enum rc rc = t->cas != NULL ? find_flavour(t, w, &ctx, e) : RC_OK; /* without TLS: when it is needed */
	if (rc == RC_OK && w->anchors != NULL && w->anchors[0] != '\0')
		rc = find_anchors(t, w->anchors, &store, e);
	return rc;
}

/* A name that may be asked for: no address, nothing odd. */
static const char *
sni_of(const struct tls_wish *w)
{
	const char *name = w->sni;
	if (name == NULL || name[0] == '\0')
		return NULL;
	if (strcmp(name, "hostname") == 0)
		name = w->host;
	else if (strcmp(name, "nexthop") == 0)
		name = w->nexthop;
	size_t n = strlen(name);
	bool has_letter = false;
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)name[i];
		bool letter = (c | 32) >= 'a' && (c | 32) <= 'z';
		has_letter |= letter;
		if (!letter && !(c >= '0' && c <= '9') && c != '-' && c != '.' && c != '_')
			return NULL;
	}
	return has_letter && n <= NAME_MAX_OCTETS ? name : NULL;
}

enum rc
tls_client_ssl(struct tls_client *t, const struct tls_wish *w, SSL **out, struct err *e)
{
	X509_STORE *store = NULL;
	*out = NULL;
	SSL_CTX *ctx;
	if (t->cas == NULL || (t->has_cert && !tls_keys_usable()))
		return err_set(e, RC_TEMP, "our TLS engine is unavailable");
	enum rc rc = find_flavour(t, w, &ctx, e);
	if (rc != RC_OK)
		return RC_TEMP;
	SSL *ssl = SSL_new(ctx);
	if (ssl == NULL)
		return err_set(e, RC_TEMP, "our TLS engine is unavailable");
	if (rc == RC_OK && w->anchors != NULL && w->anchors[0] != '\0')
		rc = find_anchors(t, w->anchors, &store, e);
	if (rc != RC_OK) {
		SSL_free(ssl);
		return RC_TEMP;
	}
	if (store != NULL) {
		(void)SSL_set1_verify_cert_store(ssl, store);
		X509_VERIFY_PARAM_set_flags(SSL_get0_param(ssl), X509_V_FLAG_PARTIAL_CHAIN);
	}
	const char *sni = sni_of(w);
	if (sni != NULL)
		(void)SSL_set_tlsext_host_name(ssl, (void *)(uintptr_t)sni);
	if (t->is_caching && w->key != NULL) {
		struct saved *s = find(t, w->key);
		if (s != NULL && s->until < clock_mono()) {
			drop(t, s);
			s = NULL;
		}
		SSL_SESSION *copy = s != NULL ? SSL_SESSION_dup(s->session) : NULL;
		if (copy != NULL)
			(void)SSL_set_session(ssl, copy);
		SSL_SESSION_free(copy);
		(void)SSL_set_ex_data(ssl, key_index, mem_strdup(w->key));
	}
	SSL_set_connect_state(ssl);
	*out = ssl;
	return RC_OK;
}

/* ---- who answered ---- */

/* Names are compared by OpenSSL, with lengths: a NUL in one matches nothing. "." alone is no name. */
static bool
has_name(X509 *cert, const char *name, size_t n, bool many_labels)
{
	unsigned flags = X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | (many_labels ? X509_CHECK_FLAG_MULTI_LABEL_WILDCARDS : 0);
	while (n > 1 && name[n - 1] == '.')
		n--;
	return n > 0 && !(n == 1 && name[0] == '.') && X509_check_host(cert, name, n, flags, NULL) == 1;
}

bool
tls_names_match(X509 *cert, const struct tls_wish *w, bool many_labels)
{
	struct span rest = span_str(w->match), word;
	while (span_word(&rest, ":, \t\r\n", &word)) {
		char name[NAME_MAX_OCTETS + 2] = "";
		if (span_eq_str(word, "hostname"))
			snprintf(name, sizeof name, "%s", w->host);
		else if (span_eq_str(word, "nexthop"))
			snprintf(name, sizeof name, "%s", w->nexthop);
		else if (span_eq_str(word, "dot-nexthop"))
			snprintf(name, sizeof name, ".%s", w->nexthop);
		else if (word.n < sizeof name)
			memcpy(name, word.p, word.n);
		if (has_name(cert, name, strlen(name), many_labels))
			return true;
	}
	return false;
}

static bool
has_fingerprint(const struct tls_peer *p, const char *list)
{
	struct span rest = span_str(list), word;
	while (span_word(&rest, "|, \t\r\n", &word))
		if (span_caseeq_str(word, p->cert_fingerprint) || span_caseeq_str(word, p->key_fingerprint))
			return true;
	return false;
}

void
tls_client_judge(struct tls_client *t, SSL *ssl, const struct tls_wish *w, struct tls_peer *out)
{
	tls_peer_read(ssl, t->digest, out);
	if (w->level == TLS_DEMAND_FINGERPRINT) {
		out->is_matched = out->is_trusted = out->has_cert && has_fingerprint(out, or_else(w->fingerprints, EITHER(t, p_smtp_tls_fingerprint_cert_match, p_lmtp_tls_fingerprint_cert_match)));
		return;
	}
	if (w->level < TLS_DEMAND_VERIFY || !out->is_trusted)
		return;
	X509 *cert = SSL_get0_peer_certificate(ssl);
	out->is_trusted = out->is_matched = cert != NULL && tls_names_match(cert, w, t->p->p_tls_wildcard_matches_multiple_labels);
}

static void
put_issuer(SSL *ssl, struct buf *out)
{
	char name[512] = "<unknown>";
	STACK_OF(X509) *chain = SSL_get0_verified_chain(ssl);
	X509 *last = chain != NULL && sk_X509_num(chain) > 0 ? sk_X509_value(chain, sk_X509_num(chain) - 1) : SSL_get0_peer_certificate(ssl);
	if (last != NULL)
		X509_NAME_oneline(X509_get_issuer_name(last), name, sizeof name);
	buf_put_safe(out, span_str(name), sizeof name, false);
}

void
tls_client_explain(SSL *ssl, const struct tls_peer *p, enum tls_demand level, const char *server, struct buf *out)
{
	/* as OpenSSL says it where Postfix has it compare fingerprints */
	long err = level == TLS_DEMAND_FINGERPRINT ? X509_V_ERR_DANE_NO_MATCH : p->verify;
	if (p->is_resumed) {
		buf_printf(out, "%s: re-using session with untrusted certificate, look for details earlier in the log", server);
		return;
	}
	switch (err) {
	case X509_V_OK:
		buf_printf(out, "server certificate verification failed for %s: num=%d:%s", server, X509_V_ERR_HOSTNAME_MISMATCH,
		    X509_verify_cert_error_string(X509_V_ERR_HOSTNAME_MISMATCH));
		return;
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
		buf_printf(out, "certificate verification failed for %s: self-signed certificate", server);
		return;
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
		buf_printf(out, "certificate verification failed for %s: untrusted issuer ", server);
		put_issuer(ssl, out);
		return;
	case X509_V_ERR_CERT_NOT_YET_VALID:
	case X509_V_ERR_ERROR_IN_CERT_NOT_BEFORE_FIELD:
		buf_printf(out, "server certificate verification failed for %s: certificate not yet valid", server);
		return;
	case X509_V_ERR_CERT_HAS_EXPIRED:
	case X509_V_ERR_ERROR_IN_CERT_NOT_AFTER_FIELD:
		buf_printf(out, "server certificate verification failed for %s: certificate has expired", server);
		return;
	case X509_V_ERR_INVALID_PURPOSE:
		buf_printf(out, "certificate verification failed for %s: not designated for use as a server certificate", server);
		return;
	default:
		buf_printf(out, "server certificate verification failed for %s: num=%ld:%s", server, err, X509_verify_cert_error_string(err));
	}
}
