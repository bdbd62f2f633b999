/* SPDX-License-Identifier: BSD-2-Clause */
/* Property: a state that is read is written and read again as the same; one that is not read changes nothing. */
#include "queue/state.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static struct message *
make(struct message_table *t, uint32_t n)
{
	struct env_rcpt rcpt[32];
	for (uint32_t i = 0; i < n; i++)
		rcpt[i] = (struct env_rcpt){ .addr = SPAN("b@hub.test") };
	struct envelope env = { .sender = SPAN("a@b.test"), .nrcpt = n, .rcpt = rcpt };
	struct buf b;
	buf_init(&b, 65536);
	envelope_put(&b, &env);
	struct message *m = message_new(t, &env, buf_span(&b));
	buf_fini(&b);
	return m;
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	if (n < 1)
		return 0;
	struct message_table t;
	struct state_head h, again;
	message_table_init(&t);
	uint32_t nrcpt = 1 + p[0] % 32;
	struct message *m = make(&t, nrcpt), *m2 = make(&t, nrcpt);
	if (state_get(span_of(p + 1, n - 1), &h, &t, m) == RC_OK) {
		struct buf b;
		buf_init(&b, 1 << 20);
		state_put(&b, &h, m);
		BUG_ON(b.over || state_get(buf_span(&b), &again, &t, m2) != RC_OK);
		BUG_ON(again.next_attempt != h.next_attempt || again.flags != h.flags || again.strikes != h.strikes);
		BUG_ON(again.held != h.held || again.tried != h.tried || m->open != m2->open);
		for (uint32_t i = 0; i < nrcpt; i++) {
			uint8_t s = message_status(m)[i];
			BUG_ON(s != message_status(m2)[i]);
			BUG_ON(s != RS_FINISHED && m->why[i] != m2->why[i]);
		}
		buf_fini(&b);
	} else {
		BUG_ON(m->open != nrcpt);
		for (uint32_t i = 0; i < nrcpt; i++)
			BUG_ON(m->why[i] != NULL);
	}
	message_table_fini(&t);
	return 0;
}
