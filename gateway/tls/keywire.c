/* SPDX-License-Identifier: BSD-2-Clause */
#include "tls/keywire.h"

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

void
key_request_put(struct buf *b, const struct key_request *r)
{
	buf_put_u32(b, r->seq);
	buf_put_u8(b, (uint8_t)r->op);
	buf_put(b, span_of(r->id, sizeof r->id));
	buf_put_u8(b, (uint8_t)r->digest);
	buf_put_u8(b, (uint8_t)r->padding);
	buf_put_u32(b, r->client_version);
	buf_put_u32(b, r->version);
	buf_put_block(b, r->data);
}

enum rc
key_request_get(struct span packet, struct key_request *out)
{
	struct cur in = cur_of(packet);
	*out = (struct key_request){ .seq = cur_u32(&in) };
	uint8_t op = cur_u8(&in);
	struct span id = cur_take(&in, KEY_ID);
	uint8_t digest = cur_u8(&in), padding = cur_u8(&in);
	out->client_version = cur_u32(&in);
	out->version = cur_u32(&in);
	out->data = cur_block(&in);
	if (!cur_done(&in) || op >= KEY_OPS || digest >= KEY_DIGESTS || padding >= KEY_PADDINGS || out->data.n > KEY_DATA_MAX)
		return RC_PERM;
	out->op = (enum key_op)op;
	out->digest = (enum key_digest)digest;
	out->padding = (enum key_padding)padding;
	memcpy(out->id, id.p, KEY_ID);
	if (op == KEY_SIGN && digest != KEY_MESSAGE && out->data.n != digests[digest].size)
		return RC_PERM;
	return RC_OK;
}

void
key_reply_put(struct buf *b, const struct key_reply *r)
{
	buf_put_u32(b, r->seq);
	buf_put_u8(b, (uint8_t)r->rc);
	buf_put_block(b, r->data);
}

enum rc
key_reply_get(struct span packet, struct key_reply *out)
{
	struct cur in = cur_of(packet);
	*out = (struct key_reply){ .seq = cur_u32(&in) };
	uint8_t rc = cur_u8(&in);
	out->data = cur_block(&in);
	if (!cur_done(&in) || rc > RC_PERM || out->data.n > KEY_DATA_MAX)
		return RC_PERM;
	out->rc = (enum rc)rc;
	return RC_OK;
}
