/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * show.h - what postconf(1) prints and changes (facts 11.2); called by "dogana conf" and as postconf.
 */
#ifndef CONF_SHOW_H
#define CONF_SHOW_H

#include "conf/conf.h"

#include <stdio.h>

/* The whole command line: argv[0] is the name used in messages. dir: used unless -c names another.
 * map_types: NULL-terminated, for -m. Returns the exit status; writes to stdout and stderr. */
int conf_command(const char *dir, int argc, char **argv, const char *const *map_types);

/* ---- pieces, for conf_command and tests ---- */

enum show_flags {
	SHOW_NO_NAMES = 1,  /* -h */
	SHOW_NO_VALUES = 2, /* -H */
	SHOW_EXPAND = 4,    /* -x */
	SHOW_DEFAULTS = 8,  /* -d */
	SHOW_FOLD = 16,     /* -f */
};

/* name = value, white space folded, long lines with SHOW_FOLD. */
void show_value(FILE *out, const char *name, const char *value, unsigned flags);
/* One parameter; false: unknown, nothing written. */
bool show_param(FILE *out, struct conf *c, const char *name, unsigned flags);
/* All of them, or those that files set. */
void show_all(FILE *out, struct conf *c, unsigned flags);
void show_set(FILE *out, struct conf *c, unsigned flags);
/* master.cf lines, fields and -o settings whose "service/type[/name]" matches the pattern ("*" and missing
 * parts match all). False: none did. */
bool show_services(FILE *out, struct conf *c, const char *pattern, unsigned flags);
bool show_fields(FILE *out, struct conf *c, const char *pattern, unsigned flags);
bool show_service_params(FILE *out, struct conf *c, const char *pattern, unsigned flags);
/* Two or three lines about a parameter: what it is, its type, default, range and state. False: unknown. */
bool show_doc(FILE *out, struct conf *c, const char *name);
/* dogana.cf(5) in man(7) macros, made from the rows. */
void show_man(FILE *out);

#endif
