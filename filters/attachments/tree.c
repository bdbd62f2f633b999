/* SPDX-License-Identifier: BSD-2-Clause */
#include <gmime/gmime.h> /* first: glib's headers name what base.h forbids */

#include "filters/attachments/search.h"

#include "filters/attachments/decode.h"

#include <locale.h>

/* GMime's reading: what its tree says of each part is added to the part of the flat reading whose content begins at the same octet. */

struct tree {
	struct search *s;
	struct span message;
	size_t first, last;          /* the parts of the flat reading */
	uint32_t owner;
	GMimeStream *stream;
	bool is_too_deep;
};

void
search_prepare(void)
{
	static bool done;
	if (done)
		return;
	done = true;
	(void)setlocale(LC_CTYPE, "C.UTF-8");
	names_prepare();
	g_mime_init();
}

static void
add_list(struct reading *r, GMimeParamList *list)
{
	for (int i = 0; list != NULL && i < g_mime_param_list_length(list); i++) {
		GMimeParam *p = g_mime_param_list_get_parameter_at(list, i);
		const char *name = g_mime_param_get_name(p), *value = g_mime_param_get_value(p);
		if (name != NULL && value != NULL && (span_caseeq_str(span_str(name), "name") || span_caseeq_str(span_str(name), "filename")))
			reading_name(r, span_str(value));
	}
}

static void
read_object(GMimeObject *o, struct reading *r)
{
	GMimeContentType *type = g_mime_object_get_content_type(o);
	GMimeContentDisposition *disposition = g_mime_object_get_content_disposition(o);
	if (type != NULL) {
		char *text = g_mime_content_type_get_mime_type(type);
		if (text != NULL)
			reading_type(r, span_str(text));
		g_free(text);
		add_list(r, g_mime_content_type_get_parameters(type));
	}
	if (disposition != NULL)
		add_list(r, g_mime_content_disposition_get_parameters(disposition));
}

static unsigned
encoding_of(GMimePart *part)
{
	switch (g_mime_part_get_content_encoding(part)) {
	case GMIME_CONTENT_ENCODING_BASE64:
		return DECODE_BASE64;
	case GMIME_CONTENT_ENCODING_QUOTEDPRINTABLE:
		return DECODE_QP;
	case GMIME_CONTENT_ENCODING_UUENCODE:
		return DECODE_UU;
	case GMIME_CONTENT_ENCODING_DEFAULT:
	case GMIME_CONTENT_ENCODING_7BIT:
	case GMIME_CONTENT_ENCODING_8BIT:
	case GMIME_CONTENT_ENCODING_BINARY:
		break;
	}
	return DECODE_NONE;
}

/* The part of the flat reading whose content begins there: they are in order. */
static uint32_t
find_part(const struct tree *t, size_t body)
{
	size_t low = t->first, high = t->last;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (t->s->parts[mid].body < body)
			low = mid + 1;
		else
			high = mid;
	}
	for (size_t i = low; i < t->last && t->s->parts[i].body == body; i++)
		if (!t->s->parts[i].is_container)
			return (uint32_t)i;
	return SEARCH_NOWHERE;
}

static void
read_leaf(struct tree *t, GMimePart *part)
{
	struct search *s = t->s;
	GMimeDataWrapper *content = g_mime_part_get_content(part);
	GMimeStream *stream = content != NULL ? g_mime_data_wrapper_get_stream(content) : NULL;
	struct reading r;
	reading_init(&r, &s->arena);
	read_object(GMIME_OBJECT(part), &r);
	r.ctes = encoding_of(part);
	size_t from = stream != NULL && stream->bound_start >= 0 ? (size_t)stream->bound_start : 0;
	size_t to = stream != NULL && stream->bound_end >= 0 ? (size_t)stream->bound_end : 0;
	if (to > t->message.n)
		to = t->message.n;
	uint32_t at = to > from ? find_part(t, from) : SEARCH_NOWHERE;
	if (at == SEARCH_NOWHERE) {
		if (r.nnames == 0 && (r.ntypes == 0 || span_starts(r.types[0], SPAN("text/")))) /* a text without a header: nothing is called so */
			return;
		at = search_add(s, &r, ATTACHMENT_PART, t->owner);
		if (at == SEARCH_NOWHERE)
			return;
		s->parts[at].delimiter = SIZE_MAX;
		s->parts[at].head = s->parts[at].body = s->parts[at].body_late = from;
		s->parts[at].end = to > from ? to : from;
	} else {
		search_merge(s, at, &r);
	}
	if (to > from)
		s->parts[at].end_tree = to;
}

static void
walk(struct tree *t, GMimeObject *o, unsigned depth)
{
	if (o == NULL || t->is_too_deep)
		return;
	if (depth > t->s->limits.depth) {
		t->is_too_deep = true;
		search_problem(t->s, "parts are nested too deep");
		return;
	}
	if (GMIME_IS_MULTIPART(o)) {
		for (int i = 0; i < g_mime_multipart_get_count(GMIME_MULTIPART(o)); i++)
			walk(t, g_mime_multipart_get_part(GMIME_MULTIPART(o), i), depth + 1);
	} else if (GMIME_IS_MESSAGE_PART(o)) {
		GMimeMessage *message = g_mime_message_part_get_message(GMIME_MESSAGE_PART(o));
		if (message != NULL)
			walk(t, g_mime_message_get_mime_part(message), depth + 1);
	} else if (GMIME_IS_PART(o)) {
		read_leaf(t, GMIME_PART(o));
	}
}

static void
on_warning(gint64 offset, GMimeParserWarning code, const gchar *item, gpointer arg)
{
	struct tree *t = arg;
	(void)offset;
	(void)item;
	if (code == GMIME_CRIT_NESTING_OVERFLOW)
		t->is_too_deep = true;
}

void
tree_read(struct search *s, struct span m, size_t first, uint32_t owner)
{
	struct tree t = { .s = s, .message = m, .first = first, .last = s->nparts, .owner = owner };
	GMimeParserOptions *options = g_mime_parser_options_new();
	g_mime_parser_options_set_warning_callback(options, on_warning, &t);
	t.stream = g_mime_stream_mem_new_with_buffer((const char *)m.p, m.n);
	GMimeParser *parser = g_mime_parser_new_with_stream(t.stream);
	g_mime_parser_set_persist_stream(parser, TRUE);
	GMimeMessage *message = g_mime_parser_construct_message(parser, options);
	if (t.is_too_deep)
		search_problem(s, "parts are nested too deep");
	else if (message != NULL)
		walk(&t, g_mime_message_get_mime_part(message), 0);
	if (message != NULL)
		g_object_unref(message);
	g_object_unref(parser);
	g_object_unref(t.stream);
	g_mime_parser_options_free(options);
}
