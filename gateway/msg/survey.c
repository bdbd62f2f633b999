/* SPDX-License-Identifier: BSD-2-Clause */
#include "msg/survey.h"

#include "base/mem.h"

enum { TYPE_MAX = 128, ID_MAX = 500, SURVEY_ARENA = 512 * 1024, EDGE_DEPTH = 1000 };

void
survey_init(struct survey *s)
{
	struct mime_conf conf = mime_conf_default;
	conf.nesting_max = SURVEY_NESTING;
	memset(s, 0, sizeof *s);
	buf_init(&s->subject, HELD_TEXT_MAX);
	buf_init(&s->from, HELD_TEXT_MAX);
	buf_init(&s->message_id, HELD_TEXT_MAX);
	arena_init(&s->arena, SURVEY_ARENA);
	mime_reader_init(&s->reader, &conf);
}

void
survey_fini(struct survey *s)
{
	mime_reader_fini(&s->reader);
	buf_fini(&s->subject);
	buf_fini(&s->from);
	buf_fini(&s->message_id);
	arena_fini(&s->arena);
	mem_free(&s->parts);
}

/* ---- headers ---- */

static struct span
field_value(const struct mime_item *it)
{
	return span_from(it->text, it->colon + 1);
}

static void
read_type(struct survey *s, struct span value)
{
	struct mime_tokens t;
	struct buf scratch, type;
	struct span rest = span_head(value, WORDS_IN_MAX);
	buf_init(&scratch, WORDS_IN_MAX);
	buf_init(&type, TYPE_MAX);
	if (mime_tokens(&rest, MIME_SPECIALS, ';', &scratch, &t) && t.n == 3 && t.tok[1].kind == '/') {
		buf_put_safe(&type, t.tok[0].text, TYPE_MAX / 2 - 1, false);
		buf_putc(&type, '/');
		buf_put_safe(&type, t.tok[2].text, TYPE_MAX / 2 - 1, false);
		for (size_t i = type.at; i < type.n; i++)
			if (type.p[i] >= 'A' && type.p[i] <= 'Z')
				type.p[i] |= 0x20;
		s->type = arena_span(&s->arena, buf_span(&type));
	}
	buf_fini(&scratch);
	buf_fini(&type);
}

static void
read_name(struct survey *s, struct span value, const char *param, bool is_file)
{
	struct buf name;
	if (s->name.n > 0 && (s->name_is_file || !is_file))
		return;
	buf_init(&name, HELD_TEXT_MAX);
	if (words_param(&name, value, param, HELD_TEXT_MAX) && buf_len(&name) > 0) {
		s->name = arena_span(&s->arena, buf_span(&name));
		s->name_is_file = is_file;
	}
	buf_fini(&name);
}

static void
on_header(struct survey *s, const struct mime_item *it)
{
	struct span name = span_head(it->text, it->name_len), value = field_value(it);
	if (it->class == MIME_PRIMARY) {
		if (!s->has_subject && span_caseeq_str(name, "Subject")) {
			s->has_subject = true;
			words_decode(&s->subject, value, HELD_TEXT_MAX);
		} else if (!s->has_from && span_caseeq_str(name, "From")) {
			s->has_from = true;
			words_decode(&s->from, value, HELD_TEXT_MAX);
		} else if (!s->has_id && span_caseeq_str(name, "Message-ID")) {
			s->has_id = true;
			words_decode(&s->message_id, value, ID_MAX);
		}
	}
	if (it->field == MIME_FIELD_TYPE) {
		read_type(s, value);
		read_name(s, value, "name", false);
	} else if (it->field == MIME_FIELD_DISPOSITION) {
		read_name(s, value, "filename", true);
	}
}

/* ---- parts ---- */

/* end: behind its last octet. */
static void
end_part(struct survey *s, uint64_t end)
{
	if (s->in_part && s->left_out == 0 && s->nparts > 0 && end > s->parts[s->nparts - 1].at)
		s->parts[s->nparts - 1].length = end - s->parts[s->nparts - 1].at;
	s->in_part = false;
}

static void
begin_part(struct survey *s, const struct mime_item *it)
{
	uint32_t level = it->depth < SURVEY_NESTING ? it->depth : SURVEY_NESTING, depth = 0;
	if (it->class == MIME_NESTED)
		depth = s->last_depth + 1;
	else if (it->class == MIME_PART)
		depth = s->depth_of[level - (it->type == MIME_MULTIPART && level > 0 ? 1 : 0)] + 1;
	if (depth > EDGE_DEPTH)
		depth = EDGE_DEPTH;
	if (it->type == MIME_MULTIPART)
		s->depth_of[level] = depth;
	s->last_depth = depth;
	bool composed = it->type == MIME_MULTIPART || it->type == MIME_MESSAGE;
	uint8_t how = composed ? DECODE_AS_IS : it->encoding == MIME_BASE64 ? DECODE_BASE64 : it->encoding == MIME_QP ? DECODE_QP : DECODE_AS_IS;
	s->line_end = 0;
	s->in_part = true;
	if (s->nparts == HELD_PARTS_MAX) {
		s->left_out++;
	} else {
		if (s->nparts == s->cap) {
			s->cap = s->cap > 0 ? 4 * s->cap : 4;
			s->parts = mem_reallocarray(s->parts, s->cap, sizeof *s->parts);
		}
		s->parts[s->nparts++] = (struct held_part){ .depth = depth, .type = s->type.n > 0 ? s->type : SPAN("text/plain"), .name = s->name,
			.at = s->at, .how = how };
	}
	s->type = s->name = SPAN_EMPTY;
	s->name_is_file = false;
}

/* The line end in front of a boundary is the boundary's: how long the one is that the body has ended with so far. */
static void
on_body(struct survey *s, struct span in)
{
	if (!s->in_part || in.n == 0)
		return;
	bool behind_cr = in.n > 1 ? in.p[in.n - 2] == '\r' : s->line_end == 1 && s->last_cr;
	s->last_cr = in.p[in.n - 1] == '\r';
	s->line_end = in.p[in.n - 1] == '\n' ? (behind_cr ? 2 : 1) : s->last_cr;
}

/* ---- the walk ---- */

static void
walk(struct survey *s)
{
	struct mime_item it;
	while (mime_reader_next(&s->reader, &it) != MIME_MORE) {
		uint64_t from = s->at;
		s->at += it.text.n; /* the texts are the message, octet for octet */
		switch (it.event) {
		case MIME_HEADER:
			end_part(s, from); /* of a message inside: what stands around it is over */
			on_header(s, &it);
			break;
		case MIME_HEADER_END:
			end_part(s, from);
			begin_part(s, &it);
			break;
		case MIME_BOUNDARY:
			end_part(s, from - s->line_end);
			break;
		case MIME_BODY:
			on_body(s, it.text);
			break;
		case MIME_HEADER_REST:
		case MIME_MORE:
			break;
		}
	}
}

void
survey_put(struct survey *s, struct span piece)
{
	mime_reader_put(&s->reader, piece);
	walk(s);
}

void
survey_end(struct survey *s)
{
	mime_reader_end(&s->reader);
	walk(s);
	end_part(s, s->at);
}
