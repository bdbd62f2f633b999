/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ports.h - names of ports: known_tcp_ports first ("lmtp=24, smtp=25, smtps=submissions=465"), then, where it may be read,
 * /etc/services, which a minimal system does not have.
 */
#ifndef CONF_PORTS_H
#define CONF_PORTS_H

#include "base/span.h"

/* "25", "smtp": a number, or a name of the list; smtp and lmtp are known to any list. Pure. RC_PERM: neither, or 0. */
enum rc port_known(struct span text, const char *known_ports, uint16_t *out) MUST_CHECK;

/* The same, and /etc/services. For the loader, the master and commands: blocks. */
enum rc port_find(struct span text, const char *known_ports, uint16_t *out) MUST_CHECK;

#endif
