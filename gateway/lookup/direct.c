/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Commands ask without a lookup process: a helper, this program once more, has a loop of its own and the same clients; the
 * command waits for it. The command may be in a loop itself, so nothing is shared.
 *
 * On the socket: u32 length; then a block with the table's name and one with the key, or u8 rc and a block.
 */
#include "base/fd.h"
#include "base/mem.h"
#include "dns/dns.h"
#include "ipc/msgs.h"
#include "lookup/lookup.h"
#include "lookup/tables.h"
#include "map/remote.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { HELPER_FD = 3, FRAME_MAX = REMOTE_VALUE_MAX + 4096, HEAD = 4 };

/* ---- both sides: blocking frames ---- */

static bool
read_frame(int fd, struct buf *out)
{
	unsigned char head[HEAD];
	buf_reset(out);
	if (fd_read(fd, head, sizeof head) != 0)
		return false;
	struct cur rd = cur_of(span_of(head, sizeof head));
	uint32_t n = cur_u32(&rd);
	unsigned char *to = n <= FRAME_MAX ? buf_reserve(out, n) : NULL;
	if (to == NULL || fd_read(fd, to, n) != 0)
		return false;
	buf_commit(out, n);
	return true;
}

/* The frame's length goes in front. */
static bool
write_frame(int fd, struct span payload)
{
	struct buf b;
	buf_init(&b, FRAME_MAX + HEAD);
	buf_put_block(&b, payload);
	struct span s = buf_span(&b);
	bool ok = !b.over;
	while (ok && s.n > 0) {
		ssize_t n = send(fd, s.p, s.n, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		ok = n > 0;
		s = span_from(s, ok ? (size_t)n : 0);
	}
	buf_fini(&b);
	return ok;
}

/* ---- the command's side ---- */

static struct {
	int fd;
	struct buf frame;
} caller = { .fd = -1 };

NORETURN static void
become_helper(const struct conf *c, int fd)
{
	char name[] = "dogana", word[] = "role", what[] = "direct";
	char *argv[] = { name, word, what, (char *)(uintptr_t)conf_directory(c), NULL };
	if (fd == HELPER_FD)
		fcntl(fd, F_SETFD, 0);
	else if (dup2(fd, HELPER_FD) < 0)
		_exit(111);
	execv("/proc/self/exe", argv);
	_exit(111);
}

static enum rc
start_helper(const struct conf *c, struct err *e)
{
	int sv[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) != 0)
		return err_set(e, RC_TEMP, "socketpair: %s", strerror(errno));
	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0)
		become_helper(c, sv[1]);
	close(sv[1]);
	if (pid < 0) {
		close(sv[0]);
		return err_set(e, RC_TEMP, "fork: %s", strerror(errno));
	}
	caller.fd = sv[0];
	buf_init(&caller.frame, FRAME_MAX);
	return RC_OK;
}

static enum rc
ask_helper(struct conf *c, const char *table, struct span key, struct buf *value_out, struct err *e)
{
	struct buf question;
	struct msg_found m;
	if (caller.fd < 0 && start_helper(c, e) != RC_OK)
		return RC_TEMP;
	buf_init(&question, FRAME_MAX);
	msg_lookup_put(&question, &(struct msg_lookup){ span_str(table), key });
	bool ok = write_frame(caller.fd, buf_span(&question)) && read_frame(caller.fd, &caller.frame);
	buf_fini(&question);
	if (!ok || msg_found_get(buf_span(&caller.frame), &m) != RC_OK) {
		close(caller.fd);
		caller.fd = -1;
		return err_set(e, RC_TEMP, "the helper process ended");
	}
	if (m.rc == RC_OK)
		buf_put(value_out, m.text);
	else if (m.rc != RC_NONE)
		return err_set(e, m.rc, "%.*s", (int)span_head(m.text, 200).n, (const char *)m.text.p);
	return m.rc;
}

void
lookup_direct(void)
{
	map_remote_direct(ask_helper);
}

/* ---- the helper ---- */

static struct {
	struct conf *conf;
	struct tables tables;
	struct watch watch;
	struct buf frame;
	struct ask ask;
} helper;

static void
say(enum rc rc, struct span text)
{
	struct buf b;
	buf_init(&b, FRAME_MAX);
	msg_found_put(&b, &(struct msg_found){ rc, text });
	if (!write_frame(HELPER_FD, buf_span(&b)))
		loop_stop();
	buf_fini(&b);
}

static void
on_done(struct ask *a, enum rc rc, struct span text)
{
	(void)a;
	say(rc, text);
}

/* The caller waits for each answer: one question at a time. */
static void
on_question(struct watch *w, short what)
{
	(void)w, (void)what;
	struct msg_lookup m;
	struct err e = { 0 };
	if (!read_frame(HELPER_FD, &helper.frame) || msg_lookup_get(buf_span(&helper.frame), &m) != RC_OK) {
		loop_stop();
		return;
	}
	struct table *t = tables_find(&helper.tables, m.table);
	if (t == NULL)
		t = tables_add(&helper.tables, helper.conf, m.table, &e);
	if (t == NULL) {
		say(RC_TEMP, span_str(e.why));
		return;
	}
	t->is_quiet = true;
	helper.ask = (struct ask){ .key = m.key, .done = on_done };
	table_ask(t, &helper.ask);
}

int
lookup_direct_main(const char *dir)
{
	struct err e = { 0 };
	(void)!conf_load(dir, &helper.conf, &e); /* what is wrong with it is the caller's affair */
	if (helper.conf == NULL)
		return 1;
	signal(SIGPIPE, SIG_IGN);
	loop_init();
	(void)!dns_open_conf(helper.conf, &e);
	buf_init(&helper.frame, FRAME_MAX);
	watch_init(&helper.watch, HELPER_FD, on_question);
	watch_want(&helper.watch, EV_READ);
	loop_run();
	watch_clear(&helper.watch);
	tables_fini(&helper.tables);
	dns_close();
	loop_fini();
	buf_fini(&helper.frame);
	conf_unref(&helper.conf);
	return 0;
}
