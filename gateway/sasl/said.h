/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * said.h - the name a client gives in a response, before anybody has checked it: for the log, and for counting failures.
 *
 * Pure. Knows PLAIN, LOGIN, CRAM-MD5, SCRAM-*, XOAUTH2 and OAUTHBEARER; of others the name is not known.
 */
#ifndef SASL_SAID_H
#define SASL_SAID_H

#include "base/span.h"

enum { SASL_NAME_MAX = 255 };

/* nth: which response of the client it is, from 0. Borrowed from the response; empty: none, or not a name that can be shown. */
struct span sasl_said_name(struct span mech, unsigned nth, struct span response);

#endif
