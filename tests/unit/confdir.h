/* SPDX-License-Identifier: BSD-2-Clause */
/* confdir.h - a configuration directory of its own for a test: files by name, loaded as a snapshot. */
#ifndef TESTS_UNIT_CONFDIR_H
#define TESTS_UNIT_CONFDIR_H

#include "conf/conf.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char confdir[64];

static inline void
confdir_write(const char *name, const char *text)
{
	char path[256];
	snprintf(path, sizeof path, "%s/%s", confdir, name);
	FILE *f = fopen(path, "w");
	if (f == NULL || fputs(text, f) < 0 || fclose(f) != 0)
		abort();
}

static inline void
confdir_make(void)
{
	snprintf(confdir, sizeof confdir, "/tmp/dogana-unit-XXXXXX");
	if (mkdtemp(confdir) == NULL || chmod(confdir, 0755) != 0) /* lists are read without root's rights */
		abort();
}

static inline int
confdir_remove_one(const char *path, const struct stat *st, int what, struct FTW *where)
{
	(void)st;
	(void)what;
	(void)where;
	return remove(path);
}

static inline void
confdir_remove(void)
{
	nftw(confdir, confdir_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* For a test that has one of its own: cmocka_unit_test_setup_teardown(test, confdir_setup, confdir_teardown). */
static inline int
confdir_setup(void **state)
{
	(void)state;
	confdir_make();
	return 0;
}

static inline int
confdir_teardown(void **state)
{
	(void)state;
	confdir_remove();
	return 0;
}

/* Loads main.cf with these lines; data_directory is below the directory. Errors of conf_load itself end the test. */
static inline struct conf *
confdir_load(const char *main_cf)
{
	char text[8192];
	struct conf *c = NULL;
	struct err e;
	snprintf(text, sizeof text,
	    "compatibility_level = 3.6\nmyhostname = mx.example.com\ndata_directory = %s/data\nqueue_directory = %s/queue\n%s", confdir, confdir, main_cf);
	confdir_write("main.cf", text);
	if (conf_load(confdir, &c, &e) != RC_OK) {
		fprintf(stderr, "conf_load: %s\n", e.why);
		for (size_t i = 0; c != NULL && i < conf_problem_count(c, CONF_ERROR); i++)
			fprintf(stderr, "  %s\n", conf_problem_at(c, i, CONF_ERROR)->text);
		abort();
	}
	return c;
}

/* Is there a problem of this severity with this text in it? */
static inline bool
confdir_has_problem(const struct conf *c, enum conf_severity sev, const char *part)
{
	for (size_t i = 0; i < conf_problem_count(c, sev); i++)
		if (strstr(conf_problem_at(c, i, sev)->text, part) != NULL)
			return true;
	return false;
}

static inline void
confdir_show_problems(const struct conf *c)
{
	for (size_t i = 0; i < conf_problem_count(c, CONF_ERROR); i++)
		fprintf(stderr, "  error: %s\n", conf_problem_at(c, i, CONF_ERROR)->text);
	for (size_t i = 0; i < conf_problem_count(c, CONF_WARNING); i++)
		fprintf(stderr, "  warning: %s\n", conf_problem_at(c, i, CONF_WARNING)->text);
}

#endif
