/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cyrus_files.h - the files of libsasl2: where NAME.conf is looked for, and what can be seen to be wrong with it before anybody logs in.
 * Runs in: the loader (check, start, reload) and the auth process.
 */
#ifndef SASL_CYRUS_FILES_H
#define SASL_CYRUS_FILES_H

#include "conf/conf.h"

enum { CYRUS_PATHS_MAX = 4096, CYRUS_CONF_MAX = 64 * 1024 };

/* Lines "key: value" of NAME.conf as libsasl2 reads them: the first one of a key counts, and it gives up at a line that is none. Borrowed
 * from the text. Pure. */
struct cyrus_settings {
	struct span pwcheck_method, auxprop_plugin, sasldb_path, saslauthd_path, mech_list; /* n == 0: not set */
	unsigned bad_line;           /* where it gives up; 0: nowhere */
};
void cyrus_settings_parse(struct span text, struct cyrus_settings *out);

/* Appends the directories, separated by ':': cyrus_sasl_config_path, else as Debian's Postfix does with our own first. */
void cyrus_directories(const struct conf *c, const struct params *p, struct buf *out);
/* Appends the path of the first NAME.conf there is. false: there is none. */
bool cyrus_find_conf(const char *directories, const char *name, struct buf *path);
/* Its beginning; out has room for CYRUS_CONF_MAX and is secret. RC_TEMP: it cannot be read. */
enum rc cyrus_conf_read(const char *path, struct buf *out) MUST_CHECK;

/* Warnings about a service with smtpd_sasl_type = cyrus: no NAME.conf, no database, nobody who listens, and what auth_user may not do. */
void cyrus_files_check(struct conf *c, const struct service *s);

#endif
