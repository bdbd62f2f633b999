/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * search.h - everything in a message that a mail client could show as an attachment.
 *
 * Two readings are put together. The tree is what GMime makes of the message. The flat one believes no boundary: every line that begins
 * with "--" may begin a part, every header block behind one counts, however it is nested or hidden. Names and types of a part are
 * the union of both; its content is decoded under every encoding that is claimed, and looked into: archives, winmail.dat,
 * messages, uuencode in text. Linear in the octets of the message and of what is unpacked, which is limited; recursion is by
 * depth, which is limited, too. What a limit hides is a problem of the search, never "nothing there".
 *
 * Everything lives in the search's arena and in the message, which stays until search_fini().
 */
#ifndef ATTACHMENTS_SEARCH_H
#define ATTACHMENTS_SEARCH_H

#include "filters/attachment_rules.h"
#include "filters/attachments/names.h"

struct search_limits {
	uint32_t parts, depth, archive_depth, archive_members;
	uint64_t unpacked;           /* octets of all archives together */
};

#define SEARCH_NOWHERE UINT32_MAX

struct search_part {
	struct attachment_item item;
	uint32_t owner;              /* the part of the message that holds it: what would be replaced; itself for a part of the message */
	/* Of parts of the message itself, and of files in its text: octets of the message. */
	size_t delimiter;            /* the line with "--" before it; SIZE_MAX: none, it begins the message */
	size_t head;                 /* its header block; where the file in a text begins */
	size_t body;                 /* behind the empty line */
	size_t body_late;            /* the same for those who take a line of blanks for a part of the header */
	size_t end;                  /* to the next line with "--", without the line end before it */
	size_t end_tree;             /* GMime's; 0: it does not know this part */
	unsigned ctes;
	bool is_text_file;           /* uuencode and the like: lines in a text */
	bool is_container;           /* a multipart or message: its content are other parts */
	struct span shown;           /* its name for people; may be empty */
};

struct search {
	struct arena arena;
	struct span message;
	struct search_limits limits;
	struct search_part *parts;
	size_t nparts, cap;
	const char *problem;         /* why it could not be read whole; NULL: it could */
	bool is_composite;           /* the message has parts, or might have */
	uint32_t members;
	uint64_t unpacked;
	uint32_t entities;           /* parts that are neither members of archives nor files in a text */
	unsigned depth;              /* of messages in encoded messages, while they are read */
};

/* header and body of a message in one, with CRLF or LF line ends. */
void search_run(struct search *s, struct span message, const struct search_limits *limits);
void search_fini(struct search *s);
/* Where the next line begins, behind the one that begins at pos: CRLF, CR and LF each end one. */
size_t search_next_line(struct span message, size_t pos);

/* ---- for those who look into content ---- */

/* SEARCH_NOWHERE: there are too many; then the search has a problem. */
uint32_t search_add(struct search *s, const struct reading *r, enum attachment_where where, uint32_t owner);
/* Names and types of r are added to those the part has. */
void search_merge(struct search *s, uint32_t part, const struct reading *r);
/* why: a literal. The first one stays. */
void search_problem(struct search *s, const char *why);
/* false: a limit is reached. */
bool search_count_member(struct search *s);
bool search_count_unpacked(struct search *s, uint64_t octets);
/* A message, wherever it was found: its parts are added. owner: what holds it, SEARCH_NOWHERE for the message itself.
 * has_parts: whatever its header says; it may have none. */
void search_message(struct search *s, struct span message, uint32_t owner, bool has_parts);

/* content.c: the decoded octets of a part or a member: kinds, size, encryption, and what is in it. */
void content_look(struct search *s, uint32_t part, struct span data, unsigned archive_depth);
/* The same, and it may be a message or a text with files in it: for all that does not stand in the message as it is. */
void content_decoded(struct search *s, uint32_t part, struct span data, unsigned archive_depth);
/* From its first octets: the whole of it is worth unpacking. */
bool content_wants_whole(const struct search *s, uint32_t part, struct span head);
/* All readings of the content of a part of the message. */
void content_part(struct search *s, struct span message, uint32_t part);
/* text.c: files in the lines of a text. base: where text begins in the message, or SIZE_MAX when it is decoded. */
void text_files(struct search *s, struct span text, size_t base, uint32_t owner);
/* tree.c: what GMime makes of the message; adds to the parts that began at first. */
void tree_read(struct search *s, struct span message, size_t first, uint32_t owner);
/* Readers of containers: each adds members with owner part. */
void zip_read(struct search *s, uint32_t part, struct span data, unsigned archive_depth);
void archive_read(struct search *s, uint32_t part, struct span data, unsigned archive_depth);
/* The content of one member of a ZIP, packed in a way that zip.c does not know; data: the file from its local header on. */
void archive_zip_member(struct search *s, uint32_t member, struct span data, unsigned archive_depth);
void tnef_read(struct search *s, uint32_t part, struct span data, unsigned archive_depth);
void signed_read(struct search *s, uint32_t part, struct span data, unsigned archive_depth);

/* Before anything is read: loads what needs files. Once in a process. */
void search_prepare(void);

#endif
