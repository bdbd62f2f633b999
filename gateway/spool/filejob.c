/* SPDX-License-Identifier: BSD-2-Clause */
/* Message files: accepted, spilled, given a new state, removed; runs in the filer. */
#include "base/crc32c.h"
#include "base/mem.h"
#include "spool/filer.h"
#include "spool/io.h"
#include "spool/msgfile.h"

#include <errno.h>
#include <fcntl.h>

enum { SYNC_EACH = 4 }; /* more files than this: one syncfs is cheaper than a sync of each */

static void
close_fd(int *fd)
{
	if (*fd >= 0)
		(void)spool_io->close(*fd);
	*fd = -1;
}

/* A record for a message file: stamp 0, batch 0. */
static void
put_record(struct buf *out, enum rec_type type, const struct spool_id *id, uint32_t version, struct span head, struct span body)
{
	size_t n = rec_size(head.n, body.n);
	unsigned char *p = buf_reserve(out, n);
	BUG_ON(p == NULL);
	rec_put(p, type, id, version, head, body);
	rec_sum(p);
	buf_commit(out, n);
}

/* Header, content (already there when empty), envelope and state. 0 or errno. */
static int
write_file(int fd, const struct file_head *h, struct span content, struct span envelope, uint32_t version, struct span state)
{
	static const unsigned char zero[REC_ALIGN];
	unsigned char head[FILE_HEADER];
	struct buf records;
	buf_init(&records, SIZE_MAX / 4);
	put_record(&records, REC_ACCEPT, &h->id, 0, envelope, SPAN_EMPTY);
	if (version > 0)
		put_record(&records, REC_STATE, &h->id, version, SPAN_EMPTY, state);
	file_head_put(head, h);
	int error;
	if (content.n > 0 || h->length == 0) {
		union {
			const unsigned char *c;
			void *p;
		} body = { .c = content.p }, pad = { .c = zero };
		struct iovec iov[4] = {
			{ .iov_base = head, .iov_len = sizeof head },
			{ .iov_base = body.p, .iov_len = content.n },
			{ .iov_base = pad.p, .iov_len = (size_t)(file_records_at(h->length) - FILE_HEADER - h->length) },
			{ .iov_base = records.p, .iov_len = buf_len(&records) },
		};
		error = io_write(fd, iov, 4, 0);
	} else {
		error = io_write_span(fd, buf_span(&records), file_records_at(h->length));
		if (error == 0)
			error = io_write_span(fd, span_of(head, sizeof head), 0);
	}
	buf_fini(&records);
	return error;
}

/* ---- accept ---- */

/* Everything up to the name. RC_PERM when the draft is not what was announced. */
static enum rc
accept_write(struct filer *f, struct job *j)
{
	char name[DRAFT_NAME];
	draft_name(name, j->draft);
	j->fd = io_open(f->drafts_fd, name, O_RDWR | (j->from_memory ? O_CREAT | O_TRUNC : 0));
	if (j->fd < 0) {
		j->error = errno;
		return errno == ENOENT ? RC_PERM : RC_TEMP;
	}
	struct span envelope = span_head(buf_span(&j->bytes), j->envelope_len);
	struct span content = span_from(buf_span(&j->bytes), j->envelope_len);
	struct file_head h = { .id = j->id, .length = j->length, .crc = j->crc };
	if (!j->from_memory) {
		struct stat st;
		uint32_t crc;
		if (spool_io->fstat(j->fd, &st) != 0) {
			j->error = errno;
			return RC_TEMP;
		}
		/* nothing at all was written behind the header when there is no content */
		if ((uint64_t)st.st_size != FILE_HEADER + j->length && (j->length > 0 || st.st_size > FILE_HEADER))
			return RC_PERM;
		/* through the page cache it was just written to: some ms for the largest message */
		j->error = file_sum(j->fd, FILE_HEADER, j->length, &crc);
		if (j->error != 0)
			return RC_TEMP;
		if (crc != j->crc)
			return RC_PERM;
	} else {
		h.crc = crc32c(0, content);
	}
	j->error = write_file(j->fd, &h, content, envelope, 0, SPAN_EMPTY);
	if (j->error == 0 && spool_io->fsync(j->fd) != 0)
		j->error = errno;
	return j->error == 0 ? RC_OK : RC_TEMP;
}

static void
accept_place(struct filer *f, struct job *j)
{
	char from[DRAFT_NAME], to[SPOOL_ID_TEXT];
	draft_name(from, j->draft);
	spool_id_text(&j->id, to);
	if (j->rc == RC_OK && spool_io->renameat(f->drafts_fd, from, f->messages_fd, to) != 0) {
		j->error = errno;
		j->rc = RC_TEMP;
	}
	if (j->rc == RC_OK)
		j->placed = true;
	else
		(void)spool_io->unlinkat(f->drafts_fd, from, 0);
	close_fd(&j->fd);
}

void
filejob_accept(struct filer *f, struct list *jobs)
{
	bool any = false;
	list_each(l, jobs) {
		struct job *j = list_entry(l, struct job, link);
		j->rc = accept_write(f, j);
	}
	list_each(l, jobs) {
		struct job *j = list_entry(l, struct job, link);
		accept_place(f, j);
		any |= j->placed;
	}
	if (!any || spool_io->fsync(f->messages_fd) == 0)
		return;
	int error = errno;
	list_each(l, jobs) {
		struct job *j = list_entry(l, struct job, link);
		if (!j->placed)
			continue;
		char name[SPOOL_ID_TEXT];
		spool_id_text(&j->id, name);
		(void)spool_io->unlinkat(f->messages_fd, name, 0);
		f->dirty = true;
		j->rc = RC_TEMP;
		j->error = error;
	}
}

/* ---- removal ---- */

static bool
remove_one(struct filer *f, int dir, const struct spool_id *id)
{
	char name[SPOOL_ID_TEXT];
	spool_id_text(id, name);
	f->dirty = true;
	return spool_io->unlinkat(dir, name, 0) == 0 || errno == ENOENT;
}

void
filejob_remove(struct filer *f, int messages_fd, const struct spool_id *id)
{
	if (remove_one(f, messages_fd, id))
		return;
	if (f->nstuck == f->stuck_cap) {
		f->stuck_cap = f->stuck_cap == 0 ? 16 : 2 * f->stuck_cap;
		f->stuck = mem_reallocarray(f->stuck, f->stuck_cap, sizeof *f->stuck);
	}
	f->stuck[f->nstuck++] = *id;
}

void
filejob_unlink(struct filer *f, struct job *j)
{
	for (size_t i = 0; i < j->nids; i++) {
		if (i % 16 == 0)
			filer_urgent(f);
		filejob_remove(f, f->messages_fd, &j->ids[i]);
	}
	j->rc = RC_OK; /* what is stuck is tried again, and holds up the segment with its DONE meanwhile */
}

int
filejob_sync_removals(struct filer *f)
{
	while (f->nstuck > 0) {
		if (!remove_one(f, f->messages_fd, &f->stuck[f->nstuck - 1]))
			return errno;
		f->nstuck--;
	}
	if (!f->dirty)
		return 0;
	if (spool_io->fsync(f->messages_fd) != 0)
		return errno;
	f->dirty = false;
	return 0;
}

/* ---- spilling ---- */

/* Copies what is left of a damaged record to where an administrator finds it. */
static void
keep_damaged(struct filer *f, const struct spill_item *it, struct span bytes)
{
	char name[SPOOL_ID_TEXT];
	spool_id_text(&it->id, name);
	int fd = io_open(f->corrupt_fd, name, O_WRONLY | O_CREAT | O_TRUNC);
	if (fd < 0)
		return;
	if (io_write_span(fd, bytes, 0) != 0 || spool_io->fsync(fd) != 0)
		(void)spool_io->unlinkat(f->corrupt_fd, name, 0);
	(void)spool_io->close(fd);
}

/* Reads the record anew and checks it: a disk that forgot is noticed before the copy is trusted. */
static void
spill_whole(struct filer *f, struct job *j, struct spill_item *it, const char *draft)
{
	unsigned char head[REC_HEADER], *p = NULL;
	size_t got = 0, n = 0;
	uint64_t stamp = seg_stamp(&j->seg_head);
	struct rec rec;
	int error = io_read(j->seg_fd, head, sizeof head, it->record, &got);
	if (error == 0 && got == sizeof head)
		n = rec_claims(head, stamp);
	if (n > j->seg_head.size)
		n = 0;
	it->rc = RC_PERM;
	if (error == 0 && n > 0) {
		p = mem_alloc(n);
		error = io_read(j->seg_fd, p, n, it->record, &got);
	}
	if (error != 0) {
		j->error = error;
		it->rc = RC_TEMP;
	} else if (n == 0 || rec_get(span_of(p, got), stamp, &rec) != RC_OK || rec.id.usec != it->id.usec || rec.id.serial != it->id.serial) {
		keep_damaged(f, it, n == 0 ? span_of(head, sizeof head) : span_of(p, got));
	} else {
		struct file_head h = { .id = it->id, .length = rec.body.n, .crc = crc32c(0, rec.body) };
		it->fd = io_open(f->drafts_fd, draft, O_RDWR | O_CREAT | O_TRUNC);
		error = it->fd < 0 ? errno : write_file(it->fd, &h, rec.body, it->envelope, it->version, it->state);
		it->rc = error == 0 ? RC_OK : RC_TEMP;
		if (error != 0)
			j->error = error;
	}
	mem_free(&p);
}

/* Adds a state to a message's file. A write that fails half-way is cut off again; if the process dies
 * meanwhile, recovery cuts. */
static void
spill_state(struct filer *f, struct job *j, struct spill_item *it)
{
	char name[SPOOL_ID_TEXT];
	spool_id_text(&it->id, name);
	struct stat st;
	struct buf rec;
	buf_init(&rec, SIZE_MAX / 4);
	put_record(&rec, REC_STATE, &it->id, it->version, SPAN_EMPTY, it->state);
	it->fd = io_open(f->messages_fd, name, O_RDWR);
	int error = it->fd < 0 ? errno : spool_io->fstat(it->fd, &st) != 0 ? errno : 0;
	if (error == 0) {
		uint64_t end = ((uint64_t)st.st_size + REC_ALIGN - 1) & ~(uint64_t)(REC_ALIGN - 1);
		error = io_write_span(it->fd, buf_span(&rec), end);
		if (error != 0)
			(void)!spool_io->ftruncate(it->fd, st.st_size);
	}
	/* the file is gone: there is nothing this state could matter for */
	it->rc = error == 0 || error == ENOENT ? RC_OK : RC_TEMP;
	if (it->rc != RC_OK)
		j->error = error;
	buf_fini(&rec);
}

static void
spill_draft_name(char out[DRAFT_NAME], size_t i)
{
	snprintf(out, DRAFT_NAME, "spill%u", (unsigned)i);
}

static int
sync_all(struct filer *f, struct job *j)
{
	size_t n = 0;
	for (size_t i = 0; i < j->nitems; i++)
		n += j->items[i].fd >= 0;
	if (n > SYNC_EACH)
		return spool_io->syncfs(f->messages_fd) != 0 ? errno : 0;
	for (size_t i = 0; i < j->nitems; i++)
		if (j->items[i].fd >= 0 && j->items[i].rc == RC_OK && spool_io->fsync(j->items[i].fd) != 0)
			return errno;
	return 0;
}

void
filejob_spill(struct filer *f, struct job *j)
{
	char draft[DRAFT_NAME], name[SPOOL_ID_TEXT];
	struct span bytes = buf_span(&j->bytes);
	bool placed = false;
	for (size_t i = 0; i < j->nitems; i++) {
		struct spill_item *it = &j->items[i];
		it->envelope = span_head(span_from(bytes, it->envelope_at), it->envelope_len);
		it->state = span_head(span_from(bytes, it->state_at), it->state_len);
		it->fd = -1;
		filer_urgent(f);
		spill_draft_name(draft, i);
		if (it->whole)
			spill_whole(f, j, it, draft);
		else
			spill_state(f, j, it);
	}
	int error = sync_all(f, j);
	for (size_t i = 0; i < j->nitems; i++) {
		struct spill_item *it = &j->items[i];
		spill_draft_name(draft, i);
		spool_id_text(&it->id, name);
		if (it->rc == RC_OK && error != 0)
			it->rc = RC_TEMP;
		if (it->whole && it->rc == RC_OK && spool_io->renameat(f->drafts_fd, draft, f->messages_fd, name) != 0) {
			j->error = errno;
			it->rc = RC_TEMP;
		}
		it->placed = it->whole && it->rc == RC_OK;
		placed |= it->placed;
		if (it->whole && it->rc == RC_TEMP)
			(void)spool_io->unlinkat(f->drafts_fd, draft, 0);
		close_fd(&it->fd);
	}
	if (placed && spool_io->fsync(f->messages_fd) != 0)
		error = errno;
	for (size_t i = 0; i < j->nitems && error != 0; i++)
		if (j->items[i].rc == RC_OK)
			j->items[i].rc = RC_TEMP; /* the file may be there: it is written over next time */
	if (error != 0)
		j->error = error;
	j->rc = j->error == 0 ? RC_OK : RC_TEMP;
}
