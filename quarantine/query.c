/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * query.c - what the index is asked. A list walks one index from the newest message on; what else was asked for is looked at row by row,
 * so that it is known how far the walk came: a page that takes too long ends early, with a cursor. No counting, no offset.
 */
#include "base/clock.h"
#include "base/ipaddr.h"
#include "quarantine/attachments.h"
#include "quarantine/job.h"
#include "quarantine/rows.h"
#include "quarantine/sums.h"

#include <unistd.h>

enum { WORDS_MAX = 16, PREFIX_MIN = 3, FILTER_TEXT_MAX = 256, PAGE_USEC = 300000, LOOK_EVERY = 64, COLUMN_OK = 20, PENDING_MAX = 10000 };

/* Bound values of a list's text. */
enum { AT_HIGH = 1, AT_LOW, AT_MATCH, AT_SENDER, AT_RCPT, AT_CLIENT, AT_CLASS, AT_STATE, AT_SENDER_DOMAIN, AT_RCPT_DOMAIN, AT_ROUND, AT_ATTACHMENT };

struct plan {
	struct buf sql, match, sender_domain, rcpt_domain, name;
	unsigned char sha256[32];
	struct span client;
	bool client_is_name, null_sender;
	bool by_sender_domain, by_rcpt_domain;
	bool by_name, by_sum;            /* of an attachment */
};

/* Something a word can begin with: a phrase without any finds nothing. */
static bool
has_word(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((s.p[i] >= '0' && s.p[i] <= '9') || ((s.p[i] | 0x20) >= 'a' && (s.p[i] | 0x20) <= 'z') || s.p[i] >= 0x80)
			return true;
	return false;
}

/* "a b*" as an expression of FTS5: every word a string of its own, so that nothing in it is an operator. */
static enum rc
add_words(struct buf *match, const char *column, struct span text, struct err *e)
{
	struct span word;
	unsigned n = 0;
	if (text.n > FILTER_TEXT_MAX || !span_is_printable(text))
		return err_set(e, RC_PERM, "the text is too long, or has control characters");
	if (buf_len(match) > 0)
		buf_puts(match, " AND ");
	buf_puts(match, column);
	buf_putc(match, '(');
	while (span_word(&text, " ", &word)) {
		if (!has_word(word))
			continue;
		if (n++ == WORDS_MAX)
			return err_set(e, RC_PERM, "more than %d words", (int)WORDS_MAX);
		buf_puts(match, n > 1 ? " AND \"" : "\"");
		bool is_prefix = word.p[word.n - 1] == '*';
		if (is_prefix && word.n < PREFIX_MIN + 1)
			return err_set(e, RC_PERM, "less than %d letters before \"*\"", (int)PREFIX_MIN); /* would be half of all words */
		for (size_t i = 0; i + is_prefix < word.n; i++) {
			if (word.p[i] == '"')
				buf_putc(match, '"');
			buf_putc(match, word.p[i]);
		}
		buf_puts(match, is_prefix ? "\" *" : "\"");
	}
	buf_putc(match, ')');
	return n > 0 ? RC_OK : err_set(e, RC_PERM, "no word to look for");
}

/* "@example.com" or "example.com": the part that addresses end with, in lower case. */
static bool
domain_of(struct span s, struct buf *out)
{
	if (s.n == 0 || (span_chr(s, '@') != SIZE_MAX && s.p[0] != '@'))
		return false;
	if (s.p[0] != '@')
		buf_putc(out, '@');
	for (size_t i = 0; i < s.n; i++)
		buf_putc(out, s.p[i] >= 'A' && s.p[i] <= 'Z' ? s.p[i] | 0x20 : s.p[i]);
	return true;
}

/* Part of a file name as an expression of FTS5: one string, whose pieces of three letters stand in a row. */
static enum rc
set_name(struct buf *out, struct span text, struct err *e)
{
	size_t letters = 0;
	if (text.n > FILTER_TEXT_MAX - 1 || !span_is_printable(text))
		return err_set(e, RC_PERM, "the file name is too long, or has control characters");
	buf_putc(out, '"');
	for (size_t i = 0; i < text.n; i++) {
		letters += (text.p[i] & 0xc0) != 0x80;
		if (text.p[i] == '"')
			buf_putc(out, '"');
		buf_putc(out, text.p[i]);
	}
	buf_putc(out, '"');
	return letters >= PREFIX_MIN ? RC_OK : err_set(e, RC_PERM, "less than %d letters of a file name", (int)PREFIX_MIN);
}

static enum rc
match_of(struct plan *p, const struct quar_filter *f, struct err *e)
{
	enum rc rc = RC_OK;
	if (f->subject.n > 0)
		rc = add_words(&p->match, "subject : ", f->subject, e);
	if (rc == RC_OK && f->text.n > 0)
		rc = add_words(&p->match, "", f->text, e);
	if (rc == RC_OK && p->by_sender_domain)
		rc = add_words(&p->match, "sender : ", buf_span(&p->sender_domain), e);
	if (rc == RC_OK && p->by_rcpt_domain)
		rc = add_words(&p->match, "rcpt : ", buf_span(&p->rcpt_domain), e);
	if (rc == RC_OK && p->by_name)
		rc = set_name(&p->name, f->attachment, e);
	return rc;
}

#define RCPT_IS "addr=?5 COLLATE NOCASE"
#define SENDER_IS "m.sender=?4 COLLATE NOCASE"
#define ENDS_WITH(column, at) "lower(substr(" column ",-length(" at ")))=" at

static void
put_text(struct plan *p, const struct quar_filter *f)
{
	struct buf *b = &p->sql;
	bool by_rcpt = f->recipient.n > 0 && !p->by_rcpt_domain, by_sender = (f->sender.n > 0 && !p->by_sender_domain) || p->null_sender;
	bool by_state = f->state != QUAR_NONE;
	const char *client = p->client_is_name ? "m.client_name=?6 COLLATE NOCASE" : "m.client_addr=?6 COLLATE NOCASE";
	bool has_words = buf_len(&p->match) > 0;
	enum { BY_SUM, BY_NAME, BY_WORDS, BY_RCPT, BY_SENDER, BY_CLIENT, BY_STATE, BY_CLASS, BY_TIME } driver = p->by_sum ? BY_SUM : p->by_name ? BY_NAME :
	    has_words ? BY_WORDS : by_rcpt ? BY_RCPT : by_sender ? BY_SENDER : p->client.n > 0 ? BY_CLIENT : by_state && f->state != QUAR_HELD ? BY_STATE :
	    f->class != HELD_NONE ? BY_CLASS : BY_TIME;
	buf_puts(b, "SELECT m.n, m.serial, m.arrival, m.class, m.size, m.nrcpt, m.sender, m.client_addr, m.client_name, m.subject, m.sender_from, "
	    "m.message_id, m.reason, m.filter, m.rule, m.signature, m.score, m.helo, m.tls, m.login, (1");
	/* what the walk does not see to */
	if (has_words && driver != BY_WORDS)
		buf_puts(b, " AND EXISTS(SELECT 1 FROM words WHERE words MATCH ?3 AND words.rowid=m.n)");
	if (by_sender && driver != BY_SENDER)
		buf_puts(b, " AND " SENDER_IS);
	if (p->by_sender_domain)
		buf_puts(b, " AND " ENDS_WITH("m.sender", "?9"));
	if (p->client.n > 0 && driver != BY_CLIENT)
		buf_printf(b, " AND %s", client);
	if (f->class != HELD_NONE && driver != BY_CLASS)
		buf_puts(b, " AND m.class=?7");
	if (by_rcpt && driver != BY_RCPT)
		buf_printf(b, " AND EXISTS(SELECT 1 FROM rcpt x WHERE x.n=m.n AND x." RCPT_IS "%s)", by_state ? " AND x.state=?8" : "");
	if (p->by_rcpt_domain)
		buf_printf(b, " AND EXISTS(SELECT 1 FROM rcpt y WHERE y.n=m.n AND " ENDS_WITH("y.addr", "?10") "%s)", by_state ? " AND y.state=?8" : "");
	if (by_state && !by_rcpt && !p->by_rcpt_domain && driver != BY_STATE)
		buf_puts(b, " AND EXISTS(SELECT 1 FROM rcpt z WHERE z.n=m.n AND z.state=?8)");
	buf_puts(b, ") FROM ");
	switch (driver) {
	case BY_SUM:
		buf_puts(b, "attachment t INDEXED BY attachment_sha256 CROSS JOIN msg m ON m.n=t.n WHERE t.sha256=?12 AND t.n<?1 AND t.n>=?2 ORDER BY t.n DESC");
		break;
	case BY_NAME:
		buf_puts(b, "names CROSS JOIN msg m ON m.n=names.rowid WHERE names MATCH ?12 AND names.rowid<?1 AND names.rowid>=?2 ORDER BY names.rowid DESC");
		break;
	case BY_WORDS:
		buf_puts(b, "words CROSS JOIN msg m ON m.n=words.rowid WHERE words MATCH ?3 AND words.rowid<?1 AND words.rowid>=?2 ORDER BY words.rowid DESC");
		break;
	case BY_RCPT:
		if (f->round != 0) { /* what he was not told of: of this time, but not what came behind the round's back, and what did before */
			buf_puts(b, "(SELECT n FROM rcpt r INDEXED BY rcpt_addr WHERE r." RCPT_IS " AND r.state=?8 AND r.n<?1 AND r.n>=?2 AND NOT EXISTS(SELECT 1 "
			    "FROM late l WHERE l.addr=?5 AND l.n=r.n AND l.at>=?11) UNION SELECT l.n FROM late l WHERE l.addr=?5 AND l.at<?11 AND l.n<?1 AND "
			    "EXISTS(SELECT 1 FROM rcpt r WHERE r.n=l.n AND r." RCPT_IS " AND r.state=?8)) q CROSS JOIN msg m ON m.n=q.n ORDER BY m.n DESC");
			break;
		}
		buf_printf(b, "rcpt r INDEXED BY rcpt_addr CROSS JOIN msg m ON m.n=r.n WHERE r." RCPT_IS "%s AND r.n<?1 AND r.n>=?2 ORDER BY r.n DESC",
		    by_state ? " AND r.state=?8" : "");
		break;
	case BY_SENDER:
		buf_puts(b, "msg m INDEXED BY msg_sender WHERE " SENDER_IS " AND m.n<?1 AND m.n>=?2 ORDER BY m.n DESC");
		break;
	case BY_CLIENT:
		buf_printf(b, "msg m INDEXED BY %s WHERE %s%s AND m.n<?1 AND m.n>=?2 ORDER BY m.n DESC", p->client_is_name ? "msg_client_name" : "msg_client",
		    client, p->client_is_name ? " AND m.client_name<>''" : "");
		break;
	case BY_STATE:
		buf_puts(b, "rcpt r INDEXED BY rcpt_state CROSS JOIN msg m ON m.n=r.n WHERE r.state=?8 AND r.state<>1 AND r.n<?1 AND r.n>=?2 ORDER BY r.n DESC");
		break;
	case BY_CLASS:
		buf_puts(b, "msg m INDEXED BY msg_class WHERE m.class=?7 AND m.n<?1 AND m.n>=?2 ORDER BY m.n DESC");
		break;
	case BY_TIME:
		buf_puts(b, "msg m NOT INDEXED WHERE m.n<?1 AND m.n>=?2 ORDER BY m.n DESC");
		break;
	}
}

/* ---- rows ---- */

static void
get_row(sqlite3_stmt *s, struct arena *a, const uint64_t retention[HELD_CLASSES], struct quar_row *r)
{
	struct span *const texts[] = { &r->sender, &r->client_addr, &r->client_name, &r->subject, &r->from, &r->message_id, &r->reason, &r->filter,
		&r->rule, &r->signature, &r->score, &r->helo, &r->tls, &r->login };
	uint64_t n = qdb_column(s, 0), class = qdb_column(s, 3);
	r->id = (struct spool_id){ .usec = qdb_usec(n), .serial = (uint32_t)qdb_column(s, 1) };
	r->arrival = qdb_column(s, 2);
	r->class = class < HELD_CLASSES ? (enum held_class)class : HELD_NONE;
	r->size = qdb_column(s, 4);
	r->nrcpt = (uint32_t)qdb_column(s, 5);
	for (unsigned i = 0; i < NELEMS(texts); i++)
		*texts[i] = arena_span(a, qdb_column_text(s, 6 + (int)i));
	r->expires = retention[r->class] == 0 ? 0 : r->id.usec + retention[r->class];
}

/* Recipients of a row that is shown; the one who was asked for is among them. */
static enum rc
get_shown(struct qdb *d, struct quar_job *j, uint64_t n, struct quar_row *r)
{
	struct arena *a = &j->arena;
	enum rc rc = rows_rcpt(d, n, a, QUAR_PAGE_RCPT, &r->rcpt, NULL, &r->nshown, &j->why);
	struct span want = j->filter.recipient;
	if (rc != RC_OK || want.n == 0 || span_chr(want, '@') == SIZE_MAX || want.p[0] == '@')
		return rc;
	for (uint32_t i = 0; i < r->nshown; i++) {
		if (!span_caseeq(r->rcpt[i].addr, want))
			continue;
		struct quar_rcpt first = r->rcpt[0];
		r->rcpt[0] = r->rcpt[i];
		r->rcpt[i] = first;
		return RC_OK;
	}
	sqlite3_stmt *s = qdb_stmt(d, SQL_RCPT_ONE, &j->why);
	if (s == NULL)
		return RC_TEMP;
	qdb_int(s, 1, n);
	qdb_text(s, 2, want);
	rc = qdb_step(d, s, &j->why);
	if (rc == RC_OK && r->nshown > 0) {
		uint64_t state = qdb_column(s, 2);
		r->rcpt[0] = (struct quar_rcpt){ .addr = arena_span(a, qdb_column_text(s, 1)), .state = state < QUAR_STATES ? (enum quar_state)state : QUAR_NONE,
			.added = qdb_column(s, 3) != 0, .changed = qdb_column(s, 9), .by = arena_span(a, qdb_column_text(s, 10)),
			.copy = { .usec = qdb_column(s, 7), .serial = (uint32_t)qdb_column(s, 8) } };
	}
	(void)sqlite3_reset(s);
	return rc == RC_TEMP ? RC_TEMP : RC_OK;
}

static enum rc
get_attachments(struct qdb *d, struct quar_job *j, uint64_t n, struct quar_row *r)
{
	struct attachments a;
	enum rc rc = attachments_get(d, n, &j->arena, &a, &j->why);
	if (rc != RC_OK || a.n == 0)
		return rc;
	struct held_part *list_ = arena_zalloc(&j->arena, a.n * sizeof *list_);
	if (list_ == NULL)
		return err_set(&j->why, RC_TEMP, "the page is too large");
	memcpy(list_, a.part, a.n * sizeof *list_);
	r->attachments = list_;
	r->nattachments = a.n;
	return RC_OK;
}

static void
bind(sqlite3_stmt *s, const struct plan *p, const struct quar_filter *f)
{
	qdb_int(s, AT_HIGH, f->after != 0 ? f->after : f->until != 0 ? qdb_n(f->until) : INT64_MAX);
	qdb_int(s, AT_LOW, qdb_n(f->since));
	qdb_text(s, AT_MATCH, buf_span(&p->match));
	qdb_text(s, AT_SENDER, p->null_sender ? SPAN_EMPTY : f->sender);
	qdb_text(s, AT_RCPT, f->recipient);
	qdb_text(s, AT_CLIENT, p->client);
	qdb_int(s, AT_CLASS, f->class);
	qdb_int(s, AT_STATE, f->state);
	qdb_text(s, AT_SENDER_DOMAIN, buf_span(&p->sender_domain));
	qdb_text(s, AT_RCPT_DOMAIN, buf_span(&p->rcpt_domain));
	if (f->round != 0)
		qdb_int(s, AT_ROUND, f->round);
	if (p->by_sum)
		qdb_blob(s, AT_ATTACHMENT, span_of(p->sha256, sizeof p->sha256));
	else if (p->by_name)
		qdb_text(s, AT_ATTACHMENT, buf_span(&p->name));
}

static enum rc
walk(struct qdb *d, struct quar_job *j, sqlite3_stmt *s)
{
	struct quar_req *r = &j->res;
	uint64_t until = clock_mono() + PAGE_USEC, seen = 0, last = 0;
	enum rc rc;
	r->rows = arena_zalloc(&j->arena, j->limit * sizeof *r->rows);
	if (r->rows == NULL)
		return err_set(&j->why, RC_TEMP, "no memory for a page");
	while ((rc = qdb_step(d, s, &j->why)) == RC_OK) {
		uint64_t n = qdb_column(s, 0);
		bool is_again = seen > 0 && n == last; /* found by two of its recipients */
		seen++;
		last = n;
		if (!is_again && qdb_column(s, COLUMN_OK) != 0) {
			struct quar_row *row = &r->rows[r->nrows++];
			get_row(s, &j->arena, j->retention, row);
			if ((rc = get_shown(d, j, n, row)) != RC_OK || (j->filter.round == 0 && (rc = get_attachments(d, j, n, row)) != RC_OK))
				break;
		}
		if (r->nrows == j->limit || (seen % LOOK_EVERY == 0 && clock_mono() > until)) {
			r->more = true;
			r->cursor = last;
			break;
		}
		if (j->arena.over)
			return err_set(&j->why, RC_TEMP, "the page is too large");
	}
	return rc == RC_NONE ? RC_OK : rc;
}

static enum rc
list(struct qdb *d, struct quar_job *j)
{
	const struct quar_filter *f = &j->filter;
	struct plan p = { .client = f->client };
	struct ipaddr ip;
	sqlite3_stmt *s = NULL;
	buf_init(&p.sql, 8192);
	buf_init(&p.match, 8192);
	buf_init(&p.sender_domain, 1024);
	buf_init(&p.rcpt_domain, 1024);
	buf_init(&p.name, 1024);
	p.null_sender = span_eq_str(f->sender, "<>");
	p.by_sender_domain = !p.null_sender && domain_of(f->sender, &p.sender_domain);
	p.by_rcpt_domain = domain_of(f->recipient, &p.rcpt_domain);
	p.client_is_name = f->client.n > 0 && ipaddr_parse(f->client, &ip) != RC_OK;
	p.by_sum = attachment_is_sum(f->attachment, p.sha256);
	p.by_name = f->attachment.n > 0 && !p.by_sum;
	j->limit = f->limit == 0 ? 1 : f->limit > QUAR_PAGE_MAX ? QUAR_PAGE_MAX : f->limit;
	enum rc rc = match_of(&p, f, &j->why);
	if (rc == RC_OK) {
		put_text(&p, f);
		if (p.sql.over || p.match.over || p.sender_domain.over || p.rcpt_domain.over)
			rc = err_set(&j->why, RC_PERM, "the filter is too long");
	}
	if (rc == RC_OK) {
		const char *text = buf_cstr(&p.sql);
		int r = sqlite3_prepare_v2(d->db, text, -1, &s, NULL);
		if (r != SQLITE_OK) {
			rc = qdb_failed(d, r, &j->why);
		} else {
			bind(s, &p, f);
			rc = walk(d, j, s);
		}
	}
	(void)sqlite3_finalize(s);
	buf_fini(&p.sql);
	buf_fini(&p.match);
	buf_fini(&p.sender_domain);
	buf_fini(&p.rcpt_domain);
	buf_fini(&p.name);
	return rc;
}

/* ---- one message ---- */

/* Sizes and sums of the parts: those the index has, the others from the content. Then what the row shows of attachments is as complete. */
static enum rc
sum_parts(struct qdb *d, struct quar_job *j, uint64_t n, int fd, uint64_t content)
{
	struct held *h = &j->res.held;
	struct quar_row *r = j->res.rows;
	struct held_part *parts = arena_zalloc(&j->arena, (h->nparts + 1u) * sizeof *parts);
	struct attachments a;
	struct sums s;
	enum rc rc = attachments_get(d, n, &j->arena, &a, &j->why);
	if (parts == NULL || rc != RC_OK)
		return RC_TEMP;
	if (h->nparts > 0)
		memcpy(parts, h->parts, h->nparts * sizeof *parts);
	h->parts = parts;
	for (uint32_t i = 0; i < a.n; i++) {
		struct held_part *p = a.number[i] < h->nparts ? &parts[a.number[i]] : NULL;
		if (p == NULL || p->is_summed || !a.part[i].is_summed || !span_eq(p->name, a.part[i].name))
			continue;
		p->is_summed = true;
		p->size = a.part[i].size;
		memcpy(p->sha256, a.part[i].sha256, sizeof p->sha256);
	}
	sums_begin(&s, parts, h->nparts, content);
	if (sums_some(&s, fd, UINT64_MAX) != RC_OK)
		(void)err_set(&j->why, RC_OK, "its content cannot be read");
	sums_fini(&s);
	attachments_of(&a, parts, h->nparts);
	struct held_part *list_ = arena_zalloc(&j->arena, (a.n + 1u) * sizeof *list_);
	if (list_ == NULL)
		return RC_TEMP;
	memcpy(list_, a.part, a.n * sizeof *list_);
	r->attachments = list_;
	r->nattachments = a.n;
	return RC_OK;
}

static enum rc
get(struct qdb *d, struct qfiles *files, struct quar_job *j)
{
	struct quar_req *r = &j->res;
	uint64_t n;
	enum rc rc = rows_find(d, &j->id, &n, &j->why);
	if (rc != RC_OK)
		return rc == RC_NONE ? err_set(&j->why, RC_NONE, "no such message") : rc;
	sqlite3_stmt *s = qdb_stmt(d, SQL_MSG_ROW, &j->why);
	if (s == NULL)
		return RC_TEMP;
	qdb_int(s, 1, n);
	if ((rc = qdb_step(d, s, &j->why)) != RC_OK)
		return rc;
	r->rows = arena_zalloc(&j->arena, sizeof *r->rows);
	r->nrows = 1;
	if (r->rows != NULL)
		get_row(s, &j->arena, j->retention, r->rows);
	(void)sqlite3_reset(s);
	if (r->rows == NULL || (rc = rows_rcpt(d, n, &j->arena, QUAR_RCPT_MAX * 2, &r->rows->rcpt, NULL, &r->rows->nshown, &j->why)) != RC_OK)
		return r->rows == NULL ? RC_TEMP : rc;
	if ((rc = get_attachments(d, j, n, r->rows)) != RC_OK)
		return rc;
	r->rcpt = r->rows->rcpt;
	r->nrcpt = r->rows->nrcpt = r->rows->nshown; /* all there are, whatever a damaged row says */
	/* envelope, trace and parts are in the file; without it the row still says something */
	struct qview v;
	struct err why;
	int fd = -1;
	if (qfile_view(files, &j->id, &j->tail, &j->arena, &v, NULL, &fd, &why) == RC_OK) {
		r->env = v.env;
		if (held_get(v.env.held, &j->arena, &r->held) != RC_OK)
			r->held = (struct held){ .class = HELD_NONE };
		else if (j->flag)
			rc = sum_parts(d, j, n, fd, v.c.length);
		close(fd);
	} else {
		(void)err_set(&j->why, RC_OK, "%s", why.why);
	}
	return rc;
}

static enum rc
content(struct qfiles *files, struct quar_job *j)
{
	struct qview v;
	enum rc rc = qfile_view(files, &j->id, &j->tail, &j->arena, &v, NULL, &j->res.fd, &j->why);
	if (rc == RC_OK)
		rc = qfile_sum(j->res.fd, &v, &j->why);
	if (rc != RC_OK && j->res.fd >= 0) {
		close(j->res.fd);
		j->res.fd = -1;
	}
	if (rc == RC_OK)
		j->res.length = v.c.length;
	return rc == RC_NONE ? err_set(&j->why, RC_NONE, "no such message") : rc;
}

/* ---- others ---- */

static enum rc
stats(struct qdb *d, struct quar_job *j)
{
	sqlite3_stmt *s = qdb_stmt(d, SQL_STAT_GET, &j->why);
	enum rc rc = RC_TEMP;
	if (s == NULL)
		return RC_TEMP;
	while ((rc = qdb_step(d, s, &j->why)) == RC_OK) {
		uint64_t class = qdb_column(s, 0);
		if (class < HELD_CLASSES)
			j->res.by_class[class] = (struct quar_stat){ .messages = qdb_column(s, 1), .bytes = qdb_column(s, 2) };
	}
	if (rc != RC_NONE || (s = qdb_stmt(d, SQL_MSG_ENDS, &j->why)) == NULL)
		return RC_TEMP;
	if ((rc = qdb_step(d, s, &j->why)) == RC_OK) {
		j->res.oldest = qdb_usec(qdb_column(s, 0));
		j->res.newest = qdb_usec(qdb_column(s, 1));
	}
	(void)sqlite3_reset(s);
	return rc;
}

static enum rc
pending(struct qdb *d, struct quar_job *j)
{
	sqlite3_stmt *s = qdb_stmt(d, SQL_RCPT_RELEASING, &j->why);
	enum rc rc;
	struct quar_pending *list_ = arena_zalloc(&j->arena, PENDING_MAX * sizeof *list_);
	if (s == NULL || list_ == NULL)
		return RC_TEMP;
	while ((rc = qdb_step(d, s, &j->why)) == RC_OK && j->res.n < PENDING_MAX)
		list_[j->res.n++] = (struct quar_pending){ .id = { qdb_usec(qdb_column(s, 0)), (uint32_t)qdb_column(s, 1) },
			.copy = { qdb_column(s, 2), (uint32_t)qdb_column(s, 3) }, .since = qdb_column(s, 4) };
	(void)sqlite3_reset(s);
	j->res.releasing = list_;
	return rc == RC_TEMP ? rc : RC_OK;
}

static enum rc
told_of(struct qdb *d, struct quar_job *j, struct span addr, struct quar_told *out)
{
	sqlite3_stmt *s = qdb_stmt(d, SQL_TOLD_GET, &j->why);
	if (s == NULL)
		return RC_TEMP;
	*out = (struct quar_told){ .addr = addr };
	qdb_text(s, 1, addr);
	enum rc rc = qdb_step(d, s, &j->why);
	if (rc == RC_OK)
		out->told = qdb_column(s, 0);
	(void)sqlite3_reset(s);
	if (rc == RC_TEMP || (s = qdb_stmt(d, SQL_TOLD_COUNT, &j->why)) == NULL)
		return RC_TEMP;
	qdb_text(s, 1, addr);
	qdb_int(s, 2, qdb_n(out->told));
	qdb_int(s, 3, qdb_n(j->upto));
	qdb_int(s, 4, j->upto);
	rc = qdb_step(d, s, &j->why);
	out->messages = rc == RC_OK ? qdb_column(s, 0) : 0;
	(void)sqlite3_reset(s);
	return rc;
}

/* From one address to the next in the index of recipients. */
static enum rc
told_list(struct qdb *d, struct quar_job *j)
{
	struct span at = j->who;
	struct buf next;
	uint64_t until = clock_mono() + 2 * PAGE_USEC;
	enum rc rc = RC_OK;
	buf_init(&next, 4096);
	j->limit = j->limit == 0 ? 1 : j->limit > QUAR_PAGE_MAX ? QUAR_PAGE_MAX : j->limit;
	j->res.told = arena_zalloc(&j->arena, (j->limit + 1) * sizeof *j->res.told);
	while (rc == RC_OK && j->res.told != NULL) {
		sqlite3_stmt *s = qdb_stmt(d, SQL_TOLD_NEXT, &j->why);
		if (s == NULL) {
			rc = RC_TEMP;
			break;
		}
		qdb_text(s, 1, at);
		if ((rc = qdb_step(d, s, &j->why)) != RC_OK)
			break;
		struct quar_told t;
		buf_reset(&next);
		buf_put(&next, qdb_column_text(s, 0));
		(void)sqlite3_reset(s);
		at = buf_span(&next);
		if ((rc = told_of(d, j, at, &t)) != RC_OK)
			break;
		/* when it takes long, one with nothing new ends the page */
		bool is_late = clock_mono() > until;
		if (t.messages > 0 || is_late) {
			t.addr = arena_span(&j->arena, at);
			j->res.told[j->res.n++] = t;
		}
		if (j->res.n == j->limit || is_late) {
			j->res.more = true;
			break;
		}
	}
	buf_fini(&next);
	return rc == RC_NONE ? RC_OK : rc;
}

/* SQLite's own look at all pages. */
static enum rc
check_index(struct qdb *d, struct quar_job *j)
{
	enum { LINES = 20 };
	sqlite3_stmt *s = NULL;
	int r = sqlite3_prepare_v2(d->db, "PRAGMA quick_check(20)", -1, &s, NULL);
	if (r != SQLITE_OK)
		return qdb_failed(d, r, &j->why);
	struct quar_finding *list_ = arena_zalloc(&j->arena, LINES * sizeof *list_);
	while (list_ != NULL && (r = sqlite3_step(s)) == SQLITE_ROW && j->res.n < LINES) {
		struct span text = qdb_column_text(s, 0);
		if (span_eq_str(text, "ok"))
			continue;
		struct buf clean;
		buf_init(&clean, 600);
		buf_put_safe(&clean, text, 500, true);
		list_[j->res.n++] = (struct quar_finding){ .flaw = QUAR_FLAW_INDEX, .name = SPAN("index.db"), .detail = arena_span(&j->arena, buf_span(&clean)) };
		buf_fini(&clean);
	}
	(void)sqlite3_finalize(s);
	j->res.findings = list_;
	if (r != SQLITE_DONE && r != SQLITE_ROW)
		(void)qdb_failed(d, r, &j->why);
	if (j->res.n > 0)
		d->is_bad = true;
	j->res.more = true;
	j->res.cursor = 1;
	return RC_OK;
}

void
query_run(struct qdb *d, struct qfiles *files, struct quar_job *j)
{
	switch (j->kind) {
	case QJOB_GET: j->rc = get(d, files, j); break;
	case QJOB_LIST: j->rc = list(d, j); break;
	case QJOB_CONTENT: j->rc = content(files, j); break;
	case QJOB_STATS: j->rc = stats(d, j); break;
	case QJOB_PENDING: j->rc = pending(d, j); break;
	case QJOB_TOLD_LIST: j->rc = told_list(d, j); break;
	case QJOB_CHECK_INDEX: j->rc = check_index(d, j); break;
	case QJOB_PUT: case QJOB_BEGIN: case QJOB_FINISH: case QJOB_UNDO: case QJOB_OUTCOME: case QJOB_DELETE: case QJOB_EXPIRE: case QJOB_ALLOW_ADD:
	case QJOB_ALLOW_REMOVE: case QJOB_TOLD_BEGIN: case QJOB_TOLD_SET: case QJOB_CHECK: case QJOB_ALLOW_LIST:
		BUG("not the reader's");
	}
}
