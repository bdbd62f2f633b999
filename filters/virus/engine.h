/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * engine.h - libclamav: signatures loaded once, octets in memory scanned. For processes of one thread; what is loaded is shared
 * by forked children.
 */
#ifndef VIRUS_ENGINE_H
#define VIRUS_ENGINE_H

#include "filters/virus_conf.h"
#include "filters/virus/verdict.h"

struct engine;

/* Loads virus_database; takes as long as libclamav takes (half a minute for the official signatures). RC_TEMP: cannot be loaded as it is. */
enum rc engine_load(const struct virus_conf *conf, struct engine **out, struct virus_version *version, struct err *e) MUST_CHECK;
/* RC_OK: *out (VIRUS_CLEAN, _FOUND, _ENCRYPTED, _MACRO, _LIMITS); RC_TEMP: libclamav failed. left_usec: of this message's time. */
enum rc engine_scan(struct engine *en, struct span octets, uint64_t left_usec, struct virus_verdict *out, struct err *e) MUST_CHECK;

/* What the files of a database are just now: changes with any of them. 0: there are none. */
uint64_t database_look(const char *path);

#endif
