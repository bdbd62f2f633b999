/* SPDX-License-Identifier: BSD-2-Clause */
#include "queue/wish.h"

static bool
wish_of(struct span word, enum wish *out)
{
	static const struct {
		const char *word;
		enum wish wish;
	} words[] = { { "hold", WISH_HOLD }, { "deliver", WISH_DELIVER }, { "discard", WISH_DISCARD } };
	for (size_t i = 0; i < NELEMS(words); i++)
		if (span_caseeq_str(word, words[i].word)) {
			*out = words[i].wish;
			return true;
		}
	return false;
}

enum rc
wish_read(struct span value, enum held_class class, enum wish *out, struct err *e)
{
	struct span rest = value, word;
	enum wish named = 0, others = 0, wish;
	*out = WISH_HOLD;
	while (span_word(&rest, " \t,", &word)) {
		size_t eq = span_chr(word, '=');
		struct span what = eq == SIZE_MAX ? word : span_from(word, eq + 1);
		enum held_class about = eq == SIZE_MAX ? HELD_NONE : held_class_of(span_head(word, eq));
		if (!wish_of(what, &wish))
			return err_set(e, RC_PERM, "need hold, deliver or discard");
		if (eq != SIZE_MAX && about == HELD_NONE)
			return err_set(e, RC_PERM, "a class of held mail is policy, content, milter, virus, attachment or unscanned");
		if (eq == SIZE_MAX)
			others = wish;
		else if (about == class)
			named = wish;
	}
	if (named == 0 && others == WISH_DELIVER && class == HELD_VIRUS)
		others = WISH_HOLD;
	if (named != 0 || others != 0)
		*out = named != 0 ? named : others;
	return RC_OK;
}
