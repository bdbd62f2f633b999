/* SPDX-License-Identifier: BSD-2-Clause */
/* Property: an envelope that is read is written as the same bytes (an older version as one that says the same); what the queue takes has no byte in it that could
 * end a line of SMTP, of a log, or of a header. */
#include "ipc/msgs.h"
#include "queue/edge.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void
no_controls(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		BUG_ON(s.p[i] < ' ' || s.p[i] == 0x7f);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct arena a;
	struct envelope env;
	struct buf b;
	arena_init(&a, 16 << 20);
	buf_init(&b, 16 << 20);
	if (envelope_get(span_of(p, n), &a, &env) == RC_OK) {
		envelope_put(&b, &env);
		bool is_old = p[0] != buf_span(&b).p[0];
		BUG_ON(b.over || (!is_old && !span_eq(buf_span(&b), span_of(p, n))));
		if (is_old) {
			struct envelope again;
			BUG_ON(envelope_get(buf_span(&b), &a, &again) != RC_OK || again.nrcpt != env.nrcpt || !span_eq(again.sender, env.sender) ||
			    !span_eq(again.client, env.client) || again.flags != env.flags || !span_eq(again.filter, env.filter) || !span_eq(again.forward, env.forward));
		}
		if (envelope_check(&env, NULL) == RC_OK) {
			BUG_ON(env.nrcpt == 0);
			no_controls(env.sender);
			no_controls(env.envid);
			no_controls(env.client);
			for (uint32_t i = 0; i < env.nrcpt; i++) {
				no_controls(env.rcpt[i].addr);
				no_controls(env.rcpt[i].orig);
				no_controls(env.rcpt[i].orcpt);
				BUG_ON(env.rcpt[i].addr.n == 0);
			}
		}
	}
	buf_fini(&b);
	arena_fini(&a);
	return 0;
}
