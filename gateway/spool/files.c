/* SPDX-License-Identifier: BSD-2-Clause */
/* Drafts, accepts that go to a file at once, and the loop's side of message files. */
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "spool/internal.h"
#include "spool/io.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

void
files_accept(struct spool *s, struct spool_msg *m, struct job *j, struct op *op)
{
	if (s->naccepts == s->accepts_cap) {
		s->accepts_cap = s->accepts_cap == 0 ? 16 : 2 * s->accepts_cap;
		s->accepts = mem_reallocarray(s->accepts, s->accepts_cap, sizeof(struct job *));
	}
	s->accepts[s->naccepts++] = j;
	m->flags |= MSG_PENDING | MSG_FILING;
	j->id = m->id;
	j->op = op;
	op_pend(op, &s->provider);
	filer_give(&s->filer, j);
}

static void
took_place(struct spool_msg *m, const struct job *j)
{
	m->flags = MSG_FILED;
	m->length = j->length;
	m->segment = 0;
	m->offset = FILE_HEADER;
}

void
files_accept_done(struct spool *s, struct job *j)
{
	for (size_t i = 0; i < s->naccepts; i++)
		if (s->accepts[i] == j) {
			s->accepts[i] = s->accepts[--s->naccepts];
			break;
		}
	struct spool_msg *m = spool_find(s, &j->id);
	if (m == NULL) {
		s->doomed--;
		files_unlink(s, &j->id, 1);
	} else if (j->rc == RC_OK) {
		took_place(m, j);
	} else {
		msg_leave(s, m);
		s->was_full = j->rc == RC_TEMP && (j->error == ENOSPC || j->error == EDQUOT);
		metric_add(M_spool_errors, j->rc == RC_TEMP);
		metric_add(M_spool_full, s->was_full);
		if (j->placed) /* its removal may not be durable yet */
			commit_put(s, REC_ABORT, &j->id, UINT32_MAX, SPAN_EMPTY, SPAN_EMPTY, NULL, true, 0);
	}
	if (j->op != NULL)
		op_finish(j->op, j->rc);
}

void
files_unlink(struct spool *s, const struct spool_id *ids, size_t n)
{
	struct job *j = job_new(JOB_UNLINK);
	j->ids = mem_dup(ids, n * sizeof *ids);
	j->nids = n;
	filer_give(&s->filer, j);
}

/* ---- drafts ---- */

enum rc
spool_draft_open(struct spool *s, uint64_t *draft_out, int *fd_out, struct err *e)
{
	char name[DRAFT_NAME];
	*fd_out = -1;
	if (!s->accepting)
		return err_set(e, RC_TEMP, "the spool does not accept");
	uint64_t draft = s->next_draft++;
	draft_name(name, draft);
	int fd = io_open(s->drafts_fd, name, O_RDWR | O_CREAT | O_EXCL); /* filters read what was written */
	if (fd >= 0 && lseek(fd, FILE_HEADER, SEEK_SET) != FILE_HEADER) {
		(void)spool_io->close(fd);
		fd = -1;
	}
	if (fd < 0)
		return err_set(e, RC_TEMP, "draft: %s", strerrordesc_np(errno));
	/* a regular file: non-blocking means nothing there, but the flag would be inherited */
	(void)fcntl(fd, F_SETFL, O_RDWR);
	if (s->ndrafts == s->drafts_cap) {
		s->drafts_cap = s->drafts_cap == 0 ? 16 : 2 * s->drafts_cap;
		s->drafts = mem_reallocarray(s->drafts, s->drafts_cap, sizeof *s->drafts);
	}
	s->drafts[s->ndrafts++] = draft;
	*draft_out = draft;
	*fd_out = fd;
	return RC_OK;
}

bool
files_draft_forget(struct spool *s, uint64_t draft)
{
	for (size_t i = 0; i < s->ndrafts; i++)
		if (s->drafts[i] == draft) {
			s->drafts[i] = s->drafts[--s->ndrafts];
			return true;
		}
	return false;
}

void
spool_draft_drop(struct spool *s, uint64_t draft)
{
	char name[DRAFT_NAME];
	if (!files_draft_forget(s, draft))
		return;
	draft_name(name, draft);
	(void)spool_io->unlinkat(s->drafts_fd, name, 0); /* what stays is swept at the next start */
}

size_t
spool_draft_count(const struct spool *s)
{
	return s->ndrafts;
}

/* ---- reading ---- */

/* The sum of a file found at start is looked at once, before the first use: at start itself it would
 * cost reading everything. */
static enum rc
check_content(int fd, const struct spool_msg *m, struct err *e)
{
	unsigned char p[FILE_HEADER];
	struct file_head h;
	uint32_t crc = 0;
	size_t got;
	int error = io_read(fd, p, sizeof p, 0, &got);
	if (error == 0 && file_head_get(span_of(p, got), &h) != RC_OK)
		return err_set(e, RC_PERM, "its header is damaged");
	if (error == 0)
		error = file_sum(fd, FILE_HEADER, m->length, &crc);
	if (error == ENODATA)
		return err_set(e, RC_PERM, "its content is cut");
	if (error != 0)
		return err_set(e, RC_TEMP, "read: %s", strerrordesc_np(error));
	if (h.length != m->length || h.crc != crc || h.id.usec != m->id.usec || h.id.serial != m->id.serial)
		return err_set(e, RC_PERM, "its content is damaged");
	return RC_OK;
}

enum rc
spool_file_open(struct spool *s, struct spool_msg *m, int *fd_out, struct err *e)
{
	char name[SPOOL_ID_TEXT];
	spool_id_text(&m->id, name);
	*fd_out = -1;
	if ((m->flags & MSG_FILED) == 0)
		return err_set(e, RC_TEMP, "the message is in the journal");
	int fd = io_open(s->messages_fd, name, O_RDONLY);
	if (fd < 0)
		return err_set(e, errno == ENOENT || errno == ELOOP ? RC_PERM : RC_TEMP, "%s: %s", name, strerrordesc_np(errno));
	enum rc rc = (m->flags & MSG_UNCHECKED) != 0 ? check_content(fd, m, e) : RC_OK;
	if (rc == RC_OK) {
		m->flags = (uint8_t)(m->flags & ~MSG_UNCHECKED);
		*fd_out = fd;
		return RC_OK;
	}
	(void)spool_io->close(fd);
	if (rc == RC_PERM && aside_file(s, name))
		log_error(NULL, "spool: %s is damaged; it was moved to corrupt/", name);
	return rc;
}

int
spool_segment_fd(const struct spool *s, uint64_t segment)
{
	const struct segment *seg = segment_find(s, segment);
	return seg != NULL ? seg->ro : -1;
}

enum rc
spool_read(struct spool *s, struct spool_msg *m, uint64_t pos, size_t n, struct buf *out, struct err *e)
{
	if (pos >= m->length)
		return RC_OK;
	if (n > m->length - pos)
		n = (size_t)(m->length - pos);
	int fd = -1, own = -1;
	uint64_t offset = m->offset;
	if (m->segment != 0) {
		fd = spool_segment_fd(s, m->segment);
	} else {
		enum rc rc = spool_file_open(s, m, &own, e);
		if (rc != RC_OK)
			return rc;
		fd = own;
	}
	unsigned char *p = buf_reserve(out, n);
	size_t got = 0;
	int error = p == NULL ? ENOBUFS : fd < 0 ? EBADF : io_read(fd, p, n, offset + pos, &got);
	if (own >= 0)
		(void)spool_io->close(own);
	if (error != 0)
		return err_set(e, RC_TEMP, "read: %s", strerrordesc_np(error));
	buf_commit(out, got);
	return got == n ? RC_OK : err_set(e, RC_PERM, "its content is cut");
}
