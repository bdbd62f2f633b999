/* SPDX-License-Identifier: BSD-2-Clause */
#include "spool/record.h"

#include "base/crc32c.h"

enum { TAG = 0x52674400 }; /* "\0DgR": the low byte is the type */
enum { AT_SUM = 4, AT_STAMP = 8, AT_USEC = 16, AT_SERIAL = 24, AT_VERSION = 28, AT_BATCH = 32, AT_NUMBER = 36, AT_HEAD = 40, AT_BODY = 44 };
enum { HEAD_COPY = 2048, HEAD_BYTES = 64, HEAD_VERSION = 1 };
static const char seg_magic[8] = { 'D', 'O', 'G', 'A', 'N', 'A', 'J', '1' };
#define REC_LIMIT (UINT32_C(1) << 30)

static void
put32(unsigned char *p, uint32_t v)
{
	for (int i = 0; i < 4; i++, v >>= 8)
		p[i] = (unsigned char)v;
}

static void
put64(unsigned char *p, uint64_t v)
{
	for (int i = 0; i < 8; i++, v >>= 8)
		p[i] = (unsigned char)v;
}

static uint32_t
get32(const unsigned char *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint64_t
get64(const unsigned char *p)
{
	return get32(p) | (uint64_t)get32(p + 4) << 32;
}

size_t
rec_size(size_t head, size_t body)
{
	if (head > REC_LIMIT || body > REC_LIMIT)
		return SIZE_MAX;
	return (REC_HEADER + head + body + REC_ALIGN - 1) & ~(size_t)(REC_ALIGN - 1);
}

void
rec_put(unsigned char *p, enum rec_type type, const struct spool_id *id, uint32_t version, struct span head, struct span body)
{
	memset(p, 0, REC_HEADER);
	put32(p, TAG | (uint32_t)type);
	put64(p + AT_USEC, id->usec);
	put32(p + AT_SERIAL, id->serial);
	put32(p + AT_VERSION, version);
	put32(p + AT_HEAD, (uint32_t)head.n);
	put32(p + AT_BODY, (uint32_t)body.n);
	unsigned char *q = p + REC_HEADER;
	if (head.n > 0)
		memcpy(q, head.p, head.n);
	if (body.n > 0)
		memcpy(q + head.n, body.p, body.n);
	size_t used = REC_HEADER + head.n + body.n;
	memset(p + used, 0, rec_size(head.n, body.n) - used);
}

void
rec_place(unsigned char *p, uint64_t stamp, uint32_t batch, uint32_t number)
{
	put64(p + AT_STAMP, stamp);
	put32(p + AT_BATCH, batch);
	put32(p + AT_NUMBER, number);
}

/* In one place, so that writing and reading agree on what is covered. */
static uint32_t
sum_of(const unsigned char *p)
{
	size_t n = (size_t)REC_HEADER + get32(p + AT_HEAD) + get32(p + AT_BODY);
	uint32_t tag = crc32c(0, span_of(p, AT_SUM));
	return crc32c(tag, span_of(p + AT_STAMP, n - AT_STAMP));
}

void
rec_sum(unsigned char *p)
{
	put32(p + AT_SUM, sum_of(p));
}

enum rec_type
rec_type_of(const unsigned char *p)
{
	return (enum rec_type)p[0];
}

struct spool_id
rec_id_of(const unsigned char *p)
{
	return (struct spool_id){ .usec = get64(p + AT_USEC), .serial = get32(p + AT_SERIAL) };
}

uint32_t
rec_version_of(const unsigned char *p)
{
	return get32(p + AT_VERSION);
}

void
rec_lengths(const unsigned char *p, uint32_t *head, uint32_t *body)
{
	*head = get32(p + AT_HEAD);
	*body = get32(p + AT_BODY);
}

size_t
rec_claims(const unsigned char *p, uint64_t stamp)
{
	uint32_t tag = get32(p);
	if ((tag & ~UINT32_C(255)) != TAG || (tag & 255) == REC_NONE || (tag & 255) >= REC_TYPES || get64(p + AT_STAMP) != stamp)
		return 0;
	size_t n = rec_size(get32(p + AT_HEAD), get32(p + AT_BODY));
	return n != SIZE_MAX ? n : 0;
}

enum rc
rec_get(struct span in, uint64_t stamp, struct rec *out)
{
	if (in.n < REC_HEADER)
		return RC_NONE;
	size_t n = rec_claims(in.p, stamp);
	if (n == 0)
		return RC_NONE;
	if (n > in.n || sum_of(in.p) != get32(in.p + AT_SUM))
		return RC_PERM;
	uint32_t head = get32(in.p + AT_HEAD), body = get32(in.p + AT_BODY);
	*out = (struct rec){
		.type = rec_type_of(in.p),
		.id = rec_id_of(in.p),
		.version = rec_version_of(in.p),
		.stamp = stamp,
		.batch = get32(in.p + AT_BATCH),
		.number = get32(in.p + AT_NUMBER),
		.head = span_of(in.p + REC_HEADER, head),
		.body = span_of(in.p + REC_HEADER + head, body),
	};
	return RC_OK;
}

static void
head_put_one(unsigned char p[HEAD_BYTES], const struct seg_head *h)
{
	memset(p, 0, HEAD_BYTES);
	memcpy(p, seg_magic, sizeof seg_magic);
	put32(p + 8, HEAD_VERSION);
	put32(p + 12, h->nonce);
	put64(p + 16, h->generation);
	put64(p + 24, h->size);
	memcpy(p + 32, h->spool, sizeof h->spool);
	put32(p + HEAD_BYTES - 4, crc32c(0, span_of(p, HEAD_BYTES - 4)));
}

static bool
head_get_one(const unsigned char p[HEAD_BYTES], struct seg_head *out)
{
	if (memcmp(p, seg_magic, sizeof seg_magic) != 0 || get32(p + 8) != HEAD_VERSION ||
	    get32(p + HEAD_BYTES - 4) != crc32c(0, span_of(p, HEAD_BYTES - 4)))
		return false;
	out->nonce = get32(p + 12);
	out->generation = get64(p + 16);
	out->size = get64(p + 24);
	memcpy(out->spool, p + 32, sizeof out->spool);
	return true;
}

void
seg_head_put(unsigned char page[SEG_HEADER], const struct seg_head *h)
{
	memset(page, 0, SEG_HEADER);
	head_put_one(page, h);
	head_put_one(page + HEAD_COPY, h); /* another sector */
}

enum rc
seg_head_get(struct span page, struct seg_head *out)
{
	struct seg_head a, b;
	bool first = page.n >= HEAD_BYTES && head_get_one(page.p, &a);
	bool second = page.n >= HEAD_COPY + HEAD_BYTES && head_get_one(page.p + HEAD_COPY, &b);
	if (!first && !second)
		return RC_PERM;
	/* a write torn between the two sectors: the segment is the newer one, and has no records yet */
	*out = first && (!second || a.generation >= b.generation) ? a : b;
	return RC_OK;
}

static bool
zeros(const unsigned char *p, size_t n)
{
	return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

static enum rc
record_at(const struct scan *s, uint64_t off, struct scan_item *out)
{
	const unsigned char *p = s->end - off >= REC_HEADER ? s->get(s->arg, off, REC_HEADER) : NULL;
	size_t n = p != NULL ? rec_claims(p, s->stamp) : 0;
	if (n == 0)
		return RC_NONE;
	if (n > s->end - off || (p = s->get(s->arg, off, n)) == NULL)
		return RC_PERM;
	out->off = off;
	out->len = n;
	return rec_get(span_of(p, n), s->stamp, &out->rec);
}

/* A page at a time, so that get() is called seldom. UINT64_MAX when there is none. */
static uint64_t
find_record(const struct scan *s, uint64_t from, struct scan_item *out)
{
	while (from < s->end) {
		uint64_t page_end = (from / SEG_PAGE + 1) * SEG_PAGE;
		if (page_end > s->end)
			page_end = s->end;
		size_t n = (size_t)(page_end - from);
		const unsigned char *p = s->get(s->arg, from, n);
		if (p == NULL)
			return UINT64_MAX;
		for (size_t i = 0; i + 4 <= n; i += REC_ALIGN) {
			if ((get32(p + i) & ~UINT32_C(255)) != TAG)
				continue;
			if (record_at(s, from + i, out) == RC_OK)
				return from + i;
			if ((p = s->get(s->arg, from, n)) == NULL)
				return UINT64_MAX;
		}
		from = page_end;
	}
	return UINT64_MAX;
}

/* Nothing follows: how much of what is here was meant to be a record? */
static uint64_t
torn_bytes(const struct scan *s)
{
	uint64_t left = s->end - s->at;
	const unsigned char *p = left >= REC_HEADER ? s->get(s->arg, s->at, REC_HEADER) : NULL;
	if (p == NULL || get64(p + AT_STAMP) != s->stamp)
		return p != NULL && (get32(p) & ~UINT32_C(255)) == TAG && get32(p + AT_STAMP) == (uint32_t)s->stamp ? REC_HEADER : 0;
	uint64_t n = rec_claims(p, s->stamp);
	return n == 0 ? REC_HEADER : n < left ? n : left;
}

enum scan_what
scan_next(struct scan *s, struct scan_item *out)
{
	*out = (struct scan_item){ 0 };
	if (s->at % REC_ALIGN != 0)
		s->at += REC_ALIGN - s->at % REC_ALIGN;
	while (s->at < s->end) {
		enum rc rc = record_at(s, s->at, out);
		if (rc == RC_OK) {
			s->at = out->off + out->len;
			return SCAN_RECORD;
		}
		uint64_t page_end = (s->at / SEG_PAGE + 1) * SEG_PAGE;
		if (page_end > s->end)
			page_end = s->end;
		const unsigned char *p = s->get(s->arg, s->at, (size_t)(page_end - s->at));
		if (p != NULL && rc == RC_NONE && zeros(p, (size_t)(page_end - s->at))) {
			s->at = page_end; /* a batch ends: the next begins on a page */
			continue;
		}
		uint64_t next = find_record(s, s->at + REC_ALIGN, out);
		uint64_t from = s->at;
		if (next != UINT64_MAX) {
			s->at = next;
			*out = (struct scan_item){ .off = from, .len = next - from };
			return SCAN_DAMAGE;
		}
		uint64_t torn = torn_bytes(s);
		s->at = s->end;
		if (torn == 0)
			return SCAN_END;
		*out = (struct scan_item){ .off = from, .len = torn };
		return SCAN_TORN;
	}
	return SCAN_END;
}
