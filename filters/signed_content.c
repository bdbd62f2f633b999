/* SPDX-License-Identifier: BSD-2-Clause */
#include "filters/signed_content.h"

enum { TAG_INTEGER = 0x02, TAG_OCTETS = 0x04, TAG_OCTETS_MADE = 0x24, TAG_SEQUENCE = 0x30, TAG_SET = 0x31, TAG_CONTENT = 0xa0, DEPTH_MAX = 16 };

static const unsigned char signed_data[] = { 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02 };

/* Tag and length; SIZE_MAX: until two zeros. */
static bool
take_head(struct cur *c, unsigned *tag, size_t *len)
{
	*tag = cur_u8(c);
	size_t n = cur_u8(c);
	if (n == 0x80) {
		*len = SIZE_MAX;
		return !c->bad;
	}
	if (n > 0x80) {
		size_t digits = n - 0x80;
		n = 0;
		for (; digits > 0 && !c->bad && n <= SIZE_MAX >> 8; digits--)
			n = n << 8 | cur_u8(c);
	}
	*len = n;
	return !c->bad && n != SIZE_MAX;
}

static bool
enter(struct cur *c, unsigned wanted)
{
	unsigned tag;
	size_t len;
	return take_head(c, &tag, &len) && tag == wanted;
}

static bool
skip(struct cur *c, unsigned wanted, unsigned depth)
{
	unsigned tag;
	size_t len;
	if (depth == DEPTH_MAX || !take_head(c, &tag, &len) || (wanted != 0 && tag != wanted))
		return false;
	if (len != SIZE_MAX) {
		(void)cur_take(c, len);
		return !c->bad;
	}
	while (cur_left(c) >= 2 && (c->p[0] != 0 || c->p[1] != 0))
		if (!skip(c, 0, depth + 1))
			return false;
	(void)cur_take(c, 2);
	return !c->bad;
}

/* Strings of octets, whole or in pieces, up to what is none. */
static bool
take_octets(struct cur *c, struct buf *out)
{
	bool any = false;
	while (cur_left(c) >= 2) {
		unsigned tag;
		size_t len;
		bool is_end = c->p[0] == 0 && c->p[1] == 0;
		if (!is_end && c->p[0] != TAG_OCTETS && c->p[0] != TAG_OCTETS_MADE)
			break;
		if (!take_head(c, &tag, &len))
			return false;
		if (tag != TAG_OCTETS)
			continue; /* pieces follow, or were the last of theirs */
		any = true;
		buf_put(out, cur_take(c, len < cur_left(c) ? len : cur_left(c)));
	}
	return any;
}

enum rc
signed_content(struct span data, struct buf *out)
{
	struct cur c = cur_of(data);
	if (data.n < 2 || data.p[0] != TAG_SEQUENCE)
		return RC_NONE;
	if (!enter(&c, TAG_SEQUENCE) || cur_left(&c) < sizeof signed_data || memcmp(c.p, signed_data, sizeof signed_data) != 0)
		return RC_NONE;
	(void)cur_take(&c, sizeof signed_data);
	if (!enter(&c, TAG_CONTENT) || !enter(&c, TAG_SEQUENCE) || !skip(&c, TAG_INTEGER, 0) || !skip(&c, TAG_SET, 0))
		return RC_PERM;
	unsigned tag;
	size_t len;
	if (!take_head(&c, &tag, &len) || tag != TAG_SEQUENCE)
		return RC_PERM;
	size_t before = cur_left(&c);
	if (!skip(&c, 0x06, 0))
		return RC_PERM;
	if (before - cur_left(&c) >= len || cur_left(&c) == 0 || c.p[0] != TAG_CONTENT)
		return RC_NONE;
	return enter(&c, TAG_CONTENT) && take_octets(&c, out) ? RC_OK : RC_PERM;
}
