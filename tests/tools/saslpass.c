/* SPDX-License-Identifier: BSD-2-Clause */
/* saslpass DATABASE REALM USER PASSWORD...: writes users into a database as saslpasswd2 does, for tests without sasl2-bin. */
#include <sasl/sasl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *database;

static int
option(void *context, const char *plugin, const char *name, const char **result, unsigned *len)
{
	(void)context, (void)plugin;
	*result = strcmp(name, "sasldb_path") == 0 ? database : strcmp(name, "auxprop_plugin") == 0 ? "sasldb" : NULL;
	if (len != NULL)
		*len = *result != NULL ? (unsigned)strlen(*result) : 0;
	return *result != NULL ? SASL_OK : SASL_FAIL;
}

int
main(int argc, char **argv)
{
	sasl_callback_t callbacks[] = { { SASL_CB_GETOPT, (int (*)(void))(void (*)(void))option, NULL }, { SASL_CB_LIST_END, NULL, NULL } };
	sasl_conn_t *conn = NULL;
	if (argc < 5) {
		fprintf(stderr, "usage: saslpass DATABASE REALM USER PASSWORD...\n");
		return 2;
	}
	database = argv[1];
	if (sasl_server_init(callbacks, "saslpass") != SASL_OK || sasl_server_new("sasl", argv[2], argv[2], NULL, NULL, NULL, 0, &conn) != SASL_OK)
		return 1;
	for (int i = 3; i + 1 < argc; i += 2)
		if (sasl_setpass(conn, argv[i], argv[i + 1], (unsigned)strlen(argv[i + 1]), NULL, 0, SASL_SET_CREATE) != SASL_OK) {
			fprintf(stderr, "saslpass: %s: %s\n", argv[i], sasl_errdetail(conn));
			return 1;
		}
	sasl_dispose(&conn);
	sasl_done();
	return 0;
}
