/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * verdict.h - what a scan can find, and the names engines give to it. Pure functions.
 *
 * Names come from signatures, or from clamd: outside bytes. Only what virus_name_clean() made goes on to headers, replies, the log.
 */
#ifndef VIRUS_VERDICT_H
#define VIRUS_VERDICT_H

#include "base/span.h"

enum virus_kind {
	VIRUS_CLEAN = 0,
	VIRUS_FOUND,
	VIRUS_ENCRYPTED,             /* an archive or document that cannot be looked into */
	VIRUS_MACRO,
	VIRUS_LIMITS,                /* larger, deeper or slower than virus_max_* */
	VIRUS_UNSCANNED,             /* not now */
	VIRUS_ASIDE,                 /* the scan of this very content failed each time */
	VIRUS_KINDS
};

enum { VIRUS_NAME_MAX = 128 };

struct virus_verdict {
	enum virus_kind kind;
	char name[VIRUS_NAME_MAX];   /* of the signature; or why it was not scanned; clean, may be empty */
};

/* "Clean", "Infected", ...: the first word of the header and of the log line. */
const char *virus_kind_word(enum virus_kind kind);
/* What an engine's name for what it found means. */
enum virus_kind virus_kind_of(struct span name);
/* Letters, digits and a few signs stay, all else becomes '_'; cut; never empty. */
void virus_name_clean(struct span name, char out[VIRUS_NAME_MAX]);
/* A verdict with a name of its kind, cleaned. */
struct virus_verdict virus_verdict_of(struct span name);
struct virus_verdict virus_verdict_why(enum virus_kind kind, const char *why);

/* The reply of clamd to INSTREAM, without the NUL at its end: "stream: OK", "stream: NAME FOUND", anything else. RC_OK: *out; RC_TEMP:
 * it was not scanned, e says why. */
enum rc clamd_reply(struct span reply, struct virus_verdict *out, struct err *e) MUST_CHECK;
/* "ClamAV 1.4.2/27500/Mon ..." of VERSION: the engine, and what its signatures are ("" when it does not say). RC_PERM: no such thing. */
enum { VIRUS_VERSION_MAX = 64 };
struct virus_version {
	char engine[VIRUS_VERSION_MAX], signatures[VIRUS_VERSION_MAX];
};
enum rc clamd_version(struct span reply, struct virus_version *out) MUST_CHECK;

#endif
