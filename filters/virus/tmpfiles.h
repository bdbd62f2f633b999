/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * tmpfiles.h - the temporary files of libclamav, in memory.
 *
 * libclamav makes a directory and some files for each scan and knows no other way than paths. A scanning process may open no
 * file at all, so open(2) and its relatives are our own here, for libclamav too (a program's symbols come before those of its
 * libraries): paths below TMPFILES_ROOT are files of memfd_create(2) and exist in this process alone; all others go to the C library.
 * Nothing is left on a disk whatever happens, and it is the same for root and for an ordinary user. For processes of one thread.
 */
#ifndef VIRUS_TMPFILES_H
#define VIRUS_TMPFILES_H

#include "base/base.h"

#define TMPFILES_ROOT "/scan"

/* From here on paths below TMPFILES_ROOT are ours; all files together have at most so many octets (looked at when one is made). */
void tmpfiles_begin(uint64_t bytes_max);
/* Forgets all of them: between two scans. */
void tmpfiles_reset(void);

#endif
