/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * header.h - walks over the header of a message while it arrives: where it ends, how many Received there
 * are, what the Message-ID is. Facts 12.2; attacks E02 to E05.
 *
 * Input is content with CRLF line ends (smtp/line.h), in whatever pieces. What must be put right is told,
 * not done: the caller inserts and goes on.
 */
#ifndef MSG_HEADER_H
#define MSG_HEADER_H

#include "base/span.h"

enum header_event {
	HEADER_MORE = 0,         /* all used that could be; feed again from there when there is more */
	HEADER_MBOX,             /* at the position used: an mbox "From " line; insert HEADER_MBOX_NAME there */
	HEADER_NO_BLANK,         /* at the position used: the body begins without an empty line; insert CRLF there.
	                          * The header is over. */
	HEADER_END,              /* the empty line was used: the body follows */
};
#define HEADER_MBOX_NAME "X-Mailbox-Line: "

enum { HEADER_NAME_MAX = 998, HEADER_ID_MAX = 256, HEADER_ENCODING_MAX = 40 };

/* Names that are looked for. Most names are known to be none of them by their length and first letter. */
struct header_watch {
	struct span *names;
	size_t n;
	uint64_t lengths;        /* bit for each length; 63: that and more */
	uint32_t letters;        /* bit for the low five bits of each first octet */
};
/* names is kept by reference. */
void header_watch_init(struct header_watch *w, struct span *names, size_t n);
bool header_watch_has(const struct header_watch *w, struct span name);

static inline bool
header_watched(const struct header_watch *w, struct span name)
{
	return name.n > 0 && (w->lengths >> (name.n < 63 ? name.n : 63) & 1) != 0 && (w->letters >> (name.p[0] & 31) & 1) != 0 &&
	    header_watch_has(w, name);
}

struct header_scan {
	const struct header_watch *watch; /* set before the first octet; NULL: none */
	bool is_watched;         /* one of them was there */
	bool is_spaced;          /* a header had blanks before its colon */
	bool done;               /* the header is over; set by END and NO_BLANK */
	bool has_8bit;           /* an octet over 127 */
	bool says_8bit;          /* a Content-Transfer-Encoding that is 8bit or binary; with done */
	uint32_t received;       /* Received headers */
	uint32_t count;          /* headers */
	uint64_t longest;        /* octets of the longest header with its continuation lines, so far */
	uint16_t id_len;
	unsigned char id[HEADER_ID_MAX]; /* value of the first Message-ID, cut, not trimmed */
	/* private */
	bool in_line;            /* inside a line that was recognised */
	bool is_id;              /* and belongs to the Message-ID */
	bool is_encoding;        /* or to a Content-Transfer-Encoding, of whose value this is the beginning: */
	uint8_t encoding_len;
	unsigned char encoding[HEADER_ENCODING_MAX];
	bool any, mbox;          /* a header was there; the line at hand is an mbox line we were told to name */
	uint64_t size;           /* of the header at hand */
};

/* Looks at in; *used_out octets are settled. at_end: no more will come, so decide with what there is. */
enum header_event header_feed(struct header_scan *h, struct span in, bool at_end, size_t *used_out);
/* Message-ID without the white space around it; empty: none. */
struct span header_message_id(const struct header_scan *h);

#endif
