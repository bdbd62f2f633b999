/* SPDX-License-Identifier: BSD-2-Clause */
#include "admin/filterprogram.h"

#include "base/log.h"
#include "base/rights.h"
#include "conf/param.h"
#include "filters/program.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FIRST_FREE_FD = 10 };

bool
filterprogram_find(const char *own, enum bundled which, struct buf *path)
{
	static const char *const places[] = { "/", "/../lib/dogana/" };
	struct span self = span_str(own);
	size_t slash = span_rchr(self, '/');
	for (size_t i = 0; slash != SIZE_MAX && i < NELEMS(places); i++) {
		buf_reset(path);
		buf_put(path, span_head(self, slash));
		buf_puts(path, places[i]);
		buf_printf(path, "dogana-%s", bundled_name(which));
		if (access(buf_cstr(path), X_OK) == 0)
			return true;
	}
	return false;
}

void
filterprogram_check(struct conf *c)
{
	char own[4096];
	ssize_t n = readlink("/proc/self/exe", own, sizeof own - 1);
	if (n <= 0)
		return;
	own[n] = '\0';
	struct buf path;
	buf_init(&path, sizeof own + 64);
	for (int i = 0; i < BUNDLED_COUNT; i++)
		if (bundled_is_on(c, (enum bundled)i) && !filterprogram_find(own, (enum bundled)i, &path))
			conf_problem(c, CONF_ERROR, NULL, bundled_switch((enum bundled)i), "%s is set, but its program dogana-%s is neither beside %s nor in ../lib/dogana of it",
			    bundled_switch((enum bundled)i), bundled_name((enum bundled)i), own);
	buf_fini(&path);
}

int
filterprogram_directory(const struct conf *c)
{
	struct buf path;
	struct rights filter, edge;
	const struct params *p = conf_params(c);
	buf_init(&path, 4096);
	bundled_directory(c, &path);
	const char *dir = buf_cstr(&path);
	(void)mkdir(dir, 0700);
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	bool ok = fd >= 0;
	if (ok && geteuid() == 0)
		ok = rights_find(p->p_filter_user, false, &filter) && rights_find(p->p_edge_user, false, &edge) && fchown(fd, filter.uid, edge.gid) == 0 &&
		    fchmod(fd, 0710) == 0;
	if (!ok) {
		log_error(NULL, "%s: %s", dir, strerror(errno));
		if (fd >= 0)
			close(fd);
		fd = -1;
	}
	buf_fini(&path);
	return fd;
}

void
filterprogram_sweep(const struct conf *c)
{
	int fd = filterprogram_directory(c);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	if (d == NULL) {
		if (fd >= 0)
			close(fd);
		return;
	}
	for (const struct dirent *e; (e = readdir(d)) != NULL;)
		if (strstr(e->d_name, ".sock") != NULL)
			(void)unlinkat(dirfd(d), e->d_name, 0);
	closedir(d);
}

static uint64_t
mix(uint64_t h, struct span s)
{
	return (h ^ span_hash(s)) * UINT64_C(0x9e3779b97f4a7c15) + (h >> 29);
}

static void
mix_file(void *arg, const char *path, const struct conf_version *v)
{
	uint64_t *sum = arg;
	*sum += mix(span_hash(span_str(path)), span_of(v, sizeof *v)); /* they come in no order */
}

uint64_t
filterprogram_fingerprint(const struct conf *c, enum bundled which)
{
	static const char *const common[] = { "filter_user", "syslog_name", "queue_directory", "data_directory" };
	uint64_t h = (uint64_t)which + 1;
	for (size_t i = 0; i < param_count(); i++) {
		const char *name = param_at(i)->name;
		bool concerns = which != BUNDLED_VIRUS || strncmp(name, "virus_", 6) == 0;
		for (size_t k = 0; k < NELEMS(common) && !concerns; k++)
			concerns = strcmp(name, common[k]) == 0;
		if (concerns)
			h = mix(h, span_str(conf_value(c, NULL, name)));
	}
	if (which != BUNDLED_VIRUS)
		conf_watched_each(c, mix_file, &h);
	return h;
}

NORETURN static void
become(const char *program, char *const *argv, int control, int image, int log_fd)
{
	int fds[3] = { control, image, log_fd };
	for (int i = 0; i < 3; i++)
		if ((fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, FIRST_FREE_FD)) < 0)
			_exit(111);
	if (dup2(fds[0], PROGRAM_CONTROL_FD) < 0 || dup2(fds[1], PROGRAM_IMAGE_FD) < 0 || dup2(fds[2], PROGRAM_LOG_FD) < 0)
		_exit(111);
	for (int s = 1; s < NSIG; s++)
		signal(s, SIG_DFL);
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execv(program, argv);
	_exit(111);
}

pid_t
filterprogram_run(const struct procs *procs, enum bundled which, const char *path, const char *socket_name, int control)
{
	struct buf listen;
	char name[64], target[8], format[8];
	char own[] = "-m", p[] = "-p", t[] = "-t", ff[] = "-f";
	buf_init(&listen, 4096);
	buf_puts(&listen, "unix:");
	bundled_directory(procs->conf, &listen);
	buf_printf(&listen, "/%s", socket_name);
	snprintf(name, sizeof name, "dogana-%s", bundled_name(which));
	snprintf(target, sizeof target, "%u", procs->log_target);
	snprintf(format, sizeof format, "%u", procs->log_format);
	(void)buf_cstr(&listen);
	char *argv[] = { name, own, p, (char *)listen.p + listen.at, t, target, ff, format, NULL };
	log_flush(); /* or the child would write our gathered lines again */
	pid_t pid = fork();
	if (pid == 0)
		become(path, argv, control, images_for(procs->images, ROLE_MASTER), procs->log_fd);
	buf_fini(&listen);
	return pid;
}
