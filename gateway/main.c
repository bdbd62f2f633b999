/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * main.c - one program: commands for people, and the roles that the master starts.
 */
#include "admin/commands.h"
#include "auth/auth.h"
#include "deliver/relay.h"
#include "ipc/child.h"
#include "keys/keys.h"
#include "lookup/lookup.h"
#include "queue/queue.h"
#include "smtp/edge.h"

static const struct {
	const char *name;
	const struct role_ops *ops;
} roles[] = {
	{ "edge", &edge_role },
	{ "queue", &queue_role },
	{ "relay", &relay_role },
	{ "lookup", &lookup_role },
	{ "keys", &keys_role },
	{ "auth", &auth_role },
};

int
main(int argc, char **argv)
{
	if (argc == 4 && strcmp(argv[1], "role") == 0) {
		uint64_t index;
		if (strcmp(argv[2], "direct") == 0)
			return lookup_direct_main(argv[3]);
		for (size_t i = 0; i < NELEMS(roles); i++)
			if (strcmp(argv[2], roles[i].name) == 0 && span_u64(span_str(argv[3]), 1024, &index))
				return child_main(roles[i].ops, (unsigned)index);
		fprintf(stderr, "dogana: roles are started by the master\n");
		return 64;
	}
	return commands_main(argc, argv);
}
