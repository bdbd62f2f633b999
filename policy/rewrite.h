/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rewrite.h - what becomes of addresses on their way through: canonical, masquerade, automatic BCC, virtual aliases,
 * aliases of the local class, generic. Facts 5.6; recursion and limits as there.
 *
 * Pure but for table lookups; no effects, so a step may be done again when a table has to be waited for
 * (map/remote.h). RC_TEMP: a table could not be asked: the mail is deferred, never passed on unchanged. All addresses
 * are in internal form (facts.h) and complete (with a domain). Runs in: edge (at the end of a message), queue (reports,
 * probes), relay (generic only).
 */
#ifndef POLICY_REWRITE_H
#define POLICY_REWRITE_H

#include "base/arena.h"
#include "msg/envelope.h"
#include "policy/classes.h"

struct rewriter;

/* The tables of a service's view (receive_override_options of the service included); s NULL: main.cf. book is borrowed for the
 * rewriter's life. Problems to conf_problem(). RC_PERM: a table cannot be used; *out is given in any case. */
enum rc rewriter_open(struct conf *c, const struct service *s, const struct address_book *book, struct rewriter **out, struct err *e)
    MUST_CHECK;
void rewriter_free(struct rewriter **rp);        /* NULL inside is fine */

/* What an address stands for: picks tables and classes (canonical_classes, masquerade_classes ...). */
enum rewrite_class { REWRITE_ENVELOPE_SENDER = 1, REWRITE_ENVELOPE_RCPT, REWRITE_HEADER_SENDER, REWRITE_HEADER_RCPT };

/* rewrite_address() changes no address of this class: callers skip all work. */
bool rewriter_is_idle(const struct rewriter *w, enum rewrite_class class);

/* Canonical maps, then masquerading. *out_addr: into out, or addr itself when nothing changed. The empty address stays. */
enum rc rewrite_address(const struct rewriter *w, enum rewrite_class class, struct span addr, struct buf *out, struct span *out_addr,
    struct err *e) MUST_CHECK;

/* What goes into rewrite_envelope() besides. */
struct rewrite_extra {
	struct span redirect;        /* empty: none */
	const struct span *bcc;
	uint32_t nbcc;
	const struct span *copies;   /* the same, but recipient_bcc_maps is not asked about them */
	uint32_t ncopies;
	bool no_bcc;                 /* our own reports: no automatic BCC */
};

/* Would rewrite_envelope() leave it as it is? Asks no remote table and allocates nothing. */
bool rewrite_is_idle(const struct rewriter *w, const struct envelope *env, const struct rewrite_extra *x);

/* The whole envelope at the end of a message, as Postfix's cleanup, qmgr (redirect) and local (aliases) do it: sender and
 * recipients through canonical and masquerade, automatic BCC and that of actions, virtual aliases, aliases of local recipients,
 * duplicates removed. A redirect replaces all recipients with one (and the filter). A recipient whose alias cannot be delivered
 * to (a command, a file, a mailbox) stays what it is; rewriter_alias_trouble() says why. New arrays and texts live in a. x may be NULL.
 * RC_PERM: the expansion has no end or is too long, e has the reason: "451 4.6.0 Alias expansion error". */
enum rc rewrite_envelope(const struct rewriter *w, const struct envelope *in, const struct rewrite_extra *x, struct arena *a,
    struct envelope *out, struct err *e) MUST_CHECK;

/* Why mail for a recipient that rewriting left in the local class is not delivered. RC_OK: it has an alias, and dsn and text say
 * what is wrong with that; RC_NONE: it has none. */
enum rc rewriter_alias_trouble(const struct rewriter *w, const struct resolved *r, struct buf *scratch, struct span *dsn_out,
    struct span *text_out, struct err *e) MUST_CHECK;

/* smtp_generic_maps of a transport: one pass, for envelope and header alike. s is the transport's service, NULL: main.cf.
 * Opens what it needs by itself. */
struct generic;
enum rc generic_open(struct conf *c, const struct service *s, const char *parameter, struct generic **out, struct err *e) MUST_CHECK;
void generic_free(struct generic **gp);
bool generic_is_idle(const struct generic *g);
enum rc generic_address(const struct generic *g, struct span addr, struct buf *out, struct span *out_addr, struct err *e) MUST_CHECK;

#endif
