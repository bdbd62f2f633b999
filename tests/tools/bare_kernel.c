/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bare_kernel.c - runs a program as if the kernel had no Landlock, or neither Landlock nor seccomp
 *
 *	bare_kernel landlock|both PROGRAM [ARGUMENT...]
 *
 * The system calls fail with ENOSYS, for the program and all that it starts. Exit status 77: this kernel cannot pretend.
 */
#include <errno.h>
#include <seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

int
main(int argc, char **argv)
{
	static const int calls[] = { SCMP_SYS(landlock_create_ruleset), SCMP_SYS(landlock_add_rule), SCMP_SYS(landlock_restrict_self), SCMP_SYS(seccomp) };
	size_t n = argc > 2 && strcmp(argv[1], "landlock") == 0 ? 3 : argc > 2 && strcmp(argv[1], "both") == 0 ? 4 : 0;
	if (n == 0) {
		fprintf(stderr, "usage: bare_kernel landlock|both PROGRAM [ARGUMENT...]\n");
		return 64;
	}
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
	if (ctx == NULL)
		return 77;
	(void)seccomp_attr_set(ctx, SCMP_FLTATR_CTL_NNP, geteuid() != 0);
	for (size_t i = 0; i < n; i++)
		if (seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), calls[i], 0) != 0)
			return 77;
	if (seccomp_load(ctx) != 0)
		return 77;
	seccomp_release(ctx);
	execv(argv[2], argv + 2);
	fprintf(stderr, "bare_kernel: %s: %s\n", argv[2], strerror(errno));
	return 127;
}
