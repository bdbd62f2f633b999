/* SPDX-License-Identifier: BSD-2-Clause */
#include "spool/msgfile.h"

#include "base/crc32c.h"
#include "base/mem.h"
#include "spool/io.h"

#include <errno.h>

static const char magic[8] = { 'D', 'O', 'G', 'A', 'N', 'A', 'M', '1' };
enum { VERSION = 1, SUM_FROM = 16, READ_BYTES = 1 << 20 };
#define TAIL_MAX (UINT64_C(256) << 20)

static void
put_le(unsigned char *p, uint64_t v, int n)
{
	for (int i = 0; i < n; i++, v >>= 8)
		p[i] = (unsigned char)v;
}

void
file_head_put(unsigned char p[FILE_HEADER], const struct file_head *h)
{
	memset(p, 0, FILE_HEADER);
	memcpy(p, magic, sizeof magic);
	put_le(p + 8, VERSION, 4);
	put_le(p + 16, h->id.usec, 8);
	put_le(p + 24, h->id.serial, 4);
	put_le(p + 28, h->crc, 4);
	put_le(p + 32, h->length, 8);
	put_le(p + 12, crc32c(0, span_of(p + SUM_FROM, FILE_HEADER - SUM_FROM)), 4);
}

enum rc
file_head_get(struct span in, struct file_head *out)
{
	struct cur c = cur_of(span_head(in, FILE_HEADER));
	struct span m = cur_take(&c, sizeof magic);
	uint32_t version = cur_u32(&c), sum = cur_u32(&c);
	struct span covered = span_of(c.p, cur_left(&c));
	out->id.usec = cur_u64(&c);
	out->id.serial = cur_u32(&c);
	out->crc = cur_u32(&c);
	out->length = cur_u64(&c);
	if (c.bad || in.n < FILE_HEADER || !span_eq(m, span_of(magic, sizeof magic)) || version != VERSION || crc32c(0, covered) != sum ||
	    out->length > INT64_MAX / 2)
		return RC_PERM;
	return RC_OK;
}

int
file_sum(int fd, uint64_t from, uint64_t length, uint32_t *crc_out)
{
	unsigned char *p = mem_alloc(READ_BYTES);
	uint32_t crc = 0;
	int error = 0;
	while (length > 0 && error == 0) {
		size_t want = length < READ_BYTES ? (size_t)length : READ_BYTES, got;
		error = io_read(fd, p, want, from, &got);
		if (error == 0 && got < want)
			error = ENODATA;
		if (error == 0)
			crc = crc32c(crc, span_of(p, got));
		from += want;
		length -= want;
	}
	mem_free(&p);
	*crc_out = crc;
	return error;
}

static const unsigned char *
tail_get(void *arg, uint64_t off, size_t n)
{
	const struct buf *b = arg;
	return off <= buf_len(b) && n <= buf_len(b) - off ? buf_span(b).p + off : NULL;
}

static enum rc
read_tail(int fd, struct file_view *v, uint64_t size, struct err *e)
{
	uint64_t at = file_records_at(v->head.length);
	if (size <= at || size - at > TAIL_MAX)
		return err_set(e, RC_PERM, size <= at ? "shorter than its header says" : "records of %llu bytes", (unsigned long long)(size - at));
	size_t n = (size_t)(size - at), got;
	unsigned char *p = buf_reserve(&v->tail, n);
	int error = io_read(fd, p, n, at, &got);
	if (error != 0)
		return err_set(e, RC_TEMP, "read: %s", strerrordesc_np(error));
	buf_commit(&v->tail, got);
	struct scan scan = { .get = tail_get, .arg = &v->tail, .end = got };
	bool have_envelope = false;
	for (struct scan_item it;;) {
		switch (scan_next(&scan, &it)) {
		case SCAN_RECORD:
			v->records_end = at + it.off + it.len;
			if (it.rec.id.usec != v->head.id.usec || it.rec.id.serial != v->head.id.serial)
				continue;
			if (it.rec.type == REC_ACCEPT) {
				v->envelope = it.rec.head;
				have_envelope = true;
			} else if (it.rec.type == REC_STATE && it.rec.version >= v->version) {
				v->state = it.rec.body;
				v->version = it.rec.version;
			}
			continue;
		case SCAN_DAMAGE:
			v->damaged += it.len;
			continue;
		case SCAN_TORN:
		case SCAN_END:
			break;
		}
		break;
	}
	v->dirty_end = v->records_end != size;
	return have_envelope ? RC_OK : err_set(e, RC_PERM, "its envelope is damaged");
}

enum rc
file_view_read(int fd, struct file_view *out, struct err *e)
{
	*out = (struct file_view){ 0 };
	buf_init(&out->tail, TAIL_MAX);
	struct stat st;
	unsigned char p[FILE_HEADER];
	size_t got;
	if (spool_io->fstat(fd, &st) != 0)
		return err_set(e, RC_TEMP, "fstat: %s", strerrordesc_np(errno));
	if (!S_ISREG(st.st_mode))
		return err_set(e, RC_PERM, "not a regular file");
	int error = io_read(fd, p, sizeof p, 0, &got);
	if (error != 0)
		return err_set(e, RC_TEMP, "read: %s", strerrordesc_np(error));
	if (file_head_get(span_of(p, got), &out->head) != RC_OK)
		return err_set(e, RC_PERM, "its header is damaged");
	return read_tail(fd, out, (uint64_t)st.st_size, e);
}

void
file_view_fini(struct file_view *v)
{
	buf_fini(&v->tail);
}
