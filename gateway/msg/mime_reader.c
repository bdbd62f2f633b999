/* SPDX-License-Identifier: BSD-2-Clause */
/* The walker for input that does not stay where it is; what its faults are called. */
#include "msg/mime.h"

enum { REFILL = 4096 }; /* octets added to what is kept at a time */

static const struct {
	unsigned fault;
	const char *text;
} faults[] = {
	/* worst first, as Postfix has them */
	{ MIME_FAULT_NESTING, "5.6.0 MIME nesting exceeds safety limit" },
	{ MIME_FAULT_LONG, "5.6.0 message header length exceeds safety limit" },
	{ MIME_FAULT_8BIT_HEADER, "5.6.0 improper use of 8-bit data in message header" },
	{ MIME_FAULT_8BIT_BODY, "5.6.0 improper use of 8-bit data in message body" },
	{ MIME_FAULT_DOMAIN, "5.6.0 invalid message/* or multipart/* encoding domain" },
};

const char *
mime_fault_text(unsigned which)
{
	for (size_t i = 0; i < NELEMS(faults); i++)
		if ((which & faults[i].fault) != 0)
			return faults[i].text;
	return "";
}

void
mime_reader_init(struct mime_reader *r, const struct mime_conf *conf)
{
	*r = (struct mime_reader){ .at = 0 };
	mime_init(&r->mime, conf);
	buf_init(&r->kept, conf->header_max + 2 * conf->line_max + 2 * REFILL);
}

void
mime_reader_fini(struct mime_reader *r)
{
	mime_fini(&r->mime);
	buf_fini(&r->kept);
}

void
mime_reader_put(struct mime_reader *r, struct span piece)
{
	BUG_ON(r->at < r->piece.n);
	r->piece = piece;
	r->at = r->fresh = r->last = 0;
}

void
mime_reader_end(struct mime_reader *r)
{
	r->at_end = true;
}

/* The text of the event before is used up. Once all that is kept is in piece, too, piece is read on. */
static void
drop_last(struct mime_reader *r)
{
	if (!r->last_kept) {
		r->at += r->last;
	} else {
		buf_consume(&r->kept, r->last);
		if (buf_len(&r->kept) <= r->fresh) {
			r->at -= buf_len(&r->kept);
			buf_reset(&r->kept);
		}
	}
	r->last = 0;
	r->last_kept = false;
}

enum mime_event
mime_reader_next(struct mime_reader *r, struct mime_item *out)
{
	drop_last(r);
	for (;;) {
		struct span rest = span_from(r->piece, r->at);
		if (buf_len(&r->kept) == 0) {
			if (mime_next(&r->mime, rest, r->at_end, out) != MIME_MORE) {
				r->last = out->text.n;
				return out->event;
			}
			buf_put(&r->kept, rest);
			BUG_ON(r->kept.over);
			r->at = r->piece.n;
			r->fresh = 0;
			return MIME_MORE;
		}
		if (mime_next(&r->mime, buf_span(&r->kept), r->at_end && rest.n == 0, out) != MIME_MORE) {
			r->last = out->text.n;
			r->last_kept = true;
			return out->event;
		}
		if (rest.n == 0)
			return MIME_MORE;
		struct span more = span_head(rest, REFILL);
		buf_put(&r->kept, more);
		BUG_ON(r->kept.over);
		r->at += more.n;
		r->fresh += more.n;
	}
}
