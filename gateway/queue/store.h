/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * store.h - small facts that must outlive a restart and may be lost: verified addresses, greylisted triplets. One LMDB
 * file each below the spool's directory, keys and values of bytes, every value with a time to die.
 *
 * Writes gather in one open transaction and are committed from a timer, at most once a second, without waiting for the
 * disk: a crash loses the last second, a file that is damaged is begun anew with a warning. Bounded: when it is full
 * what dies first goes; when that is not dead yet it is counted (M_store_evicted), and the log is told now and then.
 * Runs in: queue.
 */
#ifndef QUEUE_STORE_H
#define QUEUE_STORE_H

#include "base/buf.h"

enum { STORE_KEY_MAX = 500, STORE_VALUE_MAX = 1500 };

struct store;

/* name: file below directory; max_bytes: of the rows with what goes with them, the file may be larger. To be opened before
 * the role has other threads and before its sandbox. RC_TEMP: cannot be used (the caller goes on without memory and says so). */
enum rc store_open(const char *directory, const char *name, size_t max_bytes, struct store **out, struct err *e) MUST_CHECK;
void store_close(struct store **sp);             /* commits; NULL inside is fine */

/* RC_OK: *value_out until the next call of any store function; *dies_out wall clock usec. RC_NONE: not there, or dead. */
enum rc store_get(struct store *s, struct span key, struct span *value_out, uint64_t *dies_out) MUST_CHECK;
/* key and value must not come out of store_get. RC_PERM: too long (or an empty key); RC_TEMP: not remembered, the store has said why. */
enum rc store_put(struct store *s, struct span key, struct span value, uint64_t dies) MUST_CHECK;
void store_delete(struct store *s, struct span key);
void store_empty(struct store *s);               /* everything goes */
size_t store_count(const struct store *s);
/* Buries up to n that are dead; true: there may be more. From a timer. */
bool store_bury(struct store *s, size_t n);

#endif
