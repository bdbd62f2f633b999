/* SPDX-License-Identifier: BSD-2-Clause */
#include "smtp/footer.h"

#include "base/clock.h"
#include "conf/expand.h"
#include "smtp/reply.h"

#include <time.h>

enum { FOOTER_MAX = 8192 };

struct names {
	const struct footer_values *v;
	char port[8], time[32];
	struct span unknown;
};

static bool
lookup(void *arg, struct span name, struct span *raw_out)
{
	struct names *n = arg;
	if (span_eq_str(name, "client_address"))
		*raw_out = n->v->client_address;
	else if (span_eq_str(name, "client_port"))
		*raw_out = n->v->client_port != 0 ? span_str(n->port) : SPAN("unknown");
	else if (span_eq_str(name, "localtime"))
		*raw_out = span_str(n->time);
	else if (span_eq_str(name, "server_name"))
		*raw_out = span_str(n->v->server_name);
	else {
		n->unknown = name;
		return false;
	}
	return true;
}

enum rc
footer_expand(struct span text, const struct footer_values *v, struct buf *out, struct err *e)
{
	struct names n = { .v = v };
	struct tm tm;
	time_t now = (time_t)(v->now / USEC_PER_SEC);
	snprintf(n.port, sizeof n.port, "%u", v->client_port);
	if (localtime_r(&now, &tm) == NULL || strftime(n.time, sizeof n.time, "%b %d %H:%M:%S", &tm) == 0)
		n.time[0] = '\0';
	enum rc rc = expand_text(lookup, &n, text, out, e);
	if (rc == RC_OK && n.unknown.n > 0)
		rc = err_set(e, RC_PERM, "unknown name \"%.*s\"", (int)(n.unknown.n < 80 ? n.unknown.n : 80), (const char *)n.unknown.p);
	return rc;
}

/* "554 5.7.1 " of a line; without an enhanced code just "554 ". 0: not a reply. */
static size_t
prefix_length(struct span line)
{
	size_t i = 0;
	while (i < 3)
		if (i >= line.n || line.p[i] < '0' || line.p[i++] > '9')
			return 0;
	if (line.n < 4 || (line.p[3] != ' ' && line.p[3] != '-'))
		return line.n == 3 ? 3 : 0;
	size_t at = 4, dots = 0;
	while (at < line.n && ((line.p[at] >= '0' && line.p[at] <= '9') || line.p[at] == '.'))
		dots += line.p[at++] == '.';
	bool is_dsn = dots == 2 && at >= 9 && (at == line.n || line.p[at] == ' ');
	return is_dsn ? (at < line.n ? at + 1 : at) : 4;
}

static void
put_line(struct buf *b, struct span prefix, struct span text, bool is_last)
{
	unsigned char head[32];
	size_t n = prefix.n < sizeof head ? prefix.n : sizeof head;
	memcpy(head, prefix.p, n);
	head[3] = is_last ? ' ' : '-';
	buf_put(b, span_of(head, n));
	buf_put_safe(b, text, REPLY_LINE_MAX - n, true);
	buf_puts(b, "\r\n");
}

void
footer_add(struct buf *b, size_t from, struct span footer)
{
	struct buf old;
	buf_init(&old, 64 * 1024);
	buf_put(&old, span_from(buf_span(b), from));
	struct span rest = buf_span(&old), last = SPAN_EMPTY, prefix = SPAN_EMPTY;
	size_t last_at = 0;
	while (rest.n > 0) {
		size_t lf = span_chr(rest, '\n');
		last_at = buf_len(&old) - rest.n;
		last = span_rtrim(span_head(rest, lf));
		rest = lf == SIZE_MAX ? SPAN_EMPTY : span_from(rest, lf + 1);
	}
	size_t n = prefix_length(last);
	bool joins = span_starts(footer, SPAN("\\c"));
	if (joins)
		footer = span_from(footer, 2);
	if (n >= 4 && footer.n > 0) {
		unsigned char head[64];
		n = n < sizeof head ? n : sizeof head;
		memcpy(head, last.p, n);
		prefix = span_of(head, n);
		struct buf text;
		buf_init(&text, 64 * 1024);
		buf_put(&text, span_from(last, n));
		buf_cut(b, from + last_at);
		for (bool first = true, more = true; more; first = false) {
			size_t nl = span_find(footer, SPAN("\\n"));
			struct span piece = span_head(footer, nl);
			if (first && !joins) {
				put_line(b, prefix, buf_span(&text), false);
				buf_reset(&text);
			}
			buf_put(&text, piece);
			more = nl != SIZE_MAX;
			put_line(b, prefix, buf_span(&text), !more);
			buf_reset(&text);
			footer = more ? span_from(footer, nl + 2) : SPAN_EMPTY;
		}
		buf_fini(&text);
	}
	buf_fini(&old);
}

/* ---- which one ---- */

static void
set_5xx(struct buf *b)
{
	unsigned char *p = b->p + b->at;
	if (buf_len(b) < 4 || p[0] != '4')
		return;
	p[0] = '5';
	if (buf_len(b) > 5 && p[4] == '4' && p[5] == '.')
		p[4] = '5';
}

enum rc
footer_finish(struct buf *b, size_t from, const struct map_list *maps, struct span param, const struct footer_values *v, bool is_soft,
    struct err *e)
{
	struct span said = span_from(buf_span(b), from), footer = param;
	struct buf found, text, key;
	struct err why = { 0 };
	enum rc rc = RC_OK, from_map = RC_NONE, done;
	if ((footer.n == 0 && map_list_empty(maps)) || said.n < 5 || (said.p[0] != '4' && said.p[0] != '5'))
		return RC_OK;
	buf_init(&found, FOOTER_MAX);
	buf_init(&text, FOOTER_MAX);
	if (!map_list_empty(maps)) {
		buf_init(&key, FOOTER_MAX);
		buf_put(&key, span_head(said, said.n - 2));
		if (is_soft)
			set_5xx(&key);
		from_map = map_find(maps, buf_span(&key), 0, &found, &footer, &why);
		buf_fini(&key);
		if (from_map != RC_OK)
			footer = param;
		if (from_map == RC_TEMP)
			rc = err_set(e, RC_TEMP, "smtpd_reject_footer_maps: %s", why.why);
	}
	done = footer.n > 0 ? footer_expand(footer, v, &text, &why) : RC_NONE;
	if (done == RC_OK)
		footer_add(b, from, buf_span(&text));
	else if (done != RC_NONE)
		rc = err_set(e, done, "%s: %s", from_map == RC_OK ? "smtpd_reject_footer_maps" : "smtpd_reject_footer", why.why);
	buf_fini(&found);
	buf_fini(&text);
	return rc;
}

void
footer_explain(struct conf *c, const struct service *s, const struct facts *f, struct span reply, struct buf *out)
{
	const struct footer_values v = { f->client_addr, f->client_port, s->params->p_myhostname, clock_wall() };
	struct map_list *maps = NULL;
	struct err e = { 0 };
	reply_write_lines(out, reply);
	if (maps_open_param(c, s, "smtpd_reject_footer_maps", &maps, &e) != RC_OK
	    || footer_finish(out, 0, maps, span_str(s->params->p_smtpd_reject_footer), &v, false, &e) != RC_OK)
		fprintf(stderr, "explain: %s\n", e.why);
	map_list_free(&maps);
}
