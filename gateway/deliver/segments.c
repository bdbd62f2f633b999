/* SPDX-License-Identifier: BSD-2-Clause */
#include "deliver/segments.h"

#include "base/mem.h"

#include <unistd.h>

struct segment {
	struct hnode by_id;
	uint64_t id;
	int fd;
};

/* Numbers are queue's own: any spread will do. */
static uint64_t
spread(uint64_t id)
{
	return id * UINT64_C(0x9e3779b97f4a7c15) >> 16;
}

static struct segment *
find(const struct segments *s, uint64_t id)
{
	for (struct hnode *n = htab_first(&s->by_id, spread(id)); n != NULL; n = htab_next(n)) {
		struct segment *seg = container_of(n, struct segment, by_id);
		if (seg->id == id)
			return seg;
	}
	return NULL;
}

void
segments_put(struct segments *s, uint64_t id, int fd)
{
	segments_drop(s, id);
	struct segment *seg = mem_zalloc(sizeof *seg);
	seg->id = id;
	seg->fd = fd;
	htab_insert(&s->by_id, &seg->by_id, spread(id));
}

int
segments_find(const struct segments *s, uint64_t id)
{
	const struct segment *seg = find(s, id);
	return seg != NULL ? seg->fd : -1;
}

static void
drop(struct segments *s, struct segment *seg)
{
	htab_remove(&s->by_id, &seg->by_id);
	close(seg->fd);
	mem_free(&seg);
}

void
segments_drop(struct segments *s, uint64_t id)
{
	struct segment *seg = find(s, id);
	if (seg != NULL)
		drop(s, seg);
}

void
segments_clear(struct segments *s)
{
	for (struct hnode *n; (n = htab_walk(&s->by_id, NULL)) != NULL;)
		drop(s, container_of(n, struct segment, by_id));
	htab_fini(&s->by_id);
}
