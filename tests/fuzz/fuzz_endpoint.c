/* SPDX-License-Identifier: BSD-2-Clause */
/* Endpoints of servers. Property: what comes out is inside what went in and clean; an inet endpoint written again with brackets
 * gives the same host and port; a path fits into a socket's address. */
#include "base/buf.h"
#include "ipc/endpoint.h"

#include <sys/un.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct endpoint_text t, again;
	struct err e;
	if (endpoint_parse(span_of(p, n), &t, &e) != RC_OK)
		return 0;
	if (t.is_unix) {
		struct sockaddr_un a;
		BUG_ON(t.path.n == 0 || t.path.n >= sizeof a.sun_path || memchr(t.path.p, 0, t.path.n) != NULL);
		return 0;
	}
	BUG_ON(t.port.n == 0 || memchr(t.port.p, 0, t.port.n) != NULL || (t.host.n > 0 && memchr(t.host.p, 0, t.host.n) != NULL));
	struct buf b;
	buf_init(&b, n + 100);
	buf_puts(&b, "inet:");
	if (t.host.n > 0) {
		buf_putc(&b, '[');
		buf_put(&b, t.host);
		buf_putc(&b, ']');
	}
	buf_putc(&b, ':');
	buf_put(&b, t.port);
	BUG_ON(endpoint_parse(buf_span(&b), &again, &e) != RC_OK);
	BUG_ON(!span_eq(again.host, t.host) || !span_eq(again.port, t.port));
	buf_fini(&b);
	return 0;
}
