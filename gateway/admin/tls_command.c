/* SPDX-License-Identifier: BSD-2-Clause */
/* "dogana tls self-signed": key and certificate for a first start. */
#include "admin/commands.h"
#include "base/fd.h"
#include "conf/conf.h"
#include "tls/selfsigned.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NAMES = 100 };

PRINTF(1, 2) static int
complain(const char *fmt, ...)
{
	va_list ap;
	fputs("dogana: tls self-signed: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	putc('\n', stderr);
	return 1;
}

static int
usage(void)
{
	fprintf(stderr, "usage: dogana tls self-signed [--name HOST]... [--years N] [DIR]\n");
	return 64;
}

/* A new file, whole or not at all; the mode does not depend on the umask. */
static bool
write_new(const char *path, struct span text, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return false;
	int why = fchmod(fd, mode) == 0 ? fd_write(fd, text) : errno;
	if (why == 0 && fsync(fd) != 0)
		why = errno;
	close(fd);
	if (why != 0)
		unlink(path);
	errno = why;
	return why == 0;
}

static int
write_both(const char *dir, struct span key, struct span cert)
{
	char key_path[4200], cert_path[4200];
	struct stat st;
	snprintf(key_path, sizeof key_path, "%s/key.pem", dir);
	snprintf(cert_path, sizeof cert_path, "%s/cert.pem", dir);
	if (mkdir(dir, 0755) != 0 && errno != EEXIST)
		return complain("%s: %s", dir, strerror(errno));
	if (lstat(cert_path, &st) == 0 || lstat(key_path, &st) == 0)
		return complain("%s is there already: nothing is overwritten", lstat(cert_path, &st) == 0 ? cert_path : key_path);
	if (!write_new(key_path, key, 0600))
		return complain("%s: %s", key_path, strerror(errno));
	if (!write_new(cert_path, cert, 0644)) {
		int why = errno;
		unlink(key_path);
		return complain("%s: %s", cert_path, strerror(why));
	}
	fprintf(stderr, "written: %s (private, mode 0600) and %s\nfor main.cf, beside smtpd_tls_security_level = may:\n", key_path, cert_path);
	printf("smtpd_tls_cert_file = %s\nsmtpd_tls_key_file = %s\n", cert_path, key_path);
	return fflush(stdout) == 0 ? 0 : complain("write: %s", strerror(errno));
}

static int
make(const char *dir, const char *const *names, size_t n, unsigned years)
{
	struct buf key, cert;
	struct err e = { .why = "" };
	buf_init_secret(&key, 65536);
	buf_init(&cert, 1 << 20);
	int status = selfsigned_make(names, n, years, &key, &cert, &e) == RC_OK ? write_both(dir, buf_span(&key), buf_span(&cert)) : complain("%s", e.why);
	buf_fini(&key);
	buf_fini(&cert);
	return status;
}

int
tls_self_signed_command(const char *config_dir, int argc, char *const *argv)
{
	const char *names[NAMES], *dir = NULL;
	char full[4096], own[4200];
	size_t n = 0;
	uint64_t years = 3;
	for (int i = 0; i < argc; i++) {
		const char *arg = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
		bool is_name = strcmp(arg, "--name") == 0, is_years = strcmp(arg, "--years") == 0;
		if ((is_name || is_years) && value == NULL)
			return usage();
		if (is_name && n == NAMES)
			return complain("no more than %d names", NAMES);
		if (is_name)
			names[n++] = value;
		else if (is_years && !span_u64(span_str(value), 1000, &years))
			return usage();
		else if (!is_name && !is_years && (arg[0] == '-' || dir != NULL))
			return usage();
		else if (!is_name && !is_years)
			dir = arg;
		i += is_name || is_years;
	}
	struct conf *c = NULL;
	struct err e;
	(void)!conf_load(config_dir, &c, &e); /* only for the name */
	if (n == 0 && c == NULL)
		return complain("%s: name the host with --name", e.why);
	if (n == 0)
		names[n++] = conf_params(c)->p_myhostname;
	if (realpath(config_dir, full) == NULL)
		snprintf(full, sizeof full, "%s", config_dir);
	snprintf(own, sizeof own, "%s/tls", full);
	if (dir != NULL && dir[0] != '/' && getcwd(full, sizeof full) != NULL)
		snprintf(own, sizeof own, "%.3000s/%.1000s", full, dir);
	else if (dir != NULL)
		snprintf(own, sizeof own, "%s", dir);
	int status = make(own, names, n, (unsigned)years);
	conf_unref(&c);
	return status;
}
