/* SPDX-License-Identifier: BSD-2-Clause */
/* Making segments and making them usable again; runs in the filer. */
#include "base/mem.h"
#include "spool/filer.h"
#include "spool/io.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum { FILL_BYTES = 1 << 20 };
static const char making[] = "new"; /* a name no segment has: a crash leaves nothing half made */

static int
write_head(int fd, const struct seg_head *h)
{
	unsigned char page[SEG_HEADER];
	seg_head_put(page, h);
	int error = io_write_span(fd, span_of(page, sizeof page), 0);
	if (error == 0 && spool_io->fdatasync(fd) != 0)
		error = errno;
	return error;
}

/* Real zeros: blocks that were only reserved cost a metadata write when they are first used, in
 * the fdatasync somebody waits for. The reservation first keeps the file in one piece. */
static int
fill(struct filer *f, int fd, uint64_t size)
{
	if (spool_io->fallocate(fd, 0, 0, io_off(size)) != 0 && errno != EOPNOTSUPP)
		return errno;
	size_t step = size < FILL_BYTES ? (size_t)size : FILL_BYTES;
	unsigned char *zero = mem_zalloc(step);
	int error = 0;
	for (uint64_t at = 0; at < size && error == 0; at += step) {
		size_t n = size - at < step ? (size_t)(size - at) : step;
		error = io_write_span(fd, span_of(zero, n), at);
		filer_urgent(f);
	}
	mem_free(&zero);
	return error;
}

void
segjob_create(struct filer *f, struct job *j)
{
	char name[SEG_NAME];
	seg_name(name, j->seg_file);
	(void)spool_io->unlinkat(f->journal_fd, making, 0); /* of an attempt that failed */
	int fd = io_open(f->journal_fd, making, O_RDWR | O_CREAT | O_EXCL);
	int error = fd < 0 ? errno : fill(f, fd, j->seg_head.size);
	if (error == 0)
		error = write_head(fd, &j->seg_head);
	if (error == 0 && spool_io->fsync(fd) != 0)
		error = errno; /* its size and blocks */
	int ro = -1;
	if (error == 0 && (ro = io_open(f->journal_fd, making, O_RDONLY)) < 0)
		error = errno;
	if (error == 0 && spool_io->renameat(f->journal_fd, making, f->journal_fd, name) != 0)
		error = errno;
	else if (error == 0 && spool_io->fsync(f->journal_fd) != 0)
		error = errno; /* it has its name; a later attempt takes another */
	if (error != 0) {
		(void)spool_io->unlinkat(f->journal_fd, making, 0);
		(void)spool_io->unlinkat(f->journal_fd, name, 0);
		if (fd >= 0)
			(void)spool_io->close(fd);
		if (ro >= 0)
			(void)spool_io->close(ro);
	} else {
		j->seg_fd = fd;
		j->seg_ro = ro;
	}
	j->error = error;
	j->rc = error == 0 ? RC_OK : RC_TEMP;
}

/* The new header is durable before a record of the new generation can be written: otherwise a torn
 * first write could leave the old header over a mixture of old records, without the DONE of some. */
void
segjob_prepare(struct filer *f, struct job *j)
{
	char name[SEG_NAME];
	seg_name(name, j->seg_file);
	int error = filejob_sync_removals(f);
	if (error == 0 && !j->keep)
		error = write_head(j->seg_fd, &j->seg_head);
	if (error != 0 && j->kind == JOB_RETIRE && filejob_sync_removals(f) == 0)
		error = 0; /* its disk is bad: the name goes all the same */
	if (error == 0 && j->kind == JOB_RETIRE) {
		int r = j->keep ? spool_io->renameat(f->journal_fd, name, f->corrupt_fd, name) : spool_io->unlinkat(f->journal_fd, name, 0);
		if (r != 0 && errno != ENOENT)
			error = errno;
		else if (spool_io->fsync(f->journal_fd) != 0)
			error = errno;
	}
	j->error = error;
	j->rc = error == 0 ? RC_OK : RC_TEMP;
}
