/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A file of the quarantine, whatever is in it: what is accepted stays within the file, names each recipient once, and is read the same when
 * the octets behind the good records are cut off.
 */
#include "base/mem.h"
#include "quarantine/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct spool_id id = { 1700000000123456, 77 };

static void
check_view(const struct qview *v, size_t tail)
{
	BUG_ON(v->good > tail || v->nsorted > v->nrcpt);
	for (uint32_t i = 0; i < v->nrcpt; i++) {
		BUG_ON(v->rcpt[i].state == QUAR_NONE || v->rcpt[i].state >= QUAR_STATES);
		BUG_ON(qview_rcpt(v, v->numbers[i]) != &v->rcpt[i]);
		BUG_ON(v->rcpt[i].added != (v->numbers[i] >= v->env.nrcpt));
		BUG_ON(v->rcpt[i].added && v->numbers[i] >= v->next_number);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena a;
	struct qview v, again;
	struct buf made;
	uint64_t length;
	if (size == 0)
		return 0;
	/* as a file */
	if (qrec_find_length(span_of(data, size), size, &id, &length) == RC_OK)
		BUG_ON(qrec_at(length) > size);
	/* as the payload of a good trailer and of notes behind it: sums are no obstacle */
	arena_init(&a, 16 << 20);
	buf_init(&made, 1 << 20);
	struct cur rd = cur_of(span_of(data, size));
	uint8_t split = cur_u8(&rd), states = cur_u8(&rd);
	struct span first = cur_take(&rd, split <= cur_left(&rd) ? split : 0);
	struct envelope env;
	struct qrec_common c = { .id = id, .length = states };
	if (!rd.bad && first.n > 0 && envelope_get(first, &a, &env) == RC_OK) {
		qrec_put_trailer(&made, &c, first, NULL, env.nrcpt);
		while (cur_left(&rd) >= 4 && !rd.bad) {
			struct qnote_rcpt one = { .number = cur_u8(&rd) };
			uint8_t state = cur_u8(&rd), n = cur_u8(&rd);
			one.added = cur_take(&rd, n <= cur_left(&rd) ? n : 0);
			struct qnote note = { .state = (enum quar_state)(1 + state % (QUAR_STATES - 1)), .n = 1, .rcpt = &one };
			qrec_put_note(&made, &c, &note);
		}
		struct span tail = buf_span(&made);
		enum rc rc = qview_get(tail, &id, &a, &v, NULL);
		BUG_ON(rc == RC_OK && v.good != tail.n);
		if (rc == RC_OK) {
			check_view(&v, tail.n);
			BUG_ON(qview_get(span_head(tail, tail.n - 1), &id, &a, &again, NULL) == RC_OK && again.good >= v.good);
		}
	}
	struct qnote note;
	BUG_ON(qnote_get(span_of(data, size), &a, &note) == RC_OK && (note.state == QUAR_NONE || note.state >= QUAR_STATES));
	if (qview_get(span_of(data, size), &id, &a, &v, NULL) == RC_OK) {
		check_view(&v, size);
		BUG_ON(qview_get(span_head(span_of(data, size), v.good), &id, &a, &again, NULL) != RC_OK || again.nrcpt != v.nrcpt);
	}
	buf_fini(&made);
	arena_fini(&a);
	return 0;
}
