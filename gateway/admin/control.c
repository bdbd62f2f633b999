/* SPDX-License-Identifier: BSD-2-Clause */
#include "admin/control.h"

#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { LINE_LIMIT = 256 * 1024, REPLY_MAX = 16 * 1024 * 1024, CLIENTS_MAX = 64, NAME_MAX_SHOWN = 40, TRAILER_MAX = 1024 };
static const uint64_t IDLE_USEC = 60 * 1000000;

struct control {
	int fd;
	struct watch watch;
	struct list clients;
	unsigned count;
	control_fn *fn;
	void *owner;
	char self[NAME_MAX_SHOWN];   /* the user we run as */
};

struct control_client {
	struct conn conn;
	struct control *control;
	struct list link;
	struct control_client **slot;
	struct timer taken;          /* its descriptor went to another process */
	struct grave grave;
	bool asked, replied;
	uid_t uid;
};

static void
dig(struct grave *g)
{
	struct control_client *c = container_of(g, struct control_client, grave);
	mem_free(&c);
}

static void
retire(struct control_client *c)
{
	timer_clear(&c->taken);
	conn_close(&c->conn);
	if (c->slot != NULL)
		*c->slot = NULL;
	c->slot = NULL;
	list_remove(&c->link);
	c->control->count--;
	loop_bury(&c->grave, dig);
}

static void
on_input(struct conn *conn)
{
	struct control_client *c = container_of(conn, struct control_client, conn);
	struct span in = conn_input(conn);
	size_t nl = span_chr(in, '\n');
	if (nl == SIZE_MAX) {
		if (in.n > LINE_LIMIT)
			retire(c);
		return;
	}
	c->asked = true;
	conn_pause(conn);
	conn_deadline(conn, 0);
	struct buf line;
	buf_init(&line, LINE_LIMIT);
	buf_put(&line, span_head(in, nl));
	conn_consume(conn, in.n);
	c->control->fn(c, buf_span(&line), c->control->owner);
	buf_fini(&line);
}

static void
on_ended(struct conn *conn, enum conn_end why, int err)
{
	(void)err;
	struct control_client *c = container_of(conn, struct control_client, conn);
	if (why == CONN_EOF && c->asked)
		return; /* it said all it wanted; the answer is still owed */
	retire(c);
}

static void
on_drained(struct conn *conn)
{
	struct control_client *c = container_of(conn, struct control_client, conn);
	if (c->replied)
		retire(c);
}

static const struct conn_ops client_ops = { .input = on_input, .ended = on_ended, .drained = on_drained };

static bool
peer_allowed(int fd, uid_t *uid_out)
{
	struct ucred cred;
	socklen_t len = sizeof cred;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) != 0)
		return false;
	*uid_out = cred.uid;
	return cred.uid == 0 || cred.uid == geteuid();
}

/* A name that can stand in a line: else the number does. */
static void
name_self(char out[NAME_MAX_SHOWN])
{
	const struct passwd *pw = getpwuid(geteuid());
	struct span name = span_str(pw != NULL ? pw->pw_name : NULL);
	bool clean = name.n > 0 && name.n < NAME_MAX_SHOWN && span_is_printable(name) && span_is_ascii(name) && span_chr(name, ' ') == SIZE_MAX;
	if (clean)
		snprintf(out, NAME_MAX_SHOWN, "%s", pw->pw_name);
	else
		snprintf(out, NAME_MAX_SHOWN, "uid-%u", (unsigned)geteuid());
}

const char *
control_who(const struct control_client *c)
{
	return c->uid == 0 ? "root" : c->control->self;
}

static void
on_accept(struct watch *w, short what)
{
	(void)what;
	struct control *ctl = container_of(w, struct control, watch);
	int fd = accept4(ctl->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0)
		return;
	uid_t uid;
	if (!peer_allowed(fd, &uid) || ctl->count >= CLIENTS_MAX) {
		close(fd);
		return;
	}
	struct control_client *c = mem_zalloc(sizeof *c);
	c->control = ctl;
	c->uid = uid;
	list_init(&c->link);
	list_append(&ctl->clients, &c->link);
	ctl->count++;
	conn_init(&c->conn, fd, &client_ops, LINE_LIMIT + 1, REPLY_MAX);
	conn_deadline(&c->conn, IDLE_USEC);
}

void
control_reply(struct control_client *c, bool ok, struct span text)
{
	if (c == NULL)
		return;
	c->replied = true;
	c->slot = NULL;
	conn_puts(&c->conn, ok ? "ok\n" : "error ");
	conn_put(&c->conn, text);
	if (!ok)
		conn_puts(&c->conn, "\n");
	c->conn.want_drained = true;
	conn_deadline(&c->conn, IDLE_USEC);
}

static void
on_taken(struct timer *t)
{
	retire(container_of(t, struct control_client, taken));
}

int
control_take_fd(struct control_client *c)
{
	int fd = fcntl(c->conn.fd, F_DUPFD_CLOEXEC, 3);
	if (c->slot != NULL)
		*c->slot = NULL;
	c->slot = NULL;
	/* the socket lives on: only closed after the event mechanism has let go of it is it out of there */
	watch_want(&c->conn.watch, 0);
	timer_init(&c->taken, on_taken);
	timer_set(&c->taken, 0);
	return fd;
}

void
control_on_gone(struct control_client *c, struct control_client **slot)
{
	*slot = c;
	c->slot = slot;
}

/* The path through an open directory: queue_directory may be longer than sun_path. */
static enum rc
control_addr(int dir, const char *name, struct sockaddr_un *out)
{
	*out = (struct sockaddr_un){ .sun_family = AF_UNIX };
	int n = snprintf(out->sun_path, sizeof out->sun_path, "/proc/self/fd/%d/%s", dir, name);
	return n > 0 && (size_t)n < sizeof out->sun_path ? RC_OK : RC_PERM;
}

enum rc
control_open(struct control **out, const char *queue_directory, control_fn *fn, void *owner, struct err *e)
{
	int top = open(queue_directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (top < 0)
		return err_set(e, RC_PERM, "%s: %s", queue_directory, strerror(errno));
	(void)mkdirat(top, "public", 0755);
	int dir = openat(top, "public", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	close(top);
	if (dir < 0)
		return err_set(e, RC_PERM, "%s/public: %s", queue_directory, strerror(errno));
	struct sockaddr_un addr;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	(void)unlinkat(dir, "control", 0);
	enum rc rc = fd >= 0 ? control_addr(dir, "control", &addr) : RC_PERM;
	mode_t mask = umask(0177);
	if (rc == RC_OK && (bind(fd, (struct sockaddr *)&addr, sizeof addr) != 0 || listen(fd, 16) != 0))
		rc = RC_PERM;
	umask(mask);
	int err = errno;
	close(dir);
	if (rc != RC_OK) {
		if (fd >= 0)
			close(fd);
		return err_set(e, rc, "%s/public/control: %s", queue_directory, strerror(err));
	}
	struct control *ctl = mem_zalloc(sizeof *ctl);
	*ctl = (struct control){ .fd = fd, .fn = fn, .owner = owner };
	list_init(&ctl->clients);
	name_self(ctl->self);
	watch_init(&ctl->watch, fd, on_accept);
	watch_want(&ctl->watch, EV_READ);
	*out = ctl;
	return RC_OK;
}

void
control_close(struct control **cp)
{
	struct control *ctl = *cp;
	*cp = NULL;
	if (ctl == NULL)
		return;
	while (!list_empty(&ctl->clients))
		retire(list_entry(ctl->clients.next, struct control_client, link));
	watch_clear(&ctl->watch);
	close(ctl->fd);
	mem_free(&ctl);
}

/* ---- client side ---- */

static int
connect_control(const char *queue_directory, struct err *e)
{
	int top = open(queue_directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int dir = top >= 0 ? openat(top, "public", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (top >= 0)
		close(top);
	struct sockaddr_un addr;
	int fd = dir >= 0 ? socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0) : -1;
	bool connected = fd >= 0 && control_addr(dir, "control", &addr) == RC_OK && connect(fd, (struct sockaddr *)&addr, sizeof addr) == 0;
	int err = errno;
	if (dir >= 0)
		close(dir);
	if (connected)
		return fd;
	if (fd >= 0)
		close(fd);
	err_set(e, err == EACCES ? RC_PERM : RC_NONE, "%s/public/control: %s", queue_directory, strerror(err));
	return -1;
}

/* An answer while it arrives. */
struct answer {
	struct buf head;         /* what came before the end of the first line; then the end that is held back */
	bool in_text, has_trailer;
	enum rc rc;
	struct err *e;
};

static bool
take_text(struct answer *a, struct span s, int out_fd)
{
	if (!a->has_trailer)
		return fd_write(out_fd, s) == 0;
	buf_put(&a->head, s);
	size_t n = buf_len(&a->head);
	if (n <= TRAILER_MAX)
		return true;
	bool ok = fd_write(out_fd, span_head(buf_span(&a->head), n - TRAILER_MAX)) == 0;
	buf_consume(&a->head, n - TRAILER_MAX);
	return ok;
}

static bool
take(struct answer *a, struct span s, int out_fd)
{
	if (a->in_text)
		return take_text(a, s, out_fd);
	buf_put(&a->head, s);
	size_t nl = span_chr(buf_span(&a->head), '\n');
	if (nl == SIZE_MAX)
		return !a->head.over;
	struct span first = span_head(buf_span(&a->head), nl);
	a->in_text = true;
	a->has_trailer = span_eq_str(first, "ok trailer");
	if (span_starts(first, SPAN("ok")))
		a->rc = RC_OK;
	else
		a->rc = err_set(a->e, RC_PERM, "%.*s", (int)(first.n > 6 ? first.n - 6 : 0), (const char *)first.p + (first.n > 6 ? 6 : 0));
	buf_consume(&a->head, nl + 1);
	return a->has_trailer || fd_write(out_fd, buf_span(&a->head)) == 0;
}

/* What was held back: the last line says how it ended. */
static void
take_trailer(struct answer *a, int out_fd)
{
	struct span s = buf_span(&a->head);
	struct span line = s.n > 0 && s.p[s.n - 1] == '\n' ? span_head(s, s.n - 1) : SPAN_EMPTY;
	size_t nl = span_rchr(line, '\n');
	line = nl != SIZE_MAX ? span_from(line, nl + 1) : SPAN_EMPTY;
	bool done = span_eq_str(line, "done"), failed = span_starts(line, SPAN("error "));
	(void)!fd_write(out_fd, done || failed ? span_head(s, nl) : s);
	if (failed)
		a->rc = err_set(a->e, RC_PERM, "%.*s", (int)(line.n - 6), (const char *)line.p + 6);
	else if (!done)
		a->rc = err_set(a->e, RC_TEMP, "the answer was cut short");
}

enum rc
control_request(const char *queue_directory, const char *line, int out_fd, struct err *e)
{
	struct err trouble = { .rc = RC_NONE };
	int fd = connect_control(queue_directory, &trouble);
	if (fd < 0)
		return err_set(e, trouble.rc, "%s", trouble.why);
	struct answer a = { .rc = RC_TEMP, .e = e };
	buf_init(&a.head, 256 * 1024);
	int error = fd_write(fd, span_str(line));
	if (error == 0)
		error = fd_write(fd, SPAN("\n"));
	if (error != 0)
		err_set(e, RC_TEMP, "control socket: %s", strerror(error));
	bool written = true;
	while (written) {
		unsigned char chunk[65536];
		ssize_t n = read(fd, chunk, sizeof chunk);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		written = take(&a, span_of(chunk, (size_t)n), out_fd);
	}
	if (a.has_trailer && written)
		take_trailer(&a, out_fd);
	else if (!a.in_text && a.rc == RC_TEMP)
		err_set(e, RC_TEMP, "the gateway did not answer");
	if (!written && a.rc == RC_OK)
		a.rc = err_set(e, RC_TEMP, "output: %s", strerror(errno));
	buf_fini(&a.head);
	close(fd);
	return a.rc;
}
