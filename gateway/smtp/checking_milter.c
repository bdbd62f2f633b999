/* SPDX-License-Identifier: BSD-2-Clause */
/* milter_header_checks. */
#include "smtp/checking_private.h"

enum { ROWS_LOOKED_AT = 256 }; /* for one of a milter's: what moved further is looked at as new */

/* A row of theirs: out is what it shall be; NULL: it is only asked about. */
static enum rc
check_row(struct sess *s, const struct header *row, struct buf *out, struct err *e)
{
	struct checking *k = s->tx->checking;
	struct check_verdict v = { .action = CHECK_DUNNO };
	struct err why = { 0 };
	struct span key = checking_row_key(row, &k->key);
	if (!k->is_stopped && checks_ask(s->svc->check.milter, CHECK_HEADER, key, &k->scratch, &v, &why) != RC_OK)
		return err_set(e, RC_TEMP, "milter_header_checks map lookup problem -- message not accepted, try again later: %.150s", why.why);
	if (out == NULL)
		return RC_OK;
	if (v.action != CHECK_DUNNO || v.warning[0] != '\0')
		checking_act(s, &v, "milter-header-", "header", key);
	if (v.action == CHECK_REPLACE)
		check_write(out, v.text, true);
	else if (v.action != CHECK_STRIP && v.action != CHECK_IGNORE)
		buf_put(out, row->text);
	return RC_OK;
}

/* Is there a row like it among the old ones that has not been found before? Rows keep their order but for a few. */
static bool
was_there(struct headers *old, size_t *from, struct span text)
{
	for (size_t n = 0; n < old->n; n++) {
		size_t i = (*from + n) % old->n;
		if (!old->row[i].is_gone && span_eq(old->row[i].text, text)) {
			old->row[i].is_gone = true;
			*from = i + 1;
			return true;
		}
		if (n == ROWS_LOOKED_AT)
			break;
	}
	return false;
}

/* Asks about what is new, before anything of it happens: a table may have to be waited for. Rows that were there are marked: gone in old. */
static enum rc
ask_new_rows(struct sess *s, struct headers *old, struct headers *new, struct err *e)
{
	size_t from = 0;
	enum rc rc = RC_OK;
	for (size_t i = 0; i < new->n; i++) {
		new->row[i].is_gone = was_there(old, &from, new->row[i].text); /* nothing to ask */
		if (new->row[i].is_gone || check_row(s, &new->row[i], NULL, e) == RC_OK)
			continue;
		rc = RC_TEMP;
		if (!map_asked() || !map_asks_more())
			break;
	}
	return rc;
}

enum rc
checking_milter_header(struct sess *s, struct span before, struct span now, struct buf *out, struct err *e)
{
	struct arena arena;
	struct headers old, new;
	struct buf lines;
	if (s->tx->checking == NULL)
		checking_begin(s);
	arena_init(&arena, 4 * (before.n + now.n) * sizeof(struct header) + 64 * 1024);
	buf_init(&lines, 2 * now.n + 16); /* theirs may have LF alone */
	struct line_data d = { .keep_stray_cr = true };
	(void)line_data_feed(&d, now, &lines);
	line_data_finish(&d, &lines);
	enum rc rc = headers_parse(&old, before, &arena) == RC_OK && headers_parse(&new, buf_span(&lines), &arena) == RC_OK ? RC_OK :
	    err_set(e, RC_TEMP, "milter_header_checks: the header cannot be taken apart");
	if (rc == RC_OK)
		rc = ask_new_rows(s, &old, &new, e);
	for (size_t i = 0; rc == RC_OK && i < new.n; i++) {
		if (new.row[i].is_gone)
			buf_put(out, new.row[i].text);
		else
			rc = check_row(s, &new.row[i], out, e);
	}
	if (rc == RC_OK && out->over)
		rc = err_set(e, RC_TEMP, "milter_header_checks: the header grows too long");
	buf_fini(&lines);
	arena_fini(&arena);
	return rc;
}
