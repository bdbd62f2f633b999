/* SPDX-License-Identifier: BSD-2-Clause */
/* What cannot be read goes to corrupt/, for an administrator; it is never relayed and never in the way. */
#include "base/mem.h"
#include "spool/internal.h"
#include "spool/io.h"

#include <errno.h>
#include <fcntl.h>

enum { PIECE = 1 << 20 };

void
aside_bytes(struct spool *s, int fd, uint64_t generation, uint64_t at, uint64_t n)
{
	char name[64];
	snprintf(name, sizeof name, "journal-%llu-%llu", (unsigned long long)generation, (unsigned long long)at);
	int to = io_open(s->corrupt_fd, name, O_WRONLY | O_CREAT | O_TRUNC);
	if (to < 0)
		return; /* the damage is reported all the same */
	unsigned char *p = mem_alloc(PIECE);
	int error = 0;
	for (uint64_t done = 0; done < n && error == 0;) {
		size_t want = n - done < PIECE ? (size_t)(n - done) : PIECE, got;
		error = io_read(fd, p, want, at + done, &got);
		if (error == 0 && got == 0)
			break;
		if (error == 0)
			error = io_write_span(to, span_of(p, got), done);
		done += got;
	}
	mem_free(&p);
	if (error == 0)
		(void)spool_io->fsync(to);
	(void)spool_io->close(to);
}

bool
aside_file(struct spool *s, const char *name)
{
	/* the name of a message; the same one cannot be there already, and if so the newer is as good */
	return spool_io->renameat(s->messages_fd, name, s->corrupt_fd, name) == 0;
}
