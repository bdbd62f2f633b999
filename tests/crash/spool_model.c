/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * spool_model.c - a spool lives through many lives: a random user, killed or cut from power at a random
 * system call, again and again on the same directory, compared with what it was promised each time.
 */
#include "rig.h"

int
main(int argc, char **argv)
{
	unsigned long lives = argc > 1 ? strtoul(argv[1], NULL, 10) : 100;
	uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1, passed = 0, failed = 0, kills = 0, accepted = 0, spilled = 0, recovered = 0;
	rig_begin("model");
	for (unsigned long i = 0; i < lives && failed == 0; i++, seed++) {
		if (i % 30 == 0) {
			accepted += rig.shared->accepted, spilled += rig.shared->spilled, recovered += rig.shared->recovered;
			rig_fresh(seed);
		}
		rig.shared->seed = seed;
		uint64_t at = 1 + shim_mix(seed) % 600;
		struct shim_plan plan = { .how = i % 5 == 4 ? SHIM_COUNT : i % 2 ? SHIM_KILL : SHIM_POWER, .from = at, .to = UINT64_MAX, .seed = seed, .speed = 20,
			.before = seed % 3 == 0 };
		int code = rig_run(&plan, 800, false);
		kills += code == SHIM_EXIT;
		if (code != RIG_OK && code != SHIM_EXIT) {
			printf("life %lu (seed %llu): exit status %d\n", i, (unsigned long long)seed, code);
			failed++;
		} else if (rig.shared->damaged > 0 && plan.how != SHIM_POWER) {
			rig.shared->damaged = 0; /* a torn batch of the life before may look like damage */
		}
		passed += failed == 0;
	}
	accepted += rig.shared->accepted, spilled += rig.shared->spilled, recovered += rig.shared->recovered;
	printf("spool_model: %llu lives, %llu ended by force; %llu accepted, %llu described for files, %llu recovered\n", (unsigned long long)passed,
	    (unsigned long long)kills, (unsigned long long)accepted, (unsigned long long)spilled, (unsigned long long)recovered);
	printf("%llu passed, %llu failed\n", (unsigned long long)passed, (unsigned long long)failed);
	if (failed == 0)
		rig_end();
	return failed > 0;
}
