/* SPDX-License-Identifier: BSD-2-Clause */
/* hosts.h - host names that /etc/hosts knows: servers of tables are often on this machine. Pure but for reading the file. */
#ifndef LOOKUP_HOSTS_H
#define LOOKUP_HOSTS_H

#include "base/ipaddr.h"

/* Addresses of a name in the text of such a file, in its order; how many (at most max). */
size_t hosts_find(struct span text, struct span name, struct ipaddr *out, size_t max);
/* The same of the machine's file; "localhost" is always there. */
size_t hosts_ask(struct span name, struct ipaddr *out, size_t max);

#endif
