/* SPDX-License-Identifier: BSD-2-Clause */
/* logfile.h - opens what maillog_file and maillog_format ask for: a file, standard output, or syslog. */
#ifndef ADMIN_LOGFILE_H
#define ADMIN_LOGFILE_H

#include "base/log.h"
#include "conf/conf.h"

/* False: run would refuse maillog_file, because it is not below maillog_file_prefixes. */
bool logfile_allowed(const struct params *p);
/* fd_out is given. RC_PERM: maillog_file is not below maillog_file_prefixes, or cannot be opened. */
enum rc logfile_open(const struct conf *conf, enum log_target *target_out, enum log_format *format_out, int *fd_out, struct err *e) MUST_CHECK;

#endif
