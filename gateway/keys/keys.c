/* SPDX-License-Identifier: BSD-2-Clause */
#include "keys/keys.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "ipc/sandbox.h"
#include "keys/ring.h"
#include "keys/sign.h"
#include "tls/key.h"

#include <errno.h>
#include <event2/event.h>
#include <openssl/crypto.h>
#include <sys/socket.h>
#include <unistd.h>

/* A process that asks. */
struct asker {
	struct list link;
	enum role role;
	unsigned index;
	unsigned side;
	int fd;
	struct watch watch;
	uint64_t second;             /* of the count */
	unsigned count;              /* questions in that second */
	bool is_suspect;             /* and the log has been told */
	struct grave grave;
};

enum { SECURE_HEAP = 1 << 20, SECURE_LEAST = 32, RATE_MAX = 20000 /* questions of one asker in a second */ };
static const uint64_t OLD_USEC = 600 * USEC_PER_SEC, SWEEP_USEC = 60 * USEC_PER_SEC;

static struct {
	struct ring ring;
	struct list askers;
	struct timer sweep;
	bool is_locked;              /* key memory is never swapped */
	size_t heap;                 /* octets of OpenSSL's secure heap; it cannot grow */
} me;

static void
dig_asker(struct grave *g)
{
	struct asker *a = container_of(g, struct asker, grave);
	mem_free(&a);
}

static void
asker_gone(struct asker *a)
{
	list_remove(&a->link);
	watch_clear(&a->watch);
	close(a->fd);
	loop_bury(&a->grave, dig_asker);
}

static void
suspect(struct asker *a, const char *what)
{
	metric_add(M_keys_refused, 1);
	if (a->is_suspect)
		return;
	a->is_suspect = true;
	log_warn(NULL, "%s %u %s", role_name(a->role), a->index, what);
}

/* Whoever does not read its answers loses them: nobody waits here. */
static void
answer(struct asker *a, uint32_t seq, enum rc rc, struct span data)
{
	struct buf b;
	buf_init_secret(&b, KEY_PACKET_MAX);
	key_reply_put(&b, &(struct key_reply){ seq, rc, data });
	(void)!send(a->fd, buf_span(&b).p, buf_len(&b), MSG_DONTWAIT | MSG_NOSIGNAL);
	buf_fini(&b);
}

static enum rc
serve(struct asker *a, const struct key_request *r, unsigned char *out, size_t *n_out)
{
	*n_out = 0;
	if (r->op == KEY_PING)
		return RC_OK;
	const struct ring_key *k = ring_find(&me.ring, r->id, a->side);
	if (k == NULL) {
		metric_add(M_keys_refused, 1);
		return RC_NONE;
	}
	metric_add(M_keys_done, 1);
	return r->op == KEY_SIGN ? key_sign(k->key, r, out, n_out) : key_decrypt(k->key, r, out, n_out);
}

static bool
is_too_often(struct asker *a)
{
	uint64_t second = loop_now() / USEC_PER_SEC;
	if (a->second != second) {
		a->second = second;
		a->count = 0;
	}
	return ++a->count > RATE_MAX;
}

/* One question in a turn: those with many wait for those with one. */
static void
on_readable(struct watch *w, short what)
{
	(void)what;
	struct asker *a = container_of(w, struct asker, watch);
	unsigned char packet[KEY_PACKET_MAX + 1], out[KEY_DATA_MAX];
	struct key_request r;
	size_t n_out = 0;
	ssize_t n = recv(a->fd, packet, sizeof packet, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		asker_gone(a);
		return;
	}
	if (key_request_get(span_of(packet, (size_t)n), &r) != RC_OK) {
		suspect(a, "asks what nobody would ask: it is not answered any more");
		asker_gone(a);
		return;
	}
	enum rc rc = RC_TEMP;
	if (is_too_often(a))
		suspect(a, "asks for more signatures than any load needs");
	else
		rc = serve(a, &r, out, &n_out);
	answer(a, r.seq, rc, span_of(out, n_out));
	mem_wipe(out, n_out);
}

/* ---- the role ---- */

static void
on_sweep(struct timer *t)
{
	uint64_t now = clock_mono();
	ring_expire(&me.ring, now > OLD_USEC ? now - OLD_USEC : 0);
	timer_set(t, SWEEP_USEC);
}

static void
add_size(void *arg, const char *path, struct span text)
{
	(void)path;
	*(size_t *)arg += text.n;
}

/* Numbers, temporary ones, old keys beside new ones: several times the files. */
static size_t
heap_for(const struct conf *c)
{
	size_t text = 0, heap = SECURE_HEAP;
	conf_secrets_each(c, CONF_FOR_KEYS, add_size, &text);
	while (heap < 8 * text && heap < (size_t)1 << 30)
		heap *= 2;
	return heap;
}

static enum rc
keys_start(struct child *c, struct err *e)
{
	list_init(&me.askers);
	ring_init(&me.ring);
	me.heap = heap_for(c->conf);
	int heap = CRYPTO_secure_malloc_init(me.heap, SECURE_LEAST);
	if (heap == 0)
		return err_set(e, RC_PERM, "no memory for private keys");
	me.is_locked = heap == 1;
	return ring_load(&me.ring, c->conf, clock_mono(), e);
}

static enum rc
keys_ready(struct child *c, struct err *e)
{
	(void)c, (void)e;
	timer_init(&me.sweep, on_sweep);
	timer_set(&me.sweep, SWEEP_USEC);
	return RC_OK;
}

static enum rc
keys_reload(struct child *c, struct conf *new_conf, struct err *e)
{
	if (heap_for(new_conf) > me.heap) {
		log_info(NULL, "more private keys than there is room for: starting anew");
		child_exit(c); /* the master starts us again, with the new configuration */
		return RC_OK;
	}
	return ring_load(&me.ring, new_conf, clock_mono(), e);
}

static void
keys_peer(struct child *c, enum role role, unsigned index, int fd)
{
	(void)c;
	list_each(l, &me.askers) {
		struct asker *old = list_entry(l, struct asker, link);
		if (old->role == role && old->index == index)
			asker_gone(old);
	}
	struct asker *a = mem_zalloc(sizeof *a);
	a->role = role;
	a->index = index;
	a->side = role == ROLE_EDGE ? TLS_SERVER : role == ROLE_RELAY ? TLS_CLIENT : 0u;
	a->fd = fd;
	list_init(&a->link);
	list_append(&me.askers, &a->link);
	watch_init(&a->watch, fd, on_readable);
	watch_want(&a->watch, EV_READ);
}

static void
keys_status(struct child *c, struct buf *out)
{
	(void)c;
	buf_printf(out, "\"keys\":%zu,\"old_keys\":%zu,\"locked\":%s", me.ring.count - me.ring.old, me.ring.old, me.is_locked ? "true" : "false");
}

static void
keys_drain(struct child *c)
{
	list_each(l, &me.askers)
		asker_gone(list_entry(l, struct asker, link));
	timer_clear(&me.sweep);
	ring_fini(&me.ring);
	child_exit(c);
}

const struct role_ops keys_role = {
	.role = ROLE_KEYS,
	.start = keys_start,
	.ready = keys_ready,
	.reload = keys_reload,
	.peer = keys_peer,
	.status = keys_status,
	.drain = keys_drain,
};
