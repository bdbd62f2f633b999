/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * spool_faults.c - every system call of the spool fails once, in turn, with each error and as a short write;
 * then the disk is dead for a while from each call on; then the process ends before and behind each call, and
 * the machine loses power there; the same while a spool recovers. After each, an undisturbed one
 * recovers and compares with what was promised.
 *
 *
 *	spool_faults [STRIDE [OFFSET [KIND]]]    every STRIDE-th call from OFFSET on; "1" is all of them and takes minutes
 */
#include "rig.h"

static uint64_t passed, failed;

struct kind {
	const char *name;
	enum shim_how how;
	int error;
	uint64_t calls;          /* that fail */
	bool before, writes_only, next_sync;
};

static const struct kind kinds[] = {
	{ "EIO", SHIM_FAIL, EIO, 1, false, false, false },
	{ "ENOSPC", SHIM_FAIL, ENOSPC, 1, false, true, false },
	{ "EIO of the next sync", SHIM_FAIL, EIO, 1, false, true, true },
	{ "short write", SHIM_SHORT, 0, 1, false, true, false },
	{ "EIO for 12 calls", SHIM_FAIL, EIO, 12, false, true, false },
	{ "ENOSPC for 12 calls", SHIM_FAIL, ENOSPC, 12, false, true, false },
	{ "ENOSPC from then on", SHIM_FAIL, ENOSPC, UINT64_MAX / 2, false, true, false },
	{ "EIO from then on", SHIM_FAIL, EIO, UINT64_MAX / 2, false, true, false },
	{ "killed behind it", SHIM_KILL, 0, 1, false, false, false },
	{ "power lost before it", SHIM_POWER, 0, 1, true, false, false },
	{ "power lost behind it", SHIM_POWER, 0, 1, false, false, false },
};

enum { STEPS = 220, SEED = 4242 };

static const struct shim_plan calm = { .how = SHIM_COUNT, .speed = 50 };

static void
judge(const char *where, const struct kind *k, uint64_t at, int first, int second, int third)
{
	bool good = (first == RIG_OK || first == SHIM_EXIT) && second == RIG_OK && third == RIG_OK;
	passed += good;
	failed += !good;
	if (!good)
		printf("%s, %s at call %llu: %d %d %d\n", where, k->name, (unsigned long long)at, first, second, third);
}

static void
sweep(const struct kind *k, uint64_t stride, uint64_t offset, bool in_recovery)
{
	rig_fresh(SEED);
	(void)rig_run(&calm, STEPS, false);
	uint64_t calls = rig.shared->calls;
	for (uint64_t at = offset % stride; at < calls && failed == 0; at += stride) {
		struct shim_plan plan = { .how = k->how, .from = at, .to = at + k->calls, .error = k->error, .seed = at * 31 + 7, .writes_only = k->writes_only,
			.next_sync = k->next_sync, .before = k->before, .speed = 400 };
		rig_fresh(SEED + (in_recovery ? 0 : at % 3));
		if (in_recovery) {
			/* something to recover: a life that was cut short */
			struct shim_plan cut = { .how = SHIM_KILL, .from = 150 + at % 50, .to = UINT64_MAX, .speed = 50 };
			(void)rig_run(&cut, STEPS, false);
		}
		int first = rig_run(&plan, STEPS, in_recovery);
		rig.shared->seed++;
		int second = rig_run(&calm, 40, false), third = rig_run(&calm, 0, false);
		judge(in_recovery ? "recovery" : "work", k, at, first, second, third);
		if (in_recovery && at > 60)
			break; /* what follows is work */
	}
}

int
main(int argc, char **argv)
{
	uint64_t stride = argc > 1 ? strtoull(argv[1], NULL, 10) : 41, offset = argc > 2 ? strtoull(argv[2], NULL, 10) : 3;
	const char *only = argc > 3 ? argv[3] : NULL;
	rig_begin("faults");
	for (size_t i = 0; i < NELEMS(kinds) && failed == 0; i++) { /* the directory of a failure stays */
		uint64_t before = passed + failed, t = clock_mono();
		if (only != NULL && strcmp(only, kinds[i].name) != 0)
			continue;
		sweep(&kinds[i], stride, offset + i, false);
		if (failed == 0)
			sweep(&kinds[i], stride, offset + i, true);
		printf("%s: %llu runs, %llu ms\n", kinds[i].name, (unsigned long long)(passed + failed - before), (unsigned long long)(clock_mono() - t) / 1000);
	}
	printf("%llu passed, %llu failed\n", (unsigned long long)passed, (unsigned long long)failed);
	if (failed == 0)
		rig_end();
	return failed > 0;
}
