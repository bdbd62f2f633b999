/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * server.h - the policy servers that check_policy_service names, and questions to them. Facts 10.4.
 *
 * One struct policy_server per rule, made while compiling. It keeps connections: one question at a time on each, as many as
 * smtpd_policy_service_connection_limit; further questions wait their turn. A connection at rest goes after max_idle, any
 * after max_ttl or request_limit. A question ends with an action or with RC_TEMP after try_limit attempts; a connection that
 * the server had closed meanwhile costs no attempt. Runs in: edge, and `explain`.
 */
#ifndef POLICY_SERVER_H
#define POLICY_SERVER_H

#include "conf/conf.h"
#include "loop/loop.h"
#include "loop/op.h"

struct policy_server;
struct policy_link;

/* arg: an endpoint, or the inside of { endpoint, name = value, ... }. RC_PERM: the reason is in e. */
enum rc policy_server_open(struct conf *c, const struct service *s, const char *parameter, struct span arg, bool is_group,
    struct policy_server **out, struct err *e) MUST_CHECK;
/* Closes its connections. No question may be under way. NULL inside is fine. */
void policy_server_free(struct policy_server **sp);

const char *policy_server_text(const struct policy_server *s);    /* "inet:127.0.0.1:10023", as configured */
const char *policy_server_name(const struct policy_server *s);    /* "127.0.0.1:10023" */
const char *policy_server_default(const struct policy_server *s); /* default_action */
const char *policy_server_context(const struct policy_server *s); /* policy_context */

struct policy_ask {
	struct op op;                /* RC_OK: action is there; RC_TEMP: why */
	struct buf question;         /* written by the owner before the start */
	struct buf action;
	struct err why;
	/* private */
	struct policy_server *server;
	struct policy_link *link;    /* the connection it is on */
	struct list waiting;
	struct timer timer;          /* until the next attempt, or until waiting has been too long */
	unsigned tries;
	bool wants_new;              /* the last connection turned out to be stale */
};

void policy_ask_init(struct policy_ask *a, struct op_owner *owner, op_fn *done);
void policy_ask_start(struct policy_ask *a, struct policy_server *s);
void policy_ask_fini(struct policy_ask *a);

#endif
