/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cyrus_server.h - libsasl2's server side, its only user. One login at a time is used by one thread at a time; different ones by
 * different threads. Calls may block for as long as the database or saslauthd takes.
 */
#ifndef AUTH_CYRUS_SERVER_H
#define AUTH_CYRUS_SERVER_H

#include "ipc/msgs.h"

/* Once per process, before any thread. application: smtpd_sasl_path, of the file APPLICATION.conf; directories: where it may be,
 * separated by ':'. */
enum rc cyrus_server_init(const char *application, const char *directories, struct err *e) MUST_CHECK;

/* Is there a plugin for a mechanism, whether or not it may be used? */
bool cyrus_server_provides(struct span mech);
/* Appends the names of the mechanisms, separated by blanks. */
enum rc cyrus_server_mechs(const struct msg_auth_mechs *of, struct buf *out, struct err *e) MUST_CHECK;

struct cyrus_login;
/* NULL: it cannot begin, e says why. */
struct cyrus_login *cyrus_login_new(const struct msg_auth_mechs *of, struct err *e) MUST_CHECK;
void cyrus_login_free(struct cyrus_login **lp);

/* text: the challenge as octets, or the reason. user: who it is. What libsasl2 logged meanwhile is in cyrus_login_log(), a line each. */
enum auth_outcome cyrus_login_begin(struct cyrus_login *l, const char *mech, bool has_initial, struct span initial, struct buf *text, struct buf *user);
enum auth_outcome cyrus_login_step(struct cyrus_login *l, struct span response, struct buf *text, struct buf *user);
struct buf *cyrus_login_log(struct cyrus_login *l);

#endif
