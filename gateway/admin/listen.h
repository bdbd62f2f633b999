/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * listen.h - the sockets of the inet services of master.cf: which addresses, bound by the master,
 * kept over a reload when the address stays.
 */
#ifndef ADMIN_LISTEN_H
#define ADMIN_LISTEN_H

#include "base/buf.h"
#include "conf/conf.h"

#include <sys/socket.h>

struct listen_socket {
	int fd;
	char service[64];            /* name in master.cf */
	unsigned row;                /* its row in the snapshot */
	struct sockaddr_storage addr;
	socklen_t addr_len;
};

struct listen_set {
	struct listen_socket *socket;
	size_t count;
};

/* Opens what conf asks for. Sockets of old (may be NULL) with the same address are taken over (their fd
 * there becomes -1). RC_PERM: a name or address is wrong, or it cannot be bound; then everything taken
 * is given back and old is as before. */
enum rc listen_open(const struct conf *conf, struct listen_set *old, struct listen_set *out, struct err *e) MUST_CHECK;
void listen_close(struct listen_set *s);
/* After a listen_open that worked: old gets back what was taken from it, the rest of set is closed. */
void listen_undo(struct listen_set *set, struct listen_set *old);
/* "127.0.0.1:25" or "[::1]:25" */
void listen_text(const struct listen_socket *s, struct buf *out);

#endif
