/* SPDX-License-Identifier: BSD-2-Clause */
#include "filters/attachments/search.h"

#include "base/mem.h"

enum { ARENA_BASE = 16 << 20, ARENA_PER_PART = 16 * 1024, CHAIN_FIELD = 80 };

/* ---- parts ---- */

void
search_problem(struct search *s, const char *why)
{
	if (s->problem == NULL)
		s->problem = why;
}

bool
search_count_member(struct search *s)
{
	if (s->members < s->limits.archive_members) {
		s->members++;
		return true;
	}
	search_problem(s, "too many members of archives");
	return false;
}

bool
search_count_unpacked(struct search *s, uint64_t octets)
{
	if (octets <= s->limits.unpacked && s->unpacked <= s->limits.unpacked - octets) {
		s->unpacked += octets;
		return true;
	}
	search_problem(s, "archives are too large when unpacked");
	return false;
}

static const struct span *
join(struct search *s, const struct span *a, size_t na, const struct span *b, size_t nb, size_t *n_out)
{
	struct span *list = arena_alloc(&s->arena, (na + nb + 1) * sizeof *list);
	size_t n = 0;
	if (list == NULL) {
		search_problem(s, "too much to read");
		return a;
	}
	for (size_t i = 0; i < na + nb; i++) {
		struct span x = i < na ? a[i] : b[i - na];
		size_t k = 0;
		while (k < n && !span_eq(list[k], x))
			k++;
		if (k == n)
			list[n++] = x;
	}
	*n_out = n;
	return list;
}

void
search_merge(struct search *s, uint32_t part, const struct reading *r)
{
	struct search_part *p = &s->parts[part];
	if (r->is_over)
		search_problem(s, "names of an attachment are too many or too long");
	if (r->nnames > 0)
		p->item.names = join(s, p->item.names, p->item.nnames, r->names, r->nnames, &p->item.nnames);
	if (r->ntypes > 0)
		p->item.types = join(s, p->item.types, p->item.ntypes, r->types, r->ntypes, &p->item.ntypes);
	p->item.is_deceptive |= r->is_deceptive;
	p->ctes |= r->ctes;
	if (p->shown.n == 0 && p->item.nnames > 0)
		p->shown = p->item.names[0];
}

uint32_t
search_add(struct search *s, const struct reading *r, enum attachment_where where, uint32_t owner)
{
	if (s->entities >= s->limits.parts || s->arena.over) {
		search_problem(s, "too many parts");
		return SEARCH_NOWHERE;
	}
	s->entities += where != ATTACHMENT_MEMBER; /* those are counted where they are read */
	if (s->nparts == s->cap) {
		s->cap = s->cap > 0 ? s->cap * 2 : 16;
		s->parts = mem_reallocarray(s->parts, s->cap, sizeof *s->parts);
	}
	uint32_t at = (uint32_t)s->nparts++;
	s->parts[at] = (struct search_part){ .item = { .where = where }, .owner = owner != SEARCH_NOWHERE ? owner : at };
	search_merge(s, at, r);
	return at;
}

/* ---- the flat reading ---- */

static bool
is_blank(unsigned char c)
{
	return c == ' ' || c == '\t';
}

size_t
search_next_line(struct span m, size_t pos)
{
	while (pos < m.n && m.p[pos] != '\n' && m.p[pos] != '\r')
		pos++;
	if (pos < m.n)
		pos += m.p[pos] == '\r' && pos + 1 < m.n && m.p[pos + 1] == '\n' ? 2 : 1;
	return pos;
}

static bool
is_delimiter(struct span m, size_t pos)
{
	return pos + 2 <= m.n && m.p[pos] == '-' && m.p[pos + 1] == '-';
}

struct block {
	size_t end;                  /* of its lines */
	size_t body, body_late;
	bool has_content;            /* a Content-* field */
};

/* The header block at pos: to an empty line, the next delimiter or the end. */
static struct block
find_block(struct span m, size_t pos)
{
	struct block b = { .body = SIZE_MAX };
	for (size_t line = pos; ; ) {
		if (line >= m.n || is_delimiter(m, line)) {
			b.end = line < m.n ? line : m.n;
			b.body_late = b.end;
			break;
		}
		size_t next = search_next_line(m, line), k = line;
		while (k < next && is_blank(m.p[k]))
			k++;
		bool is_empty = k == next || m.p[k] == '\n' || m.p[k] == '\r';
		if (is_empty && k == line) {
			b.end = line;
			b.body_late = next;
			break;
		}
		if (is_empty && b.body == SIZE_MAX)
			b.body = next;
		size_t name = line == pos ? k : line; /* blanks before the first field fold nothing */
		if (name < next && (m.p[name] | 0x20) == 'c' && span_casestarts(span_from(m, name), SPAN("content-")))
			b.has_content = true;
		line = next;
	}
	if (b.body == SIZE_MAX)
		b.body = b.body_late;
	return b;
}

/* "Name:" at the beginning of a line. */
static bool
is_field(struct span m, size_t pos)
{
	size_t i = pos;
	while (i < m.n && i - pos < CHAIN_FIELD && m.p[i] > ' ' && m.p[i] < 0x7f && m.p[i] != ':')
		i++;
	while (i < m.n && i - pos < CHAIN_FIELD && is_blank(m.p[i]))
		i++;
	return i > pos && i < m.n && m.p[i] == ':';
}

static size_t
find_delimiter(struct span m, size_t pos)
{
	while (pos < m.n) { /* encoded content has few dashes */
		size_t at = span_chr(span_from(m, pos), '-');
		if (at == SIZE_MAX)
			break;
		pos += at;
		if (is_delimiter(m, pos) && (pos == 0 || m.p[pos - 1] == '\n' || m.p[pos - 1] == '\r'))
			return pos;
		while (pos < m.n && m.p[pos] == '-')
			pos++;
	}
	return m.n;
}

/* Without the line end before a delimiter. */
static size_t
content_end(struct span m, size_t from, size_t delimiter)
{
	size_t end = delimiter;
	if (end > from && m.p[end - 1] == '\n')
		end--;
	if (end > from && m.p[end - 1] == '\r')
		end--;
	return end;
}

static void
add_entity(struct search *s, struct span m, size_t before, size_t head, const struct block *b, size_t delimiter, uint32_t owner, struct reading *r)
{
	uint32_t at = search_add(s, r, ATTACHMENT_PART, owner);
	if (at == SEARCH_NOWHERE)
		return;
	struct search_part *p = &s->parts[at];
	p->delimiter = before;
	p->head = head;
	p->body = b->body;
	p->body_late = b->body_late;
	p->end = content_end(m, b->body, delimiter);
	if (p->body_late > p->end)
		p->body_late = p->body;
	p->is_container = reading_has_type(r, "multipart") || reading_has_type(r, "message/rfc822") || reading_has_type(r, "message/global") ||
	    reading_has_type(r, "message/news");
}

/* The header block at pos, behind the delimiter before it, and, when its content is a message, the blocks that begin where that one ends; each becomes a part. */
static void
read_chain(struct search *s, struct span m, size_t before, size_t pos, uint32_t owner)
{
	size_t delimiter = find_delimiter(m, pos);
	for (unsigned depth = 0; pos < m.n; depth++) {
		struct block b = find_block(m, pos);
		struct reading r;
		if (!b.has_content) {
			/* the message in a digest, or a part without a header: its own header may say more */
			if (depth > 0 || b.body <= pos || b.body >= m.n || !is_field(m, b.body))
				return;
			pos = b.body;
			continue;
		}
		reading_init(&r, &s->arena);
		reading_header(&r, span_of(m.p + pos, b.end - pos));
		add_entity(s, m, before, pos, &b, delimiter, owner, &r);
		if (s->entities >= s->limits.parts || b.body <= pos || b.body >= m.n || !is_field(m, b.body))
			return;
		pos = b.body;
	}
}

/* Only a type that all agree about, and that has no parts, makes a message one piece. */
static bool
is_composite(const struct reading *r)
{
	if (r->ntypes == 0)
		return r->counts[0] > 0; /* a Content-Type that nobody can read */
	if (r->has_boundary || r->ntypes > 1)
		return true;
	return span_chr(r->types[0], '/') == SIZE_MAX || reading_has_type(r, "multipart") || reading_has_type(r, "message");
}

void
search_message(struct search *s, struct span m, uint32_t owner, bool has_parts)
{
	if (s->depth >= s->limits.depth) {
		search_problem(s, "messages are nested too deep");
		return;
	}
	s->depth++;
	size_t first = s->nparts;
	struct reading r;
	struct block b = find_block(m, 0);
	reading_init(&r, &s->arena);
	reading_header(&r, span_head(m, b.end));
	bool composite = has_parts || is_composite(&r);
	s->is_composite |= composite;
	if (composite) {
		read_chain(s, m, SIZE_MAX, 0, owner);
		for (size_t at = find_delimiter(m, 0); at < m.n && s->entities < s->limits.parts; at = find_delimiter(m, search_next_line(m, at)))
			read_chain(s, m, at, search_next_line(m, at), owner);
		if (s->entities >= s->limits.parts)
			search_problem(s, "too many parts");
		else
			tree_read(s, m, first, owner);
	} else {
		uint32_t at = search_add(s, &r, ATTACHMENT_PART, owner);
		if (at != SEARCH_NOWHERE) {
			struct search_part *p = &s->parts[at];
			p->delimiter = SIZE_MAX;
			p->body = b.body;
			p->body_late = b.body_late;
			p->end = m.n;
		}
	}
	size_t last = s->nparts;
	for (size_t i = first; i < last; i++)
		content_part(s, m, (uint32_t)i);
	text_files(s, m, owner == SEARCH_NOWHERE ? 0 : SIZE_MAX, owner);
	s->depth--;
}

void
search_run(struct search *s, struct span message, const struct search_limits *limits)
{
	memset(s, 0, sizeof *s);
	s->message = message;
	s->limits = *limits;
	arena_init(&s->arena, ARENA_BASE + (size_t)limits->parts * ARENA_PER_PART);
	search_message(s, message, SEARCH_NOWHERE, false);
	if (s->arena.over)
		search_problem(s, "too much to read");
}

void
search_fini(struct search *s)
{
	arena_fini(&s->arena);
	mem_free(&s->parts);
}
