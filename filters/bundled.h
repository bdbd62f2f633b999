/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bundled.h - the milters that come with the gateway: which are switched on, where they listen, what happens without them.
 *
 * Each is a program of its own (dogana-NAME, built on libmilter) that the master runs. In smtpd_milters, non_smtpd_milters and
 * smtpd_milter_maps it is named bundled:NAME; one that is switched on and not named stands at the end of the list, in the order of this table.
 */
#ifndef FILTERS_BUNDLED_H
#define FILTERS_BUNDLED_H

#include "base/buf.h"
#include "conf/conf.h"

enum bundled {
	BUNDLED_VIRUS = 0,
	BUNDLED_ATTACHMENTS,
	BUNDLED_COUNT
};

#define BUNDLED_PREFIX "bundled:"

/* "virus", "attachments": of the program behind "dogana-", and of the socket. */
const char *bundled_name(enum bundled b);
/* The parameter that switches it on. */
const char *bundled_switch(enum bundled b);
bool bundled_is_on(const struct conf *c, enum bundled b);
/* Is this item of a list ("bundled:virus") one of them? RC_NONE: no bundled filter at all; RC_PERM: there is none of that name. */
enum rc bundled_find(struct span item, enum bundled *out, struct err *e) MUST_CHECK;

/* Where roles reach it, for endpoint_open(): "unix:filters/virus.sock", below queue_directory. */
const char *bundled_endpoint(enum bundled b);
/* The directory of the sockets, in full; appended. */
void bundled_directory(const struct conf *c, struct buf *path);

/* What happens when it does not answer, as milter_default_action says it: "tempfail", "accept", "quarantine". */
const char *bundled_default_action(const struct conf *c, enum bundled b);
/* With "quarantine": the reason, as the filter would say it ("unscanned: ..."). */
const char *bundled_default_reason(enum bundled b);
/* With "accept": the header line that the gateway adds itself, without line end, or NULL. Lines of that name are removed. */
const char *bundled_default_header(enum bundled b);

#endif
