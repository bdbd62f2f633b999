/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ipc.h - typed messages between roles.
 *
 * A channel is one end of a socketpair. A frame is u32 payload length, u16 type, u16 1 if a
 * descriptor comes with it, u64 call id, then the payload. Types are rows in msgs.def with who may
 * send them; a frame that breaks a rule means the sibling has been taken over: the channel goes down and
 * its calls end as "not now"; the master restarts a process whose channel to itself goes down. Output
 * gathers and leaves once per loop turn.
 *
 * A call is an id in a table, never a pointer: an answer whose caller has gone is counted and dropped.
 * A peer that has ended may have said something before, and it is heard: what cannot be sent to it is dropped, and the channel goes
 * down behind the last frame. When a channel goes down every call on it ends with RC_TEMP.
 *
 * Who asks and does not read the answers must not fill the memory of who answers. Three bounds, in ipc.c:
 *
 * - While more than 1 MB of answers, or 32 descriptors in answers, have not left, nothing is read from that peer: its calls stay in
 *   its own buffers (metric ipc_held). What can leave is sent before that is decided, so a burst of calls from a peer that
 *   reads is served in one go, however large.
 * - Calls that were read before may still be answered. Beyond 64 MB of answers, or 256 MB of anything, the channel goes down.
 *   That happens at the end of the turn, never inside ipc_end(), whose caller still holds what the channel's owner would free.
 * - Whoever lets calls wait (VERIFY, LOOKUP, drafts) limits how many of one peer do.
 *
 * Why nobody waits for ever: only answers count, not what is sent unasked. Queue and relay send each other jobs and results, both
 * much, and none of it is an answer: neither stops reading the other (the queue stops giving jobs instead, RELAY_UNSENT_MAX). So a
 * process stops reading only from one that calls it, and goes on when that one reads. Between siblings calls go one
 * way (edge to queue; edge, queue and relay to lookup; test_ipc holds msgs.def to that), so of two ends of a channel at most
 * one can stop, and the other one always reads. Master and child do call each other: there a child never stops, the master may.
 * Stopping concerns one channel, never the process, so no ring over three processes comes of it either.
 * The cost for everybody else is two comparisons per frame.
 */
#ifndef IPC_IPC_H
#define IPC_IPC_H

#include "base/buf.h"
#include "base/htab.h"
#include "loop/loop.h"
#include "loop/op.h"

enum role { ROLE_MASTER = 1, ROLE_EDGE = 2, ROLE_QUEUE = 4, ROLE_RELAY = 8, ROLE_LOOKUP = 16, ROLE_KEYS = 32, ROLE_AUTH = 64 };
const char *role_name(enum role r);

enum ipc_type {
	IPC_NOTHING = 0,
#define MSG(name, from, to, fd, doc) IPC_##name,
#include "ipc/msgs.def"
#undef MSG
	IPC_TYPES
};

enum { IPC_FRAME_MAX = 1024 * 1024 };  /* payload bytes; what is larger travels by descriptor */

struct ipc_chan;
struct ipc_call;

/* One received frame; payload is borrowed until the handler returns. fd is -1, or given. */
struct ipc_frame {
	enum ipc_type type;
	uint64_t id;
	struct span payload;
	int fd;
};

struct ipc_chan_ops {
	/* A frame that is not an answer to one of our calls. The handler takes f->fd by setting it to
	 * -1 after copying; otherwise it is closed. RC_PERM: the frame is malformed, the channel goes down. */
	enum rc (*frame)(struct ipc_chan *, struct ipc_frame *f);
	/* The peer is gone (or misbehaved). All calls have been finished with RC_TEMP. The owner
	 * normally calls ipc_chan_free. */
	void (*down)(struct ipc_chan *);
};

struct ipc_out_fd {
	uint64_t at;                 /* stream offset of the frame it belongs to */
	int fd;
};

struct ipc_chan {
	unsigned magic;
	int fd;
	enum role self, peer;
	unsigned peer_index;         /* which edge, which relay */
	void *owner;                 /* for the handlers */
	const struct ipc_chan_ops *ops;
	struct watch watch;
	struct buf in, out;
	struct list dirty;
	struct list calls;           /* struct ipc_call.link */
	struct htab by_id;
	uint64_t next_id;
	struct ipc_out_fd *out_fds;  /* descriptors waiting, in stream order */
	size_t n_out_fds, cap_out_fds;
	uint64_t sent;               /* stream offset of out's first byte */
	size_t frame_start;          /* of the frame between ipc_begin and ipc_end, in out */
	bool is_answer;              /* that frame */
	size_t answers, answer_fds;  /* octets and descriptors of answers since out was last empty */
	bool held;                   /* nothing is read from it until its answers have left */
	bool doomed;                 /* goes down at the end of the turn */
	bool deaf;                   /* takes nothing any more: what it had said before is heard, then it goes down */
	int *in_fds;
	size_t n_in_fds, cap_in_fds;
	struct grave grave;
	bool down;
};

/* fd is given: one end of a socketpair(AF_UNIX, SOCK_STREAM). */
struct ipc_chan *ipc_chan_new(int fd, enum role self, enum role peer, unsigned peer_index, const struct ipc_chan_ops *ops, void *owner);
/* Ends all calls with RC_TEMP, sends what is unsent if that works at once, closes. Sets *cp to NULL. */
void ipc_chan_free(struct ipc_chan **cp);

/* Sends a frame. payload is copied; fd (or -1) is given. On a channel that is down it is dropped. */
void ipc_send(struct ipc_chan *c, enum ipc_type type, uint64_t id, struct span payload, int fd);
/* The same in pieces, without an extra copy: begin, write into the buffer, end. */
struct buf *ipc_begin(struct ipc_chan *c, enum ipc_type type, uint64_t id);
void ipc_end(struct ipc_chan *c);
/* Instead of ipc_end: the frame takes a descriptor along (given). */
void ipc_send_fd(struct ipc_chan *c, int fd);
size_t ipc_unsent(const struct ipc_chan *c); /* for back pressure of what is sent unasked; answers have their own, see above */

/* A call: op completes with RC_OK when the answer came (reply holds it), RC_TEMP when the channel
 * went down or the time was over. Embedded in its owner like any op; cancel with op_cancel. */
struct ipc_call {
	struct op op;
	struct buf reply;            /* payload of the answer; valid in done(); freed by ipc_call_fini */
	int fd;                      /* descriptor of the answer, -1 or the owner's to close */
	/* private */
	struct ipc_chan *chan;
	struct hnode by_id;
	uint64_t id;
	struct list link;
	struct timer timer;
};
void ipc_call_init(struct ipc_call *call, struct op_owner *owner, op_fn *done);
void ipc_call_fini(struct ipc_call *call);   /* cancels, frees the reply, closes an untaken fd */
/* Starts: returns the buffer to write the payload into; ipc_call_send() ends it. timeout 0: none. */
struct buf *ipc_call_begin(struct ipc_call *call, struct ipc_chan *c, enum ipc_type type);
void ipc_call_send(struct ipc_call *call, uint64_t timeout_usec);
/* The same with a descriptor (given). */
void ipc_call_send_fd(struct ipc_call *call, int fd, uint64_t timeout_usec);
/* Answers a call frame (its id). fd (or -1) is given. */
void ipc_answer(struct ipc_chan *c, uint64_t id, struct span payload, int fd);
struct buf *ipc_answer_begin(struct ipc_chan *c, uint64_t id); /* then ipc_end */

#endif
