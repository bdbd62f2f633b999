/* SPDX-License-Identifier: BSD-2-Clause */
#include "sasl/dovecot_line.h"

#include "base/buf.h"
#include "base/base64.h"
#include "sasl/mechs.h"

typedef enum rc verb_fn(struct span rest, struct dovecot_line *out, struct err *e);

/* The next field; false at the end. An empty field is one. */
static bool
field(struct span *rest, struct span *out)
{
	if (rest->p == NULL)
		return false;
	size_t tab = span_chr(*rest, '\t');
	*out = span_head(*rest, tab == SIZE_MAX ? rest->n : tab);
	*rest = tab == SIZE_MAX ? (struct span){ NULL, 0 } : (struct span){ rest->p + tab + 1, rest->n - tab - 1 };
	return true;
}

static bool
is_clean(struct span s)
{
	return span_is_printable(s) && span_is_utf8(s);
}

static enum rc
bad(struct err *e, const char *what)
{
	return err_set(e, RC_PERM, "%s", what);
}

static enum rc
on_version(struct span rest, struct dovecot_line *out, struct err *e)
{
	struct span major = SPAN_EMPTY, minor = SPAN_EMPTY;
	uint64_t a, b;
	if (!field(&rest, &major) || !field(&rest, &minor) || !span_u64(major, UINT32_MAX, &a) || !span_u64(minor, UINT32_MAX, &b))
		return bad(e, "bad VERSION line");
	out->major = (uint32_t)a;
	out->minor = (uint32_t)b;
	return RC_OK;
}

static enum rc
on_mech(struct span rest, struct dovecot_line *out, struct err *e)
{
	struct span word;
	if (!field(&rest, &out->mech) || !sasl_mech_is_name(out->mech))
		return bad(e, "bad MECH line");
	while (field(&rest, &word))
		out->properties |= sasl_property(word);
	return RC_OK;
}

static enum rc
on_nothing(struct span rest, struct dovecot_line *out, struct err *e)
{
	(void)rest, (void)out, (void)e;
	return RC_OK;
}

static bool
take_id(struct span *rest, struct dovecot_line *out)
{
	struct span id;
	uint64_t n;
	if (!field(rest, &id) || !span_u64(id, UINT32_MAX, &n))
		return false;
	out->id = (uint32_t)n;
	return true;
}

static enum rc
on_cont(struct span rest, struct dovecot_line *out, struct err *e)
{
	if (!take_id(&rest, out))
		return bad(e, "bad request id");
	if (!field(&rest, &out->challenge))
		return bad(e, "CONT without a challenge");
	struct buf b;
	buf_init(&b, out->challenge.n + 1);
	enum rc rc = base64_decode(out->challenge, &b);
	buf_fini(&b);
	return rc == RC_OK ? RC_OK : bad(e, "a challenge that is not base64");
}

static bool
value_of(struct span word, struct span name, struct span *out)
{
	if (!span_starts(word, name))
		return false;
	*out = span_from(word, name.n);
	return true;
}

static enum rc
on_ok(struct span rest, struct dovecot_line *out, struct err *e)
{
	struct span word, value;
	unsigned users = 0;
	if (!take_id(&rest, out))
		return bad(e, "bad request id");
	while (field(&rest, &word))
		if (value_of(word, SPAN("user="), &value)) {
			out->user = value;
			users++;
		}
	if (users != 1 || out->user.n == 0 || out->user.n > DOVECOT_USER_MAX || !is_clean(out->user))
		return bad(e, "OK without a proper user name");
	return RC_OK;
}

static enum rc
on_fail(struct span rest, struct dovecot_line *out, struct err *e)
{
	struct span word, value;
	if (!take_id(&rest, out))
		return bad(e, "bad request id");
	while (field(&rest, &word)) {
		if (value_of(word, SPAN("user="), &value))
			out->user = value.n <= DOVECOT_USER_MAX && is_clean(value) ? value : SPAN_EMPTY;
		else if (value_of(word, SPAN("reason="), &value))
			out->reason = value.n <= DOVECOT_REASON_MAX && is_clean(value) ? value : SPAN_EMPTY;
		else if (span_eq(word, SPAN("temp")) || span_eq(word, SPAN("code=temp_fail")))
			out->is_temporary = true;
	}
	return RC_OK;
}

static const struct {
	const char *word;
	enum dovecot_verb verb;
	verb_fn *fn;
} verbs[] = {
	{ "VERSION", DOVECOT_VERSION, on_version }, { "MECH", DOVECOT_MECH, on_mech }, { "SPID", DOVECOT_SPID, on_nothing },
	{ "DONE", DOVECOT_DONE, on_nothing }, { "CONT", DOVECOT_CONT, on_cont }, { "OK", DOVECOT_OK, on_ok }, { "FAIL", DOVECOT_FAIL, on_fail },
};

enum rc
dovecot_line(struct span line, struct dovecot_line *out, struct err *e)
{
	struct span rest = line, word;
	*out = (struct dovecot_line){ 0 };
	if (!field(&rest, &word))
		return RC_OK;
	for (size_t i = 0; i < NELEMS(verbs); i++)
		if (span_eq_str(word, verbs[i].word)) {
			out->verb = verbs[i].verb;
			return verbs[i].fn(rest, out, e);
		}
	return RC_OK;
}
