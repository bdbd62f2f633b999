/* SPDX-License-Identifier: BSD-2-Clause */
#include "lookup/wire.h"

/* ---- tcp ---- */

void
wire_tcp_request(struct buf *out, struct span table, struct span key)
{
	(void)table;
	buf_puts(out, "get ");
	for (size_t i = 0; i < key.n; i++) {
		unsigned char c = key.p[i];
		if (c > ' ' && c < 0x7f && c != '%')
			buf_putc(out, c);
		else
			buf_printf(out, "%%%02X", (unsigned)c);
	}
	buf_putc(out, '\n');
}

static int
hex_digit(unsigned char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool
unescape(struct span s, struct buf *out)
{
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] != '%') {
			buf_putc(out, s.p[i]);
			continue;
		}
		int high = s.n - i > 2 ? hex_digit(s.p[i + 1]) : -1;
		int low = s.n - i > 2 ? hex_digit(s.p[i + 2]) : -1;
		if (high < 0 || low < 0)
			return false;
		buf_putc(out, (unsigned char)(high << 4 | low));
		i += 2;
	}
	return true;
}

static bool
is_digit(unsigned char c)
{
	return c >= '0' && c <= '9';
}

enum rc
wire_tcp_reply(struct span in, size_t max, struct buf *text_out, struct wire_reply *out, struct err *e)
{
	size_t limit = max < WIRE_TCP_LINE_MAX ? max : WIRE_TCP_LINE_MAX;
	size_t end = span_chr(span_head(in, limit), '\n');
	buf_reset(text_out);
	if (end == SIZE_MAX)
		return in.n < limit ? RC_NONE : err_set(e, RC_PERM, "a reply of more than %zu bytes", limit);
	struct span line = span_head(in, end);
	if (line.n > 0 && line.p[line.n - 1] == '\r')
		line.n--;
	*out = (struct wire_reply){ .used = end + 1 };
	if (line.n < 4 || !is_digit(line.p[0]) || !is_digit(line.p[1]) || !is_digit(line.p[2]) || (line.p[3] != ' ' && line.p[3] != '\t'))
		return err_set(e, RC_PERM, "malformed reply: %.*s", (int)span_head(line, 100).n, (const char *)line.p);
	switch (line.p[0]) {
	case '2':
		out->rc = RC_OK;
		break;
	case '4':
		out->rc = RC_TEMP;
		break;
	case '5':
		out->rc = RC_NONE;
		break;
	default:
		return err_set(e, RC_PERM, "bad status code: %.*s", (int)span_head(line, 100).n, (const char *)line.p);
	}
	if (!unescape(span_from(line, 4), text_out))
		return err_set(e, RC_PERM, "malformed reply: %.*s", (int)span_head(line, 100).n, (const char *)line.p);
	return RC_OK;
}

/* ---- socketmap ---- */

void
wire_socketmap_request(struct buf *out, struct span table, struct span key)
{
	buf_put_dec(out, table.n + 1 + key.n);
	buf_putc(out, ':');
	buf_put(out, table);
	buf_putc(out, ' ');
	buf_put(out, key);
	buf_putc(out, ',');
}

/* What a netstring holds; *used_out with its frame. */
static enum rc
netstring(struct span in, size_t max, struct span *out, size_t *used_out, struct err *e)
{
	enum { DIGITS_MAX = 9 };
	size_t n = 0, i = 0;
	for (; i < in.n && is_digit(in.p[i]); i++) {
		if (i == DIGITS_MAX)
			return err_set(e, RC_PERM, "a length of too many digits");
		n = n * 10 + (size_t)(in.p[i] - '0');
	}
	if (i == in.n)
		return RC_NONE;
	if (i == 0 || in.p[i] != ':')
		return err_set(e, RC_PERM, "not a netstring");
	if (n > max)
		return err_set(e, RC_PERM, "a reply of %zu bytes, the limit is %zu", n, max);
	struct span rest = span_from(in, i + 1);
	if (rest.n <= n) /* its comma is missing, too */
		return RC_NONE;
	if (rest.p[n] != ',')
		return err_set(e, RC_PERM, "a netstring without its comma");
	*out = span_head(rest, n);
	*used_out = i + 1 + n + 1;
	return RC_OK;
}

static const struct {
	const char *word;
	enum rc rc;
} words[] = { { "OK", RC_OK }, { "NOTFOUND", RC_NONE }, { "TEMP", RC_TEMP }, { "TIMEOUT", RC_TEMP }, { "PERM", RC_PERM } };

enum rc
wire_socketmap_reply(struct span in, size_t max, struct buf *text_out, struct wire_reply *out, struct err *e)
{
	struct span all;
	*out = (struct wire_reply){ 0 };
	buf_reset(text_out);
	enum rc rc = netstring(in, max, &all, &out->used, e);
	if (rc != RC_OK)
		return rc;
	size_t blank = span_chr(all, ' ');
	struct span word = blank == SIZE_MAX ? all : span_head(all, blank);
	for (size_t i = 0; i < NELEMS(words); i++) {
		if (!span_eq_str(word, words[i].word))
			continue;
		if (blank == SIZE_MAX && words[i].rc == RC_OK)
			break;
		out->rc = words[i].rc;
		if (blank != SIZE_MAX)
			buf_put(text_out, span_from(all, blank + 1));
		return RC_OK;
	}
	return err_set(e, RC_PERM, "unexpected reply: %.*s", (int)span_head(all, 100).n, (const char *)all.p);
}
