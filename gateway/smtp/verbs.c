/* SPDX-License-Identifier: BSD-2-Clause */
#include "smtp/verbs.h"

static const struct cmd_row rows[] = {
	{ "NONE", 0, NULL, "" },
#define SMTP_CMD(verb, flags, steps, doc) { #verb, flags, steps, doc },
#define SMTP_PHASE(verb, phases, reply)
#include "smtp/commands.def"
#undef SMTP_CMD
#undef SMTP_PHASE
	{ "UNKNOWN", 0, NULL, "" },
};

static const struct {
	enum verb verb;
	unsigned phases;
	enum reply_id reply;
} wrong[] = {
#define SMTP_CMD(verb, flags, steps, doc)
#define SMTP_PHASE(verb, phases, reply) { VERB_##verb, phases, REPLY_##reply },
#include "smtp/commands.def"
#undef SMTP_CMD
#undef SMTP_PHASE
};

const struct cmd_row *
verb_find(struct span word, enum verb *verb_out)
{
	for (int v = VERB_NONE + 1; v < VERB_UNKNOWN; v++)
		if (span_caseeq_str(word, rows[v].name)) {
			*verb_out = (enum verb)v;
			return &rows[v];
		}
	return NULL;
}

enum reply_id
verb_wrong_phase(enum verb verb, enum phase phase)
{
	for (size_t i = 0; i < NELEMS(wrong); i++)
		if (wrong[i].verb == verb && (wrong[i].phases & phase) != 0)
			return wrong[i].reply;
	return REPLY_NONE;
}

void
verb_count_write(struct buf *b, enum verb v, const struct verb_count *n)
{
	buf_putc(b, ' ');
	for (const char *p = rows[v].name; *p != '\0'; p++)
		buf_putc(b, (unsigned char)(*p | 0x20)); /* letters only */
	buf_putc(b, '=');
	buf_put_dec(b, n->good);
	if (n->good != n->all) {
		buf_putc(b, '/');
		buf_put_dec(b, n->all);
	}
}

void
verb_help(struct buf *b)
{
	/* all there are, whether they are offered to this client or not, in the alphabet's order, as Postfix lists them */
	const char *last = "";
	for (;;) {
		const char *next = NULL;
		for (int v = VERB_NONE + 1; v < VERB_UNKNOWN; v++)
			if (strcmp(rows[v].name, last) > 0 && (next == NULL || strcmp(rows[v].name, next) < 0))
				next = rows[v].name;
		if (next == NULL)
			return;
		if (last[0] != '\0')
			buf_putc(b, ' ');
		buf_puts(b, next);
		last = next;
	}
}
