/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * keynote.h - what the loader notes in a snapshot about certificates and keys, for edge, relay, keys and status. Nothing of it is secret.
 */
#ifndef TLS_KEYNOTE_H
#define TLS_KEYNOTE_H

#include "conf/conf.h"
#include "tls/chain.h"
#include "tls/key.h"

/* Notes about chains: their certificates, by the names of the files. key_file NULL: files is a list of chain files. */
#define KEYNOTE_CHAIN "tls-chain:"
void keynote_name_put(struct buf *b, enum tls_side side, const char *files, const char *key_file);
const char *keynote_files(const char *name);
void keynote_chain_put(struct buf *b, const struct chain *ch);
/* The PEM text of the next chain in a note; false at the end. */
bool keynote_chain(struct span *rest, struct span *pem_out);

/* Who may use a key: bits of enum tls_side. */
void keynote_allow(struct conf *c, const unsigned char id[KEY_ID], unsigned sides);
unsigned keynote_allowed(const struct conf *c, const unsigned char id[KEY_ID]);

#endif
