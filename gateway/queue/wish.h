/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * wish.h - what a recipient wants done with mail that is held for him: a value of quarantine_recipient_policy. Pure.
 *
 *	hold                          any class
 *	deliver                       any class but virus, which has to be named
 *	virus=discard attachment=deliver hold      by class; a word without one is for all others, wherever it stands
 */
#ifndef QUEUE_WISH_H
#define QUEUE_WISH_H

#include "msg/held.h"

enum wish { WISH_HOLD = 1, WISH_DELIVER, WISH_DISCARD };

/* What the value says of mail of this class. RC_PERM: it is none; *out is WISH_HOLD then. */
enum rc wish_read(struct span value, enum held_class class, enum wish *out, struct err *e) MUST_CHECK;

#endif
