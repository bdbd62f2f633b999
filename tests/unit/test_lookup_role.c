/* SPDX-License-Identifier: BSD-2-Clause */
/* The lookup process answers a role about the tables that role's own parameters name, and about no other. */
#include "lookup/lookup.h"

#include "base/clock.h"
#include "ipc/ipc.h"
#include "ipc/msgs.h"
#include "map/map.h"
#include "map/remote.h"

#include "confdir.h"
#include "unit.h"

#include <sqlite3.h>
#include <sys/socket.h>

static struct child child;
static struct op_owner owner;
static char inside[200], both[200];

static void
make_table(const char *name, char *full)
{
	char path[200], text[400];
	sqlite3 *db;
	snprintf(path, sizeof path, "%s/%s.db", confdir, name);
	snprintf(text, sizeof text, "dbpath = %s\nquery = SELECT v FROM t WHERE k = '%%s'\n", path);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "CREATE TABLE t (k TEXT, v TEXT); INSERT INTO t VALUES ('key', 'value')", NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
	snprintf(path, sizeof path, "%s.cf", name);
	confdir_write(path, text);
	snprintf(full, sizeof inside, "sqlite:%s/%s", confdir, path);
}

static struct conf *
load(const char *private_of)
{
	struct conf *c = confdir_load("dns_servers = 127.0.0.1\n");
	struct map_list *l = NULL;
	struct err e;
	assert_int_equal(maps_open(c, NULL, private_of, inside, &l, &e), RC_OK);
	map_list_free(&l);
	assert_int_equal(maps_open(c, NULL, "transport_maps", both, &l, &e), RC_OK);
	map_list_free(&l);
	return c;
}

static void
on_answer(struct op *op)
{
	(void)op;
	loop_stop();
}

static void
on_down(struct ipc_chan *c)
{
	(void)c;
	abort();
}

static enum rc
on_frame(struct ipc_chan *c, struct ipc_frame *f)
{
	(void)c, (void)f;
	abort();
}

static const struct ipc_chan_ops chan_ops = { on_frame, on_down };

static enum rc
ask(struct ipc_chan *chan, const char *table, const char *want)
{
	struct ipc_call call;
	struct msg_found m;
	ipc_call_init(&call, &owner, on_answer);
	msg_lookup_put(ipc_call_begin(&call, chan, IPC_LOOKUP), &(struct msg_lookup){ span_str(table), SPAN("key") });
	ipc_call_send(&call, 10 * USEC_PER_SEC);
	loop_run();
	assert_int_equal(call.op.rc, RC_OK);
	assert_int_equal(msg_found_get(buf_span(&call.reply), &m), RC_OK);
	if (m.rc == RC_OK)
		assert_span(m.text, want);
	enum rc rc = m.rc;
	ipc_call_fini(&call);
	return rc;
}

static struct ipc_chan *
connect_role(enum role role)
{
	int fds[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	lookup_role.peer(&child, role, 0, fds[0]);
	return ipc_chan_new(fds[1], role, ROLE_LOOKUP, 0, &chan_ops, NULL);
}

static void
test_roles(void **state)
{
	(void)state;
	struct err e;
	confdir_make();
	make_table("inside", inside);
	make_table("both", both);
	op_owner_init(&owner);
	child.conf = load("smtp_generic_maps");
	assert_int_equal(lookup_role.start(&child, &e), RC_OK);
	struct ipc_chan *edge = connect_role(ROLE_EDGE), *queue = connect_role(ROLE_QUEUE), *relay = connect_role(ROLE_RELAY);
	assert_int_equal(ask(relay, inside, "value"), RC_OK);
	assert_int_equal(ask(edge, inside, NULL), RC_TEMP);
	assert_int_equal(ask(queue, inside, NULL), RC_TEMP);
	assert_int_equal(ask(edge, both, "value"), RC_OK);
	assert_int_equal(ask(queue, both, "value"), RC_OK);
	assert_int_equal(ask(relay, both, NULL), RC_TEMP);
	/* another parameter names it now: a relay may have mail that began before */
	struct conf *old = child.conf;
	child.conf = load("relocated_maps");
	assert_int_equal(lookup_role.reload(&child, child.conf, &e), RC_OK);
	assert_int_equal(ask(queue, inside, "value"), RC_OK);
	assert_int_equal(ask(relay, inside, "value"), RC_OK);
	assert_int_equal(ask(edge, inside, NULL), RC_TEMP);
	assert_int_equal(lookup_role.reload(&child, child.conf, &e), RC_OK);
	assert_int_equal(ask(queue, inside, "value"), RC_OK);
	assert_int_equal(ask(relay, inside, NULL), RC_TEMP);
	conf_unref(&old);
	ipc_chan_free(&edge);
	ipc_chan_free(&queue);
	ipc_chan_free(&relay);
	confdir_remove();
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_roles) };
	loop_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
