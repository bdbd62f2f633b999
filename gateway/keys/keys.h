/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * keys.h - the role that holds the private keys and does nothing but use them for edge and relay.
 *
 * It talks to nobody else, opens nothing, and cannot be looked into. What an asker may ask for is in README.md.
 */
#ifndef KEYS_KEYS_H
#define KEYS_KEYS_H

#include "ipc/child.h"

extern const struct role_ops keys_role;

#endif
