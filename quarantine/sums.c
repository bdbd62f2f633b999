/* SPDX-License-Identifier: BSD-2-Clause */
#include "quarantine/sums.h"

#include "spool/io.h"

enum { PIECE = 64 << 10 };

void
sums_begin(struct sums *s, struct held_part *parts, uint32_t n, uint64_t content)
{
	*s = (struct sums){ .parts = parts, .n = n, .content = content, .more = n > 0 };
	part_sum_init(&s->sum);
	buf_init(&s->piece, PIECE);
}

void
sums_fini(struct sums *s)
{
	if (s->sum.digest == NULL)
		return;
	part_sum_fini(&s->sum);
	buf_fini(&s->piece);
	s->more = false;
}

/* The next part that can have a sum and has none. */
static bool
next_part(struct sums *s)
{
	for (; s->i < s->n; s->i++) {
		const struct held_part *p = &s->parts[s->i];
		if (p->is_summed || p->at < s->behind || p->at > s->content || p->length > s->content - p->at)
			continue;
		s->behind = p->at + p->length;
		s->at = 0;
		part_sum_begin(&s->sum, p->how);
		return true;
	}
	return false;
}

enum rc
sums_some(struct sums *s, int fd, uint64_t octets)
{
	unsigned char *room = buf_reserve(&s->piece, PIECE);
	for (uint64_t done = 0; done < octets || s->in_part;) {
		if (!s->in_part && !(s->in_part = next_part(s))) {
			s->more = false;
			return RC_OK;
		}
		struct held_part *p = &s->parts[s->i];
		for (size_t got = 0; s->at < p->length; s->at += got, done += got) {
			if (done >= octets)
				return RC_OK;
			size_t n = p->length - s->at < PIECE ? (size_t)(p->length - s->at) : PIECE;
			if (io_read(fd, room, n, p->at + s->at, &got) != 0)
				return RC_TEMP;
			if (got == 0)
				return RC_PERM;
			part_sum_put(&s->sum, span_of(room, got));
		}
		part_sum_end(&s->sum, p);
		s->in_part = false;
		s->i++;
	}
	return RC_OK;
}
