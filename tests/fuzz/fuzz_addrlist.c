/* SPDX-License-Identifier: BSD-2-Clause */
/* Property: it comes to an end, says no more than was there, and what it says, written as a list of quoted addresses, is read
 * as the same addresses. */
#include "msg/addr.h"
#include "policy/addrlist.h"

enum { WORDS = 64 };

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static bool
can_be_written(struct span text)
{
	struct addr a = addr_of_internal(text);
	for (size_t i = 0; i < text.n; i++)
		if (text.p[i] < ' ' || text.p[i] == 0x7f)
			return false;
	if (span_chr(text, '@') == SIZE_MAX)
		return text.n > 0;
	return a.local.n > 0 && (addr_is_hostname(a.domain, false) || addr_is_literal(a.domain));
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct addrlist l = ADDRLIST(span_of(p, n)), again;
	struct arena kept;
	struct span words[WORDS];
	struct buf word, list;
	size_t count = 0, total = 0, found = 0;
	arena_init(&kept, 1 << 20);
	buf_init(&word, 512);
	buf_init(&list, 1 << 20);
	while (addrlist_next(&l, &word)) {
		BUG_ON(l.rest.n > n);
		BUG_ON(l.too_long && l.text.n > 0);
		total += l.text.n;
		BUG_ON(++found > n);
		if (count < WORDS && can_be_written(l.text)) {
			words[count++] = arena_span(&kept, l.text);
			buf_puts(&list, count > 1 ? ", " : "");
			addr_write_text(&list, l.text);
		}
	}
	BUG_ON(total > n + 1); /* a literal that nothing closed is closed */
	again = ADDRLIST(buf_span(&list));
	for (size_t i = 0; i < count; i++) {
		BUG_ON(!addrlist_next(&again, &word));
		BUG_ON(!span_eq(again.text, words[i]));
	}
	BUG_ON(addrlist_next(&again, &word));
	buf_fini(&word);
	buf_fini(&list);
	arena_fini(&kept);
	return 0;
}
