/* SPDX-License-Identifier: BSD-2-Clause */
/* Whether new mail is taken: free space, segments, and a disk that works. */
#include "base/clock.h"
#include "spool/internal.h"
#include "spool/io.h"

#define BLOCKED_USEC (5 * USEC_PER_SEC)

void
admit_look(struct spool *s)
{
	struct statvfs v;
	if (spool_io->fstatvfs(s->dir_fd, &v) == 0) {
		s->free_bytes = (uint64_t)v.f_bavail * v.f_frsize;
		/* no names left is no room left, where the file system counts them */
		if (v.f_files > 0 && v.f_favail == 0)
			s->free_bytes = 0;
		if (s->free_bytes > s->set.reserve_bytes && segments_size(s) > 0)
			s->disk_refuses = s->disk_refuses && spool_io->now() < s->make_after;
	}
	admit_update(s);
}

static bool
judge(struct spool *s)
{
	if (s->retry_after != 0 || s->free_bytes < s->set.reserve_bytes || s->free_bytes == 0)
		return false;
	if (s->blocked_since != 0 && spool_io->now() - s->blocked_since >= BLOCKED_USEC)
		return false;
	bool room = s->nready > 0 || (s->current != NULL && s->current->head.size - s->current->pos > s->current->head.size / 4);
	return room || segments_coming(s);
}

void
admit_update(struct spool *s)
{
	s->accepting = judge(s);
	if (s->blocked_since != 0 && !s->accepting)
		commit_refuse_waiting(s, true);
	uint64_t gap = s->free_bytes > s->told_bytes ? s->free_bytes - s->told_bytes : s->told_bytes - s->free_bytes;
	if (s->running && s->ops->admission != NULL && (!s->told_once || s->accepting != s->told || gap > s->told_bytes / 10)) {
		s->told_once = true;
		s->told = s->accepting;
		s->told_bytes = s->free_bytes;
		s->ops->admission(s->owner, s->accepting, s->free_bytes);
	}
}

bool
spool_accepting(const struct spool *s)
{
	return s->accepting;
}

uint64_t
spool_free_bytes(const struct spool *s)
{
	return s->free_bytes;
}
