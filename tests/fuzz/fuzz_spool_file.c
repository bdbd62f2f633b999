/* SPDX-License-Identifier: BSD-2-Clause */
/* Any bytes as a message file: it is read or refused; and what is said to be its end can be cut there without
 * changing what it says. */
#include "base/crc32c.h"
#include "spool/io.h"
#include "spool/msgfile.h"

#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static int fd = -1;
	if (fd < 0 && (fd = memfd_create("message", MFD_CLOEXEC)) < 0)
		return 0;
	unsigned char head[FILE_HEADER];
	if (n < 2)
		return 0;
	/* a right header for half of the inputs: length p[1] */
	bool made = (p[0] & 1) != 0;
	struct file_head h = { .length = p[1] };
	file_head_put(head, &h);
	size_t at = made ? FILE_HEADER : 0;
	struct buf b;
	buf_init(&b, SIZE_MAX / 4);
	if (made)
		buf_put(&b, span_of(head, sizeof head));
	buf_put(&b, span_of(p + 2, n - 2));
	/* and right sums in what follows, for some */
	unsigned char *q = b.p;
	for (size_t i = at; (p[0] & 2) != 0 && i + REC_HEADER <= b.n; i += REC_ALIGN) {
		size_t len = rec_claims(q + i, 0);
		if (len > 0 && len <= b.n - i)
			rec_sum(q + i);
	}
	if (ftruncate(fd, 0) != 0 || pwrite(fd, b.p, b.n, 0) != (ssize_t)b.n)
		abort();
	struct file_view v, w;
	struct err e;
	if (file_view_read(fd, &v, &e) == RC_OK) {
		BUG_ON(v.records_end > b.n || v.records_end < file_records_at(v.head.length));
		if (ftruncate(fd, (off_t)v.records_end) != 0)
			abort();
		BUG_ON(file_view_read(fd, &w, &e) != RC_OK || w.version != v.version || !span_eq(w.state, v.state) ||
		    !span_eq(w.envelope, v.envelope) || w.dirty_end);
		file_view_fini(&w);
	}
	file_view_fini(&v);
	buf_fini(&b);
	return 0;
}
