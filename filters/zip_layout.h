/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zip_layout.h - headers and directory of a ZIP file, and whether they say the same.
 *
 * Programs differ about which of them they believe, so an archive whose headers contradict its directory is another one for each.
 * Pure; every span points into the file.
 */
#ifndef FILTERS_ZIP_LAYOUT_H
#define FILTERS_ZIP_LAYOUT_H

#include "base/span.h"

enum { ZIP_FLAG_ENCRYPTED = 1, ZIP_FLAG_SIZES_BEHIND = 8 };
enum { ZIP_STORED = 0, ZIP_IMPLODED = 6, ZIP_DEFLATE = 8, ZIP_DEFLATE64 = 9, ZIP_BZIP2 = 12, ZIP_AES = 99 };

#define ZIP_LOCAL SPAN("PK\3\4")
#define ZIP_ENTRY SPAN("PK\1\2")
#define ZIP_END SPAN("PK\5\6")

struct zip_member {
	uint16_t flags, method;
	uint32_t packed, size;
	uint32_t offset;             /* an entry of a directory: where it has the local header */
	size_t length;               /* of an entry */
	struct span name, extra;
	struct span rest;            /* of the file, from its data on */
	struct span local;           /* of the file, from its local header on */
};

/* A local header, an entry of a directory at the front of data, whatever its signature. false: it is cut. */
bool zip_take_local(struct span data, struct zip_member *out);
bool zip_take_entry(struct span data, struct zip_member *out);

/* The directory that the last end record names. */
struct zip_directory {
	size_t at, end;
	size_t shift;                /* of all offsets: what stands before the archive */
};
/* RC_NONE: there is no end record, or nothing where it points. RC_PERM: there is another end record (ZIP64), which may say something else. */
enum rc zip_find_directory(struct span file, struct zip_directory *out);

/* The local header an entry points at. false: there is none. */
bool zip_find_local(struct span file, const struct zip_directory *d, const struct zip_member *entry, size_t *start_out, struct zip_member *out);
/* Name, method, encryption and sizes are the same, and the data is there. */
bool zip_agree(const struct zip_member *local, const struct zip_member *entry);

/* file is an archive from its front, or one behind something else whose first entry points at its header. */
bool zip_is_one(struct span file);

/* Why a program that reads by the directory does not see all that another one may see: members that contradict their headers,
 * lie on another, or are in no directory; ways of packing that are not among known (a bit for each method). NULL: it does. */
const char *zip_doubt(struct span file, uint64_t known);

#endif
