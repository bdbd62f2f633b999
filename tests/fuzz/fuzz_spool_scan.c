/* SPDX-License-Identifier: BSD-2-Clause */
/* Any bytes as a segment: a scan ends, its pieces lie in order and within bounds, and what it takes for a record is, written
 * again, the same bytes. Read in pieces or whole, it says the same. */
#include "base/mem.h"
#include "spool/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

struct source {
	struct span bytes;
	unsigned char *last;     /* copies, so that the sanitizer sees a read past what was asked for */
	bool copies;
};

static const unsigned char *
get(void *arg, uint64_t off, size_t n)
{
	struct source *x = arg;
	if (off > x->bytes.n || n > x->bytes.n - off)
		return NULL;
	if (!x->copies)
		return x->bytes.p + off;
	mem_free(&x->last);
	x->last = mem_dup(x->bytes.p + off, n);
	return x->last;
}

static void
same_bytes(struct span whole, const struct scan_item *it)
{
	const struct rec *r = &it->rec;
	unsigned char *again = mem_alloc((size_t)it->len);
	rec_put(again, r->type, &r->id, r->version, r->head, r->body);
	rec_place(again, r->stamp, r->batch, r->number);
	rec_sum(again);
	/* the padding is not covered by the sum */
	BUG_ON(memcmp(again, whole.p + it->off, REC_HEADER + r->head.n + r->body.n) != 0);
	mem_free(&again);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	if (n < 1)
		return 0;
	/* rarely does chance find a sum: bit 0 of the first byte has them made right */
	unsigned char *copy = mem_dup(p + 1, n - 1);
	struct span whole = span_of(copy, n - 1);
	uint64_t stamp = 0;
	for (size_t i = 0; (p[0] & 1) != 0 && i + REC_HEADER <= whole.n; i += REC_ALIGN) {
		size_t len = rec_claims(copy + i, stamp);
		if (len > 0 && len <= whole.n - i)
			rec_sum(copy + i);
	}
	struct source a = { .bytes = whole }, b = { .bytes = whole, .copies = true };
	struct scan sa = { .get = get, .arg = &a, .end = whole.n, .stamp = stamp }, sb = sa;
	sb.arg = &b;
	uint64_t end = 0;
	for (;;) {
		struct scan_item x, y;
		enum scan_what wa = scan_next(&sa, &x), wb = scan_next(&sb, &y);
		BUG_ON(wa != wb || x.off != y.off || x.len != y.len);
		if (wa == SCAN_END)
			break;
		BUG_ON(x.off < end || x.len == 0 || x.len > whole.n - x.off);
		end = x.off + x.len;
		if (wa == SCAN_RECORD)
			same_bytes(whole, &y);
	}
	struct seg_head h, h2;
	unsigned char page[SEG_HEADER];
	if (seg_head_get(whole, &h) == RC_OK) {
		seg_head_put(page, &h);
		BUG_ON(seg_head_get(span_of(page, sizeof page), &h2) != RC_OK || h2.generation != h.generation || h2.size != h.size);
	}
	mem_free(&b.last);
	mem_free(&copy);
	return 0;
}
