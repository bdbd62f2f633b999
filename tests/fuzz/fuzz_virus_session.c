/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the virus filter's front reads: from an MTA, and from a generation with one worker, both played here. Properties: each end of a body is
 * answered once, or the connection ends; nothing is said that was not asked; what is said is packets that the MTA offered to understand;
 * afterwards no message, no octet of one, no operation and no connection is left.
 *
 * The input is written down as bytes: a command, a length, data; 0xff: octets as they are; 0xfe: time passes. With bit 6 of the length of an
 * end of a body the MTA does not wait for its answer.
 */
#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"
#include "filters/milter_wire.h"
#include "filters/virus/examine.h"
#include "filters/virus/pool.h"
#include "filters/virus/session.h"
#include "filters/virus/wire.h"
#include "turn.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static const struct virus_conf confs[] = {
	{ .header = "$status by $engine", .workers = 1, .max_file_size = 3000, .messages_max = 1 << 20, .limits = VIRUS_QUARANTINE, .found = VIRUS_QUARANTINE,
	    .unavailable = VIRUS_TEMPFAIL, .scan_usec = 1000000, .wait_usec = 1000000 },
	{ .header = "", .workers = 1, .max_file_size = 100000, .messages_max = 0, .limits = VIRUS_TAG, .found = VIRUS_REJECT, .encrypted = VIRUS_DISCARD,
	    .unavailable = VIRUS_HOLD_AND_RESCAN, .scan_usec = 1000000, .wait_usec = 0 },
};
static struct virus_conf conf;
static struct front_counts counts;

/* ---- the engine ---- */

static struct {
	int generation, worker;      /* our ends; -1: none */
	uint32_t id;
	unsigned mood;
	bool owes;                   /* an answer */
	unsigned late;               /* turns until it is given */
	uint64_t len;
} engine = { .generation = -1, .worker = -1 };

static void
begin_worker(void)
{
	int sv[2], memory = memfd_create("message", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	BUG_ON(memory < 0 || ftruncate(memory, WIRE_MAP_FIRST) != 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sv) != 0);
	struct wire_generation m = { .type = WIRE_WORKER, .id = ++engine.id };
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(2 * sizeof(int))];
	} ancillary = { .room = { 0 } };
	struct iovec iov = { &m, sizeof m };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &ancillary, .msg_controllen = sizeof ancillary };
	struct cmsghdr *c = CMSG_FIRSTHDR(&h);
	int fds[2] = { sv[0], memory };
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof fds);
	memcpy(CMSG_DATA(c), fds, sizeof fds);
	BUG_ON(sendmsg(engine.generation, &h, MSG_NOSIGNAL) != (ssize_t)sizeof m);
	close(sv[0]);
	close(memory);
	engine.worker = sv[1];
	engine.owes = false;
}

static void
begin_generation(void)
{
	int sv[2];
	struct wire_generation m = { .type = WIRE_READY, .version = { .engine = "ClamAV", .signatures = "1" } };
	BUG_ON(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sv) != 0);
	pool_add(sv[0]);
	engine.generation = sv[1];
	BUG_ON(send(engine.generation, &m, sizeof m, MSG_NOSIGNAL) != (ssize_t)sizeof m);
	begin_worker();
}

static void
end_engine(bool all)
{
	close(engine.worker);
	engine.worker = -1;
	engine.owes = false;
	if (!all)
		return;
	close(engine.generation);
	engine.generation = -1;
}

static void
answer_scan(void)
{
	struct wire_verdict say = { .kind = engine.mood / 16 % 8 };
	engine.owes = false;
	memset(say.name, engine.mood % 16 == 1 ? '\r' : 'v', sizeof say.name);
	(void)!send(engine.worker, &say, engine.mood % 16 == 2 ? 3 : sizeof say, MSG_NOSIGNAL);
}

/* What a message comes to at the engine depends on the mood of this input. */
static void
engine_turn(void)
{
	struct wire_scan ask;
	if (engine.generation < 0)
		begin_generation();
	if (engine.worker < 0)
		begin_worker();
	ssize_t n = recv(engine.worker, &ask, sizeof ask, 0);
	if (n == 0) {
		end_engine(false);
	} else if (n > 0) {
		BUG_ON(n != (ssize_t)sizeof ask || ask.head != sizeof VIRUS_HEAD - 1 || ask.len < ask.head + 2 || ask.len > ask.head + conf.max_file_size + 600 || engine.owes);
		engine.owes = true;
		engine.len = ask.len;
		engine.mood = engine.mood * 5 + 17;
		engine.late = engine.mood % 16 == 3 ? 3 : 0;
		if (engine.mood % 16 == 4)
			end_engine(true);
	} else if (engine.owes && engine.late-- == 0) {
		answer_scan();
	}
}

static void
turn(void)
{
	turn_once();
	engine_turn();
}

/* ---- the MTA ---- */

static struct {
	int fd;
	struct buf heard, stream;
	bool is_open;
	bool has_options;
	uint32_t actions, steps;     /* as agreed */
	unsigned ends, answers;      /* packets that end something */
} mta;

static void
hear_packet(const struct mw_frame *f)
{
	struct span a, b;
	uint32_t index;
	struct mw_options o;
	switch (f->cmd) {
	case SMFIC_OPTNEG:
		BUG_ON(mta.has_options || mw_options(f->data, &o) != RC_OK || o.version < 2 || o.version > 6);
		mta.has_options = true;
		mta.actions = o.actions;
		mta.steps = o.steps;
		return;
	case SMFIR_ADDHEADER:
		BUG_ON(mw_two(f->data, &a, &b) != RC_OK || b.n == 0);
		break;
	case SMFIR_CHGHEADER:
		BUG_ON(mw_indexed(f->data, &index, &a, &b) != RC_OK || index == 0 || index > 100);
		break;
	case SMFIR_QUARANTINE:
		BUG_ON(mw_one(f->data, &a, NULL) != RC_OK || a.n == 0 || !span_is_printable(a));
		break;
	case SMFIR_REPLYCODE:
		BUG_ON(mw_one(f->data, &a, NULL) != RC_OK || a.n < 10 || !span_is_printable(a));
		mta.answers++;
		break;
	case SMFIR_CONTINUE:
	case SMFIR_DISCARD:
		BUG_ON(f->data.n > 0);
		mta.answers++;
		break;
	case SMFIR_PROGRESS:
		break;
	default:
		BUG("the filter says something else");
	}
	BUG_ON(!mta.has_options);
}

static void
hear(void)
{
	unsigned char *p = buf_reserve(&mta.heard, 65536);
	struct mw_frame f;
	uint32_t length;
	BUG_ON(p == NULL);
	ssize_t n = recv(mta.fd, p, 65536, 0);
	if (n > 0)
		buf_commit(&mta.heard, (size_t)n);
	else if (n == 0 || errno != EAGAIN)
		mta.is_open = false;
	enum mw_state state;
	while ((state = mw_next(buf_span(&mta.heard), &f, &length)) == MW_FRAME) {
		hear_packet(&f);
		buf_consume(&mta.heard, f.used);
	}
	BUG_ON(state == MW_BAD);
}

static void
send_all(struct span s, size_t piece)
{
	while (s.n > 0 && mta.is_open) {
		struct span part = span_head(s, piece);
		ssize_t sent = send(mta.fd, part.p, part.n, MSG_NOSIGNAL);
		if (sent < 0 && errno != EAGAIN)
			return;
		if (sent > 0)
			s = span_from(s, (size_t)sent);
		turn();
		hear();
	}
}

/* So many packets have to come for what was said, unless the connection ends. */
static void
await(unsigned wanted)
{
	for (unsigned i = 0; mta.is_open && mta.answers < wanted; i++) {
		BUG_ON(i > 200000000);
		turn();
		hear();
	}
	for (int i = 0; mta.is_open && i < 2; i++) { /* and no more */
		turn();
		hear();
	}
	BUG_ON(mta.answers > wanted);
}

/* Is it answered when nothing went wrong? */
static bool
is_answered(unsigned char cmd)
{
	switch (cmd) {
	case SMFIC_HEADER: return (mta.steps & SMFIP_NR_HDR) == 0;
	case SMFIC_BODY: return (mta.steps & SMFIP_NR_BODY) == 0;
	case SMFIC_CONNECT: case SMFIC_HELO: case SMFIC_MAIL: case SMFIC_RCPT: case SMFIC_DATA: case SMFIC_UNKNOWN: case SMFIC_EOH: case SMFIC_BODYEOB: return true;
	default: return false;
	}
}

static void
put_packet(unsigned char cmd, unsigned char how, struct span data)
{
	size_t mark = mw_begin(&mta.stream, cmd), times = (how & 128) != 0 && (cmd == SMFIC_BODY || cmd == SMFIC_BODYEOB) ? 300 : 1;
	while (times-- > 0)
		buf_put(&mta.stream, data);
	mw_end(&mta.stream, mark);
}

static void
play(struct cur *c, size_t piece)
{
	unsigned wanted = 0;
	bool is_strict = true;       /* it is known what has to be answered */
	while (cur_left(c) > 0 && mta.is_open) {
		unsigned char cmd = cur_u8(c), how = cur_u8(c);
		size_t n = how & 63u;
		struct span data = cur_take(c, n < cur_left(c) ? n : cur_left(c));
		buf_reset(&mta.stream);
		if (cmd == 0xfe) {
			turn();
			hear();
			continue;
		}
		if (cmd == 0xff) {
			is_strict = false;
			send_all(data, piece);
			continue;
		}
		put_packet(cmd, how, data);
		bool had_options = mta.has_options;
		send_all(buf_span(&mta.stream), piece);
		if (!is_strict)
			continue;
		if (cmd == SMFIC_OPTNEG) {
			for (int i = 0; i < 3; i++) {
				turn();
				hear();
			}
			BUG_ON(mta.is_open && (had_options || !mta.has_options));
			continue;
		}
		wanted += is_answered(cmd);
		if (cmd == SMFIC_BODYEOB && (how & 64) != 0)
			is_strict = false;
		else
			await(wanted);
	}
}

static void
quiet(void)
{
	for (unsigned i = 0; sessions_active() > 0 || metric_values[M_op_pending] != 0 || metric_values[M_conns] != 0; i++) {
		BUG_ON(i > 200000000);
		turn();
		if (mta.is_open)
			hear();
	}
	turn();
	for (unsigned i = 0; i < 10 && engine.owes; i++)
		turn();
}

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	log_open(LOG_TO_FD, open("/dev/null", O_WRONLY | O_CLOEXEC), LOG_POSTFIX, "dogana", "virus");
	loop_init();
	conf = confs[0];
	pool_init(&conf);
	examine_init(&conf, &counts, NULL, NULL);
	sessions_init(&conf, &counts);
	buf_init(&mta.heard, 1 << 20);
	buf_init(&mta.stream, 1 << 20);
	for (int i = 0; i < 4; i++)
		turn();
	return 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	int sv[2];
	if (n < 3)
		return 0;
	conf = confs[p[0] % NELEMS(confs)];
	engine.mood = p[2];
	BUG_ON(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sv) != 0);
	mta.fd = sv[0];
	mta.is_open = true;
	mta.has_options = false;
	mta.steps = mta.answers = 0;
	session_new(sv[1]);
	struct cur c = cur_of(span_of(p + 3, n - 3));
	play(&c, p[1] < 16 ? p[1] + 1u : p[1] * 64u);
	shutdown(mta.fd, SHUT_WR);
	quiet();
	BUG_ON(sessions_active() != 0 || sessions_memory() != 0);
	close(mta.fd);
	buf_reset(&mta.heard);
	return 0;
}
