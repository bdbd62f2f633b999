/* SPDX-License-Identifier: BSD-2-Clause */
#include "policy/explain_out.h"

enum { TEXT_MAX = 1000, LINE_MAX_BYTES = 16 * 1024, RULE_WIDTH = 56 };

static const char *
outcome(enum rc rc)
{
	static const char *const names[] = { [RC_OK] = "found", [RC_NONE] = "none", [RC_TEMP] = "not now", [RC_PERM] = "malformed" };
	return names[rc];
}

/* ---- JSON: key, value, key, value ---- */

static void
key(struct buf *b, const char *name)
{
	buf_puts(b, buf_len(b) == 0 ? "{\"" : ",\"");
	buf_puts(b, name);
	buf_puts(b, "\":");
}

static void
put_text(struct buf *b, const char *name, struct span value)
{
	key(b, name);
	buf_put_json(b, value, TEXT_MAX);
}

static void
put_str(struct buf *b, const char *name, const char *value)
{
	if (value != NULL)
		put_text(b, name, span_str(value));
}

static void
put_number(struct buf *b, const char *name, uint64_t value)
{
	key(b, name);
	buf_put_dec(b, value);
}

static void
begin(const struct explain_out *o, struct buf *b, const char *event)
{
	buf_init(b, LINE_MAX_BYTES);
	put_str(b, "event", event);
	put_str(b, "stage", o->stage);
}

static void
end(const struct explain_out *o, struct buf *b)
{
	fprintf(o->file, "%s}\n", buf_cstr(b));
	buf_fini(b);
}

static void
put_place(struct buf *b, const char *list, const char *file, int line)
{
	put_str(b, "list", list);
	put_str(b, "file", file);
	if (file != NULL)
		put_number(b, "line", (uint64_t)line);
}

/* ---- text ---- */

static void
print(const struct explain_out *o, const char *before, struct span text, const char *after)
{
	struct buf b;
	buf_init(&b, 4 * TEXT_MAX);
	buf_put_safe(&b, text, TEXT_MAX, true);
	fprintf(o->file, "%s%s%s\n", before, buf_cstr(&b), after);
	buf_fini(&b);
}

/* ---- what there is to say ---- */

void
explain_fact(const struct explain_out *o, const char *name, struct span value, const char *more)
{
	struct buf b;
	if (o->json) {
		begin(o, &b, "fact");
		put_str(&b, "name", name);
		put_text(&b, "value", value);
		if (*more != '\0')
			put_str(&b, "more", more);
		end(o, &b);
		return;
	}
	char label[16], tail[400];
	snprintf(label, sizeof label, "%-10s ", name);
	snprintf(tail, sizeof tail, "%s%s%s", *more != '\0' ? " (" : "", more, *more != '\0' ? ")" : "");
	print(o, label, value, tail);
}

void
explain_stage(struct explain_out *o, const char *stage)
{
	o->stage = stage;
	if (!o->json)
		fprintf(o->file, "\n%s\n", stage);
}

void
explain_list(const struct explain_out *o, const char *list, const char *file, int line)
{
	if (o->json)
		return; /* each rule says where it stands */
	if (list == NULL)
		fprintf(o->file, "always\n");
	else if (file == NULL)
		fprintf(o->file, "%s (default)\n", list);
	else
		fprintf(o->file, "%s (%s:%d)\n", list, file, line);
}

void
explain_lookup(const struct explain_out *o, const char *whom, struct span question, enum rc rc, struct span answer, uint64_t usec)
{
	struct buf b;
	if (o->json) {
		begin(o, &b, "lookup");
		put_str(&b, "whom", whom);
		put_text(&b, "question", question);
		put_str(&b, "outcome", outcome(rc));
		put_text(&b, "answer", answer);
		put_number(&b, "usec", usec);
		end(o, &b);
		return;
	}
	buf_init(&b, 4 * TEXT_MAX);
	buf_puts(&b, "      ");
	buf_put_safe(&b, span_str(whom), 100, true);
	buf_puts(&b, ": ");
	buf_put_safe(&b, question, 300, true);
	buf_printf(&b, ": %s", outcome(rc));
	if (answer.n > 0) {
		buf_puts(&b, ": ");
		buf_put_safe(&b, answer, TEXT_MAX, true);
	}
	fprintf(o->file, "%s  (%llu us)\n", buf_cstr(&b), (unsigned long long)usec);
	buf_fini(&b);
}

void
explain_rule(const struct explain_out *o, const char *list, const char *file, int line, const char *rule, unsigned depth, const char *result,
    uint64_t usec)
{
	struct buf b;
	if (o->json) {
		begin(o, &b, "rule");
		put_place(&b, list, file, line);
		put_str(&b, "rule", rule);
		put_number(&b, "depth", depth);
		put_str(&b, "result", result);
		put_number(&b, "usec", usec);
		end(o, &b);
		return;
	}
	int indent = (int)(depth - 1) * 2;
	fprintf(o->file, "  %*s%-*s %-8s %6llu us\n", indent, "", RULE_WIDTH - indent, rule, result, (unsigned long long)usec);
}

void
explain_note(const struct explain_out *o, const char *kind, struct span text)
{
	struct buf b;
	if (o->json) {
		begin(o, &b, "note");
		put_str(&b, "kind", kind);
		put_text(&b, "text", text);
		end(o, &b);
		return;
	}
	char label[64];
	snprintf(label, sizeof label, "      %s: ", kind);
	print(o, label, text, "");
}

/* Lines that end in CRLF, one after the other. */
static bool
next_line(struct span *text, struct span *line_out)
{
	size_t lf = span_chr(*text, '\n');
	if (text->n == 0)
		return false;
	*line_out = span_rtrim(span_head(*text, lf));
	*text = lf == SIZE_MAX ? SPAN_EMPTY : span_from(*text, lf + 1);
	return true;
}

/* One text, its lines parted by "\\n". */
static void
put_lines(struct buf *b, struct span reply)
{
	struct span line;
	bool is_first = true;
	key(b, "reply");
	buf_putc(b, '"');
	for (; next_line(&reply, &line); is_first = false) {
		struct buf quoted;
		buf_init(&quoted, 8 * TEXT_MAX);
		buf_put_json(&quoted, line, TEXT_MAX);
		struct span text = buf_span(&quoted);
		if (!is_first)
			buf_puts(b, "\\n");
		if (text.n >= 2)
			buf_put(b, span_of(text.p + 1, text.n - 2));
		buf_fini(&quoted);
	}
	buf_putc(b, '"');
}

void
explain_verdict(const struct explain_out *o, struct span reply, const char *rule, const char *list, const char *more)
{
	struct buf b;
	if (o->json) {
		begin(o, &b, reply.n == 0 ? "accepted" : "refused");
		if (reply.n > 0)
			put_lines(&b, reply);
		put_str(&b, "rule", rule);
		put_str(&b, "list", list);
		if (*more != '\0')
			put_str(&b, "more", more);
		end(o, &b);
		return;
	}
	if (reply.n == 0) {
		fprintf(o->file, "  accepted%s\n", more);
		return;
	}
	struct span line;
	for (const char *before = "  refused: "; next_line(&reply, &line); before = "           ")
		print(o, before, line, "");
	if (rule != NULL)
		fprintf(o->file, "  by %s%s%s\n", rule, list != NULL ? " in " : "", list != NULL ? list : "");
}

void
explain_end(const struct explain_out *o, bool accepted)
{
	if (o->json)
		fprintf(o->file, "{\"event\":\"end\",\"accepted\":%s}\n", accepted ? "true" : "false");
	else
		fprintf(o->file, "\nthe message would be %s\n", accepted ? "accepted" : "refused");
}
