/* SPDX-License-Identifier: BSD-2-Clause */
/* Protocol lists, cipher grades and exclusions, options; what a handshake came to, in Postfix's words. */
#include "tls_world.h"

#include "tls/params.h"
#include "tls/peer.h"

static const struct params p = {
	.p_tls_high_cipherlist = "aNULL:-aNULL:HIGH:@STRENGTH",
	.p_tls_medium_cipherlist = "aNULL:-aNULL:HIGH:MEDIUM:!MD5:@STRENGTH",
	.p_tls_null_cipherlist = "eNULL:!aNULL",
	.p_tls_ssl_options = "",
	.p_tls_disable_workarounds = "",
	.p_tls_eecdh_auto_curves = "X25519 X448 no-such-curve prime256v1",
	.p_tls_eecdh_strong_curve = "prime256v1",
	.p_tls_eecdh_ultra_curve = "secp384r1",
	.p_tls_ffdhe_auto_groups = "ffdhe2048 ffdhe3072",
};

enum { NO12 = 1, NO13 = 2, NO10 = 4, NO11 = 8, NO3 = 16 };

static void
parses_lists_of_protocols(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		enum rc rc;
		int floor, ceiling;
		unsigned no;
	} rows[] = {
		{ "", RC_OK, 0, 0, 0 },
		{ ">=TLSv1", RC_OK, TLS1_VERSION, 0, 0 },
		{ ">=TLSv1.2", RC_OK, TLS1_2_VERSION, 0, 0 },
		{ ">=tlsv1.2, <=TLSv1.3", RC_OK, TLS1_2_VERSION, TLS1_3_VERSION, 0 },
		{ ">=0x0303", RC_OK, TLS1_2_VERSION, 0, 0 },
		{ "<=0X304", RC_OK, 0, TLS1_3_VERSION, 0 },
		{ ">=771", RC_OK, TLS1_2_VERSION, 0, 0 },
		{ "!SSLv2, !SSLv3", RC_OK, 0, 0, NO3 },
		{ "!SSLv2 !SSLv3:!TLSv1,!TLSv1.1", RC_OK, 0, 0, NO3 | NO10 | NO11 },
		{ "TLSv1.2", RC_OK, 0, 0, NO3 | NO10 | NO11 | NO13 },
		{ "TLSv1.2 TLSv1.3", RC_OK, 0, 0, NO3 | NO10 | NO11 },
		{ "SSLv2", RC_OK, 0, 0, NO3 | NO10 | NO11 | NO12 | NO13 },
		{ ">=TLSv1.4", RC_PERM, 0, 0, 0 },
		{ ">=", RC_PERM, 0, 0, 0 },
		{ "!", RC_PERM, 0, 0, 0 },
		{ "TLSv1.2!", RC_PERM, 0, 0, 0 },
		{ ">=0x12345", RC_PERM, 0, 0, 0 },
		{ ">=0xg", RC_PERM, 0, 0, 0 },
		{ "high", RC_PERM, 0, 0, 0 },
	};
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct tls_protocols got;
		struct err e = { .why = "" };
		enum rc rc = tls_protocols_parse(span_str(rows[i].text), &got, &e);
		if (rc != rows[i].rc)
			print_error("%s: %s\n", rows[i].text, e.why);
		assert_int_equal(rc, rows[i].rc);
		if (rc != RC_OK)
			continue;
		unsigned no = ((got.excluded & SSL_OP_NO_SSLv3) != 0 ? NO3 : 0) | ((got.excluded & SSL_OP_NO_TLSv1) != 0 ? NO10 : 0) |
		    ((got.excluded & SSL_OP_NO_TLSv1_1) != 0 ? NO11 : 0) | ((got.excluded & SSL_OP_NO_TLSv1_2) != 0 ? NO12 : 0) |
		    ((got.excluded & SSL_OP_NO_TLSv1_3) != 0 ? NO13 : 0);
		assert_int_equal(got.floor, rows[i].floor);
		assert_int_equal(got.ceiling, rows[i].ceiling);
		assert_int_equal(no, rows[i].no);
	}
}

static void
writes_lists_of_ciphers(void **state)
{
	(void)state;
	static const struct {
		const char *grade, *exclude, *more, *want; /* NULL: refused */
	} rows[] = {
		{ "high", NULL, NULL, "aNULL:-aNULL:HIGH:@STRENGTH" },
		{ "HIGH", "", "", "aNULL:-aNULL:HIGH:@STRENGTH" },
		{ "medium", "aNULL, RC4", "3DES", "aNULL:-aNULL:HIGH:MEDIUM:!MD5:@STRENGTH:!aNULL:!RC4:!3DES" },
		{ "low", NULL, NULL, "aNULL:-aNULL:HIGH:MEDIUM:!MD5:@STRENGTH" },
		{ "export", NULL, NULL, "aNULL:-aNULL:HIGH:MEDIUM:!MD5:@STRENGTH" },
		{ "null", NULL, NULL, "eNULL:!aNULL" },
		{ "best", NULL, NULL, NULL },
		{ "", NULL, NULL, NULL },
		{ "high", "!aNULL", NULL, NULL },
		{ "high", "MD5 @SECLEVEL=0", NULL, NULL },
	};
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct buf b;
		buf_init(&b, 1000);
		enum rc rc = tls_cipher_list(&p, rows[i].grade, rows[i].exclude, rows[i].more, &b, NULL);
		assert_int_equal(rc, rows[i].want != NULL ? RC_OK : RC_PERM);
		if (rows[i].want != NULL)
			assert_span(buf_span(&b), rows[i].want);
		buf_fini(&b);
	}
}

static void
sets_what_was_parsed(void **state)
{
	(void)state;
	static const struct {
		const char *protocols, *grade;
		enum rc rc;
		int floor;
	} rows[] = {
		{ ">=TLSv1", "medium", RC_OK, TLS1_2_VERSION }, /* what level 1 refuses is not offered */
		{ "!SSLv3", "high", RC_OK, TLS1_2_VERSION },
		{ ">=TLSv1.3", "medium", RC_OK, TLS1_3_VERSION },
		{ "<=TLSv1.1", "medium", RC_PERM, 0 },
		{ "SSLv3", "medium", RC_PERM, 0 },
		{ "!TLSv1 !TLSv1.1 !TLSv1.2 !TLSv1.3", "medium", RC_PERM, 0 },
		{ ">=TLSv1.2", "worst", RC_PERM, 0 },
	};
	for (size_t i = 0; i < NELEMS(rows); i++) {
		SSL_CTX *ctx;
		struct err e;
		assert_int_equal(tls_context_new(&p, TLS_method(), NULL, &ctx, &e), RC_OK);
		const struct tls_settings t = { .protocols = rows[i].protocols, .grade = rows[i].grade };
		assert_int_equal(tls_settings_apply(&p, &t, ctx, NULL, &e), rows[i].rc);
		if (rows[i].rc == RC_OK)
			assert_int_equal(SSL_CTX_get_min_proto_version(ctx), rows[i].floor);
		SSL *ssl = SSL_new(ctx);
		STACK_OF(SSL_CIPHER) *list = SSL_get1_supported_ciphers(ssl);
		for (int j = 0; j < sk_SSL_CIPHER_num(list); j++) {
			assert_int_not_equal(SSL_CIPHER_get_auth_nid(sk_SSL_CIPHER_value(list, j)), NID_auth_null);
			assert_true(SSL_CIPHER_get_bits(sk_SSL_CIPHER_value(list, j), NULL) >= 128);
		}
		sk_SSL_CIPHER_free(list);
		SSL_free(ssl);
		SSL_CTX_free(ctx);
	}
	struct params q = p;
	SSL_CTX *ctx;
	q.p_tls_medium_cipherlist = "ALL:@SECLEVEL=0";
	assert_int_equal(tls_context_new(&q, TLS_method(), "strong", &ctx, NULL), RC_OK);
	const struct tls_settings old = { .protocols = ">=TLSv1", .grade = "medium" };
	assert_int_equal(tls_settings_apply(&q, &old, ctx, NULL, NULL), RC_OK);
	assert_int_equal(SSL_CTX_get_min_proto_version(ctx), TLS1_VERSION);
	SSL_CTX_free(ctx);
	q.p_tls_ssl_options = "NO_TICKET, 0x40";
	assert_int_equal(tls_context_new(&q, TLS_method(), "ultra", &ctx, NULL), RC_OK);
	assert_true((SSL_CTX_get_options(ctx) & SSL_OP_NO_TICKET) != 0);
	SSL_CTX_free(ctx);
	q.p_tls_ssl_options = "NO_SUCH";
	assert_int_equal(tls_context_new(&q, TLS_method(), NULL, &ctx, NULL), RC_PERM);
	assert_null(ctx);
	assert_int_equal(tls_context_new(&p, TLS_method(), "weak", &ctx, NULL), RC_PERM);
	assert_non_null(tls_digest("sha256"));
	assert_null(tls_digest("sha"));
	assert_int_equal(tls_loglevel("2"), 2);
	assert_int_equal(tls_loglevel("22"), 0);
}

static void
summarizes_as_postfix(void **state)
{
	(void)state;
	struct buf b;
	buf_init(&b, 4000);
	struct tls_peer t = { .protocol = "TLSv1.3", .cipher = "TLS_AES_256_GCM_SHA384", .bits = 256, .algorithm_bits = 256, .exchange = "X25519",
		.server = { "RSA-PSS", "", "SHA256", 2048 } };
	tls_peer_summary(&b, &t, "from", SPAN("client.test[192.0.2.1]"), SPAN_EMPTY);
	assert_span(buf_span(&b), "Anonymous TLS connection established from client.test[192.0.2.1]: TLSv1.3 with cipher TLS_AES_256_GCM_SHA384"
	    " (256/256 bits) key-exchange X25519 server-signature RSA-PSS (2048 bits) server-digest SHA256");
	buf_reset(&b);
	tls_peer_received(&b, &t, false);
	assert_span(buf_span(&b), "\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)\r\n"
	    "\t key-exchange X25519 server-signature RSA-PSS (2048 bits) server-digest SHA256)\r\n\t(No client certificate requested)\r\n");
	buf_reset(&b);
	t.has_cert = t.is_trusted = t.is_resumed = true;
	t.server = (struct tls_signature){ 0 };
	t.client = (struct tls_signature){ "ECDSA", "P-256", "SHA256", 0 };
	(void)snprintf(t.subject, sizeof t.subject, "a (b) c");
	(void)snprintf(t.issuer, sizeof t.issuer, "CA");
	tls_peer_summary(&b, &t, "to", SPAN("hub[192.0.2.2]:25"), SPAN("name.test"));
	assert_span(buf_span(&b), "Trusted TLS connection reused to hub[192.0.2.2]:25 to name.test: TLSv1.3 with cipher TLS_AES_256_GCM_SHA384"
	    " (256/256 bits) key-exchange X25519 client-signature ECDSA (P-256) client-digest SHA256");
	buf_reset(&b);
	tls_peer_received(&b, &t, true);
	assert_span(buf_span(&b), "\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)\r\n\t key-exchange X25519\r\n"
	    "\t client-signature ECDSA (P-256) client-digest SHA256)\r\n\t(Client CN \"a ?b? c\", Issuer \"CA\" (verified OK))\r\n");
	buf_fini(&b);
}

static void
fingerprints_certificates(void **state)
{
	(void)state;
	char one[TLS_FINGERPRINT_TEXT], two[TLS_FINGERPRINT_TEXT];
	EVP_PKEY *key;
	X509 *x = tls_world_cert("who", &key);
	assert_true(tls_cert_fingerprint(x, tls_digest("sha256"), one));
	assert_true(tls_key_fingerprint(x, tls_digest("sha256"), two));
	assert_int_equal(strlen(one), 95);
	assert_int_equal(strlen(two), 95);
	assert_string_not_equal(one, two);
	assert_int_equal(one[2], ':');
	assert_int_equal(strspn(one, "0123456789ABCDEF:"), 95);
	assert_true(tls_cert_fingerprint(x, tls_digest("sha512"), one));
	X509_free(x);
	EVP_PKEY_free(key);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parses_lists_of_protocols),
		cmocka_unit_test(writes_lists_of_ciphers),
		cmocka_unit_test(sets_what_was_parsed),
		cmocka_unit_test(summarizes_as_postfix),
		cmocka_unit_test(fingerprints_certificates),
	};
	return cmocka_run_group_tests_name("tls_params", tests, NULL, NULL);
}
