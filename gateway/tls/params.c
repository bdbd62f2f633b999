/* SPDX-License-Identifier: BSD-2-Clause */
#include "tls/params.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/objects.h>

enum { LIST_MAX = 4096, FLOOR_SECURE = TLS1_2_VERSION, SECURITY_LEVEL = 1 };

/* ---- protocols ---- */

static const struct {
	const char *name;
	int version;                 /* 0: nobody speaks it any more */
	uint64_t option;
} protocols[] = {
	{ "SSLv2", 0, 0 },
	{ "SSLv3", SSL3_VERSION, SSL_OP_NO_SSLv3 },
	{ "TLSv1", TLS1_VERSION, SSL_OP_NO_TLSv1 },
	{ "TLSv1.1", TLS1_1_VERSION, SSL_OP_NO_TLSv1_1 },
	{ "TLSv1.2", TLS1_2_VERSION, SSL_OP_NO_TLSv1_2 },
	{ "TLSv1.3", TLS1_3_VERSION, SSL_OP_NO_TLSv1_3 },
};

static bool
protocol_named(struct span name, size_t *row)
{
	for (size_t i = 0; i < NELEMS(protocols); i++)
		if (span_caseeq_str(name, protocols[i].name)) {
			*row = i;
			return true;
		}
	return false;
}

/* "TLSv1.2", "0x0303" or "771". */
static bool
bound(struct span text, int *out)
{
	size_t row;
	uint64_t v = 0;
	if (protocol_named(text, &row)) {
		*out = protocols[row].version;
		return true;
	}
	if (text.n > 2 && text.n <= 6 && text.p[0] == '0' && (text.p[1] | 0x20) == 'x') {
		for (size_t i = 2; i < text.n; i++) {
			unsigned char c = text.p[i] | 0x20;
			if (c >= '0' && c <= '9')
				v = v * 16 + (c - (unsigned)'0');
			else if (c >= 'a' && c <= 'f')
				v = v * 16 + (c - (unsigned)'a') + 10;
			else
				return false;
		}
	} else if (!span_u64(text, 0xffff, &v)) {
		return false;
	}
	*out = (int)v;
	return true;
}

enum rc
tls_protocols_parse(struct span text, struct tls_protocols *out, struct err *e)
{
	struct tls_protocols r = { 0 };
	uint64_t included = 0, all = 0;
	bool any_included = false;
	struct span rest = text, word;
	for (size_t i = 0; i < NELEMS(protocols); i++)
		all |= protocols[i].option;
	while (span_word(&rest, ", \t\r\n:", &word)) {
		size_t row;
		bool lower = span_starts(word, SPAN(">=")), upper = span_starts(word, SPAN("<="));
		if (lower || upper) {
			if (!bound(span_from(word, 2), lower ? &r.floor : &r.ceiling))
				return err_set(e, RC_PERM, "no such TLS protocol \"%.*s\"", (int)(word.n < 40 ? word.n : 40), (const char *)word.p);
			continue;
		}
		bool minus = word.p[0] == '!';
		if (!protocol_named(span_from(word, minus ? 1 : 0), &row))
			return err_set(e, RC_PERM, "no such TLS protocol \"%.*s\"", (int)(word.n < 40 ? word.n : 40), (const char *)word.p);
		if (minus) {
			r.excluded |= protocols[row].option;
		} else {
			included |= protocols[row].option;
			any_included = true;
		}
	}
	if (any_included)
		r.excluded |= all & ~included;
	*out = r;
	return RC_OK;
}

static bool
allows(const struct tls_protocols *p, int version, uint64_t option)
{
	return version != 0 && (p->excluded & option) == 0 && version >= p->floor && (p->ceiling == 0 || version <= p->ceiling);
}

bool
tls_protocols_any(const struct tls_protocols *p)
{
	for (size_t i = 0; i < NELEMS(protocols); i++)
		if (protocols[i].version >= TLS1_VERSION && allows(p, protocols[i].version, protocols[i].option))
			return true;
	return false;
}

/* ---- ciphers ---- */

static const char *
grade_list(const struct params *p, const char *grade)
{
	const struct {
		const char *grade, *list;
	} rows[] = {
		{ "high", p->p_tls_high_cipherlist },
		{ "medium", p->p_tls_medium_cipherlist },
		{ "low", p->p_tls_medium_cipherlist },
		{ "export", p->p_tls_medium_cipherlist },
		{ "null", p->p_tls_null_cipherlist },
	};
	for (size_t i = 0; i < NELEMS(rows); i++)
		if (span_caseeq_str(span_str(grade), rows[i].grade))
			return rows[i].list;
	return NULL;
}

static enum rc
exclude_from(struct buf *b, const char *names, struct err *e)
{
	struct span rest = span_str(names), word;
	while (span_word(&rest, ", \t\r\n:", &word)) {
		if (memchr("!-+@", word.p[0], 4) != NULL)
			return err_set(e, RC_PERM, "\"%.*s\" is no cipher to exclude", (int)(word.n < 80 ? word.n : 80), (const char *)word.p);
		buf_puts(b, ":!");
		buf_put(b, word);
	}
	return RC_OK;
}

enum rc
tls_cipher_list(const struct params *p, const char *grade, const char *exclude, const char *more_exclude, struct buf *out, struct err *e)
{
	const char *list = grade_list(p, grade);
	if (list == NULL)
		return err_set(e, RC_PERM, "no such cipher grade \"%.40s\"", grade);
	buf_puts(out, list);
	enum rc rc = exclude_from(out, exclude, e);
	if (rc == RC_OK)
		rc = exclude_from(out, more_exclude, e);
	if (rc == RC_OK && out->over)
		rc = err_set(e, RC_PERM, "the list of ciphers is too long");
	return rc;
}

/* ---- into OpenSSL ---- */

/* Why OpenSSL did not want something. */
static enum rc
because(struct err *e, const char *what)
{
	const char *reason = ERR_reason_error_string(ERR_peek_error());
	ERR_clear_error();
	return err_set(e, RC_PERM, "%s: %s", what, reason != NULL ? reason : "not possible");
}

static enum rc
apply_ciphers(const struct params *p, const struct tls_settings *t, SSL_CTX *ctx, SSL *ssl, bool *unsafe, struct err *e)
{
	struct buf list;
	buf_init(&list, LIST_MAX);
	enum rc rc = tls_cipher_list(p, t->grade, t->exclude, t->more_exclude, &list, e);
	if (rc == RC_OK && t->anonymous)
		buf_puts(&list, ":@SECLEVEL=0");
	if (rc == RC_OK) {
		SSL_CTX *probe = ctx == NULL && ssl == NULL ? SSL_CTX_new(TLS_method()) : NULL;
		ERR_clear_error();
		int ok = ssl != NULL ? SSL_set_cipher_list(ssl, buf_cstr(&list)) : SSL_CTX_set_cipher_list(ctx != NULL ? ctx : probe, buf_cstr(&list));
		if (ok != 1)
			rc = because(e, "ciphers");
		int level = ssl != NULL ? SSL_get_security_level(ssl) : SSL_CTX_get_security_level(ctx != NULL ? ctx : probe);
		*unsafe = level == 0 && !t->anonymous;
		SSL_CTX_free(probe);
	}
	buf_fini(&list);
	return rc;
}

enum rc
tls_settings_apply(const struct params *p, const struct tls_settings *t, SSL_CTX *ctx, SSL *ssl, struct err *e)
{
	struct tls_protocols proto;
	bool unsafe = false;
	enum rc rc = tls_protocols_parse(span_str(t->protocols), &proto, e);
	if (rc == RC_OK)
		rc = apply_ciphers(p, t, ctx, ssl, &unsafe, e);
	if (rc != RC_OK)
		return rc;
	if (!unsafe && proto.floor < FLOOR_SECURE)
		proto.floor = FLOOR_SECURE; /* its signatures would be refused: say so at once */
	if (!tls_protocols_any(&proto))
		return err_set(e, RC_PERM, "\"%.80s\" leaves no TLS protocol", t->protocols);
	int floor = proto.floor;
	if (ctx != NULL && (SSL_CTX_set_min_proto_version(ctx, floor) != 1 || SSL_CTX_set_max_proto_version(ctx, proto.ceiling) != 1))
		return because(e, "protocols");
	if (ssl != NULL && (SSL_set_min_proto_version(ssl, floor) != 1 || SSL_set_max_proto_version(ssl, proto.ceiling) != 1))
		return because(e, "protocols");
	if (ctx != NULL)
		SSL_CTX_set_options(ctx, proto.excluded | SSL_OP_NO_SSLv3);
	if (ssl != NULL)
		SSL_set_options(ssl, proto.excluded | SSL_OP_NO_SSLv3);
	return RC_OK;
}

static const struct option {
	const char *name;
	uint64_t bit;
} ssl_options[] = {
	{ "ALLOW_NO_DHE_KEX", SSL_OP_ALLOW_NO_DHE_KEX },
	{ "CIPHER_SERVER_PREFERENCE", SSL_OP_CIPHER_SERVER_PREFERENCE },
	{ "DISABLE_TLSEXT_CA_NAMES", SSL_OP_DISABLE_TLSEXT_CA_NAMES },
	{ "ENABLE_KTLS", SSL_OP_ENABLE_KTLS },
	{ "ENABLE_MIDDLEBOX_COMPAT", SSL_OP_ENABLE_MIDDLEBOX_COMPAT },
	{ "IGNORE_UNEXPECTED_EOF", SSL_OP_IGNORE_UNEXPECTED_EOF },
	{ "LEGACY_SERVER_CONNECT", SSL_OP_LEGACY_SERVER_CONNECT },
	{ "NO_ANTI_REPLAY", SSL_OP_NO_ANTI_REPLAY },
	{ "NO_COMPRESSION", SSL_OP_NO_COMPRESSION },
	{ "NO_ENCRYPT_THEN_MAC", SSL_OP_NO_ENCRYPT_THEN_MAC },
	{ "NO_RENEGOTIATION", SSL_OP_NO_RENEGOTIATION },
	{ "NO_SESSION_RESUMPTION_ON_RENEGOTIATION", SSL_OP_NO_SESSION_RESUMPTION_ON_RENEGOTIATION },
	{ "NO_TICKET", SSL_OP_NO_TICKET },
	{ "PRIORITIZE_CHACHA", SSL_OP_PRIORITIZE_CHACHA },
	{ "SINGLE_DH_USE", SSL_OP_SINGLE_DH_USE },
	{ "SINGLE_ECDH_USE", SSL_OP_SINGLE_ECDH_USE },
	{ "TLSEXT_PADDING", SSL_OP_TLSEXT_PADDING },
}, workarounds[] = {
	{ "CRYPTOPRO_TLSEXT_BUG", SSL_OP_CRYPTOPRO_TLSEXT_BUG },
	{ "DONT_INSERT_EMPTY_FRAGMENTS", SSL_OP_DONT_INSERT_EMPTY_FRAGMENTS },
	{ "LEGACY_SERVER_CONNECT", SSL_OP_LEGACY_SERVER_CONNECT },
	{ "SAFARI_ECDHE_ECDSA_BUG", SSL_OP_SAFARI_ECDHE_ECDSA_BUG },
	{ "TLSEXT_PADDING", SSL_OP_TLSEXT_PADDING },
	/* bugs of clients that OpenSSL 3 knows nothing of any more */
	{ "MICROSOFT_SESS_ID_BUG", 0 },
	{ "MICROSOFT_BIG_SSLV3_BUFFER", 0 },
	{ "MSIE_SSLV2_RSA_PADDING", 0 },
	{ "NETSCAPE_CHALLENGE_BUG", 0 },
	{ "NETSCAPE_REUSE_CIPHER_CHANGE_BUG", 0 },
	{ "SSLEAY_080_CLIENT_DH_BUG", 0 },
	{ "SSLREF2_REUSE_CERT_TYPE_BUG", 0 },
	{ "TLS_BLOCK_PADDING_BUG", 0 },
	{ "TLS_D5_BUG", 0 },
	{ "TLS_ROLLBACK_BUG", 0 },
};

static bool
hex_bits(struct span text, uint64_t *out)
{
	uint64_t v = 0;
	if (text.n < 3 || text.n > 18 || text.p[0] != '0' || (text.p[1] | 0x20) != 'x')
		return false;
	for (size_t i = 2; i < text.n; i++) {
		unsigned char c = text.p[i] | 0x20;
		if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
			return false;
		v = v << 4 | (c <= '9' ? c - (unsigned)'0' : c - (unsigned)'a' + 10);
	}
	*out = v;
	return true;
}

static enum rc
option_bits(const char *parameter, const char *text, const struct option *rows, size_t n, uint64_t *out, struct err *e)
{
	struct span rest = span_str(text), word;
	uint64_t bits;
	*out = 0;
	while (span_word(&rest, ", \t\r\n|", &word)) {
		size_t i = 0;
		while (i < n && !span_caseeq_str(word, rows[i].name))
			i++;
		if (i < n)
			*out |= rows[i].bit;
		else if (hex_bits(word, &bits))
			*out |= bits;
		else
			return err_set(e, RC_PERM, "%s: no such option \"%.*s\"", parameter, (int)(word.n < 80 ? word.n : 80), (const char *)word.p);
	}
	return RC_OK;
}

/* Groups this library knows, in order; unknown ones are left out, as Postfix does. */
static enum rc
set_groups(const struct params *p, const char *grade, SSL_CTX *ctx, struct err *e)
{
	struct buf list;
	const char *curves = p->p_tls_eecdh_auto_curves;
	if (grade != NULL && span_caseeq_str(span_str(grade), "strong"))
		curves = p->p_tls_eecdh_strong_curve;
	else if (grade != NULL && span_caseeq_str(span_str(grade), "ultra"))
		curves = p->p_tls_eecdh_ultra_curve;
	else if (grade != NULL && span_caseeq_str(span_str(grade), "none"))
		curves = "";
	else if (grade != NULL && grade[0] != '\0' && !span_caseeq_str(span_str(grade), "auto"))
		return err_set(e, RC_PERM, "no such eecdh grade \"%.40s\"", grade);
	const char *const sets[] = { curves, p->p_tls_ffdhe_auto_groups };
	buf_init(&list, LIST_MAX);
	for (size_t i = 0; i < NELEMS(sets); i++) {
		struct span rest = span_str(sets[i]), word;
		while (span_word(&rest, ", \t\r\n:", &word)) {
			char name[40];
			if (word.n >= sizeof name)
				continue;
			memcpy(name, word.p, word.n);
			name[word.n] = '\0';
			if (SSL_CTX_set1_groups_list(ctx, name) != 1)
				continue;
			if (buf_len(&list) > 0)
				buf_putc(&list, ':');
			buf_put(&list, word);
		}
	}
	ERR_clear_error();
	enum rc rc = RC_OK;
	if (buf_len(&list) > 0 && SSL_CTX_set1_groups_list(ctx, (void *)(uintptr_t)buf_cstr(&list)) != 1)
		rc = because(e, "groups");
	buf_fini(&list);
	return rc;
}

enum rc
tls_context_new(const struct params *p, const SSL_METHOD *method, const char *grade, SSL_CTX **out, struct err *e)
{
	uint64_t on, off;
	*out = NULL;
	enum rc rc = option_bits("tls_ssl_options", p->p_tls_ssl_options, ssl_options, NELEMS(ssl_options), &on, e);
	if (rc == RC_OK)
		rc = option_bits("tls_disable_workarounds", p->p_tls_disable_workarounds, workarounds, NELEMS(workarounds), &off, e);
	if (rc != RC_OK)
		return rc;
	ERR_clear_error();
	SSL_CTX *ctx = SSL_CTX_new(method);
	if (ctx == NULL)
		return because(e, "OpenSSL");
	SSL_CTX_set_security_level(ctx, SECURITY_LEVEL);
	SSL_CTX_set_options(ctx, SSL_OP_ALL & ~off);
	SSL_CTX_clear_options(ctx, SSL_OP_ENABLE_KTLS); /* not with records that we read ourselves */
	SSL_CTX_set_options(ctx, (on & ~(uint64_t)SSL_OP_ENABLE_KTLS) | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
	    SSL_OP_NO_SESSION_RESUMPTION_ON_RENEGOTIATION);
	SSL_CTX_set_dh_auto(ctx, 1);
	rc = set_groups(p, grade, ctx, e);
	if (rc != RC_OK)
		SSL_CTX_free(ctx);
	else
		*out = ctx;
	return rc;
}

const EVP_MD *
tls_digest(const char *name)
{
	const EVP_MD *md = EVP_get_digestbyname(name);
	return md != NULL && EVP_MD_get_size(md) > 0 ? md : NULL;
}

unsigned
tls_loglevel(const char *text)
{
	return text[0] >= '0' && text[0] <= '4' && text[1] == '\0' ? (unsigned)(text[0] - '0') : 0;
}
