/* SPDX-License-Identifier: BSD-2-Clause */
/* Sessions of the relay's TLS that are resumed: by several connections to one hub at a time. */
#include "unit.h"
#include "confdir.h"
#include "tls_world.h"

#include "tls/client.h"

enum { SIDES = 8 };

static SSL_CTX *hub;
static struct conf *conf;
static struct tls_client *us;

/* One connection, its two ends joined by memory. */
struct pair {
	SSL *ours, *theirs;
};

static void
begin(struct pair *p, const char *key)
{
	struct tls_wish w = { .level = TLS_DEMAND_ENCRYPT, .host = "mx.test", .nexthop = "test", .key = key };
	struct err e;
	BIO *a, *b;
	assert_int_equal(tls_client_ssl(us, &w, &p->ours, &e), RC_OK);
	p->theirs = SSL_new(hub);
	SSL_set_accept_state(p->theirs);
	assert_int_equal(BIO_new_bio_pair(&a, 0, &b, 0), 1);
	SSL_set_bio(p->ours, a, a);
	SSL_set_bio(p->theirs, b, b);
}

static void
shake(struct pair *p)
{
	int r = -1, s = -1;
	for (int i = 0; i < 10 && (r != 1 || s != 1); i++) {
		r = SSL_do_handshake(p->ours);
		s = SSL_do_handshake(p->theirs);
	}
	assert_int_equal(r, 1);
	assert_int_equal(s, 1);
}

/* The hub says something: the tickets before it are read. */
static void
hear(struct pair *p)
{
	char c;
	size_t n;
	assert_int_equal(SSL_write_ex(p->theirs, "x", 1, &n), 1);
	assert_int_equal(SSL_read_ex(p->ours, &c, 1, &n), 1);
}

static void
end(struct pair *p, bool broken)
{
	if (!broken)
		(void)SSL_shutdown(p->ours);
	SSL_free(p->ours);
	SSL_free(p->theirs);
}

static void
open_both(int version, unsigned tickets)
{
	struct err e;
	hub = tls_world_server();
	SSL_CTX_set_max_proto_version(hub, version);
	SSL_CTX_set_num_tickets(hub, tickets);
	SSL_CTX_set_session_id_context(hub, (const unsigned char *)"hub", 3);
	confdir_make();
	conf = confdir_load("smtp_tls_security_level = encrypt\nsmtp_tls_session_cache_database = btree:/x\n");
	assert_int_equal(tls_client_open(conf, conf_service_find(conf, "smtp", "unix"), false, &us, &e), RC_OK);
}

static void
close_both(void)
{
	tls_client_free(&us);
	conf_unref(&conf);
	confdir_remove();
	SSL_CTX_free(hub);
}

/* The first session of the world: not resumed. */
static void
first(void)
{
	struct pair p;
	begin(&p, "hub");
	shake(&p);
	assert_int_equal(SSL_session_reused(p.ours), 0);
	hear(&p);
	end(&p, false);
}

static void
test_at_once(void **state)
{
	static const int versions[] = { TLS1_3_VERSION, TLS1_2_VERSION };
	(void)state;
	for (size_t v = 0; v < NELEMS(versions); v++) {
		struct pair p[SIDES];
		open_both(versions[v], 2);
		first();
		for (size_t i = 0; i < SIDES; i++)
			begin(&p[i], "hub");
		for (size_t i = 0; i < SIDES; i++)
			shake(&p[i]);
		for (size_t i = 0; i < SIDES; i++) {
			assert_int_equal(SSL_version(p[i].ours), versions[v]);
			assert_int_equal(SSL_session_reused(p[i].ours), 1);
			end(&p[i], false);
		}
		/* one after the other, and nobody has heard anything in between */
		for (size_t i = 0; i < SIDES; i++) {
			begin(&p[i], "hub");
			shake(&p[i]);
			assert_int_equal(SSL_session_reused(p[i].ours), 1);
		}
		for (size_t i = 0; i < SIDES; i++)
			end(&p[i], false);
		begin(&p[0], "other hub");
		shake(&p[0]);
		assert_int_equal(SSL_session_reused(p[0].ours), 0);
		end(&p[0], false);
		close_both();
	}
}

/* A hub that gives no ticket to who has one: the one there is stays good. */
static void
test_no_new_ticket(void **state)
{
	struct pair p;
	(void)state;
	open_both(TLS1_3_VERSION, 1);
	first();
	SSL_CTX_set_num_tickets(hub, 0);
	for (size_t i = 0; i < SIDES; i++) {
		begin(&p, "hub");
		shake(&p);
		assert_int_equal(SSL_session_reused(p.ours), 1);
		hear(&p);
		end(&p, false);
	}
	tls_client_forget(us, "hub");
	begin(&p, "hub");
	shake(&p);
	assert_int_equal(SSL_session_reused(p.ours), 0);
	end(&p, false);
	close_both();
}

/* A connection that broke after the handshake says nothing about its session. */
static void
test_broken(void **state)
{
	static const int versions[] = { TLS1_3_VERSION, TLS1_2_VERSION };
	(void)state;
	for (size_t v = 0; v < NELEMS(versions); v++) {
		struct pair p;
		open_both(versions[v], 1);
		begin(&p, "hub");
		shake(&p);
		hear(&p);
		end(&p, true);
		for (size_t i = 0; i < SIDES; i++) {
			begin(&p, "hub");
			shake(&p);
			assert_int_equal(SSL_session_reused(p.ours), 1);
			end(&p, true);
		}
		close_both();
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_at_once),
		cmocka_unit_test(test_no_new_ticket),
		cmocka_unit_test(test_broken),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
