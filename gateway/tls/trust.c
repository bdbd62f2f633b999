/* SPDX-License-Identifier: BSD-2-Clause */
/* The CAs we believe: files and directories of certificates, read by the loader and carried to the roles. */
#include "base/mem.h"
#include "tls/params.h"

#include <dirent.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

enum { NAMES_MAX = 64 * 1024, DIRECTORY_MAX = 4096 /* files looked at */ };

/* All certificates of a PEM file into the store; how many. */
static size_t
add_certificates(X509_STORE *store, struct span pem)
{
	size_t n = 0;
	BIO *b = pem.n > 0 && pem.n < INT32_MAX ? BIO_new_mem_buf(pem.p, (int)pem.n) : NULL;
	if (b == NULL)
		return 0;
	for (X509 *x; (x = PEM_read_bio_X509_AUX(b, NULL, NULL, NULL)) != NULL; n++) {
		if (store != NULL)
			(void)X509_STORE_add_cert(store, x); /* twice is fine */
		X509_free(x);
	}
	ERR_clear_error();
	BIO_free(b);
	return n;
}

static enum rc
trust_file(struct conf *c, X509_STORE *store, const char *file, struct err *e)
{
	struct span pem;
	enum rc rc = conf_file(c, file, &pem, e);
	if (rc != RC_OK)
		return rc;
	return add_certificates(store, pem) > 0 ? RC_OK : err_set(e, RC_PERM, "%s: no certificate in it", file);
}

/* "12ab34cd.0", as c_rehash makes them. */
static bool
is_hash_link(const char *name)
{
	for (int i = 0; i < 8; i++)
		if (!((name[i] >= '0' && name[i] <= '9') || (name[i] >= 'a' && name[i] <= 'f')))
			return false;
	return name[8] == '.' && name[9] >= '0' && name[9] <= '9';
}

/* The loader says which files there are: a role sees no directory. */
static const char *
directory_names(struct conf *c, const char *path)
{
	struct buf key, names;
	buf_init(&key, 4096 + 16);
	buf_puts(&key, "tls-ca:");
	buf_puts(&key, path);
	const char *known = conf_attached(c, buf_cstr(&key));
	if (known == NULL && conf_is_loader(c)) {
		buf_init(&names, NAMES_MAX);
		DIR *d = opendir(conf_full_path(c, path));
		size_t seen = 0;
		for (struct dirent *f; d != NULL && seen < DIRECTORY_MAX && (f = readdir(d)) != NULL; seen++)
			if (is_hash_link(f->d_name)) {
				buf_puts(&names, f->d_name);
				buf_putc(&names, ' ');
			}
		if (d != NULL) {
			closedir(d);
			conf_attach(c, buf_cstr(&key), buf_cstr(&names));
		}
		buf_fini(&names);
		known = conf_attached(c, buf_cstr(&key));
	}
	buf_fini(&key);
	return known;
}

static enum rc
trust_directory(struct conf *c, X509_STORE *store, const char *path, struct err *e)
{
	const char *names = directory_names(c, path);
	if (names == NULL)
		return err_set(e, RC_TEMP, "%s: cannot be read", path);
	struct span rest = span_str(names), word;
	struct buf file;
	buf_init(&file, 4096 + 300);
	while (span_word(&rest, " ", &word)) {
		struct span pem;
		buf_reset(&file);
		buf_puts(&file, path);
		buf_putc(&file, '/');
		buf_put(&file, word);
		if (conf_file(c, buf_cstr(&file), &pem, NULL) == RC_OK) /* one that cannot be read is not trusted */
			(void)add_certificates(store, pem);
	}
	buf_fini(&file);
	return RC_OK;
}

enum rc
tls_trust(struct conf *c, SSL_CTX *ctx, const char *ca_file, const char *ca_path, struct err *e)
{
	X509_STORE *store = ctx != NULL ? SSL_CTX_get_cert_store(ctx) : NULL;
	enum rc rc = RC_OK;
	if (ca_file[0] != '\0')
		rc = trust_file(c, store, ca_file, e);
	if (rc == RC_OK && ca_path[0] != '\0')
		rc = trust_directory(c, store, ca_path, e);
	if (rc == RC_OK && conf_params(c)->p_tls_append_default_CA && trust_file(c, store, X509_get_default_cert_file(), NULL) != RC_OK)
		rc = trust_directory(c, store, X509_get_default_cert_dir(), e);
	return rc;
}
