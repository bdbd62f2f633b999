/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * okmilter.c - a milter (libmilter) that looks at everything and lets it pass
 *
 *	okmilter [-e | -a] CONN   CONN as libmilter has it: inet:PORT@127.0.0.1, unix:/path
 *
 * All callbacks are there and say "continue", so it is asked at every stage; -e: only at the end of the message; -a:
 * it accepts each message when it hears its sender. Ends with SIGTERM.
 */
#include <libmilter/mfapi.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static sfsistat
on_connect(SMFICTX *ctx, char *name, _SOCK_ADDR *addr)
{
	(void)ctx, (void)name, (void)addr;
	return SMFIS_CONTINUE;
}

static sfsistat
on_helo(SMFICTX *ctx, char *name)
{
	(void)ctx, (void)name;
	return SMFIS_CONTINUE;
}

static sfsistat
on_envelope(SMFICTX *ctx, char **argv)
{
	(void)ctx, (void)argv;
	return SMFIS_CONTINUE;
}

static sfsistat
accept_sender(SMFICTX *ctx, char **argv)
{
	(void)ctx, (void)argv;
	return SMFIS_ACCEPT;
}

static sfsistat
on_header(SMFICTX *ctx, char *name, char *value)
{
	(void)ctx, (void)name, (void)value;
	return SMFIS_CONTINUE;
}

static sfsistat
on_stage(SMFICTX *ctx)
{
	(void)ctx;
	return SMFIS_CONTINUE;
}

static sfsistat
on_body(SMFICTX *ctx, unsigned char *body, size_t n)
{
	(void)ctx, (void)body, (void)n;
	return SMFIS_CONTINUE;
}

int
main(int argc, char **argv)
{
	bool at_end = argc == 3 && strcmp(argv[1], "-e") == 0, accepts = argc == 3 && strcmp(argv[1], "-a") == 0;
	if (argc != 2 + at_end + accepts) {
		fprintf(stderr, "usage: okmilter [-e | -a] CONN\n");
		return 2;
	}
	static char name[] = "okmilter";
	struct smfiDesc all = { .xxfi_name = name, .xxfi_version = SMFI_VERSION, .xxfi_eom = on_stage };
	if (!at_end) {
		all.xxfi_connect = on_connect;
		all.xxfi_helo = on_helo;
		all.xxfi_envfrom = accepts ? accept_sender : on_envelope;
		all.xxfi_envrcpt = on_envelope;
		all.xxfi_header = on_header;
		all.xxfi_eoh = on_stage;
		all.xxfi_body = on_body;
		all.xxfi_data = on_stage;
	}
	if (smfi_setconn(argv[argc - 1]) != MI_SUCCESS || smfi_register(all) != MI_SUCCESS || smfi_opensocket(true) != MI_SUCCESS) {
		fprintf(stderr, "okmilter: cannot listen on %s\n", argv[argc - 1]);
		return 1;
	}
	puts("ready");
	fflush(stdout);
	return smfi_main() == MI_SUCCESS ? 0 : 1;
}
