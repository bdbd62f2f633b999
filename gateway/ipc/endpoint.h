/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * endpoint.h - where a server that the configuration names listens: inet:host:port or unix:path.
 *
 * Opened while compiling. In the loader (master, check, explain) a host name is resolved and a path is noted in the
 * snapshot: a role finds there what the name stood for, and the master connects it to no path that is not noted.
 * A reload resolves again. Relative paths are below queue_directory, as for Postfix's daemons.
 */
#ifndef IPC_ENDPOINT_H
#define IPC_ENDPOINT_H

#include "conf/conf.h"

#include <sys/socket.h>

enum { ENDPOINT_ADDRS = 8 };

struct endpoint {
	char *shown;                 /* for the log: "127.0.0.1:10023", "/run/x.sock" as written */
	char *path;                  /* unix: absolute; NULL: inet */
	unsigned naddrs;             /* inet: tried in order; 0: the name could not be resolved */
	struct sockaddr_storage addrs[ENDPOINT_ADDRS];
	socklen_t lens[ENDPOINT_ADDRS];
};

/* "inet:host:port", "inet:[2001:db8::1]:port", "inet:port" (localhost), "unix:path", "local:path". RC_PERM: not an
 * endpoint, with the reason; nothing is given then. A name that cannot be resolved is a warning about the parameter. */
enum rc endpoint_open(struct conf *c, const struct service *s, const char *parameter, struct span text, struct endpoint **out,
    struct err *e) MUST_CHECK;
void endpoint_free(struct endpoint **ep);        /* NULL inside is fine */

/* Master: a snapshot names this path. */
bool endpoint_is_named(const struct conf *c, struct span path);

/* Pure: the parts. host is empty for "inet:port"; brackets are off. */
struct endpoint_text {
	bool is_unix;
	struct span path, host, port;
};
enum rc endpoint_parse(struct span text, struct endpoint_text *out, struct err *e) MUST_CHECK;

#endif
