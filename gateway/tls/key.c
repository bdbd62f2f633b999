/* SPDX-License-Identifier: BSD-2-Clause */
#include "tls/key.h"

#include "base/clock.h"
#include "base/mem.h"
#include "tls/chain.h"
#include "tls/keyask.h"
#include "tls/keyprov.h"
#include "tls/keynote.h"

#include <openssl/err.h>
#include <openssl/sha.h>

static const char *
ssl_why(void)
{
	const char *why = ERR_reason_error_string(ERR_peek_last_error());
	return why != NULL ? why : "OpenSSL does not say why";
}

/* ---- a role: from the notes ---- */

static enum rc
use_standin(SSL_CTX *ctx, struct span pem, struct err *e)
{
	struct pem_file f = { 0 };
	EVP_PKEY *key = NULL;
	enum rc rc = pem_read(&f, pem, e);
	if (rc == RC_OK && (f.n == 0 || f.items[0].cert == NULL))
		rc = err_set(e, RC_TEMP, "no certificate was noted");
	if (rc == RC_OK)
		rc = keyprov_key(X509_get0_pubkey(f.items[0].cert), &key, e);
	STACK_OF(X509) *above = sk_X509_new_null();
	for (size_t i = 1; rc == RC_OK && i < f.n; i++)
		if (f.items[i].cert != NULL)
			(void)sk_X509_push(above, f.items[i].cert); /* stays the file's */
	ERR_clear_error();
	if (rc == RC_OK && SSL_CTX_use_cert_and_key(ctx, f.items[0].cert, key, above, 1) != 1)
		rc = err_set(e, RC_PERM, "%s", ssl_why());
	ERR_clear_error();
	sk_X509_free(above);
	EVP_PKEY_free(key);
	pem_free(&f);
	return rc;
}

static enum rc
use_noted(const struct conf *c, SSL_CTX *ctx, const char *note, const char *files, struct err *e)
{
	const char *text = conf_attached(c, note);
	if (text == NULL)
		return err_set(e, RC_TEMP, "%s: not part of the configuration that was loaded", files);
	struct span rest = span_str(text), pem;
	enum rc rc = RC_OK;
	while (rc == RC_OK && ctx != NULL && keynote_chain(&rest, &pem))
		rc = use_standin(ctx, pem, e);
	return rc == RC_OK ? RC_OK : err_prefix(e, "%s", files);
}

/* ---- the loader: from the files ---- */

static enum rc
read_file(struct conf *c, const char *path, struct pem_file *f, struct err *e)
{
	struct span text;
	size_t before = f->n;
	enum rc rc = conf_file_secret(c, path, CONF_FOR_KEYS, &text, e);
	if (rc != RC_OK)
		return e->rc = RC_PERM; /* "open FILE: why" */
	rc = pem_read(f, text, e);
	if (rc != RC_OK)
		return err_prefix(e, "%s", path);
	for (size_t i = before; i < f->n; i++)
		if (f->items[i].key != NULL)
			conf_warn_readable(c, NULL, path, 0007);
	return RC_OK;
}

/* ---- dates ---- */

static const char *
in_force_name(char text[16 + 2 * SHA256_DIGEST_LENGTH], const X509 *cert)
{
	unsigned char digest[EVP_MAX_MD_SIZE] = { 0 };
	(void)X509_digest(cert, EVP_sha256(), digest, NULL);
	int at = snprintf(text, 16, "tls-in-force:");
	for (size_t i = 0; i < SHA256_DIGEST_LENGTH; i++)
		at += snprintf(text + at, 3, "%02x", digest[i]);
	return text;
}

static void
note_in_force(void *arg, const char *files, const X509 *leaf)
{
	char name[16 + 2 * SHA256_DIGEST_LENGTH];
	(void)files;
	conf_attach(arg, in_force_name(name, leaf), "");
}

void
tls_certs_in_force(struct conf *next, const struct conf *c)
{
	tls_certs_each(c, note_in_force, next);
}

/* noted: what these files held in the snapshot this one was made of. A snapshot of a reload has what was in force before it. */
static bool
was_in_force(const struct conf *c, const X509 *leaf, const char *own, const char *noted)
{
	char name[16 + 2 * SHA256_DIGEST_LENGTH];
	return noted != NULL ? strstr(noted, own) != NULL : conf_attached(c, in_force_name(name, leaf)) != NULL;
}

/* One that was in force before goes on; a new one that has expired is refused. */
static enum rc
look_at_dates(struct conf *c, const char *file, const X509 *cert, bool was_accepted, struct err *e)
{
	struct buf when;
	buf_init(&when, 100);
	uint64_t now = clock_wall(), from = cert_not_before(cert), until = cert_not_after(cert);
	enum rc rc = RC_OK;
	if (until <= now) {
		cert_time_put(&when, until);
		if (!was_accepted)
			rc = err_set(e, RC_PERM, "%s: the certificate has expired on %s: put a valid one (and its key) there, "
			    "or make one with \"dogana tls self-signed\"", file, buf_cstr(&when));
		else
			conf_problem(c, CONF_WARNING, NULL, NULL, "%s: the certificate has expired on %s: it is shown as it was in use before, but clients that "
			    "look will not believe it, and the next start is refused; put a valid one there", file, buf_cstr(&when));
	} else if (from > now) {
		cert_time_put(&when, from);
		conf_problem(c, CONF_WARNING, NULL, NULL, "%s: the certificate counts only from %s on", file, buf_cstr(&when));
	} else if (until - now < TLS_CERT_WARN_DAYS * 86400 * USEC_PER_SEC) {
		cert_time_put(&when, until);
		conf_problem(c, CONF_WARNING, NULL, NULL, "%s: the certificate expires on %s: renew it before, a start with it will be refused then", file, buf_cstr(&when));
	}
	buf_fini(&when);
	return rc;
}

/* ---- the loader: into the snapshot ---- */

/* What an image shows of it, and, when a context is given, whether OpenSSL takes it. */
static enum rc
take_chain(struct conf *c, enum tls_side side, SSL_CTX *ctx, const struct chain *ch, const char *file, const char *noted, struct buf *note, struct err *e)
{
	struct buf own;
	buf_init(&own, 4 << 20);
	keynote_chain_put(&own, ch);
	enum rc rc = look_at_dates(c, file, ch->leaf, was_in_force(c, ch->leaf, buf_cstr(&own), noted), e);
	buf_put(note, buf_span(&own));
	buf_fini(&own);
	ERR_clear_error();
	if (rc == RC_OK && ctx != NULL && SSL_CTX_use_cert_and_key(ctx, ch->leaf, ch->key, ch->above, 1) != 1)
		rc = err_set(e, RC_PERM, "%s: %s", file, ssl_why());
	ERR_clear_error();
	if (rc == RC_OK)
		keynote_allow(c, ch->id, side);
	return rc;
}

static enum rc
load_pair(struct conf *c, enum tls_side side, SSL_CTX *ctx, const char *cert_file, const char *key_file, const char *noted, struct buf *note, struct err *e)
{
	struct pem_file certs = { 0 }, keys = { 0 };
	struct chain ch = { 0 };
	bool is_same = strcmp(cert_file, key_file) == 0, is_about_key = false;
	enum rc rc = read_file(c, cert_file, &certs, e);
	if (rc == RC_OK && !is_same)
		rc = read_file(c, key_file, &keys, e);
	if (rc == RC_OK && (rc = chain_of_pair(&certs, is_same ? &certs : &keys, &ch, &is_about_key, e)) != RC_OK)
		rc = err_prefix(e, "%s", is_about_key ? key_file : cert_file);
	if (rc == RC_OK)
		rc = take_chain(c, side, ctx, &ch, cert_file, noted, note, e);
	chain_free(&ch);
	pem_free(&certs);
	pem_free(&keys);
	return rc;
}

static enum rc
load_list(struct conf *c, enum tls_side side, SSL_CTX *ctx, const char *files, const char *noted, struct buf *note, struct err *e)
{
	struct pem_file all = { 0 };
	struct chain ch;
	struct span rest = span_str(files), item;
	bool was_group;
	size_t at = 0, n = 0;
	struct buf name;
	buf_init(&name, 4096);
	enum rc rc, item_rc;
	for (rc = RC_OK; rc == RC_OK && (item_rc = conf_item(&rest, &item, &was_group)) != RC_NONE;) {
		buf_reset(&name);
		buf_put(&name, item);
		rc = item_rc == RC_OK ? read_file(c, buf_cstr(&name), &all, e) : err_set(e, RC_PERM, "%s: unbalanced braces", files);
	}
	while (rc == RC_OK && (rc = chain_next(&all, &at, &ch, e)) != RC_NONE) {
		if (rc != RC_OK)
			rc = err_prefix(e, "%s", files);
		else
			rc = take_chain(c, side, ctx, &ch, files, noted, note, e);
		n += rc == RC_OK;
		chain_free(&ch);
	}
	buf_fini(&name);
	pem_free(&all);
	if (rc == RC_NONE)
		rc = n > 0 ? RC_OK : err_set(e, RC_PERM, "%s: no certificate and key in it", files);
	return rc;
}

/* key_file NULL: files is a list of chain files. */
static enum rc
use(struct conf *c, enum tls_side side, SSL_CTX *ctx, const char *files, const char *key_file, struct err *e)
{
	struct buf name, note;
	buf_init(&name, 16384);
	buf_init(&note, 64 << 20);
	keynote_name_put(&name, side, files, key_file);
	const char *key = buf_cstr(&name);
	enum rc rc;
	if (!conf_is_loader(c)) {
		rc = use_noted(c, ctx, key, files, e);
	} else {
		const char *noted = conf_attached(c, key);
		rc = key_file != NULL ? load_pair(c, side, ctx, files, key_file, noted, &note, e) : load_list(c, side, ctx, files, noted, &note, e);
		if (rc == RC_OK)
			conf_attach(c, key, buf_cstr(&note));
	}
	buf_fini(&name);
	buf_fini(&note);
	return rc;
}

enum rc
tls_key_use(struct conf *c, enum tls_side side, SSL_CTX *ctx, const char *cert_file, const char *key_file, struct err *e)
{
	return use(c, side, ctx, cert_file, key_file, e);
}

enum rc
tls_key_use_chains(struct conf *c, enum tls_side side, SSL_CTX *ctx, const char *files, struct err *e)
{
	return use(c, side, ctx, files, NULL, e);
}

struct each {
	void (*fn)(void *arg, const char *files, const X509 *leaf);
	void *arg;
};

static void
show_note(void *arg, const char *key, const char *value)
{
	const struct each *each = arg;
	struct span rest = span_str(value), pem;
	struct err e;
	while (keynote_chain(&rest, &pem)) {
		struct pem_file f = { 0 };
		if (pem_read(&f, pem, &e) == RC_OK && f.n > 0 && f.items[0].cert != NULL)
			each->fn(each->arg, keynote_files(key), f.items[0].cert);
		pem_free(&f);
	}
}

void
tls_certs_each(const struct conf *c, void (*fn)(void *arg, const char *files, const X509 *leaf), void *arg)
{
	struct each each = { fn, arg };
	conf_attached_each(c, KEYNOTE_CHAIN, show_note, &each);
}

void
tls_keys_peer(int fd)
{
	keyask_peer(fd);
}

bool
tls_keys_usable(void)
{
	return keyask_usable();
}
