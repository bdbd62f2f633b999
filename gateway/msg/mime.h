/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * mime.h - walks over a message while it arrives: every header of it and of its parts, every line or stretch of its bodies, every
 * line that separates parts. The one parser of MIME here; facts 10.1 (what Postfix's cleanup sees), RFC 2045, 2046.
 *
 * The caller holds the octets: mime_next() looks at what there is and says what its front is. The texts it gives, one after the
 * other, are the input octet for octet; pieces of any size give the same events (only stretches of bodies may come in other pieces).
 * No recursion; memory is the boundaries in force, at most nesting_max + 2 of boundary_max octets, as in Postfix. Time is linear.
 *
 *	struct mime_reader r;                 (or mime_next() itself, when the octets stay where they are anyway)
 *	mime_reader_init(&r, &conf);
 *	for each piece: mime_reader_put(&r, piece); while (mime_reader_next(&r, &item) != MIME_MORE) ...
 *	mime_reader_end(&r); while (mime_reader_next(&r, &item) != MIME_MORE) ...
 *	mime_reader_fini(&r);
 *
 * Read as Postfix reads it: a header block ends at the first line that is no header; all boundaries of a Content-Type count, those of several
 * Content-Types, too; what stands behind a boundary on its line is ignored; the last Content-Transfer-Encoding that is known holds. Line ends
 * are CRLF or LF.
 */
#ifndef MSG_MIME_H
#define MSG_MIME_H

#include "base/buf.h"

enum mime_event {
	MIME_MORE = 0,       /* nothing can be said yet; when the end was said: that was all */
	MIME_HEADER,         /* a header, with the lines that continue it */
	MIME_HEADER_REST,    /* what the header before has beyond header_max, in pieces */
	MIME_HEADER_END,     /* the header block is over. text: its empty line, or nothing: it has none */
	MIME_BOUNDARY,       /* a line that separates parts; in several pieces when it is longer than line_max */
	MIME_BODY,           /* of a body: a line, a piece of a line longer than line_max, or (not by lines) any stretch */
};

enum mime_class { MIME_PRIMARY = 0, MIME_PART, MIME_NESTED }; /* whose header: the message's, a part's, of a message inside of it */
enum mime_field { MIME_FIELD_OTHER = 0, MIME_FIELD_TYPE, MIME_FIELD_ENCODING, MIME_FIELD_DESCRIPTION, MIME_FIELD_DISPOSITION, MIME_FIELD_ID,
	MIME_FIELD_VERSION };
enum mime_type { MIME_TEXT = 0, MIME_MESSAGE, MIME_MULTIPART, MIME_OTHER };
enum mime_subtype { MIME_SUB_OTHER = 0, MIME_SUB_PLAIN, MIME_SUB_RFC822, MIME_SUB_PARTIAL, MIME_SUB_EXTERNAL, MIME_SUB_DIGEST };
enum mime_encoding { MIME_7BIT = 0, MIME_8BIT, MIME_BINARY, MIME_BASE64, MIME_QP };

/* What is wrong; each is told once in a message, with the item that has it. */
enum {
	MIME_FAULT_NESTING = 1,      /* deeper than nesting_max */
	MIME_FAULT_LONG = 2,         /* a header longer than header_max */
	MIME_FAULT_8BIT_HEADER = 4,
	MIME_FAULT_8BIT_BODY = 8,    /* in a body that does not say so */
	MIME_FAULT_DOMAIN = 16,      /* an encoding that message or multipart must not have */
};

enum {
	MIME_OFF = 1,                /* no parts: a header, and a body (disable_mime_input_processing) */
	MIME_WANT_7BIT_HEADERS = 2,  /* look for MIME_FAULT_8BIT_HEADER */
	MIME_WANT_7BIT_BODY = 4,     /* look for MIME_FAULT_8BIT_BODY: needs lines_max UINT64_MAX */
	MIME_WANT_DOMAIN = 8,        /* look for MIME_FAULT_DOMAIN */
};

struct mime_conf {
	size_t header_max;           /* header_size_limit: a header is given whole up to here */
	size_t line_max;             /* line_length_limit: longer lines come in pieces of so many octets; at least 4 */
	size_t boundary_max;         /* mime_boundary_length_limit: octets of a boundary that are compared */
	unsigned nesting_max;        /* mime_nesting_limit: boundaries beyond it are not looked for */
	uint64_t lines_max;          /* octets of each body that come line by line; what is behind comes in stretches, which is faster */
	unsigned flags;
};
extern const struct mime_conf mime_conf_default; /* Postfix's defaults, no lines */

struct mime_item {
	enum mime_event event;
	struct span text;            /* from the front of the input; borrowed from there */
	/* HEADER */
	enum mime_class class;       /* of HEADER_END, too */
	enum mime_field field;
	size_t name_len, colon;      /* octets of the name, and where the colon is (blanks may stand before it) */
	bool is_cut;                 /* more of it follows as HEADER_REST */
	/* HEADER_END: what the body behind it is, said or by default. Lines of BODY: encoding */
	enum mime_type type;
	enum mime_subtype subtype;
	enum mime_encoding encoding, domain; /* domain: 7BIT, 8BIT or BINARY */
	bool is_eof;                 /* no body at all: the input ended */
	/* BODY, BOUNDARY */
	bool is_begin, is_end;       /* text begins a line; ends with its line end */
	uint64_t offset;             /* octets of this body before it, its empty line and line ends one each where it came by lines */
	unsigned depth;              /* BOUNDARY: of its multipart, from 1. HEADER_END: multiparts around the body, itself included */
	bool is_close;               /* BOUNDARY: "--" follows it: that multipart is over */
	unsigned fault;              /* MIME_FAULT_*: seen here for the first time */
};

struct mime {
	struct mime_conf conf;
	/* private */
	enum { MIME_IN_HEADER = 0, MIME_IN_REST, MIME_IN_BOUNDARY, MIME_IN_BODY } state;
	enum mime_class class;       /* in a header block */
	enum mime_type type;         /* of the part at hand */
	enum mime_subtype subtype;
	enum mime_encoding encoding, domain;
	size_t seen;                 /* octets at the front of the input that need not be looked at again */
	size_t name_len, colon;
	bool in_line, at_bol, is_closed;
	uint64_t offset;
	unsigned faults;             /* told already */
	struct mime_level {
		size_t at, n;        /* its boundary in bounds */
		bool is_digest;
	} *level;                    /* heap */
	unsigned depth, cap;
	struct buf bounds;
	struct buf token;            /* of the field that is being read */
};

void mime_init(struct mime *m, const struct mime_conf *conf);
void mime_fini(struct mime *m);      /* idempotent; fine on zeroed memory */
/* in: all that is there behind the text of the last event. at_end: no more will come. Never asks for more than
 * header_max + line_max + a few octets at once. */
enum mime_event mime_next(struct mime *m, struct span in, bool at_end, struct mime_item *out);

/* "5.6.0" and the text that goes with the worst of these faults. */
const char *mime_fault_text(unsigned faults);
const char *mime_encoding_name(enum mime_encoding e);

/* The same for input that does not stay where it is. */
struct mime_reader {
	struct mime mime;
	/* private */
	struct buf kept;             /* what could not be told yet */
	size_t fresh;                /* octets at the end of kept that are in piece, too */
	struct span piece;           /* not looked at: from at on */
	size_t at, last;
	bool last_kept, at_end;
};
void mime_reader_init(struct mime_reader *r, const struct mime_conf *conf);
void mime_reader_fini(struct mime_reader *r);
/* Only after MIME_MORE. piece must stay until the next MIME_MORE. */
void mime_reader_put(struct mime_reader *r, struct span piece);
void mime_reader_end(struct mime_reader *r);
/* Texts are borrowed until the next call. */
enum mime_event mime_reader_next(struct mime_reader *r, struct mime_item *out);

/* ---- fields ---- */

enum mime_field mime_field_id(struct span name);
/* The value of a Content-Transfer-Encoding; false: it says nothing that is known, nothing is changed. */
bool mime_encoding_read(struct span value, struct buf *scratch, enum mime_encoding *encoding, enum mime_encoding *domain);

/* The next item of a structured field, up to terminator, as RFC 2045 5.1 cuts it: comments and blanks are left out, quoted strings unquoted
 * and unfolded. kind: 'a' an atom, '"' a quoted string, otherwise the special itself. Only the first MIME_TOKENS are kept.
 * terminator 0: none; ends with the last token kept. Texts are in scratch (reset at the beginning) until the next call. */
enum { MIME_TOKENS = 3 };
struct mime_token {
	unsigned char kind;
	struct span text;
};
struct mime_tokens {
	unsigned n;
	struct mime_token tok[MIME_TOKENS];
};
/* false: there is nothing (more). */
bool mime_tokens(struct span *rest, const char *specials, unsigned char terminator, struct buf *scratch, struct mime_tokens *out);
#define MIME_SPECIALS "()<>@,;:\\\"/[]?="         /* RFC 2045 5.1 */
#define MIME_SPECIALS_822 "()<>@,;:\\\".[]"      /* RFC 822 3.3 */

#endif
