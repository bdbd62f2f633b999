/* SPDX-License-Identifier: BSD-2-Clause */
#include "map/regex.h"

#include "base/buf.h"
#include "base/mem.h"
#include "map/subst.h"

#include <limits.h>
#include <regex.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

/* A match that needs more is not worth it: some milliseconds. */
enum { MATCH_LIMIT = 250 * 1000, HEAP_LIMIT_KB = 4096, JIT_STACK_MIN = 32 * 1024, JIT_STACK_MAX = 512 * 1024 };

struct regex {
	enum pattern_flavour flavour;
	pcre2_code *pcre;            /* NULL: posix */
	bool is_jit_tried, has_jit;
	unsigned groups;
	regex_t posix;
};

/* One match at a time in a process: they share their memory. */
static pcre2_match_context *match_context;
static pcre2_match_data *match_data;
static pcre2_jit_stack *jit_stack;
static struct buf posix_key = { .max = INT_MAX };

static void
make_shared(void)
{
	if (match_context != NULL)
		return;
	match_context = pcre2_match_context_create(NULL);
	match_data = pcre2_match_data_create(SUBST_GROUPS, NULL);
	jit_stack = pcre2_jit_stack_create(JIT_STACK_MIN, JIT_STACK_MAX, NULL);
	BUG_ON(match_context == NULL || match_data == NULL);
	pcre2_set_match_limit(match_context, MATCH_LIMIT);
	pcre2_set_heap_limit(match_context, HEAP_LIMIT_KB);
	pcre2_jit_stack_assign(match_context, NULL, jit_stack);
}

/* ---- pcre ---- */

static enum rc
pcre_error(int code, struct err *e)
{
	PCRE2_UCHAR text[200];
	if (pcre2_get_error_message(code, text, sizeof text) < 0)
		text[0] = '\0';
	return err_set(e, RC_TEMP, "cannot match this key: %s", (const char *)text);
}

static enum rc
pcre_compile(struct regex *r, struct span text, unsigned flags, bool utf8, struct err *e)
{
	static const struct {
		unsigned flag;
		uint32_t option;
	} options[] = {
		{ PATTERN_CASELESS, PCRE2_CASELESS }, { PATTERN_MULTILINE, PCRE2_MULTILINE }, { PATTERN_DOTALL, PCRE2_DOTALL },
		{ PATTERN_EXTENDED, PCRE2_EXTENDED }, { PATTERN_ANCHORED, PCRE2_ANCHORED }, { PATTERN_DOLLAR_END, PCRE2_DOLLAR_ENDONLY },
		{ PATTERN_UNGREEDY, PCRE2_UNGREEDY },
	};
	uint32_t want = utf8 ? PCRE2_UTF | PCRE2_MATCH_INVALID_UTF : 0;
	int code = 0;
	PCRE2_SIZE at = 0;
	for (size_t i = 0; i < NELEMS(options); i++)
		if ((flags & options[i].flag) != 0)
			want |= options[i].option;
	make_shared();
	r->pcre = pcre2_compile(text.p, text.n, want, &code, &at, NULL);
	if (r->pcre == NULL) {
		PCRE2_UCHAR why[200];
		if (pcre2_get_error_message(code, why, sizeof why) < 0)
			why[0] = '\0';
		return err_set(e, RC_PERM, "bad expression, at octet %zu: %s", (size_t)at, (const char *)why);
	}
	uint32_t groups = 0;
	(void)pcre2_pattern_info(r->pcre, PCRE2_INFO_CAPTURECOUNT, &groups);
	r->groups = groups;
	return RC_OK;
}

static enum rc
pcre_match(struct regex *r, struct span key, struct span *groups, size_t n, struct err *e)
{
	if (!r->is_jit_tried) {
		r->is_jit_tried = true;
		r->has_jit = jit_stack != NULL && pcre2_jit_compile(r->pcre, PCRE2_JIT_COMPLETE) == 0;
	}
	PCRE2_SPTR subject = key.p != NULL ? key.p : (PCRE2_SPTR) "";
	int got = r->has_jit ? pcre2_jit_match(r->pcre, subject, key.n, 0, 0, match_data, match_context)
	                     : pcre2_match(r->pcre, subject, key.n, 0, 0, match_data, match_context);
	if (got == PCRE2_ERROR_NOMATCH)
		return RC_NONE;
	if (got < 0)
		return pcre_error(got, e);
	const PCRE2_SIZE *where = pcre2_get_ovector_pointer(match_data);
	size_t valid = got == 0 ? SUBST_GROUPS : (size_t)got; /* 0: more groups than there is room for */
	for (size_t i = 0; i < n; i++) {
		bool took_part = i < valid && where[2 * i] != PCRE2_UNSET && where[2 * i] <= where[2 * i + 1];
		groups[i] = took_part ? span_of(key.p + where[2 * i], where[2 * i + 1] - where[2 * i]) : SPAN_EMPTY;
	}
	return RC_OK;
}

/* ---- posix ---- */

static enum rc
posix_compile(struct regex *r, struct span text, unsigned flags, struct err *e)
{
	char *pattern = span_dup(text);
	int options = ((flags & PATTERN_CASELESS) != 0 ? REG_ICASE : 0) | ((flags & PATTERN_MULTILINE) != 0 ? REG_NEWLINE : 0)
	    | ((flags & PATTERN_EXTENDED) != 0 ? REG_EXTENDED : 0);
	int code = span_chr(text, '\0') == SIZE_MAX ? regcomp(&r->posix, pattern, options) : REG_BADPAT;
	mem_free(&pattern);
	if (code != 0) {
		char why[200];
		regerror(code, NULL, why, sizeof why);
		return err_set(e, RC_PERM, "bad expression: %s", why);
	}
	r->groups = (unsigned)r->posix.re_nsub;
	return RC_OK;
}

static enum rc
posix_match(struct regex *r, struct span key, struct span *groups, size_t n, struct err *e)
{
	regmatch_t where[SUBST_GROUPS];
	buf_reset(&posix_key);
	buf_put(&posix_key, key);
	const char *text = buf_cstr(&posix_key); /* whoever wraps regexec() may look for an end */
	if (posix_key.over)
		return err_set(e, RC_TEMP, "cannot match this key: too long");
	where[0] = (regmatch_t){ .rm_so = 0, .rm_eo = (regoff_t)key.n };
	int code = regexec(&r->posix, text, n, where, REG_STARTEND);
	if (code == REG_NOMATCH)
		return RC_NONE;
	if (code != 0) {
		char why[200];
		regerror(code, &r->posix, why, sizeof why);
		return err_set(e, RC_TEMP, "cannot match this key: %s", why);
	}
	for (size_t i = 0; i < n; i++)
		groups[i] = where[i].rm_so >= 0 ? span_of(key.p + where[i].rm_so, (size_t)(where[i].rm_eo - where[i].rm_so)) : SPAN_EMPTY;
	return RC_OK;
}

/* ---- either ---- */

enum rc
regex_compile(enum pattern_flavour flavour, struct span text, unsigned flags, bool utf8, struct regex **out, struct err *e)
{
	struct regex *r = mem_zalloc(sizeof *r);
	r->flavour = flavour;
	enum rc rc = flavour == PATTERN_PCRE ? pcre_compile(r, text, flags, utf8, e) : posix_compile(r, text, flags, e);
	if (rc != RC_OK)
		mem_free(&r);
	*out = r;
	return rc;
}

void
regex_free(struct regex **rp)
{
	struct regex *r = *rp;
	*rp = NULL;
	if (r == NULL)
		return;
	if (r->flavour == PATTERN_PCRE)
		pcre2_code_free(r->pcre);
	else
		regfree(&r->posix);
	mem_free(&r);
}

unsigned
regex_groups(const struct regex *r)
{
	return r->groups;
}

enum rc
regex_match(struct regex *r, struct span key, struct span *groups, size_t n, struct err *e)
{
	BUG_ON(n > SUBST_GROUPS);
	return r->flavour == PATTERN_PCRE ? pcre_match(r, key, groups, n, e) : posix_match(r, key, groups, n, e);
}
