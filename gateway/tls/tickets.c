/* SPDX-License-Identifier: BSD-2-Clause */
#include "tls/tickets.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/rand.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

enum { HOURS_AT_ONCE = 24 * 366 }; /* further than that: begin anew */

static struct {
	struct tickets_chain chain;
	bool told;
	struct tickets_key keys[TICKETS_KEPT]; /* by hour */
} me;

static uint64_t
hour_of(uint64_t wall_usec)
{
	return wall_usec / USEC_PER_SEC / TICKETS_PERIOD_SECONDS;
}

static void
derive(const unsigned char secret[TICKETS_SECRET], const char *what, unsigned char out[32])
{
	unsigned n = 0;
	unsigned char *ok = HMAC(EVP_sha256(), secret, TICKETS_SECRET, (const unsigned char *)what, strlen(what), out, &n);
	BUG_ON(ok == NULL || n != 32);
}

static void
next_hour(struct tickets_chain *t)
{
	unsigned char next[32];
	derive(t->secret, "next hour", next);
	memcpy(t->secret, next, sizeof t->secret);
	mem_wipe(next, sizeof next);
	t->hour++;
}

void
tickets_begin(struct tickets_chain *t, uint64_t wall_usec)
{
	rand_bytes(t->secret, sizeof t->secret);
	t->hour = hour_of(wall_usec);
}

void
tickets_frame(struct tickets_chain *t, uint64_t wall_usec, unsigned char out[TICKETS_FRAME])
{
	uint64_t now = hour_of(wall_usec);
	if (now > t->hour + HOURS_AT_ONCE)
		tickets_begin(t, wall_usec);
	while (t->hour < now) /* a clock that was set back waits */
		next_hour(t);
	for (int i = 0; i < 8; i++)
		out[i] = (unsigned char)(t->hour >> (8 * i));
	memcpy(out + 8, t->secret, TICKETS_SECRET);
}

/* ---- edge ---- */

static void
keep_key(void)
{
	struct tickets_key *k = &me.keys[me.chain.hour % TICKETS_KEPT];
	unsigned char name[32];
	mem_wipe(k, sizeof *k);
	k->hour = me.chain.hour;
	derive(me.chain.secret, "name", name);
	memcpy(k->name, name, sizeof k->name);
	derive(me.chain.secret, "cipher", k->cipher);
	derive(me.chain.secret, "mac", k->mac);
}

static void
begin(const struct tickets_chain *t)
{
	mem_wipe(me.keys, sizeof me.keys);
	me.chain = *t;
	me.told = true;
	keep_key();
}

enum rc
tickets_told(struct span frame)
{
	struct tickets_chain t;
	struct cur rd = cur_of(frame);
	t.hour = cur_u64(&rd);
	struct span secret = cur_take(&rd, TICKETS_SECRET);
	if (!cur_done(&rd) || t.hour == 0)
		return RC_PERM;
	memcpy(t.secret, secret.p, sizeof t.secret);
	begin(&t);
	mem_wipe(&t, sizeof t);
	return RC_OK;
}

/* Moves on to the present hour. */
static void
move_on(uint64_t wall_usec)
{
	uint64_t now = hour_of(wall_usec);
	if (!me.told || now > me.chain.hour + HOURS_AT_ONCE) {
		struct tickets_chain t;
		tickets_begin(&t, wall_usec);
		begin(&t);
		mem_wipe(&t, sizeof t);
	}
	while (me.chain.hour < now) {
		next_hour(&me.chain);
		keep_key();
	}
}

const struct tickets_key *
tickets_current(uint64_t wall_usec)
{
	move_on(wall_usec);
	return &me.keys[me.chain.hour % TICKETS_KEPT];
}

const struct tickets_key *
tickets_named(const unsigned char name[16], uint64_t wall_usec)
{
	move_on(wall_usec);
	for (size_t i = 0; i < TICKETS_KEPT; i++) {
		const struct tickets_key *k = &me.keys[i];
		if (k->hour != 0 && k->hour + TICKETS_KEPT > me.chain.hour && memcmp(k->name, name, sizeof k->name) == 0)
			return k;
	}
	return NULL;
}

static int
on_ticket(SSL *ssl, unsigned char name[16], unsigned char iv[EVP_MAX_IV_LENGTH], EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int make)
{
	(void)ssl;
	uint64_t now = clock_wall();
	const struct tickets_key *k = make ? tickets_current(now) : tickets_named(name, now);
	if (k == NULL)
		return 0; /* a full handshake, then */
	OSSL_PARAM params[] = { OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, (void *)(uintptr_t)k->mac, sizeof k->mac),
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)(uintptr_t)"SHA256", 0), OSSL_PARAM_construct_end() };
	if (make) {
		memcpy(name, k->name, sizeof k->name);
		rand_bytes(iv, 16);
	}
	static EVP_CIPHER *aes; /* looked up once: each time costs more than the ticket */
	if (aes == NULL)
		aes = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL);
	if (aes == NULL || EVP_CipherInit_ex(cipher, aes, NULL, k->cipher, iv, make) != 1 || EVP_MAC_CTX_set_params(mac, params) != 1)
		return -1;
	return make || k->hour == me.chain.hour ? 1 : 2;
}

void
tickets_use(SSL_CTX *ctx, uint64_t lifetime)
{
	uint64_t most = (TICKETS_KEPT - 1) * (uint64_t)TICKETS_PERIOD_SECONDS;
	SSL_CTX_set_timeout(ctx, (long)(lifetime < most ? lifetime : most));
	SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket);
	SSL_CTX_set_num_tickets(ctx, 1); /* a mail client keeps one */
}
