/* SPDX-License-Identifier: BSD-2-Clause */
#include "policy/dnsbl_out.h"

enum { LINE_BYTES = 64 * 1024, TEXT_MAX = 600 };

/* ---- for people ---- */

static void
put_time(FILE *out, uint64_t usec)
{
	fprintf(out, "%.1f ms", (double)usec / 1000);
}

static void
put_clean(FILE *out, struct span s)
{
	struct buf b;
	buf_init(&b, LINE_BYTES);
	buf_put_safe(&b, s, TEXT_MAX, true);
	fputs(buf_cstr(&b), out);
	buf_fini(&b);
}

static void
print_use(const struct found_use *u, FILE *out)
{
	fprintf(out, "    %s%s", u->is_site ? "postscreen_dnsbl_sites " : "", u->item);
	if (u->was_asked && u->is_site)
		fprintf(out, u->adds ? "  adds %d" : "  adds nothing", u->weight);
	else if (u->was_asked && u->reply.n == 0)
		fprintf(out, "  %s", u->result);
	fprintf(out, "\n        in %s", u->parameter);
	if (u->file != NULL)
		fprintf(out, ", %s:%d", u->file, u->line);
	fprintf(out, " (%s)\n", u->service);
	if (u->reply.n > 0) {
		fputs("        refuses: ", out);
		put_clean(out, u->reply);
		fputs("\n", out);
	}
	if (u->note.n > 0) {
		fputs("        warning: ", out);
		put_clean(out, u->note);
		fputs("\n", out);
	}
}

static void
print_list(const struct found_list *l, FILE *out)
{
	static const char *const says[] = { [RC_OK] = "", [RC_NONE] = "not listed", [RC_TEMP] = "not now", [RC_PERM] = "malformed" };
	const struct rbl_report *h = &l->health;
	put_clean(out, h->domain);
	fprintf(out, " (%s): %s", rbl_kind_name(h->kind), rbl_state_name(h->state));
	if (h->is_excepted)
		fputs(", not probed (dnsbl_probe_exceptions)", out);
	else if (h->state == RBL_USABLE && h->probed_usec > 0)
		fprintf(out, ", probe answered after %.1f ms", (double)h->probed_usec / 1000);
	fprintf(out, "%s%s\n", l->why[0] != '\0' ? "\n    " : "", l->why);
	for (const struct found_answer *a = l->answers; a != NULL; a = a->next) {
		fputs("    ", out);
		put_clean(out, a->question);
		fprintf(out, ": %s%s", says[a->rc], a->rc != RC_OK && a->answer.n > 0 ? ", " : "");
		put_clean(out, a->answer);
		fputs(", ", out);
		put_time(out, a->usec);
		fputs("\n", out);
	}
	for (const struct found_use *u = l->uses; u != NULL; u = u->next)
		print_use(u, out);
	fputs("\n", out);
}

static const char *
verdict(const struct found_score *s)
{
	if (s->score >= s->threshold)
		return "listed";
	return s->allow_threshold < 0 && s->score <= s->allow_threshold ? "allowed: no other test" : "passes";
}

void
dnsbl_print_text(const struct found *f, FILE *out)
{
	if (f->what != NULL)
		fprintf(out, "%s%s%s\n\n", f->what, f->name != NULL ? ", " : "", f->name != NULL ? f->name : "");
	for (const struct found_list *l = f->lists; l != NULL; l = l->next)
		print_list(l, out);
	for (const struct found_score *s = f->scores; s != NULL; s = s->next) {
		fprintf(out, "%s: score %d, postscreen_dnsbl_threshold %d", s->service, s->score, s->threshold);
		if (s->allow_threshold < 0)
			fprintf(out, ", postscreen_dnsbl_allowlist_threshold %d", s->allow_threshold);
		fprintf(out, ": %s", verdict(s));
		if (s->score >= s->threshold)
			fprintf(out, " by %s, postscreen_dnsbl_action %s", s->shown != NULL ? s->shown : "?", s->action);
		if (s->failed > 0)
			fprintf(out, " (%u could not say)", s->failed);
		fputs("\n", out);
	}
	if (f->count == 0)
		fputs("no DNS list is in use\n", out);
	else
		fprintf(out, "%u list%s, %s%s\n", f->count, f->count == 1 ? "" : "s", f->is_healthy ? "all healthy" : "not all healthy",
		    f->what == NULL ? "" : f->is_refused ? "; this client would be refused" : "; this client would not be refused by them");
}

/* ---- for programs ---- */

static void
text(struct buf *b, const char *key, const char *value)
{
	buf_printf(b, ",\"%s\":", key);
	if (value != NULL)
		buf_put_json(b, span_str(value), TEXT_MAX);
	else
		buf_puts(b, "null");
}

static void
put_use(struct buf *b, const struct found_use *u)
{
	buf_puts(b, "{\"item\":");
	buf_put_json(b, span_str(u->item), TEXT_MAX);
	text(b, "parameter", u->parameter);
	text(b, "service", u->service);
	text(b, "file", u->file);
	if (u->file != NULL)
		buf_printf(b, ",\"line\":%d", u->line);
	if (u->was_asked && u->is_site)
		buf_printf(b, ",\"weight\":%d,\"adds\":%s", u->weight, u->adds ? "true" : "false");
	else if (u->was_asked)
		text(b, "result", u->result);
	if (u->reply.n > 0) {
		buf_puts(b, ",\"reply\":");
		buf_put_json(b, u->reply, TEXT_MAX);
	}
	if (u->note.n > 0) {
		buf_puts(b, ",\"warning\":");
		buf_put_json(b, u->note, TEXT_MAX);
	}
	buf_puts(b, "}");
}

static void
put_list(struct buf *b, const struct found_list *l)
{
	static const char *const says[] = { [RC_OK] = "found", [RC_NONE] = "none", [RC_TEMP] = "not now", [RC_PERM] = "malformed" };
	buf_puts(b, "{\"domain\":");
	buf_put_json(b, l->health.domain, TEXT_MAX);
	text(b, "kind", rbl_kind_name(l->health.kind));
	text(b, "state", rbl_state_name(l->health.state));
	text(b, "why", l->why);
	buf_printf(b, ",\"excepted\":%s,\"probe_usec\":%llu,\"answers\":[", l->health.is_excepted ? "true" : "false", (unsigned long long)l->health.probed_usec);
	for (const struct found_answer *a = l->answers; a != NULL; a = a->next) {
		buf_puts(b, "{\"question\":");
		buf_put_json(b, a->question, TEXT_MAX);
		text(b, "outcome", says[a->rc]);
		buf_puts(b, ",\"answer\":");
		buf_put_json(b, a->answer, TEXT_MAX);
		buf_printf(b, ",\"usec\":%llu}%s", (unsigned long long)a->usec, a->next != NULL ? "," : "");
	}
	buf_puts(b, "],\"uses\":[");
	for (const struct found_use *u = l->uses; u != NULL; u = u->next) {
		put_use(b, u);
		buf_puts(b, u->next != NULL ? "," : "");
	}
	buf_puts(b, "]}");
}

void
dnsbl_print_json(const struct found *f, FILE *out)
{
	struct buf b;
	buf_init(&b, 64 * 1024 * 1024);
	buf_printf(&b, "{\"healthy\":%s,\"refused\":%s", f->is_healthy ? "true" : "false", f->is_refused ? "true" : "false");
	text(&b, "asked", f->what);
	text(&b, "name", f->name);
	buf_puts(&b, ",\"lists\":[");
	for (const struct found_list *l = f->lists; l != NULL; l = l->next) {
		put_list(&b, l);
		buf_puts(&b, l->next != NULL ? "," : "");
	}
	buf_puts(&b, "],\"scores\":[");
	for (const struct found_score *s = f->scores; s != NULL; s = s->next) {
		buf_puts(&b, "{\"service\":");
		buf_put_json(&b, span_str(s->service), TEXT_MAX);
		buf_printf(&b, ",\"score\":%d,\"threshold\":%d,\"allowlist_threshold\":%d,\"failed\":%u", s->score, s->threshold, s->allow_threshold, s->failed);
		text(&b, "action", s->action);
		text(&b, "shown", s->shown);
		buf_printf(&b, "}%s", s->next != NULL ? "," : "");
	}
	buf_puts(&b, "]}\n");
	fputs(buf_cstr(&b), out);
	buf_fini(&b);
}
