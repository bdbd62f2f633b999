/* SPDX-License-Identifier: BSD-2-Clause */
/* status.h - asks every role how it is, and answers `dogana status` as text or JSON. Runs in: master. */
#ifndef ADMIN_STATUS_H
#define ADMIN_STATUS_H

#include "admin/control.h"
#include "admin/procs.h"
#include "admin/filewatch.h"

/* Collects (roles that do not answer in time are shown as such) and replies to the client. */
void status_start(struct procs *p, const struct listen_set *listeners, const struct filewatch *tables, struct control_client *client, bool as_json);

#endif
