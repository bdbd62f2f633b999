/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * syntax.h - the parameters of MAIL, RCPT and BDAT as typed values. Rows are in params.def.
 *
 * Pure; spans of the result point into the arena. A fault says which parameter it is about, so that the
 * session can pick the reply.
 */
#ifndef MSG_SYNTAX_H
#define MSG_SYNTAX_H

#include "base/arena.h"

enum esmtp_param {
	PARAM_NONE = 0,
#define ESMTP_PARAM(name, verbs, value, keyword, doc) PARAM_##name,
#include "msg/params.def"
#undef ESMTP_PARAM
	PARAM_COUNT
};

enum { ENVID_MAX = 100, ORCPT_MAX = 500 };

enum dsn_ret { DSN_RET_NONE = 0, DSN_RET_FULL, DSN_RET_HDRS };
enum dsn_notify { DSN_NEVER = 1, DSN_SUCCESS = 2, DSN_FAILURE = 4, DSN_DELAY = 8 }; /* as NOTIFY_* of ipc/msgs.h */

struct mail_params {
	bool has_size;
	uint64_t size;           /* UINT64_MAX: a number too large to hold */
	bool is_8bitmime, is_smtputf8;
	enum dsn_ret ret;
	struct span envid;       /* xtext as given */
	struct span auth;        /* xtext as given; empty: none, or <> */
	bool has_auth;
};

struct rcpt_params {
	uint8_t notify;          /* enum dsn_notify; 0: not given */
	struct span orcpt;       /* "type;xtext" as given */
};

struct param_fault {
	enum esmtp_param param;  /* PARAM_NONE: unknown, or not allowed here */
	struct span word;        /* as given; borrowed */
};

/* in: what follows the path. RC_PERM: see fault. */
enum rc mail_params_parse(struct span in, struct arena *a, struct mail_params *out, struct param_fault *fault) MUST_CHECK;
enum rc rcpt_params_parse(struct span in, struct arena *a, struct rcpt_params *out, struct param_fault *fault) MUST_CHECK;

/* Arguments of BDAT: "count [LAST]". RC_PERM: malformed, or a number no message can have. */
enum rc bdat_parse(struct span in, uint64_t *count_out, bool *last_out) MUST_CHECK;

/* "FROM:", "TO:" in any case at the front: *rest_out is what follows. */
bool syntax_keyword(struct span in, struct span keyword, struct span *rest_out);

#endif
