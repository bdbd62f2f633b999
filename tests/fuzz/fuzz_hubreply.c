/* SPDX-License-Identifier: BSD-2-Clause */
/* Replies of a hub. First byte: where the rest is cut in two. Property: in two pieces as in one; a reply is
 * bounded, its text has no CR or NUL, its dsn is of its class. */
#include "msg/ehlo.h"
#include "msg/hubreply.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

struct seen {
	enum rc rc;
	int code;
	unsigned replies, lines;
	uint64_t hash;
};

static void
look(struct hubreply *r, struct seen *s)
{
	struct span text = buf_span(&r->text), name;
	uint64_t max;
	BUG_ON(r->code < 200 || r->code > 599 || r->lines > HUBREPLY_LINES_MAX || text.n > HUBREPLY_BYTES_MAX);
	BUG_ON(span_chr(text, '\r') != SIZE_MAX || span_chr(text, '\0') != SIZE_MAX);
	struct span dsn = hubreply_dsn(r), again;
	BUG_ON(!dsn_parse(dsn, &again) || dsn.p[0] - '0' != (r->code / 100 == 3 ? 2 : r->code / 100));
	(void)ehlo_parse(r, 0, &max, &name);
	struct buf mechs;
	buf_init(&mechs, HUBREPLY_BYTES_MAX);
	if (!ehlo_mechanisms(r, &mechs))
		BUG_ON(buf_len(&mechs) > 0);
	BUG_ON(!span_is_ascii(buf_span(&mechs)) || !span_is_printable(buf_span(&mechs)));
	buf_fini(&mechs);
	s->replies++;
	s->code = r->code;
	s->lines += r->lines;
	s->hash = s->hash * 31 + span_hash(text);
}

static void
feed(struct hubreply *r, struct span in, struct seen *s)
{
	while (in.n > 0 && s->rc != RC_PERM) {
		size_t used;
		s->rc = hubreply_feed(r, in, &used);
		if (s->rc == RC_PERM)
			return;
		BUG_ON(used == 0 || used > in.n || (s->rc == RC_NONE && used != in.n));
		if (s->rc == RC_OK)
			look(r, s);
		in = span_from(in, used);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	if (n < 1)
		return 0;
	struct span in = span_of(p + 1, n - 1);
	struct seen one = { 0 }, two = { 0 };
	struct hubreply r;
	hubreply_init(&r);
	feed(&r, in, &one);
	hubreply_fini(&r);
	hubreply_init(&r);
	feed(&r, span_head(in, p[0]), &two);
	feed(&r, span_from(in, p[0]), &two);
	hubreply_fini(&r);
	BUG_ON((one.rc == RC_PERM) != (two.rc == RC_PERM) || one.replies != two.replies || one.hash != two.hash || one.lines != two.lines);
	return 0;
}
