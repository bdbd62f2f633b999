/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * attachment_conf.h - the settings of the attachment filter beside its rules: limits, the action for what cannot be read, the
 * text of notes. Read by the loader (to check) and by dogana-attachments.
 */
#ifndef FILTERS_ATTACHMENT_CONF_H
#define FILTERS_ATTACHMENT_CONF_H

#include "filters/attachment_rules.h"

enum { ATTACHMENT_NOTES = 8 };

struct attachment_conf {
	struct attachment_rules *rules;          /* NULL: the filter is off */
	enum attachment_action unreadable;
	struct span notes[ATTACHMENT_NOTES];     /* templates, UTF-8; at least one */
	size_t nnotes;
};

/* Problems go to the configuration. RC_PERM: it must not be used. What it points to lives as long as c. */
enum rc attachment_conf_open(struct conf *c, struct attachment_conf *out, struct err *e) MUST_CHECK;
void attachment_conf_close(struct attachment_conf *ac);
/* The loader's: as above, for the problems alone, and so that tables and files are in the image. */
void attachment_conf_check(struct conf *c);

/* What a template may say: ${name} and so on; false: no such variable. */
bool attachment_note_variable(struct span name);

#endif
