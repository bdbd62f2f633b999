/* SPDX-License-Identifier: BSD-2-Clause */
/* Property: a list that is understood and written again with some addresses changed is understood as the same list: no
 * address is joined, split, lost or invented, what is no address keeps its octets; one header, folded properly. */
#include "msg/headers.h"
#include "msg/mailboxes.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

/* Words of a group's name: blanks between them do not count. */
static size_t
skip_blank(struct span s, size_t i)
{
	while (i < s.n && (s.p[i] == ' ' || s.p[i] == '\t' || s.p[i] == '\r' || s.p[i] == '\n'))
		i++;
	return i;
}

static bool
same_words(struct span a, struct span b)
{
	size_t i = 0, k = 0;
	for (;;) {
		i = skip_blank(a, i);
		k = skip_blank(b, k);
		if (i == a.n || k == b.n)
			return i == a.n && k == b.n;
		if (a.p[i++] != b.p[k++])
			return false;
	}
}

static void
check_lines(struct span s)
{
	for (size_t i = 0; i < s.n; i++) {
		BUG_ON(s.p[i] == '\n' && (i == 0 || s.p[i - 1] != '\r'));
		BUG_ON(s.p[i] == '\r' && (i + 1 == s.n || s.p[i + 1] != '\n'));
		BUG_ON(s.p[i] == '\n' && i + 1 < s.n && s.p[i + 1] != ' ' && s.p[i + 1] != '\t');
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static const struct span others[] = { { (const unsigned char *)"m@n.example", 11 }, { (const unsigned char *)"a b@[192.0.2.1]", 15 },
		{ (const unsigned char *)"user", 4 }, { (const unsigned char *)".x.@y", 5 }, { (const unsigned char *)"\"\\<>,:;()@z.example", 19 } };
	if (n < 2)
		return 0;
	struct arena a;
	struct buf b;
	struct mailboxes in, out;
	struct headers h;
	struct span value = span_of(p + 2, n - 2);
	arena_init(&a, 1 << 26);
	buf_init(&b, 1 << 24);
	bool changed = false;
	if (mailboxes_parse(value, 10000, &a, &in) != RC_OK)
		goto done;
	for (size_t i = 0; i < in.n; i++) {
		struct mailbox *box = &in.item[i];
		BUG_ON((box->addr.n > 0) != (box->spec.n > 0) || (box->is_opaque && box->addr.n > 0));
		if (box->addr.n > 0 && (p[0] >> (i % 8) & 1) != 0) {
			box->becomes = others[(p[1] + i) % NELEMS(others)];
			BUG_ON(!mailbox_can_write(box->becomes));
			changed = true;
		}
	}
	if (!changed)
		goto done;
	mailboxes_write(&b, SPAN("To"), &in);
	BUG_ON(b.over);
	check_lines(buf_span(&b));
	BUG_ON(headers_parse(&h, buf_span(&b), &a) != RC_OK || h.n != 1);
	BUG_ON(mailboxes_parse(header_value(&h.row[0]), 20000, &a, &out) != RC_OK || out.n != in.n);
	for (size_t i = 0; i < in.n; i++) {
		const struct mailbox *x = &in.item[i], *y = &out.item[i];
		BUG_ON(x->after != y->after || x->is_opaque != y->is_opaque);
		BUG_ON(!span_eq(x->becomes.p != NULL ? x->becomes : x->addr, y->addr));
		BUG_ON(x->is_opaque && !span_eq(x->text, y->text));
		BUG_ON(x->addr.n == 0 && !same_words(x->text, y->text));
	}
done:
	buf_fini(&b);
	arena_fini(&a);
	return 0;
}
