/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ask_list.h - what rules ask DNS lists, remembered for the length of a run (as ask_dns.h). For files of policy/ only.
 */
#ifndef POLICY_ASK_LIST_H
#define POLICY_ASK_LIST_H

#include "policy/ask_dns.h"
#include "rbl/ask.h"

/* NULL: it is on its way, return POL_AGAIN. What comes stays until the run is reset. */
const struct rbl_ask *policy_ask_list(struct policy_run *r, enum rbl_kind kind, struct span domain, struct span query);

#endif
