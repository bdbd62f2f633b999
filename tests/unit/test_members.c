/* SPDX-License-Identifier: BSD-2-Clause */
/* Rows of members: the octets they stand for, what comes back, and every bound of every kind. */
#include "unit.h"

#include "base/members.h"

enum colour { RED = 3, GREEN, BLUE };
struct inner {
	uint32_t n;
};
struct thing {
	uint8_t small;
	uint32_t number;
	uint64_t large;
	bool flag;
	enum colour colour;
	struct ipaddr addr;
	struct span bytes, text;
	uint64_t all[3];
	struct inner in;
};

static const struct member rows[] = {
	MEMBER_IN(thing, small, 1, 9),
	MEMBER(thing, number),
	MEMBER_IN(thing, large, 0, 1000),
	MEMBER(thing, flag),
	MEMBER_ENUM(thing, colour, RED, BLUE),
	MEMBER(thing, addr),
	MEMBER_IN(thing, bytes, 0, 3),
	MEMBER_TEXT(thing, text, 1, 4),
	MEMBER_ARRAY(thing, all, 0, 7),
	MEMBER(thing, in.n),
};

static struct thing
good(void)
{
	return (struct thing){ .small = 9, .number = 0x01020304, .large = 1000, .flag = true, .colour = GREEN,
		.addr = { .family = IPADDR_V4, .b = { 192, 0, 2, 1 } }, .bytes = SPAN("a\0b"), .text = SPAN("text"), .all = { 5, 6, 7 }, .in = { 8 } };
}

static enum rc
comes_back(const struct thing *t)
{
	struct thing back;
	struct buf b;
	buf_init(&b, 1000);
	members_put(&b, t, rows, NELEMS(rows));
	enum rc rc = members_get_whole(buf_span(&b), &back, rows, NELEMS(rows));
	if (rc == RC_OK) {
		assert_int_equal(back.small, t->small);
		assert_int_equal(back.number, t->number);
		assert_int_equal(back.large, t->large);
		assert_int_equal(back.flag, t->flag);
		assert_int_equal(back.colour, t->colour);
		assert_true(ipaddr_eq(&back.addr, &t->addr));
		assert_true(span_eq(back.bytes, t->bytes));
		assert_true(span_eq(back.text, t->text));
		assert_memory_equal(back.all, t->all, sizeof t->all);
		assert_int_equal(back.in.n, t->in.n);
	}
	buf_fini(&b);
	return rc;
}

static void
octets(void **state)
{
	(void)state;
	static const char want[] = "\x09" "\4\3\2\1" "\xe8\3\0\0\0\0\0\0" "\1" "\4" "\4\300\0\2\1\0\0\0\0\0\0\0\0\0\0\0\0" "\3\0\0\0a\0b" "\4\0\0\0text"
		"\5\0\0\0\0\0\0\0" "\6\0\0\0\0\0\0\0" "\7\0\0\0\0\0\0\0" "\10\0\0\0";
	struct thing t = good(), back;
	struct buf b;
	buf_init(&b, 1000);
	members_put(&b, &t, rows, NELEMS(rows));
	assert_int_equal(buf_len(&b), sizeof want - 1);
	assert_memory_equal(buf_span(&b).p, want, sizeof want - 1);
	assert_int_equal(comes_back(&t), RC_OK);
	for (size_t n = 0; n < sizeof want - 1; n++) /* cut anywhere */
		assert_int_equal(members_get_whole(span_head(buf_span(&b), n), &back, rows, NELEMS(rows)), RC_PERM);
	buf_put_u8(&b, 0); /* and longer */
	assert_int_equal(members_get_whole(buf_span(&b), &back, rows, NELEMS(rows)), RC_PERM);
	struct cur rd = cur_of(buf_span(&b));
	assert_true(members_get(&rd, &back, rows, NELEMS(rows)));
	assert_int_equal(cur_left(&rd), 1);
	b.p[b.at + 13] = 2; /* flag */
	assert_int_equal(members_get_whole(span_head(buf_span(&b), sizeof want - 1), &back, rows, NELEMS(rows)), RC_PERM);
	buf_fini(&b);
}

static void
bounds(void **state)
{
	(void)state;
#define BAD(member, ...) \
	do { \
		struct thing t_ = good(); \
		t_.member = __VA_ARGS__; \
		assert_int_equal(comes_back(&t_), RC_PERM); \
	} while (0)
#define GOOD(member, ...) \
	do { \
		struct thing t_ = good(); \
		t_.member = __VA_ARGS__; \
		assert_int_equal(comes_back(&t_), RC_OK); \
	} while (0)
	GOOD(small, 1);
	BAD(small, 0);
	BAD(small, 10);
	GOOD(number, UINT32_MAX);
	BAD(large, 1001);
	GOOD(flag, false);
	GOOD(colour, RED);
	GOOD(colour, BLUE);
	BAD(colour, (enum colour)(RED - 1));
	BAD(colour, (enum colour)(BLUE + 1));
	GOOD(addr, (struct ipaddr){ .family = IPADDR_V6, .b = { 0x20, 1, 0xd, 0xb8, [15] = 1 } });
	BAD(addr.family, IPADDR_NONE);
	BAD(addr.family, 99);
	GOOD(bytes, SPAN(""));
	BAD(bytes, SPAN("abcd"));
	BAD(text, SPAN(""));
	BAD(text, SPAN("abcde"));
	BAD(text, SPAN("a\0b"));
	BAD(all[0], 8);
	BAD(all[2], 8);
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(octets), cmocka_unit_test(bounds) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
