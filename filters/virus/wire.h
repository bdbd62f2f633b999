/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * wire.h - what front, generations and workers say to each other: fixed structures, one a datagram (SOCK_SEQPACKET), same program
 * at both ends. The front believes none of it blindly: a worker may have been taken over by what it scans.
 *
 * A message is in the worker's memory file, which both have mapped: the front writes it (and makes it larger, it is sealed against
 * shrinking), then asks; the worker answers with one verdict.
 */
#ifndef VIRUS_WIRE_H
#define VIRUS_WIRE_H

#include "filters/virus/verdict.h"

/* front -> worker */
struct wire_scan {
	uint64_t len;                /* octets of the message, from the beginning of the memory file */
	uint64_t head;               /* so many of them at its beginning are not part of it (VIRUS_HEAD) */
};

/* worker -> front */
struct wire_verdict {
	uint32_t kind;               /* enum virus_kind */
	char name[VIRUS_NAME_MAX];
};

/* generation -> front */
enum wire_type { WIRE_WORKER = 1, WIRE_READY };
struct wire_generation {
	uint32_t type;
	uint32_t id;                 /* of the worker; WIRE_WORKER comes with its socket and its memory file */
	struct virus_version version;/* WIRE_READY: from here on it is in use; its workers follow */
};

/* front -> generation: end this worker, it does not answer */
struct wire_kill {
	uint32_t id;
};

/* Written in front of every message, so that libclamav sees mail whatever its first header is. */
#define VIRUS_HEAD "Received: by dogana-virus\r\n"

enum { WIRE_MAP_FIRST = 256 * 1024 };

#endif
