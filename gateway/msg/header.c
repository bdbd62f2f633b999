/* SPDX-License-Identifier: BSD-2-Clause */
#include "msg/header.h"

void
header_watch_init(struct header_watch *w, struct span *names, size_t n)
{
	*w = (struct header_watch){ .names = names, .n = n };
	for (size_t i = 0; i < n; i++) {
		if (names[i].n == 0)
			continue;
		w->lengths |= UINT64_C(1) << (names[i].n < 63 ? names[i].n : 63);
		w->letters |= UINT32_C(1) << (names[i].p[0] & 31);
	}
}

bool
header_watch_has(const struct header_watch *w, struct span name)
{
	for (size_t i = 0; i < w->n; i++)
		if (span_caseeq(w->names[i], name))
			return true;
	return false;
}

/* What the beginning of a line is. */
enum kind { KIND_UNDECIDED, KIND_HEADER, KIND_FOLDED, KIND_EMPTY, KIND_MBOX, KIND_BODY };

/* ">From " with any number of '>': KIND_MBOX, or KIND_UNDECIDED while it may become one, or KIND_BODY: no. */
static enum kind
mbox_kind(struct span s)
{
	size_t i = 0;
	while (i < s.n && i < HEADER_NAME_MAX && s.p[i] == '>')
		i++;
	struct span rest = span_from(s, i), from = SPAN("From ");
	if (rest.n >= from.n)
		return span_starts(rest, from) ? KIND_MBOX : KIND_BODY;
	return span_starts(from, rest) ? KIND_UNDECIDED : KIND_BODY;
}

/* name ":" with white space allowed before the colon, as Postfix has it. */
static enum kind
name_kind(struct span s, size_t *name_len_out)
{
	bool space = false;
	size_t len = 0;
	for (size_t i = 0; i < s.n && i < HEADER_NAME_MAX; i++) {
		unsigned char c = s.p[i];
		if (c == ':') {
			*name_len_out = len;
			return len > 0 ? KIND_HEADER : KIND_BODY;
		}
		if (c == ' ' || c == '\t') {
			space = true;
			continue;
		}
		if (space || c <= 0x20 || c >= 0x7f)
			return KIND_BODY;
		len++;
	}
	return s.n < HEADER_NAME_MAX ? KIND_UNDECIDED : KIND_BODY;
}

static enum kind
line_kind(const struct header_scan *h, struct span s, size_t *name_len_out)
{
	if (s.n == 0)
		return KIND_UNDECIDED;
	if (s.p[0] == '\r')
		return s.n == 1 ? KIND_UNDECIDED : s.p[1] == '\n' ? KIND_EMPTY : KIND_BODY;
	if (s.p[0] == ' ' || s.p[0] == '\t')
		return h->any ? KIND_FOLDED : KIND_BODY;
	if (!h->any && !h->mbox) {
		enum kind k = mbox_kind(s);
		if (k != KIND_BODY)
			return k;
	}
	return name_kind(s, name_len_out);
}

static void
end_header(struct header_scan *h)
{
	struct span value = span_trim(span_of(h->encoding, h->encoding_len));
	if (h->is_encoding && h->encoding_len < HEADER_ENCODING_MAX && (span_caseeq(value, SPAN("8bit")) || span_caseeq(value, SPAN("binary"))))
		h->says_8bit = true;
	h->is_encoding = false;
	h->encoding_len = 0;
}

static void
begin_header(struct header_scan *h, struct span line, size_t name_len)
{
	struct span name = span_head(line, name_len);
	end_header(h);
	h->count++;
	h->size = 0;
	h->is_id = false;
	if (h->mbox) {
		h->mbox = false; /* ours; the next line may be another one */
		return;
	}
	h->any = true;
	if (h->watch != NULL && header_watched(h->watch, name))
		h->is_watched = true;
	if (line.p[name_len] != ':')
		h->is_spaced = true;
	if (span_caseeq(name, SPAN("Received")))
		h->received++;
	h->is_id = h->id_len == 0 && span_caseeq(name, SPAN("Message-ID"));
	h->is_encoding = span_caseeq(name, SPAN("Content-Transfer-Encoding"));
}

static void
keep_id(struct header_scan *h, struct span s)
{
	for (size_t i = 0; i < s.n && h->id_len < HEADER_ID_MAX; i++)
		h->id[h->id_len++] = s.p[i];
}

/* Without what stands in front of it. */
static void
keep_encoding(struct header_scan *h, struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (h->encoding_len < HEADER_ENCODING_MAX && (h->encoding_len > 0 || s.p[i] > ' '))
			h->encoding[h->encoding_len++] = s.p[i];
}

/* Octets of a recognised line, up to its end or as far as they go. */
static size_t
take_line(struct header_scan *h, struct span s)
{
	size_t lf = span_chr(s, '\n');
	size_t n = lf == SIZE_MAX ? s.n : lf + 1;
	h->in_line = lf == SIZE_MAX;
	h->size += n;
	if (h->size > h->longest)
		h->longest = h->size;
	if (!h->has_8bit && !span_is_ascii(span_head(s, n)))
		h->has_8bit = true;
	if (h->is_id)
		keep_id(h, span_head(s, n));
	else if (h->is_encoding)
		keep_encoding(h, span_head(s, n));
	return n;
}

enum header_event
header_feed(struct header_scan *h, struct span in, bool at_end, size_t *used_out)
{
	size_t at = 0;
	while (!h->done && at < in.n) {
		struct span s = span_from(in, at);
		if (h->in_line) {
			at += take_line(h, s);
			continue;
		}
		size_t name_len = 0;
		enum kind k = line_kind(h, s, &name_len);
		if (k == KIND_UNDECIDED && !at_end)
			break;
		*used_out = at;
		switch (k) {
		case KIND_EMPTY:
			end_header(h);
			h->done = true;
			*used_out = at + 2;
			return HEADER_END;
		case KIND_MBOX:
			h->mbox = true;
			return HEADER_MBOX;
		case KIND_UNDECIDED: /* the message ends here: a line without a colon */
		case KIND_BODY:
			end_header(h);
			h->done = true;
			return HEADER_NO_BLANK;
		case KIND_HEADER:
			begin_header(h, s, name_len);
			if (h->is_id || h->is_encoding) { /* the value only */
				size_t colon = span_chr(s, ':');
				h->size += colon + 1;
				at += colon + 1;
				s = span_from(s, colon + 1);
			}
			h->in_line = true;
			break;
		case KIND_FOLDED:
			h->in_line = true;
			break;
		}
		if (h->in_line && s.n > 0)
			at += take_line(h, s);
	}
	*used_out = at;
	return HEADER_MORE;
}

struct span
header_message_id(const struct header_scan *h)
{
	return span_trim(span_of(h->id, h->id_len));
}
