/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * auth.h - the auth role: logins checked by libsasl2 for the edge processes (sasl/cyrus.h asks, IPC AUTH_*).
 *
 *	edge ==AUTH_BEGIN, AUTH_STEP==> auth.c -> worker.h (threads) -> cyrus_server.h (libsasl2)
 *
 * One process, started only when a service has smtpd_sasl_auth_enable = yes and smtpd_sasl_type = cyrus. libsasl2 blocks (a slow
 * saslauthd, a database on a slow disk), so each login runs in one of a few threads, one step at a time; the loop only carries.
 * A login that is not finished is forgotten after AUTH_CONTEXT_USEC; each edge may have AUTH_CONTEXTS_MAX under way.
 *
 * Rights: auth_user, with the groups that user is in. To read /etc/sasldb2 (root:sasl, 0640 on Debian) that user has to be in
 * the group sasl. No chroot: saslauthd's socket and the database are reached by their paths. It writes nowhere and executes nothing.
 */
#ifndef AUTH_AUTH_H
#define AUTH_AUTH_H

#include "ipc/child.h"

extern const struct role_ops auth_role;

#endif
