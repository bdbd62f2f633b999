/* SPDX-License-Identifier: BSD-2-Clause */
/* check_routes.h - what stands in tables of transports, next hops and wishes about held mail, for check: mail for a mistake there would wait, or be held. */
#ifndef ADMIN_CHECK_ROUTES_H
#define ADMIN_CHECK_ROUTES_H

#include "conf/conf.h"

/* Problems only, into the snapshot. In the loader. */
void check_routes(struct conf *c, enum conf_severity severity);

#endif
