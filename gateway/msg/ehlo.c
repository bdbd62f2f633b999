/* SPDX-License-Identifier: BSD-2-Clause */
#include "msg/ehlo.h"

static const struct {
	const char *word;
	unsigned bit;
} keywords[] = {
	{ "PIPELINING", HUB_PIPELINING }, { "8BITMIME", HUB_8BITMIME }, { "SIZE", HUB_SIZE }, { "SMTPUTF8", HUB_SMTPUTF8 },
	{ "CHUNKING", HUB_CHUNKING }, { "DSN", HUB_DSN }, { "ENHANCEDSTATUSCODES", HUB_ENHANCED }, { "STARTTLS", HUB_STARTTLS },
	{ "AUTH", HUB_AUTH }, { "XFORWARD", HUB_XFORWARD },
};

static const struct {
	const char *word;
	unsigned bit;
} attributes[] = {
	{ "NAME", HUB_XF_NAME }, { "ADDR", HUB_XF_ADDR }, { "PORT", HUB_XF_PORT }, { "PROTO", HUB_XF_PROTO }, { "HELO", HUB_XF_HELO },
	{ "IDENT", HUB_XF_IDENT }, { "SOURCE", HUB_XF_SOURCE },
};

unsigned
ehlo_xforward_attribute(struct span name)
{
	for (size_t i = 0; i < NELEMS(attributes); i++)
		if (span_caseeq_str(name, attributes[i].word))
			return attributes[i].bit;
	return 0;
}

static unsigned
keyword(struct span word)
{
	for (size_t i = 0; i < NELEMS(keywords); i++)
		if (span_caseeq_str(word, keywords[i].word))
			return keywords[i].bit;
	return 0;
}

unsigned
ehlo_keywords(struct span list)
{
	unsigned bits = 0;
	for (struct span word; span_word(&list, ", \t\r\n", &word);)
		bits |= keyword(word);
	return bits;
}

unsigned
ehlo_parse(const struct hubreply *r, unsigned discard, uint64_t *size_max_out, struct span *name_out)
{
	unsigned bits = 0;
	*size_max_out = 0;
	struct span rest = hubreply_line(r, 0);
	if (!span_word(&rest, " \t", name_out))
		*name_out = SPAN_EMPTY;
	for (unsigned i = 1; i < r->lines; i++) {
		struct span word, arg;
		rest = hubreply_line(r, i);
		if (!span_word(&rest, " \t=", &word)) /* '=': "AUTH=LOGIN" of old servers */
			continue;
		unsigned bit = keyword(word) & ~discard;
		bits |= bit;
		uint64_t n;
		if (bit == HUB_SIZE && span_word(&rest, " \t", &arg) && span_u64(arg, UINT64_MAX, &n))
			*size_max_out = n;
		while (bit == HUB_XFORWARD && span_word(&rest, " \t", &arg))
			bits |= ehlo_xforward_attribute(arg);
	}
	return bits;
}

static bool
has_word(struct span list, struct span word)
{
	for (struct span one; span_word(&list, " ", &one);)
		if (span_caseeq(one, word))
			return true;
	return false;
}

bool
ehlo_mechanisms(const struct hubreply *r, struct buf *out)
{
	bool is_offered = false;
	for (unsigned i = 1; i < r->lines; i++) {
		struct span word, rest = hubreply_line(r, i);
		if (!span_word(&rest, " \t=", &word) || keyword(word) != HUB_AUTH)
			continue;
		is_offered = true;
		while (span_word(&rest, " \t=", &word)) {
			if (has_word(buf_span(out), word) || !span_is_printable(word) || !span_is_ascii(word))
				continue;
			if (buf_len(out) > 0)
				buf_putc(out, ' ');
			buf_put(out, word);
		}
	}
	return is_offered;
}
