/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * control.h - the control socket: one request line, one answer.
 *
 * $queue_directory/public/control, for root and the user the gateway runs as. The answer begins with
 * "ok" or "error TEXT" on a line of its own; text follows until the connection ends. Requests that concern the
 * queue are handed over to it together with the connection, with "@NAME " in front: who asks, as the kernel says.
 *
 * After "ok trailer" the end of the text is told apart from the end of a process: "done" or "error TEXT" stands on a line of its own
 * behind it (and a line end before it that is not of the text). An answer without it was cut short.
 */
#ifndef ADMIN_CONTROL_H
#define ADMIN_CONTROL_H

#include "loop/conn.h"

struct control;
struct control_client;

/* A request to the master; it answers through control_reply, at once or later. */
typedef void control_fn(struct control_client *client, struct span line, void *owner);

/* Listens below queue_directory (public/ is made). */
enum rc control_open(struct control **out, const char *queue_directory, control_fn *fn, void *owner, struct err *e) MUST_CHECK;
void control_close(struct control **cp);

/* Writes the answer and ends the connection. ok false: text is the reason. NULL client: nothing happens
 * (it went away; control_client_gone tells). */
void control_reply(struct control_client *client, bool ok, struct span text);
/* The connection itself, to be handed to another role; the client object is gone afterwards. */
int control_take_fd(struct control_client *client);
/* The user at the other end ("root"); lives as long as the control socket. */
const char *control_who(const struct control_client *client);
/* *slot is set to NULL when the client goes away before its reply. */
void control_on_gone(struct control_client *client, struct control_client **slot);

/* Client side: sends line, writes the answer's text to out (borrowed descriptor). RC_OK: the answer was ok;
 * RC_PERM: it was an error, with reason; RC_NONE: nothing listens (not running); RC_TEMP: trouble, also an answer that was cut short. */
enum rc control_request(const char *queue_directory, const char *line, int out_fd, struct err *e) MUST_CHECK;

#endif
