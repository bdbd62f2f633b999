/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * main.c - dogana-attachments: see README.md.
 */
#include "filters/program.h"

#include "filters/confine.h"

#include <libmilter/mfapi.h>
#include <pthread.h>
#include <unistd.h>

static void
stop(void)
{
	(void)smfi_stop();
}

static const struct program_ops program_ops = { stop };

static enum rc
serve(struct program *pg, struct err *e)
{
	struct smfiDesc desc = { .xxfi_name = (char[]){ "dogana-attachments" }, .xxfi_version = SMFI_VERSION };
	struct confine want = { .user = pg->has_master ? conf_params(pg->conf)->p_filter_user : NULL, .calls = CONFINE_THREADS | CONFINE_SERVE };
	if (smfi_register(desc) == MI_FAILURE || smfi_setconn(pg->listen) == MI_FAILURE || smfi_opensocket(true) == MI_FAILURE)
		return err_set(e, RC_PERM, "%s: cannot listen there", pg->listen);
	program_listening(pg);
	enum rc rc = confine(&want, NULL, e);
	if (rc == RC_OK)
		rc = program_control(pg, &program_ops, e);
	if (rc != RC_OK)
		return rc;
	program_ready(pg);
	return smfi_main() == MI_SUCCESS ? RC_OK : err_set(e, RC_TEMP, "smfi_main failed");
}

int
main(int argc, char **argv)
{
	struct program pg;
	struct err e = { .why = "" };
	enum rc rc = program_begin(&pg, "attachments", argc, argv, &e);
	if (rc != RC_OK) {
		fprintf(stderr, "dogana-attachments: %s\n", e.why);
		return PROGRAM_USAGE;
	}
	rc = serve(&pg, &e);
	if (rc != RC_OK)
		program_log(LOG_L_ERROR, SPAN_EMPTY, "%s", e.why);
	program_end(&pg);
	return rc == RC_OK ? 0 : 1;
}
