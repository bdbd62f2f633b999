/* SPDX-License-Identifier: BSD-2-Clause */
/* What the TLS parameters and clients say: whatever is taken as a list of protocols leaves what it names and nothing it excludes; a cipher
 * list holds every exclusion; a name from SNI never holds what could be part of a file name. */
#include "tls/params.h"
#include "tls/server.h"

static void
protocols(struct span in)
{
	struct tls_protocols p;
	struct err e = { .why = "" };
	enum rc rc = tls_protocols_parse(in, &p, &e);
	if (rc == RC_OK ? p.floor < 0 || p.floor > 0xffff || p.ceiling < 0 || p.ceiling > 0xffff : rc != RC_PERM || e.why[0] == '\0')
		abort();
	if (rc == RC_OK && span_find(in, SPAN("!TLSv1.3")) != SIZE_MAX && (p.excluded & SSL_OP_NO_TLSv1_3) == 0)
		abort();
	if (rc == RC_OK && tls_protocols_any(&p) && (p.excluded & SSL_OP_NO_TLSv1) != 0 && (p.excluded & SSL_OP_NO_TLSv1_1) != 0 &&
	    (p.excluded & SSL_OP_NO_TLSv1_2) != 0 && (p.excluded & SSL_OP_NO_TLSv1_3) != 0)
		abort();
}

static void
ciphers(const char *text)
{
	static const struct params p = { .p_tls_high_cipherlist = "HIGH", .p_tls_medium_cipherlist = "MEDIUM", .p_tls_null_cipherlist = "eNULL" };
	struct buf b;
	buf_init(&b, 4096);
	enum rc rc = tls_cipher_list(&p, "medium", text, NULL, &b, NULL);
	if (rc == RC_OK && (b.over || !span_starts(buf_span(&b), SPAN("MEDIUM"))))
		abort();
	/* nothing but exclusions is behind it */
	struct span rest = span_from(buf_span(&b), 6), word;
	while (rc == RC_OK && span_word(&rest, ":", &word))
		if (word.p[0] != '!' || word.n < 2 || memchr("!-+@", word.p[1], 4) != NULL)
			abort();
	(void)!tls_cipher_list(&p, text, NULL, NULL, &b, NULL);
	buf_fini(&b);
}

static void
sni(struct span in)
{
	char name[256];
	if (!tls_sni_name(in, name)) {
		if (name[0] != '\0')
			abort();
		return;
	}
	if (strlen(name) != in.n || in.n > 253 || name[0] == '.' || strstr(name, "..") != NULL)
		abort();
	for (const char *c = name; *c != '\0'; c++)
		if (!((*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9') || *c == '-' || *c == '_' || *c == '.'))
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_of(data, size);
	protocols(in);
	sni(in);
	char *text = malloc(size + 1);
	if (text == NULL)
		return 0;
	if (size > 0)
		memcpy(text, data, size);
	text[size] = '\0';
	ciphers(text);
	(void)tls_loglevel(text);
	free(text);
	return 0;
}
