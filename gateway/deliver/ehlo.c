/* SPDX-License-Identifier: BSD-2-Clause */
#include "deliver/ehlo.h"

static const struct {
	const char *word;
	unsigned bit;
} keywords[] = {
	{ "PIPELINING", EHLO_PIPELINING }, { "8BITMIME", EHLO_8BITMIME }, { "SIZE", EHLO_SIZE }, { "SMTPUTF8", EHLO_SMTPUTF8 },
	{ "CHUNKING", EHLO_CHUNKING }, { "DSN", EHLO_DSN }, { "ENHANCEDSTATUSCODES", EHLO_ENHANCED }, { "STARTTLS", EHLO_STARTTLS },
	{ "AUTH", EHLO_AUTH }, { "XFORWARD", EHLO_XFORWARD },
};

static const struct {
	const char *word;
	unsigned bit;
} attributes[] = {
	{ "NAME", EHLO_XF_NAME }, { "ADDR", EHLO_XF_ADDR }, { "PORT", EHLO_XF_PORT }, { "PROTO", EHLO_XF_PROTO }, { "HELO", EHLO_XF_HELO },
	{ "IDENT", EHLO_XF_IDENT }, { "SOURCE", EHLO_XF_SOURCE },
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
		if (bit == EHLO_SIZE && span_word(&rest, " \t", &arg) && span_u64(arg, UINT64_MAX, &n))
			*size_max_out = n;
		while (bit == EHLO_XFORWARD && span_word(&rest, " \t", &arg))
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
		if (!span_word(&rest, " \t=", &word) || keyword(word) != EHLO_AUTH)
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
