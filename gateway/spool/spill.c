/* SPDX-License-Identifier: BSD-2-Clause */
/* Messages that outlive their segment move to files, and new states of filed messages to their file. */
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "spool/internal.h"
#include "spool/io.h"

/* One job is small, so that the loop is not held up by describing, nor accepts by the filer. */
enum { ITEMS = 64, BYTES = 4 << 20 };
#define RETRY_USEC (5 * USEC_PER_SEC)

static void
describe(struct spool *s, struct job *j, struct spool_msg *m, struct spill_item *it)
{
	struct buf envelope, state;
	buf_init(&envelope, SIZE_MAX / 4);
	buf_init(&state, SIZE_MAX / 4);
	s->ops->describe(s->owner, m, &envelope, &state);
	it->id = m->id;
	it->version = m->version;
	it->whole = (m->flags & MSG_FILED) == 0;
	it->record = m->offset - m->head;
	it->envelope_at = buf_len(&j->bytes);
	it->envelope_len = buf_len(&envelope);
	buf_put(&j->bytes, buf_span(&envelope));
	it->state_at = buf_len(&j->bytes);
	it->state_len = buf_len(&state);
	buf_put(&j->bytes, buf_span(&state));
	it->fd = -1;
	buf_fini(&envelope);
	buf_fini(&state);
}

bool
spill_start(struct spool *s, struct segment *seg)
{
	struct job *j = job_new(JOB_SPILL);
	uint64_t bytes = 0;
	j->items = mem_calloc(ITEMS, sizeof *j->items);
	list_each(l, &seg->live) {
		struct spool_msg *m = list_entry(l, struct spool_msg, in_segment);
		if (j->nitems == ITEMS || (j->nitems > 0 && bytes + m->length > BYTES))
			break;
		if ((m->flags & MSG_FILED) == 0)
			bytes += m->length;
		m->flags |= MSG_FILING;
		describe(s, j, m, &j->items[j->nitems++]);
	}
	if (j->nitems == 0) {
		job_free(&j);
		return false;
	}
	j->seg = seg;
	j->seg_fd = seg->fd;
	j->seg_head = seg->head;
	s->spill = j;
	filer_give(&s->filer, j);
	return true;
}

/* It has all it needs in its file now, but for a state that came later. */
static void
filed(struct spool *s, struct segment *seg, struct spool_msg *m, const struct spill_item *it)
{
	m->flags |= MSG_FILED;
	if (it->whole) {
		metric_add(M_spool_spilled, 1);
		if (m->pins > 0) {
			seg->readers++; /* m->segment stays: it is read there until it is unpinned */
		} else {
			m->segment = 0;
			m->offset = FILE_HEADER;
			if (s->ops->moved != NULL)
				s->ops->moved(s->owner, m);
		}
	} else if (m->last_segment != seg->head.generation) {
		return; /* a newer state has landed elsewhere and has taken it along */
	}
	list_remove(&m->in_segment);
	struct segment *newer = m->last_segment > seg->head.generation && m->version > it->version ? segment_find(s, m->last_segment) : NULL;
	if (newer != NULL)
		list_append(&newer->live, &m->in_segment);
}

void
spill_done(struct spool *s, struct job *j)
{
	struct spool_id *gone = mem_calloc(j->nitems, sizeof *gone);
	size_t ngone = 0;
	unsigned damaged = 0;
	s->spill = NULL;
	for (size_t i = 0; i < j->nitems; i++) {
		const struct spill_item *it = &j->items[i];
		struct spool_msg *m = spool_find(s, &it->id);
		if (m == NULL) {
			s->doomed--;
			gone[ngone++] = it->id; /* the file may have come after its removal */
			continue;
		}
		m->flags = (uint8_t)(m->flags & ~MSG_FILING);
		damaged += it->rc == RC_PERM;
		if (it->placed)
			m->flags |= MSG_NAMED;
		if (it->rc != RC_TEMP)
			filed(s, j->seg, m, it);
	}
	if (ngone > 0)
		files_unlink(s, gone, ngone);
	mem_free(&gone);
	if (damaged > 0)
		log_error(NULL, "spool: %u messages in journal segment %llu are damaged; what was left is in corrupt/", damaged,
		    (unsigned long long)j->seg->head.generation);
	if (j->rc != RC_OK) {
		s->spill_after = spool_io->now() + RETRY_USEC;
		trouble(s, "move messages to files", j->error);
	}
}
