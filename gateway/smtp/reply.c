/* SPDX-License-Identifier: BSD-2-Clause */
#include "smtp/reply.h"

static const struct {
	unsigned code;
	const char *enhanced, *text;
	struct span whole;       /* code, enhanced code and text */
} rows[] = {
#define REPLY(name, code, enhanced, text, doc) \
	{ code, enhanced, text, { (const unsigned char *)#code " " enhanced " " text, sizeof(#code " " enhanced " " text) - 1 } },
#include "smtp/replies.def"
#undef REPLY
};

unsigned
reply_code(enum reply_id id)
{
	return rows[id].code;
}

const char *
reply_enhanced(enum reply_id id)
{
	return rows[id].enhanced;
}

static void
put_part(struct buf *b, char what, const struct reply_args *args)
{
	switch (what) {
	case 'h':
		buf_puts(b, args->myhostname);
		break;
	case 'c':
		buf_put_safe(b, args->client, REPLY_LINE_MAX, true);
		break;
	case 'a':
		buf_put(b, args->client_addr);
		break;
	case 's':
		buf_put_safe(b, args->text, REPLY_LINE_MAX, true);
		break;
	case 'n':
		buf_put_dec(b, args->number);
		break;
	default:
		BUG("replies.def");
	}
}

void
reply_write(struct buf *b, enum reply_id id, unsigned code, const struct reply_args *args)
{
	size_t before = buf_len(b);
	const char *text = rows[id].text;
	if (code == 0 && rows[id].enhanced[0] != '\0' && strchr(text, '%') == NULL) {
		buf_put(b, rows[id].whole);
		return;
	}
	buf_put_dec(b, code != 0 ? code : rows[id].code);
	buf_putc(b, ' ');
	if (rows[id].enhanced[0] != '\0') {
		buf_puts(b, rows[id].enhanced);
		buf_putc(b, ' ');
	}
	for (const char *p = text; *p != '\0';) {
		size_t n = strcspn(p, "%");
		buf_put(b, span_of(p, n));
		p += n;
		if (*p == '%') {
			put_part(b, p[1], args);
			p += 2;
		}
	}
	if (buf_len(b) - before > REPLY_LINE_MAX)
		buf_cut(b, before + REPLY_LINE_MAX);
}

void
reply_soften(struct buf *b, size_t from)
{
	unsigned char *p = b->p + b->at + from;
	if (buf_len(b) < from + 4 || p[0] != '5')
		return;
	p[0] = '4';
	if (buf_len(b) > from + 5 && p[4] == '5' && p[5] == '.')
		p[4] = '4';
}

void
reply_write_lines(struct buf *out, struct span reply)
{
	while (reply.n > 0) {
		size_t lf = span_chr(reply, '\n');
		struct span line = span_head(reply, lf);
		reply = lf == SIZE_MAX ? SPAN_EMPTY : span_from(reply, lf + 1);
		if (line.n > 4 && reply.n > 0) {
			buf_put(out, span_head(line, 3));
			buf_putc(out, '-');
			line = span_from(line, 4);
		}
		buf_put(out, line);
		buf_put(out, SPAN("\r\n"));
	}
}
