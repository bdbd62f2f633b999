/* SPDX-License-Identifier: BSD-2-Clause */
#include "unit.h"

#include "base/mem.h"
#include "spool/batch.h"

static const unsigned char *
get(void *arg, uint64_t off, size_t n)
{
	const struct span *s = arg;
	return off <= s->n && n <= s->n - off ? s->p + off : NULL;
}

/* The same bytes, but each call gives a fresh copy of just what was asked for, so that reading more, or
 * holding on to what an earlier call gave, is seen by the sanitizer. */
struct strict {
	struct span bytes;
	unsigned char *last;
};

static const unsigned char *
get_strict(void *arg, uint64_t off, size_t n)
{
	struct strict *x = arg;
	if (off > x->bytes.n || n > x->bytes.n - off)
		return NULL;
	mem_free(&x->last);
	x->last = mem_dup(x->bytes.p + off, n);
	return x->last;
}

static size_t
put(unsigned char *p, enum rec_type type, uint64_t usec, uint64_t stamp, uint32_t batch, uint32_t number, struct span head, struct span body)
{
	struct spool_id id = { .usec = usec, .serial = 9 };
	rec_put(p, type, &id, number, head, body);
	rec_place(p, stamp, batch, number);
	rec_sum(p);
	return rec_size(head.n, body.n);
}

static void
test_codec(void **state)
{
	(void)state;
	unsigned char p[256];
	struct rec r;
	size_t n = put(p, REC_ACCEPT, 77, 5, 3, 2, SPAN("head"), SPAN("a body"));
	assert_int_equal(n, 64); /* 48 + 4 + 6, rounded up to 8 */
	assert_int_equal(rec_get(span_of(p, n), 5, &r), RC_OK);
	assert_true(r.type == REC_ACCEPT && r.id.usec == 77 && r.id.serial == 9 && r.version == 2 && r.batch == 3 && r.number == 2);
	assert_span(r.head, "head");
	assert_span(r.body, "a body");
	assert_int_equal(rec_get(span_of(p, n), 6, &r), RC_NONE); /* another use of the segment */
	for (size_t cut = 0; cut < n; cut++) {
		unsigned char *copy = mem_dup(p, cut);
		assert_int_not_equal(rec_get(span_of(copy, cut), 5, &r), RC_OK);
		mem_free(&copy);
	}
	for (size_t i = 0; i < 58; i++) /* every bit of header and payload counts */
		for (int bit = 0; bit < 8; bit++) {
			p[i] ^= (unsigned char)(1 << bit);
			assert_int_not_equal(rec_get(span_of(p, n), 5, &r), RC_OK);
			p[i] ^= (unsigned char)(1 << bit);
		}
	assert_int_equal(put(p, REC_DONE, 1, 5, 0, 0, SPAN_EMPTY, SPAN_EMPTY), REC_HEADER);
	assert_int_equal(rec_get(span_of(p, REC_HEADER), 5, &r), RC_OK);
	assert_int_equal(r.body.n, 0);
	assert_true(rec_size(SIZE_MAX, 1) == SIZE_MAX && rec_size(1, SIZE_MAX - 4) == SIZE_MAX);
}

static void
test_segment_head(void **state)
{
	(void)state;
	unsigned char page[SEG_HEADER];
	struct seg_head h = { .generation = 0x123456789abcdef0, .size = 1 << 20, .nonce = 0xcafe, .spool = "0123456789abcde" }, out;
	seg_head_put(page, &h);
	assert_int_equal(seg_head_get(span_of(page, sizeof page), &out), RC_OK);
	assert_true(out.generation == h.generation && out.size == h.size && out.nonce == h.nonce);
	assert_memory_equal(out.spool, h.spool, sizeof h.spool);
	assert_true(seg_stamp(&h) == UINT64_C(0x0000cafe9abcdef0));
	for (size_t i = 0; i < sizeof page; i++) { /* one copy is enough */
		page[i] ^= 0x10;
		assert_int_equal(seg_head_get(span_of(page, sizeof page), &out), RC_OK);
		assert_true(out.generation == h.generation);
		page[i] ^= 0x10;
	}
	page[20] ^= 1, page[2048 + 20] ^= 1;
	assert_int_equal(seg_head_get(span_of(page, sizeof page), &out), RC_PERM);
	/* torn between the two: the newer one counts */
	unsigned char newer[SEG_HEADER];
	seg_head_put(page, &h);
	h.generation++;
	seg_head_put(newer, &h);
	memcpy(page, newer, 512);
	assert_int_equal(seg_head_get(span_of(page, sizeof page), &out), RC_OK);
	assert_true(out.generation == h.generation);
	for (size_t n = 0; n < 64; n++)
		assert_int_equal(seg_head_get(span_of(page, n), &out), RC_PERM);
}

/* One row: what lies in the segment page by page, and what a scan must say. Letters: A a record, B one
 * whose body is changed, H one whose tag is changed, s an old one of another stamp, _ nothing until the next
 * page, T one that is cut by the end. */
static const struct {
	const char *layout, *says; /* R record, D damage, T torn */
} scans[] = {
	{ "", "" }, { "_", "" }, { "A", "R" }, { "AAA", "RRR" }, { "AA_A_", "RRR" }, { "A___A", "RR" },
	{ "ABA", "RDR" }, { "AB", "RT" }, { "B", "T" }, { "BBA", "DR" }, { "AHA", "RDR" }, { "AH", "RT" },
	{ "As", "R" }, { "A_s", "R" }, { "A_sA", "RDR" }, { "A_ss_s", "R" }, { "s", "" }, { "sA", "DR" },
	{ "AB_A_B", "RDRT" }, { "A_B_A", "RDR" }, { "AT", "RT" }, { "A_T", "RT" }, { "BT", "T" },
};

static void
test_scan(void **state)
{
	(void)state;
	enum { PAGES = 8 };
	for (size_t i = 0; i < NELEMS(scans); i++) {
		static unsigned char seg[PAGES * SEG_PAGE];
		memset(seg, 0, sizeof seg);
		size_t at = SEG_HEADER, end = sizeof seg;
		for (const char *c = scans[i].layout; *c != '\0'; c++) {
			if (*c == '_') {
				at = (at / SEG_PAGE + 1) * SEG_PAGE;
				continue;
			}
			unsigned char *p = seg + at;
			size_t n = put(p, REC_ACCEPT, at, *c == 's' ? 1 : 2, 1, 1, SPAN("an envelope"), SPAN("and the content of a message"));
			if (*c == 'B')
				p[70] ^= 4;
			if (*c == 'H')
				p[1] ^= 4;
			if (*c == 'T')
				end = at + n - 8;
			at += n;
		}
		for (int how = 0; how < 2; how++) {
			struct span whole = span_of(seg, end);
			struct strict strict = { .bytes = whole };
			struct scan s = { .get = how ? get_strict : get, .arg = how ? (void *)&strict : (void *)&whole, .at = SEG_HEADER, .end = end, .stamp = 2 };
			struct buf said;
			buf_init(&said, 100);
			for (struct scan_item it;;) {
				enum scan_what w = scan_next(&s, &it);
				if (w == SCAN_END)
					break;
				buf_putc(&said, (unsigned char)(w == SCAN_RECORD ? 'R' : w == SCAN_DAMAGE ? 'D' : 'T'));
				if (w == SCAN_RECORD)
					assert_span(it.rec.body, "and the content of a message");
				assert_true(it.off >= SEG_HEADER && it.len > 0 && it.off + it.len <= end);
			}
			if (!span_eq_str(buf_span(&said), scans[i].says))
				fail_msg("\"%s\": says %s, should %s", scans[i].layout, buf_cstr(&said), scans[i].says);
			buf_fini(&said);
			mem_free(&strict.last);
		}
	}
}

static bool
keep_accepts(void *arg, struct batch *b, struct entry *e)
{
	(void)arg;
	return rec_type_of(b->p + e->off) == REC_ACCEPT;
}

static void
test_batch(void **state)
{
	(void)state;
	struct batch *b = batch_new(), *to = batch_new();
	for (unsigned i = 0; i < 500; i++) {
		struct spool_id id = { .usec = i, .serial = 1 };
		if (i % 3 == 0)
			batch_put(b, REC_ACCEPT, &id, 0, SPAN("e"), span_of("0123456789012345678901234567890123456789", i % 40), NULL, false, 0);
		else
			batch_put(b, REC_STATE, &id, i, SPAN_EMPTY, SPAN("state"), NULL, i % 2, i);
	}
	assert_int_equal(b->nentries, 500);
	assert_int_equal(b->accepts, 167);
	for (size_t i = 0; i < b->nentries; i++)
		if (i % 3 != 0)
			batch_put_entry(to, b, &b->entries[i]);
	batch_filter(b, keep_accepts, NULL);
	assert_int_equal(b->nentries, 167);
	assert_int_equal(b->accepts, 167);
	assert_int_equal(to->nentries, 333);
	for (size_t i = 0; i < b->nentries; i++) {
		uint32_t head, body;
		const unsigned char *p = b->p + b->entries[i].off;
		rec_lengths(p, &head, &body);
		assert_true(rec_id_of(p).usec == 3 * i && head == 1 && body == 3 * i % 40);
		assert_int_equal(batch_entry_size(b, &b->entries[i]), rec_size(head, body));
	}
	for (size_t i = 0; i < to->nentries; i++) {
		uint64_t usec = rec_id_of(to->p + to->entries[i].off).usec;
		assert_true(usec == i / 2 * 3 + i % 2 + 1 && to->entries[i].state_in == usec && rec_version_of(to->p + to->entries[i].off) == usec);
	}
	batch_free(&b);
	batch_free(&to);
	assert_null(b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_codec),
		cmocka_unit_test(test_segment_head),
		cmocka_unit_test(test_scan),
		cmocka_unit_test(test_batch),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
