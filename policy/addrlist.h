/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * addrlist.h - the addresses in a value of a table or of alias_maps: "a@b, "c d"@e  F G <h@i>, (comment) j".
 *
 * RFC 822 as Postfix reads it: separated by commas, semicolons or just blanks; names in front of <...> and comments are not
 * part of an address, quotes and backslashes are taken off. Each comes out in internal form, not completed. Pure; the text
 * may have any bytes.
 */
#ifndef POLICY_ADDRLIST_H
#define POLICY_ADDRLIST_H

#include "base/buf.h"

struct addrlist {
	struct span rest;
	/* of the address that came out last */
	struct span text;            /* in the buffer given */
	bool too_long;               /* it did not fit into out: text is empty */
	bool quoted;                 /* it began with a quote */
	bool no_alias;               /* it began with a backslash: "\user" is the mailbox itself */
	const unsigned char *plain_to; /* private: there is no '<' before this */
};

#define ADDRLIST(s) ((struct addrlist){ .rest = (s) })

/* The next one, in out (emptied first). false: there is none. "" and <> are the empty address. */
bool addrlist_next(struct addrlist *l, struct buf *out);

#endif
