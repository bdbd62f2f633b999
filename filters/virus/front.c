/* SPDX-License-Identifier: GPL-2.0-only */
#include "filters/virus/front.h"

#include "base/clock.h"
#include "base/mem.h"
#include "filters/confine.h"
#include "filters/virus/examine.h"
#include "filters/virus/feed.h"
#include "filters/virus/pool.h"
#include "filters/virus/wire.h"

#include <errno.h>
#include <libmilter/mfapi.h>
#include <openssl/evp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define STATUS_HEADER "X-Virus-Status"

enum { KEEP_BUFFER = 1024 * 1024, HEADER_MAX = 600, DRAIN_PAUSE_USEC = 20 * 1000, QUIET_PAUSES = 10 };
static const uint64_t MEMORY_MAX = UINT64_C(1) << 30;

/* A connection of the MTA; what belongs to a message is reset with it. */
struct session {
	struct buf message;          /* as scanned: header, empty line, body */
	uint64_t size;               /* octets of it, also of those that were not kept */
	uint64_t held;               /* octets of memory counted for it */
	unsigned status_headers;     /* those that are there already */
	bool has_body, is_large, is_active;
};

static struct {
	struct program *pg;
	const struct virus_conf *conf;
	struct front_counts *counts;
	int supervisor;
	unsigned long noreply;       /* steps for which the MTA waits for no reply, as negotiated (the same for all) */
	atomic_uint_fast64_t memory;
	atomic_uint active;
	atomic_bool is_stopping;
} f;

static void
tell_supervisor(const char *word, const char *text)
{
	char line[300];
	int n = snprintf(line, sizeof line, "%s%s%s", word, text[0] != '\0' ? " " : "", text);
	(void)!send(f.supervisor, line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1, MSG_NOSIGNAL);
}

/* ---- the message ---- */

static void
account(struct session *s)
{
	uint64_t now = s->message.cap;
	if (now > s->held)
		atomic_fetch_add(&f.memory, now - s->held);
	else
		atomic_fetch_sub(&f.memory, s->held - now);
	s->held = now;
}

static void
end_message(struct session *s)
{
	if (s->is_active)
		atomic_fetch_sub(&f.active, 1);
	s->is_active = s->has_body = s->is_large = false;
	s->size = 0;
	s->status_headers = 0;
	if (s->message.cap > KEEP_BUFFER)
		buf_fini(&s->message);
	else
		buf_reset(&s->message);
	account(s);
}

static void
begin_message(struct session *s)
{
	if (s->is_active)
		return;
	s->is_active = true;
	atomic_fetch_add(&f.active, 1);
}

static void
keep(struct session *s, struct span data)
{
	s->size += data.n;
	if (s->is_large)
		return;
	buf_put(&s->message, data);
	if (s->message.over || s->size > f.conf->max_file_size) {
		s->is_large = true; /* it will not be scanned, so it need not be kept */
		buf_fini(&s->message);
	}
	account(s);
}

static struct session *
session_of(SMFICTX *ctx)
{
	struct session *s = smfi_getpriv(ctx);
	if (s == NULL) {
		s = mem_zalloc(sizeof *s);
		buf_init(&s->message, f.conf->max_file_size + HEADER_MAX);
		(void)smfi_setpriv(ctx, s);
	}
	return s;
}

/* ---- what becomes of it ---- */

static const char *
class_of(enum virus_kind kind)
{
	return kind == VIRUS_FOUND ? "virus" : kind == VIRUS_ENCRYPTED || kind == VIRUS_MACRO ? "attachment" : "unscanned";
}

static const char *
said(enum virus_kind kind)
{
	static const char *const texts[VIRUS_KINDS] = { "clean", "virus", "encrypted content", "macros", "limits exceeded", "not scanned", "not scanned" };
	return texts[kind];
}

static void
replace_word(struct buf *out, struct span *rest, const char *word, const char *value)
{
	struct span w = span_str(word);
	if (out->over || !span_starts(*rest, w))
		return;
	buf_puts(out, value);
	*rest = span_from(*rest, w.n);
}

/* virus_header with its words replaced. */
static void
header_text(const struct judgement *j, struct buf *out)
{
	char status[2 * VIRUS_NAME_MAX];
	struct span rest = span_str(f.conf->header);
	snprintf(status, sizeof status, "%s%s%s", virus_kind_word(j->verdict.kind), j->verdict.name[0] != '\0' ? ": " : "", j->verdict.name);
	while (rest.n > 0) {
		size_t before = rest.n;
		replace_word(out, &rest, "$status", status);
		replace_word(out, &rest, "$engine", j->version.engine[0] != '\0' ? j->version.engine : "no engine");
		replace_word(out, &rest, "$signatures", j->version.signatures[0] != '\0' ? j->version.signatures : "unknown");
		if (rest.n == before) {
			buf_putc(out, rest.p[0]);
			rest = span_from(rest, 1);
		}
	}
}

/* One header of ours; whatever came under its name is not there any more. */
static bool
set_header(SMFICTX *ctx, const struct session *s, const struct judgement *j)
{
	char name[] = STATUS_HEADER;
	struct buf text;
	bool ok = true, is_wanted = f.conf->header[0] != '\0';
	buf_init(&text, HEADER_MAX);
	if ((f.noreply & SMFIP_HDR_LEADSPC) != 0)
		buf_putc(&text, ' '); /* it is ours to give, then */
	header_text(j, &text);
	(void)buf_cstr(&text);
	for (unsigned i = s->status_headers; ok && i > (is_wanted ? 1u : 0u); i--)
		ok = smfi_chgheader(ctx, name, (int)i, NULL) == MI_SUCCESS;
	char *value = (char *)text.p + text.at;
	if (ok && is_wanted)
		ok = (s->status_headers > 0 ? smfi_chgheader(ctx, name, 1, value) : smfi_addheader(ctx, name, value)) == MI_SUCCESS;
	buf_fini(&text);
	return ok;
}

static sfsistat
refuse(SMFICTX *ctx, const char *code, const char *dsn, const char *text, sfsistat end)
{
	char c[8], d[16], t[300];
	snprintf(c, sizeof c, "%s", code);
	snprintf(d, sizeof d, "%s", dsn);
	snprintf(t, sizeof t, "%s", text);
	(void)smfi_setreply(ctx, c, d, t);
	return end;
}

static const char *const action_words[] = { [VIRUS_ACCEPT] = "accept", [VIRUS_TAG] = "tag", [VIRUS_QUARANTINE] = "quarantine",
	[VIRUS_REJECT] = "reject", [VIRUS_DISCARD] = "discard" };

static enum virus_action
action_of(const struct virus_verdict *v, bool *is_tempfail)
{
	*is_tempfail = false;
	switch (v->kind) {
	case VIRUS_FOUND: return f.conf->found;
	case VIRUS_ENCRYPTED: return f.conf->encrypted;
	case VIRUS_MACRO: return f.conf->macro;
	case VIRUS_LIMITS: return f.conf->limits;
	case VIRUS_ASIDE: return VIRUS_QUARANTINE;
	case VIRUS_UNSCANNED:
		*is_tempfail = f.conf->unavailable == VIRUS_TEMPFAIL;
		return f.conf->unavailable == VIRUS_HOLD_AND_RESCAN ? VIRUS_QUARANTINE : VIRUS_TAG;
	case VIRUS_CLEAN:
	case VIRUS_KINDS: break;
	}
	return VIRUS_ACCEPT;
}

/* Returns what the milter answers; *word: for the log. */
static sfsistat
act(SMFICTX *ctx, const struct session *s, const struct judgement *j, const char **word)
{
	const struct virus_verdict *v = &j->verdict;
	bool is_tempfail;
	char text[2 * VIRUS_NAME_MAX];
	enum virus_action a = action_of(v, &is_tempfail);
	*word = is_tempfail ? "tempfail" : action_words[a];
	if (is_tempfail)
		return refuse(ctx, "451", "4.7.1", "Service unavailable - try again later", SMFIS_TEMPFAIL);
	snprintf(text, sizeof text, "Message refused: %s%s%s", said(v->kind), v->name[0] != '\0' ? ": " : "", v->name);
	if (a == VIRUS_REJECT)
		return refuse(ctx, "554", "5.7.1", text, SMFIS_REJECT);
	if (a == VIRUS_DISCARD)
		return SMFIS_DISCARD;
	bool ok = set_header(ctx, s, j);
	if (a == VIRUS_QUARANTINE) {
		if (v->kind == VIRUS_FOUND)
			snprintf(text, sizeof text, "%s: %s", class_of(v->kind), v->name);
		else
			snprintf(text, sizeof text, "%s: %s%s%s", class_of(v->kind), said(v->kind), v->name[0] != '\0' ? ": " : "", v->name);
		ok = ok && smfi_quarantine(ctx, text) == MI_SUCCESS;
	}
	if (ok)
		return SMFIS_CONTINUE;
	*word = "tempfail"; /* the MTA does not do what it has to: never let it through by accident */
	return refuse(ctx, "451", "4.7.1", "Service unavailable - try again later", SMFIS_TEMPFAIL);
}

static void
write_down(SMFICTX *ctx, const struct session *s, const struct judgement *j, const char *action, uint64_t usec)
{
	char macro[] = "i";
	const char *qid = smfi_getsymval(ctx, macro);
	bool is_why = j->verdict.kind == VIRUS_UNSCANNED || j->verdict.kind == VIRUS_ASIDE || j->verdict.kind == VIRUS_LIMITS;
	struct log_field fields[6] = { F_STR(status, virus_kind_word(j->verdict.kind)), F_STR(value, action), F_NUM(size, s->size), F_NUM(delay, usec) };
	size_t n = 4;
	if (j->verdict.name[0] != '\0')
		fields[n++] = is_why ? F_STR(reason, j->verdict.name) : F_STR(signature, j->verdict.name);
	program_event(EV_virus_verdict, span_str(qid), fields, n);
	atomic_fetch_add(&f.counts->scanned, 1);
	atomic_fetch_add(&f.counts->octets, s->size);
	atomic_fetch_add(&f.counts->usec, usec);
	atomic_fetch_add(&f.counts->kinds[j->verdict.kind], 1);
}

/* ---- callbacks ---- */

static sfsistat
on_negotiate(SMFICTX *ctx, unsigned long f0, unsigned long f1, unsigned long f2, unsigned long f3, unsigned long *pf0, unsigned long *pf1,
    unsigned long *pf2, unsigned long *pf3)
{
	const unsigned long actions = SMFIF_ADDHDRS | SMFIF_CHGHDRS | SMFIF_QUARANTINE;
	const unsigned long steps = SMFIP_NOCONNECT | SMFIP_NOHELO | SMFIP_NOMAIL | SMFIP_NORCPT | SMFIP_NOUNKNOWN | SMFIP_NODATA | SMFIP_NOEOH |
	    SMFIP_NR_HDR | SMFIP_HDR_LEADSPC; /* not NR_BODY: libmilter calls on_body() for what comes with the end, too, and forgets the end then */
	char macros[] = "i";
	(void)f2, (void)f3;
	if ((f0 & actions) != actions) {
		program_log(LOG_L_ERROR, SPAN_EMPTY, "the MTA does not offer what is needed (actions 0x%lx of 0x%lx)", f0 & actions, actions);
		return SMFIS_REJECT;
	}
	*pf0 = actions;
	*pf1 = f1 & steps;
	*pf2 = *pf3 = 0;
	f.noreply = f1 & steps;
	(void)smfi_setsymlist(ctx, SMFIM_EOM, macros);
	(void)session_of(ctx);
	return SMFIS_CONTINUE;
}

static bool
is_status_header(const char *name)
{
	size_t n = strlen(name);
	while (n > 0 && (name[n - 1] == ' ' || name[n - 1] == '\t'))
		n--;
	return n == sizeof STATUS_HEADER - 1 && strncasecmp(name, STATUS_HEADER, n) == 0;
}

/* A value has its lines separated by LF. */
static void
keep_lines(struct session *s, struct span value)
{
	while (value.n > 0) {
		size_t nl = span_chr(value, '\n');
		struct span line = span_head(value, nl == SIZE_MAX ? value.n : nl);
		keep(s, line);
		if (nl == SIZE_MAX)
			return;
		keep(s, line.n > 0 && line.p[line.n - 1] == '\r' ? SPAN("\n") : SPAN("\r\n"));
		value = span_from(value, nl + 1);
	}
}

static sfsistat
on_header(SMFICTX *ctx, char *name, char *value)
{
	struct session *s = session_of(ctx);
	begin_message(s);
	s->status_headers += is_status_header(name);
	keep(s, span_str(name));
	keep(s, (f.noreply & SMFIP_HDR_LEADSPC) != 0 ? SPAN(":") : SPAN(": "));
	keep_lines(s, span_str(value));
	keep(s, SPAN("\r\n"));
	return (f.noreply & SMFIP_NR_HDR) != 0 ? SMFIS_NOREPLY : SMFIS_CONTINUE;
}

static sfsistat
on_body(SMFICTX *ctx, unsigned char *data, size_t n)
{
	struct session *s = session_of(ctx);
	begin_message(s);
	if (!s->has_body)
		keep(s, SPAN("\r\n"));
	s->has_body = true;
	keep(s, span_of(data, n));
	return SMFIS_CONTINUE;
}

static void
still_at_it(void *arg)
{
	(void)smfi_progress((SMFICTX *)arg);
}

static sfsistat
on_eom(SMFICTX *ctx)
{
	struct session *s = session_of(ctx);
	struct judgement j = { .is_cached = false };
	const char *action = "";
	uint64_t began = clock_mono();
	begin_message(s);
	if (!s->has_body)
		keep(s, SPAN("\r\n"));
	if (s->is_large) {
		j.verdict = virus_verdict_why(VIRUS_LIMITS, "larger than virus_max_file_size");
	} else if (atomic_load(&f.memory) > MEMORY_MAX + f.conf->max_file_size) {
		j.verdict = virus_verdict_why(VIRUS_UNSCANNED, "too much mail at the same time");
	} else {
		struct scan_job job = { .message = buf_span(&s->message), .waits = still_at_it, .arg = ctx };
		examine(&job, &j);
	}
	sfsistat end = act(ctx, s, &j, &action);
	write_down(ctx, s, &j, action, clock_mono() - began);
	end_message(s);
	return end;
}

static sfsistat
on_abort(SMFICTX *ctx)
{
	end_message(session_of(ctx));
	return SMFIS_CONTINUE;
}

static sfsistat
on_close(SMFICTX *ctx)
{
	struct session *s = smfi_getpriv(ctx);
	if (s == NULL)
		return SMFIS_CONTINUE;
	end_message(s);
	buf_fini(&s->message);
	account(s);
	(void)smfi_setpriv(ctx, NULL);
	mem_free(&s);
	return SMFIS_CONTINUE;
}

/* ---- the process ---- */

static void
on_trouble(const char *text)
{
	if (text[0] != '\0')
		program_log(LOG_L_WARNING, SPAN_EMPTY, "%s: virus_unavailable applies until it answers", text);
	else
		program_log(LOG_L_INFO, SPAN_EMPTY, "clamd answers again");
	tell_supervisor("trouble", text);
}

static void
on_version(const struct virus_version *v)
{
	char text[2 * VIRUS_VERSION_MAX + 2];
	snprintf(text, sizeof text, "%s|%s", v->engine, v->signatures);
	tell_supervisor("version", text);
}

static void *
listen_to_mta(void *arg)
{
	(void)arg;
	if (smfi_main() != MI_SUCCESS && !atomic_load(&f.is_stopping)) {
		program_log(LOG_L_ERROR, SPAN_EMPTY, "libmilter ended");
		_exit(1);
	}
	return NULL;
}

static void *
watch_clamd(void *arg)
{
	(void)arg;
	for (;;) {
		examine_tick();
		(void)poll(NULL, 0, 1000);
	}
	return NULL;
}

/* Messages that are here already get their answer; an MTA that keeps idle connections opens new ones elsewhere. Not with
 * smfi_stop(): it waits for the thread that listens, which looks up every five seconds. */
NORETURN static void
drain(void)
{
	atomic_store(&f.is_stopping, true);
	for (int quiet = 0; quiet < QUIET_PAUSES;) {
		(void)poll(NULL, 0, DRAIN_PAUSE_USEC / 1000);
		quiet = atomic_load(&f.active) == 0 ? quiet + 1 : 0;
	}
	log_flush();
	_exit(0);
}

static void
heed_supervisor(void)
{
	char word[32];
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int))];
	} ancillary;
	int fd = -1;
	struct iovec iov = { word, sizeof word };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &ancillary, .msg_controllen = sizeof ancillary };
	ssize_t n = recvmsg(f.supervisor, &h, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0)
		_exit(1); /* there will be no engine any more */
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&h); c != NULL; c = CMSG_NXTHDR(&h, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof fd))
			memcpy(&fd, CMSG_DATA(c), sizeof fd);
	if (fd >= 0)
		pool_add(fd);
	else if (span_eq_str(span_of(word, (size_t)n), "stop"))
		drain();
}

static void *
listen_to_supervisor(void *arg)
{
	(void)arg;
	for (;;) {
		pool_listen(f.supervisor);
		heed_supervisor();
	}
	return NULL;
}

static enum rc
start_thread(void *(*fn)(void *), struct err *e)
{
	pthread_t t;
	int err = pthread_create(&t, NULL, fn, NULL);
	if (err == 0)
		pthread_detach(t);
	return err == 0 ? RC_OK : err_set(e, RC_TEMP, "no thread: %s", strerror(err));
}

static enum rc
begin(struct err *e)
{
	char name[] = "dogana-virus";
	struct smfiDesc desc = { .xxfi_name = name, .xxfi_version = SMFI_VERSION, .xxfi_flags = SMFIF_ADDHDRS | SMFIF_CHGHDRS | SMFIF_QUARANTINE,
		.xxfi_header = on_header, .xxfi_body = on_body, .xxfi_eom = on_eom, .xxfi_abort = on_abort, .xxfi_close = on_close,
		.xxfi_negotiate = on_negotiate };
	if (smfi_register(desc) == MI_FAILURE || smfi_setconn(f.pg->listen) == MI_FAILURE || smfi_opensocket(true) == MI_FAILURE)
		return err_set(e, RC_PERM, "%s: cannot listen there", f.pg->listen);
	EVP_MD_free(EVP_MD_fetch(NULL, "SHA256", NULL)); /* OpenSSL reads its configuration now: no file can be opened later */
	struct confine want = { .user = f.pg->has_master ? conf_params(f.pg->conf)->p_filter_user : NULL,
		.calls = CONFINE_THREADS | CONFINE_SERVE | (f.conf->is_clamd ? CONFINE_CONNECT : 0), .may_connect = f.conf->is_clamd };
	return confine(&want, NULL, e);
}

void
front_main(struct program *pg, const struct virus_conf *conf, struct front_counts *counts, int supervisor)
{
	struct err e = { .why = "" };
	prctl(PR_SET_NAME, "virus-front", 0, 0, 0);
	signal(SIGINT, SIG_IGN); /* a terminal sends it to all; libmilter would drop every message */
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	f.pg = pg;
	f.conf = conf;
	f.counts = counts;
	f.supervisor = supervisor;
	feed_begin();
	pool_init(conf);
	examine_init(conf, counts, on_trouble, on_version);
	enum rc rc = begin(&e);
	if (rc == RC_OK)
		rc = start_thread(listen_to_supervisor, &e);
	if (rc == RC_OK && conf->is_clamd)
		rc = start_thread(watch_clamd, &e);
	if (rc != RC_OK) {
		program_log(LOG_L_ERROR, SPAN_EMPTY, "%s", e.why);
		_exit(1);
	}
	tell_supervisor("listening", "");
	(void)listen_to_mta(NULL);
	for (;;)
		(void)poll(NULL, 0, -1); /* drain() ends the process */
}
