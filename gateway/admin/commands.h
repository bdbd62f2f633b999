/* SPDX-License-Identifier: BSD-2-Clause */
/* commands.h - the command line: dogana -c DIR COMMAND, and the names people know from Postfix (argv[0]). */
#ifndef ADMIN_COMMANDS_H
#define ADMIN_COMMANDS_H

#include "base/base.h"

/* Runs argv as a command and returns the exit status. */
int commands_main(int argc, char **argv);

/* ---- shared by commands.c and compat.c ---- */

/* The gateway's queue_directory from DIR, for the control socket; NULL (and a message on stderr) when DIR
 * cannot be read. To be freed by the caller. */
char *command_queue_directory(const char *dir);
/* Sends one request and prints the answer to out_fd; complains on stderr as name. Exit status. */
int command_request(const char *dir, const char *name, const char *line, int out_fd);

/* ---- tls_command.c ---- */

int tls_self_signed_command(const char *config_dir, int argc, char *const *argv);

/* ---- compat.c ---- */

/* RC_NONE: argv[0] is not one of the known names. Otherwise *status_out is the exit status. */
enum rc compat_main(int argc, char **argv, int *status_out);

#endif
