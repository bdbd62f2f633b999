/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ask.h - one question to one DNS list, through what is known of its health.
 *
 * A question in flight is asked once however many wait for it, and its outcome is counted once. It takes dnsbl_timeout at
 * most, whoever asked first. When its list is paused or put out of use meanwhile it ends at once.
 *
 * What came, and what it means:		block list		allow list
 *	RBL_SAID_YES	records: rbl_list_judge()	refuse			permit
 *	RBL_SAID_NO				nothing			nothing
 *	RBL_SAID_ERROR, _TIMEOUT, _PAUSED	nothing			not now: defer_if_reject
 *	RBL_SAID_OUT				nothing			nothing
 *	RBL_SAID_BUSY	we could not ask	not now: defer_if_permit	not now: defer_if_reject
 */
#ifndef RBL_ASK_H
#define RBL_ASK_H

#include "dns/dns.h"
#include "rbl/health.h"

enum rbl_said { RBL_SAID_NOTHING = 0, RBL_SAID_NO, RBL_SAID_YES, RBL_SAID_ERROR, RBL_SAID_TIMEOUT, RBL_SAID_PAUSED, RBL_SAID_OUT, RBL_SAID_BUSY, RBL_SAIDS };
const char *rbl_said_name(enum rbl_said said);

/* What the outcome of a question to a list means. */
enum rbl_said rbl_said_of(enum rc rc, const struct dns_answer *a);

struct rbl_flight;

struct rbl_ask {
	struct op op;                /* RC_OK: yes. RC_NONE: no. RC_TEMP: the rest */
	enum rbl_said said;
	const struct dns_answer *answer; /* never NULL: A records; why there are none */
	uint64_t usec;               /* what it took; 0: known, or not asked */
	/* private */
	struct rbl_flight *flight;
	struct dns_answer *owned;
	struct list by_flight;
};

void rbl_ask_init(struct rbl_ask *a, struct op_owner *owner, op_fn *done);
/* domain: of the list; query: name below it (rbl_addr_query, rbl_name_query). Both borrowed. true: the answer is there and the
 * op stays idle. */
bool rbl_ask_now(struct rbl_ask *a, enum rbl_kind kind, struct span domain, struct span query) MUST_CHECK;
/* It is pending because of limits of our own: cancelled now, it would not have been asked. */
bool rbl_ask_is_held_back(const struct rbl_ask *a);
/* Cancels and frees. Idempotent; zeroed memory is fine. */
void rbl_ask_fini(struct rbl_ask *a);
/* Somebody will probably ask this. When many questions are in flight: nothing. */
void rbl_prefetch(enum rbl_kind kind, struct span domain, struct span query);

/* Reasons (TXT): what a listed client is told, no more; its refusal does not wait long for it. A list that lets dnsbl_pause_after
 * questions in a row without an answer is not asked for dnsbl_pause_time_limit, then once; an answer ends that. false: not now.
 * *timeout_out: how long the question may take, usec. */
bool rbl_reason_may_ask(enum rbl_kind kind, struct span domain, uint64_t *timeout_out) MUST_CHECK;
/* What became of a question that was asked. */
void rbl_reason_heard(enum rbl_kind kind, struct span domain, enum rbl_said said, uint64_t usec);

/* The list answered with what is none of a list (RBL_FOREIGN): a line of the log once in a while. */
void rbl_note_foreign(enum rbl_kind kind, struct span domain, struct span query, struct in_addr odd);

#endif
