/* SPDX-License-Identifier: BSD-2-Clause */
/* command.h - one run of postconf's command line; for command.c and change.c only. */
#ifndef CONF_COMMAND_H
#define CONF_COMMAND_H

#include "conf/edit.h"
#include "conf/show.h"
#include "conf/snap.h"

enum { OVERRIDES_MAX = 100 };

enum subject { MAIN_CF, MASTER_LINES, MASTER_FIELDS, MASTER_PARAMS, MAP_TYPES, LOCK_TYPES, MANUAL, DOCUMENT };

struct command {
	const char *prog, *dir;
	enum subject subject;
	unsigned flags;            /* enum show_flags */
	bool only_set, edits, quiet;
	enum edit_op op;
	const char *overrides[OVERRIDES_MAX + 1];
	size_t noverrides;
	char **args;               /* NULL-terminated */
	const char *const *map_types;
	struct conf *conf;
};

/* "prog: severity: what" and arg, to stderr, in order with what went to stdout. */
void command_complain(struct command *m, const char *severity, const char *what, const char *arg);
/* These two give the exit status. */
int command_fatal(struct command *m, const char *what, const char *arg);
int command_usage(struct command *m);

/* m->conf is loaded, m->args says what to change (change.c). */
int command_edit_main(struct command *m);
int command_edit_master(struct command *m);

#endif
