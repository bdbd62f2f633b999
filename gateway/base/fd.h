/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fd.h - all of it, or why not: files, pipes and sockets that block. And what comes with a message.
 *
 * An int is 0, or errno. What a signal interrupts goes on. How far it came before an error is not told.
 */
#ifndef BASE_FD_H
#define BASE_FD_H

#include "base/span.h"

int fd_write(int fd, struct span s) MUST_CHECK;
int fd_pwrite(int fd, struct span s, uint64_t at) MUST_CHECK;

/* n octets; ENODATA: it ended before. */
int fd_read(int fd, unsigned char *to, size_t n) MUST_CHECK;
int fd_pread(int fd, unsigned char *to, size_t n, uint64_t at) MUST_CHECK;

struct msghdr;
/* Descriptors that came with a message of recvmsg(): want of them into fds, or, when it was another number, -1: those are closed. */
bool fd_passed(struct msghdr *h, int *fds, size_t want);

#endif
