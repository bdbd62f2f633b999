/* SPDX-License-Identifier: GPL-2.0-only */
#include "filters/virus/verdict.h"

#include <ctype.h>

const char *
virus_kind_word(enum virus_kind kind)
{
	static const char *const words[VIRUS_KINDS] = { "Clean", "Infected", "Encrypted", "Macros", "Limits-Exceeded", "Unchecked", "Unchecked" };
	return words[kind];
}

enum virus_kind
virus_kind_of(struct span name)
{
	static const struct {
		const char *prefix;
		enum virus_kind kind;
	} rows[] = { { "Heuristics.Encrypted.", VIRUS_ENCRYPTED }, { "Heuristics.OLE2.ContainsMacros", VIRUS_MACRO },
		{ "Heuristics.Limits.Exceeded", VIRUS_LIMITS } };
	for (size_t i = 0; i < NELEMS(rows); i++)
		if (span_starts(name, span_str(rows[i].prefix)))
			return rows[i].kind;
	return VIRUS_FOUND;
}

static void
clean(struct span text, const char *also, char out[VIRUS_NAME_MAX])
{
	size_t n = 0;
	for (size_t i = 0; i < text.n && n < VIRUS_NAME_MAX - 1; i++)
		out[n++] = isalnum(text.p[i]) || (text.p[i] != '\0' && strchr(also, text.p[i]) != NULL) ? (char)text.p[i] : '_';
	out[n] = '\0';
}

void
virus_name_clean(struct span name, char out[VIRUS_NAME_MAX])
{
	clean(name, ".-_/:+@!", out);
	if (out[0] == '\0')
		memcpy(out, "unnamed", sizeof "unnamed");
}

struct virus_verdict
virus_verdict_of(struct span name)
{
	struct virus_verdict v = { .kind = virus_kind_of(name) };
	virus_name_clean(name, v.name);
	return v;
}

struct virus_verdict
virus_verdict_why(enum virus_kind kind, const char *why)
{
	struct virus_verdict v = { .kind = kind };
	clean(span_str(why), " .,;-_/:+", v.name);
	return v;
}

/* ---- clamd ---- */

enum rc
clamd_reply(struct span reply, struct virus_verdict *out, struct err *e)
{
	char shown[VIRUS_NAME_MAX];
	struct span found = SPAN(" FOUND");
	if (span_eq_str(reply, "stream: OK")) {
		*out = (struct virus_verdict){ .kind = VIRUS_CLEAN };
		return RC_OK;
	}
	/* whatever bytes it puts into the name: something was found */
	if (span_starts(reply, SPAN("stream: ")) && span_caseends(reply, found) && reply.n > 8 + found.n) {
		*out = virus_verdict_of(span_head(span_from(reply, 8), reply.n - 8 - found.n));
		return RC_OK;
	}
	if (span_find(reply, SPAN("size limit exceeded")) != SIZE_MAX) {
		*out = virus_verdict_why(VIRUS_LIMITS, "larger than the StreamMaxLength of clamd");
		return RC_OK;
	}
	clean(reply, " .,;-_/:+", shown);
	return err_set(e, RC_TEMP, "clamd says \"%.100s\"", shown);
}

static void
take_version(struct span text, char out[VIRUS_VERSION_MAX])
{
	char whole[VIRUS_NAME_MAX];
	clean(text, " .-_:+", whole);
	snprintf(out, VIRUS_VERSION_MAX, "%.60s", whole);
}

enum rc
clamd_version(struct span reply, struct virus_version *out)
{
	if (!span_starts(reply, SPAN("ClamAV ")))
		return RC_PERM;
	size_t slash = span_chr(reply, '/');
	take_version(span_head(reply, slash), out->engine);
	out->signatures[0] = '\0';
	if (slash == SIZE_MAX)
		return RC_OK;
	take_version(span_from(reply, slash + 1), out->signatures);
	for (char *p = out->signatures; *p != '\0'; p++)
		*p = *p == '_' ? '/' : *p; /* the slash before the date */
	return RC_OK;
}
