/* SPDX-License-Identifier: BSD-2-Clause */
#include "queue/verify_cache.h"

#include "base/clock.h"

enum { VERSION = 1, TEXT_MAX = 1000, DSN_MAX = 16, DAY = 86400 };

#define SECONDS(n) ((uint64_t)(n) * USEC_PER_SEC)

void
verify_settings_read(struct verify_settings *out, const struct conf *c)
{
	*out = (struct verify_settings){
		.positive_expire = SECONDS(31 * DAY), .positive_refresh = SECONDS(7 * DAY), .negative_expire = SECONDS(3 * DAY),
		.negative_refresh = SECONDS(3 * 3600), .later_expire = SECONDS(300), .cleanup = SECONDS(12 * 3600), .pending_limit = 5000,
		.keep_negative = true,
	};
	if (c == NULL)
		return;
	const struct params *p = conf_params(c);
	out->positive_expire = p->p_address_verify_positive_expire_time;
	out->positive_refresh = p->p_address_verify_positive_refresh_time;
	out->negative_expire = p->p_address_verify_negative_expire_time;
	out->negative_refresh = p->p_address_verify_negative_refresh_time;
	out->later_expire = p->p_minimal_backoff_time < out->negative_expire ? p->p_minimal_backoff_time : out->negative_expire;
	out->cleanup = p->p_address_verify_cache_cleanup_interval;
	out->pending_limit = (uint32_t)p->p_address_verify_pending_request_limit;
	out->keep_negative = p->p_address_verify_negative_cache;
}

void
verify_entry_put(struct buf *b, const struct verify_entry *e)
{
	buf_put_u8(b, VERSION);
	buf_put_u8(b, (uint8_t)e->status);
	buf_put_u8(b, e->foreign);
	buf_put_u64(b, e->updated);
	buf_put_u64(b, e->probed);
	buf_put_block(b, span_head(e->dsn, DSN_MAX));
	buf_put_block(b, span_head(e->text, TEXT_MAX));
}

enum rc
verify_entry_get(struct span in, struct verify_entry *out)
{
	struct cur rd = cur_of(in);
	uint8_t version = cur_u8(&rd), status = cur_u8(&rd), foreign = cur_u8(&rd);
	*out = (struct verify_entry){ .status = (enum verify_status)status, .foreign = foreign == 1 };
	out->updated = cur_u64(&rd);
	out->probed = cur_u64(&rd);
	out->dsn = cur_block(&rd);
	out->text = cur_block(&rd);
	return cur_done(&rd) && version == VERSION && status >= VERIFY_OK && status <= VERIFY_BOUNCE && foreign <= 1 ? RC_OK : RC_PERM;
}

static uint64_t
lifetime(const struct verify_cache *c, enum verify_status status)
{
	return status == VERIFY_OK ? c->set.positive_expire : status == VERIFY_BOUNCE ? c->set.negative_expire : c->set.later_expire;
}

/* The same address in any case of letters is asked about once. */
static struct span
key_of(struct span addr, unsigned char key[STORE_KEY_MAX])
{
	size_t n = addr.n < STORE_KEY_MAX ? addr.n : STORE_KEY_MAX;
	for (size_t i = 0; i < n; i++)
		key[i] = addr.p[i] >= 'A' && addr.p[i] <= 'Z' ? (unsigned char)(addr.p[i] + 32) : addr.p[i];
	return span_of(key, n);
}

enum rc
verify_cache_get(struct verify_cache *c, struct span addr, struct verify_entry *out)
{
	unsigned char key[STORE_KEY_MAX];
	struct span value;
	uint64_t dies;
	if (c->store == NULL || addr.n > STORE_KEY_MAX)
		return RC_NONE;
	switch (store_get(c->store, key_of(addr, key), &value, &dies)) {
	case RC_OK:
		return verify_entry_get(value, out) == RC_OK ? RC_OK : RC_NONE;
	case RC_NONE:
	case RC_TEMP:
	case RC_PERM:
		break;
	}
	return RC_NONE;
}

bool
verify_cache_is_due(const struct verify_cache *c, const struct verify_entry *e, uint64_t now)
{
	if (e->status == VERIFY_DEFER || (now >= e->probed && now - e->probed < VERIFY_AGAIN_USEC))
		return false;
	uint64_t refresh = e->status == VERIFY_OK ? c->set.positive_refresh : c->set.negative_refresh;
	return now >= e->updated && now - e->updated >= refresh;
}

static void
keep(struct verify_cache *c, struct span addr, const struct verify_entry *e)
{
	unsigned char key[STORE_KEY_MAX];
	struct buf b;
	uint64_t dies = e->updated + lifetime(c, e->status);
	if (c->store == NULL || addr.n > STORE_KEY_MAX)
		return;
	buf_init(&b, STORE_VALUE_MAX);
	verify_entry_put(&b, e);
	switch (store_put(c->store, key_of(addr, key), buf_span(&b), dies)) {
	case RC_OK:
	case RC_NONE:
	case RC_TEMP: /* the store has said why; the next question is a probe */
	case RC_PERM:
		break;
	}
	buf_fini(&b);
}

void
verify_cache_probing(struct verify_cache *c, struct span addr, const struct verify_entry *e, uint64_t now)
{
	struct verify_entry copy = *e;
	copy.probed = now;
	keep(c, addr, &copy);
}

void
verify_cache_learn(struct verify_cache *c, struct span addr, const struct verify_entry *e)
{
	struct verify_entry old;
	if (e->status != VERIFY_OK) {
		bool is_known = verify_cache_get(c, addr, &old) == RC_OK;
		if (is_known && (old.status == VERIFY_OK || (old.status == VERIFY_BOUNCE && e->status == VERIFY_DEFER)))
			return;
		if (!c->set.keep_negative)
			return;
	}
	keep(c, addr, e);
}
