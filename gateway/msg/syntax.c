/* SPDX-License-Identifier: BSD-2-Clause */
#include "msg/syntax.h"

#include "msg/xtext.h"

#define WHITE " \t"

enum { ON_MAIL = 1, ON_RCPT = 2 };
enum { VALUE_NO, VALUE_YES };

static const struct {
	const char *name;
	unsigned verbs, value;
} rows[] = {
	{ "", 0, 0 },
#define ESMTP_PARAM(name, verbs, value, keyword, doc) { #name, verbs, value },
#include "msg/params.def"
#undef ESMTP_PARAM
};

static enum esmtp_param
find_param(struct span word, unsigned verb, struct span *value_out)
{
	size_t eq = span_chr(word, '=');
	struct span name = eq == SIZE_MAX ? word : span_head(word, eq);
	*value_out = eq == SIZE_MAX ? SPAN_EMPTY : span_from(word, eq + 1);
	for (int i = 1; i < PARAM_COUNT; i++)
		if ((rows[i].verbs & verb) != 0 && span_caseeq_str(name, rows[i].name))
			return (eq != SIZE_MAX) == (rows[i].value == VALUE_YES) ? (enum esmtp_param)i : PARAM_NONE;
	return PARAM_NONE;
}

/* A number too large for 64 bits is a number all the same: the size check refuses it. */
static bool
take_size(struct span v, struct mail_params *out)
{
	if (v.n == 0)
		return false;
	for (size_t i = 0; i < v.n; i++)
		if (v.p[i] < '0' || v.p[i] > '9')
			return false;
	if (!span_u64(v, UINT64_MAX, &out->size))
		out->size = UINT64_MAX;
	out->has_size = true;
	return true;
}

static bool
take_body(struct span v, struct mail_params *out)
{
	if (span_caseeq(v, SPAN("8BITMIME")))
		out->is_8bitmime = true;
	else if (!span_caseeq(v, SPAN("7BIT")))
		return false;
	return true;
}

static bool
take_ret(struct span v, struct mail_params *out)
{
	if (span_caseeq(v, SPAN("FULL")))
		out->ret = DSN_RET_FULL;
	else if (span_caseeq(v, SPAN("HDRS")))
		out->ret = DSN_RET_HDRS;
	else
		return false;
	return true;
}

static bool
take_notify(struct span v, uint8_t *out)
{
	if (span_caseeq(v, SPAN("NEVER"))) {
		*out = DSN_NEVER;
		return true;
	}
	for (size_t at = 0; at <= v.n;) {
		struct span rest = span_from(v, at), word = span_head(rest, span_chr(rest, ','));
		if (span_caseeq(word, SPAN("SUCCESS")))
			*out |= DSN_SUCCESS;
		else if (span_caseeq(word, SPAN("FAILURE")))
			*out |= DSN_FAILURE;
		else if (span_caseeq(word, SPAN("DELAY")))
			*out |= DSN_DELAY;
		else
			return false;
		at += word.n + 1;
	}
	return true;
}

static bool
take_mail_param(enum esmtp_param p, struct span v, struct arena *a, struct mail_params *out)
{
	switch (p) {
	case PARAM_SIZE:
		return take_size(v, out);
	case PARAM_BODY:
		return take_body(v, out);
	case PARAM_SMTPUTF8:
		out->is_smtputf8 = true;
		return true;
	case PARAM_RET:
		return take_ret(v, out);
	case PARAM_ENVID:
		out->envid = arena_span(a, v);
		return v.n > 0 && xtext_is_valid(v, ENVID_MAX) && !a->over;
	case PARAM_AUTH:
		if (out->has_auth || (!span_eq(v, SPAN("<>")) && (v.n == 0 || !xtext_is_valid(v, ORCPT_MAX))))
			return false;
		out->has_auth = true;
		out->auth = span_eq(v, SPAN("<>")) ? SPAN_EMPTY : arena_span(a, v);
		return !a->over;
	case PARAM_NONE:
	case PARAM_NOTIFY:
	case PARAM_ORCPT:
	case PARAM_COUNT:
		break;
	}
	return false;
}

enum rc
mail_params_parse(struct span in, struct arena *a, struct mail_params *out, struct param_fault *fault)
{
	*out = (struct mail_params){ 0 };
	unsigned seen = 0;
	for (struct span word, v; span_word(&in, WHITE, &word);) {
		enum esmtp_param p = find_param(word, ON_MAIL, &v);
		*fault = (struct param_fault){ p, word };
		if (p == PARAM_NONE || (seen & 1u << p) != 0)
			return RC_PERM;
		seen |= 1u << p;
		if (!take_mail_param(p, v, a, out)) {
			if (p == PARAM_BODY) /* an unknown body type is an unknown option */
				fault->param = PARAM_NONE;
			return RC_PERM;
		}
	}
	return RC_OK;
}

enum rc
rcpt_params_parse(struct span in, struct arena *a, struct rcpt_params *out, struct param_fault *fault)
{
	*out = (struct rcpt_params){ 0 };
	unsigned seen = 0;
	for (struct span word, v; span_word(&in, WHITE, &word);) {
		enum esmtp_param p = find_param(word, ON_RCPT, &v);
		*fault = (struct param_fault){ p, word };
		if (p == PARAM_NONE || (seen & 1u << p) != 0)
			return RC_PERM;
		seen |= 1u << p;
		if (p == PARAM_NOTIFY && !take_notify(v, &out->notify))
			return RC_PERM;
		if (p == PARAM_ORCPT) {
			out->orcpt = arena_span(a, v);
			if (!xtext_is_orcpt(v, ORCPT_MAX) || a->over)
				return RC_PERM;
		}
	}
	return RC_OK;
}

enum rc
bdat_parse(struct span in, uint64_t *count_out, bool *last_out)
{
	struct span count, last, more;
	*last_out = false;
	*count_out = 0;
	if (!span_word(&in, WHITE, &count) || !span_u64(count, INT64_MAX, count_out))
		return RC_PERM;
	if (span_word(&in, WHITE, &last)) {
		if (!span_caseeq(last, SPAN("LAST")) || span_word(&in, WHITE, &more))
			return RC_PERM;
		*last_out = true;
	}
	return RC_OK;
}

bool
syntax_keyword(struct span in, struct span keyword, struct span *rest_out)
{
	while (in.n > 0 && (in.p[0] == ' ' || in.p[0] == '\t'))
		in = span_from(in, 1);
	if (!span_casestarts(in, keyword))
		return false;
	*rest_out = span_from(in, keyword.n);
	return true;
}
