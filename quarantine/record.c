/* SPDX-License-Identifier: BSD-2-Clause */
#include "quarantine/record.h"

#include "base/crc32c.h"

static const char magic[8] = { 'D', 'O', 'G', 'A', 'N', 'A', 'Q', '1' };
enum { VERSION = 1, NOTE_RCPT_MIN = 8 };

static void
begin(struct buf *b, enum qrec_type type, const struct qrec_common *c)
{
	buf_put(b, span_of(magic, sizeof magic));
	buf_put_u32(b, type);
	buf_put_u32(b, 0);
	buf_put_u64(b, c->length);
	buf_put_u64(b, c->id.usec);
	buf_put_u32(b, c->id.serial);
	buf_put_u32(b, c->crc);
}

static void
put_le32(unsigned char *p, uint32_t v)
{
	for (int i = 0; i < 4; i++, v >>= 8)
		p[i] = (unsigned char)v;
}

static void
end(struct buf *b, size_t from)
{
	static const unsigned char zeros[QREC_ALIGN];
	size_t n = buf_len(b) - from, pad = (QREC_ALIGN - n % QREC_ALIGN) % QREC_ALIGN;
	buf_put(b, span_of(zeros, pad));
	if (b->over)
		return;
	n += pad + QREC_END;
	put_le32(b->p + b->at + from + 12, (uint32_t)n);
	buf_put_u32(b, (uint32_t)n);
	if (!b->over)
		buf_put_u32(b, crc32c(0, span_of(b->p + b->at + from, n - 4)));
}

void
qrec_put_trailer(struct buf *b, const struct qrec_common *c, struct span envelope, const uint32_t *numbers, uint32_t n)
{
	size_t from = buf_len(b);
	begin(b, QREC_TRAILER, c);
	buf_put_u8(b, VERSION);
	buf_put_block(b, envelope);
	buf_put_u32(b, n);
	for (uint32_t i = 0; i < n; i++)
		buf_put_u32(b, numbers == NULL ? i : numbers[i]);
	end(b, from);
}

void
qrec_put_note(struct buf *b, const struct qrec_common *c, const struct qnote *note)
{
	size_t from = buf_len(b);
	begin(b, QREC_NOTE, c);
	buf_put_u8(b, VERSION);
	buf_put_u8(b, (uint8_t)note->state);
	buf_put_u64(b, note->copy.usec);
	buf_put_u32(b, note->copy.serial);
	buf_put_u64(b, note->when);
	buf_put_block(b, note->by);
	buf_put_u32(b, note->n);
	for (uint32_t i = 0; i < note->n; i++) {
		buf_put_u32(b, note->rcpt[i].number);
		buf_put_block(b, note->rcpt[i].added);
	}
	end(b, from);
}

enum rc
qrec_get(struct span in, struct qrec *out, size_t *used_out)
{
	if (in.n < QREC_HEAD + QREC_END)
		return RC_PERM;
	struct cur rd = cur_of(in);
	struct span m = cur_take(&rd, sizeof magic);
	uint32_t type = cur_u32(&rd), bytes = cur_u32(&rd);
	out->c.length = cur_u64(&rd);
	out->c.id.usec = cur_u64(&rd);
	out->c.id.serial = cur_u32(&rd);
	out->c.crc = cur_u32(&rd);
	if (rd.bad || !span_eq(m, span_of(magic, sizeof magic)) || (type != QREC_TRAILER && type != QREC_NOTE) || bytes % QREC_ALIGN != 0 ||
	    bytes < QREC_HEAD + QREC_END || bytes > QREC_MAX || bytes > in.n || out->c.length > INT64_MAX / 2)
		return RC_PERM;
	out->type = (enum qrec_type)type;
	out->payload = cur_take(&rd, bytes - QREC_HEAD - QREC_END);
	uint32_t again = cur_u32(&rd), sum = cur_u32(&rd);
	if (rd.bad || again != bytes || crc32c(0, span_head(in, bytes - 4)) != sum)
		return RC_PERM;
	*used_out = bytes;
	return RC_OK;
}

/* Zeros up to the alignment end a payload. */
static bool
is_padding(const struct cur *rd)
{
	if (rd->bad || cur_left(rd) >= QREC_ALIGN)
		return false;
	for (const unsigned char *p = rd->p; p < rd->end; p++)
		if (*p != 0)
			return false;
	return true;
}

enum rc
qnote_get(struct span payload, struct arena *a, struct qnote *out)
{
	struct cur rd = cur_of(payload);
	if (cur_u8(&rd) != VERSION)
		return RC_PERM;
	unsigned state = cur_u8(&rd);
	out->copy.usec = cur_u64(&rd);
	out->copy.serial = cur_u32(&rd);
	out->when = cur_u64(&rd);
	out->by = cur_block(&rd);
	out->n = cur_u32(&rd);
	if (rd.bad || state == QUAR_NONE || state >= QUAR_STATES || out->by.n > QUAR_WHO_MAX || out->n > cur_left(&rd) / NOTE_RCPT_MIN)
		return RC_PERM;
	out->state = (enum quar_state)state;
	struct qnote_rcpt *list = arena_zalloc(a, (out->n + 1) * sizeof *list);
	if (list == NULL)
		return RC_PERM;
	for (uint32_t i = 0; i < out->n; i++) {
		list[i].number = cur_u32(&rd);
		list[i].added = cur_block(&rd);
	}
	out->rcpt = list;
	return is_padding(&rd) ? RC_OK : RC_PERM;
}

/* Room for one recipient more; what was there stays. */
static struct quar_rcpt *
grow(struct qview *v, struct arena *a, uint32_t number)
{
	if ((v->nrcpt & (v->nrcpt - 1)) == 0) { /* a power of two is full */
		size_t cap = v->nrcpt == 0 ? 1 : 2 * (size_t)v->nrcpt;
		struct quar_rcpt *r = arena_zalloc(a, cap * sizeof *r);
		uint32_t *numbers = arena_zalloc(a, cap * sizeof *numbers);
		if (r == NULL || numbers == NULL)
			return NULL;
		if (v->nrcpt > 0) {
			memcpy(r, v->rcpt, v->nrcpt * sizeof *r);
			memcpy(numbers, v->numbers, v->nrcpt * sizeof *numbers);
		}
		v->rcpt = r;
		v->numbers = numbers;
	}
	if (v->nsorted == v->nrcpt && (v->nrcpt == 0 || number > v->numbers[v->nrcpt - 1]))
		v->nsorted++;
	v->numbers[v->nrcpt] = number;
	struct quar_rcpt *r = &v->rcpt[v->nrcpt++];
	*r = (struct quar_rcpt){ .state = QUAR_HELD };
	if (number < v->env.nrcpt) {
		const struct env_rcpt *er = &v->env.rcpt[number];
		r->addr = er->addr;
		r->orig = er->orig;
		r->orcpt = er->orcpt;
		r->notify = er->notify;
	}
	return r;
}

struct quar_rcpt *
qview_rcpt(const struct qview *v, uint32_t number)
{
	uint32_t low = 0, high = v->nsorted;
	while (low < high) {
		uint32_t mid = low + (high - low) / 2;
		if (v->numbers[mid] < number)
			low = mid + 1;
		else
			high = mid;
	}
	if (low < v->nsorted && v->numbers[low] == number)
		return &v->rcpt[low];
	for (uint32_t i = v->nsorted; i < v->nrcpt; i++) /* those who came later */
		if (v->numbers[i] == number)
			return &v->rcpt[i];
	return NULL;
}

bool
qview_init(struct qview *v, const struct qrec_common *c, const struct envelope *env, const uint32_t *numbers, uint32_t n, struct arena *a)
{
	*v = (struct qview){ .c = *c, .env = *env, .next_number = env->nrcpt };
	n = numbers == NULL ? env->nrcpt : n;
	for (uint32_t i = 0; i < n; i++)
		if (grow(v, a, numbers == NULL ? i : numbers[i]) == NULL)
			return false;
	return true;
}

bool
qview_apply(struct qview *v, struct arena *a, const struct qnote *note)
{
	for (uint32_t i = 0; i < note->n; i++) {
		uint32_t number = note->rcpt[i].number;
		struct quar_rcpt *r = qview_rcpt(v, number);
		bool added = number >= v->env.nrcpt && note->rcpt[i].added.n > 0 && number < QUAR_RCPT_MAX * 2u;
		if (r == NULL && (number < v->env.nrcpt || added)) {
			if ((r = grow(v, a, number)) == NULL)
				return false;
			if (added) {
				r->added = true;
				r->addr = note->rcpt[i].added;
				if (number >= v->next_number)
					v->next_number = number + 1;
			}
		}
		if (r == NULL)
			continue;
		r->state = note->state;
		r->copy = note->copy;
		r->changed = note->when;
		r->by = note->by;
	}
	return true;
}

static enum rc
get_trailer(struct span payload, struct arena *a, struct qview *v, struct err *e)
{
	struct cur rd = cur_of(payload);
	uint8_t version = cur_u8(&rd);
	struct span env = cur_block(&rd);
	uint32_t n = cur_u32(&rd);
	if (rd.bad || version != VERSION || n > cur_left(&rd) / 4 || envelope_get(env, a, &v->env) != RC_OK || n > v->env.nrcpt)
		return err_set(e, RC_PERM, "its envelope is damaged");
	v->next_number = v->env.nrcpt;
	for (uint32_t i = 0; i < n; i++) {
		uint32_t number = cur_u32(&rd);
		if (number >= v->env.nrcpt || (i > 0 && number <= v->numbers[i - 1]) || grow(v, a, number) == NULL)
			return err_set(e, RC_PERM, "its recipients are damaged");
	}
	return is_padding(&rd) ? RC_OK : err_set(e, RC_PERM, "its trailer is damaged");
}

enum rc
qview_get(struct span tail, const struct spool_id *id, struct arena *a, struct qview *out, struct err *e)
{
	*out = (struct qview){ .nrcpt = 0 };
	struct qrec rec;
	size_t used;
	if (qrec_get(tail, &rec, &used) != RC_OK || rec.type != QREC_TRAILER)
		return err_set(e, RC_PERM, "it has no trailer");
	if (rec.c.id.usec != id->usec || rec.c.id.serial != id->serial)
		return err_set(e, RC_PERM, "its trailer is of another message");
	out->c = rec.c;
	if (get_trailer(rec.payload, a, out, e) != RC_OK)
		return RC_PERM;
	for (out->good = used; out->good < tail.n; out->good += used) {
		struct qnote note;
		if (qrec_get(span_from(tail, out->good), &rec, &used) != RC_OK || rec.type != QREC_NOTE || rec.c.id.usec != id->usec ||
		    rec.c.id.serial != id->serial || rec.c.length != out->c.length)
			break;
		if (qnote_get(rec.payload, a, &note) != RC_OK || !qview_apply(out, a, &note))
			return err_set(e, RC_PERM, "a note is damaged");
	}
	return RC_OK;
}

enum rc
qrec_find_length(struct span end_, uint64_t size, const struct spool_id *id, uint64_t *length_out)
{
	/* records end at multiples of 8. Content that is full of what looks like records costs no more than to be summed a few times */
	uint64_t budget = 4 * (uint64_t)end_.n;
	if (size < end_.n)
		return RC_PERM;
	for (size_t cut = (size_t)(size % QREC_ALIGN); end_.n >= cut + QREC_HEAD + QREC_END; cut += QREC_ALIGN) {
		size_t n = end_.n - cut;
		struct cur rd = cur_of(span_from(span_head(end_, n), n - QREC_END));
		uint32_t bytes = cur_u32(&rd);
		struct qrec rec;
		size_t used;
		if (bytes < QREC_HEAD + QREC_END || bytes > n)
			continue;
		struct span found = span_from(span_head(end_, n), n - bytes);
		if (!span_starts(found, span_of(magic, sizeof magic)))
			continue;
		if (bytes > budget)
			return RC_PERM;
		budget -= bytes;
		if (qrec_get(found, &rec, &used) != RC_OK || used != bytes || rec.c.id.usec != id->usec ||
		    rec.c.id.serial != id->serial || qrec_at(rec.c.length) > size - cut - bytes)
			continue;
		*length_out = rec.c.length;
		return RC_OK;
	}
	return RC_PERM;
}
