/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Answers of policy servers. Property: an action is inside what came, one clean line that is not empty; what is read byte by
 * byte is the same as what is read whole; a header that PREPEND would take has one line.
 */
#include "policy/engine.h"
#include "policy/server_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct span in = span_of(p, n), action, early;
	size_t used = 0, early_used = 0, k = 0;
	const char *why = NULL, *early_why = NULL;
	enum policy_answer_kind whole = policy_answer(in, &action, &used, &why), grown = POLICY_ANSWER_MORE;
	while (grown == POLICY_ANSWER_MORE && k <= n)
		grown = policy_answer(span_head(in, k++), &early, &early_used, &early_why);
	BUG_ON(whole == POLICY_ANSWER_OK && grown != POLICY_ANSWER_OK);
	BUG_ON(whole == POLICY_ANSWER_MORE && grown != POLICY_ANSWER_MORE);
	BUG_ON(n >= POLICY_ANSWER_MAX + 1 && whole == POLICY_ANSWER_MORE);
	BUG_ON((whole == POLICY_ANSWER_BAD) != (why != NULL));
	if (whole != POLICY_ANSWER_OK)
		return 0;
	BUG_ON(early_used != used || !span_eq(early, action));
	BUG_ON(used > n || p[used - 1] != '\n' || action.n == 0 || action.p < p || action.p + action.n > p + used);
	BUG_ON(!span_is_utf8(action));
	for (size_t i = 0; i < action.n; i++)
		BUG_ON(action.p[i] < ' ' && action.p[i] != '\t');
	struct span word, rest = action;
	span_word(&rest, " \t", &word);
	rest = span_trim(rest);
	if (policy_is_header(rest)) {
		size_t colon = span_chr(rest, ':');
		BUG_ON(colon == 0 || colon == SIZE_MAX);
		for (size_t i = 0; i < rest.n; i++)
			BUG_ON(rest.p[i] == '\r' || rest.p[i] == '\n' || rest.p[i] == '\0');
	}
	return 0;
}
