/* SPDX-License-Identifier: BSD-2-Clause */
/* cdbfile.h - constant databases (NAME.cdb) as Postfix and others write and read them. Facts 6.1. */
#ifndef MAP_CDBFILE_H
#define MAP_CDBFILE_H

#include "base/buf.h"
#include "conf/conf.h"

/* Calls fn for every record, in the order of the file; a NUL at the end of a key and its value is not part of them.
 * RC_TEMP: missing, unreadable, or no constant database. */
enum rc cdbfile_read(const char *path, void (*fn)(void *arg, struct span key, struct span value), void *arg, struct conf_version *version_out,
    struct err *e) MUST_CHECK;

struct cdbfile_writer;
/* The file appears under its name when all is written. RC_PERM: it cannot be made. */
enum rc cdbfile_open(const char *path, mode_t mode, struct cdbfile_writer **out, struct err *e) MUST_CHECK;
enum rc cdbfile_add(struct cdbfile_writer *w, struct span key, struct span value, struct err *e) MUST_CHECK;
/* Ends and frees it; what was not meant to be stays away. */
enum rc cdbfile_close(struct cdbfile_writer **wp, bool keep, struct err *e) MUST_CHECK;

#endif
