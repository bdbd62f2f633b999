/* SPDX-License-Identifier: BSD-2-Clause */
/* How a refusal is worded, and what may become of it before the client hears it. Facts 3.2. */
#include "policy/engine.h"

#include <stdarg.h>

const char *
reply_class_name(enum reply_class class)
{
	static const char *const names[] = {
		[ABOUT_CLIENT] = "Client host",
		[ABOUT_REVERSE_CLIENT] = "Unverified Client host",
		[ABOUT_LOGIN] = "SASL login name",
		[ABOUT_HELO] = "Helo command",
		[ABOUT_SENDER] = "Sender address",
		[ABOUT_RECIPIENT] = "Recipient address",
		[ABOUT_ETRN] = "Etrn command",
		[ABOUT_DATA] = "Data command",
		[ABOUT_END] = "End-of-data",
		[ABOUT_CERT] = "Client certificate",
	};
	return (size_t)class < NELEMS(names) && names[class] != NULL ? names[class] : "Command";
}

const char *
verdict_note_name(enum verdict_note_kind kind)
{
	static const char *const names[] = {
		[NOTE_REJECT_WARNING] = "reject_warning",
		[NOTE_WARN] = "warn",
		[NOTE_INFO] = "info",
		[NOTE_HOLD] = "hold",
		[NOTE_QUARANTINE] = "quarantine",
		[NOTE_DISCARD] = "discard",
		[NOTE_FILTER] = "filter",
		[NOTE_REDIRECT] = "redirect",
		[NOTE_BCC] = "bcc",
		[NOTE_PERMIT] = "permit",
		[NOTE_MAPPING] = "note",
		[NOTE_TROUBLE] = "warning",
		[NOTE_LISTED] = "listed",
	};
	return (size_t)kind < NELEMS(names) && names[kind] != NULL ? names[kind] : "note";
}

/* ---- status codes ---- */

/* "5.1.1", "4.7.25": the length, or 0. */
static size_t
dsn_length(struct span s)
{
	size_t i = 0;
	if (s.n < 5 || (s.p[0] != '2' && s.p[0] != '4' && s.p[0] != '5') || s.p[1] != '.')
		return 0;
	for (i = 2; i < s.n && i < 5 && s.p[i] >= '0' && s.p[i] <= '9'; i++)
		;
	size_t dot = i;
	if (dot == 2 || dot >= s.n || s.p[dot] != '.')
		return 0;
	for (i = dot + 1; i < s.n && i < dot + 4 && s.p[i] >= '0' && s.p[i] <= '9'; i++)
		;
	if (i == dot + 1 || (i < s.n && s.p[i] != ' ' && s.p[i] != '\t'))
		return 0;
	return i;
}

struct span
policy_take_dsn(struct span *text)
{
	size_t n = dsn_length(*text);
	struct span dsn = span_head(*text, n);
	if (n > 0)
		*text = span_trim(span_from(*text, n));
	return dsn;
}

struct span
policy_fix_dsn(struct span dsn, enum reply_class class, char out[16])
{
	/* x.1.y says something about an address: about the one that is refused here */
	static const char rcpt[] = "012345632", sender[] = "078770778";
	if (dsn_length(dsn) != dsn.n || dsn.n == 0 || dsn.p[2] != '1' || dsn.p[3] != '.')
		return dsn;
	unsigned detail = dsn.n == 5 ? dsn.p[4] - (unsigned)'0' : 99;
	switch (class) {
	case ABOUT_RECIPIENT:
		snprintf(out, 16, "%c.1.%c", dsn.p[0], detail < 9 ? rcpt[detail] : '0');
		break;
	case ABOUT_SENDER:
		snprintf(out, 16, "%c.1.%c", dsn.p[0], detail < 9 ? sender[detail] : '0');
		break;
	case ABOUT_CLIENT:
	case ABOUT_REVERSE_CLIENT:
	case ABOUT_LOGIN:
	case ABOUT_HELO:
	case ABOUT_ETRN:
	case ABOUT_DATA:
	case ABOUT_END:
	case ABOUT_CERT:
		snprintf(out, 16, "%c.0.0", dsn.p[0]);
		break;
	}
	return span_str(out);
}

/* ---- refusing ---- */

void
policy_note(struct policy_run *r, enum verdict_note_kind kind, struct span text)
{
	struct verdict *v = &r->verdict;
	if (v->nnotes < VERDICT_NOTES)
		v->notes[v->nnotes++] = (struct verdict_note){ kind, arena_span(&r->text, text) };
}

struct span
policy_map_dsn(struct policy_run *r, struct span dsn, enum reply_class class, char out[16])
{
	struct span fixed = policy_fix_dsn(dsn, class, out);
	if (!span_eq(fixed, dsn)) {
		char text[120];
		snprintf(text, sizeof text, "mapping DSN status %.*s into %s status %.*s", (int)dsn.n, (const char *)dsn.p, reply_class_name(class), (int)fixed.n,
		    (const char *)fixed.p);
		policy_note(r, NOTE_MAPPING, span_str(text));
	}
	return fixed;
}

void
policy_edit(struct policy_run *r, enum verdict_edit_kind kind, struct span text)
{
	struct verdict *v = &r->verdict;
	struct span copy = arena_span(&r->text, text);
	if (v->nedits < VERDICT_EDITS && copy.n > 0)
		v->edits[v->nedits++] = (struct verdict_edit){ kind, copy };
	else if (kind == EDIT_PREPEND)
		policy_note(r, NOTE_TROUBLE, SPAN("too many actions about one message: some are left out"));
	else
		r->did_too_much = true; /* it was to go elsewhere */
}

enum pol
policy_permit(struct policy_run *r, struct span action, struct about about, const char *from)
{
	/* a recorded deferral overrules it */
	if (r->if_permit.code != 0 || matchlist_empty(r->policy->permit_log) || matchlist_name(r->policy->permit_log, action, NULL) != RC_OK)
		return POL_PERMIT;
	struct buf b;
	buf_init(&b, 1400);
	buf_puts(&b, "action=");
	buf_put_safe(&b, action, 100, true);
	buf_puts(&b, " for ");
	buf_puts(&b, reply_class_name(about.class));
	buf_putc(&b, '=');
	buf_put_safe(&b, about.object, 400, true);
	buf_putc(&b, ' '); /* there even when nothing follows, as in Postfix's line */
	if (from != NULL)
		buf_printf(&b, "from %.400s", from);
	policy_note(r, NOTE_PERMIT, buf_span(&b));
	buf_fini(&b);
	return POL_PERMIT;
}

static const char *
rule_name(const struct policy_rule *rule)
{
	return rule == NULL ? NULL : rule->shown;
}

static const char *
list_name(const struct policy_run *r)
{
	return r->depth > 0 ? r->frames[0].list->name : NULL;
}

/* The line: code, status of the same class, text without what would break it. */
static struct span
compose(struct policy_run *r, unsigned *code, struct span dsn, struct span text)
{
	struct buf b;
	char bad[80];
	if (*code < 400 || *code > 599) {
		snprintf(bad, sizeof bad, "reject: bad reply code %u in the configuration", *code);
		policy_note(r, NOTE_TROUBLE, span_str(bad));
		*code = 450;
		dsn = SPAN("4.7.1");
		text = SPAN("Service unavailable");
	}
	if (r->policy->p->p_soft_bounce && *code >= 500)
		*code -= 100;
	if (dsn_length(dsn) != dsn.n || dsn.n == 0)
		dsn = SPAN("5.7.1");
	buf_init(&b, VERDICT_REPLY_MAX);
	buf_printf(&b, "%u %u", *code, *code / 100);
	buf_put(&b, span_from(dsn, 1));
	buf_putc(&b, ' ');
	buf_put_safe(&b, text, VERDICT_REPLY_MAX - buf_len(&b), true);
	struct span line = arena_span(&r->text, buf_span(&b));
	buf_fini(&b);
	return line;
}

static enum pol
final(struct policy_run *r, unsigned code, struct span reply, const char *rule, const char *list)
{
	struct verdict *v = &r->verdict;
	v->kind = VERDICT_REFUSE;
	v->code = code;
	v->reply = reply.n > 0 ? reply : SPAN("450 4.7.1 Service unavailable"); /* the arena was full */
	v->close = code == 421 || code == 521;
	v->rule = rule;
	v->list = list;
	return POL_REFUSE;
}

static enum pol
refuse(struct policy_run *r, const struct policy_rule *rule, unsigned code, struct span dsn, struct span text, bool is_ours)
{
	/* An earlier temporary error may have kept us from accepting: this refusal is not for good, then. */
	if (!is_ours && r->warn == 0 && code >= 500 && code <= 599 && r->if_reject.code != 0) {
		struct policy_deferral d = r->if_reject;
		r->if_reject.code = 0;
		return final(r, d.code, d.reply, d.rule, d.list);
	}
	struct span line = compose(r, &code, dsn, text);
	if (!is_ours && r->warn > 0) {
		policy_note(r, NOTE_REJECT_WARNING, line);
		return POL_DUNNO;
	}
	return final(r, code, line, rule_name(rule), list_name(r));
}

enum pol
policy_refuse_text(struct policy_run *r, const struct policy_rule *rule, unsigned code, struct span dsn, struct span text)
{
	return refuse(r, rule, code, dsn, text, false);
}

/* "<object>: Class rejected: text" */
static void
put_about(struct buf *b, struct about about, struct span text)
{
	buf_putc(b, '<');
	buf_put(b, span_head(about.object, 400));
	buf_puts(b, ">: ");
	buf_puts(b, reply_class_name(about.class));
	buf_puts(b, " rejected: ");
	buf_put(b, span_head(text, 1000));
}

enum pol
policy_refuse(struct policy_run *r, const struct policy_rule *rule, unsigned code, struct span dsn, struct about about, struct span text)
{
	struct buf b;
	buf_init(&b, 2000);
	put_about(&b, about, text);
	enum pol pol = refuse(r, rule, code, dsn, buf_span(&b), false);
	buf_fini(&b);
	return pol;
}

enum pol
policy_server_error(struct policy_run *r, const struct policy_rule *rule, const char *why, ...)
{
	struct buf b;
	va_list ap;
	buf_init(&b, 2000);
	va_start(ap, why);
	buf_vprintf(&b, why, ap);
	va_end(ap);
	policy_note(r, NOTE_TROUBLE, buf_span(&b));
	buf_fini(&b);
	return refuse(r, rule, 451, SPAN("4.3.5"), SPAN("Server configuration error"), true);
}

enum pol
policy_lookup_failed(struct policy_run *r, const struct policy_rule *rule, struct span object, const struct err *e)
{
	if (map_asked())
		return policy_await_maps(r);
	struct buf b;
	buf_init(&b, 1000);
	policy_note(r, NOTE_TROUBLE, span_str(e->why));
	buf_putc(&b, '<');
	buf_put(&b, span_head(object, 400));
	buf_puts(&b, ">: Temporary lookup failure");
	enum pol pol = refuse(r, rule, 451, SPAN("4.3.0"), buf_span(&b), true);
	buf_fini(&b);
	return pol;
}

enum pol
policy_defer_if(struct policy_run *r, const struct policy_rule *rule, struct policy_deferral *which, unsigned code, struct span dsn,
    struct about about, struct span text)
{
	if (which->code != 0)
		return POL_DUNNO; /* the first reason stays */
	struct buf b;
	buf_init(&b, 2000);
	put_about(&b, about, text);
	struct span line = compose(r, &code, dsn, buf_span(&b));
	buf_fini(&b);
	if (r->warn > 0 && which == &r->if_permit) { /* what only softens is never only warned about */
		policy_note(r, NOTE_REJECT_WARNING, line);
		return POL_DUNNO;
	}
	*which = (struct policy_deferral){ code, line, rule_name(rule), list_name(r) };
	return POL_DUNNO;
}
