/* SPDX-License-Identifier: BSD-2-Clause */
#include "filters/attachment_conf.h"

static const char builtin[] =
    "The attachment \"${name}\" was removed from this message.\n"
    "\n"
    "Reason: ${reason}\n"
    "The original is kept for a while. Should you need it, please ask your\n"
    "postmaster for it and say: message ${queue_id}, attachment \"${name}\".\n";

static const char *const variables[] = { "name", "reason", "rule", "size", "queue_id", "sender" };

bool
attachment_note_variable(struct span name)
{
	for (size_t i = 0; i < NELEMS(variables); i++)
		if (span_eq_str(name, variables[i]))
			return true;
	return false;
}

static enum rc
check_note(struct conf *c, const char *path, struct span text, struct err *e)
{
	if (!span_is_utf8(text) || span_chr(text, 0) != SIZE_MAX) {
		conf_problem(c, CONF_ERROR, NULL, "attachment_note_templates", "%s: not UTF-8", path);
		return err_set(e, RC_PERM, "%s: not UTF-8", path);
	}
	for (struct span rest = text; ;) {
		size_t at = span_find(rest, SPAN("${"));
		if (at == SIZE_MAX)
			return RC_OK;
		rest = span_from(rest, at + 2);
		size_t close = span_chr(rest, '}');
		struct span name = span_head(rest, close != SIZE_MAX ? close : rest.n < 40 ? rest.n : 40);
		if (close == SIZE_MAX || !attachment_note_variable(name)) {
			int line = 1;
			for (const unsigned char *p = text.p; p < rest.p; p++)
				line += *p == '\n';
			conf_problem(c, CONF_ERROR, NULL, "attachment_note_templates", "%s:%d: there is no variable ${%.*s}", path, line, (int)name.n,
			    (const char *)name.p);
			return err_set(e, RC_PERM, "%s:%d: there is no variable ${%.*s}", path, line, (int)name.n, (const char *)name.p);
		}
	}
}

static enum rc
read_notes(struct conf *c, struct attachment_conf *out, struct err *e)
{
	struct span rest = span_str(conf_params(c)->p_attachment_note_templates), item;
	bool is_group;
	enum rc rc = RC_OK, got;
	while ((got = conf_item(&rest, &item, &is_group)) == RC_OK) {
		char path[4096];
		struct span text;
		if (out->nnotes == ATTACHMENT_NOTES || item.n >= sizeof path) {
			conf_problem(c, CONF_ERROR, NULL, "attachment_note_templates", "attachment_note_templates: more than %d, or too long a name", ATTACHMENT_NOTES);
			return err_set(e, RC_PERM, "attachment_note_templates: more than %d, or too long a name", ATTACHMENT_NOTES);
		}
		snprintf(path, sizeof path, "%.*s", (int)item.n, (const char *)item.p);
		enum rc one = conf_file(c, path, &text, e);
		if (one != RC_OK)
			conf_problem(c, CONF_ERROR, NULL, "attachment_note_templates", "attachment_note_templates: %s", e->why);
		else
			one = check_note(c, conf_full_path(c, path), text, e);
		if (one != RC_OK)
			rc = one;
		else
			out->notes[out->nnotes++] = text;
	}
	if (got == RC_PERM) {
		conf_problem(c, CONF_ERROR, NULL, "attachment_note_templates", "attachment_note_templates: braces that do not close");
		rc = err_set(e, RC_PERM, "attachment_note_templates: braces that do not close");
	}
	if (out->nnotes == 0)
		out->notes[out->nnotes++] = span_str(builtin);
	return rc;
}

enum rc
attachment_conf_open(struct conf *c, struct attachment_conf *out, struct err *e)
{
	*out = (struct attachment_conf){ .rules = NULL };
	enum rc rc = attachment_rules_open(c, &out->rules, e), notes;
	const char *word = conf_params(c)->p_attachment_unreadable_action;
	if (!attachment_action_of(span_str(word), &out->unreadable) || out->unreadable == ATTACHMENT_STRIP) {
		conf_problem(c, CONF_ERROR, NULL, "attachment_unreadable_action", "attachment_unreadable_action = %s: need allow, tag, quarantine or reject", word);
		rc = err_set(e, RC_PERM, "attachment_unreadable_action = %s: need allow, tag, quarantine or reject", word);
	}
	notes = read_notes(c, out, e);
	return rc != RC_OK ? rc : notes;
}

void
attachment_conf_close(struct attachment_conf *ac)
{
	attachment_rules_free(&ac->rules);
}

void
attachment_conf_check(struct conf *c)
{
	struct attachment_conf ac;
	struct err e;
	if (conf_params(c)->p_attachment_rules[0] == '\0')
		return;
	if (attachment_conf_open(c, &ac, &e) == RC_OK && attachment_rules_count(ac.rules) == 0)
		conf_problem(c, CONF_WARNING, NULL, "attachment_rules", "attachment_rules: the files have no rules: attachments are read and all allowed");
	attachment_conf_close(&ac);
}
