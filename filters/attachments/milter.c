/* SPDX-License-Identifier: BSD-2-Clause */
#include "filters/attachments/milter.h"

#include "base/fd.h"
#include "base/mem.h"
#include "filters/program.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmilter/mfapi.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define STATUS_HEADER "X-Attachment-Status"

enum { PACKET_MAX = 1 << 20, HEADER_MAX = 64 << 20, ENVELOPE_MAX = 32 << 20, CONTENT_NAMES = 24, POISON_ROWS = 256, POISON_LIMIT = 3, REPLY_MAX = 400, KEPT_ROWS = 4096,
	DRAIN_PAUSE_MSEC = 50, QUIET_PAUSES = 3 };

/* A Content-* header of the message itself, for a message that becomes a note. */
struct content_name {
	char name[64];
	unsigned count;
};

struct talk {
	bool is_trusted;             /* the client is in mynetworks */
	/* the message at hand */
	struct arena arena;          /* envelope */
	struct span sender;
	struct span *rcpts;
	size_t nrcpts, cap;
	bool is_counted;             /* in active */
	bool has_login, leads_space;
	unsigned long steps;         /* as agreed; outlives messages */
	struct buf header;
	struct content_name content[CONTENT_NAMES];
	size_t ncontent;
	bool has_version;
	unsigned forged;             /* headers with our name */
	int file;                    /* the question; -1: none yet */
	uint64_t held;               /* octets counted against the limit */
	uint64_t hash;               /* of the message, as far as it is there */
	bool is_broken;              /* it could not be kept: later */
	char queue_id[64];
};

static struct milter_settings settings;
static pthread_mutex_t lists_lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_uint_fast64_t held_octets;
static atomic_uint active;       /* messages that are here */
static atomic_uint_fast64_t counts[WIRE_LATER + 1];
static const char *const count_names[] = { "passed", "tagged", "stripped", "quarantined", "rejected", "deferred" };

/* Messages that ended workers: hash and how often. The oldest row goes first. */
static struct {
	uint64_t hash;
	unsigned times;
} poison[POISON_ROWS];
static size_t poison_next;
static pthread_mutex_t poison_lock = PTHREAD_MUTEX_INITIALIZER;

static unsigned
poison_times(uint64_t hash, bool add)
{
	unsigned times = 0;
	pthread_mutex_lock(&poison_lock);
	size_t at = 0;
	while (at < POISON_ROWS && (poison[at].times == 0 || poison[at].hash != hash))
		at++;
	if (at < POISON_ROWS) {
		times = poison[at].times += add;
	} else if (add) {
		poison[poison_next].hash = hash;
		times = poison[poison_next].times = 1;
		poison_next = (poison_next + 1) % POISON_ROWS;
	}
	pthread_mutex_unlock(&poison_lock);
	return times;
}

/* What was agreed on connections whose session is over. A gateway may keep one for its next session, which begins without another
 * agreement; libmilter says the same of both ends. The oldest row goes first. */
static struct {
	const SMFICTX *ctx;
	unsigned long steps;
	bool leads_space;
} kept[KEPT_ROWS];
static size_t kept_next, kept_used;
static pthread_mutex_t kept_lock = PTHREAD_MUTEX_INITIALIZER;

/* Adds what t agreed to, or (t NULL) forgets it. */
static void
keep_agreement(const SMFICTX *ctx, const struct talk *t)
{
	pthread_mutex_lock(&kept_lock);
	size_t at = 0;
	while (at < kept_used && kept[at].ctx != ctx)
		at++;
	if (at == kept_used && t != NULL) {
		at = kept_next;
		kept_next = (kept_next + 1) % KEPT_ROWS;
		kept_used += kept_used < KEPT_ROWS;
	}
	if (t != NULL) {
		kept[at].ctx = ctx;
		kept[at].steps = t->steps;
		kept[at].leads_space = t->leads_space;
	} else if (at < kept_used) {
		kept[at].ctx = NULL;
	}
	pthread_mutex_unlock(&kept_lock);
}

static bool
find_agreement(const SMFICTX *ctx, struct talk *t)
{
	bool found = false;
	pthread_mutex_lock(&kept_lock);
	for (size_t i = 0; i < kept_used && !found; i++)
		if (kept[i].ctx == ctx) {
			t->steps = kept[i].steps;
			t->leads_space = kept[i].leads_space;
			found = true;
		}
	pthread_mutex_unlock(&kept_lock);
	return found;
}

/* ---- a message ---- */

static void
message_end(struct talk *t)
{
	if (t->file >= 0)
		close(t->file);
	t->file = -1;
	arena_fini(&t->arena);
	buf_fini(&t->header);
	mem_free(&t->rcpts);
	t->sender = SPAN_EMPTY;
	t->nrcpts = t->cap = t->ncontent = 0;
	t->has_login = t->has_version = t->is_broken = false;
	t->forged = 0;
	t->hash = 0;
	t->queue_id[0] = '\0';
	atomic_fetch_sub(&held_octets, t->held);
	t->held = 0;
	atomic_fetch_sub(&active, t->is_counted);
	t->is_counted = false;
}

static bool
hold(struct talk *t, uint64_t n)
{
	t->held += n;
	if (atomic_fetch_add(&held_octets, n) + n > settings.memory_limit)
		t->is_broken = true;
	return !t->is_broken;
}

static void
append(struct talk *t, struct span s)
{
	if (t->is_broken || !hold(t, s.n))
		return;
	t->hash = (t->hash << 7 | t->hash >> 57) ^ span_hash(s);
	if (fd_write(t->file, s) != 0)
		t->is_broken = true;
}

/* "<a@b>" without its brackets. */
static struct span
bare(const char *address)
{
	struct span s = span_trim(span_str(address));
	if (s.n >= 2 && s.p[0] == '<' && s.p[s.n - 1] == '>')
		s = span_of(s.p + 1, s.n - 2);
	return s;
}

/* Of an event that was agreed to have no answer. */
static sfsistat
go_on(const struct talk *t, unsigned long no_reply)
{
	return (t->steps & no_reply) != 0 ? SMFIS_NOREPLY : SMFIS_CONTINUE;
}

/* ---- what libmilter calls ---- */

static struct talk *
new_talk(void)
{
	struct talk *t = mem_zalloc(sizeof *t);
	t->file = -1;
	arena_init(&t->arena, ENVELOPE_MAX);
	buf_init(&t->header, HEADER_MAX);
	return t;
}

static sfsistat
on_negotiate(SMFICTX *ctx, unsigned long actions, unsigned long steps, unsigned long f2, unsigned long f3, unsigned long *pactions,
    unsigned long *psteps, unsigned long *pf2, unsigned long *pf3)
{
	const unsigned long needed = SMFIF_ADDHDRS | SMFIF_CHGHDRS | SMFIF_CHGBODY | SMFIF_QUARANTINE;
	(void)f2;
	(void)f3;
	if ((actions & needed) != needed)
		return SMFIS_REJECT; /* no gateway for this filter */
	struct talk *t = new_talk();
	keep_agreement(ctx, NULL);
	t->leads_space = (steps & SMFIP_HDR_LEADSPC) != 0;
	*pactions = needed;
	/* not NR_BODY: with "no reply" to the octets that come with the end, libmilter forgets the end */
	*psteps = steps & (SMFIP_NOHELO | SMFIP_NOUNKNOWN | SMFIP_NODATA | SMFIP_NR_CONN | SMFIP_NR_MAIL | SMFIP_NR_RCPT | SMFIP_NR_HDR | SMFIP_NR_EOH |
	    SMFIP_HDR_LEADSPC);
	*pf2 = *pf3 = 0;
	t->steps = *psteps;
	if (smfi_setpriv(ctx, t) == MI_FAILURE) {
		mem_free(&t);
		return SMFIS_REJECT;
	}
	return SMFIS_CONTINUE;
}

static bool
in_mynetworks(const _SOCK_ADDR *addr)
{
	struct ipaddr a;
	char text[INET6_ADDRSTRLEN];
	const void *octets = addr == NULL ? NULL : addr->sa_family == AF_INET ? (const void *)&((const struct sockaddr_in *)(const void *)addr)->sin_addr :
	    addr->sa_family == AF_INET6 ? (const void *)&((const struct sockaddr_in6 *)(const void *)addr)->sin6_addr : NULL;
	if (octets == NULL || inet_ntop(addr->sa_family, octets, text, sizeof text) == NULL || ipaddr_parse(span_str(text), &a) != RC_OK)
		return false;
	pthread_mutex_lock(&lists_lock);
	enum rc rc = matchlist_addr(settings.mynetworks, &a, NULL);
	pthread_mutex_unlock(&lists_lock);
	return rc == RC_OK;
}

static sfsistat
on_connect(SMFICTX *ctx, char *host, _SOCK_ADDR *addr)
{
	struct talk *t = smfi_getpriv(ctx);
	(void)host;
	if (t == NULL) { /* the next session of a connection that was kept */
		t = new_talk();
		if (!find_agreement(ctx, t) || smfi_setpriv(ctx, t) == MI_FAILURE) {
			mem_free(&t);
			return SMFIS_TEMPFAIL;
		}
	}
	t->is_trusted = in_mynetworks(addr);
	return go_on(t, SMFIP_NR_CONN);
}

static sfsistat
on_mail(SMFICTX *ctx, char **argv)
{
	struct talk *t = smfi_getpriv(ctx);
	const char *type = smfi_getsymval(ctx, (char[]){ "{auth_type}" }), *user = smfi_getsymval(ctx, (char[]){ "{auth_authen}" });
	if (t == NULL) /* on_connect() has refused it */
		return SMFIS_TEMPFAIL;
	message_end(t);
	t->is_counted = true;
	atomic_fetch_add(&active, 1);
	t->has_login = (type != NULL && type[0] != '\0') || (user != NULL && user[0] != '\0');
	t->sender = arena_span(&t->arena, bare(argv[0]));
	return go_on(t, SMFIP_NR_MAIL);
}

static sfsistat
on_rcpt(SMFICTX *ctx, char **argv)
{
	struct talk *t = smfi_getpriv(ctx);
	if (t->nrcpts == t->cap) {
		t->cap = t->cap > 0 ? t->cap * 2 : 8;
		t->rcpts = mem_reallocarray(t->rcpts, t->cap, sizeof *t->rcpts);
	}
	t->rcpts[t->nrcpts++] = arena_span(&t->arena, bare(argv[0]));
	t->is_broken |= t->arena.over;
	return go_on(t, SMFIP_NR_RCPT);
}

static void
note_content(struct talk *t, struct span name)
{
	t->has_version |= span_caseeq_str(name, "MIME-Version");
	if (!span_casestarts(name, SPAN("content-")) || name.n >= sizeof t->content[0].name)
		return;
	size_t at = 0;
	while (at < t->ncontent && !span_caseeq_str(name, t->content[at].name))
		at++;
	if (at == CONTENT_NAMES)
		return;
	if (at == t->ncontent) {
		memcpy(t->content[at].name, name.p, name.n);
		t->content[at].name[name.n] = '\0';
		t->content[at].count = 0;
		t->ncontent++;
	}
	t->content[at].count++;
}

static sfsistat
on_header(SMFICTX *ctx, char *name, char *value)
{
	struct talk *t = smfi_getpriv(ctx);
	struct span n = span_str(name), v = span_str(value);
	if (span_caseeq_str(n, STATUS_HEADER))
		t->forged++;
	note_content(t, n);
	buf_put(&t->header, n);
	buf_puts(&t->header, t->leads_space ? ":" : ": ");
	while (v.n > 0) {
		size_t end = span_chr(v, '\n');
		struct span line = span_head(v, end);
		buf_put(&t->header, line.n > 0 && line.p[line.n - 1] == '\r' ? span_head(line, line.n - 1) : line);
		if (end == SIZE_MAX)
			break;
		buf_puts(&t->header, "\r\n");
		v = span_from(v, end + 1);
	}
	buf_puts(&t->header, "\r\n");
	return go_on(t, SMFIP_NR_HDR);
}

static sfsistat
on_eoh(SMFICTX *ctx)
{
	struct talk *t = smfi_getpriv(ctx);
	const char *id = smfi_getsymval(ctx, (char[]){ "i" });
	struct buf b;
	if (id != NULL)
		snprintf(t->queue_id, sizeof t->queue_id, "%s", id);
	buf_puts(&t->header, "\r\n");
	struct wire_question q = { .about = { .is_outbound = t->is_trusted || t->has_login, .sender = t->sender, .rcpts = t->rcpts, .nrcpts = t->nrcpts },
		.queue_id = span_str(t->queue_id), .header_len = buf_len(&t->header) };
	buf_init(&b, ENVELOPE_MAX * 2 + HEADER_MAX);
	wire_put_question(&b, &q);
	t->file = memfd_create("message", MFD_CLOEXEC);
	t->is_broken |= t->file < 0 || b.over || t->header.over;
	uint64_t before = t->hash;
	append(t, buf_span(&b));
	t->hash = before; /* of the message alone */
	append(t, buf_span(&t->header));
	buf_fini(&t->header);
	buf_fini(&b);
	return go_on(t, SMFIP_NR_EOH);
}

static sfsistat
on_body(SMFICTX *ctx, unsigned char *p, size_t n)
{
	append(smfi_getpriv(ctx), span_of(p, n));
	return SMFIS_CONTINUE;
}

/* ---- the end of a message ---- */

static bool
replace_body(SMFICTX *ctx, int fd)
{
	struct stat st;
	if (fd < 0 || fstat(fd, &st) != 0)
		return false;
	if (st.st_size == 0)
		return smfi_replacebody(ctx, (unsigned char[]){ '\r', '\n' }, 2) == MI_SUCCESS;
	void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED)
		return false;
	bool ok = true;
	for (off_t pos = 0; ok && pos < st.st_size; pos += MILTER_CHUNK_SIZE) { /* libmilter wants an int */
		off_t left = st.st_size - pos;
		ok = smfi_replacebody(ctx, (unsigned char *)p + pos, (int)(left < MILTER_CHUNK_SIZE ? left : MILTER_CHUNK_SIZE)) == MI_SUCCESS;
	}
	munmap(p, (size_t)st.st_size);
	return ok;
}

/* The message is a text of ours now. */
static bool
replace_top(SMFICTX *ctx, const struct talk *t, bool is_qp)
{
	bool ok = true, has_type = false, has_encoding = false;
	char type[] = " text/plain; charset=utf-8", qp[] = " quoted-printable", plain[] = " 7bit";
	size_t blank = t->leads_space ? 0 : 1; /* unless that was negotiated the gateway adds it */
	char *type_value = type + blank, *encoding = (is_qp ? qp : plain) + blank;
	for (size_t i = 0; i < t->ncontent && ok; i++) {
		char *name = (char[sizeof t->content[0].name]){ 0 };
		memcpy(name, t->content[i].name, sizeof t->content[i].name);
		bool is_type = span_caseeq_str(span_str(name), "Content-Type");
		bool is_encoding = span_caseeq_str(span_str(name), "Content-Transfer-Encoding");
		for (unsigned k = t->content[i].count; k > 0 && ok; k--) {
			char *value = k > 1 ? NULL : is_type ? type_value : is_encoding ? encoding : NULL;
			ok = smfi_chgheader(ctx, name, (int)k, value) == MI_SUCCESS;
		}
		has_type |= is_type;
		has_encoding |= is_encoding;
	}
	if (ok && !has_type)
		ok = smfi_addheader(ctx, (char[]){ "Content-Type" }, type_value) == MI_SUCCESS;
	if (ok && !has_encoding)
		ok = smfi_addheader(ctx, (char[]){ "Content-Transfer-Encoding" }, encoding) == MI_SUCCESS;
	return ok;
}

static bool
add_status(SMFICTX *ctx, const struct talk *t, struct span value)
{
	char text[WIRE_TEXT_MAX + 2];
	int n = snprintf(text, sizeof text, "%s%.*s", t->leads_space ? " " : "", (int)value.n, (const char *)value.p);
	for (int i = 0; i < n && i < (int)sizeof text; i++)
		if ((unsigned char)text[i] >= 0x80)
			text[i] = '?';
	return smfi_addheader(ctx, (char[]){ STATUS_HEADER }, text) == MI_SUCCESS;
}

static bool
quarantine(SMFICTX *ctx, struct span reason)
{
	char text[WIRE_TEXT_MAX + 1];
	snprintf(text, sizeof text, "%.*s", (int)reason.n, (const char *)reason.p);
	return smfi_quarantine(ctx, text) == MI_SUCCESS;
}

static sfsistat
later(SMFICTX *ctx, const struct talk *t, const char *why)
{
	atomic_fetch_add(&counts[WIRE_LATER], 1);
	program_log(LOG_L_WARNING, span_str(t->queue_id), "attachment: not now: %s", why);
	(void)smfi_setreply(ctx, (char[]){ "451" }, (char[]){ "4.7.1" }, (char[]){ "Service unavailable - try again later" });
	return SMFIS_TEMPFAIL;
}

static sfsistat
refuse(SMFICTX *ctx, struct span reason)
{
	char text[REPLY_MAX * 2 + 1];
	size_t n = 0;
	for (size_t i = 0; i < reason.n && n < REPLY_MAX; i++) {
		unsigned char c = reason.p[i];
		if (c == '%') /* a lone one is a sign for the gateway */
			text[n++] = '%';
		text[n++] = c < ' ' || c >= 0x7f ? '?' : (char)c;
	}
	text[n] = '\0';
	(void)smfi_setreply(ctx, (char[]){ "550" }, (char[]){ "5.7.1" }, text);
	return SMFIS_REJECT;
}

static sfsistat
act(SMFICTX *ctx, const struct talk *t, const struct wire_answer *a, int body)
{
	bool ok = true;
	for (size_t i = 0; i < a->nlines; i++)
		program_log(LOG_L_INFO, span_str(t->queue_id), "%.*s, from=<%.*s>", (int)a->lines[i].n, (const char *)a->lines[i].p,
		    (int)(t->sender.n < 256 ? t->sender.n : 256), (const char *)t->sender.p);
	if (a->outcome == WIRE_LATER) {
		char why[WIRE_TEXT_MAX + 1];
		snprintf(why, sizeof why, "%.*s", (int)a->reason.n, (const char *)a->reason.p);
		return later(ctx, t, why[0] != '\0' ? why : "the message could not be read");
	}
	if (a->outcome == WIRE_REJECT) {
		atomic_fetch_add(&counts[WIRE_REJECT], 1);
		return refuse(ctx, a->reason);
	}
	for (unsigned i = t->forged; i > 0 && ok; i--)
		ok = smfi_chgheader(ctx, (char[]){ STATUS_HEADER }, (int)i, NULL) == MI_SUCCESS;
	if (a->outcome == WIRE_STRIP)
		ok = ok && quarantine(ctx, a->reason) && replace_body(ctx, body) && (!a->replaces_top || replace_top(ctx, t, a->top_is_qp));
	if (a->outcome == WIRE_QUARANTINE)
		ok = ok && quarantine(ctx, a->reason);
	if (a->outcome == WIRE_TAG || a->outcome == WIRE_STRIP)
		ok = ok && add_status(ctx, t, a->header);
	if (!ok)
		return later(ctx, t, "the gateway does not take the changes");
	atomic_fetch_add(&counts[a->outcome], 1);
	return SMFIS_ACCEPT;
}

/* The message ended a worker: by and by it counts as one that cannot be read. */
static sfsistat
unreadable(SMFICTX *ctx, const struct talk *t, const char *why, unsigned times)
{
	struct arena room;
	struct wire_answer a;
	program_log(LOG_L_WARNING, span_str(t->queue_id), "attachment: %s (%u)", why, times);
	if (times < POISON_LIMIT)
		return later(ctx, t, why);
	arena_init(&room, 1 << 16);
	judge_unreadable(settings.judge, span_str(why), &room, &a);
	sfsistat r = act(ctx, t, &a, -1);
	arena_fini(&room);
	return r;
}

static sfsistat
ask(SMFICTX *ctx, const struct talk *t)
{
	struct wire_answer a;
	struct buf room;
	int body = -1;
	sfsistat r = SMFIS_TEMPFAIL;
	if (t->is_broken || t->file < 0)
		return later(ctx, t, "no room for it: attachment_memory_limit");
	unsigned times = poison_times(t->hash, false);
	if (times >= POISON_LIMIT)
		return unreadable(ctx, t, "it cannot be read", times);
	buf_init(&room, WIRE_ANSWER_MAX);
	switch (pool_ask(settings.pool, t->file, &room, &a, &body)) {
	case POOL_ANSWERED:
		r = act(ctx, t, &a, body);
		break;
	case POOL_LATER:
		r = later(ctx, t, "no answer from a worker");
		break;
	case POOL_CRASHED:
		r = unreadable(ctx, t, "a worker died of it", poison_times(t->hash, true));
		break;
	case POOL_TOO_LONG: /* the same the next time */
		(void)poison_times(t->hash, true);
		(void)poison_times(t->hash, true);
		r = unreadable(ctx, t, "reading it takes too long", poison_times(t->hash, true));
		break;
	}
	if (body >= 0)
		close(body);
	buf_fini(&room);
	return r;
}

static sfsistat
on_eom(SMFICTX *ctx)
{
	struct talk *t = smfi_getpriv(ctx);
	sfsistat r = ask(ctx, t);
	message_end(t);
	return r;
}

static sfsistat
on_abort(SMFICTX *ctx)
{
	struct talk *t = smfi_getpriv(ctx);
	if (t != NULL)
		message_end(t);
	return SMFIS_CONTINUE;
}

static sfsistat
on_close(SMFICTX *ctx)
{
	struct talk *t = smfi_getpriv(ctx);
	if (t != NULL) {
		message_end(t);
		keep_agreement(ctx, t);
		mem_free(&t);
		(void)smfi_setpriv(ctx, NULL);
	}
	return SMFIS_CONTINUE;
}

void
milter_use(const struct milter_settings *s)
{
	settings = *s;
}

enum rc
milter_register(void)
{
	static char name[] = "dogana-attachments";
	struct smfiDesc desc = { .xxfi_name = name, .xxfi_version = SMFI_VERSION,
		.xxfi_flags = SMFIF_ADDHDRS | SMFIF_CHGHDRS | SMFIF_CHGBODY | SMFIF_QUARANTINE, .xxfi_connect = on_connect, .xxfi_envfrom = on_mail,
		.xxfi_envrcpt = on_rcpt, .xxfi_header = on_header, .xxfi_eoh = on_eoh, .xxfi_body = on_body, .xxfi_eom = on_eom, .xxfi_abort = on_abort,
		.xxfi_close = on_close, .xxfi_negotiate = on_negotiate };
	/* libmilter's own limit is less than a header may have (header_size_limit); it ends the connection then */
	(void)smfi_setmaxdatasize(PACKET_MAX);
	return smfi_register(desc) == MI_SUCCESS ? RC_OK : RC_PERM;
}

void
milter_drain(void)
{
	for (int quiet = 0; quiet < QUIET_PAUSES;) {
		(void)poll(NULL, 0, DRAIN_PAUSE_MSEC);
		quiet = atomic_load(&active) == 0 ? quiet + 1 : 0;
	}
}

void
milter_counts(struct buf *out)
{
	for (size_t i = 0; i < NELEMS(count_names); i++)
		buf_printf(out, "%s\"%s\":%llu", i > 0 ? "," : "", count_names[i], (unsigned long long)atomic_load(&counts[i]));
}
