/* SPDX-License-Identifier: BSD-2-Clause */
#include "loop/loop.h"

int
main(void)
{
	loop_init();
	loop_fini();
	return 0;
}
