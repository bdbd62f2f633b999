/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * program.h - what the bundled filter programs have in common: arguments, configuration, log, and the word with the master.
 *
 *	dogana-virus -c DIR -p unix:/path      by hand: reads DIR, listens there, logs as the configuration says, ends on SIGTERM
 *	dogana-virus -m -p unix:/path ...      by the master: descriptors 3 (control), 4 (configuration image), 5 (log)
 *
 *	program_begin(&pg, "virus", argc, argv, &e);
 *	smfi_setconn(pg.listen); smfi_opensocket(true); program_listening(&pg);
 *	confine(&want, &e); program_control(&pg, &ops); ... program_ready(&pg);
 *
 * To the master goes what state it is in; the master names the socket of the one in use, so a new process takes over without a gap.
 * Control is a SOCK_SEQPACKET socket, a word and its text a datagram: "listening", "ready", "status JSON-MEMBERS", "remarks LINES"
 * to the master; "stop" and "log TARGET FORMAT" (with a descriptor) from it. When the master goes, the program ends.
 */
#ifndef FILTERS_PROGRAM_H
#define FILTERS_PROGRAM_H

#include "base/buf.h"
#include "base/log.h"
#include "conf/conf.h"

enum { PROGRAM_CONTROL_FD = 3, PROGRAM_IMAGE_FD = 4, PROGRAM_LOG_FD = 5, PROGRAM_DATAGRAM_MAX = 64 * 1024 };

struct program {
	const char *name;            /* "virus": its lines have the tag dogana/virus */
	struct conf *conf;
	char listen[256];            /* for smfi_setconn(): "unix:/path"; by hand also "inet:port@host" */
	bool has_master;
	int control;                 /* -1: none */
	void (*pass_log)(struct span said, int fd); /* for other processes of the program that write to the log; borrowed; may be NULL */
};

/* Exit status of a program that was called wrongly. */
enum { PROGRAM_USAGE = 64 };

/* Reads arguments and configuration, opens the log; SIGPIPE is ignored. RC_PERM: the reason is in e; nothing is to be freed. */
enum rc program_begin(struct program *pg, const char *name, int argc, char **argv, struct err *e) MUST_CHECK;
void program_end(struct program *pg);

/* The socket is open. With a master everybody may connect who reaches its directory (umask 0). */
void program_listening(struct program *pg);
/* It can do its work. */
void program_ready(struct program *pg);
/* Members of a JSON object (no braces), and lines about what needs looking at (may be empty): kept by the master until the next. */
void program_status(struct program *pg, struct span json_members, struct span remarks);

/* A thread that listens to the master, and to SIGTERM and SIGINT (to be blocked in all threads: program_begin() does that).
 * stop(): finish in order; called once, from that thread. */
struct program_ops {
	void (*stop)(void);
};
enum rc program_control(struct program *pg, const struct program_ops *ops, struct err *e) MUST_CHECK;
/* For a program with a loop of its own instead of that thread: reads one datagram. RC_OK: *stop says whether it is to stop;
 * RC_NONE: nothing there (a log descriptor has been taken); RC_PERM: the master is gone. */
enum rc program_heard(struct program *pg, bool *stop) MUST_CHECK;
/* A "log" datagram, passed on to another process of the program (pass_log): takes the descriptor. false: it is something else. */
bool program_take_log(const struct program *pg, struct span said, int fd);

/* Log lines from any thread, each written at once. qid: the queue id (macro i), may be empty. */
void program_log(enum log_level level, struct span qid, const char *fmt, ...) PRINTF(3, 4);

#endif
