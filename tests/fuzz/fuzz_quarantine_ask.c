/* SPDX-License-Identifier: BSD-2-Clause */
/* Property: a request line about the quarantine that is taken has ids of letters and digits alone, values without control
 * characters, and written again it is one clean line that means the same. */
#include "quarantine/ask.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct arena arena;
	struct ask a, b;
	struct err e = { .why = "" };
	struct buf line, again;
	arena_init(&arena, 8 << 20);
	buf_init(&line, 1 << 20);
	buf_init(&again, 1 << 20);
	if (n <= ASK_LINE_MAX && ask_get(span_of(p, n), &arena, &a, &e) == RC_OK) {
		for (uint32_t i = 0; i < a.nids; i++)
			BUG_ON(a.kind != ASK_ALLOW_REMOVE && !ask_id_valid(a.ids[i]));
		const struct span values[] = { a.sender, a.recipient, a.subject, a.client, a.text, a.attachment, a.to };
		for (size_t i = 0; i < NELEMS(values); i++)
			BUG_ON(!span_is_printable(values[i]) || !span_is_utf8(values[i]));
		ask_put(&line, &a);
		BUG_ON(line.over || !span_is_printable(buf_span(&line)) || !span_is_ascii(buf_span(&line)));
		BUG_ON(ask_get(span_from(buf_span(&line), 11), &arena, &b, &e) != RC_OK);
		ask_put(&again, &b);
		BUG_ON(!span_eq(buf_span(&line), buf_span(&again)));
	}
	buf_fini(&line);
	buf_fini(&again);
	arena_fini(&arena);
	return 0;
}
