/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * views.h - a message as other readers of mail may see it.
 *
 * libclamav reads a message in one way. Where mail clients may read it in another (two Content-Transfer-Encodings, one that is written
 * oddly or stands where it has no meaning, encoded lines outside of any part, several boundaries), the encoded stretches that the
 * usual reading leaves alone are decoded and scanned, too. A plain message costs one pass over its octets.
 */
#ifndef VIRUS_VIEWS_H
#define VIRUS_VIEWS_H

#include "filters/virus/engine.h"

/* Something worse than *v: *v is replaced. RC_TEMP: libclamav failed. until: clock_mono(). */
enum rc views_scan(struct engine *en, struct span message, uint64_t until, struct virus_verdict *v, struct err *e) MUST_CHECK;

#endif
