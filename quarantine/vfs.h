/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vfs.h - SQLite's files below a directory descriptor.
 *
 * The role has no way to the directory by name (its root is elsewhere), and every call that touches the disk has to be one of
 * spool/io.h, so that tests can fail it. So the calls of SQLite's own "unix" VFS are replaced by ours: a path that begins with
 * the prefix of a directory is opened below its descriptor, never through a link; all others go the way they always did.
 * Syncing is not SQLite's business here (PRAGMA synchronous = OFF): the writer does it, for files and index together.
 */
#ifndef QUARANTINE_VFS_H
#define QUARANTINE_VFS_H

#include "base/base.h"

enum { VFS_PATH_MAX = 64 };

/* Names the directory for SQLite: path_out is "PREFIX/name". dir_fd is borrowed until vfs_remove(). Before any thread uses SQLite. */
void vfs_add(int dir_fd, const char *name, char path_out[VFS_PATH_MAX]);
void vfs_remove(int dir_fd);

#endif
