/* SPDX-License-Identifier: BSD-2-Clause */
/* Logins that wait for their client, more than there may be: the oldest go, and those who begin are never refused for it. */
#include "sasl/exchange.h"

#include "base/metric.h"
#include "conf/conf.h"
#include "loop/loop.h"
#include "sasl/setup.h"

#include "confdir.h"
#include "unit.h"

enum { MANY = 1200 };

static struct sasl_exchange x[MANY];
static struct op_owner owner;
static struct sasl_setup *setup;

static void
done(struct op *op)
{
	(void)op;
}

/* The backend has asked for more of a client in 192.0.i.j. */
static void
wait_for_client(struct sasl_exchange *one, unsigned network)
{
	sasl_exchange_init(one, &owner, done);
	one->setup = setup;
	one->network = (struct ipaddr){ .family = IPADDR_V4, .b = { 192, 0, (unsigned char)(network >> 8), (unsigned char)network } };
	sasl_exchange_end(one, SASL_GOES_ON, SPAN("VXNlcm5hbWU6"), SPAN_EMPTY);
	(void)ops_run_ready();
}

static void
test_oldest_go(void **state)
{
	(void)state;
	int64_t before = metric_values[M_sasl_crowded];
	for (unsigned i = 0; i < MANY; i++)
		wait_for_client(&x[i], i);
	assert_int_equal(metric_values[M_sasl_crowded] - before, MANY - SASL_TURNS_MAX);
	for (unsigned i = 0; i < MANY; i++) {
		assert_int_equal(x[i].outcome, SASL_GOES_ON);
		assert_int_equal(x[i].is_expelled, i < MANY - SASL_TURNS_MAX);
	}
	sasl_exchange_answer(&x[0], SPAN("YQ=="));
	(void)ops_run_ready();
	assert_int_equal(x[0].outcome, SASL_NOT_NOW);
	assert_true(span_eq(buf_span(&x[0].text), SPAN("Too many logins at a time")));
	for (unsigned i = 0; i < MANY; i++)
		sasl_exchange_fini(&x[i]);
}

static void
test_own_network_first(void **state)
{
	(void)state;
	wait_for_client(&x[0], 1);
	for (unsigned i = 1; i <= 100; i++)
		wait_for_client(&x[i], 2);
	assert_false(x[0].is_expelled);
	for (unsigned i = 1; i <= 100; i++)
		assert_int_equal(x[i].is_expelled, i <= 100 - SASL_TURNS_NETWORK_MAX);
	/* who goes on makes room */
	sasl_exchange_fini(&x[100]);
	wait_for_client(&x[101], 2);
	assert_false(x[100 - SASL_TURNS_NETWORK_MAX + 1].is_expelled);
	for (unsigned i = 0; i <= 101; i++)
		sasl_exchange_fini(&x[i]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_oldest_go), cmocka_unit_test(test_own_network_first) };
	struct conf *c = NULL;
	struct err e = { .why = "" };
	loop_init();
	op_owner_init(&owner);
	confdir_make();
	confdir_write("main.cf", "myhostname = gw.test\nsmtpd_sasl_auth_enable = yes\nsmtpd_sasl_type = dovecot\nsmtpd_sasl_path = /nonexistent/auth\n");
	if (conf_load(confdir, &c, &e) != RC_OK || sasl_setup_open(c, conf_service(c, 0), true, &setup, &e) != RC_OK) {
		fprintf(stderr, "%s\n", e.why);
		return 1;
	}
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	sasl_setup_free(&setup);
	conf_unref(&c);
	confdir_remove();
	loop_fini();
	return failed;
}
