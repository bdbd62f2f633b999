/* SPDX-License-Identifier: BSD-2-Clause */
#include "deliver/outmaps.h"

#include "base/mem.h"
#include "deliver/outbody.h"
#include "msg/headermap.h"

enum {
	FIRST_LOOK = 16 * 1024,      /* nearly every header is shorter */
	HEADER_MAX = 64 * 1024 * 1024,
	ARENA_MAX = 16 * 1024 * 1024,
	TEXT_MAX = 64 * 1024,
};

/* RC_OK: *out is the address outside, p NULL when it is the same. */
static enum rc
map_envelope(const struct generic *g, struct job *j, struct span addr, struct span *out, struct err *e)
{
	struct buf scratch;
	struct span now = addr;
	*out = addr;
	if (addr.n == 0)
		return RC_OK;
	buf_init(&scratch, TEXT_MAX);
	enum rc rc = generic_address(g, addr, &scratch, &now, e);
	if (rc == RC_OK && !span_eq(now, addr)) {
		*out = arena_span(&j->arena, now);
		if (j->arena.over)
			rc = err_set(e, RC_TEMP, "too many addresses change");
	}
	buf_fini(&scratch);
	return rc == RC_OK ? RC_OK : RC_TEMP;
}

static enum rc
map_header(void *arg, unsigned flags, const struct mailbox *box, struct buf *scratch, struct span *out, struct err *e)
{
	const struct generic *g = arg;
	struct span now;
	(void)flags;
	if (generic_address(g, box->addr, scratch, &now, e) != RC_OK)
		return RC_TEMP;
	if (!span_eq(now, box->addr))
		*out = now;
	return RC_OK;
}

/* Reads as much as holds the header. *end_out: its octets, without the empty line. */
static enum rc
read_header(const struct job *j, int fd, struct buf *b, size_t *end_out, struct err *e)
{
	size_t want = FIRST_LOOK, seen = 0;
	*end_out = 0;
	while (j->m.length > 0) {
		size_t have = buf_len(b);
		if (want > j->m.length)
			want = (size_t)j->m.length;
		unsigned char *to = buf_reserve(b, want - have);
		if (to == NULL)
			return err_set(e, RC_TEMP, "the header is too long to be changed");
		enum rc rc = outbody_read(fd, j->m.offset + have, to, want - have, e);
		if (rc != RC_OK)
			return rc;
		buf_commit(b, want - have);
		size_t at = span_find(span_from(buf_span(b), seen), SPAN("\r\n\r\n"));
		*end_out = at != SIZE_MAX ? seen + at + 2 : want;
		if (at != SIZE_MAX || want == j->m.length)
			return RC_OK;
		seen = want > 3 ? want - 3 : 0;
		want *= 4;
	}
	return RC_OK;
}

static enum rc
map_content(const struct generic *g, struct job *j, int fd, struct err *e)
{
	struct buf text;
	struct arena arena;
	struct headers h;
	size_t end = 0;
	void *arg;
	memcpy(&arg, &g, sizeof arg); /* only read */
	buf_init(&text, HEADER_MAX);
	enum rc rc = read_header(j, fd, &text, &end, e);
	arena_init(&arena, ARENA_MAX + 8 * end);
	if (rc == RC_OK && headers_parse(&h, span_head(buf_span(&text), end), &arena) == RC_OK) {
		if (checks_has(j->checks, CHECK_HEADER) || checks_has(j->checks, CHECK_MIME))
			rc = outchecks_header(j->checks, &j->log, &h, e);
		if (rc == RC_OK && g != NULL)
			rc = headers_map(&h, (size_t)conf_params(j->conf)->p_header_address_token_limit, map_header, arg, e);
		if (arena.over) { /* for the next headers, too */
			rc = err_set(e, RC_TEMP, "the header becomes too long");
		} else if (rc == RC_PERM) {
			log_warn(&j->log, "this header goes out with the addresses it has inside: %s", e->why);
			rc = RC_OK;
		}
		if (rc == RC_OK && h.is_changed) {
			buf_init(&j->head, HEADER_MAX);
			headers_write(&h, &j->head);
			j->head_skip = end;
			if (j->head.over)
				rc = err_set(e, RC_TEMP, "the header becomes too long");
		}
	}
	arena_fini(&arena);
	buf_fini(&text);
	return rc;
}

enum rc
outmaps_apply(const struct generic *g, struct job *j, int fd, struct err *e)
{
	enum rc rc = g != NULL ? map_envelope(g, j, j->m.sender, &j->sender, e) : RC_OK;
	for (unsigned i = 0; g != NULL && i < j->nrcpt; i++) {
		/* all are asked, also behind one that has to wait: the questions leave together */
		enum rc one = map_envelope(g, j, j->rcpt[i].r.addr, &j->rcpt[i].wire, e);
		rc = one != RC_OK ? one : rc;
	}
	if (fd >= 0) {
		enum rc one = map_content(g, j, fd, e);
		rc = one != RC_OK ? one : rc;
	}
	if (rc != RC_OK)
		buf_fini(&j->head);
	return rc;
}
