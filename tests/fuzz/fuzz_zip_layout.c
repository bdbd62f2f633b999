/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Two properties. Octets of strangers, as they are and with a directory made of them: what headers, entries and signatures are
 * said to hold lies inside the file; and an archive about which there is no doubt reads the same by its headers as by its directory.
 */
#include "base/buf.h"
#include "filters/signed_content.h"
#include "filters/zip_layout.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static bool
inside(struct span file, struct span s)
{
	return s.n == 0 || (s.p >= file.p && s.p + s.n <= file.p + file.n);
}

static void
check(struct span file)
{
	struct zip_directory d;
	if (zip_doubt(file, UINT64_MAX) != NULL || zip_find_directory(file, &d) != RC_OK)
		return;
	struct zip_member entry = { .flags = 0 }, local = { .flags = 0 };
	for (size_t pos = d.at, start, last = 0; pos < d.end; pos += entry.length) {
		if (!zip_take_entry(span_head(span_from(file, pos), d.end - pos), &entry) || !zip_find_local(file, &d, &entry, &start, &local))
			__builtin_trap();
		if (!inside(file, entry.name) || !inside(file, local.name) || !inside(file, local.rest) || !span_eq(entry.name, local.name))
			__builtin_trap();
		if (local.method != entry.method || (last > 0 && start == last - 1))
			__builtin_trap();
		last = start + 1;
	}
}

/* Headers that are right, but for what the input changes. */
static void
build(struct span in, struct buf *out)
{
	struct zip_member m = { .flags = 0 };
	buf_put(out, in);
	size_t directory = buf_len(out), offset = 0;
	offset = span_find(in, ZIP_LOCAL);
	if (offset != SIZE_MAX && zip_take_local(span_from(in, offset), &m)) {
		static const unsigned char zeros[10];
		unsigned char o[4] = { (unsigned char)offset, (unsigned char)(offset >> 8), 0, 0 };
		buf_put(out, ZIP_ENTRY);
		buf_puts(out, "\24");
		buf_putc(out, 0);
		buf_put(out, span_head(span_from(m.local, 4), 26)); /* the same fields in the same order */
		buf_put(out, span_of(zeros, 10));
		buf_put(out, span_of(o, 4));
		buf_put(out, m.name);
		buf_put(out, m.extra);
	}
	size_t size = buf_len(out) - directory;
	unsigned char end[18] = { 0, 0, 0, 0, 1, 0, 1, 0, (unsigned char)size, (unsigned char)(size >> 8), 0, 0, (unsigned char)directory, (unsigned char)(directory >> 8) };
	buf_put(out, ZIP_END);
	buf_put(out, span_of(end, sizeof end));
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct span in = span_of(p, n < 60000 ? n : 60000);
	struct buf b;
	check(in);
	buf_init(&b, 200000);
	build(in, &b);
	check(buf_span(&b));
	buf_reset(&b);
	if (signed_content(in, &b) == RC_OK && buf_len(&b) > in.n)
		__builtin_trap();
	buf_fini(&b);
	return 0;
}
