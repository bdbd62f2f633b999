/* SPDX-License-Identifier: BSD-2-Clause */
/* Property: what is told is the input octet for octet; pieces and whole give the same events; lines and stretches find the same headers
 * and boundaries; depth keeps its limit. */
#include "msg/mime.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void
run(const struct mime_conf *conf, struct span in, size_t piece, bool outline, struct buf *events)
{
	struct mime_reader r;
	struct mime_item it;
	size_t told = 0;
	unsigned faults = 0;
	enum mime_event last = MIME_MORE;
	buf_init(events, 1 << 24);
	mime_reader_init(&r, conf);
	for (size_t at = 0; at <= in.n; at += piece) {
		mime_reader_put(&r, span_head(span_from(in, at), piece));
		if (at + piece > in.n)
			mime_reader_end(&r);
		while (mime_reader_next(&r, &it) != MIME_MORE) {
			BUG_ON(!span_eq(it.text, span_head(span_from(in, told), it.text.n)));
			told += it.text.n;
			BUG_ON((faults & it.fault) != 0 || r.mime.depth > conf->nesting_max + 2);
			faults |= it.fault;
			BUG_ON(it.text.n == 0 && it.event != MIME_HEADER_END);
			BUG_ON(it.event == MIME_HEADER && it.text.n > conf->header_max);
			bool goes_on = it.event == last && (it.event == MIME_HEADER_REST || (it.event == MIME_BOUNDARY && !it.is_begin));
			last = it.event;
			if (goes_on || (outline && it.event == MIME_BODY))
				continue;
			struct mime_item flat = it;
			if (outline)
				flat.offset = 0;
			buf_printf(events, "%u %zu %d%d %zu %zu %d %d%d%d%d %d%d%d %llu %u %d %u\n", (unsigned)flat.event, told - it.text.n, (int)flat.class, (int)flat.field, flat.name_len,
			    flat.colon, flat.is_cut, (int)flat.type, (int)flat.subtype, (int)flat.encoding, (int)flat.domain, flat.is_eof,
			    flat.is_begin, it.event == MIME_BODY && flat.is_end, (unsigned long long)flat.offset, flat.depth, flat.is_close, flat.fault);
		}
	}
	BUG_ON(told != in.n || events->over);
	mime_reader_fini(&r);
}

static void
same(const struct mime_conf *x, const struct mime_conf *y, struct span in, size_t px, size_t py, bool outline)
{
	struct buf a, b;
	run(x, in, px, outline, &a);
	run(y, in, py, outline, &b);
	BUG_ON(!span_eq(buf_span(&a), buf_span(&b)));
	buf_fini(&a);
	buf_fini(&b);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	if (n < 4)
		return 0;
	struct mime_conf lines = mime_conf_default, stretches;
	if ((p[0] & 1) != 0) {
		lines.header_max = p[1] % 64 + 5u;
		lines.line_max = p[2] % 64 + 4u;
		lines.boundary_max = p[1] % 7u + 1u;
		lines.nesting_max = p[2] % 5u + 1u;
	}
	lines.lines_max = UINT64_MAX;
	lines.flags = p[0] >> 1 & 15u;
	stretches = lines;
	stretches.lines_max = p[3];
	struct span in = span_of(p + 4, n - 4);
	size_t piece = p[0] % 23 + 1u;
	same(&lines, &lines, in, in.n + 1, piece, false);
	stretches.flags = lines.flags = lines.flags & ~(unsigned)MIME_WANT_7BIT_BODY;
	same(&lines, &stretches, in, in.n + 1, piece, true);
	return 0;
}
