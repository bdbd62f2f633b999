/* SPDX-License-Identifier: BSD-2-Clause */
/* The whole way: files -> snapshot -> images -> a context with a stand-in -> handshakes whose signatures come from another thread. */
#include "unit.h"

#include "base/clock.h"
#include "base/mem.h"
#include "confdir.h"
#include "keys/ring.h"
#include "keys/sign.h"
#include "own_time.h"
#include "tls/chain.h"
#include "tls/key.h"
#include "tls/keyask.h"
#include "tls/keyprov.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- certificates ---- */

static EVP_PKEY *
new_key(const char *kind)
{
	EVP_PKEY *k;
	if (strcmp(kind, "RSA") == 0)
		k = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048);
	else if (strncmp(kind, "P-", 2) == 0)
		k = EVP_PKEY_Q_keygen(NULL, NULL, "EC", kind);
	else
		k = EVP_PKEY_Q_keygen(NULL, NULL, kind);
	assert_non_null(k);
	return k;
}

static X509 *
new_cert(EVP_PKEY *key, EVP_PKEY *signer, const char *cn, long from, long until)
{
	X509 *x = X509_new();
	X509_set_version(x, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
	X509_gmtime_adj(X509_getm_notBefore(x), from);
	X509_gmtime_adj(X509_getm_notAfter(x), until);
	X509_set_pubkey(x, key);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const unsigned char *)cn, -1, -1, 0);
	X509_set_issuer_name(x, X509_get_subject_name(x));
	bool is_edwards = EVP_PKEY_is_a(signer, "ED25519") || EVP_PKEY_is_a(signer, "ED448");
	assert_true(X509_sign(x, signer, is_edwards ? NULL : EVP_sha256()) > 0);
	return x;
}

static char *
pem_of(EVP_PKEY *key, X509 *cert, X509 *second, const char *password)
{
	BIO *b = BIO_new(BIO_s_mem());
	char *p;
	if (key != NULL)
		PEM_write_bio_PrivateKey(b, key, password != NULL ? EVP_aes_128_cbc() : NULL, (const unsigned char *)password,
		    password != NULL ? (int)strlen(password) : 0, NULL, NULL);
	if (cert != NULL)
		PEM_write_bio_X509(b, cert);
	if (second != NULL)
		PEM_write_bio_X509(b, second);
	long n = BIO_get_mem_data(b, &p);
	char *text = mem_alloc((size_t)n + 1);
	memcpy(text, p, (size_t)n);
	text[n] = '\0';
	BIO_free(b);
	return text;
}

static void
write_pem(const char *name, EVP_PKEY *key, X509 *cert, X509 *second)
{
	char *text = pem_of(key, cert, second, NULL);
	confdir_write(name, text);
	mem_free(&text);
}

/* ---- the process that signs, as a thread ---- */

struct signer {
	pthread_t thread;
	int fd;
	struct ring ring;
	unsigned side;
	bool is_mute;
	unsigned asked;
};

static void *
sign_all(void *arg)
{
	struct signer *s = arg;
	unsigned char packet[KEY_PACKET_MAX], out[KEY_DATA_MAX];
	for (ssize_t n; (n = recv(s->fd, packet, sizeof packet, 0)) > 0;) {
		struct key_request r;
		size_t k = 0;
		assert_int_equal(key_request_get(span_of(packet, (size_t)n), &r), RC_OK);
		s->asked++;
		const struct ring_key *key = ring_find(&s->ring, r.id, s->side);
		enum rc rc = key == NULL ? RC_NONE : r.op == KEY_SIGN ? key_sign(key->key, &r, out, &k) : key_decrypt(key->key, &r, out, &k);
		struct buf b;
		buf_init(&b, KEY_PACKET_MAX);
		key_reply_put(&b, &(struct key_reply){ r.seq, rc, span_of(out, k) });
		if (!s->is_mute)
			(void)!send(s->fd, buf_span(&b).p, buf_len(&b), MSG_NOSIGNAL);
		buf_fini(&b);
	}
	return NULL;
}

static void
signer_start(struct signer *s, const struct conf *c, unsigned side)
{
	int sv[2];
	struct err e = { .why = "" };
	*s = (struct signer){ .side = side };
	ring_init(&s->ring);
	if (ring_load(&s->ring, c, 1, &e) != RC_OK)
		fail_msg("%s", e.why);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sv), 0);
	s->fd = sv[1];
	keyask_peer(sv[0]);
	assert_int_equal(pthread_create(&s->thread, NULL, sign_all, s), 0);
}

static void
signer_stop(struct signer *s)
{
	keyask_peer(-1);
	pthread_join(s->thread, NULL);
	close(s->fd);
	ring_fini(&s->ring);
}

/* ---- handshakes ---- */

static bool
handshake(SSL_CTX *server, SSL_CTX *client, SSL **client_out)
{
	SSL *s = SSL_new(server), *c = SSL_new(client);
	BIO *sb, *cb;
	assert_int_equal(BIO_new_bio_pair(&sb, 0, &cb, 0), 1);
	SSL_set_bio(s, sb, sb);
	SSL_set_bio(c, cb, cb);
	SSL_set_accept_state(s);
	SSL_set_connect_state(c);
	int rs = -1, rc = -1;
	for (int i = 0; i < 20 && (rs != 1 || rc != 1); i++) {
		if (rc != 1)
			rc = SSL_do_handshake(c);
		if (rs != 1)
			rs = SSL_do_handshake(s);
		if ((rs != 1 && SSL_get_error(s, rs) != SSL_ERROR_WANT_READ) || (rc != 1 && SSL_get_error(c, rc) != SSL_ERROR_WANT_READ))
			break;
	}
	SSL_free(s);
	if (client_out != NULL)
		*client_out = c;
	else
		SSL_free(c);
	return rs == 1 && rc == 1;
}

static struct conf *
load(void)
{
	struct conf *c;
	struct err e = { .why = "" };
	confdir_write("main.cf", "mail_name = x\n");
	if (conf_load(confdir, &c, &e) != RC_OK)
		fail_msg("%s", e.why);
	return c;
}

static struct conf *
image(const struct conf *c, unsigned audience)
{
	struct conf *out;
	struct err e = { .why = "" };
	int fd;
	assert_int_equal(conf_image_write(c, audience, &fd, &e), RC_OK);
	assert_int_equal(conf_image_read(fd, &out, &e), RC_OK);
	close(fd);
	return out;
}

static void
one_kind(const char *kind, int version, const char *ciphers, const char *groups_sigalgs)
{
	struct err e = { .why = "" };
	EVP_PKEY *key = new_key(kind);
	X509 *cert = new_cert(key, key, "mx.test", -10, 86400 * 100);
	confdir_make();
	struct conf *c = load();
	write_pem("cert.pem", NULL, cert, NULL);
	write_pem("key.pem", key, NULL, NULL);
	if (tls_key_use(c, TLS_SERVER, NULL, "cert.pem", "key.pem", &e) != RC_OK)
		fail_msg("%s: %s", kind, e.why);
	struct conf *role = image(c, CONF_FOR_ALL), *keys = image(c, CONF_FOR_KEYS);
	confdir_remove();
	struct signer signer;
	signer_start(&signer, keys, TLS_SERVER);
	assert_int_equal(signer.ring.count, 1);
	SSL_CTX *server = SSL_CTX_new(TLS_server_method()), *client = SSL_CTX_new(TLS_client_method());
	SSL_CTX_set_security_level(server, 0);
	SSL_CTX_set_security_level(client, 0);
	if (tls_key_use(role, TLS_SERVER, server, "cert.pem", "key.pem", &e) != RC_OK)
		fail_msg("%s: %s", kind, e.why);
	assert_int_equal(SSL_CTX_check_private_key(server), 1);
	SSL_CTX_set_min_proto_version(client, version);
	SSL_CTX_set_max_proto_version(client, version);
	SSL_CTX_set_min_proto_version(server, TLS1_VERSION);
	if (ciphers != NULL)
		assert_int_equal(SSL_CTX_set_cipher_list(client, ciphers) + SSL_CTX_set_cipher_list(server, ciphers), 2);
	if (groups_sigalgs != NULL)
		assert_int_equal(SSL_CTX_set1_sigalgs_list(client, (void *)(uintptr_t)groups_sigalgs), 1);
	SSL *ssl;
	if (!handshake(server, client, &ssl))
		fail_msg("%s %x %s %s: no handshake", kind, (unsigned)version, ciphers, groups_sigalgs);
	assert_int_equal(SSL_version(ssl), version);
	assert_int_equal(signer.asked, 1);
	SSL_free(ssl);
	/* another side's key is nobody's */
	signer.side = TLS_CLIENT;
	assert_false(handshake(server, client, NULL));
	SSL_CTX_free(server);
	SSL_CTX_free(client);
	signer_stop(&signer);
	conf_unref(&role);
	conf_unref(&keys);
	conf_unref(&c);
	X509_free(cert);
	EVP_PKEY_free(key);
}

static void
test_handshakes(void **state)
{
	(void)state;
	static const struct {
		const char *kind;
		int version;
		const char *ciphers, *sigalgs;
	} rows[] = {
		{ "RSA", TLS1_3_VERSION, NULL, NULL },
		{ "RSA", TLS1_3_VERSION, NULL, "rsa_pss_rsae_sha512" },
		{ "RSA", TLS1_2_VERSION, NULL, NULL },
		{ "RSA", TLS1_2_VERSION, "ECDHE-RSA-AES128-SHA", "RSA+SHA384" },
		{ "RSA", TLS1_2_VERSION, "ECDHE-RSA-AES128-SHA", "RSA+SHA1" },
		{ "RSA", TLS1_2_VERSION, "AES128-SHA", NULL },     /* key exchange by decryption */
		{ "RSA", TLS1_1_VERSION, "AES256-SHA", NULL },
		{ "RSA", TLS1_VERSION, "ECDHE-RSA-AES128-SHA", NULL }, /* MD5-SHA1 */
		{ "P-256", TLS1_3_VERSION, NULL, NULL },
		{ "P-384", TLS1_3_VERSION, NULL, NULL },
		{ "P-521", TLS1_3_VERSION, NULL, NULL },
		{ "P-256", TLS1_2_VERSION, NULL, NULL },
		{ "P-256", TLS1_2_VERSION, NULL, "ECDSA+SHA1" },
		{ "P-256", TLS1_VERSION, NULL, NULL },
		{ "ED25519", TLS1_3_VERSION, NULL, NULL },
		{ "ED25519", TLS1_2_VERSION, NULL, NULL },
		{ "ED448", TLS1_3_VERSION, NULL, NULL },
	};
	for (size_t i = 0; i < NELEMS(rows); i++)
		one_kind(rows[i].kind, rows[i].version, rows[i].ciphers, rows[i].sigalgs);
}

/* A client's certificate; chain files with two algorithms; a real key beside a stand-in in one process. */
static void
test_client_and_list(void **state)
{
	(void)state;
	struct err e = { .why = "" };
	EVP_PKEY *rsa = new_key("RSA"), *ec = new_key("P-256"), *plain = new_key("RSA");
	X509 *rsa_cert = new_cert(rsa, rsa, "rsa.test", -10, 86400 * 100), *ec_cert = new_cert(ec, ec, "ec.test", -10, 86400 * 100),
	     *plain_cert = new_cert(plain, plain, "plain.test", -10, 86400);
	confdir_make();
	struct conf *c = load();
	write_pem("rsa.pem", rsa, rsa_cert, NULL);
	write_pem("ec.pem", ec, ec_cert, rsa_cert);
	assert_int_equal(tls_key_use_chains(c, TLS_CLIENT, NULL, "rsa.pem, ec.pem", &e), RC_OK);
	struct conf *role = image(c, CONF_FOR_ALL), *keys = image(c, CONF_FOR_KEYS);
	confdir_remove();
	struct signer signer;
	signer_start(&signer, keys, TLS_CLIENT);
	assert_int_equal(signer.ring.count, 2);
	SSL_CTX *server = SSL_CTX_new(TLS_server_method()), *client = SSL_CTX_new(TLS_client_method());
	assert_int_equal(SSL_CTX_use_certificate(server, plain_cert), 1);
	assert_int_equal(SSL_CTX_use_PrivateKey(server, plain), 1);
	SSL_CTX_set_verify(server, SSL_VERIFY_PEER, NULL);
	X509_STORE_add_cert(SSL_CTX_get_cert_store(server), rsa_cert);
	X509_STORE_add_cert(SSL_CTX_get_cert_store(server), ec_cert);
	assert_int_equal(tls_key_use_chains(role, TLS_CLIENT, client, "rsa.pem, ec.pem", &e), RC_OK);
	SSL *ssl;
	assert_true(handshake(server, client, &ssl));
	SSL_free(ssl);
	assert_int_equal(signer.asked, 1);
	assert_int_equal(tls_key_use_chains(role, TLS_CLIENT, client, "other.pem", &e), RC_TEMP);
	assert_int_equal(tls_key_use_chains(role, TLS_SERVER, client, "rsa.pem, ec.pem", &e), RC_TEMP);
	SSL_CTX_free(server);
	SSL_CTX_free(client);
	signer_stop(&signer);
	conf_unref(&role);
	conf_unref(&keys);
	conf_unref(&c);
	X509_free(rsa_cert);
	X509_free(ec_cert);
	X509_free(plain_cert);
	EVP_PKEY_free(rsa);
	EVP_PKEY_free(ec);
	EVP_PKEY_free(plain);
}

/* Nobody answers: 2 s once, then not at all, and again when there is an answer. */
static void
test_silence(void **state)
{
	(void)state;
	unsigned char out[KEY_DATA_MAX], packet[KEY_PACKET_MAX];
	struct key_request r = { .op = KEY_PING };
	size_t n;
	int sv[2];
	keyask_peer(-1);
	assert_false(keyask_usable());
	assert_int_equal(keyask(&r, out, &n), RC_TEMP);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sv), 0);
	keyask_peer(sv[0]);
	assert_true(keyask_usable());
	uint64_t began = clock_mono(), own_began = own_time();
	assert_int_equal(keyask(&r, out, &n), RC_TEMP);
	assert_true(clock_mono() - began > 1900000 && own_time() - own_began < 2500000);
	own_began = own_time();
	for (int i = 0; i < 1000; i++) {
		assert_int_equal(keyask(&r, out, &n), RC_TEMP);
		assert_false(keyask_usable());
	}
	assert_true(own_time() - own_began < 500000);
	/* it wakes up and answers what was asked long ago */
	ssize_t len = recv(sv[1], packet, sizeof packet, 0);
	struct key_request late;
	assert_int_equal(key_request_get(span_of(packet, (size_t)len), &late), RC_OK);
	struct buf b;
	buf_init(&b, 1000);
	key_reply_put(&b, &(struct key_reply){ late.seq, RC_OK, SPAN("late") });
	assert_int_equal(send(sv[1], buf_span(&b).p, buf_len(&b), 0), buf_len(&b));
	buf_fini(&b);
	assert_true(keyask_usable());
	/* it dies */
	close(sv[1]);
	own_began = own_time();
	assert_int_equal(keyask(&r, out, &n), RC_TEMP);
	assert_false(keyask_usable());
	assert_true(own_time() - own_began < 500000);
	keyask_peer(-1);
}

/* T03: what cannot be used is refused with the file's name. */
static void
test_bad_files(void **state)
{
	(void)state;
	EVP_PKEY *key = new_key("P-256"), *other = new_key("P-256"), *dsa = NULL;
	X509 *cert = new_cert(key, key, "mx.test", -86400, 86400 * 100), *above = new_cert(other, other, "ca.test", -10, 86400 * 100),
	     *expired = new_cert(key, key, "old.test", -86400 * 10, -5), *early = new_cert(key, key, "early.test", 86400, 86400 * 100);
	(void)dsa;
	confdir_make();
	write_pem("cert", NULL, cert, NULL);
	write_pem("chain", NULL, cert, above);
	write_pem("swapped", NULL, above, cert);
	write_pem("key", key, NULL, NULL);
	write_pem("other", other, NULL, NULL);
	write_pem("both", key, cert, NULL);
	write_pem("expired", NULL, expired, NULL);
	write_pem("early", NULL, early, NULL);
	char *locked = pem_of(key, NULL, NULL, "geheim");
	confdir_write("locked", locked);
	mem_free(&locked);
	confdir_write("garbage", "hello\n");
	confdir_write("empty", "");
	confdir_write("cut", "-----BEGIN CERTIFICATE-----\nMIIBszCC\n");
	confdir_write("bad64", "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n");
	static const struct {
		const char *cert, *key;
		enum rc rc;
		const char *why;
	} rows[] = {
		{ "cert", "key", RC_OK, "" },
		{ "chain", "key", RC_OK, "" },
		{ "both", "both", RC_OK, "" },
		{ "early", "key", RC_OK, "" },
		{ "cert", "other", RC_PERM, "cert: the private key is not that of this certificate" },
		{ "swapped", "key", RC_PERM, "swapped: the certificates are in the wrong order" },
		{ "key", "cert", RC_PERM, "key: no certificate in it (but a private key: the names of certificate and key file are exchanged)" },
		{ "cert", "cert", RC_PERM, "cert: no private key in it" },
		{ "key", "key", RC_PERM, "key: no certificate in it" },
		{ "cert", "missing", RC_PERM, "missing: No such file" },
		{ "missing", "key", RC_PERM, "missing: No such file" },
		{ "cert", "locked", RC_PERM, "locked: the private key is protected by a password" },
		{ "expired", "key", RC_PERM, "expired: the certificate has expired on " },
		{ "garbage", "key", RC_PERM, "garbage: no certificate in it" },
		{ "cert", "garbage", RC_PERM, "garbage: no private key in it" },
		{ "cert", "empty", RC_PERM, "empty: no private key in it" },
		{ "cut", "key", RC_PERM, "cut: is not what a PEM file looks like" },
		{ "bad64", "key", RC_PERM, "bad64: is not what a PEM file looks like" },
		{ "cert", NULL, RC_PERM, "cert: a certificate without a private key before it" },
		{ "key", NULL, RC_PERM, "key: a private key without a certificate behind it" },
		{ "both", NULL, RC_OK, "" },
		{ "both both", NULL, RC_OK, "" },
		{ "key cert", NULL, RC_OK, "" },
		{ "both key", NULL, RC_PERM, "both key: a private key without a certificate behind it" },
		{ "empty", NULL, RC_PERM, "empty: no certificate and key in it" },
	};
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct conf *c = load();
		struct err e = { .why = "" };
		enum rc rc = rows[i].key != NULL ? tls_key_use(c, TLS_SERVER, NULL, rows[i].cert, rows[i].key, &e)
		                                 : tls_key_use_chains(c, TLS_SERVER, NULL, rows[i].cert, &e);
		if (rc != rows[i].rc || strstr(e.why, rows[i].why) == NULL)
			fail_msg("%s %s: %d %s", rows[i].cert, rows[i].key, (int)rc, e.why);
		conf_unref(&c);
	}
	confdir_remove();
	X509_free(cert);
	X509_free(above);
	X509_free(expired);
	X509_free(early);
	EVP_PKEY_free(key);
	EVP_PKEY_free(other);
}

/* A key that was replaced signs on for a while, then it is gone. */
static void
test_ring(void **state)
{
	(void)state;
	EVP_PKEY *a = new_key("P-256"), *b = new_key("P-256");
	X509 *ca = new_cert(a, a, "a", -10, 86400 * 100), *cb = new_cert(b, b, "b", -10, 86400 * 100);
	unsigned char ida[KEY_ID], idb[KEY_ID];
	struct err e = { .why = "" };
	struct ring ring;
	assert_int_equal(keyprov_id(a, ida, &e), RC_OK);
	assert_int_equal(keyprov_id(b, idb, &e), RC_OK);
	ring_init(&ring);
	confdir_make();
	struct conf *c = load(), *keys;
	write_pem("pem", a, ca, NULL);
	assert_int_equal(tls_key_use(c, TLS_SERVER, NULL, "pem", "pem", &e), RC_OK);
	keys = image(c, CONF_FOR_KEYS);
	assert_int_equal(ring_load(&ring, keys, 100, &e), RC_OK);
	conf_unref(&keys);
	conf_unref(&c);
	assert_non_null(ring_find(&ring, ida, TLS_SERVER));
	assert_null(ring_find(&ring, ida, TLS_CLIENT));
	assert_null(ring_find(&ring, idb, TLS_SERVER));
	write_pem("pem", b, cb, NULL);
	c = load();
	assert_int_equal(tls_key_use(c, TLS_SERVER, NULL, "pem", "pem", &e), RC_OK);
	assert_int_equal(tls_key_use(c, TLS_CLIENT, NULL, "pem", "pem", &e), RC_OK);
	keys = image(c, CONF_FOR_KEYS);
	assert_int_equal(ring_load(&ring, keys, 200, &e), RC_OK);
	assert_int_equal(ring_load(&ring, keys, 300, &e), RC_OK); /* twice the same */
	assert_int_equal(ring.count, 2);
	assert_int_equal(ring.old, 1);
	assert_non_null(ring_find(&ring, ida, TLS_SERVER));
	assert_non_null(ring_find(&ring, idb, TLS_SERVER));
	assert_non_null(ring_find(&ring, idb, TLS_CLIENT));
	ring_expire(&ring, 200);
	assert_non_null(ring_find(&ring, ida, TLS_SERVER));
	ring_expire(&ring, 201);
	assert_null(ring_find(&ring, ida, TLS_SERVER));
	assert_int_equal(ring.old, 0);
	assert_int_equal(ring.count, 1);
	ring_fini(&ring);
	assert_int_equal(ring.count, 0);
	conf_unref(&keys);
	conf_unref(&c);
	confdir_remove();
	X509_free(ca);
	X509_free(cb);
	EVP_PKEY_free(a);
	EVP_PKEY_free(b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_handshakes), cmocka_unit_test(test_client_and_list),
		cmocka_unit_test(test_silence), cmocka_unit_test(test_bad_files), cmocka_unit_test(test_ring) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
