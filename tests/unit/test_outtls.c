/* SPDX-License-Identifier: BSD-2-Clause */
/* TLS and logins of the relay, without a network: names, policies, mechanisms, what is masked. */
#include "unit.h"
#include "confdir.h"

#include "base/mem.h"
#include "msg/ehlo.h"
#include "deliver/login.h"
#include "deliver/oauth.h"
#include "deliver/sasl.h"
#include "deliver/tlspolicy.h"

#include <openssl/evp.h>
#include <openssl/x509v3.h>

/* ---- names in certificates (attack T02) ---- */

struct cert {
	const char *cn;
	size_t cn_len;           /* 0: strlen */
	const char *dns[3];      /* NULL: no more */
	size_t dns_len;          /* of the first; 0: strlen */
	const char *ip;          /* four octets */
};

static X509 *
make_cert(const struct cert *k)
{
	X509 *x = X509_new();
	X509_NAME *name = X509_get_subject_name(x);
	assert_non_null(x);
	if (k->cn != NULL && k->cn[0] != 0)
		assert_int_equal(X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8, (const unsigned char *)k->cn,
		    k->cn_len > 0 ? (int)k->cn_len : -1, -1, 0), 1);
	GENERAL_NAMES *names = GENERAL_NAMES_new();
	for (size_t i = 0; i < NELEMS(k->dns) && k->dns[i] != NULL; i++) {
		GENERAL_NAME *g = GENERAL_NAME_new();
		ASN1_IA5STRING *s = ASN1_IA5STRING_new();
		ASN1_STRING_set(s, k->dns[i], i == 0 && k->dns_len > 0 ? (int)k->dns_len : -1);
		GENERAL_NAME_set0_value(g, GEN_DNS, s);
		sk_GENERAL_NAME_push(names, g);
	}
	if (k->ip != NULL) {
		GENERAL_NAME *g = GENERAL_NAME_new();
		ASN1_OCTET_STRING *s = ASN1_OCTET_STRING_new();
		ASN1_STRING_set(s, k->ip, 4);
		GENERAL_NAME_set0_value(g, GEN_IPADD, s);
		sk_GENERAL_NAME_push(names, g);
	}
	if (sk_GENERAL_NAME_num(names) > 0)
		assert_int_equal(X509_add1_ext_i2d(x, NID_subject_alt_name, names, 0, 0), 1);
	GENERAL_NAMES_free(names);
	return x;
}

static void
test_names(void **state)
{
	static const struct {
		struct cert cert;
		const char *match;
		bool many, fits;
	} rows[] = {
		{ { .dns = { "mx.example.com" } }, "hostname", false, true },
		{ { .dns = { "MX.Example.COM" } }, "hostname", false, true },
		{ { .dns = { "other.example.com" } }, "hostname", false, false },
		{ { .dns = { "other.example.com", "mx.example.com" } }, "hostname", false, true },
		{ { .dns = { "example.com" } }, "nexthop", false, true },
		{ { .dns = { "mx.example.com" } }, "nexthop", false, false },
		{ { .dns = { "mx.example.com" } }, "nexthop:dot-nexthop", false, true },
		{ { .dns = { "a.b.example.com" } }, "dot-nexthop", false, true },
		{ { .dns = { "badexample.com" } }, "nexthop, dot-nexthop", false, false },
		{ { .dns = { "example.com" } }, "dot-nexthop", false, false },
		{ { .dns = { "x.test" } }, "x.test", false, true },
		{ { .dns = { "a.x.test" } }, ".x.test", false, true },
		{ { .dns = { "x.test" } }, "y.test:x.test", false, true },
		{ { .dns = { "x.test" } }, "x.test.", false, true },
		{ { .dns = { "x.test" } }, ".", true, false },
		{ { .dns = { "x.test" } }, "", true, false },
		/* wildcards: a whole left-most label */
		{ { .dns = { "*.example.com" } }, "hostname", false, true },
		{ { .dns = { "*.com" } }, "nexthop", false, false },
		{ { .dns = { "*.*" } }, "nexthop", true, false },
		{ { .dns = { "*" } }, "nexthop", true, false },
		{ { .dns = { "*.example.com" } }, "nexthop", true, false },
		{ { .dns = { "m*.example.com" } }, "hostname", true, false },
		{ { .dns = { "*x.example.com" } }, "hostname", true, false },
		{ { .dns = { "mx.*.com" } }, "hostname", true, false },
		{ { .dns = { "*.example.com" } }, "a.b.example.com", false, false },
		{ { .dns = { "*.example.com" } }, "a.b.example.com", true, true },
		/* common names: only without a DNS name */
		{ { .cn = "mx.example.com" }, "hostname", false, true },
		{ { .cn = "mx.example.com", .dns = { "other.test" } }, "hostname", false, false },
		{ { .cn = "mx.example.com", .ip = "\177\0\0\1" }, "hostname", false, true },
		/* an address is no name */
		{ { .ip = "\177\0\0\1" }, "127.0.0.1", false, false },
		/* NUL (CVE-2009-2408) */
		{ { .dns = { "mx.example.com\0.evil.test" }, .dns_len = 25 }, "hostname", false, false },
		{ { .dns = { "mx.example.com\0.evil.test" }, .dns_len = 25 }, "hostname", true, false },
		{ { .cn = "mx.example.com\0.evil.test", .cn_len = 25 }, "hostname", false, false },
		{ { .dns = { "mx.example.com\0" }, .dns_len = 15 }, "hostname", false, false },
		{ { .dns = { "mx.example.com\n" } }, "hostname", false, false },
		{ { .cn = "" }, "hostname", false, false },
		{ { .cn = NULL }, "hostname", false, false },
	};
	(void)state;
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct tls_wish w = { .level = TLS_DEMAND_SECURE, .host = "mx.example.com", .nexthop = "example.com", .match = rows[i].match };
		X509 *x = make_cert(&rows[i].cert);
		bool fits = tls_names_match(x, &w, rows[i].many);
		X509_free(x);
		if (fits != rows[i].fits)
			fail_msg("row %zu: %s", i, rows[i].match);
	}
}

/* ---- policies ---- */

static void
test_policy(void **state)
{
	static const struct {
		const char *value, *why; /* why NULL: good */
		enum tls_demand level;
	} rows[] = {
		{ "none", NULL, TLS_DEMAND_NONE },
		{ "may", NULL, TLS_DEMAND_MAY },
		{ "MAY", NULL, TLS_DEMAND_MAY },
		{ "encrypt ciphers=high protocols=>=TLSv1.2", NULL, TLS_DEMAND_ENCRYPT },
		{ "encrypt, exclude=3DES:RC4", NULL, TLS_DEMAND_ENCRYPT },
		{ "secure match=a.test match=.b.test servername=mx.a.test", NULL, TLS_DEMAND_SECURE },
		{ "verify tafile=/etc/ca.pem connection_reuse=yes", NULL, TLS_DEMAND_VERIFY },
		{ "fingerprint match=AB:CD match=EF:01", NULL, TLS_DEMAND_FINGERPRINT },
		{ "encrypt protocols=", NULL, TLS_DEMAND_ENCRYPT },
		{ "", "empty policy", 0 },
		{ " ,", "empty policy", 0 },
		{ "strict", "invalid security level \"strict\"", 0 },
		{ "dane", "not supported yet", 0 },
		{ "dane-only match=x", "not supported yet", 0 },
		{ "none ciphers=high", "with TLS disabled", 0 },
		{ "encrypt ciphers", "malformed attribute", 0 },
		{ "encrypt =high", "malformed attribute", 0 },
		{ "encrypt ciphers=", "empty value", 0 },
		{ "encrypt ciphers=high ciphers=medium", "multiple times", 0 },
		{ "encrypt match=x.test", "invalid at security level \"encrypt\"", 0 },
		{ "fingerprint tafile=/x", "invalid at security level \"fingerprint\"", 0 },
		{ "secure servername=a/b", "no host name", 0 },
		{ "secure connection_reuse=maybe", "bad value", 0 },
		{ "secure cipher=high", "invalid attribute name", 0 },
	};
	(void)state;
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct tls_policy p;
		struct err e = { .why = "" };
		enum rc rc = tls_policy_parse(span_str(rows[i].value), &p, &e);
		if ((rc == RC_OK) != (rows[i].why == NULL) || (rc != RC_OK && strstr(e.why, rows[i].why) == NULL))
			fail_msg("\"%s\": %s", rows[i].value, e.why);
		if (rc == RC_OK)
			assert_int_equal(p.wish.level, rows[i].level);
		tls_policy_fini(&p);
	}
	struct tls_policy p;
	assert_int_equal(tls_policy_parse(SPAN("secure match=a.test:.a.test match=b.test protocols=>=TLSv1.2 ciphers=high exclude=RC4 "
	    "servername=s.test tafile=/ta connection_reuse=YES"), &p, NULL), RC_OK);
	assert_string_equal(p.wish.match, "a.test:.a.test:b.test");
	assert_string_equal(p.wish.protocols, ">=TLSv1.2");
	assert_string_equal(p.wish.grade, "high");
	assert_string_equal(p.wish.exclude, "RC4");
	assert_string_equal(p.wish.sni, "s.test");
	assert_string_equal(p.wish.anchors, "/ta");
	assert_true(p.may_reuse);
	tls_policy_fini(&p);
	assert_int_equal(tls_policy_parse(SPAN("fingerprint match=AB:CD|01:02 match=EF:01"), &p, NULL), RC_OK);
	assert_string_equal(p.wish.fingerprints, "AB:CD|01:02|EF:01");
	assert_null(p.wish.match);
	tls_policy_fini(&p);
}

/* Which level main.cf and the tables come to for a next hop and a host. */
static void
test_levels(void **state)
{
	static const struct {
		const char *main_cf, *nexthop, *host;
		int level;               /* < 0: the row is wrong */
	} rows[] = {
		{ "smtp_tls_note_starttls_offer = yes\n", "a.test", "mx.a.test", TLS_DEMAND_NONE },
		{ "smtp_use_tls = yes\n", "a.test", "mx.a.test", TLS_DEMAND_MAY },
		{ "smtp_use_tls = yes\nsmtp_enforce_tls = yes\n", "a.test", "mx.a.test", TLS_DEMAND_VERIFY },
		{ "smtp_enforce_tls = yes\nsmtp_tls_enforce_peername = no\n", "a.test", "mx.a.test", TLS_DEMAND_ENCRYPT },
		{ "smtp_enforce_tls = yes\nsmtp_tls_security_level = may\n", "a.test", "mx.a.test", TLS_DEMAND_MAY },
		{ "smtp_tls_security_level = none\nsmtp_tls_wrappermode = yes\n", "a.test", "mx.a.test", TLS_DEMAND_ENCRYPT },
		{ "smtp_tls_security_level = may\nsmtp_tls_policy_maps = inline:{ a.test=encrypt }\n", "a.test", "mx.a.test", TLS_DEMAND_ENCRYPT },
		{ "smtp_tls_security_level = may\nsmtp_tls_policy_maps = inline:{ a.test=encrypt }\n", "b.a.test", "mx.a.test", TLS_DEMAND_MAY },
		{ "smtp_tls_security_level = may\nsmtp_tls_policy_maps = inline:{ .a.test=encrypt }\n", "c.b.a.test", "mx.a.test", TLS_DEMAND_ENCRYPT },
		{ "smtp_tls_security_level = may\nsmtp_tls_policy_maps = inline:{ .a.test=encrypt }\n", "a.test", "mx.a.test", TLS_DEMAND_MAY },
		{ "smtp_tls_security_level = may\nsmtp_tls_policy_maps = inline:{ .test=encrypt, .a.test=none }\n", "b.a.test", "mx", TLS_DEMAND_NONE },
		{ "smtp_tls_policy_maps = inline:{ [mx.a.test]:587=secure }\n", "[mx.a.test]:587", "mx.a.test", TLS_DEMAND_SECURE },
		{ "smtp_tls_policy_maps = inline:{ [mx.a.test]=secure, mx.a.test=secure, .a.test=secure }\n", "[mx.a.test]:587", "mx.a.test", TLS_DEMAND_NONE },
		{ "smtp_tls_policy_maps = inline:{ a.test:587=verify }\n", "a.test:587", "mx.a.test", TLS_DEMAND_VERIFY },
		{ "smtp_tls_policy_maps = inline:{ A.test=verify }\n", "a.TEST", "mx.a.test", TLS_DEMAND_VERIFY },
		{ "smtp_tls_policy_maps = inline:{ a.test=fingerprint }\n", "a.test", "mx.a.test", -1 },
		{ "smtp_tls_policy_maps = inline:{ a.test=fingerprint }\nsmtp_tls_fingerprint_cert_match = 01:02\n", "a.test", "mx", TLS_DEMAND_FINGERPRINT },
		{ "smtp_tls_policy_maps = inline:{ a.test=wrong }\n", "a.test", "mx.a.test", -1 },
		{ "smtp_tls_policy_maps = inline:{ {a.test=encrypt ciphers=best} }\n", "a.test", "mx.a.test", -1 },
		{ "smtp_tls_policy_maps = inline:{ {a.test=encrypt protocols=TLSv9} }\n", "a.test", "mx.a.test", -1 },
		{ "smtp_tls_policy_maps = inline:{ {a.test=secure tafile=/no/such/file} }\n", "a.test", "mx.a.test", -1 },
		{ "smtp_tls_policy_maps = static:encrypt\n", "[192.0.2.1]", "192.0.2.1", TLS_DEMAND_ENCRYPT },
		/* the old table: next hop and host have the same weight */
		{ "smtp_tls_per_site = inline:{ a.test=MUST }\n", "a.test", "mx.a.test", TLS_DEMAND_VERIFY },
		{ "smtp_tls_per_site = inline:{ mx.a.test=MUST_NOPEERMATCH }\n", "a.test", "mx.a.test", TLS_DEMAND_ENCRYPT },
		{ "smtp_tls_per_site = inline:{ a.test=MAY, mx.a.test=MUST }\n", "a.test", "mx.a.test", TLS_DEMAND_VERIFY },
		{ "smtp_tls_per_site = inline:{ a.test=MAY, mx.a.test=NONE }\n", "a.test", "mx.a.test", TLS_DEMAND_NONE },
		{ "smtp_tls_per_site = inline:{ a.test=MUST, mx.a.test=NONE }\n", "a.test", "mx.a.test", TLS_DEMAND_VERIFY },
		{ "smtp_tls_per_site = inline:{ a.test=NONE }\nsmtp_enforce_tls = yes\n", "a.test", "mx.a.test", TLS_DEMAND_NONE },
		{ "smtp_tls_per_site = inline:{ a.test=MAY }\nsmtp_enforce_tls = yes\n", "a.test", "mx.a.test", TLS_DEMAND_VERIFY },
		{ "smtp_tls_per_site = inline:{ a.test=SURE }\n", "a.test", "mx.a.test", -1 },
		{ "smtp_tls_per_site = inline:{ a.test=MUST }\nsmtp_tls_policy_maps = inline:{ b.test=none }\n", "a.test", "mx", TLS_DEMAND_NONE },
	};
	(void)state;
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct tls_policies *t;
		struct tls_policy p;
		struct err e = { .why = "" };
		confdir_make();
		struct conf *c = confdir_load(rows[i].main_cf);
		assert_int_equal(tls_policies_open(c, conf_service_find(c, "smtp", "unix"), false, &t, &e), RC_OK);
		assert_non_null(t);
		enum rc rc = tls_policy_find(t, span_str(rows[i].nexthop), span_str(rows[i].host), &p, &e);
		int level = rc == RC_OK ? (int)p.wish.level : -1;
		if (level != rows[i].level)
			fail_msg("row %zu: level %d, %s", i, level, e.why);
		if (rows[i].level < 0)
			assert_true(strstr(rows[i].main_cf, "per_site") != NULL || conf_problem_count(c, CONF_WARNING) > 0);
		tls_policy_fini(&p);
		tls_policies_free(&t);
		conf_unref(&c);
		confdir_remove();
	}
}

/* What check says: with file and line. */
static void
test_check(void **state)
{
	static const struct {
		const char *main_cf;
		enum conf_severity how;
		const char *text;
	} rows[] = {
		{ "smtp_tls_security_level = sure\n", CONF_ERROR, "\"sure\" is no TLS level" },
		{ "smtp_tls_security_level = dane\n", CONF_ERROR, "level dane is not supported yet" },
		{ "smtp_tls_security_level = secure\n", CONF_WARNING, "no CA to verify with" },
		{ "smtp_tls_security_level = fingerprint\n", CONF_WARNING, "without tls_fingerprint_cert_match" },
		{ "smtp_tls_security_level = may\nsmtp_tls_wrappermode = yes\n", CONF_WARNING, "is never optional" },
		{ "smtp_tls_security_level = may\nsmtp_tls_CAfile = /no/such/file\n", CONF_ERROR, "smtp_tls_CAfile: " },
		{ "smtp_tls_security_level = may\nsmtp_tls_protocols = TLSv9\n", CONF_ERROR, "smtp_tls_protocols: " },
		{ "smtp_tls_security_level = may\nsmtp_tls_mandatory_ciphers = best\n", CONF_ERROR, "smtp_tls_mandatory_protocols: " },
		{ "smtp_tls_security_level = may\nsmtp_tls_fingerprint_digest = sha3\n", CONF_ERROR, "\"sha3\" is no digest" },
		{ "smtp_tls_security_level = may\nsmtp_tls_trust_anchor_file = /no/such/file\n", CONF_ERROR, "smtp_tls_trust_anchor_file: " },
		{ "smtp_tls_policy_maps = inline:{ a.test=sure }\n", CONF_WARNING, "next-hop destination \"a.test\": invalid security level" },
		{ "smtp_sasl_auth_enable = yes\n", CONF_ERROR, "needs smtp_sasl_password_maps" },
		{ "smtp_sasl_auth_enable = yes\nsmtp_sasl_password_maps = inline:{a=b:c}\nsmtp_sasl_type = dovecot\n", CONF_ERROR, "is no SASL client" },
		{ "smtp_sasl_auth_enable = yes\nsmtp_sasl_password_maps = inline:{a=b:c}\nsmtp_sasl_security_options = safe\n", CONF_ERROR, "no SASL security option" },
		{ "smtp_sasl_auth_enable = yes\nsmtp_sasl_oauth2_token_maps = inline:{a=b:/no/such/file}\n", CONF_WARNING, "token file: " },
		{ "smtp_sasl_auth_enable = yes\nsmtp_sasl_oauth2_token_maps = inline:{a=b}\n", CONF_WARNING, "is not USER:FILE" },
	};
	(void)state;
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct tls_policies *t;
		struct logins *l;
		struct err e;
		confdir_make();
		struct conf *c = confdir_load(rows[i].main_cf);
		enum rc tls = tls_policies_open(c, conf_service_find(c, "smtp", "unix"), false, &t, &e);
		enum rc sasl = logins_open(c, conf_service_find(c, "smtp", "unix"), false, &l, &e);
		if ((tls == RC_OK && sasl == RC_OK) != (rows[i].how != CONF_ERROR))
			fail_msg("row %zu is not refused, or is", i);
		if (!confdir_has_problem(c, rows[i].how, rows[i].text)) {
			confdir_show_problems(c);
			fail_msg("row %zu: %s", i, rows[i].text);
		}
		tls_policies_free(&t);
		logins_free(&l);
		conf_unref(&c);
		confdir_remove();
	}
}

/* ---- logins ---- */

static void
test_offers(void **state)
{
	static const struct {
		const char *reply, *mechs; /* NULL: none offered */
	} rows[] = {
		{ "250-h\r\n250 AUTH PLAIN LOGIN\r\n", "PLAIN LOGIN" },
		{ "250-h\r\n250-AUTH PLAIN LOGIN\r\n250 AUTH=PLAIN LOGIN\r\n", "PLAIN LOGIN" },
		{ "250-h\r\n250-auth=LOGIN plain\r\n250 AUTH PLAIN CRAM-MD5\r\n", "LOGIN plain CRAM-MD5" },
		{ "250-h\r\n250 AUTH\r\n", "" },
		{ "250-h\r\n250 AUTH \t\r\n", "" },
		{ "250-h\r\n250-AUTHX PLAIN\r\n250 SIZE\r\n", NULL },
		{ "250 AUTH PLAIN\r\n", NULL }, /* the first line is the name */
		{ "250-h\r\n250 AUTH PL\x01""AIN X\xc3\xa4 LOGIN\r\n", "LOGIN" },
	};
	(void)state;
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct hubreply r;
		struct buf out;
		size_t used;
		hubreply_init(&r);
		buf_init(&out, 1000);
		assert_int_equal(hubreply_feed(&r, span_str(rows[i].reply), &used), RC_OK);
		assert_int_equal(ehlo_mechanisms(&r, &out), rows[i].mechs != NULL);
		assert_span(buf_span(&out), rows[i].mechs != NULL ? rows[i].mechs : "");
		buf_fini(&out);
		hubreply_fini(&r);
	}
}

static void
test_options(void **state)
{
	unsigned got;
	struct err e;
	(void)state;
	assert_int_equal(sasl_options_parse("noplaintext, noanonymous", &got, &e), RC_OK);
	assert_int_equal(got, SASL_NO_PLAINTEXT | SASL_NO_ANONYMOUS);
	assert_int_equal(sasl_options_parse("", &got, &e), RC_OK);
	assert_int_equal(got, 0);
	assert_int_equal(sasl_options_parse("mutual_auth forward_secrecy nodictionary NOACTIVE", &got, &e), RC_OK);
	assert_int_equal(got, SASL_MUTUAL_AUTH | SASL_FORWARD_SECRECY | SASL_NO_DICTIONARY | SASL_NO_ACTIVE);
	assert_int_equal(sasl_options_parse("noplain", &got, &e), RC_PERM);
}

static void
test_oauth(void **state)
{
	struct buf b;
	struct err e;
	(void)state;
	buf_init(&b, 4096);
	assert_int_equal(oauth_choose(SPAN("PLAIN XOAUTH2 OAUTHBEARER")), OAUTH_BEARER);
	assert_int_equal(oauth_choose(SPAN("PLAIN xoauth2")), OAUTH_X);
	assert_int_equal(oauth_choose(SPAN("PLAIN XOAUTH22")), OAUTH_NONE);
	assert_int_equal(oauth_first(OAUTH_X, SPAN("a@b.test"), SPAN("ya29.x-y_z/+="), "h", 587, &b, &e), RC_OK);
	assert_span(buf_span(&b), "user=a@b.test\001auth=Bearer ya29.x-y_z/+=\001\001");
	buf_reset(&b);
	assert_int_equal(oauth_first(OAUTH_BEARER, SPAN("a,b=c"), SPAN("tok"), "mx.test", 587, &b, &e), RC_OK);
	assert_span(buf_span(&b), "n,a=a=2Cb=3Dc,\001host=mx.test\001port=587\001auth=Bearer tok\001\001");
	buf_reset(&b);
	assert_int_equal(oauth_first(OAUTH_X, SPAN("a\001auth=Bearer x"), SPAN("tok"), "h", 587, &b, &e), RC_PERM);
	assert_int_equal(oauth_first(OAUTH_X, SPAN("a"), SPAN("t\001ok"), "h", 587, &b, &e), RC_PERM);
	assert_int_equal(oauth_first(OAUTH_X, SPAN("a"), SPAN("t ok"), "h", 587, &b, &e), RC_PERM);
	assert_int_equal(oauth_first(OAUTH_X, SPAN("a"), SPAN(""), "h", 587, &b, &e), RC_PERM);
	buf_fini(&b);
	assert_int_equal(scram_work(SPAN("r=abc,s=QSXCR+Q6sek8bf92,i=4096")), 4096);
	assert_int_equal(scram_work(SPAN("r=i=9,i=99999999")), 99999999);
	assert_true(scram_work(SPAN("r=a,i=18446744073709551616")) > SCRAM_WORK_MAX);
	assert_true(scram_work(SPAN("r=a,i=-1")) > SCRAM_WORK_MAX);
	assert_int_equal(scram_work(SPAN("v=abc")), 0);
}

/* Whatever stands around it: the secret is in no rendering of it (attack S02). */
static void
test_mask(void **state)
{
	static const char secret[] = "pa55=Word!", user[] = "anna";
	char name[sizeof user], word[sizeof secret];
	memcpy(name, user, sizeof user);
	memcpy(word, secret, sizeof secret);
	struct login l = { .user = name, .secret = word };
	(void)state;
	for (size_t before = 0; before < 7; before++) {
		for (size_t behind = 0; behind < 4; behind++) {
			unsigned char plain[64], coded[128];
			size_t n = 0;
			memset(plain, 'x', sizeof plain);
			n += before;
			memcpy(plain + n, secret, strlen(secret));
			n += strlen(secret) + behind;
			int len = EVP_EncodeBlock(coded, plain, (int)n);
			struct buf text;
			buf_init(&text, 1000);
			buf_puts(&text, "535 no: ");
			buf_put(&text, span_of(coded, (size_t)len));
			buf_puts(&text, " or ");
			buf_puts(&text, secret);
			buf_puts(&text, " or 706135353d576f726421");
			login_mask(&l, &text);
			/* what is left cannot be turned back: no five characters of the coded secret stand together */
			size_t first = before / 3 * 4 + (before % 3 > 0 ? before % 3 + 1 : 0), last = (before + strlen(secret)) * 4 / 3;
			for (size_t at = first; at + 5 <= last; at++)
				assert_int_equal(span_find(buf_span(&text), span_of(coded + at, 5)), SIZE_MAX);
			assert_int_equal(span_find(buf_span(&text), SPAN("Word")), SIZE_MAX);
			assert_int_equal(span_find(buf_span(&text), SPAN("576f")), SIZE_MAX);
			assert_int_equal(span_find(buf_span(&text), SPAN("535 no: ")), 0);
			buf_fini(&text);
		}
	}
	/* nothing to hide, nothing to read: left alone */
	struct login none = { .user = NULL };
	struct buf text;
	buf_init(&text, 100);
	buf_puts(&text, "535 no");
	login_mask(&none, &text);
	assert_span(buf_span(&text), "535 no");
	buf_fini(&text);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names), cmocka_unit_test(test_policy), cmocka_unit_test(test_levels), cmocka_unit_test(test_check), cmocka_unit_test(test_offers), cmocka_unit_test(test_options),
		cmocka_unit_test(test_oauth), cmocka_unit_test(test_mask),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
