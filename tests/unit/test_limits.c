/* SPDX-License-Identifier: BSD-2-Clause */
#include "smtp/limits.h"

#include <sys/mman.h>
#include <unistd.h>

#include "unit.h"

static struct ipaddr
addr(const char *text)
{
	struct ipaddr a;
	assert_int_equal(ipaddr_parse(span_str(text), &a), RC_OK);
	return a;
}

static void
test_alone(void **state)
{
	(void)state;
	struct limits l;
	struct limits_ref r[5];
	struct ipaddr a = addr("192.0.2.1"), b = addr("2001:db8::1");
	limits_init(&l, 0);
	assert_int_equal(limits_enter(&l, &a, SPAN("smtp"), &r[0]), 1);
	assert_int_equal(limits_enter(&l, &a, SPAN("smtp"), &r[1]), 2);
	assert_int_equal(limits_enter(&l, &a, SPAN("submission"), &r[2]), 1);
	assert_int_equal(limits_enter(&l, &b, SPAN("smtp"), &r[3]), 1);
	limits_leave(&l, &r[0]);
	limits_leave(&l, &r[0]); /* idempotent */
	assert_int_equal(limits_enter(&l, &a, SPAN("smtp"), &r[4]), 2);
	for (int i = 1; i < 5; i++)
		limits_leave(&l, &r[i]);
	assert_int_equal(limits_enter(&l, &a, SPAN("smtp"), &r[0]), 1);
	limits_fini(&l);
}

/* Two processes' views of one table; one dies and its successor begins with nothing. */
static void
test_shared(void **state)
{
	(void)state;
	int fd = memfd_create("limits", MFD_CLOEXEC);
	assert_true(fd >= 0 && ftruncate(fd, (off_t)limits_table_size()) == 0);
	struct limits x, y;
	struct limits_ref r[4];
	struct err e;
	struct ipaddr a = addr("192.0.2.1");
	limits_init(&x, 0), limits_init(&y, 1);
	assert_int_equal(limits_attach(&x, dup(fd), 0, &e), RC_OK);
	assert_int_equal(limits_attach(&y, dup(fd), 1, &e), RC_OK);
	assert_int_equal(limits_enter(&x, &a, SPAN("smtp"), &r[0]), 1);
	assert_int_equal(limits_enter(&y, &a, SPAN("smtp"), &r[1]), 2);
	assert_int_equal(limits_enter(&y, &a, SPAN("smtp"), &r[2]), 3);
	limits_fini(&y); /* killed: its counts stay in the table */
	limits_init(&y, 1);
	assert_int_equal(limits_attach(&y, dup(fd), 1, &e), RC_OK);
	assert_int_equal(limits_enter(&y, &a, SPAN("smtp"), &r[3]), 2);
	limits_leave(&x, &r[0]);
	limits_leave(&y, &r[3]);
	assert_int_equal(limits_enter(&x, &a, SPAN("smtp"), &r[0]), 1);
	limits_fini(&x), limits_fini(&y);
	assert_int_equal(limits_attach(&x, memfd_create("short", MFD_CLOEXEC), 0, &e), RC_PERM);
	close(fd);
}

/* R03: more clients than slots; nobody is refused for want of a counter, and slots come back. */
static void
test_many(void **state)
{
	(void)state;
	struct limits l;
	limits_init(&l, 3);
	struct ipaddr a = addr("10.0.0.0");
	static struct limits_ref refs[40000];
	for (unsigned round = 0; round < 2; round++) {
		unsigned counted = 0;
		for (unsigned i = 0; i < NELEMS(refs); i++) {
			a.b[1] = (unsigned char)(round + 1), a.b[2] = (unsigned char)(i >> 8), a.b[3] = (unsigned char)i;
			assert_int_equal(limits_enter(&l, &a, SPAN("smtp"), &refs[i]), 1);
			counted += refs[i].slot != 0;
		}
		assert_true(counted > 15000 && counted <= 16384);
		for (unsigned i = 0; i < NELEMS(refs); i++)
			limits_leave(&l, &refs[i]);
	}
	limits_fini(&l);
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_alone), cmocka_unit_test(test_shared), cmocka_unit_test(test_many) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
