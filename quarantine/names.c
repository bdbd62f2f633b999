/* SPDX-License-Identifier: BSD-2-Clause */
#include "conf/conf.h"
#include "conf/param.h"
#include "quarantine/store.h"

#include "base/clock.h"

static const char *const states[QUAR_STATES] = { [QUAR_HELD] = "held", [QUAR_RELEASING] = "releasing", [QUAR_RELEASED] = "released",
	[QUAR_DELIVERED] = "delivered", [QUAR_RETURNED] = "returned", [QUAR_DELETED] = "deleted" };
static const char *const flaws[QUAR_FLAWS] = { [QUAR_FLAW_NO_ROW] = "no-row", [QUAR_FLAW_NO_FILE] = "no-file", [QUAR_FLAW_DAMAGED] = "damaged",
	[QUAR_FLAW_STATES] = "states", [QUAR_FLAW_ATTACHMENTS] = "attachments", [QUAR_FLAW_MODE] = "mode", [QUAR_FLAW_ALIEN] = "alien", [QUAR_FLAW_INDEX] = "index" };

const char *
quar_state_name(enum quar_state s)
{
	return s > QUAR_NONE && s < QUAR_STATES ? states[s] : "";
}

enum quar_state
quar_state_of(struct span name)
{
	for (unsigned s = QUAR_NONE + 1; s < QUAR_STATES; s++)
		if (span_caseeq_str(name, states[s]))
			return (enum quar_state)s;
	return QUAR_NONE;
}

const char *
quar_flaw_name(enum quar_flaw f)
{
	return f > QUAR_FLAW_NONE && f < QUAR_FLAWS ? flaws[f] : "";
}

const char *
quar_flaw_mend(enum quar_flaw f)
{
	return f == QUAR_FLAW_NO_FILE ? "removed from the index" : f == QUAR_FLAW_DAMAGED ? "moved to corrupt/" : "mended";
}

enum { RETENTION_DAYS = 30 };

enum rc
quar_retention_parse(struct span text, uint64_t out[HELD_CLASSES], struct err *e)
{
	uint64_t others = (uint64_t)RETENTION_DAYS * 86400 * USEC_PER_SEC;
	bool is_set[HELD_CLASSES] = { false };
	struct span word;
	while (span_word(&text, " \t,\r\n", &word)) {
		size_t eq = span_chr(word, '=');
		uint64_t v;
		if (param_time(eq == SIZE_MAX ? word : span_from(word, eq + 1), 'd', &v) != RC_OK)
			return err_set(e, RC_PERM, "\"%.*s\" is no time", (int)(word.n < 100 ? word.n : 100), (const char *)word.p);
		if (eq == SIZE_MAX) {
			others = v;
			continue;
		}
		enum held_class c = held_class_of(span_head(word, eq));
		if (c == HELD_NONE)
			return err_set(e, RC_PERM, "\"%.*s\" is no class: policy, content, milter, virus, attachment, unscanned",
			    (int)(eq < 100 ? eq : 100), (const char *)word.p);
		out[c] = v;
		is_set[c] = true;
	}
	for (unsigned c = 0; c < HELD_CLASSES; c++)
		if (!is_set[c])
			out[c] = others;
	return RC_OK;
}

enum rc
quar_settings_read(const struct conf *c, struct quar_settings *out, struct err *e)
{
	const struct params *p = conf_params(c);
	*out = (struct quar_settings){ .dir = p->p_quarantine_directory, .size_limit = (uint64_t)p->p_quarantine_size_limit,
		.reserve_bytes = (uint64_t)p->p_quarantine_minfree, .allow_limit = (uint32_t)p->p_quarantine_allow_limit };
	if (quar_retention_parse(span_str(p->p_quarantine_retention), out->retention, e) != RC_OK)
		return err_prefix(e, "quarantine_retention");
	if (out->dir[0] != '/')
		return err_set(e, RC_PERM, "quarantine_directory: \"%s\" is no absolute path", out->dir);
	return RC_OK;
}
