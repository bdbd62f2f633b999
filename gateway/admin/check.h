/* SPDX-License-Identifier: BSD-2-Clause */
/* check.h - everything that can be said about a configuration without starting it. */
#ifndef ADMIN_CHECK_H
#define ADMIN_CHECK_H

#include "conf/conf.h"

/* Loads DIR and runs every layer's checks; problems are in the snapshot. RC_PERM: at least one error;
 * *out is given even then (NULL when DIR cannot be read at all). */
enum rc check_load(const char *dir, struct conf **out, struct err *e) MUST_CHECK;
/* The same for a reload: certificates that in_force shows are only warned about when they have expired since. */
enum rc check_reload(const char *dir, const struct conf *in_force, struct conf **out, struct err *e) MUST_CHECK;
/* For the administrator who asks: what a start only warns about, because all other mail can go its way, is an error (rows
 * of tables that name a transport or next hop that is none). */
enum rc check_strictly(const char *dir, struct conf **out, struct err *e) MUST_CHECK;
/* The same checks on a snapshot made by conf_renew(). */
enum rc check_renewed(struct conf *c, struct err *e) MUST_CHECK;
/* Prints warnings and errors as "file:line: text" lines; before them, for who asks, also what is true and harmless. */
void check_print(const struct conf *conf, bool notes, struct buf *out);
void check_print_errors(const struct conf *conf, struct buf *out);

#endif
