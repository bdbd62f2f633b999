/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * idn.h - an internationalised domain name as the DNS has it: "xn--" labels (RFC 3492, RFC 5891). Pure.
 *
 * Letters are made small where Unicode has one small letter for one capital in the Latin, Greek and Cyrillic blocks;
 * other mappings and normalisation (NFC) are the sender's business: what is not normal is a name that does not exist.
 */
#ifndef DNS_IDN_H
#define DNS_IDN_H

#include "base/span.h"

enum { DNS_IDN_MAX = 256 };

/* ASCII labels stay as they are. false: not UTF-8, or a label or the name becomes too long. *ascii_out is in out, or the name
 * itself when it is ASCII. */
bool dns_to_ascii(struct span name, unsigned char out[DNS_IDN_MAX], struct span *ascii_out) MUST_CHECK;

#endif
