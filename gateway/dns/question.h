/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * question.h - the packet that asks, and whether a packet that came answers it. Pure.
 *
 * Letters of the name are written large or small as 64 bits say, which an answer has to repeat (the "0x20" of the DNS
 * security draft): who cannot see the question has them to guess besides id and port. The name the user typed is put
 * back before the answer is parsed, so that names which are compressed into the question come out as he knows them.
 */
#ifndef DNS_QUESTION_H
#define DNS_QUESTION_H

#include "dns/answer.h"

enum {
	DNS_HEADER = 12,
	DNS_ASKED_MAX = DNS_NAME_MAX + 4,                 /* name, type, class */
	DNS_QUESTION_MAX = DNS_HEADER + DNS_ASKED_MAX + 11,
	DNS_EDNS_SIZE = 1232,                             /* of an answer over UDP: fits any path unfragmented */
};

struct dns_question {
	uint16_t id;
	enum dns_type type;
	uint64_t letters;            /* letter i of the name is a capital when bit i % 64 says so */
	bool as_typed;               /* letters as they are */
	bool plain;                  /* without EDNS */
	bool secure;                 /* AD and DO: say whether it is proven (RFC 6840 5.7, RFC 3225) */
};

/* The question section; 0: the name cannot be asked for. */
size_t dns_asked_write(const struct dns_question *q, struct span name, unsigned char out[DNS_ASKED_MAX]) MUST_CHECK;
/* The whole packet; 0 as above. */
size_t dns_question_write(const struct dns_question *q, struct span name, unsigned char out[DNS_QUESTION_MAX]) MUST_CHECK;

enum dns_match {
	DNS_MATCH,
	DNS_MATCH_NOT,               /* no answer, or to something else */
	DNS_MATCH_CASE,              /* to this, but the letters are not as they were asked */
	DNS_MATCH_BARE,              /* an error without a question in it: a header only (old servers, to EDNS) */
};
/* The id is the caller's to compare. asked: as written above. */
enum dns_match dns_question_match(struct span packet, struct span asked);

#endif
