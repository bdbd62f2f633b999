/* SPDX-License-Identifier: BSD-2-Clause */
#include "quarantine/view.h"

#include "base/clock.h"
#include "msg/addr.h"
#include "msg/xtext.h"
#include "quarantine/escape.h"

#include <time.h>

enum { SHOWN_MAX = 1024, SUBJECT_MAX = 200, TRACE_MAX = 64 * 1024, ADDR_TEXT_MAX = 16 * 1024 };

/* ---- small writers ---- */

void
view_time(struct buf *out, uint64_t usec)
{
	char text[64] = "";
	struct tm tm;
	time_t sec = (time_t)(usec / USEC_PER_SEC);
	if (localtime_r(&sec, &tm) != NULL)
		strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S %z", &tm);
	buf_puts(out, text);
}

static void
address_text(struct buf *text, struct span internal)
{
	buf_init(text, ADDR_TEXT_MAX);
	if (internal.n == 0)
		buf_puts(text, "<>");
	else
		addr_write_text(text, internal);
}

void
view_address(struct buf *out, struct span internal)
{
	struct buf text;
	address_text(&text, internal);
	escape_text(out, buf_span(&text), SHOWN_MAX);
	buf_fini(&text);
}

/* Of the allow table: an address, or "@domain". */
static void
put_pattern(struct buf *out, struct span s)
{
	if (s.n > 0 && s.p[0] == '@')
		escape_text(out, s, SHOWN_MAX);
	else
		view_address(out, s);
}

static void
json_address(struct buf *out, struct span internal)
{
	struct buf text;
	address_text(&text, internal);
	if (internal.n > 0 && internal.p[0] == '@') { /* "@domain" of the allow table */
		buf_reset(&text);
		buf_put(&text, internal);
	}
	escape_json(out, internal.n > 0 ? buf_span(&text) : SPAN_EMPTY, SHOWN_MAX);
	buf_fini(&text);
}

static void
put_id(struct buf *out, const struct spool_id *id)
{
	char text[SPOOL_ID_TEXT];
	buf_put(out, span_of(text, spool_id_text(id, text)));
}

static void
put_hash(struct buf *out, const unsigned char sha256[32])
{
	for (int i = 0; i < 32; i++)
		buf_printf(out, "%02x", (unsigned)sha256[i]);
}

static const char *
class_name(enum held_class c)
{
	const char *name = held_class_name(c);
	return name != NULL ? name : "unknown";
}

static const char *
state_name(enum quar_state s)
{
	const char *name = s > QUAR_NONE && s < QUAR_STATES ? quar_state_name(s) : NULL;
	return name != NULL ? name : "unknown";
}

/* "name[address]", as logs have it. */
static void
put_client(struct buf *out, const struct quar_row *r)
{
	escape_text(out, r->client_name.n > 0 ? r->client_name : SPAN("unknown"), SHOWN_MAX);
	if (r->client_addr.n > 0) {
		buf_putc(out, '[');
		escape_text(out, r->client_addr, SHOWN_MAX);
		buf_putc(out, ']');
	}
}

/* ---- lists ---- */

static void
pad(struct buf *out, size_t from, size_t columns)
{
	while (buf_len(out) < from + columns)
		buf_putc(out, ' ');
}

static void
put_recipients(struct buf *out, const struct quar_row *r)
{
	for (uint32_t i = 0; i < r->nshown; i++) {
		buf_puts(out, i > 0 ? ", " : "");
		view_address(out, r->rcpt[i].addr);
		if (r->rcpt[i].state != QUAR_HELD)
			buf_printf(out, " (%s%s)", state_name(r->rcpt[i].state), r->rcpt[i].is_gone ? ", has left the queue" : "");
	}
	if (r->nrcpt > r->nshown)
		buf_printf(out, " and %u more", (unsigned)(r->nrcpt - r->nshown));
}

static void
put_attachments(struct buf *out, const struct quar_row *r)
{
	enum { SHOWN = 5 };
	for (uint32_t i = 0; i < r->nattachments && i < SHOWN; i++) {
		const struct held_part *p = &r->attachments[i];
		buf_puts(out, i > 0 ? ", " : "    files:   ");
		escape_text(out, p->name.n > 0 ? p->name : p->type, SUBJECT_MAX);
	}
	if (r->nattachments > SHOWN)
		buf_printf(out, " and %u more", (unsigned)(r->nattachments - SHOWN));
	if (r->nattachments > 0)
		buf_putc(out, '\n');
}

void
view_row(struct buf *out, const struct quar_row *r)
{
	size_t at = buf_len(out);
	put_id(out, &r->id);
	pad(out, at, 18);
	view_time(out, r->arrival);
	buf_printf(out, " %9llu  %-10s ", (unsigned long long)r->size, class_name(r->class));
	escape_text(out, r->signature.n > 0 ? r->signature : r->reason, SUBJECT_MAX);
	buf_puts(out, "\n    from:    ");
	view_address(out, r->sender);
	if (r->from.n > 0) {
		buf_puts(out, "  (");
		escape_text(out, r->from, SUBJECT_MAX);
		buf_putc(out, ')');
	}
	buf_puts(out, "\n    to:      ");
	put_recipients(out, r);
	buf_puts(out, "\n    subject: ");
	escape_text(out, r->subject, SUBJECT_MAX);
	buf_putc(out, '\n');
	put_attachments(out, r);
	buf_putc(out, '\n');
}

void
view_list_tail(struct buf *out, uint64_t shown, uint64_t cursor)
{
	if (shown == 0)
		buf_puts(out, "Nothing in the quarantine fits\n");
	else if (cursor == 0)
		buf_printf(out, "-- %llu message%s\n", (unsigned long long)shown, shown == 1 ? "" : "s");
	else
		buf_printf(out, "-- %llu message%s; older ones: --after %llu\n", (unsigned long long)shown, shown == 1 ? "" : "s", (unsigned long long)cursor);
}

void
view_list_tail_json(struct buf *out, uint64_t cursor)
{
	if (cursor != 0)
		buf_printf(out, "{\"after\": %llu}\n", (unsigned long long)cursor);
}

static void
json_text(struct buf *out, const char *name, struct span value)
{
	if (value.n == 0)
		return;
	buf_printf(out, ", \"%s\": ", name);
	escape_json(out, value, SHOWN_MAX);
}

static void
json_rcpt(struct buf *out, const struct quar_rcpt *r)
{
	buf_puts(out, "{\"address\": ");
	json_address(out, r->addr);
	if (r->orig.n > 0) {
		buf_puts(out, ", \"original\": ");
		json_address(out, r->orig);
	}
	buf_printf(out, ", \"state\": \"%s\"", state_name(r->state));
	if (r->copy.usec != 0) {
		buf_puts(out, ", \"released_as\": \"");
		put_id(out, &r->copy);
		buf_putc(out, '"');
	}
	if (r->changed != 0)
		buf_printf(out, ", \"changed\": %llu", (unsigned long long)(r->changed / USEC_PER_SEC));
	json_text(out, "by", r->by);
	if (r->is_gone)
		buf_puts(out, ", \"left_queue\": true");
	if (r->added)
		buf_puts(out, ", \"added\": true");
	buf_putc(out, '}');
}

/* Not when its content cannot be read, or not yet. */
static void
json_sum(struct buf *out, const struct held_part *p)
{
	if (!p->is_summed)
		return;
	buf_printf(out, ", \"size\": %llu, \"sha256\": \"", (unsigned long long)p->size);
	put_hash(out, p->sha256);
	buf_putc(out, '"');
}

/* All members, without the closing brace. */
static void
json_row(struct buf *out, const struct quar_row *r)
{
	buf_puts(out, "{\"queue_id\": \"");
	put_id(out, &r->id);
	buf_printf(out, "\", \"arrival_time\": %llu, \"message_size\": %llu, \"class\": \"%s\"", (unsigned long long)(r->arrival / USEC_PER_SEC),
	    (unsigned long long)r->size, class_name(r->class));
	if (r->expires != 0)
		buf_printf(out, ", \"expires\": %llu", (unsigned long long)(r->expires / USEC_PER_SEC));
	const struct {
		const char *name;
		struct span value;
	} texts[] = { { "reason", r->reason }, { "filter", r->filter }, { "rule", r->rule }, { "signature", r->signature }, { "score", r->score },
		{ "client_name", r->client_name }, { "client_address", r->client_addr }, { "helo", r->helo }, { "tls", r->tls },
		{ "login", r->login }, { "from", r->from }, { "subject", r->subject }, { "message_id", r->message_id } };
	for (size_t i = 0; i < NELEMS(texts); i++)
		json_text(out, texts[i].name, texts[i].value);
	buf_puts(out, ", \"sender\": ");
	json_address(out, r->sender);
	buf_printf(out, ", \"recipient_count\": %u, \"recipients\": [", (unsigned)r->nrcpt);
	for (uint32_t i = 0; i < r->nshown; i++) {
		buf_puts(out, i > 0 ? ", " : "");
		json_rcpt(out, &r->rcpt[i]);
	}
	buf_putc(out, ']');
	for (uint32_t i = 0; i < r->nattachments; i++) {
		const struct held_part *p = &r->attachments[i];
		buf_puts(out, i > 0 ? ", {\"type\": " : ", \"attachments\": [{\"type\": ");
		escape_json(out, p->type, SHOWN_MAX);
		json_text(out, "name", p->name);
		json_sum(out, p);
		buf_putc(out, '}');
	}
	buf_puts(out, r->nattachments > 0 ? "]" : "");
}

void
view_row_json(struct buf *out, const struct quar_row *r)
{
	json_row(out, r);
	buf_puts(out, "}\n");
}

/* ---- one message ---- */

struct span
view_header_of(struct span content)
{
	if (span_starts(content, SPAN("\r\n")))
		return SPAN_EMPTY;
	size_t end = span_find(content, SPAN("\r\n\r\n"));
	return end == SIZE_MAX ? content : span_head(content, end + 2);
}

static void
put_line(struct buf *out, const char *name, struct span value)
{
	if (value.n == 0)
		return;
	buf_printf(out, "%-20s", name);
	escape_text(out, value, SHOWN_MAX);
	buf_putc(out, '\n');
}

static void
put_time_line(struct buf *out, const char *name, uint64_t usec)
{
	buf_printf(out, "%-20s", name);
	view_time(out, usec);
	buf_putc(out, '\n');
}

static void
put_rcpt(struct buf *out, const struct quar_rcpt *r)
{
	buf_printf(out, "%-20s", "recipient:");
	view_address(out, r->addr);
	if (r->orig.n > 0 && !span_caseeq(r->orig, r->addr)) {
		buf_puts(out, " (was ");
		view_address(out, r->orig);
		buf_putc(out, ')');
	}
	buf_printf(out, " %s%s", state_name(r->state), r->added ? ", a copy sent elsewhere" : "");
	if (r->copy.usec != 0) {
		buf_puts(out, " as ");
		put_id(out, &r->copy);
	}
	if (r->is_gone)
		buf_puts(out, " (which has left the queue: the log says how)");
	if (r->state != QUAR_HELD && r->changed != 0) {
		buf_puts(out, ", ");
		view_time(out, r->changed);
	}
	if (r->by.n > 0) {
		buf_puts(out, " by ");
		escape_text(out, r->by, SHOWN_MAX);
	}
	buf_putc(out, '\n');
}

/* Text of several lines, each with blanks before it. */
static void
put_block(struct buf *out, const char *name, struct span text, size_t max)
{
	if (text.n == 0)
		return;
	struct buf clean;
	buf_init(&clean, 10 * max + 16);
	escape_lines(&clean, text, max);
	struct span rest = buf_span(&clean);
	buf_puts(out, name);
	buf_putc(out, '\n');
	while (rest.n > 0) {
		size_t lf = span_chr(rest, '\n');
		buf_puts(out, "    ");
		buf_put(out, span_head(rest, lf));
		buf_putc(out, '\n');
		rest = lf == SIZE_MAX ? SPAN_EMPTY : span_from(rest, lf + 1);
	}
	buf_fini(&clean);
}

/* "NAME (RULE)" or "NAME/INNER NAME (RULE)" of the attachment filter: is it about this part? One without a name goes by its type. */
static bool
names_part(struct span finding, const struct held_part *p)
{
	struct span name = p->name.n > 0 ? p->name : p->type;
	struct span rest = span_from(finding, name.n);
	return name.n > 0 && span_starts(finding, name) && (span_starts(rest, SPAN(" (")) || span_starts(rest, SPAN("/")));
}

/* What a filter found in this part, where that is known. What a virus scanner says is about the message: of a part only when there is one. */
static struct span
finding_of(const struct held *h, uint32_t at, const char **class)
{
	const struct held_part *p = &h->parts[at];
	uint32_t leaves = 0;
	bool is_leaf = false;
	*class = "attachment";
	if (h->class == HELD_ATTACHMENT && names_part(h->reason, p))
		return h->reason;
	for (struct span rest = h->trace; rest.n > 0;) { /* a virus counts more than what the attachment filter found */
		static const char mark[] = "bundled:attachments: quarantine: attachment: "; /* at the front: not what a stranger wrote */
		size_t lf = span_chr(rest, '\n');
		struct span line = span_head(rest, lf), finding = span_from(line, strlen(mark));
		if (span_starts(line, span_str(mark)) && names_part(finding, p))
			return finding;
		rest = lf == SIZE_MAX ? SPAN_EMPTY : span_from(rest, lf + 1);
	}
	for (uint32_t i = 0; i < h->nparts; i++) {
		if (i + 1 < h->nparts && h->parts[i + 1].depth > h->parts[i].depth)
			continue;
		leaves++;
		is_leaf |= i == at;
	}
	*class = "virus";
	return h->class == HELD_VIRUS && is_leaf && leaves == 1 ? h->signature.n > 0 ? h->signature : h->reason : SPAN_EMPTY;
}

static void
put_parts(struct buf *out, const struct held *h)
{
	if (h->nparts == 0)
		return;
	buf_puts(out, "parts:\n");
	for (uint32_t i = 0; i < h->nparts; i++) {
		const struct held_part *p = &h->parts[i];
		unsigned indent = 4 + 2 * (p->depth < 30 ? (unsigned)p->depth : 30);
		size_t at = buf_len(out);
		pad(out, at, indent);
		escape_text(out, p->type.n > 0 ? p->type : SPAN("(no type)"), SHOWN_MAX);
		pad(out, at, 40);
		if (p->is_summed)
			buf_printf(out, " %9llu  ", (unsigned long long)p->size);
		else
			buf_puts(out, "         ?  ");
		if (p->size > 0)
			put_hash(out, p->sha256);
		else
			buf_puts(out, "-");
		if (p->name.n > 0) {
			buf_puts(out, "  \"");
			escape_text(out, p->name, SHOWN_MAX);
			buf_putc(out, '"');
		}
		const char *class;
		struct span finding = finding_of(h, i, &class);
		if (finding.n > 0) {
			buf_printf(out, "  %s: ", class);
			escape_text(out, finding, SHOWN_MAX);
		}
		buf_putc(out, '\n');
	}
}

/* As given; RFC 3461 has it encoded. */
static void
put_envid(struct buf *out, struct span envid)
{
	struct buf text;
	buf_init(&text, SHOWN_MAX + 1);
	if (envid.n > 0 && xtext_decode(&text, envid) == RC_OK)
		put_line(out, "envelope id:", buf_span(&text));
	buf_fini(&text);
}

void
view_message(struct buf *out, const struct quar_req *req, struct span header)
{
	const struct quar_row *r = &req->rows[0];
	char id[SPOOL_ID_TEXT];
	put_line(out, "queue id:", span_of(id, spool_id_text(&r->id, id)));
	put_time_line(out, "arrival:", r->arrival);
	buf_printf(out, "%-20s%llu\n", "size:", (unsigned long long)r->size);
	put_line(out, "class:", span_str(class_name(r->class)));
	put_line(out, "reason:", r->reason);
	put_line(out, "held by:", r->filter);
	put_line(out, "rule:", r->rule);
	put_line(out, "signature:", r->signature);
	put_line(out, "score:", r->score);
	if (r->expires != 0)
		put_time_line(out, "expires:", r->expires);
	buf_printf(out, "%-20s", "client:");
	put_client(out, r);
	buf_putc(out, '\n');
	put_line(out, "helo:", r->helo);
	put_line(out, "tls:", r->tls);
	put_line(out, "login:", r->login);
	buf_printf(out, "%-20s", "sender:");
	view_address(out, r->sender);
	buf_putc(out, '\n');
	put_envid(out, req->env.envid);
	for (uint32_t i = 0; i < r->nshown; i++)
		put_rcpt(out, &r->rcpt[i]);
	put_line(out, "from:", r->from);
	put_line(out, "subject:", r->subject);
	put_line(out, "message id:", r->message_id);
	put_block(out, "trace:", req->held.trace, TRACE_MAX);
	put_parts(out, &req->held);
	put_block(out, "header:", header, VIEW_HEADER_MAX);
}

void
view_message_json(struct buf *out, const struct quar_req *req, struct span header)
{
	json_row(out, &req->rows[0]);
	json_text(out, "envelope_id", req->env.envid);
	buf_puts(out, ", \"trace\": [");
	struct span rest = req->held.trace;
	for (bool first = true; rest.n > 0; first = false) {
		size_t lf = span_chr(rest, '\n');
		buf_puts(out, first ? "" : ", ");
		escape_json(out, span_head(rest, lf), SHOWN_MAX);
		rest = lf == SIZE_MAX ? SPAN_EMPTY : span_from(rest, lf + 1);
	}
	buf_puts(out, "], \"parts\": [");
	for (uint32_t i = 0; i < req->held.nparts; i++) {
		const struct held_part *p = &req->held.parts[i];
		buf_printf(out, "%s{\"depth\": %u, \"type\": ", i > 0 ? ", " : "", (unsigned)p->depth);
		escape_json(out, p->type, SHOWN_MAX);
		json_sum(out, p);
		json_text(out, "name", p->name);
		const char *class;
		struct span finding = finding_of(&req->held, i, &class);
		if (finding.n > 0)
			buf_printf(out, ", \"class\": \"%s\"", class);
		json_text(out, "finding", finding);
		buf_putc(out, '}');
	}
	buf_puts(out, "], \"header\": ");
	escape_json(out, header, VIEW_HEADER_MAX);
	buf_puts(out, "}\n");
}

/* ---- numbers ---- */

static struct quar_stat
total_of(const struct quar_req *r)
{
	struct quar_stat total = { 0 };
	for (unsigned c = HELD_NONE + 1; c < HELD_CLASSES; c++) {
		total.messages += r->by_class[c].messages;
		total.bytes += r->by_class[c].bytes;
	}
	return total;
}

void
view_stats(struct buf *out, const struct quar_req *r, const char *full)
{
	struct quar_stat total = total_of(r);
	buf_printf(out, "%-12s %12s %16s\n", "class", "messages", "bytes");
	for (unsigned c = HELD_NONE + 1; c < HELD_CLASSES; c++)
		if (r->by_class[c].messages > 0)
			buf_printf(out, "%-12s %12llu %16llu\n", class_name((enum held_class)c), (unsigned long long)r->by_class[c].messages,
			    (unsigned long long)r->by_class[c].bytes);
	buf_printf(out, "%-12s %12llu %16llu\n", "total", (unsigned long long)total.messages, (unsigned long long)total.bytes);
	if (r->oldest != 0)
		put_time_line(out, "oldest:", r->oldest);
	if (r->newest != 0)
		put_time_line(out, "newest:", r->newest);
	if (full != NULL)
		put_line(out, "takes nothing more:", span_str(full));
}

void
view_stats_json(struct buf *out, const struct quar_req *r, const char *full)
{
	struct quar_stat total = total_of(r);
	buf_printf(out, "{\"messages\": %llu, \"bytes\": %llu, \"classes\": {", (unsigned long long)total.messages, (unsigned long long)total.bytes);
	for (unsigned c = HELD_NONE + 1; c < HELD_CLASSES; c++)
		buf_printf(out, "%s\"%s\": {\"messages\": %llu, \"bytes\": %llu}", c > HELD_NONE + 1 ? ", " : "", class_name((enum held_class)c),
		    (unsigned long long)r->by_class[c].messages, (unsigned long long)r->by_class[c].bytes);
	buf_puts(out, "}");
	if (r->oldest != 0)
		buf_printf(out, ", \"oldest\": %llu", (unsigned long long)(r->oldest / USEC_PER_SEC));
	if (r->newest != 0)
		buf_printf(out, ", \"newest\": %llu", (unsigned long long)(r->newest / USEC_PER_SEC));
	buf_printf(out, ", \"full\": %s", full != NULL ? "true" : "false");
	if (full != NULL)
		json_text(out, "why", span_str(full));
	buf_puts(out, "}\n");
}

/* ---- allow table, check ---- */

void
view_allow(struct buf *out, const struct quar_allow *a)
{
	put_pattern(out, a->sender);
	buf_puts(out, "  to ");
	if (a->recipient.n > 0)
		put_pattern(out, a->recipient);
	else
		buf_puts(out, "anybody");
	buf_puts(out, "  since ");
	view_time(out, a->added);
	if (a->by.n > 0) {
		buf_puts(out, " by ");
		escape_text(out, a->by, SHOWN_MAX);
	}
	if (a->note.n > 0) {
		buf_puts(out, ": ");
		escape_text(out, a->note, SHOWN_MAX);
	}
	buf_putc(out, '\n');
}

void
view_allow_json(struct buf *out, const struct quar_allow *a)
{
	buf_puts(out, "{\"sender\": ");
	json_address(out, a->sender);
	if (a->recipient.n > 0) {
		buf_puts(out, ", \"recipient\": ");
		json_address(out, a->recipient);
	}
	buf_printf(out, ", \"added\": %llu", (unsigned long long)(a->added / USEC_PER_SEC));
	json_text(out, "by", a->by);
	json_text(out, "note", a->note);
	buf_puts(out, "}\n");
}

void
view_finding(struct buf *out, const struct quar_finding *f)
{
	escape_text(out, f->name, SHOWN_MAX);
	buf_printf(out, ": %s", quar_flaw_name(f->flaw));
	if (f->detail.n > 0) {
		buf_puts(out, ": ");
		escape_text(out, f->detail, SHOWN_MAX);
	}
	buf_printf(out, f->repaired ? " (%s)\n" : "\n", quar_flaw_mend(f->flaw));
}
