/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/members.h"

static const uint8_t sizes[] = { [MEMBER_U8] = 1, [MEMBER_U32] = 4, [MEMBER_U64] = 8, [MEMBER_BOOL] = sizeof(bool), [MEMBER_ENUMERATOR] = sizeof(int),
	[MEMBER_ADDRESS] = sizeof(struct ipaddr), [MEMBER_SPAN] = sizeof(struct span), [MEMBER_STRING] = sizeof(struct span) };

static void
put(struct buf *b, enum member_kind kind, const void *where)
{
	switch (kind) {
	case MEMBER_U8:
		buf_put_u8(b, *(const uint8_t *)where);
		break;
	case MEMBER_U32:
		buf_put_u32(b, *(const uint32_t *)where);
		break;
	case MEMBER_U64:
		buf_put_u64(b, *(const uint64_t *)where);
		break;
	case MEMBER_BOOL:
		buf_put_u8(b, *(const bool *)where);
		break;
	case MEMBER_ENUMERATOR: {
		unsigned value;
		memcpy(&value, where, sizeof value);
		buf_put_u8(b, (uint8_t)value);
		break;
	}
	case MEMBER_ADDRESS: {
		const struct ipaddr *a = where;
		buf_put_u8(b, a->family);
		buf_put(b, span_of(a->b, sizeof a->b));
		break;
	}
	case MEMBER_SPAN:
	case MEMBER_STRING:
		buf_put_block(b, *(const struct span *)where);
		break;
	}
}

void
members_put(struct buf *b, const void *s, const struct member *f, size_t n)
{
	for (; n > 0; n--, f++)
		for (size_t i = 0; i < f->count; i++)
			put(b, (enum member_kind)f->kind, (const unsigned char *)s + f->at + i * sizes[f->kind]);
}

static bool
get_address(struct cur *rd, struct ipaddr *out)
{
	*out = (struct ipaddr){ .family = cur_u8(rd) };
	struct span bytes = cur_take(rd, sizeof out->b);
	if (bytes.n == sizeof out->b)
		memcpy(out->b, bytes.p, sizeof out->b);
	return out->family == IPADDR_V4 || out->family == IPADDR_V6;
}

static bool
get(struct cur *rd, const struct member *f, void *where)
{
	uint64_t value = 0;
	switch ((enum member_kind)f->kind) {
	case MEMBER_U8:
		value = *(uint8_t *)where = cur_u8(rd);
		break;
	case MEMBER_U32:
		value = *(uint32_t *)where = cur_u32(rd);
		break;
	case MEMBER_U64:
		value = *(uint64_t *)where = cur_u64(rd);
		break;
	case MEMBER_BOOL:
		value = cur_u8(rd);
		*(bool *)where = value == 1;
		if (value > 1)
			return false;
		break;
	case MEMBER_ENUMERATOR: {
		unsigned octet = cur_u8(rd);
		memcpy(where, &octet, sizeof octet);
		value = octet;
		break;
	}
	case MEMBER_ADDRESS:
		return get_address(rd, where);
	case MEMBER_SPAN:
	case MEMBER_STRING: {
		struct span s = cur_block(rd);
		*(struct span *)where = s;
		if (f->kind == MEMBER_STRING && span_chr(s, '\0') != SIZE_MAX)
			return false;
		value = s.n;
		break;
	}
	}
	return value >= f->min && value <= f->max;
}

bool
members_get(struct cur *rd, void *s, const struct member *f, size_t n)
{
	bool good = true;
	for (; n > 0; n--, f++)
		for (size_t i = 0; i < f->count; i++)
			good &= get(rd, f, (unsigned char *)s + f->at + i * sizes[f->kind]);
	return good && !rd->bad;
}

enum rc
members_get_whole(struct span payload, void *s, const struct member *f, size_t n)
{
	struct cur rd = cur_of(payload);
	bool good = members_get(&rd, s, f, n);
	return cur_done(&rd) && good ? RC_OK : RC_PERM;
}
