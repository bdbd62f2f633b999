/* SPDX-License-Identifier: BSD-2-Clause */
/* Property: an entry that a source gives can be written as a line and read again as the same entry, keys and
 * values hold no line end and begin and end with what is theirs, and line numbers never go back. */
#include "map/source.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static bool
is_white(unsigned char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static void
again(const struct source_entry *en, enum source_form form)
{
	struct buf line;
	struct source s;
	struct source_entry got;
	if (form == SOURCE_ALIASES)
		return; /* quotes are gone: the key is not as it was written */
	if (en->key.p[0] == '#')
		return; /* a NUL in front made it a key; the NUL is gone */
	buf_init(&line, 1 << 20);
	buf_put(&line, en->key);
	buf_putc(&line, ' ');
	buf_put(&line, en->value);
	source_init(&s, buf_span(&line), form);
	BUG_ON(source_next(&s, &got) != RC_OK);
	BUG_ON(!got.usable || !span_eq(got.key, en->key) || !span_eq(got.value, en->value));
	BUG_ON(source_next(&s, &got) != RC_NONE);
	source_fini(&s);
	buf_fini(&line);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	if (n < 1)
		return 0;
	enum source_form form = p[0] & 1 ? SOURCE_ALIASES : SOURCE_MAP;
	struct source s;
	struct source_entry en;
	int last = 0;
	size_t bytes = 0;
	source_init(&s, span_of(p + 1, n - 1), form);
	while (source_next(&s, &en) == RC_OK) {
		BUG_ON(en.lineno <= last);
		last = en.lineno;
		BUG_ON(!en.usable && en.complaint == NULL);
		if (!en.usable)
			continue;
		bytes += en.key.n + en.value.n;
		BUG_ON(en.key.n == 0 || en.value.n == 0 || bytes > n);
		BUG_ON(is_white(en.value.p[0]) || is_white(en.value.p[en.value.n - 1]));
		BUG_ON(span_chr(en.key, '\n') != SIZE_MAX || span_chr(en.value, '\n') != SIZE_MAX);
		BUG_ON(span_chr(en.key, '\0') != SIZE_MAX || span_chr(en.value, '\0') != SIZE_MAX);
		again(&en, form);
	}
	source_fini(&s);
	return 0;
}
