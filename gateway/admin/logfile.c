/* SPDX-License-Identifier: BSD-2-Clause */
#include "admin/logfile.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static enum rc
open_syslog(int *fd_out, struct err *e)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX, .sun_path = "/dev/log" };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_set(e, RC_TEMP, "socket: %s", strerror(errno));
	if (connect(fd, (struct sockaddr *)&to, sizeof to) != 0) {
		int err = errno;
		close(fd);
		return err_set(e, RC_TEMP, "/dev/log: %s", strerror(err));
	}
	*fd_out = fd;
	return RC_OK;
}

bool
logfile_allowed(const struct params *p)
{
	struct span path = span_str(p->p_maillog_file), rest = span_str(p->p_maillog_file_prefixes), item;
	if (path.n == 0)
		return true; /* syslog */
	while (span_word(&rest, ", \t\r\n", &item))
		if (span_starts(path, item) && (path.n == item.n || path.p[item.n] == '/' || item.p[item.n - 1] == '/'))
			return true;
	return false;
}

enum rc
logfile_open(const struct conf *conf, enum log_target *target_out, enum log_format *format_out, int *fd_out, struct err *e)
{
	const struct params *p = conf_params(conf);
	*format_out = span_caseeq_str(span_str(p->p_maillog_format), "json") ? LOG_JSON : LOG_POSTFIX;
	const char *file = p->p_maillog_file;
	if (file[0] == '\0') {
		*target_out = LOG_TO_SYSLOG;
		if (open_syslog(fd_out, e) == RC_OK)
			return RC_OK;
		*target_out = LOG_TO_FD; /* no syslog daemon here: what would be lost goes where it can be seen */
		*fd_out = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
		return *fd_out >= 0 ? RC_OK : err_set(e, RC_TEMP, "standard error: %s", strerror(errno));
	}
	*target_out = LOG_TO_FD;
	if (!logfile_allowed(p))
		return err_set(e, RC_PERM, "maillog_file = %s is not below maillog_file_prefixes", file);
	if (strcmp(file, "/dev/stdout") == 0)
		*fd_out = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3); /* also where it cannot be opened again: a socket */
	else
		*fd_out = open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, (mode_t)strtol(p->p_maillog_file_permissions, NULL, 8));
	return *fd_out >= 0 ? RC_OK : err_set(e, RC_PERM, "%s: %s", file, strerror(errno));
}
