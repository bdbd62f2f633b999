/* SPDX-License-Identifier: GPL-2.0-only */
#include "filters/virus/listen.h"

#include <errno.h>
#include <netdb.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 1024 };

static enum rc
bind_to(const struct sockaddr *at, socklen_t len, int *out)
{
	int on = 1, fd = socket(at->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return RC_PERM;
	if (at->sa_family != AF_UNIX)
		(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (bind(fd, at, len) == 0 && listen(fd, BACKLOG) == 0) {
		*out = fd;
		return RC_OK;
	}
	int err = errno;
	close(fd);
	errno = err;
	return RC_PERM;
}

/* Under another name first: who sees the socket can connect to it, and one that was left over is replaced. */
static enum rc
listen_unix(const char *path, int *fd, struct err *e)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	struct stat st;
	int n = snprintf(at.sun_path, sizeof at.sun_path, "%s.new", path);
	if (n < 0 || (size_t)n >= sizeof at.sun_path)
		return err_set(e, RC_PERM, "%s: too long for a socket", path);
	if (lstat(path, &st) == 0 && !S_ISSOCK(st.st_mode))
		return err_set(e, RC_PERM, "%s: there is something that is no socket", path);
	if (lstat(at.sun_path, &st) == 0 && S_ISSOCK(st.st_mode))
		(void)unlink(at.sun_path);
	if (bind_to((struct sockaddr *)&at, sizeof at, fd) != RC_OK)
		return err_set(e, RC_PERM, "%s: %s", at.sun_path, strerror(errno));
	if (rename(at.sun_path, path) == 0)
		return RC_OK;
	(void)err_set(e, RC_PERM, "%s: %s", path, strerror(errno));
	close(*fd);
	return RC_PERM;
}

static enum rc
listen_inet(const char *text, int family, int *fd, struct err *e)
{
	char port[32];
	const char *host = strchr(text, '@');
	size_t n = host != NULL ? (size_t)(host - text) : strlen(text);
	struct addrinfo want = { .ai_family = family, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE }, *found = NULL;
	if (n == 0 || n >= sizeof port)
		return err_set(e, RC_PERM, "%s: need port@host", text);
	memcpy(port, text, n);
	port[n] = '\0';
	int err = getaddrinfo(host != NULL ? host + 1 : NULL, port, &want, &found);
	if (err != 0)
		return err_set(e, RC_PERM, "%s: %s", text, gai_strerror(err));
	enum rc rc = bind_to(found->ai_addr, found->ai_addrlen, fd);
	if (rc != RC_OK)
		(void)err_set(e, rc, "%s: %s", text, strerror(errno));
	freeaddrinfo(found);
	return rc;
}

enum rc
listen_at(const char *where, int *fd, struct err *e)
{
	const char *rest = strchr(where, ':');
	struct span kind = span_of(where, rest != NULL ? (size_t)(rest - where) : 0);
	if (rest == NULL || span_eq_str(kind, "unix") || span_eq_str(kind, "local"))
		return listen_unix(rest != NULL ? rest + 1 : where, fd, e);
	if (span_eq_str(kind, "inet"))
		return listen_inet(rest + 1, AF_INET, fd, e);
	if (span_eq_str(kind, "inet6"))
		return listen_inet(rest + 1, AF_INET6, fd, e);
	return err_set(e, RC_PERM, "%s: need unix:/path or inet:port@host", where);
}
