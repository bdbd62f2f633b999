/* SPDX-License-Identifier: GPL-2.0-only */
#include "filters/virus/answer.h"

#include "filters/milter_wire.h"

#define STATUS_HEADER "X-Virus-Status"

enum { HEADER_MAX = 600, THERE_MAX = 100 };

static const char *
class_of(enum virus_kind kind)
{
	return kind == VIRUS_FOUND ? "virus" : kind == VIRUS_ENCRYPTED || kind == VIRUS_MACRO ? "attachment" : "unscanned";
}

static const char *
said(enum virus_kind kind)
{
	static const char *const texts[VIRUS_KINDS] = { "clean", "virus", "encrypted content", "macros", "limits exceeded", "not scanned", "not scanned" };
	return texts[kind];
}

bool
answer_is_status_header(struct span name)
{
	while (name.n > 0 && (name.p[name.n - 1] == ' ' || name.p[name.n - 1] == '\t'))
		name.n--;
	return span_caseeq_str(name, STATUS_HEADER);
}

/* ---- the header ---- */

static void
replace_word(struct buf *out, struct span *rest, const char *word, const char *value)
{
	struct span w = span_str(word);
	if (out->over || !span_starts(*rest, w))
		return;
	buf_puts(out, value);
	*rest = span_from(*rest, w.n);
}

/* virus_header with its words replaced. */
static void
header_text(const char *pattern, const struct judgement *j, struct buf *out)
{
	char status[2 * VIRUS_NAME_MAX];
	struct span rest = span_str(pattern);
	snprintf(status, sizeof status, "%s%s%s", virus_kind_word(j->verdict.kind), j->verdict.name[0] != '\0' ? ": " : "", j->verdict.name);
	while (rest.n > 0) {
		size_t before = rest.n;
		replace_word(out, &rest, "$status", status);
		replace_word(out, &rest, "$engine", j->version.engine[0] != '\0' ? j->version.engine : "no engine");
		replace_word(out, &rest, "$signatures", j->version.signatures[0] != '\0' ? j->version.signatures : "unknown");
		if (rest.n == before) {
			buf_putc(out, rest.p[0]);
			rest = span_from(rest, 1);
		}
	}
}

static void
put_change(struct buf *out, unsigned index, struct span value)
{
	size_t mark = mw_begin(out, SMFIR_CHGHEADER);
	mw_be32(out, index);
	mw_string(out, SPAN(STATUS_HEADER));
	mw_string(out, value);
	mw_end(out, mark);
}

/* One header of ours; whatever came under its name is not there any more. */
static void
put_header(const struct virus_conf *conf, const struct judgement *j, unsigned there, bool leads_space, struct buf *out)
{
	struct buf text;
	bool is_wanted = conf->header[0] != '\0';
	buf_init(&text, HEADER_MAX);
	if (leads_space)
		buf_putc(&text, ' '); /* it is ours to give, then */
	header_text(conf->header, j, &text);
	for (unsigned i = there; i > (is_wanted ? 1u : 0u); i--)
		put_change(out, i, SPAN_EMPTY);
	if (is_wanted && there > 0) {
		put_change(out, 1, buf_span(&text));
	} else if (is_wanted) {
		size_t mark = mw_begin(out, SMFIR_ADDHEADER);
		mw_string(out, SPAN(STATUS_HEADER));
		mw_string(out, buf_span(&text));
		mw_end(out, mark);
	}
	buf_fini(&text);
}

/* ---- the action ---- */

static const char *const action_words[] = { [VIRUS_ACCEPT] = "accept", [VIRUS_TAG] = "tag", [VIRUS_QUARANTINE] = "quarantine",
	[VIRUS_REJECT] = "reject", [VIRUS_DISCARD] = "discard" };

static enum virus_action
action_of(const struct virus_conf *conf, const struct virus_verdict *v, bool *is_tempfail)
{
	*is_tempfail = false;
	switch (v->kind) {
	case VIRUS_FOUND: return conf->found;
	case VIRUS_ENCRYPTED: return conf->encrypted;
	case VIRUS_MACRO: return conf->macro;
	case VIRUS_LIMITS: return conf->limits;
	case VIRUS_ASIDE: return VIRUS_QUARANTINE;
	case VIRUS_UNSCANNED:
		*is_tempfail = conf->unavailable == VIRUS_TEMPFAIL;
		return conf->unavailable == VIRUS_HOLD_AND_RESCAN ? VIRUS_QUARANTINE : VIRUS_TAG;
	case VIRUS_CLEAN:
	case VIRUS_KINDS: break;
	}
	return VIRUS_ACCEPT;
}

static void
put_reply(struct buf *out, const char *front, const struct virus_verdict *v)
{
	size_t mark = mw_begin(out, SMFIR_REPLYCODE);
	buf_puts(out, front);
	if (v != NULL)
		buf_printf(out, "%s%s%s", said(v->kind), v->name[0] != '\0' ? ": " : "", v->name);
	buf_putc(out, '\0');
	mw_end(out, mark);
}

static void
put_quarantine(struct buf *out, const struct virus_verdict *v)
{
	char text[2 * VIRUS_NAME_MAX + 64];
	bool is_virus = v->kind == VIRUS_FOUND;
	snprintf(text, sizeof text, "%s%s%s%s%s", class_of(v->kind), is_virus ? "" : ": ", is_virus ? "" : said(v->kind), v->name[0] != '\0' ? ": " : "", v->name);
	size_t mark = mw_begin(out, SMFIR_QUARANTINE);
	mw_string(out, span_str(text));
	mw_end(out, mark);
}

const char *
answer_put(const struct virus_conf *conf, const struct judgement *j, unsigned status_headers, bool leads_space, struct buf *out)
{
	const struct virus_verdict *v = &j->verdict;
	bool is_tempfail;
	enum virus_action a = action_of(conf, v, &is_tempfail);
	if (status_headers > THERE_MAX) { /* each would be a change that the MTA has to look for */
		put_reply(out, "554 5.6.0 Message refused: too many " STATUS_HEADER " headers", NULL);
		return action_words[VIRUS_REJECT];
	}
	if (is_tempfail) {
		put_reply(out, "451 4.7.1 Service unavailable - try again later", NULL);
		return "tempfail";
	}
	if (a == VIRUS_REJECT) {
		put_reply(out, "554 5.7.1 Message refused: ", v);
		return action_words[a];
	}
	if (a == VIRUS_DISCARD) {
		mw_simple(out, SMFIR_DISCARD);
		return action_words[a];
	}
	put_header(conf, j, status_headers, leads_space, out);
	if (a == VIRUS_QUARANTINE)
		put_quarantine(out, v);
	mw_simple(out, SMFIR_CONTINUE);
	return action_words[a];
}
