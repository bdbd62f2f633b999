/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * feed.h - reads ahead for libmilter.
 *
 * For each frame libmilter asks poll(2) three times and read(2) twice, and a connection that has nothing to say for a millisecond goes back
 * to a pool of threads, which costs three changes of context. In this program poll, read, accept and close are our own, for libmilter,
 * too: a connection of the MTA is read as far as there is something, its frames come from memory, and a thread stays with it
 * for a while. Other descriptors are not touched. The front alone switches it on.
 */
#ifndef VIRUS_FEED_H
#define VIRUS_FEED_H

#include "base/base.h"

void feed_begin(void);

#endif
