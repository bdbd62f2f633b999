/* SPDX-License-Identifier: BSD-2-Clause */
#include "tls/keyask.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

static const uint64_t ASK_USEC = 2 * USEC_PER_SEC, PING_USEC = USEC_PER_SEC;

static struct {
	int fd;
	bool is_open;                /* fd means something */
	bool is_silent;              /* the last question got no answer in time */
	uint32_t seq;
	uint64_t pinged;
} me;

static void
drop(void)
{
	if (me.is_open)
		close(me.fd);
	me.is_open = false;
}

void
keyask_peer(int fd)
{
	drop();
	me.fd = fd;
	me.is_open = fd >= 0;
	me.is_silent = false;
}

static bool
send_request(struct key_request *r)
{
	struct buf b;
	buf_init(&b, KEY_PACKET_MAX);
	r->seq = ++me.seq;
	key_request_put(&b, r);
	bool ok = !b.over && send(me.fd, buf_span(&b).p, buf_len(&b), MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)buf_len(&b);
	buf_fini(&b);
	return ok;
}

/* One packet, if there is one; RC_NONE: nothing yet; RC_TEMP: no process any more. */
static enum rc
take_reply(unsigned char *packet, size_t room, struct key_reply *out)
{
	ssize_t n = recv(me.fd, packet, room, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return RC_NONE;
	if (n <= 0 || key_reply_get(span_of(packet, (size_t)n), out) != RC_OK) {
		drop();
		return RC_TEMP;
	}
	if (me.is_silent)
		log_info(NULL, "the keys process answers again");
	me.is_silent = false;
	return RC_OK;
}

bool
keyask_usable(void)
{
	unsigned char packet[KEY_PACKET_MAX];
	struct key_reply reply;
	if (!me.is_open)
		return false;
	while (take_reply(packet, sizeof packet, &reply) == RC_OK)
		; /* late answers */
	if (me.is_open && me.is_silent && clock_mono() - me.pinged >= PING_USEC) {
		me.pinged = clock_mono();
		(void)send_request(&(struct key_request){ .op = KEY_PING });
	}
	return me.is_open && !me.is_silent;
}

static enum rc
wait_reply(uint32_t seq, unsigned char *out, size_t *n_out)
{
	unsigned char packet[KEY_PACKET_MAX];
	struct key_reply reply;
	uint64_t until = clock_mono() + ASK_USEC;
	for (;;) {
		enum rc rc = take_reply(packet, sizeof packet, &reply);
		if (rc == RC_TEMP)
			return RC_TEMP;
		if (rc == RC_OK && reply.seq == seq) {
			memcpy(out, reply.data.p, reply.data.n);
			*n_out = reply.data.n;
			return reply.rc;
		}
		if (rc == RC_OK)
			continue; /* of one that was given up */
		uint64_t now = clock_mono();
		if (now >= until)
			break;
		struct pollfd p = { .fd = me.fd, .events = POLLIN };
		(void)poll(&p, 1, (int)((until - now) / 1000) + 1);
	}
	me.is_silent = true;
	me.pinged = clock_mono();
	metric_add(M_keys_silent, 1);
	log_warn(NULL, "the keys process does not answer: no TLS with our certificates until it does");
	return RC_TEMP;
}

enum rc
keyask(struct key_request *r, unsigned char *out, size_t *n_out)
{
	*n_out = 0;
	metric_add(M_keys_asked, 1);
	enum rc rc = RC_TEMP;
	if (keyask_usable() && send_request(r))
		rc = wait_reply(r->seq, out, n_out);
	if (rc != RC_OK)
		metric_add(M_keys_failed, 1);
	return rc;
}
