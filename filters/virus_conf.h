/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virus_conf.h - the virus_* parameters as the virus filter wants them. Read by its program, and by `dogana check`.
 */
#ifndef FILTERS_VIRUS_CONF_H
#define FILTERS_VIRUS_CONF_H

#include "conf/conf.h"
#include "ipc/endpoint.h"

enum virus_action { VIRUS_ACCEPT = 0, VIRUS_TAG, VIRUS_QUARANTINE, VIRUS_REJECT, VIRUS_DISCARD };
enum virus_unavailable { VIRUS_TEMPFAIL = 0, VIRUS_ACCEPT_AND_TAG, VIRUS_HOLD_AND_RESCAN };

struct virus_conf {
	bool is_clamd;
	struct endpoint *clamd;          /* owned; NULL: embedded */
	const char *database;            /* strings: borrowed from the snapshot */
	const char *header;              /* virus_header; "": none is added */
	unsigned workers;                /* at work at a time, at least 1 */
	unsigned spares;                 /* processes more, for when these are at something slow */
	enum virus_action found, encrypted, macro, limits;
	enum virus_unavailable unavailable;
	uint64_t max_file_size, max_scan_size, max_memory;
	uint64_t messages_max;           /* octets of all messages that are here, and one of max_file_size */
	unsigned max_recursion, max_files;
	uint64_t scan_usec, wait_usec, connect_usec;
	size_t cache_size;
};

/* virus_engine must not be empty. RC_PERM: the reason is in e. */
enum rc virus_conf_read(struct conf *c, struct virus_conf *out, struct err *e) MUST_CHECK;
void virus_conf_fini(struct virus_conf *v);
/* Adds what is wrong; nothing when the filter is switched off. */
void virus_conf_check(struct conf *c);

#endif
