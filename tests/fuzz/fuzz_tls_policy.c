/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuzz_tls_policy - a value of smtp_tls_policy_maps. What is taken has a level; strings end where the input's do, are free of separators, and
 * the same value without its attributes has the same level.
 */
#include "deliver/tlspolicy.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
look(const char *s, size_t size)
{
	BUG_ON(s != NULL && (strlen(s) > size || strpbrk(s, ", \t\r\n") != NULL));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tls_policy p, bare;
	struct err e;
	struct span value = span_of(data, size);
	if (tls_policy_parse(value, &p, &e) == RC_OK) {
		const struct tls_wish *w = &p.wish;
		BUG_ON(w->level == TLS_DEMAND_UNKNOWN || tls_demand_is_dane(w->level));
		const char *all[] = { w->protocols, w->grade, w->exclude, w->sni, w->match, w->fingerprints, w->anchors };
		for (size_t i = 0; i < NELEMS(all); i++)
			look(all[i], size);
		BUG_ON(w->match != NULL && w->level < TLS_DEMAND_VERIFY);
		BUG_ON(w->fingerprints != NULL && w->level != TLS_DEMAND_FINGERPRINT);
		struct span word;
		BUG_ON(!span_word(&value, ", \t\r\n", &word));
		BUG_ON(tls_policy_parse(word, &bare, &e) != RC_OK || bare.wish.level != w->level);
		tls_policy_fini(&bare);
	}
	tls_policy_fini(&p);
	return 0;
}
