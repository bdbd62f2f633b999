/* SPDX-License-Identifier: BSD-2-Clause */
/* unit.h - what every unit test includes: cmocka with its prerequisites, and a helper for spans. */
#ifndef TESTS_UNIT_UNIT_H
#define TESTS_UNIT_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above */
#include <cmocka.h>

#include "base/buf.h"

#define assert_span(got, want) assert_span_at((got), (want), __FILE__, __LINE__)
static inline void UNUSED
assert_span_at(struct span got, const char *want, const char *file, int line)
{
	if (!span_eq_str(got, want)) {
		print_error("%s:%d: got \"%.*s\", want \"%s\"\n", file, line, (int)got.n, (const char *)got.p, want);
		_fail(file, line);
	}
}

#endif
