/* SPDX-License-Identifier: BSD-2-Clause */
/* Endpoints and the connections to them: directly, through a master that has them in its snapshot, and not at all. */
#include "ipc/dial.h"

#include "base/clock.h"
#include "base/metric.h"

#include "confdir.h"
#include "unit.h"

#include <grp.h>
#include <netinet/in.h>
#include <sys/un.h>

static struct timer watchdog;
static struct op_owner owner;
static struct dial dial;
static bool is_done;

static void
on_watchdog(struct timer *t)
{
	(void)t;
	fail_msg("the loop did not finish in time");
}

static void
on_dial(struct op *op)
{
	(void)op;
	is_done = true;
	loop_stop();
}

static int
begin(void **state)
{
	(void)state;
	confdir_make();
	loop_init();
	timer_init(&watchdog, on_watchdog);
	timer_set(&watchdog, 20 * USEC_PER_SEC);
	op_owner_init(&owner);
	return 0;
}

static int
end(void **state)
{
	(void)state;
	timer_clear(&watchdog);
	assert_int_equal(metric_values[M_op_pending], 0);
	loop_fini();
	confdir_remove();
	return 0;
}

static enum rc
dial_now(const struct endpoint *ep, uint64_t usec)
{
	is_done = false;
	dial_init(&dial, &owner, on_dial);
	dial_start(&dial, ep, usec);
	assert_false(is_done); /* never from inside */
	loop_run();
	assert_true(is_done);
	return dial.op.rc;
}

static struct endpoint *
open_one(struct conf *c, const char *text)
{
	struct endpoint *ep = NULL;
	struct err e;
	if (endpoint_open(c, NULL, "smtpd_recipient_restrictions", span_str(text), &ep, &e) != RC_OK)
		fail_msg("%s: %s", text, e.why);
	return ep;
}

static void
test_parse(void **state)
{
	static const struct {
		const char *text;
		bool is_ok, is_unix;
		const char *path_or_host, *port;
	} rows[] = {
		{ "inet:127.0.0.1:10023", true, false, "127.0.0.1", "10023" },
		{ "inet:[2001:db8::1]:10023", true, false, "2001:db8::1", "10023" },
		{ "inet:[IPv6:2001:db8::1]:1", true, false, "2001:db8::1", "1" },
		{ "inet:localhost:postgrey", true, false, "localhost", "postgrey" },
		{ "inet:10023", true, false, "", "10023" },
		{ "inet::10023", true, false, "", "10023" },
		{ "unix:private/policy", true, true, "private/policy", "" },
		{ "unix:/run/a b.sock", true, true, "/run/a b.sock", "" },
		{ "local:/x", true, true, "/x", "" },
		{ "", false, false, "", "" },
		{ "127.0.0.1:10023", false, false, "", "" },
		{ "inet:", false, false, "", "" },
		{ "inet:host:", false, false, "", "" },
		{ "inet:2001:db8::1:25", false, false, "", "" },
		{ "inet:[2001:db8::1:25", false, false, "", "" },
		{ "inet:[IPv6:IPv6:]:25", false, false, "", "" },
		{ "inet:[x:y]:25", false, false, "", "" },
		{ "inet:[IPv6:]:25", false, false, "", "" },
		{ "inet:[]:25", false, false, "", "" },
		{ "inet:a b:25", false, false, "", "" },
		{ "unix:", false, false, "", "" },
		{ "unix:/a\nb", false, false, "", "" },
		{ "unix:/123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901", false, false, "", "" },
		{ "UNIX:/x", false, false, "", "" },
	};
	(void)state;
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct endpoint_text t;
		struct err e;
		bool is_ok = endpoint_parse(span_str(rows[i].text), &t, &e) == RC_OK;
		if (is_ok != rows[i].is_ok)
			fail_msg("%s: %d", rows[i].text, is_ok);
		if (!is_ok)
			continue;
		assert_int_equal(t.is_unix, rows[i].is_unix);
		assert_span(t.is_unix ? t.path : t.host, rows[i].path_or_host);
		assert_span(t.port, rows[i].port);
	}
}

static void
test_open(void **state)
{
	(void)state;
	struct conf *c = confdir_load("");
	struct endpoint *a = open_one(c, "inet:[::1]:25"), *b = open_one(c, "unix:private/x"), *d = open_one(c, "inet:localhost:10023");
	struct endpoint *n = open_one(c, "inet:a..b:25");
	assert_int_equal(a->naddrs, 1);
	assert_string_equal(a->shown, "[::1]:25");
	char want[300];
	snprintf(want, sizeof want, "%s/queue/private/x", confdir);
	assert_string_equal(b->path, want);
	assert_string_equal(b->shown, "private/x");
	assert_true(endpoint_is_named(c, span_str(want)));
	assert_false(endpoint_is_named(c, SPAN("private/x")));
	assert_false(endpoint_is_named(c, SPAN("/run/x")));
	assert_false(endpoint_is_named(c, SPAN_EMPTY));
	assert_true(d->naddrs >= 1);
	assert_int_equal(n->naddrs, 0);
	/* a role finds what the loader resolved */
	int fd;
	struct conf *image = NULL;
	struct err e;
	assert_int_equal(conf_image_write(c, CONF_FOR_ALL, &fd, &e), RC_OK);
	assert_int_equal(conf_image_read(fd, &image, &e), RC_OK);
	close(fd);
	struct endpoint *r = open_one(image, "inet:localhost:10023");
	assert_int_equal(r->naddrs, d->naddrs);
	assert_memory_equal(r->addrs, d->addrs, sizeof r->addrs);
	struct endpoint *other = open_one(image, "inet:elsewhere:10023"); /* nobody named it: it is not asked for here */
	assert_int_equal(other->naddrs, 0);
	struct endpoint *all[] = { a, b, d, n, r, other };
	for (size_t i = 0; i < NELEMS(all); i++)
		endpoint_free(&all[i]);
	conf_unref(&image);
	conf_unref(&c);
}

/* What only Postfix's master would listen on. */
static void
test_spawned(void **state)
{
	(void)state;
	confdir_write("master.cf", "smtp inet n - n - - smtpd\npolicyd-spf unix - n n - 0 spawn user=nobody argv=/usr/bin/policyd-spf\n");
	struct conf *c = confdir_load("");
	struct endpoint *ep = NULL;
	struct err e;
	assert_int_equal(endpoint_open(c, NULL, "smtpd_recipient_restrictions", SPAN("unix:private/policyd-spf"), &ep, &e), RC_PERM);
	assert_null(ep);
	assert_non_null(strstr(e.why, "master.cf has spawn run policyd-spf, which is not done here"));
	ep = open_one(c, "unix:private/policyd");
	endpoint_free(&ep);
	conf_unref(&c);
	char path[200];
	snprintf(path, sizeof path, "%s/master.cf", confdir);
	assert_int_equal(unlink(path), 0);
}

/* A listening socket; its number, and the endpoint's text. */
static int
listen_inet(char text[64])
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	socklen_t len = sizeof a;
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
	assert_int_equal(listen(fd, 5), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	snprintf(text, 64, "inet:127.0.0.1:%u", ntohs(a.sin_port));
	return fd;
}

static void
test_inet(void **state)
{
	(void)state;
	char text[64];
	struct conf *c = confdir_load("");
	int l = listen_inet(text);
	struct endpoint *ep = open_one(c, text);
	assert_int_equal(dial_now(ep, USEC_PER_SEC), RC_OK);
	int fd = dial_take(&dial);
	int s = accept(l, NULL, NULL);
	assert_true(s >= 0);
	assert_true((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
	close(fd);
	close(s);
	dial_fini(&dial);
	dial_fini(&dial);
	/* not taken: closed */
	assert_int_equal(dial_now(ep, USEC_PER_SEC), RC_OK);
	dial_fini(&dial);
	s = accept(l, NULL, NULL);
	char byte;
	assert_int_equal(read(s, &byte, 1), 0);
	close(s);
	/* cancelled while it connects */
	dial_init(&dial, &owner, on_dial);
	dial_start(&dial, ep, USEC_PER_SEC);
	ops_cancel_all(&owner);
	assert_int_equal(dial.fd, -1);
	dial_fini(&dial);
	close(l);
	assert_int_equal(dial_now(ep, USEC_PER_SEC), RC_TEMP);
	assert_string_equal(dial.why.why, "Connection refused");
	dial_fini(&dial);
	/* the second address answers */
	l = listen_inet(text);
	struct endpoint *two = open_one(c, text);
	two->addrs[1] = two->addrs[0];
	two->lens[1] = two->lens[0];
	two->naddrs = 2;
	two->addrs[0] = ep->addrs[0];
	assert_int_equal(dial_now(two, USEC_PER_SEC), RC_OK);
	dial_fini(&dial);
	close(l);
	endpoint_free(&two);
	endpoint_free(&ep);
	ep = open_one(c, "inet:a..b:25");
	assert_int_equal(dial_now(ep, USEC_PER_SEC), RC_TEMP);
	assert_string_equal(dial.why.why, "host name could not be resolved when the configuration was read");
	dial_fini(&dial);
	endpoint_free(&ep);
	conf_unref(&c);
}

/* ---- through a master ---- */

static struct conf *in_force;

static enum rc
master_frame(struct ipc_chan *c, struct ipc_frame *f)
{
	return f->type == IPC_DIAL ? dial_serve(c, f, in_force) : RC_PERM;
}

static enum rc
edge_frame(struct ipc_chan *c, struct ipc_frame *f)
{
	(void)c, (void)f;
	return RC_PERM;
}

static void
down(struct ipc_chan *c)
{
	(void)c;
}

static void
test_unix(void **state)
{
	static const struct ipc_chan_ops master_ops = { master_frame, down }, edge_ops = { edge_frame, down };
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	(void)state;
	snprintf(a.sun_path, sizeof a.sun_path, "%s/s", confdir);
	int l = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(l, (struct sockaddr *)&a, sizeof a), 0);
	assert_int_equal(listen(l, 1), 0);
	assert_int_equal(chmod(confdir, 0755), 0);
	assert_int_equal(chmod(a.sun_path, 0666), 0);
	struct conf *c = confdir_load("edge_user = 61001\n"), *empty = confdir_load("");
	char text[200];
	snprintf(text, sizeof text, "unix:%s/s", confdir);
	struct endpoint *ep = open_one(c, text);
	for (int through = 0; through <= 1; through++) {
		int sv[2];
		struct ipc_chan *m = NULL, *r = NULL;
		if (through) {
			assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
			m = ipc_chan_new(sv[0], ROLE_MASTER, ROLE_EDGE, 0, &master_ops, NULL);
			r = ipc_chan_new(sv[1], ROLE_EDGE, ROLE_MASTER, 0, &edge_ops, NULL);
			in_force = c;
			dial_through(r);
		}
		assert_int_equal(dial_now(ep, USEC_PER_SEC), RC_OK);
		int fd = dial_take(&dial), s = accept(l, NULL, NULL);
		assert_int_equal(write(s, "x", 1), 1);
		char byte;
		assert_int_equal(read(fd, &byte, 1), 1);
		assert_true((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
		close(fd);
		close(s);
		dial_fini(&dial);
		if (!through)
			continue;
		/* a snapshot that does not name it */
		in_force = empty;
		assert_int_equal(dial_now(ep, USEC_PER_SEC), RC_TEMP);
		assert_string_equal(dial.why.why, "the configuration in force does not name this socket");
		dial_fini(&dial);
		in_force = c;
		/* cancelled: the answer finds nobody */
		dial_init(&dial, &owner, on_dial);
		dial_start(&dial, ep, USEC_PER_SEC);
		ops_cancel_all(&owner);
		dial_fini(&dial);
		/* nobody listens */
		close(l);
		assert_int_equal(dial_now(ep, USEC_PER_SEC), RC_TEMP);
		assert_string_equal(dial.why.why, "Connection refused");
		dial_fini(&dial);
		/* the master went away */
		ipc_chan_free(&m);
		assert_int_equal(dial_now(ep, USEC_PER_SEC), RC_TEMP);
		assert_string_equal(dial.why.why, "the master does not answer");
		dial_fini(&dial);
		dial_through(NULL);
		ipc_chan_free(&r);
	}
	endpoint_free(&ep);
	conf_unref(&c);
	conf_unref(&empty);
}

/* As root: the server sees the edge's user, and where that one may not go nobody goes for it. */
static void
test_rights(void **state)
{
	static const struct ipc_chan_ops master_ops = { master_frame, down }, edge_ops = { edge_frame, down };
	static const struct {
		const char *name;
		mode_t mode;
		const char *why;      /* NULL: connected */
	} rows[] = {
		{ "open", 0666, NULL }, { "mine", 0600, "Permission denied" }, { "link-to-mine", 0, "Permission denied" }, { "grouped", 0660, NULL },
		{ "link-to-open", 0, NULL },
	};
	enum { USER = 61001, ROOT_GROUP = 4711 };
	(void)state;
	if (geteuid() != 0)
		skip();
	gid_t own[64], groups[] = { ROOT_GROUP, 4712 };
	int nown = getgroups((int)NELEMS(own), own);
	assert_true(nown >= 0);
	assert_int_equal(setgroups(NELEMS(groups), groups), 0);
	assert_int_equal(chmod(confdir, 0755), 0);
	int listener[NELEMS(rows)], sv[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
	struct ipc_chan *m = ipc_chan_new(sv[0], ROLE_MASTER, ROLE_EDGE, 0, &master_ops, NULL), *r = ipc_chan_new(sv[1], ROLE_EDGE, ROLE_MASTER, 0, &edge_ops, NULL);
	struct conf *c = confdir_load("edge_user = 61001\n");
	in_force = c;
	dial_through(r);
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct sockaddr_un a = { .sun_family = AF_UNIX };
		char target[200];
		snprintf(a.sun_path, sizeof a.sun_path, "%s/%s", confdir, rows[i].name);
		listener[i] = -1;
		if (rows[i].mode != 0) {
			listener[i] = socket(AF_UNIX, SOCK_STREAM, 0);
			assert_int_equal(bind(listener[i], (struct sockaddr *)&a, sizeof a), 0);
			assert_int_equal(chmod(a.sun_path, rows[i].mode), 0);
			assert_int_equal(listen(listener[i], 5), 0);
			if (rows[i].mode == 0660)
				assert_int_equal(chown(a.sun_path, 0, USER), 0);
		} else {
			snprintf(target, sizeof target, "%s/%s", confdir, rows[i].name + strlen("link-to-"));
			assert_int_equal(symlink(target, a.sun_path), 0);
		}
	}
	for (size_t i = 0; i < NELEMS(rows); i++) {
		char text[200];
		snprintf(text, sizeof text, "unix:%s/%s", confdir, rows[i].name);
		struct endpoint *ep = open_one(c, text);
		enum rc rc = dial_now(ep, USEC_PER_SEC);
		if (rc != (rows[i].why == NULL ? RC_OK : RC_TEMP) || (rows[i].why != NULL && strcmp(dial.why.why, rows[i].why) != 0))
			fail_msg("%s: %d %s", rows[i].name, rc, dial.why.why);
		if (rc == RC_OK) {
			struct ucred who;
			socklen_t len = sizeof who;
			int s = accept(listener[listener[i] >= 0 ? i : 0], NULL, NULL);
			assert_true(s >= 0);
			assert_int_equal(getsockopt(s, SOL_SOCKET, SO_PEERCRED, &who, &len), 0);
			assert_int_equal(who.uid, USER);
			assert_int_equal(who.gid, USER);
			close(s);
		}
		dial_fini(&dial);
		endpoint_free(&ep);
		uid_t u[3];
		gid_t g[3], now[64];
		assert_int_equal(getresuid(&u[0], &u[1], &u[2]), 0);
		assert_int_equal(getresgid(&g[0], &g[1], &g[2]), 0);
		assert_true(u[0] == 0 && u[1] == 0 && u[2] == 0 && g[0] == getgid() && g[1] == getgid() && g[2] == getgid());
		assert_int_equal(getgroups((int)NELEMS(now), now), NELEMS(groups));
		assert_memory_equal(now, groups, sizeof groups);
	}
	/* a user that is not there, or is root: nobody connects */
	static const char *const users[] = { "edge_user = no-such-user-here\n", "edge_user = root\n", "edge_user = 0\n" };
	for (size_t i = 0; i < NELEMS(users); i++) {
		char text[200];
		in_force = confdir_load(users[i]);
		snprintf(text, sizeof text, "unix:%s/open", confdir);
		struct endpoint *ep = open_one(in_force, text);
		assert_int_equal(dial_now(ep, USEC_PER_SEC), RC_TEMP);
		assert_non_null(strstr(dial.why.why, i == 0 ? "user no-such-user-here: " : "must not have root's rights"));
		dial_fini(&dial);
		endpoint_free(&ep);
		conf_unref(&in_force);
	}
	dial_through(NULL);
	ipc_chan_free(&r);
	ipc_chan_free(&m);
	for (size_t i = 0; i < NELEMS(rows); i++)
		if (listener[i] >= 0)
			close(listener[i]);
	conf_unref(&c);
	assert_int_equal(setgroups((size_t)nown, own), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_open),
		cmocka_unit_test(test_spawned),
		cmocka_unit_test(test_inet),
		cmocka_unit_test(test_unix),
		cmocka_unit_test(test_rights),
	};
	return cmocka_run_group_tests(tests, begin, end);
}
