#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# compile.sh FLAGS FILE... - every file through gcc, clang and cppcheck, where they are; silent when clean
set -u
flags=$1
shift
status=0
for cc in gcc clang; do
	command -v $cc >/dev/null || continue
	# clang knows -Wimplicit-fallthrough differently, and gcc's optimiser finds more than its parser
	extra=
	[ $cc = clang ] && extra='-Wno-unknown-warning-option -Wno-missing-field-initializers'
	printf '%s\0' "$@" | xargs -0 -P "$(nproc)" -n 6 sh -c 'cc=$1; flags=$2; shift 2; for f; do
		$cc $flags -O2 -Werror -c "$f" -o /dev/null || bad=1; done; exit ${bad:-0}' sh "$cc" "$flags $extra" || status=1
done
if command -v cppcheck >/dev/null; then
	# shellcheck disable=SC2086
	cppcheck -q -j "$(nproc)" --std=c11 --enable=warning,portability --inline-suppr --error-exitcode=1 -Igateway -I. \
	    -D_GNU_SOURCE --suppress=missingIncludeSystem --suppress=preprocessorErrorDirective --suppress=internalAstError --suppress=memleakOnRealloc --suppress=nullPointer:gateway/conf/conf.c "$@" 2>&1 || status=1
fi
exit $status
