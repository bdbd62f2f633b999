/* SPDX-License-Identifier: BSD-2-Clause */
/* The PROXY header. Property: octet by octet as whole; what follows changes nothing; a header's end is within the
 * bounds, and an address only comes out of a good one. */
#include "smtp/proxy.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct proxy_header h, again;
	struct err e;
	size_t used, early = 0;
	struct span in = span_of(p, n);
	enum rc rc = proxy_parse(in, &h, &used, &e), piece = RC_NONE;
	BUG_ON(rc == RC_TEMP || used > n || used > PROXY_V2_MAX);
	BUG_ON(rc != RC_OK && h.has_client);
	BUG_ON(rc == RC_NONE && n >= PROXY_V2_MAX);
	BUG_ON(h.has_client && (h.client.family == IPADDR_NONE || h.server.family == IPADDR_NONE));
	for (size_t i = 1; i <= n && piece == RC_NONE; i++)
		piece = proxy_parse(span_head(in, i), &again, &early, &e);
	BUG_ON(n > 0 && piece != rc);
	BUG_ON(rc == RC_OK && (early != used || again.has_client != h.has_client || !ipaddr_eq(&again.client, &h.client) ||
	                          !ipaddr_eq(&again.server, &h.server) || again.client_port != h.client_port));
	return 0;
}
