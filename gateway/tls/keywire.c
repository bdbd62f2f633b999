/* SPDX-License-Identifier: BSD-2-Clause */
#include "tls/keywire.h"

#include "base/members.h"

static const struct {
	const char *name;
	size_t size;
} digests[KEY_DIGESTS] = { { "", 0 }, { "MD5-SHA1", 36 }, { "SHA1", 20 }, { "SHA2-224", 28 }, { "SHA2-256", 32 }, { "SHA2-384", 48 },
	{ "SHA2-512", 64 } };

size_t
key_digest_size(enum key_digest d)
{
	return digests[d].size;
}

const char *
key_digest_name(enum key_digest d)
{
	return digests[d].name;
}

static const struct member request_members[] = {
	MEMBER(key_request, seq),
	MEMBER_ENUM(key_request, op, 0, KEY_OPS - 1),
	MEMBER_ARRAY(key_request, id, 0, 255),
	MEMBER_ENUM(key_request, digest, 0, KEY_DIGESTS - 1),
	MEMBER_ENUM(key_request, padding, 0, KEY_PADDINGS - 1),
	MEMBER(key_request, client_version),
	MEMBER(key_request, version),
	MEMBER_IN(key_request, data, 0, KEY_DATA_MAX),
};

static const struct member reply_members[] = {
	MEMBER(key_reply, seq),
	MEMBER_ENUM(key_reply, rc, RC_OK, RC_PERM),
	MEMBER_IN(key_reply, data, 0, KEY_DATA_MAX),
};

void
key_request_put(struct buf *b, const struct key_request *r)
{
	members_put(b, r, request_members, NELEMS(request_members));
}

enum rc
key_request_get(struct span packet, struct key_request *out)
{
	enum rc rc = members_get_whole(packet, out, request_members, NELEMS(request_members));
	if (rc == RC_OK && out->op == KEY_SIGN && out->digest != KEY_MESSAGE && out->data.n != digests[out->digest].size)
		return RC_PERM;
	return rc;
}

void
key_reply_put(struct buf *b, const struct key_reply *r)
{
	members_put(b, r, reply_members, NELEMS(reply_members));
}

enum rc
key_reply_get(struct span packet, struct key_reply *out)
{
	return members_get_whole(packet, out, reply_members, NELEMS(reply_members));
}
