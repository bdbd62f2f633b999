/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * attachment_rules.h - what the administrator wants done about attachments: attachment_rules, compiled once per configuration.
 *
 * A rule is one line (Postfix's logical lines, # comments): ACTION, then conditions that must all hold.
 *
 *	quarantine  extension=$attachment_extensions          text="Programs are not delivered by mail"
 *	reject      type=message/partial,message/external-body
 *	allow       direction=outbound sender=example.com name=*.exe,/^setup-[0-9]+/
 *	strip       real=executable where=archive
 *	tag         encrypted  size>10M
 *
 * Conditions: name= extension= type= real= where= size> size< encrypted deceptive direction= sender= recipient=; several values are
 * separated by commas and one suffices; "!" in front, or != in the place of =, turns one over. text= is for the reply or the note, id= names the rule (else FILE:LINE).
 * The first rule that fits an item (a part, or a member of an archive) decides about it. Where a recipient condition makes rules
 * differ, each recipient's rules are asked and the strictest answer counts. Runs in: the loader (to check), dogana-attachments.
 */
#ifndef FILTERS_ATTACHMENT_RULES_H
#define FILTERS_ATTACHMENT_RULES_H

#include "base/arena.h"
#include "base/buf.h"
#include "conf/conf.h"

/* From mild to strict; the greatest counts. */
enum attachment_action { ATTACHMENT_ALLOW = 0, ATTACHMENT_TAG, ATTACHMENT_STRIP, ATTACHMENT_QUARANTINE, ATTACHMENT_REJECT };
const char *attachment_action_name(enum attachment_action a);
bool attachment_action_of(struct span word, enum attachment_action *out) MUST_CHECK;

enum attachment_where {
	ATTACHMENT_PART = 1,     /* a part of the message, or of a message in it */
	ATTACHMENT_MEMBER = 2,   /* in an archive, winmail.dat included */
	ATTACHMENT_TEXT = 4,     /* uuencoded or the like in a text */
};

/* What is known of one item: all readings of it. */
struct attachment_item {
	enum attachment_where where;
	const struct span *names;    /* UTF-8, as clean as names.h leaves them; all readings */
	size_t nnames;
	const struct span *types;    /* "image/png", lower case */
	size_t ntypes;
	uint64_t kinds;              /* attachment_kinds.h */
	uint64_t size;               /* octets, decoded as far as known */
	bool is_encrypted;
	bool is_deceptive;           /* its name is made to look like another */
};

struct attachment_rule {
	enum attachment_action action;
	const char *id;              /* "attachment-rules:12", or as the rule says */
	const char *text;            /* for people; NULL: none */
	/* private */
	struct attachment_cond *conds;
	size_t nconds;
};

struct attachment_rules;

/* Reads the files and opens the tables of attachment_rules. Problems go to the configuration; RC_PERM: it must not be used. RC_OK with
 * *out NULL: there are none (the filter is off). */
enum rc attachment_rules_open(struct conf *c, struct attachment_rules **out, struct err *e) MUST_CHECK;
void attachment_rules_free(struct attachment_rules **rp);  /* NULL inside is fine */
size_t attachment_rules_count(const struct attachment_rules *r);

/* The rules as they are for one message. */
struct attachment_case {
	bool is_outbound;
	struct span sender;          /* without angle brackets */
	const struct span *rcpts;
	size_t nrcpts;
};
struct attachment_ask;
/* RC_TEMP: a table cannot be asked. Freed with attachment_ask_free(); what in points to is needed no longer. */
enum rc attachment_ask_new(struct attachment_rules *r, const struct attachment_case *in, struct attachment_ask **out, struct err *e) MUST_CHECK;
void attachment_ask_free(struct attachment_ask **ap);

struct attachment_answer {
	enum attachment_action action;         /* ATTACHMENT_ALLOW also when no rule fits */
	const struct attachment_rule *rule;    /* NULL: none fitted */
	struct span name;                      /* that a name or extension condition of it matched; empty: none */
	const char *text;                      /* of the rule, or of the table that decided; NULL: none. Valid until the next question */
};
/* RC_TEMP: a table or an expression could not say. */
enum rc attachment_ask(struct attachment_ask *a, const struct attachment_item *item, struct attachment_answer *out, struct err *e) MUST_CHECK;

/* One rule as text, without tables of other files: for tests and harnesses. c may be NULL when no condition needs a table.
 * id: of the rule unless it says one. */
enum rc attachment_rule_parse(struct attachment_rules *r, struct conf *c, struct span line, const char *id, struct err *e) MUST_CHECK;
struct attachment_rules *attachment_rules_new(void);

/* "*" and "?" and [a-z], without case; the whole name. */
bool attachment_glob(struct span pattern, struct span name);

#endif
