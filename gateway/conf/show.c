/* SPDX-License-Identifier: BSD-2-Clause */
#include "conf/show.h"

#include "base/mem.h"
#include "conf/snap.h"
#include "conf/text.h"

enum { LINE_LIMIT = 80 };
#define BLANKS " \t\r\n\v\f"

/* ---- one line ---- */

/* Next word for printing: white space separates, but not in a word that begins with a brace. */
static bool
token(struct span *rest, struct span *out)
{
	*rest = span_trim(*rest);
	size_t depth = 0, n = 0;
	for (; n < rest->n; n++) {
		unsigned char c = rest->p[n];
		if (c == '{' && rest->p[0] == '{')
			depth++;
		else if (c == '}' && depth > 0)
			depth--;
		else if (depth == 0 && (c == ' ' || (c >= '\t' && c <= '\r')))
			break;
	}
	*out = span_head(*rest, n);
	*rest = span_from(*rest, n);
	return n > 0;
}

void
text_fold(struct buf *out, struct span text, bool fold)
{
	size_t col = 0;
	struct span word;
	while (token(&text, &word)) {
		if (fold && col > 0 && col + 1 + word.n > LINE_LIMIT && word.p[0] != '#') { /* a line of its own would be a comment */
			buf_puts(out, "\n    ");
			col = 4;
		} else if (col > 0) {
			buf_putc(out, ' ');
			col++;
		}
		buf_put(out, word);
		col += word.n;
	}
}

void
show_value(FILE *out, const char *name, const char *value, unsigned flags)
{
	struct buf line, folded;
	buf_init(&line, SIZE_MAX);
	buf_init(&folded, SIZE_MAX);
	if ((flags & SHOW_NO_NAMES) == 0)
		buf_puts(&line, name);
	if ((flags & (SHOW_NO_NAMES | SHOW_NO_VALUES)) == 0)
		buf_puts(&line, " = ");
	if ((flags & SHOW_NO_VALUES) == 0)
		buf_puts(&line, value);
	text_fold(&folded, buf_span(&line), (flags & SHOW_FOLD) != 0);
	fprintf(out, "%s\n", buf_cstr(&folded));
	buf_fini(&line);
	buf_fini(&folded);
}

/* ---- parameters of main.cf ---- */

bool
show_param(FILE *out, struct conf *c, const char *name, unsigned flags)
{
	struct view v = { .c = c, .hides_settings = (flags & SHOW_DEFAULTS) != 0 };
	struct span raw, key = span_str(name);
	struct err e;
	const char *text;
	const struct setting *s = v.hides_settings ? NULL : snap_setting(c, NULL, key);
	if (s != NULL ? snap_is_unused(c, key) : !snap_default(c, NULL, key, &raw))
		return false;
	if ((flags & SHOW_EXPAND) == 0)
		text = s != NULL ? s->text : snap_str(c, raw);
	else if (snap_expand(&v, s != NULL ? span_str(s->value) : raw, &text, &e) != RC_OK)
		text = e.why;
	show_value(out, name, text, flags);
	return true;
}

struct names {
	const char **row;
	size_t n, cap;
};

static void
add_name(struct names *l, const char *name)
{
	if (l->n == l->cap) {
		l->cap = l->cap > 0 ? l->cap * 2 : 1024;
		l->row = mem_reallocarray(l->row, l->cap, sizeof *l->row);
	}
	l->row[l->n++] = name;
}

static int
by_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void
print_names(FILE *out, struct conf *c, struct names *l, unsigned flags)
{
	if (l->n > 0)
		qsort(l->row, l->n, sizeof *l->row, by_text);
	for (size_t i = 0; i < l->n; i++)
		if (i == 0 || strcmp(l->row[i - 1], l->row[i]) != 0)
			show_param(out, c, l->row[i], flags);
	mem_free(&l->row);
}

static void
add_transport_names(struct names *l, struct conf *c)
{
	for (size_t k = 0; k < c->nsvc; k++) {
		const struct service *s = &c->svcs[k]->pub;
		const char *suffix;
		for (size_t i = 0; (suffix = snap_suffix_at(i)) != NULL; i++) {
			struct buf name;
			if (!snap_has_suffix(s, span_str(suffix)) || strcmp(s->command, "discard") == 0)
				continue;
			buf_init(&name, 4096);
			buf_puts(&name, s->name);
			buf_putc(&name, '_');
			buf_puts(&name, suffix);
			add_name(l, snap_str(c, buf_span(&name)));
			buf_fini(&name);
		}
	}
}

static void
add_set_names(struct names *l, struct conf *c)
{
	for (size_t i = 0; i < c->nset; i++)
		add_name(l, c->list[i]->name);
}

void
show_all(FILE *out, struct conf *c, unsigned flags)
{
	struct names l = { 0 };
	for (size_t i = 0; i < param_count(); i++)
		if ((param_at(i)->flags & P_OLD) == 0 || param_at(i)->def[0] != '\0') /* an old name is shown when it is set */
			add_name(&l, param_at(i)->name);
	add_transport_names(&l, c);
	if ((flags & SHOW_DEFAULTS) == 0)
		add_set_names(&l, c);
	print_names(out, c, &l, flags);
}

void
show_set(FILE *out, struct conf *c, unsigned flags)
{
	struct names l = { 0 };
	add_set_names(&l, c);
	print_names(out, c, &l, flags);
}

/* ---- master.cf ---- */

/* Does a part of "a/b/c" (any missing: all) match the text? Takes the part off. */
static bool
part_matches(struct span *pattern, const char *text)
{
	size_t n = span_chr(*pattern, '/');
	struct span part = span_head(*pattern, n);
	*pattern = span_from(*pattern, n == SIZE_MAX ? pattern->n : n + 1);
	return part.n == 0 || span_eq(part, SPAN("*")) || span_eq_str(part, text);
}

static bool
service_matches(struct span *pattern, const struct service *s)
{
	/* An inet name may hold a slash nowhere, a path may: the whole name is tried first. */
	size_t n = strlen(s->name);
	if (pattern->n > n && span_starts(*pattern, span_str(s->name)) && pattern->p[n] == '/')
		*pattern = span_from(*pattern, n + 1);
	else if (!part_matches(pattern, s->name))
		return false;
	return part_matches(pattern, s->type);
}

/* In braces when it would not read back as one word, or (the first one) as an option. */
static void
put_arg(struct buf *b, const char *arg, bool is_first)
{
	bool plain = arg[0] != '\0' && arg[0] != '{' && strpbrk(arg, BLANKS) == NULL &&
	             !(is_first && arg[0] == '-' && arg[1] != '\0' && strcmp(arg, "--") != 0);
	buf_puts(b, plain ? "" : "{");
	buf_puts(b, arg);
	buf_puts(b, plain ? "" : "}");
}

void
text_service(struct buf *out, const struct svc *svc, bool fold)
{
	static const size_t columns[] = { 0, 11, 17, 25, 33, 41, 49, 57 };
	const struct service *s = &svc->pub;
	char field[8][32];
	const char *text[8] = { s->name, s->type, field[2], field[3], field[4], field[5], field[6], s->command };
	snprintf(field[2], sizeof field[2], "%c", svc->private_field);
	snprintf(field[3], sizeof field[3], "%c", svc->unprivileged_field);
	snprintf(field[4], sizeof field[4], "%c", svc->chroot);
	snprintf(field[5], sizeof field[5], s->wakeup < 0 ? "-" : svc->wakeup_if_used ? "%d?" : "%d", s->wakeup);
	snprintf(field[6], sizeof field[6], s->maxproc < 0 ? "-" : "%d", s->maxproc);
	size_t start = buf_len(out), col;
	for (size_t i = 0; i < NELEMS(columns); i++) {
		if (i > 0)
			buf_putc(out, ' ');
		while (buf_len(out) - start < columns[i])
			buf_putc(out, ' ');
		buf_puts(out, text[i]);
	}
	if (svc->flags[0] != '\0') {
		buf_putc(out, ' ');
		buf_puts(out, svc->flags);
	}
	for (size_t i = 0; i < svc->nset; i++) {
		bool braces = svc->sets[i].name[0] == '{' || strpbrk(svc->sets[i].text, BLANKS) != NULL;
		buf_puts(out, fold ? "\n    -o " : " -o ");
		buf_puts(out, braces ? "{" : "");
		buf_puts(out, svc->sets[i].name);
		buf_putc(out, '=');
		buf_puts(out, svc->sets[i].text);
		buf_puts(out, braces ? "}" : "");
	}
	col = svc->nset > 0 && fold ? LINE_LIMIT : buf_len(out) - start;
	for (size_t i = 0; s->args[i] != NULL; i++) {
		size_t n = strlen(s->args[i]);
		bool breaks = fold && col + 1 + n >= LINE_LIMIT && s->args[i][0] != '#';
		buf_puts(out, breaks ? "\n    " : " ");
		put_arg(out, s->args[i], i == 0);
		col = (breaks ? 4 : col + 1) + n;
	}
}

bool
show_services(FILE *out, struct conf *c, const char *pattern, unsigned flags)
{
	bool any = false;
	struct buf line;
	buf_init(&line, SIZE_MAX);
	for (size_t k = 0; k < c->nlisted; k++) {
		struct span p = span_str(pattern);
		if (!service_matches(&p, &c->svcs[k]->pub))
			continue;
		buf_reset(&line);
		text_service(&line, c->svcs[k], (flags & SHOW_FOLD) != 0);
		fprintf(out, "%s\n", buf_cstr(&line));
		any = true;
	}
	buf_fini(&line);
	return any;
}

static void
show_member(FILE *out, const struct service *s, const char *member, const char *value, unsigned flags)
{
	struct buf name;
	buf_init(&name, SIZE_MAX);
	buf_puts(&name, s->name);
	buf_putc(&name, '/');
	buf_puts(&name, s->type);
	buf_putc(&name, '/');
	buf_puts(&name, member);
	show_value(out, buf_cstr(&name), value, flags);
	buf_fini(&name);
}

bool
show_fields(FILE *out, struct conf *c, const char *pattern, unsigned flags)
{
	static const char *const names[] = { "service", "type", "private", "unprivileged", "chroot", "wakeup", "process_limit", "command" };
	bool any = false;
	struct buf line;
	buf_init(&line, SIZE_MAX);
	for (size_t k = 0; k < c->nlisted; k++) {
		struct span p = span_str(pattern), rest, word;
		if (!service_matches(&p, &c->svcs[k]->pub))
			continue;
		buf_reset(&line);
		text_service(&line, c->svcs[k], false);
		rest = buf_span(&line);
		for (size_t i = 0; i < NELEMS(names); i++) {
			struct span member = p;
			if (i + 1 < NELEMS(names))
				token(&rest, &word);
			else
				word = span_trim(rest);
			if (!part_matches(&member, names[i]))
				continue;
			show_member(out, &c->svcs[k]->pub, names[i], snap_str(c, word), flags);
			any = true;
		}
	}
	buf_fini(&line);
	return any;
}

static int
by_name(const void *a, const void *b)
{
	return strcmp(((const struct setting *)a)->name, ((const struct setting *)b)->name);
}

bool
show_service_params(FILE *out, struct conf *c, const char *pattern, unsigned flags)
{
	bool any = false;
	for (size_t k = 0; k < c->nlisted; k++) {
		const struct svc *svc = c->svcs[k];
		struct span p = span_str(pattern);
		if (!service_matches(&p, &svc->pub) || svc->nset == 0)
			continue;
		struct setting *sorted = mem_dup(svc->sets, svc->nset * sizeof *sorted);
		qsort(sorted, svc->nset, sizeof *sorted, by_name);
		for (size_t i = 0; i < svc->nset; i++) {
			struct span member = p;
			struct view v = { .c = c, .svc = svc };
			struct err e;
			const char *text = sorted[i].text;
			if (!part_matches(&member, sorted[i].name))
				continue;
			if ((flags & SHOW_EXPAND) != 0 && snap_expand(&v, span_str(text), &text, &e) != RC_OK)
				text = e.why;
			show_member(out, &svc->pub, sorted[i].name, text, flags);
			any = true;
		}
		mem_free(&sorted);
	}
	return any;
}
