/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * relay.h - the relay role: jobs from queue in, SMTP and LMTP out, results back.
 *
 * Queue decides how many jobs run at a time; each gets a session, one at rest to the same destination
 * when there is one. Holds outgoing sockets and read-only descriptors of content; opens no file.
 */
#ifndef DELIVER_RELAY_H
#define DELIVER_RELAY_H

#include "ipc/child.h"

extern const struct role_ops relay_role;

#endif
