/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dnsbl_check.h - "dogana dnsbl check [IP|NAME]": each DNS list of the configuration, where it is used, its health, and what would become
 * of a client. Real DNS, probes made now, and a loop of its own: nothing of a running gateway is touched.
 */
#ifndef POLICY_DNSBL_CHECK_H
#define POLICY_DNSBL_CHECK_H

#include <stdbool.h>
#include <stdio.h>

/* what: an address, a name, or NULL. Exit status 0: every list is healthy and nothing would refuse; 1: not so; 2: usage or
 * configuration. */
int policy_dnsbl_check(const char *dir, const char *what, bool json, FILE *out);

#endif
