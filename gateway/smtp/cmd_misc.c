/* SPDX-License-Identifier: BSD-2-Clause */
/* The commands that are answered at once, and those that are known and not offered. */
#include "smtp/session.h"
#include "smtp/verbs.h"

static enum step
rset_do(struct sess *s)
{
	if (s->args.n > 0) {
		sess_reply(s, REPLY_SYNTAX_RSET);
		return STEP_END;
	}
	sess_end_tx(s);
	sess_reply(s, REPLY_OK);
	return STEP_END;
}

static enum step
noop_do(struct sess *s)
{
	sess_reply(s, REPLY_OK);
	return STEP_END;
}

static enum step
quit_do(struct sess *s)
{
	sess_reply(s, REPLY_BYE);
	s->counts[VERB_QUIT].good++;
	return STEP_CLOSE;
}

static enum step
help_do(struct sess *s)
{
	struct buf b;
	buf_init(&b, 400);
	verb_help(&b);
	sess_reply_text(s, REPLY_HELP, buf_span(&b));
	buf_fini(&b);
	return STEP_END;
}

const struct step_row rset_steps[] = { { "rset", rset_do } };
const struct step_row noop_steps[] = { { "noop", noop_do } };
const struct step_row quit_steps[] = { { "quit", quit_do } };
const struct step_row help_steps[] = { { "help", help_do } };
